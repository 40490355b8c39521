"""The clients of the repository, by themselves and against a real hub; Chromium; and every command of docs/clients.md."""

import json
import os
import re
import select
import shlex
import signal
import subprocess
import tempfile
import time
from pathlib import Path

import machine
from check_clients import run_client
from check_hub_peers import HubServer
from machine import CLIENTS, ROOT, run_logged
from report import Failure

JS = ROOT / "clients" / "js"
PYTHON = ROOT / "clients" / "python"
DOCUMENT = ROOT / "docs" / "clients.md"
TESTS_TIMEOUT_S = 300
OUTPUT_TIMEOUT_S = 20
# The first Node with a WebSocket that needs no flag, and the first that has one at all.
NODE_WITH_WEBSOCKET, NODE_WITH_FLAG = 22, 20
EPOCH = re.compile(r"\b[0-9a-f]{16}\b")
# What a terminal program draws around its lines.
TERMINAL = re.compile(r"\x1b(\[[0-9;]*[A-Za-z]|[78])|[\r\x07]")


def _node_modes(step):
    """The WebSockets to test with: name, flags of Node, environment."""
    node, folder = machine.node_environment(step)
    major = int(run_logged(step, [node, "--version"], 60)[1].strip().lstrip("v").split(".")[0])
    environment = dict(os.environ, NODE_PATH=str(folder / "node_modules"), PYTHON=str(machine.python_environment(step)))
    yield node, "ws", [], dict(environment, FANWIRE_WEBSOCKET="ws")
    if major >= NODE_WITH_FLAG:
        flags = [] if major >= NODE_WITH_WEBSOCKET else ["--experimental-websocket"]
        yield node, "the platform's own", flags, dict(environment, FANWIRE_WEBSOCKET="own")


def _run_node_tests(step, path, more=None):
    for node, name, flags, environment in _node_modes(step):
        command = [node, *flags, "--no-warnings", "--test-reporter=tap", path]
        status, output = run_logged(step, command, TESTS_TIMEOUT_S, environment={**environment, **(more or {})})
        counts = {word: int(number) for word, number in re.findall(r"^# (pass|fail|cancelled|skipped|todo) (\d+)$", output, re.MULTILINE)}
        failed = [f"{name}: {title}" for title in re.findall(r"^not ok \d+ - (.*)$", output, re.MULTILINE)]
        step.count(counts.get("pass", 0), counts.get("fail", 0) + counts.get("cancelled", 0), failed)
        step.case(f"{path.name} with {name} ended well and left nothing out", status == 0 and counts.get("pass", 0) > 0
                  and counts.get("skipped") == counts.get("todo") == 0, f"status {status}, {counts}")


def _run_python_tests(step, folder, more=None):
    python = machine.python_environment(step)
    command = [python, "-B", "-X", "dev", "-m", "unittest", "discover", "-v", "-s", folder]
    status, output = run_logged(step, command, TESTS_TIMEOUT_S, environment={**os.environ, **(more or {})})
    ran = re.search(r"^Ran (\d+) tests? in", output, re.MULTILINE)
    bad = re.findall(r"^(?:FAIL|ERROR): (.*)$", output, re.MULTILINE)
    count = int(ran.group(1)) if ran else 0
    step.count(max(0, count - len(bad)), len(bad), bad)
    step.case(f"{folder.name} of the Python client ended well and left nothing out", status == 0 and count > 0 and "skipped=" not in output, f"status {status}")


def check_js_alone(step):
    """The JavaScript client against a scripted server."""
    for path in sorted((JS / "tests").glob("*.test.js")):
        _run_node_tests(step, path)


def check_python_alone(step):
    """The Python client against a scripted server."""
    _run_python_tests(step, PYTHON / "tests")


def check_js(step, programs, backend, cores):
    """The JavaScript client against a hub."""
    with HubServer(step, programs, backend=backend, cores=cores) as server:
        _run_node_tests(step, JS / "live" / "hub.test.js", {"FANWIRE_URL": server.url})


def check_python(step, programs, backend, cores):
    """The Python client against a hub."""
    with HubServer(step, programs, backend=backend, cores=cores) as server:
        _run_python_tests(step, PYTHON / "live", {"FANWIRE_URL": server.url})


