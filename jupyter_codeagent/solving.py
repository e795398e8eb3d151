"""Tasks from the moment they are given: solved in the cell that gives them or in the background, or replayed."""

from __future__ import annotations

import argparse
import sys
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from IPython.core.error import UsageError

from jupyter_codeagent.agent import Agent, Model
from jupyter_codeagent.agent import Sandbox as AgentSandbox
from jupyter_codeagent.background import Job, Stoppable, Ticket
from jupyter_codeagent.checks import expression_check, file_check
from jupyter_codeagent.context import describe, files_named, find_files, inputs
from jupyter_codeagent.delivery import deliver
from jupyter_codeagent.desk import DescribedModel, Desk
from jupyter_codeagent.display import View
from jupyter_codeagent.errors import CodeAgentError, SandboxDied, WrongUse
from jupyter_codeagent.managing import Managing
from jupyter_codeagent.options import checked_variables
from jupyter_codeagent.passing import Passing
from jupyter_codeagent.records import Place, Record
from jupyter_codeagent.resting import changed, marks
from jupyter_codeagent.review import Reviewed
from jupyter_codeagent.showing import Views
from jupyter_codeagent.source import names_read
from jupyter_codeagent.surroundings import note
from jupyter_codeagent.taking import take
from jupyter_codeagent.terminal import TerminalView
from jupyter_codeagent.trajectory import Trajectory, code_hash
from jupyter_codeagent.variables import names_in


class Stopped(KeyboardInterrupt):
    """The user stopped the task; ends the cell, and those queued behind it, without a traceback of ours."""

    def _render_traceback_(self) -> list[str]:
        return ["Stopped."]


@dataclass
class Order:
    """A task as it was given, with all that must be as it was then.

    Parameters
    ----------
    trajectory : Trajectory
        The task.
    options : argparse.Namespace
        Of the ``%%agent`` line.
    named, asked : list of str
        Variables that the task is about, and those that ``--with`` lists.
    files : list of str
        The files that it is about.
    identity : str
        The text by which the cell is recognised.
    folder, place : Path, Place
        Where it was given.
    taken : mapping or None
        The variables as they were then; None: as they are whenever they are needed.
    """

    trajectory: Trajectory
    options: argparse.Namespace
    named: list[str]
    asked: list[str]
    files: list[str]
    identity: str
    folder: Path
    place: Place
    taken: Mapping[str, Any] | None = None


