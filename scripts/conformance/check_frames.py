"""Malformed and well-formed frames over real sockets: the exact close code, then the end of the stream.

Each case runs on a connection of its own while a bystander on the same core keeps echoing, and at the end the server
holds no more descriptors and hardly more memory than before. Sections are those of RFC 6455 unless RFC 7692 is named.
"""

import zlib

from processes import Server
from report import Failure
from wire import BINARY, CLOSE, CONTINUATION, PING, PONG, RSV1, RSV2, RSV3, TEXT, Client, close_payload, frame

MESSAGE_SIZE_MAX = 65536
FRAGMENTS_MAX = 64
DEFLATE = ("Sec-WebSocket-Extensions: permessage-deflate; server_no_context_takeover; client_no_context_takeover",)
REPEATS = 3
MEMORY_GROWTH_MAX_KIB = 2048


def _deflated(data):
    squeeze = zlib.compressobj(9, zlib.DEFLATED, -15)
    return (squeeze.compress(data) + squeeze.flush(zlib.Z_SYNC_FLUSH))[:-4]


# name, close code, bytes to send
BROKEN = [
    ("RSV2 set (5.2)", 1002, frame(TEXT, b"x", reserved=RSV2)),
    ("RSV3 set (5.2)", 1002, frame(BINARY, b"x", reserved=RSV3)),
    ("RSV1 set without permessage-deflate (5.2)", 1002, frame(TEXT, b"x", reserved=RSV1)),
    *[(f"reserved opcode {opcode:#x} (5.2)", 1002, frame(opcode, b"x")) for opcode in (3, 4, 5, 6, 7, 11, 12, 13, 14, 15)],
    ("unmasked frame (5.1)", 1002, frame(TEXT, b"hello", is_masked=False)),
    ("unmasked frame, judged by its second byte (5.1)", 1002, b"\x82\x7e"),
    ("64-bit length with its top bit set (5.2)", 1002, b"\x82\xff\x80" + bytes(6) + b"\x01"),
    ("125 in 16 bits (5.2)", 1002, frame(BINARY, b"a" * 125, length_form=16)),
    ("0 in 16 bits (5.2)", 1002, frame(BINARY, b"", length_form=16)),
    ("65535 in 64 bits (5.2)", 1002, frame(BINARY, b"a" * 65535, length_form=64)),
    ("ping of 126 bytes (5.5)", 1002, frame(PING, b"p" * 126)),
    ("pong of 126 bytes (5.5)", 1002, frame(PONG, b"p" * 126)),
    ("fragmented ping (5.5)", 1002, frame(PING, b"p", is_final=False)),
    ("fragmented close (5.5)", 1002, frame(CLOSE, close_payload(1000), is_final=False)),
    ("close of 126 bytes (5.5)", 1002, frame(CLOSE, close_payload(1000, b"r" * 124))),
    ("close of one byte (5.5.1)", 1002, frame(CLOSE, b"\x03")),
    *[(f"close code {code} (7.4)", 1002, frame(CLOSE, close_payload(code)))
      for code in (0, 999, 1004, 1005, 1006, 1015, 1016, 2000, 2999, 5000, 65535)],
    ("close reason that is not UTF-8 (5.5.1)", 1007, frame(CLOSE, close_payload(1000, b"\xce\xba\xe1"))),
    ("continuation without a start (5.4)", 1002, frame(CONTINUATION, b"x")),
    ("new text inside a message (5.4)", 1002, frame(TEXT, b"a", is_final=False) + frame(TEXT, b"b")),
    ("new binary inside a message (5.4)", 1002, frame(BINARY, b"a", is_final=False) + frame(BINARY, b"b", is_final=False)),
    ("text that is not UTF-8 (8.1)", 1007, frame(TEXT, b"\xff")),
    ("a surrogate in text (8.1)", 1007, frame(TEXT, b"\xed\xa0\x80")),
    ("text that ends within a character (8.1)", 1007, frame(TEXT, b"\xe2\x82")),
    ("impossible byte in an unfinished message (8.1)", 1007, frame(TEXT, b"ok\xf5", is_final=False)),
    ("character broken by the next fragment (8.1)", 1007,
     frame(TEXT, b"\xe2\x82", is_final=False) + frame(CONTINUATION, b"x", is_final=False)),
    ("declared 1 TiB, before any payload (7.4.1)", 1009, frame(BINARY, b"", declared=1 << 40)),
    ("one byte over the limit (7.4.1)", 1009, frame(BINARY, b"", declared=MESSAGE_SIZE_MAX + 1)),
    ("fragments that add up over the limit (7.4.1)", 1009,
     frame(BINARY, b"a" * MESSAGE_SIZE_MAX, is_final=False) + frame(CONTINUATION, b"b")),
    ("one fragment too many", 1008,
     frame(BINARY, b"a", is_final=False) + frame(CONTINUATION, b"b", is_final=False) * FRAGMENTS_MAX),
    ("empty fragments without end", 1008,
     frame(BINARY, b"", is_final=False) + frame(CONTINUATION, b"", is_final=False) * FRAGMENTS_MAX),
]

BROKEN_DEFLATED = [
    ("RSV1 on a continuation (RFC 7692 6.1)", 1002,
     frame(TEXT, _deflated(b"hello")[:3], is_final=False, reserved=RSV1)
     + frame(CONTINUATION, _deflated(b"hello")[3:], reserved=RSV1)),
    ("RSV1 on a ping (RFC 7692 6.1)", 1002, frame(PING, b"p", reserved=RSV1)),
    ("RSV1 on a close (RFC 7692 6.1)", 1002, frame(CLOSE, close_payload(1000), reserved=RSV1)),
    ("payload that does not inflate (RFC 7692 6.2)", 1007, frame(BINARY, b"\xff" * 40, reserved=RSV1)),
    ("inflated text that is not UTF-8 (8.1)", 1007, frame(TEXT, _deflated(b"\xff\xfe" * 50), reserved=RSV1)),
    ("a bomb: 16 MiB from 16 KiB (7.4.1)", 1009, frame(BINARY, _deflated(bytes(1 << 24)), reserved=RSV1)),
]

