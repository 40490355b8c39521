//! Connection storm on one core: connect, upgrade, one echoed message, reset, over and over.
//!
//! Every cycle is a conversation and lives in an establishment task; the application only tells
//! the tasks when to begin, by a gate that the precise alarm opens, and when to end.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::future::poll_fn;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Poll, Waker};

use fanwire_protocol::{Workspace, WorkspaceLimits};
use fanwire_reactor::establish::within;
use fanwire_reactor::host::monotonic_ns;
use fanwire_reactor::{Application, Cause, Handle, Io, Token};

use crate::command::Command;
use crate::config::Config;
use crate::connect::establish::{OpenFailure, Opened, open};
use crate::connect::greetings::Greetings;
use crate::connect::line::{Line, LineError};
use crate::connect::route::Routes;
use crate::echo::client::{Client, Standing};
use crate::echo::desk::Desk;
use crate::measure::gauges::Gauges;
use crate::measure::series::Results;
use crate::message::outstanding::Stamps;
use crate::message::payload::CONNECTIONS_MAX;
use crate::pace::plan::{Schedule, Window, share};

/// The storm ends early when this many cycles failed and none succeeded.
const HOPELESS_AFTER: u64 = 64;
/// Connections that are due and wait for a free establisher; more are counted as unsent.
const DUE_MAX: usize = 1 << 20;
/// Bytes asked for at once while a reply is awaited.
const RECEIVE_AT_MOST: usize = 16 * 1024;

/// Lets tasks begin a cycle.
#[derive(Default)]
struct Gate {
    /// Closed loop: everybody may begin at once.
    is_free: Cell<bool>,
    is_shut: Cell<bool>,
    /// Open loop: due times of connections not begun yet.
    due: RefCell<VecDeque<u64>>,
    waiting: RefCell<VecDeque<Waker>>,
}

impl Gate {
    /// When the next cycle is due (in a closed loop: now), or `None` at the end of the run.
    async fn pass(&self) -> Option<u64> {
        poll_fn(|context| {
            if self.is_shut.get() {
                Poll::Ready(None)
            } else if let Some(due_ns) = self.due.borrow_mut().pop_front() {
                Poll::Ready(Some(due_ns))
            } else if self.is_free.get() {
                Poll::Ready(Some(monotonic_ns()))
            } else {
                self.waiting.borrow_mut().push_back(context.waker().clone());
                Poll::Pending
            }
        })
        .await
    }

    fn wake(&self, count: usize) {
        let mut waiting = self.waiting.borrow_mut();
        let count = count.min(waiting.len());
        waiting.drain(..count).for_each(Waker::wake);
    }

    fn wake_all(&self) {
        self.wake(usize::MAX);
    }

    fn shut(&self) {
        self.is_shut.set(true);
        self.wake_all();
    }
}

/// What the tasks and the application of a core share.
struct Shared {
    config: Arc<Config>,
    greetings: Greetings,
    routes: Routes,
    gauges: Arc<Gauges>,
    gate: Gate,
    desk: RefCell<Desk>,
    workspace: RefCell<Workspace>,
    next: Cell<u32>,
    /// Cycles in progress whose message has been sent.
    awaiting: Cell<u64>,
    failed: Cell<u64>,
    /// Tasks that have not ended.
    active: Cell<u32>,
}

/// The application of one core.
pub struct Storm {
    shared: Rc<Shared>,
    thread: usize,
    schedule: Option<Schedule>,
    is_draining: bool,
    results: Option<Results>,
}

