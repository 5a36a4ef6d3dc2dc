//! Certificates and authorities: read when a configuration is put in force, and whenever their files change. A change of files is a change of what is
//! served, like endpoints that come and go, and never a revision. What cannot be used leaves what is in force as it is.
//!
//! ```text
//!   files ---> read, checked as the data plane does ---> held (overlay) ---> data plane
//!                       | refused, by name                  |
//!                       v                                   v
//!                 State, audit, metrics               secrets.json (0600), for the next start
//! ```

use super::{Changes, Engine, State, aside, fail};
use crate::{
    admin::api::{Code, ErrorBody, Finding},
    config::{Secret, SecretSource},
    daemon::{
        audit::Outcome,
        clock::monotonic,
        files::places::{Places, Watched},
        link::LinkError,
        overlay::Overlay,
        store::{Body, Held, Revision},
        who::Who,
    },
    secrets::{self, Loaded, Reason, Unusable},
};
use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    os::unix::fs::MetadataExt,
    sync::Arc,
    time::Duration,
};
use tokio::time::{Instant, sleep};

/// A rotation writes one file after the other: so long may they not fit before that is told.
const SETTLE: Duration = Duration::from_secs(5);
/// Between looks while they do not fit, and after something has moved.
const SOON: Duration = Duration::from_millis(200);
/// How often files are looked at although nothing was said about them.
const LOOK: Duration = Duration::from_secs(5);
/// The same of what was refused: its time may come.
const LOOK_AGAIN: Duration = Duration::from_secs(60);

/// How a secret is that is in force.
#[derive(Clone, PartialEq, Eq, Default, Debug)]
pub struct SecretStatus {
    /// Why what is there now is not in force.
    pub refused: Option<Unusable>,
    /// New ones that were put in force, since it is watched.
    pub updates: u64,
    /// New ones that were refused.
    pub refusals: u64,
}

/// What a configuration's secrets stand for.
#[derive(Default)]
pub(super) struct Gathered {
    /// All of them.
    pub(super) held: Held,
    /// Those whose files cannot be used: what was in force before stays.
    pub(super) kept: BTreeMap<String, Unusable>,
}

impl Engine {
    fn now_s(&self) -> u64 {
        self.settings.time.now_ms() / 1_000
    }

    /// Reads what a configuration's secrets stand for. Where that cannot be used, what was held before is, if it is of the same files.
    ///
    /// # Errors
    /// What cannot be used and was not held.
    pub(super) async fn gather(&self, state: &State, body: &Body) -> Result<Gathered, ErrorBody> {
        if body.control.secrets.is_empty() {
            return Ok(Gathered::default());
        }
        let (wanted, brought) = (body.control.secrets.clone(), body.brought.clone());
        let (held, now) = (Arc::clone(&state.overlay.secrets), self.now_s());
        let (gathered, wrong) = aside(move || {
            let (mut gathered, mut wrong) = (Gathered::default(), Vec::new());
            for secret in wanted {
                for warning in secrets::warnings(&secret) {
                    tracing::warn!(secret = secret.name, "{warning}");
                }
                let key = key_of(&secret);
                let read = match brought.get(&secret.name) {
                    Some(material) => secrets::check(material, now).map(|()| Arc::new(Loaded::new(material.clone()))),
                    None => secrets::read(&secret, now).map(Arc::new),
                };
                match (read, held.get(&key)) {
                    (Ok(loaded), _) => _ = gathered.held.insert(key, loaded),
                    (Err(_), Some(loaded)) if matches!(secret.source, SecretSource::Document { .. }) => {
                        gathered.held.insert(key, Arc::clone(loaded));
                    }
                    (Err(why), Some(loaded)) => {
                        gathered.held.insert(key, Arc::clone(loaded));
                        gathered.kept.insert(secret.name, why);
                    }
                    (Err(why), None) => wrong.push(finding(&secret, &why)),
                }
            }
            (gathered, wrong)
        })
        .await?;
        if wrong.is_empty() {
            return Ok(gathered);
        }
        let error = format!("{} secret(s) cannot be used", wrong.len());
        let next = "nothing has changed; mend the files, or their permissions, and apply again";
        Err(ErrorBody { findings: wrong, ..fail(Code::Invalid, error, next) })
    }

