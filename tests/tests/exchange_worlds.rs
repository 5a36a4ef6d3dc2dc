//! Many clients, endpoints that fail in every way, and a wire that loses: whatever happens, each request is answered once or its connection
//! ends, each answer is that of its request, and nothing is left behind. In some of them clients or endpoints speak TLS. One seed is one run.

#[path = "../../dataplane/src/tls/seeded.rs"]
#[allow(dead_code, unreachable_pub)]
mod seeded;
#[path = "worlds/tls.rs"]
mod tls;

use fastrand::Rng;
use std::{
    collections::{BTreeMap, VecDeque},
    sync::Arc,
};
use tls::Tls;
use weirgate_dataplane::{
    counters::Counter,
    exchange::{Ended, Home},
    route::{Rule, RuleTimeouts},
    snapshot::{Backend, Endpoint, Snapshot},
    time::{Duration, Instant},
    upstream::balance::PolicyKind,
};
use weirgate_tests::exchange::{Conn, Faults, Legs, endpoint, gateway, to_backend};

/// A message and its bytes in all, by the simplest possible reading; `None`: it is not whole. `closed`: nothing more will come.
fn message(bytes: &[u8], has_body: bool, closed: bool) -> Option<(String, Vec<u8>, usize)> {
    let end = bytes.windows(4).position(|four| four == b"\r\n\r\n")? + 4;
    let head = String::from_utf8_lossy(&bytes[..end]).to_lowercase();
    let is_response = head.starts_with("http/");
    let rest = &bytes[end..];
    let length = head.split("\r\n").find_map(|line| line.strip_prefix("content-length: ")).map(|n| n.parse().unwrap());
    if !has_body || head.starts_with("http/1.1 204") || head.starts_with("http/1.1 1") {
        return Some((head, Vec::new(), end));
    }
    if let Some(length) = length {
        return (rest.len() >= length).then(|| (head, rest[..length].to_vec(), end + length));
    }
    if !head.contains("transfer-encoding: chunked") {
        return (!is_response || closed).then(|| {
            (head, if is_response { rest.to_vec() } else { Vec::new() }, end + if is_response { rest.len() } else { 0 })
        });
    }
    let (mut body, mut at) = (Vec::new(), 0);
    loop {
        let line = rest[at..].windows(2).position(|two| two == b"\r\n")?;
        let size = usize::from_str_radix(std::str::from_utf8(&rest[at..at + line]).unwrap(), 16).unwrap();
        at += line + 2;
        let chunk = rest.get(at..at + size + 2)?;
        at += size + 2;
        if size == 0 {
            return Some((head, body, end + at));
        }
        body.extend_from_slice(&chunk[..size]);
    }
}

/// Content that belongs to one request and no other.
fn content(name: &str, len: usize) -> Vec<u8> {
    let mut random =
        Rng::with_seed(name.bytes().fold(len as u64, |sum, b| sum.wrapping_mul(31).wrapping_add(u64::from(b))));
    (0..len).map(|_| random.u8(..)).collect()
}

#[derive(Clone, Debug)]
struct Asked {
    name: String,
    is_head: bool,
    /// What it should be answered with, if all goes well.
    answer: usize,
}

struct Client {
    conn: Conn,
    asked: VecDeque<Asked>,
    read: usize,
    left: u32,
}

/// How an endpoint treats a request: its own words in the path.
const MOODS: [&str; 10] =
    ["length", "length", "length", "chunked", "chunked", "close", "reset", "short", "garbage", "stall"];

struct Run {
    legs: Legs,
    tls: Tls,
    /// What is served.
    snapshot: Snapshot,
    /// How often another one is served, in hundredths of the rounds.
    changes: u8,
    /// Nothing goes wrong but that: then nothing at all may.
    is_calm: bool,
    random: Rng,
    clients: Vec<Client>,
    /// By connection of an endpoint: bytes read, and whether it is spoilt.
    served: BTreeMap<Conn, (usize, bool)>,
    answered: u32,
    cut: u32,
}

fn plan(random: &mut Rng) -> Snapshot {
    let count = random.u8(1..=3);
    let addresses: Vec<_> = (0..count).map(endpoint).collect();
    let mut backend = Backend::new("b", &addresses);
    backend.load_balancing = match random.u8(0..4) {
        0 => PolicyKind::RoundRobin,
        1 => PolicyKind::LeastRequest { choices: 2 },
        2 => PolicyKind::Random,
        _ => PolicyKind::Maglev { places: 65_537 },
    };
    backend.pool.connections_max = random.u32(1..=8);
    backend.pool.requests_max = random.bool().then(|| random.u32(1..=4));
    backend.pool.idle_ms = random.u64(1..=2_000);
    let timeouts = RuleTimeouts { request_ms: Some(random.u64(400..=3_000)), backend_request_ms: Some(1_000) };
    gateway(vec![Rule { timeouts, ..to_backend() }], backend)
}

