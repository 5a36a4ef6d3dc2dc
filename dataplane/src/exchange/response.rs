//! The upstream leg: connecting, sending the request, and its answer on the way to the client.

use super::{
    Exchange, Gateway,
    leg::{Io, Kept, Leg, Role},
    listeners::Edition,
    read::{Came, HeadBytes, Next, Refused},
    record::Ended,
};
use crate::{
    counters::Counter,
    http::{
        Response, Side, Version, forward,
        h1::{
            Asked, Body, Framing, Limits, Receiver, Step,
            write::{Content, Head, Sink, WriteError},
        },
        head::Name,
    },
    limits::{CONNECT_ATTEMPTS_MAX, HTTP_WITH_HEAD_MAX},
    proxy_protocol::{self, Addresses},
    snapshot::ProxyVersion,
    time::Instant,
    upstream::pool::Lease,
};

/// How an endpoint's connection was lost.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Gone {
    /// The data plane stops.
    Stopping,
    /// It was never there, and so nothing was sent.
    Unreached(Ended),
    /// It was there.
    Lost,
}

/// Whether something came on a kept connection.
fn has_unread(leg: &Leg, io: &Io<'_>) -> bool {
    leg.held() > 0 || leg.id.is_none_or(|id| io.tcp.unconsumed(id) > 0)
}

impl Gateway {
    /// A connection that is passed on as it is, to whom its name for the server says.
    pub(super) fn begin_raw(&mut self, io: &mut Io<'_>, i: usize, name: Option<&str>) {
        io.out.counters.count(Counter::TcpProxied);
        let (listener, address) = (self.legs[i].listener, self.legs[i].address);
        let exchange = Exchange {
            is_raw: true,
            is_tunnel: true,
            persists: false,
            begun: true,
            ..Exchange::new(io.now, i, Edition::NONE, self.listeners.raw(listener).idle)
        };
        let x = self.new_exchange(exchange);
        self.legs[i].exchange = Some(x);
        let random = self.upstreams.random();
        let backend = self.listeners.raw(listener).backend(name, random);
        match backend.and_then(|backend| self.upstreams.group_of(backend)) {
            Some(group) => {
                let hash = self.upstreams.hash_on(group).map(|_| super::config::hash_address(address));
                self.exchanges[x as usize].hash = hash;
                self.dispatch(io, x, group, false);
            }
            None => self.give_up(io, x, Ended::NoBackend),
        }
        if self.legs[i].role == Role::Client {
            self.arm(i);
        }
    }

    /// Chooses an endpoint and has a connection to it. `fresh`: none that was kept.
    pub(super) fn dispatch(&mut self, io: &mut Io<'_>, x: u32, group: u32, fresh: bool) {
        let exchange = &mut self.exchanges[x as usize];
        let Some(at) = self.upstreams.choose(io.now, group, exchange.hash) else {
            return self.fail(io, x, 503, Ended::NoEndpoint);
        };
        self.upstreams.remember(at);
        exchange.at = Some(at);
        if let Some(before) = exchange.last.replace(at) {
            self.upstreams.forget(before);
        }
        exchange.attempts += 1;
        let rule = exchange.rule.filter(|_| !exchange.is_raw);
        let rules = |r: crate::route::RuleIndex| self.listeners.edition(exchange.edition).rule(r);
        if let Some(limit) = rule.and_then(|rule| rules(rule).backend_request) {
            exchange.backend_at = io.now + limit;
        }
        let fresh = fresh || exchange.is_raw;
        let lease = if fresh { self.upstreams.lease_new(io.now, at) } else { self.upstreams.lease(io.now, at) };
        match lease {
            // It has begun to say something that nobody asked for: what follows would be taken for the answer.
            Lease::Reused(member) if has_unread(&self.legs[self.upstreams.leg(member) as usize], io) => {
                exchange.attempts -= 1;
                exchange.at = None;
                self.upstreams.end(at);
                let j = self.upstreams.leg(member) as usize;
                self.end_idle(io, j);
                // A fresh one: all that are kept may be like this, and each would go one call deeper.
                self.dispatch(io, x, group, true);
            }
            Lease::Reused(member) => {
                io.out.counters.count(Counter::UpstreamReused);
                let j = self.upstreams.leg(member) as usize;
                self.legs[j].exchange = Some(x);
                exchange.upstream = Some(j as u32);
                (exchange.reused, exchange.connected_at) = (true, Some(io.now));
                self.send_request(io, x, j);
            }
            Lease::New(member) => match self.upstreams.connect(io, self.upstreams.address(at)) {
                Ok(id) => {
                    io.out.counters.count(Counter::UpstreamConnects);
                    let j = self.place(id);
                    self.upstreams.set_leg(member, j as u32);
                    let is_raw = self.exchanges[x as usize].is_raw;
                    self.legs[j] = Leg {
                        id: Some(id),
                        role: Role::Upstream(member),
                        is_raw,
                        exchange: Some(x),
                        secures: self.upstreams.tls(group),
                        introduces: self.upstreams.proxy(group),
                        receiver: Receiver::new(Side::Client, Limits::default()),
                        ..Leg::vacant()
                    };
                    let exchange = &mut self.exchanges[x as usize];
                    exchange.upstream = Some(j as u32);
                    exchange.reused = false;
                    exchange.connect_at = io.now + self.upstreams.connect_timeout(group);
                    let client = exchange.client as usize;
                    self.arm(client);
                }
                Err(_) => {
                    self.upstreams.pool.ended(member);
                    self.fail(io, x, 503, Ended::ConnectImpossible);
                }
            },
            Lease::Full => self.fail(io, x, 503, Ended::ConnectionsFull),
        }
    }