# name, bytes to send, status code that comes back (None: a close frame without one)
CLOSED = [
    ("an empty close", frame(CLOSE), None),
    *[(f"close code {code}", frame(CLOSE, close_payload(code)), code)
      for code in (1000, 1001, 1002, 1003, 1007, 1008, 1009, 1010, 1011, 1012, 1013, 1014, 3000, 3999, 4000, 4999)],
    ("a reason of 123 bytes", frame(CLOSE, close_payload(1000, b"r" * 123)), 1000),
    ("a close inside a fragmented message", frame(TEXT, b"a", is_final=False) + frame(CLOSE, close_payload(1000)), 1000),
    ("data after the close is not answered",
     frame(CLOSE, close_payload(1000)) + frame(TEXT, b"ignored") + frame(PING, b"ignored"), 1000),
]


def _closed(server, bystander, data, code, extra=()):
    with Client(server.address) as client:
        client.open(extra=extra)
        client.send(data)
        client.expect_close(code)
        client.expect_end()
    bystander.echo(b"unmoved")


def _control_frames(address):
    """Pings within a fragmented message are answered at once and in order (5.5.2, 5.5.3)."""
    with Client(address) as client:
        client.open()
        client.send(frame(TEXT, b"one ", is_final=False))
        client.send(frame(PING, b"within"))
        pong = client.receive_frame()
        if (pong.opcode, pong.payload) != (PONG, b"within"):
            raise Failure(f"expected the pong before the message ends, saw {pong}")
        client.send(frame(PONG, b"unasked") + frame(CONTINUATION, b"two"))
        if client.receive_message().payload != b"one two":
            raise Failure("the fragments did not come back as one message")
        client.send(frame(PING, b""))
        if client.receive_frame().opcode != PONG:
            raise Failure("an empty ping gets an empty pong")
        client.close()


def _continuation_after_message(address):
    """A message that is whole cannot be continued (5.4)."""
    with Client(address) as client:
        client.open()
        client.echo(b"whole", TEXT)
        client.send(frame(CONTINUATION, b"more"))
        client.expect_close(1002)
        client.expect_end()


def _sizes(address):
    """Each length encoding at its edges comes back whole, several messages in one segment included."""
    with Client(address) as client:
        client.open()
        for size in (0, 1, 125, 126, 127, 65535, MESSAGE_SIZE_MAX):
            client.echo(bytes(index * 7 & 0xFF for index in range(size)))
        client.send(b"".join(frame(TEXT, f"m{index}".encode()) for index in range(100)))
        for index in range(100):
            if client.receive_message().payload != f"m{index}".encode():
                raise Failure(f"message {index} of a burst is missing or out of order")
        client.close()


def _deflated_echo(address):
    """A compressed message comes back equal, compressed or not."""
    with Client(address) as client:
        client.open(extra=DEFLATE)
        for text in (b"", b"a", b"squeeze me " * 500):
            client.send(frame(TEXT, _deflated(text) or b"\x00", reserved=RSV1))
            echoed = client.receive_message()
            plain = echoed.inflated()
            if plain != text:
                raise Failure(f"{len(text)} bytes came back as {len(plain)}")
        client.close()


def _reset_amid(address):
    """A peer that disappears within a frame costs nothing but itself."""
    for data in (b"", b"\x82", frame(BINARY, b"a" * 50)[:20], frame(TEXT, b"a", is_final=False)):
        with Client(address) as client:
            client.open()
            client.send(data)


def _run_tables(server, bystander, record):
    """Every row of the tables; `record` is called as `Step.check` is."""
    for name, code, data in BROKEN:
        record(f"{code}: {name}", _closed, server, bystander, data, code)
    for name, code, data in BROKEN_DEFLATED:
        record(f"{code}: {name}", _closed, server, bystander, data, code, DEFLATE)
    for name, data, code in CLOSED:
        record(f"closing handshake: {name}", _closed, server, bystander, data, code)
    record("1002: a continuation after a whole message", _continuation_after_message, server.address)
    record("control frames within a message", _control_frames, server.address)
    record("sizes", _sizes, server.address)
    record("compressed echo", _deflated_echo, server.address)
    record("peers that disappear", _reset_amid, server.address)


def check(step, programs, backend):
    """The tables above; then again and again, for what is left over."""
    options = ("--deflate", "--message-size-max", str(MESSAGE_SIZE_MAX), "--fragments-max", str(FRAGMENTS_MAX))
    with Server(step, programs, *options, backend=backend) as server, Client(server.address) as bystander:
        bystander.open()
        _run_tables(server, bystander, step.check)
        if step.failed:
            return
        # What grows on first use has grown now.
        fd_count = server.fd_count_at_most(0, within_s=1)
        memory_kib = server.memory_kib()
        for _ in range(REPEATS):
            _run_tables(server, bystander, lambda _name, function, *arguments: function(*arguments))
        after = server.fd_count_at_most(fd_count)
        step.case("no descriptor is left over", after <= fd_count, f"{fd_count} before, {after} after")
        grown = server.memory_kib() - memory_kib
        step.case(f"memory stays within {MEMORY_GROWTH_MAX_KIB} KiB", grown <= MEMORY_GROWTH_MAX_KIB, f"{grown} KiB more")
        bystander.close()
