//! Request and reply: the client end of one connection, and the loop that drives all of a core.

pub mod client;
pub mod conversation;
pub mod desk;
pub mod heartbeat;
mod sending;

pub mod worker;
