//! Echo and idle on one core: the reactor application that drives this thread's connections.
//!
//! Owns the phases of a run (opening, running, draining, closing) and the moment at which every
//! message is stamped. What is sent when comes from `plan`, what a reply means from `client`.
//!
//! Stamps: a message is stamped when it is written for the flush of its turn, a reply when the
//! completion that carries it is handled, one clock read per completion. Both err on the side of
//! the longer latency: what the generator itself takes between the two is never hidden.

use std::sync::Arc;

use fanwire_reactor::{Application, Cause, Io, Token};

use crate::command::Command;
use crate::config::{Config, Mode};
use crate::connect::ending::{SERVER_CLOSE_MS, await_closing, explain, give_up};
use crate::connect::link::LinkState;
use crate::connect::opening::{Adoptions, Opens, Upgraded};
use crate::echo::client::Standing;
use crate::echo::conversation::{Conversation, Workbench};
use crate::echo::desk::Desk;
use crate::echo::heartbeat::Rounds;
use crate::measure::gauges::Gauges;
use crate::measure::series::Results;
use crate::measure::tally::Sheet;
use crate::message::outstanding::Stamps;
use crate::pace::catchup::{CatchUp, Gate};
use crate::pace::plan::{Arrival, Schedule, Window, permutation, share_of_messages};
use crate::table::Table;

/// A closed loop that ends by the number of its messages ends too when nothing was answered for this
/// long: nobody else would end it.
const QUIET_NS: u64 = 10_000_000_000;

/// Which part of the run this is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Phase {
    /// Connections are being opened.
    Opening,
    /// Load.
    Running,
    /// The last replies are awaited.
    Draining,
    /// Everything is counted; closing handshakes.
    Closing,
}

/// One connection.
#[derive(Debug)]
pub(super) struct Seat {
    pub(super) conversation: Conversation,
    /// Place in the order of sending.
    position: u32,
    /// Why it ends has been counted.
    is_explained: bool,
}

/// The application of one core.
pub struct Worker {
    pub(super) config: Arc<Config>,
    thread: usize,
    pub(super) bench: Workbench,
    pub(super) seats: Table<Seat>,
    /// Tokens in order of opening; `None` where the connection has ended.
    pub(super) positions: Vec<Option<Token>>,
    /// Open loop: the order in which connections take their turn.
    pub(super) order: Vec<u32>,
    pub(super) schedule: Option<Schedule>,
    /// Pings, while there is load.
    pub(super) rounds: Option<Rounds>,
    /// What is done with overdue messages.
    pub(super) gate: Gate,
    /// Nothing is sent before this time, although something may be due.
    pub(super) resume_ns: u64,
    /// Messages that this thread may still send.
    pub(super) messages_left: u64,
    /// When the last message was sent or answered.
    pub(super) last_ns: u64,
    /// Closed loop: the window is known and has not begun.
    pub(super) awaits_start: bool,
    phase: Phase,
    gauges: Arc<Gauges>,
    /// Takes the sheet at the end.
    results: Results,
    adoptions: Adoptions,
}

impl Worker {
    /// The application of thread `thread` (0-based).
    pub fn new(
        config: Arc<Config>,
        thread: usize,
        gauges: Arc<Gauges>,
        results: Results,
    ) -> Worker {
        let messages_max = config.pace.messages_max;
        Worker {
            bench: Workbench::new(Desk::of(&config, thread)),
            gate: Gate::new(config.pace.catch_up),
            resume_ns: 0,
            messages_left: messages_max.map_or(u64::MAX, |count| {
                share_of_messages(count, thread, config.threads)
            }),
            last_ns: 0,
            config,
            thread,
            seats: Table::default(),
            positions: Vec::new(),
            order: Vec::new(),
            schedule: None,
            rounds: None,
            awaits_start: false,
            phase: Phase::Opening,
            gauges,
            results,
            adoptions: Adoptions::default(),
        }
    }

