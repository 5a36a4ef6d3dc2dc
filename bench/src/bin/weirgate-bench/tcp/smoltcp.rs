//! A server of smoltcp 0.14 sockets, in the arrangement that was found fastest with its public interface.
//!
//! ```text
//!   demux: four-tuple -> i      sets: Vec<SocketSet>         Vec<Place>
//!                               [ set of one socket ] ---->  [ socket | receive 1 KiB | transmit 1 KiB ]
//! ```
//!
//! A set of many sockets is searched in a line for each segment. So each connection is a set of its own with room for one, and a map of ours
//! chooses it. All share one `Interface` over a device of medium IP in memory that leaves checksums alone in both directions. A burst is looked
//! up first, and a first touch of its sockets overlaps their cache misses.
//!
//! Timestamps are on; SACK as far as it goes there (offered, and sent for holes; blocks that arrive are not used). No congestion control, which costs
//! least. Timers never go off here: each socket is polled when its request comes, not in between.

use super::peer::{MESSAGE, SERVER, Server};
use smoltcp::{
    iface::{Config, Interface, SocketHandle, SocketSet, SocketStorage},
    phy::{ChecksumCapabilities, Device, DeviceCapabilities, Medium, RxToken, TxToken},
    socket::tcp::{Socket, SocketBuffer},
    time::Instant as SmoltcpInstant,
    wire::{HardwareAddress, IpCidr, Ipv4Address},
};
use std::{
    collections::HashMap,
    hint::black_box,
    slice,
    sync::atomic::{AtomicU32, Ordering},
};
use weirgate_dataplane::time::Instant;

/// Bytes of each of a socket's two rings: ten messages.
pub(super) const RING: usize = 1_024;

/// Where a socket and its rings lie.
pub(super) struct Place<'a> {
    socket: SocketStorage<'a>,
    receive: [u8; RING],
    transmit: [u8; RING],
}

impl Place<'_> {
    /// Written, so that no page is new when a connection first uses it.
    pub(super) fn vacant() -> Self {
        Self { socket: SocketStorage::EMPTY, receive: [1; RING], transmit: [1; RING] }
    }
}

pub(super) struct Smoltcp<'a> {
    interface: Interface,
    demux: HashMap<[u8; 12], u32, ahash::RandomState>,
    sets: Vec<SocketSet<'a>>,
    /// The only socket's, in each set.
    handle: SocketHandle,
    transmit: Box<[u8; 2_048]>,
}

/// The clock of its timestamps: a plain function is all that it takes for one.
static MILLIS: AtomicU32 = AtomicU32::new(0);

impl<'a> Smoltcp<'a> {
    pub(super) fn new(places: &'a mut [Place<'a>], seed: u64) -> Self {
        let mut device = Wire { arrived: None, transmit: &mut [0; 2_048], send: &mut |_: &[u8]| {} };
        let mut config = Config::new(HardwareAddress::Ip);
        config.random_seed = seed;
        let mut interface = Interface::new(config, &mut device, SmoltcpInstant::ZERO);
        let [a, b, c, d] = SERVER.0;
        interface.update_ip_addrs(|addresses| {
            let _ = addresses.push(IpCidr::new(Ipv4Address::new(a, b, c, d).into(), 8)); // room for one is certain
        });
        let mut sets = Vec::with_capacity(places.len());
        let mut handle = SocketHandle::default();
        for Place { socket: storage, receive, transmit } in places {
            let (receive, transmit) = (&mut receive[..], &mut transmit[..]);
            let mut socket = Socket::new(SocketBuffer::new(receive), SocketBuffer::new(transmit));
            socket.set_tsval_generator(Some(|| MILLIS.load(Ordering::Relaxed)));
            socket.set_nagle_enabled(false);
            socket.listen(SERVER.1).expect("a port that is not 0");
            let mut set = SocketSet::new(slice::from_mut(storage));
            handle = set.add(socket);
            sets.push(set);
        }
        let hasher = ahash::RandomState::with_seeds(seed, 1, 2, 3);
        let demux = HashMap::with_capacity_and_hasher(sets.len(), hasher);
        Self { interface, demux, sets, handle, transmit: Box::new([0; 2_048]) }
    }

    /// The connection's place; a tuple that nobody has yet gets the next one.
    fn place(&mut self, packet: &[u8]) -> usize {
        let key: [u8; 12] = *packet[12..].first_chunk().expect("a packet of the clients' has a TCP header");
        if let Some(place) = self.demux.get(&key) {
            return *place as usize;
        }
        let place = self.demux.len();
        assert!(place < self.sets.len(), "there is a socket for each client");
        self.demux.insert(key, place as u32);
        place
    }
}

