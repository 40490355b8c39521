//! One conversation of an agent: who is there, what is to be done, and the process that does it.
//!
//! Owns the process and hands on what it and the coordinator say to each other. Ends with it:
//! however a conversation ends, no process is left behind, and the agent is free again.

use std::io::{ErrorKind, Read};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::os::unix::process::CommandExt;
use std::process::{Child, ChildStdin, Command, ExitStatus, Stdio};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError, SyncSender};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use fanwire_reactor::host::processors;

use crate::agent::clock::unix_ns;
use crate::agent::order::Order;
use crate::agent::serve::{Agent, log};
use crate::agent::wire::{
    self, FromAgent, FromLead, HELLO_SIZE_MAX, HERE_EVERY, Hello, LINE_SIZE_MAX, LineReader,
    PROTOCOL, Patience, REPORT_SIZE_MAX, SILENCE_MAX, WAKE, WRITE_MAX,
};
use crate::commands::agent::WORK;
use crate::measure::environment::command_line::url_without_credentials;

/// Longest wait for the first line of a coordinator.
const HELLO_MAX: Duration = Duration::from_secs(10);
/// Longest wait for a job: the coordinator asks all agents first whether they are ready.
const JOB_MAX: Duration = Duration::from_secs(90);
/// A run whose coordinator is gone has so long to close its connections; then it is killed.
const END_MAX: Duration = Duration::from_secs(5);
/// Before somebody is told that his token is wrong, so that guessing takes long.
const GUESS_PAUSE: Duration = Duration::from_millis(500);
/// How long somebody who is sent away may go on talking.
const LINGER_MAX: Duration = Duration::from_secs(1);
/// Messages under way inside of the agent.
const EVENTS_MAX: usize = 64;
/// How soon signals and deadlines are noticed.
const LOOK: Duration = Duration::from_millis(100);

/// Holds the conversation to its end.
pub fn hold(stream: &TcpStream, peer: SocketAddr, agent: &Agent) {
    if let Err(reason) = converse(stream, peer, agent) {
        log(&format!("{peer}: {reason}"));
        let mut socket = stream;
        // Nobody may be there to read it.
        let _ = wire::say(&mut socket, &FromAgent::Refused { reason });
        linger(stream, LINGER_MAX);
    }
    let _ = stream.shutdown(Shutdown::Both);
}

/// Reads what is still coming, for a while: a socket that is closed with something unread throws
/// away what was written to it last.
pub fn linger(mut stream: &TcpStream, longest: Duration) {
    let _ = stream.shutdown(Shutdown::Write);
    let deadline = Instant::now() + longest;
    let mut rest = [0; 4_096];
    while Instant::now() < deadline {
        match stream.read(&mut rest) {
            Ok(0) => return,
            Ok(_) => {}
            Err(error) if error.kind() == ErrorKind::WouldBlock => {}
            Err(_) => return,
        }
    }
}

/// The error is why the coordinator is sent away.
fn converse(stream: &TcpStream, peer: SocketAddr, agent: &Agent) -> Result<(), String> {
    let broken = |error: std::io::Error| format!("the connection broke ({error})");
    stream.set_nonblocking(false).map_err(broken)?;
    stream.set_nodelay(true).map_err(broken)?;
    stream.set_read_timeout(Some(WAKE)).map_err(broken)?;
    stream.set_write_timeout(Some(WRITE_MAX)).map_err(broken)?;
    let mut lines = LineReader::new(stream.try_clone().map_err(broken)?);
    match hear(&mut lines, HELLO_SIZE_MAX, HELLO_MAX)? {
        Some(FromLead::Hello(hello)) => check(&hello, agent)?,
        Some(_) => return Err(format!("{PROTOCOL} begins with a hello")),
        // A look whether something listens.
        None => return Ok(()),
    }
    let seat = agent.desk.sit_down(peer)?;
    let mut socket = stream;
    let ready = FromAgent::Ready {
        version: env!("CARGO_PKG_VERSION").to_owned(),
        processors: processors().len(),
    };
    wire::say(&mut socket, &ready).map_err(broken)?;
    let Some(order) = await_job(&mut lines, stream)? else {
        return Ok(());
    };
    log(&format!("{peer}: run begins: {}", describe(&order)));
    let (how, listening) = Work::start(order)?.attend(stream, lines, agent)?;
    log(&format!("{peer}: run ended: {how}"));
    // Before the coordinator sees the end of the connection: it may come back at once.
    drop(seat);
    let _ = stream.shutdown(Shutdown::Write);
    // Ends when the coordinator does, or is silent for too long.
    let _ = listening.join();
    Ok(())
}