    fn begin(&mut self, io: &mut Io, window: Window) {
        if self.phase != Phase::Opening {
            return;
        }
        self.phase = Phase::Running;
        self.bench.desk.window = Some(window);
        let (config, thread) = (Arc::clone(&self.config), self.thread);
        self.last_ns = window.start_ns;
        match (config.mode, config.plan()) {
            (Mode::Echo, Some(plan)) => {
                self.order = permutation(self.positions.len() as u32, config.seed ^ thread as u64);
                self.schedule = Some(Schedule::of(&plan, window.start_ns, thread, config.threads));
            }
            (Mode::Echo, None) => self.awaits_start = true,
            (Mode::Idle | Mode::Storm | Mode::Fanout | Mode::Churn, _) => {}
        }
        self.rounds = config.ping_interval_ns.and_then(|interval_ns| {
            Rounds::new(interval_ns, window.start_ns, self.positions.len())
        });
        self.set_next_alarm(io);
    }

    fn keep_running(&mut self, io: &mut Io) {
        let Some(window) = self.bench.desk.window else {
            return;
        };
        let now_ns = io.read_clock_ns();
        if self.awaits_start && now_ns >= window.start_ns {
            self.kick_off(io);
        }
        self.send_due(io);
        self.send_pings(io, now_ns.min(window.until_ns.saturating_sub(1)));
        let is_exhausted = match &self.schedule {
            Some(schedule) => self.is_sent_out(schedule),
            None => self.messages_left == 0 && !self.awaits_start,
        };
        let is_quiet = self.config.pace.messages_max.is_some()
            && self.schedule.is_none()
            && now_ns.saturating_sub(self.last_ns) >= QUIET_NS;
        if now_ns >= window.until_ns || is_exhausted || is_quiet {
            self.drain(io);
        } else {
            self.set_next_alarm(io);
        }
    }

    /// Whether a limited number of messages is sent and this thread's part of the run over. At equal
    /// gaps the window itself ends when the last message is due.
    fn is_sent_out(&self, schedule: &Schedule) -> bool {
        schedule.is_exhausted() && self.config.pace.arrival == Arrival::Poisson
    }

    fn set_next_alarm(&mut self, io: &mut Io) {
        let Some(window) = self.bench.desk.window else {
            return;
        };
        let next_ns = match &self.schedule {
            // A thread may have no message at all to send.
            Some(schedule) if self.is_sent_out(schedule) => window.start_ns,
            Some(schedule) => schedule.next_due_ns().max(self.resume_ns),
            None if self.awaits_start => window.start_ns,
            None if self.config.pace.messages_max.is_some() => self.last_ns + QUIET_NS,
            None => window.until_ns,
        };
        let ping_ns = match &self.rounds {
            Some(rounds) => rounds.wake_ns(io.read_clock_ns()),
            None => u64::MAX,
        };
        io.set_alarm(next_ns.min(ping_ns).min(window.until_ns));
    }

    /// Nothing more is sent; waits for what is outstanding.
    fn drain(&mut self, io: &mut Io) {
        self.phase = Phase::Draining;
        self.rounds = None;
        if let (Some(mut schedule), Some(window)) = (self.schedule.take(), self.bench.desk.window) {
            let left = schedule.skip_until(window.until_ns);
            let tally = &mut self.bench.desk.sheet.tally;
            tally.due_measured += left;
            // Where everything is sent, what came too late for that shows in the achieved rate.
            if self.config.pace.catch_up != CatchUp::All {
                tally.unsent += left;
                tally.dropped += left;
            }
        }
        io.set_alarm(0);
        io.set_alarm(io.read_clock_ns() + self.config.drain_ms * 1_000_000);
        self.finish_when_drained(io);
    }

    fn finish_when_drained(&mut self, io: &mut Io) {
        let tally = &self.bench.desk.sheet.tally;
        let is_answered = tally.sent <= tally.received + tally.lost
            && tally.pings_sent <= tally.pongs + tally.pongs_missing;
        if self.phase == Phase::Draining && is_answered {
            self.account(io);
        }
    }

