"""A state topic as a mapping."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from typing import Any

from .items import Conflated, Fault, Gap, Item, Lost, Message, Resumed, Snapshot, Subscribed


class StateMap(Mapping[str, Any]):
    """From key to data of one topic. Apply every message and every notice of the topic, in order."""

    def __init__(self, topic: str) -> None:
        self.topic = topic
        self.epoch: str | None = None
        self.seq = 0
        self._data: dict[str, Any] = {}
        self._has_base = False
        self._left = 0
        self._batch_end = 0
        self._is_behind = False
        self._whole_at = math.inf

    def __getitem__(self, key: str) -> Any:
        return self._data[key]

    def __iter__(self) -> Iterator[str]:
        return iter(self._data)

    def __len__(self) -> int:
        return len(self._data)

    @property
    def whole(self) -> bool:
        """Whether this is exactly the state of the topic at `seq`: not half of a snapshot, not newer keys beside older ones."""
        return self._has_base and self._left == 0 and not self._is_behind

    def apply(self, item: Item) -> bool:
        """Applies one message or notice; false if it is none of this topic."""
        if item.topic != self.topic:
            return False
        match item:
            case Message():
                self._apply_message(item)
            case Resumed():
                self._resume(item.seq)
            case Subscribed() | Lost():
                self._restart(item.epoch, item.seq)
                # A topic without messages has a known state: none. Any other needs its snapshot first.
                self._rebase(item.seq == 0)
            case Snapshot():
                self._restart(item.epoch, 0)
                self._rebase(True)
                self._expect(item.as_of, item.count, item.whole)
            case Conflated():
                self._expect(item.end, item.count, item.whole)
            case Gap():
                self.seq = item.end
                self._rebase(False)
            case Fault(reason="hole"):
                # What is missing is unknown, so nothing but a snapshot can make this whole again.
                self._rebase(False)
        return True

    def _apply_message(self, message: Message) -> None:
        if message.removed:
            self._data.pop(message.key or "", None)
        elif not message.event:
            self._data[message.key or ""] = message.data
        self.seq = message.seq
        if self._left > 0:
            self._left -= 1
            if self._left == 0:
                self.seq = self._batch_end
        self._reach()

    def _restart(self, epoch: str, seq: int) -> None:
        self._data.clear()
        self.epoch, self.seq = epoch, seq

    def _rebase(self, has_base: bool) -> None:
        self._has_base = has_base
        self._left = 0
        self._is_behind = False
        self._whole_at = math.inf

    def _resume(self, seq: int) -> None:
        # Cut off within a snapshot or while catching up: whole again once everything up to `seq` has followed.
        was_whole = self.whole
        self._left = 0
        self._is_behind = not was_whole
        self._whole_at = math.inf if was_whole else seq
        self._reach()

    def _expect(self, end: int, count: int, whole: bool) -> None:
        self._batch_end, self._left = end, count
        self._is_behind = not whole
        self._whole_at = math.inf
        if count == 0:
            self.seq = end

    def _reach(self) -> None:
        if self._left == 0 and self.seq >= self._whole_at:
            self._whole_at = math.inf
            self._is_behind = False
