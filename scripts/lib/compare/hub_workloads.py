"""What is measured of publish and subscribe: the workloads of `fanout`, `deflate` and `stalled`, who
takes part, and the figures of the scoreboard that they have to reach.

Which words of the load generator's report the figures are taken from is written here and nowhere
else; which counters make a run wrong is in generator.py."""

from dataclasses import dataclass

from . import contenders as who
from .generator import FanOut, figure
from .workloads import FLOOR, SUBJECT, Goal, Metric, Row, Workload, as_duration

PEER_NAMES = tuple(peer.name for peer in who.HUB_PEERS)
EACH_NAMES = tuple(peer.name for peer in who.DEFLATE_EACH)
STALLED_SHARE_PERCENT = 10
ARRIVED_SHARE_MIN = 0.999
LATENCY_NOTE = (
    f"Latencies are given for runs in which at least {ARRIVED_SHARE_MIN:.1%} of the copies had arrived two "
    "seconds after the last message was due: what is still on its way is in no percentile."
)


def as_percent(share):
    return f"{100 * share:.1f} %" if share < 0.9995 else "100 %"


def as_mebibytes(size):
    return f"{size / 1024 / 1024:.1f} MiB"


@dataclass(frozen=True)
class Latency(Metric):
    """A latency counts only where practically everything arrived: what is still on its way, and
    would be the slowest, is in no percentile."""

    def of(self, result):
        share = figure(result, "arrived_share") if result is not None else None
        return super().of(result) if share is not None and share >= ARRIVED_SHARE_MIN else None


LAST = ("fanout", "message", "last_ns")
HEALTHY = ("classes", "healthy", "delivery_ns")
CPU = Metric("server CPU per delivery", "ns", ("server", "cpu_ns_per_message"), True, as_duration)
LAST_P50 = Latency("last subscriber p50", "ns", (*LAST, "p50"), True, as_duration)
LAST_P99 = Latency("last subscriber p99", "ns", (*LAST, "p99"), True, as_duration)
COPY_P99 = Latency("every copy p99", "ns", (*HEALTHY, "p99"), True, as_duration)
HEALTHY_P99 = Latency("healthy readers' p99", "ns", (*HEALTHY, "p99"), True, as_duration)
REACHED = Metric("copies that arrived", "share", ("arrived_share",), False, as_percent,
                 has_ratio=False)
MEMORY = Metric("highest memory", "B", ("server_memory", "bytes_max"), True, as_mebibytes)
GROWN = Metric("memory grown in the run", "B", ("server_memory", "bytes_grown"), True,
               as_mebibytes, has_ratio=False)


def at_most(item, text, metric, references, bound, subject=SUBJECT):
    return Goal(item, f"{metric.name}: {text}", metric, subject, references, bound, True)


def fan_out_workload(key, title, load):
    everybody = (who.HUB_URING, who.HUB_EPOLL, who.FLOOR_FAN_OUT, *who.HUB_PEERS)
    return Workload(
        key=key,
        title=title,
        rows=tuple(Row(contender, load) for contender in everybody),
        metrics=(CPU, LAST_P50, LAST_P99, COPY_P99, REACHED),
        goals=(
            at_most("P4", "fanwire ≤ 1.05 × the floor's", CPU, (FLOOR,), 1.05),
            at_most("P4", "fanwire ≤ 0.7 × the best peer's", LAST_P99, PEER_NAMES, 0.7),
        ),
        note=LATENCY_NOTE,
    )


def fanout():
    return (
        fan_out_workload(
            "fanout-100B-s5000",
            "fan-out: 1 topic, 5,000 subscribers, 100 B, 20 messages per second",
            FanOut(5000, size=100, rate=20, duration_s=10),
        ),
        fan_out_workload(
            "fanout-100B-s5000-b10",
            "fan-out in bursts: 1 topic, 5,000 subscribers, 100 B, 20 bursts of 10 per second "
            "(200 messages per second)",
            FanOut(5000, size=100, rate=200, burst=10, duration_s=10),
        ),
    )


