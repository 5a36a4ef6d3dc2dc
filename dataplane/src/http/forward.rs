//! What a message tells the next hop about those before it.
//!
//! ```text
//!   fields of the request:
//!     framing, for one hop, named by Connection      end here when the head is read              (h1::framing)
//!     x-forwarded-*, forwarded, x-real-ip, ..        end here unless who sends them is trusted   (believe)
//!     everything else                                goes on
//!   added:  x-forwarded-for, -proto, -host, forwarded, via                                       (request, response)
//! ```
//! [`believe`] comes before anything decides on a request: what a stranger says about himself is not seen by filters either.

use super::{
    Refusal, Request, Spans, Version, elements,
    h1::write::{Head, Sink, WriteError},
    head::{Fields, Name, Role, Scheme},
    trim,
};
use arrayvec::ArrayVec;
use std::{io::Write, net::IpAddr};

/// What a listener adds.
#[derive(Clone, Copy, Debug)]
pub struct Options<'a> {
    /// Our name in `Via`; empty: none is written.
    pub via: &'a [u8],
    /// `X-Forwarded-For`, `-Proto` and `-Host`.
    pub x_forwarded: bool,
    /// `Forwarded` (RFC 7239).
    pub forwarded: bool,
}

impl Default for Options<'_> {
    fn default() -> Self {
        Self { via: b"weirgate", x_forwarded: true, forwarded: false }
    }
}

/// Who sends requests on a connection. Made once for each, for it formats.
#[derive(Clone, Debug)]
pub struct Client {
    address: ArrayVec<u8, 46>,
    is_v6: bool,
    scheme: Scheme,
    is_trusted: bool,
    /// What its certificate says, if it has shown one.
    certificate: Option<Box<[u8]>>,
}

impl Client {
    /// `is_trusted`: what it says about those before it is believed.
    pub fn new(address: IpAddr, scheme: Scheme, is_trusted: bool) -> Self {
        let address = address.to_canonical();
        let mut text = ArrayVec::new();
        write!(text, "{address}").expect("an address has 39 bytes at most");
        Self { address: text, is_v6: address.is_ipv6(), scheme, is_trusted, certificate: None }
    }
    /// Nobody yet: for a connection whose peer is still to be named.
    pub fn unknown(scheme: Scheme) -> Self {
        Self { address: ArrayVec::new(), is_v6: false, scheme, is_trusted: false, certificate: None }
    }
    /// The same, who has shown a certificate: the value of `x-forwarded-client-cert`.
    #[must_use]
    pub fn with_certificate(self, value: &[u8]) -> Self {
        Self { certificate: Some(value.into()), ..self }
    }
    /// What its connection speaks.
    pub fn scheme(&self) -> Scheme {
        self.scheme
    }
    /// Whether it is believed.
    pub fn is_trusted(&self) -> bool {
        self.is_trusted
    }
}

/// Ends here what a stranger says about himself, and what is written anew. To be called once for each head that was read.
pub fn believe(client: &Client, spans: &mut Spans) {
    for index in 0..spans.fields.len() {
        spans.fields[index].ends_here |= match spans.fields[index].known {
            Some(name) if name.role() == Role::Trust => {
                let is_ours = name == Name::XForwardedClientCert && client.certificate.is_some();
                !client.is_trusted || is_never_believed(name) || is_written_anew(name) || is_ours
            }
            Some(_) => false,
            None => !client.is_trusted && is_about_client(spans.name(index)),
        };
    }
}

/// Whether a name that is not known says who the client is, or what it asked: every proxy and framework has some of its own.
pub(crate) fn is_about_client(name: &[u8]) -> bool {
    name.starts_with(b"x-forwarded") || name.starts_with(b"x-original-")
}

/// Not about the client, but orders to backends: another path (`x-original-url`), a proxy for their own requests (`proxy`).
fn is_never_believed(name: Name) -> bool {
    matches!(name, Name::XOriginalUrl | Name::XRewriteUrl | Name::Proxy)
}

/// Lists that we are appended to.
fn is_written_anew(name: Name) -> bool {
    matches!(name, Name::XForwardedFor | Name::Forwarded)
}

