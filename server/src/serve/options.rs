//! The options of `fanwire serve` beyond those that every server has.
//!
//! It owns the texts, the defaults and the parsers of single values. It must not know where a value
//! comes from (the command line or a file), and it must not start anything.

use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::str::FromStr;

use clap::Args;
use fanwire_server::hub::HubOptions;
use fanwire_server::hub::rules::TopicRules;
use fanwire_server::{Config, Host};

use crate::cli::{self, CompressionOptions, LimitOptions, PlaceOptions, WhoOptions};

const HUB: &str = "The hub";
const ADMIN: &str = "Administration listener (HTTP)";
const SIMULATOR: &str = "Simulated market";
const REPLAY: &str = "Replayed file";

#[derive(Debug, Args)]
pub(crate) struct ServeOptions {
    /// Read options and topic rules from this TOML file. What the command line says goes before
    /// it; docs/fanwire.toml names every key with its default
    #[arg(long, value_name = "FILE")]
    pub(crate) config: Option<PathBuf>,
    /// Check the file and the command line, say what is wrong, and end
    #[arg(long)]
    pub(crate) check: bool,
    #[command(flatten)]
    place: PlaceOptions,
    #[command(flatten)]
    who: WhoOptions,
    #[command(flatten)]
    compression: CompressionOptions,
    #[command(flatten)]
    pub(crate) hub: HubSettings,
    #[command(flatten)]
    pub(crate) admin: AdminSettings,
    #[command(flatten)]
    pub(crate) simulator: SimulatorSettings,
    #[command(flatten)]
    pub(crate) replay: ReplaySettings,
    #[command(flatten)]
    limits: LimitOptions,
}

impl ServeOptions {
    /// The configuration of the server under the hub.
    pub(crate) fn config(&self) -> Config {
        cli::shared_config(&self.place, &self.who, &self.compression, &self.limits)
    }
}

#[derive(Debug, Args)]
#[command(next_help_heading = HUB)]
pub(crate) struct HubSettings {
    /// Networks whose clients may publish, such as 127.0.0.0/8,10.1.2.3; `none` for nobody. It
    /// holds for WebSocket connections and for POST /v1/publish
    #[arg(long, value_name = "CIDR,..", default_value = "127.0.0.0/8,::1/128")]
    publish_from: Networks,
    /// Names and patterns that one connection may be subscribed to; more get an error
    #[arg(long, value_name = "N", default_value_t = 128,
          value_parser = clap::value_parser!(u32).range(1..=65_536))]
    subscriptions_max: u32,
    /// Topics that one connection may be subscribed to, those that its patterns match included;
    /// more get an error
    #[arg(long, value_name = "N", default_value_t = 20_000,
          value_parser = clap::value_parser!(u32).range(1..=10_000_000))]
    matches_max: u32,
    /// Topics of the whole hub; publishing on one more gets an error
    #[arg(long, value_name = "N", default_value_t = 100_000,
          value_parser = clap::value_parser!(u32).range(1..=10_000_000))]
    pub(crate) topics_max: u32,
    /// Memory of the logs of all topics; at the limit publishers are told `busy`
    #[arg(long, value_name = "SIZE", value_parser = parse_logs_bytes_max, default_value = "1GiB")]
    logs_bytes_max: usize,
    /// Bytes of one published payload; more get an error
    #[arg(long, value_name = "SIZE", value_parser = parse_payload_max, default_value = "256KiB")]
    pub(crate) payload_max: usize,
    /// Messages below this size are sent uncompressed to those who agreed to compression
    #[arg(long, value_name = "SIZE", value_parser = cli::parse_size, default_value = "256")]
    deflate_min_bytes: usize,
    /// How hard to compress, from 1 (fast) to 9 (small). A message is compressed once, however many
    /// subscribers it has
    #[arg(long, value_name = "N", default_value_t = 1,
          value_parser = clap::value_parser!(u32).range(1..=9))]
    deflate_level: u32,
}

