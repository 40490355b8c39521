//! `GET /metrics`: all counters of all cores as OpenMetrics text.
//!
//! It owns the names and labels. Labels are the core, and words of the program; nothing that a
//! client chose.

use std::fmt;
use std::sync::Arc;

use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use fanwire_server::hub::counters::HubCounters;
use fanwire_server::{CloseReason, REFUSAL_STATUSES, ShardCounters, ShardId};
use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, NoLabelSet, text};
use prometheus_client::metrics::MetricType;
use prometheus_client::registry::Registry;

use super::routes::{Shared, error};

const CONTENT_TYPE: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

pub(super) async fn metrics(State(shared): State<Arc<Shared>>) -> Response {
    let hub = shared.door.counters().await;
    let shards = shared.door.shard_counters().await;
    let snapshot = Snapshot {
        shards: shards.answers,
        hub: hub.answers,
        is_draining: shared.is_draining(),
    };
    match snapshot.encode() {
        Ok(text) => ([(header::CONTENT_TYPE, CONTENT_TYPE)], text).into_response(),
        Err(_) => error(
            StatusCode::INTERNAL_SERVER_ERROR,
            "internal",
            "the counters could not be written; report this",
        ),
    }
}

/// All counters at one time.
#[derive(Debug)]
struct Snapshot {
    shards: Vec<(ShardId, ShardCounters)>,
    hub: Vec<(ShardId, HubCounters)>,
    is_draining: bool,
}

type Field = fn(&ShardCounters) -> u64;

/// Counters without labels besides the core.
const PLAIN: [(&str, &str, Field); 14] = [
    ("accepted", "TCP connections accepted", |one| one.accepted),
    ("upgraded", "Opening handshakes answered with 101", |one| {
        one.upgraded
    }),
    (
        "handshakes_abandoned",
        "Connections that ended before a whole request had come",
        |one| one.handshakes_abandoned,
    ),
    (
        "refusals_dropped",
        "Connections closed without an answer because too many were being refused",
        |one| one.refusals_dropped,
    ),
    (
        "accept_backoffs",
        "Times that accepting stopped for want of descriptors or memory",
        |one| one.accept_backoffs,
    ),
    (
        "close_timeouts",
        "Connections reset because the peer did not finish the closing handshake",
        |one| one.close_timeouts,
    ),
    ("messages_received", "Messages received", |one| {
        one.messages_received
    }),
    (
        "message_received_bytes",
        "Payload of the messages received, after inflating",
        |one| one.message_bytes_received,
    ),
    (
        "messages_sent",
        "Messages given to connections to send",
        |one| one.messages_sent,
    ),
    (
        "message_sent_bytes",
        "Payload of the messages sent, before deflating",
        |one| one.message_bytes_sent,
    ),
    ("pings_received", "Pings received", |one| one.pings_received),
    (
        "pings_superseded",
        "Pings that a newer one replaced before they could be answered",
        |one| one.pings_superseded,
    ),
    ("pings_sent", "Keep-alive pings sent", |one| one.pings_sent),
    (
        "receive_pauses",
        "Times that receiving was paused because the peer did not read",
        |one| one.receive_pauses,
    ),
];

/// Labels and a value.
type Sample<'a> = (Vec<(&'a str, String)>, u64);

fn counters(
    encoder: &mut DescriptorEncoder<'_>,
    name: &str,
    help: &str,
    samples: impl IntoIterator<Item = Sample<'static>>,
) -> fmt::Result {
    let name = format!("fanwire_{name}");
    let mut family = encoder.encode_descriptor(&name, help, None, MetricType::Counter)?;
    for (labels, value) in samples {
        let mut metric = family.encode_family(&labels)?;
        metric.encode_counter::<NoLabelSet, u64, u64>(&value, None)?;
    }
    Ok(())
}

fn gauges(
    encoder: &mut DescriptorEncoder<'_>,
    name: &str,
    help: &str,
    samples: impl IntoIterator<Item = Sample<'static>>,
) -> fmt::Result {
    let name = format!("fanwire_{name}");
    let mut family = encoder.encode_descriptor(&name, help, None, MetricType::Gauge)?;
    for (labels, value) in samples {
        family.encode_family(&labels)?.encode_gauge(&value)?;
    }
    Ok(())
}

fn core_label(shard: impl ToString) -> (&'static str, String) {
    ("core", shard.to_string())
}

impl Collector for Snapshot {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let encoder = &mut encoder;
        for (name, help, field) in PLAIN {
            let shards = self.shards.iter();
            let samples = shards.map(|(shard, one)| (vec![core_label(shard)], field(one)));
            counters(encoder, name, help, samples)?;
        }
        self.encode_labelled(encoder)?;
        let shards = self.shards.iter();
        let open = shards.map(|(shard, one)| (vec![core_label(shard)], one.open));
        gauges(
            encoder,
            "connections_open",
            "Established connections that are open",
            open,
        )?;
        let draining = [(Vec::new(), u64::from(self.is_draining))];
        gauges(encoder, "draining", "1 while the server ends", draining)?;
        let answered = [(Vec::new(), self.shards.len() as u64)];
        let help = "Cores that answered this scrape in time";
        gauges(encoder, "cores_answered", help, answered)?;
        self.encode_hub(encoder)
    }
}

impl Snapshot {
    fn encode(self) -> Result<String, fmt::Error> {
        let mut registry = Registry::default();
        registry.register_collector(Box::new(self));
        let mut text = String::new();
        text::encode(&mut text, &registry)?;
        Ok(text)
    }

    /// Refusals by status, closes by reason: also those that never happened, so that the first one
    /// is seen as a change.
    fn encode_labelled(&self, encoder: &mut DescriptorEncoder<'_>) -> fmt::Result {
        let refused = self.shards.iter().flat_map(|(shard, one)| {
            one.refused.iter().enumerate().map(move |(index, count)| {
                let status = REFUSAL_STATUSES.get(index);
                let status = status.map_or("other".to_owned(), u16::to_string);
                (vec![core_label(shard), ("status", status)], *count)
            })
        });
        counters(
            encoder,
            "refused",
            "Opening handshakes refused, by status",
            refused,
        )?;
        let closed = self.shards.iter().flat_map(|(shard, one)| {
            CloseReason::all().map(move |reason| {
                let labels = vec![core_label(shard), ("reason", reason.label().to_owned())];
                (labels, one.closed_for(reason))
            })
        });
        counters(
            encoder,
            "closed",
            "Established connections that ended, by reason",
            closed,
        )
    }

    fn encode_hub(&self, encoder: &mut DescriptorEncoder<'_>) -> fmt::Result {
        let entries = |(shard, one): &(ShardId, HubCounters)| (*shard, one.entries());
        let cores: Vec<_> = self.hub.iter().map(entries).collect();
        for (index, (name, help, is_gauge, _)) in
            HubCounters::default().entries().iter().enumerate()
        {
            let samples = cores.iter().filter_map(|(shard, entries)| {
                let (.., value) = entries.get(index)?;
                Some((vec![core_label(shard)], *value))
            });
            let name = format!("hub_{name}");
            let help = help.trim_end_matches('.');
            match is_gauge {
                true => gauges(encoder, &name, help, samples)?,
                false => counters(encoder, &name, help, samples)?,
            }
        }
        Ok(())
    }
}
