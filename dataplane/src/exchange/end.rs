//! How exchanges end, and what ends them when nothing comes.

use super::{
    Gateway,
    leg::{Io, Role},
    listeners::Edition,
    meters::Metered,
    record::{Ended, Record},
};
use crate::{
    counters::Counter,
    limits::{HTTP_WRITTEN_KEPT, LINGER, RECORDS_MAX},
    tcp::ConnectionId,
    time::Instant,
    upstream::pool::{Reuse, Verdict},
};

impl Gateway {
    /// Ends an exchange whose both halves are over, or one half in a way that makes the other pointless.
    pub(super) fn settle(&mut self, io: &mut Io<'_>, x: u32) {
        let exchange = &mut self.exchanges[x as usize];
        if !exchange.response_done {
            return;
        }
        if exchange.request_done {
            return self.finish(io, x);
        }
        // A tunnel's other direction goes on; so does content that is thrown away.
        if exchange.is_tunnel || exchange.discards && exchange.persists {
            return;
        }
        // Answered before the request was over.
        exchange.persists = false;
        self.finish(io, x);
    }

    fn finish(&mut self, io: &mut Io<'_>, x: u32) {
        self.detach(io, x, true);
        let exchange = &self.exchanges[x as usize];
        let (client, persists) = (exchange.client as usize, exchange.persists);
        let ended = exchange.ended;
        self.close_exchange(io, x, ended);
        if !persists || self.legs[client].role != Role::Client {
            return self.leave(io, client);
        }
        let idle = self.listeners.http(self.legs[client].listener).timeouts.connection_idle;
        let leg = &mut self.legs[client];
        leg.content = None;
        leg.deadline = io.now + idle;
        self.arm(client);
    }

    /// Takes the upstream leg off an exchange: back to its pool if it may be used again.
    pub(super) fn detach(&mut self, io: &mut Io<'_>, x: u32, whole: bool) {
        let exchange = &mut self.exchanges[x as usize];
        exchange.connect_at = Instant::NEVER;
        let at = exchange.at.take();
        if let Some(at) = at {
            self.upstreams.end(at);
        }
        let Some(j) = exchange.upstream.take() else { return };
        let j = j as usize;
        let done = whole && exchange.request_done && exchange.response_done && !exchange.is_tunnel;
        let has_proxy_header = at.is_some_and(|at| self.upstreams.proxy(at.group).is_some());
        let leg = &mut self.legs[j];
        let (Role::Upstream(member), Some(id)) = (leg.role, leg.id) else { return };
        leg.exchange = None;
        leg.content = None;
        let is_clean = done
            && leg.held() == 0
            && leg.partial.is_empty()
            && !leg.peer_closed
            && leg.receiver.persists()
            && leg.receiver.is_between()
            && !has_proxy_header
            && io.tcp.has_sent_all(id)
            // What came in the same burst and was not told yet answers nothing.
            && io.tcp.unconsumed(id) == 0;
        let reuse = if is_clean { Reuse::Yes } else { Reuse::No };
        // One that is not open yet was never used: nothing is lost with it.
        if self.upstreams.pool.give_back(io.now, member, reuse) == Verdict::Keep {
            return;
        }
        self.upstreams.pool.ended(member);
        // A tunnel's last bytes may still be here, and its end behind them.
        let flushed = whole && self.flush(io, j);
        let closes = flushed && (done || self.legs[j].peer_closed);
        self.vacate(io, j);
        if closes { io.tcp.release(id, io.out) } else { io.tcp.abort(io.now, id, io.out) }
    }

    /// The client is gone.
    pub(super) fn abandon(&mut self, io: &mut Io<'_>, x: u32, ended: Ended) {
        self.detach(io, x, false);
        // What was answered whole was answered, even if the client did not wait to close.
        let ended = if self.exchanges[x as usize].response_done { self.exchanges[x as usize].ended } else { ended };
        self.close_exchange(io, x, ended);
    }

