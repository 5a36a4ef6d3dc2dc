//! The data plane as a process: this test program itself plays it, in another process.

use super::*;
use crate::{admin::api::Code, config};
use rustix::process::{Pid, Signal, kill_process};
use std::{os::unix::fs::PermissionsExt, path::Path};
use weirgate_dataplane::snapshot::Snapshot;

/// Not a test: a data plane's process, which serves until it is ended.
#[tokio::test]
#[ignore = "what other tests start"]
async fn a_process() {
    let (Ok(snapshot), Ok(run_dir)) = (std::env::var("STAND_IN_SNAPSHOT"), std::env::var("STAND_IN_RUN_DIR")) else {
        return;
    };
    let snapshot = Snapshot::from_json(&std::fs::read_to_string(snapshot).unwrap()).unwrap();
    if snapshot.name == "broken" {
        std::process::exit(1);
    }
    let _stand_in = StandIn::start(Path::new(&run_dir), Some(snapshot));
    // Not for ever, should whoever started it be gone.
    tokio::time::sleep(PATIENCE * 3).await;
}

/// Not a test: a data plane's process that listens and says nothing.
#[tokio::test]
#[ignore = "what another test starts"]
async fn a_hung_process() {
    let Ok(run_dir) = std::env::var("STAND_IN_RUN_DIR") else { return };
    let socket = Path::new(&run_dir).join(weirgate_dataplane::link::SOCKET);
    let _listener = std::os::unix::net::UnixListener::bind(socket).unwrap();
    tokio::time::sleep(PATIENCE * 3).await;
}

#[tokio::test]
async fn one_that_hangs_is_known_by_its_socket_ended_and_started_again() {
    let world = World::new("hangs").await;
    world.apply("b").await.unwrap();
    let (dir, stand_in) = world.kill().await;
    stand_in.stop();
    let socket = dir.path().join(weirgate_dataplane::link::SOCKET);
    _ = std::fs::remove_file(&socket);
    let mut hung = tokio::process::Command::new(std::env::current_exe().unwrap());
    hung.args(["--exact", "daemon::tests::supervising::a_hung_process", "--ignored"]).kill_on_drop(true);
    hung.env("STAND_IN_RUN_DIR", dir.path()).stdout(std::process::Stdio::null());
    let mut hung = hung.spawn().unwrap();
    eventually(async || socket.exists().then_some(())).await.expect("it listens");
    assert!(!dir.path().join("dataplane.pid").exists(), "nothing else says which process it is");
    // One that was told to attach leaves it alone.
    let world = World::with(dir, stand_in, None, |it| it.start_timeout = Duration::ZERO);
    world.until(|state| state.dataplane.trouble.as_ref().is_some_and(|why| why.contains("no welcome"))).await;
    assert!(hung.try_wait().unwrap().is_none());
    let (dir, stand_in) = world.kill().await;
    let start = program(&dir);
    let world = World::with(dir, stand_in, Some(start), |it| it.start_timeout = Duration::from_secs(5));
    world.engine.boot_last();
    tokio::time::timeout(PATIENCE, hung.wait()).await.expect("it is ended").unwrap();
    world.until(|state| state.link.is_some() && state.dataplane.serves == Some(1_000_000)).await;
    end(world).await;
}

/// A program that takes what a data plane takes.
fn program(dir: &Dir) -> Start {
    let this = std::env::current_exe().unwrap();
    let script = format!(
        "#!/bin/sh\nexport STAND_IN_SNAPSHOT=\"$2\" STAND_IN_RUN_DIR=\"$4\"\nexec {} --exact daemon::tests::supervising::a_process --ignored >/dev/null\n",
        this.display()
    );
    let path = dir.path().join("dataplane");
    std::fs::write(&path, script).unwrap();
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).unwrap();
    Start { program: path, arguments: vec!["--no-huge".into()], log: Some(dir.path().join("dataplane.log")) }
}

/// A daemon that starts its data plane with `/a`.
async fn supervised(name: &str) -> World {
    let dir = Dir::new(name);
    let start = program(&dir);
    // Only for its type: nobody listens there.
    let unused = Dir::new("unused");
    let stand_in = StandIn::start(unused.path(), None);
    let world = World::over(dir, stand_in, Some(start));
    let applied = world.apply_with("a", |it| it.how.restart = true).await.unwrap();
    assert_eq!((applied.revision, applied.restart), (1, true));
    world
}

fn pid(world: &World) -> u32 {
    world.engine.state().dataplane.pid.expect("it is connected")
}

fn kill(pid: u32) {
    kill_process(Pid::from_raw(pid.try_into().unwrap()).unwrap(), Signal::KILL).unwrap();
}

async fn end(world: World) {
    let pid = pid(&world);
    world.fate.send_replace(Fate::End);
    tokio::time::timeout(PATIENCE, world.supervisor).await.expect("in time").unwrap();
    assert!(!Path::new(&format!("/proc/{pid}")).exists(), "it is stopped");
}

#[tokio::test]
async fn one_that_dies_is_started_again_with_what_is_in_force() {
    let world = supervised("dies").await;
    world.apply("b").await.unwrap();
    for n in 1..3 {
        let old = pid(&world);
        kill(old);
        world.until(|state| state.link.is_some() && state.dataplane.pid != Some(old)).await;
        world.until(|state| state.dataplane.serves == Some(2_000_000)).await;
        assert_eq!(world.engine.state().dataplane.restarts, n);
    }
    let booted = std::fs::read_to_string(world.dir.path().join("snapshot.json")).unwrap();
    assert!(booted.contains("\"/b\"") && booted.contains("2000000"), "it starts with it, and gets nothing else first");
    end(world).await;
}

