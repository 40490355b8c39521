//! The parts of a report: figures with the names that the JSON gives them.
//!
//! Field names here are a public interface: adding is fine, renaming is not. How the figures come
//! about is `model`'s; the one exception is reading percentiles off a histogram.

use std::borrow::Cow;
use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::measure::latency::Latency;

/// A word of a fixed list when written, any word when read back.
pub type Word = Cow<'static, str>;

/// Percentiles of one latency, in nanoseconds.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Percentiles {
    /// Values counted.
    pub count: u64,
    /// Arithmetic mean.
    pub mean: f64,
    /// Median.
    pub p50: u64,
    /// 90 % are not above.
    pub p90: u64,
    /// 99 %.
    pub p99: u64,
    /// 99.9 %.
    pub p999: u64,
    /// 99.99 %.
    pub p9999: u64,
    /// Largest.
    pub max: u64,
    /// Percentiles with fewer than ten values above them: chance decides them.
    pub unreliable: Vec<Word>,
}

/// A percentile needs this many values above it to mean something.
const ABOVE_MIN: f64 = 10.0;

impl Percentiles {
    /// Reads a histogram.
    pub fn of(latency: &Latency) -> Percentiles {
        let count = latency.count();
        let unreliable = [
            ("p50", 0.5),
            ("p90", 0.9),
            ("p99", 0.99),
            ("p999", 0.999),
            ("p9999", 0.9999),
        ]
        .into_iter()
        .filter(|(_, quantile)| (count as f64) * (1.0 - quantile) < ABOVE_MIN - 1e-6)
        .map(|(name, _)| Word::from(name))
        .collect();
        Percentiles {
            count,
            mean: latency.mean(),
            p50: latency.quantile(0.5),
            p90: latency.quantile(0.9),
            p99: latency.quantile(0.99),
            p999: latency.quantile(0.999),
            p9999: latency.quantile(0.9999),
            max: latency.max(),
            unreliable,
        }
    }
}

/// Latencies by what they measure.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Latencies {
    /// From when a message (storm: a connection) was due to its reply (fan-out: to each copy at a
    /// healthy subscriber).
    pub response: Percentiles,
    /// From when it was actually sent (storm: begun) to its reply. Same in a closed loop.
    pub service: Percentiles,
    /// TCP connect.
    pub connect: Percentiles,
    /// TLS handshake, with `wss://`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tls: Option<Percentiles>,
    /// Opening handshake.
    pub upgrade: Percentiles,
    /// Our pings to their pongs, with `--ping-interval`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ping: Option<Percentiles>,
    /// Storm: first message to its reply.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub first_message: Option<Percentiles>,
    /// Fan-out: of each message, due to its last copy at a healthy subscriber.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub last: Option<Percentiles>,
    /// Fan-out: of each message, due to its first copy.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub first: Option<Percentiles>,
    /// Fan-out: copies at healthy subscribers; the same as `response`, under its own name.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub healthy: Option<Percentiles>,
}

/// Message counters of the whole run, warm-up included.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[expect(missing_docs, reason = "as in tally::Tally")]
pub struct Messages {
    pub sent: u64,
    pub received: u64,
    pub lost: u64,
    pub in_flight: u64,
    pub unsent: u64,
    pub duplicates: u64,
    pub reordered: u64,
    pub corrupt: u64,
    pub unsolicited: u64,
    /// Those of `unsent` that were overdue and given up (`--catchup`).
    #[serde(default)]
    pub dropped: u64,
    /// Received messages that are no replies (`--ignore`, `--reply-contains`, `--first-message`).
    #[serde(default)]
    pub ignored: u64,
    /// sent = received + lost + in_flight
    pub adds_up: bool,
    pub payload_bytes_received: u64,
}

/// Connection counters of the whole run.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[expect(missing_docs, reason = "as in tally::Tally")]
pub struct Connections {
    pub asked: u64,
    pub open: u64,
    pub upgraded: u64,
    pub served: u64,
    pub alive: u64,
    pub stalled: u64,
    pub pings_answered: u64,
    /// Pings that we sent (`--ping-interval`).
    #[serde(default)]
    pub pings_sent: u64,
    /// Pongs that answered them in time.
    #[serde(default)]
    pub pongs: u64,
    /// Pings whose pong was not there when the next one was due, or at the end of the drain.
    #[serde(default)]
    pub pongs_missing: u64,
    /// Echo: Jain's index over the replies of each connection in the measured window; 1 when all
    /// got the same, 1/n when one of n got everything.
    #[serde(default)]
    pub fairness: Option<f64>,
    /// What was agreed on permessage-deflate where it was offered, and on how many connections.
    #[serde(default)]
    pub deflate_agreed: BTreeMap<String, u64>,
}

