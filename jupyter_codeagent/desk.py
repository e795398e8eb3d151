"""What lives as long as a kernel: its sandbox, the tasks given so far, and what the user has."""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from jupyter_core.paths import jupyter_data_dir

from jupyter_codeagent.agent import Model
from jupyter_codeagent.background import PATIENCE, Job, Ticket, Turns
from jupyter_codeagent.bridge import Bridge
from jupyter_codeagent.bridge.feed import Feed, Origin
from jupyter_codeagent.choosing import elect
from jupyter_codeagent.context import inputs
from jupyter_codeagent.errors import NotPlainData, SandboxUnavailable
from jupyter_codeagent.keys import Keys
from jupyter_codeagent.options import CodeAgent
from jupyter_codeagent.packed import Shelf
from jupyter_codeagent.passing import Kept, Passing, names_used, unchanged
from jupyter_codeagent.records import Records
from jupyter_codeagent.sandbox import Sandbox, SandboxPolicy
from jupyter_codeagent.sandbox.pool import pool
from jupyter_codeagent.tasks import Tasks
from jupyter_codeagent.trajectory import Attempt, Observation, Trajectory
from jupyter_codeagent.user import User

if TYPE_CHECKING:
    from jupyter_codeagent.sandbox.remote import RemoteSandbox


class DescribedModel(Model, Protocol):
    """A model that says what it is, and can be stopped."""

    @property
    def name(self) -> str:
        """The model's name."""

    def describe(self) -> str:
        """Return one sentence: which model this is, where it is, and what leaves this machine."""

    def cancel(self) -> None:
        """End the requests that are running; from any thread."""


REPLAYED = "the task was replayed from its record, not run; accept its code, or solve it anew with %%agent --again"


