"""Independent clients against the server: Python `websockets`, Node `ws`, Chromium.

Each client prints one JSON object per case and at the end how many there were, so that one that stops early cannot pass.
"""

import json
import os

import machine
from machine import CLIENTS, run_logged
from processes import Server
from report import Failure

CLIENT_TIMEOUT_S = 180


def run_client(step, command, environment=None):
    _status, output = run_logged(step, command, CLIENT_TIMEOUT_S, environment=environment)
    done = None
    seen = 0
    for line in output.splitlines():
        if not line.startswith("{"):
            continue
        row = json.loads(line)
        if "done" in row:
            done = row["done"]
            continue
        seen += 1
        step.case(row["case"], row["ok"], row.get("detail", ""))
    if done is None or done != seen:
        raise Failure(f"the client stopped after {seen} cases: {output[-1000:]}")


def _servers(step, programs, backend, run):
    for name, options in (("plain", ()), ("deflate", ("--deflate",))):
        with Server(step, programs, *options, backend=backend) as server:
            run(name, server)
            # The client's last case has told the server to stop.
            step.equal(f"{name}: exit status after the drain", server.wait(), 0)


def check_python(step, programs, backend):
    """Python `websockets`."""
    python = machine.python_environment(step)

    def run(name, server):
        run_client(step, [python, "-B", CLIENTS / "python_client.py", server.url, name, str(server.pid)])
    _servers(step, programs, backend, run)


def check_node(step, programs, backend):
    """Node `ws`."""
    node, folder = machine.node_environment(step)
    environment = dict(os.environ, NODE_PATH=str(folder / "node_modules"))

    def run(name, server):
        run_client(step, [node, CLIENTS / "node_client.js", server.url, name, str(server.pid)], environment)
    _servers(step, programs, backend, run)


def check_browser(step, programs, backend):
    """Chromium, driven by playwright-core."""
    node, folder = machine.node_environment(step)
    chromium = machine.browser(step)
    environment = dict(os.environ, NODE_PATH=str(folder / "node_modules"), CHROMIUM=chromium)

    def run(name, server):
        run_client(step, [node, CLIENTS / "browser_client.js", server.url, name, str(server.pid)], environment)
    _servers(step, programs, backend, run)
