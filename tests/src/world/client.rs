//! The TCP side of a foreign host: connections to the gateway's services, of every kind, and an echo server for the gateway's own calls. What
//! comes back is compared byte by byte with what must come at its place.

use super::{
    peer::Mood,
    seed::{GatewayPlan, Spread},
};
use fastrand::Rng;
use smoltcp::{
    iface::{Context, SocketHandle, SocketSet},
    socket::tcp::{self, CongestionControl, State},
};
use std::{
    cell::Cell,
    net::{IpAddr, SocketAddr},
};
use weirgate_dataplane::{
    limits::TCP_STALLED,
    services::characters,
    time::{Duration, Instant},
};

/// What became of the connections.
#[derive(Clone, Copy, Default, Debug)]
pub struct Connections {
    /// Begun.
    pub opened: u64,
    /// Everything came, and both sides closed.
    pub completed: u64,
    /// We ended it in the middle.
    pub aborted: u64,
    /// Nobody listens there, and we were told.
    pub refused: u64,
    /// The other side ended it in the middle.
    pub broken: u64,
    /// Bytes that came.
    pub bytes: u64,
}

impl Connections {
    /// Adds another's.
    pub fn add(&mut self, other: &Self) {
        self.opened += other.opened;
        self.completed += other.completed;
        self.aborted += other.aborted;
        self.refused += other.refused;
        self.broken += other.broken;
        self.bytes += other.bytes;
    }
}

/// What a connection is for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Task {
    /// RFC 862: what goes comes back.
    Echo,
    /// RFC 863: what goes is gone.
    Discard,
    /// RFC 864: characters come until we close.
    Chargen,
    /// Nobody listens.
    Refused,
}

/// One connection.
struct Client {
    handle: SocketHandle,
    task: Task,
    remote: SocketAddr,
    local_port: u16,
    salt: u8,
    total: u64,
    sent: u64,
    received: u64,
    /// Bytes of one write, and of one read.
    write: usize,
    read: usize,
    read_every: Duration,
    read_at: Instant,
    /// Writes one piece each time only.
    dribbles: bool,
    abort_at: Option<u64>,
    established: bool,
    /// Something came back, be it an acknowledgment: the gateway has surely heard of it.
    confirmed: bool,
    closed: bool,
    finished: bool,
    /// When the gateway last acknowledged something, and what waited then.
    progress: (Instant, usize),
    /// When something last came or was acknowledged.
    alive_at: Instant,
    /// Bytes that have come, whether they were read or not, and when the last did.
    arrived: u64,
    arrived_at: Instant,
    aborted: bool,
    vanishes: bool,
    wild: bool,
    /// Others may have spoken in its name.
    lied: bool,
    counts: bool,
}

/// All of a host's connections.
pub struct Clients {
    clients: Vec<Client>,
    servers: Vec<SocketHandle>,
    gateway: [IpAddr; 2],
    mood: Mood,
    open_at: Instant,
    next_port: u16,
    /// Nothing can be expected of a connection that begins now.
    wild: bool,
    /// Others speak in everybody's name.
    lies: bool,
    score: Connections,
    failure: Option<String>,
    random: Rng,
    /// One transfer of so many bytes with each service, and nothing else.
    bulk: Option<u64>,
}

/// The services' ports (IANA).
pub mod port {
    /// RFC 862.
    pub const ECHO: u16 = 7;
    /// RFC 863.
    pub const DISCARD: u16 = 9;
    /// RFC 864.
    pub const CHARGEN: u16 = 19;
    /// Nobody is there.
    pub const CLOSED: u16 = 4;
}

thread_local! {
    /// The clock of timestamps, which smoltcp asks for without saying who asks. All hosts of a world live in one thread.
    static CLOCK_MS: Cell<u32> = const { Cell::new(0) };
}

/// Connections of one host at a time.
const CLIENTS_MAX: usize = 10;
/// Connections that its echo server takes at a time.
const SERVERS: usize = 48;

/// After so long in which nothing came it may have made room for others: what it acknowledged last may have been lost on the way.
const MADE_ROOM: Duration = Duration::from_ns(TCP_STALLED.as_ns() / 2);
/// After so long in which nothing was heard the gateway may have given up: it counts from what it sent first.
const GIVEN_UP: Duration = Duration::from_secs(60);
/// smoltcp's longest wait is a minute; a second loss makes it two.
const HOPELESS: Duration = Duration::from_secs(140);
/// Until that is over, and some more.
const PATIENCE: Duration = Duration::from_secs(150);

