"""`scripts/test`: the list of steps and the command line."""

import argparse
import datetime
import os
import signal
import sys
from pathlib import Path

sys.dont_write_bytecode = True

import check_autobahn
import check_clients
import check_contenders
import check_frames
import check_handshake
import check_host
import check_house
import check_hub
import check_hub_load
import check_live_page
import check_load_testing
import check_peers
import check_rust
import check_scale
import check_self
import check_selftest
from machine import CACHE
from processes import PROFILE, Programs
from report import Report

BACKENDS = ("uring", "epoll")


class StepEntry:
    """A step as it stands in the list."""

    def __init__(self, name, title, function, *arguments, is_fast=True, backend=None, is_on_demand=False):
        self.name = name
        self.title = title
        self.function = function
        self.arguments = arguments
        self.is_fast = is_fast
        self.backend = backend
        self.is_on_demand = is_on_demand


def _build(step, programs):
    step.case("build", bool(programs.path(step, "fanwire")) and bool(programs.path(step, "fanwire-loadgen")))


def all_steps(programs):
    """Every step, cheapest first."""
    steps = [
        StepEntry("self-house", "canaries: the house rules notice what breaks them", check_self.check_house_rules),
        StepEntry("self-verdicts", "canaries: only complete and strict results pass", check_self.check_verdicts),
        StepEntry("self-wire", "canaries: the plain-socket client notices wrong servers", check_self.check_wire),
        StepEntry("documents", "documents, scripts and the paths they name", check_house.check_documents),
        StepEntry("sources", "house rules about the sources", check_house.check_sources),
        StepEntry("arrows", "who depends on whom", check_house.check_arrows),
        StepEntry("format", "cargo fmt --check", check_rust.check_format),
        StepEntry("lints", "cargo clippy, every target, no warning", check_rust.check_lints),
        StepEntry("documentation", "cargo doc, no warning", check_rust.check_documentation, is_fast=False),
        StepEntry("rust", "cargo test --workspace", check_rust.check_tests),
        StepEntry("build", f"both programs, profile {PROFILE}", _build, programs),
        StepEntry("uring", "io_uring works here", check_host.check_io_uring_works, programs, backend="uring"),
        StepEntry("refused", "io_uring refused by seccomp: epoll serves and says why", check_host.check_io_uring_refused, programs),
        StepEntry("port", "a busy port, a foreign address", check_host.check_port, programs),
        StepEntry("memlock", "too little locked memory for a ring: epoll serves and says why", check_host.check_memlock, programs),
        StepEntry("low-port", "a port below 1024 without privileges", check_host.check_low_port, programs),
    ]

    def per_backend(name, title, function, *more, **options):
        for backend in BACKENDS:
            steps.append(StepEntry(
                f"{name}-{backend}", f"{title} ({backend})", function, programs, backend, *more, backend=backend, **options))

    per_backend("handshake", "opening handshakes, right and wrong", check_handshake.check)
    per_backend("frames", "malformed frames get their exact close code", check_frames.check)
    per_backend("dribbler", "a client that sends one byte at a time", check_peers.check_dribbler)
    per_backend("never-reader", "clients that never read", check_peers.check_never_reader)
    per_backend("unfinished", "clients that never finish or answer", check_peers.check_unfinished)
    per_backend("connection-limit", "503 above the limit", check_host.check_connection_limit)
    per_backend("fd-table", "a full descriptor table", check_host.check_fd_table)
    per_backend("drain", "SIGTERM: 1001 and exit status 0, one core", check_host.check_drain, 1)
    per_backend("drain-2", "the same on two cores", check_host.check_drain, 2)
    per_backend("python", "Python websockets", check_clients.check_python)
    per_backend("node", "Node ws", check_clients.check_node)
    per_backend("chromium", "Chromium", check_clients.check_browser)
    steps.extend(StepEntry(name, title, function) for name, title, function in check_hub.ALONE)
    check_hub.add_steps(per_backend)
    per_backend("live-page", "the live page in Chromium", check_live_page.check)
    per_backend("load", "a short run of the load generator", check_scale.check_load)
    steps.append(StepEntry(
        "selftest", "the load generator against servers with scripted faults and delays", check_selftest.check_short, programs))
    steps.append(StepEntry(
        "selftest-canary", "canaries: the selftest notices servers that do something else", check_selftest.check_canaries, programs))
    steps.append(StepEntry("load-testing", "every command of docs/load-testing.md", check_load_testing.check, programs))
    steps.append(StepEntry("self-load-testing", "canary: the guide's commands are found", check_load_testing.check_canary))
    steps.append(StepEntry("doctor", "what the load generator says of this host", check_selftest.check_doctor, programs))
    steps.append(StepEntry(
        "calibrate", "the load generator's ceiling on this host", check_selftest.check_calibrate, programs, is_fast=False))
    per_backend("many", "15,000 connections held", check_scale.check_many_connections, is_fast=False)
    per_backend("hub-stalled", "the hub: readers that stall for good", check_hub_load.check_stalled, is_fast=False)
    per_backend(
        "hub-non-readers", "the hub: 5,000 readers of which 1,000 stop, each policy", check_hub_load.check_non_readers, is_fast=False)
    for cores, seconds in ((1, 20), (2, 90)):
        per_backend(
            f"hub-held-{cores}", f"the hub: 15,000 subscribers held, {cores} core{'s' * (cores > 1)}", check_hub_load.check_held,
            cores, seconds, is_fast=False)
    steps.append(StepEntry(
        "contenders", "the programs that the hub is compared with fan out", check_contenders.check, is_fast=False))
    for cores in (1, 2):
        per_backend(f"autobahn-{cores}", f"Autobahn, 397 cases, {cores} core(s)", check_autobahn.check_server, cores, is_fast=False)
    steps.append(StepEntry(
        "autobahn-client", "Autobahn, 397 cases, the load generator's side", check_autobahn.check_client, programs, is_fast=False))
    per_backend("autobahn-whole", "Autobahn, all 517 cases", check_autobahn.check_server, 1, True, is_on_demand=True)
    steps.append(StepEntry(
        "autobahn-client-whole", "Autobahn, all 517 cases, the load generator's side", check_autobahn.check_client, programs, True,
        is_on_demand=True))
    return steps


