//! The number that a threshold is about, read off a finished report.
//!
//! Percentiles come from the whole histograms that a report carries, so that any of them can be
//! asked for; reports without histograms still answer the printed ones.

use super::metric::{Metric, Statistic};
use super::threshold::Threshold;
use crate::measure::figures::Percentiles;
use crate::measure::latency::Latency;
use crate::measure::model::{Report, ThresholdResult};

/// A percentile with fewer values above it is decided by chance.
const ABOVE_MIN: f64 = 10.0;

/// Holds a report against a threshold.
pub fn judge(report: &Report, threshold: &Threshold) -> ThresholdResult {
    let measured = measure(report, threshold.metric, threshold.statistic);
    let text = match measured {
        Some(value) => {
            let chance = chance(report, threshold).unwrap_or_default();
            format!("{}{chance}", threshold.unit().format(value))
        }
        None => "not measured".to_owned(),
    };
    ThresholdResult {
        expression: threshold.to_string(),
        measured,
        is_met: measured.is_some_and(|value| threshold.is_met_by(value)),
        text,
    }
}

/// The value, in the unit of its metric; `None` when the run did not measure it.
pub fn measure(report: &Report, metric: Metric, statistic: Statistic) -> Option<f64> {
    if !metric.is_scalar() {
        return latency(report, metric, statistic);
    }
    let server = report.server.as_ref();
    let connections = &report.connections;
    let share = |part: u64, whole: u64| (whole > 0).then(|| part as f64 / whole as f64);
    match metric {
        Metric::FanoutReach => report.delivered_share,
        Metric::ErrorsRatio => share(errors(report), attempts(report)),
        Metric::ErrorsCount => Some(errors(report) as f64),
        // A churn asks for many more connections than it holds: its clients are what counts.
        Metric::AliveRatio => match &report.churn {
            Some(churn) if report.mode == "churn" => share(churn.alive, churn.clients),
            _ => share(connections.alive, connections.asked),
        },
        Metric::LostCount => Some(report.messages.lost as f64),
        Metric::ServerCpu => server?.busy_share,
        Metric::ServerMemory => server?.rss_bytes_per_connection,
        Metric::Rate => Some(report.messages_per_second),
        Metric::ChurnRate => Some(report.churn.as_ref()?.opened_per_second),
        _ => None,
    }
}

fn errors(report: &Report) -> u64 {
    report.errors.values().sum()
}

/// Connections and messages; a cycle of a storm is one attempt, whatever it sent.
fn attempts(report: &Report) -> u64 {
    let messages = if report.mode == "storm" {
        0
    } else {
        report.messages.sent
    };
    report.connections.asked.saturating_add(messages)
}

fn latency(report: &Report, metric: Metric, statistic: Statistic) -> Option<f64> {
    let (name, figures) = source(report, metric)?;
    if let Some(latency) = stored(report, name) {
        return Some(read(&latency, statistic, report.duration_s))
            .filter(|value| value.is_finite());
    }
    printed(figures?, statistic, report.duration_s)
}

/// The whole histogram of a name. A report that somebody has damaged has none.
fn stored(report: &Report, name: &str) -> Option<Latency> {
    let latency = Latency::decode(report.histograms.get(name)?).ok()?;
    (latency.count() > 0).then_some(latency)
}

/// Where the values of a latency lie: the name of the histogram, and what the report prints of it.
fn source(report: &Report, metric: Metric) -> Option<(&'static str, Option<&Percentiles>)> {
    let latencies = &report.latency_ns;
    let response = ("response", Some(&latencies.response));
    let fanout = report.fanout.as_ref().map(|fanout| &fanout.message);
    Some(match metric {
        Metric::Echo if report.mode == "echo" => response,
        Metric::Fanout if report.mode == "fanout" => response,
        Metric::Storm if report.mode == "storm" => response,
        Metric::Response => response,
        // In a closed loop both are the same, and one histogram is kept.
        Metric::Service if report.loop_model == "closed" => response,
        Metric::Service => ("service", Some(&latencies.service)),
        Metric::FanoutFirst => ("fanout_first", fanout.map(|message| &message.first_ns)),
        Metric::FanoutLast => ("fanout_last", fanout.map(|message| &message.last_ns)),
        Metric::FanoutSpread => ("fanout_spread", fanout.map(|message| &message.spread_ns)),
        Metric::ConnectTcp => ("connect", Some(&latencies.connect)),
        Metric::ConnectTls => ("tls", latencies.tls.as_ref()),
        Metric::ConnectUpgrade => ("upgrade", Some(&latencies.upgrade)),
        // A storm counts from when a connection was due until its message was answered.
        Metric::ConnectReady if report.mode == "storm" => response,
        Metric::ConnectReady => ("ready", None),
        Metric::ChurnRecover => {
            let churn = report.churn.as_ref()?;
            ("recover", Some(&churn.recover_ns))
        }
        Metric::GeneratorLate => ("late", Some(&report.generator.late_ns)),
        _ => return None,
    })
}

