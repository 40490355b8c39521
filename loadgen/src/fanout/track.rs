//! The numbers that a foreign server gives to its messages, as one subscriber sees them: holes,
//! repetitions, and what came out of order.
//!
//! Knows nothing of messages; a number and a key are all it is told. Pure, and bounded: a
//! subscriber has so many keys, and remembers so many holes.

use std::collections::HashMap;
use std::hash::{BuildHasherDefault, Hasher};

use serde::{Deserialize, Serialize};

use crate::fanout::holes::{Hole, Holes};
use crate::measure::sums::add_fields;

/// Keys whose numbers are followed, per subscriber. Messages of further ones count as `untracked`.
pub const KEYS_MAX: usize = 16_384;
/// A number that is lower than the first one seen by up to this much is a late one: it was sent
/// before it and arrived behind it. What is lower still was sent long ago, or begins anew.
const LATE_START_MAX: u64 = 64;

/// A hasher for keys that are hashes already.
#[derive(Default, Debug)]
pub struct AsIs(u64);

impl Hasher for AsIs {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.0 = self.0.rotate_left(8) ^ u64::from(*byte);
        }
    }

    fn write_u64(&mut self, value: u64) {
        self.0 = value;
    }
}

/// A map from hashes.
pub type ByHash<V> = HashMap<u64, V, BuildHasherDefault<AsIs>>;

/// What numbers turned out to be. `expected = seen + missing`. Its fields are names of the report.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct SequenceCounts {
    /// Numbers from the first that was seen to the last, over keys and subscribers.
    pub expected: u64,
    /// Different numbers that were seen.
    pub seen: u64,
    /// Numbers in between that were not.
    pub missing: u64,
    /// Uninterrupted stretches of them; one that a late message divides counts as two.
    pub gaps: u64,
    /// Messages whose number had been seen.
    pub duplicates: u64,
    /// Messages behind one with a higher number. Part of `seen`.
    pub reordered: u64,
    /// Times that the numbers of a key began anew at a lower one.
    pub restarts: u64,
    /// Messages of keys beyond [`KEYS_MAX`].
    pub untracked: u64,
    /// Messages without a number at its place.
    pub unnumbered: u64,
}

impl SequenceCounts {
    /// Adds the counts of others.
    pub fn add(&mut self, other: &SequenceCounts) {
        add_fields!(self, other, SequenceCounts {
            seen, gaps, duplicates, reordered, restarts, untracked, unnumbered,
        } apart { expected, missing });
        // Numbers are the server's, and may be nonsense: sums must not overflow on them.
        self.expected = self.expected.saturating_add(other.expected);
        self.missing = self.missing.saturating_add(other.missing);
    }

    /// Every number from the first to the last was seen, or is missing.
    pub fn adds_up(&self) -> bool {
        self.expected == self.seen.saturating_add(self.missing)
    }
}

#[derive(Clone, Copy, Debug)]
struct Track {
    first: u64,
    /// One behind the highest number.
    next: u64,
    /// One behind the last number that was taken for a repeated one: if that comes next, the numbers
    /// have begun anew.
    anew: Option<u64>,
}

/// The numbers of one subscriber.
#[derive(Clone, Debug, Default)]
pub struct Tracks {
    tracks: ByHash<Track>,
    holes: Holes,
}

impl Tracks {
    /// Takes the number of a message. True: it was not seen before.
    pub fn take(&mut self, key: u64, number: u64, counts: &mut SequenceCounts) -> bool {
        let Some(track) = self.tracks.get_mut(&key) else {
            if self.tracks.len() >= KEYS_MAX {
                counts.untracked += 1;
                return true;
            }
            self.begin(key, number, counts);
            return true;
        };
        if number >= track.next {
            let hole = Hole {
                of: key,
                from: track.next,
                to: number,
            };
            track.next = number.saturating_add(1);
            track.anew = None;
            self.widen(hole, counts);
            return true;
        }
        if number < track.first && track.first - number <= LATE_START_MAX {
            let hole = Hole {
                of: key,
                from: number + 1,
                to: track.first,
            };
            track.first = number;
            counts.reordered += 1;
            self.widen(hole, counts);
            return true;
        }
        if self.fill_hole(key, number, counts) {
            counts.seen += 1;
            counts.reordered += 1;
            return true;
        }
        self.repeated(key, number, counts)
    }

    fn begin(&mut self, key: u64, number: u64, counts: &mut SequenceCounts) {
        let track = Track {
            first: number,
            next: number.saturating_add(1),
            anew: None,
        };
        self.tracks.insert(key, track);
        counts.expected = counts.expected.saturating_add(1);
        counts.seen += 1;
    }

