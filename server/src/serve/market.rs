//! One symbol of the simulated market: an order book that lives, its quotes and its trades.
//!
//! It owns what happens and in which messages it is told; the same seed gives the same messages. It
//! reads no clock and must not know how messages are sent.

use bytes::Bytes;
use fanwire_server::hub::port::PublishRequest;
use fanwire_server::hub::publication::{Change, PayloadKind};
use fanwire_server::hub::topic::{TopicError, TopicName};
use fastrand::Rng;

use crate::serve::order_book::{CHECKED_LEVELS, OrderBook, Scale, Side};

/// Fewer levels than these are filled up, so that a checksum always covers ten.
const DEPTH_MIN: usize = CHECKED_LEVELS + 4;
/// With more levels than these the farthest goes.
const DEPTH_MAX: usize = 40;
/// Keys that a topic of a book may have at one time: both sides, and levels about to be removed.
pub(crate) const KEYS_MAX: usize = 2 * DEPTH_MAX + 8;

/// Name, first price in hundredths, and step between prices in hundredths.
const LISTED: [(&str, u64, u64); 12] = [
    ("BTC-USD", 6_400_000, 50),
    ("ETH-USD", 320_000, 5),
    ("SOL-USD", 14_500, 1),
    ("XRP-USD", 5_200, 1),
    ("BNB-USD", 58_000, 5),
    ("ADA-USD", 4_400, 1),
    ("AVAX-USD", 3_600, 1),
    ("LINK-USD", 1_900, 1),
    ("LTC-USD", 8_300, 1),
    ("DOT-USD", 7_100, 1),
    ("ATOM-USD", 9_400, 1),
    ("UNI-USD", 10_200, 1),
];

/// The name of a symbol, its first price and its step.
fn listing(index: u32) -> (String, u64, u64) {
    match LISTED.get(index as usize) {
        Some((name, price, step)) => ((*name).to_owned(), *price, *step),
        None => {
            let price = 5_000 + u64::from(index) * 37 % 20_000;
            (format!("SIM{:04}-USD", index + 1), price, 1)
        }
    }
}

/// One symbol.
#[derive(Debug)]
pub(crate) struct Market {
    book_topic: TopicName,
    trades_topic: TopicName,
    quote_topic: TopicName,
    scale: Scale,
    /// Hundredths between two prices of the book.
    step: u64,
    first_price: u64,
    book: OrderBook,
    /// Levels that were told to have size 0 and whose key is still to be removed.
    emptied: Vec<(Side, u64)>,
    /// What the last quote said: (price, size) of both sides.
    quoted: [Option<(u64, u64)>; 2],
    trades: u64,
    random: Rng,
}

impl Market {
    /// The symbol with this number, 0 being the busiest.
    ///
    /// # Errors
    /// When its name is no topic, which does not happen.
    pub(crate) fn new(index: u32, seed: u64) -> Result<Market, TopicError> {
        let (name, first_price, step) = listing(index);
        // Neighbouring seeds must not give neighbouring symbols the same market.
        let mut mixed = Rng::with_seed(seed);
        let own = mixed.u64(..) ^ u64::from(index).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        Ok(Market {
            book_topic: TopicName::parse(&format!("book.{name}"))?,
            trades_topic: TopicName::parse(&format!("trades.{name}"))?,
            quote_topic: TopicName::parse(&format!("quote.{name}"))?,
            scale: Scale {
                price_digits: 2,
                size_digits: 3,
            },
            step,
            first_price,
            book: OrderBook::default(),
            emptied: Vec::new(),
            quoted: [None; 2],
            trades: 0,
            random: Rng::with_seed(own),
        })
    }

    pub(crate) fn topics(&self) -> [&TopicName; 3] {
        [&self.book_topic, &self.trades_topic, &self.quote_topic]
    }

    /// The first messages: a whole book, level by level, and a quote.
    pub(crate) fn open(&mut self, messages: &mut Vec<PublishRequest>) {
        for level in 1..=20 {
            let size = self.any_size();
            self.set_level(
                Side::Bid,
                self.first_price - level * self.step,
                size,
                messages,
            );
            let size = self.any_size();
            self.set_level(
                Side::Ask,
                self.first_price + level * self.step,
                size,
                messages,
            );
        }
        self.tell_quote(messages);
    }

    /// One thing that happens, and the messages that tell it.
    pub(crate) fn happen(&mut self, messages: &mut Vec<PublishRequest>) {
        let side = if self.random.bool() {
            Side::Bid
        } else {
            Side::Ask
        };
        match self.random.u32(0..100) {
            0..52 => self.resize(side, messages),
            52..74 => self.add(side, messages),
            74..86 => self.cancel(side, messages),
            _ => self.trade(side, messages),
        }
        self.keep_in_shape(messages);
        self.tell_quote(messages);
    }

    /// Sizes between 0.001 and some tens, small ones more often.
    fn any_size(&mut self) -> u64 {
        let magnitude = self.random.u32(1..=4);
        self.random.u64(1..=10_u64.pow(magnitude)) * 5
    }

    /// A level near the top, the nearest most often.
    fn any_level(&mut self, side: Side) -> Option<(u64, u64)> {
        let depth = self.book.depth(side);
        let nearest = self.random.usize(0..depth.max(1));
        let index = self.random.usize(0..=nearest);
        self.book.levels(side).nth(index)
    }

    fn resize(&mut self, side: Side, messages: &mut Vec<PublishRequest>) {
        if let Some((price, _)) = self.any_level(side) {
            let size = self.any_size();
            self.set_level(side, price, size, messages);
        }
    }

