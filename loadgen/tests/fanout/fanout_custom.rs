//! `fanout` against servers that know nothing of fanwire: a hub with an envelope of its own, and
//! feeds that a server paces by itself. The servers speak through `tungstenite`.

use crate::support::files::File;
use crate::support::foreign_hub::{ForeignHub, Manner};
use crate::support::ticker::{Tick, ticker};
use crate::support::{Outcome, run};
use serde_json::Value;

const SUBSCRIBE: &str = r#"{"op":"sub","ch":"{topic}"}"#;
const PUBLISH: &str = r#"{"op":"pub","id":{seq},"ch":"{topic}","data":"{payload}"}"#;
const CONFIRMED: &str = "json:/type=subscribed";

/// Four subscribers, 300 messages in 1.5 seconds.
fn fanout(hub: &ForeignHub, more: &[&str]) -> Outcome {
    let mut arguments = vec![
        "fanout",
        &hub.url,
        "--subscribers",
        "4",
        "-R",
        "200",
        "-s",
        "200",
        "-d",
        "1s",
        "-w",
        "500ms",
    ];
    arguments.extend_from_slice(more);
    run(&arguments)
}

fn spoken(hub: &ForeignHub, more: &[&str]) -> Outcome {
    let mut words = vec!["--subscribe", SUBSCRIBE, "--subscribed-when", CONFIRMED];
    words.extend_from_slice(more);
    fanout(hub, &words)
}

#[test]
fn payloads_are_found_in_whatever_a_hub_makes_of_them() {
    let json = r#"{"op":"pub","id":{seq},"ch":"BTC","data":{payload}}"#;
    for (manner, publish, more) in [
        (Manner::Quotes, PUBLISH, &["--payload", "text"][..]),
        (Manner::Quotes, PUBLISH, &["--payload", "json"]),
        (Manner::Rewrites, json, &["--payload", "json"]),
        (Manner::Batches, PUBLISH, &[]),
    ] {
        let hub = ForeignHub::start(manner);
        let mut words = vec!["--publish", publish, "--acknowledged-when", "json:/type=ok"];
        words.extend_from_slice(more);
        let outcome = spoken(&hub, &words);
        assert_eq!(hub.published(), 300, "{manner:?}\n{}", outcome.text);
        outcome.expect(&[
            ("/fanout/published", 300),
            ("/fanout/acknowledged", 300),
            ("/fanout/unanswered", 0),
            ("/fanout/unconfirmed", 0),
            ("/fanout/ledger/eligible", 1_200),
            ("/fanout/ledger/delivered", 1_200),
            ("/fanout/ledger/torn", 0),
            ("/fanout/foreign/confirmations", 4),
            ("/fanout/foreign/unmarked", 0),
            ("/fanout/message/followed", 200),
        ]);
        assert_eq!(outcome.json["fanout"]["ledger"]["adds_up"], true);
        assert_eq!(outcome.json["fanout"]["message"]["reach_min"], 1.0);
        let acknowledged = outcome.count("/fanout/acknowledgement_ns/count");
        assert_eq!(acknowledged, 200, "the measured ones");
    }
}

#[test]
fn what_is_dropped_is_missing_and_what_is_repeated_a_duplicate() {
    let hub = ForeignHub::start(Manner::DropsOneInAHundred);
    let outcome = spoken(&hub, &["--publish", PUBLISH]);
    assert_eq!(hub.faults(), 3);
    outcome.expect_end(4, "INVALID");
    outcome.expect(&[
        ("/fanout/ledger/eligible", 1_200),
        ("/fanout/ledger/delivered", 1_197),
        ("/fanout/ledger/missing", 3),
        ("/fanout/ledger/duplicates", 0),
    ]);
    outcome.expect_reason("3 copies of readers that kept up are missing");
    let hub = ForeignHub::start(Manner::RepeatsOneInAHundred);
    let outcome = spoken(&hub, &["--publish", PUBLISH]);
    assert_eq!(hub.faults(), 3);
    outcome.expect_end(4, "INVALID");
    outcome.expect(&[
        ("/fanout/ledger/delivered", 1_200),
        ("/fanout/ledger/missing", 0),
        ("/fanout/ledger/duplicates", 3),
    ]);
}

