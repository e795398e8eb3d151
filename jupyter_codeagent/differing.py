"""Changes of files as text for a person: unified differences, notebooks cell by cell, others by size and hash."""

from __future__ import annotations

import difflib
import hashlib
import json
import os
from collections.abc import Iterator, Sequence
from typing import Any

from jupyter_codeagent.render import outspoken
from jupyter_codeagent.sandbox import tree
from jupyter_codeagent.sandbox.changes import Change

TEXT = 2**20  # bytes of a file that is compared line by line
LINES = 5000  # of both files together; comparing takes the square of it
SHOWN = 100_000  # characters


def difference(change: Change, folder: str) -> str:
    """Return what a change does to the file in `folder`, as text in which every character can be seen."""
    if change.kind == "special":
        return f"{change.special}: it is not applied."
    old, new = _old(change, folder), change.data(TEXT) if change.kind != "deleted" else b""
    if old is None or new is None:
        return _sizes(change, folder)
    before, after = _text(old), _text(new)
    if before is None or after is None:
        return _sizes(change, folder)
    if change.path.endswith(".ipynb"):
        cells = _cells(before, after)
        if cells is not None:
            return _cut("\n".join(cells) or "Only outputs and metadata differ.")
    return _cut("\n".join(_unified(before, after)) or "Only the ends of lines differ.")


def _old(change: Change, folder: str) -> bytes | None:
    """Return what the user's file holds; None if that is too much, or is no file."""
    if change.old is None:
        return b""
    try:
        root = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            with os.fdopen(tree.open_file(root, change.path), "rb") as file:
                data = file.read(TEXT + 1)
        finally:
            os.close(root)
    except OSError:
        return None
    return data if len(data) <= TEXT else None


def _text(data: bytes) -> str | None:
    if b"\0" in data:
        return None
    try:
        return data.decode("utf-8")
    except UnicodeDecodeError:
        return None


def _unified(before: str, after: str) -> Iterator[str]:
    one, other = _lines(before), _lines(after)
    if len(one) + len(other) > LINES:
        yield f"{len(one):,} lines become {len(other):,}; that is too much to be compared."
        return
    for number, line in enumerate(difflib.unified_diff(one, other, n=3)):
        if number > 1:  # the first two name the files
            yield outspoken(line.removesuffix("\n"))
            if not line.endswith("\n"):
                yield "\\ No newline at end of file"


def _lines(text: str) -> list[str]:
    """Return the lines with their ends, of which the last may have none; only a line feed is an end."""
    *lines, last = text.split("\n")
    return [*(f"{line}\n" for line in lines), *([last] if last else [])]


def _cells(before: str, after: str) -> list[str] | None:
    """Return the differences of two notebooks' cells; None if one of them is none."""
    old, new = _sources(before), _sources(after)
    if old is None or new is None:
        return None
    lines: list[str] = []
    for identity in [*new, *(i for i in old if i not in new)]:
        one, other = old.get(identity), new.get(identity)
        if one != other:
            word = "added" if one is None else "deleted" if other is None else ""
            lines.append(f"@@ cell {outspoken(identity)} {word}".rstrip() + " @@")
            pair = (f"{source}\n" if source else "" for source in (one, other))
            lines += [line for line in _unified(*pair) if not line.startswith("@@")]
    order = [i for i in new if i in old], [i for i in old if i in new]
    return [*lines, *(["@@ the order of cells differs @@"] if order[0] != order[1] else [])]


def _sources(text: str) -> dict[str, str] | None:
    """Return the kinds and sources of a notebook's cells by their ids; those without are numbered."""
    if not text:
        return {}
    try:
        cells = json.loads(text)["cells"]
        return {str(cell.get("id") or number): _source(cell) for number, cell in enumerate(cells, 1)}
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError):
        return None


def _source(cell: Any) -> str:
    source = cell.get("source", "")
    text = "".join(map(str, source)) if isinstance(source, list) else str(source)
    return text if cell.get("cell_type") == "code" else f"[{cell.get('cell_type')}]\n{text}"


def _sizes(change: Change, folder: str) -> str:
    new = f"{change.size:,} bytes, blake2b {change.digest}" if change.kind != "deleted" else "deleted"
    old = f"{change.old_size:,} bytes{_old_digest(change, folder)}, " if change.old is not None else ""
    return f"{old}now {new}" if old else new


def _old_digest(change: Change, folder: str) -> str:
    found = hashlib.blake2b(digest_size=16)
    try:
        root = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            with os.fdopen(tree.open_file(root, change.path), "rb") as file:
                while data := file.read(tree.PIECE):
                    found.update(data)
        finally:
            os.close(root)
    except OSError:
        return ""
    return f", blake2b {found.hexdigest()}"


def _cut(text: str) -> str:
    return text if len(text) <= SHOWN else f"{text[:SHOWN]}\n... {len(text) - SHOWN:,} characters left out ..."


def summary(changes: Sequence[Change]) -> str:
    """Return in a few words how many files of which kind there are."""
    kinds = [change.kind for change in changes]
    parts = [f"{kinds.count(kind)} {kind}" for kind in ("added", "changed", "deleted", "special") if kind in kinds]
    return ", ".join(parts) or "nothing"
