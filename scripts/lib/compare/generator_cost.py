"""What the load generator itself costs, and what it can do: CPU time per message beside a bare
io_uring client, whether one core of it saturates one core of a server, how exactly it sends by a
schedule, and what memory an idle connection takes in it.

The server is fanwire's echo server throughout; it only has to be the same for both sides."""

import json
import re
import signal
import subprocess
import time
from pathlib import Path
from statistics import median

from . import build, generator, idle, machine
from . import contenders as who
from .errors import RunFailed
from .processes import Server
from .rounds import Outcome, say, shown
from .statistics import paired_ratio, summarise

CONNECTIONS = 200
SIZE = 64
CPU_RATIO_MAX = 1.1
SERVER_BUSY_MIN = 0.97
PACED_RATE = 50_000
LATE_P99_MAX_NS = 50_000
FEW, MANY = 1_000, 15_000
IDLE_BYTES_MAX = 1_024
SETTLE_S = 1.0
# Longer than a reading takes; the generator is interrupted when it has been read.
HOLD_S = 600

GENERATOR = "fanwire-loadgen"
FLOOR = "bare client loop"
# Messages under way on each connection. The bar is for one; the other shows what remains of the
# difference when the kernel's share of a message is small.
DEPTHS = (1, 16)


def floor_command(program, address, cpu, depth, settings):
    return [str(program), "--server", address, "--connections", str(CONNECTIONS), "--size", str(SIZE),
            "--in-flight", str(depth), "--duration", f"{settings.duration_s:g}", "--warmup",
            f"{settings.warmup_s:g}", "--cpu", str(cpu)]


def drive_floor(command, settings):
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False,
                              timeout=settings.duration_s + generator.GRACE_S)
        return json.loads(done.stdout)
    except (subprocess.TimeoutExpired, ValueError) as error:
        raise RunFailed(f"the bare client loop gave no result: {error}") from error


def closed_loop(programs, server, settings, depth, raw):
    """The same load by both. Returns figures by name, and the commands."""
    floor = floor_command(programs[FLOOR], server.address, settings.generator_cpu, depth, settings)
    load = generator.Load("echo", CONNECTIONS, size=SIZE, in_flight=depth)
    own = load.command(programs[GENERATOR], server.address, settings.generator_cpu, server.pid,
                       settings.duration_s, settings.warmup_s, raw)
    bare = drive_floor(floor, settings)
    report = generator.drive(own, raw, settings.duration_s + settings.warmup_s, generator.check)
    return {
        FLOOR: {"rate": bare["messages_per_second"], "cpu_ns": bare["cpu_ns_per_message"]},
        GENERATOR: {
            "rate": report["messages_per_second"],
            "cpu_ns": report["generator"]["cpu_ns_per_message"],
            "server_busy": report["server"]["busy_share"],
            "verdict": report["verdict"],
        },
    }, [shown(floor), shown(own)]


def paced(programs, server, settings, spin, raw):
    """A schedule of messages: how late they leave."""
    words = [str(programs[GENERATOR]), "echo", f"ws://{server.address}/", "-c", str(CONNECTIONS), "-s",
             str(SIZE), "-R", str(PACED_RATE), "-d", f"{settings.duration_s:g}s", "-w",
             f"{settings.warmup_s:g}s", "--cpu", str(settings.generator_cpu), "--server-pid",
             str(server.pid), "--quiet", "--json", str(raw)]
    if spin:
        words.append("--spin")
    report = generator.drive(words, raw, settings.duration_s + settings.warmup_s, generator.check)
    late = report["generator"]["late_ns"]
    return {"late_p50_ns": late["p50"], "late_p99_ns": late["p99"], "late_p999_ns": late["p999"],
            "response_p50_ns": report["latency_ns"]["response"]["p50"],
            "cpu_share": report["generator"]["cpu_share"],
            "verdict": report["verdict"]}, shown(words)


