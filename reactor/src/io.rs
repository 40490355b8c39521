//! What callbacks ask the reactor to do, recorded for the flush phase of the turn.
//!
//! Bytes to send gather in one scratch buffer per shard. Each connection that has something to
//! send stands once in the outbox, so a turn makes at most one send per connection however many
//! messages it answered. What a socket does not take moves to the connection's own backlog.

use crate::slots::{Cause, NONE, Phase, Receive, Slots, Transport};
use crate::token::Token;
use crate::wheel::Wheel;
use bytes::Bytes;
use std::os::fd::OwnedFd;

/// Counts of one shard since its start. Plain numbers: one thread writes them, and whoever
/// wants to read them asks that thread.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Counters {
    /// Turns taken.
    pub turns: u64,
    /// Times that the shard slept.
    pub sleeps: u64,
    /// Time spent polling, between two turns, without finding anything (`spin_us`), in
    /// nanoseconds.
    pub spun_ns: u64,
    /// Connections that joined.
    pub adopted: u64,
    /// Connections that ended.
    pub closed: u64,
    /// Receive completions that carried bytes.
    pub receives: u64,
    /// Bytes received.
    pub received_bytes: u64,
    /// Sends handed to the kernel.
    pub sends: u64,
    /// Bytes that sockets took.
    pub sent_bytes: u64,
    /// Sends that the socket took only in part, or not at all, because its buffer was full.
    pub sends_short: u64,
    /// Receives that ended because no receive buffer was free; each was armed again.
    pub receive_buffers_exhausted: u64,
    /// Receives that the kernel ended without an error; each was armed again.
    pub receives_rearmed: u64,
    /// Completions for a connection that was already gone.
    pub stale_completions: u64,
    /// Connections closed because their unsent bytes passed the limit.
    pub backlog_breaches: u64,
    /// Timers that fired.
    pub timers: u64,
    /// Mail taken from other threads.
    pub mail: u64,
    /// Times that the completion queue overflowed (nothing was lost).
    pub completion_overflows: u64,
    /// System calls made by the data path's backend.
    pub system_calls: u64,
}

/// Where the bytes of an outbox entry are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Source {
    Scratch {
        start: usize,
        length: usize,
    },
    Shared {
        index: usize,
    },
    /// Several pieces, from the first segment to the last. They are brought together right before
    /// they are sent, so that a connection that many topics write to is copied once, not once per
    /// topic.
    Chain {
        first: u32,
        last: u32,
    },
    /// A chain that was brought together.
    Gathered {
        start: usize,
        length: usize,
    },
    Backlog,
}

/// One piece of a chain.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Segment {
    pub(crate) source: Piece,
    pub(crate) next: u32,
}

/// Where a piece lies.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Piece {
    Scratch { start: usize, length: usize },
    Shared { index: usize },
}

#[derive(Debug, Clone, Copy)]
pub(crate) struct Entry {
    pub(crate) token: Token,
    pub(crate) source: Source,
}

/// Bytes to send in this turn.
#[derive(Default)]
pub(crate) struct Outbox {
    pub(crate) scratch: Vec<u8>,
    pub(crate) shared: Vec<Bytes>,
    pub(crate) segments: Vec<Segment>,
    /// Chains brought together for the group of entries that is being sent.
    pub(crate) gathered: Vec<u8>,
    pub(crate) entries: Vec<Entry>,
}

/// Scratch memory that is kept from turn to turn.
const SCRATCH_KEPT: usize = 2 * 1024 * 1024;

impl Outbox {
    /// Forgets everything; memory of an unusually large turn is given back.
    pub(crate) fn reset(&mut self) {
        self.scratch.clear();
        self.scratch.shrink_to(SCRATCH_KEPT);
        self.gathered.clear();
        self.gathered.shrink_to(SCRATCH_KEPT);
        self.shared.clear();
        self.segments.clear();
        self.entries.clear();
    }

    /// Lists shared bytes. A fan-out passes the same bytes again and again: they stand in the
    /// list once.
    fn share(&mut self, bytes: &Bytes) -> usize {
        let is_last = self.shared.last().is_some_and(|last| {
            std::ptr::eq(last.as_ptr(), bytes.as_ptr()) && last.len() == bytes.len()
        });
        if !is_last {
            self.shared.push(bytes.clone());
        }
        self.shared.len() - 1
    }

