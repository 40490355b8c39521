//! Several reports become one: of the processes that made one load together, or of the loads of a
//! scenario.
//!
//! Owns the rules by which every figure of a report adds up. Counters add, histograms add counter
//! by counter, rows add second by second; a percentile is always read off an added histogram and
//! never made of other percentiles. Where that cannot be done the figure is left out and a note
//! says so. Runs nothing and writes nothing.

use std::collections::BTreeMap;

use crate::measure::figures::{Connections, Latencies, Messages, Percentiles, Word};
use crate::measure::latency::Latency;
use crate::measure::model::{Part, Report};
use crate::measure::sums::{add_counts, add_fields};
use crate::measure::verdict::Limiter;

mod churn;
mod fanout;
mod judgement;
mod resources;
mod series;

/// Adds the reports of several processes that made one load together.
///
/// # Errors
/// A sentence when there is none, when they did not do the same, or when a histogram is missing.
pub fn merge(reports: &[Report]) -> Result<Report, String> {
    let mut sum = merge_as("process", reports)?;
    sum.notes.push(format!(
        "merged from the reports of {} processes, which are taken to have begun together",
        reports.len()
    ));
    Ok(sum)
}

/// As [`merge`]; `noun` names a report where the sum says which of them it speaks of, and how well
/// they began together is the caller's to say.
///
/// # Errors
/// As [`merge`].
pub fn merge_as(noun: &str, reports: &[Report]) -> Result<Report, String> {
    let Some((first, others)) = reports.split_first() else {
        return Err("there is no report to merge".to_owned());
    };
    for (index, other) in others.iter().enumerate() {
        if let Some(difference) = difference(first, other) {
            return Err(format!(
                "reports 1 and {} cannot be merged: {difference}; only processes that made one load \
                 together become one report. Without --merge they are shown side by side",
                index + 2
            ));
        }
    }
    let offsets = vec![0.0; reports.len()];
    add(reports, &offsets, noun)
}

/// Adds the loads of a scenario, which may differ in everything and may have run one after
/// another. What they were is in `parts`, which is the caller's to fill.
///
/// # Errors
/// A sentence when there is none, or when a histogram is missing.
pub fn combine(reports: &[Report]) -> Result<Report, String> {
    let started = |report: &Report| report.environment.started_unix_ms;
    let begin = reports.iter().map(started).min().unwrap_or(0);
    let offsets: Vec<f64> = reports
        .iter()
        .map(|report| started(report).saturating_sub(begin) as f64 / 1e3)
        .collect();
    let mut sum = add(reports, &offsets, "load")?;
    let is_alike =
        |read: fn(&Report) -> &str| reports.iter().all(|report| read(report) == read(&sum));
    let is_one_mode = is_alike(|report| report.mode.as_ref());
    let is_one_loop = is_alike(|report| report.loop_model.as_ref());
    if !is_one_mode {
        sum.mode = Word::from("run");
    }
    if !is_one_loop {
        sum.loop_model = Word::from("mixed");
    }
    Ok(sum)
}

