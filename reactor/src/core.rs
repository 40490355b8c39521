//! One pinned core: a monoio runtime for conversations, and the data loop as one of its tasks.
//!
//! The runtime accepts, shakes hands and waits for outside answers. The data loop drives every
//! established connection through a shard, and sleeps by waiting, through the runtime, for its
//! backend's descriptor to become readable. Two rules of monoio 0.2.4 shape this file: a task
//! that wakes itself starves its peers and all timers, so yielding goes through a descriptor
//! ("pend, then signal"); and a poll operation that is dropped costs a cancel, so the one that
//! waits for the backend is kept while establishment wakes the loop.

use crate::application::Application;
use crate::backend::Backend;
use crate::io::{Counters, Io};
use crate::mail::MailReceiver;
use crate::shard::{Adoptions, Progress, Shard};
use crate::start::{BackendReport, CoreOptions, StartError, Started, Tier};
use crate::sys;
use std::cell::{Cell, RefCell};
use std::future::{Future, poll_fn};
use std::io as std_io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::pin::{Pin, pin};
use std::rc::Rc;
use std::task::{Context, Poll, Waker};

/// The data loop lets the runtime's other tasks run at least this often while it is busy.
const YIELD_EVERY_NS: u64 = 1_000_000;
/// Looks at the queues between two looks at the clock while spinning.
const SPINS_PER_CLOCK_READ: u32 = 16;

/// State shared by the data loop and the establishment tasks of one core.
struct Shared<A: Application> {
    application: RefCell<A>,
    io: RefCell<Io>,
    adoptions: RefCell<Adoptions<A>>,
    /// The data loop has been given something to do.
    is_notified: Cell<bool>,
    waker: RefCell<Option<Waker>>,
    is_stopping: Cell<bool>,
}

impl<A: Application> Shared<A> {
    fn notify(&self) {
        self.is_notified.set(true);
        if let Some(waker) = self.waker.borrow_mut().take() {
            waker.wake();
        }
    }
}

/// How establishment tasks reach the shard of their core.
pub struct Handle<A: Application> {
    shared: Rc<Shared<A>>,
}

impl<A: Application> Clone for Handle<A> {
    fn clone(&self) -> Handle<A> {
        Handle {
            shared: Rc::clone(&self.shared),
        }
    }
}

impl<A: Application> Handle<A> {
    /// Hands an established socket to the data loop; `on_adopted` follows in its next turn.
    pub fn adopt(&self, socket: impl Into<OwnedFd>, adopted: A::Adopted) {
        self.shared
            .adoptions
            .borrow_mut()
            .push_back((socket.into(), adopted));
        self.shared.notify();
    }

    /// Runs `f` between two turns; what it asks of [`Io`] takes effect in the next one.
    ///
    /// # Panics
    /// When called from inside a callback of the application: callbacks are given both already.
    pub fn with<R>(&self, f: impl FnOnce(&mut A, &mut Io) -> R) -> R {
        let mut application = self.shared.application.borrow_mut();
        let mut io = self.shared.io.borrow_mut();
        io.now_ns = io.read_clock_ns();
        let result = f(&mut application, &mut io);
        self.shared.notify();
        result
    }

    /// Starts another establishment task on this core.
    pub fn spawn(&self, future: impl Future<Output = ()> + 'static) {
        drop(monoio::spawn(future));
    }

    /// Connections of the shard, those on their way to it included.
    pub fn open_count(&self) -> usize {
        self.shared.io.borrow().open_count() + self.shared.adoptions.borrow().len()
    }

    /// Ends the shard: see [`Io::stop`].
    pub fn stop(&self) {
        self.shared.is_stopping.set(true);
        self.shared.io.borrow_mut().stop();
        self.shared.notify();
    }

    /// Whether the shard is ending.
    pub fn is_stopping(&self) -> bool {
        self.shared.is_stopping.get() || self.shared.io.try_borrow().is_ok_and(|io| io.is_stopping)
    }
}

/// What a core did.
#[derive(Debug, Clone, Copy)]
pub struct Report {
    /// Counts of the shard.
    pub counters: Counters,
    /// CPU time of the core's thread, in nanoseconds.
    pub cpu_ns: u64,
}

/// One core, ready to run. Built on the thread that runs it, and bound to that thread.
pub struct Core<A: Application> {
    started: Started,
    mail: MailReceiver<A::Mail>,
    options: CoreOptions,
}

