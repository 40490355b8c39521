//! `--abort-on`: ends a run as soon as a condition holds.

use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use super::measure::read;
use super::metric::Metric;
use super::threshold::Threshold;
use crate::config::Mode;
use crate::measure::model::ThresholdResult;
use crate::measure::series::Second;
use crate::measure::watch::{Flow, Live, LivePhase, Watch};
use crate::run::all_connections;

/// Into the measurement: the first moments of a load say little about the rest.
const GRACE: Duration = Duration::from_secs(2);

/// Where a condition that held is found after the run.
pub type Fired = Arc<OnceLock<ThresholdResult>>;

/// Looks at the run and ends it.
#[derive(Debug)]
pub struct AbortWatch {
    conditions: Vec<Threshold>,
    fired: Fired,
    measuring_since: Option<Instant>,
    /// Rows that the latencies were read at: they change with a new row only.
    rows: usize,
}

impl AbortWatch {
    /// Watches for any of the conditions; the first that holds is left in `fired`.
    pub fn new(conditions: Vec<Threshold>, fired: Fired) -> AbortWatch {
        AbortWatch {
            conditions,
            fired,
            measuring_since: None,
            rows: 0,
        }
    }

    fn holding(&self, live: &Live<'_>, has_new_row: bool) -> Option<(&Threshold, f64)> {
        self.conditions
            .iter()
            .filter(|condition| has_new_row || !needs_rows(condition.metric))
            .filter_map(|condition| Some((condition, value(condition, live)?)))
            .find(|(condition, value)| condition.is_met_by(*value))
    }
}

impl Watch for AbortWatch {
    fn look(&mut self, live: &Live<'_>) -> Flow {
        if live.phase != LivePhase::Measuring || self.fired.get().is_some() {
            return Flow::Continue;
        }
        let measured = self
            .measuring_since
            .get_or_insert_with(Instant::now)
            .elapsed();
        if measured < GRACE {
            return Flow::Continue;
        }
        let has_new_row = live.seconds.len() != self.rows;
        self.rows = live.seconds.len();
        let Some((condition, value)) = self.holding(live, has_new_row) else {
            return Flow::Continue;
        };
        let (shown, after_s) = (condition.unit().format(value), measured.as_secs_f64());
        let reason = format!("ended by --abort-on {condition}: {shown} after {after_s:.1}s");
        let _ = self.fired.set(ThresholdResult {
            expression: format!("abort-on {condition}"),
            measured: Some(value),
            is_met: false,
            text: format!("{shown} after {after_s:.1}s"),
        });
        Flow::Stop(reason)
    }
}

fn needs_rows(metric: Metric) -> bool {
    !matches!(
        metric,
        Metric::ErrorsRatio | Metric::ErrorsCount | Metric::AliveRatio
    )
}

fn measured<'a>(live: &'a Live<'_>) -> impl Iterator<Item = &'a Second> {
    live.seconds.iter().filter(|second| second.is_measured)
}

fn value(condition: &Threshold, live: &Live<'_>) -> Option<f64> {
    let asked = u64::from(all_connections(live.config));
    let reading = &live.reading;
    match condition.metric {
        Metric::Echo | Metric::Response | Metric::Fanout | Metric::Storm => {
            let latency = live.response;
            (latency.count() > 0).then(|| read(latency, condition.statistic, 0.0))
        }
        Metric::ErrorsCount => Some(reading.failed as f64),
        Metric::ErrorsRatio => {
            let is_storm = live.config.mode == Mode::Storm;
            let attempts = if is_storm {
                reading.sent
            } else {
                asked + reading.sent
            };
            (attempts > 0).then(|| reading.failed as f64 / attempts as f64)
        }
        Metric::AliveRatio => (asked > 0).then(|| reading.open as f64 / asked as f64),
        Metric::Rate => {
            let is_fanout = live.config.mode == Mode::Fanout;
            let count = |second: &Second| {
                if is_fanout {
                    second.sent
                } else {
                    second.received
                }
            };
            let (count, seconds) = measured(live).fold((0, 0.0), |(sum, seconds), second| {
                (sum + count(second), seconds + second.duration_s)
            });
            (seconds > 0.0).then(|| count as f64 / seconds)
        }
        Metric::ServerCpu => {
            let shares = measured(live)
                .filter_map(|second| Some((second.server_busy_share?, second.duration_s)));
            let (busy_s, seconds) = shares.fold((0.0, 0.0), |(busy_s, seconds), (share, took)| {
                (busy_s + share * took, seconds + took)
            });
            (seconds > 0.0).then(|| busy_s / seconds)
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::judge::testing::config;
    use crate::measure::gauges::Reading;
    use crate::measure::latency::Latency;

    fn watch(expression: &str) -> (AbortWatch, Fired) {
        let fired = Fired::default();
        let condition = Threshold::parse(expression).expect(expression);
        (AbortWatch::new(vec![condition], Arc::clone(&fired)), fired)
    }

    fn second(received: u64, busy: f64) -> Second {
        Second {
            duration_s: 1.0,
            is_measured: true,
            received,
            server_busy_share: Some(busy),
            ..Second::default()
        }
    }

    #[test]
    fn fires_once_after_the_grace_and_only_while_measuring() {
        let config = config("echo ws://127.0.0.1 -c 10");
        let mut slow = Latency::default();
        slow.record(300_000_000);
        let seconds = [second(500, 0.5), second(700, 0.7)];
        for (expression, does_fire) in [
            ("echo.p99>100ms", true),
            ("echo.p99>400ms", false),
            ("rate<601", true),
            ("rate<599", false),
            ("server.cpu>=59%", true),
            ("alive.ratio<95%", true),
            ("alive.ratio<90%", false),
            ("errors.count>0", true),
            ("errors.ratio>1%", false),
        ] {
            let (mut watch, fired) = watch(expression);
            let live = Live {
                config: &config,
                phase: LivePhase::Measuring,
                left_ns: 0,
                reading: Reading {
                    failed: 1,
                    open: 9,
                    sent: 1_000,
                    ..Reading::default()
                },
                seconds: &seconds,
                response: &slow,
            };
            assert_eq!(watch.look(&live), Flow::Continue, "{expression}: too early");
            watch.measuring_since = Instant::now().checked_sub(GRACE);
            let draining = Live {
                phase: LivePhase::Draining,
                ..live
            };
            assert_eq!(
                watch.look(&draining),
                Flow::Continue,
                "{expression}: too late"
            );
            let flow = watch.look(&live);
            assert_eq!(
                matches!(flow, Flow::Stop(_)),
                does_fire,
                "{expression}: {flow:?}"
            );
            assert_eq!(fired.get().is_some(), does_fire, "{expression}");
            assert_eq!(watch.look(&live), Flow::Continue, "{expression}: once");
        }
    }
}
