//! A new revision: checked, written, accepted by the data plane, in force. Until the last step nothing has changed, and every step may fail.

use super::{Changes, Engine, State, aside, fail, secrets::Gathered};
use crate::{
    admin::api::{
        Applied, ApplyRequest, ChangeSource, Code, ConfirmRequest, ErrorBody, How, RevisionHead, RollbackRequest,
        SourceFile,
    },
    admin::server::check_openable,
    config::{self, Control, Environment},
    daemon::{
        audit::Outcome,
        clock, difference,
        link::{Link, LinkError},
        overlay::{CHANGES, Overlay},
        store::{Body, Current, Held, Kept, Revision, digest},
        who::{Who, at},
    },
};
use std::{sync::Arc, time::Duration};
use weirgate_dataplane::{
    link::message::{Answer, Ask, Refusal},
    snapshot::{Delta, Snapshot},
};

/// How long a change may wait to be confirmed, at most.
const CONFIRM_MAX: u64 = 24 * 3_600;
/// Between tries to go back: doubled each time, up to the second.
const GO_BACK: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(60));
/// Bytes of a message.
const MESSAGE_MAX: usize = 4_096;

/// A configuration that was compiled.
pub type Compiled = Body;

/// Compiles files, where that stops nobody else.
///
/// # Errors
/// The findings.
pub async fn compile(files: Vec<SourceFile>, environment: Environment) -> Result<Compiled, ErrorBody> {
    if files.is_empty() {
        return Err(fail(Code::BadRequest, "there are no files", "send files: [{name, text}]"));
    }
    let compiled = tokio::task::spawn_blocking(move || {
        let pairs: Vec<_> = files.iter().map(|file| (file.name.clone(), file.text.clone())).collect();
        let model = config::compile(&pairs, &environment)?;
        // Before they are written or shown to anybody.
        let kept = files.into_iter().map(|SourceFile { name, text }| {
            let text = config::without_keys(&name, &text).into_owned();
            SourceFile { name, text }
        });
        Ok((kept.collect::<Vec<_>>(), model))
    });
    match compiled.await {
        Ok(Ok((files, config::Model { snapshot, control, brought }))) => Ok(Body { files, control, snapshot, brought }),
        Ok(Err::<_, Vec<config::Finding>>(findings)) => {
            let error = format!("the configuration has {}", count(findings.len(), "finding"));
            let findings = findings.into_iter().map(Into::into).collect();
            Err(ErrorBody { findings, ..fail(Code::Invalid, error, "nothing has changed; mend it and apply again") })
        }
        Err(error) => Err(fail(Code::Internal, format!("the compiler failed: {error}"), "")),
    }
}

fn count(n: usize, what: &str) -> String {
    format!("{n} {what}{}", if n == 1 { "" } else { "s" })
}

/// What is to be put in force.
#[derive(Clone, Debug)]
pub struct Change {
    /// It.
    pub body: Body,
    /// Where it comes from.
    pub source: ChangeSource,
    /// How.
    pub how: How,
}

/// What is put in force, and with what.
struct Plan {
    change: Arc<Change>,
    /// With what its secrets stand for.
    overlay: Overlay,
    gathered: Gathered,
    restart: bool,
}

impl Engine {
    /// Puts files in force.
    ///
    /// # Errors
    /// Why not; then nothing has changed.
    pub async fn apply(self: &Arc<Self>, who: &Who, request: ApplyRequest) -> Result<Applied, ErrorBody> {
        let ApplyRequest { files, environment, how } = request;
        // Before it is noted: the audit log has no room for anything.
        check_how(&how)?;
        let (source, detail, dry_run) = (ChangeSource::Api, how.message.clone(), how.dry_run);
        let engine = Arc::clone(self);
        let asker = who.clone();
        let work = async move {
            let body = compile(files, environment.into_iter().collect()).await?;
            engine.change(&asker, Change { body, source, how }).await
        };
        if dry_run {
            return work.await;
        }
        self.audited(who, "apply", detail, |done: &Applied| Some(done.revision), work).await
    }

