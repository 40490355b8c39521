//! What outside threads can learn of a shard of the hub.
//!
//! It owns the answers. It changes nothing.

use std::collections::HashMap;

use crate::context::ConnectionId;

use super::node::{Hub, HubTurn};
use super::port::{Question, SlowInfo, TopicInfo};

/// What is known of a connection that is behind.
#[derive(Clone, Copy, Debug, Default)]
struct Lag {
    topics: u32,
    messages: u64,
    oldest_ns: Option<u64>,
}

impl Lag {
    fn note(&mut self, since_ns: u64) {
        self.oldest_ns = Some(
            self.oldest_ns
                .map_or(since_ns, |oldest| oldest.min(since_ns)),
        );
    }
}

impl Hub {
    pub(crate) fn answer(&mut self, turn: &mut HubTurn<'_>, question: Question) {
        match question {
            Question::Topics {
                prefix,
                limit,
                reply,
            } => reply(self.topics_with(&prefix, limit)),
            Question::Slowest { limit, reply } => reply(self.slowest(turn, limit)),
            Question::Counters(reply) => reply(self.counters),
        }
    }

    fn topics_with(&self, prefix: &str, limit: usize) -> Vec<TopicInfo> {
        let ours = self.topics.iter().filter(|(_, topic)| {
            topic.home == self.shard && topic.name.as_str().starts_with(prefix)
        });
        let info = |topic: &super::topics::Topic| TopicInfo {
            topic: topic.name.to_string(),
            kind: topic.log.kind(),
            epoch: topic.epoch,
            head: topic.log.head(),
            log_messages: topic.log.messages(),
            log_bytes: topic.log.bytes(),
            keys: topic.log.keys(),
            subscribers: topic.subscribers.len() as u64,
            following_shards: topic.followers.len(),
            home: self.shard,
        };
        ours.take(limit).map(|(_, topic)| info(topic)).collect()
    }

    /// The connections that are furthest behind, by the age of the oldest thing that they have
    /// not been sent.
    fn slowest(&self, turn: &mut HubTurn<'_>, limit: usize) -> Vec<SlowInfo> {
        let now_ns = turn.now_ns();
        let mut lags: HashMap<ConnectionId, Lag> = HashMap::new();
        for (id, since_ns) in &self.blocked {
            lags.entry(*id).or_default().note(*since_ns);
        }
        for (_, topic) in self.topics.iter() {
            for subscriber in topic.subscribers.get(topic.live..).unwrap_or_default() {
                let Some(oldest) = topic.log.after(subscriber.cursor).next() else {
                    continue;
                };
                let lag = lags.entry(subscriber.id).or_default();
                lag.topics += 1;
                lag.messages += topic.log.head() - subscriber.cursor;
                lag.note(oldest.accepted_ns);
            }
        }
        let mut slowest: Vec<SlowInfo> = lags
            .into_iter()
            .filter_map(|(id, lag)| {
                let unsent_bytes = turn.unsent_bytes(id);
                let since_ns = lag.oldest_ns?;
                Some(SlowInfo {
                    peer: turn.connection(id)?.peer_address(),
                    shard: self.shard,
                    topics_behind: lag.topics,
                    messages_behind: lag.messages,
                    staleness_ms: now_ns.saturating_sub(since_ns) / 1_000_000,
                    unsent_bytes,
                })
            })
            .collect();
        slowest.sort_unstable_by_key(|one| std::cmp::Reverse(one.staleness_ms));
        slowest.truncate(limit);
        slowest
    }
}
