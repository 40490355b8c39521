//! Every rule of the verdict, with plain numbers.

use fanwire_loadgen::config::Mode;
use fanwire_loadgen::fanout::figures::Ledger;
use fanwire_loadgen::fanout::rules::FanoutEvidence;
use fanwire_loadgen::measure::verdict::{Evidence, Judgement, Limiter, Verdict, exit_code, judge};

fn clean() -> Evidence {
    Evidence {
        mode: Mode::Echo,
        is_open_loop: false,
        spin: false,
        asked: 10,
        upgraded: 10,
        alive: 10,
        stalled: 0,
        sent: 10_000,
        received: 10_000,
        lost: 0,
        in_flight: 0,
        unsent: 0,
        dropped: 0,
        duplicates: 0,
        reordered: 0,
        corrupt: 0,
        unsolicited: 0,
        pongs_missing: 0,
        drain_ns: 2_000_000_000,
        target_per_second: None,
        achieved_per_second: 1_000.0,
        generator_busy_share: Some(0.5),
        generator_wait_share: Some(0.01),
        server_busy_share: None,
        server_wait_share: None,
        late_p99_ns: 0,
        response_p50_ns: 80_000,
        halves: [(5_000, 80_000), (5_000, 81_000)],
        response_p999_ns: 2_000_000,
        hiccup_max_ns: None,
        little_residual: Some(0.001),
        clock_source: Some("tsc".into()),
        is_interrupted: false,
        fanout: None,
        churn: None,
    }
}

fn expect(change: impl FnOnce(&mut Evidence), verdict: Verdict, word: &str) {
    let mut evidence = clean();
    change(&mut evidence);
    let judgement = judge(&evidence);
    assert_eq!(judgement.verdict, verdict, "{judgement:?}");
    assert!(
        word.is_empty()
            || judgement
                .reasons
                .iter()
                .any(|(_, text)| text.contains(word)),
        "{word:?} in {judgement:?}"
    );
}

#[test]
fn a_clean_run_is_valid() {
    assert_eq!(
        judge(&clean()),
        Judgement {
            verdict: Verdict::Valid,
            reasons: vec![],
            limiter: Limiter::Unknown
        }
    );
    assert_eq!(exit_code(&clean(), Verdict::Valid), 0);
}

#[test]
fn connections_and_integrity() {
    use Verdict::{Invalid, Suspect};
    expect(
        |evidence| evidence.asked = 11,
        Invalid,
        "1 of 11 connections failed",
    );
    expect(|evidence| evidence.alive = 9, Invalid, "ended before");
    expect(|evidence| evidence.corrupt = 1, Invalid, "corrupt");
    expect(|evidence| evidence.duplicates = 1, Invalid, "twice");
    expect(
        |evidence| evidence.unsolicited = 1,
        Invalid,
        "no connection had sent",
    );
    expect(|evidence| evidence.unsent = 1, Invalid, "could not be sent");
    expect(|evidence| evidence.reordered = 1, Suspect, "out of order");
    expect(|evidence| evidence.sent += 1, Invalid, "do not add up");
    let lose = |evidence: &mut Evidence| {
        evidence.lost = 2;
        evidence.received -= 2;
    };
    expect(lose, Invalid, "2 messages were lost");
    let stall = |evidence: &mut Evidence| {
        evidence.in_flight = 3;
        evidence.stalled = 2;
        evidence.received -= 3;
    };
    expect(
        stall,
        Invalid,
        "on 2 connections were still unanswered 2.00s after",
    );
}

