"""What can be said of code without executing it."""

from __future__ import annotations

import ast
import warnings


def parsed(code: str) -> ast.Module | None:
    """Return the tree of `code`, or None where it is not plain Python: broken, or with magics."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # such as of '\$'; where the code is executed, they are shown
            return ast.parse(code)
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return None


def sameness(code: str) -> str:
    """Return what two codes share that differ only in comments and layout."""
    try:
        if (tree := parsed(code)) is not None:
            return ast.dump(tree)
    except RecursionError:  # a tree can be deeper than what walks it
        pass
    lines = (line.strip() for line in code.splitlines())
    return "\n".join(line for line in lines if line and not line.startswith("#"))
