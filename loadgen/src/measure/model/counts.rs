//! Messages, connections and latencies as a report has them.
//!
//! Owns which counter and which histogram of the sheets stands under which name, and what a fan-out
//! says in place of replies.

use std::collections::BTreeMap;

use super::Measured;
use crate::config::{Config, Mode};
use crate::fanout::figures::Fanout;
use crate::measure::figures::{Connections, Latencies, Messages, Percentiles};
use crate::measure::latency::Latency;
use crate::measure::tally::Tally;

/// Messages and their replies; of a fan-out, copies.
pub fn messages(measured: &Measured, fanout: Option<&Fanout>) -> Messages {
    if let Some(fanout) = fanout {
        return copies(measured, fanout);
    }
    let tally = &measured.sheet.tally;
    Messages {
        sent: tally.sent,
        received: tally.received,
        lost: tally.lost,
        in_flight: tally.in_flight,
        unsent: tally.unsent,
        duplicates: tally.duplicates,
        reordered: tally.reordered,
        corrupt: tally.corrupt,
        unsolicited: tally.unsolicited,
        dropped: tally.dropped,
        ignored: tally.ignored,
        adds_up: tally.identity_holds(),
        payload_bytes_received: tally.payload_bytes_received,
    }
}

/// Of a fan-out: copies, with messages only in `sent`.
fn copies(measured: &Measured, fanout: &Fanout) -> Messages {
    let ledger = &fanout.ledger;
    Messages {
        sent: fanout.published,
        received: ledger.delivered,
        lost: u64::try_from(ledger.missing).unwrap_or(0),
        in_flight: ledger.in_flight,
        unsent: measured.sheet.tally.unsent,
        duplicates: ledger.duplicates,
        reordered: ledger.reordered,
        corrupt: ledger.torn,
        unsolicited: ledger.foreign + ledger.strangers,
        dropped: measured.sheet.tally.dropped,
        ignored: measured.sheet.tally.ignored,
        adds_up: ledger.adds_up,
        payload_bytes_received: fanout.payload_bytes,
    }
}

/// Connections, and what they agreed on.
pub fn connections(config: &Config, tally: &Tally) -> Connections {
    Connections {
        asked: tally.asked,
        open: tally.open,
        upgraded: tally.upgraded,
        served: tally.served,
        alive: tally.alive,
        stalled: tally.stalled,
        pings_answered: tally.pings,
        pings_sent: tally.pings_sent,
        pongs: tally.pongs,
        pongs_missing: tally.pongs_missing,
        fairness: tally.fairness.index().filter(|_| config.mode == Mode::Echo),
        deflate_agreed: tally.deflate.clone(),
    }
}

/// Percentiles by what they measure; `response` is the whole window's.
pub fn latencies(
    config: &Config,
    measured: &Measured,
    response: &Latency,
    fanout: Option<&Fanout>,
) -> Latencies {
    let has_first_message = matches!(config.mode, Mode::Storm | Mode::Churn);
    let is_feed = fanout.is_some_and(|fanout| fanout.feed.is_some());
    // Nobody knows when a server handed a message to its socket.
    let service = if config.is_open_loop() || is_feed {
        &measured.sheet.service
    } else {
        response
    };
    Latencies {
        service: Percentiles::of(service),
        connect: Percentiles::of(&measured.sheet.connect),
        tls: config
            .target
            .is_secured
            .then(|| Percentiles::of(&measured.sheet.tls)),
        ping: config
            .ping_interval_ns
            .map(|_| Percentiles::of(&measured.sheet.ping)),
        upgrade: Percentiles::of(&measured.sheet.upgrade),
        first_message: has_first_message.then(|| Percentiles::of(&measured.sheet.first_message)),
        last: fanout.map(|fanout| fanout.message.last_ns.clone()),
        first: fanout
            .as_ref()
            .map(|fanout| fanout.message.first_ns.clone()),
        healthy: fanout.map(|_| Percentiles::of(response)),
        response: Percentiles::of(response),
    }
}

/// The histograms that hold a value.
pub fn histograms(
    measured: &Measured,
    response: &Latency,
    fanout: Option<&Fanout>,
) -> BTreeMap<String, String> {
    let sheet = &measured.sheet;
    let mut named = vec![
        ("response", response),
        ("service", &sheet.service),
        ("late", &sheet.late),
        ("hiccups", &measured.hiccups),
        ("connect", &sheet.connect),
        ("tls", &sheet.tls),
        ("upgrade", &sheet.upgrade),
        ("ping", &sheet.ping),
        ("first_message", &sheet.first_message),
    ];
    if let Some(fanout) = fanout {
        named.extend(fanout.message.histograms());
    }
    if let Some(churn) = &sheet.churn {
        named.extend(churn.histograms());
    }
    named
        .into_iter()
        .filter(|(_, latency)| latency.count() > 0)
        .map(|(name, latency)| (name.to_owned(), latency.encode()))
        .collect()
}