def deflate_workload(size, words, bound):
    load = FanOut(1000, size=size, rate=50, deflate=True, form="json", duration_s=10)
    everybody = (who.HUB_URING_DEFLATE, who.HUB_EPOLL_DEFLATE, *who.DEFLATE_ONCE, *who.DEFLATE_EACH)
    return Workload(
        key=f"deflate-{size}B-s1000",
        title=f"fan-out with permessage-deflate: 1,000 subscribers, JSON of {words}, 50 messages per "
        "second",
        rows=tuple(Row(contender, load) for contender in everybody),
        metrics=(CPU, LAST_P99, REACHED),
        goals=(
            at_most("P5", f"fanwire ≤ {bound:g} × the best that compresses per subscriber", CPU,
                    EACH_NAMES, bound),
        ),
        note="fanwire and nchan compress a message once for everybody, the others once per "
        "subscriber. tokio-tungstenite has no permessage-deflate. " + LATENCY_NOTE,
    )


def deflate():
    return (deflate_workload(1024, "1 KiB", 0.5), deflate_workload(4096, "4 KiB", 0.3))


def story(result):
    """What became of the stalled readers and of the server's memory."""
    readers = result["classes"].get("stalled")
    if readers is None:
        return "–"
    ledger, memory = readers["ledger"], result["server_memory"]
    told = []
    # Whoever does not read does not see either that its connection has ended: the server's side
    # is counted.
    ended = max(readers["ended"], memory["sockets_max"] - memory["sockets_at_end"])
    if ended > 0:
        told.append(f"{ended} of {readers['subscribers']} were disconnected")
    else:
        told.append(f"all {readers['subscribers']} stayed connected")
    if ledger["missing"] > 0:
        told.append(f"{ledger['missing']:,} copies were left out without a word")
    if ledger["declared_gap"]:
        told.append(f"they were told that {ledger['declared_gap']:,} copies were left out")
    behind = ledger["in_flight"] + ledger["cut_off_at_close"]
    told.append(f"{behind:,} of {ledger['eligible']:,} copies had not been read")
    told.append(f"memory {as_mebibytes(memory['bytes_at_begin'])} → "
                f"{as_mebibytes(memory['bytes_max'])}")
    return "; ".join(told)


WITHOUT, WITH = "", f", {STALLED_SHARE_PERCENT} % stalled"


def stalled():
    """Large messages and many of them, so that a stalled reader's share is more than the kernel
    takes on both sides (4 MB on a loopback of Linux 6) well before the end of a run."""
    load = dict(connections=2000, size=8192, rate=30, duration_s=30)
    everybody = (who.HUB_URING, who.HUB_EPOLL, who.HUB_URING_KEEPING, *who.HUB_PEERS)
    rows = tuple(
        Row(contender, FanOut(**load, stalled_percent=percent), suffix)
        for contender in everybody
        for percent, suffix in ((0, WITHOUT), (STALLED_SHARE_PERCENT, WITH))
    )
    goals = tuple(
        at_most("P8", f"{name} with stalled readers ≤ 1.1 × without", metric, (name,), 1.1,
                name + WITH)
        for name in (SUBJECT, who.HUB_URING_KEEPING.name)
        for metric in (HEALTHY_P99, MEMORY)
    )
    return (
        Workload(
            key="stalled-8KiB-s2000",
            title="stalled readers: 1 topic, 2,000 subscribers, 8 KiB, 30 messages per second; "
            f"{STALLED_SHARE_PERCENT} % of them stop reading when measuring begins",
            rows=rows,
            metrics=(HEALTHY_P99, CPU, MEMORY, GROWN),
            goals=goals,
            subject=SUBJECT,
            pairs=tuple((contender.name + WITHOUT, contender.name + WITH)
                        for contender in everybody),
            story=("what became of the stalled readers", story),
            note="Each reader is due 246 KB a second. What the kernel holds for a stalled one (some "
            "4 MB with its own sizes) is full after about 17 s; what comes after that is the "
            "server's affair. Memory is what the process itself holds (RssAnon and RssShmem), not "
            "the kernel's socket buffers. fanwire disconnects a peer that takes nothing for 5 s; told "
            "not to, and with numbered messages, it keeps it. " + LATENCY_NOTE,
        ),
    )
