//! The PROXY protocol, versions 1 and 2 (HAProxy's `proxy-protocol.txt`): who the client of a connection is, said by a proxy before the first byte
//! of the connection itself.
//!
//! ```text
//!   1   PROXY TCP4 192.0.2.1 198.51.100.7 56324 443\r\n                                   a line of 107 bytes at most
//!   2   | signature (12) | 2,command | family,kind | length (2) | source | destination | ports | TLVs |
//! ```
//! It is believed only where a listener expects it, from senders that are trusted, and then it must be there: whoever could leave it out could
//! choose whom he speaks for. Nothing is guessed: what is not exactly one of these forms is refused by name.
//!
//! All that a header says is read from one slice. [`parse`] asks for more until the header is whole, and sees an error as soon as a byte is
//! wrong, so that nobody waits for the rest of something that is no header.

use crate::{drops::named, limits::PROXY_HEADER_MAX};
use arrayvec::ArrayVec;
use serde::{Deserialize, Serialize};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

/// Which versions a listener takes.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum Accept {
    /// Version 1 alone.
    V1,
    /// Version 2 alone.
    V2,
    /// Either.
    Any,
}

impl Accept {
    fn takes(self, version: Self) -> bool {
        self == Self::Any || self == version
    }
}

/// Who speaks with whom, as the proxy saw it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Addresses {
    /// The client.
    pub source: SocketAddr,
    /// Where it connected to.
    pub destination: SocketAddr,
}

/// What the bytes hold so far.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Parsed<'a> {
    /// The beginning of a header.
    Partial,
    /// A header.
    Done {
        /// Its bytes; what follows is the connection's own.
        len: usize,
        /// `None`: the proxy speaks for itself (a health check), or of something that has no addresses here. Those of the connection count.
        addresses: Option<Addresses>,
        /// The rest of a version 2 header: type, length and value of each.
        tlvs: Tlvs<'a>,
    },
}

named! {
    /// Why a header was refused.
    ProxyRefusal {
        /// The first bytes are not those of a header.
        Missing = "proxy_missing",
        /// A version that the listener does not take.
        Version = "proxy_version",
        /// Longer than is allowed.
        Long = "proxy_long",
        /// The line is not in one of its forms.
        Line = "proxy_line",
        /// An address that is not one.
        Address = "proxy_address",
        /// A port that is not one.
        Port = "proxy_port",
        /// Neither LOCAL nor PROXY.
        Command = "proxy_command",
        /// A family that does not exist, or datagrams on a stream.
        Family = "proxy_family",
        /// The length does not hold the addresses.
        Length = "proxy_length",
        /// The extensions do not fill what is left.
        Tlv = "proxy_tlv",
        /// The checksum is wrong.
        Checksum = "proxy_checksum",
        /// The peer is none of those who may send one.
        Untrusted = "proxy_untrusted",
    }
}

const SIGNATURE: &[u8; 12] = b"\r\n\r\n\0\r\nQUIT\n";
const FIXED: usize = 16;
const V1_PREFIX: &[u8] = b"PROXY ";
/// The longest line, with its end (section 2.1).
const V1_MAX: usize = 107;

/// Reads the header at the front of a connection's bytes.
pub fn parse(bytes: &[u8], accept: Accept) -> Result<Parsed<'_>, ProxyRefusal> {
    let begins = |with: &[u8]| bytes.iter().zip(with).all(|(a, b)| a == b);
    if begins(V1_PREFIX) && !bytes.is_empty() {
        return if accept.takes(Accept::V1) { parse_line(bytes) } else { Err(ProxyRefusal::Version) };
    }
    if begins(SIGNATURE) && !bytes.is_empty() {
        return if accept.takes(Accept::V2) { parse_binary(bytes) } else { Err(ProxyRefusal::Version) };
    }
    if bytes.is_empty() { Ok(Parsed::Partial) } else { Err(ProxyRefusal::Missing) }
}

