//! What a hub is told, and how one is started.
//!
//! It owns the options with their defaults. It must not know what happens on the shards.

use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use crate::running::Running;
use crate::server::{Config, Server};
use crate::start_error::StartError;

use super::node::Hub;
use super::port::HubPort;
use super::publication::Variant;
use super::rules::TopicRules;

/// A network whose clients may publish: its address and how many of its bits count.
pub type Network = (IpAddr, u8);

/// Everything a hub is told besides what concerns the server under it.
#[derive(Clone, Debug)]
pub struct HubOptions {
    /// What topics are like.
    pub rules: TopicRules,
    /// Names and patterns that a connection may be subscribed to. Above:
    /// `too_many_subscriptions`.
    pub subscriptions_max: usize,
    /// Topics that a connection may be subscribed to, those that patterns match included. Above,
    /// a match is refused with `too_many_subscriptions`.
    pub matches_max: usize,
    /// Topics of the whole hub. Above, one that was never published on and has no subscribers
    /// makes room; if there is none: `too_many_topics`.
    pub topics_max: usize,
    /// Payload of a message. Above: `too_big`.
    pub payload_size_max: usize,
    /// Memory of all logs. At the limit, messages are refused with `busy`.
    pub logs_bytes_max: usize,
    /// From where connections may publish. Others: `forbidden`.
    pub publish_from: Vec<Network>,
    /// Messages smaller than this are not compressed.
    pub deflate_min_bytes: usize,
    /// How hard to compress: 1 is fast, 9 is small.
    pub deflate_level: u32,
}

impl Default for HubOptions {
    fn default() -> HubOptions {
        HubOptions {
            rules: TopicRules::default(),
            subscriptions_max: 128,
            matches_max: 20_000,
            topics_max: 100_000,
            payload_size_max: 256 << 10,
            logs_bytes_max: 1 << 30,
            publish_from: vec![
                (IpAddr::from([127, 0, 0, 0]), 8),
                (IpAddr::from([0_u16, 0, 0, 0, 0, 0, 0, 1]), 128),
            ],
            deflate_min_bytes: 256,
            deflate_level: 1,
        }
    }
}

impl HubOptions {
    /// Whether clients at this address may publish.
    pub fn may_publish(&self, address: IpAddr) -> bool {
        let address = address.to_canonical();
        self.publish_from
            .iter()
            .any(|network| contains(*network, address))
    }
}

fn contains((network, bits): Network, address: IpAddr) -> bool {
    let (network, address, width) = match (network.to_canonical(), address) {
        (IpAddr::V4(network), IpAddr::V4(address)) => (
            u128::from(network.to_bits()),
            u128::from(address.to_bits()),
            32,
        ),
        (IpAddr::V6(network), IpAddr::V6(address)) => (network.to_bits(), address.to_bits(), 128),
        _ => return false,
    };
    let ignored = width - u32::from(bits).min(width);
    (network ^ address).checked_shr(ignored).unwrap_or(0) == 0
}

/// What the shards of a hub share: plain counts, no locks.
#[derive(Debug)]
pub(crate) struct Shared {
    /// Connections that need each variant of a message.
    users: [AtomicU64; Variant::COUNT],
    epochs: AtomicU64,
}

impl Shared {
    pub(crate) fn new() -> Shared {
        use std::hash::{BuildHasher, RandomState};
        // Random, so that no epoch of an earlier run comes again.
        let first = RandomState::new().hash_one(std::process::id());
        Shared {
            users: Default::default(),
            epochs: AtomicU64::new(first),
        }
    }

    /// An epoch that no topic had before.
    pub(crate) fn new_epoch(&self) -> u64 {
        /// Odd, so that all values come before one comes again; and far apart.
        const STEP: u64 = 0x9e37_79b9_7f4a_7c15;
        self.epochs.fetch_add(STEP, Ordering::Relaxed)
    }

    pub(crate) fn add_user(&self, variant: Variant) {
        if let Some(users) = self.users.get(variant.index()) {
            users.fetch_add(1, Ordering::Relaxed);
        }
    }

    pub(crate) fn remove_user(&self, variant: Variant) {
        if let Some(users) = self.users.get(variant.index()) {
            users.fetch_sub(1, Ordering::Relaxed);
        }
    }

    pub(crate) fn has_users(&self, variant: Variant) -> bool {
        let users = self.users.get(variant.index());
        users.is_some_and(|users| users.load(Ordering::Relaxed) > 0)
    }
}

/// Starts a server whose application is a hub, with doors for so many outside threads.
///
/// # Errors
/// As [`Builder::start`](crate::Builder::start).
pub fn start(
    mut config: Config,
    options: HubOptions,
    ports: usize,
) -> Result<(Running, Vec<HubPort>), StartError> {
    if let Some(deflate) = config.deflate.as_mut() {
        // A message is compressed once for all, so no connection can have a window of its own.
        deflate.server_no_context_takeover = true;
    }
    let window_bits = config
        .deflate
        .map_or(15, |deflate| deflate.server_max_window_bits);
    let options = Arc::new(options);
    let shared = Arc::new(Shared::new());
    let (running, lanes) = Server::builder()
        .config(config)
        .handler_with_lanes(move |shard, lanes| {
            Hub::new(shard, lanes, options.clone(), shared.clone(), window_bits)
        })
        .start_with_lanes(ports)?;
    Ok((running, lanes.into_iter().map(HubPort::new).collect()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn networks_contain_their_addresses() {
        let cases = [
            ("127.0.0.0", 8, "127.9.9.9", true),
            ("127.0.0.0", 8, "128.0.0.1", false),
            ("10.1.2.3", 32, "10.1.2.3", true),
            ("10.1.2.3", 32, "10.1.2.2", false),
            ("0.0.0.0", 0, "8.8.8.8", true),
            ("0.0.0.0", 0, "::1", false),
            ("::1", 128, "::1", true),
            ("fd00::", 8, "fd12::1", true),
            ("fd00::", 8, "fe80::1", false),
            ("::", 0, "fe80::1", true),
            ("127.0.0.0", 8, "::ffff:127.0.0.1", true),
        ];
        for (network, bits, address, expected) in cases {
            let options = HubOptions {
                publish_from: vec![(network.parse().unwrap(), bits)],
                ..HubOptions::default()
            };
            let found = options.may_publish(address.parse().unwrap());
            assert_eq!(found, expected, "{address} in {network}/{bits}");
        }
        assert!(HubOptions::default().may_publish("::1".parse().unwrap()));
        assert!(!HubOptions::default().may_publish("10.0.0.1".parse().unwrap()));
    }
}
