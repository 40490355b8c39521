//! Processors: how many, who shares them, how fast they are allowed to be, and the clock.

use fanwire_reactor::host as reactor_host;

use super::{Finding, Plan};
use crate::measure::environment::facts::HostFiles;
use crate::measure::verdict::TRUSTED_CLOCKS;

/// Asks.
pub fn ask(host: &HostFiles, plan: &Plan) -> Vec<Finding> {
    let allowed = reactor_host::processors();
    let mut findings = vec![kernel(host), count(plan, allowed.len())];
    findings.extend(pinned(plan, &allowed));
    findings.extend(quota(host, plan));
    findings.extend(load(host, allowed.len()));
    findings.push(governor(host, plan));
    findings.extend(siblings(host, plan));
    findings.push(isolated(host, plan));
    findings.push(clock(reactor_host::clock_source()));
    findings.extend(huge_pages(host));
    findings
}

fn kernel(host: &HostFiles) -> Finding {
    let release = host.kernel_release().unwrap_or_else(|| "unknown".into());
    let model = host.cpu_model().unwrap_or_else(|| "unknown".into());
    Finding::ok("host", format!("Linux {release}, {model}"))
}

fn count(plan: &Plan, allowed: usize) -> Finding {
    const NAME: &str = "processors";
    let needed = plan.threads as usize + usize::from(plan.is_loopback);
    let found = format!(
        "{allowed} for this process; {} thread{}{} want {needed}",
        plan.threads,
        if plan.threads == 1 { "" } else { "s" },
        if plan.is_loopback {
            " and a server on the same host"
        } else {
            ""
        }
    );
    if allowed < needed {
        Finding::warn(
            NAME,
            found,
            "fewer threads (-t), or a host of its own for the generator: what shares a CPU measures \
             the scheduler",
        )
    } else {
        Finding::ok(NAME, found)
    }
}

fn pinned(plan: &Plan, allowed: &[usize]) -> Option<Finding> {
    const NAME: &str = "pinned CPUs";
    if plan.cpus.is_empty() {
        return None;
    }
    let missing: Vec<usize> = plan
        .cpus
        .iter()
        .filter(|cpu| !allowed.contains(cpu))
        .copied()
        .collect();
    let found = format!("{:?} of {allowed:?}", plan.cpus);
    Some(if missing.is_empty() {
        Finding::ok(NAME, found)
    } else {
        Finding::fail(
            NAME,
            format!("{found}: {missing:?} cannot be used by this process"),
            "name others with --cpu, or start without taskset and cpuset limits",
        )
    })
}

fn quota(host: &HostFiles, plan: &Plan) -> Option<Finding> {
    const NAME: &str = "cgroup CPU";
    let quota = host.cpu_quota()?;
    let found = format!("{quota:.2} processors for this group");
    Some(if quota < plan.threads as f64 {
        Finding::warn(
            NAME,
            format!(
                "{found}; {} threads will be stopped in between",
                plan.threads
            ),
            "docker run --cpus, resources.limits.cpu or CPUQuota= of a whole processor per thread",
        )
    } else {
        Finding::ok(NAME, found)
    })
}

/// Above this share of the processors something else is at work.
const LOAD_SHARE_MAX: f64 = 0.5;

/// The load of the last minute, and whether it says that something else is at work.
pub fn load_average(host: &HostFiles, allowed: usize) -> Option<(f64, bool)> {
    let text = host.text("proc/loadavg")?;
    let load: f64 = text.split_ascii_whitespace().next()?.parse().ok()?;
    Some((load, load > allowed as f64 * LOAD_SHARE_MAX))
}

fn load(host: &HostFiles, allowed: usize) -> Option<Finding> {
    const NAME: &str = "load average";
    let (load, is_busy) = load_average(host, allowed)?;
    let found = format!("{load:.2} over the last minute");
    Some(if is_busy {
        Finding::warn(
            NAME,
            found,
            "something else runs here: see top, and measure when it is gone",
        )
    } else {
        Finding::ok(NAME, found)
    })
}

fn governor(host: &HostFiles, plan: &Plan) -> Finding {
    const NAME: &str = "governor";
    let cpu = plan.cpus.first().copied().unwrap_or(0);
    match host.governor(cpu) {
        None => Finding::ok(NAME, "not shown (a virtual machine, or a fixed frequency)"),
        Some(name) if name == "performance" => Finding::ok(NAME, name),
        Some(name) => Finding::warn(
            NAME,
            format!("{name}: the frequency follows the load, and so do latencies"),
            "cpupower frequency-set -g performance",
        ),
    }
}

