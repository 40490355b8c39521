//! Churn on one core: the reactor application that drives this thread's clients.
//!
//! Owns the phases of a run, the moments at which messages are stamped, and what the end of a
//! connection is called. Who leaves and comes back when is `members`'; what a reply means is
//! `client`'s.

use std::rc::Rc;
use std::sync::Arc;

use fanwire_reactor::{Application, Cause, Io, Token};

use crate::churn::members::{Due, Members};
use crate::churn::opening::Gate;
use crate::churn::options::{Departure, Options};
use crate::churn::seat::{End, Next, Seat};
use crate::churn::sheet::ChurnSheet;
use crate::command::Command;
use crate::config::Config;
use crate::connect::ending::{SERVER_CLOSE_MS, await_closing, explain, give_up};
use crate::connect::opening::Upgraded;
use crate::echo::conversation::{Conversation, Workbench};
use crate::echo::desk::Desk;
use crate::echo::heartbeat::Rounds;
use crate::measure::gauges::Gauges;
use crate::measure::series::Results;
use crate::message::outstanding::Stamps;
use crate::message::payload::CONNECTIONS_MAX;
use crate::pace::plan::{Schedule, Window, permutation, share};
use crate::table::Table;

/// Departures, returns and messages dealt with before arrivals get their turn again.
pub(super) const STEPS_PER_ALARM: usize = 512;
/// How long a server has to end a connection that its client has left.
const LEAVE_TIMEOUT_MS: u64 = 2_000;

/// Which part of the run this is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Phase {
    /// Everybody makes a first attempt.
    Opening,
    /// Clients come and go.
    Running,
    /// Nobody comes or goes; what has begun is awaited.
    Draining,
    /// Everything is counted; closing handshakes.
    Closing,
}

/// The application of one core.
pub struct Churner {
    pub(super) config: Arc<Config>,
    pub(super) options: Options,
    pub(super) thread: usize,
    /// Number in the whole run of this thread's first client.
    pub(super) first: u32,
    pub(super) members: Members,
    pub(super) bench: Workbench,
    pub(super) sheet: ChurnSheet,
    pub(super) seats: Table<Seat>,
    /// The order in which clients take their turn to send.
    pub(super) order: Vec<u32>,
    pub(super) schedule: Option<Schedule>,
    pub(super) phase: Phase,
    pub(super) gate: Rc<Gate>,
    /// Number of the next connection: part of every payload, so that a reply that reaches another
    /// connection of the same client is noticed too.
    pub(super) next_number: u32,
    /// Connections that their clients have left and that have not ended.
    pub(super) leaving: u64,
    /// Pings, while there is load.
    pub(super) rounds: Option<Rounds>,
    pub(super) gauges: Arc<Gauges>,
    /// Takes the sheet at the end.
    pub(super) results: Results,
    /// Told when the beginning is over and all its connections have arrived here.
    pub(super) awaiting_adoptions: Option<Box<dyn FnOnce()>>,
}

impl Churner {
    /// The application of thread `thread` (0-based).
    pub fn new(
        config: Arc<Config>,
        options: &Options,
        thread: usize,
        gauges: Arc<Gauges>,
        results: Results,
    ) -> Churner {
        let (count, first) = share(config.connections, thread, config.threads);
        // An odd constant keeps the threads' draws apart; another one than the masking keys have.
        let seed = config
            .seed
            .wrapping_add((thread as u64 + 1).wrapping_mul(0xbf58_476d_1ce4_e5b9));
        Churner {
            members: Members::new(count, options, seed),
            first,
            bench: Workbench::new(Desk::of(&config, thread)),
            sheet: ChurnSheet {
                clients: u64::from(count),
                ..ChurnSheet::default()
            },
            seats: Table::default(),
            order: permutation(count, config.seed ^ thread as u64),
            schedule: None,
            phase: Phase::Opening,
            gate: Rc::new(Gate::default()),
            next_number: (CONNECTIONS_MAX / config.threads.max(1) as u32) * thread as u32,
            leaving: 0,
            rounds: None,
            options: *options,
            awaiting_adoptions: None,
            thread,
            gauges,
            results,
            config,
        }
    }

