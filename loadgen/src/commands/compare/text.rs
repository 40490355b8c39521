//! A comparison as a table, as Markdown and as JSON.

use std::fmt::Write as _;

use serde::Serialize;

use crate::judge::headlines::{Headline, Setting};
use crate::statistics::comparison::{Better, Compared, Figure, Finding, RUNS_MIN};

/// Name and version of the JSON layout.
pub const SCHEMA: &str = "fanwire-loadgen-compare/1";

/// Two sets of runs, compared. Field names are those of the JSON.
#[derive(Debug, Serialize)]
pub struct Comparison {
    pub schema: &'static str,
    pub base_runs: usize,
    pub new_runs: usize,
    /// Fewer prove nothing.
    pub has_enough_runs: bool,
    /// What the runs have in common.
    pub settings: Vec<Setting>,
    /// With `--force`: in what they differ nevertheless.
    pub differences: Vec<String>,
    pub regression_limit: Option<f64>,
    pub figures: Vec<Line>,
    pub exit_code: u8,
}

/// One figure.
#[derive(Debug, Serialize)]
pub struct Line {
    pub name: &'static str,
    /// `nanoseconds`, `per_second`, `share`, `count` or `bytes`.
    pub unit: &'static str,
    pub is_lower_better: bool,
    /// Medians.
    pub base: f64,
    pub new: f64,
    /// New over base.
    pub ratio: Option<f64>,
    pub ratio_low: Option<f64>,
    pub ratio_high: Option<f64>,
    /// Corrected for the number of tested figures.
    pub p: Option<f64>,
    /// `significant`, `not_significant`, `too_few_runs` or `not_tested`.
    pub finding: &'static str,
    pub worse_by: Option<f64>,
    pub is_regression: bool,
    pub base_values: Vec<f64>,
    pub new_values: Vec<f64>,
    #[serde(skip)]
    shown: [String; 5],
}

impl Line {
    /// Of a figure and what was found about it.
    pub fn new(
        headline: &Headline,
        figure: Figure,
        compared: Compared,
        limit: Option<f64>,
    ) -> Line {
        let is_regression = limit.is_some_and(|limit| compared.is_regression(limit));
        Line {
            name: headline.name,
            unit: headline.unit.as_str(),
            is_lower_better: headline.better == Better::Lower,
            base: compared.base,
            new: compared.new,
            ratio: compared.ratio.map(|ratio| ratio.value),
            ratio_low: compared.ratio.map(|ratio| ratio.low),
            ratio_high: compared.ratio.map(|ratio| ratio.high),
            p: compared.p,
            finding: match compared.finding {
                Finding::Significant => "significant",
                Finding::NotSignificant => "not_significant",
                Finding::TooFewRuns => "too_few_runs",
                Finding::NotTested => "not_tested",
            },
            worse_by: compared.worse_by,
            is_regression,
            shown: shown(headline, &compared, is_regression),
            base_values: figure.base,
            new_values: figure.new,
        }
    }
}

fn change(ratio: f64) -> String {
    format!("{:+.1}%", (ratio - 1.0) * 100.0)
}

/// Base, new, change, interval, and what follows.
fn shown(headline: &Headline, compared: &Compared, is_regression: bool) -> [String; 5] {
    let ratio = compared.ratio;
    let delta = ratio.map_or_else(|| "-".to_owned(), |ratio| change(ratio.value));
    let interval = ratio.map_or_else(String::new, |ratio| {
        format!("[{}, {}]", change(ratio.low), change(ratio.high))
    });
    let p = compared
        .p
        .map_or_else(String::new, |p| format!(" p={p:.4}"));
    let direction = match compared.worse_by {
        Some(worse) if worse > 0.0 => "worse",
        _ => "better",
    };
    let (delta, conclusion) = match compared.finding {
        Finding::Significant if is_regression => (delta, format!("REGRESSION{p}")),
        Finding::Significant => (delta, format!("{direction}{p}")),
        Finding::NotSignificant => ("~".to_owned(), format!("no difference shown{p}")),
        Finding::TooFewRuns => (delta, format!("~ (n<{RUNS_MIN})")),
        Finding::NotTested => (delta, "not tested".to_owned()),
    };
    [
        headline.unit.format(compared.base),
        headline.unit.format(compared.new),
        delta,
        interval,
        conclusion,
    ]
}

