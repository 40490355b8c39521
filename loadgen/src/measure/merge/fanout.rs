//! Adding up what only a fan-out reports.

use std::collections::BTreeMap;

use super::{over_span, percentiles};
use crate::fanout::figures::{ClassFigures, Fanout, Ledger};
use crate::fanout::message_figures::MessageFigures;
use crate::fanout::sheet::Comings;
use crate::measure::figures::Percentiles;
use crate::measure::latency::Latency;
use crate::measure::model::Report;
use crate::measure::sums::{add_fields, add_optional};

/// What fan-outs must have in common to be parts of one.
pub fn kind(report: &Report) -> String {
    let Some(fanout) = &report.fanout else {
        return "none".to_owned();
    };
    let settings = &fanout.settings;
    format!(
        "{} {} {} topics of {}",
        settings.dialect, settings.payload, settings.topics, settings.kind
    )
}

/// Adds the fan-outs among the reports.
pub fn add(
    reports: &[Report],
    histograms: &BTreeMap<String, Latency>,
    span_s: f64,
    notes: &mut Vec<String>,
) -> Option<Fanout> {
    let parts: Vec<(&Report, &Fanout)> = reports
        .iter()
        .filter_map(|report| Some((report, report.fanout.as_ref()?)))
        .collect();
    let ((_, first), others) = parts.split_first()?;
    let mut sum = (*first).clone();
    for (_, other) in others {
        add_counters(&mut sum, other);
    }
    let published = parts
        .iter()
        .map(|(report, fanout)| (fanout.published_per_second, report.duration_s));
    sum.published_per_second = over_span(published, span_s);
    let seconds = if span_s > 0.0 { span_s } else { 1.0 };
    sum.deliveries_per_second = sum.deliveries_measured as f64 / seconds;
    sum.message = message(&parts, histograms);
    sum.classes = classes(&parts, histograms, notes);
    sum.acknowledgement_ns = only(
        parts.iter().map(|(_, fanout)| &fanout.acknowledgement_ns),
        "acknowledgements of publishes",
        notes,
    );
    if !others.is_empty() && sum.position.take().is_some() {
        notes.push(
            "latency by the order of connecting was left out: each run has an order of its own"
                .into(),
        );
    }
    if let Some(feed) = &mut sum.feed {
        let intervals = parts
            .iter()
            .filter_map(|(_, fanout)| fanout.feed.as_ref())
            .map(|feed| &feed.interval_ns);
        feed.interval_ns = only(intervals, "times between two messages", notes);
    }
    Some(sum)
}

fn add_counters(sum: &mut Fanout, other: &Fanout) {
    add_fields!(sum, other, Fanout {
        published, deliveries_measured, payload_bytes, wire_bytes,
        subscriptions, unconfirmed, acknowledged, refused, unanswered,
    } apart {
        published_per_second, deliveries_per_second, acknowledgement_ns, message, ledger, classes,
        churn, foreign, feed, position, settings,
    });
    sum.ledger.add(&other.ledger);
    sum.settings.publishers += other.settings.publishers;
    if let (Some(mine), Some(theirs)) = (&mut sum.foreign, &other.foreign) {
        mine.add(theirs);
    }
    if let (Some(mine), Some(theirs)) = (&mut sum.feed, &other.feed) {
        mine.add(theirs);
    }
    add_optional(&mut sum.churn, other.churn.as_ref(), Comings::add);
}

fn message(parts: &[(&Report, &Fanout)], histograms: &BTreeMap<String, Latency>) -> MessageFigures {
    let followed: u64 = parts
        .iter()
        .map(|(_, fanout)| fanout.message.followed)
        .sum();
    let reached: f64 = parts
        .iter()
        .filter_map(|(_, fanout)| Some(fanout.message.reach_mean? * fanout.message.followed as f64))
        .sum();
    // A feed whose messages cannot be told apart has none.
    let has_reach = parts
        .iter()
        .all(|(_, fanout)| fanout.message.followed == 0 || fanout.message.reach_mean.is_some());
    let least = parts
        .iter()
        .filter_map(|(_, fanout)| fanout.message.reach_min);
    MessageFigures {
        followed,
        every: parts
            .iter()
            .map(|(_, fanout)| fanout.message.every)
            .max()
            .unwrap_or(1),
        first_ns: percentiles(histograms, "fanout_first"),
        last_ns: percentiles(histograms, "fanout_last"),
        spread_ns: percentiles(histograms, "fanout_spread"),
        reach_mean: (has_reach && followed > 0).then(|| reached / followed as f64),
        reach_min: least.reduce(f64::min),
        ..MessageFigures::default()
    }
}

fn classes(
    parts: &[(&Report, &Fanout)],
    histograms: &BTreeMap<String, Latency>,
    notes: &mut Vec<String>,
) -> Vec<ClassFigures> {
    let mut names: Vec<String> = Vec::new();
    for class in parts.iter().flat_map(|(_, fanout)| &fanout.classes) {
        if !names.iter().any(|name| *name == class.class) {
            names.push(class.class.to_string());
        }
    }
    let merged = names.into_iter().map(|name| {
        let own: Vec<&ClassFigures> = parts
            .iter()
            .flat_map(|(_, fanout)| &fanout.classes)
            .filter(|class| class.class == name)
            .collect();
        let what = format!("deliveries to {name} subscribers");
        ClassFigures {
            delivery_ns: if name == "healthy" {
                percentiles(histograms, "response")
            } else {
                only(own.iter().map(|class| &class.delivery_ns), &what, notes)
            },
            subscribers: own.iter().map(|class| class.subscribers).sum(),
            ended: own.iter().map(|class| class.ended).sum(),
            class: name.into(),
            ledger: Ledger::sum(own.iter().map(|class| &class.ledger)),
        }
    });
    merged.collect()
}

/// Percentiles of which reports keep no histogram: those of the only one that has any.
fn only<'a>(
    all: impl Iterator<Item = &'a Percentiles>,
    what: &str,
    notes: &mut Vec<String>,
) -> Percentiles {
    let some: Vec<&Percentiles> = all.filter(|percentiles| percentiles.count > 0).collect();
    match some.as_slice() {
        [] => Percentiles::default(),
        [one] => (*one).clone(),
        several => {
            notes.push(format!(
                "percentiles of {what} are left out: {} reports have them without histograms, and \
                 percentiles do not add up",
                several.len()
            ));
            Percentiles::default()
        }
    }
}
