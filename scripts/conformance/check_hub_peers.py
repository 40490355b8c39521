"""What the steps about `fanwire serve` share: the server, and a plain-socket client that speaks its protocol.

Written against docs/protocol.md, not against the server.
"""

import json
import os
import random
import struct
import tempfile
from pathlib import Path

from processes import Server
from report import Failure
from wire import BINARY, CLOSE, PING, PONG, TEXT, Client, frame

# Small logs and few keys, so that every limit is near. What no rule names holds events.
CONFIGURATION = """
[hub]
payload_max = "64KiB"

[[topic]]
pattern = "book.>"
kind = "state"

[[topic]]
pattern = "few.>"
kind = "state"
keys_max = 3

[[topic]]
pattern = "short.>"
kind = "events"
log_messages_max = 8

[[topic]]
pattern = "strict.>"
kind = "events"
behind = "close"
log_messages_max = 8

[[topic]]
pattern = "shortstate.>"
kind = "state"
log_messages_max = 8
"""
PAYLOAD_MAX_BYTES = 64 << 10
MESSAGE = struct.Struct("<BBHIQ")
PUBLISH = struct.Struct("<BBHHHQ")
EVENT, REMOVED, JSON, OTHER_TEXT, ANSWER = 1, 2, 4, 8, 16


def draw_seed(step):
    """The seed of a random test: FANWIRE_SEED if it is set, so that what failed can be replayed."""
    seed = int(os.environ.get("FANWIRE_SEED") or random.SystemRandom().randrange(2**31))
    step.note(f"replay with FANWIRE_SEED={seed} scripts/test --only {step.name}")
    return seed


class HubServer(Server):
    """One running `fanwire serve` with the rules above."""

    def __init__(self, step, programs, *options, **more):
        super().__init__(step, programs, *options, **more)
        self._folder = tempfile.TemporaryDirectory(prefix="fanwire-hub-")
        path = Path(self._folder.name) / "fanwire.toml"
        path.write_text(CONFIGURATION, encoding="utf-8")
        at = self.command.index("echo")
        self.command[at : at + 1] = ["serve", "--config", str(path), "--no-admin"]

    def __exit__(self, kind, error, trace):
        try:
            super().__exit__(kind, error, trace)
        finally:
            self._folder.cleanup()


class Peer(Client):
    """A connection to a hub. What it hears is checked strictly: unknown members of known messages are noted as they are."""

    def __init__(self, address, protocol="json", target="/", extra=(), **more):
        super().__init__(address, **more)
        self.protocol = protocol
        extra = [*extra, *([f"Sec-WebSocket-Protocol: fanwire.v1.{protocol}"] if protocol else [])]
        try:
            self.response = self.open(target, extra)
            wanted = [f"fanwire.v1.{protocol}"] if protocol else []
            if self.response.values("sec-websocket-protocol") != wanted:
                raise Failure(f"expected the subprotocol {wanted}, saw {self.response.values('sec-websocket-protocol')}")
        except BaseException:
            self.socket.close()
            raise
        self.next_id = 1

    def say(self, **command):
        """Sends a command; keywords that end in `_` lose it."""
        self.say_text(json.dumps(command))

    def say_text(self, text):
        """Sends one text message as it is."""
        self.send(frame(TEXT, text if isinstance(text, bytes) else text.encode()))

    def say_bytes(self, payload):
        """Sends one binary message."""
        self.send(frame(BINARY, payload))

    def hear_text(self):
        """The text of the next message, which must be one."""
        received = self.receive_message()
        if received.opcode != TEXT:
            raise Failure(f"expected text, saw {received}"[:300])
        return received.payload.decode()

    def hear(self):
        """The next message: an object, or the bytes of a binary one."""
        received = self.receive_message()
        payload = received.inflated()
        return json.loads(payload) if received.opcode == TEXT else payload

    def new_id(self):
        """An id that this connection has not used."""
        self.next_id += 1
        return self.next_id

    def ask(self, **command):
        """Sends a command with a new id; its answer, which must be the next thing heard."""
        wanted = self.new_id()
        self.say(**command, id=wanted)
        answer = self.hear()
        if not isinstance(answer, dict) or answer.get("id") != wanted:
            raise Failure(f"expected the answer to {command}, saw {answer}"[:400])
        return answer

    def sync(self):
        """Fails unless a ping is answered, and nothing but it comes before."""
        expect(self.ask(op="ping"), {"op": "pong", "id": self.next_id})

    def publish(self, topic, data=None, **members):
        """Publishes and waits for the acknowledgement, which must be the next thing heard; its seq."""
        if "remove" not in members:
            members["data"] = data
        answer = self.ask(op="publish", topic=topic, **members)
        if answer.get("op") != "published" or answer.get("topic") != topic or set(answer) != {"op", "id", "topic", "epoch", "seq"}:
            raise Failure(f"expected an acknowledgement for {topic}, saw {answer}")
        return answer["seq"]

    def subscribe(self, *topics, **members):
        """Subscribes to names; their answers in order. Fails when anything else comes between."""
        wanted = self.new_id()
        self.say(op="subscribe", id=wanted, topics=list(topics), **members)
        answers = {}
        early = []
        while len(answers) < len(topics):
            heard = self.hear()
            if heard.get("op") in ("subscribed", "error") and heard.get("id") == wanted:
                answers[heard.get("topic") or heard.get("pattern")] = heard
            else:
                early.append(heard)
        self.early = early
        return [answers.get(topic) for topic in topics]

    def follow(self, topic, **members):
        """Subscribes to one name; its answer."""
        (answer,) = self.subscribe(topic, **members)
        if not answer or answer["op"] != "subscribed" or self.early:
            raise Failure(f"expected to be subscribed to {topic}, saw {answer} and {self.early}")
        return answer

    def hear_data(self, count):
        """So many messages of topics; fails on anything else."""
        heard = [self.hear() for _ in range(count)]
        wrong = [each for each in heard if not isinstance(each, dict) or "op" in each]
        if wrong:
            raise Failure(f"expected {count} messages, saw {wrong[:5]}")
        return heard

    def closed_with(self, code, patience=100_000):
        """Fails unless the server closes with this code, whatever it sends before."""
        for _ in range(patience):
            received = self.receive_frame()
            if received.opcode == PING:
                self.send(frame(PONG, received.payload))
            elif received.opcode == CLOSE:
                if received.close_code() != code:
                    raise Failure(f"expected close code {code}, saw {received.close_code()} {received.payload[2:]}")
                return received.payload[2:].decode()
        raise Failure(f"expected close code {code}, saw {patience} frames")


