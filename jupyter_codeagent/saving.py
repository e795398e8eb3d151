"""The tasks of a kernel as one notebook: later ones build on what earlier ones left."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from jupyter_codeagent.errors import NotebookError
from jupyter_codeagent.notebook import KEY, SKIP, merged_record, to_notebook
from jupyter_codeagent.notebook_file import check_writable, write_notebook
from jupyter_codeagent.trajectory import Trajectory


def save_tasks(trajectories: Sequence[Trajectory], path: str | Path) -> Path:
    """Save what was kept of several tasks, in their order; returns the file that was written.

    Raises
    ------
    NotebookError
        If nothing was kept, the file exists, or it cannot be written.
    """
    worth = [t for t in trajectories if t.kept or t.status == "solved"]
    if not worth:
        raise NotebookError("There is nothing to save: no attempt has succeeded yet.")
    check_writable(path, overwrite=False)
    notebook = to_notebook(worth[0])
    for trajectory in worth[1:]:
        notebook.cells += to_notebook(trajectory).cells
    notebook.metadata[KEY] = merged_record(worth)
    _number(notebook.cells)
    return write_notebook(notebook, path, overwrite=False)


def _number(cells: Sequence[Any]) -> None:
    """Count the cells as if they had been run from the top."""
    executed = [c for c in cells if c.cell_type == "code" and SKIP not in c.metadata.get("tags", [])]
    for count, cell in enumerate(executed, 1):
        cell.execution_count = count
        for output in cell.outputs:
            if output.output_type == "execute_result":
                output.execution_count = count
