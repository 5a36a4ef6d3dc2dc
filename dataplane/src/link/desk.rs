//! Between the link's thread and one worker: commands in, replies out, both bounded, neither side ever waits for the other here.

use super::message::{Connection, EndpointState};
use crate::{
    capture::Capture,
    counters::Gauge,
    exchange::{Bookmark, Gateway, HealthChange, MeterReport, Tapped, Tapping, Update},
    limits::{DESK_COMMANDS_MAX, DESK_REPLIES_MAX, REPORT_LOOKS, REPORT_PAGE, TAPS_MAX, UPDATE_PIECES_MAX},
    port::Port,
    tcp::ConnectionReport,
    time::Instant,
    worker::Worker,
};
use crossbeam_queue::ArrayQueue;
use std::sync::atomic::{AtomicU64, Ordering};

/// What the link wants of a worker.
pub enum Command {
    /// A piece of the next snapshot. [`Reply::Applied`].
    Update(Box<Update>),
    /// A page of them. [`Reply::Meters`].
    Meters(Bookmark),
    /// A page of them. [`Reply::Endpoints`].
    Endpoints(Bookmark),
    /// A page of them, of so many more at most. [`Reply::Connections`].
    Connections(Bookmark, usize),
    /// Tell exchanges that end to whoever has this slot, or no longer. [`Reply::Done`].
    Tap(u8, Option<Box<Tapping>>),
    /// Copy frames. [`Reply::Done`].
    Capture(Box<Capture>),
    /// Copy them no longer to whoever has this slot. [`Reply::Done`].
    EndCapture(u8),
}

/// What a worker says.
pub enum Reply {
    /// It has taken over this piece of this snapshot.
    Applied(u64),
    /// What exchanges came to, and where the next page begins.
    Meters(Box<MeterReport>, Option<Bookmark>),
    /// Endpoints, by the numbers of their backends, and where the next page begins.
    Endpoints(Vec<(u32, EndpointState)>, Option<Bookmark>),
    /// Some connections, how many there are, and where the next page begins.
    Connections(Vec<Connection>, u64, Option<Bookmark>),
    /// It is done.
    Done,
    /// An endpoint has become well, or is no longer. Unasked.
    Health(HealthChange),
    /// Nobody uses this any more, and to let go of it may take longer than a turn may.
    Replaced(Box<dyn Send>),
}

/// One worker's.
pub struct Desk {
    commands: ArrayQueue<(u64, Command)>,
    /// Each to the command of that number, or (0) by itself.
    replies: ArrayQueue<(u64, Reply)>,
    tapped: ArrayQueue<Box<Tapped>>,
    /// By slot, exchanges that were wanted and found no room here.
    missed: [AtomicU64; TAPS_MAX],
}

impl Default for Desk {
    fn default() -> Self {
        Self {
            commands: ArrayQueue::new(DESK_COMMANDS_MAX),
            replies: ArrayQueue::new(DESK_REPLIES_MAX),
            tapped: ArrayQueue::new(crate::limits::TAPPED_MAX),
            missed: Default::default(),
        }
    }
}

impl Desk {
    /// Hands a command over. It comes back if there is no room: the worker has not looked for a while.
    pub(super) fn give(&self, number: u64, command: Command) -> Result<(), Command> {
        self.commands.push((number, command)).map_err(|(_, command)| command)
    }
    /// Whether an update finds room, in however many pieces.
    pub(super) fn has_room(&self) -> bool {
        self.commands.len() + UPDATE_PIECES_MAX <= self.commands.capacity()
    }
    pub(super) fn reply(&self) -> Option<(u64, Reply)> {
        self.replies.pop()
    }
    pub(super) fn tapped(&self) -> Option<Box<Tapped>> {
        self.tapped.pop()
    }
    /// By slot, how many were missed since this was asked last.
    pub(super) fn take_missed(&self) -> [u64; TAPS_MAX] {
        std::array::from_fn(|slot| self.missed[slot].swap(0, Ordering::Relaxed))
    }

    /// Whether the worker has something to do here.
    #[inline]
    pub fn has_commands(&self) -> bool {
        !self.commands.is_empty()
    }
}

impl<P: Port> Worker<P, Gateway> {
    /// Does what the link wants, between two turns. Says whether there are replies.
    #[inline]
    pub fn serve(&mut self, now: Instant, index: u32, desk: &Desk) -> bool {
        if !desk.has_commands() {
            return false;
        }
        self.serve_all(now, index, desk);
        true
    }

