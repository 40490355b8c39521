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
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn parsed(text: &str) -> (Metric, Statistic, Comparison, f64) {
        match Threshold::parse(text) {
            Ok(found) => (found.metric, found.statistic, found.comparison, found.limit),
            Err(error) => unreachable!("{text}: {error}"),
        }
    }

    fn expect(text: &str, expected: (Metric, Statistic, Comparison, f64)) {
        let (metric, statistic, comparison, limit) = expected;
        let (found_metric, found_statistic, found_comparison, found_limit) = parsed(text);
        assert_eq!(
            (found_metric, found_comparison),
            (metric, comparison),
            "{text}"
        );
        match (found_statistic, statistic) {
            (Statistic::Quantile(found), Statistic::Quantile(expected)) => {
                assert!((found - expected).abs() < 1e-12, "{text}: {found}");
            }
            (found, expected) => assert_eq!(found, expected, "{text}"),
        }
        assert!(
            (found_limit - limit).abs() <= limit * 1e-12,
            "{text}: {found_limit}"
        );
    }

    #[test]
    fn latencies_and_reach() {
        use Comparison::{AtLeast, AtMost, Below, Equal};
        use Statistic::{Max, Quantile, Value};
        for (text, metric, statistic, comparison, limit) in [
            ("echo.p99<1ms", Metric::Echo, Quantile(0.99), Below, 1e6),
            (
                " response.p99.9 <= 2s ",
                Metric::Response,
                Quantile(0.999),
                AtMost,
                2e9,
            ),
            (
                "fanout.last.p99.99<50ms",
                Metric::FanoutLast,
                Quantile(0.9999),
                Below,
                5e7,
            ),
            (
                "fanout.p50<500us",
                Metric::Fanout,
                Quantile(0.5),
                Below,
                5e5,
            ),
            ("fanout.reach==100%", Metric::FanoutReach, Value, Equal, 1.0),
            (
                "fanout.reach>=0.999",
                Metric::FanoutReach,
                Value,
                AtLeast,
                0.999,
            ),
            (
                "connect.upgrade.max<1s",
                Metric::ConnectUpgrade,
                Max,
                Below,
                1e9,
            ),
            (
                "gen.late.p99<100us",
                Metric::GeneratorLate,
                Quantile(0.99),
                Below,
                1e5,
            ),
        ] {
            expect(text, (metric, statistic, comparison, limit));
        }
    }

    #[test]
    fn counts_shares_and_rates() {
        use Comparison::{Above, AtLeast, AtMost, Below, Equal};
        use Statistic::{Count, Mean, Min, Value};
        for (text, metric, statistic, comparison, limit) in [
            (
                "errors.ratio<0.1%",
                Metric::ErrorsRatio,
                Value,
                Below,
                0.001,
            ),
            ("errors.count==0", Metric::ErrorsCount, Value, Equal, 0.0),
            ("lost.count<=10k", Metric::LostCount, Value, AtMost, 1e4),
            ("alive.ratio>99%", Metric::AliveRatio, Value, Above, 0.99),
            ("server.cpu<90%", Metric::ServerCpu, Value, Below, 0.9),
            (
                "server.rss_per_conn<4KiB",
                Metric::ServerMemory,
                Value,
                Below,
                4096.0,
            ),
            ("rate>=100k/s", Metric::Rate, Value, AtLeast, 1e5),
            ("storm.mean<5ms", Metric::Storm, Mean, Below, 5e6),
            ("service.min>1us", Metric::Service, Min, Above, 1e3),
            ("echo.count>1_000", Metric::Echo, Count, Above, 1e3),
            ("echo.rate>1k", Metric::Echo, Statistic::Rate, Above, 1e3),
        ] {
            expect(text, (metric, statistic, comparison, limit));
        }
    }

    #[test]
    fn spellings_of_k6() {
        use Comparison::Below;
        use Statistic::{Mean, Quantile};
        for (text, metric, statistic, comparison, limit) in [
            ("p(99)<5", Metric::Response, Quantile(0.99), Below, 5e6),
            (
                "echo.p(99.9) < 5",
                Metric::Echo,
                Quantile(0.999),
                Below,
                5e6,
            ),
            ("echo.p(95)<200us", Metric::Echo, Quantile(0.95), Below, 2e5),
            ("avg<200", Metric::Response, Mean, Below, 2e8),
            ("med<200", Metric::Response, Quantile(0.5), Below, 2e8),
        ] {
            expect(text, (metric, statistic, comparison, limit));
        }
    }

    #[test]
    fn faults_are_pointed_at_and_say_what_there_is() {
        for (text, column, word) in [
            ("echo.p99", 8, "comparison is missing"),
            ("echo.p99<", 9, "500us"),
            ("echo.p99<5", 9, "5ms"),
            ("echo.p99<5 parsecs", 9, "unknown unit"),
            ("echo.p9x<1ms", 5, "p99.999"),
            ("echo.p999<1ms", 5, "p99.9"),
            ("echo.p(99<1ms", 5, "bracket"),
            ("echo<1ms", 4, "echo.p99"),
            ("ech.p99<1ms", 0, "fanout.spread"),
            ("fanout.reach.p50>1", 12, "one number"),
            ("<1ms", 0, "metric is missing"),
            ("rate>fast", 5, "10k"),
            ("alive.ratio>-1", 12, "99.9%"),
            ("rate=5", 4, "=="),
            ("rate!=5", 4, "<="),
            ("errors.count==1e9", 14, "not a number"),
            ("", 0, "comparison"),
            ("échó.p99<1ms", 0, "no metric"),
        ] {
            let error = Threshold::parse(text).expect_err(text);
            let mark = error.lines().nth(2).expect("three lines");
            assert_eq!(mark.find('^'), Some(column + 2), "{text}: {error}");
            assert!(error.contains(word), "{text}: {error}");
        }
    }

    #[test]
    fn shown_with_spaces() {
        let shown = |text: &str| Threshold::parse(text).map(|found| found.to_string());
        assert_eq!(shown("echo.p99<1ms"), Ok("echo.p99 < 1ms".to_owned()));
        assert_eq!(shown("rate   >=100k"), Ok("rate >= 100k".to_owned()));
    }

    proptest! {
        #[test]
        fn any_text_is_read_or_refused(text in "\\PC{0,40}") {
            if let Ok(found) = Threshold::parse(&text) {
                prop_assert!(found.limit.is_finite() && found.limit >= 0.0);
                prop_assert_eq!(Threshold::parse(&found.to_string()).map(|again| again.limit), Ok(found.limit));
            }
        }

        #[test]
        fn what_is_composed_is_read_back(
            metric in prop::sample::select(METRICS.to_vec()),
            percent in prop::sample::select(vec![50.0, 75.0, 90.0, 99.0, 99.9, 99.99, 99.999]),
            comparison in prop::sample::select(COMPARISONS.to_vec()),
            number in 0u32..1_000_000,
            space in prop::sample::select(vec!["", " "]),
        ) {
            let (name, metric) = metric;
            let statistic = if metric.is_scalar() { String::new() } else { format!(".p{percent}") };
            let unit = match metric.unit(Statistic::Value) {
                Unit::Nanoseconds => "us",
                Unit::Bytes => "B",
                Unit::PerSecond => "/s",
                Unit::Share | Unit::Count => "",
            };
            let number = if metric.unit(Statistic::Value) == Unit::Share { number % 1000 } else { number };
            let text = format!("{name}{statistic}{space}{}{space}{number}{unit}", comparison.0);
            let found = Threshold::parse(&text).map_err(TestCaseError::fail)?;
            prop_assert_eq!((found.metric, found.comparison), (metric, comparison.1));
            let factor = if metric.unit(Statistic::Value) == Unit::Nanoseconds { 1e3 } else { 1.0 };
            prop_assert_eq!(found.limit, f64::from(number) * factor);
        }
    }
}
