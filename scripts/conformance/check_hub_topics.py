"""How a subscription begins and ends: acknowledgements, order, history, patterns, overlap, resume."""

import json
import re
import threading

from check_hub_peers import HubServer, Peer, expect, expect_error
from report import Failure

EPOCH = re.compile(r"^[0-9a-f]{16}$")
# Topics that are tried one after the other, so that their homes lie on every core.
TOPICS = 4


def check_subscribing(step, programs, backend, cores):
    """Acknowledgements, order, history, unsubscribing, overlap; nothing crosses from one topic or subscriber to another."""
    with HubServer(step, programs, backend=backend, cores=cores) as server:
        for number in range(TOPICS):
            step.check(f"the first message of a topic ({number})", _first_message, server, f"first.{number}")
            step.check(f"history ({number})", _history, server, f"short.{number}", f"long.{number}")
            step.check(f"unsubscribing ({number})", _unsubscribing, server, f"leave.{number}")
            step.check(f"patterns, topics created later ({number})", _patterns, server, f"tree{number}")
            step.check(f"a name and two patterns that cover one topic ({number})", _overlap, server, f"over{number}")
        step.check("one order for all", _one_order, server)
        step.check("nothing crosses", _nothing_crosses, server)


def _first_message(server, topic):
    with Peer(server.address) as subscriber, Peer(server.address) as publisher:
        answer = subscriber.follow(topic)
        expect({**answer, "epoch": "", "alias": 0},
               {"op": "subscribed", "id": subscriber.next_id, "topic": topic, "kind": "events", "epoch": "", "seq": 0, "alias": 0})
        if not EPOCH.match(answer["epoch"]) or not isinstance(answer["alias"], int):
            raise Failure(f"not an epoch and an alias: {answer}")
        published = publisher.ask(op="publish", topic=topic, data={"x": 1})
        expect(published, {"op": "published", "id": publisher.next_id, "topic": topic, "epoch": answer["epoch"], "seq": 1})
        expect(subscriber.hear_text(), f'{{"topic":"{topic}","seq":1,"data":{{"x": 1}}}}')
        publisher.publish(topic, None, key="kéy")
        expect(json.loads(subscriber.hear_text()), {"topic": topic, "seq": 2, "key": "kéy", "data": None})
        again = subscriber.follow(topic)
        expect((again["already"], again["epoch"], again["alias"], "replay" in again), (True, answer["epoch"], answer["alias"], False))
        publisher.publish(topic, 3)
        expect(subscriber.hear()["seq"], 3)
        subscriber.sync()
        publisher.close()
        subscriber.close()


def _history(server, short, long):
    with Peer(server.address) as publisher:
        for topic in (short, long):
            for number in range(1, 21):
                expect(publisher.publish(topic, number), number)
        # Three of twenty; more than the log of eight keeps; more than there are; none.
        for topic, history, first in ((short, 3, 18), (short, 50, 13), (long, 50, 1), (long, 20, 1), (long, 0, 21)):
            with Peer(server.address) as peer:
                answer = peer.follow(topic, history=history)
                count = 21 - first
                expect((answer["seq"], answer.get("replay", 0), "recovered" in answer), (20, count, False), f"{topic} {history}")
                expect([(each["seq"], each["data"]) for each in peer.hear_data(count)], [(seq, seq) for seq in range(first, 21)])
                peer.sync()
                peer.close()
        publisher.close()


def _unsubscribing(server, topic):
    with Peer(server.address) as peer, Peer(server.address) as publisher:
        peer.follow(topic)
        publisher.publish(topic, 1)
        expect(peer.hear()["seq"], 1)
        expect(peer.ask(op="unsubscribe", topics=[topic]), {"op": "unsubscribed", "id": peer.next_id, "topic": topic})
        publisher.publish(topic, 2)
        peer.sync()
        expect_error(peer.ask(op="unsubscribe", topics=[topic]), "not_subscribed", topic=topic)
        expect(peer.follow(topic)["seq"], 2)
        publisher.publish(topic, 3)
        expect(peer.hear(), {"topic": topic, "seq": 3, "data": 3})
        peer.sync()
        publisher.close()
        peer.close()


