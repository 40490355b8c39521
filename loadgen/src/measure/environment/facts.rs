//! Single facts from /proc, /sys and /etc, each with its quirks.
//!
//! Owns where a fact stands and how it is read; what it means for a run is judged by `doctor` and
//! the report. A file that is missing, unreadable or unexpected makes the fact `None`.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use sha1::{Digest, Sha1};

/// A longer list of processors than this is not believed.
const PROCESSORS_MAX: usize = 65_536;
/// Control groups are not nested deeper than this.
const GROUP_DEPTH_MAX: usize = 64;

/// The files of a host. Tests put a tree of their own in the place of `/`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HostFiles {
    root: PathBuf,
}

impl Default for HostFiles {
    fn default() -> HostFiles {
        HostFiles::under("/")
    }
}

impl HostFiles {
    /// The files below `root`.
    pub fn under(root: impl Into<PathBuf>) -> HostFiles {
        HostFiles { root: root.into() }
    }

    /// The text of a file without the white space around it; an empty file is like none.
    pub(crate) fn text(&self, path: impl AsRef<Path>) -> Option<String> {
        let text = fs::read_to_string(self.root.join(path)).ok()?;
        let text = text.trim();
        (!text.is_empty()).then(|| text.to_owned())
    }

    /// A number that is the same on every boot of this host and on no other, made from the machine
    /// id (or the host name) in a way that does not give it away: 16 hexadecimal digits.
    pub fn host_id(&self) -> Option<String> {
        let name = self
            .text("etc/machine-id")
            .or_else(|| self.text("proc/sys/kernel/hostname"))?;
        let mut digest = Sha1::new();
        digest.update(b"fanwire-loadgen host ");
        digest.update(name.as_bytes());
        let bytes: [u8; 20] = digest.finalize().into();
        Some(
            bytes[..8]
                .iter()
                .map(|byte| format!("{byte:02x}"))
                .collect(),
        )
    }

    /// Kernel release, such as `6.18.44`.
    pub fn kernel_release(&self) -> Option<String> {
        self.text("proc/sys/kernel/osrelease")
    }

    /// Processor model. Where the kernel gives numbers only (arm64), those.
    pub fn cpu_model(&self) -> Option<String> {
        let text = self.text("proc/cpuinfo")?;
        let field = |name: &str| {
            text.lines().find_map(|line| {
                let (key, value) = line.split_once(':')?;
                (key.trim() == name && !value.trim().is_empty()).then(|| value.trim().to_owned())
            })
        };
        field("model name")
            .or_else(|| field("cpu model"))
            .or_else(|| {
                let (maker, part) = (field("CPU implementer")?, field("CPU part")?);
                Some(format!("implementer {maker} part {part}"))
            })
    }

    /// Whether the processor reports a hypervisor; `None` where it cannot (not x86).
    pub fn is_virtual_machine(&self) -> Option<bool> {
        let text = self.text("proc/cpuinfo")?;
        let flags = text.lines().find(|line| line.starts_with("flags"))?;
        Some(
            flags
                .split_ascii_whitespace()
                .any(|flag| flag == "hypervisor"),
        )
    }

    /// Memory of the host in bytes.
    pub fn memory_bytes(&self) -> Option<u64> {
        let text = self.text("proc/meminfo")?;
        let line = text
            .lines()
            .find_map(|line| line.strip_prefix("MemTotal:"))?;
        let kibibytes: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
        kibibytes.checked_mul(1024)
    }

    /// Frequency governor of a processor; `None` where the host hides it, as most virtual machines.
    pub fn governor(&self, cpu: usize) -> Option<String> {
        self.text(format!(
            "sys/devices/system/cpu/cpu{cpu}/cpufreq/scaling_governor"
        ))
    }

    /// The hardware threads of a processor's core, itself included.
    pub fn core_siblings(&self, cpu: usize) -> Option<Vec<usize>> {
        let topology = format!("sys/devices/system/cpu/cpu{cpu}/topology");
        // The first name is that of Linux 5.3 and later.
        let list = self
            .text(format!("{topology}/core_cpus_list"))
            .or_else(|| self.text(format!("{topology}/thread_siblings_list")))?;
        parse_cpu_list(&list)
    }

    /// CPU time that control groups allow this process, in processors: the tightest limit from its
    /// own group up to the root, of version 2 or of version 1.
    pub fn cpu_quota(&self) -> Option<f64> {
        let groups = self.text("proc/self/cgroup")?;
        let quotas = groups.lines().flat_map(|line| {
            let mut fields = line.splitn(3, ':');
            let (_, controllers, path) = (fields.next(), fields.next(), fields.next());
            let quota = match (controllers, path) {
                (Some(""), Some(path)) => self.tightest("sys/fs/cgroup", path, quota_v2),
                (Some(names), Some(path)) if names.split(',').any(|name| name == "cpu") => {
                    // Both names are in use for the place where the controller is mounted.
                    self.tightest("sys/fs/cgroup/cpu", path, quota_v1)
                        .or_else(|| self.tightest("sys/fs/cgroup/cpu,cpuacct", path, quota_v1))
                }
                _ => None,
            };
            quota.into_iter()
        });
        quotas.reduce(f64::min)
    }

