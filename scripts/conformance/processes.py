"""Starts and stops the programs under test. Knows their command lines and their first line of output."""

import json
import os
import queue
import re
import shutil
import signal
import subprocess
import threading
import time

from machine import CACHE, ROOT, cpus_allowed, ensure_compiler, run_logged
from report import Failure, Unavailable

PROFILE = "test-release"
BUILD_TIMEOUT_S = 1500
START_TIMEOUT_S = 15
STOP_TIMEOUT_S = 20
LISTENING = re.compile(r"^listening on (ws://(\S+):(\d+))/?$")


class Programs:
    """The two binaries, built once when first asked for, or given by the caller."""

    def __init__(self, server=None, loadgen=None):
        self._given = {"fanwire": server, "fanwire-loadgen": loadgen}
        self._built = None

    def path(self, step, name):
        """The path of a binary."""
        if self._given[name]:
            return self._given[name]
        if self._built is None:
            self._built = self.build(step)
        return self._built / name

    def build(self, step):
        """Builds both binaries and returns the folder they are in."""
        ensure_compiler(step)
        command = ["cargo", "build", "--locked", "--profile", PROFILE, "--bins", "-p", "fanwire-server", "-p", "fanwire-loadgen"]
        status, output = run_logged(step, command, BUILD_TIMEOUT_S)
        if status != 0:
            raise Failure("the build failed:\n" + output[-3000:])
        return target_folder(step) / PROFILE


def target_folder(step):
    """Where cargo puts what it builds."""
    done = subprocess.run(
        ["cargo", "metadata", "--locked", "--no-deps", "--format-version", "1"],
        cwd=ROOT, stdin=subprocess.DEVNULL, capture_output=True, timeout=300)
    if done.returncode != 0:
        raise Failure("cargo metadata failed: " + done.stderr.decode("utf-8", "replace"))
    return type(CACHE)(json.loads(done.stdout)["target_directory"])


class Server:
    """One running `fanwire echo`, as a context manager.

    Leaving it normally stops the server with SIGTERM and fails unless it ends with exit status 0.
    """

    def __init__(self, step, programs, *options, backend="auto", cores=1, before=(), listen="127.0.0.1:0", is_any_status=False, **popen):
        allowed = cpus_allowed()
        if cores > len(allowed):
            raise Unavailable(f"needs {cores} cores, this process may use {len(allowed)}")
        self.step = step
        self.command = [
            *before, str(programs.path(step, "fanwire")), "echo", "--listen", listen,
            "--cores", ",".join(str(core) for core in allowed[:cores]), "--backend", backend, *options]
        self.is_any_status = is_any_status
        self.popen = popen
        self.process = None
        self.log = []
        self.is_stopped = False
        self._lines = queue.Queue()

    def __enter__(self):
        self.step.note("$ " + " ".join(self.command))
        self.process = subprocess.Popen(
            self.command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
            encoding="utf-8", errors="replace", **self.popen)
        self._readers = [
            threading.Thread(target=self._read, args=(self.process.stdout, True), daemon=True),
            threading.Thread(target=self._read, args=(self.process.stderr, False), daemon=True)]
        for reader in self._readers:
            reader.start()
        try:
            self._await_listening()
        except BaseException:
            self._kill()
            raise
        return self

    def _read(self, stream, is_output):
        for line in stream:
            self.log.append(line.rstrip("\n"))
            if is_output:
                self._lines.put(line.rstrip("\n"))
        if is_output:
            self._lines.put(None)

    def _await_listening(self):
        deadline = time.monotonic() + START_TIMEOUT_S
        while True:
            try:
                line = self._lines.get(timeout=max(0.0, deadline - time.monotonic()))
            except queue.Empty:
                raise Failure(f"the server did not say where it listens within {START_TIMEOUT_S} s: {self.log}") from None
            if line is None:
                self._join()
                raise Failure(f"the server ended with {self.process.returncode} before it listened:\n" + "\n".join(self.log))
            found = LISTENING.match(line)
            if found:
                self.url = found.group(1)
                self.address = (found.group(2), int(found.group(3)))
                return

    @property
    def pid(self):
        """The process id."""
        return self.process.pid

    def is_alive(self):
        """Whether the process still runs."""
        return self.process.poll() is None

    def memory_kib(self):
        """Anonymous resident memory: what the process itself holds."""
        with open(f"/proc/{self.pid}/status", encoding="ascii") as status:
            for line in status:
                if line.startswith("RssAnon:"):
                    return int(line.split()[1])
        raise Failure("/proc has no RssAnon line")

    def fd_count(self):
        """Open descriptors."""
        return len(os.listdir(f"/proc/{self.pid}/fd"))

    def fd_count_at_most(self, wanted, within_s=3.0):
        """Open descriptors, once they are no more than wanted or that time is over."""
        deadline = time.monotonic() + within_s
        while self.fd_count() > wanted and time.monotonic() < deadline:
            time.sleep(0.05)
        return self.fd_count()

    def text(self):
        """Everything that the server has printed."""
        return "\n".join(self.log)

    def stop(self, signal_number=signal.SIGTERM, timeout_s=STOP_TIMEOUT_S):
        """Sends a signal, waits for the end and returns the exit status."""
        if self.is_alive():
            self.process.send_signal(signal_number)
        return self.wait(timeout_s)

    def wait(self, timeout_s=STOP_TIMEOUT_S):
        """Waits for the end, whoever told the server to stop, and returns the exit status."""
        self.is_stopped = True
        try:
            self.process.wait(timeout_s)
        except subprocess.TimeoutExpired:
            self._kill()
            raise Failure(f"the server did not end within {timeout_s} s of being told to") from None
        self._join()
        return self.process.returncode

    def _join(self):
        self.process.wait()
        for reader in self._readers:
            reader.join(5)

    def _kill(self):
        if self.is_alive():
            self.process.kill()
        self._join()

    def __exit__(self, kind, _error, _trace):
        died = not self.is_stopped and not self.is_alive()
        try:
            if kind is None:
                status = self.process.returncode if self.is_stopped or died else self.stop()
                if died:
                    raise Failure(f"the server died with exit status {status}:\n{self.text()}")
                if status != 0 and not self.is_any_status:
                    raise Failure(f"the server ended with exit status {status}, not 0:\n{self.text()}")
        finally:
            self._kill()
            self.step.note("server printed:\n    " + "\n    ".join(self.log))
            if died:
                self.step.note(f"the server died with exit status {self.process.returncode}")


def start_refused(step, programs, *options, listen="127.0.0.1:0", before=(), timeout_s=START_TIMEOUT_S, **popen):
    """Runs a server that must not start; returns its exit status and what it printed."""
    command = [*before, str(programs.path(step, "fanwire")), "echo", "--listen", listen,
               "--cores", str(cpus_allowed()[0]), *options]
    step.note("$ " + " ".join(command))
    process = subprocess.Popen(
        command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, **popen)
    try:
        output, _ = process.communicate(timeout=timeout_s)
    except subprocess.TimeoutExpired:
        process.kill()
        output, _ = process.communicate()
        raise Failure("the server started and runs; it must refuse. It printed: " + output.decode("utf-8", "replace")) from None
    text = output.decode("utf-8", "replace")
    step.note(text)
    return process.returncode, text


def copy_for_everyone(step, programs, folder):
    """A copy of the server that any user may run."""
    target = os.path.join(folder, "fanwire")
    shutil.copy(programs.path(step, "fanwire"), target)
    os.chmod(folder, 0o755)
    os.chmod(target, 0o755)
    return target
