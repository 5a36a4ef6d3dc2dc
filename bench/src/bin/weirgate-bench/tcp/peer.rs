//! The clients of an exchange: any number of established connections that each send a request of 100 bytes when their turn comes, and take the
//! response. The same code stands before every server that is measured.
//!
//! ```text
//!   clients, in the order in which they get their turn (a shuffle of their ids)
//!   +-----+-----+-----+-- -
//!   | id  | id  | id  |         read from front to back, so a client costs no cache miss,
//!   | seq | seq | seq |         while its id, and with it the connection of the server, is anywhere
//!   +-----+-----+-----+-- -
//!    '--- a burst ---'  ->  32 packets  ->  server  ->  32 packets
//! ```
//!
//! Every connection gets its turn once in a round: the time between two requests of one connection is the same for all, and no timer of a server
//! goes off between them. Each request acknowledges the response before it. Packets are IPv4, their checksums are zero: nobody computes or
//! checks them.

use super::exchange::Clock;
use anyhow::{bail, ensure};
use std::{array, ops::Range};
use weirgate_dataplane::time::{Duration, Instant};

/// Requests that arrive together.
pub(super) const BURST: usize = 32;
/// Payload of a request, and of a response.
pub(super) const MESSAGE: usize = 100;
/// Where the server listens.
pub(super) const SERVER: ([u8; 4], u16) = ([10, 77, 0, 10], 80);

/// What is measured.
pub(super) trait Server {
    /// Takes packets that arrived together, answers each request, and hands `send` each packet that it sends.
    fn turn(&mut self, now: Instant, arrived: &[&[u8]], send: &mut impl FnMut(&[u8]));
}

pub(super) struct Peer {
    clients: Vec<Client>,
    /// Whose turn is next.
    next: usize,
    packets: Box<[Request; BURST]>,
    /// Packets that were no response that a client waits for: a retransmission, an acknowledgement alone.
    pub(super) strays: u64,
    random: fastrand::Rng,
}

/// One connection.
#[derive(Clone, Copy)]
struct Client {
    id: u32,
    snd_nxt: u32,
    rcv_nxt: u32,
    ts_recent: u32,
}

const IP: usize = 20;
const TCP: usize = 20;
const TIMESTAMPS: usize = 12;
const HEADERS: usize = IP + TCP + TIMESTAMPS;
type Request = [u8; HEADERS + MESSAGE];

const ACK: u8 = 0x10;
const SYN: u8 = 0x02;
const PSH: u8 = 0x08;

impl Peer {
    /// A client for each id, without connections.
    pub(super) fn new(ids: Range<u32>, seed: u64) -> Self {
        let mut random = fastrand::Rng::with_seed(seed);
        let clients = ids.map(|id| Client { id, snd_nxt: random.u32(..), rcv_nxt: 0, ts_recent: 0 }).collect();
        Self { clients, next: 0, packets: Box::new(array::from_fn(|_| request())), strays: 0, random }
    }

    /// All of them connect, in the order of their ids, each in a round trip; then their turns are shuffled.
    pub(super) fn connect(
        &mut self,
        clock: &mut Clock,
        round_trip: Duration,
        server: &mut impl Server,
    ) -> anyhow::Result<()> {
        for burst in self.clients.chunks_mut(BURST) {
            handshake(burst, clock, round_trip, server)?;
        }
        self.random.shuffle(&mut self.clients);
        Ok(())
    }

    /// A segment of a client with a single byte, `offset` bytes after all that it has sent.
    pub(super) fn byte(&self, client: usize, now: Instant, offset: u32) -> Vec<u8> {
        let mut client = self.clients[client];
        client.snd_nxt = client.snd_nxt.wrapping_add(offset);
        let mut packet = request();
        client.request(millis(now), &mut packet);
        packet[2..4].copy_from_slice(&(HEADERS as u16 + 1).to_be_bytes());
        packet[..=HEADERS].to_vec()
    }

    pub(super) fn count(&self) -> usize {
        self.clients.len()
    }

