"""Runs the criterion program in rounds and compares its estimates, size by size."""

import json
import os
import shutil
import subprocess
import tempfile
from pathlib import Path

from . import build
from .errors import RunFailed
from .rounds import Outcome, say
from .statistics import best, paired_ratio, summarise

FANWIRE = "fanwire"
PEERS = ("tungstenite", "fastwebsockets", "tokio-websockets", "sockudo-ws")
SIZES = (16, 64, 256, 1024, 4096, 16384, 65536)
# Scoreboard P9: so many times the best peer up to this payload, never behind above it.
BOUND, BOUND_SIZE_MAX = 1.3, 1024

GROUPS = {
    "header": "parse a header",
    "unmask": "unmask in place",
    "receive_binary": "receive, binary",
    "receive_text": "receive, ASCII text",
    "receive_text_mixed": "receive, text of several scripts",
    "assemble": "assemble from three reads",
    "fragments": "assemble from four frames",
    "encode": "encode a frame",
    "send": "encode and write",
    "handshake": "opening handshake",
    "deflate_level_1": "deflate, level 1",
    "deflate_level_6": "deflate, level 6",
    "inflate": "inflate",
}

# Not named by P9, measured all the same.
BESIDE_P9 = ("handshake", "deflate_level_1", "deflate_level_6", "inflate")
# "Never behind" is not missed by a ratio that cannot be told from 1: the rounds lie on both sides
# of it, and the median is within this of it.
LEVEL = 0.03

# Criterion's options; quick ones find gross mistakes, the others are for the record.
TIMES = ("--warm-up-time", "0.3", "--measurement-time", "0.8", "--sample-size", "30")
TIMES_QUICK = ("--warm-up-time", "0.1", "--measurement-time", "0.2", "--sample-size", "10")


def run(settings, quick, filters):
    """All rounds. `results[(group, size)][library]` is a list of nanoseconds per message."""
    program = build.build_micro()
    outcome = Outcome()
    times = TIMES_QUICK if quick else TIMES
    raw = settings.directory / "raw"
    raw.mkdir(parents=True, exist_ok=True)
    for number in range(1, settings.runs + 1):
        with tempfile.TemporaryDirectory() as home:
            # Criterion takes one expression.
            chosen = ["|".join(f"({one})" for one in filters)] if filters else []
            words = [str(program), "--bench", "--noplot", *times, *chosen]
            say(f"  {number}/{settings.runs} criterion")
            done = subprocess.run(
                ["taskset", "-c", str(settings.server_cpu), *words],
                env={**os.environ, "CRITERION_HOME": home},
                capture_output=True, text=True, check=False,
            )
            if done.returncode != 0:
                raise RunFailed(f"the criterion program failed: {done.stderr[-1500:]}")
            found = collect(Path(home))
        if not found:
            raise RunFailed("criterion left no estimates")
        text = json.dumps(found, indent=1, sort_keys=True)
        (raw / f"round{number}.json").write_text(text + "\n", encoding="utf-8")
        for name, nanoseconds in found.items():
            group, library, size = name.split("/")
            cell = outcome.results.setdefault((group, int(size)), {})
            cell.setdefault(library, []).append(nanoseconds)
        if number == 1:
            outcome.commands.append(
                "cargo bench --locked --no-run -p fanwire-benches --bench micro")
            outcome.commands.append(f"taskset -c {settings.server_cpu} micro "
                                    + " ".join(words[1:]))
            wire_sizes = [line for line in done.stderr.splitlines() if "on the wire" in line]
            (raw / "deflate-sizes.txt").write_text("\n".join(wire_sizes) + "\n", encoding="utf-8")
    return outcome


def collect(home):
    """Median estimates of one round, in nanoseconds per message or per payload."""
    found = {}
    for path in home.glob("**/new/benchmark.json"):
        benchmark = json.loads(path.read_text(encoding="utf-8"))
        estimates = json.loads((path.parent / "estimates.json").read_text(encoding="utf-8"))
        messages = (benchmark.get("throughput") or {}).get("Elements") or 1
        size = benchmark.get("value_str") or "0"
        name = f"{benchmark['group_id']}/{benchmark['function_id']}/{size}"
        found[name] = estimates["median"]["point_estimate"] / messages
    return found


