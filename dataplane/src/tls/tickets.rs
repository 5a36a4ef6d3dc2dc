//! Stateless tickets (RFC 8446 section 4.6.1, RFC 5077 section 4): sessions that clients keep for us, sealed under keys that are given from outside
//! and may be shared by several nodes.
//!
//! ```text
//!   name 16 | nonce 12 | AES-256-GCM (made at u64 | session) | tag 16       authenticated too: the name, the policy's fingerprint
//! ```

use super::Clock;
use aws_lc_rs::aead::{AES_256_GCM, Aad, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};
use rustls::{crypto::SecureRandom, server::ProducesTickets};
use zeroize::{Zeroize, ZeroizeOnDrop};

/// A key of tickets. Zeroed when it is dropped.
#[derive(Clone, Zeroize, ZeroizeOnDrop)]
pub struct TicketKey {
    /// Says which one it is; in the clear in each ticket.
    #[zeroize(skip)]
    pub name: [u8; 16],
    /// The key itself, random.
    pub key: [u8; 32],
}

/// Keys of tickets. Rotation: `next` is known to all nodes before any of them makes it current, `previous` after all have.
#[derive(Clone)]
pub struct TicketKeys {
    /// Seals and opens.
    pub current: TicketKey,
    /// Opens.
    pub next: Option<TicketKey>,
    /// Opens.
    pub previous: Option<TicketKey>,
    /// Seconds that a ticket is good for; RFC 8446 allows seven days at most.
    pub lifetime: u32,
}

/// rfc8446 4.6.1: "MUST NOT use any value greater than 604800 seconds".
const LIFETIME_MAX: u32 = 7 * 86_400;
const NAME: usize = 16;
const TIME: usize = 8;

pub(super) struct Ticketer {
    /// The current one first.
    keys: Vec<([u8; NAME], LessSafeKey)>,
    lifetime: u32,
    fingerprint: [u8; 32],
    random: &'static dyn SecureRandom,
    clock: Clock,
}

impl Ticketer {
    pub(super) fn new(
        keys: &TicketKeys,
        fingerprint: [u8; 32],
        random: &'static dyn SecureRandom,
        clock: &Clock,
    ) -> Self {
        let keys_in_order = [Some(&keys.current), keys.next.as_ref(), keys.previous.as_ref()];
        let make = |key: &TicketKey| {
            let unbound = UnboundKey::new(&AES_256_GCM, &key.key).expect("the key has 32 bytes");
            (key.name, LessSafeKey::new(unbound))
        };
        let keys_made = keys_in_order.into_iter().flatten().map(make).collect();
        let lifetime = keys.lifetime.min(LIFETIME_MAX);
        Self { keys: keys_made, lifetime, fingerprint, random, clock: clock.clone() }
    }

    fn aad(&self, name: &[u8; NAME]) -> Aad<[u8; NAME + 32]> {
        let mut aad = [0; NAME + 32];
        aad[..NAME].copy_from_slice(name);
        aad[NAME..].copy_from_slice(&self.fingerprint);
        Aad::from(aad)
    }
}

impl std::fmt::Debug for Ticketer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Ticketer({} keys)", self.keys.len())
    }
}

impl ProducesTickets for Ticketer {
    fn enabled(&self) -> bool {
        true
    }

    fn lifetime(&self) -> u32 {
        self.lifetime
    }

    fn encrypt(&self, plain: &[u8]) -> Option<Vec<u8>> {
        let (name, key) = self.keys.first()?;
        let mut nonce = [0; NONCE_LEN];
        self.random.fill(&mut nonce).ok()?;
        let mut ticket = Vec::with_capacity(NAME + NONCE_LEN + TIME + plain.len() + 16);
        ticket.extend_from_slice(name);
        ticket.extend_from_slice(&nonce);
        ticket.extend_from_slice(&self.clock.unix_seconds().to_be_bytes());
        ticket.extend_from_slice(plain);
        let text = &mut ticket[NAME + NONCE_LEN..];
        let tag = key.seal_in_place_separate_tag(Nonce::assume_unique_for_key(nonce), self.aad(name), text).ok()?;
        ticket.extend_from_slice(tag.as_ref());
        Some(ticket)
    }

    fn decrypt(&self, ticket: &[u8]) -> Option<Vec<u8>> {
        let (name, rest) = ticket.split_first_chunk::<NAME>()?;
        let (nonce, text) = rest.split_first_chunk::<NONCE_LEN>()?;
        let (name, key) = self.keys.iter().find(|(own, _)| own == name)?;
        let mut text = text.to_vec();
        let nonce = Nonce::assume_unique_for_key(*nonce);
        let plain = key.open_in_place(nonce, self.aad(name), &mut text).ok()?;
        let (made_at, session) = plain.split_first_chunk::<TIME>()?;
        // The lifetime holds however long the key is kept; another node's clock may be a little ahead.
        let age = self.clock.unix_seconds().saturating_sub(u64::from_be_bytes(*made_at));
        (age <= u64::from(self.lifetime)).then(|| session.to_vec())
    }
}
