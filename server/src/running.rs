//! A running server as its owner sees it: drain, stop, count, wait, signals.
//!
//! It owns the control side of the mailboxes and the life of the threads. It runs on an ordinary
//! thread and must not touch the data path.

use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

use fanwire_reactor::{MailSender, host};
use signal_hook::consts::{SIGINT, SIGTERM, SIGUSR1};
use signal_hook::iterator::Signals;

use crate::counters::ShardCounters;
use crate::handler::ShardId;
use crate::server::Config;
use crate::shard::{ControlMail, ShardMail};

/// How long a shard may take to answer a question.
const ANSWER_LIMIT: Duration = Duration::from_secs(2);
/// Pause between two tries to put mail into a full queue.
const MAIL_RETRY: Duration = Duration::from_millis(1);

/// What the control thread waits for.
#[derive(Debug)]
pub(crate) enum ControlEvent {
    Signal(i32),
    ShardEnded(ShardId, Box<ShardCounters>),
}

/// Tells the control thread that a shard's thread has ended, however it ends.
#[derive(Debug)]
pub(crate) struct Ended {
    shard: ShardId,
    pub(crate) counters: ShardCounters,
    events: mpsc::Sender<ControlEvent>,
}

impl Ended {
    pub(crate) fn new(shard: ShardId, events: mpsc::Sender<ControlEvent>) -> Ended {
        Ended {
            shard,
            counters: ShardCounters::default(),
            events,
        }
    }
}

impl Drop for Ended {
    fn drop(&mut self) {
        let counters = Box::new(std::mem::take(&mut self.counters));
        // The owner may have dropped the server without waiting.
        let _ = self
            .events
            .send(ControlEvent::ShardEnded(self.shard, counters));
    }
}

/// The control thread's way to a shard, whatever the shard's application is.
pub(crate) trait ControlLane: Send {
    /// Gives the mail back if the queue is full.
    fn send_control(&mut self, mail: ControlMail) -> Result<(), ControlMail>;
}

impl<M: Send> ControlLane for MailSender<ShardMail<M>> {
    fn send_control(&mut self, mail: ControlMail) -> Result<(), ControlMail> {
        match self.send(ShardMail::Control(mail)) {
            Ok(()) => Ok(()),
            Err(ShardMail::Control(mail)) => Err(mail),
            Err(ShardMail::Application(_)) => {
                unreachable!("the queue gives back what it was given")
            }
        }
    }
}

/// A server that serves. Dropping it stops it.
pub struct Running {
    address: SocketAddr,
    config: Config,
    backends: Vec<String>,
    mail: Vec<Box<dyn ControlLane>>,
    is_draining: Arc<AtomicBool>,
    threads: Vec<thread::JoinHandle<()>>,
    events: mpsc::Sender<ControlEvent>,
    control: mpsc::Receiver<ControlEvent>,
    signals: Option<signal_hook::iterator::Handle>,
    ended: usize,
    totals: ShardCounters,
}

impl Running {
    pub(crate) fn new(
        address: SocketAddr,
        config: Config,
        events: mpsc::Sender<ControlEvent>,
        control: mpsc::Receiver<ControlEvent>,
    ) -> Running {
        Running {
            address,
            config,
            backends: Vec::new(),
            mail: Vec::new(),
            is_draining: Arc::default(),
            threads: Vec::new(),
            events,
            control,
            signals: None,
            ended: 0,
            totals: ShardCounters::default(),
        }
    }

    pub(crate) fn add(&mut self, mail: Box<dyn ControlLane>, thread: thread::JoinHandle<()>) {
        self.mail.push(mail);
        self.threads.push(thread);
    }

    pub(crate) fn started(&mut self, (_, backend): (ShardId, String)) {
        self.backends.push(backend);
    }

    /// Where the server listens; with the real port if 0 was asked for.
    pub fn local_address(&self) -> SocketAddr {
        self.address
    }

    /// How many shards serve.
    pub fn shards(&self) -> usize {
        self.threads.len()
    }

    /// The limits and everything else in force.
    pub fn config(&self) -> &Config {
        &self.config
    }

    /// True from the start of the drain on: what a readiness probe wants to know.
    pub fn drain_flag(&self) -> Arc<AtomicBool> {
        self.is_draining.clone()
    }

    /// Which way to the kernel each shard uses, and why.
    pub fn backends(&self) -> &[String] {
        &self.backends
    }

    pub(crate) fn log_start(&self, fd_limit: u64) {
        tracing::info!(
            "fanwire {} listens on {}",
            env!("CARGO_PKG_VERSION"),
            self.address
        );
        let shards = self.shards();
        tracing::info!("shards: {shards}, {}", self.config.placement);
        for backend in self.distinct_backends() {
            tracing::info!("backend: {backend}");
        }
        let limits = &self.config.limits;
        tracing::info!(
            "limits: {} connections ({fd_limit} open files allowed), messages of {} bytes, \
             {} ms for a handshake",
            limits.connections_max,
            limits.message_size_max,
            limits.handshake_timeout_ms,
        );
        tracing::info!("{}", crate::memory::Budget::new(limits, shards));
        let congestion = self
            .config
            .congestion
            .clone()
            .or_else(host::congestion_control);
        let congestion = congestion.unwrap_or_else(|| "unknown".to_owned());
        tracing::info!("congestion control: {congestion}");
    }

    fn distinct_backends(&self) -> Vec<&str> {
        let mut distinct: Vec<&str> = Vec::new();
        for backend in &self.backends {
            if !distinct.contains(&backend.as_str()) {
                distinct.push(backend);
            }
        }
        distinct
    }