def check_browser(step, programs, backend, cores):
    """Chromium: a stock WebSocket, and the JavaScript client in a page."""
    node, folder = machine.node_environment(step)
    environment = dict(os.environ, NODE_PATH=str(folder / "node_modules"), CHROMIUM=machine.browser(step))
    with HubServer(step, programs, backend=backend, cores=cores) as server:
        run_client(step, [node, CLIENTS / "hub_browser.js", f"{server.url}/", JS / "fanwire.js"], environment)


def documented(text):
    """What a document shows: (`file`, name, text), (`browser`, name, output) and (`console`, command, output), in order."""
    for mark, name, language, body in re.findall(r"(?:<!-- (file|browser): (\S+) -->\n)?```(\w*)\n(.*?)```", text, re.DOTALL):
        if mark:
            yield mark, name, body
        elif language == "console":
            command, _, output = body.partition("\n")
            yield "console", command.removeprefix("$ "), output


def check_documented(step, programs, backend):
    """docs/clients.md: each command, typed as it stands there, puts out what stands there."""
    node, modules = machine.node_environment(step)
    python = machine.python_environment(step)
    with HubServer(step, programs, backend=backend) as server, tempfile.TemporaryDirectory(prefix="fanwire-typed-") as folder:
        folder = Path(folder)
        _prepare_shell(folder, node, modules, python)
        environment = dict(os.environ, PATH=f"{folder / 'bin'}:{os.environ['PATH']}", NODE_PATH=str(modules / "node_modules"),
                           PYTHONPATH=str(PYTHON / "src"), TERM="dumb", PYTHONUNBUFFERED="1", CHROMIUM=machine.browser(step))
        address = f"{server.address[0]}:{server.address[1]}"
        shown = 0
        for kind, name, text in documented(DOCUMENT.read_text(encoding="utf-8")):
            text = text.replace("127.0.0.1:9001", address)
            if kind == "file":
                (folder / name).write_text(text, encoding="utf-8")
                continue
            shown += 1
            command = name.replace("127.0.0.1:9001", address)
            if kind == "browser":
                command = shlex.join([node, str(CLIENTS / "hub_page.js"), str(folder / name)])
            step.check(f"{kind}: {name[:60]}", _type, step, command, folder, environment, text)
        step.case("the document shows commands", shown >= 6, shown)


def _prepare_shell(folder, node, modules, python):
    """`python3` and `node` as a person has them: with the packages that the document names."""
    (folder / "bin").mkdir()
    (folder / "bin" / "python3").write_text(f'#!/bin/sh\nexec {shlex.quote(str(python))} -B "$@"\n', encoding="utf-8")
    major = int(subprocess.run([node, "--version"], capture_output=True, text=True, timeout=60).stdout.lstrip("v").split(".")[0])
    flag = "--experimental-websocket --no-warnings" if major < NODE_WITH_WEBSOCKET else ""
    (folder / "bin" / "node").write_text(f'#!/bin/sh\nexec {shlex.quote(str(node))} {flag} "$@"\n', encoding="utf-8")
    for name in ("python3", "node"):
        (folder / "bin" / name).chmod(0o755)
    packages = folder / "node_modules"
    packages.mkdir()
    (packages / "fanwire").symlink_to(JS)
    (packages / "ws").symlink_to(modules / "node_modules" / "ws")


def _clean(line):
    return EPOCH.sub("EPOCH", re.sub("^(> )+", "", TERMINAL.sub("", line)).strip())


def _type(step, command, folder, environment, output):
    """Runs a command until it has put out the lines of the document, in order and with nothing between."""
    wanted = [_clean(line) for line in output.splitlines() if line.strip()]
    step.note(f"$ {command}")
    process = subprocess.Popen(["bash", "-c", command], cwd=folder, env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                               stderr=subprocess.STDOUT, start_new_session=True)
    seen = []
    rest = b""
    deadline = time.monotonic() + OUTPUT_TIMEOUT_S
    try:
        while len(seen) < len(wanted):
            readable, _, _ = select.select([process.stdout], [], [], max(0, deadline - time.monotonic()))
            part = os.read(process.stdout.fileno(), 65536) if readable else b""
            *lines, rest = (rest + part).decode("utf-8", "replace").encode().split(b"\n") if part else [rest, b""]
            seen += [line for line in (_clean(each.decode("utf-8", "replace")) for each in lines) if line and line != ">"]
            if not part:
                break
    finally:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        process.stdin.close()
        process.stdout.close()
    step.note("\n".join(seen))
    if not wanted or seen[: len(wanted)] != wanted:
        raise Failure(f"expected {json.dumps(wanted)}, saw {json.dumps(seen)}")
