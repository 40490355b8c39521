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

use std::collections::BTreeMap;
use std::sync::{Arc, mpsc};

use fanwire_server::hub::counters::HubCounters;
use fanwire_server::hub::port::{HubPort, Order, PublishOutcome, PublishRequest, SlowInfo};
use fanwire_server::hub::publication::{Change, PayloadKind};
use fanwire_server::hub::rules::{LagPolicy, LogLimits, TopicKind, TopicRule, TopicRules};
use fanwire_server::hub::topic::{Filter, TopicName};
use fanwire_server::hub::wire::ErrorCode;
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

/// Publishes with a bounded number of messages under way. What the hub refuses as busy, because one
/// of its shards did not get a processor for a while, is published again, in its order.
pub(crate) struct Publisher<'a> {
    port: &'a mut HubPort,
    order: Arc<Order>,
    answers: mpsc::Receiver<(u64, PublishOutcome)>,
    answer: mpsc::Sender<(u64, PublishOutcome)>,
    sent: u64,
    under_way: BTreeMap<u64, PublishRequest>,
    refused: BTreeMap<u64, PublishRequest>,
    window: usize,
}

impl<'a> Publisher<'a> {
    pub(crate) fn new(port: &'a mut HubPort, window: usize) -> Publisher<'a> {
        let (answer, answers) = mpsc::channel();
        Publisher {
            port,
            order: Arc::default(),
            answers,
            answer,
            sent: 0,
            under_way: BTreeMap::new(),
            refused: BTreeMap::new(),
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
        self.sent += 1;
        let request = PublishRequest {
            topic: topic.clone(),
            key: key.map(|key| key.as_bytes().into()),
            change,
            payload: json.into(),
            payload_kind: PayloadKind::Json,
        };
        self.send(self.sent, request);
        self.wait_for(self.window);
    }

    fn send(&mut self, number: u64, request: PublishRequest) {
        loop {
            let answer = self.answer.clone();
            let reply = Box::new(move |outcome| {
                let _ = answer.send((number, outcome));
            });
            let sent = self
                .port
                .publish_in_order(request.clone(), &self.order, reply);
            self.port.ring();
            if sent.is_ok() {
                self.under_way.insert(number, request);
                return;
            }
            std::thread::yield_now();
        }
    }

    /// Waits until at most so many messages are under way or to be sent again.
    pub(crate) fn wait_for(&mut self, most: usize) {
        while self.under_way.len() + self.refused.len() > most {
            if self.under_way.is_empty() {
                self.order.mend();
                for (number, request) in std::mem::take(&mut self.refused) {
                    self.send(number, request);
                }
            }
            let (number, outcome) = self
                .answers
                .recv_timeout(crate::client::PATIENCE)
                .expect("an answer to every message");
            let request = self.under_way.remove(&number).expect("one answer each");
            match outcome {
                PublishOutcome::Accepted { .. } => {}
                PublishOutcome::Refused { code, message } => {
                    assert_eq!(code, ErrorCode::Busy, "{message}");
                    self.refused.insert(number, request);
                }
            }
        }
    }
}