    pub(super) fn gate(&self) -> Rc<Gate> {
        Rc::clone(&self.gate)
    }

    pub(super) fn is_measured(&self, at_ns: u64) -> bool {
        self.bench
            .desk
            .window
            .is_some_and(|window| window.measures(at_ns))
    }

    fn begin(&mut self, io: &mut Io, window: Window) {
        if self.phase != Phase::Opening {
            return;
        }
        self.phase = Phase::Running;
        self.bench.desk.window = Some(window);
        self.members.begin(window.start_ns);
        if let Some(rate) = self.config.rate {
            let (thread, threads) = (self.thread, self.config.threads);
            self.schedule = Some(Schedule::new(window.start_ns, rate, thread, threads));
        }
        self.rounds = self
            .config
            .ping_interval_ns
            .and_then(|interval_ns| Rounds::new(interval_ns, window.start_ns, self.order.len()));
        self.carry_on(io);
    }

    /// After anything that may have changed what is due next, or ended the last thing awaited.
    pub(super) fn carry_on(&mut self, io: &mut Io) {
        match self.phase {
            Phase::Opening => {}
            Phase::Running => {
                if self.is_deserted() {
                    self.drain(io);
                } else {
                    self.set_next_alarm(io);
                }
            }
            Phase::Draining => self.finish_when_drained(io),
            Phase::Closing => {
                if self.seats.count() == 0 {
                    io.stop();
                }
            }
        }
    }

    /// Nobody has a connection, and nobody will come back.
    fn is_deserted(&mut self) -> bool {
        self.seats.count() == 0
            && self.sheet.in_progress == 0
            && self.gate.waiting() == 0
            && self.members.next_due_ns().is_none()
    }

    fn set_next_alarm(&mut self, io: &mut Io) {
        let Some(window) = self.bench.desk.window else {
            return;
        };
        let message_ns = self.schedule.as_ref().map(Schedule::next_due_ns);
        let ping_ns = self.rounds.map(|rounds| rounds.wake_ns(io.read_clock_ns()));
        let due_ns = [message_ns, self.members.next_due_ns(), ping_ns];
        let next_ns = due_ns.into_iter().flatten().min();
        io.set_alarm(next_ns.map_or(window.until_ns, |next_ns| next_ns.min(window.until_ns)));
    }

    /// Does what is due by now.
    fn keep_running(&mut self, io: &mut Io) {
        let Some(window) = self.bench.desk.window else {
            return;
        };
        self.send_due(io, window);
        self.send_pings(io, window);
        for _ in 0..STEPS_PER_ALARM {
            let now_ns = io.read_clock_ns().min(window.until_ns.saturating_sub(1));
            match self.members.take_due(now_ns) {
                None => break,
                Some(Due::Leave(member)) => self.leave(io, member),
                Some(Due::Return(member, due_ns)) => self.gate.call(member, due_ns),
            }
        }
        if io.read_clock_ns() >= window.until_ns {
            self.drain(io);
        } else {
            self.carry_on(io);
        }
    }

    /// A client's lifetime is over.
    fn leave(&mut self, io: &mut Io, member: u32) {
        let Some(token) = self.members.token(member) else {
            return;
        };
        // The server may have closed in the same moment: then it was not the client who left.
        let Some(seat) = self
            .seats
            .get_mut(token)
            .filter(|seat| seat.end == End::Open)
        else {
            return;
        };
        seat.end = End::Leaving {
            since_ns: io.read_clock_ns(),
            is_answered: false,
        };
        self.leaving += 1;
        match self.options.departure {
            Departure::Reset => io.reset(token),
            Departure::Clean => {
                self.sheet.closings_begun += 1;
                self.bench.close(io, token, &mut seat.conversation);
                io.set_timer(token, LEAVE_TIMEOUT_MS);
            }
            Departure::Half => {
                io.finish(token);
                io.set_timer(token, LEAVE_TIMEOUT_MS);
            }
        }
    }