/// Section 2.1.
fn parse_line(bytes: &[u8]) -> Result<Parsed<'_>, ProxyRefusal> {
    let most = &bytes[..bytes.len().min(V1_MAX)];
    let Some(end) = most.iter().position(|b| !matches!(b, b' '..=b'~')) else {
        return if bytes.len() >= V1_MAX { Err(ProxyRefusal::Long) } else { Ok(Parsed::Partial) };
    };
    if most[end] != b'\r' {
        return Err(ProxyRefusal::Line);
    }
    match most.get(end + 1) {
        Some(b'\n') => {}
        None if bytes.len() < V1_MAX => return Ok(Parsed::Partial),
        None => return Err(ProxyRefusal::Long),
        Some(_) => return Err(ProxyRefusal::Line),
    }
    let len = end + 2;
    let line = std::str::from_utf8(&bytes[V1_PREFIX.len().min(end)..end]).map_err(|_| ProxyRefusal::Line)?;
    let mut words = line.split(' ');
    let family = words.next().ok_or(ProxyRefusal::Line)?;
    if family == "UNKNOWN" {
        // "The receiver must ignore anything presented before the CRLF."
        return Ok(Parsed::Done { len, addresses: None, tlvs: Tlvs(&[]) });
    }
    let mut word = || words.next().ok_or(ProxyRefusal::Line);
    let (source, destination) = (word()?, word()?);
    let ports = (port(word()?)?, port(word()?)?);
    if words.next().is_some() {
        return Err(ProxyRefusal::Line);
    }
    let address = |text: &str| -> Result<IpAddr, ProxyRefusal> {
        match family {
            "TCP4" => text.parse::<Ipv4Addr>().map(IpAddr::from),
            "TCP6" => text.parse::<Ipv6Addr>().map(IpAddr::from),
            _ => return Err(ProxyRefusal::Family),
        }
        .map_err(|_| ProxyRefusal::Address)
    };
    let addresses = Addresses {
        source: SocketAddr::new(address(source)?, ports.0),
        destination: SocketAddr::new(address(destination)?, ports.1),
    };
    Ok(Parsed::Done { len, addresses: Some(addresses), tlvs: Tlvs(&[]) })
}

/// Decimal, without sign or leading zeros.
fn port(text: &str) -> Result<u16, ProxyRefusal> {
    let plain = text.bytes().all(|b| b.is_ascii_digit()) && (text == "0" || !text.starts_with('0'));
    if plain { text.parse().map_err(|_| ProxyRefusal::Port) } else { Err(ProxyRefusal::Port) }
}

/// Section 2.2.
fn parse_binary(bytes: &[u8]) -> Result<Parsed<'_>, ProxyRefusal> {
    // What is wrong shows as soon as its byte is there.
    let local = match bytes.get(12) {
        None => return Ok(Parsed::Partial),
        Some(0x20) => true,
        Some(0x21) => false,
        Some(byte) if byte >> 4 == 2 => return Err(ProxyRefusal::Command),
        Some(_) => return Err(ProxyRefusal::Version),
    };
    let Some(&family) = bytes.get(13) else { return Ok(Parsed::Partial) };
    let Some(address_len) = address_len(family) else { return Err(ProxyRefusal::Family) };
    let Some(length) = bytes.get(14..FIXED) else { return Ok(Parsed::Partial) };
    let len = FIXED + usize::from(u16::from_be_bytes([length[0], length[1]]));
    if len > PROXY_HEADER_MAX {
        return Err(ProxyRefusal::Long);
    }
    // A proxy that speaks for itself may leave out what its family says.
    if len < FIXED + address_len && !local {
        return Err(ProxyRefusal::Length);
    }
    let Some(header) = bytes.get(..len) else { return Ok(Parsed::Partial) };
    if local {
        return Ok(Parsed::Done { len, addresses: None, tlvs: Tlvs(&[]) });
    }
    let (addresses, rest) = header[FIXED..].split_at(address_len);
    let tlvs = Tlvs(rest);
    tlvs.check(header)?;
    Ok(Parsed::Done { len, addresses: read_addresses(family, addresses), tlvs })
}

