"""What the model is told of the notebook: cells, variables, files, earlier tasks. Bounded, and without keys."""

from __future__ import annotations

import csv
import difflib
import hashlib
import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from jupyter_codeagent.errors import WrongUse
from jupyter_codeagent.keys import Keys, secret_file
from jupyter_codeagent.trajectory import Input, Trajectory
from jupyter_codeagent.variables import shown, told

CELLS_MOST = 1500  # characters of all cells above
CELL_MOST = 500  # of one of them
VARIABLES_MOST = 1500
FILES_MOST = 1200
EARLIER_MOST = 1000
CHANGES_MOST = 1500  # characters of what the user changed in attempts
_TABLES = {".csv", ".tsv", ".tab"}
_TEXTS = {*_TABLES, ".txt", ".json", ".jsonl", ".md", ".py", ".toml", ".yaml", ".yml", ".ini", ".log", ".xml", ".sql"}
_MAGICS = re.compile(r"\s*(%%?agent\b|%%attempt\b|%(load_ext|reload_ext|unload_ext|config)\b)")


def find_files(patterns: Iterable[str], folder: Path) -> list[str]:
    """Return the files in `folder` that match `patterns`, as relative names, sorted per pattern.

    Raises
    ------
    WrongUse
        If a pattern matches no file, or leads out of the folder, which is all that the sandbox sees.
    """
    found: list[str] = []
    for pattern in patterns:
        inside = _inside(pattern, folder)
        matches = sorted(p for p in folder.glob(inside) if p.is_file()) if inside else []
        if not inside:
            raise WrongUse(f"{pattern!r} lies outside the working folder {folder}; the sandbox sees nothing else.")
        if inside and any(secret_file(p.name) for p in matches) and not any(c in pattern for c in "*?["):
            raise WrongUse(f"{pattern!r} has a name under which secrets are kept, so the sandbox does not see it.")
        matches = [p for p in matches if not secret_file(p.name)]
        if not matches:
            raise WrongUse(f"No file matches {pattern!r} in {folder}; check the name, or change to its folder.")
        found += [p.relative_to(folder).as_posix() for p in matches]
    return list(dict.fromkeys(found))


def _inside(pattern: str, folder: Path) -> str:
    path = Path(pattern).expanduser()
    if path.is_absolute():
        if not path.is_relative_to(folder):
            return ""
        path = path.relative_to(folder)
    return "" if ".." in path.parts else path.as_posix()


def files_named(task: str, folder: Path) -> list[str]:
    """Return the files of `folder` that the task's words name, in their order."""
    words = re.findall(r"[\"'`]([^\"'`\n]{1,200})[\"'`]|([^\s\"'`,;()\[\]]+)", task)
    found = []
    for quoted, bare in words:
        name = quoted or bare.rstrip(".:!?")
        inside = _inside(name, folder) if name and "\0" not in name else ""
        if inside and len(inside) < 200 and (folder / inside).is_file() and not secret_file(inside):
            found.append(inside)
    return list(dict.fromkeys(found))


def inputs(names: Iterable[str], folder: Path) -> tuple[Input, ...]:
    """Return name, size and hash of each file, for the record of what a task was given."""
    described = []
    for name in names:
        with (folder / name).open("rb") as stream:
            digest = hashlib.file_digest(stream, lambda: hashlib.blake2b(digest_size=16)).hexdigest()
        described.append(Input(name, (folder / name).stat().st_size, digest))
    return tuple(described)


def describe(
    *,
    cells: Sequence[str] = (),
    variables: Mapping[str, Any] | None = None,
    named: Sequence[str] = (),
    files: Sequence[str] = (),
    folder: Path | None = None,
    earlier: Sequence[Trajectory] = (),
    notes: Sequence[str] = (),
    keys: Keys | None = None,
) -> str:
    """Return the context of a task as Markdown, or an empty string where there is nothing to tell.

    Parameters
    ----------
    cells : sequence of str
        Source of the cells that the user ran, oldest first.
    variables : mapping
        The user's variables.
    named : sequence of str
        Those of them that the task is about: their columns and first rows are shown.
    files : sequence of str
        Files of `folder` that the task is about, as relative names.
    folder : Path
        The working folder.
    earlier : sequence of Trajectory
        Tasks before this one, whose kept code the sandbox's state holds.
    notes : sequence of str
        Further sentences, such as how the folder appears in the sandbox.
    keys : Keys
        Hides what looks like a key.
    """
    keys = keys or Keys({})
    sections = {
        "Cells above": _cells(cells),
        "Earlier tasks": _earlier(earlier),
        "What the user changed in your code": _changes(earlier),
        "Variables": _variables(variables or {}, named, keys),
        "Files": _files(files, folder or Path()),
        "Notes": "\n".join(notes),
    }
    return keys.hide("\n\n".join(f"# {title}\n{text}" for title, text in sections.items() if text))