#[test]
fn a_server_that_sends_to_whoever_is_connected_needs_no_words() {
    let hub = ForeignHub::start(Manner::SendsToAll);
    let outcome = fanout(&hub, &["--dialect", "custom", "--settle", "50ms"]);
    outcome.expect(&[
        ("/fanout/ledger/delivered", 1_200),
        ("/fanout/ledger/missing", 0),
        ("/fanout/foreign/publisher_copies", 300),
        ("/messages/unsolicited", 0),
    ]);
    assert_eq!(outcome.json["fanout"]["foreign"]["confirmed_by"], "time");
}

#[test]
fn publishers_may_connect_elsewhere() {
    let hub = ForeignHub::start(Manner::Quotes);
    let url = hub.second_url();
    let outcome = spoken(
        &hub,
        &[
            "--publish",
            PUBLISH,
            "--publisher-url",
            &url,
            "--publish-path",
            "/in/{topic}",
        ],
    );
    outcome.expect(&[
        ("/fanout/ledger/delivered", 1_200),
        ("/fanout/foreign/publisher_messages", 300),
    ]);
    // Where nobody listens it is the publisher that fails, and that is said.
    let outcome = spoken(
        &hub,
        &["--publish", PUBLISH, "--publisher-url", "ws://127.0.0.1:1/"],
    );
    outcome.expect(&[("/connections/upgraded", 4), ("/errors/connect_refused", 1)]);
    assert_eq!(outcome.json["verdict"], "INVALID");
}

#[test]
fn logins_tokens_and_other_messages() {
    let tokens = File::written("fanout-tokens", "alpha\nbeta\n");
    let hub = ForeignHub::start(Manner::Quotes);
    let login = r#"{"op":"login","as":"{token}"}"#;
    let words = [
        "--first-message",
        login,
        "--token-file",
        tokens.path(),
        "--publish",
        PUBLISH,
    ];
    let outcome = spoken(&hub, &words);
    outcome.expect(&[
        ("/fanout/ledger/delivered", 1_200),
        ("/fanout/foreign/unmarked", 4),
        ("/fanout/foreign/publisher_messages", 301),
    ]);
    let example = &outcome.json["fanout"]["foreign"]["example"];
    let example = example.as_str().expect("a greeting was kept");
    assert!(example.contains("hello") && example.contains("alpha") || example.contains("beta"));
    let strict = spoken(&hub, &[&words[..], &["--strict"]].concat());
    strict.expect_end(4, "INVALID").expect_reason("--strict: 4");
}

#[test]
fn silence_is_explained() {
    let hub = ForeignHub::start(Manner::KeepsQuiet);
    let patience = ["--publish", PUBLISH, "--connect-timeout", "1s"];
    let outcome = spoken(&hub, &patience);
    assert_eq!(outcome.json["verdict"], "INVALID");
    assert_eq!(outcome.code, Some(1), "{}", outcome.text);
    outcome.expect_reason("4 subscriptions were never confirmed: no message came at all");
    outcome.expect_reason("are --subscribe and --publish what this server understands?");
    outcome.expect_reason("publishers were told");
    // The server answers, but not as it was said.
    let hub = ForeignHub::start(Manner::Quotes);
    let outcome = fanout(
        &hub,
        &[
            "--subscribe",
            SUBSCRIBE,
            "--subscribed-when",
            "yes",
            "--publish",
            PUBLISH,
            "--connect-timeout",
            "1s",
        ],
    );
    outcome.expect_reason("4 subscriptions were never confirmed: no message was what");
    outcome.expect_reason("subscribed");
    // What is published is not what the server relays.
    let hub = ForeignHub::start(Manner::Quotes);
    let wrong = r#"{"op":"pub","text":"{payload}"}"#;
    let outcome = spoken(&hub, &["--publish", wrong]);
    outcome.expect_reason("none held what our publishers had sent");
    assert_eq!(outcome.code, Some(1), "{}", outcome.text);
}

