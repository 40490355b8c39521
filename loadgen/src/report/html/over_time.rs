//! The run second by second: rates, percentiles, failures, and where all values lay.

use super::block::{Block, Plot, Row, Table};
use crate::measure::model::Report;
use crate::quantity::format_count;
use crate::report::steps::{Step, steps};
use crate::report::text::{amount, latency, span};
use crate::svg::{Axis, Band, Chart, Column, HeatMap, Hint, Line, Rule, Scale, Stroke, Unit};

/// More points than this cannot be told apart.
const STEPS_MAX: usize = 240;
/// The heat map's columns are wider.
const COLUMNS_MAX: usize = 120;
/// Time goes to the right.
const TIME: &str = "time since the load began";

/// Names of lines, and the value of a step that each draws.
pub type Lines<'a> = Vec<(&'a str, &'a dyn Fn(&Step) -> f64)>;

/// Lines over time with what is common to all of them.
pub struct OverTime<'a> {
    /// The steps, in turn.
    pub steps: &'a [Step],
    /// What is drawn.
    pub caption: &'a str,
    /// Name of the vertical axis.
    pub label: &'a str,
    /// How it is scaled.
    pub scale: Scale,
    /// What its values are.
    pub unit: Unit,
    /// The lines: name and value of a step.
    pub lines: Lines<'a>,
    /// Name of a line that is dashed, since it often lies on another.
    pub dashed: &'a str,
    /// A value with a name.
    pub rule: Option<(f64, String)>,
}

impl OverTime<'_> {
    /// Draws them; the first value is also what hints tell.
    pub fn plot(&self, write: &dyn Fn(f64) -> String) -> Plot {
        let lines: Vec<Line> = self
            .lines
            .iter()
            .enumerate()
            .map(|(index, (name, read))| {
                let points = self.steps.iter().map(|step| (step.middle_s(), read(step)));
                let line = Line::new(name, index, points.collect());
                if *name == self.dashed {
                    line.stroked(Stroke::Dashed)
                } else {
                    line
                }
            })
            .collect();
        let values = lines
            .iter()
            .flat_map(|line| &line.points)
            .map(|point| point.1);
        let ruled = self.rule.iter().map(|(value, _)| *value);
        let y = Axis::around(self.label, self.scale, self.unit, values.chain(ruled));
        let end = self.steps.last().map_or(1.0, |step| step.to_s);
        let chart = Chart {
            title: self.caption.to_owned(),
            description: format!("{} over {}", self.label, span(end)),
            x: Axis::from_to(TIME, Scale::Linear, Unit::Seconds, 0.0, end),
            y,
            bands: unmeasured(self.steps),
            rules: self
                .rule
                .iter()
                .map(|(at, text)| Rule {
                    at: *at,
                    is_of_x: false,
                    text: text.clone(),
                })
                .collect(),
            hints: self
                .steps
                .iter()
                .map(|step| Hint {
                    from_to: (step.from_s, step.to_s),
                    text: self.hint(step, write),
                })
                .collect(),
            lines,
        };
        Plot::new(self.caption, &chart, self.table(write))
    }

    /// All values of a step in one line.
    fn hint(&self, step: &Step, write: &dyn Fn(f64) -> String) -> String {
        let values = self.lines.iter().map(|(name, read)| {
            let value = cell(read(step), write);
            format!("{name} {value}")
        });
        let values: Vec<String> = values.collect();
        format!("{}: {}", span(step.to_s), values.join(", "))
    }

    /// All values of all steps.
    fn table(&self, write: &dyn Fn(f64) -> String) -> Table {
        let mut head = vec!["until".to_owned()];
        head.extend(self.lines.iter().map(|(name, _)| (*name).to_owned()));
        let row = |step: &Step| {
            let mut cells = vec![span(step.to_s)];
            let values = self.lines.iter().map(|(_, read)| read(step));
            cells.extend(values.map(|value| cell(value, write)));
            Row::new(cells)
        };
        Table {
            head,
            rows: self.steps.iter().map(row).collect(),
            ..Table::default()
        }
    }
}

/// A value, if there is one.
fn cell(value: f64, write: &dyn Fn(f64) -> String) -> String {
    match value.is_finite() {
        true => write(value),
        false => "–".to_owned(),
    }
}

/// The parts that were not measured.
fn unmeasured(steps: &[Step]) -> Vec<Band> {
    let mut bands = Vec::new();
    for run in steps.chunk_by(|left, right| left.is_measured == right.is_measured) {
        let (Some(first), Some(last)) = (run.first(), run.last()) else {
            continue;
        };
        if !first.is_measured {
            let name = if first.from_s < 1e-3 {
                "warm-up"
            } else {
                "drain"
            };
            bands.push(Band {
                from_to: (first.from_s, last.to_s),
                text: name.to_owned(),
            });
        }
    }
    // Nothing was measured at all: then the shade would tell nothing.
    if bands.len() == 1 && steps.iter().all(|step| !step.is_measured) {
        bands.clear();
    }
    bands
}