    /// The clients of the last burst acknowledge their responses and say nothing more.
    pub(super) fn acknowledge(&mut self, now: Instant, server: &mut impl Server) {
        let burst = &self.clients[self.next - 1 - (self.next - 1) % BURST..self.next];
        let acks: Vec<Vec<u8>> = burst.iter().map(|client| ack(client, millis(now))).collect();
        let arrived: Vec<&[u8]> = acks.iter().map(Vec::as_slice).collect();
        server.turn(now, &arrived, &mut |_| self.strays += 1);
    }

    /// The next burst of clients (or all that there are) send a request each, and get their responses.
    pub(super) fn exchange(&mut self, now: Instant, server: &mut impl Server) -> anyhow::Result<usize> {
        if self.next == self.clients.len() {
            self.next = 0;
        }
        let count = BURST.min(self.clients.len() - self.next);
        let burst = &mut self.clients[self.next..self.next + count];
        self.next += count;
        for (client, packet) in burst.iter_mut().zip(self.packets.iter_mut()) {
            client.request(millis(now), packet);
        }
        let arrived: [&[u8]; BURST] = array::from_fn(|i| &self.packets[i][..]);
        let (mut answered, mut strays) = (0, 0);
        server.turn(now, &arrived[..count], &mut |packet| {
            if take(burst, answered, packet) {
                answered += 1;
            } else {
                strays += 1;
            }
        });
        self.strays += strays;
        ensure!(answered == count, "{answered} responses to {count} requests");
        Ok(count)
    }
}

/// The timestamp clock of the clients.
fn millis(now: Instant) -> u32 {
    (now.as_ns() / 1_000_000) as u32
}

impl Client {
    #[inline]
    fn request(&mut self, now: u32, packet: &mut Request) {
        let (address, port) = tuple(self.id);
        packet[12..16].copy_from_slice(&address);
        packet[20..22].copy_from_slice(&port.to_be_bytes());
        packet[24..28].copy_from_slice(&self.snd_nxt.to_be_bytes());
        packet[28..32].copy_from_slice(&self.rcv_nxt.to_be_bytes());
        packet[44..48].copy_from_slice(&now.to_be_bytes());
        packet[48..52].copy_from_slice(&self.ts_recent.to_be_bytes());
        self.snd_nxt = self.snd_nxt.wrapping_add(MESSAGE as u32);
    }
}

/// A client's address and port; 16,384 ports of each address.
#[inline]
fn tuple(id: u32) -> ([u8; 4], u16) {
    ((0x0a4e_0000 + (id >> 14)).to_be_bytes(), 16_384 + (id & 0x3fff) as u16)
}

/// Takes a packet of the server's; whether it is the response that one of the clients waits for. Responses that come in the order of the requests are
/// found at once: `expected` is the place of the next.
#[inline]
fn take(burst: &mut [Client], expected: usize, packet: &[u8]) -> bool {
    let Some(seen) = Seen::of(packet) else { return false };
    let is_for = |client: &Client| tuple(client.id) == seen.to;
    let place = if burst.get(expected).is_some_and(is_for) {
        expected
    } else if let Some(place) = burst.iter().position(is_for) {
        place
    } else {
        return false;
    };
    let client = &mut burst[place];
    let awaited = seen.payload == MESSAGE && seen.seq == client.rcv_nxt && seen.ack == client.snd_nxt;
    if awaited {
        client.rcv_nxt = client.rcv_nxt.wrapping_add(MESSAGE as u32);
        client.ts_recent = seen.ts_val;
    }
    awaited
}

/// What a client wants to know of a packet.
struct Seen {
    to: ([u8; 4], u16),
    seq: u32,
    ack: u32,
    flags: u8,
    ts_val: u32,
    payload: usize,
}

impl Seen {
    /// `None` when there are no timestamps where every segment of an established connection has them.
    #[inline]
    fn of(packet: &[u8]) -> Option<Self> {
        let fixed: &[u8; HEADERS] = packet.first_chunk()?;
        let options = &fixed[IP + TCP..];
        let ts_val = match options[..4] {
            [1, 1, 8, 10] => word(fixed, IP + TCP + 4),
            [8, 10, ..] => word(fixed, IP + TCP + 2),
            _ if fixed[33] & SYN != 0 => syn_timestamp(&packet[IP + TCP..])?,
            _ => return None,
        };
        let data_at = IP + usize::from(fixed[32] >> 4) * 4;
        Some(Self {
            to: ([fixed[16], fixed[17], fixed[18], fixed[19]], u16::from_be_bytes([fixed[22], fixed[23]])),
            seq: word(fixed, 24),
            ack: word(fixed, 28),
            flags: fixed[33],
            ts_val,
            payload: packet.len().checked_sub(data_at)?,
        })
    }
}

