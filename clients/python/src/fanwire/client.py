"""The connection: made again whenever it ends, with every subscription resumed.

Owns the socket and the answers that are awaited. `track` proves the numbers, `wire` knows the bytes.
"""

from __future__ import annotations

import asyncio
import itertools
import json
import logging
import random as random_module
import time
from collections.abc import Awaitable, Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed, InvalidHandshake, InvalidStatus, InvalidURI
from websockets.typing import Subprotocol

from .backoff import Backoff
from .errors import FanwireError
from .items import Conflated, Fault, Gap, Item, Lost, Message, Notice, Position, Refused, Resumed, Snapshot, Subscribed
from .names import check_filter, matches
from .subscription import Subscription, SubscriptionOptions
from .track import Track, Wrong
from .wire import SUBPROTOCOLS, Data, Malformed, Publish, encode_publish, member, parse_binary, parse_data, parse_text

logger = logging.getLogger("fanwire")

FILTERS_PER_COMMAND_MAX = 128
# Positions beyond this many characters of one `subscribe` are not sent: those topics start over and say so.
RESUME_SIZE_MAX = 128 * 1024
ABNORMAL = 1006
POLICY_VIOLATION = 1008
# Statuses of a refused handshake that another attempt may change; all others are for a person to repair.
RETRIED_STATUSES = frozenset({408, 425, 429})


class Published(NamedTuple):
    """Where a message that was published stands."""

    topic: str
    epoch: str
    seq: int


@dataclass(frozen=True, slots=True)
class Closed:
    """A connection, or an attempt to make one, ended. Without `delay_s` there is no further attempt and `error` says why."""

    code: int
    reason: str
    delay_s: float | None = None
    error: FanwireError | None = None


class _Request:
    """An answer that is awaited; with `names`, one for each of them."""

    def __init__(self, names: Iterable[str] | None = None, subscription: Subscription | None = None) -> None:
        self.names = None if names is None else set(names)
        self.subscription = subscription
        self.refused: list[Refused] = []
        self.future: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        # It may be settled when nobody waits any more.
        self.future.add_done_callback(lambda future: future.cancelled() or future.exception())

    def settle(self, value: Any = None, error: Exception | None = None) -> None:
        if self.future.done():
            return
        if error:
            self.future.set_exception(error)
        else:
            self.future.set_result(value)


