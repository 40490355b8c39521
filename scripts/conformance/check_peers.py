"""Difficult peers: one that dribbles, ones that never read, ones that never finish. Others must not notice."""

import selectors
import socket
import statistics
import time

from processes import Server
from report import Failure
from wire import BINARY, PING, TEXT, CLOSE, Client, close_payload, frame

# Bytes that each peer that never reads would like to have echoed, far above what sockets hold.
FLOOD_BYTES = 256 << 20
FLOOD_MESSAGE_BYTES = 64 << 10
FLOOD_PEERS = 8
FLOOD_SECONDS = 6
# Unsent bytes above which the server stops receiving from a peer, as given to it below.
BACKLOG_PAUSE_BYTES = 256 << 10
# For each of them: that much unsent, what one turn can receive before the pause takes hold (all receive memory of the
# core, 2 MiB), and the allocator's copy of that while the buffer grew.
MEMORY_GROWTH_MAX_KIB = FLOOD_PEERS * (256 + 2 * 2048 + 768)
# Once they are all stalled nothing may grow any more; this is for what the allocator rounds.
MEMORY_DRIFT_MAX_KIB = 1024
# The machine that tests may be busy with other things for a while; a server that is held up is so every time.
BYSTANDER_MEDIAN_MAX_S = 0.05
BYSTANDER_MAX_S = 2.0


def _dribble(address):
    """Every byte in a segment of its own: the opening handshake, all kinds of frames, the closing handshake."""
    with Client(address) as client:
        client.open(is_slow=True)
        for opcode, payload in ((TEXT, "héllo €".encode()), (BINARY, bytes(range(256))), (TEXT, b"")):
            client.send_slowly(frame(opcode, payload))
            echoed = client.receive_message()
            if (echoed.opcode, echoed.payload) != (opcode, payload):
                raise Failure(f"expected {payload!r} back, saw {echoed}")
        client.send_slowly(frame(TEXT, "€".encode()[:1], is_final=False))
        client.send_slowly(frame(PING, b"in between"))
        if client.receive_frame().payload != b"in between":
            raise Failure("the ping was not answered within the message")
        client.send_slowly(frame(0, "€".encode()[1:]))
        if client.receive_message().payload != "€".encode():
            raise Failure("a character that was split over fragments and segments came back broken")
        client.send_slowly(frame(CLOSE, close_payload(1000, b"done")))
        client.expect_close(1000)
        client.expect_end()


def check_dribbler(step, programs, backend):
    """A client that sends one byte at a time."""
    with Server(step, programs, backend=backend) as server, Client(server.address) as bystander:
        bystander.open()
        step.check("one byte at a time", _dribble, server.address)
        step.check("the bystander still echoes", bystander.echo, b"still here")
        bystander.close()


class _Flood:
    """Peers that send as fast as they may and never read."""

    def __init__(self, address):
        self.clients = []
        self.sent = {}
        self.ended = 0
        self.message = frame(BINARY, bytes(FLOOD_MESSAGE_BYTES))
        self.selector = selectors.DefaultSelector()
        for _ in range(FLOOD_PEERS):
            client = Client(address, receive_buffer=4096)
            client.open()
            client.socket.setblocking(False)
            self.clients.append(client)
            self.sent[client] = 0
            self.selector.register(client.socket, selectors.EVENT_WRITE, client)

    def push(self, seconds):
        """Sends what the sockets take for a while."""
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            for key, _events in self.selector.select(0.05):
                client = key.data
                offset = self.sent[client] % len(self.message)
                try:
                    self.sent[client] += client.socket.send(self.message[offset:])
                except BlockingIOError:
                    continue
                except OSError:
                    self._end(client)
                    continue
                if self.sent[client] >= FLOOD_BYTES:
                    self._end(client)

    def _end(self, client):
        self.ended += 1
        self.selector.unregister(client.socket)

    def close(self):
        """Lets go of all of them without reading."""
        self.selector.close()
        for client in self.clients:
            client.socket.close()


