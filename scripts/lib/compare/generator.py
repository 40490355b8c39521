"""One run of fanwire-loadgen, and what its report says about whether to believe it."""

import json
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Optional

from . import build
from .errors import RunFailed

EXIT_OK = 0
EXIT_INVALID = 4
# Message counters of a report that must be zero.
WRONG_MESSAGES = ("lost", "duplicates", "reordered", "corrupt", "unsolicited")
# Counters of a fan-out's ledger that must be zero whoever the server is.
WRONG_COPIES = ("duplicates", "reordered", "foreign", "torn", "strangers", "faults")
# nchan answers each published message with the state of its channel, which cannot be switched off.
HARMLESS_REASON = "messages reached publishers"
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

    def check(self, result, _is_ours):
        """Fails a run in which a connection was lost or a reply was wrong."""
        check(result)


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

    def check(self, result, is_ours):
        """Fails a run in which a copy was wrong or a reader that kept up lost its connection. Copies
        that did not come are a failure of fanwire; of anybody else they are a figure in the table,
        because a peer may be out of its depth or drop on purpose."""
        fan_out = result["fanout"]
        classes = {one["class"]: one for one in fan_out["classes"]}
        ledger, healthy = fan_out["ledger"], classes["healthy"]
        wrong = {kind: ledger[kind] for kind in WRONG_COPIES if ledger[kind]}
        wrong.update({kind: fan_out[kind] for kind in ("unconfirmed", "refused") if fan_out[kind]})
        if healthy["ended"]:
            wrong["readers that kept up and were disconnected"] = healthy["ended"]
        if is_ours and healthy["ledger"]["missing"]:
            wrong["missing copies"] = healthy["ledger"]["missing"]
        if healthy["subscribers"] == 0 or healthy["ledger"]["delivered"] == 0:
            wrong["nothing was delivered, so connections"] = result["connections"]["open"]
        if wrong:
            raise RunFailed("errors: " + ", ".join(f"{kind} {count}" for kind, count in wrong.items())
                            + f"; the generator says {result['verdict_reasons']}")
        reasons = [text for text in result["verdict_reasons"] if HARMLESS_REASON not in text]
        if not reasons:
            result["verdict"] = "VALID"
        # Beside the report's own words, what tables ask for.
        result["classes"] = classes
        eligible = healthy["ledger"]["eligible"]
        result["arrived_share"] = healthy["ledger"]["delivered"] / eligible if eligible else None


def drive(command, report, duration_s, check_with):
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
        result = json.loads(without_checkout(Path(report)))
    except (OSError, ValueError) as error:
        raise RunFailed(f"no usable report from the load generator ({error}): {said}") from error
    check_with(result)
    return result


def without_checkout(path):
    """The text of a report, in which the generator keeps its command line. Where this checkout lies
    is nobody's business: the file is rewritten with paths relative to it."""
    text = path.read_text(encoding="utf-8")
    relative = text.replace(f"{build.CHECKOUT}/", "")
    if relative != text:
        path.write_text(relative, encoding="utf-8")
    return relative


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
    """A number deep in a report, or None: also for a percentile of nothing."""
    for name in path:
        if not isinstance(result, dict) or name not in result or result.get("count") == 0:
            return None
        result = result[name]
    return result if isinstance(result, (int, float)) else None