impl HubSettings {
    /// What the hub is told.
    pub(crate) fn options(&self, rules: TopicRules) -> HubOptions {
        HubOptions {
            rules,
            subscriptions_max: self.subscriptions_max as usize,
            matches_max: self.matches_max as usize,
            topics_max: self.topics_max as usize,
            payload_size_max: self.payload_max,
            logs_bytes_max: self.logs_bytes_max,
            publish_from: self.publish_from.list(),
            deflate_min_bytes: self.deflate_min_bytes,
            deflate_level: self.deflate_level,
        }
    }
}

#[derive(Debug, Args)]
#[command(next_help_heading = ADMIN)]
pub(crate) struct AdminSettings {
    /// Where the administration listener listens: metrics, health, publishing, the live page. It
    /// asks for no password: keep it on loopback or on a network of your own
    #[arg(long, value_name = "ADDR:PORT", default_value = "127.0.0.1:9002")]
    admin: SocketAddr,
    /// No administration listener
    #[arg(long, value_name = "BOOL", action = clap::ArgAction::Set, num_args = 0..=1,
          require_equals = true, default_value_t = false, default_missing_value = "true",
          hide_default_value = true, hide_possible_values = true)]
    no_admin: bool,
    /// Answer for this host too, such as metrics.internal; others than it, the address listened on
    /// and names of loopback get 421. May be given several times
    #[arg(long, value_name = "HOST")]
    pub(crate) admin_host: Vec<Host>,
}

impl AdminSettings {
    /// Where to listen; `None` = nowhere.
    pub(crate) fn address(&self) -> Option<SocketAddr> {
        (!self.no_admin).then_some(self.admin)
    }
}

#[derive(Debug, Args)]
#[command(next_help_heading = SIMULATOR)]
pub(crate) struct SimulatorSettings {
    /// Publish a made-up market: order books with checksums, quotes and trades
    #[arg(long, value_name = "BOOL", action = clap::ArgAction::Set, num_args = 0..=1,
          require_equals = true, default_value_t = false, default_missing_value = "true",
          hide_default_value = true, hide_possible_values = true)]
    pub(crate) simulate: bool,
    /// How many symbols it has; each is three topics
    #[arg(long, value_name = "N", default_value_t = 20,
          value_parser = clap::value_parser!(u32).range(1..=10_000))]
    pub(crate) simulate_symbols: u32,
    /// Messages per second of all symbols together, outside bursts. The first symbol has most of
    /// them (Zipf); in a burst a symbol has 5 to 20 times its rate
    #[arg(long, value_name = "N/s", default_value = "1000/s", value_parser = parse_rate)]
    pub(crate) simulate_rate: f64,
    /// The same seed gives the same market. Default: a new one each time, in the log
    #[arg(long, value_name = "N")]
    pub(crate) simulate_seed: Option<u64>,
}

#[derive(Debug, Args)]
#[command(next_help_heading = REPLAY)]
pub(crate) struct ReplaySettings {
    /// Publish what this file says, one JSON object a line with ts, topic, data and optionally
    /// key, event, remove; then stay up
    #[arg(long, value_name = "FILE")]
    pub(crate) replay: Option<PathBuf>,
    /// How fast: 1 as recorded, 10 ten times as fast, any other factor, or `max`
    #[arg(long, value_name = "FACTOR", default_value = "1")]
    pub(crate) speed: Speed,
    /// Stop at the first line that is wrong instead of counting it and going on
    #[arg(long, value_name = "BOOL", action = clap::ArgAction::Set, num_args = 0..=1,
          require_equals = true, default_value_t = false, default_missing_value = "true",
          hide_default_value = true, hide_possible_values = true)]
    pub(crate) replay_strict: bool,
}

/// How fast a file is replayed.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Speed {
    /// So many times as fast as it was recorded.
    Factor(f64),
    /// As fast as the hub takes it.
    Max,
}

impl FromStr for Speed {
    type Err = String;

    fn from_str(text: &str) -> Result<Speed, String> {
        if text == "max" {
            return Ok(Speed::Max);
        }
        match text.parse::<f64>() {
            Ok(factor) if (1e-6..=1e9).contains(&factor) => Ok(Speed::Factor(factor)),
            _ => Err(
                "write `max`, or a factor from 0.000001 to 1000000000 such as 1 or 2.5".to_owned(),
            ),
        }
    }
}

