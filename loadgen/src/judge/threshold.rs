//! Thresholds as they are written: `echo.p99<1ms`, `errors.ratio<0.1%`, `p(95)<200`.
//!
//! Owns the grammar `metric[.phase].statistic comparison value` and what is said about text that
//! does not follow it. k6's spelling is read too: `p(99)<5` is a percentile of the response time,
//! and its bare number is milliseconds, as k6 means it.

use std::fmt::{self, Display};

use super::metric::{METRICS, Metric, Statistic, Unit};
use crate::quantity::{parse_duration_ns, parse_size};

/// How a value is held against a limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Comparison {
    /// `<`
    Below,
    /// `<=`
    AtMost,
    /// `>`
    Above,
    /// `>=`
    AtLeast,
    /// `==`
    Equal,
}

/// Longest spelling first: `<` begins `<=`.
const COMPARISONS: [(&str, Comparison); 5] = [
    ("<=", Comparison::AtMost),
    (">=", Comparison::AtLeast),
    ("==", Comparison::Equal),
    ("<", Comparison::Below),
    (">", Comparison::Above),
];

impl Comparison {
    /// Whether `value` satisfies it.
    pub fn holds(self, value: f64, limit: f64) -> bool {
        match self {
            Comparison::Below => value < limit,
            Comparison::AtMost => value <= limit,
            Comparison::Above => value > limit,
            Comparison::AtLeast => value >= limit,
            Comparison::Equal => value == limit,
        }
    }

    fn as_str(self) -> &'static str {
        let spelled = COMPARISONS.iter().find(|(_, other)| *other == self);
        spelled.map_or("", |(text, _)| text)
    }
}

/// A condition on one number of a run.
#[derive(Clone, Debug, PartialEq)]
pub struct Threshold {
    /// As it was written, without white space at the ends.
    pub expression: String,
    /// About what.
    pub metric: Metric,
    /// Which number of it.
    pub statistic: Statistic,
    /// Held how.
    pub comparison: Comparison,
    /// Against what, in the unit of the metric.
    pub limit: f64,
}

impl Display for Threshold {
    /// With single spaces around the comparison: `echo.p99 < 1ms`.
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let spelled = self.comparison.as_str();
        match self.expression.split_once(spelled) {
            Some((left, right)) => {
                write!(formatter, "{} {spelled} {}", left.trim(), right.trim())
            }
            None => formatter.write_str(&self.expression),
        }
    }
}

/// What is wrong, and from which character on.
struct Fault {
    at: usize,
    message: String,
}

fn fault(at: usize, message: impl Into<String>) -> Fault {
    Fault {
        at,
        message: message.into(),
    }
}

impl Threshold {
    /// Reads a threshold.
    ///
    /// # Errors
    /// Three lines: the text, a mark under the place, and what could stand there.
    pub fn parse(text: &str) -> Result<Threshold, String> {
        let text = text.trim();
        parse(text).map_err(|fault| {
            let before = text.get(..fault.at).unwrap_or(text).chars().count();
            format!("\n  {text}\n  {}^ {}", " ".repeat(before), fault.message)
        })
    }

    /// Whether a measured value satisfies it.
    pub fn is_met_by(&self, measured: f64) -> bool {
        self.comparison.holds(measured, self.limit)
    }

    /// What its numbers mean.
    pub fn unit(&self) -> Unit {
        self.metric.unit(self.statistic)
    }
}

fn parse(text: &str) -> Result<Threshold, Fault> {
    let at = text.find(['<', '>', '=', '!']).ok_or_else(|| {
        let example = "a comparison is missing; write for example echo.p99<1ms";
        fault(text.len(), example)
    })?;
    let (left, rest) = text.split_at(at);
    let found = COMPARISONS.iter().find(|(text, _)| rest.starts_with(text));
    let Some((spelled, comparison)) = found else {
        return Err(fault(at, "the comparisons are < <= > >= =="));
    };
    let (metric, statistic, is_foreign) = parse_left(left)?;
    let value_at = at + spelled.len();
    let value = rest.get(spelled.len()..).unwrap_or_default();
    let value_at = value_at + (value.len() - value.trim_start().len());
    let limit = parse_value(value.trim(), metric.unit(statistic), is_foreign)
        .map_err(|message| fault(value_at, message))?;
    Ok(Threshold {
        expression: text.to_owned(),
        metric,
        statistic,
        comparison: *comparison,
        limit,
    })
}

/// Metric and statistic, and whether they are spelled as k6 does.
fn parse_left(left: &str) -> Result<(Metric, Statistic, bool), Fault> {
    let left = left.trim_end();
    if left.is_empty() {
        let example = "the metric is missing; write for example echo.p99<1ms";
        return Err(fault(0, example));
    }
    let exact = |name: &str| METRICS.iter().find(|(known, _)| *known == name);
    if let Some((_, metric)) = exact(left) {
        return if metric.is_scalar() {
            Ok((*metric, Statistic::Value, false))
        } else {
            let message = format!("a statistic is missing, as in {left}.p99; {STATISTICS}");
            Err(fault(left.len(), message))
        };
    }
    // A percentile has a point of its own: the longest name that the text begins with decides.
    let prefixed = METRICS.iter().filter_map(|(name, metric)| {
        let rest = left.strip_prefix(name)?.strip_prefix('.')?;
        Some((name.len() + 1, *metric, rest))
    });
    if let Some((at, metric, rest)) = prefixed.max_by_key(|(at, _, _)| *at) {
        if metric.is_scalar() {
            let message = format!("{} is one number and has no statistics", metric.name());
            return Err(fault(at - 1, message));
        }
        let (statistic, is_foreign) =
            parse_statistic(rest).map_err(|message| fault(at, message))?;
        return Ok((metric, statistic, is_foreign));
    }
    match parse_statistic(left) {
        Ok((statistic, is_foreign)) => Ok((Metric::Response, statistic, is_foreign)),
        Err(_) => Err(fault(0, unknown_metric(left))),
    }
}

