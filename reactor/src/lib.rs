//! One pinned core that serves very many sockets.
//!
//! A core is a thread bound to a processor. It runs a monoio runtime for whatever is a
//! conversation (accepting, opening handshakes, outside checks), and a *shard*: a slab of
//! established connections driven by completions, with no task, no timer object and no buffer for
//! a connection that is idle. This crate moves bytes and knows no protocol; what runs on a shard
//! implements [`Application`].
//!
//! * [`Core`] starts and runs; [`Handle`] lets establishment hand sockets over.
//! * [`Io`] is what callbacks ask things of.
//! * [`backend`] is the seam to the kernel: io_uring, epoll, or a simulation.
//! * [`ring`] is a thin safe face on io_uring, of use without the rest.
//! * [`mailbox`] carries messages between threads.
//!
//! Unsafe code of the whole workspace lives in this crate.

mod application;
pub mod backend;
mod core;
pub mod establish;
pub mod host;
mod io;
mod mail;
pub mod probe;
pub mod ring;
mod shard;
mod slots;
mod start;
mod sys;
mod token;
mod wheel;

pub use crate::core::{Core, Handle, Report};
pub use application::Application;
pub use io::{Counters, Delivery, Io};
pub use mail::{MailReceiver, MailSender, mailbox};
pub use slots::Cause;
pub use start::{BackendChoice, BackendReport, CoreOptions, StartError};
pub use token::Token;
