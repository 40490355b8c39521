//! One thread of a run: its core, the application that its command needs, and what it tells the
//! main thread.

use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender};

use fanwire_reactor::{Application, Core, CoreOptions, Handle, MailReceiver};

use crate::churn;
use crate::churn::worker::Churner;
use crate::command::Command;
use crate::config::{Config, Mode};
use crate::connect::opening::{self, Share};
use crate::echo::worker::Worker;
use crate::fanout::{self, layout::Layout, worker::FanoutWorker};
use crate::measure::gauges::Gauges;
use crate::measure::host::OwnThread;
use crate::measure::series::Results;
use crate::message::sizes::Sizes;
use crate::storm::Storm;

/// A spin budget that no run outlasts, in microseconds (an hour and eleven minutes of idleness).
const SPIN_US: u32 = u32::MAX;
/// Unsent bytes of one connection that the reactor may keep: a server that stops reading in an
/// open loop is waited for, and what it is owed is bounded here.
const BACKLOG_BYTES_MIN: usize = 64 << 20;

/// What a thread tells the main thread.
pub(super) enum Notice {
    /// The core runs.
    Started {
        backend: String,
        own_thread: Option<OwnThread>,
        thread: usize,
    },
    /// The core does not start.
    Refused(String),
    /// All connections that could be opened are open.
    Opened,
}

/// What a thread is given.
pub(super) struct Place {
    pub(super) config: Arc<Config>,
    /// Which of the threads it is, from 0.
    pub(super) thread: usize,
    pub(super) gauges: Arc<Gauges>,
    pub(super) notices: Sender<Notice>,
    pub(super) results: Results,
}

impl Place {
    /// Runs until the main thread ends the run, and stays until it has read this thread's times:
    /// they are gone with the thread, and on a busy host the main thread comes late for them.
    pub(super) fn run(self, mail: MailReceiver<Command>, release: &Receiver<()>) {
        self.drive(mail);
        // Nothing is ever sent: this ends when the other side hangs up.
        let _ = release.recv();
    }

    fn drive(self, mail: MailReceiver<Command>) {
        match self.config.mode {
            Mode::Storm => self.run_storm(mail),
            Mode::Echo | Mode::Idle => self.run_worker(mail),
            Mode::Fanout => self.run_fanout(mail),
            Mode::Churn => self.run_churn(mail),
        }
    }

    /// The main thread reads notices for as long as it needs any; later ones have no reader.
    fn tell(&self, notice: Notice) {
        let _ = self.notices.send(notice);
    }

    /// Tells that this thread has opened its connections.
    fn when_opened(&self) -> impl FnOnce() + 'static {
        let notices = self.notices.clone();
        move || drop(notices.send(Notice::Opened))
    }

    fn build<A>(&self, mail: MailReceiver<Command>) -> Option<Core<A>>
    where
        A: Application<Mail = Command>,
    {
        match Core::build(&core_options(&self.config, self.thread), mail) {
            Ok(core) => {
                self.tell(Notice::Started {
                    backend: core.backend().to_string(),
                    own_thread: OwnThread::current(),
                    thread: self.thread,
                });
                Some(core)
            }
            Err(error) => {
                self.tell(Notice::Refused(error.to_string()));
                None
            }
        }
    }

    /// What every application holds: the configuration, the gauges, and where results go.
    fn shared(&self) -> (Arc<Config>, Arc<Gauges>, Results) {
        let (config, gauges) = (Arc::clone(&self.config), Arc::clone(&self.gauges));
        (config, gauges, self.results.clone())
    }

    fn run_worker(self, mail: MailReceiver<Command>) {
        let Some(core) = self.build(mail) else { return };
        let (config, gauges, results) = self.shared();
        let worker = Worker::new(config, self.thread, gauges, results);
        core.run(worker, async move |handle| {
            opening::wait_for_begin(&self.gauges).await;
            let share = Share::even(&self.config, self.thread);
            self.open(share, handle);
        });
    }

    fn run_fanout(self, mail: MailReceiver<Command>) {
        let Some(core) = self.build(mail) else { return };
        let (config, gauges, results) = self.shared();
        let Some(options) = config.fanout.clone() else {
            return;
        };
        let layout = Arc::new(Layout::new(&options, config.connections, config.seed));
        let thread = self.thread;
        let worker = FanoutWorker::new(config, &options, &layout, thread, gauges, results);
        core.run(worker, async move |handle| {
            opening::wait_for_begin(&self.gauges).await;
            let share = fanout::opening::share(&self.config, &options, &layout, thread);
            fanout::churn::start(&self.config, &options, &layout, &handle);
            self.open(share, handle);
        });
    }

    fn run_churn(self, mail: MailReceiver<Command>) {
        let Some(core) = self.build(mail) else { return };
        let (config, gauges, results) = self.shared();
        let Some(options) = config.churn else {
            return;
        };
        let churner = Churner::new(config, &options, self.thread, gauges, results);
        core.run(churner, async move |handle| {
            opening::wait_for_begin(&self.gauges).await;
            let (thread, opened) = (self.thread, self.when_opened());
            churn::opening::start(&self.config, thread, &self.gauges, &handle, opened);
        });
    }

    fn run_storm(self, mail: MailReceiver<Command>) {
        let Some(core) = self.build(mail) else { return };
        let (config, gauges, results) = self.shared();
        let storm = Storm::new(config, self.thread, gauges, results);
        core.run(storm, async move |handle| {
            Storm::start(&handle);
            self.tell(Notice::Opened);
        });
    }

    fn open<A: opening::Opens>(&self, share: Share, handle: Handle<A>) {
        let (thread, opened) = (self.thread, self.when_opened());
        opening::start(&self.config, thread, share, &self.gauges, handle, opened);
    }
}

fn core_options(config: &Config, thread: usize) -> CoreOptions {
    let sizes = config.message.sizes.as_ref();
    let frame_size = sizes.map_or(config.message_size, Sizes::max) + 14;
    CoreOptions {
        processor: config.cpus.get(thread % config.cpus.len().max(1)).copied(),
        backend: config.backend,
        spin_us: if config.spin { SPIN_US } else { 0 },
        backlog_bytes_max: BACKLOG_BYTES_MIN.max(2 * frame_size * config.in_flight as usize),
        ..CoreOptions::default()
    }
}
