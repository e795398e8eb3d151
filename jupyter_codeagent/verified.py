"""A notebook that was just saved, verified: it then holds the outputs of the fresh run, and the stamp."""

from __future__ import annotations

import os
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from jupyter_codeagent.errors import CodeAgentError, NotebookError
from jupyter_codeagent.keys import Keys
from jupyter_codeagent.notebook import number_cells, outputs_of
from jupyter_codeagent.notebook_file import read_notebook, write_notebook
from jupyter_codeagent.placing import look, named
from jupyter_codeagent.portable import refuse_keys
from jupyter_codeagent.report import Difference, Report
from jupyter_codeagent.sandbox import SandboxPolicy
from jupyter_codeagent.stamp import content_hash, make, put, write_stamp
from jupyter_codeagent.trajectory import Observation, Output
from jupyter_codeagent.verify import verify_notebook

_OF_OUTPUTS = {"text", "value", "picture", "data", "missing", "extra", "order"}  # kinds of differences


@dataclass(frozen=True)
class Verified:
    """What became of a notebook that was saved.

    Parameters
    ----------
    path : Path
        The file.
    report : Report or None
        What verifying it found; None where it could not be verified.
    problem : str
        Why it could not, or why the file carries no stamp; a sentence.
    """

    path: Path
    report: Report | None = None
    problem: str = ""

    @property
    def ok(self) -> bool:
        """A fresh run from the top gave what the file holds."""
        return self.report is not None and self.report.ok

    @property
    def refuted(self) -> bool:
        """A fresh run gave something else, or an input or a package was not there."""
        return self.report is not None and bool(self.report.cells)

    @property
    def reasons(self) -> list[str]:
        """Why it is not reproducible, or why that is not known: sentences."""
        return self.report.reasons if self.report is not None else [self.problem]

    def __str__(self) -> str:
        if self.report is None:
            return f"Saved {self.path}; it is not verified: {self.problem}"
        if not self.ok:
            first, more = self.report.reasons[0], len(self.report.reasons) - 1
            others = f" ({more} more: see %agent verify, or jupyter codeagent verify)" if more else ""
            return f"Saved {self.path}, which is not reproducible: {first[:1].lower()}{first[1:]}{others}"
        cells = f"{self.report.executed} cell{'' if self.report.executed == 1 else 's'}"
        said = f"Saved {self.path}; verified: {cells} ran from the top in a fresh sandbox."
        return f"{said} {self.problem}".rstrip()


def save_verified(
    path: str | Path,
    policy: SandboxPolicy | None = None,
    progress: Callable[[int, int], None] | None = None,
    *,
    unknown: Collection[str] = (),
) -> Verified:
    """Verify a notebook that was just saved, and write what was found into its file.

    Where it is reproducible, the file gets the outputs of the fresh run and a stamp that says so; else its outputs stay
    as they were recorded, and the stamp says why. What the file holds otherwise is not changed; if somebody changes it
    meanwhile, it is left alone. Nothing is raised but what no caller can mend: the notebook is saved in any case.

    Parameters
    ----------
    path : str or Path
        The notebook.
    policy, progress
        As for `verify_notebook`.
    unknown : collection of str
        Ids of cells whose outputs were not kept when they ran, so that those of the fresh run are all there is.
    """
    path = Path(path)
    try:
        report = verify_notebook(path, policy, progress, stamp=False)
        report = replace(report, cells=_known(path, report.cells, unknown))
        return Verified(path, report, _written(path, report))
    except CodeAgentError as error:
        return Verified(path, problem=str(error))
    except KeyboardInterrupt:
        return Verified(path, problem="that was stopped.")


def _known(path: Path, differences: Sequence[Difference], unknown: Collection[str]) -> tuple[Difference, ...]:
    """Return the differences without those in outputs that nobody has kept."""
    if not unknown:
        return tuple(differences)
    ids = {number: cell.get("id") for number, cell in enumerate(read_notebook(path).cells, 1)}
    return tuple(d for d in differences if d.kind not in _OF_OUTPUTS or ids.get(d.cell) not in unknown)


def _written(path: Path, report: Report) -> str:
    """Write outputs and stamp; returns why not."""
    verified_hash = report.stamp["hash"]
    if not report.ok:
        return write_stamp(path, report.stamp)
    seen = {path: look(path, overwrite=True)}
    notebook = read_notebook(path)
    if content_hash(notebook) != verified_hash:
        return f"{named(path.name)} has changed meanwhile, so it was not stamped."
    _adopt(notebook, report.fresh)
    try:
        refuse_keys(notebook, Keys(os.environ), named(path))
    except NotebookError:  # what is compared is the same without it
        write_stamp(path, report.stamp)
        return "It keeps the outputs that were recorded: those of the fresh run hold a key."
    put(notebook, make(notebook, True, tier=report.tier, executed=report.executed))
    write_notebook(notebook, path, overwrite=True, seen=seen)
    return ""


def _adopt(notebook: Any, fresh: Mapping[int, Sequence[Output]]) -> None:
    """Put the outputs of a run into a notebook, by the numbers of its cells."""
    for number, outputs in fresh.items():
        notebook.cells[number - 1].outputs = outputs_of(Observation(list(outputs)))
    number_cells(notebook.cells)
