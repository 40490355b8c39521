"""The programs that `scripts/compare` measures beside the hub: each hands a published message to the
subscribers of its topic, byte for byte, and to nobody else. A comparison with one that does not would say nothing.
"""

import os
import sys
import tempfile
import zlib

from machine import ROOT, ensure_compiler, run_logged
from processes import BUILD_TIMEOUT_S, PROFILE, target_folder
from report import Failure, Unavailable
from wire import BINARY, PING, PONG, RSV1, TEXT, Client, frame

sys.path.insert(0, str(ROOT / "scripts" / "lib"))

from compare import contenders as who  # noqa: E402
from compare.errors import Missing, RunFailed  # noqa: E402
from compare.processes import Server  # noqa: E402

FROM_BENCHES = {who.FLOOR_FAN_OUT.name: "floor_fan_out", who.TOKIO_TUNGSTENITE_HUB.name: "peer_tokio_tungstenite_fan_out"}
EVERYBODY = (who.FLOOR_FAN_OUT, *who.HUB_PEERS, *who.DEFLATE_EACH, *who.DEFLATE_ONCE)
# Larger than any contender's lower bound for compressing.
JSON = ('{"trades":[' + ",".join(f'{{"price":"101.{number}","size":"2"}}' for number in range(100)) + "]}").encode()
BLOB = bytes(range(256)) * 3
OFFER = ("Sec-WebSocket-Extensions: permessage-deflate",)


def check(step):
    """Every contender of fanout, deflate and stalled."""
    ensure_compiler(step)
    folder = _build_ours(step)
    missing = []
    for contender in EVERYBODY:
        deflates = contender in (*who.DEFLATE_EACH, *who.DEFLATE_ONCE)
        name = contender.name + (", deflate" if deflates else "")
        try:
            ours = FROM_BENCHES.get(contender.name)
            program = folder / ours if ours else contender.make()
        except Missing as reason:
            missing.append(f"{name}: {reason}")
            continue
        step.check(name, _check_one, step, contender, program, deflates)
    if missing:
        raise Unavailable("; ".join(missing))


def _build_ours(step):
    # Without the optimisation of the release profile: nothing is measured here.
    binaries = [word for name in FROM_BENCHES.values() for word in ("--bin", name)]
    status, output = run_logged(
        step, ["cargo", "build", "--locked", "--profile", PROFILE, "-p", "fanwire-benches", *binaries], BUILD_TIMEOUT_S)
    if status != 0:
        raise Failure("the build failed:\n" + output[-3000:])
    return target_folder(step) / PROFILE


def _check_one(step, contender, program, deflates):
    cpu = min(os.sched_getaffinity(0))
    listen = f"127.0.0.1:{_free_port()}"
    with tempfile.TemporaryDirectory(prefix="fanwire-contender-") as folder:
        contender.prepare(listen, folder)
        command = contender.command(program, listen, cpu, folder=folder)
        step.note("$ " + " ".join(command))
        try:
            with Server(command, None if contender.announces else listen, contender.has_worker) as server:
                host, port = server.address.rsplit(":", 1)
                _fan_out((host, int(port)), contender.speech, deflates)
                server.check_alive()
        except RunFailed as reason:
            raise Failure(str(reason)) from reason


def _free_port():
    import socket

    with socket.create_server(("127.0.0.1", 0)) as server:
        return server.getsockname()[1]


def _fan_out(address, speech, deflates):
    one, other = (_speaker(address, speech, topic, deflates) for topic in ("events", "elsewhere"))
    first, second, stranger = one.subscriber(), one.subscriber(), other.subscriber()
    publisher, elsewhere = one.publisher(), other.publisher()
    for opcode, payload in ((TEXT, JSON), (BINARY, BLOB), (TEXT, b"short")):
        publisher.publish(opcode, payload)
        for subscriber in (first, second):
            subscriber.expect(opcode, payload)
    elsewhere.publish(TEXT, b"for another topic")
    # Had it received anything of the first topic, that would come before.
    stranger.expect(TEXT, b"for another topic")
    for connection in (first, second, stranger, publisher, elsewhere):
        connection.client.socket.close()