def anonymous_bytes(pid):
    text = Path(f"/proc/{pid}/status").read_text(encoding="utf-8")
    return int(re.search(r"^RssAnon:\s*(\d+) kB", text, re.MULTILINE).group(1)) * 1024


def memory_with(programs, server, settings, count):
    """The generator's own memory while it holds `count` idle connections."""
    base = idle.sockets_open(server.pid)
    command = [str(programs[GENERATOR]), "idle", f"ws://{server.address}/", "-c", str(count), "-d",
               f"{HOLD_S}s", "--cpu", str(settings.generator_cpu), "--quiet"]
    process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
                               stderr=subprocess.PIPE, text=True)
    try:
        idle.wait_until_open(server, [idle.Holder(process, count)], base, count)
        time.sleep(SETTLE_S)
        return anonymous_bytes(process.pid), shown(command)
    finally:
        if process.poll() is None:
            process.send_signal(signal.SIGINT)
        process.wait()
        process.stderr.close()
        # The next count begins when these are gone.
        while idle.sockets_open(server.pid) > base:
            server.check_alive()
            time.sleep(0.05)


def idle_memory(programs, server, settings):
    few, _ = memory_with(programs, server, settings, FEW)
    many, command = memory_with(programs, server, settings, MANY)
    return {"bytes_per_connection": (many - few) / (MANY - FEW)}, command


def run(settings, ports):
    """All rounds. Results by kind of measurement, one entry per round."""
    idle.raise_descriptor_limit()
    programs = {GENERATOR: build.build_load_generator(),
                FLOOR: build.build_from_benches("floor_client")}
    server_program = build.build_fanwire()
    outcome = Outcome()
    raw = settings.directory / "raw" / "generator"
    raw.mkdir(parents=True, exist_ok=True)
    kinds = [*(f"closed {depth}" for depth in DEPTHS), "spin", "sleep", "idle"]
    for number in range(1, settings.runs + 1):
        for kind in kinds:
            report = raw / f"round{number}-{kind.replace(' ', '-')}.json"
            command = who.FANWIRE_URING.command(server_program, ports.address(), settings.server_cpu)
            before, total_before = machine.stolen_and_total_ticks()
            try:
                with Server(command) as server:
                    result, commands = measure(kind, programs, server, settings, report)
            except RunFailed as reason:
                outcome.failures.append(f"{kind}, round {number}: {reason}")
                say(f"  FAILED {outcome.failures[-1]}")
                result, commands = None, []
            after, total = machine.stolen_and_total_ticks()
            outcome.stolen_share_max = max(outcome.stolen_share_max,
                                           (after - before) / max(total - total_before, 1))
            outcome.results.setdefault(kind, []).append(result)
            if number == 1:
                outcome.commands += [shown(command), *commands]
            say(f"  {number}/{settings.runs} {kind:<10} {result}")
    return outcome


def measure(kind, programs, server, settings, report):
    if kind.startswith("closed"):
        return closed_loop(programs, server, settings, int(kind.split()[1]), report)
    if kind == "idle":
        result, command = idle_memory(programs, server, settings)
    else:
        result, command = paced(programs, server, settings, kind == "spin", report)
    return result, [command]


def values(outcome, kind, *path):
    """A figure of every round, None where the round failed."""
    return [result and generator.figure(result, *path) for result in outcome.results.get(kind, [])]


def span(summary, show):
    if summary is None:
        return "–"
    return f"{show(summary.median)} ({show(summary.low)}–{show(summary.high)})"


def microseconds(ns):
    return f"{ns / 1000:.2f} µs"


