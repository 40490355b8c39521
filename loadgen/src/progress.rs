//! The live line: once per second on a terminal, nothing anywhere else.

use std::io::{self, Write};
use std::time::{Duration, Instant};

use crate::config::Mode;
use crate::quantity::format_count;
use crate::run::all_connections;
use crate::watch::{Flow, Live, LivePhase, Watch};

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

    fn opening(&mut self, live: &Live<'_>) {
        let asked = format_count(u64::from(all_connections(live.config)));
        let open = format_count(live.reading.opened);
        self.line(&format!(
            "opening    {open} of {asked} · {} failed",
            live.reading.failed
        ));
    }

    fn subscribing(&mut self, live: &Live<'_>) {
        let awaited = live.reading.fanout.awaited;
        let awaited = awaited.map_or_else(|| "some".to_owned(), format_count);
        self.line(&format!("subscribing {awaited} not confirmed yet"));
    }

    fn running(&mut self, live: &Live<'_>, elapsed: Duration) {
        let (mode, reading, left_ns) = (live.config.mode, live.reading, live.left_ns);
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

    fn due_after(&mut self) -> Option<Duration> {
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

impl Watch for Progress {
    fn look(&mut self, live: &Live<'_>) -> Flow {
        if let Some(elapsed) = self.due_after() {
            match live.phase {
                LivePhase::Opening => self.opening(live),
                LivePhase::Subscribing => self.subscribing(live),
                _ => self.running(live, elapsed),
            }
        }
        Flow::Continue
    }

    /// Clears the line, so that the report begins in the first column.
    fn end(&mut self) {
        if std::mem::take(&mut self.has_line) {
            self.write("\r\x1b[K");
        }
    }
}