def _speaker(address, speech, topic, deflates):
    words = dict(zip(speech[::2], speech[1::2]))
    if words["--dialect"] == "nats":
        return _Nats(address, topic, deflates)
    paths = {
        "subscriber": words.get("--subscribe-path", "/raw/{topic}").format(topic=topic),
        "publisher": words.get("--publish-path", "/raw/{topic}?publish&subscribe=false").format(topic=topic)}
    return _Raw(address, paths, deflates)


class _Connection:
    """One WebSocket connection that inflates what comes compressed, with or without context."""

    def __init__(self, address, target, deflates):
        self.client = Client(address)
        response = self.client.open(target, OFFER if deflates else ())
        accepted = response.values("sec-websocket-extensions")
        if bool(accepted) != deflates:
            raise Failure(f"permessage-deflate offered: {deflates}, answer {accepted}")
        self.inflater = zlib.decompressobj(-15)
        self.is_compressed = False

    def settle(self):
        """Waits until the server has handled everything that was sent before: its pong says so."""
        self.client.send(frame(PING, b"settled?"))
        while self.client.receive_frame().opcode != PONG:
            pass

    def receive(self):
        received = self.client.receive_message()
        self.is_compressed = received.reserved == RSV1
        if not self.is_compressed:
            return received.opcode, received.payload
        return received.opcode, self.inflater.decompress(received.payload + b"\x00\x00\xff\xff")


class _Raw:
    """Bare payloads."""

    def __init__(self, address, paths, deflates):
        self.address, self.paths, self.deflates = address, paths, deflates

    def subscriber(self):
        return self._open("subscriber")

    def publisher(self):
        return self._open("publisher")

    def _open(self, role):
        connection = _RawConnection(self.address, self.paths[role], self.deflates)
        connection.deflates = self.deflates
        connection.settle()
        return connection


class _RawConnection(_Connection):
    def publish(self, opcode, payload):
        self.client.send(frame(opcode, payload))

    def expect(self, opcode, payload):
        received = self.receive()
        if received != (opcode, payload):
            raise Failure(f"expected {opcode} {payload[:80]!r} of {len(payload)} bytes, saw {received[0]} "
                          f"{received[1][:80]!r} of {len(received[1])} bytes")
        if self.deflates and len(payload) > 1024 and not self.is_compressed:
            raise Failure(f"{len(payload)} bytes came uncompressed")


class _Nats:
    """The NATS protocol inside of binary messages."""

    def __init__(self, address, topic, deflates):
        self.address, self.topic, self.deflates = address, topic, deflates

    def subscriber(self):
        return _NatsConnection(self.address, self.topic, self.deflates, f"SUB {self.topic} 1\r\n".encode())

    def publisher(self):
        return _NatsConnection(self.address, self.topic, self.deflates, b"")


class _NatsConnection(_Connection):
    def __init__(self, address, topic, deflates, hello):
        super().__init__(address, "/", deflates)
        self.topic = topic.encode()
        self.deflates = deflates
        self.stream = b""
        self.client.send(frame(BINARY, b'CONNECT {"verbose":false}\r\n' + hello + b"PING\r\n"))
        while self._line() != b"PONG":
            pass

    def publish(self, _opcode, payload):
        self.client.send(frame(BINARY, b"PUB %s %d\r\n%s\r\n" % (self.topic, len(payload), payload)))

    def expect(self, _opcode, payload):
        head = self._line()
        if head != b"MSG %s 1 %d" % (self.topic, len(payload)):
            raise Failure(f"expected a message of {len(payload)} bytes on {self.topic!r}, saw {head[:200]!r}")
        if self._take(len(payload) + 2) != payload + b"\r\n":
            raise Failure("the payload was changed")
        if self.deflates and len(payload) > 1024 and not self.is_compressed:
            raise Failure(f"{len(payload)} bytes came uncompressed")

    def _line(self):
        while b"\r\n" not in self.stream:
            self.stream += self.receive()[1]
        line, self.stream = self.stream.split(b"\r\n", 1)
        return line

    def _take(self, count):
        while len(self.stream) < count:
            self.stream += self.receive()[1]
        taken, self.stream = self.stream[:count], self.stream[count:]
        return taken
