//! Counters where other processes read them: a file in memory, written by the data plane, one writer for each column.
//!
//! ```text
//!   "WEIRCTR1" | length of header | header (JSON: what each column and cell is), padded to 4,096 | column | column | ...
//! ```
//! Cells are 64-bit little-endian words. The header names everything, so a reader needs no other knowledge, and a newer one reads an
//! older file. The file appears under its name when the data plane runs, and that is the sign of it.

mod map;

use crate::counters::{self, Kind};
use serde::{Deserialize, Serialize};
use std::{
    fs, io,
    path::{Path, PathBuf},
    sync::{Arc, atomic::AtomicU64},
};

const MAGIC: &[u8; 8] = b"WEIRCTR1";
const PAGE: usize = 4_096;
/// A column begins on a cache line of its own.
const LINE: usize = 64;

/// What the file holds.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct Header {
    /// The data plane's version.
    pub version: String,
    /// Its process.
    pub pid: u32,
    /// The node's name.
    pub name: String,
    /// The columns, in order.
    pub columns: Vec<Column>,
}

/// One writer's cells.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct Column {
    /// `worker` or `port`.
    pub scope: String,
    /// Which one.
    pub name: String,
    /// What each cell is.
    pub cells: Vec<Cell>,
}

/// One value.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct Cell {
    /// Its name; `drop.` stands before early ends.
    pub name: String,
    /// `counter`, `drop` or `gauge`.
    pub kind: String,
    /// What it means, in a sentence.
    pub help: String,
}

impl Column {
    /// A worker's.
    pub fn worker(index: usize) -> Self {
        let cells = counters::table().map(|(name, help, kind)| Cell {
            name,
            kind: kind_name(kind).into(),
            help: help.trim().into(),
        });
        Self { scope: "worker".into(), name: index.to_string(), cells: cells.collect() }
    }

    fn bytes(&self) -> usize {
        (self.cells.len() * 8).next_multiple_of(LINE)
    }
}

fn kind_name(kind: Kind) -> &'static str {
    match kind {
        Kind::Counter => "counter",
        Kind::Drop => "drop",
        Kind::End => "end",
        Kind::Gauge => "gauge",
    }
}

/// The file, mapped. It is removed when the last clone of it is dropped.
#[derive(Clone)]
pub struct Region(Arc<Inner>);

struct Inner {
    map: map::Map,
    /// First cell and number of cells of each column.
    columns: Vec<(usize, usize)>,
    unnamed: PathBuf,
    path: PathBuf,
    /// Device and inode: a file that another data plane has put in its place is not ours to remove.
    identity: (u64, u64),
}

impl Region {
    /// Makes the file, under a name of its own until [`Self::appear`] gives it `path`.
    pub fn create(path: &Path, header: &Header) -> io::Result<Self> {
        let json = serde_json::to_vec(header)?;
        let start = (MAGIC.len() + 8 + json.len()).next_multiple_of(PAGE);
        let mut columns = Vec::with_capacity(header.columns.len());
        let mut at = start;
        for column in &header.columns {
            columns.push((at / 8, column.cells.len()));
            at += column.bytes();
        }
        let mut head = Vec::with_capacity(start);
        head.extend_from_slice(MAGIC);
        head.extend_from_slice(&(json.len() as u64).to_le_bytes());
        head.extend_from_slice(&json);
        // Written out whole, so that a full file system is an error here and not a fault at the first count.
        head.resize(at.next_multiple_of(PAGE), 0);

        let unnamed = path.with_extension(format!("{}.new", std::process::id()));
        let made = fs::write(&unnamed, &head).and_then(|()| {
            let file = fs::OpenOptions::new().read(true).write(true).open(&unnamed)?;
            Ok((map::Map::new(&file)?, identity(&file.metadata()?)))
        });
        let (map, identity) = made.inspect_err(|_| {
            let _ = fs::remove_file(&unnamed);
        })?;
        Ok(Self(Arc::new(Inner { map, columns, unnamed, path: path.to_owned(), identity })))
    }

    /// Gives the file its name.
    pub fn appear(&self) -> io::Result<()> {
        fs::rename(&self.0.unnamed, &self.0.path)
    }

    /// The cells of a column. Only one thread may write them.
    pub fn cells(&self, column: usize) -> &[AtomicU64] {
        let (start, len) = self.0.columns[column];
        &self.0.map.words()[start..start + len]
    }
}

impl Drop for Inner {
    fn drop(&mut self) {
        for path in [&self.unnamed, &self.path] {
            if fs::metadata(path).is_ok_and(|file| identity(&file) == self.identity) {
                let _ = fs::remove_file(path); // somebody else's doing if it is gone
            }
        }
    }
}

fn identity(file: &fs::Metadata) -> (u64, u64) {
    use std::os::unix::fs::MetadataExt;
    (file.dev(), file.ino())
}

/// Reads all values of a file: each column with its cells' values, in order.
pub fn read(path: &Path) -> io::Result<(Header, Vec<Vec<u64>>)> {
    parse(&fs::read(path)?)
}

pub(crate) fn parse(bytes: &[u8]) -> io::Result<(Header, Vec<Vec<u64>>)> {
    let wrong = || io::Error::new(io::ErrorKind::InvalidData, "this is not a file of counters");
    let rest = bytes.strip_prefix(MAGIC).ok_or_else(wrong)?;
    let (len, rest) = rest.split_first_chunk::<8>().ok_or_else(wrong)?;
    let len = usize::try_from(u64::from_le_bytes(*len)).map_err(|_| wrong())?;
    let header: Header = serde_json::from_slice(rest.get(..len).ok_or_else(wrong)?)?;
    let mut at = (MAGIC.len() + 8 + len).next_multiple_of(PAGE);
    let mut columns = Vec::with_capacity(header.columns.len());
    for column in &header.columns {
        let cells = bytes.get(at..at + column.cells.len() * 8).ok_or_else(wrong)?;
        columns.push(cells.chunks_exact(8).map(|c| u64::from_le_bytes(c.try_into().expect("8 bytes"))).collect());
        at += column.bytes();
    }
    Ok((header, columns))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::Ordering;

    #[test]
    fn what_is_published_is_read() {
        let path = std::env::temp_dir().join(format!("weirgate-shm-test-{}", std::process::id()));
        let header = Header {
            version: "0".into(),
            pid: 1,
            name: "n".into(),
            columns: vec![Column::worker(0), Column::worker(1)],
        };
        let region = Region::create(&path, &header).unwrap();
        assert!(!path.exists(), "not before all runs");
        region.appear().unwrap();
        region.cells(0)[0].store(5, Ordering::Relaxed);
        region.cells(1)[counters::CELLS - 1].store(u64::MAX, Ordering::Relaxed);
        let (read_header, values) = read(&path).unwrap();
        assert_eq!(read_header, header);
        assert_eq!((values[0][0], values[1][counters::CELLS - 1], values[1][0]), (5, u64::MAX, 0));
        drop(region);
        assert!(!path.exists(), "nothing is left behind");
        fs::write(&path, b"WEIRCTR1\xff\xff\xff\xff\xff\xff\xff\x7f").unwrap();
        assert!(read(&path).is_err(), "a lie about the length is an error");
        fs::remove_file(&path).unwrap();
    }
}