/// Adds to a request that goes on what is to be said about its way here.
pub fn request<S: Sink>(
    head: &mut Head<'_, S>,
    request: Request<'_>,
    client: &Client,
    options: Options<'_>,
) -> Result<(), WriteError> {
    let fields = request.fields;
    let port = Port::of(request.port());
    if options.x_forwarded {
        x_forwarded(head, request, client, &port)?;
    }
    if options.forwarded {
        // rfc7239 4, 6: an IPv6 address in brackets and quotes; a host with a port in quotes.
        let (open, close): (&[u8], &[u8]) = if client.is_v6 { (b"for=\"[", b"]\"") } else { (b"for=", b"") };
        let proto = client.scheme.as_str().as_bytes();
        let mut ours: ArrayVec<&[u8], 9> = ArrayVec::from_iter([open, &client.address, close, b";proto=", proto]);
        if !request.host().is_empty() {
            ours.extend([&b";host=\""[..], request.host(), &port.0, b"\""]);
        }
        let before = believed(fields, Name::Forwarded, client);
        head.field_in_parts(b"forwarded", before.chain(ours.iter().copied()))?;
    }
    if let Some(certificate) = &client.certificate {
        head.field(b"x-forwarded-client-cert", certificate)?;
    }
    if accepts_trailers(fields) {
        head.te_trailers();
    }
    // rfc9110 7.6.3 (MUST): a gateway says so in every request.
    via(head, request.version(), options)
}

fn x_forwarded<S: Sink>(
    head: &mut Head<'_, S>,
    request: Request<'_>,
    client: &Client,
    port: &Port,
) -> Result<(), WriteError> {
    let fields = request.fields;
    let said = [Name::XForwardedFor, Name::XForwardedProto, Name::XForwardedHost].map(|name| fields.has(name));
    if said == [false; 3] && client.scheme == Scheme::Http && !request.host().is_empty() {
        // By far the most: nobody was before. An address is digits, and hosts were looked at.
        let (proto, host) = (&b"\r\nx-forwarded-proto: http\r\nx-forwarded-host: "[..], request.host());
        return head.lines([b"x-forwarded-for: ", &client.address, proto, host, &port.0, b"\r\n"]);
    }
    let before = believed(fields, Name::XForwardedFor, client);
    head.field_in_parts(b"x-forwarded-for", before.chain([&client.address[..]]))?;
    if !fields.passes(Name::XForwardedProto) {
        head.field(b"x-forwarded-proto", client.scheme.as_str().as_bytes())?;
    }
    if !fields.passes(Name::XForwardedHost) && !request.host().is_empty() {
        head.field_in_parts(b"x-forwarded-host", [request.host(), &port.0])?;
    }
    Ok(())
}

/// Adds to a response that goes on what is to be said about its way here.
pub fn response<S: Sink>(head: &mut Head<'_, S>, version: Version, options: Options<'_>) -> Result<(), WriteError> {
    // rfc9110 7.6.3 (MAY): in responses, too.
    via(head, version, options)
}

fn via<S: Sink>(head: &mut Head<'_, S>, version: Version, options: Options<'_>) -> Result<(), WriteError> {
    if options.via.is_empty() {
        return Ok(());
    }
    let start: &[u8] = match version {
        Version::Http10 => b"via: 1.0 ",
        Version::Http11 => b"via: 1.1 ",
        Version::Http2 => b"via: 2.0 ",
    };
    head.lines([start, options.via, b"\r\n"])
}

/// Whether we have forwarded this request before (RFC 9110 section 7.6.3): it goes in a circle.
pub fn is_loop(fields: Fields<'_>, options: Options<'_>) -> bool {
    let received_by = |element: &[u8]| {
        let mut words = element.split(|b| matches!(b, b' ' | b'\t')).filter(|word| !word.is_empty());
        words.nth(1).is_some_and(|name| name.eq_ignore_ascii_case(options.via))
    };
    !options.via.is_empty() && fields.known(Name::Via).any(|value| elements(value).any(received_by))
}

/// Whether the client takes trailers (RFC 9110 section 10.1.4).
pub fn accepts_trailers(fields: Fields<'_>) -> bool {
    fields.known(Name::Te).any(|value| elements(value).any(|coding| coding.eq_ignore_ascii_case(b"trailers")))
}

