//! The options that say when messages are sent.

use clap::Args;

use crate::config::Config;
use crate::quantity::{parse_count, parse_duration_ns, parse_rate};

/// When messages are sent.
#[derive(Args, Debug)]
pub struct PaceArguments {
    /// Open loop: send this many messages per second over all connections by an absolute schedule,
    /// whatever the server does; latency then counts from when a message was due. Without it every
    /// connection sends its next message when a reply has come
    #[arg(short = 'R', long, alias = "qps", short_alias = 'q', value_name = "N/s", value_parser = parse_rate)]
    rate: Option<f64>,
    /// Closed loop: unanswered messages per connection
    #[arg(long, default_value = "1", value_name = "N", value_parser = parse_count, conflicts_with = "rate")]
    in_flight: u64,
    /// Load before measuring starts
    #[arg(short, long, default_value = "1s", value_name = "TIME", value_parser = parse_duration_ns)]
    warmup: u64,
    /// New connections per second while opening them (default: as fast as they open)
    #[arg(long, value_name = "N/s", value_parser = parse_rate)]
    connect_rate: Option<f64>,
}

impl PaceArguments {
    /// Puts the settings into `config`.
    ///
    /// # Errors
    /// One or two sentences with cause and cure.
    pub fn apply(self, config: Config) -> Result<Config, String> {
        let in_flight = u32::try_from(self.in_flight)
            .ok()
            .filter(|count| (1..=crate::client::IN_FLIGHT_MAX as u32).contains(count))
            .ok_or("--in-flight must be between 1 and 65,536 messages")?;
        Ok(Config {
            rate: self.rate,
            in_flight,
            warmup_ns: self.warmup,
            connect_rate: self.connect_rate,
            ..config
        })
    }
}
