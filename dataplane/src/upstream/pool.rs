//! Connections to upstreams that are kept open for the next request: one worker's, by endpoint.
//!
//! ```text
//!                      lease                                give_back(Reuse::Yes)
//!     nobody  ------------------->  Leased  --------------------------------------->  Idle
//!        ^     New: not yet open      |  ^                                              |
//!        |                            |  +---------------------- lease: the one that ---+
//!        |                            |                          was used last          |
//!        |<-- ended ------------------+<-- give_back: Verdict::Close                    |
//!        |<-- ended <-- poll_expired: too long idle, too old, its endpoint is gone -----+
//! ```
//! Last in, first out: few connections stay warm, in caches and in the peer's congestion window, and the others come to their idle timeout.
//!
//! **What is never reused**: a connection whose answer was not read to its end, whose request was not sent to its end, or that says something
//! when nothing was asked (RFC 9112 section 9.3: its next bytes would be taken for the answer of somebody else's request). The caller says so
//! with [`Reuse::No`], and nothing here can make it idle again.
//!
//! Members are names with a generation, as connections are: the pool knows nothing of TCP. Nothing here allocates once the tables have grown to
//! what was ever open at once.

use crate::time::{Duration, Instant};
use std::cmp::Reverse;
use std::collections::{BinaryHeap, VecDeque};

/// What a backend allows its connections.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct PoolOptions {
    /// Connections of one worker to one endpoint, leased and idle.
    pub connections_max: u32,
    /// An idle one is closed after this time. Shorter than the endpoint's own, or requests meet its FIN.
    pub idle_timeout: Duration,
    /// None is used beyond this age, so that a new address or a new backend is found; `None`: any age.
    pub age_max: Option<Duration>,
    /// Nor for more requests; `None`: any number.
    pub requests_max: Option<u32>,
}

impl Default for PoolOptions {
    /// As HAProxy and Envoy have them, more or less.
    fn default() -> Self {
        Self { connections_max: 1_024, idle_timeout: Duration::from_secs(60), age_max: None, requests_max: None }
    }
}

/// An endpoint's place.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct EndpointIndex(pub u32);

/// A connection's name in the pool, until it has [`ended`](Pool::ended).
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct MemberId {
    index: u32,
    generation: u32,
}

impl MemberId {
    /// Its place: small numbers, used again after its end.
    pub fn index(self) -> usize {
        self.index as usize
    }
}

/// What a request gets.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Lease {
    /// An idle connection. Its peer may have closed it meanwhile; then the request may go again if it may be repeated.
    Reused(MemberId),
    /// The name of a connection that the caller opens.
    New(MemberId),
    /// There are as many as may be, and all are leased.
    Full,
}

/// Whether the caller is done with a connection in a way that lets another request follow.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Reuse {
    /// The request was sent whole, the answer was read whole, both sides want to go on, and nothing came after it.
    Yes,
    /// Anything else.
    No,
}

/// What the caller does with a connection that it has given back.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Verdict {
    /// Leave it open.
    Keep,
    /// Close it, and say [`Pool::ended`].
    Close,
}

/// All connections of a worker to all endpoints.
#[derive(Default)]
pub struct Pool {
    endpoints: Vec<Endpoint>,
    /// Places of endpoints that were removed.
    vacant: Vec<u32>,
    members: Vec<Member>,
    free: Vec<u32>,
    /// When an endpoint's oldest idle connection is due, at the earliest: an endpoint stands here once while it has idle ones.
    due: BinaryHeap<Reverse<(Instant, u32)>>,
    /// To be closed, found out in passing.
    expired: VecDeque<MemberId>,
}

struct Endpoint {
    options: PoolOptions,
    /// The longest idle in front.
    idle: VecDeque<u32>,
    /// Leased, idle, and given up but not ended.
    open: u32,
    retired: bool,
    is_due: bool,
}

struct Member {
    generation: u32,
    state: State,
    endpoint: u32,
    /// Of no use from then on.
    old_at: Instant,
    idle_since: Instant,
    requests: u32,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum State {
    Free,
    Leased,
    Idle,
    /// The caller was told to close it.
    Closing,
}

impl Pool {
    /// Without endpoints.
    pub fn new() -> Self {
        Self::default()
    }