    /// Puts files in force that the daemon has read by itself. `seen` tells what stood in them.
    ///
    /// # Errors
    /// Why not; then nothing has changed.
    pub(in crate::daemon) async fn apply_files(
        self: &Arc<Self>,
        body: Body,
        source: ChangeSource,
        restart: bool,
    ) -> Result<Applied, ErrorBody> {
        let change = Change { body, source, how: How { restart, ..How::default() } };
        let (engine, who) = (Arc::clone(self), Who::daemon());
        let work = async move { engine.change(&who, change).await };
        self.audited(&Who::daemon(), "apply", Some("files".into()), |done: &Applied| Some(done.revision), work).await
    }

    /// Puts an older revision in force again.
    ///
    /// # Errors
    /// Why not; then nothing has changed.
    pub async fn rollback(self: &Arc<Self>, who: &Who, request: RollbackRequest) -> Result<Applied, ErrorBody> {
        let RollbackRequest { to, how } = request;
        check_how(&how)?;
        let engine = Arc::clone(self);
        let asker = who.clone();
        let detail = Some(to.map_or("to the one before".into(), |to| format!("to revision {to}")));
        let dry_run = how.dry_run;
        let work = async move {
            let state = engine.state();
            // Going back from a change that waits to be confirmed is the same as not confirming it.
            let waits = state.unconfirmed.as_ref().map(|kept| kept.back_to);
            let previous = engine.with_store(|store| store.current().previous).await;
            let to = to.or(waits).or(previous);
            let to =
                to.ok_or_else(|| fail(Code::NotFound, "there is no revision before this one", "weirgate history"))?;
            let body = engine.revision(to).await?.body.clone();
            let source = ChangeSource::Rollback { to };
            engine.change(&asker, Change { body, source, how }).await
        };
        if dry_run {
            return work.await;
        }
        self.audited(who, "rollback", detail, |done: &Applied| Some(done.revision), work).await
    }

    /// Keeps a change that would go back by itself.
    ///
    /// # Errors
    /// That none waits, or another.
    pub async fn confirm(self: &Arc<Self>, who: &Who, request: ConfirmRequest) -> Result<Applied, ErrorBody> {
        let engine = Arc::clone(self);
        let work = async move {
            let _changes = engine.changes.lock().await;
            let state = engine.state();
            let Some(kept) = state.unconfirmed else {
                return Err(fail(
                    Code::Conflict,
                    "no change waits to be confirmed",
                    "weirgate history: it may have gone back",
                ));
            };
            if let Some(asked) = request.revision.filter(|&asked| asked != kept.revision) {
                let error = format!("revision {asked} does not wait to be confirmed; revision {} does", kept.revision);
                return Err(fail(Code::Conflict, error, "weirgate history"));
            }
            if state.confirm_by.is_none_or(|by| by <= clock::monotonic()) {
                let error = format!("the time to confirm revision {} is over: it goes back", kept.revision);
                return Err(fail(Code::Conflict, error, "weirgate history; then apply it again"));
            }
            engine.save(|current| current.unconfirmed = None).await?;
            let mut forgotten = false;
            engine.publish(|state| {
                (state.unconfirmed, state.back) = (None, None);
                forgotten = state.forget_sources();
            });
            if forgotten {
                engine.write_endpoints().await;
            }
            engine.reread.notify_one();
            tracing::info!(revision = kept.revision, "confirmed");
            let (from, to) = (kept.back_to, Some(kept.revision));
            let difference = crate::admin::api::Difference { from, to, ..Default::default() };
            Ok(Applied { changed: true, difference, ..unchanged(kept.revision) })
        };
        self.audited(who, "confirm", None, |done: &Applied| Some(done.revision), work).await
    }

    /// The time to confirm a change is over.
    async fn expire(self: &Arc<Self>, kept: Kept) {
        let by = self.state().confirm_by.unwrap_or_else(clock::monotonic);
        let mut state = self.watch();
        tokio::select! {
            () = tokio::time::sleep_until(by) => {}
            _ = state.wait_for(|state| state.unconfirmed.as_ref() != Some(&kept)) => return,
        }
        let mut pause = GO_BACK.0;
        while self.state().unconfirmed.as_ref() == Some(&kept) {
            let Err(error) = self.go_back(&kept).await else { return self.reread.notify_one() };
            let Kept { revision, .. } = kept;
            tracing::error!(error = error.error, "nobody confirmed revision {revision}, and it cannot go back yet");
            tokio::time::sleep(pause).await;
            pause = (pause * 2).min(GO_BACK.1);
        }
    }

