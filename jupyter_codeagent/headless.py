"""A notebook with agent cells, run without a person: ordinary cells in one sandbox, agent cells on its state."""

from __future__ import annotations

import json
import re
from argparse import Namespace
from collections.abc import Generator, Iterator, Sequence
from contextlib import closing
from copy import deepcopy
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from jupyter_codeagent.agent import Model
from jupyter_codeagent.api import prepared
from jupyter_codeagent.context import files_named, find_files, inputs
from jupyter_codeagent.errors import CodeAgentError, TrajectoryError, WrongUse
from jupyter_codeagent.journal import Journal, Writer, end, keeping_up
from jupyter_codeagent.models import get_model
from jupyter_codeagent.notebook import (
    ANY_KERNEL,
    KEY,
    SKIP,
    merged_record,
    number_cells,
    outputs_of,
    task_cells,
    without_own_magics,
)
from jupyter_codeagent.options import parse
from jupyter_codeagent.sandbox import Sandbox
from jupyter_codeagent.sandbox.gateway import KERNEL
from jupyter_codeagent.source import texts_in
from jupyter_codeagent.surroundings import with_cells
from jupyter_codeagent.trajectory import Attempt, Observation, Trajectory, code_hash

_PERSONAL = re.compile(r"(?m)^[ \t]*%agent\b.*$")


@dataclass(frozen=True)
class Step:
    """Something happened in cell `cell` (1-based): an attempt has grown, a task has ended, or an ordinary cell has run.

    Where a task has ended there is a trajectory and no attempt. `note` is a sentence for the user. `again`: the attempt
    is an earlier run's, and its code runs once more.
    """

    cell: int
    trajectory: Trajectory | None = None
    attempt: Attempt | None = None
    observation: Observation | None = None
    note: str = ""
    again: bool = False