    /// Something is wrong behind us: the client gets a status if it is not too late for one.
    pub(super) fn fail(&mut self, io: &mut Io<'_>, x: u32, status: u16, ended: Ended) {
        if self.exchanges[x as usize].begun { self.give_up(io, x, ended) } else { self.answer(io, x, status, ended) }
    }

    /// The client's answer stays cut short, and so that it knows.
    pub(super) fn give_up(&mut self, io: &mut Io<'_>, x: u32, ended: Ended) {
        self.detach(io, x, false);
        let exchange = &self.exchanges[x as usize];
        let client = exchange.client as usize;
        let needs_reset = exchange.until_close || exchange.is_tunnel || !exchange.begun;
        self.close_exchange(io, x, ended);
        self.leave(io, client);
        if needs_reset && let Some(id) = self.legs[client].id {
            io.tcp.abort(io.now, id, io.out);
        }
    }

    /// One record, one count, and the place is free.
    fn close_exchange(&mut self, io: &mut Io<'_>, x: u32, ended: Ended) {
        io.out.counters.count_exchange(ended);
        if self.taps.is_some() {
            self.tap_ended(io.now, x, ended);
        }
        self.meter(io.now, x);
        let exchange = &mut self.exchanges[x as usize];
        let leg = &mut self.legs[exchange.client as usize];
        leg.exchange = None;
        if self.keeps_records {
            if self.records.len() == RECORDS_MAX {
                self.records.pop_front();
            }
            self.records.push_back(Record {
                client: leg.address,
                listener: leg.listener,
                rule: exchange.rule,
                backend: exchange.last.map(|at| self.upstreams.backend(at)),
                endpoint: exchange.last.map(|at| self.upstreams.address(at)),
                status: exchange.status,
                ended,
                request_bytes: exchange.request_bytes,
                response_bytes: exchange.response_bytes,
                attempts: exchange.attempts,
                began: exchange.began,
                connect: exchange.connected_at.map(|at| at.since(exchange.began)),
                first_byte: exchange.first_byte_at.map(|at| at.since(exchange.began)),
                total: io.now.since(exchange.began),
            });
        }
        if let Some(at) = exchange.last.take() {
            self.upstreams.forget(at);
        }
        // The place may be looked at before it is another's.
        exchange.is_tunnel = false;
        self.listeners.unpin(std::mem::replace(&mut exchange.edition, Edition::NONE));
        let head = &mut self.heads[x as usize].0;
        head.clear();
        head.shrink_to(HTTP_WRITTEN_KEPT);
        self.free.push(x);
    }

    /// Counts one that is over.
    #[inline]
    fn meter(&mut self, now: Instant, x: u32) {
        let exchange = &self.exchanges[x as usize];
        let total = now.since(exchange.began);
        let it = Metered::new(exchange.status, total, exchange.request_bytes, exchange.response_bytes);
        let room = &mut self.room;
        self.listeners.count(self.legs[exchange.client as usize].listener, it, room);
        self.route_meters.count(exchange.route, it, room);
        if let Some(at) = exchange.last {
            self.upstreams.count(at, it, room);
        }
    }

    /// The client has its last answer. rfc9112 9.6: our side closes first, and what it still sends is read for a while, for a reset could
    /// take the answer away from it.
    pub(super) fn leave(&mut self, io: &mut Io<'_>, i: usize) {
        let leg = &mut self.legs[i];
        let Some(id) = leg.id.filter(|_| leg.role == Role::Client) else { return };
        leg.role = Role::Leaving;
        leg.content = None;
        self.partial_bytes -= leg.partial.len();
        leg.partial = Vec::new();
        while let Some(frame) = leg.input.pop() {
            self.held -= 1;
            io.tcp.consume(id, frame.len() as u32);
            io.out.consume(frame);
        }
        self.hear_no_more(io, i, id);
        self.close(io, i);
        self.lingers(io, i);
    }