const COLUMNS: [&str; 6] = [
    "figure (median of runs)",
    "base",
    "new",
    "change",
    "95% interval",
    "finding",
];

impl Comparison {
    /// The table for a terminal, with a final newline.
    pub fn render(&self) -> String {
        let mut out = String::new();
        let common: Vec<String> = self
            .settings
            .iter()
            .filter(|setting| !matches!(setting.name, "fan-out settings" | "host"))
            .filter(|setting| !matches!(setting.value.as_str(), "no" | "none"))
            .map(|setting| format!("{} {}", setting.name, setting.value))
            .collect();
        // Writing to a `String` does not fail.
        let _ = writeln!(
            out,
            "compare    {} runs with {} runs · {}",
            self.base_runs,
            self.new_runs,
            common.join(" · ")
        );
        for difference in &self.differences {
            let _ = writeln!(out, "differs    {difference}");
        }
        let rows: Vec<[&str; 6]> = std::iter::once(COLUMNS)
            .chain(self.figures.iter().map(Line::cells))
            .collect();
        let width = |column: usize| rows.iter().map(|row| row[column].chars().count()).max();
        for row in &rows {
            let _ = write!(out, "  {:<1$}", row[0], width(0).unwrap_or(0));
            for (column, cell) in row.iter().enumerate().take(5).skip(1) {
                let _ = write!(out, "  {cell:>0$}", width(column).unwrap_or(0));
            }
            let _ = writeln!(out, "  {}", row[5]);
        }
        for remark in self.remarks() {
            let _ = writeln!(out, "{remark}");
        }
        out.lines()
            .map(|line| format!("{}\n", line.trim_end()))
            .collect()
    }

    fn remarks(&self) -> Vec<String> {
        let mut remarks = Vec::new();
        if !self.has_enough_runs {
            remarks.push(format!(
                "note       fewer than {RUNS_MIN} runs on a side show no difference to be more than \
                 noise; repeat with --runs 10"
            ));
        }
        let Some(limit) = self.regression_limit else {
            return remarks;
        };
        let limit = format!("{}%", limit * 100.0);
        let found: Vec<&Line> = self
            .figures
            .iter()
            .filter(|line| line.is_regression)
            .collect();
        if !self.has_enough_runs {
            remarks.push(format!(
                "result     whether a figure is worse by {limit} cannot be said with so few runs"
            ));
        } else if found.is_empty() {
            remarks.push(format!(
                "result     no figure is significantly worse by {limit} or more"
            ));
        }
        for line in found {
            let worse = line.worse_by.unwrap_or(0.0) * 100.0;
            remarks.push(format!(
                "result     {} is {worse:.1}% worse (limit {limit})",
                line.name
            ));
        }
        remarks
    }

    /// The same as Markdown.
    pub fn markdown(&self) -> String {
        let escaped = |cell: &str| cell.replace('|', "\\|");
        let mut out = format!("{} runs with {} runs\n\n", self.base_runs, self.new_runs);
        let _ = writeln!(out, "| {} |", COLUMNS.join(" | "));
        let _ = writeln!(out, "|---|--:|--:|--:|--:|---|");
        for line in &self.figures {
            let cells: Vec<String> = line.cells().iter().map(|cell| escaped(cell)).collect();
            let _ = writeln!(out, "| {} |", cells.join(" | "));
        }
        let remarks = self.remarks();
        if !remarks.is_empty() {
            out.push('\n');
        }
        for remark in remarks {
            let text = remark.split_once(' ').map_or("", |(_, text)| text.trim());
            let _ = writeln!(out, "- {text}");
        }
        out
    }
}

impl Line {
    fn cells(&self) -> [&str; 6] {
        let [base, new, change, interval, conclusion] = &self.shown;
        [self.name, base, new, change, interval, conclusion]
    }
}
