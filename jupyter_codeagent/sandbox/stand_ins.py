"""Stand-ins inside the sandbox: for our magics, which are carried out outside, and for the kernel.

Loaded by the worker inside the sandbox; standard library and IPython only.
"""

from __future__ import annotations

from typing import Any

HELP = {
    "agent": """Solve a task (%%agent, with the task below), or manage tasks (%agent status, accept, discard, undo).

    It is carried out outside the sandbox: write it in a cell of its own. %%agent --help lists the options.
    """,
    "attempt": """Run an attempt that was not accepted (%%attempt TASK.N, with the code below).

    It is carried out outside the sandbox: write it in a cell of its own.
    """,
    "undo": """Take back the last cell, or the last N (%undo N), in a notebook on the sandboxed kernel.

    It is carried out outside the sandbox: write it in a cell of its own.
    """,
}
KINDS = {"agent": ("line", "cell"), "attempt": ("cell",), "undo": ("line",)}


class Targets:
    """Stands in for a kernel's comms: whoever registers a target finds that nobody ever opens one."""

    def register_target(self, name: str, callback: Any) -> None:
        """Do nothing; called by libraries of widgets."""

    def unregister_target(self, name: str, callback: Any) -> None:
        """Do nothing; called by libraries of widgets."""


class Kernel:
    """Stands in for the kernel that a notebook's shell has."""

    comm_manager = Targets()


def register(shell: Any) -> None:
    """Give a shell the stand-ins."""
    for name, kinds in KINDS.items():
        for kind in kinds:
            shell.register_magic_function(stand_in(name, "%%" if kind == "cell" else "%"), kind, name)


def stand_in(name: str, sign: str) -> Any:
    """Return a magic that says where it is carried out."""

    def magic(line: str, cell: str = "") -> None:
        from IPython.core.error import UsageError

        raise UsageError(f"{sign}{name} is carried out outside the sandbox; write it in a cell of its own.")

    magic.__doc__ = HELP[name]
    return magic
