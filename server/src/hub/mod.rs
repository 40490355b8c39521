//! The hub: topics, their messages, and who gets them.
//!
//! Declares its parts. `topic`, `rules`, `publication`, the logs and `wire` are pure: they know no
//! sockets, no clock and no threads. `node` is one shard of the hub; the files beside it are what
//! it does, one thing each.

mod catch_up;
mod configure;
pub mod counters;
mod event_log;
mod exchange;
mod fan_out;
mod follow;
mod inspect;
pub mod log;
mod mail;
mod node;
mod options;
mod patterns;
pub mod port;
pub mod publication;
mod publish;
pub mod rules;
mod session;
mod state_log;
mod subscribe;
pub mod topic;
mod topics;
mod unsubscribe;
pub mod wire;

pub use options::{HubOptions, Network, start};
