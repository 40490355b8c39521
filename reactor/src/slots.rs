//! The slab of transports: one small record per connection, in pages that never move.
//!
//! A record holds what the reactor itself needs to know of a connection. An idle connection
//! owns its record and nothing else here. Pages are allocated as the number of connections
//! grows and are kept; records are reused, each time with a new generation.

use crate::token::{GENERATION_MASK, Token};
use bytes::{Buf, Bytes};
use std::os::fd::OwnedFd;

/// Records per page.
const PAGE: usize = 256;
/// No slot: end of a list.
pub(crate) const NONE: u32 = u32::MAX;

/// Receiving, as the kernel sees it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Receive {
    /// Nothing armed.
    Idle,
    /// Armed; completions arrive until one says that it was the last.
    Armed,
    /// Armed and asked to stop; the last completion is on its way.
    Cancelling,
}

/// Where a connection is in its life.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Phase {
    /// On the free list.
    Free,
    /// Sends and receives.
    Open,
    /// Half-closes when everything queued is sent; still receives.
    Finishing,
    /// Half-closed by us; still receives.
    Finished,
    /// Waits for the kernel to let go of it; callbacks have ceased but for `on_closed`.
    Closing,
}

/// Why a connection ended. Every adopted connection ends exactly once.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Cause {
    /// The application called `terminate` or `reset`.
    Local,
    /// The kernel reported this errno on the socket (for example ECONNRESET).
    Error(i32),
    /// The peer did not read, and the bytes waiting for it passed the hard limit.
    Backlog,
    /// The shard stopped.
    Stopped,
}

/// Bytes that a socket did not take yet.
#[derive(Debug, Default)]
pub(crate) struct Backlog {
    /// Comes first: the rest of bytes that many connections share.
    pub(crate) shared: Bytes,
    pub(crate) bytes: Vec<u8>,
    /// How many of `bytes` are sent.
    pub(crate) sent: usize,
}

impl Backlog {
    pub(crate) fn unsent(&self) -> usize {
        self.shared.len() + self.bytes.len() - self.sent
    }

    /// What is to be sent next; all of it, unless there is a shared part and more behind it.
    pub(crate) fn first_bytes(&self) -> &[u8] {
        if self.shared.is_empty() {
            self.bytes.get(self.sent..).unwrap_or(&[])
        } else {
            &self.shared
        }
    }

    /// Notes that the socket took `count` of [`Backlog::first_bytes`]; drops them when that is
    /// cheap.
    pub(crate) fn advance(&mut self, count: usize) {
        if !self.shared.is_empty() {
            self.shared.advance(count.min(self.shared.len()));
            if self.shared.is_empty() {
                self.shared = Bytes::new();
            }
            return;
        }
        self.sent += count;
        debug_assert!(self.sent <= self.bytes.len());
        if self.sent == self.bytes.len() {
            self.bytes.clear();
            self.sent = 0;
        } else if self.sent >= self.bytes.len() / 2 {
            self.bytes.drain(..self.sent);
            self.sent = 0;
        }
    }
}

/// What the reactor knows of one connection.
pub(crate) struct Transport {
    pub(crate) fd: Option<OwnedFd>,
    pub(crate) generation: u32,
    /// Position in the outbox of this turn, or [`NONE`]. Next free slot while free.
    pub(crate) dirty: u32,
    pub(crate) timer_next: u32,
    pub(crate) timer_previous: u32,
    /// Tick at which the timer is due, 0 when there is none.
    pub(crate) timer_tick: u32,
    pub(crate) phase: Phase,
    pub(crate) receive: Receive,
    pub(crate) cause: Cause,
    /// The application wants to receive (not paused).
    pub(crate) wants_receive: bool,
    /// The peer sent FIN.
    pub(crate) peer_finished: bool,
    /// A writability poll is in the kernel.
    pub(crate) writable_armed: bool,
    /// Reset instead of an orderly close.
    pub(crate) resets: bool,
    /// Closing, and the kernel has been asked to let go.
    pub(crate) is_cancelled: bool,
    pub(crate) backlog: Option<Box<Backlog>>,
}

