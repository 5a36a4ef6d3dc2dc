//! The state directory: revisions, and which one is in force. Valid whenever the process ends.
//!
//! ```text
//!   current.json               which is in force, what drains, what waits to be confirmed
//!   revisions/000012.json      accepted by the data plane: three lines of JSON (checksum; who, when, why; files and what they come to)
//!   revisions/000013.pending   written, not accepted yet
//!   endpoints.json             what discovery has found last
//!   secrets.json               certificates with their private keys, and authorities, as they were in force last: nobody else may read it
//!   lock                       held by the daemon that runs
//!
//!   prepare    000013.pending, current.next         written and synced: from here on only names change
//!   (the data plane accepts it)
//!   commit     000013.pending -> 000013.json        an end here: 12 is in force again at the next start
//!              current.next   -> current.json       an end here: 13 is
//! ```
//! Whatever is half written has a name that nobody reads, or a checksum that does not fit.

mod disk;
#[cfg(test)]
mod tests;

pub use disk::{Disk, Real};

use crate::{
    admin::api::{RevisionHead, SourceFile},
    config::{Control, Discovery, Material, SecretSource},
    secrets::Loaded,
};
use serde::{Deserialize, Serialize, de::DeserializeOwned};
use siphasher::sip128::{Hasher128, SipHasher13};
use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
    fs::{self, File},
    hash::Hasher,
    io::{self, BufRead, BufReader},
    net::SocketAddr,
    os::unix::fs::DirBuilderExt,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};
use weirgate_dataplane::snapshot::{Endpoint, Snapshot};

/// Revisions that are kept unless somebody says otherwise.
pub const HISTORY: usize = 100;

/// A configuration that was in force, or is about to be.
#[derive(Clone, PartialEq, Debug)]
pub struct Revision {
    /// Who, when, why.
    pub head: RevisionHead,
    /// What it is and comes to.
    pub body: Body,
}

/// What a revision is and comes to.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Body {
    /// The files that it was made of.
    pub files: Vec<SourceFile>,
    /// What only the daemon needs.
    pub control: Control,
    /// What the data plane gets, without what was discovered; certificates and authorities are names only.
    pub snapshot: Snapshot,
    /// Secrets that came within the files, by their names. They are not written with the rest.
    #[serde(skip)]
    pub brought: BTreeMap<String, Material>,
}

impl Body {
    /// Equal for what comes to the same.
    pub fn digest(&self) -> String {
        let content = serde_json::to_vec(&(&self.control, &self.snapshot)).expect("string keys only");
        digest(&[&content])
    }
}

/// What holds beside the revisions.
#[derive(Clone, PartialEq, Eq, Default, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Current {
    /// What is in force.
    pub revision: Option<u64>,
    /// What was before.
    #[serde(default)]
    pub previous: Option<u64>,
    /// A change that goes back by itself.
    #[serde(default)]
    pub unconfirmed: Option<Kept>,
    /// Whether the gateway drains.
    #[serde(default)]
    pub draining: bool,
    /// Endpoints that drain.
    #[serde(default)]
    pub drained: BTreeSet<Drained>,
    /// What stood in the files when they were put in force last.
    #[serde(default)]
    pub files: Option<String>,
}

/// A change that goes back by itself.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Kept {
    /// It.
    pub revision: u64,
    /// Where to.
    pub back_to: u64,
    /// When, in milliseconds of 1970: for the next daemon.
    pub until_ms: u64,
    /// How long it could wait when it was put in force: no later daemon waits longer, whatever became of the time of day.
    #[serde(default = "day_ms")]
    pub period_ms: u64,
}

fn day_ms() -> u64 {
    24 * 3_600_000
}

impl Kept {
    /// How long it still waits, by this time of day.
    pub fn left(&self, now_ms: u64) -> Duration {
        Duration::from_millis(self.until_ms.saturating_sub(now_ms).min(self.period_ms))
    }
}

/// An endpoint that drains.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Drained {
    /// Its backend.
    pub backend: String,
    /// Address and port.
    pub address: SocketAddr,
}

/// What discovery has found, by what was asked ([`Discovery::question`]).
pub type Learned = BTreeMap<Discovery, Vec<Endpoint>>;

/// What secrets stand for, by their names and where they are.
pub type Held = BTreeMap<(String, SecretSource), Arc<Loaded>>;

/// The directory.
pub struct Store {
    dir: PathBuf,
    disk: Box<dyn Disk>,
    history: usize,
    current: Current,
    heads: BTreeMap<u64, RevisionHead>,
    /// The number of the next revision: none is given twice while the daemon runs.
    next: u64,
    _lock: File,
}

