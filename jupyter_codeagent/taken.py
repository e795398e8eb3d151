"""A variable as it was at one moment."""

from __future__ import annotations

from dataclasses import dataclass

from jupyter_codeagent.packed import Packed


@dataclass(frozen=True)
class Taken:
    """A copy of a variable's value, which is unpickled in the sandbox only.

    Parameters
    ----------
    told : str
        What it is, in a few words.
    refused : str
        Why it has to stay, as the end of a sentence; then there is no copy.
    literal : str
        A Python literal, or an empty string where there is none.
    packed : Packed or None
        The copy.
    kind, look : str
        The name of its type, and the beginning of its text, of a variable that is in the sandbox only.
    """

    told: str
    refused: str = ""
    literal: str = ""
    packed: Packed | None = None
    kind: str = ""
    look: str = ""
