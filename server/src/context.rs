//! What a handler can do while it is called.
//!
//! It owns the surface that applications see of a shard. It must not decide anything.

use std::net::SocketAddr;

use bytes::Bytes;
use fanwire_protocol::{DeflateParameters, MessageKind, PreparedMessage, StatusCode};
use fanwire_reactor::{Delivery, Io, Token};

use crate::close_reason::CloseReason;
use crate::connections::Connections;

/// The name of one connection of one shard. It is never given to another connection while
/// anything still refers to it: one that has ended is simply not found.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ConnectionId(pub(crate) Token);

/// A shard as a handler sees it during a call about one connection.
///
/// What is sent, closed or set here takes effect when the call has returned. Everything sent to a
/// connection in one turn of the shard leaves in one piece.
pub struct Context<'a, S> {
    connections: &'a mut Connections<S>,
    io: &'a mut Io,
    token: Token,
}

impl<'a, S> Context<'a, S> {
    pub(crate) fn new(
        connections: &'a mut Connections<S>,
        io: &'a mut Io,
        token: Token,
    ) -> Context<'a, S> {
        Context {
            connections,
            io,
            token,
        }
    }

    /// The whole shard.
    pub fn turn(&mut self) -> Turn<'_, S> {
        Turn::new(self.connections, self.io)
    }

    /// What was agreed on for permessage-deflate (RFC 7692), if anything was.
    pub fn deflate_parameters(&self) -> Option<DeflateParameters> {
        self.connections
            .get(self.token)?
            .sender
            .deflate_parameters()
    }

    /// The connection this call is about.
    pub fn id(&self) -> ConnectionId {
        ConnectionId(self.token)
    }

    /// The state of the connection this call is about.
    pub fn state(&mut self) -> &mut S {
        let connection = self.connections.get_mut(self.token);
        &mut connection
            .expect("a handler is only called about a connection in the table")
            .state
    }

    /// The state of any connection of this shard.
    pub fn state_of(&mut self, id: ConnectionId) -> Option<&mut S> {
        self.connections
            .get_mut(id.0)
            .map(|connection| &mut connection.state)
    }

    /// Where the TCP connection comes from. Behind a proxy that is the proxy.
    pub fn peer_address(&self) -> SocketAddr {
        let connection = self.connections.get(self.token);
        connection
            .expect("a handler is only called about a connection in the table")
            .peer_address()
    }

    /// The subprotocol agreed on.
    pub fn subprotocol(&self) -> Option<&'static str> {
        let index = self.connections.get(self.token)?.subprotocol;
        self.connections.subprotocol(index)
    }

    /// Nanoseconds of a clock that never goes back, read once per turn of the shard.
    pub fn now_ns(&self) -> u64 {
        self.io.now_ns()
    }

    /// Connections of this shard that are open.
    pub fn open_count(&self) -> u64 {
        self.connections.counters.open
    }

    /// Sends a message. False if the connection is closing.
    #[inline]
    pub fn send(&mut self, kind: MessageKind, payload: &[u8]) -> bool {
        self.connections.send(self.io, self.token, kind, payload)
    }

    /// Sends a text message. False if the connection is closing.
    pub fn send_text(&mut self, text: &str) -> bool {
        self.send(MessageKind::Text, text.as_bytes())
    }

    /// Sends a binary message. False if the connection is closing.
    pub fn send_binary(&mut self, bytes: &[u8]) -> bool {
        self.send(MessageKind::Binary, bytes)
    }

    /// Sends a message to any connection of this shard. False if it is gone or closing.
    pub fn send_to(&mut self, id: ConnectionId, kind: MessageKind, payload: &[u8]) -> bool {
        let sent = self.connections.send(self.io, id.0, kind, payload);
        self.connections.check_backlog(self.io, id.0);
        sent
    }

    /// Sends a text message to any connection of this shard. False if it is gone or closing.
    pub fn send_text_to(&mut self, id: ConnectionId, text: &str) -> bool {
        self.send_to(id, MessageKind::Text, text.as_bytes())
    }

    /// Sends a binary message to any connection of this shard. False if it is gone or closing.
    pub fn send_binary_to(&mut self, id: ConnectionId, bytes: &[u8]) -> bool {
        self.send_to(id, MessageKind::Binary, bytes)
    }

    /// Sends a message that was encoded once for many. False if the connection is gone or
    /// closing.
    pub fn send_prepared_to(&mut self, id: ConnectionId, message: &PreparedMessage) -> bool {
        let sent = self.connections.send_prepared(self.io, id.0, message);
        self.connections.check_backlog(self.io, id.0);
        sent
    }

    /// Bytes that the connection's socket has not taken yet. A handler that produces faster than
    /// a peer reads looks here, and waits or leaves something out.
    pub fn unsent_bytes(&self, id: ConnectionId) -> usize {
        self.io.unsent(id.0)
    }

    /// Sends a ping of at most 125 bytes. False if the payload is longer or the connection is
    /// closing. Keep-alive pings are sent without being asked for.
    pub fn ping(&mut self, payload: &[u8]) -> bool {
        self.connections.ping(self.io, self.token, payload)
    }

    /// Begins the closing handshake. The reason is cut to the 123 bytes that a Close frame holds.
    /// False if the connection is closing already, or the code must not be sent
    /// (RFC 6455 7.4.1).
    pub fn close(&mut self, code: StatusCode, reason: &str) -> bool {
        self.close_connection(self.id(), code, reason)
    }

    /// Begins the closing handshake of any connection of this shard, as [`Context::close`].
    pub fn close_connection(&mut self, id: ConnectionId, code: StatusCode, reason: &str) -> bool {
        self.connections
            .close(self.io, id.0, CloseReason::Application, Some(code), reason)
    }

    /// The status code of the closing handshake: the peer's if the peer began it, else ours; 1005
    /// if there was none in it, 1006 if there was no closing handshake.
    pub fn close_code(&self) -> u16 {
        let connection = self.connections.get(self.token);
        connection.map_or(crate::close_reason::ABNORMAL, |connection| {
            connection.close_code
        })
    }

    /// Calls [`Handler::on_timer`](crate::Handler::on_timer) for this connection once, `after_ms`
    /// milliseconds from now and at most 64 ms later. A connection has one such timer; setting it
    /// again replaces it.
    pub fn set_timer_ms(&mut self, after_ms: u64) {
        self.connections
            .set_handler_timer(self.io, self.token, Some(after_ms));
    }

    /// Forgets the timer.
    pub fn clear_timer(&mut self) {
        self.connections
            .set_handler_timer(self.io, self.token, None);
    }
}

