//! Numbers that outsiders must not foresee: initial sequence numbers, timestamp offsets, cookies, source ports. Each is a keyed hash
//! (SipHash-2-4) of the flow under a key of its own, so that seeing many of one kind says nothing of another.

use super::{half_open::Offer, seq::Seq, table::FlowKey};
use crate::time::{Duration, Instant};
use siphasher::sip::SipHasher24;
use std::hash::Hasher;

/// One worker's keys.
pub(super) struct Secrets {
    isn: SipHasher24,
    timestamps: SipHasher24,
    cookies: SipHasher24,
    ports: SipHasher24,
}

impl Secrets {
    pub(super) fn new(seed: u64) -> Self {
        // rfc9293 3.4.1 MUST-9: keys that nobody outside knows.
        let mut random = fastrand::Rng::with_seed(seed ^ 0x7463_7000);
        let mut key = || SipHasher24::new_with_keys(random.u64(..), random.u64(..));
        Self { isn: key(), timestamps: key(), cookies: key(), ports: key() }
    }

    /// rfc9293 3.4.1 MUST-8, SHLD-1 and rfc6528 3: a clock of 4 us and a keyed hash of the flow.
    pub(super) fn isn(&self, now: Instant, key: &FlowKey) -> Seq {
        Seq(((now.as_ns() / 4_000) as u32).wrapping_add(hash(self.isn, key, 0) as u32))
    }

    /// What a flow's timestamps are ahead of the clock (RFC 7323 section 5.4): the same for each connection of the flow, so that they go on rising
    /// from one to the next, and no other flow learns how long this machine runs.
    // rfc7323 7 a: each flow's own.
    pub(super) fn timestamp_offset(&self, key: &FlowKey) -> u32 {
        hash(self.timestamps, key, 0) as u32
    }

    /// Where the search for a source port towards this destination begins (RFC 6056 section 3.3.3).
    pub(super) fn port_offset(&self, destination: &FlowKey) -> u32 {
        hash(self.ports, destination, 0) as u32
    }
}

// Cookies (RFC 4987 section 3.6): all that a half-open connection needs, in the initial sequence number and the timestamp that the peer will
// acknowledge.
//
//   sequence number:   | 5 bits: time in 64 s | 3 bits: MSS | 24 bits: keyed hash of flow, peer's ISN, time, MSS, and: |
//   timestamp, lowest: | 4 bits: peer's window scale, 15: none | 1 bit: SACK permitted | 1 bit: ECN |

const COOKIE_PERIOD: Duration = Duration::from_secs(64);
/// A cookie is honoured in the period in which it was made and in the next: 64 to 128 s.
const COOKIE_PERIODS: u64 = 1;
/// The longest of these.
pub(super) const COOKIE_AGE_MAX: Duration = Duration::from_secs(128);
const MSS_CLASSES: [u16; 8] = [216, 536, 1_220, 1_360, 1_440, 1_452, 1_460, 8_940];
pub(super) const COOKIE_TIMESTAMP_BITS: u32 = 6;
const NO_WSCALE: u8 = 15;
/// In place of the timestamp's bits, where there is no timestamp.
const NO_TIMESTAMP: u64 = 0xff;

/// What the timestamp of a cookie says in its lowest bits.
pub(super) fn cookie_timestamp_bits(offer: &Offer) -> u32 {
    u32::from(offer.wscale.unwrap_or(NO_WSCALE)) << 2 | u32::from(offer.sack) << 1 | u32::from(offer.ecn)
}

impl Secrets {
    /// The initial sequence number that stands for a peer's SYN.
    pub(super) fn cookie(&self, now: Instant, key: &FlowKey, irs: Seq, offer: &Offer) -> Seq {
        let period = now.as_ns() / COOKIE_PERIOD.as_ns();
        let class = MSS_CLASSES.iter().rposition(|mss| *mss <= offer.mss).unwrap_or(0) as u64;
        let bits = if offer.timestamps { u64::from(cookie_timestamp_bits(offer)) } else { NO_TIMESTAMP };
        self.cookie_of(key, irs, period, class, bits)
    }

    fn cookie_of(&self, key: &FlowKey, irs: Seq, period: u64, class: u64, bits: u64) -> Seq {
        let what = u64::from(irs.0) | (period << 3 | class) << 32 ^ bits << 56;
        let mac = hash(self.cookies, key, what) & 0xff_ffff;
        Seq(((period & 31) << 27 | class << 24 | mac) as u32)
    }

