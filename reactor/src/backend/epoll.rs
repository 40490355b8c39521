//! The epoll backend, for hosts that refuse io_uring (containers with the default seccomp
//! profile, `kernel.io_uring_disabled`, old kernels).
//!
//! Level-triggered, one receive per event and poll: what is left is reported again, so nothing
//! here has to remember it, and the kernel's own rotation keeps it fair. Received bytes lie in
//! one arena per shard that is reused as soon as all chunks of a poll are released.

use super::{Backend, Chunk, Completion};
use crate::ring::{Outgoing, SendShortfall};
use crate::sys;
use crate::token::{Kind, Token};
use rustix::event::epoll;
use std::io;
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

/// Receive memory of a poll.
const ARENA_BYTES: usize = 512 * 1024;
/// Most bytes taken from one socket in one poll.
const RECEIVE_MAX: usize = 64 * 1024;
/// Less room than this and the remaining events wait for the next poll.
const RECEIVE_MIN: usize = 8 * 1024;
/// Events per poll.
const EVENTS: usize = 512;

/// Interests of one slot.
const RECEIVING: u8 = 1;
const WRITING: u8 = 2;
/// Removed from the epoll set, because the kernel reports errors even without interest.
const DETACHED: u8 = 4;

/// See the module.
pub struct EpollBackend {
    epoll: OwnedFd,
    doorbell: OwnedFd,
    timer: OwnedFd,
    arena: Box<[u8]>,
    arena_used: usize,
    chunks_lent: u32,
    /// By slot: what is armed.
    interests: Vec<u8>,
    /// Taken from the kernel by `is_ready` or beyond the limit of a poll, not yet handled.
    events: Vec<epoll::Event>,
    system_calls: u64,
}

impl EpollBackend {
    /// Creates the epoll instance and watches the doorbell and a timer with it.
    ///
    /// # Errors
    /// EMFILE, ENFILE or ENOMEM when descriptors or memory are exhausted.
    pub fn new(doorbell: OwnedFd) -> io::Result<EpollBackend> {
        let epoll = epoll::create(epoll::CreateFlags::CLOEXEC)?;
        let timer = sys::timer()?;
        for (fd, kind) in [(&doorbell, Kind::Doorbell), (&timer, Kind::Wake)] {
            epoll::add(
                &epoll,
                fd,
                epoll::EventData::new_u64(kind.bare()),
                epoll::EventFlags::IN,
            )?;
        }
        Ok(EpollBackend {
            epoll,
            doorbell,
            timer,
            arena: vec![0; ARENA_BYTES].into_boxed_slice(),
            arena_used: 0,
            chunks_lent: 0,
            interests: Vec::new(),
            events: Vec::with_capacity(EVENTS),
            system_calls: 0,
        })
    }

    /// Tells the kernel what `token` is interested in now.
    fn set_interest(&mut self, token: Token, fd: BorrowedFd<'_>, interest: u8) {
        let Some(current) = self.interests.get_mut(token.slot()) else {
            return;
        };
        let mut flags = epoll::EventFlags::empty();
        flags.set(epoll::EventFlags::IN, interest & RECEIVING != 0);
        flags.set(epoll::EventFlags::OUT, interest & WRITING != 0);
        let data = epoll::EventData::new_u64(Kind::Receive.user_data(token));
        let was_detached = *current & DETACHED != 0;
        *current = interest;
        self.system_calls += 1;
        // The descriptor is open and was attached, so only memory can be short here; then the
        // connection stays silent and its timers end it.
        let _ = if interest & DETACHED != 0 {
            epoll::delete(&self.epoll, fd)
        } else if was_detached {
            epoll::add(&self.epoll, fd, data, flags)
        } else {
            epoll::modify(&self.epoll, fd, data, flags)
        };
    }

    fn interest(&self, token: Token) -> u8 {
        self.interests.get(token.slot()).copied().unwrap_or(0)
    }

    fn wait(&mut self) {
        self.system_calls += 1;
        let mut space = [const { MaybeUninit::<epoll::Event>::uninit() }; EVENTS];
        let zero = rustix::time::Timespec {
            tv_sec: 0,
            tv_nsec: 0,
        };
        // EINTR is an empty poll: whoever called looks again.
        if let Ok((events, _)) = epoll::wait(&self.epoll, &mut space, Some(&zero)) {
            self.events.extend_from_slice(events);
        }
    }

