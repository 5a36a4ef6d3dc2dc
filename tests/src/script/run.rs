//! Runs a script against a target, step by step, and keeps what was said for when it goes wrong.

mod compare;

use super::{
    packet::{self, Base, Bent, Carrier, Flags, Segment, Side, TcpOption, stream},
    parse::{App, Attribute, Event, Icmp, IcmpKind, Number, OptionPattern, Pattern, Point, Role, Script, Sight, Step, When},
    target::{CLIENT_PORT, Flow, LISTEN_PORT, SERVER_PORT, Sent, Target},
};
use crate::wire::{protocol, transport_sum};
use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    fmt,
    net::SocketAddr,
    time::Duration,
};

/// How a script went wrong.
#[derive(Debug)]
pub struct Failure {
    line: usize,
    text: String,
    what: String,
    story: Vec<String>,
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.story.iter().try_for_each(|line| writeln!(f, "  {line}"))?;
        writeln!(f, "line {}: {}", self.line, self.text)?;
        write!(f, "  {}", self.what)
    }
}

/// Runs `script`; what was said comes back either way.
///
/// # Errors
/// The first step that did not go as it should.
pub fn run(script: &Script, target: &mut dyn Target) -> Result<Vec<String>, Failure> {
    let mut run = Run::new(script, target);
    for step in &script.steps {
        if let Err(what) = run.step(step) {
            return Err(Failure { line: step.line, text: step.text.clone(), what, story: run.story });
        }
    }
    let end = run.last + run.target.tolerance();
    let rest = run.wait(end).and_then(|()| match run.queue.pop_front() {
        None => Ok(()),
        Some(sent) => Err(format!("not expected: {}", run.words(&sent))),
    });
    match rest {
        Ok(()) => Ok(run.story),
        Err(what) => Err(Failure {
            line: script.steps.last().map_or(0, |step| step.line),
            text: "the end".into(),
            what,
            story: run.story,
        }),
    }
}

/// One of the script's connections.
struct Connection {
    /// The script's port.
    port: u16,
    /// The target's, once it is known.
    target_port: u16,
    /// The script's initial sequence number.
    isn: u32,
    /// The target's, once it has sent a SYN.
    target_isn: Option<u32>,
    /// How much the application wrote and read.
    written: u32,
    read: u32,
    /// The last TS value that the target sent.
    ts_last: u32,
}

struct Run<'a> {
    script: &'a Script,
    target: &'a mut dyn Target,
    flows: BTreeMap<Flow, Connection>,
    /// What the target sent and the script has not come to yet.
    queue: VecDeque<Sent>,
    /// When the event before happened.
    last: Duration,
    listens: bool,
    /// Flows whose application reads whatever comes.
    reading: BTreeSet<Flow>,
    /// TS values by their names.
    names: BTreeMap<String, u32>,
    counters: BTreeMap<String, Option<u64>>,
    story: Vec<String>,
}

impl<'a> Run<'a> {
    fn new(script: &'a Script, target: &'a mut dyn Target) -> Self {
        let names = script.steps.iter().filter_map(|step| match &step.event {
            Event::Counter { name, .. } => Some(name.clone()),
            _ => None,
        });
        let counters = names.map(|name| (name.clone(), target.counter(&name))).collect();
        Self {
            script,
            target,
            flows: BTreeMap::new(),
            queue: VecDeque::new(),
            last: Duration::ZERO,
            listens: false,
            reading: BTreeSet::new(),
            names: BTreeMap::new(),
            counters,
            story: Vec::new(),
        }
    }

