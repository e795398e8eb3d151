"""Ask the user before code is executed: a sandbox around the sandbox."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterator, Sequence
from typing import Any

from jupyter_codeagent.agent import Sandbox
from jupyter_codeagent.candidates import Candidate, Checkpoint
from jupyter_codeagent.trajectory import CodeError, Observation, Undone

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

    def rollback(self, checkpoint: Any) -> Undone | None:
        """Make the state as it was at `checkpoint`."""
        return self.sandbox.rollback(checkpoint)

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

    def try_out(
        self, checkpoint: Any, codes: Sequence[str]
    ) -> Generator[list[tuple[Observation, bool]], None, Sequence[Candidate]]:
        """Ask about each, then execute them; in place of one that did not pass stands an error."""
        yield [(Observation(), False) for _ in codes]
        passed = [self._asked(number, len(codes), code) for number, code in enumerate(codes, 1)]
        return (yield from self.sandbox.try_out(checkpoint, passed))

    def _asked(self, number: int, count: int, code: str) -> str:
        said = self.ask(f"Candidate {number} of {count}:\n\n{code}\n\n{QUESTION}").strip()
        if said.lower() in _YES:
            return code
        reason = f"The user did not let this code run: {said}"
        return f"raise type('NotApproved', (Exception,), {{}})({reason!r})"

    def rehearse(self, checkpoint: Any, cells: Sequence[str]) -> list[Observation]:
        """Execute again what the user has let pass before."""
        return self.sandbox.rehearse(checkpoint, cells)
