//! Packet scripts: one TCP behaviour is one script, a conversation with a target that speaks TCP.
//!
//! ```text
//!   script text --parse--> Script --run--> Target: kernel   Linux, in a network namespace with a TUN device
//!                            |     <-----          engine   the data plane's worker, in virtual time
//!                            |                     wire     the same worker over a DPDK device, in real time (feature `dpdk`)
//!                       packet: segments as bytes and as words
//! ```
//! # The language
//! `#` and `//` begin comments; the first one says the rule that the script shows, with its RFC section. The first lines are directives:
//! ```text
//!   family ipv4|ipv6|both      for which families (both)
//!   needs any|kernel|engine    for which targets (any); a comment gives the reason when it is not any
//!   role passive|active        whether the target listens or connects (passive)
//!   set NAME VALUE             an option of the target. Both have mss, congestion, ecn, fin_timeout (s), challenge_interval (us), half_open
//!                              (0: cookies); Linux has window, timestamps, sack, wscale, retries, any sysctl as kernel NAME=VALUE, ..;
//!                              the engine has seed, half_open, time_wait and connections as numbers of records
//! ```
//! The others are `TIME EVENT`. A time is `0.1` since the begin, `+0.1` since the event before, or `*` for whenever; what is expected may
//! have a range, `+0.2~+0.3`. Without a time it is `+0`. Numbers of a segment are relative to each side's ISN, as in packetdrill:
//! ```text
//!   < S 0:0(0) win 65535 <mss 1460,sackOK>     sent to the target. Flags: S F R P . U E W, A (AE), - for none
//!   > S. 0:0(0) ack 1 <mss *,*>                expected from it. `win`, `urg` and options are compared if they are written; `P` too.
//!                                              Options: in any order, without padding; `*` is any others, `no TS` none of that kind
//!   >? . 1:1(0) ack 1                          may come, or not
//!   >> . 1:1(0) ack 5001                       comes, and before it whatever acknowledges less
//!   < . 1:5001(5000) ack 1 win 1000 each 1000  five segments, likewise expected
//!   < . 1:4(3) ack 1 win 1000 data "abc"       content that is not the stream's: each byte of a stream follows from its place
//!   <TS val 100 ecr last-1>                    `last`: what the target sent last; `@name` binds a value when first seen and is it later
//!   <raw 0x0204>                               bytes as they stand
//!   [ect0] [ect1] [ce] [noect] [ttl 5] [df]    the IP header's part
//!   [badsum] [doff 4] [cut 10] [land] [nopsh]  a wrong checksum, a false header length, a packet cut short, from the target's own
//!                                              address; PSH must not be set
//!   [flow 2]                                   on any event: another connection, from another port of the script's
//!   < icmp toobig 1200 quoting 1:1461(1460)    an ICMP error about a segment; also net host protocol port admin ttl
//!   silence 0.5                                nothing may be sent for so long
//!   open win 65535 rtt 0.05 <mss 1460>         the whole handshake, in the script's role
//!   again isn 70000                            what follows is a new connection between the same ports; ISN so much above the last
//!   expect counter tcp_x 1                     has gone up by so much; `expect drop tcp_x 1` likewise. Targets without it pass
//! ```
//! The application does: `app listen [backlog N]`, `connect`, `write N`, `close` (FIN), `release` (neither writes nor reads any more), `abort`,
//! `pauses`, `resumes` (reads whatever comes), `set nodelay|nagle|cork|uncork|keepalive IDLE INTERVAL PROBES|user_timeout S|linger S|
//! hop_limit N`.
//! It sees: `app connected`, `accepted`, `not open`, `read N ["text"]` (these bytes, consumed), `receives N` (so many are there, not
//! consumed), `eof`, `closed graceful|reset|refused|timeout|unreachable`, `state NAME`.

mod engine;
mod kernel;
mod namespace;
mod packet;
mod parse;
mod run;
mod target;

pub use parse::{Script, parse};
pub use target::Family;

#[cfg(feature = "dpdk")]
use engine::on_wire::OnWire;
use engine::{Engine, memory::Memory};
use kernel::Kernel;
use parse::Needs;
use std::time::Duration;

/// Something that scripts are run against.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Kind {
    /// Linux.
    Kernel,
    /// The data plane's engine, in virtual time.
    Engine,
    /// The same over a wire.
    Wire,
}

/// What takes longer is not for a target in real time.
const REAL_TIME_MAX: Duration = Duration::from_secs(8);

impl Kind {
    /// Why nothing can be run against it here, if that is so.
    pub fn missing(self) -> Option<String> {
        match self {
            Self::Kernel => kernel::missing(),
            Self::Engine => None,
            Self::Wire => wire_missing(),
        }
    }

    /// Whether a script is for it.
    pub fn suits(self, script: &Script) -> bool {
        match script.needs {
            Needs::Any => true,
            Needs::Kernel => self == Self::Kernel,
            Needs::Engine => self != Self::Kernel,
        }
    }

    /// Why a script that suits it is not for it all the same.
    pub fn exception(self, script: &Script) -> Option<String> {
        let least = script.least_time();
        (self == Self::Wire && least > REAL_TIME_MAX).then(|| format!("it takes {least:.0?}, which is real time here"))
    }
}

/// Plays a script against a new target of this kind; what was said comes back.
///
/// # Errors
/// The target could not be made, or the first step that did not go as it should.
pub fn play(kind: Kind, script: &Script, family: Family) -> Result<Vec<String>, String> {
    let said = |failure: run::Failure| failure.to_string();
    let in_kernel = || {
        let mut kernel = Kernel::new(script, family).map_err(|e| format!("{e:#}"))?;
        run::run(script, &mut kernel).map_err(said)
    };
    match kind {
        // The thread's network namespace ends with it.
        Kind::Kernel => std::thread::scope(|scope| scope.spawn(in_kernel).join().expect("no panic")),
        Kind::Engine => {
            let mut engine = Engine::new(script, family, Memory::new).map_err(|e| format!("{e:#}"))?;
            run::run(script, &mut engine).map_err(said)
        }
        Kind::Wire => play_on_wire(script, family),
    }
}

#[cfg(feature = "dpdk")]
fn play_on_wire(script: &Script, family: Family) -> Result<Vec<String>, String> {
    let on_wire = || {
        let mut engine = Engine::new(script, family, OnWire::new).map_err(|e| format!("{e:#}"))?;
        run::run(script, &mut engine).map_err(|failure| failure.to_string())
    };
    // The thread's network namespace ends with it.
    std::thread::scope(|scope| scope.spawn(on_wire).join().expect("no panic"))
}
#[cfg(not(feature = "dpdk"))]
fn play_on_wire(_: &Script, _: Family) -> Result<Vec<String>, String> {
    Err("built without the feature dpdk".into())
}

#[cfg(feature = "dpdk")]
fn wire_missing() -> Option<String> {
    kernel::missing()
}
#[cfg(not(feature = "dpdk"))]
fn wire_missing() -> Option<String> {
    Some("built without the feature dpdk".into())
}

/// Ends what scripts have started for all of them. To be called last.
pub fn end() {
    #[cfg(feature = "dpdk")]
    engine::on_wire::end();
}
