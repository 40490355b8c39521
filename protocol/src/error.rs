//! The two kinds of failure: the peer broke the protocol, or the caller broke our API.

use crate::close::StatusCode;

/// A rule that the peer broke after the opening handshake. The connection is failed: send
/// [`ProtocolError::close_code`] in a close frame and ignore all further input.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ProtocolError {
    /// RSV1, RSV2 or RSV3 set where no negotiated extension gives it a meaning (RFC 6455 5.2).
    ReservedBitSet,
    /// An opcode in 3 to 7 or 11 to 15 (RFC 6455 5.2).
    UnknownOpcode(u8),
    /// A client's frame that is not masked (RFC 6455 5.1).
    FrameNotMasked,
    /// A server's frame that is masked (RFC 6455 5.1).
    FrameMasked,
    /// A control frame of more than 125 bytes (RFC 6455 5.5).
    ControlFrameTooLong,
    /// A control frame without FIN (RFC 6455 5.5).
    ControlFrameFragmented,
    /// A payload length in more bytes than it needs (RFC 6455 5.2).
    LengthNotMinimal,
    /// A 64-bit payload length with its most significant bit set (RFC 6455 5.2).
    LengthTopBitSet,
    /// A continuation frame with no message to continue (RFC 6455 5.4).
    ContinuationWithoutStart,
    /// A new data frame before the fragmented message ended (RFC 6455 5.4).
    DataFrameInsideMessage,
    /// A close frame with one byte of payload (RFC 6455 5.5.1).
    ClosePayloadOneByte,
    /// A close frame with a status code that must not travel (RFC 6455 7.4).
    CloseCodeInvalid(u16),
    /// A close reason that is not UTF-8 (RFC 6455 5.5.1).
    CloseReasonNotUtf8,
    /// A text message that is not UTF-8 (RFC 6455 8.1).
    TextNotUtf8,
    /// A frame larger than `Settings::frame_size_max`.
    FrameTooBig,
    /// A message larger than `Settings::message_size_max`.
    MessageTooBig,
    /// A message in more frames than `Settings::fragments_per_message_max`.
    FragmentsTooMany,
    /// A compressed message that is not valid DEFLATE (RFC 7692 7.2.2).
    DeflateInvalid,
    /// A compressed message that ends inside a block, or goes on behind its final block.
    DeflateLeftover,
}

impl ProtocolError {
    /// The status code to put in the close frame (RFC 6455 7.4.1). Total.
    pub const fn close_code(self) -> StatusCode {
        match self {
            Self::ReservedBitSet
            | Self::UnknownOpcode(_)
            | Self::FrameNotMasked
            | Self::FrameMasked
            | Self::ControlFrameTooLong
            | Self::ControlFrameFragmented
            | Self::LengthNotMinimal
            | Self::LengthTopBitSet
            | Self::ContinuationWithoutStart
            | Self::DataFrameInsideMessage
            | Self::ClosePayloadOneByte
            | Self::CloseCodeInvalid(_) => StatusCode::PROTOCOL_ERROR,
            Self::CloseReasonNotUtf8
            | Self::TextNotUtf8
            | Self::DeflateInvalid
            | Self::DeflateLeftover => StatusCode::INVALID_PAYLOAD,
            Self::FrameTooBig | Self::MessageTooBig => StatusCode::TOO_BIG,
            Self::FragmentsTooMany => StatusCode::POLICY,
        }
    }

    /// A stable name for a metric's label: lower case, underscores, never a byte from the peer.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::ReservedBitSet => "reserved_bit_set",
            Self::UnknownOpcode(_) => "unknown_opcode",
            Self::FrameNotMasked => "frame_not_masked",
            Self::FrameMasked => "frame_masked",
            Self::ControlFrameTooLong => "control_frame_too_long",
            Self::ControlFrameFragmented => "control_frame_fragmented",
            Self::LengthNotMinimal => "length_not_minimal",
            Self::LengthTopBitSet => "length_top_bit_set",
            Self::ContinuationWithoutStart => "continuation_without_start",
            Self::DataFrameInsideMessage => "data_frame_inside_message",
            Self::ClosePayloadOneByte => "close_payload_one_byte",
            Self::CloseCodeInvalid(_) => "close_code_invalid",
            Self::CloseReasonNotUtf8 => "close_reason_not_utf8",
            Self::TextNotUtf8 => "text_not_utf8",
            Self::FrameTooBig => "frame_too_big",
            Self::MessageTooBig => "message_too_big",
            Self::FragmentsTooMany => "fragments_too_many",
            Self::DeflateInvalid => "deflate_invalid",
            Self::DeflateLeftover => "deflate_leftover",
        }
    }
}