class Solving:
    """Gives tasks to the agent and shows what becomes of them.

    Parameters
    ----------
    desk : Desk
        What it works with.
    views : Views
        Where tasks are shown.
    managing : Managing
        Does what the buttons of a view ask for.
    """

    def __init__(self, desk: Desk, views: Views, managing: Managing) -> None:
        self.desk, self.views, self.managing = desk, views, managing

    # -- giving a task ----------------------------------------------------------------------------

    def give(self, task: str, options: argparse.Namespace, identity: str, source: str) -> None:
        """Solve one task, or replay it; `source` is the text of the cell that gives it."""
        if not task:
            raise WrongUse("The task is empty; write below the first line what is wanted.")
        order = self._order(task, options, identity)
        if not options.again and self._replayed(order, source):
            return
        if not self.desk.user.may_ask_model:
            print(  # noqa: T201 - this is the cell's output
                "Not run: nobody is there to watch and no record of this cell fits. "
                "Set JUPYTER_CODEAGENT_RUN=1 to have a model asked in such a run.",
                file=sys.stderr,
            )
            return
        if options.background and self.desk.no_background:
            raise WrongUse(self.desk.no_background)
        if options.review and options.background:
            raise WrongUse("--review asks before each execution, so it does not go with --background.")
        if options.review and not self.desk.user.attended:
            raise WrongUse("--review asks before each execution, and nobody can be asked here.")
        model = self.desk.choose_model(options.model or self.desk.settings.model or None)
        order.trajectory.told = self._announcement(model, order)
        # without a person the kernel ends with the last cell, and would take the task with it
        if options.background and self.desk.user.attended:
            self._background(order, model, source)
        else:
            self._foreground(order, model, source)

    def _order(self, task: str, options: argparse.Namespace, identity: str) -> Order:
        """Return the task with its context, but for what earlier tasks contribute."""
        desk = self.desk
        variables, folder = desk.user.variables(), desk.user.folder
        asked = checked_variables(options.variables, variables)
        named = list(dict.fromkeys([*asked, *names_in(task, variables)]))
        files = list(dict.fromkeys([*find_files(options.files, folder), *files_named(task, folder)]))
        context = describe(
            cells=desk.user.cells(), variables=variables, named=named, files=files, folder=folder, keys=desk.keys
        )
        checks = (*map(expression_check, options.check), *map(file_check, options.test))
        limit = options.attempts or desk.settings.attempts
        trajectory = Trajectory(desk.keys.hide(task), context, checks, limit, inputs=inputs(files, folder))
        trajectory.cell, trajectory.folder = code_hash(identity), str(folder)
        trajectory.candidates = options.candidates or desk.settings.candidates
        return Order(trajectory, options, named, asked, files, identity, folder, desk.user.place)

    def _announcement(self, model: DescribedModel, order: Order) -> str:
        """Return which model is asked and what leaves the machine."""
        variables = self.desk.user.variables()
        named = [name for name in order.named if not self.desk.keys.named(name, variables.get(name))]
        looks = ", ".join([*named, *order.files])
        ending = f"the variables by name and type, and the first rows or lines of {looks}"
        if not looks:
            ending = "and the variables by name and type"
        said = f"{model.describe()} It is told the task, the cells above, {ending}."
        place = self.desk.settings.gateway_place
        return said + (f" The sandbox is at {place}: code, variables and small files go there." if place else "")

    # -- in the cell ------------------------------------------------------------------------------

    def _foreground(self, order: Order, model: DescribedModel, source: str) -> None:
        """Solve the task while the cell runs."""
        trajectory = order.trajectory
        with self.desk.turn(trajectory.id):
            sandbox = self._prepared(order)
            view = self._open(order, source)
            checked: AgentSandbox = Reviewed(sandbox, input) if order.options.review else sandbox
            self.desk.tasks.add(trajectory)
            try:
                self._solve(model, checked, trajectory, view.show)
                trajectory.variables = sandbox.literals()
                note(trajectory, order.folder)
            except BaseException as error:  # a task must not seem to run for ever
                trajectory.stopped = trajectory.stopped or isinstance(error, KeyboardInterrupt)
                trajectory.failure = trajectory.failure or f"The task failed ({type(error).__name__}: {error})."
                self._end(order)
                raise
        self._end(order)
        if trajectory.stopped:
            raise Stopped
        if trajectory.status == "failed" and (trajectory.failure or not self.desk.user.attended):
            raise UsageError(trajectory.reason)

    def _solve(
        self,
        model: Model,
        sandbox: AgentSandbox,
        trajectory: Trajectory,
        show: Callable[[Trajectory], None],
        stopping: threading.Event | None = None,
    ) -> None:
        """Let the agent work, showing each step; the stop button or `stopping` ends it."""
        steps = Agent(model, sandbox).watch(trajectory)
        began = time.monotonic()
        try:
            for _ in steps:
                trajectory.duration = time.monotonic() - began
                self.desk.bridge.show(trajectory)
                show(trajectory)
                if stopping is not None and stopping.is_set():
                    raise KeyboardInterrupt
        except KeyboardInterrupt:
            trajectory.stopped = True
        except CodeAgentError as error:
            trajectory.failure = str(error)
            if isinstance(error, SandboxDied):
                self.desk.close()  # the next task starts a new one
        finally:
            steps.close()  # rolls back what was begun, if the display was interrupted
            trajectory.current, trajectory.rivals = None, []
            trajectory.duration = time.monotonic() - began

    def _prepared(self, order: Order) -> Passing:
        """Return the sandbox with what this task needs: earlier results, and files."""
        desk, trajectory = self.desk, order.trajectory
        sandbox = desk.sandbox(order.options.timeout, order.folder)
        sandbox.begin((), (), order.taken)
        problems = desk.catch_up(sandbox)
        problems += deliver(sandbox.sandbox, trajectory.inputs, order.folder, desk.since, desk.delivered)
        assert desk.running is not None
        trajectory.tier = desk.running.tier
        earlier = describe(earlier=desk.held(trajectory), keys=desk.keys)
        notes = [note for note in (desk.running.files_note, *problems) if note]
        trajectory.context = "\n\n".join(filter(None, [trajectory.context, earlier, *notes]))
        for problem in problems:
            print(problem, file=sys.stderr)  # noqa: T201 - this is the cell's output
        sandbox.begin(order.named, order.asked, order.taken)
        desk.begin(sandbox, trajectory)
        return sandbox

    # -- in the background ------------------------------------------------------------------------

    def _background(self, order: Order, model: DescribedModel, source: str) -> None:
        """Have the task solved in a thread, with the variables of now; returns at once."""
        desk, trajectory = self.desk, order.trajectory
        order.taken, left_out = take(desk.user.variables(), order.named, order.asked, desk.keys, desk.shelf)
        trajectory.background = True
        trajectory.told += " It works with the variables as they are now."
        if left_out:
            trajectory.told += f" Too large to be taken along: {', '.join(left_out)}."
        job = Job(trajectory, Ticket(desk.turns, trajectory.id), desk.interrupt)
        try:
            job.ticket.enter()
            trajectory.queued = not job.ticket.first
            desk.jobs[trajectory.id] = job
            desk.tasks.add(trajectory)
            view = self._open(order, source)
            job.start(lambda: self._work(order, model, job, view))
        except BaseException:  # nobody may wait for one that never began
            desk.jobs.pop(trajectory.id, None)
            job.ticket.leave()
            raise

    def _work(self, order: Order, model: DescribedModel, job: Job, view: View) -> None:
        """Solve a task in its thread, when its turn has come."""
        trajectory = order.trajectory
        # a terminal is the user's meanwhile: there all of it is written at the end
        show = view.show if not isinstance(view, TerminalView) else lambda trajectory: None
        try:
            trajectory.queued = False
            show(trajectory)
            if not job.stopping.is_set():
                self.desk.bridge.show(trajectory)
                trajectory.inputs = inputs(order.files, order.folder)
                sandbox = self._prepared(order)
                self._solve(Stoppable(model, job.stopping), sandbox, trajectory, show, job.stopping)
                trajectory.variables = sandbox.literals()
                note(trajectory, order.folder)
        except KeyboardInterrupt:
            pass  # it is being stopped
        except CodeAgentError as error:
            trajectory.failure = str(error)
        except Exception as error:  # noqa: BLE001 - nobody waits for this thread; a task must not seem to run for ever
            trajectory.failure = f"The task failed in the kernel ({type(error).__name__}: {error})."
        finally:
            if job.stopping.is_set() and trajectory.status != "solved":
                trajectory.stopped, trajectory.failure = True, None
            self.desk.jobs.pop(trajectory.id, None)
            self._end(order)

    # -- showing ----------------------------------------------------------------------------------

    def _open(self, order: Order, source: str) -> View:
        trajectory = order.trajectory
        view = self.views.make(trajectory, self.managing.buttons)
        view.open(trajectory, trajectory.told)
        self.desk.bridge.begin(trajectory, self.desk.user.origin(source))
        return view

    def _end(self, order: Order) -> None:
        """Keep the record of a task that has ended, and show its end."""
        trajectory = order.trajectory
        trajectory.rests_on = self._rested_on(order)
        self.desk.records.save(order.identity, order.place, trajectory)
        self.desk.bridge.show(trajectory)
        failed = trajectory.failure if trajectory.background else None  # in the cell it is raised, and shown below
        notice = " ".join(filter(None, [failed, self.desk.records.complaint]))
        self.views.close(trajectory, notice)

    def _rested_on(self, order: Order) -> dict[str, str]:
        """Return by which it is seen later that the task rests on other values; of keys, nothing is kept."""
        variables = self.desk.user.variables() if order.taken is None else order.taken
        read = [name for a in order.trajectory.attempts for name in names_read(a.action.code or "")]
        names = [name for name in dict.fromkeys([*order.named, *read]) if name in variables]
        return marks((name for name in names if not self.desk.keys.named(name, variables[name])), variables)

    # -- replaying --------------------------------------------------------------------------------

    def _replayed(self, order: Order, source: str) -> bool:
        """Show the record of this cell, if there is one."""
        desk = self.desk
        variables = desk.user.variables()
        record = desk.records.find(
            order.identity,
            order.place,
            anywhere=not desk.user.attended,
            prefer=lambda trajectory: not what_changed(trajectory, order.trajectory, variables),
        )
        if desk.records.complaint:
            print(desk.records.complaint, file=sys.stderr)  # noqa: T201 - this is the cell's output
        if record is None:
            return False
        others = what_changed(record.trajectory, order.trajectory, variables)
        if others and not desk.user.attended:  # nobody would read a notice
            print(f"The record of this cell is not shown: {others} changed since.", file=sys.stderr)  # noqa: T201
            return False
        trajectory = desk.tasks.task(record.trajectory.id)
        if trajectory is None:
            trajectory = record.trajectory
            desk.owed.append(trajectory)
        trajectory.cell, trajectory.folder = order.trajectory.cell, order.trajectory.folder
        desk.tasks.add(trajectory)
        view = self.views.make(trajectory, self.managing.buttons)
        desk.bridge.begin(trajectory, desk.user.origin(source), replayed=True)
        view.close(trajectory, replay_notice(record, others), replayed=True)
        return True


def what_changed(before: Trajectory, now: Trajectory, variables: Mapping[str, Any]) -> str:
    """Return the files and variables that are not as a record has them, as the beginning of "... changed"."""
    files = ["its files have"] if before.inputs != now.inputs else []
    names = changed(before.rests_on, variables)
    listed = f"{', '.join(names)} {'has' if len(names) == 1 else 'have'}"
    return " and ".join([*files, *([listed] if names else [])])


def replay_notice(record: Record, others: str) -> str:
    """Return a sentence about from when the record is, and what has changed since."""
    when = datetime.fromtimestamp(record.saved).astimezone().strftime("%Y-%m-%d %H:%M")
    since = f" {others.replace('its files', 'Its files')} changed since." if others else ""
    return f"This is the record of {when}; no model was asked.{since} `%%agent --again` solves the task anew."
