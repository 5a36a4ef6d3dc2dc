//! Messages as bytes: a length of four bytes, little end first, and so many bytes of JSON.

use crate::limits::LINK_MESSAGE_MAX;
use serde::{Serialize, de::DeserializeOwned};

/// Memory that is kept for the next message.
const KEPT: usize = 1 << 16;

/// A message, ready to be sent.
///
/// # Errors
/// That it is longer than [`LINK_MESSAGE_MAX`].
pub fn encode(message: &impl Serialize) -> Result<Vec<u8>, String> {
    let mut bytes = vec![0; 4];
    serde_json::to_writer(&mut bytes, message).map_err(|e| e.to_string())?;
    let len = bytes.len() - 4;
    if len > LINK_MESSAGE_MAX {
        return Err(format!("a message of {len} bytes; one may have {LINK_MESSAGE_MAX}"));
    }
    bytes[..4].copy_from_slice(&(len as u32).to_le_bytes());
    Ok(bytes)
}

/// A message's content.
///
/// # Errors
/// Why it cannot be read.
pub fn decode<T: DeserializeOwned>(content: &[u8]) -> Result<T, String> {
    serde_json::from_slice(content).map_err(|e| e.to_string())
}

/// What has come of a stream of messages.
pub struct Inbox {
    bytes: Vec<u8>,
    /// Bytes in front that were taken.
    taken: usize,
    /// The longest message.
    longest: usize,
}

impl Default for Inbox {
    fn default() -> Self {
        Self::with_longest(LINK_MESSAGE_MAX)
    }
}

impl Inbox {
    /// For messages of no more than so many bytes.
    pub fn with_longest(longest: usize) -> Self {
        Self { bytes: Vec::new(), taken: 0, longest }
    }

    /// Longer ones are taken from now on, or no longer.
    pub fn set_longest(&mut self, longest: usize) {
        self.longest = longest;
    }

    /// Whether something waits to be popped: a message, or what is too long for one.
    pub fn is_ready(&self) -> bool {
        let rest = &self.bytes[self.taken..];
        let length = rest.first_chunk::<4>().map(|len| u32::from_le_bytes(*len) as usize);
        length.is_some_and(|len| len > self.longest || rest.len() >= 4 + len)
    }

    /// Bytes that came.
    pub fn push(&mut self, bytes: &[u8]) {
        if self.taken > 0 {
            self.bytes.drain(..self.taken);
            self.taken = 0;
            // A snapshot came; mostly there are small messages.
            if self.bytes.len() < KEPT {
                self.bytes.shrink_to(KEPT);
            }
        }
        self.bytes.extend_from_slice(bytes);
    }

    /// The content of the next message, if it is whole.
    ///
    /// # Errors
    /// That it is too long: nothing after it can be read.
    pub fn pop(&mut self) -> Result<Option<&[u8]>, String> {
        let rest = &self.bytes[self.taken..];
        let Some((len, rest)) = rest.split_first_chunk::<4>() else { return Ok(None) };
        let len = u32::from_le_bytes(*len) as usize;
        if len > self.longest {
            return Err(format!("a message of {len} bytes; one may have {}", self.longest));
        }
        if rest.len() < len {
            return Ok(None);
        }
        let at = self.taken + 4;
        self.taken = at + len;
        Ok(Some(&self.bytes[at..at + len]))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::link::message::{Ask, Question};

    #[test]
    fn messages_come_back_however_they_are_cut() {
        let ask = |id| Question { id, ask: if id == 1 { Ask::Meters } else { Ask::Drain { drains: true } } };
        let bytes = [encode(&ask(1)).unwrap(), encode(&ask(2)).unwrap()].concat();
        for cut in 0..=bytes.len() {
            let mut inbox = Inbox::default();
            let mut came = Vec::new();
            for part in [&bytes[..cut], &bytes[cut..]] {
                inbox.push(part);
                while let Some(content) = inbox.pop().unwrap() {
                    came.push(decode::<Question>(content).unwrap());
                }
            }
            assert_eq!(came, [ask(1), ask(2)], "cut at {cut}");
        }
    }

    #[test]
    fn what_is_too_long_or_no_message_is_refused() {
        let mut inbox = Inbox::default();
        inbox.push(&[0xff; 8]);
        assert!(inbox.pop().unwrap_err().contains("bytes"));
        assert!(decode::<Question>(br#"{"id": 1, "ask": "nonsense"}"#).is_err());
        assert!(decode::<Question>(br#"{"id": 1, "ask": "meters", "more": 1}"#).is_err());
    }
}
