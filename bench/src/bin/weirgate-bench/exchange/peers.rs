//! The machines around the gateway: any number of clients, four backends, and the router that all of them are behind.
//!
//! ```text
//!   clients, in the order in which they get their turn (a shuffle of their ids)
//!   -- -+------+------+------+------+-- -
//!       | answered    | under way   |  next
//!   -- -+------+------+------+------+-- -      state is read from front to back, while a client's connection in the gateway is anywhere
//! ```
//! Whoever sends something acknowledges what came before it in the same segment, and says nothing else.

use super::{
    http,
    secure::{Secure, Shake},
};
use ahash::RandomState;
use anyhow::{Context, bail, ensure};
use std::{
    array,
    collections::{HashMap, VecDeque},
};

pub(super) const OURS: [u8; 6] = [2, 0, 0, 0, 0, 1];
pub(super) const ROUTER: [u8; 6] = [2, 0, 0, 0, 0, 2];
pub(super) const ROUTER_ADDRESS: [u8; 4] = [10, 77, 0, 1];
/// Where the gateway listens.
pub(super) const LISTENER: ([u8; 4], u16) = ([10, 77, 0, 10], 80);
/// And where it speaks TLS.
pub(super) const SECURE_PORT: u16 = 443;
pub(super) const BACKENDS: [[u8; 4]; 4] = [[10, 78, 0, 1], [10, 78, 0, 2], [10, 78, 0, 3], [10, 78, 0, 4]];
pub(super) const BACKEND_PORT: u16 = 8_080;

/// The first client's address.
const CLIENTS: u32 = 0x0a50_0000;
const IP: usize = 14;
const TCP: usize = IP + 20;
/// Ethernet, IPv4, TCP and timestamps.
const HEADERS: usize = TCP + 20 + 12;

const SYN: u8 = 0x02;
const RST: u8 = 0x04;
const FIN: u8 = 0x01;
const ACK: u8 = 0x10;
const PSH: u8 = 0x08;

pub(super) struct Peers {
    /// In the order of their turns.
    clients: Vec<Flow>,
    /// Of the whole number of requests: those that were sent, and those that were answered.
    pub(super) sent: usize,
    pub(super) answered: usize,
    /// By our address and the gateway's port.
    upstreams: HashMap<End, Flow, RandomState>,
    /// Requests that wait for their answer, the oldest in front.
    asked: VecDeque<End>,
    /// Frames that somebody answers at once: ARP, SYNs.
    pub(super) replies: Vec<Vec<u8>>,
    /// Segments without data, and any that nobody waited for.
    pub(super) acks: u64,
    pub(super) strays: u64,
    answer: Vec<u8>,
    /// Their TLS, if they speak it.
    pub(super) secure: Option<Secure>,
    /// Clients that were answered, if somebody wants to know.
    pub(super) heard: Option<Vec<usize>>,
    /// Bytes of the last request that came to a backend, and of the last answer that came to a client.
    pub(super) lens: (usize, usize),
}

type End = ([u8; 4], u16);

/// A connection, as its peer sees it.
#[derive(Clone, Copy)]
pub(super) struct Flow {
    ours: End,
    theirs: End,
    snd_nxt: u32,
    rcv_nxt: u32,
    ts_recent: u32,
}

impl Peers {
    pub(super) fn new(clients: usize) -> Self {
        Self {
            clients: (0..clients).map(Flow::client).collect(),
            sent: 0,
            answered: 0,
            upstreams: HashMap::with_hasher(RandomState::with_seeds(1, 2, 3, 4)),
            asked: VecDeque::new(),
            replies: Vec::new(),
            acks: 0,
            strays: 0,
            answer: http::answer(),
            secure: None,
            heard: None,
            lens: (0, 0),
        }
    }

    /// Every `nth` client speaks TLS.
    pub(super) fn make_secure(&mut self, nth: usize) {
        self.clients.iter_mut().step_by(nth).for_each(|flow| flow.theirs.1 = SECURE_PORT);
    }

    pub(super) fn count(&self) -> usize {
        self.clients.len()
    }
    pub(super) fn under_way(&self) -> usize {
        self.sent - self.answered
    }
    /// Requests that came to backends.
    pub(super) fn asked(&self) -> usize {
        self.asked.len()
    }

    /// Turns come in another order than connections were made.
    pub(super) fn shuffle(&mut self) {
        fastrand::Rng::with_seed(0x7765_6972).shuffle(&mut self.clients);
    }

    /// Whose request is next.
    pub(super) fn next(&self) -> &Flow {
        &self.clients[self.sent % self.clients.len()]
    }
    /// The next client's request.
    pub(super) fn request(&mut self, now: u32, frame: &mut Vec<u8>) {
        let place = self.sent % self.clients.len();
        let flow = &mut self.clients[place];
        match self.secure.as_mut().filter(|_| flow.is_secure()) {
            None => flow.write(ACK | PSH, now, http::REQUEST, frame),
            Some(secure) => flow.write(ACK | PSH, now, &secure.seal(flow.id(), http::REQUEST), frame),
        }
        self.sent += 1;
    }

