//! Servers with a known delay: every percentile against theory.

use hdrhistogram::Histogram;

use super::{Case, Context, Findings};
use crate::selftest::check::{Check, TIMING_SHARE_MAX};
use crate::selftest::scripts::delays::Dealer;
use crate::selftest::server::Entrance;
use crate::selftest::theory::{Delay, deck, dkw_bound};

/// Always the same.
pub const FIXED: Case = Case {
    name: "latency-fixed",
    title: "a server that always takes the same time",
    is_in_short: true,
    body: fixed,
};

/// A long tail.
pub const EXPONENTIAL: Case = Case {
    name: "latency-exponential",
    title: "a server whose delays are exponentially distributed",
    is_in_short: true,
    body: exponential,
};

/// Two peaks.
pub const BIMODAL: Case = Case {
    name: "latency-bimodal",
    title: "a server that is fast for 95 % and slow for 5 % of the messages",
    is_in_short: true,
    body: bimodal,
};

/// A curve that departs further than chance lets it once in a thousand tests is wrong.
const DKW_ALPHA: f64 = 0.001;
/// So many that a delayed message rarely meets a younger one of its own connection.
const CONNECTIONS: u32 = 200;

fn fixed(context: &Context) -> Findings {
    let delay_ns = context.form.pick(150e6, 10e6, 10e6);
    let percentiles: &[f64] = context.form.pick(&[0.5, 0.9, 0.99], &QUANTILES, &QUANTILES);
    known(context, Delay::Fixed { delay_ns }, percentiles)
}

const QUANTILES: [f64; 4] = [0.5, 0.9, 0.99, 0.999];

fn exponential(context: &Context) -> Findings {
    let mean_ns = context.form.pick(100e6, 20e6, 20e6);
    known(context, Delay::Exponential { mean_ns }, &QUANTILES)
}

fn bimodal(context: &Context) -> Findings {
    let delay = Delay::Bimodal {
        fast_ns: context.form.pick(150e6, 10e6, 10e6),
        slow_ns: context.form.pick(400e6, 50e6, 50e6),
        slow_share: 0.05,
    };
    known(context, delay, &QUANTILES)
}

fn known(context: &Context, delay: Delay, quantiles: &[f64]) -> Findings {
    let rate = context.form.pick(2_500, 5_000, 10_000);
    let seconds = context.form.pick(4, 10, 60);
    let count = rate * seconds;
    let slower = if context.is_canary { 1.1 } else { 1.0 };
    let cards = deck(&delay, count, context.seed)
        .into_iter()
        .map(|ns| (ns as f64 * slower) as u64)
        .collect();
    let line = format!("echo {{url}} -c {CONNECTIONS} -R {rate} -d {seconds}s -w 0s");
    let played = context.play(Dealer::new(cards), Entrance::Everybody, &line)?;
    let histogram = played.outcome.histogram("response")?;
    let mut checks: Vec<Check> = quantiles
        .iter()
        .map(|quantile| {
            Check::time(
                format!("response p{}", quantile * 100.0),
                delay.quantile_ns(*quantile),
                histogram.value_at_quantile(*quantile),
                TIMING_SHARE_MAX,
            )
        })
        .collect();
    if !matches!(delay, Delay::Fixed { .. }) {
        checks.push(whole_curve(&delay, &histogram));
    }
    checks.push(Check::exact(
        "messages sent",
        count,
        played.outcome.count("/messages/sent")?,
    ));
    checks.push(Check::exact(
        "messages received",
        count,
        played.outcome.count("/messages/received")?,
    ));
    checks.extend(played.accounts()?);
    Ok(checks)
}

/// The largest distance between the measured curve and theory, at every step of the histogram.
/// Times may be off by the 3 % that percentiles may be off by; what is left must be within what
/// chance allows (DKW).
fn whole_curve(delay: &Delay, histogram: &Histogram<u64>) -> Check {
    let total = histogram.len().max(1) as f64;
    let mut seen = 0u64;
    let mut distance: f64 = 0.0;
    for step in histogram.iter_recorded() {
        let ns = step.value_iterated_to() as f64;
        let below = seen as f64 / total;
        seen += step.count_since_last_iteration();
        let up_to = seen as f64 / total;
        let least = delay.share_within(ns * (1.0 - TIMING_SHARE_MAX));
        let most = delay.share_within(ns * (1.0 + TIMING_SHARE_MAX));
        distance = distance.max(up_to - most).max(least - below);
    }
    let bound = dkw_bound(histogram.len(), DKW_ALPHA);
    Check::distance(
        "whole curve against theory",
        0.0,
        distance,
        bound,
        "DKW beyond 3 %",
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn curve(delay: &Delay, recorded: &Delay) -> Check {
        let mut histogram = Histogram::new_with_bounds(1, 3_600_000_000_000, 3).expect("bounds");
        for ns in deck(recorded, 10_000, 5) {
            histogram.record(ns).expect("in range");
        }
        whole_curve(delay, &histogram)
    }

    #[test]
    fn the_right_curve_passes_and_wrong_ones_do_not() {
        let delay = Delay::Exponential { mean_ns: 20e6 };
        assert!(curve(&delay, &delay).is_ok);
        for wrong in [
            Delay::Exponential { mean_ns: 23e6 },
            Delay::Exponential { mean_ns: 17e6 },
            Delay::Fixed { delay_ns: 20e6 },
        ] {
            assert!(!curve(&delay, &wrong).is_ok, "{wrong:?}");
        }
        let bimodal = |slow_share| Delay::Bimodal {
            fast_ns: 1e7,
            slow_ns: 5e7,
            slow_share,
        };
        assert!(curve(&bimodal(0.05), &bimodal(0.05)).is_ok);
        assert!(!curve(&bimodal(0.05), &bimodal(0.08)).is_ok);
    }
}
