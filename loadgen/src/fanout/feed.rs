//! A feed that the server paces by itself: what one subscriber got of it, what a thread counted,
//! and which subscribers got the same message when.
//!
//! Nobody knows what such a server meant to send. So this owns no entitlement, only what can be
//! reconciled: received = stamped + unstamped, and expected = seen + missing where messages have
//! numbers. Reads no clock and no field: it is told times and numbers.

use crate::fanout::field::scatter;
use crate::fanout::track::{ByHash, SequenceCounts, Tracks};
use crate::measure::latency::Latency;
use crate::measure::sums::add_fields;

/// Messages that one thread follows over its subscribers; 40 bytes each. When there are more, every
/// second, fourth, … of them is followed.
pub const FOLLOWED_MAX: usize = 1 << 17;

/// One subscriber of a feed.
#[derive(Clone, Debug, Default)]
pub struct Account {
    /// Messages received, those that confirmed a subscription left out.
    pub received: u64,
    /// Those in the measured window.
    pub received_measured: u64,
    /// When the last one arrived; 0 before the first.
    pub last_ns: u64,
    /// Numbers.
    pub tracks: Tracks,
}

/// One message at all subscribers of a thread.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Copies {
    /// First copy.
    pub first_ns: u64,
    /// Last copy.
    pub last_ns: u64,
    /// When it was stamped, on our clock; later than `first_ns` if the clocks differ.
    pub stamped_ns: Option<u64>,
    /// Healthy subscribers that got it.
    pub copies: u32,
}

/// Messages by what identifies them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct FeedBoard {
    /// One in 2^shift is followed: those whose lowest bits are zero.
    shift: u32,
    records: ByHash<Copies>,
}

impl FeedBoard {
    /// A copy arrived of the message that `identity` stands for.
    pub fn record(&mut self, identity: u64, at_ns: u64, stamped_ns: Option<u64>) {
        let identity = scatter(identity);
        if !follows(identity, self.shift) {
            return;
        }
        let record = self.records.entry(identity).or_insert(Copies {
            first_ns: at_ns,
            last_ns: at_ns,
            stamped_ns,
            copies: 0,
        });
        record.first_ns = record.first_ns.min(at_ns);
        record.last_ns = record.last_ns.max(at_ns);
        record.copies = record.copies.saturating_add(1);
        self.keep_within_bound();
    }

    fn keep_within_bound(&mut self) {
        while self.records.len() > FOLLOWED_MAX {
            self.shift += 1;
            let shift = self.shift;
            self.records.retain(|identity, _| follows(*identity, shift));
        }
    }

    /// Adds the board of another thread of the same run.
    pub fn add(&mut self, other: &FeedBoard) {
        self.shift = self.shift.max(other.shift);
        let shift = self.shift;
        self.records.retain(|identity, _| follows(*identity, shift));
        for (identity, theirs) in &other.records {
            if !follows(*identity, shift) {
                continue;
            }
            let mine = self.records.entry(*identity).or_insert(Copies {
                copies: 0,
                ..*theirs
            });
            mine.first_ns = mine.first_ns.min(theirs.first_ns);
            mine.last_ns = mine.last_ns.max(theirs.last_ns);
            mine.copies = mine.copies.saturating_add(theirs.copies);
        }
        self.keep_within_bound();
    }

    /// One message in so many is followed.
    pub fn stride(&self) -> u64 {
        1_u64.checked_shl(self.shift).unwrap_or(u64::MAX)
    }

    /// The followed messages, in no order.
    pub fn records(&self) -> impl Iterator<Item = &Copies> {
        self.records.values()
    }
}

fn follows(identity: u64, shift: u32) -> bool {
    identity.trailing_zeros() >= shift
}

