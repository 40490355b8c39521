"""What is measured: every workload of `echo` and `storm`, who takes part in it, and the figure of
the scoreboard that it has to reach. hub_workloads.py has those of publish and subscribe."""

from dataclasses import dataclass
from typing import Callable, Optional, Tuple

from . import contenders as who
from .contenders import Contender
from .generator import Load, figure


@dataclass(frozen=True)
class Metric:
    """A figure of a run: where it is in the report and how people read it."""

    name: str
    unit: str
    path: Tuple[str, ...]
    smaller_is_better: bool
    format: Callable[[float], str]
    # False where a quotient of two servers would say nothing.
    has_ratio: bool = True

    def of(self, result) -> Optional[float]:
        return figure(result, *self.path) if result is not None else None


def in_thousands(value):
    return f"{value / 1000:.1f}k"


def as_duration(nanoseconds):
    if nanoseconds < 10_000:
        return f"{nanoseconds / 1000:.2f} µs"
    if nanoseconds < 100_000:
        return f"{nanoseconds / 1000:.1f} µs"
    if nanoseconds < 1_000_000:
        return f"{nanoseconds / 1000:.0f} µs"
    if nanoseconds < 100_000_000:
        return f"{nanoseconds / 1_000_000:.2f} ms"
    if nanoseconds < 1_000_000_000:
        return f"{nanoseconds / 1_000_000:.0f} ms"
    return f"{nanoseconds / 1_000_000_000:.2f} s"


RATE = Metric("messages per second", "msg/s", ("messages_per_second",), False, in_thousands)
P50 = Metric("p50", "ns", ("latency_ns", "response", "p50"), True, as_duration)
P99 = Metric("p99", "ns", ("latency_ns", "response", "p99"), True, as_duration)
P999 = Metric("p99.9", "ns", ("latency_ns", "response", "p999"), True, as_duration)
CPU = Metric("server CPU per message", "ns", ("server", "cpu_ns_per_message"), True, as_duration)

STORM_RATE = Metric(
    "connections per second", "conn/s", ("messages_per_second",), False, in_thousands
)
STORM_P99 = Metric("p99 to first echo", "ns", ("latency_ns", "response", "p99"), True, as_duration)
STORM_CPU = Metric(
    "server CPU per connection", "ns", ("server", "cpu_ns_per_message"), True, as_duration
)


@dataclass(frozen=True)
class Row:
    """One contender under one load."""

    contender: Contender
    load: Load
    suffix: str = ""

    @property
    def name(self):
        return self.contender.name + self.suffix


@dataclass(frozen=True)
class Goal:
    """A line of the scoreboard: subject ÷ reference against a bound, round by round."""

    item: str
    text: str
    metric: Metric
    subject: str
    # Row names; with several the best of each round counts.
    references: Tuple[str, ...]
    bound: float
    at_most: bool

    def is_met_by(self, ratio):
        return ratio <= self.bound if self.at_most else ratio >= self.bound


@dataclass(frozen=True)
class Workload:
    key: str
    title: str
    rows: Tuple[Row, ...]
    metrics: Tuple[Metric, ...]
    goals: Tuple[Goal, ...]
    subject: str = who.FANWIRE_URING.name
    # Rows to show beside each other, each divided by its own first one, instead of all by the
    # subject.
    pairs: Tuple[Tuple[str, str], ...] = ()
    # With pairs: a title, and what of the second row's report is told in words.
    story: Optional[Tuple[str, Callable[[dict], str]]] = None
    # A sentence or two for below the table.
    note: str = ""


ECHO_METRICS = (RATE, P50, P99, CPU)
STORM_METRICS = (STORM_RATE, STORM_P99, STORM_CPU)
PEER_NAMES = tuple(peer.name for peer in who.PEERS)
SUBJECT = who.FANWIRE_URING.name
FLOOR = who.FLOOR_LOOP.name


def rows_for(load):
    everybody = (who.FANWIRE_URING, who.FANWIRE_EPOLL, who.FLOOR_LOOP, *who.PEERS)
    return tuple(Row(contender, load) for contender in everybody)


def against_floor(item, metric, bound, at_most=False):
    relation = "≤" if at_most else "≥"
    return Goal(item, f"{metric.name}: fanwire {relation} {bound:.3g} × the floor's",
                metric, SUBJECT, (FLOOR,), bound, at_most)


def against_peers(item, metric, bound, at_most):
    relation = "≤" if at_most else "≥"
    return Goal(item, f"{metric.name}: fanwire {relation} {bound:g} × the best peer's",
                metric, SUBJECT, PEER_NAMES, bound, at_most)


def one_in_flight(connections):
    load = Load("echo", connections)
    return Workload(
        key=f"echo-64B-c{connections}",
        title=f"echo, 64 B, {connections:,} connections, 1 in flight",
        rows=rows_for(load),
        metrics=ECHO_METRICS,
        goals=(against_floor("P1", RATE, 0.97), against_peers("P1", P99, 0.65, at_most=True)),
    )


def cpu_bound(key, title, load):
    return Workload(
        key=key,
        title=title,
        rows=rows_for(load),
        metrics=ECHO_METRICS,
        goals=(against_peers("P2", CPU, 0.85, at_most=True),),
    )


def round_trip():
    sleeping, spinning = Load("echo", 1), Load("echo", 1, spin=True)
    asleep, client = ", nobody spins", ", client spins"
    both = Row(who.FANWIRE_SPIN, spinning, " and client")
    rows = (
        both,
        Row(who.FANWIRE_URING, spinning, client),
        Row(who.FANWIRE_URING, sleeping, asleep),
        Row(who.FLOOR_LOOP, sleeping, asleep),
        *(Row(peer, spinning, client) for peer in who.PEERS),
        *(Row(peer, sleeping, asleep) for peer in who.PEERS),
    )
    goals = (
        Goal("P3", "p50: both spin ≤ 0.2 × nobody spins", P50, both.name,
             (SUBJECT + asleep,), 0.2, True),
        Goal("P3", "p50: both spin ≤ 0.2 × the best peer's, nobody spinning", P50, both.name,
             tuple(name + asleep for name in PEER_NAMES), 0.2, True),
        Goal("P3", "p50: both spin ≤ 0.2 × the best peer's with the same spinning client", P50,
             both.name, tuple(name + client for name in PEER_NAMES), 0.2, True),
    )
    return Workload("round-trip-64B-c1", "round trip, 64 B, 1 connection", rows,
                    (P50, P99, P999, CPU), goals, subject=both.name)


def echo():
    return (
        one_in_flight(200),
        one_in_flight(2000),
        cpu_bound("echo-64B-c200-f16", "echo, 64 B, 200 connections, 16 in flight",
                  Load("echo", 200, in_flight=16)),
        cpu_bound("echo-16KiB-c200", "echo, 16 KiB, 200 connections, 1 in flight",
                  Load("echo", 200, size=16 * 1024)),
        round_trip(),
    )


def storm():
    load = Load("storm", 64)
    return (
        Workload(
            key="storm-64B-c64",
            title="connection storm: connect, upgrade, one echo of 64 B, reset; 64 at a time",
            rows=rows_for(load),
            metrics=STORM_METRICS,
            goals=(
                against_floor("P7", STORM_RATE, 0.9),
                against_peers("P7", STORM_RATE, 1.0, at_most=False),
                against_floor("P7", STORM_CPU, 1 / 0.9, at_most=True),
                against_peers("P7", STORM_CPU, 1.0, at_most=True),
            ),
        ),
    )
