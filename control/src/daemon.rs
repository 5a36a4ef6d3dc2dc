//! The control daemon: takes configurations, keeps their history, programs the data plane, and keeps it alive.
//!
//! ```text
//!   files ---.                     .---> store: revisions on disk      .---> audit
//!   requests +---> engine (changes, one at a time) --------------------+
//!   DNS -----'        |   ^                                            '---> State: what everybody may look at
//!                     v   | attached, detached
//!                   link <---> supervisor <---> the data plane's process
//! ```
//! Traffic never depends on it: if it ends, the data plane goes on, and the next daemon finds it.
//!
//! * [`options`]: what it is told at its start. [`logs`], [`audit`]: what it tells.
//! * [`store`]: the state directory. [`overlay`]: what lies over a revision. [`difference`]: what differs between two.
//! * [`engine`]: what is in force, and how that changes.
//! * [`link`]: the socket to the data plane. [`supervise`]: its process.
//! * [`certificates`]: how certificates are.
//! * [`files`]: the configuration's files, watched. [`view`], [`gather`]: what is in force, for those who look and for Prometheus.

pub mod audit;
pub mod certificates;
pub mod clock;
pub mod difference;
pub mod engine;
pub mod files;
pub mod gather;
pub mod link;
pub mod logs;
pub mod options;
pub mod overlay;
pub mod store;
pub mod supervise;
#[cfg(test)]
pub(crate) mod tests;
pub mod view;
pub mod who;

use crate::{
    admin::{
        api::{ChangeSource, Finding},
        server::{Server, serve_metrics},
    },
    discovery::{self, Discovery},
};
use clock::TimeOfDay;
use engine::{Engine, Settings};
use files::FileSource;
use logs::Logs;
use options::Options;
use sd_notify::NotifyState;
use std::{
    env,
    path::PathBuf,
    process::ExitCode,
    sync::{Arc, Mutex},
    time::Duration,
};
use store::{Real, Store};
use supervise::{Fate, Start, Supervisor};
use tokio::{
    signal::unix::{Signal, SignalKind, signal},
    sync::{mpsc, watch},
    time::{interval, timeout},
};

/// Updates of endpoints that wait to be taken.
const UPDATES: usize = 256;

/// Runs until it is told to end.
pub async fn run(options: Options) -> ExitCode {
    let logs = match Logs::start(options.log_format, &options.log) {
        Ok(logs) => logs,
        Err(error) => {
            eprintln!("weirgate-control: --log: {error}");
            return ExitCode::from(2);
        }
    };
    match serve(options, logs).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            tracing::error!("{error}");
            ExitCode::FAILURE
        }
    }
}

async fn serve(options: Options, logs: Logs) -> Result<(), String> {
    view::note_start();
    let mut signals = Signals::new().map_err(|error| format!("signals cannot be taken: {error}"))?;
    let (store, repaired) = Store::open(&options.state_dir, options.history, Box::new(Real)).map_err(|error| {
        let next = error.next();
        format!("{error}; {next}")
    })?;
    for what in repaired {
        tracing::warn!("state directory: {what}");
    }
    // Without a revision the files are all that there is, whether or not they were seen.
    let seen = store.current().files.clone().filter(|_| store.current().revision.is_some());
    let settings = Settings {
        run_dir: options.run_dir.clone(),
        state_dir: options.state_dir.clone(),
        supervised: !options.attach,
        start_timeout: Duration::from_secs(options.start_timeout),
        drain_timeout: Duration::from_secs(options.drain_timeout),
        time: TimeOfDay::default(),
    };
    let engine = Arc::new(Engine::new(settings, logs, store));
    engine.load_secrets().await;
    // What is not known any more stands in the files, if anywhere.
    let seen = seen.filter(|_| !engine.lacks_secrets());
    tokio::spawn(Arc::clone(&engine).mind_audit());
    let (updates, taken) = mpsc::channel(UPDATES);
    tokio::spawn(Arc::clone(&engine).take_endpoints(taken));
    let options_of_discovery =
        discovery::Options { seed: u64::from(std::process::id()), ..discovery::Options::default() };
    let discovery = Arc::new(Mutex::new(Discovery::new(options_of_discovery, updates)));
    _ = engine.discovery.set(Arc::clone(&discovery));
    tokio::spawn(discover(Arc::clone(&engine), discovery));
    let metrics = gather::router(&engine);
    tokio::spawn(serve_metrics(Arc::clone(&engine), metrics.clone()));
    // The socket is there from the first moment, so that whoever starts this can ask how it goes.
    let mut server = Server::new(Arc::clone(&engine), options.allow_tcp_writes, metrics);
    server.bind().await;
    tokio::spawn(server.run());

    let (fate, told) = watch::channel(Fate::Keep);
    let start = (!options.attach).then(|| start_of(&options));
    let supervisor = Supervisor::new(Arc::clone(&engine), start, told);
    let mut files = FileSource::new(Arc::clone(&engine), options.config.clone(), seen);
    let (wish, wishes) = mpsc::channel(1);
    let supervisor = tokio::spawn(supervisor.run());
    let beginning = Arc::clone(&engine);
    ask_systemd_for_time(&engine.settings);
    tokio::spawn(async move {
        begin(&beginning, &mut files).await;
        tokio::spawn(Arc::clone(&beginning).mind_secrets());
        tokio::spawn(tell_ready(beginning));
        files.run(wishes).await;
    });
    tokio::spawn(watchdog());
    loop {
        tokio::select! {
            _ = signals.hangup.recv() => { _ = wish.try_send(()); }
            _ = signals.terminate.recv() => break,
            _ = signals.interrupt.recv() => break,
        }
    }
    tracing::info!("stopping");
    _ = sd_notify::notify(&[NotifyState::Stopping]);
    engine.publish(|state| state.stopping = true);
    let ends = !options.attach && !options.leave_dataplane;
    if ends {
        tokio::select! {
            () = engine.drain_out(Duration::from_secs(options.drain_timeout)) => {}
            // Somebody is in a hurry.
            _ = signals.terminate.recv() => {}
            _ = signals.interrupt.recv() => {}
        }
    }
    fate.send_replace(if ends { Fate::End } else { Fate::Leave });
    _ = timeout(Duration::from_secs(30), supervisor).await;
    tracing::info!("stopped");
    Ok(())
}