/// rfc9110 7.6.2 (MUST): how often TRACE and OPTIONS may still be forwarded. The field itself ends here.
pub fn max_forwards(spans: &mut Spans, bytes: &[u8]) -> Result<Option<u16>, Refusal> {
    if !matches!(spans.request(bytes).method(), b"TRACE" | b"OPTIONS") {
        return Ok(None);
    }
    let mut left = None;
    for index in 0..spans.fields.len() {
        if spans.fields[index].known != Some(Name::MaxForwards) || spans.fields[index].ends_here {
            continue;
        }
        spans.fields[index].ends_here = true;
        let value = spans.value(index);
        if value.is_empty() || !value.iter().all(u8::is_ascii_digit) {
            return Err(Refusal::MaxForwards);
        }
        let digit = |number: u16, digit: &u8| number.saturating_mul(10).saturating_add(u16::from(digit - b'0'));
        if left.replace(value.iter().fold(0, digit)).is_some() {
            return Err(Refusal::MaxForwards);
        }
    }
    Ok(left)
}

/// The values of a list that a trusted client sent, each with what separates it from the next.
fn believed<'a>(fields: Fields<'a>, name: Name, client: &Client) -> impl Iterator<Item = &'a [u8]> + Clone {
    let is_trusted = client.is_trusted;
    let values = fields.known(name).filter(move |value| is_trusted && !trim(value).is_empty());
    values.flat_map(|value| [value, b", "])
}

/// A colon and a port, or nothing.
struct Port(ArrayVec<u8, 6>);

