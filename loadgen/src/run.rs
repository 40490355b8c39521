//! A whole run: threads, phases, samples, and the result.
//!
//! The main thread owns the clock of the run: it waits until every thread has opened what it
//! could, announces the window, samples CPU times at its edges and collects the sheets. Nothing
//! here waits without a bound.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError, Sender};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use fanwire_reactor::host::{clock_source, local_ports, monotonic_ns, raise_fd_limit};
use fanwire_reactor::{MailSender, mailbox};

use crate::command::Command;
use crate::config::{Config, Mode};
use crate::measure::environment::Environment;
use crate::measure::gauges::{CoreShown, FanoutShown, Gauges, Reading};
use crate::measure::hiccups::{Hiccups, NAP_UNDER_LOAD};
use crate::measure::host::{
    CpuSample, Memory, OwnThread, Segments, Switches, ThreadTime, process_exists,
};
use crate::measure::model::{Measured, Report};
use crate::measure::series::{Pulse, Results, Series, Warmth};
use crate::measure::tally::Sheet;
use crate::measure::watch::{LivePhase, Watch};
use crate::pace::plan::Window;

mod barrier;
mod copies;
mod looking;
mod place;
mod warming;

pub use barrier::Barrier;
pub use copies::all_connections;
use place::{Notice, Place};

/// Between the announcement of the window and its first message, so that all threads know it.
const LEAD_NS: u64 = 20_000_000;
/// How often the main thread looks up: signals, threads that ended early, progress.
const LOOK_MS: u64 = 20;
/// What a thread may take for counting and closing beyond the drain before it is given up.
const PATIENCE_MS: u64 = 10_000;
/// Descriptors a thread needs beside its connections: rings, doorbells, openings in progress.
pub(crate) const FDS_PER_THREAD: u64 = 64;
/// Commands that a thread may be behind with: one a second, and it is taken for dead before that.
const MAILS: usize = 64;

/// One thread as the main thread sees it.
struct Crew {
    mail: MailSender<Command>,
    join: JoinHandle<()>,
    /// The thread stays until this is dropped.
    stays: Option<Sender<()>>,
    gauges: Arc<Gauges>,
}

/// Everything a run needs while it lasts.
struct Run {
    config: Arc<Config>,
    crew: Vec<Crew>,
    own_threads: Vec<Option<OwnThread>>,
    notices: Receiver<Notice>,
    sheets: Receiver<Sheet>,
    /// Of threads that had nothing left to do before the window ended.
    early_sheets: Vec<Sheet>,
    pulses: Receiver<Pulse>,
    warmths: Receiver<Warmth>,
    series: Series,
    /// CPU times when the last row ended.
    row_edge: Edge,
    measured: Measured,
    is_interrupted: Arc<AtomicBool>,
    watches: Vec<Box<dyn Watch>>,
    /// Why a watch ended the run.
    stop_reason: Option<String>,
    /// Threads that have opened their connections.
    opened: usize,
}

/// What a run is given beside its configuration.
#[derive(Default)]
pub struct Hooks {
    /// Set from outside when the run is to end early with a partial report.
    pub is_interrupted: Arc<AtomicBool>,
    /// Who looks at the run while it lasts.
    pub watches: Vec<Box<dyn Watch>>,
    /// Holds the load back when all connections are open.
    pub barrier: Option<Box<dyn Barrier>>,
}

/// CPU times at one edge of the window.
#[derive(Default)]
struct Edge {
    at_ns: u64,
    own: Vec<Option<ThreadTime>>,
    cores: Vec<CoreShown>,
    server: Option<CpuSample>,
    switches: Option<Switches>,
    segments: Option<Segments>,
}

/// Runs `config` and returns the judged result.
///
/// # Errors
/// What kept the run from starting, in one or two sentences with cause and cure.
pub fn run(config: Config, hooks: Hooks) -> Result<Report, String> {
    let notes = preflight(&config)?;
    let memory_before = config.server_pid.and_then(Memory::of_process);
    let config = Arc::new(config);
    let mut hooks = hooks;
    let barrier = hooks.barrier.take();
    let mut run = start(&config, hooks)?;
    run.measured.notes = notes;
    run.measured.clock_source = clock_source();
    let is_loopback = config.address.ip().is_loopback();
    run.measured.environment = Environment::read(&config.cpus, Some(is_loopback));
    run.wait_started()?;
    let own_memory = own_memory();
    run.crew.iter().for_each(|crew| crew.gauges.let_open());
    run.wait_opened()?;
    run.measure(memory_before, own_memory, barrier);
    let collected = run.collect();
    run.watches.iter_mut().for_each(|watch| watch.end());
    collected?;
    Ok(Report::new(&config, &run.measured))
}

fn own_memory() -> Option<Memory> {
    Memory::of_process(std::process::id())
}

