"""What was done becomes a notebook's file: portable, without keys, with the packages that it needs beside it."""

from __future__ import annotations

import os
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from jupyter_codeagent.document import Document
from jupyter_codeagent.environment import requirements
from jupyter_codeagent.errors import NotebookError
from jupyter_codeagent.fingerprint import entry
from jupyter_codeagent.keys import Keys
from jupyter_codeagent.live import Live, live_cells
from jupyter_codeagent.locality import INSIDE, locality
from jupyter_codeagent.lock import Lock, lock_path, script_block
from jupyter_codeagent.lock import make as make_lock
from jupyter_codeagent.notebook import (
    KEY,
    changed_values_cells,
    code_cell,
    merged_record,
    new_notebook,
    number_cells,
    parameters_cells,
    task_cells,
)
from jupyter_codeagent.notebook_file import check_writable, read_notebook, write_notebook
from jupyter_codeagent.placing import named
from jupyter_codeagent.portable import Folders, refuse_keys, relative_text, settle
from jupyter_codeagent.ran import Ran
from jupyter_codeagent.surroundings import with_cells
from jupyter_codeagent.trajectory import Trajectory, code_hash

NOTES_MOST = 100  # sentences in a notebook's metadata
RUN_AGAIN = (
    "and run the notebook again: with --again where the model wrote or printed it, for otherwise the same code is "
    "taken up again. Cells are counted as they would stand in the file that was not written."
)


@dataclass(frozen=True)
class Saved:
    """A notebook that was saved.

    Parameters
    ----------
    path : Path
        The file.
    notes : tuple of str
        What a reader should know: what was left out, what ran out of order, what changed since. Why there is no lock.
    unknown : frozenset of str
        The ids of cells whose outputs nobody has kept whole, so that a fresh run cannot be compared with them.
    """

    path: Path
    notes: tuple[str, ...] = ()
    unknown: frozenset[str] = frozenset()


def save_notebook(
    trajectory: Trajectory,
    path: str | Path,
    attempts: bool = False,
    *,
    overwrite: bool = False,
    lock: bool = False,
    script: bool = False,
) -> Path:
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

    lock : bool
        Also write ``pylock.STEM.toml`` (PEP 751), with addresses and hashes of packages: a package index is asked.
        Where no lock can be made, a warning says why.
    script : bool
        Begin the notebook with a comment that names the packages, as ``juv run`` reads it (PEP 723).

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
    saved = store(of_tasks([trajectory], path, attempts, int(script)), path, overwrite, lock=lock, script=script)
    for problem in saved.notes:
        warnings.warn(problem, stacklevel=2)
    return saved.path


def save_tasks(
    trajectories: Sequence[Trajectory],
    path: str | Path,
    attempts: bool = False,
    *,
    overwrite: bool = False,
    lock: bool = False,
    script: bool = False,
) -> Saved:
    """Save what was kept of several tasks, in their order.

    `attempts`, `overwrite`, `lock` and `script` as in `save_notebook`.

    Raises
    ------
    NotebookError
        If nothing was kept, and as `save_notebook` does.
    """
    worth = [t for t in trajectories if t.kept or t.status == "solved"]
    if not worth:
        raise NotebookError("There is nothing to save: no attempt that succeeded is kept.")
    check_writable(path, overwrite)
    return store(of_tasks(worth, path, attempts, int(script)), path, overwrite, lock=lock, script=script)


def save_live(
    ran: Sequence[Ran],
    trajectories: Sequence[Trajectory],
    path: str | Path,
    folder: Path,
    file: Path | None = None,
    attempts: bool = False,
    *,
    overwrite: bool = False,
    lock: bool = False,
    script: bool = False,
) -> Saved:
    """Save what ran in a kernel as one notebook: its user's cells and all tasks, in the order in which they ran.

    Parameters
    ----------
    ran : sequence of Ran
        The cells that ran.
    trajectories : sequence of Trajectory
        The tasks that were given.
    path : str or Path
        The file to write.
    folder : Path
        The kernel's working folder.
    file : Path or None
        The live notebook's own file: its Markdown, ids, tags and outputs are taken over.
    attempts, overwrite, lock, script
        As for `save_notebook`.

    Raises
    ------
    NotebookError
        If there is nothing to save, and as `save_notebook` does.
    """
    path = Path(path)
    check_writable(path, overwrite)
    document, complaint = _document(file)
    live = live_cells(ran, trajectories, document, attempts)
    if not any(cell.cell_type == "code" for cell in live.cells):
        raise NotebookError("There is nothing to save: nothing has run, and no attempt that succeeded is kept.")
    folders = Folders.of(folder, path)
    record = _live_record(live, folders.workspace)
    moved = made_relative(live.cells, folders, [i["name"] for i in record["inputs"]], int(script))
    record["inputs"] = relative_entries(record["inputs"], folders)
    number_cells(live.cells)
    notes = [note for note in [complaint, *live.notes, *moved] if note][:NOTES_MOST]
    notebook = new_notebook(live.cells, {**record, **({"notes": notes} if notes else {})})
    saved = store(notebook, path, overwrite, lock=lock, script=script, names=live.names)
    return Saved(saved.path, (*notes, *saved.notes), frozenset(live.unknown))


