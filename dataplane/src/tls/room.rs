//! Memory that the sessions of a worker share: buffers for what is not whole yet, within a budget, and scratch space for one record.

use crate::limits::{
    TLS_GATHERED_BYTES_MAX, TLS_GATHERED_SMALL, TLS_HANDSHAKES_PART, TLS_PLAINTEXT_MAX, TLS_SPARE_BUFFERS,
    TLS12_EXPANSION_MAX,
};
use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering},
};

/// The longest record with its header.
pub(super) const RECORD_MAX: usize = 5 + TLS_PLAINTEXT_MAX + TLS12_EXPANSION_MAX;

/// A worker's memory for TLS.
pub struct Room {
    /// Where a long record is put together and sealed.
    pub(super) scratch: Box<[u8]>,
    /// Buffers of [`RECORD_MAX`] bytes that nobody uses now; they count in no budget.
    spares: Vec<Vec<u8>>,
    budget: Arc<Budget>,
}

struct Budget {
    used: AtomicUsize,
    most: usize,
}

impl Default for Room {
    fn default() -> Self {
        Self::new(TLS_GATHERED_BYTES_MAX)
    }
}

impl Room {
    /// With a budget of so many bytes.
    pub fn new(most: usize) -> Self {
        let scratch = std::iter::repeat_n(0, RECORD_MAX).collect();
        let budget = Arc::new(Budget { used: AtomicUsize::new(0), most });
        Self { scratch, spares: Vec::with_capacity(TLS_SPARE_BUFFERS), budget }
    }

    /// Bytes that sessions hold now.
    pub fn used(&self) -> usize {
        self.budget.used.load(Ordering::Relaxed)
    }

    /// Makes room in `buffer` for `more` bytes, or says that there is none. `whole` is what it will hold in the end, as far as is known.
    #[must_use]
    pub(super) fn reserve(&mut self, buffer: &mut Buffer, more: usize, whole: usize) -> bool {
        self.reserve_of(self.budget.most, buffer, more, whole)
    }

    /// The same for a handshake: strangers have a part only, so that they take nothing from connections that there are.
    #[must_use]
    pub(super) fn reserve_for_handshake(&mut self, buffer: &mut Buffer, more: usize) -> bool {
        self.reserve_of(self.budget.most / TLS_HANDSHAKES_PART, buffer, more, usize::MAX)
    }

    fn reserve_of(&mut self, most: usize, buffer: &mut Buffer, more: usize, whole: usize) -> bool {
        let need = buffer.bytes.len() + more;
        if need <= buffer.bytes.capacity() {
            return true;
        }
        // While memory is plenty a long record gets its buffer at once; then only when more of it has come than anybody sends for nothing.
        let is_plenty = whole > TLS_GATHERED_SMALL && self.used() < self.budget.most / 2;
        let capacity = match need {
            ..=TLS_GATHERED_SMALL if !is_plenty || whole > RECORD_MAX => need,
            ..=RECORD_MAX if whole <= RECORD_MAX => RECORD_MAX,
            _ => need.max(2 * buffer.bytes.capacity()),
        };
        let claim = Claim::new(&self.budget, capacity, most);
        let Some(claim) = claim else { return false };
        let spare = if capacity == RECORD_MAX { self.spares.pop() } else { None };
        let mut bytes = spare.unwrap_or_else(|| Vec::with_capacity(capacity));
        bytes.extend_from_slice(&buffer.bytes);
        let old = std::mem::replace(buffer, Buffer { bytes, _claim: Some(claim) });
        self.give_back(old);
        true
    }

    /// Takes a buffer that is not needed any more.
    pub(super) fn give_back(&mut self, buffer: Buffer) {
        let Buffer { mut bytes, .. } = buffer;
        if bytes.capacity() == RECORD_MAX && self.spares.len() < TLS_SPARE_BUFFERS {
            bytes.clear();
            self.spares.push(bytes);
        }
    }
}

/// Bytes that count in their worker's budget until they are dropped.
#[derive(Default)]
pub(super) struct Buffer {
    pub(super) bytes: Vec<u8>,
    _claim: Option<Claim>,
}

struct Claim {
    budget: Arc<Budget>,
    bytes: usize,
}

impl Claim {
    fn new(budget: &Arc<Budget>, bytes: usize, most: usize) -> Option<Self> {
        // What is handed to another thread comes back with its claim, so others may count, too.
        let fits = |used: usize| used.checked_add(bytes).filter(|&used| used <= most);
        budget.used.fetch_update(Ordering::Relaxed, Ordering::Relaxed, fits).ok()?;
        Some(Self { budget: Arc::clone(budget), bytes })
    }
}

impl Drop for Claim {
    fn drop(&mut self) {
        self.budget.used.fetch_sub(self.bytes, Ordering::Relaxed);
    }
}
