//! Starting a core: pin, choose a backend, create the runtime. Every refusal says what to do.

use crate::backend::{EpollBackend, UringBackend, UringOptions};
use crate::host;
use crate::probe::{self, Features, Refusal};
use monoio::time::TimeDriver;
use monoio::{IoUringDriver, LegacyDriver, RuntimeBuilder};
use std::fmt;
use std::future::Future;
use std::io;
use std::os::fd::OwnedFd;

/// Which backend is wanted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum BackendChoice {
    /// io_uring if the host does what is needed, else epoll.
    #[default]
    Auto,
    /// io_uring or an error.
    Uring,
    /// epoll, without looking at io_uring.
    Epoll,
}

/// Settings of one core.
#[derive(Debug, Clone)]
pub struct CoreOptions {
    /// Processor to bind the thread to; `None` lets it wander.
    pub processor: Option<usize>,
    /// Which backend is wanted.
    pub backend: BackendChoice,
    /// How long an idle core polls memory before it sleeps, in microseconds. Costs a busy
    /// processor, saves the time that sleeping and waking take. 0 never polls.
    pub spin_us: u32,
    /// Unsent bytes that close a connection, per connection.
    pub backlog_bytes_max: usize,
    /// Receive buffers of the `uring` backend (a power of two).
    pub receive_buffer_count: u16,
    /// Bytes of each, where several receives share a buffer (Linux 6.12).
    pub receive_buffer_size: u32,
    /// Sends that one system call carries at most.
    pub ring_entries: u32,
    /// Completions that can wait.
    pub ring_completions: u32,
}

impl Default for CoreOptions {
    fn default() -> CoreOptions {
        CoreOptions {
            processor: None,
            backend: BackendChoice::Auto,
            spin_us: 0,
            backlog_bytes_max: 4 << 20,
            receive_buffer_count: 8,
            receive_buffer_size: 256 * 1024,
            ring_entries: 1024,
            ring_completions: 16_384,
        }
    }
}

/// Bytes of a receive buffer where each receive takes a whole one (before Linux 6.12).
const WHOLE_BUFFER_SIZE: u32 = 4096;

/// Why a core could not start.
#[derive(Debug)]
pub enum StartError {
    /// The processor does not exist or the process may not use it.
    Processor {
        /// As asked for.
        asked: usize,
        /// The processors that may be used.
        allowed: Vec<usize>,
    },
    /// The `uring` backend was forced, and the host refuses it.
    Refused(Refusal),
    /// The ring could not be created although the probe succeeded.
    Ring(io::Error),
    /// No descriptors left.
    Descriptors(io::Error),
    /// The monoio runtime could not be created.
    Runtime(io::Error),
}

impl fmt::Display for StartError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            StartError::Processor { asked, allowed } => write!(
                f,
                "processor {asked} cannot be used; this process may run on {allowed:?} (see \
                 taskset, cpuset cgroups and container limits)"
            ),
            StartError::Refused(refusal) => write!(
                f,
                "the uring backend cannot run here: {refusal}. Or use the epoll backend, which \
                 runs everywhere"
            ),
            StartError::Ring(error) => write!(
                f,
                "the data ring could not be created: {error}. Raise the memlock limit (ulimit \
                 -l), or ask for fewer entries and buffers"
            ),
            StartError::Descriptors(error) => {
                write!(
                    f,
                    "no descriptor left for a core: {error}. Raise the limit (ulimit -n)"
                )
            }
            StartError::Runtime(error) => {
                write!(f, "the runtime of a core could not be created: {error}")
            }
        }
    }
}

impl std::error::Error for StartError {}

/// Which backend runs, and why. Its `Display` is one line for the log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BackendReport {
    /// `uring` or `epoll`.
    pub name: &'static str,
    /// Why this one.
    pub reason: String,
}

impl fmt::Display for BackendReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ({})", self.name, self.reason)
    }
}

/// A backend that has been started.
pub(crate) enum Tier {
    Uring(Box<UringBackend>),
    Epoll(Box<EpollBackend>),
}