    fn step(&mut self, step: &Step) -> Result<(), String> {
        let (earliest, latest) = self.window(step.when);
        match &step.event {
            Event::Inject(pattern) => {
                self.wait_for_action(earliest)?;
                self.inject(step.flow, pattern)
            }
            Event::Expect { pattern, optional } => self.expect(step.flow, pattern, *optional, earliest, latest),
            Event::Icmp(icmp) => {
                self.wait_for_action(earliest)?;
                self.icmp(step.flow, *icmp)
            }
            Event::Silence(time) => self.silence(earliest + *time),
            Event::App(App::Sees(sight)) => self.sees(step.flow, sight, step.when, earliest, latest),
            Event::App(app) => {
                self.wait_for_action(earliest)?;
                self.say(&format!("  app {app:?}"));
                self.act(step.flow, app).map_err(|e| format!("{e:#}"))
            }
            Event::Open { win, options, rtt } => {
                self.wait_for_action(earliest)?;
                self.open(step.flow, *win, options, *rtt)
            }
            Event::Again { isn } => {
                let connection = self.connection(step.flow);
                connection.isn = connection.isn.wrapping_add(*isn);
                (connection.target_isn, connection.written, connection.read) = (None, 0, 0);
                Ok(())
            }
            Event::Counter { name, by } => self.counted(name, *by),
        }
    }

    // ---- time

    /// From when until when a step may happen.
    fn window(&self, when: When) -> (Duration, Duration) {
        let time = |point| match point {
            Point::At(time) => time,
            Point::After(time) => self.last + time,
        };
        match when {
            When::Point(point) => (time(point), time(point)),
            When::Between(from, to) => (time(from), time(to)),
            When::Any => (Duration::ZERO, self.last + Duration::from_secs(30)),
        }
    }

    /// Lets the target go on until `time`, or until something was sent if nothing is queued.
    fn advance(&mut self, time: Duration) -> Result<(), String> {
        let mut sent = Vec::new();
        self.target.run_until(time, &mut sent);
        for sent in sent {
            self.learn(&sent)?;
            let words = self.words(&sent);
            self.story.push(format!("{:9.6} {words}", sent.at.as_secs_f64()));
            self.queue.push_back(sent);
        }
        for flow in self.reading.clone() {
            let unread = self.target.unread(flow).bytes;
            if !unread.is_empty() {
                self.consume(flow, unread.len(), &unread, None)?;
            }
        }
        Ok(())
    }

    fn wait(&mut self, time: Duration) -> Result<(), String> {
        while self.target.now() < time {
            self.advance(time)?;
        }
        self.advance(time)
    }

    fn wait_for_action(&mut self, time: Duration) -> Result<(), String> {
        self.wait(time)?;
        self.last = self.target.now();
        Ok(())
    }

    fn say(&mut self, what: &str) {
        self.story.push(format!("{:9.6} {what}", self.target.now().as_secs_f64()));
    }

    // ---- connections

    fn connection(&mut self, flow: Flow) -> &mut Connection {
        let active = self.script.role == Role::Active;
        let ipv6 = self.target.addresses().0.is_ipv6();
        self.flows.entry(flow).or_insert_with(|| Connection {
            port: flow + if active { SERVER_PORT } else { CLIENT_PORT },
            target_port: LISTEN_PORT,
            // One family's sequence numbers wrap early.
            isn: if ipv6 { 0xffff_fd00 } else { 1_000_000_000 },
            target_isn: None,
            written: 0,
            read: 0,
            ts_last: 0,
        })
    }

    fn flow_of(&self, sent: &Sent) -> Option<Flow> {
        let (_, to) = packet::ends(&sent.packet)?;
        self.flows.iter().find(|(_, connection)| connection.port == to.port()).map(|(flow, _)| *flow)
    }

    /// Takes what the packet tells of the connection.
    fn learn(&mut self, sent: &Sent) -> Result<(), String> {
        let (from, to) = packet::ends(&sent.packet).ok_or("something that is not TCP was sent")?;
        let flow = self.flow_of(sent).ok_or(format!("sent to port {}, which no flow of the script has", to.port()))?;
        let (seq, flags) = packet::raw_seq(&sent.packet).ok_or("a cut header was sent")?;
        let connection = self.connection(flow);
        if flags.has(Flags::SYN) && connection.target_isn.is_none() {
            (connection.target_isn, connection.target_port) = (Some(seq), from.port());
        }
        Ok(())
    }

