//! Which names cover a host, the most specific first: the exact one, wildcards from the longest to the shortest, then whoever takes any.
//!
//! ```text
//!   a.b.example.com ---> exact       a.b.example.com
//!                        wildcards     *.b.example.com
//!                                        *.example.com       only as many labels as some wildcard has are looked up:
//!                                                *.com       the host may be 127 labels long
//!                        any                         *
//! ```

use super::index::Index;
use crate::limits::HOSTNAME_MAX;
use ahash::RandomState;

/// A hostname of the rules, by number.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(super) struct HostIndex(pub(super) u32);

/// What a hostname covers. The order is that of precedence: the lesser one is tried first.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub(super) enum Hostname {
    Exact(Box<[u8]>),
    /// The suffix, without `*.`.
    Wildcard(Box<[u8]>),
    Any,
}

impl Hostname {
    /// Of a name that was checked.
    pub(super) fn new(name: &str) -> Self {
        match name.strip_prefix("*.") {
            Some(suffix) => Self::Wildcard(suffix.as_bytes().into()),
            None => Self::Exact(name.as_bytes().into()),
        }
    }

    /// Whether it takes this host.
    pub(super) fn covers(&self, host: &[u8]) -> bool {
        match self {
            Self::Exact(name) => **name == *host,
            Self::Wildcard(suffix) => is_below(host, suffix),
            Self::Any => true,
        }
    }

    /// Whether some host is taken by both.
    pub(super) fn intersects(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Exact(name), other) | (other, Self::Exact(name)) => other.covers(name),
            (Self::Wildcard(a), Self::Wildcard(b)) => a == b || is_below(a, b) || is_below(b, a),
            (Self::Any, _) | (_, Self::Any) => true,
        }
    }

    /// The greater is the more specific. Gateway API: characters in a matching name without a wildcard, then in any matching name.
    pub(super) fn specificity(&self) -> (u8, usize) {
        match self {
            Self::Exact(name) => (2, name.len()),
            Self::Wildcard(suffix) => (1, suffix.len()),
            Self::Any => (0, 0),
        }
    }
}

/// Whether `host` has one or more labels before `suffix`: a wildcard does not take its own parent.
fn is_below(host: &[u8], suffix: &[u8]) -> bool {
    host.strip_suffix(suffix).is_some_and(|labels| labels.len() > 1 && labels.ends_with(b"."))
}

/// Names, each with what is known of it.
#[derive(Clone, Debug)]
pub(super) struct HostMap<T> {
    hash: RandomState,
    exact: Names<T>,
    wildcards: Names<T>,
    /// Bit n: some wildcard's suffix has n labels.
    labels: u128,
    any: Option<T>,
}

#[derive(Clone, Debug)]
struct Names<T> {
    index: Index,
    names: Box<[(Box<[u8]>, T)]>,
}

impl<T> Names<T> {
    fn new(hash: &RandomState, names: Vec<(Box<[u8]>, T)>) -> Self {
        let hashes: Vec<_> = names.iter().map(|(name, _)| hash.hash_one(&**name)).collect();
        Self { index: Index::new(hashes.into_iter()), names: names.into() }
    }
    fn find(&self, hash: &RandomState, name: &[u8]) -> Option<&T> {
        let entry = self.index.find(hash.hash_one(name), |entry| *self.names[entry as usize].0 == *name)?;
        Some(&self.names[entry as usize].1)
    }
}

