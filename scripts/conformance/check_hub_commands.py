"""Every command with every mistake: the exact code, and a connection that lives on.

The table of errors is that of docs/protocol.md, section 3.
"""

import json
import random

from check_hub_peers import JSON, PAYLOAD_MAX_BYTES, HubServer, Peer, draw_seed, encode_publish, expect, expect_error
from report import Failure
from wire import BINARY, TEXT, Client, frame, upgrade_request

# A connection may cause 50 errors at once; a fresh one well before that.
ERRORS_PER_CONNECTION = 30
SUBSCRIPTIONS_MAX = 128
FLOOD_ERRORS = 3000
RANDOM_MESSAGES = 400


def _subscribe(**members):
    return json.dumps({"op": "subscribe", "id": 5, "topics": ["a.b"], **members})


def _publish(**members):
    return json.dumps({"op": "publish", "id": 5, "topic": "a.b", "data": 1, **members})


def _mistakes():
    """Name, message, code, id of the answer."""
    for text in ("", " ", "{", "[]", "7", '"x"', "null", "nul", '{"op":"ping"', '{"op":"ping"}x', '{"op":"ping",}', "{'op':'ping'}",
                 '["op","ping"]', "[" * 10_000, '{"a":' * 10_000, "\x00", '{"op":"ping"}{"op":"ping"}'):
        yield f"no JSON object: {text[:20]!r} ({len(text)})", text, "bad_json", None
    for op in (None, 7, "", "dance", "Subscribe", ["ping"], {}):
        yield f"op {op!r}", json.dumps({"op": op, "id": 5}), "unknown_op", 5
    yield "no op", "{}", "unknown_op", None
    for bad_id in ("-1", "1.5", '"1"', "null", "9007199254740992", "1e400", "123456789012345678901234567890", "[1]", "true"):
        yield f"id {bad_id}", f'{{"op":"ping","id":{bad_id}}}', "bad_request", None
    for topics in (None, "a.b", [], {}, 7, [7], [None], [["a"]], ["a"] * 129):
        for op in ("subscribe", "unsubscribe", "configure"):
            yield f"{op} topics {str(topics)[:20]}", json.dumps({"op": op, "id": 5, "topics": topics, "max_rate": 1}), "bad_request", 5
    yield "subscribe without topics", '{"op":"subscribe","id":5}', "bad_request", 5
    for name, values in {
            "resume": (7, [], "x", {"a": 7}, {"a": {"epoch": 7, "seq": 1}}, {"a": {"epoch": "e"}}, {"a": {"seq": 1}},
                       {"a": {"epoch": "e", "seq": -1}}, {"a": {"epoch": "e", "seq": "1"}}),
            "max_rate": (-1, 1.5, "5", 2**32, [1], True), "history": (-1, 1.5, "5", 2**32, {}), "snapshot": (0, "no", [])}.items():
        for value in values:
            yield f"subscribe {name} {value}", _subscribe(**{name: value}), "bad_request", 5
    for value in (None, -1, "5", 2**32, 1.5):
        yield f"configure max_rate {value}", json.dumps({"op": "configure", "id": 5, "topics": ["a"], "max_rate": value}), "bad_request", 5
    yield "configure without max_rate", '{"op":"configure","id":5,"topics":["a"]}', "bad_request", 5
    yield "publish without data", '{"op":"publish","id":5,"topic":"a.b"}', "bad_request", 5
    yield "publish without topic", '{"op":"publish","id":5,"data":1}', "bad_request", 5
    for name, values in {"topic": (7, None, ["a"]), "key": (7, [], {}), "remove": (1, "yes"), "event": (1, "yes")}.items():
        for value in values:
            yield f"publish {name} {value}", _publish(**{name: value}), "bad_request", 5
    yield "removal and event at once", '{"op":"publish","id":5,"topic":"book.a","key":"k","remove":true,"event":true}', "bad_request", 5
    yield "removal on an events topic", '{"op":"publish","id":5,"topic":"a.b","key":"k","remove":true}', "bad_request", 5
    yield "event on an events topic", _publish(key="k", event=True), "bad_request", 5
    wrong_names = ("", ".", "a..b", ".a", "a.", "a b", "a\tb", "a\nb", "a\u0000b", "a\u0085b", "a\u00a0b", 'a"b', "a\\b", "a*", "*a", "a>", ">.a",
                   "a.>.b", ".".join("a" * 17), "a" * 257, "ü" * 128 + "a", "a" * 30_000)
    for name in wrong_names:
        for op in ("subscribe", "unsubscribe", "configure"):
            yield f"{op} {name[:20]!r} ({len(name)})", json.dumps({"op": op, "id": 5, "topics": [name], "max_rate": 1}), "bad_topic", 5
    for name in (*wrong_names, "a.*", "a.>", ">"):
        yield f"publish on {name[:20]!r} ({len(name)})", _publish(topic=name), "bad_topic", 5
    for key in (None, "k" * 129, "ü" * 65):
        members = {} if key is None else {"key": key}
        yield f"key {str(key)[:10]} on a state topic", _publish(topic="book.a", **members), "bad_key", 5
    yield "a long key on an events topic", _publish(key="k" * 129), "bad_key", 5
    for name in ("never.seen", "never.*"):
        for op in ("unsubscribe", "configure"):
            yield f"{op} {name}", json.dumps({"op": op, "id": 5, "topics": [name], "max_rate": 1}), "not_subscribed", 5
    yield "a payload above the limit", _publish(data="x" * PAYLOAD_MAX_BYTES), "too_big", 5


