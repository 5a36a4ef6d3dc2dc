//! What is wrong with rules, said to whoever wrote them: route, rule, field, and what would be right.

use super::rules::{HeaderKind, HeaderMatch, Match, PathKind, PathMatch, QueryMatch, Rule};
use crate::limits::{
    HOSTNAME_MAX, HTTP_CONDITIONS_MAX, HTTP_PATH_MATCH_MAX, HTTP_PREFIX_SEGMENTS_MAX, HTTP_VALUE_MATCH_MAX,
    HTTP_WEIGHT_MAX,
};
use std::fmt;

/// One thing that is wrong.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Fault {
    /// The route's name; empty if it concerns the listener or all routes.
    pub route: String,
    /// The rule's name or number; empty if it concerns the whole route.
    pub rule: String,
    /// Where in it, such as `matches[0].path.value`.
    pub field: String,
    /// What is wrong and what would be right.
    pub problem: String,
}

impl std::error::Error for Fault {}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (what, name) in [("route", &self.route), ("rule", &self.rule)] {
            if !name.is_empty() {
                write!(f, "{what} {name}: ")?;
            }
        }
        write!(f, "{}: {}", self.field, self.problem)
    }
}

/// Faults as they are found, with the place where they are looked for.
#[derive(Default)]
pub(super) struct Faults {
    pub(super) found: Vec<Fault>,
    route: String,
    rule: String,
}

impl Faults {
    /// From here on this route is looked at.
    pub(super) fn in_route(&mut self, name: &str) {
        name.clone_into(&mut self.route);
        self.rule.clear();
    }
    /// From here on this rule is looked at.
    pub(super) fn in_rule(&mut self, rule: &Rule, number: usize) {
        self.rule = rule_name(rule, number);
    }
    pub(super) fn add(&mut self, field: impl Into<String>, problem: impl Into<String>) {
        let (route, rule) = (self.route.clone(), self.rule.clone());
        self.found.push(Fault { route, rule, field: field.into(), problem: problem.into() });
    }
    /// Adds what is wrong with one field.
    pub(super) fn check(&mut self, field: impl FnOnce() -> String, result: Result<(), String>) {
        if let Err(problem) = result {
            self.add(field(), problem);
        }
    }
}

/// What a rule is called.
pub(super) fn rule_name(rule: &Rule, number: usize) -> String {
    rule.name.clone().unwrap_or_else(|| format!("#{number}"))
}

/// RFC 1123 names in lower case, no addresses, `*` only as the whole first label.
pub(super) fn hostname(name: &str) -> Result<(), String> {
    let labels = name.strip_prefix("*.").unwrap_or(name);
    let is_label = |label: &str| {
        let inner = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
        (1..=63).contains(&label.len()) && label.bytes().all(inner) && !label.starts_with('-') && !label.ends_with('-')
    };
    if name.len() > HOSTNAME_MAX {
        Err(format!("{name:?} has more than {HOSTNAME_MAX} bytes"))
    } else if !labels.split('.').all(is_label) {
        Err(format!("{name:?} is not a hostname: lower-case letters, digits and '-' between dots, '*.' only in front"))
    } else if labels.rsplit('.').next().is_some_and(|last| last.bytes().all(|byte| byte.is_ascii_digit())) {
        Err(format!("{name:?} looks like an address; routes have names, or none to take any host"))
    } else {
        Ok(())
    }
}

/// What can be said of a match without compiling its patterns.
pub(super) fn a_match(faults: &mut Faults, at: usize, it: &Match) {
    let field = |rest: &str| format!("matches[{at}].{rest}");
    faults.check(|| field("path.value"), path(&it.path));
    if let Some(method) = &it.method
        && !is_token(method)
    {
        faults.add(field("method"), format!("{method:?} is not a method, such as GET"));
    }
    for (what, count) in [("headers", it.headers.len()), ("queryParams", it.query_params.len())] {
        if count > HTTP_CONDITIONS_MAX {
            faults.add(field(what), format!("{count} of them; at most {HTTP_CONDITIONS_MAX} are looked at"));
        }
    }
    for (number, it) in it.headers.iter().enumerate() {
        faults.check(|| field(&format!("headers[{number}]")), header(it));
    }
    for (number, it) in it.query_params.iter().enumerate() {
        faults.check(|| field(&format!("queryParams[{number}]")), query(it));
    }
}

