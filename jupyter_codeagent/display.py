"""One display per task: what the agent does, as it happens."""

from __future__ import annotations

import abc
import time
from collections.abc import Callable
from typing import Any, Protocol

from jupyter_codeagent.page import brief, page
from jupyter_codeagent.trajectory import Trajectory
from jupyter_codeagent.transcript import text

INTERVAL = 0.1  # seconds between two updates of a display
SELDOM = 1.0  # the same where cells tell more, and each update makes a page lay out its whole notebook


class View(Protocol):
    """Where a trajectory is shown."""

    def open(self, trajectory: Trajectory, told: str) -> None:
        """Say, before the first request, what is asked where."""

    def show(self, trajectory: Trajectory) -> None:
        """Show it as it is now, if the last time was long enough ago."""

    def close(self, trajectory: Trajectory, notice: str = "", replayed: bool = False) -> None:
        """Show its end, with one more sentence; what is replayed took no time."""

    def refresh(self, trajectory: Trajectory) -> None:
        """Show what the user has accepted, discarded or edited since, where what is shown can change."""


class Pace:
    """When a view of a task is to be updated, and how long the task took."""

    def __init__(self) -> None:
        self.ending: tuple[float | None, str] = (None, "")  # seconds and a sentence, once the task has ended
        self._ended = False
        self._began = time.monotonic()
        self._last = -INTERVAL
        self._step: tuple[int, int, int, str] | None = None

    @property
    def seconds(self) -> float:
        """Seconds since the task began."""
        return time.monotonic() - self._began

    def due(self, trajectory: Trajectory, seldom: bool = False) -> bool:
        """Tell whether something began or ended, or the last update is long enough ago; `seldom`: only the latter."""
        current = trajectory.current
        ended = sum(a.done + bool(a.reason) for a in trajectory.attempts)
        step = (len(trajectory.attempts), ended, len(trajectory.answers), current.status if current else "")
        same, self._step = step == self._step, step
        pause = time.monotonic() - self._last
        return pause >= SELDOM if seldom else not same or pause >= INTERVAL

    def shown(self) -> None:
        """Remember an update; called after its work, so that a long record is not shown without a pause."""
        self._last = time.monotonic()

    def end(self, notice: str, replayed: bool) -> None:
        """Remember how the task ended; again does nothing."""
        if not self._ended:
            self._ended, self.ending = True, (None if replayed else self.seconds, notice)


class Paced(abc.ABC):
    """A view that is updated in place, as often as is worth it."""

    def __init__(self) -> None:
        self._pace = Pace()

    def close(self, trajectory: Trajectory, notice: str = "", replayed: bool = False) -> None:
        """Show how the task ended."""
        self._pace.end(notice, replayed)
        self.refresh(trajectory)

    def refresh(self, trajectory: Trajectory) -> None:
        """Show what the user has accepted, discarded or edited since."""
        self._update(trajectory, *self._pace.ending)

    @abc.abstractmethod
    def _update(self, trajectory: Trajectory, seconds: float | None, notice: str) -> None:
        """Show the task as it is now."""


class NotebookView(Paced):
    """One output under the cell, updated in place.

    Parameters
    ----------
    display : callable
        ``display(bundle, raw=True, display_id=..., update=...)``, as IPython has it.
    costs : bool
        Show tokens and dollars.
    compact : callable
        Asked at each update: the attempts are cells of the notebook, so that the output leaves out their code and
        outputs. It may begin to hold, or end, at any time.
    """

    def __init__(
        self, display: Callable[..., Any], costs: bool = True, compact: Callable[[], bool] = lambda: False
    ) -> None:
        super().__init__()
        self.display = display
        self.costs = costs
        self.compact = compact
        self._id = ""
        self._told = ""

    def open(self, trajectory: Trajectory, told: str) -> None:
        """Make the output, with `told` as its first line."""
        self._told = told
        self._update(trajectory, None, "")

    def show(self, trajectory: Trajectory) -> None:
        """Update the output when something begins or ends, and at most ten times a second while it grows.

        Where attempts are cells, once a second.
        """
        if self._pace.due(trajectory, seldom=self.compact()):
            self._update(trajectory, self._pace.seconds, "")

    def _update(self, trajectory: Trajectory, seconds: float | None, notice: str) -> None:
        compact = self.compact()
        said = (trajectory, seconds, self.costs, notice, self._told)
        bundle = {
            "text/html": brief(*said) if compact else page(*said),
            "text/plain": text(*said, whole=not compact),
        }
        first, self._id = not self._id, self._id or f"codeagent-{trajectory.id}-{time.monotonic_ns()}"
        self.display(bundle, raw=True, display_id=self._id, update=not first)
        self._pace.shown()
