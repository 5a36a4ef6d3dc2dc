//! Changes, against a data plane that answers, refuses, dies and comes back.

use super::{finding::weights, *};
use crate::{
    admin::api::{ChangeSource, Code, ConfirmRequest, DrainEndpointRequest, RollbackRequest},
    daemon::clock,
};
use weirgate_dataplane::link::message::Ask;

pub(super) fn root() -> Who {
    Who::process(0, Some(1))
}

#[tokio::test]
async fn a_change_is_numbered_accepted_kept_and_audited() {
    let world = World::new("apply").await;
    let applied = world.apply("b").await.unwrap();
    assert_eq!((applied.revision, applied.changed, applied.took_us), (1, true, Some(7)));
    assert_eq!(world.serves(), "b");
    let applied = world.apply_with("c", |it| it.how.message = Some("why".into())).await.unwrap();
    assert_eq!(applied.revision, 2);
    assert!(applied.difference.text.contains("+"), "{}", applied.difference.text);
    let inside = world.stand_in.inside();
    assert_eq!((inside.replaced, inside.changed), (1, 1), "everything first, then what differs");
    assert_eq!(inside.snapshot.unwrap().revision, 2_000_000);
    assert_eq!(world.engine.state().dataplane.serves, Some(2_000_000));
    // The same once more is no change.
    let again = world.apply("c").await.unwrap();
    assert_eq!((again.revision, again.changed), (2, false));
    assert_eq!(world.stand_in.inside().changed, 1);
    let lines = audit_lines(&world.dir);
    let said: Vec<_> =
        lines.iter().map(|it| (it["action"].as_str().unwrap(), it["outcome"].as_str().unwrap())).collect();
    assert_eq!(said, [("apply", "begun"), ("apply", "done")].repeat(3));
    assert_eq!((&lines[2]["detail"], &lines[3]["revision"], &lines[3]["uid"]), (&"why".into(), &2.into(), &0.into()));
}

#[tokio::test]
async fn what_is_refused_changes_nothing() {
    let world = World::new("refused").await;
    world.apply("b").await.unwrap();
    // Three mistakes, three findings.
    let broken = world
        .apply_with("b", |it| {
            it.files[0].text =
                yaml("b").replace("port: 80", "port: 0, prt: 1").replace("- {name: web, d", "- {name: web, x: 1, d");
        })
        .await;
    let error = broken.unwrap_err();
    assert_eq!(error.code, Code::Invalid);
    assert!(error.findings.len() >= 2 && error.findings.iter().all(|it| it.line.is_some()), "{error:?}");
    // The data plane says no.
    world.stand_in.set(|it| it.refuse = Some("not today".into()));
    let error = world.apply("c").await.unwrap_err();
    assert_eq!(error.code, Code::Refused);
    assert!(error.error.contains("not today"), "{error:?}");
    assert_eq!((world.engine.state().number(), world.serves().as_str()), (Some(1), "b"));
    let left = std::fs::read_dir(world.dir.path().join("state/revisions")).unwrap().count();
    assert_eq!(left, 1);
    let last = audit_lines(&world.dir).pop().unwrap();
    assert_eq!((&last["outcome"], last["detail"].as_str().unwrap().contains("not today")), (&"refused".into(), true));
    // And goes on by a difference afterwards: what it serves is still known.
    world.stand_in.set(|it| it.refuse = None);
    let replaced = world.stand_in.inside().replaced;
    assert_eq!(world.apply("c").await.unwrap().revision, 3, "no number is given twice");
    assert_eq!(world.stand_in.inside().replaced, replaced);
}

#[tokio::test]
async fn a_dry_run_only_tells() {
    let world = World::new("dry").await;
    world.apply("b").await.unwrap();
    let told = world.apply_with("c", |it| it.how.dry_run = true).await.unwrap();
    assert_eq!((told.revision, told.changed, told.dry_run), (1, true, true));
    assert_eq!(told.difference.changes[0].name, "http/site");
    assert_eq!(world.serves(), "b");
    assert_eq!(audit_lines(&world.dir).len(), 2, "nothing has changed");
}