def _live_record(live: Live, folder: Path) -> dict[str, Any]:
    """Return what a live notebook's metadata says; inputs are named as the code names them."""
    record: dict[str, Any] = {"version": 1, "inputs": [], "environment": {}}
    if live.tasks:
        record = merged_record(live.tasks)
    record["locale"] = locality(os.environ.get("LC_ALL") or os.environ.get("LANG") or INSIDE)
    codes = [c.source for c in live.cells if c.cell_type == "code"]
    return {**with_cells(record, codes, [], folder), "variables": []}


def _document(file: Path | None) -> tuple[Document, str]:
    """Return what the live notebook's own file says, and a sentence where it cannot be read."""
    if file is None:
        return Document(), ""
    try:
        written = file.stat().st_mtime
        return Document(read_notebook(file), written), ""
    except (OSError, NotebookError) as error:
        return Document(), f"The Markdown and outputs of the notebook's own file are missing here: {error}"


def of_tasks(trajectories: Sequence[Trajectory], path: str | Path, attempts: bool = False, above: int = 0) -> Any:
    """Return the notebook of several tasks as it is to stand at `path`; later ones build on what earlier ones left.

    `above` is the number of cells that are still to be put above them.
    """
    cells, notes, inputs = parameters_cells(trajectories), [], []
    for trajectory, values in zip(trajectories, changed_values_cells(trajectories), strict=True):
        own = [*values, *task_cells(trajectory, attempts)]
        folders = Folders.of(trajectory.folder or Path.cwd(), path)
        notes += made_relative(own, folders, [i.name for i in trajectory.inputs], above + len(cells))
        inputs += relative_entries([entry(i) for i in (*trajectory.inputs, *trajectory.reads)], folders)
        cells += own
    number_cells(cells)
    record = {**merged_record(trajectories), "inputs": list({i["name"]: i for i in inputs}.values())}
    return new_notebook(cells, {**record, **({"notes": notes[:NOTES_MOST]} if notes else {})})


def made_relative(cells: Sequence[Any], folders: Folders, inputs: Sequence[str], before: int) -> list[str]:
    """Make the paths in cells relative to the notebook's folder, in place; returns a sentence for each cell changed.

    `before` is the number of cells above these.
    """
    notes = []
    for cell in cells:
        _relative_words(cell, folders)
    for number, names in settle(cells, folders, inputs).items():
        record = cells[number].metadata.get(KEY)
        if isinstance(record, dict) and record.get("role") == "accepted":
            record["hash"] = code_hash(cells[number].source)
        listed = ", ".join(map(named, dict.fromkeys(names)))
        notes.append(f"Cell {before + number + 1} names {listed} relative to the notebook's folder.")
    return notes


def _relative_words(cell: Any, folders: Folders) -> None:
    """Make paths in what the model said relative to the notebook's folder; the user's words stay."""
    record = cell.metadata.get(KEY)
    if not isinstance(record, dict):
        return
    if cell.cell_type == "markdown" and record.get("role") in ("explanation", "answer"):
        cell.source = relative_text(cell.source, folders)
    if isinstance(record.get("explanation"), str):
        record["explanation"] = relative_text(record["explanation"], folders)


def relative_entries(entries: Sequence[dict[str, Any]], folders: Folders) -> list[dict[str, Any]]:
    """Return the records of files, named from the notebook's folder; those outside of it are left out."""
    found = {}
    for each in entries:
        name = folders.relative(each["name"])
        if name != ".." and not name.startswith("../"):
            found[name] = {**each, "name": name}
    return list(found.values())


def store(
    notebook: Any,
    path: str | Path,
    overwrite: bool = False,
    *,
    lock: bool = False,
    script: bool = False,
    names: Mapping[str, str] | None = None,
    advice: str = "run the cell again, and save.",
) -> Saved:
    """Write a notebook that was made here, and beside it the versions of the packages that it needs.

    `overwrite`, `lock` and `script` as for `save_notebook`; the notes say why there is no lock. `names` says what cells
    are elsewhere, by their ids, for who is to find a key in one; `advice` is what to do then.

    Raises
    ------
    NotebookError
        If a key stands in it, or it cannot be written; nothing was written then.
    """
    path = Path(path)
    if script:
        told = script_block(notebook.metadata.get(KEY, {}).get("environment", {}))
        notebook.cells.insert(0, code_cell(told, [], {"jupyter": {"source_hidden": True}}, "packages"))
        number_cells(notebook.cells)
    unique_ids(notebook.cells)
    refuse_keys(notebook, Keys(os.environ), named(path), names, advice)
    record = notebook.metadata.get(KEY, {})
    environment = record.get("environment", {})
    beside = {requirements_path(path): requirements(environment, record.get("modules", ()))}
    made = make_lock(environment) if lock else Lock()
    if made.text:
        beside[lock_path(path)] = made.text
    write_notebook(notebook, path, overwrite, beside=beside)
    return Saved(path, (made.problem,) if made.problem else ())


def save_solved(notebook: Any, path: str | Path, folder: Path) -> Saved:
    """Write a notebook whose agent cells were solved; `folder` is the one that it ran in. Raises as `store` does."""
    folders, record = Folders.of(folder, path), notebook.metadata.get(KEY, {})
    inputs = record.get("inputs", [])
    notes = made_relative(notebook.cells, folders, [i["name"] for i in inputs], 0)
    if inputs:
        record["inputs"] = relative_entries(inputs, folders)
    if notes:
        record["notes"] = notes[:NOTES_MOST]
    return store(notebook, path, advice=RUN_AGAIN)


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
