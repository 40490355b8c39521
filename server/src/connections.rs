//! The connections of a shard and everything that is done to one of them: send, ping, limit.
//!
//! It owns the table and the counters; `closing` has the ways in which a connection ends. It must
//! not know the application.

use std::net::SocketAddr;
use std::sync::Arc;

use bytes::Bytes;
use fanwire_protocol::{MessageKind, PreparedMessage, Receiver, Settings, Workspace};
use fanwire_reactor::{Delivery, Io, Token};

use crate::admission::Admission;
use crate::close_reason::CloseReason;
use crate::connection::{Connection, Due, Moment, Phase, after};
use crate::counters::ShardCounters;
use crate::limits::Limits;
use crate::table::Table;

/// Subprotocols one server can have; their index travels in a byte.
const SUBPROTOCOLS_MAX: usize = 255;

/// A socket on its way from its opening handshake to the data path, with the answer that it is
/// to send first.
#[derive(Debug)]
pub(crate) enum Admitted<S> {
    /// The 101 and a connection behind it.
    Established(Vec<u8>, Established<S>),
    /// A refusal: the data path sends it, ends the stream and waits a moment for the peer to
    /// have read it, because closing at once could turn it into a reset.
    Refused(Vec<u8>),
}

/// A connection whose opening handshake is done.
#[derive(Debug)]
pub(crate) struct Established<S> {
    pub(crate) deflate: Option<fanwire_protocol::DeflateParameters>,
    pub(crate) peer: SocketAddr,
    pub(crate) subprotocol: Option<&'static str>,
    pub(crate) state: S,
}

/// Everything of a shard except the handler and the receivers, which are borrowed while a message
/// is handled.
pub(crate) struct Connections<S> {
    pub(crate) table: Table<Connection<S>>,
    pub(crate) limits: Arc<Limits>,
    pub(crate) counters: ShardCounters,
    pub(crate) settings: Arc<Settings>,
    pub(crate) workspace: Workspace,
    pub(crate) admission: Arc<Admission>,
    pub(crate) subprotocols: Vec<&'static str>,
    /// Memory of all unfinished messages.
    pub(crate) unfinished_bytes: usize,
    /// Connections that nothing is parsed for any more, for the owner of the receivers.
    pub(crate) failed: Vec<Token>,
}

/// The shard's clock in milliseconds.
pub(crate) fn moment(io: &Io) -> Moment {
    (io.now_ns() / 1_000_000) as Moment
}

impl<S> Connections<S> {
    pub(crate) fn new(limits: Arc<Limits>, admission: Arc<Admission>) -> Connections<S> {
        Connections {
            table: Table::new(),
            counters: ShardCounters::default(),
            settings: Arc::new(limits.settings()),
            workspace: Workspace::default(),
            admission,
            subprotocols: Vec::new(),
            unfinished_bytes: 0,
            failed: Vec::new(),
            limits,
        }
    }

    /// Takes a connection in and gives its receiver to the caller to keep.
    pub(crate) fn insert(
        &mut self,
        io: &mut Io,
        token: Token,
        established: Established<S>,
    ) -> Receiver {
        let Established {
            deflate,
            peer,
            subprotocol,
            state,
        } = established;
        let now = moment(io);
        let protocol = fanwire_protocol::Connection::new(self.settings.clone(), deflate);
        let subprotocol = self.subprotocol_index(subprotocol);
        let connection = Connection::new(
            token,
            protocol.sender,
            peer,
            subprotocol,
            state,
            &self.limits,
            now,
        );
        self.table.insert(token.slot(), connection);
        self.counters.open += 1;
        self.rearm(io, token);
        protocol.receiver
    }

    fn subprotocol_index(&mut self, name: Option<&'static str>) -> u8 {
        let Some(name) = name else { return 0 };
        let known = self.subprotocols.iter().position(|other| *other == name);
        let index = known.unwrap_or(self.subprotocols.len());
        if index >= SUBPROTOCOLS_MAX {
            // Beyond what a program can sensibly have; the connection works without its name.
            return 0;
        }
        if known.is_none() {
            self.subprotocols.push(name);
        }
        index as u8 + 1
    }

