//! What must be reachable: the daemon, the data plane behind it, and the backends.

use super::report::Section;
use crate::{
    admin::{
        api::{self, EndpointSummary, Status},
        client::{Client, Error},
    },
    cli::human::{age, bytes, count},
};
use std::{net::SocketAddr, path::Path, sync::Arc, time::Duration};
use tokio::{net::TcpStream, sync::Semaphore, task::JoinSet, time::timeout};

/// A backend's endpoint answers a SYN within this, or is as good as gone.
const CONNECT: Duration = Duration::from_secs(1);
/// Connections that are tried at the same time.
const AT_ONCE: usize = 32;
/// Endpoints that are tried at all.
const TRIED_MAX: usize = 512;
/// Below this the history cannot be written for long.
const DISK_LEAST: u64 = 64 << 20;

/// An endpoint to try.
#[derive(Clone, Debug)]
pub(super) struct Target {
    pub(super) backend: String,
    pub(super) address: SocketAddr,
}

impl Target {
    pub(super) fn of(endpoint: &EndpointSummary) -> Option<Self> {
        Some(Self { backend: endpoint.backend.clone(), address: endpoint.address.parse().ok()? })
    }
}

/// Whether the daemon runs, is of this version, and serves.
pub(super) async fn daemon(client: &Client) -> (Section, Option<Status>) {
    let mut section = Section::new("daemon and data plane");
    let status = match client.get::<Status>(api::STATUS).await {
        Ok(status) => status,
        Err(error) => {
            // A node that is prepared has none yet.
            let is_absent = matches!(error, Error::Unreachable { .. });
            let next = error.next().unwrap_or_else(|| "journalctl -u weirgate".into());
            section.fault(!is_absent, error.to_string(), next);
            return (section, None);
        }
    };
    section.ok(format!("the daemon answers (node {}, process {}, since {})", status.node, status.pid, status.started));
    versions(&status, &mut section);
    serving(&status, &mut section);
    for finding in &status.findings {
        let place = finding.line.map(|line| format!(":{line}")).unwrap_or_default();
        section.warn(
            format!("a watched file is not in force: {}{place}: {}", finding.file, finding.message),
            "mend the file; what was in force before still is",
        );
    }
    if let Some(why) = &status.files_refused {
        section.warn(
            format!("the watched files are not in force: {why}"),
            "weirgate diff FILE.. shows what they would change",
        );
    }
    (section, Some(status))
}

fn versions(status: &Status, section: &mut Section) {
    let own = env!("CARGO_PKG_VERSION");
    let dataplane = status.dataplane.version.as_deref();
    let differs = |version: &str| version != own;
    if differs(&status.version) || dataplane.is_some_and(differs) {
        section.warn(
            format!(
                "versions differ: command line {own}, daemon {}, data plane {}",
                status.version,
                dataplane.unwrap_or("unknown")
            ),
            "after an upgrade: systemctl restart weirgate, in a maintenance window for the data plane",
        );
    } else {
        section.ok(format!("command line, daemon{} have version {own}", dataplane.map_or("", |_| " and data plane")));
    }
}

fn serving(status: &Status, section: &mut Section) {
    let dataplane = &status.dataplane;
    if !dataplane.connected {
        let why = dataplane.trouble.as_deref().unwrap_or("the daemon does not say why");
        section.fail(format!("no data plane is connected: {why}"), "journalctl -u weirgate shows its last words");
        return;
    }
    let workers = dataplane.workers.unwrap_or(0);
    section.ok(format!("the data plane runs with {}", count(workers as usize, "worker")));
    if dataplane.restarts > 0 {
        section.warn(
            format!("the data plane was started again {}", count(dataplane.restarts as usize, "time")),
            "journalctl -u weirgate shows why it ended",
        );
    }
    match (&status.revision, status.ready) {
        (Some(head), true) => section.ok(format!("revision {} is served", head.revision)),
        (_, ready) => {
            let why = status.not_ready.as_deref().unwrap_or("no revision is in force");
            let next = if status.draining { "weirgate undrain" } else { "weirgate apply FILE.." };
            section.fault(!ready && !status.draining, format!("not ready: {why}"), next);
        }
    }
    if let Some(waits) = &status.unconfirmed {
        section.warn(
            format!(
                "revision {} goes back to {} in {}",
                waits.revision,
                waits.back_to,
                age(waits.seconds_left * 1_000)
            ),
            "weirgate confirm keeps it",
        );
    }
}

/// Room for revisions and the audit log.
pub(super) fn disk(folder: &Path) -> Section {
    let mut section = Section::new("state directory");
    let shown = folder.display();
    match rustix::fs::statvfs(folder) {
        Ok(disk) if disk.f_bavail * disk.f_frsize >= DISK_LEAST && disk.f_favail != 0 => {
            section.ok(format!("{shown}: {} free", bytes(disk.f_bavail * disk.f_frsize)));
        }
        Ok(disk) => section.fail(
            format!(
                "{shown}: only {} free: the next revision may not be written",
                bytes(disk.f_bavail * disk.f_frsize)
            ),
            format!("df -h {shown}; df -i {shown}"),
        ),
        Err(rustix::io::Errno::NOENT) => section.skip(format!("{shown} is not there yet; the daemon makes it")),
        Err(error) => section.warn(format!("{shown}: {error}"), format!("ls -ld {shown}")),
    }
    section
}

/// Whether endpoints answer a connection from this host.
pub(super) async fn backends(targets: Vec<Target>) -> Section {
    let mut section = Section::new("backends (from this host's kernel; the data plane has a path of its own)");
    let all = targets.len();
    let room = Arc::new(Semaphore::new(AT_ONCE));
    let mut tries = JoinSet::new();
    for (number, target) in targets.into_iter().take(TRIED_MAX).enumerate() {
        let room = room.clone();
        tries.spawn(async move {
            let _place = room.acquire_owned().await.expect("it is never closed");
            let connected = timeout(CONNECT, TcpStream::connect(target.address)).await;
            let found = match connected {
                Ok(Ok(_)) => Ok(()),
                Ok(Err(error)) => Err(error.to_string()),
                Err(_) => Err(format!("no answer within {} s", CONNECT.as_secs())),
            };
            (number, target, found)
        });
    }
    let mut results = tries.join_all().await;
    results.sort_by_key(|(number, ..)| *number);
    let reached = results.iter().filter(|(.., found)| found.is_ok()).count();
    if reached > 0 {
        section.ok(format!("{reached} of {} answered", count(results.len(), "endpoint")));
    }
    for (_, Target { backend, address }, why) in results {
        let Err(why) = why else { continue };
        section.warn(
            format!("{backend}: {address}: {why}"),
            format!("does it listen there? Where only the data plane reaches it: weirgate get endpoints {backend}"),
        );
    }
    if all > TRIED_MAX {
        section.skip(format!("{} more were not tried", all - TRIED_MAX));
    }
    section
}
