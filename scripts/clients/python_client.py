"""Python `websockets` against an echo server.

Usage: python_client.py URL plain|deflate SERVER_PID
The last case stops the server with SIGTERM. Prints one JSON object per case and `{"done": COUNT}` at the end.
"""

import asyncio
import json
import os
import signal
import sys

from websockets.asyncio.client import connect
from websockets.exceptions import ConnectionClosed

TIMEOUT_S = 20
count = 0


def record(name, is_ok, detail=""):
    """Prints the outcome of one case."""
    global count
    count += 1
    print(json.dumps({"case": f"websockets: {name}", "ok": bool(is_ok), "detail": str(detail)[:300]}), flush=True)


async def case(name, coroutine):
    """Runs one case; what it returns is a (seen, expected) pair."""
    try:
        seen, expected = await asyncio.wait_for(coroutine, TIMEOUT_S)
        record(name, seen == expected, "" if seen == expected else f"expected {expected!r}, saw {seen!r}"[:300])
    except Exception as error:
        record(name, False, f"{type(error).__name__}: {error}")


async def echo(url, message, **options):
    async with connect(url, max_size=None, **options) as socket:
        await socket.send(message)
        return await socket.recv(), message


async def fragments(url, parts):
    async with connect(url) as socket:
        await socket.send(iter(parts))
        return await socket.recv(), type(parts[0])().join(parts)


async def order(url):
    sent = [f"message {index}" for index in range(500)]
    async with connect(url) as socket:
        for message in sent:
            await socket.send(message)
        return [await socket.recv() for _ in sent], sent


async def ping(url):
    async with connect(url) as socket:
        latency = await (await socket.ping(b"are you there"))
        return latency >= 0, True


async def close(url, code, reason):
    async with connect(url) as socket:
        await socket.send("before")
        await socket.recv()
        await socket.close(code, reason)
        # RFC 6455 5.5.1: the code is echoed; the reason need not be.
        return socket.close_code, code


async def extension(url, is_wanted):
    async with connect(url) as socket:
        return [found.name for found in socket.protocol.extensions], ["permessage-deflate"] if is_wanted else []


async def many(url):
    sockets = await asyncio.gather(*(connect(url) for _ in range(100)))
    try:
        async def one(index, socket):
            await socket.send(str(index))
            return await socket.recv()
        seen = await asyncio.gather(*(one(index, socket) for index, socket in enumerate(sockets)))
        return seen, [str(index) for index in range(100)]
    finally:
        await asyncio.gather(*(socket.close() for socket in sockets))


async def unknown_subprotocol(url):
    async with connect(url, subprotocols=["no.such.protocol"]) as socket:
        await socket.send("x")
        return (await socket.recv(), socket.subprotocol), ("x", None)


async def drain(url, process):
    async with connect(url) as socket:
        await socket.send("before the drain")
        await socket.recv()
        os.kill(process, signal.SIGTERM)
        try:
            await socket.recv()
        except ConnectionClosed as closed:
            return closed.rcvd.code, 1001
        return "a message", 1001


async def main(url, mode, process):
    is_deflate = mode == "deflate"
    await case(f"{mode}: extension negotiation", extension(url, is_deflate))
    for size in (0, 1, 125, 126, 65535, 65536, 1 << 20):
        await case(f"{mode}: text of {size}", echo(url, "a" * size))
        await case(f"{mode}: binary of {size}", echo(url, os.urandom(size)))
    await case(f"{mode}: text beyond ASCII", echo(url, "héllo € \U0001f600" * 100))
    await case(f"{mode}: fragmented text", fragments(url, ["frag", "men", "", "ted €"]))
    await case(f"{mode}: fragmented binary", fragments(url, [b"\0" * 1000, b"", b"\1" * 1000]))
    await case(f"{mode}: order of 500 messages", order(url))
    await case(f"{mode}: ping", ping(url))
    for code in (1000, 1001, 1008, 1011, 3000, 4321):
        await case(f"{mode}: close code {code}", close(url, code, "so long"))
    await case(f"{mode}: 100 connections", many(url))
    await case(f"{mode}: an unknown subprotocol is not accepted", unknown_subprotocol(url))
    await case(f"{mode}: compression declined by the client", echo(url, "plain " * 200, compression=None))
    await case(f"{mode}: drain", drain(url, process))
    print(json.dumps({"done": count}), flush=True)


asyncio.run(main(sys.argv[1], sys.argv[2], int(sys.argv[3])))
