//! The verdict, the figures to be seen first, and the sections that are plain tables of counters.

use super::block::{Banner, Block, Headline, Row, Section, Table, term};
use crate::measure::model::Report;
use crate::measure::verdict::{Limiter, Verdict};
use crate::quantity::format_count;
use crate::report::rows::latency_rows;
use crate::report::text::{Quantity, amount, latency, moment, percent, size, span};

/// What was run against what.
pub fn title(report: &Report) -> String {
    let mut mode = report.mode.to_string();
    if let Some(first) = mode.get_mut(..1) {
        first.make_ascii_uppercase();
    }
    format!("{mode} {}", report.url)
}

/// When, how long, with what.
pub fn subtitle(report: &Report) -> String {
    let mut parts = Vec::new();
    if report.environment.started_unix_ms > 0 {
        parts.push(moment(report.environment.started_unix_ms));
    }
    parts.push(format!("{} measured", span(report.duration_s)));
    parts.push(match report.loop_model.as_ref() {
        "none" => "no messages".to_owned(),
        model => format!("{model} loop"),
    });
    let connections = u64::from(report.config.connections);
    parts.push(format!("{} connections", format_count(connections)));
    if report.loop_model != "none" {
        let bytes = report.config.message_size_bytes as f64;
        parts.push(format!("messages of {}", size(bytes).joined()));
    }
    parts.join(" · ")
}

/// The verdict with its reasons.
pub fn banner(report: &Report) -> Banner {
    let (class, meaning) = match report.verdict {
        Verdict::Valid => ("good", "Nothing speaks against these figures."),
        Verdict::Suspect => ("warn", "Read the reasons before quoting these figures."),
        Verdict::Invalid => ("bad", "Do not quote these figures."),
    };
    let limiter = match report.limiter {
        Limiter::Server => " The server was the limit.",
        Limiter::Generator => " The generator was the limit.",
        Limiter::Schedule | Limiter::Unknown => "",
    };
    Banner {
        class,
        word: report.verdict.as_str().to_owned(),
        meaning: format!("{meaning}{limiter}"),
        reasons: report.verdict_reasons.clone(),
    }
}

fn headline(label: &str, quantity: Quantity, note: String) -> Headline {
    Headline {
        label: label.to_owned(),
        number: quantity.number,
        unit: quantity.unit.to_owned(),
        note,
        class: "",
    }
}

/// Figures to be seen first; those that fill a row or two.
pub fn headlines(report: &Report) -> Vec<Headline> {
    let mut all = Vec::new();
    if report.mode == "idle" {
        all.push(headline(
            "connections alive at the end",
            amount(report.connections.alive as f64, ""),
            format!("of {} asked for", format_count(report.connections.asked)),
        ));
    } else {
        all.push(rate(report));
    }
    fanout_headlines(report, &mut all);
    latency_headlines(report, &mut all);
    all.push(failures(report));
    resource_headlines(report, &mut all);
    all
}

fn rate(report: &Report) -> Headline {
    if let Some(fanout) = &report.fanout {
        let note = format!(
            "of {} messages/s",
            amount(fanout.published_per_second, "").number
        );
        return headline(
            "deliveries",
            amount(fanout.deliveries_per_second, "/s"),
            note,
        );
    }
    let label = match report.mode.as_ref() {
        "storm" | "churn" => "connections",
        _ => "replies",
    };
    let note = match report.target_per_second {
        Some(target) if target > 0.0 => format!(
            "{} of {} asked for",
            percent(report.messages_per_second / target).joined(),
            amount(target, "/s").joined()
        ),
        _ => match (&report.churn, report.mode.as_ref()) {
            (Some(churn), _) => churn.expected_per_second.map_or(String::new(), |expected| {
                let expected = amount(expected, "/s").joined();
                format!("of {expected} asked for by lifetime")
            }),
            (None, "storm") => "as fast as they opened".to_owned(),
            _ => "as fast as replies came".to_owned(),
        },
    };
    headline(label, amount(report.messages_per_second, "/s"), note)
}

fn fanout_headlines(report: &Report, all: &mut Vec<Headline>) {
    let Some(fanout) = &report.fanout else { return };
    if let Some(reach) = fanout.message.reach_mean {
        let least = fanout.message.reach_min.unwrap_or(reach);
        all.push(headline(
            "reach",
            percent(reach),
            format!("{} at least", percent(least).joined()),
        ));
    }
    let last = &fanout.message.last_ns;
    if last.count > 0 {
        all.push(headline(
            "last subscriber, 99%",
            latency(last.p99 as f64),
            format!("median {}", latency(last.p50 as f64).joined()),
        ));
    }
}

