//! TCP against Linux: its sockets in the client's namespace, our services in the gateway.
//!
//! ```text
//!   client: sockets -- eth0 ---- port-client -- bridge -- gw0-br (or the tap) ---- data plane: echo, discard, quote, chargen
//!                                     ^ faults, by nftables       ^ faults
//! ```
//! After each test nothing may be left: no connection but those in TIME-WAIT, no frame, and no drop but those that the test expects.
//! Faults are loss, duplicates, detours (which change the order) and a limited rate. Delay would need `netem`, which common kernels of small
//! virtual machines lack; the simulator has it.

use crate::{
    expect,
    peer::{self, CHARGEN, DISCARD, ECHO, FAMILIES, QUOTES, connect, connect_from, exchange, within},
    world::{Lab, run, wait_for, wait_within},
};
use libtest_mimic::Failed;
use std::{
    collections::BTreeMap,
    io::{ErrorKind, Read, Write},
    net::{Shutdown, TcpStream},
    sync::atomic::{AtomicU64, Ordering},
    time::{Duration, Instant},
};

/// What each device must show, with one worker.
pub(crate) const CHECKS: [(&str, fn(&Lab) -> Result<(), Failed>); 14] = [
    ("tcp::every_byte_comes_back", every_byte_comes_back),
    ("tcp::both_directions_alone", both_directions_alone),
    ("tcp::requests_are_answered", requests_are_answered),
    ("tcp::a_hundred_at_once", a_hundred_at_once),
    ("tcp::connections_come_and_go", connections_come_and_go),
    ("tcp::each_side_may_close_first", each_side_may_close_first),
    ("tcp::a_reset_ends_it", a_reset_ends_it),
    ("tcp::a_slow_reader_is_waited_for", a_slow_reader_is_waited_for),
    ("tcp::slow_readers_leave_frames_to_others", slow_readers_leave_frames),
    ("tcp::a_closed_port_refuses_at_once", a_closed_port_refuses),
    ("tcp::keepalive_probes_are_answered", keepalive_is_answered),
    ("tcp::losses_are_made_good", losses_are_made_good),
    ("tcp::duplicates_and_detours_change_nothing", duplicates_and_detours),
    ("tcp::a_limited_rate_is_found", a_limited_rate_is_found),
];

const MIB: u64 = 1 << 20;

/// Segments that came twice or too late, or acknowledge what was acknowledged long since. There are always some: the client's kernel sends bulk
/// faster than a device's ring takes it, and on a busy machine it sends again what has arrived.
const LATE: [&str; 7] = [
    "tcp_pressure",
    "tcp_reassembly_full",
    "tcp_duplicate",
    "tcp_out_of_window",
    "tcp_paws",
    "tcp_time_wait",
    "tcp_ack_unacceptable",
];

/// Does something and sees that nothing of it is left. `expected`: drops that may have happened, beside those of late segments.
pub(crate) fn leaving_nothing(
    lab: &Lab,
    expected: &[&str],
    act: impl FnOnce() -> Result<(), Failed> + Send,
) -> Result<(), Failed> {
    let frames = settled(lab)?;
    let before = lab.values()?;
    let began = now();
    within(&lab.namespace("client"), act)?;
    let took = began.elapsed();
    let frames_after = settled(lab)?;
    let after = lab.values()?;
    let gained = gained(&before, &after);
    eprintln!("  {}: {took:.1?}; {}", lab.device, story(&gained));
    expect(
        // Drivers keep sent frames until they need the place: a burst more or less.
        frames_after <= frames.max(lab.ring_frames()) + 64,
        &format!("{frames} frames in use"),
        &frames_after.to_string(),
    )?;
    let unexpected = gained.iter().find(|(name, _)| {
        name.strip_prefix("drop.").is_some_and(|drop| !LATE.contains(&drop) && !expected.contains(&drop))
    });
    expect(unexpected.is_none(), &format!("no drops but of late segments and {expected:?}"), &format!("{unexpected:?}"))
}