    /// What was before a change that nobody confirmed. This has been promised: an audit log that cannot be written does not stop it.
    async fn go_back(self: &Arc<Self>, kept: &Kept) -> Result<(), ErrorBody> {
        let Kept { revision, back_to: to, .. } = *kept;
        let body = self.revision(to).await?.body.clone();
        let source = ChangeSource::Unconfirmed { to };
        let how = How { base: Some(revision), restart: true, ..How::default() };
        let change = Change { body, source, how };
        let (who, detail) = (Who::daemon(), format!("revision {revision} was not confirmed"));
        _ = self.note(&who, "expire", None, Outcome::Begun, Some(&detail)).await;
        let result = self.change(&who, change).await;
        if result.is_err() {
            self.count_refusal();
        }
        self.note_end(&who, "expire", &result, |done| Some(done.revision)).await;
        let applied = result?;
        tracing::warn!(unconfirmed = revision, revision = applied.revision, "nobody confirmed: gone back");
        Ok(())
    }

    /// Starts to wait for a confirmation, if one is needed.
    pub(in crate::daemon) fn await_confirmation(self: &Arc<Self>) {
        if let Some(kept) = self.state().unconfirmed {
            let engine = Arc::clone(self);
            tokio::spawn(async move { engine.expire(kept).await });
        }
    }

    /// All of it, one at a time.
    async fn change(self: &Arc<Self>, who: &Who, change: Change) -> Result<Applied, ErrorBody> {
        let change = Arc::new(change);
        let mut changes = self.changes.lock().await;
        let state = self.state();
        check_base(&state, &change)?;
        let in_force = state.revision.clone();
        let new = Arc::clone(&change);
        let (old, difference) = aside(move || {
            let old = in_force.as_ref().map(|revision| (revision.head.revision, &revision.body));
            let difference = difference::between(old, (None, &new.body));
            (in_force, difference)
        })
        .await?;
        let served_block = changes.served.as_ref().map(|it| &it.dataplane);
        let old_block = served_block.or(old.as_ref().map(|revision| &revision.body.snapshot.dataplane));
        let old_block = old_block.or(changes.block.as_ref().filter(|_| state.link.is_some()));
        let differs = old_block.is_some_and(|block| *block != change.body.snapshot.dataplane);
        // Without a data plane nobody loses a connection by a start; what goes back never waits for leave.
        let is_down = state.dataplane.supervised && state.link.is_none();
        let may = change.how.restart || is_down && change.goes_back();
        let restart = differs || is_down && (may || state.boot.is_none());
        let mut applied =
            Applied { dry_run: change.how.dry_run, restart, difference, ..unchanged(state.number().unwrap_or(0)) };
        applied.changed = !applied.difference.changes.is_empty();
        let gathered = self.gather(&state, &change.body).await?;
        let mut held = Held::clone(&state.overlay.secrets);
        held.extend(gathered.held.clone());
        let overlay = Overlay { secrets: Arc::new(held), ..state.overlay.clone() };
        let plan = Plan { change: Arc::clone(&change), overlay, gathered, restart };
        if change.how.dry_run {
            self.over(&plan).await?;
            return Ok(applied);
        }
        if !applied.changed && !restart {
            self.renew_gathered(&mut changes, &state, &plan.gathered).await?;
            applied.difference.to = Some(applied.revision);
            self.note_files(&change).await?;
            return Ok(applied);
        }
        if restart {
            check_restart(differs, may, state.dataplane.supervised)?;
        }
        let old = state.control().cloned().unwrap_or_default();
        if let Err(error) = check_openable(&change.body.control, &old, &self.settings).await {
            // At the start, and on the way back, traffic counts more: they are tried again later.
            if change.goes_back() || change.source == ChangeSource::Start {
                tracing::error!("{error}");
            } else {
                let next = "nothing has changed; free it, or name another, and apply again";
                return Err(fail(Code::Invalid, error, next));
            }
        }
        applied.took_us = self.put(&mut changes, &state, who, &plan, &mut applied).await?;
        drop(changes);
        self.await_confirmation();
        Ok(applied)
    }

    /// What the data plane would serve.
    async fn over(&self, plan: &Plan) -> Result<Snapshot, ErrorBody> {
        let (overlay, change) = (plan.overlay.clone(), Arc::clone(&plan.change));
        let snapshot = aside(move || overlay.over(&change.body)).await?;
        snapshot.map_err(|error| fail(Code::Invalid, error, ""))
    }

