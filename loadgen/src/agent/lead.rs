//! The coordinator: divides a load among agents, lets them begin together and adds up their reports.
//!
//! Owns the order of things and the deadlines. Makes no load itself. A run in which one agent fails
//! has no report at all: a sum that lacks a part looks like a whole.

use std::io::{self, IsTerminal};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use crate::agent::Agents;
use crate::agent::clock::{Exchanges, unix_ns};
use crate::agent::order::Order;
use crate::agent::share::{divide, phase_ns};
use crate::agent::sum::Made;
use crate::agent::team::{Event, Team};
use crate::agent::wire::{FromAgent, FromLead, Progress};
use crate::commands::{Failure, INTERRUPTED, RUN_ERROR};
use crate::config::{Config, Mode};
use crate::live;
use crate::live::display::Display;
use crate::measure::model::Report;
use crate::quantity::format_count;
use crate::report::json;

/// How soon signals and deadlines are noticed.
const LOOK: Duration = Duration::from_millis(20);
/// What an agent may take for its report beyond the run and its drain.
const REPORT_MAX: Duration = Duration::from_secs(60);
/// The same after an interruption: somebody waits for it.
const PARTIAL_REPORT_MAX: Duration = Duration::from_secs(15);
/// Longest wait for agents to be free again: longer than an agent gives a run to end.
const RELEASE_MAX: Duration = Duration::from_secs(7);
/// Lines that may wait to be written.
const LINES_WAITING_MAX: usize = 256;
/// Between two lines about the load, on a terminal and elsewhere.
const LINE_EVERY: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(5));

/// How far an agent is, in order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Stage {
    /// It is not known whether it is there.
    Connecting,
    /// It waits for its share.
    Ready,
    /// It opens connections.
    Opening,
    /// It waits for the others.
    Opened,
    /// It makes load.
    Running,
    /// It has reported.
    Done,
}

/// An agent.
#[derive(Debug)]
struct Member {
    /// For people: its number and where it is.
    name: String,
    stage: Stage,
    /// Of its share.
    connections: u32,
    progress: Progress,
    /// How much later than the others it is to begin.
    phase: Duration,
    /// When it said that it begins.
    begun: Option<Instant>,
    report: Option<Report>,
    is_gone: bool,
    /// When it was asked for the time, by our clock and since 1970.
    asked: (Instant, u64),
    clock: Exchanges,
}

/// A load while it is made.
struct Lead<'a> {
    config: &'a Config,
    order: Order,
    team: Team,
    members: Vec<Member>,
    is_interrupted: &'a AtomicBool,
    /// When the load was let go.
    went: Option<Instant>,
    /// When the agents were told to end early.
    stopped: Option<Instant>,
    /// Writes lines for whoever watches; a terminal that stands still must not hold up the agents.
    display: Option<Display<String>>,
    line: Line,
}

/// The last line about the load.
struct Line {
    every: Duration,
    at: Instant,
    received: u64,
}

/// Has the agents make the load of `config`, which is the command line's, and adds up their reports.
///
/// # Errors
/// What does not go with agents, or which of them failed and why.
pub fn measure(
    config: &Config,
    agents: &Agents,
    is_interrupted: &AtomicBool,
) -> Result<Report, Failure> {
    let order = Order::of_command_line(std::env::args_os()).map_err(Failure::usage)?;
    let of = agents.addresses.len();
    let mut members = Vec::with_capacity(of);
    for (index, address) in agents.addresses.iter().enumerate() {
        let part = divide(config, index, of).map_err(Failure::usage)?;
        members.push(Member {
            name: format!("agent {} ({address})", index + 1),
            stage: Stage::Connecting,
            connections: part.connections,
            progress: Progress::default(),
            phase: Duration::from_nanos(phase_ns(config, index, of)),
            begun: None,
            report: None,
            is_gone: false,
            asked: (Instant::now(), 0),
            clock: Exchanges::default(),
        });
    }
    let mut lead = Lead {
        config,
        order,
        team: Team::gather(agents).map_err(Failure::run)?,
        members,
        is_interrupted,
        went: None,
        stopped: None,
        display: match config.outputs.is_quiet {
            true => None,
            false => live::plain_lines(LINES_WAITING_MAX).ok(),
        },
        line: Line {
            every: match io::stderr().is_terminal() {
                true => LINE_EVERY.0,
                false => LINE_EVERY.1,
            },
            at: Instant::now(),
            received: 0,
        },
    };
    let ended = lead.run();
    if ended.is_err() {
        lead.team.hang_up();
        lead.await_release();
    }
    if let Some(display) = &mut lead.display {
        display.end();
    }
    ended?;
    lead.await_release();
    lead.add_up(agents)
}

