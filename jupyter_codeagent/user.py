"""What a kernel knows of its user: variables, cells, the working folder, the front end."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Any

from jupyter_codeagent.bridge.feed import Origin
from jupyter_codeagent.options import CodeAgent
from jupyter_codeagent.ran import History
from jupyter_codeagent.records import Place
from jupyter_codeagent.variables import of_user


class User:
    """The notebook's side of a kernel; nothing of it is ever changed here.

    Parameters
    ----------
    shell : InteractiveShell
        The user's.
    settings : CodeAgent
        As the user configured them.
    """

    def __init__(self, shell: Any, settings: CodeAgent) -> None:
        self.shell, self.settings = shell, settings
        self.history = History(shell)

    def variables(self) -> dict[str, Any]:
        """Return what the user defined in the notebook, as it is now."""
        namespace = dict(self.shell.user_ns)  # a copy, as a cell may run meanwhile
        own = dict(self.shell.user_ns_hidden)
        hidden = [n for n, value in own.items() if n in namespace and namespace[n] is value]
        return of_user(namespace, hidden)

    @property
    def folder(self) -> Path:
        """The working folder of the kernel."""
        return Path.cwd()

    @property
    def place(self) -> Place:
        """Where the current cell stands; the notebook's name where the front end tells it."""
        return Place(str(self.folder), Path(self._named).name)

    @property
    def _named(self) -> str:
        return os.environ.get("JPY_SESSION_NAME") or str(self.shell.user_ns.get("__vsc_ipynb_file__", ""))

    @property
    def notebook(self) -> Path | None:
        """The file of the notebook that is live in this kernel, where the front end tells it."""
        name = Path(self._named)
        found = [f for f in (self.folder / name, self.folder / name.name) if name.suffix == ".ipynb" and f.is_file()]
        return found[0] if found else None

    def cells(self) -> list[str]:
        """Return the cells run before the current one, oldest first, 40 at most."""
        history: list[str] = self.shell.history_manager.input_hist_raw
        return list(history[1:-1][-40:])

    def origin(self, source: str) -> Origin:
        """Return where the current cell, with this text, was run."""
        parent = self.shell.kernel.get_parent() if hasattr(self.shell, "kernel") else {}
        session = parent.get("header", {}).get("session", "")
        cell = (parent.get("metadata") or {}).get("cellId", "")
        return Origin(session, cell if isinstance(cell, str) else "", source)

    @property
    def attended(self) -> bool:
        """Somebody can be asked: the front end takes input for this cell, or this is a terminal."""
        kernel = getattr(self.shell, "kernel", None)
        if kernel is not None:
            return bool(kernel.get_parent().get("content", {}).get("allow_stdin"))
        return sys.stdin is not None and sys.stdin.isatty()

    @property
    def may_ask_model(self) -> bool:
        """A model may be called: a person runs this, or whoever started the run asked for it."""
        wanted = self.settings.unattended == "ask" or os.environ.get("JUPYTER_CODEAGENT_RUN") == "1"
        return wanted or self.attended
