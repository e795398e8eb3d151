"""Two texts beside each other, line by line."""

from __future__ import annotations

import unicodedata
from collections.abc import Iterator
from difflib import SequenceMatcher

from jupyter_codeagent.render import seen

LINES = 60  # of each text that are shown: aligning takes a time that grows with the square
LINE = 300  # characters of a line


def aligned(old: str, new: str) -> list[tuple[str | None, str, str | None]]:
    """Return the lines of two texts in pairs: the old one, how they differ, the new one.

    How they differ is " " where they are the same, else "~" (both are there), "-" or "+" (the other is None).
    """
    before, after = _lines(old), _lines(new)
    rows: list[tuple[str | None, str, str | None]] = []
    for kind, a, b, c, d in SequenceMatcher(None, before, after, autojunk=False).get_opcodes():
        if kind == "equal":
            rows += [(line, " ", line) for line in before[a:b]]
        else:
            rows += _replaced(before[a:b], after[c:d])
    return rows


def _replaced(old: list[str], new: list[str]) -> Iterator[tuple[str | None, str, str | None]]:
    for number in range(max(len(old), len(new))):
        before = old[number] if number < len(old) else None
        after = new[number] if number < len(new) else None
        yield before, "-" if after is None else "+" if before is None else "~", after


def _lines(text: str) -> list[str]:
    lines = [_cut(line, LINE) for line in text.split("\n")] if text else []
    return lines if len(lines) <= LINES else [*lines[: LINES - 1], f"... {len(lines) - LINES + 1:,} more lines"]


def columns(old: str, new: str, width: int = 100) -> list[str]:
    """Return two texts in two columns of a terminal; `width` is that of both, in characters."""
    half = max(20, (width - 3) // 2)
    rows = aligned(old, new)
    lines = [f"{_fitted('in the file', half)}   in the fresh run", f"{'-' * half}   {'-' * half}"]
    lines += [f"{_fitted(a or '', half)} {mark} {_fitted(b or '', half)}".rstrip() for a, mark, b in rows]
    return lines


def _fitted(line: str, width: int) -> str:
    shown: list[str] = []
    used = 0
    for character in line.expandtabs(4):
        wide = _width(character)
        if used + wide > width:
            shown[-1:] = ["…"]  # of one column, in place of what has one or two
            break
        shown.append(character)
        used += wide
    text = "".join(shown)
    return text + " " * (width - sum(map(_width, text)))


def _width(character: str) -> int:
    if unicodedata.combining(character):
        return 0
    return 2 if unicodedata.east_asian_width(character) in "WF" else 1


def table(old: str, new: str) -> str:
    """Return two texts as the rows of an HTML table with two columns. Nothing in them is markup there."""
    rows = []
    for a, mark, b in aligned(old, new):
        cells = "".join(f"<td><pre>{seen(line or '')}</pre></td>" for line in (a, b))
        same = "" if mark != " " else ' class="jc-same"'
        rows.append(f"<tr{same}><td>{mark}</td>{cells}</tr>")
    return "".join(rows)


def _cut(line: str, most: int) -> str:
    return line if len(line) <= most else line[: most - 1] + "…"
