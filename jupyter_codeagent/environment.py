"""Which Python and which packages a notebook's code needs, read from its imports."""

from __future__ import annotations

import ast
import platform
import sys
from collections.abc import Iterable
from importlib import metadata

from jupyter_codeagent.source import parsed


def packages_of(cells: Iterable[str]) -> dict[str, str]:
    """Return the versions of Python and of the installed packages that `cells` import, by name.

    Parameters
    ----------
    cells : iterable of str
        Source of code cells. One that is not plain Python (a cell magic) counts for nothing.
    """
    found = {"python": platform.python_version()}
    roots = sorted({root for cell in cells for root in _roots(cell)} - set(sys.stdlib_module_names))
    owners = metadata.packages_distributions() if roots else {}
    for root in roots:
        for name in owners.get(root, [])[:1]:
            found[name] = metadata.version(name)
    return found


def _roots(cell: str) -> set[str]:
    # lines for IPython alone are left out: what they need is not said by an import
    lines = ["pass" if line.lstrip().startswith(("%", "!")) else line for line in cell.splitlines()]
    tree = parsed("\n".join(lines))
    roots = set()
    for node in ast.walk(tree) if tree else ():
        if isinstance(node, ast.Import):
            roots |= {alias.name.partition(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            roots.add(node.module.partition(".")[0])
    return roots
