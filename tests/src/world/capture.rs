//! What passed, as tcpdump on every host would have seen it: into a file, into memory, or only into a hash that tells whether two runs were the same.

use crate::wire;
use std::{
    collections::VecDeque,
    fs::File,
    hash::{DefaultHasher, Hasher},
    io,
};
use weirgate_dataplane::{
    port::pcapng::{Direction, Writer},
    time::Instant,
};

/// Frames whose words are kept for the story of a failure.
const KEPT: usize = 30;

/// One capture of a whole world.
#[derive(Default)]
pub struct Capture {
    frames: u64,
    hash: DefaultHasher,
    names: Vec<String>,
    /// Written without a buffer, so that the file is whole even if the program ends in the middle.
    file: Option<Writer<File>>,
    /// Lines about the last frames, if they are asked for.
    lines: Option<VecDeque<String>>,
}

impl Capture {
    /// Only the hash.
    pub fn hash_only() -> Self {
        Self::default()
    }
    /// The hash, and words about the last frames.
    pub fn in_words() -> Self {
        Self { lines: Some(VecDeque::new()), ..Self::default() }
    }
    /// With a file, and with words.
    pub fn to_file(path: &std::path::Path) -> io::Result<Self> {
        let file = Some(Writer::new(File::create(path)?)?);
        Ok(Self { file, lines: Some(VecDeque::new()), ..Self::default() })
    }

    /// One more interface, and its number.
    pub fn interface(&mut self, name: &str) -> u32 {
        if let Some(file) = &mut self.file {
            let _ = file.interface(name);
        }
        self.names.push(name.to_owned());
        u32::try_from(self.names.len() - 1).expect("a world has few interfaces")
    }

    /// One frame that passed an interface.
    pub fn frame(&mut self, now: Instant, interface: u32, direction: Direction, frame: &[u8]) {
        self.frames += 1;
        self.hash.write_u64(now.as_ns());
        self.hash.write_u32(interface << 2 | direction as u32);
        self.hash.write(frame);
        if let Some(file) = &mut self.file
            && file.bytes(interface, now.as_ns(), direction, frame).is_err()
        {
            self.file = None;
        }
        if let Some(lines) = &mut self.lines {
            if lines.len() == KEPT {
                lines.pop_front();
            }
            let way = if direction == Direction::Sent { "sends" } else { "hears" };
            let name = &self.names[interface as usize];
            lines.push_back(format!("{:>15.6} ms  {name} {way} {}", ms(now), wire::words(frame)));
        }
    }

    /// Frames so far.
    pub fn frames(&self) -> u64 {
        self.frames
    }
    /// The same for the same frames at the same times.
    pub fn hash(&self) -> u64 {
        self.hash.finish()
    }
    /// The last frames in words.
    pub fn lines(&self) -> impl Iterator<Item = &str> {
        self.lines.iter().flatten().map(String::as_str)
    }
}

/// Milliseconds for people.
#[allow(clippy::cast_precision_loss)] // only shown
fn ms(now: Instant) -> f64 {
    now.as_ns() as f64 / 1e6
}
