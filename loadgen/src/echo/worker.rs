//! Echo and idle on one core: the reactor application that drives this thread's connections.
//!
//! Owns the phases of a run (opening, running, draining, closing) and the moment at which every
//! message is stamped. What is sent when comes from `plan`, what a reply means from `client`.
//!
//! Stamps: a message is stamped when it is written for the flush of its turn, a reply when the
//! completion that carries it is handled, one clock read per completion. Both err on the side of
//! the longer latency: what the generator itself takes between the two is never hidden.

use std::io;
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use fanwire_protocol::{DeflateParameters, Workspace, WorkspaceLimits};
use fanwire_reactor::establish::Stream;
use fanwire_reactor::host::monotonic_ns;
use fanwire_reactor::{Application, Cause, Io, Token};

use crate::config::{Config, Mode};
use crate::connect::establish::Opened;
use crate::connect::link::{Heard, Link, LinkState, ReadMemory, WriteMemory};
use crate::connect::opening::Opens;
use crate::echo::client::{Client, Desk, Standing};
use crate::echo::heartbeat::Rounds;
use crate::measure::gauges::Gauges;
use crate::measure::series::Results;
use crate::measure::tally::Sheet;
use crate::message::messages::{Messages, Recipe};
use crate::message::outstanding::Stamps;
use crate::pace::catchup::{CatchUp, Gate, Turn};
use crate::pace::plan::{Arrival, Schedule, Window, permutation, share_of_messages};
use crate::table::Table;

/// What the main thread tells a core.
#[derive(Clone, Copy, Debug)]
pub enum Command {
    /// All threads have opened what they could: the load begins.
    Begin(Window),
    /// Fan-out: all connections are open; subscriptions are to be confirmed.
    Prepare,
    /// The run ends now.
    Stop,
    /// Fan-out: nothing more is to be expected; the sheet is wanted.
    Account,
    /// A second is over: what was timed in it is wanted. The number of the second, from 0.
    Pulse(u32),
}

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

/// Messages sent before arrivals get their turn again, when the schedule is behind.
const SENDS_PER_ALARM: usize = 512;
/// How long servers have for the closing handshake at the end; nothing is measured then.
const CLOSING_NS: u64 = 1_000_000_000;
/// A closed loop that ends by the number of its messages ends too when nothing was answered for this
/// long: nobody else would end it.
const QUIET_NS: u64 = 10_000_000_000;
/// How long a server that has closed a connection has to end it.
const SERVER_CLOSE_MS: u64 = 1_000;

/// Which part of the run this is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
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
struct Seat {
    client: Client,
    link: Link,
    /// Place in the order of sending.
    position: u32,
    /// Why it ends has been counted.
    is_explained: bool,
}