/// Bytes of both addresses and ports; `None` for what no stream over IP can have.
fn address_len(family: u8) -> Option<usize> {
    match family {
        0x00 => Some(0),
        0x11 => Some(12),
        0x21 => Some(36),
        0x31 => Some(216),
        _ => None,
    }
}

fn read_addresses(family: u8, bytes: &[u8]) -> Option<Addresses> {
    let port = |at: usize| u16::from_be_bytes([bytes[at], bytes[at + 1]]);
    let address = |at: usize| -> IpAddr {
        if family == 0x11 {
            <[u8; 4]>::try_from(&bytes[at..at + 4]).expect("four bytes").into()
        } else {
            <[u8; 16]>::try_from(&bytes[at..at + 16]).expect("sixteen bytes").into()
        }
    };
    // Paths of Unix sockets say nothing here.
    let size = match family {
        0x11 => 4,
        0x21 => 16,
        _ => return None,
    };
    Some(Addresses {
        source: SocketAddr::new(address(0), port(2 * size)),
        destination: SocketAddr::new(address(size), port(2 * size + 2)),
    })
}

/// The extensions of a version 2 header (section 2.2.1 on).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Tlvs<'a>(&'a [u8]);

const TLV_CRC32C: u8 = 0x03;

impl<'a> Tlvs<'a> {
    /// Types and values. What a checked header holds is whole.
    pub fn iter(self) -> impl Iterator<Item = (u8, &'a [u8])> {
        let mut rest = self.0;
        std::iter::from_fn(move || {
            let (kind, value, after) = split_tlv(rest)?;
            rest = after;
            Some((kind, value))
        })
    }

    fn check(self, header: &[u8]) -> Result<(), ProxyRefusal> {
        let mut rest = self.0;
        while !rest.is_empty() {
            let (kind, value, after) = split_tlv(rest).ok_or(ProxyRefusal::Tlv)?;
            if kind == TLV_CRC32C {
                let said = <[u8; 4]>::try_from(value).map_err(|_| ProxyRefusal::Tlv)?;
                let at = header.len() - after.len() - 4;
                // Section 2.2.3: over the header with zeros in the checksum's place.
                let zeros = [0; 4];
                let parts = [&header[..at], &zeros, &header[at + 4..]];
                if crc32c(parts.into_iter().flatten()) != u32::from_be_bytes(said) {
                    return Err(ProxyRefusal::Checksum);
                }
            }
            rest = after;
        }
        Ok(())
    }
}

fn split_tlv(bytes: &[u8]) -> Option<(u8, &[u8], &[u8])> {
    let (&[kind, high, low], rest) = bytes.split_first_chunk()?;
    let (value, rest) = rest.split_at_checked(usize::from(u16::from_be_bytes([high, low])))?;
    Some((kind, value, rest))
}

/// CRC-32C (RFC 3720 appendix B.4), a bit at a time: few headers have one, and they are short.
fn crc32c<'a>(bytes: impl Iterator<Item = &'a u8>) -> u32 {
    const REFLECTED: u32 = 0x82f6_3b78;
    !bytes.fold(u32::MAX, |crc, byte| {
        (0..8).fold(crc ^ u32::from(*byte), |crc, _| if crc & 1 != 0 { crc >> 1 ^ REFLECTED } else { crc >> 1 })
    })
}

/// A header of ours: the longest is a line.
pub type Header = ArrayVec<u8, V1_MAX>;

