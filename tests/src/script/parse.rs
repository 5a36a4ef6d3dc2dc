//! A script's text as a [`Script`]. What each line may say stands in the module's head.

use super::{
    packet::{Flags, TcpOption},
    target::{AppOption, End, Family, Flow},
};
use anyhow::{Context, anyhow, bail, ensure};
use std::{collections::BTreeMap, str::SplitWhitespace, time::Duration};

/// A whole script.
#[derive(Clone, Debug)]
pub struct Script {
    /// What it shows: its first comment.
    pub title: String,
    /// For which families.
    pub families: Vec<Family>,
    /// For which targets.
    pub(super) needs: Needs,
    /// Whether the target listens or connects.
    pub(super) role: Role,
    /// Options of the target.
    pub(super) settings: BTreeMap<String, String>,
    /// What happens, in order.
    pub(super) steps: Vec<Step>,
}

impl Script {
    /// How long it takes at least, in the target's time.
    pub(super) fn least_time(&self) -> Duration {
        let mut now = Duration::ZERO;
        for step in &self.steps {
            let point = match step.when {
                When::Point(point) | When::Between(point, _) => point,
                When::Any => Point::After(Duration::ZERO),
            };
            now = match point {
                Point::At(time) => now.max(time),
                Point::After(time) => now + time,
            };
            match step.event {
                Event::Silence(time) => now += time,
                Event::Open { rtt, .. } => now += rtt,
                _ => {}
            }
        }
        now
    }
}

/// Which targets a script is for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Needs {
    Any,
    Kernel,
    Engine,
}

/// Who opens the connection.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Role {
    /// The script does; the target listens.
    Passive,
    /// The target does.
    Active,
}

/// One line.
#[derive(Clone, Debug)]
pub(super) struct Step {
    /// Its number, from 1.
    pub(super) line: usize,
    /// The line itself.
    pub(super) text: String,
    pub(super) when: When,
    pub(super) flow: Flow,
    pub(super) event: Event,
}

/// A point in time.
#[derive(Clone, Copy, PartialEq, Debug)]
pub(super) enum Point {
    /// Since the script's begin.
    At(Duration),
    /// Since the event before.
    After(Duration),
}

/// When something happens.
#[derive(Clone, Copy, PartialEq, Debug)]
pub(super) enum When {
    Point(Point),
    Between(Point, Point),
    Any,
}

/// What happens.
#[derive(Clone, Debug)]
pub(super) enum Event {
    /// The script sends.
    Inject(Pattern),
    /// The target must send this.
    Expect { pattern: Pattern, how: How },
    /// An ICMP error comes in.
    Icmp(Icmp),
    /// Nothing may be sent for so long.
    Silence(Duration),
    /// The application acts, or sees something.
    App(App),
    /// A connection is opened with the script's window and SYN options; the handshake takes so long.
    Open { win: u16, options: Vec<OptionPattern>, rtt: Duration },
    /// What follows on this flow is a new connection between the same ports, its ISN this much above the last one's.
    Again { isn: u32 },
    /// A counter has gone up by this much since the script's begin.
    Counter { name: String, by: u64 },
}

/// How it is expected.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum How {
    /// It comes next.
    Next,
    /// It comes next, or does not come.
    Perhaps,
    /// It comes after any number of segments that bring nothing and acknowledge less.
    AfterAcks,
}

/// A segment as a script writes it.
#[derive(Clone, Debug)]
pub(super) struct Pattern {
    pub(super) flags: Flags,
    pub(super) seq: u32,
    pub(super) len: usize,
    pub(super) ack: u32,
    pub(super) win: Option<u16>,
    pub(super) urgent: Option<u16>,
    /// None: there is no `<..>`.
    pub(super) options: Option<Vec<OptionPattern>>,
    /// The payload, if it is not the stream's.
    pub(super) data: Option<String>,
    /// In pieces of so many bytes.
    pub(super) each: Option<usize>,
    pub(super) attributes: Vec<Attribute>,
}

/// What stands in brackets.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Attribute {
    Ecn(u8),
    Ttl(u8),
    Df(bool),
    BadChecksum,
    DataOffset(u8),
    Cut(usize),
    /// From the target's own address and port.
    Land,
    /// PSH must not be set.
    NoPush,
}

/// An option as a script writes it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) enum OptionPattern {
    Exactly(TcpOption),
    Timestamps {
        val: Number,
        ecr: Number,
    },
    AnyMss,
    AnyWscale,
    /// No option that [`TcpOption::to_string`] begins with this word.
    Without(String),
    /// Whatever else there may be.
    Rest,
}