    /// A connection to an endpoint is there. It is secured, and says who it is for, as was meant when it was begun.
    pub(super) fn connected(&mut self, io: &mut Io<'_>, j: usize) {
        let Some(context) = self.legs[j].secures.take() else { return self.ready(io, j) };
        let header = match (self.legs[j].introduces.take(), self.legs[j].exchange) {
            (Some(version), Some(x)) => {
                let client = self.exchanges[x as usize].client as usize;
                self.proxy_header(io.tcp, client, j, version)
            }
            _ => None,
        };
        self.say_hello(io, j, &context, header.as_deref());
    }

    /// Content may go to an endpoint from now on.
    pub(super) fn ready(&mut self, io: &mut Io<'_>, j: usize) {
        self.legs[j].connected = true;
        if let Role::Probe(place) = self.legs[j].role {
            return self.probe_connected(io, j, place);
        }
        let Some(x) = self.legs[j].exchange else { return };
        let exchange = &mut self.exchanges[x as usize];
        (exchange.connected_at, exchange.connect_at, exchange.moved_at) = (Some(io.now), Instant::NEVER, io.now);
        let client = exchange.client as usize;
        self.send_request(io, x, j);
        self.advance_client(io, client);
    }

    fn send_request(&mut self, io: &mut Io<'_>, x: u32, j: usize) {
        let mut staged = std::mem::take(&mut self.staged);
        let exchange = &self.exchanges[x as usize];
        let (reused, is_raw, client) = (exchange.reused, exchange.is_raw, exchange.client as usize);
        let version = self.legs[j].introduces.take().filter(|_| !reused);
        let mut sink = staged.sink(io.out);
        let mut written = match version {
            Some(version) => self.proxy_header(io.tcp, client, j, version).map_or(Ok(()), |bytes| sink.put(&bytes)),
            None => Ok(()),
        };
        if !is_raw {
            written = written.and_then(|()| sink.put(&self.heads[x as usize].0));
        }
        match written {
            Ok(()) => {
                self.send_staged(io, j, &mut staged);
                self.legs[j].content = self.exchanges[x as usize].content;
                if !is_raw {
                    let asked = self.exchanges[x as usize].asked;
                    self.legs[j].receiver.expect(asked);
                    self.tell_to_continue(io, x);
                }
            }
            Err(_) => {
                staged.clear(io.out);
                self.fail(io, x, 503, Ended::NoFrame);
            }
        }
        self.staged = staged;
    }

    fn proxy_header(
        &self,
        tcp: &crate::tcp::Tcp,
        client: usize,
        j: usize,
        version: ProxyVersion,
    ) -> Option<proxy_protocol::Header> {
        let leg = &self.legs[client];
        let (ours, _) = tcp.ends(leg.id?)?;
        let source = std::net::SocketAddr::new(leg.address, leg.port);
        // Both of one family, or the header could not say it.
        let destination = if ours.is_ipv4() == source.is_ipv4() { ours } else { tcp.ends(self.legs[j].id?)?.1 };
        let addresses = Addresses { source, destination };
        Some(match version {
            ProxyVersion::V1 => proxy_protocol::write_v1(&addresses),
            ProxyVersion::V2 => proxy_protocol::write_v2(&addresses),
        })
    }