/// A shard as a handler sees it during a call about no connection in particular.
pub struct Turn<'a, S> {
    connections: &'a mut Connections<S>,
    io: &'a mut Io,
}

impl<'a, S> Turn<'a, S> {
    pub(crate) fn new(connections: &'a mut Connections<S>, io: &'a mut Io) -> Turn<'a, S> {
        Turn { connections, io }
    }

    /// One connection of this shard, if it has not ended.
    pub fn connection(&mut self, id: ConnectionId) -> Option<Context<'_, S>> {
        self.connections.get(id.0)?;
        Some(Context::new(self.connections, self.io, id.0))
    }

    /// The state of any connection of this shard.
    #[inline]
    pub fn state_of(&mut self, id: ConnectionId) -> Option<&mut S> {
        self.connections
            .get_mut(id.0)
            .map(|connection| &mut connection.state)
    }

    /// Nanoseconds of a clock that never goes back, read once per turn of the shard. It is the
    /// same clock on all shards.
    pub fn now_ns(&self) -> u64 {
        self.io.now_ns()
    }

    /// Connections of this shard that are open.
    pub fn open_count(&self) -> u64 {
        self.connections.counters.open
    }

    /// Sends one or several whole frames that were encoded for many, unless something that was
    /// sent before still waits for the socket. The frames must be a server's, and compressed
    /// only as was agreed with this connection.
    #[inline]
    pub fn send_frames(&mut self, id: ConnectionId, frames: &Bytes, messages: u64) -> Delivery {
        self.connections
            .send_frames(self.io, id.0, frames, messages)
    }

    /// Lets `write` append whole frames for one connection, behind everything sent to it before.
    /// `None`, without calling `write`, if it is gone or closing.
    pub fn write_frames<R>(
        &mut self,
        id: ConnectionId,
        messages: u64,
        write: impl FnOnce(&mut Vec<u8>) -> R,
    ) -> Option<R> {
        self.connections
            .write_frames(self.io, id.0, messages, write)
    }

    /// Sends a message. False if the connection is gone or closing.
    pub fn send_to(&mut self, id: ConnectionId, kind: MessageKind, payload: &[u8]) -> bool {
        let sent = self.connections.send(self.io, id.0, kind, payload);
        self.connections.check_backlog(self.io, id.0);
        sent
    }

    /// Bytes that the connection's socket has not taken yet.
    #[inline]
    pub fn unsent_bytes(&self, id: ConnectionId) -> usize {
        self.io.unsent(id.0)
    }

    /// Begins the closing handshake, as [`Context::close`].
    pub fn close_connection(&mut self, id: ConnectionId, code: StatusCode, reason: &str) -> bool {
        self.connections
            .close(self.io, id.0, CloseReason::Application, Some(code), reason)
    }

    /// Cuts a connection that is too far behind: a Close frame would only wait behind what the
    /// peer does not read if something waits already; otherwise it gets 4008.
    /// False if it is gone or closing.
    pub fn close_slow(&mut self, id: ConnectionId) -> bool {
        let reason = CloseReason::Slow;
        if self.connections.open_mut(id.0).is_none() {
            return false;
        }
        if self.io.unsent(id.0) > 0 {
            self.connections.fail(self.io, id.0, reason);
            return true;
        }
        let code = reason.status_code();
        self.connections
            .close(self.io, id.0, reason, code, reason.phrase())
    }

    /// Calls [`Handler::on_alarm`](crate::Handler::on_alarm) when the clock of
    /// [`Turn::now_ns`] reaches `at_ns`. There is one alarm: the earliest asked for since it last
    /// fired.
    pub fn set_alarm_ns(&mut self, at_ns: u64) {
        self.io.set_alarm(at_ns);
    }

    /// Asks for another turn right after this one, even if nothing happens.
    pub fn again(&mut self) {
        self.io.turn_again();
    }
}
