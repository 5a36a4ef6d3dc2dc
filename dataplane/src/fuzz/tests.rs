//! Each target over its seeds, and over what becomes of them.

use super::*;
use std::{fs, path::PathBuf};

/// Mutations of all of a target's seeds together.
const MUTATIONS: usize = 4_000;

fn seeds(target: &str) -> Vec<Vec<u8>> {
    let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../tests/fuzz/seeds").join(target);
    let mut paths: Vec<_> = fs::read_dir(&folder)
        .unwrap_or_else(|e| panic!("{}: {e}", folder.display()))
        .map(|entry| entry.unwrap().path())
        .collect();
    paths.sort();
    paths.iter().map(|path| fs::read(path).unwrap()).collect()
}

/// A change of the kinds that libFuzzer makes: bits, bytes, numbers at the edge, pieces cut, doubled and crossed with another seed's.
fn mutate(bytes: &mut Vec<u8>, other: &[u8], random: &mut fastrand::Rng) {
    let at = random.usize(0..=bytes.len());
    let end = random.usize(at..=bytes.len());
    match random.u8(0..8) {
        0 if at < bytes.len() => bytes[at] ^= 1 << random.u8(0..8),
        1 if at < bytes.len() => bytes[at] = random.u8(..),
        2 if at < bytes.len() => bytes[at] = *random.choice(&[0, 1, 0x7f, 0x80, 0xfe, 0xff]).expect("there are some"),
        3 if at + 2 <= bytes.len() => {
            let word: u16 = *random.choice(&[0, 1, 0x7fff, 0x8000, 0xfffe, 0xffff]).expect("there are some");
            bytes[at..at + 2].copy_from_slice(&word.to_be_bytes());
        }
        4 => bytes.truncate(at),
        5 => drop(bytes.drain(at..end)),
        6 => {
            let piece = bytes[at..end.min(at + 64)].to_vec();
            bytes.splice(at..at, piece);
        }
        _ => {
            let from = random.usize(0..=other.len());
            bytes.splice(at..end, other[from..].iter().take(64).copied());
        }
    }
}

#[test]
fn seeds_and_what_becomes_of_them_break_nothing() {
    for (name, target) in TARGETS {
        let seeds = seeds(name);
        assert!(!seeds.is_empty(), "{name} has no seeds");
        seeds.iter().for_each(|seed| target(seed));
        let mut random = fastrand::Rng::with_seed(0x5eed);
        for n in 0..MUTATIONS {
            let mut bytes = seeds[n % seeds.len()].clone();
            let other = &seeds[random.usize(0..seeds.len())];
            for _ in 0..random.u8(1..=4) {
                mutate(&mut bytes, other, &mut random);
            }
            if std::panic::catch_unwind(|| target(&bytes)).is_err() {
                let hex: String = bytes.iter().map(|b| format!("{b:02x}")).collect();
                panic!("{name}, mutation {n}: {hex}");
            }
        }
    }
}
