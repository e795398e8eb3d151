"""Input files of a notebook: how they were, and whether they still are so."""

from __future__ import annotations

import hashlib
import os
import stat
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

from jupyter_codeagent.tabular import COLUMNS, Table, table_of
from jupyter_codeagent.trajectory import Input

MOST = 1000  # inputs of a record that are looked at
NAMED = 10  # columns that a sentence names


@dataclass(frozen=True)
class State:
    """An input file now, against what was recorded.

    Parameters
    ----------
    name : str
        As the record has it, relative to the notebook's folder.
    state : str
        "same", "changed" or "missing".
    detail : str
        One sentence.
    """

    name: str
    state: str
    detail: str


def input_of(name: str, folder: Path) -> Input:
    """Return the file `name` of `folder` as an input, with its columns and rows if it is a table that can be read.

    Raises
    ------
    OSError
        If it cannot be read or is no regular file.
    """
    with _opened(folder / name) as file:
        size, digest = os.fstat(file.fileno()).st_size, _digest(file)
    table = table_of(folder / name) or Table(None, ())
    return Input(name, size, digest, table.rows, table.columns)


def entry(given: Input) -> dict[str, Any]:
    """Return what a record says of an input.

    Returns
    -------
    dict
        ``name``, ``size`` in bytes, ``blake2b`` (16 bytes, hexadecimal), and of a table ``columns``, the type of each
        by name, and ``rows`` where they were counted.
    """
    told: dict[str, Any] = {"name": _sendable(given.name), "size": given.size, "blake2b": given.digest}
    if given.rows is not None:
        told["rows"] = given.rows
    if columns := [pair for pair in given.columns[:COLUMNS] if len(pair) == 2]:
        told["columns"] = {_sendable(name): _sendable(kind) for name, kind in columns}
    return told


def _sendable(text: str) -> str:
    return text.encode("utf-8", "replace").decode()


def states(record: object, folder: Path) -> tuple[State, ...]:
    """Return how each recorded input file is now.

    Parameters
    ----------
    record : object
        What stands under our key in a notebook's metadata. It may be anything: names that lead out of the folder are
        not looked at, and what is no entry of a file is left out.
    folder : Path
        The notebook's folder.
    """
    listed = record.get("inputs") if isinstance(record, dict) else None
    given = listed[:MOST] if isinstance(listed, list) else []
    root = folder.resolve()
    return tuple(_state(each, root) for each in given if isinstance(each, dict) and _below(each.get("name")))


def _below(name: object) -> bool:
    if not isinstance(name, str) or not 0 < len(name) <= 1000 or "\0" in name:
        return False
    return not PurePosixPath(name).is_absolute() and ".." not in PurePosixPath(name).parts


def _state(before: Mapping[str, Any], folder: Path) -> State:
    name = before["name"]
    path, said = folder / name, shown(name)
    try:
        if not path.resolve().is_relative_to(folder):
            return State(
                name, "missing", f"The input {said} is a link that leads out of the folder: copy the file there."
            )
        now = _looked_at(name, folder, before)
    except (FileNotFoundError, NotADirectoryError):
        return State(name, "missing", f"The input {said} is missing: put it where it was, relative to the notebook.")
    except (OSError, RuntimeError) as error:  # a RuntimeError: links that lead in a circle
        reason = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
        return State(name, "missing", f"The input {said} cannot be read: {reason}.")
    if now is None:
        return State(name, "same", f"The input {said} is as it was recorded.")
    how = "; ".join(_how(before, now))
    return State(name, "changed", f"The input {said} has changed since it was recorded: {how}.")


def _looked_at(name: str, folder: Path, before: Mapping[str, Any]) -> dict[str, Any] | None:
    """Return how a file is now, or None where it is as recorded."""
    size = before.get("size")
    with _opened(folder / name) as file:
        now = os.fstat(file.fileno()).st_size
        if type(size) is int and now == size and _digest(file) == before.get("blake2b"):
            return None
    return entry(input_of(name, folder))


def _opened(path: Path) -> Any:
    # without O_NONBLOCK, opening a pipe would wait for its other end
    file = os.fdopen(os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC), "rb")
    if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
        file.close()
        raise OSError("it is no regular file")
    return file


def _digest(file: Any) -> str:
    return hashlib.file_digest(file, lambda: hashlib.blake2b(digest_size=16)).hexdigest()


def _how(before: Mapping[str, Any], now: Mapping[str, Any]) -> list[str]:
    """Return in what a file differs, in words."""
    found = []
    for what, noun in (("size", "byte"), ("rows", "row")):
        was, is_now = before.get(what), now.get(what)
        if type(was) is int and type(is_now) is int and was != is_now:
            found.append(f"it had {was:,} {noun}{'' if was == 1 else 's'} and has {is_now:,}")
    return (found + _columns_differ(before.get("columns"), now.get("columns"))) or ["its content is another"]


def _columns_differ(before: object, now: object) -> list[str]:
    if not isinstance(before, dict) or not isinstance(now, dict) or len(before) > COLUMNS:
        return []
    removed, added = [name for name in before if name not in now], [name for name in now if name not in before]
    found = [f"columns {verb}: {_listed(names)}" for verb, names in (("removed", removed), ("added", added)) if names]
    changed = [n for n in before if n in now and isinstance(before[n], str) and before[n] != now[n]]
    found += [f"column {shown(n)} was {shown(before[n])} and is {now[n]}" for n in changed[:NAMED]]
    return found


def _listed(names: list[str]) -> str:
    more = f" and {len(names) - NAMED} more" if len(names) > NAMED else ""
    return ", ".join(map(shown, names[:NAMED])) + more


def shown(name: str) -> str:
    """Return a name as it may stand in a sentence: short, in one line, nothing in it that steers a terminal."""
    text = name if len(name) <= 80 else name[:77] + "..."
    return text if text.isprintable() and text.strip() == text and text else repr(text)
