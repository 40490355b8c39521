#![doc = include_str!("../README.md")]
//!
//! # Where things are
//!
//! `receiver`, `assembly` and `payload_buffer` turn bytes into events, `sender`, `encode` and
//! `prepared` messages into bytes; [`frame`] and `mask` are the layout both share, `deflate` is
//! RFC 7692, [`handshake`] the opening handshake of both roles, `workspace` what the connections of
//! a thread share. This crate must not know of sockets, clocks, randomness or threads.

#![forbid(unsafe_code)]

mod assembly;
mod close;
mod connection;
mod deflate;
mod encode;
mod error;
mod event;
pub mod frame;
pub mod handshake;
mod input;
mod mask;
mod payload_buffer;
mod pending_pong;
mod prepared;
mod receiver;
mod sender;
mod settings;
mod spill;
mod workspace;

pub use close::{CloseFrame, StatusCode};
pub use connection::Connection;
pub use deflate::{DeflateParameters, SharedDeflater};
pub use error::{Misuse, ProtocolError};
pub use event::{Event, Message, MessageKind};
pub use frame::MaskingKey;
pub use input::Input;
pub use pending_pong::PendingPong;
pub use prepared::{PreparedMessage, server_frame};
pub use receiver::Receiver;
pub use sender::Sender;
pub use settings::{Role, Settings};
pub use workspace::{Workspace, WorkspaceLimits};
