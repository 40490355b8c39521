"""A client of `fanwire serve` for asyncio. README.md shows how to use it; docs/protocol.md is the wire protocol."""

from .backoff import Backoff
from .client import Client, Closed, Published
from .errors import FanwireError
from .items import Conflated, Fault, Gap, Item, Lost, Message, Notice, Position, Refused, Resumed, Snapshot, Subscribed
from .names import check_filter, matches
from .state_map import StateMap
from .subscription import Subscription
from .track import Track

__all__ = [
    "Backoff", "Client", "Closed", "Conflated", "FanwireError", "Fault", "Gap", "Item", "Lost", "Message", "Notice", "Position",
    "Published", "Refused", "Resumed", "Snapshot", "StateMap", "Subscribed", "Subscription", "Track", "check_filter", "matches",
]