def _check_mistake(peer, message, code, answer_id, opcode=TEXT):
    peer.send(frame(opcode, message.encode() if isinstance(message, str) else message))
    answer = peer.hear()
    expect_error(answer, code)
    expect(answer.get("id"), answer_id, "the id of the error")
    peer.sync()


def check_mistakes(step, programs, backend, cores):
    """The table, with a bystander that must see its own messages and nothing else."""
    with HubServer(step, programs, backend=backend, cores=cores) as server, Peer(server.address) as bystander:
        bystander.follow("bystander")
        bystander.follow("a.b")
        peer = None
        for number, (name, message, code, answer_id) in enumerate(_mistakes()):
            if number % ERRORS_PER_CONNECTION == 0:
                if peer:
                    peer.close()
                peer = Peer(server.address)
            if not step.check(name, _check_mistake, peer, message, code, answer_id):
                peer.socket.close()
                peer = Peer(server.address)
        for name, payload in (("garbage", bytes(range(256))), ("nothing", b""), ("a right publish of the other subprotocol",
                                                                                encode_publish("a.b", b"1", JSON))):
            step.check(f"binary on a JSON connection: {name}", _check_mistake, peer, payload, "bad_frame", None, BINARY)
        expect(peer.publish("bystander", "still here"), 1)
        step.equal("the bystander sees its message and nothing else", bystander.hear(), {"topic": "bystander", "seq": 1, "data": "still here"})
        step.check("the bystander has no other message", bystander.sync)
        step.check("answers without an id have none", _without_id, server)
        step.check("the largest id, unknown members, escapes, white space", _odd_but_right, server)
        step.check("deep JSON", _deep, server)
        step.check("a right command after each wrong topic of one list", _mixed_list, server)
        peer.close()


def _without_id(server):
    with Peer(server.address) as peer:
        peer.say(op="ping")
        expect(peer.hear(), {"op": "pong"})
        peer.say(op="subscribe", topics=["quiet.a"])
        answer = peer.hear()
        expect((answer["op"], answer["topic"], "id" in answer), ("subscribed", "quiet.a", False))
        peer.say(op="configure", topics=["quiet.a"], max_rate=3)
        expect(peer.hear(), {"op": "configured", "topic": "quiet.a", "max_rate": 3})
        peer.say(op="publish", topic="loud.a", data=1)
        peer.sync()
        peer.say(op="unsubscribe", topics=["quiet.a"])
        expect(peer.hear(), {"op": "unsubscribed", "topic": "quiet.a"})
        peer.close()


def _odd_but_right(server):
    with Peer(server.address) as peer:
        largest = 2**53 - 1
        peer.say_text(f'\r\n {{"op" : "ping" ,\t"x":{{"op":"publish"}},"id":{largest}}} \n')
        expect(peer.hear(), {"op": "pong", "id": largest})
        peer.say_text('{"op":"p\\u0069ng","id":0}')
        expect(peer.hear(), {"op": "pong", "id": 0})
        longest = "é" * 128
        for name in (longest, ".".join("a" * 16), "a/b,c+d%", "ünï.€", "A.b", "a.B"):
            expect(peer.follow(name)["seq"], 0)
        peer.say_text('{"op":"publish","id":7,"topic":"A\\u002eb","data":{"a" : [1.50, 1e5,"\\u00e9"]}}')
        heard = [peer.hear_text() for _ in range(2)]
        message = '{"topic":"A.b","seq":1,"data":{"a" : [1.50, 1e5,"\\u00e9"]}}'
        if message not in heard:
            raise Failure(f"the data is handed on byte for byte, between no spaces: expected {message}, saw {heard}")
        for value in ("null", "0", '""', "[]", "{}", "true", '"' + "x" * 60_000 + '"'):
            peer.say_text(f'{{"op":"publish","topic":"A.b","data":{value}}}')
            expect(peer.hear_text().partition(',"data":')[2], value + "}")
        peer.close()


