//! The fuzz targets of whole messages; see [`crate::fuzz`]. Their input is that of [`crate::http::h1::fuzz`].
//!
//! ```text
//!   bytes --> Receiver --> judged and written as the gateway does it --> Receiver --> the same messages, nothing between them
//!                     said                                                     heard
//! ```
//! What is said on one leg is what the other end of the other leg hears: that is what smuggling breaks.

use super::{
    Exchange, Kept,
    config::Http,
    listeners::Edition,
    meters::RouteKey,
    request::{self, describe},
    response,
};
use crate::{
    http::{
        Refusal, Request, Response, Side, Spans, Version,
        admit::{Admitted, admit},
        elements, forward,
        h1::{
            Asked, Body, Framing, Receiver, Step,
            driver::Act,
            fuzz::{NO_LIMITS, Setup},
            write::{Content, WriteError},
        },
        head::{Fields, Name, Scheme},
        normalize::Normalizer,
    },
    route::RuleIndex,
    time::Instant,
};
use std::{net::IpAddr, ops::ControlFlow, sync::LazyLock};

type Field = (Vec<u8>, Vec<u8>);

/// A message, as somebody understands it.
#[derive(Debug)]
struct Message {
    /// Method, host, port, path and query; or the status.
    words: Vec<Vec<u8>>,
    /// Those that go on.
    fields: Vec<Field>,
    /// Those that end here.
    hop: Vec<Field>,
    framing: Framing,
    content: Vec<u8>,
    trailers: Vec<Field>,
    ended: bool,
}

impl Message {
    fn new(words: Vec<Vec<u8>>, fields: Fields<'_>, framing: Framing) -> Self {
        let pair = |(name, value): (&[u8], &[u8])| (name.to_vec(), value.to_vec());
        let hop = fields.entries().filter(|(field, ..)| field.ends_here).map(|(_, name, value)| pair((name, value)));
        let (hop, fields) = (hop.collect(), fields.iter().map(pair).collect());
        Self { words, fields, hop, framing, content: Vec::new(), trailers: Vec::new(), ended: false }
    }

    fn request(request: Request<'_>, path: &[u8], framing: Framing) -> Self {
        let host = if request.host().is_empty() { NO_HOST } else { request.host() };
        let port = request.port().map_or(Vec::new(), |port| port.to_string().into_bytes());
        let query = request.query().map_or(Vec::new(), |query| [b"?", query].concat());
        let words = vec![request.method().to_vec(), host.to_vec(), port, path.to_vec(), query];
        Self::new(words, request.fields, framing)
    }

    fn response(response: Response<'_>, framing: Framing) -> Self {
        Self::new(vec![response.status().to_string().into_bytes()], response.fields, framing)
    }
}

/// Stands for the host of HTTP/1.0 that is not said: an empty one is for others to understand, we refuse it.
const NO_HOST: &[u8] = b"none";