    /// A number outside those known so far. Between it and them is a hole, which may be empty.
    fn widen(&mut self, hole: Hole, counts: &mut SequenceCounts) {
        let skipped = hole.size();
        counts.expected = counts.expected.saturating_add(skipped.saturating_add(1));
        counts.seen += 1;
        counts.missing = counts.missing.saturating_add(skipped);
        counts.gaps += u64::from(skipped > 0);
        self.holes.remember(hole);
    }

    /// A number that was seen. The second of two that follow each other shows that the server
    /// counts anew; then the first of them was not a repetition either.
    fn repeated(&mut self, key: u64, number: u64, counts: &mut SequenceCounts) -> bool {
        let Some(track) = self.tracks.get_mut(&key) else {
            return true;
        };
        if track.anew == Some(number) {
            *track = Track {
                first: number - 1,
                next: number + 1,
                anew: None,
            };
            self.holes.forget(key);
            counts.duplicates = counts.duplicates.saturating_sub(1);
            counts.expected = counts.expected.saturating_add(2);
            counts.seen += 2;
            counts.restarts += 1;
            return true;
        }
        track.anew = number.checked_add(1);
        counts.duplicates += 1;
        false
    }

    fn fill_hole(&mut self, key: u64, number: u64, counts: &mut SequenceCounts) -> bool {
        let Some(left) = self.holes.fill(key, number) else {
            return false;
        };
        counts.missing = counts.missing.saturating_sub(1);
        counts.gaps = counts.gaps.saturating_sub(1) + left;
        true
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    fn take(numbers: &[u64]) -> SequenceCounts {
        let (mut tracks, mut counts) = (Tracks::default(), SequenceCounts::default());
        for number in numbers {
            tracks.take(7, *number, &mut counts);
        }
        counts
    }

    #[test]
    fn gaps_repetitions_and_late_ones() {
        let counts = take(&[10, 11, 14, 12, 12, 15, 9, 20]);
        let wanted = SequenceCounts {
            expected: 12,
            seen: 7,
            missing: 5,
            gaps: 2,
            duplicates: 1,
            reordered: 2,
            ..SequenceCounts::default()
        };
        assert_eq!(counts, wanted);
    }

    #[test]
    fn a_server_that_counts_anew() {
        let counts = take(&[1_000, 1_001, 1, 2, 3, 1_000_000]);
        assert_eq!((counts.restarts, counts.duplicates), (1, 0));
        assert_eq!((counts.seen, counts.expected), (6, 2 + 1_000_000));
        assert_eq!(counts.expected, counts.seen + counts.missing);
        // An old message among new ones is a repetition, not a new beginning.
        let counts = take(&[1_000, 1_001, 1, 1_002, 2]);
        assert_eq!((counts.restarts, counts.duplicates), (0, 2));
    }

    #[test]
    fn keys_have_numbers_of_their_own_up_to_a_bound() {
        let (mut tracks, mut counts) = (Tracks::default(), SequenceCounts::default());
        for key in 0..KEYS_MAX as u64 + 5 {
            tracks.take(key, 3 * key, &mut counts);
        }
        assert_eq!((counts.missing, counts.untracked), (0, 5));
        assert_eq!(counts.seen, KEYS_MAX as u64);
    }

    proptest! {
        /// Any order of arrival of numbers that are near each other: what was seen and what was not
        /// is what a set of them says, and every message is one of new, late, repeated.
        #[test]
        fn agrees_with_a_set(numbers in proptest::collection::vec(100u64..140, 1..80)) {
            let (mut tracks, mut counts) = (Tracks::default(), SequenceCounts::default());
            let mut set = BTreeSet::new();
            let mut is_plain = true;
            for number in &numbers {
                let is_new = tracks.take(1, *number, &mut counts);
                is_plain &= counts.restarts == 0;
                if is_plain {
                    prop_assert_eq!(is_new, set.insert(*number));
                }
            }
            prop_assert_eq!(counts.expected, counts.seen + counts.missing);
            prop_assert_eq!(counts.seen + counts.duplicates, numbers.len() as u64);
            if is_plain {
                let span = set.last().unwrap_or(&0) - set.first().unwrap_or(&0) + 1;
                prop_assert_eq!((counts.expected, counts.seen), (span, set.len() as u64));
            }
        }

        #[test]
        fn any_numbers_are_taken(numbers in proptest::collection::vec((0u64..3, any::<u64>()), 0..60)) {
            let (mut tracks, mut counts) = (Tracks::default(), SequenceCounts::default());
            for (key, number) in &numbers {
                tracks.take(*key, *number, &mut counts);
            }
            prop_assert_eq!(counts.seen + counts.duplicates, numbers.len() as u64);
        }
    }
}