const _: () = assert!(
    size_of::<Transport>() <= 56,
    "an idle connection pays for every byte here"
);

impl Transport {
    fn vacant() -> Transport {
        Transport {
            fd: None,
            generation: 0,
            dirty: NONE,
            timer_next: NONE,
            timer_previous: NONE,
            timer_tick: 0,
            phase: Phase::Free,
            receive: Receive::Idle,
            cause: Cause::Local,
            wants_receive: false,
            peer_finished: false,
            writable_armed: false,
            resets: false,
            is_cancelled: false,
            backlog: None,
        }
    }

    pub(crate) fn unsent(&self) -> usize {
        self.backlog.as_ref().map_or(0, |backlog| backlog.unsent())
    }

    /// Whether the kernel still holds an operation on the descriptor.
    pub(crate) fn is_held(&self) -> bool {
        self.receive != Receive::Idle || self.writable_armed
    }
}

/// All connections of a shard.
pub(crate) struct Slots {
    pages: Vec<Box<[Transport]>>,
    free: u32,
    open: usize,
}

impl Slots {
    pub(crate) fn new() -> Slots {
        Slots {
            pages: Vec::new(),
            free: NONE,
            open: 0,
        }
    }

    /// Connections that are not free, closing ones included.
    pub(crate) fn occupied(&self) -> usize {
        self.open
    }

    /// Slots that exist.
    pub(crate) fn capacity(&self) -> usize {
        self.pages.len() * PAGE
    }

    pub(crate) fn insert(&mut self, fd: OwnedFd) -> Token {
        if self.free == NONE {
            self.grow();
        }
        let slot = self.free;
        let transport = &mut self.pages[slot as usize / PAGE][slot as usize % PAGE];
        assert_eq!(
            transport.phase,
            Phase::Free,
            "slot {slot} is on the free list and in use"
        );
        self.free = transport.dirty;
        let generation = (transport.generation + 1) & GENERATION_MASK;
        *transport = Transport {
            fd: Some(fd),
            generation,
            phase: Phase::Open,
            wants_receive: true,
            ..Transport::vacant()
        };
        self.open += 1;
        Token::new(slot, generation)
    }

    fn grow(&mut self) {
        let first = self.capacity() as u32;
        let mut page: Vec<Transport> = Vec::with_capacity(PAGE);
        for position in 0..PAGE as u32 {
            let next = if position + 1 < PAGE as u32 {
                first + position + 1
            } else {
                NONE
            };
            page.push(Transport {
                dirty: next,
                ..Transport::vacant()
            });
        }
        self.pages.push(page.into_boxed_slice());
        self.free = first;
    }

    /// Frees the slot. The kernel must hold nothing of it.
    pub(crate) fn remove(&mut self, token: Token) -> Option<OwnedFd> {
        let free = self.free;
        let transport = self.get_mut(token)?;
        assert!(
            !transport.is_held(),
            "slot {} freed while the kernel holds it",
            token.slot()
        );
        let fd = transport.fd.take();
        let generation = transport.generation;
        *transport = Transport {
            generation,
            dirty: free,
            ..Transport::vacant()
        };
        self.free = token.slot_u32();
        self.open -= 1;
        fd
    }

    /// The connection, unless its slot has a new tenant or none.
    pub(crate) fn get(&self, token: Token) -> Option<&Transport> {
        let transport = self
            .pages
            .get(token.slot() / PAGE)?
            .get(token.slot() % PAGE)?;
        let is_tenant = transport.generation == token.generation();
        (is_tenant && transport.phase != Phase::Free).then_some(transport)
    }