impl Run {
    fn new(seed: u64, is_calm: bool) -> Self {
        let mut random = Rng::with_seed(seed);
        let mut snapshot = plan(&mut random);
        if is_calm {
            // Somebody has to wait for nothing but an answer.
            snapshot.backends[0].pool.connections_max = 1_000;
            let rule = &mut Arc::make_mut(&mut snapshot.http[0].rules.routes[0]).rules[0];
            rule.timeouts = RuleTimeouts::default();
        }
        let changes = if is_calm { 60 } else { [0, 0, 5, 50][random.usize(0..4)] };
        let (clients, endpoints) = [(false, false), (true, false), (false, true), (true, true)][random.usize(0..4)];
        let mut tls = Tls::new(seed, clients, endpoints);
        tls.apply(&mut snapshot);
        let mut legs = Legs::planned(&snapshot, seed, Home::default(), tls::planner(seed));
        if !is_calm && random.bool() {
            legs.faults = Faults { lost: random.u16(0..30), doubled: random.u16(0..20), late: random.u16(0..60) };
        }
        let clients = (0..random.usize(1..=6)).map(|_| Client {
            conn: legs.client(80),
            asked: VecDeque::new(),
            read: 0,
            left: random.u32(1..=8),
        });
        let clients: Vec<_> = clients.collect();
        clients.iter().for_each(|client| tls.begin(client.conn));
        let served = BTreeMap::new();
        Self { legs, tls, snapshot, changes, is_calm, random, clients, served, answered: 0, cut: 0 }
    }

    /// Everybody does what there is to do. `false`: nobody has anything.
    fn round(&mut self) -> bool {
        if self.random.u8(0..100) < self.changes {
            self.change();
        }
        for n in 0..self.clients.len() {
            self.ask(n);
        }
        let patience = self.random.u64(1..=40);
        self.settles(Duration::from_ms(patience));
        let conns: Vec<_> = self.legs.ends().accepted(0).collect();
        conns.into_iter().for_each(|conn| self.serve(conn));
        self.settles(Duration::from_ms(1));
        for n in 0..self.clients.len() {
            self.hear(n);
        }
        self.clients.iter().any(|client| client.left > 0 || !client.asked.is_empty())
    }

    /// Time goes by, and what TLS has to say to that is said.
    fn settles(&mut self, patience: Duration) {
        self.legs.settles(patience);
        while self.tls.pump(&mut self.legs) {
            self.legs.settles(Duration::from_ms(1));
        }
    }

    /// Another snapshot, or other news.
    fn change(&mut self) {
        let random = &mut self.random;
        let snapshot = &mut self.snapshot;
        snapshot.revision += 1;
        if (self.tls.clients || self.tls.endpoints) && random.u8(0..3) == 0 {
            self.tls.change(snapshot, random);
            return self.legs.serves(snapshot).expect("a sound snapshot");
        }
        let backend = &mut snapshot.backends[0];
        match random.u8(0..8) {
            0..3 => {
                let weight = random.u32(1..4);
                let mut endpoints: Vec<_> = (0..3).map(|n| Endpoint { address: endpoint(n), weight }).collect();
                random.shuffle(&mut endpoints);
                endpoints.truncate(random.usize(1..=3));
                backend.endpoints = endpoints;
            }
            3 => backend.load_balancing = PolicyKind::LeastRequest { choices: random.u8(2..4) },
            4 => backend.pool.idle_ms = random.u64(1..=2_000),
            5 => snapshot.http[0].options.forwarded ^= true,
            6 => {
                let route = Arc::make_mut(&mut snapshot.http[0].rules.routes[0]);
                route.rules[0].name = Some(format!("r{}", snapshot.revision));
            }
            _ => {
                let found = (endpoint(random.u8(0..3)), random.bool());
                return self.legs.finds("b", found.0, found.1);
            }
        }
        self.legs.serves(&self.snapshot).expect("a sound snapshot");
    }

