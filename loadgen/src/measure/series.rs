//! A run second by second: what the threads report, added up to rows.
//!
//! Owns the rows and which part of the run each covers. Once per second the main thread asks all
//! threads for what they timed ([`Results::pulse`]), so that rows of all threads cover the same
//! time, and adds what `/proc` and the gauges say. Judges nothing.

use std::cell::Cell;
use std::collections::BTreeMap;
use std::sync::mpsc::Sender;

use serde::{Deserialize, Serialize};

use crate::measure::figures::Percentiles;
use crate::measure::gauges::Reading;
use crate::measure::latency::Latency;
use crate::measure::tally::{Interval, Sheet};
use crate::pace::plan::Window;

/// Length of a row.
pub const SECOND_NS: u64 = 1_000_000_000;

/// One second of a run, all threads together.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Second {
    /// Its end, in seconds since the load began.
    pub at_s: f64,
    /// Its real length in seconds: the last row is shorter, and a busy host makes rows longer.
    pub duration_s: f64,
    /// It lies inside the measured window; otherwise it is warm-up or drain.
    pub is_measured: bool,
    /// Messages handed to sockets in it (storm: cycles begun; fan-out: messages published).
    pub sent: u64,
    /// Replies that arrived in it (storm: cycles completed; fan-out: deliveries).
    pub received: u64,
    /// Connections that failed in it.
    pub failed: u64,
    /// Connections open at its end.
    pub open: u64,
    /// Response times, in nanoseconds, of measured messages that were answered in it.
    pub response: Percentiles,
    /// 99th percentile of how late measured messages were sent in it, in nanoseconds.
    pub late_p99_ns: u64,
    /// The whole histogram behind `response` (see `Report::histograms`); empty without values.
    pub response_histogram: String,
    /// CPU share of the busiest generator thread, 0 to 1.
    pub generator_cpu_share: Option<f64>,
    /// CPUs that the server used: 1.5 is one and a half.
    pub server_cpus_used: Option<f64>,
    /// CPU share of the server's busiest thread, 0 to 1.
    pub server_busy_share: Option<f64>,
    /// Resident bytes of the server at its end.
    pub server_rss_bytes: Option<u64>,
    /// What went wrong in it, by kind; see `Tally::troubles`. The first row has what went wrong
    /// before it, too.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub troubles: BTreeMap<String, u64>,
}

/// What one thread timed in one second.
#[derive(Debug)]
pub struct Pulse {
    /// Which second, from 0.
    pub second: u32,
    /// What was timed.
    pub interval: Interval,
}

/// Where a thread hands in what it measured. The main thread may have given up waiting; then
/// nobody wants it, and sending to nobody is no failure.
#[derive(Clone, Debug)]
pub struct Results {
    sheets: Sender<Sheet>,
    pulses: Sender<Pulse>,
    warmths: Sender<Warmth>,
    has_handed_in: Cell<bool>,
}

impl Results {
    /// The ends that the main thread does not keep.
    pub fn new(sheets: Sender<Sheet>, pulses: Sender<Pulse>, warmths: Sender<Warmth>) -> Results {
        Results {
            sheets,
            pulses,
            warmths,
            has_handed_in: Cell::new(false),
        }
    }

    /// The end of the run.
    pub fn hand_in(&self, sheet: Sheet) {
        self.has_handed_in.set(true);
        let _ = self.sheets.send(sheet);
    }

    /// A stretch of the warm-up.
    pub fn warmth(&self, look: u32, sheet: &mut Sheet) {
        let response = std::mem::take(&mut sheet.warmup);
        let _ = self.warmths.send(Warmth { look, response });
    }

    /// The end of a second. Behind the end of the run there is nothing to tell: what was timed in
    /// this second was handed in with the sheet.
    pub fn pulse(&self, second: u32, sheet: &mut Sheet) {
        if self.has_handed_in.get() {
            return;
        }
        let interval = sheet.take_interval();
        let _ = self.pulses.send(Pulse { second, interval });
    }
}