    /// Sends mail to every shard.
    fn tell(&mut self, mail: impl Fn() -> ControlMail) {
        for (sender, thread) in self.mail.iter_mut().zip(&self.threads) {
            let mut undelivered = sender.send_control(mail());
            // A queue is full only while its shard is busy with what came before.
            while let (Err(mail), false) = (undelivered, thread.is_finished()) {
                thread::sleep(MAIL_RETRY);
                undelivered = sender.send_control(mail);
            }
        }
    }

    /// Begins to drain: nobody is accepted any more, everybody gets a Close frame with 1001, and
    /// each shard ends with its last connection. [`Running::wait`] waits for that.
    pub fn drain(&mut self) {
        self.is_draining.store(true, Ordering::Relaxed);
        self.tell(|| ControlMail::Drain);
    }

    /// Ends all shards now.
    pub fn stop(&mut self) {
        self.is_draining.store(true, Ordering::Relaxed);
        self.tell(|| ControlMail::Stop);
    }

    /// The counters as they are, summed over the shards.
    pub fn counters(&mut self) -> ShardCounters {
        let (sender, answers) = mpsc::channel();
        self.tell(|| {
            let sender = sender.clone();
            // Whoever asked may have stopped waiting.
            ControlMail::Count(Box::new(move |counters| drop(sender.send(counters))))
        });
        drop(sender);
        let mut sum = self.totals.clone();
        let until = Instant::now() + ANSWER_LIMIT;
        while let Ok(counters) =
            answers.recv_timeout(until.saturating_duration_since(Instant::now()))
        {
            sum.add(&counters);
        }
        sum
    }

    /// Waits until every shard has ended, after [`Running::drain`] or [`Running::stop`], and
    /// gives the final counters. What is still open after `drain_timeout_ms` is cut.
    pub fn wait(mut self) -> ShardCounters {
        self.wait_for_end();
        self.finish()
    }

    fn note(&mut self, event: ControlEvent) -> Option<i32> {
        match event {
            ControlEvent::Signal(signal) => Some(signal),
            ControlEvent::ShardEnded(shard, counters) => {
                tracing::debug!("shard {shard} ended");
                self.ended += 1;
                self.totals.add(&counters);
                None
            }
        }
    }

    /// Waits for the shards to end; stops them at the drain's bound or at another signal.
    fn wait_for_end(&mut self) {
        let bound = Duration::from_millis(self.config.limits.drain_timeout_ms);
        let until = Instant::now() + bound;
        let mut is_stopping = false;
        while self.ended < self.shards() {
            let left = match is_stopping {
                // Ending takes as long as the kernel needs to let go of the sockets.
                true => Duration::from_secs(3600),
                false => until.saturating_duration_since(Instant::now()),
            };
            let signal = match self.control.recv_timeout(left) {
                Ok(event) => match self.note(event) {
                    Some(signal) if signal != SIGUSR1 => signal,
                    _ => continue,
                },
                Err(_) => 0,
            };
            if !is_stopping {
                match signal {
                    0 => tracing::warn!("the drain reached its bound; cutting what is left"),
                    _ => tracing::warn!("a second signal; cutting what is left"),
                }
                is_stopping = true;
                self.stop();
            }
        }
    }

    fn finish(&mut self) -> ShardCounters {
        for thread in self.threads.drain(..) {
            // A panic was reported on its thread already.
            let _ = thread.join();
        }
        self.totals.clone()
    }

    /// Catches SIGTERM, SIGINT and SIGUSR1 from here on, for
    /// [`Running::serve_until_signalled`], which does it by itself if it was not done before. Do
    /// it before telling anybody that the server is there: until then these signals just end the
    /// process.
    ///
    /// # Errors
    /// When the handlers cannot be installed.
    pub fn catch_signals(&mut self) -> io::Result<()> {
        if self.signals.is_some() {
            return Ok(());
        }
        let mut signals = Signals::new([SIGTERM, SIGINT, SIGUSR1])?;
        self.signals = Some(signals.handle());
        let events = self.events.clone();
        thread::Builder::new()
            .name("fanwire-signals".to_owned())
            .spawn(move || {
                for signal in signals.forever() {
                    if events.send(ControlEvent::Signal(signal)).is_err() {
                        break;
                    }
                }
            })?;
        Ok(())
    }

    /// Serves until SIGTERM or SIGINT, then drains; another one ends the server at once. SIGUSR1
    /// logs the counters.
    ///
    /// # Errors
    /// When the signals cannot be caught, and when a shard ended by itself.
    pub fn serve_until_signalled(mut self) -> io::Result<ShardCounters> {
        self.catch_signals()?;
        let mut is_failed = false;
        loop {
            let event = self.control.recv().map_err(io::Error::other)?;
            match self.note(event) {
                Some(SIGUSR1) => tracing::info!("counters: {}", self.counters()),
                Some(_) => break,
                None => {
                    is_failed = true;
                    break;
                }
            }
        }
        let open = self.counters().open;
        tracing::info!("draining: {open} connections get a Close frame with 1001");
        self.drain();
        self.wait_for_end();
        let counters = self.finish();
        tracing::info!("counters: {counters}");
        if is_failed {
            return Err(io::Error::other(
                "a shard ended by itself; its message is above",
            ));
        }
        Ok(counters)
    }
}

impl fmt::Debug for Running {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("Running")
            .field("address", &self.address)
            .field("shards", &self.shards())
            .finish_non_exhaustive()
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        if let Some(signals) = self.signals.take() {
            // Ends the thread that waits for them.
            signals.close();
        }
        if !self.threads.is_empty() {
            self.stop();
            self.finish();
        }
    }
}
