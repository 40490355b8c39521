"""Who takes part: how each is built, started, and configured. One table, nothing hidden."""

from dataclasses import dataclass, field
from typing import Callable, Tuple

from . import build

FANWIRE = "fanwire"
FLOOR = "floor"
PEER = "peer"


@dataclass(frozen=True)
class Contender:
    """One server program in one configuration."""

    name: str
    kind: str
    make: Callable
    # Words of the command line before and after the program; `{listen}` and `{cpu}` are filled in.
    before: Tuple[str, ...] = ()
    after: Tuple[str, ...] = ("--listen", "{listen}", "--cpu", "{cpu}")
    configuration: str = ""
    versions: Tuple[str, ...] = field(default=())

    def command(self, program, listen, cpu, extra=()):
        words = [*self.before, str(program), *self.after, *extra]
        return [word.format(listen=listen, cpu=cpu) for word in words]


def fanwire(name, backend, *extra):
    return Contender(
        name=name,
        kind=FANWIRE,
        make=build.build_fanwire,
        after=("echo", "--listen", "{listen}", "--cores", "{cpu}", "--backend", backend, *extra),
        configuration=f"`fanwire echo --backend {backend}{''.join(' ' + word for word in extra)}`",
    )


def from_benches(name, binary, kind, configuration, versions=()):
    return Contender(
        name=name,
        kind=kind,
        make=lambda: build.build_from_benches(binary),
        configuration=configuration,
        versions=versions,
    )


FANWIRE_URING = fanwire("fanwire", "uring")
FANWIRE_EPOLL = fanwire("fanwire (epoll)", "epoll")
FANWIRE_SPIN = fanwire("fanwire (spins 100 µs)", "uring", "--spin-us", "100")

FLOOR_ECHO = from_benches(
    "floor",
    "floor_echo",
    FLOOR,
    "bare io_uring loop: multishot receive, one batched send per socket and turn, and no "
    "WebSocket work beyond turning a known frame around",
)
FLOOR_STORM = from_benches(
    "floor",
    "floor_storm",
    FLOOR,
    "bare io_uring loop: accept, receive, canned 101 with the computed accept key, one echo, close",
)

UWEBSOCKETS = Contender(
    name="uWebSockets",
    kind=PEER,
    make=build.build_uwebsockets,
    configuration="native C++ on epoll, compiled with its own flags (`-O3 -flto -march=native`), "
    "no TLS, no compression, `scripts/lib/peers/uwebsockets/echo.cpp`",
    versions=("libuwebsockets-sys 0.0.10 (carries the C++ sources)",),
)
TOKIO_TUNGSTENITE = from_benches(
    "tokio-tungstenite",
    "peer_tokio_tungstenite",
    PEER,
    "current-thread tokio, default buffers, replies fed and flushed once per wake-up, mimalloc",
    ("tokio-tungstenite", "tungstenite"),
)
FASTWEBSOCKETS = from_benches(
    "fastwebsockets",
    "peer_fastwebsockets",
    PEER,
    "current-thread tokio, hyper for the upgrade, FragmentCollector, mimalloc",
    ("fastwebsockets", "hyper"),
)
TOKIO_WEBSOCKETS = from_benches(
    "tokio-websockets",
    "peer_tokio_websockets",
    PEER,
    "current-thread tokio, ring for SHA-1, replies fed and flushed once per wake-up, mimalloc",
    ("tokio-websockets",),
)
SOCKUDO_WS = from_benches(
    "sockudo-ws",
    "peer_sockudo_ws",
    PEER,
    "current-thread tokio on epoll, `Config::default()`, replies fed and flushed once per "
    "wake-up, mimalloc",
    ("sockudo-ws",),
)
NODE_WS = Contender(
    name="Node ws",
    kind=PEER,
    make=build.build_node_ws,
    before=("node",),
    configuration="no compression, bufferutil, replies of one tick corked into one write",
    versions=("ws 8.23.0", "bufferutil 4.1.0"),
)

PEERS = (
    UWEBSOCKETS,
    TOKIO_TUNGSTENITE,
    FASTWEBSOCKETS,
    TOKIO_WEBSOCKETS,
    SOCKUDO_WS,
    NODE_WS,
)
