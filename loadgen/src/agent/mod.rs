//! One load from several machines: agents that make a share of it, and the coordinator that
//! divides it, lets all begin together and adds up what comes back.
//!
//! Owns the conversation between the two, which is a control connection and no data path: blocking
//! sockets, a thread for each direction, bounded lines and times. What a share of a load does is
//! [`crate::run`]'s, how reports add up is [`crate::measure::merge`]'s.
//!
//! An agent makes every share in a process of its own (`work`): its memory is then that of this
//! load alone, a fault of one load leaves the agent alive, and it can be killed when its
//! coordinator is gone.

pub mod clock;
pub mod lead;
pub mod order;
pub mod secret;
pub mod serve;
pub mod session;
pub mod share;
pub mod sum;
pub mod team;
pub mod wire;
pub mod work;

use secret::Secret;

/// Agents of one load at most: more reports than this are not shown together either.
pub const AGENTS_MAX: usize = 64;

/// `--agents`.
#[derive(Clone, Debug)]
pub struct Agents {
    /// Where they listen, as it was typed: HOST:PORT.
    pub addresses: Vec<String>,
    /// What they want to hear before they work.
    pub token: Option<Secret>,
}