    /// What a client says in its handshake, if it says anything.
    pub(super) fn shake(&mut self, client: usize, shake: &mut Shake, now: u32) -> anyhow::Result<Vec<Vec<u8>>> {
        let segments = shake.says()?;
        let segments = segments.chunks(1_448).map(|part| {
            let mut frame = Vec::new();
            self.clients[client].write(ACK | PSH, now, part, &mut frame);
            frame
        });
        Ok(segments.collect())
    }
    /// What it is told there.
    pub(super) fn take_shake(&mut self, client: usize, shake: &mut Shake, bytes: &[u8]) -> anyhow::Result<()> {
        if is_arp(bytes) {
            self.replies.push(arp_reply(bytes));
            return Ok(());
        }
        let seen = Seen::of(bytes)?;
        let flow = &mut self.clients[client];
        ensure!(seen.to == flow.ours, "a segment that is another's");
        match flow.take(&seen) {
            Took::Data => shake.hears(seen.data(bytes)),
            Took::Ack => Ok(()),
            Took::Stray => bail!("a segment out of order"),
        }
    }

    /// A backend's answer to the request that has waited for the longest time.
    pub(super) fn answer(&mut self, now: u32, frame: &mut Vec<u8>) {
        let flow = self.asked.pop_front().and_then(|end| self.upstreams.get_mut(&end));
        flow.expect("a request that waits").write(ACK | PSH, now, &self.answer, frame);
    }

    /// A client's SYN, and what it says to the answer.
    pub(super) fn syn(&mut self, client: usize, now: u32) -> Vec<u8> {
        let flow = &mut self.clients[client];
        flow.ts_recent = 0;
        flow.syn(SYN, now)
    }
    pub(super) fn ack(&mut self, client: usize, now: u32) -> Vec<u8> {
        let mut frame = Vec::new();
        self.clients[client].write(ACK, now, &[], &mut frame);
        frame
    }

    /// A frame of the gateway's after a SYN of `client`.
    pub(super) fn take_syn_ack(&mut self, client: usize, bytes: &[u8]) -> anyhow::Result<()> {
        if is_arp(bytes) {
            self.replies.push(arp_reply(bytes));
            return Ok(());
        }
        let seen = Seen::of(bytes)?;
        let flow = &mut self.clients[client];
        ensure!(seen.to == flow.ours && seen.flags & (SYN | ACK) == SYN | ACK, "no answer to a SYN");
        (flow.rcv_nxt, flow.ts_recent) = (seen.seq.wrapping_add(1), seen.ts_val);
        Ok(())
    }

    /// A frame of the gateway's.
    pub(super) fn take(&mut self, now: u32, bytes: &[u8]) -> anyhow::Result<()> {
        if is_arp(bytes) {
            self.replies.push(arp_reply(bytes));
            return Ok(());
        }
        let seen = Seen::of(bytes)?;
        if seen.to.1 == BACKEND_PORT { self.take_upstream(now, &seen) } else { self.take_client(&seen, bytes) }
    }

    fn take_upstream(&mut self, now: u32, seen: &Seen) -> anyhow::Result<()> {
        // The gateway has one address: its port and which backend it is tell connections apart.
        let end = (seen.to.0, seen.from.1);
        if seen.flags & SYN != 0 {
            let (rcv_nxt, ts_recent) = (seen.seq.wrapping_add(1), seen.ts_val);
            let mut flow = Flow { ours: seen.to, theirs: seen.from, snd_nxt: seen.seq, rcv_nxt, ts_recent };
            self.replies.push(flow.syn(SYN | ACK, now));
            self.upstreams.insert(end, flow);
            return Ok(());
        }
        let flow = self.upstreams.get_mut(&end).context("a segment to a backend without a connection")?;
        match flow.take(seen) {
            Took::Data => {
                self.lens.0 = seen.payload;
                self.asked.push_back(end);
            }
            Took::Ack => self.acks += 1,
            Took::Stray => self.strays += 1,
        }
        Ok(())
    }