def _started(peer, pattern, topic):
    """Fails unless the next thing heard is that a topic of a pattern begins; returns it."""
    heard = peer.hear()
    expect((heard.get("op"), heard.get("pattern"), heard.get("topic")), ("subscribed", pattern, topic))
    return heard


def _patterns(server, root):
    with Peer(server.address) as star, Peer(server.address) as rest, Peer(server.address) as publisher:
        publisher.publish(f"{root}.old", 1)
        publisher.publish(f"{root}.old.deep", 1)
        publisher.publish(f"{root}", 1)
        for peer, pattern, known in ((star, f"{root}.*", {f"{root}.old"}), (rest, f"{root}.>", {f"{root}.old", f"{root}.old.deep"})):
            expect(peer.ask(op="subscribe", topics=[pattern]), {"op": "subscribed", "id": peer.next_id, "pattern": pattern})
            heard = [peer.hear() for _ in known]
            expect({(each["op"], each["pattern"], each["topic"], each["seq"]) for each in heard}, {("subscribed", pattern, topic, 1) for topic in known})
        created = publisher.ask(op="publish", topic=f"{root}.new", data="n")
        for peer, pattern in ((star, f"{root}.*"), (rest, f"{root}.>")):
            started = _started(peer, pattern, f"{root}.new")
            expect(started["epoch"], created["epoch"])
            # Whether it is announced before its first message or with it, not one may be missing.
            expect(started["seq"] - started.get("replay", 0), 0, str(started))
            expect(peer.hear(), {"topic": f"{root}.new", "seq": 1, "data": "n"})
        publisher.publish(f"{root}.new.deep", 1)
        expect(_started(rest, f"{root}.>", f"{root}.new.deep")["kind"], "events")
        expect(rest.hear()["topic"], f"{root}.new.deep")
        publisher.publish(root, 2)
        publisher.publish(f"{root}.old", 2)
        for peer in (star, rest):
            expect(peer.hear(), {"topic": f"{root}.old", "seq": 2, "data": 2})
            peer.sync()
        expect(star.ask(op="unsubscribe", topics=[f"{root}.*"])["op"], "unsubscribed")
        publisher.publish(f"{root}.old", 3)
        publisher.publish(f"{root}.later", 1)
        star.sync()
        star.close()
        expect(rest.hear(), {"topic": f"{root}.old", "seq": 3, "data": 3})
        _started(rest, f"{root}.>", f"{root}.later")
        expect(rest.hear()["topic"], f"{root}.later")
        rest.close()
        publisher.close()


def _overlap(server, root):
    topic = f"{root}.a.b"
    with Peer(server.address) as peer, Peer(server.address) as publisher:
        expect(peer.follow(topic)["seq"], 0)
        for pattern in (f"{root}.>", f"{root}.*.b"):
            peer.say(op="subscribe", topics=[pattern])
            expect(peer.hear(), {"op": "subscribed", "pattern": pattern})

        def seen(seq):
            publisher.publish(topic, seq)
            while (heard := peer.hear()).get("op") == "subscribed":
                expect(heard["topic"], topic)
            expect(heard, {"topic": topic, "seq": seq, "data": seq})
            peer.sync()
        seen(1)
        for seq, name in enumerate((topic, f"{root}.>"), 2):
            expect(peer.ask(op="unsubscribe", topics=[name]), {"op": "unsubscribed", "id": peer.next_id, "topic": name})
            seen(seq)
        peer.ask(op="unsubscribe", topics=[f"{root}.*.b"])
        publisher.publish(topic, 4)
        peer.sync()
        publisher.close()
        peer.close()


def _publish_many(server, topic, count, mark, failures):
    try:
        with Peer(server.address) as peer:
            for number in range(count):
                peer.publish(topic, [mark, number])
            peer.close()
    except (Failure, OSError) as error:
        failures.append(f"publisher {mark}: {error}")


def _one_order(server):
    publishers, count, topic = 3, 200, "ordered"
    subscribers = [Peer(server.address) for _ in range(4)]
    for peer in subscribers:
        peer.follow(topic)
    failures = []
    threads = [threading.Thread(target=_publish_many, args=(server, topic, count, mark, failures)) for mark in range(publishers)]
    for thread in threads:
        thread.start()
    streams = [[peer.hear_text() for _ in range(publishers * count)] for peer in subscribers]
    for thread in threads:
        thread.join()
    expect(failures, [])
    for stream in streams[1:]:
        expect(stream == streams[0], True, "every subscriber sees the same bytes in the same order")
    messages = [json.loads(text) for text in streams[0]]
    expect([each["seq"] for each in messages], list(range(1, publishers * count + 1)))
    for mark in range(publishers):
        expect([each["data"][1] for each in messages if each["data"][0] == mark], list(range(count)), f"publisher {mark}")
    for peer in subscribers:
        peer.close()