@dataclass
class NotebookRun:
    """One run of a notebook.

    Parameters
    ----------
    notebook : nbformat.NotebookNode
        What is run; it is not changed.
    sandbox : Sandbox
        Executes all of it, in one state.
    model : str, Model or None
        For cells that do not name one themselves.
    max_attempts : int
        For cells that do not say themselves.
    files : sequence of str or Path
        Files that every task is told of.
    checks : sequence of str
        Conditions that are added to those of every agent cell.
    attempts : bool
        Keep failed attempts in the solved notebook, collapsed.
    candidates : int
        For cells that do not say themselves.
    journal : Journal or None
        Keeps what is paid for, and has what an earlier run paid for: that is not asked for again.
    trajectory : Path or None
        A file to which the first task's trajectory is written; for the others the name gets a number.
    """

    notebook: Any
    sandbox: Sandbox
    model: str | Model | None = None
    max_attempts: int = 5
    files: Sequence[str | Path] = ()
    checks: Sequence[str] = ()
    attempts: bool = False
    candidates: int = 1
    journal: Journal | None = None
    trajectory: Path | None = None
    trajectories: list[Trajectory] = field(default_factory=list)
    failure: str = ""
    error: CodeAgentError | None = None  # what model or sandbox failed with after some attempts
    stopped: bool = False
    models: dict[str | None, Model] = field(default_factory=dict)
    imported: set[str] = field(default_factory=set)  # modules of packages, by ordinary cells

    def steps(self) -> Generator[Step, None, None]:
        """Run the cells in order, up to the first that fails, yielding what happens."""
        tasks = agent_cells(self.notebook)
        self.cells: list[Any] = []
        for number, cell in enumerate(self.notebook.cells, 1):
            before = len(self.cells)
            try:
                yield from self._take(number, cell, tasks.get(number))
            except (CodeAgentError, KeyboardInterrupt) as error:
                if not any(t.attempts for t in self.trajectories):
                    raise  # nothing is there that would be lost
                self.cells[before:] = [deepcopy(cell)]
                self._fail(number, error)

    def _take(self, number: int, cell: Any, task: tuple[str, Namespace] | None) -> Iterator[Step]:
        """Do what is to be done with one cell."""
        if self.failure:
            self.cells.append(deepcopy(cell))
        elif task is not None:
            yield from self._solve(number, *task)
        elif cell.cell_type == "code" and SKIP not in cell.metadata.get("tags", []):
            yield from self._execute(number, cell)
        else:
            self.cells.append(deepcopy(cell))

    def _fail(self, number: int, error: CodeAgentError | KeyboardInterrupt) -> None:
        """End the run in a cell of which nothing is kept; what the cells above gave stays."""
        if isinstance(error, CodeAgentError):
            self.error, self.failure = error, f"The run ended in cell {number}: {error}"
        else:
            self.stopped, self.failure = True, f"Stopped in cell {number}."

    def _solve(self, number: int, task: str, options: Namespace) -> Iterator[Step]:
        earlier = len(self.trajectories)
        asked: list[Writer] = []  # the file that the user wants, which tells the end whatever it is
        try:
            yield from self._run_task(number, task, options, asked)
        except (CodeAgentError, KeyboardInterrupt) as error:
            if len(self.trajectories) == earlier:
                raise
            if not self.trajectories[-1].attempts:
                self.trajectories.pop()
                raise
            if isinstance(error, CodeAgentError):
                self.trajectories[-1].failure, self.error = str(error), error
            else:
                self.trajectories[-1].stopped = True
        finally:
            complaints = end(asked)
        yield from (Step(number, note=complaint) for complaint in complaints)
        trajectory = self.trajectories[-1]
        self.cells += task_cells(trajectory, self.attempts)
        if trajectory.status != "solved":
            self.failure = f"Cell {number} was not solved: {trajectory.reason}"
        yield Step(number, trajectory)

    def _run_task(self, number: int, task: str, options: Namespace, asked: list[Writer]) -> Iterator[Step]:
        model = self._model(options.model)
        kept: list[Writer] = []
        try:
            with prepared(
                task,
                files=[*self.files, *self._found(options.files)],
                model=model,
                max_attempts=options.attempts or self.max_attempts,
                candidates=options.candidates or self.candidates,
                checks=[*self.checks, *options.check],
                tests=[self.folder / test for test in options.test],
                context=self._cells_above(),
                sandbox=self.sandbox,
            ) as (agent, trajectory):
                self.trajectories.append(trajectory)
                key = self._rests_on(trajectory, getattr(model, "name", ""))
                notes = self._go_on(number, key, trajectory)
                kept += self._kept(number, key, trajectory, notes)
                if self.trajectory:
                    asked.append(Writer(numbered(self.trajectory, len(self.trajectories)), trajectory))
                yield from (Step(number, note=note) for note in notes)
                known = len(trajectory.attempts)
                with closing(agent.watch(trajectory)) as attempts:
                    for attempt in keeping_up(attempts, [*kept, *asked]):
                        yield Step(number, trajectory, attempt, again=attempt.number <= known)
            if not trajectory.stopped:  # else it goes on with the next run
                yield from (Step(number, note=complaint) for complaint in end(kept))
        finally:
            for writer in kept:
                writer.close()

    def _rests_on(self, trajectory: Trajectory, model: str) -> str:
        """Return the hash of what decides how a task is solved: itself, its files, the code above and its files."""
        above = [c.source for c in self.cells if c.cell_type == "code"]
        named = files_named("\n".join(f"`{text}`" for code in above for text in texts_in(code)), self.folder)
        files = {*trajectory.inputs, *inputs(named, self.folder)}
        checks = [[c.label, c.code] for c in trajectory.checks]
        data = [trajectory.task, model, checks, above, sorted((f.name, f.digest) for f in files)]
        return code_hash(json.dumps(data))

    def _go_on(self, number: int, key: str, trajectory: Trajectory) -> list[str]:
        """Take up what an earlier run has made of a task; returns what is to be said of that."""
        if self.journal is None:
            return []
        earlier = self.journal.find(number, key)
        if earlier is not None:
            said = earlier.taken_up(trajectory)
        elif self.journal.changed(number, key):
            said = "it, or what it rests on, is not as in the earlier run, so it is solved anew"
        else:
            said = self.journal.complaint
        return [said] if said else []

    def _kept(self, number: int, key: str, trajectory: Trajectory, notes: list[str]) -> list[Writer]:
        """Return the journal's file of a task; adds to `notes` where there cannot be one."""
        kept = self.journal.writer(number, key, trajectory) if self.journal else None
        if self.journal and kept is None:
            notes.append(self.journal.complaint)
        return [kept] if kept else []

    @property
    def folder(self) -> Path:
        """The notebook's folder."""
        workspace = self.sandbox.policy.workspace
        return Path(workspace if workspace is not None else "/").expanduser().resolve()

    def _found(self, patterns: Sequence[str]) -> list[Path]:
        return [self.folder / name for name in find_files(patterns, self.folder)]

    def _model(self, name: str | None) -> Model:
        chosen = name or self.model
        if chosen is not None and not isinstance(chosen, str):
            return chosen
        if chosen not in self.models:
            self.models[chosen] = get_model(chosen)
        return self.models[chosen]

    def _execute(self, number: int, cell: Any) -> Iterator[Step]:
        if cell.source.lstrip().startswith("%%attempt"):
            yield Step(number, note="an attempt that was not accepted is left as it is, and not run")
            self.cells.append(deepcopy(cell))
            return
        for line in _PERSONAL.findall(cell.source):
            yield Step(number, note=f"{line.strip()!r} is for a person at the notebook, and is left out")
        code = without_own_magics(cell.source)
        if code.strip() == "" and cell.source.strip():
            return  # only our own magics: the solved notebook does not need this package
        new = deepcopy(cell)
        new.source = code
        self.cells.append(new)
        observation = self.sandbox.execute(code)
        self.imported |= set(observation.modules)
        new.outputs = outputs_of(observation)
        yield Step(number, observation=observation)
        error = observation.error
        if error and "raises-exception" not in cell.metadata.get("tags", []):
            self.failure = f"Cell {number} failed, so those below were not run: {error.ename}: {error.evalue}"

    def _cells_above(self) -> str:
        codes = [c.source.strip() for c in self.cells if c.cell_type == "code" and c.source.strip()]
        shown = "\n\n".join(codes)[-1500:]
        return f"Cells above, already executed:\n```python\n{shown}\n```" if shown else ""

    def solved(self) -> Any:
        """Return the notebook with each agent cell replaced by its task, explanations, code and answer."""
        notebook = deepcopy(self.notebook)
        notebook.cells = self.cells
        number_cells(notebook.cells)
        for metadata in (notebook.metadata, *(cell.metadata for cell in notebook.cells)):
            metadata.pop("papermill", None)  # of another run, and it names folders
        notebook.metadata.pop(KEY, None)  # it is of an earlier run, or anybody's
        if notebook.metadata.get("kernelspec", {}).get("name") == KERNEL:
            notebook.metadata["kernelspec"] = dict(ANY_KERNEL)  # it is to open where this package is not
        if self.trajectories:
            codes = [c.source for c in self.cells if c.cell_type == "code" and SKIP not in c.metadata.get("tags", [])]
            notebook.metadata[KEY] = with_cells(merged_record(self.trajectories), codes, self.imported, self.folder)
        return notebook


