"""The magics: %%agent, %%attempt and %agent. Here the parts meet."""

from __future__ import annotations

import argparse
import functools
import linecache
import re
import shlex
import sys
import time
import traceback
from collections.abc import Callable
from datetime import datetime
from typing import Any

from IPython.core.error import UsageError
from IPython.core.magic import Magics, cell_magic, line_cell_magic, magics_class, no_var_expand
from IPython.display import display

from jupyter_codeagent.agent import Agent, Model
from jupyter_codeagent.agent import Sandbox as AgentSandbox
from jupyter_codeagent.checks import expression_check, file_check
from jupyter_codeagent.context import cut, describe, files_named, find_files, inputs
from jupyter_codeagent.delivery import deliver
from jupyter_codeagent.desk import DescribedModel, Desk, execute
from jupyter_codeagent.display import NotebookView, View
from jupyter_codeagent.errors import CodeAgentError, SandboxDied, WrongUse
from jupyter_codeagent.notebook import KEY
from jupyter_codeagent.options import CodeAgent, checked_variables, parse, parser, without_again
from jupyter_codeagent.page import fragment
from jupyter_codeagent.passing import Passing
from jupyter_codeagent.records import Record
from jupyter_codeagent.render import colour_only, own_frames
from jupyter_codeagent.review import Reviewed
from jupyter_codeagent.saving import save_tasks
from jupyter_codeagent.terminal import TerminalView
from jupyter_codeagent.trajectory import Action, Observation, Trajectory, code_hash, plain
from jupyter_codeagent.variables import names_in
from jupyter_codeagent.verify import verify_notebook

COMMANDS = {
    "status": ": the sandbox, the model and the latest tasks",
    "accept": " [N | TASK.N]: put an attempt's code (or that of all kept ones) into the next cell",
    "discard": " N | TASK.N: take an attempt back",
    "save": " FILE: save what was kept as a notebook",
    "verify": " FILE: run a notebook from the top in a fresh sandbox and compare",
    "fix": " [options of %%agent]: mend the cell that failed last",
    "reset": ": close the sandbox; the next task starts in a fresh one",
}


class Stopped(KeyboardInterrupt):
    """The user stopped the task; ends the cell, and those queued behind it, without a traceback of ours."""

    def _render_traceback_(self) -> list[str]:
        return ["Stopped."]


def told_plainly(method: Callable[..., Any]) -> Callable[..., Any]:
    """Show what goes wrong on our side, or the user's, as one sentence instead of a traceback."""

    @functools.wraps(method)
    def plainly(*arguments: Any) -> Any:
        try:
            return method(*arguments)
        except CodeAgentError as error:
            raise UsageError(str(error)) from None
        except KeyboardInterrupt:
            raise Stopped from None

    return plainly