impl Store {
    /// Opens a directory, makes it if need be, and repairs what an end in between left. What was wrong with it is told.
    ///
    /// # Errors
    /// That it cannot be made or read, or that another daemon has it.
    pub fn open(dir: &Path, history: usize, disk: Box<dyn Disk>) -> Result<(Self, Vec<String>), StoreError> {
        let revisions = dir.join("revisions");
        let fault = |what: &'static str| move |error| StoreError { what, path: dir.to_owned(), error };
        fs::DirBuilder::new().recursive(true).mode(0o750).create(&revisions).map_err(fault("make"))?;
        let lock = File::create(dir.join("lock")).map_err(fault("lock"))?;
        if let Err(error) = lock.try_lock() {
            let error = match error {
                fs::TryLockError::WouldBlock => io::Error::other("another weirgate-control has it"),
                fs::TryLockError::Error(error) => error,
            };
            return Err(fault("lock")(error));
        }
        let mut store = Self {
            dir: dir.to_owned(),
            disk,
            history: history.max(2),
            current: Current::default(),
            heads: BTreeMap::new(),
            next: 1,
            _lock: lock,
        };
        let mut repaired = Vec::new();
        store.scan(&revisions, &mut repaired).map_err(fault("read"))?;
        store.find_current(&mut repaired);
        Ok((store, repaired))
    }

    /// Which revisions there are. What is half written goes.
    fn scan(&mut self, revisions: &Path, repaired: &mut Vec<String>) -> io::Result<()> {
        for entry in fs::read_dir(revisions)? {
            let path = entry?.path();
            let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
            let (number, kind) = name.split_once('.').unwrap_or_default();
            let Ok(number) = number.parse::<u64>() else { continue };
            self.next = self.next.max(number + 1);
            if kind == "json" {
                match read_head(&path) {
                    Ok(head) if head.revision == number => _ = self.heads.insert(number, head),
                    Ok(head) => repaired.push(format!("{} holds revision {}: ignored", path.display(), head.revision)),
                    Err(error) => repaired.push(format!("{} is damaged ({error}): ignored", path.display())),
                }
            } else if kind == "pending" {
                repaired.push(format!("revision {number} was never accepted by the data plane: removed"));
                _ = self.disk.remove(&path);
            }
        }
        _ = self.disk.remove(&self.dir.join("current.next"));
        _ = self.disk.remove(&self.dir.join("secrets.next"));
        Ok(())
    }

    /// What is in force; if that is not known or damaged, the newest sound one.
    fn find_current(&mut self, repaired: &mut Vec<String>) {
        let path = self.dir.join("current.json");
        match fs::read(&path).map_err(|e| e.to_string()).and_then(|content| sealed(&content)) {
            Ok(current) => self.current = current,
            Err(error) if path.exists() || !self.heads.is_empty() => {
                repaired.push(format!("{} cannot be used ({error})", path.display()));
                self.current.revision = self.heads.keys().next_back().copied();
            }
            Err(_) => {}
        }
        let Some(wanted) = self.current.revision else { return };
        self.next = self.next.max(wanted + 1);
        let sound = |store: &Self, number| store.read(number).is_ok();
        if sound(self, wanted) {
            return;
        }
        let found = self.heads.keys().rev().copied().filter(|&number| number != wanted).find(|&n| sound(self, n));
        let instead = found.map_or("there is no other".into(), |number| format!("revision {number} is taken instead"));
        repaired.push(format!("revision {wanted} is in force and cannot be read: {instead}"));
        self.heads.remove(&wanted);
        // What stood in the files was for the one that is lost: they count as never seen.
        let lost = std::mem::take(&mut self.current);
        self.current = Current { revision: found, previous: None, unconfirmed: None, files: None, ..lost };
    }

    /// What holds now.
    pub fn current(&self) -> &Current {
        &self.current
    }

    /// All revisions, the newest first.
    pub fn heads(&self) -> impl Iterator<Item = &RevisionHead> {
        self.heads.values().rev()
    }

    /// The number of the next revision.
    pub fn next(&self) -> u64 {
        self.next
    }

    /// A revision.
    ///
    /// # Errors
    /// That there is none with this number, or it is damaged.
    pub fn read(&self, number: u64) -> Result<Revision, StoreError> {
        let path = self.path(number, "json");
        let fault = |error| StoreError { what: "read", path: path.clone(), error };
        let content = fs::read(&path).map_err(fault)?;
        revision_of(&content).map_err(|error| fault(io::Error::new(io::ErrorKind::InvalidData, error)))
    }