/// What a thread counted of a feed.
#[derive(Clone, Debug, Default)]
pub struct FeedSheet {
    /// Messages received, those that confirmed a subscription left out.
    pub received: u64,
    /// Those that had a time stamp at its place.
    pub stamped: u64,
    /// Those that had not.
    pub unstamped: u64,
    /// Stamps that lie after their arrival.
    pub negative: u64,
    /// The smallest latency; below zero when the clocks differ.
    pub smallest_ns: Option<i64>,
    /// Between two messages at a healthy subscriber.
    pub interval: Latency,
    /// Numbers, at subscribers that were to keep up.
    pub sequences: SequenceCounts,
    /// Numbers, at those that were made slow, or stalled.
    pub lagging_sequences: SequenceCounts,
    /// First, last and copies of each message.
    pub board: FeedBoard,
    /// Messages in the measured window, of each healthy subscriber.
    pub shares: Vec<u64>,
}

impl FeedSheet {
    /// Adds the sheet of another thread.
    pub fn add(&mut self, other: &FeedSheet) {
        add_fields!(self, other, FeedSheet {
            received, stamped, unstamped, negative,
        } apart { smallest_ns, interval, sequences, lagging_sequences, board, shares });
        let both = [self.smallest_ns, other.smallest_ns];
        self.smallest_ns = both.into_iter().flatten().min();
        self.interval.add(&other.interval);
        self.sequences.add(&other.sequences);
        self.lagging_sequences.add(&other.lagging_sequences);
        self.board.add(&other.board);
        self.shares.extend_from_slice(&other.shares);
    }

    /// Counts the latency of a stamped message.
    pub fn count_latency(&mut self, latency_ns: i64) {
        self.stamped += 1;
        self.negative += u64::from(latency_ns < 0);
        let smallest = self.smallest_ns.unwrap_or(latency_ns);
        self.smallest_ns = Some(smallest.min(latency_ns));
    }
}

/// Jain's index of fairness: 1 when all are equal, 1/n when one has everything; `None` of nothing.
pub fn jain(shares: &[u64]) -> Option<f64> {
    let sum: f64 = shares.iter().map(|share| *share as f64).sum();
    let squares: f64 = shares.iter().map(|share| (*share as f64).powi(2)).sum();
    // Rounding must not make it more than fair.
    (squares > 0.0).then(|| (sum * sum / (shares.len() as f64 * squares)).min(1.0))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn copies_of_threads_meet() {
        let (mut left, mut right) = (FeedBoard::default(), FeedBoard::default());
        left.record(1, 500, Some(400));
        left.record(1, 450, Some(400));
        right.record(1, 900, Some(400));
        right.record(2, 5, None);
        left.add(&right);
        let mut found: Vec<Copies> = left.records().copied().collect();
        found.sort_by_key(|copies| copies.copies);
        let one = Copies {
            first_ns: 450,
            last_ns: 900,
            stamped_ns: Some(400),
            copies: 3,
        };
        assert_eq!(found[1], one);
        assert_eq!((found[0].copies, found.len(), left.stride()), (1, 2, 1));
    }

    #[test]
    fn the_board_is_bounded_and_boards_agree_on_what_they_follow() {
        let (mut left, mut right) = (FeedBoard::default(), FeedBoard::default());
        for identity in 0..3 * FOLLOWED_MAX as u64 {
            left.record(identity, 1, None);
        }
        assert!(left.records().count() <= FOLLOWED_MAX && left.stride() >= 4);
        for identity in 0..1_000 {
            right.record(identity, 2, None);
        }
        right.add(&left);
        assert_eq!(right.stride(), left.stride());
        let twice = right.records().filter(|copies| copies.copies == 2).count();
        let seen = left.records().count();
        assert_eq!(right.records().count(), seen, "all of right's are left's");
        assert!(twice > 0 && twice <= 1_000, "{twice}");
    }

    #[test]
    fn fairness() {
        assert_eq!(jain(&[]), None);
        assert_eq!(jain(&[0, 0]), None);
        assert_eq!(jain(&[5, 5, 5]), Some(1.0));
        assert_eq!(jain(&[9, 0, 0]), Some(1.0 / 3.0));
    }

    #[test]
    fn the_smallest_latency_survives_merging() {
        let (mut left, mut right) = (FeedSheet::default(), FeedSheet::default());
        left.count_latency(7);
        right.count_latency(-3);
        right.count_latency(2);
        left.add(&right);
        assert_eq!(
            (left.stamped, left.negative, left.smallest_ns),
            (3, 1, Some(-3))
        );
    }
}
