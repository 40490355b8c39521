//! What a person is shown of a run at one moment, in plain figures.
//!
//! Owns turning what the main thread sees ([`Live`]) into a [`View`]: rates from differences,
//! the last second beside everything measured, a column of the heat strip per second. A view owns
//! all its parts, so that it can go to the thread that draws. Draws nothing itself.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::heat::Column;
use crate::config::{Config, Mode};
use crate::measure::figures::Percentiles;
use crate::measure::gauges::Reading;
use crate::measure::latency::Latency;
use crate::measure::model::Report;
use crate::measure::series::Second;
use crate::measure::sums::add_counts;
use crate::measure::verdict::LATE_FLOOR_NS;
use crate::measure::watch::{Live, LivePhase};

/// Seconds that are kept for the strip and the sparkline: wider terminals are rare.
const SECONDS_KEPT: usize = 512;
/// A rate is taken over at least this long, so that it does not flicker.
const RATE_OVER: Duration = Duration::from_millis(900);

/// A run as it is shown.
#[derive(Clone, Debug)]
pub struct View {
    /// What was asked for, shared by all views of a run.
    pub asked: Arc<Asked>,
    /// Which part of the run this is.
    pub phase: LivePhase,
    /// Since the phase began.
    pub phase_elapsed: Duration,
    /// Until the end of the measurement, in nanoseconds; 0 outside of it.
    pub left_ns: u64,
    /// The gauges.
    pub reading: Reading,
    /// Messages (storm: connections) per second that are asked for now; `None` in a closed loop.
    pub target_per_second: Option<f64>,
    /// Messages handed to sockets per second, lately.
    pub sent_per_second: Option<f64>,
    /// Replies (storm: cycles; fan-out: deliveries) per second, lately.
    pub received_per_second: Option<f64>,
    /// The newest completed second.
    pub last: Option<Arc<Second>>,
    /// Response times since measuring began; `None` before the first second of it is complete.
    pub measured: Option<Arc<Percentiles>>,
    /// Rates of the seconds so far, oldest first: replies, or what was published.
    pub rates: Arc<VecDeque<u64>>,
    /// The heat strip, oldest second first.
    pub columns: Arc<VecDeque<Arc<Column>>>,
    /// Seconds that came before the first of `columns`.
    pub seconds_dropped: usize,
    /// Resident bytes of the server at the first second that knew them.
    pub server_rss_first_bytes: Option<u64>,
    /// Connections opened per second, lately.
    pub opened_per_second: Option<f64>,
    /// What went wrong up to the newest completed second, by kind.
    pub troubles: Arc<BTreeMap<String, u64>>,
    /// Messages that the server sent of its own to those who came to hear them.
    pub pushed: u64,
    /// What a verdict would look at, up to the newest completed second.
    pub so_far: SoFar,
}

/// The measured seconds added up.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct SoFar {
    /// Their length.
    pub measured_s: f64,
    /// Replies (storm: cycles; fan-out: messages published) in them.
    pub done: u64,
    /// CPU time of the generator's busiest thread in them, in seconds; `None` when it is not known.
    pub generator_busy_s: Option<f64>,
    /// Those of them in which sends were too late.
    pub late_seconds: u32,
}

impl SoFar {
    fn add(&mut self, second: &Second, mode: Mode, is_open_loop: bool) {
        if !second.is_measured {
            return;
        }
        self.measured_s += second.duration_s;
        self.done += done_in(second, mode);
        if let Some(share) = second.generator_cpu_share {
            *self.generator_busy_s.get_or_insert(0.0) += share * second.duration_s;
        }
        self.late_seconds += u32::from(is_open_loop && is_late(second));
    }

    /// What was done per second, once that says something.
    pub fn per_second(&self) -> Option<f64> {
        (self.measured_s >= 1.0).then(|| self.done as f64 / self.measured_s)
    }

    /// CPU share of the generator's busiest thread, 0 to 1.
    pub fn generator_share(&self) -> Option<f64> {
        let busy_s = self.generator_busy_s.filter(|_| self.measured_s > 0.0)?;
        Some(busy_s / self.measured_s)
    }
}

/// Whether the sends of a second were later than a VALID report has them.
pub fn is_late(second: &Second) -> bool {
    second.late_p99_ns > LATE_FLOOR_NS.max(second.response.p50 / 10)
}

fn done_in(second: &Second, mode: Mode) -> u64 {
    match mode {
        Mode::Fanout => second.sent,
        _ => second.received,
    }
}

/// What does not change in a run.
#[derive(Clone, Debug)]
pub struct Asked {
    /// The command.
    pub mode: Mode,
    /// The URL, as it was typed.
    pub url: String,
    /// Connections asked for; a storm has so many at once.
    pub connections: u64,
    /// Messages after which the run ends, with `-n`.
    pub messages_max: Option<u64>,
    /// The rate changes in stages.
    pub has_stages: bool,
    /// Warm-up in nanoseconds, at most.
    pub warmup_ns: u64,
    /// Measured time in nanoseconds.
    pub duration_ns: u64,
    /// Messages per second over the measured time; `None` in a closed loop.
    pub rate: Option<f64>,
    /// Connections that come per second: what a churn asks for, if its lifetimes say so.
    pub openings_per_second: Option<f64>,
    /// Connections are held and carry no messages.
    pub is_hold_only: bool,
    /// The generator's threads never sleep, so that their CPU share says nothing.
    pub spins: bool,
}

