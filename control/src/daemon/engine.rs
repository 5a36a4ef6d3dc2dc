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

pub(super) use apply::digest_of;
pub use apply::{Change, Compiled, compile};

use super::{
    audit::{Audit, Entry, Outcome},
    clock,
    link::{Link, LinkError},
    logs::Logs,
    overlay::Overlay,
    store::{Current, Kept, Revision, Store, StoreError},
    who::Who,
};
use crate::{
    admin::api::{Code, DataplaneStatus, ErrorBody, Finding, Unconfirmed},
    config::{self, Admin},
};
use std::{
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};
use tokio::sync::{Mutex, Notify, watch};
use weirgate_dataplane::snapshot::Snapshot;

/// What everybody may look at. Cheap to clone.
#[derive(Clone, Default)]
pub struct State {
    /// What is in force.
    pub revision: Option<Arc<Revision>>,
    /// What lies over it.
    pub overlay: Overlay,
    /// A change that goes back by itself.
    pub unconfirmed: Option<Kept>,
    /// Whether the gateway drains.
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

    /// For answers.
    pub fn unconfirmed(&self) -> Option<Unconfirmed> {
        let Kept { revision, back_to, until_ms } = self.unconfirmed.clone()?;
        let left = until_ms.saturating_sub(clock::now_ms());
        Some(Unconfirmed { revision, back_to, until: clock::rfc3339(until_ms), seconds_left: left.div_ceil(1_000) })
    }
}

/// What only one change at a time may touch.
#[derive(Default)]
pub(super) struct Changes {
    /// What the data plane serves by its own word; `None`: that is not known.
    served: Option<Arc<Snapshot>>,
    /// Over which link it said so.
    over: Option<Link>,
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
}

/// See the module's description.
pub struct Engine {
    pub(crate) settings: Settings,
    pub(crate) logs: Logs,
    store: Arc<std::sync::Mutex<Store>>,
    audit: Arc<std::sync::Mutex<Audit>>,
    changes: Mutex<Changes>,
    state: watch::Sender<State>,
    /// The files must be read again: something had to be waited for.
    pub(super) reread: Notify,
    /// The data plane must be stopped and started with what [`State::boot`] says.
    pub(super) restart: watch::Sender<u64>,
    /// How often a data plane ended by itself before it was connected.
    pub(super) failures: watch::Sender<u64>,
}

impl Engine {
    /// With what is in force by the state directory.
    ///
    /// # Errors
    /// That no audit log can be opened, not even beside the revisions.
    pub fn new(settings: Settings, logs: Logs, store: Store) -> Result<Self, String> {
        let current = store.current().clone();
        let read = |number| store.read(number).ok().map(Arc::new);
        let revision = current.revision.and_then(read);
        let overlay = Overlay { discovered: Arc::new(store.endpoints()), drained: Arc::new(current.drained.clone()) };
        let mut state = State {
            revision,
            overlay,
            unconfirmed: current.unconfirmed.clone(),
            draining: current.draining,
            ..State::default()
        };
        state.dataplane.supervised = settings.supervised;
        let path = audit_path(&state.admin(), &settings.state_dir);
        let audit = Audit::open(&path).or_else(|error| {
            let beside = settings.state_dir.join("audit.jsonl");
            tracing::error!(
                "the audit log {} cannot be opened ({error}): {} is used",
                path.display(),
                beside.display()
            );
            Audit::open(&beside).map_err(|e| format!("the audit log {} cannot be opened: {e}", beside.display()))
        })?;
        Ok(Self {
            settings,
            logs,
            store: Arc::new(std::sync::Mutex::new(store)),
            audit: Arc::new(std::sync::Mutex::new(audit)),
            changes: Mutex::default(),
            state: watch::Sender::new(state),
            reread: Notify::new(),
            restart: watch::Sender::new(0),
            failures: watch::Sender::new(0),
        })
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
        if let Some(revision) = self.state.borrow().revision.clone().filter(|it| it.head.revision == number) {
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
        let written = tokio::task::spawn_blocking(move || {
            let mut audit = audit.lock().expect("nobody panics with it");
            if audit.path() != wanted {
                match Audit::open(&wanted) {
                    Ok(opened) => *audit = opened,
                    Err(error) => {
                        let (wanted, used) = (wanted.display(), audit.path().display());
                        tracing::error!("the audit log {wanted} cannot be opened ({error}): {used} is used");
                    }
                }
            }
            let entry = Entry { who: &who, action: &action, revision, outcome, detail: detail.as_deref() };
            audit.write(&entry).map_err(|error| (audit.path().to_owned(), error))
        });
        let written = written.await.expect("it neither panics nor is it cancelled");
        written.map_err(|(path, error)| {
            let path = path.display();
            tracing::error!(%error, "the audit log {path} cannot be written");
            let next = format!("make room or look at its directory: df -h {path}; ls -l {path}");
            fail(Code::Storage, format!("the audit log {path} cannot be written ({error}): nothing has changed"), &next)
        })
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
