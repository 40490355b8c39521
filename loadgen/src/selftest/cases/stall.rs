//! Pauses of the server and of the generator, against their closed forms.

use std::time::{Duration, Instant};

use super::{Case, Context, Findings, Played, expect_verdict};
use crate::selftest::check::{Check, TIMING_SHARE_MAX};
use crate::selftest::scripts::delays::{Dealer, Pauser};
use crate::selftest::server::{Entrance, Server};
use crate::selftest::theory::Stall;

/// wrk2's example.
pub const OPEN_LOOP: Case = Case {
    name: "stall",
    title: "a server that pauses for a tenth of the time, at a constant rate",
    is_in_short: true,
    body: open_loop,
};

/// Coordinated omission, shown.
pub const CLOSED_LOOP: Case = Case {
    name: "stall-closed-loop",
    title: "the same server in a closed loop, which hides the pauses (documented, not a fault)",
    is_in_short: true,
    body: closed_loop,
};

/// The other end.
pub const GENERATOR: Case = Case {
    name: "stall-generator",
    title: "the generator itself is stopped: response sees it, service does not, INVALID",
    is_in_short: true,
    body: generator,
};

fn stall(context: &Context) -> Stall {
    Stall {
        base_ns: context.form.pick(4_000_000, 100_000, 100_000),
        pause_ns: context.form.pick(400_000_000, 1_000_000_000, 1_000_000_000),
        period_ns: context
            .form
            .pick(4_000_000_000, 10_000_000_000, 10_000_000_000),
    }
}

/// The pauses of a canary are longer by a tenth.
fn played_stall(context: &Context) -> Stall {
    let stall = stall(context);
    Stall {
        pause_ns: if context.is_canary {
            stall.pause_ns * 11 / 10
        } else {
            stall.pause_ns
        },
        ..stall
    }
}

/// Whole periods, or the share of the pauses would not be what it is in theory.
fn seconds(context: &Context) -> u64 {
    context.form.pick(4, 20, 60)
}

const RATE: u64 = 1_000;

fn open_loop(context: &Context) -> Findings {
    let stall = stall(context);
    let seconds = seconds(context);
    let line = format!("echo {{url}} -c 10 -R {RATE} -d {seconds}s -w 0s");
    let script = Pauser::new(played_stall(context));
    let played = context.play(script, Entrance::Everybody, &line)?;
    let mut checks = Vec::new();
    // Sending does not wait for replies, so both clocks must see the pauses of the server.
    for name in ["response", "service"] {
        let histogram = played.outcome.histogram(name)?;
        for quantile in [0.95, 0.99, 0.999] {
            checks.push(Check::time(
                format!("{name} p{}", quantile * 100.0),
                stall.open_loop_quantile_ns(quantile),
                histogram.value_at_quantile(quantile),
                TIMING_SHARE_MAX,
            ));
        }
        let median_ns = histogram.value_at_quantile(0.5);
        checks.push(Check::below(
            format!("{name} p50"),
            stall.pause_ns / 10,
            median_ns,
        ));
    }
    let sent = played.outcome.count("/messages/sent")?;
    checks.push(Check::exact("messages sent", RATE * seconds, sent));
    checks.extend(played.accounts()?);
    Ok(checks)
}

/// Few, because a closed loop goes as fast as it can.
const CLOSED_CONNECTIONS: u64 = 4;

