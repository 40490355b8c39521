//! Replays with a clock and a hub of our own.

use std::cell::RefCell;
use std::rc::Rc;

use super::*;

/// A clock that stands still but for sleeping, and a hub that answers after a delay.
#[derive(Default)]
struct World {
    now_ns: u64,
    /// (when, topic, payload) of everything that was published.
    published: Vec<(u64, String, String)>,
    unanswered: usize,
    answers_per_pump: usize,
    most_unanswered: usize,
}

struct FakeClock(Rc<RefCell<World>>);
struct FakeHub(Rc<RefCell<World>>);

impl Clock for FakeClock {
    fn now_ns(&mut self) -> u64 {
        self.0.borrow().now_ns
    }

    fn sleep(&mut self, pause_ns: u64) {
        // Sleeping takes a little longer than asked for, as it really does.
        self.0.borrow_mut().now_ns += pause_ns + 1_000;
    }
}

impl Outlet for FakeHub {
    fn push(&mut self, request: PublishRequest) {
        let mut world = self.0.borrow_mut();
        let payload = String::from_utf8(request.payload.to_vec()).unwrap();
        let now_ns = world.now_ns;
        world
            .published
            .push((now_ns, request.topic.to_string(), payload));
        world.unanswered += 1;
        world.most_unanswered = world.most_unanswered.max(world.unanswered);
    }

    fn pump(&mut self) {
        let mut world = self.0.borrow_mut();
        world.unanswered = world.unanswered.saturating_sub(world.answers_per_pump);
    }

    fn wait_for_answer(&mut self, pause_ns: u64) {
        let mut world = self.0.borrow_mut();
        world.now_ns += (pause_ns / 10).max(1);
        world.unanswered = world.unanswered.saturating_sub(1);
    }

    fn unanswered(&self) -> usize {
        self.0.borrow().unanswered
    }

    fn unanswered_bytes(&self) -> usize {
        0
    }
}

fn replay(text: &str, speed: Speed, is_strict: bool, answers: usize) -> (Summary, World) {
    let world = Rc::new(RefCell::new(World {
        answers_per_pump: answers,
        ..World::default()
    }));
    let recording = Recording::new(text.as_bytes(), 1000);
    let (clock, hub) = (FakeClock(world.clone()), FakeHub(world.clone()));
    let replay = Replay::new(recording, hub, clock, speed, is_strict);
    let (summary, hub) = replay.run(&Arc::new(AtomicBool::new(false)));
    drop(hub);
    (summary, world.take())
}

const DAY: &str = r#"{"ts":"2026-01-31T09:30:00Z","topic":"a","data":1}
{"ts":"2026-01-31T09:30:01Z","topic":"b","data":2}
{"ts":"2026-01-31T09:30:01Z","topic":"b","data":3}
{"ts":"2026-01-31T09:30:00.5Z","topic":"a","data":4}
{"ts":"2026-01-31T09:40:00Z","topic":"a","data":5}
"#;

#[test]
fn messages_come_at_their_times_whatever_the_speed() {
    for factor in [1.0, 10.0, 0.5] {
        let (summary, world) = replay(DAY, Speed::Factor(factor), false, 100);
        assert_eq!(summary.messages, 5);
        assert_eq!(summary.out_of_order, 1);
        assert_eq!(summary.bad_lines, 0);
        let payloads: Vec<&str> = world.published.iter().map(|one| one.2.as_str()).collect();
        assert_eq!(payloads, ["1", "2", "3", "4", "5"]);
        let expected = [0.0, 1e9, 1e9, 1e9, 600e9].map(|since: f64| (since / factor) as u64);
        for ((at_ns, _, payload), due_ns) in world.published.iter().zip(expected) {
            assert!(*at_ns >= due_ns, "{payload}: {at_ns} before {due_ns}");
            // Late by less than a pause and what it takes too long, however many there were.
            assert!(at_ns - due_ns < 100_000, "{payload}: {at_ns}, due {due_ns}");
        }
        assert!(summary.late_max_ns < 100_000, "{summary}");
    }
}

#[test]
fn as_fast_as_possible_needs_no_times_and_waits_for_the_hub() {
    let line = "{\"topic\":\"a\",\"data\":1}\n";
    let (summary, world) = replay(&line.repeat(10_000), Speed::Max, false, 100);
    assert_eq!(summary.messages, 10_000);
    assert_eq!(world.unanswered, 0);
    assert!(world.most_unanswered <= UNANSWERED_MAX);
    assert!(world.most_unanswered > 1_000);
    let (summary, world) = replay(line, Speed::Factor(1.0), false, 100);
    assert_eq!((summary.messages, summary.bad_lines), (0, 1));
    assert!(world.published.is_empty());
    assert!(summary.to_string().contains("--speed max"), "{summary}");
}

#[test]
fn bad_lines_are_counted_and_the_first_is_named() {
    let text = "{\"ts\":1,\"topic\":\"a\",\"data\":1}\nno json\n{\"ts\":2}\n\
                {\"ts\":2,\"topic\":\"a\",\"data\":2}\n";
    let (summary, world) = replay(text, Speed::Factor(1000.0), false, 100);
    assert_eq!((summary.messages, summary.bad_lines), (2, 2));
    assert_eq!(world.published.len(), 2);
    let line = summary.to_string();
    assert!(line.contains("first bad line 2: bad_json"), "{line}");
    assert!(!line.contains("stopped"), "{line}");

    let (summary, world) = replay(text, Speed::Factor(1000.0), true, 100);
    assert_eq!((summary.messages, summary.bad_lines), (1, 1));
    assert_eq!(world.published.len(), 1);
    let line = summary.to_string();
    assert!(line.contains("stopped early: line 2"), "{line}");
}

#[test]
fn a_stop_ends_it_at_once() {
    let world = Rc::new(RefCell::new(World::default()));
    let recording = Recording::new(DAY.as_bytes(), 1000);
    let (clock, hub) = (FakeClock(world.clone()), FakeHub(world.clone()));
    let replay = Replay::new(recording, hub, clock, Speed::Factor(1.0), false);
    let (summary, _) = replay.run(&Arc::new(AtomicBool::new(true)));
    assert_eq!(summary.messages, 0);
    assert!(summary.stopped.is_some());
    assert!(world.borrow().published.is_empty());
}
