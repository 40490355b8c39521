//! The messages of one connection that await their reply.
//!
//! Owns the bookkeeping from which lost, reordered and repeated replies follow. Sequences are
//! contiguous, so an entry is found by subtraction. Holds no memory until a message is sent.

use std::collections::VecDeque;
use std::ops::Range;

/// When a message was due and when it was handed to the socket.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stamps {
    /// Due time by the plan; in a closed loop the same as `sent_ns`.
    pub intended_ns: u64,
    /// When it was written for sending.
    pub sent_ns: u64,
}

/// Marks an entry whose reply has arrived while an older one is still awaited. No message is ever
/// sent at the end of time.
const ANSWERED: u64 = u64::MAX;

/// A reply that was taken off the books.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Answered {
    /// The stamps of the message that it answers.
    pub stamps: Stamps,
    /// A younger message had been answered before this one.
    pub is_reordered: bool,
}

/// What is left when a connection ends or the run is over.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Remainder {
    /// Unanswered, although a younger message was answered.
    pub overtaken: u64,
    /// Unanswered, and nothing younger was answered either.
    pub waiting: u64,
}

/// What replies are compared with, in the order of sending.
#[derive(Debug, Default)]
struct Checks {
    oldest_first: VecDeque<u64>,
}

/// The unanswered messages of one connection, oldest first.
#[derive(Debug, Default)]
pub struct Outstanding {
    entries: VecDeque<Stamps>,
    /// One for every entry, where messages cannot be written a second time for comparison. In a
    /// box, as most connections have none.
    checks: Option<Box<Checks>>,
    /// Sequence of the first entry.
    base: u64,
    /// Highest answered sequence plus one; 0 when nothing was answered yet.
    answered_end: u64,
    /// Entries that are not marked as answered.
    waiting: u32,
}

impl Outstanding {
    /// The sequence that the next message will get.
    pub fn next_sequence(&self) -> u64 {
        self.base + self.entries.len() as u64
    }

    /// How many messages await their reply.
    pub fn waiting(&self) -> u32 {
        self.waiting
    }

    /// Sequences that may still be outstanding.
    pub fn range(&self) -> Range<u64> {
        self.base..self.next_sequence()
    }

    /// Books a message.
    pub fn push(&mut self, stamps: Stamps) {
        self.entries.push_back(stamps);
        self.waiting += 1;
    }

    /// Books a message and what its reply will be compared with. All messages of a connection are
    /// booked this way, or none.
    pub fn push_checked(&mut self, stamps: Stamps, check: u64) {
        self.checks
            .get_or_insert_default()
            .oldest_first
            .push_back(check);
        self.push(stamps);
    }

    /// What the reply to this message is to be compared with.
    pub fn check(&self, sequence: u64) -> Option<u64> {
        let index = self.index(sequence)?;
        self.checks.as_ref()?.oldest_first.get(index).copied()
    }

    /// Whether this sequence awaits its reply.
    pub fn contains(&self, sequence: u64) -> bool {
        self.index(sequence).is_some()
    }

    /// The oldest sequence that awaits its reply.
    pub fn oldest(&self) -> Option<u64> {
        // The first entry is always unanswered: answered ones in front are dropped at once.
        (!self.entries.is_empty()).then_some(self.base)
    }

    /// Takes the message off the books.
    pub fn answer(&mut self, sequence: u64) -> Option<Answered> {
        let index = self.index(sequence)?;
        let entry = self.entries.get_mut(index)?;
        let stamps = *entry;
        entry.sent_ns = ANSWERED;
        self.waiting -= 1;
        let is_reordered = sequence + 1 < self.answered_end;
        self.answered_end = self.answered_end.max(sequence + 1);
        self.drop_answered();
        Some(Answered {
            stamps,
            is_reordered,
        })
    }

