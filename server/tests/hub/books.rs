//! Order books that clients rebuild equal the authority's at every point where the hub says that
//! they are whole, whatever the clients do: T20 of the delivery contract, with the ledger of
//! trades beside it.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::Duration;

use fanwire_server::BackendChoice;
use fanwire_server::hub::publication::Change;
use fanwire_server::hub::rules::{LagPolicy, TopicKind};
use fanwire_server::hub::topic::TopicName;

use crate::reader::{Reader, Seen, digest};
use crate::{Publisher, SETUPS, TestHub, hub, rule};

const BOOKS: usize = 4;
const KEYS: usize = 40;
const CLIENTS: usize = 12;

/// The authority.
struct Book {
    topic: TopicName,
    values: Vec<Option<u64>>,
    sum: u64,
    version: u64,
}

impl Book {
    fn new(number: usize) -> Book {
        Book {
            topic: TopicName::parse(&format!("book.{number}")).expect("a name"),
            values: vec![None; KEYS],
            sum: 0,
            version: 0,
        }
    }

    fn update(&mut self, key: usize, publisher: &mut Publisher<'_>) {
        let name = format!("k{key}");
        self.version += 1;
        self.forget(key, &name);
        self.values[key] = Some(self.version);
        self.sum = self.sum.wrapping_add(digest(&name, self.version));
        let data = format!("{{\"v\":{},\"check\":{}}}", self.version, self.sum);
        publisher.publish(&self.topic, Some(&name), Change::Update, data);
    }

    fn forget(&mut self, key: usize, name: &str) {
        if let Some(before) = self.values[key].take() {
            self.sum = self.sum.wrapping_sub(digest(name, before));
        }
    }

    /// One random step of the market.
    fn step(&mut self, random: &mut fastrand::Rng, publisher: &mut Publisher<'_>) {
        let key = random.usize(..KEYS);
        let name = format!("k{key}");
        match (random.u8(..100), self.values[key]) {
            (0..10, Some(_)) => {
                self.forget(key, &name);
                publisher.publish(&self.topic, Some(&name), Change::Remove, String::new());
            }
            (10..15, Some(at)) => {
                let data = format!("{{\"at\":{at},\"check\":{}}}", self.sum);
                publisher.publish(&self.topic, Some(&name), Change::Event, data);
            }
            _ => self.update(key, publisher),
        }
    }
}

/// A client that joins, leaves, resumes and stalls at random until it is told to stop; then it
/// reads to the end of every topic.
fn misbehave(
    mut reader: Reader,
    mut random: fastrand::Rng,
    is_over: &AtomicBool,
    checks: &AtomicU64,
    published: &AtomicU64,
    heads: &[AtomicU64],
) -> Seen {
    // Looks away until so much was published that sockets and logs have run over.
    let look_away = |messages: u64| {
        let until = published.load(Ordering::Relaxed) + messages;
        while published.load(Ordering::Relaxed) < until && !is_over.load(Ordering::Acquire) {
            thread::sleep(Duration::from_millis(1));
        }
    };
    let names: Vec<String> = (0..BOOKS).map(|number| format!("book.{number}")).collect();
    for name in &names {
        reader.views.entry(name.clone()).or_default().is_state = true;
    }
    reader.views.entry("trades".to_owned()).or_default();
    let filters: Vec<&str> = match random.bool() {
        true => vec!["book.*", "trades"],
        false => names.iter().map(String::as_str).chain(["trades"]).collect(),
    };
    reader.connect();
    reader.subscribe(&filters, false);
    while !is_over.load(Ordering::Acquire) {
        let before = reader.seen.checks;
        for _ in 0..random.usize(1..1500) {
            assert!(reader.step().is_some(), "the server closed");
            if is_over.load(Ordering::Acquire) {
                break;
            }
        }
        checks.fetch_add(reader.seen.checks - before, Ordering::Relaxed);
        match random.u8(..10) {
            // Stalls: what is published meanwhile waits in the log, not for this client.
            0..3 => look_away(random.u64(100..10_000)),
            3..5 => {
                reader.connect();
                reader.subscribe(&filters, true);
            }
            5 => {
                // Away for a while, so that the log moves past it.
                reader.client = None;
                look_away(random.u64(100..5_000));
                reader.connect();
                reader.subscribe(&filters, true);
            }
            6 => {
                reader.connect();
                reader.subscribe(&filters, false);
            }
            _ => {}
        }
    }
    // The ledger closes: everything there is has arrived, or was announced as merged or missing.
    let at_end = |reader: &Reader| {
        let books = names.iter().zip(heads).all(|(name, head)| {
            let view = &reader.views[name];
            view.seq == head.load(Ordering::Acquire) && view.whole
        });
        let trades = heads[BOOKS].load(Ordering::Acquire);
        books && reader.views["trades"].seq == trades
    };
    while !at_end(&reader) {
        assert!(reader.step().is_some(), "the server closed");
    }
    reader.seen
}

