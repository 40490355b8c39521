"""A server that does only what a test tells it to, right or wrong: what a real hub will not do on demand.

In a Python test: `async with ScriptedServer() as server`. From another language: run this file, write one JSON object per
line to its standard input, read one per line from its output.

Tells: `{"is":"listening","url":…}`, `refused`, `open` with `subprotocol`, `received` with `text` or `hex`, `closed` with `code`.
Takes: `{"do":"send","text":…}` or `"hex"`, `{"do":"close","code":…,"reason":…}`, `{"do":"abort"}`,
`{"do":"refuse","status":503,"headers":{…}}` for one coming handshake, `{"do":"choose","subprotocol":null}` for all of them
until `{"do":"choose"}`.
It talks to the newest connection. It ends with its standard input.
"""

import asyncio
import json
import sys

from websockets.asyncio.server import serve
from websockets.exceptions import ConnectionClosed

WAIT_S = 20


class ScriptedServer:
    """Listens on a free port of loopback and reports what happens in a queue."""

    def __init__(self):
        self.reports = asyncio.Queue()
        self.url = None
        self._connection = None
        self._refusals = []
        self._choose = None

    async def __aenter__(self):
        self._server = await serve(
            self._converse, "127.0.0.1", 0, process_request=self._process, select_subprotocol=self._select,
            compression=None, ping_interval=None, close_timeout=2)
        self.url = f"ws://127.0.0.1:{self._server.sockets[0].getsockname()[1]}/"
        return self

    async def __aexit__(self, *_exception):
        self._server.close()
        await self._server.wait_closed()

    def _process(self, connection, _request):
        if not self._refusals:
            return None
        status, headers = self._refusals.pop(0)
        response = connection.respond(status, "as scripted\n")
        for name, value in headers.items():
            response.headers[name] = value
        self.reports.put_nowait({"is": "refused", "status": status})
        return response

    def _select(self, _connection, offered):
        if self._choose is not None:
            return self._choose[0]
        return offered[0] if offered else None

    async def _converse(self, connection):
        self._connection = connection
        self.reports.put_nowait({"is": "open", "subprotocol": connection.subprotocol, "path": connection.request.path})
        try:
            async for message in connection:
                content = {"text": message} if isinstance(message, str) else {"hex": message.hex()}
                self.reports.put_nowait({"is": "received", **content})
        except ConnectionClosed:
            pass  # Reported below, however it ended.
        self.reports.put_nowait({"is": "closed", "code": connection.close_code})

    async def do(self, order):
        """Carries out one order."""
        what = order["do"]
        if what == "send":
            await self._connection.send(order["text"] if "text" in order else bytes.fromhex(order["hex"]))
        elif what == "close":
            await self._connection.close(order["code"], order.get("reason", ""))
        elif what == "abort":
            self._connection.transport.abort()
        elif what == "refuse":
            self._refusals.append((order["status"], order.get("headers", {})))
        elif what == "choose":
            self._choose = [order["subprotocol"]] if "subprotocol" in order else None
        else:
            raise ValueError(f"no such order: {what}")

    async def send(self, *messages):
        """Sends objects as JSON text, strings and bytes as they are."""
        for message in messages:
            await self._connection.send(message if isinstance(message, (str, bytes)) else json.dumps(message))

    async def expect(self, what):
        """The next report, which must be of this kind."""
        report = await asyncio.wait_for(self.reports.get(), WAIT_S)
        if report["is"] != what:
            raise AssertionError(f"expected {what}, the next report is {report}")
        return report

    async def command(self):
        """The next message of the client, parsed."""
        return json.loads((await self.expect("received"))["text"])


async def _main():
    loop = asyncio.get_running_loop()
    orders = asyncio.StreamReader(limit=1 << 24)
    await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(orders), sys.stdin)

    def tell(report):
        print(json.dumps(report), flush=True)

    async with ScriptedServer() as server:
        tell({"is": "listening", "url": server.url})

        async def report():
            while True:
                tell(await server.reports.get())
        reporting = asyncio.create_task(report())
        while line := await orders.readline():
            await server.do(json.loads(line))
        reporting.cancel()


if __name__ == "__main__":
    asyncio.run(_main())
