"""How long until something can be executed."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

from benchmarks.kernel import Kernel
from benchmarks.measure import Row, interleave, milliseconds, settled
from jupyter_codeagent.sandbox import Sandbox, SandboxPolicy

TABLE = "Region,Revenue \n" + 'North,$500\nSouth,"$1,200"\n' * 1000


def sandbox_start(quick: bool) -> Iterator[Row]:
    """A new sandbox and its first result, against a new kernel and its first result."""
    with tempfile.TemporaryDirectory(prefix="bench") as folder:
        Path(folder, "sales.csv").write_text(TABLE)
        found = interleave(
            5 if quick else 15,
            ready=lambda: start(folder, first=False),
            sandbox=lambda: start(folder, first=True),
            kernel=lambda: kernel(lean=True),
            usual=lambda: kernel(lean=False),
        )
    lean, usual = "plain ipykernel, first reply", "plain ipykernel, wait_for_ready and first reply"
    yield Row("Sandbox.start()", "ms", found["ready"], lean, found["kernel"])
    yield Row("Sandbox.start() and the first result", "ms", found["sandbox"], lean, found["kernel"], bar=0.6)
    yield Row("Sandbox.start() and the first result", "ms", found["sandbox"], usual, found["usual"])


def kernel_start(quick: bool) -> Iterator[Row]:
    """The kernel "Python 3 (sandboxed)": its start to the first reply, and one cell, against a plain ipykernel."""
    found = interleave(5 if quick else 15, sandboxed=lambda: kernel(True, True), plain=lambda: kernel(True))
    yield Row("Python 3 (sandboxed), first reply", "ms", found["sandboxed"], "plain ipykernel", found["plain"])
    with Kernel(sandboxed=True) as sandboxed, Kernel() as plain:
        for code in ("1", "x = 1"):
            cells = interleave(
                20 if quick else 100,
                warm=5,
                sandboxed=lambda code=code: milliseconds(lambda: sandboxed.execute(code)),
                plain=lambda code=code: milliseconds(lambda: plain.execute(code)),
            )
            yield Row(f"a cell `{code}`", "ms", cells["sandboxed"], "plain ipykernel", cells["plain"])


def start(folder: str, first: bool) -> float:
    """Time a sandbox's start, with a small table in its working folder."""
    sandbox = Sandbox(SandboxPolicy(workspace=folder))

    def job() -> None:
        sandbox.start()
        if first:
            assert sandbox.execute("1").text == "1\n"

    with settled():
        try:
            return milliseconds(job)
        finally:
            sandbox.close()


def kernel(lean: bool, sandboxed: bool = False) -> float:
    """Time a kernel's start."""
    started = Kernel(lean, sandboxed)
    with settled():
        try:
            return milliseconds(started.start)
        finally:
            started.close()


def imports(quick: bool) -> Iterator[Row]:
    """What importing the package adds to an interpreter that does nothing."""
    rounds = 15 if quick else 31
    lines = {
        "nothing": "pass",
        "package": "import jupyter_codeagent",
        "sandbox": "from jupyter_codeagent import Agent, Sandbox",
        "models": "from jupyter_codeagent import Agent, Sandbox, get_model",
        "solve": "from jupyter_codeagent import solve",
    }
    with tempfile.TemporaryDirectory(prefix="bench") as folder:
        # compiled modules of their own: an installed package has them, a checkout may not
        kept = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
        environment = {**kept, "PYTHONPYCACHEPREFIX": folder}
        found = interleave(rounds, **{name: process(line, environment) for name, line in lines.items()})
    for name, line in list(lines.items())[1:]:
        added = [a - b for a, b in zip(found[name], found["nothing"], strict=True)]
        yield Row(f"{line}: added to `python -c pass`", "ms", added, bar=50.0 if name == "package" else None)


def process(line: str, environment: dict[str, str]) -> Callable[[], float]:
    """Return a subject that runs one line in an interpreter of its own."""
    command = [sys.executable, "-c", line]
    return lambda: milliseconds(lambda: subprocess.run(command, env=environment, check=True))