/// Characters after which whoever has closed hangs up.
const ENOUGH: u64 = 1 << 20;

/// What stands at a place of what we send.
#[allow(clippy::cast_possible_truncation)] // on purpose
pub fn character_at(salt: u8, at: u64) -> u8 {
    ((at ^ (at >> 8) ^ (at >> 15)) as u8).wrapping_mul(167) ^ salt
}

/// Up to 2^`bits`, small numbers as often as large ones.
pub fn one_of_log(random: &mut Rng, bits: u32) -> u64 {
    let bits = random.u32(0..=bits);
    random.u64(0..=1 << bits)
}

impl Clients {
    /// None yet, of a gateway like this.
    pub fn new(gateway: [IpAddr; 2], plan: &GatewayPlan, sockets: &mut SocketSet<'static>, mut random: Rng) -> Self {
        let servers = (0..SERVERS).map(|_| sockets.add(socket(&mut random, 1 << 13)));
        Self {
            clients: Vec::new(),
            servers: servers.collect(),
            gateway,
            mood: Mood::Busy,
            open_at: Instant::from_ns(random.u64(2_000_000_000..4_000_000_000)),
            next_port: random.u16(1_024..60_000),
            wild: plan.spread == Spread::Random,
            lies: plan.lies,
            score: Connections::default(),
            failure: None,
            random,
            bulk: None,
        }
    }
    /// Makes one transfer with each service and nothing else.
    pub fn set_bulk(&mut self, bytes: u64) {
        self.bulk = Some(bytes);
    }
    /// Behaves otherwise from now on.
    pub fn set_mood(&mut self, now: Instant, mood: Mood) {
        self.mood = mood;
        self.wild &= mood == Mood::Busy;
        for client in &mut self.clients {
            (client.read, client.read_every) = (usize::MAX, Duration::ZERO);
        }
        if self.bulk.is_none() {
            self.open_at = now + Duration::from_ms(self.random.u64(0..1_000));
        }
    }
    /// The gateway was started again: it knows nothing of what is open.
    pub fn forget(&mut self) {
        self.clients.iter_mut().for_each(|client| client.wild = true);
    }
    /// What became of them.
    pub fn score(&self) -> Connections {
        self.score
    }
    /// What was wrong first.
    pub fn failure(&self) -> Option<&str> {
        self.failure.as_deref()
    }
    /// A connection that has not ended.
    pub fn complaint(&self, now: Instant, sockets: &SocketSet<'static>) -> Option<String> {
        let client = self.clients.iter().find(|client| !client.is_over(sockets) && !client.is_patient(now))?;
        let state = sockets.get::<tcp::Socket<'_>>(client.handle).state();
        Some(format!("{client} is {state} and has not ended"))
    }

    /// When there is something to do though nothing comes.
    pub fn next_deadline(&self) -> Instant {
        let slow = self.clients.iter().filter(|client| client.read_every > Duration::ZERO);
        let slow = slow.map(|client| client.read_at).min().unwrap_or(Instant::NEVER);
        let hopeless =
            self.clients.iter().filter(|client| client.may_be_stuck()).map(|client| client.alive_at + HOPELESS);
        slow.min(hopeless.min().unwrap_or(Instant::NEVER)).min(self.open_at)
    }

    /// Opens, writes, reads, closes.
    pub fn step(&mut self, now: Instant, context: &mut Context, sockets: &mut SocketSet<'static>) {
        CLOCK_MS.set(u32::try_from(now.as_ns() / 1_000_000 % (1 << 32)).expect("just cut"));
        if now >= self.open_at {
            self.open(now, context, sockets);
        }
        for client in &mut self.clients {
            if let Err(what) = client.step(now, sockets) {
                self.failure.get_or_insert(what);
            }
        }
        for index in (0..self.clients.len()).rev() {
            let socket = sockets.get::<tcp::Socket<'_>>(self.clients[index].handle);
            // One that was aborted has a reset to send, unless it vanishes without a word.
            if socket.state() == State::Closed
                && (socket.remote_endpoint().is_none() || self.clients[index].vanishes && socket.send_queue() == 0)
            {
                let client = self.clients.swap_remove(index);
                sockets.remove(client.handle);
                self.end(now, &client);
            }
        }
        self.serve(sockets);
    }

