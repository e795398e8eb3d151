"""Our magics in a notebook on the sandboxed kernel."""

from __future__ import annotations

from typing import TYPE_CHECKING

from jupyter_codeagent.kernel.desk import NotebookDesk
from jupyter_codeagent.magic import AgentMagics, load
from jupyter_codeagent.models import get_model
from jupyter_codeagent.options import CodeAgent

if TYPE_CHECKING:
    from jupyter_codeagent.kernel.kernel import SandboxKernel


def load_magics(kernel: SandboxKernel) -> tuple[AgentMagics, NotebookDesk]:
    """Return the magics, and what they work with; they are called, never found by a cell's text."""
    desk = NotebookDesk(kernel, CodeAgent(parent=kernel.shell, memory=kernel.memory), get_model)
    return load(kernel.shell, desk), desk
