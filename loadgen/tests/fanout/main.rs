//! Fan-out: books, ledgers, dialects and foreign servers.

#[path = "../support/mod.rs"]
mod support;

mod fanout_books;
mod fanout_custom;
mod fanout_dialects;
mod fanout_ledger;
mod fanout_notices;
mod fanout_readers;