def tables(outcome):
    """(title, header, lines) of every table, and the goals."""
    every = []
    lines = []
    for depth in DEPTHS:
        kind = f"closed {depth}"
        for name in (FLOOR, GENERATOR):
            lines.append([
                f"{depth}", name,
                span(summarise(values(outcome, kind, name, "rate")), lambda rate: f"{rate:,.0f}/s"),
                span(summarise(values(outcome, kind, name, "cpu_ns")), microseconds),
                span(summarise(values(outcome, kind, name, "server_busy")), lambda share: f"{share:.1%}"),
            ])
    every.append((f"Closed loop, {CONNECTIONS} connections, {SIZE} B, one core each",
                  ["in flight", "client", "messages", "client CPU per message", "server busy"], lines))
    lines = []
    for kind, title in (("spin", "--spin"), ("sleep", "sleeping")):
        lines.append([title, *(span(summarise(values(outcome, kind, key)), microseconds)
                               for key in ("late_p50_ns", "late_p99_ns", "late_p999_ns", "response_p50_ns")),
                      span(summarise(values(outcome, kind, "cpu_share")), lambda share: f"{share:.0%}"),
                      verdicts(outcome, kind)])
    every.append((f"Open loop, {PACED_RATE:,} messages/s: how late they leave",
                  ["waiting", "p50", "p99", "p99.9", "response p50", "generator CPU", "verdicts"], lines))
    memory = summarise(values(outcome, "idle", "bytes_per_connection"))
    every.append((f"Memory of the generator (RssAnon), growth from {FEW:,} to {MANY:,} idle connections",
                  ["per connection"], [[span(memory, lambda size: f"{size:,.0f} B")]]))
    return every, goals(outcome, memory)


def verdicts(outcome, kind):
    words = [result["verdict"] for result in outcome.results.get(kind, []) if result]
    return ", ".join(f"{words.count(word)} × {word}" for word in sorted(set(words))) or "–"


def goal(name, figure, is_met):
    return [name, figure, "not measured" if is_met is None else "met" if is_met else "missed"]


def goals(outcome, memory):
    ratio = paired_ratio(values(outcome, "closed 1", GENERATOR, "cpu_ns"),
                         values(outcome, "closed 1", FLOOR, "cpu_ns"))
    busy = [result[GENERATOR] for result in outcome.results.get("closed 1", []) if result]
    valid = [one["server_busy"] for one in busy if one["verdict"] == "VALID"]
    late = summarise(values(outcome, "spin", "late_p99_ns"))
    return [
        goal(f"CPU per message ≤ {CPU_RATIO_MAX} of the bare loop",
             span(ratio, lambda value: f"{value:.2f}"), ratio and ratio.median <= CPU_RATIO_MAX),
        goal(f"server ≥ {SERVER_BUSY_MIN:.0%} busy while the generator is VALID",
             f"{median(valid):.1%} ({len(valid)} of {len(busy)} rounds VALID)" if valid else "–",
             # A strict majority of the rounds has to be believed.
             (2 * len(valid) > len(busy) and median(valid) >= SERVER_BUSY_MIN) if busy else None),
        goal(f"late sends p99 ≤ {LATE_P99_MAX_NS // 1000} µs at {PACED_RATE:,}/s with --spin",
             span(late, microseconds), late and late.median <= LATE_P99_MAX_NS),
        goal(f"≤ {IDLE_BYTES_MAX:,} B of user memory per idle connection",
             span(memory, lambda size: f"{size:,.0f} B"), memory and memory.median <= IDLE_BYTES_MAX),
    ]


def method():
    return [
        "the bare client loop (`benches/src/bin/floor_client.rs`) sends one prebuilt frame again and "
        "again and counts the bytes of the replies; it draws no masking key, keeps no time, checks "
        "nothing",
        "both drive the same server process one after the other, closed loop; CPU time of the client is "
        "its thread's own, from the scheduler's accounting, over the measured time",
        "late: from when the schedule has a message to when it is handed to its socket; the window is "
        "the whole measured time",
        f"memory: RssAnon of the generator with {FEW:,} and with {MANY:,} connections that have shaken "
        "hands and are idle, read from /proc of two processes one after the other",
    ]
