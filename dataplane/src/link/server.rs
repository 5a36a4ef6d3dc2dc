//! The data plane's end of the link: a thread beside the workers that plans updates, hands them over, and answers.
//!
//! ```text
//!   peer ---> question ---> Planner::plan ---> Desk of each worker ---> (between two turns) ---> reply ---> bell ---> answer ---> peer
//! ```
//! Questions are answered one after the other, whoever asks: so a change is whole before the next one begins, and of two writers the second one's
//! base is no longer what is served. The workers never wait for this thread, and this thread waits for them no longer than [`PATIENCE`].

use super::{
    desk::{Command, Desk, Reply},
    message::{Answer, Ask, Event, PROTOCOL, Question, Refusal, Said, Welcome},
    streams::{Capturing, Streams},
    wire::{Inbox, decode, encode},
};
use crate::{
    exchange::{Bookmark, HealthChange, Planner, Update},
    limits::{LINK_MESSAGE_MAX, LINK_PEERS_MAX},
    snapshot::{Delta, Snapshot},
};
use rustix::{
    event::{EventfdFlags, PollFd, PollFlags, Timespec, eventfd, poll},
    fd::{AsFd, OwnedFd},
};
use std::{
    io::{self, ErrorKind, Read, Write},
    os::unix::{
        fs::PermissionsExt,
        net::{UnixListener, UnixStream},
    },
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

/// A worker that has not replied for so long is reported to whoever asked; it does as it was told when it is back.
const PATIENCE: Duration = Duration::from_secs(10);
/// How often watched exchanges are looked for.
pub(super) const WATCH: Duration = Duration::from_millis(50);
/// Nothing to do for so long: time for what can wait.
pub(super) const IDLE: Duration = Duration::from_secs(1);
/// Bytes of the first question.
const HELLO_MAX: usize = 1 << 16;
/// What may wait for a peer beside answers: further events are missed.
const EVENTS_WAITING_MAX: usize = 1 << 20;

/// Rings for the link's thread. Clones ring the same.
#[derive(Clone)]
pub struct LinkBell(Arc<OwnedFd>);

impl LinkBell {
    fn new() -> io::Result<Self> {
        Ok(Self(Arc::new(eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?)))
    }
    /// There is something to look at.
    pub fn ring(&self) {
        // A full counter rings too.
        let _ = rustix::io::write(&*self.0, &1u64.to_ne_bytes());
    }
    fn quiet(&self) {
        let mut count = [0; 8];
        let _ = rustix::io::read(&*self.0, &mut count);
    }
}

/// The link.
pub struct Server {
    listener: UnixListener,
    path: PathBuf,
    pub(super) peers: Vec<Peer>,
    pub(super) planner: Planner,
    pub(super) desks: Arc<[Desk]>,
    /// Wakes a worker that may be asleep.
    wake: Box<dyn Fn(usize) + Send>,
    bell: LinkBell,
    version: String,
    /// Who watches what.
    pub(super) streams: Streams,
    changes: Vec<HealthChange>,
    /// Numbers them.
    commands: u64,
    stop: Arc<AtomicBool>,
    touched_at: Instant,
}

pub(super) struct Peer {
    stream: UnixStream,
    inbox: Inbox,
    outbox: Vec<u8>,
    is_known: bool,
    /// The slot of its tap.
    pub(super) tap: Option<u8>,
    pub(super) capture: Option<Capturing>,
    watches_health: bool,
    pub(super) missed: u64,
    is_over: bool,
}

impl Server {
    /// Listens at `path`, which is replaced if nobody listens there. `planner` has planned what the workers serve.
    ///
    /// # Errors
    /// That it cannot listen there.
    pub fn bind(
        path: &Path,
        planner: Planner,
        desks: Arc<[Desk]>,
        wake: impl Fn(usize) + Send + 'static,
        version: &str,
    ) -> io::Result<Self> {
        if UnixStream::connect(path).is_ok() {
            return Err(io::Error::new(ErrorKind::AddrInUse, "another data plane listens there"));
        }
        match std::fs::remove_file(path) {
            Err(error) if error.kind() != ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        let listener = UnixListener::bind(path)?;
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o600))?;
        listener.set_nonblocking(true)?;
        Ok(Self {
            listener,
            path: path.to_owned(),
            peers: Vec::new(),
            planner,
            desks,
            wake: Box::new(wake),
            bell: LinkBell::new()?,
            version: version.to_owned(),
            streams: Streams::default(),
            changes: Vec::new(),
            commands: 0,
            stop: Arc::new(AtomicBool::new(false)),
            touched_at: now(),
        })
    }

    /// Set it, and ring: the workers may be gone from then on, and nobody waits for them.
    pub fn stop(&self) -> Arc<AtomicBool> {
        Arc::clone(&self.stop)
    }

    fn is_stopping(&self) -> bool {
        self.stop.load(Ordering::Relaxed)
    }

    /// Rings for this.
    pub fn bell(&self) -> LinkBell {
        self.bell.clone()
    }

    /// Waits until there is something to do, or for `patience`, and does it.
    pub fn turn(&mut self, patience: Duration) {
        self.planner.set_time_of_day(super::streams::unix_us() / 1_000_000);
        self.wait(patience.min(self.until_streams()));
        self.accept();
        for n in 0..self.peers.len() {
            self.hear(n);
        }
        self.watch();
        self.tell_health();
        self.peers.iter_mut().for_each(Peer::tell_missed);
        self.peers.iter_mut().for_each(Peer::flush);
        self.peers.retain(|peer| !peer.is_over);
        self.end_streams();
        if now().duration_since(self.touched_at) >= IDLE {
            self.touched_at = now();
            if self.room().is_ok()
                && let Some(update) = self.planner.tidy()
            {
                let _ = self.hand_over(&update);
            }
        }
    }

    fn wait(&self, patience: Duration) {
        let mut fds = vec![
            PollFd::from_borrowed_fd(self.listener.as_fd(), PollFlags::IN),
            PollFd::from_borrowed_fd(self.bell.0.as_fd(), PollFlags::IN),
        ];
        for peer in &self.peers {
            let out = if peer.outbox.is_empty() { PollFlags::empty() } else { PollFlags::OUT };
            fds.push(PollFd::from_borrowed_fd(peer.stream.as_fd(), PollFlags::IN | out));
        }
        let _ = poll(&mut fds, Some(&timespec(patience)));
        self.bell.quiet();
    }

    fn accept(&mut self) {
        while let Ok((stream, _)) = self.listener.accept() {
            // One too many is closed at once.
            if self.peers.len() < LINK_PEERS_MAX && stream.set_nonblocking(true).is_ok() {
                self.peers.push(Peer::new(stream));
            }
        }
    }

    /// Reads what a peer says and answers it.
    fn hear(&mut self, n: usize) {
        self.peers[n].receive();
        loop {
            let question = match self.peers[n].inbox.pop() {
                Ok(None) => return,
                Ok(Some(content)) => decode::<Question>(content),
                Err(reason) => Err(reason),
            };
            let Question { id, ask } = match question {
                Ok(question) => question,
                Err(reason) => {
                    // What comes after it may be anything.
                    self.peers[n].say(&answer(0, Answer::Refused(Refusal::Unreadable { reason })));
                    self.peers[n].ends();
                    return;
                }
            };
            let answered = self.answer(n, ask);
            let is_over = matches!(
                answered,
                Answer::Refused(Refusal::Stranger | Refusal::Protocol { .. } | Refusal::Unreadable { .. })
            );
            self.peers[n].say(&answer(id, answered));
            if is_over {
                return self.peers[n].ends();
            }
        }
    }

    fn answer(&mut self, n: usize, ask: Ask) -> Answer {
        let began = now();
        if !self.peers[n].is_known && !matches!(ask, Ask::Hello { .. }) {
            return Answer::Refused(Refusal::Stranger);
        }
        if let (Err(stuck), false) = (self.room(), matches!(ask, Ask::Hello { .. })) {
            return Answer::Refused(stuck);
        }
        let result = match ask {
            Ask::Hello { protocol, .. } if protocol != PROTOCOL => Err(Refusal::Protocol { speaks: PROTOCOL }),
            Ask::Hello { .. } => {
                self.peers[n].is_known = true;
                self.peers[n].inbox.set_longest(LINK_MESSAGE_MAX);
                Ok(Answer::Welcome(self.welcome()))
            }
            Ask::Replace { .. } | Ask::Change { .. } if self.is_stopping() => Err(self.stuck(0)),
            Ask::Replace { snapshot } => self.replace(*snapshot).map(|revision| applied(revision, began)),
            Ask::Change { delta } => self.change(*delta).map(|revision| applied(revision, began)),
            Ask::Snapshot => Ok(Answer::Snapshot {
                snapshot: Box::new(self.planner.snapshot().expect("something is served").clone()),
            }),
            Ask::Meters => self.meters(),
            Ask::Endpoints => self.endpoints(),
            Ask::Connections { limit } => self.connections(limit as usize),
            Ask::Drain { drains } => {
                let update = self.planner.plan_drain(drains);
                self.hand_over(&update).map(|()| Answer::Done)
            }
            Ask::WatchHealth => {
                self.peers[n].watches_health = true;
                Ok(Answer::Done)
            }
            Ask::Tap { filter } => self.begin_tap(n, &filter),
            Ask::Untap => {
                self.peers[n].tap = None;
                self.end_streams();
                Ok(Answer::Done)
            }
            Ask::Capture { filter } => self.begin_capture(n, &filter),
            Ask::EndCapture => {
                self.peers[n].capture = None;
                self.end_streams();
                Ok(Answer::Done)
            }
        };
        result.unwrap_or_else(Answer::Refused)
    }

    fn welcome(&self) -> Welcome {
        let snapshot = self.planner.snapshot().expect("something is served");
        Welcome {
            protocol: PROTOCOL,
            version: self.version.clone(),
            pid: std::process::id(),
            name: snapshot.name.clone(),
            revision: snapshot.revision,
            workers: self.desks.len() as u32,
        }
    }

    fn replace(&mut self, snapshot: Snapshot) -> Result<u64, Refusal> {
        self.touched_at = now();
        let update = self.planner.plan(snapshot)?;
        self.hand_over(&update).map(|()| update.revision)
    }

    fn change(&mut self, delta: Delta) -> Result<u64, Refusal> {
        let served = self.planner.snapshot().expect("something is served");
        if delta.base != served.revision {
            return Err(Refusal::Revision { serves: served.revision });
        }
        let mut next = served.clone();
        delta.apply(&mut next).map_err(|reason| Refusal::Unsound { reason })?;
        self.replace(next)
    }

    /// Every worker takes an update over.
    fn hand_over(&mut self, update: &Update) -> Result<(), Refusal> {
        let mut pieces = update.pieces();
        let last = pieces.pop().expect("one at least");
        for piece in pieces {
            self.commands += 1;
            for worker in 0..self.desks.len() {
                // There is room for all of them: nobody plans anything otherwise.
                self.give(worker, self.commands, Command::Update(Box::new(piece.clone())))?;
            }
        }
        self.gather(|| Command::Update(Box::new(last.clone()))).map(|_| ())
    }

    fn meters(&mut self) -> Result<Answer, Refusal> {
        let mut reports = Vec::new();
        self.pages(Command::Meters, |reply| match reply {
            Reply::Meters(report, next) => {
                reports.push(*report);
                next
            }
            _ => None,
        })?;
        let (meters, unmetered) = self.planner.name_meters(&reports);
        Ok(Answer::Meters { meters, unmetered })
    }

    fn endpoints(&mut self) -> Result<Answer, Refusal> {
        let mut all = Vec::new();
        self.pages(Command::Endpoints, |reply| match reply {
            Reply::Endpoints(states, next) => {
                all.extend(states);
                next
            }
            _ => None,
        })?;
        Ok(Answer::Endpoints { endpoints: self.planner.name_endpoints(all) })
    }

    fn connections(&mut self, limit: usize) -> Result<Answer, Refusal> {
        let share = limit.min(65_536).div_ceil(self.desks.len());
        let (mut connections, mut total) = (Vec::new(), 0);
        for worker in 0..self.desks.len() {
            let (mut from, mut left) = (Bookmark::default(), share);
            loop {
                let reply = self.ask(worker, Command::Connections(from, left))?;
                let Reply::Connections(some, all, next) = reply else { break };
                left -= some.len();
                connections.extend(some);
                match next {
                    Some(next) if left > 0 => from = next,
                    _ => break total += all,
                }
            }
        }
        Ok(Answer::Connections { connections, total })
    }

    /// Asks worker by worker, page by page, as long as a reply says that there is more.
    fn pages(
        &mut self,
        command: impl Fn(Bookmark) -> Command,
        mut take: impl FnMut(Reply) -> Option<Bookmark>,
    ) -> Result<(), Refusal> {
        for worker in 0..self.desks.len() {
            let mut from = Some(Bookmark::default());
            while let Some(page) = from {
                from = take(self.ask(worker, command(page))?);
            }
        }
        Ok(())
    }

    /// What workers tell by themselves.
    fn watch(&mut self) {
        let desks = Arc::clone(&self.desks);
        for desk in desks.iter() {
            while let Some((_, reply)) = desk.reply() {
                self.tell(reply);
            }
        }
        self.tell_exchanges();
        self.tell_frames();
    }

    fn tell(&mut self, reply: Reply) {
        match reply {
            Reply::Health(change) => self.changes.push(change),
            // Dropped here, where it may take its time.
            reply => drop(reply),
        }
    }

    /// What one worker's probes have found, all of them hear, and whoever wants to know.
    fn tell_health(&mut self) {
        if self.room().is_err() {
            return;
        }
        let changes = std::mem::take(&mut self.changes);
        let named = self.planner.name_health(&changes);
        if let Some(update) = self.planner.plan_health(&named) {
            let _ = self.hand_over(&update);
        }
        for (backend, HealthChange { address, is_ill, found, .. }) in named {
            let (healthy, reason) = (!is_ill, found.name().to_owned());
            let event = Said::Event(Event::Health { backend, address, healthy, reason });
            self.peers.iter_mut().filter(|peer| peer.watches_health).for_each(|peer| peer.tell(&event));
        }
    }

    /// Whether every worker has room for what it is told next. Nothing is planned otherwise: a worker that missed an update would serve something
    /// else for ever.
    pub(super) fn room(&self) -> Result<(), Refusal> {
        match self.desks.iter().position(|desk| !desk.has_room()) {
            Some(worker) => Err(self.stuck(worker)),
            None => Ok(()),
        }
    }

    fn stuck(&self, worker: usize) -> Refusal {
        let serves = self.planner.snapshot().map_or(0, |snapshot| snapshot.revision);
        Refusal::Stuck { worker: worker as u32, serves }
    }

    /// A command to every worker, and their replies.
    pub(super) fn gather(&mut self, command: impl Fn() -> Command) -> Result<Vec<Reply>, Refusal> {
        let workers = 0..self.desks.len();
        self.commands += 1;
        let number = self.commands;
        for worker in workers.clone() {
            self.give(worker, number, command())?;
        }
        let until = now() + PATIENCE;
        workers.map(|worker| self.await_reply(worker, number, until)).collect()
    }

    /// A command to one worker, and its reply.
    fn ask(&mut self, worker: usize, command: Command) -> Result<Reply, Refusal> {
        self.commands += 1;
        let number = self.commands;
        self.give(worker, number, command)?;
        self.await_reply(worker, number, now() + PATIENCE)
    }

    fn give(&self, worker: usize, number: u64, command: Command) -> Result<(), Refusal> {
        self.desks[worker].give(number, command).map_err(|_| self.stuck(worker))?;
        (self.wake)(worker);
        Ok(())
    }

    fn await_reply(&mut self, worker: usize, number: u64, until: Instant) -> Result<Reply, Refusal> {
        loop {
            match self.desks[worker].reply() {
                Some((to, reply)) if to == number => return Ok(reply),
                // By itself, or to a command that nobody waits for any more.
                Some((_, reply)) => self.tell(reply),
                None if now() >= until || self.is_stopping() => return Err(self.stuck(worker)),
                None => {
                    let mut fds = [PollFd::from_borrowed_fd(self.bell.0.as_fd(), PollFlags::IN)];
                    let _ = poll(&mut fds, Some(&timespec(WATCH)));
                    self.bell.quiet();
                }
            }
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.path);
    }
}

