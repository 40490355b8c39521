//! Several processes make one load: what is merged from their reports must be their sum, counter
//! by counter.

use hdrhistogram::Histogram;

use super::{Case, Context, Findings};
use crate::measure::merge::merge;
use crate::measure::model::Report;
use crate::selftest::check::Check;
use crate::selftest::scripts::delays::Dealer;
use crate::selftest::server::{Entrance, Server};
use crate::selftest::subject::{Outcome, decode};
use crate::selftest::theory::{Delay, deck};

/// Two processes.
pub const MERGE: Case = Case {
    name: "merge",
    title: "two processes make one load: their merged report is their sum, counter by counter",
    is_in_short: true,
    body: merged,
};

const RATE: u64 = 500;

fn merged(context: &Context) -> Findings {
    let seconds = context.form.pick(2, 5, 10);
    let delay = Delay::Exponential { mean_ns: 5e6 };
    let script = Dealer::new(deck(&delay, 2 * RATE * seconds, context.seed));
    let server = Server::start(script, Entrance::Everybody, context.place)?;
    let line = format!(
        "echo {} -c 20 -R {RATE} -d {seconds}s -w 0s",
        server.url("")
    );
    let (first, second) = (context.subject.start(&line)?, context.subject.start(&line)?);
    let outcomes = [first.finish(), second.finish()];
    let (_, seen) = server.stop()?;
    let [first, second] = outcomes;
    let outcomes = [first?, second?];
    let mut reports = Vec::new();
    for outcome in &outcomes {
        let report: Report = serde_json::from_value(outcome.json.clone())
            .map_err(|error| format!("a report cannot be read back: {error}"))?;
        reports.push(report);
    }
    if context.is_canary
        && let Some(report) = reports.first_mut()
    {
        // What is merged is no longer what the processes wrote.
        report.messages.received += 1;
        report.histograms.insert("late".into(), String::new());
    }
    let sum = merge(&reports)?;
    let mut checks = counters(&outcomes, &sum)?;
    checks.push(Check::exact(
        "messages that the server heard",
        seen.heard,
        sum.messages.sent,
    ));
    for name in ["response", "service", "late", "connect", "upgrade"] {
        checks.push(histogram(name, &outcomes, &sum)?);
    }
    Ok(checks)
}

fn counters(outcomes: &[Outcome; 2], sum: &Report) -> Findings {
    let total = |pointer: &str| -> Result<u64, String> {
        Ok(outcomes[0].count(pointer)? + outcomes[1].count(pointer)?)
    };
    let messages = &sum.messages;
    let connections = &sum.connections;
    Ok(vec![
        Check::exact("messages sent", total("/messages/sent")?, messages.sent),
        Check::exact(
            "messages received",
            total("/messages/received")?,
            messages.received,
        ),
        Check::exact(
            "messages reordered",
            total("/messages/reordered")?,
            messages.reordered,
        ),
        Check::exact(
            "connections upgraded",
            total("/connections/upgraded")?,
            connections.upgraded,
        ),
        Check::exact(
            "connections alive",
            total("/connections/alive")?,
            connections.alive,
        ),
    ])
}

/// How many values lie in a cell in which the merged histogram differs from the sum.
fn histogram(name: &str, outcomes: &[Outcome; 2], sum: &Report) -> Result<Check, String> {
    let mut theory = outcomes[0].histogram(name)?;
    theory
        .add(outcomes[1].histogram(name)?)
        .map_err(|error| format!("histograms {name} cannot be added: {error:?}"))?;
    let merged = match sum.histograms.get(name) {
        Some(text) if !text.is_empty() => decode(name, text)?,
        _ => Histogram::new_from(&theory),
    };
    let differing: u64 = theory
        .iter_recorded()
        .chain(merged.iter_recorded())
        .map(|cell| cell.value_iterated_to())
        .map(|value| theory.count_at(value).abs_diff(merged.count_at(value)))
        .sum();
    Ok(Check::exact(
        format!("{name}: cells that differ, of {} values", theory.len()),
        0,
        differing,
    ))
}
