//! Figures as a person reads them in pages and tables.
//!
//! Owns wording of numbers with units; which numbers is the writers'. What can be typed in again
//! is in `quantity`.

use clap::ValueEnum;

use crate::measure::model::Report;
use crate::quantity::{format_count, format_ns};

/// Unit of latencies in the terminal report and in Markdown.
#[derive(ValueEnum, Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum TimeUnit {
    /// Each in the unit that suits it
    #[default]
    Auto,
    /// Nanoseconds
    Ns,
    /// Microseconds
    Us,
    /// Milliseconds
    Ms,
}

impl TimeUnit {
    /// A latency with its unit, without a space, so that it stays one word.
    pub fn write(self, ns: u64) -> String {
        match self {
            TimeUnit::Auto => format_ns(ns),
            TimeUnit::Ns => format!("{ns}ns"),
            TimeUnit::Us => format!("{:.1}us", ns as f64 / 1e3),
            TimeUnit::Ms => format!("{:.3}ms", ns as f64 / 1e6),
        }
    }
}

/// A text of a peer, or of a command line, that is to stay on its line and in its place: control
/// characters, which move a terminal's cursor and which pages cannot hold, become spaces.
pub fn one_line(text: &str) -> String {
    text.replace(char::is_control, " ")
}

/// What stands behind an equation: whether it holds.
pub fn mark(holds: bool) -> &'static str {
    if holds { "✓" } else { "✗" }
}

/// A figure of about three digits, without zeros at its end.
pub fn three_digits(value: f64) -> String {
    let size = value.abs();
    let decimals = match size {
        _ if !value.is_finite() => return "–".to_owned(),
        _ if size >= 99.95 => 0,
        _ if size >= 9.995 => 1,
        _ => 2,
    };
    let text = format!("{value:.decimals$}");
    if !text.contains('.') {
        return text;
    }
    text.trim_end_matches('0').trim_end_matches('.').to_owned()
}

/// A number and its unit, which a page prints smaller.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Quantity {
    /// The number.
    pub number: String,
    /// The unit, empty for counts.
    pub unit: &'static str,
}

impl Quantity {
    /// Both in one word that does not break.
    pub fn joined(&self) -> String {
        match self.unit {
            "" => self.number.clone(),
            "/s" | "%" => format!("{}{}", self.number, self.unit),
            unit => format!("{}\u{a0}{unit}", self.number),
        }
    }
}

/// A latency.
pub fn latency(ns: f64) -> Quantity {
    let (number, unit) = match ns {
        _ if ns < 999.5 => (ns, "ns"),
        _ if ns < 999_500.0 => (ns / 1e3, "µs"),
        _ if ns < 999_500_000.0 => (ns / 1e6, "ms"),
        _ => (ns / 1e9, "s"),
    };
    Quantity {
        number: three_digits(number),
        unit,
    }
}

/// A count or a rate: whole from a hundred on.
pub fn amount(value: f64, unit: &'static str) -> Quantity {
    let number = if value.is_finite() && value >= 100.0 {
        format_count(value.round() as u64)
    } else {
        three_digits(value)
    };
    Quantity { number, unit }
}

/// A share of one in percent.
pub fn percent(share: f64) -> Quantity {
    Quantity {
        number: three_digits(share * 100.0),
        unit: "%",
    }
}

/// A size in bytes.
pub fn size(bytes: f64) -> Quantity {
    let (number, unit) = match bytes.abs() {
        size if size >= 1_073_741_824.0 => (bytes / 1_073_741_824.0, "GiB"),
        size if size >= 1_048_576.0 => (bytes / 1_048_576.0, "MiB"),
        size if size >= 1_024.0 => (bytes / 1_024.0, "KiB"),
        _ => (bytes, "B"),
    };
    Quantity {
        number: three_digits(number),
        unit,
    }
}

