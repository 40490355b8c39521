//! TLS for `wss://`: what the command line asks for, one session, and what a failure means.
//!
//! Owns everything that touches rustls; the rest of the program sees [`crate::connect::link::Link`]. Knows no
//! socket and no WebSocket.

mod explain;
mod session;
mod settings;
mod trust;

pub use explain::explain;
pub use session::{Session, SessionMemory, Writing};
pub use settings::{TlsClient, TlsOptions};
