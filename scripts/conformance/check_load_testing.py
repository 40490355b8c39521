"""Every command of docs/load-testing.md is one that the load generator takes.

Measuring for as long as the guide does would take the better part of an hour, and its figures would not be the same.
So each command is started as it stands there, against a server that is there, and ended after a moment: by then a
wrong option, value or combination has been refused."""

import re
import shlex
import signal
import subprocess

from machine import ROOT
from processes import Server

DOCUMENT = ROOT / "docs" / "load-testing.md"
BLOCK = re.compile(r"^```\w*\n(.*?)^```", re.MULTILINE | re.DOTALL)
PROGRAM = "fanwire-loadgen"
# A command that is still at it after this long has been accepted.
ACCEPTED_AFTER_S = 1.0
END_TIMEOUT_S = 20
COMMANDS_MIN = 15
# Of what our own refusals say, what the commands' surroundings may be the reason of, and not their words.
SURROUNDINGS = re.compile(r"resolve|No such file|cannot read|no such process", re.IGNORECASE)


def commands(text):
    """The commands of a document: what follows a prompt, or stands in a block; without comments and shell around them."""
    for block in BLOCK.findall(text):
        for line in block.replace("\\\n", " ").splitlines():
            line = line.strip().removeprefix("$ ")
            if not line.startswith(PROGRAM + " ") and f"; {PROGRAM} " in line:
                line = line[line.index(f"; {PROGRAM} ") + 2:].split(";")[0]
            if line.startswith(PROGRAM + " "):
                yield re.sub(r"\s{2,}#.*$", "", line)


def _start(words, folder):
    return subprocess.Popen(words, cwd=folder, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)


def _is_taken(words, folder):
    """Whether the program begins with what it is asked to do, and what it said otherwise."""
    process = _start(words, folder)
    try:
        output, _ = process.communicate(timeout=ACCEPTED_AFTER_S)
    except subprocess.TimeoutExpired:
        process.send_signal(signal.SIGINT)
        try:
            process.communicate(timeout=END_TIMEOUT_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.communicate()
            return False, f"did not end within {END_TIMEOUT_S} s of SIGINT"
        return True, ""
    said = output.decode("utf-8", "replace").strip()
    is_refused = process.returncode == 2 and not SURROUNDINGS.search(said)
    return not is_refused, said[-600:]


def check(step, programs):
    """Types every command of the guide."""
    program = str(programs.path(step, PROGRAM))
    folder = step.log_path.with_suffix(".folder")
    for inner in (folder, folder / "base", folder / "new"):
        inner.mkdir(exist_ok=True)
    (folder / "token").write_text(f"{0:064}\n", encoding="utf-8")
    found = list(commands(DOCUMENT.read_text(encoding="utf-8")))
    step.case(f"there are at least {COMMANDS_MIN} commands", len(found) >= COMMANDS_MIN, len(found))
    with Server(step, programs) as server:
        address = f"{server.address[0]}:{server.address[1]}"
        for command in found:
            typed = re.sub(r"(127\.0\.0\.1|10\.0\.0\.\d+):(9001|8080)", address, command)
            # Nothing leaves this host; nobody listens there.
            typed = re.sub(r"10\.0\.0\.(\d+):9977", r"127.0.0.\1:1", typed)
            typed = re.sub(r"\$\(pidof [\w-]+\)", str(server.pid), typed)
            words = [program, *shlex.split(typed.replace("$build", "new").replace("$i", "1"))[1:]]
            is_taken, said = _is_taken(words, folder)
            step.case(command, is_taken, said)


def check_canary(step):
    """The reader of the document finds what is there."""
    text = "```sh\nfanwire-loadgen echo a \\\n  -c 1   # why\nls\n```\n```\n$ fanwire-loadgen doctor\nok\n```\nfanwire-loadgen no\n"
    step.equal("commands", [" ".join(each.split()) for each in commands(text)],
               ["fanwire-loadgen echo a -c 1", "fanwire-loadgen doctor"])