    /// Its numbers relative. Before a SYN of the target's its own numbers are what they are: a reset's come from what it answers.
    fn relative(&self, sent: &Sent) -> Result<(Flow, Segment), String> {
        let flow = self.flow_of(sent).ok_or("of no flow")?;
        let connection = &self.flows[&flow];
        let base = Base { seq: connection.target_isn.unwrap_or(0), ack: connection.isn };
        Ok((flow, packet::read(&sent.packet, base)?))
    }

    fn words(&self, sent: &Sent) -> String {
        match self.relative(sent) {
            Ok((0, segment)) => format!("> {segment}"),
            Ok((flow, segment)) => format!("> {segment} [flow {flow}]"),
            Err(what) => format!("> something wrong: {what}"),
        }
    }

    // ---- the script sends

    fn inject(&mut self, flow: Flow, pattern: &Pattern) -> Result<(), String> {
        for piece in pieces(pattern) {
            let segment = self.filled_in(flow, &piece)?;
            let flow_words = if flow == 0 { String::new() } else { format!(" [flow {flow}]") };
            self.say(&format!("< {segment}{flow_words}"));
            let (target, own) = self.target.addresses();
            let connection = self.connection(flow);
            let mut from = SocketAddr::new(own, connection.port);
            let to = SocketAddr::new(target, connection.target_port);
            let base = Base { seq: connection.isn, ack: connection.target_isn.unwrap_or(0) };
            let mut bent = Bent::default();
            for attribute in &pattern.attributes {
                match *attribute {
                    Attribute::BadChecksum => bent.checksum = true,
                    Attribute::DataOffset(words) => bent.data_offset = Some(words),
                    Attribute::Cut(len) => bent.cut = Some(len),
                    Attribute::Land => from = to,
                    _ => {}
                }
            }
            let packet = packet::build(&segment, from, to, base, bent);
            self.target.inject(&packet);
        }
        Ok(())
    }

    fn filled_in(&mut self, flow: Flow, pattern: &Pattern) -> Result<Segment, String> {
        let mut options = Vec::new();
        for option in pattern.options.iter().flatten() {
            options.push(match option {
                OptionPattern::Exactly(option) => option.clone(),
                OptionPattern::Timestamps { val, ecr } => {
                    let (val, ecr) = (self.number(flow, val)?, self.number(flow, ecr)?);
                    TcpOption::Timestamps { val, ecr }
                }
                _ => return Err("an option to be sent has a value".into()),
            });
        }
        let mut carrier = Carrier { ecn: 0, ttl: 64, df: true };
        for attribute in &pattern.attributes {
            match *attribute {
                Attribute::Ecn(ecn) => carrier.ecn = ecn,
                Attribute::Ttl(ttl) => carrier.ttl = ttl,
                Attribute::Df(df) => carrier.df = df,
                _ => {}
            }
        }
        let payload = match &pattern.data {
            Some(text) => text.bytes().cycle().take(pattern.len).collect(),
            None => stream(Side::Peer, stream_position(pattern), pattern.len),
        };
        Ok(Segment {
            flags: pattern.flags,
            seq: pattern.seq,
            ack: pattern.ack,
            win: pattern.win.unwrap_or(65535),
            urgent: pattern.urgent.unwrap_or(0),
            options,
            payload,
            carrier,
        })
    }

    fn number(&mut self, flow: Flow, number: &Number) -> Result<u32, String> {
        match number {
            Number::Any => Err("`*` cannot be sent".into()),
            Number::Value(value) => Ok(*value),
            Number::Last(offset) => Ok(self.connection(flow).ts_last.wrapping_add_signed(*offset)),
            Number::Named(name, offset) => {
                let value = self.names.get(name).ok_or(format!("@{name} was not seen yet"))?;
                Ok(value.wrapping_add_signed(*offset))
            }
        }
    }

