//! What /proc tells about the server's process and about our own threads.
//!
//! Owns reading and subtracting; the figures are judged elsewhere. Everything is optional: a
//! process that is gone, or not ours to read, yields `None` and never an error in mid-run.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

/// CPU time of every thread of a process, in nanoseconds since the thread began.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CpuSample {
    threads_ns: BTreeMap<u32, u64>,
}

/// Difference of two samples.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct CpuUse {
    /// All threads together.
    pub total_ns: u64,
    /// The busiest thread.
    pub busiest_ns: u64,
}

impl CpuSample {
    /// All threads of a process, or `None` when it is gone or hidden.
    pub fn of_process(pid: u32) -> Option<CpuSample> {
        let mut sample = CpuSample::default();
        for entry in fs::read_dir(format!("/proc/{pid}/task")).ok()? {
            let Ok(entry) = entry else { continue };
            let Some(tid) = entry
                .file_name()
                .to_str()
                .and_then(|name| name.parse().ok())
            else {
                continue;
            };
            // A thread may end between listing and reading.
            if let Some(ns) = run_time_ns(&entry.path()) {
                sample.threads_ns.insert(tid, ns);
            }
        }
        (!sample.threads_ns.is_empty()).then_some(sample)
    }

    /// What was used since `earlier`. A thread that began in between counts from its beginning.
    pub fn since(&self, earlier: &CpuSample) -> CpuUse {
        let mut used = CpuUse::default();
        for (tid, ns) in &self.threads_ns {
            let before = earlier.threads_ns.get(tid).copied().unwrap_or(0);
            let thread_ns = ns.saturating_sub(before);
            used.total_ns += thread_ns;
            used.busiest_ns = used.busiest_ns.max(thread_ns);
        }
        used
    }
}

/// First field of schedstat: time on the CPU.
fn run_time_ns(task: &Path) -> Option<u64> {
    let text = fs::read_to_string(task.join("schedstat")).ok()?;
    text.split_ascii_whitespace().next()?.parse().ok()
}

/// A thread of our own that another thread can watch.
#[derive(Clone, Debug)]
pub struct OwnThread {
    task: PathBuf,
}

impl OwnThread {
    /// The calling thread.
    pub fn current() -> Option<OwnThread> {
        let link = fs::read_link("/proc/thread-self").ok()?;
        Some(OwnThread {
            task: Path::new("/proc").join(link),
        })
    }

    /// Its time on the CPU so far.
    pub fn cpu_ns(&self) -> Option<u64> {
        run_time_ns(&self.task)
    }
}

/// Memory of a process in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Memory {
    /// Resident set, all of it.
    pub resident: u64,
    /// Resident anonymous memory: heap and stacks.
    pub resident_anonymous: u64,
}

impl Memory {
    /// Reads `/proc/PID/status`.
    pub fn of_process(pid: u32) -> Option<Memory> {
        parse_status(&fs::read_to_string(format!("/proc/{pid}/status")).ok()?)
    }
}

fn parse_status(text: &str) -> Option<Memory> {
    let field = |name: &str| {
        let line = text.lines().find_map(|line| line.strip_prefix(name))?;
        let kibibytes: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
        Some(kibibytes * 1024)
    };
    Some(Memory {
        resident: field("VmRSS:")?,
        resident_anonymous: field("RssAnon:")?,
    })
}

/// Whether a process of this number exists.
pub fn process_exists(pid: u32) -> bool {
    Path::new(&format!("/proc/{pid}")).exists()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_status() {
        let text = "Name:\tserver\nVmRSS:\t    5120 kB\nRssAnon:\t     100 kB\nRssFile:\t 20 kB\n";
        assert_eq!(
            parse_status(text),
            Some(Memory {
                resident: 5_242_880,
                resident_anonymous: 102_400
            })
        );
        assert_eq!(parse_status("Name:\tkthread\n"), None);
    }

    #[test]
    fn sees_itself() {
        let pid = std::process::id();
        assert!(process_exists(pid));
        assert!(Memory::of_process(pid).is_some_and(|memory| memory.resident > 0));
        let (before, own) = (CpuSample::of_process(pid), OwnThread::current());
        let own = own.expect("this thread");
        let own_before = own.cpu_ns().expect("readable");
        // Work until the kernel has accounted some of it.
        let mut sum = 0u64;
        while own.cpu_ns().expect("readable") < own_before + 20_000_000 {
            sum = (0..1_000_000u64).fold(sum, |sum, number| sum.rotate_left(1) ^ number);
        }
        std::hint::black_box(sum);
        let used = CpuSample::of_process(pid)
            .expect("us")
            .since(&before.expect("us"));
        assert!(
            used.total_ns >= used.busiest_ns && used.busiest_ns >= 10_000_000,
            "{used:?}"
        );
        assert!(CpuSample::of_process(u32::MAX).is_none());
    }
}
