"""What works on this machine: each finding one line, each mend one line."""

from __future__ import annotations

import ctypes
import ctypes.util
import importlib.util
import os
import platform
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from jupyter_codeagent.errors import CodeAgentError, ModelError, UnknownModel
from jupyter_codeagent.models import credentials, get_model, manage, weights
from jupyter_codeagent.models.endpoint import Endpoint
from jupyter_codeagent.sandbox import Sandbox, SandboxPolicy, gateway
from jupyter_codeagent.sandbox.launch import bubblewrap, interpreter_paths

MIB = 2**20
_LITTLE = SandboxPolicy(
    workspace=None, memory=256 * MIB, timeout=3.0, processes=32, disk=16 * MIB, output=64 * 1024
)  # small limits are met soon

# Executed inside; each prints one word that tells what the sandboxed code found.
_NETWORK = """
import socket
try:  # connecting a datagram socket sends nothing; without a network there is no route
    socket.socket(socket.AF_INET, socket.SOCK_DGRAM).connect(("192.0.2.1", 9))
    print("reachable")
except OSError:
    print("none")
"""
_HOME = """
import os
found = set(os.listdir({home!r})) - set({interpreter!r}) if os.path.isdir({home!r}) else set()
print("shows " + ", ".join(sorted(found)) if found else "hidden")
"""
_SYSTEM = """
import os
found = [place for place in ("/", "/usr", "/etc", "/dev") if os.access(place, os.W_OK)]
print("writable: " + " ".join(found) if found else "read-only")
"""
_KEYS = """
import glob
held = b"".join(open(p, "rb").read() for p in glob.glob("/proc/*/environ") if __import__("os").access(p, 4))
print("present" if any(word in held.upper() for word in (b"ANTHROPIC", b"API_KEY", b"TOKEN=", b"SECRET")) else "none")
"""
_FORK = """
import subprocess
running = [subprocess.Popen(["sleep", "2"]) for _ in range({count})]
"""

_MEND = re.compile(
    r"(?i)[;:.] (?=(?:run|set|start|make|give|check|choose|close|free|install|leave|wait|sudo|use|word)\b)"
)


@dataclass(frozen=True)
class Finding:
    """One thing that was looked at.

    Parameters
    ----------
    name : str
        What was looked at.
    ok : bool
        False: something is missing or wrong, and `mend` says what to do.
    detail : str
        What was found.
    mend : str
        One line to run or set; empty where all is well.
    """

    name: str
    ok: bool
    detail: str
    mend: str = ""

    def __str__(self) -> str:
        line = f"{'ok     ' if self.ok else 'problem'}  {self.name}: {self.detail}"
        return f"{line}\n         mend: {self.mend}" if self.mend else line


def diagnose(model: str | None = None, only: str = "", offline: bool = False) -> list[Finding]:
    """Look at this machine and return what was found.

    Parameters
    ----------
    model : str or None
        The model's name to ask about; None: the one that would be used.
    only : str
        "sandbox" or "model": look at that alone.
    offline : bool
        Do not ask the model's endpoint whether it answers.
    """
    found: list[Finding] = []
    if only != "model":
        found += [_python(), *_sandbox(), *_gateway(offline)]
    if only != "sandbox":
        chosen = list(_model(model, offline))
        remote = any(f.name == "key" for f in chosen)
        found += [*chosen, *_local(needed=not remote), _disk()]
    return found


def _python() -> Finding:
    version = platform.python_version()
    if sys.version_info >= (3, 15):
        return Finding("Python", False, f"{version} is newer than what was tested", "use Python 3.11 to 3.14")
    return Finding("Python", True, f"{version} at {sys.executable}")


def _sandbox() -> Iterator[Finding]:
    try:
        path = bubblewrap()
    except CodeAgentError as error:
        yield _failed("bubblewrap", error)
        return
    said = subprocess.run([path, "--version"], capture_output=True, text=True, check=False).stdout.strip()
    yield Finding("bubblewrap", True, f"{said or 'unknown version'} at {path}")
    try:
        with Sandbox(_LITTLE) as sandbox:
            yield Finding("user namespaces", True, "allowed")
            yield Finding("isolation", True, f"tier {sandbox.tier}: {_facts(sandbox.facts)}")
            yield from _inside(sandbox)
            yield from _limits(sandbox)
    except CodeAgentError as error:
        yield _namespaces(error)


def _gateway(offline: bool) -> Iterator[Finding]:
    """Say whether the Jupyter server that is to host sandboxes can; where none is configured, nothing."""
    url = os.environ.get(gateway.URL, "")
    if not url:
        return
    try:
        server = gateway.Gateway.at(url, os.environ.get(gateway.TOKEN, ""))
        if not offline:
            server.check(gateway.KERNEL)
    except CodeAgentError as error:
        yield _failed("gateway", error)
        return
    said = "was not asked" if offline else f"answers and has the kernel {gateway.KERNEL}"
    yield Finding("gateway", True, f"{server.place} {said}; sandboxes of notebooks start there")


def _failed(name: str, error: CodeAgentError) -> Finding:
    # a message says what happened, and then what to do
    detail, *mend = _MEND.split(str(error), maxsplit=1)
    return Finding(name, False, detail, mend[0] if mend else "try again, and report it if it stays")


def _namespaces(error: CodeAgentError) -> Finding:
    """Say why no sandbox starts; most often the system forbids user namespaces."""
    for path, forbidding, mend in (
        ("kernel/apparmor_restrict_unprivileged_userns", "1", "kernel.apparmor_restrict_unprivileged_userns=0"),
        ("kernel/unprivileged_userns_clone", "0", "kernel.unprivileged_userns_clone=1"),
        ("user/max_user_namespaces", "0", "user.max_user_namespaces=10000"),
    ):
        setting = Path("/proc/sys", path)
        if setting.exists() and setting.read_text().strip() == forbidding:
            return Finding("user namespaces", False, f"forbidden by {path.replace('/', '.')}", f"sudo sysctl -w {mend}")
    return _failed("sandbox", error)


