//! The parameter that `find` and `sweep` change from window to window.

use clap::ValueEnum;

use crate::config::{Config, Mode};
use crate::message::payload::CONNECTIONS_MAX;
use crate::quantity::{format_count, format_size, parse_count, parse_rate, parse_size};

/// What is changed.
#[derive(ValueEnum, Clone, Copy, Debug, PartialEq, Eq)]
pub enum Vary {
    /// Messages per second (storm: connections per second)
    Rate,
    /// Connections
    Connections,
    /// Fan-out: subscribers
    Subscribers,
    /// New connections per second
    ConnectRate,
    /// Payload bytes of a message
    Size,
}

/// Most events per second that are tried.
const RATE_MAX: f64 = 100e6;
/// Largest payload that is tried.
const SIZE_MAX: f64 = (16 << 20) as f64;

impl Vary {
    /// As it is written.
    pub fn as_str(self) -> &'static str {
        match self {
            Vary::Rate => "rate",
            Vary::Connections => "connections",
            Vary::Subscribers => "subscribers",
            Vary::ConnectRate => "connect-rate",
            Vary::Size => "size",
        }
    }

    /// Only whole numbers make sense.
    pub fn is_whole(self) -> bool {
        matches!(self, Vary::Connections | Vary::Subscribers | Vary::Size)
    }

    /// The unit of its values, as the name of a column has it.
    pub fn unit(self) -> &'static str {
        match self {
            Vary::Rate | Vary::ConnectRate => "per_second",
            Vary::Connections | Vary::Subscribers => "count",
            Vary::Size => "bytes",
        }
    }

    /// Whether the command has it.
    ///
    /// # Errors
    /// A sentence about what can be varied instead.
    pub fn check(self, config: &Config) -> Result<(), String> {
        let mode = config.mode;
        let is_there = match self {
            Vary::Rate => mode != Mode::Idle,
            Vary::Connections => mode != Mode::Fanout,
            Vary::Subscribers => mode == Mode::Fanout,
            Vary::ConnectRate => true,
            Vary::Size => matches!(mode, Mode::Echo | Mode::Fanout),
        };
        if is_there {
            return Ok(());
        }
        let (varied, mode) = (self.as_str(), mode.as_str());
        Err(format!(
            "`{mode}` has no {varied} to vary; see --help for what it has"
        ))
    }

    /// What the command line asks for without varying it.
    pub fn current(self, config: &Config) -> Option<f64> {
        match self {
            Vary::Rate => config.rate,
            Vary::ConnectRate if config.mode == Mode::Storm => config.rate,
            Vary::ConnectRate => config.connect_rate,
            Vary::Connections | Vary::Subscribers => Some(f64::from(config.connections)),
            Vary::Size => Some(config.message_size as f64),
        }
    }

    /// Largest value that makes sense.
    pub fn largest(self) -> f64 {
        match self {
            Vary::Rate | Vary::ConnectRate => RATE_MAX,
            Vary::Connections | Vary::Subscribers => f64::from(CONNECTIONS_MAX),
            Vary::Size => SIZE_MAX,
        }
    }

    /// The same load with another value.
    pub fn apply(self, config: &Config, value: f64) -> Config {
        let mut config = config.clone();
        match self {
            Vary::Rate => config.rate = Some(value),
            Vary::ConnectRate if config.mode == Mode::Storm => config.rate = Some(value),
            Vary::ConnectRate => config.connect_rate = Some(value),
            Vary::Connections | Vary::Subscribers => {
                config.connections = value as u32;
                config.threads = config.threads.min(config.connections as usize).max(1);
            }
            Vary::Size => config.message_size = value as usize,
        }
        config
    }

    /// Reads a value.
    ///
    /// # Errors
    /// One sentence that names what was wrong and shows an example.
    pub fn parse(self, text: &str) -> Result<f64, String> {
        let value = match self {
            Vary::Rate | Vary::ConnectRate => parse_rate(text)?,
            Vary::Connections | Vary::Subscribers => parse_count(text)? as f64,
            Vary::Size => parse_size(text)? as f64,
        };
        let is_usable = value <= self.largest() && (value > 0.0 || self == Vary::Size);
        is_usable
            .then_some(value)
            .ok_or_else(|| format!("'{text}' is out of the range of {}", self.as_str()))
    }

    /// A value as a person reads it.
    pub fn format(self, value: f64) -> String {
        match self {
            Vary::Rate | Vary::ConnectRate if value < 100.0 => format!("{value:.2}/s"),
            Vary::Rate | Vary::ConnectRate => format!("{}/s", format_count(value.round() as u64)),
            Vary::Connections | Vary::Subscribers => format_count(value.round() as u64),
            Vary::Size => format_size(value.round() as u64),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::judge::testing::config;

    #[test]
    fn each_reaches_its_place() {
        let echo = config("echo ws://127.0.0.1 -c 8 -t 4");
        assert_eq!(Vary::Rate.apply(&echo, 5e3).rate, Some(5e3));
        assert_eq!(Vary::ConnectRate.apply(&echo, 7.0).connect_rate, Some(7.0));
        assert_eq!(Vary::Size.apply(&echo, 512.0).message_size, 512);
        let fewer = Vary::Connections.apply(&echo, 2.0);
        assert_eq!((fewer.connections, fewer.threads), (2, 2));
        let storm = config("storm ws://127.0.0.1");
        assert_eq!(Vary::ConnectRate.apply(&storm, 9.0).rate, Some(9.0));
        assert!(Vary::Subscribers.check(&echo).is_err());
        assert!(Vary::Rate.check(&config("idle ws://127.0.0.1")).is_err());
    }

    #[test]
    fn values_have_the_units_of_the_options() {
        assert_eq!(Vary::Rate.parse("10k/s"), Ok(10_000.0));
        assert_eq!(Vary::Connections.parse("1.5k"), Ok(1_500.0));
        assert_eq!(Vary::Size.parse("16KiB"), Ok(16_384.0));
        assert!(Vary::Connections.parse("0").is_err());
        assert!(Vary::Connections.parse("20m").is_err());
        assert_eq!(Vary::Rate.format(12_345.6), "12,346/s");
        assert_eq!(Vary::Rate.format(0.5), "0.50/s");
    }
}