@magics_class
class AgentMagics(Magics):
    """The magics of one kernel.

    Parameters
    ----------
    shell : InteractiveShell
        Where they are registered.
    desk : Desk
        What they work with.
    """

    def __init__(self, shell: Any, desk: Desk) -> None:
        super().__init__(shell)
        self.desk = desk
        self.views: dict[str, View] = {}
        self._cell_meta: dict[str, Any] = {}
        self._cell_text = ""
        self._failure: tuple[BaseException, str] | None = None

    def before_cell(self, info: Any) -> None:
        """Remember the cell's text, and its metadata where the front end sends it; IPython calls this before each."""
        self._cell_text = info.raw_cell or ""
        self._cell_meta = getattr(info, "cell_meta", None) or {}

    def after_cell(self, result: Any) -> None:
        """Remember the cell that failed last, for ``%agent fix``; IPython calls this after each cell."""
        error = result.error_before_exec or result.error_in_exec
        if error is not None and not isinstance(error, UsageError | KeyboardInterrupt):
            self._failure = (error, result.info.raw_cell)

    @line_cell_magic
    @no_var_expand
    @told_plainly
    def agent(self, line: str, cell: str | None = None) -> None:
        """Solve a task (``%%agent``; ``%%agent --help``), or manage tasks (``%agent`` lists its commands)."""
        if cell is None:
            self._command(line)
            return
        options = parse(line)
        if options.help:
            print(parser().format_help())  # noqa: T201 - this is the cell's output
            return
        self._task(cell.strip(), options, identity=f"{without_again(line)}\n{cell.strip()}")

    @cell_magic
    @no_var_expand
    @told_plainly
    def attempt(self, line: str, cell: str) -> None:
        """Run an attempt that was not accepted, in the sandbox; unchanged since it was recorded, do nothing."""
        name = line.strip()
        if not re.fullmatch(r"[\w-]+\.\d+", name):
            raise WrongUse(f"%%attempt is followed by TASK.NUMBER, not by {name!r}.")
        self._recall(name)
        mine = self._cell_meta.get(KEY)
        recorded = isinstance(mine, dict) and mine.get("hash") == code_hash(cell)
        if recorded or self.desk.tasks.unchanged(name, cell):
            print(f"Attempt {name} is unchanged and was not run again; edit it to try it in the sandbox.")  # noqa: T201
            return
        self._edited(name, cell)

    def _command(self, line: str) -> None:
        """Carry out a sub-command of ``%agent``."""
        try:
            word, *rest = shlex.split(line) or ["help"]
        except ValueError as error:
            raise WrongUse(f"%agent: {str(error).lower()} in {line!r}.") from None
        if word in ("-h", "--help", "help"):
            print("\n".join(f"%agent {name}{told}" for name, told in COMMANDS.items()))  # noqa: T201
            return
        if word not in COMMANDS:
            raise WrongUse(f"%agent has no command {word!r}; there are: {', '.join(COMMANDS)}.")
        if word == "fix":
            self._fix(line.strip().removeprefix("fix"))
            return
        wanted = {"accept": (0, 1), "discard": (1, 1), "save": (1, 1), "verify": (1, 1)}.get(word, (0, 0))
        if not wanted[0] <= len(rest) <= wanted[1]:
            spaces = " Names with spaces go between quotes." if len(rest) > 1 else ""
            usage = COMMANDS[word].partition(":")[0] if wanted[1] else " alone"
            raise WrongUse(f"Write %agent {word}{usage}.{spaces}")
        print(getattr(self, f"_{word}")(*rest))  # noqa: T201 - this is the cell's output

    # -- a task ---------------------------------------------------------------------------------

    def _task(self, task: str, options: argparse.Namespace, identity: str) -> None:
        """Solve one task, or replay it."""
        if not task:
            raise WrongUse("The task is empty; write below the first line what is wanted.")
        asked = checked_variables(options.variables, self.desk.variables())
        named = list(dict.fromkeys([*asked, *names_in(task, self.desk.variables())]))
        trajectory = self._trajectory(task, options, named)
        if not options.again and self._replayed(identity, trajectory):
            return
        if not self.desk.may_ask_model:
            print(  # noqa: T201 - this is the cell's output
                "Not run: nobody is there to watch and no record of this cell was found. "
                "Set JUPYTER_CODEAGENT_RUN=1 to have a model asked in such a run.",
                file=sys.stderr,
            )
            return
        if options.review and not self.desk.attended:
            raise WrongUse("--review asks before each execution, and nobody can be asked here.")
        model = self.desk.choose_model(options.model or self.desk.settings.model or None)
        sandbox = self._prepared(trajectory, options.timeout)
        sandbox.begin(named, asked)
        view = self.views[trajectory.id] = self._view()
        variables = self.desk.variables()
        looked_at = [name for name in named if not self.desk.keys.named(name, variables.get(name))]
        trajectory.told, trajectory.cell = _announcement(model, trajectory, looked_at), code_hash(identity)
        view.open(trajectory, trajectory.told)
        self.desk.bridge.begin(trajectory, self.desk.origin(self._cell_text))
        self._solve(model, Reviewed(sandbox, input) if options.review else sandbox, trajectory)
        trajectory.variables = sandbox.literals()
        if trajectory.status == "solved":
            self.desk.records.save(identity, self.desk.place, trajectory)
        self.views[trajectory.id].close(trajectory, self.desk.records.complaint)
        self._end(trajectory)

    def _trajectory(self, task: str, options: argparse.Namespace, named: list[str]) -> Trajectory:
        """Return the task with its context; `named` are the variables that it is about."""
        desk = self.desk
        files = list(dict.fromkeys([*find_files(options.files, desk.folder), *files_named(task, desk.folder)]))
        context = describe(
            cells=desk.cells(),
            variables=desk.variables(),
            named=named,
            files=files,
            folder=desk.folder,
            earlier=desk.tasks.trajectories,
            keys=desk.keys,
        )
        checks = (*map(expression_check, options.check), *map(file_check, options.test))
        limit = options.attempts or desk.settings.attempts
        return Trajectory(desk.keys.hide(task), context, checks, limit, inputs=inputs(files, desk.folder))

    def _prepared(self, trajectory: Trajectory, timeout: float | None) -> Passing:
        """Return the sandbox with what this task needs: earlier results, and files."""
        desk = self.desk
        sandbox = desk.sandbox(timeout)
        problems = desk.catch_up(sandbox)
        problems += deliver(sandbox.sandbox, trajectory.inputs, desk.folder, desk.since, desk.delivered)
        assert desk.running is not None
        trajectory.tier = desk.running.tier
        notes = [note for note in (desk.running.files_note, *problems) if note]
        trajectory.context = "\n\n".join(filter(None, [trajectory.context, *notes]))
        for problem in problems:
            print(problem, file=sys.stderr)  # noqa: T201 - this is the cell's output
        desk.begin(sandbox)
        return sandbox

    def _solve(self, model: Model, sandbox: AgentSandbox, trajectory: Trajectory) -> None:
        """Let the agent work, showing each step; the stop button ends it."""
        view = self.views[trajectory.id]
        self.desk.tasks.add(trajectory)
        steps = Agent(model, sandbox).watch(trajectory)
        began = time.monotonic()
        try:
            for _ in steps:
                trajectory.duration = time.monotonic() - began
                self.desk.bridge.show(trajectory)
                view.show(trajectory)
        except KeyboardInterrupt:
            trajectory.stopped = True
        except CodeAgentError as error:
            trajectory.failure = str(error)
            if isinstance(error, SandboxDied):
                self.desk.close()  # the next task starts a new one
        finally:
            steps.close()  # rolls back what was begun, if the display was interrupted
            trajectory.current = None
            trajectory.duration = time.monotonic() - began
            self.desk.bridge.show(trajectory)

    def _end(self, trajectory: Trajectory) -> None:
        """End the cell so that those queued behind it run only where that makes sense."""
        if trajectory.stopped:
            raise Stopped
        if trajectory.status == "failed" and (trajectory.failure or not self.desk.attended):
            raise UsageError(trajectory.reason)

    def _view(self) -> View:
        costs = self.desk.settings.show_costs
        if not hasattr(self.shell, "kernel"):
            return TerminalView(costs=costs)
        session = self.desk.origin("").session
        return NotebookView(display, costs, compact=lambda: self.desk.bridge.attached(session))

    def _replayed(self, identity: str, now: Trajectory) -> bool:
        """Show the record of this cell, if there is one."""
        desk = self.desk
        record = desk.records.find(identity, desk.place, anywhere=not desk.attended)
        if desk.records.complaint:
            print(desk.records.complaint, file=sys.stderr)  # noqa: T201 - this is the cell's output
        if record is None:
            return False
        trajectory = record.trajectory
        if desk.tasks.task(trajectory.id) is None:
            desk.owed.append(trajectory)
        desk.tasks.add(trajectory)
        view = self.views[trajectory.id] = self._view()
        desk.bridge.begin(trajectory, desk.origin(self._cell_text), replayed=True)
        view.close(trajectory, _replay_notice(record, now), replayed=True)
        return True

    # -- an attempt -----------------------------------------------------------------------------

    def _recall(self, name: str) -> None:
        """Find the task of an attempt cell in the records, after a restart."""
        task = name.rpartition(".")[0]
        if self.desk.tasks.task(task) is None and (known := self.desk.records.task(task)):
            self.desk.tasks.trajectories.insert(0, known)
            self.desk.owed.append(known)

    def _edited(self, name: str, code: str) -> None:
        """Run an attempt's code as the user edited it, and keep its record up."""
        sandbox = self.desk.sandbox()
        self.desk.catch_up(sandbox)
        sandbox.begin(())
        try:
            trajectory, attempt = self.desk.tasks.attempt(name)
        except WrongUse:  # from another kernel, and not solved there: there is no record to keep up
            _publish(execute(sandbox, code))
            return
        seen, said = self.desk.redo(trajectory, attempt, code)
        _publish(seen)
        if said:
            print(said, file=sys.stderr)  # noqa: T201 - this is the cell's output
        old = attempt.action
        attempt.action = Action(old.text, code.strip("\n"), usage=old.usage, model=old.model, exchange=old.exchange)
        attempt.observation, attempt.done, attempt.edited = seen, True, True
        attempt.rolled_back = seen.error is not None
        self.desk.bridge.edited(trajectory, attempt)
        self._refresh(trajectory)

    def _refresh(self, trajectory: Trajectory) -> None:
        """Update the record under the task's cell, where it can be, and its attempts."""
        self.desk.bridge.show(trajectory)
        view = self.views.get(trajectory.id)
        if view is not None:
            view.refresh(trajectory)

    # -- the commands of %agent -----------------------------------------------------------------

    def _status(self) -> str:
        desk = self.desk
        running = desk.running
        settings = desk.settings
        model = settings.model or next((t.model for t in reversed(desk.tasks.trajectories) if t.model), "")
        where = f"running, tier {running.tier}" if running else "not started"
        lines = [
            f"Sandbox: {where}; {settings.memory / 2**30:g} GB of memory, {settings.timeout:g} s per execution.",
            f"Model: {model or 'chosen at the first task'}.",
        ]
        for trajectory in desk.tasks.trajectories[-5:]:
            numbers = ", ".join(f"{a.number} {a.status}" for a in trajectory.attempts) or "no attempts"
            lines.append(f"Task {trajectory.id}: {trajectory.status} ({numbers}): {cut(trajectory.task, 60)}")
        return "\n".join(lines)

    def _accept(self, word: str = "") -> str:
        if word:
            trajectory, attempt = self.desk.tasks.attempt(word)
            chosen = [attempt]
        else:
            trajectory = self.desk.tasks.latest
            chosen = trajectory.kept
            if not chosen:
                raise WrongUse(f"Task {trajectory.id} has no attempt that succeeded; name one: %agent accept N.")
        for attempt in chosen:
            attempt.accepted, attempt.discarded = True, False
            self.desk.accepted(attempt)
        self.desk.shell.set_next_input("\n\n".join((a.action.code or "").strip("\n") for a in chosen))
        self._refresh(trajectory)
        numbers = " and ".join(str(a.number) for a in chosen)
        failed = " It failed in the sandbox." if any(a.observation and a.observation.error for a in chosen) else ""
        return (
            f"The code of attempt {numbers} is in the next cell and has not run here; run that cell to have its "
            f"results in your kernel.{failed}"
        )

    def _discard(self, word: str) -> str:
        trajectory, attempt = self.desk.tasks.attempt(word)
        had_effect = attempt in trajectory.kept
        attempt.discarded, attempt.accepted = True, False
        said = self.desk.retake(trajectory) if had_effect else "It had left no effect."
        self._refresh(trajectory)
        return f"Attempt {trajectory.id}.{attempt.number} is discarded. {said}"

    def _save(self, file: str) -> str:
        path = save_tasks(self.desk.tasks.trajectories, file)
        return f"Saved {path}; %agent verify {shlex.quote(str(path))} runs it from the top in a fresh sandbox."

    def _verify(self, file: str) -> str:
        return str(verify_notebook(file))

    def _reset(self) -> str:
        self.desk.close()
        return "The sandbox is closed; the next task starts in a fresh one, with the folder as it is then."

    def _fix(self, line: str) -> None:
        options = parse(line)
        if self._failure is None:
            raise WrongUse("There is no error to fix: no cell has failed since the extension was loaded.")
        task = failure_task(*self._failure)
        self._task(task, options, identity=f"fix {without_again(line)}\n{task}")


