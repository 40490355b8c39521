"""Many connections at once, and the load generator's own promises about what it reports."""

import json
import resource
import socket

from machine import cpus_allowed, run_logged
from processes import Server
from report import Failure, Unavailable
from wire import Client

CONNECTIONS = 15_000
FD_LIMIT = 20_000
HOLD = "10s"
# What the server may hold for all of them together. Its own figure per connection is smaller by far (results/ has it);
# this bound notices a buffer or a task per idle connection.
MEMORY_MAX_BYTES = 48 << 20


def run_loadgen(step, programs, *arguments, timeout_s=180):
    """Runs the load generator with `--json`; returns its exit status and the object it wrote."""
    command = [programs.path(step, "fanwire-loadgen"), *arguments, "--json", step.log_path.with_suffix(".json")]
    step.log_path.with_suffix(".json").unlink(missing_ok=True)
    status, _output = run_logged(step, command, timeout_s)
    try:
        return status, json.loads(step.log_path.with_suffix(".json").read_text())
    except (OSError, ValueError) as error:
        raise Failure(f"the load generator ended with {status} and wrote no JSON object: {error}") from None


def check_many_connections(step, programs, backend):
    """15,000 connections held by two processes that may open 20,000 descriptors each."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard != resource.RLIM_INFINITY and hard < FD_LIMIT:
        raise Unavailable(f"needs a limit of {FD_LIMIT} descriptors for each process, the host allows {hard}")
    resource.setrlimit(resource.RLIMIT_NOFILE, (FD_LIMIT, hard))
    try:
        with Server(step, programs, backend=backend) as server, Client(server.address) as bystander:
            bystander.open()
            bystander.echo(b"before")
            status, result = run_loadgen(
                step, programs, "idle", server.url, "-c", str(CONNECTIONS), "-d", HOLD, "--server-pid", str(server.pid))
            step.equal("exit status of the load generator", status, 0)
            connections = result["connections"]
            step.equal("connections asked for", connections["asked"], CONNECTIONS)
            step.equal("connections open", connections["open"], CONNECTIONS)
            step.equal("connections alive at the end", connections["alive"], CONNECTIONS)
            held = result["server"]["rss_open_bytes"]
            step.case(f"the server holds at most {MEMORY_MAX_BYTES} bytes", 0 < held <= MEMORY_MAX_BYTES, held)
            step.check("a bystander is served among them", bystander.echo, b"after")
            bystander.close()
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def check_load(step, programs, backend):
    """A short echo run: every payload is verified, nothing is lost, the JSON object has what it promises."""
    with Server(step, programs, backend=backend) as server:
        status, result = run_loadgen(
            step, programs, "echo", server.url, "-c", "50", "-d", "3s", "-w", "500ms", "--in-flight", "1",
            "--cpu", str(cpus_allowed()[-1]), "--server-pid", str(server.pid))
        # At full speed either side may give out first; when it is the generator it must say so and exit with 4.
        reasons = result["verdict_reasons"]
        gave_out = status == 4 and any("generator was the bottleneck" in reason for reason in reasons)
        step.case("exit status 0, or 4 because the generator gave out first", status == 0 or gave_out, [status, reasons])
        wrong = {key: result["messages"][key] for key in ("lost", "corrupt", "duplicates", "reordered", "unsolicited")}
        step.case("nothing is lost or wrong", not any(wrong.values()) and not result["errors"], [wrong, result["errors"]])
        step.case("messages were echoed", result["messages_per_second"] > 100, result["messages_per_second"])
        step.equal("connections", [result["connections"][key] for key in ("asked", "open", "alive")], [50, 50, 50])
        for kind in ("response", "service"):
            latency = result["latency_ns"][kind]
            ordered = [latency[key] for key in ("p50", "p90", "p99", "p999", "max")]
            step.case(f"percentiles of {kind} are ordered and positive", ordered == sorted(ordered) and ordered[0] > 0, ordered)
        step.case("server CPU per message is reported", result["server"]["cpu_ns_per_message"] > 0, result["server"])
        for key in ("schema", "verdict", "errors"):
            step.case(f"the object has `{key}`", key in result, sorted(result))
        status, result = run_loadgen(step, programs, "storm", server.url, "-c", "20", "-d", "2s")
        step.equal("storm: exit status", status, 0)
        step.check("the server still echoes", _echo_once, server.address)
    status, _output = run_logged(
        step, [programs.path(step, "fanwire-loadgen"), "echo", server.url, "-c", "2", "-d", "1s"], 60)
    step.case("nobody listens: non-zero exit status", status != 0, status)
    # The same port again: its server has ended, so that the load generator may start one of its own there.
    command = f"{programs.path(step, 'fanwire')} echo --listen {server.address[0]}:{server.address[1]} --backend {backend}"
    _status, result = run_loadgen(
        step, programs, "echo", server.url, "-c", "2", "-d", "1s", "--server-cmd", command, "--allow-invalid")
    step.equal("--server-cmd: connections", [result["connections"][key] for key in ("asked", "alive")], [2, 2])
    step.case("--server-cmd: its server is measured", result["server"] and result["server"]["cpu_ns_per_message"] > 0, result["server"])
    step.case("--server-cmd: its server has ended", not _accepts(server.address), server.address)


def _accepts(address):
    try:
        socket.create_connection(address, timeout=1).close()
        return True
    except OSError:
        return False


def _echo_once(address):
    with Client(address) as client:
        client.open()
        client.echo(b"after the load")
        client.close()
