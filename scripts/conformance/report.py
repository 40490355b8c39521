"""Steps, their cases, and what a person sees of them.

A step is a named group of cases. Each step writes a log; the terminal shows one line when it starts to
take long work, one when it ends, and the log of a step that failed. Knows nothing of WebSocket.
"""

import re
import sys
import time
import traceback
from pathlib import Path

LOG_TAIL_LINES = 150
# What cargo says while nothing is wrong; the log has it all.
PROGRESS = re.compile(r"^ *(Compiling|Checking|Downloaded|Downloading|Documenting|Fresh) |^test .* \.\.\. ok$")


class Failure(Exception):
    """A step cannot go on. The message says what was expected and what was seen."""


class Unavailable(Exception):
    """This machine cannot run the step. The message says why; the step is counted and shown as skipped."""


class Step:
    """One running step: collects cases and writes its log."""

    def __init__(self, name, log_path):
        self.name = name
        self.log_path = log_path
        self.passed = 0
        self.failed = 0
        self.failures = []
        log_path.parent.mkdir(parents=True, exist_ok=True)
        self._log = open(log_path, "w", encoding="utf-8", errors="replace")

    def note(self, text):
        """Writes to the log only."""
        self._log.write(f"{text}\n")
        self._log.flush()

    def case(self, name, is_ok, detail=""):
        """Records the outcome of one case and returns it."""
        if is_ok:
            self.passed += 1
        else:
            self.failed += 1
            self.failures.append(f"{name}: {detail}" if detail else name)
        self.note(f"{'ok  ' if is_ok else 'FAIL'} {name}{': ' + str(detail) if detail else ''}")
        return is_ok

    def equal(self, name, seen, expected):
        """A case that passes when both values are equal."""
        return self.case(name, seen == expected, "" if seen == expected else f"expected {expected!r}, saw {seen!r}")

    def check(self, name, function, *arguments):
        """A case that passes when `function` returns; its exception is the detail when it fails."""
        try:
            function(*arguments)
        except (Failure, OSError, AssertionError) as error:
            self.note(traceback.format_exc())
            return self.case(name, False, f"{type(error).__name__}: {error}")
        return self.case(name, True)

    def count(self, passed, failed, failures=()):
        """Adds cases that another program has run and counted."""
        self.passed += passed
        self.failed += failed
        self.failures.extend(failures)

    def close(self):
        """Ends the log."""
        self._log.close()


class Report:
    """All steps of one run."""

    def __init__(self, log_folder):
        self.log_folder = Path(log_folder)
        self.passed = 0
        self.failed = 0
        self.skipped = 0
        self.failed_steps = []
        self.started = time.monotonic()

    def run(self, name, title, function, *arguments):
        """Runs one step; never raises for what the step does wrong."""
        step = Step(name, self.log_folder / f"{name}.log")
        print(f"… {name}: {title}", flush=True)
        started = time.monotonic()
        unavailable = None
        try:
            function(step, *arguments)
            if step.passed + step.failed == 0:
                step.case("step", False, "ran no case, which proves nothing")
        except Unavailable as reason:
            unavailable = str(reason)
        except Failure as failure:
            step.case("step", False, failure)
        except Exception as error:  # A fault of the test itself is a failure too, with its trace.
            step.note(traceback.format_exc())
            step.case("step", False, f"{type(error).__name__}: {error}")
        seconds = time.monotonic() - started
        step.close()
        self.passed += step.passed
        self.failed += step.failed
        if step.failed:
            self.failed_steps.append(name)
            print(f"FAIL {name}  {step.passed} passed, {step.failed} failed  {seconds:.1f} s", flush=True)
            self._show_failure(step)
        elif unavailable is not None:
            self.skipped += 1
            print(f"SKIP {name}  {seconds:.1f} s: {unavailable}", flush=True)
        else:
            print(f"ok   {name}  {step.passed} cases  {seconds:.1f} s", flush=True)
        return step.failed == 0 and unavailable is None

    def skip(self, name, reason):
        """Says aloud that a step was left out."""
        self.skipped += 1
        print(f"SKIP {name}: {reason}", flush=True)

    def _show_failure(self, step):
        lines = step.log_path.read_text(encoding="utf-8", errors="replace").splitlines()
        lines = [line for line in lines if not PROGRESS.match(line)]
        cut = max(0, len(lines) - LOG_TAIL_LINES)
        if cut:
            print(f"     | ({cut} earlier lines and all progress are in {step.log_path})")
        for line in lines[cut:]:
            print(f"     | {line}")
        for failure in step.failures[:50]:
            print(f"     > {failure}")
        sys.stdout.flush()

    def close(self):
        """Prints the closing lines; true when nothing failed and something ran."""
        seconds = time.monotonic() - self.started
        print(f"\nlogs: {self.log_folder}   total time: {seconds:.0f} s")
        if self.failed_steps:
            print("failed: " + " ".join(self.failed_steps))
            print("again:  " + "; ".join(f"scripts/test --only {name}" for name in self.failed_steps))
        skipped = f", {self.skipped} skipped" if self.skipped else ""
        print(f"{self.passed} passed, {self.failed} failed{skipped}", flush=True)
        return self.failed == 0 and self.passed > 0
