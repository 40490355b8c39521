//! The live line: once per second on a terminal, nothing anywhere else.

use std::io::{self, Write};
use std::time::{Duration, Instant};

use crate::config::Mode;
use crate::gauges::Reading;
use crate::quantity::format_count;

const EVERY: Duration = Duration::from_secs(1);

/// Writes and rewrites one line of standard error.
#[derive(Debug)]
pub struct Progress {
    is_shown: bool,
    last: Instant,
    last_received: u64,
    last_sent: u64,
    has_line: bool,
}

impl Progress {
    /// `is_shown`: standard error is a terminal and nobody asked for quiet.
    pub fn new(is_shown: bool) -> Progress {
        Progress {
            is_shown,
            last: Instant::now(),
            last_received: 0,
            last_sent: 0,
            has_line: false,
        }
    }

    /// While connections are being opened.
    pub fn opening(&mut self, reading: Reading, asked: u32) {
        if self.is_due().is_some() {
            let (open, asked) = (format_count(reading.opened), format_count(u64::from(asked)));
            self.line(&format!(
                "opening    {open} of {asked} · {} failed",
                reading.failed
            ));
        }
    }

    /// While subscriptions are being confirmed.
    pub fn preparing(&mut self, awaited: Option<u64>) {
        if self.is_due().is_some() {
            let awaited = awaited.map_or_else(|| "some".to_owned(), format_count);
            self.line(&format!("subscribing {awaited} not confirmed yet"));
        }
    }

    /// While load runs.
    pub fn running(&mut self, mode: Mode, reading: Reading, left_ns: u64) {
        let Some(elapsed) = self.is_due() else { return };
        let done = reading.received.saturating_sub(self.last_received);
        self.last_received = reading.received;
        let per_second =
            |count: u64| format_count((count as f64 / elapsed.as_secs_f64()).round() as u64);
        let rate = per_second(done);
        if mode == Mode::Fanout {
            let sent = reading.fanout.sent.saturating_sub(self.last_sent);
            self.last_sent = reading.fanout.sent;
            let sent = per_second(sent);
            let behind = reading.fanout.owed.saturating_sub(reading.fanout.settled);
            self.line(&format!(
                "fanout     {sent}/s published · {rate}/s delivered · {} under way · {} open · \
                 {} failed · {} s left",
                format_count(behind),
                format_count(reading.open),
                format_count(reading.failed),
                format_count(left_ns / 1_000_000_000),
            ));
            return;
        }
        self.line(&format!(
            "{:<10} {rate}/s · {} open · {} failed · {} s left",
            mode.as_str(),
            format_count(reading.open),
            format_count(reading.failed),
            format_count(left_ns / 1_000_000_000),
        ));
    }

    /// Clears the line, so that the report begins in the first column.
    pub fn end(&mut self) {
        if std::mem::take(&mut self.has_line) {
            self.write("\r\x1b[K");
        }
    }

    fn is_due(&mut self) -> Option<Duration> {
        let elapsed = self.last.elapsed();
        if !self.is_shown || elapsed < EVERY {
            return None;
        }
        self.last = Instant::now();
        Some(elapsed)
    }

    fn line(&mut self, text: &str) {
        self.has_line = true;
        self.write(&format!("\r\x1b[K{text}"));
    }

    fn write(&mut self, text: &str) {
        let mut stderr = io::stderr().lock();
        // A terminal that went away is no reason to end a measurement.
        self.is_shown = stderr
            .write_all(text.as_bytes())
            .and_then(|()| stderr.flush())
            .is_ok();
    }
}