#[test]
fn the_generator_as_bottleneck() {
    use Verdict::{Invalid, Suspect, Valid};
    let at = |generator: f64, server: Option<f64>| {
        move |evidence: &mut Evidence| {
            evidence.generator_busy_share = Some(generator);
            evidence.server_busy_share = server;
        }
    };
    expect(at(0.99, Some(0.98)), Valid, "");
    expect(
        at(0.99, Some(0.60)),
        Invalid,
        "the generator was the bottleneck",
    );
    expect(at(0.99, None), Suspect, "--server-pid");
    expect(at(0.85, None), Suspect, "80 %");
    expect(at(0.85, Some(0.99)), Valid, "");
    let spinning = |evidence: &mut Evidence| {
        evidence.spin = true;
        // The CPU is used whole; what counts is how much of it was work.
        evidence.generator_busy_share = Some(0.6);
    };
    expect(spinning, Valid, "");
    let overworked = |evidence: &mut Evidence| {
        evidence.spin = true;
        evidence.is_open_loop = true;
        evidence.generator_busy_share = Some(0.97);
    };
    expect(overworked, Invalid, "add threads (-t)");
}

#[test]
fn stalls_of_the_generators_host() {
    let stalled = |hiccup_max_ns: Option<u64>, response_p999_ns: u64| {
        move |evidence: &mut Evidence| {
            evidence.hiccup_max_ns = hiccup_max_ns;
            evidence.response_p999_ns = response_p999_ns;
        }
    };
    expect(stalled(Some(90_000), 100_000), Verdict::Valid, "");
    expect(
        stalled(Some(4_000_000), 100_000),
        Verdict::Suspect,
        "up to 4.00ms, longer than the p99.9 of 100us",
    );
    expect(stalled(None, 100_000), Verdict::Valid, "");
    expect(stalled(Some(4_000_000), 0), Verdict::Valid, "");
}

#[test]
fn open_loop_rules() {
    use Verdict::{Invalid, Suspect, Valid};
    let open = |achieved: f64, late_ns: u64, p50_ns: u64, server: Option<f64>| {
        move |evidence: &mut Evidence| {
            evidence.is_open_loop = true;
            evidence.little_residual = None;
            evidence.target_per_second = Some(1_000.0);
            evidence.achieved_per_second = achieved;
            evidence.late_p99_ns = late_ns;
            evidence.response_p50_ns = p50_ns;
            evidence.server_busy_share = server;
        }
    };
    expect(open(999.0, 50_000, 80_000, None), Valid, "");
    expect(open(970.0, 50_000, 80_000, None), Invalid, "97.0 %");
    expect(
        open(970.0, 50_000, 80_000, Some(0.99)),
        Suspect,
        "saturated",
    );
    expect(open(999.0, 150_000, 80_000, None), Invalid, "late");
    expect(open(999.0, 150_000, 2_000_000, None), Valid, "");
}

#[test]
fn measurement_quality() {
    use Verdict::{Invalid, Suspect, Valid};
    expect(
        |evidence| evidence.clock_source = Some("hpet".into()),
        Invalid,
        "hpet",
    );
    expect(|evidence| evidence.clock_source = None, Valid, "");
    expect(
        |evidence| evidence.halves[1].1 = 90_000,
        Suspect,
        "not stationary",
    );
    expect(|evidence| evidence.halves = [(10, 1), (10, 100)], Valid, "");
    expect(
        |evidence| evidence.little_residual = Some(0.2),
        Suspect,
        "Little",
    );
}

#[test]
fn cpus_that_others_use() {
    use Verdict::{Suspect, Valid};
    expect(
        |evidence| evidence.generator_wait_share = Some(0.04),
        Valid,
        "",
    );
    expect(
        |evidence| evidence.generator_wait_share = Some(0.5),
        Suspect,
        "for 50 %",
    );
    expect(
        |evidence| evidence.server_wait_share = Some(0.1),
        Suspect,
        "the server was ready",
    );
    let idle = |evidence: &mut Evidence| {
        evidence.mode = Mode::Idle;
        evidence.generator_wait_share = Some(0.5);
    };
    expect(idle, Valid, "");
}

