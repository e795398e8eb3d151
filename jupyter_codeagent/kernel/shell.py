"""The IPython shell of the kernel's trusted side: it displays, keeps the history, and executes nothing."""

from __future__ import annotations

from typing import Any, NoReturn

from ipykernel.zmqshell import ZMQInteractiveShell


class Refused(RuntimeError):
    """Something would have been executed outside the sandbox."""


def _refuse(*_: Any, **__: Any) -> NoReturn:
    raise Refused("This kernel executes code in its sandbox only.")


async def _refuse_later(*_: Any, **__: Any) -> NoReturn:
    _refuse()


class Shell(ZMQInteractiveShell):
    """A shell all of whose ways to execute or to expand text are shut."""

    run_cell = run_code = run_ast_nodes = run_line_magic = run_cell_magic = _refuse
    ex = ev = safe_execfile = safe_execfile_ipy = safe_run_module = transform_cell = var_expand = _refuse
    system = system_raw = system_piped = getoutput = user_expressions = object_inspect_mime = complete = _refuse
    run_cell_async = run_code_async = _refuse_later