    fn take_client(&mut self, seen: &Seen, bytes: &[u8]) -> anyhow::Result<()> {
        // Answers come in the order of requests; if not, whoever is first takes his turn first from here on.
        let count = self.clients.len();
        let mut places = (self.answered..self.sent).chain(self.answered.saturating_sub(64)..self.answered);
        let place = places.find(|place| self.clients[place % count].ours == seen.to);
        let Some(place) = place else {
            self.strays += 1;
            return Ok(());
        };
        match self.clients[place % count].take(seen) {
            Took::Data => {
                let flow = &self.clients[place % count];
                self.lens.1 = match self.secure.as_mut().filter(|_| flow.is_secure()) {
                    None => seen.payload,
                    Some(secure) => secure.open(flow.id(), seen.data(bytes))?,
                };
                if let Some(heard) = &mut self.heard {
                    heard.push(flow.id());
                }
                self.clients.swap(place % count, self.answered % count);
                self.answered += 1;
            }
            Took::Ack => self.acks += 1,
            Took::Stray => self.strays += 1,
        }
        Ok(())
    }
}

enum Took {
    Data,
    Ack,
    Stray,
}

impl Flow {
    fn client(id: usize) -> Self {
        let address = (CLIENTS + (id >> 14) as u32).to_be_bytes();
        let ours = (address, 16_384 + (id & 0x3fff) as u16);
        Self { ours, theirs: LISTENER, snd_nxt: id as u32, rcv_nxt: 0, ts_recent: 0 }
    }

    pub(super) fn is_secure(&self) -> bool {
        self.theirs.1 == SECURE_PORT
    }
    /// Which of the clients it is.
    pub(super) fn id(&self) -> usize {
        let high = u32::from_be_bytes(self.ours.0) - CLIENTS;
        (high as usize) << 14 | usize::from(self.ours.1 - 16_384)
    }

    fn take(&mut self, seen: &Seen) -> Took {
        if seen.payload == 0 {
            return Took::Ack;
        }
        if seen.seq != self.rcv_nxt || seen.ack != self.snd_nxt {
            return Took::Stray;
        }
        self.rcv_nxt = self.rcv_nxt.wrapping_add(seen.payload as u32);
        self.ts_recent = seen.ts_val;
        Took::Data
    }

    fn head(&self, tcp_len: usize) -> [u8; TCP + 4] {
        let mut head = [0; TCP + 4];
        head[..6].copy_from_slice(&OURS);
        head[6..12].copy_from_slice(&ROUTER);
        head[12..14].copy_from_slice(&[8, 0]);
        let total = ((20 + tcp_len) as u16).to_be_bytes();
        head[IP..TCP - 8].copy_from_slice(&[0x45, 0, total[0], total[1], 0, 0, 0x40, 0, 64, 6, 0, 0]);
        head[TCP - 8..TCP - 4].copy_from_slice(&self.ours.0);
        head[TCP - 4..TCP].copy_from_slice(&self.theirs.0);
        head[TCP..TCP + 2].copy_from_slice(&self.ours.1.to_be_bytes());
        head[TCP + 2..].copy_from_slice(&self.theirs.1.to_be_bytes());
        head
    }

    /// A segment of an established connection.
    fn write(&mut self, flags: u8, now: u32, payload: &[u8], frame: &mut Vec<u8>) {
        frame.clear();
        frame.extend_from_slice(&self.head(32 + payload.len()));
        frame.extend_from_slice(&self.snd_nxt.to_be_bytes());
        frame.extend_from_slice(&self.rcv_nxt.to_be_bytes());
        frame.extend_from_slice(&[0x80, flags, 0x01, 0xf6, 0, 0, 0, 0, 1, 1, 8, 10]);
        frame.extend_from_slice(&now.to_be_bytes());
        frame.extend_from_slice(&self.ts_recent.to_be_bytes());
        frame.extend_from_slice(payload);
        self.snd_nxt = self.snd_nxt.wrapping_add(payload.len() as u32);
    }

    /// MSS 1460, SACK permitted, timestamps, window scale 7.
    fn syn(&mut self, flags: u8, now: u32) -> Vec<u8> {
        let mut frame = self.head(40).to_vec();
        frame.extend_from_slice(&self.snd_nxt.to_be_bytes());
        frame.extend_from_slice(&self.rcv_nxt.to_be_bytes());
        frame.extend_from_slice(&[0xa0, flags, 0xff, 0xff, 0, 0, 0, 0, 2, 4, 0x05, 0xb4, 4, 2, 8, 10]);
        frame.extend_from_slice(&now.to_be_bytes());
        frame.extend_from_slice(&self.ts_recent.to_be_bytes());
        frame.extend_from_slice(&[1, 3, 3, 7]);
        self.snd_nxt = self.snd_nxt.wrapping_add(1);
        frame
    }
}

/// What a peer wants to know of a segment.
struct Seen {
    from: End,
    to: End,
    seq: u32,
    ack: u32,
    flags: u8,
    ts_val: u32,
    payload: usize,
}

