//! A thin safe face on one io_uring instance.
//!
//! It offers exactly the operations that a socket server wants, and keeps the promises that
//! the raw interface asks of its caller: memory that the kernel writes belongs to the ring,
//! memory that the kernel reads is borrowed for the call only. It knows no connections. The
//! `uring` backend is made of it, and so are the floor programs that the server is measured
//! against.

mod buffers;

pub use buffers::{BufferRing, Chunk};

use io_uring::{IoUring, cqueue, opcode, squeue, types};
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, IntoRawFd, OwnedFd, RawFd};

/// Group id of the only buffer ring.
const BUFFER_GROUP: u16 = 1;
/// `user_data` bit that marks a send of the batch in progress. Callers have the lower 62 bits.
const SEND_MARK: u64 = 1 << 63;
/// `user_data` bit that marks an accept.
const ACCEPT_MARK: u64 = 1 << 62;
const MARKS: u64 = SEND_MARK | ACCEPT_MARK;
/// A send that completes at once or not at all, and whole or short but never later.
const SEND_FLAGS: i32 = libc::MSG_WAITALL | libc::MSG_DONTWAIT | libc::MSG_NOSIGNAL;

/// How the ring's owner waits, which decides when the kernel posts completions.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Waiting {
    /// Somebody polls the ring's file descriptor (COOP_TASKRUN, Linux 5.19). A deferred ring
    /// would never wake its poller.
    Polled,
    /// The owner itself waits in [`Ring::enter`] (DEFER_TASKRUN, Linux 6.1).
    Alone,
}

/// Sizes and mode of a ring.
#[derive(Debug, Clone)]
pub struct RingOptions {
    /// Submission queue entries; also the most sends that one system call carries.
    pub entries: u32,
    /// Completion queue entries. Should exceed the number of completions that can arrive
    /// between two visits, because an overflowing queue costs an extra system call.
    pub completions: u32,
    /// How the owner waits.
    pub waiting: Waiting,
}

impl Default for RingOptions {
    fn default() -> RingOptions {
        RingOptions {
            entries: 1024,
            completions: 16_384,
            waiting: Waiting::Polled,
        }
    }
}

/// A completion, copied out of the queue.
///
/// Only the ring makes these, and they cannot be copied, so a descriptor in one of them is taken
/// over at most once.
#[derive(Debug, PartialEq, Eq)]
pub struct RingCompletion {
    user_data: u64,
    result: i32,
    flags: u32,
}

impl RingCompletion {
    /// As given with the operation.
    pub fn user_data(&self) -> u64 {
        self.user_data & !MARKS
    }

    /// Bytes, or a negated errno.
    pub fn result(&self) -> i32 {
        self.result
    }

    /// Whether the multishot operation goes on. Without this it has ended and must be armed
    /// again, whatever the result is.
    pub fn more_follows(&self) -> bool {
        cqueue::more(self.flags)
    }

    /// The socket that [`Ring::accept_multishot`] accepted; `None` for every other operation.
    ///
    /// # Errors
    /// EMFILE, ENFILE, ECONNABORTED and whatever else accept(2) reports.
    pub fn into_accepted(self) -> Option<io::Result<OwnedFd>> {
        if self.user_data & ACCEPT_MARK == 0 {
            return None;
        }
        if self.result < 0 {
            return Some(Err(io::Error::from_raw_os_error(-self.result)));
        }
        // SAFETY: the kernel has just installed this descriptor for the accept, and this value,
        // which cannot be copied, was its only mention.
        Some(Ok(unsafe { OwnedFd::from_raw_fd(self.result) }))
    }
}

/// One entry of a batch of sends.
#[derive(Debug, Clone, Copy)]
pub struct Outgoing<'a> {
    /// The socket.
    pub fd: BorrowedFd<'a>,
    /// Read by the kernel during [`Ring::send_batch`] only.
    pub bytes: &'a [u8],
}

/// A send that was not whole: which of the batch, and bytes taken or a negated errno.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SendShortfall {
    /// Position in the batch.
    pub index: u32,
    /// Bytes that the socket took, or a negated errno (`-EAGAIN`: it took none).
    pub result: i32,
}

/// One io_uring instance with at most one buffer ring.
pub struct Ring {
    // Declared before the buffers: the ring is closed first, so that the kernel has no
    // registered buffers left when their memory goes.
    ring: IoUring,
    buffers: Option<BufferRing>,
    /// Completions copied out while looking for the results of a batch.
    stash: Vec<RingCompletion>,
    /// Read by the kernel when a timeout is submitted.
    timeout: Box<types::Timespec>,
    /// Multishot and poll operations in the kernel. Their memory must outlive them.
    armed: usize,
    /// Entries into the kernel, for the counters.
    enters: u64,
    /// Times that the completion queue was found to have overflowed.
    overflows: u64,
}

