//! A WebSocket server for Linux that runs one event loop per core.
//!
//! Every shard is one pinned thread that owns its listener, its connections and its
//! [`Handler`]. Nothing is shared between shards on the data path.
//!
//! ```no_run
//! use fanwire_server::{Echo, Server};
//!
//! fn main() -> Result<(), fanwire_server::StartError> {
//!     Server::builder().listen(([127, 0, 0, 1], 9001).into()).handler(|_shard| Echo).run()?;
//!     Ok(())
//! }
//! ```
//!
//! An application implements [`Handler`]; `examples/` has a chat room in a few lines. The limits
//! and what happens at each are the fields of [`Limits`].

#![forbid(unsafe_code)]

mod admission;
mod allow_list;
mod close_reason;
mod closing;
mod connection;
mod connections;
mod context;
mod cores;
mod counters;
mod establish;
mod handler;
pub mod hub;
mod lanes;
mod limits;
pub mod memory;
mod reception;
mod running;
mod server;
mod shard;
mod start_error;
mod table;
mod token_bucket;
mod upgrade;

pub use allow_list::{AllowListError, Host, Origin, host_allowed, origin_allowed};
pub use close_reason::CloseReason;
pub use context::{ConnectionId, Context, Turn};
pub use cores::{CoreList, CoreListError, SHARDS_MAX};
pub use counters::{REFUSAL_STATUSES, ShardCounters};
pub use fanwire_protocol::handshake::DeflatePolicy;
pub use fanwire_protocol::{DeflateParameters, Message, MessageKind, PreparedMessage, StatusCode};
pub use fanwire_reactor::{BackendChoice, Delivery};
pub use handler::{Echo, Handler, ShardId};
pub use lanes::{Lane, Lanes};
pub use limits::{FD_NEEDED, InvalidLimit, Limits};
pub use running::Running;
pub use server::{Builder, Config, LANE_CAPACITY, Placement, Server, StartedWithLanes, processors};
pub use start_error::{StartError, ranges};
pub use upgrade::{Upgrade, UpgradeRequest};

/// Keeps the example in the project's README compiling.
#[cfg(doctest)]
#[doc = include_str!("../../README.md")]
struct ReadmeExample;
