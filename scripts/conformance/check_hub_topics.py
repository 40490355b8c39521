"""What a subscriber receives: order, history, resume, snapshots, patterns, and what it is told when something is left out."""

import json
import random
import re
import socket
import threading

from check_hub_peers import Follower, HubServer, Peer, expect, expect_error
from report import Failure

EPOCH = re.compile(r"^[0-9a-f]{16}$")
# Topics that are tried one after the other, so that their homes lie on every core.
TOPICS = 4
BIG_BYTES = 32_000
# Above what sockets and the server's buffers hold for one connection: the reader has fallen behind for certain.
BIG_MESSAGES = 400
# Each takes a round trip, so this is about a second.
BUSY_TRIES = 10_000
READ_BUFFER_BYTES = 4 << 20


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


def check_state(step, programs, backend, cores):
    """State topics: snapshots, removals, events; a rebuilt state equals the hub's at random."""
    with HubServer(step, programs, backend=backend, cores=cores) as server:
        for number in range(TOPICS):
            step.check(f"snapshots ({number})", _snapshots, server, f"book.{number}")
            step.check(f"an event keeps the state that it belongs to ({number})", _events_of_state, server, f"book.event{number}")
        seed = random.SystemRandom().randrange(2**31)
        step.note(f"seed {seed}")
        for number in range(TOPICS):
            step.check(f"random changes, joins and resumes (seed {seed + number})", _random_state, server, f"book.random{number}", seed + number)
        for number in range(2):
            step.check(f"joining a large state while it changes (seed {seed + number})", _large_state, server, f"book.large{number}", seed + number)


def _snapshots(server, topic):
    with Peer(server.address) as publisher, Peer(server.address) as peer:
        empty = peer.follow(topic)
        expect((empty["kind"], empty["seq"], empty.get("snapshot", False)), ("state", 0, False))
        for key, data in (("a", 1), ("b", 2), ("c", 3), ("a", 4)):
            publisher.publish(topic, data, key=key)
        publisher.publish(topic, key="b", remove=True)
        publisher.publish(topic, "e", key="c", event=True)
        heard = peer.hear_data(6)
        expect(heard[4:], [{"topic": topic, "seq": 5, "key": "b", "removed": True}, {"topic": topic, "seq": 6, "key": "c", "event": True, "data": "e"}])
        with Peer(server.address) as late:
            subscribed = late.follow(topic, history=100)
            expect((subscribed["seq"], subscribed["snapshot"], "replay" in subscribed, "recovered" in subscribed), (6, True, False, False))
            expect(late.hear(), {"op": "snapshot", "topic": topic, "epoch": subscribed["epoch"], "as_of": 6, "count": 2, "whole": True})
            expect(late.hear_data(2), [{"topic": topic, "seq": 3, "key": "c", "data": 3}, {"topic": topic, "seq": 4, "key": "a", "data": 4}])
            publisher.publish(topic, 7, key="d")
            expect(late.hear()["seq"], 7)
            late.close()
        with Peer(server.address) as without:
            subscribed = without.follow(topic, snapshot=False)
            expect((subscribed["seq"], "snapshot" in subscribed), (7, False))
            publisher.publish(topic, 8, key="d")
            expect(without.hear()["seq"], 8)
            without.sync()
            without.close()
        for key in "acd":
            publisher.publish(topic, key=key, remove=True)
        with Peer(server.address) as none:
            subscribed = none.follow(topic)
            expect((subscribed["seq"], subscribed["snapshot"]), (11, True))
            expect(none.hear(), {"op": "snapshot", "topic": topic, "epoch": subscribed["epoch"], "as_of": 11, "count": 0, "whole": True})
            none.sync()
            none.close()
        expect([each["seq"] for each in peer.hear_data(5)], list(range(7, 12)))
        peer.close()
        publisher.close()


