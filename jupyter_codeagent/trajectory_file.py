"""A trajectory's file: JSON lines, of which each is whole before the next is written. Plain data only.

The first line holds the task and its setting, then each attempt and each answer has a line, in the order in which they
came about, and the last line says how the task ended::

    {"format": "jupyter_codeagent.trajectory", "version": 2, "task": ..., "checks": [...], "limit": 5, ...}
    {"attempt": {"number": 1, "action": {...}, "observation": {...}, ...}}
    {"answer": {"action": {...}, "verdicts": [...], "after": 1}}
    {"end": {"status": "solved", "stopped": false, "failure": null, "duration": 3.1, "spent": {...}}}

An attempt that has changed since (the user accepted it) has a further line, with ``"again"``: which one it is, from 0
on. Whoever writes may be killed at any byte: a last line that is torn does not count.

Version 1 is a single JSON object, as `Trajectory.to_dict` gives it, or one that holds that under ``"trajectory"``.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from jupyter_codeagent.errors import TrajectoryError

FORMAT = "jupyter_codeagent.trajectory"
VERSION = 2
MOST_BYTES = 128 * 2**20  # of a file
MOST_LINES = 20_000

_ENTRIES = ("attempts", "answers")
_ENDING = ("stopped", "failure", "duration", "spent", "environment", "modules", "reads", "locale")


@dataclass(frozen=True)
class Stored:
    """What a file holds.

    Parameters
    ----------
    data : dict
        As `Trajectory.to_dict` returns it; nothing in it is checked but the frame.
    ended : bool
        The file says how the task ended.
    torn : str
        A sentence, where the last line was cut off; it is left out.
    """

    data: dict[str, Any]
    ended: bool = True
    torn: str = ""


def head_line(data: dict[str, Any]) -> bytes:
    """Return the first line; `data` as `Trajectory.to_dict` returns it, with or without the rest."""
    setting = {name: value for name, value in data.items() if name not in (*_ENTRIES, *_ENDING)}
    return _line({"format": FORMAT, **setting, "version": VERSION})


def entry_line(kind: str, entry: dict[str, Any], **more: Any) -> bytes:
    """Return the line of an attempt or an answer (`kind`); `more`: ``again``, ``spent``."""
    return _line({kind: entry, **more})


def end_line(data: dict[str, Any], status: str, **changed: Any) -> bytes:
    """Return the last line; `changed` is what of the setting is not as the first line says."""
    return _line({"end": {"status": status, **{name: data[name] for name in _ENDING if name in data}, **changed}})


def _line(data: dict[str, Any]) -> bytes:
    return json.dumps(data, ensure_ascii=True).encode() + b"\n"


def lines_of(data: dict[str, Any], status: str) -> Iterator[bytes]:
    """Yield all lines of a trajectory that is not written any more."""
    yield head_line(data)
    answers = list(data["answers"])
    for count, attempt in enumerate(data["attempts"]):
        while answers and answers[0]["after"] <= count:
            yield entry_line("answer", answers.pop(0))
        yield entry_line("attempt", attempt)
    for answer in answers:
        yield entry_line("answer", answer)
    yield end_line(data, status)


def read(path: Path) -> Stored:
    """Return what a file of version 1 or 2 holds.

    Raises
    ------
    TrajectoryError
        If there is no such file, it is too long, or it is no trajectory; the sentence says where.
    """
    content = _content(path)
    first, _, rest = content.partition(b"\n")
    head = _parsed(first)
    if isinstance(head, dict) and "format" in head:
        return _lines(head, rest, str(path))
    return _object(_parsed(content), str(path))


def _content(path: Path) -> bytes:
    try:
        if not path.is_file():
            what = "is no file" if path.exists() else "is not there"
            raise TrajectoryError(f"{str(path)!r} {what}; give the file of a trajectory.")
        with path.open("rb") as file:
            content = file.read(MOST_BYTES + 1)
    except (OSError, ValueError) as error:  # a name with a NUL is a ValueError
        if isinstance(error, TrajectoryError):
            raise
        raise TrajectoryError(f"{str(path)!r} cannot be read: {getattr(error, 'strerror', None) or error}.") from None
    if len(content) > MOST_BYTES:
        raise TrajectoryError(f"{str(path)!r} is longer than {MOST_BYTES // 2**20} MB, which no trajectory is.")
    if content.count(b"\n") > MOST_LINES:
        raise TrajectoryError(f"{str(path)!r} has more than {MOST_LINES:,} lines, which no trajectory has.")
    return content


def _parsed(text: bytes) -> Any:
    """Return what `text` holds as JSON; None where it is none."""
    try:
        return json.loads(text)
    except (ValueError, RecursionError):  # text that is no UTF-8 is a ValueError too
        return None


def _object(found: Any, name: str) -> Stored:
    """Read version 1."""
    if isinstance(found, dict) and isinstance(found.get("trajectory"), dict):
        found = found["trajectory"]
    if not isinstance(found, dict) or "task" not in found:
        raise TrajectoryError(f"{name!r} is no trajectory: its first line does not say so, and it is no JSON object.")
    if found.get("version") != 1:
        raise TrajectoryError(_other(name, found.get("version")))
    return Stored(found)


def _other(name: str, version: object) -> str:
    if type(version) is int and version > VERSION:
        return (
            f"{name!r} has version {version} of a trajectory's file, and this release reads 1 and 2; "
            "update jupyter_codeagent."
        )
    return f"{name!r} says that it has version {str(version)[:40]!r} of a trajectory's file; there are 1 and 2."


def _lines(head: dict[str, Any], rest: bytes, name: str) -> Stored:
    """Read version 2."""
    if head["format"] != FORMAT:
        raise TrajectoryError(f"{name!r} is no trajectory: its format is {str(head['format'])[:60]!r}.")
    if head.get("version") != VERSION:
        raise TrajectoryError(_other(name, head.get("version")))
    data = {**head, "version": 1, "attempts": [], "answers": []}
    del data["format"]
    ended, lines = False, rest.split(b"\n")
    last = lines.pop()  # what follows the last line break: nothing, or a line that was cut off
    for number, line in enumerate(lines, 2):
        entry = _parsed(line)
        if not isinstance(entry, dict) or not _taken(entry, data):
            raise TrajectoryError(f"Line {number} of {name!r} is no part of a trajectory; the lines above it are.")
        ended = "end" in entry
    torn = f"The last line of {name!r} was cut off while it was written, and is left out." if last else ""
    return Stored(data, ended, torn)


def _taken(entry: dict[str, Any], data: dict[str, Any]) -> bool:
    """Add a line to the data; False where it is none that we know."""
    if isinstance(spent := entry.get("spent"), dict):
        data["spent"] = spent
    if isinstance(end := entry.get("end"), dict):
        data.update({key: value for key, value in end.items() if key not in ("version", "status", *_ENTRIES)})
        return True
    for kind, known in (("attempt", data["attempts"]), ("answer", data["answers"])):
        if isinstance(found := entry.get(kind), dict):
            place = entry.get("again", len(known))
            if type(place) is not int or not 0 <= place <= len(known):
                return False
            known[place : place + 1] = [found]
            return True
    return False