def failure_task(error: BaseException, source: str) -> str:
    """Return the task of mending the cell with this `source`, which raised `error`."""
    frames = [f for f in traceback.extract_tb(error.__traceback__) if _is_cell(f.filename)]
    lines = [f"line {frame.lineno}, in {frame.name}: {frame.line}" for frame in frames]
    said = cut(plain("".join(traceback.format_exception_only(error))).strip(), 1000)
    return (
        "This cell fails. Find out why and write a version of it that works.\n\n"
        f"```python\n{cut(source.strip(), 3000)}\n```\n\n" + "\n".join([*lines, said])
    )


def _is_cell(filename: str) -> bool:
    entry = linecache.cache.get(filename)
    return entry is not None and len(entry) == 4 and entry[1] is None  # what is no file has no time of change


def _announcement(model: DescribedModel, trajectory: Trajectory, named: list[str]) -> str:
    """Return which model is asked and what leaves the machine."""
    looks = ", ".join([*named, *(entry.name for entry in trajectory.inputs)])
    ending = f"the variables by name and type, and the first rows or lines of {looks}"
    if not looks:
        ending = "and the variables by name and type"
    return f"{model.describe()} It is told the task, the cells above, {ending}."


def _publish(seen: Observation) -> None:
    """Show what the sandbox put out as outputs of this cell; a traceback is text, as nothing failed here."""
    for note in seen.notes:
        print(note)  # noqa: T201 - this is the cell's output
    for output in seen.outputs:
        if output["output_type"] == "stream":
            stream = sys.stderr if output.get("name") == "stderr" else sys.stdout
            print(colour_only(output["text"]), end="", file=stream)
        elif output["output_type"] == "error":
            print(colour_only(own_frames(output["traceback"])), file=sys.stderr)  # noqa: T201
        else:
            display(fragment(output), raw=True)
    if seen.error is not None:
        print("The sandbox is as it was before this code.", file=sys.stderr)  # noqa: T201