    /// At the start: what the files say, else what was in force last.
    pub(in crate::daemon) async fn load_secrets(&self) {
        let state = self.state();
        let mut all = Held::clone(&state.overlay.secrets);
        for revision in state.revision.iter().chain(&state.back) {
            for secret in &revision.body.control.secrets {
                let one = Body { control: control_of(secret), ..Body::clone(&revision.body) };
                match self.gather(&state, &one).await {
                    Ok(gathered) => {
                        for (name, why) in &gathered.kept {
                            tracing::warn!(secret = name, %why, "what was in force last is used");
                        }
                        all.extend(gathered.held);
                    }
                    Err(error) => {
                        let why = error.findings.first().map(|it| it.message.clone()).unwrap_or(error.error);
                        tracing::error!(why, "and what was in force last is not kept");
                    }
                }
            }
        }
        self.publish(|state| state.overlay.secrets = Arc::new(all));
    }

    /// Whether something is missing that is in force.
    pub(in crate::daemon) fn lacks_secrets(&self) -> bool {
        let state = self.state();
        let mut wanted = state.revision.iter().flat_map(|it| &it.body.control.secrets);
        wanted.any(|secret| !state.overlay.secrets.contains_key(&key_of(secret)))
    }

    /// What a change has gathered is in force.
    pub(super) fn publish_secrets(&self, gathered: &Gathered) {
        self.publish(|state| {
            let mut all = Held::clone(&state.overlay.secrets);
            all.extend(gathered.held.clone());
            let wanted = state.secrets_wanted();
            all.retain(|key, _| wanted.contains(key));
            state.overlay.secrets = Arc::new(all);
            let named: BTreeSet<String> = gathered.held.keys().map(|(name, _)| name.clone()).collect();
            let mut status = BTreeMap::clone(&state.secrets);
            status.retain(|name, _| named.contains(name));
            for name in named {
                status.entry(name.clone()).or_default().refused = gathered.kept.get(&name).cloned();
            }
            state.secrets = Arc::new(status);
        });
    }

    /// Keeps what is in force for the next start.
    pub(super) async fn write_secrets(&self) -> bool {
        let held = Arc::clone(&self.state.borrow().overlay.secrets);
        let written = self.with_store(move |store| store.save_secrets(&held)).await;
        if let Err(error) = &written {
            tracing::error!(%error, "certificates cannot be kept: a start would need their files");
        }
        written.is_ok()
    }

    /// Puts files in force whenever they change; for ever.
    pub(in crate::daemon) async fn mind_secrets(self: Arc<Self>) {
        let (mut watched, mut changed) = Watched::new();
        let (mut looks, mut state, mut is_unwritten) = (BTreeMap::new(), self.watch(), false);
        loop {
            let number = state.borrow_and_update().number();
            let wanted = self.secrets_watched();
            let paths: Vec<_> = wanted.iter().flat_map(|it| it.source.paths()).cloned().collect();
            let places = tokio::task::spawn_blocking(move || Places::of_files(&paths)).await.unwrap_or_default();
            watched.renew(&places);
            let news = self.look(&wanted, &mut looks).await;
            let is_open = looks.values().any(|look: &Look| look.is_open);
            if !news.is_empty() {
                is_unwritten |= !self.renew(news, &mut looks).await;
            } else if is_unwritten {
                is_unwritten = !self.write_secrets().await;
            }
            let is_other = async { state.wait_for(|state| state.number() != number).await.map(|_| ()) };
            tokio::select! {
                Some(()) = changed.recv() => sleep(SOON / 4).await,
                gone = is_other => if gone.is_err() { return },
                () = sleep(if is_open { SOON } else { LOOK }) => {}
            }
        }
    }

    fn secrets_watched(&self) -> Vec<Secret> {
        let state = self.state.borrow();
        let all = state.revision.iter().flat_map(|it| &it.body.control.secrets);
        all.filter(|it| it.watch && it.source.paths().next().is_some()).cloned().collect()
    }

    /// Reads what has changed. What cannot be used is told when it has stayed so for a while.
    async fn look(&self, wanted: &[Secret], looks: &mut BTreeMap<String, Look>) -> Vec<(Secret, Arc<Loaded>)> {
        let names: BTreeSet<&String> = wanted.iter().map(|it| &it.name).collect();
        looks.retain(|name, _| names.contains(name));
        let begun = monotonic();
        let due: Vec<_> = wanted.iter().map(|it| (it.clone(), looks.get(&it.name).cloned())).collect();
        let now = self.now_s();
        let read = aside(move || {
            let read = due.into_iter().map(|(secret, look)| {
                let stamps = stamps_of(&secret);
                let is_due = look.is_none_or(|it| it.is_due(&stamps, begun));
                let read = is_due.then(|| secrets::read(&secret, now).map(Arc::new));
                (secret, stamps, read)
            });
            read.collect::<Vec<_>>()
        });
        let held = Arc::clone(&self.state.borrow().overlay.secrets);
        let mut news = Vec::new();
        for (secret, stamps, read) in read.await.unwrap_or_default() {
            let Some(read) = read else { continue };
            let look = looks.entry(secret.name.clone()).or_default();
            (look.stamps, look.at) = (stamps, Some(begun));
            match read {
                Ok(loaded) => {
                    (look.since, look.is_open) = (None, false);
                    if held.get(&key_of(&secret)).is_some_and(|it| it.material == loaded.material) {
                        self.note_well(&secret.name);
                    } else {
                        news.push((secret, loaded));
                    }
                }
                Err(why) => {
                    let since = *look.since.get_or_insert(begun);
                    look.is_open = begun.duration_since(since) < SETTLE && why.reason != Reason::NotYetValid;
                    if !look.is_open {
                        self.note_refused(&secret.name, why).await;
                    }
                }
            }
        }
        news
    }

