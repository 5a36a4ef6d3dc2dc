//! Parts of an exchange alone, over the same bytes, with everything in cache: what they cost at least.

use super::http::{self, REQUEST};
use std::{hint::black_box, net::IpAddr, time::Instant as StdInstant};
use weirgate_bench::{Figure, median};
use weirgate_dataplane::{
    http::{
        Side, Spans, Version,
        admit::admit,
        forward::{self, Client},
        h1::{
            Asked, Body, Limits, Receiver, Step,
            write::{Head, Sink, WriteError},
        },
        head::Scheme,
        normalize::Normalizer,
    },
    route::{self, Table},
    snapshot::HttpOptions,
    time::{Duration, Instant},
    upstream::{
        balance::{Endpoint, EndpointSet, Policy, PolicyKind},
        pool::{Lease, Pool, PoolOptions, Reuse},
    },
};

/// Nanoseconds of one exchange.
pub(super) struct Layers {
    request_head: f64,
    response_head: f64,
    route: f64,
    balance: f64,
    write_heads: f64,
}

impl Layers {
    pub(super) fn measure(rounds: usize) -> Self {
        let mut parts = Parts::new();
        Self {
            request_head: ns(rounds, || parts.read_request()),
            response_head: ns(rounds, || parts.read_response()),
            route: {
                parts.read_request();
                ns(rounds, || parts.find_route())
            },
            balance: balance(rounds),
            write_heads: parts.write(rounds),
        }
    }

    pub(super) fn sum(&self) -> f64 {
        self.named().iter().map(|(_, ns)| ns).sum()
    }
    pub(super) fn figures(&self) -> impl Iterator<Item = Figure> {
        self.named().into_iter().map(|(name, ns)| Figure::shown(&format!("exchange.layer_ns.{name}"), ns, "ns"))
    }
    fn named(&self) -> [(&'static str, f64); 5] {
        let Self { request_head, response_head, route, balance, write_heads } = *self;
        [
            ("request_head", request_head),
            ("route", route),
            ("balance_and_pool", balance),
            ("response_head", response_head),
            ("write_heads", write_heads),
        ]
    }
}

/// The median of `rounds` of some milliseconds each.
#[allow(clippy::disallowed_methods)] // a benchmark's edge
fn ns(rounds: usize, mut work: impl FnMut()) -> f64 {
    const TIMES: u32 = 50_000;
    let mut round = || {
        let from = StdInstant::now();
        (0..TIMES).for_each(|_| work());
        from.elapsed().as_nanos() as f64 / f64::from(TIMES)
    };
    round();
    median((0..rounds).map(|_| round()).collect()).expect("at least one round")
}

struct Parts {
    server: Receiver,
    client: Receiver,
    spans: Spans,
    normalizer: Normalizer,
    table: Table,
    options: HttpOptions,
    who: Client,
    answer: Vec<u8>,
}

impl Parts {
    fn new() -> Self {
        let options = HttpOptions::default();
        Self {
            server: Receiver::new(Side::Server, options.limits()),
            client: Receiver::new(Side::Client, Limits::default()),
            spans: Spans::new(),
            normalizer: Normalizer::new(),
            table: route::compile(http::rules(), &|_| Some(route::BackendIndex(0))).expect("sound rules"),
            options,
            who: Client::new(IpAddr::from([10, 80, 0, 1]), Scheme::Http, false),
            answer: http::answer(),
        }
    }

    /// Head and end.
    fn read_request(&mut self) {
        let head = self.server.step(black_box(REQUEST), &mut self.spans);
        assert!(matches!(head, Ok(Step::Head { len: 100, .. })));
        assert!(matches!(self.server.step(&[], &mut self.spans), Ok(Step::End { .. })));
    }