def _events_of_state(server, topic):
    with Peer(server.address) as publisher:
        epoch = publisher.ask(op="publish", topic=topic, key="q", data="quote 1")["epoch"]
        publisher.publish(topic, "trade at quote 1", key="q", event=True)
        publisher.publish(topic, "quote 2", key="q")
        publisher.publish(topic, "quote 3", key="q")
        with Peer(server.address) as peer:
            subscribed = peer.follow(topic, resume={topic: {"epoch": epoch, "seq": 0}})
            expect((subscribed["recovered"], subscribed["replay"]), (True, 4))
            expect(peer.hear(), {"op": "conflated", "topic": topic, "from": 1, "to": 4, "count": 3, "whole": True})
            expect([each["data"] for each in peer.hear_data(3)], ["quote 1", "trade at quote 1", "quote 3"])
            peer.close()
        publisher.close()


def _random_state(server, topic, seed):
    chooser = random.Random(seed)
    log = [None]
    state_at = [{}]
    with Peer(server.address) as publisher:
        epoch = None
        for _round in range(30):
            for _ in range(chooser.randrange(1, 20)):
                key = f"k{chooser.randrange(12)}"
                kind = chooser.choice(("update", "update", "update", "remove", "event"))
                members = {"remove": {"remove": True}, "event": {"event": True, "data": len(log)}, "update": {"data": len(log)}}[kind]
                answer = publisher.ask(op="publish", topic=topic, key=key, **members)
                expect((answer["op"], answer.get("seq")), ("published", len(log)))
                epoch = answer["epoch"]
                now = dict(state_at[-1])
                if kind == "remove":
                    now.pop(key, None)
                elif kind == "update":
                    now[key] = len(log)
                log.append((key, kind))
                state_at.append(now)
            head = len(log) - 1
            with Peer(server.address) as peer:
                follower = Follower(topic, peer.follow(topic)).follow(peer, head)
                expect((follower.state, follower.notices), (state_at[head], ["snapshot"]), f"seed {seed}")
                peer.sync()
                peer.close()
            after = chooser.randrange(head + 1)
            with Peer(server.address) as peer:
                subscribed = peer.follow(topic, resume={topic: {"epoch": epoch, "seq": after}})
                expect((subscribed["recovered"], subscribed["seq"], subscribed.get("replay", 0)), (True, head, head - after))
                follower = Follower(topic, subscribed, state_at[after]).follow(peer, head)
                expect(follower.state, state_at[head], f"seed {seed}")
                # Every event arrives, and none ahead of the state that it was made at.
                events = [seq for seq in range(after + 1, head + 1) if log[seq][1] == "event"]
                expect(follower.events, [(seq, state_at[seq].get(log[seq][0])) for seq in events], f"seed {seed}")
                peer.sync()
                peer.close()
        publisher.close()


class _Plan:
    """What one publisher will publish on a state topic, so that its state at every number is known beforehand."""

    def __init__(self, seed, keys, changes):
        chooser = random.Random(seed)
        self.changes = []
        for number in range(1, changes + 1):
            # First every key, so that a snapshot takes many pieces; then changes and removals.
            key = f"key.{number % keys if number <= keys else chooser.randrange(keys)}"
            kind = "update" if number <= keys else chooser.choice(("update", "update", "update", "event", "remove"))
            self.changes.append((key, kind))

    def command(self, topic, number, **members):
        """The message of one number, of about 200 bytes."""
        key, kind = self.changes[number - 1]
        members |= {"update": {"data": [number, "x" * 150]}, "event": {"event": True, "data": number}, "remove": {"remove": True}}[kind]
        return json.dumps({"op": "publish", "topic": topic, "key": key, **members}).encode()

    def state_at(self, seq):
        """The whole state after a number."""
        state = {}
        for number, (key, kind) in enumerate(self.changes[:seq], 1):
            if kind == "update":
                state[key] = [number, "x" * 150]
            elif kind == "remove":
                state.pop(key, None)
        return state


def _publish_plan(server, topic, plan, first, last, failures):
    try:
        with Peer(server.address) as publisher:
            for number in range(first, last + 1):
                # A core that falls behind makes the hub say `busy`: nothing was published then.
                for _ in range(BUSY_TRIES):
                    publisher.say_text(plan.command(topic, number, id=number))
                    answer = publisher.hear()
                    if answer.get("code") != "busy":
                        break
                expect((answer["op"], answer.get("id"), answer.get("seq")), ("published", number, number))
            publisher.close()
    except (Failure, OSError) as error:
        failures.append(f"publisher: {error}")