    /// The echo server. One socket listens at a time, behind all that are in use: smoltcp asks them in order, and one that listens would take
    /// the repeated SYN of a connection that another one has.
    fn serve(&mut self, sockets: &mut SocketSet<'static>) {
        let mut listens = 0;
        for (index, handle) in self.servers.iter().enumerate() {
            let socket = sockets.get_mut::<tcp::Socket<'_>>(*handle);
            serve(socket);
            if !matches!(socket.state(), State::Closed | State::Listen) {
                listens = index + 1;
            }
        }
        for (index, handle) in self.servers.iter().enumerate() {
            let socket = sockets.get_mut::<tcp::Socket<'_>>(*handle);
            match socket.state() {
                State::Closed if index == listens => socket.listen(port::ECHO).expect("a closed socket"),
                State::Listen if index != listens => socket.close(),
                _ => {}
            }
        }
    }

    fn open(&mut self, now: Instant, context: &mut Context, sockets: &mut SocketSet<'static>) {
        self.open_at = match self.mood {
            _ if self.bulk.is_some() => Instant::NEVER,
            Mood::Busy => now + Duration::from_ms(self.random.u64(20..3_000)),
            Mood::Settling => now + Duration::from_ms(self.random.u64(15_000..25_000)),
            Mood::Examining => now + Duration::from_ms(self.random.u64(6_000..8_000)),
            Mood::Resting => Instant::NEVER,
        };
        match self.mood {
            Mood::Resting => {}
            _ if self.bulk.is_some() => {
                for (index, task) in [Task::Echo, Task::Chargen, Task::Discard].into_iter().enumerate() {
                    self.open_one(now, index % 2, task, context, sockets);
                }
            }
            Mood::Busy => {
                let storm = if self.random.u8(0..12) == 0 { CLIENTS_MAX } else { 1 };
                for _ in 0..storm {
                    let tasks = [Task::Echo, Task::Echo, Task::Echo, Task::Chargen, Task::Discard, Task::Refused];
                    let task = tasks[self.random.usize(0..tasks.len())];
                    let family = self.random.usize(0..2);
                    self.open_one(now, family, task, context, sockets);
                }
            }
            Mood::Settling => {
                let family = self.random.usize(0..2);
                self.open_one(now, family, Task::Echo, context, sockets);
            }
            Mood::Examining => {
                for (family, task) in [(0, Task::Echo), (1, Task::Echo), (0, Task::Chargen), (1, Task::Refused)] {
                    self.open_one(now, family, task, context, sockets);
                }
            }
        }
    }

    fn open_one(
        &mut self,
        now: Instant,
        family: usize,
        task: Task,
        context: &mut Context,
        sockets: &mut SocketSet<'static>,
    ) {
        let busy = self.mood == Mood::Busy && self.bulk.is_none();
        if busy && self.clients.len() >= CLIENTS_MAX {
            return;
        }
        let random = &mut self.random;
        let port = match task {
            Task::Echo => port::ECHO,
            Task::Discard => port::DISCARD,
            Task::Chargen => port::CHARGEN,
            Task::Refused => port::CLOSED,
        };
        let remote = SocketAddr::new(self.gateway[family], port);
        // Some come from a port that was used a moment ago.
        self.next_port = match random.u8(0..16) {
            0 => self.next_port.max(2_000) - random.u16(1..20),
            _ if self.next_port > 65_000 => 1_024,
            _ => self.next_port + 1,
        };
        let total = self.bulk.unwrap_or_else(|| one_of_log(random, if busy { 15 } else { 13 }));
        let slow = busy && random.u8(0..5) == 0;
        let mut socket = socket(random, if self.bulk.is_some() { 1 << 18 } else { 1 << 16 });
        let local = self.next_port;
        let taken = self.clients.iter().any(|c| c.remote == remote && c.local_port == local);
        if taken || socket.connect(context, remote, local).is_err() {
            return;
        }
        let dribbles = busy && total < 3_000 && random.u8(0..4) == 0;
        self.score.opened += 1;
        self.clients.push(Client {
            handle: sockets.add(socket),
            task,
            remote,
            local_port: local,
            salt: random.u8(..),
            total,
            sent: 0,
            received: 0,
            write: if dribbles { random.usize(1..100) } else { random.usize(1_000..20_000) },
            read: if slow { random.usize(1..4_000) } else { usize::MAX },
            read_every: if slow { Duration::from_ms(random.u64(1..400)) } else { Duration::ZERO },
            read_at: now,
            dribbles,
            abort_at: (busy && random.u8(0..8) == 0).then(|| random.u64(0..=total)),
            established: false,
            confirmed: false,
            closed: false,
            finished: false,
            progress: (now, 0),
            alive_at: now,
            arrived: 0,
            arrived_at: now,
            aborted: false,
            vanishes: random.u8(0..4) == 0,
            wild: self.wild,
            lied: self.lies && self.mood != Mood::Examining && self.bulk.is_none(),
            counts: self.mood == Mood::Examining || self.bulk.is_some(),
        });
    }