    /// A request or several.
    fn ask(&mut self, n: usize) {
        let random = &mut self.random;
        let client = &mut self.clients[n];
        if self.tls.clients && client.left > 0 && client.asked.is_empty() && random.u8(0..3) == 0 {
            // Another handshake, perhaps a resumed one.
            self.tls.closes(&mut self.legs, client.conn);
            (client.conn, client.read) = (self.legs.client(80), 0);
            self.tls.begin(client.conn);
        }
        while client.left > 0 && (client.asked.is_empty() || random.u8(0..4) == 0) {
            client.left -= 1;
            let name = format!("c{n}-{}", client.left);
            let mood = MOODS[random.usize(0..if self.is_calm { 5 } else { MOODS.len() })];
            let len = [0, 1, 200, 600, 3_000, 40_000][random.usize(0..6)];
            let answer = [0, 1, 300, 511, 1_500, 60_000][random.usize(0..6)];
            let body = content(&name, len);
            let (method, framing, is_head) = match random.u8(0..4) {
                0 => ("GET", String::new(), false),
                1 => ("HEAD", String::new(), true),
                2 => ("PUT", format!("content-length: {len}\r\n"), false),
                _ => ("POST", "transfer-encoding: chunked\r\n".to_owned(), false),
            };
            let mut bytes =
                format!("{method} /{name}/{mood}/{len}/{answer} HTTP/1.1\r\nhost: a\r\n{framing}\r\n").into_bytes();
            match method {
                "PUT" => bytes.extend(&body),
                "POST" => {
                    for chunk in body.chunks(random.usize(1..=5_000).max(len / 20)) {
                        bytes.extend(
                            format!("{:x}\r\n", chunk.len()).bytes().chain(chunk.iter().copied()).chain(*b"\r\n"),
                        );
                    }
                    bytes.extend(b"0\r\n\r\n");
                }
                _ => {}
            }
            self.tls.says(&mut self.legs, client.conn, &bytes);
            client.asked.push_back(Asked { name, is_head, answer });
        }
        if !self.is_calm && random.u8(0..100) == 0 {
            if random.bool() || !self.tls.spoils(&mut self.legs, client.conn, random) {
                self.legs.resets(client.conn);
            }
            self.cut += client.asked.len() as u32;
            client.asked.clear();
            client.left = 0;
        }
    }

    /// What an endpoint makes of what it has heard.
    fn serve(&mut self, conn: Conn) {
        let (mut read, mut spoilt) = self.served.get(&conn).copied().unwrap_or_default();
        while !spoilt {
            let heard = self.tls.heard(&mut self.legs, conn)[read..].to_vec();
            let Some((head, body, used)) = message(&heard, true, false) else { break };
            read += used;
            let path: Vec<_> = head.split(' ').nth(1).expect("a target").split('/').collect();
            let (name, mood, len, answer) =
                (path[1], path[2], path[3].parse::<usize>().unwrap(), path[4].parse().unwrap());
            let has_content = head.contains("content-length") || head.contains("transfer-encoding");
            assert_eq!(
                body,
                content(name, if has_content { len } else { 0 }),
                "{name}: the content arrived as it was sent"
            );
            spoilt = self.respond(conn, name, mood, head.starts_with("head "), answer);
        }
        self.served.insert(conn, (read, spoilt));
    }

    /// Says whether the connection is over with it.
    fn respond(&mut self, conn: Conn, name: &str, mood: &str, is_head: bool, answer: usize) -> bool {
        let body = content(name, answer);
        let tag = format!("x-name: {name}\r\n");
        let whole = |bytes: &mut Vec<u8>| {
            if !is_head {
                bytes.extend(&body);
            }
        };
        let mut bytes = format!("HTTP/1.1 200 OK\r\n{tag}").into_bytes();
        match mood {
            "length" | "short" => {
                bytes.extend(format!("content-length: {answer}\r\n\r\n").bytes());
                whole(&mut bytes);
                if mood == "short" {
                    bytes.truncate(bytes.len() - 1);
                }
            }
            "chunked" => {
                bytes.extend(b"transfer-encoding: chunked\r\n\r\n");
                if !is_head {
                    if answer > 0 {
                        bytes.extend(format!("{answer:x}\r\n").bytes().chain(body.iter().copied()).chain(*b"\r\n"));
                    }
                    bytes.extend(b"0\r\n\r\n");
                }
            }
            "close" => {
                bytes.extend(b"\r\n");
                whole(&mut bytes);
            }
            "garbage" => bytes = b"HTTP/1.1 200 OK\r\ncontent-length: +1\r\n\r\nx".to_vec(),
            _ => bytes.clear(),
        }
        self.tls.says(&mut self.legs, conn, &bytes);
        match mood {
            // Without a word of TLS's that would be cut off.
            "close" | "short" => self.tls.closes(&mut self.legs, conn),
            "reset" => self.legs.resets(conn),
            _ => {}
        }
        !matches!(mood, "length" | "chunked")
    }