class Desk:
    """The parts that the magics of one kernel share.

    Parameters
    ----------
    shell : InteractiveShell
        The user's.
    settings : CodeAgent
        As the user configured them.
    choose_model : callable
        Returns the model of a name, or the default one for None.
    records : Records or None
        Where solved tasks are kept; None: in the user's Jupyter data folder.
    """

    no_background = ""  # why no task can work in the background here, as a sentence

    def __init__(
        self,
        shell: Any,
        settings: CodeAgent,
        choose_model: Callable[[str | None], DescribedModel],
        records: Records | None = None,
    ) -> None:
        self.shell = shell
        self.user = User(shell, settings)
        self.settings = settings
        self.choose_model = choose_model
        self.records = records or Records(Path(jupyter_data_dir()) / "codeagent" / "records")
        self.tasks = Tasks()
        self.bridge = Bridge(self._recorded)
        self.turns = Turns()
        self.jobs: dict[str, Job] = {}  # tasks in the background that have not ended
        self.shelf = Shelf()  # copies of variables, by which a change is seen
        self.given: dict[str, Mapping[str, str]] = {}  # of each task: the marks of its variables' copies
        self.owed: list[Trajectory] = []  # replayed tasks, whose code the sandbox has not run
        self.taken_over: list[str] = []  # names that accepted code sets, not yet told to the sandbox's side
        self.stale = False  # attempts of the latest task were discarded or restored, and the sandbox does not know
        self._start: Kept | None = None  # the state before the latest task,
        self._started: Trajectory | None = None  # which is this one
        self._shut = False
        self._sandbox: Sandbox | RemoteSandbox | None = None
        self._passing: Passing | None = None
        self.since = 0.0  # when the sandbox copied the working folder
        self.delivered: dict[str, str] = {}  # hashes of files copied in since
        self._start_delivered: dict[str, str] = {}  # the same before the latest task

    def recall(self, task: str) -> None:
        """Find a task in the records, after a restart; its code counts as not yet run in the sandbox."""
        if self.tasks.task(task) is None and (known := self.records.task(task)):
            self.tasks.trajectories.insert(0, known)
            self.owed.append(known)

    def _recorded(self, task: str) -> Feed | None:
        """Return what can be told of a task that ran before this kernel started."""
        found = self.tasks.task(task) or self.records.task(task)
        return Feed(found, Origin(), replayed=True) if found is not None else None

    @property
    def keys(self) -> Keys:
        """Recognises keys, those among them that the user has put into the environment meanwhile."""
        return Keys(os.environ)

    @property
    def running(self) -> Sandbox | RemoteSandbox | None:
        """The sandbox, if there is one."""
        return self._sandbox

    def sandbox(self, timeout: float | None = None, folder: Path | None = None) -> Passing:
        """Return the sandbox, started, with the limits of now; only whose turn it is may use it.

        `folder` is the working folder, where that is not the one of now.

        Raises
        ------
        SandboxUnavailable
            If none can be started.
        """
        seconds = timeout or self.settings.timeout
        if self._sandbox is None or self._passing is None:
            policy = SandboxPolicy(folder or self.user.folder, memory=self.settings.memory)
            self.since, self.delivered = time.time(), {}
            fresh = self._made(policy)
            fresh.start()
            if self._shut:  # meanwhile, by another thread
                fresh.close()
                raise SandboxUnavailable("The extension is being unloaded.")
            self._sandbox = fresh
            self._passing = Passing(fresh, self.user.variables, self.keys, self.shell.user_ns, self.shelf)
        self._passing.keys = self.keys
        self._sandbox.policy = replace(self._sandbox.policy, timeout=seconds)
        return self._passing

    def _made(self, policy: SandboxPolicy) -> Sandbox | RemoteSandbox:
        """Return a new sandbox, here or behind the Jupyter server that is configured."""
        if not self.settings.gateway:
            return pool().take(policy)
        from jupyter_codeagent.sandbox.remote import RemoteSandbox

        return RemoteSandbox(self.settings.gateway_address, policy)

    def close(self) -> None:
        """End the sandbox; the next task starts a new one, with the working folder as it is then."""
        if self._sandbox is not None:
            self._sandbox.close()
        self._sandbox = self._passing = self._start = self._started = None
        self.owed, self.taken_over, self.stale = [], [], False

    def reset(self) -> str:
        """Begin anew; returns a sentence about it. Only whose turn it is may call it."""
        used = self._sandbox is not None
        self.close()
        if used and not self.settings.gateway:
            pool().prepare(SandboxPolicy(self.user.folder, memory=self.settings.memory))
        return "The sandbox is closed; the next task starts in a fresh one, with the folder as it is then."

    def shut_down(self) -> None:
        """End everything for good: tasks in the background, then the sandbox."""
        self._shut = True
        self.stop()
        self.close()
        pool().close()

    # -- turns ------------------------------------------------------------------------------------

    @contextlib.contextmanager
    def turn(self, name: str) -> Iterator[None]:
        """Have the sandbox for oneself; says so where that has to wait, and can be interrupted.

        `name` is a task's id, or the magic that is being run.
        """
        ticket = Ticket(self.turns, name)
        try:
            ticket.enter()
            if not ticket.first:
                first = self.turns.names[0]
                who = first if first.startswith("%") else f"task {first}"
                print(f"Waiting for {who} to end; interrupt this cell if it is not to wait.", flush=True)  # noqa: T201
            ticket.wait()
            yield
        finally:
            ticket.leave()

    @property
    def busy(self) -> list[str]:
        """The ids of the tasks that are worked on, or wait for their turn, in order."""
        return [name for name in self.turns.names if not name.startswith("%")]

    def stop(self, task: str = "") -> list[tuple[Trajectory, bool]]:
        """Stop one task in the background, or all; returns them, and whether each has ended within a second."""
        jobs = [job for name, job in list(self.jobs.items()) if task in ("", name)]
        for job in jobs:
            job.stopping.set()
        deadline = time.monotonic() + PATIENCE
        return [(job.trajectory, job.stop(max(deadline - time.monotonic(), 0.0))) for job in jobs]

    def interrupt(self) -> None:
        """End what the sandbox executes."""
        if self._sandbox is not None:
            self._sandbox.interrupt()

    # -- the sandbox's state ----------------------------------------------------------------------

    def begin(self, sandbox: Passing, trajectory: Trajectory) -> None:
        """Keep the state before a task, so that single attempts of it can be taken back."""
        if self._start is not None:
            self._start.drop()
        self._start, self._started = sandbox.checkpoint(), trajectory
        self._start_delivered = dict(self.delivered)
        self.given[trajectory.id] = sandbox.given

    def catch_up(self, sandbox: Passing) -> list[str]:
        """Bring the sandbox to what the record says: discarded attempts taken back, replayed ones run.

        Returns a sentence for each attempt that fails now. Where it is interrupted, the rest is still owed.
        """
        names, self.taken_over = self.taken_over, []
        sandbox.accepted(names)
        problems = [self._remake()] if self.stale and self._started is not None else []
        while self.owed:
            problems += self._run_kept(sandbox, self.owed[0])
            del self.owed[0]
        return [problem for problem in problems if problem]

    def _run_kept(self, sandbox: Passing, trajectory: Trajectory) -> Iterator[str]:
        for attempt in trajectory.kept:
            error = execute(sandbox, attempt.action.code or "").error
            if error is not None:
                if error.ename == "Interrupted":
                    raise KeyboardInterrupt
                yield (
                    f"Attempt {trajectory.id}.{attempt.number}, replayed above, now fails in the sandbox "
                    f"({error.ename}: {error.evalue})."
                )

    def retake(
        self,
        trajectory: Trajectory,
        at_once: bool = True,
        done: str = "The sandbox is as if it had not been made.",
        stays: str = "The sandbox keeps its effect until %agent reset.",
    ) -> str:
        """Make the sandbox as the kept attempts of a task leave it, now or before its next use; returns a sentence."""
        if trajectory in self.owed:
            return "It had not run in this sandbox."
        if self._sandbox is None:
            return "There is no sandbox now, and the next one starts without any of it."
        if trajectory is not self._started:
            return stays
        self.stale = True
        if self.turns.names:
            return "The sandbox follows when the running task has ended."
        if not at_once:
            return "The sandbox follows at its next use."
        with self.turn("%agent discard"):
            return self._remake() or done

    def _remake(self) -> str:
        """Go back to the start of the latest task and execute what is kept of it."""
        assert self._started is not None
        said = ""
        self.stale = True
        while self.stale:  # another thread may discard one more meanwhile
            self.stale = False
            try:
                self._rewind(self._started)
                said = self._again(self._started.kept)
            except BaseException:
                self.stale = True
                raise
        return said

    def redo(self, trajectory: Trajectory, attempt: Attempt, code: str) -> tuple[Observation, str]:
        """Execute `code` in place of an attempt: after the kept ones before it, and before those after it.

        Returns what came of it, and a sentence where others fail now. An attempt of an earlier task is executed
        on the state of now instead.
        """
        assert self._passing is not None
        rivals = trajectory.rivals_of(attempt)
        others = [a for a in trajectory.kept if a is not attempt and a not in rivals]
        if trajectory is not self._started or not self._rewind(trajectory):
            return execute(self._passing, code), ""
        self.stale = True  # until all of it is done
        said = self._again([a for a in others if a.number < attempt.number])
        seen = execute(self._passing, code)
        said += self._again([a for a in others if a.number > attempt.number])
        if seen.error is None and rivals:
            elect(attempt, rivals)
        now = [a.number for a in trajectory.kept if a is not attempt]
        self.stale = now != [a.number for a in others]  # another thread may have discarded one
        return seen, said

    def _rewind(self, trajectory: Trajectory) -> bool:
        """Go back to the state before `trajectory`, if it is the latest and that state is known."""
        if self._start is None or self._passing is None or trajectory is not self._started:
            return False
        self._passing.rollback(self._start)
        self.delivered = dict(self._start_delivered)  # a file that came later is gone from the sandbox with the rest
        return True

    def _again(self, attempts: Sequence[Attempt]) -> str:
        """Execute attempts again; returns a sentence about each that fails now."""
        assert self._passing is not None
        said = []
        for attempt in attempts:
            error = execute(self._passing, attempt.action.code or "").error
            if error is not None and error.ename == "Interrupted":
                raise KeyboardInterrupt
            if error is not None:
                said.append(f"Attempt {attempt.number} fails now ({error.ename}: {error.evalue}); its effect is gone.")
        return " ".join(said)

    def accepted(self, attempt: Attempt) -> None:
        """The user takes over the code of `attempt`; what it sets is passed in again once it ran in the notebook."""
        if attempt.observation is not None:
            self.taken_over += attempt.observation.names

    def held(self, trajectory: Trajectory) -> list[Trajectory]:
        """Return the tasks before this one whose kept code has been run in the sandbox."""
        tasks = self.tasks.trajectories
        return [t for t in tasks if t is not trajectory and t.status not in ("queued", "running")]

    def take_in(self, trajectory: Trajectory, chosen: Sequence[Attempt], code: str) -> str:
        """Give the user the `code` of accepted attempts; returns a sentence about where it is."""
        self.shell.set_next_input(code)
        numbers = " and ".join(str(a.number) for a in chosen)
        which = f"attempt{'' if len(chosen) == 1 else 's'} {numbers}"
        return (
            f"The code of {which} is in the next cell and has not run here; run that cell to have its results in "
            "your kernel."
        )

    def run_here(self, trajectory: Trajectory, attempt: Attempt) -> str:
        """Run an accepted attempt in the notebook, as its button asks for; returns the name of its error, if any."""
        result = self.shell.run_cell(attempt.action.code or "", store_history=True)
        error = result.error_before_exec or result.error_in_exec
        return type(error).__name__ if error else ""

    def fetch(self, name: str) -> Any:
        """Return a variable of the sandbox as plain data, once what is marked as discarded is gone from there.

        Raises
        ------
        NotPlainData
            If there is none of this name, or it is not plain data.
        """
        with self.turn("%agent fetch"):
            if self._sandbox is None:
                raise NotPlainData(name, "the sandbox has been closed")
            self.catch_up(self.sandbox())
            return self._sandbox.fetch(name)

    # -- what the user has ------------------------------------------------------------------------

    def changed(self, trajectory: Trajectory, code: str) -> str:
        """Return a sentence about what `code` uses and the user has changed since the task was given, if anything."""
        given = self.given.get(trajectory.id, {})
        own = {n for a in trajectory.attempts if a.accepted and a.observation for n in a.observation.names}
        variables = self.user.variables()
        names = [n for n in names_used(code) if n in given and n not in own]
        changed = [n for n in names if not _same(n, variables, given[n], self.shelf)]
        files = [i.name for i in trajectory.inputs if _digest(i.name, self.user.folder) != i.digest]
        what = " and ".join(filter(None, [", ".join(changed), ", ".join(files)]))
        return f"Changed since the agent took them: {what}; the code may give something else now." if what else ""

    @property
    def page(self) -> Any:
        """The kernel, where the page that runs the current cell shows attempts as cells; else None."""
        return self.shell.kernel if self.bridge.attached(self.user.origin("").session) else None


def _same(name: str, variables: Mapping[str, Any], mark: str, shelf: Shelf) -> bool:
    try:
        return name in variables and unchanged(name, variables[name], mark, shelf)
    except NotPlainData:
        return False


def _digest(name: str, folder: Path) -> str:
    try:
        return inputs([name], folder)[0].digest
    except OSError:
        return ""


def execute(sandbox: Passing, code: str) -> Observation:
    """Execute `code` in one go; what does not end well is rolled back."""
    before = sandbox.checkpoint()
    last = Observation()
    done = False
    try:
        for last in sandbox.stream(code):  # noqa: B007 - the last one is whole
            pass
        done = last.error is None
    finally:
        if not done:
            sandbox.rollback(before)
        before.drop()
    return last
