//! Directories that are watched for all files together: the kernel gives a user few watchers (inotify instances), and each can watch many
//! directories.

use notify::{RecommendedWatcher, RecursiveMode, Watcher};
use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};
use tokio::sync::Notify;
use tracing::warn;

/// One watcher for everybody.
pub(super) struct Watch {
    /// `None`: the kernel has none for us; files are looked at now and then.
    watcher: Mutex<Option<RecommendedWatcher>>,
    directories: Arc<Mutex<BTreeMap<PathBuf, Watched>>>,
}

/// A directory, and for how many.
#[derive(Default)]
struct Watched {
    changed: Arc<Notify>,
    users: usize,
}

/// A directory that somebody watches, until this is dropped.
pub(super) struct Watching {
    watch: Arc<Watch>,
    directory: PathBuf,
    changed: Arc<Notify>,
}

impl Watch {
    pub(super) fn new() -> Self {
        let directories = Arc::new(Mutex::new(BTreeMap::<PathBuf, Watched>::new()));
        let told = Arc::clone(&directories);
        let made = notify::recommended_watcher(move |event: notify::Result<notify::Event>| {
            let directories = lock(&told);
            let Ok(event) = event else {
                // Events were lost: everything may have changed.
                return directories.values().for_each(|watched| watched.changed.notify_waiters());
            };
            // Reading a file is an event too, and we read.
            if event.kind.is_access() {
                return;
            }
            for path in &event.paths {
                for directory in [Some(path.as_path()), path.parent()].into_iter().flatten() {
                    if let Some(watched) = directories.get(directory) {
                        watched.changed.notify_waiters();
                    }
                }
            }
        });
        let watcher = made
            .inspect_err(|error| {
                warn!("files cannot be watched ({error}); they are looked at every few seconds");
            })
            .ok();
        Self { watcher: Mutex::new(watcher), directories }
    }

    /// Watches a directory, from the first [`Watching::renew`] on.
    pub(super) fn directory(self: &Arc<Self>, directory: &Path) -> Watching {
        let mut directories = lock(&self.directories);
        let watched = directories.entry(directory.to_owned()).or_default();
        watched.users += 1;
        let changed = Arc::clone(&watched.changed);
        Watching { watch: Arc::clone(self), directory: directory.to_owned(), changed }
    }
}

impl Watching {
    /// Whether the kernel watches it. It may not be there yet, or be another now: so this is done again from time to time.
    pub(super) fn renew(&self) -> bool {
        let mut watcher = lock(&self.watch.watcher);
        watcher.as_mut().is_some_and(|watcher| watcher.watch(&self.directory, RecursiveMode::NonRecursive).is_ok())
    }

    /// Completes with the next change after this was called.
    pub(super) fn changed(&self) -> tokio::sync::futures::Notified<'_> {
        self.changed.notified()
    }
}

impl Drop for Watching {
    fn drop(&mut self) {
        let last = {
            let mut directories = lock(&self.watch.directories);
            let watched = directories.get_mut(&self.directory).expect("it is watched as long as somebody does");
            watched.users -= 1;
            let last = watched.users == 0;
            if last {
                directories.remove(&self.directory);
            }
            last
        };
        if last && let Some(watcher) = lock(&self.watch.watcher).as_mut() {
            let _ = watcher.unwatch(&self.directory); // it may be gone already
        }
    }
}

fn lock<T>(of: &Mutex<T>) -> MutexGuard<'_, T> {
    of.lock().unwrap_or_else(PoisonError::into_inner)
}
