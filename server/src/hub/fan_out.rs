//! One message to very many: what the live subscribers of a topic are sent.
//!
//! It owns the hot loop of the hub. Per subscriber it looks up the connection, notes the shared
//! bytes for it, and nothing else: no copy, no reference count, no cursor.

use bytes::{Bytes, BytesMut};
use fanwire_reactor::Delivery;

use super::node::{Hub, HubTurn};
use super::publication::{Compressor, Variant};
use super::session::TopicIndex;
use super::topics::Topic;
use crate::context::ConnectionId;

/// The messages of a fan-out as one byte string for each variant, made when it is first needed.
struct Runs {
    runs: [Option<Bytes>; Variant::COUNT],
}

impl Runs {
    fn get(&mut self, topic: &Topic, variant: Variant, compressor: &mut Compressor) -> &Bytes {
        let run = &mut self.runs[variant.index() % Variant::COUNT];
        run.get_or_insert_with(|| match topic.fresh.as_slice() {
            [only] => only.frame(variant, compressor).clone(),
            many => {
                let mut bytes = BytesMut::new();
                for publication in many {
                    bytes.extend_from_slice(publication.frame(variant, compressor));
                }
                bytes.freeze()
            }
        })
    }
}

impl Hub {
    pub(crate) fn fan_out_all(&mut self, turn: &mut HubTurn<'_>) {
        let mut fresh = std::mem::take(&mut self.fresh);
        for index in fresh.drain(..) {
            if let Some(topic) = self.topics.get_mut(index) {
                topic.is_fresh = false;
            }
            self.fan_out(turn, index);
        }
        // Sending makes nothing fresh.
        self.fresh = fresh;
    }

    /// Sends the live subscribers of a topic everything that they have not been sent.
    pub(crate) fn fan_out(&mut self, turn: &mut HubTurn<'_>, index: TopicIndex) {
        let Some(topic) = self.topics.get_mut(index) else {
            return;
        };
        let before = topic.fanned;
        topic.fanned = topic.log.head();
        let mut blocked = std::mem::take(&mut self.found_blocked);
        if !topic.fresh.is_empty() {
            let sent = send_to_live(topic, turn, &mut self.compressor, &mut blocked);
            self.counters.delivered += sent * topic.fresh.len() as u64;
            topic.fresh.clear();
        }
        let paced = std::mem::take(&mut topic.paced_idle);
        // From the last one on, so that moving one leaves the positions before it alone.
        blocked.sort_unstable_by_key(|position| std::cmp::Reverse(*position));
        for position in blocked.drain(..) {
            self.falls_behind(turn, index, position, before);
        }
        self.found_blocked = blocked;
        for id in paced {
            self.catch_up_soon(turn, id);
        }
    }

    fn falls_behind(
        &mut self,
        turn: &mut HubTurn<'_>,
        index: TopicIndex,
        position: u32,
        cursor: u64,
    ) {
        let Some(topic) = self.topics.get_mut(index) else {
            return;
        };
        let Some(id) = topic.subscriber(position).map(|subscriber| subscriber.id) else {
            return;
        };
        let moved = topic.fall_behind(position, cursor);
        self.have_moved(turn, index, moved);
        self.count_behind(turn, id);
    }

    /// A subscription of this connection is no longer live.
    pub(crate) fn count_behind(&mut self, turn: &mut HubTurn<'_>, id: ConnectionId) {
        self.counters.subscriptions_behind += 1;
        if let Some(session) = turn.state_of(id) {
            session.body().behind += 1;
        }
    }
}

/// The hot loop. Gives how many were sent to; those whose sockets have not taken what they were
/// sent before are listed in `blocked`.
fn send_to_live(
    topic: &Topic,
    turn: &mut HubTurn<'_>,
    compressor: &mut Compressor,
    blocked: &mut Vec<u32>,
) -> u64 {
    let messages = topic.fresh.len() as u64;
    let mut runs = Runs {
        runs: Default::default(),
    };
    let live = topic.subscribers.get(..topic.live).unwrap_or_default();
    // A stride without pattern, so that nobody is always among the last.
    let first = match live.len() as u64 {
        0 => 0,
        count => (topic.fanned.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 11) % count,
    } as usize;
    let (later, sooner) = live.split_at(first);
    let later = later.iter().enumerate();
    let sooner = sooner
        .iter()
        .enumerate()
        .map(|(position, subscriber)| (position + first, subscriber));
    let mut sent = 0;
    for (position, subscriber) in sooner.chain(later) {
        let run = runs.get(topic, subscriber.variant, compressor);
        if run.is_empty() {
            continue;
        }
        match turn.send_frames(subscriber.id, run, messages) {
            Delivery::Sent => sent += 1,
            Delivery::Blocked => blocked.push(position as u32),
            // It is closing, and leaves its topics when it has closed.
            Delivery::Gone => {}
        }
    }
    sent
}
