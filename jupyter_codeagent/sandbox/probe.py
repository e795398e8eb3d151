"""What is really in force, asked of the kernel from outside, where nothing in the sandbox can lie."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

from jupyter_codeagent.errors import SandboxUnavailable
from jupyter_codeagent.sandbox.policy import SandboxPolicy
from jupyter_codeagent.sandbox.state import State, status

NAMESPACES = ("user", "pid", "net", "mnt", "ipc", "uts")


def parent_of(pid: int) -> int:
    """Return the pid of a process's parent."""
    return int(status(pid)["PPid"])


def ancestors(pid: int) -> list[int]:
    """Return the pids above a process, nearest first, as far as init."""
    found: list[int] = []
    while pid > 1:
        pid = parent_of(pid)
        found.append(pid)
    return found


def limits_of(pid: int) -> dict[str, str]:
    """Return a process's soft limits by name, as ``/proc/PID/limits`` has them."""
    lines = Path(f"/proc/{pid}/limits").read_text().splitlines()[1:]
    return {line[:26].strip(): line[26:].split()[0] for line in lines}


def _at_most(value: str, limit: int) -> bool:
    """Say whether a limit is in force and no wider; the machine's own may be narrower."""
    return value.isdigit() and int(value) <= limit


def check(zygote: State, policy: SandboxPolicy) -> dict[str, str]:
    """Return what isolates the sandbox, by name.

    Raises
    ------
    SandboxUnavailable
        If anything that tier A promises is not so.
    """
    try:
        facts = _facts(zygote.pid)
    except (OSError, KeyError, IndexError) as error:
        raise SandboxUnavailable(f"No sandbox: its isolation could not be checked: {error}.") from error
    wanted: dict[str, Callable[[str], bool]] = {
        "uid": lambda value: value != "0",
        "capabilities": lambda value: int(value, 16) == 0,
        "no_new_privileges": lambda value: value == "1",
        "seccomp": lambda value: value == "2",
        "namespaces": lambda value: value.split() == list(NAMESPACES),
        "network": lambda value: value == "lo",
        "root": lambda value: value == "read-only",
        "memory": lambda value: _at_most(value, policy.memory),
        "processes": lambda value: _at_most(value, policy.processes),
        "file_size": lambda value: _at_most(value, policy.disk),
    }
    for name, holds in wanted.items():
        if not holds(facts[name]):
            raise SandboxUnavailable(
                f"No sandbox: the check of {name!r} found {facts[name]!r}, so the isolation is not complete; "
                "run 'jupyter codeagent doctor' and report this."
            )
    return facts


def _facts(pid: int) -> dict[str, str]:
    seen, limits = status(pid), limits_of(pid)
    own = {name: os.readlink(f"/proc/self/ns/{name}") for name in NAMESPACES}  # noqa: PTH115
    apart = [name for name in NAMESPACES if os.readlink(f"/proc/{pid}/ns/{name}") != own[name]]  # noqa: PTH115
    devices = [line.split(":")[0].strip() for line in Path(f"/proc/{pid}/net/dev").read_text().splitlines()[2:]]
    mounts = [
        line.split() for line in Path(f"/proc/{pid}/mountinfo").read_bytes().decode("utf-8", "replace").splitlines()
    ]
    root = [fields[5] for fields in mounts if fields[4] == "/"]
    return {
        "uid": seen["Uid"].split()[0],
        "capabilities": seen["CapEff"],
        "no_new_privileges": seen["NoNewPrivs"],
        "seccomp": seen["Seccomp"],
        "namespaces": " ".join(apart),
        "network": " ".join(devices),
        "root": "read-only" if root and all("ro" in options.split(",") for options in root) else "writable",
        "memory": limits["Max data size"],
        "processes": limits["Max processes"],
        "file_size": limits["Max file size"],
    }
