//! What concerns several shards: one order for all, patterns, coming and going.

use std::collections::{HashMap, HashSet};
use std::net::SocketAddr;
use std::thread;

use fanwire_server::hub::publication::Change;
use fanwire_server::hub::rules::{LagPolicy, TopicKind};
use fanwire_server::hub::topic::TopicName;

use crate::client::{CLOSE, Client, REQUEST, TEXT, message};
use crate::reader::Reader;
use crate::{Publisher, SETUPS, hub, rule};

/// Waits for the answer with this op about this topic.
fn answer(reader: &mut Reader, op: &str, topic: &str) {
    loop {
        let incoming = reader.step().expect("an answer");
        let is_meant = incoming.topic.as_deref() == Some(topic);
        if is_meant && incoming.op.as_deref() == Some(op) {
            return;
        }
    }
}

/// A connection that lands on one shard or another.
fn open(address: SocketAddr) -> Reader {
    let mut reader = Reader::new(address, false);
    reader.connect();
    reader
}

/// Publishes over WebSocket and waits for the acknowledgement.
fn publish(reader: &mut Reader, topic: &str, data: &str) -> u64 {
    reader.send(&format!(
        r#"{{"op":"publish","id":1,"topic":"{topic}","data":{data}}}"#
    ));
    loop {
        let incoming = reader.step().expect("an answer");
        if incoming.op.as_deref() == Some("published") {
            return incoming.seq.expect("a seq");
        }
    }
}

