//! The heart of the daemon: what is in force, and the one place where that changes.
//!
//! ```text
//!   request, files, timer --> apply --+
//!   discovery ----------- endpoints --+--> one at a time --> data plane --> State, which everybody may look at
//!   supervisor -- attached, detached --+         |
//!                                             store, audit
//! ```
//! Whoever changes something holds [`Changes`] while the disk and the data plane are asked. Whoever only looks borrows [`State`] and waits for
//! nobody. A change that has begun goes on when whoever asked for it goes away.

mod apply;
mod attach;
mod drain;
mod endpoints;
mod secrets;

pub(super) use apply::digest_of;
pub use apply::{Change, Compiled, compile};
pub use secrets::SecretStatus;
pub(crate) use secrets::key_of;

use super::{
    audit::{Audit, Entry, Outcome},
    clock::{self, TimeOfDay},
    link::{Link, LinkError},
    logs::Logs,
    overlay::Overlay,
    store::{Current, Kept, Revision, Store, StoreError},
    who::Who,
};
use crate::{
    admin::api::{Code, DataplaneStatus, ErrorBody, Finding, Unconfirmed},
    config::{self, Admin},
    discovery::Discovery,
};
use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
    sync::{Arc, OnceLock},
    time::Duration,
};
use tokio::{
    sync::{Mutex, Notify, watch},
    time::Instant,
};
use weirgate_dataplane::snapshot::{Dataplane, Snapshot};

/// Between tries to open an audit log that cannot be opened or written.
const AUDIT_RETRY: Duration = Duration::from_secs(5);

/// What everybody may look at. Cheap to clone.
#[derive(Clone, Default)]
pub struct State {
    /// What is in force.
    pub revision: Option<Arc<Revision>>,
    /// What lies over it.
    pub overlay: Overlay,
    /// Why the data plane refuses what discovery found, by backend.
    pub refused: BTreeMap<String, String>,
    /// How secrets are that are in force, by name.
    pub secrets: Arc<BTreeMap<String, SecretStatus>>,
    /// A change that goes back by itself.
    pub unconfirmed: Option<Kept>,
    /// Where to.
    pub back: Option<Arc<Revision>>,
    /// When. The time of day may be set meanwhile.
    pub confirm_by: Option<Instant>,
    /// Why nothing can be changed, if so.
    pub read_only: Option<String>,
    /// The data plane has answered what is in force, or a change of it.
    pub answered: bool,
    /// Whoever started the daemon knows that it is ready.
    pub told_ready: bool,
    /// Whether the gateway is to drain; [`DataplaneStatus::drains`] says whether it does.
    pub draining: bool,
    /// Whether the daemon is about to end.
    pub stopping: bool,
    /// The link, while it stands.
    pub link: Option<Link>,
    /// How the data plane is.
    pub dataplane: DataplaneStatus,
    /// With what it is to be started; `None`: not yet.
    pub boot: Option<Arc<Snapshot>>,
    /// The files, and what came of them.
    pub files: Files,
    /// How changes went.
    pub tally: Tally,
}

/// How changes went since the daemon started.
#[derive(Clone, Default)]
pub struct Tally {
    /// Put in force.
    pub applies: u64,
    /// Not put in force.
    pub refusals: u64,
    /// When the last was put in force, in milliseconds of 1970.
    pub applied_ms: Option<u64>,
    /// When the last was refused.
    pub refused_ms: Option<u64>,
}

/// The configuration's files, as they were read last.
#[derive(Clone, Default)]
pub struct Files {
    /// Their names.
    pub paths: Vec<PathBuf>,
    /// What is wrong with them.
    pub findings: Vec<Finding>,
    /// Why what they say is not in force.
    pub refused: Option<String>,
}

impl State {
    /// Who may do what.
    pub fn admin(&self) -> Admin {
        self.revision.as_ref().map(|revision| revision.body.control.admin.clone()).unwrap_or_default()
    }

    /// The number of what is in force.
    pub fn number(&self) -> Option<u64> {
        self.revision.as_ref().map(|revision| revision.head.revision)
    }

