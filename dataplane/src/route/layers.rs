//! A few routes changed among many: a second layer over the table, which holds just these.
//!
//! ```text
//!   over    |        r7'            r9       new     |   compiled now: a few routes
//!   base    |  r0 r1 r2 .. r7 (masked) .. r8 (gone)  |   as it was: a hundred thousand
//! ```
//! A request is looked up in both, and the better of what was found is taken, by the order that all matches have: so nothing but the time that it takes
//! tells such a table from one that was made anew. To make it takes as long as the changed routes need; to make a table of 100,000 routes takes half a
//! second. When there is time, somebody makes it anew.

use super::{
    Request,
    check::Fault,
    compile::{Numbers, compile_layer},
    rules::{Route, RuleIndex, Rules},
    table::{Candidate, Found, HostPaths, Layer, PathFound, Table},
};
use crate::limits::{
    HTTP_LAYER_ROUTES_MAX, HTTP_LAYERS_FROM, HTTP_PATH_PATTERNS_MAX, HTTP_PATTERNS_MAX, HTTP_PLACES_MAX,
    HTTP_RULES_MAX, HTTP_SAME_PATH_MAX,
};
use std::{
    cmp::Reverse,
    collections::{HashMap, HashSet},
    sync::Arc,
};

/// The order of a route that stands at this place. Between two of them there is room for others that come later.
pub(super) fn order(place: u64) -> u64 {
    (place + 1) << PLACES_BETWEEN
}
const PLACES_BETWEEN: u32 = 20;
const _: () = assert!(HTTP_LAYER_ROUTES_MAX < 1 << PLACES_BETWEEN);

/// The order of all matches, as the Gateway API has it: the greater one is taken.
type Rank = ((u8, usize), (u8, usize), bool, u8, u8, Reverse<(u64, u32)>);

impl Table {
    /// A table of these rules, which differ in a few routes from what this one's first layer was made of. `None`: in too many, or there are not
    /// enough routes for that to be worth it.
    pub fn changed(&self, rules: &Rules, numbers: &Numbers<'_>) -> Option<Result<Self, Vec<Fault>>> {
        let base = &self.base;
        let before = &base.compiled.rules;
        if base.compiled.rules_targets.len() < HTTP_LAYERS_FROM || before.hostname != rules.hostname {
            return None;
        }
        let (masked, over) = difference(&before.routes, &rules.routes)?;
        let (orders, routes): (Vec<_>, Vec<_>) = over.into_iter().unzip();
        let count: usize = routes.iter().map(|route| route.rules.len()).sum();
        if base.compiled.rules_targets.len() + count > HTTP_RULES_MAX {
            return None;
        }
        let below = base.compiled.rules_targets.len() as u32;
        let over = Rules { hostname: rules.hostname.clone(), routes };
        let over = match compile_layer(over, orders.into(), below, numbers) {
            Ok(layer) => layer,
            Err(faults) => return Some(Err(faults)),
        };
        // Both together must be what one table may be.
        let (a, b) = (base.compiled.crowd, over.compiled.crowd);
        let fits = a.same_path + b.same_path <= HTTP_SAME_PATH_MAX
            && a.path_patterns + b.path_patterns <= HTTP_PATH_PATTERNS_MAX
            && a.places + b.places <= HTTP_PLACES_MAX
            && a.patterns + b.patterns <= HTTP_PATTERNS_MAX;
        if !fits {
            return None;
        }
        let base = Layer { masked: Some(mask(base, &masked)), ..base.clone() };
        Some(Ok(Self { base, over: Some(over) }))
    }

    /// Whether it should be made anew when there is time.
    pub fn has_layers(&self) -> bool {
        self.over.is_some()
    }

    /// The routes of the second layer.
    pub fn routes_over(&self) -> &[Arc<Route>] {
        self.over.as_ref().map_or(&[], |over| &over.compiled.rules.routes)
    }

    pub(super) fn find_in_layers<'a, F>(&self, over: &Layer, request: &Request<'a, F>) -> Option<Found>
    where
        F: Iterator<Item = (&'a [u8], &'a [u8])> + Clone,
    {
        let ranked = |layer: &Layer, host: &HostPaths, candidate: &Candidate, path: PathFound| {
            let rule = RuleIndex(layer.below + candidate.rule.0);
            (layer.rank(host, candidate, path), Found { rule, path })
        };
        let found = [self.base.find(request, ranked), over.find(request, ranked)];
        found.into_iter().flatten().max_by_key(|(rank, _)| *rank).map(|(_, found)| found)
    }
}

