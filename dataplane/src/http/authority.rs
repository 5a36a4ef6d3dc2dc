//! Who is asked: `host [":" port]` (RFC 3986 section 3.2), as a target or a Host field has it.

use super::Refusal;
use crate::limits::HTTP_HOST_MAX;
use std::net::Ipv6Addr;

/// A host and its port.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Authority<'a> {
    /// A name, an IPv4 address, or an IPv6 address in brackets; in the letters that it came in, without a trailing dot.
    pub host: &'a [u8],
    /// The port, if there is one.
    pub port: Option<u16>,
}

impl<'a> Authority<'a> {
    /// Reads one. Names are letters, digits, hyphens, dots and underscores: RFC 3986 section 3.2.2 has more (escapes, for one), DNS has not.
    pub fn parse(bytes: &'a [u8]) -> Result<Self, Refusal> {
        if is_plain_name(bytes) {
            return Ok(Self { host: bytes, port: None });
        }
        // rfc9110 4.2.4: userinfo is an error, for it hides who is asked.
        if memchr::memchr(b'@', bytes).is_some() {
            return Err(Refusal::UserInfo);
        }
        let end = match bytes {
            [b'[', ..] => memchr::memchr(b']', bytes).ok_or(Refusal::Host)? + 1,
            _ => memchr::memchr(b':', bytes).unwrap_or(bytes.len()),
        };
        let (host, rest) = bytes.split_at(end);
        let port = match rest {
            [] => None,
            [b':', digits @ ..] => Some(port(digits)?),
            _ => return Err(Refusal::Host),
        };
        Ok(Self { host: if host.starts_with(b"[") { literal(host)? } else { name(host)? }, port })
    }

    /// Whether both name the same host, and the same port where `default` stands for one that is not there.
    pub fn is_same(&self, other: &Self, default: Option<u16>) -> bool {
        self.host.eq_ignore_ascii_case(other.host) && self.port.or(default) == other.port.or(default)
    }
}

/// Whether it is a name and nothing else, which most are: letters, digits and hyphens, with single dots between them.
fn is_plain_name(bytes: &[u8]) -> bool {
    let mut after_dot = true;
    let is_plain = bytes.iter().all(|&byte| {
        let is_dot = byte == b'.';
        let fits = byte.is_ascii_alphanumeric() || byte == b'-' || is_dot && !after_dot;
        after_dot = is_dot;
        fits
    });
    is_plain && !after_dot && bytes.len() <= HTTP_HOST_MAX
}

fn port(digits: &[u8]) -> Result<u16, Refusal> {
    // rfc3986 3.2.3 has no bound, and allows a colon without a port. TCP has no port 0.
    if digits.is_empty() || digits.len() > 5 || !digits.iter().all(u8::is_ascii_digit) {
        return Err(Refusal::Host);
    }
    let value = digits.iter().fold(0u32, |value, digit| value * 10 + u32::from(digit - b'0'));
    u16::try_from(value).ok().filter(|&p| p != 0).ok_or(Refusal::Host)
}

fn literal(host: &[u8]) -> Result<&[u8], Refusal> {
    // rfc3986 3.2.2: an address without a zone (RFC 6874 is for hosts themselves, not for what they send).
    let inner = std::str::from_utf8(&host[1..host.len() - 1]).map_err(|_| Refusal::Host)?;
    inner.parse::<Ipv6Addr>().map(|_| host).map_err(|_| Refusal::Host)
}

fn name(host: &[u8]) -> Result<&[u8], Refusal> {
    // One trailing dot says that the name is complete, which a name in a request is anyway.
    let host = host.strip_suffix(b".").unwrap_or(host);
    let sound = |&b: &u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'.' | b'_');
    let labels = !host.starts_with(b".") && !host.ends_with(b".") && !host.windows(2).any(|two| two == b"..");
    // rfc9110 4.2.1: an empty host is invalid.
    if host.is_empty() || host.len() > HTTP_HOST_MAX || !labels || !host.iter().all(sound) {
        return Err(Refusal::Host);
    }
    Ok(host)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hosts_and_ports() {
        let long = [b'a'; HTTP_HOST_MAX + 1];
        let refused = Err(Refusal::Host);
        let row = |host: &'static [u8], port| Ok(Authority { host, port });
        for (bytes, expected) in [
            (&b"example.com"[..], row(b"example.com", None)),
            (b"Example.COM.", row(b"Example.COM", None)),
            (b"example.com:8080", row(b"example.com", Some(8080))),
            (b"example.com.:08080", row(b"example.com", Some(8080))),
            (b"my_svc-1.ns", row(b"my_svc-1.ns", None)),
            (b"192.0.2.1:1", row(b"192.0.2.1", Some(1))),
            (b"[2001:db8::1]", row(b"[2001:db8::1]", None)),
            (b"[::ffff:192.0.2.1]:65535", row(b"[::ffff:192.0.2.1]", Some(65535))),
            (b"", refused),
            (b".", refused),
            (b"..", refused),
            (b"a..b", refused),
            (b".a", refused),
            (b"a..", refused),
            (b":80", refused),
            (b"a:", refused),
            (b"a:0", refused),
            (b"a:65536", refused),
            (b"a:99999", refused),
            (b"a:000080", refused),
            (b"a:+80", refused),
            (b"a:80 ", refused),
            (b"a:80:80", refused),
            (b"a b", refused),
            (b"a,b", refused),
            (b"a/b", refused),
            (b"a%2eb", refused),
            (b"a\0b", refused),
            (b"\xc3\xa9", refused),
            (b"2001:db8::1", refused),
            (b"[]", refused),
            (b"[::1", refused),
            (b"[::1]x", refused),
            (b"[::1%25eth0]", refused),
            (b"[v1.a]", refused),
            (b"[[::1]]", refused),
            (b"user@a", Err(Refusal::UserInfo)),
            (b"user:password@a:80", Err(Refusal::UserInfo)),
            (b"@", Err(Refusal::UserInfo)),
            (&long, refused),
            (&long[1..], Ok(Authority { host: &long[1..], port: None })),
        ] {
            assert_eq!(Authority::parse(bytes), expected, "{}", bytes.escape_ascii());
        }
    }

    #[test]
    fn the_default_port_may_be_said_or_not() {
        let parse = |text: &'static str| Authority::parse(text.as_bytes()).unwrap();
        assert!(parse("a.b").is_same(&parse("A.b.:80"), Some(80)));
        assert!(!parse("a.b").is_same(&parse("a.b:81"), Some(80)));
        assert!(!parse("a.b").is_same(&parse("a.c"), Some(80)));
        assert!(!parse("a.b:80").is_same(&parse("a.b"), None));
    }
}