impl<A: Application> Core<A> {
    /// Pins the calling thread, chooses and starts a backend, creates the runtime.
    ///
    /// # Errors
    /// When the processor cannot be had, when a forced backend is refused, or when descriptors
    /// or memory do not suffice; the message says which and what to do.
    pub fn build(
        options: &CoreOptions,
        mail: MailReceiver<A::Mail>,
    ) -> Result<Core<A>, StartError> {
        let doorbell = || mail.event().map_err(StartError::Descriptors);
        let started = Started::new(options, doorbell)?;
        Ok(Core {
            started,
            mail,
            options: options.clone(),
        })
    }

    /// Which backend runs, and why.
    pub fn backend(&self) -> &BackendReport {
        &self.started.report
    }

    /// Runs the shard until it is stopped. `establish` is the first establishment task: an
    /// accept loop, or a connector.
    pub fn run<E>(self, application: A, establish: E) -> Report
    where
        E: AsyncFnOnce(Handle<A>) + 'static,
    {
        let io = Io::new(self.options.backlog_bytes_max, sys::monotonic_ns);
        let shared = Rc::new(Shared {
            application: RefCell::new(application),
            io: RefCell::new(io),
            adoptions: RefCell::default(),
            is_notified: Cell::new(false),
            waker: RefCell::new(None),
            is_stopping: Cell::new(false),
        });
        let handle = Handle {
            shared: Rc::clone(&shared),
        };
        let spin_ns = u64::from(self.options.spin_us) * 1_000;
        let mail = self.mail;
        let mut runtime = self.started.runtime;
        match self.started.tier {
            Tier::Uring(backend) => runtime.block_on(async move {
                drop(monoio::spawn(async move { establish(handle).await }));
                run_loop(Shard::new(*backend, mail), &shared, spin_ns).await
            }),
            Tier::Epoll(backend) => runtime.block_on(async move {
                drop(monoio::spawn(async move { establish(handle).await }));
                run_loop(Shard::new(*backend, mail), &shared, spin_ns).await
            }),
        }
    }
}

async fn run_loop<B, A>(mut shard: Shard<B, A::Mail>, shared: &Shared<A>, spin_ns: u64) -> Report
where
    B: Backend,
    A: Application,
{
    let poller = watch(shard.backend.wait_fd()).expect("a duplicate of an open descriptor");
    let yielder = Yielder::new().expect("a descriptor: the core reserved some at its start");
    let mut yielded_ns = sys::monotonic_ns();
    'turns: loop {
        // Kept while establishment wakes the loop: see the module.
        let mut readable = pin!(poller.readable(false));
        loop {
            match take_turns(&mut shard, shared, spin_ns, yielded_ns) {
                Pause::Stopped => return finish(shared),
                Pause::Yield => {
                    yielder.pass().await;
                    yielded_ns = sys::monotonic_ns();
                    continue;
                }
                Pause::Sleep => {}
            }
            if let Some(at_ns) = Shard::<B, A::Mail>::next_wake_ns(&shared.io.borrow()) {
                shard.backend.wake_at(at_ns);
            }
            if !shard.mail.fall_asleep() {
                continue;
            }
            shared.io.borrow_mut().counters.sleeps += 1;
            let woken = sleep(readable.as_mut(), shared).await;
            shard.mail.wake_up();
            yielded_ns = sys::monotonic_ns();
            if let Woken::ByBackend = woken {
                continue 'turns;
            }
        }
    }
}

fn finish<A: Application>(shared: &Shared<A>) -> Report {
    Report {
        counters: shared.io.borrow().counters,
        cpu_ns: sys::thread_cpu_ns(),
    }
}

/// Why the data loop pauses.
enum Pause {
    Stopped,
    Yield,
    Sleep,
}

/// Takes turns as long as there is work, and spins for more if asked to.
fn take_turns<B, A>(
    shard: &mut Shard<B, A::Mail>,
    shared: &Shared<A>,
    spin_ns: u64,
    yielded_ns: u64,
) -> Pause
where
    B: Backend,
    A: Application,
{
    // When a poll began that found work: it ended with the turn that follows.
    let mut spun_from_ns = None;
    loop {
        let progress = take_turn(shard, shared);
        let now_ns = shared.io.borrow().now_ns;
        if let Some(from_ns) = spun_from_ns.take() {
            count_spinning(shared, from_ns, now_ns);
        }
        match progress {
            Progress::Stopped => return Pause::Stopped,
            Progress::Busy if now_ns.saturating_sub(yielded_ns) > YIELD_EVERY_NS => {
                return Pause::Yield;
            }
            Progress::Busy => {}
            Progress::Idle if shared.is_notified.get() => {}
            Progress::Idle if spin_ns > 0 => {
                let from_ns = sys::monotonic_ns();
                let found = spin(shard, shared, from_ns, spin_ns, yielded_ns);
                if found == Spin::FoundWork {
                    spun_from_ns = Some(from_ns);
                    continue;
                }
                count_spinning(shared, from_ns, sys::monotonic_ns());
                return match found {
                    Spin::MustYield => Pause::Yield,
                    Spin::FoundWork | Spin::FoundNothing => Pause::Sleep,
                };
            }
            Progress::Idle => return Pause::Sleep,
        }
    }
}