    /// Puts new ones in force; the data plane has the last word. Says whether they could be kept.
    async fn renew(&self, news: Vec<(Secret, Arc<Loaded>)>, looks: &mut BTreeMap<String, Look>) -> bool {
        let said = news.iter().map(|(secret, loaded)| told(&secret.name, loaded)).collect::<Vec<_>>().join("; ");
        let number = self.state().number();
        if let Err(error) = self.note(&Who::daemon(), "renewSecrets", number, Outcome::Begun, Some(&said)).await {
            for (secret, _) in news {
                // It is tried again with the next look.
                looks.remove(&secret.name);
                let why = Unusable { reason: Reason::Unnoted, message: error.error.clone() };
                self.note_unless_told(&secret.name, why);
            }
            return true;
        }
        let mut changes = self.changes.lock().await;
        let state = self.state();
        let Some(revision) = state.revision.clone() else { return true };
        // Somebody may have put something else in force meanwhile.
        let wanted = state.secrets_wanted();
        let (mut overlay, mut refused) = (state.overlay.clone(), Vec::new());
        let mut parts = vec![news.into_iter().filter(|(it, _)| wanted.contains(&key_of(it))).collect::<Vec<_>>()];
        let mut done = Vec::new();
        while let Some(part) = parts.pop().filter(|it| !it.is_empty()) {
            let mut all = Held::clone(&overlay.secrets);
            all.extend(part.iter().map(|(secret, loaded)| (key_of(secret), Arc::clone(loaded))));
            let next = Overlay { secrets: Arc::new(all), ..overlay.clone() };
            match self.tell_secrets(&mut changes, &revision, &next).await {
                Ok(()) => {
                    overlay = next;
                    done.extend(part);
                }
                // One bad one keeps no other back.
                Err(_) if part.len() > 1 => parts.extend(part.into_iter().map(|it| vec![it])),
                Err(error) => refused.extend(part.into_iter().map(|(secret, _)| (secret, error.clone()))),
            }
        }
        self.publish(|state| {
            state.overlay.secrets = Arc::clone(&overlay.secrets);
            let mut all = BTreeMap::clone(&state.secrets);
            for (secret, _) in &done {
                let it = all.entry(secret.name.clone()).or_default();
                (it.refused, it.updates) = (None, it.updates + 1);
            }
            state.secrets = Arc::new(all);
        });
        drop(changes);
        for (secret, loaded) in &done {
            tracing::info!(secret = secret.name, "{} is in force", told(&secret.name, loaded));
        }
        let is_written = done.is_empty() || self.write_secrets().await;
        if !done.is_empty() {
            let said = done.iter().map(|(secret, _)| secret.name.clone()).collect::<Vec<_>>().join(", ");
            _ = self.note(&Who::daemon(), "renewSecrets", number, Outcome::Done, Some(&said)).await;
        }
        for (secret, message) in refused {
            if let Some(look) = looks.get_mut(&secret.name) {
                // What it refuses now it may take later.
                look.since = Some(monotonic());
            }
            self.note_refused(&secret.name, Unusable { reason: Reason::Refused, message }).await;
        }
        is_written
    }

    /// # Errors
    /// That the data plane refuses it, and why.
    async fn tell_secrets(&self, changes: &mut Changes, revision: &Revision, next: &Overlay) -> Result<(), String> {
        if self.state().link.is_none() {
            return Ok(());
        }
        match self.tell_over(changes, revision, next).await {
            Ok(_) => {
                self.publish_served(changes);
                Ok(())
            }
            Err(error @ LinkError::Refused(_)) => Err(error.to_string()),
            // When it is connected again it gets them.
            Err(error) => {
                tracing::warn!(%error, "certificates have changed, and the data plane does not hear of it");
                Ok(())
            }
        }
    }

