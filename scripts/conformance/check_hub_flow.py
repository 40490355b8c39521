"""State topics, rate caps and readers that fall behind: what is merged or left out, and that it is told."""

import json
import random
import socket
import threading

from check_hub_peers import Follower, HubServer, Peer, draw_seed, expect
from report import Failure

# Topics that are tried one after the other, so that their homes lie on every core.
TOPICS = 4
BIG_BYTES = 32_000
# Above what sockets and the server's buffers hold for one connection: the reader has fallen behind for certain.
BIG_MESSAGES = 400
# Each takes a round trip, so this is about a second.
BUSY_TRIES = 10_000
READ_BUFFER_BYTES = 4 << 20


def check_state(step, programs, backend, cores):
    """State topics: snapshots, removals, events; a rebuilt state equals the hub's at random."""
    with HubServer(step, programs, backend=backend, cores=cores) as server:
        for number in range(TOPICS):
            step.check(f"snapshots ({number})", _snapshots, server, f"book.{number}")
            step.check(f"an event keeps the state that it belongs to ({number})", _events_of_state, server, f"book.event{number}")
        seed = draw_seed(step)
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
