"""Brings every contender and the load generator into existence. Everything that is downloaded
is pinned: Cargo.lock, package-lock.json, and the lock file beside the uWebSockets manifest."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

from .errors import Missing

CHECKOUT = Path(__file__).resolve().parents[3]
PEERS = CHECKOUT / "scripts" / "lib" / "peers"
CACHE = CHECKOUT / ".cache" / "compare"
# Where Debian's nginx has its modules.
NGINX_MODULES = Path("/usr/lib/nginx/modules")

# What uWebSockets' own Makefile uses, without TLS, which no contender uses here.
UWEBSOCKETS_C_FLAGS = ["-std=c11", "-O3", "-flto", "-march=native", "-DLIBUS_NO_SSL"]
UWEBSOCKETS_CPP_FLAGS = ["-std=c++20", "-O3", "-flto=auto", "-march=native", "-DLIBUS_NO_SSL"]
WITHOUT_ZLIB = ["-DUWS_NO_ZLIB"]
WITH_ZLIB = ["-lz"]


def target_directory():
    return Path(os.environ.get("CARGO_TARGET_DIR") or CHECKOUT / "target")


def release_binary(name):
    return target_directory() / "release" / name


def run_step(command, cwd=None, environment=None):
    """Runs a build step; its output appears only when it fails."""
    done = subprocess.run(
        [str(part) for part in command], cwd=cwd, env=environment, capture_output=True, text=True,
        check=False,
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


def build_uwebsockets(source="echo", zlib=False):
    need("cargo", "rustup, then a stable toolchain")
    need("gcc", "gcc")
    need("g++", "g++")
    if zlib:
        need_debian(["zlib1g-dev"], Path("/usr/include/zlib.h"))
    sources = uwebsockets_sources()
    sockets = sources / "uSockets" / "src"
    program = PEERS / "uwebsockets" / f"{source}.cpp"
    directory = CACHE / "uwebsockets"
    directory.mkdir(parents=True, exist_ok=True)
    binary = directory / f"uwebsockets_{source}"
    if binary.exists() and binary.stat().st_mtime > program.stat().st_mtime:
        return binary
    c_files = [*sorted(sockets.glob("*.c")), sockets / "eventing" / "epoll_kqueue.c"]
    objects = []
    for c_file in c_files:
        target = directory / (c_file.stem + ".o")
        run_step(["gcc", *UWEBSOCKETS_C_FLAGS, "-I", sockets, "-c", c_file, "-o", target])
        objects.append(target)
    run_step(["g++", *UWEBSOCKETS_CPP_FLAGS, "-w", "-I", sources / "src", "-I", sockets,
              program, *objects, "-o", binary, *(WITH_ZLIB if zlib else WITHOUT_ZLIB)])
    return binary


def build_node_ws(script="echo.js"):
    need("node", "nodejs")
    need("npm", "npm")
    need("taskset", "util-linux")
    directory = CACHE / "node"
    directory.mkdir(parents=True, exist_ok=True)
    lock = PEERS / "node" / "package-lock.json"
    installed = directory / "package-lock.json"
    fresh = installed.exists() and installed.read_bytes() == lock.read_bytes()
    for name in ("package.json", "package-lock.json", script):
        shutil.copyfile(PEERS / "node" / name, directory / name)
    if not fresh or not (directory / "node_modules" / "ws").is_dir():
        run_step(["npm", "ci", "--no-audit", "--no-fund"], cwd=directory)
    return directory / script


def find_nginx():
    need("taskset", "util-linux")
    need_debian(["nginx", "libnginx-mod-nchan"], NGINX_MODULES / "ngx_nchan_module.so")
    nginx = shutil.which("nginx") or shutil.which("nginx", path="/usr/sbin:/usr/local/sbin")
    if nginx is None:
        raise Missing("nchan is there, nginx is not: apt-get install nginx")
    return Path(nginx)


def build_nats():
    need("taskset", "util-linux")
    wanted = (PEERS / "nats" / "requirements.txt").read_text(encoding="utf-8")
    directory = CACHE / "nats"
    binary, stamp = directory / "bin" / "nats-server", directory / "requirements.txt"
    if binary.exists() and stamp.exists() and stamp.read_text(encoding="utf-8") == wanted:
        return binary
    shutil.rmtree(directory, ignore_errors=True)
    try:
        run_step([sys.executable, "-m", "venv", directory])
    except Missing:
        # Debian ships `venv` apart from Python.
        need_debian(["python3-venv"], Path("/nonexistent"))
        run_step([sys.executable, "-m", "venv", "--clear", directory])
    run_step([directory / "bin" / "python", "-m", "pip", "install", "-q",
              "--disable-pip-version-check", *wanted.split()])
    stamp.write_text(wanted, encoding="utf-8")
    return binary


def need_debian(packages, file):
    """Installs Debian packages unless `file`, which they bring, is there."""
    command = ["apt-get", "install", "-y", "--no-install-recommends", *packages]
    if file.exists():
        return
    if os.geteuid() != 0 or shutil.which("apt-get") is None:
        raise Missing(f"{' and '.join(packages)} missing; as root: {' '.join(command)}")
    environment = dict(os.environ, DEBIAN_FRONTEND="noninteractive")
    run_step(["apt-get", "update", "-qq"], environment=environment)
    run_step(command, environment=environment)
    if "nginx" in packages and shutil.which("systemctl"):
        # Debian starts it as a service; it was installed for a comparison only. Without systemd
        # running this fails, and there is nothing to stop.
        subprocess.run(["systemctl", "disable", "--now", "nginx"], capture_output=True, check=False)


def version_text(name):
    """A version as it is written in the table of contenders; `debian:PACKAGE` is asked for."""
    kind, _, package = name.partition(":")
    if kind != "debian":
        return name
    try:
        done = subprocess.run(["dpkg-query", "-W", "-f", "${Version}", package],
                              capture_output=True, text=True, check=False)
    except OSError:
        return f"{package}, version unknown"
    return f"{package} {done.stdout.strip() or 'version unknown'}"


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
