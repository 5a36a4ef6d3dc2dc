//! Small services over TCP that a data plane can offer by itself, to try a network and to test it: echo (RFC 862), discard (RFC 863), character
//! generator (RFC 864), quote (RFC 865).

use crate::{
    application::Application,
    drops::Drop,
    limits::{FRAME_ROOM, MTU_MIN},
    outbox::Outbox,
    port::Frame,
    tcp::{ConnectionId, ConnectionOptions, Event, Listen, ListenerId, Tcp},
    time::Instant,
};
use serde::{Deserialize, Serialize};
use std::{collections::VecDeque, net::IpAddr};

/// What a listener does with its connections.
#[derive(Clone, Copy, PartialEq, Eq, Serialize, Deserialize, Debug)]
#[serde(rename_all = "lowercase")]
pub enum Service {
    /// Sends back what comes, and closes when the peer has.
    Echo,
    /// Takes what comes and sends nothing.
    Discard,
    /// Sends lines of characters until the peer closes; takes what comes and ignores it.
    Chargen,
    /// Says one sentence and closes; takes what still comes.
    Quote,
}

/// One service and where it is.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize, Debug)]
#[serde(deny_unknown_fields)]
pub struct ServiceListener {
    /// The name in the configuration.
    pub name: String,
    /// One of our addresses; `None`: all of them.
    #[serde(default)]
    pub address: Option<IpAddr>,
    /// The TCP port.
    pub port: u16,
    /// What is served there.
    pub service: Service,
}

/// All services of a worker, and their connections.
#[derive(Default)]
pub struct Services {
    listeners: Vec<ServiceListener>,
    /// By listener: what it serves.
    served: Vec<Option<Service>>,
    /// By the connection's place.
    connections: Vec<Option<Client>>,
    held: usize,
}

struct Client {
    id: ConnectionId,
    service: Service,
    /// Bytes to send back that there was no room for.
    waiting: VecDeque<Frame>,
    peer_closed: bool,
    /// Bytes generated so far.
    sent: u64,
}

impl Services {
    /// These services.
    pub fn new(listeners: Vec<ServiceListener>) -> Self {
        Self { listeners, ..Self::default() }
    }

    /// Connections that come there from now on are served so.
    pub(crate) fn serve(&mut self, listener: ListenerId, service: Service) {
        let place = listener.index();
        if place >= self.served.len() {
            self.served.resize(place + 1, None);
        }
        self.served[place] = Some(service);
    }

    fn client(&mut self, id: ConnectionId) -> Option<&mut Client> {
        self.connections.get_mut(id.index())?.as_mut().filter(|client| client.id == id)
    }

    fn accept(&mut self, id: ConnectionId, service: Service) {
        let index = id.index();
        if index >= self.connections.len() {
            self.connections.resize_with(index + 1, || None);
        }
        self.connections[index] = Some(Client { id, service, waiting: VecDeque::new(), peer_closed: false, sent: 0 });
    }

    fn receive(&mut self, id: ConnectionId, frame: Frame, tcp: &mut Tcp, out: &mut Outbox) {
        let len = frame.len() as u32;
        let Some(client) = self.client(id) else { return out.drop(frame, Drop::TcpDataAfterClose) };
        match client.service {
            Service::Echo if client.waiting.is_empty() => match tcp.send(id, frame, out) {
                Ok(()) => tcp.consume(id, len),
                Err(frame) => {
                    client.waiting.push_back(frame);
                    self.held += 1;
                }
            },
            Service::Echo => {
                client.waiting.push_back(frame);
                self.held += 1;
            }
            Service::Discard | Service::Chargen | Service::Quote => {
                out.consume(frame);
                tcp.consume(id, len);
            }
        }
    }

    /// Sends what there is room for now.
    fn send(&mut self, id: ConnectionId, tcp: &mut Tcp, out: &mut Outbox) {
        let Some(client) = self.client(id) else { return };
        let mut sent = 0;
        while let Some(frame) = client.waiting.pop_front() {
            let len = frame.len() as u32;
            match tcp.send(id, frame, out) {
                Ok(()) => {
                    sent += 1;
                    tcp.consume(id, len);
                }
                Err(frame) => {
                    client.waiting.push_front(frame);
                    break;
                }
            }
        }
        if client.service == Service::Chargen && !client.peer_closed {
            client.generate(tcp, out);
        }
        if client.service == Service::Quote && client.sent == 0 {
            client.quote(tcp, out);
        }
        if client.peer_closed && client.waiting.is_empty() {
            tcp.close(id, out);
        }
        self.held -= sent;
    }

    fn forget(&mut self, id: ConnectionId, out: &mut Outbox) {
        let Some(client) = self.client(id) else { return };
        let waiting = std::mem::take(&mut client.waiting);
        self.connections[id.index()] = None;
        self.held -= waiting.len();
        for frame in waiting {
            out.drop(frame, Drop::TcpDataAfterClose);
        }
    }
}

