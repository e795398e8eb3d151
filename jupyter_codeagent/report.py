"""What verifying a notebook found: its outputs compared with those of a fresh run."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict, dataclass, field, replace
from typing import Any

from jupyter_codeagent.compare import Difference as Difference
from jupyter_codeagent.compare import Tolerance, beside
from jupyter_codeagent.compare import compare as compare
from jupyter_codeagent.compare import failed_with as failed_with
from jupyter_codeagent.page import framed, notes_html
from jupyter_codeagent.render import seen
from jupyter_codeagent.trajectory import Output

SHOWN = 100  # differences that are shown side by side


@dataclass(frozen=True)
class InputState:
    """An input file of the notebook now: "same", "changed" or "missing" against what was recorded."""

    name: str
    state: str


@dataclass(frozen=True)
class Report:
    """The result of `verify_notebook`.

    Parameters
    ----------
    path : str
        The notebook, as it was named.
    cells : tuple of Difference
        The differences, in order; empty where the fresh run gave what the file holds.
    executed : int
        Code cells that were executed.
    environment : dict of str to str
        Versions of Python and of the packages that the notebook imports, as they were in this run.
    inputs : tuple of InputState
        The input files that the notebook records.
    duration : float
        Seconds that the cells took.
    tier : str
        The isolation that the run had.
    risks : tuple of str
        What the code may give differently another time although it did not this time: sentences.
    notes : tuple of str
        What else is to be known of the run: sentences.
    fresh : dict
        The outputs of the fresh run, by the 1-based number of the cell.
    stamp : dict
        What was written into the file, or would have been.
    tolerance : Tolerance
        What numbers and colours may differ by.
    """

    path: str
    cells: tuple[Difference, ...] = ()
    executed: int = 0
    environment: dict[str, str] = field(default_factory=dict)
    inputs: tuple[InputState, ...] = ()
    duration: float = 0.0
    tier: str = ""
    risks: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    fresh: dict[int, list[Output]] = field(default_factory=dict, repr=False)
    stamp: dict[str, Any] = field(default_factory=dict, repr=False)
    tolerance: Tolerance = field(default_factory=Tolerance)

    @property
    def ok(self) -> bool:
        """Every cell gave again what the file holds, and there was code to execute."""
        return not self.cells and self.executed > 0

    @property
    def reasons(self) -> list[str]:
        """Why it is not reproducible: a sentence for each difference."""
        nothing = [] if self.executed else ["There was nothing to execute in it."]
        return [*map(sentence, self.cells), *nothing]

    def to_dict(self) -> dict[str, Any]:
        """Return plain data for JSON, without the outputs of the fresh run."""
        found = asdict(replace(self, fresh={}))
        del found["fresh"]
        return {"version": 1, "ok": self.ok, **found}

    @property
    def summary(self) -> str:
        """The verdict in one line."""
        if not self.executed and not self.cells:
            return f"{self.path}: not verified; there was nothing to execute in it."
        return (
            f"{self.path}: {'verified' if self.ok else 'not verified'}; {_count(self.executed, 'code cell')} executed "
            f"top to bottom in a fresh sandbox in {self.duration:.1f} s, {_count(len(self.cells), 'difference')}."
        )

    def __str__(self) -> str:
        return "\n".join([self.summary, *map(sentence, self.cells), *self._remarks()])

    def _remarks(self) -> Iterator[str]:
        yield from (f"risk: {risk}" for risk in self.risks)
        yield from (f"note: {note}" for note in self.notes)

    def side_by_side(self, width: int = 100) -> str:
        """Return the report with what the file holds and what the fresh run gave in two columns.

        Parameters
        ----------
        width : int
            Of both columns together, in characters.
        """
        lines = [self.summary]
        for difference in self.cells[:SHOWN]:
            lines += ["", sentence(difference)]
            if difference.expected or difference.found:
                lines += beside.columns(difference.expected, difference.found, width)
        if len(self.cells) > SHOWN:
            lines += ["", f"{len(self.cells) - SHOWN:,} more differences are not shown side by side."]
        compared = [f"Compared: {self.tolerance}."] if self.cells else []
        return "\n".join([*lines, *([""] if self.cells else []), *self._remarks(), *compared])

    def _repr_html_(self) -> str:
        """Return the report as HTML for notebooks; nothing that came out of a file or a run is markup in it."""
        state = "verified" if self.ok else "not verified"
        parts = [f'<div class="jca-head"><span class="jca-state">{state}</span></div>', *notes_html(self.summary)]
        for difference in self.cells[:SHOWN]:
            parts.append(f"<p>{seen(sentence(difference))}</p>")
            if difference.expected or difference.found:
                heads = "<tr><th></th><th>in the file</th><th>in the fresh run</th></tr>"
                rows = beside.table(difference.expected, difference.found)
                parts.append(f'<div class="jca-table"><table class="jca-beside">{heads}{rows}</table></div>')
        more = len(self.cells) - SHOWN
        parts += notes_html(*self._remarks(), f"{more:,} more differences are not shown." if more > 0 else "")
        return framed("".join(parts), "solved" if self.ok else "failed")


def sentence(difference: Difference) -> str:
    """Return a difference with the cell it is in."""
    return f"Cell {difference.cell}: {difference.detail}" if difference.cell else difference.detail


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}{'' if number == 1 else 's'}"