/// A timestamp as a script writes it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) enum Number {
    Any,
    Value(u32),
    /// The last one that the target sent, and so much.
    Last(i32),
    /// What was seen or is seen now under this name, and so much.
    Named(String, i32),
}

/// An ICMP error about a segment that the target sent.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Icmp {
    pub(super) kind: IcmpKind,
    /// Where the quoted segment begins and how long it is.
    pub(super) seq: u32,
    pub(super) len: usize,
    pub(super) bad_checksum: bool,
}

/// What the error says.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum IcmpKind {
    TooBig(u16),
    Net,
    Host,
    Protocol,
    Port,
    Admin,
    TimeExceeded,
}

/// An application's doing or seeing.
#[derive(Clone, PartialEq, Debug)]
pub(super) enum App {
    Listen { backlog: u32 },
    Connect,
    Write(usize),
    Close,
    Release,
    Abort,
    Set(AppOption),
    Pauses,
    Resumes,
    Sees(Sight),
}

/// What an application sees.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) enum Sight {
    Connected,
    Accepted,
    /// Nothing was accepted or connected so far.
    NotOpen,
    /// These bytes, which it consumes.
    Read {
        len: usize,
        text: Option<String>,
    },
    /// So many bytes are there, neither more nor fewer.
    Receives(usize),
    Eof,
    Ended(End),
    State(String),
}

/// Reads a script.
///
/// # Errors
/// The first line that cannot be understood, with its number.
pub fn parse(text: &str) -> anyhow::Result<Script> {
    let mut script = Script {
        title: String::new(),
        families: vec![Family::Ipv4, Family::Ipv6],
        needs: Needs::Any,
        role: Role::Passive,
        settings: BTreeMap::new(),
        steps: Vec::new(),
    };
    for (index, full) in text.lines().enumerate() {
        let line = without_comment(full).trim();
        if line.is_empty() {
            if script.title.is_empty() {
                script.title = full.trim_start_matches(['#', '/', ' ']).trim().into();
            }
            continue;
        }
        read_line(&mut script, index + 1, line).with_context(|| format!("line {}: {line}", index + 1))?;
    }
    ensure!(!script.title.is_empty(), "the first line is to be a comment that says the rule");
    Ok(script)
}

fn without_comment(line: &str) -> &str {
    let mut quoted = false;
    let end = line.char_indices().find(|(at, c)| {
        quoted ^= *c == '"';
        !quoted && (*c == '#' || line[*at..].starts_with("//"))
    });
    end.map_or(line, |(at, _)| &line[..at])
}

fn read_line(script: &mut Script, line: usize, text: &str) -> anyhow::Result<()> {
    let (word, rest) = text.split_once(char::is_whitespace).unwrap_or((text, ""));
    let rest = rest.trim();
    match word {
        "family" => {
            script.families = match rest {
                "ipv4" => vec![Family::Ipv4],
                "ipv6" => vec![Family::Ipv6],
                "both" => vec![Family::Ipv4, Family::Ipv6],
                _ => bail!("ipv4, ipv6 or both"),
            }
        }
        "needs" => {
            script.needs = match rest {
                "any" => Needs::Any,
                "kernel" => Needs::Kernel,
                "engine" => Needs::Engine,
                _ => bail!("any, kernel or engine"),
            }
        }
        "role" => {
            script.role = match rest {
                "passive" => Role::Passive,
                "active" => Role::Active,
                _ => bail!("passive or active"),
            }
        }
        "set" => {
            let (key, value) = rest.split_once(char::is_whitespace).context("set NAME VALUE")?;
            script.settings.insert(key.into(), value.trim().into());
        }
        _ => {
            let (when, event) = match when(word)? {
                Some(when) => (when, rest),
                None => (When::Point(Point::After(Duration::ZERO)), text),
            };
            let (event, attributes, flow) = split_attributes(event)?;
            let event = read_event(event.trim(), attributes)?;
            let acts = !matches!(event, Event::Expect { .. } | Event::App(App::Sees(_)));
            ensure!(!acts || matches!(when, When::Point(_)), "what is done has one time");
            script.steps.push(Step { line, text: text.into(), when, flow, event });
        }
    }
    Ok(())
}