    /// Writes, asks, commits.
    async fn put(
        self: &Arc<Self>,
        changes: &mut Changes,
        state: &State,
        who: &Who,
        plan: &Plan,
        applied: &mut Applied,
    ) -> Result<Option<u64>, ErrorBody> {
        let Plan { change, restart, .. } = plan;
        let restart = *restart;
        let snapshot = self.over(plan).await?;
        let number = self.with_store(|store| store.next()).await;
        let (maker, new) = (who.clone(), Arc::clone(change));
        let revision =
            aside(move || Arc::new(Revision { head: head_of(number, &maker, &new), body: new.body.clone() })).await?;
        let before = state.number();
        let unconfirmed = change.how.confirm_seconds.zip(before).map(|(seconds, back_to)| {
            let period_ms = seconds * 1_000;
            Kept { revision: number, back_to, until_ms: self.settings.time.now_ms() + period_ms, period_ms }
        });
        let (kept, files) = (unconfirmed.clone(), files_of(change));
        let written = Arc::clone(&revision);
        let current = self.with_store(move |store| {
            let mut current =
                Current { revision: Some(number), previous: before, unconfirmed: kept, ..store.current().clone() };
            current.files = files.or(current.files);
            store.prepare(&written, &current).map(|()| current)
        });
        let current = current.await?;
        let told = if restart {
            self.restart_with(changes, snapshot, number, state).await
        } else {
            self.tell(changes, snapshot, number).await.map(Some).map_err(Into::into)
        };
        // What goes back by itself must go back, whether or not a data plane hears of it now.
        let may_fail = state.link.is_none() && matches!(change.source, ChangeSource::Unconfirmed { .. });
        let (told, is_forced) = match told {
            Ok(told) => (told, false),
            Err(error) if may_fail => {
                tracing::warn!(error = error.error, revision = number, "no data plane hears of it now");
                (None, true)
            }
            Err(error) => {
                self.with_store(move |store| store.discard(number)).await;
                return Err(error);
            }
        };
        let (written, held) = (Arc::clone(&revision), Arc::clone(&plan.overlay.secrets));
        // Secrets first: what is in force must be there at the next start.
        let committed = self.with_store(move |store| {
            let kept = store.save_secrets(&held).inspect_err(|_| store.discard(number));
            kept.and_then(|()| store.commit(&written, current))
        });
        if let Err(error) = committed.await {
            tracing::error!(%error, revision = number, "accepted by the data plane, and cannot be written: going back");
            if restart {
                self.start_old(changes, state).await;
            } else {
                self.resume(changes, state).await;
            }
            return Err(error.into());
        }
        self.is_in_force(changes, &revision, &plan.gathered, unconfirmed).await;
        if is_forced && restart {
            self.restart.send_modify(|n| *n += 1);
        }
        tracing::info!(revision = number, took_us = told, restart, "in force");
        applied.revision = number;
        applied.difference.to = Some(number);
        applied.unconfirmed = self.state().unconfirmed();
        Ok(told)
    }

    /// Everybody may see it.
    async fn is_in_force(
        &self,
        changes: &Changes,
        revision: &Arc<Revision>,
        gathered: &Gathered,
        unconfirmed: Option<Kept>,
    ) {
        let mut forgotten = false;
        self.publish(|state| {
            state.back = state.revision.replace(Arc::clone(revision)).filter(|_| unconfirmed.is_some());
            let period = unconfirmed.as_ref().map(|kept| Duration::from_millis(kept.period_ms));
            state.confirm_by = period.map(|period| clock::monotonic() + period);
            state.unconfirmed = unconfirmed;
            forgotten = state.forget_sources();
            state.tally.applies += 1;
            state.tally.applied_ms = Some(clock::now_ms());
        });
        let before = Arc::clone(&self.state.borrow().overlay.secrets);
        self.publish_secrets(gathered);
        if before.keys().any(|key| !self.state.borrow().overlay.secrets.contains_key(key)) {
            // Nobody needs them any more.
            self.write_secrets().await;
        }
        if changes.served.is_none() {
            self.publish(|state| state.boot = None);
            self.boot_last();
        }
        self.publish_served(changes);
        if forgotten {
            self.write_endpoints().await;
        }
    }