def check_never_reader(step, programs, backend):
    """Peers that send and never read: receiving from them stops, memory stays flat, a bystander is served."""
    options = ("--backlog-pause-bytes", str(BACKLOG_PAUSE_BYTES), "--send-stall-timeout-ms", "60000")
    with Server(step, programs, *options, backend=backend) as server, Client(server.address) as bystander:
        bystander.open()
        bystander.echo(bytes(FLOOD_MESSAGE_BYTES))
        memory_kib = server.memory_kib()
        fd_count = server.fd_count_at_most(0, within_s=0.5)
        flood = _Flood(server.address)
        try:
            grown_kib, echo_s = [], []
            for _ in range(FLOOD_SECONDS * 2):
                flood.push(0.5)
                started = time.monotonic()
                bystander.echo(b"are you there")
                echo_s.append(time.monotonic() - started)
                grown_kib.append(server.memory_kib() - memory_kib)
            sent = sum(flood.sent.values())
            median_s, most_s = statistics.median(echo_s), max(echo_s)
            drift_kib = max(grown_kib) - max(grown_kib[: FLOOD_SECONDS])
            step.note(f"{sent >> 20} MiB sent; memory grew by {grown_kib} KiB; echoes took {echo_s} s")
            step.case("receiving from them stopped", sent < FLOOD_PEERS * FLOOD_BYTES // 4 and flood.ended == 0,
                      f"{sent} bytes were taken, {flood.ended} of {FLOOD_PEERS} came to an end")
            step.case("they did send", sent > FLOOD_PEERS * BACKLOG_PAUSE_BYTES, f"{sent} bytes")
            step.case(f"memory grew by at most {MEMORY_GROWTH_MAX_KIB} KiB", max(grown_kib) <= MEMORY_GROWTH_MAX_KIB, grown_kib)
            step.case("memory is flat once they are stalled", drift_kib <= MEMORY_DRIFT_MAX_KIB, grown_kib)
            step.case(f"the median echo of a bystander took at most {BYSTANDER_MEDIAN_MAX_S} s",
                      median_s <= BYSTANDER_MEDIAN_MAX_S, f"{median_s:.3f} s")
            step.case(f"every echo of a bystander took at most {BYSTANDER_MAX_S} s", most_s <= BYSTANDER_MAX_S, f"{most_s:.3f} s")
        finally:
            flood.close()
        after = server.fd_count_at_most(fd_count)
        step.case("their descriptors came back", after <= fd_count, f"{fd_count} before, {after} after")
        bystander.close()
    _check_cut(step, programs, backend)


def _check_cut(step, programs, backend):
    """A peer that takes nothing for `send_stall_timeout_ms` is cut, and only that one."""
    with Server(step, programs, "--send-stall-timeout-ms", "1000", backend=backend) as server, Client(server.address) as bystander:
        bystander.open()
        fd_count = server.fd_count_at_most(0, within_s=0.5)
        flood = _Flood(server.address)
        try:
            flood.push(1)
            started = time.monotonic()
            while server.fd_count() > fd_count and time.monotonic() - started < 10:
                flood.push(0.1)
                bystander.echo(b"are you there")
            step.case("peers that take nothing are cut", server.fd_count() <= fd_count,
                      f"{server.fd_count() - fd_count} are left after {time.monotonic() - started:.1f} s")
        finally:
            flood.close()
        step.check("the bystander still echoes", bystander.echo, b"still here")
        bystander.close()


def check_unfinished(step, programs, backend):
    """Peers that stop in the middle of something are closed with the right code at a deadline."""
    options = ("--assembly-timeout-ms", "600", "--ping-interval-ms", "400", "--pong-timeout-ms", "400", "--close-timeout-ms", "500")
    with Server(step, programs, *options, backend=backend) as server:
        step.check("1008: a message that never ends", _unfinished, server.address, frame(TEXT, b"a", is_final=False))
        step.check("1008: a frame that never ends", _unfinished, server.address, frame(BINARY, bytes(100))[:50])
        step.check("4012: pings are not answered", _no_pong, server.address)
        step.check("a close that is not answered ends all the same", _unanswered_close, server.address)


def _unfinished(address, data):
    with Client(address) as client:
        client.open()
        client.send(data)
        while True:
            received = client.receive_frame()
            if received.opcode == PING:
                client.send(frame(10, received.payload))
                continue
            break
        if received.close_code() != 1008:
            raise Failure(f"expected close code 1008, saw {received}")


def _no_pong(address):
    with Client(address) as client:
        client.open()
        if client.receive_frame().opcode != PING:
            raise Failure("expected a keep-alive ping first")
        client.expect_close(4012)
        client.expect_end()


def _unanswered_close(address):
    """The server closes for a broken frame; the peer keeps its side open and is dropped at a deadline."""
    with Client(address) as client:
        client.open()
        client.send(frame(3))
        client.expect_close(1002)
        started = time.monotonic()
        while time.monotonic() - started < 8:
            try:
                client.send(frame(BINARY, b"still talking"))
                if not client.socket.recv(100):
                    time.sleep(0.05)
            except (ConnectionError, socket.timeout):
                return
        raise Failure("the connection still takes bytes 8 s after the close frame")
