"""House rules as tests: who may depend on whom, where `unsafe` may be, what no file may hold, which paths must exist.

Every rule is a function from text to findings, so that `check_self` can show each of them a file that breaks it.
"""

import json
import re
import subprocess

from machine import ROOT, ensure_compiler
from report import Failure

FOLDERS = ("protocol", "reactor", "server", "loadgen", "benches")
UNSAFE_ALLOWED = ("reactor",)
# Which of our own packages each package may use, tests included.
ARROWS = {
    "fanwire-protocol": set(),
    "fanwire-reactor": set(),
    "fanwire-server": {"fanwire-protocol", "fanwire-reactor"},
    "fanwire-loadgen": {"fanwire-protocol", "fanwire-reactor"},
    "fanwire-benches": {"fanwire-protocol", "fanwire-reactor", "fanwire-server", "fanwire-loadgen"},
}
# The protocol does no IO, reads no clock and draws no randomness, so it needs only these.
PROTOCOL_DEPENDENCIES = {"bytes", "httparse", "sha1", "base64", "simdutf8", "flate2", "pulp"}
# Formatting into a vector (`io::Write`) and parsing an address are no IO.
PROTOCOL_FORBIDDEN = re.compile(
    r"\bstd::(fs|thread|process|env)\b|\bstd::io\b(?!::Write\b)|\bstd::net\b(?!::Ipv?[46]?Addr\b)|\bInstant::now\b|\bSystemTime\b|\bfastrand\b|\brand::|\bprintln!|\beprintln!")
# WebSocket words that the reactor must not know, as whole words of code.
REACTOR_FORBIDDEN = re.compile(r"\b(fanwire_protocol|WebSocket|Opcode|StatusCode|MaskingKey|permessage|Sec-WebSocket\S*)\b")
ANYWHERE_FORBIDDEN = re.compile(
    r"\b(todo|unimplemented|dbg)!|\b(TODO|FIXME|XXX)\b|#\[ignore|#\[should_panic|\bunreachable_unchecked\b|\btransmute\b|\bstatic mut\b")
DOCUMENTS = (
    "README.md", "ARCHITECTURE.md", "CONTRIBUTING.md", "CHANGELOG.md", "protocol/README.md", "docs/protocol.md", "docs/clients.md", "docs/load-testing.md",
    "docs/operating.md", "docs/simulator.md", "clients/js/README.md", "clients/python/README.md")
DOCUMENTS_NEEDED = ("README.md", "ARCHITECTURE.md", "CONTRIBUTING.md", "CHANGELOG.md", "LICENSE-MIT", "LICENSE-APACHE")
EXECUTABLES = ("scripts/test", "scripts/demo", "scripts/compare", ".ci/run")
PATH_LIKE = re.compile(r"^\.?[A-Za-z0-9_][\w.-]*(/[\w.-]+)*/?$")
PATH_ENDINGS = (".rs", ".md", ".toml", ".py", ".js", ".txt", ".json", "/")
TOP_FOLDERS = ("protocol", "reactor", "server", "loadgen", "benches", "clients", "scripts", "results", "docs", ".ci")


def strip_comments_and_strings(text):
    """Rust source without its comments, strings and character literals; lines stay where they are."""
    pattern = re.compile(
        r"""//[^\n]*|/\*.*?\*/|b?r(\#*)".*?"\1|b?"(?:\\.|[^"\\])*"|b?'(?:\\[^\n]{1,10}?|[^\\'\n])'""", re.DOTALL)
    return pattern.sub(lambda found: "\n" * found.group(0).count("\n") or " ", text)


def find_unsafe(text):
    """Lines of Rust code that use `unsafe`."""
    code = strip_comments_and_strings(text)
    return [number for number, line in enumerate(code.split("\n"), 1) if re.search(r"\bunsafe\b", line)]


def find_pattern(pattern, text, is_code_only):
    """Lines on which a pattern is found."""
    code = strip_comments_and_strings(text) if is_code_only else text
    return [f"{number}: {line.strip()}" for number, line in enumerate(code.split("\n"), 1) if pattern.search(line)]


def find_missing_header(text):
    """Whether a file of a library says at its top what it owns."""
    return not re.match(r"(#!\[[^\]]*\]\s*)*//!", text)


def find_wrong_arrows(packages):
    """Dependencies that the arrows do not allow, from the packages of `cargo metadata`."""
    wrong = []
    for package in packages:
        name = package["name"]
        if name not in ARROWS:
            wrong.append(f"{name} has no place in the arrows")
            continue
        for dependency in package["dependencies"]:
            other = dependency["name"]
            if other.startswith("fanwire-") and other not in ARROWS[name]:
                wrong.append(f"{name} uses {other}")
            if name == "fanwire-protocol" and dependency["kind"] is None and other not in PROTOCOL_DEPENDENCIES:
                wrong.append(f"{name} uses {other}")
    return wrong


