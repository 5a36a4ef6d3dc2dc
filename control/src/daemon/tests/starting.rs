//! What whoever starts the daemon is told, and when: the daemon runs in another process, because where that is told is a variable of the environment.

use super::*;
use crate::daemon::options::Options;
use clap::Parser;
use std::path::Path;
use tokio::{net::UnixDatagram, process::Command};

/// Not a test: a daemon that attaches.
#[tokio::test]
#[ignore = "what another test starts"]
async fn a_daemon() {
    let Ok(dir) = std::env::var("DAEMON_DIR") else { return };
    let at = |name: &str| Path::new(&dir).join(name).display().to_string();
    let (config, state) = (at("gateway.yaml"), at("state"));
    let said = ["weirgate-control", "--attach", "--config", &config, "--state-dir", &state, "--run-dir", &dir];
    _ = crate::daemon::run(Options::parse_from(said)).await;
}

struct Told(UnixDatagram);

impl Told {
    /// What is told, up to this, which is not among it.
    async fn until(&self, wanted: &str) -> Vec<String> {
        let mut all = Vec::new();
        let mut bytes = vec![0; 1 << 12];
        loop {
            let received = tokio::time::timeout(PATIENCE, self.0.recv(&mut bytes)).await;
            let len = received.unwrap_or_else(|_| panic!("no {wanted} after {all:?}")).unwrap();
            let text = String::from_utf8_lossy(&bytes[..len]).trim().to_owned();
            if text.starts_with(wanted) {
                return all;
            }
            all.push(text);
        }
    }
}

async fn start(dir: &Dir) -> (tokio::process::Child, Told) {
    let socket = dir.path().join("notify");
    let told = Told(UnixDatagram::bind(&socket).unwrap());
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args(["--exact", "daemon::tests::starting::a_daemon", "--ignored", "--nocapture"]);
    command.env("DAEMON_DIR", dir.path()).env("NOTIFY_SOCKET", socket).kill_on_drop(true);
    command.stdout(std::process::Stdio::null()).stderr(std::process::Stdio::null());
    (command.spawn().unwrap(), told)
}

#[tokio::test]
async fn ready_is_told_when_the_data_plane_has_what_is_in_force() {
    let world = World::new("ready").await;
    world.apply("b").await.unwrap();
    let (dir, stand_in) = world.kill().await;
    stand_in.stop();
    std::fs::write(dir.path().join("gateway.yaml"), yaml("b")).unwrap();
    let (_daemon, told) = start(&dir).await;
    let before = told.until("STATUS=revision 1 waits for a data plane").await;
    assert!(!before.iter().any(|it| it.starts_with("READY")), "{before:?}");
    assert!(before.iter().any(|it| it.starts_with("EXTEND_TIMEOUT_USEC=")), "{before:?}");
    stand_in.set(|it| it.replaced = 0);
    stand_in.listen(dir.path());
    let before = told.until("READY=1").await;
    assert!(stand_in.inside().replaced > 0, "{before:?}");
    told.until("STATUS=revision 1 is in force").await;
}

#[tokio::test]
async fn ready_is_told_when_there_is_nothing_to_serve() {
    let dir = Dir::new("ready-nothing");
    std::fs::write(dir.path().join("gateway.yaml"), "apiVersion: [").unwrap();
    let (_daemon, told) = start(&dir).await;
    told.until("READY=1").await;
    told.until("STATUS=no revision is in force").await;
}