/// Decides what is in force first: what stands in the files if that is new and sound, else what was in force.
async fn begin(engine: &Arc<Engine>, files: &mut FileSource) {
    let last = engine.state().number();
    // A data plane that runs goes on with what was in force, and then gets what is new.
    let runs = engine.dataplane_runs().await;
    if runs {
        engine.boot_last();
        let connected = async { engine.watch().wait_for(|state| state.link.is_some()).await.map(|_| ()) };
        _ = timeout(engine.settings.start_timeout, connected).await;
    }
    let loaded = files.load(ChangeSource::Start, !runs).await;
    match (loaded, last) {
        (Ok(_), _) => {}
        (Err(_), Some(last)) => {
            tracing::error!("the files are not in force: revision {last} is, which was the last good one");
        }
        (Err(_), None) => {
            tracing::error!("the files are not in force, and there is no earlier revision: nothing is served");
        }
    }
    engine.boot_last();
    // Not before it is decided what is in force: it goes back from that.
    engine.await_confirmation();
}

/// Keeps discovery at what is in force.
async fn discover(engine: Arc<Engine>, discovery: Arc<Mutex<Discovery>>) {
    let mut state = engine.watch();
    let mut last = None;
    loop {
        let (number, sources) = {
            let state = state.borrow_and_update();
            (state.number(), state.control().map(|control| control.discoveries.clone()).unwrap_or_default())
        };
        if last != Some(number) {
            let known = {
                let mut discovery = discovery.lock().expect("nobody panics with it");
                discovery.set(&sources);
                discovery.known()
            };
            // A source that was out of force for a moment says nothing anew, and what it had said is forgotten.
            engine.endpoints(known).await;
            last = Some(number);
        }
        if state.changed().await.is_err() {
            return;
        }
    }
}

fn start_of(options: &Options) -> Start {
    let beside = || {
        let beside = env::current_exe().ok()?.with_file_name("weirgate-dataplane");
        beside.exists().then_some(beside)
    };
    let program = options.dataplane.clone().or_else(beside).unwrap_or_else(|| PathBuf::from("weirgate-dataplane"));
    let mut arguments = options.dataplane_arg.clone();
    if options.no_huge {
        arguments.push("--no-huge".into());
    }
    Start { program, arguments, log: options.dataplane_log.clone() }
}

struct Signals {
    hangup: Signal,
    terminate: Signal,
    interrupt: Signal,
}

impl Signals {
    fn new() -> std::io::Result<Self> {
        Ok(Self {
            hangup: signal(SignalKind::hangup())?,
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
        })
    }
}

/// Tells systemd that the daemon lives, as often as it wants to hear it.
async fn watchdog() {
    let Some(period) = sd_notify::watchdog_enabled() else { return };
    let mut ticks = interval((period / 2).max(Duration::from_millis(10)));
    loop {
        ticks.tick().await;
        _ = sd_notify::notify(&[NotifyState::Watchdog]);
    }
}

/// A data plane that hangs may have to be waited for, ended, and another waited for.
fn ask_systemd_for_time(settings: &Settings) {
    let patience = (settings.start_timeout + settings.drain_timeout).saturating_mul(2) + Duration::from_secs(60);
    let patience = u32::try_from(patience.as_micros()).unwrap_or(u32::MAX);
    _ = sd_notify::notify(&[NotifyState::ExtendTimeoutUsec(patience)]);
}

/// Tells systemd what the start waits for, that it is over, and from then on what is in force.
async fn tell_ready(engine: Arc<Engine>) {
    let mut state = engine.watch();
    let mut told = String::new();
    loop {
        let (waits, number, is_told) = {
            let state = state.borrow_and_update();
            (state.waits(), state.number(), state.told_ready)
        };
        if waits.is_none() && !is_told {
            tracing::info!(revision = number, "ready");
            _ = sd_notify::notify(&[NotifyState::Ready]);
            engine.publish(|state| state.told_ready = true);
        }
        let in_force = || number.map_or("no revision is in force".into(), |n| format!("revision {n} is in force"));
        let status = waits.unwrap_or_else(in_force);
        if status != told {
            _ = sd_notify::notify(&[NotifyState::Status(&status)]);
            told = status;
        }
        if state.changed().await.is_err() {
            return;
        }
    }
}

/// Whoever reloads waits for [`tell_systemd_ready`]; while the start is not over there is nothing to tell.
fn tell_systemd_reloading(engine: &Engine) {
    if !engine.state().told_ready {
        return;
    }
    if let Ok(now) = NotifyState::monotonic_usec_now() {
        _ = sd_notify::notify(&[NotifyState::Reloading, now]);
    }
}

/// A reload is over.
fn tell_systemd_ready(engine: &Engine) {
    if engine.state().told_ready {
        _ = sd_notify::notify(&[NotifyState::Ready]);
    }
}

/// A finding in a line, as compilers write them.
pub(crate) fn notice(finding: &Finding) -> String {
    let Finding { file, line, column, message, .. } = finding;
    match line.zip(*column) {
        Some((line, column)) => format!("{file}:{line}:{column}: {message}"),
        None => format!("{file}: {message}"),
    }
}