/// The Gateway API's rules for `Exact` and `PathPrefix`. Requests are compared after normalisation, so what it never leaves would never match.
fn path(it: &PathMatch) -> Result<(), String> {
    let value = it.value.as_str();
    if value.len() > HTTP_PATH_MATCH_MAX {
        return Err(format!("{} bytes; at most {HTTP_PATH_MATCH_MAX} are compared", value.len()));
    }
    if it.kind == PathKind::RegularExpression {
        return Ok(());
    }
    if !value.starts_with('/') {
        return Err(format!("{value:?} must begin with '/'"));
    }
    for never in ["//", "/./", "/../", "%2f", "%2F"] {
        if value.contains(never) {
            return Err(format!("{value:?} contains {never:?}, which no normalised path does"));
        }
    }
    if value.ends_with("/.") || value.ends_with("/..") {
        return Err(format!("{value:?} ends with a dot segment, which no normalised path does"));
    }
    if let Some(bad) = first_bad_path_byte(value.as_bytes()) {
        return Err(format!("{value:?} contains {:?}; write it percent-encoded", bad as char));
    }
    let segments = value.trim_end_matches('/').matches('/').count();
    if it.kind == PathKind::PathPrefix && segments > HTTP_PREFIX_SEGMENTS_MAX {
        return Err(format!("{segments} segments; a prefix has at most {HTTP_PREFIX_SEGMENTS_MAX}"));
    }
    Ok(())
}

/// The first byte that RFC 3986 section 3.3 does not allow in a path.
fn first_bad_path_byte(value: &[u8]) -> Option<u8> {
    let mut at = 0;
    while let Some(&byte) = value.get(at) {
        let is_encoded = || value.get(at + 1..at + 3).is_some_and(|hex| hex.iter().all(u8::is_ascii_hexdigit));
        at += match byte {
            b'%' if is_encoded() => 3,
            _ if byte.is_ascii_alphanumeric() || b"/-._~:@!$&'()*+,;=".contains(&byte) => 1,
            _ => return Some(byte),
        };
    }
    None
}

fn header(it: &HeaderMatch) -> Result<(), String> {
    if !is_token(&it.name) {
        return Err(format!("{:?} is not a field name", it.name));
    }
    match (it.kind, it.value.as_str()) {
        (HeaderKind::Present, "") => Ok(()),
        (HeaderKind::Present, _) => {
            Err("a value, though it need only be present: leave it out, or say type Exact".into())
        }
        (HeaderKind::RegularExpression, pattern) => length(pattern),
        // rfc9110 5.5: what surrounds a value is no part of it.
        (HeaderKind::Exact, value) if value.trim_matches([' ', '\t']) != value => {
            Err(format!("{value:?} begins or ends with white space, which no field value does"))
        }
        (HeaderKind::Exact, value) if value.bytes().any(|byte| byte != b'\t' && byte.is_ascii_control()) => {
            Err(format!("{value:?} contains a control character, which no field value does"))
        }
        (HeaderKind::Exact, value) => length(value),
    }
}

fn query(it: &QueryMatch) -> Result<(), String> {
    if it.name.is_empty() {
        return Err("the parameter's name is empty".into());
    }
    length(&it.name).and(length(&it.value))
}

fn length(value: &str) -> Result<(), String> {
    match value.len() {
        0 => Err("the value is empty: say what is to be compared".into()),
        1..=HTTP_VALUE_MATCH_MAX => Ok(()),
        bytes => Err(format!("{bytes} bytes; at most {HTTP_VALUE_MATCH_MAX} are compared")),
    }
}

/// The sum cannot overflow 64 bits: the weights are bounded, and a rule's text is.
pub(super) fn weights(faults: &mut Faults, rule: &Rule) {
    for (number, backend) in rule.backends.iter().enumerate() {
        if backend.weight > HTTP_WEIGHT_MAX {
            faults.add(
                format!("backends[{number}].weight"),
                format!("{} is more than {HTTP_WEIGHT_MAX}", backend.weight),
            );
        }
    }
}

/// rfc9110 5.6.2.
fn is_token(text: &str) -> bool {
    let is_tchar = |byte: u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte);
    !text.is_empty() && text.len() <= 256 && text.bytes().all(is_tchar)
}