    /// Adds a piece to an entry that has one or more already.
    fn chain(&mut self, position: usize, piece: Piece) {
        let added = self.segments.len() as u32;
        let first_piece = match self.entries[position].source {
            Source::Scratch { start, length } => Some(Piece::Scratch { start, length }),
            Source::Shared { index } => Some(Piece::Shared { index }),
            Source::Chain { first, last } => {
                self.segments[last as usize].next = added;
                self.segments.push(Segment {
                    source: piece,
                    next: NONE,
                });
                self.entries[position].source = Source::Chain { first, last: added };
                return;
            }
            Source::Gathered { .. } | Source::Backlog => None,
        };
        debug_assert!(first_piece.is_some(), "gathered while it is written to");
        let Some(source) = first_piece else { return };
        self.segments.push(Segment {
            source,
            next: added + 1,
        });
        self.segments.push(Segment {
            source: piece,
            next: NONE,
        });
        self.entries[position].source = Source::Chain {
            first: added,
            last: added + 1,
        };
    }

    /// Brings a chain together behind what is gathered already.
    pub(crate) fn gather(&mut self, first: u32) -> Source {
        let start = self.gathered.len();
        let mut next = first;
        while let Some(segment) = self.segments.get(next as usize) {
            match segment.source {
                Piece::Scratch { start, length } => self
                    .gathered
                    .extend_from_slice(&self.scratch[start..start + length]),
                Piece::Shared { index } => self.gathered.extend_from_slice(&self.shared[index]),
            }
            next = segment.next;
        }
        Source::Gathered {
            start,
            length: self.gathered.len() - start,
        }
    }
}

impl Entry {
    /// The bytes to send; none if its backlog has gone with its connection.
    pub(crate) fn bytes<'a>(&self, outbox: &'a Outbox, slots: &'a Slots) -> &'a [u8] {
        let bytes = match self.source {
            Source::Scratch { start, length } => outbox.scratch.get(start..start + length),
            Source::Shared { index } => outbox.shared.get(index).map(|bytes| &bytes[..]),
            Source::Gathered { start, length } => outbox.gathered.get(start..start + length),
            Source::Chain { .. } => None,
            Source::Backlog => slots
                .get(self.token)
                .and_then(|transport| transport.backlog.as_ref())
                .map(|backlog| backlog.first_bytes()),
        };
        bytes.unwrap_or(&[])
    }
}

/// What became of bytes that were to be sent to a connection that is clear.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Delivery {
    /// They leave with this turn.
    Sent,
    /// The socket has not taken everything that was sent before; nothing was queued.
    Blocked,
    /// The connection is gone, closing or finishing.
    Gone,
}

/// What else the flush phase is to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Request {
    Finish(Token),
    Close(Token),
}

/// The shard's services to its application.
pub struct Io {
    pub(crate) slots: Slots,
    pub(crate) outbox: Outbox,
    pub(crate) requests: Vec<Request>,
    /// Served before anything is sent: a peer that reads an answer must not find the door open.
    pub(crate) pauses: Vec<Token>,
    /// Connections to receive from (again). Served before anything is sent, so that they travel in
    /// the same system call.
    pub(crate) receives: Vec<Token>,
    pub(crate) wheel: Wheel,
    pub(crate) counters: Counters,
    pub(crate) now_ns: u64,
    pub(crate) alarm_ns: u64,
    pub(crate) is_stopping: bool,
    pub(crate) wants_turn: bool,
    pub(crate) backlog_bytes_max: usize,
    pub(crate) read_clock: fn() -> u64,
}

impl Io {
    pub(crate) fn new(backlog_bytes_max: usize, read_clock: fn() -> u64) -> Io {
        let now_ns = read_clock();
        Io {
            slots: Slots::new(),
            outbox: Outbox::default(),
            requests: Vec::new(),
            pauses: Vec::new(),
            receives: Vec::new(),
            wheel: Wheel::new(now_ns),
            counters: Counters::default(),
            now_ns,
            alarm_ns: 0,
            is_stopping: false,
            wants_turn: false,
            backlog_bytes_max,
            read_clock,
        }
    }

    /// CLOCK_MONOTONIC in nanoseconds, read once at the start of the turn: everything in a turn
    /// sees the same instant.
    pub fn now_ns(&self) -> u64 {
        self.now_ns
    }

    /// CLOCK_MONOTONIC in nanoseconds, read now (about 25 ns).
    pub fn read_clock_ns(&self) -> u64 {
        (self.read_clock)()
    }

    /// Counts so far.
    pub fn counters(&self) -> &Counters {
        &self.counters
    }

    /// Whether the connection is open: not closing, and its slot not reused.
    pub fn is_open(&self, token: Token) -> bool {
        self.slots
            .get(token)
            .is_some_and(|transport| transport.phase != Phase::Closing)
    }

    /// Connections of the shard, closing ones included.
    pub fn open_count(&self) -> usize {
        self.slots.occupied()
    }

    /// All connections that are open. For control work: it allocates.
    pub fn tokens(&self) -> Vec<Token> {
        self.slots
            .tokens()
            .filter(|token| self.is_open(*token))
            .collect()
    }

