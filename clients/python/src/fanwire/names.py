"""Names of topics and patterns (docs/protocol.md, section 1)."""

from __future__ import annotations

import unicodedata

from .errors import FanwireError

FILTER_BYTES_MAX = 256
TOKENS_MAX = 16
_FORBIDDEN = frozenset('*>"\\')


def check_filter(name: object, *, is_name: bool = False) -> None:
    """Raises `bad_topic` unless this is a name or pattern; with `is_name`, unless it is a name."""

    def refuse(why: str) -> FanwireError:
        return FanwireError("bad_topic", f"{name!r} {why}", topic=name if isinstance(name, str) else None)

    if not isinstance(name, str) or not name:
        raise refuse("is no topic: it must be a string that is not empty")
    if len(name.encode("utf-8", "surrogatepass")) > FILTER_BYTES_MAX:
        raise refuse(f"is longer than {FILTER_BYTES_MAX} bytes")
    tokens = name.split(".")
    if len(tokens) > TOKENS_MAX:
        raise refuse(f"has more than {TOKENS_MAX} tokens")
    for index, token in enumerate(tokens):
        if not token:
            raise refuse("has an empty token; remove the doubled dot")
        if token == "*" or (token == ">" and index == len(tokens) - 1):
            if is_name:
                raise refuse("is a pattern; this needs the name of one topic")
        elif any(_is_forbidden(character) for character in token):
            raise refuse(f"has the token {token!r}, which holds a character that no token may hold")


def _is_forbidden(character: str) -> bool:
    return character in _FORBIDDEN or character.isspace() or unicodedata.category(character) in ("Cc", "Cs")


def matches(pattern: str, topic: str) -> bool:
    """Whether a name or pattern covers a topic."""
    if pattern == topic:
        return True
    wanted = pattern.split(".")
    tokens = topic.split(".")
    for index, token in enumerate(wanted):
        if index >= len(tokens):
            return False
        if token == ">":
            return True
        if token not in ("*", tokens[index]):
            return False
    return len(wanted) == len(tokens)
