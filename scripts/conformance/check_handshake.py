"""Opening handshakes over real sockets: each row of the table gets its exact status and then the end of the stream.

Sources of the expectations: RFC 6455 4.1, 4.2 and 4.4, RFC 9112 3 and 5, RFC 9110 7.8, RFC 7692 5 and 7.
"""

import base64
import os

from processes import Server
from report import Failure
from wire import BINARY, Client, frame, upgrade_request

OPTIONS = ("--deflate",)
SHORT_DEADLINE_MS = 700


def _key():
    return base64.b64encode(os.urandom(16)).decode()


def _request(address, method="GET", target="/", version="HTTP/1.1", remove=(), extra=(), replace=None):
    """A valid request with lines removed, replaced or added."""
    headers = {
        "Host": f"{address[0]}:{address[1]}",
        "Upgrade": "websocket",
        "Connection": "Upgrade",
        "Sec-WebSocket-Key": _key(),
        "Sec-WebSocket-Version": "13",
    }
    headers.update(replace or {})
    lines = [f"{method} {target} {version}"]
    lines += [f"{name}: {value}" for name, value in headers.items() if name not in remove]
    lines += list(extra)
    return "\r\n".join([*lines, "", ""]).encode("latin-1")


# name, status, what builds the request from the address, header that the refusal must carry
REFUSED = [
    ("POST", 405, lambda a: _request(a, method="POST"), ("allow", "GET")),
    ("HEAD", 405, lambda a: _request(a, method="HEAD"), ("allow", "GET")),
    ("CONNECT", 405, lambda a: _request(a, method="CONNECT", target=f"{a[0]}:{a[1]}"), ("allow", "GET")),
    ("method in lower case", 405, lambda a: _request(a, method="get"), ("allow", "GET")),
    ("HTTP/1.0", 400, lambda a: _request(a, version="HTTP/1.0"), None),
    ("asterisk target", 400, lambda a: _request(a, target="*"), None),
    ("target without a slash", 400, lambda a: _request(a, target="room"), None),
    ("fragment in the target", 400, lambda a: _request(a, target="/room#part"), None),
    ("target of 5000 bytes", 414, lambda a: _request(a, target="/" + "t" * 5000), None),
    ("absolute target that disagrees with Host", 400,
     lambda a: _request(a, target="http://elsewhere.example/"), None),
    ("no Sec-WebSocket-Version", 426, lambda a: _request(a, remove=("Sec-WebSocket-Version",)),
     ("sec-websocket-version", "13")),
    ("Sec-WebSocket-Version 8", 426, lambda a: _request(a, replace={"Sec-WebSocket-Version": "8"}),
     ("sec-websocket-version", "13")),
    ("Sec-WebSocket-Version 014", 426, lambda a: _request(a, replace={"Sec-WebSocket-Version": "014"}),
     ("sec-websocket-version", "13")),
    ("Sec-WebSocket-Version twice", 400, lambda a: _request(a, extra=("Sec-WebSocket-Version: 13",)), None),
    ("no key", 400, lambda a: _request(a, remove=("Sec-WebSocket-Key",)), None),
    ("empty key", 400, lambda a: _request(a, replace={"Sec-WebSocket-Key": ""}), None),
    ("key of 15 bytes", 400,
     lambda a: _request(a, replace={"Sec-WebSocket-Key": base64.b64encode(bytes(15)).decode()}), None),
    ("key of 17 bytes", 400,
     lambda a: _request(a, replace={"Sec-WebSocket-Key": base64.b64encode(bytes(17)).decode()}), None),
    ("key that is not base64", 400, lambda a: _request(a, replace={"Sec-WebSocket-Key": "!" * 24}), None),
    ("key of 200 characters", 400, lambda a: _request(a, replace={"Sec-WebSocket-Key": "A" * 200}), None),
    ("key twice", 400, lambda a: _request(a, extra=(f"Sec-WebSocket-Key: {_key()}",)), None),
    ("no Host", 400, lambda a: _request(a, remove=("Host",)), None),
    ("Host twice", 400, lambda a: _request(a, extra=("Host: elsewhere.example",)), None),
    ("Origin twice", 400,
     lambda a: _request(a, extra=("Origin: http://a.example", "Origin: http://b.example")), None),
    ("Upgrade: h2c", 400, lambda a: _request(a, replace={"Upgrade": "h2c"}), None),
    ("Connection: keep-alive", 400, lambda a: _request(a, replace={"Connection": "keep-alive"}), None),
    ("Content-Length: 5", 400, lambda a: _request(a, extra=("Content-Length: 5",)) + b"hello", None),
    ("Transfer-Encoding: chunked", 400, lambda a: _request(a, extra=("Transfer-Encoding: chunked",)), None),
    ("folded header line", 400, lambda a: _request(a, extra=("X-Folded: one", " two")), None),
    ("space before the colon", 400, lambda a: _request(a, extra=("X-Space : one",)), None),
    ("empty header name", 400, lambda a: _request(a, extra=(": one",)), None),
    ("NUL in a header value", 400, lambda a: _request(a, extra=("X-Nul: a\0b",)), None),
    ("bare CR in a header value", 400, lambda a: _request(a, extra=("X-Cr: a\rb",)), None),
    ("byte above 0x7F in a header name", 400, lambda a: _request(a, extra=("X-\xe9: a",)), None),
    ("65 headers", 431, lambda a: _request(a, extra=[f"X-{n}: v" for n in range(60)]), None),
    ("head of 9000 bytes", 431, lambda a: _request(a, extra=[f"X-{n}: {'v' * 1000}" for n in range(9)]), None),
    ("nine extension offers", 400,
     lambda a: _request(a, extra=("Sec-WebSocket-Extensions: " + ", ".join(f"x-{n}" for n in range(9)),)), None),
    ("extension offer of 300 bytes", 400,
     lambda a: _request(a, extra=(f"Sec-WebSocket-Extensions: {'x' * 300}",)), None),
    ("extension offer that is not a token", 400,
     lambda a: _request(a, extra=("Sec-WebSocket-Extensions: permessage-deflate; =",)), None),
    ("nine subprotocols", 400,
     lambda a: _request(a, extra=("Sec-WebSocket-Protocol: " + ", ".join(f"p{n}" for n in range(9)),)), None),
    ("subprotocol that is not a token", 400,
     lambda a: _request(a, extra=("Sec-WebSocket-Protocol: a b",)), None),
    ("a frame before the 101", 400, lambda a: _request(a) + b"\x81\x80\0\0\0\0", None),
    ("a TLS hello", 400, lambda a: b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + bytes(40), None),
    ("an empty request line", 400, lambda a: b"\r\n\r\n\r\n\r\n", None),
    ("a request line without a version", 400, lambda a: b"GET /\r\n\r\n", None),
    ("another protocol in the request line", 400, lambda a: _request(a, version="FTP/1.1"), None),
]

