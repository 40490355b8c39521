//! Opening this thread's share of the connections and handing them to the data loop.
//!
//! Runs as establishment tasks beside the data loop, which take turns by a [`Queue`]. What is opened
//! is a [`Share`]; who takes it is anything that [`Opens`].

use std::cell::Cell;
use std::rc::Rc;
use std::sync::Arc;

use fanwire_protocol::DeflateParameters;
use fanwire_reactor::establish::{Stream, sleep_ms};
use fanwire_reactor::{Application, Handle};

use crate::config::Config;
use crate::connect::establish::{Greeting, OpenFailure, Opened, open};
use crate::connect::greetings::Greetings;
use crate::connect::link::Link;
use crate::connect::queue::Queue;
use crate::connect::route::Routes;
use crate::measure::gauges::Gauges;
use crate::measure::tally::Sheet;
use crate::pace::plan::share;

/// A connection whose opening handshake is complete.
#[derive(Debug)]
pub struct Upgraded {
    /// Its number in the whole run.
    pub number: u32,
    /// TLS or nothing.
    pub link: Link,
    /// What was agreed on compression.
    pub deflate: Option<DeflateParameters>,
    /// Plain bytes that came with the response head.
    pub first_bytes: Vec<u8>,
}

impl Upgraded {
    /// An opened connection as it goes to the data loop: its socket, and what belongs to it.
    pub fn new(number: u32, opened: Opened) -> (Stream, Upgraded) {
        let upgraded = Upgraded {
            number,
            link: opened.line.link,
            deflate: opened.deflate,
            first_bytes: opened.first_bytes,
        };
        (opened.line.stream, upgraded)
    }
}

/// Tells when everything that was opened has arrived in the data loop.
#[derive(Default)]
pub struct Adoptions {
    adopted: usize,
    /// How many are to come, and who is told.
    awaiting: Option<(usize, Box<dyn FnOnce()>)>,
}

impl Adoptions {
    /// One more has arrived.
    pub fn count(&mut self) {
        self.adopted += 1;
        self.check();
    }

    /// Opening is over: `done` is called as soon as `opened` have arrived.
    pub fn expect(&mut self, opened: usize, done: Box<dyn FnOnce()>) {
        self.awaiting = Some((opened, done));
        self.check();
    }

    fn check(&mut self) {
        let adopted = self.adopted;
        if let Some((_, done)) = self.awaiting.take_if(|(opened, _)| *opened <= adopted) {
            done();
        }
    }
}

/// An application whose connections are opened here.
pub trait Opens: Application<Adopted = Upgraded> {
    /// Counters and histograms of the thread.
    fn sheet_mut(&mut self) -> &mut Sheet;

    /// Sixteen bytes for `Sec-WebSocket-Key`.
    fn nonce(&mut self) -> [u8; 16];

    /// Opening is over: `done` is to be called as soon as all `opened` connections have been
    /// adopted, which for the last of them is some turns after their handshake.
    fn opening_ended(&mut self, opened: usize, done: Box<dyn FnOnce()>);
}

/// What is done to a socket; the number is the connection's.
pub type Prepare = Box<dyn Fn(u32, &Stream)>;

/// What one thread opens.
pub struct Share {
    /// How many connections.
    pub count: u32,
    /// The number in the whole run of this thread's n-th.
    pub number: Box<dyn Fn(u32) -> u32>,
    /// The opening handshake of a connection, by its number.
    pub greeting: Box<dyn Fn(u32) -> Rc<Greeting>>,
    /// What is done to a socket before its first message is received, by its number.
    pub prepare: Prepare,
    /// Connections from this number on go where another configuration says.
    pub elsewhere: Option<(u32, Arc<Config>)>,
}

impl Share {
    /// An even share of connections that are all alike.
    pub fn even(config: &Config, thread: usize) -> Share {
        let (count, first) = share(config.connections, thread, config.threads);
        let greetings = Greetings::of(config);
        Share {
            count,
            number: Box::new(move |index| first + index),
            greeting: Box::new(move |number| greetings.of_connection(number)),
            prepare: Box::new(|_, _| {}),
            elsewhere: None,
        }
    }
}

