"""The client against a server that does what a real one will not do on demand."""

import asyncio
import struct
import unittest

from support import ClientCase, within

import fanwire
from fanwire import Conflated, FanwireError, Fault, Gap, Lost, Message, Position, Resumed, Snapshot, StateMap, Subscribed


async def code_of(awaitable):
    """The code of the error that an awaitable raises."""
    try:
        await within(awaitable)
    except FanwireError as error:
        return error.code
    return None


class Subscribing(ClientCase):
    async def test_the_command_the_answers_and_messages_by_iteration(self):
        client = await self.open()
        self.assertEqual(self.opened["subprotocol"], "fanwire.v1.json")
        subscription = client.subscribe(["a.b", "c.>"], max_rate=50, history=3, snapshot=False, resume={"a.b": ("e0", 7)})
        command = await self.server.command()
        answer_id = command.pop("id")
        self.assertEqual(command, {
            "op": "subscribe", "topics": ["a.b", "c.>"], "resume": {"a.b": {"epoch": "e0", "seq": 7}}, "max_rate": 50, "history": 3, "snapshot": False})
        await self.server.send(
            {"op": "subscribed", "id": answer_id, "topic": "a.b", "kind": "events", "epoch": "e0", "seq": 8, "alias": 1, "recovered": True, "replay": 1},
            {"op": "subscribed", "id": answer_id, "pattern": "c.>"},
            {"op": "subscribed", "pattern": "c.>", "topic": "c.d", "kind": "events", "epoch": "e9", "seq": 2, "alias": 2},
            '{"topic":"a.b","seq":8,"data":{"x":[1,null,"é"]}}', '{"topic":"c.d","seq":3,"key":"k","data":"text"}',
            '{"topic":"c.d","seq":4,"data_base64":"AAEC"}', {"op": "some-day", "topic": "a.b"})
        await within(subscription.ready())
        async with subscription:
            seen = [await within(anext(subscription)) for _ in range(3)]
            self.assertEqual(seen, [
                Message("a.b", "e0", 8, {"x": [1, None, "é"]}), Message("c.d", "e9", 3, "text", "k"), Message("c.d", "e9", 4, b"\0\1\2")])
            leaving = asyncio.create_task(subscription.unsubscribe())
            unsubscribe = await self.server.command()
            self.assertEqual((unsubscribe["op"], unsubscribe["topics"]), ("unsubscribe", ["a.b", "c.>"]))
            for topic in unsubscribe["topics"]:
                await self.server.send({"op": "unsubscribed", "id": unsubscribe["id"], "topic": topic})
            await within(leaving)
            self.assertEqual([item async for item in subscription], [])

    async def test_unannounced_holes_and_duplicates_are_faults_and_announced_ones_are_not(self):
        client = await self.open()
        _subscription, items, _notice = await self.subscribed(client, "a")
        with self.assertLogs("fanwire", "WARNING"):
            await self.server.send(
                *({"topic": "a", "seq": seq, "data": seq} for seq in (1, 4, 4, 5)), {"op": "gap", "topic": "a", "from": 6, "to": 9, "cause": "slow"},
                {"topic": "a", "seq": 10, "data": 10}, {"op": "gap", "topic": "a", "from": 12, "to": 12, "cause": "rate"})
            seen = [await within(items.get()) for _ in range(9)]
        briefly = [(item.reason, item.start, item.end) if isinstance(item, Fault) else item.seq if isinstance(item, Message) else item for item in seen]
        self.assertEqual(briefly, [
            1, ("hole", 2, 3), 4, ("duplicate", 4, 4), 5, Gap("a", 6, 9, "slow"), 10, ("hole", 11, 11), Gap("a", 12, 12, "rate")])
        self.assertIn("messages 2 to 3 of a are missing", client.events["fault"].get_nowait().message)

    async def test_notices_in_their_places(self):
        client = await self.open()
        subscription = client.subscribe("a", notices=True)
        command = await self.server.command()
        await self.server.send(
            {"op": "subscribed", "id": command["id"], "topic": "a", "kind": "state", "epoch": "e", "seq": 9, "alias": 1, "snapshot": True},
            {"op": "snapshot", "topic": "a", "epoch": "e", "as_of": 9, "count": 1, "whole": False}, {"topic": "a", "seq": 8, "key": "k", "data": 1},
            {"op": "conflated", "topic": "a", "from": 10, "to": 12, "count": 1, "whole": True}, {"topic": "a", "seq": 11, "key": "k", "removed": True})
        self.assertEqual([await within(anext(subscription)) for _ in range(5)], [
            Subscribed("a", "e", 9, "state", 0), Snapshot("a", "e", 9, 1, False), Message("a", "e", 8, 1, "k"),
            Conflated("a", 10, 12, 1, True), Message("a", "e", 11, None, "k", removed=True)])

    async def test_refused_names_are_told_and_not_asked_for_again(self):
        client = await self.open()
        subscription = client.subscribe(["a", "b"])
        command = await self.server.command()
        await self.server.send(
            {"op": "error", "id": command["id"], "code": "too_many_topics", "topic": "b", "message": "the hub is full"},
            {"op": "subscribed", "id": command["id"], "topic": "a", "kind": "events", "epoch": "e", "seq": 0, "alias": 1})
        with self.assertRaises(FanwireError) as raised:
            await within(subscription.ready())
        self.assertEqual([each.topic for each in raised.exception.refused], ["b"])
        other = client.subscribe("c")
        command = await self.server.command()
        await self.server.send({"op": "error", "id": command["id"], "code": "too_many_subscriptions", "message": "no more"})
        self.assertEqual(await code_of(anext(other)), "too_many_subscriptions")
        await self.cut(client)
        self.assertEqual((await self.server.command())["topics"], ["a"])

    async def test_unsubscribing_and_configuring(self):
        client = await self.open()
        for wrong in ([], "a..b"):
            with self.assertRaises(FanwireError):
                client.subscribe(wrong)
        subscription, items, _notice = await self.subscribed(client, "a")
        with self.assertRaises(FanwireError):
            client.subscribe("a")
        configuring = asyncio.create_task(subscription.configure(max_rate=3))
        command = await self.server.command()
        self.assertEqual((command["op"], command["topics"], command["max_rate"]), ("configure", ["a"], 3))
        await self.server.send({"op": "configured", "id": command["id"], "topic": "a", "max_rate": 3})
        await within(configuring)
        await self.cut(client)
        again = await self.server.command()
        self.assertEqual(again["max_rate"], 3)
        await self.server.send({
            "op": "subscribed", "id": again["id"], "topic": "a", "kind": "events", "epoch": "e1", "seq": 0, "alias": 1, "recovered": True, "replay": 0})
        await within(items.get())
        leaving = asyncio.create_task(subscription.unsubscribe())
        command = await self.server.command()
        # Until the answer messages may come; they are nobody's, and no fault. After it they are one.
        await self.server.send(
            {"topic": "a", "seq": 1, "data": 1}, {"op": "unsubscribed", "id": command["id"], "topic": "a"}, {"topic": "a", "seq": 2, "data": 2})
        await within(leaving)
        self.assertIn("not subscribed", (await within(client.events["fault"].get())).message)
        _subscription, _items, notice = await self.subscribed(client, "a", {"seq": 77})
        self.assertEqual(notice, Subscribed("a", "e1", 77, "events", 0))

    async def test_a_name_and_a_pattern_that_cover_the_same_topic(self):
        client = await self.open()
        subscription, items, _notice = await self.subscribed(client, "a.b", {"seq": 5})
        others = asyncio.Queue()
        pattern = client.subscribe("a.>", on_message=others.put_nowait)
        command = await self.server.command()
        await self.server.send(
            {"op": "subscribed", "id": command["id"], "pattern": "a.>"}, {"topic": "a.b", "seq": 6, "data": 6},
            {"op": "subscribed", "pattern": "a.>", "topic": "a.b", "kind": "events", "epoch": "e1", "seq": 6, "alias": 1, "already": True},
            {"topic": "a.b", "seq": 7, "data": 7})
        await within(pattern.ready())
        for queue in (items, others):
            self.assertEqual([(await within(queue.get())).seq for _ in range(2)], [6, 7])
        leaving = asyncio.create_task(subscription.unsubscribe())
        command = await self.server.command()
        await self.server.send({"op": "unsubscribed", "id": command["id"], "topic": "a.b"}, {"topic": "a.b", "seq": 8, "data": 8})
        await within(leaving)
        self.assertEqual((await within(others.get())).seq, 8)
        self.assertEqual(pattern.positions(), {"a.b": Position("e1", 8)})

    async def test_a_program_that_takes_messages_slowly_stops_the_reading(self):
        client = await self.open(queue_max=10)
        subscription = client.subscribe("a")
        command = await self.server.command()
        await self.server.send(
            {"op": "subscribed", "id": command["id"], "topic": "a", "kind": "events", "epoch": "e", "seq": 0, "alias": 1},
            *({"topic": "a", "seq": seq, "data": seq} for seq in range(1, 301)))
        for seq in range(1, 301):
            self.assertEqual((await within(anext(subscription))).seq, seq)
            self.assertLessEqual(subscription.waiting, 10)

    async def test_a_fault_in_a_callback_is_not_the_connections(self):
        client = await self.open()
        reported = asyncio.Queue()
        asyncio.get_running_loop().set_exception_handler(lambda _loop, context: reported.put_nowait(context["exception"]))
        seen = asyncio.Queue()

        def take(message):
            seen.put_nowait(message.seq)
            raise ValueError("mine")
        client.subscribe("a", on_message=take)
        command = await self.server.command()
        await self.server.send(
            {"op": "subscribed", "id": command["id"], "topic": "a", "kind": "events", "epoch": "e", "seq": 0, "alias": 1},
            {"topic": "a", "seq": 1, "data": 1}, {"topic": "a", "seq": 2, "data": 2})
        self.assertEqual([await within(seen.get()) for _ in range(2)], [1, 2])
        self.assertEqual(str(await within(reported.get())), "mine")


