"""What the host may do to a server: refuse io_uring, a port or descriptors, and tell it to stop.

Each trouble must leave one line that names its cause, and a cure where a person has one.
"""

import os
import resource
import shutil
import signal
import socket
import sys
import tempfile
import time
from pathlib import Path

from processes import Server, copy_for_everyone, start_refused
from report import Failure, Unavailable
from wire import CLOSE, Client, close_payload, frame, upgrade_request

WITHOUT_IO_URING = Path(__file__).with_name("without_io_uring.py")
NOBODY = 65534
START_FAILURE = 2
CLIENTS_AT_DRAIN = 50
EARLY_SIGNALS = 10
LAST_ONE_GONE_MAX_S = 2
FD_LIMIT_TOO_LOW = 16
FD_LIMIT = 64
SILENT_CLIENTS = 200


def check_io_uring_works(step, programs):
    """The uring backend runs when forced: all that follows for it is really about io_uring."""
    with Server(step, programs, backend="uring") as server, Client(server.address) as client:
        client.open()
        step.check("echo on a forced uring backend", client.echo, b"ring")
        step.case("the log names the backend", "uring" in server.text(), server.text())
        client.close()


# As container and login defaults of older systems have it.
MEMLOCK_BYTES = 64 << 10


def check_io_uring_refused(step, programs):
    """Under a filter as containers have: `auto` serves on epoll and says why, `uring` refuses to start."""
    for refusal in ("EPERM", "ENOSYS"):
        before = (sys.executable, "-B", str(WITHOUT_IO_URING), refusal)
        with Server(step, programs, backend="auto", before=before) as server, Client(server.address) as client:
            client.open()
            step.check(f"{refusal}: echo", client.echo, b"without a ring")
            lines = [line for line in server.log if "epoll" in line and "io_uring" in line]
            step.case(f"{refusal}: one line says epoll and why", len(lines) == 1, "\n".join(server.log))
            client.close()
        status, text = start_refused(step, programs, "--backend", "uring", before=before)
        step.equal(f"{refusal}: exit status with --backend uring", status, START_FAILURE)
        step.case(f"{refusal}: the message names io_uring", "io_uring" in text, text)


def check_memlock(step, programs):
    """Too little locked memory for a ring, as an ordinary user: `auto` serves on epoll and says why."""
    def limit():
        resource.setrlimit(resource.RLIMIT_MEMLOCK, (MEMLOCK_BYTES, MEMLOCK_BYTES))
    options = {"preexec_fn": limit}
    with tempfile.TemporaryDirectory() as folder:
        if os.geteuid() == 0:
            programs = type(programs)(server=copy_for_everyone(step, programs, folder))
            options |= {"user": NOBODY, "group": NOBODY, "extra_groups": []}
        with Server(step, programs, backend="auto", **options) as server, Client(server.address) as client:
            client.open()
            step.check("echo", client.echo, b"with little locked memory")
            lines = [line for line in server.log if "epoll" in line and "memlock" in line]
            step.case("one line says epoll and names the limit", len(lines) == 1, "\n".join(server.log))
            client.close()
        status, text = start_refused(step, programs, "--backend", "uring", **options)
        step.equal("exit status with --backend uring", status, START_FAILURE)
        step.case("the message names the limit", "memlock" in text, text)


def check_port(step, programs):
    """A port that is taken, by a stranger or by another fanwire, and a port that needs privileges."""
    with socket.socket() as stranger:
        stranger.bind(("127.0.0.1", 0))
        stranger.listen()
        _busy(step, programs, "a stranger has the port", f"127.0.0.1:{stranger.getsockname()[1]}")
    with Server(step, programs) as server:
        listen = f"{server.address[0]}:{server.address[1]}"
        _busy(step, programs, "another fanwire has the port", listen)
        with Client(server.address) as client:
            client.open()
            step.check("the first fanwire still serves", client.echo, b"mine")
            client.close()
    status, text = start_refused(step, programs, listen="203.0.113.1:0")
    step.equal("an address that is not ours: exit status", status, START_FAILURE)
    step.case("an address that is not ours: the message names it", "203.0.113.1" in text, text)


def _busy(step, programs, name, listen):
    status, text = start_refused(step, programs, listen=listen)
    step.equal(f"{name}: exit status", status, START_FAILURE)
    step.case(f"{name}: the message names the port and the cause", listen in text and "in use" in text, text)


def check_low_port(step, programs):
    """A port below 1024 without privileges: one line with the cause and the cure."""
    options, before = {}, ()
    first_open = int(Path("/proc/sys/net/ipv4/ip_unprivileged_port_start").read_text())
    if first_open <= 81:
        # This host lets everybody listen there; a network namespace of its own starts with the usual rule.
        if os.geteuid() != 0 or not shutil.which("unshare"):
            raise Unavailable(f"ports from {first_open} are open to everybody here, and only root can make a place where they are not")
        before = ("unshare", "--net", "--")
    with tempfile.TemporaryDirectory() as folder:
        if os.geteuid() == 0:
            binary = copy_for_everyone(step, programs, folder)
            if before:
                before = ("unshare", "--net", "--", "setpriv", "--reuid", str(NOBODY), "--clear-groups", "--")
            else:
                options = {"user": NOBODY, "group": NOBODY, "extra_groups": []}
            programs = type(programs)(server=binary)
        listen = "0.0.0.0:81"
        status, text = start_refused(step, programs, listen=listen, before=before, **options)
    step.equal("exit status", status, START_FAILURE)
    step.case("the message names the port", ":81" in text, text)
    step.case("the message names the cause", "ermission" in text or "privilege" in text, text)
    step.case("the message names a cure", "1024" in text or "CAP_NET_BIND_SERVICE" in text, text)


