//! The options of `churn`, and what is said when they make no sense.

use clap::Args;

use crate::churn::backoff::Reconnect;
use crate::churn::lifetime::{LIFETIME_MIN_NS, Lifetime};
use crate::churn::options::{Departure, Options};
use crate::cli::CommonArguments;
use crate::cli::message::MessageArguments;
use crate::config::{Config, Mode};
use crate::pace::warmup::{WINDOW_NS, Warmup};
use crate::quantity::parse_rate;

/// What `churn --help` ends with.
pub const EXAMPLES: &str = "\
Examples:
  fanwire-loadgen churn ws://127.0.0.1:9001 -c 1000 --lifetime exp:30s     clients come and go, 33 a second
  fanwire-loadgen churn ws://127.0.0.1:9001 -c 1000 -R 200                 200 of them leave and return per second
  fanwire-loadgen churn ws://127.0.0.1:9001 -c 5k --lifetime forever -d 2m restart the server meanwhile: how long
                                                                           until everybody is served again?

A client that is not let in, or is sent away, tries again as --reconnect says; one whose own lifetime is
over comes back at once. What a server asks for with Retry-After (in seconds) is added to the delay.";

/// `churn`.
#[derive(Args, Debug)]
pub struct ChurnArguments {
    #[command(flatten)]
    common: CommonArguments,
    #[command(flatten)]
    message: MessageArguments,
    /// How long a client keeps its connection: 30s, exp:30s (mean), uniform:10s:60s,
    /// lognormal:30s:1.0 (median, spread of the logarithm), or forever
    #[arg(long, default_value = "exp:30s", value_name = "TIME", value_parser = Lifetime::parse)]
    lifetime: Lifetime,
    /// So many clients leave and come back per second: lifetimes are exponential with a mean of
    /// connections/N
    #[arg(short = 'R', long, value_name = "N/s", value_parser = parse_rate, conflicts_with = "lifetime")]
    rate: Option<f64>,
    /// When a client that was sent away or refused tries again: expo:BASE..CAP, the delay doubling
    /// with every failure in a row, with jitter=full (0 to the delay), equal (half to all of it) or
    /// none; immediate; or never
    #[arg(long, default_value = "expo:1s..30s,jitter=full", value_name = "HOW", value_parser = Reconnect::parse)]
    reconnect: Reconnect,
    /// How a client leaves: with a closing handshake (1000), a reset, or half: the end of its stream
    /// without a close frame
    #[arg(long, value_enum, default_value = "clean", value_name = "HOW")]
    disconnect: DepartureChoice,
    /// Messages per second of each connected client, by an absolute schedule (default: only the
    /// first message of every connection)
    #[arg(short = 'r', long, value_name = "N/s", value_parser = parse_rate, conflicts_with = "hold_only")]
    rate_per_conn: Option<f64>,
    /// Send no messages at all: for servers that do not echo. A client then counts as served when it
    /// is let in
    #[arg(long)]
    hold_only: bool,
    /// Churn before measuring starts: a time, or auto: until rate and median response time are steady
    /// from one second to the next, 10 s at most [default: auto; 1s with --hold-only or --agents]
    #[arg(short, long, value_name = "TIME", value_parser = Warmup::parse)]
    warmup: Option<Warmup>,
    /// New connections per second while opening the first ones (default: as fast as they open)
    #[arg(long, value_name = "N/s", value_parser = parse_rate)]
    connect_rate: Option<f64>,
}

/// `--disconnect`.
#[derive(clap::ValueEnum, Clone, Copy, Debug)]
enum DepartureChoice {
    /// Closing handshake with status code 1000
    Clean,
    /// TCP reset
    Reset,
    /// End of the stream without a close frame
    Half,
}

/// More messages a second over all clients than any host sends.
const RATE_MAX: f64 = 1e9;

impl ChurnArguments {
    /// Checks what clap cannot.
    ///
    /// # Errors
    /// One or two sentences with cause and cure; the program exits with 2.
    pub fn into_config(self) -> Result<Config, String> {
        let config = self.common.into_config(Mode::Churn)?;
        let config = self.message.apply(config)?;
        let connections = f64::from(config.connections);
        let lifetime = match self.rate {
            None => self.lifetime,
            Some(rate) => {
                let mean_ns = connections * 1e9 / rate;
                if mean_ns < LIFETIME_MIN_NS as f64 {
                    return Err(format!(
                        "-R {rate} of {connections} connections leaves each less than 1ms; hold more \
                         (-c), or use the command storm"
                    ));
                }
                Lifetime::Exponential { mean_ns }
            }
        };
        // Without messages there is nothing that tells when the load is steady.
        let unsaid = if self.hold_only {
            Warmup::Fixed(WINDOW_NS)
        } else {
            Warmup::Unsaid
        };
        let warmup = self.warmup.unwrap_or(unsaid);
        if self.hold_only && warmup.is_auto() {
            return Err("-w auto needs messages to tell by; with --hold-only say how long".into());
        }
        let rate = self.rate_per_conn.map(|rate| rate * connections);
        if rate.is_some_and(|rate| rate > RATE_MAX) {
            return Err("-r times -c is more than 1000m messages per second".into());
        }
        Ok(Config {
            rate,
            warmup,
            connect_rate: self.connect_rate,
            churn: Some(Options {
                lifetime,
                reconnect: self.reconnect,
                departure: match self.disconnect {
                    DepartureChoice::Clean => Departure::Clean,
                    DepartureChoice::Reset => Departure::Reset,
                    DepartureChoice::Half => Departure::Half,
                },
                is_hold_only: self.hold_only,
            }),
            ..config
        })
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Parser)]
    struct Line {
        #[command(flatten)]
        churn: ChurnArguments,
    }

    fn config(line: &str) -> Result<Config, String> {
        let words = std::iter::once("churn").chain(line.split_whitespace());
        Line::try_parse_from(words)
            .map_err(|error| error.to_string())?
            .churn
            .into_config()
    }

    #[test]
    fn a_rate_decides_the_lifetimes() {
        let config = config("ws://127.0.0.1 -c 1000 -R 200 -r 0.5").expect("valid");
        let options = config.churn.expect("it is a churn");
        assert_eq!(options.lifetime, Lifetime::Exponential { mean_ns: 5e9 });
        assert_eq!(options.expected_per_second(1_000), Some(200.0));
        assert_eq!(config.rate, Some(500.0));
        assert_eq!(options.departure, Departure::Clean);
    }

    #[test]
    fn nonsense_is_refused_with_a_cure() {
        for (line, word) in [
            ("ws://127.0.0.1 --lifetime 1us", "storm"),
            ("ws://127.0.0.1 -c 1 -R 2000", "storm"),
            ("ws://127.0.0.1 -R 5 --lifetime 3s", "cannot be used with"),
            ("ws://127.0.0.1 --hold-only -r 1", "cannot be used with"),
            ("ws://127.0.0.1 --reconnect 3", "expo:1s..30s"),
            ("ws://127.0.0.1 --disconnect rudely", "clean"),
        ] {
            let error = config(line).expect_err(line);
            assert!(error.contains(word), "{line}: {error}");
        }
    }
}
