"""Server processes: start, wait until ready, read their CPU time and memory, stop."""

import re
import signal
import subprocess
import tempfile
import time
from pathlib import Path

from .errors import RunFailed

READY = re.compile(r"listening (?:on )?(?:ws://)?(\S+:\d+)")
READY_TIMEOUT_S = 20
STOP_TIMEOUT_S = 10


class Server:
    """A running server. Use as a context manager: it is stopped however the block ends."""

    def __init__(self, command):
        self.command = command
        self.errors = tempfile.TemporaryFile(mode="w+", encoding="utf-8", errors="replace")
        self.process = None
        self.address = None

    def __enter__(self):
        try:
            self.process = subprocess.Popen(
                self.command,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=self.errors,
                text=True,
            )
        except OSError as error:
            raise RunFailed(f"cannot start {Path(self.command[0]).name}: {error}") from error
        try:
            self.address = self.wait_until_ready()
        except BaseException:
            self.stop()
            raise
        return self

    def __exit__(self, *_):
        self.stop()

    @property
    def pid(self):
        return self.process.pid

    def wait_until_ready(self):
        import selectors

        deadline = time.monotonic() + READY_TIMEOUT_S
        with selectors.DefaultSelector() as selector:
            selector.register(self.process.stdout, selectors.EVENT_READ)
            while (left := deadline - time.monotonic()) > 0:
                if not selector.select(left):
                    break
                line = self.process.stdout.readline()
                if line == "":
                    raise RunFailed(f"ended before it listened: {self.last_words()}")
                if match := READY.search(line):
                    return match.group(1)
        raise RunFailed(f"did not listen within {READY_TIMEOUT_S} s: {self.last_words()}")

    def last_words(self):
        self.errors.seek(0)
        return self.errors.read()[-1000:].strip() or "it printed nothing on standard error"

    def check_alive(self):
        if self.process.poll() is not None:
            raise RunFailed(f"ended with status {self.process.returncode}: {self.last_words()}")

    def stop(self):
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
            try:
                self.process.wait(STOP_TIMEOUT_S)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()
        self.process.stdout.close()
        self.errors.close()

    def cpu_ns(self):
        """CPU time of all threads so far, from the scheduler's own accounting."""
        total = 0
        for task in Path(f"/proc/{self.pid}/task").iterdir():
            try:
                total += int((task / "schedstat").read_text(encoding="utf-8").split()[0])
            except (OSError, IndexError):
                continue
        return total

    def memory_bytes(self):
        """User memory by kind: anonymous pages (heap, stacks), and everything resident."""
        text = Path(f"/proc/{self.pid}/status").read_text(encoding="utf-8")
        values = {}
        for name in ("RssAnon", "RssShmem", "VmRSS"):
            match = re.search(rf"^{name}:\s*(\d+) kB", text, re.MULTILINE)
            values[name] = int(match.group(1)) * 1024 if match else 0
        return values
