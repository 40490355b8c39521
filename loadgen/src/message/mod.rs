//! What is in a message, and whether a reply is that message. Pure: knows no socket and no clock.

pub mod messages;
pub mod outstanding;
pub mod payload;
pub mod sizes;
pub mod template;
pub mod tokens;