def _deep(server):
    with Peer(server.address) as peer:
        peer.follow("deep")
        deep = "[" * 100 + "]" * 100
        peer.say_text(f'{{"op":"publish","topic":"deep","data":{deep}}}')
        expect(peer.hear_text(), f'{{"topic":"deep","seq":1,"data":{deep}}}')
        # How deep is too deep, the protocol does not say; it must end in an answer.
        for depth in (1_000, 30_000):
            peer.say_text(f'{{"op":"publish","id":9,"topic":"elsewhere","data":{"[" * depth}{"]" * depth}}}')
            answer = peer.hear()
            expect(answer["op"] == "published" or answer.get("code") == "bad_json", True, f"depth {depth}: {answer}")
            peer.say_text(f'{{"op":"ping","id":10,"x":{"[" * depth}{"]" * depth}}}')
            answer = peer.hear()
            expect(answer["op"] == "pong" or answer.get("code") == "bad_json", True, f"depth {depth}: {answer}")
        peer.sync()
        peer.close()


def _mixed_list(server):
    with Peer(server.address) as peer:
        wrong, right = "a..b", "mixed.a"
        refused, answered = peer.subscribe(wrong, right)
        expect_error(refused, "bad_topic", topic=wrong)
        expect(answered["op"], "subscribed")
        peer.sync()
        peer.close()


def check_limits(step, programs, backend, cores):
    """The limits of the hub: subscriptions, keys, topics, memory, who may publish."""
    with HubServer(step, programs, backend=backend, cores=cores) as server:
        step.check("too many subscriptions", _too_many_subscriptions, server)
        for topic in ("few.a", "few.b", "few.c"):
            step.check(f"too many keys: {topic}", _too_many_keys, server, topic)
        step.check("the largest payload", _largest_payload, server)
    with HubServer(step, programs, "--publish-from", "none", backend=backend, cores=cores) as server:
        step.check("forbidden: publishing from where nobody may", _forbidden, server)
    with HubServer(step, programs, "--topics-max", "20", backend=backend, cores=cores) as server:
        step.check("too many topics", _too_many_topics, server)
    with HubServer(step, programs, "--logs-bytes-max", "1MiB", backend=backend, cores=cores) as server:
        step.check("busy: the logs are full", _busy, server)


def _too_many_subscriptions(server):
    with Peer(server.address) as peer:
        names = [f"many.{number}" for number in range(SUBSCRIPTIONS_MAX - 1)]
        answers = peer.subscribe(*names)
        expect([answer["op"] for answer in answers], ["subscribed"] * len(names))
        expect(peer.ask(op="subscribe", topics=["many.of.*"])["op"], "subscribed")
        expect_error(peer.ask(op="subscribe", topics=["many.more"]), "too_many_subscriptions", topic="many.more")
        expect_error(peer.ask(op="subscribe", topics=["many.more.*"]), "too_many_subscriptions", topic="many.more.*")
        # Subscribing to what is subscribed to is no further subscription.
        expect(peer.ask(op="subscribe", topics=["many.7"])["op"], "subscribed")
        expect(peer.ask(op="unsubscribe", topics=["many.7"])["op"], "unsubscribed")
        expect(peer.ask(op="subscribe", topics=["many.more"])["op"], "subscribed")
        peer.close()


def _too_many_keys(server, topic):
    with Peer(server.address) as peer:
        for key in "abc":
            peer.publish(topic, 1, key=key)
        expect_error(peer.ask(op="publish", topic=topic, key="d", data=1), "too_many_keys", topic=topic)
        expect(peer.publish(topic, 2, key="a"), 4)
        expect(peer.publish(topic, key="b", remove=True), 5)
        expect(peer.publish(topic, 1, key="d"), 6)
        peer.close()


def _largest_payload(server):
    with Peer(server.address) as peer:
        expect(peer.publish("large", "x" * (PAYLOAD_MAX_BYTES - 2)), 1)
        expect_error(peer.ask(op="publish", topic="large", data="x" * (PAYLOAD_MAX_BYTES - 1)), "too_big", topic="large")
        expect(peer.publish("large", 1), 2)
        peer.close()