impl Ring {
    /// Creates the ring.
    ///
    /// # Errors
    /// EPERM or ENOSYS when io_uring is refused (seccomp, `kernel.io_uring_disabled`), EINVAL
    /// when the kernel is older than the flags, ENOMEM when locked memory is exhausted.
    pub fn new(options: &RingOptions) -> io::Result<Ring> {
        let mut builder = IoUring::builder();
        builder
            .setup_single_issuer()
            .setup_submit_all()
            .setup_clamp();
        builder
            .setup_cqsize(options.completions.max(options.entries))
            .dontfork();
        match options.waiting {
            Waiting::Polled => builder.setup_coop_taskrun().setup_taskrun_flag(),
            Waiting::Alone => builder.setup_defer_taskrun().setup_taskrun_flag(),
        };
        let ring = builder.build(options.entries)?;
        Ok(Ring {
            ring,
            buffers: None,
            stash: Vec::new(),
            timeout: Box::default(),
            armed: 0,
            enters: 0,
            overflows: 0,
        })
    }

    /// Registers receive memory: `count` buffers of `size` bytes, `incremental` if several
    /// receives may share a buffer (Linux 6.12).
    ///
    /// # Errors
    /// EINVAL when the kernel lacks buffer rings or the incremental mode, EEXIST when called twice.
    pub fn provide_buffers(&mut self, count: u16, size: u32, incremental: bool) -> io::Result<()> {
        if self.buffers.is_some() {
            return Err(io::Error::from_raw_os_error(libc::EEXIST));
        }
        let mut buffers = BufferRing::allocate(count, size, incremental)?;
        let flags = if incremental { buffers::INCREMENTAL } else { 0 };
        // SAFETY: the entries are a zeroed mapping of the right size that lives as long as the
        // ring: both are fields of `self`, and `drop` leaks the memory if the kernel may use it.
        unsafe {
            self.ring.submitter().register_buf_ring_with_flags(
                buffers.entries_address(),
                buffers.count(),
                BUFFER_GROUP,
                flags,
            )
        }?;
        buffers.provide_all();
        self.buffers = Some(buffers);
        Ok(())
    }

    /// The receive memory, if provided.
    pub fn buffers(&mut self) -> Option<&mut BufferRing> {
        self.buffers.as_mut()
    }

    /// Buffers that the kernel may fill at present.
    pub fn buffers_available(&self) -> u16 {
        self.buffers.as_ref().map_or(0, BufferRing::available)
    }

    /// Queues an entry, entering the kernel first if the queue is full.
    ///
    /// Every pointer in `entry` must stay valid as long as the kernel may use it; callers in
    /// this module see to that.
    fn push(&mut self, entry: &squeue::Entry) {
        loop {
            // SAFETY: all entries are built in this module, from descriptors (a wrong one gives
            // EBADF), from memory owned by `self`, or from memory borrowed until `send_batch`
            // has entered the kernel.
            let pushed = unsafe { self.ring.submission().push(entry) };
            if pushed.is_ok() {
                return;
            }
            self.submit();
        }
    }

    /// Receives on `fd` until cancelled, ended or out of buffers; each completion carries a
    /// slice of the provided buffers. With `poll_first` no attempt is made before the socket
    /// signals data, which is right for a socket that is expected to be idle.
    pub fn receive_multishot(&mut self, fd: RawFd, user_data: u64, poll_first: bool) {
        const MULTISHOT: u16 = 1 << 1; // IORING_RECV_MULTISHOT, Linux 6.0
        const POLL_FIRST: u16 = 1 << 0; // IORING_RECVSEND_POLL_FIRST, Linux 5.19
        let priority = if poll_first {
            MULTISHOT | POLL_FIRST
        } else {
            MULTISHOT
        };
        let entry = opcode::Recv::new(types::Fd(fd), std::ptr::null_mut(), 0)
            .ioprio(priority)
            .buf_group(BUFFER_GROUP)
            .build()
            .flags(squeue::Flags::BUFFER_SELECT)
            .user_data(user_data);
        self.armed += 1;
        self.push(&entry);
    }

    /// Accepts on `fd` until cancelled; each completion carries a new descriptor (Linux 5.19).
    pub fn accept_multishot(&mut self, fd: BorrowedFd<'_>, user_data: u64) {
        let entry = opcode::AcceptMulti::new(types::Fd(fd.as_raw_fd()))
            .flags(libc::SOCK_CLOEXEC)
            .build()
            .user_data(ACCEPT_MARK | user_data);
        self.push(&entry);
    }

