"""Who takes part: how each is built, started, and configured. One table, nothing hidden."""

from dataclasses import dataclass, field, replace
from pathlib import Path
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
    # Words of the command line before and after the program; `{listen}`, `{cpu}` and `{folder}`
    # are filled in.
    before: Tuple[str, ...] = ()
    after: Tuple[str, ...] = ("--listen", "{listen}", "--cpu", "{cpu}")
    configuration: str = ""
    versions: Tuple[str, ...] = field(default=())
    # A configuration file below `peers/`, copied to `{folder}` for every run, and the words in @
    # to fill in there beside @LISTEN@ and @FOLDER@.
    file: str = ""
    words: Tuple[Tuple[str, str], ...] = ()
    # False for a program that prints no line when it listens: then the port is tried.
    announces: bool = True
    # True for one whose work is done by a child process, which is then the one to measure.
    has_worker: bool = False
    # How the load generator has to speak to it where that is not the same for everybody.
    speech: Tuple[str, ...] = ()

    def command(self, program, listen, cpu, extra=(), folder=""):
        words = [*self.before, str(program), *self.after, *extra]
        return [word.format(listen=listen, cpu=cpu, folder=folder) for word in words]

    def prepare(self, listen, folder):
        """Writes the configuration file for one run."""
        if not self.file:
            return
        text = (build.PEERS / self.file).read_text(encoding="utf-8")
        for name, value in (*self.words, ("LISTEN", listen), ("FOLDER", str(folder))):
            text = text.replace(f"@{name}@", value)
        (Path(folder) / Path(self.file).name).write_text(text, encoding="utf-8")
        # nginx's worker is another user than its master where that is root.
        Path(folder).chmod(0o755)


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


# Publish and subscribe. All but two speak the raw dialect of docs/protocol.md, section 6; the
# generator is told what is different.

RAW = ("--dialect", "raw")


def fanwire_hub(name, backend, *extra):
    return Contender(
        name=name,
        kind=FANWIRE,
        make=build.build_fanwire,
        after=("serve", "--listen", "{listen}", "--cores", "{cpu}", "--no-admin",
               "--backend", backend, *extra),
        configuration="`fanwire serve --no-admin "
                      f"--backend {backend}{''.join(' ' + word for word in extra)}`",
        speech=RAW,
    )


def with_deflate(contender, configuration, *extra, **changes):
    return replace(contender, after=(*contender.after, *extra), configuration=configuration,
                   **changes)


HUB_URING = fanwire_hub("fanwire", "uring")
HUB_EPOLL = fanwire_hub("fanwire (epoll)", "epoll")
# By default a peer that takes nothing for 5 s is cut, and so is one that acknowledges nothing, that
# answers no ping, and, with bare payloads, one for which something would have to be left out.
# This one keeps stalled readers for good.
KEEPING = ("--send-stall-timeout-ms", "0", "--unacknowledged-timeout-ms", "0",
           "--ping-interval-ms", "0")
HUB_URING_KEEPING = replace(
    fanwire_hub("fanwire (keeps them)", "uring", *KEEPING),
    configuration=f"`fanwire serve --no-admin --backend uring {' '.join(KEEPING)}`, spoken to in "
    "`fanwire.v1.binary`",
    speech=("--dialect", "fanwire-binary"),
)
HUB_URING_DEFLATE = fanwire_hub("fanwire", "uring", "--deflate")
HUB_EPOLL_DEFLATE = fanwire_hub("fanwire (epoll)", "epoll", "--deflate")

FLOOR_FAN_OUT = replace(
    from_benches(
        "floor",
        "floor_fan_out",
        FLOOR,
        "bare io_uring loop: a published frame is unmasked and sent to all subscribers of its path in "
        "one batch, nothing else; `benches/src/bin/floor_fan_out.rs`",
    ),
    speech=RAW,
)