/// Checks what would fail in the middle of the run. Returns remarks for the report.
fn preflight(config: &Config) -> Result<Vec<String>, String> {
    let mut notes = Vec::new();
    if let Some(pid) = config.server_pid
        && !process_exists(pid)
    {
        return Err(format!("--server-pid {pid}: there is no such process"));
    }
    let needed = u64::from(all_connections(config)) + FDS_PER_THREAD * config.threads as u64 + 16;
    if let Some(limit) = raise_fd_limit().soft
        && limit < needed
    {
        return Err(format!(
            "{} connections need {needed} open files, but the limit is {limit}; raise it \
             (ulimit -n {needed}) or ask for fewer connections",
            config.connections
        ));
    }
    if let Some((first, last)) = local_ports()
        && config.mode != Mode::Storm
    {
        let ports = u64::from(last.saturating_sub(first)) + 1;
        let sources = config.sources.len().max(1) as u64;
        let doors = 1 + config.further_ports.len() as u64;
        if u64::from(config.connections) > ports * sources * doors {
            notes.push(format!(
                "{} connections are more than {sources} source address(es) × {ports} local ports \
                 (net.ipv4.ip_local_port_range) × {doors} port(s) of the server: pass --source with \
                 at least {} addresses, or more ports of the server with --ports",
                config.connections,
                u64::from(config.connections).div_ceil(ports * doors)
            ));
        }
    }
    Ok(notes)
}

fn start(config: &Arc<Config>, hooks: Hooks) -> Result<Run, String> {
    let (notice_sender, notices) = mpsc::channel();
    let (sheet_sender, sheets) = mpsc::channel();
    let (pulse_sender, pulses) = mpsc::channel();
    let (warmth_sender, warmths) = mpsc::channel();
    let results = Results::new(sheet_sender, pulse_sender, warmth_sender);
    let mut crew = Vec::with_capacity(config.threads);
    for thread in 0..config.threads {
        let (mut senders, receiver) =
            mailbox(1, MAILS).map_err(|error| format!("cannot create a mailbox: {error}"))?;
        let mail = senders.pop().ok_or("a mailbox without a sender")?;
        let gauges = Arc::new(Gauges::default());
        let (stays, release) = mpsc::channel();
        let place = Place {
            config: Arc::clone(config),
            thread,
            gauges: Arc::clone(&gauges),
            notices: notice_sender.clone(),
            results: results.clone(),
        };
        let join = std::thread::Builder::new()
            .name(format!("load-{thread}"))
            .spawn(move || place.run(receiver, &release))
            .map_err(|error| format!("cannot start a thread: {error}"))?;
        crew.push(Crew {
            mail,
            join,
            stays: Some(stays),
            gauges,
        });
    }
    Ok(Run {
        own_threads: vec![None; config.threads],
        crew,
        notices,
        sheets,
        early_sheets: Vec::new(),
        pulses,
        warmths,
        series: Series::default(),
        row_edge: Edge::default(),
        measured: Measured {
            backends: vec![String::new(); config.threads],
            ..Measured::default()
        },
        is_interrupted: hooks.is_interrupted,
        watches: hooks.watches,
        stop_reason: None,
        config: Arc::clone(config),
        opened: 0,
    })
}

impl Run {
    fn wait_started(&mut self) -> Result<(), String> {
        let mut started = 0;
        while started < self.crew.len() {
            match self
                .notices
                .recv_timeout(Duration::from_millis(PATIENCE_MS))
            {
                Ok(Notice::Started {
                    backend,
                    own_thread,
                    thread,
                }) => {
                    started += 1;
                    self.measured.backends[thread] = backend;
                    self.own_threads[thread] = own_thread;
                }
                Ok(Notice::Refused(reason)) => return Err(reason),
                // A fast thread may have opened everything before a slow one started.
                Ok(Notice::Opened) => self.opened += 1,
                Err(_) => return Err("a thread of the generator did not start".into()),
            }
        }
        Ok(())
    }

    fn is_interrupted(&self) -> bool {
        self.is_interrupted.load(Ordering::Relaxed) || self.stop_reason.is_some()
    }

    fn reading(&self) -> Reading {
        let mut sum = Reading {
            fanout: FanoutShown {
                awaited: Some(0),
                ..FanoutShown::default()
            },
            ..Reading::default()
        };
        for crew in &self.crew {
            let reading = crew.gauges.read();
            sum.sent += reading.sent;
            sum.received += reading.received;
            sum.open += reading.open;
            sum.opened += reading.opened;
            sum.failed += reading.failed;
            sum.fanout.add(&reading.fanout);
        }
        sum
    }

