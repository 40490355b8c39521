//! Thresholds in every form, and what is said of those that are none.

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
