//! What a message from the server means, in each dialect, to a subscriber and to a publisher.
//!
//! Knows no socket: what is to be answered is appended to a list that the worker sends.

use fanwire_protocol::{Message, MessageKind};

use crate::fanout::books::{Books, Taken};
use crate::fanout::cursor::{Announced, Cursor, Fault};
use crate::fanout::desk::Desk;
use crate::fanout::dialect::json::{Resume, Said};
use crate::fanout::dialect::{binary, json, nats};
use crate::fanout::foreign;
use crate::fanout::layout::Class;
use crate::fanout::options::Dialect;
use crate::fanout::stamp::Read;

/// Topics that one `subscribe` may name.
const TOPICS_PER_SUBSCRIBE: usize = 128;

/// What a subscriber or publisher has to send, one message each.
pub type Answers = Vec<(MessageKind, Vec<u8>)>;

/// What a subscriber says first, on connection `number` of the run. In NATS it waits for the
/// server's word.
pub fn introduce(desk: &mut Desk, books: &Books, number: u32, answers: &mut Answers) {
    if desk.options.dialect == Dialect::Custom {
        foreign::introduce(desk, books, number, answers);
    }
    if !desk.options.dialect.has_sequences() {
        return;
    }
    for (part, lanes) in books.lanes().chunks(TOPICS_PER_SUBSCRIBE).enumerate() {
        let names: Vec<&str> = lanes
            .iter()
            .map(|lane| desk.layout.topic_name(lane.topic))
            .collect();
        let resume: Vec<Resume<'_>> = lanes
            .iter()
            .filter_map(|lane| {
                Some(Resume {
                    topic: desk.layout.topic_name(lane.topic),
                    epoch: desk.epoch(lane.topic, lane.epoch)?,
                    seq: lane.cursor.last()?,
                })
            })
            .collect();
        let mut out = Vec::new();
        json::write_subscribe(
            part as u64 + 1,
            &names,
            &resume,
            json::Wishes {
                max_rate: desk.options.max_rate,
                wants_snapshot: desk.options.wants_snapshot,
            },
            &mut out,
        );
        answers.push((MessageKind::Text, out));
    }
}

/// A message reached a subscriber. `session` is for NATS.
pub fn subscriber(
    desk: &mut Desk,
    books: &mut Books,
    session: &mut nats::Session,
    message: &Message<'_>,
    now_ns: u64,
    answers: &mut Answers,
) {
    if desk.options.feed.is_some() {
        foreign::fed(desk, books, message.payload, now_ns);
        return;
    }
    match (desk.options.dialect, message.kind) {
        (Dialect::Custom, _) => foreign::subscriber(desk, books, message.payload, now_ns),
        (Dialect::Raw, _) => bare(desk, books, message.payload, now_ns),
        (Dialect::FanwireJson, MessageKind::Text) => said(desk, books, message.payload, now_ns),
        (Dialect::FanwireBinary, MessageKind::Text) => said(desk, books, message.payload, now_ns),
        (Dialect::FanwireBinary, MessageKind::Binary) => match binary::parse(message.payload) {
            Some(data) => {
                let lanes = books.lanes();
                let index = lanes
                    .iter()
                    .position(|lane| lane.alias == data.alias && lane.is_ready);
                numbered(desk, books, index, data.seq, data.payload, now_ns);
            }
            None => unreadable(desk, message.payload),
        },
        (Dialect::FanwireJson, MessageKind::Binary) => unreadable(desk, message.payload),
        (Dialect::Nats, _) => {
            session.receive(message.payload, |operation| match operation {
                Ok(nats::Operation::Message { payload }) => bare(desk, books, payload, now_ns),
                Ok(nats::Operation::Info) => {
                    let mut out = nats::CONNECT.to_vec();
                    for (position, lane) in books.lanes().iter().enumerate() {
                        let name = desk.layout.topic_name(lane.topic);
                        nats::write_subscribe(name, position + 1, &mut out);
                    }
                    out.extend_from_slice(nats::PING);
                    answers.push((MessageKind::Binary, out));
                }
                Ok(nats::Operation::Ping) => {
                    answers.push((MessageKind::Binary, nats::PONG.to_vec()));
                }
                Ok(nats::Operation::Pong) => {
                    books
                        .lanes_mut()
                        .iter_mut()
                        .for_each(|lane| lane.is_ready = true);
                }
                Ok(nats::Operation::Ok) => {}
                Ok(nats::Operation::Error(text)) => complained(desk, text),
                Err(reason) => broken(desk, reason),
            });
        }
    }
}

