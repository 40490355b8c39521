//! When messages arrive at the server: the gaps must have the distribution that was asked for.

use super::{Case, Context, Findings};
use crate::selftest::check::Check;
use crate::selftest::scripts::arrivals::Clerk;
use crate::selftest::server::Entrance;
use crate::selftest::theory::Delay;
use crate::statistics::kolmogorov::one_sample;

/// One after the other.
pub const CONSTANT: Case = Case {
    name: "arrival-constant",
    title: "a constant rate: arrivals lie evenly over the run, and gaps are all alike",
    is_in_short: true,
    body: constant,
};

/// Like many users who do not know of each other.
pub const POISSON: Case = Case {
    name: "arrival-poisson",
    title: "independent arrivals: gaps are exponentially distributed, and do not follow a plan",
    is_in_short: true,
    body: poisson,
};

fn play(context: &Context, options: &str) -> Result<(Vec<u64>, Vec<Check>), String> {
    let line = format!("echo {{url}} {options} -w 0s");
    let played = context.play(Clerk::default(), Entrance::Everybody, &line)?;
    let accounts = played.accounts()?;
    Ok((played.script.arrivals_ns, accounts))
}

fn gaps(arrivals_ns: &[u64]) -> Vec<f64> {
    let pairs = arrivals_ns.iter().zip(arrivals_ns.iter().skip(1));
    pairs
        .map(|(earlier, later)| later.saturating_sub(*earlier) as f64)
        .collect()
}

/// The gap that the share `quantile` of all does not exceed.
fn quantile(sorted: &[f64], quantile: f64) -> u64 {
    let last = sorted.len().saturating_sub(1);
    let index = (sorted.len() as f64 * quantile) as usize;
    sorted.get(index.min(last)).map_or(0, |gap| *gap as u64)
}

/// A gap may depart from the plan by this much of it: what a busy machine does to a single
/// message. The plan itself is judged by the distance, which is far stricter.
const GAP_SHARE_MAX: f64 = 0.10;

fn constant(context: &Context) -> Findings {
    let rate = context.form.pick(100, 200, 500);
    let seconds = context.form.pick(3, 10, 30);
    let asked = if context.is_canary {
        rate * 11 / 10
    } else {
        rate
    };
    let (arrivals_ns, mut checks) = play(context, &format!("-c 5 -R {asked} -d {seconds}s"))?;
    let count = rate * seconds;
    checks.push(Check::exact("arrivals", count, arrivals_ns.len() as u64));
    let first_ns = arrivals_ns.first().copied().unwrap_or(0);
    let span_ns = seconds as f64 * 1e9;
    let places: Vec<f64> = arrivals_ns
        .iter()
        .map(|at_ns| (at_ns.saturating_sub(first_ns)) as f64 / span_ns)
        .collect();
    let line = one_sample(&places, |share| share.clamp(0.0, 1.0)).ok_or("nothing arrived")?;
    // A regular grid of n points is 1/n away from a straight line.
    let bound = 1.5 / count as f64;
    checks.push(Check::distance(
        "arrivals against a straight line (KS)",
        0.0,
        line.distance,
        bound,
        "1.5 / n",
    ));
    let mut gaps = gaps(&arrivals_ns);
    gaps.sort_unstable_by(f64::total_cmp);
    let gap_ns = 1e9 / rate as f64;
    for share in [0.1, 0.5, 0.9] {
        checks.push(Check::time(
            format!("gap p{}", share * 100.0),
            gap_ns,
            quantile(&gaps, share),
            GAP_SHARE_MAX,
        ));
    }
    Ok(checks)
}

/// Gaps that are this improbable under the right distribution are not of it. The seed is fixed, so
/// a run that passes does not fail by chance another time.
const POISSON_P_MIN: f64 = 0.001;

fn poisson(context: &Context) -> Findings {
    let rate = context.form.pick(100, 200, 500);
    let seconds = context.form.pick(4, 10, 30);
    let arrival = if context.is_canary {
        "const"
    } else {
        "poisson"
    };
    let line = format!("-c 5 -R {rate} -d {seconds}s --arrival {arrival}");
    let (arrivals_ns, mut checks) = play(context, &line)?;
    let mean_ns = 1e9 / rate as f64;
    let gaps = gaps(&arrivals_ns);
    let delay = Delay::Exponential { mean_ns };
    let found = one_sample(&gaps, |gap_ns| delay.share_within(gap_ns)).ok_or("nothing arrived")?;
    checks.push(Check {
        is_ok: found.p >= POISSON_P_MIN,
        bound: format!("p {:.3} >= {POISSON_P_MIN}", found.p),
        ..Check::distance(
            "gaps against exponential (KS)",
            0.0,
            found.distance,
            1.0,
            "",
        )
    });
    // The number of arrivals varies by its square root.
    let count = (rate * seconds) as f64;
    let bound = 4.0 * count.sqrt() / count;
    let measured = arrivals_ns.len() as f64 / count;
    checks.push(Check::distance(
        "arrivals, as a share of rate x time",
        1.0,
        measured,
        bound,
        "4 sigma",
    ));
    Ok(checks)
}
