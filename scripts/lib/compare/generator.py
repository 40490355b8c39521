"""One run of fanwire-loadgen, and what its report says about whether to believe it."""

import json
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Optional

from .errors import RunFailed

EXIT_OK = 0
EXIT_INVALID = 4
# Message counters of a report that must be zero.
WRONG_MESSAGES = ("lost", "duplicates", "reordered", "corrupt", "unsolicited")
# Beyond the duration that was asked for: connecting, warm-up, closing.
GRACE_S = 60


@dataclass(frozen=True)
class Load:
    """What the generator is asked to do; the same for every contender."""

    mode: str
    connections: int
    size: int = 64
    in_flight: int = 1
    spin: bool = False
    # Seconds to measure unless somebody asks for others; None for what all workloads take.
    duration_s: Optional[float] = None

    def words(self, duration_s, warmup_s):
        words = [self.mode, "-c", str(self.connections), "-d", f"{duration_s:g}s",
                 "-w", f"{warmup_s:g}s", "-s", str(self.size)]
        if self.mode == "echo":
            words += ["--in-flight", str(self.in_flight)]
        if self.spin:
            words.append("--spin")
        return words

    def command(self, program, address, cpu, pid, duration_s, warmup_s, report):
        mode, *rest = self.words(duration_s, warmup_s)
        return [str(program), mode, f"ws://{address}/", *rest, "--cpu", str(cpu),
                "--server-pid", str(pid), "--quiet", "--json", str(report)]


@dataclass(frozen=True)
class FanOut:
    """One publisher on one topic, and its subscribers."""

    connections: int
    size: int
    rate: float
    burst: int = 1
    form: str = "binary"
    deflate: bool = False
    stalled_percent: int = 0
    duration_s: Optional[float] = None

    def command(self, program, address, cpu, pid, duration_s, warmup_s, report):
        words = [str(program), "fanout", f"ws://{address}/", "-c", str(self.connections),
                 "--publishers", "1", "--topics", "1", "-R", f"{self.rate:g}",
                 "--burst", str(self.burst), "-s", str(self.size), "-d", f"{duration_s:g}s",
                 "-w", f"{warmup_s:g}s"]
        if self.form != "binary":
            words += ["--payload", self.form]
        if self.deflate:
            words.append("--deflate")
        if self.stalled_percent:
            words += ["--stall", f"{self.stalled_percent}%:inf"]
        return [*words, "--cpu", str(cpu), "--server-pid", str(pid), "--quiet",
                "--json", str(report)]


def drive(command, report, duration_s):
    """Runs the generator to its end and returns its report.

    A report that the generator itself calls INVALID because it was the bottleneck is returned:
    the table marks it. Anything with errors in it is a failure of the contender."""
    try:
        done = subprocess.run(command, capture_output=True, text=True,
                              timeout=duration_s + GRACE_S, check=False)
    except subprocess.TimeoutExpired as error:
        raise RunFailed(f"the load generator did not end {GRACE_S} s after its time") from error
    except OSError as error:
        raise RunFailed(f"cannot start the load generator: {error}") from error
    said = (done.stderr.strip() or done.stdout.strip())[-800:]
    if done.returncode not in (EXIT_OK, EXIT_INVALID):
        raise RunFailed(f"the load generator ended with status {done.returncode}: {said}")
    try:
        result = json.loads(Path(report).read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise RunFailed(f"no usable report from the load generator ({error}): {said}") from error
    check(result)
    return result


def check(result):
    """Fails a run in which a connection was lost or a reply was wrong."""
    wrong = {kind: count for kind, count in count_errors(result.get("errors")) if count}
    messages = result.get("messages", {})
    wrong.update({kind: messages[kind] for kind in WRONG_MESSAGES if messages.get(kind)})
    if wrong:
        raise RunFailed("errors: " + ", ".join(f"{kind} {count}" for kind, count in wrong.items()))
    connections = result.get("connections", {})
    # In a storm connections are meant to be gone at the end.
    stages = ("upgraded", "served") if result["mode"] == "storm" else ("served", "alive")
    for stage in stages:
        if connections.get(stage, 0) < connections.get("open", 0):
            raise RunFailed(f"of {connections['open']} connections only {connections[stage]} "
                            f"were {stage}")
    if connections.get("open", 0) < connections.get("asked", 0):
        raise RunFailed(f"only {connections['open']} of {connections['asked']} connections "
                        "were opened")


def count_errors(errors):
    """Error counts by kind, whether the report nests them or gives one number."""
    if isinstance(errors, dict):
        for kind, count in errors.items():
            if isinstance(count, dict):
                yield from ((f"{kind}.{inner}", number) for inner, number in count_errors(count))
            elif isinstance(count, (int, float)):
                yield kind, count
    elif isinstance(errors, (int, float)):
        yield "errors", errors


def figure(result, *path):
    """A number deep in a report, or None."""
    for name in path:
        if not isinstance(result, dict) or name not in result:
            return None
        result = result[name]
    return result if isinstance(result, (int, float)) else None