    fn icmp(&mut self, flow: Flow, icmp: Icmp) -> Result<(), String> {
        self.say(&format!("< {icmp:?}"));
        let (target, own) = self.target.addresses();
        let connection = self.connection(flow);
        let carrier = Carrier { ecn: 0, ttl: 64, df: true };
        let quoted = Segment {
            flags: Flags(Flags::ACK),
            seq: icmp.seq,
            ack: 1,
            win: 65535,
            urgent: 0,
            options: Vec::new(),
            payload: stream(Side::Target, icmp.seq.wrapping_sub(1), icmp.len),
            carrier,
        };
        let (from, to) = (SocketAddr::new(target, connection.target_port), SocketAddr::new(own, connection.port));
        let base = Base { seq: connection.target_isn.unwrap_or(0), ack: connection.isn };
        let mut quoted = packet::build(&quoted, from, to, base, Bent::default());
        // rfc1812 4.3.2.3 and rfc4443 3: as much of the packet as fits.
        quoted.truncate(if target.is_ipv4() { 548 } else { 1232 });
        let message = icmp_message(icmp, target.is_ipv4(), &quoted);
        let protocol = if target.is_ipv4() { protocol::ICMP } else { protocol::ICMPV6 };
        let mut message = message;
        let sum = transport_sum(own, target, protocol, &message) ^ if icmp.bad_checksum { 0x5555 } else { 0 };
        message[2..4].copy_from_slice(&sum.to_be_bytes());
        let packet = packet::carry(own, target, protocol, carrier, &message);
        self.target.inject(&packet);
        Ok(())
    }

    // ---- the target sends

    fn expect(
        &mut self,
        flow: Flow,
        pattern: &Pattern,
        optional: bool,
        earliest: Duration,
        latest: Duration,
    ) -> Result<(), String> {
        let tolerance = self.target.tolerance();
        for piece in pieces(pattern) {
            while self.queue.is_empty() && self.target.now() < latest + tolerance {
                self.advance(latest + tolerance)?;
            }
            let Some(sent) = self.queue.front().cloned() else {
                let now = self.target.now().as_secs_f64();
                return if optional { Ok(()) } else { Err(format!("nothing was sent until {now:.6}")) };
            };
            let differs = self.differs(flow, &piece, &sent);
            match differs {
                Err(_) if optional => return Ok(()),
                Err(what) => return Err(format!("came:     {}\n  {what}", self.words(&sent))),
                Ok(()) => {}
            }
            let at = sent.at;
            if at + tolerance < earliest || at > latest + tolerance {
                let [from, to, at] = [earliest, latest, at].map(|time| time.as_secs_f64());
                return Err(format!("sent at {at:.6}, expected between {from:.6} and {to:.6}"));
            }
            self.queue.pop_front();
            self.last = self.last.max(at);
        }
        Ok(())
    }

    fn silence(&mut self, until: Duration) -> Result<(), String> {
        loop {
            if let Some(sent) = self.queue.front() {
                return Err(format!("sent at {:.6}: {}", sent.at.as_secs_f64(), self.words(sent)));
            }
            if self.target.now() >= until {
                self.last = until;
                return Ok(());
            }
            self.advance(until)?;
        }
    }

    fn counted(&mut self, name: &str, by: u64) -> Result<(), String> {
        let (before, now) = (self.counters[name], self.target.counter(name));
        match (before, now) {
            (Some(before), Some(now)) if now - before != by => Err(format!("{name} went up by {}", now - before)),
            _ => Ok(()),
        }
    }

    // ---- the application

    fn act(&mut self, flow: Flow, app: &App) -> anyhow::Result<()> {
        match app {
            App::Listen { backlog } => {
                self.listens = true;
                self.target.listen(*backlog)
            }
            App::Connect => {
                self.connection(flow);
                self.target.connect(flow)
            }
            App::Write(len) => {
                let connection = self.connection(flow);
                let bytes = stream(Side::Target, connection.written, *len);
                connection.written = connection.written.wrapping_add(*len as u32);
                self.target.write(flow, bytes)
            }
            App::Close => self.target.close(flow),
            App::Release => self.target.release(flow),
            App::Abort => self.target.abort(flow),
            App::Set(option) => self.target.set(flow, *option),
            App::Pauses => {
                self.reading.remove(&flow);
                Ok(())
            }
            App::Resumes => {
                self.reading.insert(flow);
                Ok(())
            }
            App::Sees(_) => unreachable!("sights are no acts"),
        }
    }