    /// A change that differs in nothing but what its secrets stand for.
    pub(super) async fn renew_gathered(
        &self,
        changes: &mut Changes,
        state: &State,
        gathered: &Gathered,
    ) -> Result<(), ErrorBody> {
        let held = &state.overlay.secrets;
        let is_same =
            gathered.held.iter().all(|(key, it)| held.get(key).is_some_and(|other| other.material == it.material));
        if let Some(revision) = state.revision.clone().filter(|_| !is_same) {
            let mut all = Held::clone(held);
            all.extend(gathered.held.clone());
            let next = Overlay { secrets: Arc::new(all), ..state.overlay.clone() };
            self.tell_secrets(changes, &revision, &next)
                .await
                .map_err(|error| fail(Code::Refused, error, "nothing has changed; mend the files and apply again"))?;
            tracing::info!("certificates or authorities were read anew");
        }
        self.publish_secrets(gathered);
        if !is_same {
            self.write_secrets().await;
        }
        Ok(())
    }

    /// What is there is in force.
    fn note_well(&self, name: &str) {
        let is_refused = self.state.borrow().secrets.get(name).is_some_and(|it| it.refused.is_some());
        if is_refused {
            tracing::info!(secret = name, "what is there is in force again");
            self.publish(|state| {
                let mut all = BTreeMap::clone(&state.secrets);
                all.entry(name.to_owned()).or_default().refused = None;
                state.secrets = Arc::new(all);
            });
        }
    }

    /// Says whether it is news.
    fn note_unless_told(&self, name: &str, why: Unusable) -> bool {
        if self.state.borrow().secrets.get(name).is_some_and(|it| it.refused.as_ref() == Some(&why)) {
            return false;
        }
        tracing::error!(secret = name, %why, "it is not in force; what was before still is");
        self.publish(|state| {
            let mut all = BTreeMap::clone(&state.secrets);
            let it = all.entry(name.to_owned()).or_default();
            (it.refused, it.refusals) = (Some(why), it.refusals + 1);
            state.secrets = Arc::new(all);
        });
        true
    }

    async fn note_refused(&self, name: &str, why: Unusable) {
        let said = format!("{name}: {why}");
        if self.note_unless_told(name, why) {
            let number = self.state().number();
            _ = self.note(&Who::daemon(), "renewSecrets", number, Outcome::Refused, Some(&said)).await;
        }
    }
}

impl State {
    /// What the revision in force stands on, and the one that may come back by itself.
    pub(super) fn secrets_wanted(&self) -> BTreeSet<(String, SecretSource)> {
        let revisions = self.revision.iter().chain(&self.back);
        revisions.flat_map(|it| &it.body.control.secrets).map(key_of).collect()
    }
}

/// How a secret's files were when they were read last.
#[derive(Clone, Default)]
struct Look {
    stamps: Vec<Stamp>,
    at: Option<Instant>,
    /// Since when they cannot be used.
    since: Option<Instant>,
    /// They may be half written.
    is_open: bool,
}

/// What tells whether a file is another one.
type Stamp = Option<(u64, u64, u64, i64, i64)>;

impl Look {
    fn is_due(&self, stamps: &[Stamp], now: Instant) -> bool {
        let waited = self.at.is_none_or(|at| now.duration_since(at) >= LOOK_AGAIN);
        self.is_open || self.stamps != stamps || self.since.is_some() && waited
    }
}

fn stamps_of(secret: &Secret) -> Vec<Stamp> {
    let of = |it: fs::Metadata| (it.dev(), it.ino(), it.len(), it.ctime(), it.ctime_nsec());
    secret.source.paths().map(|path| fs::metadata(path).ok().map(of)).collect()
}

/// By which it is held.
pub(crate) fn key_of(secret: &Secret) -> (String, SecretSource) {
    (secret.name.clone(), secret.source.clone())
}

fn control_of(secret: &Secret) -> crate::config::Control {
    crate::config::Control { secrets: vec![secret.clone()], ..Default::default() }
}

fn finding(secret: &Secret, why: &Unusable) -> Finding {
    let file = secret.source.paths().next().map_or("secrets".into(), |path| path.display().to_string());
    let field = format!("secrets[{}]", secret.name);
    Finding { file, line: None, column: None, message: format!("{field}: {why}"), field: Some(field) }
}

fn told(name: &str, loaded: &Loaded) -> String {
    match &loaded.facts.certificate {
        Some(it) => format!("{name}: certificate {}, until {}", it.serial, secrets::time(it.not_after)),
        None => format!("{name}: {} authorities", loaded.facts.authorities.len()),
    }
}