    /// Every attempt has a deadline and their number is fixed, so this ends.
    fn wait_opened(&mut self) -> Result<(), String> {
        while self.opened < self.crew.len() {
            match self.notices.recv_timeout(Duration::from_millis(LOOK_MS)) {
                Ok(Notice::Opened) => self.opened += 1,
                Ok(Notice::Started { .. } | Notice::Refused(_)) => {}
                Err(RecvTimeoutError::Timeout) => {
                    if self.has_dead_thread() {
                        return Err("a thread of the generator ended while connecting".into());
                    }
                }
                Err(RecvTimeoutError::Disconnected) => {
                    return Err("the generator's threads ended while connecting".into());
                }
            }
            if self.is_interrupted() {
                self.crew.iter().for_each(|crew| crew.gauges.give_up());
            }
            self.look(LivePhase::Opening, 0);
        }
        Ok(())
    }

    fn has_dead_thread(&self) -> bool {
        self.crew.iter().any(|crew| crew.join.is_finished())
    }

    /// Announces the window, samples at its edges, ends it early when there is a reason.
    fn measure(
        &mut self,
        server_before: Option<Memory>,
        own_before: Option<Memory>,
        barrier: Option<Box<dyn Barrier>>,
    ) {
        let is_hopeless = self.config.mode != Mode::Storm && self.reading().opened == 0;
        if !is_hopeless && !self.is_interrupted() {
            if self.config.mode == Mode::Fanout {
                self.confirm_subscriptions();
            }
            self.hold_back(barrier);
        }
        if is_hopeless || self.is_interrupted() {
            self.measured.is_interrupted = self.is_interrupted();
            self.command(Command::Stop);
            self.command(Command::Account);
            return;
        }
        let start_ns = monotonic_ns() + LEAD_NS;
        let measure_from_ns = start_ns + self.config.warmup.longest_ns();
        let until_ns = measure_from_ns + self.config.measured_ns();
        let window = Window {
            start_ns,
            measure_from_ns,
            until_ns,
        };
        self.measured.window = Some(window);
        self.series = Series::begin(self.crew.len(), window, self.reading());
        self.command(Command::Begin(window));
        self.row_edge = self.edge();
        let is_whole = self.warm_up();
        let window = self.measured.window.unwrap_or(window);
        let begin = self.edge_of_window();
        // Without the thread there is nothing to say of the host's own stalls.
        let hiccups = Hiccups::start(NAP_UNDER_LOAD).ok();
        self.sample_memory(server_before, own_before);
        let is_whole = is_whole && self.wait_until(window.until_ns, window.until_ns);
        let end = self.edge_of_window();
        self.measured.is_interrupted = self.is_interrupted();
        if is_whole {
            self.measured.measured_ns = window.measured_ns();
        } else {
            self.command(Command::Stop);
            self.measured.measured_ns = end.at_ns.saturating_sub(window.measure_from_ns);
            self.measured.window = Some(Window {
                until_ns: end.at_ns,
                ..window
            });
        }
        self.compare(&begin, &end);
        if self.config.mode == Mode::Fanout {
            self.await_copies();
            self.command(Command::Account);
        }
        self.measured.hiccups = hiccups.map(Hiccups::stop).unwrap_or_default();
    }

    /// What the server's and our own memory have grown by, with all connections open.
    fn sample_memory(&mut self, server_before: Option<Memory>, own_before: Option<Memory>) {
        let server = self.config.server_pid.and_then(Memory::of_process);
        self.measured.server_memory = server_before
            .zip(server)
            .map(|(before, open)| [before, open]);
        self.measured.own_memory = own_before
            .zip(own_memory())
            .map(|(before, open)| [before, open]);
        self.measured.open_at_sample = self.reading().open;
    }

    fn command(&mut self, command: Command) {
        for crew in &mut self.crew {
            // Full only if the thread has not looked for four commands: then it is dead, and
            // collecting its sheet will say so.
            let _ = crew.mail.send(command);
        }
    }

    fn edge(&self) -> Edge {
        Edge {
            at_ns: monotonic_ns(),
            own: self
                .own_threads
                .iter()
                .map(|thread| thread.as_ref().and_then(OwnThread::time))
                .collect(),
            cores: self
                .crew
                .iter()
                .map(|crew| crew.gauges.read_core())
                .collect(),
            server: self.config.server_pid.and_then(CpuSample::of_process),
            ..Edge::default()
        }
    }

    /// With what is read twice in a run only.
    fn edge_of_window(&self) -> Edge {
        Edge {
            switches: self.config.server_pid.and_then(Switches::of_process),
            segments: Segments::of_host(),
            ..self.edge()
        }
    }

