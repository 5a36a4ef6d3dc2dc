//! A request's head: whether it may go on, where to, and in which form.

use super::{
    Exchange, Gateway, config,
    leg::{Io, Role},
    read::{Came, Next, Refused, is_head},
    record::Ended,
};
use crate::{
    counters::Counter,
    filters::{Answer, DirectResponse, redirect::Asked as RedirectAsked},
    http::{
        Refusal, Request, Side, Version,
        admit::{Admitted, admit},
        forward,
        h1::{
            Asked, Body, Framing,
            write::{Content, Head, Sink, WriteError},
        },
        head::{Form, Name},
    },
    route::{self, PathFound},
};
use std::sync::Arc;

/// What becomes of a request.
enum Verdict {
    /// It goes on to this group; its head is written.
    Forward(u32),
    Refuse(Refusal),
    Answer(u16, Ended),
    /// To what [`Gateway::location`] holds.
    Redirect(u16),
    Direct(Arc<DirectResponse>),
}

impl Gateway {
    pub(super) fn read_request(&mut self, io: &mut Io<'_>, i: usize) -> Next {
        match self.read(io, i) {
            Ok(Came::Head { bytes, framing }) => {
                self.begin(io, i, bytes.get(), framing);
                // What answers at once has left: then the rest is nobody's.
                self.head_used(io, i, bytes);
                Next::Again
            }
            Ok(Came::Nothing) if !self.legs[i].input.is_empty() => Next::Again,
            Ok(Came::Nothing) if self.legs[i].peer_closed => {
                if let Err(refusal) = self.legs[i].peer_ended() {
                    io.out.counters.count_refusal(Side::Server, refusal);
                }
                self.leave(io, i);
                Next::Wait
            }
            Ok(_) => Next::Wait,
            Err(refused) => {
                self.refuse_head(io, i, &refused);
                Next::Wait
            }
        }
    }

    /// A head that cannot be understood is answered, and the connection ends: nobody knows where the next one would begin.
    fn refuse_head(&mut self, io: &mut Io<'_>, i: usize, refused: &Refused) {
        let x = self.begin_unread(io, i, refused.is_head);
        self.refuse(io, x, refused.refusal);
    }

    /// A head that has begun did not come in time.
    pub(super) fn head_timed_out(&mut self, io: &mut Io<'_>, i: usize) {
        let is_head = is_head(&self.legs[i].partial);
        let x = self.begin_unread(io, i, is_head);
        self.answer(io, x, 408, Ended::HeadTimeout);
    }

    /// An exchange about a request that was not read, the last one on its connection. `is_head`: so that its answer has no content.
    fn begin_unread(&mut self, io: &Io<'_>, i: usize, is_head: bool) -> u32 {
        let exchange = Exchange {
            request_done: true,
            persists: false,
            version: Version::Http10,
            asked: if is_head { Asked::Head } else { Asked::Content },
            ..self.exchange_of(io, i)
        };
        let x = self.new_exchange(exchange);
        self.legs[i].exchange = Some(x);
        x
    }

    /// A request that begins now is served as its listener speaks now, to its end.
    fn exchange_of(&self, io: &Io<'_>, i: usize) -> Exchange {
        let edition = self.listeners.current(self.legs[i].listener);
        Exchange::new(io.now, i, edition, self.listeners.edition(edition).timeouts.stream_idle)
    }

    fn refuse(&mut self, io: &mut Io<'_>, x: u32, refusal: Refusal) {
        io.out.counters.count_refusal(Side::Server, refusal);
        self.exchanges[x as usize].persists = false;
        self.answer(io, x, refusal.status(Side::Server), Ended::Refused);
    }

    /// Content that cannot be understood. What has gone on of it must not look whole.
    pub(super) fn refuse_content(&mut self, io: &mut Io<'_>, i: usize, x: u32, refusal: Refusal) -> Next {
        let exchange = &mut self.exchanges[x as usize];
        exchange.persists = false;
        io.out.counters.count_refusal(Side::Server, refusal);
        if exchange.begun || exchange.response_done {
            self.give_up(io, x, Ended::Refused);
        } else {
            exchange.request_done = true;
            self.answer(io, x, refusal.status(Side::Server), Ended::Refused);
        }
        debug_assert!(self.legs[i].role != Role::Client);
        Next::Wait
    }

