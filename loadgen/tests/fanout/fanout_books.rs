//! The account of one subscriber against random histories: what was left out, repeated, swapped or
//! damaged is counted as that, and the sums always come out.

use fanwire_loadgen::fanout::books::{Books, Counts, Taken};
use fanwire_loadgen::fanout::cursor::Fault;
use fanwire_loadgen::fanout::layout::Layout;
use fanwire_loadgen::fanout::options::{Custom, Dialect, Form, Kind, Options};
use fanwire_loadgen::fanout::sheet::Standing;
use fanwire_loadgen::fanout::stamp::{Codec, Stamp};
use proptest::prelude::*;

const RUN: u32 = 9;

fn options(topics: u32, publishers: u32, wanted: u32) -> Options {
    Options {
        dialect: Dialect::Raw,
        publishers,
        topics,
        topic_name: "t{topic}".into(),
        topics_per_subscriber: wanted,
        zipf: 0.0,
        burst: 1,
        form: Form::Binary,
        kind: Kind::Events,
        subscribe_path: String::new(),
        publish_path: String::new(),
        slow: None,
        stall: None,
        churn: None,
        max_rate: 0,
        wants_snapshot: false,
        run: RUN,
        custom: Custom::default(),
        feed: None,
        settle_ns: 0,
    }
}

fn payload(codec: &Codec, stream: u32, sequence: u64) -> Vec<u8> {
    let stamp = Stamp {
        stream,
        sequence,
        ..Stamp::default()
    };
    let mut out = Vec::new();
    codec.write(&stamp, &mut out);
    out
}

struct Bench {
    layout: Layout,
    codec: Codec,
    books: Books,
    counts: Counts,
}

impl Bench {
    fn new(topics: u32, publishers: u32, wanted: u32) -> Bench {
        let layout = Layout::new(&options(topics, publishers, wanted), 1, 1);
        Bench {
            books: Books::new(&layout, 0),
            codec: Codec::new(Form::Binary, 64, RUN, 1),
            counts: Counts::default(),
            layout,
        }
    }

    fn take(&mut self, stream: u32, sequence: u64) -> Taken {
        let payload = payload(&self.codec, stream, sequence);
        self.books
            .take_bare(&self.layout, &self.codec, &payload, &mut self.counts)
    }

    fn numbered(&mut self, number: u64, stream: u32, sequence: u64) -> (Taken, Option<Fault>) {
        let payload = payload(&self.codec, stream, sequence);
        let (layout, codec) = (&self.layout, &self.codec);
        self.books
            .take_numbered(layout, codec, 0, number, &payload, &mut self.counts)
    }

    /// What is still to come, if so much was published on each stream.
    fn behind(&self, published: &[u64]) -> u64 {
        let mut standing = Standing::default();
        standing.count(&self.layout, &self.books);
        standing.behind(published)
    }
}

#[test]
fn each_stream_of_a_topic_has_its_own_order() {
    let mut bench = Bench::new(1, 3, 1);
    for (stream, sequence) in [(0, 0), (2, 0), (2, 1), (1, 0), (0, 1)] {
        let taken = bench.take(stream, sequence);
        assert!(matches!(taken, Taken::Delivered(_)), "{stream} {sequence}");
    }
    assert_eq!(bench.counts.delivered, 5);
    assert_eq!(bench.behind(&[2, 2, 2]), 1);
    assert_eq!(bench.take(2, 0), Taken::Other);
    assert_eq!(bench.counts.duplicates, 1);
}

#[test]
fn a_late_copy_fills_its_hole_once() {
    let mut bench = Bench::new(1, 1, 1);
    for sequence in [0, 5, 3, 3, 1, 4, 2, 2] {
        bench.take(0, sequence);
    }
    assert_eq!(bench.counts.delivered, 6);
    assert_eq!(bench.counts.reordered, 4);
    assert_eq!(bench.counts.duplicates, 2);
    assert_eq!(bench.behind(&[6]), 0);
}