/// What was heard.
#[derive(Clone, Copy)]
enum Heard<'a> {
    Head(&'a [u8], Framing),
    Content(&'a [u8]),
    Trailers(&'a [u8]),
    End,
}

/// Reads all that a peer sends before it closes, or until enough was heard.
fn listen(
    mut receiver: Receiver,
    side: Side,
    acts: u16,
    bytes: &[u8],
    mut take: impl FnMut(Heard<'_>, &mut Spans) -> ControlFlow<()>,
) -> Result<(), Refusal> {
    let (mut spans, mut at) = (Spans::new(), 0);
    let mut asked = asked(acts).into_iter();
    loop {
        if side == Side::Client && receiver.is_between() {
            match asked.next() {
                Some(asked) => receiver.expect(asked),
                None => return Ok(()),
            }
        }
        let input = &bytes[at..];
        let step = receiver.step(input, &mut spans)?;
        let heard = match step {
            Step::Head { len, framing } => Heard::Head(&input[..len], framing),
            Step::Body { skip, len } => Heard::Content(&input[skip..][..len]),
            Step::Trailers { skip, len } => Heard::Trailers(&input[skip..][..len]),
            Step::End { .. } => Heard::End,
            Step::Await => {
                receiver.answered(acts & 1 != 0);
                continue;
            }
            Step::NeedMore { .. } => {
                if receiver.peer_closed()?.is_some() {
                    let _ = take(Heard::End, &mut spans);
                }
                return Ok(());
            }
        };
        if take(heard, &mut spans).is_break() {
            return Ok(());
        }
        at += step.used();
    }
}

/// What requests ask for, two bits each.
fn asked(acts: u16) -> [Asked; 8] {
    const KINDS: [Asked; 4] = [Asked::Content, Asked::Head, Asked::Connect, Asked::Upgrade];
    std::array::from_fn(|n| KINDS[usize::from(acts >> (2 * n)) & 3])
}

/// One leg's messages, and what is written for the other.
#[derive(Default)]
struct Relay {
    said: Vec<Message>,
    wire: Vec<u8>,
    content: Option<Content>,
}

impl Relay {
    /// A head was written; or there is no room for it.
    fn head(&mut self, message: Message, head: &[u8], written: Result<Content, WriteError>) -> ControlFlow<()> {
        match written {
            Ok(content) => self.content = Some(content),
            Err(WriteError::Full) => return ControlFlow::Break(()),
            Err(error) => panic!("{error:?}: {message:?}"),
        }
        // An interim answer has no end, and its word about the connection no meaning.
        assert!(self.said.last().is_none_or(|last| !last.ended || last.framing.persistent), "it was the last one");
        check_said(&message);
        self.said.push(message);
        self.wire.extend_from_slice(head);
        ControlFlow::Continue(())
    }

    /// Whatever follows a head.
    fn rest(&mut self, heard: Heard<'_>, spans: &Spans) {
        let message = self.said.last_mut().expect("a head precedes it");
        match heard {
            Heard::Head(..) => unreachable!("it was looked at"),
            Heard::Content(bytes) => {
                let content = self.content.as_mut().expect("it has not ended");
                content.before(&mut self.wire, bytes.len() as u64).expect("the receiver counts the same bytes");
                self.wire.extend_from_slice(bytes);
                message.content.extend_from_slice(bytes);
            }
            Heard::Trailers(bytes) => {
                let content = self.content.take().expect("it has not ended");
                let fields = spans.trailers(bytes);
                content.end(&mut self.wire, fields.iter()).expect("they were read");
                let unknown = fields.iter().filter(|(name, _)| Name::find(name).is_none());
                message.trailers = unknown.map(|(name, value)| (name.to_vec(), value.to_vec())).collect();
            }
            Heard::End => {
                if let Some(content) = self.content.take() {
                    content.end(&mut self.wire, std::iter::empty()).expect("as much as was said");
                }
                message.ended = true;
            }
        }
    }

    /// What the other leg's peer hears is what was said, but for what is added.
    fn check(&self, side: Side, acts: u16, added: &[&str]) {
        let mut heard = Vec::<Message>::new();
        let receiver = Receiver::new(side, NO_LIMITS);
        let end = listen(receiver, side, acts, &self.wire, |event, spans| {
            match event {
                Heard::Head(head, framing) => {
                    check_lines(head, spans.fields.len());
                    heard.push(match side {
                        Side::Server => Message::request(spans.request(head), spans.request(head).path(), framing),
                        Side::Client => Message::response(spans.response(head), framing),
                    });
                }
                Heard::Content(bytes) => heard.last_mut().expect("a head").content.extend_from_slice(bytes),
                Heard::Trailers(bytes) => {
                    let trailers = spans.trailers(bytes).iter().map(|(name, value)| (name.to_vec(), value.to_vec()));
                    heard.last_mut().expect("a head").trailers.extend(trailers);
                }
                Heard::End => heard.last_mut().expect("a head").ended = true,
            }
            ControlFlow::Continue(())
        });
        // A client waits for the next answer, too.
        let is_cut = side == Side::Client || self.said.last().is_some_and(|message| !message.ended);
        assert!(end == Ok(()) || is_cut && end == Err(Refusal::Truncated), "{end:?}: {}", self.wire.escape_ascii());
        assert_eq!(heard.len(), self.said.len(), "{}", self.wire.escape_ascii());
        for (said, heard) in self.said.iter().zip(&heard) {
            assert_eq!(heard.words, said.words);
            assert_eq!(heard.content, said.content, "{said:?}");
            // Without chunks there are no trailers, and the end is that of the connection, which is reset if the message was not whole.
            let is_plain = heard.framing.body == Body::UntilClose;
            assert_eq!(heard.trailers, if is_plain { &[][..] } else { &said.trailers }, "{said:?}");
            assert!(heard.ended == said.ended || is_plain, "{said:?}");
            let (same, new) = heard.fields.split_at(said.fields.len().min(heard.fields.len()));
            assert_eq!(same, said.fields);
            assert!(new.iter().all(|(name, _)| added.iter().any(|a| a.as_bytes() == name)), "{new:?}");
            let is_once = |name| heard.fields.iter().filter(|(n, _)| n == name).count() == 1;
            assert!(new.iter().all(|(name, _)| name == b"via" || is_once(name)), "{:?}", heard.fields);
            check_hop(side, said, heard);
        }
    }
}

/// RFC 9110 section 7.6.1, and what frames a message: by name, for the receiver's own opinion of them is what is looked at.
const NEVER: [&str; 15] = [
    "close",
    "connection",
    "content-length",
    "expect",
    "host",
    "http2-settings",
    "keep-alive",
    "proxy-authenticate",
    "proxy-authentication-info",
    "proxy-authorization",
    "proxy-connection",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
];

/// None of the fields that go on is for one hop, or named by `Connection`.
fn check_said(message: &Message) {
    let goes_on = |name: &[u8]| message.fields.iter().any(|(n, _)| n.eq_ignore_ascii_case(name));
    assert!(!NEVER.iter().any(|name| goes_on(name.as_bytes())), "{message:?}");
    for (_, value) in message.hop.iter().filter(|(name, _)| name == b"connection") {
        assert!(!elements(value).any(goes_on), "{message:?}");
    }
}

/// A stranger says nothing about himself, and nobody gives orders to backends.
fn check_trust(fields: &[Field], is_trusted: bool) {
    let is = |name: &[u8], names: &[&str]| names.iter().any(|n| n.as_bytes() == name);
    for (name, _) in fields {
        assert!(!is(name, &["proxy", "x-original-url", "x-rewrite-url"]), "{fields:?}");
        let is_about_client =
            is(name, &["forwarded", "x-forwarded-for", "x-forwarded-host", "x-forwarded-proto", "x-real-ip"]);
        assert!(is_trusted || !is_about_client, "{fields:?}");
    }
}

/// A head has as many lines as its fields make, and nothing in them that could end one.
fn check_lines(head: &[u8], fields: usize) {
    let text = head.escape_ascii();
    let count = |byte| memchr::memchr_iter(byte, head).count();
    assert_eq!((count(b'\n'), count(b'\r'), count(0)), (fields + 2, fields + 2, 0), "{text}");
    assert!(head.starts_with(b"\r\n") || head.windows(2).filter(|two| two == b"\r\n").count() == fields + 2, "{text}");
}

/// Of fields for one hop there are ours, each once at most.
fn check_hop(side: Side, said: &Message, heard: &Message) {
    for (number, (name, value)) in heard.hop.iter().enumerate() {
        let (name, value) = (&name[..], &value[..]);
        assert!(heard.hop[..number].iter().all(|(earlier, _)| earlier != name), "{:?}", heard.hop);
        let is_ours = match (side, name) {
            (Side::Server, b"host") => true,
            (Side::Server, b"te") => value == b"trailers",
            (Side::Server, b"expect") => value == b"100-continue" && said.framing.expects_continue,
            (Side::Server, b"connection") => value == b"te" || value == b"upgrade" && said.framing.switches,
            (Side::Client, b"connection") => {
                matches!(value, b"close" | b"keep-alive") || value == b"upgrade" && said.framing.switches
            }
            (_, b"upgrade") => said.framing.switches && said.hop.iter().any(|(n, v)| n == b"upgrade" && v == value),
            (_, b"content-length") => heard.framing.content_length.is_some(),
            (_, b"transfer-encoding") => value == b"chunked" && heard.framing.body == Body::Chunked,
            _ => false,
        };
        assert!(is_ours, "{}: {}", name.escape_ascii(), value.escape_ascii());
    }
}

fn new_exchange() -> Exchange {
    Exchange::new(Instant::ZERO, 0, Edition::NONE, crate::time::Duration::ZERO)
}

/// Listeners that differ in everything that can be said about how they forward.
static LISTENERS: LazyLock<[Http; 4]> = LazyLock::new(|| {
    let options = [
        "{}",
        r#"{"normalizePath": false, "mergeSlashes": false, "escapedSlashes": "Keep", "underscores": "Allow",
            "forwarded": true, "forwardExpect": true}"#,
        r#"{"escapedSlashes": "Unescape", "underscores": "Drop", "xForwarded": false, "name": ""}"#,
        r#"{"mergeSlashes": false, "escapedSlashes": "Redirect", "underscores": "Allow"}"#,
    ];
    options.map(|options| {
        let text = format!(
            r#"{{"name": "a", "port": 80, "options": {options}, "rules": {{"routes": [{{"name": "r", "rules": [{{}}]}}]}}}}"#
        );
        Http::compile(&serde_json::from_str(&text).expect("a listener"), None, &|_| None, &mut |_| RouteKey::NONE).expect("sound rules")
    })
});

/// Requests go on as they were meant. Flags: listener (2 bits), trusted, IPv6.
pub fn http_request(data: &[u8]) {
    let Some((setup, bytes)) = Setup::take(data) else { return };
    setup.check_pieces(Side::Server, &[Act::Answer(setup.acts & 1 != 0)], bytes);

    let http = &LISTENERS[usize::from(setup.flags & 3)];
    let address: IpAddr = if setup.flags & 8 != 0 { [0xfd; 16].into() } else { [192, 0, 2, 1].into() };
    let client = forward::Client::new(address, Scheme::Http, setup.flags & 4 != 0);
    let (mut relay, mut normalizer) = (Relay::default(), Normalizer::new());
    // How it ends was heard before.
    let _ = listen(Receiver::new(Side::Server, setup.limits), Side::Server, setup.acts, bytes, |heard, spans| {
        let Heard::Head(head, framing) = heard else {
            relay.rest(heard, spans);
            return ControlFlow::Continue(());
        };
        let admitted = admit(head, spans, &client, http.normalize, &mut normalizer);
        let request = spans.request(head);
        let (path, hops) = match admitted {
            Ok(Admitted { path, hops }) if !path.redirect && hops != Some(0) => (path.bytes.to_vec(), hops),
            _ => return ControlFlow::Break(()),
        };
        if path.starts_with(b"/") {
            let again = normalizer.path(http.normalize, &path).expect("it is normal");
            assert_eq!((again.bytes, again.redirect), (&path[..], false), "once is enough");
        }
        let mut exchange = new_exchange();
        exchange.rule = Some(RuleIndex(0));
        describe(&mut exchange, request, framing);
        let host = if request.host().is_empty() { (NO_HOST, None) } else { (request.host(), request.port()) };
        let mut head_written = Kept::default();
        let written =
            request::write_head(&mut head_written, &exchange, http, &client, request, framing, &path, host, hops);
        let message = Message::request(request, &path, framing);
        check_trust(&message.fields, client.is_trusted());
        relay.head(message, &head_written.0, written)
    });
    relay.check(Side::Server, setup.acts, &ADDED);
}

const ADDED: [&str; 6] =
    ["max-forwards", "x-forwarded-for", "x-forwarded-proto", "x-forwarded-host", "forwarded", "via"];

/// Responses go on as they were meant. Flags: listener (2 bits), a request of HTTP/1.0, the client's connection persists.
pub fn http_response(data: &[u8]) {
    let Some((mut setup, bytes)) = Setup::take(data) else { return };
    let version = if setup.flags & 4 != 0 { Version::Http10 } else { Version::Http11 };
    if version == Version::Http10 {
        // rfc9110 7.8: HTTP/1.0 asks for no upgrade.
        setup.acts &= !((setup.acts & 0x5555) << 1 & setup.acts);
    }
    setup.check_pieces(Side::Client, &asked(setup.acts).map(Act::Expect), bytes);

    let http = &LISTENERS[usize::from(setup.flags & 3)];
    let mut relay = Relay::default();
    let mut asked = asked(setup.acts).into_iter();
    let mut exchange = new_exchange();
    let mut is_new = true;
    let _ = listen(Receiver::new(Side::Client, setup.limits), Side::Client, setup.acts, bytes, |heard, spans| {
        let Heard::Head(head, framing) = heard else {
            is_new = matches!(heard, Heard::End);
            relay.rest(heard, spans);
            let goes_on = !is_new || exchange.persists;
            return if goes_on { ControlFlow::Continue(()) } else { ControlFlow::Break(()) };
        };
        if std::mem::take(&mut is_new) {
            let asked = asked.next().expect("as many as the receiver expects");
            let persists = setup.flags & 8 != 0 && !matches!(asked, Asked::Connect | Asked::Upgrade);
            exchange = Exchange { version, asked, persists, ..new_exchange() };
        }
        let response = spans.response(head);
        let is_final = response.status() >= 200 || response.status() == 101;
        if !is_final && version < Version::Http11 {
            return ControlFlow::Continue(());
        }
        if is_final {
            exchange.until_close = exchange.lasts_until_close(framing);
            exchange.persists &= !exchange.until_close;
        }
        let mut written = Kept::default();
        let content = response::write_head(&mut written, &exchange, http, response, framing, b"now");
        let next = relay.head(Message::response(response, framing), &written.0, content);
        check_framing(&exchange, response.status(), framing, &written.0);
        next
    });
    relay.check(Side::Client, setup.acts, &["via", "date", "upgrade"]);
}

/// A response that was written is framed as its request wants it.
fn check_framing(exchange: &Exchange, status: u16, said: Framing, written: &[u8]) {
    let mut receiver = Receiver::new(Side::Client, NO_LIMITS);
    receiver.expect(exchange.asked);
    let step = receiver.step(written, &mut Spans::new());
    let Ok(Step::Head { framing, len }) = step else { panic!("{step:?}: {}", written.escape_ascii()) };
    assert_eq!(len, written.len());
    let body = match said.body {
        Body::Chunked | Body::UntilClose if exchange.version < Version::Http11 => Body::UntilClose,
        Body::UntilClose => Body::Chunked,
        other => other,
    };
    let is_tunnel = body == Body::Tunnel;
    // rfc9110 8.6 (MUST NOT): no length where there can be no content. Elsewhere it is what it was.
    let has_none = matches!(status, 100..200 | 204) || is_tunnel || matches!(body, Body::Chunked | Body::UntilClose);
    let content_length = said.content_length.filter(|_| !has_none);
    assert_eq!((framing.body, framing.content_length, framing.switches), (body, content_length, said.switches));
    // rfc9112 9.3: what is said about the connection is said in the last answer.
    let persists = !is_tunnel && (exchange.persists || status < 200);
    assert_eq!(framing.persistent, persists, "{}", written.escape_ascii());
}
