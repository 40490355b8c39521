//! Finds out what io_uring on this host does, by doing it.
//!
//! Version numbers say too little: distributions port features back, and seccomp, sysctl and
//! memory limits refuse what the kernel could do. The probe takes about a millisecond.

use crate::host;
use crate::ring::{Outgoing, Ring, RingCompletion, RingOptions, Waiting};
use std::fmt;
use std::io::{self, Read, Write};
use std::os::fd::{AsFd, AsRawFd};
use std::os::unix::net::UnixStream;

/// Sends of 64 KiB after which a socket that nobody reads must be full, whatever its buffer.
const FILLING_MAX: usize = 4096;

/// What the `uring` backend can use on this host.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Features {
    /// Several receives may share a provided buffer (Linux 6.12).
    pub incremental_buffers: bool,
    /// The kernel's release, for the log.
    pub kernel: String,
}

impl fmt::Display for Features {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let buffers = if self.incremental_buffers {
            "shared"
        } else {
            "one per receive"
        };
        write!(
            f,
            "Linux {}: multishot receive, provided buffers ({buffers}), batched sends",
            self.kernel
        )
    }
}

/// Why io_uring cannot be used. The message names the cause and the cure.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Refusal {
    /// `kernel.io_uring_disabled` has this value.
    Sysctl(u8),
    /// The system call itself is refused: seccomp, or a kernel built without it.
    Forbidden(i32),
    /// The kernel lacks this.
    Lacks {
        /// What did not work.
        what: &'static str,
        /// Errno, or 0 if it worked otherwise than expected.
        errno: i32,
        /// The kernel's release.
        kernel: String,
    },
    /// Locked memory or memory is exhausted.
    Memory,
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Refusal::Sysctl(value) => write!(
                f,
                "the sysctl kernel.io_uring_disabled is {value}; set it to 0 to allow io_uring"
            ),
            Refusal::Forbidden(errno) => write!(
                f,
                "io_uring_setup is refused ({}), as container runtimes do by default; allow \
                 io_uring_setup, io_uring_enter and io_uring_register in the seccomp profile",
                io::Error::from_raw_os_error(*errno)
            ),
            Refusal::Lacks {
                what,
                errno: 0,
                kernel,
            } => {
                write!(
                    f,
                    "Linux {kernel} does not do {what} as needed; 6.1 or newer does"
                )
            }
            Refusal::Lacks {
                what,
                errno,
                kernel,
            } => write!(
                f,
                "Linux {kernel} refuses {what} ({}); 6.1 or newer allows it",
                io::Error::from_raw_os_error(*errno)
            ),
            Refusal::Memory => write!(
                f,
                "not enough memory for a ring; raise the memlock limit (ulimit -l) or free memory"
            ),
        }
    }
}

fn refusal(what: &'static str, error: &io::Error) -> Refusal {
    match error.raw_os_error() {
        Some(libc::ENOMEM) => Refusal::Memory,
        errno => Refusal::Lacks {
            what,
            errno: errno.unwrap_or(0),
            kernel: host::kernel_release(),
        },
    }
}

/// Tries everything that the `uring` backend relies on.
///
/// # Errors
/// The first thing that did not work.
pub fn uring() -> Result<Features, Refusal> {
    let options = RingOptions {
        entries: 8,
        completions: 64,
        waiting: Waiting::Polled,
    };
    let mut ring = Ring::new(&options).map_err(|error| setup_refusal(&error))?;
    check_sends(&mut ring)?;
    let incremental_buffers = match check_receives(ring, true) {
        Ok(()) => true,
        Err(_) => {
            let ring = Ring::new(&options).map_err(|error| setup_refusal(&error))?;
            check_receives(ring, false)?;
            false
        }
    };
    Ok(Features {
        incremental_buffers,
        kernel: host::kernel_release(),
    })
}

