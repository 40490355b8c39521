//! A sweep as a table, as CSV, as Markdown and as JSON, and what its curve says.

use std::fmt::Write as _;

use serde::Serialize;

use crate::commands::vary::Vary;
use crate::config::{Config, Mode};
use crate::judge::metric::Unit;
use crate::measure::model::Report;
use crate::measure::verdict::Verdict;
use crate::quantity::format_ns;
use crate::statistics::median;
use crate::statistics::scaling::{self, LOADS_MIN, Scaling};

/// Name and version of the JSON layout.
const SCHEMA: &str = "fanwire-loadgen-sweep/1";

/// The runs of one value: medians over the repetitions. Field names are those of the JSON.
#[derive(Clone, Debug, Serialize)]
pub struct Point {
    pub value: f64,
    pub runs: usize,
    /// Replies per second; fan-out: deliveries.
    pub achieved_per_second: f64,
    pub p50_ns: Option<f64>,
    pub p90_ns: Option<f64>,
    pub p99_ns: Option<f64>,
    pub p999_ns: Option<f64>,
    pub max_ns: Option<f64>,
    pub server_busy_share: Option<f64>,
    pub generator_busy_share: Option<f64>,
    /// The worst.
    pub verdict: Verdict,
    pub verdict_reasons: Vec<String>,
    pub thresholds_not_met: Vec<String>,
}

impl Point {
    /// Of at least one run.
    pub fn of(value: f64, reports: &[Report]) -> Point {
        let middle = |read: &dyn Fn(&Report) -> Option<f64>| {
            median(&reports.iter().filter_map(read).collect::<Vec<f64>>())
        };
        let latency = |read: fn(&crate::measure::figures::Percentiles) -> u64| {
            middle(&|report| {
                let response = &report.latency_ns.response;
                (response.count > 0).then(|| read(response) as f64)
            })
        };
        let verdict = reports.iter().map(|report| report.verdict).max();
        let verdict = verdict.unwrap_or(Verdict::Invalid);
        let worst = reports.iter().find(|report| report.verdict == verdict);
        let missed = reports.iter().flat_map(|report| &report.thresholds);
        Point {
            value,
            runs: reports.len(),
            achieved_per_second: middle(&|report| Some(throughput(report))).unwrap_or(0.0),
            p50_ns: latency(|response| response.p50),
            p90_ns: latency(|response| response.p90),
            p99_ns: latency(|response| response.p99),
            p999_ns: latency(|response| response.p999),
            max_ns: latency(|response| response.max),
            server_busy_share: middle(&|report| report.server.as_ref()?.busy_share),
            generator_busy_share: middle(&|report| report.generator.cpu_share),
            verdict,
            verdict_reasons: worst.map_or_else(Vec::new, |worst| worst.verdict_reasons.clone()),
            thresholds_not_met: missed
                .filter(|result| !result.is_met)
                .map(|result| format!("{} ({})", result.expression, result.text))
                .collect(),
        }
    }
}

fn throughput(report: &Report) -> f64 {
    let fanout = report.fanout.as_ref();
    fanout.map_or(report.messages_per_second, |fanout| {
        fanout.deliveries_per_second
    })
}

/// The universal scalability law, fitted. Field names are those of the JSON.
#[derive(Clone, Debug, Serialize)]
pub struct Diagnosis {
    /// Throughput of one alone.
    pub single_per_second: f64,
    /// σ: share of the work that queues for something shared.
    pub sigma: f64,
    /// κ: what each pair costs.
    pub kappa: f64,
    pub peak_load: Option<f64>,
    pub peak_per_second: Option<f64>,
    /// Largest distance of a point from the curve, as a share.
    pub error_max: f64,
    #[serde(skip)]
    pub law: Scaling,
}

/// All values. Field names are those of the JSON.
#[derive(Clone, Debug, Serialize)]
pub struct Sweep {
    pub schema: &'static str,
    pub mode: &'static str,
    pub url: String,
    pub over: &'static str,
    pub unit: &'static str,
    pub repeat: u32,
    pub points: Vec<Point>,
    /// Runs that could not begin, and why.
    pub failures: Vec<String>,
    /// Over connections or subscribers, with enough values.
    pub scalability: Option<Diagnosis>,
    pub exit_code: u8,
    #[serde(skip)]
    pub vary: Vary,
}

const COLUMNS: [&str; 10] = [
    "",
    "achieved",
    "p50",
    "p90",
    "p99",
    "p99.9",
    "max",
    "server cpu",
    "generator",
    "verdict",
];