    /// A client's answers, in the order of its requests.
    fn hear(&mut self, n: usize) {
        let client = &mut self.clients[n];
        let known = self.legs.ends().known(client.conn);
        let over = known.ended.is_some() || known.peer_closed;
        let heard = self.tls.heard(&mut self.legs, client.conn);
        while let Some(asked) = client.asked.front().cloned() {
            let Some((head, body, used)) = message(&heard[client.read..], !asked.is_head, over) else { break };
            client.read += used;
            client.asked.pop_front();
            self.answered += 1;
            if head.starts_with("http/1.1 200") {
                let Asked { name, is_head, answer } = &asked;
                assert!(head.contains(&format!("x-name: {name}\r\n")), "{name} got another's answer: {head}");
                assert_eq!(body, if *is_head { Vec::new() } else { content(name, *answer) }, "{name}");
            } else {
                let status = head.split(' ').nth(1).expect("a status");
                assert!(!self.is_calm, "{}: {head}", asked.name);
                assert!(["408", "502", "503", "504"].contains(&status), "{}: {head}", asked.name);
            }
        }
        if over {
            // What is left of it was cut short, and that can be seen.
            self.cut += client.asked.len() as u32;
            client.asked.clear();
            client.left = 0;
        }
    }

    /// Gives what must be the same whenever the seed is.
    fn finish(mut self) -> Story {
        let mut records = 0;
        while let Some(record) = self.legs.record() {
            records += 1;
            assert!(record.ended != Ended::Complete || record.status > 0, "{record:?}");
        }
        let requests = self.legs.gateway().counters().counter(Counter::HttpRequests);
        let under_way = self.legs.exchanges() as u64;
        assert!(!self.is_calm || self.cut == 0, "nobody was cut off");
        assert_eq!(records + under_way, requests, "each request has one record");
        let kept = (1, 1, self.snapshot.backends[0].endpoints.len());
        let until = self.legs.now() + Duration::from_secs(400);
        while self.legs.kept() != kept && self.legs.now() < until {
            self.legs.settles(Duration::from_secs(10));
        }
        assert_eq!(self.legs.kept(), kept, "nothing is kept of earlier snapshots");
        let counters = self.legs.gateway().counters();
        let counters = Counter::ALL.iter().map(|counter| counters.counter(*counter)).collect();
        let story = Story { now: self.legs.now(), counters, has_tls: self.tls.clients || self.tls.endpoints };
        let shaken = story.counters[Counter::TlsHandshakes as usize];
        assert!(!self.is_calm || !self.tls.clients || shaken >= self.clients.len() as u64, "all clients speak TLS");
        self.legs.ends_clean();
        story
    }
}

/// How a world went.
#[derive(PartialEq, Eq, Debug)]
struct Story {
    now: Instant,
    counters: Vec<u64>,
    has_tls: bool,
}

fn run(seed: u64, is_calm: bool) -> Story {
    let mut run = Run::new(seed, is_calm);
    for _ in 0..4_000 {
        if !run.round() {
            return run.finish();
        }
    }
    panic!("requests without an answer: {:?}", run.clients.iter().map(|c| &c.asked).collect::<Vec<_>>());
}

#[test]
fn a_world_repeats_exactly_with_tls_too() {
    let stories: Vec<_> = (0..24).map(|seed| run(seed, false)).collect();
    assert!(stories.iter().filter(|story| story.has_tls).count() > 12);
    let sum = |counter| stories.iter().map(|story| story.counters[counter as usize]).sum::<u64>();
    assert!(sum(Counter::TlsHandshakes) > 100 && sum(Counter::TlsResumed) > 10);
    for (seed, story) in stories.into_iter().enumerate() {
        assert_eq!(story, run(seed as u64, false), "seed {seed}");
    }
}

#[test]
fn whatever_happens_each_request_ends_once() {
    runs(2_000, false);
}

#[test]
fn whatever_is_reconfigured_no_request_fails() {
    runs(500, true);
}

fn runs(count: u64, is_calm: bool) {
    // One seed: WEIRGATE_SEED=n. More of them: WEIRGATE_SEEDS=n.
    let said = |name: &str| std::env::var(name).ok().and_then(|text| text.parse::<u64>().ok());
    let seeds = said("WEIRGATE_SEED").map_or(0..said("WEIRGATE_SEEDS").unwrap_or(count), |seed| seed..seed + 1);
    let middle = seeds.start + (seeds.end - seeds.start) / 2;
    let guarded = |seed| {
        if std::panic::catch_unwind(|| run(seed, is_calm)).is_err() {
            panic!("seed {seed}: run it alone with WEIRGATE_SEED={seed}");
        }
    };
    std::thread::scope(|scope| {
        let first = scope.spawn(move || (seeds.start..middle).for_each(guarded));
        (middle..seeds.end).for_each(guarded);
        first.join().expect("the first half passes too");
    });
}