    pub(crate) fn get_mut(&mut self, token: Token) -> Option<&mut Transport> {
        let transport = self
            .pages
            .get_mut(token.slot() / PAGE)?
            .get_mut(token.slot() % PAGE)?;
        let is_tenant = transport.generation == token.generation();
        (is_tenant && transport.phase != Phase::Free).then_some(transport)
    }

    /// By bare slot, for the intrusive lists.
    pub(crate) fn at_mut(&mut self, slot: u32) -> &mut Transport {
        &mut self.pages[slot as usize / PAGE][slot as usize % PAGE]
    }

    pub(crate) fn token_at(&self, slot: u32) -> Token {
        Token::new(
            slot,
            self.pages[slot as usize / PAGE][slot as usize % PAGE].generation,
        )
    }

    /// Every connection that is not free.
    pub(crate) fn tokens(&self) -> impl Iterator<Item = Token> + '_ {
        self.pages
            .iter()
            .flatten()
            .enumerate()
            .filter_map(|(slot, transport)| {
                let is_taken = transport.phase != Phase::Free;
                is_taken.then(|| Token::new(slot as u32, transport.generation))
            })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn some_fd() -> OwnedFd {
        let (reader, _writer) = std::io::pipe().expect("a pipe");
        reader.into()
    }

    #[test]
    fn a_stale_token_finds_nothing() {
        let mut slots = Slots::new();
        let first = slots.insert(some_fd());
        slots.remove(first).expect("is open");
        let second = slots.insert(some_fd());
        assert_eq!(first.slot(), second.slot(), "the slot is reused");
        assert!(slots.get(first).is_none());
        assert!(slots.get(second).is_some());
        assert!(slots.remove(first).is_none());
        assert_eq!(slots.occupied(), 1);
    }

    #[test]
    fn a_backlog_forgets_what_was_sent() {
        let mut backlog = Backlog {
            bytes: (0..100).collect(),
            ..Backlog::default()
        };
        backlog.advance(30);
        assert_eq!((backlog.unsent(), backlog.bytes[backlog.sent]), (70, 30));
        backlog.advance(40);
        assert_eq!((backlog.unsent(), backlog.bytes[backlog.sent]), (30, 70));
        backlog.advance(30);
        assert_eq!((backlog.unsent(), backlog.bytes.len()), (0, 0));
    }

    #[test]
    fn the_shared_part_of_a_backlog_comes_first() {
        let mut backlog = Backlog {
            shared: Bytes::from_static(b"shared"),
            bytes: b"own".to_vec(),
            sent: 0,
        };
        assert_eq!(
            (backlog.unsent(), backlog.first_bytes()),
            (9, &b"shared"[..])
        );
        backlog.advance(4);
        assert_eq!((backlog.unsent(), backlog.first_bytes()), (5, &b"ed"[..]));
        backlog.advance(2);
        assert_eq!((backlog.unsent(), backlog.first_bytes()), (3, &b"own"[..]));
        backlog.advance(3);
        assert_eq!(backlog.unsent(), 0);
    }

    proptest! {
        // Replay: PROPTEST_CASES and the seed that a failure prints into proptest-regressions.
        #[test]
        fn slots_never_serve_two_tenants(steps in proptest::collection::vec(any::<u16>(), 1..400)) {
            let mut slots = Slots::new();
            let mut open: Vec<Token> = Vec::new();
            let mut gone: Vec<Token> = Vec::new();
            for step in steps {
                if step % 3 != 0 || open.is_empty() {
                    let token = slots.insert(some_fd());
                    prop_assert!(open.iter().all(|other| other.slot() != token.slot()));
                    open.push(token);
                } else {
                    let token = open.swap_remove(step as usize % open.len());
                    prop_assert!(slots.remove(token).is_some());
                    gone.push(token);
                }
                prop_assert_eq!(slots.occupied(), open.len());
                prop_assert!(open.iter().all(|token| slots.get(*token).is_some()));
                prop_assert!(gone.iter().all(|token| slots.get(*token).is_none()));
            }
        }
    }
}