    fn tightest(
        &self,
        mount: &str,
        path: &str,
        quota: fn(&HostFiles, &Path) -> Option<f64>,
    ) -> Option<f64> {
        let mount = Path::new(mount);
        // In a container the path is often the host's, of which nothing is to be seen here; the
        // container's own group is then the mount itself, which is among the ancestors.
        Path::new(path.trim_start_matches('/'))
            .ancestors()
            .take(GROUP_DEPTH_MAX)
            .filter_map(|group| quota(self, &mount.join(group)))
            .reduce(f64::min)
    }

    /// Processor faults in one line, such as `mitigated: meltdown, spectre_v2; vulnerable: mds`,
    /// followed by `mitigations=…` when the kernel's command line has it. They cost system calls,
    /// so two hosts that differ here are not to be compared without a word.
    pub fn mitigations(&self) -> Option<String> {
        let folder = self.root.join("sys/devices/system/cpu/vulnerabilities");
        let mut named: BTreeMap<&str, Vec<String>> = BTreeMap::new();
        let mut is_listed = false;
        for entry in fs::read_dir(folder).ok()?.flatten() {
            let Ok(status) = fs::read_to_string(entry.path()) else {
                continue;
            };
            is_listed = true;
            let kind = if status.starts_with("Vulnerable") {
                "vulnerable"
            } else if status.starts_with("Mitigation") {
                "mitigated"
            } else {
                continue;
            };
            let name = entry.file_name().to_string_lossy().into_owned();
            named.entry(kind).or_default().push(name);
        }
        if !is_listed {
            return None;
        }
        let mut parts: Vec<String> = named
            .into_iter()
            .map(|(kind, mut names)| {
                names.sort();
                format!("{kind}: {}", names.join(", "))
            })
            .collect();
        if parts.is_empty() {
            parts.push("none needed".to_owned());
        }
        let command_line = self.text("proc/cmdline").unwrap_or_default();
        let chosen = command_line
            .split_ascii_whitespace()
            .find(|word| word.starts_with("mitigations="));
        parts.extend(chosen.map(str::to_owned));
        Some(parts.join("; "))
    }
}

/// `cpu.max` of version 2: `150000 100000`, or `max 100000`.
fn quota_v2(host: &HostFiles, group: &Path) -> Option<f64> {
    let text = host.text(group.join("cpu.max"))?;
    let (quota, period) = text.split_once(' ')?;
    processors(quota, period)
}

/// Version 1: two files, and -1 for no limit.
fn quota_v1(host: &HostFiles, group: &Path) -> Option<f64> {
    let quota = host.text(group.join("cpu.cfs_quota_us"))?;
    let period = host.text(group.join("cpu.cfs_period_us"))?;
    processors(&quota, &period)
}

fn processors(quota: &str, period: &str) -> Option<f64> {
    let (quota, period): (f64, f64) = (quota.trim().parse().ok()?, period.trim().parse().ok()?);
    (quota > 0.0 && period > 0.0).then(|| quota / period)
}

