//! Of every measured message: when its first and its last copy arrived, and how many did.
//!
//! One board per thread, filled without looking at other threads, merged at the end. Bounded: of a
//! run with more messages than [`RECORDS_MAX`] every n-th one is followed, and the report says so.

/// Messages that one board follows; 24 bytes each.
pub const RECORDS_MAX: u64 = 1 << 20;

/// One message.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Record {
    /// First copy; meaningless without copies.
    pub first_ns: u64,
    /// Last copy.
    pub last_ns: u64,
    /// Copies that healthy subscribers got.
    pub copies: u32,
}

/// The followed messages, by number.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Board {
    first: u64,
    stride: u64,
    records: Vec<Record>,
}

impl Board {
    /// Follows messages `first` to `end` (exclusive), or every n-th of them.
    pub fn new(first: u64, end: u64) -> Board {
        let count = end.saturating_sub(first);
        let stride = count.div_ceil(RECORDS_MAX).max(1);
        Board {
            first,
            stride,
            records: vec![Record::default(); count.div_ceil(stride) as usize],
        }
    }

    /// One message in so many is followed.
    pub fn stride(&self) -> u64 {
        self.stride.max(1)
    }

    /// A copy of message `number` arrived.
    #[inline]
    pub fn record(&mut self, number: u64, at_ns: u64) {
        let Some(offset) = number.checked_sub(self.first) else {
            return;
        };
        let index = if self.stride == 1 {
            offset
        } else if offset.is_multiple_of(self.stride()) {
            offset / self.stride()
        } else {
            return;
        };
        if let Some(record) = self.records.get_mut(index as usize) {
            if record.copies == 0 || at_ns < record.first_ns {
                record.first_ns = at_ns;
            }
            record.last_ns = record.last_ns.max(at_ns);
            record.copies += 1;
        }
    }

    /// Adds the board of another thread of the same run.
    pub fn add(&mut self, other: &Board) {
        if self.records.is_empty() {
            self.clone_from(other);
            return;
        }
        debug_assert!(
            other.records.is_empty() || (self.first, self.stride) == (other.first, other.stride)
        );
        for (mine, theirs) in self.records.iter_mut().zip(&other.records) {
            if theirs.copies > 0 {
                if mine.copies == 0 || theirs.first_ns < mine.first_ns {
                    mine.first_ns = theirs.first_ns;
                }
                mine.last_ns = mine.last_ns.max(theirs.last_ns);
                mine.copies += theirs.copies;
            }
        }
    }

    /// All followed messages with their numbers.
    pub fn records(&self) -> impl Iterator<Item = (u64, &Record)> {
        let numbers = (self.first..).step_by(self.stride() as usize);
        numbers.zip(&self.records)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn first_last_and_copies_merge() {
        let (mut left, mut right) = (Board::new(10, 20), Board::new(10, 20));
        left.record(12, 500);
        left.record(12, 400);
        right.record(12, 900);
        right.record(13, 1);
        left.record(9, 1);
        left.record(20, 1);
        left.add(&right);
        let record = |number| {
            *left
                .records()
                .find(|(at, _)| *at == number)
                .expect("followed")
                .1
        };
        assert_eq!(
            record(12),
            Record {
                first_ns: 400,
                last_ns: 900,
                copies: 3
            }
        );
        assert_eq!(record(13).copies, 1);
        assert_eq!(
            left.records().map(|(_, record)| record.copies).sum::<u32>(),
            4
        );
        let mut empty = Board::default();
        empty.add(&left);
        assert_eq!(empty, left);
    }

    #[test]
    fn long_runs_are_sampled_within_the_bound() {
        let mut board = Board::new(100, 100 + 3 * RECORDS_MAX + 5);
        assert_eq!(board.stride(), 4);
        for number in 100..140 {
            board.record(number, number);
        }
        let seen: Vec<u64> = board
            .records()
            .filter(|(_, record)| record.copies > 0)
            .map(|(number, _)| number)
            .collect();
        assert_eq!(seen, (100..140).step_by(4).collect::<Vec<u64>>());
        assert!(board.records().count() as u64 <= RECORDS_MAX);
    }
}