/// Tells the time until there is a job; `None` when the coordinator ends without one.
fn await_job(
    lines: &mut LineReader<TcpStream>,
    mut socket: &TcpStream,
) -> Result<Option<Box<Order>>, String> {
    let deadline = Instant::now() + JOB_MAX;
    loop {
        let left = deadline.saturating_duration_since(Instant::now());
        match hear(lines, LINE_SIZE_MAX, left)? {
            Some(FromLead::Job(order)) => return Ok(Some(order)),
            Some(FromLead::Clock) => {
                let unix_ns = unix_ns();
                wire::say(&mut socket, &FromAgent::Clock { unix_ns })
                    .map_err(|error| format!("the connection broke ({error})"))?;
            }
            // Another agent takes its time.
            Some(FromLead::Here) => {}
            Some(_) => return Err("a job is to follow the hello".to_owned()),
            None => return Ok(None),
        }
    }
}

fn hear(
    lines: &mut LineReader<TcpStream>,
    size_max: usize,
    longest: Duration,
) -> Result<Option<FromLead>, String> {
    match lines.next(size_max, Patience::Line(longest)) {
        Ok(Some(line)) => wire::parse(&line).map(Some).map_err(|error| {
            format!(
                "{error}; this is an agent of fanwire-loadgen, to be used with: fanwire-loadgen \
                 echo URL --agents HOST:PORT"
            )
        }),
        Ok(None) => Ok(None),
        Err(error) => Err(error.to_string()),
    }
}

fn check(hello: &Hello, agent: &Agent) -> Result<(), String> {
    if hello.protocol != PROTOCOL {
        return Err(format!(
            "the coordinator ({}) speaks '{}' and this agent ({}) '{PROTOCOL}': use the same \
             version of fanwire-loadgen on all machines",
            hello.version,
            hello.protocol,
            env!("CARGO_PKG_VERSION")
        ));
    }
    let Some(token) = &agent.token else {
        return Ok(());
    };
    match &hello.token {
        None => Err(
            "this agent wants a token: pass --agents-token-file FILE with the content of its \
             --token-file"
                .to_owned(),
        ),
        Some(said) if token.is_said_by(said) => Ok(()),
        Some(_) => {
            std::thread::sleep(GUESS_PAUSE);
            Err(
                "the token is wrong: --agents-token-file is to have the content of this agent's \
                 --token-file"
                    .to_owned(),
            )
        }
    }
}

fn describe(order: &Order) -> String {
    format!(
        "{} {}, share {} of {}",
        order.command,
        url_without_credentials(&order.url),
        order.index.saturating_add(1),
        order.of
    )
}

/// What happens while a run lasts.
enum Event {
    /// The coordinator said something.
    Lead(FromLead),
    /// It is gone, or speaks gibberish.
    LeadGone(String),
    /// The process said something.
    Line(Vec<u8>),
    /// It says no more.
    Silent,
}

/// The process that makes a share of a load.
struct Work {
    child: Child,
    /// Closed to end the run.
    input: Option<ChildStdin>,
    /// When it is killed.
    kill_at: Option<Instant>,
    /// It has told how the run ended.
    has_concluded: bool,
    /// How the conversation ended, for the log.
    how: String,
}

impl Drop for Work {
    fn drop(&mut self) {
        // It has ended, unless something went wrong on the way.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Work {
    fn start(order: Box<Order>) -> Result<Work, String> {
        // The running program, also when its file has been replaced since it was started.
        let mut child = Command::new("/proc/self/exe")
            .arg0("fanwire-loadgen")
            .arg(WORK)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::inherit())
            .spawn()
            .map_err(|error| format!("the agent cannot start a process: {error}"))?;
        let mut input = child.stdin.take();
        if let Some(input) = &mut input {
            // One that has ended already says why below.
            let _ = wire::say(input, &FromLead::Job(order));
        }
        Ok(Work {
            child,
            input,
            kill_at: None,
            has_concluded: false,
            how: "the report was sent".to_owned(),
        })
    }

    /// Hands on what both say until the process has ended. Says how it went, and leaves the thread
    /// that listens to the coordinator.
    fn attend(
        mut self,
        stream: &TcpStream,
        lines: LineReader<TcpStream>,
        agent: &Agent,
    ) -> Result<(String, JoinHandle<()>), String> {
        let (sender, events) = mpsc::sync_channel(EVENTS_MAX);
        let output = self.child.stdout.take().ok_or("a process without output")?;
        let from_child = sender.clone();
        let start = |name: &str, task: Box<dyn FnOnce() + Send>| {
            let started = std::thread::Builder::new()
                .name(name.to_owned())
                .spawn(task);
            started.map_err(|error| format!("the agent cannot start a thread: {error}"))
        };
        let listening = start("coordinator", Box::new(move || hear_lead(lines, &sender)))?;
        let reading = start("work", Box::new(move || read_child(output, &from_child)))?;
        self.hand_on(stream, &events, agent);
        let status = self.reap();
        if !self.has_concluded {
            let status = status.map_or("without a status".to_owned(), |status| status.to_string());
            self.conclude(
                format!("the process of the run ended with {status}"),
                stream,
            );
        }
        drop(events);
        let _ = reading.join();
        Ok((std::mem::take(&mut self.how), listening))
    }