impl Peer {
    fn new(stream: UnixStream) -> Self {
        Self {
            stream,
            inbox: Inbox::with_longest(HELLO_MAX),
            outbox: Vec::new(),
            is_known: false,
            tap: None,
            capture: None,
            watches_health: false,
            missed: 0,
            is_over: false,
        }
    }

    fn receive(&mut self) {
        let mut bytes = [0; 1 << 16];
        // One question at a time: whoever asks faster than is answered waits in the socket.
        while !self.inbox.is_ready() {
            match self.stream.read(&mut bytes) {
                Ok(0) => return self.ends(),
                Ok(len) => self.inbox.push(&bytes[..len]),
                Err(error) if error.kind() == ErrorKind::WouldBlock => return,
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(_) => return self.ends(),
            }
        }
    }

    /// Nothing more is heard of it; what was said is sent if it goes at once.
    fn ends(&mut self) {
        self.flush();
        self.is_over = true;
    }

    pub(super) fn say(&mut self, said: &Said) {
        match encode(said) {
            Ok(bytes) if self.outbox.len() + bytes.len() <= LINK_MESSAGE_MAX + EVENTS_WAITING_MAX => {
                self.outbox.extend_from_slice(&bytes);
                self.flush();
            }
            // It asks and does not read.
            _ => self.is_over = true,
        }
    }

