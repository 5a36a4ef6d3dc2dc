//! The configuration's files: read at the start, at SIGHUP, and when they change. What is half written is left alone until it stands still.

pub(super) mod places;

use super::{
    engine::{Engine, compile, fail},
    notice,
};
use crate::{
    admin::api::{ChangeSource, Code, ErrorBody, SourceFile},
    config::{self, Environment},
    daemon::{clock::monotonic, engine::digest_of},
};
use places::{Places, Watched};
use std::{path::PathBuf, sync::Arc, time::Duration};
use tokio::{
    sync::mpsc,
    time::{Instant, sleep, sleep_until, timeout},
};

/// Files that have not changed for this time are taken for whole.
const QUIET: Duration = Duration::from_millis(300);
/// Files that change for longer than this are looked at all the same.
const SETTLE_MAX: Duration = Duration::from_secs(3);
/// How often they are looked at although nothing was said about them: a directory may be another now, or a link far away lead elsewhere.
const LOOK: Duration = Duration::from_secs(5);
/// The same where not everything can be watched.
const LOOK_UNWATCHED: Duration = Duration::from_secs(1);
/// Between tries of what was refused for a reason that may go by itself: doubled each time, up to the second.
const RETRY: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(60));

/// Reads files and puts them in force.
pub struct FileSource {
    engine: Arc<Engine>,
    paths: Vec<PathBuf>,
    /// Those that were read last, the included ones too.
    files: Vec<PathBuf>,
    /// What stood in them when they were put in force, or refused, last.
    seen: Option<String>,
    /// Why that was refused, if it was.
    refused: Option<ErrorBody>,
    /// Why they cannot be read, as it was told last.
    unreadable: Option<ErrorBody>,
    /// They were refused because something else had to be waited for.
    waits: bool,
    /// That is over.
    again: bool,
    /// They were refused for a reason that may go by itself.
    retry: Option<Retry>,
}

/// When refused files are tried again.
#[derive(Clone, Copy)]
struct Retry {
    due: Instant,
    /// How long that is after the last time.
    pause: Duration,
    /// What was in force then. What came since is newer than these files.
    over: Option<u64>,
}

impl FileSource {
    /// Of these files and directories. `seen` is what stood in them when they were put in force last.
    pub fn new(engine: Arc<Engine>, paths: Vec<PathBuf>, seen: Option<String>) -> Self {
        engine.publish(|state| state.files.paths.clone_from(&paths));
        Self {
            engine,
            paths,
            files: Vec::new(),
            seen,
            refused: None,
            unreadable: None,
            waits: false,
            again: false,
            retry: None,
        }
    }

    /// Reads them, and puts them in force if they are others than those that were last.
    ///
    /// # Errors
    /// Why what stands in them is not in force now. It is logged, once for each content.
    pub async fn load(&mut self, source: ChangeSource, may_restart: bool) -> Result<bool, ErrorBody> {
        // SIGHUP is somebody's wish: then they count even if something else was put in force since.
        let is_wish = source == ChangeSource::Signal;
        let (files, digest) = match self.read().await {
            Ok(read) => read,
            Err(error) => {
                if is_wish || self.unreadable.as_ref().is_none_or(|told| told.findings != error.findings) {
                    tell(&error);
                }
                self.publish(Some(&error));
                self.unreadable = Some(error.clone());
                return Err(error);
            }
        };
        self.files = files.iter().map(|file| PathBuf::from(&file.name)).collect();
        if self.unreadable.take().is_some() {
            tracing::info!("the files can be read again");
            self.publish(self.refused.as_ref());
        }
        let is_same = self.seen.as_ref() == Some(&digest);
        let again = std::mem::take(&mut self.again);
        if is_same && !is_wish && !again {
            return Ok(false);
        }
        let applied = match compile(files, Environment::of_process()).await {
            Ok(body) => self.engine.apply_files(body, source, may_restart).await,
            Err(error) => Err(error),
        };
        self.seen = Some(digest);
        match applied {
            Ok(applied) => {
                (self.refused, self.waits, self.retry) = (None, false, None);
                self.publish(None);
                if applied.changed {
                    tracing::info!(revision = applied.revision, ?source, "the files are in force");
                }
                Ok(applied.changed)
            }
            Err(error) => {
                self.waits = matches!(error.code, Code::Conflict | Code::NoDataplane);
                // A full disk, an audit log that cannot be written, an address that somebody else has.
                let may_go = error.code == Code::Storage || error.code == Code::Invalid && error.findings.is_empty();
                let pause = self.retry.filter(|_| is_same).map_or(RETRY.0, |last| (last.pause * 2).min(RETRY.1));
                let over = self.engine.state().number();
                self.retry = may_go.then(|| Retry { due: monotonic() + pause, pause, over });
                // The same content is told once, and whenever somebody asks for it.
                if is_wish || !is_same {
                    tell(&error);
                }
                self.publish(Some(&error));
                self.refused = Some(error.clone());
                Err(error)
            }
        }
    }

