"""verify_notebook: the saved file, executed top to bottom in a sandbox that nothing has touched."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from jupyter_codeagent.context import inputs
from jupyter_codeagent.environment import packages_of
from jupyter_codeagent.notebook import KEY, runnable
from jupyter_codeagent.notebook_file import read_notebook
from jupyter_codeagent.report import Difference, InputState, Report, compare, failed_with
from jupyter_codeagent.sandbox import SandboxPolicy
from jupyter_codeagent.sandbox.pool import pool
from jupyter_codeagent.trajectory import CodeError


def verify_notebook(
    path: str | Path, policy: SandboxPolicy | None = None, progress: Callable[[int, int], None] | None = None
) -> Report:
    """Execute a saved notebook top to bottom in a fresh sandbox and compare with the outputs it holds.

    What is read is the file as it lies on the disk. Cells tagged ``skip-execution``, ``%%attempt`` and ``%%agent``
    cells, and lines of this package's own magics, are left out. Text is compared after memory addresses, timings and
    moments were taken out; of pictures it is compared that there is one. The first cell that fails ends the run. A
    notebook without any code to execute is not verified.

    Parameters
    ----------
    path : str or Path
        The notebook.
    policy : SandboxPolicy or None
        None: the defaults, with the notebook's folder as working folder.
    progress : callable or None
        Called before each code cell, and once at the end, with the number of cells that were executed and of all
        that are to be.

    Raises
    ------
    NotebookError
        If the file is missing, broken, or no Python notebook.
    SandboxUnavailable, SandboxDied
        If there is no sandbox, or it could not be brought back.
    """
    notebook = read_notebook(path)
    folder = Path(path).resolve().parent
    cells = list(runnable(notebook))
    differences: list[Difference] = []
    executed, duration = 0, 0.0
    needed = list(_needed(notebook))
    tell = progress or (lambda done, total: None)
    with pool().take(policy or SandboxPolicy(workspace=folder)) as sandbox:
        for number, code, cell in cells:
            tell(executed, len(cells))
            seen = sandbox.execute(code)
            executed, duration = executed + 1, duration + seen.duration
            needed = [name for name in needed if name not in seen.names]
            failed, expected = seen.error.ename if seen.error else "", failed_with(cell.outputs)
            differences += _ended(number, failed, _message(seen.error, needed), expected)
            differences += compare(number, cell.outputs, seen.outputs) if failed == expected else []
            if failed and "raises-exception" not in cell.metadata.get("tags", []):
                break
        tell(executed, len(cells))
        sandbox.start()
        tier = sandbox.tier
    if left := len(cells) - executed:
        others = f" and {left - 1} more were" if left > 1 else " was"
        differences.append(Difference(cells[executed][0], "not run", f"it{others} not executed."))
    found = packages_of(code for _, code, _ in cells)
    return Report(str(path), tuple(differences), executed, found, _inputs(notebook, folder), duration, tier)


def _ended(number: int, failed: str, message: str, expected: str) -> list[Difference]:
    if failed == expected:
        return []
    if not failed:
        return [Difference(number, "missing", f"it ended with {expected} in the file and runs through now.", expected)]
    return [Difference(number, "error", message, expected, failed)]


def _message(error: CodeError | None, needed: list[str]) -> str:
    """Return how a cell ended; `needed` are the variables that are not set by then and may be the reason."""
    said = f"{error.ename}: {error.evalue[:300]}" if error else ""
    if error is None or error.ename != "NameError" or not any(f"name {n!r} is" in error.evalue for n in needed):
        return said
    return f"the notebook needs these variables: {', '.join(needed)}; set them in a cell above ({said})."


def _needed(notebook: Any) -> Iterator[str]:
    """Yield the names of variables that the code was given when it was written, as the metadata says."""
    record = notebook.metadata.get(KEY)
    listed = record.get("variables") if isinstance(record, dict) else None
    # metadata may say anything: what is no name is nothing
    for name in listed[:50] if isinstance(listed, list) else []:
        if isinstance(name, str) and name.isidentifier() and len(name) <= 100:
            yield name


def _inputs(notebook: Any, folder: Path) -> tuple[InputState, ...]:
    record = notebook.metadata.get(KEY)
    listed = record.get("inputs") if isinstance(record, dict) else None
    found = []
    for item in listed if isinstance(listed, list) else []:
        name, expected = (item.get("name"), item.get("blake2b")) if isinstance(item, dict) else (None, None)
        # metadata may say anything: only files below the notebook's folder are looked at
        if isinstance(name, str) and (folder / name).resolve().is_relative_to(folder):
            found.append(InputState(name, _state(folder / name, expected)))
    return tuple(found)


def _state(path: Path, expected: object) -> str:
    if not path.is_file():
        return "missing"
    return "same" if inputs([path.name], path.parent)[0].digest == expected else "changed"