impl Storm {
    /// The application of thread `thread` (0-based).
    pub fn new(config: Arc<Config>, thread: usize, gauges: Arc<Gauges>, results: Results) -> Storm {
        let (tasks, _) = share(config.connections, thread, config.threads);
        // Cycles are numbered from a place of their own in every thread, so that a message that
        // reaches the wrong connection is noticed.
        let first = (CONNECTIONS_MAX / config.threads.max(1) as u32) * thread as u32;
        let shared = Rc::new(Shared {
            greetings: Greetings::of(&config),
            routes: Routes::of(&config),
            gauges,
            gate: Gate::default(),
            desk: RefCell::new(Desk::of(&config, thread)),
            workspace: RefCell::new(Workspace::new(WorkspaceLimits::default())),
            next: Cell::new(first),
            awaiting: Cell::new(0),
            failed: Cell::new(0),
            active: Cell::new(tasks),
            config,
        });
        Storm {
            shared,
            thread,
            schedule: None,
            is_draining: false,
            results: Some(results),
        }
    }

    /// Starts the establishers; they wait for [`Command::Begin`].
    pub fn start(handle: &Handle<Storm>) {
        let shared = handle.with(|storm, _| Rc::clone(&storm.shared));
        for _ in 0..shared.active.get() {
            let (shared, own_handle) = (Rc::clone(&shared), handle.clone());
            handle.spawn(async move {
                while let Some(due_ns) = shared.gate.pass().await {
                    shared.cycle(due_ns).await;
                }
                shared.active.set(shared.active.get() - 1);
                if shared.active.get() == 0 {
                    own_handle.with(|storm, io| storm.account(io));
                }
            });
        }
    }

    fn begin(&mut self, io: &mut Io, window: Window) {
        let shared = &self.shared;
        shared.desk.borrow_mut().window = Some(window);
        if let Some(plan) = shared.config.plan() {
            let threads = shared.config.threads;
            let schedule = Schedule::of(&plan, window.start_ns, self.thread, threads);
            io.set_alarm(schedule.next_due_ns().min(window.until_ns));
            self.schedule = Some(schedule);
        } else {
            io.set_alarm(window.start_ns);
        }
    }

    /// Lets those through that are due.
    fn release_due(&mut self, now_ns: u64, until_ns: u64) {
        let Some(schedule) = &mut self.schedule else {
            return;
        };
        let mut released = 0;
        while schedule.next_due_ns() <= now_ns && schedule.next_due_ns() < until_ns {
            let mut due = self.shared.gate.due.borrow_mut();
            if due.len() < DUE_MAX {
                due.push_back(schedule.next_due_ns());
            } else {
                self.shared.desk.borrow_mut().sheet.tally.unsent += 1;
            }
            schedule.advance();
            released += 1;
        }
        self.shared.gate.wake(released);
    }

    fn drain(&mut self, io: &mut Io) {
        if std::mem::replace(&mut self.is_draining, true) {
            return;
        }
        let shared = &self.shared;
        // Due but never begun: the establishers could not keep up.
        let not_begun = shared.gate.due.borrow().len() as u64;
        shared.desk.borrow_mut().sheet.tally.unsent += not_begun;
        shared.gate.shut();
        io.set_alarm(0);
        io.set_alarm(io.read_clock_ns() + shared.config.drain_ms * 1_000_000);
    }

    /// The run is over: counts what is left, hands the sheet in and stops the core.
    fn account(&mut self, io: &mut Io) {
        if let Some(results) = self.results.take() {
            let mut sheet = std::mem::take(&mut self.shared.desk.borrow_mut().sheet);
            let tally = &mut sheet.tally;
            tally.in_flight += self.shared.awaiting.get();
            let unfinished = tally.asked - tally.cycles - self.shared.failed.get();
            if unfinished > 0 {
                tally.stalled += unfinished;
                let drain_ms = self.shared.config.drain_ms;
                tally.fail_many("unfinished", unfinished, || {
                    format!("cycles were still in progress {drain_ms} ms after the end")
                });
            }
            results.hand_in(sheet);
        }
        io.stop();
    }
}