impl Layer {
    fn rank(&self, host: &HostPaths, candidate: &Candidate, path: PathFound) -> Rank {
        let kind = match path {
            PathFound::Exact => 2,
            PathFound::Pattern => 1,
            PathFound::Prefix { .. } => 0,
        };
        let Candidate { rule, method, headers, queries, path_len, .. } = *candidate;
        let place = Reverse((self.order(rule), rule.0));
        (host.specificity, (kind, path_len.into()), method.len > 0, headers, queries, place)
    }

    /// The order of a rule's route.
    pub(super) fn order(&self, rule: RuleIndex) -> u64 {
        self.compiled.order[self.compiled.rules_targets[rule.0 as usize].place.0 as usize]
    }
}

/// Places of the first list's routes that are not in the second one as they are, and the second one's others with their orders. `None`: they are too
/// many, or what stays is in another order.
#[allow(clippy::type_complexity)] // two lists
fn difference(old: &[Arc<Route>], new: &[Arc<Route>]) -> Option<(Vec<usize>, Vec<(u64, Arc<Route>)>)> {
    let (mut masked, mut over) = (Vec::new(), Vec::new());
    // Names of the first list's rest, when they are needed.
    let mut places: Option<HashMap<&str, usize>> = None;
    let (mut at, mut between) = (0, 0);
    for route in new {
        if masked.len() + over.len() > 2 * HTTP_LAYER_ROUTES_MAX {
            return None;
        }
        if old.get(at).is_some_and(|it| Arc::ptr_eq(it, route)) {
            (at, between) = (at + 1, 0);
            continue;
        }
        if old.get(at).is_none_or(|it| it.name != route.name) {
            let places = places.get_or_insert_with(|| old.iter().map(|it| it.name.as_str()).zip(0..).collect());
            match places.get(route.name.as_str()) {
                // New: behind what precedes it.
                None => {
                    between += 1;
                    over.push((((at as u64) << PLACES_BETWEEN) + between, route));
                    continue;
                }
                Some(&place) if place < at => return None,
                Some(&place) if place - at > HTTP_LAYER_ROUTES_MAX => return None,
                Some(&place) => {
                    masked.extend(at..place);
                    at = place;
                }
            }
        }
        if !(Arc::ptr_eq(&old[at], route) || old[at] == *route) {
            masked.push(at);
            over.push((order(at as u64), route));
        }
        (at, between) = (at + 1, 0);
    }
    if old.len() - at > HTTP_LAYER_ROUTES_MAX {
        return None;
    }
    masked.extend(at..old.len());
    let is_little = over.len() <= HTTP_LAYER_ROUTES_MAX && masked.len() <= 2 * HTTP_LAYER_ROUTES_MAX;
    // Two of one name are a fault, which whoever makes all of it anew will find.
    let names: HashSet<_> = over.iter().map(|(_, it)| &it.name).collect();
    let over = over.iter().map(|(order, it)| (*order, Arc::clone(it))).collect::<Vec<_>>();
    (is_little && names.len() == over.len()).then_some((masked, over))
}

/// A bit for each rule of these routes.
fn mask(base: &Layer, routes: &[usize]) -> Arc<[u64]> {
    let targets = &base.compiled.rules_targets;
    let mut words = vec![0; targets.len().div_ceil(64)];
    for &route in routes {
        let first = targets.partition_point(|target| (target.place.0 as usize) < route);
        let rules = targets[first..].iter().take_while(|target| target.place.0 as usize == route).count();
        for rule in first..first + rules {
            words[rule / 64] |= 1 << (rule % 64);
        }
    }
    words.into()
}

#[cfg(test)]
mod tests {
    use super::super::tests::layered;
    use proptest::{collection::vec, prelude::*, sample::subsequence};

    proptest! {
        #![proptest_config(ProptestConfig { cases: 64, ..ProptestConfig::default() })]

        /// Whatever changes of a few routes: requests take the rules that they take from a table that was made anew.
        #[test]
        fn a_table_of_two_layers_is_like_one_of_one(
            gone in subsequence((0..40_usize).collect::<Vec<_>>(), 0..6),
            changed in vec((0..40_usize, 0..8_u8), 0..6),
            new in vec((0..40_usize, 0..8_u8), 0..6),
            asked in vec((0..8_u8, 0..8_u8, 0..3_u8), 40),
        ) {
            layered::check(&gone, &changed, &new, &asked)?;
        }
    }
}