def _cells(cells: Sequence[str]) -> str:
    """Return the last cells that fit, oldest first; our own magics are left out."""
    fitting: list[str] = []
    room = CELLS_MOST
    wanted = [c.strip() for c in cells if c.strip() and not _MAGICS.match(c)]
    for cell in reversed(wanted):
        short = cut(cell, CELL_MOST)
        room -= len(short)
        if room < 0:
            break
        fitting.insert(0, short)
    left_out = len(wanted) - len(fitting)
    head = [f"({left_out} earlier cells left out)"] if left_out else []
    return "\n\n".join([*head, *(f"```python\n{cell}\n```" for cell in fitting)]) if fitting else ""


def _earlier(trajectories: Sequence[Trajectory]) -> str:
    parts: list[str] = []
    room = EARLIER_MOST
    for trajectory in reversed(trajectories):
        code = "\n".join(a.action.code or "" for a in trajectory.kept)
        text = f"{cut(trajectory.task, 200)!r} ({trajectory.status})"
        if code:
            text += f"; its code has been run in your sandbox:\n```python\n{cut(code, CELL_MOST)}\n```"
        room -= len(text)
        if room < 0:
            break
        parts.insert(0, text)
    return "\n".join(parts)


def _changes(trajectories: Sequence[Trajectory]) -> str:
    """Return how the user changed attempts, as differences; the latest first, as far as they fit."""
    parts: list[str] = []
    room = CHANGES_MOST
    for trajectory in reversed(trajectories):
        for attempt in reversed(trajectory.attempts):
            if attempt.changed is None:
                continue
            before, after = (code.strip().splitlines() for code in attempt.changed)
            lines = list(difflib.unified_diff(before, after, lineterm="", n=1))[2:]
            text = f"Attempt {attempt.number} of {cut(trajectory.task, 80)!r}:\n```diff\n" + "\n".join(lines) + "\n```"
            room -= len(text)
            if room < 0:
                return "\n".join([*parts, cut(text, max(room + len(text), 200))])
            parts.append(text)
    return "\n".join(parts)


def _variables(variables: Mapping[str, Any], named: Sequence[str], keys: Keys) -> str:
    """Return the named variables with a look inside, then the others in a line each."""
    safe = {name: value for name, value in variables.items() if not keys.named(name, value)}
    lines = []
    for name in named:
        if name in safe:
            inside = shown(safe[name])
            lines.append(f"{name}: {told(safe[name])}" + (f"\n{inside}" if inside else ""))
    lines += [f"{name}: {told(value)}" for name, value in reversed(safe.items()) if name not in named]
    kept: list[str] = []
    room = VARIABLES_MOST
    for line in lines:
        room -= len(line) + 1
        if room < 0:
            kept.append(f"({len(lines) - len(kept)} more variables)")
            break
        kept.append(line)
    return "\n".join(kept)


def _files(names: Sequence[str], folder: Path) -> str:
    each = max(200, FILES_MOST // max(1, min(len(names), 6)))
    parts = [_file(name, folder / name, each) for name in names[:6]]
    if len(names) > 6:
        parts.append(cut("also " + ", ".join(names[6:]), 300))
    return "\n".join(parts)


def _file(name: str, path: Path, most: int) -> str:
    """Return name, size, columns and the first lines."""
    told_size = f"{name} ({path.stat().st_size:,} bytes)"
    if path.suffix.lower() not in _TEXTS:
        return told_size
    with path.open(encoding="utf-8-sig", errors="replace", newline="") as stream:
        lines = [stream.readline(2000) for _ in range(4)]
    beginning = cut("".join(lines).replace("\r\n", "\n").rstrip("\n"), most)
    return f"{told_size}{_header(path, lines[0])}, beginning:\n{beginning}"


def _header(path: Path, line: str) -> str:
    """Return a table's columns as Python literals: spaces at the end of a name are seen no other way."""
    if path.suffix.lower() not in _TABLES or not line.strip():
        return ""
    try:
        dialect: Any = csv.Sniffer().sniff(line, ",;\t|")
    except csv.Error:
        return ""
    columns = next(csv.reader([line.rstrip("\r\n")], dialect))
    return f", columns {columns[:40]}"


def cut(text: str, most: int) -> str:
    """Return `text`, or its beginning and end with what was left out between."""
    if len(text) <= most:
        return text
    head, tail = most * 2 // 3, most // 3
    return f"{text[:head]}\n[... {len(text) - head - tail:,} characters left out ...]\n{text[-tail:]}"