impl Shared {
    /// Connect, upgrade, one message, reset.
    async fn cycle(&self, due_ns: u64) {
        let number = self.next.get();
        self.next.set((number + 1) % CONNECTIONS_MAX);
        let begun_ns = monotonic_ns();
        let nonce = {
            let mut desk = self.desk.borrow_mut();
            let is_measured = desk.window.is_some_and(|window| window.measures(due_ns));
            desk.sheet.tally.asked += 1;
            if is_measured && self.config.is_open_loop() {
                desk.sheet.record_late(begun_ns.saturating_sub(due_ns));
            }
            desk.nonce()
        };
        let greeting = self.greetings.of_connection(number);
        match open(&self.routes.way(number, &greeting), nonce).await {
            Err(failure) => self.count_failure(failure),
            Ok(opened) => {
                let stamps = Stamps {
                    intended_ns: due_ns,
                    sent_ns: begun_ns,
                };
                self.talk(number, opened, stamps).await;
            }
        }
    }

    async fn talk(&self, number: u32, opened: Opened, stamps: Stamps) {
        let mut client = {
            let mut desk = self.desk.borrow_mut();
            let is_measured = desk
                .window
                .is_some_and(|window| window.measures(stamps.intended_ns));
            desk.sheet.tally.open += 1;
            desk.sheet.tally.upgraded += 1;
            desk.sheet.count_agreed(&opened);
            if is_measured {
                desk.sheet.count_opening(&opened);
            }
            Client::new(&desk, number, opened.deflate)
        };
        let Opened {
            mut line,
            first_bytes,
            ..
        } = opened;
        let begun_ns = monotonic_ns();
        self.awaiting.set(self.awaiting.get() + 1);
        let exchange = self.exchange(&mut client, &mut line, first_bytes, stamps);
        let timeout_ms = self.config.connect_timeout_ms;
        let outcome = within(timeout_ms, exchange).await.unwrap_or_else(|| {
            let detail = format!("the first message was not answered within {timeout_ms} ms");
            Err(("first_message_timeout", detail))
        });
        self.awaiting.set(self.awaiting.get() - 1);
        // A reset leaves no TIME_WAIT behind, which would use up this host's ports in seconds.
        // If the option is refused the socket is gone already.
        let _ = line.stream.reset_on_close();
        drop(line);
        let mut desk = self.desk.borrow_mut();
        client.account_ended(&mut desk.sheet.tally);
        match outcome {
            Ok(()) => {
                desk.sheet.tally.cycles += 1;
                let is_measured = desk
                    .window
                    .is_some_and(|window| window.measures(stamps.intended_ns));
                if is_measured {
                    desk.sheet.tally.cycles_measured += 1;
                    let first_message_ns = monotonic_ns().saturating_sub(begun_ns);
                    desk.sheet.first_message.record(first_message_ns);
                }
                self.gauges.show(
                    desk.sheet.tally.asked,
                    desk.sheet.tally.cycles,
                    u64::from(self.active.get()),
                );
            }
            Err((kind, detail)) => {
                drop(desk);
                self.count_failure(OpenFailure {
                    kind: kind.to_owned(),
                    detail,
                    connect_ns: None,
                    tls_ns: None,
                    retry_after_ms: None,
                });
            }
        }
    }

