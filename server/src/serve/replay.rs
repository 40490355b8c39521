//! `--replay`: publishes a recording at its own times, at a multiple of them, or as fast as it goes.
//!
//! It owns the schedule, which is absolute: being late once does not make everything later. The
//! clock and the way to the hub are given to it, so that tests have their own.

use std::fmt;
use std::io::BufRead;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use fanwire_server::hub::port::PublishRequest;

use crate::serve::options::Speed;
use crate::serve::publisher::{PublishCounts, Publisher};
use crate::serve::recording::{BadLine, Recorded, Recording};

/// Messages that may wait for the hub; then no more are read.
const UNANSWERED_MAX: usize = 4096;
/// Payload bytes that may wait for the hub; then no more are read.
const UNANSWERED_BYTES_MAX: usize = 32 << 20;
/// How long to wait for an answer at most.
const ANSWER_PAUSE_NS: u64 = 1_000_000;
/// How long to sleep at most otherwise: a stop has to be seen.
const IDLE_PAUSE_NS: u64 = 50_000_000;

/// Where the time comes from.
pub(crate) trait Clock {
    /// Nanoseconds since the replay began.
    fn now_ns(&mut self) -> u64;
    fn sleep(&mut self, pause_ns: u64);
}

/// Where the messages go.
pub(crate) trait Outlet {
    fn push(&mut self, request: PublishRequest);
    fn pump(&mut self);
    /// Sleeps until an answer has come, or for this long.
    fn wait_for_answer(&mut self, pause_ns: u64);
    fn unanswered(&self) -> usize;
    fn unanswered_bytes(&self) -> usize;
}

impl Outlet for Publisher {
    fn push(&mut self, request: PublishRequest) {
        Publisher::push(self, request);
    }

    fn pump(&mut self) {
        Publisher::pump(self);
    }

    fn wait_for_answer(&mut self, pause_ns: u64) {
        Publisher::wait_for_answer(self, Duration::from_nanos(pause_ns));
    }

    fn unanswered(&self) -> usize {
        Publisher::unanswered(self)
    }

    fn unanswered_bytes(&self) -> usize {
        Publisher::unanswered_bytes(self)
    }
}

/// The real clock.
pub(crate) struct WallClock(Instant);

impl WallClock {
    pub(crate) fn new() -> WallClock {
        WallClock(Instant::now())
    }
}

impl Clock for WallClock {
    fn now_ns(&mut self) -> u64 {
        u64::try_from(self.0.elapsed().as_nanos()).unwrap_or(u64::MAX)
    }

    fn sleep(&mut self, pause_ns: u64) {
        thread::sleep(Duration::from_nanos(pause_ns));
    }
}

/// What came of a replay.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Summary {
    pub(crate) messages: u64,
    pub(crate) bad_lines: u64,
    pub(crate) first_bad_line: Option<BadLine>,
    /// Messages recorded earlier than the one before them; they were published right after it.
    pub(crate) out_of_order: u64,
    /// How far behind its time a message was handed over, at most.
    pub(crate) late_max_ns: u64,
    pub(crate) took_ns: u64,
    /// Why it ended before the end of the file.
    pub(crate) stopped: Option<String>,
}

impl fmt::Display for Summary {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let seconds = self.took_ns as f64 / 1e9;
        write!(
            formatter,
            "{} messages in {seconds:.3} s, {} bad lines, {} out of order, at most {:.3} ms late",
            self.messages,
            self.bad_lines,
            self.out_of_order,
            self.late_max_ns as f64 / 1e6,
        )?;
        if let Some(line) = &self.first_bad_line {
            write!(
                formatter,
                "; first bad line {}: {}",
                line.number, line.reason
            )?;
        }
        if let Some(reason) = &self.stopped {
            write!(formatter, "; stopped early: {reason}")?;
        }
        Ok(())
    }
}

/// When each message is due, counted from the first one.
#[derive(Debug)]
struct Schedule {
    speed: Speed,
    first_ns: Option<i64>,
    last_due_ns: u64,
}

impl Schedule {
    /// Nanoseconds since the start, and whether the message goes back in time.
    fn due_ns(&mut self, at_ns: i64) -> (u64, bool) {
        let Speed::Factor(factor) = self.speed else {
            return (0, false);
        };
        let first_ns = *self.first_ns.get_or_insert(at_ns);
        let since_ns = at_ns.saturating_sub(first_ns);
        let due_ns = (since_ns.max(0) as f64 / factor) as u64;
        let goes_back = since_ns < 0 || due_ns < self.last_due_ns;
        self.last_due_ns = self.last_due_ns.max(due_ns);
        (self.last_due_ns, goes_back)
    }
}

/// One replay.
pub(crate) struct Replay<R, O, C> {
    recording: Recording<R>,
    outlet: O,
    clock: C,
    schedule: Schedule,
    is_strict: bool,
    summary: Summary,
}