    /// Nobody leaves or comes back any more; waits for what has begun.
    fn drain(&mut self, io: &mut Io) {
        if matches!(self.phase, Phase::Draining | Phase::Closing) {
            return;
        }
        self.phase = Phase::Draining;
        self.schedule = None;
        self.rounds = None;
        self.members.end();
        self.gate.shut();
        io.set_alarm(0);
        io.set_alarm(io.read_clock_ns() + self.config.drain_ms * 1_000_000);
        self.finish_when_drained(io);
    }

    fn finish_when_drained(&mut self, io: &mut Io) {
        let tally = &self.bench.desk.sheet.tally;
        let is_drained = self.phase == Phase::Draining
            && tally.sent <= tally.received + tally.lost
            && self.sheet.in_progress == 0
            && self.leaving == 0;
        if is_drained {
            self.account(io);
        }
    }

    /// The run is over: counts what is left, hands the sheet in, and begins to close.
    fn account(&mut self, io: &mut Io) {
        self.phase = Phase::Closing;
        let (now_ns, patience_ns) = (io.read_clock_ns(), self.config.drain_ms * 1_000_000);
        for (token, seat) in self.seats.iter_mut() {
            let (client, tally) = (
                &mut seat.conversation.client,
                &mut self.bench.desk.sheet.tally,
            );
            client.account_ping(now_ns, patience_ns, tally);
            if io.is_open(token) && seat.end == End::Open {
                self.sheet.alive += 1;
                tally.alive += 1;
                client.account_open(tally);
            } else {
                seat.book_end(tally, &mut self.sheet);
            }
        }
        self.sheet.waiting = self.members.waiting();
        self.sheet.gone = self.members.gone();
        let mut sheet = std::mem::take(&mut self.bench.desk.sheet);
        sheet.churn = Some(Box::new(std::mem::take(&mut self.sheet)));
        self.results.hand_in(sheet);
        for (token, seat) in self.seats.iter_mut() {
            self.bench.close(io, token, &mut seat.conversation);
        }
        await_closing(io);
        self.carry_on(io);
    }

    /// Takes bytes from the socket, or such as were decrypted already.
    fn handle_received(&mut self, io: &mut Io, token: Token, bytes: &mut [u8], is_plain: bool) {
        let now_ns = io.read_clock_ns();
        let Some(seat) = self.seats.get_mut(token) else {
            return;
        };
        let conversation = &mut seat.conversation;
        let (received, state) =
            self.bench
                .receive(io, token, conversation, bytes, is_plain, now_ns);
        let is_first = received.answered > 0 && !std::mem::replace(&mut seat.is_served, true);
        let (member, opened_ns) = (seat.member, seat.opened_ns);
        let tally = &mut self.bench.desk.sheet.tally;
        let outcome = seat.judge(received.standing, state, now_ns, tally, &mut self.sheet);
        if outcome.is_failure {
            self.gauges.count_failure();
        }
        match outcome.next {
            Next::Nothing => {}
            Next::Await => io.set_timer(token, SERVER_CLOSE_MS),
            Next::Finish => {
                io.finish(token);
                io.set_timer(token, SERVER_CLOSE_MS);
            }
            Next::Terminate => io.terminate(token),
        }
        if is_first {
            self.served(member, opened_ns, now_ns);
        }
        if self.phase == Phase::Draining {
            self.finish_when_drained(io);
        }
    }

    fn served(&mut self, member: u32, opened_ns: u64, now_ns: u64) {
        let is_measured = self.is_measured(now_ns);
        if is_measured && !self.options.is_hold_only {
            let first_ns = now_ns.saturating_sub(opened_ns);
            self.bench.desk.sheet.first_message.record(first_ns);
        }
        if let Some(recovery) = self.members.served(member, now_ns) {
            self.sheet.recovered += 1;
            // Whatever the window: a loss is rare, and its recovery may outlast the window.
            self.sheet.recover.record(recovery.whole_ns);
            self.sheet.recover_active.record(recovery.active_ns);
        }
    }

