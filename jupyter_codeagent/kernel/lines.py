"""Which cells are for the trusted side of the kernel, and which go into the sandbox."""

from __future__ import annotations

import re
from dataclasses import dataclass

_CELL = re.compile(r"%%(agent|attempt)(?:[ \t]+(.*))?")
_LINE = re.compile(
    r"%(?:(agent|undo)(?:[ \t]+(.*))?|(load_ext|reload_ext)[ \t]+jupyter_codeagent|(config)[ \t]+(CodeAgent\b.*))"
)


@dataclass(frozen=True)
class Command:
    """One magic that is ours.

    Parameters
    ----------
    name : str
        ``agent``, ``attempt``, ``undo``, ``load_ext`` or ``config``.
    line : str
        What follows in its line, as it stands there.
    body : str or None
        The lines below, of a cell magic.
    """

    name: str
    line: str = ""
    body: str | None = None


def commands(code: str) -> list[Command]:
    """Return the magics of ours that a cell consists of; empty where anything else is in it.

    The text is only compared: nothing in it is expanded or evaluated.
    """
    lines = code.split("\n")
    while lines and not lines[0].strip():
        del lines[0]
    if lines and (found := _CELL.fullmatch(lines[0].rstrip())):
        return [Command(found[1], found[2] or "", "\n".join(lines[1:]))]
    wanted = [text.strip() for text in lines if text.strip() and not text.lstrip().startswith("#")]
    matches = [_LINE.fullmatch(text) for text in wanted]
    known = [match for match in matches if match is not None]
    return [_command(match) for match in known] if len(known) == len(matches) else []


def _command(match: re.Match[str]) -> Command:
    if match[1]:
        return Command(match[1], match[2] or "")
    return Command("config", match[5]) if match[4] else Command("load_ext")