#[test]
fn exit_codes() {
    let mut evidence = clean();
    assert_eq!(exit_code(&evidence, Verdict::Suspect), 0);
    assert_eq!(exit_code(&evidence, Verdict::Invalid), 4);
    evidence.received = 0;
    assert_eq!(exit_code(&evidence, Verdict::Invalid), 1);
    evidence.mode = Mode::Idle;
    assert_eq!(exit_code(&evidence, Verdict::Valid), 0);
    evidence.upgraded = 0;
    assert_eq!(exit_code(&evidence, Verdict::Invalid), 1);
    evidence.is_interrupted = true;
    assert_eq!(exit_code(&evidence, Verdict::Invalid), 130);
}

fn clean_ledger() -> Ledger {
    Ledger {
        eligible: 100,
        delivered: 90,
        declared_gap: 5,
        conflated: 5,
        adds_up: true,
        ..Ledger::default()
    }
}

fn fan_out() -> FanoutEvidence {
    FanoutEvidence {
        healthy: clean_ledger(),
        lagging: clean_ledger(),
        has_notices: true,
        ..FanoutEvidence::default()
    }
}

fn expect_fan_out(change: impl FnOnce(&mut FanoutEvidence), verdict: Verdict, word: &str) {
    expect(
        |evidence| {
            let mut fan_out = fan_out();
            change(&mut fan_out);
            evidence.mode = Mode::Fanout;
            evidence.fanout = Some(fan_out);
            // What is said of replies does not concern a fan-out.
            (evidence.sent, evidence.received) = (7, 90);
        },
        verdict,
        word,
    );
}

#[test]
fn a_fan_out_is_judged_by_its_ledger() {
    use Verdict::{Invalid, Suspect, Valid};
    expect_fan_out(|_| {}, Valid, "");
    expect_fan_out(|fan_out| fan_out.healthy.torn = 1, Invalid, "torn");
    expect_fan_out(|fan_out| fan_out.lagging.torn = 1, Invalid, "torn");
    expect_fan_out(|fan_out| fan_out.lagging.duplicates = 1, Invalid, "twice");
    expect_fan_out(|fan_out| fan_out.healthy.reordered = 1, Invalid, "younger");
    expect_fan_out(|fan_out| fan_out.healthy.foreign = 1, Invalid, "asked for");
    expect_fan_out(
        |fan_out| fan_out.healthy.strangers = 1,
        Invalid,
        "--topic-name",
    );
    expect_fan_out(|fan_out| fan_out.lagging.faults = 1, Invalid, "numbering");
    expect_fan_out(|fan_out| fan_out.healthy.missing = 3, Invalid, "3 copies");
    expect_fan_out(
        |fan_out| fan_out.healthy.missing = -2,
        Invalid,
        "nobody was entitled",
    );
    expect_fan_out(
        |fan_out| fan_out.healthy.in_flight = 1,
        Invalid,
        "had not arrived",
    );
    expect_fan_out(|fan_out| fan_out.lagging.in_flight = 1, Valid, "");
    expect_fan_out(
        |fan_out| fan_out.lagging.missing = 1,
        Invalid,
        "slow or stalled",
    );
    expect_fan_out(
        |fan_out| (fan_out.lagging.missing, fan_out.has_notices) = (1, false),
        Suspect,
        "slow or stalled",
    );
    expect_fan_out(|fan_out| fan_out.unconfirmed = 1, Invalid, "confirmed");
    expect_fan_out(
        |fan_out| fan_out.unanswered = 1,
        Invalid,
        "without an answer",
    );
    expect_fan_out(|fan_out| fan_out.refused = 1, Suspect, "refused");
    expect_fan_out(|fan_out| fan_out.unsent = 1, Invalid, "could not be sent");
    expect_fan_out(|fan_out| fan_out.unsolicited = 1, Suspect, "publishers");
    expect_fan_out(
        |fan_out| (fan_out.healthy.delivered, fan_out.lagging.delivered) = (0, 0),
        Invalid,
        "nothing was delivered",
    );
}
