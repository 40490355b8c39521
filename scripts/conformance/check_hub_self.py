"""Canaries: what the steps about the hub judge with notices what is wrong."""

from check_hub_clients import documented
from check_hub_peers import Follower, encode_message, encode_publish, expect_error
from report import Failure

START = {"seq": 3, "replay": 0}


def _message(seq, key="k", **more):
    return {"topic": "t", "seq": seq, "key": key, "data": seq, **more}


def _snapshot(as_of, count, whole=True):
    return {"op": "snapshot", "topic": "t", "as_of": as_of, "count": count, "whole": whole}


def _conflated(start, end, count, whole=True):
    return {"op": "conflated", "topic": "t", "from": start, "to": end, "count": count, "whole": whole}


def _follow(*heard):
    follower = Follower("t", START)
    for each in heard:
        follower.take(each)
    return follower


WRONG_STREAMS = {
    "a hole": (_message(4), _message(6)),
    "a message twice": (_message(4), _message(4)),
    "a message from before": (_message(3),),
    "another topic": ({**_message(4), "topic": "u"},),
    "an announcement that leaves a hole": (_conflated(5, 9, 1),),
    "an announcement of what was seen": (_conflated(3, 9, 1),),
    "a batch that is cut short": (_conflated(4, 9, 2), _message(6), _conflated(10, 12, 1)),
    "a batch with too much in it": (_conflated(4, 9, 1), _message(6), _message(8)),
    "a batch beyond its end": (_conflated(4, 9, 2), _message(6), _message(10)),
    "a batch out of order": (_conflated(4, 9, 2), _message(6), _message(5)),
    "a snapshot that is newer than itself": (_snapshot(9, 2), _message(10)),
    "a gap on a topic that should have none": ({"op": "gap", "topic": "t", "from": 4, "to": 5, "cause": "slow"},),
}
RIGHT_STREAM = (
    _message(4), _snapshot(20, 2), _message(7, "a"), _message(15, "b"), _message(21, "a"), _conflated(22, 30, 1), _message(29, "b"),
    _message(31, "a", removed=True), _message(32, "b", event=True), _conflated(33, 40, 0))
NO_ERRORS = (
    {"op": "error", "code": "busy", "message": "try again in a moment"}, {"op": "pong"}, b"bytes", {"op": "error", "code": "bad_topic"},
    {"op": "error", "code": "bad_topic", "message": "no"}, {"op": "error", "code": "bad_topic", "message": "it is wrong; mend it", "more": 1})
SHOWN = "text\n```\nnothing\n```\n<!-- file: a.py -->\n```python\nx\n```\n```console\n$ run\nline 1\nline 2\n```\n<!-- browser: a.js -->\n```\nout\n```\n"


def _is_noticed(function, *arguments):
    try:
        function(*arguments)
    except Failure:
        return True
    return False


def check_judges(step):
    """Wrong streams, wrong errors, and what a document shows."""
    for name, stream in WRONG_STREAMS.items():
        step.case(f"noticed: {name}", _is_noticed(_follow, *stream))
    follower = _follow(*RIGHT_STREAM)
    step.equal("a right stream", (follower.position, follower.whole, follower.state, follower.events), (40, True, {"b": 29}, [(32, 29)]))
    step.equal("not whole before the batch has ended", _follow(_conflated(4, 9, 1)).whole, False)
    step.equal("not whole after a batch that says so", _follow(_snapshot(9, 0, whole=False)).whole, False)
    for answer in NO_ERRORS:
        step.case(f"noticed: {answer} is not the error bad_topic", _is_noticed(expect_error, answer, "bad_topic"))
    right = {"op": "error", "id": 3, "code": "bad_topic", "topic": "a", "message": "it is wrong; mend it"}
    step.case("a right error", not _is_noticed(lambda: expect_error(right, "bad_topic", id=3, topic="a")))
    step.case("noticed: an error with another id", _is_noticed(lambda: expect_error(right, "bad_topic", id=4)))
    # The examples of docs/protocol.md, section 5, written out.
    step.equal("a message in bytes", encode_message(17, 2, b"{}", 5, b"k").hex(), "01050100" "11000000" "0200000000000000" "6b" "7b7d")
    step.equal("a publish in bytes", encode_publish("a.b", b"1", 20, b"k", 9).hex(), "02140100" "0300" "0000" "0900000000000000" "612e62" "6b" "31")
    step.equal("what a document shows", list(documented(SHOWN)), [
        ("file", "a.py", "x\n"), ("console", "run", "line 1\nline 2\n"), ("browser", "a.js", "out\n")])
