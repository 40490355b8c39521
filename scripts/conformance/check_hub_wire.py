"""The other two ways of speaking: `fanwire.v1.binary`, byte for byte, and `/raw/`. Sections 5 and 6 of docs/protocol.md."""

import json

from check_hub_peers import (
    ANSWER, EVENT, JSON, OTHER_TEXT, PAYLOAD_MAX_BYTES, REMOVED, HubServer, Peer, encode_message, encode_publish, expect, expect_error)
from report import Failure
from wire import BINARY, RSV1, TEXT, Client, upgrade_request

TOPICS = 4


def check_subprotocols(step, programs, backend, cores):
    """What the opening handshake chooses."""
    with HubServer(step, programs, backend=backend, cores=cores) as server:
        for offers, chosen in (
                ([], None), (["fanwire.v1.json"], "fanwire.v1.json"), (["fanwire.v1.binary"], "fanwire.v1.binary"),
                (["other", "fanwire.v1.binary"], "fanwire.v1.binary"), (["other"], 400), (["other, another"], 400), (["fanwire.v2.json"], 400)):
            step.check(f"offers {offers}", _offer, server, offers, chosen)
        for offers in (["fanwire.v1.json, fanwire.v1.binary"], ["fanwire.v1.binary", "fanwire.v1.json"]):
            step.check(f"both are offered: {offers}", _offer_both, server, offers)
    with HubServer(step, programs, backend=backend, cores=cores) as server:
        for number in range(TOPICS):
            step.check(f"binary, byte for byte ({number})", _binary, server, f"bin.{number}", f"book.bin{number}")
        step.check("wrong binary messages", _wrong_binary, step, server)
    with HubServer(step, programs, "--deflate", backend=backend, cores=cores) as server:
        for number in range(TOPICS):
            step.check(f"compressed once for all who agreed to it ({number})", _deflate, server, f"deflate.{number}")


