//! The application above the engine: it keeps what it is given until the script reads it, and sends what the script writes.

use super::super::target::{AppOption, Flow, Unread};
use anyhow::{Context, anyhow};
use std::collections::{BTreeMap, VecDeque};
use weirgate_dataplane::{
    application,
    drops::Drop,
    outbox::Outbox,
    port::Frame,
    tcp::{Connect, ConnectionId, ConnectionOptions, End, Event, Keepalive, Listen, Tcp},
    time::{Duration, Instant},
};

/// What an application commands.
pub(super) struct Engine<'a> {
    pub(super) now: Instant,
    pub(super) tcp: &'a mut Tcp,
    pub(super) out: &'a mut Outbox,
}

/// All connections of a script.
pub(in crate::script) struct Application {
    /// The script's port of flow 0.
    script_ports: u16,
    flows: BTreeMap<Flow, Connection>,
    /// What the script has set, for connections that are and for those that will be.
    options: BTreeMap<Flow, Chosen>,
}

/// What a script chooses for a connection.
#[derive(Clone, Copy)]
struct Chosen {
    engine: ConnectionOptions,
    cork: bool,
}

impl Default for Chosen {
    /// As a socket has it that nobody has set anything on.
    fn default() -> Self {
        Self { engine: ConnectionOptions { nagle: true, ..ConnectionOptions::default() }, cork: false }
    }
}

struct Connection {
    id: ConnectionId,
    open: bool,
    unread: VecDeque<Frame>,
    /// Bytes of the first frame that were read.
    read: usize,
    eof: bool,
    unsent: VecDeque<u8>,
    closing: bool,
    end: Option<End>,
}

impl Connection {
    fn new(id: ConnectionId, open: bool) -> Self {
        let (unread, unsent) = Default::default();
        Self { id, open, unread, read: 0, eof: false, unsent, closing: false, end: None }
    }

    /// Hands over what there is room for, and the end when all is.
    fn pump(&mut self, cork: bool, engine: &mut Engine<'_>) {
        let Engine { tcp, out, .. } = engine;
        while !self.unsent.is_empty() && (!cork || self.closing) {
            if tcp.send_room(self.id) == 0 {
                return tcp.wants_room(self.id);
            }
            let Some(mut frame) = out.make() else { return };
            let len = frame.tailroom().min(self.unsent.len());
            let bytes: Vec<u8> = self.unsent.drain(..len).collect();
            frame.append_slice(&bytes).expect("just looked");
            if let Err(frame) = tcp.send(self.id, frame, out) {
                bytes.iter().rev().for_each(|byte| self.unsent.push_front(*byte));
                return out.consume(frame);
            }
        }
        if self.closing {
            tcp.close(self.id, out);
        }
    }
}

impl Application {
    pub(super) fn new(script_ports: u16) -> Self {
        Self { script_ports, flows: BTreeMap::new(), options: BTreeMap::new() }
    }

    pub(super) fn script_port(&self, flow: Flow) -> u16 {
        self.script_ports + flow
    }

    pub(super) fn listen(&mut self, port: u16, engine: &mut Engine<'_>) -> anyhow::Result<()> {
        let listen = Listen { address: None, ports: port..=port, options: ConnectionOptions::default() };
        engine.tcp.listen(listen).map(|_| ()).map_err(|e| anyhow!("listen: {e:?}"))
    }

    pub(super) fn options(&self, flow: Flow) -> ConnectionOptions {
        self.chosen(flow).engine
    }
    fn chosen(&self, flow: Flow) -> Chosen {
        self.options.get(&flow).copied().unwrap_or_default()
    }

    pub(super) fn connect(&mut self, flow: Flow, connect: &Connect, engine: &mut Engine<'_>) -> anyhow::Result<()> {
        let id = engine.tcp.connect(engine.now, connect, |_| true).map_err(|e| anyhow!("connect: {e:?}"))?;
        self.put(flow, Connection::new(id, false), engine.out);
        Ok(())
    }

    /// In the place of a former connection of the flow, if there was one.
    fn put(&mut self, flow: Flow, connection: Connection, out: &mut Outbox) {
        let former = self.flows.insert(flow, connection);
        former.into_iter().flat_map(|former| former.unread).for_each(|frame| out.consume(frame));
    }

    pub(super) fn is_open(&self, flow: Flow) -> bool {
        self.flows.get(&flow).is_some_and(|connection| connection.open)
    }
    pub(super) fn end(&self, flow: Flow) -> Option<End> {
        self.flows.get(&flow)?.end
    }

    fn flow(&mut self, flow: Flow) -> anyhow::Result<&mut Connection> {
        self.flows.get_mut(&flow).context("there is no such connection")
    }
    fn by_id(&mut self, id: ConnectionId) -> Option<(Flow, &mut Connection)> {
        self.flows.iter_mut().find(|(_, connection)| connection.id == id).map(|(flow, connection)| (*flow, connection))
    }