def find_dead_paths(text, folder, exists):
    """Paths in backticks that do not exist, tried from the root and from the document's own folder."""
    dead = []
    for word in re.findall(r"`([^`\n]+)`", text):
        if not PATH_LIKE.match(word) or "<" in word:
            continue
        is_subprotocol = word.startswith("fanwire.v1.")
        is_path = word.endswith(PATH_ENDINGS) or ("/" in word and word.split("/")[0] in TOP_FOLDERS)
        if is_path and not is_subprotocol and not exists(word) and not exists(f"{folder}/{word}"):
            dead.append(word)
    return dead


def _tracked(*patterns):
    done = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard", "--", *patterns],
        cwd=ROOT, stdin=subprocess.DEVNULL, capture_output=True, timeout=60)
    if done.returncode == 0:
        names = [name for name in done.stdout.decode().split("\0") if name]
    else:  # A copy without its history, from an archive.
        names = [str(path.relative_to(ROOT)) for pattern in patterns for path in ROOT.glob(pattern)]
    return sorted(name for name in set(names) if (ROOT / name).is_file())


def _rust_files():
    return [name for name in _tracked("*.rs", "**/*.rs") if "/fuzz/" not in name and name.split("/")[0] in FOLDERS]


def check_arrows(step):
    """Dependencies point only where the architecture says."""
    ensure_compiler(step)
    done = subprocess.run(
        ["cargo", "metadata", "--locked", "--no-deps", "--format-version", "1"],
        cwd=ROOT, stdin=subprocess.DEVNULL, capture_output=True, timeout=300)
    if done.returncode != 0:
        raise Failure(done.stderr.decode("utf-8", "replace"))
    packages = json.loads(done.stdout)["packages"]
    step.equal("packages", sorted(package["name"] for package in packages), sorted(ARROWS))
    step.equal("arrows", find_wrong_arrows(packages), [])


def check_sources(step):
    """Rules about the text of the Rust sources."""
    files = _rust_files()
    step.case("there are sources", len(files) > 10, len(files))
    for folder in FOLDERS:
        if folder in UNSAFE_ALLOWED:
            continue
        roots = [name for name in (f"{folder}/src/lib.rs", f"{folder}/src/main.rs") if (ROOT / name).exists()]
        for name in roots + [name for name in files if re.match(rf"{folder}/src/bin/(\w+\.rs|\w+/main\.rs)$", name)]:
            step.case(f"{name} forbids unsafe code", "#![forbid(unsafe_code)]" in (ROOT / name).read_text())
    rules = {rule: [] for rule in (
        "no unsafe outside the reactor", "no forbidden words", "every file begins with what it owns",
        "protocol: no IO, clock or randomness", "reactor: no WebSocket")}
    for name in files:
        text = (ROOT / name).read_text(encoding="utf-8")
        for rule, findings in _findings(name, text):
            rules[rule] += [f"{name}:{finding}" for finding in findings]
    for rule, findings in rules.items():
        step.equal(f"{rule} ({len(files)} files)", findings, [])


def _findings(name, text):
    if name.split("/")[0] not in UNSAFE_ALLOWED:
        yield "no unsafe outside the reactor", find_unsafe(text)
    yield "no forbidden words", find_pattern(ANYWHERE_FORBIDDEN, text, is_code_only=False)
    if "/src/" in name:
        yield "every file begins with what it owns", [1] if find_missing_header(text) else []
    if name.startswith("protocol/src/"):
        code = text.split("#[cfg(test)]")[0]
        yield "protocol: no IO, clock or randomness", find_pattern(PROTOCOL_FORBIDDEN, code, is_code_only=True)
    if name.startswith("reactor/src/"):
        yield "reactor: no WebSocket", find_pattern(REACTOR_FORBIDDEN, text, is_code_only=True)


def check_documents(step):
    """The documents exist, the paths they name exist, and what a person types can be executed."""
    for name in DOCUMENTS_NEEDED:
        step.case(f"{name} exists", (ROOT / name).is_file())
    for name in DOCUMENTS:
        if (ROOT / name).is_file():
            folder = name.rpartition("/")[0] or "."
            text = (ROOT / name).read_text(encoding="utf-8")
            dead = find_dead_paths(text, folder, lambda path: (ROOT / path).exists())
            step.equal(f"{name}: every path in backticks exists", dead, [])
            broken = [target for target in re.findall(r"\]\(([^)#:\s]+)(?:#[^)]*)?\)", text) if not (ROOT / folder / target).exists()]
            step.equal(f"{name}: every link within the repository leads somewhere", broken, [])
    for name in EXECUTABLES:
        path = ROOT / name
        step.case(f"{name} can be executed", path.is_file() and bool(path.stat().st_mode & 0o111))
        first = path.read_text().split("\n")[0] if path.is_file() else ""
        if first.endswith(("sh", "bash")):
            shell = "bash" if first.endswith("bash") else "sh"
            done = subprocess.run([shell, "-n", str(path)], capture_output=True, timeout=30)
            step.case(f"{name} is valid {shell}", done.returncode == 0, done.stderr.decode())
    broken = []
    for name in _tracked("*.py", "**/*.py"):
        try:
            compile((ROOT / name).read_text(encoding="utf-8"), name, "exec")
        except SyntaxError as error:
            broken.append(str(error))
    step.equal("every Python file is valid", broken, [])