fn count_spinning<A: Application>(shared: &Shared<A>, from_ns: u64, until_ns: u64) {
    shared.io.borrow_mut().counters.spun_ns += until_ns.saturating_sub(from_ns);
}

fn take_turn<B, A>(shard: &mut Shard<B, A::Mail>, shared: &Shared<A>) -> Progress
where
    B: Backend,
    A: Application,
{
    shared.is_notified.set(false);
    // Taken out, so that a callback may hand over a socket through a `Handle` it keeps.
    let mut adoptions = std::mem::take(&mut *shared.adoptions.borrow_mut());
    let progress = {
        let mut application = shared.application.borrow_mut();
        let mut io = shared.io.borrow_mut();
        if shared.is_stopping.get() {
            io.stop();
        }
        shard.turn(&mut io, &mut *application, &mut adoptions)
    };
    let mut queue = shared.adoptions.borrow_mut();
    while let Some(left) = adoptions.pop_back() {
        queue.push_front(left);
    }
    if queue.is_empty() {
        // Keeps the memory of the queue from turn to turn.
        *queue = adoptions;
        progress
    } else if progress == Progress::Stopped {
        // Handed over after the end: closed with the queue.
        progress
    } else {
        Progress::Busy
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Spin {
    FoundWork,
    FoundNothing,
    MustYield,
}

/// Polls for at most `spin_ns` from `start_ns`, without a system call unless the kernel asks for
/// one.
fn spin<B, A>(
    shard: &mut Shard<B, A::Mail>,
    shared: &Shared<A>,
    start_ns: u64,
    spin_ns: u64,
    yielded_ns: u64,
) -> Spin
where
    B: Backend,
    A: Application,
{
    let wake_ns = Shard::<B, A::Mail>::next_wake_ns(&shared.io.borrow()).unwrap_or(u64::MAX);
    loop {
        for _ in 0..SPINS_PER_CLOCK_READ {
            if shard.backend.is_ready() || !shard.mail.is_empty() {
                return Spin::FoundWork;
            }
            std::hint::spin_loop();
        }
        let now_ns = sys::monotonic_ns();
        if now_ns >= wake_ns {
            return Spin::FoundWork;
        }
        if now_ns.saturating_sub(start_ns) >= spin_ns {
            return Spin::FoundNothing;
        }
        if now_ns.saturating_sub(yielded_ns) > YIELD_EVERY_NS {
            return Spin::MustYield;
        }
    }
}

enum Woken {
    ByBackend,
    ByEstablishment,
}

/// Sleeps until the backend has something or an establishment task asks for a turn.
async fn sleep<A, F>(mut readable: Pin<&mut F>, shared: &Shared<A>) -> Woken
where
    A: Application,
    F: Future<Output = std_io::Result<()>>,
{
    poll_fn(|context: &mut Context<'_>| {
        if shared.is_notified.get() {
            return Poll::Ready(Woken::ByEstablishment);
        }
        if readable.as_mut().poll(context).is_ready() {
            return Poll::Ready(Woken::ByBackend);
        }
        *shared.waker.borrow_mut() = Some(context.waker().clone());
        Poll::Pending
    })
    .await
}

/// A duplicate of `fd` that the runtime can wait for. Its end does not close the original.
fn watch(fd: BorrowedFd<'_>) -> std_io::Result<monoio::net::TcpStream> {
    let duplicate: OwnedFd = fd.try_clone_to_owned()?;
    monoio::net::TcpStream::from_std(std::net::TcpStream::from(duplicate))
}

/// Lets every other task of the runtime run, and its timers fire.
///
/// The future first waits for an event that has not happened, so that the runtime queues it, and
/// then makes it happen: the runtime goes through its other tasks and its park on the way.
struct Yielder {
    event: OwnedFd,
    stream: monoio::net::TcpStream,
}

impl Yielder {
    fn new() -> std_io::Result<Yielder> {
        let event = sys::event()?;
        let stream = watch(event.as_fd())?;
        Ok(Yielder { event, stream })
    }

    async fn pass(&self) {
        sys::drain_event(&self.event);
        let mut readable = pin!(self.stream.readable(false));
        let mut has_signalled = false;
        let result = poll_fn(|context| {
            let poll = readable.as_mut().poll(context);
            if poll.is_pending() && !has_signalled {
                has_signalled = true;
                sys::signal_event(&self.event);
            }
            poll
        });
        // An error of the poll would only mean that the pass was shorter.
        let _ = result.await;
    }
}