    fn handle<'s>(
        &mut self,
        event: &epoll::Event,
        fds: &dyn Fn(Token) -> Option<BorrowedFd<'s>>,
        out: &mut Vec<Completion>,
    ) {
        let (kind, token) = Kind::split(event.data.u64());
        match kind {
            Some(Kind::Doorbell) => {
                sys::drain_event(&self.doorbell);
                out.push(Completion::Doorbell);
            }
            Some(Kind::Wake) => {
                sys::drain_event(&self.timer);
                out.push(Completion::Wake);
            }
            // A socket that was closed since the kernel reported it is not found.
            _ => {
                if let Some(fd) = fds(token) {
                    self.handle_socket(event.flags, token, fd, out);
                }
            }
        }
    }

    fn handle_socket(
        &mut self,
        flags: epoll::EventFlags,
        token: Token,
        fd: BorrowedFd<'_>,
        out: &mut Vec<Completion>,
    ) {
        use epoll::EventFlags as Flags;
        let mut interest = self.interest(token);
        let before = interest;
        let is_broken = flags.intersects(Flags::ERR | Flags::HUP);
        if interest & RECEIVING != 0 && (is_broken || flags.intersects(Flags::IN)) {
            let completion = self.receive(token, fd);
            if let Some(Completion::ReceiveEnded { .. }) = completion {
                interest &= !RECEIVING;
            }
            out.extend(completion);
        }
        if interest & WRITING != 0 && (is_broken || flags.intersects(Flags::OUT)) {
            interest &= !WRITING;
            out.push(Completion::Writable { token });
        }
        if interest == 0 && is_broken {
            interest = DETACHED;
        }
        if interest != before {
            self.set_interest(token, fd, interest);
        }
    }

    fn receive(&mut self, token: Token, fd: BorrowedFd<'_>) -> Option<Completion> {
        let end = (self.arena_used + RECEIVE_MAX).min(self.arena.len());
        let room = self.arena.get_mut(self.arena_used..end)?;
        self.system_calls += 1;
        match sys::receive_now(fd, room) {
            Ok(0) => Some(Completion::ReceiveEnded { token, result: 0 }),
            Ok(length) => {
                let chunk = Chunk::of_arena(self.arena_used as u32, length as u32);
                self.arena_used += length;
                self.chunks_lent += 1;
                Some(Completion::Received {
                    token,
                    chunk,
                    is_last: false,
                })
            }
            Err(error) => match error.raw_os_error() {
                None | Some(libc::EAGAIN | libc::EINTR) => None,
                Some(errno) => Some(Completion::ReceiveEnded {
                    token,
                    result: -errno,
                }),
            },
        }
    }
}

impl Backend for EpollBackend {
    fn clock(&self) -> fn() -> u64 {
        sys::monotonic_ns
    }

    fn attach(&mut self, token: Token, fd: BorrowedFd<'_>) -> io::Result<()> {
        if self.interests.len() <= token.slot() {
            self.interests.resize(token.slot() + 1, 0);
        }
        self.interests[token.slot()] = 0;
        let data = epoll::EventData::new_u64(Kind::Receive.user_data(token));
        self.system_calls += 1;
        epoll::add(&self.epoll, fd, data, epoll::EventFlags::empty())?;
        Ok(())
    }

    fn arm_receive(&mut self, token: Token, fd: BorrowedFd<'_>, _expects_data: bool) {
        let interest = (self.interest(token) & !DETACHED) | RECEIVING;
        self.set_interest(token, fd, interest);
    }

    fn cancel_receive(&mut self, token: Token, fd: BorrowedFd<'_>) -> bool {
        self.set_interest(token, fd, self.interest(token) & !RECEIVING);
        false
    }

    fn arm_writable(&mut self, token: Token, fd: BorrowedFd<'_>) {
        let interest = (self.interest(token) & !DETACHED) | WRITING;
        self.set_interest(token, fd, interest);
    }

    fn cancel_all(&mut self, token: Token, _fd: BorrowedFd<'_>) -> bool {
        // The descriptor is closed next, which removes it from the set.
        if let Some(interest) = self.interests.get_mut(token.slot()) {
            *interest = 0;
        }
        false
    }

    fn close(&mut self, fd: OwnedFd) {
        self.system_calls += 1;
        drop(fd);
    }

    fn send_batch<'a>(
        &mut self,
        batch: impl Iterator<Item = Outgoing<'a>>,
        shortfalls: &mut Vec<SendShortfall>,
    ) -> u32 {
        let mut count = 0;
        for outgoing in batch {
            let result = match sys::send_now(outgoing.fd, outgoing.bytes) {
                Ok(taken) => i32::try_from(taken).unwrap_or(i32::MAX),
                Err(error) => -error.raw_os_error().unwrap_or(libc::EIO),
            };
            if usize::try_from(result) != Ok(outgoing.bytes.len()) {
                shortfalls.push(SendShortfall {
                    index: count,
                    result,
                });
            }
            count += 1;
        }
        self.system_calls += u64::from(count);
        count
    }

    fn poll<'s>(
        &mut self,
        limit: usize,
        fds: &dyn Fn(Token) -> Option<BorrowedFd<'s>>,
        out: &mut Vec<Completion>,
    ) {
        debug_assert_eq!(
            self.chunks_lent, 0,
            "chunks of the last poll are still lent"
        );
        self.arena_used = 0;
        if self.events.is_empty() {
            self.wait();
        }
        let mut events = std::mem::take(&mut self.events);
        let mut handled = 0;
        for event in &events {
            if out.len() >= limit || self.arena.len() - self.arena_used < RECEIVE_MIN {
                break;
            }
            self.handle(event, fds, out);
            handled += 1;
        }
        events.drain(..handled);
        self.events = events;
    }

    fn bytes(&mut self, chunk: &Chunk) -> &mut [u8] {
        self.arena.get_mut(chunk.range()).unwrap_or(&mut [])
    }

    fn release(&mut self, _chunk: Chunk) {
        self.chunks_lent = self.chunks_lent.saturating_sub(1);
    }

    fn receives_possible(&self) -> usize {
        usize::MAX
    }

    fn wake_at(&mut self, at_ns: u64) {
        self.system_calls += 1;
        sys::set_timer(&self.timer, at_ns);
    }

    fn submit(&mut self) {}

    fn is_ready(&mut self) -> bool {
        if self.events.is_empty() {
            self.wait();
        }
        !self.events.is_empty()
    }

    fn wait_fd(&self) -> BorrowedFd<'_> {
        self.epoll.as_fd()
    }

    fn statistics(&self) -> (u64, u64) {
        (self.system_calls, 0)
    }
}