    /// A connection is over, one way or another.
    fn end(&mut self, now: Instant, client: &Client) {
        self.score.bytes += client.received;
        let all = client.finished && client.closed;
        match client.task {
            _ if client.aborted => self.score.aborted += 1,
            Task::Refused if !client.established => self.score.refused += 1,
            _ if all => {
                let lost = client.task == Task::Echo && client.received != client.total && !client.lied;
                self.score.completed += 1;
                if lost {
                    self.failure.get_or_insert(format!("{client} ended gracefully, and bytes are missing"));
                }
            }
            _ => {
                self.score.broken += 1;
                // Nobody who does not know its numbers can end a connection.
                // When lies have kept both sides apart for so long, either may, and who takes nothing when frames are short.
                let given_up =
                    client.lied && now.since(client.alive_at) > GIVEN_UP || now.since(client.arrived_at) > MADE_ROOM;
                if !client.wild && !given_up && (client.confirmed || client.counts) {
                    self.failure.get_or_insert(format!("{client} was reset"));
                }
            }
        }
    }
}

impl std::fmt::Display for Client {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { task, remote, local_port, sent, total, received, closed, finished, .. } = self;
        let ends = if *closed { ", closed by us" } else { "" };
        let theirs = if *finished { ", closed by it" } else { "" };
        write!(
            f,
            "a connection from port {local_port} to {remote} ({task:?}: {sent} of {total} bytes sent, {received} received{ends}{theirs})"
        )
    }
}