/// A message reached the publisher of connection `place` among the publishers'. True: the server is
/// ready for it (NATS).
pub fn publisher(
    desk: &mut Desk,
    place: u32,
    session: &mut nats::Session,
    message: &Message<'_>,
    now_ns: u64,
    answers: &mut Answers,
) -> bool {
    let mut is_confirmed = false;
    match desk.options.dialect {
        // Some servers answer each message in words of their own, which nobody has to understand.
        // A copy of what was published is another matter: that costs the server a delivery.
        Dialect::Raw => {
            let is_copy = desk.codec.read(message.payload) != Read::Torn;
            desk.sheet.tally.unsolicited += u64::from(is_copy);
        }
        Dialect::Custom => foreign::publisher(desk, place, message.payload, now_ns),
        Dialect::FanwireJson | Dialect::FanwireBinary => match json::parse(message.payload) {
            Some(Said::Published { id, seq }) => desk.acknowledged(id, seq, now_ns),
            Some(Said::Error { id, code, message }) => {
                desk.fan.refused += u64::from(id.is_some());
                refused(desk, &code, &message);
            }
            Some(_) => desk.sheet.tally.unsolicited += 1,
            None => unreadable(desk, message.payload),
        },
        Dialect::Nats => {
            session.receive(message.payload, |operation| match operation {
                Ok(nats::Operation::Info) => {
                    let out = [nats::CONNECT, nats::PING].concat();
                    answers.push((MessageKind::Binary, out));
                }
                Ok(nats::Operation::Ping) => {
                    answers.push((MessageKind::Binary, nats::PONG.to_vec()));
                }
                Ok(nats::Operation::Pong) => is_confirmed = true,
                Ok(nats::Operation::Ok) => {}
                Ok(nats::Operation::Message { .. }) => desk.sheet.tally.unsolicited += 1,
                Ok(nats::Operation::Error(text)) => complained(desk, text),
                Err(reason) => broken(desk, reason),
            });
        }
    }
    is_confirmed
}

fn bare(desk: &mut Desk, books: &mut Books, payload: &[u8], now_ns: u64) {
    let counts = &mut desk.fan.classes[books.class as usize].counts;
    let taken = books.take_bare(&desk.layout, &desk.codec, payload, counts);
    settle(desk, books, taken, now_ns);
}

fn numbered(
    desk: &mut Desk,
    books: &mut Books,
    index: Option<usize>,
    number: u64,
    payload: &[u8],
    now_ns: u64,
) {
    let counts = &mut desk.fan.classes[books.class as usize].counts;
    let Some(index) = index else {
        counts.foreign += 1;
        return;
    };
    let (layout, codec) = (&desk.layout, &desk.codec);
    let (taken, fault) = books.take_numbered(layout, codec, index, number, payload, counts);
    settle(desk, books, taken, now_ns);
    if let Some(fault) = fault {
        breach(desk, fault);
    }
}

/// Times a copy, if it is a first one.
pub(super) fn settle(desk: &mut Desk, books: &Books, taken: Taken, now_ns: u64) {
    if let Taken::Delivered(stamp) = taken {
        desk.arrived(books.class, books.tenth, &stamp, now_ns);
    }
}

fn breach(desk: &mut Desk, fault: Fault) {
    desk.sheet.tally.fail(fault.as_str(), || {
        format!("the server broke its own numbering ({fault:?}); see docs/protocol.md, section 4")
    });
}