    /// The connection has ended while the run lasts: what its client does next.
    fn ended(&mut self, io: &mut Io, mut seat: Seat, cause: Cause) {
        let now_ns = io.read_clock_ns();
        if seat.end == End::Open {
            self.gauges.count_failure();
            let (kind, detail) = explain(cause, &seat.conversation.link);
            self.bench.desk.sheet.tally.fail(kind, || detail);
        }
        // A client that leaves does not wait for a pong.
        let patience_ns = match seat.end {
            End::Leaving { .. } => u64::MAX,
            _ => 0,
        };
        let tally = &mut self.bench.desk.sheet.tally;
        let client = &mut seat.conversation.client;
        client.account_ping(u64::MAX, patience_ns, tally);
        seat.book_end(tally, &mut self.sheet);
        let is_running = self.phase == Phase::Running;
        match seat.end {
            End::Leaving { .. } => {
                self.leaving -= 1;
                self.members.left(seat.member, now_ns);
            }
            End::ByServer { at_ns } | End::Broken { at_ns } => {
                self.members.lost(seat.member, at_ns, now_ns, is_running);
            }
            End::Open => self.members.lost(seat.member, now_ns, now_ns, is_running),
        }
        if self.phase == Phase::Draining {
            self.members.end();
        }
        self.carry_on(io);
    }
}

impl Application for Churner {
    type Mail = Command;
    type Adopted = Upgraded;

    fn on_adopted(&mut self, io: &mut Io, token: Token, adopted: Upgraded) {
        if self.phase == Phase::Closing {
            io.reset(token);
            return;
        }
        let Upgraded {
            number: member,
            link,
            deflate,
            mut first_bytes,
        } = adopted;
        let now_ns = io.read_clock_ns();
        self.sheet.in_progress -= 1;
        self.sheet.opened += 1;
        self.bench.desk.sheet.tally.open += 1;
        self.bench.desk.sheet.tally.upgraded += 1;
        let number = self.next_number;
        self.next_number = (number + 1) % CONNECTIONS_MAX;
        let seat = Seat {
            conversation: Conversation::new(&self.bench.desk, number, link, deflate),
            member,
            opened_ns: now_ns,
            is_served: self.options.is_hold_only,
            end: End::Open,
        };
        self.seats.insert(token, seat);
        let is_running = self.phase == Phase::Running;
        self.members.connected(member, token, now_ns, is_running);
        self.send_first_messages(io, token);
        if self.options.is_hold_only {
            self.served(member, now_ns, now_ns);
        } else if self.phase != Phase::Draining {
            let stamps = Stamps {
                intended_ns: now_ns,
                sent_ns: now_ns,
            };
            self.send(io, token, stamps);
        }
        if !first_bytes.is_empty() {
            self.handle_received(io, token, &mut first_bytes, true);
        }
        self.check_adoptions();
        self.carry_on(io);
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
        if let Some(seat) = self.seats.get_mut(token)
            && let End::Leaving {
                is_answered: false, ..
            } = seat.end
        {
            self.sheet.closings_timed_out += 1;
        }
        io.reset(token);
    }

    fn on_mail(&mut self, io: &mut Io, mail: Command) {
        match mail {
            Command::Begin(window) => self.begin(io, window),
            Command::Measure(window) if self.phase == Phase::Running => {
                self.bench.desk.window = Some(window);
                self.carry_on(io);
            }
            Command::Warmth(look) => self.results.warmth(look, &mut self.bench.desk.sheet),
            Command::Pulse(second) => self.results.pulse(second, &mut self.bench.desk.sheet),
            Command::Stop => {
                let now_ns = io.read_clock_ns();
                if let Some(window) = &mut self.bench.desk.window {
                    window.until_ns = window.until_ns.min(now_ns);
                }
                self.drain(io);
            }
            Command::Measure(_) | Command::Prepare | Command::Account => {}
        }
    }

    fn on_turn(&mut self, io: &mut Io) {
        self.gauges.show_core(io.counters());
        let tally = &self.bench.desk.sheet.tally;
        self.gauges
            .show(tally.sent, tally.received, u64::from(self.members.held()));
    }

    fn on_closed(&mut self, io: &mut Io, token: Token, cause: Cause) {
        let Some(seat) = self.seats.remove(token) else {
            return;
        };
        if self.phase == Phase::Closing {
            self.carry_on(io);
        } else {
            self.ended(io, seat, cause);
        }
    }
}
