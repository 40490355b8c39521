//! Whatever a report holds, every writer prints it: no text of a peer gets out of its place, and no
//! figure is no number.

use crate::support::page;
use crate::support::reports::report;
use fanwire_loadgen::measure::model::{Part, Report, ThresholdResult};
use fanwire_loadgen::report::outputs::{Form, render};
use fanwire_loadgen::report::text::TimeUnit;
use fanwire_loadgen::report::{markdown, terminal};
use proptest::prelude::*;

const LINES: [&str; 4] = [
    "echo ws://127.0.0.1:9001 -c 5 -R 1000",
    "echo ws://127.0.0.1:9001 -c 5",
    "storm ws://127.0.0.1:9001 -c 5",
    "idle ws://127.0.0.1:9001 -c 5",
];

/// Told from others by its seed, since thousands of lines of a report explain nothing.
#[derive(Clone)]
struct Shown<T>(T);

impl<T> std::fmt::Debug for Shown<T> {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str("(see the message above and the seed)")
    }
}

/// What a peer would write to get out of its place. Without capital letters, so that `NaN` can only
/// come from us.
fn hostile() -> impl Strategy<Value = String> {
    proptest::string::string_regex("[a-m<>\"'&|`*_\\\\\\]\\[{}=/:.\\x1b\\x07\n\r\t% ]{0,40}")
        .expect("a right expression")
}

fn finite() -> impl Strategy<Value = f64> {
    prop_oneof![
        Just(0.0),
        0.0f64..1e3,
        any::<f64>().prop_filter("JSON has no others", |value| value.is_finite()),
    ]
}

prop_compose! {
    fn reports()(
        line in 0..LINES.len(),
        seconds in proptest::collection::vec(
            proptest::collection::vec(1u64..u64::MAX, 0..12), 0..6),
        texts in proptest::collection::vec(hostile(), 6),
        figures in proptest::collection::vec(finite(), 8),
        counts in proptest::collection::vec(0u64..u64::MAX / 64, 6),
        lengths in proptest::collection::vec(0.0f64..3.0, 6),
    ) -> Report {
        let mut report = report(LINES[line], &seconds);
        let [url, reason, note, kind, example, expression] = &texts[..] else {
            unreachable!("six texts");
        };
        report.url = format!("ws://{url}");
        report.verdict_reasons = vec![reason.clone()];
        report.notes.push(note.clone());
        report.errors.insert(kind.clone(), counts[0]);
        report.error_examples.insert(kind.clone(), example.clone());
        report.close_codes.insert(1005, counts[1]);
        report.environment.command_line = texts.clone();
        report.environment.kernel = Some(note.clone());
        report.environment.started_unix_ms = counts[2];
        report.thresholds.push(ThresholdResult {
            expression: expression.clone(),
            measured: Some(figures[0]),
            is_met: false,
            text: example.clone(),
        });
        report.messages_per_second = figures[1];
        report.target_per_second = Some(figures[2]);
        report.generator.cpu_share = Some(figures[3]);
        report.generator.cpu_ns_per_message = Some(figures[4]);
        report.generator.thread_cpu_shares = figures.clone();
        report.messages.sent = counts[3];
        report.connections.asked = counts[4];
        for (second, length) in report.series.iter_mut().zip(&lengths) {
            second.duration_s = *length;
            second.received = counts[5];
            second.server_busy_share = Some(figures[5]);
            second.server_cpus_used = Some(figures[6]);
            second.server_rss_bytes = Some(counts[1]);
        }
        report
    }
}

fn has_no_number(text: &str) -> bool {
    let is_word = |character: char| character.is_alphanumeric() || character == '-';
    text.split(|character| !is_word(character))
        .any(|word| matches!(word, "NaN" | "inf" | "-inf"))
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(16))]

    #[test]
    fn every_report_is_rendered(reports in (reports(), reports()).prop_map(Shown)) {
        let Shown((first, mut second)) = reports;
        second.parts.push(Part { name: first.url.clone(), stage: "x".into(), report: first.clone() });
        for unit in [TimeUnit::Auto, TimeUnit::Us] {
            let text = terminal::render_in(&second, unit).expect("a string");
            prop_assert!(!has_no_number(&text), "{}", text);
            let is_plain = |character: char| character == '\n' || !character.is_control();
            prop_assert!(text.chars().all(is_plain), "{:?}", text);
            let text = markdown::render(&[("a|b", &first), ("c", &second)], unit).expect("a string");
            prop_assert!(!has_no_number(&text), "{}", text);
        }
        for runs in [vec![("", &second)], vec![("<a>", &first), ("\"b\"", &second)]] {
            let html = render(Form::Html, &runs, TimeUnit::Auto, None).expect("a page");
            let html = String::from_utf8(html).expect("UTF-8");
            let page = page::read(&html);
            prop_assert!(!has_no_number(&page.text), "{}", page.text);
            prop_assert!(page.tables > 0);
            let csv = render(Form::Csv, &runs, TimeUnit::Auto, None).expect("rows");
            prop_assert!(!has_no_number(&String::from_utf8(csv).expect("UTF-8")));
            prop_assert!(render(Form::Hlog, &runs, TimeUnit::Auto, None).is_ok());
        }
    }

    #[test]
    fn a_saved_report_is_the_same_when_read_back(first in reports().prop_map(Shown)) {
        let Shown(first) = first;
        let json = render(Form::Json, &[("", &first)], TimeUnit::Auto, None).expect("JSON");
        let read = fanwire_loadgen::report::json::parse(&json).expect("our own");
        let again = render(Form::Json, &[("", &read)], TimeUnit::Auto, None).expect("JSON");
        prop_assert_eq!(json, again);
    }
}

#[test]
fn a_page_shows_what_was_measured() {
    let seconds: Vec<Vec<u64>> = (0..5).map(|second| vec![1_000_000 + second; 400]).collect();
    let report = report(LINES[0], &seconds);
    let html = render(Form::Html, &[("", &report)], TimeUnit::Auto, None).expect("a page");
    let page = page::read(&String::from_utf8(html).expect("UTF-8"));
    for text in [
        "Latency by percentile",
        "Response time by second",
        "Where all values lay",
        "adds up",
        "Open loop",
        "2,000",
    ] {
        assert!(page.text.contains(text), "{text} in {}", page.text);
    }
    // Each plot twice: for wide and for narrow pages.
    assert_eq!(page.plots % 2, 0);
    assert!(page.plots >= 8, "{}", page.plots);
}

#[test]
fn texts_that_are_not_reports_are_refused_with_a_reason() {
    for (text, word) in [
        ("", "not a report"),
        ("[1]", "not a report"),
        ("{\"schema\":\"other/7\"}", "other/7"),
        ("{\"schema\":\"fanwire-loadgen/1\"}", "cut or changed"),
    ] {
        let error = fanwire_loadgen::report::json::parse(text.as_bytes()).expect_err(text);
        assert!(error.contains(word), "{error}");
    }
}
