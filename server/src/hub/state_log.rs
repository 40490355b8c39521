//! The newest message of every key of a state topic, and what else a cursor may need.
//!
//! Owns the messages in order, with holes where they were replaced. Knows nothing of subscribers.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, HashMap, VecDeque, vec_deque};
use std::sync::Arc;

use super::log::LogFull;
use super::publication::{Change, Publication};
use super::rules::LogLimits;

/// Fewer entries than this are not worth closing the holes of.
const COMPACTION_ENTRIES_MIN: usize = 32;

/// What a message is to its key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Standing {
    /// The state. The next message of the key replaces it. Never dropped.
    Live,
    /// The state, which an event has followed: it stays when it is no longer the state.
    LivePinned,
    /// The state before an event; there is a newer one. May be dropped.
    Pinned,
    /// No state at all. May be dropped.
    Event,
    /// Says that the key has no state. The next message of the key replaces it. May be dropped.
    Tombstone,
    /// Says that the key has no state, and an event has followed. May be dropped.
    TombstonePinned,
}

impl Standing {
    fn is_live(self) -> bool {
        matches!(self, Self::Live | Self::LivePinned)
    }
}

/// A message, or the hole that it left.
#[derive(Debug)]
pub struct Entry {
    seq: u64,
    standing: Standing,
    publication: Option<Arc<Publication>>,
}

impl Entry {
    /// The message, unless it is gone.
    pub fn publication(&self) -> Option<&Arc<Publication>> {
        self.publication.as_ref()
    }

    /// The message if it is the state of its key.
    pub fn state(&self) -> Option<&Arc<Publication>> {
        self.publication
            .as_ref()
            .filter(|_| self.standing.is_live())
    }
}

/// A queue of messages with holes.
///
/// The holes that replaced messages leave are forgotten when more than half of the entries are
/// holes: appending costs the same however many keys there are, a binary search aside.
#[derive(Debug)]
pub struct StateLog {
    entries: VecDeque<Entry>,
    holes: usize,
    /// The newest state or removal of every key that has one in `entries`.
    newest: HashMap<Box<[u8]>, u64>,
    head: u64,
    floor: u64,
    keys: usize,
    live_bytes: usize,
    /// The numbers of what may be dropped, lowest first. Some are of holes.
    evictable: BinaryHeap<Reverse<u64>>,
    evictable_count: usize,
    evictable_bytes: usize,
}

fn key_of(publication: &Publication) -> &[u8] {
    publication.key.as_deref().unwrap_or_default()
}

impl StateLog {
    /// An empty log behind message `head` that serves no cursor below `floor`.
    pub fn new(head: u64, floor: u64) -> Self {
        Self {
            entries: VecDeque::new(),
            holes: 0,
            newest: HashMap::new(),
            head,
            floor,
            keys: 0,
            live_bytes: 0,
            evictable: BinaryHeap::new(),
            evictable_count: 0,
            evictable_bytes: 0,
        }
    }

    /// As [`Log::head`](super::log::Log::head).
    pub fn head(&self) -> u64 {
        self.head
    }

    /// As [`Log::floor`](super::log::Log::floor).
    pub fn floor(&self) -> u64 {
        self.floor
    }

    /// How many messages are held.
    pub fn messages(&self) -> usize {
        self.entries.len() - self.holes
    }

    /// Their memory, in bytes.
    pub fn bytes(&self) -> usize {
        self.live_bytes + self.evictable_bytes
    }

    /// How many keys have state.
    pub fn keys(&self) -> usize {
        self.keys
    }

