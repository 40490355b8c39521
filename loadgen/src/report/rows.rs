//! Which latencies a report shows, under which names, in which order, and which percentiles of them.
//!
//! The terminal, Markdown and the page show the same rows; how they look is theirs.

use crate::measure::figures::Percentiles;
use crate::measure::model::Report;

/// A latency to show.
#[derive(Clone, Copy, Debug)]
pub struct LatencyRow<'a> {
    /// What it is called.
    pub name: &'a str,
    /// From when to when it was taken, for those who wonder.
    pub meaning: &'static str,
    /// Name of its histogram in the report, where there is one.
    pub histogram: &'static str,
    /// Its figures.
    pub percentiles: &'a Percentiles,
}

impl LatencyRow<'_> {
    /// One of its percentiles is left to chance and bears a mark.
    pub fn is_marked(&self) -> bool {
        !self.percentiles.unreliable.is_empty()
    }
}

/// Heads of the columns of percentiles.
pub const PERCENTILE_HEADS: [&str; 6] = ["p50", "p90", "p99", "p99.9", "p99.99", "max"];
/// What a mark on a percentile means.
pub const MARK_NOTE: &str = "fewer than 10 values lie above it: chance decides it";

/// The cells below [`PERCENTILE_HEADS`]: each latency as `write` has it, with `mark` behind those
/// that chance decides.
pub fn percentile_cells(
    percentiles: &Percentiles,
    mark: &str,
    write: impl Fn(u64) -> String,
) -> [String; 6] {
    let values = [
        ("p50", percentiles.p50),
        ("p90", percentiles.p90),
        ("p99", percentiles.p99),
        ("p999", percentiles.p999),
        ("p9999", percentiles.p9999),
        ("max", percentiles.max),
    ];
    values.map(|(name, ns)| {
        let is_chance = percentiles.unreliable.iter().any(|other| other == name);
        format!("{}{}", write(ns), if is_chance { mark } else { "" })
    })
}

/// All latencies that hold a value.
pub fn latency_rows(report: &Report) -> Vec<LatencyRow<'_>> {
    let latency = &report.latency_ns;
    let mut rows = Vec::new();
    let mut push = |name, meaning, histogram, percentiles| {
        rows.push(LatencyRow {
            name,
            meaning,
            histogram,
            percentiles,
        });
    };
    message_rows(report, &mut push);
    fanout_rows(report, &mut push);
    push(
        "connect",
        "TCP connection: from the call to established",
        "connect",
        &latency.connect,
    );
    if let Some(tls) = &latency.tls {
        push(
            "tls",
            "TLS handshake: from the client's first flight to finished",
            "tls",
            tls,
        );
    }
    push(
        "upgrade",
        "opening handshake: from the request to the whole response",
        "upgrade",
        &latency.upgrade,
    );
    if let Some(ping) = &latency.ping {
        push(
            "ping to pong",
            "from our ping to the pong that answers it",
            "ping",
            ping,
        );
    }
    if let Some(first_message) = &latency.first_message {
        push(
            "first message",
            "from the first message on a connection to its reply",
            "first_message",
            first_message,
        );
    }
    churn_rows(report, &mut push);
    push(
        "late sends",
        "from when a message was due to when it was really sent",
        "late",
        &report.generator.late_ns,
    );
    rows.retain(|row| row.percentiles.count > 0);
    rows
}

fn message_rows<'a>(
    report: &'a Report,
    push: &mut impl FnMut(&'a str, &'static str, &'static str, &'a Percentiles),
) {
    let latency = &report.latency_ns;
    match (report.mode.as_ref(), report.loop_model.as_ref()) {
        ("idle", _) => {}
        // Its only messages are then the first of every connection.
        ("churn", "none") => {}
        ("fanout", "server") => push(
            "delivery (one way)",
            "from a message's own time stamp, by the server's clock, to its arrival",
            "response",
            &latency.response,
        ),
        ("fanout", _) => {
            push(
                "delivery (intended)",
                "from when a message was due to each copy at a healthy subscriber",
                "response",
                &latency.response,
            );
            push(
                "service (actual)",
                "from when it was really sent to each copy",
                "service",
                &latency.service,
            );
        }
        (_, "closed") => push(
            "service (closed loop)",
            "from when a message was sent to its reply; the next waits for it",
            "response",
            &latency.service,
        ),
        _ => {
            push(
                "response (intended)",
                "from when it was due by the schedule to its reply",
                "response",
                &latency.response,
            );
            push(
                "service (actual)",
                "from when it was really sent to its reply",
                "service",
                &latency.service,
            );
        }
    }
}

fn churn_rows<'a>(
    report: &'a Report,
    push: &mut impl FnMut(&'a str, &'static str, &'static str, &'a Percentiles),
) {
    let Some(churn) = &report.churn else { return };
    push(
        "recover",
        "from when a client lost its connection to when it was served again",
        "recover",
        &churn.recover_ns,
    );
    push(
        "recover w/o waiting",
        "the same without the waiting times that the client chose itself",
        "recover_active",
        &churn.recover_active_ns,
    );
    push(
        "closing handshake",
        "from our close frame to the end of the connection",
        "close",
        &churn.close_ns,
    );
    push(
        "attempts late",
        "from when an attempt to connect was due to when it was begun",
        "attempt_late",
        &churn.attempt_late_ns,
    );
}

fn fanout_rows<'a>(
    report: &'a Report,
    push: &mut impl FnMut(&'a str, &'static str, &'static str, &'a Percentiles),
) {
    let Some(fanout) = &report.fanout else { return };
    push(
        "last subscriber",
        "from when a message was due to its last copy: what everybody waits for",
        "fanout_last",
        &fanout.message.last_ns,
    );
    push(
        "first subscriber",
        "from when a message was due to its first copy",
        "fanout_first",
        &fanout.message.first_ns,
    );
    push(
        "spread (last - first)",
        "from the first copy of a message to its last",
        "fanout_spread",
        &fanout.message.spread_ns,
    );
    if let Some(feed) = &fanout.feed {
        push(
            "between two messages",
            "from one message of a subscriber to its next",
            "",
            &feed.interval_ns,
        );
    }
    for class in &fanout.classes {
        let name = match class.class.as_ref() {
            "slow" => "delivery, slow",
            "stalled" => "delivery, stalled",
            "churning" => "delivery, churning",
            _ => continue,
        };
        push(
            name,
            "from when a message was due to each copy at such a subscriber",
            "",
            &class.delivery_ns,
        );
    }
    push(
        "publish acknowledged",
        "from when a message was due to the server's acknowledgement",
        "",
        &fanout.acknowledgement_ns,
    );
}
