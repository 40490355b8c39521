//! The account of one subscriber: what it is owed, what it got, and in which order.
//!
//! A subscriber has a lane for each of its topics and, in each lane, the next sequence of every
//! stream of the topic: order is total, so that is all there is to remember. Pure over payloads.

use crate::fanout::cursor::{Announced, Cursor, Fault, Placed};
use crate::fanout::feed::Account;
use crate::fanout::holes::{Hole, Holes};
use crate::fanout::layout::{Class, Layout};
use crate::fanout::stamp::{Codec, Read, Stamp};
use crate::measure::sums::add_fields;

/// What copies turned out to be, of all subscribers of a class.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// First copies of messages, whole and unchanged.
    pub delivered: u64,
    /// Those that arrived in the measured window.
    pub delivered_measured: u64,
    /// Copies that had arrived before.
    pub duplicates: u64,
    /// Copies that arrived after a younger message. Part of `delivered`.
    pub reordered: u64,
    /// Copies of topics that were not subscribed to, or under another topic's name.
    pub foreign: u64,
    /// Copies that were cut, mixed or changed.
    pub torn: u64,
    /// Messages that this run did not publish.
    pub strangers: u64,
    /// Copies that a snapshot brought again.
    pub repeated: u64,
    /// Breaches of the numbering (fanwire dialects).
    pub faults: u64,
    /// What the server said it left out (fanwire dialects).
    pub announced: Announced,
    /// Payload bytes of all copies.
    pub payload_bytes: u64,
}

impl Counts {
    /// Adds the counts of others.
    pub fn add(&mut self, other: &Counts) {
        add_fields!(self, other, Counts {
            delivered, delivered_measured, duplicates, reordered, foreign, torn, strangers,
            repeated, faults, payload_bytes,
        } apart { announced });
        self.announced.add(&other.announced);
    }
}

/// One subscription.
#[derive(Clone, Debug)]
pub struct Lane {
    /// The topic.
    pub topic: u32,
    /// Its first stream's place in `nexts`.
    first: u32,
    /// The subscription is known to be in force.
    pub is_ready: bool,
    /// The server's number of the topic (binary dialect).
    pub alias: u32,
    /// The how many-th epoch of the topic it is in; 0 before the first.
    pub epoch: u32,
    /// Place in the server's numbers.
    pub cursor: Cursor,
}

/// What became of a copy.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Taken {
    /// A first copy, to be timed.
    Delivered(Stamp),
    /// A probe; true when it is the first one of its lane.
    Probe(bool),
    /// Counted, not timed.
    Other,
}

/// The account of one subscriber.
#[derive(Clone, Debug)]
pub struct Books {
    /// How it reads.
    pub class: Class,
    /// Of all subscribers in the order in which they connected, the tenth it belongs to: 0 to 9.
    pub tenth: u8,
    /// What it got of a feed that the server paces.
    pub feed: Option<Box<Account>>,
    lanes: Box<[Lane]>,
    nexts: Box<[u64]>,
    holes: Holes,
}

impl Books {
    /// The account of subscriber `number`.
    pub fn new(layout: &Layout, number: u32) -> Books {
        let mut first = 0;
        let lanes = layout
            .topics_of(number)
            .into_iter()
            .map(|topic| {
                let lane = Lane {
                    topic,
                    first,
                    is_ready: false,
                    alias: 0,
                    epoch: 0,
                    cursor: Cursor::default(),
                };
                first += layout.stream_count(topic);
                lane
            })
            .collect();
        Books {
            class: layout.class_of(number),
            tenth: 0,
            feed: None,
            lanes,
            nexts: vec![0; first as usize].into(),
            holes: Holes::default(),
        }
    }

    /// All subscriptions, by topic.
    pub fn lanes(&self) -> &[Lane] {
        &self.lanes
    }

    /// All subscriptions, to change them.
    pub fn lanes_mut(&mut self) -> &mut [Lane] {
        &mut self.lanes
    }

    /// The lane of a topic.
    pub fn lane_of(&self, topic: u32) -> Option<usize> {
        self.lanes
            .binary_search_by_key(&topic, |lane| lane.topic)
            .ok()
    }

