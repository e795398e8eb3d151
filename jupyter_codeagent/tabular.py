"""The columns and the row count of a data file, found by reading it in bounds and with the standard library alone.

Files are data and may be hostile: nothing of them is executed or unpickled, and what cannot be read has no columns.
"""

from __future__ import annotations

import csv
import itertools
import json
import re
import sqlite3
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from jupyter_codeagent import parquet

COUNTED = 32 * 2**20  # bytes of a text whose rows are counted
LOOKED = 1000  # rows that say of which types the columns are
COLUMNS = 500
NAME = 200  # characters of a column's name
LINE = 2**20  # characters of a line
PATIENCE = 1.0  # seconds for counting what a database holds
EMPTY = ("", "na", "n/a", "nan", "null", "none")
_KINDS = {
    "integer": re.compile(r"[+-]?\d+"),
    "number": re.compile(r"[+-]?(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?|[+-]?inf", re.IGNORECASE),
    "boolean": re.compile(r"true|false", re.IGNORECASE),
    "date": re.compile(r"\d{4}-\d\d-\d\d(?:[T ]\d\d:\d\d.{0,30})?"),
}


@dataclass(frozen=True)
class Table:
    """What a data file holds: its rows (None: not counted), and name and type of each column."""

    rows: int | None
    columns: tuple[tuple[str, str], ...]


def table_of(path: Path) -> Table | None:
    """Return the columns and the number of rows of the file `path`, or None for what is no table.

    CSV and TSV (the first row holds the names), JSON lines, Parquet, and SQLite (columns as ``table.column``, rows of
    all tables). Types of texts are those of the first 1,000 rows; rows of texts beyond 32 MiB are not counted.
    """
    read = READERS.get(path.suffix.lower())
    if read is None:
        return None
    try:
        rows, columns = read(path)
    except (OSError, ValueError, csv.Error, sqlite3.Error, RecursionError):
        return None
    return Table(rows, tuple(_named_apart(columns))) if 0 < len(columns) <= COLUMNS else None


Found = tuple[int | None, list[tuple[str, str]]]


def _named_apart(columns: Iterable[tuple[str, str]]) -> Iterator[tuple[str, str]]:
    """Yield the columns under names of which no two are equal, as pandas makes them."""
    seen: dict[str, int] = {}
    for name, kind in columns:
        short = name[:NAME].encode("utf-8", "replace").decode()
        count = seen[short] = seen.get(short, -1) + 1
        yield (f"{short}.{count}" if count else short), kind


def _separated(path: Path) -> Found:
    with path.open(encoding="utf-8-sig", errors="replace", newline="") as file:
        first = file.readline(LINE)
        file.seek(0)
        reader = csv.reader(_lines(file), delimiter=_delimiter(path, first))
        head = next(reader, [])
        looked = list(itertools.islice((row for row in reader if row), LOOKED))
        rows = None
        if path.stat().st_size <= COUNTED:
            plain = _plain_lines(path)
            rows = len(looked) + sum(1 for row in reader if row) if plain is None else max(plain - 1, 0)
    kinds = [_kind(row[at] for row in looked if at < len(row)) for at in range(min(len(head), COLUMNS + 1))]
    return rows, list(zip(head, kinds, strict=False))


def _plain_lines(path: Path) -> int | None:
    """Return how many lines a file has, or None where a line may be no row: with quotes, blank lines, lone returns."""
    count, before = 0, b"\n"
    with path.open("rb") as file:
        while chunk := file.read(2**20):
            if b'"' in chunk or re.search(rb"\n\r?\n|\r(?!\n)", before + chunk):
                return None
            count, before = count + chunk.count(b"\n"), chunk[-2:]
    return count + (not before.endswith(b"\n"))


def _lines(file: Any) -> Iterator[str]:
    while line := file.readline(LINE):
        if len(line) == LINE:
            raise ValueError("a line is too long")
        yield line


def _delimiter(path: Path, first: str) -> str:
    if path.suffix.lower() in (".tsv", ".tab"):
        return "\t"
    return max(",;\t|", key=first.count)


def _kind(values: Iterable[str]) -> str:
    """Return the narrowest type that all values have; "empty" where there are none."""
    possible = list(_KINDS)
    seen = False
    for value in values:
        text = value.strip()
        if text.lower() in EMPTY:
            continue
        seen = True
        possible = [kind for kind in possible if _KINDS[kind].fullmatch(text)]
        if not possible:
            return "text"
    return possible[0] if seen else "empty"


def _json_lines(path: Path) -> Found:
    kinds: dict[str, set[str]] = {}
    with path.open(encoding="utf-8", errors="replace") as file:
        lines = (line for line in _lines(file) if line.strip())
        looked = 0
        for line in itertools.islice(lines, LOOKED):
            looked += 1
            entry = json.loads(line)
            for name, value in entry.items() if isinstance(entry, dict) else ():
                kinds.setdefault(name, set()).add(_json_kind(value))
            if len(kinds) > COLUMNS:
                raise ValueError("too many columns")
        rows = None if path.stat().st_size > COUNTED else looked + sum(1 for _ in lines)
    return rows, [(name, _joined(kind - {"empty"})) for name, kind in kinds.items()]


def _json_kind(value: Any) -> str:
    names = {bool: "boolean", int: "integer", float: "number", str: "text", list: "list", dict: "object"}
    return names.get(type(value), "empty")


def _joined(kinds: set[str]) -> str:
    if not kinds:
        return "empty"
    if kinds == {"integer", "number"}:
        return "number"
    return next(iter(kinds)) if len(kinds) == 1 else "mixed"


def _database(path: Path) -> Found:
    with path.open("rb") as file:
        if file.read(16) != b"SQLite format 3\0":
            raise ValueError("it is no SQLite database")
    end = time.monotonic() + PATIENCE
    # immutable: nothing is written beside the file, and no lock is taken
    with closing(sqlite3.connect(f"{path.resolve().as_uri()}?mode=ro&immutable=1", uri=True)) as database:
        database.execute("PRAGMA trusted_schema=OFF")
        database.set_progress_handler(lambda: time.monotonic() > end, 1000)
        named = database.execute("SELECT name FROM sqlite_schema WHERE type = 'table' AND name NOT LIKE 'sqlite_%'")
        tables = sorted(str(name) for (name,) in named.fetchmany(COLUMNS))
        columns = [
            (f"{table}.{name}", str(kind).lower() or "any")
            for table in tables
            for _, name, kind, *_ in database.execute(f"PRAGMA table_info({_quoted(table)})").fetchmany(COLUMNS)
        ]
        return _counted(database, tables), columns


def _counted(database: sqlite3.Connection, tables: list[str]) -> int | None:
    try:
        counts = [database.execute(f"SELECT count(*) FROM {_quoted(t)}").fetchone()[0] for t in tables]  # noqa: S608
        return sum(map(int, counts))
    except sqlite3.Error:  # it takes too long, or a table is a view of something else
        return None


def _quoted(name: str) -> str:
    return '"' + name.replace('"', '""').replace("\0", "") + '"'


READERS: dict[str, Callable[[Path], Found]] = {
    **dict.fromkeys((".csv", ".tsv", ".tab"), _separated),
    **dict.fromkeys((".jsonl", ".ndjson"), _json_lines),
    **dict.fromkeys((".parquet", ".pq"), parquet.shape),
    **dict.fromkeys((".sqlite", ".sqlite3", ".db"), _database),
}
