"""Where the outputs of a cell's fresh run are not what the file holds. Both are hostile."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

from jupyter_codeagent.compare.numbers import Tolerance as Tolerance
from jupyter_codeagent.compare.pictures import compare_pictures
from jupyter_codeagent.compare.structure import compare_json, compare_markup, drawing, vanished
from jupyter_codeagent.compare.text import alike, excerpt, first_difference, joined
from jupyter_codeagent.compare.text import normal as normal
from jupyter_codeagent.sandbox import gate
from jupyter_codeagent.trajectory import Output

PASSED = ("text/plain", "text/html", "image/png", "image/jpeg")  # what the gate lets out of a sandbox
OUTPUTS_MOST = 2000  # of one cell that are compared one by one
# how the supervisor ends code: their messages hold limits and times
_ENDS = {"TimedOut", "OutOfMemory", "Crashed", "OutputLimit", "ProcessLimit", "Interrupted"}
_STANDARD = Tolerance()
_LINES = re.compile(r"[\n\r\x0b\x0c\x1c-\x1e\x85\u2028\u2029]+")


@dataclass(frozen=True)
class Difference:
    """Where a cell's fresh run is not what the file holds.

    Parameters
    ----------
    cell : int
        1-based, counted over all cells of the notebook; 0: the notebook as a whole.
    kind : str
        "error", "text", "value" (of a table), "picture", "data" (of another kind), "missing" (the fresh run lacks an
        output), "extra" (the file does), "order", "not run", "unsteady" (two fresh runs differ) or "outside" (it writes
        a file outside the notebook's folder); with cell 0 "input" (a file is missing or has changed) or "package" (one
        is not installed).
    detail : str
        One sentence.
    expected, found : str
        Of the saved and the fresh text what is around the first difference, up to 2,000 characters each, as compared.
    """

    cell: int
    kind: str
    detail: str
    expected: str = ""
    found: str = ""


def compare(
    cell: int, saved: Sequence[Output], fresh: Sequence[Output], tolerance: Tolerance = _STANDARD
) -> list[Difference]:
    """Return where the outputs of one cell differ.

    Standard output, and what is shown, are compared each in their order, after what may differ between honest runs was
    taken out (`normal`): texts with the numbers in them by value, tables cell by cell, JSON and SVG by structure, PNG
    and JPEG by pixels, anything else by hash; an error by its name and message. Standard error (warnings, progress,
    logs) is not compared, but see `no_longer_warned`. Of the saved outputs counts what a sandbox would let out:
    `not_compared` names the rest. Widgets that only the file shows, and help that only the fresh run does (a pager has
    it elsewhere), do not count.

    Parameters
    ----------
    cell : int
        The cell's number, for the differences.
    saved, fresh : sequence of dict
        Outputs as nbformat has them; whatever else they are is taken for empty.
    tolerance : Tolerance
        What numbers and colours may differ by.
    """
    old, new = _dicts(saved), _dicts(fresh)
    found = _compare_text(cell, printed(old), printed(new), "the printed text", tolerance)
    found += _compare_errors(cell, old, new, tolerance)
    shown = _compare_shown(cell, _shown(old), _shown(new), tolerance)
    lasting = [o for o in old if not _is_widget(o)], [o for o in new if not _is_help(o)]
    if shown and lasting != (old, new):
        shown = min(shown, _compare_shown(cell, _shown(lasting[0]), _shown(lasting[1]), tolerance), key=len)
    found += shown
    return [replace(d, detail=_LINES.sub(" ", d.detail)) for d in found]  # names in outputs may hold anything


def printed(outputs: Sequence[Output]) -> str:
    """Return what went to standard output."""
    return _streamed(outputs, error=False)


def no_longer_warned(saved: Sequence[Output], fresh: Sequence[Output]) -> str:
    """Return the first line that stands on standard error in the file and not in the fresh run; or an empty string."""
    now = set(normal(_streamed(_dicts(fresh), error=True)).split("\n"))
    lines = normal(_streamed(_dicts(saved), error=True)).split("\n")
    return next((_cut(_LINES.sub(" ", line)) for line in lines if line and line not in now), "")


def _streamed(outputs: Sequence[Output], error: bool) -> str:
    streams = (o for o in outputs if o.get("output_type") == "stream" and (o.get("name") == "stderr") == error)
    return "".join(joined(o.get("text")) for o in streams)


def _is_widget(output: Output) -> bool:
    data = output.get("data")
    return isinstance(data, dict) and any(vanished(str(m)) for m in data) and len(data.keys() - {"text/plain"}) == 1


def _is_help(output: Output) -> bool:
    metadata = output.get("metadata")
    return isinstance(metadata, dict) and metadata.get("page") is True


def failed_with(outputs: Sequence[Output]) -> str:
    """Return the name of the exception that ended a cell, or an empty string."""
    return next((joined(o.get("ename")) for o in _dicts(outputs) if o.get("output_type") == "error"), "")


def not_compared(saved: Sequence[Output]) -> list[str]:
    """Return the MIME types of saved outputs that no sandbox lets out, and that are therefore not compared."""
    shown = [data for output in _dicts(saved) if isinstance(data := output.get("data"), dict)]
    return sorted({_LINES.sub(" ", str(m)[:100]) for data in shown for m in data} - {*PASSED, "text/markdown"})


def _dicts(outputs: Any) -> list[Output]:
    return [o for o in outputs if isinstance(o, dict)] if isinstance(outputs, list | tuple) else []


def _compare_text(cell: int, old: str, new: str, what: str, tolerance: Tolerance) -> list[Difference]:
    if old == new:
        return []
    expected, found = normal(old, tolerance.timings), normal(new, tolerance.timings)
    if alike(expected, found, tolerance):
        return []
    if not found:
        return [Difference(cell, "missing", f"{what} is missing in the fresh run.", excerpt(expected, 0))]
    if not expected:
        return [Difference(cell, "extra", f"{what} appears that the file lacks.", "", excerpt(found, 0))]
    line, said = first_difference(expected, found, tolerance)
    return [Difference(cell, "text", f"{what} differs: {said}", excerpt(expected, line), excerpt(found, line))]


def _compare_errors(cell: int, saved: list[Output], fresh: list[Output], tolerance: Tolerance) -> list[Difference]:
    old, new = _error(saved, tolerance), _error(fresh, tolerance)
    if old == new or (old[0] == new[0] and old[0] in _ENDS):
        return []
    expected, found = (f"{name}: {said}" if name else "" for name, said in (old, new))
    if not found:
        detail = f"it ended with {_cut(old[0])} in the file and runs through now."
        return [Difference(cell, "missing", detail, excerpt(expected, 0))]
    if not expected:
        return [Difference(cell, "error", _cut(found, 300), "", excerpt(found, 0))]
    if alike(expected, found, _STANDARD):
        return []
    detail = f"it ended with {_cut(expected)!r} in the file and ends with {_cut(found)!r} now."
    return [Difference(cell, "error", detail, excerpt(expected, 0), excerpt(found, 0))]


def _error(outputs: list[Output], tolerance: Tolerance) -> tuple[str, str]:
    error = next((o for o in outputs if o.get("output_type") == "error"), None)
    if error is None:
        return "", ""
    return joined(error.get("ename")) or "Error", normal(joined(error.get("evalue"))[:20_000], tolerance.timings)


def _cut(text: str, most: int = 100) -> str:
    return text if len(text) <= most else text[: most - 3] + "..."


class _Shown:
    """One shown output: what a sandbox lets out of it, and the representations that it does not."""

    def __init__(self, given: dict[Any, Any]) -> None:
        self.given = given

    @cached_property
    def _all(self) -> dict[str, Any]:
        return {str(m): v if str(m) == "application/json" else _text_or_data(v) for m, v in self.given.items()}

    @cached_property
    def data(self) -> dict[str, str]:
        """What a sandbox lets out: any client may have saved the file, which holds more, or the same otherwise."""
        passed = gate.bundle(self._all)
        pictures = {m: v for m, v in self._all.items() if m.startswith("image/") and m in PASSED and isinstance(v, str)}
        if broken := {m: v for m, v in pictures.items() if m not in passed}:  # still there, to be compared by hash
            passed = {**gate.bundle({m: v for m, v in self._all.items() if m not in broken}), **broken}
        return passed

    @property
    def others(self) -> dict[str, Any]:
        """What no sandbox lets out."""
        return {m: v for m, v in self._all.items() if m not in PASSED}

    def same(self, other: _Shown) -> bool:
        """Tell at once whether both are the same to the letter, as they mostly are."""
        try:
            return self.given == other.given
        except RecursionError:
            return False

    def __str__(self) -> str:
        return f"an output ({', '.join(sorted({*self.data, *map(_cut, self.others)}))})"


def _shown(outputs: list[Output]) -> list[_Shown]:
    found = [o.get("data") for o in outputs if o.get("output_type") in ("display_data", "execute_result")]
    return [_Shown(data if isinstance(data, dict) else {}) for data in found[:OUTPUTS_MOST]]


def _text_or_data(value: Any) -> Any:
    lines = isinstance(value, list) and all(isinstance(line, str) for line in value)
    return "".join(value) if lines else value


def _compare_shown(cell: int, old: list[_Shown], new: list[_Shown], tolerance: Tolerance) -> list[Difference]:
    start, end = _around(old, new, tolerance) if len(old) != len(new) else (0, 0)
    before, after = old[start : len(old) - end], new[start : len(new) - end]
    found: list[Difference] = []
    for number, (one, other) in enumerate(zip(before, after, strict=False), start + 1):
        found += _compare_one(cell, number, one, other, tolerance)
    if len(found) > 1 and len(old) == len(new) and sorted(map(_digest, old)) == sorted(map(_digest, new)):
        return [Difference(cell, "order", f"its {len(old)} outputs are the same, but in another order.")]
    found += [Difference(cell, "missing", f"{one} is not shown any more.") for one in before[len(after) :]]
    return found + [Difference(cell, "extra", f"{one} is shown that the file lacks.") for one in after[len(before) :]]


def _around(old: list[_Shown], new: list[_Shown], tolerance: Tolerance) -> tuple[int, int]:
    """Return how many outputs are the same at the beginning and at the end, where their number is not."""
    most, start, end = min(len(old), len(new)), 0, 0
    while start < most and not _compare_one(0, 0, old[start], new[start], tolerance):
        start += 1
    while end < most - start and not _compare_one(0, 0, old[-1 - end], new[-1 - end], tolerance):
        end += 1
    return start, end


def _digest(shown: _Shown) -> str:
    parts = (f"{mime}\0{normal(text)}\0" for mime, text in sorted(shown.data.items()))
    return hashlib.blake2b("".join(parts).encode("utf-8", "surrogatepass")).hexdigest()


def _compare_one(cell: int, number: int, old: _Shown, new: _Shown, tolerance: Tolerance) -> list[Difference]:
    if old.same(new):
        return []
    found = []
    if lost := sorted(set(old.data) - set(new.data)):
        found.append(Difference(cell, "missing", f"output {number} has no {', '.join(lost)} any more."))
    if gained := sorted(set(new.data) - set(old.data)):
        found.append(Difference(cell, "extra", f"output {number} has {', '.join(gained)}, which the file lacks."))
    texts = old.data["text/plain"], new.data["text/plain"]
    found += _compare_text(cell, *texts, f"the text of output {number}", tolerance)
    if "text/html" in old.data and "text/html" in new.data:
        said = compare_markup(old.data["text/html"], new.data["text/html"], tolerance)
        # a frame is there as text too: one sentence is enough
        found += [Difference(cell, "value", f"output {number}: {said}")] if said and not found else []
    for mime in ("image/png", "image/jpeg"):
        if mime in old.data and mime in new.data:
            said = compare_pictures(mime, old.data[mime], new.data[mime], tolerance)
            found += [Difference(cell, "picture", f"output {number}: {said}")] if said else []
    for mime in sorted(set(old.others) & set(new.others)):
        said = _compare_other(mime, old.others[mime], new.others[mime], tolerance)
        found += [Difference(cell, "data", f"output {number}, {_cut(mime)}: {said}")] if said else []
    return found


def _compare_other(mime: str, old: Any, new: Any, tolerance: Tolerance) -> str:
    """Return a sentence about a representation that the gate does not know."""
    if mime == "image/svg+xml" and isinstance(old, str) and isinstance(new, str):
        before, after = drawing(old), drawing(new)
        return "" if alike(before, after, tolerance) else "the drawing differs."
    if vanished(mime):
        return ""
    if mime.endswith("json"):
        return compare_json(old, new, tolerance)
    if isinstance(old, str) and isinstance(new, str):
        texts = normal(old), normal(new)
        same = alike(*texts, tolerance) if mime.startswith("text/") else old == new
        return "" if same else "it differs."
    return compare_json(old, new, Tolerance(0.0, 0.0, 0))
