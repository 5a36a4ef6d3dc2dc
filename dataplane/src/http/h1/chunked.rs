//! Chunk lines (RFC 9112 section 7.1), byte by byte: a line is never seen twice, so it need not be there as a whole.
//!
//! ```text
//!         HEXDIG           ;        CR       LF (size > 0)      all data        CR        LF
//!   Size --------> Size --------> Extension --> Lf ------------> Data -------> DataCr --> DataLf --> Size
//!                    |------- CR ----------------^ |
//!                                                  +-- LF (size = 0) --> the trailer section
//! ```

use super::super::Refusal;
use crate::limits::{HTTP_CHUNK_EXTENSIONS_MAX, HTTP_CHUNK_LINE_MAX, HTTP_CONTENT_LENGTH_MAX};

/// Where the reading of a chunked body stands.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Chunked {
    wait: Wait,
    /// The current chunk's size as far as it was read; then what is left of its data.
    left: u64,
    /// Data of all chunks before.
    total: u64,
    /// Bytes of the current line.
    line: u16,
    /// Bytes of all extensions.
    extensions: u32,
}

/// What comes next.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Wait {
    Size,
    /// After the semicolon, whether or not something has come.
    Extension {
        is_empty: bool,
    },
    Lf,
    Data,
    DataCr,
    DataLf,
}

/// What was found: `skip` bytes of framing, and then ..
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Chunk {
    /// .. nothing more yet,
    More { skip: usize },
    /// .. so many bytes of data, at least one,
    Data { skip: usize, len: usize },
    /// .. the trailer section.
    Last { skip: usize },
}

impl Chunked {
    pub(super) const START: Self = Self { wait: Wait::Size, left: 0, total: 0, line: 0, extensions: 0 };

    pub(super) fn step(&mut self, input: &[u8]) -> Result<Chunk, Refusal> {
        for (skip, &byte) in input.iter().enumerate() {
            if self.wait == Wait::Data {
                return Ok(self.data(skip, input.len() - skip));
            }
            if self.framing(byte)? {
                return Ok(Chunk::Last { skip: skip + 1 });
            }
        }
        Ok(Chunk::More { skip: input.len() })
    }

    fn data(&mut self, skip: usize, available: usize) -> Chunk {
        let len = self.left.min(available as u64);
        self.left -= len;
        if self.left == 0 {
            self.wait = Wait::DataCr;
        }
        Chunk::Data { skip, len: len as usize }
    }

    /// One byte that is not data; whether it ended the last chunk.
    fn framing(&mut self, byte: u8) -> Result<bool, Refusal> {
        self.line += 1;
        if self.line > HTTP_CHUNK_LINE_MAX {
            return Err(Refusal::ChunkLineLong);
        }
        self.wait = match (self.wait, byte) {
            (Wait::Size, _) => self.size(byte)?,
            (Wait::Extension { is_empty: false }, b'\r') => Wait::Lf,
            (Wait::Extension { .. }, _) => self.extension(byte)?,
            (Wait::Lf, b'\n') => return self.end_of_line(),
            (Wait::Lf, _) => return Err(Refusal::BareCr),
            (Wait::DataCr, b'\r') => Wait::DataLf,
            (Wait::DataLf, b'\n') => {
                (self.left, self.line) = (0, 0);
                Wait::Size
            }
            (Wait::DataCr | Wait::DataLf, _) => return Err(Refusal::ChunkEnd),
            (Wait::Data, _) => unreachable!("data is not framing"),
        };
        Ok(false)
    }

    fn size(&mut self, byte: u8) -> Result<Wait, Refusal> {
        let is_first = self.line == 1;
        match byte {
            _ if byte.is_ascii_hexdigit() => {
                let digit = u64::from((byte as char).to_digit(16).expect("a hexadecimal digit"));
                // rfc9112 7.1 (MUST): large sizes must not overflow.
                self.left = self.left.checked_mul(16).map(|left| left + digit).ok_or(Refusal::ChunkLarge)?;
                if self.total.checked_add(self.left).is_none_or(|total| total > HTTP_CONTENT_LENGTH_MAX) {
                    return Err(Refusal::ChunkLarge);
                }
                Ok(Wait::Size)
            }
            b';' if !is_first => Ok(Wait::Extension { is_empty: true }),
            b'\r' if !is_first => Ok(Wait::Lf),
            b'\n' => Err(Refusal::BareLf),
            // rfc9112 7.1.1 has white space before an extension as something to be tolerated. We do not: old readers stop at it.
            _ => Err(Refusal::ChunkSize),
        }
    }

    /// rfc9112 7.1.1 (MUST): an extension that is not known is ignored. None is known.
    fn extension(&mut self, byte: u8) -> Result<Wait, Refusal> {
        self.extensions += 1;
        if self.extensions > HTTP_CHUNK_EXTENSIONS_MAX {
            return Err(Refusal::ChunkLineLong);
        }
        match byte {
            b'\n' => Err(Refusal::BareLf),
            b'\t' | b' '..=0x7e | 0x80.. => Ok(Wait::Extension { is_empty: false }),
            _ => Err(Refusal::ChunkExtension),
        }
    }

    fn end_of_line(&mut self) -> Result<bool, Refusal> {
        if self.left == 0 {
            return Ok(true);
        }
        self.total += self.left;
        (self.wait, self.line) = (Wait::Data, 0);
        Ok(false)
    }
}
