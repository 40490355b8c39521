//! The application that the reactor runs on each core: bytes to events, events to the handler.
//!
//! It owns the order in which things happen to a connection. It must not know sockets, and it
//! leaves every decision about a message to the handler.

use std::fmt;
use std::rc::Rc;
use std::sync::Arc;

use fanwire_protocol::{Event, Input, Receiver, Workspace};
use fanwire_reactor::{Application, Cause, Io, Token};

use crate::admission::Admission;
use crate::close_reason::CloseReason;
use crate::connections::{Admitted, Connections, moment};
use crate::context::{Context, Turn};
use crate::counters::ShardCounters;
use crate::handler::Handler;
use crate::limits::Limits;
use crate::reception::Reception;
use crate::table::Table;

/// What the control thread tells a shard.
pub(crate) enum ControlMail {
    /// Accept nobody any more and close everybody; the shard ends with its last connection.
    Drain,
    /// End now.
    Stop,
    /// Hand over the counters as they are.
    Count(Box<dyn FnOnce(ShardCounters) + Send>),
}

/// Everything that comes to a shard from other threads.
pub(crate) enum ShardMail<M> {
    Control(ControlMail),
    Application(M),
}

impl<M> fmt::Debug for ShardMail<M> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            ShardMail::Control(_) => "Control",
            ShardMail::Application(_) => "Application",
        })
    }
}

/// One shard.
pub(crate) struct Shard<H: Handler> {
    pub(crate) handler: H,
    pub(crate) connections: Connections<H::State>,
    receivers: Table<Receiver>,
    workspace: Workspace,
    /// What is shared with the establishment tasks of the same thread.
    reception: Rc<Reception>,
}

/// How long a refused peer has to read why.
pub(crate) const REFUSAL_LINGER_MS: u64 = 1_000;

impl<H: Handler> Shard<H> {
    pub(crate) fn new(
        handler: H,
        limits: Arc<Limits>,
        admission: Arc<Admission>,
        reception: Rc<Reception>,
    ) -> Shard<H> {
        Shard {
            handler,
            connections: Connections::new(limits, admission),
            receivers: Table::new(),
            workspace: Workspace::default(),
            reception,
        }
    }

    /// Everything counted on this core.
    pub(crate) fn counters(&self) -> ShardCounters {
        let mut counters = self.reception.counters();
        counters.add(&self.connections.counters);
        counters
    }

    /// Ends the shard once nothing keeps it: the last connection of a drain is gone, or nobody is
    /// to be waited for, and no conversation is in progress.
    pub(crate) fn stop_if_over(&mut self, io: &mut Io) {
        let nobody_is_left = self.reception.is_draining() && self.connections.counters.open == 0;
        if self.reception.in_progress() > 0 || !(nobody_is_left || self.reception.is_hurried()) {
            return;
        }
        // What is open still passes through `on_closed`, and the counters are kept again then.
        self.reception.keep(&self.connections.counters);
        io.stop();
    }

    /// Frees what the receivers of failed connections hold: nothing is parsed for them any more.
    fn drop_failed_receivers(&mut self) {
        while let Some(token) = self.connections.failed.pop() {
            if self.connections.get(token).is_some() {
                self.receivers.remove(token.slot());
            }
        }
    }
}

/// Receives everything that is in `input` and hands it on. True if a message was finished.
///
/// The receiver is apart from the connections so that a handler can reach every connection while
/// it looks at a message that lies in the receiver.
#[inline]
fn receive<H: Handler>(
    handler: &mut H,
    connections: &mut Connections<H::State>,
    receiver: &mut Receiver,
    workspace: &mut Workspace,
    io: &mut Io,
    token: Token,
    bytes: &mut [u8],
) -> bool {
    let now = moment(io);
    let mut finished_one = false;
    let mut input = Input::new(bytes);
    loop {
        let event = match receiver.next_event(&mut input, workspace) {
            Ok(Some(event)) => event,
            Ok(None) => return finished_one,
            Err(error) => {
                connections.fail(io, token, CloseReason::of_violation(error.close_code()));
                return finished_one;
            }
        };
        match event {
            Event::Message(message) => {
                finished_one = true;
                if connections.take_message(io, token, message.payload.len(), now) {
                    handler.on_message(&mut Context::new(connections, io, token), message);
                }
            }
            Event::Ping(payload) => {
                if connections.take_control(io, token, now) {
                    connections.pong(io, token, payload);
                }
            }
            Event::Pong(_) => {
                connections.take_pong(io, token, now);
            }
            Event::Close(frame) => {
                connections.peer_closed(io, token, frame.map(|frame| frame.code));
                return finished_one;
            }
        }
        if !connections.is_heard(token) {
            return finished_one;
        }
    }
}