class Client:
    """A connection to a hub. Use it as `async with Client(url) as client`.

    Seconds and counts: `backoff_base_s`, `backoff_max_s`, `overload_base_s` (after 1013) bound the delay before a further
    attempt; a connection that lasted `stable_after_s` makes the next failure a first one; `attempts_max` failures in a
    row end it; `open_timeout_s`, `answer_timeout_s` and `heartbeat_s` (pings of RFC 6455) bound the waiting; `queue_max`
    messages may wait for one `async for`, then the socket is not read until some are taken. `retry_policy_violation`: come
    back even after 1008. `connect_options` go to `websockets.connect`. `sleep`, `now` and `random` are for tests.
    """

    def __init__(
        self,
        url: str,
        *,
        protocol: str = "json",
        backoff_base_s: float = 0.25,
        backoff_max_s: float = 30.0,
        overload_base_s: float = 2.0,
        stable_after_s: float = 10.0,
        open_timeout_s: float = 10.0,
        answer_timeout_s: float = 10.0,
        heartbeat_s: float | None = 25.0,
        queue_max: int = 10_000,
        attempts_max: int | None = None,
        retry_policy_violation: bool = False,
        connect_options: Mapping[str, Any] | None = None,
        sleep: Callable[[float], Awaitable[object]] = asyncio.sleep,
        now: Callable[[], float] = time.monotonic,
        random: Callable[[], float] = random_module.random,
    ) -> None:
        if protocol not in SUBPROTOCOLS:
            raise FanwireError("bad_option", f'protocol is {protocol!r}; it must be "json" or "binary"')
        self.url = url
        self._protocol = protocol
        self._stable_after_s = stable_after_s
        self._open_timeout_s = open_timeout_s
        self._answer_timeout_s = answer_timeout_s
        self._heartbeat_s = heartbeat_s
        self._queue_max = queue_max
        self._attempts_max = attempts_max
        self._retry_policy_violation = retry_policy_violation
        self._connect_options = dict(connect_options or {})
        self._sleep = sleep
        self._now = now
        self._backoff = Backoff(backoff_base_s, backoff_max_s, overload_base_s, random)
        self._listeners: dict[str, list[Callable[[Any], object]]] = {}
        self._socket: ClientConnection | None = None
        self._is_ended = False
        self._task: asyncio.Task[None] | None = None
        self._opened: asyncio.Future[None] | None = None
        self._room = asyncio.Event()
        self._subscriptions: list[Subscription] = []
        self._active: set[str] = set()
        self._routes: dict[str, list[Subscription]] = {}
        self._tracks: dict[str, Track] = {}
        self._aliases: dict[int, str] = {}
        self._pending: dict[int, _Request] = {}
        self._ids = itertools.count(1)

    # ---- What a program uses.

    async def __aenter__(self) -> Client:
        return await self.open()

    async def __aexit__(self, *_exception: object) -> None:
        await self.close()

    @property
    def is_open(self) -> bool:
        """Whether there is a connection now."""
        return self._socket is not None

    async def open(self) -> Client:
        """Connects, and again until it works. Raises when this client gives up."""
        if self._opened is None:
            self._opened = asyncio.get_running_loop().create_future()
            self._opened.add_done_callback(lambda future: future.cancelled() or future.exception())
            self._task = asyncio.create_task(self._run(), name="fanwire")
        await asyncio.shield(self._opened)
        return self

    def on(self, name: str, listener: Callable[[Any], object]) -> Callable[[], None]:
        """Listens to `open` (the attempt), `close` (a Closed), `notice`, `fault` or `error`; returns what stops listening."""
        self._listeners.setdefault(name, []).append(listener)
        return lambda: self._listeners[name].remove(listener)

    def subscribe(
        self,
        topics: str | Iterable[str],
        *,
        max_rate: int | None = None,
        history: int | None = None,
        snapshot: bool | None = None,
        resume: Mapping[str, tuple[str, int]] | None = None,
        notices: bool = False,
        on_message: Callable[[Message], object] | None = None,
        on_notice: Callable[[Notice], object] | None = None,
    ) -> Subscription:
        """Subscribes to names and patterns. With `notices` the iteration yields those too, in their places."""
        filters = [topics] if isinstance(topics, str) else list(dict.fromkeys(topics))
        if not filters:
            raise FanwireError("bad_topic", "subscribe needs at least one name or pattern")
        if self._is_ended:
            raise FanwireError("closed", "this client was closed; make a new one")
        for each in filters:
            check_filter(each)
            if any(each in subscription.filters for subscription in self._subscriptions):
                raise FanwireError("already_subscribed", f"{each} is subscribed to; use that subscription, or end it first", topic=each)
        for topic, (epoch, seq) in (resume or {}).items():
            check_filter(topic, is_name=True)
            self._tracks.setdefault(topic, Track(topic, Position(epoch, seq)))
        options = SubscriptionOptions(max_rate, history, snapshot, notices, on_message, on_notice)
        subscription = Subscription(self, set(filters), options)
        self._subscriptions.append(subscription)
        self._routes.clear()
        if self._socket:
            subscription._asking = asyncio.create_task(self._send_all(self._ask(subscription, filters)))
        return subscription

    async def publish(
        self, topic: str, data: Any = None, *, key: str | None = None, event: bool = False, remove: bool = False, ack: bool = True,
        text: bool = False,
    ) -> Published | None:
        """Publishes one message. Bytes, and a string as bare `text`, need the binary protocol. Without `ack` nothing is answered."""
        check_filter(topic, is_name=True)
        answer_id = next(self._ids) if ack else None
        message = encode_publish(self._protocol, Publish(topic, data, key, event, remove, text), answer_id)
        if answer_id is None:
            await self._send(message)
            return None
        answer = await self._ask_once(answer_id, message)
        return Published(member(answer, "topic", str), member(answer, "epoch", str), member(answer, "seq", int))

    async def ping(self) -> float:
        """Asks the server for an answer; the seconds it took."""
        answer_id = next(self._ids)
        started = self._now()
        await self._ask_once(answer_id, json.dumps({"op": "ping", "id": answer_id}))
        return self._now() - started

    async def close(self, code: int = 1000, reason: str = "") -> None:
        """Ends the connection and everything on it, for good."""
        was_ended, self._is_ended = self._is_ended, True
        if self._socket:
            self._room.set()
            await self._socket.close(code, reason)
        if self._task and self._task is not asyncio.current_task():
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)
        if not was_ended:
            self._end(FanwireError("closed", "this client was closed"), code, reason)

    # ---- The connection.

    async def _run(self) -> None:
        while not self._is_ended:
            code, reason, wait_s, error = await self._session()
            self._drop()
            if self._is_ended:
                return
            if error is None and code == POLICY_VIOLATION and not self._retry_policy_violation:
                error = FanwireError(
                    "policy_violation", f"the server closed with 1008 ({reason}): this client broke a limit and does not come back unchanged")
            if error is None and self._attempts_max is not None and self._backoff.attempt + 1 >= self._attempts_max:
                error = FanwireError("given_up", f"{self._attempts_max} attempts failed; the last with {code}, {reason}")
            if error:
                self._is_ended = True
                self._end(error, code, reason)
                return
            delay_s = wait_s + self._backoff.next(code)
            self._emit("close", Closed(code, reason, delay_s))
            await self._sleep(delay_s)

    async def _session(self) -> tuple[int, str, float, FanwireError | None]:
        """One attempt: close code, reason, seconds that the server asked to wait, and what makes it the last one."""
        wanted = Subprotocol(SUBPROTOCOLS[self._protocol])
        options: dict[str, Any] = {
            "subprotocols": [wanted], "open_timeout": self._open_timeout_s, "ping_interval": self._heartbeat_s,
            "ping_timeout": self._answer_timeout_s, "close_timeout": self._answer_timeout_s, "max_size": None, **self._connect_options}
        try:
            socket = await connect(self.url, **options)
        except InvalidURI as error:
            return ABNORMAL, str(error), 0.0, FanwireError("bad_url", str(error))
        except InvalidStatus as error:
            return self._refused(error)
        except (OSError, TimeoutError, InvalidHandshake, ConnectionClosed, EOFError) as error:
            return ABNORMAL, f"{type(error).__name__}: {error}", 0.0, None
        if socket.subprotocol != wanted:
            await socket.close()
            return ABNORMAL, "wrong subprotocol", 0.0, FanwireError(
                "bad_subprotocol", f"the server speaks {socket.subprotocol}, not {wanted}: is it a fanwire hub?")
        opened_at = self._now()
        try:
            await self._converse(socket)
        except ConnectionClosed:
            pass  # Its code and reason are read below, however it ended.
        finally:
            self._socket = None
            if self._now() - opened_at >= self._stable_after_s:
                self._backoff.reset()
        return socket.close_code or ABNORMAL, socket.close_reason or "", 0.0, None

    def _refused(self, error: InvalidStatus) -> tuple[int, str, float, FanwireError | None]:
        status = error.response.status_code
        reason = f"the handshake was refused with {status}"
        if status < 500 and status not in RETRIED_STATUSES:
            body = (error.response.body or b"").decode("utf-8", "replace").strip()[:200]
            return ABNORMAL, reason, 0.0, FanwireError("handshake_refused", f"{reason}: {body}")
        after = error.response.headers.get("Retry-After", "")
        return ABNORMAL, reason, float(after) if after.isdecimal() else 0.0, None

    async def _converse(self, socket: ClientConnection) -> None:
        self._socket = socket
        for subscription in self._subscriptions:
            await self._send_all(self._ask(subscription, sorted(subscription.filters)))
        self._emit("open", self._backoff.attempt)
        if self._opened and not self._opened.done():
            self._opened.set_result(None)
        async for data in socket:
            self._receive(data)
            # What is not read here, the server holds back, merges or announces as a gap.
            while not self._is_ended and any(len(each._queue) >= self._queue_max for each in self._subscriptions):
                self._room.clear()
                await self._room.wait()

    def _taken(self) -> None:
        if not self._room.is_set() and all(2 * len(each._queue) <= self._queue_max for each in self._subscriptions):
            self._room.set()

    def _drop(self) -> None:
        """Forgets the connection; positions stay."""
        self._socket = None
        for track in self._tracks.values():
            track.stop()
        self._aliases.clear()
        self._active.clear()
        pending, self._pending = self._pending, {}
        for request in pending.values():
            if request.names is None:
                request.settle(error=FanwireError("connection_lost", "the connection ended before the answer; the message may have been published"))
            else:
                # A subscription is asked for again on the next connection, the end of one is then true.
                request.settle()

    def _end(self, error: FanwireError, code: int, reason: str) -> None:
        self._drop()
        subscriptions, self._subscriptions = self._subscriptions, []
        for subscription in subscriptions:
            subscription._end(None if error.code == "closed" else error)
        if self._opened and not self._opened.done():
            self._opened.set_exception(error)
        self._emit("close", Closed(code, reason, None, error))

    # ---- Commands and their answers.

    async def _send(self, message: str | bytes) -> None:
        if self._socket is None:
            raise FanwireError("not_connected", "there is no connection now; nothing was sent")
        try:
            await self._socket.send(message)
        except ConnectionClosed:
            raise FanwireError("connection_lost", "the connection ended while this was sent") from None

    async def _send_all(self, messages: Iterable[str]) -> None:
        try:
            for message in messages:
                await self._send(message)
        except FanwireError:
            pass  # Everything is asked for again on the next connection.

    async def _ask_once(self, answer_id: int, message: str | bytes) -> Any:
        request = self._pending[answer_id] = _Request()
        try:
            await self._send(message)
            return await asyncio.wait_for(request.future, self._answer_timeout_s)
        except TimeoutError:
            raise FanwireError("timeout", "the server did not answer in time; the message may have been published") from None
        finally:
            self._pending.pop(answer_id, None)

    def _ask(self, subscription: Subscription, filters: list[str]) -> list[str]:
        """The commands of one subscription, and the expectation of their answers."""
        commands = []
        for first in range(0, len(filters), FILTERS_PER_COMMAND_MAX):
            topics = filters[first : first + FILTERS_PER_COMMAND_MAX]
            answer_id = next(self._ids)
            command = {"op": "subscribe", "id": answer_id, "topics": topics, **subscription.options.members()}
            resume = self._resume(topics)
            if resume:
                command["resume"] = resume
            self._pending[answer_id] = _Request(topics, subscription)
            commands.append(json.dumps(command, ensure_ascii=False))
        return commands

    def _resume(self, filters: list[str]) -> dict[str, Any]:
        # A topic that several subscriptions cover is in all of them: whichever the server takes first, it resumes.
        resume: dict[str, Any] = {}
        size = 0
        for topic, track in self._tracks.items():
            position = track.position
            if position is None or track.is_live or not any(matches(each, topic) for each in filters):
                continue
            size += len(topic) + len(position.epoch) + 40
            if size > RESUME_SIZE_MAX:
                break
            resume[topic] = position._asdict()
        return resume

    def _positions(self, subscription: Subscription) -> dict[str, Position]:
        return {
            topic: track.position for topic, track in self._tracks.items()
            if track.position and any(matches(each, topic) for each in subscription.filters)}

    async def _unsubscribe(self, subscription: Subscription) -> None:
        if subscription in self._subscriptions:
            self._subscriptions.remove(subscription)
        self._routes.clear()
        if self._socket:
            await self._command("unsubscribe", subscription)
        else:
            wanted = [each for other in self._subscriptions for each in other.filters]
            self._forget(topic for topic in list(self._tracks) if not any(matches(each, topic) for each in wanted))

    async def _configure(self, subscription: Subscription) -> None:
        if self._socket:
            await self._command("configure", subscription, max_rate=subscription.options.max_rate)

    async def _command(self, operation: str, subscription: Subscription, **members: Any) -> None:
        if subscription._asking:
            await subscription._asking
        filters = sorted(subscription.filters)
        requests = []
        for first in range(0, len(filters), FILTERS_PER_COMMAND_MAX):
            topics = filters[first : first + FILTERS_PER_COMMAND_MAX]
            answer_id = next(self._ids)
            request = self._pending[answer_id] = _Request(topics)
            requests.append(request)
            await self._send_all([json.dumps({"op": operation, "id": answer_id, "topics": topics, **members}, ensure_ascii=False)])
            if self._socket is None:
                request.settle()
        for request in requests:
            await request.future

    def _forget(self, topics: Iterable[str]) -> None:
        for topic in list(topics):
            del self._tracks[topic]

    # ---- What arrives.

    def _receive(self, data: str | bytes) -> None:
        try:
            if isinstance(data, bytes):
                self._on_data(parse_binary(data, self._aliases))
            else:
                self._on_text(parse_text(data))
        except Malformed as error:
            self._fault(Fault("malformed", f"a message of the server is malformed: {error}"))

    def _on_text(self, message: dict[str, Any]) -> None:
        match message.get("op"):
            case None:
                self._on_data(parse_data(message))
            case "subscribed":
                self._on_subscribed(message)
            case "snapshot" | "conflated" | "gap":
                self._on_announced(message)
            case "published" | "pong":
                request = self._pending.get(message.get("id", 0))
                if request and request.names is None:
                    request.settle(message)
            case "unsubscribed":
                self._on_unsubscribed(message)
            case "configured":
                self._answer(message, message.get("topic") or message.get("pattern"))
            case "error":
                self._on_error(message)
            case _:
                pass  # No fault: the server may be newer than this client.

    def _on_data(self, data: Data) -> None:
        track = self._live(data.topic)
        wrong = track.message(data.seq)
        if wrong:
            self._topic_fault(track, wrong)
            if wrong.reason == "duplicate":
                return
        self._deliver(Message(data.topic, track.epoch or "", data.seq, data.data, data.key, data.event, data.removed))

    def _on_subscribed(self, message: dict[str, Any]) -> None:
        if "topic" in message:
            self._start(message)
            if "pattern" in message:
                return
        name = member(message, "topic" if "topic" in message else "pattern", str)
        self._active.add(name)
        self._answer(message, name)

    def _start(self, message: dict[str, Any]) -> None:
        topic, epoch, seq = member(message, "topic", str), member(message, "epoch", str), member(message, "seq", int)
        replay = member(message, "replay", int) if "replay" in message else 0
        if "alias" in message:
            self._aliases[member(message, "alias", int)] = topic
        track = self._tracks.setdefault(topic, Track(topic))
        has_snapshot = message.get("snapshot") is True
        if track.is_live and message.get("already") is True:
            return  # Another subscription of this connection covers it: it flows already and is not begun again.
        before = track.position
        kind = str(message.get("kind", ""))
        track.start(epoch, seq - replay, kind, awaits_snapshot=has_snapshot)
        if message.get("recovered") is True:
            if before != track.position:
                self._topic_fault(track, Wrong("hole", before.seq + 1 if before else 1, track.seq))
            self._notice(Resumed(topic, epoch, seq, kind, replay))
        elif before:
            code = message.get("code") or ("not_resumed" if before.epoch == epoch else "epoch_changed")
            self._notice(Lost(topic, epoch, seq, kind, replay, str(code), before))
        else:
            self._notice(Subscribed(topic, epoch, seq, kind, replay))

    def _on_announced(self, message: dict[str, Any]) -> None:
        topic = member(message, "topic", str)
        track = self._live(topic)
        if message["op"] == "snapshot":
            epoch, as_of, count = member(message, "epoch", str), member(message, "as_of", int), member(message, "count", int)
            wrong = track.snapshot(epoch, as_of, count)
            notice: Notice = Snapshot(topic, epoch, as_of, count, message.get("whole") is True)
        else:
            start, end = member(message, "from", int), member(message, "to", int)
            if message["op"] == "gap":
                wrong = track.gap(start, end)
                notice = Gap(topic, start, end, str(message.get("cause", "")))
            else:
                count = member(message, "count", int)
                wrong = track.conflated(start, end, count)
                notice = Conflated(topic, start, end, count, message.get("whole") is True)
        if wrong:
            self._topic_fault(track, wrong)
        self._notice(notice)

    def _on_unsubscribed(self, message: dict[str, Any]) -> None:
        name = message.get("topic") or message.get("pattern") or ""
        self._active.discard(name)
        # Topics that no subscription on this connection covers any more have ended, and with them their positions.
        self._forget(
            topic for topic, track in self._tracks.items()
            if track.is_live and not any(matches(each, topic) for each in self._active))
        self._answer(message, name)

    def _on_error(self, message: dict[str, Any]) -> None:
        code, text, topic = str(message.get("code", "")), str(message.get("message", "")), message.get("topic")
        error = FanwireError(code, text, topic=topic if isinstance(topic, str) else None)
        request = self._pending.get(message.get("id", 0))
        if request is None:
            self._emit("error", error)
        elif request.names is None:
            request.settle(error=error)
        else:
            names = [error.topic] if error.topic in request.names else sorted(request.names)
            request.refused += [Refused(name or "", code, text) for name in names]
            for name in names:
                self._answer(message, name)

    def _answer(self, message: dict[str, Any], name: str | None) -> None:
        answer_id = message.get("id", 0)
        request = self._pending.get(answer_id)
        if request is None or request.names is None:
            return
        request.names.discard(name or "")
        if request.names:
            return
        del self._pending[answer_id]
        error = None
        if request.refused:
            first = request.refused[0]
            more = f" (and {len(request.refused) - 1} more)" if len(request.refused) > 1 else ""
            error = FanwireError(first.code, f"{first.topic}: {first.message}{more}", topic=first.topic, refused=request.refused)
        if request.subscription:
            self._settle(request.subscription, error)
        request.settle(error=error)

    def _settle(self, subscription: Subscription, error: FanwireError | None) -> None:
        if error:
            for refused in error.refused:
                subscription.filters.discard(refused.topic)
                subscription._deliver(refused)
            self._routes.clear()
            subscription._refuse(error)
            if not subscription.filters and subscription in self._subscriptions:
                self._subscriptions.remove(subscription)
        elif not any(request.subscription is subscription for request in self._pending.values()):
            subscription._answered()

    def _live(self, topic: str) -> Track:
        track = self._tracks.get(topic)
        if track is None or not track.is_live:
            raise Malformed(f"{topic!r} is not subscribed to")
        return track

    def _deliver(self, item: Item) -> None:
        topic = item.topic or ""
        route = self._routes.get(topic)
        if route is None:
            route = [each for each in self._subscriptions if any(matches(name, topic) for name in each.filters)]
            self._routes[topic] = route
        for subscription in route:
            subscription._deliver(item)

    def _notice(self, notice: Notice) -> None:
        self._emit("notice", notice)
        self._deliver(notice)

    def _topic_fault(self, track: Track, wrong: Wrong) -> None:
        if wrong.reason == "hole":
            text = f"messages {wrong.start} to {wrong.end} of {track.topic} are missing and were not announced"
        else:
            text = f"message {wrong.start} of {track.topic} arrived twice"
        self._fault(Fault(wrong.reason, text, track.topic, track.epoch, wrong.start, wrong.end))

    def _fault(self, fault: Fault) -> None:
        logger.warning("%s", fault.message)
        self._emit("fault", fault)
        if fault.topic is not None:
            self._deliver(fault)

    def _emit(self, name: str, value: Any) -> None:
        for listener in list(self._listeners.get(name, ())):
            self._call(listener, value)

    def _call(self, callback: Callable[[Any], object], value: Any) -> None:
        try:
            callback(value)
        except Exception as error:  # The caller's fault is reported as asyncio reports one, and the connection goes on.
            asyncio.get_running_loop().call_exception_handler({"message": "a callback of a fanwire client failed", "exception": error})
