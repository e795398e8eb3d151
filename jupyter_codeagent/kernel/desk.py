"""Tasks in a notebook on the sandboxed kernel: each works on a fork of the notebook's own state."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from jupyter_codeagent.desk import DescribedModel, Desk
from jupyter_codeagent.errors import CodeAgentError, WrongUse
from jupyter_codeagent.kernel.user import NotebookUser
from jupyter_codeagent.options import CodeAgent
from jupyter_codeagent.passing import Passing
from jupyter_codeagent.publishing import publish_outputs
from jupyter_codeagent.records import Records
from jupyter_codeagent.sandbox import Checkpoint
from jupyter_codeagent.sandbox.shelter import uninterrupted
from jupyter_codeagent.trajectory import Attempt, Observation, Trajectory, code_hash

if TYPE_CHECKING:
    from jupyter_codeagent.kernel.kernel import SandboxKernel

FORKS = 3  # tasks whose state is kept until it is accepted


@dataclass
class Fork:
    """What a task has made of the notebook's state: where it began, and where it ended."""

    base: Checkpoint
    end: Checkpoint

    def drop(self) -> None:
        """Forget both states."""
        self.base.drop()
        self.end.drop()


class NotebookDesk(Desk):
    """The parts that the magics share, where the notebook itself is in the sandbox.

    While a task, or an attempt that was edited, has its turn, the notebook's state is left for a fork of it; at the
    end of the turn the notebook is as before, and the fork is kept until it is accepted or overtaken.

    Parameters
    ----------
    kernel : SandboxKernel
        The notebook's.
    settings, choose_model, records
        As for `Desk`.
    """

    no_background = (
        "--background does not work on this kernel: the task works on a fork of the notebook's own state, "
        "and one process at a time goes on from there. Leave it out."
    )

    def __init__(
        self,
        kernel: SandboxKernel,
        settings: CodeAgent,
        choose_model: Callable[[str | None], DescribedModel],
        records: Records | None = None,
    ) -> None:
        super().__init__(kernel.shell, settings, choose_model, records)
        self.kernel = kernel
        self.user = NotebookUser(kernel, settings)
        self.forks: dict[str, Fork] = {}  # by task
        self.committed: set[str] = set()  # tasks that the notebook has taken over
        self.carried: dict[str, Observation] = {}  # hash of code that is in the state already: what came of it
        self._since: Checkpoint | None = None  # the state that `carried` is true of
        self._home: Checkpoint | None = None  # the notebook's state during a turn
        self._begun: Trajectory | None = None  # whose fork it is
        self._sandbox = kernel.sandbox
        self.since = kernel.started

    def sandbox(self, timeout: float | None = None, folder: Path | None = None) -> Passing:
        """Return the notebook's sandbox; the variables are inside, so nothing is passed."""
        self.kernel.sandbox.start()
        if self._passing is None:
            self._passing = Passing(self.kernel.sandbox, dict, self.keys)
        self._passing.keys = self.keys
        self.kernel.sandbox.policy = replace(self.kernel.sandbox.policy, timeout=timeout or self.settings.timeout)
        return self._passing

    def close(self) -> None:
        """Forget what tasks have left; the notebook's state stays."""
        for fork in self.forks.values():
            fork.drop()
        self.forks = {}

    def reset(self) -> str:
        """Forget what tasks have left; returns a sentence about it."""
        self.close()
        return "What tasks have left is dropped, and the notebook is as it was; restart the kernel for a fresh one."

    # -- turns ------------------------------------------------------------------------------------

    @contextlib.contextmanager
    def turn(self, name: str) -> Iterator[None]:
        """Have a fork of the notebook's state for oneself; a page that asks while a cell runs is refused."""
        if not self.kernel.turn.acquire(blocking=False):
            raise WrongUse("A cell is running; try again when it has ended.")
        try:
            with super().turn(name):
                sandbox, policy = self.kernel.sandbox, self.kernel.sandbox.policy
                self._home, self._begun = sandbox.checkpoint(), None
                try:
                    yield
                finally:
                    sandbox.policy = policy
                    with uninterrupted():
                        self._leave(self._home)
        finally:
            self.kernel.turn.release()

    def _leave(self, home: Checkpoint) -> None:
        """Go back to the notebook's state, and keep the fork if it is a task's."""
        sandbox, begun = self.kernel.sandbox, self._begun
        self._home = self._begun = None
        end, moved = None, True
        with contextlib.suppress(CodeAgentError):  # it was lost; going back says so if it cannot be mended
            end = sandbox.checkpoint() if begun is not None else None
            moved = not self._at(home)
        if moved:  # else the process stays, and threads of the code with it
            sandbox.rollback(home)
        if begun is None or end is None:
            home.drop()
            return
        self._forget(begun)
        self.forks[begun.id] = Fork(home, end)
        while len(self.forks) > FORKS:
            self.forks.pop(next(iter(self.forks))).drop()

    def _forget(self, trajectory: Trajectory) -> None:
        fork = self.forks.pop(trajectory.id, None)
        if fork is not None:
            fork.drop()

    def begin(self, sandbox: Passing, trajectory: Trajectory) -> None:
        """Keep the state before a task: it is the notebook's own."""
        self._begun = self._started = trajectory
        self.given[trajectory.id] = {}

    def catch_up(self, sandbox: Passing) -> list[str]:
        """Do nothing: a fork begins at what the notebook has, whatever earlier tasks have left."""
        self.owed, self.taken_over, self.stale = [], [], False
        return []

    def held(self, trajectory: Trajectory) -> list[Trajectory]:
        """Return the earlier tasks that the notebook has taken over."""
        return [t for t in super().held(trajectory) if t.id in self.committed]

    def retake(self, trajectory: Trajectory, *_: Any, **__: Any) -> str:
        """Forget the fork of a task of which an attempt was discarded or restored."""
        self._forget(trajectory)
        if trajectory.id in self.committed:
            return "The notebook has its effect already; %undo takes the last step back."
        return "It has changed nothing in the notebook."

    def _rewind(self, trajectory: Trajectory) -> bool:
        """Say whether the fork of now begins where this task began."""
        fork = self.forks.get(trajectory.id)
        if fork is None or self._home is None or fork.base.point is not self._home.point:
            return False
        self._begun = trajectory
        return True

    # -- accepting --------------------------------------------------------------------------------

    def accepted(self, attempt: Attempt) -> None:
        """Commit the fork of a task all of whose kept attempts are accepted, if nothing has changed since."""
        found = [t for t in self.tasks.trajectories if attempt in t.attempts]
        if found and self.kernel.turn.acquire(blocking=False):  # else a cell runs, and its state is not this one
            try:
                self._commit(found[0])
            finally:
                self.kernel.turn.release()

    def _commit(self, trajectory: Trajectory) -> None:
        fork, kept = self.forks.get(trajectory.id), trajectory.kept
        if fork is None or not kept or not all(a.accepted and a.taken is None for a in kept):
            return
        if not self._at(fork.base):
            return
        self.kernel.undo.remember(f"task {trajectory.id}", trajectory.id)
        self.kernel.sandbox.rollback(fork.end)
        self.committed.add(trajectory.id)
        self._carry(kept)
        self._forget(trajectory)

    def _carry(self, attempts: Sequence[Attempt]) -> None:
        """Remember that this code is in the state of now, so that its cell need not run."""
        if self._since is not None:
            self._since.drop()
        self._since = self.kernel.sandbox.checkpoint()
        self.carried = {code_hash(a.action.code or ""): a.observation or Observation() for a in attempts}

    def _at(self, checkpoint: Checkpoint | None) -> bool:
        """Say whether the notebook's state is that of `checkpoint`."""
        if checkpoint is None or checkpoint.dropped:
            return False
        now = self.kernel.sandbox.checkpoint()
        now.drop()
        return now.point is checkpoint.point

    def done_already(self, code: str) -> Observation | None:
        """Return what came of `code` if accepting has carried it out, and nothing has changed since; once."""
        if not self.carried or not self._at(self._since):
            self.carried = {}
            return None
        return self.carried.pop(code_hash(code), None)

    def take_in(self, trajectory: Trajectory, chosen: Sequence[Attempt], code: str) -> str:
        """Bring the code of accepted attempts into the notebook; returns a sentence about it."""
        numbers = " and ".join(str(a.number) for a in chosen)
        if trajectory.id not in self.committed:
            for attempt in chosen:
                self._execute(trajectory, attempt)
            self._carry(chosen)
        if len(chosen) > 1:
            outputs = [output for a in chosen if a.observation for output in a.observation.outputs]
            self.carried[code_hash(code)] = Observation(outputs)
        self.shell.set_next_input(code)
        return (
            f"What attempt {numbers} does is done in the notebook. The code is in the next cell, for the record; "
            "running that cell now changes nothing."
        )

    def run_here(self, trajectory: Trajectory, attempt: Attempt) -> str:
        """Execute an accepted attempt in the notebook unless accepting has done it; returns its error's name."""
        if not self.kernel.turn.acquire(blocking=False):
            raise WrongUse("A cell is running; press the button again when it has ended.")
        try:
            if self.done_already(attempt.action.code or "") is not None:
                return ""
            error = self._execute(trajectory, attempt).error
            return error.ename if error else ""
        finally:
            self.kernel.turn.release()

    def undone(self, steps: Iterable[str]) -> None:
        """Take note that these steps of the notebook are taken back."""
        self.committed.difference_update(steps)

    def _execute(self, trajectory: Trajectory, attempt: Attempt) -> Observation:
        """Execute an attempt's code in the notebook's state, showing what it puts out."""
        self.kernel.undo.remember(f"attempt {trajectory.id}.{attempt.number}")
        seen = self.kernel.sandbox.execute(attempt.action.code or "")
        publish_outputs(seen)
        for note in seen.notes:
            print(note, file=sys.stderr)  # noqa: T201 - this is the cell's output
        return seen

    def fetch(self, name: str) -> Any:
        """Refuse: there is no other place than the sandbox."""
        raise WrongUse(
            f"{name!r} was not fetched: on this kernel cells run in the sandbox, too; accept the attempt that makes it."
        )
