//! The data plane as a process: started, found again, started again when it dies. It outlives the daemon, which finds it by its socket; while that is
//! not there yet, by `dataplane.pid` beside it. One that listens and says nothing is known by the socket's credentials, so that it can be ended too;
//! a daemon that was told to attach only reports it.
//!
//! ```text
//!   connect ---> linked: events, until the link breaks or a restart is wanted ---.
//!      ^  |                                                                      |
//!      |  `----> nobody there: is the process alive? wait : start, then wait ----+
//!      '-------------------------------------------------------------------------'
//! ```

use super::{
    clock::monotonic as now,
    engine::Engine,
    link::{Link, LinkError},
};
use rustix::process::{Pid, Signal, kill_process};
use std::{
    ffi::OsString,
    fs,
    io::{self, Write},
    os::unix::fs::{DirBuilderExt, OpenOptionsExt},
    path::{Path, PathBuf},
    process::Stdio,
    sync::Arc,
    time::Duration,
};
use tokio::{
    net::UnixStream,
    process::{Child, Command},
    sync::{mpsc, watch},
    time::{Instant, sleep, timeout},
};
use weirgate_dataplane::{
    link::{SOCKET, message::Event},
    snapshot::Snapshot,
};

/// Between looks for a data plane.
const LOOK: Duration = Duration::from_millis(50);
/// Between starts of one that does not live: doubled each time, up to the second.
const BACKOFF: (Duration, Duration) = (Duration::from_millis(200), Duration::from_secs(30));
/// One that has lived so long is started again at once.
const LIVED: Duration = Duration::from_secs(30);
/// For the kernel to say who listens at a socket; it takes longer only if too many wait there already.
const CREDENTIALS: Duration = Duration::from_secs(1);
/// For a process that was told to end.
const END: Duration = Duration::from_secs(10);

/// How a data plane is started.
#[derive(Clone, Debug)]
pub struct Start {
    /// The program.
    pub program: PathBuf,
    /// What is said to it besides `--snapshot` and `--run-dir`.
    pub arguments: Vec<OsString>,
    /// Where its messages go; `None`: where the daemon's go.
    pub log: Option<PathBuf>,
}

/// What becomes of the data plane.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Fate {
    /// It is kept alive.
    Keep,
    /// Nobody looks after it any more.
    Leave,
    /// It ends.
    End,
}

/// See the module's description.
pub struct Supervisor {
    engine: Arc<Engine>,
    start: Option<Start>,
    process: Option<Process>,
    restart: watch::Receiver<u64>,
    fate: watch::Receiver<Fate>,
    backoff: Duration,
    /// When the next start is due.
    due: Instant,
    /// Since when one has been there that has not said welcome.
    silent: Option<Instant>,
    /// A data plane was connected or started before: another start is a restart.
    was_there: bool,
}

impl Supervisor {
    /// One that starts data planes, or (`None`) only connects to them.
    pub fn new(engine: Arc<Engine>, start: Option<Start>, fate: watch::Receiver<Fate>) -> Self {
        let restart = engine.restart.subscribe();
        let process = Process::of_file(&engine.settings.run_dir);
        let (backoff, due) = (BACKOFF.0, now());
        Self { engine, start, process, restart, fate, backoff, due, silent: None, was_there: false }
    }

    fn socket(&self) -> PathBuf {
        self.engine.settings.run_dir.join(SOCKET)
    }

    /// Until the fate is another than [`Fate::Keep`].
    pub async fn run(mut self) {
        while *self.fate.borrow() == Fate::Keep {
            match Link::connect(&self.socket()).await {
                Ok((link, events)) => self.linked(link, events).await,
                Err(error) => self.absent(&error).await,
            }
        }
        if *self.fate.borrow() == Fate::End {
            self.end().await;
        }
    }

    async fn linked(&mut self, link: Link, mut events: mpsc::Receiver<Event>) {
        let since = now();
        (self.was_there, self.silent) = (true, None);
        let pid = link.welcome().pid;
        if self.process.as_ref().is_none_or(|process| process.pid != pid) {
            self.process = Process::of_pid(pid);
        }
        let engine = Arc::clone(&self.engine);
        // Before anything may say that it is gone.
        engine.connected(&link);
        let attaching = tokio::spawn({
            let link = link.clone();
            async move { engine.attached(link).await }
        });
        let (mut restart, mut fate) = (self.restart.clone(), self.fate.clone());
        let mut is_wanted = false;
        let why = loop {
            tokio::select! {
                why = link.broken() => break why,
                Some(event) = events.recv() => told(&event),
                _ = restart.changed() => {
                    self.restart.borrow_and_update();
                    tokio::select! {
                        () = self.engine.drain_out(self.engine.settings.drain_timeout) => {}
                        () = decided(&mut fate) => {
                            attaching.abort();
                            return;
                        }
                    }
                    // It must not wait for an answer that never comes.
                    self.end().await;
                    (self.was_there, is_wanted) = (false, true);
                    break "it is started anew".to_owned();
                }
                () = decided(&mut fate) => {
                    attaching.abort();
                    return;
                }
            }
        };
        link.give_up(&why);
        self.engine.detached(&link, &why);
        // One that ends again and again is not started at once just because it was connected for a moment.
        if is_wanted || since.elapsed() >= LIVED {
            (self.backoff, self.due) = (BACKOFF.0, now());
        }
    }

