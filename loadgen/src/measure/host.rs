//! What /proc tells about the server's process and about our own threads.
//!
//! Owns reading and subtracting; the figures are judged elsewhere. Everything is optional: a
//! process that is gone, or not ours to read, yields `None` and never an error in mid-run.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

/// What the scheduler has accounted to a thread since it began, in nanoseconds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ThreadTime {
    /// On a CPU.
    pub run_ns: u64,
    /// Ready to run, but waiting for a CPU that somebody else had.
    pub wait_ns: u64,
}

impl ThreadTime {
    /// Reads `schedstat` of a task directory of /proc.
    fn of(task: &Path) -> Option<ThreadTime> {
        let text = fs::read_to_string(task.join("schedstat")).ok()?;
        let mut fields = text.split_ascii_whitespace();
        let run_ns = fields.next()?.parse().ok()?;
        let wait_ns = fields.next()?.parse().ok()?;
        Some(ThreadTime { run_ns, wait_ns })
    }

    /// What was added since `earlier`.
    pub fn since(self, earlier: ThreadTime) -> ThreadTime {
        ThreadTime {
            run_ns: self.run_ns.saturating_sub(earlier.run_ns),
            wait_ns: self.wait_ns.saturating_sub(earlier.wait_ns),
        }
    }
}

/// Times of every thread of a process.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CpuSample {
    threads: BTreeMap<u32, ThreadTime>,
}

/// Difference of two samples.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct CpuUse {
    /// CPU time of all threads together.
    pub total_ns: u64,
    /// The busiest thread.
    pub busiest: ThreadTime,
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
            if let Some(time) = ThreadTime::of(&entry.path()) {
                sample.threads.insert(tid, time);
            }
        }
        (!sample.threads.is_empty()).then_some(sample)
    }

    /// What was used since `earlier`. A thread that began in between counts from its beginning.
    pub fn since(&self, earlier: &CpuSample) -> CpuUse {
        let mut used = CpuUse::default();
        for (tid, time) in &self.threads {
            let time = time.since(earlier.threads.get(tid).copied().unwrap_or_default());
            used.total_ns += time.run_ns;
            if time.run_ns > used.busiest.run_ns {
                used.busiest = time;
            }
        }
        used
    }
}

/// How often the threads of a process gave up a CPU, or were taken off it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Switches {
    /// They had to wait for something.
    pub voluntary: u64,
    /// Somebody else had his turn.
    pub involuntary: u64,
}

impl Switches {
    /// All threads of a process that live now; `None` when it is gone or hidden.
    pub fn of_process(pid: u32) -> Option<Switches> {
        let mut sum = Switches::default();
        for entry in fs::read_dir(format!("/proc/{pid}/task")).ok()?.flatten() {
            // A thread may end between listing and reading.
            let text = fs::read_to_string(entry.path().join("status")).unwrap_or_default();
            let count = |name| field(&text, name).and_then(|text| text.parse::<u64>().ok());
            sum.voluntary += count("voluntary_ctxt_switches:").unwrap_or(0);
            sum.involuntary += count("nonvoluntary_ctxt_switches:").unwrap_or(0);
        }
        Some(sum)
    }

    /// What was added since `earlier`; threads that have ended meanwhile are missing in it.
    pub fn since(self, earlier: Switches) -> Switches {
        Switches {
            voluntary: self.voluntary.saturating_sub(earlier.voluntary),
            involuntary: self.involuntary.saturating_sub(earlier.involuntary),
        }
    }
}

/// TCP segments of this network namespace, whichever program they belong to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Segments {
    /// Sent, without those that were sent again.
    pub sent: u64,
    /// Sent again, because nobody had acknowledged them in time.
    pub retransmitted: u64,
}

impl Segments {
    /// Reads `/proc/net/snmp`.
    pub fn of_host() -> Option<Segments> {
        Segments::parse(&fs::read_to_string("/proc/net/snmp").ok()?)
    }

    /// The file has two lines of each protocol: names, and values in their order.
    fn parse(text: &str) -> Option<Segments> {
        let mut lines = text.lines().filter_map(|line| line.strip_prefix("Tcp: "));
        let (names, values) = (lines.next()?, lines.next()?);
        let named = |wanted: &str| {
            let place = names.split(' ').position(|name| name == wanted)?;
            values.split(' ').nth(place)?.parse().ok()
        };
        Some(Segments {
            sent: named("OutSegs")?,
            retransmitted: named("RetransSegs")?,
        })
    }

    /// What was added since `earlier`.
    pub fn since(self, earlier: Segments) -> Segments {
        Segments {
            sent: self.sent.saturating_sub(earlier.sent),
            retransmitted: self.retransmitted.saturating_sub(earlier.retransmitted),
        }
    }
}

/// The value of a line `name value` of a status file.
fn field<'a>(text: &'a str, name: &str) -> Option<&'a str> {
    text.lines()
        .find_map(|line| line.strip_prefix(name))
        .map(str::trim)
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

    /// Its times so far.
    pub fn time(&self) -> Option<ThreadTime> {
        ThreadTime::of(&self.task)
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
        let line = field(text, name)?;
        let kibibytes: u64 = line.strip_suffix("kB")?.trim().parse().ok()?;
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
    fn reads_segments() {
        let text = "Ip: Forwarding InReceives\nIp: 1 5\nTcp: RtoMin OutSegs RetransSegs InErrs\n\
                    Tcp: 200 1000 7 0\nUdp: OutSegs\nUdp: 3\n";
        let segments = Segments {
            sent: 1_000,
            retransmitted: 7,
        };
        assert_eq!(Segments::parse(text), Some(segments));
        assert_eq!(Segments::parse("Tcp: OutSegs\n"), None);
        assert_eq!(Segments::parse("Tcp: OutSegs RetransSegs\nTcp: 1\n"), None);
        assert!(Segments::of_host().is_some());
    }

    #[test]
    fn counts_its_own_waits() {
        let pid = std::process::id();
        let before = Switches::of_process(pid).expect("us");
        std::thread::sleep(std::time::Duration::from_millis(1));
        // Others of this process may have ended, and their counts with them.
        let own = fs::read_to_string("/proc/thread-self/status").expect("readable");
        assert!(field(&own, "voluntary_ctxt_switches:").is_some());
        let _since = Switches::of_process(pid).expect("us").since(before);
        assert_eq!(Switches::of_process(u32::MAX), None);
    }

    #[test]
    fn sees_itself() {
        let pid = std::process::id();
        assert!(process_exists(pid));
        assert!(Memory::of_process(pid).is_some_and(|memory| memory.resident > 0));
        let (before, own) = (CpuSample::of_process(pid), OwnThread::current());
        let own = own.expect("this thread");
        let own_before = own.time().expect("readable").run_ns;
        // Work until the kernel has accounted some of it.
        let mut sum = 0u64;
        while own.time().expect("readable").run_ns < own_before + 20_000_000 {
            sum = (0..1_000_000u64).fold(sum, |sum, number| sum.rotate_left(1) ^ number);
        }
        std::hint::black_box(sum);
        let used = CpuSample::of_process(pid)
            .expect("us")
            .since(&before.expect("us"));
        assert!(
            used.total_ns >= used.busiest.run_ns && used.busiest.run_ns >= 10_000_000,
            "{used:?}"
        );
        assert!(CpuSample::of_process(u32::MAX).is_none());
    }
}