def _facts(facts: dict[str, str]) -> str:
    shown = {name: facts[name] for name in ("namespaces", "seccomp", "capabilities", "uid") if name in facts}
    return ", ".join(f"{name} {value}" for name, value in shown.items())


def _inside(sandbox: Sandbox) -> Iterator[Finding]:
    """Have code in the sandbox look around."""
    home = Path.home()
    interpreter = [Path(p).relative_to(home).parts[0] for p in interpreter_paths() if Path(p).is_relative_to(home)]
    for name, code, good in (
        ("network inside", _NETWORK, "none"),
        ("home folder inside", _HOME.format(home=str(home), interpreter=interpreter), "hidden"),
        ("system inside", _SYSTEM, "read-only"),
        ("keys inside", _KEYS, "none"),
    ):
        found = sandbox.execute(code).text.strip()[:200] or "no answer"
        report = "report this: the isolation is not complete" if found != good else ""
        yield Finding(name, found == good, found, report)


def _limits(sandbox: Sandbox) -> Iterator[Finding]:
    """Have code in the sandbox go beyond each limit, and see it stopped."""
    policy = sandbox.policy
    beyond = [
        ("memory", f"{policy.memory // MIB} MiB", f"bytearray({policy.memory * 2})", "MemoryError OutOfMemory"),
        ("time", f"{policy.timeout:g} s", "while True: pass", "TimedOut"),
        ("output", f"{policy.output // 1024} KiB", f"print('x' * {policy.output * 4})", "OutputLimit"),
        ("disk", f"{policy.disk // MIB} MiB", f"open('x', 'wb').write(bytes({policy.disk * 2}))", "OSError"),
        ("process", f"{policy.processes}", _FORK.format(count=policy.processes * 2), "BlockingIOError ProcessLimit"),
    ]
    for name, limit, code, ends in beyond:
        error = sandbox.execute(code).error
        held = error is not None and error.ename in ends.split()
        said = f"{error.ename}: {error.evalue[:100]}" if error else "the code got beyond it"
        detail = f"in force (tried with {limit})" if held else f"{limit}, but {said}"
        yield Finding(f"{name} limit", held, detail, "" if held else "report this: a limit is not in force")


def _model(name: str | None, offline: bool) -> Iterator[Finding]:
    """Say which model would be used, and whether its endpoint answers."""
    try:
        model = get_model(name)
    except ModelError as error:
        yield _failed("model", error)
        return
    yield Finding("model", True, model.describe())
    endpoint = getattr(model, "endpoint", None)
    if isinstance(endpoint, Endpoint):
        yield Finding("key", True, "set" if endpoint.key or credentials(os.environ) else "none, and none is asked for")
        if not offline:
            yield _answers(endpoint)


def _answers(endpoint: Endpoint) -> Finding:
    """Have the endpoint count the tokens of a word, which costs nothing."""
    import anthropic

    client = anthropic.Anthropic(
        api_key=endpoint.key,
        base_url=endpoint.url,
        max_retries=0,
        timeout=10.0,
        http_client=anthropic.DefaultHttpxClient(trust_env=not endpoint.here),
    )
    try:
        client.messages.count_tokens(model=endpoint.model, messages=[{"role": "user", "content": "hello"}])
    except anthropic.APIConnectionError as error:
        return _failed("endpoint", endpoint.offline(str(error)))
    except anthropic.APIStatusError as error:
        if error.status_code in (404, 405, 501) and not endpoint.claude:
            return Finding("endpoint", True, f"{endpoint.host} answers; whether it knows the model was not tried")
        refused = endpoint.refused(error)
        if isinstance(refused, UnknownModel):
            refused = UnknownModel(f"{refused} Choose another one with --model.")
        return _failed("endpoint", refused)
    except anthropic.AnthropicError as error:
        return _failed("endpoint", ModelError(f"{endpoint.hide(str(error))}; check the credentials"))
    finally:
        client.close()
    return Finding("endpoint", True, f"{endpoint.host} answers and knows {endpoint.model}")


def _local(needed: bool) -> Iterator[Finding]:
    """Say what is there of the local model; a gap is a problem only where that model would be used."""
    runtime = importlib.util.find_spec("xllamacpp") is not None
    library = ctypes.util.find_library("gomp") or _loads("libgomp.so.1")
    size = weights.SIZES[0]
    held = manage.facts(weights.known(size))
    for name, good, here, mend in (
        ("local runtime", runtime, "xllamacpp is installed", "pip install 'jupyter-codeagent[local]'"),
        ("libgomp", bool(library), "found", "sudo apt install libgomp1"),
        ("local model", bool(held["file"]), f"{held['name']} is here, checked", "jupyter codeagent model pull"),
    ):
        if good:
            yield Finding(name, True, here)
        elif needed:
            yield Finding(name, False, "missing", mend)
        else:
            yield Finding(name, True, "missing, and not needed for the model above")


def _loads(library: str) -> str:
    try:
        ctypes.CDLL(library)
    except OSError:
        return ""
    return library


def _disk() -> Finding:
    place = next(p for p in (weights.folder(), *weights.folder().parents) if p.exists())
    free = shutil.disk_usage(place).free
    mend = "" if free > 2 * 10**9 else f"free 2 GB in {place} for the local model's file"
    return Finding("disk", not mend, f"{free / 1e9:.1f} GB free in {place}", mend)