#[test]
fn every_subscriber_on_every_shard_sees_one_order() {
    const PUBLISHERS: usize = 4;
    const EACH: usize = 300;
    for setup in SETUPS {
        let hub = hub(setup, Vec::new(), |_| {});
        let address = hub.running.local_address();
        // Enough connections to be on every shard.
        let mut readers: Vec<Reader> = (0..8).map(|_| open(address)).collect();
        for reader in &mut readers {
            reader.send(r#"{"op":"subscribe","id":1,"topics":["a","b"]}"#);
            // The homes of the two answer, in any order.
            for _ in 0..2 {
                let incoming = reader.step().expect("an answer");
                assert_eq!(incoming.op.as_deref(), Some("subscribed"));
            }
        }
        let mut orders: Vec<Vec<String>> = Vec::new();
        thread::scope(|scope| {
            for number in 0..PUBLISHERS {
                scope.spawn(move || {
                    let mut publisher = open(address);
                    for count in 0..EACH {
                        let topic = ["a", "b"][count % 2];
                        publish(&mut publisher, topic, &format!("[{number},{count}]"));
                    }
                });
            }
            let reading: Vec<_> = readers
                .iter_mut()
                .map(|reader| {
                    scope.spawn(move || {
                        let mut order = HashMap::from([("a", Vec::new()), ("b", Vec::new())]);
                        for _ in 0..PUBLISHERS * EACH {
                            let incoming = reader.step().expect("a message");
                            let topic = incoming.topic.expect("a topic");
                            let data = incoming.data.expect("data").to_string();
                            order.get_mut(topic.as_str()).expect("ours").push(data);
                        }
                        format!("{:?} {:?}", order["a"], order["b"])
                    })
                })
                .collect();
            for reader in reading {
                let order = reader.join().expect("nothing wrong was seen");
                orders.push(vec![order]);
            }
        });
        // The reader has checked that no number is missing; here, that they mean the same.
        assert!(orders.iter().all(|order| *order == orders[0]), "{setup:?}");
        // And each publisher's messages are in the order in which it published them.
        for number in 0..PUBLISHERS {
            let all = &orders[0][0];
            let mut at = 0;
            for count in (0..EACH).step_by(2) {
                let found = all[at..].find(&format!("[{number},{count}]"));
                at += found.expect("every message, in order");
            }
        }
    }
}

#[test]
fn the_first_of_two_subscriptions_to_a_topic_decides_where_it_begins() {
    for setup in SETUPS {
        let hub = hub(setup, Vec::new(), |_| {});
        let address = hub.running.local_address();
        let mut publisher = open(address);
        // Homes on every shard.
        for number in 0..16 {
            let topic = format!("first{number}.a");
            publish(&mut publisher, &topic, "1");
            publish(&mut publisher, &topic, "2");
            let mut reader = open(address);
            let pattern = format!("first{number}.*");
            reader.send(&format!(
                r#"{{"op":"subscribe","topics":["{pattern}"],"history":10}}"#
            ));
            reader.send(&format!(r#"{{"op":"subscribe","topics":["{topic}"]}}"#));
            let first = loop {
                let incoming = reader.step().expect("an answer");
                if incoming.topic.is_some() {
                    break incoming;
                }
            };
            assert_eq!(first.replay, Some(2), "{setup:?}: {first:?}");
            while reader.views[&topic].seq < 2 {
                reader.step().expect("a message");
            }
        }
    }
}

#[test]
fn patterns_match_topics_of_the_past_and_of_the_future_once() {
    for setup in SETUPS {
        let hub = hub(setup, Vec::new(), |_| {});
        let address = hub.running.local_address();
        let mut publisher = open(address);
        for number in 0..20 {
            publish(&mut publisher, &format!("old.{number}"), "0");
        }
        let mut readers: Vec<Reader> = (0..6).map(|_| open(address)).collect();
        for reader in &mut readers {
            // Three of them match some topics twice.
            reader.send(r#"{"op":"subscribe","topics":["old.*","*.3","old.7","new.>"]}"#);
            let mut told = HashSet::new();
            while told.len() < 20 {
                let incoming = reader.step().expect("an answer");
                if let Some(topic) = incoming.topic {
                    assert_eq!(incoming.op.as_deref(), Some("subscribed"), "{setup:?}");
                    // Named as well as matched: told twice, subscribed once.
                    assert!(told.insert(topic.clone()) || topic == "old.7", "{topic}");
                }
            }
        }
        for number in 0..20 {
            assert_eq!(publish(&mut publisher, &format!("old.{number}"), "1"), 2);
            publish(&mut publisher, &format!("new.{number}.x"), "1");
            publish(&mut publisher, &format!("other.{number}"), "1");
        }
        for reader in &mut readers {
            let mut got: HashMap<String, u32> = HashMap::new();
            while got.len() < 40 + 1 {
                let incoming = reader.step().expect("a message");
                if incoming.op.is_none() {
                    *got.entry(incoming.topic.expect("a topic")).or_default() += 1;
                }
            }
            assert!(got.values().all(|count| *count == 1), "{setup:?}: {got:?}");
            assert!(got.contains_key("other.3") && !got.contains_key("other.4"));
        }
        // When the patterns go, what they matched goes, and what was named stays.
        let reader = &mut readers[0];
        reader.send(r#"{"op":"unsubscribe","topics":["old.*"]}"#);
        answer(reader, "unsubscribed", "old.*");
        publish(&mut publisher, "old.1", "2");
        publish(&mut publisher, "old.3", "2");
        publish(&mut publisher, "old.7", "2");
        let mut next = || {
            let incoming = reader.step().expect("a message");
            incoming.topic.expect("a topic")
        };
        let got = HashSet::from([next(), next()]);
        assert_eq!(got, HashSet::from(["old.3".to_owned(), "old.7".to_owned()]));
    }
}

#[test]
fn subscribers_that_come_and_go_leave_nothing_behind() {
    for setup in SETUPS {
        let seed = fastrand::u64(..);
        eprintln!("{setup:?}: seed {seed}");
        let rules = vec![rule("s.>", TopicKind::State, LagPolicy::Conflate, 100)];
        let mut hub = hub(setup, rules, |_| {});
        let address = hub.running.local_address();
        let mut random = fastrand::Rng::with_seed(seed);
        let names: Vec<TopicName> = (0..50)
            .map(|number| {
                let kind = ["s", "e"][number % 2];
                TopicName::parse(&format!("{kind}.{number}")).expect("a name")
            })
            .collect();
        let filters = [
            "s.*", "e.*", ">", "*.1", "s.2", "e.3", "e.5", "s.10", "never",
        ];
        thread::scope(|scope| {
            let clients: Vec<_> = (0..8)
                .map(|_| {
                    let mut random = random.fork();
                    scope.spawn(move || {
                        for _ in 0..12 {
                            let mut reader = Reader::new(address, random.bool());
                            for number in (0..50).step_by(2) {
                                let view = reader.views.entry(format!("s.{number}")).or_default();
                                view.is_state = true;
                            }
                            reader.connect();
                            let mut subscribed = HashSet::new();
                            for _ in 0..20 {
                                let filter = filters[random.usize(..filters.len())];
                                if subscribed.insert(filter) {
                                    reader.subscribe(&[filter], false);
                                } else {
                                    subscribed.remove(filter);
                                    reader.send(&format!(
                                        r#"{{"op":"unsubscribe","topics":["{filter}"]}}"#
                                    ));
                                }
                            }
                            reader.send(r#"{"op":"ping","id":77}"#);
                            while reader.step().expect("a message").id != Some(77) {}
                            if random.bool() {
                                // Ends with a reset, in the middle of what it is sent.
                                reader.client = None;
                            }
                        }
                    })
                })
                .collect();
            let mut publisher = Publisher::new(&mut hub.port, 64);
            let mut value = 0_u64;
            while clients.iter().any(|client| !client.is_finished()) {
                value += 1;
                let topic = &names[random.usize(..names.len())];
                let data = format!("{{\"v\":{value},\"check\":{value}}}");
                let key = topic.as_str().starts_with('s').then_some("only");
                // With one key the checksum is what that key contributes.
                let sum = crate::reader::digest("only", value);
                let data = data.replace(&format!("\"check\":{value}"), &format!("\"check\":{sum}"));
                publisher.publish(topic, key, Change::Update, data);
            }
            publisher.wait_for(0);
            for client in clients {
                client.join().expect("the client saw nothing wrong");
            }
        });
        crate::client::wait_for(&mut hub.running, "the end of all", |all| all.open == 0);
        // `never` was never published on, so nothing of it may stay; and a shard stops following
        // what nobody on it is subscribed to.
        let until = std::time::Instant::now() + crate::client::PATIENCE;
        loop {
            let counters = hub.counters();
            assert_eq!(counters.subscriptions, 0, "{setup:?}: {counters:?}");
            assert_eq!(counters.subscriptions_behind, 0, "{setup:?}: {counters:?}");
            assert_eq!(counters.errors, 0, "{setup:?}: {counters:?}");
            if (counters.topics, counters.topics_followed) == (50, 0) {
                break;
            }
            let is_late = std::time::Instant::now() > until;
            assert!(!is_late, "{setup:?}: {counters:?}");
            thread::yield_now();
        }
    }
}

#[test]
fn a_resume_is_whole_up_to_the_last_message_that_the_log_has() {
    for setup in SETUPS {
        let rules = vec![rule("short", TopicKind::Events, LagPolicy::Gap, 8)];
        let hub = hub(setup, rules, |_| {});
        let mut publisher = open(hub.running.local_address());
        for number in 1..=20 {
            assert_eq!(publish(&mut publisher, "short", "0"), number);
        }
        let mut first = open(hub.running.local_address());
        first.send(r#"{"op":"subscribe","topics":["short"]}"#);
        let epoch = first.step().and_then(|answer| answer.epoch);
        let epoch = epoch.expect("an epoch");
        // 13 to 20 are there.
        for (seq, code) in [
            (20, None),
            (12, None),
            (11, Some("log_overrun")),
            (0, Some("log_overrun")),
        ] {
            let mut reader = open(hub.running.local_address());
            let view = reader.views.entry("short".to_owned()).or_default();
            (view.epoch, view.seq, view.whole) = (epoch.clone(), seq, true);
            reader.subscribe(&["short"], true);
            let answer = reader.step().expect("an answer");
            assert_eq!(answer.code.as_deref(), code, "{setup:?}: from {seq}");
            assert_eq!(answer.recovered, Some(code.is_none()));
            assert_eq!(answer.replay, code.is_none().then_some(20 - seq));
            for expected in seq + 1..=20 {
                if code.is_none() {
                    assert_eq!(reader.step().and_then(|one| one.seq), Some(expected));
                }
            }
        }
    }
}

#[test]
fn a_connection_that_changes_its_subscriptions_all_the_time_is_stopped() {
    for setup in SETUPS {
        let hub = hub(setup, Vec::new(), |_| {});
        let mut bystander = open(hub.running.local_address());
        let mut client = Client::connect(hub.running.local_address());
        client.send(format!("{REQUEST}\r\n").as_bytes());
        assert_eq!(client.response().0, 101);
        let mut changes = Vec::new();
        for _ in 0..1_500 {
            for op in ["subscribe", "unsubscribe"] {
                let command = format!(r#"{{"op":"{op}","topics":["many.*"]}}"#);
                changes.extend(message(TEXT, command.as_bytes()));
            }
        }
        client.send(&changes);
        let mut refused = 0;
        let code = loop {
            let frame = client.frame();
            if frame.opcode() == CLOSE {
                break frame.close_code();
            }
            let text = String::from_utf8(frame.payload).expect("text");
            refused += usize::from(text.contains(r#""code":"busy""#));
        };
        assert_eq!(code, 1008, "{setup:?}");
        assert!(refused > 10, "{setup:?}: refused {refused} times");
        publish(&mut bystander, "many.1", "1");
    }
}
