//! A generator that is the bottleneck must say so: INVALID with the right reason, never a clean
//! number.

use std::time::Duration;

use super::{Case, Context, Findings, expect_verdict};
use crate::selftest::check::Check;
use crate::selftest::scripts::delays::Dealer;
use crate::selftest::server::{Entrance, Place, Server};

/// More than any machine sends.
pub const UNREACHABLE: Case = Case {
    name: "saturation-rate",
    title: "a rate that no generator reaches",
    is_in_short: true,
    body: unreachable_rate,
};

/// What a CPU limit of a container does.
pub const THROTTLED: Case = Case {
    name: "saturation-throttled",
    title: "the generator may run for 3 ms of every 10 ms, as under a CPU quota",
    is_in_short: true,
    body: throttled,
};

/// What a noisy neighbour does.
pub const CROWDED: Case = Case {
    name: "saturation-crowded",
    title: "the generator shares its CPU with three threads that never sleep",
    is_in_short: false,
    body: crowded,
};

fn unreachable_rate(context: &Context) -> Findings {
    let rate = if context.is_canary { "200" } else { "20m" };
    let line = format!("echo {{url}} -c 2 -R {rate} -s 32 -d 1s -w 0s --verify none");
    let played = context.play(Dealer::new(vec![0]), Entrance::Everybody, &line)?;
    let mut checks = expect_verdict(&played.outcome, "INVALID", 4, "/s asked for");
    let sent = played.outcome.count("/messages/sent")?;
    let received = played.outcome.count("/messages/received")?;
    let lost = played.outcome.count("/messages/lost")?;
    let in_flight = played.outcome.count("/messages/in_flight")?;
    let sum = received + lost + in_flight;
    checks.push(Check::exact(
        "sent = received + lost + in flight",
        sent,
        sum,
    ));
    Ok(checks)
}

const RUNS: Duration = Duration::from_millis(3);
/// Half of the messages are later than 2 ms by theory; freezing is not exact to the millisecond.
const LATE_MIN_NS: u64 = 1_000_000;
const RESTS: Duration = Duration::from_millis(7);

fn throttled(context: &Context) -> Findings {
    let seconds = context.form.pick(2, 5, 10);
    let script = Dealer::new(vec![1_000_000]);
    let server = Server::start(script, Entrance::Everybody, context.place)?;
    let line = format!("echo {} -c 10 -R 1000 -d {seconds}s -w 0s", server.url(""));
    let mut running = context.subject.start(&line)?;
    while !running.is_over() {
        std::thread::sleep(RUNS);
        if !context.is_canary {
            running.freeze();
        }
        std::thread::sleep(RESTS);
        running.thaw();
    }
    let outcome = running.finish();
    server.stop()?;
    let outcome = outcome?;
    let mut checks = expect_verdict(&outcome, "INVALID", 4, "not on time");
    // Seven tenths of the messages are due while it rests, and wait for up to all of the rest.
    let late_ns = outcome.histogram("late")?.value_at_quantile(0.5);
    checks.push(Check::above("late p50", LATE_MIN_NS, late_ns));
    let sent = outcome.count("/messages/sent")?;
    checks.push(Check::exact(
        "messages sent nevertheless",
        1_000 * seconds,
        sent,
    ));
    Ok(checks)
}

const NEIGHBOURS: usize = 3;

fn crowded(context: &Context) -> Findings {
    let seconds = context.form.pick(2, 5, 10);
    let processor = context
        .generator_processor
        .or_else(|| fanwire_reactor::host::processors().last().copied())
        .ok_or("this process may run on no CPU")?;
    let neighbour = Place {
        processor: Some(processor),
        spin: true,
        ..context.place
    };
    let count = if context.is_canary { 0 } else { NEIGHBOURS };
    let neighbours = (0..count)
        .map(|_| Server::start(Dealer::new(vec![0]), Entrance::Everybody, neighbour))
        .collect::<Result<Vec<_>, String>>()?;
    let pinned = if context.generator_processor.is_some() {
        String::new()
    } else {
        format!(" --cpu {processor}")
    };
    let line = format!("echo {{url}} -c 50 -R 20k -d {seconds}s -w 0s{pinned}");
    let played = context.play(Dealer::new(vec![0]), Entrance::Everybody, &line);
    for neighbour in neighbours {
        neighbour.stop()?;
    }
    let played = played?;
    let mut checks = expect_verdict(&played.outcome, "INVALID", 4, "not on time");
    checks.extend(played.accounts()?);
    Ok(checks)
}