    fn begin(&mut self, io: &mut Io<'_>, i: usize, bytes: &[u8], framing: Framing) {
        io.out.counters.count(Counter::HttpRequests);
        let x = self.new_exchange(self.exchange_of(io, i));
        self.legs[i].exchange = Some(x);
        let verdict = self.judge(i, x, bytes, framing);
        self.patience(io, x, framing);
        match verdict {
            Verdict::Forward(group) => self.dispatch(io, x, group, false),
            Verdict::Refuse(refusal) => self.refuse(io, x, refusal),
            Verdict::Answer(status, ended) => self.answer(io, x, status, ended),
            Verdict::Redirect(status) => self.redirect(io, x, status),
            Verdict::Direct(response) => self.answer_with(io, x, &response),
        }
        self.arm(i);
    }

    /// How long it may take.
    fn patience(&mut self, io: &Io<'_>, x: u32, framing: Framing) {
        let exchange = &mut self.exchanges[x as usize];
        let http = self.listeners.edition(exchange.edition);
        if let Some(limit) = exchange.rule.and_then(|rule| http.rule(rule).request) {
            exchange.request_at = io.now + limit;
        }
        if matches!(framing.body, Body::Length(1..) | Body::Chunked) {
            exchange.body_at = io.now + http.timeouts.request_body;
        }
    }

    /// Looks at a head, and writes it as it goes on.
    fn judge(&mut self, i: usize, x: u32, bytes: &[u8], framing: Framing) -> Verdict {
        let (leg, exchange) = (&self.legs[i], &mut self.exchanges[x as usize]);
        let http = self.listeners.edition(exchange.edition);
        let admitted = admit(bytes, &mut self.spans, &leg.client, http.normalize, &mut self.normalizer);
        let request = self.spans.request(bytes);
        describe(exchange, request, framing);
        let Admitted { path, hops } = match admitted {
            Ok(admitted) => admitted,
            Err(refusal) => return Verdict::Refuse(refusal),
        };
        if let Some(taps) = &mut self.taps {
            Self::tap_asked(taps, x, request, path.bytes);
        }
        if !leg.tls.as_ref().is_none_or(|it| it.covers(request.host())) {
            return Verdict::Answer(421, Ended::Misdirected);
        }
        if forward::is_loop(request.fields, http.forward()) {
            // rfc5842 7.2.
            return Verdict::Answer(508, Ended::Loop);
        }
        if hops == Some(0) {
            // rfc9110 7.6.2 (MUST NOT): it goes no further, and the answer is ours. What TRACE would show is nobody's business.
            return Verdict::Answer(if request.method() == b"TRACE" { 501 } else { 204 }, Ended::Answered);
        }
        let asked = route::asked(request, path.bytes);
        let mut redirect = RedirectAsked {
            scheme: leg.scheme().as_str(),
            host: request.host(),
            port: request.port().unwrap_or(http.port),
            path: path.bytes,
            query: request.query(),
            prefix: 0,
        };
        if path.redirect {
            return match crate::filters::Redirect::here(&redirect, &mut self.location) {
                Ok(()) => Verdict::Redirect(307),
                Err(_) => Verdict::Answer(400, Ended::Target),
            };
        }
        let Some(found) = http.table.find(&asked) else { return Verdict::Answer(404, Ended::NoRoute) };
        (exchange.rule, exchange.route) = (Some(found.rule), http.rule(found.rule).route);
        let prefix = match found.path {
            PathFound::Prefix { len } => len,
            // A rule with both kinds of matches: all of an exact path is what was matched.
            PathFound::Exact => path.bytes.len(),
            PathFound::Pattern => 0,
        };
        let filters = &http.rule(found.rule).filters;
        match &filters.answer {
            Some(Answer::Redirect(to)) => {
                redirect.prefix = prefix;
                return match to.write_location(&redirect, &mut self.path, &mut self.location) {
                    Ok(()) => Verdict::Redirect(to.status),
                    Err(_) => Verdict::Answer(400, Ended::Target),
                };
            }
            // rfc9110 9.3.6: a 2xx to CONNECT would be a tunnel, and there is nobody at its other end.
            Some(Answer::Direct(_)) if request.form() == Form::Authority => return Verdict::Answer(400, Ended::Target),
            Some(Answer::Direct(response)) => return Verdict::Direct(Arc::clone(response)),
            None => {}
        }
        let Some(backend) = http.table.backend(found.rule, self.upstreams.random()) else {
            return Verdict::Answer(500, Ended::NoBackend);
        };
        let mut target = path.bytes;
        let mut host = (request.host(), request.port());
        if let Some(rewrite) = &filters.rewrite {
            if let Some(hostname) = &rewrite.hostname {
                // rfc9112 3.2 (MUST): for CONNECT the target is the same, port included.
                host = (hostname, request.port().filter(|_| request.form() == Form::Authority));
            }
            if let Some(new) = rewrite.path.as_ref().filter(|_| path.bytes.starts_with(b"/")) {
                if new.write(path.bytes, prefix, &mut self.path).is_err() {
                    return Verdict::Answer(400, Ended::Target);
                }
                target = &self.path;
            }
        }
        let Some(group) = self.upstreams.group_of(backend) else { return Verdict::Answer(503, Ended::NoBackend) };
        let on = self.upstreams.hash_on(group);
        exchange.hash = on.map(|on| config::hash(on, leg.address, request.fields.iter()));
        let head = &mut self.heads[x as usize];
        head.0.clear();
        match write_head(head, exchange, http, &leg.client, request, framing, target, host, hops) {
            Ok(content) => {
                exchange.content = Some(content);
                Verdict::Forward(group)
            }
            // What rules and we add may be too much for what may be sent.
            Err(_) => Verdict::Answer(431, Ended::Target),
        }
    }
}