impl Seen {
    fn of(bytes: &[u8]) -> anyhow::Result<Self> {
        ensure!(bytes.len() >= HEADERS && bytes[12..14] == [8, 0] && bytes[IP + 9] == 6, "no TCP over IPv4");
        let word = |at: usize| u32::from_be_bytes(array::from_fn(|i| bytes[at + i]));
        let end = |address: usize, port: usize| -> End {
            (array::from_fn(|i| bytes[address + i]), u16::from_be_bytes([bytes[port], bytes[port + 1]]))
        };
        let total = usize::from(u16::from_be_bytes([bytes[IP + 2], bytes[IP + 3]]));
        let data_at = 20 + usize::from(bytes[TCP + 12] >> 4) * 4;
        let flags = bytes[TCP + 13];
        Ok(Self {
            from: end(IP + 12, TCP),
            to: end(IP + 16, TCP + 2),
            seq: word(TCP + 4),
            ack: word(TCP + 8),
            flags,
            ts_val: timestamp(&bytes[TCP + 20..(IP + data_at).min(bytes.len())])?,
            payload: total.checked_sub(data_at).context("a length that is too short")?,
        })
    }
}

impl Seen {
    /// The payload: a frame has nothing behind it.
    fn data<'a>(&self, bytes: &'a [u8]) -> &'a [u8] {
        &bytes[bytes.len() - self.payload..]
    }
}

/// A client that comes to shake hands, and is gone when that is over.
pub(super) struct Visitor {
    flow: Flow,
    shake: Shake,
    connected: bool,
    was_over: bool,
}

impl Visitor {
    /// With its first segment.
    pub(super) fn come(id: usize, shake: Shake, now: u32) -> (Self, Vec<u8>) {
        let mut flow = Flow::client(id);
        flow.theirs.1 = SECURE_PORT;
        let syn = flow.syn(SYN, now);
        (Self { flow, shake, connected: false, was_over: false }, syn)
    }

    /// Takes a segment, and says what there is to say. `None`: it is over, or it was cut off.
    pub(super) fn take(&mut self, now: u32, bytes: &[u8], says: &mut Vec<Vec<u8>>) -> anyhow::Result<Option<()>> {
        let flags = bytes[TCP + 13];
        if flags & (RST | FIN) != 0 {
            return Ok(None);
        }
        let seen = Seen::of(bytes)?;
        if !self.connected {
            (self.flow.rcv_nxt, self.flow.ts_recent) = (seen.seq.wrapping_add(1), seen.ts_val);
            self.connected = true;
        } else if matches!(self.flow.take(&seen), Took::Data) {
            self.shake.hears(seen.data(bytes))?;
        } else {
            return Ok(Some(()));
        }
        for part in self.shake.says()?.chunks(1_448) {
            let mut frame = Vec::new();
            self.flow.write(ACK | PSH, now, part, &mut frame);
            says.push(frame);
        }
        // Its last word is out; what comes behind that (tickets) shows that it was heard.
        if std::mem::replace(&mut self.was_over, self.shake.is_over()) {
            let mut frame = Vec::new();
            self.flow.write(RST | ACK, now, &[], &mut frame);
            says.push(frame);
            return Ok(None);
        }
        Ok(Some(()))
    }
}

/// Which client a frame is for, if it is for one.
pub(super) fn client_of(bytes: &[u8]) -> Option<usize> {
    if is_arp(bytes) || bytes[IP + 9] != 6 {
        return None;
    }
    let high = u32::from_be_bytes(array::from_fn(|i| bytes[IP + 16 + i])).checked_sub(CLIENTS)?;
    let port = u16::from_be_bytes([bytes[TCP + 2], bytes[TCP + 3]]).checked_sub(16_384)?;
    (high < 0x1000).then(|| (high as usize) << 14 | usize::from(port))
}

fn timestamp(mut options: &[u8]) -> anyhow::Result<u32> {
    loop {
        match options {
            [8, 10, a, b, c, d, ..] => return Ok(u32::from_be_bytes([*a, *b, *c, *d])),
            [1, rest @ ..] => options = rest,
            [_, len, ..] if usize::from(*len) >= 2 => options = options.get(usize::from(*len)..).unwrap_or(&[]),
            _ => bail!("a segment without timestamps"),
        }
    }
}

/// The router asks for the gateway, which then knows the router as well.
pub(super) fn arp_request() -> Vec<u8> {
    let head = [&[0xff; 6][..], &ROUTER, &[8, 6, 0, 1, 8, 0, 6, 4, 0, 1]].concat();
    [&head[..], &ROUTER, &ROUTER_ADDRESS, &[0; 6], &LISTENER.0].concat()
}

fn is_arp(bytes: &[u8]) -> bool {
    bytes[12..14] == [8, 6]
}

/// The router answers for whatever is asked.
fn arp_reply(question: &[u8]) -> Vec<u8> {
    let head = [&question[6..12], &ROUTER, &[8, 6, 0, 1, 8, 0, 6, 4, 0, 2]].concat();
    [&head[..], &ROUTER, &question[38..42], &OURS, &question[28..32]].concat()
}