impl std::fmt::Display for ProtocolError {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let text = match self {
            Self::ReservedBitSet => "a reserved bit is set that no extension uses (RFC 6455 5.2)",
            Self::UnknownOpcode(opcode) => {
                return write!(formatter, "opcode {opcode} is not defined (RFC 6455 5.2)");
            }
            Self::FrameNotMasked => "a client must mask every frame (RFC 6455 5.1)",
            Self::FrameMasked => "a server must not mask any frame (RFC 6455 5.1)",
            Self::ControlFrameTooLong => "a control frame carries at most 125 bytes (RFC 6455 5.5)",
            Self::ControlFrameFragmented => "a control frame must not be fragmented (RFC 6455 5.5)",
            Self::LengthNotMinimal => {
                "the payload length is not in its shortest form (RFC 6455 5.2)"
            }
            Self::LengthTopBitSet => {
                "the payload length has its most significant bit set (RFC 6455 5.2)"
            }
            Self::ContinuationWithoutStart => {
                "a continuation frame has no message to continue (RFC 6455 5.4)"
            }
            Self::DataFrameInsideMessage => {
                "a new message began before the fragmented one ended (RFC 6455 5.4)"
            }
            Self::ClosePayloadOneByte => {
                "a close frame's payload is empty or at least two bytes (RFC 6455 5.5.1)"
            }
            Self::CloseCodeInvalid(code) => {
                return write!(
                    formatter,
                    "status code {code} must not be sent (RFC 6455 7.4)"
                );
            }
            Self::CloseReasonNotUtf8 => "the close reason is not UTF-8 (RFC 6455 5.5.1)",
            Self::TextNotUtf8 => "a text message is not UTF-8 (RFC 6455 8.1)",
            Self::FrameTooBig => "a frame is larger than frame_size_max",
            Self::MessageTooBig => "a message is larger than message_size_max",
            Self::FragmentsTooMany => "a message has more frames than fragments_per_message_max",
            Self::DeflateInvalid => "a compressed message is not valid DEFLATE (RFC 7692 7.2.2)",
            Self::DeflateLeftover => {
                "a compressed message does not end where its DEFLATE data ends (RFC 7692 7.2.2)"
            }
        };
        formatter.write_str(text)
    }
}

impl std::error::Error for ProtocolError {}

/// The caller broke a rule of this crate's API. Never caused by what a peer sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Misuse {
    /// The client role needs a masking key for every frame and none was passed.
    MaskingKeyMissing,
    /// The server role must not mask and a masking key was passed.
    MaskingKeyUnexpected,
    /// A frame after the close frame was sent (RFC 6455 5.5.1).
    AfterClose,
    /// A control payload of more than 125 bytes (RFC 6455 5.5).
    ControlPayloadTooLong,
    /// A whole message, or a first fragment, while a fragmented message is unfinished.
    InsideFragmentedMessage,
    /// A fragment that is not the first with no fragmented message begun.
    NoFragmentedMessage,
    /// A status code that must not travel, or a reason without a code.
    CloseCodeNotSendable,
    /// A header name or value, target or host with a byte that HTTP does not allow there, or a
    /// header that this crate writes itself.
    HeaderInvalid,
    /// A subprotocol that is not a token, was not requested, or is listed twice.
    SubprotocolInvalid,
    /// permessage-deflate parameters that answer none of the client's offers, or a window size
    /// outside 8 to 15.
    DeflateInvalid,
}

impl std::fmt::Display for Misuse {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str(match self {
            Self::MaskingKeyMissing => "the client role must pass a fresh masking key per frame",
            Self::MaskingKeyUnexpected => "the server role must not pass a masking key",
            Self::AfterClose => "nothing may be sent after the close frame; check close_sent()",
            Self::ControlPayloadTooLong => "a ping or pong carries at most 125 bytes",
            Self::InsideFragmentedMessage => {
                "a fragmented message is unfinished; send its final fragment first"
            }
            Self::NoFragmentedMessage => "no fragmented message was begun; pass is_first = true",
            Self::CloseCodeNotSendable => {
                "this status code must not be sent; use one for which is_sendable() holds"
            }
            Self::HeaderInvalid => {
                "a header, target or host has a byte that HTTP forbids, or is written by the \
                 handshake itself"
            }
            Self::SubprotocolInvalid => "the subprotocol is no token or was not requested",
            Self::DeflateInvalid => {
                "the permessage-deflate parameters do not answer the client's offer; use what \
                 negotiate_deflate returned"
            }
        })
    }
}

impl std::error::Error for Misuse {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn errors_stay_small() {
        assert!(size_of::<ProtocolError>() <= 16);
        assert!(size_of::<Result<(), ProtocolError>>() <= 16);
        assert!(size_of::<Misuse>() <= 16);
    }
}