/// Networks by address and length of prefix.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Networks(Vec<(IpAddr, u8)>);

impl Networks {
    pub(crate) fn list(&self) -> Vec<(IpAddr, u8)> {
        self.0.clone()
    }
}

impl FromStr for Networks {
    type Err = String;

    fn from_str(text: &str) -> Result<Networks, String> {
        if text == "none" {
            return Ok(Networks(Vec::new()));
        }
        let networks = text.split(',').map(str::trim).map(parse_network);
        networks.collect::<Result<Vec<_>, _>>().map(Networks)
    }
}

fn parse_network(text: &str) -> Result<(IpAddr, u8), String> {
    let wrong = || {
        format!(
            "`{text}` is not a network; write an address with a length of prefix, such as \
             10.0.0.0/8 or ::1/128, or `none`"
        )
    };
    let (address, length) = match text.split_once('/') {
        Some((address, length)) => (address, Some(length)),
        None => (text, None),
    };
    let address: IpAddr = address.parse().map_err(|_| wrong())?;
    let longest: u8 = if address.is_ipv4() { 32 } else { 128 };
    let length = match length {
        Some(length) => length.parse().map_err(|_| wrong())?,
        None => longest,
    };
    if length > longest {
        return Err(format!(
            "`{text}`: the prefix has {length} of at most {longest} bits"
        ));
    }
    Ok((address, length))
}

/// A rate: `2000/s` or `2000`.
fn parse_rate(text: &str) -> Result<f64, String> {
    let number = text.strip_suffix("/s").unwrap_or(text);
    match number.trim().parse::<f64>() {
        Ok(rate) if (0.001..=10_000_000.0).contains(&rate) => Ok(rate),
        _ => Err("write messages per second from 0.001 to 10000000, such as 2000/s".to_owned()),
    }
}

/// A payload has to fit into one message beside its topic, and into 32 bits many times over.
fn parse_payload_max(text: &str) -> Result<usize, String> {
    let bytes = cli::parse_size(text)?;
    if (1..=64 << 20).contains(&bytes) {
        return Ok(bytes);
    }
    Err("give it from 1 byte to 64MiB".to_owned())
}

/// Each core has its share of the logs, and needs room for some topics at their limits.
fn parse_logs_bytes_max(text: &str) -> Result<usize, String> {
    let bytes = cli::parse_size(text)?;
    if bytes >= 1 << 20 {
        return Ok(bytes);
    }
    Err("give it 1MiB or more".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn networks_are_addresses_with_prefixes() {
        let networks: Networks = "10.0.0.0/8, 192.168.1.7,fd00::/8".parse().unwrap();
        let expected: Vec<(IpAddr, u8)> = vec![
            ("10.0.0.0".parse().unwrap(), 8),
            ("192.168.1.7".parse().unwrap(), 32),
            ("fd00::".parse().unwrap(), 8),
        ];
        assert_eq!(networks.list(), expected);
        assert_eq!("none".parse::<Networks>().unwrap().list(), []);
    }

    #[test]
    fn wrong_values_say_what_is_right() {
        for wrong in [
            "",
            "10.0.0.0/33",
            "::1/129",
            "ten",
            "10.0.0.0/-1",
            "none,::1",
        ] {
            let error = wrong.parse::<Networks>().unwrap_err();
            assert!(error.contains('`') && error.len() > 20, "{error}");
        }
        for wrong in ["0", "-1", "NaN", "inf", "fast", ""] {
            assert!(wrong.parse::<Speed>().is_err(), "{wrong}");
            assert!(parse_rate(wrong).is_err(), "{wrong}");
        }
        assert_eq!("max".parse(), Ok(Speed::Max));
        assert_eq!("2.5".parse(), Ok(Speed::Factor(2.5)));
        assert_eq!(parse_rate("2000/s"), Ok(2000.0));
        assert!(parse_payload_max("0").is_err());
        assert!(parse_payload_max("65MiB").is_err());
    }
}
