//! The report for a person: verdict first, then latency, integrity and efficiency.

use std::fmt::{self, Write as _};

use crate::measure::figures::Percentiles;
use crate::measure::model::Report;
use crate::measure::verdict::Limiter;
use crate::quantity::{format_count, format_ns, format_size};
use crate::report::rows::{MARK_NOTE, PERCENTILE_HEADS, latency_rows, percentile_cells};
use crate::report::text::{TimeUnit, mark, nouns, one_line};
use crate::report::{churn, fanout};

/// Renders the whole report, each latency in the unit that suits it, with a final newline.
///
/// # Errors
/// Never: writing to a `String` does not fail.
pub fn render(report: &Report) -> Result<String, fmt::Error> {
    render_in(report, TimeUnit::Auto)
}

/// Renders the whole report with all latencies of the tables in one unit.
///
/// # Errors
/// Never: writing to a `String` does not fail.
pub fn render_in(report: &Report, unit: TimeUnit) -> Result<String, fmt::Error> {
    let mut out = String::new();
    head(report, &mut out)?;
    if let Some(figures) = &report.fanout {
        fanout::head(report, figures, &mut out)?;
    }
    if let Some(figures) = &report.churn {
        churn::head(figures, &mut out)?;
    }
    latencies(report, unit, &mut out)?;
    match &report.fanout {
        Some(figures) => fanout::integrity(figures, &mut out)?,
        None => integrity(report, &mut out)?,
    }
    if let Some(figures) = &report.churn {
        churn::integrity(figures, &mut out)?;
    }
    efficiency(report, &mut out)?;
    thresholds(report, &mut out)?;
    parts(report, unit, &mut out)?;
    for (kind, count) in &report.errors {
        let example = report.error_examples.get(kind).map_or("", String::as_str);
        writeln!(
            out,
            "error      {} × {}: {}",
            one_line(kind),
            format_count(*count),
            one_line(example)
        )?;
    }
    for (code, count) in &report.close_codes {
        let meaning = if *code == 1005 {
            " (no status code)"
        } else {
            ""
        };
        writeln!(
            out,
            "closed     by the server with {code}{meaning} × {}",
            format_count(*count)
        )?;
    }
    for note in &report.notes {
        writeln!(out, "note       {}", one_line(note))?;
    }
    for backend in deduplicated(&report.generator.backends) {
        writeln!(out, "backend    {}", one_line(backend))?;
    }
    Ok(out)
}

fn deduplicated(lines: &[String]) -> Vec<&String> {
    let mut unique: Vec<&String> = lines.iter().collect();
    unique.dedup();
    unique
}

fn percent(share: f64) -> String {
    // A saved report may hold any number, and a hundred times it need not be one.
    format!(
        "{:.0}%",
        share.clamp(f64::MIN / 100.0, f64::MAX / 100.0) * 100.0
    )
}

fn head(report: &Report, out: &mut String) -> fmt::Result {
    let limiter = match report.limiter {
        Limiter::Server => " (limiter: server)",
        Limiter::Generator => " (limiter: generator)",
        Limiter::Schedule => " (limiter: schedule)",
        Limiter::Unknown => "",
    };
    let mut parts = rate(report);
    parts.extend(cpu(report));
    writeln!(
        out,
        "{:<10} {}{limiter}",
        report.verdict.as_str(),
        parts.join(" · ")
    )?;
    for reason in &report.verdict_reasons {
        writeln!(out, "           because {}", one_line(reason))?;
    }
    connections(report, out)
}

/// What was achieved, of what was asked for.
fn rate(report: &Report) -> Vec<String> {
    let mut parts = Vec::new();
    let unit = if report.mode == "storm" {
        " connections"
    } else {
        ""
    };
    let achieved = format_count(report.messages_per_second.round() as u64);
    if let Some(figures) = &report.churn {
        parts.push(churn::rate(figures));
    }
    match report.target_per_second {
        Some(target) => {
            let target = format_count(target.round() as u64);
            parts.push(format!("achieved {achieved}/s of {target}/s{unit}"));
            let late = &report.generator.late_ns;
            parts.push(format!("late sends p99 {}", format_ns(late.p99)));
        }
        None if report.churn.is_some() => {}
        None if report.mode == "idle" => {
            parts.push(format!("held for {:.1}s", report.duration_s));
        }
        None if report.loop_model == "server" => {
            parts.push(format!("{achieved} messages/s, paced by the server"));
        }
        None => parts.push(format!("{achieved}{unit}/s in a closed loop")),
    }
    parts
}

