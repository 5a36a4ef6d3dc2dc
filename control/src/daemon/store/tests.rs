//! Ends and faults at every step: what is left must be what was in force before, or what is now.

use super::*;
use crate::{
    admin::api::ChangeSource,
    daemon::tests::{Dir, body},
};
use proptest::prelude::*;
use std::sync::{
    Arc,
    atomic::{AtomicU32, Ordering},
};

/// A disk on which only so many steps succeed. The next one fails, or is done by half; then the process is dead, or not.
#[derive(Clone)]
struct Faulty {
    left: Arc<AtomicU32>,
    fault: Fault,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Fault {
    /// The process ends before the step.
    EndBefore,
    /// The process ends when half of it is done; of a change of names, when all is.
    EndWithin,
    /// One step finds the disk full, when half of it is done.
    FullOnce,
    /// That one and all others.
    Full,
}

impl Faulty {
    fn new(steps: u32, fault: Fault) -> Self {
        Self { left: Arc::new(AtomicU32::new(steps)), fault }
    }

    /// Whether this step works; else what is done of it.
    fn step(&self) -> Result<(), bool> {
        let left = self.left.load(Ordering::Relaxed);
        if left > 1 {
            self.left.store(left - 1, Ordering::Relaxed);
            return Ok(());
        }
        let is_first = self.left.swap(0, Ordering::Relaxed) == 1;
        match self.fault {
            Fault::FullOnce if !is_first => Ok(()),
            Fault::EndWithin => Err(is_first),
            Fault::FullOnce | Fault::Full => Err(true),
            Fault::EndBefore => Err(false),
        }
    }

    fn is_dead(&self) -> bool {
        self.left.load(Ordering::Relaxed) == 0 && matches!(self.fault, Fault::EndBefore | Fault::EndWithin)
    }

