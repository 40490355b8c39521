//! The newest messages of an events topic.
//!
//! Owns them in order, without holes, and drops the oldest. Knows nothing of keys.

use std::collections::{VecDeque, vec_deque};
use std::sync::Arc;

use super::publication::Publication;
use super::rules::LogLimits;

/// A queue of messages that follow one another.
#[derive(Debug)]
pub struct EventLog {
    messages: VecDeque<Arc<Publication>>,
    /// The number before that of the first message held.
    floor: u64,
    bytes: usize,
}

impl EventLog {
    /// An empty log whose first message will be `floor` + 1.
    pub fn new(floor: u64) -> Self {
        Self {
            messages: VecDeque::new(),
            floor,
            bytes: 0,
        }
    }

    /// As [`Log::head`](super::log::Log::head).
    pub fn head(&self) -> u64 {
        self.floor + self.messages.len() as u64
    }

    /// As [`Log::floor`](super::log::Log::floor).
    pub fn floor(&self) -> u64 {
        self.floor
    }

    /// How many messages are held.
    pub fn messages(&self) -> usize {
        self.messages.len()
    }

    /// Their memory, in bytes.
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// Keeps the message that follows `head`, and drops the oldest ones beyond the limits.
    pub fn append(&mut self, publication: Arc<Publication>, limits: &LogLimits) {
        self.bytes += publication.memory_bytes();
        self.messages.push_back(publication);
        while self.messages.len() > 1
            && (self.messages.len() > limits.messages_max || self.bytes > limits.bytes_max)
        {
            if let Some(oldest) = self.messages.pop_front() {
                self.bytes -= oldest.memory_bytes();
                self.floor = oldest.seq;
            }
        }
    }

    /// The messages behind `cursor`.
    pub fn after(&self, cursor: u64) -> vec_deque::Iter<'_, Arc<Publication>> {
        let passed = cursor.saturating_sub(self.floor);
        let passed = usize::try_from(passed).unwrap_or(usize::MAX);
        self.messages.range(passed.min(self.messages.len())..)
    }
}