def expect(seen, wanted, about=""):
    """Fails unless both are equal."""
    if seen != wanted:
        raise Failure(f"{about + ': ' if about else ''}expected {str(wanted)[:600]}, saw {str(seen)[:600]}")


def expect_error(answer, code, **members):
    """Fails unless this is an error with this code and these members, with a message for a person."""
    if not isinstance(answer, dict) or answer.get("op") != "error" or answer.get("code") != code:
        raise Failure(f"expected the error {code}, saw {str(answer)[:300]}")
    if set(answer) - {"op", "id", "code", "topic", "message"} or len(answer.get("message", "")) < 10:
        raise Failure(f"an error has op, id, code, topic and a message that helps; saw {str(answer)[:300]}")
    for name, value in members.items():
        if answer.get(name) != value:
            raise Failure(f"expected {name} {value!r} in {str(answer)[:300]}")


def encode_publish(topic, payload, flags, key=b"", answer_id=0, kind=2, reserved=0, sizes=None):
    """A publish of the binary subprotocol (section 5); `sizes` are lengths of key and topic to claim instead of the true ones."""
    name = topic.encode() if isinstance(topic, str) else topic
    key_size, name_size = sizes or (len(key), len(name))
    return PUBLISH.pack(kind, flags, key_size, name_size, reserved, answer_id) + name + key + payload


def encode_message(alias, seq, payload, flags, key=b""):
    """A message of the binary subprotocol, as the server must send it."""
    return MESSAGE.pack(1, flags, len(key), alias, seq) + key + payload


class Follower:
    """Rebuilds one state topic from what is heard, and fails on any number that is missing or out of order (section 4)."""

    def __init__(self, topic, subscribed, state=None):
        self.topic = topic
        self.position = subscribed["seq"] - subscribed.get("replay", 0)
        self.state = dict(state or {})
        self.whole = state is not None or self.position == 0
        self.events = []
        self.notices = []
        self.delivered = 0
        self._left = 0
        self._end = 0
        self._will_be_whole = True

    def take(self, heard):
        """One thing that was heard."""
        expect(heard.get("topic"), self.topic, str(heard))
        operation = heard.get("op")
        if operation is None:
            self._take_message(heard)
            return
        self.notices.append(operation)
        expect(self._left, 0, f"{heard} came before the last batch had ended")
        if operation == "snapshot":
            self.state = {}
            self.position = 0
            self._announce(heard["as_of"], heard)
        else:
            expect((operation, heard["from"]), ("conflated", self.position + 1), str(heard))
            self._announce(heard["to"], heard)

    def _announce(self, end, heard):
        self._end, self._left, self._will_be_whole = end, heard["count"], heard["whole"]
        self.whole = False
        self._end_batch()

    def _end_batch(self):
        if self._left == 0:
            self.position, self.whole = self._end, self._will_be_whole

    def _take_message(self, heard):
        seq, key = heard["seq"], heard["key"]
        is_next = self.position < seq <= self._end if self._left else seq == self.position + 1
        expect(is_next, True, f"{heard} after {self.position}, {self._left} left up to {self._end}")
        self.position = seq
        self.delivered += 1
        if heard.get("removed"):
            self.state.pop(key, None)
        elif heard.get("event"):
            self.events.append((seq, self.state.get(key)))
        else:
            self.state[key] = heard["data"]
        if self._left:
            self._left -= 1
            self._end_batch()

    def follow(self, peer, until):
        """Takes what a peer hears until a message has been passed and the state is whole."""
        while self.position < until or not self.whole:
            self.take(peer.hear())
        return self
