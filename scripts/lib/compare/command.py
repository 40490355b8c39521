"""The command line of `scripts/compare` and what each topic does from build to results folder."""

import argparse
import datetime
import sys
from pathlib import Path

from . import build, contenders, generator_cost, hub_workloads, idle, machine, micro, plot, report, rounds, workloads
from .errors import Missing, RunFailed
from .statistics import summarise

FIRST_PORT = 20_000
BUSY_SHARE_MAX = 0.10

DESCRIPTION = """\
Measures fanwire beside its peers and beside a bare loop, on this machine, in alternating rounds.

topics:
  echo       throughput, tail latency and server CPU per message; round trip of one connection
  storm      connect, upgrade, first echo, reset: connections per second
  idle       memory of an idle connection, 15,000 of them
  micro      parsing, unmasking, UTF-8, assembling, encoding, handshake, deflate: ns per message
  fanout     one message to 5,000 subscribers, alone and in bursts: server CPU per delivery, when
             the last copy arrives (20 minutes)
  deflate    compressed JSON to 1,000 subscribers: server CPU per delivery (15 minutes)
  stalled    2,000 subscribers of which a tenth stops reading: what the others, and the server's
             memory, notice of it (45 minutes)
  generator  the load generator itself: CPU per message beside a bare client loop, how late it
             sends, whether it saturates a server, memory of an idle connection
"""

# The topics that are rounds of the load generator, and their workloads.
LOADS = {
    "echo": workloads.echo,
    "storm": workloads.storm,
    "fanout": hub_workloads.fanout,
    "deflate": hub_workloads.deflate,
    "stalled": hub_workloads.stalled,
}
# Their contenders differ so much in what they do that the summary says so itself.
HUB_TOPICS = ("fanout", "deflate", "stalled")

EPILOG = """\
Every contender is built here, started afresh for every run, pinned to --server-cpu and driven by
the same load generator on --generator-cpu. Results go to results/<date>-<topic>/, or to --out.

exit status: 0 all contenders ran correctly (a missing one is reported, not failed) ·
1 a contender failed or answered wrongly · 2 usage · 3 our own programs could not be built
"""


