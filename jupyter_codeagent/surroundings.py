"""What the kept code of a task met and used, noted when the task ends: packages, files, time zone and locale."""

from __future__ import annotations

from collections.abc import Container, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

from jupyter_codeagent.environment import local_modules, packages_of
from jupyter_codeagent.fingerprint import entry, input_of
from jupyter_codeagent.locality import locality
from jupyter_codeagent.mentioned import files_read, names_of_modules, seeds
from jupyter_codeagent.trajectory import Input, Trajectory

BYTES = 2**30  # of files that are read for their hashes because code names them


def note(trajectory: Trajectory, folder: Path | None) -> None:
    """Write into the record of a task that has ended what its kept code used.

    Parameters
    ----------
    trajectory : Trajectory
        Gets versions of packages, modules of the folder, further files that the code reads, time zone and locale; its
        inputs get columns and rows where they have not changed since the task began.
    folder : Path or None
        The working folder.
    """
    if not trajectory.kept:
        return
    codes = [attempt.action.code or "" for attempt in trajectory.kept]
    imported = [name for attempt in trajectory.kept if attempt.observation for name in attempt.observation.modules]
    trajectory.environment = packages_of(codes, imported, folder)
    trajectory.locale = locality()
    if folder is None:
        return
    trajectory.modules = tuple(local_modules(codes, imported, folder))
    trajectory.inputs = tuple(_looked_into(given, folder) for given in trajectory.inputs)
    named = {given.name for given in trajectory.inputs}
    trajectory.reads = tuple(inputs_read(codes, trajectory.modules, folder, named))


def with_cells(record: dict[str, Any], codes: Sequence[str], imported: Iterable[str], folder: Path) -> dict[str, Any]:
    """Return the record of a notebook's tasks with what its other cells use as well.

    Parameters
    ----------
    record : dict
        As `notebook.merged_record` gives it.
    codes : sequence of str
        Source of all code cells.
    imported : iterable of str
        Modules that they really imported.
    folder : Path
        The notebook's folder, in which the code ran.
    """
    modules = local_modules(codes, imported, folder)
    known = {each["name"] for each in record["inputs"]}
    found = [entry(each) for each in inputs_read(codes, modules, folder, known)]
    more = {
        "modules": sorted({*modules, *record.get("modules", ())}),
        "seeds": [seed.encode("utf-8", "replace").decode() for seed in seeds(codes)],
        "locale": record.get("locale") or locality(),
    }
    return {
        **record,
        "environment": {**packages_of(codes, imported, folder), **record["environment"]},
        "inputs": [*record["inputs"], *found],
        **{name: told for name, told in more.items() if told},
    }


def inputs_read(codes: Iterable[str], modules: Iterable[str], folder: Path, known: Container[str] = ()) -> list[Input]:
    """Return the files of `folder` that code reads, as inputs: those that it names, and its own `modules`.

    Those whose names are `known` are left out.
    """
    names = dict.fromkeys([*names_of_modules(modules, folder), *files_read(codes, folder)])
    return list(_within([name for name in names if name not in known], folder))


def _within(names: Iterable[str], folder: Path) -> Iterator[Input]:
    left = BYTES
    for name in names:
        try:
            left -= (folder / name).stat().st_size
            if left >= 0:
                yield input_of(name, folder)
        except OSError:  # what cannot be read now is no input
            continue


def _looked_into(given: Input, folder: Path) -> Input:
    """Return an input with columns and rows, if it is still as it was when the task began."""
    try:
        now = input_of(given.name, folder)
    except OSError:
        return given
    return now if now == given else given
