"""The load generator's proof of itself: `selftest` in its short form, its canaries, and `doctor`."""

import json
import socket

from machine import cpus_allowed, run_logged
from processes import Server
from report import Failure, Unavailable

SHORT_TIMEOUT_S = 300
DOCTOR_TIMEOUT_S = 60
CALIBRATE_TIMEOUT_S = 300
# Their counters are exact, so that a busy machine cannot be the reason when one of them is not noticed.
CANARIES = ("integrity", "upgrades-most", "fanout-reach", "merge", "compare", "search")


def _run(step, programs, name, *arguments, timeout_s):
    """Runs a command that writes a JSON object; returns its exit status and the object."""
    path = step.log_path.with_suffix(f".{name}.json")
    path.unlink(missing_ok=True)
    status, _output = run_logged(
        step, [programs.path(step, "fanwire-loadgen"), *arguments, "--json", path], timeout_s)
    try:
        return status, json.loads(path.read_text())
    except (OSError, ValueError) as error:
        raise Failure(f"`{arguments[0]}` ended with {status} and wrote no JSON object: {error}") from None


def _details(case):
    wrong = [
        f"{check['figure']}: expected {check['expected']}, measured {check['measured']} ({check['bound']})"
        for check in case["checks"] if not check["is_ok"]]
    return "; ".join([*wrong, *filter(None, (case["error"], case["remark"]))])


def check_short(step, programs):
    """Every case of the short form is ok."""
    status, summary = _run(step, programs, "short", "selftest", "--short", timeout_s=SHORT_TIMEOUT_S)
    step.case("there are cases", len(summary["cases"]) >= 15, len(summary["cases"]))
    for case in summary["cases"]:
        step.case(case["name"], case["is_ok"], _details(case))
        if case["attempts"] > 1:
            step.note(f"{case['name']} took {case['attempts']} attempts: {_details(case)}")
    step.equal("exit status", status, 0 if summary["is_ok"] else 1)
    step.equal("verdict on the whole", summary["is_ok"], all(case["is_ok"] for case in summary["cases"]))


def check_canaries(step, programs):
    """Servers that do something else than a case expects are noticed."""
    only = [word for name in CANARIES for word in ("--only", name)]
    status, summary = _run(step, programs, "canary", "selftest", "--short", "--canary", *only, timeout_s=SHORT_TIMEOUT_S)
    for case in summary["cases"]:
        is_noticed = case["is_ok"] and any(not check["is_ok"] for check in case["checks"])
        step.case(f"{case['name']} notices", is_noticed, _details(case))
    step.equal("canaries", [case["name"] for case in summary["cases"]], list(CANARIES))
    step.equal("exit status", status, 0)


def _doctor(step, programs, name, *arguments):
    status, diagnosis = _run(step, programs, name, "doctor", *arguments, timeout_s=DOCTOR_TIMEOUT_S)
    levels = {finding["name"]: finding["level"] for finding in diagnosis["findings"]}
    step.equal(f"exit status, {name}", status, 1 if "fail" in levels.values() else 0)
    without_cure = [finding["name"] for finding in diagnosis["findings"] if finding["level"] != "ok" and not finding["cure"]]
    step.equal(f"every warning has a cure, {name}", without_cure, [])
    return levels


def check_doctor(step, programs):
    """`doctor` sees a server that is there, one that is not, and a load that cannot be."""
    with Server(step, programs) as server:
        levels = _doctor(step, programs, "server", server.url, "-c", "10")
        for name in ("resolve", "TCP connect", "upgrade", "echo", "round trip"):
            step.equal(name, levels.get(name), "ok")
    with socket.socket() as unused:
        # Bound and not listening: nobody else is given the port.
        unused.bind(("127.0.0.1", 0))
        levels = _doctor(step, programs, "nobody", f"ws://127.0.0.1:{unused.getsockname()[1]}", "-c", "10")
        step.equal("nobody listens", levels.get("TCP connect"), "fail")
    levels = _doctor(step, programs, "too-many", "-c", "100m")
    step.equal("a hundred million connections from one address", levels.get("source ports"), "fail")


def check_calibrate(step, programs):
    """`calibrate` measures everything it promises; what it finds is this host's affair."""
    if len(cpus_allowed()) < 2:
        raise Unavailable("needs 2 cores")
    status, found = _run(step, programs, "calibrate", "calibrate", "-d", "300ms", timeout_s=CALIBRATE_TIMEOUT_S)
    step.equal("exit status", status, 0)
    step.case("the clock can be read", found["clock_read_ns"] > 0, found["clock_read_ns"])
    step.case("a round trip takes time", 0 < found["round_trip_min_ns"] <= found["round_trip_ns"]["p50"], found["round_trip_min_ns"])
    step.case("messages go round", found["closed_loop"]["messages_per_second"] > 0, found["closed_loop"])
    for name in ("pacing", "ceilings"):
        step.equal(f"{name}, sleeping and spinning", [each["is_spinning"] for each in found[name]], [False, True])
    step.case("sentences", len(found["sentences"]) >= 4, found["sentences"])
