//! One connection of a fan-out: frames in, frames out, and why it ended.

use std::collections::BTreeMap;

use fanwire_protocol::{
    CloseFrame, Connection, Event, Input, MaskingKey, Sender, StatusCode, Workspace,
};

use crate::connect::link::Link;
use crate::echo::heartbeat::Heartbeat;
use crate::fanout::desk::Desk;
use crate::fanout::dialect::nats;
use crate::fanout::hear;
use crate::fanout::layout::Class;
use crate::fanout::worker::Subscriber;

/// What a connection is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Role {
    /// By its place among this thread's subscribers.
    Subscriber(u32),
    /// By its place among all publisher connections.
    Publisher(u32),
}

pub(super) struct Seat {
    pub(super) connection: Connection,
    pub(super) link: Link,
    pub(super) heartbeat: Heartbeat,
    pub(super) role: Role,
    /// Why it ends has been counted.
    pub(super) is_explained: bool,
    /// A publisher that the server has answered (NATS).
    pub(super) is_confirmed: bool,
    /// What is not yet a whole operation (NATS).
    pub(super) session: nats::Session,
}

/// What hearing a connection takes, of what the worker has.
pub(super) struct Ears<'a> {
    pub(super) desk: &'a mut Desk,
    pub(super) workspace: &'a mut Workspace,
    pub(super) subscribers: &'a mut [Subscriber],
    /// Messages to be sent.
    pub(super) answers: &'a mut hear::Answers,
    /// Pongs and close frames to be sent.
    pub(super) scratch: &'a mut Vec<u8>,
}

/// Name and sentence of an end.
pub(super) type End = (&'static str, String);

impl Seat {
    /// Takes received bytes. `Some`: the connection is at its end.
    pub(super) fn receive(&mut self, ears: Ears<'_>, bytes: &mut [u8], now_ns: u64) -> Option<End> {
        let Ears {
            desk,
            workspace,
            subscribers,
            answers,
            scratch,
        } = ears;
        let mut input = Input::new(bytes);
        let Connection { receiver, sender } = &mut self.connection;
        loop {
            match receiver.next_event(&mut input, workspace) {
                Ok(None) => return None,
                Ok(Some(Event::Message(message))) => match self.role {
                    Role::Subscriber(index) => {
                        if let Some(one) = subscribers.get_mut(index as usize) {
                            let (books, session) = (&mut one.books, &mut self.session);
                            hear::subscriber(desk, books, session, &message, now_ns, answers);
                        }
                    }
                    Role::Publisher(place) => {
                        let session = &mut self.session;
                        self.is_confirmed |=
                            hear::publisher(desk, place, session, &message, now_ns, answers);
                    }
                },
                Ok(Some(Event::Ping(payload))) => {
                    desk.sheet.tally.pings += 1;
                    // Refused only after our close frame, where a pong would be wrong.
                    let _ = sender.pong(payload, Some(desk.masking_key()), scratch);
                }
                Ok(Some(Event::Pong(payload))) => {
                    let window = desk.window;
                    self.heartbeat
                        .pong(payload, now_ns, window, &mut desk.sheet);
                }
                Ok(Some(Event::Close(frame))) => {
                    let key = desk.masking_key();
                    let codes = &mut desk.sheet.tally.close_codes;
                    return Some(answer_close(sender, key, frame.as_ref(), codes, scratch));
                }
                Err(error) => {
                    // Refused only when our close frame is out already; then nothing is owed.
                    let key = Some(desk.masking_key());
                    let _ = sender.close(Some(error.close_code()), "", key, scratch);
                    let detail = format!("the server broke the protocol: {error}");
                    return Some(("protocol_error", detail));
                }
            }
        }
    }
}

/// Answers the server's close frame, unless it answers ours.
fn answer_close(
    sender: &mut Sender,
    key: MaskingKey,
    frame: Option<&CloseFrame<'_>>,
    codes: &mut BTreeMap<u16, u64>,
    scratch: &mut Vec<u8>,
) -> End {
    let said = said_at_close(frame);
    let code = frame.map(|frame| frame.code);
    // 1005 stands for "no status code" and never travels (RFC 6455 7.4.1).
    let number = code.map_or(1005, |code| code.0);
    if !sender.close_sent() {
        *codes.entry(number).or_default() += 1;
        // It was received, so it may be sent.
        let _ = sender.close(code, "", Some(key), scratch);
    }
    (
        "closed_by_server",
        format!("the server sent a close frame that nobody had asked for ({number}{said})"),
    )
}

/// The reason that a close frame gives, and what its status code usually means.
fn said_at_close(frame: Option<&CloseFrame<'_>>) -> String {
    let Some(frame) = frame else {
        return String::new();
    };
    let mut said = String::new();
    if !frame.reason.is_empty() {
        said = format!(": \"{}\"", frame.reason.escape_debug());
    }
    if frame.code == StatusCode::POLICY {
        said.push_str(
            "; 1008 is a matter of policy: is the token, the Origin or the subscribe message one \
             that this server accepts?",
        );
    }
    said
}

/// Ends of readers that were made slow have names of their own: a server may close those.
pub(super) fn kind_of_end(kind: &str, class: Class) -> String {
    match class {
        Class::Healthy | Class::Churning => kind.to_owned(),
        Class::Slow | Class::Stalled => format!("{kind}_{}", class.as_str()),
    }
}