    /// The run is over: counts what is left, hands the sheet in, and begins to close.
    fn account(&mut self, io: &mut Io) {
        self.phase = Phase::Closing;
        let (now_ns, patience_ns) = (io.read_clock_ns(), self.config.drain_ms * 1_000_000);
        if self.config.pace.messages_max.is_some() {
            self.bench.desk.sheet.ended_ns = Some(self.last_ns);
        }
        for (token, seat) in self.seats.iter_mut() {
            let (client, tally) = (
                &mut seat.conversation.client,
                &mut self.bench.desk.sheet.tally,
            );
            client.account_ping(now_ns, patience_ns, tally);
            if io.is_open(token) && !seat.is_explained {
                tally.alive += 1;
                client.account_open(tally);
            } else {
                client.account_ended(tally);
            }
        }
        self.results
            .hand_in(std::mem::take(&mut self.bench.desk.sheet));
        for (token, seat) in self.seats.iter_mut() {
            seat.is_explained = true;
            self.bench.close(io, token, &mut seat.conversation);
        }
        await_closing(io);
        self.stop_when_empty(io);
    }

    fn stop_when_empty(&mut self, io: &mut Io) {
        if self.phase == Phase::Closing && self.seats.count() == 0 {
            io.stop();
        }
    }

    /// Ends the run early or at its end, whatever phase it is in.
    fn end(&mut self, io: &mut Io) {
        let now_ns = io.read_clock_ns();
        match self.phase {
            Phase::Opening | Phase::Running => {
                if let Some(window) = &mut self.bench.desk.window {
                    window.until_ns = window.until_ns.min(now_ns);
                }
                self.drain(io);
            }
            Phase::Draining | Phase::Closing => {}
        }
    }

    /// Takes bytes from the socket, or such as were decrypted already.
    fn handle_received(&mut self, io: &mut Io, token: Token, bytes: &mut [u8], is_plain: bool) {
        let now_ns = io.read_clock_ns();
        let Worker { seats, bench, .. } = self;
        let Some(seat) = seats.get_mut(token) else {
            return;
        };
        let conversation = &mut seat.conversation;
        let (received, state) = bench.receive(io, token, conversation, bytes, is_plain, now_ns);
        if received.standing != Standing::Open {
            self.hear_end(io, token, received.standing);
        }
        if state != LinkState::Open {
            self.end_link(io, token, state);
            return;
        }
        let is_closed_loop = self.schedule.is_none() && self.phase == Phase::Running;
        if received.answered > 0 {
            self.last_ns = now_ns;
            if is_closed_loop && received.standing == Standing::Open {
                // The reply's time is the next message's time: one clock read per completion.
                let stamps = Stamps {
                    intended_ns: now_ns,
                    sent_ns: now_ns,
                };
                let count = self.take_messages(received.answered);
                self.send(io, token, count, stamps);
                if self.messages_left == 0 {
                    self.drain(io);
                    return;
                }
            }
        }
        self.finish_when_drained(io);
    }

    /// A close frame came, or something that breaks the protocol.
    fn hear_end(&mut self, io: &mut Io, token: Token, standing: Standing) {
        match standing {
            Standing::Open => {}
            Standing::Closed => io.set_timer(token, SERVER_CLOSE_MS),
            Standing::ClosedByServer => {
                self.explain_end(token, "closed_by_server", || {
                    "the server sent a close frame that nobody had asked for".into()
                });
                io.finish(token);
                io.set_timer(token, SERVER_CLOSE_MS);
            }
            Standing::Failed(error) => {
                self.explain_end(token, "protocol_error", || {
                    format!("the server broke the protocol: {error}")
                });
                io.terminate(token);
            }
        }
    }

    /// Counts why a connection ends, unless that has been counted.
    fn explain_end(&mut self, token: Token, kind: &str, sentence: impl FnOnce() -> String) {
        if let Some(seat) = self.seats.get_mut(token)
            && !std::mem::replace(&mut seat.is_explained, true)
        {
            self.gauges.count_failure();
            self.bench.desk.sheet.tally.fail(kind, sentence);
        }
    }

