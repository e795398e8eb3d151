"""What came out otherwise than the file says, and why: read from the code, the file and one or two fresh runs."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path, PurePosixPath
from typing import Any

from jupyter_codeagent.compare import Tolerance
from jupyter_codeagent.fresh import FreshRun, Step
from jupyter_codeagent.nondeterminism import Cause, Causes, because
from jupyter_codeagent.notebook import KEY, SKIP
from jupyter_codeagent.report import Difference, compare, failed_with
from jupyter_codeagent.source import tree_of
from jupyter_codeagent.trajectory import CodeError

DECIDED = {"error", "not run", "outside"}  # kinds of differences of which a second run says nothing more
HOME = "/tmp/home/"  # noqa: S108 - inside
MOST = 20  # sentences of one kind
_STANDARD, _EXACT = Tolerance(), Tolerance(0.0, 0.0, 0)
_LITERAL = Tolerance(timings=False)
_MEASURED = re.compile(r"pid|psutil|%\(process|%\(thread")  # what the machine gives that looks like a timing
_TIMES = re.compile(r"(?m)^\s*(?:\w+\s*=\s*)?%{1,2}(?:time|timeit|prun|memit|mprun)\b")
# what libraries leave in temporary folders: hidden files and caches, tempfile's names, shared memory
_OWN = re.compile(
    r"/\.|/tmp\w{8}(?:[./]|$)|^/dev/shm/|/(?:__pycache__|joblib_memmapping|pymp-|ipykernel_|torchinductor_|numba_cache)"
)
_NO_NETWORK = re.compile(
    r"URLError|HTTPError|Connect|gaierror|Timeout|TimedOut|MaxRetry|SSLError|ProxyError|OSError|RemoteDisconnected"
)
_MISSING_NAME = re.compile(r"name '(\w{1,100})' is not defined")
_MISSING_MODULE = re.compile(r"No module named '([\w.]{1,100})'")
_QUOTED = re.compile(r"'([^'\n]{1,300})'")
_WRITERS = re.compile(
    r"(?:to_\w+|savefig|save|savez\w*|savetxt|dump|write\w*|imsave|imwrite|copy\w*|move|rename|replace|mkdir|makedirs|touch)$"
)


class Findings:
    """Compares a notebook with fresh runs of it.

    Parameters
    ----------
    notebook : nbformat.NotebookNode
        The file's content.
    steps : sequence of Step
        The cells that were executed.
    folder : Path
        The notebook's folder.
    """

    def __init__(self, notebook: Any, steps: Sequence[Step], folder: Path) -> None:
        self.notebook, self.steps, self.folder = notebook, steps, folder
        self.causes = Causes([(step.number, step.code) for step in steps])
        self.unnamed: list[str] = []  # files left outside the folder, by no path that stands in the code

    # -- one run beside the file ------------------------------------------------------------------

    def differences(self, run: FreshRun) -> list[Difference]:
        """Return where a run is not what the file holds, in the order of the cells."""
        found: list[Difference] = []
        for step in self.steps:
            if step.number not in run.outputs:
                found.append(self._not_run(step, len(self.steps) - run.executed))
                break
            error = run.errors.get(step.number)
            failed, expected = error.ename if error else "", failed_with(step.cell.outputs)
            if failed == expected:
                measuring = _TIMES.search(step.code) or any(map(_measures, self.causes.of(step.number)))
                tolerance = _STANDARD if measuring else _LITERAL
                found += compare(step.number, step.cell.outputs, run.outputs[step.number], tolerance)
            elif error is None:
                detail = f"it ended with {expected} in the file and runs through now."
                found.append(Difference(step.number, "missing", detail, expected))
            else:
                found.append(Difference(step.number, "error", self._explained(step, error, run), expected, failed))
        return sorted([*found, *self._outside(run)], key=lambda difference: difference.cell)

    def _not_run(self, step: Step, left: int) -> Difference:
        others = f" and {left - 1} more were" if left > 1 else " was"
        return Difference(step.number, "not run", f"it{others} not executed.")

    def _outside(self, run: FreshRun) -> Iterator[Difference]:
        self.unnamed = left = list(run.strays)
        for step in self.steps:
            texts = set(_texts(step.code)) if left else set()
            for path in [path for path in left if _said(path, texts)]:
                left.remove(path)
                shown = path.replace(HOME, "~/", 1)
                detail = f"it writes {shown!r}, outside the notebook's folder; write it beside the notebook."
                yield Difference(step.number, "outside", detail)

    def _explained(self, step: Step, error: CodeError, run: FreshRun) -> str:
        said = f"{error.ename}: {error.evalue[:300]}"
        explanations = (
            self._name(step, error, run), self._network(step, error), self._file(error), self._module(error),
            self._variable(step, error),
        )  # fmt: skip
        reason = next(filter(None, explanations), "")
        return f"{reason} ({said})." if reason else said

    def _name(self, step: Step, error: CodeError, run: FreshRun) -> str:
        match = _MISSING_NAME.search(error.evalue) if error.ename == "NameError" else None
        if match is None:
            return ""
        name = match[1]
        given = [n for n in given_names(self.notebook) if not any(n in names for names in run.names.values())]
        below = [s.number for s in self.steps if s.number > step.number and name in self._binds(s.number)]
        left = next((n for n, code in _left_out(self.notebook) if name in _bound(code)), None)
        if below:
            return f"it uses {name!r}, which cell {below[0]}, below it, sets; move that cell up"
        if name in given:
            return f"the notebook needs these variables: {', '.join(given)}; set them in a cell above"
        if left is not None:
            return f"it uses {name!r}, which only cell {left} sets, an attempt that is not executed"
        known = any(name in self._binds(s.number) for s in self.steps)
        return "" if known else f"it uses {name!r}, which no cell sets"

    def _binds(self, number: int) -> set[str]:
        return self.causes.flows.cells[number].binds

    def _network(self, step: Step, error: CodeError) -> str:
        used = [c for c in self.causes.of(step.number) if c.kind == "network"]
        return because(used) if used and _NO_NETWORK.search(error.ename) else ""

    def _file(self, error: CodeError) -> str:
        if error.ename not in ("FileNotFoundError", "PermissionError", "OSError"):
            return ""
        quoted = _QUOTED.findall(error.evalue)
        if not quoted:
            return ""
        name, path = quoted[-1], PurePosixPath(quoted[-1])
        if path.is_absolute() and not path.is_relative_to(self.folder):
            return f"it uses {name!r}, which lies outside the notebook's folder and is not seen there"
        if error.ename == "FileNotFoundError":
            return f"it reads {name!r}, which is not in the notebook's folder, and no cell above writes it"
        return ""

    def _module(self, error: CodeError) -> str:
        match = _MISSING_MODULE.search(error.evalue) if error.ename == "ModuleNotFoundError" else None
        return f"it imports {match[1]!r}, which is not installed here" if match else ""

    def _variable(self, step: Step, error: CodeError) -> str:
        used = [c for c in self.causes.of(step.number) if c.what.endswith("environ")]
        return because(used) if used and error.ename == "KeyError" else ""

    # -- two runs ---------------------------------------------------------------------------------

    def unsteady(self, first: FreshRun, second: FreshRun) -> set[int]:
        """Return the numbers of the cells of which two runs gave something else."""
        return {
            number
            for number in first.outputs.keys() & second.outputs.keys()
            if _ename(first, number) != _ename(second, number)
            or compare(number, first.outputs[number], second.outputs[number], self._tolerance(number))
        }

    def _tolerance(self, number: int) -> Tolerance:
        """Two moments are closer to each other than two numbers of their size may be."""
        causes = self.causes.of(number)
        return _EXACT if any(c.kind in ("time", "random", "machine") for c in causes) else _STANDARD

    def doubtful(self, run: FreshRun) -> bool:
        """Say whether a cell that uses the clock gave what the file holds only within the tolerance."""
        return any(
            compare(step.number, step.cell.outputs, run.outputs[step.number], _EXACT)
            for step in self.steps
            if step.number in run.outputs and any(c.kind == "time" for c in self.causes.of(step.number))
        )

    def _timed(self, numbers: Iterable[int], first: FreshRun, second: FreshRun) -> set[int]:
        """Return the cells in which only timings are not what the file holds, and two runs differ in them as well."""
        saved = {step.number: step.cell.outputs for step in self.steps}
        return {
            number
            for number in numbers
            if number in first.outputs.keys() & second.outputs.keys()
            and not compare(number, saved[number], first.outputs[number])
            and compare(number, first.outputs[number], second.outputs[number], _LITERAL)
        }

    def judged(
        self, found: Iterable[Difference], first: FreshRun, second: FreshRun
    ) -> tuple[list[Difference], list[str]]:
        """Return differences and notes, told apart by a second run: what is unsteady, and what the file has wrong."""
        unsteady, kept, steady, explained = self.unsteady(first, second), [], [], set[int]()
        timed = self._timed({d.cell for d in found} - unsteady, first, second)
        for difference in found:
            number = difference.cell
            if number in timed and difference.kind not in DECIDED:
                continue
            if number not in unsteady or difference.kind in ("outside", "not run"):
                kept.append(difference)
                steady += [number] if number in first.outputs and difference.kind not in ("error", "outside") else []
            elif number not in explained:
                kept.append(replace(difference, kind="unsteady", detail=self._unsteady(number)))
                explained.add(number)
        kept += [Difference(number, "unsteady", self._unsteady(number)) for number in sorted(unsteady - explained)]
        kept.sort(key=lambda d: d.cell)
        return kept, [self._steady(number) for number in dict.fromkeys(steady)][:MOST]

    def _unsteady(self, number: int) -> str:
        causes = self.causes.of(number)
        why = because(causes) if causes else "why is not seen in its code"
        return f"it gives something else each time: {why}."

    def _steady(self, number: int) -> str:
        causes = [c for c in self.causes.of(number) if c.kind != "random"]
        why = f"; {because(causes)}" if causes else ""
        if any(c.kind in ("time", "machine") for c in causes):
            return f"Cell {number} gave the same in two fresh runs, one right after the other{why}."
        return f"Cell {number} gave the same in two fresh runs: what the file holds is not what its code gives{why}."

    # -- what may go wrong another time -----------------------------------------------------------

    def risks(self, found: Iterable[Difference]) -> list[str]:
        """Return what the code may give differently another time, as far as no difference says so already."""
        told = {d.cell for d in found if d.kind in ("unsteady", "error")}
        showing = [step.number for step in self.steps if step.cell.outputs and step.number not in told]
        reaching = self.causes.flows.needed(showing, lasting=False)
        explained = {cause for number in told for cause in self.causes.of(number)}
        risks: list[str] = []
        for cause in self.causes.all:
            if cause.cell in reaching and cause not in explained:
                risks.append(f"Cell {cause.cell}: {because([cause])}.")
        return [*list(dict.fromkeys(risks))[:MOST], *list(self._unrecorded())[:MOST], *list(self._left())[:MOST]]

    def _left(self) -> Iterator[str]:
        """Yield what a program of its own accord does not leave, though no cell names it."""
        for path in self.unnamed:
            if not _OWN.search(path):
                shown = path.replace(HOME, "~/", 1)[:300]
                yield f"The code leaves {shown!r}, outside the notebook's folder; write it beside the notebook."

    def _unrecorded(self) -> Iterator[str]:
        """Yield what is read from the folder and stands in no record: another program may have left it."""
        record = self.notebook.metadata.get(KEY)
        listed = record.get("inputs") if isinstance(record, dict) else None
        if not isinstance(listed, list):
            return
        names = {item.get("name") for item in listed if isinstance(item, dict) and isinstance(item.get("name"), str)}
        for step in self.steps:
            for text in _texts(step.code):
                if text in names or not _file_in(self.folder, text):
                    names |= {text}
                    continue
                names.add(text)
                if text not in _written(step.code):
                    yield f"Cell {step.number} reads {text!r}, which is in no record of its inputs."

    def order(self) -> list[str]:
        """Return a sentence where the file's own numbers say that its cells were not run from the top."""
        last = 0, 0
        for number, cell in enumerate(self.notebook.cells, 1):
            count = cell.get("execution_count") if cell.cell_type == "code" and not _skipped(cell) else None
            if isinstance(count, int) and count:
                if count < last[1]:
                    return [f"Cell {number} was run before cell {last[0]} when the file was saved."]
                last = number, count
        return []


