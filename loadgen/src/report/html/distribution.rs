//! Latencies: the curve over percentiles and the table of all of them.

use super::block::{Block, Plot, Row, Table};
use crate::measure::figures::Percentiles;
use crate::measure::latency::Latency;
use crate::measure::model::Report;
use crate::quantity::format_count;
use crate::report::rows::{
    LatencyRow, MARK_NOTE, PERCENTILE_HEADS, latency_rows, percentile_cells,
};
use crate::report::text::latency;
use crate::svg::{Axis, Chart, Line, Rule, Scale, Stroke, Unit};

/// Points of a curve between a quantile and the one half as far from 1.
const POINTS_PER_HALF_DISTANCE: u32 = 8;
/// The curve ends here at the latest.
const QUANTILE_MAX: f64 = 0.999_99;
/// A percentile with fewer values above it is left to chance.
const ABOVE_MIN: f64 = 10.0;
/// From this ratio of largest to smallest on, the values need a logarithmic axis.
const LOG_FROM: f64 = 12.0;
/// Quantiles of the table below the curve.
const LISTED: [f64; 10] = [
    0.0, 0.5, 0.75, 0.9, 0.95, 0.99, 0.995, 0.999, 0.9999, 0.99999,
];

/// A latency with its whole histogram.
pub struct Curve {
    /// What it is called.
    pub name: String,
    /// Its values.
    pub latency: Latency,
    /// How it is stroked.
    pub stroke: Stroke,
}

/// The curve and the table.
///
/// # Errors
/// A sentence about a histogram that cannot be read.
pub fn blocks(report: &Report) -> Result<Vec<Block>, String> {
    let rows = latency_rows(report);
    if rows.is_empty() {
        return Ok(Vec::new());
    }
    let mut blocks = Vec::new();
    let curves = curves(report, &rows)?;
    if !curves.is_empty() {
        let explanation = match report.loop_model.as_ref() {
            "open" => {
                "Response counts from when a message was due, service from when it was really \
                 sent: where the two part, messages waited in the generator or its sockets."
            }
            _ => "Each point: that share of all values does not exceed the latency.",
        };
        blocks.push(Block::Text(explanation.to_owned()));
        blocks.push(Block::Plot(plot("Latency by percentile", &curves)));
    }
    blocks.push(Block::Table(table(&rows)));
    Ok(blocks)
}

