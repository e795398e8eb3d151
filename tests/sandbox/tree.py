"""The processes of a sandbox as the machine sees them, found without asking the sandbox."""

from __future__ import annotations

import os
import time
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Tree:
    """Bubblewrap's two processes, the zygote, and all that came of it."""

    outer: int
    init: int
    zygote: int
    states: tuple[int, ...]

    @property
    def all(self) -> tuple[int, ...]:
        return (self.outer, self.init, self.zygote, *self.states)


def parents() -> dict[int, int]:
    """Return the parent of every living process."""
    found = {}
    for name in os.listdir("/proc"):
        if name.isdigit():
            try:
                fields = Path(f"/proc/{name}/stat").read_bytes().rpartition(b")")[2].split()
            except OSError:
                continue
            if fields[0] != b"Z":
                found[int(name)] = int(fields[1])
    return found


def children(pid: int, table: dict[int, int]) -> list[int]:
    return sorted(child for child, parent in table.items() if parent == pid)


def below(pid: int, table: dict[int, int] | None = None) -> list[int]:
    """Return all processes below `pid`."""
    table = parents() if table is None else table
    found, pending = [], [pid]
    while pending:
        here = children(pending.pop(), table)
        found += here
        pending += here
    return sorted(found)


def command(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode("utf-8", "replace")
    except OSError:
        return ""


def trees(pid: int | None = None) -> list[Tree]:
    """Return the sandboxes that a process (this one) has started, in order."""
    table = parents()
    found = []
    for outer in children(pid or os.getpid(), table):
        if "bwrap" in command(outer) and (inner := children(outer, table)):
            rest = children(inner[0], table)
            states = [p for p in below(inner[0], table) if p not in rest[:1]]
            found.append(Tree(outer, inner[0], rest[0] if rest else 0, tuple(states)))
    return found


def wait_until(condition, seconds: float = 5.0) -> bool:
    """Wait until `condition` holds; say whether it did."""
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.02)
    return True


def living(pids) -> list[int]:
    table = parents()
    return [pid for pid in pids if pid in table]


def available() -> int:
    """Return the bytes of memory that the machine has left."""
    for line in Path("/proc/meminfo").read_text().splitlines():
        if line.startswith("MemAvailable:"):
            return int(line.split()[1]) * 1024
    raise OSError("no MemAvailable in /proc/meminfo")
