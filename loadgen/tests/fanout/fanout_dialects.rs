//! What subscribers and publishers make of what servers say, in each dialect, without a socket.

use std::sync::Arc;

use clap::Parser;
use fanwire_loadgen::cli::{Cli, Job};
use fanwire_loadgen::config::Config;
use fanwire_loadgen::fanout::books::{Books, Counts};
use fanwire_loadgen::fanout::desk::Desk;
use fanwire_loadgen::fanout::dialect::nats;
use fanwire_loadgen::fanout::hear;
use fanwire_loadgen::fanout::layout::{Class, Layout};
use fanwire_loadgen::pace::plan::Window;
use fanwire_loadgen::pace::rate::Curve;
use fanwire_protocol::{Message, MessageKind};
use serde_json::{Value, json};

struct Bench {
    desk: Desk,
    books: Books,
    session: nats::Session,
    answers: hear::Answers,
}

fn config(more: &str) -> Config {
    let line = format!("fanwire-loadgen fanout ws://127.0.0.1:1 -R 100 -c 1 -s 128 {more}");
    let cli = Cli::try_parse_from(line.split_whitespace()).expect("a command line");
    match cli.into_job() {
        Ok(Job::Run(config)) => *config,
        other => unreachable!("{other:?}"),
    }
}

impl Bench {
    fn new(more: &str) -> Bench {
        let config = config(more);
        let options = config.fanout.clone().expect("a fan-out");
        let layout = Arc::new(Layout::new(&options, config.connections, config.seed));
        let mut desk = Desk::new(&config, &options, &layout, 0);
        let window = Window {
            start_ns: 1_000,
            measure_from_ns: 1_000,
            until_ns: 10_000_000_000,
        };
        desk.begin(window, Curve::constant(100.0));
        Bench {
            books: Books::new(&layout, 0),
            desk,
            session: nats::Session::default(),
            answers: Vec::new(),
        }
    }

    /// Publishes a message of stream 0 and returns what goes to the server.
    fn publish(&mut self, number: u64) -> Vec<u8> {
        let due_ns = self.desk.pace.as_ref().expect("begun").due_ns(number);
        self.desk.compose(0, number, due_ns, due_ns + 5, false);
        let message = self.desk.message().to_vec();
        self.desk.count_published(0, due_ns);
        message
    }

    fn hear(&mut self, kind: MessageKind, payload: &[u8]) {
        let message = Message {
            kind,
            payload,
            compressed: false,
        };
        let (desk, books) = (&mut self.desk, &mut self.books);
        let now_ns = 900_000_000;
        hear::subscriber(
            desk,
            books,
            &mut self.session,
            &message,
            now_ns,
            &mut self.answers,
        );
    }

    fn hear_text(&mut self, value: &Value) {
        self.hear(MessageKind::Text, value.to_string().as_bytes());
    }

    fn hear_as_publisher(&mut self, kind: MessageKind, payload: &[u8]) -> bool {
        let message = Message {
            kind,
            payload,
            compressed: false,
        };
        hear::publisher(
            &mut self.desk,
            0,
            &mut self.session,
            &message,
            900_000_000,
            &mut self.answers,
        )
    }

    fn counts(&mut self) -> Counts {
        self.desk.fan.class_mut(Class::Healthy).counts
    }
}

#[test]
fn raw_payloads_are_copies() {
    let mut bench = Bench::new("--dialect raw");
    let payload = bench.publish(0);
    assert_eq!((payload.len(), bench.desk.owed), (128, 1));
    bench.hear(MessageKind::Binary, &payload);
    bench.hear(MessageKind::Binary, &payload);
    bench.hear(MessageKind::Text, b"hello");
    let counts = bench.counts();
    assert_eq!(
        (counts.delivered, counts.duplicates, counts.torn),
        (1, 1, 1)
    );
    assert_eq!(bench.desk.sheet.response().count(), 1);
    assert_eq!(bench.desk.settled(), 1);
    // A publisher that hears itself is told apart from one that gets a receipt.
    bench.hear_as_publisher(MessageKind::Text, b"queued messages: 1");
    assert_eq!(bench.desk.sheet.tally.unsolicited, 0);
    bench.hear_as_publisher(MessageKind::Binary, &payload);
    assert_eq!(bench.desk.sheet.tally.unsolicited, 1);
}