class Reconnecting(ClientCase):
    async def test_a_connection_that_is_cut_off_resumes_every_topic(self):
        client = await self.open()
        _subscription, items, _notice = await self.subscribed(client, "a")
        client.subscribe("p.*", max_rate=5)
        command = await self.server.command()
        await self.server.send(
            {"op": "subscribed", "id": command["id"], "pattern": "p.*"},
            {"op": "subscribed", "pattern": "p.*", "topic": "p.x", "kind": "state", "epoch": "e2", "seq": 40, "alias": 2},
            {"op": "conflated", "topic": "p.x", "from": 41, "to": 60, "count": 3, "whole": True}, {"topic": "p.x", "seq": 50, "key": "k", "data": 1},
            *({"topic": "a", "seq": seq, "data": seq} for seq in (1, 2, 3)))
        self.assertEqual([(await within(items.get())).seq for _ in range(3)], [1, 2, 3])
        await self.server.do({"do": "abort"})
        await self.server.expect("closed")
        closed = await within(client.events["close"].get())
        self.assertEqual((closed.delay_s, closed.error, client.is_open), (0.125, None, False))
        self.assertEqual(await code_of(client.publish("a", 1)), "not_connected")
        self.assertEqual(await self.time.end_sleep(), 0.125)
        await self.server.expect("open")
        first, second = await self.server.command(), await self.server.command()
        self.assertEqual((first["topics"], first["resume"]), (["a"], {"a": {"epoch": "e1", "seq": 3}}))
        # Within a merged batch the position is the last message of it that came.
        self.assertEqual((second["topics"], second["resume"], second["max_rate"]), (["p.*"], {"p.x": {"epoch": "e2", "seq": 50}}, 5))
        await self.server.send(
            {"op": "subscribed", "id": first["id"], "topic": "a", "kind": "events", "epoch": "e1", "seq": 5, "alias": 7, "recovered": True, "replay": 2},
            *({"topic": "a", "seq": seq, "data": seq} for seq in (4, 5, 6)))
        self.assertEqual(await within(items.get()), Resumed("a", "e1", 5, "events", 2))
        self.assertEqual([(await within(items.get())).seq for _ in range(3)], [4, 5, 6])

    async def test_not_recovered_is_told_with_its_cause_and_a_state_starts_over(self):
        client = await self.open()
        state = StateMap("s")
        subscription = client.subscribe("s", notices=True)
        command = await self.server.command()
        await self.server.send(
            {"op": "subscribed", "id": command["id"], "topic": "s", "kind": "state", "epoch": "e1", "seq": 9, "alias": 1, "snapshot": True},
            {"op": "snapshot", "topic": "s", "epoch": "e1", "as_of": 9, "count": 2, "whole": True}, {"topic": "s", "seq": 4, "key": "a", "data": 1},
            {"topic": "s", "seq": 9, "key": "b", "data": 2})
        while not state.whole:
            state.apply(await within(anext(subscription)))
        self.assertEqual((state.seq, dict(state)), (9, {"a": 1, "b": 2}))
        await self.server.do({"do": "close", "code": 1001})
        await self.server.expect("closed")
        await self.time.end_sleep()
        await self.server.expect("open")
        command = await self.server.command()
        self.assertEqual(command["resume"], {"s": {"epoch": "e1", "seq": 9}})
        await self.server.send(
            {"op": "subscribed", "id": command["id"], "topic": "s", "kind": "state", "epoch": "e2", "seq": 1, "alias": 1, "recovered": False,
             "code": "epoch_changed", "snapshot": True},
            {"op": "snapshot", "topic": "s", "epoch": "e2", "as_of": 1, "count": 1, "whole": True}, {"topic": "s", "seq": 1, "key": "c", "data": 3})
        lost = await within(anext(subscription))
        self.assertEqual(lost, Lost("s", "e2", 1, "state", 0, "epoch_changed", Position("e1", 9)))
        state.apply(lost)
        self.assertFalse(state.whole)
        while not state.whole:
            state.apply(await within(anext(subscription)))
        self.assertEqual((state.epoch, dict(state)), ("e2", {"c": 3}))

    async def test_cut_off_before_the_snapshot_has_begun_there_is_nothing_to_resume(self):
        client = await self.open()
        await self.subscribed(client, "s", {"kind": "state", "seq": 9, "snapshot": True})
        await self.cut(client)
        self.assertNotIn("resume", await self.server.command())

    async def test_a_server_that_resumes_from_another_place_than_asked_is_a_fault(self):
        client = await self.open()
        _subscription, items, _notice = await self.subscribed(client, "a", {"seq": 5})
        await self.cut(client)
        command = await self.server.command()
        await self.server.send({
            "op": "subscribed", "id": command["id"], "topic": "a", "kind": "events", "epoch": "e1", "seq": 9, "alias": 1, "recovered": True, "replay": 2})
        fault = await within(items.get())
        self.assertEqual((fault.reason, fault.start, fault.end), ("hole", 6, 7))

    async def test_back_off_by_the_clock(self):
        for _ in range(9):
            await self.server.do({"do": "refuse", "status": 500})
        client = self.make()
        opening = asyncio.create_task(client.open())
        delays = []
        for _ in range(9):
            await self.server.expect("refused")
            delays.append(await self.time.end_sleep())
        self.assertEqual(delays, [0.125, 0.25, 0.5, 1, 2, 4, 8, 15, 15])
        await self.server.expect("open")
        await within(opening)
        # A connection that lasts makes the next failure a first one; one that does not, does not.
        await self.server.do({"do": "abort"})
        await self.server.expect("closed")
        self.assertEqual(await self.time.end_sleep(), 15)
        await self.server.expect("open")
        self.assertEqual([await within(client.events["open"].get()) for _ in range(2)], [9, 10])
        self.time.now_s += 10
        await self.server.do({"do": "abort"})
        await self.server.expect("closed")
        self.assertEqual(await self.time.end_sleep(), 0.125)
        await self.server.expect("open")

    async def test_a_refused_handshake_says_whether_to_come_back(self):
        await self.server.do({"do": "refuse", "status": 503, "headers": {"Retry-After": "7"}})
        client = self.make()
        opening = asyncio.create_task(client.open())
        await self.server.expect("refused")
        self.assertEqual(await self.time.end_sleep(), 7.125)
        await self.server.expect("open")
        await within(opening)
        await self.server.do({"do": "refuse", "status": 403})
        other = self.make()
        subscription = other.subscribe("a")
        self.assertEqual(await code_of(other.open()), "handshake_refused")
        self.assertEqual(await code_of(anext(subscription)), "handshake_refused")
        with self.assertRaises(FanwireError):
            other.subscribe("b")

    async def test_the_last_of_attempts_max_failures_ends_it(self):
        for _ in range(2):
            await self.server.do({"do": "refuse", "status": 503})
        client = self.make(attempts_max=2)
        opening = asyncio.create_task(client.open())
        await self.time.end_sleep()
        self.assertEqual(await code_of(opening), "given_up")

    async def test_1008_ends_it_unless_told_otherwise_and_1013_waits_longer(self):
        client = await self.open()
        subscription = client.subscribe("a")
        await self.server.command()
        iterating = asyncio.create_task(anext(subscription))
        await self.server.do({"do": "close", "code": 1008, "reason": "too many errors"})
        await self.server.expect("closed")
        self.assertEqual(await code_of(iterating), "policy_violation")
        self.assertEqual(await code_of(subscription.ready()), "policy_violation")
        self.assertEqual((await within(client.events["close"].get())).code, 1008)
        stubborn = await self.open(retry_policy_violation=True)
        await self.server.do({"do": "close", "code": 1008})
        await self.server.expect("closed")
        self.assertEqual(await self.time.end_sleep(), 0.125)
        await self.server.expect("open")
        await self.server.do({"do": "close", "code": 1013})
        await self.server.expect("closed")
        await within(stubborn.events["close"].get())
        self.assertEqual((await within(stubborn.events["close"].get())).delay_s, 2.0)

    async def test_a_server_that_speaks_something_else_is_left_at_once(self):
        await self.server.do({"do": "choose", "subprotocol": None})
        client = self.make()
        self.assertEqual(await code_of(client.open()), "bad_subprotocol")

    async def test_options_and_addresses_that_cannot_work(self):
        with self.assertRaises(FanwireError):
            fanwire.Client("ws://x", protocol="xml")
        self.assertEqual(await code_of(fanwire.Client("not a url").open()), "bad_url")


