"""Memory of idle connections: what one more connection costs a server in its own memory.

The server's memory is read from outside (/proc/PID/status, RssAnon: heap and stacks, what a
process really uses) while connections are opened in steps, from few to many. The cost of a
connection is the growth from the first reading to the last, or the median growth of a step,
whichever is larger: the former counts tables that double now and then, the latter cannot be
flattered by memory that a server happens to give back once. What it needs however many
connections there are drops out."""

import resource
import signal
import subprocess
import time
from dataclasses import dataclass
from pathlib import Path
from statistics import median

from . import contenders as who
from . import machine
from .errors import Missing, RunFailed
from .processes import Server
from .rounds import Outcome, say, shown, slug
from .statistics import summarise

STEPS = (1_000, 3_000, 5_000, 7_000, 9_000, 11_000, 13_000, 15_000)
FEW, MANY = STEPS[0], STEPS[-1]
OPEN_TIMEOUT_S = 120
# After the last connection of a step, for what follows its handshake.
SETTLE_S = 1.0
# The generator's hold time: longer than a run can take; it is interrupted when we have read.
HOLD_S = 600
BYTES_PER_CONNECTION_MAX = 256

EVERYBODY = (
    who.FANWIRE_URING,
    who.FANWIRE_EPOLL,
    who.UWEBSOCKETS,
    who.TOKIO_TUNGSTENITE,
    who.TOKIO_TUNGSTENITE_SMALL,
    who.FASTWEBSOCKETS,
    who.TOKIO_WEBSOCKETS,
    who.SOCKUDO_WS,
    who.NODE_WS,
)

@dataclass
class Holder:
    """A generator that holds connections open in the background."""

    process: subprocess.Popen
    count: int

