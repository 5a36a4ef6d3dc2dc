//! The fuzz target of routing; see [`crate::fuzz`].
//!
//! ```text
//!   input:   a byte for each choice: rules first, requests from what is left
//! ```

use super::{
    reference::{self, Asked},
    *,
};
use std::sync::Arc;

/// Choices that bytes make. When there are no more, each is the first of what there is.
struct Choices<'a>(&'a [u8]);

impl Choices<'_> {
    fn byte(&mut self) -> u8 {
        let Some((&first, rest)) = self.0.split_first() else { return 0 };
        self.0 = rest;
        first
    }

    fn of<T: Copy>(&mut self, all: &[T]) -> T {
        all[usize::from(self.byte()) % all.len()]
    }

    /// Fewer than `below`.
    fn many<T>(&mut self, below: u8, mut one: impl FnMut(&mut Self) -> T) -> Vec<T> {
        (0..self.byte() % below).map(|_| one(self)).collect()
    }

    /// One time in four.
    fn maybe<T>(&mut self, one: impl FnOnce(&mut Self) -> T) -> Option<T> {
        (self.byte() % 4 == 3).then(|| one(self))
    }

    /// Segments, sometimes as many as a prefix may have, and more.
    fn path(&mut self, segments: &[&str]) -> String {
        let count = self.byte();
        let count = if count < 250 { count % 6 } else { 60 + count % 6 };
        let segments: Vec<_> = (0..count).map(|_| self.of(segments)).collect();
        format!("/{}", segments.join("/"))
    }

    fn path_match(&mut self) -> PathMatch {
        let kind = self.of(&[PathKind::PathPrefix, PathKind::Exact, PathKind::RegularExpression]);
        let value = if kind == PathKind::RegularExpression {
            self.of(&["/a.*", "/[ab]+", ".*b", "/a/b", "/a|/b/.*", "", "/ab?/.?"]).to_owned()
        } else {
            let path = self.path(&["a", "b", "ab", "%41"]);
            if self.byte() % 4 == 1 && path.len() > 1 { path + "/" } else { path }
        };
        PathMatch { kind, value }
    }

    fn header(&mut self) -> HeaderMatch {
        let name = self.of(&["h", "H", "i"]).to_owned();
        let (kind, value) = match self.byte() % 3 {
            0 => (HeaderKind::Exact, self.of(&["1", "2", "1, 2"])),
            1 => (HeaderKind::Present, ""),
            _ => (HeaderKind::RegularExpression, "1.*"),
        };
        HeaderMatch { kind, name, value: value.to_owned() }
    }

    fn query(&mut self) -> QueryMatch {
        let name = self.of(&["q", "Q", "q q"]).to_owned();
        let (kind, value) = match self.byte() % 2 {
            0 => (QueryKind::Exact, self.of(&["1", "2", "a&b"])),
            _ => (QueryKind::RegularExpression, "[12]|a.b"),
        };
        QueryMatch { kind, name, value: value.to_owned() }
    }

    fn a_match(&mut self) -> Match {
        Match {
            path: self.path_match(),
            method: self.maybe(|choices| choices.of(&["GET", "POST", "CONNECT"]).to_owned()),
            headers: self.many(4, Self::header),
            query_params: self.many(4, Self::query),
        }
    }

    fn rules(&mut self) -> Rules {
        let hostname =
            |choices: &mut Self| choices.of(&["a.x", "*.x", "*.a.x", "b.a.x", "y", "x", "*.c.b.a.x"]).to_owned();
        let listener = self.maybe(hostname);
        let mut routes = self.many(5, |choices| {
            let hostnames = choices.many(3, hostname);
            let mut rules =
                choices.many(4, |choices| Rule { matches: choices.many(4, Self::a_match), ..Rule::default() });
            rules.resize(rules.len().max(1), Rule::default());
            Route { hostnames, rules, ..Route::default() }
        });
        for (number, route) in routes.iter_mut().enumerate() {
            route.name = format!("r{number}");
        }
        reference::retain_within(listener.as_deref(), &mut routes);
        Rules { hostname: listener, routes: routes.into_iter().map(Arc::new).collect() }
    }

    fn asked(&mut self) -> Asked {
        let method = self.of(&["GET", "POST", "PUT", "CONNECT"]);
        let host = self.of(&["a.x", "b.a.x", "c.b.a.x", "d.c.b.a.x", "x", "y", "z.y", ".x", "", "A.X"]);
        let path = match self.byte() % 16 {
            15 => self.of(&["*", "", "a"]).to_owned(),
            _ => self.path(&["a", "b", "ab", "", "%41", "A"]),
        };
        let parameters = ["q=1", "q=%31", "%71=2", "q", "Q=a%26b", "q%20q=1", "q+q=2", "q=1;Q=2", "%=%", ""];
        let query = self.many(4, |choices| choices.of(&parameters)).join("&");
        let target = if self.byte().is_multiple_of(4) && query.is_empty() { path } else { format!("{path}?{query}") };
        let field = |choices: &mut Self| (choices.of(&["h", "i", "j"]), choices.of(&["1", "2", "1, 2", "12", ""]));
        Asked { method, host, target, fields: self.many(4, field) }
    }
}

/// The rule that a request takes is the first by the Gateway API's order of those that match, and what is explained says the same.
pub fn http_routes(data: &[u8]) {
    let mut choices = Choices(data);
    let rules = choices.rules();
    let table = match compile(rules.clone(), &|_| None) {
        Ok(table) => table,
        // A prefix of more segments than there may be.
        Err(faults) => {
            assert!(faults.iter().all(|fault| fault.field.ends_with("path.value")), "{faults:?}");
            return;
        }
    };
    for _ in 0..8 {
        reference::check(&table, &rules, &choices.asked());
        if choices.0.is_empty() {
            return;
        }
    }
}
