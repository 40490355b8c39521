//! Readers that do not read: what they cost others, what they are told, and how they end.

use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use fanwire_server::CloseReason;
use fanwire_server::hub::publication::Change;
use fanwire_server::hub::rules::{LagPolicy, TopicKind};
use fanwire_server::hub::topic::TopicName;

use crate::client::{CLOSE, PATIENCE, REQUEST, wait_for};
use crate::reader::{Reader, connect, digest};
use crate::{Publisher, SETUPS, TestHub, hub, rule};

fn subscribed(hub: &TestHub, topic: &str, is_binary: bool, is_state: bool) -> Reader {
    let mut reader = Reader::new(hub.running.local_address(), is_binary);
    reader.views.entry(topic.to_owned()).or_default().is_state = is_state;
    reader.connect();
    reader.subscribe(&[topic], false);
    let answer = reader.step().expect("an answer");
    assert_eq!(answer.op.as_deref(), Some("subscribed"));
    reader
}

/// Text of a fixed size, so that a stalled socket fills up.
fn padded(value: u64, check: u64) -> String {
    let padding = "x".repeat(4_000);
    format!("{{\"v\":{value},\"check\":{check},\"padding\":\"{padding}\"}}")
}

#[test]
fn readers_that_stall_delay_nobody_and_are_told_what_they_missed() {
    const MESSAGES: u64 = 1_500;
    for setup in SETUPS {
        let rules = vec![
            rule("events", TopicKind::Events, LagPolicy::Gap, 100),
            rule("state", TopicKind::State, LagPolicy::Conflate, 100),
        ];
        let mut hub = hub(setup, rules, |limits| {
            limits.kernel_send_buffer_bytes = 8 << 10;
            limits.send_stall_timeout_ms = 0;
        });
        let topics = ["events", "state"];
        let readers = |count: usize| -> Vec<Reader> {
            (0..count)
                .map(|number| subscribed(&hub, topics[number % 2], number % 4 > 1, number % 2 == 1))
                .collect()
        };
        let mut stalled = readers(24);
        let mut healthy = readers(8);
        let names = topics.map(|topic| TopicName::parse(topic).expect("a name"));
        let progress: Vec<AtomicU64> = healthy.iter().map(|_| AtomicU64::new(0)).collect();
        thread::scope(|scope| {
            for (reader, progress) in healthy.iter_mut().zip(&progress) {
                scope.spawn(move || {
                    for number in 1..=MESSAGES {
                        let message = reader.step().expect("a message");
                        assert_eq!(message.seq, Some(number), "{setup:?}");
                        progress.store(number, Ordering::Release);
                    }
                });
            }
            let mut publisher = Publisher::new(&mut hub.port, 16);
            for value in 1..=MESSAGES {
                let check = digest("k", value);
                publisher.publish(&names[0], None, Change::Update, padded(value, check));
                publisher.publish(&names[1], Some("k"), Change::Update, padded(value, check));
                // As fast as those who read, who must not wait for those who do not.
                let until = Instant::now() + PATIENCE;
                while progress
                    .iter()
                    .any(|one| one.load(Ordering::Acquire) < value)
                {
                    assert!(Instant::now() < until, "{setup:?}: a healthy reader waits");
                    thread::yield_now();
                }
            }
            publisher.wait_for(0);
        });
        let counters = hub.counters();
        assert!(
            counters.subscriptions_behind >= 20,
            "{setup:?}: {counters:?}"
        );
        // Now they read: what was under way, then the news, then the newest; all of it adds up.
        for reader in &mut stalled {
            let mut last = 0;
            while last < MESSAGES {
                if reader.step().is_none() {
                    panic!("{setup:?}: closed: {}", hub.running.counters());
                }
                last = reader
                    .views
                    .values()
                    .map(|view| view.seq)
                    .max()
                    .unwrap_or(0);
            }
            let seen = reader.seen;
            assert_eq!(
                seen.messages + seen.gaps + seen.conflated,
                MESSAGES,
                "{seen:?}"
            );
            let (is_state, whole) = reader
                .views
                .values()
                .map(|view| (view.is_state, view.whole))
                .next()
                .expect("its topic");
            assert!(whole, "{setup:?}");
            assert!(
                seen.messages < MESSAGES / 2,
                "{setup:?}: it was not stalled"
            );
            assert_eq!((seen.conflated > 0, seen.gaps > 0), (is_state, !is_state));
        }
        // And they are as good as new.
        let counters = hub.counters();
        assert_eq!(counters.subscriptions_behind, 0, "{setup:?}: {counters:?}");
        let mut publisher = Publisher::new(&mut hub.port, 16);
        let check = digest("k", MESSAGES + 1);
        for (name, key) in names.iter().zip([None, Some("k")]) {
            publisher.publish(name, key, Change::Update, padded(MESSAGES + 1, check));
        }
        for reader in &mut stalled {
            assert_eq!(reader.step().and_then(|one| one.seq), Some(MESSAGES + 1));
        }
    }
}

/// Publishes until the logs have long moved on.
fn overrun(hub: &mut TestHub, topic: &str) {
    let name = TopicName::parse(topic).expect("a name");
    let mut publisher = Publisher::new(&mut hub.port, 16);
    for value in 0..500 {
        publisher.publish(&name, None, Change::Update, padded(value, 0));
    }
    publisher.wait_for(0);
}