impl Asked {
    /// Of a configuration.
    pub fn of(config: &Config) -> Asked {
        let churn = config.churn.as_ref();
        Asked {
            mode: config.mode,
            url: config.target.url.clone(),
            connections: u64::from(crate::run::all_connections(config)),
            messages_max: config.pace.messages_max,
            has_stages: !config.pace.stages.is_empty(),
            warmup_ns: config.warmup.longest_ns(),
            duration_ns: config.measured_ns(),
            rate: config.rate,
            openings_per_second: churn
                .and_then(|churn| churn.expected_per_second(config.connections)),
            is_hold_only: config.mode == Mode::Idle
                || churn.is_some_and(|churn| churn.is_hold_only),
            spins: config.spin,
        }
    }

    /// Whether what the server sends of its own is what connections are held for, and no trouble.
    pub fn hears_pushes(&self) -> bool {
        self.mode == Mode::Churn && self.is_hold_only
    }

    /// How long the load takes from its first message on, at most; `None` when that shows itself
    /// only when it has come.
    pub fn length(&self) -> Option<Duration> {
        let is_known = self.messages_max.is_none() || self.rate.is_some();
        is_known.then(|| Duration::from_nanos(self.warmup_ns.saturating_add(self.duration_ns)))
    }
}

/// The rate that is asked for now: stages change it.
pub fn target_per_second(live: &Live<'_>) -> Option<f64> {
    let config = live.config;
    let is_loaded = matches!(live.phase, LivePhase::WarmUp | LivePhase::Measuring);
    if !is_loaded || config.pace.stages.is_empty() {
        return config.rate;
    }
    let whole_ns = config.warmup.longest_ns() + config.measured_ns();
    let elapsed_ns = whole_ns.saturating_sub(live.left_ns);
    config.curve().map(|curve| curve.per_second_at(elapsed_ns))
}

/// Follows a run from look to look.
#[derive(Debug, Default)]
pub struct Follower {
    phase: Option<(LivePhase, Instant)>,
    rate_from: Option<(Instant, Reading)>,
    sent_per_second: Option<f64>,
    received_per_second: Option<f64>,
    asked: Option<Arc<Asked>>,
    seconds_seen: usize,
    last: Option<Arc<Second>>,
    measured: Option<Arc<Percentiles>>,
    rates: Arc<VecDeque<u64>>,
    columns: Arc<VecDeque<Arc<Column>>>,
    seconds_dropped: usize,
    server_rss_first_bytes: Option<u64>,
    opened_per_second: Option<f64>,
    troubles: Arc<BTreeMap<String, u64>>,
    pushed: u64,
    so_far: SoFar,
}

impl Follower {
    /// Takes a look. Costs next to nothing but once a second, and then well below a millisecond.
    pub fn look(&mut self, live: &Live<'_>, now: Instant) {
        if self.phase.is_none_or(|(phase, _)| phase != live.phase) {
            let before = self.phase.replace((live.phase, now));
            // What the opening phase counted says nothing about the rate under load. The warm-up is
            // load like any other.
            if before.is_none_or(|(phase, _)| phase != LivePhase::WarmUp) {
                self.rate_from = None;
            }
        }
        if self.asked.is_none() {
            self.asked = Some(Arc::new(Asked::of(live.config)));
        }
        self.take_rates(live.reading, now);
        let new = live.seconds.get(self.seconds_seen..).unwrap_or_default();
        for second in new {
            self.take_second(second, live.config.mode);
            let is_open_loop = live.config.rate.is_some();
            self.so_far.add(second, live.config.mode, is_open_loop);
        }
        self.seconds_seen = live.seconds.len();
        if !new.is_empty() && live.response.count() > 0 {
            self.measured = Some(Arc::new(Percentiles::of(live.response)));
        }
    }

    fn take_rates(&mut self, reading: Reading, now: Instant) {
        let Some((from, before)) = self.rate_from else {
            self.rate_from = Some((now, reading));
            return;
        };
        let elapsed = now.saturating_duration_since(from);
        if elapsed < RATE_OVER {
            return;
        }
        let per_second =
            |now: u64, before: u64| Some(now.saturating_sub(before) as f64 / elapsed.as_secs_f64());
        self.sent_per_second = per_second(reading.sent, before.sent);
        self.received_per_second = per_second(reading.received, before.received);
        self.opened_per_second = per_second(reading.opened, before.opened);
        self.rate_from = Some((now, reading));
    }

