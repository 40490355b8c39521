//! Limits of the process and of memory: descriptors, memory, control groups, io_uring.

use std::path::Path;

use fanwire_reactor::{host as reactor_host, probe};

use super::{Finding, Plan};
use crate::measure::environment::facts::HostFiles;
use crate::quantity::{format_count, format_size};
use crate::run::FDS_PER_THREAD;

/// Descriptors that every process needs: standard streams, reports, mail.
const FDS_ALWAYS: u64 = 16;
/// User memory of an idle connection in bytes: the generator's own promise.
const USER_BYTES: u64 = 1_024;
/// Kernel memory of a connected socket in bytes: its structures, without data.
const KERNEL_BYTES: u64 = 4_096;

/// Asks.
pub fn ask(host: &HostFiles, plan: &Plan) -> Vec<Finding> {
    let mut findings = vec![io_uring()];
    findings.extend(descriptors(host, plan, reactor_host::fd_limit()));
    findings.extend(memory(host, plan));
    findings
}

fn io_uring() -> Finding {
    match probe::uring() {
        Ok(features) => Finding::ok("io_uring", features.to_string()),
        Err(refusal) => Finding::warn(
            "io_uring",
            "not usable: the generator falls back to epoll and costs more CPU per message",
            refusal.to_string(),
        ),
    }
}

/// Descriptors that a plan takes.
pub fn descriptors_needed(plan: &Plan) -> u64 {
    plan.connections + FDS_PER_THREAD * plan.threads + FDS_ALWAYS
}

fn descriptors(host: &HostFiles, plan: &Plan, limit: reactor_host::Limit) -> Vec<Finding> {
    let needed = descriptors_needed(plan);
    let word = |limit: Option<u64>| limit.map_or("unlimited".to_owned(), format_count);
    let found = format!(
        "soft {}, hard {}; {} connections need {}",
        word(limit.soft),
        word(limit.hard),
        format_count(plan.connections),
        format_count(needed)
    );
    let mut findings = vec![if limit.hard.is_some_and(|hard| hard < needed) {
        Finding::fail(
            "open files",
            found,
            format!(
                "as root: ulimit -Hn {needed} && ulimit -n {needed}; in a container --ulimit \
                 nofile={needed}:{needed}; under systemd LimitNOFILE={needed}"
            ),
        )
    } else {
        // A soft limit below is raised by the program itself.
        Finding::ok("open files", found)
    }];
    if let Some(most) = number(host, "proc/sys/fs/nr_open") {
        findings.push(at_least("fs.nr_open", most, needed, "one process"));
    }
    if let Some(most) = number(host, "proc/sys/fs/file-max") {
        let used = host
            .text("proc/sys/fs/file-nr")
            .and_then(|text| text.split_ascii_whitespace().next()?.parse::<u64>().ok())
            .unwrap_or(0);
        // A server on the same host opens as many.
        let needed = used + if plan.is_loopback { 2 * needed } else { needed };
        findings.push(at_least("fs.file-max", most, needed, "the whole host"));
    }
    findings
}

fn at_least(name: &'static str, most: u64, needed: u64, whose: &str) -> Finding {
    let found = format!(
        "{} for {whose}; {} are needed",
        if most > 1 << 50 {
            "no limit".to_owned()
        } else {
            format_count(most)
        },
        format_count(needed)
    );
    if most < needed {
        Finding::fail(name, found, format!("sysctl -w {name}={needed}"))
    } else {
        Finding::ok(name, found)
    }
}

/// A number alone in a file.
pub(super) fn number(host: &HostFiles, path: &str) -> Option<u64> {
    host.text(path)?
        .split_ascii_whitespace()
        .next()?
        .parse()
        .ok()
}

fn memory(host: &HostFiles, plan: &Plan) -> Vec<Finding> {
    let both_ends = if plan.is_loopback { 2 } else { 1 };
    let needed = plan.connections * (USER_BYTES + KERNEL_BYTES * both_ends);
    let what = format!(
        "{} idle connections take about {} ({} of ours and {} of the kernel's each)",
        format_count(plan.connections),
        format_size(needed),
        format_size(USER_BYTES),
        format_size(KERNEL_BYTES * both_ends),
    );
    let cure = "fewer connections, or more memory: a host that swaps measures its disk";
    let judge = |name, available: u64| {
        let found = format!("{} available; {what}", format_size(available));
        if available < needed {
            Finding::fail(name, found, cure)
        } else if available < 2 * needed {
            Finding::warn(name, found, cure)
        } else {
            Finding::ok(name, found)
        }
    };
    let mut findings = Vec::new();
    if let Some(available) = available_bytes(host) {
        findings.push(judge("memory", available));
    }
    if let Some(most) = group_memory_bytes(host) {
        findings.push(judge("cgroup memory", most));
    }
    findings
}

fn available_bytes(host: &HostFiles) -> Option<u64> {
    let text = host.text("proc/meminfo")?;
    let line = text
        .lines()
        .find_map(|line| line.strip_prefix("MemAvailable:"))?;
    let kibibytes: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    kibibytes.checked_mul(1024)
}

/// What the tightest control group leaves: its limit less what it uses.
fn group_memory_bytes(host: &HostFiles) -> Option<u64> {
    let groups = host.text("proc/self/cgroup")?;
    let path = groups.lines().find_map(|line| line.strip_prefix("0::"))?;
    let mount = Path::new("sys/fs/cgroup");
    Path::new(path.trim_start_matches('/'))
        .ancestors()
        .filter_map(|group| {
            let group = mount.join(group);
            // The word `max` is no limit and no number.
            let most: u64 = host.text(group.join("memory.max"))?.parse().ok()?;
            let used = host.text(group.join("memory.current"));
            let used: u64 = used.and_then(|text| text.parse().ok()).unwrap_or(0);
            Some(most.saturating_sub(used))
        })
        .min()
}

#[cfg(test)]
mod tests {
    use super::super::Level;
    use super::*;

    fn plan(connections: u64) -> Plan {
        Plan {
            connections,
            threads: 1,
            cpus: Vec::new(),
            sources: 0,
            is_loopback: true,
        }
    }

    #[test]
    fn a_hard_limit_below_the_need_is_in_the_way() {
        let host = HostFiles::under("/nonexistent-root-of-a-test");
        let limit = |soft, hard| reactor_host::Limit { soft, hard };
        let of = |limit| descriptors(&host, &plan(10_000), limit)[0].clone();
        assert_eq!(of(limit(Some(1_024), Some(4_096))).level, Level::Fail);
        assert!(
            of(limit(Some(1_024), Some(4_096)))
                .cure
                .expect("one")
                .contains("ulimit -n 10080")
        );
        assert_eq!(of(limit(Some(1_024), Some(20_000))).level, Level::Ok);
        assert_eq!(of(limit(Some(1_024), None)).level, Level::Ok);
    }

    #[test]
    fn a_limit_of_the_host() {
        assert_eq!(
            at_least("fs.nr_open", 1_000, 1_001, "one process").level,
            Level::Fail
        );
        assert_eq!(
            at_least("fs.nr_open", 1_001, 1_001, "one process").level,
            Level::Ok
        );
    }
}
