"""What the tests share: the scripted server, a sleep that tests end, mailboxes for what a client tells."""

import asyncio
import sys
import unittest
from pathlib import Path

CLIENTS = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(CLIENTS / "python" / "src"), str(CLIENTS / "testing")]

from scripted_server import ScriptedServer  # noqa: E402

import fanwire  # noqa: E402

WAIT_S = 20


class FakeTime:
    """A clock that stands still, and sleeps that last until the test ends them."""

    def __init__(self):
        self.now_s = 0.0
        self.sleeps = asyncio.Queue()

    def now(self):
        return self.now_s

    async def sleep(self, seconds):
        ended = asyncio.get_running_loop().create_future()
        self.sleeps.put_nowait((seconds, ended))
        await ended
        self.now_s += seconds

    async def end_sleep(self):
        """Waits for the next sleep, ends it and returns its length."""
        seconds, ended = await within(self.sleeps.get())
        ended.set_result(None)
        return seconds


async def within(awaitable):
    """Fails loudly instead of waiting for ever."""
    return await asyncio.wait_for(awaitable, WAIT_S)


class ClientCase(unittest.IsolatedAsyncioTestCase):
    """A test with a scripted server and clients that are closed at its end."""

    async def asyncSetUp(self):
        self.server = await self.enterAsyncContext(ScriptedServer())
        self.time = FakeTime()

    def make(self, **options):
        """A client with the test's time and every event in a queue."""
        options = {"sleep": self.time.sleep, "now": self.time.now, "random": lambda: 0.5, "heartbeat_s": None,
                   "connect_options": {"proxy": None}, **options}
        client = fanwire.Client(self.server.url, **options)
        client.events = {}
        for name in ("open", "close", "notice", "fault", "error"):
            client.events[name] = asyncio.Queue()
            client.on(name, client.events[name].put_nowait)
        self.addAsyncCleanup(client.close)
        return client

    async def open(self, **options):
        """A connected client."""
        client = self.make(**options)
        opening = asyncio.create_task(client.open())
        self.opened = await self.server.expect("open")
        await within(opening)
        return client

    async def subscribed(self, client, topic, answer=None, **options):
        """Subscribes to one events topic and answers for it; returns the subscription, a queue of its items, the first notice."""
        items = asyncio.Queue()
        subscription = client.subscribe(topic, on_message=items.put_nowait, on_notice=items.put_nowait, **options)
        command = await self.server.command()
        await self.server.send({
            "op": "subscribed", "id": command["id"], "topic": topic, "kind": "events", "epoch": "e1", "seq": 0, "alias": 1, **(answer or {})})
        await within(subscription.ready())
        return subscription, items, await within(items.get())

    async def cut(self, client):
        """Cuts the connection and lets the client come back."""
        await self.server.do({"do": "abort"})
        await self.server.expect("closed")
        await self.time.end_sleep()
        await self.server.expect("open")