/// What came back to one thread in a stretch of the warm-up.
#[derive(Debug)]
pub struct Warmth {
    /// Which question it answers.
    pub look: u32,
    /// Response times.
    pub response: Latency,
}

/// What is known of a second beside what the threads timed.
#[derive(Clone, Copy, Debug, Default)]
pub struct Facts {
    /// When it ended, in CLOCK_MONOTONIC nanoseconds.
    pub at_ns: u64,
    /// The gauges at its end.
    pub reading: Reading,
    /// See [`Second::generator_cpu_share`].
    pub generator_cpu_share: Option<f64>,
    /// See [`Second::server_cpus_used`].
    pub server_cpus_used: Option<f64>,
    /// See [`Second::server_busy_share`].
    pub server_busy_share: Option<f64>,
    /// See [`Second::server_rss_bytes`].
    pub server_rss_bytes: Option<u64>,
}

/// A second that not every thread has reported yet.
#[derive(Debug)]
struct Pending {
    facts: Facts,
    interval: Interval,
    missing: usize,
}

/// The rows of a run in the making.
#[derive(Debug, Default)]
pub struct Series {
    threads: usize,
    window: Option<Window>,
    seconds: Vec<Second>,
    pending: BTreeMap<u32, Pending>,
    next: u32,
    last: Facts,
    response: Latency,
}

impl Series {
    /// Of so many threads; `reading` is what the gauges show as the load begins.
    pub fn begin(threads: usize, window: Window, reading: Reading) -> Series {
        Series {
            threads,
            window: Some(window),
            last: Facts {
                at_ns: window.start_ns,
                reading,
                ..Facts::default()
            },
            ..Series::default()
        }
    }

    /// Measuring starts sooner than was announced; no row in question is complete yet.
    pub fn set_window(&mut self, window: Window) {
        self.window = Some(window);
    }

    /// When the next row ends; `None` before the load has begun.
    pub fn next_end_ns(&self) -> Option<u64> {
        let window = self.window?;
        Some(window.start_ns + (u64::from(self.next) + 1) * SECOND_NS)
    }

    /// A second is over. Returns its number, which every thread is to be asked for.
    pub fn close_second(&mut self, facts: Facts) -> u32 {
        let second = self.next;
        self.next += 1;
        let pending = Pending {
            facts,
            interval: Interval::default(),
            missing: self.threads,
        };
        self.pending.insert(second, pending);
        second
    }

    /// Adds what a thread timed. Returns whether a row was completed.
    pub fn add(&mut self, pulse: &Pulse) -> bool {
        let Some(pending) = self.pending.get_mut(&pulse.second) else {
            return false;
        };
        pending.interval.add(&pulse.interval);
        pending.missing = pending.missing.saturating_sub(1);
        let mut is_completed = false;
        while self
            .pending
            .first_key_value()
            .is_some_and(|(_, pending)| pending.missing == 0)
        {
            self.complete_first();
            is_completed = true;
        }
        is_completed
    }

    /// The run is over: `rest` is what the threads timed after the last pulse.
    pub fn finish(&mut self, facts: Facts, mut rest: Interval) {
        // Seconds that end with the run: their gauges were read while connections were closed.
        for pending in self.pending.values_mut() {
            let open = &mut pending.facts.reading.open;
            *open = (*open).max(facts.reading.open);
        }
        // A thread that ended before it was asked for a second still timed what was in it.
        if let Some(mut pending) = self.pending.first_entry() {
            let rest = std::mem::take(&mut rest);
            pending.get_mut().interval.add(&rest);
        }
        while !self.pending.is_empty() {
            self.complete_first();
        }
        let moved = facts.reading.received != self.last.reading.received;
        if self.window.is_some() && (moved || rest.response.count() > 0) {
            self.complete(facts, &rest);
        }
    }

    /// The rows completed so far.
    pub fn seconds(&self) -> &[Second] {
        &self.seconds
    }

    /// All response times so far.
    pub fn response(&self) -> &Latency {
        &self.response
    }

