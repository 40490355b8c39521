//! Readers that are slow or stalled are a class of their own, and cost the healthy ones nothing in
//! the books.

use std::time::Duration;

use crate::support::hub::{AT, Fault, hub, hub_with_listener};
use crate::support::{Outcome, run};

/// Eight subscribers of one topic, 200 messages a second for a second and a bit.
fn run_with(more: &[&str]) -> Outcome {
    let url = hub(Fault::None);
    let mut arguments = vec![
        "fanout", &url, "-c", "8", "-R", "200", "-s", "200", "-d", "1s", "-w", "200ms", "--drain",
        "20s",
    ];
    arguments.extend(more);
    run(&arguments)
}

/// Figures of a class, by its name.
fn class<'a>(outcome: &'a Outcome, name: &str) -> &'a serde_json::Value {
    let classes = outcome.json["fanout"]["classes"].as_array();
    let found = classes.and_then(|classes| classes.iter().find(|class| class["class"] == name));
    found.unwrap_or_else(|| unreachable!("no class {name}\n{}", outcome.text))
}

fn number(value: &serde_json::Value, pointer: &str) -> u64 {
    let found = value.pointer(pointer).and_then(serde_json::Value::as_u64);
    found.unwrap_or_else(|| unreachable!("no {pointer} in {value:#}"))
}

fn expect_healthy_to_be_whole(outcome: &Outcome, subscribers: u64) {
    let healthy = class(outcome, "healthy");
    assert_eq!(number(healthy, "/subscribers"), subscribers);
    assert_eq!(
        number(healthy, "/ledger/delivered"),
        240 * subscribers,
        "{}",
        outcome.text
    );
    // Copies of slow and stalled readers are not in the headline.
    outcome.expect(&[("/latency_ns/response/count", 200 * subscribers)]);
    assert_eq!(outcome.json["delivered_share"], 1.0);
}

#[test]
fn a_stall_with_an_end_delays_and_loses_nothing() {
    let outcome = run_with(&["--stall", "25%:400ms"]);
    expect_healthy_to_be_whole(&outcome, 6);
    let stalled = class(&outcome, "stalled");
    assert_eq!(number(stalled, "/subscribers"), 2);
    assert_eq!(number(stalled, "/ledger/delivered"), 480);
    assert_eq!(stalled["ledger"]["adds_up"], true);
    // What was due when the stall began waited for its end.
    assert!(
        number(stalled, "/delivery_ns/max") >= 350_000_000,
        "{}",
        outcome.text
    );
}

#[test]
fn a_stall_without_an_end_leaves_copies_under_way() {
    let outcome = run_with(&["--stall", "25%:inf"]);
    expect_healthy_to_be_whole(&outcome, 6);
    let stalled = class(&outcome, "stalled");
    assert!(
        number(stalled, "/ledger/delivered") < 480,
        "{}",
        outcome.text
    );
    assert!(
        number(stalled, "/ledger/in_flight") > 300,
        "{}",
        outcome.text
    );
    assert_eq!(outcome.json["fanout"]["ledger"]["adds_up"], true);
    let reasons = outcome.json["verdict_reasons"].to_string();
    assert!(
        !reasons.contains("copies"),
        "what nobody reads is no fault: {reasons}"
    );
}

#[test]
fn a_slow_reader_takes_what_it_is_allowed() {
    // 204 bytes a frame, 240 of them and some probes: 20 kB at 20 kB a second take two seconds and
    // a half, and the load lasts little more than one.
    let outcome = run_with(&["--slow", "25%:20KB"]);
    expect_healthy_to_be_whole(&outcome, 6);
    let slow = class(&outcome, "slow");
    assert_eq!(number(slow, "/ledger/delivered"), 480, "{}", outcome.text);
    assert!(
        number(slow, "/delivery_ns/max") >= 700_000_000,
        "{}",
        outcome.text
    );
}

#[test]
fn threads_and_bursts_and_both_backends_give_the_same_books() {
    for more in [
        [
            "-t",
            "3",
            "--publishers",
            "3",
            "--burst",
            "10",
            "--backend",
            "epoll",
        ],
        [
            "-t",
            "3",
            "--publishers",
            "3",
            "--burst",
            "10",
            "--backend",
            "auto",
        ],
    ] {
        let outcome = run_with(&more);
        expect_healthy_to_be_whole(&outcome, 8);
        outcome.expect(&[
            ("/fanout/published", 240),
            ("/fanout/message/last_ns/count", 200),
            ("/connections/alive", 11),
        ]);
        assert_eq!(outcome.json["fanout"]["message"]["reach_min"], 1.0);
    }
}

#[test]
fn all_forms_of_payload_pass() {
    for form in ["binary", "text", "json"] {
        let outcome = run_with(&["--payload", form]);
        outcome.expect(&[
            ("/fanout/ledger/delivered", 1_920),
            ("/fanout/ledger/torn", 0),
        ]);
    }
}

#[test]
fn an_interrupted_run_reports_what_there_was() {
    let (url, reached) = hub_with_listener();
    let running = crate::support::start(&[
        "fanout", &url, "-c", "4", "-R", "200", "-d", "50s", "-w", "0s",
    ]);
    let is_loaded = reached.recv_timeout(Duration::from_secs(30));
    running.signal("INT");
    let outcome = running.finish();
    assert!(is_loaded.is_ok(), "{}", outcome.text);
    assert_eq!(outcome.code, Some(130), "{}", outcome.text);
    assert_eq!(outcome.json["interrupted"], true);
    let ledger = &outcome.json["fanout"]["ledger"];
    assert_eq!(ledger["adds_up"], true, "{}", outcome.text);
    assert!(number(ledger, "/delivered") >= 4 * AT);
}