/// The server's process.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Server {
    /// Its number.
    pub pid: u32,
    /// CPU time of all its threads per reply (storm: per connection) in the window.
    pub cpu_ns_per_message: Option<f64>,
    /// Replies per second of server CPU.
    pub messages_per_cpu_second: Option<f64>,
    /// CPU share of its busiest thread, 0 to 1.
    pub busy_share: Option<f64>,
    /// Share of the time in which that thread was ready but had to wait for a CPU.
    pub wait_share: Option<f64>,
    /// CPUs it used: 1.5 is one and a half.
    pub cpus_used: Option<f64>,
    /// Times per second that its threads waited for something.
    #[serde(default)]
    pub voluntary_switches_per_second: Option<f64>,
    /// Times per second that a thread was taken off its CPU.
    #[serde(default)]
    pub involuntary_switches_per_second: Option<f64>,
    /// Resident bytes before the first connection.
    pub rss_before_bytes: Option<u64>,
    /// Resident bytes with all connections open.
    pub rss_open_bytes: Option<u64>,
    /// Growth of resident memory per connection.
    pub rss_bytes_per_connection: Option<f64>,
    /// Growth of anonymous resident memory (heap and stacks) per connection.
    pub anonymous_bytes_per_connection: Option<f64>,
}

/// This program.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Generator {
    /// CPU share of the busiest thread, 0 to 1.
    pub cpu_share: Option<f64>,
    /// Share of its time that the busiest thread worked, 0 to 1: `cpu_share` without what `--spin`
    /// polls in vain.
    #[serde(default)]
    pub busy_share: Option<f64>,
    /// Largest share of the time in which a thread was ready but had to wait for a CPU.
    pub wait_share: Option<f64>,
    /// CPU share of every thread.
    pub thread_cpu_shares: Vec<f64>,
    /// CPU time per reply, without what `--spin` polls in vain.
    pub cpu_ns_per_message: Option<f64>,
    /// How much longer than asked for an idle thread of this host slept: nobody on it can measure
    /// shorter times than that.
    #[serde(default)]
    pub hiccups_ns: Percentiles,
    /// TCP segments that this host sent again, whichever program they belong to.
    #[serde(default)]
    pub segments_retransmitted: Option<u64>,
    /// Times that a completion queue overflowed; nothing is lost by it but time.
    #[serde(default)]
    pub completion_overflows: u64,
    /// How late messages were sent (open loop).
    pub late_ns: Percentiles,
    /// Kernel interface of every thread, and why.
    pub backends: Vec<String>,
    /// The kernel's clock source.
    pub clock_source: Option<String>,
    /// Growth of our own resident memory per connection, from before the first was opened until all
    /// were open. Histograms and buffers that grew meanwhile are part of it.
    #[serde(default)]
    pub rss_bytes_per_connection: Option<f64>,
    /// The same of anonymous memory alone: heap and stacks.
    #[serde(default)]
    pub anonymous_bytes_per_connection: Option<f64>,
}

/// What was asked for, so that a report can be repeated.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[expect(missing_docs, reason = "as in config::Config")]
pub struct Settings {
    pub connections: u32,
    pub threads: usize,
    pub message_size_bytes: usize,
    pub message_kind: Word,
    pub rate_per_second: Option<f64>,
    pub in_flight: u32,
    pub cpus: Vec<usize>,
    pub sources: usize,
    pub verify: Word,
    pub spin: bool,
    pub backend: String,
    pub deflate_offered: bool,
    pub connect_rate_per_second: Option<f64>,
    pub connect_timeout_ms: u64,
    pub drain_ms: u64,
    pub seed: u64,
    pub address: String,
    pub version: Word,
    pub is_loopback: bool,
    /// Sizes other than one for all, as `--size` took them; `given` for `-m`.
    #[serde(default)]
    pub message_sizes: String,
    #[serde(default)]
    pub arrival: String,
    #[serde(default)]
    pub catch_up: String,
    /// `--stage`, as it can be typed in again.
    #[serde(default)]
    pub stages: String,
    #[serde(default)]
    pub messages_max: Option<u64>,
    #[serde(default)]
    pub fragment_size_bytes: Option<usize>,
    #[serde(default)]
    pub masking: Word,
    /// `--ports`: ports of the server beside the URL's.
    #[serde(default)]
    pub further_ports: Vec<u16>,
    #[serde(default)]
    pub ping_interval_ms: Option<f64>,
    /// With `wss://`: the name that was asked for, and whether its certificate was verified.
    #[serde(default)]
    pub tls_server_name: Option<String>,
    #[serde(default)]
    pub tls_is_verified: Option<bool>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_without_samples_above_them_are_marked() {
        let mut latency = Latency::default();
        for value in 0..1_000 {
            latency.record(value * 1_000 + 1);
        }
        let percentiles = Percentiles::of(&latency);
        assert_eq!(
            percentiles.unreliable,
            ["p999", "p9999"],
            "10 values lie above p99"
        );
        assert_eq!(percentiles.count, 1_000);
        assert!(percentiles.p50.abs_diff(500_000) < 2_000, "{percentiles:?}");
        assert_eq!(Percentiles::of(&Latency::default()).unreliable.len(), 5);
    }
}
