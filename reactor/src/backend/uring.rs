//! The io_uring backend: multishot receives into shared buffers, batched sends that complete
//! without a completion.

use super::{Backend, Chunk, Completion};
use crate::ring::{Outgoing, Ring, RingCompletion, RingOptions, SendShortfall, Waiting};
use crate::sys;
use crate::token::{Kind, Token};
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};

/// Sizes of the data ring and its receive memory.
#[derive(Debug, Clone, Copy)]
pub struct UringOptions {
    /// Submission queue entries: sends per system call.
    pub entries: u32,
    /// Completion queue entries.
    pub completions: u32,
    /// Receive buffers.
    pub buffer_count: u16,
    /// Bytes of each. In incremental mode many receives share one.
    pub buffer_size: u32,
    /// Share buffers between receives (Linux 6.12).
    pub incremental: bool,
}

/// What a receive takes of a shared buffer, for guessing how many find room when memory is short.
const TYPICAL_RECEIVE: u32 = 16 * 1024;

/// See the module.
pub struct UringBackend {
    ring: Ring,
    doorbell: OwnedFd,
    buffer_size: u32,
    /// Reused between polls.
    raw: Vec<RingCompletion>,
    /// When the earliest submitted wake-up is due; 0 if none is.
    wake_ns: u64,
}

impl UringBackend {
    /// Creates the ring, registers its buffers and watches the doorbell.
    ///
    /// # Errors
    /// As [`Ring::new`] and [`Ring::provide_buffers`].
    pub fn new(options: &UringOptions, doorbell: OwnedFd) -> io::Result<UringBackend> {
        let mut ring = Ring::new(&RingOptions {
            entries: options.entries,
            completions: options.completions,
            waiting: Waiting::Polled,
        })?;
        ring.provide_buffers(
            options.buffer_count,
            options.buffer_size,
            options.incremental,
        )?;
        ring.poll_readable_multishot(doorbell.as_raw_fd(), Kind::Doorbell.bare());
        ring.submit();
        Ok(UringBackend {
            ring,
            doorbell,
            buffer_size: options.buffer_size,
            raw: Vec::new(),
            wake_ns: 0,
        })
    }

    fn translate(&mut self, raw: &RingCompletion) -> Option<Completion> {
        let (kind, token) = Kind::split(raw.user_data());
        match kind? {
            Kind::Receive => self.translate_receive(raw, token),
            Kind::Writable => Some(Completion::Writable { token }),
            Kind::Doorbell => {
                sys::drain_event(&self.doorbell);
                if !raw.more_follows() {
                    let fd = self.doorbell.as_raw_fd();
                    self.ring.poll_readable_multishot(fd, Kind::Doorbell.bare());
                }
                Some(Completion::Doorbell)
            }
            Kind::Wake => {
                self.wake_ns = 0;
                Some(Completion::Wake)
            }
            // A cancel that found nothing, or a close of a descriptor that was already bad.
            Kind::Discard => None,
        }
    }

    fn translate_receive(&mut self, raw: &RingCompletion, token: Token) -> Option<Completion> {
        let is_last = !raw.more_follows();
        if is_last {
            self.ring.receive_ended();
        }
        let chunk = self.ring.take_chunk(raw);
        if raw.result() > 0 {
            if let Some(chunk) = chunk {
                return Some(Completion::Received {
                    token,
                    chunk,
                    is_last,
                });
            }
            // Bytes without a buffer to find them in: the stream is broken beyond repair.
            return Some(Completion::ReceiveEnded {
                token,
                result: -libc::EIO,
            });
        }
        if let Some(chunk) = chunk {
            self.release(chunk);
        }
        is_last.then_some(Completion::ReceiveEnded {
            token,
            result: raw.result(),
        })
    }
}

impl Backend for UringBackend {
    fn clock(&self) -> fn() -> u64 {
        sys::monotonic_ns
    }

    fn attach(&mut self, _token: Token, _fd: BorrowedFd<'_>) -> io::Result<()> {
        Ok(())
    }

    fn arm_receive(&mut self, token: Token, fd: BorrowedFd<'_>, expects_data: bool) {
        // On a quiet socket an attempt before the signal is wasted.
        let user_data = Kind::Receive.user_data(token);
        self.ring
            .receive_multishot(fd.as_raw_fd(), user_data, !expects_data);
    }

    fn cancel_receive(&mut self, token: Token, _fd: BorrowedFd<'_>) -> bool {
        self.ring
            .cancel(Kind::Receive.user_data(token), Kind::Discard.bare());
        true
    }

    fn arm_writable(&mut self, token: Token, fd: BorrowedFd<'_>) {
        self.ring
            .poll_writable(fd.as_raw_fd(), Kind::Writable.user_data(token));
    }

    fn cancel_all(&mut self, _token: Token, fd: BorrowedFd<'_>) -> bool {
        self.ring.cancel_all(fd.as_raw_fd(), Kind::Discard.bare());
        true
    }

    fn close(&mut self, fd: OwnedFd) {
        self.ring.close(fd, Kind::Discard.bare());
    }

    fn send_batch<'a>(
        &mut self,
        batch: impl Iterator<Item = Outgoing<'a>>,
        shortfalls: &mut Vec<SendShortfall>,
    ) -> u32 {
        self.ring.send_batch(batch, shortfalls)
    }

    fn poll<'s>(
        &mut self,
        limit: usize,
        _fds: &dyn Fn(Token) -> Option<BorrowedFd<'s>>,
        out: &mut Vec<Completion>,
    ) {
        let mut raw = std::mem::take(&mut self.raw);
        raw.clear();
        self.ring.take_completions(limit, &mut raw);
        for completion in &raw {
            out.extend(self.translate(completion));
        }
        self.raw = raw;
    }

    fn bytes(&mut self, chunk: &Chunk) -> &mut [u8] {
        self.ring
            .buffers()
            .map_or(&mut [], |buffers| buffers.bytes(chunk))
    }

    fn release(&mut self, chunk: Chunk) {
        if let Some(buffers) = self.ring.buffers() {
            buffers.release(chunk);
        }
    }

    fn receives_possible(&self) -> usize {
        let per_buffer = (self.buffer_size / TYPICAL_RECEIVE).max(1) as usize;
        usize::from(self.ring.buffers_available()) * per_buffer
    }

    fn wake_at(&mut self, at_ns: u64) {
        // A wake-up that is already in the kernel and not later serves as well. One that turns
        // out too early costs an empty turn.
        if self.wake_ns == 0 || at_ns < self.wake_ns {
            self.wake_ns = at_ns;
            self.ring.wake_at(at_ns, Kind::Wake.bare());
        }
    }

    fn submit(&mut self) {
        if self.ring.has_queued() {
            self.ring.submit();
        }
    }

    fn is_ready(&mut self) -> bool {
        self.ring.is_ready()
    }

    fn wait_fd(&self) -> BorrowedFd<'_> {
        self.ring.as_fd()
    }

    fn statistics(&self) -> (u64, u64) {
        (self.ring.enters(), self.ring.overflows())
    }
}
