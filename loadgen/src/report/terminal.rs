//! The report for a person: verdict first, then latency, integrity and efficiency.

use std::fmt::{self, Write as _};

use crate::figures::Percentiles;
use crate::model::Report;
use crate::quantity::{format_count, format_ns, format_size};
use crate::report::{churn, fanout};
use crate::verdict::Limiter;

/// Renders the whole report, with a final newline.
///
/// # Errors
/// Never: writing to a `String` does not fail.
pub fn render(report: &Report) -> Result<String, fmt::Error> {
    let mut out = String::new();
    head(report, &mut out)?;
    if let Some(figures) = &report.fanout {
        fanout::head(report, figures, &mut out)?;
    }
    if let Some(figures) = &report.churn {
        churn::head(figures, &mut out)?;
    }
    latencies(report, &mut out)?;
    match &report.fanout {
        Some(figures) => fanout::integrity(figures, &mut out)?,
        None => integrity(report, &mut out)?,
    }
    if let Some(figures) = &report.churn {
        churn::integrity(figures, &mut out)?;
    }
    efficiency(report, &mut out)?;
    for result in &report.thresholds {
        let met = if result.is_met { "ok" } else { "NOT MET" };
        writeln!(
            out,
            "threshold  {}   {met} ({})",
            result.expression, result.text
        )?;
    }
    for (kind, count) in &report.errors {
        let example = report.error_examples.get(kind).map_or("", String::as_str);
        writeln!(
            out,
            "error      {kind} × {}: {example}",
            format_count(*count)
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
        writeln!(out, "note       {note}")?;
    }
    for backend in deduplicated(&report.generator.backends) {
        writeln!(out, "backend    {backend}")?;
    }
    Ok(out)
}

fn deduplicated(lines: &[String]) -> Vec<&String> {
    let mut unique: Vec<&String> = lines.iter().collect();
    unique.dedup();
    unique
}

fn percent(share: f64) -> String {
    format!("{:.0}%", share * 100.0)
}

fn head(report: &Report, out: &mut String) -> fmt::Result {
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
    if let Some(share) = report.generator.cpu_share {
        let spin = if report.config.spin {
            " (spinning)"
        } else {
            ""
        };
        parts.push(format!("generator cpu {}{spin}", percent(share)));
    }
    if let Some(share) = report.server.as_ref().and_then(|server| server.busy_share) {
        parts.push(format!("server cpu {}", percent(share)));
    }
    let limiter = match report.limiter {
        Limiter::Server => " (limiter: server)",
        Limiter::Generator => " (limiter: generator)",
        Limiter::Schedule => " (limiter: schedule)",
        Limiter::Unknown => "",
    };
    writeln!(
        out,
        "{:<10} {}{limiter}",
        report.verdict.as_str(),
        parts.join(" · ")
    )?;
    for reason in &report.verdict_reasons {
        writeln!(out, "           because {reason}")?;
    }
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
    writeln!(
        out,
        "{noun} {} asked / {} open / {} upgraded{served}{alive}",
        format_count(connections.asked),
        format_count(connections.open),
        format_count(connections.upgraded),
    )
}

pub(crate) fn row(out: &mut String, name: &str, percentiles: &Percentiles) -> fmt::Result {
    write!(out, "  {name:<22}")?;
    let cells = [
        ("p50", percentiles.p50),
        ("p90", percentiles.p90),
        ("p99", percentiles.p99),
        ("p999", percentiles.p999),
        ("p9999", percentiles.p9999),
        ("max", percentiles.max),
    ];
    for (label, ns) in cells {
        let mark = if percentiles.unreliable.iter().any(|name| name == label) {
            "*"
        } else {
            ""
        };
        write!(out, "{:>9}", format!("{}{mark}", format_ns(ns)))?;
    }
    writeln!(out)
}

fn latencies(report: &Report, out: &mut String) -> fmt::Result {
    let latency = &report.latency_ns;
    write!(
        out,
        "{:<10} {:<13}",
        report.mode,
        format!("n={}", format_count(latency.response.count))
    )?;
    for label in ["p50", "p90", "p99", "p99.9", "p99.99", "max"] {
        write!(out, "{label:>9}")?;
    }
    writeln!(out)?;
    let mut shown = Vec::new();
    match (report.mode.as_ref(), report.loop_model.as_ref()) {
        ("idle", _) => {}
        // Its only messages are then the first of every connection.
        ("churn", "none") => {}
        ("fanout", "server") => shown.push(("delivery (one way)", &latency.response)),
        ("fanout", _) => {
            shown.push(("delivery (intended)", &latency.response));
            shown.push(("service  (actual)", &latency.service));
        }
        (_, "open") => {
            shown.push(("response (intended)", &latency.response));
            shown.push(("service  (actual)", &latency.service));
        }
        _ => shown.push(("service  (closed loop)", &latency.service)),
    }
    shown.push(("connect", &latency.connect));
    if let Some(tls) = &latency.tls {
        shown.push(("tls", tls));
    }
    shown.push(("upgrade", &latency.upgrade));
    if let Some(ping) = &latency.ping {
        shown.push(("ping to pong", ping));
    }
    if let Some(first_message) = &latency.first_message {
        shown.push(("first message", first_message));
    }
    if let Some(figures) = &report.fanout {
        fanout::rows(figures, out)?;
    }
    if let Some(figures) = &report.churn {
        churn::rows(figures, out)?;
    }
    let mut is_marked = false;
    for (name, percentiles) in shown {
        is_marked |= percentiles.count > 0 && !percentiles.unreliable.is_empty();
        if percentiles.count > 0 {
            row(out, name, percentiles)?;
        }
    }
    if is_marked {
        writeln!(
            out,
            "  * fewer than 10 values lie above it: chance decides it"
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
    let sum = if messages.adds_up { "✓" } else { "✗" };
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
    let (one, many) = match report.mode.as_ref() {
        "storm" => ("connection", "connections"),
        "fanout" => ("delivery", "deliveries"),
        "churn" => ("reply", "replies"),
        _ => ("message", "messages"),
    };
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