    /// One endpoint more.
    pub fn add(&mut self, options: PoolOptions) -> EndpointIndex {
        let endpoint = Endpoint { options, idle: VecDeque::new(), open: 0, retired: false, is_due: false };
        if let Some(index) = self.vacant.pop() {
            // An entry of its predecessor may still be in the heap; it is harmless, and says when to look again.
            let is_due = self.endpoints[index as usize].is_due;
            self.endpoints[index as usize] = Endpoint { is_due, ..endpoint };
            return EndpointIndex(index);
        }
        self.endpoints.push(endpoint);
        EndpointIndex(self.endpoints.len() as u32 - 1)
    }

    /// What it allows from now on.
    pub fn set_options(&mut self, endpoint: EndpointIndex, options: PoolOptions) {
        self.endpoints[endpoint.0 as usize].options = options;
        self.arm(endpoint.0);
    }

    /// Its place may be another's.
    ///
    /// # Panics
    /// When it was not retired, or has connections.
    pub fn remove(&mut self, endpoint: EndpointIndex) {
        let at = &self.endpoints[endpoint.0 as usize];
        assert!(at.retired && at.open == 0, "only what nobody uses is removed");
        self.vacant.push(endpoint.0);
    }

    /// The endpoint is gone: its idle connections expire at once, those that are leased when they are given back. Whoever still has business there
    /// gets a connection of its own.
    pub fn retire(&mut self, endpoint: EndpointIndex) {
        let at = &mut self.endpoints[endpoint.0 as usize];
        at.retired = true;
        while let Some(index) = at.idle.pop_front() {
            let member = &mut self.members[index as usize];
            member.state = State::Closing;
            self.expired.push_back(MemberId { index, generation: member.generation });
        }
    }

    /// A connection for one request. `jitter` in 256ths shortens its greatest age by up to a tenth, so that those that were opened together
    /// do not end together.
    pub fn lease(&mut self, now: Instant, endpoint: EndpointIndex, jitter: u8) -> Lease {
        while let Some(index) = self.endpoints[endpoint.0 as usize].idle.pop_back() {
            let member = &mut self.members[index as usize];
            let id = MemberId { index, generation: member.generation };
            let idle_timeout = self.endpoints[endpoint.0 as usize].options.idle_timeout;
            if now >= member.old_at || now.since(member.idle_since) >= idle_timeout {
                member.state = State::Closing;
                self.expired.push_back(id);
                continue;
            }
            member.state = State::Leased;
            member.requests += 1;
            return Lease::Reused(id);
        }
        self.lease_new(now, endpoint, jitter)
    }

    /// The same, but never an idle one: for a request whose idle connection has turned out to be closed, as the others may be.
    pub fn lease_new(&mut self, now: Instant, endpoint: EndpointIndex, jitter: u8) -> Lease {
        let at = &mut self.endpoints[endpoint.0 as usize];
        if at.open >= at.options.connections_max {
            return Lease::Full;
        }
        at.open += 1;
        let old_at = at.options.age_max.map_or(Instant::NEVER, |age| {
            let shorter = age.as_ns() / 10 * u64::from(jitter) / 256;
            now + Duration::from_ns(age.as_ns() - shorter)
        });
        Lease::New(self.insert(endpoint.0, old_at, now))
    }

    fn insert(&mut self, endpoint: u32, old_at: Instant, now: Instant) -> MemberId {
        let member = Member { generation: 0, state: State::Leased, endpoint, old_at, idle_since: now, requests: 1 };
        match self.free.pop() {
            Some(index) => {
                let place = &mut self.members[index as usize];
                let generation = place.generation;
                *place = Member { generation, ..member };
                MemberId { index, generation }
            }
            None => {
                self.members.push(member);
                MemberId { index: self.members.len() as u32 - 1, generation: 0 }
            }
        }
    }

