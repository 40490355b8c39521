//! Fan-out on one core: the reactor application that drives this thread's subscribers and
//! publishers.
//!
//! Owns the phases of a run and the moment at which every message is stamped, as `crate::echo::worker`
//! does for echoes: a message when it is written for the flush of its turn, a copy when the
//! completion that carries it is handled.

use std::sync::Arc;

use fanwire_protocol::{Connection, Workspace, WorkspaceLimits};
use fanwire_reactor::{Application, Cause, Io, Token};

use crate::command::Command;
use crate::config::Config;
use crate::connect::ending::{explain, give_up};
use crate::connect::link::{Heard, LinkState, ReadMemory, WriteMemory};
use crate::connect::opening::{Adoptions, Opens, Upgraded};
use crate::echo::heartbeat::{Heartbeat, Rounds};
use crate::fanout::books::Books;
use crate::fanout::desk::Desk;
use crate::fanout::dialect::nats;
use crate::fanout::layout::{Class, Layout};
use crate::fanout::options::{Dialect, Options};
use crate::fanout::publish::publisher_connections;
use crate::fanout::seat::{Ears, Role, Seat, kind_of_end};
use crate::fanout::sheet::TENTHS;
use crate::fanout::throttle::Throttle;
use crate::fanout::{foreign, hear};
use crate::measure::gauges::{FanoutShown, Gauges};
use crate::measure::series::Results;
use crate::measure::tally::Sheet;
use crate::pace::plan::{Window, share};
use crate::pace::rate::Curve;
use crate::table::Table;

/// Which part of the run this is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Phase {
    /// Connections are being opened.
    Opening,
    /// Subscriptions are being confirmed.
    Preparing,
    /// Load.
    Running,
    /// The last copies are awaited.
    Draining,
    /// Everything is counted; closing handshakes.
    Closing,
}

/// One subscriber, connected or not.
pub(super) struct Subscriber {
    pub(super) books: Books,
    pub(super) token: Option<Token>,
    pub(super) throttle: Option<Throttle>,
    /// Away on purpose, until it comes back.
    pub(super) is_away: bool,
}

/// The application of one core.
pub struct FanoutWorker {
    pub(super) config: Arc<Config>,
    pub(super) options: Arc<Options>,
    pub(super) thread: usize,
    pub(super) desk: Desk,
    pub(super) workspace: Workspace,
    pub(super) seats: Table<Seat>,
    /// This thread's subscribers; the first has number `first` in the whole run.
    pub(super) subscribers: Vec<Subscriber>,
    pub(super) first: u32,
    /// Publisher connections of the whole run; `None` where they are other threads' or gone.
    pub(super) publishers: Vec<Option<Token>>,
    /// Next message of the schedule.
    pub(super) next: u64,
    pub(super) is_publishing: bool,
    pub(super) phase: Phase,
    /// Stalled readers: when they go on.
    pub(super) stall_until_ns: Option<u64>,
    pub(super) has_stalled: bool,
    /// Pings, while there is load.
    rounds: Option<Rounds>,
    /// Subscribers that have connected, those that come back left out.
    joined: u64,
    /// When the last subscriber asked for what it wants.
    pub(super) introduced_ns: u64,
    scratch: Vec<u8>,
    reading: ReadMemory,
    pub(super) writing: WriteMemory,
    answers: hear::Answers,
    pub(super) gauges: Arc<Gauges>,
    pub(super) results: Results,
    adoptions: Adoptions,
}

