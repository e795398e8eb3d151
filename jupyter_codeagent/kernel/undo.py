"""Going back to before a cell."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass

from jupyter_codeagent.errors import WrongUse
from jupyter_codeagent.sandbox import Checkpoint, Sandbox


@dataclass
class Step:
    """The state before something changed it, and what that was."""

    before: Checkpoint
    name: str
    task: str = ""  # that it took over
    count: int = 0  # the cell's execution count; 0 for none


class Undo:
    """The states before the last cells. Cells that change nothing share one.

    Parameters
    ----------
    sandbox : Sandbox
        Whose states they are.
    most : int
        How many cells can be undone.
    """

    def __init__(self, sandbox: Sandbox, most: int) -> None:
        self.sandbox, self.most = sandbox, most
        self.steps: deque[Step] = deque()

    def remember(self, name: str, task: str = "", count: int = 0) -> None:
        """Keep the state of now, before `name` changes it."""
        self.steps.append(Step(self.sandbox.checkpoint(), name, task, count))
        while len(self.steps) > self.most:
            self.steps.popleft().before.drop()

    def back(self, count: int) -> list[Step]:
        """Go back to before the last `count` cells; returns what was undone, the latest first.

        Raises
        ------
        WrongUse
            If so many are not remembered.
        """
        if not self.steps:
            raise WrongUse("There is nothing to undo: no cell has run since the kernel started, or all are undone.")
        if not 1 <= count <= len(self.steps):
            known = f"last {len(self.steps)} cells" if len(self.steps) > 1 else "last cell"
            raise WrongUse(f"%undo {count}: only the {known} can be undone.")
        undone = [self.steps.pop() for _ in range(count)]
        self.sandbox.rollback(undone[-1].before)
        for step in undone:
            step.before.drop()
        return undone
