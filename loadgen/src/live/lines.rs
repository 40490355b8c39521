//! The plain lines of a run that is not watched on a terminal.
//!
//! Owns when a line is due and how it reads. A line covers everything since the line before it.

use crate::config::Mode;
use crate::measure::latency::Latency;
use crate::measure::series::Second;
use crate::measure::watch::{Live, LivePhase};
use crate::pace::warmup::Warmup;
use crate::quantity::{format_count, format_ns};

/// While connections are opened, looks between two lines are so far apart at least.
const OPENING_EVERY_S: u64 = 5;

/// Collects seconds until a line of them is due.
#[derive(Debug)]
pub struct Lines {
    /// Seconds in a line.
    every: usize,
    phase: Option<LivePhase>,
    seconds_seen: usize,
    collected: Collected,
    opening_lines: u64,
}

/// What a line says.
#[derive(Debug, Default)]
struct Collected {
    seconds: usize,
    duration_s: f64,
    sent: u64,
    received: u64,
    late_p99_ns: u64,
    response: Latency,
    last: Second,
}

impl Collected {
    fn add(&mut self, second: &Second) {
        self.seconds += 1;
        self.duration_s += second.duration_s;
        self.sent += second.sent;
        self.received += second.received;
        // The worst second stands for the line: percentiles do not add up.
        self.late_p99_ns = self.late_p99_ns.max(second.late_p99_ns);
        if let Ok(latency) = Latency::decode(&second.response_histogram) {
            self.response.add(&latency);
        }
        self.last = second.clone();
    }
}

impl Lines {
    /// A line every so many seconds.
    pub fn new(every: usize) -> Lines {
        Lines {
            every: every.max(1),
            phase: None,
            seconds_seen: 0,
            collected: Collected::default(),
            opening_lines: 0,
        }
    }

    /// The lines that are due now. `elapsed_s` counts from the beginning of the opening.
    pub fn look(&mut self, live: &Live<'_>, elapsed_s: u64) -> Vec<String> {
        let mut lines = Vec::new();
        for second in live.seconds.get(self.seconds_seen..).unwrap_or_default() {
            // A line does not mix warm-up with what counts.
            if self.collected.seconds > 0 && self.collected.last.is_measured != second.is_measured {
                lines.extend(self.flush(live));
            }
            self.collected.add(second);
            if self.collected.seconds >= self.every {
                lines.extend(self.flush(live));
            }
        }
        self.seconds_seen = live.seconds.len();
        if self.phase != Some(live.phase) {
            let before = self.phase.replace(live.phase);
            // Seconds of the new phase may be here already.
            if before == Some(LivePhase::Measuring) || !self.collected.last.is_measured {
                lines.extend(self.flush(live));
            }
            lines.extend(phase_line(live));
        }
        if live.phase == LivePhase::Opening && elapsed_s / OPENING_EVERY_S > self.opening_lines {
            self.opening_lines = elapsed_s / OPENING_EVERY_S;
            lines.push(format!(
                "{elapsed_s:>4}s  {} connections opened · {} failed",
                format_count(live.reading.opened),
                format_count(live.reading.failed)
            ));
        }
        lines
    }

    fn flush(&mut self, live: &Live<'_>) -> Option<String> {
        let collected = std::mem::take(&mut self.collected);
        (collected.seconds > 0).then(|| collected.line(live))
    }
}

/// `None` for a warm-up that does not take place.
fn phase_line(live: &Live<'_>) -> Option<String> {
    let config = live.config;
    let connections = format_count(u64::from(crate::run::all_connections(config)));
    Some(match live.phase {
        LivePhase::Opening => match config.mode {
            Mode::Storm => format!("opening up to {connections} connections at once"),
            _ => format!("opening {connections} connections"),
        },
        LivePhase::Subscribing => "waiting for subscriptions to be confirmed".to_owned(),
        LivePhase::WarmUp if config.warmup == Warmup::NONE => return None,
        LivePhase::WarmUp => format!("warm-up, {}", config.warmup.describe()),
        LivePhase::Measuring => match config.pace.messages_max {
            Some(count) => format!("measuring, {} messages", format_count(count)),
            None => format!("measuring, {}", format_ns(config.duration_ns)),
        },
        LivePhase::Draining => "waiting for what is under way".to_owned(),
    })
}

impl Collected {
    fn line(&self, live: &Live<'_>) -> String {
        let per_second =
            |count: u64| format_count((count as f64 / self.duration_s.max(1e-3)).round() as u64);
        let mut parts = vec![format!("{:>4.0}s", self.last.at_s)];
        match live.config.mode {
            Mode::Idle => {}
            Mode::Fanout => parts.push(format!(
                "{}/s published, {}/s delivered",
                per_second(self.sent),
                per_second(self.received)
            )),
            _ => parts.push(format!("{}/s", per_second(self.received))),
        }
        if !self.last.is_measured {
            parts.push("not measured".to_owned());
        }
        let response = &self.response;
        if response.count() > 0 {
            parts.push(format!(
                "p50 {} p99 {} max {}",
                format_ns(response.quantile(0.5)),
                format_ns(response.quantile(0.99)),
                format_ns(response.max())
            ));
        }
        parts.push(format!("{} open", format_count(self.last.open)));
        parts.push(format!("errors {}", format_count(live.reading.failed)));
        if live.config.rate.is_some() && response.count() > 0 {
            parts.push(format!("late p99 {}", format_ns(self.late_p99_ns)));
        }
        let share = |name: &str, share: Option<f64>| {
            share.map(|share| format!("{name} {:.0}%", share * 100.0))
        };
        parts.extend(share("gen", self.last.generator_cpu_share));
        parts.extend(share("server", self.last.server_busy_share));
        parts.join("  ")
    }
}