    /// The entries behind `cursor`.
    pub fn after(&self, cursor: u64) -> vec_deque::Iter<'_, Entry> {
        let first = self.entries.partition_point(|entry| entry.seq <= cursor);
        self.entries.range(first..)
    }

    /// Every message and what it is, in order.
    pub fn seed(&self) -> impl Iterator<Item = (Arc<Publication>, Standing)> {
        self.entries.iter().filter_map(|entry| {
            let publication = Arc::clone(entry.publication()?);
            Some((publication, entry.standing))
        })
    }

    /// Puts back what [`StateLog::seed`] gave, in the same order.
    pub fn restore(&mut self, publication: Arc<Publication>, standing: Standing) {
        // Where several messages of a key are there, the newest comes last.
        if standing != Standing::Event {
            self.set_newest(&publication);
        }
        self.push(publication, standing);
    }

    /// As [`Log::check`](super::log::Log::check), for an update.
    pub fn check(
        &self,
        key: &[u8],
        payload_size: usize,
        limits: &LogLimits,
    ) -> Result<(), LogFull> {
        let replaced = self
            .newest_index(key)
            .and_then(|index| self.entries.get(index))
            .and_then(Entry::state);
        if replaced.is_none() && self.keys >= limits.keys_max {
            return Err(LogFull::Keys);
        }
        let replaced_bytes = replaced.map_or(0, |publication| publication.memory_bytes());
        let bytes = Publication::memory_bytes_of(key.len(), payload_size);
        if self.live_bytes - replaced_bytes + bytes > limits.bytes_max {
            return Err(LogFull::Bytes);
        }
        Ok(())
    }

    /// As [`Log::append`](super::log::Log::append).
    pub fn append(&mut self, publication: Arc<Publication>, limits: &LogLimits) {
        self.head = publication.seq;
        let previous = self.newest_index(key_of(&publication));
        let standing = match publication.change {
            Change::Event => Standing::Event,
            Change::Update => Standing::Live,
            Change::Remove => Standing::Tombstone,
        };
        if let Some(index) = previous {
            if standing == Standing::Event {
                self.pin(index);
            } else {
                self.replace(index);
            }
        }
        if standing != Standing::Event {
            self.set_newest(&publication);
        }
        self.push(publication, standing);
        self.evict(limits);
        self.trim();
    }

    /// Where the newest state or removal of a key is.
    fn newest_index(&self, key: &[u8]) -> Option<usize> {
        self.index_of(*self.newest.get(key)?)
    }

    fn index_of(&self, seq: u64) -> Option<usize> {
        self.entries
            .binary_search_by_key(&seq, |entry| entry.seq)
            .ok()
    }

    fn set_newest(&mut self, publication: &Publication) {
        let key = key_of(publication);
        if let Some(seq) = self.newest.get_mut(key) {
            *seq = publication.seq;
        } else {
            self.newest.insert(key.into(), publication.seq);
        }
    }

    /// Adds a message behind all others.
    fn push(&mut self, publication: Arc<Publication>, standing: Standing) {
        let seq = publication.seq;
        if standing.is_live() {
            self.keys += 1;
            self.live_bytes += publication.memory_bytes();
        } else {
            self.make_evictable(seq, publication.memory_bytes());
        }
        self.entries.push_back(Entry {
            seq,
            standing,
            publication: Some(publication),
        });
    }

    fn make_evictable(&mut self, seq: u64, bytes: usize) {
        self.evictable.push(Reverse(seq));
        self.evictable_count += 1;
        self.evictable_bytes += bytes;
    }

    /// An event follows what the key has.
    fn pin(&mut self, index: usize) {
        if let Some(entry) = self.entries.get_mut(index) {
            entry.standing = match entry.standing {
                Standing::Live => Standing::LivePinned,
                Standing::Tombstone => Standing::TombstonePinned,
                other => other,
            };
        }
    }

    /// What the key had is no longer the newest.
    fn replace(&mut self, index: usize) {
        let Some(entry) = self.entries.get_mut(index) else {
            return;
        };
        if entry.standing != Standing::LivePinned {
            if entry.standing != Standing::TombstonePinned {
                self.remove(index);
            }
            return;
        }
        let (seq, bytes) = (
            entry.seq,
            entry.publication().map_or(0, |kept| kept.memory_bytes()),
        );
        entry.standing = Standing::Pinned;
        self.keys -= 1;
        self.live_bytes -= bytes;
        self.make_evictable(seq, bytes);
    }

    /// Leaves a hole.
    fn remove(&mut self, index: usize) -> Option<Arc<Publication>> {
        let entry = self.entries.get_mut(index)?;
        let publication = entry.publication.take()?;
        self.holes += 1;
        if entry.standing.is_live() {
            self.keys -= 1;
            self.live_bytes -= publication.memory_bytes();
        } else {
            self.evictable_count -= 1;
            self.evictable_bytes -= publication.memory_bytes();
        }
        Some(publication)
    }

    /// Drops the oldest of what may be dropped until the limits are kept, but not the newest
    /// message.
    fn evict(&mut self, limits: &LogLimits) {
        while self.evictable_count > limits.messages_max || self.evictable_bytes > limits.bytes_max
        {
            let Some(&Reverse(seq)) = self.evictable.peek() else {
                return;
            };
            if seq == self.head {
                return;
            }
            self.evictable.pop();
            let Some(index) = self.index_of(seq) else {
                continue;
            };
            // None is a hole whose number had stayed behind.
            let Some(publication) = self.remove(index) else {
                continue;
            };
            self.floor = self.floor.max(seq);
            let key = key_of(&publication);
            if self.newest.get(key) == Some(&seq) {
                self.newest.remove(key);
            }
        }
    }

    /// Forgets holes: those at the front at once, the others when they are more than half; and the
    /// numbers of holes likewise.
    fn trim(&mut self) {
        while let Some(Entry {
            publication: None, ..
        }) = self.entries.front()
        {
            self.entries.pop_front();
            self.holes -= 1;
        }
        if self.holes * 2 > self.entries.len().max(COMPACTION_ENTRIES_MIN) {
            self.entries.retain(|entry| entry.publication.is_some());
            self.holes = 0;
        }
        if self.evictable.len() > 2 * self.evictable_count.max(COMPACTION_ENTRIES_MIN) {
            let entries = &self.entries;
            self.evictable.retain(|Reverse(seq)| {
                let found = entries.binary_search_by_key(seq, |entry| entry.seq);
                let entry = found.ok().and_then(|index| entries.get(index));
                entry.and_then(Entry::publication).is_some()
            });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::hub::publication::{Content, PayloadKind};
    use crate::hub::topic::{TopicError, TopicName};
    use bytes::Bytes;

    /// Holes and their numbers must not add up, whatever is published for however long.
    #[test]
    fn holes_are_forgotten() -> Result<(), TopicError> {
        use Change::{Event, Remove, Update};
        let topic = TopicName::parse("a")?;
        let habits: [&[Change]; 5] = [
            &[Update],
            &[Update, Remove],
            &[Remove],
            &[Update, Event],
            &[Update, Event, Remove, Event],
        ];
        for (habit, keys, steps) in habits
            .iter()
            .flat_map(|habit| [(habit, 1, 1000), (habit, 50, 4000)])
        {
            let limits = LogLimits {
                messages_max: 20,
                ..LogLimits::default()
            };
            let mut log = StateLog::new(0, 0);
            // One key is not touched again, so that holes are not at the front alone.
            for seq in 1..=steps {
                let turn = seq as usize - 1;
                let (key, change) = match turn {
                    0 => (usize::MAX, Update),
                    turn => (turn % keys, habit[(turn / keys) % habit.len()]),
                };
                let content = Content {
                    change,
                    key: Some(key.to_le_bytes().into()),
                    payload: Bytes::new(),
                    payload_kind: PayloadKind::Binary,
                };
                let publication = Publication::new(topic.clone(), 1, seq, 0, content);
                log.append(Arc::new(publication), &limits);
                let held = log.messages();
                assert!(
                    held <= keys + 1 + limits.messages_max,
                    "{held} held at {seq}"
                );
                let entries = log.entries.len();
                assert!(
                    entries <= 2 * held + COMPACTION_ENTRIES_MIN,
                    "{entries} at {seq}"
                );
                let numbers = log.evictable.len();
                assert!(numbers <= 2 * COMPACTION_ENTRIES_MIN, "{numbers} at {seq}");
                assert!(
                    log.newest.len() <= held,
                    "{} keys at {seq}",
                    log.newest.len()
                );
            }
        }
        Ok(())
    }
}