/// What the busiest threads used.
fn cpu(report: &Report) -> Vec<String> {
    let mut parts = Vec::new();
    if let Some(share) = report.generator.cpu_share {
        let spin = match (report.config.spin, report.generator.busy_share) {
            (true, Some(busy)) => format!(" (spinning; {} at work)", percent(busy)),
            (true, None) => " (spinning)".to_owned(),
            (false, _) => String::new(),
        };
        parts.push(format!("generator cpu {}{spin}", percent(share)));
    }
    if let Some(share) = report.server.as_ref().and_then(|server| server.busy_share) {
        parts.push(format!("server cpu {}", percent(share)));
    }
    parts
}

/// How many connections came how far.
fn connections(report: &Report, out: &mut String) -> fmt::Result {
    let connections = &report.connections;
    let noun = if matches!(report.mode.as_ref(), "storm" | "churn") {
        "attempts   "
    } else {
        "connections"
    };
    let alive = if report.mode == "storm" {
        String::new()
    } else {
        format!(" / {} alive at end", format_count(connections.alive))
    };
    let served = if matches!(report.mode.as_ref(), "idle" | "fanout") {
        String::new()
    } else {
        format!(" / {} served", format_count(connections.served))
    };
    let fairness = connections
        .fairness
        .map_or_else(String::new, |index| format!(" · fairness {index:.3}"));
    writeln!(
        out,
        "{noun} {} asked / {} open / {} upgraded{served}{alive}{fairness}",
        format_count(connections.asked),
        format_count(connections.open),
        format_count(connections.upgraded),
    )
}

/// Width of a column of percentiles.
fn column(unit: TimeUnit) -> usize {
    if unit == TimeUnit::Auto { 9 } else { 14 }
}

fn row(out: &mut String, name: &str, percentiles: &Percentiles, unit: TimeUnit) -> fmt::Result {
    write!(out, "  {name:<22}")?;
    let width = column(unit) - 1;
    for cell in percentile_cells(percentiles, "*", |ns| unit.write(ns)) {
        // A space in any case: hours do not fit the column.
        write!(out, " {cell:>width$}")?;
    }
    writeln!(out)
}

fn latencies(report: &Report, unit: TimeUnit, out: &mut String) -> fmt::Result {
    write!(
        out,
        "{:<10} {:<13}",
        report.mode,
        format!("n={}", format_count(report.latency_ns.response.count))
    )?;
    let width = column(unit);
    for label in PERCENTILE_HEADS {
        write!(out, "{label:>width$}")?;
    }
    writeln!(out)?;
    let mut is_marked = false;
    // Late sends stand in the head.
    for shown in latency_rows(report)
        .iter()
        .filter(|row| row.histogram != "late")
    {
        is_marked |= shown.is_marked();
        row(out, shown.name, shown.percentiles, unit)?;
    }
    if is_marked {
        writeln!(out, "  * {MARK_NOTE}")?;
    }
    Ok(())
}

fn thresholds(report: &Report, out: &mut String) -> fmt::Result {
    let widths = report.thresholds.iter();
    let width = widths
        .map(|threshold| threshold.expression.chars().count())
        .max()
        .unwrap_or(0);
    for threshold in &report.thresholds {
        writeln!(
            out,
            "threshold  {:<width$}  {}  {}",
            one_line(&threshold.expression),
            if threshold.is_met {
                "ok     "
            } else {
                "NOT MET"
            },
            one_line(&threshold.text)
        )?;
    }
    Ok(())
}