/// Waits until every connection is over and nothing moves; gives the frames that are in use.
fn settled(lab: &Lab) -> Result<u64, Failed> {
    let mut seen = BTreeMap::new();
    // A half-open record ends after 31 s at the latest (four repetitions). With two workers one may take that long: a client chooses another
    // queue when it repeats its SYN, so the other worker gets the connection, and whatever the client says after that.
    let done = wait_within(Duration::from_secs(45), "all connections to be over", || {
        seen = lab.values()?;
        Ok(["tcp_connections", "tcp_half_open", "tcp_held_frames"].iter().all(|name| seen[*name] == 0))
    });
    done.map_err(|failed| format!("{}\n{seen:#?}", failed.message().unwrap_or_default()))?;
    let frames = lab.quiet()?;
    super::every_frame_is_accounted_for(lab)?;
    Ok(frames)
}

fn gained(before: &BTreeMap<String, u64>, after: &BTreeMap<String, u64>) -> BTreeMap<String, u64> {
    let gains = after.iter().map(|(name, value)| (name.clone(), value.saturating_sub(before[name])));
    gains.filter(|(_, gain)| *gain > 0).collect()
}

/// What is worth reading of a run's counters.
fn story(gained: &BTreeMap<String, u64>) -> String {
    let worth = |name: &str| name.starts_with("tcp_") || name.starts_with("drop.") || name == "stalled_turns";
    gained.iter().filter(|(name, _)| worth(name)).map(|(name, n)| format!("{name} {n}")).collect::<Vec<_>>().join(", ")
}

#[allow(clippy::disallowed_methods)] // shown to people; nothing depends on it
fn now() -> Instant {
    Instant::now()
}

pub(crate) fn each_family(act: impl Fn(&str) -> Result<(), Failed>) -> Result<(), Failed> {
    FAMILIES.iter().try_for_each(|address| act(address).map_err(|failed| named(address, &failed)))
}

pub(crate) fn named(what: &str, failed: &Failed) -> Failed {
    format!("{what}: {}", failed.message().unwrap_or_default()).into()
}

fn every_byte_comes_back(lab: &Lab) -> Result<(), Failed> {
    // All of it where it is fastest; the others show that their device carries bulk at all.
    let bytes = if lab.device == "af_packet" { 512 * MIB } else { 32 * MIB };
    leaving_nothing(lab, &[], || each_family(|address| peer::echo(address, bytes)))
}

fn both_directions_alone(lab: &Lab) -> Result<(), Failed> {
    leaving_nothing(lab, &[], || {
        each_family(|address| {
            peer::discard(address, 64 * MIB)?;
            peer::chargen(address, 64 * MIB)
        })
    })
}

fn requests_are_answered(lab: &Lab) -> Result<(), Failed> {
    leaving_nothing(lab, &[], || {
        each_family(|address| {
            let stream = connect(address, ECHO)?;
            let mut at = 0;
            for round in 0..2_000u64 {
                let len = [1, 100, 1_448, 1_449, 4_000][round as usize % 5];
                exchange(&stream, at, len)?;
                at += len;
            }
            Ok(())
        })
    })
}

fn a_hundred_at_once(lab: &Lab) -> Result<(), Failed> {
    leaving_nothing(lab, &[], || {
        each_family(|address| {
            let streams: Vec<TcpStream> = (0..100).map(|_| connect(address, ECHO)).collect::<Result<_, _>>()?;
            for round in 0..20 {
                streams.iter().try_for_each(|stream| peer::send(stream, round * 3_000, (round + 1) * 3_000))?;
                streams.iter().try_for_each(|s| peer::expect_bytes(s, round * 3_000, (round + 1) * 3_000))?;
            }
            Ok(())
        })
    })
}

