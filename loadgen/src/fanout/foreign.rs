//! What the messages of a server that knows nothing of us mean: copies of what our publishers sent,
//! wherever they stand in a message; confirmations; and what a server sends by itself.
//!
//! Knows no socket. A message that nobody can interpret is counted, and the first one is kept for
//! the report: it tells more than any error.

use std::sync::Arc;

use fanwire_protocol::MessageKind;

use crate::fanout::books::Books;
use crate::fanout::desk::Desk;
use crate::fanout::dialect::custom::{Sentence, Speaker};
use crate::fanout::feed::{Account, FeedBoard, FeedSheet};
use crate::fanout::field::{StampClock, scatter};
use crate::fanout::hear::{Answers, settle};
use crate::fanout::layout::Class;
use crate::fanout::options::Feed;
use crate::fanout::sheet::keep_first;
use crate::fanout::stamp::Read;
use crate::fanout::wall::WallClock;

/// What a subscriber says once it is connected: first messages, then its subscriptions.
pub fn introduce(desk: &mut Desk, books: &Books, connection: u32, answers: &mut Answers) {
    let options = Arc::clone(&desk.options);
    let custom = &options.custom;
    let layout = Arc::clone(&desk.layout);
    let topics: Vec<&str> = books
        .lanes()
        .iter()
        .map(|lane| layout.topic_name(lane.topic))
        .collect();
    let sentences = custom.first_messages.iter().chain(&custom.subscribe);
    say(desk, sentences, &topics, connection, answers);
}

/// What a publisher says once it is connected.
pub fn introduce_publisher(desk: &mut Desk, place: u32, connection: u32, answers: &mut Answers) {
    let options = Arc::clone(&desk.options);
    let layout = Arc::clone(&desk.layout);
    let topic = layout.topic_name(layout.topic_of(place));
    let sentences = options.custom.first_messages.iter();
    say(desk, sentences, &[topic], connection, answers);
}

fn say<'s>(
    desk: &mut Desk,
    sentences: impl Iterator<Item = &'s Sentence>,
    topics: &[&str],
    connection: u32,
    answers: &mut Answers,
) {
    let options = Arc::clone(&desk.options);
    let now_ns = desk.wall.realtime_ns(fanwire_reactor::host::monotonic_ns());
    let mut speaker = Speaker {
        connection,
        now_ns,
        token: desk.tokens.of(connection),
        random: fastrand::Rng::with_seed(scatter(u64::from(connection) ^ u64::from(options.run))),
    };
    for sentence in sentences {
        sentence.each(&mut speaker, topics.iter().copied(), |message| {
            answers.push((MessageKind::Text, message));
        });
    }
}

/// A message reached a subscriber: it may hold copies, several at once.
pub fn subscriber(desk: &mut Desk, books: &mut Books, message: &[u8], now_ns: u64) {
    let mut from = 0;
    while let Some(found) = desk.codec.find(message, from) {
        from = found.end;
        // A server may tell newcomers what was said before they came.
        if found.read == Read::Stranger && desk.window.is_none() {
            desk.fan.foreign.counts.before_load += 1;
            continue;
        }
        let counts = &mut desk.fan.classes[books.class as usize].counts;
        let taken = books.take_read(&desk.layout, found.read, found.size, counts);
        settle(desk, books, taken, now_ns);
    }
    if from == 0 && !confirms(desk, books, message) {
        desk.fan.foreign.counts.unmarked += 1;
        keep_first(&mut desk.fan.foreign.example, Some(message));
    }
}

/// Whether a message confirms a subscription; if so, it is in force.
fn confirms(desk: &mut Desk, books: &mut Books, message: &[u8]) -> bool {
    let Some(pattern) = &desk.options.custom.subscribed_when else {
        return false;
    };
    let mut is_confirmation = false;
    for lane in books.lanes_mut().iter_mut().filter(|lane| !lane.is_ready) {
        if pattern.matches(message, desk.layout.topic_name(lane.topic)) {
            lane.is_ready = true;
            is_confirmation = true;
        } else if !pattern.names_topic() {
            break;
        }
    }
    desk.fan.foreign.counts.confirmations += u64::from(is_confirmation);
    is_confirmation
}

/// A message reached a publisher.
pub fn publisher(desk: &mut Desk, place: u32, message: &[u8], now_ns: u64) {
    let found = desk.codec.find(message, 0);
    let pattern = desk.options.custom.acknowledged_when.as_ref();
    if pattern.is_some_and(|pattern| pattern.matches(message, "")) {
        let pending = desk.pending.get_mut(place as usize);
        let number = pending.and_then(|pending| {
            let named = match found.map(|found| found.read) {
                // The answer shows what it answers.
                Some(Read::Whole(stamp)) => pending.iter().position(|at| *at == stamp.number),
                _ => Some(0),
            };
            pending.remove(named?)
        });
        match number {
            Some(number) => desk.answered(number, now_ns),
            None => desk.sheet.tally.unsolicited += 1,
        }
        return;
    }
    // A server may send to whoever is connected: that costs it deliveries, and is not wrong.
    let foreign = &mut desk.fan.foreign;
    if found.is_some() {
        foreign.counts.publisher_copies += 1;
    } else {
        foreign.counts.publisher_messages += 1;
        keep_first(&mut foreign.publisher_example, Some(message));
    }
}

