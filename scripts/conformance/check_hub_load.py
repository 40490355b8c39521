"""The hub under load that lasts: very many subscribers on many topics, and readers that stall. The ledger must close."""

import resource

from check_hub_peers import HubServer
from check_scale import FD_LIMIT, run_loadgen
from machine import cpus_allowed
from report import Unavailable

SUBSCRIBERS = 15_000
TOPICS = 1_000
# Every copy of every message stands in one of these columns; `missing` is what does not.
COLUMNS = ("delivered", "declared_gap", "conflated", "unrecovered", "cut_off_at_close", "in_flight")
FAULTS = ("missing", "duplicates", "reordered", "foreign", "torn", "strangers", "repeated", "faults")
# What a stalled reader may cost the server: its slot, its cursors, and slack for the process as a whole.
STALLED_SUBSCRIBERS = 2_000
MEMORY_GROWTH_MAX_BYTES = 24 << 20


def _check_ledger(step, result, what):
    ledger = result["fanout"]["ledger"]
    step.case(f"{what}: copies were due", ledger["eligible"] > 10_000, ledger)
    step.equal(f"{what}: every copy is accounted for", sum(ledger[column] for column in COLUMNS), ledger["eligible"])
    step.equal(f"{what}: nothing is wrong with any copy", {fault: ledger[fault] for fault in FAULTS if ledger[fault]}, {})
    return ledger


def check_held(step, programs, backend, cores, seconds):
    """15,000 subscribers on 1,000 topics by Zipf's law, for a while; some of them leave and resume all the time."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard != resource.RLIM_INFINITY and hard < FD_LIMIT:
        raise Unavailable(f"needs a limit of {FD_LIMIT} descriptors for each process, the host allows {hard}")
    resource.setrlimit(resource.RLIMIT_NOFILE, (FD_LIMIT, hard))
    try:
        with HubServer(step, programs, backend=backend, cores=cores) as server:
            _status, result = run_loadgen(
                step, programs, "fanout", server.url, "-c", str(SUBSCRIBERS), "--topics", str(TOPICS), "--zipf", "1",
                "--topics-per-subscriber", "2", "--dialect", "fanwire-binary", "--publishers", "4", "-R", "30", "-s", "128",
                "--churn", "20", "-w", "2s", "-d", f"{seconds}s", "--drain", "20s", "--cpu", str(cpus_allowed()[-1]),
                "--server-pid", str(server.pid), timeout_s=seconds + 180)
            connections = result["connections"]
            step.equal("subscribers", connections["open"] >= SUBSCRIBERS, True)
            ledger = _check_ledger(step, result, "held load")
            step.case("all of it was delivered", ledger["delivered"] > 0.99 * ledger["eligible"], ledger)
            step.case("subscribers left and came back", result["fanout"]["churn"], result["fanout"]["churn"])
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def check_stalled(step, programs, backend):
    """A tenth of the readers stop reading for good: nobody else misses anything, and they cost next to nothing."""
    sizes = {}
    for share in ("0%", "10%"):
        # Long limits, so that it is the hub that has to live with them, and not the time-out that ends them.
        options = ["--send-stall-timeout-ms", "0", "--unacknowledged-timeout-ms", "0", "--kernel-send-buffer-bytes", "65536"]
        with HubServer(step, programs, *options, backend=backend) as server:
            arguments = ["--stall", f"{share}:inf"] if share != "0%" else []
            _status, result = run_loadgen(
                step, programs, "fanout", server.url, "-c", str(STALLED_SUBSCRIBERS), "--dialect", "fanwire-json", "-R", "50",
                "-s", "1000", "-w", "1s", "-d", "10s", "--drain", "5s", "--cpu", str(cpus_allowed()[-1]), *arguments,
                "--server-pid", str(server.pid))
            _check_ledger(step, result, f"{share} stalled")
            healthy = next(one for one in result["fanout"]["classes"] if one["class"] == "healthy")
            step.equal(f"{share} stalled: a healthy reader gets everything",
                       healthy["ledger"]["delivered"], healthy["ledger"]["eligible"])
            sizes[share] = server.memory_kib() << 10
    growth = sizes["10%"] - sizes["0%"]
    step.case(f"stalled readers cost at most {MEMORY_GROWTH_MAX_BYTES} bytes", growth <= MEMORY_GROWTH_MAX_BYTES, sizes)


# Topics of the rules in check_hub_peers, their kind, and where the copies go that stalled readers cannot have.
POLICIES = (
    ("short.{topic}", "events", "declared_gap"),
    ("shortstate.{topic}", "state", "conflated"),
    ("strict.{topic}", "events", "cut_off_at_close"),
)


def check_non_readers(step, programs, backend):
    """5,000 readers of which 1,000 stop for 10 s, under each policy: the others miss nothing, and these are told everything."""
    options = ["--send-stall-timeout-ms", "0", "--unacknowledged-timeout-ms", "0", "--kernel-send-buffer-bytes", "16384"]
    with HubServer(step, programs, *options, backend=backend) as server:
        for name, kind, column in POLICIES:
            keys = ["--keys", "4"] if kind == "state" else []
            _status, result = run_loadgen(
                step, programs, "fanout", server.url, "-c", "5000", "--dialect", "fanwire-json", "--topic-name", name,
                "--kind", kind, *keys, "-R", "5", "-s", "8000", "--stall", "20%:10s", "-w", "1s", "-d", "12s", "--drain", "15s",
                "--cpu", str(cpus_allowed()[-1]), "--server-pid", str(server.pid))
            _check_ledger(step, result, name)
            classes = {one["class"]: one for one in result["fanout"]["classes"]}
            step.equal(f"{name}: subscribers", {key: one["subscribers"] for key, one in classes.items()}, {"healthy": 4000, "stalled": 1000})
            healthy, stalled = classes["healthy"]["ledger"], classes["stalled"]["ledger"]
            step.equal(f"{name}: healthy readers get everything", healthy["delivered"], healthy["eligible"])
            left_out = {key for key in COLUMNS[1:] if stalled[key]}
            step.equal(f"{name}: what stalled readers cannot have is in one column", left_out, {column})
            ended = 1000 if column == "cut_off_at_close" else 0
            step.equal(f"{name}: stalled readers that were closed", classes["stalled"]["ended"], ended)
            step.equal(f"{name}: healthy readers that were closed", classes["healthy"]["ended"], 0)
