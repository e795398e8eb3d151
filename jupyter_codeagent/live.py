"""A live notebook as cells: what ran in a kernel, its user's cells and tasks alike, in the order in which it ran.

Data in, data out: nothing is read or written here. What is kept is decided by data flow (`dataflow.py`): a cell that
ran twice stands where it is needed, and one that has been deleted stays where something that is kept needs it.
"""

from __future__ import annotations

import bisect
import builtins
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from jupyter_codeagent.dataflow import Flows
from jupyter_codeagent.document import Document
from jupyter_codeagent.notebook import (
    KEY,
    SKIP,
    accepted_code,
    answer_cell,
    attempt_cell,
    attempt_record,
    code_cell,
    explanation_cells,
    plain_outputs,
    task_cell,
    without_own_magics,
)
from jupyter_codeagent.ran import Ran
from jupyter_codeagent.trajectory import Attempt, Trajectory, code_hash

KEPT_METADATA = ("tags", "collapsed", "jupyter", "slideshow", "editable", "deletable", "name")
_FETCHED = re.compile(r"(?m)^[ \t]*%agent[ \t]+fetch[ \t]+(?:--replace[ \t]+)?(\w+)[ \t]+as[ \t]+(\w+)\b.*$")
_SET_ELSEWHERE = frozenset([*dir(builtins), "get_ipython", "display", "In", "Out", "exit", "quit", "__file__"])
_BY_NUMBER = re.compile(r"_+|_i+|_i?\d+|In|Out")
_LISTED = 8  # cells that one sentence names


@dataclass
class Live:
    """The cells of a live notebook in the order in which they ran, and sentences on what a reader should know.

    Parameters
    ----------
    cells : list of nbformat.NotebookNode
        As they are to be saved.
    notes : list of str
        What was left out and why, what ran out of order, what has changed since.
    tasks : list of Trajectory
        Those that are in it.
    unknown : set of str
        The ids of cells of which it is not known for sure what they showed.
    names : dict of str to str
        What the cells are in the kernel, by their ids: ``In [3]``.
    """

    cells: list[Any] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    tasks: list[Trajectory] = field(default_factory=list)
    unknown: set[str] = field(default_factory=set)
    names: dict[str, str] = field(default_factory=dict)


@dataclass
class _Step:
    """One piece of code that is a candidate for the notebook: of a cell that ran, or of a task."""

    ran: Ran
    code: str
    task: Trajectory | None = None
    attempts: tuple[Attempt, ...] = ()  # whose code it is
    inside: bool = False  # its cell gave the task, and the code ran in the sandbox alone


def live_cells(
    ran: Sequence[Ran],
    tasks: Sequence[Trajectory],
    document: Document | None = None,
    attempts: bool = False,
) -> Live:
    """Return what ran in a kernel as the cells of one notebook.

    Parameters
    ----------
    ran : sequence of Ran
        All cells of the kernel's history, oldest first.
    tasks : sequence of Trajectory
        The tasks that were given.
    document : Document or None
        The notebook's file as it is on the disk, where it is known: for its Markdown, ids, tags and outputs.
    attempts : bool
        Also keep attempts that were not accepted, collapsed.
    """
    return _Making(ran, tasks, document or Document(), attempts).live()