#[test]
fn a_server_that_closes_on_a_subscription_is_quoted() {
    let hub = ForeignHub::start(Manner::ClosesOnSubscribe);
    let outcome = spoken(&hub, &["--publish", PUBLISH]);
    assert_eq!(outcome.json["verdict"], "INVALID");
    outcome.expect(&[("/close_codes/1008", 4), ("/errors/closed_by_server", 4)]);
    let said = &outcome.json["error_examples"]["closed_by_server"];
    let said = said.as_str().expect("an example");
    assert!(
        said.contains("1008") && said.contains("who are \\\"you\\\"?") && said.contains("policy"),
        "{said}"
    );
}

fn feed(tick: Tick, more: &[&str]) -> Outcome {
    let url = ticker(tick);
    let mut arguments = vec![
        "fanout",
        &url,
        "--subscribers",
        "12",
        "--readers-only",
        "--settle",
        "50ms",
        "-d",
        "1s",
        "-w",
        "200ms",
    ];
    arguments.extend_from_slice(more);
    run(&arguments)
}

/// What can be known of every feed: sums, intervals, fairness.
fn reconciled(outcome: &Outcome) {
    let feed = &outcome.json["fanout"]["feed"];
    let count = |name: &str| feed[name].as_u64().expect("a count");
    assert!(count("received") > 500, "{}", outcome.text);
    assert_eq!(
        count("received"),
        count("stamped") + count("unstamped"),
        "{feed}"
    );
    assert!(feed["interval_ns"]["count"].as_u64() > Some(300), "{feed}");
    assert_eq!(
        (
            &feed["fairness"]["subscribers"],
            &feed["fairness"]["silent"]
        ),
        (&Value::from(12), &Value::from(0))
    );
    assert_eq!(outcome.json["loop"], "server");
    assert_eq!(outcome.json["fanout"]["published"], 0);
    assert_eq!(outcome.code, Some(0), "{}", outcome.text);
}

#[test]
fn a_feed_with_times_and_numbers_in_json() {
    let numbers = ["--sequence", "json:/seq", "--sequence-key", "json:/sym"];
    let outcome = feed(
        Tick::Json(200),
        &[&["--stamp", "json:/ts:ms"], &numbers[..]].concat(),
    );
    reconciled(&outcome);
    outcome.expect(&[
        ("/fanout/feed/unstamped", 0),
        ("/fanout/feed/negative", 0),
        ("/fanout/feed/sequence/missing", 0),
        ("/fanout/feed/sequence/duplicates", 0),
    ]);
    let p50_ns = outcome.count("/latency_ns/response/p50");
    assert!((200_000_000..5_000_000_000).contains(&p50_ns), "{p50_ns}");
    let first_ns = outcome.count("/latency_ns/first/p50");
    let last_ns = outcome.count("/latency_ns/last/p50");
    assert!(first_ns >= 200_000_000 && last_ns >= first_ns);
    assert_eq!(outcome.json["fanout"]["message"]["reach_mean"], 1.0);
    let tenths = outcome.json["fanout"]["position"]["tenths_ns"].as_array();
    let counted = tenths.expect("tenths").iter();
    let counts: Vec<u64> = counted
        .filter_map(|tenth| tenth["count"].as_u64())
        .collect();
    assert!(
        counts.len() == 10 && counts.iter().all(|count| *count > 0),
        "{counts:?}"
    );
}

#[test]
fn a_feed_with_times_and_numbers_in_binary() {
    let outcome = feed(
        Tick::Binary,
        &["--stamp", "at:8:u64le:ns", "--sequence", "at:0:u64le"],
    );
    reconciled(&outcome);
    outcome.expect(&[
        ("/fanout/feed/unstamped", 0),
        ("/fanout/feed/sequence/missing", 0),
        ("/fanout/feed/sequence/unnumbered", 0),
    ]);
    assert!(outcome.count("/latency_ns/response/p50") < 5_000_000_000);
}