    /// Sends the message and waits for its reply.
    async fn exchange(
        &self,
        client: &mut Client,
        line: &mut Line,
        first_bytes: Vec<u8>,
        stamps: Stamps,
    ) -> Result<(), (&'static str, String)> {
        let broken = |error: LineError| match error {
            LineError::Socket(error) => ("connection_broken", error.to_string()),
            LineError::Tls(sentence) => ("tls_failed", sentence),
        };
        let mut out = Vec::with_capacity(self.config.message_size + 32);
        {
            let (mut desk, mut workspace) = (self.desk.borrow_mut(), self.workspace.borrow_mut());
            client.send_message(&mut desk, &mut workspace, stamps, &mut out);
        }
        let (sent, mut out) = line.send_all(out).await;
        sent.map_err(broken)?;
        let mut received = first_bytes;
        loop {
            if !received.is_empty() {
                out.clear();
                let outcome = {
                    let (mut desk, mut workspace) =
                        (self.desk.borrow_mut(), self.workspace.borrow_mut());
                    let now_ns = monotonic_ns();
                    client.receive(&mut desk, &mut workspace, &mut received, now_ns, &mut out)
                };
                if outcome.answered > 0 {
                    return Ok(());
                }
                match outcome.standing {
                    Standing::Open => {}
                    Standing::Failed(error) => return Err(("protocol_error", error.to_string())),
                    Standing::Closed | Standing::ClosedByServer => {
                        let detail = "the server closed instead of answering the first message";
                        return Err(("closed_by_server", detail.to_owned()));
                    }
                }
                if !out.is_empty() {
                    let (sent, memory) = line.send_all(std::mem::take(&mut out)).await;
                    sent.map_err(broken)?;
                    out = memory;
                }
                received.clear();
            }
            if line
                .receive(&mut received, RECEIVE_AT_MOST)
                .await
                .map_err(broken)?
                == 0
            {
                let remark = line.link.remark();
                let detail =
                    format!("the server ended the connection without a close frame{remark}");
                return Err(("ended_without_close", detail));
            }
        }
    }

    fn count_failure(&self, failure: OpenFailure) {
        self.failed.set(self.failed.get() + 1);
        self.gauges.count_failure();
        let mut desk = self.desk.borrow_mut();
        let tally = &mut desk.sheet.tally;
        if failure.connect_ns.is_some() {
            tally.open += 1;
        }
        tally.fail(&failure.kind, || failure.detail);
        if tally.cycles == 0 && self.failed.get() >= HOPELESS_AFTER {
            self.gate.shut();
        }
    }
}

impl Application for Storm {
    type Mail = Command;
    type Adopted = ();

    fn on_adopted(&mut self, io: &mut Io, token: Token, _adopted: ()) {
        // Storm hands no socket to the data loop; one that came anyway is let go.
        io.reset(token);
    }

    fn on_received(&mut self, _io: &mut Io, _token: Token, _bytes: &mut [u8]) {}

    fn on_alarm(&mut self, io: &mut Io) {
        if self.is_draining {
            self.account(io);
            return;
        }
        let window = self.shared.desk.borrow().window;
        let Some(window) = window else { return };
        let now_ns = io.read_clock_ns();
        self.release_due(now_ns, window.until_ns);
        if self.schedule.is_none() && now_ns >= window.start_ns {
            self.shared.gate.is_free.set(true);
            self.shared.gate.wake_all();
        }
        if now_ns >= window.until_ns {
            self.drain(io);
        } else {
            let next_ns = self
                .schedule
                .as_ref()
                .map_or(window.until_ns, Schedule::next_due_ns);
            io.set_alarm(next_ns.min(window.until_ns));
        }
    }

    fn on_mail(&mut self, io: &mut Io, mail: Command) {
        match mail {
            Command::Begin(window) => self.begin(io, window),
            Command::Measure(window) if !self.is_draining => {
                self.shared.desk.borrow_mut().window = Some(window);
                io.set_alarm(window.until_ns);
            }
            Command::Warmth(look) => {
                if let Some(results) = &self.results {
                    results.warmth(look, &mut self.shared.desk.borrow_mut().sheet);
                }
            }
            Command::Pulse(second) => {
                if let Some(results) = &self.results {
                    results.pulse(second, &mut self.shared.desk.borrow_mut().sheet);
                }
            }
            Command::Measure(_) | Command::Prepare | Command::Account => {}
            Command::Stop => {
                let now_ns = io.read_clock_ns();
                if let Some(window) = &mut self.shared.desk.borrow_mut().window {
                    window.until_ns = window.until_ns.min(now_ns);
                }
                self.drain(io);
            }
        }
    }

    fn on_turn(&mut self, io: &mut Io) {
        self.shared.gauges.show_core(io.counters());
    }

    fn on_closed(&mut self, _io: &mut Io, _token: Token, _cause: Cause) {}
}
