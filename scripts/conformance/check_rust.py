"""Formatting, lints and the tests that are written in Rust."""

import os
import re

from machine import ensure_compiler, run_logged
from report import Failure

CHECK_TIMEOUT_S = 1200
TEST_TIMEOUT_S = 1800
RESULT = re.compile(r"^test result: \w+\. (\d+) passed; (\d+) failed;", re.MULTILINE)
FAILED_TEST = re.compile(r"^test (\S+) \.\.\. FAILED", re.MULTILINE)


def check_format(step):
    """Every file is as rustfmt writes it."""
    ensure_compiler(step)
    status, _output = run_logged(step, ["cargo", "fmt", "--all", "--check"], CHECK_TIMEOUT_S)
    step.equal("cargo fmt --all --check", status, 0)


def check_lints(step):
    """Clippy is silent about every target of every package, benchmarks included."""
    ensure_compiler(step)
    command = ["cargo", "clippy", "--locked", "--workspace", "--all-targets", "--", "-D", "warnings"]
    status, _output = run_logged(step, command, CHECK_TIMEOUT_S)
    step.equal("cargo clippy --workspace --all-targets -- -D warnings", status, 0)


def check_documentation(step):
    """The documentation of the product builds and every link in it leads somewhere."""
    ensure_compiler(step)
    environment = dict(os.environ, RUSTDOCFLAGS="-D warnings")
    status, _output = run_logged(step, ["cargo", "doc", "--locked", "--no-deps"], CHECK_TIMEOUT_S, environment=environment)
    step.equal("cargo doc --no-deps", status, 0)


def check_tests(step):
    """`cargo test` over the whole workspace; counts what cargo counts."""
    ensure_compiler(step)
    command = ["cargo", "test", "--locked", "--workspace", "--no-fail-fast"]
    status, output = run_logged(step, command, TEST_TIMEOUT_S)
    results = RESULT.findall(output)
    passed = sum(int(found[0]) for found in results)
    failed = sum(int(found[1]) for found in results)
    step.count(passed, failed, FAILED_TEST.findall(output))
    if passed == 0:
        raise Failure("cargo test ran no test")
    if status != 0 and failed == 0:
        raise Failure(f"cargo test ended with {status}")
