//! What the rules of the verdict look at, gathered from what was measured.
//!
//! Owns which counter of which job becomes which evidence. Judges nothing: that is `verdict`'s.

use super::Measured;
use super::resources::{busy_share, largest_share, share};
use crate::churn::figures::Churn;
use crate::churn::rules::ChurnEvidence;
use crate::config::{Config, Mode};
use crate::fanout::figures::Fanout;
use crate::fanout::rules::FanoutEvidence;
use crate::measure::latency::Latency;
use crate::measure::verdict::Evidence;
use crate::pace::plan::Arrival;

/// The evidence of a run. `per_second` is what it achieved, `response` all its response times.
pub fn evidence(
    config: &Config,
    measured: &Measured,
    per_second: f64,
    response: &Latency,
    fanout: Option<&Fanout>,
) -> Evidence {
    let tally = &measured.sheet.tally;
    // A server may close readers that do not read: that is no connection lost.
    let given_up: u64 = fanout.map_or(0, |fanout| {
        let lagging = fanout.classes.iter().filter(|class| class.is_lagging());
        lagging.map(|class| class.ended).sum()
    });
    let halves = &measured.sheet.response_halves;
    let is_storm = config.mode == Mode::Storm;
    let concurrency = f64::from(config.connections) * f64::from(config.in_flight);
    let is_closed_echo = config.mode == Mode::Echo && !config.is_open_loop();
    Evidence {
        mode: config.mode,
        is_open_loop: config.is_open_loop(),
        spin: config.spin,
        asked: tally.asked,
        upgraded: if is_storm {
            tally.cycles
        } else {
            tally.upgraded
        },
        alive: tally.alive + given_up,
        stalled: tally.stalled,
        sent: tally.sent,
        received: fanout.map_or(tally.received, |fanout| fanout.ledger.delivered),
        lost: tally.lost,
        in_flight: tally.in_flight,
        unsent: tally.unsent,
        dropped: tally.dropped,
        duplicates: tally.duplicates,
        reordered: tally.reordered,
        corrupt: tally.corrupt,
        unsolicited: tally.unsolicited,
        pongs_missing: tally.pongs_missing,
        drain_ns: config.drain_ms * 1_000_000,
        // Turns of clients without a connection are counted apart: the rate is not owed.
        target_per_second: due_per_second(config, measured).filter(|_| config.mode != Mode::Churn),
        achieved_per_second: per_second,
        generator_busy_share: busy_share(measured),
        generator_wait_share: largest_share(measured, |time| time.wait_ns),
        server_busy_share: measured
            .server_cpu
            .and_then(|cpu| share(cpu.busiest.run_ns, measured.measured_ns)),
        server_wait_share: measured
            .server_cpu
            .and_then(|cpu| share(cpu.busiest.wait_ns, measured.measured_ns)),
        late_p99_ns: measured.sheet.late.quantile(0.99),
        response_p50_ns: response.quantile(0.5),
        halves: [
            (halves[0].count(), halves[0].quantile(0.5)),
            (halves[1].count(), halves[1].quantile(0.5)),
        ],
        hiccup_max_ns: (!config.address.ip().is_loopback()).then(|| measured.hiccups.max()),
        response_p999_ns: response.quantile(0.999),
        little_residual: (is_closed_echo && response.count() > 0)
            .then(|| (concurrency - per_second * response.mean() / 1e9).abs() / concurrency),
        clock_source: measured.clock_source.clone(),
        is_interrupted: measured.is_interrupted,
        fanout: fanout.map(|fanout| fanout_evidence(measured, fanout)),
        churn: churn_evidence(config, measured),
    }
}

fn fanout_evidence(measured: &Measured, fanout: &Fanout) -> FanoutEvidence {
    let mut evidence = FanoutEvidence {
        foreign: fanout.foreign.clone(),
        feed: fanout.feed.clone(),
        has_notices: fanout.settings.dialect.starts_with("fanwire"),
        unconfirmed: fanout.unconfirmed,
        unanswered: fanout.unanswered,
        refused: fanout.refused,
        unsent: measured.sheet.tally.unsent,
        unsolicited: measured.sheet.tally.unsolicited,
        ..FanoutEvidence::default()
    };
    for class in &fanout.classes {
        match class.is_lagging() {
            true => evidence.lagging.add(&class.ledger),
            false => evidence.healthy.add(&class.ledger),
        }
    }
    evidence
}

fn churn_evidence(config: &Config, measured: &Measured) -> Option<ChurnEvidence> {
    let (options, sheet) = (config.churn?, measured.sheet.churn.as_ref()?);
    let tally = &measured.sheet.tally;
    let seconds = measured.seconds();
    Some(ChurnEvidence {
        figures: Churn::of(&options, sheet, config.connections, seconds),
        sent: tally.sent,
        received: tally.received,
        lost: tally.lost,
        in_flight: tally.in_flight,
        unsent: tally.unsent,
        duplicates: tally.duplicates,
        reordered: tally.reordered,
        corrupt: tally.corrupt,
        unsolicited: tally.unsolicited,
        drain_ns: config.drain_ms * 1_000_000,
    })
}

/// The rate that was to be sent. Chance decides how many messages random arrivals bring, so there it
/// is the rate of those that were due, and not the one asked for.
fn due_per_second(config: &Config, measured: &Measured) -> Option<f64> {
    let rate = config.rate?;
    let is_random = config.mode == Mode::Echo && config.pace.arrival == Arrival::Poisson;
    let seconds = measured.seconds();
    Some(if is_random && seconds > 0.0 {
        measured.sheet.tally.due_measured as f64 / seconds
    } else {
        rate
    })
}