#[tokio::test]
async fn one_that_runs_is_found_by_the_next_daemon() {
    let world = supervised("found").await;
    let old = pid(&world);
    let (dir, stand_in) = world.kill().await;
    let start = program(&dir);
    let world = World::over(dir, stand_in, Some(start));
    world.engine.boot_last();
    world.until(|state| state.link.is_some()).await;
    assert_eq!((pid(&world), world.engine.state().dataplane.restarts), (old, 0));
    // It is no child of this one, and still it is started again.
    kill(old);
    world.until(|state| state.link.is_some() && state.dataplane.pid != Some(old)).await;
    assert_eq!(world.engine.state().dataplane.restarts, 1);
    end(world).await;
}

#[tokio::test]
async fn a_new_dataplane_block_is_started_and_a_broken_one_gives_way_to_the_old() {
    let world = supervised("restart").await;
    let other = |from: &'static str, to: &'static str| {
        move |it: &mut ApplyRequest| {
            it.files[0].text = yaml("b").replace("cores: [0]", "cores: [0, 0]").replace(from, to);
            it.how.restart = true;
        }
    };
    let first = pid(&world);
    let applied = world.apply_with("b", other("x", "x")).await.unwrap();
    assert!(applied.restart && applied.revision == 2);
    let second = pid(&world);
    assert_ne!(first, second);
    // Its process ends at once.
    let broken = |it: &mut ApplyRequest| {
        it.files[0].text = yaml("c").replace("name: test", "name: broken");
        it.how.restart = true;
    };
    let error = world.apply_with("c", broken).await.unwrap_err();
    assert_eq!(error.code, Code::Refused, "{error:?}");
    assert!(error.error.contains("does not start"), "{error:?}");
    world.until(|state| state.link.is_some() && state.dataplane.serves == Some(2_000_000)).await;
    assert_eq!(world.engine.state().number(), Some(2));
    let same_block = |it: &mut ApplyRequest| it.files[0].text = yaml("d").replace("cores: [0]", "cores: [0, 0]");
    assert!(!world.apply_with("d", same_block).await.unwrap().restart);
    end(world).await;
}

#[tokio::test]
async fn without_a_data_plane_one_may_go_back_or_start_another() {
    let world = supervised("down").await;
    world.apply("b").await.unwrap();
    // It cannot be started any more.
    let program = world.dir.path().join("dataplane");
    let sound = std::fs::read_to_string(&program).unwrap();
    let program_is = |text: &str| {
        let next = world.dir.path().join("next");
        std::fs::write(&next, text).unwrap();
        std::fs::set_permissions(&next, std::fs::Permissions::from_mode(0o755)).unwrap();
        std::fs::rename(&next, &program).unwrap();
    };
    program_is("#!/bin/sh\nexit 1\n");
    kill(pid(&world));
    world.until(|state| state.link.is_none()).await;
    let error = world.apply("c").await.unwrap_err();
    assert_eq!(error.code, Code::NoDataplane, "{error:?}");
    program_is(&sound);
    let request = crate::admin::api::RollbackRequest { to: Some(1), ..Default::default() };
    let back = world.engine.rollback(&Who::process(0, Some(1)), request).await.unwrap();
    assert_eq!((back.revision, back.restart), (4, true));
    assert!(world.engine.state().link.is_some());
    end(world).await;
}

/// What a daemon leaves that is killed after it started a data plane with another block, and before that was in force.
async fn half_started(dir: &Dir) -> tokio::process::Child {
    let text = vec![("gateway.yaml".to_owned(), yaml("x").replace("cores: [0]", "cores: [0, 0]"))];
    let model = config::compile(&text, &config::Environment::default()).unwrap();
    let path = dir.path().join("half.json");
    std::fs::write(&path, Snapshot { revision: 2_000_000, ..model.snapshot }.to_json()).unwrap();
    let socket = dir.path().join(weirgate_dataplane::link::SOCKET);
    _ = std::fs::remove_file(&socket);
    let mut half = tokio::process::Command::new(program(dir).program);
    half.arg("--snapshot").arg(path).arg("--run-dir").arg(dir.path()).kill_on_drop(true);
    let half = half.spawn().unwrap();
    eventually(async || socket.exists().then_some(())).await.expect("it listens");
    half
}

#[tokio::test]
async fn one_that_was_started_with_what_never_came_in_force_gives_way() {
    let world = World::new("half-started").await;
    world.apply("b").await.unwrap();
    let (dir, stand_in) = world.kill().await;
    stand_in.stop();
    let mut half = half_started(&dir).await;
    let start = program(&dir);
    let world = World::over(dir, stand_in, Some(start));
    world.engine.boot_last();
    tokio::time::timeout(PATIENCE, half.wait()).await.expect("it is ended").unwrap();
    world.until(|state| state.link.is_some() && state.dataplane.serves == Some(1_000_000)).await;
    end(world).await;
}

#[tokio::test]
async fn the_first_revision_may_replace_what_a_killed_daemon_began() {
    let dir = Dir::new("half-first");
    let _half = half_started(&dir).await;
    let unused = Dir::new("unused");
    let start = program(&dir);
    let world = World::over(dir, StandIn::start(unused.path(), None), Some(start));
    world.until(|state| state.answered).await;
    let error = world.apply("b").await.unwrap_err();
    assert_eq!(error.code, Code::NeedsRestart, "{error:?}");
    let applied = world.apply_with("b", |it| it.how.restart = true).await.unwrap();
    assert!(applied.restart);
    assert_eq!(world.engine.state().dataplane.serves, Some(1_000_000));
    end(world).await;
}
