"""Autobahn's cases against the server and against the load generator's client role.

The runner's exit status forgives what is merely NON-STRICT; here only its index.json counts, and only OK and
INFORMATIONAL pass, for the case and for its closing handshake, over exactly the cases that were asked for.
"""

import json
import os
import re
import shutil
import signal
import subprocess
from pathlib import Path

import machine
from machine import CACHE, run_logged
from processes import Server
from report import Failure
from wire import Client

RUNNER = Path(__file__).with_name("strict_kosoku.py")
WHOLE_SECTIONS = ("1", "2", "3", "4", "5", "6", "7", "9", "10")
# Of each permessage-deflate section the smallest six sizes and two that fragment; the rest is for `--whole`.
DEFLATE_SECTIONS = ("12.1", "12.2", "12.3", "12.4", "12.5", "13.1", "13.2", "13.3", "13.4", "13.5", "13.6", "13.7")
DEFLATE_CASES = (1, 2, 3, 4, 5, 6, 11, 12)
SUBSET_COUNT = 397
WHOLE_COUNT = 517
PASSING = ("OK", "INFORMATIONAL")
SERVER_TIMEOUT_S = 420
CLIENT_TIMEOUT_S = 420
WHOLE_TIMEOUT_S = 1500


def selection(is_whole):
    """The runner's arguments that choose the cases, and how many that must be."""
    if is_whole:
        return [], WHOLE_COUNT
    patterns = [f"{section}.*" for section in WHOLE_SECTIONS]
    patterns += [f"{section}.{number}" for section in DEFLATE_SECTIONS for number in DEFLATE_CASES]
    return [word for pattern in patterns for word in ("-i", pattern)], SUBSET_COUNT


def judge(index, expected_count):
    """Strict verdict over a parsed index.json: how many passed and a line for each that did not."""
    failures = []
    passed = 0
    for agent, cases in index.items():
        for case, outcome in cases.items():
            behavior, closing = outcome.get("behavior"), outcome.get("behaviorClose")
            if behavior in PASSING and closing in PASSING:
                passed += 1
            else:
                failures.append(f"{agent} {case}: {behavior}, closing {closing}")
    seen = passed + len(failures)
    if seen != expected_count:
        failures.append(f"{seen} cases in index.json, {expected_count} were asked for")
    return passed, failures


def _record(step, folder, expected_count):
    index_path = folder / "index.json"
    if not index_path.exists():
        raise Failure("the runner wrote no index.json")
    passed, failures = judge(json.loads(index_path.read_text()), expected_count)
    for failure in failures:
        step.note(f"FAIL {failure}")
    step.note(f"{passed} cases strictly passed, {len(failures)} did not")
    step.count(passed, len(failures), failures)


def _fresh(name):
    folder = CACHE / "autobahn" / name
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    return folder


def check_server(step, programs, backend, cores, is_whole=False):
    """The cases against `fanwire echo` with compression on."""
    python = machine.python_environment(step)
    include, expected_count = selection(is_whole)
    folder = _fresh(f"server-{backend}-{cores}")
    with Server(step, programs, "--deflate", backend=backend, cores=cores) as server:
        address = f"{server.address[0]}:{server.address[1]}"
        command = [python, "-B", RUNNER, "-p", "2", "-o", folder, *include, address]
        _use_once(server)
        fd_count = server.fd_count_at_most(0)
        run_logged(step, command, WHOLE_TIMEOUT_S if is_whole else SERVER_TIMEOUT_S)
        _record(step, folder, expected_count)
        fd_count_after = server.fd_count_at_most(fd_count)
        step.case("no descriptor is left over", fd_count_after <= fd_count, f"{fd_count} before, {fd_count_after} after")


def _use_once(server):
    """What the server opens on first use is open after this."""
    for _ in range(8):
        with Client(server.address) as client:
            client.open()
            client.echo(b"first")
            client.close()


def check_client(step, programs, is_whole=False):
    """The cases as a server that the load generator's client side connects to."""
    python = machine.python_environment(step)
    loadgen = programs.path(step, "fanwire-loadgen")
    include, expected_count = selection(is_whole)
    folder = _fresh("client")
    command = [str(word) for word in (python, "-B", RUNNER, "-m", "fuzzingserver", "-o", folder, *include, "127.0.0.1:0")]
    step.note("$ " + " ".join(command))
    runner = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
    try:
        line = runner.stderr.readline().decode("utf-8", "replace")
        step.note(line)
        found = re.search(r"ws://\S+:\d+", line)
        if not found:
            raise Failure(f"the runner did not say where it listens: {line!r}")
        timeout_s = WHOLE_TIMEOUT_S if is_whole else CLIENT_TIMEOUT_S
        status, _output = run_logged(step, [loadgen, "conformance", found.group(0), "--agent", "fanwire"], timeout_s)
        step.equal("exit status of `fanwire-loadgen conformance`", status, 0)
        _output, errors = runner.communicate(timeout=60)
        step.note(errors.decode("utf-8", "replace"))
        _record(step, folder, expected_count)
    except subprocess.TimeoutExpired:
        raise Failure("the runner did not end after the last case: was /updateReports asked for?") from None
    finally:
        if runner.poll() is None:
            os.kill(runner.pid, signal.SIGKILL)
        runner.wait()
        runner.stderr.close()
