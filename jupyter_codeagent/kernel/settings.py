"""``%config CodeAgent``, of which nothing is evaluated."""

from __future__ import annotations

import ast
import re

from traitlets import TraitError

from jupyter_codeagent.errors import WrongUse
from jupyter_codeagent.options import CodeAgent


def configure(settings: CodeAgent, line: str) -> str:
    """Carry out ``CodeAgent.NAME = VALUE``, or return the value of one setting or of all.

    Raises
    ------
    WrongUse
        If there is no such setting, or the value is no literal, or not one for it.
    """
    names = sorted(settings.trait_names(config=True))
    match = re.fullmatch(r"CodeAgent(?:\.(\w+)(?:\s*=\s*(.+))?)?", line.strip())
    if match is None or (match[1] and match[1] not in names):
        raise WrongUse(f"Write %config CodeAgent.NAME = VALUE; the names are: {', '.join(names)}.")
    if match[2] is None:
        shown = [match[1]] if match[1] else names
        return "\n".join(f"CodeAgent.{name} = {getattr(settings, name)!r}" for name in shown)
    try:
        setattr(settings, match[1], ast.literal_eval(match[2]))
    except (ValueError, SyntaxError, RecursionError, MemoryError, TraitError):
        raise WrongUse(f"CodeAgent.{match[1]} cannot be {match[2][:60]!r}.") from None
    return ""
