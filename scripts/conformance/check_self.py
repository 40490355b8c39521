"""Canaries: every judge in this folder is shown something wrong and must notice."""

import io
import socket
import tempfile
import threading
from contextlib import redirect_stdout
from pathlib import Path

import check_autobahn
import check_house
import machine
import wire
from report import Failure, Report


def _notices(function, *arguments):
    try:
        function(*arguments)
    except Failure:
        return True
    return False


def check_house_rules(step):
    """The house rules find what breaks them, and nothing in what does not."""
    step.equal("unsafe is found", check_house.find_unsafe("fn a() {\n    unsafe { b() }\n}"), [2])
    harmless = '// unsafe\nfn a() { let s = "unsafe"; let t = r#"unsafe "quoted""#; let c = \'"\'; } /* unsafe */'
    step.equal("the word in comments and strings is no use", check_house.find_unsafe(harmless), [])
    for line in ("todo!()", "// TODO later", "dbg!(a)", "#[ignore]", "#[should_panic]", "static mut A: u8 = 0;"):
        found = check_house.find_pattern(check_house.ANYWHERE_FORBIDDEN, line, is_code_only=False)
        step.equal(f"`{line}` is found", len(found), 1)
    for line in ("use std::io::Read;", "std::net::TcpStream::connect(address)", "let now = Instant::now();", "fastrand::u32(..)"):
        found = check_house.find_pattern(check_house.PROTOCOL_FORBIDDEN, line, is_code_only=True)
        step.equal(f"`{line}` is found in protocol", len(found), 1)
    step.case("a missing header is found", check_house.find_missing_header("use std::fmt;\n"))
    step.case("a header is accepted", not check_house.find_missing_header("//! Owns it.\n"))
    wrong = check_house.find_wrong_arrows([
        {"name": "fanwire-protocol", "dependencies": [{"name": "monoio", "kind": None}, {"name": "proptest", "kind": "dev"}]},
        {"name": "fanwire-server", "dependencies": [{"name": "fanwire-loadgen", "kind": "dev"}]},
    ])
    step.equal("wrong arrows are found", wrong, ["fanwire-protocol uses monoio", "fanwire-server uses fanwire-loadgen"])
    dead = check_house.find_dead_paths(
        "`server/src/gone.rs` `here.md` `cargo test` `0.1.0` `a/b`", ".", lambda path: path == "here.md")
    step.equal("dead paths are found", dead, ["server/src/gone.rs"])


def check_verdicts(step):
    """Only strictly passed, complete results pass."""
    good = {"behavior": "OK", "behaviorClose": "OK"}
    informational = {"behavior": "INFORMATIONAL", "behaviorClose": "INFORMATIONAL"}
    step.equal("good results pass", check_autobahn.judge({"a": {"1.1": good, "1.2": informational}}, 2), (2, []))
    for behavior in ("NON-STRICT", "FAILED", "ERROR", "UNIMPLEMENTED", "WRONG CODE", "UNCLEAN"):
        for key in ("behavior", "behaviorClose"):
            _passed, failures = check_autobahn.judge({"a": {"1.1": {**good, key: behavior}}}, 1)
            step.equal(f"{behavior} as {key} fails", len(failures), 1)
    step.equal("a missing case fails", len(check_autobahn.judge({"a": {"1.1": good}}, 2)[1]), 1)
    step.equal("an empty index fails", len(check_autobahn.judge({}, 2)[1]), 1)
    with tempfile.TemporaryDirectory() as folder, redirect_stdout(io.StringIO()) as printed:
        report = Report(folder)
        report.run("empty", "runs no case", lambda inner: None)
        report.run("broken", "raises", lambda inner: 1 // 0)
        report.run("good", "passes", lambda inner: inner.case("one", True))
        is_good = report.close()
    step.case("a run with failures is no success", not is_good)
    step.equal("a step without cases and a step that raises fail", report.failed_steps, ["empty", "broken"])
    step.equal("the closing line", printed.getvalue().rstrip().split("\n")[-1], "1 passed, 2 failed")
    with tempfile.TemporaryDirectory() as folder, redirect_stdout(io.StringIO()) as printed:
        Report(folder).run("build", "fails", _failing_build)
    step.case("what is wrong is shown", "error: no space left" in printed.getvalue())
    step.case("what went well is not", "Compiling" not in printed.getvalue())
    step.case("a disk with room is enough", not _notices(machine.ensure_room))
    step.case("a full disk is named before a compiler meets it", _notices(machine.require_room, Path("/"), 2**40))


def _failing_build(inner):
    inner.note("error: no space left\n" + "   Compiling one v1.0.0\n" * 200)
    inner.case("build", False)


def _serve(chunks):
    """A server that answers one connection with fixed bytes and ends the stream."""
    listener = socket.socket()
    listener.bind(("127.0.0.1", 0))
    listener.listen()

    def answer():
        connection, _ = listener.accept()
        with connection, listener:
            connection.recv(65536)
            for chunk in chunks:
                connection.sendall(chunk)
            connection.shutdown(socket.SHUT_WR)
            while connection.recv(65536):
                pass
    threading.Thread(target=answer, daemon=True).start()
    return listener.getsockname()


def _client(chunks, use):
    with wire.Client(_serve(chunks), timeout_s=5) as client:
        client.send(b"go")
        return use(client)


def check_wire(step):
    """The plain-socket client finds servers that frame, close or answer wrongly."""
    step.equal("masking is its own inverse", wire.mask(wire.mask(b"seven b", b"abcd"), b"abcd"), b"seven b")
    step.equal("RFC 6455 5.7, masked hello", wire.mask(b"Hello", bytes.fromhex("37fa213d")), bytes.fromhex("7f9f4d5158"))
    for name, sent in (
            ("a masked frame", b"\x81\x80abcd"), ("a 16-bit length that is not minimal", b"\x82\x7e\x00\x01a"),
            ("a 64-bit length that is not minimal", b"\x82\x7f" + bytes(7) + b"\x01a"), ("half a frame", b"\x82\x05abc")):
        step.case(f"{name} is noticed", _client([sent], lambda client: _notices(client.receive_frame)))
    step.case("a wrong close code is noticed", _client([b"\x88\x02\x03\xe8"], lambda client: _notices(client.expect_close, 1002)))
    step.case("a message instead of a close is noticed", _client([b"\x82\x00"], lambda client: _notices(client.expect_close, 1000)))
    step.case("bytes after the end are noticed", _client([b"\x82\x00"], lambda client: _notices(client.expect_end)))
    step.case("a wrong accept key is noticed", _client(
        [b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: no\r\n\r\n"],
        lambda client: _notices(client.open)))
    step.case("a refusal without Content-Length is noticed", _client(
        [b"HTTP/1.1 400 Bad Request\r\nConnection: close\r\n\r\n"], lambda client: _notices(client.response)))
    step.case("another payload is noticed", _client([b"\x82\x01b"], lambda client: _notices(client.echo, b"a")))
    step.case("files are where the driver looks", (Path(__file__).parent / "strict_kosoku.py").is_file())
