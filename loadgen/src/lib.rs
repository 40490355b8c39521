//! WebSocket load generator with honest clocks.
//!
//! The binary is a thin shell around this library, so that tests can use the parts. Data flows one
//! way: `cli` makes a [`config::Config`]; `run` starts a thread per core; `connect` opens its
//! connections; `echo`, `fanout`, `storm` or `churn` drives them by the schedules of `pace` and
//! fills a [`measure::tally::Sheet`]; `measure` adds the sheets up and judges; `report` prints.

#![forbid(unsafe_code)]

pub mod agent;
pub mod calibrate;
pub mod churn;
pub mod cli;
pub mod command;
pub mod commands;
pub mod config;
pub mod conformance;
pub mod connect;
pub mod doctor;
pub mod echo;
pub mod fanout;
pub mod judge;
pub mod live;
pub mod measure;
pub mod message;
pub mod pace;
pub mod quantity;
pub mod report;
pub mod run;
pub mod scenario;
pub mod search;
pub mod selftest;
pub mod statistics;
pub mod storm;
pub mod svg;
pub mod table;
