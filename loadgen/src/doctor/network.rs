//! Kernel settings of the network: source ports, listen queues, connection tracking, TCP memory.

use super::limits::number;
use super::{Finding, Level, Plan};
use crate::measure::environment::facts::HostFiles;
use crate::quantity::{format_count, format_size};

/// Accept queues shorter than this lose connections when many are opened at once.
const QUEUE_WANTED: u64 = 4_096;
/// Bytes of a page, in which `tcp_mem` counts, on every processor that this runs on.
const PAGE_BYTES: u64 = 4_096;
/// Pages of socket memory that a connection with a message under way may take at each end.
const PAGES_PER_END: u64 = 1;

/// Asks.
pub fn ask(host: &HostFiles, plan: &Plan) -> Vec<Finding> {
    let mut findings: Vec<Finding> = source_ports(host, plan).into_iter().collect();
    findings.extend(queue(host, plan, "net.core.somaxconn"));
    findings.extend(queue(host, plan, "net.ipv4.tcp_max_syn_backlog"));
    findings.push(connection_tracking(host, plan));
    findings.extend(tcp_memory(host, plan));
    findings.extend(time_wait(host, plan));
    findings
}

fn path_of(sysctl: &str) -> String {
    format!("proc/sys/{}", sysctl.replace('.', "/"))
}

/// The one line of arithmetic.
fn source_ports(host: &HostFiles, plan: &Plan) -> Option<Finding> {
    const NAME: &str = "source ports";
    let range = host.text(path_of("net.ipv4.ip_local_port_range"))?;
    let mut ends = range.split_ascii_whitespace().map(str::parse::<u64>);
    let (first, last) = (ends.next()?.ok()?, ends.next()?.ok()?);
    let ports = last.saturating_sub(first) + 1;
    let needed = plan.connections.div_ceil(ports);
    let have = plan.sources.max(1);
    let found = format!(
        "{} connections need >= {needed} source address{} x 1 port ({} each with {first}-{last}); \
         you have {have}",
        format_count(plan.connections),
        if needed == 1 { "" } else { "es" },
        format_count(ports),
    );
    if have >= needed {
        return Some(Finding::ok(NAME, format!("{found}: ok")));
    }
    let prefix = 32 - needed.next_power_of_two().trailing_zeros();
    let cure = if plan.is_loopback {
        format!("--source 127.0.0.0/{prefix}")
    } else {
        format!(
            "add {needed} addresses to the interface and pass them with --source; or sysctl -w \
             net.ipv4.ip_local_port_range=\"1024 65535\" for 64,512 each"
        )
    };
    Some(Finding::fail(NAME, found, cure))
}

/// Only a server on this host has its queues here.
fn queue(host: &HostFiles, plan: &Plan, sysctl: &'static str) -> Option<Finding> {
    let longest = number(host, &path_of(sysctl))?;
    if !plan.is_loopback {
        return None;
    }
    let wanted = QUEUE_WANTED.min(plan.connections.next_power_of_two());
    let found = format!("{} (of a server on this host)", format_count(longest));
    Some(if longest < wanted {
        Finding::warn(sysctl, found, format!("sysctl -w {sysctl}={QUEUE_WANTED}"))
    } else {
        Finding::ok(sysctl, found)
    })
}

fn connection_tracking(host: &HostFiles, plan: &Plan) -> Finding {
    const NAME: &str = "conntrack";
    let sysctl = "net.netfilter.nf_conntrack_max";
    let Some(most) = number(host, &path_of(sysctl)) else {
        return Finding::ok(NAME, "not loaded, or not for this network namespace");
    };
    let used = number(host, &path_of("net.netfilter.nf_conntrack_count")).unwrap_or(0);
    let needed = used + plan.connections;
    let found = format!(
        "{} of {} entries used; {} with all connections",
        format_count(used),
        format_count(most),
        format_count(needed)
    );
    let cure = format!("sysctl -w {sysctl}={}", (2 * needed).next_power_of_two());
    if most < needed {
        Finding::fail(NAME, found, cure)
    } else if most < 2 * needed {
        // Closed connections keep their entries for minutes.
        Finding::warn(NAME, found, cure)
    } else {
        Finding::ok(NAME, found)
    }
}

fn tcp_memory(host: &HostFiles, plan: &Plan) -> Option<Finding> {
    const NAME: &str = "net.ipv4.tcp_mem";
    let text = host.text(path_of(NAME))?;
    let most: u64 = text.split_ascii_whitespace().nth(2)?.parse().ok()?;
    let ends = if plan.is_loopback { 2 } else { 1 };
    let needed = plan.connections * ends * PAGES_PER_END;
    let found = format!(
        "{} for data in sockets; {} connections with a message under way may take {}",
        format_size(most.saturating_mul(PAGE_BYTES)),
        format_count(plan.connections),
        format_size(needed.saturating_mul(PAGE_BYTES))
    );
    Some(if most < needed {
        let cure = format!(
            "sysctl -w {NAME}=\"{} {} {}\"",
            needed / 2,
            needed,
            2 * needed
        );
        Finding::warn(NAME, found, cure)
    } else {
        Finding::ok(NAME, found)
    })
}

