"""What was done becomes a notebook's file: portable, without keys, with the packages that it needs beside it."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from jupyter_codeagent.environment import requirements
from jupyter_codeagent.errors import NotebookError
from jupyter_codeagent.fingerprint import entry
from jupyter_codeagent.keys import Keys
from jupyter_codeagent.notebook import (
    KEY,
    changed_values_cells,
    merged_record,
    new_notebook,
    number_cells,
    parameters_cells,
    task_cells,
)
from jupyter_codeagent.notebook_file import check_writable, write_notebook
from jupyter_codeagent.placing import named
from jupyter_codeagent.portable import Folders, refuse_keys, settle
from jupyter_codeagent.trajectory import Trajectory, code_hash

NOTES_MOST = 100  # sentences in a notebook's metadata


def save_notebook(trajectory: Trajectory, path: str | Path, attempts: bool = False, *, overwrite: bool = False) -> Path:
    """Save the solved task as a notebook that runs without this package.

    The task is a quotation, each kept attempt its explanation and one plain code cell with its outputs,
    then comes the answer. Kept are the successful attempts that the user did not discard: in a headless run
    they count as accepted. Plain values that the task was given stand in one cell tagged ``parameters``. Paths below
    the folder in which the code ran become relative to the notebook's. Beside it ``STEM.requirements.txt`` is
    written, with the versions of the packages that the code needs.

    Parameters
    ----------
    trajectory : Trajectory
        What was done, as `solve` returns it; also one that was not solved.
    path : str or Path
        The file to write; its folder must exist.
    attempts : bool
        Also keep the failed and discarded attempts, as collapsed cells that no notebook client executes.
    overwrite : bool
        Replace a file that exists. One that this process saved, and nobody changed since, is replaced in any case.

    Returns
    -------
    Path
        The file that was written.

    Raises
    ------
    NotebookError
        If there is nothing to save, the file exists, it cannot be written, or a key stands in it; the sentence says
        which, and then nothing was written.
    """
    if not trajectory.attempts and not trajectory.answers:
        raise NotebookError("There is nothing to save: no attempt has been made yet.")
    check_writable(path, overwrite)
    return store(of_tasks([trajectory], path, attempts), path, overwrite)


def save_tasks(
    trajectories: Sequence[Trajectory], path: str | Path, attempts: bool = False, *, overwrite: bool = False
) -> Path:
    """Save what was kept of several tasks, in their order; returns the file that was written.

    `attempts` and `overwrite` as in `save_notebook`.

    Raises
    ------
    NotebookError
        If nothing was kept, and as `save_notebook` does.
    """
    worth = [t for t in trajectories if t.kept or t.status == "solved"]
    if not worth:
        raise NotebookError("There is nothing to save: no attempt that succeeded is kept.")
    check_writable(path, overwrite)
    return store(of_tasks(worth, path, attempts), path, overwrite)


def of_tasks(trajectories: Sequence[Trajectory], path: str | Path, attempts: bool = False) -> Any:
    """Return the notebook of several tasks as it is to stand at `path`; later ones build on what earlier ones left."""
    cells, notes, inputs = parameters_cells(trajectories), [], []
    for trajectory, values in zip(trajectories, changed_values_cells(trajectories), strict=True):
        own = [*values, *task_cells(trajectory, attempts)]
        folders = Folders.of(trajectory.folder or Path.cwd(), path)
        notes += made_relative(own, folders, [i.name for i in trajectory.inputs], len(cells))
        inputs += relative_inputs(trajectory, folders)
        cells += own
    number_cells(cells)
    record = {**merged_record(trajectories), "inputs": list({i["name"]: i for i in inputs}.values())}
    return new_notebook(cells, {**record, **({"notes": notes[:NOTES_MOST]} if notes else {})})


def made_relative(cells: Sequence[Any], folders: Folders, inputs: Sequence[str], before: int) -> list[str]:
    """Make the paths in cells relative to the notebook's folder, in place; returns a sentence for each cell changed.

    `before` is the number of cells above these.
    """
    notes = []
    for number, names in settle(cells, folders, inputs).items():
        record = cells[number].metadata.get(KEY)
        if isinstance(record, dict) and record.get("role") == "accepted":
            record["hash"] = code_hash(cells[number].source)
        listed = ", ".join(map(named, dict.fromkeys(names)))
        notes.append(f"Cell {before + number + 1} names {listed} relative to the notebook's folder.")
    return notes


def relative_inputs(trajectory: Trajectory, folders: Folders) -> list[dict[str, Any]]:
    """Return the record of a task's files, named from the notebook's folder; those outside of it are left out."""
    found = []
    for file in (*trajectory.inputs, *trajectory.reads):
        name = folders.relative(file.name)
        if name != ".." and not name.startswith("../"):
            found.append(entry(replace(file, name=name)))
    return found


def store(notebook: Any, path: str | Path, overwrite: bool = False) -> Path:
    """Write a notebook that was made here, and beside it the versions of the packages that it needs.

    Raises
    ------
    NotebookError
        If a key stands in it, or it cannot be written; nothing was written then.
    """
    path = Path(path)
    unique_ids(notebook.cells)
    refuse_keys(notebook, Keys(os.environ), named(path))
    record = notebook.metadata[KEY]
    pins = requirements(record.get("environment", {}), record.get("modules", ()))
    return write_notebook(notebook, path, overwrite, beside={requirements_path(path): pins})


def requirements_path(path: Path) -> Path:
    """Return where the packages of the notebook at `path` are listed: ``STEM.requirements.txt`` beside it."""
    return path.with_name(f"{path.name.removesuffix('.ipynb')}.requirements.txt")


def unique_ids(cells: Sequence[Any]) -> None:
    """Give cells that have the id of one above them another id, the same each time."""
    seen: set[str] = set()
    for cell in cells:
        wanted, number = cell.id, 1
        while cell.id in seen:
            number += 1
            cell.id = f"{wanted[:56]}-{number}"
        seen.add(cell.id)
