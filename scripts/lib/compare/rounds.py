"""Runs workloads in rounds, A B C A B C, so that each contender meets every mood of the machine.
A server is started afresh for every run, on a port of its own: nothing of one run, neither a warm
heap nor sockets in TIME_WAIT, can reach the next."""

import contextlib
import json
import re
import shlex
import sys
import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Dict, List

from . import build, generator, machine
from .contenders import FANWIRE
from .errors import Missing, RunFailed
from .processes import MemoryWatch, Server


@dataclass
class Settings:
    """How everything is run; the same for all contenders."""

    runs: int
    duration_s: float
    warmup_s: float
    server_cpu: int
    generator_cpu: int
    first_port: int
    directory: Path
    only: List[str] = field(default_factory=list)
    # `duration_s` was asked for, so it also holds for loads that have a time of their own.
    overrides_duration: bool = False

    def seconds_of(self, load):
        """Measured time of one run."""
        return self.duration_s if self.overrides_duration else load.duration_s or self.duration_s


@dataclass
class Outcome:
    """What came of a comparison."""

    # Reports by row name, one per round; None where a run failed.
    results: Dict[str, List[dict]] = field(default_factory=dict)
    missing: Dict[str, str] = field(default_factory=dict)
    failures: List[str] = field(default_factory=list)
    commands: List[str] = field(default_factory=list)
    stolen_share_max: float = 0.0

    def absorb(self, other):
        self.missing.update(other.missing)
        self.failures += other.failures
        self.commands += other.commands
        self.stolen_share_max = max(self.stolen_share_max, other.stolen_share_max)


def say(text):
    print(text, file=sys.stderr, flush=True)


class Programs:
    """Builds each program once; remembers what could not be built, and why."""

    def __init__(self):
        self.paths = {}
        self.reasons = {}

    def get(self, contender):
        name = contender.name
        if name not in self.paths and name not in self.reasons:
            say(f"building {name}")
            try:
                self.paths[name] = contender.make()
            except Missing as reason:
                self.reasons[name] = str(reason)
        if name in self.reasons:
            raise Missing(self.reasons[name])
        return self.paths[name]


class Ports:
    """A fresh port for every server."""

    def __init__(self, first):
        self.next = first

    def address(self):
        port = self.next
        self.next += 1
        return f"127.0.0.1:{port}"


def shown(command):
    """A command line as a reader can repeat it: paths relative to the checkout."""
    words = []
    for word in command:
        word = str(word)
        for base, name in ((build.target_directory(), "target"), (build.CHECKOUT, ".")):
            prefix = f"{base}/"
            if word.startswith(prefix):
                word = f"{name}/{word[len(prefix):]}"
        words.append(word)
    return shlex.join(words)


def slug(name):
    """A row's name as part of a file name."""
    return re.sub(r"[^a-z0-9]+", "-", name.lower()).strip("-")


def wanted(rows, only):
    """The rows whose contender was asked for; fanwire and the floor are always in."""
    if not only:
        return list(rows)
    return [row for row in rows
            if row.contender.kind != "peer" or row.contender.name.lower() in only]


@contextlib.contextmanager
def serving(contender, program, settings, ports):
    """A server of this contender, started afresh and stopped at the end. Yields it, and the
    command that started it."""
    listen = ports.address()
    with tempfile.TemporaryDirectory(prefix="fanwire-compare-") as folder:
        contender.prepare(listen, folder)
        command = contender.command(program, listen, settings.server_cpu, folder=folder)
        tried = None if contender.announces else listen
        with Server(command, tried, contender.has_worker) as server:
            yield server, command


def run_once(row, program, load_generator, settings, ports, report):
    """One server, one load. Returns the generator's report."""
    duration_s = settings.seconds_of(row.load)
    with serving(row.contender, program, settings, ports) as (server, command):
        drive = row.load.command(load_generator, server.address, settings.generator_cpu,
                                 server.pid, duration_s, settings.warmup_s, report)
        with MemoryWatch(server) as memory:
            result = generator.drive(
                [*drive, *row.contender.speech], report, duration_s + settings.warmup_s,
                lambda result: row.load.check(result, row.contender.kind == FANWIRE))
        result["server_memory"] = memory.summary(duration_s)
        save(report.parent, f"{report.stem}-memory.json", result["server_memory"])
        server.check_alive()
    return result, [shown(command), shown([*drive, *row.contender.speech])]


def run_workload(workload, settings, programs, load_generator, ports):
    """All rounds of one workload."""
    outcome = Outcome()
    raw = settings.directory / "raw" / workload.key
    raw.mkdir(parents=True, exist_ok=True)
    rows = wanted(workload.rows, settings.only)
    present = []
    for row in rows:
        try:
            programs.get(row.contender)
            present.append(row)
            outcome.results[row.name] = []
        except Missing as reason:
            outcome.missing[row.contender.name] = str(reason)
    for number in range(1, settings.runs + 1):
        for row in present:
            report = raw / f"round{number}-{slug(row.name)}.json"
            stolen_before, total_before = machine.stolen_and_total_ticks()
            started = time.monotonic()
            try:
                result, commands = run_once(row, programs.get(row.contender), load_generator,
                                            settings, ports, report)
            except RunFailed as reason:
                result = None
                outcome.failures.append(f"{workload.key}, round {number}, {row.name}: {reason}")
                say(f"  FAILED {outcome.failures[-1]}")
            else:
                if number == 1:
                    outcome.commands += commands
                stolen, total = machine.stolen_and_total_ticks()
                share = (stolen - stolen_before) / max(1, total - total_before)
                outcome.stolen_share_max = max(outcome.stolen_share_max, share)
                tell(workload, number, settings.runs, row, result, time.monotonic() - started)
            outcome.results[row.name].append(result)
    return outcome


def tell(workload, number, runs, row, result, seconds):
    figures = []
    for metric in workload.metrics:
        value = metric.of(result)
        figures.append(f"{metric.name} {metric.format(value) if value is not None else '–'}")
    say(f"  {number}/{runs} {row.name:<34} {', '.join(figures)}  "
        f"{result.get('verdict', '')} ({seconds:.1f} s)")


def save(directory, name, value):
    (directory / name).write_text(json.dumps(value, indent=1, ensure_ascii=False) + "\n",
                                  encoding="utf-8")
