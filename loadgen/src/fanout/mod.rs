//! `fanout`: publishers, subscribers, and the ledger between them.
//!
//! Data flows one way here too: `options` says what is asked for; `layout` decides once who
//! publishes what and who listens to it, so that all threads agree without talking; `worker`
//! drives a thread's connections, `dialect` puts messages into a server's words and takes them out
//! again, `stamp` says of every copy what it is; `books` accounts for it, and `figures` adds the
//! accounts of all threads up.

pub mod board;
pub mod books;
pub mod churn;
pub mod cli;
pub mod cursor;
pub mod desk;
pub mod dialect;
pub mod document;
mod ending;
pub mod feed;
pub mod field;
pub mod figures;
pub mod foreign;
pub mod foreign_cli;
pub mod foreign_figures;
pub mod foreign_rules;
pub mod hear;
pub mod holes;
pub mod layout;
pub mod message_figures;
pub mod opening;
pub mod options;
pub mod pointer;
pub mod publish;
mod readers;
pub mod rules;
mod seat;
pub mod sheet;
pub mod stamp;
pub mod throttle;
pub mod track;
pub mod wall;
pub mod worker;
pub mod zipf;