fn closed_loop(context: &Context) -> Findings {
    let stall = Stall {
        base_ns: 4_000_000,
        ..stall(context)
    };
    let script = Pauser::new(Stall {
        base_ns: stall.base_ns,
        ..played_stall(context)
    });
    let seconds = seconds(context);
    let line = format!("echo {{url}} -c {CLOSED_CONNECTIONS} -d {seconds}s -w 0s");
    let played = context.play(script, Entrance::Everybody, &line)?;
    let histogram = played.outcome.histogram("response")?;
    let limit_ns = stall.pause_ns / 10;
    let mut checks = vec![
        Check::below("response p50", limit_ns, histogram.value_at_quantile(0.5)),
        Check::below("response p95", limit_ns, histogram.value_at_quantile(0.95)),
        Check::below("response p99", limit_ns, histogram.value_at_quantile(0.99)),
        // Each pause meets one message of each connection, at any point of its round trip.
        Check::time(
            "response max",
            stall.pause_ns as f64 + stall.base_ns as f64 / 2.0,
            histogram.max(),
            TIMING_SHARE_MAX + stall.base_ns as f64 / stall.pause_ns as f64,
        ),
    ];
    let met = histogram.count_between(stall.pause_ns / 2, u64::MAX);
    let pauses = seconds * 1_000_000_000 / stall.period_ns;
    checks.push(Check {
        is_ok: (1..=(pauses + 1) * CLOSED_CONNECTIONS).contains(&met),
        bound: "most".into(),
        is_timing: true,
        ..Check::exact(
            "messages that met a pause (one per pause and connection)",
            pauses * CLOSED_CONNECTIONS,
            met,
        )
    });
    let model = played
        .outcome
        .json
        .pointer("/loop")
        .and_then(|value| value.as_str());
    let model = model.unwrap_or("");
    checks.push(Check::word(
        "loop model in the report",
        "closed",
        model,
        model == "closed",
    ));
    checks.extend(played.messages()?);
    let received = played.outcome.count("/messages/received")?;
    checks.push(Check::at_least(
        "messages received, of those timed",
        histogram.len(),
        received,
    ));
    Ok(checks)
}

/// The generator is stopped this long after it began: its window is open by then.
const FREEZE_AFTER: Duration = Duration::from_millis(1_500);

fn generator(context: &Context) -> Findings {
    let seconds = context.form.pick(4, 10, 20);
    let base_ns = 4_000_000;
    // A fifth of the time, so that the answers to what was sent in one go afterwards are few beside it.
    let frozen = Duration::from_millis(seconds * 200);
    let server = Server::start(
        Dealer::new(vec![base_ns]),
        Entrance::Everybody,
        context.place,
    )?;
    let line = format!(
        "echo {} -c 10 -R {RATE} -d {seconds}s -w 0s",
        server.url("")
    );
    let running = context.subject.start(&line)?;
    std::thread::sleep(FREEZE_AFTER);
    let begun = Instant::now();
    if !context.is_canary {
        running.freeze();
    }
    std::thread::sleep(frozen);
    running.thaw();
    let pause_ns = u64::try_from(begun.elapsed().as_nanos()).unwrap_or(u64::MAX);
    let outcome = running.finish();
    let (script, seen) = server.stop()?;
    let played = Played {
        outcome: outcome?,
        script,
        seen,
    };
    let stall = Stall {
        base_ns,
        pause_ns,
        period_ns: seconds * 1_000_000_000,
    };
    let response = played.outcome.histogram("response")?;
    let service = played.outcome.histogram("service")?;
    let late = played.outcome.histogram("late")?;
    let mut checks = Vec::new();
    for quantile in [0.95, 0.99] {
        let theory_ns = stall.open_loop_quantile_ns(quantile);
        let name = |what: &str| format!("{what} p{}", quantile * 100.0);
        let at = |histogram: &hdrhistogram::Histogram<u64>| histogram.value_at_quantile(quantile);
        checks.push(Check::time(
            name("response"),
            theory_ns,
            at(&response),
            TIMING_SHARE_MAX,
        ));
        let late_theory_ns = theory_ns - base_ns as f64;
        checks.push(Check::time(
            name("late"),
            late_theory_ns,
            at(&late),
            TIMING_SHARE_MAX,
        ));
        checks.push(Check::below(name("service"), pause_ns / 5, at(&service)));
    }
    checks.extend(expect_verdict(&played.outcome, "INVALID", 4, "not on time"));
    checks.push(Check::exact(
        "messages sent",
        RATE * seconds,
        played.outcome.count("/messages/sent")?,
    ));
    checks.extend(played.accounts()?);
    Ok(checks)
}
