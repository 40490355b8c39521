//! A fan-out whose copies leave a fixed time apart: spread and reach have closed forms.

use super::{Case, Context, Findings, expect_verdict};
use crate::selftest::check::{Check, TIMING_SHARE_MAX};
use crate::selftest::scripts::hub::Ladder;
use crate::selftest::server::Entrance;
use crate::selftest::subject::Outcome;

/// First to last.
pub const SPREAD: Case = Case {
    name: "fanout-spread",
    title: "copies leave d apart: the spread over N subscribers is (N - 1) d",
    is_in_short: true,
    body: spread,
};

/// Who hears.
pub const REACH: Case = Case {
    name: "fanout-reach",
    title: "k of N subscribers never hear: the reach is (N - k) / N",
    is_in_short: true,
    body: reach,
};

const SUBSCRIBERS: u64 = 21;

fn milliseconds(count: u64) -> u64 {
    count * 1_000_000
}

fn spread(context: &Context) -> Findings {
    let base_ns = context
        .form
        .pick(milliseconds(200), milliseconds(20), milliseconds(20));
    let step_ns = context
        .form
        .pick(milliseconds(15), milliseconds(2), milliseconds(1));
    let seconds = context.form.pick(4, 10, 30);
    let rate = context.form.pick(4, 8, 10);
    let published = rate * seconds;
    let played_step_ns = if context.is_canary {
        step_ns * 11 / 10
    } else {
        step_ns
    };
    let script = Ladder::new(base_ns, played_step_ns, 0);
    let line =
        format!("fanout {{url}} --dialect raw -c {SUBSCRIBERS} -R {rate} -d {seconds}s -w 0s");
    let played = context.play(script, Entrance::Everybody, &line)?;
    let outcome = &played.outcome;
    let theory_ns = ((SUBSCRIBERS - 1) * step_ns) as f64;
    let mut checks = Vec::new();
    for (name, ns) in [
        ("first", base_ns as f64),
        ("last", base_ns as f64 + theory_ns),
        ("spread", theory_ns),
    ] {
        for quantile in ["p50", "p90"] {
            let measured = outcome.count(&format!("/fanout/message/{name}_ns/{quantile}"))?;
            checks.push(Check::time(
                format!("{name} {quantile}"),
                ns,
                measured,
                TIMING_SHARE_MAX,
            ));
        }
    }
    checks.extend([
        Check::exact(
            "messages published",
            published,
            outcome.count("/fanout/published")?,
        ),
        Check::exact(
            "messages that the server heard",
            published,
            played.script.published,
        ),
        Check::exact(
            "copies delivered",
            published * SUBSCRIBERS,
            outcome.count("/fanout/ledger/delivered")?,
        ),
        Check::distance(
            "reach",
            1.0,
            outcome.number("/fanout/message/reach_min")?,
            0.0,
            "exact",
        )
        .without_excuse(),
    ]);
    checks.extend(accounts(outcome)?);
    Ok(checks)
}

/// The accounts: every copy that was owed is somewhere, and each that came was timed once.
fn accounts(outcome: &Outcome) -> Findings {
    let count = |name: &str| outcome.count(&format!("/fanout/ledger/{name}"));
    let delivered = count("delivered")?;
    let sum = delivered + count("in_flight")? + count("cut_off_at_close")? + count("missing")?;
    Ok(vec![
        Check::exact(
            "owed = delivered + in flight + cut off + missing",
            count("eligible")?,
            sum,
        ),
        Check::exact(
            "values in the delivery histogram",
            delivered,
            outcome.histogram("response")?.len(),
        ),
    ])
}

fn reach(context: &Context) -> Findings {
    let silent = 6;
    let seconds = context.form.pick(1, 5, 20);
    let rate = 20;
    let published = rate * seconds;
    let script = Ladder::new(0, 0, silent + usize::from(context.is_canary));
    let line = format!(
        "fanout {{url}} --dialect raw -c {SUBSCRIBERS} -R {rate} -d {seconds}s -w 0s --drain 1s"
    );
    let played = context.play(script, Entrance::Everybody, &line)?;
    let outcome = &played.outcome;
    let hearing = SUBSCRIBERS - silent as u64;
    let theory = hearing as f64 / SUBSCRIBERS as f64;
    // The mean of equal shares may lose the last bit of a double.
    let bound = 1e-9;
    let mut checks = vec![
        Check::distance(
            "reach, mean",
            theory,
            outcome.number("/fanout/message/reach_mean")?,
            bound,
            "exact",
        )
        .without_excuse(),
        Check::distance(
            "reach, least",
            theory,
            outcome.number("/fanout/message/reach_min")?,
            bound,
            "exact",
        )
        .without_excuse(),
        Check::exact(
            "messages published",
            published,
            outcome.count("/fanout/published")?,
        ),
        Check::exact(
            "copies delivered",
            published * hearing,
            outcome.count("/fanout/ledger/delivered")?,
        ),
        Check::exact(
            "copies owed",
            published * SUBSCRIBERS,
            outcome.count("/fanout/ledger/eligible")?,
        ),
    ];
    checks.extend(accounts(outcome)?);
    checks.extend(expect_verdict(outcome, "INVALID", 4, "had not arrived"));
    Ok(checks)
}
