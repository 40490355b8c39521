//! The time series as comma-separated values: one row per second, units in the names of columns.

use std::fmt::Write as _;

use crate::measure::model::Report;
use crate::measure::series::Second;

/// Names of the columns, in the order of the cells.
const COLUMNS: [&str; 22] = [
    "at_s",
    "duration_s",
    "is_measured",
    "sent_messages",
    "received_messages",
    "sent_per_s",
    "received_per_s",
    "failed_connections",
    "open_connections",
    "response_count",
    "response_mean_ns",
    "response_p50_ns",
    "response_p90_ns",
    "response_p99_ns",
    "response_p999_ns",
    "response_p9999_ns",
    "response_max_ns",
    "late_p99_ns",
    "generator_cpu_share",
    "server_cpus_used",
    "server_busy_share",
    "server_rss_bytes",
];

/// Renders the rows of one or more runs; with several, the first column names the run.
pub fn render(runs: &[(&str, &Report)]) -> String {
    let has_names = runs.len() > 1;
    let mut out = String::new();
    if has_names {
        out.push_str("run,");
    }
    out.push_str(&COLUMNS.join(","));
    out.push('\n');
    for (name, report) in runs {
        for second in &report.series {
            if has_names {
                out.push_str(&quoted(name));
                out.push(',');
            }
            out.push_str(&cells(second).join(","));
            out.push('\n');
        }
    }
    out
}

/// RFC 4180: quoted where a comma, a quote or a line end would change the table.
fn quoted(text: &str) -> String {
    if text.contains([',', '"', '\n', '\r']) {
        format!("\"{}\"", text.replace('"', "\"\""))
    } else {
        text.to_owned()
    }
}

fn cells(second: &Second) -> [String; COLUMNS.len()] {
    let per_second = |count: u64| {
        let rate = count as f64 / second.duration_s;
        number(rate.is_finite().then_some(rate))
    };
    let response = &second.response;
    // Without values there is no percentile, and 0 would be one.
    let of_response = |ns: u64| match response.count {
        0 => String::new(),
        _ => ns.to_string(),
    };
    [
        number(Some(second.at_s)),
        number(Some(second.duration_s)),
        second.is_measured.to_string(),
        second.sent.to_string(),
        second.received.to_string(),
        per_second(second.sent),
        per_second(second.received),
        second.failed.to_string(),
        second.open.to_string(),
        response.count.to_string(),
        number((response.count > 0).then_some(response.mean)),
        of_response(response.p50),
        of_response(response.p90),
        of_response(response.p99),
        of_response(response.p999),
        of_response(response.p9999),
        of_response(response.max),
        second.late_p99_ns.to_string(),
        number(second.generator_cpu_share),
        number(second.server_cpus_used),
        number(second.server_busy_share),
        second
            .server_rss_bytes
            .map_or(String::new(), |bytes| bytes.to_string()),
    ]
}

/// At most three decimals; empty when it is not known.
fn number(value: Option<f64>) -> String {
    let mut out = String::new();
    if let Some(value) = value.filter(|value| value.is_finite()) {
        // Writing to a String does not fail.
        let _ = write!(out, "{value:.3}");
    }
    out
}
