//! The fan-out against a server that numbers its messages: what it announces is booked as
//! announced, and what it leaves out in silence is found.

use crate::support::json_hub::{Trick, json_hub};
use crate::support::{Outcome, run};

const TOPICS: u64 = 2;

fn run_with(trick: Trick, more: &[&str]) -> Outcome {
    let url = json_hub(trick);
    let mut arguments = vec![
        "fanout",
        &url,
        "--dialect",
        "fanwire-json",
        "-c",
        "4",
        "--topics",
        "2",
        "--topics-per-subscriber",
        "2",
        "-R",
        "100",
        "-s",
        "300",
        "-d",
        "1s",
        "-w",
        "200ms",
        "--drain",
        "5s",
    ];
    arguments.extend(more);
    run(&arguments)
}

/// Nothing may be said against the copies. That the generator was late is the machine's affair.
fn expect_sound(outcome: &Outcome) {
    let reasons = outcome.json["verdict_reasons"].to_string();
    for word in [
        "copies",
        "ledger",
        "numbering",
        "confirmed",
        "without an answer",
    ] {
        assert!(!reasons.contains(word), "{reasons}\n{}", outcome.text);
    }
    assert_eq!(outcome.json["fanout"]["ledger"]["adds_up"], true);
}

#[test]
fn a_server_that_keeps_to_the_protocol() {
    let outcome = run_with(Trick::None, &[]);
    outcome.expect(&[
        ("/fanout/published", 120),
        ("/fanout/acknowledged", 120),
        ("/fanout/ledger/eligible", 480),
        ("/fanout/ledger/delivered", 480),
        ("/fanout/acknowledgement_ns/count", 100),
    ]);
    expect_sound(&outcome);
}

#[test]
fn json_documents_pass_too() {
    let outcome = run_with(Trick::None, &["--payload", "json"]);
    outcome.expect(&[
        ("/fanout/ledger/delivered", 480),
        ("/fanout/ledger/torn", 0),
    ]);
    expect_sound(&outcome);
}

#[test]
fn an_announced_gap_is_booked() {
    let outcome = run_with(Trick::AnnouncesGap, &[]);
    outcome.expect(&[
        ("/fanout/ledger/declared_gap", TOPICS),
        ("/fanout/ledger/delivered", 480 - TOPICS),
        ("/fanout/ledger/faults", 0),
    ]);
    expect_sound(&outcome);
}

#[test]
fn an_announced_conflation_is_booked() {
    let outcome = run_with(Trick::Conflates, &[]);
    outcome.expect(&[
        ("/fanout/ledger/conflated", TOPICS),
        ("/fanout/ledger/delivered", 480 - TOPICS),
        ("/fanout/ledger/faults", 0),
    ]);
    expect_sound(&outcome);
}

#[test]
fn a_hole_without_a_word_is_a_fault_and_missing() {
    run_with(Trick::LeavesOut, &[])
        .expect(&[
            ("/fanout/ledger/faults", TOPICS),
            ("/fanout/ledger/missing", TOPICS),
            ("/errors/unannounced_hole", TOPICS),
        ])
        .expect_end(4, "INVALID")
        .expect_reason("2 times the server broke its own numbering");
}

#[test]
fn closed_up_numbers_hide_nothing() {
    let outcome = run_with(Trick::Renumbers, &[]);
    outcome
        .expect(&[
            ("/fanout/ledger/delivered", 480 - TOPICS),
            ("/fanout/ledger/faults", 0),
        ])
        .expect_end(4, "INVALID")
        .expect_reason("2 copies had not arrived");
}

#[test]
fn a_refused_message_is_nobodys_loss() {
    let outcome = run_with(Trick::IsBusy, &[]);
    outcome.expect(&[
        ("/fanout/refused", TOPICS),
        ("/fanout/ledger/eligible", 480 - 4 * TOPICS),
        ("/fanout/ledger/delivered", 480 - 4 * TOPICS),
        ("/errors/error_busy", TOPICS),
    ]);
    expect_sound(&outcome);
    outcome.expect_reason("2 messages were refused");
}

#[test]
fn a_message_without_an_answer_is_named() {
    run_with(Trick::KeepsQuiet, &[])
        .expect(&[("/fanout/unanswered", TOPICS)])
        .expect_end(4, "INVALID")
        .expect_reason("2 messages were published without an answer");
}

#[test]
fn an_acknowledged_message_that_nobody_gets_is_missing() {
    run_with(Trick::Lies, &[])
        .expect(&[
            ("/fanout/ledger/missing", 4 * TOPICS),
            ("/fanout/ledger/faults", 4 * TOPICS),
            ("/fanout/acknowledged", 120),
        ])
        .expect_end(4, "INVALID");
}

#[test]
fn those_who_leave_get_everything_when_they_come_back() {
    let outcome = run_with(Trick::None, &["--churn", "20", "--churn-share", "50%"]);
    outcome.expect(&[
        ("/fanout/ledger/eligible", 480),
        ("/fanout/ledger/delivered", 480),
        ("/fanout/churn/not_recovered", 0),
    ]);
    assert!(
        outcome.count("/fanout/churn/left") >= 15,
        "{}",
        outcome.text
    );
    assert_eq!(
        outcome.count("/fanout/churn/left"),
        outcome.count("/fanout/churn/returned")
    );
    expect_sound(&outcome);
}

#[test]
fn a_resume_that_is_refused_is_booked_as_such() {
    let outcome = run_with(
        Trick::ForgetsResume,
        &["--churn", "20", "--churn-share", "50%"],
    );
    assert!(
        outcome.count("/fanout/churn/not_recovered") > 0,
        "{}",
        outcome.text
    );
    expect_sound(&outcome);
}