def given_names(notebook: Any) -> list[str]:
    """Return the names of variables that the code was given when it was written, as the metadata says."""
    record = notebook.metadata.get(KEY)
    listed = record.get("variables") if isinstance(record, dict) else None
    # metadata may say anything: what is no name is nothing
    names = listed[:50] if isinstance(listed, list) else []
    return [n for n in names if isinstance(n, str) and n.isidentifier() and len(n) <= 100]


def _said(path: str, texts: set[str]) -> bool:
    """Say whether code names a file, by its path or by its parts; a temporary file with a name of its own is not."""
    file = PurePosixPath(path)
    parts = path.removeprefix(HOME).split("/") if path.startswith(HOME) else []
    at_home = bool(parts) and not any(part.startswith(".") for part in parts)
    named = file.name in texts and (str(file.parent) in texts or at_home)
    return path in texts or path.replace(HOME, "~/", 1) in texts or named


def _measures(cause: Cause) -> bool:
    return cause.kind == "time" or (cause.kind == "machine" and bool(_MEASURED.search(cause.what)))


def _ename(run: FreshRun, number: int) -> str:
    return run.errors[number].ename if number in run.errors else ""


def _skipped(cell: Any) -> bool:
    return SKIP in cell.metadata.get("tags", [])


def _left_out(notebook: Any) -> Iterator[tuple[int, str]]:
    for number, cell in enumerate(notebook.cells, 1):
        if cell.cell_type == "code" and (_skipped(cell) or cell.source.lstrip().startswith("%%attempt")):
            yield number, re.sub(r"\A\s*%%attempt.*\n?", "", cell.source)


