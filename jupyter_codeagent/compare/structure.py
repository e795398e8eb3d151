"""HTML, JSON and SVG compared by what they say, not by how it is written."""

from __future__ import annotations

import html
import re
from typing import Any

from jupyter_codeagent.compare.numbers import Tolerance
from jupyter_codeagent.compare.text import alike, normal

_PIECE = re.compile(r"<(/?)([a-z][a-z0-9]*)[^>]*>|[^<]+|<")
_ID = re.compile(r"(\bid=[\"']|\bhref=[\"']#|url\([\"']?#)([^\"'()\s<>]{1,500})")
_UNSEEN = re.compile(r"<dc:date>[^<]{0,100}</dc:date>|<!--[^<>]{0,2000}-->|<\?[^<>]{0,500}>")
_WIDGET = "application/vnd.jupyter.widget-view+json"  # names a model by a number that is new in each run
_TEXT_TAGS = {"b", "i", "em", "strong", "span", "small", "s", "u", "code", "sub", "sup", "br"}


def compare_markup(old: str, new: str, tolerance: Tolerance) -> str:
    """Return a sentence on where two documents differ, as the gate has rebuilt them; empty where they do not.

    Texts are compared one by one, those of a table's cells by row and column. Of tags it counts that they are there.
    """
    if old == new:
        return ""
    before, after = _pieces(old), _pieces(new)
    place = _Place()
    for a, b in zip(before, after, strict=False):
        if a != b and (a[0] or b[0] or not _same_text(a[1], b[1], tolerance)):
            return f"{place} was {_said(a)} and is now {_said(b)}."
        place.follow(a)
    if len(before) == len(after):
        return ""
    longer, more = (before, "fewer") if len(before) > len(after) else (after, "more")
    rows = sum(1 for tag, _ in longer[min(len(before), len(after)) :] if tag == "tr")
    return f"the table has {rows:,} {more} row{'' if rows == 1 else 's'}." if rows else f"the page has {more} elements."


def _same_text(old: str, new: str, tolerance: Tolerance) -> bool:
    return alike(normal(old, tolerance.timings), normal(new, tolerance.timings), tolerance)


def _pieces(text: str) -> list[tuple[str, str]]:
    """Return the opening and closing tags (by name) and the texts (with an empty name) of a document."""
    found: list[tuple[str, str]] = []
    for match in _PIECE.finditer(text):
        closing, name = match[1], match[2]
        if name in _TEXT_TAGS:
            continue
        if name:
            found.append((closing + name, ""))
        elif said := " ".join(html.unescape(match[0]).split()):
            found.append(("", said))
    return found


class _Place:
    """Where in a document one is: in words."""

    def __init__(self) -> None:
        self.row = self.column = self.depth = 0
        self.names: list[str] = []

    def follow(self, piece: tuple[str, str]) -> None:
        tag, text = piece
        self.depth += (tag == "table") - (tag == "/table")
        if tag in ("table", "tr"):
            self.row, self.column = 0 if tag == "table" else self.row + 1, 0
        elif tag in ("td", "th"):
            self.column += 1
        elif text and self.row == 1:
            self.names += [""] * (self.column - len(self.names) - 1) + [text[:40]]

    def __str__(self) -> str:
        if self.depth < 1 or not self.row:
            return "a text of the page"
        name = self.names[self.column - 1] if 0 < self.column <= len(self.names) and self.row > 1 else ""
        return f"row {self.row}, column {repr(name) if name else self.column} of the table"


def _said(piece: tuple[str, str]) -> str:
    tag, text = piece
    return f"<{tag}>" if tag else repr(text if len(text) <= 80 else text[:77] + "...")


def drawing(text: str) -> str:
    """Return an SVG drawing as text, without the date it was made at and with its ids counted in their order."""
    names: dict[str, str] = {}
    counted = _ID.sub(lambda m: m[1] + names.setdefault(m[2], f"id-{len(names)}"), _UNSEEN.sub("", text))
    return normal(counted)


def vanished(mime: str) -> bool:
    """Tell whether a representation names something that ends with its kernel, so that it is new in each run."""
    return mime == _WIDGET


def compare_json(old: Any, new: Any, tolerance: Tolerance) -> str:
    """Return a sentence on where two values of JSON differ; empty where they do not. They may be nested without end."""
    left: list[tuple[str, Any, Any]] = [("", old, new)]
    while left:
        place, a, b = left.pop()
        if isinstance(a, dict) and isinstance(b, dict):
            if set(a) != set(b):
                return f"{place or 'it'} has other members."
            left += [(f"{place}.{name}"[-100:], a[name], b[name]) for name in reversed(list(a))]
        elif isinstance(a, list | tuple) and isinstance(b, list | tuple):
            if len(a) != len(b):
                return f"{place or 'it'} had {len(a):,} items and has now {len(b):,}."
            left += [(f"{place}[{n}]"[-100:], a[n], b[n]) for n in range(len(a) - 1, -1, -1)]
        elif not _same_value(a, b, tolerance):
            return f"{place or 'it'} was {_shown(a)} and is now {_shown(b)}."
    return ""


def _same_value(old: Any, new: Any, tolerance: Tolerance) -> bool:
    if isinstance(old, str) and isinstance(new, str):
        return old == new or alike(normal(old), normal(new), tolerance)
    if isinstance(old, bool) or isinstance(new, bool) or not (_is_number(old) and _is_number(new)):
        return type(old) is type(new) and (not isinstance(old, bool) or old == new)
    if isinstance(old, int) and isinstance(new, int):
        return old == new
    try:
        return tolerance.close(float(old), float(new))
    except OverflowError:
        return bool(old == new)


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float)


def _shown(value: Any) -> str:
    if isinstance(value, dict | list | tuple):
        return "an object" if isinstance(value, dict) else "a list"
    try:
        text = repr(value)
    except ValueError:  # a whole number with too many digits
        return "a number"
    return text if len(text) <= 80 else text[:77] + "..."
