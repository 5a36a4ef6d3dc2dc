//! A provider whose randomness is a seed's, so that a simulated world repeats byte by byte: for tests only. Keys agree with X25519 alone, because the
//! library takes no randomness of ours for other groups; with Ed25519 certificates signatures repeat, too.

use ::aws_lc_rs::agreement::{PrivateKey, UnparsedPublicKey, X25519, agree};
use rustls::{
    Error, NamedGroup,
    crypto::{
        ActiveKeyExchange, CryptoProvider, GetRandomFailed, SecureRandom, SharedSecret, SupportedKxGroup, aws_lc_rs,
    },
};
use std::sync::atomic::{AtomicU64, Ordering};

/// Such a provider, and where its randomness comes from. What they hold is never freed.
pub fn provider(seed: u64) -> (CryptoProvider, Source) {
    let random: &'static Seeded = Box::leak(Box::new(Seeded(AtomicU64::new(seed))));
    let group: &'static Group = Box::leak(Box::new(Group(random)));
    let provider = CryptoProvider { kx_groups: vec![group], secure_random: random, ..aws_lc_rs::default_provider() };
    (provider, Source(random))
}

/// The randomness of a provider.
#[derive(Clone, Copy, Debug)]
pub struct Source(&'static Seeded);

impl Source {
    /// Begins anew.
    pub fn reset(self, seed: u64) {
        self.0.0.store(seed, Ordering::Relaxed);
    }
}

/// SplitMix64: good enough to be different each time.
#[derive(Debug)]
struct Seeded(AtomicU64);

impl Seeded {
    fn next(&self) -> u64 {
        const GAMMA: u64 = 0x9e37_79b9_7f4a_7c15;
        let mut z = self.0.fetch_add(GAMMA, Ordering::Relaxed).wrapping_add(GAMMA);
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }
}

impl SecureRandom for Seeded {
    fn fill(&self, buf: &mut [u8]) -> Result<(), GetRandomFailed> {
        for chunk in buf.chunks_mut(8) {
            chunk.copy_from_slice(&self.next().to_be_bytes()[..chunk.len()]);
        }
        Ok(())
    }
}

#[derive(Debug)]
struct Group(&'static Seeded);

impl SupportedKxGroup for Group {
    fn start(&self) -> Result<Box<dyn ActiveKeyExchange>, Error> {
        let mut secret = [0; 32];
        self.0.fill(&mut secret)?;
        let broken = |_| Error::General("X25519 takes any 32 bytes".into());
        let key = PrivateKey::from_private_key(&X25519, &secret).map_err(|e| Error::General(e.to_string()))?;
        let public = key.compute_public_key().map_err(broken)?.as_ref().to_vec();
        Ok(Box::new(Exchange { key, public }))
    }
    fn name(&self) -> NamedGroup {
        NamedGroup::X25519
    }
}

struct Exchange {
    key: PrivateKey,
    public: Vec<u8>,
}

impl ActiveKeyExchange for Exchange {
    fn complete(self: Box<Self>, peer: &[u8]) -> Result<SharedSecret, Error> {
        let peer = UnparsedPublicKey::new(&X25519, peer);
        let wrong = Error::PeerMisbehaved(rustls::PeerMisbehaved::InvalidKeyShare);
        agree(&self.key, peer, wrong, |secret| Ok(SharedSecret::from(secret)))
    }
    fn pub_key(&self) -> &[u8] {
        &self.public
    }
    fn group(&self) -> NamedGroup {
        NamedGroup::X25519
    }
}