/// A list as the kernel writes it: `0-3,8,10-11`.
pub fn parse_cpu_list(text: &str) -> Option<Vec<usize>> {
    let mut cpus = Vec::new();
    for part in text.trim().split(',') {
        let (first, last) = part.split_once('-').unwrap_or((part, part));
        let (first, last): (usize, usize) = (first.parse().ok()?, last.parse().ok()?);
        if last < first || last - first >= PROCESSORS_MAX || cpus.len() >= PROCESSORS_MAX {
            return None;
        }
        cpus.extend(first..=last);
    }
    Some(cpus)
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU32, Ordering};

    use super::*;

    /// A folder that is gone with its owner.
    struct Tree(PathBuf);

    impl Drop for Tree {
        fn drop(&mut self) {
            let _ = fs::remove_dir_all(&self.0);
        }
    }

    fn tree(files: &[(&str, &str)]) -> (Tree, HostFiles) {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let root =
            std::env::temp_dir().join(format!("fanwire-facts-{}-{number}", std::process::id()));
        for (path, text) in files {
            let path = root.join(path);
            fs::create_dir_all(path.parent().expect("below the root")).expect("a folder");
            fs::write(path, text).expect("a file");
        }
        let host = HostFiles::under(&root);
        (Tree(root), host)
    }

    #[test]
    fn an_empty_host_has_no_facts() {
        let host = HostFiles::under("/nonexistent-root-of-a-test");
        assert_eq!(host.host_id(), None);
        assert_eq!(host.kernel_release(), None);
        assert_eq!(host.cpu_model(), None);
        assert_eq!(host.is_virtual_machine(), None);
        assert_eq!(host.memory_bytes(), None);
        assert_eq!(host.governor(0), None);
        assert_eq!(host.core_siblings(0), None);
        assert_eq!(host.cpu_quota(), None);
        assert_eq!(host.mitigations(), None);
    }

    #[test]
    fn a_server_of_the_usual_kind() {
        let (_tree, host) = tree(&[
            ("etc/machine-id", "4c1d1c0a7a9d4b0f8f8e6f6c5d4c3b2a\n"),
            ("proc/sys/kernel/osrelease", "6.18.44\n"),
            (
                "proc/cpuinfo",
                "processor\t: 0\nmodel name\t: Xeon 9000\nflags\t\t: fpu hypervisor sse\n",
            ),
            ("proc/meminfo", "MemTotal:       24000 kB\nMemFree: 1 kB\n"),
            (
                "sys/devices/system/cpu/cpu3/cpufreq/scaling_governor",
                "powersave\n",
            ),
            (
                "sys/devices/system/cpu/cpu3/topology/thread_siblings_list",
                "3,67\n",
            ),
            (
                "sys/devices/system/cpu/vulnerabilities/meltdown",
                "Not affected\n",
            ),
            (
                "sys/devices/system/cpu/vulnerabilities/spectre_v2",
                "Mitigation: Retpolines\n",
            ),
            (
                "sys/devices/system/cpu/vulnerabilities/mds",
                "Vulnerable: Clear CPU buffers attempted\n",
            ),
            (
                "proc/cmdline",
                "quiet mitigations=auto,nosmt root=/dev/vda\n",
            ),
        ]);
        assert_eq!(host.kernel_release().as_deref(), Some("6.18.44"));
        assert_eq!(host.cpu_model().as_deref(), Some("Xeon 9000"));
        assert_eq!(host.is_virtual_machine(), Some(true));
        assert_eq!(host.memory_bytes(), Some(24_576_000));
        assert_eq!(host.governor(3).as_deref(), Some("powersave"));
        assert_eq!(host.governor(0), None);
        assert_eq!(host.core_siblings(3), Some(vec![3, 67]));
        assert_eq!(
            host.mitigations().as_deref(),
            Some("mitigated: spectre_v2; vulnerable: mds; mitigations=auto,nosmt")
        );
        let host_id = host.host_id().expect("from the machine id");
        assert_eq!(host_id.len(), 16);
        assert!(
            !host_id.contains("4c1d"),
            "the machine id is not given away"
        );
    }

    #[test]
    fn an_arm_server_is_named_by_its_numbers() {
        let (_tree, host) = tree(&[(
            "proc/cpuinfo",
            "processor\t: 0\nCPU implementer\t: 0x41\nCPU part\t: 0xd0c\n",
        )]);
        assert_eq!(
            host.cpu_model().as_deref(),
            Some("implementer 0x41 part 0xd0c")
        );
        assert_eq!(host.is_virtual_machine(), None);
    }

    #[test]
    fn the_tightest_quota_of_the_groups_counts() {
        let (_tree, host) = tree(&[
            ("proc/self/cgroup", "0::/pod/app\n"),
            ("sys/fs/cgroup/pod/app/cpu.max", "max 100000\n"),
            ("sys/fs/cgroup/pod/cpu.max", "150000 100000\n"),
            ("sys/fs/cgroup/cpu.max", "400000 100000\n"),
        ]);
        assert_eq!(host.cpu_quota(), Some(1.5));
        let (_tree, host) = tree(&[
            (
                "proc/self/cgroup",
                "3:cpuset:/x\n2:cpu,cpuacct:/docker/1\n0::/\n",
            ),
            ("sys/fs/cgroup/cpu,cpuacct/cpu.cfs_quota_us", "50000\n"),
            ("sys/fs/cgroup/cpu,cpuacct/cpu.cfs_period_us", "100000\n"),
        ]);
        assert_eq!(host.cpu_quota(), Some(0.5));
        let (_tree, host) = tree(&[
            ("proc/self/cgroup", "2:cpu:/\n"),
            ("sys/fs/cgroup/cpu/cpu.cfs_quota_us", "-1\n"),
            ("sys/fs/cgroup/cpu/cpu.cfs_period_us", "100000\n"),
        ]);
        assert_eq!(host.cpu_quota(), None, "no limit");
    }

    #[test]
    fn processor_lists() {
        assert_eq!(parse_cpu_list("0-2,8"), Some(vec![0, 1, 2, 8]));
        assert_eq!(parse_cpu_list("5\n"), Some(vec![5]));
        for wrong in ["", "a", "3-1", "0-99999999", "1,,2"] {
            assert_eq!(parse_cpu_list(wrong), None, "{wrong:?}");
        }
    }
}
