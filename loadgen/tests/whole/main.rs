//! Scenarios, agents, the scripted servers, and the selftest that stands on them.

#[path = "../support/agent.rs"]
mod agent;
#[path = "../support/mod.rs"]
mod support;

mod agent_talk;
mod agents;
mod scenario;
mod scripted_server;
mod selftest;