#[inline]
fn word(packet: &[u8; HEADERS], at: usize) -> u32 {
    u32::from_be_bytes([packet[at], packet[at + 1], packet[at + 2], packet[at + 3]])
}

/// The timestamp among the options of a SYN.
fn syn_timestamp(mut options: &[u8]) -> Option<u32> {
    loop {
        match options {
            [8, 10, a, b, c, d, ..] => return Some(u32::from_be_bytes([*a, *b, *c, *d])),
            [1, rest @ ..] => options = rest,
            [_, len, ..] => options = options.get(usize::from(*len).max(2)..)?,
            _ => return None,
        }
    }
}

/// SYN, the answer, ACK.
fn handshake(
    burst: &mut [Client],
    clock: &mut Clock,
    round_trip: Duration,
    server: &mut impl Server,
) -> anyhow::Result<()> {
    let now = clock.now();
    let syns: Vec<Vec<u8>> = burst.iter().map(|client| syn(tuple(client.id), client.snd_nxt, now)).collect();
    let arrived: Vec<&[u8]> = syns.iter().map(Vec::as_slice).collect();
    let mut established = 0;
    let mut wrong = None;
    server.turn(now, &arrived, &mut |packet| {
        let Some(seen) = Seen::of(packet) else {
            wrong = Some("an answer to a SYN without timestamps");
            return;
        };
        let Some(client) = burst.iter_mut().find(|client| tuple(client.id) == seen.to) else { return };
        if seen.flags & (SYN | ACK) != SYN | ACK || seen.ack != client.snd_nxt.wrapping_add(1) {
            wrong = Some("no SYN-ACK to a SYN");
            return;
        }
        client.snd_nxt = client.snd_nxt.wrapping_add(1);
        client.rcv_nxt = seen.seq.wrapping_add(1);
        client.ts_recent = seen.ts_val;
        established += 1;
    });
    if let Some(wrong) = wrong {
        bail!(wrong);
    }
    ensure!(established == burst.len(), "{established} answers to {} SYNs", burst.len());

    clock.skip(round_trip);
    let now = clock.now();
    let acks: Vec<Vec<u8>> = burst.iter().map(|client| ack(client, millis(now))).collect();
    let arrived: Vec<&[u8]> = acks.iter().map(Vec::as_slice).collect();
    let mut answers = 0;
    server.turn(now, &arrived, &mut |_| answers += 1);
    ensure!(answers == 0, "{answers} answers to the last ACKs of handshakes");
    Ok(())
}

fn header(from: ([u8; 4], u16), tcp_len: usize) -> Vec<u8> {
    let total = ((IP + tcp_len) as u16).to_be_bytes();
    let mut bytes = vec![0x45, 0, total[0], total[1], 0, 0, 0x40, 0, 64, 6, 0, 0];
    bytes.extend_from_slice(&from.0);
    bytes.extend_from_slice(&SERVER.0);
    bytes.extend_from_slice(&from.1.to_be_bytes());
    bytes.extend_from_slice(&SERVER.1.to_be_bytes());
    bytes
}

/// A SYN as any client sends it.
pub(super) fn syn(from: ([u8; 4], u16), seq: u32, now: Instant) -> Vec<u8> {
    let mut bytes = header(from, 40);
    bytes.extend_from_slice(&seq.to_be_bytes());
    bytes.extend_from_slice(&[0, 0, 0, 0, 0xa0, SYN, 0xff, 0xff, 0, 0, 0, 0]);
    // MSS 1460, SACK permitted, timestamps, window scale 7.
    bytes.extend_from_slice(&[2, 4, 0x05, 0xb4, 4, 2, 8, 10]);
    bytes.extend_from_slice(&millis(now).to_be_bytes());
    bytes.extend_from_slice(&[0, 0, 0, 0, 1, 3, 3, 7]);
    bytes
}