def _deflate(server, topic):
    offer = ("Sec-WebSocket-Extensions: permessage-deflate; client_no_context_takeover",)
    data = [{"price": str(number), "size": "100"} for number in range(100)]
    with Peer(server.address) as plain, Peer(server.address, extra=offer) as first, Peer(server.address, extra=offer) as second, \
            Peer(server.address, None, f"/raw/{topic}", extra=offer) as raw:
        for peer in (first, second, raw):
            agreed = ",".join(peer.response.values("sec-websocket-extensions"))
            expect("permessage-deflate" in agreed and "server_no_context_takeover" in agreed, True, agreed)
        for peer in (plain, first, second):
            peer.follow(topic)
        plain.say(op="publish", topic=topic, data="small")
        for peer in (plain, first, second, raw):
            received = peer.receive_message()
            expect(received.reserved, 0, "a small message is not worth compressing")
        for _ in range(2):
            plain.say(op="publish", topic=topic, data=data)
            whole = plain.receive_message().payload
            one, other, bare = first.receive_message(), second.receive_message(), raw.receive_message()
            expect((one.reserved, one.inflated(), len(one.payload) < len(whole) // 3), (RSV1, whole, True))
            # The same bytes again and for everybody: no window is carried over.
            expect((other.reserved, other.payload == one.payload), (RSV1, True))
            expect((bare.reserved, json.loads(bare.inflated())), (RSV1, data))
        for peer in (plain, first, second, raw):
            peer.close()


def _offer(server, offers, chosen):
    with Client(server.address) as client:
        client.send(upgrade_request(server.address, extra=[f"Sec-WebSocket-Protocol: {offer}" for offer in offers]))
        response = client.response()
        if chosen == 400:
            expect(response.status, 400)
            expect(len(response.body) > 10, True, "a reason for a person")
        else:
            expect((response.status, response.values("sec-websocket-protocol")), (101, [chosen] if chosen else []))


def _offer_both(server, offers):
    with Client(server.address) as client:
        client.send(upgrade_request(server.address, extra=[f"Sec-WebSocket-Protocol: {offer}" for offer in offers]))
        response = client.response()
        expect((response.status, response.values("sec-websocket-protocol") in (["fanwire.v1.json"], ["fanwire.v1.binary"])), (101, True))


def _binary(server, topic, state):
    with Peer(server.address, "binary") as binary, Peer(server.address) as text:
        alias = binary.follow(topic)["alias"]
        text.follow(topic)
        # What is published, what a binary subscriber gets, what a JSON subscriber gets.
        cases = (
            (b'{"a" : 1}', JSON, b"", '"data":{"a" : 1}'), ("é€".encode(), OTHER_TEXT, "kö".encode(), '"key":"kö","data":"é€"'),
            (b"\x00\x01\x02", 0, b"", '"data_base64":"AAEC"'), (b"", 0, b"", '"data_base64":""'), (b"", OTHER_TEXT, b"", '"data":""'),
            (b'say "hi"\n\\', OTHER_TEXT, b"", '"data":"say \\"hi\\"\\n\\\\"'), (b" [1] ", JSON, b"", '"data": [1] '),
            (bytes(range(256)) * 8, 0, b"k" * 128, None))
        for seq, (payload, flags, key, members) in enumerate(cases, 1):
            wanted = 2**53 - 1 - seq
            binary.say_bytes(encode_publish(topic, payload, flags | ANSWER, key, wanted))
            heard = [binary.hear(), binary.hear()]
            answers = [each for each in heard if isinstance(each, dict)]
            expect([{**each, "epoch": ""} for each in answers], [{"op": "published", "id": wanted, "topic": topic, "epoch": "", "seq": seq}])
            expect([each for each in heard if isinstance(each, bytes)], [encode_message(alias, seq, payload, flags, key)])
            message = text.hear_text()
            if members is not None:
                expect(message, f'{{"topic":"{topic}","seq":{seq},{members}}}')
            else:
                expect((json.loads(message)["key"], len(json.loads(message)["data_base64"])), ("k" * 128, 2732))
        # Without the flag the id means nothing; and JSON text publishes as well.
        binary.say_bytes(encode_publish(topic, b"9", JSON, answer_id=5))
        expect(binary.hear(), encode_message(alias, 9, b"9", JSON))
        binary.sync()
        expect(text.hear()["seq"], 9)
        text.say(op="publish", topic=topic, data=[10])
        expect(text.hear()["seq"], 10)
        expect(binary.hear(), encode_message(alias, 10, b"[10]", JSON))
        binary.say(op="publish", topic=topic, data="t")
        expect(binary.hear(), encode_message(alias, 11, b'"t"', JSON))
        expect(text.hear(), {"topic": topic, "seq": 11, "data": "t"})
        _binary_state(server, state, binary)
        text.close()
        binary.close()


def _binary_state(server, topic, binary):
    alias = binary.follow(topic)["alias"]
    for seq, (payload, flags, key) in enumerate(((b"1", JSON, b"a"), (b"raw", 0, b"b"), (b"e", EVENT | OTHER_TEXT, b"a"), (b"", REMOVED, b"b")), 1):
        binary.say_bytes(encode_publish(topic, payload, flags, key))
        expect(binary.hear(), encode_message(alias, seq, payload, flags, key))
    with Peer(server.address, "binary") as late:
        subscribed = late.follow(topic)
        expect((subscribed["alias"], subscribed["snapshot"]), (alias, True))
        expect(late.hear(), {"op": "snapshot", "topic": topic, "epoch": subscribed["epoch"], "as_of": 4, "count": 1, "whole": True})
        expect(late.hear(), encode_message(alias, 1, b"1", JSON, b"a"))
        late.sync()
        late.close()


def _wrong_binary(step, server):
    right = encode_publish("wrong.topic", b"1", JSON)
    cases = (
        ("nothing", b"", "bad_frame"), ("one byte", b"\x02", "bad_frame"), ("half a header", right[:15], "bad_frame"),
        ("a message of the server", encode_message(0, 1, b"1", JSON), "bad_frame"), ("kind 0", b"\0" * 16, "bad_frame"),
        ("kind 255", b"\xff" * 40, "bad_frame"), ("reserved bytes", encode_publish("wrong.topic", b"1", JSON, reserved=1), "bad_frame"),
        ("a key beyond the end", encode_publish("wrong.topic", b"1", JSON, sizes=(2, 11)), "bad_frame"),
        ("a topic beyond the end", encode_publish("wrong.topic", b"", JSON, sizes=(0, 65535)), "bad_frame"),
        ("no JSON", encode_publish("wrong.topic", b"{", JSON), "bad_frame"), ("two JSON values", encode_publish("wrong.topic", b"1 2", JSON), "bad_frame"),
        ("no JSON at all", encode_publish("wrong.topic", b"", JSON), "bad_frame"),
        ("no UTF-8", encode_publish("wrong.topic", b"\xff", OTHER_TEXT), "bad_frame"), ("JSON, no UTF-8", encode_publish("wrong.topic", b'"\xff"', JSON), "bad_frame"),
        ("no topic", encode_publish("", b"1", JSON), "bad_topic"), ("a wrong topic", encode_publish("a..b", b"1", JSON), "bad_topic"),
        ("a pattern", encode_publish("a.*", b"1", JSON), "bad_topic"), ("a long topic", encode_publish("a" * 257, b"1", JSON), "bad_topic"),
        ("a long key", encode_publish("wrong.topic", b"1", JSON, b"k" * 129), "bad_key"), ("no key", encode_publish("book.x", b"1", JSON), "bad_key"),
        ("a removal of an event", encode_publish("wrong.topic", b"", REMOVED, b"k"), "bad_request"),
        ("too much", encode_publish("wrong.topic", bytes(PAYLOAD_MAX_BYTES + 1), 0), "too_big"))
    with Peer(server.address, "binary") as peer, Peer(server.address) as bystander:
        bystander.follow("wrong.topic")
        for name, payload, code in cases:
            def check(payload=payload, code=code):
                peer.say_bytes(payload)
                expect_error(peer.hear(), code)
                peer.sync()
            step.check(f"binary: {name}", check)
        wrong = encode_publish("a..b", b"1", JSON | ANSWER, answer_id=2**53 - 1)
        peer.say_bytes(wrong)
        expect_error(peer.hear(), "bad_topic", id=2**53 - 1)
        bystander.sync()
        peer.close()
        bystander.close()


def check_raw(step, programs, backend, cores):
    """Bare payloads."""
    with HubServer(step, programs, backend=backend, cores=cores) as server:
        for number in range(TOPICS):
            step.check(f"payloads as they are ({number})", _raw_payloads, server, f"raw{number}")
            step.check(f"several topics, history ({number})", _raw_topics, server, f"rawtopics{number}")
            step.check(f"publishing ({number})", _raw_publish, server, f"rawpublish{number}")
            step.check(f"a state topic ({number})", _raw_state, server, f"book.raw{number}")
        step.check("wrong targets are refused", _raw_refused, server)


def _live(raw, publisher, topic):
    """A raw connection with history=1 is answered nothing, so its first message shows that it has been subscribed."""
    publisher.publish(topic, "start")
    expect(raw.hear_text(), '"start"')


def _raw_payloads(server, topic):
    with Peer(server.address, "binary") as publisher, Peer(server.address, None, f"/raw/{topic}.%C3%BC%2Fx?history=1") as raw:
        name = f"{topic}.ü/x"
        expect(raw.response.values("sec-websocket-protocol"), [])
        _live(raw, publisher, name)
        for payload, flags, opcode in ((b'{"a" : 1}', JSON, TEXT), ("é".encode(), OTHER_TEXT, TEXT), (b"\xff\x00", 0, BINARY), (b"", OTHER_TEXT, TEXT), (b"", 0, BINARY)):
            publisher.say_bytes(encode_publish(name, payload, flags))
            received = raw.receive_message()
            expect((received.opcode, received.payload), (opcode, payload))
        # Without ?publish what it says is ignored.
        raw.say_text('{"op":"ping"}')
        raw.say_bytes(b"\0")
        publisher.say_bytes(encode_publish(name, b"last", OTHER_TEXT))
        expect(raw.hear_text(), "last")
        publisher.close()
        raw.close()


def _raw_topics(server, root):
    with Peer(server.address) as publisher:
        for name in ("a", "b", "c.x"):
            for number in range(3):
                publisher.publish(f"{root}.{name}", [name, number])
        targets = (
            (f"/raw/{root}.a?history=2&topics={root}.b,{root}.c.*", "a1 a2 b1 b2 x1 x2"), (f"/raw/?topics={root}.a,{root}.b&history=1", "a2 b2"),
            (f"/raw/{root}.%3E?history=1", "a2 b2 x2"), (f"/raw/{root}.a?history=1", "a2"))
        for target, wanted in targets:
            with Peer(server.address, None, target) as raw:
                heard = [raw.hear() for _ in wanted.split()]
                expect(sorted(f"{name[-1]}{number}" for name, number in heard), wanted.split(), target)
                for name in {name for name, _number in heard}:
                    expect([number for other, number in heard if other == name], sorted(number for other, number in heard if other == name))
                publisher.publish(f"{root}.a", ["new"])
                expect(raw.hear(), ["new"])
                raw.close()
            publisher.publish(f"{root}.a", ["a", 1])
            publisher.publish(f"{root}.a", ["a", 2])
        publisher.close()


def _raw_publish(server, topic):
    with Peer(server.address) as subscriber:
        subscriber.follow(topic)
        with Peer(server.address, None, f"/raw/{topic}?publish&subscribe=false") as raw:
            for seq, (send, payload, members) in enumerate((
                    (raw.say_text, '{"a" : 1}', '"data":{"a" : 1}'), (raw.say_text, "plain é", '"data":"plain é"'), (raw.say_bytes, b"\0\1\2", '"data_base64":"AAEC"'),
                    (raw.say_text, "", '"data":""')), 1):
                send(payload)
                expect(subscriber.hear_text(), f'{{"topic":"{topic}","seq":{seq},{members}}}')
            raw.close()
        with Peer(server.address, None, f"/raw/{topic}?publish&history=1") as raw:
            expect(raw.hear_text(), "")
            raw.say_text("5")
            expect(raw.hear_text(), "5")
            expect(subscriber.hear(), {"topic": topic, "seq": 5, "data": 5})
            raw.say_text("x" * (PAYLOAD_MAX_BYTES + 1))
            raw.closed_with(1008)
        subscriber.sync()
        subscriber.close()


def _raw_state(server, topic):
    with Peer(server.address) as publisher:
        for key, data in (("a", 1), ("b", 2), ("a", 3)):
            publisher.publish(topic, data, key=key)
        with Peer(server.address, None, f"/raw/{topic}") as raw:
            expect([raw.hear(), raw.hear()], [2, 3])
            publisher.publish(topic, key="a", remove=True)
            publisher.publish(topic, 4, key="b")
            expect(raw.hear(), 4)
            raw.close()
        publisher.close()


def _raw_refused(server):
    for target in ("/raw/", "/raw/a..b", "/raw/a%20b", "/raw/a%zz", "/raw/%FF", "/raw/a?topics=b..c", "/raw/a?history=x", "/raw/a?publish=perhaps", "/raw/a.*?publish",
                   "/raw/?topics=a&publish", "/raw/a?subscribe=false", "/raw/" + "a" * 257, "/raw/a?topics=" + ",".join("b" * 128)):
        with Client(server.address) as client:
            client.send(upgrade_request(server.address, target))
            response = client.response()
            if response.status != 400 or len(response.body) < 20:
                raise Failure(f"{target[:60]}: expected 400 and a reason, saw {response.status} {response.body}")
    # A state topic has keys, which a raw publisher cannot give.
    with Client(server.address) as client:
        client.send(upgrade_request(server.address, "/raw/book.refused?publish"))
        status = client.response().status
        if status == 101:
            peer = Peer(server.address, None, "/raw/book.refused?publish")
            peer.say_text("1")
            peer.closed_with(1008)
        else:
            expect(status, 400)
