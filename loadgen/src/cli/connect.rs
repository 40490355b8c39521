//! The options about ways to the server and about connections that are held.

use clap::Args;

use crate::config::{Config, Mode};
use crate::connect::target::parse_ports;
use crate::quantity::parse_duration_ns;

/// More than one ping per connection and millisecond is a flood, not a heartbeat.
const PING_INTERVAL_MIN_NS: u64 = 1_000_000;

/// What is told of ways and heartbeats.
#[derive(Args, Debug)]
#[command(next_help_heading = "Connecting")]
pub struct ConnectArguments {
    /// Further ports of the server, used in turn with that of the URL, as 9002-9008 or 9002,9004:
    /// each gives every source address some 28,000 connections more
    #[arg(long, value_name = "PORTS")]
    ports: Option<String>,
    /// Send a ping on every connection this often, and measure how long pongs take: 30s. A pong
    /// that is not there when the next ping is due counts as missing
    #[arg(long, value_name = "TIME", value_parser = parse_duration_ns)]
    ping_interval: Option<u64>,
}

impl ConnectArguments {
    /// Adds what was asked for.
    ///
    /// # Errors
    /// One or two sentences with cause and cure.
    pub fn apply(self, config: Config) -> Result<Config, String> {
        let mut further_ports = self.ports.as_deref().map_or(Ok(Vec::new()), parse_ports)?;
        further_ports.retain(|port| *port != config.address.port());
        further_ports.sort_unstable();
        further_ports.dedup();
        if let Some(interval_ns) = self.ping_interval {
            if config.mode == Mode::Storm {
                return Err(
                    "--ping-interval is for connections that are held; a storm's live for \
                            one message: use idle, echo or fanout"
                        .into(),
                );
            }
            if interval_ns < PING_INTERVAL_MIN_NS {
                return Err("--ping-interval must be at least 1ms".into());
            }
        }
        Ok(Config {
            further_ports,
            ping_interval_ns: self.ping_interval,
            ..config
        })
    }
}
