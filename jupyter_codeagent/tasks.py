"""The tasks of one kernel, in the order in which they were given."""

from __future__ import annotations

import re
from dataclasses import dataclass, field

from jupyter_codeagent.errors import WrongUse
from jupyter_codeagent.trajectory import Attempt, Trajectory, code_hash


@dataclass
class Tasks:
    """What `%agent` commands refer to."""

    trajectories: list[Trajectory] = field(default_factory=list)
    added: str = ""  # the id of the one that was given last, until somebody has taken note of it

    def add(self, trajectory: Trajectory) -> None:
        """Make `trajectory` the latest; one that is known already moves to the end."""
        self.trajectories = [t for t in self.trajectories if t.id != trajectory.id] + [trajectory]
        self.added = trajectory.id

    @property
    def latest(self) -> Trajectory:
        """The task that was given last.

        Raises
        ------
        WrongUse
            If there is none.
        """
        if not self.trajectories:
            raise WrongUse("There is no task yet; write one in a cell that begins with %%agent.")
        return self.trajectories[-1]

    def task(self, name: str) -> Trajectory | None:
        """Return the task with this id."""
        return next((t for t in self.trajectories if t.id == name), None)

    def attempt(self, word: str) -> tuple[Trajectory, Attempt]:
        """Return what ``N`` (of the latest task) or ``TASK.N`` means.

        Raises
        ------
        WrongUse
            If there is no such attempt.
        """
        match = re.fullmatch(r"(?:([\w-]+)\.)?(\d+)", word)
        if not match:
            raise WrongUse(f"{word!r} is not an attempt; give its number, or TASK.NUMBER.")
        trajectory = self.task(match[1]) if match[1] else self.latest
        if trajectory is None:
            known = ", ".join(t.id for t in self.trajectories[-5:]) or "none"
            raise WrongUse(f"There is no task {match[1]!r} in this kernel; the latest are: {known}.")
        found = next((a for a in trajectory.attempts if a.number == int(match[2])), None)
        if found is None:
            numbers = ", ".join(str(a.number) for a in trajectory.attempts) or "none"
            raise WrongUse(f"Task {trajectory.id} has no attempt {match[2]}; it has: {numbers}.")
        return trajectory, found

    def unchanged(self, name: str, code: str) -> bool:
        """Tell whether `code` is what attempt `name` (TASK.N) is recorded with."""
        try:
            _, attempt = self.attempt(name)
        except WrongUse:
            return False
        return code_hash(attempt.action.code or "") == code_hash(code)