/// What is drawn: what the mode is about, and not how connections were opened, unless that is it.
fn curves(report: &Report, rows: &[LatencyRow<'_>]) -> Result<Vec<Curve>, String> {
    let wanted: &[&str] = match report.mode.as_ref() {
        "echo" | "run" => &["response", "service"],
        "fanout" => &["response", "fanout_last", "fanout_first"],
        "churn" => &["response", "recover", "connect", "tls", "upgrade"],
        "idle" => &["connect", "tls", "upgrade", "ping"],
        _ => &["response", "connect", "tls", "upgrade", "first_message"],
    };
    let mut curves = Vec::new();
    for name in wanted {
        let row = rows.iter().find(|row| row.histogram == *name);
        let (Some(row), Some(text)) = (row, report.histograms.get(*name)) else {
            continue;
        };
        curves.push(Curve {
            name: row.name.to_owned(),
            latency: Latency::decode(text).map_err(|error| format!("{name}: {error}"))?,
            stroke: if *name == "service" {
                Stroke::Dashed
            } else {
                Stroke::Solid
            },
        });
    }
    Ok(curves)
}

/// Curves over the percentiles, each in a colour of its own.
pub fn plot(caption: &str, curves: &[Curve]) -> Plot {
    let lines: Vec<Line> = curves
        .iter()
        .enumerate()
        .map(|(index, curve)| {
            Line::new(&curve.name, index, points(&curve.latency)).stroked(curve.stroke)
        })
        .collect();
    let values = || {
        lines
            .iter()
            .flat_map(|line| &line.points)
            .map(|point| point.1)
    };
    let least = values().fold(f64::INFINITY, f64::min);
    let most = values().fold(0.0, f64::max);
    let scale = if most / least.max(1.0) >= LOG_FROM {
        Scale::Log
    } else {
        Scale::Linear
    };
    let ends = lines
        .iter()
        .flat_map(|line| &line.points)
        .map(|point| point.0);
    let count = curves.iter().map(|curve| curve.latency.count()).min();
    let reliable = 1.0 - ABOVE_MIN / count.unwrap_or(0).max(1) as f64;
    let is_inside = (0.9..QUANTILE_MAX).contains(&reliable);
    let chart = Chart {
        title: caption.to_owned(),
        description: description(curves),
        x: Axis::around("percentile", Scale::Nines, Unit::Quantile, ends),
        y: Axis::around("latency", scale, Unit::Nanoseconds, values()),
        rules: is_inside
            .then(|| Rule {
                at: reliable,
                is_of_x: true,
                text: "fewer than 10 values beyond".to_owned(),
            })
            .into_iter()
            .collect(),
        bands: Vec::new(),
        hints: Vec::new(),
        lines,
    };
    Plot::new(caption, &chart, listed(curves))
}

fn description(curves: &[Curve]) -> String {
    let parts: Vec<String> = curves
        .iter()
        .map(|curve| {
            format!(
                "{}: median {}, 99% {}, largest {}",
                curve.name,
                latency(curve.latency.quantile(0.5) as f64).joined(),
                latency(curve.latency.quantile(0.99) as f64).joined(),
                latency(curve.latency.max() as f64).joined()
            )
        })
        .collect();
    parts.join("; ")
}

fn points(latency: &Latency) -> Vec<(f64, f64)> {
    let Some(histogram) = latency.histogram() else {
        return Vec::new();
    };
    // Beyond the last value there is nothing to draw.
    let end = (1.0 - 1.0 / latency.count().max(2) as f64).min(QUANTILE_MAX);
    let mut points: Vec<(f64, f64)> = histogram
        .iter_quantiles(POINTS_PER_HALF_DISTANCE)
        .map(|step| (step.quantile_iterated_to(), step.value_iterated_to()))
        .take_while(|(quantile, _)| *quantile < end)
        .map(|(quantile, value)| (quantile, value.min(latency.max()).max(1) as f64))
        .collect();
    points.push((end, latency.quantile(end).max(1) as f64));
    points
}

fn listed(curves: &[Curve]) -> Table {
    let mut head = vec!["percentile".to_owned()];
    head.extend(curves.iter().map(|curve| curve.name.clone()));
    let mut rows: Vec<Row> = Vec::new();
    for quantile in LISTED {
        let cells = curves.iter().map(|curve| {
            let above = curve.latency.count() as f64 * (1.0 - quantile);
            let text = latency(curve.latency.quantile(quantile) as f64).joined();
            match above {
                _ if above < 1.0 - 1e-9 => "–".to_owned(),
                _ if above < ABOVE_MIN - 1e-6 => format!("{text}*"),
                _ => text,
            }
        });
        let mut row = vec![if quantile == 0.0 {
            "least".to_owned()
        } else {
            exact_percent(quantile)
        }];
        row.extend(cells);
        rows.push(Row::new(row));
    }
    let mut last = vec!["largest".to_owned()];
    let largest = |curve: &Curve| latency(curve.latency.max() as f64).joined();
    last.extend(curves.iter().map(largest));
    rows.push(Row::new(last));
    Table {
        head,
        rows,
        note: note(),
        ..Table::default()
    }
}

/// `percent` has three digits, which would make 99.999 of 99.99.
fn exact_percent(quantile: f64) -> String {
    let text = format!("{:.3}", quantile * 100.0);
    let text = text.trim_end_matches('0').trim_end_matches('.');
    format!("{text}%")
}

/// All latencies of a report.
fn table(rows: &[LatencyRow<'_>]) -> Table {
    let mut head = vec!["latency", "count", "mean"];
    head.extend(PERCENTILE_HEADS);
    let is_marked = rows.iter().any(LatencyRow::is_marked);
    Table {
        head: head.into_iter().map(str::to_owned).collect(),
        rows: rows
            .iter()
            .map(|row| Row {
                cells: cells(row.name, row.percentiles),
                meaning: row.meaning.to_owned(),
                ..Row::default()
            })
            .collect(),
        note: if is_marked { note() } else { String::new() },
        ..Table::default()
    }
}

/// The cells of a row of percentiles.
pub fn cells(name: &str, percentiles: &Percentiles) -> Vec<String> {
    let mut cells = vec![
        name.to_owned(),
        format_count(percentiles.count),
        latency(percentiles.mean).joined(),
    ];
    let write = |ns: u64| latency(ns as f64).joined();
    cells.extend(percentile_cells(percentiles, "*", write));
    cells
}

/// Below a table in which a percentile is marked.
fn note() -> String {
    format!("* {MARK_NOTE}")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::text::percent;

    #[test]
    fn quantiles_are_not_rounded_away() {
        assert_eq!(exact_percent(0.99999), "99.999%");
        assert_eq!(exact_percent(0.5), "50%");
        assert_ne!(percent(0.99999).joined(), exact_percent(0.99999));
    }

    #[test]
    fn a_curve_never_falls_and_ends_at_its_last_value() {
        let mut latency = Latency::default();
        for value in 1..=5_000u64 {
            latency.record(value * value);
        }
        let points = points(&latency);
        assert!(points.len() > 30);
        for pair in points.windows(2) {
            assert!(pair[0].0 < pair[1].0 && pair[0].1 <= pair[1].1, "{pair:?}");
        }
        let end = points.last().expect("points").0;
        assert!((end - (1.0 - 1.0 / 5_000.0)).abs() < 1e-9);
        assert!(super::points(&Latency::default()).is_empty());
    }
}