impl<R: BufRead, O: Outlet, C: Clock> Replay<R, O, C> {
    pub(crate) fn new(
        recording: Recording<R>,
        outlet: O,
        clock: C,
        speed: Speed,
        is_strict: bool,
    ) -> Replay<R, O, C> {
        Replay {
            recording,
            outlet,
            clock,
            schedule: Schedule {
                speed,
                first_ns: None,
                last_due_ns: 0,
            },
            is_strict,
            summary: Summary::default(),
        }
    }

    /// Publishes everything, or until it is told to stop. Returns when all is answered.
    pub(crate) fn run(mut self, is_stopping: &Arc<AtomicBool>) -> (Summary, O) {
        while self.summary.stopped.is_none() {
            let line = match self.recording.next() {
                Ok(Some(line)) => line,
                Ok(None) => break,
                Err(error) => {
                    let line = self.recording.lines() + 1;
                    self.stop(format!("line {line} could not be read: {error}"));
                    break;
                }
            };
            match line {
                Ok(recorded) => self.publish(recorded, is_stopping),
                Err(line) => self.note_bad(line),
            }
        }
        while self.outlet.unanswered() > 0 && !is_stopping.load(Ordering::Relaxed) {
            self.outlet.pump();
            if self.outlet.unanswered() > 0 {
                self.outlet.wait_for_answer(ANSWER_PAUSE_NS);
            }
        }
        self.summary.took_ns = self.clock.now_ns();
        (self.summary, self.outlet)
    }

    fn stop(&mut self, reason: String) {
        self.summary.stopped = Some(reason);
    }

    fn note_bad(&mut self, line: BadLine) {
        self.summary.bad_lines += 1;
        if self.is_strict {
            self.stop(format!("line {}: {}", line.number, line.reason));
        }
        self.summary.first_bad_line.get_or_insert(line);
    }

    fn publish(&mut self, recorded: Recorded, is_stopping: &Arc<AtomicBool>) {
        let due_ns = match (recorded.at_ns, self.schedule.speed) {
            (_, Speed::Max) => 0,
            (Some(at_ns), Speed::Factor(_)) => {
                let (due_ns, goes_back) = self.schedule.due_ns(at_ns);
                self.summary.out_of_order += u64::from(goes_back);
                due_ns
            }
            (None, Speed::Factor(_)) => {
                return self.note_bad(BadLine {
                    number: self.recording.lines(),
                    reason: "`ts` is missing; give each line its time, or replay with --speed max"
                        .to_owned(),
                });
            }
        };
        if !self.wait(due_ns, is_stopping) {
            return self.stop("the server ends".to_owned());
        }
        if due_ns > 0 {
            let late_ns = self.clock.now_ns().saturating_sub(due_ns);
            self.summary.late_max_ns = self.summary.late_max_ns.max(late_ns);
        }
        self.outlet.push(recorded.request);
        self.summary.messages += 1;
    }

    fn has_room(&self) -> bool {
        self.outlet.unanswered() < UNANSWERED_MAX
            && self.outlet.unanswered_bytes() < UNANSWERED_BYTES_MAX
    }

    /// Waits until a message is due and the hub has room; false if it is to stop instead. What is
    /// due at once is handed over together, by the wait after it.
    fn wait(&mut self, due_ns: u64, is_stopping: &Arc<AtomicBool>) -> bool {
        loop {
            if is_stopping.load(Ordering::Relaxed) {
                return false;
            }
            let left_ns = match due_ns {
                0 => 0,
                due_ns => due_ns.saturating_sub(self.clock.now_ns()),
            };
            if left_ns == 0 && self.has_room() {
                return true;
            }
            self.outlet.pump();
            match (self.has_room(), self.outlet.unanswered()) {
                (true, _) if left_ns == 0 => {}
                (true, 0) => self.clock.sleep(left_ns.min(IDLE_PAUSE_NS)),
                (true, _) => self.outlet.wait_for_answer(left_ns.min(ANSWER_PAUSE_NS)),
                (false, _) => self.outlet.wait_for_answer(ANSWER_PAUSE_NS),
            }
        }
    }
}

/// Replays a file on the calling thread and tells the log how it went.
pub(crate) fn run<R: BufRead>(
    name: &str,
    recording: Recording<R>,
    publisher: Publisher,
    (speed, is_strict): (Speed, bool),
    is_stopping: &Arc<AtomicBool>,
) {
    let replay = Replay::new(recording, publisher, WallClock::new(), speed, is_strict);
    let (summary, mut publisher) = replay.run(is_stopping);
    let PublishCounts {
        published,
        busy,
        refused,
    } = publisher.counts();
    let refusal = publisher.take_refusal();
    let refusal = refusal.map_or(String::new(), |text| format!("; first refused {text}"));
    let line = format!(
        "replay of {name}: {summary}; {published} published, {refused} refused, {busy} times \
         busy{refusal}"
    );
    match summary.bad_lines + refused + u64::from(summary.stopped.is_some()) {
        0 => tracing::info!("{line}"),
        _ => tracing::warn!("{line}"),
    }
}

#[cfg(test)]
#[path = "replay_tests.rs"]
mod tests;
