//! WebSocket load generator with honest clocks.
//!
//! The binary is a thin shell around this library, so that tests and later commands can use the
//! parts. Data flows one way: `cli` makes a [`config::Config`]; `run` starts a thread per core;
//! each thread's `worker` (or `storm`, or `fanout`) drives `client`s by the `plan` and fills a
//! [`tally::Sheet`]; `model` adds the sheets up and has `verdict` judge them; `report` prints.

#![forbid(unsafe_code)]

pub mod calibrate;
pub mod catchup;
pub mod churn;
pub mod cli;
pub mod client;
pub mod commands;
pub mod config;
pub mod conformance;
pub mod doctor;
pub mod environment;
pub mod establish;
pub mod fanout;
pub mod figures;
pub mod gauges;
pub mod greetings;
pub mod heartbeat;
pub mod hiccups;
pub mod host;
pub mod judge;
pub mod line;
pub mod link;
pub mod live;
pub mod merge;
pub mod messages;
pub mod model;
pub mod opening;
pub mod outputs;
pub mod outstanding;
pub mod payload;
pub mod plan;
pub mod quantity;
pub mod rate;
pub mod refusal;
pub mod report;
pub mod route;
pub mod run;
pub mod scenario;
pub mod search;
pub mod selftest;
pub mod series;
pub mod sizes;
pub mod statistics;
pub mod storm;
pub mod svg;
pub mod table;
pub mod tally;
pub mod target;
pub mod template;
pub mod tls;
pub mod tokens;
pub mod verdict;
pub mod watch;
pub mod worker;