fn latency_headlines(report: &Report, all: &mut Vec<Headline>) {
    let rows = latency_rows(report);
    let Some(row) = rows.iter().find(|row| row.histogram != "late") else {
        return;
    };
    let percentiles = row.percentiles;
    let wanted: &[(&str, &str, u64)] = if report.fanout.is_some() {
        &[("99%", "p99", percentiles.p99)]
    } else {
        &[
            ("median", "p50", percentiles.p50),
            ("99%", "p99", percentiles.p99),
            ("99.9%", "p999", percentiles.p999),
        ]
    };
    for (label, name, ns) in wanted {
        let is_chance = percentiles.unreliable.iter().any(|mark| mark == name);
        let note = if is_chance {
            "decided by fewer than 10 values".to_owned()
        } else if *name == "p50" {
            format!("of {} values", format_count(percentiles.count))
        } else if *name == "p99" {
            format!("largest {}", latency(percentiles.max as f64).joined())
        } else {
            format!("p99.99 {}", latency(percentiles.p9999 as f64).joined())
        };
        let what = row.name.split(" (").next().unwrap_or(row.name);
        all.push(headline(
            &format!("{what}, {label}"),
            latency(*ns as f64),
            note,
        ));
    }
}

fn failures(report: &Report) -> Headline {
    let failures: u64 = report.errors.values().sum();
    let messages = &report.messages;
    let wrong = messages.lost + messages.duplicates + messages.corrupt + messages.unsolicited;
    let note = if report.fanout.is_some() {
        format!("ledger {}", adds_up(messages.adds_up))
    } else {
        format!("{} lost or wrong messages", format_count(wrong))
    };
    Headline {
        class: if failures + wrong > 0 || !messages.adds_up {
            "bad"
        } else {
            ""
        },
        ..headline("failures", amount(failures as f64, ""), note)
    }
}

fn adds_up(is_so: bool) -> &'static str {
    if is_so { "adds up" } else { "does not add up" }
}

fn resource_headlines(report: &Report, all: &mut Vec<Headline>) {
    let server = report.server.as_ref();
    if let Some(share) = server.and_then(|server| server.busy_share) {
        let rate = server.and_then(|server| server.messages_per_cpu_second);
        let rate = rate.filter(|rate| *rate > 0.0);
        all.push(headline(
            "server CPU, busiest thread",
            percent(share),
            rate.map_or(String::new(), |rate| {
                format!("{} messages per CPU-second", amount(rate, "").number)
            }),
        ));
    }
    if report.mode == "idle"
        && let Some(bytes) = server.and_then(|server| server.rss_bytes_per_connection)
    {
        all.push(headline(
            "server memory",
            size(bytes),
            "resident, per connection".to_owned(),
        ));
    }
    if let Some(share) = report.generator.cpu_share {
        let late = &report.generator.late_ns;
        all.push(headline(
            "generator CPU, busiest thread",
            percent(share),
            if late.count > 0 {
                format!(
                    "99% of sends at most {} late",
                    latency(late.p99 as f64).joined()
                )
            } else {
                String::new()
            },
        ));
    }
}

/// Thresholds and whether they were met.
pub fn thresholds(report: &Report) -> Option<Section> {
    let rows: Vec<Row> = report
        .thresholds
        .iter()
        .map(|threshold| Row {
            class: if threshold.is_met { "good" } else { "bad" },
            cells: vec![
                threshold.expression.clone(),
                threshold.text.clone(),
                if threshold.is_met { "met" } else { "not met" }.to_owned(),
            ],
            ..Row::default()
        })
        .collect();
    let table = Table {
        head: vec!["threshold".into(), "measured".into(), "result".into()],
        rows,
        has_texts: true,
        ..Table::default()
    };
    (!table.rows.is_empty()).then(|| Section {
        title: "Thresholds".to_owned(),
        blocks: vec![Block::Table(table)],
    })
}

/// How many connections came how far.
pub fn connections(report: &Report) -> Option<Section> {
    let connections = &report.connections;
    let is_storm = report.mode == "storm";
    let mut steps = vec![
        ("asked for", connections.asked),
        ("open", connections.open),
        ("upgraded", connections.upgraded),
    ];
    if !matches!(report.mode.as_ref(), "idle" | "fanout") {
        steps.push(("served at least one right reply", connections.served));
    }
    if !is_storm {
        steps.push(("alive at the end", connections.alive));
    }
    let asked = connections.asked.max(1) as f64;
    let rows = steps.into_iter().map(|(name, count)| Row {
        class: if count < connections.asked { "bad" } else { "" },
        cells: vec![
            name.to_owned(),
            format_count(count),
            percent(count as f64 / asked).joined(),
        ],
        ..Row::default()
    });
    let table = Table {
        head: vec![
            if is_storm { "attempts" } else { "connections" }.into(),
            "count".into(),
            "of those asked for".into(),
        ],
        rows: rows.collect(),
        note: connection_note(report),
        ..Table::default()
    };
    Some(Section {
        title: "Connections".to_owned(),
        blocks: vec![Block::Table(table)],
    })
}

