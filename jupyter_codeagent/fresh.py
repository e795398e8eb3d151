"""One run of a notebook's cells from the top, in a sandbox that nothing has touched."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

from jupyter_codeagent.notebook import runnable
from jupyter_codeagent.sandbox import SandboxPolicy
from jupyter_codeagent.sandbox.execution import Manner
from jupyter_codeagent.sandbox.pool import pool
from jupyter_codeagent.source import plain_lines
from jupyter_codeagent.trajectory import CodeError, Output

ENOUGH, ONWARDS = Manner(), Manner(kept=False)  # only a cell that may fail needs a way back
_INSTALLING = re.compile(
    r"\s*[!%]\s*(?:(?:python3?|sys\.executable|\{sys\.executable\})\s+-m\s+)?(?:uv\s+)?"
    r"(?:pip3?|conda|mamba|micromamba)\s+(?:install|add)\b"
)


@dataclass(frozen=True)
class Step:
    """A cell as it is executed.

    Parameters
    ----------
    number : int
        1-based, counted over all cells of the notebook.
    code : str
        Without this package's own magics and lines that install packages.
    cell : nbformat.NotebookNode
        The cell of the file.
    installs : tuple of str
        The lines that install packages.
    """

    number: int
    code: str
    cell: Any
    installs: tuple[str, ...] = ()

    @property
    def may_fail(self) -> bool:
        """An exception does not end the run."""
        return "raises-exception" in self.cell.metadata.get("tags", [])


@dataclass
class FreshRun:
    """What a run gave.

    Parameters
    ----------
    outputs : dict
        Of each cell that was executed, by its number.
    errors : dict
        How the cells ended that failed.
    names : dict
        Names that each cell set.
    duration : float
        Seconds that the cells took.
    tier : str
        The isolation that the run had.
    strays : tuple of str
        Files that the code left in temporary folders, with their paths.
    """

    outputs: dict[int, list[Output]] = field(default_factory=dict)
    errors: dict[int, CodeError] = field(default_factory=dict)
    names: dict[int, frozenset[str]] = field(default_factory=dict)
    duration: float = 0.0
    tier: str = ""
    strays: tuple[str, ...] = ()

    @property
    def executed(self) -> int:
        """Cells that were executed."""
        return len(self.outputs)


def steps_of(notebook: Any) -> list[Step]:
    """Return the cells of a notebook that a run from the top executes."""
    found = []
    for number, source, cell in runnable(notebook):
        code, installs = without_installing(source)
        if code.strip():
            found.append(Step(number, code, cell, tuple(installs)))
    return found


def run(
    steps: Sequence[Step], policy: SandboxPolicy, tell: Callable[[int, int], None] | None = None, whole: bool = False
) -> FreshRun:
    """Execute cells in a fresh sandbox, up to the first that fails and is not tagged ``raises-exception``.

    Parameters
    ----------
    steps : sequence of Step
        The cells.
    policy : SandboxPolicy
        What the sandbox may do.
    tell : callable or None
        Called before each cell, and once at the end, with the number of cells that were executed and of all.
    whole : bool
        No cell that fails ends the run.

    Raises
    ------
    SandboxUnavailable, SandboxDied
        If there is no sandbox, or it could not be brought back.
    KeyboardInterrupt
        If it was stopped; the sandbox has ended then.
    """
    found, tell = FreshRun(), tell or (lambda done, total: None)
    with pool().take(policy) as sandbox:
        for step in steps:
            tell(found.executed, len(steps))
            seen = sandbox.execute(step.code, manner=ENOUGH if step.may_fail else ONWARDS)
            found.outputs[step.number], found.names[step.number] = seen.outputs, frozenset(seen.names)
            found.duration += seen.duration
            if seen.error is not None:
                found.errors[step.number] = seen.error
                if not (step.may_fail or whole):
                    break
        tell(found.executed, len(steps))
        sandbox.start()
        found.strays, found.tier = tuple(sandbox.strays()), sandbox.tier
    return found


def without_installing(code: str) -> tuple[str, list[str]]:
    """Return code without the lines that install packages, line numbers kept, and those lines."""
    lines, taken = code.splitlines(), []
    if not plain_lines(code)[0]:  # the body of a cell magic is none of Python's
        return code, []
    for at, line in enumerate(lines):
        if _INSTALLING.match(line):
            taken.append(line.strip())
            lines[at] = ""
    return ("\n".join(lines) if taken else code), taken


def left_out(notebook: Any) -> Iterable[str]:
    """Yield sentences on what a run from the top leaves out that somebody may expect to be run."""
    for number, source, _ in runnable(notebook):
        for line in without_installing(source)[1]:
            yield f"Cell {number} installs packages ({line[:80]}); that line was left out: there is no network."
    for number, cell in enumerate(notebook.cells, 1):
        if cell.cell_type == "code" and re.match(r"\s*%%agent\b", cell.source):
            yield f"Cell {number} is an agent cell and was left out; what it made stands in the cells kept of it."
