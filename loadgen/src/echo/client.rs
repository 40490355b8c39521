//! The client end of one WebSocket connection: pure over bytes and times that are passed in.
//!
//! Owns what is awaited on this connection, judges every reply, answers pings and close frames.
//! Knows no socket, draws masking keys from the seeded generator in [`Desk`], and reads no clock.

use std::sync::Arc;

use fanwire_protocol::{
    CloseFrame, Connection, DeflateParameters, Event, Input, Message, MessageKind, Misuse,
    ProtocolError, Sender, StatusCode, Workspace,
};

use crate::echo::desk::Desk;
use crate::echo::heartbeat::Heartbeat;
use crate::measure::tally::Tally;
use crate::message::outstanding::{Outstanding, Stamps};
use crate::message::payload::Identified;

/// Unanswered messages one connection may have: beyond it a due message counts as unsent. Bounds
/// the memory that a server which never answers can cost (16 bytes each).
pub const IN_FLIGHT_MAX: usize = 65_536;

/// How a connection stands after a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Standing {
    /// Open.
    Open,
    /// The closing handshake is complete: close the socket.
    Closed,
    /// The server closed although we had not asked; our close frame is in the output.
    ClosedByServer,
    /// The server broke the protocol; our close frame is in the output.
    Failed(ProtocolError),
}

/// What came out of received bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Received {
    /// Messages that were answered by these bytes.
    pub answered: u32,
    /// How the connection stands now.
    pub standing: Standing,
}

/// The client end of one connection.
#[derive(Debug)]
pub struct Client {
    connection: Connection,
    outstanding: Outstanding,
    heartbeat: Heartbeat,
    /// Number of this connection in the whole run; part of every payload.
    number: u32,
    /// Replies that arrived in the measured window, for the fairness between connections.
    answered_measured: u64,
    is_served: bool,
    /// Messages that are no part of the load were sent: what comes before the load answers them.
    has_greeted: bool,
    /// The server has closed or failed; whatever still arrives is ignored.
    is_over: bool,
}

impl Client {
    /// A connection whose opening handshake is complete.
    pub fn new(desk: &Desk, number: u32, deflate: Option<DeflateParameters>) -> Client {
        Client {
            connection: Connection::new(Arc::clone(&desk.settings), deflate),
            outstanding: Outstanding::default(),
            heartbeat: Heartbeat::default(),
            number,
            answered_measured: 0,
            is_served: false,
            has_greeted: false,
            is_over: false,
        }
    }

    /// Messages that await their reply.
    pub fn waiting(&self) -> u32 {
        self.outstanding.waiting()
    }

    /// Whether our close frame has been written.
    pub fn is_closing(&self) -> bool {
        self.connection.sender.close_sent()
    }

    /// Appends the next message to `out` and books it. Returns false, and counts the message as
    /// unsent, when the connection is closing or has too much unanswered.
    pub fn send_message(
        &mut self,
        desk: &mut Desk,
        workspace: &mut Workspace,
        stamps: Stamps,
        out: &mut Vec<u8>,
    ) -> bool {
        if self.outstanding.len() >= IN_FLIGHT_MAX {
            if self.outstanding.forget_overtaken() {
                desk.sheet.tally.lost += 1;
            } else {
                desk.sheet.tally.unsent += 1;
                return false;
            }
        }
        self.greet(desk, workspace, stamps.sent_ns, out);
        let mut payload = std::mem::take(&mut desk.payload);
        let sequence = self.outstanding.next_sequence();
        let check = desk
            .messages
            .write(self.number, sequence, stamps.sent_ns, &mut payload);
        let written = self.frame(desk, workspace, &payload, out);
        desk.payload = payload;
        if written.is_err() {
            desk.sheet.tally.unsent += 1;
            return false;
        }
        if desk.messages.keeps_checks() {
            self.outstanding.push_checked(stamps, check);
        } else {
            self.outstanding.push(stamps);
        }
        desk.sheet.tally.sent += 1;
        if desk
            .window
            .is_some_and(|window| window.measures(stamps.sent_ns))
        {
            desk.sheet.tally.sent_measured += 1;
        }
        true
    }

