//! Numbers that one subscriber has missed and that may still come: holes, by what is numbered.
//!
//! Owns how many are remembered and which is forgotten first. What a hole means, and what is
//! counted for it, is its owner's affair. Pure, and bounded.

/// Holes that are remembered, per subscriber, so that a late message is told from a repeated one.
/// When there are more the oldest is forgotten, and a message that is that late counts as repeated.
const HOLES_MAX: usize = 64;

/// Numbers that were skipped: `from` to `to`, exclusive. Empty when both are equal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Hole {
    /// What is numbered: a stream, or a key.
    pub of: u64,
    /// The first that is missing.
    pub from: u64,
    /// One behind the last.
    pub to: u64,
}

impl Hole {
    /// How many numbers are missing.
    pub fn size(&self) -> u64 {
        self.to.saturating_sub(self.from)
    }
}

/// The holes of one subscriber, oldest first as long as none is filled.
#[derive(Clone, Debug, Default)]
pub struct Holes(Vec<Hole>);

impl Holes {
    /// Remembers a hole, unless it is empty.
    pub fn remember(&mut self, hole: Hole) {
        if hole.size() == 0 {
            return;
        }
        if self.0.len() >= HOLES_MAX {
            self.0.remove(0);
        }
        self.0.push(hole);
    }

    /// A late number came. If it was missing: how many holes are left of the one that it was in, 0
    /// to 2.
    pub fn fill(&mut self, of: u64, number: u64) -> Option<u64> {
        let is_in = |hole: &Hole| hole.of == of && (hole.from..hole.to).contains(&number);
        let hole = self.0.swap_remove(self.0.iter().position(is_in)?);
        let parts = [
            Hole { to: number, ..hole },
            Hole {
                from: number + 1,
                ..hole
            },
        ];
        let mut left = 0;
        for part in parts {
            left += u64::from(part.size() > 0);
            self.remember(part);
        }
        Some(left)
    }

    /// Forgets all holes of one that is numbered anew.
    pub fn forget(&mut self, of: u64) {
        self.0.retain(|hole| hole.of != of);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hole(of: u64, from: u64, to: u64) -> Hole {
        Hole { of, from, to }
    }

    #[test]
    fn a_hole_is_filled_number_by_number() {
        let mut holes = Holes::default();
        holes.remember(hole(7, 10, 14));
        holes.remember(hole(7, 20, 20));
        assert_eq!((holes.fill(7, 14), holes.fill(8, 11)), (None, None));
        assert_eq!(holes.fill(7, 12), Some(2));
        assert_eq!((holes.fill(7, 12), holes.fill(7, 13)), (None, Some(0)));
        assert_eq!((holes.fill(7, 11), holes.fill(7, 10)), (Some(1), Some(0)));
        assert_eq!(holes.fill(7, 20), None, "an empty hole is none");
    }

    #[test]
    fn the_oldest_is_forgotten_first() {
        let mut holes = Holes::default();
        for of in 0..=HOLES_MAX as u64 {
            holes.remember(hole(of, 1, 2));
        }
        assert_eq!((holes.fill(0, 1), holes.fill(1, 1)), (None, Some(0)));
        holes.forget(2);
        assert_eq!((holes.fill(2, 1), holes.fill(3, 1)), (None, Some(0)));
    }
}