def _bound(code: str) -> set[str]:
    tree = tree_of(code)
    stored = (
        {n.id for n in ast.walk(tree) if isinstance(n, ast.Name) and isinstance(n.ctx, ast.Store)} if tree else set()
    )
    named = (ast.FunctionDef, ast.ClassDef, ast.AsyncFunctionDef)
    return stored | {n.name for n in ast.walk(tree) if isinstance(n, named)} if tree else set()


def _texts(code: str) -> list[str]:
    """Return the short texts that stand in code, in their order."""
    tree = tree_of(code)
    nodes = ast.walk(tree) if tree else ()
    found = (n.value for n in nodes if isinstance(n, ast.Constant) and isinstance(n.value, str))
    return [text for text in dict.fromkeys(found) if 0 < len(text) <= 300 and "\n" not in text and "\0" not in text]


def _written(code: str) -> set[str]:
    """Return the texts in code that are given to what writes files."""
    found: set[str] = set()
    for node in ast.walk(tree_of(code) or ast.Module([], [])):
        if not isinstance(node, ast.Call):
            continue
        name = node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")
        texts = {n.value for n in ast.walk(node) if isinstance(n, ast.Constant) and isinstance(n.value, str)}
        if _WRITERS.fullmatch(name) or (name == "open" and texts & {"w", "wb", "a", "ab", "x", "w+", "wt", "xb"}):
            found |= texts
    return found


def _file_in(folder: Path, name: str) -> bool:
    # a text of the notebook: only files below its folder are looked at, and links are not followed out of it
    try:
        path = (folder / name).resolve()
        return path.is_relative_to(folder) and path.is_file()
    except (OSError, ValueError, RuntimeError):
        return False
