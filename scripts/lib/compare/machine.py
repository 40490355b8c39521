"""What has to be known about the machine to judge a figure that was measured on it."""

import os
import platform
import re
import subprocess
from pathlib import Path


def read(path, default="unknown"):
    """The stripped text of a small file, or `default` where it cannot be read."""
    try:
        return Path(path).read_text(encoding="utf-8").strip()
    except OSError:
        return default


def output_of(*command):
    """First line of what a command prints, or a word that says it is not there."""
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=30, check=False)
    except OSError:
        return "not installed"
    return (done.stdout or done.stderr).strip().split("\n")[0]


def cpu_model():
    match = re.search(r"^model name\s*:\s*(.+)$", read("/proc/cpuinfo", ""), re.MULTILINE)
    return match.group(1) if match else platform.machine()


def memory_gib():
    match = re.search(r"^MemTotal:\s*(\d+) kB", read("/proc/meminfo", ""), re.MULTILINE)
    return int(match.group(1)) / 1024 / 1024 if match else 0.0


def is_virtual():
    return " hypervisor" in read("/proc/cpuinfo", "")


def mitigations():
    """Names of the processor vulnerabilities that cost time here."""
    active = []
    for path in sorted(Path("/sys/devices/system/cpu/vulnerabilities").glob("*")):
        if read(path).startswith("Mitigation"):
            active.append(path.name)
    return ", ".join(active) or "none"


def facts(checkout):
    """Ordered pairs for the method page."""
    governor = read("/sys/devices/system/cpu/cpu0/cpufreq/scaling_governor", "not exposed")
    status = output_of("git", "-C", str(checkout), "status", "--porcelain")
    commit = output_of("git", "-C", str(checkout), "rev-parse", "--short=12", "HEAD")
    return {
        "processor": f"{cpu_model()}, {os.cpu_count()} cores"
        + (" (virtual machine)" if is_virtual() else ""),
        "memory": f"{memory_gib():.0f} GiB",
        "kernel": f"{platform.system()} {platform.release()}",
        "frequency governor": governor,
        "clock source": read("/sys/devices/system/clocksource/clocksource0/current_clocksource"),
        "mitigations in force": mitigations(),
        "congestion control": read("/proc/sys/net/ipv4/tcp_congestion_control"),
        "net.core.somaxconn": read("/proc/sys/net/core/somaxconn"),
        "file descriptors": output_of("sh", "-c", "ulimit -n"),
        "commit": commit + (" with uncommitted changes" if status else ""),
        "rustc": output_of("rustc", "--version"),
        "RUSTFLAGS": os.environ.get("RUSTFLAGS") or "none",
        "C++ compiler": output_of("g++", "--version"),
        "Node": output_of("node", "--version"),
        "Python": platform.python_version(),
    }


def stolen_and_total_ticks():
    """Ticks that the hypervisor gave to others, and all ticks, of all cores since boot."""
    fields = [int(field) for field in read("/proc/stat", "cpu 0").split("\n")[0].split()[1:]]
    return (fields[7] if len(fields) > 7 else 0), sum(fields[:8])


def busy_share(seconds=1.0):
    """Share of all cores that something uses right now: what would disturb a measurement."""
    import time

    def idle_and_total():
        fields = [int(field) for field in read("/proc/stat").split("\n")[0].split()[1:9]]
        return fields[3] + fields[4], sum(fields)

    idle_before, total_before = idle_and_total()
    time.sleep(seconds)
    idle_after, total_after = idle_and_total()
    total = max(1, total_after - total_before)
    return 1.0 - (idle_after - idle_before) / total
