//! A file as words that several processes share. The second and last place of unsafe code in this crate.
#![allow(unsafe_code)]

use memmap2::MmapRaw;
use std::{fs::File, io, sync::atomic::AtomicU64};

/// A shared, writable mapping of a whole file.
pub(super) struct Map(MmapRaw);

impl Map {
    pub(super) fn new(file: &File) -> io::Result<Self> {
        MmapRaw::map_raw(file).map(Self)
    }

    /// The file as 64-bit words.
    pub(super) fn words(&self) -> &[AtomicU64] {
        let count = self.0.len() / size_of::<AtomicU64>();
        // SAFETY: from_raw_parts asks for memory that is
        // - valid for `count` words for as long as the slice lives: the mapping has `len` bytes and lives as long as `self`. (Whoever
        //   shortens the file makes an access fault; it is ours, in a folder that only we may write to.)
        // - aligned: mappings begin on a page;
        // - initialised: a file reads as zeros where nothing was written;
        // - free of other mutation: every access is atomic, in this process and (by reading the file) in others.
        unsafe { std::slice::from_raw_parts(self.0.as_ptr().cast::<AtomicU64>(), count) }
    }
}