def _large_state(server, topic, seed):
    keys, changes = 3000, 10_000
    plan = _Plan(seed, keys, changes)
    failures = []
    _publish_plan(server, topic, plan, 1, keys, failures)
    thread = threading.Thread(target=_publish_plan, args=(server, topic, plan, keys + 1, changes, failures))
    thread.start()
    chooser = random.Random(seed)
    compared = 0
    resume = None
    try:
        for _ in range(12):
            with Peer(server.address, receive_buffer=chooser.choice((8192, 65536, None))) as peer:
                subscribed = peer.follow(topic, **({"resume": {topic: resume}} if resume else {}))
                recovered = subscribed.get("recovered", False)
                follower = Follower(topic, subscribed, plan.state_at(resume["seq"]) if recovered else None)
                for _ in range(3):
                    # Somewhat further each time, and then to where the state is whole.
                    follower.follow(peer, min(changes, follower.position + chooser.randrange(1, 1500)))
                    expect(follower.state == plan.state_at(follower.position), True, f"seed {seed}: the state at {follower.position}")
                    compared += 1
                resume = {"epoch": subscribed["epoch"], "seq": follower.position}
    except Failure as failure:
        failures.append(str(failure))
    thread.join()
    expect((failures, compared), ([], 36), f"seed {seed}")
    with Peer(server.address) as peer:
        follower = Follower(topic, peer.follow(topic)).follow(peer, changes)
        expect(follower.state == plan.state_at(changes), True, f"seed {seed}: the last state")
        peer.close()


def check_rates(step, programs, backend, cores):
    """`max_rate`: what is left out is told, and it can be changed at once."""
    with HubServer(step, programs, backend=backend, cores=cores) as server:
        for number in range(2):
            step.check(f"events: gaps with cause rate ({number})", _rate_of_events, server, f"rate.{number}", f"rate.{number}")
            step.check(f"events by pattern ({number})", _rate_of_events, server, f"ratio{number}.a", f"ratio{number}.*")
            step.check(f"state: merged ({number})", _rate_of_state, server, f"book.rate{number}")


def _rate_of_events(server, topic, name):
    with Peer(server.address) as peer, Peer(server.address) as publisher:
        publisher.publish(topic, 0)
        peer.say(op="subscribe", topics=[name], max_rate=2)
        while (heard := peer.hear()).get("topic") != topic:
            expect(heard, {"op": "subscribed", "pattern": name})
        for number in range(2, 102):
            publisher.publish(topic, number)
        position, delivered = 1, 0
        while position < 101:
            heard = peer.hear()
            if heard.get("op") == "gap":
                expect((heard["from"], heard["cause"]), (position + 1, "rate"))
                position = heard["to"]
            else:
                expect(heard["seq"], position + 1)
                position, delivered = heard["seq"], delivered + 1
        expect(delivered < 20, True, f"{delivered} of 100 messages were delivered at 2 a second")
        # Lifted at once: what comes from now on comes whole.
        expect(peer.ask(op="configure", topics=[name], max_rate=0), {"op": "configured", "id": peer.next_id, "topic": name, "max_rate": 0})
        for number in range(102, 152):
            publisher.publish(topic, number)
        expect([each["seq"] for each in peer.hear_data(50)], list(range(102, 152)))
        peer.sync()
        peer.close()
        publisher.close()


def _rate_of_state(server, topic):
    with Peer(server.address) as peer, Peer(server.address) as publisher:
        subscribed = peer.follow(topic, max_rate=2)
        for number in range(1, 101):
            publisher.publish(topic, number, key=f"k{number % 5}")
        follower = Follower(topic, subscribed)
        while not follower.notices:
            follower.take(peer.hear())
        peer.say(op="configure", topics=[topic], max_rate=0)
        while follower.position < 100 or not follower.whole:
            heard = peer.hear()
            if heard.get("op") != "configured":
                follower.take(heard)
        expect(follower.state, {f"k{number % 5}": number for number in range(96, 101)})
        expect(follower.delivered < 60, True, f"{follower.delivered} of 100 messages of 5 keys were delivered at 2 a second")
        publisher.publish(topic, 101, key="k0")
        while (heard := peer.hear()).get("op") == "configured":
            continue
        expect(heard["seq"], 101)
        peer.close()
        publisher.close()