    pub(super) fn write(&mut self, flow: Flow, bytes: &[u8], engine: &mut Engine<'_>) -> anyhow::Result<()> {
        let cork = self.chosen(flow).cork;
        let connection = self.flow(flow)?;
        connection.unsent.extend(bytes);
        connection.pump(cork, engine);
        Ok(())
    }

    pub(super) fn close(&mut self, flow: Flow, engine: &mut Engine<'_>) -> anyhow::Result<()> {
        let connection = self.flow(flow)?;
        connection.closing = true;
        connection.pump(false, engine);
        Ok(())
    }

    pub(super) fn release(&mut self, flow: Flow, engine: &mut Engine<'_>) -> anyhow::Result<()> {
        let connection = self.flow(flow)?;
        engine.tcp.release(connection.id, engine.out);
        Ok(())
    }

    pub(super) fn abort(&mut self, flow: Flow, engine: &mut Engine<'_>) -> anyhow::Result<()> {
        let id = self.flow(flow)?.id;
        engine.tcp.abort(engine.now, id, engine.out);
        Ok(())
    }

    pub(super) fn set(&mut self, flow: Flow, option: AppOption, engine: &mut Engine<'_>) {
        let chosen = self.options.entry(flow).or_default();
        match option {
            AppOption::Nodelay(on) => chosen.engine.nagle = !on,
            AppOption::Cork(on) => chosen.cork = on,
            AppOption::Keepalive { idle_s, interval_s, probes } => {
                let (interval_s, probes) = (interval_s as u16, probes as u8);
                chosen.engine.keepalive = Some(Keepalive { idle_s, interval_s, probes });
            }
            AppOption::UserTimeout { ms } => chosen.engine.user_timeout = Some(Duration::from_ms(ms.into())),
            AppOption::HopLimit(n) => chosen.engine.hop_limit = n,
            AppOption::Linger { s } => chosen.engine.linger = Some(Duration::from_secs(s.into())),
        }
        let chosen = *chosen;
        if let Some(connection) = self.flows.get_mut(&flow) {
            engine.tcp.set_options(connection.id, chosen.engine);
            connection.pump(chosen.cork, engine);
        }
    }

    pub(super) fn unread(&self, flow: Flow) -> Unread {
        let Some(connection) = self.flows.get(&flow) else { return Unread::default() };
        let mut bytes: Vec<u8> = connection.unread.iter().flat_map(Frame::to_vec).collect();
        bytes.drain(..connection.read);
        Unread { bytes, eof: connection.eof }
    }

    pub(super) fn consume(&mut self, flow: Flow, bytes: usize, engine: &mut Engine<'_>) {
        let Some(connection) = self.flows.get_mut(&flow) else { return };
        engine.tcp.consume(connection.id, bytes as u32);
        connection.read += bytes;
        while let Some(len) = connection.unread.front().map(Frame::len).filter(|len| *len <= connection.read) {
            connection.read -= len;
            engine.out.consume(connection.unread.pop_front().expect("just looked"));
        }
    }
}

impl application::Application for Application {
    fn start(&mut self, _: &mut Tcp) {}

    fn handle_event(&mut self, now: Instant, event: Event, tcp: &mut Tcp, out: &mut Outbox) {
        match event {
            Event::Accepted { id, .. } => {
                let remote = tcp.conn(now, id).expect("just accepted").remote;
                let flow = remote.port().wrapping_sub(self.script_ports);
                tcp.set_options(id, self.options(flow));
                self.put(flow, Connection::new(id, true), out);
            }
            Event::Trouble { .. } => {}
            Event::Connected { id } => {
                if let Some((_, connection)) = self.by_id(id) {
                    connection.open = true;
                }
            }
            Event::Received { id, frame } => match self.by_id(id) {
                Some((_, connection)) => connection.unread.push_back(frame),
                None => out.drop(frame, Drop::TcpDataAfterClose),
            },
            Event::PeerClosed { id } => {
                if let Some((_, connection)) = self.by_id(id) {
                    connection.eof = true;
                }
            }
            Event::Writable { id } => {
                let Some((flow, _)) = self.by_id(id) else { return };
                let cork = self.chosen(flow).cork;
                let connection = self.flows.get_mut(&flow).expect("just found");
                connection.pump(cork, &mut Engine { now, tcp, out });
            }
            Event::Closed { id, reason } => {
                if let Some((_, connection)) = self.by_id(id) {
                    (connection.open, connection.end) = (false, Some(reason));
                }
            }
        }
    }

    fn handle_timers(&mut self, _: Instant, _: &mut Tcp, _: &mut Outbox) {}
    fn next_deadline(&self) -> Instant {
        Instant::NEVER
    }
    fn held(&self) -> usize {
        self.flows.values().map(|connection| connection.unread.len()).sum()
    }
    fn stop(&mut self, out: &mut Outbox) {
        for connection in self.flows.values_mut() {
            connection.unread.drain(..).for_each(|frame| out.drop(frame, Drop::Stopping));
        }
    }
}