/// What is kept of a request's head.
pub(super) fn describe(exchange: &mut Exchange, request: Request<'_>, framing: Framing) {
    let method = request.method();
    exchange.version = request.version();
    exchange.asked = match (request.form(), method) {
        (Form::Authority, _) => Asked::Connect,
        _ if framing.switches => Asked::Upgrade,
        (_, b"HEAD") => Asked::Head,
        _ => Asked::Content,
    };
    // rfc9110 9.2.2.
    exchange.idempotent = matches!(method, b"GET" | b"HEAD" | b"OPTIONS" | b"TRACE" | b"PUT" | b"DELETE");
    exchange.body = framing.body;
    exchange.awaits_continue = framing.expects_continue;
    exchange.accepts_trailers = forward::accepts_trailers(request.fields);
    exchange.ends_trailers = framing.ends_trailers;
    exchange.persists = framing.persistent && !matches!(exchange.asked, Asked::Connect | Asked::Upgrade);
}

/// The head as it goes on.
#[allow(clippy::too_many_arguments)] // what a head is made of; a struct would be used once
pub(super) fn write_head(
    sink: &mut impl Sink,
    exchange: &Exchange,
    http: &config::Http,
    client: &forward::Client,
    request: Request<'_>,
    framing: Framing,
    path: &[u8],
    host: (&[u8], Option<u16>),
    hops: Option<u16>,
) -> Result<Content, WriteError> {
    let rule = exchange.rule.expect("a rule was found");
    let filters = &http.rule(rule).filters;
    let port = (request.form() == Form::Authority).then(|| config::Digits::of(request.port().unwrap_or(80)));
    let port = port.as_ref().map_or(&b""[..], config::Digits::get);
    let target: &[&[u8]] = match (request.form(), request.query()) {
        // rfc9112 3.2.3 (MUST): for CONNECT, host and port alone.
        (Form::Authority, _) => &[host.0, b":", port],
        (_, Some(query)) => &[path, b"?", query],
        (_, None) => &[path],
    };
    let mut head = Head::request(sink, request.method(), target, host.0, host.1)?;
    match &filters.request_headers {
        None => head.pass(request.fields)?,
        Some(modifier) => {
            modifier.apply(request.fields.iter()).try_for_each(|(name, value)| head.field(name, value))?;
        }
    }
    if let Some(hops) = hops {
        head.field(b"max-forwards", config::Digits::of(hops - 1).get())?;
    }
    forward::request(&mut head, request, client, http.forward())?;
    if framing.expects_continue && http.forward_expect {
        head.field(b"expect", b"100-continue")?;
    }
    if framing.switches {
        let protocol = request.fields.known(Name::Upgrade).next().unwrap_or(b"");
        return head.end_with_upgrade(protocol);
    }
    head.end(framing.body, true)
}
