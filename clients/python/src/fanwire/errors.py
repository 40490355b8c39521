"""What this package raises."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .items import Refused


class FanwireError(Exception):
    """`code` is one of the server's error codes (docs/protocol.md, section 3), or one of this client's.

    The client's own: closed, policy_violation, handshake_refused, given_up, not_connected, connection_lost, timeout,
    already_subscribed, bad_topic, bad_option, bad_url, bad_subprotocol.
    """

    def __init__(self, code: str, message: str, *, topic: str | None = None, refused: Sequence[Refused] = ()) -> None:
        super().__init__(f"{code}: {message}")
        self.code = code
        self.message = message
        self.topic = topic
        self.refused = tuple(refused)