/// The client closes first and remembers, or the gateway does; ports are used again as soon as may be.
fn connections_come_and_go(lab: &Lab) -> Result<(), Failed> {
    let count = if lab.device == "af_packet" { 50_000 } else { 8_000 };
    // Else the client runs out of ports for a minute.
    lab.client(&["sysctl", "-qw", "net.ipv4.tcp_tw_reuse=1", "net.ipv4.ip_local_port_range=1024 65000"])?;
    let began = now();
    leaving_nothing(lab, &[], || {
        storm(count, |n| {
            let address = FAMILIES[n as usize % 2];
            let stream = connect(address, ECHO)?;
            exchange(&stream, n, 100)
        })?;
        storm(count, |n| peer::quote(&connect(FAMILIES[n as usize % 2], QUOTES)?))
    })?;
    let rate = 2.0 * count as f64 / began.elapsed().as_secs_f64();
    eprintln!("  {}: {rate:.0} connections/s", lab.device);
    leaving_nothing(lab, &[], || same_ports(100))
}

/// So many connections, several at a time.
fn storm(count: u64, one: impl Fn(u64) -> Result<(), Failed> + Sync) -> Result<(), Failed> {
    const THREADS: usize = 8;
    let next = AtomicU64::new(0);
    let work = || {
        loop {
            let n = next.fetch_add(1, Ordering::Relaxed);
            if n >= count {
                return Ok(());
            }
            one(n).map_err(|failed| named(&format!("connection {n}"), &failed))?;
        }
    };
    std::thread::scope(|scope| {
        let threads: Vec<_> = (0..THREADS).map(|_| scope.spawn(work)).collect();
        threads.into_iter().try_for_each(|thread| thread.join().expect("no panic"))
    })
}

/// From the same port again and again, while the gateway still has the last connection in TIME-WAIT (RFC 6191).
fn same_ports(rounds: u64) -> Result<(), Failed> {
    each_family(|address| {
        for _ in 0..rounds {
            let mut stream = None;
            wait_for("the client to be done with the last connection", || {
                stream = connect_from(900, address, QUOTES)?;
                Ok(stream.is_some())
            })?;
            peer::quote(&stream.expect("just waited for"))?;
        }
        Ok(())
    })
}

fn each_side_may_close_first(lab: &Lab) -> Result<(), Failed> {
    leaving_nothing(lab, &[], || {
        each_family(|address| {
            // The client: what it has asked for still comes.
            peer::echo(address, 3 * MIB)?;
            peer::echo(address, 0)?;
            // The gateway: what the client has to say is still taken.
            let stream = connect(address, QUOTES)?;
            peer::quote(&stream)?;
            peer::send(&stream, 0, 3 * MIB)?;
            // Both at once, nothing said.
            drop(connect(address, DISCARD)?);
            Ok(())
        })
    })
}

fn a_reset_ends_it(lab: &Lab) -> Result<(), Failed> {
    let resets = lab.counter("tcp_end.reset")?;
    // What was on the way to the client finds nobody, and its resets find nobody either.
    leaving_nothing(lab, &["tcp_reset_unacceptable", "tcp_data_after_close"], || {
        each_family(|address| {
            peer::abort(connect(address, ECHO)?)?;
            let stream = connect(address, ECHO)?;
            peer::send(&stream, 0, 64 << 10)?;
            peer::abort(stream)?;
            // In the middle of a flood from the gateway.
            let mut stream = connect(address, CHARGEN)?;
            stream.read_exact(&mut vec![0; 1 << 20])?;
            Ok(peer::abort(stream)?)
        })
    })?;
    expect(
        lab.counter("tcp_end.reset")? >= resets + 6,
        "six resets",
        &(lab.counter("tcp_end.reset")? - resets).to_string(),
    )
}