    /// What was in force is in force again, as far as the data plane is concerned.
    async fn resume(&self, changes: &mut Changes, state: &State) {
        let Some(revision) = &state.revision else { return };
        let Ok(snapshot) = state.overlay.over(&revision.body) else { return };
        if let Err(error) = self.tell(changes, snapshot, revision.head.revision).await {
            tracing::error!(%error, "the data plane cannot go back: it is connected again");
            if let Some(link) = &state.link {
                link.give_up("it serves what cannot be written");
            }
        }
    }

    /// The same after a restart: its block may be another, so that only a start brings it back.
    async fn start_old(&self, changes: &mut Changes, state: &State) {
        let Some(revision) = &state.revision else { return };
        let Ok(snapshot) = state.overlay.over(&revision.body) else { return };
        let now = self.state();
        if let Err(error) = self.restart_with(changes, snapshot, revision.head.revision, &now).await {
            tracing::error!(error = error.error, "the data plane cannot be started with what was in force");
            self.publish(|state| state.boot = None);
            self.boot_last();
        }
    }

    /// Makes the data plane serve a snapshot: by a difference if it is known what it serves now.
    pub(super) async fn tell(
        &self,
        changes: &mut Changes,
        snapshot: Snapshot,
        revision: u64,
    ) -> Result<u64, LinkError> {
        let link = self.state().link;
        let link = link.ok_or_else(|| LinkError::Absent("it is not connected".into()))?;
        if !changes.over.as_ref().is_some_and(|over| over.is(&link)) {
            (changes.served, changes.over) = (None, Some(link.clone()));
        }
        let last = changes.served.as_ref().map(|served| served.revision);
        let number = match last {
            Some(last) if last / CHANGES == revision && (last + 1) / CHANGES == revision => last + 1,
            _ => revision * CHANGES,
        };
        let snapshot = Arc::new(Snapshot { revision: number, ..snapshot });
        if let Some(served) = changes.served.take() {
            let to = Arc::clone(&snapshot);
            let between = tokio::task::spawn_blocking(move || (Box::new(Delta::between(&served, &to)), served));
            let (delta, served) = between.await.map_err(|error| LinkError::Lost(error.to_string()))?;
            match change_of(&link, Ask::Change { delta }).await {
                Ok(Answer::Applied { took_us, .. }) => {
                    changes.served = Some(snapshot);
                    return Ok(took_us);
                }
                Ok(other) => return Err(LinkError::Lost(format!("an answer that was not asked for: {other:?}"))),
                // Somebody else has been here. What is in force by this daemon's history counts.
                Err(LinkError::Refused(Refusal::Revision { serves })) => {
                    tracing::warn!(serves, expected = served.revision, "another writer: everything is sent");
                }
                Err(error) => {
                    if matches!(error, LinkError::Refused(_)) {
                        changes.served = Some(served);
                    }
                    return Err(error);
                }
            }
        }
        let ask = Ask::Replace { snapshot: Box::new(Snapshot::clone(&snapshot)) };
        match change_of(&link, ask).await? {
            Answer::Applied { took_us, .. } => {
                changes.served = Some(snapshot);
                Ok(took_us)
            }
            other => Err(LinkError::Lost(format!("an answer that was not asked for: {other:?}"))),
        }
    }

    /// The files have been seen, even if they come to what is in force.
    async fn note_files(&self, change: &Change) -> Result<(), ErrorBody> {
        let Some(files) = files_of(change) else { return Ok(()) };
        self.save(|current| current.files = Some(files)).await
    }
}

impl Change {
    /// Whether it puts in force what was so before.
    fn goes_back(&self) -> bool {
        matches!(self.source, ChangeSource::Rollback { .. } | ChangeSource::Unconfirmed { .. })
    }
}

/// Asks for a change. When a worker has not answered, it is planned and may be served at any moment: what became of it is not known, and only a new
/// link, over which everything is sent, makes it so.
async fn change_of(link: &Link, ask: Ask) -> Result<Answer, LinkError> {
    match link.ask(ask).await {
        Err(LinkError::Refused(stuck @ Refusal::Stuck { .. })) => {
            let reason = stuck.to_string();
            link.give_up(&reason);
            Err(LinkError::Lost(reason))
        }
        other => other,
    }
}

