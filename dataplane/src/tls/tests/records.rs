//! Records alone.

use crate::tls::{
    TlsRefusal, Version,
    record::{ContentType, HEADER, Header, Open, Opened, Seal},
};
use rustls::{
    ConnectionTrafficSecrets,
    crypto::cipher::{AeadKey, Iv},
};

fn secrets(cipher: u8) -> ConnectionTrafficSecrets {
    let (key, iv) = (AeadKey::from([7; 32]), Iv::copy(&[9; 12]));
    match cipher {
        0 => ConnectionTrafficSecrets::Aes256Gcm { key, iv },
        _ => ConnectionTrafficSecrets::Chacha20Poly1305 { key, iv },
    }
}

fn sealed(seal: &mut Seal, kind: ContentType, plain: &[u8]) -> Vec<u8> {
    let mut record = vec![0; seal.front()];
    record.extend_from_slice(plain);
    record.resize(record.len() + seal.back(), 0);
    seal.seal(kind, &mut record);
    record
}

fn open(open: &mut Open, record: &mut [u8]) -> Result<(ContentType, Vec<u8>), TlsRefusal> {
    let header = Header::read(record, Some(open.version()))?.unwrap();
    let Opened { kind, plain } = open.open(header, record)?;
    Ok((kind, record[plain].to_vec()))
}

#[test]
fn what_is_sealed_opens_in_its_order_only() {
    for version in [Version::Tls12, Version::Tls13] {
        for cipher in 0..2 {
            let mut seal = Seal::new(version, 5, &secrets(cipher));
            let mut opener = Open::new(version, 5, &secrets(cipher));
            let mut records = Vec::new();
            for (kind, len) in
                [(ContentType::ApplicationData, 0), (ContentType::Alert, 2), (ContentType::Handshake, 16_384)]
            {
                records.push((kind, sealed(&mut seal, kind, &vec![3; len]), len));
            }
            assert_eq!(open(&mut opener, &mut records[1].1.clone()), Err(TlsRefusal::BadRecordMac), "not its turn");
            for (kind, mut record, len) in records {
                assert_eq!(open(&mut opener, &mut record), Ok((kind, vec![3; len])));
            }
        }
    }
}

/// The example of RFC 8448 section 3: "Record application data" of the client, 50 bytes 00..31 under its first application key.
#[test]
fn the_record_of_rfc_8448_is_ours() {
    let hex = |text: &str| -> Vec<u8> {
        let digits: Vec<u8> = text.bytes().filter(u8::is_ascii_hexdigit).collect();
        digits.chunks(2).map(|d| u8::from_str_radix(std::str::from_utf8(d).unwrap(), 16).unwrap()).collect()
    };
    let mut key = [0; 32];
    key[..16].copy_from_slice(&hex("17 42 2d da 59 6e d5 d9 ac d8 90 e3 c6 3f 50 51"));
    let unbound = aws_lc_rs::aead::UnboundKey::new(&aws_lc_rs::aead::AES_128_GCM, &key[..16]).unwrap();
    let iv = hex("5b 78 92 3d ee 08 57 90 33 e5 23 d9");
    let record = hex(
        "17 03 03 00 43 a2 3f 70 54 b6 2c 94 d0 af fa fe 82 28 ba 55 cb ef ac ea 42 f9 14 aa 66 bc ab 3f 2b 98 19 a8 a5 b4 6b
         39 5b d5 4a 9a 20 44 1e 2b 62 97 4e 1f 5a 62 92 a2 97 70 14 bd 1e 3d ea e6 3a ee bb 21 69 49 15 e4",
    );
    // rustls makes keys of 16 bytes itself only; the layout is checked through the library with our nonce and our data.
    let nonce = aws_lc_rs::aead::Nonce::try_assume_unique_for_key(&iv).unwrap();
    let mut text: Vec<u8> = (0..50).collect();
    text.push(ContentType::ApplicationData as u8);
    let aad = aws_lc_rs::aead::Aad::from(&record[..HEADER]);
    aws_lc_rs::aead::LessSafeKey::new(unbound).seal_in_place_append_tag(nonce, aad, &mut text).unwrap();
    assert_eq!(text, record[HEADER..]);
}

