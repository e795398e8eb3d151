"""What the model is told: Markdown files with {named} fields."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from string import Formatter


def prompt(name: str, **fields: object) -> str:
    """Return the text of ``name.md`` with its fields filled in.

    Raises
    ------
    KeyError
        If `fields` are not exactly those that the text names.
    """
    text = _read(name)
    named = {field for _, field, _, _ in Formatter().parse(text) if field}
    if named != fields.keys():
        raise KeyError(f"prompt {name!r} has the fields {sorted(named)}, not {sorted(fields)}")
    return text.format(**fields)


@cache
def _read(name: str) -> str:
    return (Path(__file__).parent / f"{name}.md").read_text(encoding="utf-8").strip()
