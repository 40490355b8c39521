//! The hub over real sockets: both backends, one and two shards, clients written here.
//!
//! Nothing here waits for time to pass, except where a reader that stalls is what is tested.

#[path = "../server/client.rs"]
#[allow(
    dead_code,
    reason = "shared with the tests of the server under the hub"
)]
mod client;

mod books;
mod follow;
mod reader;
mod stalled;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use fanwire_server::hub::counters::HubCounters;
use fanwire_server::hub::port::{HubPort, PublishOutcome, PublishRequest, SlowInfo};
use fanwire_server::hub::publication::{Change, PayloadKind};
use fanwire_server::hub::rules::{LagPolicy, LogLimits, TopicKind, TopicRule, TopicRules};
use fanwire_server::hub::topic::{Filter, TopicName};
use fanwire_server::hub::{HubOptions, start};
use fanwire_server::{BackendChoice, Config, Limits, Placement, Running};

/// Both ways to the kernel, on one and on two shards.
pub(crate) const SETUPS: [(BackendChoice, u16); 4] = [
    (BackendChoice::Uring, 1),
    (BackendChoice::Epoll, 1),
    (BackendChoice::Uring, 2),
    (BackendChoice::Epoll, 2),
];

/// A rule for a pattern.
pub(crate) fn rule(
    pattern: &str,
    kind: TopicKind,
    lag: LagPolicy,
    messages_max: usize,
) -> TopicRule {
    TopicRule {
        lag,
        limits: LogLimits {
            messages_max,
            ..LogLimits::default()
        },
        ..TopicRule::of_kind(Filter::parse(pattern).expect("a pattern"), kind)
    }
}

/// A hub for tests, and a door to it.
pub(crate) struct TestHub {
    pub(crate) running: Running,
    pub(crate) port: HubPort,
}

pub(crate) fn hub(
    (backend, shards): (BackendChoice, u16),
    rules: Vec<TopicRule>,
    change: impl FnOnce(&mut Limits),
) -> TestHub {
    let mut limits = Limits::default();
    change(&mut limits);
    let config = Config {
        listen: ([127, 0, 0, 1], 0).into(),
        placement: Placement::Unpinned(shards),
        backend,
        limits,
        ..Config::default()
    };
    let options = HubOptions {
        rules: TopicRules::new(rules, TopicRule::default()).expect("rules that make sense"),
        ..HubOptions::default()
    };
    let (running, mut ports) = start(config, options, 1).expect("the hub starts");
    let port = ports.pop().expect("the port that was asked for");
    TestHub { running, port }
}

impl TestHub {
    /// Who is furthest behind.
    pub(crate) fn slowest(&mut self) -> Vec<SlowInfo> {
        let (sender, answers) = std::sync::mpsc::channel();
        for shard in 0..self.port.shards() as u16 {
            let sender = sender.clone();
            let reply = Box::new(move |slowest| {
                let _ = sender.send(slowest);
            });
            self.port
                .slowest(shard, 100, reply)
                .expect("room for a question");
        }
        drop(sender);
        answers.into_iter().flatten().collect()
    }

    /// The counters of all shards.
    pub(crate) fn counters(&mut self) -> HubCounters {
        let (sender, answers) = std::sync::mpsc::channel();
        for shard in 0..self.port.shards() as u16 {
            let sender = sender.clone();
            let reply = Box::new(move |counters| {
                // Nobody may be waiting any more.
                let _ = sender.send(counters);
            });
            self.port
                .counters(shard, reply)
                .expect("room for a question");
        }
        drop(sender);
        let mut sum = HubCounters::default();
        for counters in answers {
            sum.add(&counters);
        }
        sum
    }
}

/// Publishes with a bounded number of messages under way.
pub(crate) struct Publisher<'a> {
    pub(crate) port: &'a mut HubPort,
    sent: u64,
    done: Arc<AtomicU64>,
    refused: Arc<AtomicU64>,
    window: u64,
}

impl<'a> Publisher<'a> {
    pub(crate) fn new(port: &'a mut HubPort, window: u64) -> Publisher<'a> {
        Publisher {
            port,
            sent: 0,
            done: Arc::default(),
            refused: Arc::default(),
            window,
        }
    }

    pub(crate) fn publish(
        &mut self,
        topic: &TopicName,
        key: Option<&str>,
        change: Change,
        json: String,
    ) {
        let mut request = PublishRequest {
            topic: topic.clone(),
            key: key.map(|key| key.as_bytes().into()),
            change,
            payload: json.into(),
            payload_kind: PayloadKind::Json,
        };
        loop {
            let (done, refused) = (self.done.clone(), self.refused.clone());
            let reply = Box::new(move |outcome| {
                if matches!(outcome, PublishOutcome::Refused { .. }) {
                    refused.fetch_add(1, Ordering::Relaxed);
                }
                done.fetch_add(1, Ordering::Release);
            });
            match self.port.publish(request, Some(reply)) {
                Ok(()) => break,
                Err(back) => request = back,
            }
            std::thread::yield_now();
        }
        self.sent += 1;
        self.port.ring();
        self.wait_for(self.window);
    }

    /// Waits until at most so many messages are under way.
    pub(crate) fn wait_for(&self, under_way: u64) {
        while self.sent - self.done.load(Ordering::Acquire) > under_way {
            std::thread::yield_now();
        }
        assert_eq!(
            self.refused.load(Ordering::Relaxed),
            0,
            "something was refused"
        );
    }
}
