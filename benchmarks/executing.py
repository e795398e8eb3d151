"""How long one small cell takes, from the call to the whole result."""

from __future__ import annotations

from collections.abc import Iterator

from benchmarks.kernel import Kernel
from benchmarks.measure import Row, interleave, milliseconds
from jupyter_codeagent.sandbox import Sandbox, SandboxPolicy

CELLS = {
    "1": "looks only, so no copy of the state is taken",
    "x = 1": "may change the state, so each call first takes a copy of it to go back to",
    "print(len('abc'))": "calls something, so likewise",
    "1/0": "an error with its traceback; likewise",
}


def round_trip(quick: bool) -> Iterator[Row]:
    """One cell in a running sandbox, against a running kernel (its reply and its idle status)."""
    with Sandbox(SandboxPolicy(workspace=None)) as sandbox, Kernel() as kernel:
        for code, note in CELLS.items():
            found = interleave(
                40 if quick else 200,
                warm=5,
                sandbox=lambda code=code: milliseconds(lambda: sandbox.execute(code)),
                kernel=lambda code=code: milliseconds(lambda: kernel.execute(code)),
            )
            bar = 0.3 if code == "1" else None
            against = "plain ipykernel, reply and idle"
            yield Row(f"execute `{code}`", "ms", found["sandbox"], against, found["kernel"], bar=bar, note=note)
