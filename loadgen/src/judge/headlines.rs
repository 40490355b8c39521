//! The figures that runs are compared by, and whether runs may be compared at all.

use serde::Serialize;

use super::metric::Unit;
use crate::measure::figures::Percentiles;
use crate::measure::model::Report;
use crate::quantity::{format_count, format_size};
use crate::statistics::comparison::Better;

/// One figure of a run.
#[derive(Clone, Debug, PartialEq)]
pub struct Headline {
    /// Its name.
    pub name: &'static str,
    /// What the value means.
    pub unit: Unit,
    /// Which way is better.
    pub better: Better,
    /// Takes part in the tests. At most six do (see `statistics::comparison::TESTED_MAX`): medians,
    /// tails and costs. A 90th percentile says little beside them, and a maximum is one message.
    pub is_tested: bool,
    /// The value; `None` when this run did not measure it.
    pub value: Option<f64>,
}

fn shown(name: &'static str, unit: Unit, better: Better, value: Option<f64>) -> Headline {
    Headline {
        name,
        unit,
        better,
        is_tested: false,
        value,
    }
}

fn tested(name: &'static str, unit: Unit, better: Better, value: Option<f64>) -> Headline {
    Headline {
        is_tested: true,
        ..shown(name, unit, better, value)
    }
}

/// The figures of a run, in the order in which they are shown: the same for all runs of a command
/// and loop model.
pub fn headlines(report: &Report) -> Vec<Headline> {
    use Better::{Higher, Lower};
    use Unit::{Bytes, Nanoseconds, PerSecond, Share};
    let is_fanout = report.mode == "fanout";
    let rate = Some(report.messages_per_second);
    let mut all = match (&*report.mode, report.target_per_second) {
        ("idle", _) => vec![shown("alive", Share, Higher, alive(report))],
        // The schedule decides the rate of an open loop.
        (_, Some(_)) => vec![shown("rate", PerSecond, Higher, rate)],
        (_, None) => vec![tested("rate", PerSecond, Higher, rate)],
    };
    let response = Some(&report.latency_ns.response).filter(|latency| latency.count > 0);
    let of = |read: fn(&Percentiles) -> u64| response.map(|latency| read(latency) as f64);
    all.extend([
        tested(
            "response p50",
            Nanoseconds,
            Lower,
            of(|latency| latency.p50),
        ),
        shown(
            "response p90",
            Nanoseconds,
            Lower,
            of(|latency| latency.p90),
        ),
        tested(
            "response p99",
            Nanoseconds,
            Lower,
            of(|latency| latency.p99),
        ),
        tested(
            "response p99.9",
            Nanoseconds,
            Lower,
            of(|latency| latency.p999),
        ),
        shown(
            "response max",
            Nanoseconds,
            Lower,
            of(|latency| latency.max),
        ),
    ]);
    if is_fanout {
        let message = report.fanout.as_ref().map(|fanout| &fanout.message);
        let message = message.filter(|message| message.last_ns.count > 0);
        let last = message.map(|message| message.last_ns.p99 as f64);
        let spread = message.map(|message| message.spread_ns.p99 as f64);
        all.extend([
            tested("last copy p99", Nanoseconds, Lower, last),
            shown("spread p99", Nanoseconds, Lower, spread),
            shown("reach", Share, Higher, report.delivered_share),
        ]);
    }
    let upgrade = Some(&report.latency_ns.upgrade).filter(|latency| latency.count > 0);
    let upgrade = upgrade.map(|latency| latency.p99 as f64);
    all.push(shown("opening handshake p99", Nanoseconds, Lower, upgrade));
    let server = report.server.as_ref();
    let cpu = server.and_then(|server| server.cpu_ns_per_message);
    let memory = server.and_then(|server| server.rss_bytes_per_connection);
    all.push(tested("server CPU per message", Nanoseconds, Lower, cpu));
    let is_storm = report.mode == "storm";
    let memory = memory.filter(|bytes| !is_storm && *bytes > 0.0);
    all.push(tested("server memory per connection", Bytes, Lower, memory));
    all
}

