//! A hub that is often busy: everything arrives once and in its order all the same.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::rc::Rc;

use bytes::Bytes;
use fanwire_server::hub::publication::{Change, PayloadKind};
use fastrand::Rng;

use super::*;

type Mail = (PublishRequest, Arc<Order>, Reply<PublishOutcome>);

/// What a core does, at the times and with the moods of a test.
#[derive(Default)]
struct World {
    queue: VecDeque<Mail>,
    accepted: BTreeMap<String, Vec<u64>>,
    most_queued: usize,
    rings: usize,
}

struct FakePort(Rc<RefCell<World>>);

impl Port for FakePort {
    fn publish(
        &mut self,
        request: PublishRequest,
        order: &Arc<Order>,
        reply: Reply<PublishOutcome>,
    ) -> Result<(), PublishRequest> {
        let mut world = self.0.borrow_mut();
        if world.queue.len() >= 300 {
            return Err(request);
        }
        world.queue.push_back((request, order.clone(), reply));
        world.most_queued = world.most_queued.max(world.queue.len());
        Ok(())
    }

    fn ring(&mut self) {
        self.0.borrow_mut().rings += 1;
    }
}

impl World {
    /// Handles one message as the home of its topic does.
    fn handle(&mut self, is_busy: bool) {
        let Some((request, order, reply)) = self.queue.pop_front() else {
            return;
        };
        if is_busy || order.is_broken() {
            order.break_off();
            return reply(PublishOutcome::Refused {
                code: ErrorCode::Busy,
                message: "busy",
            });
        }
        let number = std::str::from_utf8(&request.payload)
            .unwrap()
            .parse()
            .unwrap();
        let numbers = self.accepted.entry(request.topic.to_string()).or_default();
        numbers.push(number);
        let seq = numbers.len() as u64;
        reply(PublishOutcome::Accepted { epoch: 1, seq });
    }
}

fn request(topic: &str, number: u64) -> PublishRequest {
    PublishRequest {
        topic: TopicName::parse(topic).unwrap(),
        key: None,
        change: Change::Update,
        payload: Bytes::from(number.to_string()),
        payload_kind: PayloadKind::Json,
    }
}

#[test]
fn nothing_is_lost_doubled_or_overtaken_by_a_busy_hub() {
    let seed = fastrand::u64(..);
    println!("seed {seed}: replace the line above by it");
    let mut random = Rng::with_seed(seed);
    let world = Rc::new(RefCell::new(World::default()));
    let mut publisher = Publisher::new(FakePort(world.clone()));
    let topics = ["a", "b.c", "d"];
    let mut next = [0_u64; 3];
    for _ in 0..5_000 {
        for _ in 0..random.usize(0..8) {
            let topic = random.usize(0..3);
            publisher.push(request(topics[topic], next[topic]));
            next[topic] += 1;
        }
        publisher.pump();
        for _ in 0..random.usize(0..12) {
            let is_busy = random.u32(0..20) == 0;
            world.borrow_mut().handle(is_busy);
        }
        publisher.pump();
    }
    publisher.pump();
    while publisher.unanswered() > 0 {
        assert!(!world.borrow().queue.is_empty(), "it has stopped sending");
        world.borrow_mut().handle(false);
        publisher.pump();
    }
    let world = world.borrow();
    for (topic, count) in topics.iter().zip(next) {
        let expected: Vec<u64> = (0..count).collect();
        assert!(world.accepted[*topic] == expected, "{topic}");
    }
    let counts = publisher.counts();
    assert_eq!(counts.published, next.iter().sum::<u64>());
    assert_eq!((counts.refused, publisher.unanswered_bytes()), (0, 0));
    assert!(counts.busy > 500 && world.rings > 0, "{counts:?}");
    assert!(
        world.most_queued > 20,
        "one at a time: {}",
        world.most_queued
    );
}

#[test]
fn what_is_refused_for_good_is_told_and_does_not_hold_the_rest_up() {
    let world = Rc::new(RefCell::new(World::default()));
    let mut publisher = Publisher::new(FakePort(world.clone()));
    publisher.push(request("a", 1));
    publisher.push(request("a", 2));
    publisher.pump();
    let (_, _, reply) = world.borrow_mut().queue.pop_front().unwrap();
    reply(PublishOutcome::Refused {
        code: ErrorCode::BadKey,
        message: "no key",
    });
    world.borrow_mut().handle(false);
    publisher.pump();
    assert_eq!(publisher.unanswered(), 0);
    assert_eq!(publisher.unanswered_on(&TopicName::parse("a").unwrap()), 0);
    let counts = publisher.counts();
    assert_eq!((counts.published, counts.refused), (1, 1));
    assert_eq!(
        publisher.take_refusal().as_deref(),
        Some("a: bad_key: no key")
    );
    assert_eq!(world.borrow().accepted["a"], [2]);
}
