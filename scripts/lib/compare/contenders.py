"""Who takes part: how each is built, started, and configured. One table, nothing hidden."""

from dataclasses import dataclass, field, replace
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

FLOOR_LOOP = from_benches(
    "floor",
    "floor",
    FLOOR,
    "bare io_uring loop: multishot accept and receive, one batch of sends per turn, the accept key "
    "computed once per connection, the mask taken off each frame, nothing else; "
    "`benches/src/bin/floor.rs`",
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
    "current-thread tokio, read buffer of 16 KiB (measured best; the default of 128 KiB is slower), "
    "replies fed and flushed once per wake-up, mimalloc",
    ("tokio-tungstenite", "tungstenite"),
)
# For very many quiet connections the library's documentation advises a read buffer of 4 KiB.
TOKIO_TUNGSTENITE_SMALL = replace(
    TOKIO_TUNGSTENITE,
    name="tokio-tungstenite (4 KiB)",
    after=(*TOKIO_TUNGSTENITE.after, "--read-buffer-size", "4096"),
    configuration="as tokio-tungstenite, with the read buffer of 4 KiB that its documentation "
    "advises for many connections",
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