UWEBSOCKETS_HUB = Contender(
    name="uWebSockets",
    kind=PEER,
    make=lambda: build.build_uwebsockets("fan_out", zlib=True),
    configuration="native C++ on epoll, compiled with its own flags (`-O3 -flto -march=native`), no "
    "TLS; its own topics (`App::publish`), which cork by themselves; as its Broadcast example: at "
    "most 1 MiB unsent per subscriber, above which messages are left out for it; no idle "
    "timeout, no compression; `scripts/lib/peers/uwebsockets/fan_out.cpp`",
    versions=("libuwebsockets-sys 0.0.10 (carries the C++ sources)",),
    speech=RAW,
)
UWEBSOCKETS_HUB_SHARED = with_deflate(
    replace(UWEBSOCKETS_HUB, name="uWebSockets (shared)"),
    "as in fanout, with `SHARED_COMPRESSOR`, which its documentation advises for larger JSON: no "
    "context takeover, zlib at its default level, each message for each subscriber",
    "--compression", "shared",
)
UWEBSOCKETS_HUB_DEDICATED = with_deflate(
    replace(UWEBSOCKETS_HUB, name="uWebSockets (dedicated)"),
    "as in fanout, with `DEDICATED_COMPRESSOR_4KB`, which its documentation advises for smaller "
    "JSON: a window kept per subscriber",
    "--compression", "dedicated",
)
NODE_WS_HUB = Contender(
    name="Node ws",
    kind=PEER,
    make=lambda: build.build_node_ws("fan_out.js"),
    before=("node",),
    configuration="the broadcast loop of its README, one process, bufferutil, no compression, no "
    "limit on what is unsent (it offers none)",
    versions=("ws 8.23.0", "bufferutil 4.1.0"),
    speech=RAW,
)
NODE_WS_HUB_DEFLATE = with_deflate(
    NODE_WS_HUB,
    "as in fanout, with the permessage-deflate settings of its README: level 3, memLevel 7, windows "
    "of 1 KiB, no context takeover, 10 at a time; each message for each subscriber",
    "--deflate", "yes",
)
TOKIO_TUNGSTENITE_HUB = replace(
    from_benches(
        "tokio-tungstenite",
        "peer_tokio_tungstenite_fan_out",
        PEER,
        "current-thread tokio, a `tokio::sync::broadcast` of 1,024 messages per topic, a task per "
        "subscriber that feeds what is there and flushes once; a reader that falls behind that far "
        "has messages left out; read buffer of 4 KiB, mimalloc. It has no permessage-deflate",
        ("tokio-tungstenite", "tungstenite", "tokio"),
    ),
    speech=RAW,
)
NCHAN = Contender(
    name="nchan",
    kind=PEER,
    make=build.find_nginx,
    before=("taskset", "-c", "{cpu}"),
    after=("-p", "{folder}", "-c", "{folder}/nchan.conf"),
    configuration="Debian's nginx with its nchan module, one worker, memory store of 256 MiB, buffer "
    "of 100 messages, no compression; `scripts/lib/peers/nginx/nchan.conf`",
    versions=("debian:nginx", "debian:libnginx-mod-nchan"),
    file="nginx/nchan.conf",
    words=(("MODULES", str(build.NGINX_MODULES)), ("DEFLATE", "off")),
    announces=False,
    has_worker=True,
    speech=(*RAW, "--subscribe-path", "/sub/{topic}", "--publish-path", "/pub/{topic}"),
)
NCHAN_DEFLATE = with_deflate(
    NCHAN,
    "as in fanout, with `nchan_deflate_message_for_websocket`, zlib level 6: it compresses a "
    "message once for all subscribers",
    words=(("MODULES", str(build.NGINX_MODULES)), ("DEFLATE", "on")),
)
NATS = Contender(
    name="NATS",
    kind=PEER,
    make=build.build_nats,
    before=("taskset", "-c", "{cpu}"),
    after=("-c", "{folder}/nats.conf"),
    configuration="WebSocket listener without TLS or authentication, no compression, its own limits "
    "for slow readers (64 MiB unsent, 10 s for a write); it speaks its own protocol inside the "
    "messages; `scripts/lib/peers/nats/nats.conf`",
    versions=("nats-server 2.15.1",),
    file="nats/nats.conf",
    words=(("DEFLATE", "false"),),
    announces=False,
    speech=("--dialect", "nats"),
)
NATS_DEFLATE = with_deflate(
    NATS,
    "as in fanout, with `compression: true`: each write for each client by itself",
    words=(("DEFLATE", "true"),),
)

HUB_PEERS = (UWEBSOCKETS_HUB, TOKIO_TUNGSTENITE_HUB, NODE_WS_HUB, NCHAN, NATS)
# Those that compress a message for each subscriber by itself, and the one that does it once.
DEFLATE_EACH = (UWEBSOCKETS_HUB_SHARED, UWEBSOCKETS_HUB_DEDICATED, NODE_WS_HUB_DEFLATE, NATS_DEFLATE)
DEFLATE_ONCE = (NCHAN_DEFLATE,)