#[test]
fn gaps_in_the_numbers_are_counted() {
    let outcome = feed(
        Tick::WithGaps,
        &["--stamp", "json:/ts", "--sequence", "json:/seq"],
    );
    reconciled(&outcome);
    let count = |name: &str| outcome.count(&format!("/fanout/feed/sequence/{name}"));
    let (expected, seen, missing) = (count("expected"), count("seen"), count("missing"));
    assert_eq!(expected, seen + missing);
    assert_eq!(missing, count("gaps"), "each of them by itself");
    // One in fifty, give or take one at each of twelve subscribers' beginning and end.
    assert!(
        (missing * 50).abs_diff(expected) <= 12 * 50,
        "{missing} of {expected}"
    );
    assert!(missing > 0);
    outcome.expect_reason("numbers are missing, in");
    assert_eq!(outcome.json["verdict"], "SUSPECT");
}

#[test]
fn a_clock_that_is_ahead_is_noticed() {
    let outcome = feed(Tick::Json(-60_000), &["--stamp", "json:/ts"]);
    reconciled(&outcome);
    outcome.expect_reason("stamped after they had arrived");
    assert_eq!(outcome.json["verdict"], "SUSPECT");
    let smallest = outcome.json["fanout"]["feed"]["smallest_ns"].as_i64();
    assert!(smallest < Some(-50_000_000_000), "{smallest:?}");
}

#[test]
fn a_feed_without_a_stamp_is_counted() {
    let outcome = feed(Tick::Plain, &[]);
    reconciled(&outcome);
    assert_eq!(outcome.count("/latency_ns/response/count"), 0);
    assert_eq!(outcome.count("/fanout/feed/stamped"), 0);
    // The stamp is looked for where there is none.
    let outcome = feed(Tick::Plain, &["--stamp", "json:/ts"]);
    outcome.expect_end(4, "INVALID");
    outcome.expect_reason("had a time stamp at json:/ts, so no latency was measured");
    outcome.expect_reason("began: tick");
}

#[test]
fn a_feed_that_says_nothing_is_explained() {
    let hub = ForeignHub::start(Manner::KeepsQuiet);
    let outcome = run(&[
        "fanout",
        &hub.url,
        "--readers-only",
        "-c",
        "2",
        "--settle",
        "50ms",
        "-d",
        "300ms",
        "-w",
        "0",
    ]);
    assert_eq!(outcome.code, Some(1), "{}", outcome.text);
    outcome.expect_reason("no message came at all; does this server wait for a subscription");
}

#[test]
fn nonsense_is_refused_with_a_cure() {
    for (words, cure) in [
        (&["-R", "5", "--publish", "{}"][..], "{payload}"),
        (&["-R", "5", "--stamp", "json:/ts"], "--readers-only"),
        (&["--readers-only", "-R", "5"], "--rate"),
        (&["--readers-only", "--stamp", "ts"], "json:/ts"),
        (
            &[
                "--readers-only",
                "--stamp",
                "json:/ts",
                "--stamp-clock",
                "monotonic",
            ],
            "json:/ts:ns",
        ),
        (&["-R", "5", "--subscribe", "{token}"], "--token-file"),
        (
            &["-R", "5", "--dialect", "nats", "--subscribe", "x"],
            "--subscribe belongs to --dialect custom",
        ),
        (
            &["-R", "5", "--subscribe", "x", "--payload", "binary"],
            "--payload text or json",
        ),
        (&["-R", "5", "--subscribe", "x", "-s", "80"], "86"),
        (&["--dialect", "custom"], "--rate"),
        (
            &["--readers-only", "--dialect", "fanwire-json"],
            "--subprotocol",
        ),
    ] {
        let mut arguments = vec!["fanout", "ws://127.0.0.1:1"];
        arguments.extend_from_slice(words);
        let outcome = run(&arguments);
        assert_eq!(outcome.code, Some(2), "{words:?}: {}", outcome.text);
        assert!(outcome.text.contains(cure), "{words:?}: {}", outcome.text);
    }
}