    /// rfc9110 10.1.1: the client may send its content, for there is somebody to take it.
    fn tell_to_continue(&mut self, io: &mut Io<'_>, x: u32) {
        let exchange = &mut self.exchanges[x as usize];
        let client = exchange.client as usize;
        if !exchange.awaits_continue || self.listeners.edition(exchange.edition).forward_expect {
            return;
        }
        exchange.awaits_continue = false;
        // rfc9110 10.1.1 (MAY): left out when the content is coming already.
        if !self.legs[client].input.is_empty() {
            return;
        }
        io.out.counters.count(Counter::Http1xx);
        let mut staged = std::mem::take(&mut self.staged);
        // Without a frame for it the client goes on after a while by itself.
        let _ = staged.sink(io.out).put(b"HTTP/1.1 100 Continue\r\n\r\n");
        // The staged request went out before: this is the client's.
        self.send_staged(io, client, &mut staged);
        self.staged = staged;
    }

    /// Reads what an endpoint sends, as far as it goes now.
    pub(super) fn advance_upstream(&mut self, io: &mut Io<'_>, j: usize) {
        let Some(x) = self.legs[j].exchange else { return };
        let exchange = &mut self.exchanges[x as usize];
        let client = exchange.client as usize;
        if !exchange.answered && !self.legs[j].input.is_empty() {
            exchange.answered = true;
            exchange.first_byte_at = Some(io.now);
        }
        while self.upstream_step(io, j) == Next::Again {}
        // Its next request may wait, or what is for a tunnel that was just granted.
        if !self.legs[client].input.is_empty() || self.legs[client].peer_closed {
            self.advance_client(io, client);
        }
    }

    fn upstream_step(&mut self, io: &mut Io<'_>, j: usize) -> Next {
        let Some(x) = self.legs[j].exchange else { return Next::Wait };
        let exchange = &self.exchanges[x as usize];
        let client = exchange.client as usize;
        let leg = &self.legs[j];
        if exchange.is_tunnel && !exchange.response_done && leg.is_read_out() {
            // An end takes no room, and must not wait for any: what comes next is that the connection is over.
            match self.legs[j].peer_ended() {
                Ok(_) => self.response_ended(io, x, client),
                Err(_) => self.upstream_truncated(io, x, j),
            }
            return Next::Wait;
        }
        if exchange.response_done || !leg.connected || leg.is_cut || !self.legs[client].may_write(io) {
            return Next::Wait;
        }
        match self.read(io, j) {
            Ok(Came::Head { mut bytes, framing }) => {
                let next = self.response_head(io, x, j, &mut bytes, framing);
                self.head_used(io, j, bytes);
                next
            }
            Ok(Came::Body { frame, skip, len }) => {
                let next = self.forward(io, j, client, frame, skip, len);
                if next == Next::Again {
                    let exchange = &mut self.exchanges[x as usize];
                    exchange.response_bytes += len as u64;
                    exchange.moved_at = io.now;
                }
                next
            }
            Ok(Came::Trailers { bytes }) => {
                let wanted = self.exchanges[x as usize].accepts_trailers;
                if !self.write_end(io, x, client, Some((&bytes, Side::Client)).filter(|_| wanted)) {
                    self.give_up(io, x, Ended::NoFrame);
                }
                self.head_used(io, j, bytes);
                Next::Again
            }
            Ok(Came::End) => {
                self.response_ended(io, x, client);
                Next::Again
            }
            Ok(Came::Nothing) if !self.legs[j].input.is_empty() => Next::Again,
            Ok(Came::Nothing) if self.legs[j].peer_closed => {
                match self.legs[j].peer_ended() {
                    Ok(Some(_)) => self.response_ended(io, x, client),
                    Ok(None) | Err(_) => self.upstream_truncated(io, x, j),
                }
                Next::Wait
            }
            Ok(Came::Nothing | Came::Await) => Next::Wait,
            Err(Refused { refusal, .. }) => {
                io.out.counters.count_refusal(Side::Client, refusal);
                self.fail(io, x, refusal.status(Side::Client), Ended::BackendRefused);
                Next::Wait
            }
        }
    }