impl FanoutWorker {
    /// The application of thread `thread` (0-based).
    pub fn new(
        config: Arc<Config>,
        options: &Arc<Options>,
        layout: &Arc<Layout>,
        thread: usize,
        gauges: Arc<Gauges>,
        results: Results,
    ) -> FanoutWorker {
        let (count, first) = share(config.connections, thread, config.threads);
        let (connections, own) = publisher_connections(options, layout, thread, config.threads);
        let mut desk = Desk::new(&config, options, layout, thread);
        let subscribers = (first..first + count)
            .map(|number| {
                let books = Books::new(layout, number);
                desk.fan.class_mut(books.class).subscribers += 1;
                let throttle = match (books.class, options.slow) {
                    (Class::Slow, Some(slow)) => Some(Throttle::new(slow.bytes_per_second, 0)),
                    _ => None,
                };
                Subscriber {
                    books,
                    token: None,
                    throttle,
                    is_away: false,
                }
            })
            .collect();
        FanoutWorker {
            desk,
            workspace: Workspace::new(WorkspaceLimits::default()),
            seats: Table::default(),
            subscribers,
            first,
            publishers: vec![None; connections as usize],
            next: 0,
            is_publishing: !own.is_empty(),
            phase: Phase::Opening,
            stall_until_ns: None,
            has_stalled: false,
            rounds: None,
            joined: 0,
            introduced_ns: 0,
            scratch: Vec::new(),
            reading: ReadMemory::default(),
            writing: WriteMemory::default(),
            answers: Vec::new(),
            gauges,
            results,
            adoptions: Adoptions::default(),
            options: Arc::clone(options),
            config,
            thread,
        }
    }

    /// Subscriptions, and publishers that have to be confirmed, that are connected but not ready.
    pub(super) fn awaited(&mut self) -> u64 {
        let mut awaited = 0;
        for subscriber in self.subscribers.iter().filter(|one| one.token.is_some()) {
            let lanes = subscriber.books.lanes();
            awaited += lanes.iter().filter(|lane| !lane.is_ready).count() as u64;
        }
        if self.options.dialect == Dialect::Nats {
            for (_, seat) in self.seats.iter_mut() {
                let is_waiting = matches!(seat.role, Role::Publisher(_)) && !seat.is_confirmed;
                awaited += u64::from(is_waiting);
            }
        }
        awaited
    }

    fn begin(&mut self, io: &mut Io, window: Window) {
        if !matches!(self.phase, Phase::Opening | Phase::Preparing) {
            return;
        }
        self.phase = Phase::Running;
        self.desk.fan.unconfirmed = self.awaited();
        // Readers only have no pace; they are told one that they do not use.
        let curve = self.config.curve().unwrap_or(Curve::constant(1.0));
        self.desk.begin(window, curve);
        let places = self.subscribers.len() + self.publishers.len();
        self.rounds = self
            .config
            .ping_interval_ns
            .and_then(|interval_ns| Rounds::new(interval_ns, window.start_ns, places));
        self.skip_foreign();
        self.set_next_alarm(io);
    }

    fn keep_running(&mut self, io: &mut Io) {
        let Some(window) = self.desk.window else {
            return;
        };
        let now_ns = io.read_clock_ns();
        self.stall_when_due(io, window, now_ns);
        if self.phase == Phase::Running {
            self.publish_due(io);
            self.send_pings(io, now_ns.min(window.until_ns.saturating_sub(1)));
            if now_ns >= window.until_ns {
                self.drain(io);
            }
        }
        self.set_next_alarm(io);
    }

    fn set_next_alarm(&mut self, io: &mut Io) {
        let Some(window) = self.desk.window else {
            return;
        };
        let mut next_ns = self.stall_until_ns.unwrap_or(u64::MAX);
        if self.phase == Phase::Running {
            next_ns = next_ns.min(self.next_due_ns()).min(window.until_ns);
            if let Some(rounds) = &self.rounds {
                next_ns = next_ns.min(rounds.wake_ns(io.read_clock_ns()));
            }
            if self.options.stall.is_some() && !self.has_stalled {
                next_ns = next_ns.min(window.measure_from_ns);
            }
        }
        if next_ns != u64::MAX && matches!(self.phase, Phase::Running | Phase::Draining) {
            io.set_alarm(next_ns);
        }
    }

    /// Subscribers first, then publishers. One that does not read on purpose could not see the pong.
    fn send_pings(&mut self, io: &mut Io, now_ns: u64) {
        let FanoutWorker {
            seats,
            desk,
            writing,
            rounds,
            subscribers,
            publishers,
            ..
        } = self;
        let Some(rounds) = rounds else { return };
        while let Some(place) = rounds.take_due(now_ns) {
            let token = match subscribers.get(place) {
                Some(one) if matches!(one.books.class, Class::Slow | Class::Stalled) => None,
                Some(one) => one.token,
                None => {
                    let place = place.saturating_sub(subscribers.len());
                    publishers.get(place).copied().flatten()
                }
            };
            let Some(token) = token else { continue };
            let Some(seat) = seats.get_mut(token) else {
                continue;
            };
            let (key, sent_ns) = (desk.masking_key(), io.read_clock_ns());
            let tally = &mut desk.sheet.tally;
            let Seat {
                connection,
                link,
                heartbeat,
                ..
            } = seat;
            io.send(token, |out| {
                link.write(out, writing, |out| {
                    heartbeat.beat(&mut connection.sender, key, sent_ns, tally, out);
                });
            });
        }
    }

