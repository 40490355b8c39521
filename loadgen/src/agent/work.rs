//! The process that makes one share of a load.
//!
//! Its standard input is what the coordinator says, its standard output what the coordinator is
//! told; the agent hands both on. When the input ends, nobody wants the result any more, and the
//! run ends. Owns the face between a conversation and a run; what a run does is [`crate::run`]'s.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError, Sender};
use std::time::{Duration, Instant};

use serde_json::value::RawValue;

use crate::agent::order::Order;
use crate::agent::wire::{
    self, FromAgent, FromLead, LINE_SIZE_MAX, LineReader, Patience, Progress,
};
use crate::measure::gauges::Reading;
use crate::measure::watch::{Flow, Live, Watch};
use crate::run::{self, Barrier, Hooks};

/// How often the coordinator is told where the run is.
const PROGRESS_EVERY: Duration = Duration::from_secs(1);

/// Does what standard input asks for and tells standard output about it. `is_interrupted` is set
/// by signals, and here when the coordinator wants an end.
///
/// # Errors
/// When nobody listens any more.
pub fn work(is_interrupted: &Arc<AtomicBool>) -> io::Result<()> {
    let mut lines = LineReader::new(io::stdin());
    let told = match lines.next(LINE_SIZE_MAX, Patience::Endless) {
        Ok(Some(line)) => wire::parse(&line),
        Ok(None) => return Ok(()),
        Err(error) => Err(error.to_string()),
    };
    let order = match told {
        Ok(FromLead::Job(order)) => *order,
        Ok(_) => return fail("it was told something else than a job".to_owned()),
        Err(message) => return fail(message),
    };
    let (go, may_go) = mpsc::channel();
    let wants_end = Arc::clone(is_interrupted);
    std::thread::Builder::new()
        .name("coordinator".to_owned())
        .spawn(move || {
            listen(lines, &go);
            wants_end.store(true, Ordering::Relaxed);
        })?;
    match perform(order, is_interrupted, may_go) {
        Ok(report) => tell(&FromAgent::Report(report)),
        Err(message) => fail(message),
    }
}

/// Hands on when the load is to begin; returns when the run is to end.
fn listen(mut lines: LineReader<io::Stdin>, go: &Sender<Instant>) {
    while let Ok(Some(line)) = lines.next(LINE_SIZE_MAX, Patience::Endless) {
        match wire::parse(&line) {
            Ok(FromLead::Go { after_ns }) => {
                let begin = Instant::now() + Duration::from_nanos(after_ns);
                // The run may have ended by itself.
                let _ = go.send(begin);
            }
            Ok(FromLead::Here) => {}
            Ok(_) | Err(_) => return,
        }
    }
}

fn perform(
    order: Order,
    is_interrupted: &Arc<AtomicBool>,
    may_go: Receiver<Instant>,
) -> Result<Box<RawValue>, String> {
    let config = order.into_config()?;
    let hooks = Hooks {
        is_interrupted: Arc::clone(is_interrupted),
        watches: vec![Box::new(Teller {
            last: None,
            is_interrupted: Arc::clone(is_interrupted),
        })],
        barrier: Some(Box::new(Gate {
            may_go,
            begin: None,
            has_told: false,
        })),
    };
    let report = run::run(config, hooks)?;
    serde_json::value::to_raw_value(&report).map_err(|error| error.to_string())
}

fn tell(message: &FromAgent) -> io::Result<()> {
    wire::say(&mut io::stdout().lock(), message)
}

fn fail(message: String) -> io::Result<()> {
    tell(&FromAgent::Failed { message })
}

/// Tells where the run is.
struct Teller {
    last: Option<Instant>,
    is_interrupted: Arc<AtomicBool>,
}

impl Watch for Teller {
    fn look(&mut self, live: &Live<'_>) -> Flow {
        if self
            .last
            .is_none_or(|last| last.elapsed() >= PROGRESS_EVERY)
        {
            self.last = Some(Instant::now());
            let told = tell(&FromAgent::Progress(Progress {
                open: live.reading.open,
                failed: live.reading.failed,
                sent: live.reading.sent,
                received: live.reading.received,
            }));
            if told.is_err() {
                // The agent is gone, and with it whoever wanted the result.
                self.is_interrupted.store(true, Ordering::Relaxed);
            }
        }
        Flow::Continue
    }
}

/// Holds the load back until the coordinator says that all agents are ready.
struct Gate {
    may_go: Receiver<Instant>,
    begin: Option<Instant>,
    has_told: bool,
}

impl Gate {
    /// An agent that is gone is noticed by [`Teller`].
    fn begun(&self) -> bool {
        let _ = tell(&FromAgent::Begun);
        true
    }
}

impl Barrier for Gate {
    fn wait(&mut self, reading: Reading, longest: Duration) -> bool {
        if !std::mem::replace(&mut self.has_told, true) {
            let _ = tell(&FromAgent::Opened {
                open: reading.opened,
                failed: reading.failed,
            });
        }
        if self.begin.is_none() {
            self.begin = match self.may_go.recv_timeout(longest) {
                Ok(begin) => Some(begin),
                Err(RecvTimeoutError::Timeout) => return false,
                Err(RecvTimeoutError::Disconnected) => {
                    // The end of the run has been asked for and is noticed by the run itself.
                    std::thread::sleep(longest);
                    return false;
                }
            };
        }
        let left = self.begin.map_or(Duration::ZERO, |begin| {
            begin.saturating_duration_since(Instant::now())
        });
        std::thread::sleep(left.min(longest));
        left <= longest && self.begun()
    }
}
