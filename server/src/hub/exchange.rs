//! Mail from one shard to the others.
//!
//! It owns the outgoing queues. Messages of topics are admitted only while there is room in them,
//! so that none is ever dropped; what keeps the shards in agreement always goes through, if need
//! be a turn later.

use std::collections::VecDeque;

use crate::handler::ShardId;
use crate::lanes::Lanes;

use super::mail::HubMail;

/// Places of a queue that messages of topics leave to the mail that must go through.
const RESERVED: usize = 1024;
/// How long to wait with mail that found its queue full.
const RETRY_NS: u64 = 200_000;

/// The ways from one shard to the others.
#[derive(Debug)]
pub(crate) struct Exchange {
    lanes: Lanes<HubMail>,
    /// By shard: what found the queue full. It holds answers and requests only, of which each
    /// shard has a bounded number under way.
    waiting: Vec<VecDeque<HubMail>>,
    has_waiting: bool,
}

impl Exchange {
    pub(crate) fn new(lanes: Lanes<HubMail>) -> Exchange {
        let waiting = (0..lanes.shards()).map(|_| VecDeque::new()).collect();
        Exchange {
            lanes,
            waiting,
            has_waiting: false,
        }
    }

    pub(crate) fn shards(&self) -> usize {
        self.lanes.shards()
    }

    /// Whether a message of a topic can be sent to this shard now.
    pub(crate) fn has_room(&mut self, to: ShardId) -> bool {
        let is_clear = self
            .waiting
            .get(usize::from(to))
            .is_none_or(VecDeque::is_empty);
        is_clear && self.lanes.to(to).is_some_and(|lane| lane.free() > RESERVED)
    }

    /// Sends mail that must go through.
    pub(crate) fn send(&mut self, to: ShardId, mail: HubMail) {
        let Some(waiting) = self.waiting.get_mut(usize::from(to)) else {
            return;
        };
        let Some(lane) = self.lanes.to(to) else {
            return;
        };
        let mail = match waiting.is_empty() {
            true => lane.push(mail),
            false => Err(mail),
        };
        if let Err(mail) = mail {
            waiting.push_back(mail);
            self.has_waiting = true;
        }
    }

    /// Sends mail that must go through to every other shard.
    pub(crate) fn send_to_all(&mut self, mail: impl Fn() -> HubMail) {
        for shard in 0..self.shards() as ShardId {
            if self.lanes.to(shard).is_some() {
                self.send(shard, mail());
            }
        }
    }

    /// Sends what had to wait. When to try again, if something still does.
    pub(crate) fn retry(&mut self, now_ns: u64) -> Option<u64> {
        if !self.has_waiting {
            return None;
        }
        self.has_waiting = false;
        for (shard, waiting) in self.waiting.iter_mut().enumerate() {
            let Some(lane) = self.lanes.to(shard as ShardId) else {
                continue;
            };
            while lane.free() > 0 {
                let Some(mail) = waiting.pop_front() else {
                    break;
                };
                // There is room: only this shard fills the queue.
                let _ = lane.push(mail);
            }
            self.has_waiting |= !waiting.is_empty();
        }
        self.has_waiting.then(|| now_ns.saturating_add(RETRY_NS))
    }

    /// Wakes the shards that got mail.
    pub(crate) fn ring(&mut self) {
        self.lanes.ring();
    }
}