impl<H: Handler> Application for Shard<H> {
    type Mail = ShardMail<H::Mail>;
    type Adopted = Admitted<H::State>;

    fn on_adopted(&mut self, io: &mut Io, token: Token, admitted: Admitted<H::State>) {
        let (response, established) = match admitted {
            Admitted::Established(response, established) => (response, Some(established)),
            Admitted::Refused(response) => (response, None),
        };
        io.send(token, |out| out.extend_from_slice(&response));
        self.reception.give_buffer(response);
        let Some(established) = established else {
            // It has no entry in the table, so nothing it still sends is looked at.
            io.finish(token);
            io.set_timer(token, REFUSAL_LINGER_MS);
            return;
        };
        let receiver = self.connections.insert(io, token, established);
        self.receivers.insert(token.slot(), receiver);
        self.handler
            .on_open(&mut Context::new(&mut self.connections, io, token));
        if self.reception.is_draining() {
            let reason = CloseReason::Drain;
            let code = reason.status_code();
            self.connections
                .close(io, token, reason, code, reason.phrase());
        }
        self.drop_failed_receivers();
    }

    #[inline]
    fn on_received(&mut self, io: &mut Io, token: Token, bytes: &mut [u8]) {
        let now = moment(io);
        match self.connections.get_mut(token) {
            Some(connection) if connection.is_heard() => connection.note_received(now),
            _ => return,
        }
        let Some(receiver) = self.receivers.get_mut(token.slot()) else {
            return;
        };
        let finished_one = receive(
            &mut self.handler,
            &mut self.connections,
            receiver,
            &mut self.workspace,
            io,
            token,
            bytes,
        );
        let is_mid_message = receiver.is_mid_message();
        let held = receiver.bytes_held();
        self.connections
            .after_receiving(io, token, is_mid_message, finished_one, held);
        self.drop_failed_receivers();
    }

    fn on_end_of_stream(&mut self, io: &mut Io, token: Token) {
        if self.connections.get(token).is_none() {
            io.terminate(token);
        }
        self.connections.stream_ended(io, token);
    }

    fn on_blocked(&mut self, io: &mut Io, token: Token) {
        if self.connections.get(token).is_none() {
            return;
        }
        self.connections.check_backlog(io, token);
        self.handler
            .on_blocked(&mut Context::new(&mut self.connections, io, token));
    }

    fn on_drained(&mut self, io: &mut Io, token: Token) {
        if self.connections.get(token).is_none() {
            return;
        }
        self.connections.drained(io, token);
        self.handler
            .on_drained(&mut Context::new(&mut self.connections, io, token));
        self.drop_failed_receivers();
    }

    fn on_timer(&mut self, io: &mut Io, token: Token) {
        if self.connections.get(token).is_none() {
            io.reset(token);
            return;
        }
        if self.connections.on_timer(io, token) {
            self.handler
                .on_timer(&mut Context::new(&mut self.connections, io, token));
        }
        self.drop_failed_receivers();
    }

    fn on_mail(&mut self, io: &mut Io, mail: Self::Mail) {
        match mail {
            ShardMail::Application(mail) => {
                self.handler
                    .on_mail(&mut Turn::new(&mut self.connections, io), mail);
                self.drop_failed_receivers();
            }
            ShardMail::Control(ControlMail::Drain) => {
                self.reception.drain();
                self.connections.drain(io);
                self.stop_if_over(io);
            }
            ShardMail::Control(ControlMail::Stop) => {
                self.reception.hurry();
                self.stop_if_over(io);
            }
            ShardMail::Control(ControlMail::Count(answer)) => answer(self.counters()),
        }
    }

    fn on_alarm(&mut self, io: &mut Io) {
        self.handler
            .on_alarm(&mut Turn::new(&mut self.connections, io));
        self.drop_failed_receivers();
    }

    fn on_turn(&mut self, io: &mut Io) {
        self.handler
            .on_turn(&mut Turn::new(&mut self.connections, io));
        self.drop_failed_receivers();
    }

    fn on_doorbells(&mut self) {
        self.handler.on_doorbells();
    }

    fn on_closed(&mut self, io: &mut Io, token: Token, cause: Cause) {
        let Some(reason) = self.connections.ended(token, cause) else {
            return;
        };
        self.handler
            .on_close(&mut Context::new(&mut self.connections, io, token), reason);
        self.connections.table.remove(token.slot());
        self.receivers.remove(token.slot());
        self.stop_if_over(io);
    }
}
