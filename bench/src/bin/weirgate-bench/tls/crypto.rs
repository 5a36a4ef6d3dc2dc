//! The operations alone, as rustls asks aws-lc-rs for them: the bound of what is built on them.

use aws_lc_rs::{
    aead::{AES_128_GCM, Aad, LessSafeKey, Nonce, UnboundKey},
    hkdf, hmac,
    rand::SystemRandom,
    signature::{ECDSA_P256_SHA256_ASN1, ECDSA_P256_SHA256_ASN1_SIGNING, EcdsaKeyPair, KeyPair, UnparsedPublicKey},
};
use rustls::crypto::{SupportedKxGroup, aws_lc_rs::kx_group};
use std::hint::black_box;

/// What a handshake needs.
pub(super) struct Operations {
    group: &'static dyn SupportedKxGroup,
    random: SystemRandom,
    key: EcdsaKeyPair,
    signature: Vec<u8>,
    /// The public key of the certificate, which the client verifies the chain and the signature with.
    message: [u8; 130],
}

impl Operations {
    pub(super) fn new(group: rustls::NamedGroup) -> Self {
        let group: &'static dyn SupportedKxGroup =
            if group == rustls::NamedGroup::X25519 { kx_group::X25519 } else { kx_group::X25519MLKEM768 };
        let random = SystemRandom::new();
        let key = EcdsaKeyPair::generate(&ECDSA_P256_SHA256_ASN1_SIGNING).expect("a key");
        let message = [7; 130];
        let signature = key.sign(&random, &message).expect("a signature").as_ref().to_vec();
        Self { group, random, key, signature, message }
    }

    /// The client's and the server's halves of the key exchange.
    pub(super) fn exchange(&self) {
        let client = self.group.start().expect("a share");
        let server = self.group.start_and_complete(client.pub_key()).expect("a secret");
        black_box(client.complete(&server.pub_key).expect("a secret").secret_bytes());
    }
    /// The server's signature.
    pub(super) fn sign(&self) {
        black_box(self.key.sign(&self.random, &self.message).expect("a signature"));
    }
    /// One of the client's verifications.
    pub(super) fn verify(&self) {
        let key = UnparsedPublicKey::new(&ECDSA_P256_SHA256_ASN1, self.key.public_key());
        key.verify(&self.message, &self.signature).expect("it is right");
    }
    /// One side's key schedule (RFC 8446 section 7.1): three extracts, and expands of the derived secrets, four traffic secrets, their keys
    /// and vectors, both Finished keys, resumption and exporter.
    pub(super) fn schedule(&self) {
        struct Len(usize);
        impl hkdf::KeyType for Len {
            fn len(&self) -> usize {
                self.0
            }
        }
        let mut secret = [0; 32];
        for _ in 0..3 {
            let prk = hkdf::Salt::new(hkdf::HKDF_SHA256, &secret).extract(&self.message[..32]);
            for _ in 0..6 {
                let label = [&self.message[..50]];
                prk.expand(&label, Len(32)).and_then(|okm| okm.fill(&mut secret)).expect("32 bytes");
            }
        }
        let key = hmac::Key::new(hmac::HMAC_SHA256, &secret);
        black_box((hmac::sign(&key, &self.message), hmac::sign(&key, &self.message)));
    }
}

/// A cipher alone, over one buffer.
pub(super) struct Cipher(LessSafeKey);

impl Cipher {
    pub(super) fn new() -> Self {
        Self(LessSafeKey::new(UnboundKey::new(&AES_128_GCM, &[7; 16]).expect("a key")))
    }
    pub(super) fn seal(&self, text: &mut [u8]) {
        let nonce = Nonce::assume_unique_for_key([1; 12]);
        let _ = black_box(self.0.seal_in_place_separate_tag(nonce, Aad::from([0; 5]), text).expect("a tag"));
    }
    /// Opens what was sealed, tag and all, into the same place. (It is sealed again by the next round's copy.)
    pub(super) fn open(&self, sealed: &[u8], into: &mut [u8]) {
        let nonce = Nonce::assume_unique_for_key([1; 12]);
        let (text, tag) = sealed.split_at(sealed.len() - 16);
        self.0.open_separate_gather(nonce, Aad::from([0; 5]), text, tag, into).expect("it is right");
    }
    pub(super) fn sealed(&self, len: usize) -> Vec<u8> {
        let mut text = vec![3; len];
        let nonce = Nonce::assume_unique_for_key([1; 12]);
        self.0.seal_in_place_append_tag(nonce, Aad::from([0; 5]), &mut text).expect("a tag");
        text
    }
}

/// The ciphers of many connections: a context for each direction of each.
pub(super) struct Contexts {
    ciphers: Vec<(Cipher, Cipher)>,
    next: usize,
    sealed: Vec<u8>,
    opened: Vec<u8>,
    text: Vec<u8>,
}

impl Contexts {
    /// Of so many connections, with requests and answers of these lengths.
    pub(super) fn new(connections: usize, request: usize, answer: usize) -> Self {
        let mut ciphers: Vec<_> = (0..connections).map(|_| (Cipher::new(), Cipher::new())).collect();
        fastrand::Rng::with_seed(7).shuffle(&mut ciphers);
        let sealed = Cipher::new().sealed(request);
        Self { ciphers, next: 0, sealed, opened: vec![0; request], text: vec![3; answer] }
    }

    /// The next connection's request is opened, and its answer sealed.
    pub(super) fn exchange(&mut self) {
        let (open, seal) = &self.ciphers[self.next];
        open.open(&self.sealed, &mut self.opened);
        seal.seal(&mut self.text);
        self.next = (self.next + 1) % self.ciphers.len();
    }
}
