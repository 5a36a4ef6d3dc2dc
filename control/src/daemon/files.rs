//! The configuration's files: read at the start, at SIGHUP, and when they change. What is half written is left alone until it stands still.

use super::{
    engine::{Engine, compile, fail},
    notice,
};
use crate::{
    admin::api::{ChangeSource, Code, ErrorBody, SourceFile},
    config::{self, Environment},
    daemon::engine::digest_of,
};
use notify::{RecommendedWatcher, RecursiveMode, Watcher};
use std::{
    collections::BTreeSet,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};
use tokio::{sync::mpsc, time::sleep};

/// Files that have not changed for this time are taken for whole.
const QUIET: Duration = Duration::from_millis(300);

/// Reads files and puts them in force.
pub struct FileSource {
    engine: Arc<Engine>,
    paths: Vec<PathBuf>,
    /// What stood in them when they were put in force, or refused, last.
    seen: Option<String>,
    /// They were refused because something else had to be waited for.
    waits: bool,
}

impl FileSource {
    /// Of these files and directories. `seen` is what stood in them when they were put in force last.
    pub fn new(engine: Arc<Engine>, paths: Vec<PathBuf>, seen: Option<String>) -> Self {
        engine.publish(|state| state.files.paths.clone_from(&paths));
        Self { engine, paths, seen, waits: false }
    }

    /// Reads them, and puts them in force if they are others than those that were last.
    ///
    /// # Errors
    /// Why what stands in them is not in force now. It is logged, once for each content.
    pub async fn load(&mut self, source: ChangeSource, may_restart: bool) -> Result<bool, ErrorBody> {
        let files = match self.read().await {
            Ok(files) => files,
            Err(error) => return Err(self.refuse(error, None, source)),
        };
        let digest = digest_of(&files);
        // SIGHUP is somebody's wish: then they count even if something else was put in force since.
        let is_wish = source == ChangeSource::Signal;
        if !is_wish && !self.waits && self.seen.as_ref() == Some(&digest) {
            return Ok(false);
        }
        let applied = match compile(files).await {
            Ok(body) => self.engine.apply_files(body, source, may_restart).await,
            Err(error) => Err(error),
        };
        match applied {
            Ok(applied) => {
                (self.seen, self.waits) = (Some(digest), false);
                self.engine.publish(|state| (state.files.findings, state.files.refused) = Default::default());
                if applied.changed {
                    tracing::info!(revision = applied.revision, ?source, "the files are in force");
                }
                Ok(applied.changed)
            }
            Err(error) => Err(self.refuse(error, Some(digest), source)),
        }
    }

    fn refuse(&mut self, error: ErrorBody, digest: Option<String>, source: ChangeSource) -> ErrorBody {
        self.waits = matches!(error.code, Code::Conflict | Code::NoDataplane);
        // The same content is told once, and whenever somebody asks for it.
        if source == ChangeSource::Signal || digest.is_none() || self.seen != digest {
            for finding in &error.findings {
                tracing::error!("{}", notice(finding));
            }
            tracing::error!(next = error.next, "the files are not in force: {}", error.error);
        }
        self.seen = digest.or(self.seen.take());
        self.engine.publish(|state| {
            state.files.findings.clone_from(&error.findings);
            state.files.refused = Some(error.error.clone());
        });
        error
    }

    async fn read(&self) -> Result<Vec<SourceFile>, ErrorBody> {
        let paths = self.paths.clone();
        let read = tokio::task::spawn_blocking(move || config::read(&paths, &Environment::of_process()));
        match read.await {
            Ok(Ok(files)) => Ok(files.into_iter().map(|(name, text)| SourceFile { name, text }).collect()),
            Ok(Err(findings)) => {
                let findings = findings.into_iter().map(Into::into).collect();
                Err(ErrorBody { findings, ..fail(Code::Invalid, "the configuration's files cannot be read", "") })
            }
            Err(error) => Err(fail(Code::Internal, error.to_string(), "")),
        }
    }

    /// Puts them in force whenever they change, `wishes` come, or what had to be waited for is over; for ever.
    pub async fn run(mut self, mut wishes: mpsc::Receiver<()>) {
        let (events, mut changed) = mpsc::channel(1);
        let mut watcher = watcher(events);
        loop {
            let wanted = self.watched().await;
            // What changed before somebody looked there is seen now.
            if watcher.as_mut().is_some_and(|watcher| watcher.set(&wanted)) {
                _ = self.load(ChangeSource::Watch, false).await;
            }
            tokio::select! {
                Some(()) = changed.recv() => {
                    self.settle(&mut changed).await;
                    _ = self.load(ChangeSource::Watch, false).await;
                }
                Some(()) = wishes.recv() => {
                    super::tell_systemd_reloading();
                    _ = self.load(ChangeSource::Signal, false).await;
                    super::tell_systemd_ready();
                }
                () = self.engine.reread.notified() => {
                    if self.waits {
                        _ = self.load(ChangeSource::Watch, false).await;
                    }
                }
            }
        }
    }

    /// Waits until nothing happens any more, and what can be read stays as it is.
    async fn settle(&self, changed: &mut mpsc::Receiver<()>) {
        let mut last = None;
        loop {
            sleep(QUIET).await;
            let is_quiet = changed.try_recv().is_err();
            let now = self.read().await.ok().map(|files| digest_of(&files));
            if is_quiet && now == last {
                return;
            }
            last = now;
        }
    }

    /// Directories: an editor that renames a new file into an old one's place is seen there only.
    async fn watched(&self) -> BTreeSet<PathBuf> {
        let named = self.paths.iter().cloned();
        let read = self.read().await.unwrap_or_default().into_iter().map(|file| PathBuf::from(file.name));
        let directory = |path: PathBuf| {
            if path.is_dir() {
                return path;
            }
            let parent = path.parent().unwrap_or(Path::new("."));
            if parent.as_os_str().is_empty() { PathBuf::from(".") } else { parent.to_owned() }
        };
        named.chain(read).map(directory).collect()
    }
}

/// Tells of changes. One that waits stands for all that follow.
fn watcher(events: mpsc::Sender<()>) -> Option<Watched> {
    let tell = move |event: notify::Result<notify::Event>| {
        let matters = event.map_or(true, |event| !event.kind.is_access());
        if matters {
            _ = events.try_send(());
        }
    };
    match notify::recommended_watcher(tell) {
        Ok(watcher) => Some(Watched { watcher, paths: BTreeSet::new() }),
        Err(error) => {
            tracing::error!(%error, "files cannot be watched: send SIGHUP when they have changed");
            None
        }
    }
}

struct Watched {
    watcher: RecommendedWatcher,
    paths: BTreeSet<PathBuf>,
}

impl Watched {
    /// From now on these. Says whether any is new.
    fn set(&mut self, wanted: &BTreeSet<PathBuf>) -> bool {
        let mut any_new = false;
        for gone in self.paths.difference(wanted) {
            _ = self.watcher.unwatch(gone);
        }
        self.paths.retain(|path| wanted.contains(path));
        for new in wanted {
            if self.paths.contains(new) {
                continue;
            }
            match self.watcher.watch(new, RecursiveMode::NonRecursive) {
                Ok(()) => any_new |= self.paths.insert(new.clone()),
                Err(error) => tracing::error!(%error, "{} cannot be watched", new.display()),
            }
        }
        any_new
    }
}