    /// Bytes that the connection's socket did not take yet.
    pub fn unsent(&self, token: Token) -> usize {
        self.slots.get(token).map_or(0, Transport::unsent)
    }

    /// Lets `write` append bytes that the connection is to send. They leave with the flush
    /// phase, in one send with everything else that the turn wrote for this connection.
    ///
    /// `None`, without calling `write`, if the connection is gone, closing or finishing.
    /// A connection whose unsent bytes pass the hard limit is closed with [`Cause::Backlog`].
    #[inline]
    pub fn send<R>(&mut self, token: Token, write: impl FnOnce(&mut Vec<u8>) -> R) -> Option<R> {
        let transport = self.slots.get_mut(token)?;
        if transport.phase != Phase::Open {
            return None;
        }
        let scratch = &mut self.outbox.scratch;
        if transport.dirty == NONE {
            transport.dirty = self.outbox.entries.len() as u32;
            let start = scratch.len();
            let result = write(scratch);
            let source = Source::Scratch {
                start,
                length: scratch.len() - start,
            };
            self.outbox.entries.push(Entry { token, source });
            return Some(result);
        }
        let position = transport.dirty as usize;
        let entry = &mut self.outbox.entries[position];
        if entry.source == Source::Backlog {
            // Its socket has just become writable: this goes behind what waited.
            let backlog = transport.backlog.get_or_insert_with(Box::default);
            return Some(write(&mut backlog.bytes));
        }
        let start = scratch.len();
        let result = write(scratch);
        let added = scratch.len() - start;
        match &mut entry.source {
            // The usual case: nobody else has written in between.
            Source::Scratch {
                start: first,
                length,
            } if *first + *length == start => *length += added,
            _ => self.outbox.chain(
                position,
                Piece::Scratch {
                    start,
                    length: added,
                },
            ),
        }
        Some(result)
    }

    /// Sends bytes that many connections share. They are not copied if they are all that the
    /// connection sends in this turn. False if the connection is gone, closing or finishing.
    #[inline]
    pub fn send_shared(&mut self, token: Token, bytes: &Bytes) -> bool {
        let Some(transport) = self.slots.get_mut(token) else {
            return false;
        };
        if transport.phase != Phase::Open {
            return false;
        }
        if transport.dirty == NONE {
            transport.dirty = self.outbox.entries.len() as u32;
            let source = Source::Shared {
                index: self.outbox.share(bytes),
            };
            self.outbox.entries.push(Entry { token, source });
            return true;
        }
        let position = transport.dirty as usize;
        if self.outbox.entries[position].source == Source::Backlog {
            let backlog = transport.backlog.get_or_insert_with(Box::default);
            backlog.bytes.extend_from_slice(bytes);
            return true;
        }
        let index = self.outbox.share(bytes);
        self.outbox.chain(position, Piece::Shared { index });
        true
    }

    /// As [`Io::send_shared`], but only if the socket has taken everything sent to it before:
    /// what is to be left out for a peer that does not read must not be queued for it.
    #[inline]
    pub fn send_shared_if_clear(&mut self, token: Token, bytes: &Bytes) -> Delivery {
        let Some(transport) = self.slots.get_mut(token) else {
            return Delivery::Gone;
        };
        if transport.phase != Phase::Open {
            return Delivery::Gone;
        }
        if transport.unsent() > 0 {
            return Delivery::Blocked;
        }
        if transport.dirty != NONE {
            return match self.send_shared(token, bytes) {
                true => Delivery::Sent,
                false => Delivery::Gone,
            };
        }
        transport.dirty = self.outbox.entries.len() as u32;
        let source = Source::Shared {
            index: self.outbox.share(bytes),
        };
        self.outbox.entries.push(Entry { token, source });
        Delivery::Sent
    }

    /// Asks for another turn right after this one, even if nothing happens.
    pub fn turn_again(&mut self) {
        self.wants_turn = true;
    }

    /// Bytes gathered for this turn's flush.
    pub(crate) fn gathered(&self) -> usize {
        self.outbox.scratch.len()
    }

    fn breach(&mut self, token: Token) {
        self.counters.backlog_breaches += 1;
        self.close(token, Cause::Backlog, true);
    }

    /// Sends everything queued, then tells the peer that nothing more comes (FIN). Bytes still
    /// arrive; when the peer finishes too, `on_end_of_stream` is called.
    pub fn finish(&mut self, token: Token) {
        let Some(transport) = self.slots.get_mut(token) else {
            return;
        };
        if transport.phase == Phase::Open {
            transport.phase = Phase::Finishing;
            self.requests.push(Request::Finish(token));
        }
    }

    /// Sends what the socket takes now, then closes. `on_closed` follows with [`Cause::Local`].
    pub fn terminate(&mut self, token: Token) {
        self.close(token, Cause::Local, false);
    }