impl Lead<'_> {
    fn say(&self, line: &str) {
        if let Some(display) = &self.display {
            display.show(format!("{line}\n"));
        }
    }

    fn are_all(&self, stage: Stage) -> bool {
        self.members.iter().all(|member| member.stage >= stage)
    }

    fn run(&mut self) -> Result<(), Failure> {
        while !self.are_all(Stage::Done) {
            // A queue without writers has told the end of all of them before.
            if let Ok((index, event)) = self.team.events.recv_timeout(LOOK) {
                self.receive(index, event)?;
            }
            self.team.keep_alive();
            self.look_for_interruption()?;
            self.advance()?;
            self.check_deadlines()?;
            self.show_progress();
        }
        Ok(())
    }

    /// The run is over without a report.
    fn failure(&self, name: &str, reason: &str) -> Failure {
        let others = match self.members.len() {
            1 => "",
            _ if self.are_all(Stage::Opening) => "; the run was ended on the other agents, too",
            _ => "; no load was made",
        };
        Failure {
            message: format!("{name}: {reason}{others}"),
            code: match self.stopped {
                Some(_) => INTERRUPTED,
                None => RUN_ERROR,
            },
        }
    }

    fn receive(&mut self, index: usize, event: Event) -> Result<(), Failure> {
        let Some(member) = self.members.get_mut(index) else {
            return Ok(());
        };
        match event {
            Event::Connected(socket) => self.team.keep(index, socket),
            Event::Gone(reason) => {
                member.is_gone = true;
                if member.stage != Stage::Done {
                    let name = member.name.clone();
                    return Err(self.failure(&name, &reason));
                }
            }
            Event::Said(message, at) => {
                let name = member.name.clone();
                let heard = self.hear(index, message, at);
                return heard.map_err(|reason| self.failure(&name, &reason));
            }
        }
        Ok(())
    }

    /// The error is why the agent is of no use.
    fn hear(&mut self, index: usize, message: FromAgent, at: Instant) -> Result<(), String> {
        let is_stopped = self.stopped.is_some();
        let Some(member) = self.members.get_mut(index) else {
            return Ok(());
        };
        let (name, stage) = (&member.name, member.stage);
        match message {
            FromAgent::Refused { reason } => return Err(reason),
            FromAgent::Failed { message } => return Err(message),
            FromAgent::Ready {
                version,
                processors,
            } if stage == Stage::Connecting => {
                check_version(&version)?;
                let line = format!("{name}: ready, {processors} CPUs");
                member.stage = Stage::Ready;
                self.say(&line);
                self.ask_clock(index);
            }
            FromAgent::Clock { unix_ns } if stage == Stage::Ready => {
                let (asked, asked_unix_ns) = member.asked;
                let took = at.saturating_duration_since(asked);
                member.clock.take(asked_unix_ns, unix_ns, took);
                self.ask_clock(index);
            }
            FromAgent::Opened { open, failed } if stage == Stage::Opening => {
                let (open_text, failed) = (format_count(open), format_count(failed));
                let line = format!("{name}: {open_text} connections open, {failed} failed");
                member.stage = Stage::Opened;
                member.progress.open = open;
                if self.config.mode != Mode::Storm {
                    self.say(&line);
                }
            }
            FromAgent::Begun => member.begun = Some(at),
            FromAgent::Progress(progress) => member.progress = progress,
            FromAgent::Here => {}
            FromAgent::Report(text) if stage > Stage::Ready => {
                let report = json::parse(text.get().as_bytes())?;
                // One that nobody let in has nothing to wait for.
                let is_early = stage < Stage::Running && report.connections.upgraded > 0;
                if !is_stopped && (report.interrupted || is_early) {
                    return Err("its run was ended there before its time".to_owned());
                }
                (member.stage, member.report) = (Stage::Done, Some(report));
                let line = format!("{name}: done");
                self.say(&line);
            }
            FromAgent::Ready { .. }
            | FromAgent::Clock { .. }
            | FromAgent::Opened { .. }
            | FromAgent::Report(_) => {
                return Err("it said something out of turn".to_owned());
            }
        }
        Ok(())
    }

    /// Whether what is measured depends on what the agents' clocks show.
    fn needs_clocks(&self) -> bool {
        let feed = self
            .config
            .fanout
            .as_ref()
            .and_then(|fanout| fanout.feed.as_ref());
        feed.is_some_and(|feed| feed.stamp.is_some())
    }

    /// Asks once more, unless enough is known.
    fn ask_clock(&mut self, index: usize) {
        let is_needed = self.needs_clocks();
        if let Some(member) = self.members.get_mut(index)
            && is_needed
            && !member.clock.are_done()
        {
            member.asked = (Instant::now(), unix_ns());
            self.team.tell(index, &FromLead::Clock);
        }
    }

    fn look_for_interruption(&mut self) -> Result<(), Failure> {
        if self.stopped.is_some() || !self.is_interrupted.load(Ordering::Relaxed) {
            return Ok(());
        }
        self.stopped = Some(Instant::now());
        if !self.are_all(Stage::Opening) {
            return Err(Failure {
                message: "interrupted before any load was made".to_owned(),
                code: INTERRUPTED,
            });
        }
        self.say("interrupted: the agents end their runs and report what they have");
        self.team.tell_all(&FromLead::Stop);
        Ok(())
    }

    /// Goes on to what all agents are ready for.
    fn advance(&mut self) -> Result<(), Failure> {
        if self.stopped.is_some() {
            return Ok(());
        }
        let needs_clocks = self.needs_clocks();
        let is_ready = |member: &Member| {
            member.stage == Stage::Ready && (member.clock.are_done() || !needs_clocks)
        };
        if self.members.iter().all(is_ready) {
            let of = self.members.len();
            for (index, member) in self.members.iter_mut().enumerate() {
                member.stage = Stage::Opening;
                let order = Box::new(self.order.share(index, of));
                self.team.tell(index, &FromLead::Job(order));
            }
            self.say(&self.shares());
        } else if self.went.is_none() && self.are_all(Stage::Opened) {
            self.check_opened()?;
            if self.are_all(Stage::Done) {
                return Ok(());
            }
            for (index, member) in self.members.iter_mut().enumerate() {
                member.stage = Stage::Running;
                let after_ns = member.phase.as_nanos() as u64;
                self.team.tell(index, &FromLead::Go { after_ns });
            }
            self.went = Some(Instant::now());
            self.line.at = Instant::now();
            self.say("all agents are ready: the load begins");
        }
        Ok(())
    }

    fn shares(&self) -> String {
        let shares: Vec<String> = self
            .members
            .iter()
            .map(|member| format_count(u64::from(member.connections)))
            .collect();
        let shares = shares.join(" + ");
        match self.config.mode {
            Mode::Storm => format!("up to {shares} connections at once"),
            _ => format!("opening {shares} connections"),
        }
    }

    /// Nobody waits for the end of a load that one agent has no part in. When none has, their
    /// reports say why.
    fn check_opened(&self) -> Result<(), Failure> {
        let failed = self
            .members
            .iter()
            .find(|member| member.stage == Stage::Done);
        let Some(member) = failed.filter(|_| !self.are_all(Stage::Done)) else {
            return Ok(());
        };
        let examples = member
            .report
            .iter()
            .flat_map(|report| report.error_examples.values());
        let why = examples
            .map(String::as_str)
            .next()
            .unwrap_or("no reason is known");
        let reason = format!(
            "it could open none of its {} connections, while others could ({why}). See there how \
             far it comes: fanwire-loadgen doctor {}",
            format_count(u64::from(member.connections)),
            self.config.target.url
        );
        Err(self.failure(&member.name, &reason))
    }

    fn check_deadlines(&self) -> Result<(), Failure> {
        let drain = Duration::from_millis(self.config.drain_ms);
        let until = match (self.stopped, self.went) {
            (Some(stopped), _) => stopped + drain + PARTIAL_REPORT_MAX,
            (None, Some(went)) => {
                let load_ns = self
                    .config
                    .warmup
                    .longest_ns()
                    .saturating_add(self.config.measured_ns());
                went + Duration::from_nanos(load_ns) + drain + REPORT_MAX
            }
            (None, None) => return Ok(()),
        };
        if Instant::now() < until {
            return Ok(());
        }
        let late = self
            .members
            .iter()
            .find(|member| member.stage != Stage::Done);
        late.map_or(Ok(()), |member| {
            Err(self.failure(&member.name, "its report did not come in time"))
        })
    }

    fn show_progress(&mut self) {
        let passed = self.line.at.elapsed();
        let (Some(went), true) = (self.went, passed >= self.line.every) else {
            return;
        };
        let sum = |read: fn(&Progress) -> u64| -> u64 {
            self.members
                .iter()
                .map(|member| read(&member.progress))
                .sum()
        };
        let received = sum(|progress| progress.received);
        let fresh = received.saturating_sub(self.line.received);
        let mut parts = vec![format!("{:>4}s", went.elapsed().as_secs())];
        if self.config.mode != Mode::Idle {
            let per_second = fresh as f64 / passed.as_secs_f64();
            parts.push(format!("{}/s", format_count(per_second.round() as u64)));
        }
        parts.push(format!(
            "{} open",
            format_count(sum(|progress| progress.open))
        ));
        parts.push(format!(
            "errors {}",
            format_count(sum(|progress| progress.failed))
        ));
        self.say(&parts.join("  "));
        (self.line.at, self.line.received) = (Instant::now(), received);
    }

    /// Waits until the agents have closed their connections: they are free for the next run then.
    fn await_release(&mut self) {
        let deadline = Instant::now() + RELEASE_MAX;
        let is_taken = |member: &Member| member.stage >= Stage::Ready && !member.is_gone;
        while self.members.iter().any(is_taken) {
            let left = deadline.saturating_duration_since(Instant::now());
            match self.team.events.recv_timeout(left) {
                Ok((index, Event::Gone(_))) => {
                    if let Some(member) = self.members.get_mut(index) {
                        member.is_gone = true;
                    }
                }
                Ok(_) => {}
                Err(_) => return,
            }
        }
    }

    fn add_up(self, agents: &Agents) -> Result<Report, Failure> {
        let spread = self.spread();
        let clocks = self.members.iter();
        let clocks = clocks.filter_map(|member| member.clock.offset()).collect();
        let reported = self.members.into_iter();
        let shares = reported.filter_map(|member| Some((member.name, member.report?)));
        let made = Made {
            config: self.config,
            agents,
            shares: shares.collect(),
            spread,
            clocks,
        };
        made.add_up().map_err(Failure::run)
    }

    /// At most this much lies between the first and the last agent to begin: each did so after it
    /// was told to and before its answer came.
    fn spread(&self) -> Option<Duration> {
        let went = self.went?;
        let each = self.members.iter().map(|member| {
            let answered = member.begun?.saturating_duration_since(went);
            Some(answered.saturating_sub(member.phase))
        });
        let each: Option<Vec<Duration>> = each.collect();
        each?.into_iter().max()
    }
}

/// Different versions may count differently, and their sum would be neither.
fn check_version(version: &str) -> Result<(), String> {
    let mine = env!("CARGO_PKG_VERSION");
    if version == mine {
        return Ok(());
    }
    Err(format!(
        "it is version {version}, and this is {mine}: use the same on all machines"
    ))
}
