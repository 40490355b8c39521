"""What arrives on a subscription: messages, and notices about what is to come, is missing, or is wrong."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, NamedTuple


class Position(NamedTuple):
    """The last message of a topic that was processed."""

    epoch: str
    seq: int


@dataclass(frozen=True, slots=True)
class Message:
    """One message of a topic. `data` is bytes when the payload is neither JSON nor other text."""

    topic: str
    epoch: str
    seq: int
    data: Any = None
    key: str | None = None
    event: bool = False
    """Belongs to its key but is no state."""
    removed: bool = False
    """The key was removed; there is no data."""


@dataclass(frozen=True, slots=True)
class Subscribed:
    """A topic begins. `seq` was its newest message; `replay` messages up to it follow."""

    topic: str
    epoch: str
    seq: int
    kind: str
    replay: int


@dataclass(frozen=True, slots=True)
class Resumed(Subscribed):
    """A topic goes on where it was cut off; nothing is missing."""


@dataclass(frozen=True, slots=True)
class Lost(Subscribed):
    """A topic starts over: what was missed since `before` cannot be had, for the reason `code`."""

    code: str
    before: Position


@dataclass(frozen=True, slots=True)
class Snapshot:
    """Forget the topic; the next `count` messages are its state."""

    topic: str
    epoch: str
    as_of: int
    count: int
    whole: bool


@dataclass(frozen=True, slots=True)
class Conflated:
    """Of the messages `start` to `end` only the next `count` of the topic arrive; newer ones replaced the others."""

    topic: str
    start: int
    end: int
    count: int
    whole: bool


@dataclass(frozen=True, slots=True)
class Gap:
    """The messages `start` to `end` will not arrive."""

    topic: str
    start: int
    end: int
    cause: str


@dataclass(frozen=True, slots=True)
class Refused:
    """The server refused a name or pattern; it is not asked for again."""

    topic: str
    code: str
    message: str


@dataclass(frozen=True, slots=True)
class Fault:
    """The server broke its promise: a `hole` that was not announced, a `duplicate` (left out here), something `malformed`."""

    reason: str
    message: str
    topic: str | None = None
    epoch: str | None = None
    start: int = 0
    end: int = 0


Notice = Subscribed | Resumed | Lost | Snapshot | Conflated | Gap | Refused | Fault
Item = Message | Notice