def parse(arguments):
    parser = argparse.ArgumentParser(
        prog="compare", description=DESCRIPTION, epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("topic", choices=(*LOADS, "generator", "idle", "micro"))
    parser.add_argument("--quick", action="store_true",
                        help="short runs that only show whether everything works")
    parser.add_argument("--runs", type=int, metavar="N", help="rounds (default 5, quick 2)")
    parser.add_argument("--duration", type=float, metavar="SECONDS",
                        help="measured time of one run (default 5, fanout and deflate 10, "
                        "stalled 30, quick 1)")
    parser.add_argument("--workload", action="append", default=[], metavar="KEY",
                        help="only this workload of the topic; repeat for more (see --list)")
    parser.add_argument("--peer", action="append", default=[], metavar="NAME",
                        help="only this peer beside fanwire and the floor; repeat for more")
    parser.add_argument("--group", action="append", default=[], metavar="REGEX",
                        help="micro only: benchmarks whose name matches")
    parser.add_argument("--server-cpu", type=int, default=0, metavar="CORE")
    parser.add_argument("--generator-cpu", type=int, default=1, metavar="CORE")
    parser.add_argument("--port", type=int, default=FIRST_PORT, metavar="PORT",
                        help=f"first of the ports to use, one per run (default {FIRST_PORT})")
    parser.add_argument("--out", type=Path, metavar="FOLDER", help="where results go")
    parser.add_argument("--list", action="store_true", help="print the topic's workloads and end")
    options = parser.parse_args(arguments)
    options.peer = [name.lower() for name in options.peer]
    return options


def settings_from(options):
    today = datetime.date.today().isoformat()
    directory = options.out or build.CHECKOUT / "results" / f"{today}-{options.topic}"
    directory.mkdir(parents=True, exist_ok=True)
    return rounds.Settings(
        runs=options.runs or (2 if options.quick else 5),
        duration_s=options.duration or (1.0 if options.quick else 5.0),
        warmup_s=0.5 if options.quick else 1.0,
        server_cpu=options.server_cpu,
        generator_cpu=options.generator_cpu,
        first_port=options.port,
        directory=directory.resolve(),
        only=options.peer,
        overrides_duration=bool(options.duration or options.quick),
    )


def seconds_text(settings, chosen):
    """The measured seconds of a run, or of the runs."""
    return " or ".join(sorted({f"{settings.seconds_of(row.load):g}"
                               for workload in chosen for row in workload.rows}, key=float))


def procedure(settings, chosen):
    return [
        f"{settings.runs} rounds, contenders in the same order in each (A B C A B C), a fresh "
        "server process and port for every run",
        f"server pinned to core {settings.server_cpu}, generator to core "
        f"{settings.generator_cpu}; the same generator binary and options for everybody",
        f"{seconds_text(settings, chosen)} s measured after {settings.warmup_s:g} s of warm-up; every "
        "payload that arrives is compared with what was sent",
        "server CPU time is the sum of /proc/PID/task/*/schedstat over the measured time",
        "medians over rounds; ratios are formed within a round; brackets hold lowest and highest",
    ]


def main(arguments=None):
    options = parse(sys.argv[1:] if arguments is None else arguments)
    if options.list:
        return list_workloads(options.topic)
    settings = settings_from(options)
    busy = machine.busy_share()
    if busy > BUSY_SHARE_MAX:
        rounds.say(f"warning: something else uses {busy:.0%} of this machine; figures will be "
                   "noisy and the method page says so")
    try:
        if options.topic == "micro":
            outcome = compare_micro(options, settings)
        elif options.topic == "idle":
            outcome = compare_idle(settings, busy)
        elif options.topic == "generator":
            outcome = compare_generator(settings, busy)
        else:
            outcome = compare_load(options, settings, busy)
    except Missing as reason:
        rounds.say(f"cannot build what every comparison needs: {reason}")
        return 3
    except RunFailed as reason:
        rounds.say(f"failed: {reason}")
        return 1
    for line in report.trouble(outcome):
        print(line)
    print(f"\nwritten to {settings.directory}")
    return 1 if outcome.failures else 0


def list_workloads(topic):
    for workload in LOADS[topic]() if topic in LOADS else ():
        print(f"{workload.key:<24} {workload.title}")
    if topic == "micro":
        for group, title in micro.GROUPS.items():
            print(f"{group:<24} {title}")
    return 0


def noise_line(busy):
    return f"before the first run other programs used {busy:.0%} of the machine"


def compare_load(options, settings, busy):
    """Rounds of the load generator against each contender."""
    every = LOADS[options.topic]()
    chosen = [one for one in every if not options.workload or one.key in options.workload]
    if not chosen:
        raise RunFailed(f"no workload of {options.topic} is called {options.workload[0]}; "
                        "--list shows them")
    rounds.say("building the load generator")
    load_generator = build.build_load_generator()
    programs, ports = rounds.Programs(), rounds.Ports(settings.first_port)
    whole = rounds.Outcome()
    sections, plots, record = [], [], {}
    for workload in chosen:
        rounds.say(f"{workload.title}")
        outcome = rounds.run_workload(workload, settings, programs, load_generator, ports)
        tables = report.tables(workload, outcome)
        goals = report.goal_lines(workload, outcome)
        print(f"\n{workload.title}\n")
        print(report.terminal_tables(workload, tables))
        print("\n" + report.plain_table(["item", "goal", "ratio", "verdict"], goals) + "\n")
        sections.append("\n\n".join([
            f"## {workload.title}", *report.markdown_tables(tables),
            *([workload.note] if workload.note else []),
            report.markdown_table(["item", "goal", "ratio", "verdict"], goals)]))
        plots.append(draw_load(workload, outcome, settings))
        record[workload.key] = {"goals": goals, "table": [
            row for _, header, lines in tables for row in (header, *lines)]}
        whole.absorb(outcome)
    people = {row.contender.name: row.contender for one in chosen
              for row in rounds.wanted(one.rows, settings.only)}
    write(settings, options.topic, sections, whole, plots, record, list(people.values()),
          [*procedure(settings, chosen), noise_line(busy)])
    return whole


def draw_load(workload, outcome, settings):
    rows = [(row.name, row.contender.kind)
            for row in rounds.wanted(workload.rows, settings.only)]
    panels = []
    for metric in workload.metrics:
        values = {name: summarise(report.series(outcome, name, metric)) for name, _ in rows
                  if any(outcome.results.get(name, []))}
        hint = "less is better" if metric.smaller_is_better else "more is better"
        panels.append((metric.name, hint, metric.format, values))
    name = f"{workload.key}.svg"
    rounds_text = "one round" if settings.runs == 1 else f"{settings.runs} rounds"
    subtitle = (f"one server core, generator on another core of the same machine; median of "
                f"{rounds_text}, whisker: lowest to highest")
    drawing = plot.bars(workload.title, subtitle, rows, panels)
    (settings.directory / name).write_text(drawing, encoding="utf-8")
    return name


def compare_idle(settings, busy):
    rounds.say("building the load generator")
    load_generator = build.build_load_generator()
    programs, ports = rounds.Programs(), rounds.Ports(settings.first_port)
    outcome = idle.run(settings, programs, load_generator, ports)
    header, lines, goals = idle.section(outcome)
    print("\n" + report.plain_table(header, lines))
    print("\n" + report.plain_table(["item", "goal", "figure", "verdict"], goals) + "\n")
    title = "memory of an idle connection"
    rows = [(one.name, one.kind) for one in idle.EVERYBODY
            if one.name in outcome.results or one.name in outcome.missing]
    values = {name: idle.slope(outcome, name) for name, _ in rows}
    drawing = plot.bars(
        title, "user memory (RssAnon), growth from 1,000 to 15,000 open connections",
        rows, [("memory per connection", "less is better", idle.show_bytes, values)])
    (settings.directory / "idle.svg").write_text(drawing, encoding="utf-8")
    section = "\n\n".join([f"## {title}", report.markdown_table(header, lines),
                           report.markdown_table(["item", "goal", "figure", "verdict"], goals)])
    write(settings, "idle", [section], outcome, ["idle.svg"],
          {"idle": {"goals": goals, "results": outcome.results}}, list(idle.EVERYBODY),
          [*idle.method(), f"{settings.runs} rounds", noise_line(busy)])
    return outcome


def compare_generator(settings, busy):
    outcome = generator_cost.run(settings, rounds.Ports(settings.first_port))
    every, goals = generator_cost.tables(outcome)
    goal_header = ["goal", "figure", "verdict"]
    sections = [f"## Bars\n\n{report.markdown_table(goal_header, goals)}"]
    record = {"goals": goals, "results": outcome.results}
    for title, header, lines in every:
        print(f"\n{title}\n\n{report.plain_table(header, lines)}")
        sections.append(f"## {title}\n\n{report.markdown_table(header, lines)}")
    print("\n" + report.plain_table(goal_header, goals) + "\n")
    people = [contenders.FANWIRE_URING]
    write(settings, "generator", sections, outcome, [], record, people,
          [*generator_cost.method(), f"{settings.runs} rounds", noise_line(busy)])
    return outcome


def compare_micro(options, settings):
    if not micro.has_taskset():
        raise Missing("taskset is not installed: apt-get install util-linux")
    rounds.say("building the criterion program")
    outcome = micro.run(settings, options.quick, options.group)
    sections, record = [], {}
    for group, title in micro.GROUPS.items():
        header, lines = micro.section(outcome, group)
        if not lines:
            continue
        print(f"\n{title}\n\n{report.plain_table(header, lines)}")
        sections.append(f"## {title}\n\n{report.markdown_table(header, lines)}")
        record[group] = [header, *lines]
    goals = micro.goal_lines(outcome)
    print("\n" + report.plain_table(["item", "goal", "reached", "verdict"], goals) + "\n")
    sections.insert(0, "## Scoreboard\n\n"
                    + report.markdown_table(["item", "goal", "reached", "verdict"], goals))
    drawing = plot.curves(
        "protocol: how many times faster than each peer",
        "time per message of the peer ÷ time of fanwire, on the same bytes; above 1 fanwire is "
        "faster; both axes logarithmic", micro.charts(outcome), micro.SIZES, micro.BOUND)
    (settings.directory / "micro.svg").write_text(drawing, encoding="utf-8")
    peers = [contenders.TOKIO_TUNGSTENITE, contenders.FASTWEBSOCKETS,
             contenders.TOKIO_WEBSOCKETS, contenders.SOCKUDO_WS]
    method = [*micro.method(), f"{settings.runs} repetitions on core {settings.server_cpu}"]
    write(settings, "micro", sections, outcome, ["micro.svg"], record, peers, method)
    return outcome


def write(settings, topic, sections, outcome, plots, record, people, method):
    """The folder's pages; raw reports are already there."""
    people = [one for one in people if one.name not in outcome.missing]
    directory = settings.directory
    (directory / "summary.md").write_text(
        report.summary_page(topic, sections, outcome, plots,
                            people if topic in HUB_TOPICS else ()), encoding="utf-8")
    (directory / "method.md").write_text(
        report.method_page(topic, settings, people, outcome, method), encoding="utf-8")
    rounds.save(directory, "summary.json", {
        "schema": "fanwire-compare/1", "topic": topic, "runs": settings.runs,
        "tables": record, "missing": outcome.missing, "failures": outcome.failures})
