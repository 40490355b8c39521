//! `fanwire doctor`: what this host allows, what will run on it, and what to change.

use std::fmt::Write as _;

use fanwire_reactor::{host, probe};
use fanwire_server::memory::{Budget, IDLE_CONNECTION_BYTES, human_bytes};
use fanwire_server::{Limits, Placement};

use crate::Failure;
use crate::cli::DoctorOptions;

/// Sixteen thousand connections are what one would want to hold at least.
const FD_LIMIT_WANTED: u64 = 16_384;
/// Accept queues shorter than this lose connections in a storm.
const ACCEPT_QUEUE_WANTED: u32 = 4_096;

/// Lines about the host, and what a person should do about them.
#[derive(Default)]
struct Findings {
    text: String,
    cures: Vec<String>,
}

impl Findings {
    fn fact(&mut self, name: &str, value: impl std::fmt::Display) {
        // Writing to a string cannot fail.
        let _ = writeln!(self.text, "{name:<20} {value}");
    }

    fn cure(&mut self, text: String) {
        self.cures.push(text);
    }
}

fn or_unlimited(limit: Option<u64>) -> String {
    limit.map_or("unlimited".to_owned(), |limit| limit.to_string())
}

fn kernel(findings: &mut Findings) {
    findings.fact("kernel", host::kernel_release());
    match probe::uring() {
        Ok(features) => findings.fact("backend", format_args!("uring: {features}")),
        Err(refusal) => {
            findings.fact(
                "backend",
                format_args!("epoll, because io_uring is refused: {refusal}"),
            );
            findings.cure(format!("io_uring: {refusal}"));
        }
    }
    if let Some(disabled) = host::io_uring_disabled() {
        let meaning = match disabled {
            0 => "allowed",
            1 => "for privileged users only",
            _ => "disabled",
        };
        findings.fact("io_uring_disabled", format_args!("{disabled} ({meaning})"));
    }
    let memlock = host::memlock_limit().soft;
    findings.fact(
        "memlock",
        memlock.map_or("unlimited".to_owned(), human_bytes),
    );
    findings.fact(
        "clock",
        host::clock_source().unwrap_or_else(|| "unknown".to_owned()),
    );
}

fn network(findings: &mut Findings) {
    if let Some(longest) = host::accept_queue_max() {
        findings.fact(
            "accept queue",
            format_args!("at most {longest} (net.core.somaxconn)"),
        );
        if longest < ACCEPT_QUEUE_WANTED {
            findings.cure(format!(
                "accept queue: connections are dropped when more than {longest} wait; sysctl -w \
                 net.core.somaxconn={ACCEPT_QUEUE_WANTED}"
            ));
        }
    }
    let control = host::congestion_control().unwrap_or_else(|| "unknown".to_owned());
    let allowed = host::congestion_controls_allowed().join(" ");
    findings.fact(
        "congestion control",
        format_args!("{control} (may be chosen: {allowed})"),
    );
}

/// What the limits come to here.
fn limits(findings: &mut Findings, options: &DoctorOptions, shards: usize) {
    let before = host::fd_limit();
    let after = host::raise_fd_limit().soft;
    findings.fact(
        "open files",
        format_args!(
            "{} (soft {}, raised at start)",
            or_unlimited(after),
            or_unlimited(before.soft)
        ),
    );
    let wanted = Limits {
        connections_max: options.connections_max,
        ..Limits::echo()
    };
    let connections_max = wanted.connections_in_force(after.unwrap_or(u64::MAX));
    findings.fact("connections", format_args!("{connections_max} at most"));
    if options.connections_max > connections_max {
        findings.cure(format!(
            "connections: {} need more open files than {}; ulimit -n, LimitNOFILE= or \
             --ulimit nofile= in a container",
            options.connections_max,
            or_unlimited(after),
        ));
    } else if after.is_some_and(|limit| limit < FD_LIMIT_WANTED) {
        findings.cure(format!(
            "open files: {} allow {connections_max} connections; for more raise ulimit -n, \
             LimitNOFILE= or --ulimit nofile= in a container",
            or_unlimited(after),
        ));
    }
    let in_force = Limits {
        connections_max,
        ..wanted
    };
    let budget = Budget::new(&in_force, shards);
    findings.fact(
        "memory, idle",
        format_args!(
            "{} for all connections at {IDLE_CONNECTION_BYTES} bytes each",
            human_bytes(budget.idle_bytes)
        ),
    );
    findings.fact(
        "memory, at worst",
        format_args!(
            "{} of unfinished messages, {} if every peer stops reading",
            human_bytes(budget.unfinished_bytes),
            human_bytes(budget.backlog_bytes),
        ),
    );
    if let Some(available) = available_memory_bytes() {
        findings.fact("memory available", human_bytes(available));
        let worst = budget.idle_bytes + budget.unfinished_bytes + budget.backlog_bytes;
        if worst > available {
            findings.cure(format!(
                "memory: at worst {} are needed and {} are there; lower --connections-max, \
                 --backlog-pause-bytes or --unfinished-max-bytes",
                human_bytes(worst),
                human_bytes(available),
            ));
        }
    }
}

fn available_memory_bytes() -> Option<u64> {
    let text = std::fs::read_to_string("/proc/meminfo").ok()?;
    let line = text
        .lines()
        .find_map(|line| line.strip_prefix("MemAvailable:"))?;
    let kib: u64 = line.trim().strip_suffix(" kB")?.trim().parse().ok()?;
    kib.checked_mul(1024)
}

/// Prints what was found.
pub(crate) fn run(options: &DoctorOptions) -> Result<(), Failure> {
    let placement = match &options.cores {
        Some(list) => Placement::Pinned(list.clone()),
        None => Placement::AllAllowed,
    };
    let processors =
        fanwire_server::processors(&placement).map_err(|error| Failure::Start(error.into()))?;
    let mut findings = Findings::default();
    findings.fact("fanwire", env!("CARGO_PKG_VERSION"));
    kernel(&mut findings);
    let numbers: Vec<usize> = processors.iter().flatten().copied().collect();
    findings.fact(
        "processors",
        format_args!(
            "{} of them: {}",
            numbers.len(),
            fanwire_server::ranges(&numbers)
        ),
    );
    network(&mut findings);
    limits(&mut findings, options, processors.len());
    print!("{}", findings.text);
    match findings.cures.as_slice() {
        [] => println!("\nNothing to change."),
        cures => {
            println!("\nTo change:");
            for cure in cures {
                println!("- {cure}");
            }
        }
    }
    Ok(())
}
