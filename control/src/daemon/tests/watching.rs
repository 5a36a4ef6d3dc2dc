//! The configuration's files, as they change under the daemon.

use super::*;
use crate::{
    admin::api::{ChangeSource, Code, ConfirmRequest},
    daemon::files::FileSource,
};
use tokio::sync::mpsc;

/// A daemon that watches a file, which says `/b` at first.
pub(super) async fn watching(name: &str) -> (World, PathBuf, mpsc::Sender<()>) {
    let world = World::new(name).await;
    let dir = world.dir.path().join("etc");
    std::fs::create_dir(&dir).unwrap();
    let file = dir.join("gateway.yaml");
    std::fs::write(&file, yaml("b")).unwrap();
    let mut files = FileSource::new(Arc::clone(&world.engine), vec![file.clone()], None);
    assert!(files.load(ChangeSource::Start, false).await.unwrap());
    let (wish, wishes) = mpsc::channel(1);
    tokio::spawn(files.run(wishes));
    (world, file, wish)
}

#[tokio::test]
async fn files_are_taken_when_they_change_and_left_alone_when_they_are_broken() {
    let (world, file, wish) = watching("watch").await;
    assert_eq!((world.serves().as_str(), world.engine.state().number()), ("b", Some(1)));
    std::fs::write(&file, "apiVersion: [").unwrap();
    world.until(|state| !state.files.findings.is_empty()).await;
    assert_eq!((world.serves().as_str(), world.engine.state().number()), ("b", Some(1)));
    // As an editor does it: a new file in the old one's place.
    let new = file.with_extension("new");
    std::fs::write(&new, yaml("c")).unwrap();
    std::fs::rename(&new, &file).unwrap();
    world.until(|state| state.number() == Some(2) && state.files.findings.is_empty()).await;
    assert_eq!(world.serves(), "c");
    let head = world.engine.revision(2).await.unwrap().head.clone();
    assert_eq!((head.source, head.uid), (ChangeSource::Watch, Who::daemon().uid));
    // What came through the API stays until somebody wishes for the files.
    world.apply("d").await.unwrap();
    wish.send(()).await.unwrap();
    world.until(|state| state.number() == Some(4)).await;
    assert_eq!(world.serves(), "c");
}

#[tokio::test]
async fn files_wait_until_a_change_is_confirmed() {
    let (world, file, _wish) = watching("watch-confirm").await;
    world.apply_with("c", |it| it.how.confirm_seconds = Some(3_600)).await.unwrap();
    std::fs::write(&file, yaml("d")).unwrap();
    world.until(|state| state.files.refused.is_some()).await;
    assert_eq!(world.serves(), "c");
    world.engine.confirm(&Who::daemon(), ConfirmRequest::default()).await.unwrap();
    world.until(|state| state.number() == Some(3)).await;
    assert_eq!(world.serves(), "d");
}

#[tokio::test]
async fn files_that_were_in_force_are_not_taken_again_at_the_next_start() {
    let (world, file, _wish) = watching("watch-again").await;
    world.apply("c").await.unwrap();
    let seen = world.engine.with_store(|store| store.current().files.clone()).await;
    let mut files = FileSource::new(Arc::clone(&world.engine), vec![file.clone()], seen);
    assert!(!files.load(ChangeSource::Start, false).await.unwrap());
    assert_eq!(world.serves(), "c");
    std::fs::remove_file(&file).unwrap();
    assert_eq!(files.load(ChangeSource::Watch, false).await.unwrap_err().code, Code::Invalid);
}

#[tokio::test]
async fn what_others_do_beside_the_files_keeps_nobody_waiting() {
    let (world, file, wish) = watching("watch-noise").await;
    let noise = file.with_file_name("other.yaml");
    let mut writes = 0u64;
    let noise = tokio::task::spawn(async move {
        loop {
            writes += 1;
            std::fs::write(&noise, writes.to_string()).unwrap();
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    });
    std::fs::write(&file, yaml("c")).unwrap();
    world.until(|state| state.number() == Some(2)).await;
    world.apply("d").await.unwrap();
    wish.send(()).await.unwrap();
    world.until(|state| state.number() == Some(4)).await;
    assert_eq!(world.serves(), "c");
    noise.abort();
}

#[tokio::test]
async fn a_file_that_never_stands_still_is_taken_all_the_same() {
    let (world, file, _wish) = watching("watch-restless").await;
    let restless = tokio::task::spawn(async move {
        for n in 0u64.. {
            // Renamed into its place, so that it is whole whenever it is read.
            let new = file.with_extension("new");
            std::fs::write(&new, format!("{}# {n}\n", yaml("c"))).unwrap();
            std::fs::rename(&new, &file).unwrap();
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    });
    world.until(|state| state.number() >= Some(2)).await;
    assert_eq!(world.serves(), "c");
    restless.abort();
}

#[tokio::test]
async fn a_directory_that_is_replaced_is_watched_again() {
    let (world, file, _wish) = watching("watch-replaced").await;
    let directory = file.parent().unwrap().to_owned();
    for (old, path, revision) in [("old", "c", 2), ("older", "d", 3)] {
        let new = directory.with_file_name("new");
        std::fs::create_dir(&new).unwrap();
        std::fs::write(new.join("gateway.yaml"), yaml(path)).unwrap();
        std::fs::rename(&directory, directory.with_file_name(old)).unwrap();
        std::fs::rename(&new, &directory).unwrap();
        world.until(|state| state.number() == Some(revision)).await;
        assert_eq!(world.serves(), path);
    }
    std::fs::write(&file, yaml("e")).unwrap();
    world.until(|state| state.number() == Some(4)).await;
    // Gone and back is no change, and then nothing is wrong any more.
    std::fs::remove_file(&file).unwrap();
    world.until(|state| state.files.refused.is_some()).await;
    std::fs::write(&file, yaml("e")).unwrap();
    world.until(|state| state.files.refused.is_none()).await;
    assert_eq!((world.serves().as_str(), world.engine.state().number()), ("e", Some(4)));
}

#[tokio::test]
async fn a_link_that_leads_elsewhere_is_followed() {
    let world = World::new("watch-link").await;
    let at = |name: &str| world.dir.path().join(name);
    for (name, path) in [("1", "b"), ("2", "c")] {
        std::fs::create_dir(at(name)).unwrap();
        std::fs::write(at(name).join("gateway.yaml"), yaml(path)).unwrap();
    }
    let link = |target: &str| {
        std::os::unix::fs::symlink(target, at("next")).unwrap();
        std::fs::rename(at("next"), at("now")).unwrap();
    };
    link("1");
    let mut files = FileSource::new(Arc::clone(&world.engine), vec![at("now/gateway.yaml")], None);
    assert!(files.load(ChangeSource::Start, false).await.unwrap());
    let (_wish, wishes) = mpsc::channel(1);
    tokio::spawn(files.run(wishes));
    link("2");
    world.until(|state| state.number() == Some(2)).await;
    assert_eq!(world.serves(), "c");
    std::fs::write(at("2/gateway.yaml"), yaml("d")).unwrap();
    world.until(|state| state.number() == Some(3)).await;
    assert_eq!(world.serves(), "d");
}
