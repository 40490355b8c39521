"""Bytes and text of the two subprotocols (docs/protocol.md, sections 2 to 5). Does no IO."""

from __future__ import annotations

import base64
import binascii
import json
import struct
from collections.abc import Mapping
from typing import Any, NamedTuple

from .errors import FanwireError

SUBPROTOCOLS = {"json": "fanwire.v1.json", "binary": "fanwire.v1.binary"}
_MESSAGE = struct.Struct("<BBHIQ")
_PUBLISH = struct.Struct("<BBHHHQ")
_EVENT, _REMOVED, _JSON, _TEXT, _ANSWER = 1, 2, 4, 8, 16


class Malformed(Exception):
    """A message of the server breaks the protocol."""


class Data(NamedTuple):
    """A message of a topic as it was on the wire."""

    topic: str
    seq: int
    data: Any
    key: str | None
    event: bool
    removed: bool


class Publish(NamedTuple):
    """What is to be published."""

    topic: str
    data: Any
    key: str | None
    event: bool
    remove: bool
    text: bool


def dump(value: Any) -> str:
    """JSON without needless spaces; raises `bad_option` for what is none."""
    try:
        return json.dumps(value, separators=(",", ":"), ensure_ascii=False, allow_nan=False)
    except (TypeError, ValueError) as error:
        raise FanwireError("bad_option", f"this is no JSON: {error}") from None


def parse_text(text: str) -> dict[str, Any]:
    """One text message of the server."""
    try:
        message = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise Malformed(str(error)) from None
    if not isinstance(message, dict):
        raise Malformed("not an object")
    return message


def member(message: Mapping[str, Any], name: str, kind: type) -> Any:
    """A member that must be there."""
    value = message.get(name)
    is_wrong = isinstance(value, bool) or (isinstance(value, int) and value < 0)
    if not isinstance(value, kind) or is_wrong:
        raise Malformed(f"{name} is {value!r}")
    return value


def parse_data(message: Mapping[str, Any]) -> Data:
    """A message of a topic, from its JSON."""
    data = message.get("data")
    if "data_base64" in message:
        try:
            data = base64.b64decode(member(message, "data_base64", str), validate=True)
        except binascii.Error as error:
            raise Malformed(f"data_base64: {error}") from None
    key = member(message, "key", str) if "key" in message else None
    return Data(
        member(message, "topic", str), member(message, "seq", int), data, key,
        message.get("event") is True, message.get("removed") is True)


def parse_binary(message: bytes, aliases: Mapping[int, str]) -> Data:
    """A message of a topic, from the binary subprotocol."""
    if len(message) < _MESSAGE.size:
        raise Malformed(f"a binary message of {len(message)} bytes")
    kind, flags, key_size, alias, seq = _MESSAGE.unpack_from(message)
    if kind != 1:
        raise Malformed(f"a binary message of kind {kind}")
    if alias not in aliases:
        raise Malformed(f"alias {alias} stands for no topic")
    payload_at = _MESSAGE.size + key_size
    if payload_at > len(message):
        raise Malformed("its key is longer than the message")
    payload = message[payload_at:]
    data: Any = payload
    try:
        key = message[_MESSAGE.size : payload_at].decode() if key_size else None
        if flags & _JSON:
            data = json.loads(payload.decode())
        elif flags & _TEXT:
            data = payload.decode()
        elif flags & _REMOVED:
            data = None
    except (ValueError, RecursionError) as error:
        raise Malformed(str(error)) from None
    return Data(aliases[alias], seq, data, key, bool(flags & _EVENT), bool(flags & _REMOVED))


def encode_publish(protocol: str, publish: Publish, answer_id: int | None) -> str | bytes:
    """A publish in either subprotocol."""
    is_bytes = isinstance(publish.data, (bytes, bytearray, memoryview))
    if protocol == "binary":
        return _encode_binary(publish, is_bytes, answer_id)
    if is_bytes or publish.text:
        raise FanwireError("bad_option", 'bytes and bare text need the binary protocol: protocol="binary"', topic=publish.topic)
    command: dict[str, Any] = {"op": "publish"}
    if answer_id is not None:
        command["id"] = answer_id
    command["topic"] = publish.topic
    if publish.key is not None:
        command["key"] = publish.key
    if publish.event:
        command["event"] = True
    if publish.remove:
        command["remove"] = True
    else:
        command["data"] = publish.data
    return dump(command)


def _encode_binary(publish: Publish, is_bytes: bool, answer_id: int | None) -> bytes:
    name = publish.topic.encode()
    key = (publish.key or "").encode()
    flags = (_EVENT if publish.event else 0) | (_REMOVED if publish.remove else 0) | (0 if answer_id is None else _ANSWER)
    if publish.remove:
        payload = b""
    elif is_bytes:
        payload = bytes(publish.data)
    elif publish.text:
        payload, flags = publish.data.encode(), flags | _TEXT
    else:
        payload, flags = dump(publish.data).encode(), flags | _JSON
    return _PUBLISH.pack(2, flags, len(key), len(name), 0, answer_id or 0) + name + key + payload