def raise_descriptor_limit():
    """Soft limit to the hard one, inherited by servers and generators. Returns it."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    return hard

def sockets_open(pid):
    """Descriptors of a process: sockets, and a handful that were there before."""
    return sum(1 for _ in Path(f"/proc/{pid}/fd").iterdir())

def hold(load_generator, address, count, cpu, pid, report_path):
    command = [str(load_generator), "idle", f"ws://{address}/", "-c", str(count), "-d",
               f"{HOLD_S}s", "--cpu", str(cpu), "--server-pid", str(pid),
               "--json", str(report_path)]
    process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
                               stderr=subprocess.PIPE, text=True)
    return Holder(process, count), shown(command)

def wait_until_open(server, holders, base, wanted):
    """Waits until the server holds `wanted` connections, and a moment more."""
    deadline = time.monotonic() + OPEN_TIMEOUT_S
    while sockets_open(server.pid) - base < wanted:
        server.check_alive()
        for holder in holders:
            if holder.process.poll() is not None:
                said = (holder.process.stderr.read() or "").strip()[-600:]
                raise RunFailed(f"the generator ended with status "
                                f"{holder.process.returncode}: {said}")
        if time.monotonic() > deadline:
            raise RunFailed(f"only {sockets_open(server.pid) - base} of {wanted} connections "
                            f"were open after {OPEN_TIMEOUT_S} s")
        time.sleep(0.1)
    time.sleep(SETTLE_S)

def measure(contender, program, load_generator, settings, ports, raw, stem):
    """One server, from no connection to many. Returns figures and commands."""
    command = contender.command(program, ports.address(), settings.server_cpu)
    holders, commands = [], [shown(command)]
    with Server(command) as server:
        try:
            base = sockets_open(server.pid)
            empty = server.memory_bytes()
            readings = {}
            opened = 0
            for total in STEPS:
                holder, words = hold(load_generator, server.address, total - opened,
                                     settings.generator_cpu, server.pid,
                                     raw / f"{stem}-{total}.json")
                holders.append(holder)
                commands.append(words)
                wait_until_open(server, holders, base, total)
                readings[total] = server.memory_bytes()
                opened = total
            still_open = sockets_open(server.pid) - base
            if still_open < MANY:
                raise RunFailed(f"{MANY - still_open} connections were lost while idle")
        finally:
            for holder in holders:
                if holder.process.poll() is None:
                    holder.process.send_signal(signal.SIGINT)
                holder.process.wait()
                holder.process.stderr.close()
    return {
        "connections": MANY,
        "bytes_per_connection": growth(readings, "RssAnon"),
        "bytes_per_connection_all_resident": growth(readings, "VmRSS"),
        "bytes_empty": empty,
        "bytes_at": readings,
    }, commands


def growth(readings, kind):
    """Bytes per connection; see the top of this file."""
    overall = (readings[MANY][kind] - readings[FEW][kind]) / (MANY - FEW)
    steps = [(readings[after][kind] - readings[before][kind]) / (after - before)
             for before, after in zip(STEPS, STEPS[1:])]
    return max(overall, median(steps))


def run(settings, programs, load_generator, ports):
    """All rounds. Returns the outcome; results are the dictionaries of `measure`."""
    limit = raise_descriptor_limit()
    if limit < MANY + 100:
        raise RunFailed(f"{MANY} connections need as many file descriptors; this shell allows "
                        f"{limit}: raise `ulimit -Hn`")
    outcome = Outcome()
    raw = settings.directory / "raw" / "idle"
    raw.mkdir(parents=True, exist_ok=True)
    for number in range(1, settings.runs + 1):
        for contender in EVERYBODY:
            if contender.name in outcome.missing:
                continue
            if settings.only and contender.kind == who.PEER \
                    and contender.name.lower() not in settings.only:
                continue
            try:
                program = programs.get(contender)
            except Missing as reason:
                outcome.missing[contender.name] = str(reason)
                continue
            results = outcome.results.setdefault(contender.name, [])
            stolen_before, total_before = machine.stolen_and_total_ticks()
            try:
                result, commands = measure(contender, program, load_generator, settings, ports,
                                           raw, f"round{number}-{slug(contender.name)}")
            except RunFailed as reason:
                outcome.failures.append(f"idle, round {number}, {contender.name}: {reason}")
                say(f"  FAILED {outcome.failures[-1]}")
                results.append(None)
                continue
            results.append(result)
            stolen, total = machine.stolen_and_total_ticks()
            outcome.stolen_share_max = max(outcome.stolen_share_max,
                                           (stolen - stolen_before) / (total - total_before))
            if number == 1:
                # The generators differ only in how many connections they add.
                outcome.commands += commands[:3]
            say(f"  {number}/{settings.runs} {contender.name:<20} "
                f"{result['bytes_per_connection']:,.0f} B per idle connection")
    return outcome

def slope(outcome, name, key="bytes_per_connection"):
    return summarise([result and result[key] for result in outcome.results.get(name, [])])

def show_bytes(value):
    return f"{value:,.0f} B" if value < 10_000 else f"{value / 1024:,.1f} KiB"

def section(outcome):
    """The markdown and the terminal table, and the scoreboard line."""
    header = ["server", "memory per idle connection", "the same, all resident pages",
              f"whole process with {MANY:,}", "that ÷ connections", "before any connection",
              "× fanwire"]
    ours = slope(outcome, who.FANWIRE_URING.name)
    lines = []
    for name, results in outcome.results.items():
        mine = slope(outcome, name)
        if mine is None:
            lines.append([name, *["–"] * (len(header) - 1)])
            continue
        known = [result for result in results if result]
        whole = summarise([result["bytes_at"][MANY]["VmRSS"] for result in known])
        empty = summarise([result["bytes_empty"]["VmRSS"] for result in known])
        relation = "–"
        if ours is not None and ours.median > 0:
            relation = f"{mine.median / ours.median:.1f}"
        resident = slope(outcome, name, "bytes_per_connection_all_resident")
        lines.append([
            name,
            f"{show_bytes(mine.median)} ({show_bytes(mine.low)}–{show_bytes(mine.high)})",
            show_bytes(resident.median),
            f"{whole.median / 1024 / 1024:.1f} MiB",
            show_bytes(whole.median / MANY),
            f"{empty.median / 1024 / 1024:.1f} MiB",
            relation,
        ])
    goal = ["P6", f"≤ {BYTES_PER_CONNECTION_MAX} B of user memory per idle connection, "
            f"{MANY:,} open"]
    if ours is None:
        goal += ["–", "not measured"]
    else:
        goal += [f"{ours.median:.0f} B",
                 "met" if ours.median <= BYTES_PER_CONNECTION_MAX else "missed"]
    return header, lines, [goal]

def method():
    return [
        f"a fresh server; memory read with {', '.join(f'{step:,}' for step in STEPS)} connections "
        "open that shook hands and then said nothing",
        f"memory per connection: growth of RssAnon from {FEW:,} to {MANY:,} connections, or the "
        "median growth of a step, whichever is larger; memory of the kernel (socket structures) "
        "is not in it",
        "connections are counted in the server's own descriptor table, not believed from the "
        "generator",
    ]