    /// One completion when `fd` can be written.
    pub fn poll_writable(&mut self, fd: RawFd, user_data: u64) {
        let entry = opcode::PollAdd::new(types::Fd(fd), libc::POLLOUT as u32).build();
        self.push(&entry.user_data(user_data));
    }

    /// A completion each time that `fd` becomes readable (Linux 5.13).
    pub fn poll_readable_multishot(&mut self, fd: RawFd, user_data: u64) {
        let entry = opcode::PollAdd::new(types::Fd(fd), libc::POLLIN as u32)
            .multi(true)
            .build();
        self.push(&entry.user_data(user_data));
    }

    /// Cancels the one operation with this `user_data`, which then completes with `-ECANCELED`
    /// unless it completes otherwise first. The cancel itself completes only on failure, with
    /// `own_user_data`.
    pub fn cancel(&mut self, user_data: u64, own_user_data: u64) {
        let builder = types::CancelBuilder::user_data(user_data);
        let entry = opcode::AsyncCancel2::new(builder).build();
        self.push(
            &entry
                .flags(squeue::Flags::SKIP_SUCCESS)
                .user_data(own_user_data),
        );
    }

    /// Cancels every operation on `fd` (Linux 5.19). Completions as for [`Ring::cancel`].
    pub fn cancel_all(&mut self, fd: RawFd, own_user_data: u64) {
        let builder = types::CancelBuilder::fd(types::Fd(fd)).all();
        let entry = opcode::AsyncCancel2::new(builder).build();
        self.push(
            &entry
                .flags(squeue::Flags::SKIP_SUCCESS)
                .user_data(own_user_data),
        );
    }

    /// Closes `fd` with the next entry into the kernel. Completes only on failure.
    pub fn close(&mut self, fd: OwnedFd, own_user_data: u64) {
        let entry = opcode::Close::new(types::Fd(fd.into_raw_fd())).build();
        self.push(
            &entry
                .flags(squeue::Flags::SKIP_SUCCESS)
                .user_data(own_user_data),
        );
    }

    /// A completion (`-ETIME`) when CLOCK_MONOTONIC reaches `at_ns`. Submitted at once.
    pub fn wake_at(&mut self, at_ns: u64, user_data: u64) {
        *self.timeout = types::Timespec::new()
            .sec(at_ns / 1_000_000_000)
            .nsec((at_ns % 1_000_000_000) as u32);
        let timespec: *const types::Timespec = &*self.timeout;
        let entry = opcode::Timeout::new(timespec)
            .flags(types::TimeoutFlags::ABS)
            .build();
        self.push(&entry.user_data(user_data));
        self.submit();
    }