fn unknown_metric(left: &str) -> String {
    let names: Vec<&str> = METRICS.iter().map(|(name, _)| *name).collect();
    format!(
        "there is no metric '{left}'; there are {}",
        names.join(", ")
    )
}

const STATISTICS: &str = "there are min, mean, p50 to p99.999, max, count, rate";

/// Reads a statistic, and whether it is spelled as k6 does.
fn parse_statistic(text: &str) -> Result<(Statistic, bool), String> {
    let quantile = |digits: &str| -> Result<Statistic, String> {
        let percent = digits.parse::<f64>().ok().filter(|_| {
            digits
                .bytes()
                .all(|byte| byte.is_ascii_digit() || byte == b'.')
        });
        match percent {
            Some(percent) if percent > 0.0 && percent < 100.0 => {
                Ok(Statistic::Quantile(percent / 100.0))
            }
            Some(percent) if percent >= 100.0 => Err(format!(
                "a percentile lies below 100: write p99.9 for the 99.9th; {STATISTICS}"
            )),
            _ => Err(format!("there is no statistic '{text}'; {STATISTICS}")),
        }
    };
    if let Some(inner) = text.strip_prefix("p(") {
        let digits = inner.strip_suffix(')').ok_or_else(|| {
            format!("the bracket of '{text}' is not closed; write for example p(99)")
        })?;
        return Ok((quantile(digits.trim())?, true));
    }
    let statistic = match text {
        "min" => Statistic::Min,
        "mean" => Statistic::Mean,
        "max" => Statistic::Max,
        "count" => Statistic::Count,
        "rate" => Statistic::Rate,
        "avg" => return Ok((Statistic::Mean, true)),
        "med" => return Ok((Statistic::Quantile(0.5), true)),
        _ => quantile(text.strip_prefix('p').unwrap_or("no percentile"))?,
    };
    Ok((statistic, false))
}

/// Reads a limit into the unit of its metric.
fn parse_value(text: &str, unit: Unit, is_foreign: bool) -> Result<f64, String> {
    if text.is_empty() {
        return Err(format!(
            "a value is missing; write for example {}",
            example(unit)
        ));
    }
    let is_bare = text
        .bytes()
        .all(|byte| byte.is_ascii_digit() || byte == b'.');
    match unit {
        Unit::Nanoseconds if is_bare && is_foreign => {
            Ok(parse_duration_ns(&format!("{text}ms"))? as f64)
        }
        Unit::Nanoseconds if is_bare => Err(format!(
            "a time needs its unit: {text}us, {text}ms or {text}s"
        )),
        Unit::Nanoseconds => Ok(parse_duration_ns(text)? as f64),
        Unit::Bytes => Ok(parse_size(text)? as f64),
        Unit::Share => parse_share(text),
        Unit::Count => parse_number(text, unit),
        Unit::PerSecond => parse_number(text.strip_suffix("/s").unwrap_or(text), unit),
    }
}

fn example(unit: Unit) -> &'static str {
    match unit {
        Unit::Nanoseconds => "500us, 1ms or 2s",
        Unit::PerSecond => "5000, 10k or 1.5m/s",
        Unit::Share => "99.9% or 0.999",
        Unit::Count => "0, 100 or 10k",
        Unit::Bytes => "512, 4KiB or 1MiB",
    }
}

fn parse_share(text: &str) -> Result<f64, String> {
    let (digits, factor) = match text.strip_suffix('%') {
        Some(digits) => (digits.trim_end(), 0.01),
        None => (text, 1.0),
    };
    let share = plain(digits).map(|number| number * factor);
    share.filter(|share| *share <= 1_000.0).ok_or_else(|| {
        format!(
            "'{text}' is not a share; write for example {}",
            example(Unit::Share)
        )
    })
}

fn parse_number(text: &str, unit: Unit) -> Result<f64, String> {
    let (digits, factor) = match text.char_indices().next_back() {
        Some((at, 'k' | 'K')) => (&text[..at], 1e3),
        Some((at, 'm' | 'M')) => (&text[..at], 1e6),
        Some((at, 'g' | 'G')) => (&text[..at], 1e9),
        _ => (text, 1.0),
    };
    plain(digits).map(|number| number * factor).ok_or_else(|| {
        format!(
            "'{text}' is not a number; write for example {}",
            example(unit)
        )
    })
}

/// Digits, a point and underscores: no sign, no exponent, no `inf`.
fn plain(digits: &str) -> Option<f64> {
    let is_plain = |byte: u8| byte.is_ascii_digit() || byte == b'.' || byte == b'_';
    if !digits.bytes().all(is_plain) {
        return None;
    }
    let number = digits.replace('_', "").parse::<f64>().ok()?;
    number.is_finite().then_some(number)
}

#[cfg(test)]
mod tests;
