//! Tests of the logs against a naive model: a vector of all messages that there ever were.
//!
//! proptest prints the failing case and writes its seed to a file named in its output, from where
//! the next run takes it first; `PROPTEST_CASES` sets how many cases are tried.

use std::collections::BTreeMap;

use super::*;
use crate::hub::publication::{Content, PayloadKind};
use crate::hub::topic::TopicName;
use bytes::Bytes;
use proptest::prelude::*;

/// What a test publishes.
#[derive(Clone, Copy, Debug)]
struct Step {
    key: u8,
    change: Change,
    payload_size: usize,
}

fn publication(seq: u64, step: Step) -> Arc<Publication> {
    let content = Content {
        change: step.change,
        key: Some([step.key].into()),
        payload: Bytes::from(vec![b'1'; step.payload_size]),
        payload_kind: PayloadKind::Json,
    };
    match TopicName::parse("a") {
        Ok(topic) => Arc::new(Publication::new(topic, 1, seq, 0, content)),
        Err(error) => panic!("{error}"),
    }
}

/// All messages, and what a log has to make of them.
#[derive(Default)]
struct Model(Vec<Step>);

impl Model {
    fn numbered(&self) -> impl Iterator<Item = (u64, Step)> {
        (1..).zip(self.0.iter().copied())
    }

    /// The `seq` of the newest state of every key, as of message `seq`.
    fn state_at(&self, seq: u64) -> BTreeMap<u8, u64> {
        let mut state = BTreeMap::new();
        for (number, step) in self.numbered().filter(|(number, _)| *number <= seq) {
            apply(&mut state, step.key, step.change, number);
        }
        state
    }

    /// Everything behind `cursor` but what another state of its key follows without an event
    /// between them.
    fn after(&self, cursor: u64) -> Vec<u64> {
        let is_kept = |seq: u64, step: Step| {
            let mut later = self.numbered().filter(|(number, _)| *number > seq);
            let next = later.find(|(_, later)| later.key == step.key);
            step.change == Change::Event
                || next.is_none_or(|(_, next)| next.change == Change::Event)
        };
        self.numbered()
            .filter(|&(seq, step)| seq > cursor && is_kept(seq, step))
            .map(|(seq, _)| seq)
            .collect()
    }
}

fn apply(state: &mut BTreeMap<u8, u64>, key: u8, change: Change, seq: u64) {
    match change {
        Change::Update => {
            state.insert(key, seq);
        }
        Change::Remove => {
            state.remove(&key);
        }
        Change::Event => {}
    }
}

fn numbers(messages: After<'_>) -> Vec<u64> {
    messages.map(|publication| publication.seq).collect()
}

/// Compares a log of state with the model at every cursor that it serves.
fn compare(log: &Log, model: &Model) -> Result<(), TestCaseError> {
    let head = model.0.len() as u64;
    let state = model.state_at(head);
    prop_assert_eq!(log.head(), head);
    prop_assert!(log.floor() < head.max(1), "the newest message is held");
    for cursor in log.floor()..=head + 1 {
        prop_assert_eq!(
            numbers(log.after(cursor)),
            model.after(cursor),
            "behind {}",
            cursor
        );
        let mut applied = model.state_at(cursor);
        for publication in log.after(cursor) {
            let key = publication.key.as_deref().and_then(|key| key.first());
            let key = key.copied().unwrap_or_default();
            apply(&mut applied, key, publication.change, publication.seq);
        }
        prop_assert_eq!(&applied, &state, "applied behind {}", cursor);
    }
    for cursor in 0..=head + 1 {
        let mut expected: Vec<u64> = state
            .values()
            .copied()
            .filter(|seq| *seq > cursor)
            .collect();
        expected.sort_unstable();
        prop_assert_eq!(
            numbers(log.state_after(cursor)),
            expected,
            "state behind {}",
            cursor
        );
    }
    prop_assert_eq!((log.keys(), log.count_state()), (state.len(), state.len()));
    prop_assert_eq!(numbers(log.after(u64::MAX)), Vec::<u64>::new());
    Ok(())
}

/// Checks the counts and that the limits hold.
fn check_limits(log: &Log, limits: &LogLimits) -> Result<(), TestCaseError> {
    let bytes_of = |messages: After<'_>| messages.map(|held| held.memory_bytes()).sum::<usize>();
    let (held, state) = (log.after(0), log.state_after(0));
    prop_assert_eq!(log.messages(), held.clone().count());
    prop_assert_eq!(log.bytes(), bytes_of(held.clone()));
    let dispensable = log.messages() - log.keys();
    let dispensable_bytes = log.bytes() - bytes_of(state.clone());
    let is_newest_alone =
        dispensable == 1 && held.last().is_some_and(|last| last.seq == log.head());
    prop_assert!(dispensable <= limits.messages_max || is_newest_alone);
    prop_assert!(dispensable_bytes <= limits.bytes_max || is_newest_alone);
    prop_assert!(log.keys() <= limits.keys_max);
    prop_assert!(bytes_of(state) <= limits.bytes_max);
    Ok(())
}

