//! A server that drops, repeats, swaps, damages and invents messages: every counter must equal
//! what it did.

use super::{Case, Context, Findings, expect_verdict};
use crate::selftest::check::Check;
use crate::selftest::scripts::faults::{EVERY, Saboteur};
use crate::selftest::server::Entrance;

/// Exact counters.
pub const INTEGRITY: Case = Case {
    name: "integrity",
    title: "one message in 1,000 is dropped, repeated, swapped, damaged or invented: all counted",
    is_in_short: true,
    body: integrity,
};

const CONNECTIONS: u32 = 10;
const RATE: u64 = 4_000;

fn integrity(context: &Context) -> Findings {
    let seconds = context.form.pick(3, 10, 60);
    let expected = RATE * seconds;
    let script = Saboteur::new(expected, CONNECTIONS, context.seed, context.is_canary);
    let line = format!("echo {{url}} -c {CONNECTIONS} -R {RATE} -d {seconds}s -w 0s");
    let played = context.play(script, Entrance::Everybody, &line)?;
    let (outcome, injected) = (&played.outcome, played.script.injected);
    let reported = |pointer: &str| outcome.count(pointer);
    let mut checks = vec![
        Check::exact("messages sent", expected, reported("/messages/sent")?),
        Check::exact("lost", injected.dropped, reported("/messages/lost")?),
        Check::exact(
            "duplicates",
            injected.duplicated,
            reported("/messages/duplicates")?,
        ),
        Check::exact(
            "reordered",
            injected.reordered,
            reported("/messages/reordered")?,
        ),
        Check::exact(
            "corrupt",
            injected.corrupted,
            reported("/messages/corrupt")?,
        ),
        Check::exact(
            "unsolicited",
            injected.unsolicited,
            reported("/messages/unsolicited")?,
        ),
        Check::exact(
            "pings answered",
            injected.pings,
            reported("/connections/pings_answered")?,
        ),
        Check::exact("pongs that arrived", injected.pings, played.seen.pongs),
        Check::exact("in flight at the end", 0, reported("/messages/in_flight")?),
        Check::at_least(
            "messages dropped by the script",
            expected / EVERY - 1,
            injected.dropped,
        ),
    ];
    checks.extend(expect_verdict(outcome, "INVALID", 4, "corrupt"));
    checks.extend(played.accounts()?);
    Ok(checks)
}