/// A monoio runtime on the driver that fits the tier.
pub(crate) enum Runtime {
    Uring(Box<monoio::Runtime<TimeDriver<IoUringDriver>>>),
    Legacy(Box<monoio::Runtime<TimeDriver<LegacyDriver>>>),
}

impl Runtime {
    pub(crate) fn block_on<F>(&mut self, future: F) -> F::Output
    where
        F: Future + 'static,
        F::Output: 'static,
    {
        match self {
            Runtime::Uring(runtime) => runtime.block_on(future),
            Runtime::Legacy(runtime) => runtime.block_on(future),
        }
    }
}

/// Everything that a core needs to run.
pub(crate) struct Started {
    pub(crate) runtime: Runtime,
    pub(crate) tier: Tier,
    pub(crate) report: BackendReport,
}

impl Started {
    pub(crate) fn new(
        options: &CoreOptions,
        doorbell: impl Fn() -> Result<OwnedFd, StartError>,
    ) -> Result<Started, StartError> {
        if let Some(asked) = options.processor
            && !host::pin(asked)
        {
            return Err(StartError::Processor {
                asked,
                allowed: host::processors(),
            });
        }
        match options.backend {
            BackendChoice::Epoll => start_epoll(doorbell()?, "chosen by the backend option".into()),
            BackendChoice::Uring => {
                let features = probe::uring().map_err(StartError::Refused)?;
                start_uring(options, &features, doorbell()?)
            }
            BackendChoice::Auto => {
                let reason = match probe::uring() {
                    Ok(features) => match start_uring(options, &features, doorbell()?) {
                        Ok(started) => return Ok(started),
                        Err(error) => error.to_string(),
                    },
                    Err(refusal) => refusal.to_string(),
                };
                start_epoll(doorbell()?, format!("io_uring is not usable: {reason}"))
            }
        }
    }
}

fn start_uring(
    options: &CoreOptions,
    features: &Features,
    doorbell: OwnedFd,
) -> Result<Started, StartError> {
    let total = options.receive_buffer_size * u32::from(options.receive_buffer_count);
    let (buffer_count, buffer_size) = if features.incremental_buffers {
        (options.receive_buffer_count, options.receive_buffer_size)
    } else {
        // The same memory in as many small buffers.
        (
            u16::try_from(total / WHOLE_BUFFER_SIZE).unwrap_or(1 << 14),
            WHOLE_BUFFER_SIZE,
        )
    };
    let sizes = UringOptions {
        entries: options.ring_entries,
        completions: options.ring_completions,
        buffer_count,
        buffer_size,
        incremental: features.incremental_buffers,
    };
    let backend = UringBackend::new(&sizes, doorbell).map_err(StartError::Ring)?;
    let report = BackendReport {
        name: "uring",
        reason: features.to_string(),
    };
    Ok(Started {
        runtime: uring_runtime()?,
        tier: Tier::Uring(Box::new(backend)),
        report,
    })
}

fn start_epoll(doorbell: OwnedFd, reason: String) -> Result<Started, StartError> {
    let backend = EpollBackend::new(doorbell).map_err(StartError::Descriptors)?;
    let runtime = RuntimeBuilder::<LegacyDriver>::new().enable_timer().build();
    let runtime = Runtime::Legacy(Box::new(runtime.map_err(StartError::Runtime)?));
    let report = BackendReport {
        name: "epoll",
        reason,
    };
    Ok(Started {
        runtime,
        tier: Tier::Epoll(Box::new(backend)),
        report,
    })
}

fn uring_runtime() -> Result<Runtime, StartError> {
    // Not DEFER_TASKRUN: monoio 0.2.4 would reap nothing while any task is runnable.
    let mut ring = io_uring_06::IoUring::builder();
    ring.setup_single_issuer().setup_coop_taskrun();
    let runtime = RuntimeBuilder::<IoUringDriver>::new()
        .uring_builder(ring)
        .enable_timer()
        .build();
    Ok(Runtime::Uring(Box::new(
        runtime.map_err(StartError::Runtime)?,
    )))
}