def _nothing_crosses(server):
    topics = [f"own.{number}" for number in range(8)]
    peers = [Peer(server.address) for _ in topics]
    with Peer(server.address) as publisher:
        for peer, topic in zip(peers, topics):
            peer.follow(topic)
        for number in range(50):
            for topic in topics:
                publisher.say(op="publish", topic=topic, data=[topic, number])
        for peer, topic in zip(peers, topics):
            expect(peer.hear_data(50), [{"topic": topic, "seq": number + 1, "data": [topic, number]} for number in range(50)])
            peer.sync()
            peer.close()
        publisher.close()


def check_resuming(step, programs, backend, cores):
    """Resume is whole or says why not."""
    with HubServer(step, programs, backend=backend, cores=cores) as server:
        for number in range(TOPICS):
            step.check(f"events: whole ({number})", _resume_whole, server, f"resume.{number}")
            step.check(f"events: every cause ({number})", _resume_refused, server, f"short.resume{number}")
            step.check(f"state: whole, merged or not ({number})", _resume_state, server, f"book.resume{number}")
            step.check(f"state: every cause comes with a snapshot ({number})", _resume_state_refused, server, f"shortstate.resume{number}")
            step.check(f"through a pattern ({number})", _resume_pattern, server, f"wild{number}")
    first, second = [], []
    for epochs in (first, second):
        with HubServer(step, programs, backend=backend, cores=cores) as server, Peer(server.address) as peer:
            for number in range(TOPICS):
                epochs.append(peer.follow(f"epoch.{number}")["epoch"])
            if epochs is second:
                answer = Peer(server.address).follow("epoch.0", resume={"epoch.0": {"epoch": first[0], "seq": 0}})
                step.equal("after a restart nothing is recovered", (answer["recovered"], answer["code"]), (False, "epoch_changed"))
            peer.close()
    step.equal("no epoch comes again", len(set(first + second)), 2 * TOPICS)


def _resume_whole(server, topic):
    with Peer(server.address) as publisher:
        for number in range(1, 11):
            answer = publisher.ask(op="publish", topic=topic, data=number)
        for after in (0, 1, 7, 9, 10):
            with Peer(server.address) as peer:
                subscribed = peer.follow(topic, resume={topic: {"epoch": answer["epoch"], "seq": after}, "other": {"epoch": "x", "seq": 1}})
                expect((subscribed["recovered"], subscribed["seq"], subscribed.get("replay", 0), "code" in subscribed), (True, 10, 10 - after, False))
                expect([each["seq"] for each in peer.hear_data(10 - after)], list(range(after + 1, 11)))
                peer.sync()
                peer.close()
        publisher.close()


def _resume_refused(server, topic):
    with Peer(server.address) as publisher:
        for number in range(1, 21):
            answer = publisher.ask(op="publish", topic=topic, data=number)
        epoch = answer["epoch"]
        # The log keeps eight: from 12 on all is there, from 11 on it is not.
        cases = (
            (epoch, 12, None, 8), (epoch, 11, "log_overrun", 0), (epoch, 0, "log_overrun", 0), (epoch, 21, "resume_from_future", 0),
            (epoch, 2**40, "resume_from_future", 0), ("0" * 16, 20, "epoch_changed", 0), ("what", 20, "epoch_changed", 0), ("", 0, "epoch_changed", 0))
        for given, seq, code, replay in cases:
            for history in (0, 3):
                with Peer(server.address) as peer:
                    subscribed = peer.follow(topic, resume={topic: {"epoch": given, "seq": seq}}, history=history)
                    wanted = (code is None, code, 20, replay if code is None else history)
                    seen = (subscribed["recovered"], subscribed.get("code"), subscribed["seq"], subscribed.get("replay", 0))
                    expect(seen, wanted, f"resume from {given} {seq} with history {history}")
                    expect([each["seq"] for each in peer.hear_data(wanted[3])], list(range(21 - wanted[3], 21)))
                    peer.sync()
                    peer.close()
        publisher.close()


