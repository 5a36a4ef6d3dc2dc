//! The audit log: a line of JSON for every change, before it and after it, and for every one that is refused.
//!
//! A change that cannot be noted is not made. What came of it is noted afterwards; when that fails, the daemon's own log has it.

use super::who::{Who, at};
use serde::Serialize;
use std::{
    fs::{self, File, OpenOptions},
    io::{self, Read, Seek, SeekFrom, Write},
    os::unix::fs::{MetadataExt, OpenOptionsExt},
    path::{Path, PathBuf},
};

/// From this size on a log is set aside.
const BYTES_MAX: u64 = 16 << 20;
/// So many are kept that were set aside: `audit.jsonl.1` is the newest.
const OLD_MAX: u32 = 8;

/// A line.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Entry<'a> {
    /// Who.
    #[serde(flatten)]
    pub who: &'a Who,
    /// What: `apply`, `rollback`, `confirm`, `drain`, or a path that somebody may not use.
    pub action: &'a str,
    /// Which revision it is about.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub revision: Option<u64>,
    /// What came of it.
    pub outcome: Outcome,
    /// More of it: a message, or a reason.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub detail: Option<&'a str>,
}

/// What came of it.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub enum Outcome {
    /// It begins: without a line that says how it ended, the daemon ended in between.
    Begun,
    /// It is done.
    Done,
    /// It was not done.
    Refused,
}

#[derive(Serialize)]
struct Line<'a> {
    at: String,
    #[serde(flatten)]
    entry: &'a Entry<'a>,
}

/// The file.
pub struct Audit {
    path: PathBuf,
    file: File,
    bytes: u64,
    bytes_max: u64,
}

impl Audit {
    /// Opens a log, or begins it.
    ///
    /// # Errors
    /// The system's.
    pub fn open(path: &Path) -> io::Result<Self> {
        Self::open_with(path, BYTES_MAX)
    }

    fn open_with(path: &Path, bytes_max: u64) -> io::Result<Self> {
        if let Some(dir) = path.parent() {
            fs::create_dir_all(dir)?;
        }
        let mut file = OpenOptions::new().read(true).append(true).create(true).mode(0o640).open(path)?;
        let bytes = file.metadata()?.len();
        // An end in the midst of a line must not spoil the next one.
        if bytes > 0 {
            let mut last = [0];
            file.seek(SeekFrom::End(-1))?;
            file.read_exact(&mut last)?;
            if last != *b"\n" {
                file.write_all(b"\n")?;
            }
        }
        Ok(Self { path: path.to_owned(), file, bytes, bytes_max })
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Adds a line; it is on the medium when this returns.
    ///
    /// # Errors
    /// The system's.
    pub fn write(&mut self, entry: &Entry<'_>) -> io::Result<()> {
        if !self.is_there() {
            // Somebody removed it, or put another in its place: what is written there now nobody would see.
            *self = Self::open_with(&self.path, self.bytes_max)?;
        }
        if self.bytes >= self.bytes_max {
            self.set_aside()?;
        }
        let mut line = serde_json::to_vec(&Line { at: at(), entry })?;
        line.push(b'\n');
        if let Err(error) = self.file.write_all(&line).and_then(|()| self.file.sync_data()) {
            // A part of the line may be there: it must not spoil the next one.
            _ = self.file.set_len(self.bytes);
            return Err(error);
        }
        self.bytes += line.len() as u64;
        Ok(())
    }

    /// Whether the file of this name is the one that is open.
    fn is_there(&self) -> bool {
        let of = |it: fs::Metadata| (it.dev(), it.ino());
        let named = fs::metadata(&self.path).map(of);
        named.ok().is_some_and(|named| self.file.metadata().is_ok_and(|open| of(open) == named))
    }

    fn set_aside(&mut self) -> io::Result<()> {
        let old = |n: u32| {
            let mut name = self.path.clone().into_os_string();
            name.push(format!(".{n}"));
            PathBuf::from(name)
        };
        for n in (1..OLD_MAX).rev() {
            match fs::rename(old(n), old(n + 1)) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
                _ => {}
            }
        }
        fs::rename(&self.path, old(1))?;
        *self = Self::open_with(&self.path, self.bytes_max)?;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::daemon::tests::Dir;

    fn entry<'a>(who: &'a Who, detail: Option<&'a str>) -> Entry<'a> {
        Entry { who, action: "apply", revision: Some(7), outcome: Outcome::Done, detail }
    }

    fn lines(path: &Path) -> Vec<serde_json::Value> {
        let text = fs::read_to_string(path).unwrap();
        text.lines().filter_map(|line| serde_json::from_str(line).ok()).collect()
    }

    #[test]
    fn lines_say_who_did_what_and_follow_each_other() {
        let dir = Dir::new("audit");
        let path = dir.path().join("sub/audit.jsonl");
        let who = Who { uid: Some(1000), pid: Some(4), user: Some("ann".into()), via: "unix".into() };
        Audit::open(&path).unwrap().write(&entry(&who, None)).unwrap();
        // An end in the midst of a line.
        OpenOptions::new().append(true).open(&path).unwrap().write_all(b"{\"at\": \"2026").unwrap();
        Audit::open(&path).unwrap().write(&entry(&who, Some("a\nb"))).unwrap();
        let lines = lines(&path);
        assert_eq!(lines.len(), 2);
        assert_eq!((&lines[1]["uid"], &lines[1]["user"]), (&1000.into(), &"ann".into()));
        assert_eq!(
            (&lines[1]["revision"], &lines[1]["outcome"], &lines[1]["detail"]),
            (&7.into(), &"done".into(), &"a\nb".into())
        );
    }

    #[test]
    fn a_long_log_is_set_aside_and_the_oldest_goes() {
        let dir = Dir::new("audit-rotation");
        let path = dir.path().join("audit.jsonl");
        let mut audit = Audit::open_with(&path, 1).unwrap();
        for n in 0..OLD_MAX + 5 {
            let text = n.to_string();
            audit.write(&entry(&Who::daemon(), Some(&text))).unwrap();
        }
        let files = fs::read_dir(dir.path()).unwrap().count();
        assert_eq!(files, OLD_MAX as usize + 1);
        assert_eq!(lines(&path)[0]["detail"], (OLD_MAX + 4).to_string());
        assert_eq!(lines(&dir.path().join("audit.jsonl.1"))[0]["detail"], (OLD_MAX + 3).to_string());
    }

    #[test]
    fn one_that_is_removed_is_begun_again() {
        let dir = Dir::new("audit-removed");
        let path = dir.path().join("audit.jsonl");
        let mut audit = Audit::open(&path).unwrap();
        for (n, change) in [fs::remove_file::<&Path>, |path: &Path| fs::rename(path, path.with_extension("old"))]
            .into_iter()
            .enumerate()
        {
            audit.write(&entry(&Who::daemon(), Some("before"))).unwrap();
            change(&path).unwrap();
            audit.write(&entry(&Who::daemon(), Some("after"))).unwrap();
            assert_eq!(lines(&path)[0]["detail"], "after", "{n}");
        }
    }

    #[test]
    fn a_full_disk_is_an_error() {
        // Every write to it fails with ENOSPC.
        let file = OpenOptions::new().read(true).append(true).open("/dev/full").unwrap();
        let mut audit = Audit { path: "/dev/full".into(), file, bytes: 0, bytes_max: BYTES_MAX };
        let error = audit.write(&entry(&Who::daemon(), None)).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::StorageFull);
    }
}