    /// What the SYN offered, if `iss` is a cookie of ours for this flow. `bits`: the lowest bits of the timestamp that came back with it.
    pub(super) fn check_cookie(
        &self,
        now: Instant,
        key: &FlowKey,
        irs: Seq,
        iss: Seq,
        bits: Option<u32>,
    ) -> Option<Offer> {
        let period = now.as_ns() / COOKIE_PERIOD.as_ns();
        let age = period.wrapping_sub(u64::from(iss.0 >> 27)) & 31;
        if age > COOKIE_PERIODS || age > period {
            return None;
        }
        let class = u64::from(iss.0 >> 24 & 7);
        let said = bits.map_or(NO_TIMESTAMP, |bits| u64::from(bits & ((1 << COOKIE_TIMESTAMP_BITS) - 1)));
        if self.cookie_of(key, irs, period - age, class, said) != iss {
            return None;
        }
        let mss = MSS_CLASSES[class as usize];
        let Some(bits) = bits else { return Some(Offer { mss, ..Offer::default() }) };
        let wscale = (bits >> 2 & 15) as u8;
        Some(Offer {
            mss,
            wscale: (wscale != NO_WSCALE).then_some(wscale),
            sack: bits & 2 != 0,
            ecn: bits & 1 != 0,
            timestamps: true,
        })
    }
}

fn hash(mut keyed: SipHasher24, key: &FlowKey, also: u64) -> u64 {
    for word in key.local.into_iter().chain(key.remote) {
        keyed.write_u64(word);
    }
    keyed.write_u32(key.ports);
    keyed.write_u64(also);
    keyed.finish()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn flow(port: u16) -> FlowKey {
        FlowKey::new("10.0.0.1".parse().unwrap(), 80, "10.0.0.2".parse().unwrap(), port)
    }

    #[test]
    fn sequence_numbers_differ_by_flow_and_rise_with_time() {
        let secrets = Secrets::new(1);
        let at = |us: u64| Instant::from_ns(us * 1_000);
        assert_eq!(secrets.isn(at(400), &flow(1)) - secrets.isn(at(0), &flow(1)), 100);
        assert_ne!(secrets.isn(at(0), &flow(1)), secrets.isn(at(0), &flow(2)));
        assert_ne!(secrets.isn(at(0), &flow(1)), Secrets::new(2).isn(at(0), &flow(1)));
        assert_ne!(secrets.isn(at(0), &flow(1)).0, secrets.timestamp_offset(&flow(1)));
    }

    proptest! {
        #[test]
        fn a_cookie_says_what_the_syn_offered(
            port: u16, irs: u32, mss in 216u16.., wscale in proptest::option::of(0u8..15), sack: bool, ecn: bool, timestamps: bool,
            s in 0u64..1 << 30, later in 0u64..64, forged: u32,
        ) {
            let secrets = Secrets::new(3);
            let offer = Offer { mss, wscale, sack, ecn, timestamps };
            let now = Instant::from_ns(s * 1_000_000_000);
            let cookie = secrets.cookie(now, &flow(port), Seq(irs), &offer);
            let bits = timestamps.then(|| cookie_timestamp_bits(&offer));
            let check = |at: Instant, key: &FlowKey, irs: u32, iss: Seq| secrets.check_cookie(at, key, Seq(irs), iss, bits);
            let said = check(now + Duration::from_secs(later), &flow(port), irs, cookie).expect("it is ours");
            prop_assert!(said.mss <= mss && (mss < 8_940 || said.mss == 8_940));
            let kept = if timestamps { Offer { mss: said.mss, ..offer } } else { Offer { mss: said.mss, ..Offer::default() } };
            prop_assert_eq!(said, kept);
            prop_assert_eq!(check(now + Duration::from_secs(129), &flow(port), irs, cookie), None, "too old");
            // One chance in 16 million for each.
            prop_assert_eq!(check(now, &flow(port.wrapping_add(1)), irs, cookie), None);
            prop_assert_eq!(check(now, &flow(port), irs.wrapping_add(1), cookie), None);
            if timestamps {
                let other = secrets.check_cookie(now, &flow(port), Seq(irs), cookie, bits.map(|b| b ^ 4));
                prop_assert_eq!(other, None);
            }
            if Seq(forged) != cookie {
                prop_assert_eq!(check(now, &flow(port), irs, Seq(forged)), None);
            }
        }
    }
}
