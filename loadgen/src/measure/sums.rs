//! Adding up what several threads counted, or several reports say: the steps that every `add` of a
//! sheet or a report has in common.
//!
//! Knows no counter by name. Which figures just add and which do not is their owner's affair.

use std::collections::BTreeMap;

/// Adds counters of one value to those of another of the same type. Every field is named: first
/// those that just add, and after `apart` those that the caller adds in another way. So a new
/// field cannot be forgotten.
macro_rules! add_fields {
    (
        $mine:expr, $theirs:expr,
        $type:ident { $($counter:ident),+ $(,)? } apart { $($apart:ident),* $(,)? }
    ) => {
        let $type { $($counter,)+ $($apart: _,)* } = $theirs;
        $($mine.$counter += *$counter;)+
    };
}
pub(crate) use add_fields;

/// Adds counts by kind.
pub fn add_counts<Kind: Ord + Clone>(mine: &mut BTreeMap<Kind, u64>, theirs: &BTreeMap<Kind, u64>) {
    for (kind, count) in theirs {
        *mine.entry(kind.clone()).or_default() += count;
    }
}

/// Adds, with `add`, what both have, and takes over what only the other one has.
pub fn add_optional<Part: Clone>(
    mine: &mut Option<Part>,
    theirs: Option<&Part>,
    add: impl FnOnce(&mut Part, &Part),
) {
    match (mine.as_mut(), theirs) {
        (Some(mine), Some(theirs)) => add(mine, theirs),
        (None, Some(theirs)) => *mine = Some(theirs.clone()),
        (_, None) => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counters_add_and_what_stands_apart_is_left_alone() {
        struct Counters {
            sent: u64,
            threads: usize,
            largest: u64,
        }
        let mut mine = Counters {
            sent: 3,
            threads: 1,
            largest: 9,
        };
        let theirs = Counters {
            sent: 4,
            threads: 2,
            largest: 7,
        };
        add_fields!(mine, &theirs, Counters { sent, threads } apart { largest });
        assert_eq!((mine.sent, mine.threads, mine.largest), (7, 3, 9));
    }

    #[test]
    fn counts_meet_by_kind() {
        let mut mine = BTreeMap::from([("lost", 1), ("unsent", 2)]);
        add_counts(&mut mine, &BTreeMap::from([("lost", 3), ("corrupt", 4)]));
        let sum = BTreeMap::from([("corrupt", 4), ("lost", 4), ("unsent", 2)]);
        assert_eq!(mine, sum);
    }

    #[test]
    fn a_part_that_only_one_has_is_kept() {
        let sum = |mut mine: Option<u64>, theirs: Option<u64>| {
            add_optional(&mut mine, theirs.as_ref(), |mine, theirs| *mine += theirs);
            mine
        };
        assert_eq!(sum(Some(1), Some(2)), Some(3));
        assert_eq!((sum(None, Some(2)), sum(Some(1), None)), (Some(2), Some(1)));
        assert_eq!(sum(None, None), None);
    }
}