#[tokio::test]
async fn two_writers_do_not_undo_each_other() {
    let world = World::new("writers").await;
    world.apply("b").await.unwrap();
    let (one, two) = tokio::join!(
        world.apply_with("c", |it| it.how.base = Some(1)),
        world.apply_with("d", |it| it.how.base = Some(1)),
    );
    let winners = [&one, &two].iter().filter(|it| it.is_ok()).count();
    assert_eq!(winners, 1);
    let winner = if one.is_ok() { "c" } else { "d" };
    let error = one.err().or(two.err()).unwrap();
    assert_eq!(error.code, Code::Conflict);
    assert!(error.next.unwrap().contains("weirgate diff 1 2"));
    assert_eq!(world.serves(), winner);
    // Those who name no base come one after the other.
    let mut set = Vec::new();
    for n in 0..10 {
        set.push(world.apply(&format!("p{n}")).await.unwrap().revision);
    }
    assert_eq!(set, (3..13).collect::<Vec<_>>());
}

#[tokio::test]
async fn going_back_makes_a_new_revision() {
    let world = World::new("rollback").await;
    for path in ["b", "c", "d"] {
        world.apply(path).await.unwrap();
    }
    let back = world.engine.rollback(&root(), RollbackRequest::default()).await.unwrap();
    assert_eq!((back.revision, world.serves().as_str()), (4, "c"));
    let request = RollbackRequest { to: Some(1), ..RollbackRequest::default() };
    assert_eq!(world.engine.rollback(&root(), request).await.unwrap().revision, 5);
    assert_eq!(world.serves(), "b");
    let head = world.engine.revision(5).await.unwrap().head.clone();
    assert_eq!(head.source, ChangeSource::Rollback { to: 1 });
    let request = RollbackRequest { to: Some(77), ..RollbackRequest::default() };
    assert_eq!(world.engine.rollback(&root(), request).await.unwrap_err().code, Code::NotFound);
}

#[tokio::test]
async fn what_nobody_confirms_goes_back() {
    let world = World::new("expire").await;
    world.apply("b").await.unwrap();
    let applied = world.apply_with("c", |it| it.how.confirm_seconds = Some(1)).await.unwrap();
    assert_eq!(applied.unconfirmed.unwrap().back_to, 1);
    world.until(|state| state.number() == Some(3)).await;
    assert_eq!(world.serves(), "b");
    assert!(world.engine.state().unconfirmed.is_none());
    let head = world.engine.revision(3).await.unwrap().head.clone();
    assert_eq!(head.source, ChangeSource::Unconfirmed { to: 1 });
    let late = world.engine.confirm(&root(), ConfirmRequest::default()).await;
    assert_eq!(late.unwrap_err().code, Code::Conflict);
}

#[tokio::test]
async fn what_is_confirmed_stays_and_nothing_else_comes_in_between() {
    let world = World::new("confirm").await;
    world.apply("b").await.unwrap();
    world.apply_with("c", |it| it.how.confirm_seconds = Some(3_600)).await.unwrap();
    assert_eq!(world.apply("d").await.unwrap_err().code, Code::Conflict);
    let other = world.engine.confirm(&root(), ConfirmRequest { revision: Some(1) }).await;
    assert_eq!(other.unwrap_err().code, Code::Conflict);
    world.engine.confirm(&root(), ConfirmRequest { revision: Some(2) }).await.unwrap();
    assert_eq!(world.apply("d").await.unwrap().revision, 3);
    // Going back is the other way out.
    world.apply_with("e", |it| it.how.confirm_seconds = Some(3_600)).await.unwrap();
    world.engine.rollback(&root(), RollbackRequest::default()).await.unwrap();
    assert!(world.engine.state().unconfirmed.is_none());
    assert_eq!(world.serves(), "d");
}

#[tokio::test]
async fn a_daemon_that_was_killed_still_goes_back_in_time() {
    let world = World::new("expire-later").await;
    world.apply("b").await.unwrap();
    world.apply_with("c", |it| it.how.confirm_seconds = Some(2)).await.unwrap();
    // It is only known to what is on the disk that the change waits.
    let until = world.engine.state().unconfirmed.unwrap().until_ms;
    let state = world.dir.path().join("state");
    let content = std::fs::read_to_string(state.join("current.json")).unwrap();
    assert!(content.contains(&until.to_string()), "{content}");
    assert!(until <= clock::now_ms() + 2_000);
    world.until(|state| state.number() == Some(3)).await;
}

#[tokio::test]
async fn a_new_daemon_resynchronizes() {
    let world = World::new("resync").await;
    world.apply("b").await.unwrap();
    let drained = DrainEndpointRequest { backend: None, address: "10.77.0.12:8080".into(), drain: true };
    world.engine.drain_endpoint(&root(), drained).await.unwrap();
    world.engine.drain(&root(), true).await.unwrap();
    let (dir, stand_in) = world.kill().await;
    stand_in.set(|it| it.drains = false);
    let replaced = stand_in.inside().replaced;
    let world = World::over(dir, stand_in, None);
    world.stand_in.until(|it| it.replaced > replaced && it.drains).await;
    assert_eq!(world.serves(), "b");
    let state = world.engine.state();
    assert_eq!((state.number(), state.draining), (Some(1), true));
    assert_eq!(weights(&world), [1, 0]);
}