#[test]
fn json_is_subscribed_published_and_acknowledged() {
    let mut bench = Bench::new("--dialect fanwire-json --kind state --keys 3 --max-rate 50");
    hear::introduce(&mut bench.desk, &bench.books, 0, &mut bench.answers);
    let said: Value = serde_json::from_slice(&bench.answers[0].1).expect("JSON");
    assert_eq!(said["topics"], json!(["load.0"]));
    assert_eq!(
        (&said["max_rate"], &said["snapshot"]),
        (&json!(50), &json!(false))
    );
    assert!(said.get("resume").is_none());
    bench.hear_text(
        &json!({"op": "subscribed", "id": 1, "topic": "load.0", "kind": "state",
        "epoch": "5f", "seq": 10, "alias": 17}),
    );
    let command: Value = serde_json::from_slice(&bench.publish(3)).expect("JSON");
    assert_eq!(
        (&command["op"], &command["id"], &command["key"]),
        (&json!("publish"), &json!(3), &json!("k0"))
    );
    assert_eq!(bench.desk.owed, 0, "nobody is owed what is not accepted");
    assert_eq!(bench.desk.unanswered(), 1);
    bench.hear_as_publisher(
        MessageKind::Text,
        br#"{"op":"published","id":3,"topic":"load.0","epoch":"5f","seq":11}"#,
    );
    assert_eq!(
        (
            bench.desk.owed,
            bench.desk.unanswered(),
            bench.desk.fan.heads[0]
        ),
        (1, 0, 11)
    );
    assert_eq!(bench.desk.fan.acknowledgement.count(), 1);
    bench.hear_text(&json!({"topic": "load.0", "seq": 11, "key": "k0", "data": command["data"]}));
    assert_eq!(bench.counts().delivered, 1);
    // Coming back names what was seen last.
    bench.answers.clear();
    hear::introduce(&mut bench.desk, &bench.books, 0, &mut bench.answers);
    let said: Value = serde_json::from_slice(&bench.answers[0].1).expect("JSON");
    assert_eq!(
        said["resume"],
        json!({"load.0": {"epoch": "5f", "seq": 11}})
    );
}

#[test]
fn notices_errors_and_rubbish_are_counted() {
    let mut bench = Bench::new("--dialect fanwire-json");
    bench.hear_text(
        &json!({"op": "subscribed", "topic": "load.0", "epoch": "5f", "seq": 0, "alias": 1}),
    );
    bench.hear_text(&json!({"op": "gap", "topic": "load.0", "from": 1, "to": 4, "cause": "slow"}));
    bench.hear_text(&json!({"op": "conflated", "topic": "load.0", "from": 5, "to": 9, "count": 0}));
    bench.hear_text(&json!({"op": "snapshot", "topic": "load.0", "as_of": 12, "count": 0}));
    let announced = bench.counts().announced;
    assert_eq!((announced.gap, announced.conflated), (4, 8));
    assert_eq!(bench.desk.settled(), 12);
    bench.hear_text(&json!({"op": "gap", "topic": "load.0", "from": 2, "to": 3, "cause": "slow"}));
    assert_eq!(bench.counts().faults, 1);
    bench.hear_text(&json!({"op": "error", "code": "busy", "message": "later"}));
    bench.hear_text(&json!({"topic": "other", "seq": 1, "data": 1}));
    bench.hear_text(&json!({"op": "gap", "topic": "other", "from": 1, "to": 1}));
    assert_eq!(bench.counts().foreign, 2);
    bench.hear(MessageKind::Text, b"{\"op\":");
    bench.hear(MessageKind::Binary, b"\x01");
    let failures = &bench.desk.sheet.tally.failures;
    assert_eq!(failures["error_busy"].count, 1);
    assert_eq!(failures["number_repeated"].count, 1);
    assert_eq!(failures["unreadable_message"].count, 2);
}