/// Closed connections keep their port for a minute: storms and churns need them back earlier.
fn time_wait(host: &HostFiles, plan: &Plan) -> Option<Finding> {
    const NAME: &str = "net.ipv4.tcp_tw_reuse";
    let value = number(host, &path_of(NAME))?;
    let (level, meaning) = match (value, plan.is_loopback) {
        (1, _) => (Level::Ok, "ports of closed connections are used again"),
        (2, true) => (Level::Ok, "ports are used again on loopback"),
        (2, false) => (Level::Warn, "ports are used again on loopback only"),
        _ => (
            Level::Warn,
            "ports of closed connections are kept for a minute",
        ),
    };
    let found = format!("{value}: {meaning}");
    Some(match level {
        Level::Ok => Finding::ok(NAME, found),
        _ => Finding::warn(
            NAME,
            found,
            format!("for storm and churn: sysctl -w {NAME}=1"),
        ),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::doctor::tree::tree;

    fn plan(connections: u64, sources: u64, is_loopback: bool) -> Plan {
        Plan {
            connections,
            threads: 1,
            cpus: Vec::new(),
            sources,
            is_loopback,
        }
    }

    #[test]
    fn the_line_of_arithmetic() {
        let (_tree, host) = tree(&[("proc/sys/net/ipv4/ip_local_port_range", "32768\t60999\n")]);
        let of = |plan| source_ports(&host, &plan).expect("readable");
        let good = of(plan(200_000, 16, true));
        assert_eq!(
            good.found,
            "200,000 connections need >= 8 source addresses x 1 port (28,232 each with \
             32768-60999); you have 16: ok"
        );
        assert_eq!(good.level, Level::Ok);
        let bad = of(plan(200_000, 0, true));
        assert_eq!(bad.level, Level::Fail);
        assert_eq!(bad.cure.as_deref(), Some("--source 127.0.0.0/29"));
        assert!(
            of(plan(200_000, 4, false))
                .cure
                .expect("one")
                .contains("ip_local_port_range")
        );
        assert_eq!(of(plan(28_232, 0, true)).level, Level::Ok);
        assert_eq!(of(plan(28_233, 0, true)).level, Level::Fail);
    }

    #[test]
    fn connection_tracking_has_limits() {
        let (_tree, host) = tree(&[
            ("proc/sys/net/netfilter/nf_conntrack_max", "10000\n"),
            ("proc/sys/net/netfilter/nf_conntrack_count", "500\n"),
        ]);
        assert_eq!(
            connection_tracking(&host, &plan(1_000, 0, true)).level,
            Level::Ok
        );
        assert_eq!(
            connection_tracking(&host, &plan(6_000, 0, true)).level,
            Level::Warn
        );
        let full = connection_tracking(&host, &plan(9_501, 0, true));
        assert_eq!(full.level, Level::Fail);
        assert!(full.cure.expect("one").ends_with("nf_conntrack_max=32768"));
        let none = HostFiles::under("/nonexistent-root-of-a-test");
        assert_eq!(
            connection_tracking(&none, &plan(9_501, 0, true)).level,
            Level::Ok
        );
    }

    #[test]
    fn settings_of_a_small_host() {
        let (_tree, host) = tree(&[
            ("proc/sys/net/core/somaxconn", "128\n"),
            ("proc/sys/net/ipv4/tcp_mem", "100 200 300\n"),
            ("proc/sys/net/ipv4/tcp_tw_reuse", "0\n"),
        ]);
        let levels = |plan: &Plan| -> Vec<(&str, Level)> {
            let findings = ask(&host, plan);
            findings
                .iter()
                .map(|finding| (finding.name, finding.level))
                .collect()
        };
        assert_eq!(
            levels(&plan(1_000, 0, true)),
            [
                ("net.core.somaxconn", Level::Warn),
                ("conntrack", Level::Ok),
                ("net.ipv4.tcp_mem", Level::Warn),
                ("net.ipv4.tcp_tw_reuse", Level::Warn),
            ]
        );
        // A server elsewhere has its own queues, and a hundred connections are few.
        assert_eq!(
            levels(&plan(100, 0, false)),
            [
                ("conntrack", Level::Ok),
                ("net.ipv4.tcp_mem", Level::Ok),
                ("net.ipv4.tcp_tw_reuse", Level::Warn),
            ]
        );
    }
}
