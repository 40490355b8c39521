//! What the rules look at: plain numbers of one run, whichever job it did.
//!
//! Owns their names. Where they come from is `model`'s affair, what follows from them the rules'.

use crate::churn::rules::ChurnEvidence;
use crate::config::Mode;
use crate::fanout::rules::FanoutEvidence;

/// What the rules look at.
#[derive(Clone, Debug)]
pub struct Evidence {
    /// Which job.
    pub mode: Mode,
    /// Sends by schedule.
    pub is_open_loop: bool,
    /// Threads never sleep.
    pub spin: bool,
    /// Connections asked for; storm: attempts.
    pub asked: u64,
    /// Opening handshakes completed; storm: whole cycles.
    pub upgraded: u64,
    /// Open at the end.
    pub alive: u64,
    /// Open at the end with an unanswered message.
    pub stalled: u64,
    /// Messages sent.
    pub sent: u64,
    /// First replies.
    pub received: u64,
    /// Replies that cannot come any more.
    pub lost: u64,
    /// Unanswered after the drain.
    pub in_flight: u64,
    /// Due but not sent.
    pub unsent: u64,
    /// Those of `unsent` that were overdue and given up.
    pub dropped: u64,
    /// Repeated replies.
    pub duplicates: u64,
    /// Replies out of order.
    pub reordered: u64,
    /// Wrong replies.
    pub corrupt: u64,
    /// Messages nobody asked for.
    pub unsolicited: u64,
    /// Our pings whose pong did not come in time.
    pub pongs_missing: u64,
    /// How long the drain waited.
    pub drain_ns: u64,
    /// Asked rate.
    pub target_per_second: Option<f64>,
    /// Replies (storm: cycles) per second in the window.
    pub achieved_per_second: f64,
    /// Share of a CPU that the busiest generator thread worked, polling in vain left out.
    pub generator_busy_share: Option<f64>,
    /// Largest share of the time in which a generator thread was ready but had no CPU.
    pub generator_wait_share: Option<f64>,
    /// CPU share of the server's busiest thread.
    pub server_busy_share: Option<f64>,
    /// Share of the time in which that thread was ready but had no CPU.
    pub server_wait_share: Option<f64>,
    /// 99th percentile of how late messages were sent (open loop).
    pub late_p99_ns: u64,
    /// Median response.
    pub response_p50_ns: u64,
    /// 99.9th percentile of the response.
    pub response_p999_ns: u64,
    /// How much longer than asked for an idle thread of this host slept at most. `None` where the
    /// server is on this host too: then its stalls are part of what is measured, and are noted.
    pub hiccup_max_ns: Option<u64>,
    /// (count, median) of the first and the second half.
    pub halves: [(u64, u64); 2],
    /// Closed loop: |concurrency − throughput × mean latency| / concurrency.
    pub little_residual: Option<f64>,
    /// The kernel's clock source, where it could be read.
    pub clock_source: Option<String>,
    /// Stopped by a signal before the end.
    pub is_interrupted: bool,
    /// In a fan-out, in place of what is known of replies.
    pub fanout: Option<FanoutEvidence>,
    /// In a churn, in place of what is known of connections and replies.
    pub churn: Option<ChurnEvidence>,
}
