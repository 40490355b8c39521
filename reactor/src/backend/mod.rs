//! The seam between a shard and the kernel.
//!
//! A backend moves bytes and reports what happened; it knows no policy. There are two on real
//! kernels, [`UringBackend`] and [`EpollBackend`], and the trait is small enough for a simulated
//! one: everything nondeterministic that a shard sees, the clock included, comes through here.

mod epoll;
mod uring;

pub use crate::ring::Chunk;
pub use epoll::EpollBackend;
pub use uring::{UringBackend, UringOptions};

use crate::ring::{Outgoing, SendShortfall};
use crate::token::Token;
use std::io;
use std::os::fd::{BorrowedFd, OwnedFd};

/// Something that happened, copied out of the kernel before any of it is handled.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Completion {
    /// Bytes arrived. With `is_last` the receive has ended and may be armed again.
    Received {
        /// The connection.
        token: Token,
        /// Where the bytes are; to be released whatever becomes of the connection.
        chunk: Chunk,
        /// No further completion of this receive follows.
        is_last: bool,
    },
    /// The receive has ended: 0 at the end of the stream, or a negated errno. ECANCELED after a
    /// cancel, ENOBUFS when no buffer was free; neither means that anything is wrong.
    ReceiveEnded {
        /// The connection.
        token: Token,
        /// 0 or a negated errno.
        result: i32,
    },
    /// The socket takes bytes again.
    Writable {
        /// The connection.
        token: Token,
    },
    /// Another thread rang.
    Doorbell,
    /// The time given to `wake_at` has come.
    Wake,
}

/// A kernel as a shard sees it.
///
/// Contract: a token is armed at most once at a time for each of receiving and writability;
/// the shard frees a slot only when every armed operation has reported its end.
pub trait Backend {
    /// CLOCK_MONOTONIC in nanoseconds.
    fn clock(&self) -> fn() -> u64;

    /// Gets to know a new socket, before anything else is asked for it.
    ///
    /// # Errors
    /// ENOMEM or ENOSPC when the kernel cannot watch one more descriptor.
    fn attach(&mut self, token: Token, fd: BorrowedFd<'_>) -> io::Result<()>;

    /// Receives until the end, an error or a cancel is reported. With `expects_data` bytes are
    /// known to wait, so that it pays to try before waiting for a signal.
    fn arm_receive(&mut self, token: Token, fd: BorrowedFd<'_>, expects_data: bool);

    /// Ends the receive. True: `ReceiveEnded` will follow. False: it has ended already.
    fn cancel_receive(&mut self, token: Token, fd: BorrowedFd<'_>) -> bool;

    /// Reports once when the socket takes bytes again.
    fn arm_writable(&mut self, token: Token, fd: BorrowedFd<'_>);

    /// Ends every operation on the socket. True: those that were armed will report their end.
    fn cancel_all(&mut self, token: Token, fd: BorrowedFd<'_>) -> bool;

    /// Closes a socket on which nothing is armed.
    fn close(&mut self, fd: OwnedFd);

    /// Sends each entry as far as its socket takes it, without waiting. What was not whole is
    /// appended to `shortfalls`. Returns the number of entries.
    fn send_batch<'a>(
        &mut self,
        batch: impl Iterator<Item = Outgoing<'a>>,
        shortfalls: &mut Vec<SendShortfall>,
    ) -> u32;

    /// Moves at most `limit` completions to `out`. Does not wait. `fds` gives the socket of a
    /// token, or `None` if the connection is gone.
    fn poll<'s>(
        &mut self,
        limit: usize,
        fds: &dyn Fn(Token) -> Option<BorrowedFd<'s>>,
        out: &mut Vec<Completion>,
    );

    /// The bytes of a chunk.
    fn bytes(&mut self, chunk: &Chunk) -> &mut [u8];

    /// Gives a chunk back, in the order of the completions.
    fn release(&mut self, chunk: Chunk);

    /// About how many receives would find memory now; without it they end with ENOBUFS.
    fn receives_possible(&self) -> usize;

    /// Asks for [`Completion::Wake`] at `at_ns`. Wakes asked for earlier may still come.
    fn wake_at(&mut self, at_ns: u64);

    /// Hands over everything that is still queued.
    fn submit(&mut self);

    /// Whether `poll` would find something. Cheap: called in a loop while spinning.
    fn is_ready(&mut self) -> bool;

    /// What to watch for readability while the shard sleeps.
    fn wait_fd(&self) -> BorrowedFd<'_>;

    /// System calls made, and completion queue overflows met, so far.
    fn statistics(&self) -> (u64, u64);
}
