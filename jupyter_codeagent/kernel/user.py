"""What the trusted side knows of the notebook: its variables only as the gate lets them be told."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from jupyter_codeagent.errors import CodeAgentError
from jupyter_codeagent.options import CodeAgent
from jupyter_codeagent.sandbox import answers
from jupyter_codeagent.taken import Taken
from jupyter_codeagent.user import User

if TYPE_CHECKING:
    from jupyter_codeagent.kernel.kernel import SandboxKernel


class NotebookUser(User):
    """The user of a notebook whose variables are in the sandbox.

    Parameters
    ----------
    kernel : SandboxKernel
        The notebook's.
    settings : CodeAgent
        As the user configured them.
    """

    def __init__(self, kernel: SandboxKernel, settings: CodeAgent) -> None:
        super().__init__(kernel.shell, settings)
        self.kernel, self.history = kernel, kernel.history
        self._known: dict[str, Any] = {}

    def variables(self) -> dict[str, Any]:
        """Return what stands for the notebook's variables; while a cell runs, as they were before it."""
        if self.kernel.turn.acquire(blocking=False):
            try:
                found = answers.variables(self.kernel.sandbox)
                self._known = {v.name: Taken(v.told, kind=v.kind, look=v.look) for v in found}
            except CodeAgentError:
                self._known = {}
            finally:
                self.kernel.turn.release()
        return self._known
