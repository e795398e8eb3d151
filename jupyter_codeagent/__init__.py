"""A coding agent for notebooks: every attempt is a visible cell in a sandboxed kernel that can undo."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from jupyter_codeagent.agent import Agent as Agent
    from jupyter_codeagent.api import data_agent as data_agent
    from jupyter_codeagent.api import solve as solve
    from jupyter_codeagent.minimise import minimise_notebook as minimise_notebook
    from jupyter_codeagent.models import ScriptedModel as ScriptedModel
    from jupyter_codeagent.models import get_model as get_model
    from jupyter_codeagent.sandbox import Candidate as Candidate
    from jupyter_codeagent.sandbox import Checkpoint as Checkpoint
    from jupyter_codeagent.sandbox import Sandbox as Sandbox
    from jupyter_codeagent.sandbox import SandboxPolicy as SandboxPolicy
    from jupyter_codeagent.sandbox.remote import RemoteSandbox as RemoteSandbox
    from jupyter_codeagent.saving import save_notebook as save_notebook
    from jupyter_codeagent.trajectory import Action as Action
    from jupyter_codeagent.trajectory import Attempt as Attempt
    from jupyter_codeagent.trajectory import Observation as Observation
    from jupyter_codeagent.trajectory import Trajectory as Trajectory
    from jupyter_codeagent.verify import verify_notebook as verify_notebook

__version__ = "0.1.0"

_HOMES = {
    "agent": ["Agent"],
    "api": ["solve", "data_agent"],
    "minimise": ["minimise_notebook"],
    "models": ["get_model", "ScriptedModel"],
    "saving": ["save_notebook"],
    "sandbox": ["Sandbox", "SandboxPolicy", "Checkpoint", "Candidate"],
    "sandbox.remote": ["RemoteSandbox"],
    "trajectory": ["Action", "Attempt", "Observation", "Trajectory"],
    "verify": ["verify_notebook"],
}
_HOME_OF = {name: module for module, names in _HOMES.items() for name in names}

__all__ = sorted([*_HOME_OF, "load_ipython_extension", "unload_ipython_extension"])


def __getattr__(name: str) -> Any:
    # Names are loaded when first asked for: importing the package must cost next to nothing.
    if name not in _HOME_OF:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOME_OF[name]}"), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *_HOME_OF})


def load_ipython_extension(shell: Any) -> None:
    """Register the magics; called by ``%load_ext jupyter_codeagent``."""
    if getattr(shell, "sandboxed", False):
        return  # in the sandbox there are stand-ins
    from jupyter_codeagent.magic import load

    load(shell)


def unload_ipython_extension(shell: Any) -> None:
    """Take the magics away again and close the sandbox; called by ``%unload_ext``."""
    if getattr(shell, "sandboxed", False):
        return
    from jupyter_codeagent.magic import unload

    unload(shell)


def _jupyter_server_extension_points() -> list[dict[str, Any]]:
    # called by Jupyter Server; nothing of it is imported before
    from jupyter_codeagent.routes import CodeAgentServer

    return [{"module": "jupyter_codeagent", "app": CodeAgentServer}]


def _jupyter_labextension_paths() -> list[dict[str, str]]:
    # called by the tools that link a checkout's built extension into an environment
    return [{"src": "labextension", "dest": "jupyter-codeagent-labextension"}]
