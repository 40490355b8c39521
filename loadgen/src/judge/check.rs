//! Whether a run will measure what a threshold is about: said before the run, not after it.

use super::metric::{METRICS, Metric, Statistic};
use super::threshold::Threshold;
use crate::config::{Config, Mode};

/// Checks all thresholds and abort conditions of a run.
///
/// # Errors
/// Which of them cannot be measured, why, and what can.
pub fn check(config: &Config) -> Result<(), String> {
    for threshold in &config.judge.thresholds {
        measured_by(config, threshold.metric)
            .map_err(|cause| refusal(config, "--threshold", threshold, &cause))?;
    }
    for threshold in &config.judge.abort_on {
        measured_by(config, threshold.metric)
            .and_then(|()| seen_while_it_lasts(threshold))
            .map_err(|cause| refusal(config, "--abort-on", threshold, &cause))?;
    }
    Ok(())
}

fn refusal(config: &Config, option: &str, threshold: &Threshold, cause: &str) -> String {
    let names: Vec<&str> = METRICS
        .iter()
        .filter(|(_, metric)| measured_by(config, *metric).is_ok())
        .filter(|(_, metric)| option == "--threshold" || is_live(*metric))
        .map(|(name, _)| *name)
        .collect();
    format!(
        "{option} '{threshold}': {cause}. Here there are {}",
        names.join(", ")
    )
}

fn measured_by(config: &Config, metric: Metric) -> Result<(), String> {
    let mode = config.mode;
    let only = |wanted: Mode| {
        if mode == wanted {
            Ok(())
        } else {
            let (name, wanted) = (metric.name(), wanted.as_str());
            Err(format!(
                "{name} is measured by `{wanted}`, not by `{}`",
                mode.as_str()
            ))
        }
    };
    let not_by = |unwanted: Mode, why: &str| {
        if mode == unwanted {
            Err(format!("`{}` {why}", mode.as_str()))
        } else {
            Ok(())
        }
    };
    let needs = |is_there: bool, cause: &str| {
        if is_there {
            Ok(())
        } else {
            Err(cause.to_owned())
        }
    };
    match metric {
        Metric::Echo => only(Mode::Echo),
        Metric::Storm | Metric::ConnectReady => only(Mode::Storm),
        Metric::ChurnRecover | Metric::ChurnRate => only(Mode::Churn),
        Metric::Fanout
        | Metric::FanoutFirst
        | Metric::FanoutLast
        | Metric::FanoutSpread
        | Metric::FanoutReach => only(Mode::Fanout),
        Metric::Response | Metric::Service | Metric::Rate | Metric::LostCount => {
            not_by(Mode::Idle, "sends no messages")
        }
        Metric::AliveRatio => not_by(Mode::Storm, "ends every connection itself"),
        Metric::GeneratorLate => needs(
            config.is_open_loop(),
            "without a rate (-R) there is no schedule to be late for",
        ),
        Metric::ConnectTls => needs(
            config.target.url.starts_with("wss:"),
            "only wss:// has a TLS handshake",
        ),
        Metric::ServerCpu => needs(config.server_pid.is_some(), "it needs --server-pid"),
        Metric::ServerMemory => {
            not_by(Mode::Storm, "holds no connections")?;
            needs(config.server_pid.is_some(), "it needs --server-pid")
        }
        Metric::ConnectTcp | Metric::ConnectUpgrade | Metric::ErrorsRatio | Metric::ErrorsCount => {
            Ok(())
        }
    }
}

/// Whether a value can be told while the run lasts.
pub fn is_live(metric: Metric) -> bool {
    matches!(
        metric,
        Metric::Echo
            | Metric::Response
            | Metric::Fanout
            | Metric::Storm
            | Metric::ErrorsRatio
            | Metric::ErrorsCount
            | Metric::AliveRatio
            | Metric::ServerCpu
            | Metric::Rate
    )
}

fn seen_while_it_lasts(threshold: &Threshold) -> Result<(), String> {
    if is_live(threshold.metric) && threshold.statistic != Statistic::Rate {
        Ok(())
    } else {
        Err("it is not known before the run is over; use --threshold".to_owned())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::judge::testing::config;

    #[test]
    fn what_a_run_does_not_measure_is_refused_before_it() {
        for (line, word) in [
            ("echo ws://127.0.0.1 --threshold fanout.p99<1ms", "`fanout`"),
            (
                "echo ws://127.0.0.1 --threshold server.cpu<90%",
                "--server-pid",
            ),
            ("echo ws://127.0.0.1 --threshold gen.late.p99<1ms", "(-R)"),
            (
                "echo ws://127.0.0.1 --threshold connect.tls.p99<1ms",
                "wss://",
            ),
            (
                "idle ws://127.0.0.1 --threshold response.p99<1ms",
                "sends no messages",
            ),
            (
                "storm ws://127.0.0.1 --threshold alive.ratio>0.5",
                "ends every",
            ),
            (
                "fanout ws://127.0.0.1 -R 5 --threshold echo.p99<1ms",
                "fanout.spread",
            ),
            (
                "echo ws://127.0.0.1 --abort-on connect.tcp.p99>1ms",
                "--threshold",
            ),
        ] {
            let error = check(&config(line)).expect_err(line);
            assert!(error.contains(word), "{line}: {error}");
        }
    }

    #[test]
    fn what_a_run_measures_is_accepted() {
        for line in [
            "echo ws://127.0.0.1 -R 5 --threshold gen.late.p99<1ms --threshold p(99)<5",
            "echo ws://127.0.0.1 --server-pid 1 --threshold server.rss_per_conn<4KiB",
            "fanout ws://127.0.0.1 -R 5 --threshold fanout.reach==1 --abort-on fanout.p99>1s",
            "storm ws://127.0.0.1 --threshold connect.ready.p99<1s --threshold storm.p50<1s",
            "idle ws://127.0.0.1 --threshold alive.ratio==1 --abort-on errors.count>0",
        ] {
            assert_eq!(check(&config(line)), Ok(()), "{line}");
        }
    }
}