fn a_slow_reader_is_waited_for(lab: &Lab) -> Result<(), Failed> {
    leaving_nothing(lab, &[], || {
        each_family(|address| {
            // The client reads nothing: its window closes, and is probed.
            let probes = lab.counter("tcp_window_probes")?;
            let mut stream = connect(address, CHARGEN)?;
            wait_for("three window probes", || Ok(lab.counter("tcp_window_probes")? >= probes + 3))?;
            stream.shutdown(Shutdown::Write)?;
            let mut all = Vec::new();
            stream.read_to_end(&mut all)?;
            let right = all.iter().zip(0..).all(|(byte, at)| *byte == weirgate_dataplane::services::character(at));
            expect(right && all.len() > 64 << 10, "the generator's characters", &format!("{} bytes", all.len()))?;
            // Nor does the echo service once the client stops reading: our window closes too.
            let stream = connect(address, ECHO)?;
            stream.set_write_timeout(Some(Duration::from_secs(1)))?;
            let mut sent = 0;
            let full = loop {
                match (&stream).write(peer::bytes_at(sent, 64 << 10)) {
                    Ok(len) => sent += len as u64,
                    Err(error) => break error,
                }
                expect(sent < 1 << 30, "a bound to what is taken unread", &sent.to_string())?;
            };
            expect(full.kind() == ErrorKind::WouldBlock, "a full window", &full.to_string())?;
            stream.shutdown(Shutdown::Write)?;
            peer::expect_bytes(&stream, 0, sent)?;
            peer::expect_end(&stream)
        })
    })
}

/// More than the pool holds waits for clients that do not read, or could; and somebody else does not even notice. Who stands still for long while
/// frames are short may be ended, and is counted: on a slow machine that may be some of them.
fn slow_readers_leave_frames(lab: &Lab) -> Result<(), Failed> {
    leaving_nothing(lab, &["tcp_pressure"], || {
        let stalled = lab.counter("tcp_end.stalled")?;
        let readers: Vec<_> = (0..100).map(|_| connect(FAMILIES[0], CHARGEN)).collect::<Result<_, _>>()?;
        let writers: Vec<_> = (0..100).map(|_| connect(FAMILIES[1], ECHO)).collect::<Result<_, _>>()?;
        let sent: Vec<_> = writers.iter().map(write_what_fits).collect::<Result<_, _>>()?;
        wait_for("a good part of the frames to be held", || Ok(lab.gauge_sum("frames_held")? > 1_000))?;
        each_family(|address| {
            exchange(&connect(address, ECHO)?, 0, 10_000)?;
            peer::echo(address, MIB)
        })?;
        expect(lab.gauge_sum("pool_empty")? == 0, "frames left at all times", "none")?;
        // Then they read after all, each at once.
        let ends = std::thread::scope(|scope| {
            let reading = readers.iter().map(|reader| scope.spawn(|| read_out(reader)));
            let reading: Vec<_> = reading.collect();
            let echoes = writers.iter().zip(&sent).map(|(writer, sent)| scope.spawn(|| read_back(writer, *sent)));
            let echoes: Vec<_> = echoes.collect();
            reading.into_iter().chain(echoes).map(|end| end.join().expect("it does not panic")).collect::<Vec<_>>()
        });
        let failed: Vec<_> = ends.into_iter().filter_map(Result::err).collect();
        let stalled = lab.counter("tcp_end.stalled")? - stalled;
        let first = failed.first().and_then(Failed::message).unwrap_or_default();
        expect(
            failed.len() as u64 <= stalled,
            &format!("at most {stalled} ended"),
            &format!("{}: {first}", failed.len()),
        )
    })
}

/// Writes until the other side takes no more; how much that was.
fn write_what_fits(mut writer: &TcpStream) -> Result<u64, Failed> {
    let mut sent = 0;
    writer.set_nonblocking(true)?;
    while sent < 4 * MIB {
        match writer.write(peer::bytes_at(sent, 64 << 10)) {
            Ok(len) => sent += len as u64,
            Err(error) if error.kind() == ErrorKind::WouldBlock => break,
            Err(error) => return Err(error.into()),
        }
    }
    writer.set_nonblocking(false)?;
    Ok(sent)
}