def _replay_notice(record: Record, now: Trajectory) -> str:
    when = datetime.fromtimestamp(record.saved).astimezone().strftime("%Y-%m-%d %H:%M")
    changed = record.trajectory.inputs != now.inputs
    return (
        f"This is the record of {when}; no model was asked."
        + (" Its files have changed since." if changed else "")
        + " `%%agent --again` solves the task anew."
    )


def _with_body(lines: list[str]) -> list[str]:
    """Give an agent cell without a task an empty line; IPython would refuse it before our own words could help."""
    if lines and re.match(r"%%agent\b", lines[0]) and not "".join(lines[1:]).strip():
        return [lines[0].rstrip("\n") + "\n", "\n"]
    return lines


# IPython leaves such a function out when it only asks whether a cell is complete: with the added line every first
# line would be, and a terminal would run it before the task is typed.
_with_body.has_side_effects = True  # type: ignore[attr-defined]


def load(shell: Any, desk: Desk | None = None) -> None:
    """Register the magics in `shell`; again does nothing."""
    if _loaded(shell) is not None:
        return
    if desk is None:
        from jupyter_codeagent.models import get_model

        desk = Desk(shell, CodeAgent(parent=shell), get_model)
    magics = AgentMagics(shell, desk)
    if hasattr(shell, "kernel"):
        desk.bridge.open()
    shell.register_magics(magics)
    shell.configurables.append(desk.settings)
    shell.input_transformers_cleanup.append(_with_body)
    shell.events.register("pre_run_cell", magics.before_cell)
    shell.events.register("post_run_cell", magics.after_cell)


def unload(shell: Any) -> None:
    """Take the magics away and close the sandbox; without them does nothing."""
    magics = _loaded(shell)
    if magics is None:
        return
    magics.desk.close()
    magics.desk.bridge.close()
    shell.events.unregister("pre_run_cell", magics.before_cell)
    shell.events.unregister("post_run_cell", magics.after_cell)
    shell.input_transformers_cleanup.remove(_with_body)
    shell.configurables.remove(magics.desk.settings)
    manager = shell.magics_manager
    for kind, name in (("cell", "agent"), ("line", "agent"), ("cell", "attempt")):
        manager.magics[kind].pop(name, None)
    manager.registry.pop(AgentMagics.__name__, None)


def _loaded(shell: Any) -> AgentMagics | None:
    found = shell.magics_manager.registry.get(AgentMagics.__name__)
    return found if isinstance(found, AgentMagics) else None
