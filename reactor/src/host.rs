//! What the host allows: limits, kernel settings, processors. For start-up checks and for
//! programs that tell a person what to change.

use crate::sys;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use std::fs;
use std::io;

/// Soft and hard limit; `None` is unlimited.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limit {
    /// In force.
    pub soft: Option<u64>,
    /// As far as the process may raise it.
    pub hard: Option<u64>,
}

fn limit(resource: Resource) -> Limit {
    let Rlimit { current, maximum } = getrlimit(resource);
    Limit {
        soft: current,
        hard: maximum,
    }
}

/// Open descriptors (RLIMIT_NOFILE).
pub fn fd_limit() -> Limit {
    limit(Resource::Nofile)
}

/// Locked memory in bytes (RLIMIT_MEMLOCK).
pub fn memlock_limit() -> Limit {
    limit(Resource::Memlock)
}

/// Raises the soft limit of open descriptors to the hard one and returns what is in force.
pub fn raise_fd_limit() -> Limit {
    let Limit { hard, .. } = fd_limit();
    let wanted = Rlimit {
        current: hard,
        maximum: hard,
    };
    // Refused in some sandboxes; the limit in force is reported either way.
    let _ = setrlimit(Resource::Nofile, wanted);
    fd_limit()
}

/// For example `6.18.44`.
pub fn kernel_release() -> String {
    read_line("/proc/sys/kernel/osrelease").unwrap_or_else(|| "unknown".to_owned())
}

/// The sysctl `kernel.io_uring_disabled` (Linux 6.6): 0 allowed, 1 for privileged users, 2 not.
pub fn io_uring_disabled() -> Option<u8> {
    read_line("/proc/sys/kernel/io_uring_disabled")?
        .parse()
        .ok()
}

/// The sysctl `net.core.somaxconn`: the longest accept queue.
pub fn accept_queue_max() -> Option<u32> {
    read_line("/proc/sys/net/core/somaxconn")?.parse().ok()
}

/// The congestion control that new sockets get.
pub fn congestion_control() -> Option<String> {
    read_line("/proc/sys/net/ipv4/tcp_congestion_control")
}

/// Congestion controls that may be chosen without privilege.
pub fn congestion_controls_allowed() -> Vec<String> {
    read_line("/proc/sys/net/ipv4/tcp_allowed_congestion_control")
        .map(|line| line.split_whitespace().map(str::to_owned).collect())
        .unwrap_or_default()
}

/// First and last port that outgoing connections are given.
pub fn local_ports() -> Option<(u16, u16)> {
    let line = read_line("/proc/sys/net/ipv4/ip_local_port_range")?;
    let mut ports = line.split_whitespace().map(str::parse);
    Some((ports.next()?.ok()?, ports.next()?.ok()?))
}

/// For example `tsc` or `kvm-clock`.
pub fn clock_source() -> Option<String> {
    read_line("/sys/devices/system/clocksource/clocksource0/current_clocksource")
}

/// The processors that this process may run on, in order.
pub fn processors() -> Vec<usize> {
    let mut ids: Vec<usize> = core_affinity::get_core_ids()
        .unwrap_or_default()
        .iter()
        .map(|core| core.id)
        .collect();
    ids.sort_unstable();
    ids
}

/// Binds the calling thread to a processor. False if it may not run there.
pub(crate) fn pin(processor: usize) -> bool {
    processors().contains(&processor)
        && core_affinity::set_for_current(core_affinity::CoreId { id: processor })
}

/// CPU time of the calling thread in nanoseconds.
pub fn thread_cpu_ns() -> u64 {
    sys::thread_cpu_ns()
}

/// CLOCK_MONOTONIC in nanoseconds, comparable between the processes of a host.
pub fn monotonic_ns() -> u64 {
    sys::monotonic_ns()
}

/// CPU time of a process so far, all threads, in nanoseconds: the first field of each
/// `/proc/PID/task/*/schedstat`.
///
/// # Errors
/// When there is no such process, or the kernel keeps no such statistics.
pub fn process_cpu_ns(process: u32) -> io::Result<u64> {
    let mut total = 0;
    for task in fs::read_dir(format!("/proc/{process}/task"))? {
        // A thread may end between the listing and the reading.
        let Ok(line) = fs::read_to_string(task?.path().join("schedstat")) else {
            continue;
        };
        let field = line
            .split_whitespace()
            .next()
            .and_then(|field| field.parse::<u64>().ok());
        total += field.ok_or_else(|| io::Error::other("no run time in schedstat"))?;
    }
    Ok(total)
}

fn read_line(path: &str) -> Option<String> {
    fs::read_to_string(path)
        .ok()
        .map(|text| text.trim().to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_host_can_be_described() {
        assert!(!processors().is_empty());
        assert!(fd_limit().soft.is_none_or(|soft| soft > 0));
        assert_ne!(kernel_release(), "unknown");
        let own = process_cpu_ns(std::process::id()).expect("own process");
        assert!(own > 0);
        assert!(process_cpu_ns(u32::MAX).is_err());
    }

    #[test]
    fn a_processor_that_does_not_exist_is_refused() {
        assert!(!pin(usize::MAX));
    }
}