    /// How long a client that has its last answer may take: to read it as long as for any answer, and once it is out of our hands not long.
    pub(super) fn lingers(&mut self, io: &Io<'_>, i: usize) {
        let leg = &mut self.legs[i];
        let listeners = &self.listeners;
        let idle = if leg.is_raw {
            listeners.raw(leg.listener).idle
        } else {
            listeners.http(leg.listener).timeouts.stream_idle
        };
        leg.deadline = io.now + if leg.is_flushed() { LINGER } else { idle };
        self.arm(i);
    }

    /// It did not close in time.
    fn linger_over(&mut self, io: &mut Io<'_>, i: usize, id: ConnectionId) {
        if !self.legs[i].is_flushed() || io.tcp.is_acknowledged(id) {
            return io.tcp.abort(io.now, id, io.out);
        }
        // It is still on its way, or the client reads slowly: a reset would take it away. TCP has bounds of its own.
        self.vacate(io, i);
        io.tcp.release(id, io.out);
    }

    /// When something ends unless something comes.
    pub(super) fn deadline(&self, i: usize) -> Instant {
        let leg = &self.legs[i];
        let Some(x) = leg.exchange.filter(|_| leg.role == Role::Client) else { return leg.deadline };
        let exchange = &self.exchanges[x as usize];
        [exchange.request_at, exchange.backend_at, exchange.connect_at, exchange.body_at]
            .into_iter()
            .fold(exchange.moved_at + exchange.idle, Instant::min)
    }

    /// A head has begun to come, and is not whole.
    pub(super) fn head_began(&mut self, i: usize, io: &Io<'_>) {
        let leg = &mut self.legs[i];
        if leg.role == Role::Client && leg.exchange.is_none() && !leg.is_raw && leg.has_begun_head() {
            leg.deadline = leg.deadline.min(io.now + self.listeners.http(leg.listener).timeouts.request_headers);
            self.arm(i);
        }
    }

    /// Nothing came in time.
    pub(super) fn expire(&mut self, io: &mut Io<'_>, i: usize) {
        let leg = &self.legs[i];
        let Some(id) = leg.id else { return };
        match (leg.role, leg.exchange) {
            (Role::Client, Some(x)) => self.expire_exchange(io, x),
            (Role::Client, None) if leg.tls.as_ref().is_some_and(|it| !it.session.is_established()) => {
                io.out.counters.count(Counter::TlsHandshakeTimeouts);
                self.cut(io, i);
            }
            (Role::Client, None) if !leg.has_begun_head() || leg.is_raw => self.leave(io, i),
            (Role::Client, None) => self.head_timed_out(io, i),
            (Role::Leaving, _) => self.linger_over(io, i, id),
            (Role::Upstream(_) | Role::Probe(_) | Role::Vacant, _) => {}
        }
    }

    fn expire_exchange(&mut self, io: &mut Io<'_>, x: u32) {
        let exchange = &self.exchanges[x as usize];
        if exchange.connect_at <= io.now {
            self.connect_timed_out(io, x);
        } else if exchange.request_at <= io.now {
            self.fail(io, x, 504, Ended::RequestTimeout);
        } else if exchange.backend_at <= io.now {
            self.fail(io, x, 504, Ended::BackendTimeout);
        } else if exchange.body_at <= io.now {
            // Whoever is behind us is not to blame that nothing comes; but we are not waiting for the client while its content has no room, nor
            // while it waits for a word.
            if self.client_is_held(x) || self.exchanges[x as usize].awaits_continue {
                let again = self.listeners.edition(self.exchanges[x as usize].edition).timeouts.request_body;
                self.exchanges[x as usize].body_at = io.now + again;
            } else {
                // rfc9110 15.5.9 (SHOULD): the connection ends with it.
                self.exchanges[x as usize].persists = false;
                self.fail(io, x, 408, Ended::BodySlow);
            }
        } else {
            self.fail(io, x, 504, Ended::StreamIdle);
        }
    }

    /// Whether a client's content waits for room, rather than we for it.
    fn client_is_held(&self, x: u32) -> bool {
        let exchange = &self.exchanges[x as usize];
        let leg = &self.legs[exchange.client as usize];
        !leg.input.is_empty()
    }
}
