//! Echo, its messages and its schedules, against servers that behave and servers that do not.

#[path = "../support/mod.rs"]
mod support;

mod client_state;
mod command_line;
mod echo_messages;
mod echo_pace;
mod misbehaving_servers;
mod refused_openings;
mod schedules;
mod warm_up;
