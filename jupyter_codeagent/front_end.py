"""What a kernel knows of the front end that runs the current cell, and which view suits it."""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from jupyter_core.paths import jupyter_path

EXTENSION = "jupyter-codeagent-labextension"
Kind = Literal["terminal", "record", "widgets"]


@dataclass(frozen=True)
class FrontEnd:
    """Who shows the outputs of the current cell.

    Parameters
    ----------
    name : str
        ``jupyter`` (JupyterLab, Notebook), ``vscode``, ``colab``, or empty where that cannot be told.
    kernel : bool
        There is a kernel between; else this is IPython on a terminal.
    attended : bool
        It takes input, which nbclient and papermill do not.
    cells : bool
        Our extension is attached to this kernel, or will be: attempts are cells there.
    widgets : bool
        ipywidgets can be imported here.
    """

    name: str = ""
    kernel: bool = True
    attended: bool = True
    cells: bool = False
    widgets: bool = False


def find_front_end(shell: Any, attached: bool) -> FrontEnd:
    """Return the front end of the cell that `shell` runs now.

    Parameters
    ----------
    shell : InteractiveShell
        The user's.
    attached : bool
        Our extension has opened its comm to this kernel.
    """
    kernel = getattr(shell, "kernel", None)
    if kernel is None:
        return FrontEnd(kernel=False)
    request = kernel.get_parent()
    name = host(request, shell.user_ns, sys.modules)
    return FrontEnd(
        name=name,
        attended=bool(request.get("content", {}).get("allow_stdin")),
        cells=attached or (name == "jupyter" and installed(jupyter_path("labextensions"))),
        widgets=importlib.util.find_spec("ipywidgets") is not None,
    )


def host(request: Mapping[str, Any], names: Mapping[str, Any], modules: Mapping[str, Any]) -> str:
    """Return the name of the front end that sent an execute request, by what only that one sends or sets."""
    if "google.colab" in modules:
        return "colab"
    cell = str((request.get("metadata") or {}).get("cellId", ""))
    if cell.startswith("vscode-") or "__vsc_ipynb_file__" in names:
        return "vscode"
    return "jupyter" if cell else ""


def installed(folders: list[str]) -> bool:
    """Tell whether our extension is in one of the folders in which a Jupyter server looks for extensions."""
    return any((Path(folder) / EXTENSION / "package.json").exists() for folder in folders)


def choose_view(front: FrontEnd) -> Kind:
    """Return which view suits a front end.

    Returns
    -------
    str
        ``terminal``: text that is written once. ``widgets``: the record with buttons, where ipywidgets are sure to
        work and no extension of ours shows attempts as cells. ``record``: one output that is updated in place,
        everywhere else.
    """
    if not front.kernel:
        return "terminal"
    known = front.name in ("jupyter", "vscode", "colab")
    return "widgets" if known and front.attended and front.widgets and not front.cells else "record"
