//! The lines of the terminal report about servers that know nothing of us, feeds that a server
//! paces, and where among the subscribers latency is high.

use std::fmt::{self, Write as _};

use crate::fanout::figures::Fanout;
use crate::fanout::foreign_figures::{
    FeedFigures, ForeignFigures, PositionFigures, SequenceFigures,
};
use crate::measure::model::Report;
use crate::quantity::{format_count, format_ns, format_size};
use crate::report::text::mark;

/// What was received of a feed, before the latencies.
pub fn feed_head(
    report: &Report,
    fanout: &Fanout,
    feed: &FeedFigures,
    out: &mut String,
) -> fmt::Result {
    writeln!(
        out,
        "feed        {} subscribers, {} subscriptions · {} · paced by the server",
        format_count(u64::from(report.config.connections)),
        format_count(fanout.subscriptions),
        fanout.settings.dialect,
    )?;
    writeln!(
        out,
        "            {} messages/s received, {:.1}/s per subscriber · {} of payload in {} received",
        format_count(fanout.deliveries_per_second.round() as u64),
        fanout.deliveries_per_second / f64::from(report.config.connections.max(1)),
        format_size(fanout.payload_bytes),
        format_size(fanout.wire_bytes),
    )?;
    match &feed.stamp {
        Some(stamp) => writeln!(
            out,
            "            delivery is one way, by the server's clock: {stamp} ({}, {}){}",
            feed.unit.as_deref().unwrap_or("unit by size"),
            feed.clock,
            feed.smallest_ns.map_or_else(String::new, |ns| format!(
                " · smallest {}",
                format_signed(ns)
            )),
        ),
        None => writeln!(
            out,
            "            no latency: messages carry no time stamp that was named (--stamp)"
        ),
    }
}

fn format_signed(ns: i64) -> String {
    let sign = if ns < 0 { "-" } else { "" };
    format!("{sign}{}", format_ns(ns.unsigned_abs()))
}

/// What can be reconciled of a feed.
pub fn feed_ledger(feed: &FeedFigures, out: &mut String) -> fmt::Result {
    let is_whole = feed.received == feed.stamped + feed.unstamped;
    writeln!(
        out,
        "ledger     received {} = stamped {} + unstamped {} {}",
        format_count(feed.received),
        format_count(feed.stamped),
        format_count(feed.unstamped),
        mark(is_whole),
    )?;
    if let Some(sequence) = &feed.sequence {
        sequence_line("numbers", sequence, out)?;
    }
    if let Some(sequence) = &feed.lagging_sequence {
        sequence_line("  slow", sequence, out)?;
    }
    let fairness = &feed.fairness;
    writeln!(
        out,
        "fairness   {} least {} · most {} · {} silent, of {} subscribers",
        fairness
            .jain
            .map_or_else(String::new, |jain| format!("Jain {jain:.4} ·")),
        format_count(fairness.least),
        format_count(fairness.most),
        format_count(fairness.silent),
        format_count(fairness.subscribers),
    )
}

fn sequence_line(name: &str, sequence: &SequenceFigures, out: &mut String) -> fmt::Result {
    let counts = &sequence.counts;
    writeln!(
        out,
        "{name:<10} expected {} = seen {} + missing {} {} · gaps {} · dup {} · reordered {} · \
         restarts {} · without number {}",
        format_count(counts.expected),
        format_count(counts.seen),
        format_count(counts.missing),
        mark(sequence.adds_up),
        format_count(counts.gaps),
        format_count(counts.duplicates),
        format_count(counts.reordered),
        format_count(counts.restarts),
        format_count(counts.unnumbered + counts.untracked),
    )
}

/// What the server said beside it.
pub fn foreign(foreign: &ForeignFigures, is_feed: bool, out: &mut String) -> fmt::Result {
    let counts = &foreign.counts;
    if is_feed && counts.confirmations + counts.before_load == 0 {
        return Ok(());
    }
    write!(
        out,
        "server     {} subscriptions confirmed by an answer",
        format_count(counts.confirmations)
    )?;
    if !is_feed {
        write!(
            out,
            " and {} other messages to subscribers · to publishers {} copies, {} others · checked: {}",
            format_count(counts.unmarked),
            format_count(counts.publisher_copies),
            format_count(counts.publisher_messages),
            foreign.verified,
        )?;
    }
    if counts.before_load > 0 {
        write!(
            out,
            " · {} messages before the load, not counted",
            format_count(counts.before_load)
        )?;
    }
    writeln!(out)
}

/// Latency by the order of connecting, in one line.
pub fn position(position: &PositionFigures, out: &mut String) -> fmt::Result {
    let medians: Vec<String> = position
        .tenths_ns
        .iter()
        .map(|tenth| match tenth.count {
            0 => "-".to_owned(),
            _ => format_ns(tenth.p50),
        })
        .collect();
    let ratio = position.p50_ratio.map_or_else(String::new, |ratio| {
        format!(" (slowest by fastest {ratio:.1})")
    });
    writeln!(
        out,
        "position   p50 by tenth of the subscribers as they connected: {}{ratio}",
        medians.join(" ")
    )
}
