//! What a person sees of a selftest: a table per case, and a closing line.

use std::fmt::Write as _;

use crate::selftest::check::Check;
use crate::selftest::{CaseResult, Summary};

/// Columns are as wide as this, or as their widest cell.
const FIGURE_WIDTH: usize = 52;
const CELL_WIDTH: usize = 12;

fn word(is_ok: bool) -> &'static str {
    if is_ok { "ok  " } else { "FAIL" }
}

/// One case with all its checks.
pub fn case(result: &CaseResult) -> String {
    let mut text = String::new();
    // Writing to a string cannot fail.
    let _ = writeln!(
        text,
        "{} {}: {}  ({:.1} s)",
        word(result.is_ok),
        result.name,
        result.title,
        result.duration_s
    );
    if let Some(error) = &result.error {
        let _ = writeln!(text, "     {error}");
    }
    text.push_str(&rows(&result.checks));
    if !result.remark.is_empty() {
        let _ = writeln!(text, "     {}", result.remark);
    }
    text
}

/// Sentences are cut here; the JSON has them whole.
const CELL_WIDTH_MAX: usize = 40;

fn cut(text: &str) -> String {
    if text.chars().count() <= CELL_WIDTH_MAX {
        return text.to_owned();
    }
    let kept: String = text.chars().take(CELL_WIDTH_MAX - 1).collect();
    format!("{kept}…")
}

fn rows(checks: &[Check]) -> String {
    let width = |read: fn(&Check) -> &str, least: usize| {
        let widths = checks.iter().map(|check| cut(read(check)).chars().count());
        widths.max().unwrap_or(0).max(least)
    };
    let figure = width(|check| &check.figure, FIGURE_WIDTH);
    let expected = width(|check| &check.expected, CELL_WIDTH);
    let measured = width(|check| &check.measured, CELL_WIDTH);
    let mut text = String::new();
    for check in checks {
        let _ = writeln!(
            text,
            "     {} {:figure$}  {:>expected$}  {:>measured$}  {}",
            word(check.is_ok),
            check.figure,
            cut(&check.expected),
            cut(&check.measured),
            check.bound,
        );
    }
    text
}

/// Which columns are which.
pub fn head() -> String {
    format!(
        "          {:FIGURE_WIDTH$}  {:>CELL_WIDTH$}  {:>CELL_WIDTH$}  {}\n",
        "figure", "expected", "measured", "bound"
    )
}

/// The closing line.
pub fn summary(summary: &Summary) -> String {
    let mut text = format!(
        "\nselftest ({}): {} passed, {} failed, {:.0} s",
        summary.form, summary.passed, summary.failed, summary.duration_s
    );
    if summary.repeated > 0 {
        let _ = write!(
            text,
            "; {} repeated because times were off",
            summary.repeated
        );
    }
    if summary.is_canary {
        text.push_str("; every scripted server did something else than its case expects");
    }
    text.push('\n');
    text
}