    /// Something that may be missed.
    pub(super) fn tell(&mut self, event: &Said) {
        if self.has_room() { self.say(event) } else { self.missed += 1 }
    }

    /// Whether something that can wait should be said now.
    pub(super) fn has_room(&self) -> bool {
        self.outbox.len() < EVENTS_WAITING_MAX
    }

    fn tell_missed(&mut self) {
        if self.missed > 0 && self.has_room() {
            let count = std::mem::take(&mut self.missed);
            self.say(&Said::Event(Event::Missed { count }));
        }
    }

    fn flush(&mut self) {
        let mut sent = 0;
        while sent < self.outbox.len() {
            match self.stream.write(&self.outbox[sent..]) {
                Ok(len) => sent += len,
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) if error.kind() == ErrorKind::WouldBlock => break,
                Err(_) => {
                    self.is_over = true;
                    break;
                }
            }
        }
        self.outbox.drain(..sent);
    }
}

fn answer(id: u64, answer: Answer) -> Said {
    Said::Answer { id, answer }
}

fn applied(revision: u64, began: Instant) -> Answer {
    Answer::Applied { revision, took_us: now().duration_since(began).as_micros() as u64 }
}

fn timespec(duration: Duration) -> Timespec {
    Timespec { tv_sec: duration.as_secs() as _, tv_nsec: duration.subsec_nanos().into() }
}

// The edge: a thread of its own, that no packet waits for.
#[allow(clippy::disallowed_methods)]
pub(super) fn now() -> Instant {
    Instant::now()
}