/// A text message to a subscriber of a fanwire dialect.
fn said(desk: &mut Desk, books: &mut Books, text: &[u8], now_ns: u64) {
    let layout = std::sync::Arc::clone(&desk.layout);
    let lane_named = |books: &Books, topic: &str| {
        let mut lanes = books.lanes().iter();
        lanes.position(|lane| layout.topic_name(lane.topic) == topic)
    };
    match json::parse(text) {
        Some(Said::Data {
            topic,
            seq,
            payload,
        }) => {
            let index = lane_named(books, &topic);
            numbered(desk, books, index, seq, payload, now_ns);
        }
        Some(Said::Subscribed {
            topic,
            epoch,
            seq,
            alias,
            recovered,
        }) => match lane_named(books, &topic) {
            Some(index) => {
                let lane = &mut books.lanes_mut()[index];
                lane.is_ready = true;
                lane.alias = alias;
                lane.epoch = desk.note_epoch(lane.topic, &epoch);
                subscribed(desk, books, index, seq, recovered);
            }
            None => desk.fan.class_mut(books.class).counts.foreign += 1,
        },
        Some(Said::Snapshot {
            topic,
            as_of,
            count,
        }) => on_lane(
            desk,
            books,
            lane_named(books, &topic),
            |cursor, announced| cursor.snapshot(as_of, count, announced),
        ),
        Some(Said::Conflated {
            topic,
            from,
            to,
            count,
        }) => {
            on_lane(
                desk,
                books,
                lane_named(books, &topic),
                |cursor, announced| cursor.conflated(from, to, count, announced),
            );
        }
        Some(Said::Gap { topic, from, to }) => on_lane(
            desk,
            books,
            lane_named(books, &topic),
            |cursor, announced| cursor.gap(from, to, announced),
        ),
        Some(Said::Error { code, message, .. }) => refused(desk, &code, &message),
        Some(Said::Published { .. }) => desk.sheet.tally.unsolicited += 1,
        Some(Said::Other) => {}
        None => unreadable(desk, text),
    }
}

/// A subscription is in force, for the first time or again.
fn subscribed(
    desk: &mut Desk,
    books: &mut Books,
    index: usize,
    head: u64,
    recovered: Option<bool>,
) {
    match recovered {
        Some(true) => desk.fan.comings.recovered += 1,
        Some(false) => desk.fan.comings.not_recovered += 1,
        None => {}
    }
    on_lane(desk, books, Some(index), |cursor, announced| {
        cursor.subscribed(head, recovered, announced)
    });
}

fn on_lane(
    desk: &mut Desk,
    books: &mut Books,
    index: Option<usize>,
    act: impl FnOnce(&mut Cursor, &mut Announced) -> Option<Fault>,
) {
    let class = books.class;
    match index.and_then(|index| books.lanes_mut().get_mut(index)) {
        Some(lane) => notice(desk, class, |announced| act(&mut lane.cursor, announced)),
        None => desk.fan.class_mut(class).counts.foreign += 1,
    }
}

fn notice(desk: &mut Desk, class: Class, act: impl FnOnce(&mut Announced) -> Option<Fault>) {
    let counts = &mut desk.fan.class_mut(class).counts;
    if let Some(fault) = act(&mut counts.announced) {
        counts.faults += 1;
        breach(desk, fault);
    }
}

fn refused(desk: &mut Desk, code: &str, message: &str) {
    // The names are the server's, so their number is bounded by hand.
    let kind = if desk.sheet.tally.failures.len() < FAILURE_KINDS_MAX {
        format!("error_{code}")
    } else {
        "error_other".to_owned()
    };
    desk.sheet
        .tally
        .fail(&kind, || format!("the server refused: {message}"));
}

/// Names of failures that a server may invent.
const FAILURE_KINDS_MAX: usize = 64;

fn complained(desk: &mut Desk, text: &str) {
    desk.sheet
        .tally
        .fail("nats_error", || format!("the server said: {text}"));
}

fn broken(desk: &mut Desk, reason: &str) {
    desk.sheet.tally.fail("nats_broken", || {
        format!("the stream of the server holds {reason}")
    });
}

fn unreadable(desk: &mut Desk, payload: &[u8]) {
    desk.sheet.tally.fail("unreadable_message", || {
        let shown = &payload[..payload.len().min(64)];
        format!(
            "a message that the dialect does not know, beginning {:?}",
            String::from_utf8_lossy(shown)
        )
    });
}