impl Client {
    fn is_over(&self, sockets: &SocketSet<'static>) -> bool {
        matches!(sockets.get::<tcp::Socket<'_>>(self.handle).state(), State::Closed | State::TimeWait)
    }

    /// Something is under way, and lies may be why nothing is said of it.
    fn may_be_stuck(&self) -> bool {
        self.lied && !self.aborted && !self.finished
    }

    /// smoltcp takes its time: it sends a hole again after a minute, and then the next one.
    fn is_patient(&self, now: Instant) -> bool {
        let (at, waiting) = self.progress;
        !self.counts && (waiting > 0 && now < at + PATIENCE || self.may_be_stuck() && now < self.alive_at + PATIENCE)
    }

    fn step(&mut self, now: Instant, sockets: &mut SocketSet<'static>) -> Result<(), String> {
        let socket = sockets.get_mut::<tcp::Socket<'_>>(self.handle);
        let opens_or_closes =
            matches!(socket.state(), State::SynSent | State::FinWait1 | State::Closing | State::LastAck);
        let waiting = socket.send_queue() + usize::from(opens_or_closes);
        if waiting != self.progress.1 {
            self.progress = (now, waiting);
            self.alive_at = now;
        }
        let arrived = self.received + socket.recv_queue() as u64;
        if arrived != self.arrived {
            (self.arrived, self.arrived_at, self.alive_at) = (arrived, now, now);
        }
        self.confirmed |= self.received > 0 || (socket.send_queue() as u64) < self.sent;
        self.established |= matches!(socket.state(), State::Established | State::CloseWait);
        // Its probe is a zero at the number before its next, which may be one that was lost, or its FIN's.
        socket.set_keep_alive((waiting == 0).then_some(smoltcp::time::Duration::from_secs(5)));
        // Its FIN was lost, and smoltcp does not send it again while characters come, which on these links is for ever.
        let enough = self.task == Task::Chargen && self.received > self.total + ENOUGH;
        // Nor anything, after a lie about the window: its timer for a closed one replaces the one for what is under way.
        let stuck = self.may_be_stuck() && now >= self.alive_at + HOPELESS;
        if enough && !self.aborted
            || stuck
            || self.abort_at.is_some_and(|at| self.established && self.received.max(self.sent) >= at)
        {
            (self.abort_at, self.aborted) = (None, true);
            socket.abort();
            return Ok(());
        }
        self.write(socket);
        self.read(now, socket)
    }

    fn write(&mut self, socket: &mut tcp::Socket<'static>) {
        let wanted = if self.task == Task::Chargen { 0 } else { self.total };
        while self.sent < wanted && socket.can_send() {
            let rest = usize::try_from(wanted - self.sent).unwrap_or(usize::MAX);
            let free = socket.send_capacity() - socket.send_queue();
            let len = self.write.min(rest).min(free);
            let bytes: Vec<u8> = (self.sent..self.sent + len as u64).map(|at| character_at(self.salt, at)).collect();
            let taken = socket.send_slice(&bytes).unwrap_or(0);
            self.sent += taken as u64;
            if taken == 0 || self.dribbles {
                break;
            }
        }
        let done = match self.task {
            Task::Chargen => self.received >= self.total,
            _ => self.sent == self.total,
        };
        if done && self.established && !self.closed {
            self.closed = true;
            socket.close();
        }
    }

    fn read(&mut self, now: Instant, socket: &mut tcp::Socket<'static>) -> Result<(), String> {
        // What had come before the end can be read after it, but not after TIME-WAIT: smoltcp forgets it then.
        let over = matches!(socket.state(), State::Closed | State::TimeWait);
        if now < self.read_at && !over {
            return Ok(());
        }
        let mut left = if over { usize::MAX } else { self.read };
        while left > 0 {
            let (mut taken, mut wrong) = (0, None);
            let result = socket.recv(|bytes| {
                let bytes = &bytes[..bytes.len().min(left)];
                let differs = |(byte, expected): (&u8, u8)| *byte != expected;
                let at = self.received;
                wrong = match self.task {
                    Task::Chargen => bytes.iter().zip(characters(at)).position(differs),
                    _ => bytes.iter().zip((at..).map(|at| character_at(self.salt, at))).position(differs),
                };
                taken = bytes.len();
                (taken, ())
            });
            if let Some(at) = wrong {
                let at = self.received + at as u64;
                return Err(format!("byte {at} of {self} is another than it must be"));
            }
            self.received += taken as u64;
            left -= taken;
            if result == Err(tcp::RecvError::Finished) {
                self.finished = true;
                // smoltcp takes the FIN of a segment whose last bytes lie beyond its window, and a lie about that window can bring one.
                if self.task == Task::Echo && self.closed && self.received != self.total && !self.lied {
                    return Err(format!("{self}: bytes are missing"));
                }
            }
            if taken == 0 {
                break;
            }
        }
        if self.task == Task::Echo && self.received > self.sent || self.task == Task::Discard && self.received > 0 {
            return Err(format!("{self}: more came than was sent"));
        }
        // A slow reader comes again, as long as something may come.
        self.read_at = if over || self.finished { Instant::NEVER } else { now + self.read_every };
        Ok(())
    }
}

fn socket(random: &mut Rng, buffer_max: usize) -> tcp::Socket<'static> {
    let mut buffer = || tcp::SocketBuffer::new(vec![0; (buffer_max >> random.u32(0..6)).max(600)]);
    let mut socket = tcp::Socket::new(buffer(), buffer());
    if random.bool() {
        socket.set_tsval_generator(Some(|| CLOCK_MS.get()));
    }
    socket.set_nagle_enabled(random.bool());
    if random.bool() {
        socket.set_ack_delay(None);
    }
    let congestion = [CongestionControl::None, CongestionControl::Reno, CongestionControl::Cubic];
    socket.set_congestion_control(congestion[random.usize(0..3)]);
    socket
}

/// Sends back what came, and closes after the peer.
fn serve(socket: &mut tcp::Socket<'static>) {
    while socket.can_recv() && socket.can_send() {
        let free = socket.send_capacity() - socket.send_queue();
        let bytes = socket.recv(|bytes| {
            let len = bytes.len().min(free);
            (len, bytes[..len].to_vec())
        });
        let Ok(bytes) = bytes else { return };
        if bytes.is_empty() {
            return;
        }
        socket.send_slice(&bytes).expect("there was room");
    }
    if socket.state() == State::CloseWait && !socket.can_recv() {
        socket.close();
    }
}