    /// TLS has failed or was ended by the server, which is an end of the connection.
    fn end_link(&mut self, io: &mut Io, token: Token, state: LinkState) {
        if let LinkState::Failed(sentence) = state {
            self.explain_end(token, "tls_failed", || sentence);
        }
        io.terminate(token);
    }
}

impl Opens for Worker {
    fn sheet_mut(&mut self) -> &mut Sheet {
        &mut self.bench.desk.sheet
    }

    fn nonce(&mut self) -> [u8; 16] {
        self.bench.desk.nonce()
    }

    fn opening_ended(&mut self, opened: usize, done: Box<dyn FnOnce()>) {
        self.adoptions.expect(opened, done);
    }
}

impl Application for Worker {
    type Mail = Command;
    type Adopted = Upgraded;

    fn on_adopted(&mut self, io: &mut Io, token: Token, adopted: Upgraded) {
        let Upgraded {
            number,
            link,
            deflate,
            mut first_bytes,
        } = adopted;
        let seat = Seat {
            conversation: Conversation::new(&self.bench.desk, number, link, deflate),
            position: self.positions.len() as u32,
            is_explained: false,
        };
        if self.config.deflate.is_some() {
            self.bench.desk.sheet.tally.count_deflate(deflate.as_ref());
        }
        self.positions.push(Some(token));
        self.seats.insert(token, seat);
        self.send_first_messages(io, token);
        if !first_bytes.is_empty() {
            self.handle_received(io, token, &mut first_bytes, true);
        }
        self.adoptions.count();
    }

    fn on_received(&mut self, io: &mut Io, token: Token, bytes: &mut [u8]) {
        self.handle_received(io, token, bytes, false);
    }

    fn on_alarm(&mut self, io: &mut Io) {
        match self.phase {
            Phase::Opening => {}
            Phase::Running => self.keep_running(io),
            Phase::Draining => self.account(io),
            Phase::Closing => give_up(io),
        }
    }

    fn on_timer(&mut self, io: &mut Io, token: Token) {
        io.reset(token);
    }

    fn on_mail(&mut self, io: &mut Io, mail: Command) {
        match mail {
            Command::Begin(window) => self.begin(io, window),
            Command::Measure(window) if self.phase == Phase::Running => {
                self.bench.desk.window = Some(window);
                self.set_next_alarm(io);
            }
            Command::Warmth(look) => self.results.warmth(look, &mut self.bench.desk.sheet),
            Command::Stop => self.end(io),
            Command::Pulse(second) => self.results.pulse(second, &mut self.bench.desk.sheet),
            Command::Measure(_) | Command::Prepare | Command::Account => {}
        }
    }

    fn on_turn(&mut self, io: &mut Io) {
        self.gauges.show_core(io.counters());
        let tally = &self.bench.desk.sheet.tally;
        self.gauges
            .show(tally.sent, tally.received, self.seats.count() as u64);
    }

    fn on_closed(&mut self, io: &mut Io, token: Token, cause: Cause) {
        let Some(mut seat) = self.seats.remove(token) else {
            return;
        };
        if let Some(position) = self.positions.get_mut(seat.position as usize) {
            *position = None;
        }
        if self.phase == Phase::Closing {
            self.stop_when_empty(io);
            return;
        }
        let tally = &mut self.bench.desk.sheet.tally;
        let Conversation { client, link } = &mut seat.conversation;
        client.account_ended(tally);
        client.account_ping(u64::MAX, 0, tally);
        if !seat.is_explained {
            self.gauges.count_failure();
            let (kind, detail) = explain(cause, link);
            tally.fail(kind, || detail);
        }
        // Nothing is left to measure with: a run without connections ends.
        if self.phase == Phase::Running && self.seats.count() == 0 {
            self.end(io);
        }
        self.finish_when_drained(io);
    }
}