    /// Calls `visit` with every stream and the next sequence expected of it.
    pub fn each_stream(&self, layout: &Layout, mut visit: impl FnMut(u32, u64)) {
        for lane in &self.lanes {
            for (place, stream) in layout.streams_of(lane.topic).enumerate() {
                let next = self.nexts.get(lane.first as usize + place);
                visit(stream, next.copied().unwrap_or(0));
            }
        }
    }

    /// Whether anything of the load has come.
    pub fn has_received(&self) -> bool {
        let of_feed = self.feed.as_ref().map_or(0, |account| account.received);
        of_feed > 0 || self.nexts.iter().any(|next| *next > 0)
    }

    /// Takes a copy that comes without a number of the server.
    pub fn take_bare(
        &mut self,
        layout: &Layout,
        codec: &Codec,
        payload: &[u8],
        counts: &mut Counts,
    ) -> Taken {
        let read = codec.read(payload);
        self.take_read(layout, read, payload.len(), counts)
    }

    /// Takes a copy of `size` bytes that was read already.
    pub fn take_read(
        &mut self,
        layout: &Layout,
        read: Read,
        size: usize,
        counts: &mut Counts,
    ) -> Taken {
        counts.payload_bytes += size as u64;
        let Some(stamp) = believed(layout, read, counts) else {
            return Taken::Other;
        };
        let Some(index) = self.lane_of(layout.topic_of(stamp.stream)) else {
            counts.foreign += 1;
            return Taken::Other;
        };
        if stamp.is_probe {
            return Taken::Probe(!std::mem::replace(&mut self.lanes[index].is_ready, true));
        }
        self.put_in_order(layout, index, stamp, true, counts)
    }

    /// Takes a copy that the server numbered and said to be of lane `index`. A hole in the numbers is
    /// a fault although the copy behind it is right and counts.
    pub fn take_numbered(
        &mut self,
        layout: &Layout,
        codec: &Codec,
        index: usize,
        number: u64,
        payload: &[u8],
        counts: &mut Counts,
    ) -> (Taken, Option<Fault>) {
        counts.payload_bytes += payload.len() as u64;
        let Some(lane) = self.lanes.get_mut(index) else {
            counts.foreign += 1;
            return (Taken::Other, None);
        };
        let topic = lane.topic;
        let (placed, fault) = lane.cursor.message(number, &mut counts.announced);
        counts.faults += u64::from(fault.is_some());
        let taken = match placed {
            // State from before the subscription: ours or, on a topic with a past, anybody's.
            Placed::Repeated => {
                counts.repeated += 1;
                Taken::Other
            }
            Placed::New | Placed::Refused => match believed(layout, codec.read(payload), counts) {
                None => Taken::Other,
                Some(stamp) if layout.topic_of(stamp.stream) != topic => {
                    counts.foreign += 1;
                    Taken::Other
                }
                Some(stamp) if placed == Placed::New => {
                    self.put_in_order(layout, index, stamp, false, counts)
                }
                Some(_) => {
                    counts.duplicates += 1;
                    Taken::Other
                }
            },
        };
        (taken, fault)
    }

    fn put_in_order(
        &mut self,
        layout: &Layout,
        index: usize,
        stamp: Stamp,
        keeps_holes: bool,
        counts: &mut Counts,
    ) -> Taken {
        let place = self.lanes[index].first + layout.place_in_topic(stamp.stream);
        let Some(next) = self.nexts.get_mut(place as usize) else {
            counts.foreign += 1;
            return Taken::Other;
        };
        let sequence = stamp.sequence;
        if sequence >= *next {
            let hole = Hole {
                of: place.into(),
                from: *next,
                to: sequence,
            };
            // Sequences have 40 bits.
            *next = sequence + 1;
            if keeps_holes {
                self.holes.remember(hole);
            }
        } else if self.holes.fill(place.into(), sequence).is_some() {
            counts.reordered += 1;
        } else {
            counts.duplicates += 1;
            return Taken::Other;
        }
        counts.delivered += 1;
        Taken::Delivered(stamp)
    }
}

/// The stamp of a payload that can be believed.
fn believed(layout: &Layout, read: Read, counts: &mut Counts) -> Option<Stamp> {
    match read {
        Read::Whole(stamp) if stamp.stream < layout.streams() => Some(stamp),
        Read::Whole(_) | Read::Stranger => {
            counts.strangers += 1;
            None
        }
        Read::Torn => {
            counts.torn += 1;
            None
        }
    }
}
