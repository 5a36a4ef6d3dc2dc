//! What a clock that is set, a full disk and a missing audit log do to what was promised.

use super::{applying::root, watching::watching, *};
use crate::{
    admin::api::{ChangeSource, Code, ConfirmRequest},
    daemon::{clock, files::FileSource},
};
use std::sync::atomic::{AtomicU64, Ordering};

/// A time of day that somebody sets.
#[derive(Clone)]
struct Wrong(Arc<AtomicU64>);

const HOUR: u64 = 3_600_000;

impl Wrong {
    fn new() -> Self {
        Self(Arc::new(AtomicU64::new(clock::now_ms())))
    }

    fn time(&self) -> TimeOfDay {
        let Self(time) = self.clone();
        TimeOfDay::of(move || time.load(Ordering::Relaxed))
    }

    /// A daemon that goes by it.
    async fn world(&self, name: &str) -> World {
        let dir = Dir::new(name);
        let stand_in = StandIn::start(dir.path(), Some(body("a").snapshot));
        let world = World::with(dir, stand_in, None, |it| it.time = self.time());
        world.until(|state| state.answered).await;
        world.apply("b").await.unwrap();
        world
    }
}

#[tokio::test]
async fn a_clock_that_is_set_forward_takes_no_time_from_a_confirmation() {
    let clock = Wrong::new();
    let world = clock.world("clock-forward").await;
    world.apply_with("c", |it| it.how.confirm_seconds = Some(3_600)).await.unwrap();
    clock.0.fetch_add(2 * HOUR, Ordering::Relaxed);
    assert!(world.engine.state().unconfirmed().unwrap().seconds_left > 3_000);
    world.engine.confirm(&root(), ConfirmRequest::default()).await.unwrap();
    assert_eq!(world.serves(), "c");
}

#[tokio::test]
async fn a_clock_that_is_set_back_keeps_nothing_in_force_for_longer() {
    let clock = Wrong::new();
    let world = clock.world("clock-back").await;
    world.apply_with("c", |it| it.how.confirm_seconds = Some(1)).await.unwrap();
    clock.0.fetch_sub(2 * HOUR, Ordering::Relaxed);
    world.until(|state| state.number() == Some(3)).await;
    assert_eq!(world.serves(), "b");
    // Also while no daemon runs.
    world.apply_with("c", |it| it.how.confirm_seconds = Some(1)).await.unwrap();
    world.engine.publish(|state| state.unconfirmed = None); // this one does not live to see it
    let (dir, stand_in) = world.kill().await;
    clock.0.fetch_sub(2 * HOUR, Ordering::Relaxed);
    let world = World::with(dir, stand_in, None, |it| it.time = clock.time());
    let left = world.engine.state().unconfirmed().expect("it is on the disk").seconds_left;
    assert!(left <= 1, "{left}");
    world.until(|state| state.answered).await;
    world.engine.await_confirmation();
    world.until(|state| state.number() == Some(5)).await;
    assert_eq!(world.serves(), "b");
}

#[tokio::test]
async fn files_that_could_not_be_written_are_tried_again() {
    let (world, file, _wish) = watching("files-again").await;
    let revisions = world.dir.path().join("state/revisions");
    let away = world.dir.path().join("away");
    std::fs::rename(&revisions, &away).unwrap();
    std::fs::write(&file, yaml("c")).unwrap();
    world.until(|state| state.files.refused.is_some()).await;
    assert_eq!(world.serves(), "b");
    std::fs::rename(&away, &revisions).unwrap();
    world.until(|state| state.files.refused.is_none()).await;
    assert_eq!(world.serves(), "c");
}

#[tokio::test]
async fn files_that_were_refused_do_not_come_over_what_was_applied_since() {
    let world = World::new("files-older").await;
    world.apply("b").await.unwrap();
    let file = world.dir.path().join("gateway.yaml");
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap();
    std::fs::write(&file, yaml("c") + &format!("admin: {{tcp: \"{address}\"}}\n")).unwrap();
    let mut files = FileSource::new(Arc::clone(&world.engine), vec![file], None);
    files.load(ChangeSource::Watch, false).await.unwrap_err();
    world.apply("d").await.unwrap();
    drop(taken);
    files.try_again();
    assert!(!files.load(ChangeSource::Watch, false).await.unwrap());
    assert_eq!(world.serves(), "d");
}

#[tokio::test]
async fn without_an_audit_log_what_was_in_force_is_served_and_nothing_changes() {
    let world = World::new("no-audit-log").await;
    world.apply("b").await.unwrap();
    let (dir, stand_in) = world.kill().await;
    // Something else has its place.
    let path = dir.path().join("state/audit.jsonl");
    std::fs::remove_file(&path).unwrap();
    std::fs::create_dir(&path).unwrap();
    let world = World::over(dir, stand_in, None);
    world.until(|state| state.answered).await;
    assert_eq!((world.serves().as_str(), world.engine.state().number()), ("b", Some(1)));
    assert!(world.engine.state().read_only.unwrap().contains("audit.jsonl cannot be opened"));
    let error = world.apply("c").await.unwrap_err();
    assert_eq!(error.code, Code::Storage);
    assert!(error.error.contains("nothing may change unseen"), "{error:?}");
    world.engine.drain(&root(), true).await.unwrap_err();
    // It is tried again by itself.
    tokio::spawn(Arc::clone(&world.engine).mind_audit());
    std::fs::remove_dir(&path).unwrap();
    world.until(|state| state.read_only.is_none()).await;
    world.apply("c").await.unwrap();
    assert_eq!(audit_lines(&world.dir)[0]["action"], "auditLog");
}
