//! JUnit XML, as continuous integration reads it: a test suite per run, a test case for the verdict
//! and for each threshold.
//!
//! A verdict of INVALID is an error (the test itself went wrong), a threshold that was not met a
//! failure (what was tested went wrong).

use std::fmt::Write as _;
use std::io;
use std::path::Path;

use crate::measure::model::{Report, ThresholdResult};
use crate::measure::verdict::Verdict;

/// Writes one file with a suite for each report, named as given.
///
/// # Errors
/// What the file system says, with the path.
pub fn write(path: &Path, suites: &[(String, &Report)]) -> io::Result<()> {
    std::fs::write(path, render(suites))
        .map_err(|error| io::Error::new(error.kind(), format!("{}: {error}", path.display())))
}

/// A test case that did not pass.
struct Problem {
    element: &'static str,
    kind: &'static str,
    message: String,
}

struct Case {
    name: String,
    problem: Option<Problem>,
    remark: String,
}

/// The whole document.
pub fn render(suites: &[(String, &Report)]) -> String {
    let all: Vec<(&String, &Report, Vec<Case>)> = suites
        .iter()
        .map(|(name, report)| (name, *report, cases(report)))
        .collect();
    let every = || all.iter().flat_map(|(_, _, cases)| cases);
    let count = |element: &str| troubled(every(), element);
    let mut out = String::from("<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<testsuites");
    attribute(&mut out, "name", "fanwire-loadgen");
    attribute(&mut out, "tests", &every().count().to_string());
    attribute(&mut out, "failures", &count("failure").to_string());
    attribute(&mut out, "errors", &count("error").to_string());
    out.push_str(">\n");
    for (name, report, cases) in &all {
        suite(&mut out, name, report, cases);
    }
    out.push_str("</testsuites>\n");
    out
}

fn troubled<'a>(cases: impl Iterator<Item = &'a Case>, element: &str) -> usize {
    let problems = cases.filter_map(|case| case.problem.as_ref());
    problems
        .filter(|problem| problem.element == element)
        .count()
}

fn cases(report: &Report) -> Vec<Case> {
    let reasons = report.verdict_reasons.join("; ");
    let verdict = Case {
        name: "verdict".to_owned(),
        problem: (report.verdict == Verdict::Invalid).then(|| Problem {
            element: "error",
            kind: "INVALID",
            message: reasons.clone(),
        }),
        remark: format!("{} {reasons}", report.verdict.as_str())
            .trim_end()
            .to_owned(),
    };
    std::iter::once(verdict)
        .chain(report.thresholds.iter().map(threshold))
        .collect()
}

fn threshold(result: &ThresholdResult) -> Case {
    Case {
        name: result.expression.clone(),
        problem: (!result.is_met).then(|| Problem {
            element: "failure",
            kind: if result.measured.is_some() {
                "threshold"
            } else {
                "not measured"
            },
            message: format!("{} was not met: {}", result.expression, result.text),
        }),
        remark: format!("measured: {}", result.text),
    }
}

fn suite(out: &mut String, name: &str, report: &Report, cases: &[Case]) {
    let seconds = format!("{:.3}", report.duration_s);
    out.push_str("  <testsuite");
    attribute(out, "name", name);
    attribute(out, "tests", &cases.len().to_string());
    attribute(
        out,
        "failures",
        &troubled(cases.iter(), "failure").to_string(),
    );
    attribute(out, "errors", &troubled(cases.iter(), "error").to_string());
    attribute(out, "skipped", "0");
    attribute(out, "time", &seconds);
    if report.environment.started_unix_ms > 0 {
        attribute(
            out,
            "timestamp",
            &timestamp(report.environment.started_unix_ms),
        );
    }
    out.push_str(">\n    <properties>\n");
    for (name, value) in [
        ("url", report.url.clone()),
        ("loop", report.loop_model.to_string()),
        (
            "achieved_per_second",
            format!("{:.1}", report.messages_per_second),
        ),
        ("connections", report.config.connections.to_string()),
    ] {
        out.push_str("      <property");
        attribute(out, "name", name);
        attribute(out, "value", &value);
        out.push_str("/>\n");
    }
    out.push_str("    </properties>\n");
    for case in cases {
        write_case(
            out,
            case,
            &format!("fanwire-loadgen.{}", report.mode),
            &seconds,
        );
    }
    out.push_str("  </testsuite>\n");
}

fn write_case(out: &mut String, case: &Case, class: &str, seconds: &str) {
    out.push_str("    <testcase");
    attribute(out, "name", &case.name);
    attribute(out, "classname", class);
    attribute(out, "time", seconds);
    out.push_str(">\n");
    if let Some(problem) = &case.problem {
        let _ = write!(out, "      <{}", problem.element);
        attribute(out, "type", problem.kind);
        attribute(out, "message", &problem.message);
        out.push_str("/>\n");
    }
    let remark = escaped(&case.remark);
    let _ = writeln!(
        out,
        "      <system-out>{remark}</system-out>\n    </testcase>"
    );
}

fn attribute(out: &mut String, name: &str, value: &str) {
    // Writing to a `String` does not fail.
    let _ = write!(out, " {name}=\"{}\"", escaped(value));
}

/// Text for between tags and quotes. What XML 1.0 cannot hold at all, not even escaped (control
/// characters that a server may have put into an error message), becomes U+FFFD.
fn escaped(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for character in text.chars() {
        match character {
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '&' => out.push_str("&amp;"),
            '"' => out.push_str("&quot;"),
            '\'' => out.push_str("&apos;"),
            '\n' | '\r' | '\t' => {
                // Written plainly, an attribute's line break is read back as a space.
                let _ = write!(out, "&#{};", u32::from(character));
            }
            '\0'..='\u{1f}' | '\u{fffe}' | '\u{ffff}' => out.push('\u{fffd}'),
            other => out.push(other),
        }
    }
    out
}

