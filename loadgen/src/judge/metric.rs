//! What a threshold can be about: metrics, their statistics, and the units they come in.
//!
//! Owns the names. How a value is read off a report is `measure`'s.

use crate::quantity::{format_count, format_ns, format_size};

/// What is measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Metric {
    /// Echo: from when a message was due to its reply.
    Echo,
    /// The same in every mode: what `response` is in the report.
    Response,
    /// From when it was actually sent.
    Service,
    /// Fan-out: from when a message was due to each copy.
    Fanout,
    /// Fan-out: to the first copy.
    FanoutFirst,
    /// Fan-out: to the last copy.
    FanoutLast,
    /// Fan-out: first copy to last.
    FanoutSpread,
    /// Fan-out: copies that healthy subscribers got, of those they were entitled to.
    FanoutReach,
    /// TCP connect.
    ConnectTcp,
    /// TLS handshake.
    ConnectTls,
    /// Opening handshake.
    ConnectUpgrade,
    /// From when a connection was due until it was of use.
    ConnectReady,
    /// Storm: a whole cycle.
    Storm,
    /// Churn: from the loss of a connection, or the first refusal, to being served again.
    ChurnRecover,
    /// Churn: connections opened per second.
    ChurnRate,
    /// How late messages were sent.
    GeneratorLate,
    /// Failures among everything that was attempted.
    ErrorsRatio,
    /// Failures.
    ErrorsCount,
    /// Connections open at the end, of those asked for.
    AliveRatio,
    /// Messages whose reply can no longer come (fan-out: copies that nobody accounts for).
    LostCount,
    /// CPU share of the server's busiest thread.
    ServerCpu,
    /// Growth of the server's resident memory per connection.
    ServerMemory,
    /// Replies, cycles or published messages per second.
    Rate,
}

/// What is taken of it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Statistic {
    /// Of a metric that is one number.
    Value,
    /// Smallest.
    Min,
    /// Arithmetic mean.
    Mean,
    /// Not exceeded by this share, between 0 and 1.
    Quantile(f64),
    /// Largest.
    Max,
    /// Values counted.
    Count,
    /// Values counted per measured second.
    Rate,
}

/// What a number means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unit {
    /// Time in nanoseconds.
    Nanoseconds,
    /// Events per second.
    PerSecond,
    /// 0 to 1, written in percent.
    Share,
    /// Things.
    Count,
    /// Memory.
    Bytes,
}

/// Every metric with its name; those that are one number stand at the end.
pub const METRICS: [(&str, Metric); 23] = [
    ("echo", Metric::Echo),
    ("response", Metric::Response),
    ("service", Metric::Service),
    ("fanout", Metric::Fanout),
    ("fanout.first", Metric::FanoutFirst),
    ("fanout.last", Metric::FanoutLast),
    ("fanout.spread", Metric::FanoutSpread),
    ("connect.tcp", Metric::ConnectTcp),
    ("connect.tls", Metric::ConnectTls),
    ("connect.upgrade", Metric::ConnectUpgrade),
    ("connect.ready", Metric::ConnectReady),
    ("storm", Metric::Storm),
    ("churn.recover", Metric::ChurnRecover),
    ("gen.late", Metric::GeneratorLate),
    ("churn.rate", Metric::ChurnRate),
    ("fanout.reach", Metric::FanoutReach),
    ("errors.ratio", Metric::ErrorsRatio),
    ("errors.count", Metric::ErrorsCount),
    ("alive.ratio", Metric::AliveRatio),
    ("lost.count", Metric::LostCount),
    ("server.cpu", Metric::ServerCpu),
    ("server.rss_per_conn", Metric::ServerMemory),
    ("rate", Metric::Rate),
];

impl Metric {
    /// Its name.
    pub fn name(self) -> &'static str {
        let named = METRICS.iter().find(|(_, metric)| *metric == self);
        named.map_or("", |(name, _)| name)
    }

    /// One number, without percentiles.
    pub fn is_scalar(self) -> bool {
        matches!(
            self,
            Metric::FanoutReach
                | Metric::ErrorsRatio
                | Metric::ErrorsCount
                | Metric::AliveRatio
                | Metric::LostCount
                | Metric::ServerCpu
                | Metric::ServerMemory
                | Metric::Rate
                | Metric::ChurnRate
        )
    }

    /// What its values mean.
    pub fn unit(self, statistic: Statistic) -> Unit {
        match (self, statistic) {
            (Metric::FanoutReach | Metric::ErrorsRatio, _) => Unit::Share,
            (Metric::AliveRatio | Metric::ServerCpu, _) => Unit::Share,
            (Metric::ErrorsCount | Metric::LostCount, _) => Unit::Count,
            (Metric::ServerMemory, _) => Unit::Bytes,
            (Metric::Rate | Metric::ChurnRate, _) | (_, Statistic::Rate) => Unit::PerSecond,
            (_, Statistic::Count) => Unit::Count,
            _ => Unit::Nanoseconds,
        }
    }
}

impl Unit {
    /// Its name in JSON.
    pub fn as_str(self) -> &'static str {
        match self {
            Unit::Nanoseconds => "nanoseconds",
            Unit::PerSecond => "per_second",
            Unit::Share => "share",
            Unit::Count => "count",
            Unit::Bytes => "bytes",
        }
    }

    /// A value as a person reads it.
    pub fn format(self, value: f64) -> String {
        match self {
            Unit::Nanoseconds => format_ns(value.max(0.0).round() as u64),
            Unit::PerSecond => format!("{}/s", format_number(value)),
            Unit::Count => format_number(value),
            Unit::Share => format!("{}%", trimmed(value * 100.0)),
            Unit::Bytes if value < 0.0 => "shrank".to_owned(),
            Unit::Bytes => format_size(value.round() as u64),
        }
    }
}

/// Whole with separators when it is large, with digits behind the point when it is not.
fn format_number(value: f64) -> String {
    if value >= 100.0 {
        format_count(value.round() as u64)
    } else {
        trimmed(value)
    }
}

fn trimmed(value: f64) -> String {
    let text = format!("{value:.3}");
    let text = text.trim_end_matches('0').trim_end_matches('.');
    text.to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_metric_has_one_name() {
        for (name, metric) in METRICS {
            assert_eq!(metric.name(), name);
        }
    }

    #[test]
    fn values_as_a_person_reads_them() {
        assert_eq!(Unit::Share.format(0.995), "99.5%");
        assert_eq!(Unit::Share.format(0.000_01), "0.001%");
        assert_eq!(Unit::PerSecond.format(12_345.6), "12,346/s");
        assert_eq!(Unit::PerSecond.format(0.5), "0.5/s");
        assert_eq!(Unit::Count.format(3.0), "3");
        assert_eq!(Unit::Nanoseconds.format(610_000.0), "610us");
        assert_eq!(Unit::Bytes.format(-5.0), "shrank");
    }
}
