//! The report as Markdown tables, for pull requests and wikis.

use std::fmt::{self, Write as _};

use crate::measure::figures::Percentiles;
use crate::measure::model::Report;
use crate::quantity::format_count;
use crate::report::rows::{MARK_NOTE, PERCENTILE_HEADS, latency_rows, percentile_cells};
use crate::report::text::{TimeUnit, percent};

/// The rule below the columns of [`columns`].
const RULE: &str = "---:|---:|---:|---:|---:|---:|---:";

/// Renders one or more runs; several begin with a table in which each is a row.
///
/// # Errors
/// Never: writing to a `String` does not fail.
pub fn render(runs: &[(&str, &Report)], unit: TimeUnit) -> Result<String, fmt::Error> {
    let mut out = String::new();
    if runs.len() > 1 {
        overview(runs, unit, &mut out)?;
    }
    for (name, report) in runs {
        run(name, report, unit, runs.len() > 1, &mut out)?;
    }
    Ok(out)
}

/// A text in a cell: peers and command lines decide what it holds.
pub fn cell(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for character in text.chars() {
        match character {
            '|' | '\\' | '`' | '*' | '_' | '[' | ']' | '~' => {
                out.push('\\');
                out.push(character);
            }
            '<' => out.push_str("&lt;"),
            '&' => out.push_str("&amp;"),
            _ if character.is_control() => out.push(' '),
            _ => out.push(character),
        }
    }
    out
}

/// Heads of the columns that [`cells`] fills.
fn columns() -> String {
    format!("count | {}", PERCENTILE_HEADS.join(" | "))
}

fn cells(percentiles: &Percentiles, unit: TimeUnit) -> String {
    let values = percentile_cells(percentiles, "\\*", |ns| unit.write(ns));
    format!(
        "{} | {}",
        format_count(percentiles.count),
        values.join(" | ")
    )
}

fn overview(runs: &[(&str, &Report)], unit: TimeUnit, out: &mut String) -> fmt::Result {
    writeln!(out, "| run | verdict | per second | {} |", columns())?;
    writeln!(out, "|---|---|---:|{RULE}|")?;
    for (name, report) in runs {
        writeln!(
            out,
            "| {} | {} | {} | {} |",
            cell(name),
            report.verdict.as_str(),
            format_count(report.messages_per_second.round() as u64),
            cells(&report.latency_ns.response, unit)
        )?;
    }
    writeln!(out)
}

fn run(
    name: &str,
    report: &Report,
    unit: TimeUnit,
    is_named: bool,
    out: &mut String,
) -> fmt::Result {
    let title = format!("{} {}", report.mode, report.url);
    let title = if is_named {
        format!("{}: {}", cell(name), cell(&title))
    } else {
        cell(&title)
    };
    writeln!(out, "### {title}\n")?;
    verdict(report, out)?;
    writeln!(out, "| latency | {} |", columns())?;
    writeln!(out, "|---|{RULE}|")?;
    let mut is_marked = false;
    for row in latency_rows(report) {
        is_marked |= row.is_marked();
        writeln!(
            out,
            "| {} | {} |",
            cell(row.name),
            cells(row.percentiles, unit)
        )?;
    }
    if is_marked {
        writeln!(out, "\n\\* {MARK_NOTE}")?;
    }
    figures(report, out)?;
    thresholds(report, out)?;
    failures(report, out)?;
    for part in &report.parts {
        let name = match part.stage.as_str() {
            "" => part.name.clone(),
            stage => format!("{} / {stage}", part.name),
        };
        writeln!(out)?;
        run(&name, &part.report, unit, true, out)?;
    }
    writeln!(out)
}

fn verdict(report: &Report, out: &mut String) -> fmt::Result {
    let rate = format_count(report.messages_per_second.round() as u64);
    let target = report.target_per_second.map_or(String::new(), |target| {
        format!(" of {}/s", format_count(target.round() as u64))
    });
    writeln!(
        out,
        "**{}**: {rate}/s{target}, {} loop, {:.0} s measured\n",
        report.verdict.as_str(),
        report.loop_model,
        report.duration_s
    )?;
    for reason in &report.verdict_reasons {
        writeln!(out, "- because {}", cell(reason))?;
    }
    if report.verdict_reasons.is_empty() {
        Ok(())
    } else {
        writeln!(out)
    }
}

fn figures(report: &Report, out: &mut String) -> fmt::Result {
    let connections = &report.connections;
    let messages = &report.messages;
    writeln!(out, "\n| figure | value |\n|---|---|")?;
    let mut figure = |name: &str, value: String| writeln!(out, "| {name} | {value} |");
    figure(
        "connections asked / open / upgraded / served / alive",
        [
            connections.asked,
            connections.open,
            connections.upgraded,
            connections.served,
            connections.alive,
        ]
        .map(format_count)
        .join(" / "),
    )?;
    figure(
        "sent = received + lost + in flight",
        format!(
            "{} = {} + {} + {}",
            format_count(messages.sent),
            format_count(messages.received),
            format_count(messages.lost),
            format_count(messages.in_flight)
        ),
    )?;
    figure(
        "duplicates / reordered / corrupt / unsolicited",
        [
            messages.duplicates,
            messages.reordered,
            messages.corrupt,
            messages.unsolicited,
        ]
        .map(format_count)
        .join(" / "),
    )?;
    if let Some(share) = report.generator.cpu_share {
        figure("generator CPU, busiest thread", percent(share).joined())?;
    }
    let server = report.server.as_ref();
    if let Some(share) = server.and_then(|server| server.busy_share) {
        figure("server CPU, busiest thread", percent(share).joined())?;
    }
    if let Some(rate) = server.and_then(|server| server.messages_per_cpu_second) {
        figure(
            "messages per server CPU-second",
            format_count(rate.round() as u64),
        )?;
    }
    Ok(())
}

fn thresholds(report: &Report, out: &mut String) -> fmt::Result {
    if report.thresholds.is_empty() {
        return Ok(());
    }
    writeln!(out, "\n| threshold | measured | met |\n|---|---|---|")?;
    for threshold in &report.thresholds {
        writeln!(
            out,
            "| {} | {} | {} |",
            cell(&threshold.expression),
            cell(&threshold.text),
            if threshold.is_met { "yes" } else { "**no**" }
        )?;
    }
    Ok(())
}

fn failures(report: &Report, out: &mut String) -> fmt::Result {
    if report.errors.is_empty() {
        return Ok(());
    }
    writeln!(out, "\n| error | count | first of them |\n|---|---:|---|")?;
    for (kind, count) in &report.errors {
        let example = report.error_examples.get(kind).map_or("", String::as_str);
        writeln!(
            out,
            "| {} | {} | {} |",
            cell(kind),
            format_count(*count),
            cell(example)
        )?;
    }
    Ok(())
}