fn read_back(writer: &TcpStream, sent: u64) -> Result<(), Failed> {
    writer.shutdown(Shutdown::Write)?;
    peer::expect_bytes(writer, 0, sent)?;
    peer::expect_end(writer)
}

fn read_out(mut reader: &TcpStream) -> Result<(), Failed> {
    reader.shutdown(Shutdown::Write)?;
    std::io::copy(&mut reader, &mut std::io::sink())?;
    Ok(())
}

fn a_closed_port_refuses(lab: &Lab) -> Result<(), Failed> {
    leaving_nothing(lab, &["tcp_no_listener"], || {
        each_family(|address| {
            let error = connect(address, 81).err().ok_or("nobody listens on port 81")?;
            expect(error.kind() == ErrorKind::ConnectionRefused, "a refusal", &error.to_string())
        })
    })
}

fn keepalive_is_answered(lab: &Lab) -> Result<(), Failed> {
    use rustix::net::sockopt::{set_socket_keepalive, set_tcp_keepcnt, set_tcp_keepidle, set_tcp_keepintvl};
    leaving_nothing(lab, &[], || {
        each_family(|address| {
            let stream = connect(address, ECHO)?;
            exchange(&stream, 0, 1)?;
            set_tcp_keepidle(&stream, Duration::from_secs(1))?;
            set_tcp_keepintvl(&stream, Duration::from_secs(1))?;
            set_tcp_keepcnt(&stream, 1)?; // one without an answer would end it
            set_socket_keepalive(&stream, true)?;
            let before = lab.counter("tcp_rx_segments")?;
            wait_for("three keepalive probes", || Ok(lab.counter("tcp_rx_segments")? >= before + 3))?;
            exchange(&stream, 1, 1)
        })
    })
}

fn losses_are_made_good(lab: &Lab) -> Result<(), Failed> {
    for (per_mille, bytes) in [(1, 64 * MIB), (10, 16 * MIB), (50, 4 * MIB)] {
        let rule = format!("numgen random mod 1000 < {per_mille} drop");
        let ways = [(&*rule, &*rule), (&*rule, ""), ("", &*rule)];
        // One direction alone says more of a failure, not more of a device.
        for (to_gateway, to_client) in ways.into_iter().take(if lab.device == "af_packet" { 3 } else { 1 }) {
            let _faults = Faults::new(lab, to_gateway, to_client)?;
            leaving_nothing(lab, &[], || each_family(|address| all_ways(address, bytes / 4))).map_err(|failed| {
                named(&format!("to the gateway: {to_gateway:?}, to the client: {to_client:?}"), &failed)
            })?;
        }
    }
    Ok(())
}

fn all_ways(address: &str, bytes: u64) -> Result<(), Failed> {
    peer::echo(address, bytes)?;
    peer::discard(address, bytes)?;
    peer::chargen(address, bytes)?;
    // Handshakes, single segments and ends are lost too.
    storm(20, |n| exchange(&connect(address, ECHO)?, n, 100))?;
    storm(20, |_| peer::quote(&connect(address, QUOTES)?))
}

fn duplicates_and_detours(lab: &Lab) -> Result<(), Failed> {
    let (here, there) = ("port-client", gateway_port(lab));
    let twice = |port: &str| format!("numgen random mod 1000 < 50 dup to \"{port}\"");
    let detour = "numgen random mod 1000 < 50 fwd to \"detour\"".to_owned();
    for (to_gateway, to_client) in [(twice(there), twice(here)), (detour.clone(), detour)] {
        let _faults = Faults::new(lab, &to_gateway, &to_client)?;
        leaving_nothing(lab, &[], || each_family(|address| all_ways(address, 16 * MIB)))
            .map_err(|failed| named(&to_gateway, &failed))?;
    }
    Ok(())
}