def check_free(path: Path, tasks: int) -> None:
    """Raise TrajectoryError if the files for the trajectories of so many tasks plainly cannot be written."""
    if not path.parent.is_dir():
        raise TrajectoryError(f"There is no folder {str(path.parent)!r}; make it, or choose another path.")
    for file in (numbered(path, number) for number in range(1, tasks + 1)):
        if file.exists():
            raise TrajectoryError(f"{str(file)!r} exists and was not touched; choose another name.")


def numbered(path: Path, number: int) -> Path:
    """Return the file for the trajectory of the task with this number, from 1 on: NAME, NAME-2, NAME-3 ..."""
    return path if number == 1 else path.with_name(f"{path.stem}-{number}{path.suffix}")


def is_agent(cell: Any) -> bool:
    """Tell whether a notebook's cell is a task for the agent."""
    return bool(cell.cell_type == "code" and cell.source.lstrip().startswith("%%agent"))


def longest_timeout(notebook: Any) -> float | None:
    """Return the largest ``--timeout`` of the agent cells, since one sandbox serves all; None where none has it."""
    asked = [options.timeout for _, options in agent_cells(notebook).values()]
    return max((t for t in asked if t is not None), default=None)


def agent_cells(notebook: Any) -> dict[int, tuple[str, Namespace]]:
    """Return task and options of a notebook's agent cells, by their 1-based numbers.

    Raises
    ------
    WrongUse
        If there are none, or as `agent_cell` does.
    """
    found = {n: agent_cell(c.source) for n, c in enumerate(notebook.cells, 1) if is_agent(c)}
    if not found:
        raise WrongUse("The notebook has no %%agent cell, so there is nothing to solve.")
    return found


def agent_cell(source: str) -> tuple[str, Namespace]:
    """Return the task and the options of a cell that begins with ``%%agent``.

    Raises
    ------
    WrongUse
        If an option is unknown or has no proper value, or there is no task.
    """
    first, _, text = source.lstrip().partition("\n")
    options = parse(first.removeprefix("%%agent"))
    if not text.strip():
        raise WrongUse("An %%agent cell has no task; write it below the first line.")
    return text.strip(), options