    /// Forgets the oldest message if a younger one was answered: its reply is not coming. Returns
    /// whether there was one. Keeps the books bounded when a server drops messages.
    pub fn forget_overtaken(&mut self) -> bool {
        if self.entries.is_empty() || self.base >= self.answered_end {
            return false;
        }
        self.drop_first();
        self.waiting -= 1;
        self.drop_answered();
        true
    }

    /// How many entries the books hold, answered ones in the middle included.
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Whether nothing is on the books.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// Counts what is left, for the accounting at the end. Walks the books, so that the sum is
    /// found independently of the counters that it is compared with.
    pub fn remainder(&self) -> Remainder {
        let mut remainder = Remainder::default();
        for (sequence, entry) in (self.base..).zip(&self.entries) {
            if entry.sent_ns == ANSWERED {
                continue;
            }
            if sequence < self.answered_end {
                remainder.overtaken += 1;
            } else {
                remainder.waiting += 1;
            }
        }
        remainder
    }

    fn index(&self, sequence: u64) -> Option<usize> {
        let index = usize::try_from(sequence.checked_sub(self.base)?).ok()?;
        let entry = self.entries.get(index)?;
        (entry.sent_ns != ANSWERED).then_some(index)
    }

    fn drop_answered(&mut self) {
        while self
            .entries
            .front()
            .is_some_and(|entry| entry.sent_ns == ANSWERED)
        {
            self.drop_first();
        }
    }

    fn drop_first(&mut self) {
        self.entries.pop_front();
        if let Some(checks) = &mut self.checks {
            checks.oldest_first.pop_front();
        }
        self.base += 1;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sent(count: u64) -> Outstanding {
        let mut outstanding = Outstanding::default();
        for number in 0..count {
            outstanding.push(Stamps {
                intended_ns: number,
                sent_ns: number,
            });
        }
        outstanding
    }

    #[test]
    fn in_order() {
        let mut outstanding = sent(3);
        for sequence in 0..3 {
            let answered = outstanding.answer(sequence).expect("outstanding");
            assert_eq!(answered.stamps.sent_ns, sequence);
            assert!(!answered.is_reordered);
            assert!(outstanding.answer(sequence).is_none(), "answered once only");
        }
        assert!(outstanding.is_empty());
        assert_eq!(outstanding.next_sequence(), 3);
        assert_eq!(outstanding.remainder(), Remainder::default());
    }

    #[test]
    fn out_of_order_and_lost() {
        let mut outstanding = sent(5);
        assert!(!outstanding.answer(2).expect("outstanding").is_reordered);
        assert!(outstanding.answer(0).expect("outstanding").is_reordered);
        assert_eq!(outstanding.oldest(), Some(1));
        assert_eq!(outstanding.waiting(), 3);
        assert_eq!(
            outstanding.remainder(),
            Remainder {
                overtaken: 1,
                waiting: 2
            }
        );
        assert!(outstanding.forget_overtaken());
        assert_eq!(outstanding.oldest(), Some(3), "2 was answered already");
        assert!(!outstanding.forget_overtaken());
    }

    #[test]
    fn checks_stay_with_their_messages() {
        let mut outstanding = Outstanding::default();
        for number in 0..5 {
            let stamps = Stamps {
                intended_ns: number,
                sent_ns: number,
            };
            outstanding.push_checked(stamps, 100 + number);
        }
        assert!(outstanding.answer(2).is_some());
        assert_eq!(outstanding.check(2), None, "answered");
        assert!(outstanding.answer(0).is_some());
        assert_eq!(outstanding.check(1), Some(101));
        assert!(outstanding.forget_overtaken());
        assert_eq!(outstanding.check(1), None);
        assert_eq!(
            (outstanding.check(3), outstanding.check(4)),
            (Some(103), Some(104))
        );
        assert_eq!(outstanding.check(5), None);
    }

    #[test]
    fn unknown_sequences() {
        let mut outstanding = sent(2);
        assert!(outstanding.answer(2).is_none());
        assert!(outstanding.answer(u64::MAX).is_none());
        assert!(!outstanding.contains(2) && outstanding.contains(1));
    }
}