    /// Gives the rows away.
    pub fn into_seconds(self) -> Vec<Second> {
        self.seconds
    }

    fn complete_first(&mut self) {
        if let Some((_, pending)) = self.pending.pop_first() {
            self.complete(pending.facts, &pending.interval);
        }
    }

    fn complete(&mut self, facts: Facts, interval: &Interval) {
        let Some(window) = self.window else { return };
        self.response.add(&interval.response);
        let (begin_ns, now, before) = (self.last.at_ns, facts.reading, self.last.reading);
        // A row belongs to the window when its middle does: its ends are some milliseconds off.
        let middle_ns = begin_ns + facts.at_ns.saturating_sub(begin_ns) / 2;
        self.seconds.push(Second {
            at_s: facts.at_ns.saturating_sub(window.start_ns) as f64 / 1e9,
            duration_s: facts.at_ns.saturating_sub(begin_ns) as f64 / 1e9,
            is_measured: window.measures(middle_ns),
            sent: now.sent.saturating_sub(before.sent),
            received: now.received.saturating_sub(before.received),
            failed: now.failed.saturating_sub(before.failed),
            open: now.open,
            response: Percentiles::of(&interval.response),
            late_p99_ns: interval.late.quantile(0.99),
            response_histogram: interval.response.encode(),
            generator_cpu_share: facts.generator_cpu_share,
            server_cpus_used: facts.server_cpus_used,
            server_busy_share: facts.server_busy_share,
            server_rss_bytes: facts.server_rss_bytes,
            troubles: interval.troubles.clone(),
        });
        self.last = facts;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const WINDOW: Window = Window {
        start_ns: 0,
        measure_from_ns: SECOND_NS,
        until_ns: 3 * SECOND_NS,
    };

    fn facts(second: u64, received: u64) -> Facts {
        Facts {
            at_ns: second * SECOND_NS,
            reading: Reading {
                received,
                ..Reading::default()
            },
            ..Facts::default()
        }
    }

    fn pulse(second: u32, values: &[u64]) -> Pulse {
        let mut interval = Interval::default();
        for value in values {
            interval.response.record(*value);
        }
        Pulse { second, interval }
    }

    #[test]
    fn rows_wait_for_every_thread_and_stay_in_order() {
        let mut series = Series::begin(2, WINDOW, Reading::default());
        assert_eq!(series.next_end_ns(), Some(SECOND_NS));
        assert_eq!(series.close_second(facts(1, 10)), 0);
        assert_eq!(series.close_second(facts(2, 25)), 1);
        assert!(!series.add(&pulse(1, &[5])));
        assert!(!series.add(&pulse(1, &[6])), "second 0 is not complete yet");
        assert!(!series.add(&pulse(0, &[1])));
        assert!(series.add(&pulse(0, &[2])));
        let counts: Vec<(u64, u64, bool)> = series
            .seconds()
            .iter()
            .map(|row| (row.received, row.response.count, row.is_measured))
            .collect();
        assert_eq!(counts, [(10, 2, false), (15, 2, true)]);
    }

    #[test]
    fn the_rows_hold_every_value() {
        let mut series = Series::begin(1, WINDOW, Reading::default());
        let second = series.close_second(facts(1, 1));
        series.add(&pulse(second, &[100, 200]));
        let _lost = series.close_second(facts(2, 2));
        let mut rest = pulse(0, &[300]).interval;
        rest.troubles.insert("corrupt_reply".to_owned(), 2);
        series.finish(facts(3, 3), rest);
        let troubles = |row: &Second| row.troubles.values().sum::<u64>();
        assert_eq!(series.seconds().iter().map(troubles).sum::<u64>(), 2);
        assert_eq!(series.response().count(), 3);
        let mut sum = Latency::default();
        for row in series.seconds() {
            sum.add(&Latency::decode(&row.response_histogram).expect("our own"));
        }
        assert_eq!(sum.histogram(), series.response().histogram());
        assert_eq!(series.into_seconds().len(), 3);
    }
}
