"""Taking variables along as they are now, for a task that is worked on while they may change."""

from __future__ import annotations

import time
import types
from collections.abc import Collection, Mapping, Sequence
from typing import Any

from jupyter_codeagent.errors import NotPlainData
from jupyter_codeagent.keys import Keys
from jupyter_codeagent.packed import OverBudget, Shelf, pack
from jupyter_codeagent.taken import Taken
from jupyter_codeagent.variables import check_plain, limits, literal, told

MOST_BYTES = 512 * 2**20  # of all variables together
MOST_SECONDS = 5.0  # for copying all of them
NO_ROOM = f"it did not fit into what is taken along at the start ({MOST_BYTES // 2**20} MB, {MOST_SECONDS:g} s)"


def take(
    variables: Mapping[str, Any], named: Sequence[str], asked: Collection[str], keys: Keys, shelf: Shelf | None = None
) -> tuple[dict[str, Any], list[str]]:
    """Copy variables within the budget; returns them by name, and the names of those that did not fit.

    Functions and classes come as they are, since their source is all that is used. What must stay for another reason
    comes with that reason.

    Parameters
    ----------
    variables : mapping
        The user's variables.
    named : sequence of str
        Those that go first; then follow the newest.
    asked : collection of str
        Those that need not be plain data.
    keys : Keys
        Recognises what must stay.
    shelf : Shelf, optional
        Has copies of variables that may not have changed, and gets those that are made.
    """
    room, deadline = MOST_BYTES, time.monotonic() + MOST_SECONDS
    taken: dict[str, Any] = {}
    left_out = []
    for name in dict.fromkeys([*named, *reversed(list(variables))]):
        value = variables[name]
        if isinstance(value, types.FunctionType | type):
            taken[name] = value
            continue
        seconds = deadline - time.monotonic()
        try:
            if keys.named(name, value):
                raise NotPlainData(name, "it looks like a key")
            if seconds <= 0:
                raise OverBudget(name, "no time was left")
            if name not in asked:
                check_plain(name, value, seconds)
            packed = pack(name, value, limits(keys, room, seconds), shelf)
            taken[name] = Taken(told(value), "", literal(value), packed)
            room -= packed.size
        except OverBudget:
            left_out.append(name)
            taken[name] = Taken(told(value), refused=NO_ROOM)
        except NotPlainData as error:
            taken[name] = Taken(told(value), refused=error.reason)
    return taken, left_out