/// A length of time in seconds, minutes or hours.
pub fn span(seconds: f64) -> String {
    let whole = seconds.round();
    match seconds {
        _ if !seconds.is_finite() => "–".to_owned(),
        _ if seconds < 120.0 => format!("{}\u{a0}s", three_digits(seconds)),
        _ if seconds < 7_200.0 => {
            format!(
                "{}\u{a0}min {}\u{a0}s",
                (whole / 60.0).floor(),
                whole % 60.0
            )
        }
        _ => format!(
            "{}\u{a0}h {}\u{a0}min",
            (whole / 3_600.0).floor(),
            ((whole % 3_600.0) / 60.0).floor()
        ),
    }
}

/// A moment in UTC: `2026-11-22 23:45:01 UTC`.
pub fn moment(unix_ms: u64) -> String {
    let seconds = unix_ms / 1_000;
    let (days, rest) = (seconds / 86_400, seconds % 86_400);
    let (year, month, day) = civil(days);
    format!(
        "{year:04}-{month:02}-{day:02} {:02}:{:02}:{:02} UTC",
        rest / 3_600,
        rest % 3_600 / 60,
        rest % 60
    )
}

/// The date of a day counted from 1970-01-01, in the Gregorian calendar.
fn civil(mut days: u64) -> (u64, u64, u64) {
    // Four hundred years have always the same length; the rest is at most as many steps.
    const ERA_DAYS: u64 = 146_097;
    let mut year = 1970 + days / ERA_DAYS * 400;
    days %= ERA_DAYS;
    let is_leap =
        |year: u64| year.is_multiple_of(4) && !year.is_multiple_of(100) || year.is_multiple_of(400);
    loop {
        let length = if is_leap(year) { 366 } else { 365 };
        if days < length {
            break;
        }
        days -= length;
        year += 1;
    }
    let february = if is_leap(year) { 29 } else { 28 };
    let months = [31, february, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31];
    let mut month = 1;
    for length in months {
        if days < length {
            break;
        }
        days -= length;
        month += 1;
    }
    (year, month, days + 1)
}

/// What a report counts as done, for "CPU per …": one of them, and many.
pub fn nouns(report: &Report) -> (&'static str, &'static str) {
    match report.mode.as_ref() {
        "storm" => ("connection", "connections"),
        "fanout" => ("delivery", "deliveries"),
        "churn" => ("reply", "replies"),
        _ => ("message", "messages"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_have_three_digits_and_a_unit() {
        assert_eq!(latency(88_400.0).joined(), "88.4\u{a0}µs");
        assert_eq!(latency(999_600.0).joined(), "1\u{a0}ms");
        assert_eq!(latency(0.0).joined(), "0\u{a0}ns");
        assert_eq!(latency(2.345e9).joined(), "2.35\u{a0}s");
        assert_eq!(amount(49_998.4, "/s").joined(), "49,998/s");
        assert_eq!(amount(0.5, "/s").joined(), "0.5/s");
        assert_eq!(amount(f64::NAN, "").joined(), "–");
        assert_eq!(percent(0.984).joined(), "98.4%");
        assert_eq!(size(3_174.0).joined(), "3.1\u{a0}KiB");
        assert_eq!(span(10.0), "10\u{a0}s");
        assert_eq!(span(125.0), "2\u{a0}min 5\u{a0}s");
    }

    #[test]
    fn a_peer_cannot_move_the_cursor() {
        assert_eq!(one_line("a\u{1b}[2Jb\r\nVALID\u{9b}"), "a [2Jb  VALID ");
    }

    #[test]
    fn units_can_be_fixed() {
        assert_eq!(TimeUnit::Us.write(1_234_560), "1234.6us");
        assert_eq!(TimeUnit::Ms.write(1_234_560), "1.235ms");
        assert_eq!(TimeUnit::Ns.write(1_234_560), "1234560ns");
        assert_eq!(TimeUnit::Auto.write(1_234_560), "1.23ms");
    }

    #[test]
    fn moments_are_those_of_other_calendars() {
        assert_eq!(moment(0), "1970-01-01 00:00:00 UTC");
        assert_eq!(moment(951_782_400_000), "2000-02-29 00:00:00 UTC");
        assert_eq!(moment(1_795_391_101_000), "2026-11-22 23:45:01 UTC");
        assert_eq!(moment(4_107_542_400_000), "2100-03-01 00:00:00 UTC");
    }
}