    fn response_ended(&mut self, io: &mut Io<'_>, x: u32, client: usize) {
        self.exchanges[x as usize].response_done = true;
        if self.exchanges[x as usize].is_tunnel {
            self.close(io, client);
        } else if !self.write_end(io, x, client, None) {
            return self.give_up(io, x, Ended::NoFrame);
        }
        self.settle(io, x);
    }

    fn response_head(&mut self, io: &mut Io<'_>, x: u32, j: usize, bytes: &mut HeadBytes, framing: Framing) -> Next {
        let status = self.spans.response(bytes.get()).status();
        let exchange = &mut self.exchanges[x as usize];
        let client = exchange.client as usize;
        exchange.moved_at = io.now;
        if status < 200 && status != 101 && !self.passes_interim(x, status) {
            return Next::Again;
        }
        let is_final = status >= 200 || status == 101;
        if is_final {
            self.decide_persistence(io, x, status, framing);
        }
        let mut staged = std::mem::take(&mut self.staged);
        let mut head = std::mem::take(&mut self.written);
        head.0.clear();
        let (http, exchange) =
            (self.listeners.edition(self.exchanges[x as usize].edition), &self.exchanges[x as usize]);
        let response = self.spans.response(bytes.get());
        let written = write_head(&mut head, exchange, http, response, framing, self.date.get(io.now))
            .and_then(|content| self.add_content(&mut head, x, j, bytes, framing, content))
            .and_then(|content| staged.sink(io.out).put(&head.0).map(|()| content));
        self.written = head;
        match written {
            Ok(content) => {
                self.send_staged(io, client, &mut staged);
                self.staged = staged;
                count_status(io, status);
                if is_final {
                    self.legs[client].content = Some(content);
                    self.response_begun(x, client, status, framing);
                }
                Next::Again
            }
            Err(_) => {
                staged.clear(io.out);
                self.staged = staged;
                self.fail(io, x, 502, Ended::NoFrame);
                Next::Wait
            }
        }
    }

    /// Short content that is all there goes with its head: one frame, and one segment.
    fn add_content(
        &mut self,
        head: &mut Kept,
        x: u32,
        j: usize,
        bytes: &mut HeadBytes,
        framing: Framing,
        mut content: Content,
    ) -> Result<Content, WriteError> {
        let rest = bytes.rest();
        let len = rest.len();
        if len == 0 || head.0.len() + len > HTTP_WITH_HEAD_MAX || framing.body != Body::Length(len as u64) {
            return Ok(content);
        }
        let step = self.legs[j].step(rest, &mut self.spans);
        assert!(matches!(step, Ok(Step::Body { skip: 0, len: l }) if l == len), "as long as the head has said");
        content.before(head, len as u64)?;
        head.put(rest)?;
        bytes.use_up(len);
        self.exchanges[x as usize].response_bytes += len as u64;
        Ok(content)
    }

    /// rfc9110 15.2 (MUST): a proxy forwards informational responses, but the 100 that it has given itself.
    fn passes_interim(&mut self, x: u32, status: u16) -> bool {
        let exchange = &mut self.exchanges[x as usize];
        let asked_for = status != 100 || std::mem::take(&mut exchange.awaits_continue);
        exchange.version >= Version::Http11 && asked_for
    }

    fn decide_persistence(&mut self, io: &Io<'_>, x: u32, status: u16, framing: Framing) {
        let exchange = &mut self.exchanges[x as usize];
        let leg = &self.legs[exchange.client as usize];
        let is_old = self.listeners.edition(exchange.edition).is_old(io.now, leg.began);
        let is_unwanted = self.drains || self.listeners.is_retired(leg.listener);
        // Whoever is told no, or sent elsewhere, or told everything, while he still sends may stop sending.
        let is_early = !exchange.request_done
            && (status >= 300 || exchange.awaits_continue || matches!(framing.body, Body::None | Body::Length(0)));
        exchange.accepts_trailers &= !framing.ends_trailers;
        exchange.until_close = exchange.lasts_until_close(framing);
        exchange.persists &= !is_old && !is_unwanted && !is_early && !exchange.until_close && !leg.peer_closed;
    }

