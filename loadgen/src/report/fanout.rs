//! The part of the terminal report that only a fan-out has.

use std::fmt::{self, Write as _};

use crate::fanout::figures::{ClassFigures, Fanout, Ledger};
use crate::measure::model::Report;
use crate::quantity::{format_count, format_ns, format_size};
use crate::report::foreign;
use crate::report::text::mark;

/// What was published and delivered, before the latencies.
pub fn head(report: &Report, fanout: &Fanout, out: &mut String) -> fmt::Result {
    if let Some(feed) = &fanout.feed {
        return foreign::feed_head(report, fanout, feed, out);
    }
    let settings = &fanout.settings;
    writeln!(
        out,
        "fan-out     {} {} × {} {} → {} subscribers, {} subscriptions · {} · {} payloads of {}",
        format_count(u64::from(settings.publishers)),
        plural(settings.publishers, "publisher"),
        format_count(u64::from(settings.topics)),
        plural(settings.topics, "topic"),
        format_count(u64::from(report.config.connections)),
        format_count(fanout.subscriptions),
        settings.dialect,
        settings.payload,
        format_size(report.config.message_size_bytes as u64),
    )?;
    writeln!(
        out,
        "            {} deliveries/s of {:.0} messages/s{} · {} of payload in {} received",
        format_count(fanout.deliveries_per_second.round() as u64),
        fanout.published_per_second,
        if settings.burst > 1 {
            format!(" in bursts of {}", settings.burst)
        } else {
            String::new()
        },
        format_size(fanout.payload_bytes),
        format_size(fanout.wire_bytes),
    )
}

fn plural(count: u32, noun: &str) -> String {
    format!("{noun}{}", if count == 1 { "" } else { "s" })
}

/// Reach and ledger.
pub fn integrity(fanout: &Fanout, out: &mut String) -> fmt::Result {
    let message = &fanout.message;
    if let (Some(mean), Some(least)) = (message.reach_mean, message.reach_min) {
        let sampled = if message.every > 1 {
            format!(" (one message in {})", format_count(message.every))
        } else {
            String::new()
        };
        writeln!(
            out,
            "reach      {:.4} % on average, {:.4} % at least, of the healthy subscribers, {} messages{sampled}",
            mean * 100.0,
            least * 100.0,
            format_count(message.followed)
        )?;
    }
    if let Some(position) = &fanout.position {
        foreign::position(position, out)?;
    }
    if let Some(figures) = &fanout.foreign {
        foreign::foreign(figures, fanout.feed.is_some(), out)?;
    }
    if let Some(feed) = &fanout.feed {
        return foreign::feed_ledger(feed, out);
    }
    ledger(out, "ledger", &fanout.ledger)?;
    if fanout.classes.len() > 1 {
        for class in &fanout.classes {
            class_line(out, class)?;
        }
    }
    let all = &fanout.ledger;
    writeln!(
        out,
        "integrity  dup {} · reordered {} · foreign {} · torn {} · strangers {} · numbering faults {}",
        format_count(all.duplicates),
        format_count(all.reordered),
        format_count(all.foreign),
        format_count(all.torn),
        format_count(all.strangers),
        format_count(all.faults),
    )?;
    if let Some(churn) = &fanout.churn {
        writeln!(
            out,
            "churn      left {} · came back {} · subscriptions resumed whole {} · not whole {}",
            format_count(churn.left),
            format_count(churn.returned),
            format_count(churn.recovered),
            format_count(churn.not_recovered),
        )?;
    }
    if fanout.refused + fanout.unanswered + fanout.unconfirmed > 0 {
        writeln!(
            out,
            "publish    refused {} · unanswered {} · subscriptions not confirmed {}",
            format_count(fanout.refused),
            format_count(fanout.unanswered),
            format_count(fanout.unconfirmed),
        )?;
    }
    Ok(())
}

fn ledger(out: &mut String, name: &str, ledger: &Ledger) -> fmt::Result {
    let missing = if ledger.adds_up {
        String::new()
    } else {
        format!(" missing {}", ledger.missing)
    };
    writeln!(
        out,
        "{name:<10} eligible {} = delivered {} + gap {} + conflated {} + unrecovered {} + cut off {} + \
         in flight {} {}{missing}",
        format_count(ledger.eligible),
        format_count(ledger.delivered),
        format_count(ledger.declared_gap),
        format_count(ledger.conflated),
        format_count(ledger.unrecovered),
        format_count(ledger.cut_off_at_close),
        format_count(ledger.in_flight),
        mark(ledger.adds_up),
    )
}

fn class_line(out: &mut String, class: &ClassFigures) -> fmt::Result {
    let ended = match class.ended {
        0 => String::new(),
        ended => format!(", {} ended", format_count(ended)),
    };
    let p99 = format_ns(class.delivery_ns.p99);
    writeln!(
        out,
        "  {} × {}{ended} · delivery p99 {p99}",
        class.class,
        format_count(class.subscribers)
    )?;
    ledger(out, "", &class.ledger)
}