#[test]
fn binary_data_goes_by_alias() {
    let mut bench = Bench::new("--dialect fanwire-binary --topics 2 --topics-per-subscriber 2");
    for (topic, alias) in [("load.0", 70), ("load.1", 71)] {
        bench.hear_text(
            &json!({"op": "subscribed", "topic": topic, "epoch": "5f", "seq": 4, "alias": alias}),
        );
    }
    let command = bench.publish(0);
    assert_eq!(
        (command[0], command[1]),
        (2, 16),
        "a binary payload, with an answer"
    );
    let payload = &command[16 + "load.0".len()..];
    let mut message = vec![1, 0, 0, 0, 70, 0, 0, 0];
    message.extend_from_slice(&5u64.to_le_bytes());
    message.extend_from_slice(payload);
    bench.hear(MessageKind::Binary, &message);
    assert_eq!(bench.counts().delivered, 1);
    // The same under the other topic's alias, and under none that is known.
    for alias in [71, 99] {
        message[4] = alias;
        bench.hear(MessageKind::Binary, &message);
    }
    assert_eq!((bench.counts().delivered, bench.counts().foreign), (1, 2));
}

#[test]
fn nats_is_a_stream_across_messages() {
    let mut bench = Bench::new("--dialect nats");
    bench.hear(MessageKind::Binary, b"INFO {\"server_id\":\"x\"}\r\n");
    let (kind, hello) = bench.answers.remove(0);
    assert_eq!(kind, MessageKind::Binary);
    let hello = String::from_utf8(hello).expect("text");
    assert!(
        hello.starts_with("CONNECT {") && hello.ends_with("SUB load.0 1\r\nPING\r\n"),
        "{hello}"
    );
    bench.hear(MessageKind::Binary, b"PONG\r\nPI");
    assert!(bench.books.lanes()[0].is_ready);
    bench.hear(MessageKind::Binary, b"NG\r\n");
    assert_eq!(bench.answers.remove(0).1, b"PONG\r\n");
    let published = bench.publish(0);
    let payload = published
        .strip_prefix(b"PUB load.0 128\r\n")
        .expect("a PUB");
    let delivered = [b"MSG load.0 1 128\r\n", payload].concat();
    let (front, back) = delivered.split_at(60);
    bench.hear(MessageKind::Binary, front);
    assert_eq!(bench.counts().delivered, 0);
    bench.hear(MessageKind::Binary, back);
    assert_eq!(bench.counts().delivered, 1);
    bench.hear(MessageKind::Binary, b"-ERR 'Slow Consumer'\r\nNONSENSE\r\n");
    let failures = &bench.desk.sheet.tally.failures;
    assert!(failures["nats_error"].example.contains("Slow Consumer"));
    assert_eq!(failures["nats_broken"].count, 1);
    bench.session = nats::Session::default();
    assert!(!bench.hear_as_publisher(MessageKind::Binary, b"INFO {}\r\n"));
    assert!(bench.answers.remove(0).1.ends_with(b"PING\r\n"));
    assert!(bench.hear_as_publisher(MessageKind::Binary, b"PONG\r\n"));
}

#[test]
fn a_snapshot_brings_what_is_not_the_runs_and_nothing_is_missing() {
    let mut bench = Bench::new("--dialect fanwire-json --kind state --keys 2 --snapshot");
    hear::introduce(&mut bench.desk, &bench.books, 0, &mut bench.answers);
    let said: Value = serde_json::from_slice(&bench.answers[0].1).expect("JSON");
    assert_eq!(said["snapshot"], json!(true));
    bench.hear_text(
        &json!({"op": "subscribed", "topic": "load.0", "epoch": "5f", "seq": 10, "alias": 1}),
    );
    bench.hear_text(
        &json!({"op": "snapshot", "topic": "load.0", "as_of": 10, "count": 2, "whole": true}),
    );
    for seq in [4, 10] {
        bench.hear_text(
            &json!({"topic": "load.0", "seq": seq, "key": "k0", "data": {"any": "body's"}}),
        );
    }
    let command: Value = serde_json::from_slice(&bench.publish(0)).expect("JSON");
    bench.hear_text(&json!({"topic": "load.0", "seq": 11, "key": "k0", "data": command["data"]}));
    let counts = bench.counts();
    assert_eq!((counts.repeated, counts.delivered), (2, 1));
    assert_eq!((counts.torn, counts.strangers, counts.faults), (0, 0, 0));
}
