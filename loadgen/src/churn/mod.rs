//! Churn: clients that come and go on top of connections that are held.
//!
//! Every client keeps a connection for a lifetime, leaves, and comes back; one that the server
//! sends away or refuses comes back by a policy of its own. `lifetime` and `backoff` are the two
//! distributions, `members` decides what a client does next, `worker` is the application of a core,
//! `opening` the tasks beside it that open connections, `sheet` what is counted, `figures` and
//! `rules` what is made of it.

mod attempts;
pub mod backoff;
pub mod cli;
pub mod figures;
pub mod lifetime;
pub mod members;
pub mod opening;
pub mod options;
pub mod rules;
mod seat;
mod sending;
pub mod sheet;
pub mod worker;
