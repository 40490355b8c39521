"""One subscription: the names it covers and the messages that wait to be taken."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from .errors import FanwireError
from .items import Item, Message, Notice, Position

if TYPE_CHECKING:
    from .client import Client


@dataclass(slots=True)
class SubscriptionOptions:
    """What `Client.subscribe` was given."""

    max_rate: int | None = None
    history: int | None = None
    snapshot: bool | None = None
    notices: bool = False
    on_message: Callable[[Message], object] | None = None
    on_notice: Callable[[Notice], object] | None = None

    def members(self) -> dict[str, Any]:
        """The members of a `subscribe` on the wire."""
        named = {"max_rate": self.max_rate, "history": self.history, "snapshot": self.snapshot}
        return {name: value for name, value in named.items() if value is not None}


@dataclass(eq=False)
class Subscription:
    """Take its messages with `async for`; `async with` ends it at the end of the block."""

    _client: Client
    filters: set[str]
    options: SubscriptionOptions
    _queue: deque[Item] = field(default_factory=deque)
    _error: FanwireError | None = None
    _is_ended: bool = False

    def __post_init__(self) -> None:
        self._wake = asyncio.Event()
        self._ready: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        # Whoever only iterates is told by the iteration.
        self._ready.add_done_callback(lambda future: future.cancelled() or future.exception())
        self._asking: asyncio.Task[None] | None = None

    async def __aenter__(self) -> Subscription:
        return self

    async def __aexit__(self, *_exception: object) -> None:
        await self.unsubscribe()

    def __aiter__(self) -> Subscription:
        return self

    async def __anext__(self) -> Any:
        while not self._queue:
            if self._error:
                raise self._error
            if self._is_ended:
                raise StopAsyncIteration
            self._wake.clear()
            await self._wake.wait()
        item = self._queue.popleft()
        self._client._taken()
        return item

    @property
    def waiting(self) -> int:
        """Messages that wait to be taken."""
        return len(self._queue)

    async def ready(self) -> Subscription:
        """Waits until the server has answered for every name and pattern; raises if it refused one."""
        await asyncio.shield(self._ready)
        return self

    def positions(self) -> dict[str, Position]:
        """The last position of every topic, as `resume` takes it: keep it to go on after this program was restarted."""
        return self._client._positions(self)

    async def configure(self, *, max_rate: int) -> None:
        """Changes the largest number of messages a second for each topic; 0 for no cap."""
        self.options.max_rate = max_rate
        await self._client._configure(self)

    async def unsubscribe(self) -> None:
        """Ends it. What waits may still be taken."""
        if self._is_ended:
            return
        self._end()
        await self._client._unsubscribe(self)

    def _deliver(self, item: Item) -> None:
        if self._is_ended:
            return
        options = self.options
        if isinstance(item, Message):
            if options.on_message:
                # With a callback nothing waits, or nobody would ever take it.
                self._client._call(options.on_message, item)
                return
        else:
            if options.on_notice:
                self._client._call(options.on_notice, item)
            if not options.notices or options.on_message:
                return
        self._queue.append(item)
        self._wake.set()

    def _answered(self) -> None:
        if not self._ready.done():
            self._ready.set_result(None)

    def _refuse(self, error: FanwireError) -> None:
        if not self._ready.done():
            self._ready.set_exception(error)
        if not self.filters:
            self._end(error)

    def _end(self, error: FanwireError | None = None) -> None:
        if self._is_ended:
            return
        self._is_ended = True
        self._error = error
        if not self._ready.done():
            if error:
                self._ready.set_exception(error)
            else:
                self._ready.set_result(None)
        self._wake.set()
        self._client._taken()
