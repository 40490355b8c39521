//! What a run took place on: the host, its settings and the command line, for the report.
//!
//! Owns the list of facts and how a report names them. Every fact is optional: a container that
//! hides a file leaves a gap in the report and stops nothing. Knows nothing of loads.

use std::time::{SystemTime, UNIX_EPOCH};

use fanwire_reactor::host::{clock_source, processors};
use serde::{Deserialize, Serialize};

pub mod command_line;
pub mod facts;

use facts::HostFiles;

/// What a run took place on. Field names are those of the JSON.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Environment {
    /// Tells hosts apart without naming them; see [`HostFiles::host_id`].
    pub host_id: Option<String>,
    /// Kernel release, such as `6.18.44`.
    pub kernel: Option<String>,
    /// Processor model as the kernel names it.
    pub cpu_model: Option<String>,
    /// Whether the processor says that it is a virtual machine's.
    pub is_virtual_machine: Option<bool>,
    /// Processors that this process may use.
    pub processors: usize,
    /// CPU time that the control group allows, in processors: 1.5 is one and a half.
    pub cpu_quota: Option<f64>,
    /// Memory of the host in bytes.
    pub memory_bytes: Option<u64>,
    /// Frequency governor of the pinned processors, or of the first one, such as `performance`.
    pub governor: Option<String>,
    /// The kernel's clock source, such as `tsc`.
    pub clock_source: Option<String>,
    /// For each pinned processor the hardware threads that share its core, itself included.
    pub core_siblings: Vec<CoreSiblings>,
    /// Processor faults that the kernel works around or leaves open, in one line.
    pub mitigations: Option<String>,
    /// Whether the server was reached over loopback.
    pub is_loopback: Option<bool>,
    /// The command line, credentials blotted out.
    pub command_line: Vec<String>,
    /// When the run began, in milliseconds since 1970.
    pub started_unix_ms: u64,
    /// Version of this program.
    pub version: String,
    /// Commit that it was built from, when the build said so (`FANWIRE_COMMIT`).
    pub commit: Option<String>,
}

/// The hardware threads of one core.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct CoreSiblings {
    /// The pinned processor.
    pub cpu: usize,
    /// All processors of its core.
    pub siblings: Vec<usize>,
}

impl Environment {
    /// Reads the facts of this host and process. `pinned` are the processors of the load threads;
    /// `is_loopback` says whether the server is on this host, when that is known.
    pub fn read(pinned: &[usize], is_loopback: Option<bool>) -> Environment {
        Environment {
            clock_source: clock_source(),
            // Read before any thread is pinned, so it is the process's set.
            processors: processors().len(),
            is_loopback,
            command_line: command_line::without_credentials(
                std::env::args_os().map(|argument| argument.to_string_lossy().into_owned()),
            ),
            started_unix_ms: unix_ms(SystemTime::now()),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            commit: option_env!("FANWIRE_COMMIT")
                .filter(|commit| !commit.is_empty())
                .map(str::to_owned),
            ..Environment::of_host(&HostFiles::default(), pinned)
        }
    }

    /// What stands in the files of a host.
    fn of_host(host: &HostFiles, pinned: &[usize]) -> Environment {
        Environment {
            host_id: host.host_id(),
            kernel: host.kernel_release(),
            cpu_model: host.cpu_model(),
            is_virtual_machine: host.is_virtual_machine(),
            cpu_quota: host.cpu_quota(),
            memory_bytes: host.memory_bytes(),
            governor: host.governor(pinned.first().copied().unwrap_or(0)),
            core_siblings: pinned
                .iter()
                .filter_map(|cpu| {
                    let siblings = host.core_siblings(*cpu)?;
                    Some(CoreSiblings {
                        cpu: *cpu,
                        siblings,
                    })
                })
                .collect(),
            mitigations: host.mitigations(),
            ..Environment::default()
        }
    }
}

/// A clock before 1970 counts as 1970.
fn unix_ms(time: SystemTime) -> u64 {
    let since = time.duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_host_is_described_and_survives_json() {
        let environment = Environment::read(&[0], Some(true));
        assert!(environment.processors > 0, "{environment:?}");
        assert!(environment.kernel.is_some(), "{environment:?}");
        assert!(
            environment.started_unix_ms > 1_700_000_000_000,
            "{environment:?}"
        );
        assert!(!environment.command_line.is_empty());
        let json = serde_json::to_string(&environment).expect("writable");
        let read: Environment = serde_json::from_str(&json).expect("readable");
        assert_eq!(read, environment);
    }

    #[test]
    fn a_report_of_an_older_version_lacks_facts_and_is_read() {
        let read: Environment = serde_json::from_str("{\"kernel\":\"6.1\"}").expect("readable");
        assert_eq!(read.kernel.as_deref(), Some("6.1"));
        assert_eq!(read.processors, 0);
    }

    #[test]
    fn time_before_the_epoch_is_the_epoch() {
        let before = UNIX_EPOCH - std::time::Duration::from_secs(5);
        assert_eq!(unix_ms(before), 0);
    }
}