/// What a message of a feed says of itself.
struct Told {
    /// When it was sent, by the server's clock.
    stamped_ns: Option<u64>,
    /// How long ago that was; below zero when the clocks differ.
    latency_ns: Option<i64>,
    key: u64,
    number: Option<u64>,
}

impl Told {
    fn read(feed: &Feed, wall: &mut WallClock, message: &[u8], now_ns: u64) -> Told {
        let stamped_ns = feed.stamp.as_ref().and_then(|field| field.read_ns(message));
        let latency_ns = stamped_ns.map(|stamped_ns| {
            let here_ns = match feed.clock {
                StampClock::Realtime => wall.realtime_ns(now_ns),
                StampClock::Monotonic => now_ns,
            };
            let latency_ns = i128::from(here_ns) - i128::from(stamped_ns);
            latency_ns.clamp(i64::MIN.into(), i64::MAX.into()) as i64
        });
        let key = feed.key.as_ref().and_then(|field| field.read_hash(message));
        let number = feed.sequence.as_ref();
        Told {
            stamped_ns,
            latency_ns,
            key: key.unwrap_or(0),
            number: number.and_then(|field| field.read_whole(message)),
        }
    }

    /// Notes the arrival of a message that can be told from others.
    fn post(&self, board: &mut FeedBoard, now_ns: u64) {
        let Some(identity) = self.number.or(self.stamped_ns) else {
            return;
        };
        let stamped_ns = self
            .latency_ns
            .map(|latency_ns| now_ns.saturating_add_signed(latency_ns.saturating_neg()));
        board.record(scatter(identity) ^ self.key, now_ns, stamped_ns);
    }
}

/// A message of a feed reached a subscriber.
pub fn fed(desk: &mut Desk, books: &mut Books, message: &[u8], now_ns: u64) {
    if confirms(desk, books, message) {
        return;
    }
    if desk.window.is_none() {
        // Greetings, snapshots, and the feed at some subscribers while others are still connecting.
        desk.fan.foreign.counts.before_load += 1;
        keep_first(&mut desk.fan.foreign.example, Some(message));
        return;
    }
    let Desk {
        options,
        fan,
        sheet,
        wall,
        window,
        ..
    } = desk;
    let Some(feed) = &options.feed else { return };
    let window = *window;
    let told = Told::read(feed, wall, message, now_ns);
    let is_measured = window.is_some_and(|window| window.measures(now_ns));
    let is_healthy = books.class == Class::Healthy;
    let account = books.feed.get_or_insert_with(Box::default);
    if is_measured && is_healthy && account.last_ns > 0 {
        let interval_ns = now_ns.saturating_sub(account.last_ns);
        fan.feed.interval.record(interval_ns);
    }
    account.received += 1;
    account.received_measured += u64::from(is_measured);
    account.last_ns = now_ns;
    let class = &mut fan.classes[books.class as usize];
    class.counts.delivered += 1;
    class.counts.delivered_measured += u64::from(is_measured);
    class.counts.payload_bytes += message.len() as u64;
    fan.feed.received += 1;
    match told.latency_ns {
        Some(latency_ns) => fan.feed.count_latency(latency_ns),
        None => {
            fan.feed.unstamped += 1;
            keep_first(&mut fan.foreign.example, Some(message));
        }
    }
    if let (Some(window), Some(latency_ns), true) = (window, told.latency_ns, is_measured) {
        let response_ns = u64::try_from(latency_ns).unwrap_or(0);
        if is_healthy {
            let half = usize::from(window.is_second_half(now_ns));
            sheet.record_response(half, response_ns);
            if let Some(tenth) = fan.tenths.get_mut(usize::from(books.tenth)) {
                tenth.record(response_ns);
            }
        } else {
            class.response.record(response_ns);
        }
    } else if let (Some(window), true) = (window, is_healthy)
        && window.is_warmup(now_ns)
    {
        // A feed without time stamps has no latency, and is steady when its rate is.
        let latency_ns = told.latency_ns.unwrap_or(0);
        sheet.warmup.record(u64::try_from(latency_ns).unwrap_or(0));
    }
    if follow(&mut fan.feed, feed, account, &told, is_healthy) && is_healthy {
        told.post(&mut fan.feed.board, now_ns);
    }
}

/// Puts a message among those of its key. True unless it is a repeated one.
fn follow(
    sheet: &mut FeedSheet,
    feed: &Feed,
    account: &mut Account,
    told: &Told,
    is_healthy: bool,
) -> bool {
    if feed.sequence.is_none() {
        return true;
    }
    let counts = if is_healthy {
        &mut sheet.sequences
    } else {
        &mut sheet.lagging_sequences
    };
    match told.number {
        Some(number) => account.tracks.take(told.key, number, counts),
        None => {
            counts.unnumbered += 1;
            // It cannot be told from others.
            false
        }
    }
}
