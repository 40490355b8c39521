//! What is counted and timed, from the counters of a thread to the judged report. Sends nothing.

pub mod environment;
pub mod figures;
pub mod gauges;
pub mod hiccups;
pub mod host;
pub mod latency;
pub mod merge;
pub mod model;
pub mod series;
pub mod sums;
pub mod tally;
pub mod verdict;
pub mod watch;
