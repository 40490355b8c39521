//! What only a fan-out shows: reach, and where every copy went.

use super::block::{Block, Row, Section, Table, term};
use crate::fanout::figures::{Fanout, Ledger};
use crate::measure::model::Report;
use crate::quantity::format_count;
use crate::report::text::{amount, latency, percent, size};

/// The section of a fan-out.
pub fn section(report: &Report) -> Option<Section> {
    let fanout = report.fanout.as_ref()?;
    let ledger = &fanout.ledger;
    let mut terms = vec![
        term("delivered", ledger.delivered),
        term("announced as gap", ledger.declared_gap),
        term("conflated", ledger.conflated),
        term("not recovered", ledger.unrecovered),
        term("cut off at close", ledger.cut_off_at_close),
        term("in flight", ledger.in_flight),
    ];
    if ledger.missing != 0 {
        terms.push(("missing".to_owned(), ledger.missing.to_string()));
    }
    let mut blocks = vec![
        Block::Facts(facts(report, fanout)),
        Block::Text(
            "The ledger: every copy that somebody was entitled to is delivered, announced as left \
             out by the server, or still on its way."
                .to_owned(),
        ),
        Block::Identity {
            total: term("eligible", ledger.eligible),
            terms,
            holds: ledger.adds_up,
        },
    ];
    if fanout.classes.len() > 1 {
        blocks.push(Block::Table(classes(fanout)));
    }
    blocks.push(Block::Facts(faults(fanout)));
    Some(Section {
        title: "Fan-out".to_owned(),
        blocks,
    })
}

fn facts(report: &Report, fanout: &Fanout) -> Vec<(String, String)> {
    let settings = &fanout.settings;
    let text = |name: &str, value: String| (name.to_owned(), value);
    let mut facts = vec![
        term("publishers", settings.publishers.into()),
        term("topics", settings.topics.into()),
        term("subscribers", report.config.connections.into()),
        term("subscriptions", fanout.subscriptions),
        text(
            "published",
            format!(
                "{} messages, {}",
                format_count(fanout.published),
                amount(fanout.published_per_second, "/s").joined()
            ),
        ),
        text(
            "delivered",
            amount(fanout.deliveries_per_second, "/s").joined(),
        ),
        text(
            "payload received",
            size(fanout.payload_bytes as f64).joined(),
        ),
        text("on the wire", size(fanout.wire_bytes as f64).joined()),
        text("protocol", settings.dialect.to_string()),
    ];
    facts.extend(special_facts(fanout));
    facts
}

/// What only some fan-outs have.
fn special_facts(fanout: &Fanout) -> Vec<(String, String)> {
    let message = &fanout.message;
    let mut facts = Vec::new();
    let mut push = |name: &str, value: String| facts.push((name.to_owned(), value));
    if let (Some(mean), Some(least)) = (message.reach_mean, message.reach_min) {
        let followed = format_count(message.followed);
        let sample = match message.every {
            0 | 1 => format!("{followed} messages"),
            every => format!("{followed} messages, one in {}", format_count(every)),
        };
        push(
            "reach",
            format!(
                "{} on average, {} at least, of {sample}",
                percent(mean).joined(),
                percent(least).joined()
            ),
        );
    }
    if let Some(churn) = &fanout.churn {
        push(
            "left and came back",
            format!(
                "{} and {}",
                format_count(churn.left),
                format_count(churn.returned)
            ),
        );
        push(
            "subscriptions resumed",
            format!(
                "{} whole, {} not",
                format_count(churn.recovered),
                format_count(churn.not_recovered)
            ),
        );
    }
    if fanout.refused + fanout.unanswered + fanout.unconfirmed > 0 {
        push(
            "publishing",
            format!(
                "{} refused, {} unanswered; {} subscriptions not confirmed",
                format_count(fanout.refused),
                format_count(fanout.unanswered),
                format_count(fanout.unconfirmed)
            ),
        );
    }
    facts
}

fn faults(fanout: &Fanout) -> Vec<(String, String)> {
    let ledger = &fanout.ledger;
    vec![
        term("duplicates", ledger.duplicates),
        term("out of order", ledger.reordered),
        term("of foreign topics", ledger.foreign),
        term("torn", ledger.torn),
        term("strangers", ledger.strangers),
        term("numbering faults", ledger.faults),
    ]
}

fn classes(fanout: &Fanout) -> Table {
    let head = [
        "subscribers",
        "count",
        "ended",
        "delivery p50",
        "delivery p99",
        "eligible",
        "delivered",
        "gap",
        "conflated",
        "cut off",
        "in flight",
        "missing",
    ];
    let rows = fanout.classes.iter().map(|class| {
        let Ledger {
            eligible,
            delivered,
            declared_gap,
            conflated,
            cut_off_at_close,
            in_flight,
            missing,
            adds_up,
            ..
        } = class.ledger;
        let mut cells = vec![
            class.class.to_string(),
            format_count(class.subscribers),
            format_count(class.ended),
            latency(class.delivery_ns.p50 as f64).joined(),
            latency(class.delivery_ns.p99 as f64).joined(),
        ];
        let counts = [
            eligible,
            delivered,
            declared_gap,
            conflated,
            cut_off_at_close,
            in_flight,
        ];
        cells.extend(counts.map(format_count));
        cells.push(missing.to_string());
        Row {
            class: if adds_up { "" } else { "bad" },
            cells,
            ..Row::default()
        }
    });
    Table {
        head: head.map(str::to_owned).to_vec(),
        rows: rows.collect(),
        ..Table::default()
    }
}