class Publishing(ClientCase):
    async def test_acknowledged_refused_unanswered_cut_off(self):
        client = await self.open()
        publishing = asyncio.create_task(client.publish("a", {"price": "1"}, key="k"))
        command = await self.server.command()
        answer_id = command.pop("id")
        self.assertEqual(command, {"op": "publish", "topic": "a", "key": "k", "data": {"price": "1"}})
        await self.server.send({"op": "published", "id": answer_id, "topic": "a", "epoch": "e", "seq": 3})
        self.assertEqual(await within(publishing), ("a", "e", 3))

        publishing = asyncio.create_task(client.publish("a", key="k", remove=True))
        command = await self.server.command()
        self.assertEqual((command["remove"], "data" in command), (True, False))
        await self.server.send({"op": "error", "id": command["id"], "code": "busy", "topic": "a", "message": "try again later"})
        self.assertEqual(await code_of(publishing), "busy")

        await client.publish("a", 1, ack=False)
        self.assertEqual(await self.server.command(), {"op": "publish", "topic": "a", "data": 1})
        await self.server.send({"op": "error", "code": "forbidden", "message": "no"})
        self.assertEqual((await within(client.events["error"].get())).code, "forbidden")

        self.assertEqual(await code_of(client.publish("a.*", 1)), "bad_topic")
        for data in (b"\0", float("nan"), object()):
            self.assertEqual(await code_of(client.publish("a", data)), "bad_option")

        pinging = asyncio.create_task(client.ping())
        command = await self.server.command()
        self.time.now_s += 0.5
        await self.server.send({"op": "pong", "id": command["id"]})
        self.assertEqual(await within(pinging), 0.5)

        cut = asyncio.create_task(client.publish("a", 1))
        await self.server.command()
        await self.server.do({"do": "abort"})
        self.assertEqual(await code_of(cut), "connection_lost")

    async def test_an_answer_that_does_not_come(self):
        client = await self.open(answer_timeout_s=0.001)
        self.assertEqual(await code_of(client.publish("a", 1)), "timeout")

    async def test_the_binary_protocol_byte_for_byte(self):
        client = await self.open(protocol="binary")
        self.assertEqual(self.opened["subprotocol"], "fanwire.v1.binary")
        _subscription, items, _notice = await self.subscribed(client, "tö", {"alias": 0x01020304})
        await self.server.send(*(bytes.fromhex(each) for each in (
            "01 04 0000 04030201 0100000000000000 7b2261223a317d", "01 09 0100 04030201 0200000000000000 6b c3a9",
            "01 00 0000 04030201 0300000000000000 ff00", "01 02 0100 04030201 0400000000000000 6b")))
        self.assertEqual([await within(items.get()) for _ in range(4)], [
            Message("tö", "e1", 1, {"a": 1}), Message("tö", "e1", 2, "é", "k", event=True), Message("tö", "e1", 3, b"\xff\0"),
            Message("tö", "e1", 4, None, "k", removed=True)])
        publishes = [
            ({"data": {"a": 1}}, "02 14 0000 0300 0000 {} 74c3b6 7b2261223a317d"),
            ({"data": "é", "text": True, "key": "ky", "event": True}, "02 19 0200 0300 0000 {} 74c3b6 6b79 c3a9"),
            ({"data": b"\1\2", "key": "k"}, "02 10 0100 0300 0000 {} 74c3b6 6b 0102"),
            ({"remove": True, "key": "k"}, "02 12 0100 0300 0000 {} 74c3b6 6b"),
            ({"data": 7, "ack": False}, "02 04 0000 0300 0000 {} 74c3b6 37")]
        for options, expected in publishes:
            publishing = asyncio.create_task(client.publish("tö", **options))
            received = bytes.fromhex((await self.server.expect("received"))["hex"])
            self.assertEqual(received, bytes.fromhex(expected.format(received[8:16].hex())))
            if options.get("ack", True):
                answer_id, = struct.unpack("<Q", received[8:16])
                await self.server.send({"op": "published", "id": answer_id, "topic": "tö", "epoch": "e1", "seq": 9})
                self.assertEqual((await within(publishing)).seq, 9)
            await within(publishing)


