//! How each kind of server is spoken to. Pure over bytes: what is written is appended to a buffer,
//! what is read is borrowed from one.

pub mod binary;
pub mod custom;
pub mod json;
pub mod nats;
pub mod raw;