    /// Waits until the application sees it, not before `earliest`.
    fn sees(
        &mut self,
        flow: Flow,
        sight: &Sight,
        when: When,
        earliest: Duration,
        latest: Duration,
    ) -> Result<(), String> {
        let tolerance = self.target.tolerance();
        let too_early = matches!(when, When::Between(..)).then(|| earliest.saturating_sub(tolerance));
        if too_early.is_none() && when != When::Any {
            self.wait(earliest)?;
        }
        let (step, end) = (tolerance / 4, latest + 4 * tolerance);
        loop {
            let seen = self.seen(flow, sight)?;
            let now = self.target.now();
            match seen {
                Ok(()) if too_early.is_some_and(|time| now < time) => {
                    return Err(format!("seen at {:.6} already", now.as_secs_f64()));
                }
                Ok(()) => break,
                Err(what) if now >= end => return Err(what),
                Err(_) => self.advance(now + step)?,
            }
        }
        self.last = self.target.now().max(self.last);
        self.say(&format!("  app sees {sight:?}"));
        Ok(())
    }

    /// Whether the application sees it now; the inner error says what it sees instead.
    fn seen(&mut self, flow: Flow, sight: &Sight) -> Result<Result<(), String>, String> {
        let holds = |holds, what: &str| if holds { Ok(()) } else { Err(what.to_owned()) };
        Ok(match sight {
            Sight::Connected => holds(self.target.connected(flow), "not connected"),
            Sight::Accepted => holds(self.target.accepted(flow), "nothing to be accepted"),
            Sight::NotOpen => {
                let open = self.target.accepted(flow) || self.target.connected(flow);
                return holds(!open, "it is open").map(Ok);
            }
            Sight::Read { len, text } => {
                let unread = self.target.unread(flow).bytes;
                if unread.len() < *len {
                    return Ok(Err(format!("{} bytes to be read", unread.len())));
                }
                self.consume(flow, *len, &unread[..*len], text.as_deref())?;
                Ok(())
            }
            Sight::Receives(len) => {
                let unread = self.target.unread(flow).bytes;
                holds(unread.len() == *len, &format!("{} bytes to be read", unread.len()))
            }
            Sight::Eof => {
                let unread = self.target.unread(flow);
                holds(unread.eof && unread.bytes.is_empty(), &format!("{unread:?}"))
            }
            Sight::Ended(end) => {
                let ended = self.target.ended(flow);
                holds(ended == Some(*end), &format!("it ended: {ended:?}"))
            }
            Sight::State(state) => match self.target.state(flow) {
                Some(is) => holds(is == *state, &format!("it is in {is}")),
                None => Ok(()),
            },
        })
    }

    fn consume(&mut self, flow: Flow, len: usize, bytes: &[u8], text: Option<&str>) -> Result<(), String> {
        let connection = self.connection(flow);
        let position = connection.read;
        connection.read = position.wrapping_add(len as u32);
        let should = match text {
            Some(text) => text.bytes().cycle().take(len).collect(),
            None => stream(Side::Peer, position, len),
        };
        self.target.consume(flow, len);
        match bytes.iter().zip(&should).position(|(is, should)| is != should) {
            None => Ok(()),
            Some(at) => Err(format!("byte {} of the stream is wrong", position as usize + at + 1)),
        }
    }

    // ---- the handshake in one line

