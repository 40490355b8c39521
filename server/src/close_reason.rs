//! Why a connection ended: one table of status code, reason phrase, log word and metric label.
//!
//! It owns the list of reasons. It must not know how a connection is closed.

use std::fmt;

use fanwire_protocol::StatusCode;

/// Status code of an abnormal end without a closing handshake (RFC 6455 7.4.1). Never sent.
pub const ABNORMAL: u16 = 1006;
/// A closing handshake whose Close frame has no status code (RFC 6455 7.4.1). Never sent.
pub const NO_CODE: u16 = 1005;
/// The peer could not keep up with what it asked for (private use range, RFC 6455 7.4.2).
pub const SLOW: u16 = 4008;
/// The peer did not answer a keep-alive ping (private use range).
pub const NO_PONG: u16 = 4012;

/// Why a connection ended. Given to [`Handler::on_close`](crate::Handler::on_close), counted, and
/// the same word everywhere.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum CloseReason {
    /// The peer began the closing handshake.
    Peer,
    /// The handler asked for the close.
    Application,
    /// The server is shutting down.
    Drain,
    /// No message for `idle_timeout_ms`.
    Idle,
    /// No answer to a keep-alive ping within `pong_timeout_ms`.
    NoPong,
    /// The peer took nothing of what was waiting for it for `send_stall_timeout_ms`.
    Slow,
    /// The unsent bytes passed `backlog_max_bytes`.
    Backlog,
    /// The peer broke a rule of the framing.
    Protocol,
    /// The peer sent a kind of data that is not accepted.
    Unsupported,
    /// A text message was not UTF-8, or a compressed one was not valid.
    InvalidPayload,
    /// A message was larger than `message_max_bytes`.
    TooBig,
    /// A message came in more fragments than `fragments_max`.
    Fragments,
    /// A message was not finished within `assembly_timeout_ms`.
    Assembly,
    /// The unfinished messages of the core passed `unfinished_max_bytes`; this one was the oldest.
    UnfinishedBudget,
    /// More control frames than `control_rate_max` allows.
    ControlFlood,
    /// More messages than `message_rate_max` allows.
    MessageFlood,
    /// Something failed on our side.
    Internal,
    /// The stream ended without a closing handshake.
    EndOfStream,
    /// The connection failed (reset by the peer, host unreachable).
    Error,
    /// The server stopped before the closing handshake was over.
    Stopped,
}

/// What one row of the table says about a reason.
#[derive(Clone, Copy, Debug)]
struct Row {
    reason: CloseReason,
    code: u16,
    phrase: &'static str,
    label: &'static str,
}

const fn row(reason: CloseReason, code: u16, phrase: &'static str, label: &'static str) -> Row {
    Row {
        reason,
        code,
        phrase,
        label,
    }
}

/// In the order of the enum; a test holds it to that.
const TABLE: [Row; CloseReason::COUNT] = [
    row(CloseReason::Peer, 1000, "", "peer"),
    row(CloseReason::Application, 1000, "", "application"),
    row(CloseReason::Drain, 1001, "server is shutting down", "drain"),
    row(CloseReason::Idle, 1001, "no message for too long", "idle"),
    row(CloseReason::NoPong, NO_PONG, "no pong in time", "no_pong"),
    row(CloseReason::Slow, SLOW, "reading too slowly", "slow"),
    row(
        CloseReason::Backlog,
        SLOW,
        "too many bytes unsent",
        "backlog",
    ),
    row(CloseReason::Protocol, 1002, "", "protocol"),
    row(CloseReason::Unsupported, 1003, "", "unsupported"),
    row(CloseReason::InvalidPayload, 1007, "", "invalid_payload"),
    row(CloseReason::TooBig, 1009, "", "too_big"),
    row(
        CloseReason::Fragments,
        1008,
        "too many fragments",
        "fragments",
    ),
    row(
        CloseReason::Assembly,
        1008,
        "message not finished in time",
        "assembly",
    ),
    row(
        CloseReason::UnfinishedBudget,
        1008,
        "too much memory in unfinished messages",
        "unfinished",
    ),
    row(
        CloseReason::ControlFlood,
        1008,
        "too many control frames",
        "control_flood",
    ),
    row(
        CloseReason::MessageFlood,
        1008,
        "too many messages",
        "message_flood",
    ),
    row(CloseReason::Internal, 1011, "internal error", "internal"),
    row(CloseReason::EndOfStream, ABNORMAL, "", "end_of_stream"),
    row(CloseReason::Error, ABNORMAL, "", "error"),
    row(CloseReason::Stopped, ABNORMAL, "", "stopped"),
];

impl CloseReason {
    /// Number of reasons, for arrays of counters.
    pub const COUNT: usize = CloseReason::Stopped as usize + 1;

    /// Every reason, in the order of [`CloseReason::index`].
    pub fn all() -> impl Iterator<Item = CloseReason> {
        TABLE.iter().map(|row| row.reason)
    }

    /// Position in arrays of counters.
    pub const fn index(self) -> usize {
        self as usize
    }

    /// The status code that stands for this reason. 1006 where no Close frame can tell it.
    pub fn code(self) -> u16 {
        TABLE[self.index()].code
    }

    /// The status code to send, or `None` for reasons that end without a Close frame.
    pub fn status_code(self) -> Option<StatusCode> {
        let code = StatusCode(self.code());
        code.is_sendable().then_some(code)
    }

    /// Text of the Close frame; empty when the status code says it all.
    pub fn phrase(self) -> &'static str {
        TABLE[self.index()].phrase
    }

    /// The word for logs and metrics.
    pub fn label(self) -> &'static str {
        TABLE[self.index()].label
    }

    /// The reason for a connection that broke a rule, by the status code the rule asks for.
    pub fn of_violation(code: StatusCode) -> CloseReason {
        match code {
            StatusCode::UNSUPPORTED => CloseReason::Unsupported,
            StatusCode::INVALID_PAYLOAD => CloseReason::InvalidPayload,
            StatusCode::TOO_BIG => CloseReason::TooBig,
            StatusCode::POLICY => CloseReason::Fragments,
            StatusCode::INTERNAL => CloseReason::Internal,
            _ => CloseReason::Protocol,
        }
    }
}

impl fmt::Display for CloseReason {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.label())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashSet;

    #[test]
    fn table_is_in_the_order_of_the_enum_and_labels_are_unique() {
        let mut labels = HashSet::new();
        for (index, reason) in CloseReason::all().enumerate() {
            assert_eq!(reason.index(), index);
            assert!(
                labels.insert(reason.label()),
                "label {} twice",
                reason.label()
            );
            assert!(reason.phrase().len() <= 123);
        }
        assert_eq!(labels.len(), CloseReason::COUNT);
    }

    #[test]
    fn only_abnormal_ends_have_no_code_to_send() {
        for reason in CloseReason::all() {
            assert_eq!(
                reason.status_code().is_none(),
                reason.code() == ABNORMAL,
                "{reason}"
            );
        }
    }
}
