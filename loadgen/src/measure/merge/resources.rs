//! Adding up what the server and the generators used.

use std::collections::BTreeMap;

use super::{largest, percentiles};
use crate::measure::figures::{Generator, Server};
use crate::measure::latency::Latency;
use crate::measure::model::Report;

/// All processes together.
pub fn generator(
    reports: &[Report],
    done: f64,
    histograms: &BTreeMap<String, Latency>,
) -> Generator {
    let of = |read: fn(&Generator) -> Option<f64>| {
        largest(reports.iter().map(|report| read(&report.generator)))
    };
    let cpu_ns: Option<f64> = reports
        .iter()
        .map(|report| {
            let each = report.generator.cpu_ns_per_message?;
            Some(each * super::done(report))
        })
        .sum();
    let mut clocks: Vec<&str> = reports
        .iter()
        .filter_map(|report| report.generator.clock_source.as_deref())
        .collect();
    clocks.dedup();
    Generator {
        cpu_share: of(|generator| generator.cpu_share),
        busy_share: of(|generator| generator.busy_share),
        wait_share: of(|generator| generator.wait_share),
        thread_cpu_shares: reports
            .iter()
            .flat_map(|report| report.generator.thread_cpu_shares.iter().copied())
            .collect(),
        cpu_ns_per_message: cpu_ns.filter(|_| done > 0.0).map(|cpu_ns| cpu_ns / done),
        hiccups_ns: percentiles(histograms, "hiccups"),
        // Processes of one host counted the same segments; those of several did not, but nobody
        // can tell.
        segments_retransmitted: reports
            .iter()
            .filter_map(|report| report.generator.segments_retransmitted)
            .max(),
        completion_overflows: reports
            .iter()
            .map(|report| report.generator.completion_overflows)
            .sum(),
        late_ns: percentiles(histograms, "late"),
        backends: reports
            .iter()
            .flat_map(|report| report.generator.backends.iter().cloned())
            .collect(),
        clock_source: (!clocks.is_empty()).then(|| clocks.join(", ")),
        rss_bytes_per_connection: of(|generator| generator.rss_bytes_per_connection),
        anonymous_bytes_per_connection: of(|generator| generator.anonymous_bytes_per_connection),
    }
}

/// All processes watched one server: its CPU time is not to be counted once for each of them.
pub fn server(
    reports: &[Report],
    done: f64,
    span_s: f64,
    notes: &mut Vec<String>,
) -> Option<Server> {
    let servers: Vec<&Server> = reports
        .iter()
        .filter_map(|report| report.server.as_ref())
        .collect();
    let first = servers.first()?;
    if servers.iter().any(|server| server.pid != first.pid) {
        notes.push(
            "figures of the server are left out: the reports watched different processes"
                .to_owned(),
        );
        return None;
    }
    let of = |read: fn(&Server) -> Option<f64>| largest(servers.iter().map(|server| read(server)));
    let cpus_used = of(|server| server.cpus_used);
    let cpu_ns = cpus_used.map(|cpus| cpus * span_s * 1e9);
    let before = servers
        .iter()
        .filter_map(|server| server.rss_before_bytes)
        .min();
    let open = servers
        .iter()
        .filter_map(|server| server.rss_open_bytes)
        .max();
    let upgraded: u64 = reports
        .iter()
        .map(|report| report.connections.upgraded)
        .sum();
    let growth = before.zip(open).filter(|_| upgraded > 0);
    Some(Server {
        pid: first.pid,
        cpu_ns_per_message: cpu_ns.filter(|_| done > 0.0).map(|ns| ns / done),
        messages_per_cpu_second: cpu_ns.filter(|ns| *ns > 0.0).map(|ns| done * 1e9 / ns),
        busy_share: of(|server| server.busy_share),
        wait_share: of(|server| server.wait_share),
        cpus_used,
        voluntary_switches_per_second: of(|server| server.voluntary_switches_per_second),
        involuntary_switches_per_second: of(|server| server.involuntary_switches_per_second),
        rss_before_bytes: before,
        rss_open_bytes: open,
        rss_bytes_per_connection: growth
            .map(|(before, open)| (open as f64 - before as f64) / upgraded as f64),
        // Each process saw the growth that all of them caused, and its bytes are not in a report.
        anonymous_bytes_per_connection: None,
    })
}