/// None when the word is no time.
fn when(word: &str) -> anyhow::Result<Option<When>> {
    if word == "*" {
        return Ok(Some(When::Any));
    }
    if !word.starts_with(|c: char| c == '+' || c.is_ascii_digit()) {
        return Ok(None);
    }
    let point = |text: &str| match text.strip_prefix('+') {
        Some(text) => seconds(text).map(Point::After),
        None => seconds(text).map(Point::At),
    };
    Ok(Some(match word.split_once('~') {
        Some((from, to)) => When::Between(point(from)?, point(to)?),
        None => When::Point(point(word)?),
    }))
}

fn seconds(text: &str) -> anyhow::Result<Duration> {
    Duration::try_from_secs_f64(text.parse()?).context("a time in seconds")
}

/// Takes everything in brackets out of a line.
fn split_attributes(text: &str) -> anyhow::Result<(String, Vec<Attribute>, Flow)> {
    let (mut plain, mut attributes, mut flow) = (String::new(), Vec::new(), 0);
    let mut rest = text;
    while let Some((before, after)) = rest.split_once('[') {
        let (inside, after) = after.split_once(']').context("a bracket that does not close")?;
        plain.push_str(before);
        for word in inside.split(',').map(str::trim) {
            let (name, value) = word.split_once(' ').unwrap_or((word, ""));
            let number = || value.parse::<u16>().with_context(|| format!("[{word}]"));
            attributes.push(match name {
                "flow" => {
                    flow = number()?;
                    continue;
                }
                "noect" => Attribute::Ecn(0),
                "ect1" => Attribute::Ecn(1),
                "ect0" => Attribute::Ecn(2),
                "ce" => Attribute::Ecn(3),
                "ttl" => Attribute::Ttl(number()? as u8),
                "df" => Attribute::Df(true),
                "nodf" => Attribute::Df(false),
                "badsum" => Attribute::BadChecksum,
                "doff" => Attribute::DataOffset(number()? as u8),
                "cut" => Attribute::Cut(number()?.into()),
                "land" => Attribute::Land,
                "nopsh" => Attribute::NoPush,
                _ => bail!("[{word}] is no attribute"),
            });
        }
        rest = after;
    }
    plain.push_str(rest);
    Ok((plain, attributes, flow))
}

fn read_event(text: &str, attributes: Vec<Attribute>) -> anyhow::Result<Event> {
    let (word, rest) = text.split_once(char::is_whitespace).unwrap_or((text, ""));
    Ok(match word {
        "<" if rest.trim_start().starts_with("icmp ") => Event::Icmp(icmp(rest, &attributes)?),
        "<" => Event::Inject(pattern(rest, attributes)?),
        ">" => Event::Expect { pattern: pattern(rest, attributes)?, how: How::Next },
        ">?" => Event::Expect { pattern: pattern(rest, attributes)?, how: How::Perhaps },
        ">>" => Event::Expect { pattern: pattern(rest, attributes)?, how: How::AfterAcks },
        "silence" => Event::Silence(seconds(rest.trim())?),
        "app" => Event::App(app(rest)?),
        "open" => open(rest)?,
        "again" => Event::Again { isn: word_value(&mut rest.split_whitespace(), "isn")?.unwrap_or(100_000) },
        "expect" => {
            let mut words = rest.split_whitespace();
            let (kind, name) = (words.next().context("counter or drop")?, words.next().context("a name")?);
            let name = if kind == "drop" { format!("drop.{name}") } else { name.into() };
            Event::Counter { name, by: words.next().map_or(Ok(1), str::parse)? }
        }
        _ => bail!("{word:?} is no event"),
    })
}

/// The number after `name`, which is the next word if there is one.
fn word_value<T: std::str::FromStr>(words: &mut SplitWhitespace<'_>, name: &str) -> anyhow::Result<Option<T>> {
    match words.next() {
        None => Ok(None),
        Some(word) if word == name => {
            let value = words.next().and_then(|value| value.parse().ok());
            value.map(Some).ok_or(anyhow!("{name} and a number"))
        }
        Some(word) => bail!("{word:?} where {name} may stand"),
    }
}

fn open(text: &str) -> anyhow::Result<Event> {
    let (text, options) = split_options(text)?;
    let mut words = text.split_whitespace();
    let (mut win, mut rtt) = (65535, Duration::ZERO);
    while let Some(word) = words.next() {
        let value = words.next().context("a number")?;
        match word {
            "win" => win = value.parse()?,
            "rtt" => rtt = seconds(value)?,
            _ => bail!("{word:?}: win, rtt and options may stand here"),
        }
    }
    Ok(Event::Open { win, options: options.unwrap_or_else(|| vec![OptionPattern::Exactly(TcpOption::Mss(1000))]), rtt })
}

