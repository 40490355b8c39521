"""The client against a real hub, whose address is in FANWIRE_URL. scripts/test runs it, with topics of these kinds:
book.> holds state, short.> holds events with a log of eight messages.
"""

import asyncio
import os
import random
import sys
import unittest
from pathlib import Path
from urllib.parse import urlsplit

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "src"))

import fanwire  # noqa: E402

URL = os.environ["FANWIRE_URL"]
WAIT_S = 20
RUN = random.SystemRandom().randrange(2**31)
SEED = int(os.environ.get("FANWIRE_SEED") or random.SystemRandom().randrange(2**31))


async def within(awaitable):
    """Fails loudly instead of waiting for ever."""
    return await asyncio.wait_for(awaitable, WAIT_S)


class Proxy:
    """Between client and hub: connections through it can be cut."""

    async def __aenter__(self):
        self._writers = set()
        self._tasks = set()
        self._server = await asyncio.start_server(self._accept, "127.0.0.1", 0)
        self.url = f"ws://127.0.0.1:{self._server.sockets[0].getsockname()[1]}/"
        return self

    async def __aexit__(self, *_exception):
        self._server.close()
        self.cut()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _accept(self, reader, writer):
        hub = urlsplit(URL)
        self._tasks.add(asyncio.current_task())
        self._writers.add(writer)
        other_reader, other_writer = await asyncio.open_connection(hub.hostname, hub.port)
        self._writers.add(other_writer)
        await asyncio.gather(self._pump(reader, other_writer), self._pump(other_reader, writer))

    async def _pump(self, reader, writer):
        try:
            while data := await reader.read(65536):
                writer.write(data)
                await writer.drain()
        except OSError:
            pass  # It was cut.
        writer.close()

    def cut(self):
        """Resets every connection."""
        for writer in self._writers:
            writer.transport.abort()
        self._writers.clear()


class HubCase(unittest.IsolatedAsyncioTestCase):
    """A fault of the server fails every test."""

    async def client(self, url=URL, **options):
        client = fanwire.Client(url, backoff_base_s=0.001, backoff_max_s=0.05, connect_options={"proxy": None}, **options)
        self.faults = getattr(self, "faults", [])
        client.on("fault", self.faults.append)
        self.addAsyncCleanup(client.close)
        return await within(client.open())

    async def asyncTearDown(self):
        self.assertEqual(getattr(self, "faults", []), [])

    async def assert_code(self, code, awaitable):
        with self.assertRaises(fanwire.FanwireError) as raised:
            await within(awaitable)
        self.assertEqual(raised.exception.code, code)