    /// Closes with a reset: nothing more is sent, and the peer learns of an abort.
    pub fn reset(&mut self, token: Token) {
        self.close(token, Cause::Local, true);
    }

    /// The one place where the end of a connection begins.
    pub(crate) fn close(&mut self, token: Token, cause: Cause, resets: bool) {
        let Some(transport) = self.slots.get_mut(token) else {
            return;
        };
        if transport.phase == Phase::Closing {
            return;
        }
        transport.phase = Phase::Closing;
        transport.cause = cause;
        transport.resets = resets;
        transport.wants_receive = false;
        self.wheel.clear(&mut self.slots, token);
        self.requests.push(Request::Close(token));
    }

    /// Stops receiving from the connection, so that its peer feels back-pressure. Bytes already
    /// received may still be delivered.
    pub fn pause_receive(&mut self, token: Token) {
        let Some(transport) = self.slots.get_mut(token) else {
            return;
        };
        if transport.wants_receive {
            transport.wants_receive = false;
            self.pauses.push(token);
        }
    }

    /// Receives again.
    pub fn resume_receive(&mut self, token: Token) {
        let Some(transport) = self.slots.get_mut(token) else {
            return;
        };
        if !transport.wants_receive && transport.phase != Phase::Closing {
            transport.wants_receive = true;
            self.receives.push(token);
        }
    }

    /// Sets the connection's one timer, replacing the previous: `on_timer` is called once, not
    /// before `after_ms` have passed and at most some 130 ms later.
    pub fn set_timer(&mut self, token: Token, after_ms: u64) {
        if self.is_open(token) {
            let at_ns = self
                .now_ns
                .saturating_add(after_ms.saturating_mul(1_000_000));
            self.wheel.set(&mut self.slots, token, at_ns);
        }
    }

    /// Removes the connection's timer.
    pub fn clear_timer(&mut self, token: Token) {
        self.wheel.clear(&mut self.slots, token);
    }

    /// Asks for `on_alarm` when CLOCK_MONOTONIC reaches `at_ns`. There is one alarm: the
    /// earliest asked for since it last fired. 0 clears it.
    pub fn set_alarm(&mut self, at_ns: u64) {
        if at_ns == 0 || self.alarm_ns == 0 || at_ns < self.alarm_ns {
            self.alarm_ns = at_ns;
        }
    }

    /// Ends the shard: what is still open is closed with [`Cause::Stopped`].
    pub fn stop(&mut self) {
        self.is_stopping = true;
    }

    /// Takes a socket in.
    pub(crate) fn adopt(&mut self, fd: OwnedFd) -> Token {
        self.counters.adopted += 1;
        let token = self.slots.insert(fd);
        self.receives.push(token);
        token
    }

    /// Keeps what a socket did not take.
    pub(crate) fn keep_unsent(&mut self, entry: &Entry, taken: usize) {
        let Io { slots, outbox, .. } = self;
        let Some(transport) = slots.get_mut(entry.token) else {
            return;
        };
        if let Source::Backlog = entry.source {
            if let Some(backlog) = transport.backlog.as_mut() {
                backlog.advance(taken);
                if backlog.unsent() > self.backlog_bytes_max {
                    self.breach(entry.token);
                }
            }
            return;
        }
        if let Source::Shared { index } = entry.source
            && transport.unsent() == 0
        {
            // The rest of what many share stays shared: a stalled peer keeps no copy of it.
            let shared = &outbox.shared[index];
            let backlog = transport.backlog.get_or_insert_with(Box::default);
            backlog.shared = shared.slice(taken.min(shared.len())..);
            if backlog.unsent() > self.backlog_bytes_max {
                self.breach(entry.token);
            }
            return;
        }
        let bytes = match entry.source {
            Source::Scratch { start, length } => &outbox.scratch[start..start + length],
            Source::Gathered { start, length } => &outbox.gathered[start..start + length],
            Source::Shared { index } => &outbox.shared[index][..],
            Source::Chain { first, .. } => {
                let Source::Gathered { start, length } = outbox.gather(first) else {
                    return;
                };
                &outbox.gathered[start..start + length]
            }
            Source::Backlog => return,
        };
        let rest = &bytes[taken.min(bytes.len())..];
        let backlog = transport.backlog.get_or_insert_with(Box::default);
        // Exactly: these are the buffers that stalled peers keep, and there may be many of them.
        backlog.bytes.reserve_exact(rest.len());
        backlog.bytes.extend_from_slice(rest);
        if backlog.unsent() > self.backlog_bytes_max {
            self.breach(entry.token);
        }
    }

    /// Whether the kernel may be asked to receive for this connection.
    pub(crate) fn may_receive(transport: &Transport) -> bool {
        transport.wants_receive
            && transport.receive == Receive::Idle
            && !transport.peer_finished
            && transport.phase != Phase::Closing
    }
}
