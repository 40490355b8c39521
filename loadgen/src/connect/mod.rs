//! From a URL to an open connection: addresses, TCP, TLS, opening handshake, and what can go wrong
//! on the way. What happens on the open connection is nobody's business here.

pub mod ending;
pub mod establish;
pub mod greetings;
pub mod line;
pub mod link;
pub mod opening;
pub mod queue;
pub mod refusal;
pub mod route;
pub mod target;
pub mod tls;
