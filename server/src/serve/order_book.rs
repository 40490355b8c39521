//! One side-by-side order book in whole numbers, and its checksum.
//!
//! It owns the definition of the checksum, which docs/simulator.md tells readers. It must not know
//! how the book comes to change, nor how changes travel.

use std::collections::BTreeMap;
use std::fmt::Write as _;

/// Levels of each side that the checksum covers.
pub(crate) const CHECKED_LEVELS: usize = 10;

/// Who would be at a level.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Side {
    Bid,
    Ask,
}

impl Side {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Side::Bid => "bid",
            Side::Ask => "ask",
        }
    }
}

/// How whole numbers are written as decimals.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Scale {
    /// Digits behind the point of a price.
    pub(crate) price_digits: u32,
    /// Digits behind the point of a size.
    pub(crate) size_digits: u32,
}

/// A decimal with so many digits behind the point.
fn decimal(number: u64, digits: u32) -> String {
    let unit = 10_u64.pow(digits);
    match digits {
        0 => number.to_string(),
        _ => format!(
            "{}.{:0width$}",
            number / unit,
            number % unit,
            width = digits as usize
        ),
    }
}

impl Scale {
    pub(crate) fn price(self, price: u64) -> String {
        decimal(price, self.price_digits)
    }

    pub(crate) fn size(self, size: u64) -> String {
        decimal(size, self.size_digits)
    }
}

/// Sizes by price. A level that is not there has no size.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct OrderBook {
    bids: BTreeMap<u64, u64>,
    asks: BTreeMap<u64, u64>,
}

impl OrderBook {
    fn side_mut(&mut self, side: Side) -> &mut BTreeMap<u64, u64> {
        match side {
            Side::Bid => &mut self.bids,
            Side::Ask => &mut self.asks,
        }
    }

    fn side(&self, side: Side) -> &BTreeMap<u64, u64> {
        match side {
            Side::Bid => &self.bids,
            Side::Ask => &self.asks,
        }
    }

    /// Sets the size at a price; 0 takes the level away.
    pub(crate) fn set(&mut self, side: Side, price: u64, size: u64) {
        let levels = self.side_mut(side);
        match size {
            0 => levels.remove(&price),
            size => levels.insert(price, size),
        };
    }

    pub(crate) fn size(&self, side: Side, price: u64) -> u64 {
        self.side(side).get(&price).copied().unwrap_or(0)
    }

    pub(crate) fn depth(&self, side: Side) -> usize {
        self.side(side).len()
    }

    /// Levels as (price, size), the best first.
    pub(crate) fn levels(&self, side: Side) -> Box<dyn Iterator<Item = (u64, u64)> + '_> {
        let levels = self.side(side).iter().map(|(price, size)| (*price, *size));
        match side {
            Side::Bid => Box::new(levels.rev()),
            Side::Ask => Box::new(levels),
        }
    }

    pub(crate) fn best(&self, side: Side) -> Option<(u64, u64)> {
        self.levels(side).next()
    }

    /// CRC-32 over the best ten asks and then the best ten bids, each as `price:size,`.
    pub(crate) fn check(&self, scale: Scale) -> u32 {
        let mut text = String::with_capacity(512);
        for side in [Side::Ask, Side::Bid] {
            for (price, size) in self.levels(side).take(CHECKED_LEVELS) {
                // Writing to a string cannot fail.
                let _ = write!(text, "{}:{},", scale.price(price), scale.size(size));
            }
        }
        crc32fast::hash(text.as_bytes())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SCALE: Scale = Scale {
        price_digits: 2,
        size_digits: 3,
    };

    #[test]
    fn decimals_keep_their_digits() {
        assert_eq!(SCALE.price(10_150), "101.50");
        assert_eq!(SCALE.price(5), "0.05");
        assert_eq!(SCALE.size(0), "0.000");
        assert_eq!(decimal(7, 0), "7");
    }

    const CHECK_OF_EXAMPLE: u32 = 2_484_142_764;

    /// The example of docs/simulator.md, worked out there with Python's zlib.crc32.
    #[test]
    fn the_checksum_is_the_one_of_the_documentation() {
        let mut book = OrderBook::default();
        assert_eq!(book.check(SCALE), 0);
        book.set(Side::Bid, 10_100, 2_000);
        book.set(Side::Bid, 10_050, 1_500);
        book.set(Side::Ask, 10_200, 500);
        assert_eq!(
            book.check(SCALE),
            crc32fast::hash(b"102.00:0.500,101.00:2.000,100.50:1.500,")
        );
        assert_eq!(book.check(SCALE), CHECK_OF_EXAMPLE);
        let document = include_str!("../../../docs/simulator.md");
        assert!(document.contains(&CHECK_OF_EXAMPLE.to_string()));
    }

    #[test]
    fn only_the_best_ten_levels_count() {
        let mut book = OrderBook::default();
        for level in 0..12 {
            book.set(Side::Bid, 1_000 - level, 1);
            book.set(Side::Ask, 1_001 + level, 1);
        }
        let before = book.check(SCALE);
        book.set(Side::Bid, 990, 5);
        book.set(Side::Ask, 1_011, 0);
        assert_eq!(book.check(SCALE), before);
        book.set(Side::Bid, 991, 5);
        assert_ne!(book.check(SCALE), before);
        assert_eq!(book.best(Side::Bid), Some((1_000, 1)));
        assert_eq!(book.best(Side::Ask), Some((1_001, 1)));
    }
}