    fn cancel(&mut self, side: Side, messages: &mut Vec<PublishRequest>) {
        if self.book.depth(side) > DEPTH_MIN
            && let Some((price, _)) = self.any_level(side)
        {
            self.set_level(side, price, 0, messages);
        }
    }

    /// A new level: inside the spread if there is room, or behind the best one.
    fn add(&mut self, side: Side, messages: &mut Vec<PublishRequest>) {
        let (Some((bid, _)), Some((ask, _))) =
            (self.book.best(Side::Bid), self.book.best(Side::Ask))
        else {
            return;
        };
        let room = (ask - bid) / self.step;
        let inside = room > 1 && (room > 4 || self.random.u32(0..3) == 0);
        let away = match inside {
            true => self.random.u64(1..room.min(4)),
            false => self.random.u64(1..=25),
        } * self.step;
        let price = match (side, inside) {
            (Side::Bid, true) => bid + away,
            (Side::Ask, true) => ask - away,
            (Side::Bid, false) => bid.saturating_sub(away),
            (Side::Ask, false) => ask + away,
        };
        if price > 0 {
            let size = self.any_size();
            self.set_level(side, price, size, messages);
        }
    }

    /// Somebody takes the best level of a side, or a part of it. The trade is told first, at the
    /// price that is quoted, then what is left of the level, then the new quote.
    fn trade(&mut self, side: Side, messages: &mut Vec<PublishRequest>) {
        let Some((price, size)) = self.book.best(side) else {
            return;
        };
        let taken = match self.random.u32(0..3) {
            0 => size,
            _ => self.random.u64(1..=size),
        };
        self.trades += 1;
        let taker = match side {
            Side::Bid => "sell",
            Side::Ask => "buy",
        };
        let data = format!(
            r#"{{"id":{},"side":"{taker}","price":"{}","size":"{}"}}"#,
            self.trades,
            self.scale.price(price),
            self.scale.size(taken)
        );
        let data = Bytes::from(data);
        let on_quote = message(&self.quote_topic, Some("bbo"), Change::Event, data.clone());
        messages.push(on_quote);
        messages.push(message(&self.trades_topic, None, Change::Update, data));
        self.set_level(side, price, size - taken, messages);
    }

    /// Neither so few levels that the checksum covers less, nor ever more of them.
    fn keep_in_shape(&mut self, messages: &mut Vec<PublishRequest>) {
        for side in [Side::Bid, Side::Ask] {
            while self.book.depth(side) < DEPTH_MIN {
                let Some((last, _)) = self.book.levels(side).last() else {
                    break;
                };
                let away = self.random.u64(1..=3) * self.step;
                let price = match side {
                    Side::Bid if last > away => last - away,
                    // No lower price is left: the gaps between the others are.
                    Side::Bid => match self.free_bid() {
                        Some(price) => price,
                        None => break,
                    },
                    Side::Ask => last + away,
                };
                let size = self.any_size();
                self.set_level(side, price, size, messages);
            }
            if self.book.depth(side) > DEPTH_MAX
                && let Some((last, _)) = self.book.levels(side).last()
            {
                self.set_level(side, last, 0, messages);
            }
        }
    }

    /// The lowest price at which nobody bids, below the asks.
    fn free_bid(&self) -> Option<u64> {
        let (ask, _) = self.book.best(Side::Ask)?;
        (1..ask).find(|price| self.book.size(Side::Bid, *price) == 0)
    }

    /// Sets a level and tells it. The message says the checksum of the whole book after it.
    ///
    /// A level that is gone is told as size 0, because a removal carries no data and so no checksum.
    /// Its key is removed right after the next message that carries one. So the newest message with
    /// a checksum is never removed, and a removal never changes the book: whoever is whole can check.
    fn set_level(&mut self, side: Side, price: u64, size: u64, messages: &mut Vec<PublishRequest>) {
        self.book.set(side, price, size);
        let price_text = self.scale.price(price);
        let data = format!(
            r#"{{"side":"{}","price":"{price_text}","size":"{}","check":{}}}"#,
            side.name(),
            self.scale.size(size),
            self.book.check(self.scale)
        );
        let key = format!("{}.{price_text}", side.name());
        let update = message(&self.book_topic, Some(&key), Change::Update, data.into());
        messages.push(update);
        for (other, gone) in std::mem::take(&mut self.emptied) {
            if (other, gone) != (side, price) {
                let key = format!("{}.{}", other.name(), self.scale.price(gone));
                let removal = message(&self.book_topic, Some(&key), Change::Remove, Bytes::new());
                messages.push(removal);
            }
        }
        if size == 0 {
            self.emptied.push((side, price));
        }
    }

    /// Tells the best level of both sides if it is another one than was told.
    fn tell_quote(&mut self, messages: &mut Vec<PublishRequest>) {
        let best = [self.book.best(Side::Bid), self.book.best(Side::Ask)];
        let (true, [Some((bid, bid_size)), Some((ask, ask_size))]) = (best != self.quoted, best)
        else {
            return;
        };
        self.quoted = best;
        let data = format!(
            r#"{{"bid":"{}","bid_size":"{}","ask":"{}","ask_size":"{}"}}"#,
            self.scale.price(bid),
            self.scale.size(bid_size),
            self.scale.price(ask),
            self.scale.size(ask_size)
        );
        let update = message(&self.quote_topic, Some("bbo"), Change::Update, data.into());
        messages.push(update);
    }
}

fn message(topic: &TopicName, key: Option<&str>, change: Change, payload: Bytes) -> PublishRequest {
    PublishRequest {
        topic: topic.clone(),
        key: key.map(|key| key.as_bytes().into()),
        change,
        payload,
        payload_kind: PayloadKind::Json,
    }
}

#[cfg(test)]
#[path = "market_tests.rs"]
mod tests;
