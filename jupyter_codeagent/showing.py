"""The views of a kernel's tasks, each under the cell that gave the task."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import TYPE_CHECKING

from IPython.display import display

from jupyter_codeagent.desk import Desk
from jupyter_codeagent.display import NotebookView, View
from jupyter_codeagent.front_end import choose_view, find_front_end
from jupyter_codeagent.terminal import TerminalView
from jupyter_codeagent.trajectory import Trajectory

if TYPE_CHECKING:
    from jupyter_codeagent.widgets import Buttons


class Views:
    """Makes a view for each task, and keeps it for what the user does later. Used by several threads.

    Parameters
    ----------
    desk : Desk
        Knows the front end and the settings.
    """

    def __init__(self, desk: Desk) -> None:
        self.desk = desk
        self._views: dict[str, View] = {}
        self._lock = threading.RLock()

    def make(self, trajectory: Trajectory, buttons: Callable[[bool], Buttons]) -> View:
        """Return a new view of a task for the front end that runs the current cell.

        `buttons` says what buttons do, where there are any, for a task in the background or not.
        """
        view = self._views[trajectory.id] = self._suiting(trajectory, buttons)
        return view

    def _suiting(self, trajectory: Trajectory, buttons: Callable[[bool], Buttons]) -> View:
        desk, costs = self.desk, self.desk.settings.show_costs
        session = desk.user.origin("").session
        front = find_front_end(desk.shell, desk.bridge.attached(session))
        kind = choose_view(front)
        if kind == "terminal":
            return TerminalView(costs=costs)
        if kind == "widgets":
            from jupyter_codeagent.widgets import WidgetView

            widget: View = WidgetView(display, buttons(trajectory.background), costs, apart=front.name == "jupyter")
            return widget
        return NotebookView(display, costs, compact=lambda: desk.bridge.attached(session))

    def close(self, trajectory: Trajectory, notice: str) -> None:
        """Show the end of a task, with one more sentence."""
        with self._lock:
            self._views[trajectory.id].close(trajectory, notice)

    def refresh(self, trajectory: Trajectory) -> None:
        """Show, and keep, what the user has accepted, discarded or edited since."""
        self.desk.bridge.show(trajectory)
        if trajectory.status in ("queued", "running") or trajectory.id in self.desk.jobs:
            return  # it is shown as it goes on anyway, and kept in the end
        self.desk.records.mark(trajectory)
        view = self._views.get(trajectory.id)
        if view is not None:
            with self._lock:
                view.refresh(trajectory)
