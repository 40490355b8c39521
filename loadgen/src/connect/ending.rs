//! Ends of connections: how long a server is given for its part, and what an end without a close
//! frame is called.

use std::io;

use fanwire_reactor::{Cause, Io};

use crate::connect::link::Link;

/// How long a server that has closed a connection has to end it.
pub const SERVER_CLOSE_MS: u64 = 1_000;
/// How long servers have for the closing handshakes at the end; nothing is measured then.
const CLOSING_NS: u64 = 1_000_000_000;

/// Every connection has been asked to close: sets the alarm at which [`give_up`] is due.
pub fn await_closing(io: &mut Io) {
    io.set_alarm(0);
    io.set_alarm(io.read_clock_ns() + CLOSING_NS);
}

/// Servers that do not take part in the closing handshake are not waited for.
pub fn give_up(io: &mut Io) {
    for token in io.tokens() {
        io.reset(token);
    }
    io.stop();
}

/// Name and sentence of a connection's end that no frame announced.
pub fn explain(cause: Cause, link: &Link) -> (&'static str, String) {
    let remark = link.remark();
    match cause {
        Cause::Local => (
            "ended_without_close",
            format!(
                "the server ended the connection without a close frame (status code 1006){remark}"
            ),
        ),
        Cause::Error(errno) => (
            "connection_broken",
            format!("{}{remark}", io::Error::from_raw_os_error(errno)),
        ),
        Cause::Backlog => (
            "backlog",
            "the server did not read: the limit of unsent bytes was reached".into(),
        ),
        Cause::Stopped => ("stopped", "the run was stopped".into()),
    }
}