    fn open(&mut self, flow: Flow, win: u16, options: &[OptionPattern], rtt: Duration) -> Result<(), String> {
        let segment = |flags, seq, options| Pattern {
            flags: Flags(flags),
            seq,
            len: 0,
            ack: seq,
            win: None,
            urgent: None,
            options,
            data: None,
            each: None,
            attributes: Vec::new(),
        };
        let ours = Some(options.to_vec());
        let val = options.iter().find_map(|option| match option {
            OptionPattern::Timestamps { val, .. } => Some(val.clone()),
            _ => None,
        });
        let last = val.map(|val| vec![OptionPattern::Timestamps { val, ecr: Number::Last(0) }]);
        let sends = |pattern: Pattern| Pattern { win: Some(win), ..pattern };
        let passive = self.script.role == Role::Passive;
        if passive {
            if !self.listens {
                self.act(flow, &App::Listen { backlog: 128 }).map_err(|e| format!("{e:#}"))?;
            }
            self.inject(flow, &sends(segment(Flags::SYN, 0, ours)))?;
            let answer = Pattern { ack: 1, ..segment(Flags::SYN | Flags::ACK, 0, None) };
            self.expect(flow, &answer, false, self.last, self.last)?;
            self.wait_for_action(self.last + rtt)?;
            self.inject(flow, &sends(segment(Flags::ACK, 1, last)))?;
            self.sees(flow, &Sight::Accepted, When::Point(Point::After(Duration::ZERO)), self.last, self.last)
        } else {
            self.act(flow, &App::Connect).map_err(|e| format!("{e:#}"))?;
            self.expect(flow, &segment(Flags::SYN, 0, None), false, self.last, self.last)?;
            self.wait_for_action(self.last + rtt)?;
            self.inject(flow, &sends(Pattern { ack: 1, ..segment(Flags::SYN | Flags::ACK, 0, ours) }))?;
            self.expect(flow, &segment(Flags::ACK, 1, None), false, self.last, self.last)?;
            self.sees(flow, &Sight::Connected, When::Point(Point::After(Duration::ZERO)), self.last, self.last)
        }
    }
}

/// The place in its stream of a segment's first byte.
fn stream_position(pattern: &Pattern) -> u32 {
    pattern.seq.wrapping_add(u32::from(pattern.flags.has(Flags::SYN))).wrapping_sub(1)
}

/// One pattern for each segment of it.
fn pieces(pattern: &Pattern) -> Vec<Pattern> {
    let Some(each) = pattern.each else { return vec![pattern.clone()] };
    let piece = |at: usize| Pattern {
        seq: pattern.seq.wrapping_add(at as u32),
        len: each.min(pattern.len - at),
        each: None,
        ..pattern.clone()
    };
    (0..pattern.len).step_by(each).map(piece).collect()
}

/// The ICMP message without its checksum (RFC 792, RFC 4443).
fn icmp_message(icmp: Icmp, ipv4: bool, quoted: &[u8]) -> Vec<u8> {
    let (kind, code, word) = match (icmp.kind, ipv4) {
        (IcmpKind::Net, true) => (3, 0, 0),
        (IcmpKind::Host, true) => (3, 1, 0),
        (IcmpKind::Protocol, true) => (3, 2, 0),
        (IcmpKind::Port, true) => (3, 3, 0),
        (IcmpKind::TooBig(mtu), true) => (3, 4, u32::from(mtu)),
        (IcmpKind::Admin, true) => (3, 13, 0),
        (IcmpKind::TimeExceeded, true) => (11, 0, 0),
        (IcmpKind::Net, false) => (1, 0, 0),
        (IcmpKind::Admin, false) => (1, 1, 0),
        (IcmpKind::Host, false) => (1, 3, 0),
        (IcmpKind::Port, false) => (1, 4, 0),
        (IcmpKind::TooBig(mtu), false) => (2, 0, u32::from(mtu)),
        (IcmpKind::TimeExceeded, false) => (3, 0, 0),
        // An unrecognized next header (RFC 4443 section 3.4) is what IPv6 has in its place.
        (IcmpKind::Protocol, false) => (4, 1, 6),
    };
    crate::wire::icmp(kind, code, word.to_be_bytes(), quoted)
}