/// What the opening tasks of a thread share.
struct Opening<A: Opens> {
    routes: Routes,
    /// As in [`Share::elsewhere`].
    elsewhere: Option<(u32, Routes)>,
    share: Share,
    queue: Queue,
    handle: Handle<A>,
}

/// How often a thread looks whether it may begin.
const BEGIN_CHECK_MS: u64 = 1;

/// Waits until all threads are there and the main thread has taken the sample of memory that every
/// connection is measured against.
pub async fn wait_for_begin(gauges: &Gauges) {
    while !gauges.may_open() && !gauges.has_given_up() {
        sleep_ms(BEGIN_CHECK_MS).await;
    }
}

/// Opens this thread's connections; `done` is called once, when all of them are in the data loop.
pub fn start<A: Opens>(
    config: &Arc<Config>,
    thread: usize,
    share: Share,
    gauges: &Arc<Gauges>,
    handle: Handle<A>,
    done: impl FnOnce() + 'static,
) {
    let count = share.count;
    let opening = Rc::new(Opening {
        routes: Routes::of(config),
        elsewhere: share
            .elsewhere
            .as_ref()
            .map(|(from, config)| (*from, Routes::of(config))),
        share,
        queue: Queue::new(config, thread, count, gauges),
        handle: handle.clone(),
    });
    handle.with(|application, _| application.sheet_mut().tally.asked = u64::from(count));
    let done = Rc::new(Cell::new(Some(done)));
    for _ in 0..opening.queue.tasks() {
        let (opening, done) = (Rc::clone(&opening), Rc::clone(&done));
        handle.spawn(async move {
            opening.run_task().await;
            if opening.queue.task_ended() {
                opening.count_unattempted();
                if let Some(done) = done.take() {
                    let opened = opening.queue.opened() as usize;
                    opening
                        .handle
                        .with(|application, _| application.opening_ended(opened, Box::new(done)));
                }
            }
        });
    }
}

impl<A: Opens> Opening<A> {
    async fn run_task(&self) {
        while let Some(number) = self.queue.next().await {
            let nonce = self.handle.with(|application, _| application.nonce());
            let number = (self.share.number)(number);
            let greeting = (self.share.greeting)(number);
            let routes = match &self.elsewhere {
                Some((from, routes)) if number >= *from => routes,
                _ => &self.routes,
            };
            match open(&routes.way(number, &greeting), nonce).await {
                Ok(opened) => self.hand_over(number, opened),
                Err(failure) => self.count_failure(failure),
            }
        }
    }

    fn hand_over(&self, number: u32, opened: Opened) {
        self.queue.count_opened();
        (self.share.prepare)(number, &opened.line.stream);
        self.handle.with(|application, _| {
            let sheet = application.sheet_mut();
            sheet.tally.open += 1;
            sheet.tally.upgraded += 1;
            sheet.count_opening(&opened);
            sheet.count_agreed(&opened);
        });
        let (stream, upgraded) = Upgraded::new(number, opened);
        self.handle.adopt(stream, upgraded);
    }

    fn count_failure(&self, failure: OpenFailure) {
        self.queue.count_failed();
        self.handle.with(|application, _| {
            let sheet = application.sheet_mut();
            if let Some(connect_ns) = failure.connect_ns {
                sheet.tally.open += 1;
                sheet.connect.record(connect_ns);
            }
            if let Some(tls_ns) = failure.tls_ns {
                sheet.tls.record(tls_ns);
            }
            sheet.tally.fail(&failure.kind, || failure.detail);
        });
    }

    fn count_unattempted(&self) {
        let unattempted = self.queue.unattempted();
        if unattempted == 0 {
            return;
        }
        let cause = self.queue.end();
        self.handle.with(|application, _| {
            let tally = &mut application.sheet_mut().tally;
            let detail = format!("connections were not tried any more: {cause}");
            tally.fail_many("not_attempted", u64::from(unattempted), || detail);
        });
    }
}