    #[cold]
    fn serve_all(&mut self, now: Instant, index: u32, desk: &Desk) {
        let mut is_full = false;
        while !is_full && let Some((number, command)) = desk.commands.pop() {
            // A piece of an update is enough for one turn.
            is_full = matches!(command, Command::Update(_));
            let reply = match command {
                Command::Update(update) => {
                    let revision = update.revision;
                    self.update(now, *update);
                    Reply::Applied(revision)
                }
                Command::Meters(from) => {
                    let (report, next) = self.application_mut().0.meter_report(from);
                    Reply::Meters(Box::new(report), next)
                }
                Command::Endpoints(from) => {
                    let (states, next) = self.application_mut().0.endpoint_states(from);
                    Reply::Endpoints(states, next)
                }
                Command::Connections(from, limit) => self.connections(now, index, from, limit),
                Command::Tap(slot, tapping) => {
                    self.application_mut().0.tap(usize::from(slot), tapping.map(|it| *it));
                    Reply::Done
                }
                Command::Capture(capture) => {
                    self.begin_capture(*capture);
                    Reply::Done
                }
                Command::EndCapture(slot) => {
                    self.end_capture(slot);
                    Reply::Done
                }
            };
            // The link gives no more than there is room to answer.
            let _ = desk.replies.push((number, reply));
        }
        self.clear_desk(desk);
    }

    /// Some connections, and how many are open.
    fn connections(&mut self, now: Instant, index: u32, from: Bookmark, limit: usize) -> Reply {
        let (gateway, tcp, _) = self.application_mut();
        let describe = |it: ConnectionReport| {
            let (side, busy) = it.id.and_then(|id| gateway.side_of(id)).unwrap_or(("none", false));
            Connection {
                worker: index,
                local: it.local,
                remote: it.remote,
                side: side.into(),
                state: it.state.into(),
                busy,
                srtt_us: it.srtt_us.unwrap_or(0).into(),
                cwnd: it.cwnd.into(),
                in_flight: it.unacked.into(),
                age_ms: it.age_us / 1_000,
            }
        };
        let limit = limit.min(REPORT_PAGE);
        let mut connections = Vec::new();
        let mut place = from.place();
        let until = tcp.places().min(place + REPORT_LOOKS);
        while place < until && connections.len() < limit {
            connections.extend(tcp.conn_at(now, place).map(describe));
            place += 1;
        }
        let next = (place < tcp.places()).then(|| Bookmark::at(place));
        if next.is_none() {
            connections.extend(tcp.conns_apart(now).take(limit - connections.len()).map(describe));
        }
        Reply::Connections(connections, self.counters().gauge(Gauge::TcpConnections), next)
    }

    /// Hands over what has piled up: once in a while, whether there are commands or not. Says whether the link should look.
    pub fn clear_desk(&mut self, desk: &Desk) -> bool {
        let gateway = self.application_mut().0;
        let mut any = false;
        // Answers have their room; what is told unasked waits for the rest.
        let has_room = || desk.replies.len() < desk.replies.capacity() - DESK_COMMANDS_MAX;
        while has_room()
            && let Some(replaced) = gateway.poll_replaced()
        {
            any = true;
            let _ = desk.replies.push((0, Reply::Replaced(replaced)));
        }
        while has_room()
            && let Some(change) = gateway.poll_health()
        {
            any = true;
            let _ = desk.replies.push((0, Reply::Health(change)));
        }
        let miss = |slot: usize, count: u64| _ = desk.missed[slot].fetch_add(count, Ordering::Relaxed);
        gateway.take_missed().into_iter().enumerate().for_each(|(slot, count)| miss(slot, count));
        while let Some(tapped) = gateway.poll_tapped() {
            if let Err(tapped) = desk.tapped.push(tapped) {
                while desk.replies.len() < desk.replies.capacity() - DESK_COMMANDS_MAX
                    && let Some(change) = gateway.poll_health()
                {
                    any = true;
                    let _ = desk.replies.push((0, Reply::Health(change)));
                }
                (0..TAPS_MAX).for_each(|slot| miss(slot, u64::from(tapped.is_wanted_by(slot))));
            }
        }
        any
    }
}