    /// Appends a message as one frame, or as several where fragments are asked for.
    #[inline]
    fn frame(
        &mut self,
        desk: &mut Desk,
        workspace: &mut Workspace,
        payload: &[u8],
        out: &mut Vec<u8>,
    ) -> Result<(), Misuse> {
        let kind = desk.messages.kind();
        let sender = &mut self.connection.sender;
        match desk.fragment_size_bytes {
            Some(size) if payload.len() > size => {
                let last = payload.len().div_ceil(size.max(1)).saturating_sub(1);
                for (index, fragment) in payload.chunks(size.max(1)).enumerate() {
                    let key = Some(desk.masking_key());
                    sender.fragment(kind, fragment, index == 0, index == last, key, out)?;
                }
                Ok(())
            }
            _ => sender.message(kind, payload, Some(desk.masking_key()), workspace, out),
        }
    }

    /// Appends the messages that come before any load, unless that was done already: no replies to
    /// them are expected. The first message of the load does it too.
    pub fn greet(
        &mut self,
        desk: &mut Desk,
        workspace: &mut Workspace,
        now_ns: u64,
        out: &mut Vec<u8>,
    ) {
        if desk.first_messages.is_empty() || std::mem::replace(&mut self.has_greeted, true) {
            return;
        }
        let mut payload = std::mem::take(&mut desk.payload);
        let texts = Arc::clone(&desk.first_messages);
        for (number, text) in (0..).zip(texts.iter()) {
            payload.clear();
            desk.messages
                .write_first(text, self.number, number, now_ns, &mut payload);
            let key = Some(desk.masking_key());
            let sender = &mut self.connection.sender;
            // Refused only after a close frame, when nothing of it matters any more.
            let _ = sender.message(MessageKind::Text, &payload, key, workspace, out);
        }
        desk.payload = payload;
    }

    /// Takes received bytes. Pongs and close frames are appended to `out`.
    pub fn receive(
        &mut self,
        desk: &mut Desk,
        workspace: &mut Workspace,
        bytes: &mut [u8],
        now_ns: u64,
        out: &mut Vec<u8>,
    ) -> Received {
        let mut received = Received {
            answered: 0,
            standing: Standing::Open,
        };
        if self.is_over {
            return received;
        }
        let mut input = Input::new(bytes);
        let Connection { receiver, sender } = &mut self.connection;
        loop {
            match receiver.next_event(&mut input, workspace) {
                Ok(None) => break,
                Ok(Some(Event::Message(message))) => {
                    let is_before_load = self.has_greeted && self.outstanding.next_sequence() == 0;
                    if is_before_load || !desk.messages.is_reply(message.payload) {
                        desk.sheet.tally.ignored += 1;
                        continue;
                    }
                    if judge_reply(&message, self.number, &mut self.outstanding, desk, now_ns) {
                        received.answered += 1;
                        let is_measured = desk.window.is_some_and(|window| window.measures(now_ns));
                        self.answered_measured += u64::from(is_measured);
                        if !self.is_served {
                            self.is_served = true;
                            desk.sheet.tally.served += 1;
                        }
                    }
                }
                Ok(Some(Event::Ping(payload))) => {
                    desk.sheet.tally.pings += 1;
                    // Refused only after our close frame, where a pong would be wrong (RFC 6455
                    // 5.5.1). Unsent pongs are bounded by the backlog limit of the reactor.
                    let _ = sender.pong(payload, Some(desk.masking_key()), out);
                }
                Ok(Some(Event::Pong(payload))) => {
                    let window = desk.window;
                    self.heartbeat
                        .pong(payload, now_ns, window, &mut desk.sheet);
                }
                Ok(Some(Event::Close(frame))) => {
                    self.is_over = true;
                    received.standing = answer_close(sender, desk, frame.as_ref(), out);
                    break;
                }
                Err(error) => {
                    self.is_over = true;
                    // Refused only when our close frame is out already; then nothing is owed.
                    let key = Some(desk.masking_key());
                    let _ = sender.close(Some(error.close_code()), "", key, out);
                    received.standing = Standing::Failed(error);
                    break;
                }
            }
        }
        received
    }

    /// Appends a ping to `out`, unless the connection is closing.
    pub fn ping(&mut self, desk: &mut Desk, now_ns: u64, out: &mut Vec<u8>) {
        let key = desk.masking_key();
        let sender = &mut self.connection.sender;
        self.heartbeat
            .beat(sender, key, now_ns, &mut desk.sheet.tally, out);
    }

    /// Books a ping that is still unanswered: missing if its pong had `patience_ns` to come.
    pub fn account_ping(&mut self, now_ns: u64, patience_ns: u64, tally: &mut Tally) {
        self.heartbeat.account(now_ns, patience_ns, tally);
    }

