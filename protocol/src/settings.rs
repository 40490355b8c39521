//! What all connections of a shard have in common: the role and the limits of receiving.

/// Which end of the connection this is. It decides who masks and who must not (RFC 6455 5.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Role {
    /// Masks every frame it sends and refuses masked frames.
    Client,
    /// Sends frames unmasked and refuses unmasked frames.
    Server,
}

/// The role and the limits of receiving, shared by all connections of a shard.
///
/// Every limit has a fixed answer: the connection fails with the status code named beside it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// Which end of the connection this is.
    pub role: Role,
    /// Most bytes of payload in one message, after inflating. Beyond it: 1009.
    pub message_size_max: usize,
    /// Most bytes of payload in one frame, as declared by its header. Beyond it: 1009.
    pub frame_size_max: u64,
    /// Most frames in one message; empty ones count. Beyond it: 1008.
    pub fragments_per_message_max: u32,
    /// Whether text messages are checked to be UTF-8 (RFC 6455 8.1); one that is not fails the
    /// connection with 1007. On by default. Close reasons are always checked.
    pub validate_utf8: bool,
}

impl Settings {
    /// Defaults of the server role: messages and frames of at most 64 KiB, 64 frames a message.
    pub fn server() -> Self {
        Self {
            role: Role::Server,
            message_size_max: 64 * 1024,
            frame_size_max: 64 * 1024,
            fragments_per_message_max: 64,
            validate_utf8: true,
        }
    }

    /// Defaults of the client role: messages and frames of at most 1 MiB, 1,024 frames a message.
    pub fn client() -> Self {
        Self {
            role: Role::Client,
            message_size_max: 1024 * 1024,
            frame_size_max: 1024 * 1024,
            fragments_per_message_max: 1024,
            validate_utf8: true,
        }
    }
}