/// Writes a version 1 header. Addresses of different families are `UNKNOWN`.
pub fn write_v1(addresses: &Addresses) -> Header {
    use std::io::Write;
    let Addresses { source, destination } = addresses;
    let mut header = Header::new();
    let family = match (source, destination) {
        (SocketAddr::V4(_), SocketAddr::V4(_)) => "TCP4",
        (SocketAddr::V6(_), SocketAddr::V6(_)) => "TCP6",
        _ => {
            header.try_extend_from_slice(b"PROXY UNKNOWN\r\n").expect("it is short");
            return header;
        }
    };
    let (from, to) = (source.ip(), destination.ip());
    write!(header, "PROXY {family} {from} {to} {} {}\r\n", source.port(), destination.port())
        .expect("the longest line fits");
    header
}

/// Writes a version 2 header without extensions. Addresses of different families become two of IPv6 (RFC 4291 section 2.5.5.2).
pub fn write_v2(addresses: &Addresses) -> Header {
    let Addresses { source, destination } = addresses;
    let mut header = Header::new();
    let mut put = |bytes: &[u8]| header.try_extend_from_slice(bytes).expect("it is short");
    put(SIGNATURE);
    if let (IpAddr::V4(from), IpAddr::V4(to)) = (source.ip(), destination.ip()) {
        put(&[0x21, 0x11, 0, 12]);
        put(&from.octets());
        put(&to.octets());
    } else {
        let wide = |address: IpAddr| match address {
            IpAddr::V4(address) => address.to_ipv6_mapped(),
            IpAddr::V6(address) => address,
        };
        put(&[0x21, 0x21, 0, 36]);
        put(&wide(source.ip()).octets());
        put(&wide(destination.ip()).octets());
    }
    put(&source.port().to_be_bytes());
    put(&destination.port().to_be_bytes());
    header
}

