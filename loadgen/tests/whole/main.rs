//! Scenarios, the scripted servers, and the selftest that stands on them.

#[path = "../support/mod.rs"]
mod support;

mod scenario;
mod scripted_server;
mod selftest;