    /// The request and its answer are over.
    ///
    /// # Panics
    /// When the connection was not leased: that is the caller's error.
    pub fn give_back(&mut self, now: Instant, id: MemberId, reuse: Reuse) -> Verdict {
        let member = self.member(id).expect("a connection that was leased has a name");
        assert_eq!(member.state, State::Leased, "only what was leased is given back");
        let endpoint = member.endpoint;
        let worn = |m: &Member, options: &PoolOptions| {
            now >= m.old_at || options.requests_max.is_some_and(|max| m.requests >= max)
        };
        let at = &mut self.endpoints[endpoint as usize];
        let member = &mut self.members[id.index()];
        if reuse == Reuse::No || at.retired || worn(member, &at.options) {
            member.state = State::Closing;
            return Verdict::Close;
        }
        (member.state, member.idle_since) = (State::Idle, now);
        at.idle.push_back(id.index);
        self.arm(endpoint);
        Verdict::Keep
    }

    /// A connection is over, whoever ended it. Says whether it was idle: nobody waits for anything on it.
    pub fn ended(&mut self, id: MemberId) -> bool {
        let Some(member) = self.member(id) else { return false };
        let (state, endpoint) = (member.state, member.endpoint);
        let at = &mut self.endpoints[endpoint as usize];
        at.open -= 1;
        if state == State::Idle {
            // The end of the list is where most things happen.
            let place = at.idle.iter().rposition(|&index| index == id.index).expect("an idle one is in the list");
            at.idle.remove(place);
        }
        let member = &mut self.members[id.index()];
        member.state = State::Free;
        member.generation = member.generation.wrapping_add(1);
        self.free.push(id.index);
        state == State::Idle
    }

    /// When [`Self::poll_expired`] has something to say, or looks again.
    pub fn next_deadline(&self) -> Instant {
        if !self.expired.is_empty() {
            return Instant::ZERO;
        }
        self.due.peek().map_or(Instant::NEVER, |Reverse((at, _))| *at)
    }

    /// The next connection that has been idle, or has lived, for too long: the caller closes it, and says [`Self::ended`].
    pub fn poll_expired(&mut self, now: Instant) -> Option<MemberId> {
        loop {
            while let Some(id) = self.expired.pop_front() {
                if self.member(id).is_some_and(|member| member.state == State::Closing) {
                    return Some(id);
                }
            }
            let &Reverse((at, endpoint)) = self.due.peek()?;
            if at > now {
                return None;
            }
            self.due.pop();
            self.endpoints[endpoint as usize].is_due = false;
            self.expire(now, endpoint);
            self.arm(endpoint);
        }
    }

    fn expire(&mut self, now: Instant, endpoint: u32) {
        let at = &mut self.endpoints[endpoint as usize];
        while let Some(&index) = at.idle.front() {
            let member = &mut self.members[index as usize];
            if now < member.old_at && now.since(member.idle_since) < at.options.idle_timeout {
                return;
            }
            at.idle.pop_front();
            member.state = State::Closing;
            self.expired.push_back(MemberId { index, generation: member.generation });
        }
    }

    /// Puts an endpoint into the heap for its longest idle connection, unless it is there.
    fn arm(&mut self, endpoint: u32) {
        let at = &mut self.endpoints[endpoint as usize];
        if at.is_due {
            return;
        }
        let Some(&index) = at.idle.front() else { return };
        let member = &self.members[index as usize];
        let due = (member.idle_since + at.options.idle_timeout).min(member.old_at);
        at.is_due = true;
        self.due.push(Reverse((due, endpoint)));
    }

    fn member(&self, id: MemberId) -> Option<&Member> {
        let member = self.members.get(id.index())?;
        (member.generation == id.generation && member.state != State::Free).then_some(member)
    }

    /// Requests that a connection has carried, the present one included.
    pub fn requests(&self, id: MemberId) -> u32 {
        self.member(id).map_or(0, |member| member.requests)
    }

    /// Connections of an endpoint that are open or being opened, and how many of them are idle.
    pub fn counts(&self, endpoint: EndpointIndex) -> (u32, u32) {
        let at = &self.endpoints[endpoint.0 as usize];
        (at.open, at.idle.len() as u32)
    }
}

#[cfg(test)]
mod tests;