fn alive(report: &Report) -> Option<f64> {
    let connections = &report.connections;
    (connections.asked > 0).then(|| connections.alive as f64 / connections.asked as f64)
}

/// A setting in which runs must agree to be comparable.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Setting {
    /// Its name.
    pub name: &'static str,
    /// As a person reads it.
    pub value: String,
}

/// Everything in which runs must agree.
pub fn settings(report: &Report) -> Vec<Setting> {
    let config = &report.config;
    let setting = |name, value: String| Setting { name, value };
    let yes_or_no = |is_so: bool| if is_so { "yes" } else { "no" }.to_owned();
    let rate = report.target_per_second;
    let mut all = vec![
        setting("mode", report.mode.to_string()),
        setting("loop model", report.loop_model.to_string()),
        setting(
            "rate",
            rate.map_or_else(|| "none".to_owned(), |rate| Unit::PerSecond.format(rate)),
        ),
        setting("connections", format_count(u64::from(config.connections))),
        setting(
            "payload size",
            format_size(config.message_size_bytes as u64),
        ),
        setting("payload kind", config.message_kind.to_string()),
        setting("in flight", config.in_flight.to_string()),
        setting("tls", yes_or_no(report.url.starts_with("wss:"))),
        setting("deflate", yes_or_no(config.deflate_offered)),
        setting(
            "host",
            report
                .environment
                .host_id
                .clone()
                .unwrap_or_else(|| "unknown".into()),
        ),
    ];
    if let Some(fanout) = &report.fanout {
        // Any of its settings changes what is measured; compared as they are written.
        let written = serde_json::to_string(&fanout.settings).unwrap_or_default();
        all.push(setting("fan-out settings", written));
    }
    all
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::judge::testing::report;
    use crate::statistics::comparison::TESTED_MAX;

    #[test]
    fn no_command_tests_more_figures_than_five_runs_can_bear() {
        // A fan-out always has a rate.
        for (mode, target) in [
            ("echo", None),
            ("echo", Some(10.0)),
            ("storm", None),
            ("idle", None),
            ("fanout", Some(10.0)),
        ] {
            let mut report = report(mode);
            report.target_per_second = target;
            let headlines = headlines(&report);
            let tested = headlines
                .iter()
                .filter(|headline| headline.is_tested)
                .count();
            assert!(
                (1..=TESTED_MAX).contains(&tested),
                "{mode} {target:?}: {tested}"
            );
        }
    }

    #[test]
    fn settings_tell_runs_apart() {
        let one = report("echo");
        let differing = |change: fn(&mut Report)| {
            let mut other = one.clone();
            change(&mut other);
            let pairs = settings(&one).into_iter().zip(settings(&other));
            let names: Vec<&str> = pairs
                .filter(|(one, other)| one != other)
                .map(|(one, _)| one.name)
                .collect();
            names.join(",")
        };
        assert_eq!(differing(|_| {}), "");
        assert_eq!(
            differing(|other| other.target_per_second = Some(5.0)),
            "rate"
        );
        assert_eq!(
            differing(|other| other.config.connections += 1),
            "connections"
        );
        assert_eq!(
            differing(|other| other.config.message_size_bytes += 1),
            "payload size"
        );
        assert_eq!(differing(|other| other.config.in_flight += 1), "in flight");
        assert_eq!(
            differing(|other| other.config.deflate_offered = true),
            "deflate"
        );
        assert_eq!(
            differing(|other| other.url = "wss://127.0.0.1".into()),
            "tls"
        );
        assert_eq!(
            differing(|other| other.environment.host_id = Some("x".into())),
            "host"
        );
        assert_eq!(
            differing(|other| other.loop_model = "open".into()),
            "loop model"
        );
    }
}