/// A setting by its name.
type Term = (&'static str, String);

/// What two processes of one load must have in common.
fn terms(report: &Report) -> [Term; 10] {
    let config = &report.config;
    [
        ("schema", report.schema.to_string()),
        ("mode", report.mode.to_string()),
        ("url", report.url.clone()),
        ("loop model", report.loop_model.to_string()),
        (
            "message size in bytes",
            config.message_size_bytes.to_string(),
        ),
        ("kind of message", config.message_kind.to_string()),
        (
            "messages in flight per connection",
            config.in_flight.to_string(),
        ),
        ("compression", config.deflate_offered.to_string()),
        ("checking of replies", config.verify.to_string()),
        ("fan-out", fanout::kind(report)),
    ]
}

/// The first of these that they have not.
fn difference(first: &Report, other: &Report) -> Option<String> {
    let mut both = terms(first).into_iter().zip(terms(other));
    let differs = |(mine, theirs): &(Term, Term)| mine != theirs;
    let ((name, mine), (_, theirs)) = both.find(differs)?;
    Some(format!("their {name} differs ('{mine}' and '{theirs}')"))
}

/// `noun` names a report in the reasons of the sum.
fn add(reports: &[Report], offsets: &[f64], noun: &str) -> Result<Report, String> {
    let Some((first, others)) = reports.split_first() else {
        return Err("there is no report to merge".to_owned());
    };
    if others.is_empty() {
        return Ok(first.clone());
    }
    let histograms = histograms(reports)?;
    let span_s = span_s(reports, offsets);
    let mut notes = notes(reports);
    let done: f64 = reports.iter().map(done).sum();
    let rate = |report: &Report| (report.messages_per_second, report.duration_s);
    let rates = reports.iter().map(rate);
    let mut sum = Report {
        notes: Vec::new(),
        duration_s: span_s,
        warmup_s: largest(reports.iter().map(|report| Some(report.warmup_s))).unwrap_or(0.0),
        is_warmup_steady: reports
            .iter()
            .filter_map(|report| report.is_warmup_steady)
            .reduce(|all, one| all && one),
        messages_per_second: over_span(rates, span_s),
        target_per_second: target_per_second(reports, span_s),
        limiter: limiter(reports),
        latency_ns: latencies(reports, &histograms),
        server: resources::server(reports, done, span_s, &mut notes),
        generator: resources::generator(reports, done, &histograms),
        interrupted: reports.iter().any(|report| report.interrupted),
        series: series::add(reports, offsets)?,
        parts: parts(reports)?,
        thresholds: Vec::new(),
        ..first.clone()
    };
    for other in others {
        add_counters(&mut sum, other);
    }
    sum.fanout = fanout::add(reports, &histograms, span_s, &mut notes);
    sum.churn = churn::add(reports, &histograms, span_s);
    sum.delivered_share = sum.fanout.as_ref().and_then(|sum| sum.delivered_share());
    sum.histograms = histograms
        .iter()
        .map(|(name, latency)| (name.clone(), latency.encode()))
        .collect();
    sum.notes = notes;
    judgement::judge(&mut sum, reports, noun);
    Ok(sum)
}

/// What a report counted in its measured time: replies, cycles, or deliveries.
fn done(report: &Report) -> f64 {
    match &report.fanout {
        Some(fanout) => fanout.deliveries_measured as f64,
        None => report.messages_per_second * report.duration_s,
    }
}

/// How much time at least one of the reports measured.
fn span_s(reports: &[Report], offsets: &[f64]) -> f64 {
    let mut spans: Vec<(f64, f64)> = reports
        .iter()
        .zip(offsets)
        .map(|(report, offset)| (*offset, offset + report.duration_s))
        .collect();
    spans.sort_by(|left, right| left.0.total_cmp(&right.0));
    let (mut covered, mut until) = (0.0, f64::NEG_INFINITY);
    for (from, to) in spans {
        covered += (to - from.max(until)).max(0.0);
        until = until.max(to);
    }
    covered
}

/// Rates, each with the seconds that it is about, as one over the whole span.
fn over_span(rates: impl IntoIterator<Item = (f64, f64)>, span_s: f64) -> f64 {
    let counts = rates.into_iter();
    let sum: f64 = counts
        .map(|(per_second, seconds)| per_second * seconds)
        .sum();
    if span_s > 0.0 { sum / span_s } else { 0.0 }
}

/// The rate that was asked for; `None` when one of the reports had none.
fn target_per_second(reports: &[Report], span_s: f64) -> Option<f64> {
    let target = |report: &Report| Some((report.target_per_second?, report.duration_s));
    let targets: Option<Vec<(f64, f64)>> = reports.iter().map(target).collect();
    Some(over_span(targets?, span_s))
}

fn largest(values: impl Iterator<Item = Option<f64>>) -> Option<f64> {
    values.flatten().reduce(f64::max)
}

fn limiter(reports: &[Report]) -> Limiter {
    let has = |limiter: Limiter| reports.iter().any(|report| report.limiter == limiter);
    // One process at its limit keeps the sum from being higher, whatever the others had left.
    [Limiter::Generator, Limiter::Server, Limiter::Unknown]
        .into_iter()
        .find(|limiter| has(*limiter))
        .unwrap_or(Limiter::Schedule)
}

/// Adds all histograms by name.
fn histograms(reports: &[Report]) -> Result<BTreeMap<String, Latency>, String> {
    let mut sums: BTreeMap<String, Latency> = BTreeMap::new();
    for (index, report) in reports.iter().enumerate() {
        if report.latency_ns.response.count > 0 && !report.histograms.contains_key("response") {
            return Err(format!(
                "report {} has percentiles but no histograms, so it cannot be merged: percentiles \
                 do not add up. Make it again with this version",
                index + 1
            ));
        }
        for (name, text) in &report.histograms {
            let latency = Latency::decode(text)
                .map_err(|error| format!("report {}, '{name}': {error}", index + 1))?;
            sums.entry(name.clone()).or_default().add(&latency);
        }
    }
    Ok(sums)
}

fn percentiles(histograms: &BTreeMap<String, Latency>, name: &str) -> Percentiles {
    histograms
        .get(name)
        .map(Percentiles::of)
        .unwrap_or_default()
}

fn latencies(reports: &[Report], histograms: &BTreeMap<String, Latency>) -> Latencies {
    let response = percentiles(histograms, "response");
    let optional = |read: fn(&Latencies) -> &Option<Percentiles>, name: &str| {
        let is_shown = reports
            .iter()
            .any(|report| read(&report.latency_ns).is_some());
        is_shown.then(|| percentiles(histograms, name))
    };
    Latencies {
        service: if histograms.contains_key("service") {
            percentiles(histograms, "service")
        } else {
            // In a closed loop it is the same and kept once.
            response.clone()
        },
        connect: percentiles(histograms, "connect"),
        tls: optional(|latency| &latency.tls, "tls"),
        upgrade: percentiles(histograms, "upgrade"),
        ping: optional(|latency| &latency.ping, "ping"),
        first_message: optional(|latency| &latency.first_message, "first_message"),
        last: optional(|latency| &latency.last, "fanout_last"),
        first: optional(|latency| &latency.first, "fanout_first"),
        healthy: optional(|latency| &latency.healthy, "response"),
        response,
    }
}

fn add_counters(sum: &mut Report, other: &Report) {
    add_messages(&mut sum.messages, &other.messages);
    add_connections(&mut sum.connections, &other.connections);
    add_counts(&mut sum.errors, &other.errors);
    add_counts(&mut sum.close_codes, &other.close_codes);
    for (kind, example) in &other.error_examples {
        let entry = sum.error_examples.entry(kind.clone());
        entry.or_insert_with(|| example.clone());
    }
    let (mine, theirs) = (&mut sum.config, &other.config);
    mine.connections = mine.connections.saturating_add(theirs.connections);
    mine.threads += theirs.threads;
    mine.sources += theirs.sources;
    mine.cpus.extend(&theirs.cpus);
    mine.rate_per_second = mine
        .rate_per_second
        .zip(theirs.rate_per_second)
        .map(|(mine, theirs)| mine + theirs);
    mine.is_loopback |= theirs.is_loopback;
}

fn add_messages(mine: &mut Messages, theirs: &Messages) {
    add_fields!(mine, theirs, Messages {
        sent, received, lost, in_flight, unsent, dropped, duplicates, reordered, corrupt,
        unsolicited, ignored, payload_bytes_received,
    } apart { adds_up });
    // One that lacks a message and one that has one too many do not make a right sum.
    mine.adds_up &= theirs.adds_up;
}

fn add_connections(mine: &mut Connections, theirs: &Connections) {
    add_fields!(mine, theirs, Connections {
        asked, open, upgraded, served, alive, stalled,
        pings_answered, pings_sent, pongs, pongs_missing,
    } apart { fairness, deflate_agreed });
    // Follows from the replies of each connection, which are not in a report.
    mine.fairness = None;
    add_counts(&mut mine.deflate_agreed, &theirs.deflate_agreed);
}

/// Loads of the same name and stage, each merged.
fn parts(reports: &[Report]) -> Result<Vec<Part>, String> {
    let mut groups: Vec<(String, String, Vec<Report>)> = Vec::new();
    for part in reports.iter().flat_map(|report| &report.parts) {
        let is_same = |group: &&mut (String, String, Vec<Report>)| {
            group.0 == part.name && group.1 == part.stage
        };
        match groups.iter_mut().find(is_same) {
            Some((_, _, group)) => group.push(part.report.clone()),
            None => groups.push((
                part.name.clone(),
                part.stage.clone(),
                vec![part.report.clone()],
            )),
        }
    }
    let merged = groups.into_iter().map(|(name, stage, group)| {
        let report = merge(&group)?;
        Ok(Part {
            name,
            stage,
            report,
        })
    });
    merged.collect()
}

fn notes(reports: &[Report]) -> Vec<String> {
    let mut notes: Vec<String> = Vec::new();
    for note in reports.iter().flat_map(|report| &report.notes) {
        if !notes.contains(note) {
            notes.push(note.clone());
        }
    }
    notes
}