    /// Nobody is there, or nobody who understands: something is started if that is due, and a moment passes.
    async fn absent(&mut self, error: &LinkError) {
        if self.restart.has_changed().unwrap_or_default() {
            // How the one before fared says nothing about the one that is wanted now.
            return self.begin_anew().await;
        }
        let answers = !matches!(error, LinkError::Absent(_));
        if answers && self.start.is_some() && self.process.is_none() {
            self.process = Process::of_socket(&self.socket()).await;
        }
        let has_ended = self.process.as_mut().is_some_and(|process| !process.is_alive());
        let exited = self.process.take_if(|_| has_ended).map(Process::epitaph);
        if let Some(why) = exited {
            tracing::error!(why, "the data plane has ended");
            let why = format!("the data plane has ended: {why}");
            self.engine.publish(|state| state.dataplane.trouble = Some(why));
            self.engine.failures.send_modify(|n| *n += 1);
            // The first time at once; then it waits longer each time.
            self.due = self.due.max(now());
        } else if answers || self.start.is_none() {
            self.say(error.to_string());
        }
        self.mind_silence(answers).await;
        // Two of them would fight for the ports.
        if self.process.is_none() && !answers && self.start.is_some() && now() >= self.due {
            self.launch().await;
        }
        let (mut restart, mut fate) = (self.restart.clone(), self.fate.clone());
        tokio::select! {
            () = sleep(LOOK) => {}
            _ = restart.changed() => self.begin_anew().await,
            () = decided(&mut fate) => {}
        }
    }

    /// Somebody wants another one: there is no reason to wait.
    async fn begin_anew(&mut self) {
        self.restart.borrow_and_update();
        self.end().await;
        (self.backoff, self.due, self.silent) = (BACKOFF.0, now(), None);
    }

    /// What is wrong, once for as long as it stays the same.
    fn say(&self, trouble: String) {
        if self.engine.state().dataplane.trouble.as_ref() != Some(&trouble) {
            tracing::error!("{trouble}");
            self.engine.publish(|state| state.dataplane.trouble = Some(trouble));
        }
    }

    /// One that lives, or answers, and has not said welcome for as long as a start may take, is stopped: then another is started.
    async fn mind_silence(&mut self, answers: bool) {
        if self.start.is_none() || self.process.is_none() && !answers {
            self.silent = None;
            return;
        }
        let since = *self.silent.get_or_insert_with(now);
        let patience = self.engine.settings.start_timeout;
        if since.elapsed() < patience {
            return;
        }
        self.silent = None;
        let Some(process) = &self.process else {
            let what = "something answers at the data plane's socket, and which process it is is not known: \
                        it must be ended by hand (ss -xlp shows it)";
            return self.say(what.into());
        };
        let (pid, patience) = (process.pid, patience.as_secs());
        self.say(format!(
            "the data plane (process {pid}) has not said welcome within {patience} s: it is started again"
        ));
        self.end().await;
        self.engine.failures.send_modify(|n| *n += 1);
    }

    /// Starts one with what is in force.
    async fn launch(&mut self) {
        let Some(start) = self.start.clone() else { return };
        self.restart.borrow_and_update();
        let Some(boot) = self.engine.state().boot else { return };
        if self.was_there {
            self.engine.publish(|state| state.dataplane.restarts += 1);
        }
        self.was_there = true;
        self.due = now() + self.backoff;
        self.backoff = (self.backoff * 2).min(BACKOFF.1);
        match spawn(&start, &self.engine.settings.run_dir, &boot).await {
            Ok(process) => {
                tracing::info!(pid = process.pid, snapshot = boot.revision, "data plane started");
                self.process = Some(process);
            }
            Err(error) => {
                let trouble = format!("{} cannot be started: {error}", start.program.display());
                tracing::error!("{trouble}");
                self.engine.publish(|state| state.dataplane.trouble = Some(trouble));
                self.engine.failures.send_modify(|n| *n += 1);
            }
        }
    }

    async fn end(&mut self) {
        if let Some(mut process) = self.process.take() {
            process.end().await;
        }
    }
}

/// Waits until it is no longer kept.
async fn decided(fate: &mut watch::Receiver<Fate>) {
    _ = fate.wait_for(|fate| *fate != Fate::Keep).await;
}

fn told(event: &Event) {
    if let Event::Health { backend, address, healthy, reason } = event {
        tracing::info!(backend, %address, healthy, reason, "an endpoint is well, or no longer");
    }
}

