"""What a sandbox that waits takes of the machine's memory."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

from benchmarks.kernel import Kernel
from benchmarks.measure import Row, interleave
from jupyter_codeagent.sandbox import Sandbox, SandboxPolicy

KIB = 1024


def proportional(pids: Sequence[int]) -> float:
    """Return MiB of memory of all `pids` together: each page once, shared with others by its share; page tables too.

    Of a sandbox's processes the kernel tells it to root only. Under other users the resident pages are counted, which
    counts shared ones several times.
    """
    total = 0
    for pid in pids:
        try:
            total += _of(Path(f"/proc/{pid}"))
        except (ProcessLookupError, FileNotFoundError):
            continue  # it was being cleared away
    return total / KIB


def _of(process: Path) -> int:
    status = dict(line.split(":", 1) for line in (process / "status").read_text().splitlines())
    tables = int(status.get("VmPTE", "0 kB").split()[0])
    try:
        rollup = (process / "smaps_rollup").read_text().splitlines()
    except PermissionError:
        return int(status["VmRSS"].split()[0]) + tables
    return sum(int(line.split()[1]) for line in rollup if line.startswith("Pss:")) + tables


def exact() -> bool:
    """Say whether the share of shared pages can be read."""
    with Sandbox(SandboxPolicy(workspace=None)) as sandbox:
        try:
            Path(f"/proc/{sandbox.supervisor.inside()[0]}/smaps_rollup").read_text()
        except PermissionError:
            return False
    return True


def inside(sandbox: Sandbox) -> list[int]:
    """Return the processes in a sandbox, and bubblewrap's."""
    process = sandbox.supervisor.process
    assert process is not None
    above = [process.pid, *children(process.pid)]
    return [*above, *(pid for pid in sandbox.supervisor.inside() if pid not in above)]


def children(pid: int) -> list[int]:
    """Return the direct children of a process."""
    return [int(p) for p in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def idle(quick: bool) -> Iterator[Row]:
    """A sandbox that has executed one cell, all its processes, against a kernel that has."""
    found = interleave(2 if quick else 5, sandbox=of_sandbox, kernel=of_kernel)
    unit = "MiB (PSS)" if exact() else "MiB (RSS, shared pages counted more than once)"
    yield Row("an idle sandbox", unit, found["sandbox"], "plain ipykernel", found["kernel"])


def of_sandbox() -> float:
    """Start one, and look."""
    with Sandbox(SandboxPolicy(workspace=None)) as sandbox:
        sandbox.execute("1")
        return proportional(inside(sandbox))


def of_kernel() -> float:
    """Start one, and look."""
    with Kernel() as kernel:
        kernel.execute("1")
        return proportional([kernel.pid])
