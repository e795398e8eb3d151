"""One display per task: what the agent does, as it happens."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any, Protocol

from jupyter_codeagent.page import brief, page
from jupyter_codeagent.trajectory import Trajectory
from jupyter_codeagent.transcript import text

INTERVAL = 0.1  # seconds between two updates of a display


class View(Protocol):
    """Where a trajectory is shown."""

    def open(self, trajectory: Trajectory, told: str) -> None:
        """Say, before the first request, what is asked where."""

    def show(self, trajectory: Trajectory) -> None:
        """Show it as it is now, if the last time was long enough ago."""

    def close(self, trajectory: Trajectory, notice: str = "", replayed: bool = False) -> None:
        """Show its end, with one more sentence; what is replayed took no time."""


class NotebookView:
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
        self.display = display
        self.costs = costs
        self.compact = compact
        self.began = time.monotonic()
        self._last = -INTERVAL
        self._step: tuple[int, int, str] | None = None
        self._id = ""
        self._told = ""
        self._closing: tuple[float | None, str] | None = None

    def open(self, trajectory: Trajectory, told: str) -> None:
        """Make the output, with `told` as its first line."""
        self._told = told
        self._update(trajectory, None, "")

    def show(self, trajectory: Trajectory) -> None:
        """Update the output when something begins or ends, and at most ten times a second while it grows."""
        current = trajectory.current
        step = (len(trajectory.attempts), len(trajectory.answers), current.status if current else "")
        if step != self._step or time.monotonic() - self._last >= INTERVAL:
            self._step = step
            self._update(trajectory, time.monotonic() - self.began, "")

    def close(self, trajectory: Trajectory, notice: str = "", replayed: bool = False) -> None:
        """Update the output for the last time, or again when the user accepted or discarded an attempt."""
        if self._closing is None:
            self._closing = (None if replayed else time.monotonic() - self.began, notice)
        self._update(trajectory, *self._closing)

    def _update(self, trajectory: Trajectory, seconds: float | None, notice: str) -> None:
        compact = self.compact()
        html = brief if compact else page
        bundle = {
            "text/html": html(trajectory, seconds, self.costs, notice, self._told),
            "text/plain": text(trajectory, seconds, self.costs, notice, self._told, whole=not compact),
        }
        first, self._id = not self._id, self._id or f"codeagent-{trajectory.id}-{time.monotonic_ns()}"
        self.display(bundle, raw=True, display_id=self._id, update=not first)
        self._last = time.monotonic()  # after the work, so that a long record is not shown without a pause