class Common:
    """Every test of both subprotocols."""

    protocol = ""

    def name(self, text):
        return f"{text}.py.{self.protocol}.{RUN}"

    async def test_messages_arrive_in_order_and_are_acknowledged(self):
        topic = self.name("events")
        publisher, subscriber = await self.client(protocol=self.protocol), await self.client(protocol=self.protocol)
        subscription = await within(subscriber.subscribe(topic).ready())
        acks = await asyncio.gather(*(publisher.publish(topic, {"index": index, "text": "é€"}) for index in range(300)))
        self.assertEqual([ack.seq for ack in acks], list(range(1, 301)))
        messages = [await within(anext(subscription)) for _ in acks]
        self.assertEqual(messages[-1], fanwire.Message(topic, acks[0].epoch, 300, {"index": 299, "text": "é€"}))
        self.assertEqual([message.data["index"] for message in messages], list(range(300)))
        self.assertEqual(subscription.positions(), {topic: (acks[0].epoch, 300)})
        self.assertGreater(await subscriber.ping(), 0)

    async def test_patterns_history_unsubscribing(self):
        root = self.name("tree")
        client = await self.client(protocol=self.protocol)
        await client.publish(f"{root}.old", "old")
        also = []
        async with client.subscribe([f"{root}.>"], history=5) as subscription:
            messages = [await within(anext(subscription))]
            exact = client.subscribe(f"{root}.old", on_message=lambda message: also.append(message.data))
            await within(asyncio.gather(subscription.ready(), exact.ready()))
            await client.publish(f"{root}.new", "new")
            await client.publish(f"{root}.old", "again")
            messages += [await within(anext(subscription)) for _ in range(2)]
            self.assertEqual(sorted((each.topic, each.data) for each in messages), sorted([
                (f"{root}.old", "old"), (f"{root}.new", "new"), (f"{root}.old", "again")]))
        await client.publish(f"{root}.old", "end")
        await client.ping()
        self.assertEqual(also[-1], "end")

    async def test_a_state_topic_as_a_mapping(self):
        topic = self.name("book")
        publisher, subscriber = await self.client(protocol=self.protocol), await self.client(protocol=self.protocol)
        await publisher.publish(topic, 1, key="a")
        await publisher.publish(topic, 2, key="b")
        state = fanwire.StateMap(topic)
        subscription = subscriber.subscribe(topic, notices=True)
        while not state.whole:
            state.apply(await within(anext(subscription)))
        self.assertEqual((dict(state), state.seq), ({"a": 1, "b": 2}, 2))
        await publisher.publish(topic, "event", key="a", event=True)
        await publisher.publish(topic, key="a", remove=True)
        last = await publisher.publish(topic, 3, key="c")
        while state.seq < last.seq:
            state.apply(await within(anext(subscription)))
        self.assertEqual((dict(state), state.whole), ({"b": 2, "c": 3}, True))

    async def test_errors_have_the_servers_codes(self):
        client = await self.client(protocol=self.protocol)
        await self.assert_code("bad_key", client.publish(self.name("book"), 1))
        await self.assert_code("too_big", client.publish(self.name("events"), "x" * 70_000))
        await self.assert_code("bad_request", client.publish(self.name("events"), key="k", remove=True))
        told = asyncio.Queue()
        client.on("error", told.put_nowait)
        await client.publish(self.name("book"), 1, ack=False)
        self.assertEqual((await within(told.get())).code, "bad_key")

    async def test_cut_off_again_and_again_nothing_is_missed(self):
        print(f"replay with FANWIRE_SEED={SEED}")
        chooser = random.Random(SEED)
        events, matched, book = self.name("cut"), self.name("cutmatch"), self.name("book.cut")
        proxy = await self.enterAsyncContext(Proxy())
        publisher, subscriber = await self.client(protocol=self.protocol), await self.client(proxy.url, protocol=self.protocol)
        seen, notices, state, expected = {events: [], matched: []}, [], fanwire.StateMap(book), {}
        subscription = subscriber.subscribe([events, f"cutmatch.py.{self.protocol}.*", book], notices=True)
        await within(subscription.ready())
        begun = asyncio.Event()
        subscriber.on("notice", lambda notice: notice.topic == matched and begun.set())
        for index in range(200):
            if index == 1:
                # A topic that is created while nobody is connected has no position to resume from.
                await within(begun.wait())
            await asyncio.gather(publisher.publish(events, index), publisher.publish(matched, index))
            key = f"k{chooser.randrange(13)}"
            last = await publisher.publish(book, index, key=key)
            expected[key] = index
            if chooser.randrange(12) == 0:
                back = asyncio.Event()
                stop = subscriber.on("open", lambda _attempt, back=back: back.set())
                proxy.cut()
                if chooser.randrange(2):
                    await within(back.wait())
                stop()
        while len(seen[events]) < 200 or len(seen[matched]) < 200 or state.seq < last.seq or not state.whole:
            item = await within(anext(subscription))
            state.apply(item)
            if not isinstance(item, fanwire.Message):
                notices.append(type(item))
            elif item.topic != book:
                seen[item.topic].append(item.data)
        self.assertEqual(seen, {events: list(range(200)), matched: list(range(200))})
        self.assertEqual(dict(state), expected)
        self.assertIn(fanwire.Resumed, notices)
        self.assertNotIn(fanwire.Lost, notices)

    async def test_what_cannot_be_resumed_is_told(self):
        topic = self.name("lost")
        client = await self.client(protocol=self.protocol)
        epoch = (await client.publish(topic, 1)).epoch
        for position, code in ((fanwire.Position("0123456789abcdef", 1), "epoch_changed"), (fanwire.Position(epoch, 9), "resume_from_future")):
            async with client.subscribe(topic, resume={topic: position}, notices=True) as subscription:
                notice = await within(anext(subscription))
                self.assertEqual(notice, fanwire.Lost(topic, epoch, 1, "events", 0, code, position))

    async def test_a_program_that_takes_messages_too_slowly_is_told_what_it_misses(self):
        topic = self.name("short")
        publisher, subscriber = await self.client(protocol=self.protocol), await self.client(protocol=self.protocol, queue_max=20)
        subscription = await within(subscriber.subscribe(topic, notices=True).ready())
        for _ in range(600):
            await publisher.publish(topic, "x" * 30_000)
        position, gaps = 0, []
        while position < 600:
            item = await within(anext(subscription))
            if isinstance(item, fanwire.Gap):
                gaps.append(item.cause)
                position = item.end
            elif isinstance(item, fanwire.Message):
                position = item.seq
            self.assertLessEqual(subscription.waiting, 20)
        self.assertEqual(set(gaps), {"slow"})

    async def test_whoever_makes_nothing_but_mistakes_is_closed_and_does_not_come_back(self):
        client = await self.client(protocol=self.protocol)
        closed = asyncio.Queue()
        client.on("close", closed.put_nowait)
        try:
            for _ in range(300):
                await client.publish(self.name("book"), 1, ack=False)
        except fanwire.FanwireError:
            pass  # It is closed already.
        end = await within(closed.get())
        self.assertEqual((end.code, end.delay_s, end.error.code), (1008, None, "policy_violation"))


class Json(Common, HubCase):
    protocol = "json"


class Binary(Common, HubCase):
    protocol = "binary"

    async def test_bytes_and_bare_text_arrive_in_both(self):
        topic = self.name("bytes")
        clients = [await self.client(protocol=protocol) for protocol in ("binary", "json")]
        subscriptions = [await within(client.subscribe(topic).ready()) for client in clients]
        await clients[0].publish(topic, b"\0\xff\7", key="k")
        await clients[0].publish(topic, 'bare "text"', text=True)
        await clients[0].publish(topic, ["json"])
        for subscription in subscriptions:
            messages = [await within(anext(subscription)) for _ in range(3)]
            self.assertEqual([(each.data, each.key) for each in messages], [(b"\0\xff\7", "k"), ('bare "text"', None), (["json"], None)])

    async def test_max_rate_is_changed_at_once_and_what_it_leaves_out_is_told(self):
        topic = self.name("rate")
        publisher, subscriber = await self.client(), await self.client()
        subscription = await within(subscriber.subscribe(topic, max_rate=2, notices=True).ready())
        for index in range(100):
            await publisher.publish(topic, index)
        while not isinstance(item := await within(anext(subscription)), fanwire.Gap):
            continue
        self.assertEqual(item.cause, "rate")
        await within(subscription.configure(max_rate=0))
        for index in range(50):
            await publisher.publish(topic, index)
        while getattr(item, "seq", 0) != 101:
            item = await within(anext(subscription))
        self.assertEqual([(await within(anext(subscription))).seq for _ in range(49)], list(range(102, 151)))


if __name__ == "__main__":
    unittest.main()