    fn compare(&mut self, begin: &Edge, end: &Edge) {
        // Sampling takes microseconds and the window is seconds; the figures are still put on
        // the time between the samples, not on the nominal window.
        let sampled_ns = end.at_ns.saturating_sub(begin.at_ns).max(1);
        let scale = self.measured.measured_ns as f64 / sampled_ns as f64;
        let scaled = |ns: u64| (ns as f64 * scale) as u64;
        let scaled_time = |time: ThreadTime| ThreadTime {
            run_ns: scaled(time.run_ns),
            wait_ns: scaled(time.wait_ns),
        };
        let own = begin.own.iter().zip(&end.own);
        self.measured.generator_times = own
            .filter_map(|(begin, end)| Some(scaled_time((*end)?.since((*begin)?))))
            .collect();
        let cores = begin.cores.iter().zip(&end.cores);
        for (begin, end) in cores {
            let spun_ns = end.spun_ns.saturating_sub(begin.spun_ns);
            self.measured.generator_spun_ns.push(scaled(spun_ns));
            self.measured.completion_overflows += end
                .completion_overflows
                .saturating_sub(begin.completion_overflows);
        }
        let switches = begin.switches.zip(end.switches);
        self.measured.server_switches = switches.map(|(begin, end)| end.since(begin));
        let segments = begin.segments.zip(end.segments);
        self.measured.segments = segments.map(|(begin, end)| end.since(begin));
        if let (Some(begin), Some(end)) = (&begin.server, &end.server) {
            let mut used = end.since(begin);
            used.total_ns = scaled(used.total_ns);
            used.busiest = scaled_time(used.busiest);
            self.measured.server_cpu = Some(used);
        }
    }

    /// False when the run is to end before `at_ns`. `end_ns` is what the progress line counts to.
    fn wait_until(&mut self, at_ns: u64, end_ns: u64) -> bool {
        loop {
            let now_ns = monotonic_ns();
            let left_ns = at_ns.saturating_sub(now_ns);
            if left_ns == 0 {
                return true;
            }
            self.early_sheets.extend(self.sheets.try_iter());
            let is_over = self.early_sheets.len() == self.crew.len();
            if is_over || self.is_interrupted() {
                return false;
            }
            if self.crew.iter().all(|crew| crew.join.is_finished()) {
                return false;
            }
            self.nap(left_ns);
            let is_warm = self
                .measured
                .window
                .is_some_and(|window| now_ns >= window.measure_from_ns);
            let phase = if is_warm {
                LivePhase::Measuring
            } else {
                LivePhase::WarmUp
            };
            self.look(phase, end_ns.saturating_sub(now_ns));
        }
    }

    /// Waits for the sheet of one more thread; whoever watches sees the wait.
    fn await_sheet(&mut self, deadline: Instant) -> Option<Sheet> {
        let look = Duration::from_millis(LOOK_MS);
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            match self.sheets.recv_timeout(left.min(look)) {
                Ok(sheet) => return Some(sheet),
                Err(RecvTimeoutError::Timeout) if !left.is_zero() => {
                    self.show(LivePhase::Draining, 0);
                }
                Err(_) => return None,
            }
        }
    }

    /// A run of so many messages is as long as it takes to answer them, not as it takes to notice.
    fn end_with_last_message(&mut self) {
        if let Some(ended_ns) = self.measured.sheet.ended_ns
            && let Some(window) = &mut self.measured.window
            && ended_ns < window.until_ns
        {
            window.until_ns = ended_ns.max(window.measure_from_ns + 1);
            self.measured.measured_ns = window.measured_ns();
        }
    }

    /// Takes the sheets of all threads and lets the threads end.
    fn collect(&mut self) -> Result<(), String> {
        let patience = Duration::from_millis(self.config.drain_ms + PATIENCE_MS);
        let deadline = Instant::now() + patience;
        let early = std::mem::take(&mut self.early_sheets);
        early
            .iter()
            .for_each(|sheet| self.measured.sheet.add(sheet));
        for _ in early.len()..self.crew.len() {
            let sheet = self
                .await_sheet(deadline)
                .ok_or("a thread of the generator ended without a result; please report this")?;
            self.measured.sheet.add(&sheet);
        }
        self.end_with_last_message();
        while let Ok(pulse) = self.pulses.try_recv() {
            self.series.add(&pulse);
        }
        let mut facts = self.facts();
        // Threads that handed in their results are closing what was open to the end.
        let alive = self.measured.sheet.tally.alive;
        facts.reading.open = facts.reading.open.max(alive);
        let rest = self.measured.sheet.take_interval();
        self.series.finish(facts, rest);
        self.measured.series = std::mem::take(&mut self.series).into_seconds();
        if let Some(reason) = self.stop_reason.take() {
            self.measured.notes.push(reason);
        }
        self.crew.iter_mut().for_each(|crew| crew.stays = None);
        while Instant::now() < deadline && self.crew.iter().any(|crew| !crew.join.is_finished()) {
            std::thread::sleep(Duration::from_millis(1));
        }
        Ok(())
    }
}