/// Reads any statistic off a histogram that holds values.
pub fn read(latency: &Latency, statistic: Statistic, seconds: f64) -> f64 {
    match statistic {
        Statistic::Min => latency
            .histogram()
            .map_or(0.0, |histogram| histogram.min() as f64),
        Statistic::Mean => latency.mean(),
        Statistic::Quantile(quantile) => latency.quantile(quantile) as f64,
        Statistic::Max => latency.max() as f64,
        Statistic::Count | Statistic::Value => latency.count() as f64,
        Statistic::Rate => latency.count() as f64 / seconds,
    }
}

fn printed(figures: &Percentiles, statistic: Statistic, seconds: f64) -> Option<f64> {
    if figures.count == 0 {
        return None;
    }
    let is = |quantile: f64, known: f64| (quantile - known).abs() < 1e-9;
    match statistic {
        Statistic::Mean => Some(figures.mean),
        Statistic::Max => Some(figures.max as f64),
        Statistic::Count => Some(figures.count as f64),
        Statistic::Rate => (seconds > 0.0).then(|| figures.count as f64 / seconds),
        Statistic::Quantile(quantile) => {
            let known = [
                (0.5, figures.p50),
                (0.9, figures.p90),
                (0.99, figures.p99),
                (0.999, figures.p999),
                (0.9999, figures.p9999),
            ];
            let found = known.iter().find(|(known, _)| is(quantile, *known));
            found.map(|(_, value)| *value as f64)
        }
        Statistic::Min | Statistic::Value => None,
    }
}

/// A remark when too few values lie above a percentile for it to mean something.
fn chance(report: &Report, threshold: &Threshold) -> Option<String> {
    let Statistic::Quantile(quantile) = threshold.statistic else {
        return None;
    };
    let count = latency(report, threshold.metric, Statistic::Count)?;
    let is_few = count * (1.0 - quantile) < ABOVE_MIN - 1e-6;
    is_few.then(|| format!(", of {count} values: chance decides it"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::judge::testing::report;

    fn result(report: &Report, expression: &str) -> ThresholdResult {
        judge(report, &Threshold::parse(expression).expect(expression))
    }

    #[test]
    fn any_percentile_comes_from_the_histogram() {
        let mut report = report("echo");
        let mut latency = Latency::default();
        (1..=100_000u64).for_each(|value| latency.record(value * 1_000));
        report
            .histograms
            .insert("response".into(), latency.encode());
        report.duration_s = 10.0;
        for (expression, is_met, near) in [
            ("echo.p75<80ms", true, 75e6),
            ("echo.p97.5<80ms", false, 97.5e6),
            ("echo.p99.9<=100ms", true, 99.9e6),
            ("response.max>1s", false, 100e6),
            ("echo.min<2us", true, 1e3),
            ("echo.mean<51ms", true, 50e6),
            ("echo.count==100k", true, 1e5),
            ("echo.rate>=10k", true, 1e4),
            // The closed loop keeps one histogram for both.
            ("service.p50<60ms", true, 50e6),
        ] {
            let found = result(&report, expression);
            assert_eq!(found.is_met, is_met, "{expression}: {found:?}");
            let value = found.measured.expect(expression);
            assert!((value / near - 1.0).abs() < 0.002, "{expression}: {value}");
        }
        assert!(!result(&report, "echo.p99<1s").text.contains("chance"));
        assert!(
            result(&report, "echo.p99.999<1s")
                .text
                .contains("chance decides it")
        );
    }

    #[test]
    fn without_histograms_the_printed_percentiles_answer() {
        let mut report = report("echo");
        report.latency_ns.response = Percentiles {
            count: 1_000,
            p99: 5_000,
            mean: 2_000.0,
            ..Percentiles::default()
        };
        assert!(result(&report, "echo.p99<6us").is_met);
        assert!(result(&report, "echo.mean<3us").is_met);
        let found = result(&report, "echo.p98<1s");
        assert_eq!((found.measured, found.is_met), (None, false));
        assert_eq!(found.text, "not measured");
        report
            .histograms
            .insert("response".into(), "rubbish".into());
        assert!(result(&report, "echo.p99<6us").is_met, "falls back");
    }

    #[test]
    fn one_number_metrics() {
        let mut report = report("echo");
        report.connections.asked = 100;
        report.connections.alive = 99;
        report.messages.sent = 900;
        report.messages.lost = 3;
        report.errors.insert("corrupt_reply".into(), 4);
        report.errors.insert("connect".into(), 1);
        report.messages_per_second = 1_234.0;
        for (expression, is_met, text) in [
            ("alive.ratio>=99%", true, "99%"),
            ("alive.ratio==100%", false, "99%"),
            ("lost.count<3", false, "3"),
            ("errors.count==5", true, "5"),
            ("errors.ratio<0.4%", false, "0.5%"),
            ("rate>1k", true, "1,234/s"),
            ("server.cpu<50%", false, "not measured"),
            ("fanout.reach==100%", false, "not measured"),
            ("storm.p99<1s", false, "not measured"),
        ] {
            let found = result(&report, expression);
            assert_eq!(
                (found.is_met, found.text.as_str()),
                (is_met, text),
                "{expression}"
            );
        }
    }
}