fn siblings(host: &HostFiles, plan: &Plan) -> Vec<Finding> {
    const NAME: &str = "SMT siblings";
    let mut findings = Vec::new();
    for cpu in &plan.cpus {
        let Some(siblings) = host.core_siblings(*cpu) else {
            continue;
        };
        let others: Vec<usize> = siblings.into_iter().filter(|other| other != cpu).collect();
        let shared = others.iter().find(|other| plan.cpus.contains(other));
        findings.push(match (shared, others.is_empty()) {
            (_, true) => Finding::ok(NAME, format!("CPU {cpu} has its core for itself")),
            (Some(other), _) => Finding::warn(
                NAME,
                format!("CPUs {cpu} and {other} are two threads of one core"),
                "pin to CPUs of different cores (lscpu -e shows them)",
            ),
            (None, _) => Finding::warn(
                NAME,
                format!("CPU {cpu} shares its core with {others:?}"),
                "keep those idle: do not pin the server to them",
            ),
        });
    }
    findings
}

fn isolated(host: &HostFiles, plan: &Plan) -> Finding {
    const NAME: &str = "isolated CPUs";
    match host.text("sys/devices/system/cpu/isolated") {
        Some(list) => Finding::ok(NAME, list),
        None if plan.cpus.is_empty() => Finding::ok(NAME, "none"),
        None => Finding::ok(
            NAME,
            "none: the scheduler may put others onto the pinned ones",
        ),
    }
}

fn clock(source: Option<String>) -> Finding {
    const NAME: &str = "clock source";
    match source {
        None => Finding::ok(NAME, "not shown"),
        Some(name) if TRUSTED_CLOCKS.contains(&name.as_str()) => Finding::ok(NAME, name),
        Some(name) => Finding::fail(
            NAME,
            format!(
                "{name}: reports will be INVALID, because reading the time is a system call, for every message"
            ),
            "echo tsc > /sys/devices/system/clocksource/clocksource0/current_clocksource, or boot \
             with clocksource=tsc",
        ),
    }
}

fn huge_pages(host: &HostFiles) -> Option<Finding> {
    const NAME: &str = "huge pages";
    let path = "sys/kernel/mm/transparent_hugepage/enabled";
    let text = host.text(path)?;
    let chosen = text.split_once('[')?.1.split_once(']')?.0.to_owned();
    Some(if chosen == "always" {
        Finding::warn(
            NAME,
            "always: memory is moved about in the background, which stalls threads",
            format!("echo madvise > /{path}"),
        )
    } else {
        Finding::ok(NAME, chosen)
    })
}

#[cfg(test)]
mod tests {
    use super::super::Level;
    use super::*;
    use crate::doctor::tree::tree;

    fn plan(cpus: &[usize]) -> Plan {
        Plan {
            connections: 100,
            threads: 2,
            cpus: cpus.to_vec(),
            sources: 0,
            is_loopback: true,
        }
    }

    #[test]
    fn cores_and_their_threads() {
        let siblings_of =
            |cpu: usize| format!("sys/devices/system/cpu/cpu{cpu}/topology/core_cpus_list");
        let (first, second, third) = (siblings_of(0), siblings_of(1), siblings_of(2));
        let (_tree, host) = tree(&[
            (first.as_str(), "0-1\n"),
            (second.as_str(), "0-1\n"),
            (third.as_str(), "2\n"),
        ]);
        let found = |cpus: &[usize]| -> Vec<String> {
            let findings = siblings(&host, &plan(cpus));
            findings.into_iter().map(|finding| finding.found).collect()
        };
        assert_eq!(found(&[2]), ["CPU 2 has its core for itself"]);
        assert_eq!(found(&[0]), ["CPU 0 shares its core with [1]"]);
        assert_eq!(
            found(&[0, 1])[0],
            "CPUs 0 and 1 are two threads of one core"
        );
        assert!(found(&[7]).is_empty());
    }

    #[test]
    fn what_makes_times_jump_is_named() {
        let (_tree, host) = tree(&[
            (
                "sys/devices/system/cpu/cpu0/cpufreq/scaling_governor",
                "powersave\n",
            ),
            (
                "sys/kernel/mm/transparent_hugepage/enabled",
                "[always] madvise never\n",
            ),
            ("proc/loadavg", "3.10 2.00 1.00 4/500 123\n"),
        ]);
        assert_eq!(governor(&host, &plan(&[])).level, Level::Warn);
        assert_eq!(huge_pages(&host).expect("shown").level, Level::Warn);
        assert_eq!(load(&host, 4).expect("shown").level, Level::Warn);
        assert_eq!(load(&host, 8).expect("shown").level, Level::Ok);
        assert_eq!(clock(Some("hpet".into())).level, Level::Fail);
        assert_eq!(clock(Some("tsc".into())).level, Level::Ok);
    }

    #[test]
    fn processors_that_are_not_ours() {
        assert_eq!(
            pinned(&plan(&[3]), &[0, 1]).expect("pinned").level,
            Level::Fail
        );
        assert_eq!(
            pinned(&plan(&[1]), &[0, 1]).expect("pinned").level,
            Level::Ok
        );
        assert!(pinned(&plan(&[]), &[0, 1]).is_none());
        assert_eq!(count(&plan(&[]), 2).level, Level::Warn);
        assert_eq!(count(&plan(&[]), 3).level, Level::Ok);
    }
}