ACCEPTED = [
    ("as a browser sends it", lambda a: _request(
        a, extra=("Origin: http://127.0.0.1", "Pragma: no-cache", "Cache-Control: no-cache", "User-Agent: any"))),
    ("names and tokens in other cases", lambda a: _request(
        a, remove=("Upgrade", "Connection"), extra=("UPGRADE: WebSocket", "connection: keep-alive, UPGRADE"))),
    ("lists over several lines", lambda a: _request(
        a, remove=("Upgrade", "Connection"),
        extra=("Connection: keep-alive", "Connection: Upgrade", "Upgrade: h2c", "Upgrade: websocket"))),
    ("Content-Length: 0", lambda a: _request(a, extra=("Content-Length: 0",))),
    ("absolute target that agrees with Host", lambda a: _request(a, target=f"http://{a[0]}:{a[1]}/room?x=1")),
    ("no spaces after the colons", lambda a: _request(a).replace(b": ", b":")),
    ("sixty headers", lambda a: _request(a, extra=[f"X-{n}: v" for n in range(55)])),
    ("unknown extensions", lambda a: _request(a, extra=("Sec-WebSocket-Extensions: x-one, x-two; a=1",))),
]

# offer, and the parameters that the answer must and must not have; None: the offer is declined
OFFERS = [
    ("permessage-deflate", set()),
    ("permessage-deflate; client_max_window_bits", set()),
    ("permessage-deflate; server_no_context_takeover", {"server_no_context_takeover"}),
    ("permessage-deflate; client_no_context_takeover; server_no_context_takeover", {"server_no_context_takeover"}),
    ("permessage-deflate; server_max_window_bits=7", None),
    ("permessage-deflate; server_max_window_bits=16", None),
    ("permessage-deflate; server_max_window_bits", None),
    ("permessage-deflate; client_max_window_bits=99", None),
    ("permessage-deflate; unknown=1", None),
    ("permessage-deflate; server_no_context_takeover=1", None),
    ("permessage-deflate; server_no_context_takeover; server_no_context_takeover", None),
    ("permessage-deflate; unknown=1, permessage-deflate", set()),
    ("x-unknown, permessage-deflate; client_max_window_bits=15", set()),
]


def _refused(address, build, status, header):
    with Client(address) as client:
        client.send(build(address))
        response = client.response()
        if response.status != status:
            raise Failure(f"expected {status}, saw {response.status} {response.body[:200]!r}")
        if "close" not in [token.strip().lower() for token in ",".join(response.values("connection")).split(",")]:
            raise Failure(f"a refusal says Connection: close, saw {response.values('connection')}")
        if header and response.values(header[0]) != [header[1]]:
            raise Failure(f"expected {header[0]}: {header[1]}, saw {response.values(header[0])}")
        client.expect_end()