/// `S. 0:0(0) ack 1 win 65535 <mss 1460> each 1000`
fn pattern(text: &str, attributes: Vec<Attribute>) -> anyhow::Result<Pattern> {
    let (text, data) = match text.split_once('"') {
        Some((before, rest)) => {
            let (data, after) = rest.split_once('"').context("a quote that does not close")?;
            let before = before.trim_end().strip_suffix("data").context("data before the quote")?;
            (format!("{before} {after}"), Some(data.to_owned()))
        }
        None => (text.to_owned(), None),
    };
    let (text, options) = split_options(&text)?;
    let mut words = text.split_whitespace();
    let flags = words.next().and_then(Flags::parse).context("flags of SFRP.UEWA or -")?;
    let (seq, len) = range(words.next().context("FROM:TO(LENGTH)")?)?;
    let mut pattern =
        Pattern { flags, seq, len, ack: 0, win: None, urgent: None, options, data, each: None, attributes };
    while let Some(word) = words.next() {
        let value: i64 = words.next().and_then(|value| value.parse().ok()).context(format!("{word} and a number"))?;
        match word {
            "ack" => pattern.ack = value as u32,
            "win" => pattern.win = Some(u16::try_from(value)?),
            "urg" => pattern.urgent = Some(u16::try_from(value)?),
            "each" => pattern.each = Some(usize::try_from(value)?),
            _ => bail!("{word:?} in a segment"),
        }
    }
    Ok(pattern)
}

/// `1:1001(1000)` as its begin and length.
fn range(text: &str) -> anyhow::Result<(u32, usize)> {
    let numbers = text.strip_suffix(')').and_then(|text| {
        let (range, len) = text.split_once('(')?;
        let (from, to) = range.split_once(':')?;
        Some((from.parse::<i64>().ok()?, to.parse::<i64>().ok()?, len.parse::<usize>().ok()?))
    });
    let (from, to, len) = numbers.with_context(|| format!("{text:?} is not FROM:TO(LENGTH)"))?;
    ensure!(to - from == len as i64, "{from}:{to} is not {len} long");
    Ok((from as u32, len))
}

/// Takes `<..>` out of a line.
fn split_options(text: &str) -> anyhow::Result<(String, Option<Vec<OptionPattern>>)> {
    let Some((before, rest)) = text.split_once('<') else { return Ok((text.into(), None)) };
    let (inside, after) = rest.split_once('>').context("options that do not end")?;
    let options = inside.split(',').map(str::trim).filter(|o| !o.is_empty()).map(option).collect::<Result<_, _>>()?;
    Ok((format!("{before} {after}"), Some(options)))
}

fn option(text: &str) -> anyhow::Result<OptionPattern> {
    let words: Vec<_> = text.split_whitespace().collect();
    Ok(match words[..] {
        ["*"] => OptionPattern::Rest,
        ["no", name] => OptionPattern::Without(name.into()),
        ["mss", "*"] => OptionPattern::AnyMss,
        ["wscale", "*"] => OptionPattern::AnyWscale,
        ["TS", "val", val, "ecr", ecr] => OptionPattern::Timestamps { val: number(val)?, ecr: number(ecr)? },
        ["mss", mss] => OptionPattern::Exactly(TcpOption::Mss(mss.parse()?)),
        ["wscale", shift] => OptionPattern::Exactly(TcpOption::Wscale(shift.parse()?)),
        ["sackOK"] => OptionPattern::Exactly(TcpOption::SackPermitted),
        ["nop"] => OptionPattern::Exactly(TcpOption::Nop),
        ["eol"] => OptionPattern::Exactly(TcpOption::Eol),
        ["sack", ref blocks @ ..] => {
            let block = |block: &&str| {
                let (from, to) = block.split_once(':').context("a block is FROM:TO")?;
                anyhow::Ok((from.parse::<i64>()? as u32, to.parse::<i64>()? as u32))
            };
            OptionPattern::Exactly(TcpOption::Sack(blocks.iter().map(block).collect::<Result<_, _>>()?))
        }
        ["raw", hex] => {
            let hex = hex.strip_prefix("0x").context("raw 0x..")?;
            let byte = |at| u8::from_str_radix(hex.get(at..at + 2).unwrap_or("?"), 16);
            OptionPattern::Exactly(TcpOption::Raw((0..hex.len()).step_by(2).map(byte).collect::<Result<_, _>>()?))
        }
        _ => bail!("{text:?} is no option"),
    })
}