def _forbidden(server):
    with Peer(server.address) as peer, Peer(server.address, "binary") as binary:
        peer.follow("a")
        expect_error(peer.ask(op="publish", topic="a", data=1), "forbidden", topic="a")
        peer.say(op="publish", topic="a", data=1)
        expect_error(peer.hear(), "forbidden", id=None)
        binary.say_bytes(encode_publish("a", b"1", JSON, answer_id=3))
        expect_error(binary.hear(), "forbidden")
        binary.sync()
        peer.sync()
        peer.close()
        binary.close()
    with Client(server.address) as raw:
        raw.send(upgrade_request(server.address, "/raw/a?publish"))
        expect(raw.response().status, 403)


def _too_many_topics(server):
    with Peer(server.address) as peer:
        taken = 0
        # Each core holds its share of them, so one core is full before the others are.
        while taken <= 40:
            answer = peer.ask(op="publish", topic=f"topic.{taken}", data=1)
            if answer["op"] == "error":
                break
            taken += 1
        expect_error(answer, "too_many_topics", topic=f"topic.{taken}")
        expect(5 <= taken <= 20, True, f"{taken} topics of 20")
        expect_error(peer.ask(op="subscribe", topics=[f"topic.{taken}"]), "too_many_topics", topic=f"topic.{taken}")
        expect(peer.publish("topic.0", 2), 2)
        peer.close()


def _busy(server):
    with Peer(server.address) as peer:
        data = "x" * 60_000
        for number in range(100):
            answer = peer.ask(op="publish", topic=f"log.{number}", data=data)
            if answer["op"] == "error":
                break
        expect_error(answer, "busy", topic=f"log.{number}")
        peer.sync()
        peer.close()


def check_floods(step, programs, backend, cores):
    """A client that makes nothing but mistakes is closed with 1008; random ones do no harm; nobody else notices."""
    with HubServer(step, programs, backend=backend, cores=cores) as server, Peer(server.address) as bystander, Peer(server.address) as source:
        bystander.follow("bystander")
        for number, message in enumerate(("{", '{"op":"dance"}', '{"op":"unsubscribe","topics":["x"]}', '{"op":"publish","topic":"a..b","data":1}'), 1):
            step.check(f"a flood of {message}", _flood, server, message)
            expect(source.publish("bystander", number), number)
            step.equal("the bystander goes on", bystander.hear(), {"topic": "bystander", "seq": number, "data": number})
        seed = draw_seed(step)
        step.check(f"random messages (seed {seed})", _random_messages, server, seed)
        expect(source.publish("bystander", "end"), 5)
        step.equal("the bystander has seen nothing else", bystander.hear(), {"topic": "bystander", "seq": 5, "data": "end"})
        step.check("a message above the largest closes with 1009", _too_large, server)
        source.close()
        bystander.close()


def _flood(server, message):
    with Peer(server.address) as peer:
        try:
            for _ in range(FLOOD_ERRORS // 100):
                peer.send(frame(TEXT, message.encode()) * 100)
        except (BrokenPipeError, ConnectionResetError):
            pass  # It was closed before all was sent, as it should be.
        errors = 0
        while True:
            received = peer.receive_frame()
            if received.opcode != TEXT:
                break
            expect_error(json.loads(received.payload), json.loads(received.payload)["code"])
            errors += 1
        expect((received.opcode, received.close_code()), (8, 1008))
        expect(10 <= errors < 200, True, f"{errors} errors before the end")


def _too_large(server):
    with Peer(server.address) as peer:
        peer.send(frame(TEXT, b'{"op":"ping","x":"' + b"x" * (2 << 20) + b'"}'))
        peer.closed_with(1009)


def _random_messages(server, seed):
    chooser = random.Random(seed)
    samples = [_subscribe(), _publish(), _subscribe(resume={"a.b": {"epoch": "0" * 16, "seq": 1}}), '{"op":"ping","id":1}', _publish(topic="book.x", key="k")]
    for protocol in ("json", "binary"):
        peer = Peer(server.address, protocol)
        for number in range(RANDOM_MESSAGES):
            text = bytearray(chooser.choice(samples).encode())
            for _ in range(chooser.randrange(1, 4)):
                text[chooser.randrange(len(text))] = chooser.randrange(32, 127)
            if chooser.randrange(4) == 0:
                peer.say_bytes(chooser.randbytes(chooser.randrange(60)))
            else:
                peer.say_text(bytes(text))
            if number % 20 == 19:
                # Whatever it was answered, it is answered, and the next one too.
                peer.say(op="ping", id=77_000 + number)
                while True:
                    heard = peer.hear()
                    if isinstance(heard, dict) and heard.get("op") == "pong" and heard.get("id") == 77_000 + number:
                        break
                peer.socket.close()
                peer = Peer(server.address, protocol)
        peer.close()