#[test]
fn headers_are_bounded() {
    use Version::{Tls12, Tls13};
    let header = |kind, len: u16| [kind, 3, 3, len.to_be_bytes()[0], len.to_be_bytes()[1]];
    for (bytes, version, expected) in [
        (header(23, 0x4100), Some(Tls13), Ok(0x4100)),
        (header(23, 0x4101), Some(Tls13), Err(TlsRefusal::RecordTooLong)),
        (header(23, 0x4800), Some(Tls12), Ok(0x4800)),
        (header(23, 0x4801), Some(Tls12), Err(TlsRefusal::RecordTooLong)),
        (header(22, 0x4801), None, Err(TlsRefusal::RecordTooLong)),
        (header(19, 1), None, Err(TlsRefusal::RecordInvalid)),
        (header(24, 1), None, Err(TlsRefusal::RecordInvalid)),
        ([22, 2, 0, 0, 1], None, Err(TlsRefusal::RecordInvalid)),
    ] {
        let read = Header::read(&bytes, version).map(|header| header.unwrap().len);
        assert_eq!(read, expected, "{bytes:?}");
        for n in 0..HEADER {
            assert_eq!(Header::read(&bytes[..n], version), Ok(None));
        }
    }
}

/// A TLS 1.3 record whose inner plaintext is given, type and padding included.
fn inner(seal: &mut Seal, text: &[u8]) -> Vec<u8> {
    let (&last, plain) = text.split_last().unwrap();
    // The seal writes a type behind the plaintext; another one is had by the types that there are, and zeros only by hand.
    let kind = match last {
        21 => ContentType::Alert,
        22 => ContentType::Handshake,
        _ => ContentType::ApplicationData,
    };
    sealed(seal, kind, plain)
}

#[test]
fn the_inner_type_is_behind_the_plaintext_and_before_zeros() {
    // The seal cannot pad, so padding comes from a cipher by hand.
    let pad = |text: &[u8]| {
        let unbound = aws_lc_rs::aead::UnboundKey::new(&aws_lc_rs::aead::AES_256_GCM, &[7; 32]).unwrap();
        let mut text = text.to_vec();
        let len = (text.len() + 16).to_be_bytes();
        let header = [23, 3, 3, len[6], len[7]];
        let nonce = aws_lc_rs::aead::Nonce::assume_unique_for_key([9; 12]);
        let key = aws_lc_rs::aead::LessSafeKey::new(unbound);
        key.seal_in_place_append_tag(nonce, aws_lc_rs::aead::Aad::from(header), &mut text).unwrap();
        [&header[..], &text].concat()
    };
    let mut long = vec![1; 16_384];
    long.push(23);
    let mut too_long = long.clone();
    too_long.push(0);
    for (text, expected) in [
        (&[1, 2, 3, 23][..], Ok((ContentType::ApplicationData, vec![1, 2, 3]))),
        (&[1, 2, 3, 23, 0, 0, 0], Ok((ContentType::ApplicationData, vec![1, 2, 3]))),
        (&[1, 0, 0, 22, 0], Ok((ContentType::Handshake, vec![1, 0, 0]))),
        (&[23], Ok((ContentType::ApplicationData, vec![]))),
        (&[0, 0, 0], Err(TlsRefusal::UnexpectedMessage)),
        (&[], Err(TlsRefusal::BadRecordMac)),
        (&[1, 25], Err(TlsRefusal::UnexpectedMessage)),
        (&long, Ok((ContentType::ApplicationData, vec![1; 16_384]))),
        (&too_long, Err(TlsRefusal::RecordTooLong)),
    ] {
        let mut opener = Open::new(Version::Tls13, 0, &secrets(0));
        assert_eq!(open(&mut opener, &mut pad(text)), expected, "{} bytes", text.len());
    }
    let mut seal = Seal::new(Version::Tls13, 0, &secrets(0));
    assert_eq!(inner(&mut seal, &[1, 2, 23]), pad(&[1, 2, 23]));
}

#[test]
fn a_key_seals_so_many_records_and_no_more() {
    let limit = crate::limits::TLS_RECORDS_MAX;
    let mut seal = Seal::new(Version::Tls13, limit - 1, &secrets(0));
    assert_eq!(seal.left(), 1);
    sealed(&mut seal, ContentType::ApplicationData, b"last");
    assert_eq!(seal.left(), 0);
    assert!(Seal::new(Version::Tls13, 1 << 40, &secrets(1)).left() > 1 << 60, "ChaCha20-Poly1305 has no such bound");
}

#[test]
#[should_panic(expected = "sequence numbers do not wrap")]
fn another_one_is_a_fault_of_ours() {
    let mut seal = Seal::new(Version::Tls13, crate::limits::TLS_RECORDS_MAX, &secrets(0));
    sealed(&mut seal, ContentType::ApplicationData, b"too many");
}