fn connection_note(report: &Report) -> String {
    let connections = &report.connections;
    let mut parts = Vec::new();
    let counts = [
        (connections.stalled, "with an unanswered message at the end"),
        (connections.pings_answered, "pings answered"),
        (connections.pings_sent, "pings sent"),
        (connections.pongs, "pongs in time"),
        (connections.pongs_missing, "pongs missing"),
    ];
    for (count, name) in counts {
        if count > 0 {
            parts.push(format!("{} {name}", format_count(count)));
        }
    }
    if let Some(fairness) = connections.fairness {
        parts.push(format!(
            "fairness {fairness:.3} (1: all got the same share of replies)"
        ));
    }
    parts.join(" · ")
}

/// Whether every message is accounted for.
pub fn integrity(report: &Report) -> Option<Section> {
    let messages = &report.messages;
    if report.fanout.is_some() || (report.mode == "idle" && messages.sent == 0) {
        return None;
    }
    let facts = [
        ("duplicates", messages.duplicates),
        ("out of order", messages.reordered),
        ("corrupt", messages.corrupt),
        ("unsolicited", messages.unsolicited),
        ("due but not sent", messages.unsent),
        ("of them given up as overdue", messages.dropped),
        ("received, but no replies", messages.ignored),
    ];
    let mut facts: Vec<(String, String)> = facts
        .into_iter()
        .map(|(name, count)| term(name, count))
        .collect();
    facts.push((
        "payload received".to_owned(),
        size(messages.payload_bytes_received as f64).joined(),
    ));
    Some(Section {
        title: "Integrity".to_owned(),
        blocks: vec![
            Block::Identity {
                total: term("sent", messages.sent),
                terms: vec![
                    term("received", messages.received),
                    term("lost", messages.lost),
                    term("in flight", messages.in_flight),
                ],
                holds: messages.adds_up,
            },
            Block::Facts(facts),
        ],
    })
}

/// What failed, with examples, and how servers closed.
pub fn errors(report: &Report) -> Option<Section> {
    let mut blocks = Vec::new();
    if !report.errors.is_empty() {
        let rows = report.errors.iter().map(|(kind, count)| {
            let example = report.error_examples.get(kind).cloned();
            Row::new(vec![
                kind.clone(),
                format_count(*count),
                example.unwrap_or_default(),
            ])
        });
        blocks.push(Block::Table(Table {
            head: vec!["kind".into(), "count".into(), "the first of them".into()],
            rows: rows.collect(),
            has_texts: true,
            ..Table::default()
        }));
    }
    if !report.close_codes.is_empty() {
        let rows = report.close_codes.iter().map(|(code, count)| {
            let name = match code {
                1005 => "no status code".to_owned(),
                code => code.to_string(),
            };
            Row::new(vec![name, format_count(*count)])
        });
        blocks.push(Block::Table(Table {
            head: vec!["closed by the server with".into(), "connections".into()],
            rows: rows.collect(),
            ..Table::default()
        }));
    }
    Section::unless_empty("Errors", blocks)
}

/// The loads of a scenario, or the shares of agents, in one table; each has a section of its own further down.
pub fn parts(report: &Report) -> Option<Section> {
    let rows: Vec<Row> = report
        .parts
        .iter()
        .map(|part| {
            let response = &part.report.latency_ns.response;
            Row {
                class: match part.report.verdict {
                    Verdict::Valid => "",
                    Verdict::Suspect => "warn",
                    Verdict::Invalid => "bad",
                },
                cells: vec![
                    part.name.clone(),
                    part.stage.clone(),
                    part.report.mode.to_string(),
                    amount(part.report.messages_per_second, "/s").joined(),
                    latency(response.p50 as f64).joined(),
                    latency(response.p99 as f64).joined(),
                    latency(response.max as f64).joined(),
                    part.report.verdict.as_str().to_owned(),
                ],
                ..Row::default()
            }
        })
        .collect();
    let head = [
        "part", "stage", "mode", "rate", "p50", "p99", "max", "verdict",
    ];
    let table = Table {
        head: head.map(str::to_owned).to_vec(),
        rows,
        ..Table::default()
    };
    (!table.rows.is_empty()).then(|| Section {
        title: "Parts of this load".to_owned(),
        blocks: vec![Block::Table(table)],
    })
}