    /// Nothing more is published. The main thread knows when nothing more is to be expected.
    fn drain(&mut self, io: &mut Io) {
        self.phase = Phase::Draining;
        io.set_alarm(0);
        self.show();
    }

    fn show(&self) {
        self.gauges.show(
            self.desk.fan.sent,
            self.desk.delivered(),
            self.seats.count() as u64,
        );
        self.gauges.show_fanout(FanoutShown {
            sent: self.desk.fan.sent,
            owed: self.desk.owed,
            settled: self.desk.settled(),
            unanswered: self.desk.unanswered(),
            draining: u64::from(matches!(self.phase, Phase::Draining | Phase::Closing)),
            ..FanoutShown::default()
        });
    }

    /// Takes bytes from the socket, or such as were decrypted already.
    fn handle_received(&mut self, io: &mut Io, token: Token, bytes: &mut [u8], is_plain: bool) {
        let now_ns = io.read_clock_ns();
        let length = bytes.len();
        let Some(seat) = self.seats.get_mut(token) else {
            return;
        };
        if seat.is_explained {
            return;
        }
        let heard = if is_plain {
            Heard::plain(bytes)
        } else {
            seat.link.read(bytes, &mut self.reading)
        };
        if !heard.replies.is_empty() {
            io.send(token, |out| out.extend_from_slice(heard.replies));
        }
        let scratch = &mut self.scratch;
        scratch.clear();
        let ears = Ears {
            desk: &mut self.desk,
            workspace: &mut self.workspace,
            subscribers: &mut self.subscribers,
            answers: &mut self.answers,
            scratch,
        };
        let end = seat.receive(ears, heard.plain, now_ns);
        if !self.scratch.is_empty() {
            let (scratch, writing, link) = (&self.scratch, &mut self.writing, &mut seat.link);
            io.send(token, |out| {
                link.write(out, writing, |out| out.extend_from_slice(scratch));
            });
        }
        let state = heard.state;
        self.send_answers(io, token);
        match (end, state) {
            (Some((kind, detail)), _) => self.end_connection(io, token, kind, detail),
            (None, LinkState::Failed(sentence)) => {
                self.end_connection(io, token, "tls_failed", sentence);
            }
            // The server ends the stream without a close frame: `on_closed` explains that.
            (None, LinkState::Finished) => io.terminate(token),
            (None, LinkState::Open) => self.hold_back(io, token, length, now_ns),
        }
    }

    fn send_answers(&mut self, io: &mut Io, token: Token) {
        let FanoutWorker {
            seats,
            desk,
            workspace,
            answers,
            writing,
            ..
        } = self;
        let Some(seat) = seats.get_mut(token) else {
            answers.clear();
            return;
        };
        for (kind, message) in answers.drain(..) {
            let key = Some(desk.masking_key());
            let Seat {
                connection, link, ..
            } = seat;
            // Refused only after our close frame; then nothing more is to be said.
            io.send(token, |out| {
                link.write(out, writing, |out| {
                    let sender = &mut connection.sender;
                    let _ = sender.message(kind, &message, key, workspace, out);
                });
            });
        }
    }
}

impl Opens for FanoutWorker {
    fn sheet_mut(&mut self) -> &mut Sheet {
        &mut self.desk.sheet
    }

    fn nonce(&mut self) -> [u8; 16] {
        self.desk.nonce()
    }

    fn opening_ended(&mut self, opened: usize, done: Box<dyn FnOnce()>) {
        self.adoptions.expect(opened, done);
    }
}

impl Application for FanoutWorker {
    type Mail = Command;
    type Adopted = Upgraded;

