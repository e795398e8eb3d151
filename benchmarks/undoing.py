"""What it costs to keep a state and to go back to it."""

from __future__ import annotations

from collections.abc import Iterator

import numpy

from benchmarks.measure import Row, interleave, milliseconds
from benchmarks.memory import inside, proportional
from jupyter_codeagent.sandbox import Sandbox, SandboxPolicy

MIB = 2**20
COPIES = 5
BARS = {100: 10.0, 1000: None}  # milliseconds


def states(quick: bool) -> Iterator[Row]:
    """Checkpoint, rollback and reset with much data in the state."""
    for size, bar in BARS.items():
        policy = SandboxPolicy(workspace=None, memory=(size * 3 + 1024) * MIB)
        with Sandbox(policy) as sandbox:
            seen = sandbox.execute(f"import numpy\ndata = numpy.random.default_rng(1).random({size * MIB // 8})")
            assert seen.error is None, seen.error
            yield from with_data(sandbox, size, bar, quick)


def with_data(sandbox: Sandbox, size: int, bar: float | None, quick: bool) -> Iterator[Row]:
    """Measure in a sandbox that holds `size` MiB."""
    data = numpy.ones(size * MIB // 8)
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
    yield Row(f"checkpoint(), {size} MiB", "ms", found["kept"], f"numpy copying {size} MiB", found["copy"])
    yield Row(f"rollback(), {size} MiB", "ms", back[warm:], bar=bar)
    yield resets(sandbox, size, quick)
    yield memory_of_a_checkpoint(sandbox, size, quick)


def memory_of_a_checkpoint(sandbox: Sandbox, size: int, quick: bool) -> Row:
    """Measure what one more copy of the state takes, all processes together."""
    added = []
    for _ in range(2 if quick else 5):
        sandbox.execute("step = 1")
        taken = [sandbox.checkpoint()]
        before = proportional(inside(sandbox))
        for _ in range(COPIES):
            sandbox.execute("step = 2")
            taken.append(sandbox.checkpoint())
        added.append((proportional(inside(sandbox)) - before) / COPIES)
        for checkpoint in taken:
            checkpoint.drop()
    note = "PSS and page tables of all processes"
    return Row(f"memory of a checkpoint, {size} MiB", "MiB", added, note=note)


def resets(sandbox: Sandbox, size: int, quick: bool) -> Row:
    """Measure going back to the pristine state."""
    here = sandbox.checkpoint()
    spent = []
    for _ in range(10 if quick else 30):
        spent.append(milliseconds(sandbox.reset))
        sandbox.rollback(here)
    here.drop()
    return Row(f"reset(), {size} MiB", "ms", spent, bar=25.0 if size == 100 else None)
