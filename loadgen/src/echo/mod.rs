//! Request and reply: the client end of one connection, and the loop that drives all of a core.

pub mod client;
pub mod heartbeat;
pub mod worker;
