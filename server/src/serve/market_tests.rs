//! Rebuilds books from messages as a reader would, whole and conflated, and checks them.

use std::collections::BTreeMap;

use super::*;

/// What a reader knows of a book, made from messages alone and by the text of docs/simulator.md.
#[derive(Default)]
struct Reader {
    levels: BTreeMap<String, (String, String, String)>,
    check: Option<u64>,
}

impl Reader {
    fn take(&mut self, message: &PublishRequest) {
        let key = String::from_utf8(message.key.clone().unwrap().into_vec()).unwrap();
        if message.change == Change::Remove {
            self.levels.remove(&key);
            return;
        }
        let data: serde_json::Value = serde_json::from_slice(&message.payload).unwrap();
        let text = |name: &str| data[name].as_str().unwrap().to_owned();
        self.levels
            .insert(key, (text("side"), text("price"), text("size")));
        self.check = data["check"].as_u64();
    }

    fn computed(&self) -> u64 {
        let side = |wanted: &str| {
            let levels = self.levels.values().filter(|(side, _, _)| side == wanted);
            let mut levels: Vec<(f64, String)> = levels
                .filter(|(_, _, size)| size.parse::<f64>().unwrap() > 0.0)
                .map(|(_, price, size)| (price.parse().unwrap(), format!("{price}:{size},")))
                .collect();
            levels.sort_by(|one, other| one.0.total_cmp(&other.0));
            levels
        };
        let asks = side("ask").into_iter().take(10);
        let bids = side("bid").into_iter().rev().take(10);
        let text: String = asks.chain(bids).map(|(_, text)| text).collect();
        u64::from(crc32fast::hash(text.as_bytes()))
    }

    fn assert_whole(&self, at: &str) {
        assert_eq!(Some(self.computed()), self.check, "{at}");
    }
}

fn messages(index: u32, seed: u64, count: usize) -> Vec<PublishRequest> {
    let mut market = Market::new(index, seed).unwrap();
    let mut all = Vec::new();
    market.open(&mut all);
    while all.len() < count {
        market.happen(&mut all);
    }
    all
}

fn on<'a>(all: &'a [PublishRequest], stream: &str) -> Vec<&'a PublishRequest> {
    all.iter()
        .filter(|message| message.topic.as_str().starts_with(stream))
        .collect()
}

#[test]
fn a_reader_of_everything_has_the_right_book_after_every_message() {
    for index in [0, 2, 7, 500] {
        let all = messages(index, 11, 20_000);
        let mut reader = Reader::default();
        for (number, message) in on(&all, "book.").into_iter().enumerate() {
            reader.take(message);
            reader.assert_whole(&format!("symbol {index}, message {number}"));
            assert!(reader.levels.len() <= KEYS_MAX, "{}", reader.levels.len());
        }
    }
}

/// Newest message of each key, in the order of the last update: what a state log holds.
fn conflated<'a>(part: &[&'a PublishRequest]) -> Vec<&'a PublishRequest> {
    let mut newest = BTreeMap::new();
    for (number, message) in part.iter().enumerate() {
        newest.insert(message.key.clone(), (number, *message));
    }
    let mut kept: Vec<_> = newest.into_values().collect();
    kept.sort_by_key(|(number, _)| *number);
    kept.into_iter().map(|(_, message)| message).collect()
}

#[test]
fn a_reader_of_snapshots_and_conflated_parts_has_the_right_book_whenever_it_is_whole() {
    let seed = fastrand::u64(..);
    println!("seed {seed}: replace the line above by it");
    let mut random = Rng::with_seed(seed);
    let all = messages(1, seed, 30_000);
    let book = on(&all, "book.");
    for _ in 0..300 {
        let mut reader = Reader::default();
        let mut position = random.usize(1..book.len());
        let snapshot = conflated(&book[..position]);
        for message in snapshot
            .iter()
            .filter(|message| message.change != Change::Remove)
        {
            reader.take(message);
        }
        reader.assert_whole(&format!("snapshot at {position}"));
        for _ in 0..20 {
            let next = (position + random.usize(1..200)).min(book.len());
            for message in conflated(&book[position..next]) {
                reader.take(message);
            }
            reader.assert_whole(&format!("conflated from {position} to {next}"));
            position = next;
            if position == book.len() {
                break;
            }
        }
    }
}

#[test]
fn the_book_is_never_crossed_and_always_deep() {
    let mut market = Market::new(3, 5).unwrap();
    let mut out = Vec::new();
    market.open(&mut out);
    for number in 0..50_000 {
        out.clear();
        market.happen(&mut out);
        let (bid, _) = market.book.best(Side::Bid).unwrap();
        let (ask, _) = market.book.best(Side::Ask).unwrap();
        assert!(bid < ask, "step {number}: {bid} {ask}");
        for side in [Side::Bid, Side::Ask] {
            let depth = market.book.depth(side);
            assert!(
                (DEPTH_MIN..=DEPTH_MAX + 1).contains(&depth),
                "step {number}: {depth}"
            );
        }
        // A step that says nothing would make the pace stop.
        assert!(out.len() < 40, "{}", out.len());
    }
}

#[test]
fn the_same_seed_gives_the_same_messages() {
    let text = |all: Vec<PublishRequest>| format!("{all:?}");
    assert_eq!(text(messages(4, 9, 2_000)), text(messages(4, 9, 2_000)));
    assert_ne!(text(messages(4, 9, 2_000)), text(messages(4, 10, 2_000)));
    assert_ne!(
        on(&messages(20, 9, 2_000), "quote.")[5].payload,
        on(&messages(21, 9, 2_000), "quote.")[5].payload
    );
}

#[test]
fn a_trade_is_at_the_price_that_was_quoted_before_it() {
    let all = messages(0, 3, 20_000);
    let mut quote = serde_json::Value::Null;
    let mut trades = 0;
    for message in on(&all, "quote.") {
        let data: serde_json::Value = serde_json::from_slice(&message.payload).unwrap();
        if message.change == Change::Update {
            quote = data;
            continue;
        }
        trades += 1;
        assert_eq!(message.change, Change::Event);
        assert_eq!(data["id"], trades);
        let side = if data["side"] == "buy" { "ask" } else { "bid" };
        assert_eq!(data["price"], quote[side], "trade {trades}");
    }
    assert!(trades > 500, "{trades}");
    assert_eq!(on(&all, "trades.").len(), trades);
}
