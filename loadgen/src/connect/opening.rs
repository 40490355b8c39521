//! Opening this thread's share of the connections and handing them to the data loop.
//!
//! Owns pacing (`--connect-rate`), how many are being opened at once, and giving up when the
//! server lets nobody in. Runs as establishment tasks beside the data loop. What is opened is a
//! [`Share`]; who takes it is anything that [`Opens`].

use std::cell::Cell;
use std::rc::Rc;
use std::sync::Arc;

use fanwire_protocol::DeflateParameters;
use fanwire_reactor::establish::{Stream, sleep_ms};
use fanwire_reactor::host::monotonic_ns;
use fanwire_reactor::{Application, Handle};

use crate::config::Config;
use crate::connect::establish::{Greeting, OpenFailure, Opened, open};
use crate::connect::greetings::Greetings;
use crate::connect::link::Link;
use crate::connect::route::Routes;
use crate::measure::gauges::Gauges;
use crate::measure::tally::Sheet;
use crate::pace::plan::{Schedule, share};

/// Openings in progress at once per thread: enough to keep a server busy, few enough for a listen
/// queue of 128 not to overflow (a lost SYN costs a second).
const AT_ONCE: u32 = 64;
/// With a connect rate, slow openings overlap up to this many.
const AT_ONCE_PACED: u32 = 1_024;
/// Opening stops when this many attempts failed and none succeeded: the server lets nobody in.
const HOPELESS_AFTER: u32 = 64;

/// An interruption is noticed after this long, however far away the next turn is.
const GIVE_UP_CHECK_MS: u64 = 50;

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
    gauges: Arc<Gauges>,
    handle: Handle<A>,
    begun_ns: u64,
    next: Cell<u32>,
    failed: Cell<u32>,
    opened: Cell<u32>,
    /// Tasks that have not ended yet.
    active: Cell<u32>,
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
    let at_once = if config.connect_rate.is_some() {
        AT_ONCE_PACED
    } else {
        AT_ONCE
    };
    let tasks = at_once.min(count).max(1);
    let opening = Rc::new(Opening {
        routes: Routes::of(config),
        elsewhere: share
            .elsewhere
            .as_ref()
            .map(|(from, config)| (*from, Routes::of(config))),
        share,
        gauges: Arc::clone(gauges),
        begun_ns: monotonic_ns(),
        next: Cell::new(0),
        failed: Cell::new(0),
        opened: Cell::new(0),
        active: Cell::new(tasks),
        handle: handle.clone(),
    });
    handle.with(|application, _| application.sheet_mut().tally.asked = u64::from(count));
    let done = Rc::new(Cell::new(Some(done)));
    let schedule = config
        .connect_rate
        .map(|rate| Schedule::new(0, rate, thread, config.threads));
    for _ in 0..tasks {
        let (opening, done, schedule) = (Rc::clone(&opening), Rc::clone(&done), schedule.clone());
        handle.spawn(async move {
            opening.run_task(schedule.as_ref()).await;
            opening.active.set(opening.active.get() - 1);
            if opening.active.get() == 0 {
                opening.count_unattempted();
                if let Some(done) = done.take() {
                    let opened = opening.opened.get() as usize;
                    opening
                        .handle
                        .with(|application, _| application.opening_ended(opened, Box::new(done)));
                }
            }
        });
    }
}

impl<A: Opens> Opening<A> {
    async fn run_task(&self, schedule: Option<&Schedule>) {
        loop {
            let number = self.next.get();
            if number >= self.share.count || self.is_hopeless() || self.gauges.has_given_up() {
                return;
            }
            self.next.set(number + 1);
            if let Some(schedule) = schedule {
                self.wait_for_turn(schedule, number).await;
                if self.gauges.has_given_up() {
                    return;
                }
            }
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
        self.opened.set(self.opened.get() + 1);
        self.gauges.count_opened();
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

    /// The runtime's timers tick in milliseconds, so connections come in bursts of a millisecond.
    async fn wait_for_turn(&self, schedule: &Schedule, number: u32) {
        let due_ns = schedule.due_ns(u64::from(number));
        while !self.gauges.has_given_up() {
            let elapsed_ns = monotonic_ns().saturating_sub(self.begun_ns);
            let wait_ms = due_ns.saturating_sub(elapsed_ns) / 1_000_000;
            if wait_ms == 0 {
                return;
            }
            sleep_ms(wait_ms.min(GIVE_UP_CHECK_MS)).await;
        }
    }

    fn is_hopeless(&self) -> bool {
        self.opened.get() == 0 && self.failed.get() >= HOPELESS_AFTER
    }

    fn count_failure(&self, failure: OpenFailure) {
        self.failed.set(self.failed.get() + 1);
        self.gauges.count_failure();
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
        let attempted = self.opened.get() + self.failed.get();
        let unattempted = self.share.count.saturating_sub(attempted);
        if unattempted == 0 {
            return;
        }
        let cause = if self.is_hopeless() {
            format!("the first {HOPELESS_AFTER} attempts of a thread all failed")
        } else {
            "the run was stopped".to_owned()
        };
        self.handle.with(|application, _| {
            let tally = &mut application.sheet_mut().tally;
            let detail = format!("connections were not tried any more: {cause}");
            tally.fail_many("not_attempted", u64::from(unattempted), || detail);
        });
    }
}
