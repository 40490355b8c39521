"""Server processes: start, wait until ready, read their CPU time and memory, watch it, stop."""

import re
import signal
import socket
import subprocess
import tempfile
import threading
import time
from pathlib import Path

from .errors import RunFailed

READY = re.compile(r"listening (?:on )?(?:ws://)?(\S+:\d+)")
READY_TIMEOUT_S = 20
STOP_TIMEOUT_S = 10


class Server:
    """A running server. Use as a context manager: it is stopped however the block ends."""

    def __init__(self, command, listen=None, has_worker=False):
        """`listen`: the address to try, for a program that prints no line when it listens.
        `has_worker`: a child process does the work and is the one to measure."""
        self.command = command
        self.listen = listen
        self.has_worker = has_worker
        self.worker = None
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
            self.address = self.try_port() if self.listen else self.wait_until_ready()
            self.worker = self.find_worker() if self.has_worker else None
        except BaseException:
            self.stop()
            raise
        return self

    def __exit__(self, *_):
        self.stop()

    @property
    def pid(self):
        """The process to measure."""
        return self.worker or self.process.pid

    def try_port(self):
        """Connects until somebody accepts."""
        host, port = self.listen.rsplit(":", 1)
        for _ in self.until_timeout():
            try:
                socket.create_connection((host, int(port)), timeout=1).close()
                return self.listen
            except OSError:
                continue
        raise RunFailed(f"did not listen within {READY_TIMEOUT_S} s: {self.last_words()}")

    def find_worker(self):
        for _ in self.until_timeout():
            for stat in Path("/proc").glob("[0-9]*/stat"):
                try:
                    # The name, in brackets, may hold anything; the parent is the second word after.
                    after_name = stat.read_text(encoding="utf-8").rpartition(")")[2].split()
                except OSError:
                    continue
                if int(after_name[1]) == self.process.pid:
                    return int(stat.parent.name)
        raise RunFailed(f"started no worker within {READY_TIMEOUT_S} s: {self.last_words()}")

    def until_timeout(self):
        """Counts attempts for as long as the process lives and has time."""
        deadline = time.monotonic() + READY_TIMEOUT_S
        while time.monotonic() < deadline:
            self.check_alive()
            yield
            time.sleep(0.02)

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


class MemoryWatch:
    """Reads a server's user memory and counts its descriptors twice a second while a load runs.
    Use as a context manager."""

    PERIOD_S = 0.5
    # Before the end, when the load generator still holds its connections.
    CLOSING_S = 1.0

    def __init__(self, server):
        self.server = server
        # Seconds since the watch began, bytes, descriptors.
        self.samples = []
        self.over = threading.Event()
        self.thread = threading.Thread(target=self.watch, daemon=True)

    def __enter__(self):
        self.started = time.monotonic()
        self.thread.start()
        return self

    def __exit__(self, *_):
        self.over.set()
        self.thread.join()

    def watch(self):
        while True:
            try:
                memory = self.server.memory_bytes()
                sockets = sum(1 for _ in Path(f"/proc/{self.server.pid}/fd").iterdir())
            except OSError:
                # The process is gone; whoever watches it notices.
                return
            now = time.monotonic() - self.started
            self.samples.append((round(now, 2), memory["RssAnon"] + memory["RssShmem"],
                                 sockets))
            if self.over.wait(self.PERIOD_S):
                return

    def summary(self, measured_s):
        """Figures for a run whose last `measured_s` seconds were the measured ones. (When copies
        are waited for at the end, the window begins that much later, but not before everybody
        was connected.)"""
        if not self.samples:
            return {}
        sockets_max = max(sockets for _, _, sockets in self.samples)
        connected = next(at for at, _, sockets in self.samples if sockets == sockets_max)
        end = self.samples[-1][0]
        begin = max(connected, end - measured_s)
        measured = [size for at, size, _ in self.samples if at >= begin]
        before_closing = [sockets for at, _, sockets in self.samples
                          if begin <= at <= end - self.CLOSING_S]
        return {
            "bytes_before": self.samples[0][1],
            "bytes_at_begin": measured[0],
            "bytes_at_end": measured[-1],
            "bytes_max": max(measured),
            "bytes_grown": max(measured) - measured[0],
            "sockets_max": sockets_max,
            "sockets_at_end": before_closing[-1] if before_closing else sockets_max,
            "samples": self.samples,
        }