    /// Why traffic should go elsewhere, if it should.
    pub fn not_ready(&self) -> Option<&'static str> {
        if self.stopping {
            Some("the daemon stops")
        } else if self.draining {
            Some("the gateway drains")
        } else if self.revision.is_none() {
            Some("no revision is in force")
        } else if self.link.is_none() {
            Some("no data plane is connected")
        } else {
            None
        }
    }

    /// What still stands between what is in force and requests; `None`: the data plane has it, or has refused it and goes on with what it had,
    /// or there is nothing to serve.
    pub fn waits(&self) -> Option<String> {
        let number = self.number()?;
        if self.link.is_none() {
            let why = self.dataplane.trouble.as_ref().map(|why| format!(": {why}")).unwrap_or_default();
            return Some(format!("revision {number} waits for a data plane{why}"));
        }
        (!self.answered).then(|| format!("the data plane takes revision {number}"))
    }

    /// For answers.
    pub fn unconfirmed(&self) -> Option<Unconfirmed> {
        let Kept { revision, back_to, .. } = self.unconfirmed.clone()?;
        let left = self.confirm_by?.saturating_duration_since(clock::monotonic());
        let left = u64::try_from(left.as_millis()).unwrap_or(u64::MAX);
        let until = clock::rfc3339(clock::now_ms().saturating_add(left));
        Some(Unconfirmed { revision, back_to, until, seconds_left: left.div_ceil(1_000) })
    }
}

/// What only one change at a time may touch.
#[derive(Default)]
pub(super) struct Changes {
    /// What the data plane serves by its own word; `None`: that is not known.
    served: Option<Arc<Snapshot>>,
    /// Over which link it said so.
    over: Option<Link>,
    /// The block that the data plane runs with, when no revision is in force that would say so.
    block: Option<Dataplane>,
}

/// How the daemon was told to work.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Where the data plane has its socket and its counters.
    pub run_dir: PathBuf,
    /// Where revisions are.
    pub state_dir: PathBuf,
    /// Whether the daemon starts the data plane.
    pub supervised: bool,
    /// How long a data plane may take to start and to answer.
    pub start_timeout: Duration,
    /// How long exchanges may take to end.
    pub drain_timeout: Duration,
    /// What the time is.
    pub time: TimeOfDay,
}

/// See the module's description.
pub struct Engine {
    pub(crate) settings: Settings,
    pub(crate) logs: Logs,
    store: Arc<std::sync::Mutex<Store>>,
    /// `None`: it cannot be opened.
    audit: Arc<std::sync::Mutex<Option<Audit>>>,
    changes: Mutex<Changes>,
    state: watch::Sender<State>,
    /// Those who ask for endpoints.
    pub(super) discovery: OnceLock<Arc<std::sync::Mutex<Discovery>>>,
    /// The files must be read again: something had to be waited for.
    pub(super) reread: Notify,
    /// The data plane must be stopped and started with what [`State::boot`] says.
    pub(super) restart: watch::Sender<u64>,
    /// How often a data plane ended by itself before it was connected.
    pub(super) failures: watch::Sender<u64>,
}

impl Engine {
    /// With what is in force by the state directory. Without an audit log nothing can be changed until there is one.
    pub fn new(settings: Settings, logs: Logs, store: Store) -> Self {
        let current = store.current().clone();
        let read = |number| store.read(number).ok().map(Arc::new);
        let revision = current.revision.and_then(read);
        let back = current.unconfirmed.as_ref().and_then(|kept| read(kept.back_to));
        let overlay = Overlay {
            discovered: Arc::new(store.endpoints()),
            drained: Arc::new(current.drained.clone()),
            secrets: Arc::new(store.secrets()),
        };
        let mut state = State {
            revision,
            overlay,
            unconfirmed: current.unconfirmed.clone(),
            back,
            draining: current.draining,
            ..State::default()
        };
        state.forget_sources();
        let left = current.unconfirmed.as_ref().map(|kept| kept.left(settings.time.now_ms()));
        state.confirm_by = left.map(|left| clock::monotonic() + left);
        state.dataplane.supervised = settings.supervised;
        let mut audit = None;
        if let Err(error) =
            open_audit(&mut audit, &audit_path(&state.admin(), &settings.state_dir), &settings.state_dir)
        {
            tracing::error!("{error}: nothing can be changed until it can");
            state.read_only = Some(error);
        }
        Self {
            settings,
            logs,
            store: Arc::new(std::sync::Mutex::new(store)),
            audit: Arc::new(std::sync::Mutex::new(audit)),
            changes: Mutex::default(),
            state: watch::Sender::new(state),
            discovery: OnceLock::new(),
            reread: Notify::new(),
            restart: watch::Sender::new(0),
            failures: watch::Sender::new(0),
        }
    }

