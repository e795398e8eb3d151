"""Ask the user before code is executed: a sandbox around the sandbox."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any

from jupyter_codeagent.agent import Checkpoint, Sandbox
from jupyter_codeagent.trajectory import CodeError, Observation

QUESTION = "Run this code in the sandbox? Enter: yes. Or say what should be different: "
_YES = {"", "y", "yes"}


class Reviewed:
    """Executes only what the user lets pass; the model is told what the user says instead.

    Parameters
    ----------
    sandbox : Sandbox
        Executes what passed.
    ask : callable
        Shows a question and returns the user's line, as `input` does.
    """

    def __init__(self, sandbox: Sandbox, ask: Callable[[str], str]) -> None:
        self.sandbox = sandbox
        self.ask = ask

    def checkpoint(self) -> Checkpoint:
        """Keep the state as it is now."""
        return self.sandbox.checkpoint()

    def rollback(self, checkpoint: Any) -> None:
        """Make the state as it was at `checkpoint`."""
        self.sandbox.rollback(checkpoint)

    def stream(self, code: str) -> Iterator[Observation]:
        """Ask, then execute."""
        yield Observation()  # so that all of the code is shown
        said = self.ask(QUESTION).strip()
        if said.lower() in _YES:
            yield from self.sandbox.stream(code)
            return
        reason = f"The user did not let this code run: {said}"
        trace = {"output_type": "error", "ename": "NotApproved", "evalue": reason, "traceback": [reason]}
        yield Observation([trace], CodeError("NotApproved", reason, [reason]))

    def rehearse(self, checkpoint: Any, cells: Sequence[str]) -> list[Observation]:
        """Execute again what the user has let pass before."""
        return self.sandbox.rehearse(checkpoint, cells)
