//! The variables that `${NAME}` may stand for. They are an argument: what a configuration comes to never depends on who happens to compile it.

use std::collections::BTreeMap;

/// Variables with their values.
#[derive(Clone, PartialEq, Eq, Default, Debug)]
pub struct Environment {
    variables: BTreeMap<String, String>,
    /// Whoever compiles has the files' own file system before him.
    pub(super) is_local: bool,
}

impl Environment {
    /// Those of this process; the ones that are no text are not there.
    pub fn of_process() -> Self {
        let text = |(name, value): (std::ffi::OsString, std::ffi::OsString)| {
            Some((name.into_string().ok()?, value.into_string().ok()?))
        };
        Self { variables: std::env::vars_os().filter_map(text).collect(), is_local: true }
    }

    /// The value of one, if it is set.
    pub fn get(&self, name: &str) -> Option<&str> {
        self.variables.get(name).map(String::as_str)
    }

    pub(super) fn names(&self) -> impl Iterator<Item = &str> {
        self.variables.keys().map(String::as_str)
    }
}

impl<N: Into<String>, V: Into<String>> FromIterator<(N, V)> for Environment {
    fn from_iter<I: IntoIterator<Item = (N, V)>>(all: I) -> Self {
        let variables = all.into_iter().map(|(name, value)| (name.into(), value.into())).collect();
        Self { variables, is_local: false }
    }
}
