//! What was asked for, in the words of the report.
//!
//! Owns nothing else: a report can be repeated from it.

use crate::config::Config;
use crate::measure::figures::Settings;
use crate::message::sizes::Sizes;
use crate::pace::rate::describe_stages;
use fanwire_protocol::MessageKind;

/// The settings of a run.
pub fn settings(config: &Config) -> Settings {
    Settings {
        further_ports: config.further_ports.clone(),
        ping_interval_ms: config.ping_interval_ns.map(|ns| ns as f64 / 1e6),
        tls_server_name: config
            .tls
            .as_ref()
            .map(|client| client.server_name().to_owned()),
        tls_is_verified: config.tls.as_ref().map(|client| !client.is_insecure()),
        connections: config.connections,
        threads: config.threads,
        message_size_bytes: config.message_size,
        message_kind: match config.kind {
            MessageKind::Text => "text",
            MessageKind::Binary => "binary",
        }
        .into(),
        rate_per_second: config.rate,
        in_flight: config.in_flight,
        cpus: config.cpus.clone(),
        sources: config.sources.len(),
        verify: config.verify.as_str().into(),
        spin: config.spin,
        backend: format!("{:?}", config.backend).to_ascii_lowercase(),
        deflate_offered: config.deflate.is_some(),
        connect_rate_per_second: config.connect_rate,
        connect_timeout_ms: config.connect_timeout_ms,
        drain_ms: config.drain_ms,
        seed: config.seed,
        address: config.address.to_string(),
        version: env!("CARGO_PKG_VERSION").into(),
        is_loopback: config.address.ip().is_loopback(),
        message_sizes: match &config.message.given {
            Some(_) => "given".into(),
            None => config
                .message
                .sizes
                .as_ref()
                .map_or_else(String::new, Sizes::describe),
        },
        arrival: config.pace.arrival.describe(),
        catch_up: config.pace.catch_up.describe(),
        stages: describe_stages(&config.pace.stages),
        messages_max: config.pace.messages_max,
        fragment_size_bytes: config.message.fragment_size_bytes,
        masking: config.message.masking.as_str().into(),
    }
}