    fn take_second(&mut self, second: &Second, mode: Mode) {
        let per_second = |count: u64| (count as f64 / second.duration_s.max(1e-3)).round() as u64;
        let done = done_in(second, mode);
        // A text that does not decode would be a fault of this program; the strip shows a gap.
        let latency = Latency::decode(&second.response_histogram).unwrap_or_default();
        let (rates, columns) = (
            Arc::make_mut(&mut self.rates),
            Arc::make_mut(&mut self.columns),
        );
        if rates.len() >= SECONDS_KEPT {
            rates.pop_front();
        }
        if columns.len() >= SECONDS_KEPT {
            columns.pop_front();
            self.seconds_dropped += 1;
        }
        rates.push_back(per_second(done));
        if columns.is_empty() && (!second.is_measured || latency.count() == 0) {
            // The warm-up is not measured: the strip begins where there is something to see.
            self.seconds_dropped += 1;
        } else {
            columns.push_back(Arc::new(Column::of(&latency)));
        }
        self.server_rss_first_bytes = self.server_rss_first_bytes.or(second.server_rss_bytes);
        let mut new = second.troubles.clone();
        if self
            .asked
            .as_ref()
            .is_some_and(|asked| asked.hears_pushes())
        {
            self.pushed += new.remove("unsolicited").unwrap_or(0);
        }
        add_counts(Arc::make_mut(&mut self.troubles), &new);
        self.last = Some(Arc::new(second.clone()));
    }

    /// What there is to see now; `None` before the first look.
    pub fn view(&self, live: &Live<'_>, now: Instant) -> Option<View> {
        let (phase, phase_began) = self.phase?;
        Some(View {
            asked: Arc::clone(self.asked.as_ref()?),
            phase,
            phase_elapsed: now.saturating_duration_since(phase_began),
            left_ns: live.left_ns,
            reading: live.reading,
            target_per_second: target_per_second(live),
            sent_per_second: self.sent_per_second,
            received_per_second: self.received_per_second,
            last: self.last.clone(),
            measured: self.measured.clone(),
            rates: Arc::clone(&self.rates),
            columns: Arc::clone(&self.columns),
            seconds_dropped: self.seconds_dropped,
            server_rss_first_bytes: self.server_rss_first_bytes,
            opened_per_second: self.opened_per_second,
            troubles: Arc::clone(&self.troubles),
            pushed: self.pushed,
            so_far: self.so_far,
        })
    }
}

impl View {
    /// The same when all is over and `report` says how it was: what nobody could see of the last
    /// second is in it, and rates are those of the whole measurement.
    pub fn closed(&self, report: &Report) -> View {
        let (response, done) = (&report.latency_ns.response, report.messages_per_second);
        let (sent, received) = match (self.asked.mode, &report.fanout) {
            (Mode::Fanout, Some(fanout)) => {
                (fanout.published_per_second, fanout.deliveries_per_second)
            }
            _ => (done, done),
        };
        let churn = report.churn.as_ref();
        View {
            phase: LivePhase::Draining,
            measured: (response.count > 0).then(|| Arc::new(response.clone())),
            sent_per_second: Some(sent),
            received_per_second: Some(received),
            target_per_second: report.target_per_second,
            opened_per_second: churn.map(|churn| churn.opened_per_second),
            ..self.clone()
        }
    }

    /// The phase in words.
    pub fn phase_text(&self) -> &'static str {
        match self.phase {
            LivePhase::Opening => "opening",
            LivePhase::Subscribing => "subscribing",
            LivePhase::WarmUp => "warm-up",
            LivePhase::Measuring if self.asked.mode == Mode::Idle => "holding",
            LivePhase::Measuring => "measuring",
            LivePhase::Draining => "draining",
        }
    }

    /// How far the phase is, 0 to 1, where that is known.
    pub fn progress(&self) -> Option<f64> {
        let share = |part: f64, whole: f64| (whole > 0.0).then(|| (part / whole).clamp(0.0, 1.0));
        if self.phase == LivePhase::Measuring
            && let Some(messages_max) = self.asked.messages_max
        {
            return share(self.reading.sent as f64, messages_max as f64);
        }
        match self.phase {
            LivePhase::Opening => share(
                self.reading.opened as f64 + self.reading.failed as f64,
                self.asked.connections as f64,
            ),
            LivePhase::WarmUp => share(
                self.phase_elapsed.as_nanos() as f64,
                self.asked.warmup_ns as f64,
            ),
            LivePhase::Measuring => share(
                self.asked.duration_ns.saturating_sub(self.left_ns) as f64,
                self.asked.duration_ns as f64,
            ),
            LivePhase::Subscribing | LivePhase::Draining => None,
        }
    }

    /// Messages sent that have no reply yet (fan-out: copies that are not delivered yet).
    pub fn under_way(&self) -> u64 {
        let (reading, fanout) = (self.reading, self.reading.fanout);
        match self.asked.mode {
            Mode::Fanout => fanout.owed.saturating_sub(fanout.settled),
            _ => reading.sent.saturating_sub(reading.received),
        }
    }
}
