"""Brings every contender and the load generator into existence. Everything that is downloaded
is pinned: Cargo.lock, package-lock.json, and the lock file beside the uWebSockets manifest."""

import json
import os
import shutil
import subprocess
from pathlib import Path

from .errors import Missing

CHECKOUT = Path(__file__).resolve().parents[3]
PEERS = CHECKOUT / "scripts" / "lib" / "peers"
CACHE = CHECKOUT / ".cache" / "compare"

# What uWebSockets' own Makefile uses, without TLS and zlib because no contender uses them here.
UWEBSOCKETS_C_FLAGS = ["-std=c11", "-O3", "-flto", "-march=native", "-DLIBUS_NO_SSL"]
UWEBSOCKETS_CPP_FLAGS = [
    "-std=c++20",
    "-O3",
    "-flto=auto",
    "-march=native",
    "-DLIBUS_NO_SSL",
    "-DUWS_NO_ZLIB",
]


def target_directory():
    return Path(os.environ.get("CARGO_TARGET_DIR") or CHECKOUT / "target")


def release_binary(name):
    return target_directory() / "release" / name


def run_step(command, cwd=None):
    """Runs a build step; its output appears only when it fails."""
    done = subprocess.run(
        [str(part) for part in command], cwd=cwd, capture_output=True, text=True, check=False
    )
    if done.returncode != 0:
        tail = "\n".join((done.stdout + done.stderr).strip().split("\n")[-20:])
        step = " ".join(str(word) for word in command[:4])
        raise Missing(f"`{step} …` failed:\n{tail}")
    return done.stdout


def need(program, package):
    if shutil.which(program) is None:
        raise Missing(f"{program} is not installed: apt-get install {package}")


def cargo_build(*arguments):
    need("cargo", "rustup, then a stable toolchain")
    run_step(["cargo", "build", "--release", "--locked", *arguments], cwd=CHECKOUT)


def build_load_generator():
    cargo_build("-p", "fanwire-loadgen", "--bin", "fanwire-loadgen")
    return release_binary("fanwire-loadgen")


def build_fanwire():
    cargo_build("-p", "fanwire-server", "--bin", "fanwire")
    return release_binary("fanwire")


def build_from_benches(name):
    cargo_build("-p", "fanwire-benches", "--bin", name)
    return release_binary(name)


def uwebsockets_sources():
    """Where cargo unpacked the package that carries uWebSockets."""
    manifest = PEERS / "uwebsockets" / "Cargo.toml"
    run_step(["cargo", "fetch", "--locked", "--manifest-path", manifest])
    metadata = json.loads(
        run_step(["cargo", "metadata", "--locked", "--format-version", "1",
                  "--manifest-path", manifest])
    )
    for package in metadata["packages"]:
        if package["name"] == "libuwebsockets-sys":
            return Path(package["manifest_path"]).parent / "uWebSockets"
    raise Missing("the package that carries uWebSockets is not in its lock file")


def build_uwebsockets():
    need("cargo", "rustup, then a stable toolchain")
    need("gcc", "gcc")
    need("g++", "g++")
    sources = uwebsockets_sources()
    sockets = sources / "uSockets" / "src"
    program = PEERS / "uwebsockets" / "echo.cpp"
    directory = CACHE / "uwebsockets"
    directory.mkdir(parents=True, exist_ok=True)
    binary = directory / "uwebsockets_echo"
    if binary.exists() and binary.stat().st_mtime > program.stat().st_mtime:
        return binary
    c_files = [*sorted(sockets.glob("*.c")), sockets / "eventing" / "epoll_kqueue.c"]
    objects = []
    for source in c_files:
        target = directory / (source.stem + ".o")
        run_step(["gcc", *UWEBSOCKETS_C_FLAGS, "-I", sockets, "-c", source, "-o", target])
        objects.append(target)
    run_step(["g++", *UWEBSOCKETS_CPP_FLAGS, "-w", "-I", sources / "src", "-I", sockets,
              program, *objects, "-o", binary])
    return binary


def build_node_ws():
    need("node", "nodejs")
    need("npm", "npm")
    need("taskset", "util-linux")
    directory = CACHE / "node"
    directory.mkdir(parents=True, exist_ok=True)
    lock = PEERS / "node" / "package-lock.json"
    installed = directory / "package-lock.json"
    fresh = installed.exists() and installed.read_bytes() == lock.read_bytes()
    for name in ("package.json", "package-lock.json", "echo.js"):
        shutil.copyfile(PEERS / "node" / name, directory / name)
    if not fresh or not (directory / "node_modules" / "ws").is_dir():
        run_step(["npm", "ci", "--no-audit", "--no-fund"], cwd=directory)
    return directory / "echo.js"


def build_micro():
    """Builds the criterion program and returns its path."""
    need("cargo", "rustup, then a stable toolchain")
    lines = run_step(
        ["cargo", "bench", "--locked", "--no-run", "--message-format=json",
         "-p", "fanwire-benches", "--bench", "micro"],
        cwd=CHECKOUT,
    )
    for line in lines.splitlines():
        message = json.loads(line)
        target = message.get("target", {})
        if target.get("name") == "micro" and message.get("executable"):
            return Path(message["executable"])
    raise Missing("cargo built no program for the bench `micro`")


def locked_versions(names):
    """Versions of packages in the workspace's Cargo.lock, as `name 1.2.3`."""
    versions = []
    text = (CHECKOUT / "Cargo.lock").read_text(encoding="utf-8")
    blocks = [block.split("\n") for block in text.split("[[package]]")[1:]]
    for block in blocks:
        fields = dict(line.split(" = ", 1) for line in block if " = " in line)
        name = fields["name"].strip('"')
        if name in names:
            versions.append(f"{name} {fields['version'].strip(chr(34))}")
    return versions