/// The loads of a scenario, one line each.
fn parts(report: &Report, unit: TimeUnit, out: &mut String) -> fmt::Result {
    for part in &report.parts {
        let response = &part.report.latency_ns.response;
        let stage = match part.stage.as_str() {
            "" => String::new(),
            stage => format!(" ({})", one_line(stage)),
        };
        write!(
            out,
            "part       {:<8} {}{stage}: {}",
            part.report.verdict.as_str(),
            one_line(&part.name),
            part.report.mode,
        )?;
        if response.count == 0 {
            let connections = &part.report.connections;
            let (upgraded, asked) = (connections.upgraded, connections.asked);
            let (upgraded, asked) = (format_count(upgraded), format_count(asked));
            writeln!(out, " · {upgraded} of {asked} connections upgraded")?;
            continue;
        }
        writeln!(
            out,
            " · {}/s · p50 {} · p99 {} · max {}",
            format_count(part.report.messages_per_second.round() as u64),
            unit.write(response.p50),
            unit.write(response.p99),
            unit.write(response.max),
        )?;
    }
    Ok(())
}

fn integrity(report: &Report, out: &mut String) -> fmt::Result {
    let messages = &report.messages;
    if report.mode == "idle" {
        return writeln!(
            out,
            "integrity  {} pings answered{} · unsolicited {}",
            format_count(report.connections.pings_answered),
            pings(report),
            format_count(messages.unsolicited)
        );
    }
    let sum = mark(messages.adds_up);
    writeln!(
        out,
        "integrity  lost {} · unanswered {} · dup {} · reordered {} · corrupt {} · unsolicited {} · \
         sent {} = received + lost + in flight {sum}{}",
        format_count(messages.lost),
        format_count(messages.in_flight),
        format_count(messages.duplicates),
        format_count(messages.reordered),
        format_count(messages.corrupt),
        format_count(messages.unsolicited),
        format_count(messages.sent),
        pings(report),
    )
}

/// What became of our own pings, if there were any.
fn pings(report: &Report) -> String {
    let connections = &report.connections;
    if connections.pings_sent == 0 {
        return String::new();
    }
    format!(
        " · {} pings sent, {} pongs, {} missing",
        format_count(connections.pings_sent),
        format_count(connections.pongs),
        format_count(connections.pongs_missing)
    )
}

/// Our memory per connection is shown from this many connections on: with fewer, histograms and
/// buffers that are there once weigh more than all connections.
const MEMORY_FROM: u64 = 1_000;

fn efficiency(report: &Report, out: &mut String) -> fmt::Result {
    let mut parts = Vec::new();
    let (one, many) = nouns(report);
    if let Some(server) = &report.server {
        if let Some(ns) = server.cpu_ns_per_message {
            parts.push(format!(
                "server {} CPU per {one}",
                format_ns(ns.round() as u64)
            ));
        }
        if let Some(rate) = server.messages_per_cpu_second.filter(|rate| *rate > 0.0) {
            parts.push(format!(
                "{} {many} per server CPU-second",
                format_count(rate as u64)
            ));
        }
        if let Some(bytes) = server
            .rss_bytes_per_connection
            .filter(|_| !matches!(report.mode.as_ref(), "storm" | "churn"))
        {
            // Below zero it gave back, meanwhile, memory that it had taken before.
            parts.push(if bytes > 0.0 {
                format!("server {} RSS per connection", format_size(bytes as u64))
            } else {
                "server RSS did not grow with the connections".to_owned()
            });
        }
    }
    if let Some(bytes) = report
        .generator
        .anonymous_bytes_per_connection
        .filter(|_| report.mode == "idle" && report.connections.open >= MEMORY_FROM)
    {
        parts.push(format!(
            "generator {} of memory per connection",
            format_size(bytes.max(0.0) as u64)
        ));
    }
    if let Some(ns) = report.generator.cpu_ns_per_message {
        parts.push(format!(
            "generator {} CPU per {one}",
            format_ns(ns.round() as u64)
        ));
    }
    if parts.is_empty() {
        Ok(())
    } else {
        writeln!(out, "efficiency {}", parts.join(" · "))
    }
}
