//! Requests that are answered here: a redirect (Gateway API: `RequestRedirect`), or a response that the rule holds.

use super::{
    FilterError, Target, TargetError, error, put,
    rewrite::{PathRewrite, PathSpec, hostname},
};
use serde::{Deserialize, Serialize};

/// What the configuration says.
#[derive(Clone, PartialEq, Eq, Default, Serialize, Deserialize, Debug)]
#[serde(deny_unknown_fields, default, rename_all = "camelCase")]
pub struct RedirectSpec {
    /// `http` or `https`; the request's own otherwise.
    pub scheme: Option<String>,
    /// The request's own otherwise.
    pub hostname: Option<String>,
    /// The scheme's own if a scheme is said, otherwise the listener's.
    pub port: Option<u16>,
    /// The request's own otherwise.
    pub path: Option<PathSpec>,
    /// 301, 302, 303, 307 or 308; 302 otherwise.
    pub status_code: Option<u16>,
}

/// The filter, compiled.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Redirect {
    /// With which status.
    pub status: u16,
    scheme: Option<&'static str>,
    hostname: Option<Vec<u8>>,
    port: Option<u16>,
    path: Option<PathRewrite>,
}

/// What of the request a redirect may keep.
#[derive(Clone, Copy, Debug)]
pub struct Asked<'a> {
    /// `http` or `https`, as the listener has it.
    pub scheme: &'a str,
    /// The host that was asked, without its port.
    pub host: &'a [u8],
    /// The listener's port.
    pub port: u16,
    /// The path, normalised.
    pub path: &'a [u8],
    /// The query.
    pub query: Option<&'a [u8]>,
    /// Bytes of the path that a `PathPrefix` match has matched.
    pub prefix: usize,
}

impl Redirect {
    /// Compiles it.
    ///
    /// # Errors
    /// A scheme, host, port, path or status that a redirect cannot have.
    pub fn compile(spec: &RedirectSpec) -> Result<Self, FilterError> {
        let scheme = match spec.scheme.as_deref() {
            None => None,
            Some("http") => Some("http"),
            Some("https") => Some("https"),
            Some(other) => return error("scheme", format!("{other:?} is neither http nor https")),
        };
        let status = spec.status_code.unwrap_or(302);
        if !matches!(status, 301 | 302 | 303 | 307 | 308) {
            return error("statusCode", format!("{status} is not a redirect (301, 302, 303, 307 or 308)"));
        }
        if spec.port == Some(0) {
            return error("port", "0 is nobody's port");
        }
        let hostname = spec.hostname.as_deref().map(|host| hostname("hostname", host)).transpose()?;
        let path = spec.path.as_ref().map(PathRewrite::compile).transpose()?;
        Ok(Self { status, scheme, hostname, port: spec.port, path })
    }

    /// Writes where the request itself is, in its normal form.
    ///
    /// # Errors
    /// It is too long.
    pub fn here(asked: &Asked<'_>, location: &mut Target) -> Result<(), TargetError> {
        let same = Self { status: 307, scheme: None, hostname: None, port: None, path: None };
        same.write_location(asked, &mut Target::new(), location)
    }

    /// Writes the `Location` (RFC 9110 section 10.2.2): absolute, or where no host is known (HTTP/1.0), a path.
    ///
    /// # Errors
    /// [`TargetError`]: it is too long, or its path cannot be.
    pub fn write_location(
        &self,
        asked: &Asked<'_>,
        path: &mut Target,
        location: &mut Target,
    ) -> Result<(), TargetError> {
        location.clear();
        let host = self.hostname.as_deref().unwrap_or(asked.host);
        // rfc9110 4.2.1 (MUST NOT): a URI without host.
        if !host.is_empty() {
            let scheme = self.scheme.unwrap_or(asked.scheme);
            put(location, scheme.as_bytes())?;
            put(location, b"://")?;
            put(location, host)?;
            let own = if scheme == "https" { 443 } else { 80 };
            // Gateway API: a scheme that is said brings its own port.
            let port = self.port.unwrap_or(if self.scheme.is_some() { own } else { asked.port });
            if port != own {
                put(location, b":")?;
                put_number(location, port)?;
            }
        }
        let target = match &self.path {
            None => asked.path,
            Some(rewrite) => {
                rewrite.write(asked.path, asked.prefix, path)?;
                &path[..]
            }
        };
        // `*` has no place behind a host, and two slashes without one would begin another host.
        if !target.starts_with(b"/") || host.is_empty() && target.starts_with(b"//") {
            return Err(TargetError::Unsafe);
        }
        put(location, target)?;
        if let Some(query) = asked.query {
            put(location, b"?")?;
            put(location, query)?;
        }
        Ok(())
    }
}