    fn response_begun(&mut self, x: u32, client: usize, status: u16, framing: Framing) {
        let exchange = &mut self.exchanges[x as usize];
        (exchange.begun, exchange.status) = (true, status);
        if !matches!(exchange.asked, Asked::Connect | Asked::Upgrade) {
            return;
        }
        let granted = status == 101 || framing.body == Body::Tunnel;
        self.legs[client].receiver.answered(granted);
        // From here on the client's bytes are the tunnel's.
        (exchange.is_tunnel, exchange.request_done) = (granted, !granted);
        if granted {
            self.tap_granted(x);
            // It may last for days, and needs nothing of how its listener spoke.
            let exchange = &mut self.exchanges[x as usize];
            exchange.body_at = Instant::NEVER;
            self.listeners.unpin(std::mem::replace(&mut exchange.edition, Edition::NONE));
        }
    }

    /// The endpoint has closed before its answer was whole.
    fn upstream_truncated(&mut self, io: &mut Io<'_>, x: u32, j: usize) {
        let Role::Upstream(member) = self.legs[j].role else { return };
        let id = self.legs[j].id;
        self.upstreams.pool.ended(member);
        self.vacate(io, j);
        if let Some(id) = id {
            io.tcp.abort(io.now, id, io.out);
        }
        self.upstream_closed(io, x, Gone::Lost);
    }

    /// The upstream leg of an exchange is gone; it is nobody's any more.
    pub(super) fn upstream_closed(&mut self, io: &mut Io<'_>, x: u32, gone: Gone) {
        let exchange = &mut self.exchanges[x as usize];
        let client = exchange.client as usize;
        exchange.upstream = None;
        exchange.connect_at = Instant::NEVER;
        let Some(at) = exchange.at.take() else { return };
        self.upstreams.end(at);
        let replays = exchange.reused && !exchange.answered && !exchange.body_sent && exchange.idempotent;
        if gone == Gone::Stopping {
            self.give_up(io, x, Ended::Stopping);
        } else if let Gone::Unreached(ended) = gone {
            self.upstreams.rest(io.now, at);
            if exchange.attempts < CONNECT_ATTEMPTS_MAX {
                io.out.counters.count(Counter::UpstreamReconnects);
                self.dispatch(io, x, at.group, false);
            } else {
                self.fail(io, x, 503, ended);
            }
        } else if replays {
            // rfc9112 9.3.1: what is idempotent may be sent again on another connection. Once: this one is fresh.
            io.out.counters.count(Counter::HttpReplays);
            self.dispatch(io, x, at.group, true);
        } else if exchange.answered {
            self.fail(io, x, 502, Ended::BackendTruncated);
        } else {
            self.fail(io, x, 502, Ended::BackendClosed);
        }
        // Its content may have waited for this, or its next request.
        self.advance_client(io, client);
    }

    /// An endpoint did not answer its SYN in time.
    pub(super) fn connect_timed_out(&mut self, io: &mut Io<'_>, x: u32) {
        let exchange = &mut self.exchanges[x as usize];
        let Some(j) = exchange.upstream.take() else { return };
        let j = j as usize;
        let (role, id) = (self.legs[j].role, self.legs[j].id);
        let Role::Upstream(member) = role else { return };
        let tries_again = exchange.attempts < CONNECT_ATTEMPTS_MAX;
        self.upstreams.pool.ended(member);
        self.vacate(io, j);
        if let Some(id) = id {
            io.tcp.abort(io.now, id, io.out);
        }
        if tries_again {
            self.upstream_closed(io, x, Gone::Unreached(Ended::ConnectTimeout));
        } else {
            self.fail(io, x, 504, Ended::ConnectTimeout);
        }
    }
}

impl Exchange {
    /// Whether nothing but the connection's end can tell the client where the content ends.
    pub(super) fn lasts_until_close(&self, framing: Framing) -> bool {
        let is_open = matches!(framing.body, Body::Chunked | Body::UntilClose);
        is_open && self.version < Version::Http11 && self.asked != Asked::Head
    }
}

