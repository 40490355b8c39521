//! Deadlines of a connection, without sockets and without waiting.