/// A percentile of a step; a gap where nothing came.
fn quantile(step: &Step, quantile: f64) -> f64 {
    match step.response.count() {
        0 => f64::NAN,
        _ => step.response.quantile(quantile) as f64,
    }
}

/// The plots.
///
/// # Errors
/// A sentence about a histogram that cannot be read.
pub fn blocks(report: &Report) -> Result<Vec<Block>, String> {
    let steps = steps(&report.series, STEPS_MAX)?;
    if steps.len() < 2 {
        return Ok(Vec::new());
    }
    let mut blocks = Vec::new();
    if steps.iter().any(|step| step.sent + step.received > 0) {
        blocks.push(Block::Plot(rates(report, &steps)));
    }
    if steps.iter().any(|step| step.response.count() > 0) {
        blocks.push(Block::Plot(percentiles(report, &steps)));
        blocks.push(Block::Plot(heat(report)?));
    }
    let measured = || steps.iter().filter(|step| step.is_measured);
    let open = || measured().map(|step| step.open);
    let has_failures = steps.iter().any(|step| step.failed > 0);
    if report.mode == "idle" || has_failures || open().min() != open().max() {
        blocks.push(Block::Plot(connections(&steps, has_failures)));
    }
    Ok(blocks)
}

fn rates(report: &Report, steps: &[Step]) -> Plot {
    let sent = |step: &Step| step.per_second(step.sent);
    let received = |step: &Step| step.per_second(step.received);
    let (sent_name, received_name) = match report.mode.as_ref() {
        "fanout" => ("published", "delivered"),
        "storm" | "churn" => ("begun", "completed"),
        _ => ("sent", "received"),
    };
    // In a fan-out the target is one of messages, far below the deliveries.
    let target = report.target_per_second.filter(|_| report.mode != "fanout");
    let lines: Lines<'_> = if report.mode == "fanout" {
        vec![(received_name, &received)]
    } else {
        vec![(received_name, &received), (sent_name, &sent)]
    };
    OverTime {
        steps,
        caption: if report.mode == "fanout" {
            "Deliveries per second"
        } else {
            "Rate"
        },
        label: "per second",
        scale: Scale::Linear,
        unit: Unit::Count,
        lines,
        dashed: sent_name,
        rule: target.map(|target| (target, "asked for".to_owned())),
    }
    .plot(&|value| amount(value, "/s").joined())
}

fn percentiles(report: &Report, steps: &[Step]) -> Plot {
    let p50 = |step: &Step| quantile(step, 0.5);
    let p99 = |step: &Step| quantile(step, 0.99);
    let max = |step: &Step| quantile(step, 1.0);
    OverTime {
        steps,
        caption: if report.mode == "fanout" {
            "Delivery latency by second"
        } else {
            "Response time by second"
        },
        label: "latency",
        scale: Scale::Log,
        unit: Unit::Nanoseconds,
        lines: vec![("median", &p50), ("99%", &p99), ("largest", &max)],
        dashed: "",
        rule: None,
    }
    .plot(&|value| latency(value).joined())
}

fn connections(steps: &[Step], has_failures: bool) -> Plot {
    let open = |step: &Step| step.open as f64;
    let failed = |step: &Step| step.failed as f64;
    let mut lines: Lines<'_> = vec![("open", &open)];
    if has_failures {
        lines.push(("failed", &failed));
    }
    OverTime {
        steps,
        caption: "Connections",
        label: "connections",
        scale: Scale::Linear,
        unit: Unit::Count,
        lines,
        dashed: "",
        rule: None,
    }
    .plot(&|value| amount(value, "").joined())
}

fn heat(report: &Report) -> Result<Plot, String> {
    let steps = steps(&report.series, COLUMNS_MAX)?;
    let columns = steps.iter().map(|step| {
        let values = step.response.histogram().map_or(Vec::new(), |histogram| {
            let values = histogram.iter_recorded();
            values
                .map(|value| (value.value_iterated_to() as f64, value.count_at_value()))
                .collect()
        });
        Column {
            from_to: (step.from_s, step.to_s),
            values,
            hint: format!(
                "{}: {} values, median {}, largest {}",
                span(step.to_s),
                format_count(step.response.count()),
                latency(step.response.quantile(0.5) as f64).joined(),
                latency(step.response.max() as f64).joined()
            ),
        }
    });
    let caption = "Where all values lay";
    let map = HeatMap {
        title: caption.to_owned(),
        description: "Darker cells hold more values, by the logarithm of their count, so that \
                      single outliers are seen"
            .to_owned(),
        x_label: TIME.to_owned(),
        y_label: "latency".to_owned(),
        unit: Unit::Nanoseconds,
        columns: columns.collect(),
    };
    // Its numbers are those of the plot before it.
    Ok(Plot::new(caption, &map, Table::default()))
}