def _accepted(address, build):
    with Client(address) as client:
        client.send(build(address))
        response = client.response()
        if response.status != 101:
            raise Failure(f"expected 101, saw {response.status} {response.body[:200]!r}")
        client.echo(b"after an unusual opening handshake")
        client.close()


def _offer(address, offer, expected):
    with Client(address) as client:
        answer = client.open(extra=(f"Sec-WebSocket-Extensions: {offer}",)).values("sec-websocket-extensions")
        client.send(frame(BINARY, b"e" * 400))
        if client.receive_message().inflated() != b"e" * 400:
            raise Failure("the message came back altered")
        client.close()
    if expected is None:
        if answer:
            raise Failure(f"the offer must be declined, saw {answer}")
        return
    if len(answer) != 1:
        raise Failure(f"expected one answer, saw {answer}")
    name, *parameters = [part.strip() for part in answer[0].split(";")]
    if name != "permessage-deflate" or not expected.issubset(parameters):
        raise Failure(f"expected permessage-deflate with {expected}, saw {answer}")
    if "client_max_window_bits" in answer[0] and "client_max_window_bits" not in offer:
        raise Failure(f"client_max_window_bits was not offered, saw {answer}")


def _pipelined(address):
    """What follows a refused request is never answered."""
    with Client(address) as client:
        client.send(_request(address, method="POST") + upgrade_request(address))
        if client.response().status != 405:
            raise Failure("the first request must get 405")
        client.expect_end()


def _plain_http(address):
    """A request that is no upgrade at all gets a complete refusal that names what is spoken here."""
    with Client(address) as client:
        client.send(f"GET / HTTP/1.1\r\nHost: {address[0]}:{address[1]}\r\n\r\n".encode())
        response = client.response()
        if response.status not in (400, 426) or not response.body:
            raise Failure(f"expected 400 or 426 with a reason, saw {response.status} {response.body!r}")
        client.expect_end()


def _dribbled_request(address):
    with Client(address) as client:
        client.open(is_slow=True)
        client.echo(b"after a slow opening handshake")
        client.close()


def _deadline(address):
    """A head that never ends gets 408 at an absolute deadline, although bytes keep arriving."""
    with Client(address) as client:
        request = upgrade_request(address)[:-4] + b"\r\nX-Slow: "
        client.send(request)
        client.socket.settimeout(0.05)
        for _ in range(int(SHORT_DEADLINE_MS / 50) * 4):
            try:
                client.send(b"a")
                part = client.socket.recv(65536)
            except TimeoutError:
                continue
            client.received += part
            break
        else:
            raise Failure(f"no answer long after the deadline of {SHORT_DEADLINE_MS} ms")
        client.socket.settimeout(5)
        response = client.response()
        if response.status != 408:
            raise Failure(f"expected 408, saw {response.status}")


def check(step, programs, backend):
    """The whole table, with a bystander that must not notice."""
    options = (*OPTIONS, "--handshake-timeout-ms", "5000")
    with Server(step, programs, *options, backend=backend) as server, Client(server.address) as bystander:
        bystander.open()
        for name, status, build, header in REFUSED:
            step.check(f"refused with {status}: {name}", _refused, server.address, build, status, header)
        step.check("refused: no upgrade at all", _plain_http, server.address)
        step.check("a second request after a refusal is not answered", _pipelined, server.address)
        for name, build in ACCEPTED:
            step.check(f"accepted: {name}", _accepted, server.address, build)
        for offer, expected in OFFERS:
            verb = "declined" if expected is None else "answered"
            step.check(f"{verb}: {offer}", _offer, server.address, offer, expected)
        step.check("one byte at a time", _dribbled_request, server.address)
        step.check("the bystander still echoes", bystander.echo, b"still here")
        bystander.close()
    with Server(step, programs, "--handshake-timeout-ms", str(SHORT_DEADLINE_MS), backend=backend) as server:
        step.check("408 at the deadline", _deadline, server.address)
    with Server(step, programs, "--origin", "http://good.example", backend=backend) as server:
        for origin, status in (
                ("http://good.example", 101), ("http://good.example.evil.example", 403), ("https://good.example", 403),
                ("http://good.example:8080", 403), ("null", 403)):
            step.check(f"Origin {origin} gets {status}", _origin, server.address, origin, status)


def _origin(address, origin, status):
    with Client(address) as client:
        client.send(_request(address, extra=(f"Origin: {origin}",)))
        seen = client.response().status
        if seen != status:
            raise Failure(f"expected {status}, saw {seen}")