def check_slow_readers(step, programs, backend, cores):
    """Readers that fall behind: gap, conflation, 4008, 4010; others do not notice."""
    # Not the reader that takes nothing for a while is tested here, which is cut, but the one that comes back.
    with HubServer(step, programs, "--send-stall-timeout-ms", "60000", backend=backend, cores=cores) as server:
        for number in range(2):
            step.check(f"events: gaps with cause slow ({number})", _slow_events, server, f"short.slow{number}")
            step.check(f"events with policy close: 4008 ({number})", _slow_closed, server, f"strict.slow{number}")
            step.check(f"raw: 4010 ({number})", _slow_raw, server, f"short.raw{number}")
            step.check(f"state: merged, and whole again ({number})", _slow_state, server, f"book.slow{number}")


def _stalled(server, protocol="json", target="/"):
    return Peer(server.address, protocol, target, receive_buffer=4096)


def _read_again(slow):
    """A stalled reader reads as fast as any from now on."""
    slow.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, READ_BUFFER_BYTES)


def _publish_big(server, topic, key=None):
    """Publishes far more than a connection that does not read can hold; a reader that keeps up sees all of it."""
    big = "x" * BIG_BYTES
    members = {} if key is None else {"key": key}
    with Peer(server.address) as publisher, Peer(server.address) as healthy:
        start = healthy.follow(topic, snapshot=False)["seq"]
        for number in range(BIG_MESSAGES):
            publisher.publish(topic, big, **members)
            expect(healthy.hear()["seq"], start + number + 1, "a reader that keeps up")
        healthy.close()
        publisher.close()
        return start + BIG_MESSAGES


def _slow_events(server, topic):
    with _stalled(server) as slow:
        expect(slow.follow(topic)["seq"], 0)
        head = _publish_big(server, topic)
        _read_again(slow)
        position, gaps = 0, 0
        while position < head:
            heard = slow.hear()
            if heard.get("op") == "gap":
                expect((heard["topic"], heard["from"], heard["cause"]), (topic, position + 1, "slow"))
                position, gaps = heard["to"], gaps + 1
            else:
                expect(heard["seq"], position + 1)
                position = heard["seq"]
        expect(gaps >= 1, True, "a gap was told")
        with Peer(server.address) as publisher:
            publisher.publish(topic, "after")
            publisher.close()
        expect(slow.hear(), {"topic": topic, "seq": head + 1, "data": "after"})
        slow.close()


def _slow_closed(server, topic):
    with _stalled(server) as slow:
        slow.follow(topic)
        _publish_big(server, topic)
        _read_again(slow)
        slow.closed_with(4008)


def _slow_raw(server, topic):
    with _stalled(server, None, f"/raw/{topic}?history=1") as slow:
        # A raw connection is told nothing, so its own message shows that it has been subscribed.
        with Peer(server.address) as publisher:
            publisher.publish(topic, "first")
            expect(slow.hear(), "first")
            publisher.close()
        _publish_big(server, topic)
        _read_again(slow)
        slow.closed_with(4010)


def _slow_state(server, topic):
    with _stalled(server) as slow:
        subscribed = slow.follow(topic)
        _publish_big(server, topic, key="a")
        head = _publish_big(server, topic, key="b")
        with Peer(server.address) as publisher:
            publisher.publish(topic, key="a", remove=True)
            publisher.publish(topic, "last", key="c")
            publisher.close()
        _read_again(slow)
        follower = Follower(topic, subscribed).follow(slow, head + 2)
        expect((set(follower.state), follower.state["c"]), ({"b", "c"}, "last"))
        expect(set(follower.notices), {"conflated"})
        slow.sync()
        slow.close()