    /// How everything is.
    pub fn state(&self) -> State {
        self.state.borrow().clone()
    }

    /// The same, for whoever waits until it is otherwise.
    pub fn watch(&self) -> watch::Receiver<State> {
        self.state.subscribe()
    }

    pub(super) fn publish(&self, change: impl FnOnce(&mut State)) {
        self.state.send_modify(change);
    }

    /// Works with the state directory, where a slow disk stops nobody else.
    pub async fn with_store<T: Send + 'static>(&self, work: impl FnOnce(&mut Store) -> T + Send + 'static) -> T {
        let store = Arc::clone(&self.store);
        let work = move || work(&mut store.lock().expect("nobody panics with it"));
        tokio::task::spawn_blocking(work).await.expect("it neither panics nor is it cancelled")
    }

    /// A revision by its number.
    ///
    /// # Errors
    /// That there is none.
    pub async fn revision(&self, number: u64) -> Result<Arc<Revision>, ErrorBody> {
        let at_hand = {
            let state = self.state.borrow();
            state.revision.iter().chain(&state.back).find(|it| it.head.revision == number).cloned()
        };
        if let Some(revision) = at_hand {
            return Ok(revision);
        }
        match self.with_store(move |store| store.read(number)).await {
            Ok(revision) => Ok(Arc::new(revision)),
            Err(error) if error.is_absent() => {
                Err(fail(Code::NotFound, format!("there is no revision {number}"), "weirgate history"))
            }
            Err(error) => Err(error.into()),
        }
    }

    /// What holds beside the revision, changed and written down.
    pub(super) async fn save(&self, change: impl FnOnce(&mut Current) + Send + 'static) -> Result<(), ErrorBody> {
        let saved = self.with_store(move |store| {
            let mut current = store.current().clone();
            change(&mut current);
            store.save(current)
        });
        Ok(saved.await?)
    }

    /// Notes something in the audit log.
    ///
    /// # Errors
    /// That it cannot be written: then nothing may change.
    pub async fn note(
        &self,
        who: &Who,
        action: &str,
        revision: Option<u64>,
        outcome: Outcome,
        detail: Option<&str>,
    ) -> Result<(), ErrorBody> {
        let (who, action, detail) = (who.clone(), action.to_owned(), detail.map(str::to_owned));
        let audit = Arc::clone(&self.audit);
        let wanted = audit_path(&self.state.borrow().admin(), &self.settings.state_dir);
        let (path, state_dir) = (wanted.clone(), self.settings.state_dir.clone());
        let written = tokio::task::spawn_blocking(move || {
            let mut audit = audit.lock().expect("nobody panics with it");
            let audit = open_audit(&mut audit, &wanted, &state_dir)?;
            let entry = Entry { who: &who, action: &action, revision, outcome, detail: detail.as_deref() };
            audit.write(&entry).map_err(|error| {
                let path = audit.path().display();
                format!("the audit log {path} cannot be written: {error}")
            })
        });
        let written = written.await.expect("it neither panics nor is it cancelled");
        self.set_read_only(written.as_ref().err());
        written.map_err(|error| {
            let path = path.display();
            let next = format!("make room or look at its directory: df -h {path}; ls -l {path}");
            fail(Code::Storage, format!("{error}; nothing may change unseen: nothing has changed"), &next)
        })
    }

    fn set_read_only(&self, why: Option<&String>) {
        let differs = self.state.borrow().read_only.as_ref() != why;
        if differs {
            match why {
                Some(why) => tracing::error!("{why}: nothing can be changed until it can"),
                None => tracing::info!("the audit log can be written again"),
            }
            self.publish(|state| state.read_only = why.cloned());
        }
    }

    /// Tries to open the audit log again whenever it could not be; for ever.
    pub(super) async fn mind_audit(self: Arc<Self>) {
        let mut state = self.watch();
        while state.wait_for(|state| state.read_only.is_some()).await.is_ok() {
            tokio::time::sleep(AUDIT_RETRY).await;
            _ = self.note(&Who::daemon(), "auditLog", None, Outcome::Done, Some("it can be written again")).await;
        }
    }

    /// Notes what came of something that was begun.
    async fn note_end<T>(
        &self,
        who: &Who,
        action: &str,
        result: &Result<T, ErrorBody>,
        revision: impl Fn(&T) -> Option<u64>,
    ) {
        // What has happened has happened; the error is in the daemon's log.
        _ = match result {
            Ok(done) => self.note(who, action, revision(done), Outcome::Done, None).await,
            Err(error) => self.note(who, action, None, Outcome::Refused, Some(&error.error)).await,
        };
    }

    /// Notes the beginning, does it, and notes the end; goes on when whoever waits for it goes away.
    pub(super) async fn audited<T: Send + Sync + 'static>(
        self: &Arc<Self>,
        who: &Who,
        action: &'static str,
        detail: Option<String>,
        revision: impl Fn(&T) -> Option<u64> + Send + 'static,
        work: impl Future<Output = Result<T, ErrorBody>> + Send + 'static,
    ) -> Result<T, ErrorBody> {
        let (engine, who) = (Arc::clone(self), who.clone());
        let whole = async move {
            engine.note(&who, action, None, Outcome::Begun, detail.as_deref()).await?;
            let result = work.await;
            if result.is_err() && ["apply", "rollback"].contains(&action) {
                engine.count_refusal();
            }
            engine.note_end(&who, action, &result, revision).await;
            result
        };
        tokio::spawn(whole).await.unwrap_or_else(|error| Err(fail(Code::Internal, error.to_string(), "")))
    }

    fn count_refusal(&self) {
        self.publish(|state| {
            state.tally.refusals += 1;
            state.tally.refused_ms = Some(clock::now_ms());
        });
    }
}