    pub(crate) fn subprotocol(&self, index: u8) -> Option<&'static str> {
        self.subprotocols
            .get(usize::from(index).checked_sub(1)?)
            .copied()
    }

    /// The connection, if it is still the same one.
    #[inline]
    pub(crate) fn get_mut(&mut self, token: Token) -> Option<&mut Connection<S>> {
        self.table
            .get_mut(token.slot())
            .filter(|connection| connection.token == token)
    }

    #[inline]
    pub(crate) fn get(&self, token: Token) -> Option<&Connection<S>> {
        self.table
            .get(token.slot())
            .filter(|connection| connection.token == token)
    }

    /// The connection, if it can be sent to.
    #[inline]
    pub(crate) fn open_mut(&mut self, token: Token) -> Option<&mut Connection<S>> {
        self.get_mut(token)
            .filter(|connection| connection.phase == Phase::Open)
    }

    /// Sets the connection's timer if it has to fire earlier than it is set to.
    pub(crate) fn rearm(&mut self, io: &mut Io, token: Token) {
        let now = moment(io);
        let connection = self.table.get_mut(token.slot());
        let after_ms = connection
            .filter(|connection| connection.token == token)
            .and_then(|connection| connection.rearm(&self.limits, now));
        if let Some(after_ms) = after_ms {
            io.set_timer(token, after_ms);
        }
    }

    /// Sends a message. False if the connection is gone or closing.
    #[inline]
    pub(crate) fn send(
        &mut self,
        io: &mut Io,
        token: Token,
        kind: MessageKind,
        payload: &[u8],
    ) -> bool {
        let Some(connection) = self
            .table
            .get_mut(token.slot())
            .filter(|connection| connection.token == token)
        else {
            return false;
        };
        if connection.phase != Phase::Open {
            return false;
        }
        let (sender, workspace) = (&mut connection.sender, &mut self.workspace);
        let queued = io.send(token, |out| {
            let before = out.len();
            let sent = sender.message(kind, payload, None, workspace, out);
            debug_assert!(
                sent.is_ok(),
                "an open connection of the server role can send"
            );
            out.len() - before
        });
        let Some(queued) = queued else { return false };
        connection.note_queued(queued);
        self.counters.messages_sent += 1;
        self.counters.message_bytes_sent += payload.len() as u64;
        true
    }

    /// Sends a message that was encoded for many.
    pub(crate) fn send_prepared(
        &mut self,
        io: &mut Io,
        token: Token,
        message: &PreparedMessage,
    ) -> bool {
        let Some(connection) = self.open_mut(token) else {
            return false;
        };
        let frame = message.frame_for(connection.sender.deflate_parameters());
        if !io.send_shared(token, frame) {
            return false;
        }
        connection.note_queued(frame.len());
        self.counters.messages_sent += 1;
        self.counters.message_bytes_sent += frame.len() as u64;
        true
    }

    /// Sends frames that were encoded for many, if nothing waits for the socket.
    #[inline]
    pub(crate) fn send_frames(
        &mut self,
        io: &mut Io,
        token: Token,
        frames: &Bytes,
        messages: u64,
    ) -> Delivery {
        let Some(connection) = self.open_mut(token) else {
            return Delivery::Gone;
        };
        let delivery = io.send_shared_if_clear(token, frames);
        if delivery == Delivery::Sent {
            connection.note_queued(frames.len());
            self.counters.messages_sent += messages;
            self.counters.message_bytes_sent += frames.len() as u64;
        }
        delivery
    }

    /// Lets `write` append whole frames.
    pub(crate) fn write_frames<R>(
        &mut self,
        io: &mut Io,
        token: Token,
        messages: u64,
        write: impl FnOnce(&mut Vec<u8>) -> R,
    ) -> Option<R> {
        let connection = self.open_mut(token)?;
        let (result, length) = io.send(token, |out| {
            let before = out.len();
            let result = write(out);
            (result, out.len() - before)
        })?;
        connection.note_queued(length);
        self.counters.messages_sent += messages;
        self.counters.message_bytes_sent += length as u64;
        Some(result)
    }

    /// Sends a ping. False if the connection is gone or closing, or the payload is longer than
    /// the 125 bytes of a control frame.
    pub(crate) fn ping(&mut self, io: &mut Io, token: Token, payload: &[u8]) -> bool {
        let Some(connection) = self.open_mut(token) else {
            return false;
        };
        let sender = &mut connection.sender;
        let queued = io.send(token, |out| {
            let before = out.len();
            sender
                .ping(payload, None, out)
                .ok()
                .map(|()| out.len() - before)
        });
        let Some(Some(queued)) = queued else {
            return false;
        };
        connection.note_queued(queued);
        connection.note_ping_sent();
        self.counters.pings_sent += 1;
        true
    }

    /// Answers a ping, at once if the peer reads, else when it does; then only the newest
    /// (RFC 6455 5.5.3), so that a peer that pings and does not read costs 125 bytes.
    pub(crate) fn pong(&mut self, io: &mut Io, token: Token, payload: &[u8]) {
        self.counters.pings_received += 1;
        let is_backlogged = io.unsent(token) > 0;
        let Some(connection) = self
            .table
            .get_mut(token.slot())
            .filter(|connection| connection.token == token)
        else {
            return;
        };
        if connection.phase != Phase::Open {
            return;
        }
        if is_backlogged {
            if !connection.pending_pong.is_empty() {
                self.counters.pings_superseded += 1;
            }
            connection.pending_pong.replace(payload);
            return;
        }
        let sender = &mut connection.sender;
        let queued = io.send(token, |out| {
            let before = out.len();
            // A ping's payload always fits a pong.
            let _ = sender.pong(payload, None, out);
            out.len() - before
        });
        connection.note_queued(queued.unwrap_or(0));
    }

    /// Everything that was unsent is sent: the waiting pong goes out and receiving goes on.
    pub(crate) fn drained(&mut self, io: &mut Io, token: Token) {
        let now = moment(io);
        let Some(connection) = self.get_mut(token) else {
            return;
        };
        connection.note_unsent(0, now);
        if connection.phase == Phase::Open && !connection.pending_pong.is_empty() {
            let (sender, pending) = (&mut connection.sender, &mut connection.pending_pong);
            let queued = io.send(token, |out| {
                let before = out.len();
                let _ = pending.take_into(sender, None, out);
                out.len() - before
            });
            connection.note_queued(queued.unwrap_or(0));
        }
        if connection.is_paused {
            connection.is_paused = false;
            // Silence while nobody listened says nothing about the peer.
            connection.note_received(now);
            io.resume_receive(token);
        }
        self.rearm(io, token);
    }

    /// Looks at what the socket has not taken; stops receiving from a peer that does not read.
    #[inline]
    pub(crate) fn check_backlog(&mut self, io: &mut Io, token: Token) {
        let unsent = io.unsent(token);
        if unsent > 0 {
            self.check_unsent(io, token, unsent);
        }
    }

    #[cold]
    fn check_unsent(&mut self, io: &mut Io, token: Token, unsent: usize) {
        let now = moment(io);
        let pause_above = self.limits.backlog_pause_bytes;
        let Some(connection) = self.get_mut(token) else {
            return;
        };
        let stall_starts = connection.note_unsent(unsent, now);
        if unsent > pause_above && !connection.is_paused && connection.phase == Phase::Open {
            connection.is_paused = true;
            io.pause_receive(token);
            self.counters.receive_pauses += 1;
        }
        if stall_starts {
            self.rearm(io, token);
        }
    }

    /// Counts a message; false if it must not be handled because the connection is closing or
    /// sends too many.
    #[inline]
    pub(crate) fn take_message(
        &mut self,
        io: &mut Io,
        token: Token,
        payload_size: usize,
        now: Moment,
    ) -> bool {
        let (rate, burst) = (self.limits.message_rate_max, self.limits.message_burst);
        let Some(connection) = self.open_mut(token) else {
            return false;
        };
        connection.last_message = now;
        let is_allowed = connection.messages.take(rate, burst, now);
        self.counters.messages_received += 1;
        self.counters.message_bytes_received += payload_size as u64;
        if !is_allowed {
            self.fail(io, token, CloseReason::MessageFlood);
        }
        is_allowed
    }

    /// Counts a control frame against its rate; false if there were too many.
    pub(crate) fn take_control(&mut self, io: &mut Io, token: Token, now: Moment) -> bool {
        let (rate, burst) = (self.limits.control_rate_max, self.limits.control_burst);
        let Some(connection) = self.open_mut(token) else {
            return false;
        };
        let is_allowed = connection.controls.take(rate, burst, now);
        if !is_allowed {
            self.fail(io, token, CloseReason::ControlFlood);
        }
        is_allowed
    }

    /// A pong: one that nobody asked for counts as a control frame of the peer's own.
    pub(crate) fn take_pong(&mut self, io: &mut Io, token: Token, now: Moment) {
        let was_asked_for = self.get_mut(token).is_some_and(Connection::note_pong);
        if !was_asked_for {
            self.take_control(io, token, now);
        }
    }

    /// Whether the connection is still listened to.
    #[inline]
    pub(crate) fn is_heard(&self, token: Token) -> bool {
        self.get(token).is_some_and(Connection::is_heard)
    }

    /// What a batch of received bytes means for deadlines and limits.
    #[inline]
    pub(crate) fn after_receiving(
        &mut self,
        io: &mut Io,
        token: Token,
        is_mid_message: bool,
        finished_one: bool,
        held: usize,
    ) {
        let now = moment(io);
        let Some(connection) = self
            .get_mut(token)
            .filter(|connection| connection.is_heard())
        else {
            return;
        };
        let assembly_starts = connection.note_assembly(is_mid_message, finished_one, now);
        let held_before = connection.held as usize;
        if assembly_starts {
            self.rearm(io, token);
        }
        if held != held_before {
            self.account_unfinished(io, token, held);
        }
        self.check_backlog(io, token);
    }

    /// Updates the sum of unfinished messages and closes the oldest ones while it is too large.
    pub(crate) fn account_unfinished(&mut self, io: &mut Io, token: Token, held: usize) {
        if let Some(connection) = self.get_mut(token) {
            let before = std::mem::replace(&mut connection.held, held as u32);
            self.unfinished_bytes = self.unfinished_bytes + held - before as usize;
        }
        while self.unfinished_bytes > self.limits.unfinished_max_bytes {
            let now = moment(io);
            let oldest = self
                .table
                .iter()
                .filter(|connection| connection.held > 0 && connection.is_heard())
                .max_by_key(|connection| connection.assembly_age(now))
                .map(|connection| connection.token);
            let Some(oldest) = oldest else { return };
            self.fail(io, oldest, CloseReason::UnfinishedBudget);
        }
    }

    /// Does everything that is due on a connection except what concerns the application, for
    /// which it returns true.
    pub(crate) fn on_timer(&mut self, io: &mut Io, token: Token) -> bool {
        let now = moment(io);
        let unsent = io.unsent(token);
        let limits = self.limits.clone();
        let Some(connection) = self.get_mut(token) else {
            return false;
        };
        connection.note_timer_fired();
        if connection.phase == Phase::Open {
            connection.note_unsent(unsent, now);
        }
        let mut handler_is_due = false;
        while let Some(due) = self.get_mut(token).and_then(|c| c.due(&limits, now)) {
            match due {
                Due::Closing => {
                    self.counters.close_timeouts += 1;
                    self.cut(io, token, CloseReason::Error);
                }
                Due::End(CloseReason::Idle) => {
                    let reason = CloseReason::Idle;
                    self.close(io, token, reason, reason.status_code(), reason.phrase());
                }
                Due::End(reason) => self.fail(io, token, reason),
                Due::Ping => {
                    self.ping(io, token, b"");
                    if let Some(connection) = self.get_mut(token) {
                        connection.await_pong(now);
                    }
                }
                Due::Handler => handler_is_due = true,
            }
        }
        self.rearm(io, token);
        handler_is_due
    }

    /// The application's timer.
    pub(crate) fn set_handler_timer(&mut self, io: &mut Io, token: Token, after_ms: Option<u64>) {
        let now = moment(io);
        if let Some(connection) = self.get_mut(token) {
            connection.set_handler_timer(after_ms.map(|after_ms| after(now, after_ms)));
        }
        self.rearm(io, token);
    }
}