impl Port {
    fn of(port: Option<u16>) -> Self {
        let mut text = ArrayVec::new();
        let mut divisor = 10_000;
        if let Some(port) = port {
            text.push(b':');
            while divisor > 0 {
                if divisor <= port || divisor == 1 {
                    text.push(b'0' + (port / divisor % 10) as u8);
                }
                divisor /= 10;
            }
        }
        Self(text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::http::{
        Side,
        h1::{Limits, Receiver, Step},
    };

    /// What the next hop gets of a request with these fields, from its second line on.
    fn forwarded(line: &str, fields: &str, client: &Client, options: Options<'_>) -> String {
        let bytes = format!("{line}\r\n{fields}\r\n");
        let mut spans = Spans::new();
        let step = Receiver::new(Side::Server, Limits::default()).step(bytes.as_bytes(), &mut spans).unwrap();
        let Step::Head { framing, .. } = step else { panic!("{step:?}") };
        believe(client, &mut spans);
        let request = spans.request(bytes.as_bytes());
        let mut out = ArrayVec::<u8, 2048>::new();
        let mut head =
            Head::request(&mut out, request.method(), &[request.path()], request.host(), request.port()).unwrap();
        request.fields().try_for_each(|(name, value)| head.field(name, value)).unwrap();
        super::request(&mut head, request, client, options).unwrap();
        let _ = head.end(framing.body, true).unwrap();
        let text = String::from_utf8(out.to_vec()).unwrap();
        text.split_once("\r\n").unwrap().1.trim_end().replace("\r\n", " | ")
    }

    fn client(address: &str, is_trusted: bool) -> Client {
        Client::new(address.parse().unwrap(), Scheme::Https, is_trusted)
    }

    const OURS: &str = "x-forwarded-for: 192.0.2.1 | x-forwarded-proto: https | x-forwarded-host: a";

    #[test]
    fn a_stranger_is_not_believed() {
        let stranger = client("192.0.2.1", false);
        for name in [
            "X-Forwarded-For",
            "X-Forwarded-Proto",
            "X-Forwarded-Host",
            "X-Forwarded-Port",
            "X-Forwarded-Prefix",
            "X-Forwarded-Client-Cert",
            "X-Real-IP",
            "Forwarded",
            "X-Original-URL",
            "X-Rewrite-Url",
            "Proxy",
        ] {
            let fields = format!("Host: A\r\n{name}: x\r\nx-id: 1\r\n{name}: y\r\n");
            let heard = forwarded("GET / HTTP/1.1", &fields, &stranger, Options::default());
            assert_eq!(heard, format!("host: a | x-id: 1 | {OURS} | via: 1.1 weirgate"), "{name}");
        }
    }

    #[test]
    fn who_is_trusted_is_believed_and_appended_to() {
        let peer = client("192.0.2.1", true);
        let fields = "Host: a:8443\r\nX-Forwarded-For: 203.0.113.7\r\nX-Forwarded-Proto: http\r\nX-Forwarded-For: 10.0.0.1, 10.0.0.2\r\n\
                      X-Forwarded-For:\r\nX-Forwarded-Client-Cert: c\r\nProxy: evil\r\nX-Original-Url: /admin\r\n";
        assert_eq!(
            forwarded("GET / HTTP/1.1", fields, &peer, Options::default()),
            "host: a:8443 | x-forwarded-proto: http | x-forwarded-client-cert: c | \
             x-forwarded-for: 203.0.113.7, 10.0.0.1, 10.0.0.2, 192.0.2.1 | x-forwarded-host: a:8443 | via: 1.1 weirgate"
        );
    }

    #[test]
    fn forwarded_says_it_in_one_field() {
        let options = Options { x_forwarded: false, forwarded: true, via: b"" };
        for (address, is_trusted, expected) in [
            ("192.0.2.1", false, "host: a:80 | forwarded: for=192.0.2.1;proto=https;host=\"a:80\""),
            ("2001:db8::1", false, "host: a:80 | forwarded: for=\"[2001:db8::1]\";proto=https;host=\"a:80\""),
            ("::ffff:192.0.2.1", true, "host: a:80 | forwarded: for=_x, for=192.0.2.1;proto=https;host=\"a:80\""),
        ] {
            let fields = "Host: a:80\r\nForwarded: for=_x\r\n";
            assert_eq!(forwarded("GET / HTTP/1.1", fields, &client(address, is_trusted), options), expected);
        }
    }

    #[test]
    fn what_is_for_one_hop_ends_here() {
        let stranger = client("192.0.2.1", false);
        let options = Options { x_forwarded: false, forwarded: false, via: b"gw" };
        for (line, fields, expected) in [
            (
                "GET / HTTP/1.1",
                "Host: a\r\nConnection: keep-alive, x-hop\r\nX-Hop: 1\r\nKeep-Alive: 1\r\nUpgrade: h2c\r\nHTTP2-Settings: x\r\n",
                "host: a | via: 1.1 gw",
            ),
            (
                "GET / HTTP/1.1",
                "Host: a\r\nTE: gzip, Trailers\r\n",
                "host: a | via: 1.1 gw | te: trailers | connection: te",
            ),
            ("GET / HTTP/1.1", "Host: a\r\nTE: gzip\r\n", "host: a | via: 1.1 gw"),
            ("GET / HTTP/1.1", "Host: a\r\nVia: 1.0 b\r\n", "host: a | via: 1.0 b | via: 1.1 gw"),
            ("GET / HTTP/1.0", "", "host:  | via: 1.0 gw"),
            (
                "POST / HTTP/1.1",
                "Host: a\r\nContent-Length: 0007\r\nExpect: 100-continue\r\n",
                "host: a | via: 1.1 gw | content-length: 7",
            ),
            (
                "POST / HTTP/1.1",
                "Host: a\r\ntransfer-encoding: CHUNKED\r\n",
                "host: a | via: 1.1 gw | transfer-encoding: chunked",
            ),
        ] {
            assert_eq!(forwarded(line, fields, &stranger, options), expected, "{line} {fields:?}");
        }
    }

    #[test]
    fn a_circle_is_seen() {
        for (fields, expected) in [
            ("", false),
            ("Via: 1.1 other\r\n", false),
            ("Via: 1.1 other, 2.0 Weirgate (x)\r\n", true),
            ("Via: 1.1 other\r\nVia: HTTP/1.1  weirgate\r\n", true),
            ("Via: weirgate\r\n", false),
            ("Via: ,\r\n", false),
        ] {
            let bytes = format!("GET / HTTP/1.1\r\nHost: a\r\n{fields}\r\n");
            let mut spans = Spans::new();
            Receiver::new(Side::Server, Limits::default()).step(bytes.as_bytes(), &mut spans).unwrap();
            let fields_read = spans.request(bytes.as_bytes()).fields;
            assert_eq!(is_loop(fields_read, Options::default()), expected, "{fields:?}");
            assert!(!is_loop(fields_read, Options { via: b"", ..Options::default() }));
        }
    }

    #[test]
    fn ports_are_numbers() {
        for (port, text) in
            [(None, ""), (Some(1), ":1"), (Some(80), ":80"), (Some(10_000), ":10000"), (Some(65_535), ":65535")]
        {
            assert_eq!(Port::of(port).0.as_slice(), text.as_bytes());
        }
    }
}