#[tokio::test]
async fn a_link_that_breaks_within_a_change_leaves_the_old_revision() {
    for taken in [false, true] {
        let world = World::new("lost").await;
        world.apply("b").await.unwrap();
        let replaced = world.stand_in.inside().replaced;
        world.stand_in.set(|it| it.drop_next = Some(taken));
        let error = world.apply("c").await.unwrap_err();
        assert_eq!(error.code, Code::NoDataplane, "{error:?}");
        // Whatever the data plane made of it: what counts is what was promised.
        world.stand_in.until(|it| it.replaced > replaced).await;
        world.until(|state| state.dataplane.serves == Some(1_000_000)).await;
        assert_eq!((world.serves().as_str(), world.engine.state().number()), ("b", Some(1)));
        assert_eq!(world.apply("c").await.unwrap().revision, 3);
    }
}

#[tokio::test]
async fn without_a_data_plane_nothing_can_be_applied() {
    let world = World::new("absent").await;
    world.apply("b").await.unwrap();
    world.stand_in.stop();
    world.until(|state| state.link.is_none()).await;
    let error = world.apply("c").await.unwrap_err();
    assert_eq!(error.code, Code::NoDataplane);
    assert_eq!(world.engine.state().not_ready(), Some("no data plane is connected"));
    world.stand_in.listen(world.dir.path());
    world.until(|state| state.link.is_some()).await;
    assert_eq!(world.apply("c").await.unwrap().revision, 3);
}

#[tokio::test]
async fn another_writer_is_overruled() {
    let world = World::new("other-writer").await;
    world.apply("b").await.unwrap();
    world.stand_in.set(|it| {
        let other = weirgate_dataplane::snapshot::Snapshot { revision: 99, ..body("x").snapshot };
        it.snapshot = Some(Arc::new(other));
    });
    world.apply("c").await.unwrap();
    assert_eq!(world.serves(), "c");
}

#[tokio::test]
async fn the_dataplane_block_needs_a_restart() {
    let world = World::new("block").await;
    world.apply("b").await.unwrap();
    let other = |it: &mut ApplyRequest| it.files[0].text = yaml("c").replace("cores: [0]", "cores: [0, 0]");
    let error = world.apply_with("c", other).await.unwrap_err();
    assert_eq!(error.code, Code::NeedsRestart);
    assert!(error.error.contains("takes a restart of the data plane"), "{error:?}");
    let error = world
        .apply_with("c", |it| {
            other(it);
            it.how.restart = true;
        })
        .await
        .unwrap_err();
    assert!(error.error.contains("--attach"), "{error:?}");
    let told = world
        .apply_with("c", |it| {
            other(it);
            it.how.dry_run = true;
        })
        .await
        .unwrap();
    assert!(told.restart);
    assert_eq!(world.serves(), "b");
}

#[tokio::test]
async fn what_cannot_be_audited_is_not_done() {
    let world = World::new("no-audit").await;
    world.apply("b").await.unwrap();
    // Every write to this fails: the disk is full.
    let full = "admin: {audit: /dev/full}\n";
    let with_audit = |it: &mut ApplyRequest| it.files[0].text = yaml("c") + full;
    world.apply_with("c", with_audit).await.unwrap();
    let error = world.apply("d").await.unwrap_err();
    assert_eq!(error.code, Code::Storage);
    assert!(error.error.contains("audit log /dev/full"), "{error:?}");
    assert_eq!((world.serves().as_str(), world.engine.state().number()), ("c", Some(2)));
    assert_eq!(world.engine.drain(&root(), true).await.unwrap_err().code, Code::Storage);
    assert!(!world.engine.state().draining);
}

#[tokio::test]
async fn a_data_plane_of_another_version_is_left_alone() {
    let dir = Dir::new("version");
    let stand_in = StandIn::start(dir.path(), None);
    stand_in.set(|it| it.protocol = Some(99));
    let world = World::over(dir, stand_in, None);
    world.until(|state| state.dataplane.trouble.as_ref().is_some_and(|why| why.contains("version 99"))).await;
    assert!(world.engine.state().link.is_none());
}