fn put_number(target: &mut Target, number: u16) -> Result<(), TargetError> {
    let mut digits = [0; 5];
    let mut at = digits.len();
    let mut rest = number;
    loop {
        at -= 1;
        digits[at] = b'0' + (rest % 10) as u8;
        rest /= 10;
        if rest == 0 {
            return put(target, &digits[at..]);
        }
    }
}

/// A response that a rule holds.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize, Debug)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct DirectResponse {
    /// 200 to 599.
    pub status_code: u16,
    /// Its content; short, for it is copied into each answer.
    #[serde(default)]
    pub body: String,
    /// What the content is.
    #[serde(default = "plain")]
    pub content_type: String,
}

fn plain() -> String {
    "text/plain; charset=utf-8".into()
}

impl DirectResponse {
    /// Looks whether it can be sent.
    ///
    /// # Errors
    /// A status that is no final one, content where there can be none or that is too long, a content type that is no field value.
    pub fn check(&self) -> Result<(), FilterError> {
        let Self { status_code, body, content_type } = self;
        if !(200..=599).contains(status_code) {
            return error("statusCode", format!("{status_code} is no final status (200 to 599)"));
        }
        if matches!(status_code, 204 | 205 | 304) && !body.is_empty() {
            return error("body", format!("a {status_code} has no content (RFC 9110 section 15)"));
        }
        if body.len() > crate::limits::DIRECT_RESPONSE_MAX {
            let max = crate::limits::DIRECT_RESPONSE_MAX;
            return error("body", format!("{} bytes; {max} at most, for longer ones there are backends", body.len()));
        }
        if content_type.bytes().any(|b| !(b' '..=b'~').contains(&b)) || content_type.trim() != content_type {
            return error("contentType", "not the value of a field");
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ASKED: Asked<'_> =
        Asked { scheme: "http", host: b"shop.example", port: 80, path: b"/basket/7", query: Some(b"a=1"), prefix: 7 };

    fn location(spec: &RedirectSpec, asked: &Asked<'_>) -> String {
        let (mut path, mut location) = (Target::new(), Target::new());
        Redirect::compile(spec).unwrap().write_location(asked, &mut path, &mut location).unwrap();
        String::from_utf8(location.to_vec()).unwrap()
    }

    #[test]
    fn a_redirect_keeps_what_it_does_not_say() {
        let none = RedirectSpec::default();
        let https = RedirectSpec { scheme: Some("https".into()), ..none.clone() };
        let elsewhere = Asked { port: 8_080, query: None, ..ASKED };
        assert_eq!(location(&none, &ASKED), "http://shop.example/basket/7?a=1");
        assert_eq!(location(&none, &elsewhere), "http://shop.example:8080/basket/7");
        assert_eq!(location(&https, &elsewhere), "https://shop.example/basket/7", "the scheme's own port");
        let host = RedirectSpec { hostname: Some("B.example".into()), port: Some(8_443), ..https };
        assert_eq!(location(&host, &ASKED), "https://b.example:8443/basket/7?a=1");
        let path = PathSpec::ReplacePrefixMatch { replace_prefix_match: "/cart".into() };
        let cart = RedirectSpec { path: Some(path), status_code: Some(308), ..none };
        assert_eq!(location(&cart, &ASKED), "http://shop.example/cart/7?a=1");
        assert_eq!(Redirect::compile(&cart).unwrap().status, 308);
    }

    #[test]
    fn what_cannot_be_is_refused_by_name() {
        let field = |spec: RedirectSpec| Redirect::compile(&spec).unwrap_err().field;
        assert_eq!(field(RedirectSpec { scheme: Some("ftp".into()), ..RedirectSpec::default() }), "scheme");
        assert_eq!(field(RedirectSpec { status_code: Some(304), ..RedirectSpec::default() }), "statusCode");
        assert_eq!(field(RedirectSpec { port: Some(0), ..RedirectSpec::default() }), "port");
        let response = |status_code: u16, body: &str| {
            DirectResponse { status_code, body: body.into(), content_type: plain() }.check().map_err(|e| e.field)
        };
        assert_eq!(response(200, "hello"), Ok(()));
        assert_eq!(response(100, ""), Err("statusCode".into()));
        assert_eq!(response(204, "x"), Err("body".into()));
        assert_eq!(response(200, &"x".repeat(crate::limits::DIRECT_RESPONSE_MAX + 1)), Err("body".into()));
    }

    #[test]
    fn numbers_are_written_whole() {
        for (number, text) in [(1, "1"), (10, "10"), (65_535, "65535")] {
            let mut target = Target::new();
            put_number(&mut target, number).unwrap();
            assert_eq!(target.as_slice(), text.as_bytes());
        }
    }
}