impl Server for Smoltcp<'_> {
    fn turn(&mut self, now: Instant, arrived: &[&[u8]], send: &mut impl FnMut(&[u8])) {
        MILLIS.store((now.as_ns() / 1_000_000) as u32, Ordering::Relaxed);
        let now = SmoltcpInstant::from_micros(now.as_ns() as i64 / 1_000);
        let mut places = [0; super::peer::BURST];
        for (place, packet) in places.iter_mut().zip(arrived) {
            *place = self.place(packet);
        }
        for place in &places[..arrived.len()] {
            touch(self.sets[*place].get_mut(self.handle));
        }
        for (place, packet) in places.iter().zip(arrived) {
            let mut device = Wire { arrived: Some(packet), transmit: &mut self.transmit, send };
            let set = &mut self.sets[*place];
            self.interface.poll_ingress_single(now, &mut device, set);
            answer(set.get_mut(self.handle));
            self.interface.poll_egress(now, &mut device, set);
        }
    }
}

/// Reads something in most of a socket's cache lines, for their misses to overlap with those of the burst's other sockets.
fn touch(socket: &mut Socket<'_>) {
    black_box((socket.state(), socket.remote_endpoint(), socket.timeout(), socket.recv_queue(), socket.keep_alive()));
    // Closed for sending while the handshake lasts.
    let _ = socket.send(|room| (0, black_box(room.first().copied())));
}

/// The application: a response for each whole request.
fn answer(socket: &mut Socket<'_>) {
    let mut received = 0;
    // Twice where the message goes around the ring's end.
    while socket.can_recv() {
        received += socket.recv(|bytes| (bytes.len(), bytes.len())).unwrap_or(0);
    }
    for _ in 0..received / MESSAGE {
        let sent = socket.send_slice(&[b'r'; MESSAGE]);
        debug_assert_eq!(sent, Ok(MESSAGE));
    }
}

/// A device in memory with at most one packet in it.
struct Wire<'a, F> {
    arrived: Option<&'a [u8]>,
    transmit: &'a mut [u8; 2_048],
    send: &'a mut F,
}

struct Arrived<'a>(&'a [u8]);

struct Leaving<'a, F> {
    transmit: &'a mut [u8; 2_048],
    send: &'a mut F,
}

impl<F: FnMut(&[u8])> Device for Wire<'_, F> {
    type RxToken<'t>
        = Arrived<'t>
    where
        Self: 't;
    type TxToken<'t>
        = Leaving<'t, F>
    where
        Self: 't;

    #[inline]
    fn receive(&mut self, _: SmoltcpInstant) -> Option<(Self::RxToken<'_>, Self::TxToken<'_>)> {
        let arrived = self.arrived.take()?;
        Some((Arrived(arrived), Leaving { transmit: self.transmit, send: self.send }))
    }

    #[inline]
    fn transmit(&mut self, _: SmoltcpInstant) -> Option<Self::TxToken<'_>> {
        Some(Leaving { transmit: self.transmit, send: self.send })
    }

    fn capabilities(&self) -> DeviceCapabilities {
        let mut capabilities = DeviceCapabilities::default();
        capabilities.medium = Medium::Ip;
        capabilities.max_transmission_unit = 1_500;
        capabilities.checksum = ChecksumCapabilities::ignored();
        capabilities
    }
}

impl RxToken for Arrived<'_> {
    #[inline]
    fn consume<R, F: FnOnce(&[u8]) -> R>(self, take: F) -> R {
        take(self.0)
    }
}

impl<S: FnMut(&[u8])> TxToken for Leaving<'_, S> {
    #[inline]
    fn consume<R, F: FnOnce(&mut [u8]) -> R>(self, len: usize, write: F) -> R {
        let result = write(&mut self.transmit[..len]);
        (self.send)(&self.transmit[..len]);
        result
    }
}