fn compare_replica(log: &Log, replica: &Log) -> Result<(), TestCaseError> {
    let described = |log: &Log| {
        (
            (log.kind(), log.head(), log.floor()),
            (log.messages(), log.bytes(), log.keys()),
            (numbers(log.after(0)), numbers(log.state_after(0))),
        )
    };
    prop_assert_eq!(described(log), described(replica));
    Ok(())
}

fn steps(count: usize) -> impl Strategy<Value = Vec<Step>> {
    let change = prop_oneof![
        5 => Just(Change::Update),
        3 => Just(Change::Event),
        2 => Just(Change::Remove),
    ];
    let step = (0_u8..6, change, 0_usize..200);
    let step = step.prop_map(|(key, change, payload_size)| Step {
        key,
        change,
        payload_size: if change == Change::Remove {
            0
        } else {
            payload_size
        },
    });
    prop::collection::vec(step, 1..count)
}

fn limits() -> impl Strategy<Value = LogLimits> {
    let some = (1_usize..12, 1_usize..12, 1_usize..7);
    prop_oneof![
        4 => some.prop_map(|(messages_max, messages_of_bytes, keys_max)| LogLimits {
            messages_max,
            bytes_max: messages_of_bytes * Publication::memory_bytes_of(1, 100),
            keys_max,
        }),
        1 => Just(LogLimits::default()),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, ..ProptestConfig::default() })]

    #[test]
    fn a_log_of_state_is_what_the_model_says(
        steps in steps(120),
        limits in limits(),
        seeded_at in 0_usize..120,
    ) {
        let mut log = Log::new(TopicKind::State, limits);
        let mut model = Model::default();
        let mut replica = None;
        for (index, step) in steps.into_iter().enumerate() {
            if index == seeded_at {
                replica = Some(Log::from_seed(limits, log.seed()));
            }
            let key = [step.key];
            let checked = log.check(step.change, Some(&key), step.payload_size);
            if let Err(full) = checked {
                prop_assert_eq!(step.change, Change::Update);
                let is_new = !model.state_at(log.head()).contains_key(&step.key);
                let keys_are_full = is_new && log.keys() == limits.keys_max;
                prop_assert_eq!(full == LogFull::Keys, keys_are_full);
                continue;
            }
            model.0.push(step);
            let publication = publication(model.0.len() as u64, step);
            log.append(Arc::clone(&publication));
            check_limits(&log, &limits)?;
            if let Some(replica) = &mut replica {
                replica.append(publication);
                compare_replica(&log, replica)?;
            }
            if limits == LogLimits::default() {
                prop_assert_eq!(log.floor(), 0, "nothing needs to be dropped");
            }
        }
        compare(&log, &model)?;
        compare(&Log::from_seed(limits, log.seed()), &model)?;
    }

    #[test]
    fn every_step_of_a_log_of_state_is_what_the_model_says(steps in steps(40), limits in limits()) {
        let mut log = Log::new(TopicKind::State, limits);
        let mut model = Model::default();
        for step in steps {
            model.0.push(step);
            log.append(publication(model.0.len() as u64, step));
            compare(&log, &model)?;
        }
    }

    #[test]
    fn a_log_of_events_holds_the_newest(
        steps in steps(60),
        limits in limits(),
        seeded_at in 0_usize..60,
    ) {
        let mut log = Log::new(TopicKind::Events, limits);
        let mut replica = None;
        let mut sizes = Vec::new();
        for (index, step) in steps.into_iter().enumerate() {
            if index == seeded_at {
                replica = Some(Log::from_seed(limits, log.seed()));
            }
            let step = Step { change: Change::Update, ..step };
            let head = index as u64 + 1;
            let before = log.floor();
            sizes.push(Publication::memory_bytes_of(1, step.payload_size));
            let publication = publication(head, step);
            log.append(Arc::clone(&publication));
            if let Some(replica) = &mut replica {
                replica.append(publication);
                compare_replica(&log, replica)?;
            }
            prop_assert_eq!(log.head(), head);
            prop_assert!(log.floor() >= before && log.floor() < head);
            for cursor in 0..=head + 1 {
                let expected: Vec<u64> = (cursor.max(log.floor()) + 1..=head).collect();
                prop_assert_eq!(numbers(log.after(cursor)), expected);
            }
            check_limits(&log, &limits)?;
            prop_assert_eq!(numbers(log.state_after(0)), Vec::<u64>::new());
            // Nothing was dropped that there was room for.
            let dropped = log.floor().checked_sub(1).and_then(|index| sizes.get(index as usize));
            let had_room = dropped.is_some_and(|size| {
                log.messages() < limits.messages_max && log.bytes() + size <= limits.bytes_max
            });
            prop_assert!(!had_room);
        }
    }
}