fn ack(client: &Client, now: u32) -> Vec<u8> {
    let mut packet = request();
    { *client }.request(now, &mut packet);
    packet[2..4].copy_from_slice(&(HEADERS as u16).to_be_bytes());
    packet[33] = ACK;
    packet[..HEADERS].to_vec()
}

/// A request with everything in it that is the same in all.
fn request() -> Request {
    let mut packet = [b'q'; HEADERS + MESSAGE];
    packet[..24].copy_from_slice(&header(([0; 4], 0), TCP + TIMESTAMPS + MESSAGE));
    packet[32..44].copy_from_slice(&[0x80, ACK | PSH, 0x20, 0, 0, 0, 0, 0, 1, 1, 8, 10]);
    packet
}

/// A server that costs nothing but the bytes of its responses: what remains of an exchange is the clients' own cost.
pub(super) struct NoServer {
    response: Request,
}

impl NoServer {
    pub(super) fn new() -> Self {
        Self { response: request() }
    }
}

impl Server for NoServer {
    fn turn(&mut self, _: Instant, arrived: &[&[u8]], send: &mut impl FnMut(&[u8])) {
        for packet in arrived {
            if packet[33] & SYN != 0 {
                send(&syn_ack(packet));
            } else if let Some(request) = packet.first_chunk::<{ HEADERS + MESSAGE }>() {
                let acked = u32::from_be_bytes([request[24], request[25], request[26], request[27]]);
                self.response[16..20].copy_from_slice(&request[12..16]);
                self.response[22..24].copy_from_slice(&request[20..22]);
                self.response[24..28].copy_from_slice(&request[28..32]);
                self.response[28..32].copy_from_slice(&acked.wrapping_add(MESSAGE as u32).to_be_bytes());
                send(&self.response);
            }
        }
    }
}

fn syn_ack(syn: &[u8]) -> Vec<u8> {
    let mut packet = syn.to_vec();
    packet[16..20].copy_from_slice(&syn[12..16]);
    packet[22..24].copy_from_slice(&syn[20..22]);
    let acked = u32::from_be_bytes([syn[24], syn[25], syn[26], syn[27]]).wrapping_add(1);
    packet[28..32].copy_from_slice(&acked.to_be_bytes());
    packet[33] = SYN | ACK;
    packet
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_client_gets_its_turn_once_in_a_round() {
        let mut server = NoServer::new();
        let mut peer = Peer::new(0..70, 1);
        peer.connect(&mut Clock::start(), Duration::ZERO, &mut server).unwrap();
        let before: u32 = peer.clients.iter().fold(0, |sum, client| sum.wrapping_add(client.snd_nxt));
        let bursts: Vec<usize> = (0..6).map(|_| peer.exchange(Instant::from_ns(1), &mut server).unwrap()).collect();
        assert_eq!(bursts, [32, 32, 6, 32, 32, 6]);
        let after = peer.clients.iter().fold(0, |sum: u32, client| sum.wrapping_add(client.snd_nxt));
        assert_eq!(after.wrapping_sub(before), 2 * 70 * MESSAGE as u32);
    }

    #[test]
    fn a_repeated_response_is_a_stray() {
        struct Twice(NoServer);
        impl Server for Twice {
            fn turn(&mut self, now: Instant, arrived: &[&[u8]], send: &mut impl FnMut(&[u8])) {
                let syn = arrived.iter().any(|packet| packet[33] & SYN != 0);
                self.0.turn(now, arrived, &mut |packet| {
                    send(packet);
                    if !syn {
                        send(packet);
                    }
                });
            }
        }
        let mut server = Twice(NoServer::new());
        let mut peer = Peer::new(0..3, 1);
        peer.connect(&mut Clock::start(), Duration::ZERO, &mut server).unwrap();
        assert_eq!(peer.exchange(Instant::from_ns(1), &mut server).unwrap(), 3);
        assert_eq!(peer.strays, 3);
    }
}
