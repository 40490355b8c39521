"""A WebSocket client made of plain sockets, which can say anything, right or wrong.

It checks what it receives strictly (RFC 6455 sections 4.1 and 5), so a server that frames badly fails here too. It knows
nothing of fanwire.
"""

import base64
import hashlib
import os
import socket
import struct
import zlib
from dataclasses import dataclass

from report import Failure

ACCEPT_SUFFIX = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
TIMEOUT_S = 10
CONTINUATION, TEXT, BINARY, CLOSE, PING, PONG = 0x0, 0x1, 0x2, 0x8, 0x9, 0xA
RSV1, RSV2, RSV3 = 4, 2, 1


def upgrade_request(address, target="/", key=None, extra=()):
    """A valid opening handshake of a client, as bytes."""
    key = key or base64.b64encode(os.urandom(16)).decode()
    lines = [
        f"GET {target} HTTP/1.1",
        f"Host: {address[0]}:{address[1]}",
        "Upgrade: websocket",
        "Connection: Upgrade",
        f"Sec-WebSocket-Key: {key}",
        "Sec-WebSocket-Version: 13",
        *extra,
    ]
    return "\r\n".join([*lines, "", ""]).encode("latin-1")


def mask(payload, key):
    """The payload masked with a key of 4 bytes."""
    if not payload:
        return b""
    stretched = (key * (len(payload) // 4 + 1))[: len(payload)]
    masked = int.from_bytes(payload, "big") ^ int.from_bytes(stretched, "big")
    return masked.to_bytes(len(payload), "big")


def frame(opcode, payload=b"", is_final=True, reserved=0, is_masked=True, declared=None, length_form=None):
    """One frame as a client sends it.

    `declared` is a payload length to claim instead of the true one; `length_form` forces 7, 16 or 64 bits,
    minimal or not.
    """
    length = len(payload) if declared is None else declared
    first = (0x80 if is_final else 0) | reserved << 4 | opcode
    mask_bit = 0x80 if is_masked else 0
    form = length_form or (7 if length < 126 else 16 if length < 65536 else 64)
    if form == 7:
        head = struct.pack(">BB", first, mask_bit | length)
    elif form == 16:
        head = struct.pack(">BBH", first, mask_bit | 126, length)
    else:
        head = struct.pack(">BBQ", first, mask_bit | 127, length)
    if not is_masked:
        return head + payload
    key = os.urandom(4)
    return head + key + mask(payload, key)


def close_payload(code, reason=b""):
    """The payload of a close frame."""
    return struct.pack(">H", code) + reason


@dataclass
class Frame:
    """A frame as received from a server."""

    opcode: int
    payload: bytes
    is_final: bool
    reserved: int

    def inflated(self):
        """The payload, inflated if it came compressed and without earlier context (RFC 7692 7.2.2)."""
        if self.reserved != RSV1:
            return self.payload
        return zlib.decompressobj(-15).decompress(self.payload + b"\x00\x00\xff\xff")

    def close_code(self):
        """The status code of a close frame; None when it has none."""
        return struct.unpack(">H", self.payload[:2])[0] if len(self.payload) >= 2 else None


@dataclass
class Response:
    """The head and body of an HTTP response."""

    status: int
    reason: str
    headers: list
    body: bytes

    def values(self, name):
        """Every value of a header, in order."""
        return [value for key, value in self.headers if key == name.lower()]


class Client:
    """One connection to a server."""

    def __init__(self, address, timeout_s=TIMEOUT_S, receive_buffer=None):
        self.address = address
        self.socket = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
        if receive_buffer:
            self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
        self.socket.settimeout(timeout_s)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        try:
            self.socket.connect(address)
        except BaseException:
            self.socket.close()
            raise
        self.received = b""

    def __enter__(self):
        return self

    def __exit__(self, *_exception):
        self.socket.close()

    def send(self, data):
        """Sends raw bytes."""
        self.socket.sendall(data)

    def send_slowly(self, data):
        """Sends raw bytes one at a time, each in a segment of its own as far as the kernel allows."""
        for index in range(len(data)):
            self.socket.sendall(data[index : index + 1])

    def open(self, target="/", extra=(), is_slow=False):
        """Makes the opening handshake and returns the server's response; anything but a right 101 fails."""
        key = base64.b64encode(os.urandom(16))
        request = upgrade_request(self.address, target, key.decode(), extra)
        (self.send_slowly if is_slow else self.send)(request)
        response = self.response()
        if response.status != 101:
            raise Failure(f"expected 101, saw {response.status} {response.body[:200]!r}")
        accept = base64.b64encode(hashlib.sha1(key + ACCEPT_SUFFIX).digest()).decode()
        if response.values("sec-websocket-accept") != [accept]:
            raise Failure(f"wrong Sec-WebSocket-Accept {response.values('sec-websocket-accept')}")
        if [value.lower() for value in response.values("upgrade")] != ["websocket"]:
            raise Failure(f"wrong Upgrade {response.values('upgrade')}")
        if "upgrade" not in ",".join(response.values("connection")).lower():
            raise Failure(f"wrong Connection {response.values('connection')}")
        return response

    def response(self):
        """Reads one HTTP response; a body is read by its Content-Length, or to the end of the stream."""
        while b"\r\n\r\n" not in self.received:
            if not self._receive_more():
                raise Failure(f"the stream ended within the response head: {self.received[:200]!r}")
        head, self.received = self.received.split(b"\r\n\r\n", 1)
        lines = head.decode("latin-1").split("\r\n")
        version, status, reason = (lines[0].split(" ", 2) + ["", ""])[:3]
        if version != "HTTP/1.1" or not status.isdigit():
            raise Failure(f"not an HTTP/1.1 status line: {lines[0]!r}")
        headers = []
        for line in lines[1:]:
            name, separator, value = line.partition(":")
            if not separator or not name or name != name.strip():
                raise Failure(f"not a header line: {line!r}")
            headers.append((name.lower(), value.strip()))
        response = Response(int(status), reason, headers, b"")
        if response.status != 101:
            declared = response.values("content-length")
            if len(declared) != 1 or not declared[0].isdigit():
                raise Failure(f"a refusal needs one Content-Length, saw {declared}")
            response.body = self._receive_exactly(int(declared[0]))
        return response

    def receive_frame(self):
        """Reads one frame; raises when the server breaks RFC 6455 5.1 or 5.2, or the stream ends."""
        first, second = self._receive_exactly(2)
        if second & 0x80:
            raise Failure("the server masked a frame")
        length = second & 0x7F
        if length == 126:
            (length,) = struct.unpack(">H", self._receive_exactly(2))
            if length < 126:
                raise Failure(f"length {length} in 16 bits is not minimal")
        elif length == 127:
            (length,) = struct.unpack(">Q", self._receive_exactly(8))
            if length < 65536:
                raise Failure(f"length {length} in 64 bits is not minimal")
        return Frame(first & 0x0F, self._receive_exactly(length), bool(first & 0x80), first >> 4 & 0x7)

    def receive_message(self):
        """Reads one unfragmented data frame, as an echo answers; on the way, pings are answered and pongs left out."""
        while True:
            received = self.receive_frame()
            if received.opcode == PONG:
                continue
            if received.opcode == PING:
                self.send(frame(PONG, received.payload))
                continue
            if received.opcode not in (TEXT, BINARY) or not received.is_final:
                raise Failure(f"expected a message, saw {received}"[:300])
            return received

    def echo(self, payload, opcode=BINARY):
        """Sends one message and fails unless the same comes back."""
        self.send(frame(opcode, payload))
        received = self.receive_message()
        if (received.opcode, received.payload, received.reserved) != (opcode, payload, 0):
            raise Failure(f"echo of {len(payload)} bytes came back as {received}"[:300])

    def expect_close(self, code):
        """Fails unless the next frame is a close frame with this status code (None: with none)."""
        received = self.receive_frame()
        if received.opcode != CLOSE or received.close_code() != code:
            seen = received.close_code() if received.opcode == CLOSE else f"{received}"[:300]
            raise Failure(f"expected close code {code}, saw {seen}")
        if not received.is_final or received.reserved or len(received.payload) > 125:
            raise Failure(f"a malformed close frame: {received}")
        received.payload[2:].decode("utf-8")
        return received

    def expect_end(self):
        """Fails unless the server ends the stream with FIN and sends nothing more."""
        while True:
            if self.received:
                raise Failure(f"expected the end of the stream, saw {self.received[:100]!r}")
            if not self._receive_more():
                return

    def close(self, code=1000):
        """Makes the closing handshake from this side and ends the connection."""
        self.send(frame(CLOSE, close_payload(code)))
        self.expect_close(code)
        self.expect_end()
        self.socket.close()

    def _receive_exactly(self, count):
        parts = [self.received]
        have = len(self.received)
        while have < count:
            part = self._receive_part()
            if not part:
                raise Failure(f"the stream ended {count - have} bytes early, after {b''.join(parts)[:200]!r}")
            parts.append(part)
            have += len(part)
        joined = b"".join(parts)
        self.received = joined[count:]
        return joined[:count]

    def _receive_more(self):
        part = self._receive_part()
        self.received += part
        return bool(part)

    def _receive_part(self):
        try:
            return self.socket.recv(65536)
        except socket.timeout:
            raise Failure(f"nothing arrived within {self.socket.gettimeout()} s") from None
        except ConnectionResetError:
            raise Failure("the server reset the connection") from None
