//! The newest messages of one topic, within limits, for subscribers that each remember a number.
//!
//! Owns what the two kinds of log have in common. Knows nothing of subscribers, epochs or cores.

use std::collections::vec_deque;
use std::sync::Arc;

use super::event_log::EventLog;
use super::publication::{Change, Publication};
use super::rules::{LogLimits, TopicKind};
use super::state_log::{Entry, Standing, StateLog};

/// The log of one topic on one core.
///
/// A subscriber's *cursor* is the `seq` of the last message that it has seen. A log of state holds
/// the newest message of every key whatever its age, and no message that a newer one of its key
/// replaced, except where an event came between them.
#[derive(Debug)]
pub struct Log {
    limits: LogLimits,
    kept: Kept,
}

#[derive(Debug)]
enum Kept {
    Events(EventLog),
    State(StateLog),
}

/// Why a message cannot be kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LogFull {
    /// As many keys have state as may.
    Keys,
    /// The state of the keys takes as much memory as it may.
    Bytes,
}

/// All that a log holds, to begin the same log with on another core.
#[derive(Clone, Debug)]
pub struct LogSeed {
    kind: TopicKind,
    head: u64,
    floor: u64,
    entries: Vec<(Arc<Publication>, Standing)>,
}

impl LogSeed {
    /// The newest message that it knows of, 0 for none.
    pub fn head(&self) -> u64 {
        self.head
    }
}

impl Log {
    /// An empty log.
    pub fn new(kind: TopicKind, limits: LogLimits) -> Self {
        Self::starting_behind(kind, limits, 0)
    }

    /// An empty log whose first message will be `head` + 1.
    fn starting_behind(kind: TopicKind, limits: LogLimits, head: u64) -> Self {
        let kept = match kind {
            TopicKind::Events => Kept::Events(EventLog::new(head)),
            TopicKind::State => Kept::State(StateLog::new(head, head)),
        };
        Self { limits, kept }
    }

    /// The kind of the topic.
    pub fn kind(&self) -> TopicKind {
        match &self.kept {
            Kept::Events(_) => TopicKind::Events,
            Kept::State(_) => TopicKind::State,
        }
    }

    /// The `seq` of the newest message, 0 if there was none yet.
    pub fn head(&self) -> u64 {
        match &self.kept {
            Kept::Events(log) => log.head(),
            Kept::State(log) => log.head(),
        }
    }

    /// The lowest cursor that can be served: behind a lower one, something was dropped to keep the
    /// limits, and not merely replaced.
    pub fn floor(&self) -> u64 {
        match &self.kept {
            Kept::Events(log) => log.floor(),
            Kept::State(log) => log.floor(),
        }
    }

    /// Keeps the next message, and drops what the limits then leave no room for. The newest
    /// message stays whatever its size.
    ///
    /// Its `seq` has to be `head` + 1. Another one would be a fault of the hub. A message that is
    /// here already changes nothing; when some are missing, the log forgets what it had, so that
    /// subscribers are told of a gap rather than miss something.
    pub fn append(&mut self, publication: Arc<Publication>) {
        let (seq, head) = (publication.seq, self.head());
        if seq <= head {
            return;
        }
        if seq - head > 1 {
            *self = Self::starting_behind(self.kind(), self.limits, seq - 1);
        }
        match &mut self.kept {
            Kept::Events(log) => log.append(publication, &self.limits),
            Kept::State(log) => log.append(publication, &self.limits),
        }
    }

    /// Whether a message with this key and a payload of so many bytes can be kept. To be asked
    /// before it is given a `seq`. Removals, events and messages of events topics always can.
    ///
    /// # Errors
    ///
    /// The limit that stands against it.
    pub fn check(
        &self,
        change: Change,
        key: Option<&[u8]>,
        payload_size: usize,
    ) -> Result<(), LogFull> {
        match (&self.kept, change) {
            (Kept::State(log), Change::Update) => {
                log.check(key.unwrap_or_default(), payload_size, &self.limits)
            }
            _ => Ok(()),
        }
    }

    /// Everything still held with a `seq` above `cursor`, in order.
    pub fn after(&self, cursor: u64) -> After<'_> {
        After(match &self.kept {
            Kept::Events(log) => Remaining::Events(log.after(cursor)),
            Kept::State(log) => Remaining::State(log.after(cursor)),
        })
    }

    /// The newest message of every key that has state, if its `seq` is above `cursor`, in order:
    /// a snapshot. Nothing on an events topic.
    pub fn state_after(&self, cursor: u64) -> After<'_> {
        After(match &self.kept {
            Kept::Events(log) => Remaining::Events(log.after(u64::MAX)),
            Kept::State(log) => Remaining::Snapshot(log.after(cursor)),
        })
    }

    /// How many messages `state_after(0)` gives.
    pub fn count_state(&self) -> usize {
        self.keys()
    }

    /// How many messages are held.
    pub fn messages(&self) -> usize {
        match &self.kept {
            Kept::Events(log) => log.messages(),
            Kept::State(log) => log.messages(),
        }
    }

    /// Memory of the messages held, in bytes, as [`Publication::memory_bytes`] counts it.
    pub fn bytes(&self) -> usize {
        match &self.kept {
            Kept::Events(log) => log.bytes(),
            Kept::State(log) => log.bytes(),
        }
    }

    /// How many keys have state.
    pub fn keys(&self) -> usize {
        match &self.kept {
            Kept::Events(_) => 0,
            Kept::State(log) => log.keys(),
        }
    }

    /// What [`Log::from_seed`] makes the same log of. The messages themselves are shared.
    pub fn seed(&self) -> LogSeed {
        let entries = match &self.kept {
            Kept::Events(log) => {
                let with_standing =
                    |publication: &Arc<_>| (Arc::clone(publication), Standing::Event);
                log.after(0).map(with_standing).collect()
            }
            Kept::State(log) => log.seed().collect(),
        };
        LogSeed {
            kind: self.kind(),
            head: self.head(),
            floor: self.floor(),
            entries,
        }
    }

    /// The log that the seed was taken from. With the same limits it will behave as that one.
    pub fn from_seed(limits: LogLimits, seed: LogSeed) -> Self {
        let kept = match seed.kind {
            TopicKind::Events => {
                let mut log = EventLog::new(seed.floor);
                for (publication, _) in seed.entries {
                    log.append(publication, &limits);
                }
                Kept::Events(log)
            }
            TopicKind::State => {
                let mut log = StateLog::new(seed.head, seed.floor);
                for (publication, standing) in seed.entries {
                    log.restore(publication, standing);
                }
                Kept::State(log)
            }
        };
        Self { limits, kept }
    }
}

/// Messages of a log, in order.
#[derive(Clone, Debug)]
pub struct After<'a>(Remaining<'a>);

#[derive(Clone, Debug)]
enum Remaining<'a> {
    Events(vec_deque::Iter<'a, Arc<Publication>>),
    State(vec_deque::Iter<'a, Entry>),
    Snapshot(vec_deque::Iter<'a, Entry>),
}

impl<'a> Iterator for After<'a> {
    type Item = &'a Arc<Publication>;

    fn next(&mut self) -> Option<Self::Item> {
        match &mut self.0 {
            Remaining::Events(messages) => messages.next(),
            Remaining::State(entries) => entries.find_map(Entry::publication),
            Remaining::Snapshot(entries) => entries.find_map(Entry::state),
        }
    }
}

#[cfg(test)]
#[path = "log_tests.rs"]
mod tests;