fn run(setup: (BackendChoice, u16), target: u64) -> (Seen, TestHub) {
    let seed = std::env::var("FANWIRE_SEED").ok();
    let seed = seed.map_or_else(
        || fastrand::u64(..),
        |seed| seed.parse().expect("FANWIRE_SEED is a number"),
    );
    eprintln!("{setup:?}: seed {seed}; replay with FANWIRE_SEED={seed}");
    let rules = vec![
        // Short logs, so that readers that stall are overrun.
        rule("book.>", TopicKind::State, LagPolicy::Conflate, 200),
        rule("trades", TopicKind::Events, LagPolicy::Gap, 300),
    ];
    let mut hub = hub(setup, rules, |limits| {
        // Small kernel buffers, so that readers that stall are noticed.
        limits.kernel_send_buffer_bytes = 8 << 10;
        limits.send_stall_timeout_ms = 20_000;
    });
    let address = hub.running.local_address();
    let mut random = fastrand::Rng::with_seed(seed);
    let (is_over, checks) = (AtomicBool::new(false), AtomicU64::new(0));
    let all_published = AtomicU64::new(0);
    let heads: Vec<AtomicU64> = (0..=BOOKS).map(|_| AtomicU64::new(0)).collect();
    let mut seen = Seen::default();
    thread::scope(|scope| {
        let clients: Vec<_> = (0..CLIENTS)
            .map(|number| {
                let reader = Reader::new(address, number % 2 == 1);
                let random = random.fork();
                let (is_over, checks, heads) = (&is_over, &checks, &heads[..]);
                let published = &all_published;
                scope.spawn(move || misbehave(reader, random, is_over, checks, published, heads))
            })
            .collect();
        let trades = TopicName::parse("trades").expect("a name");
        let mut books: Vec<Book> = (0..BOOKS).map(Book::new).collect();
        let mut published = [0; BOOKS + 1];
        let mut publisher = Publisher::new(&mut hub.port, 64);
        while checks.load(Ordering::Relaxed) < target {
            for _ in 0..64 {
                let number = random.usize(..BOOKS);
                books[number].step(&mut random, &mut publisher);
                published[number] += 1;
                if random.u8(..4) == 0 {
                    publisher.publish(&trades, None, Change::Update, "{\"traded\":1}".to_owned());
                    published[BOOKS] += 1;
                }
            }
            all_published.fetch_add(64, Ordering::Relaxed);
            let has_failed = clients.iter().any(|client| client.is_finished());
            assert!(!has_failed, "a client ended early; its message is above");
        }
        // One more message for everybody carries a check, and tells those who wait that it is over.
        publisher.wait_for(0);
        for (head, published) in heads.iter().zip(published) {
            head.store(published + 1, Ordering::Release);
        }
        is_over.store(true, Ordering::Release);
        for book in &mut books {
            book.update(0, &mut publisher);
        }
        publisher.publish(&trades, None, Change::Update, "{\"traded\":1}".to_owned());
        publisher.wait_for(0);
        let until = std::time::Instant::now() + crate::client::PATIENCE / 2;
        while !clients.iter().all(|client| client.is_finished()) {
            if std::time::Instant::now() > until {
                // They will give up; this helps to see why.
                eprintln!("{setup:?}: slow readers: {:#?}", hub.slowest());
                break;
            }
            thread::yield_now();
        }
        for client in clients {
            let one = client.join().expect("the client saw nothing wrong");
            seen.add(&one);
        }
    });
    eprintln!("{setup:?}: {seen:?}");
    (seen, hub)
}

#[test]
fn books_are_whole_whenever_the_hub_says_so() {
    // A million comparisons over the four setups.
    let target = std::env::var("FANWIRE_BOOK_CHECKS").ok();
    let target: u64 = target.map_or(250_000, |target| {
        target.parse().expect("FANWIRE_BOOK_CHECKS is a number")
    });
    let mut all = Seen::default();
    for setup in SETUPS {
        let (seen, mut hub) = run(setup, target);
        assert!(seen.checks >= target);
        let counters = hub.counters();
        assert_eq!(counters.errors, 0, "{counters:?}");
        assert_eq!(counters.refused, 0, "{counters:?}");
        assert!(counters.conflated >= seen.conflated);
        all.add(&seen);
    }
    let happened = [
        ("conflated", all.conflated),
        ("snapshots", all.snapshots),
        ("gaps", all.gaps),
        ("recovered", all.recovered),
        ("not recovered", all.not_recovered),
    ];
    for (what, count) in happened {
        assert!(
            count > 0,
            "{what} never happened: the test tests too little"
        );
    }
}