/// Whether a restart of the data plane is allowed, and possible.
fn check_restart(differs: bool, may: bool, supervised: bool) -> Result<(), ErrorBody> {
    if !may {
        let error = if differs {
            "the dataplane block differs: that takes a restart of the data plane, which ends its connections"
        } else {
            "there is no data plane yet: one would be started with this revision"
        };
        return Err(fail(Code::NeedsRestart, error, "apply again with restart allowed (weirgate apply --restart)"));
    }
    if !supervised {
        let error = "the dataplane block differs, and this daemon does not start the data plane (--attach)";
        let next = "weirgate compile, and restart the data plane with that; then apply";
        return Err(fail(Code::NeedsRestart, error, next));
    }
    Ok(())
}

/// What stood in the files, if it came from files that the daemon reads by itself.
fn files_of(change: &Change) -> Option<String> {
    let is_own = matches!(change.source, ChangeSource::Start | ChangeSource::Watch | ChangeSource::Signal);
    is_own.then(|| digest_of(&change.body.files))
}

/// Tells contents of files apart.
pub(in crate::daemon) fn digest_of(files: &[SourceFile]) -> String {
    // As they are kept: a digest must not depend on what is left out then.
    let texts: Vec<_> = files.iter().map(|file| config::without_keys(&file.name, &file.text)).collect();
    let pairs = files.iter().zip(&texts);
    let parts: Vec<&[u8]> = pairs.flat_map(|(file, text)| [file.name.as_bytes(), text.as_bytes()]).collect();
    digest(&parts)
}

fn head_of(number: u64, who: &Who, change: &Change) -> RevisionHead {
    RevisionHead {
        revision: number,
        at: at(),
        uid: who.uid,
        user: who.user.clone(),
        source: change.source,
        message: change.how.message.clone(),
        digest: change.body.digest(),
    }
}

fn unchanged(revision: u64) -> Applied {
    Applied {
        revision,
        changed: false,
        dry_run: false,
        restart: false,
        took_us: None,
        unconfirmed: None,
        difference: crate::admin::api::Difference::default(),
    }
}

fn check_how(how: &How) -> Result<(), ErrorBody> {
    if how.confirm_seconds.is_some_and(|seconds| !(1..=CONFIRM_MAX).contains(&seconds)) {
        let error = format!("a change may wait 1 to {CONFIRM_MAX} seconds to be confirmed");
        return Err(fail(Code::BadRequest, error, ""));
    }
    if how.message.as_ref().is_some_and(|message| message.len() > MESSAGE_MAX) {
        return Err(fail(Code::BadRequest, format!("a message has at most {MESSAGE_MAX} bytes"), ""));
    }
    Ok(())
}

/// Whether it was made for what is in force, and nothing waits to be confirmed.
fn check_base(state: &State, change: &Change) -> Result<(), ErrorBody> {
    let is = state.number().unwrap_or(0);
    if let Some(base) = change.how.base.filter(|&base| base != is) {
        let error = format!("this was made for revision {base}, and revision {is} is in force");
        return Err(fail(
            Code::Conflict,
            error,
            &format!("see what came in between (weirgate diff {base} {is}), then apply again"),
        ));
    }
    if change.how.confirm_seconds.is_some() && state.revision.is_none() {
        let error = "there is no revision yet that this could go back to";
        return Err(fail(Code::BadRequest, error, "apply it without a time to confirm it"));
    }
    if let ChangeSource::Unconfirmed { to } = change.source {
        // Somebody may have confirmed it, or gone back, while this waited for its turn.
        let waits =
            state.unconfirmed.as_ref().is_some_and(|kept| Some(kept.revision) == change.how.base && kept.back_to == to);
        let error = || fail(Code::Conflict, "it does not wait to be confirmed any more", "");
        return if waits { Ok(()) } else { Err(error()) };
    }
    let Some(kept) = &state.unconfirmed else { return Ok(()) };
    let goes_back = match change.source {
        ChangeSource::Rollback { to } => to == kept.back_to,
        _ => false,
    };
    if goes_back || change.how.dry_run {
        return Ok(());
    }
    let error = format!("revision {} waits to be confirmed", kept.revision);
    Err(fail(Code::Conflict, error, "weirgate confirm keeps it, weirgate rollback goes back; then apply again"))
}

/// What only the daemon needs, of what is in force.
impl State {
    /// Where endpoints come from, and the like.
    pub fn control(&self) -> Option<&Control> {
        self.revision.as_ref().map(|revision| &revision.body.control)
    }
}