/// `2026-11-22T23:05:09`, in UTC, from milliseconds since 1970 (the civil calendar, counted from the
/// first of March so that the leap day comes last).
fn timestamp(unix_ms: u64) -> String {
    let seconds = unix_ms / 1_000;
    let (days, second) = (seconds / 86_400, seconds % 86_400);
    let shifted = days + 719_468;
    let (era, day_of_era) = (shifted / 146_097, shifted % 146_097);
    let year_of_era =
        (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month_from_march = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month_from_march + 2) / 5 + 1;
    let month = if month_from_march < 10 {
        month_from_march + 3
    } else {
        month_from_march - 9
    };
    let year = year_of_era + era * 400 + u64::from(month <= 2);
    let (hour, minute, second) = (second / 3_600, second / 60 % 60, second % 60);
    format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::judge::testing::report;
    use proptest::prelude::*;
    use quick_xml::events::Event;
    use quick_xml::reader::Reader;

    /// Element names with their attributes, as an independent parser reads them.
    fn parsed(document: &str) -> Vec<(String, Vec<(String, String)>)> {
        let mut reader = Reader::from_str(document);
        reader.config_mut().check_end_names = true;
        let mut found = Vec::new();
        loop {
            match reader.read_event().expect("well-formed") {
                Event::Eof => return found,
                Event::Start(element) | Event::Empty(element) => {
                    let name = String::from_utf8_lossy(element.name().as_ref()).into_owned();
                    let attributes = element.attributes().map(|attribute| {
                        let attribute = attribute.expect("well-formed");
                        let key = String::from_utf8_lossy(attribute.key.as_ref()).into_owned();
                        (
                            key,
                            attribute.unescape_value().expect("escaped").into_owned(),
                        )
                    });
                    found.push((name, attributes.collect()));
                }
                _ => {}
            }
        }
    }

    fn value<'a>(element: &'a (String, Vec<(String, String)>), name: &str) -> &'a str {
        let found = element.1.iter().find(|(key, _)| key == name);
        found.map_or("", |(_, value)| value.as_str())
    }

    fn failing() -> Report {
        let mut report = report("echo");
        report.verdict = Verdict::Invalid;
        report.verdict_reasons = vec!["1 < 2 & \"3\"\nand 'more' \u{1}".into()];
        report.environment.started_unix_ms = 1_795_388_709_123;
        let result = |expression: &str, measured, is_met, text: &str| ThresholdResult {
            expression: expression.into(),
            measured,
            is_met,
            text: text.into(),
        };
        report.thresholds = vec![
            result("echo.p99 < 1ms", Some(6e5), true, "600us"),
            result("rate > 5", Some(4.0), false, "4/s"),
            result("fanout.reach == 100%", None, false, "not measured"),
        ];
        report
    }

    #[test]
    fn a_parser_reads_what_was_meant() {
        let (bad, good) = (failing(), report("echo"));
        let document = render(&[("a <first>".into(), &bad), ("second".into(), &good)]);
        let elements = parsed(&document);
        let all = &elements[0];
        assert_eq!(all.0, "testsuites");
        assert_eq!(
            (
                value(all, "tests"),
                value(all, "failures"),
                value(all, "errors")
            ),
            ("5", "2", "1")
        );
        let suites: Vec<_> = elements
            .iter()
            .filter(|(name, _)| name == "testsuite")
            .collect();
        assert_eq!(value(suites[0], "name"), "a <first>");
        assert_eq!(value(suites[0], "tests"), "4");
        assert_eq!(value(suites[0], "timestamp"), "2026-11-22T23:05:09");
        assert_eq!(value(suites[1], "errors"), "0");
        let of = |wanted: &'static str| elements.iter().filter(move |(name, _)| name == wanted);
        let names: Vec<&str> = of("testcase")
            .map(|element| value(element, "name"))
            .collect();
        assert_eq!(
            names,
            [
                "verdict",
                "echo.p99 < 1ms",
                "rate > 5",
                "fanout.reach == 100%",
                "verdict"
            ]
        );
        let error = of("error").next().expect("one error");
        assert_eq!(
            value(error, "message"),
            "1 < 2 & \"3\"\nand 'more' \u{fffd}"
        );
        let kinds: Vec<&str> = of("failure")
            .map(|element| value(element, "type"))
            .collect();
        assert_eq!(kinds, ["threshold", "not measured"]);
    }

    #[test]
    fn calendar() {
        assert_eq!(timestamp(0), "1970-01-01T00:00:00");
        assert_eq!(timestamp(951_782_400_000), "2000-02-29T00:00:00");
        assert_eq!(timestamp(1_772_323_199_000), "2026-02-28T23:59:59");
        assert_eq!(timestamp(1_772_323_200_000), "2026-03-01T00:00:00");
    }

    proptest! {
        #[test]
        fn any_text_survives_or_is_replaced(text in any::<String>()) {
            let mut report = report("echo");
            report.verdict = Verdict::Invalid;
            report.verdict_reasons = vec![text.clone()];
            let elements = parsed(&render(&[(text.clone(), &report)]));
            let kept: String = text
                .chars()
                .map(|character| match character {
                    '\n' | '\r' | '\t' => character,
                    character if character < ' ' => '\u{fffd}',
                    '\u{fffe}' | '\u{ffff}' => '\u{fffd}',
                    character => character,
                })
                .collect();
            prop_assert_eq!(value(&elements[1], "name"), kept.as_str());
            let error = elements.iter().find(|(name, _)| name == "error").expect("invalid");
            prop_assert_eq!(value(error, "message"), kept.as_str());
        }
    }
}
