"""What it costs to keep a state and to go back to it, here and elsewhere."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import numpy

from benchmarks.kernel import Kernel
from benchmarks.measure import Row, interleave, milliseconds
from benchmarks.memory import inside, proportional
from jupyter_codeagent.sandbox import Sandbox, SandboxPolicy

MIB = 2**20
COPIES = 5
BARS = {0: 10.0, 100: 10.0, 1000: 30.0, 4000: 100.0}  # milliseconds, by MiB in the state
COMPARED = 100  # MiB in the state, for the comparison with others
MAKE = "import numpy\ndata = numpy.random.default_rng(1).random({count})"
DILL = """
import json, sys, time, dill
{make}
def turns():  # what is loaded replaces global names
    for _ in range({rounds}):
        a = time.perf_counter(); dill.dump_module(sys.argv[1]); b = time.perf_counter()
        dill.load_module(sys.argv[1]); c = time.perf_counter()
        yield (b - a) * 1000, (c - b) * 1000
print(json.dumps(list(turns())))
"""
EXECUTOR = """
import json, time
from smolagents.local_python_executor import LocalPythonExecutor
spent = []
for _ in range({rounds} + 1):
    a = time.perf_counter()
    executor = LocalPythonExecutor(["numpy.*"]); executor.send_tools({{}}); executor({make!r})
    spent.append((time.perf_counter() - a) * 1000)
print(json.dumps(spent[1:]))
"""


def states(quick: bool) -> Iterator[Row]:
    """Checkpoint, rollback and reset with much data in the state."""
    for size, bar in BARS.items():
        policy = SandboxPolicy(workspace=None, memory=(size * 3 + 1024) * MIB)
        with Sandbox(policy) as sandbox:
            seen = sandbox.execute(making(size))
            assert seen.error is None, seen.error
            yield from with_data(sandbox, size, bar, quick)
    yield from others(quick)


def making(size: int) -> str:
    """Return code that makes `size` MiB of data."""
    return MAKE.format(count=max(1, size * MIB // 8))


def with_data(sandbox: Sandbox, size: int, bar: float, quick: bool) -> Iterator[Row]:
    """Measure in a sandbox that holds `size` MiB."""
    data = numpy.ones(max(1, min(size, 1000) * MIB // 8))
    back: list[float] = []

    def checkpoint() -> float:
        sandbox.execute("step = 1")  # else the state is one that is kept already, and nothing is to be done
        taken = []
        spent = milliseconds(lambda: taken.append(sandbox.checkpoint()))
        sandbox.execute("step = 2; data[0] = 2")
        back.append(milliseconds(lambda: sandbox.rollback(taken[0])))
        assert sandbox.execute("step, float(data[0]) == 2").text == "(1, False)\n"
        taken[0].drop()
        return spent

    warm = 2
    found = interleave(10 if quick else 30, warm, kept=checkpoint, copy=lambda: milliseconds(data.copy))
    yield Row(f"checkpoint(), {size} MiB", "ms", found["kept"], bar=bar)
    if size in (100, 1000):
        yield Row(f"checkpoint(), {size} MiB", "ms", found["kept"], f"numpy copying {size} MiB", found["copy"])
    yield Row(f"rollback(), {size} MiB", "ms", back[warm:], bar=bar)
    yield resets(sandbox, size, quick)
    yield from memory_of_a_checkpoint(sandbox, size, quick)


def memory_of_a_checkpoint(sandbox: Sandbox, size: int, quick: bool) -> Iterator[Row]:
    """Measure what one more copy of the state takes: itself alone, and all processes together."""
    added, own = [], []
    for _ in range(2 if quick else 5):
        sandbox.execute("step = 1")
        taken = [sandbox.checkpoint()]
        before = proportional(inside(sandbox))
        for _ in range(COPIES):
            sandbox.execute("step = 2")
            taken.append(sandbox.checkpoint())
            state = taken[-1].point.state
            assert state is not None
            own.append(private(state.pid))
        added.append((proportional(inside(sandbox)) - before) / COPIES)
        for checkpoint in taken:
            checkpoint.drop()
    yield Row(f"private memory of a checkpoint, {size} MiB", "MB", own, bar=5.0, note="of its own process")
    note = "PSS and page tables of all processes"
    yield Row(f"memory of a checkpoint, {size} MiB", "MiB", added, note=note)


def private(pid: int) -> float:
    """Return the MB of memory that a process shares with no other; nothing where only root may read that."""
    try:
        lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
    except PermissionError:
        return float("nan")
    return sum(int(line.split()[1]) for line in lines if line.startswith("Private_")) * 1024 / 1e6


def others(quick: bool) -> Iterator[Row]:
    """Compare with going back by other means: a kernel that is restarted, a session that is dumped, an executor."""
    rounds, code = 3 if quick else 10, making(COMPARED)
    with Sandbox(SandboxPolicy(workspace=None)) as sandbox:
        sandbox.execute(code)

        def ours() -> float:
            here = sandbox.checkpoint()
            sandbox.execute("data[0] = 2")
            spent = milliseconds(lambda: sandbox.rollback(here))
            here.drop()
            return spent

        def restarted() -> float:
            kernel = Kernel()
            try:
                return milliseconds(lambda: (kernel.start(), kernel.execute(code)))
            finally:
                kernel.close()

        found = interleave(rounds, ours=ours, kernel=restarted)
        what = f"rollback(), {COMPARED} MiB"
        against = "a new ipykernel and the code again"
        yield Row(what, "ms", found["ours"], against, found["kernel"], bar=0.1)
        kept = [milliseconds(lambda: (sandbox.execute("step = 1"), sandbox.checkpoint().drop())) for _ in range(rounds)]
        dumped = dill_session(rounds, code)
        yield Row(f"a cell and checkpoint(), {COMPARED} MiB", "ms", kept, "dill.dump_module", [d for d, _ in dumped])
        yield Row(what, "ms", found["ours"], "dill.load_module", [back for _, back in dumped])
        again = smolagents_executor(rounds, code)
        if again:
            yield Row(what, "ms", found["ours"], "a new executor of smolagents and the code again", again)


def dill_session(rounds: int, code: str) -> list[list[float]]:
    """Return the milliseconds of writing and of reading a session, each time."""
    with tempfile.TemporaryDirectory() as folder:
        return run(sys.executable, DILL.format(make=code, rounds=rounds), str(Path(folder, "session")))


def smolagents_executor(rounds: int, code: str) -> list[float]:
    """Return the milliseconds of doing the code again; SMOLAGENTS_PYTHON says which Python has that package."""
    python = os.environ.get("SMOLAGENTS_PYTHON")
    return run(python, EXECUTOR.format(make=code, rounds=rounds)) if python else []


def run(python: str, code: str, *arguments: str) -> list:
    """Return what a program of its own prints, as JSON."""
    done = subprocess.run([python, "-c", code, *arguments], capture_output=True, text=True, check=True)
    return json.loads(done.stdout.splitlines()[-1])


def resets(sandbox: Sandbox, size: int, quick: bool) -> Row:
    """Measure going back to the pristine state."""
    here = sandbox.checkpoint()
    spent = []
    for _ in range(10 if quick else 30):
        spent.append(milliseconds(sandbox.reset))
        sandbox.rollback(here)
    here.drop()
    return Row(f"reset(), {size} MiB", "ms", spent, bar=25.0 if size == 100 else None)