class Malformed(ClientCase):
    async def test_each_is_a_fault_and_the_connection_lives_on(self):
        client = await self.open()
        _subscription, items, _notice = await self.subscribed(client, "a")
        wrong = [
            "", "{", "null", "[]", "7", '"x"', "{}", '{"topic":7,"seq":1}', '{"topic":"a"}', '{"topic":"a","seq":-1,"data":1}',
            '{"topic":"a","seq":1.5}', '{"topic":"a","seq":"1"}', '{"topic":"a","seq":true}', '{"topic":"nobody","seq":1,"data":1}',
            '{"topic":"a","seq":1,"data_base64":"*"}', '{"topic":"a","seq":1,"key":3}', '{"op":"gap","topic":"a","from":1}',
            '{"op":"gap","topic":"b","from":1,"to":2}', '{"op":"conflated","topic":"a","from":1,"to":2}',
            '{"op":"snapshot","topic":"a","epoch":"e1","as_of":"x","count":1}', '{"op":"subscribed","topic":"a","epoch":"e1"}', '{"op":"subscribed"}',
            "[" * 100_000]
        binary = ["", "01", "0104000001000000", "02040000010000000100000000000000", "01040000630000000100000000000000",
                  "0104ffff010000000100000000000000", "010400000100000001000000000000007b", "01080000010000000100000000000000ff"]
        with self.assertLogs("fanwire", "WARNING"):
            for message in [*wrong, *map(bytes.fromhex, binary)]:
                await self.server.send(message)
                fault = await within(client.events["fault"].get())
                self.assertEqual(fault.reason, "malformed", message[:50])
        await self.server.send({"topic": "a", "seq": 1, "data": "fine"})
        self.assertEqual((await within(items.get())).data, "fine")


if __name__ == "__main__":
    unittest.main()