#[test]
fn topics_of_others_are_foreign_and_runs_of_others_strangers() {
    let mut bench = Bench::new(4, 1, 2);
    bench.take(3, 0);
    assert_eq!(bench.counts.foreign, 1);
    let stranger = payload(&Codec::new(Form::Binary, 64, RUN + 1, 1), 0, 0);
    let Bench {
        layout,
        codec,
        books,
        counts,
    } = &mut bench;
    books.take_bare(layout, codec, &stranger, counts);
    books.take_bare(layout, codec, b"hello", counts);
    assert_eq!((bench.counts.strangers, bench.counts.torn), (1, 1));
    // A stream that this run does not have.
    bench.take(4, 0);
    assert_eq!(bench.counts.strangers, 2);
    assert_eq!(bench.counts.delivered, 0);
    assert!(!bench.books.has_received());
}

#[test]
fn a_message_under_another_topics_name_is_foreign() {
    let mut bench = Bench::new(4, 1, 2);
    bench.books.lanes_mut()[0]
        .cursor
        .subscribed(10, None, &mut bench.counts.announced);
    assert!(matches!(
        bench.numbered(11, 0, 0),
        (Taken::Delivered(_), None)
    ));
    // Lane 0 is topic 0; the stamp says topic 1, which is subscribed to as well.
    assert_eq!(bench.numbered(12, 1, 0), (Taken::Other, None));
    assert_eq!(bench.counts.foreign, 1);
    assert!(matches!(
        bench.numbered(14, 0, 1),
        (Taken::Delivered(_), Some(Fault::Hole))
    ));
    assert_eq!(bench.counts.faults, 1, "13 was not announced");
    assert_eq!(
        bench.numbered(14, 0, 1),
        (Taken::Other, Some(Fault::Backwards))
    );
    assert_eq!(bench.counts.duplicates, 1);
}

#[derive(Clone, Copy, Debug)]
enum Fate {
    Arrives,
    IsLost,
    ComesTwice,
    ComesLate,
    IsTorn,
}

fn fate() -> impl Strategy<Value = Fate> {
    prop_oneof![
        20 => Just(Fate::Arrives),
        1 => Just(Fate::IsLost),
        1 => Just(Fate::ComesTwice),
        1 => Just(Fate::ComesLate),
        1 => Just(Fate::IsTorn),
    ]
}

proptest! {
    #[test]
    fn every_fate_is_counted(fates in proptest::collection::vec((0u32..3, fate()), 0..200)) {
        let mut bench = Bench::new(3, 1, 3);
        let mut published = [0u64; 3];
        let mut late: Vec<(u32, u64)> = Vec::new();
        let (mut lost, mut twice, mut torn, mut newest_lost) = (0, 0, 0, [0u64; 3]);
        let mut overtaken = 0;
        for (stream, fate) in fates {
            let sequence = published[stream as usize];
            published[stream as usize] += 1;
            let is_shown = matches!(fate, Fate::Arrives | Fate::ComesTwice);
            newest_lost[stream as usize] = if is_shown { 0 } else { newest_lost[stream as usize] + 1 };
            match fate {
                Fate::Arrives => drop(bench.take(stream, sequence)),
                Fate::IsLost => lost += 1,
                Fate::ComesTwice => {
                    bench.take(stream, sequence);
                    bench.take(stream, sequence);
                    twice += 1;
                }
                Fate::ComesLate => late.push((stream, sequence)),
                Fate::IsTorn => {
                    let mut bytes = payload(&bench.codec, stream, sequence);
                    bytes[50] ^= 4;
                    let Bench { layout, codec, books, counts } = &mut bench;
                    books.take_bare(layout, codec, &bytes, counts);
                    torn += 1;
                }
            }
            // A late copy comes after the next of its stream, while its hole is remembered.
            if is_shown {
                late.retain(|(of, sequence)| {
                    let is_due = *of == stream;
                    if is_due {
                        bench.take(*of, *sequence);
                        overtaken += 1;
                    }
                    !is_due
                });
            }
        }
        let total: u64 = published.iter().sum();
        let waiting = late.len() as u64;
        prop_assert_eq!(bench.counts.delivered, total - lost - torn - waiting);
        prop_assert_eq!(bench.counts.duplicates, twice);
        prop_assert_eq!(bench.counts.reordered, overtaken);
        prop_assert_eq!(bench.counts.torn, torn);
        // Nothing came behind the newest ones that did not arrive: they may still be under way.
        prop_assert_eq!(bench.behind(&published), newest_lost.iter().sum::<u64>());
    }
}
