//! Whether a server can be reached and answers: name, TCP, TLS, opening handshake, one echo.
//!
//! Asks by a short run of `echo` on one connection, so that what is tried here is what a load will
//! do. Owns how its report reads as answers.

use std::net::SocketAddr;

use super::Finding;
use crate::measure::model::Report;
use crate::quantity::{format_count, format_ns};

/// What `echo` is told for the test: one connection, one message at a time, for a moment.
pub const ECHO_OPTIONS: &[&str] = &[
    "-c", "1", "-t", "1", "-d", "300ms", "-w", "0s", "--drain", "1s", "--quiet",
];

/// A name that leads nowhere, or a URL that makes no sense.
pub fn unresolved(error: &str) -> Finding {
    Finding::fail(
        "resolve",
        error,
        "check the URL; getent hosts NAME shows what the name means",
    )
}

/// The name led to an address.
pub fn resolved(host: &str, address: SocketAddr) -> Finding {
    Finding::ok("resolve", format!("{host} is {}", address.ip()))
}

/// The test could not be made.
pub fn untried(error: &str) -> Finding {
    Finding::fail("connect", error, "mend what stands above first")
}

/// Reads the report of the test.
pub fn read(report: &Report) -> Vec<Finding> {
    let connections = &report.connections;
    let error = report.error_examples.iter().next();
    let explained = error.map_or_else(
        || "nobody knows why".to_owned(),
        |(kind, example)| format!("{kind}: {example}"),
    );
    if connections.open == 0 {
        let cure =
            "is the server running and listening on that address? ss -tln shows it on its host";
        return vec![Finding::fail("TCP connect", explained, cure)];
    }
    let latency = &report.latency_ns;
    let mut findings = vec![Finding::ok("TCP connect", format_ns(latency.connect.max))];
    if connections.upgraded == 0 {
        let is_tls = error.is_some_and(|(kind, _)| kind.starts_with("tls"));
        let (name, cure) = if is_tls {
            (
                "TLS",
                "pass the authority with --tls-ca, or --insecure to believe any certificate",
            )
        } else {
            (
                "upgrade",
                "check path, Host, Origin (--origin), subprotocol (--subprotocol) and credentials (-H)",
            )
        };
        findings.push(Finding::fail(name, explained, cure));
        return findings;
    }
    if let Some(tls) = &latency.tls {
        findings.push(Finding::ok("TLS", format_ns(tls.max)));
    }
    findings.push(Finding::ok(
        "upgrade",
        format!("101 after {}", format_ns(latency.upgrade.max)),
    ));
    findings.extend(echoes(report, &explained));
    findings
}

fn echoes(report: &Report, explained: &str) -> Vec<Finding> {
    let messages = &report.messages;
    if messages.received == 0 {
        let found = if report.errors.is_empty() {
            "upgraded, but nothing came back".to_owned()
        } else {
            format!("upgraded, but then {explained}")
        };
        let cure =
            "the server does not echo: `echo` measures servers that do, `fanout` and `idle` others";
        return vec![Finding::warn("echo", found, cure)];
    }
    let mut findings = vec![
        if messages.corrupt + messages.duplicates + messages.unsolicited == 0 {
            Finding::ok("echo", "came back as it was sent")
        } else {
            Finding::warn(
                "echo",
                format!(
                    "{} replies were not what was sent",
                    format_count(messages.corrupt)
                ),
                "a server that answers with something else: --verify len or --verify none",
            )
        },
    ];
    let response = &report.latency_ns.response;
    findings.push(Finding::ok(
        "round trip",
        format!(
            "p50 {}, p99 {} ({} echoes)",
            format_ns(response.p50),
            format_ns(response.p99),
            format_count(response.count)
        ),
    ));
    findings
}