def _resume_state(server, topic):
    with Peer(server.address) as publisher, Peer(server.address) as steady:
        steady.follow(topic)
        for number in range(1, 6):
            epoch = publisher.ask(op="publish", topic=topic, key=f"k{number}", data=number)["epoch"]
        with Peer(server.address) as peer:
            subscribed = peer.follow(topic, resume={topic: {"epoch": epoch, "seq": 3}})
            expect((subscribed["recovered"], subscribed["replay"], "snapshot" in subscribed), (True, 2, False))
            # Nothing was merged: no word about it.
            expect(peer.hear_data(2), [{"topic": topic, "seq": 4, "key": "k4", "data": 4}, {"topic": topic, "seq": 5, "key": "k5", "data": 5}])
            peer.sync()
            peer.close()
        for key, data in (("k4", 6), ("k1", 7), ("k4", 8)):
            publisher.publish(topic, data, key=key)
        publisher.publish(topic, key="k2", remove=True)
        with Peer(server.address) as peer:
            subscribed = peer.follow(topic, resume={topic: {"epoch": epoch, "seq": 3}})
            expect((subscribed["recovered"], subscribed["seq"], subscribed["replay"]), (True, 9, 6))
            expect(peer.hear(), {"op": "conflated", "topic": topic, "from": 4, "to": 9, "count": 4, "whole": True})
            expect([(each["seq"], each["key"], each.get("removed", False)) for each in peer.hear_data(4)],
                   [(5, "k5", False), (7, "k1", False), (8, "k4", False), (9, "k2", True)])
            publisher.publish(topic, 10, key="k9")
            expect(peer.hear()["seq"], 10)
            peer.sync()
            peer.close()
        expect([each["seq"] for each in steady.hear_data(10)], list(range(1, 11)))
        steady.close()
        publisher.close()


def _resume_state_refused(server, topic):
    with Peer(server.address) as publisher:
        # Twelve keys that are gone again: what tombstones the log of eight had to forget cannot be resumed over.
        for number in range(12):
            publisher.publish(topic, number, key=f"gone{number}")
        for number in range(12):
            publisher.publish(topic, key=f"gone{number}", remove=True)
        answer = publisher.ask(op="publish", topic=topic, key="here", data="h")
        epoch = answer["epoch"]
        for given, seq, code in ((epoch, 12, "log_overrun"), ("f" * 16, 25, "epoch_changed"), (epoch, 26, "resume_from_future")):
            with Peer(server.address) as peer:
                subscribed = peer.follow(topic, resume={topic: {"epoch": given, "seq": seq}})
                expect((subscribed["recovered"], subscribed.get("code"), subscribed.get("snapshot"), "replay" in subscribed), (False, code, True, False))
                expect(peer.hear(), {"op": "snapshot", "topic": topic, "epoch": epoch, "as_of": 25, "count": 1, "whole": True})
                expect(peer.hear(), {"topic": topic, "seq": 25, "key": "here", "data": "h"})
                peer.sync()
                peer.close()
        publisher.close()


def _resume_pattern(server, root):
    topic = f"{root}.a"
    with Peer(server.address) as publisher:
        for number in range(1, 6):
            epoch = publisher.ask(op="publish", topic=topic, data=number)["epoch"]
        with Peer(server.address) as peer:
            later = f"{root}.later"
            peer.say(op="subscribe", topics=[f"{root}.*"], resume={topic: {"epoch": epoch, "seq": 2}, later: {"epoch": "0" * 16, "seq": 9}})
            expect(peer.hear(), {"op": "subscribed", "pattern": f"{root}.*"})
            started = _started(peer, f"{root}.*", topic)
            expect((started["recovered"], started["replay"], started["seq"]), (True, 3, 5))
            expect([each["seq"] for each in peer.hear_data(3)], [3, 4, 5])
            publisher.publish(later, 1)
            started = _started(peer, f"{root}.*", later)
            expect((started["recovered"], started["code"]), (False, "epoch_changed"))
            expect(peer.hear()["seq"], 1)
            peer.sync()
            peer.close()
        publisher.close()
