//! What a shard of the hub counts.
//!
//! It owns the names and what they mean. It must not know who reads them.

macro_rules! counters {
    ($($(#[doc = $text:literal])+ $kind:ident $name:ident,)+) => {
        /// Counters of one shard of the hub, or the sum over several. All since start, except the
        /// gauges.
        #[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
        pub struct HubCounters {
            $($(#[doc = $text])+ pub $name: u64,)+
        }

        impl HubCounters {
            /// Adds another shard's counters to these.
            pub fn add(&mut self, other: &HubCounters) {
                $(self.$name += other.$name;)+
            }

            /// Every counter: its name, what it means, whether it is a gauge, its value.
            pub fn entries(&self) -> Vec<(&'static str, &'static str, bool, u64)> {
                vec![$((
                    stringify!($name),
                    concat!($($text),+).trim_ascii(),
                    counters!(@is_gauge $kind),
                    self.$name,
                ),)+]
            }
        }
    };
    (@is_gauge gauge) => { true };
    (@is_gauge count) => { false };
}

counters! {
    /// Topics that this shard gives the numbers to.
    gauge topics,
    /// Topics of other shards that this one follows because it has subscribers.
    gauge topics_followed,
    /// Subscriptions to topics, those by pattern counted per topic.
    gauge subscriptions,
    /// Subscriptions that have not been sent everything yet.
    gauge subscriptions_behind,
    /// Memory of the logs that this shard is the home of, in bytes.
    gauge log_bytes,
    /// Messages accepted.
    count published,
    /// Payload bytes of the messages accepted.
    count published_bytes,
    /// Messages refused because a queue or the memory for logs was full.
    count refused_busy,
    /// Messages refused for any other reason.
    count refused,
    /// Messages passed on to other shards.
    count passed_on,
    /// Messages given to subscribers that were up to date.
    count delivered,
    /// Messages given to subscribers that were catching up, snapshots included.
    count delivered_late,
    /// Messages left out for a subscriber because a newer one replaced them.
    count conflated,
    /// Messages of a topic with events that were left out because the log had moved on.
    count gap_slow,
    /// Messages left out because of a subscription's max_rate.
    count gap_rate,
    /// Snapshots begun.
    count snapshots,
    /// Subscriptions resumed whole.
    count resumed,
    /// Subscriptions that could not be resumed.
    count resume_failed,
    /// Subscribers closed because they fell behind on a topic whose policy is to close.
    count closed_behind,
    /// Commands that were answered with an error.
    count errors,
    /// Connections closed because they caused too many errors.
    count error_floods,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn entries_have_names_texts_and_values() {
        let mut counters = HubCounters {
            published: 2,
            ..HubCounters::default()
        };
        counters.add(&HubCounters {
            published: 3,
            topics: 1,
            ..HubCounters::default()
        });
        let entries = counters.entries();
        assert!(entries.contains(&("published", "Messages accepted.", false, 5)));
        let topics = entries.iter().find(|entry| entry.0 == "topics");
        assert!(topics.is_some_and(|entry| entry.2 && entry.3 == 1));
    }
}
