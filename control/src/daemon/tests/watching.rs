//! The configuration's files, as they change under the daemon.

use super::*;
use crate::{
    admin::api::{ChangeSource, Code, ConfirmRequest},
    daemon::files::FileSource,
};
use tokio::sync::mpsc;

/// A daemon that watches a file, which says `/b` at first.
async fn watching(name: &str) -> (World, PathBuf, mpsc::Sender<()>) {
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
    world.apply_with("c", |it| it.confirm_seconds = Some(3_600)).await.unwrap();
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
