"""The tasks of a kernel as one notebook: later ones build on what earlier ones left."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from jupyter_codeagent.errors import NotebookError
from jupyter_codeagent.notebook import KEY, merged_record, number_cells, to_notebook
from jupyter_codeagent.notebook_file import check_writable, write_notebook
from jupyter_codeagent.trajectory import Trajectory


def save_tasks(trajectories: Sequence[Trajectory], path: str | Path, attempts: bool = False) -> Path:
    """Save what was kept of several tasks, in their order; returns the file that was written.

    `attempts` as in `save_notebook`.

    Raises
    ------
    NotebookError
        If nothing was kept, the file exists, or it cannot be written.
    """
    worth = [t for t in trajectories if t.kept or t.status == "solved"]
    if not worth:
        raise NotebookError("There is nothing to save: no attempt that succeeded is kept.")
    check_writable(path, overwrite=False)
    notebook = to_notebook(worth[0], attempts)
    for trajectory in worth[1:]:
        notebook.cells += to_notebook(trajectory, attempts).cells
    notebook.metadata[KEY] = merged_record(worth)
    number_cells(notebook.cells)
    return write_notebook(notebook, path, overwrite=False)