impl Sweep {
    /// Adds what the curve says.
    pub fn new(
        config: &Config,
        vary: Vary,
        repeat: u32,
        points: Vec<Point>,
        exit_code: u8,
    ) -> Sweep {
        let is_scaled = matches!(vary, Vary::Connections | Vary::Subscribers);
        // With a rate the schedule decides the throughput (but a fan-out multiplies it).
        let is_free = config.rate.is_none() || config.mode == Mode::Fanout;
        let scalability = (is_scaled && is_free).then(|| diagnosis(&points)).flatten();
        Sweep {
            schema: SCHEMA,
            mode: config.mode.as_str(),
            url: config.target.url.clone(),
            over: vary.as_str(),
            unit: vary.unit(),
            repeat,
            points,
            failures: Vec::new(),
            scalability,
            exit_code,
            vary,
        }
    }

    fn rows(&self) -> Vec<[String; 10]> {
        let time = |ns: Option<f64>| ns.map_or("-".to_owned(), |ns| format_ns(ns.round() as u64));
        let share = |share: Option<f64>| {
            share.map_or("-".to_owned(), |share| {
                Unit::Share.format((share * 1e3).round() / 1e3)
            })
        };
        let mut rows = vec![COLUMNS.map(str::to_owned)];
        rows[0][0] = self.over.to_owned();
        for point in &self.points {
            let missed = if point.thresholds_not_met.is_empty() {
                ""
            } else {
                " · NOT MET"
            };
            rows.push([
                self.vary.format(point.value),
                Unit::PerSecond.format(point.achieved_per_second),
                time(point.p50_ns),
                time(point.p90_ns),
                time(point.p99_ns),
                time(point.p999_ns),
                time(point.max_ns),
                share(point.server_busy_share),
                share(point.generator_busy_share),
                format!("{}{missed}", point.verdict.as_str()),
            ]);
        }
        rows
    }

    /// The cells of the table: the head first.
    pub fn cells(&self) -> Vec<Vec<String>> {
        self.rows().into_iter().map(Vec::from).collect()
    }

    /// The table for a terminal, with a final newline.
    pub fn render(&self) -> String {
        let rows = self.rows();
        let width = |column: usize| {
            let widths = rows.iter().map(|row| row[column].chars().count());
            widths.max().unwrap_or(0)
        };
        let mut out = format!("sweep      {} {} over {}", self.mode, self.url, self.over);
        // Writing to a `String` does not fail.
        let _ = if self.repeat > 1 {
            writeln!(out, " (medians of {} runs)", self.repeat)
        } else {
            writeln!(out)
        };
        for row in &rows {
            for (column, cell) in row.iter().enumerate().take(9) {
                let _ = write!(out, "  {cell:>0$}", width(column));
            }
            let _ = writeln!(out, "  {}", row[9]);
        }
        for remark in self.remarks() {
            let _ = writeln!(out, "{remark}");
        }
        for line in self.diagnosis_lines() {
            let _ = writeln!(out, "{line}");
        }
        out
    }

    /// What must be known of single values.
    pub fn remarks(&self) -> Vec<String> {
        let of = |point: &Point| -> Vec<String> {
            let is_invalid = point.verdict == Verdict::Invalid;
            let reasons = point.verdict_reasons.iter().filter(|_| is_invalid);
            let notes = point.thresholds_not_met.iter().chain(reasons);
            let load = self.vary.format(point.value);
            notes.map(|note| format!("at {load}: {note}")).collect()
        };
        let failures = self.failures.iter();
        let failures = failures.map(|failure| format!("not run {failure}"));
        self.points.iter().flat_map(of).chain(failures).collect()
    }

    /// What the fitted law says, in sentences.
    pub fn diagnosis_lines(&self) -> Vec<String> {
        let Some(found) = &self.scalability else {
            return Vec::new();
        };
        let peak = match (found.peak_load, found.peak_per_second) {
            (Some(load), Some(rate)) => format!(
                "it would peak at {} {} with {}",
                self.vary.format(load),
                self.over,
                Unit::PerSecond.format(rate)
            ),
            _ => "it has no peak: nothing seen makes more load cost throughput".to_owned(),
        };
        let mut lines = vec![format!(
            "scaling    contention σ {:.4} · coherency κ {:.3e} · {peak}",
            found.sigma, found.kappa
        )];
        lines.push(format!(
            "           a diagnosis of the curve, not a proof: the law is off by {} at most",
            Unit::Share.format((found.error_max * 1e3).round() / 1e3)
        ));
        lines
    }