fn appended(kind: TopicKind, limits: LogLimits, steps: &[(u8, Change)]) -> Log {
    let mut log = Log::new(kind, limits);
    for (seq, &(key, change)) in (1..).zip(steps) {
        let payload_size = 0;
        let step = Step {
            key,
            change,
            payload_size,
        };
        log.append(publication(seq, step));
    }
    log
}

#[test]
fn an_event_arrives_behind_the_state_it_was_made_at() {
    use Change::{Event, Remove, Update};
    let steps = [
        (1, Update),
        (1, Update),
        (1, Event),
        (1, Update),
        (2, Update),
    ];
    let log = appended(TopicKind::State, LogLimits::default(), &steps);
    assert_eq!(numbers(log.after(0)), [2, 3, 4, 5]);
    assert_eq!(numbers(log.state_after(0)), [4, 5]);
    let steps = [(1, Update), (1, Remove), (1, Event), (1, Update)];
    let log = appended(TopicKind::State, LogLimits::default(), &steps);
    assert_eq!(numbers(log.after(0)), [2, 3, 4]);
    assert_eq!((log.keys(), log.messages(), log.floor()), (1, 3, 0));
}

#[test]
fn what_is_dropped_raises_the_floor_and_what_is_replaced_does_not() {
    use Change::{Event, Remove, Update};
    let limits = LogLimits {
        messages_max: 2,
        ..LogLimits::default()
    };
    let mut steps = vec![
        (1, Update),
        (2, Update),
        (1, Update),
        (2, Remove),
        (1, Event),
    ];
    let log = appended(TopicKind::State, limits, &steps);
    assert_eq!((log.floor(), numbers(log.after(0))), (0, vec![3, 4, 5]));
    steps.push((1, Event));
    let log = appended(TopicKind::State, limits, &steps);
    assert_eq!((log.floor(), numbers(log.after(0))), (4, vec![3, 5, 6]));
    // The state that the events pinned is the oldest that may be dropped, and below the floor.
    steps.push((1, Update));
    let log = appended(TopicKind::State, limits, &steps);
    assert_eq!((log.floor(), numbers(log.after(0))), (4, vec![5, 6, 7]));
}

#[test]
fn a_key_too_many_is_refused_and_an_old_one_is_not() {
    use Change::{Event, Remove, Update};
    let limits = LogLimits {
        keys_max: 2,
        bytes_max: 3 * Publication::memory_bytes_of(1, 10),
        ..LogLimits::default()
    };
    let log = appended(TopicKind::State, limits, &[(1, Update), (2, Update)]);
    assert_eq!(log.check(Update, Some(&[3]), 0), Err(LogFull::Keys));
    for change in [Event, Remove] {
        assert_eq!(log.check(change, Some(&[3]), 1 << 20), Ok(()));
    }
    assert_eq!(log.check(Update, Some(&[2]), 0), Ok(()));
    // What the key had makes room for what it gets.
    let empty = Publication::memory_bytes_of(1, 0);
    let largest = (limits.bytes_max - 2 * empty) / 2;
    assert_eq!(log.check(Update, Some(&[2]), largest), Ok(()));
    let full = Err(LogFull::Bytes);
    assert_eq!(log.check(Update, Some(&[2]), largest + 1), full);
    let events = appended(TopicKind::Events, limits, &[(1, Update), (2, Update)]);
    assert_eq!(events.check(Update, Some(&[3]), limits.bytes_max), Ok(()));
}

#[test]
fn a_message_out_of_order_is_no_silent_loss() {
    let step = Step {
        key: 1,
        change: Change::Update,
        payload_size: 0,
    };
    for kind in [TopicKind::Events, TopicKind::State] {
        let mut log = Log::new(kind, LogLimits::default());
        for seq in [1, 2, 2, 1] {
            log.append(publication(seq, step));
        }
        assert_eq!((log.floor(), log.head()), (0, 2), "{kind:?}");
        log.append(publication(5, Step { key: 2, ..step }));
        assert_eq!((log.floor(), log.head()), (4, 5), "{kind:?}");
        assert_eq!(numbers(log.after(0)), [5], "{kind:?}");
    }
}
