"""The record as ipywidgets, with buttons; importing this needs ipywidgets, 7.7 or later."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import ipywidgets

from jupyter_codeagent.display import Paced
from jupyter_codeagent.errors import CodeAgentError
from jupyter_codeagent.markdown import markdown
from jupyter_codeagent.page import answer_html, body_html, framed, head_html, notes_html, page, told_html
from jupyter_codeagent.trajectory import Attempt, Trajectory
from jupyter_codeagent.transcript import text
from jupyter_codeagent.wording import reason, title

VIEW = "application/vnd.jupyter.widget-view+json"


@dataclass(frozen=True)
class Buttons:
    """What the buttons of a view do; each gives back a sentence that is added to what the view says itself.

    They are called on the thread that handles the click: the main one, or that of a subshell. What they raise as a
    `CodeAgentError` is shown as its sentence. The view updates itself afterwards.

    Parameters
    ----------
    accept : callable
        ``accept(trajectory, attempt)`` marks the attempt as accepted; may warn of what has changed since.
    accept_and_run : callable
        The same, and runs its code in the user's kernel before it returns; what that shows appears below the button.
        Gives back how it failed, if it did.
    discard : callable
        ``discard(trajectory, attempt)`` marks the attempt as discarded and says what became of the sandbox.
    stop : callable or None
        ``stop(trajectory)`` ends a task in the background. None: the task runs in the foreground, where a click would
        be handled only after its end; the view then names the front end's own stop button, and has no buttons yet.
    """

    accept: Callable[[Trajectory, Attempt], str]
    accept_and_run: Callable[[Trajectory, Attempt], str]
    discard: Callable[[Trajectory, Attempt], str]
    stop: Callable[[Trajectory], str] | None = None


class WidgetView(Paced):
    """The record as a widget under the cell: a line of progress, an accordion of attempts, the answer.

    The record is also kept as Markdown and text, for front ends and times without a kernel.

    Parameters
    ----------
    display : callable
        ``display(bundle, raw=True, display_id=..., update=...)``, as IPython has it.
    buttons : Buttons
        What they do.
    costs : bool
        Show tokens and dollars.
    apart : bool
        Keep the record in an output of its own, hidden as long as there is the widget: JupyterLab and Notebook show an
        error where a widget's kernel is gone, whatever else its output holds.
    """

    def __init__(self, display: Callable[..., Any], buttons: Buttons, costs: bool = True, apart: bool = False) -> None:
        super().__init__()
        self.display = display
        self.buttons = buttons
        self.costs = costs
        self.apart = apart
        self._told = ""
        self._kept = False
        self._lock = threading.RLock()  # the task's thread shows, and so does the one that handles a click
        self._panels: list[_Panel] = []
        self._first = ipywidgets.HTML()
        self._head = ipywidgets.HTML(layout={"flex": "1 1 auto"})
        self._stop = _button("Stop", "Stop this task", icon="stop")
        self._accordion = ipywidgets.Accordion()
        self._tail = ipywidgets.HTML()
        self._stop.layout.display = "none"
        head = ipywidgets.HBox([self._head, self._stop], layout={"align_items": "baseline"})
        self._box = ipywidgets.VBox([self._first, head, self._accordion, self._tail])
        self._box.add_class("jca-live")

    def open(self, trajectory: Trajectory, told: str) -> None:
        """Make the output, with `told` as its first line."""
        self._told = told
        if self.buttons.stop is not None:
            self._stop.on_click(lambda _: self._stopped(trajectory))
            self._stop.layout.display = ""
        self._update(trajectory, None, "")
        self._keep(trajectory, None, "")

    def show(self, trajectory: Trajectory) -> None:
        """Update the widget when something begins or ends, and at most ten times a second while it grows."""
        if self._pace.due(trajectory):
            self._update(trajectory, self._pace.seconds, "")

    def refresh(self, trajectory: Trajectory) -> None:
        """Show what the user has accepted, discarded or edited since."""
        super().refresh(trajectory)
        self._keep(trajectory, *self._pace.ending)

    def _update(self, trajectory: Trajectory, seconds: float | None, notice: str) -> None:
        with self._lock:
            running = trajectory.status in ("queued", "running")
            self._first.value = framed(told_html(self._told))
            self._head.value = _piece(head_html(trajectory, seconds, self.costs), trajectory.status)
            if not running:
                self._stop.layout.display = "none"
            attempts = _with_code(trajectory)
            self._cut(len(attempts))
            for index, attempt in enumerate(attempts):
                self._show(index, attempt, trajectory, ready=not running or self.buttons.stop is not None)
            self._tail.value = _piece(self._tail_html(trajectory, notice, running), trajectory.status)
            self._pace.shown()

    def _show(self, index: int, attempt: Attempt, trajectory: Trajectory, ready: bool) -> None:
        if index == len(self._panels):
            self._panels.append(_Panel(self.buttons, self._pressed))
            self._accordion.children = [panel.box for panel in self._panels]
            follows = index == 0 or self._accordion.selected_index == index - 1  # else the user reads another one
            if follows and attempt.candidate == 1:
                self._accordion.selected_index = index
        self._panels[index].show(attempt, trajectory, ready)
        self._accordion.set_title(index, title(attempt))

    def _cut(self, count: int) -> None:
        """Take away what was being written when the task was stopped."""
        if count < len(self._panels):
            del self._panels[count:]
            if (self._accordion.selected_index or 0) >= count:
                self._accordion.selected_index = count - 1 if count else None
            self._accordion.children = [panel.box for panel in self._panels]

    def _tail_html(self, trajectory: Trajectory, notice: str, running: bool) -> str:
        parts = [answer_html(a, final=a is trajectory.last) for a in trajectory.answers]
        current = trajectory.current
        if running and current is not None and current.action.code is None:
            parts.append(body_html(current, trajectory))
        if running and self.buttons.stop is None:
            notice = "The notebook's own stop button ends the task. The attempts get buttons when it has ended."
        return "".join([*parts, *notes_html(reason(trajectory), notice)])

    def _keep(self, trajectory: Trajectory, seconds: float | None, notice: str) -> None:
        """Write the outputs; rarely, since one with a widget is then drawn anew."""
        said = (trajectory, seconds, self.costs, notice, self._told)
        record = {"text/markdown": markdown(*said), "text/plain": text(*said)}
        view = {VIEW: {"version_major": 2, "version_minor": 0, "model_id": self._box.model_id}}
        name = f"codeagent-{self._box.model_id}"
        if not self.apart:
            self.display({**view, **record}, raw=True, display_id=name, update=self._kept)
        else:
            self.display({"text/html": page(*said), **record}, raw=True, display_id=name, update=self._kept)
            if not self._kept:
                self.display({**view, "text/plain": "The buttons need a running kernel."}, raw=True)
        self._kept = True

    def _stopped(self, trajectory: Trajectory) -> None:
        assert self.buttons.stop is not None
        self._stop.disabled, self._stop.description = True, "Stopping"
        try:
            self._stop.tooltip = self.buttons.stop(trajectory)
        except CodeAgentError as error:
            self._stop.tooltip = str(error)

    def _pressed(self, panel: _Panel, do: Callable[[Trajectory, Attempt], str]) -> None:
        try:
            panel.say(do(panel.trajectory, panel.attempt))
        except CodeAgentError as error:
            panel.say(str(error))
        self.refresh(panel.trajectory)


class _Panel:
    """One attempt in the accordion.

    Parameters
    ----------
    buttons : Buttons
        What its buttons do.
    pressed : callable
        Called by a click, with the panel and what is to be done; shows what comes back.
    """

    def __init__(
        self, buttons: Buttons, pressed: Callable[[_Panel, Callable[[Trajectory, Attempt], str]], None]
    ) -> None:
        self.buttons = buttons
        self.trajectory: Trajectory
        self.attempt: Attempt
        self._shown: tuple[object, ...] = ()
        self._body, self._said, self._output = ipywidgets.HTML(), ipywidgets.HTML(), ipywidgets.Output()
        self._accept = _button("Accept", "Mark as accepted; its code stays here, to be copied")
        self._run = _button(
            "Accept and run", "Mark as accepted, and run its code in your kernel", button_style="primary"
        )
        self._discard = _button("Discard", "Take it back from the sandbox")
        self._row = ipywidgets.HBox([self._run, self._accept, self._discard])
        self._row.layout.display = self._said.layout.display = "none"
        self.box = ipywidgets.VBox([self._body, self._row, self._said, self._output])
        for button, do in ((self._accept, self.accept), (self._run, self.run), (self._discard, self.discard)):
            button.on_click(lambda _, do=do: pressed(self, do))

    def show(self, attempt: Attempt, trajectory: Trajectory, ready: bool) -> None:
        """Show an attempt as it is now; one that has not changed since its end is not rendered again."""
        self.attempt, self.trajectory = attempt, trajectory
        self._row.layout.display = "" if ready and attempt.done else "none"
        self._accept.disabled, self._discard.disabled = attempt.accepted, attempt.discarded
        now = (attempt.status, attempt.action, attempt.observation, attempt.reason)
        if not attempt.done or now != self._shown:
            self._body.value = _piece(body_html(attempt, trajectory))
            self._shown = now

    def say(self, sentence: str) -> None:
        """Show a sentence below the buttons; code stands between backticks."""
        self._said.value = _piece("".join(notes_html(sentence)))
        self._said.layout.display = ""

    def accept(self, trajectory: Trajectory, attempt: Attempt) -> str:
        """Mark the attempt as accepted; returns where its code is."""
        said = self.buttons.accept(trajectory, attempt)
        where = "Its code is in no cell and has not run here: copy it from above, or"
        return f"Attempt {attempt.number} is accepted. {where} {_command(trajectory, attempt)}. {said}"

    def run(self, trajectory: Trajectory, attempt: Attempt) -> str:
        """Run the attempt's code in the user's kernel, what it shows below; returns where it is."""
        self.say("The code runs in your kernel.")
        self._output.outputs = ()
        failure, said = "", ""
        with self._output:  # shows what is raised as a traceback
            try:
                said = self.buttons.accept_and_run(trajectory, attempt)
            except CodeAgentError as error:
                failure = str(error)
        where = f"It is in no cell, so the notebook does not have it: {_command(trajectory, attempt)}."
        return failure or f"The code of attempt {attempt.number} ran in your kernel. {said} {where}"

    def discard(self, trajectory: Trajectory, attempt: Attempt) -> str:
        """Mark the attempt as discarded; returns what became of the sandbox."""
        return f"Attempt {attempt.number} is discarded. {self.buttons.discard(trajectory, attempt)}"


def _with_code(trajectory: Trajectory) -> list[Attempt]:
    return [a for a in [*trajectory.attempts, *trajectory.growing] if a.action.code is not None]


def _command(trajectory: Trajectory, attempt: Attempt) -> str:
    return f"`%agent accept {trajectory.id}.{attempt.number}` in a cell puts it into the next cell"


def _button(label: str, tooltip: str, **more: str) -> Any:
    return ipywidgets.Button(description=label, tooltip=tooltip, layout={"width": "auto"}, **more)


def _piece(html: str, state: str = "") -> str:
    """Return a piece of a record without its style, which the first piece carries."""
    return framed(html, state, styled=False) if html else ""
