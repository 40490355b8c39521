//! Messages that another thread sends to a hub in an order, without waiting for answers.

use std::sync::Arc;
use std::sync::mpsc;
use std::time::Duration;

use bytes::Bytes;
use fanwire_server::hub::port::{HubPort, Order, PublishOutcome, PublishRequest};
use fanwire_server::hub::publication::{Change, PayloadKind};
use fanwire_server::hub::topic::TopicName;
use fanwire_server::hub::wire::ErrorCode;
use fanwire_server::hub::{HubOptions, start};
use fanwire_server::{Config, Placement};

fn publish(
    port: &mut HubPort,
    order: &Arc<Order>,
    topic: &str,
    sizes: &[usize],
) -> Vec<PublishOutcome> {
    let (sender, answers) = mpsc::channel();
    for size in sizes {
        let request = PublishRequest {
            topic: TopicName::parse(topic).expect("a topic"),
            key: None,
            change: Change::Update,
            payload: Bytes::from(vec![b'1'; *size]),
            payload_kind: PayloadKind::Json,
        };
        let sender = sender.clone();
        let reply = Box::new(move |outcome| {
            let _ = sender.send(outcome);
        });
        port.publish_in_order(request, order, reply)
            .expect("room in the queue");
    }
    port.ring();
    let answer = || {
        answers
            .recv_timeout(Duration::from_secs(20))
            .expect("an answer")
    };
    sizes.iter().map(|_| answer()).collect()
}

fn message(outcome: PublishOutcome) -> &'static str {
    match outcome {
        PublishOutcome::Refused {
            code: ErrorCode::Busy,
            message,
        } => message,
        other => panic!("not busy: {other:?}"),
    }
}

#[test]
fn a_busy_refusal_holds_back_what_is_behind_it_until_the_order_is_mended() {
    let config = Config {
        listen: ([127, 0, 0, 1], 0).into(),
        placement: Placement::Unpinned(1),
        ..Config::default()
    };
    let options = HubOptions {
        logs_bytes_max: 50_000,
        ..HubOptions::default()
    };
    let (running, mut ports) = start(config, options, 1).expect("a hub");
    let mut port = ports.pop().expect("a port");
    let (order, other) = (Arc::new(Order::default()), Arc::new(Order::default()));
    let outcomes = publish(&mut port, &order, "a.b", &[10, 60_000, 10, 10]);
    for (outcome, number) in outcomes.iter().zip(1..=2) {
        assert!(
            matches!(outcome, PublishOutcome::Accepted { seq, .. } if *seq == number),
            "{outcome:?}"
        );
    }
    assert!(message(outcomes[2]).contains("logs"), "{outcomes:?}");
    assert!(
        message(outcomes[3]).contains("before this one"),
        "{outcomes:?}"
    );
    assert!(order.is_broken());
    // Another order is not concerned: it is told of the logs itself.
    let outcomes = publish(&mut port, &other, "a.b", &[10]);
    assert!(message(outcomes[0]).contains("logs"), "{outcomes:?}");
    let outcomes = publish(&mut port, &order, "a.b", &[10]);
    assert!(
        message(outcomes[0]).contains("before this one"),
        "{outcomes:?}"
    );
    order.mend();
    assert!(!order.is_broken());
    let outcomes = publish(&mut port, &order, "a.b", &[10]);
    assert!(message(outcomes[0]).contains("logs"), "{outcomes:?}");
    // What is refused for another reason breaks nothing.
    order.mend();
    let outcomes = publish(&mut port, &order, "book.x", &[10, 10]);
    let is_refused = |outcome: &PublishOutcome| matches!(outcome, PublishOutcome::Refused { .. });
    assert!(outcomes.iter().all(is_refused), "{outcomes:?}");
    drop(running);
}