    /// It is time, unless something else was put in force meanwhile. The next time is later, should they not even be read this time.
    pub(super) fn try_again(&mut self) {
        let number = self.engine.state().number();
        self.retry = self.retry.filter(|retry| retry.over == number);
        self.again = self.retry.is_some();
        if let Some(retry) = &mut self.retry {
            retry.due = monotonic() + retry.pause;
        } else {
            tracing::warn!(revision = number, "the files that were refused are not tried again: this came since");
        }
    }

    /// Shows why they are not in force, or that nothing is wrong with them.
    fn publish(&self, error: Option<&ErrorBody>) {
        let findings = error.map(|error| error.findings.clone()).unwrap_or_default();
        let refused = error.map(|error| error.error.clone());
        self.engine.publish(|state| (state.files.findings, state.files.refused) = (findings, refused));
    }

    /// Them, and what tells them apart.
    async fn read(&self) -> Result<(Vec<SourceFile>, String), ErrorBody> {
        let paths = self.paths.clone();
        let read = tokio::task::spawn_blocking(move || {
            let files = config::read(&paths, &Environment::of_process())?;
            let files: Vec<_> = files.into_iter().map(|(name, text)| SourceFile { name, text }).collect();
            let digest = digest_of(&files);
            Ok::<_, Vec<config::Finding>>((files, digest))
        });
        match read.await {
            Ok(Ok(read)) => Ok(read),
            Ok(Err(findings)) => {
                let findings = findings.into_iter().map(Into::into).collect();
                Err(ErrorBody { findings, ..fail(Code::Invalid, "the configuration's files cannot be read", "") })
            }
            Err(error) => Err(fail(Code::Internal, error.to_string(), "")),
        }
    }

    /// Puts them in force whenever they change, `wishes` come, or what had to be waited for is over; for ever.
    pub async fn run(mut self, mut wishes: mpsc::Receiver<()>) {
        let (mut watched, mut changed) = Watched::new();
        loop {
            let read = self.files.clone();
            let is_whole = watched.renew(&self.places().await);
            // What changed before somebody looked there is seen now.
            _ = self.load(ChangeSource::Watch, false).await;
            if self.files != read {
                continue;
            }
            let look = if is_whole { LOOK } else { LOOK_UNWATCHED };
            let mut is_wish = false;
            let due = self.retry.map(|retry| retry.due);
            tokio::select! {
                Some(()) = changed.recv() => is_wish = self.settle(&mut changed, &mut wishes).await,
                Some(()) = wishes.recv() => is_wish = true,
                () = self.engine.reread.notified() => self.again = self.waits,
                () = sleep_until(due.unwrap_or_else(monotonic)), if due.is_some() => self.try_again(),
                () = sleep(look) => {}
            }
            if is_wish {
                super::tell_systemd_reloading(&self.engine);
                _ = self.load(ChangeSource::Signal, false).await;
                super::tell_systemd_ready(&self.engine);
            }
        }
    }

    /// Waits until nothing happens any more and what can be read stays as it is, but not for ever. Says whether somebody wishes for the files,
    /// and then does not wait.
    async fn settle(&self, changed: &mut mpsc::Receiver<()>, wishes: &mut mpsc::Receiver<()>) -> bool {
        let mut last = None;
        let settled = async {
            loop {
                sleep(QUIET).await;
                let is_quiet = changed.try_recv().is_err();
                let now = self.read().await.ok().map(|(_, digest)| digest);
                if is_quiet && now == last {
                    return;
                }
                last = now;
            }
        };
        tokio::select! {
            _ = timeout(SETTLE_MAX, settled) => false,
            Some(()) = wishes.recv() => true,
        }
    }

    /// Where changes matter: what is named, and what was read because of it.
    async fn places(&self) -> Places {
        let (named, read) = (self.paths.clone(), self.files.clone());
        tokio::task::spawn_blocking(move || Places::of(&named, &read)).await.unwrap_or_default()
    }
}

fn tell(error: &ErrorBody) {
    for finding in &error.findings {
        tracing::error!("{}", notice(finding));
    }
    tracing::error!(next = error.next, "the files are not in force: {}", error.error);
}
