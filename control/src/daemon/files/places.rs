//! Where the configuration's files are: what leads to them, through symbolic links too, and which changes there matter.

use notify::{RecommendedWatcher, RecursiveMode, Watcher};
use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};
use tokio::sync::mpsc;

/// Links that one path may lead through, as the kernel has it.
const LINKS_MAX: usize = 40;

/// Paths are as the kernel tells them: absolute, and links only in their last part.
#[derive(Clone, PartialEq, Default, Debug)]
pub(in crate::daemon) struct Places {
    /// To be watched: an editor that renames a new file into an old one's place is seen in the directory only.
    directories: BTreeSet<PathBuf>,
    /// Files, links that lead to them, and what is not there yet.
    entries: BTreeSet<PathBuf>,
    /// Directories whose every configuration file counts.
    listed: BTreeSet<PathBuf>,
}

impl Places {
    /// Of what is `named`, and of files that were `read`, for which somebody may have named the directory.
    pub(in crate::daemon) fn of(named: &[PathBuf], read: &[PathBuf]) -> Self {
        let mut places = Self::default();
        for path in named {
            places.add(path);
        }
        for path in read.iter().filter(|path| !named.contains(path)) {
            let end = places.add(path);
            places.listed.extend(end.parent().map(Path::to_owned));
        }
        places
    }

    /// Of these files and nothing beside them.
    pub(in crate::daemon) fn of_files(files: &[PathBuf]) -> Self {
        let mut places = Self::default();
        for path in files {
            places.add(path);
        }
        places.listed.clear();
        places
    }

    /// Follows a path to where it ends, or to what is missing.
    fn add(&mut self, path: &Path) -> PathBuf {
        let mut rest = std::path::absolute(path).unwrap_or_else(|_| path.to_owned());
        let mut here = PathBuf::from("/");
        let mut links = 0;
        loop {
            let mut parts = rest.components();
            let Some(part) = parts.next() else { break };
            let after = parts.as_path().to_owned();
            match part.as_os_str() {
                part if part == ".." => _ = here.pop(),
                part => here.push(part), // `/` begins anew
            }
            let target = fs::read_link(&here).ok().filter(|_| links < LINKS_MAX);
            if let Some(target) = target {
                links += 1;
                self.entry(&here);
                here.pop();
                rest = target.join(after);
                continue;
            }
            if !here.exists() {
                self.entry(&here);
                return here;
            }
            rest = after;
        }
        if here.is_dir() {
            self.directories.insert(here.clone());
            self.listed.insert(here.clone());
        } else {
            self.entry(&here);
        }
        here
    }

    fn entry(&mut self, path: &Path) {
        self.directories.extend(path.parent().map(Path::to_owned));
        self.entries.insert(path.to_owned());
    }

    /// Whether a change of this may be one of the configuration.
    fn matter(&self, path: &Path) -> bool {
        let is_listed = || {
            let is_ours = path.extension().is_some_and(|end| end == "yaml" || end == "yml" || end == "json");
            is_ours && path.parent().is_some_and(|parent| self.listed.contains(parent))
        };
        self.entries.contains(path) || self.directories.contains(path) || is_listed()
    }
}

/// What the kernel watches for us.
pub(in crate::daemon) struct Watched {
    watcher: Option<RecommendedWatcher>,
    places: Arc<Mutex<Places>>,
    /// What could not be watched: that is said once.
    failed: BTreeSet<PathBuf>,
}

impl Watched {
    /// Nothing yet; and where changes are told. One that waits stands for all that follow.
    pub(in crate::daemon) fn new() -> (Self, mpsc::Receiver<()>) {
        let (events, changed) = mpsc::channel(1);
        let places = Arc::new(Mutex::new(Places::default()));
        let of = Arc::clone(&places);
        let tell = move |event: notify::Result<notify::Event>| {
            let matters = event.map_or(true, |event| {
                // Reading is an event too, and we read.
                let changes = || !event.kind.is_access() && event.paths.iter().any(|path| lock(&of).matter(path));
                event.need_rescan() || changes()
            });
            if matters {
                _ = events.try_send(());
            }
        };
        let watcher = notify::recommended_watcher(tell).inspect_err(|error| {
            tracing::error!(%error, "files cannot be watched: they are looked at now and then");
        });
        (Self { watcher: watcher.ok(), places, failed: BTreeSet::new() }, changed)
    }

    /// From now on these. A directory may have been replaced by another of its name, so it is asked for again. Says whether all are watched.
    pub(in crate::daemon) fn renew(&mut self, wanted: &Places) -> bool {
        let gone = {
            let mut places = lock(&self.places);
            let gone: Vec<_> = places.directories.difference(&wanted.directories).cloned().collect();
            places.clone_from(wanted);
            gone
        };
        let Some(watcher) = &mut self.watcher else { return false };
        for gone in gone {
            _ = watcher.unwatch(&gone);
        }
        let mut failed = BTreeSet::new();
        for directory in &wanted.directories {
            if let Err(error) = watcher.watch(directory, RecursiveMode::NonRecursive) {
                if !self.failed.contains(directory) {
                    tracing::error!(%error, "{} cannot be watched: it is looked at now and then", directory.display());
                }
                failed.insert(directory.clone());
            }
        }
        self.failed = failed;
        self.failed.is_empty()
    }
}

fn lock<T>(of: &Mutex<T>) -> MutexGuard<'_, T> {
    of.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::daemon::tests::Dir;
    use std::os::unix::fs::symlink;

    #[test]
    fn what_leads_to_a_file_matters_and_nothing_beside_it() {
        let dir = Dir::new("places");
        let root = dir.path().canonicalize().unwrap();
        let at = |name: &str| root.join(name);
        // As Kubernetes mounts it.
        fs::create_dir_all(at("etc/..1")).unwrap();
        fs::create_dir(at("more")).unwrap();
        fs::write(at("etc/..1/gateway.yaml"), "").unwrap();
        fs::write(at("more/a.yaml"), "").unwrap();
        symlink("..1", at("etc/..data")).unwrap();
        symlink("..data/gateway.yaml", at("etc/gateway.yaml")).unwrap();
        let places =
            Places::of(&[at("etc/gateway.yaml"), at("none/at/all")], &[at("etc/gateway.yaml"), at("more/a.yaml")]);
        let matter = ["etc/gateway.yaml", "etc/..data", "etc/..1/gateway.yaml", "none", "more/a.yaml", "more/new.yml"];
        assert!(matter.iter().all(|name| places.matter(&at(name))), "{places:#?}");
        let none = ["etc/other.yaml", "etc/gateway.yaml.swp", "etc/..1/other.yaml", "more/log", "else"];
        assert!(!none.iter().any(|name| places.matter(&at(name))), "{places:#?}");
        // Around in a circle: it ends.
        symlink("b", at("a")).unwrap();
        symlink("a", at("b")).unwrap();
        assert!(Places::of(&[at("a/x")], &[]).matter(&at("b")));
    }
}