    /// Comma-separated values: raw numbers, units in the names of the columns.
    pub fn csv(&self) -> String {
        let mut out = format!(
            "{}_{},runs,achieved_per_second,p50_ns,p90_ns,p99_ns,p999_ns,max_ns,\
             server_busy_share,generator_busy_share,verdict\n",
            self.over.replace('-', "_"),
            self.unit
        );
        for point in &self.points {
            let figures = [
                point.p50_ns,
                point.p90_ns,
                point.p99_ns,
                point.p999_ns,
                point.max_ns,
                point.server_busy_share,
                point.generator_busy_share,
            ];
            let _ = write!(
                out,
                "{},{},{}",
                point.value, point.runs, point.achieved_per_second
            );
            for figure in figures {
                let _ = match figure {
                    Some(figure) => write!(out, ",{figure}"),
                    None => write!(out, ","),
                };
            }
            let _ = writeln!(out, ",{}", point.verdict.as_str());
        }
        out
    }

    /// The table as Markdown.
    pub fn markdown(&self) -> String {
        let mut rows = self.rows().into_iter();
        let head = rows.next().unwrap_or_default();
        let mut out = format!("| {} |\n|--:|{}---|\n", head.join(" | "), "--:|".repeat(8));
        for row in rows {
            let _ = writeln!(out, "| {} |", row.join(" | "));
        }
        for line in self.diagnosis_lines() {
            let text = line.strip_prefix("scaling").unwrap_or(&line).trim();
            let _ = write!(out, "\n{text}");
        }
        out.truncate(out.trim_end().len());
        out.push('\n');
        out
    }
}

fn diagnosis(points: &[Point]) -> Option<Diagnosis> {
    let pairs: Vec<(f64, f64)> = points
        .iter()
        .filter(|point| point.achieved_per_second > 0.0)
        .map(|point| (point.value, point.achieved_per_second))
        .collect();
    if pairs.len() < LOADS_MIN {
        return None;
    }
    let law = scaling::fit(&pairs)?;
    let peak_load = law.peak_load();
    Some(Diagnosis {
        single_per_second: law.single,
        sigma: law.contention,
        kappa: law.coherency,
        peak_load,
        peak_per_second: peak_load.map(|load| law.throughput(load)),
        error_max: law.error_max,
        law,
    })
}

#[cfg(test)]
pub mod testing {
    //! A made-up sweep.

    use super::*;
    use crate::judge::testing::{config, report};

    /// Over connections, by a known law.
    pub fn sweep() -> Sweep {
        let law = Scaling {
            single: 1_000.0,
            contention: 0.05,
            coherency: 0.001,
            error_max: 0.0,
        };
        let points = [1.0, 4.0, 16.0, 64.0, 256.0]
            .map(|load| {
                let mut report = report("echo");
                report.messages_per_second = law.throughput(load);
                report.latency_ns.response.count = 1_000;
                report.latency_ns.response.p50 = (load * 1e4) as u64;
                report.latency_ns.response.p90 = (load * 2e4) as u64;
                report.latency_ns.response.p99 = (load * 3e4) as u64;
                report.latency_ns.response.p999 = (load * 9e4) as u64;
                Point::of(load, &[report])
            })
            .to_vec();
        let config = config("echo ws://127.0.0.1/?a=<b>");
        Sweep::new(&config, Vary::Connections, 1, points, 0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::judge::testing::{config, report};

    #[test]
    fn the_law_behind_the_points_is_found() {
        let sweep = testing::sweep();
        let found = sweep.scalability.as_ref().expect("five loads");
        assert!((found.sigma - 0.05).abs() < 1e-6, "{found:?}");
        let text = sweep.render();
        assert!(text.contains("it would peak at 31 connections"), "{text}");
        assert!(text.contains("not a proof"), "{text}");
        // A schedule decides the throughput: there is no law to be found in it.
        let config = config("echo ws://127.0.0.1 -R 10");
        let scheduled = Sweep::new(&config, Vary::Connections, 1, sweep.points, 0);
        assert!(scheduled.scalability.is_none());
    }

    #[test]
    fn medians_and_the_worst_verdict_of_the_repetitions() {
        let mut reports = vec![report("echo"), report("echo"), report("echo")];
        for (report, rate) in reports.iter_mut().zip([30.0, 10.0, 20.0]) {
            report.messages_per_second = rate;
        }
        reports[1].verdict = Verdict::Suspect;
        reports[1].verdict_reasons = vec!["something".into()];
        let point = Point::of(5.0, &reports);
        assert_eq!((point.achieved_per_second, point.runs), (20.0, 3));
        assert_eq!((point.verdict, point.p50_ns), (Verdict::Suspect, None));
        assert_eq!(point.verdict_reasons, ["something"]);
    }

    #[test]
    fn every_csv_row_has_every_column() {
        let text = testing::sweep().csv();
        let columns: Vec<usize> = text.lines().map(|line| line.split(',').count()).collect();
        assert_eq!(columns, [11; 6]);
        assert!(text.starts_with("connections_count,runs,"), "{text}");
        assert!(text.contains("\n64,1,"), "{text}");
    }
}