fn setup_refusal(error: &io::Error) -> Refusal {
    match error.raw_os_error() {
        Some(errno @ (libc::EPERM | libc::ENOSYS | libc::EACCES)) => {
            match host::io_uring_disabled() {
                Some(value) if value > 0 => Refusal::Sysctl(value),
                _ => Refusal::Forbidden(errno),
            }
        }
        _ => refusal("COOP_TASKRUN and SINGLE_ISSUER rings", error),
    }
}

/// A whole send posts nothing; a short one posts one completion before the call returns.
fn check_sends(ring: &mut Ring) -> Result<(), Refusal> {
    const WHAT: &str = "sends that complete without a completion";
    let pair = || UnixStream::pair().map_err(|error| refusal("socket pairs", &error));
    let (sender, mut receiver) = pair()?;
    let mut shortfalls = Vec::new();
    let bytes = [7_u8; 64];
    let outgoing = Outgoing {
        fd: sender.as_fd(),
        bytes: &bytes,
    };
    ring.send_batch(std::iter::once(outgoing), &mut shortfalls);
    let mut received = [0_u8; 64];
    let is_whole = shortfalls.is_empty() && receiver.read_exact(&mut received).is_ok();
    // Nobody reads these, so the socket is full after a few of them.
    let filling = [7_u8; 64 * 1024];
    for _ in 0..FILLING_MAX {
        let outgoing = Outgoing {
            fd: sender.as_fd(),
            bytes: &filling,
        };
        ring.send_batch(std::iter::once(outgoing), &mut shortfalls);
        if !shortfalls.is_empty() {
            break;
        }
    }
    let is_short = shortfalls.len() == 1 && (shortfalls[0].result as i64) < filling.len() as i64;
    if is_whole && is_short && received == bytes {
        return Ok(());
    }
    Err(Refusal::Lacks {
        what: WHAT,
        errno: 0,
        kernel: host::kernel_release(),
    })
}

/// Two messages give two completions of one multishot receive, with the right bytes, and the
/// ring's descriptor becomes readable for whoever polls it.
fn check_receives(mut ring: Ring, incremental: bool) -> Result<(), Refusal> {
    const WHAT: &str = "multishot receives into provided buffers";
    let wrong = || Refusal::Lacks {
        what: WHAT,
        errno: 0,
        kernel: host::kernel_release(),
    };
    ring.provide_buffers(2, 4096, incremental)
        .map_err(|error| refusal(WHAT, &error))?;
    let (mut sender, receiver) =
        UnixStream::pair().map_err(|error| refusal("socket pairs", &error))?;
    ring.receive_multishot(receiver.as_raw_fd(), 1, true);
    ring.submit();
    for message in [b"first", b"again"] {
        sender
            .write_all(message)
            .map_err(|error| refusal("socket pairs", &error))?;
        let completion = wait_for_one(&mut ring).ok_or_else(wrong)?;
        if completion.result() < 0 {
            return Err(refusal(
                WHAT,
                &io::Error::from_raw_os_error(-completion.result()),
            ));
        }
        let chunk = ring.take_chunk(&completion).ok_or_else(wrong)?;
        let buffers = ring.buffers().ok_or_else(wrong)?;
        if buffers.bytes(&chunk) != message || !completion.more_follows() {
            return Err(wrong());
        }
        buffers.release(chunk);
    }
    drop(sender);
    let last = wait_for_one(&mut ring).ok_or_else(wrong)?;
    ring.receive_ended();
    if last.result() == 0 && !last.more_follows() {
        Ok(())
    } else {
        Err(wrong())
    }
}

fn wait_for_one(ring: &mut Ring) -> Option<RingCompletion> {
    let mut completions = Vec::new();
    {
        let mut fds = [rustix::event::PollFd::new(
            &*ring,
            rustix::event::PollFlags::IN,
        )];
        let limit = rustix::time::Timespec {
            tv_sec: 1,
            tv_nsec: 0,
        };
        rustix::event::poll(&mut fds, Some(&limit)).ok()?;
    }
    ring.take_completions(1, &mut completions);
    completions.pop()
}
