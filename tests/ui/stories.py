"""Short stories that many tests begin with."""

from __future__ import annotations

import threading

from tests.messages_server import Turn
from tests.ui.lab import Attempt, Lab, Notebook

SUM = "total = sum([20, 22])\ntotal"
WRONG = "total = totall"
LONG = "\n".join(f"step_{i} = {i}  # one line of many" for i in range(30)) + "\n" + SUM
SOLVED = Turn(answer="The sum is **42**.")


def one_attempt(lab: Lab, model, code: str = SUM, *cells: str, options: str = "") -> Attempt:
    """A notebook with one attempt that succeeded; the task is solved."""
    model(Turn("I add them.", code=code), SOLVED)
    notebook = lab.notebook(*cells)
    notebook.agent(options=options)
    notebook.task("solved")
    return notebook.attempt(1)


def failed_and_solved(lab: Lab, model) -> Notebook:
    """A notebook with an attempt that failed and one that succeeded; the task is solved."""
    model(Turn("First try.", code=WRONG), Turn("Once more.", code=SUM), SOLVED)
    notebook = lab.notebook()
    notebook.agent()
    notebook.task("solved")
    return notebook


def two_kept(lab: Lab, model) -> Notebook:
    """A notebook with two attempts that both succeeded; the task is solved."""
    model(
        Turn("First the numbers.", code="numbers = [20, 22]"),
        Turn("Then the sum.", code="total = sum(numbers)\ntotal"),
        SOLVED,
    )
    notebook = lab.notebook()
    notebook.agent()
    notebook.task("solved")
    return notebook


def held(lab: Lab, model, options: str = "", *cells: str) -> tuple[Notebook, threading.Event]:
    """A notebook whose agent is in the middle of writing its first attempt until the event is set."""
    hold = threading.Event()
    model(Turn("I add them.", code=LONG, hold=hold, held=150, pace=0.005), SOLVED)
    notebook = lab.notebook(*cells)
    notebook.agent(options=options)
    attempt = notebook.attempt(1)
    lab.until(lambda: "step_3" in attempt.state.source, "the first half of the code")
    return notebook, hold
