"""What this machine has and lacks: Debian packages, a Python environment, Node modules, a browser.

Installs what the tests need. Packages of Python and Node go into `.cache/` of the checkout, at the versions that
`scripts/clients/` pins; Debian packages are installed only when this runs as root. Knows nothing of WebSocket.
"""

import hashlib
import os
import shutil
import subprocess
import sys
from pathlib import Path

from report import Failure

ROOT = Path(__file__).resolve().parents[2]
CACHE = ROOT / ".cache"
CLIENTS = ROOT / "scripts" / "clients"
NODE_MAJOR_MIN = 18
INSTALL_TIMEOUT_S = 900
# Changes that an install makes to shared state are tried twice: registries hiccup.
INSTALL_TRIES = 2
# Room on the disk for building everything, tests and release programs, and for building it again after a change.
BUILD_ROOM_GIB = 6
BUILT_ROOM_GIB = 1

_apt_lists_are_fresh = False


def run_logged(step, command, timeout_s, cwd=ROOT, environment=None):
    """Runs a command into the step's log; returns its exit status and its output."""
    step.note("$ " + " ".join(str(word) for word in command))
    try:
        done = subprocess.run(
            [str(word) for word in command], cwd=cwd, env=environment, timeout=timeout_s,
            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    except FileNotFoundError:
        raise Failure(f"`{command[0]}` is not on this machine") from None
    except subprocess.TimeoutExpired as expired:
        output = (expired.stdout or b"").decode("utf-8", "replace")
        step.note(output)
        raise Failure(f"`{command[0]}` did not end within {timeout_s} s") from None
    output = done.stdout.decode("utf-8", "replace")
    step.note(output)
    return done.returncode, output


def install_debian(step, packages, why):
    """Installs Debian packages as root; otherwise fails with the command to type."""
    global _apt_lists_are_fresh
    command = "apt-get install -y --no-install-recommends " + " ".join(packages)
    if os.geteuid() != 0 or not shutil.which("apt-get"):
        raise Failure(f"{why}: as root, `{command}` (or the same from your system), then start again")
    environment = dict(os.environ, DEBIAN_FRONTEND="noninteractive")
    if not _apt_lists_are_fresh:
        run_logged(step, ["apt-get", "update", "-qq"], INSTALL_TIMEOUT_S, environment=environment)
        _apt_lists_are_fresh = True
    for _ in range(INSTALL_TRIES):
        status, _output = run_logged(step, command.split(), INSTALL_TIMEOUT_S, environment=environment)
        if status == 0:
            return
    raise Failure(f"{why}, and `{command}` failed")


def ensure_command(step, names, packages, why):
    """The path of the first of `names` that exists, installing `packages` if none does."""
    for attempt in (0, 1):
        for name in names:
            found = shutil.which(name)
            if found:
                return found
        if attempt == 0:
            install_debian(step, packages, why)
    raise Failure(f"{why}: none of {names} is there even after installing {packages}")


def ensure_compiler(step):
    """cargo, the linker that rustc needs, and room for what they write."""
    ensure_room()
    if not shutil.which("cargo"):
        raise Failure("cargo is not on the PATH: install Rust 1.88 or newer, then start again")
    ensure_command(step, ["cc"], ["gcc", "libc6-dev"], "no C compiler: rustc links with it, and mimalloc is C")


def ensure_room():
    """Fails before a compiler does, which does not say that the disk is full."""
    target = Path(os.environ.get("CARGO_TARGET_DIR", ROOT / "target"))
    needed_gib = BUILT_ROOM_GIB if target.exists() else BUILD_ROOM_GIB
    require_room(target, needed_gib)


def require_room(target, needed_gib):
    """Fails when the disk of `target`, which need not exist, has less than that left."""
    folder = next(folder for folder in (target, *target.parents) if folder.exists())
    free_gib = shutil.disk_usage(folder).free / 2**30
    if free_gib < needed_gib:
        raise Failure(
            f"{target} needs {needed_gib} GiB of free disk space and there are {free_gib:.1f}: free some, or name a folder "
            "on another disk in CARGO_TARGET_DIR, then start again")


def python_environment(step):
    """The Python of a virtual environment with the pinned packages of the tests."""
    requirements = CLIENTS / "requirements.txt"
    folder = CACHE / "venv"
    python = folder / "bin" / "python"
    wanted = _digest(requirements, sys.version.encode())
    stamp = folder / "fanwire-stamp"
    if stamp.exists() and stamp.read_text() == wanted and python.exists():
        return python
    shutil.rmtree(folder, ignore_errors=True)
    CACHE.mkdir(exist_ok=True)
    _create_environment(step, folder)
    install = [python, "-m", "pip", "install", "--disable-pip-version-check", "-q", "-r", requirements]
    for _ in range(INSTALL_TRIES):
        status, output = run_logged(step, install, INSTALL_TIMEOUT_S)
        if status == 0:
            stamp.write_text(wanted)
            return python
    raise Failure(f"the Python packages of {requirements.name} did not install: {output.strip()[-300:]}")


def _create_environment(step, folder):
    create = [sys.executable, "-m", "venv", folder]
    status, _output = run_logged(step, create, INSTALL_TIMEOUT_S)
    if status != 0:
        # Debian ships `venv` apart from Python.
        install_debian(step, ["python3-venv"], "Python has no `venv` module")
        shutil.rmtree(folder, ignore_errors=True)
        status, output = run_logged(step, create, INSTALL_TIMEOUT_S)
        if status != 0:
            raise Failure(f"cannot create a Python environment: {output.strip()[-300:]}")


def node_environment(step):
    """The `node` to use and the folder with the pinned Node packages of the tests."""
    node = ensure_command(step, ["node", "nodejs"], ["nodejs", "npm"], "Node is missing")
    _status, version = run_logged(step, [node, "--version"], 60)
    if int(version.strip().lstrip("v").split(".")[0]) < NODE_MAJOR_MIN:
        raise Failure(f"Node {NODE_MAJOR_MIN} or newer is needed, this is {version.strip()}")
    lock = CLIENTS / "package-lock.json"
    folder = CACHE / "node"
    stamp = folder / "fanwire-stamp"
    wanted = _digest(lock, version.encode())
    if stamp.exists() and stamp.read_text() == wanted:
        return node, folder
    npm = ensure_command(step, ["npm"], ["npm"], "npm is missing")
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    for name in ("package.json", "package-lock.json"):
        shutil.copy(CLIENTS / name, folder / name)
    install = [npm, "ci", "--no-audit", "--no-fund", "--ignore-scripts"]
    for _ in range(INSTALL_TRIES):
        status, output = run_logged(step, install, INSTALL_TIMEOUT_S, cwd=folder)
        if status == 0:
            stamp.write_text(wanted)
            return node, folder
    raise Failure(f"the Node packages of {lock.name} did not install: {output.strip()[-300:]}")


def browser(step):
    """The path of Chromium."""
    return ensure_command(
        step, ["chromium", "chromium-browser", "google-chrome"], ["chromium"], "Chromium is missing")


def cpus_allowed():
    """The cores that this process may use, in order."""
    return sorted(os.sched_getaffinity(0))


def _digest(path, *more):
    digest = hashlib.sha256(path.read_bytes())
    for part in more:
        digest.update(part)
    return digest.hexdigest()