    /// Head, content and end.
    fn read_response(&mut self) {
        self.client.expect(Asked::Content);
        let mut rest = black_box(&self.answer[..]);
        loop {
            let step = self.client.step(rest, &mut self.spans).expect("a sound answer");
            rest = &rest[step.used()..];
            if matches!(step, Step::End { .. }) {
                return;
            }
        }
    }

    /// Believe, normalise, look for a circle, route.
    fn find_route(&mut self) {
        let options = self.options.normalize();
        let admitted = admit(REQUEST, &mut self.spans, &self.who, options, &mut self.normalizer);
        let path = admitted.expect("a sound request").path;
        let request = self.spans.request(REQUEST);
        assert!(!forward::is_loop(request.fields, adds(&self.options)));
        let asked = route::asked(request, path.bytes);
        let found = self.table.find(&asked).expect("a rule");
        black_box(self.table.backend(found.rule, 1 << 40));
    }

    /// Both heads as they go on, and the content behind the second, into memory.
    fn write(&mut self, rounds: usize) -> f64 {
        let mut sink = Bytes(Vec::with_capacity(1_024));
        self.read_request();
        let spans = &self.spans;
        let request = ns(rounds, || {
            sink.0.clear();
            let request = spans.request(black_box(REQUEST));
            let target: &[&[u8]] = &[request.path()];
            let mut head = Head::request(&mut sink, request.method(), target, request.host(), request.port())
                .expect("a sound head");
            head.pass(request.fields).expect("room");
            forward::request(&mut head, request, &self.who, adds(&self.options)).expect("room");
            let _ = black_box(head.end(Body::None, true)).expect("room");
        });
        self.read_response_head();
        let (spans, at) = (&self.spans, self.answer.len());
        let response = ns(rounds, || {
            sink.0.clear();
            let response = spans.response(black_box(&self.answer));
            let mut head = Head::response(&mut sink, response.status(), Version::Http11).expect("a sound head");
            head.pass(response.fields).expect("room");
            forward::response(&mut head, response.version(), adds(&self.options)).expect("room");
            let _ = black_box(head.end(Body::Length(100), true)).expect("room");
            sink.put(&self.answer[at - 100..]).expect("room");
        });
        request + response
    }

    fn read_response_head(&mut self) {
        self.client = Receiver::new(Side::Client, Limits::default());
        self.client.expect(Asked::Content);
        let head = self.client.step(&self.answer, &mut self.spans);
        assert!(matches!(head, Ok(Step::Head { .. })));
    }
}

fn adds(options: &HttpOptions) -> forward::Options<'_> {
    forward::Options { via: options.name.as_bytes(), x_forwarded: options.x_forwarded, forwarded: options.forwarded }
}

struct Bytes(Vec<u8>);

impl Sink for Bytes {
    fn put(&mut self, bytes: &[u8]) -> Result<(), WriteError> {
        self.0.extend_from_slice(bytes);
        Ok(())
    }
}

/// An endpoint is chosen, a connection leased and given back.
fn balance(rounds: usize) -> f64 {
    const ENDPOINTS: usize = 4;
    let endpoints: Vec<Endpoint> = (0..ENDPOINTS as u64).map(|key| Endpoint { key, weight: 1 }).collect();
    let mut set = EndpointSet::new(0, &endpoints, 50);
    let mut policy = Policy::new(PolicyKind::RoundRobin).expect("a sound policy");
    let mut pool = Pool::new();
    let places: Vec<_> = endpoints.iter().map(|_| pool.add(PoolOptions::default())).collect();
    let mut random = fastrand::Rng::with_seed(1);
    let mut now = Instant::from_ns(1);
    ns(rounds, || {
        now = now + Duration::from_ns(1_000);
        let at = policy.choose(&set, None, random.u64(..)).expect("an endpoint");
        set.begin(at);
        let (Lease::New(id) | Lease::Reused(id)) = pool.lease(now, places[at], random.u8(..)) else {
            unreachable!("one connection each")
        };
        set.end(at);
        black_box(pool.give_back(now, id, Reuse::Yes));
    })
}
