//! TLS in the gateway: what it adds to an exchange beside one in plaintext and the ciphers alone, and what an idle client takes.

use super::{Options, crypto::Contexts, once};
use crate::exchange::{World, cpu_ns, flood, idle_bytes_of};
use anyhow::{Context, ensure};
use std::process::Command;
use weirgate_bench::{Figure, median};
use weirgate_dataplane::{limits::FRAME_ROOM, port::Pool};

/// Requests under way, at most: as in `exchange`.
const UNDER_WAY_MAX: usize = 512;
/// A request as a client writes it.
const REQUEST_LEN: usize = 100;

/// Exchanges with and without TLS to the client, and the cipher alone, by turns: the median of each.
pub(super) fn requests(options: &Options, pool: &Pool) -> anyhow::Result<Vec<Figure>> {
    let mut figures = Vec::new();
    for (clients, name) in [(64, "64"), (10_000, "10k")] {
        let under_way = clients.min(UNDER_WAY_MAX);
        let mut plain = World::start(pool, clients, under_way, cpu_ns)?;
        let mut secure = World::start_secure(pool, clients, under_way)?;
        let (_, answered) = secure.lens();
        let mut ciphers = Contexts::new(clients, REQUEST_LEN + 1, answered + 1);
        let mut times: [Vec<f64>; 3] = Default::default();
        for _ in 0..options.rounds {
            times[0].push(plain.round(options.seconds)?);
            times[1].push(secure.round(options.seconds)?);
            times[2].push(once(options.seconds, &mut || ciphers.exchange()) * 1e9);
        }
        eprintln!("{clients} clients with TLS: {}", secure.report());
        let [plain, secure, cipher] = times.map(|times| median(times).expect("at least one round"));
        let extra = secure - plain - cipher;
        let mut show = |what: &str, ns| figures.push(Figure::shown(&format!("tls.request_{what}.{name}"), ns, "ns"));
        show("plain_ns", plain);
        show("ns", secure);
        show("cipher_ns", cipher);
        if clients == 64 {
            figures.push(Figure::at_most("tls.request_extra_ns", extra, "ns", 400.0));
        } else {
            show("extra_ns", extra);
        }
    }
    Ok(figures)
}

/// Requests of established clients while others shake hands, twice as often as the core could alone.
pub(super) fn flooded(options: &Options, pool: &Pool) -> anyhow::Result<Vec<Figure>> {
    let found = flood::measure(pool, options.seconds)?;
    let mut figures = Vec::new();
    let [quiet, flooded] = found.p99_us;
    for (i, name) in ["plain", "tls"].into_iter().enumerate() {
        figures.push(Figure::at_most(&format!("tls.flood.{name}"), flooded[i] / quiet[i], "ratio", 3.0));
        let mut show = |what: &str, us: f64| {
            figures.push(Figure::shown(&format!("tls.flood_p99_us.{name}.{what}"), us, "us"));
        };
        show("quiet", quiet[i]);
        show("flooded", flooded[i]);
        show("quiet_own", quiet[i] - flood::backend_us());
        show("flooded_own", flooded[i] - flood::backend_us());
    }
    let rates = [("capacity", found.capacity), ("asked", found.asked), ("done", found.done)];
    figures.extend(rates.map(|(name, rate)| Figure::shown(&format!("tls.flood_{name}"), rate, "handshakes/s")));
    Ok(figures)
}

/// Clients that are silent.
const IDLE: usize = 50_000;
/// Each may have an answer under way, and TCP takes half of a pool for such.
const IDLE_FRAMES: u32 = 120_000;

/// Resident bytes of one client's connection: with TLS, and what of it TCP and HTTP take without. Processes of their own, because what one has given back
/// would be taken for the other.
pub(super) fn idle() -> anyhow::Result<Vec<Figure>> {
    let [plain, secure] = ["plain", "secure"].map(|kind| -> anyhow::Result<f64> {
        let output = Command::new(std::env::current_exe()?).args(["tls", "--idle", kind]).output()?;
        ensure!(output.status.success(), "idle clients: {}", String::from_utf8_lossy(&output.stderr));
        let said = String::from_utf8_lossy(&output.stdout);
        said.lines().last().and_then(|line| line.trim().parse().ok()).with_context(|| format!("{said:?} is no number"))
    });
    let (plain, secure) = (plain?, secure?);
    Ok(vec![
        Figure::at_most("tls.idle_bytes", secure, "bytes", 12_288.0),
        Figure::shown("tls.idle_bytes.without_tls", plain, "bytes"),
    ])
}

/// What such a process does.
pub(super) fn idle_alone(kind: &str, core: usize) -> anyhow::Result<()> {
    let frames = crate::tcp::Frames::start(core, IDLE_FRAMES, FRAME_ROOM)?;
    println!("{}", idle_bytes_of(&frames.pool, IDLE, kind == "secure")?);
    Ok(())
}