impl Client {
    fn quote(&mut self, tcp: &mut Tcp, out: &mut Outbox) {
        // Without a frame for it the sentence is left out.
        if let Some(mut frame) = out.make() {
            frame.append_slice(QUOTE.as_bytes()).expect("a fresh frame has room for it");
            self.sent = QUOTE.len() as u64;
            if let Err(frame) = tcp.send(self.id, frame, out) {
                out.consume(frame);
            }
        }
        tcp.close(self.id, out);
    }

    fn generate(&mut self, tcp: &mut Tcp, out: &mut Outbox) {
        while tcp.send_room(self.id) > 0 {
            let Some(mut frame) = out.make() else { return tcp.wants_room(self.id) };
            let len = CHUNK.min(frame.tailroom());
            let bytes = frame.append(len).expect("just looked");
            let start = (self.sent % PERIOD as u64) as usize;
            bytes.copy_from_slice(&PATTERN[start..start + len]);
            self.sent += len as u64;
            if let Err(frame) = tcp.send(self.id, frame, out) {
                self.sent -= len as u64;
                return out.consume(frame);
            }
        }
        tcp.wants_room(self.id);
    }
}

/// rfc865: a sentence or two, of no more than 512 characters.
pub const QUOTE: &str = "Be conservative in what you do, be liberal in what you accept from others.\r\n";
const _: () = assert!(QUOTE.len() <= 512);

/// Bytes that are generated at once.
const CHUNK: usize = MTU_MIN as usize;
const _: () = assert!(CHUNK <= FRAME_ROOM);

/// rfc864: lines of 72 of the 95 printable characters, each line beginning with the next one.
pub fn character(at: u64) -> u8 {
    PATTERN[(at % PERIOD as u64) as usize]
}

/// The same from one on, without end.
pub fn characters(at: u64) -> impl Iterator<Item = u8> {
    let (all, start) = (&PATTERN[..PERIOD], (at % PERIOD as u64) as usize);
    all[start..].iter().chain(all.iter().cycle()).copied()
}

const LINE: usize = 74;
/// After so many characters all begins anew.
const PERIOD: usize = 95 * LINE;

/// All of them, and as many more as are generated at once.
static PATTERN: [u8; PERIOD + CHUNK] = {
    let mut pattern = [0; PERIOD + CHUNK];
    let mut at = 0;
    while at < pattern.len() {
        pattern[at] = match at % LINE {
            72 => b'\r',
            73 => b'\n',
            column => b' ' + ((at / LINE + column) % 95) as u8,
        };
        at += 1;
    }
    pattern
};

impl Application for Services {
    fn start(&mut self, tcp: &mut Tcp) {
        for listener in std::mem::take(&mut self.listeners) {
            let ports = listener.port..=listener.port;
            let listen = Listen { address: listener.address, ports, options: ConnectionOptions::default() };
            let id = tcp.listen(listen).expect("the snapshot was checked");
            self.serve(id, listener.service);
        }
    }

    fn handle_event(&mut self, _: Instant, event: Event, tcp: &mut Tcp, out: &mut Outbox) {
        match event {
            Event::Accepted { id, listener } => {
                let service = self.served[listener.index()].expect("only what is served was listened for");
                self.accept(id, service);
                self.send(id, tcp, out);
            }
            Event::Received { id, frame } => self.receive(id, frame, tcp, out),
            Event::PeerClosed { id } => {
                if let Some(client) = self.client(id) {
                    client.peer_closed = true;
                }
                self.send(id, tcp, out);
            }
            Event::Writable { id } => self.send(id, tcp, out),
            Event::Closed { id, .. } => self.forget(id, out),
            Event::Connected { .. } | Event::Trouble { .. } => {}
        }
    }

    fn handle_timers(&mut self, _: Instant, _: &mut Tcp, _: &mut Outbox) {}
    fn next_deadline(&self) -> Instant {
        Instant::NEVER
    }
    fn held(&self) -> usize {
        self.held
    }
    fn stop(&mut self, out: &mut Outbox) {
        for client in self.connections.drain(..).flatten() {
            for frame in client.waiting {
                out.drop(frame, Drop::Stopping);
            }
        }
        self.held = 0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_those_of_the_rfc() {
        let line = |n: u64| String::from_utf8((n * 74..(n + 1) * 74).map(character).collect()).unwrap();
        assert_eq!(line(0), " !\"#$%&'()*+,-./0123456789:;<=>?@ABCDEFGHIJKLMNOPQRSTUVWXYZ[\\]^_`abcdefg\r\n");
        assert!(line(1).starts_with("!\"#") && line(1).ends_with("efgh\r\n"));
        assert!(line(95) == line(0));
        assert!(characters(7_000).take(200).eq((7_000..7_200).map(character)));
    }
}