impl<T> HostMap<T> {
    /// Of names that differ.
    pub(super) fn new<'a>(hash: &RandomState, names: impl Iterator<Item = (&'a Hostname, T)>) -> Self {
        let (mut exact, mut wildcards, mut labels, mut any) = (Vec::new(), Vec::new(), 0_u128, None);
        for (name, known) in names {
            match name {
                Hostname::Exact(name) => exact.push((name.clone(), known)),
                Hostname::Wildcard(suffix) => {
                    labels |= 1 << labels_of(suffix);
                    wildcards.push((suffix.clone(), known));
                }
                Hostname::Any => any = Some(known),
            }
        }
        Self { exact: Names::new(hash, exact), wildcards: Names::new(hash, wildcards), labels, any, hash: hash.clone() }
    }

    /// The first name in order of precedence that covers `host` and of which `visit` makes something.
    pub(super) fn find_map<F>(&self, host: &[u8], mut visit: impl FnMut(&T) -> Option<F>) -> Option<F> {
        if host.len() <= HOSTNAME_MAX {
            if let Some(found) = self.exact.find(&self.hash, host).and_then(&mut visit) {
                return Some(found);
            }
            if let Some(found) = self.find_wildcard(host, &mut visit) {
                return Some(found);
            }
        }
        self.any.as_ref().and_then(visit)
    }

    fn find_wildcard<F>(&self, host: &[u8], visit: &mut impl FnMut(&T) -> Option<F>) -> Option<F> {
        if self.labels == 0 {
            return None;
        }
        let mut suffix = host;
        let mut count = labels_of(host);
        while let Some(dot) = suffix.iter().position(|&byte| byte == b'.') {
            // A host may be more than 127 empty labels; no wildcard has as many.
            let before = host.len() - suffix.len() + dot;
            suffix = &suffix[dot + 1..];
            count -= 1;
            let any_has_as_many = count < 128 && self.labels & (1 << count) != 0;
            if any_has_as_many
                && before > 0
                && let Some(found) = self.wildcards.find(&self.hash, suffix).and_then(&mut *visit)
            {
                return Some(found);
            }
        }
        None
    }
}

fn labels_of(name: &[u8]) -> usize {
    name.iter().filter(|&&byte| byte == b'.').count() + 1
}

#[cfg(test)]
mod tests {
    use super::*;

    fn visited(names: &[&str], host: &str) -> Vec<String> {
        let hostnames: Vec<_> =
            names.iter().map(|name| if *name == "*" { Hostname::Any } else { Hostname::new(name) }).collect();
        let map = HostMap::new(&RandomState::with_seeds(1, 2, 3, 4), hostnames.iter().zip(0..));
        let mut visited = Vec::new();
        map.find_map(host.as_bytes(), |&index: &usize| {
            visited.push(names[index].to_owned());
            None::<()>
        });
        let covering = hostnames.iter().filter(|name| name.covers(host.as_bytes())).count();
        assert_eq!(visited.len(), covering, "{host}");
        visited
    }

    #[test]
    fn the_exact_name_comes_first_then_the_longest_wildcard_then_any() {
        let names = ["*", "*.com", "*.example.com", "*.b.example.com", "a.b.example.com", "example.com"];
        for (host, expected) in [
            ("a.b.example.com", &["a.b.example.com", "*.b.example.com", "*.example.com", "*.com", "*"][..]),
            ("b.example.com", &["*.example.com", "*.com", "*"]),
            ("example.com", &["example.com", "*.com", "*"]),
            ("com", &["*"]),
            (".com", &["*"]),
            ("..com", &["*.com", "*"]),
            ("xexample.com", &["*.com", "*"]),
            ("", &["*"]),
            (".", &["*"]),
        ] {
            assert_eq!(visited(&names, host), expected, "{host}");
        }
    }

    #[test]
    fn hosts_of_any_length_are_looked_up() {
        for labels in [1, 126, 127, 128, 200, 400] {
            let host = vec!["x"; labels].join(".");
            let map = HostMap::new(&RandomState::with_seeds(1, 2, 3, 4), [(&Hostname::new("*.x.x"), ())].into_iter());
            assert_eq!(
                map.find_map(host.as_bytes(), |()| Some(())).is_some(),
                (3..=127).contains(&labels),
                "{labels} labels"
            );
        }
    }

    #[test]
    fn names_intersect_if_some_host_is_taken_by_both() {
        let name = Hostname::new;
        for (a, b, expected) in [
            ("a.com", "a.com", true),
            ("a.com", "*.com", true),
            ("a.b.com", "*.com", true),
            ("a.com", "*.a.com", false),
            ("*.com", "*.a.com", true),
            ("*.a.com", "*.b.com", false),
            ("*.ba.com", "*.a.com", false),
        ] {
            assert_eq!((name(a).intersects(&name(b)), name(b).intersects(&name(a))), (expected, expected), "{a} {b}");
        }
        assert!(Hostname::Any.intersects(&name("*.com")) && name("a.com").intersects(&Hostname::Any));
    }
}