    fn on_adopted(&mut self, io: &mut Io, token: Token, adopted: Upgraded) {
        let Upgraded {
            number,
            link,
            deflate,
            mut first_bytes,
        } = adopted;
        let role = match number.checked_sub(self.config.connections) {
            Some(place) => {
                if let Some(publisher) = self.publishers.get_mut(place as usize) {
                    *publisher = Some(token);
                }
                Role::Publisher(place)
            }
            None => Role::Subscriber(number - self.first),
        };
        let seat = Seat {
            link,
            heartbeat: Heartbeat::default(),
            connection: Connection::new(Arc::clone(&self.desk.settings), deflate),
            role,
            is_explained: false,
            is_confirmed: false,
            session: nats::Session::default(),
        };
        self.seats.insert(token, seat);
        let count = self.subscribers.len() as u64;
        if let Role::Subscriber(index) = role
            && let Some(subscriber) = self.subscribers.get_mut(index as usize)
        {
            subscriber.token = Some(token);
            if std::mem::take(&mut subscriber.is_away) {
                self.desk.fan.comings.returned += 1;
            } else {
                let tenth = self.joined * TENTHS as u64 / count.max(1);
                // Nobody joins twice, so it is 9 at most.
                subscriber.books.tenth = tenth.min(TENTHS as u64 - 1) as u8;
                self.joined += 1;
            }
            hear::introduce(&mut self.desk, &subscriber.books, number, &mut self.answers);
            self.introduced_ns = io.read_clock_ns();
            self.send_answers(io, token);
        }
        if let Role::Publisher(place) = role
            && self.options.dialect == Dialect::Custom
        {
            foreign::introduce_publisher(&mut self.desk, place, number, &mut self.answers);
            self.send_answers(io, token);
        }
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
            Phase::Preparing => self.prepare(io),
            Phase::Running | Phase::Draining => self.keep_running(io),
            Phase::Closing => give_up(io),
        }
    }

    fn on_timer(&mut self, io: &mut Io, token: Token) {
        match self.seats.get_mut(token) {
            Some(seat) if !seat.is_explained => io.resume_receive(token),
            _ => io.reset(token),
        }
    }

    fn on_mail(&mut self, io: &mut Io, mail: Command) {
        match mail {
            Command::Prepare if self.phase == Phase::Opening => {
                self.phase = Phase::Preparing;
                self.prepare(io);
            }
            Command::Prepare => {}
            Command::Pulse(second) => self.results.pulse(second, &mut self.desk.sheet),
            Command::Warmth(look) => self.results.warmth(look, &mut self.desk.sheet),
            Command::Begin(window) => self.begin(io, window),
            Command::Measure(window) if self.phase == Phase::Running => {
                self.desk.measure(window);
                self.set_next_alarm(io);
            }
            Command::Measure(_) => {}
            Command::Stop => {
                if let Some(window) = &mut self.desk.window {
                    window.until_ns = window.until_ns.min(io.read_clock_ns());
                }
                if self.phase != Phase::Closing {
                    self.drain(io);
                }
            }
            Command::Account => self.account(io),
        }
    }

    fn on_turn(&mut self, io: &mut Io) {
        self.gauges.show_core(io.counters());
        self.show();
    }

    fn on_closed(&mut self, io: &mut Io, token: Token, cause: Cause) {
        let Some(mut seat) = self.seats.remove(token) else {
            return;
        };
        let tally = &mut self.desk.sheet.tally;
        // One that leaves on purpose does not wait for its pong.
        let patience_ns = if seat.is_explained { u64::MAX } else { 0 };
        seat.heartbeat.account(u64::MAX, patience_ns, tally);
        let class = match seat.role {
            Role::Publisher(place) => {
                if let Some(publisher) = self.publishers.get_mut(place as usize) {
                    *publisher = None;
                }
                Class::Healthy
            }
            Role::Subscriber(index) => match self.subscribers.get_mut(index as usize) {
                Some(subscriber) => {
                    subscriber.token = None;
                    subscriber.books.class
                }
                None => Class::Healthy,
            },
        };
        if self.phase == Phase::Closing {
            self.stop_when_empty(io);
            return;
        }
        if !seat.is_explained {
            self.gauges.count_failure();
            let (kind, detail) = explain(cause, &seat.link);
            self.desk
                .sheet
                .tally
                .fail(&kind_of_end(kind, class), || detail);
        }
    }
}
