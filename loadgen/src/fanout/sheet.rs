//! What a thread of a fan-out run brings home, and how the sheets of several threads add up.

use serde::{Deserialize, Serialize};

use crate::fanout::board::Board;
use crate::fanout::books::{Books, Counts};
use crate::fanout::feed::FeedSheet;
use crate::fanout::layout::{CLASSES, Class, Layout};
use crate::measure::latency::Latency;
use crate::measure::sums::add_fields;

/// Sums over the subscriptions of some subscribers, from which follows what they are still owed
/// once it is known how much was published.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Standing {
    /// By stream: subscriptions.
    pub lanes: Vec<u64>,
    /// By stream: sum of the next sequences.
    pub nexts: Vec<u64>,
    /// By topic: sum of the newest numbers of the server that were accounted for.
    pub lasts: Vec<u64>,
    /// By topic: subscriptions.
    pub topic_lanes: Vec<u64>,
}

impl Standing {
    /// Adds one subscriber.
    pub fn count(&mut self, layout: &Layout, books: &Books) {
        let (streams, topics) = (layout.streams() as usize, layout.topics() as usize);
        self.lanes.resize(streams, 0);
        self.nexts.resize(streams, 0);
        self.lasts.resize(topics, 0);
        self.topic_lanes.resize(topics, 0);
        books.each_stream(layout, |stream, next| {
            self.lanes[stream as usize] += 1;
            self.nexts[stream as usize] += next;
        });
        for lane in books.lanes() {
            self.topic_lanes[lane.topic as usize] += 1;
            let lasts = &mut self.lasts[lane.topic as usize];
            // A server may say any number; ours stay far below.
            *lasts = lasts.saturating_add(lane.cursor.last().unwrap_or(0));
        }
    }

    /// Adds the sums of others.
    pub fn add(&mut self, other: &Standing) {
        add_each(&mut self.lanes, &other.lanes);
        add_each(&mut self.nexts, &other.nexts);
        add_each(&mut self.lasts, &other.lasts);
        add_each(&mut self.topic_lanes, &other.topic_lanes);
    }

    /// Copies that these subscribers are entitled to.
    pub fn eligible(&self, published: &[u64]) -> u64 {
        product(&self.lanes, published)
    }

    /// Copies that they have not reached yet, by the streams' own sequences.
    pub fn behind(&self, published: &[u64]) -> u64 {
        let reached: u64 = self.nexts.iter().sum();
        self.eligible(published).saturating_sub(reached)
    }

    /// The same by the server's numbers, `heads` being the newest of every topic.
    pub fn behind_heads(&self, heads: &[u64]) -> u64 {
        let mut behind = 0;
        for (topic, lanes) in self.topic_lanes.iter().enumerate() {
            let head = heads.get(topic).copied().unwrap_or(0);
            let owed = lanes.saturating_mul(head);
            behind += owed.saturating_sub(self.lasts[topic]);
        }
        behind
    }
}

fn add_each(mine: &mut Vec<u64>, theirs: &[u64]) {
    if mine.len() < theirs.len() {
        mine.resize(theirs.len(), 0);
    }
    for (mine, theirs) in mine.iter_mut().zip(theirs) {
        *mine = mine.saturating_add(*theirs);
    }
}

fn product(left: &[u64], right: &[u64]) -> u64 {
    left.iter()
        .zip(right)
        .map(|(left, right)| left * right)
        .sum()
}

/// The subscribers of one class.
#[derive(Clone, Debug, Default)]
pub struct ClassSheet {
    /// How many there are.
    pub subscribers: u64,
    /// Those whose connection had ended before the run did.
    pub ended: u64,
    /// What they got.
    pub counts: Counts,
    /// From when a message was due to each copy. Of healthy ones `tally::Sheet` has it.
    pub response: Latency,
    /// Where the ones stand that were connected to the end.
    pub open: Standing,
    /// Where the others stand.
    pub closed: Standing,
}

/// Subscribers that left and came back. Its fields are names of the report.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Comings {
    /// Left.
    pub left: u64,
    /// Connected again.
    pub returned: u64,
    /// Subscriptions that the server said it brought whole.
    pub recovered: u64,
    /// Subscriptions that it said it could not.
    pub not_recovered: u64,
}

impl Comings {
    /// Adds the counts of others.
    pub fn add(&mut self, other: &Comings) {
        add_fields!(self, other, Comings { left, returned, recovered, not_recovered } apart {});
    }
}

/// Parts of the subscribers, in the order in which they connected, whose latency is told apart.
pub const TENTHS: usize = 10;
/// Of a message that nobody can interpret, so many bytes are shown.
pub const EXAMPLE_SIZE: usize = 100;