#[test]
fn a_policy_can_close_readers_that_fall_behind() {
    for setup in SETUPS {
        let rules = vec![rule("strict", TopicKind::Events, LagPolicy::Close, 100)];
        let mut hub = hub(setup, rules, |limits| {
            limits.kernel_send_buffer_bytes = 8 << 10;
            limits.send_stall_timeout_ms = 0;
        });
        let mut reader = subscribed(&hub, "strict", false, false);
        overrun(&mut hub, "strict");
        let client = reader.client.as_mut().expect("a connection");
        let frame = loop {
            let frame = client.frame();
            if frame.opcode() == CLOSE {
                break frame;
            }
        };
        assert_eq!(frame.close_code(), 4008, "{setup:?}");
        assert_eq!(hub.counters().closed_behind, 1);
    }
}

#[test]
fn a_raw_reader_is_closed_rather_than_left_in_the_dark() {
    for setup in SETUPS {
        let rules = vec![
            rule("events", TopicKind::Events, LagPolicy::Gap, 100),
            rule("state", TopicKind::State, LagPolicy::Conflate, 100),
        ];
        let mut hub = hub(setup, rules, |limits| {
            limits.kernel_send_buffer_bytes = 8 << 10;
            limits.send_stall_timeout_ms = 0;
        });
        let open = |hub: &TestHub, target: &str| {
            let mut client = connect(hub.running.local_address());
            client.send(
                format!("{REQUEST}\r\n")
                    .replace("GET /", &format!("GET {target}"))
                    .as_bytes(),
            );
            let (status, head, _) = client.response();
            assert_eq!(status, 101, "{head}");
            client
        };
        let mut client = open(&hub, "/raw/events");
        wait_for_subscriptions(&mut hub, 1);
        overrun(&mut hub, "events");
        let frame = loop {
            let frame = client.frame();
            if frame.opcode() == CLOSE {
                break frame;
            }
        };
        assert_eq!(frame.close_code(), 4010, "{setup:?}");
        drop(client);

        // The newest state is all that a reader of state has to have.
        let mut client = open(&hub, "/raw/state");
        wait_for_subscriptions(&mut hub, 1);
        let name = TopicName::parse("state").expect("a name");
        let mut publisher = Publisher::new(&mut hub.port, 16);
        for value in 1..=1_000 {
            publisher.publish(&name, Some("k"), Change::Update, padded(value, 0));
        }
        publisher.wait_for(0);
        let mut payloads = 0;
        loop {
            let frame = client.frame();
            let payload = String::from_utf8(frame.payload).expect("text");
            payloads += 1;
            if payload.starts_with("{\"v\":1000,") {
                break;
            }
        }
        assert!(payloads < 1_000, "{setup:?}: nothing was merged");
    }
}

fn wait_for_subscriptions(hub: &mut TestHub, count: u64) {
    let until = Instant::now() + PATIENCE;
    while hub.counters().subscriptions != count {
        assert!(Instant::now() < until, "{:?}", hub.counters());
        thread::yield_now();
    }
}

#[test]
fn a_reader_that_takes_nothing_is_cut_in_time() {
    for setup in SETUPS {
        let mut hub = hub(setup, Vec::new(), |limits| {
            limits.kernel_send_buffer_bytes = 8 << 10;
            limits.send_stall_timeout_ms = 400;
        });
        let reader = subscribed(&hub, "events", false, false);
        let began = Instant::now();
        overrun(&mut hub, "events");
        wait_for(&mut hub.running, "the cut", |counters| {
            counters.closed_for(CloseReason::Slow) == 1
        });
        let took = began.elapsed();
        assert!(took >= Duration::from_millis(400), "{setup:?}: {took:?}");
        assert!(took < Duration::from_secs(10), "{setup:?}: {took:?}");
        let counters = hub.counters();
        assert_eq!(
            (counters.subscriptions, counters.subscriptions_behind),
            (0, 0)
        );
        drop(reader);
    }
}

#[test]
fn a_rate_cap_is_kept_to_and_can_be_changed() {
    for setup in SETUPS {
        let mut hub = hub(setup, Vec::new(), |_| {});
        let mut reader = Reader::new(hub.running.local_address(), false);
        reader.connect();
        reader.send(r#"{"op":"subscribe","topics":["events"],"max_rate":20}"#);
        assert_eq!(
            reader.step().and_then(|one| one.op).as_deref(),
            Some("subscribed")
        );
        let name = TopicName::parse("events").expect("a name");
        let mut publisher = Publisher::new(&mut hub.port, 16);
        let began = Instant::now();
        let mut published = 0;
        while began.elapsed() < Duration::from_millis(500) {
            published += 1;
            publisher.publish(&name, None, Change::Update, format!("{published}"));
        }
        publisher.wait_for(0);
        // The last one comes in its time, and everything left out was announced.
        while reader.views["events"].seq < published {
            reader.step().expect("a message");
        }
        let capped = reader.seen;
        assert_eq!(capped.messages + capped.gaps, published);
        let allowed = 20.0 * began.elapsed().as_secs_f64() + 2.0;
        assert!((capped.messages as f64) < allowed, "{setup:?}: {capped:?}");
        assert!(capped.messages >= 5, "{setup:?}: {capped:?}");

        reader.send(r#"{"op":"configure","id":5,"topics":["events"],"max_rate":0}"#);
        while reader.step().expect("an answer").id != Some(5) {}
        let before = reader.seen;
        let mut publisher = Publisher::new(&mut hub.port, 16);
        for number in 0..200 {
            publisher.publish(&name, None, Change::Update, format!("{number}"));
        }
        publisher.wait_for(0);
        while reader.views["events"].seq < published + 200 {
            reader.step().expect("a message");
        }
        assert_eq!(reader.seen.messages - before.messages, 200, "{setup:?}");
    }
}