/// `100`, `*`, `last`, `last-1`, `@name`, `@name+10`.
fn number(text: &str) -> anyhow::Result<Number> {
    if text == "*" {
        return Ok(Number::Any);
    }
    if let Ok(value) = text.parse() {
        return Ok(Number::Value(value));
    }
    let at = text.find(['+', '-']).unwrap_or(text.len());
    let (name, offset) = text.split_at(at);
    let offset = if offset.is_empty() { 0 } else { offset.parse()? };
    match name.strip_prefix('@') {
        Some(name) => Ok(Number::Named(name.into(), offset)),
        None if name == "last" => Ok(Number::Last(offset)),
        None => bail!("{text:?} is no timestamp"),
    }
}

/// `icmp toobig 1200 quoting 1:1461(1460)`
fn icmp(text: &str, attributes: &[Attribute]) -> anyhow::Result<Icmp> {
    let words: Vec<_> = text.split_whitespace().collect();
    let (kind, quoted) = match words[..] {
        ["icmp", "toobig", mtu, "quoting", quoted] => (IcmpKind::TooBig(mtu.parse()?), quoted),
        ["icmp", kind, "quoting", quoted] => {
            let kind = match kind {
                "net" => IcmpKind::Net,
                "host" => IcmpKind::Host,
                "protocol" => IcmpKind::Protocol,
                "port" => IcmpKind::Port,
                "admin" => IcmpKind::Admin,
                "ttl" => IcmpKind::TimeExceeded,
                _ => bail!("{kind:?} is no ICMP error"),
            };
            (kind, quoted)
        }
        _ => bail!("icmp KIND quoting FROM:TO(LENGTH)"),
    };
    let (seq, len) = range(quoted)?;
    Ok(Icmp { kind, seq, len, bad_checksum: attributes.contains(&Attribute::BadChecksum) })
}

fn app(text: &str) -> anyhow::Result<App> {
    let (text, quoted) = match text.split_once('"') {
        Some((before, rest)) => (before, Some(rest.trim_end().strip_suffix('"').context("a quote")?.to_owned())),
        None => (text, None),
    };
    let words: Vec<_> = text.split_whitespace().collect();
    Ok(match words[..] {
        ["listen"] => App::Listen { backlog: 128 },
        ["listen", "backlog", n] => App::Listen { backlog: n.parse()? },
        ["connect"] => App::Connect,
        ["write", n] => App::Write(n.parse()?),
        ["close"] => App::Close,
        ["release"] => App::Release,
        ["abort"] => App::Abort,
        ["pauses"] => App::Pauses,
        ["resumes"] => App::Resumes,
        ["set", "nodelay"] => App::Set(AppOption::Nodelay(true)),
        ["set", "nagle"] => App::Set(AppOption::Nodelay(false)),
        ["set", "cork"] => App::Set(AppOption::Cork(true)),
        ["set", "uncork"] => App::Set(AppOption::Cork(false)),
        ["set", "keepalive", idle, interval, probes] => App::Set(AppOption::Keepalive {
            idle_s: idle.parse()?,
            interval_s: interval.parse()?,
            probes: probes.parse()?,
        }),
        ["set", "user_timeout", s] => App::Set(AppOption::UserTimeout { ms: u32::try_from(seconds(s)?.as_millis())? }),
        ["set", "hop_limit", n] => App::Set(AppOption::HopLimit(n.parse()?)),
        ["set", "linger", s] => App::Set(AppOption::Linger { s: s.parse()? }),
        ["connected"] => App::Sees(Sight::Connected),
        ["accepted"] => App::Sees(Sight::Accepted),
        ["not", "open"] => App::Sees(Sight::NotOpen),
        ["read", n] => App::Sees(Sight::Read { len: n.parse()?, text: quoted }),
        ["receives", n] => App::Sees(Sight::Receives(n.parse()?)),
        ["eof"] => App::Sees(Sight::Eof),
        ["closed", reason] => App::Sees(Sight::Ended(End::parse(reason).context("no reason of that name")?)),
        ["state", name] => App::Sees(Sight::State(name.into())),
        _ => bail!("{text:?} is nothing an application does"),
    })
}
