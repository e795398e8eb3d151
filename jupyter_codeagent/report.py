"""What verifying a notebook found: its outputs compared with those of a fresh run."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import Any

from jupyter_codeagent.trajectory import Output, plain

_ADDRESS = re.compile(r"\b0x[0-9a-fA-F]{6,16}\b")
_MOMENT = re.compile(r"\b\d{4}-\d\d-\d\d[T ]\d\d:\d\d:\d\d[.,]\d{6}\b|\b\d\d:\d\d:\d\d[.,]\d{6}\b")
_TIMING = re.compile(
    r"(?m)^.*\b(?:Wall time|CPU times):.*$"  # %time
    r"|^.*\bper loop\b.*$"  # %timeit
    r"|\b\d+(?:\.\d+)? ?(?:ns|µs|us|ms|seconds|secs?)\b"
)


@dataclass(frozen=True)
class Difference:
    """Where a cell's fresh run is not what the file holds.

    Parameters
    ----------
    cell : int
        1-based, counted over all cells of the notebook; 0: the notebook as a whole.
    kind : str
        "error", "text", "missing" (the fresh run lacks an output), "extra" (the file does), "not run", "unsteady" (two
        fresh runs differ) or "outside" (it writes a file outside the notebook's folder); with cell 0 "input" (a file is
        missing or has changed) or "package" (one is not installed).
    detail : str
        One sentence.
    expected, found : str
        The saved and the fresh text, up to 2,000 characters each, as compared.
    """

    cell: int
    kind: str
    detail: str
    expected: str = ""
    found: str = ""


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

    @property
    def ok(self) -> bool:
        """Every cell gave again what the file holds, and there was code to execute."""
        return not self.cells and self.executed > 0

    def to_dict(self) -> dict[str, Any]:
        """Return plain data for JSON."""
        found = asdict(replace(self, fresh={}))
        del found["fresh"]
        return {"version": 1, "ok": self.ok, **found}

    def __str__(self) -> str:
        if not self.executed:
            return f"{self.path}: not verified; there was nothing to execute in it."
        lines = [
            f"{self.path}: {'verified' if self.ok else 'not verified'}; {_count(self.executed, 'code cell')} executed "
            f"top to bottom in a fresh sandbox in {self.duration:.1f} s, {_count(len(self.cells), 'difference')}."
        ]
        lines += [f"cell {d.cell}: {d.detail}" if d.cell else d.detail for d in self.cells]
        lines += [f"risk: {risk}" for risk in self.risks]
        lines += [f"note: {note}" for note in self.notes]
        return "\n".join(lines)


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}{'' if number == 1 else 's'}"


def compare(cell: int, saved: Sequence[Output], fresh: Sequence[Output]) -> list[Difference]:
    """Return where the outputs of one cell differ.

    Standard output and the text of results are compared as text, after memory addresses, timings and moments are
    taken out; of pictures and other kinds that they are there. Standard error (warnings, progress) is not compared.
    """
    found = _compare_text(cell, _printed(saved), _printed(fresh), "printed text")
    before, after = _shown(saved), _shown(fresh)
    for number, (old, new) in enumerate(zip(before, after, strict=False), 1):
        found += _compare_shown(cell, number, old, new)
    found += [Difference(cell, "missing", f"{_kinds(o)} is not shown any more.") for o in before[len(after) :]]
    found += [Difference(cell, "extra", f"{_kinds(o)} is shown that the file lacks.") for o in after[len(before) :]]
    return found


def failed_with(outputs: Sequence[Output]) -> str:
    """Return the name of the exception that ended a cell, or an empty string."""
    return next((str(o.get("ename", "")) for o in outputs if o.get("output_type") == "error"), "")


def normal(text: str) -> str:
    """Return `text` without what may differ between two honest runs: addresses, timings, moments, line ends."""
    text = "\n".join(_line_as_seen(line) for line in plain(text).replace("\r\n", "\n").split("\n"))
    text = _TIMING.sub("<time>", _MOMENT.sub("<moment>", _ADDRESS.sub("<address>", text)))
    return text.strip("\n")


def _line_as_seen(line: str) -> str:
    # a progress bar writes over itself: what a reader sees is what came after the last carriage return
    return line.rstrip("\r").rpartition("\r")[2].rstrip()


def _printed(outputs: Sequence[Output]) -> str:
    return "".join(
        _joined(o.get("text", "")) for o in outputs if o.get("output_type") == "stream" and o.get("name") != "stderr"
    )


def _shown(outputs: Sequence[Output]) -> list[dict[str, Any]]:
    return [o.get("data", {}) for o in outputs if o.get("output_type") in ("display_data", "execute_result")]


def _joined(text: Any) -> str:
    return "".join(map(str, text)) if isinstance(text, list) else str(text)


def _kinds(data: dict[str, Any]) -> str:
    return f"an output ({', '.join(sorted(data)) or 'empty'})"


def _compare_shown(cell: int, number: int, old: dict[str, Any], new: dict[str, Any]) -> list[Difference]:
    found = []
    if lost := sorted(set(old) - set(new)):
        found.append(Difference(cell, "missing", f"output {number} has no {', '.join(lost)} any more."))
    if gained := sorted(set(new) - set(old)):
        found.append(Difference(cell, "extra", f"output {number} has {', '.join(gained)}, which the file lacks."))
    if "text/plain" in old and "text/plain" in new:
        texts = _joined(old["text/plain"]), _joined(new["text/plain"])
        found += _compare_text(cell, *texts, f"the text of output {number}")
    return found


def _compare_text(cell: int, old: str, new: str, what: str) -> list[Difference]:
    expected, found = normal(old), normal(new)
    if expected == found:
        return []
    if not found:
        return [Difference(cell, "missing", f"{what} is missing in the fresh run.", expected[:2000])]
    if not expected:
        return [Difference(cell, "extra", f"{what} appears that the file lacks.", "", found[:2000])]
    return [Difference(cell, "text", f"{what} differs: {_first(expected, found)}", expected[:2000], found[:2000])]


def _first(expected: str, found: str) -> str:
    old, new = expected.split("\n"), found.split("\n")
    for number, (a, b) in enumerate(zip(old, new, strict=False), 1):
        if a != b:
            return f"line {number} was {_short(a)} and is now {_short(b)}."
    return f"it had {len(old)} lines and has now {len(new)}."


def _short(line: str) -> str:
    return repr(line if len(line) <= 80 else line[:77] + "...")
