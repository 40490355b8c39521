"""The position in one topic, and the proof that its numbers have no hole that was not announced.

Knows nothing of connections: the caller reports what arrives, in order.
"""

from __future__ import annotations

from dataclasses import dataclass

from .items import Position


@dataclass(frozen=True, slots=True)
class Wrong:
    """What the server did wrong: a `hole` from `start` to `end`, or a `duplicate` that is not to be delivered."""

    reason: str
    start: int
    end: int


class Track:
    """Position of one topic (docs/protocol.md, section 4)."""

    def __init__(self, topic: str, position: Position | None = None) -> None:
        self.topic = topic
        self.epoch = position.epoch if position else None
        self.seq = position.seq if position else 0
        self.kind = ""
        self.is_live = False
        self._awaits_snapshot = False
        self._batch_end = 0
        self._batch_left = 0

    @property
    def position(self) -> Position | None:
        """Where to resume; None while there is nothing that one could go on from."""
        return None if self.epoch is None else Position(self.epoch, self.seq)

    def start(self, epoch: str, seq: int, kind: str, *, awaits_snapshot: bool = False) -> None:
        """After `subscribed`: a snapshot, or the message behind `seq`, comes next."""
        self.epoch, self.seq, self.kind = epoch, seq, kind
        self.is_live = True
        self._awaits_snapshot = awaits_snapshot
        self._batch_left = 0

    def stop(self) -> None:
        """The connection ended; the position stays, unless there is no state yet that one could go on from."""
        if self._awaits_snapshot:
            self.epoch = None
        self.is_live = self._awaits_snapshot = False
        self._batch_left = 0

    def message(self, seq: int) -> Wrong | None:
        """One message arrived."""
        if seq <= self.seq:
            return Wrong("duplicate", seq, seq)
        before, self.seq = self.seq, seq
        if self._batch_left == 0:
            return None if seq == before + 1 else Wrong("hole", before + 1, seq - 1)
        if seq > self._batch_end:
            self._batch_left = 0
            return Wrong("hole", before + 1, seq - 1)
        self._batch_left -= 1
        if self._batch_left == 0:
            self.seq = self._batch_end
        return None

    def snapshot(self, epoch: str, as_of: int, count: int) -> Wrong | None:
        """A snapshot of `count` messages was announced."""
        wrong = self._cut_short()
        self._awaits_snapshot = False
        self.epoch, self.seq = epoch, 0
        self._begin_batch(as_of, count)
        return wrong

    def conflated(self, start: int, end: int, count: int) -> Wrong | None:
        """Of `start` to `end` only `count` messages were announced."""
        wrong = self._cut_short() or self._announced(start)
        self._begin_batch(end, count)
        return wrong

    def gap(self, start: int, end: int) -> Wrong | None:
        """The absence of `start` to `end` was announced."""
        wrong = self._cut_short() or self._announced(start)
        self.seq = max(self.seq, end)
        self._awaits_snapshot = self.kind == "state"
        return wrong

    def _begin_batch(self, end: int, count: int) -> None:
        self._batch_end, self._batch_left = end, count
        if count == 0:
            self.seq = max(self.seq, end)

    def _cut_short(self) -> Wrong | None:
        if self._batch_left == 0:
            return None
        wrong = Wrong("hole", self.seq + 1, self._batch_end)
        self.seq, self._batch_left = self._batch_end, 0
        return wrong

    def _announced(self, start: int) -> Wrong | None:
        return None if start == self.seq + 1 else Wrong("hole", self.seq + 1, start - 1)
