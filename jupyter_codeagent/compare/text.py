"""Texts compared after taking out what may differ between honest runs. Time grows with their length only."""

from __future__ import annotations

import re
from itertools import takewhile, zip_longest
from typing import Any

from jupyter_codeagent.compare.numbers import NUMBER, Tolerance, same_numbers
from jupyter_codeagent.stamp import settled
from jupyter_codeagent.trajectory import plain

EXCERPT = 2000  # characters that are kept of a text for showing it
_BEFORE = 3  # lines that are shown above the first difference
_SHORT = 80  # characters of a line that are named

_FIGURE, _FRACTION = r"\d{1,20}(?:\.\d{1,20})?", r"\d{1,20}\.\d{1,20}"
_NEAR = r"\b[^\w\n]{0,3}"
# Every repetition is bounded, or ends at the first character that does not fit: none is tried twice.
_NOT_COUNTED = [
    (re.compile(r"(?<=\bat )0x[0-9a-fA-F]{4,16}\b|\b0x[5-7][0-9a-fA-F]{11}\b"), "<address>"),
    (re.compile(r"(?<=started )(?:daemon )?[0-9]{6,20}\b"), "<address>"),
    # a progress bar as tqdm draws it: what is done of how much stays
    (re.compile(r"\|[^|\n]{0,300}\| {0,3}([0-9.,kMGTP?]{1,20}/[0-9.,kMGTP?]{1,20})? {0,3}\[[^\]\n]{0,120}\]"), r" \1"),
    (re.compile(rf"(?i)\b(?:memory(?: usage)?|rss|increment){_NEAR}{_FRACTION} ?(?:[kmgt]i?)?b\b"), "<memory>"),
    (re.compile(r"\B/tmp/ipykernel_\d{1,10}/\d{1,20}\.py|<ipython-input-\d{1,9}-[0-9a-f]{1,40}>"), "<cell>"),
    (re.compile(r"/(?:(?:var/)?tmp|var/folders/[\w/+-]{1,80}/T)/tmp[a-z0-9_]{6,12}\b"), "<temporary>"),
]
# What looks like a timing, and may be data.
_TIMINGS = [
    (
        re.compile(
            r"\b\d{4}-\d\d-\d\d[T ]\d\d:\d\d:\d\d(?:[.,]\d{6}(?:\d{3})?|,\d{3})\b(?:Z|[-+]\d\d:?\d\d)?"
            r"|\b\d{1,2}:\d\d:\d\d[.,]\d{6}\b"
        ),
        "<moment>",
    ),
    # the lines of %time and %timeit
    (
        re.compile(
            r"(?m)^(?:CPU times|Wall time): .*$|^\d[\w. ]{0,30}(?:±|\+-) ?\d[\w. ]{0,30} per loop \(.*$"
            r"|^\d{1,12} loops?, best of \d{1,6}: .{1,40} per loop$"
        ),
        "<time>",
    ),
    (re.compile(rf"(?i)\b{_FIGURE} ?(?:(?:it|items|rows|steps|ops|[kmgt]?i?b|bytes)/s|s/it)\b"), "<rate>"),
    (re.compile(rf"\b{_FIGURE} ?(?:ns|µs|μs|us|ms)\b|\b{_FRACTION} ?(?:seconds|secs?)\b"), "<time>"),
    (re.compile(r"(?<![\w.])\d{1,5}\.\d{1,20} ?(?:s|min)\b"), "<time>"),
    # whole seconds, minutes and hours are data, but for where it is said that something took them
    (re.compile(rf"(?i)\b(?:in|time|after|duration|runtime){_NEAR}{_FRACTION} ?(?:s|min|minutes|hours)\b"), "<time>"),
    (
        re.compile(
            rf"(?i)\b(?:took|taken|elapsed|(?:done|finished|completed|ended|ran) in){_NEAR}"
            rf"(?:{_FIGURE} ?(?:s|secs?|seconds?|min|minutes?|h|hours?)\b|{_FRACTION})|\belapsed time{_NEAR}{_FRACTION}"
        ),
        "<time>",
    ),
    (re.compile(r"(?i)\bpid\b[^\w\n]{0,3}\d{1,10}\b"), "<process>"),
]
_CONTROLS = re.compile(r"[\x00-\x08\x0b-\x1f\x7f]")
_RULE = re.compile(r"([-=_─━═┄┈╌])\1+")  # the lines of a table are as long as its cells are wide
_BLANK = re.compile(r"\s+")