def parse_arguments():
    """The command line."""
    parser = argparse.ArgumentParser(
        prog="scripts/test",
        description="Runs every test of fanwire on this machine. Installs what the tests need: Python and Node packages into "
                    ".cache/ of the checkout; Debian packages (python3-venv, nodejs, npm, chromium) only as root.",
        epilog="Logs are in .cache/logs/. The last line counts cases: `N passed, M failed`; the exit status is 0 only when "
               "nothing failed.")
    parser.add_argument("--fast", action="store_true", help="leave out the slow steps (Autobahn, 15,000 connections, documentation)")
    parser.add_argument("--only", action="append", metavar="NAME", help="run this step, or all whose name begins with NAME-; repeatable")
    parser.add_argument("--whole", action="store_true", help="all 517 Autobahn cases too, which takes a quarter of an hour more")
    parser.add_argument("--backends", default=",".join(BACKENDS), help="which backends to test, for hosts without io_uring (default %(default)s)")
    parser.add_argument("--server", metavar="PATH", help="test this `fanwire` instead of building one")
    parser.add_argument("--loadgen", metavar="PATH", help="test this `fanwire-loadgen` instead of building one")
    parser.add_argument("--list", action="store_true", help="list the steps and stop")
    arguments = parser.parse_args()
    for backend in arguments.backends.split(","):
        if backend not in BACKENDS:
            parser.error(f"--backends takes {' and '.join(BACKENDS)}, not {backend!r}")
    return parser, arguments


def _is_chosen(entry, only):
    # What has to be asked for has to be asked for by its whole name.
    return any(entry.name == name or (entry.name.startswith(f"{name}-") and not entry.is_on_demand) for name in only)


def main():
    """Runs what was asked for; returns the exit status."""
    parser, arguments = parse_arguments()
    programs = Programs(arguments.server and os.path.abspath(arguments.server), arguments.loadgen and os.path.abspath(arguments.loadgen))
    steps = all_steps(programs)
    if arguments.list:
        for entry in steps:
            mark = " (--whole)" if entry.is_on_demand else "" if entry.is_fast else " (slow)"
            print(f"{entry.name:24} {entry.title}{mark}")
        return 0
    if arguments.only:
        for name in arguments.only:
            if not any(_is_chosen(entry, [name]) for entry in steps):
                parser.error(f"no step is named {name!r}; --list shows them")
        steps = [entry for entry in steps if _is_chosen(entry, arguments.only)]
    # Stopping with SIGTERM must not leave servers behind: it unwinds like ctrl-c.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    stamp = datetime.datetime.now().strftime("%Y%m%d-%H%M%S")
    report = Report(CACHE / "logs" / stamp)
    for entry in steps:
        if entry.backend and entry.backend not in arguments.backends.split(","):
            report.skip(entry.name, f"--backends {arguments.backends}")
        elif entry.is_on_demand and not arguments.whole and not arguments.only:
            continue  # An addition that has to be asked for, not a part that is left out: its subset has run.
        elif arguments.fast and not entry.is_fast and not arguments.only:
            report.skip(entry.name, "--fast")
        else:
            report.run(entry.name, entry.title, entry.function, *entry.arguments)
    return 0 if report.close() else 1


if __name__ == "__main__":
    try:
        sys.exit(main())
    except KeyboardInterrupt:
        print("\ninterrupted", file=sys.stderr)
        sys.exit(130)
