//! Servers that do not let everybody in: asked, open, upgraded, served and alive must be the truth.

use super::{Case, Context, Findings};
use crate::selftest::check::Check;
use crate::selftest::script::Script;
use crate::selftest::scripts::delays::Dealer;
use crate::selftest::server::{Entrance, Place};
use crate::selftest::subject::Outcome;

/// TCP only.
pub const MUTE: Case = Case {
    name: "never-upgrades",
    title: "a server that accepts TCP and never answers the opening handshake",
    is_in_short: true,
    body: mute,
};

/// Nine of ten.
pub const REFUSALS: Case = Case {
    name: "upgrades-most",
    title: "a server that upgrades 90 % and refuses the rest with 503",
    is_in_short: true,
    body: refusals,
};

/// A full listen queue.
pub const BACKLOG: Case = Case {
    name: "backlog",
    title: "a server with a listen queue of 1 that takes 5 connections and then no more",
    is_in_short: true,
    body: backlog,
};

const ASKED: u64 = 40;

fn echo() -> impl Script {
    Dealer::new(vec![0])
}

/// Compares the five figures with what the server knows.
fn truth(outcome: &Outcome, open: u64, upgraded: u64) -> Findings {
    let reported = |name: &str| outcome.count(&format!("/connections/{name}"));
    Ok(vec![
        Check::exact("asked", ASKED, reported("asked")?),
        Check::exact("open (TCP)", open, reported("open")?),
        Check::exact("upgraded", upgraded, reported("upgraded")?),
        Check::exact("served", upgraded, reported("served")?),
        Check::exact("alive at the end", upgraded, reported("alive")?),
        Check::word(
            "verdict",
            "INVALID",
            outcome.verdict(),
            outcome.verdict() == "INVALID",
        ),
    ])
}

fn failures(outcome: &Outcome, kind: &str, expected: u64) -> Check {
    let reported = outcome.count(&format!("/errors/{kind}")).unwrap_or(0);
    Check::exact(format!("errors: {kind}"), expected, reported)
}

fn mute(context: &Context) -> Findings {
    let entrance = if context.is_canary {
        Entrance::RefusesEvery(2)
    } else {
        Entrance::Mute
    };
    let line = format!("echo {{url}} -c {ASKED} -d 1s -w 0s --connect-timeout 1s");
    let played = context.play(echo(), entrance, &line)?;
    let mut checks = truth(&played.outcome, ASKED, 0)?;
    checks.push(Check::exact(
        "TCP connections that the server accepted",
        ASKED,
        played.seen.accepted,
    ));
    checks.push(failures(&played.outcome, "upgrade_timeout", ASKED));
    Ok(checks)
}

fn refusals(context: &Context) -> Findings {
    let every = if context.is_canary { 8 } else { 10 };
    let line = format!("echo {{url}} -c {ASKED} -R 400 -d 1s -w 0s");
    let played = context.play(echo(), Entrance::RefusesEvery(every), &line)?;
    let mut checks = truth(&played.outcome, ASKED, ASKED - ASKED / 10)?;
    checks.push(Check::exact(
        "upgraded, as the server counted",
        played.seen.upgraded,
        ASKED - ASKED / 10,
    ));
    checks.push(failures(&played.outcome, "upgrade_status_503", ASKED / 10));
    checks.extend(played.accounts()?);
    Ok(checks)
}

/// Connections that the server takes.
const TAKEN: u64 = 5;
/// A Linux listen queue of length n holds n + 1 established connections.
const QUEUED: u64 = 2;

fn backlog(context: &Context) -> Findings {
    let mut context = context.clone();
    context.place = Place {
        backlog: 1,
        ..context.place
    };
    let takes = TAKEN + u64::from(context.is_canary);
    // One after the other: of requests that reach an almost full queue at once, the kernel lets more
    // believe that they are connected than the queue holds.
    let line = format!(
        "echo {{url}} -c {ASKED} -R 400 -d 1s -w 0s --connect-rate 100 --connect-timeout 1500ms"
    );
    let played = context.play(echo(), Entrance::AcceptsOnly(takes as u32), &line)?;
    let mut checks = truth(&played.outcome, TAKEN + QUEUED, TAKEN)?;
    checks.push(Check::exact(
        "TCP connections that the server accepted",
        TAKEN,
        played.seen.accepted,
    ));
    checks.push(failures(
        &played.outcome,
        "connect_timeout",
        ASKED - TAKEN - QUEUED,
    ));
    checks.push(failures(&played.outcome, "upgrade_timeout", QUEUED));
    Ok(checks)
}