def joined(text: Any) -> str:
    """Return a text of a notebook, which may stand as a list of texts; what is none is empty."""
    if isinstance(text, list):
        return "".join(line for line in text if isinstance(line, str))
    return text if isinstance(text, str) else ""


def normal(text: str, timings: bool = True) -> str:
    """Return `text` without what may differ between two honest runs.

    These are colours, what a progress bar wrote over, memory addresses, figures of memory, temporary folders, spaces at
    the end of lines and empty lines around; with `timings` also what looks like one: timings, rates, moments with a
    fraction of a second, and process numbers.
    """
    # a progress bar writes over itself, and how often depends on the time it takes; what it leaves of a line is read
    lines = settled(plain(text).replace("\r\n", "\n")).split("\n")
    text = _CONTROLS.sub("", "\n".join(line.rstrip() for line in lines))
    for pattern, instead in [*_NOT_COUNTED, *(_TIMINGS if timings else ())]:
        text = pattern.sub(instead, text)
    return text.strip("\n")


def alike(old: str, new: str, tolerance: Tolerance) -> bool:
    """Tell whether two texts are the same but for their numbers, and these by value.

    Spaces count, unless a number is written with more digits in one of them and moves the rest.
    """
    if old == new:
        return True
    before, after = old.split("\n"), new.split("\n")
    if len(before) == len(after):
        if all(a == b or _same_line(a, b, tolerance) for a, b in zip(before, after, strict=True)):
            return True
        if all(_count(a) == _count(b) for a, b in zip(before, after, strict=True)):
            return False
    return _same_line(old, new, tolerance)  # lines may be broken elsewhere


def _count(line: str) -> int:
    return sum(1 for _ in NUMBER.finditer(line))


def _same_line(old: str, new: str, tolerance: Tolerance) -> bool:
    numbers, others = NUMBER.findall(old), NUMBER.findall(new)
    if numbers == others or not same_numbers(numbers, others, tolerance):
        return False
    return _without_numbers(old) == _without_numbers(new)


def _without_numbers(text: str) -> str:
    return _BLANK.sub("", _RULE.sub(r"\1", NUMBER.sub("\0", text)))


def first_difference(old: str, new: str, tolerance: Tolerance) -> tuple[int, str]:
    """Return where two texts that are not alike begin to differ: the line, from 0, and a sentence."""
    before, after = old.split("\n"), new.split("\n")
    for number, (a, b) in enumerate(zip_longest(before, after)):
        if a is None or b is None:
            return number, f"it had {_lines(before)} and has now {_lines(after)}."
        if a != b and not _same_line(a, b, tolerance):
            was, now = _short(a, b)
            return number, f"line {number + 1} was {was!r} and is now {now!r}."
    return 0, "its lines are broken elsewhere."


def _lines(lines: list[str]) -> str:
    return f"{len(lines):,} line{'' if len(lines) == 1 else 's'}"


def _short(old: str, new: str) -> tuple[str, str]:
    """Return of two lines the part in which they differ first."""
    if len(old) <= _SHORT and len(new) <= _SHORT:
        return old, new
    same = sum(1 for _ in takewhile(lambda pair: pair[0] == pair[1], zip(old, new, strict=False)))
    start = max(0, same - 20)
    return _part(old, start), _part(new, start)


def _part(line: str, start: int) -> str:
    start = start if start > 3 else 0
    shown = line[start : start + _SHORT - 6]
    return f"{'...' if start else ''}{shown}{'...' if start + len(shown) < len(line) else ''}"


def excerpt(text: str, line: int) -> str:
    """Return a text, or of a longer one what is around the line of that number."""
    if len(text) <= EXCERPT:
        return text
    lines = text.split("\n")
    return "\n".join(lines[max(0, line - _BEFORE) : line + EXCERPT])[:EXCERPT]