class _Making:
    """One live notebook being made."""

    def __init__(self, ran: Sequence[Ran], tasks: Sequence[Trajectory], document: Document, attempts: bool) -> None:
        self.document, self.attempts = document, attempts
        self.ran = document.identified(ran)
        self.notes: list[str] = []
        self.unknown: set[str] = set()
        self.given = self._given(tasks)
        self.tasks = [t for t in self.given.values() if self._worth(t)]
        self.steps = self._steps()
        self.flows = Flows([(number, step.code) for number, step in enumerate(self.steps)])
        self.kept = self._kept()

    def live(self) -> Live:
        """Return the cells and what is to be said of them."""
        self._tell_order()
        self._tell_changed()
        self._tell_names()
        return Live(self._cells(), self.notes, self.tasks, self.unknown, self._names())

    # -- which tasks ------------------------------------------------------------------------------

    def _given(self, tasks: Sequence[Trajectory]) -> dict[str, Trajectory]:
        """Return the tasks in the order of the cells that gave them; of one cell only the last."""
        last = {r.cell: r.task for r in self.ran if r.task}
        at = {r.task: r.count for r in self.ran if r.task}
        found = [t for t in tasks if t.id not in at or t.id in last.values()]
        if again := [t.id for t in tasks if t.id in at and t.id not in last.values()]:
            self._note("Given again later, and left out here: ", [f"task {name}" for name in again])
        return {t.id: t for t in sorted(found, key=lambda t: at.get(t.id, 0))}

    def _worth(self, task: Trajectory) -> bool:
        if task.status in ("queued", "running"):
            self.notes.append(f"Task {task.id} has not ended and is left out.")
        elif not task.kept and task.status != "solved" and not (self.attempts and task.attempts):
            self.notes.append(f"Task {task.id} was not solved and is left out.")
        else:
            return True
        return False

    # -- which code -------------------------------------------------------------------------------

    def _steps(self) -> list[_Step]:
        """Return all code that ran through, in order: own cells, and what tasks keep that ran in the sandbox alone."""
        own = {id(r): s for r in self.ran if (s := self._own(r)) is not None}
        self._find_accepted(list(own.values()))
        taken = {(s.task.id, a.number) for s in own.values() if s.task for a in s.attempts}
        places = {r.task: r for r in self.ran if r.task}  # the last cell that gave it
        steps: list[_Step] = []
        for task in (t for t in self.tasks if t.id not in places):  # given before the history begins
            steps += self._of_task(task, Ran(0, "", f"task-{task.id}", task=task.id), taken)
        ours = {t.id: t for t in self.tasks}
        for r in self.ran:
            if r.task in ours and places.get(r.task) is r:
                steps += self._of_task(ours[r.task], r, taken)
            if id(r) in own:
                steps.append(own[id(r)])
        return steps

    def _own(self, r: Ran) -> _Step | None:
        code = without_own_magics(_FETCHED.sub(r"\2 = \1", r.source)).strip("\n")
        if not code.strip() or r.source.lstrip().startswith(("%%agent", "%%attempt")):
            return None
        if code.strip().rstrip("()") in ("exit", "quit"):
            return None
        if r.running:
            self.notes.append(f"In [{r.count}] has not ended and is left out.")
            return None
        if r.failed and "raises-exception" not in self.document.tags(r.cell):
            if not any(later.cell == r.cell and later.count > r.count for later in self.ran):
                self.notes.append(f"In [{r.count}] failed ({r.failed}) and is left out.")
            return None
        return _Step(r, code)

    def _of_task(self, task: Trajectory, r: Ran, taken: set[tuple[str, int]]) -> list[_Step]:
        codes = [a for a in task.kept if (task.id, a.number) not in taken]
        # a step without code still says where the task stands
        return [_Step(r, accepted_code(a), task, (a,), True) for a in codes] or [_Step(r, "", task, (), True)]

    def _find_accepted(self, own: Sequence[_Step]) -> None:
        """Find the cells that hold the code of attempts, by their text or by what the notebook says of them."""
        hashes: dict[str, tuple[Trajectory, tuple[Attempt, ...]]] = {}
        named: dict[tuple[str, int], tuple[Trajectory, tuple[Attempt, ...]]] = {}
        for task in self.tasks:
            for attempt in task.kept:
                named[task.id, attempt.number] = (task, (attempt,))
                hashes.setdefault(code_hash(accepted_code(attempt)), (task, (attempt,)))
            joined = "\n\n".join(accepted_code(a).strip("\n") for a in task.kept)
            hashes.setdefault(code_hash(joined), (task, tuple(task.kept)))
        given: dict[str, int] = {}
        for r in self.ran:
            given.setdefault(r.task, r.count)
        for step in own:
            found = hashes.get(code_hash(step.code)) or named.get(self.document.attempt(step.ran.cell))
            if found is not None and step.ran.count > given.get(found[0].id, 0):
                step.task, step.attempts = found

    # -- which of them are kept -------------------------------------------------------------------

    def _kept(self) -> list[int]:
        """Return the numbers of the steps that make up the notebook."""
        runs: dict[str, list[int]] = {}
        for number, step in enumerate(self.steps):
            if step.inside:
                continue
            earlier = runs.setdefault(step.ran.cell, [])
            if not (earlier and self._nothing_new(earlier[-1], number)):
                earlier.append(number)
        deleted = {name for name, numbers in runs.items() if self._deleted(self.steps[numbers[-1]])}
        wanted = {n for n, step in enumerate(self.steps) if step.inside}
        wanted |= {
            numbers[-1]
            for name, numbers in runs.items()
            if name not in deleted or self.flows.cells[numbers[-1]].lasting
        }
        candidates = {n for numbers in runs.values() for n in numbers} | wanted
        kept = sorted(self.flows.needed(wanted, lasting=False) & candidates)
        self._tell_runs(runs, deleted, set(kept))
        return kept

    def _nothing_new(self, first: int, again: int) -> bool:
        """Tell whether a cell that ran again has done nothing that its first run had not."""
        if self.steps[first].code != self.steps[again].code:
            return False
        flow, reads = self.flows.cells[again], self.flows.reads(again)
        leaves = flow.binds | flow.changes
        if leaves & reads:
            return False
        between = [self.flows.cells[n] for n in range(first + 1, again)]
        return not any((b.binds | b.changes) & (leaves | reads) for b in between)

    def _deleted(self, step: _Step) -> bool:
        return self.document.knows(step.ran) and step.ran.cell not in self.document.numbers

    def _tell_runs(self, runs: Mapping[str, list[int]], deleted: set[str], kept: set[int]) -> None:
        for numbers in runs.values():
            several = [f"In [{self.steps[n].ran.count}]" for n in numbers if n in kept]
            if len(several) > 1:
                self.notes.append(
                    f"{_and(several)} are runs of one cell, and what ran in between needs the earlier: "
                    f"it stands here {len(several)} times."
                )
        gone = [n for name in deleted for n in runs[name]]
        if stay := [f"In [{self.steps[n].ran.count}]" for n in sorted(gone) if n in kept]:
            self._note("No longer in the notebook, but kept, since what they leave is used: ", stay)
        if left := [f"In [{self.steps[n].ran.count}]" for n in sorted(gone) if n not in kept]:
            self._note("Deleted from the notebook, and left out, since nothing here needs them: ", left)

    # -- what is said of them ---------------------------------------------------------------------

    def _note(self, beginning: str, listed: Sequence[str]) -> None:
        more = f" and {len(listed) - _LISTED} more" if len(listed) > _LISTED else ""
        self.notes.append(f"{beginning}{', '.join(listed[:_LISTED])}{more}.")

    def _tell_order(self) -> None:
        """Name the cells that did not run in the order in which the notebook has them."""
        placed = [
            (self.document.numbers[s.ran.cell], s.ran.count)
            for s in map(self.steps.__getitem__, self.kept)
            if s.ran.cell in self.document.numbers
        ]
        in_order = _longest_rising([place for place, _ in placed])
        odd = [f"In [{count}] (cell {place})" for n, (place, count) in enumerate(placed) if n not in in_order]
        if odd := list(dict.fromkeys(odd)):
            self._note("Run out of the notebook's order, and placed here in the order of running: ", odd)

    def _tell_changed(self) -> None:
        """Name the cells of the notebook that have changed since they ran, and those that never ran."""
        last = {r.cell: r for r in self.ran}
        changed, never = [], []
        for number, cell in enumerate(self.document.cells, 1):
            if cell.cell_type != "code" or not _counts(cell):
                continue
            r = last.get(cell.id)
            if r is None:
                never.append(str(number))
            elif cell.source.strip() != r.source.strip() and self.document.knows(r):
                changed.append(f"cell {number} (In [{r.count}])")
        if changed:
            self._note("Changed in the notebook since they ran, and saved as they ran: ", changed)
        if never:
            self._note(f"Never run in this kernel, and left out: cell{'s' if len(never) > 1 else ''} ", never)

    def _tell_names(self) -> None:
        """Name what is used and set nowhere, and what tasks set that the user's cells use although not accepted."""
        set_here = {name for n in self.kept for name in self.flows.cells[n].binds}
        missing: dict[str, int] = {}
        for n in self.kept:
            reads = self.flows.cells[n].reads
            if used := sorted(name for name in reads if _BY_NUMBER.fullmatch(name) and name not in set_here):
                self.notes.append(
                    f"In [{self.steps[n].ran.count}] uses {used[0]}, which depends on how cells were run."
                )
            for name in self.flows.reads(n) - set_here - _SET_ELSEWHERE:
                if name.isidentifier() and not _BY_NUMBER.fullmatch(name):
                    missing.setdefault(name, self.steps[n].ran.count)
        if missing and not any("*" in self.flows.cells[n].reads or _stars(self.steps[n].code) for n in self.kept):
            listed = [f"{name!r} (In [{count}])" for name, count in sorted(missing.items())]
            self._note("Used, but set by no cell here: ", listed)
        self._tell_unaccepted()

    def _tell_unaccepted(self) -> None:
        theirs: dict[str, str] = {}
        own: set[str] = set()
        fetched = {name for r in self.ran for name in re.findall(r"%agent[ \t]+fetch[ \t]+(\w+)", r.source)}
        for n in self.kept:
            step, flow = self.steps[n], self.flows.cells[n]
            if step.inside and step.task is not None:
                theirs |= dict.fromkeys((flow.binds & own) - fetched, step.task.id)
                continue
            for name in sorted(flow.reads & set(theirs)):
                self.notes.append(
                    f"Task {theirs.pop(name)} sets {name!r} and was not accepted; In [{step.ran.count}] uses "
                    f"{name!r}, which was another value in your kernel."
                )
            own |= flow.binds
            for name in flow.certain:
                theirs.pop(name, None)

    # -- the cells --------------------------------------------------------------------------------

    def _cells(self) -> list[Any]:
        emitted = {self.steps[n].ran.cell for n in self.kept}
        before, after = self._texts(emitted)
        last = {s.task.id: n for n in self.kept if (s := self.steps[n]).task is not None}
        cells: list[Any] = []
        begun: set[str] = set()
        for n in self.kept:
            step = self.steps[n]
            cells += before.pop(step.ran.cell, [])
            if step.inside and step.task is not None and step.task.id not in begun:
                begun.add(step.task.id)
                cells += self._beginning(step.task)
            if step.code:
                cells += [c for a in step.attempts if step.task for c in explanation_cells(step.task, a)]
                cells.append(self._code(step))
            if step.task is not None and last[step.task.id] == n:
                cells.append(answer_cell(step.task))
        return [*cells, *after]

    def _beginning(self, task: Trajectory) -> list[Any]:
        """Return a task's quotation, and where they are wanted the attempts that are not kept."""
        kept = task.kept
        others = [a for a in task.attempts if all(a is not k for k in kept)] if self.attempts else []
        return [task_cell(task), *(attempt_cell(task, a) for a in others)]

    def _code(self, step: _Step) -> Any:
        record = {}
        if step.task is not None and step.attempts:
            record = {KEY: {**attempt_record(step.task, step.attempts[-1], "accepted"), "hash": code_hash(step.code)}}
        if step.inside and step.task is not None:
            [attempt] = step.attempts
            seen = attempt.observation if attempt.taken is None else None
            outputs = plain_outputs(seen.outputs if seen else [])
            return code_cell(step.code, outputs, record, f"{record[KEY]['task']}-code-{attempt.number}"[:64])
        cell = self.document.cell(step.ran.cell)
        metadata = {k: cell.metadata[k] for k in KEPT_METADATA if k in cell.metadata} if cell is not None else {}
        shown = self.document.outputs(step.ran)
        if shown is None:
            self.unknown.add(self._id(step.ran))
        outputs = plain_outputs(step.ran.outputs if shown is None else shown)
        return code_cell(step.code, outputs, {**metadata, **record}, self._id(step.ran))

    def _names(self) -> dict[str, str]:
        return {self._id(s.ran): f"In [{s.ran.count}]" for s in map(self.steps.__getitem__, self.kept) if not s.inside}

    def _id(self, r: Ran) -> str:
        name = r.cell if not r.cell.startswith("text-") else f"in-{r.count}"
        return name if re.fullmatch(r"[A-Za-z0-9_-]{1,64}", name) else f"in-{r.count}"

    def _texts(self, emitted: set[str]) -> tuple[dict[str, list[Any]], list[Any]]:
        """Return the notebook's Markdown by the code cell that it stands before, and what stands at the end."""
        before: dict[str, list[Any]] = {}
        waiting: list[Any] = []
        ours = {t.id for t in self.tasks}
        for cell in self.document.cells:
            if cell.cell_type == "code":
                if cell.id in emitted:
                    before[cell.id], waiting = waiting, []
                continue
            record = cell.metadata.get(KEY)
            if isinstance(record, dict) and record.get("task") in ours:
                continue  # it is written anew from the task's own record
            text = type(cell)(cell)
            text.metadata = type(cell.metadata)({k: cell.metadata[k] for k in KEPT_METADATA if k in cell.metadata})
            waiting.append(text)
        return before, waiting


def _counts(cell: Any) -> bool:
    """Tell whether a code cell is one that a reader expects to have run."""
    if SKIP in cell.metadata.get("tags", []) or cell.source.lstrip().startswith("%%attempt"):
        return False
    record = cell.metadata.get(KEY)
    if isinstance(record, dict) and record.get("role") in ("attempt", "accepted"):
        return False
    return bool(without_own_magics(cell.source).strip())


def _stars(code: str) -> bool:
    return bool(re.search(r"(?m)^\s*from\s+\S+\s+import\s+\*", code))


def _and(words: Sequence[str]) -> str:
    return " and ".join(filter(None, [", ".join(words[:-1]), words[-1]]))


def _longest_rising(values: Iterable[int]) -> set[int]:
    """Return the places of a longest rising subsequence, equal values allowed (patience sorting, Fredman 1975)."""
    ends: list[int] = []
    places: list[int] = []
    previous: list[int | None] = []
    for place, value in enumerate(values):
        at = bisect.bisect_right(ends, value)
        previous.append(places[at - 1] if at else None)
        ends[at : at + 1] = [value]
        places[at : at + 1] = [place]
    found: set[int] = set()
    here = places[-1] if places else None
    while here is not None:
        found.add(here)
        here = previous[here]
    return found