    fn hand_on(&mut self, stream: &TcpStream, events: &Receiver<Event>, agent: &Agent) {
        let mut last = Instant::now();
        loop {
            match events.recv_timeout(LOOK) {
                Ok(Event::Lead(FromLead::Here)) | Err(RecvTimeoutError::Timeout) => {}
                Ok(Event::Lead(message)) => self.tell(&message),
                Ok(Event::LeadGone(reason)) => self.abandon(&reason),
                Ok(Event::Line(line)) => {
                    last = Instant::now();
                    self.pass_on(line, stream);
                }
                Ok(Event::Silent) | Err(RecvTimeoutError::Disconnected) => return,
            }
            if agent.is_interrupted() && self.kill_at.is_none() {
                self.conclude("the agent was ended by a signal".to_owned(), stream);
                self.abandon("the agent was ended by a signal");
            }
            if self.kill_at.is_some_and(|at| Instant::now() >= at) {
                let _ = self.child.kill();
            }
            if last.elapsed() >= HERE_EVERY {
                last = Instant::now();
                self.send(&FromAgent::Here, stream);
            }
        }
    }

    /// To the process.
    fn tell(&mut self, message: &FromLead) {
        if let Some(input) = &mut self.input {
            // One that has ended is noticed by its output.
            let _ = wire::say(input, message);
        }
    }

    /// To the coordinator, unless he has been told the end.
    fn send(&mut self, message: &FromAgent, mut stream: &TcpStream) {
        if self.has_concluded || self.kill_at.is_some() {
            return;
        }
        if let Err(error) = wire::say(&mut stream, message) {
            self.abandon(&format!("the coordinator does not listen ({error})"));
        }
    }

    fn conclude(&mut self, message: String, stream: &TcpStream) {
        self.how.clone_from(&message);
        self.send(&FromAgent::Failed { message }, stream);
        self.has_concluded = true;
    }

    /// A line of the process is a message of ours, and goes on as it is.
    fn pass_on(&mut self, line: Vec<u8>, stream: &TcpStream) {
        match wire::parse::<FromAgent>(&line) {
            Ok(message) => {
                if let FromAgent::Failed { message } = &message {
                    self.how.clone_from(message);
                }
                self.send(&message, stream);
                self.has_concluded |= message.is_last();
            }
            Err(reason) => self.abandon(&format!("the process of the run: {reason}")),
        }
    }

    /// Nobody wants the result: the run is to end, soon.
    fn abandon(&mut self, reason: &str) {
        self.input = None;
        if self.kill_at.is_none() && !self.has_concluded {
            self.how = reason.to_owned();
        }
        self.kill_at.get_or_insert_with(|| Instant::now() + END_MAX);
    }

    /// Waits for the end of a process that says no more, and sees to it that it comes.
    fn reap(&mut self) -> Option<ExitStatus> {
        self.input = None;
        let deadline = Instant::now() + END_MAX;
        while Instant::now() < deadline {
            match self.child.try_wait() {
                Ok(None) => std::thread::sleep(Duration::from_millis(5)),
                Ok(status) => return status,
                Err(_) => break,
            }
        }
        let _ = self.child.kill();
        self.child.wait().ok()
    }
}

fn hear_lead(mut lines: LineReader<TcpStream>, events: &SyncSender<Event>) {
    loop {
        let event = match lines.next(LINE_SIZE_MAX, Patience::Silence(SILENCE_MAX)) {
            Ok(Some(line)) => match wire::parse(&line) {
                Ok(message @ (FromLead::Go { .. } | FromLead::Stop | FromLead::Here)) => {
                    Event::Lead(message)
                }
                Ok(_) => Event::LeadGone("the coordinator asked for a second job".to_owned()),
                Err(reason) => Event::LeadGone(reason),
            },
            Ok(None) => Event::LeadGone("the coordinator is gone".to_owned()),
            Err(error) => Event::LeadGone(format!("the coordinator: {error}")),
        };
        let is_gone = matches!(event, Event::LeadGone(_));
        if events.send(event).is_err() || is_gone {
            return;
        }
    }
}

fn read_child(output: std::process::ChildStdout, events: &SyncSender<Event>) {
    let mut lines = LineReader::new(output);
    while let Ok(Some(line)) = lines.next(REPORT_SIZE_MAX, Patience::Endless) {
        if events.send(Event::Line(line)).is_err() {
            return;
        }
    }
    let _ = events.send(Event::Silent);
}