    /// Writes a revision, and what shall hold with it, so that [`Self::commit`] has little left that may fail. Its number is [`Self::next`].
    ///
    /// # Errors
    /// The disk's. Nothing has changed.
    pub fn prepare(&mut self, revision: &Revision, current: &Current) -> Result<(), StoreError> {
        let number = revision.head.revision;
        assert_eq!(number, self.next, "revisions are numbered one by one");
        self.next += 1;
        let path = self.path(number, "pending");
        let written = self.disk.write(&path, &content_of(revision)).map_err(|error| fault("write", &path, error));
        let next = self.dir.join("current.next");
        let written =
            written.and_then(|()| self.disk.write(&next, &seal(current)).map_err(|error| fault("write", &next, error)));
        if written.is_err() {
            self.discard(number);
        }
        written
    }

    /// The data plane has accepted it: now it is in force.
    ///
    /// # Errors
    /// The disk's. What was in force still is.
    pub fn commit(&mut self, revision: &Revision, current: Current) -> Result<(), StoreError> {
        let number = revision.head.revision;
        let (from, to) = (self.path(number, "pending"), self.path(number, "json"));
        let next = self.dir.join("current.next");
        let done = self.disk.rename(&from, &to).map_err(|error| fault("rename", &from, error));
        let done = done.and_then(|()| self.publish(&next));
        if let Err(error) = done {
            // It was not the last word: at the next start it must not be found.
            _ = self.disk.remove(&to);
            self.discard(number);
            return Err(error);
        }
        self.heads.insert(number, revision.head.clone());
        self.current = current;
        self.prune();
        Ok(())
    }

    fn publish(&mut self, next: &Path) -> Result<(), StoreError> {
        self.disk.rename(next, &self.dir.join("current.json")).map_err(|error| fault("rename", next, error))
    }

    /// It was not accepted.
    pub fn discard(&mut self, number: u64) {
        _ = self.disk.remove(&self.path(number, "pending"));
        _ = self.disk.remove(&self.dir.join("current.next"));
    }

    /// From now on this holds; the revision stays.
    ///
    /// # Errors
    /// The disk's. Nothing has changed.
    pub fn save(&mut self, current: Current) -> Result<(), StoreError> {
        let next = self.dir.join("current.next");
        self.disk.write(&next, &seal(&current)).map_err(|error| fault("write", &next, error))?;
        self.publish(&next)?;
        self.current = current;
        Ok(())
    }

    /// The oldest go, but none that may be needed.
    fn prune(&mut self) {
        let kept = self.current.unconfirmed.as_ref().map(|kept| kept.back_to);
        let needed = [self.current.revision, self.current.previous, kept];
        let excess = self.heads.len().saturating_sub(self.history);
        let old: Vec<u64> = self.heads.keys().copied().filter(|&n| !needed.contains(&Some(n))).take(excess).collect();
        for number in old {
            if self.disk.remove(&self.path(number, "json")).is_ok() {
                self.heads.remove(&number);
            }
        }
    }

    /// Notes what discovery has found, so that a start needs no answer.
    ///
    /// # Errors
    /// The disk's.
    pub fn save_endpoints(&mut self, found: &Learned) -> Result<(), StoreError> {
        let found: Vec<_> = found.iter().collect();
        let (next, path) = (self.dir.join("endpoints.next"), self.dir.join("endpoints.json"));
        self.disk.write(&next, &seal(&found)).map_err(|error| fault("write", &next, error))?;
        self.disk.rename(&next, &path).map_err(|error| fault("rename", &next, error))
    }

    /// What was noted last.
    pub fn endpoints(&self) -> Learned {
        let read = fs::read(self.dir.join("endpoints.json")).ok();
        let found: Option<Vec<(Discovery, Vec<Endpoint>)>> = read.and_then(|content| sealed(&content).ok());
        found.unwrap_or_default().into_iter().collect()
    }

    /// Keeps what secrets stand for, so that a start needs none of their files.
    ///
    /// # Errors
    /// The disk's.
    pub fn save_secrets(&mut self, held: &Held) -> Result<(), StoreError> {
        let (next, path) = (self.dir.join("secrets.next"), self.dir.join("secrets.json"));
        if held.is_empty() && !path.exists() {
            return Ok(());
        }
        let all: Vec<_> = held.iter().map(|((name, source), loaded)| (name, source, &loaded.material)).collect();
        self.disk.write(&next, &seal(&all)).map_err(|error| fault("write", &next, error))?;
        self.disk.rename(&next, &path).map_err(|error| fault("rename", &next, error))
    }

