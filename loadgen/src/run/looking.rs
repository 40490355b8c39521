//! What the main thread does while it waits: closing seconds, and showing the run to its watches.

use std::time::Duration;

use fanwire_reactor::host::monotonic_ns;

use super::{LOOK_MS, Run};
use crate::command::Command;
use crate::measure::host::Memory;
use crate::measure::series::Facts;
use crate::measure::watch::{Flow, Live, LivePhase};

impl Run {
    /// Sleeps until something is due: `left_ns`, the end of the second, or the next look.
    pub(super) fn nap(&self, left_ns: u64) {
        let second_ns = self.series.next_end_ns().map_or(u64::MAX, |end_ns| {
            // Past it: the row is closed with the next look.
            end_ns.saturating_sub(monotonic_ns())
        });
        let nap = Duration::from_nanos(left_ns.min(second_ns));
        std::thread::sleep(nap.min(Duration::from_millis(LOOK_MS)));
    }

    /// Closes the second if it is over, takes in what the threads report, and lets everybody look.
    pub(super) fn look(&mut self, phase: LivePhase, left_ns: u64) {
        let is_over = |end_ns: u64| monotonic_ns() >= end_ns;
        if self.series.next_end_ns().is_some_and(is_over) {
            let facts = self.facts();
            let second = self.series.close_second(facts);
            self.command(Command::Pulse(second));
        }
        while let Ok(pulse) = self.pulses.try_recv() {
            self.series.add(&pulse);
        }
        self.show(phase, left_ns);
    }

    /// Lets everybody look.
    pub(super) fn show(&mut self, phase: LivePhase, left_ns: u64) {
        let reading = self.reading();
        let live = Live {
            config: &self.config,
            phase,
            left_ns,
            reading,
            seconds: self.series.seconds(),
            response: self.series.response(),
        };
        for watch in &mut self.watches {
            if let Flow::Stop(reason) = watch.look(&live) {
                self.stop_reason.get_or_insert(reason);
            }
        }
    }

    /// What /proc and the gauges say at the end of a row.
    pub(super) fn facts(&mut self) -> Facts {
        let edge = self.edge();
        let before = std::mem::replace(&mut self.row_edge, edge);
        let edge = &self.row_edge;
        let took_ns = edge.at_ns.saturating_sub(before.at_ns).max(1) as f64;
        let generator_cpu_share = before
            .own
            .iter()
            .zip(&edge.own)
            .filter_map(|(before, now)| Some((*now)?.since((*before)?).run_ns as f64 / took_ns))
            .reduce(f64::max);
        let server = before
            .server
            .as_ref()
            .zip(edge.server.as_ref())
            .map(|(before, now)| now.since(before));
        Facts {
            at_ns: edge.at_ns,
            reading: self.reading(),
            generator_cpu_share,
            server_cpus_used: server.map(|used| used.total_ns as f64 / took_ns),
            server_busy_share: server.map(|used| used.busiest.run_ns as f64 / took_ns),
            server_rss_bytes: self
                .config
                .server_pid
                .and_then(Memory::of_process)
                .map(|memory| memory.resident),
        }
    }
}