/// Where the audit log is: beside the revisions unless the configuration says otherwise.
pub(crate) fn audit_path(admin: &Admin, state_dir: &Path) -> PathBuf {
    admin.audit.clone().unwrap_or_else(|| state_dir.join("audit.jsonl"))
}

/// The audit log where it is wanted; else the one that is open; else one beside the revisions.
fn open_audit<'a>(open: &'a mut Option<Audit>, wanted: &Path, state_dir: &Path) -> Result<&'a mut Audit, String> {
    if open.as_ref().is_none_or(|it| it.path() != wanted) {
        let said = |path: &Path, error| format!("the audit log {} cannot be opened: {error}", path.display());
        let beside = state_dir.join("audit.jsonl");
        match Audit::open(wanted) {
            Ok(opened) => *open = Some(opened),
            Err(error) => {
                let mut error = said(wanted, error);
                if open.is_none() && beside != wanted {
                    match Audit::open(&beside) {
                        Ok(opened) => *open = Some(opened),
                        Err(other) => error = format!("{error}; {}", said(&beside, other)),
                    }
                }
                let Some(used) = open else { return Err(error) };
                tracing::error!("{error}: {} is used", used.path().display());
            }
        }
    }
    open.as_mut().ok_or_else(|| "there is no audit log".into())
}

/// Does what takes long where that stops nobody else: what is asked for meanwhile is answered.
///
/// # Errors
/// That it failed altogether.
pub async fn aside<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> Result<T, ErrorBody> {
    tokio::task::spawn_blocking(work).await.map_err(|error| fail(Code::Internal, error.to_string(), ""))
}

/// An error with what to do next.
pub fn fail(code: Code, error: impl Into<String>, next: &str) -> ErrorBody {
    let next = (!next.is_empty()).then(|| next.to_owned());
    ErrorBody { error: error.into(), code, findings: Vec::new(), next }
}

impl From<StoreError> for ErrorBody {
    fn from(error: StoreError) -> Self {
        fail(Code::Storage, error.to_string(), &error.next())
    }
}

impl From<LinkError> for ErrorBody {
    fn from(error: LinkError) -> Self {
        match &error {
            LinkError::Absent(_) => fail(Code::NoDataplane, error.to_string(), NO_DATAPLANE),
            LinkError::Lost(_) => {
                let next = "the daemon connects again and puts the revision in force that was; weirgate check";
                fail(Code::NoDataplane, error.to_string(), next)
            }
            LinkError::Late(_) => {
                fail(Code::NoDataplane, error.to_string(), "it may be busy with a change: ask again; weirgate check")
            }
            LinkError::Refused(_) => fail(
                Code::Refused,
                format!("the data plane refuses: {error}"),
                "nothing has changed; mend it and apply again",
            ),
        }
    }
}

const NO_DATAPLANE: &str = "is it running? weirgate check; journalctl -u weirgate";

impl From<config::Finding> for Finding {
    fn from(it: config::Finding) -> Self {
        let (line, column) = it.place.unzip();
        Self { file: it.file, line, column, field: it.field, message: it.message }
    }
}