    fn error() -> io::Error {
        io::ErrorKind::StorageFull.into()
    }
}

impl Disk for Faulty {
    fn write(&mut self, path: &Path, content: &[u8]) -> io::Result<()> {
        match self.step() {
            Ok(()) => Real.write(path, content),
            Err(half) => {
                if half {
                    Real.write(path, &content[..content.len() / 2])?;
                }
                Err(Self::error())
            }
        }
    }
    fn rename(&mut self, from: &Path, to: &Path) -> io::Result<()> {
        match self.step() {
            Ok(()) => Real.rename(from, to),
            Err(done) => {
                // A name needs no room: a full disk leaves it as it was.
                if done && self.fault == Fault::EndWithin {
                    Real.rename(from, to)?;
                }
                Err(Self::error())
            }
        }
    }
    fn remove(&mut self, path: &Path) -> io::Result<()> {
        // Also when the disk is full.
        if self.is_dead() { Err(Self::error()) } else { Real.remove(path) }
    }
}

fn open(dir: &Dir) -> (Store, Vec<String>) {
    Store::open(dir.path(), 5, Box::new(Real)).unwrap()
}

fn revision(number: u64) -> Revision {
    let body = body(&format!("v{number}"));
    let head = RevisionHead {
        revision: number,
        at: "2026-11-29T14:00:00.000Z".into(),
        uid: Some(0),
        user: Some("root".into()),
        source: ChangeSource::Api,
        message: Some("why".into()),
        digest: body.digest(),
    };
    Revision { head, body }
}

/// The next revision, through all steps.
fn put(store: &mut Store) -> Result<u64, StoreError> {
    let number = store.next();
    let revision = revision(number);
    let previous = store.current().revision;
    let current = Current { revision: Some(number), previous, ..store.current().clone() };
    store.prepare(&revision, &current)?;
    store.commit(&revision, current)?;
    Ok(number)
}

#[test]
fn what_was_in_force_is_found_again() {
    let dir = Dir::new("store");
    let (mut store, repaired) = open(&dir);
    assert!(repaired.is_empty() && store.current().revision.is_none());
    for _ in 0..3 {
        put(&mut store).unwrap();
    }
    assert_eq!(store.read(2).unwrap(), revision(2));
    assert!(store.read(9).unwrap_err().is_absent());
    drop(store);
    let (store, repaired) = open(&dir);
    assert!(repaired.is_empty(), "{repaired:?}");
    assert_eq!((store.current().revision, store.current().previous, store.next()), (Some(3), Some(2), 4));
    let numbers: Vec<_> = store.heads().map(|head| head.revision).collect();
    assert_eq!(numbers, [3, 2, 1]);
}

#[test]
fn two_daemons_cannot_have_one_directory() {
    let dir = Dir::new("store-lock");
    let (_store, _) = open(&dir);
    let second = Store::open(dir.path(), 5, Box::new(Real)).err().expect("it is locked");
    assert!(second.to_string().contains("another weirgate-control"), "{second}");
}

#[test]
fn the_oldest_go_but_not_what_is_needed() {
    let dir = Dir::new("store-history");
    let (mut store, _) = open(&dir);
    put(&mut store).unwrap();
    let kept = Kept { revision: 2, back_to: 1, until_ms: 9, period_ms: 9 };
    store.save(Current { unconfirmed: Some(kept), ..store.current().clone() }).unwrap();
    for _ in 0..9 {
        put(&mut store).unwrap();
    }
    let numbers: Vec<_> = store.heads().map(|head| head.revision).collect();
    assert_eq!(numbers, [10, 9, 8, 7, 1]);
}

/// After the fault, at whatever step, the directory is opened again: what is in force is the old one or the new one, and whole; the new one for sure if
/// that was said, the old one for sure if the disk was full and the process lived on.
#[test]
fn an_end_at_any_step_leaves_a_valid_state() {
    for fault in [Fault::EndBefore, Fault::EndWithin, Fault::FullOnce, Fault::Full] {
        let mut went_well = false;
        for steps in 1..30 {
            let dir = Dir::new("store-fault");
            let (mut store, _) = open(&dir);
            put(&mut store).unwrap();
            put(&mut store).unwrap();
            let disk = Faulty::new(steps, fault);
            store.disk = Box::new(disk.clone());
            let result = put(&mut store);
            let said = format!("{fault:?} at step {steps}: {result:?}");
            if !disk.is_dead() {
                let in_force = if result.is_ok() { 3 } else { 2 };
                assert_eq!(store.current().revision, Some(in_force), "{said}");
                assert!(store.read(in_force).is_ok(), "{said}");
            }
            let is_dead = disk.is_dead();
            drop(store);
            let (mut store, _) = open(&dir);
            let in_force = store.current().revision.expect("there was one");
            match &result {
                Ok(number) => assert_eq!(in_force, *number, "{said}"),
                Err(_) if is_dead => assert!(in_force == 2 || in_force == 3, "{said}"),
                Err(_) => assert_eq!(in_force, 2, "{said}"),
            }
            assert_eq!(store.read(in_force).unwrap(), revision(in_force), "{said}");
            assert!(store.heads().all(|head| store.read(head.revision).is_ok()), "{said}");
            // And it goes on.
            let next = put(&mut store).unwrap();
            assert!(next > in_force, "{said}");
            if result.is_ok() {
                went_well = true;
                break;
            }
        }
        assert!(went_well, "{fault:?}: some number of steps must be enough");
    }
}

#[test]
fn files_count_as_never_seen_when_what_they_came_to_is_lost() {
    for others in [0, 2] {
        let dir = Dir::new("store-seen");
        let (mut store, _) = open(&dir);
        for _ in 0..=others {
            put(&mut store).unwrap();
        }
        let current = Current { files: Some("seen".into()), ..store.current().clone() };
        store.save(current).unwrap();
        let number = store.current().revision.unwrap();
        drop(store);
        fs::write(dir.path().join(format!("revisions/{number:06}.json")), "x").unwrap();
        let (store, repaired) = open(&dir);
        assert!(!repaired.is_empty());
        let Current { revision, previous, files, .. } = store.current();
        assert_eq!((*revision, *previous, files), ((others > 0).then_some(others), None, &None));
    }
}

#[test]
fn a_full_disk_says_what_to_do() {
    let error = fault("write", Path::new("/var/lib/weirgate/x"), io::ErrorKind::StorageFull.into());
    assert_eq!(error.next(), "make room: df -h /var/lib/weirgate; df -i /var/lib/weirgate");
}

/// What damage there may be.
#[derive(Clone, Debug)]
enum Damage {
    Truncate(usize),
    Flip(usize),
    Empty,
    Gone,
}

fn damage() -> impl Strategy<Value = Damage> {
    prop_oneof![
        any::<usize>().prop_map(Damage::Truncate),
        any::<usize>().prop_map(Damage::Flip),
        Just(Damage::Empty),
        Just(Damage::Gone),
    ]
}

fn spoil(path: &Path, damage: &Damage) {
    let mut content = fs::read(path).unwrap();
    match damage {
        Damage::Truncate(n) => content.truncate(n % content.len()),
        Damage::Flip(n) => {
            let place = n % content.len();
            content[place] ^= 1;
        }
        Damage::Empty => content.clear(),
        Damage::Gone => return fs::remove_file(path).unwrap(),
    }
    fs::write(path, content).unwrap();
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn damaged_files_are_never_taken_for_sound_ones(
        files in prop::collection::btree_map(0..4_usize, damage(), 0..4),
        litter in "[a-z0-9]{1,6}(\\.[a-z]{1,8})?",
    ) {
        let dir = Dir::new("store-damage");
        let (mut store, _) = open(&dir);
        for _ in 0..3 {
            put(&mut store).unwrap();
        }
        drop(store);
        for (file, damage) in &files {
            let name = match file {
                0 => "current.json".to_owned(),
                n => format!("revisions/{n:06}.json"),
            };
            spoil(&dir.path().join(name), damage);
        }
        fs::write(dir.path().join("revisions").join(&litter), "x").unwrap();
        let (mut store, _) = open(&dir);
        let sound: Vec<u64> = (1..=3).filter(|n| !files.contains_key(&(*n as usize))).collect();
        match store.current().revision {
            Some(number) => prop_assert_eq!(store.read(number).unwrap(), revision(number)),
            None => prop_assert!(sound.is_empty()),
        }
        if let Some(newest) = sound.last() {
            prop_assert_eq!(store.current().revision, Some(*newest));
        }
        put(&mut store).unwrap();
    }
}