def _limit_fds(count):
    def apply():
        resource.setrlimit(resource.RLIMIT_NOFILE, (count, count))
    return apply


def check_fd_table(step, programs, backend):
    """A full descriptor table: those inside are served, those outside get in once there is room."""
    status, text = start_refused(step, programs, "--backend", backend, preexec_fn=_limit_fds(FD_LIMIT_TOO_LOW))
    step.equal("hardly any descriptors: exit status", status, START_FAILURE)
    step.case("hardly any descriptors: the message names the cure", "ulimit -n" in text, text)
    options = ("--handshake-timeout-ms", "30000")
    with Server(step, programs, *options, backend=backend, preexec_fn=_limit_fds(FD_LIMIT)) as server:
        with Client(server.address) as bystander:
            bystander.open()
            silent = []
            try:
                for _ in range(SILENT_CLIENTS):
                    client = Client(server.address)
                    client.socket.setblocking(False)
                    silent.append(client)
                most = 0
                deadline = time.monotonic() + 1.2
                while time.monotonic() < deadline:
                    bystander.echo(b"inside")
                    most = max(most, server.fd_count())
                step.case("the table was really full", most >= FD_LIMIT - 1, f"{most} of {FD_LIMIT}")
                step.check("those inside are served", bystander.echo, b"inside")
                lines = [line for line in server.log if " WARN " in line and "accept" in line and "ulimit -n" in line]
                step.case("one line says so and names the cure", len(lines) == 1, server.text())
            finally:
                for client in silent:
                    client.socket.close()
            step.check("those outside get in once there is room", _gets_in, server.address)
            bystander.close()


def _gets_in(address):
    deadline = time.monotonic() + 10
    while True:
        try:
            with Client(address, timeout_s=3) as client:
                client.open()
                client.echo(b"inside at last")
                client.close()
            return
        except Failure:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.02)


def check_connection_limit(step, programs, backend):
    """The connection after the last gets 503 with Retry-After, and a free place is given away again."""
    with Server(step, programs, "--connections-max", "3", backend=backend) as server:
        inside = [Client(server.address) for _ in range(3)]
        for client in inside:
            client.open()
        step.check("503 above the limit", _refused_with_503, server.address)
        for client in inside:
            step.check("those inside are served", client.echo, b"inside")
        inside.pop().close()
        step.check("a free place is given away", _gets_in, server.address)
        for client in inside:
            client.close()


def _refused_with_503(address):
    with Client(address) as client:
        client.send(upgrade_request(address))
        response = client.response()
        if response.status != 503 or not response.values("retry-after"):
            raise Failure(f"expected 503 with Retry-After, saw {response}")
        client.expect_end()


def check_drain(step, programs, backend, cores):
    """SIGTERM: everybody gets 1001, nobody new gets in, exit status 0; a peer that stalls does not hold it up."""
    for _ in range(EARLY_SIGNALS):
        with Server(step, programs, backend=backend, cores=cores) as server:
            step.equal("exit status when told to stop as soon as it listens", server.stop(), 0)
    with Server(step, programs, backend=backend, cores=cores) as server:
        clients = [Client(server.address) for _ in range(CLIENTS_AT_DRAIN)]
        for client in clients:
            client.open()
            client.echo(b"before")
        server.process.send_signal(signal.SIGTERM)
        for index, client in enumerate(clients):
            step.check(f"connection {index} gets 1001", _drained, client)
        started = time.monotonic()
        step.equal("exit status", server.wait(), 0)
        seconds = time.monotonic() - started
        step.case("it ends when the last of them is gone", seconds <= LAST_ONE_GONE_MAX_S, f"{seconds:.1f} s later")
        step.check("nobody listens any more", _nobody_listens, server.address)
    with Server(step, programs, "--drain-timeout-ms", "1000", backend=backend, cores=cores) as server:
        with Client(server.address) as stalled:
            stalled.open()
            started = time.monotonic()
            step.equal("exit status with a peer that does not answer", server.stop(), 0)
            seconds = time.monotonic() - started
            step.case("the drain is bounded", 0.5 <= seconds <= 5, f"{seconds:.1f} s for a bound of 1 s")
            step.check("the stalled peer got 1001 too", stalled.expect_close, 1001)
    with Server(step, programs, "--drain-timeout-ms", "60000", backend=backend, cores=cores, is_any_status=True) as server:
        with Client(server.address) as stalled:
            stalled.open()
            server.process.send_signal(signal.SIGINT)
            stalled.expect_close(1001)
            started = time.monotonic()
            server.stop(signal.SIGINT)
            seconds = time.monotonic() - started
            step.case("a second signal ends it at once", seconds < 3, f"{seconds:.1f} s")


def _drained(client):
    client.expect_close(1001)
    client.send(frame(CLOSE, close_payload(1001)))
    client.expect_end()
    client.socket.close()


def _nobody_listens(address):
    try:
        Client(address, timeout_s=3).socket.close()
    except ConnectionRefusedError:
        return
    raise Failure("a new connection was accepted after the end")
