//! Several runs laid over each other. What is shown here is no test of significance: that is
//! `compare`'s.

use super::block::{Block, Plot, Row, Section, Table};
use super::distribution::{self, Curve};
use crate::measure::latency::Latency;
use crate::measure::model::Report;
use crate::measure::verdict::Verdict;
use crate::quantity::format_count;
use crate::report::steps::steps;
use crate::report::text::{amount, latency, percent, size, span};
use crate::svg::{Axis, Chart, Line, Scale, Stroke, Unit};

const STEPS_MAX: usize = 240;

/// One figure of a report.
type Read = fn(&Report) -> u64;

/// A table with a column for each run, and their curves.
///
/// # Errors
/// A sentence about a histogram that cannot be read.
pub fn sections(runs: &[(&str, &Report)]) -> Result<Vec<Section>, String> {
    let mut blocks = vec![Block::Table(figures(runs))];
    if let Some(warning) = difference(runs) {
        blocks.insert(0, Block::Text(warning));
    }
    let mut curves = Vec::new();
    for (name, report) in runs {
        if let Some(text) = report.histograms.get("response") {
            curves.push(Curve {
                name: (*name).to_owned(),
                latency: Latency::decode(text).map_err(|error| format!("{name}: {error}"))?,
                stroke: Stroke::Solid,
            });
        }
    }
    let mut plots = Vec::new();
    if !curves.is_empty() {
        let plot = distribution::plot("Response time by percentile", &curves);
        plots.push(Block::Plot(plot));
    }
    plots.extend(over_time(runs)?.map(Block::Plot));
    let all = [
        Section::unless_empty("Figures", blocks),
        Section::unless_empty("Latency", plots),
    ];
    Ok(all.into_iter().flatten().collect())
}

/// Whether the runs can be compared at all.
fn difference(runs: &[(&str, &Report)]) -> Option<String> {
    let kind = |report: &Report| {
        (
            report.mode.to_string(),
            report.loop_model.to_string(),
            report.config.message_size_bytes,
        )
    };
    let (_, first) = runs.first()?;
    runs.iter()
        .any(|(_, report)| kind(report) != kind(first))
        .then(|| {
            "These runs differ in mode, loop model or message size: their figures stand beside \
             each other, but they do not measure the same thing."
                .to_owned()
        })
}

/// The rows of a table with a column for each run.
struct Rows<'a> {
    runs: &'a [(&'a str, &'a Report)],
    rows: Vec<Row>,
}

impl Rows<'_> {
    /// Adds a row, unless no run has a value for it.
    fn push(&mut self, name: &str, read: impl Fn(&Report) -> Option<String>) {
        let runs = self.runs.iter();
        let cells: Vec<Option<String>> = runs.map(|(_, report)| read(report)).collect();
        if cells.iter().any(Option::is_some) {
            let mut row = vec![name.to_owned()];
            row.extend(cells.into_iter().map(|cell| cell.unwrap_or("–".to_owned())));
            self.rows.push(Row::new(row));
        }
    }
}

fn figures(runs: &[(&str, &Report)]) -> Table {
    let mut head = vec![String::new()];
    head.extend(runs.iter().map(|(name, _)| (*name).to_owned()));
    let mut rows = Rows {
        runs,
        rows: Vec::new(),
    };
    settings(&mut rows);
    results(&mut rows);
    let has = |verdict| runs.iter().any(|(_, report)| report.verdict == verdict);
    let note = if has(Verdict::Invalid) {
        "A run that is INVALID is not to be compared with anything."
    } else {
        "Whether a difference is more than chance needs several runs of each: see `compare`."
    };
    Table {
        head,
        rows: rows.rows,
        note: note.to_owned(),
        ..Table::default()
    }
}

/// What was asked for, behind the verdict.
fn settings(rows: &mut Rows<'_>) {
    rows.push("verdict", |report| Some(report.verdict.as_str().to_owned()));
    rows.push("mode", |report| {
        Some(match report.loop_model.as_ref() {
            "none" => report.mode.to_string(),
            model => format!("{}, {model} loop", report.mode),
        })
    });
    rows.push("connections", |report| {
        Some(format_count(u64::from(report.config.connections)))
    });
    rows.push("message size", |report| {
        Some(size(report.config.message_size_bytes as f64).joined())
    });
    rows.push("measured", |report| Some(span(report.duration_s)));
    rows.push("asked for", |report| {
        let rate = report.target_per_second?;
        Some(amount(rate, "/s").joined())
    });
}

/// What came of it.
fn results(rows: &mut Rows<'_>) {
    rows.push("achieved", |report| {
        (report.mode != "idle").then(|| amount(report.messages_per_second, "/s").joined())
    });
    let reads: [(&str, Read); 6] = [
        ("response p50", |report| report.latency_ns.response.p50),
        ("response p90", |report| report.latency_ns.response.p90),
        ("response p99", |report| report.latency_ns.response.p99),
        ("response p99.9", |report| report.latency_ns.response.p999),
        ("response p99.99", |report| report.latency_ns.response.p9999),
        ("response, largest", |report| report.latency_ns.response.max),
    ];
    for (name, read) in reads {
        rows.push(name, |report| {
            let is_measured = report.latency_ns.response.count > 0;
            is_measured.then(|| latency(read(report) as f64).joined())
        });
    }
    rows.push("failures", |report| {
        Some(format_count(report.errors.values().sum()))
    });
    rows.push("server CPU, busiest thread", |report| {
        let share = report.server.as_ref()?.busy_share?;
        Some(percent(share).joined())
    });
    rows.push("messages per server CPU-second", |report| {
        let rate = report.server.as_ref()?.messages_per_cpu_second?;
        Some(amount(rate, "").joined())
    });
    rows.push("generator CPU, busiest thread", |report| {
        Some(percent(report.generator.cpu_share?).joined())
    });
}

/// The 99th percentile of every second.
fn over_time(runs: &[(&str, &Report)]) -> Result<Option<Plot>, String> {
    let (mut lines, mut end) = (Vec::new(), 0.0f64);
    for (index, (name, report)) in runs.iter().enumerate() {
        let steps = steps(&report.series, STEPS_MAX)?;
        let points = steps.iter().map(|step| {
            let value = match step.response.count() {
                0 => f64::NAN,
                _ => step.response.quantile(0.99) as f64,
            };
            (step.middle_s(), value)
        });
        lines.push(Line::new(name, index, points.collect()));
        end = steps.last().map_or(end, |step| end.max(step.to_s));
    }
    let values = lines
        .iter()
        .flat_map(|line| &line.points)
        .map(|point| point.1);
    let y = Axis::around("99% response", Scale::Log, Unit::Nanoseconds, values);
    let caption = "99th percentile of every second";
    let chart = Chart {
        title: caption.to_owned(),
        description: format!("One line for each of {} runs", runs.len()),
        x: Axis::from_to(
            "time since the load began",
            Scale::Linear,
            Unit::Seconds,
            0.0,
            end,
        ),
        y,
        lines,
        bands: Vec::new(),
        rules: Vec::new(),
        hints: Vec::new(),
    };
    // The numbers stand with each run further down.
    Ok((end > 0.0).then(|| Plot::new(caption, &chart, Table::default())))
}
