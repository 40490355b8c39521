//! The fan-out's ledger against a server whose faults are known: each one is found and named, and
//! an honest server is VALID with every copy accounted for.

use crate::support::hub::{AT, Fault, hub};
use crate::support::{Outcome, run};

/// Every fault happens once in each topic.
const TOPICS: u64 = 4;

/// Four subscribers of two topics each, all four topics; some 200 messages and 400 copies.
fn run_against(fault: Fault) -> Outcome {
    let url = hub(fault);
    run(&[
        "fanout",
        &url,
        "-c",
        "4",
        "--topics",
        "4",
        "--topics-per-subscriber",
        "2",
        "-R",
        "200",
        "-s",
        "100",
        "-d",
        "1s",
        "-w",
        "200ms",
        "--drain",
        "5s",
        "--connect-timeout",
        "3s",
    ])
}

#[test]
fn stages_publish_the_area_under_the_rate_and_every_copy_is_counted() {
    let url = hub(Fault::None);
    let outcome = run(&[
        "fanout",
        &url,
        "-c",
        "4",
        "--topics",
        "4",
        "--topics-per-subscriber",
        "2",
        "--stage",
        "1s:200,0s:50,1s:50",
        "-w",
        "200ms",
    ]);
    // A ramp of 100 messages and 50 after the jump; four of them are due in the warm-up.
    outcome.expect(&[
        ("/fanout/published", 150),
        ("/fanout/ledger/eligible", 300),
        ("/fanout/ledger/delivered", 300),
        ("/fanout/message/followed", 146),
    ]);
    assert_eq!(outcome.json["duration_s"], 1.8);
}

#[test]
fn a_warm_up_that_ends_by_itself_moves_what_is_measured_for_every_subscriber() {
    let url = hub(Fault::None);
    let outcome = run(&["fanout", &url, "-c", "4", "-R", "100", "-d", "1s"]);
    assert_eq!(outcome.json["is_warmup_steady"], true, "{}", outcome.text);
    let warmup_s = outcome.json["warmup_s"].as_f64().expect("seconds") as u64;
    assert!((2..10).contains(&warmup_s), "{warmup_s}");
    // Followed are the messages of the measured second, published are all.
    let published = (warmup_s + 1) * 100;
    outcome.expect(&[
        ("/fanout/message/followed", 100),
        ("/latency_ns/response/count", 400),
        ("/fanout/published", published),
        ("/fanout/ledger/delivered", 4 * published),
    ]);
}

#[test]
fn an_honest_server_is_valid_and_its_ledger_is_zero() {
    let outcome = run_against(Fault::None);
    outcome.expect(&[
        ("/fanout/published", 240),
        ("/fanout/subscriptions", 8),
        ("/fanout/ledger/eligible", 480),
        ("/fanout/ledger/delivered", 480),
        ("/fanout/ledger/missing", 0),
        ("/fanout/ledger/in_flight", 0),
        ("/fanout/ledger/torn", 0),
        ("/fanout/message/followed", 200),
        ("/latency_ns/response/count", 400),
        ("/fanout/message/last_ns/count", 200),
        ("/connections/alive", 8),
        ("/connections/served", 8),
        ("/latency_ns/last/count", 200),
        ("/latency_ns/healthy/count", 400),
    ]);
    assert_eq!(outcome.json["fanout"]["message"]["reach_min"], 1.0);
    assert_eq!(outcome.json["fanout"]["ledger"]["adds_up"], true);
    // On a busy machine the generator may have been late, and says so; nothing else may be said.
    let reasons = outcome.json["verdict_reasons"].to_string();
    assert!(!reasons.contains("copies"), "{reasons}");
    if outcome.json["verdict"] == "INVALID" {
        outcome.expect_reason("not on time");
    }
}

#[test]
fn a_left_out_message_is_missing() {
    run_against(Fault::Drops)
        .expect(&[
            ("/fanout/ledger/missing", TOPICS),
            ("/fanout/ledger/delivered", 480 - TOPICS),
            ("/fanout/ledger/in_flight", 0),
            ("/fanout/ledger/duplicates", 0),
            ("/fanout/ledger/reordered", 0),
        ])
        .expect_end(4, "INVALID")
        .expect_reason("the ledger does not add up: 4 copies of readers that kept up are missing");
}

#[test]
fn a_repeated_message_is_a_duplicate() {
    run_against(Fault::Duplicates)
        .expect(&[
            ("/fanout/ledger/duplicates", TOPICS),
            ("/fanout/ledger/delivered", 480),
            ("/fanout/ledger/missing", 0),
        ])
        .expect_end(4, "INVALID")
        .expect_reason("4 copies came twice");
}

#[test]
fn swapped_messages_are_reordered_and_not_missing() {
    run_against(Fault::Swaps)
        .expect(&[
            ("/fanout/ledger/reordered", TOPICS),
            ("/fanout/ledger/delivered", 480),
            ("/fanout/ledger/missing", 0),
            ("/fanout/ledger/duplicates", 0),
        ])
        .expect_end(4, "INVALID")
        .expect_reason("4 copies came after a younger message");
}

#[test]
fn a_message_of_another_topic_is_foreign() {
    run_against(Fault::Mixes)
        .expect(&[
            ("/fanout/ledger/foreign", TOPICS),
            ("/fanout/ledger/missing", 0),
            ("/fanout/ledger/duplicates", 0),
        ])
        .expect_end(4, "INVALID")
        .expect_reason("4 copies were of topics that their subscriber had not asked for");
}

#[test]
fn a_changed_byte_or_a_missing_one_is_torn() {
    for fault in [Fault::Corrupts, Fault::Cuts] {
        run_against(fault)
            .expect(&[
                ("/fanout/ledger/torn", TOPICS),
                ("/fanout/ledger/missing", TOPICS),
                ("/fanout/ledger/delivered", 480 - TOPICS),
            ])
            .expect_end(4, "INVALID")
            .expect_reason("4 copies were torn");
    }
}

#[test]
fn silence_leaves_copies_in_flight() {
    run_against(Fault::FallsSilent)
        .expect(&[
            ("/fanout/ledger/in_flight", TOPICS * (60 - AT + 1)),
            ("/fanout/ledger/missing", 0),
        ])
        .expect_end(4, "INVALID")
        .expect_reason("164 copies had not arrived at readers that kept up");
}

#[test]
fn a_disconnected_subscriber_is_cut_off_and_named() {
    let outcome = run_against(Fault::Disconnects);
    outcome
        .expect(&[
            ("/fanout/ledger/missing", 0),
            ("/fanout/ledger/in_flight", 0),
        ])
        .expect_end(4, "INVALID")
        .expect_reason("connections ended before the run did");
    assert!(outcome.count("/fanout/ledger/cut_off_at_close") > 0);
    assert!(outcome.count("/fanout/classes/0/ended") >= 2);
    assert!(outcome.count("/errors/ended_without_close") >= 2);
}

#[test]
fn a_server_that_delivers_nothing_is_no_measurement() {
    let outcome = run_against(Fault::IsDeaf);
    outcome
        .expect(&[("/fanout/unconfirmed", 8), ("/fanout/ledger/delivered", 0)])
        .expect_end(1, "INVALID")
        .expect_reason("8 subscriptions were never confirmed");
}