/// What no bytes may break: each prefix of what is accepted is a beginning or accepted, what is refused stays refused, and what was read is
/// what would be written.
#[cfg(any(test, fuzzing))]
pub fn proxy_protocol(data: &[u8]) {
    for accept in [Accept::V1, Accept::V2, Accept::Any] {
        match parse(data, accept) {
            Ok(Parsed::Done { len, addresses, tlvs }) => {
                assert!(len <= data.len() && len <= PROXY_HEADER_MAX);
                tlvs.iter().for_each(drop);
                (0..len).for_each(|cut| assert_eq!(parse(&data[..cut], accept), Ok(Parsed::Partial), "{cut}"));
                for header in addresses.iter().flat_map(|a| [write_v1(a), write_v2(a)]) {
                    let Ok(Parsed::Done { addresses: again, .. }) = parse(&header, Accept::Any) else {
                        panic!("our own is refused: {header:?}");
                    };
                    assert_eq!(again, addresses);
                }
            }
            Ok(Parsed::Partial) => assert!(data.len() < PROXY_HEADER_MAX),
            Err(_) => {
                // By which name may become clearer.
                let more = [data, &[0; 300]].concat();
                assert!(parse(&more, accept).is_err(), "bytes that come later change nothing");
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn addresses(source: &str, destination: &str) -> Option<Addresses> {
        Some(Addresses { source: source.parse().unwrap(), destination: destination.parse().unwrap() })
    }
    fn done(bytes: &[u8]) -> Option<Addresses> {
        proxy_protocol(bytes);
        match parse(&[bytes, b"GET / "].concat(), Accept::Any) {
            Ok(Parsed::Done { len, addresses, .. }) if len == bytes.len() => addresses,
            other => panic!("{other:?}"),
        }
    }
    fn binary(command: u8, family: u8, rest: &[u8]) -> Vec<u8> {
        let mut header = SIGNATURE.to_vec();
        header.extend([command, family]);
        header.extend((rest.len() as u16).to_be_bytes());
        header.extend(rest);
        header
    }
    const V4: [u8; 12] = [192, 0, 2, 1, 198, 51, 100, 7, 0xdc, 4, 1, 0xbb];

    #[test]
    fn lines_that_are_headers() {
        let v4 = addresses("192.0.2.1:56324", "198.51.100.7:443");
        let v6 = addresses("[2001:db8::1]:1", "[2001:db8::2]:65535");
        let rows: [(&str, Option<Addresses>); 5] = [
            ("PROXY TCP4 192.0.2.1 198.51.100.7 56324 443\r\n", v4),
            ("PROXY TCP6 2001:db8::1 2001:db8::2 1 65535\r\n", v6),
            ("PROXY UNKNOWN\r\n", None),
            ("PROXY UNKNOWN ffff::1 whatever it says\r\n", None),
            (
                "PROXY TCP6 ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff 65535 65535\r\n",
                addresses(
                    "[ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff]:65535",
                    "[ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff]:65535",
                ),
            ),
        ];
        for (line, expected) in rows {
            assert_eq!(done(line.as_bytes()), expected, "{line}");
        }
    }

    #[test]
    fn headers_in_binary() {
        let v4 = addresses("192.0.2.1:56324", "198.51.100.7:443");
        assert_eq!(done(&binary(0x21, 0x11, &V4)), v4);
        assert_eq!(done(&binary(0x20, 0x00, &[])), None, "a health check of the proxy");
        assert_eq!(done(&binary(0x20, 0x11, &V4)), None, "LOCAL: what it says is ignored");
        assert_eq!(done(&binary(0x21, 0x00, &[])), None, "unspecified");
        assert_eq!(done(&binary(0x21, 0x31, &[7; 216])), None, "Unix sockets");
        let with_tlvs = [&V4[..], &[1, 0, 2, b'h', b'2', 4, 0, 0]].concat();
        let header = binary(0x21, 0x11, &with_tlvs);
        let Ok(Parsed::Done { tlvs, addresses, .. }) = parse(&header, Accept::V2) else { panic!("a header") };
        assert_eq!((tlvs.iter().collect::<Vec<_>>(), addresses), (vec![(1, &b"h2"[..]), (4, &b""[..])], v4));
    }

    #[test]
    fn what_is_no_header_is_refused_by_name() {
        use ProxyRefusal as R;
        let long = format!("PROXY UNKNOWN {}\r\n", "x".repeat(100));
        let lines: [(&str, R); 22] = [
            ("GET / HTTP/1.1\r\n", R::Missing),
            ("proxy TCP4", R::Missing),
            ("\r\n\r\n\0\r\nQUIX", R::Missing),
            ("PROXY TCP4 192.0.2.1 198.51.100.7 56324\r\n", R::Line),
            ("PROXY TCP4 192.0.2.1 198.51.100.7 56324 443 \r\n", R::Line),
            ("PROXY TCP4 192.0.2.1 198.51.100.7 56324 443\n", R::Line),
            ("PROXY TCP4 192.0.2.1 198.51.100.7 56324 443\rx", R::Line),
            ("PROXY\tTCP4", R::Missing),
            ("PROXY TCP4  192.0.2.1 198.51.100.7 1 2\r\n", R::Port),
            ("PROXY TCP5 192.0.2.1 198.51.100.7 1 2\r\n", R::Family),
            ("PROXY TCP4 2001:db8::1 198.51.100.7 1 2\r\n", R::Address),
            ("PROXY TCP6 192.0.2.1 2001:db8::1 1 2\r\n", R::Address),
            ("PROXY TCP4 192.0.2.01 198.51.100.7 1 2\r\n", R::Address),
            ("PROXY TCP4 192.0.2.256 198.51.100.7 1 2\r\n", R::Address),
            ("PROXY TCP4 192.0.2.1 198.51.100.7 65536 2\r\n", R::Port),
            ("PROXY TCP4 192.0.2.1 198.51.100.7 -1 2\r\n", R::Port),
            ("PROXY TCP4 192.0.2.1 198.51.100.7 +1 2\r\n", R::Port),
            ("PROXY TCP4 192.0.2.1 198.51.100.7 01 2\r\n", R::Port),
            ("PROXY TCP4 192.0.2.1 198.51.100.7 1 \r\n", R::Port),
            ("PROXY TCP4\0 192.0.2.1", R::Line),
            ("PROXY \r\n", R::Line),
            (&long, R::Long),
        ];
        for (line, expected) in lines {
            assert_eq!(parse(line.as_bytes(), Accept::Any), Err(expected), "{line:?}");
            proxy_protocol(line.as_bytes());
        }
        let large = vec![0; PROXY_HEADER_MAX];
        let bad_tlv = [&V4[..], &[1, 0, 3, b'h']].concat();
        let headers = [
            (binary(0x11, 0x11, &V4), R::Version),
            (binary(0x22, 0x11, &V4), R::Command),
            (binary(0x21, 0x12, &V4), R::Family),
            (binary(0x21, 0x41, &V4), R::Family),
            (binary(0x21, 0x21, &V4), R::Length),
            (binary(0x21, 0x11, &V4[..11]), R::Length),
            (binary(0x21, 0x11, &large), R::Long),
            (binary(0x21, 0x11, &bad_tlv), R::Tlv),
        ];
        for (header, expected) in headers {
            assert_eq!(parse(&header, Accept::Any), Err(expected), "{header:?}");
            proxy_protocol(&header);
        }
    }

    #[test]
    fn a_listener_takes_what_it_says() {
        let (line, header) = (b"PROXY UNKNOWN\r\n", binary(0x20, 0, &[]));
        assert_eq!(parse(line, Accept::V2), Err(ProxyRefusal::Version));
        assert_eq!(parse(&header, Accept::V1), Err(ProxyRefusal::Version));
        assert!(parse(line, Accept::V1).is_ok() && parse(&header, Accept::V2).is_ok());
    }

    #[test]
    fn a_checksum_counts_where_there_is_one() {
        // RFC 3720 appendix B.4: 32 bytes of zeros.
        assert_eq!(crc32c([0; 32].iter()), 0x8a91_36aa);
        let mut header = binary(0x21, 0x11, &[&V4[..], &[TLV_CRC32C, 0, 4, 0, 0, 0, 0]].concat());
        assert_eq!(parse(&header, Accept::V2), Err(ProxyRefusal::Checksum));
        let sum = crc32c(header.iter());
        let at = header.len() - 4;
        header[at..].copy_from_slice(&sum.to_be_bytes());
        assert!(done(&header).is_some());
    }

    #[test]
    fn what_is_written_is_read() {
        let mixed = addresses("192.0.2.1:1", "[2001:db8::1]:2").unwrap();
        assert_eq!(write_v1(&mixed).as_slice(), b"PROXY UNKNOWN\r\n");
        assert_eq!(done(&write_v2(&mixed)), addresses("[::ffff:192.0.2.1]:1", "[2001:db8::1]:2"));
        let v4 = addresses("192.0.2.1:56324", "198.51.100.7:443").unwrap();
        assert_eq!(write_v1(&v4).as_slice(), b"PROXY TCP4 192.0.2.1 198.51.100.7 56324 443\r\n");
        assert_eq!(write_v2(&v4).as_slice(), binary(0x21, 0x11, &V4));
    }

    proptest! {
        #[test]
        fn no_bytes_break_it(
            kind in 0..3,
            mut rest in prop::collection::vec(any::<u8>(), 0..300),
            command in prop::sample::select(vec![0x20u8, 0x21, 0x22]),
            family in prop::sample::select(vec![0u8, 0x11, 0x21, 0x31, 0x12]),
        ) {
            let data = match kind {
                0 => rest,
                1 => binary(command, family, &rest),
                _ => {
                    // Mostly characters of a line.
                    rest.iter_mut().for_each(|b| *b = b"TCP46UNKOW .:0123456789abcdef\r\n"[usize::from(*b) % 31]);
                    [b"PROXY ", &rest[..]].concat()
                }
            };
            proxy_protocol(&data);
        }
    }
}
