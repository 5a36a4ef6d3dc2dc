//! Runs a script against a target, step by step, and keeps what was said for when it goes wrong.

mod app;
mod compare;
mod send;

use super::{
    packet::{self, Base, Flags, Segment},
    parse::{App, Event, How, Number, OptionPattern, Pattern, Point, Role, Script, Sight, Step, When},
    target::{CLIENT_PORT, Flow, LISTEN_PORT, SERVER_PORT, Sent, Target},
};
use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    fmt,
    time::Duration,
};

/// How a script went wrong.
#[derive(Debug)]
pub(super) struct Failure {
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
pub(super) fn run(script: &Script, target: &mut dyn Target) -> Result<Vec<String>, Failure> {
    let mut run = Run::new(script, target);
    for step in &script.steps {
        if let Err(what) = run.step(step) {
            return Err(Failure { line: step.line, text: step.text.clone(), what, story: run.story });
        }
    }
    let end = run.last + run.target.tolerance();
    let rest = run.wait(end).and_then(|()| match run.queue.pop_front() {
        None => run.target.end(),
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
            Event::Expect { pattern, how } => self.expect(step.flow, pattern, *how, earliest, latest),
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
        match self.target.broken() {
            Some(what) => Err(format!("broken: {what}")),
            None => Ok(()),
        }
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

    // ---- the target sends

    fn expect(
        &mut self,
        flow: Flow,
        pattern: &Pattern,
        how: How,
        earliest: Duration,
        latest: Duration,
    ) -> Result<(), String> {
        let tolerance = self.target.tolerance();
        for piece in pieces(pattern) {
            loop {
                while self.queue.is_empty() && self.target.now() < latest + tolerance {
                    self.advance(latest + tolerance)?;
                }
                let brings_nothing = self.queue.front().is_some_and(|sent| self.is_lesser_ack(flow, &piece, sent));
                if how != How::AfterAcks || !brings_nothing {
                    break;
                }
                self.queue.pop_front();
            }
            let Some(sent) = self.queue.front().cloned() else {
                let now = self.target.now().as_secs_f64();
                return if how == How::Perhaps { Ok(()) } else { Err(format!("nothing was sent until {now:.6}")) };
            };
            let differs = self.differs(flow, &piece, &sent);
            match differs {
                Err(_) if how == How::Perhaps => return Ok(()),
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

    /// Whether it brings nothing, and acknowledges less than what is waited for.
    fn is_lesser_ack(&self, flow: Flow, wanted: &Pattern, sent: &Sent) -> bool {
        self.relative(sent).is_ok_and(|(of, segment)| {
            let less = (segment.ack.wrapping_sub(wanted.ack) as i32) < 0;
            of == flow && segment.flags == Flags(Flags::ACK) && segment.payload.is_empty() && less
        })
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
            self.expect(flow, &answer, How::Next, self.last, self.last)?;
            self.wait_for_action(self.last + rtt)?;
            self.inject(flow, &sends(segment(Flags::ACK, 1, last)))?;
            self.sees(flow, &Sight::Accepted, When::Point(Point::After(Duration::ZERO)), self.last, self.last)
        } else {
            self.act(flow, &App::Connect).map_err(|e| format!("{e:#}"))?;
            self.expect(flow, &segment(Flags::SYN, 0, None), How::Next, self.last, self.last)?;
            self.wait_for_action(self.last + rtt)?;
            self.inject(flow, &sends(Pattern { ack: 1, ..segment(Flags::SYN | Flags::ACK, 0, ours) }))?;
            self.expect(flow, &segment(Flags::ACK, 1, None), How::Next, self.last, self.last)?;
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
