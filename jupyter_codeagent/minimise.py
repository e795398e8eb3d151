"""minimise_notebook: the cells that a notebook's result does not need left out, checked by executing the rest."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from jupyter_codeagent import locality
from jupyter_codeagent.dataflow import Flows
from jupyter_codeagent.errors import NotebookError
from jupyter_codeagent.fresh import FreshRun, Step, run, steps_of
from jupyter_codeagent.notebook import KEY, number_cells
from jupyter_codeagent.notebook_file import check_writable, folder_of, read_notebook, write_notebook
from jupyter_codeagent.report import compare
from jupyter_codeagent.sandbox import SandboxPolicy

RUNS = 12  # executions at most; what is not settled by then stays


@dataclass(frozen=True)
class Minimised:
    """What was left out of a notebook.

    Parameters
    ----------
    path : str
        The file that was written.
    left_out, kept : tuple of int
        Numbers of the code cells of the notebook as it was, 1-based over all its cells.
    came_back : tuple of int
        Those of `kept` that the code does not seem to need, but without which other cells gave something else.
    result : tuple of int
        The cells whose outputs, names or files count as the result.
    runs : int
        How often cells were executed from the top.
    """

    path: str
    left_out: tuple[int, ...]
    kept: tuple[int, ...]
    came_back: tuple[int, ...]
    result: tuple[int, ...]
    runs: int

    def __str__(self) -> str:
        wanted = f"the result ({_cells(self.result)})"
        if not self.left_out:
            return f"{self.path}: nothing was left out; {wanted} needs all code cells, as far as is known."
        lines = [
            f"{self.path}: {_cells(self.left_out)} left out: {wanted} does not need what is there, and the others gave "
            "the same without in a fresh sandbox."
        ]
        if self.came_back:
            lines.append(f"{_cells(self.came_back).capitalize()} kept: without them other cells gave something else.")
        return "\n".join(lines)


def minimise_notebook(
    path: str | Path,
    out: str | Path | None = None,
    names: Sequence[str] = (),
    policy: SandboxPolicy | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> Minimised:
    """Write a copy of a notebook without the code cells that its result does not need.

    The result is the last accepted cell of each task (in a notebook without tasks, the last cell with outputs), the
    variables `names`, and all files that are written. Which cells it needs is read from the code; the others are left
    out if the rest, executed in a fresh sandbox, gives the same as before. Where it does not, cells come
    back, by halves.

    Parameters
    ----------
    path : str or Path
        The notebook; it is not changed.
    out : str or Path or None
        The new file, which must not exist. None: ``NAME.minimal.ipynb`` beside the notebook.
    names : sequence of str
        Variables that must be set as before.
    policy : SandboxPolicy or None
        As for `verify_notebook`.
    progress : callable or None
        As for `verify_notebook`; called anew for each run.

    Raises
    ------
    NotebookError
        If the notebook cannot be read, does not run through, sets no variable of `names`, or `out` cannot be written.
    SandboxUnavailable, SandboxDied
        If there is no sandbox, or it could not be brought back.
    """
    path = Path(path)
    out = Path(out) if out is not None else path.with_name(f"{path.name.removesuffix('.ipynb')}.minimal.ipynb")
    policy = policy or SandboxPolicy(workspace=folder_of(path))
    if os.path.realpath(out) == os.path.realpath(path):
        raise NotebookError(f"{str(out)!r} is the notebook itself; give the smaller one another name.")
    check_writable(out)
    notebook = read_notebook(path)
    if not policy.environ:
        policy = replace(policy, environ=locality.environ(notebook.metadata.get(KEY)))
    search = _Search(steps_of(notebook), policy, progress)
    search.begin(path)
    flows = Flows([(step.number, step.code) for step in search.steps])
    result = _result(search.steps, flows, names)
    needed = flows.needed(result)
    spare = [step.number for step in search.steps if step.number not in needed]
    gone = search.without(spare)
    write_notebook(_rest(notebook, gone), out)
    numbers = [step.number for step in search.steps]
    return Minimised(
        str(out), tuple(n for n in numbers if n in gone), tuple(n for n in numbers if n not in gone),
        tuple(n for n in spare if n not in gone), tuple(sorted(result)), search.runs,
    )  # fmt: skip


class _Search:
    """Executes parts of a notebook and compares them with the whole."""

    def __init__(
        self, steps: Sequence[Step], policy: SandboxPolicy, progress: Callable[[int, int], None] | None
    ) -> None:
        self.steps, self.policy, self.progress = steps, policy, progress
        self.runs = 0
        self.whole = FreshRun()

    def begin(self, path: Path) -> None:
        """Execute the whole; raises NotebookError where that does not run through."""
        if not self.steps:
            raise NotebookError(f"{str(path)!r} has no code to execute; there is nothing to leave out.")
        self.whole = self._run(self.steps)
        failed = [s.number for s in self.steps if s.number in self.whole.errors and not s.may_fail]
        if failed:
            error = self.whole.errors[failed[0]]
            raise NotebookError(
                f"{str(path)!r} does not run through: cell {failed[0]} ends with {error.ename}: {error.evalue[:200]}. "
                "Nothing was left out; verify it first."
            )

    def without(self, spare: Sequence[int]) -> set[int]:
        """Return which of the cells `spare` can be left out; by halves where not all can (delta debugging)."""
        gone: set[int] = set()
        waiting = [list(spare)] if spare else []
        while waiting and self.runs < RUNS:
            part = waiting.pop()
            if self._same_without(gone | set(part)):
                gone |= set(part)
            elif len(part) > 1:
                half = len(part) // 2
                waiting += [part[:half], part[half:]]
        return gone

    def _same_without(self, gone: set[int]) -> bool:
        steps = [step for step in self.steps if step.number not in gone]
        found = self._run(steps)
        if len(found.outputs) < len(steps):
            return False
        return all(self._same(step.number, found) for step in steps)

    def _same(self, number: int, found: FreshRun) -> bool:
        before, now = self.whole.errors.get(number), found.errors.get(number)
        if (before.ename if before else "") != (now.ename if now else ""):
            return False
        return not compare(number, self.whole.outputs[number], found.outputs[number])

    def _run(self, steps: Sequence[Step]) -> FreshRun:
        self.runs += 1
        return run(steps, self.policy, self.progress)


def _result(steps: Sequence[Step], flows: Flows, names: Sequence[str]) -> set[int]:
    """Return the cells that make up the result."""
    found = {number for number, flow in flows.cells.items() if flow.writes}
    last: dict[str, int] = {}
    for step in steps:
        record = step.cell.metadata.get(KEY)
        if isinstance(record, dict) and record.get("role") == "accepted" and isinstance(record.get("task"), str):
            last[record["task"]] = step.number
    shown = [step.number for step in steps if step.cell.outputs]
    found |= set(last.values()) or {shown[-1] if shown else steps[-1].number}
    for name in names:
        setting = [number for number, flow in flows.cells.items() if name in flow.binds | flow.changes]
        if not setting:
            raise NotebookError(f"No cell sets the variable {name!r}; name one that the notebook has.")
        found |= set(setting)
    return found


def _rest(notebook: Any, gone: set[int]) -> Any:
    """Return the notebook without some of its code cells, and without the explanations right above them."""
    cells: list[Any] = []
    for number, cell in enumerate(notebook.cells, 1):
        if number not in gone:
            cells.append(cell)
        elif cells and _explains(cells[-1], cell):
            cells.pop()
    notebook.cells = cells
    number_cells(cells)
    record = notebook.metadata.get(KEY)
    if isinstance(record, dict):
        record.pop("verified", None)  # it was said of another content
    return notebook


def _explains(above: Any, cell: Any) -> bool:
    records = [c.metadata.get(KEY) for c in (above, cell)]
    if above.cell_type != "markdown" or not all(isinstance(record, dict) for record in records):
        return False
    return bool(records[0].get("role") == "explanation" and records[0].get("task") == records[1].get("task"))


def _cells(numbers: Iterable[int]) -> str:
    listed = [str(number) for number in numbers]
    if len(listed) == 1:
        return f"cell {listed[0]}"
    return f"cells {', '.join(listed[:-1])} and {listed[-1]}"