/// Writes what a data plane starts with; a large one takes a while.
fn write_boot(run_dir: &Path, boot: &Snapshot) -> io::Result<PathBuf> {
    fs::DirBuilder::new().recursive(true).mode(0o755).create(run_dir)?;
    let (next, snapshot) = (run_dir.join("snapshot.next"), run_dir.join("snapshot.json"));
    let mut options = fs::OpenOptions::new();
    let mut file = options.write(true).create(true).truncate(true).mode(0o600).open(&next)?;
    file.write_all(boot.to_json().as_bytes())?;
    fs::rename(&next, &snapshot)?;
    Ok(snapshot)
}

async fn spawn(start: &Start, run_dir: &Path, boot: &Arc<Snapshot>) -> io::Result<Process> {
    let (dir, boot) = (run_dir.to_owned(), Arc::clone(boot));
    let snapshot = tokio::task::spawn_blocking(move || write_boot(&dir, &boot)).await.map_err(io::Error::other)??;
    let mut command = Command::new(&start.program);
    command.arg("--snapshot").arg(snapshot).arg("--run-dir").arg(run_dir).args(&start.arguments);
    // Its own group: what is typed at the daemon's terminal is not for it.
    command.stdin(Stdio::null()).process_group(0).kill_on_drop(false);
    if let Some(log) = &start.log {
        let file = fs::OpenOptions::new().append(true).create(true).mode(0o640).open(log)?;
        command.stdout(file.try_clone()?).stderr(file);
    }
    let child = command.spawn()?;
    let pid = child.id().ok_or_else(|| io::Error::other("it ended at once"))?;
    let process = Process { pid, started: started(pid).unwrap_or_default(), child: Some(child) };
    // Should the daemon end before the socket is there, the next one finds it by this.
    let path = run_dir.join("dataplane.pid");
    if let Err(error) = fs::write(&path, format!("{} {}\n", process.pid, process.started)) {
        // It runs: without it nobody would look after it.
        tracing::warn!(%error, "{} cannot be written", path.display());
    }
    Ok(process)
}

/// A data plane's process. A number alone may be another's after a while; with the time of its start it is not.
struct Process {
    pid: u32,
    started: u64,
    /// If it is our child.
    child: Option<Child>,
}

impl Process {
    fn of_pid(pid: u32) -> Option<Self> {
        Some(Self { pid, started: started(pid)?, child: None })
    }

    /// Whoever listens at a socket, by the kernel's word. Not this process, and none that it cannot see.
    async fn of_socket(socket: &Path) -> Option<Self> {
        let stream = timeout(CREDENTIALS, UnixStream::connect(socket)).await.ok()?.ok()?;
        let pid = u32::try_from(stream.peer_cred().ok()?.pid()?).ok()?;
        if pid == 0 || pid == std::process::id() { None } else { Self::of_pid(pid) }
    }

    fn of_file(run_dir: &Path) -> Option<Self> {
        let text = fs::read_to_string(run_dir.join("dataplane.pid")).ok()?;
        let (pid, started) = text.trim().split_once(' ')?;
        let mut process = Self { pid: pid.parse().ok()?, started: started.parse().ok()?, child: None };
        process.is_alive().then_some(process)
    }

    fn is_alive(&mut self) -> bool {
        match &mut self.child {
            Some(child) => matches!(child.try_wait(), Ok(None)),
            None => started(self.pid) == Some(self.started),
        }
    }

    fn epitaph(mut self) -> String {
        match self.child.as_mut().map(Child::try_wait) {
            Some(Ok(Some(status))) => format!("process {}, {status}", self.pid),
            _ => format!("process {}", self.pid),
        }
    }

    /// Tells it to end, and waits until it has.
    async fn end(&mut self) {
        if !self.is_alive() {
            return;
        }
        tracing::info!(pid = self.pid, "stopping the data plane");
        self.signal(Signal::TERM);
        if timeout(END, self.ended()).await.is_err() {
            tracing::error!(pid = self.pid, "the data plane does not end by itself: killed");
            self.signal(Signal::KILL);
            _ = timeout(END, self.ended()).await;
        }
    }

    async fn ended(&mut self) {
        while self.is_alive() {
            sleep(Duration::from_millis(10)).await;
        }
    }

    fn signal(&self, signal: Signal) {
        if let Some(pid) = i32::try_from(self.pid).ok().and_then(Pid::from_raw)
            && let Err(error) = kill_process(pid, signal)
        {
            tracing::warn!(pid = self.pid, %error, "the data plane cannot be signalled");
        }
    }
}

/// When a process that is not a zombie was started, in the kernel's ticks: field 22 of its `stat`, whose second may hold anything in parentheses.
fn started(pid: u32) -> Option<u64> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    let (_, rest) = stat.rsplit_once(") ")?;
    let mut fields = rest.split(' ');
    let is_zombie = matches!(fields.next()?, "Z" | "X");
    fields.nth(18)?.parse().ok().filter(|_| !is_zombie)
}