    /// Begins the closing handshake with 1000. Nothing is sent or expected afterwards.
    pub fn close(&mut self, desk: &mut Desk, out: &mut Vec<u8>) {
        // Refused only when the close frame is out already.
        let key = Some(desk.masking_key());
        let _ = self
            .connection
            .sender
            .close(Some(StatusCode::NORMAL), "", key, out);
    }

    /// Books what is left when the connection has ended: none of it can be answered any more.
    pub fn account_ended(&mut self, tally: &mut Tally) {
        let remainder = self.outstanding.remainder();
        tally.lost += remainder.overtaken + remainder.waiting;
        tally.fairness.count(self.answered_measured);
        self.outstanding = Outstanding::default();
    }

    /// Books what is left at the end of the drain on a connection that is still open.
    pub fn account_open(&mut self, tally: &mut Tally) {
        let remainder = self.outstanding.remainder();
        tally.lost += remainder.overtaken;
        tally.in_flight += remainder.waiting;
        tally.stalled += u64::from(remainder.waiting > 0);
        tally.fairness.count(self.answered_measured);
        self.outstanding = Outstanding::default();
    }
}

/// Answers the server's close frame, unless it answers ours.
fn answer_close(
    sender: &mut Sender,
    desk: &mut Desk,
    frame: Option<&CloseFrame<'_>>,
    out: &mut Vec<u8>,
) -> Standing {
    if sender.close_sent() {
        return Standing::Closed;
    }
    let code = frame.map(|frame| frame.code);
    // 1005 stands for "no status code" and never travels (RFC 6455 7.4.1).
    *desk
        .sheet
        .tally
        .close_codes
        .entry(code.map_or(1005, |code| code.0))
        .or_default() += 1;
    // The code is echoed (RFC 6455 5.5.1); it was received, so it may be sent.
    let key = Some(desk.masking_key());
    let _ = sender.close(code, "", key, out);
    Standing::ClosedByServer
}

/// Decides what a message is, books it, and returns whether it answered something.
fn judge_reply(
    message: &Message<'_>,
    number: u32,
    outstanding: &mut Outstanding,
    desk: &mut Desk,
    now_ns: u64,
) -> bool {
    let tally = &mut desk.sheet.tally;
    tally.payload_bytes_received += message.payload.len() as u64;
    let identified = desk.messages.identify(number, message, outstanding);
    let sequence = match identified {
        Identified::Exact(sequence) => sequence,
        Identified::Corrupt(sequence) => {
            tally.corrupt += 1;
            tally.fail("corrupt_reply", || describe(message, number, sequence));
            sequence
        }
        Identified::Duplicate => {
            tally.duplicates += 1;
            return false;
        }
        Identified::Misrouted => {
            tally.unsolicited += 1;
            tally.fail("misrouted_reply", || {
                format!("connection {number} got the reply to another connection's message")
            });
            return false;
        }
        Identified::Unsolicited => {
            tally.unsolicited += 1;
            return false;
        }
    };
    let Some(answered) = outstanding.answer(sequence) else {
        // `identify` names outstanding sequences only.
        tally.unsolicited += 1;
        return false;
    };
    tally.received += 1;
    tally.reordered += u64::from(answered.is_reordered);
    if let Some(window) = desk.window {
        tally.received_measured += u64::from(window.measures(now_ns));
        let stamps = answered.stamps;
        if window.measures(stamps.intended_ns) {
            let half = usize::from(window.is_second_half(stamps.intended_ns));
            let response_ns = now_ns.saturating_sub(stamps.intended_ns);
            desk.sheet.record_response(half, response_ns);
            if desk.keeps_service {
                desk.sheet
                    .service
                    .record(now_ns.saturating_sub(stamps.sent_ns));
            }
        } else if window.is_warmup(stamps.intended_ns) {
            let response_ns = now_ns.saturating_sub(stamps.intended_ns);
            desk.sheet.warmup.record(response_ns);
        }
    }
    true
}

fn describe(message: &Message<'_>, number: u32, sequence: u64) -> String {
    let shown: Vec<String> = message
        .payload
        .iter()
        .take(16)
        .map(|byte| format!("{byte:02x}"))
        .collect();
    format!(
        "reply to message {sequence} of connection {number}: {:?} of {} bytes, beginning {}",
        message.kind,
        message.payload.len(),
        shown.join(" ")
    )
}