    /// What was kept last.
    pub fn secrets(&self) -> Held {
        let read = fs::read(self.dir.join("secrets.json")).ok();
        let all: Option<Vec<(String, SecretSource, Material)>> = read.and_then(|content| sealed(&content).ok());
        let all = all.unwrap_or_default().into_iter();
        all.map(|(name, source, material)| ((name, source), Arc::new(Loaded::new(material)))).collect()
    }

    fn path(&self, number: u64, kind: &str) -> PathBuf {
        self.dir.join("revisions").join(format!("{number:06}.{kind}"))
    }
}

/// What the state directory cannot do.
#[derive(Debug)]
pub struct StoreError {
    what: &'static str,
    path: PathBuf,
    error: io::Error,
}

impl StoreError {
    /// Whether there is no such revision.
    pub fn is_absent(&self) -> bool {
        self.error.kind() == io::ErrorKind::NotFound
    }
    /// What to do next.
    pub fn next(&self) -> String {
        let dir = self.path.parent().unwrap_or(&self.path).display();
        match self.error.kind() {
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => format!("make room: df -h {dir}; df -i {dir}"),
            io::ErrorKind::ReadOnlyFilesystem => format!("the file system is read-only: dmesg; findmnt -T {dir}"),
            _ => format!("look at the state directory: ls -la {dir}"),
        }
    }
}

impl fmt::Display for StoreError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { what, path, error } = self;
        write!(f, "cannot {what} {}: {error}", path.display())
    }
}

fn fault(what: &'static str, path: &Path, error: io::Error) -> StoreError {
    StoreError { what, path: path.to_owned(), error }
}

/// The first line.
#[derive(Serialize, Deserialize)]
struct Seal {
    format: u32,
    checksum: String,
}

const FORMAT: u32 = 1;

/// A checksum of 128 bits. It finds damage, not forgery: whoever may write here may do everything anyway.
pub(super) fn digest(parts: &[&[u8]]) -> String {
    let mut hasher = SipHasher13::new();
    for part in parts {
        hasher.write(part);
        hasher.write_u64(part.len() as u64);
    }
    let hash = hasher.finish128();
    format!("{:016x}{:016x}", hash.h1, hash.h2)
}

fn with_seal(content: Vec<u8>) -> Vec<u8> {
    let seal = Seal { format: FORMAT, checksum: digest(&[&content]) };
    let mut all = serde_json::to_vec(&seal).expect("string keys only");
    all.push(b'\n');
    all.extend(content);
    all
}

/// The content behind a seal that fits.
fn unsealed(content: &[u8]) -> Result<&[u8], String> {
    let end = content.iter().position(|&b| b == b'\n').ok_or("no whole first line")?;
    let (first, rest) = (&content[..end], &content[end + 1..]);
    let seal: Seal = serde_json::from_slice(first).map_err(|e| e.to_string())?;
    if seal.format != FORMAT {
        return Err(format!("format {}; this version reads {FORMAT}", seal.format));
    }
    if seal.checksum != digest(&[rest]) {
        return Err("the checksum does not fit".into());
    }
    Ok(rest)
}

fn seal(content: &impl Serialize) -> Vec<u8> {
    let mut content = serde_json::to_vec(content).expect("string keys only");
    content.push(b'\n');
    with_seal(content)
}

fn sealed<T: DeserializeOwned>(content: &[u8]) -> Result<T, String> {
    serde_json::from_slice(unsealed(content)?).map_err(|e| e.to_string())
}

fn content_of(revision: &Revision) -> Vec<u8> {
    let mut content = serde_json::to_vec(&revision.head).expect("string keys only");
    content.push(b'\n');
    serde_json::to_writer(&mut content, &revision.body).expect("string keys only");
    content.push(b'\n');
    with_seal(content)
}

fn revision_of(content: &[u8]) -> Result<Revision, String> {
    let rest = unsealed(content)?;
    let end = rest.iter().position(|&b| b == b'\n').ok_or("no whole second line")?;
    let head = serde_json::from_slice(&rest[..end]).map_err(|e| e.to_string())?;
    let body: Body = serde_json::from_slice(&rest[end..]).map_err(|e| e.to_string())?;
    body.snapshot.check()?;
    Ok(Revision { head, body })
}

/// Only who, when and why, which is much less than the rest. Whether the rest is sound shows when it is needed.
fn read_head(path: &Path) -> Result<RevisionHead, String> {
    let mut lines = BufReader::new(File::open(path).map_err(|e| e.to_string())?).lines();
    let mut line = || lines.next().transpose().map_err(|e| e.to_string())?.ok_or_else(|| "it is too short".to_owned());
    line()?;
    serde_json::from_str(&line()?).map_err(|e| e.to_string())
}