#[tokio::test]
async fn exchanges_may_end_before_the_data_plane_does() {
    let world = World::new("drain-out").await;
    world.stand_in.set(|it| it.busy = 3);
    let engine = Arc::clone(&world.engine);
    let drained = tokio::spawn(async move { engine.drain_out(PATIENCE).await });
    world.stand_in.until(|it| it.drains).await;
    assert!(!drained.is_finished());
    world.stand_in.set(|it| it.busy = 0);
    tokio::time::timeout(PATIENCE, drained).await.expect("in time").unwrap();
    // Or the time is over.
    world.stand_in.set(|it| it.busy = 1);
    world.engine.drain_out(Duration::from_millis(1)).await;
}

#[tokio::test]
async fn what_a_worker_has_not_answered_is_not_known_and_everything_is_sent_again() {
    let world = World::new("stuck").await;
    world.apply("b").await.unwrap();
    let replaced = world.stand_in.inside().replaced;
    world.stand_in.set(|it| it.refuse = Some(stand_in::STUCK.into()));
    let error = world.apply("c").await.unwrap_err();
    assert_eq!(error.code, Code::NoDataplane, "{error:?}");
    world.stand_in.set(|it| it.refuse = None);
    world.stand_in.until(|it| it.replaced > replaced).await;
    world.until(|state| state.dataplane.serves == Some(1_000_000)).await;
    assert_eq!(world.serves(), "b");
}

#[tokio::test]
async fn going_back_is_tried_until_it_works_even_without_an_audit_log() {
    let world = World::new("expire-again").await;
    world.apply("b").await.unwrap();
    let audit = "admin: {audit: /dev/full}\n";
    world.stand_in.set(|it| it.refuse_after = Some(1));
    let with_audit = |it: &mut ApplyRequest| {
        it.files[0].text = yaml("c") + audit;
        it.how.confirm_seconds = Some(1);
    };
    world.apply_with("c", with_audit).await.unwrap();
    // The data plane says no for a while.
    world.until(|state| state.tally.refusals == 1).await;
    let late = world.engine.confirm(&root(), ConfirmRequest::default()).await.unwrap_err();
    assert!(matches!(late.code, Code::Storage | Code::Conflict), "{late:?}");
    world.stand_in.set(|it| (it.refuse, it.refuse_after) = (None, None));
    world.until(|state| state.number() > Some(2) && state.unconfirmed.is_none()).await;
    assert_eq!(world.serves(), "b");
}

#[tokio::test]
async fn the_first_revision_cannot_wait_to_be_confirmed() {
    let world = World::new("first-confirm").await;
    let error = world.apply_with("b", |it| it.how.confirm_seconds = Some(9)).await.unwrap_err();
    assert_eq!(error.code, Code::BadRequest, "{error:?}");
    let long = "x".repeat(5_000);
    let error = world.apply_with("b", |it| it.how.message = Some(long)).await.unwrap_err();
    assert_eq!(error.code, Code::BadRequest);
    assert!(!audit_lines(&world.dir).iter().any(|line| line.to_string().len() > 4_000));
}

#[tokio::test]
async fn files_that_are_sent_know_only_the_variables_that_are_sent_with_them() {
    let world = World::new("environment").await;
    let named = |request: &mut ApplyRequest| {
        let text = &mut request.files[0].text;
        *text = text.replacen("name: test", "name: \"${PATH}\"", 1);
        assert!(text.contains("${PATH}"), "{text}");
    };
    let error = world.apply_with("e", named).await.unwrap_err();
    assert!(error.findings.iter().any(|it| it.message.contains("PATH")), "{error:?}");
    let sent = |request: &mut ApplyRequest| {
        named(request);
        request.environment.insert("PATH".into(), "mine".into());
    };
    world.apply_with("e", sent).await.unwrap();
    assert_eq!(world.engine.state().revision.unwrap().body.snapshot.name, "mine");
}

#[tokio::test]
async fn a_question_whose_asker_goes_away_is_forgotten() {
    let world = World::new("forgotten").await;
    world.until(|state| state.dataplane.drains.is_some()).await;
    world.stand_in.set(|it| it.silent = true);
    let link = world.engine.state().link.unwrap();
    let asked = tokio::spawn({
        let link = link.clone();
        async move { link.ask(Ask::Meters).await }
    });
    eventually(async || (link.open() == 1).then_some(())).await.expect("it is asked");
    asked.abort();
    _ = asked.await;
    assert_eq!(link.open(), 0);
    // What the daemon knows by itself is told meanwhile.
    let (told, _) = crate::daemon::gather::gather(&world.engine).await;
    assert!(told.daemon.dataplane_up && told.meters.is_empty());
    assert_eq!(link.open(), 0);
}