fn a_limited_rate_is_found(lab: &Lab) -> Result<(), Failed> {
    // Some 240 Mbit/s of full segments; what goes beyond it is lost, many in a row.
    let rule = "limit rate over 20000/second burst 50 packets drop";
    let _faults = Faults::new(lab, rule, rule)?;
    leaving_nothing(lab, &[], || each_family(|address| all_ways(address, MIB / 2)))
}

/// Two workers: flows of either, and what a flow's segments do when its worker is busy with another's.
pub(crate) fn with_two_workers(lab: &Lab) -> Result<(), Failed> {
    lab.client(&["sysctl", "-qw", "net.ipv4.tcp_tw_reuse=1", "net.ipv4.ip_local_port_range=1024 65000"])?;
    leaving_nothing(lab, &[], || {
        each_family(|address| {
            std::thread::scope(|scope| {
                let bulk: Vec<_> = (0..4).map(|_| scope.spawn(|| peer::echo(address, 16 * MIB))).collect();
                bulk.into_iter().try_for_each(|thread| thread.join().expect("no panic"))
            })?;
            storm(4_000, |n| exchange(&connect(address, ECHO)?, n, 100))?;
            storm(1_000, |_| peer::quote(&connect(address, QUOTES)?))
        })
    })?;
    let rule = "numgen random mod 1000 < 10 drop";
    let _faults = Faults::new(lab, rule, rule)?;
    leaving_nothing(lab, &[], || each_family(|address| all_ways(address, 2 * MIB)))
}

/// The gateway says goodbye to those who are connected.
pub(crate) fn a_stopped_gateway_resets() -> Result<(), Failed> {
    let lab = Lab::up("stop", "af_packet", &[])?;
    within(&lab.namespace("client"), || {
        let streams: Vec<TcpStream> =
            FAMILIES.iter().map(|address| connect(address, ECHO)).collect::<Result<_, _>>()?;
        streams.iter().try_for_each(|stream| exchange(stream, 0, 10))?;
        run(&["kill", "-TERM", &lab.pid()?])?;
        streams.iter().try_for_each(|mut stream| {
            let ended = stream.read(&mut [0]).map_err(|error| error.kind());
            expect(ended == Err(ErrorKind::ConnectionReset), "a reset", &format!("{ended:?}"))
        })
    })
}

/// The bridge's port towards the data plane.
fn gateway_port(lab: &Lab) -> &'static str {
    if lab.device == "tap" { "gw0" } else { "gw0-br" }
}

/// What the bridge does to TCP segments in each direction. Ends on drop.
struct Faults<'a>(&'a Lab);

impl<'a> Faults<'a> {
    /// Two nftables rules, or nothing where one is empty.
    fn new(lab: &'a Lab, to_gateway: &str, to_client: &str) -> Result<Self, Failed> {
        let chain = |name: &str, port: &str, rule: &str| {
            let rule = if rule.is_empty() { String::new() } else { format!("meta l4proto tcp {rule}") };
            format!("chain {name} {{ type filter hook ingress device \"{port}\" priority 0; {rule}; }}\n")
        };
        let chains = chain("to_gateway", "port-client", to_gateway) + &chain("to_client", gateway_port(lab), to_client);
        // A way into the bridge that takes a little longer, and from which the bridge does not learn who is where.
        let detour = "ip link show detour >/dev/null 2>&1 || {
            ip link add detour type veth peer name detour-br && ip link set detour up &&
            ip link set detour-br master br0 up && bridge link set dev detour-br learning off flood off mcast_flood off bcast_flood off
        }";
        lab.exec("gateway", &["sh", "-c", detour])?;
        let faults = Self(lab);
        faults.clear();
        lab.exec("gateway", &["nft", &format!("table netdev faults {{\n{chains}}}")])?;
        Ok(faults)
    }

    fn clear(&self) {
        // There need not be any.
        let _ = self.0.exec("gateway", &["nft", "delete table netdev faults"]);
    }
}

impl Drop for Faults<'_> {
    fn drop(&mut self) {
        self.clear();
    }
}