/// The application of one core.
pub struct Worker {
    config: Arc<Config>,
    thread: usize,
    desk: Desk,
    workspace: Workspace,
    seats: Table<Seat>,
    /// Tokens in order of opening; `None` where the connection has ended.
    positions: Vec<Option<Token>>,
    /// Open loop: the order in which connections take their turn.
    order: Vec<u32>,
    schedule: Option<Schedule>,
    /// Pings, while there is load.
    rounds: Option<Rounds>,
    /// What is done with overdue messages.
    gate: Gate,
    /// Nothing is sent before this time, although something may be due.
    resume_ns: u64,
    /// Messages that this thread may still send.
    messages_left: u64,
    /// When the last message was sent or answered.
    last_ns: u64,
    /// Closed loop: the window is known and has not begun.
    awaits_start: bool,
    phase: Phase,
    /// Pongs and close frames of the call in progress.
    scratch: Vec<u8>,
    reading: ReadMemory,
    writing: WriteMemory,
    gauges: Arc<Gauges>,
    /// Takes the sheet at the end.
    results: Results,
    /// Told when every opened connection has arrived here.
    awaiting_adoptions: Option<(usize, Box<dyn FnOnce()>)>,
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
            desk: desk_of(&config, thread),
            gate: Gate::new(config.pace.catch_up),
            resume_ns: 0,
            messages_left: messages_max.map_or(u64::MAX, |count| {
                share_of_messages(count, thread, config.threads)
            }),
            last_ns: 0,
            workspace: Workspace::new(WorkspaceLimits::default()),
            config,
            thread,
            seats: Table::default(),
            positions: Vec::new(),
            order: Vec::new(),
            schedule: None,
            rounds: None,
            awaits_start: false,
            phase: Phase::Opening,
            scratch: Vec::new(),
            reading: ReadMemory::default(),
            writing: WriteMemory::default(),
            gauges,
            results,
            awaiting_adoptions: None,
        }
    }

    fn check_adoptions(&mut self) {
        let adopted = self.positions.len();
        if let Some((_, done)) = self
            .awaiting_adoptions
            .take_if(|(opened, _)| *opened <= adopted)
        {
            done();
        }
    }

    fn begin(&mut self, io: &mut Io, window: Window) {
        if self.phase != Phase::Opening {
            return;
        }
        self.phase = Phase::Running;
        self.desk.window = Some(window);
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

    /// Closed loop: the first messages of every connection.
    fn kick_off(&mut self, io: &mut Io) {
        self.awaits_start = false;
        let in_flight = self.config.in_flight;
        for position in 0..self.positions.len() {
            let Some(token) = self.positions[position] else {
                continue;
            };
            let in_flight = self.take_messages(in_flight);
            let now_ns = io.read_clock_ns();
            let stamps = Stamps {
                intended_ns: now_ns,
                sent_ns: now_ns,
            };
            self.send(io, token, in_flight, stamps);
        }
    }

    /// So many messages of those that are left to send.
    fn take_messages(&mut self, count: u32) -> u32 {
        let taken = u64::from(count).min(self.messages_left);
        self.messages_left -= taken;
        // Not more than what was asked for.
        taken as u32
    }

    /// Sends `count` messages with the same stamps.
    fn send(&mut self, io: &mut Io, token: Token, count: u32, stamps: Stamps) {
        self.last_ns = stamps.sent_ns;
        let Worker {
            seats,
            desk,
            workspace,
            writing,
            ..
        } = self;
        let Some(seat) = seats.get_mut(token) else {
            desk.sheet.tally.unsent += u64::from(count);
            return;
        };
        let Seat { client, link, .. } = seat;
        let written = io.send(token, |out| {
            link.write(out, writing, |out| {
                for _ in 0..count {
                    client.send_message(desk, workspace, stamps, out);
                }
            });
        });
        if written.is_none() {
            desk.sheet.tally.unsent += u64::from(count);
        }
    }

    /// Sends what is to be sent before any load.
    fn send_first_messages(&mut self, io: &mut Io, token: Token) {
        if self.config.message.first_messages.is_empty() {
            return;
        }
        let now_ns = io.read_clock_ns();
        let Worker {
            seats,
            desk,
            workspace,
            writing,
            ..
        } = self;
        let Some(Seat { client, link, .. }) = seats.get_mut(token) else {
            return;
        };
        // Nothing is lost silently: a connection that is gone by now is counted where it ends.
        let _ = io.send(token, |out| {
            link.write(out, writing, |out| {
                client.greet(desk, workspace, now_ns, out)
            });
        });
    }

    /// Sends what the schedule wants by now.
    fn send_due(&mut self, io: &mut Io) {
        let Some(window) = self.desk.window else {
            return;
        };
        for _ in 0..SENDS_PER_ALARM {
            let Some(schedule) = &mut self.schedule else {
                return;
            };
            let (due_ns, number) = (schedule.next_due_ns(), schedule.next_number());
            let now_ns = io.read_clock_ns();
            if due_ns > now_ns || due_ns >= window.until_ns {
                return;
            }
            let turn = self
                .gate
                .ask(due_ns, now_ns, || schedule.per_second_at(now_ns));
            if let Turn::WaitUntil(until_ns) = turn {
                self.resume_ns = until_ns;
                return;
            }
            schedule.advance();
            self.desk.sheet.tally.due_measured += u64::from(window.measures(due_ns));
            if turn == Turn::Drop {
                self.desk.sheet.tally.unsent += 1;
                self.desk.sheet.tally.dropped += 1;
                continue;
            }
            let place = (number % self.order.len().max(1) as u64) as usize;
            let position = self.order.get(place).map(|position| *position as usize);
            let token =
                position.and_then(|position| self.positions.get(position).copied().flatten());
            let Some(token) = token else {
                self.desk.sheet.tally.unsent += 1;
                continue;
            };
            if window.measures(due_ns) {
                self.desk.sheet.record_late(now_ns - due_ns);
            }
            self.send(
                io,
                token,
                1,
                Stamps {
                    intended_ns: due_ns,
                    sent_ns: now_ns,
                },
            );
        }
    }

    fn keep_running(&mut self, io: &mut Io) {
        let Some(window) = self.desk.window else {
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

    fn send_pings(&mut self, io: &mut Io, now_ns: u64) {
        let Worker {
            seats,
            desk,
            writing,
            rounds,
            positions,
            ..
        } = self;
        let Some(rounds) = rounds else { return };
        while let Some(place) = rounds.take_due(now_ns) {
            let token = positions.get(place).copied().flatten();
            let Some(token) = token else { continue };
            let Some(Seat { client, link, .. }) = seats.get_mut(token) else {
                continue;
            };
            let sent_ns = io.read_clock_ns();
            io.send(token, |out| {
                link.write(out, writing, |out| client.ping(desk, sent_ns, out));
            });
        }
    }

    fn set_next_alarm(&mut self, io: &mut Io) {
        let Some(window) = self.desk.window else {
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
        if let (Some(mut schedule), Some(window)) = (self.schedule.take(), self.desk.window) {
            let left = schedule.skip_until(window.until_ns);
            let tally = &mut self.desk.sheet.tally;
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
        let tally = &self.desk.sheet.tally;
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
            self.desk.sheet.ended_ns = Some(self.last_ns);
        }
        for (token, seat) in self.seats.iter_mut() {
            let tally = &mut self.desk.sheet.tally;
            seat.client.account_ping(now_ns, patience_ns, tally);
            if io.is_open(token) && !seat.is_explained {
                tally.alive += 1;
                seat.client.account_open(tally);
            } else {
                seat.client.account_ended(tally);
            }
        }
        self.results.hand_in(std::mem::take(&mut self.desk.sheet));
        let Worker {
            seats,
            desk,
            writing,
            ..
        } = self;
        for (token, seat) in seats.iter_mut() {
            seat.is_explained = true;
            let Seat { client, link, .. } = seat;
            io.send(token, |out| {
                link.write(out, writing, |out| client.close(desk, out));
            });
        }
        io.set_alarm(0);
        io.set_alarm(io.read_clock_ns() + CLOSING_NS);
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
                if let Some(window) = &mut self.desk.window {
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
        let Worker {
            seats,
            desk,
            workspace,
            scratch,
            reading,
            writing,
            gauges,
            ..
        } = self;
        let Some(seat) = seats.get_mut(token) else {
            return;
        };
        scratch.clear();
        let heard = if is_plain {
            Heard::plain(bytes)
        } else {
            seat.link.read(bytes, reading)
        };
        if !heard.replies.is_empty() {
            io.send(token, |out| out.extend_from_slice(heard.replies));
        }
        let received = seat
            .client
            .receive(desk, workspace, heard.plain, now_ns, scratch);
        if !scratch.is_empty() {
            let link = &mut seat.link;
            io.send(token, |out| {
                link.write(out, writing, |out| out.extend_from_slice(scratch));
            });
        }
        if received.standing != Standing::Open || heard.state != LinkState::Open {
            let link = &mut seat.link;
            io.send(token, |out| link.finish(out));
        }
        match received.standing {
            Standing::Open => {}
            Standing::Closed => io.set_timer(token, SERVER_CLOSE_MS),
            Standing::ClosedByServer => {
                if !std::mem::replace(&mut seat.is_explained, true) {
                    gauges.count_failure();
                    desk.sheet.tally.fail("closed_by_server", || {
                        "the server sent a close frame that nobody had asked for".into()
                    });
                }
                io.finish(token);
                io.set_timer(token, SERVER_CLOSE_MS);
            }
            Standing::Failed(error) => {
                if !std::mem::replace(&mut seat.is_explained, true) {
                    gauges.count_failure();
                    desk.sheet.tally.fail("protocol_error", || {
                        format!("the server broke the protocol: {error}")
                    });
                }
                io.terminate(token);
            }
        }
        if heard.state != LinkState::Open {
            let state = heard.state;
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

    /// TLS has failed or was ended by the server, which is an end of the connection.
    fn end_link(&mut self, io: &mut Io, token: Token, state: LinkState) {
        if let LinkState::Failed(sentence) = state
            && let Some(seat) = self.seats.get_mut(token)
            && !std::mem::replace(&mut seat.is_explained, true)
        {
            self.gauges.count_failure();
            self.desk.sheet.tally.fail("tls_failed", || sentence);
        }
        io.terminate(token);
    }
}

/// Codec, limits and random numbers of one thread.
pub fn desk_of(config: &Config, thread: usize) -> Desk {
    // Any odd constant keeps the threads' masking keys apart.
    let seed = config
        .seed
        .wrapping_add((thread as u64 + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15));
    // A clock before 1970 shows itself as Unix time 0.
    let unix_ns = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .map_or(0, |elapsed| elapsed.as_nanos() as u64);
    let unix_offset_ns = unix_ns.saturating_sub(monotonic_ns());
    let messages = Messages::new(Recipe::of(config), !seed, unix_offset_ns);
    let message = &config.message;
    let mut desk = Desk::new(messages, message.masking, config.is_open_loop(), seed);
    desk.first_messages = message.first_messages.as_slice().into();
    desk.fragment_size_bytes = message.fragment_size_bytes;
    desk
}

impl Opens for Worker {
    fn sheet_mut(&mut self) -> &mut Sheet {
        &mut self.desk.sheet
    }

    fn nonce(&mut self) -> [u8; 16] {
        self.desk.nonce()
    }

    fn opening_ended(&mut self, opened: usize, done: Box<dyn FnOnce()>) {
        self.awaiting_adoptions = Some((opened, done));
        self.check_adoptions();
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
            link,
            client: Client::new(&self.desk, number, deflate),
            position: self.positions.len() as u32,
            is_explained: false,
        };
        if self.config.deflate.is_some() {
            self.desk.sheet.tally.count_deflate(deflate.as_ref());
        }
        self.positions.push(Some(token));
        self.seats.insert(token, seat);
        self.send_first_messages(io, token);
        if !first_bytes.is_empty() {
            self.handle_received(io, token, &mut first_bytes, true);
        }
        self.check_adoptions();
    }

    fn on_received(&mut self, io: &mut Io, token: Token, bytes: &mut [u8]) {
        self.handle_received(io, token, bytes, false);
    }

    fn on_alarm(&mut self, io: &mut Io) {
        match self.phase {
            Phase::Opening => {}
            Phase::Running => self.keep_running(io),
            Phase::Draining => self.account(io),
            Phase::Closing => {
                // Servers that do not take part in the closing handshake are not waited for.
                for token in io.tokens() {
                    io.reset(token);
                }
                io.stop();
            }
        }
    }

    fn on_timer(&mut self, io: &mut Io, token: Token) {
        io.reset(token);
    }

    fn on_mail(&mut self, io: &mut Io, mail: Command) {
        match mail {
            Command::Begin(window) => self.begin(io, window),
            Command::Stop => self.end(io),
            Command::Pulse(second) => self.results.pulse(second, &mut self.desk.sheet),
            Command::Prepare | Command::Account => {}
        }
    }

    fn on_turn(&mut self, _io: &mut Io) {
        let tally = &self.desk.sheet.tally;
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
        let tally = &mut self.desk.sheet.tally;
        seat.client.account_ended(tally);
        seat.client.account_ping(u64::MAX, 0, tally);
        if !seat.is_explained {
            self.gauges.count_failure();
            let (kind, detail) = explain(cause, &seat.link);
            tally.fail(kind, || detail);
        }
        // Nothing is left to measure with: a run without connections ends.
        if self.phase == Phase::Running && self.seats.count() == 0 {
            self.end(io);
        }
        self.finish_when_drained(io);
    }
}

/// Name and sentence of a connection's end that no frame announced.
pub fn explain(cause: Cause, link: &Link) -> (&'static str, String) {
    let remark = link.remark();
    match cause {
        Cause::Local => (
            "ended_without_close",
            format!(
                "the server ended the connection without a close frame (status code 1006){remark}"
            ),
        ),
        Cause::Error(errno) => (
            "connection_broken",
            format!("{}{remark}", io::Error::from_raw_os_error(errno)),
        ),
        Cause::Backlog => (
            "backlog",
            "the server did not read: the limit of unsent bytes was reached".into(),
        ),
        Cause::Stopped => ("stopped", "the run was stopped".into()),
    }
}
