//! `check`: whether a host is ready, as `linkerd check` says it. Everything that the kernel tells is read below a root, so that a made tree can be checked.

mod certs;
mod cpu;
mod host;
mod memory;
mod ports;
mod reach;
mod report;

use super::{
    Outcome, Shown,
    console::{Console, Exit},
    daemon::{At, Daemon},
    validate::compiled,
};
use crate::{
    admin::api::{self, Certificates, Endpoints, RevisionDetails, Status},
    config::Model,
    stat::Statistics,
};
use clap::Args;
use host::Host;
use reach::Target;
use report::{Report, Section};
use std::path::PathBuf;
use weirgate_dataplane::snapshot::{Dataplane, Snapshot};

/// Check whether this host is ready to run the gateway, and what to do where it is not
///
/// With files, the host is checked for what they say: cores, ports, memory, backends. Without files
/// it is checked for what the daemon has in force, if it can be reached. Failures end with 1,
/// warnings do not.
#[derive(Args)]
#[command(
    verbatim_doc_comment,
    after_help = "\
Examples:
  weirgate check gateway.yaml            # before the first start
  weirgate check                         # of what runs
  weirgate check -o json | jq '.sections[].lines[] | select(.mark == \"failure\")'"
)]
pub(super) struct Check {
    /// The configuration's files
    #[arg(value_name = "FILE")]
    files: Vec<PathBuf>,
    /// Read /proc and /sys below this folder, such as a copy of another host's; then nothing is asked that is not a file
    #[arg(long, value_name = "DIR", default_value = "/")]
    root: PathBuf,
    /// Where the daemon keeps revisions
    #[arg(long, value_name = "DIR", default_value = "/var/lib/weirgate")]
    state_dir: PathBuf,
    /// The data plane's run directory
    #[arg(long, value_name = "DIR", default_value = "/run/weirgate")]
    run_dir: PathBuf,
    #[command(flatten)]
    at: At,
    #[command(flatten)]
    shown: Shown,
}

/// What a host is checked for.
struct Plan<'a> {
    /// Cores, ports and memory, if they are known.
    dataplane: Option<&'a Dataplane>,
    /// A data plane runs, and has what it needs.
    is_running: bool,
    /// What `ethtool -k` says of an interface, or why it does not.
    offloads: &'a dyn Fn(&str) -> Result<String, String>,
}

/// What is in force, as far as a daemon told.
#[derive(Default)]
struct InForce {
    dataplane: Option<Dataplane>,
    targets: Vec<Target>,
    certificates: Option<Certificates>,
}

impl Check {
    pub(super) fn run(&self, console: &mut Console<'_>) -> Outcome {
        let report = self.report();
        console.show(self.shown.format, &report, |console, report| report.print(console))?;
        Ok(if report.failures == 0 { Exit::Done } else { Exit::Findings })
    }

    fn report(&self) -> Report {
        let host = Host::new(&self.root);
        let (configuration, model) = self.configuration();
        let (daemon, status, mut in_force) = if host.is_this() { self.daemon() } else { Default::default() };
        let is_running = host.is_this()
            && (status.is_some_and(|status| status.dataplane.connected)
                || Statistics::read(&self.run_dir).is_ok_and(|it| it.is_alive()));
        let dataplane = model.as_ref().map(|model| &model.snapshot.dataplane).or(in_force.dataplane.as_ref());
        let elsewhere = |_: &str| Err("they cannot be asked for below another root".to_owned());
        let offloads: &dyn Fn(&str) -> _ = if host.is_this() { &ports::ethtool } else { &elsewhere };
        let plan = Plan { dataplane, is_running, offloads };

        let mut report = Report::default();
        report.add(configuration);
        report.add(cpu::check(&host, &plan));
        report.add(memory::check(&host, &plan));
        report.add(memory::limits(&host, &plan));
        report.add(ports::check(&host, &plan));
        report.add(match &model {
            Some(model) => certs::of_files(&host, model),
            None => certs::of_daemon(in_force.certificates.take()),
        });
        if host.is_this() {
            report.add(reach::disk(&self.state_dir));
            report.add(daemon.unwrap_or_else(|| Section::new("daemon")));
            let targets = model.as_ref().map_or(in_force.targets, |model| targets_of(&model.snapshot));
            report.add(Daemon::block_on(reach::backends(targets)));
        }
        report
    }

    fn configuration(&self) -> (Section, Option<Model>) {
        let mut section = Section::new("configuration");
        if self.files.is_empty() {
            return (section, None);
        }
        match compiled(&self.files) {
            Ok(model) => {
                section.ok("valid");
                for discovery in &model.control.discoveries {
                    section.skip(format!("backend {}: its endpoints are found by the daemon", discovery.backend()));
                }
                (section, Some(model))
            }
            Err(findings) => {
                for finding in findings {
                    section
                        .fail(finding.to_string(), "cores, ports and backends cannot be checked before this is mended");
                }
                (section, None)
            }
        }
    }

    /// What the daemon says, and what it has in force where no files say what to check for.
    fn daemon(&self) -> (Option<Section>, Option<Status>, InForce) {
        let client = self.at.client().with_patience(std::time::Duration::from_secs(5));
        Daemon::block_on(async {
            let (section, status) = reach::daemon(&client).await;
            let mut in_force = InForce::default();
            if status.as_ref().is_some_and(|status| status.revision.is_some()) && self.files.is_empty() {
                let details = client.get::<RevisionDetails>(&api::of(api::REVISION, "current")).await.ok();
                let snapshot = details.and_then(|it| serde_json::from_value::<Snapshot>(it.snapshot).ok());
                in_force.certificates = client.get(api::CERTIFICATES).await.ok();
                in_force.dataplane = snapshot.map(|snapshot| snapshot.dataplane);
                let endpoints = client.get::<Endpoints>(api::ENDPOINTS).await.map(|it| it.endpoints);
                in_force.targets = endpoints.unwrap_or_default().iter().filter_map(Target::of).collect();
            }
            (Some(section), status, in_force)
        })
    }
}

fn targets_of(snapshot: &Snapshot) -> Vec<Target> {
    let of = |backend: &weirgate_dataplane::snapshot::Backend| {
        let name = backend.name.clone();
        let target = |endpoint: &weirgate_dataplane::snapshot::Endpoint| endpoint.address;
        backend
            .endpoints
            .iter()
            .map(target)
            .map(move |address| Target { backend: name.clone(), address })
            .collect::<Vec<_>>()
    };
    snapshot.backends.iter().flat_map(of).collect()
}

#[cfg(test)]
mod tests;