    /// Sends every entry of `batch` and appends to `shortfalls` what was not whole; an entry
    /// that is not listed was sent to its last byte. Returns the number of entries.
    ///
    /// The bytes are free again on return: with MSG_DONTWAIT a send runs to its end inside the
    /// system call (checked by the start-up probe), successes post no completion (Linux 5.17),
    /// and the completions of failures are in the queue before the call returns.
    ///
    /// At most one batch may hold bytes for a given socket at a time, or they interleave.
    pub fn send_batch<'a>(
        &mut self,
        batch: impl Iterator<Item = Outgoing<'a>>,
        shortfalls: &mut Vec<SendShortfall>,
    ) -> u32 {
        let mut count = 0_u32;
        // A panic in the iterator must not leave entries with borrowed bytes in the queue.
        let guard = SubmitOnDrop(self);
        for outgoing in batch {
            let length = u32::try_from(outgoing.bytes.len()).unwrap_or(u32::MAX);
            let entry = opcode::Send::new(
                types::Fd(outgoing.fd.as_raw_fd()),
                outgoing.bytes.as_ptr(),
                length,
            )
            .flags(SEND_FLAGS)
            .build()
            .flags(squeue::Flags::SKIP_SUCCESS)
            .user_data(SEND_MARK | u64::from(count));
            guard.0.push(&entry);
            count += 1;
        }
        drop(guard);
        self.collect_shortfalls(shortfalls);
        count
    }

    fn collect_shortfalls(&mut self, shortfalls: &mut Vec<SendShortfall>) {
        let before = self.stash.len();
        copy_out(&mut self.ring, usize::MAX, &mut self.stash);
        let mut kept = before;
        for position in before..self.stash.len() {
            let completion = &self.stash[position];
            if completion.user_data & SEND_MARK != 0 {
                let index = (completion.user_data & !SEND_MARK) as u32;
                shortfalls.push(SendShortfall {
                    index,
                    result: completion.result,
                });
            } else {
                self.stash.swap(kept, position);
                kept += 1;
            }
        }
        self.stash.truncate(kept);
    }

    /// Hands queued operations to the kernel and lets it post what is ready. Does not wait.
    pub fn submit(&mut self) {
        // The binding sees the same flag and has the kernel move what it kept into the queue.
        if self.ring.submission().cq_overflow() {
            self.overflows += 1;
        }
        loop {
            self.enters += 1;
            match self.ring.submit() {
                Ok(_) => return,
                Err(error) => match error.raw_os_error() {
                    Some(libc::EINTR) => {}
                    // The completion queue is full, or memory is short for a moment: make room
                    // by copying completions out, then try again.
                    Some(libc::EBUSY | libc::EAGAIN | libc::ENOMEM) => {
                        copy_out(&mut self.ring, usize::MAX, &mut self.stash);
                    }
                    // EBADR: completions were lost, so the books no longer balance. Anything else
                    // means that the ring itself is broken. Neither can be survived.
                    _ => panic!("io_uring_enter failed: {error}; the shard cannot continue"),
                },
            }
        }
    }

    /// Hands queued operations to the kernel and waits for at least `want` completions; does not
    /// wait when some were copied out already and not yet taken.
    ///
    /// # Errors
    /// EINTR when a signal came first.
    pub fn enter(&mut self, want: usize) -> io::Result<()> {
        self.enters += 1;
        let want = if self.stash.is_empty() { want } else { 0 };
        self.ring.submit_and_wait(want).map(|_| ())
    }

    /// Whether operations are queued and not yet known to the kernel.
    pub fn has_queued(&mut self) -> bool {
        !self.ring.submission().is_empty()
    }

    /// Whether [`Ring::take_completions`] would find something. Reads memory only, no system call.
    pub fn is_ready(&mut self) -> bool {
        if !self.stash.is_empty() || !self.ring.completion().is_empty() {
            return true;
        }
        let submission = self.ring.submission();
        submission.taskrun() || submission.cq_overflow()
    }

    /// Moves at most `limit` completions to `out`; enters the kernel only if it has announced
    /// work that is not yet in the queue.
    pub fn take_completions(&mut self, limit: usize, out: &mut Vec<RingCompletion>) {
        if self.stash.is_empty() && self.ring.completion().is_empty() {
            let submission = self.ring.submission();
            let (runs, overflowed) = (submission.taskrun(), submission.cq_overflow());
            drop(submission);
            if runs || overflowed {
                self.submit();
            }
        }
        let taken = self.stash.len().min(limit);
        out.extend(self.stash.drain(..taken));
        copy_out(&mut self.ring, limit - taken, out);
    }

    /// Takes note that a receive has ended (no more completions follow).
    pub fn receive_ended(&mut self) {
        debug_assert!(self.armed > 0, "a receive ended twice");
        self.armed = self.armed.saturating_sub(1);
    }

    /// The slice that a receive completion carries, if it carries one. Call once for each receive
    /// completion, in their order.
    pub fn take_chunk(&mut self, completion: &RingCompletion) -> Option<Chunk> {
        let buffer = cqueue::buffer_select(completion.flags)?;
        let length = u32::try_from(completion.result).unwrap_or(0);
        let more = cqueue::buffer_more(completion.flags);
        self.buffers.as_mut()?.take(buffer, length, more)
    }

    /// System calls made so far.
    pub fn enters(&self) -> u64 {
        self.enters
    }

    /// Completion queue overflows found so far. None were lost: the kernel keeps them.
    pub fn overflows(&self) -> u64 {
        self.overflows
    }
}

impl AsFd for Ring {
    fn as_fd(&self) -> BorrowedFd<'_> {
        // SAFETY: the descriptor is open as long as `self.ring` lives, and the result borrows it.
        unsafe { BorrowedFd::borrow_raw(self.ring.as_raw_fd()) }
    }
}

impl Drop for Ring {
    fn drop(&mut self) {
        // Closing a ring cancels its operations in the background. Receive memory that an armed
        // operation might still write is leaked rather than freed under the kernel's feet.
        if self.armed > 0 {
            std::mem::forget(self.buffers.take());
        }
    }
}

fn copy_out(ring: &mut IoUring, limit: usize, target: &mut Vec<RingCompletion>) {
    target.extend(ring.completion().take(limit).map(|entry| RingCompletion {
        user_data: entry.user_data(),
        result: entry.result(),
        flags: entry.flags(),
    }));
}

struct SubmitOnDrop<'a>(&'a mut Ring);

impl Drop for SubmitOnDrop<'_> {
    fn drop(&mut self) {
        self.0.submit();
    }
}