/// An answer's head as it goes on.
pub(super) fn write_head(
    sink: &mut impl Sink,
    exchange: &Exchange,
    http: &super::config::Http,
    response: Response<'_>,
    framing: Framing,
    date: &[u8],
) -> Result<Content, WriteError> {
    let status = response.status();
    let mut head = Head::response(sink, status, exchange.version)?;
    let modifier = exchange.rule.and_then(|rule| http.rule(rule).filters.response_headers.as_ref());
    match modifier.filter(|_| status >= 200) {
        None => head.pass(response.fields)?,
        Some(modifier) => {
            modifier.apply(response.fields.iter()).try_for_each(|(name, value)| head.field(name, value))?;
        }
    }
    forward::response(&mut head, response.version(), http.forward())?;
    if status == 101 {
        let protocol = response.fields.known(Name::Upgrade).next().unwrap_or(b"");
        return head.end_with_upgrade(protocol);
    }
    // rfc9110 6.6.1 (MUST): whoever has a clock says when it came, if its sender does not.
    if status >= 200 && !date.is_empty() && !response.fields.passes(Name::Date) {
        head.field(b"date", date)?;
    }
    if status == 426 {
        // rfc9110 15.5.22 (MUST): it says to what.
        response.fields.known(Name::Upgrade).try_for_each(|protocols| head.upgrade(protocols))?;
    }
    // rfc9110 8.6 (MUST NOT): 1xx and 204 never tell a length, whatever was asked.
    if status == 304 || exchange.asked == Asked::Head && status >= 200 && status != 204 {
        return head.end_without_content(framing.content_length, exchange.persists);
    }
    // An informational answer says nothing about the connection, and a tunnel is none of HTTP's.
    let persists = exchange.persists || status < 200 || framing.body == Body::Tunnel;
    head.end(framing.body, persists)
}

pub(super) fn count_status(io: &mut Io<'_>, status: u16) {
    io.out.counters.count(match status {
        0..200 => Counter::Http1xx,
        200..300 => Counter::Http2xx,
        300..400 => Counter::Http3xx,
        400..500 => Counter::Http4xx,
        _ => Counter::Http5xx,
    });
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        exchange::{config::Http, meters::RouteKey},
        http::{Spans, h1::Asked::*},
    };

    /// What the client gets of an answer's head.
    fn passed(asked: Asked, persists: bool, head: &str) -> String {
        let listener = r#"{"name": "a", "port": 80, "options": {"name": ""}}"#;
        let http =
            Http::compile(&serde_json::from_str(listener).unwrap(), None, &|_| None, &mut |_| RouteKey::NONE).unwrap();
        let (mut receiver, mut spans) = (Receiver::new(Side::Client, Limits::default()), Spans::new());
        receiver.expect(asked);
        let step = receiver.step(head.as_bytes(), &mut spans).unwrap();
        let Step::Head { framing, .. } = step else { panic!("{step:?}") };
        let exchange =
            Exchange { asked, persists, ..Exchange::new(Instant::ZERO, 0, Edition::NONE, crate::time::Duration::ZERO) };
        let mut out = Kept::default();
        let _ = write_head(&mut out, &exchange, &http, spans.response(head.as_bytes()), framing, b"").unwrap();
        String::from_utf8(out.0).unwrap().trim_end().replace("\r\n", " | ")
    }

    #[test]
    fn what_is_said_about_length_and_connection_is_said_where_it_means_something() {
        for (asked, persists, head, expected) in [
            (Head, true, "200 \r\nContent-Length: 5", "200 OK | content-length: 5"),
            (Head, false, "200 \r\nContent-Length: 5", "200 OK | content-length: 5 | connection: close"),
            (Content, true, "304 \r\nContent-Length: 5", "304 Not Modified | content-length: 5"),
            // rfc9110 8.6 (MUST NOT): not even of zero.
            (Head, true, "204 \r\nContent-Length: 0", "204 No Content"),
            (Head, true, "103 \r\nContent-Length: 0", "103 Early Hints"),
            (Head, false, "103 ", "103 Early Hints"),
            (Content, false, "103 ", "103 Early Hints"),
            (Content, false, "204 ", "204 No Content | connection: close"),
        ] {
            let heard = passed(asked, persists, &format!("HTTP/1.1 {head}\r\n\r\n"));
            assert_eq!(heard, format!("HTTP/1.1 {expected}"), "{asked:?} {head}");
        }
    }
}