/// Messages of a server beside those that were to be measured. Its fields are names of the report.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct ForeignCounts {
    /// Messages to subscribers without a payload of ours.
    pub unmarked: u64,
    /// Messages to subscribers that confirmed a subscription.
    pub confirmations: u64,
    /// Messages to subscribers before the load that are not counted: those of earlier runs, and
    /// everything that a feed sends until then.
    pub before_load: u64,
    /// Copies that publishers got: the server sends to whoever is connected.
    pub publisher_copies: u64,
    /// Other messages that publishers got.
    pub publisher_messages: u64,
}

impl ForeignCounts {
    /// Adds the counts of others.
    pub fn add(&mut self, other: &ForeignCounts) {
        add_fields!(self, other, ForeignCounts {
            unmarked, confirmations, before_load, publisher_copies, publisher_messages,
        } apart {});
    }
}

/// What a server said beside the messages that were to be measured.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ForeignSheet {
    /// How many messages of each sort.
    pub counts: ForeignCounts,
    /// The beginning of the first message to a subscriber that could not be interpreted.
    pub example: Option<Box<[u8]>>,
    /// The same of a publisher.
    pub publisher_example: Option<Box<[u8]>>,
}

impl ForeignSheet {
    /// Adds the sheet of another thread.
    pub fn add(&mut self, other: &ForeignSheet) {
        self.counts.add(&other.counts);
        keep_first(&mut self.example, other.example.as_deref());
        keep_first(
            &mut self.publisher_example,
            other.publisher_example.as_deref(),
        );
    }
}

/// Keeps the beginning of the first message that is offered.
pub fn keep_first(example: &mut Option<Box<[u8]>>, message: Option<&[u8]>) {
    if example.is_none() {
        *example = message.map(|message| message[..message.len().min(EXAMPLE_SIZE)].into());
    }
}

/// Everything one thread brings home beside `tally::Sheet`.
#[derive(Clone, Debug, Default)]
pub struct FanoutSheet {
    /// By class, in the order of [`CLASSES`].
    pub classes: [ClassSheet; CLASSES.len()],
    /// By stream: messages that were published, those refused by the server left out.
    pub published: Vec<u64>,
    /// By topic: the newest number that the server gave to a message.
    pub heads: Vec<u64>,
    /// Messages handed to sockets.
    pub sent: u64,
    /// Those inside the measured window.
    pub sent_measured: u64,
    /// Messages that the server acknowledged.
    pub acknowledged: u64,
    /// Messages that the server refused, with a word.
    pub refused: u64,
    /// From when a message was due to its acknowledgement.
    pub acknowledgement: Latency,
    /// First, last and copies of each message.
    pub board: Board,
    /// Leaving and coming back.
    pub comings: Comings,
    /// Subscriptions that were never confirmed.
    pub unconfirmed: u64,
    /// Bytes that subscribers received, frames and control messages included.
    pub wire_bytes: u64,
    /// From when a message was due to each copy at a healthy subscriber, by its tenth. Of a run with
    /// very many messages every n-th one is taken.
    pub tenths: [Latency; TENTHS],
    /// What servers said beside it.
    pub foreign: ForeignSheet,
    /// What came of a feed that the server paces.
    pub feed: FeedSheet,
}

impl FanoutSheet {
    /// The part of a class.
    pub fn class_mut(&mut self, class: Class) -> &mut ClassSheet {
        &mut self.classes[class as usize]
    }

    /// Adds the sheet of another thread.
    pub fn add(&mut self, other: &FanoutSheet) {
        add_fields!(self, other, FanoutSheet {
            sent, sent_measured, acknowledged, refused, unconfirmed, wire_bytes,
        } apart {
            classes, published, heads, acknowledgement, board, comings, tenths, foreign, feed,
        });
        for (mine, theirs) in self.classes.iter_mut().zip(&other.classes) {
            mine.subscribers += theirs.subscribers;
            mine.ended += theirs.ended;
            mine.counts.add(&theirs.counts);
            mine.response.add(&theirs.response);
            mine.open.add(&theirs.open);
            mine.closed.add(&theirs.closed);
        }
        add_each(&mut self.published, &other.published);
        if self.heads.len() < other.heads.len() {
            self.heads.resize(other.heads.len(), 0);
        }
        for (mine, theirs) in self.heads.iter_mut().zip(&other.heads) {
            *mine = (*mine).max(*theirs);
        }
        self.acknowledgement.add(&other.acknowledgement);
        self.board.add(&other.board);
        self.comings.add(&other.comings);
        for (mine, theirs) in self.tenths.iter_mut().zip(&other.tenths) {
            mine.add(theirs);
        }
        self.foreign.add(&other.foreign);
        self.feed.add(&other.feed);
    }
}