def peers_of(cell):
    return {name: values for name, values in cell.items() if name != FANWIRE}


def bound_for(size):
    return BOUND if size <= BOUND_SIZE_MAX else 1.0


def verdict(ratio, size):
    """`met`, `level` (indistinguishable from a bound of 1) or `missed`."""
    bound = bound_for(size)
    if ratio.median >= bound:
        return "met"
    if bound == 1.0 and ratio.low < 1.0 < ratio.high and ratio.median >= 1.0 - LEVEL:
        return "level"
    return "missed"


def show_time(nanoseconds):
    return f"{nanoseconds:.1f} ns" if nanoseconds < 1000 else f"{nanoseconds / 1000:.2f} µs"


def section(outcome, group):
    """Header and lines of one group; ratios say how many times faster fanwire is."""
    header = ["payload", "fanwire", *(f"{peer} ÷ fanwire" for peer in PEERS), "best peer", "goal"]
    lines = []
    for size in sorted(size for name, size in outcome.results if name == group):
        cell = outcome.results[(group, size)]
        ours = cell.get(FANWIRE, [])
        ratio = against_best(cell)
        own = summarise(ours)
        cells = [f"{size} B" if size else "–", show_time(own.median) if own else "–"]
        for peer in PEERS:
            with_peer = paired_ratio(cell.get(peer, []), ours)
            cells.append("–" if with_peer is None else
                         f"{with_peer.median:.2f} ({with_peer.low:.2f}–{with_peer.high:.2f})")
        if ratio is None:
            cells += ["–", "–"]
        else:
            cells += [f"{ratio.median:.2f}",
                      f"{verdict(ratio, size)} (≥ {bound_for(size):g})"]
        lines.append(cells)
    return header, lines


def against_best(cell):
    peers = list(peers_of(cell).values())
    if not peers or FANWIRE not in cell:
        return None
    return paired_ratio(best(peers, smaller_is_better=True), cell[FANWIRE])


def goal_lines(outcome):
    """P9 by group: how many sizes reach the bound."""
    lines = []
    for group, title in GROUPS.items():
        cells = {size: cell for (name, size), cell in outcome.results.items() if name == group}
        ratios = {size: against_best(cell) for size, cell in sorted(cells.items())}
        known = {size: ratio for size, ratio in ratios.items() if ratio}
        if not known:
            continue
        missed = [f"{size} B: {ratio.median:.2f}" if size else f"{ratio.median:.2f}"
                  for size, ratio in known.items() if verdict(ratio, size) == "missed"]
        lines.append(["–" if group in BESIDE_P9 else "P9",
                      f"{title}: ≥ {BOUND} × the best peer up to 1 KiB, ≥ 1 above",
                      f"{len(known) - len(missed)} of {len(known)} sizes",
                      "met" if not missed else "missed at " + ", ".join(missed)])
    return lines


def charts(outcome):
    """What `plot.curves` draws."""
    drawn = []
    for group, title in GROUPS.items():
        sizes = [size for size in SIZES if (group, size) in outcome.results]
        if len(sizes) < 3:
            continue
        peers = {}
        for peer in PEERS:
            series = []
            for size in SIZES:
                cell = outcome.results.get((group, size), {})
                series.append(paired_ratio(cell.get(peer, []), cell.get(FANWIRE, [])))
            if any(value is not None for value in series):
                peers[peer] = series
        drawn.append((title, peers))
    return drawn


def method():
    return [
        "one criterion program for all libraries, `benches/benches/micro/`; each file says what "
        "is compared and why that is alike",
        "the program runs on one pinned core; libraries take turns at each size; the whole "
        "program is repeated, and ratios are formed within one repetition",
        "time per message is criterion's median estimate",
    ]


def has_taskset():
    return shutil.which("taskset") is not None
