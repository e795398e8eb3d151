"""A look at a delimited text file, and the plain pandas lines that read and clean it.

Small models read column names and dtypes badly, but go on well from code that is there. So the lines that
this module writes stand at the beginning of their cell, for the user to see, change and keep. What is done
is decided by the file alone, never by the task:

- separator, encoding, lines above the header, lines below the table that hold totals;
- spaces around names and labels;
- amounts written as text: currency or unit, thousands separators, decimal comma, brackets for minus;
- percentages become fractions; dates in one unmistakable format become dates.

A column where fewer than nine in ten values fit, or where units differ, is left as it is.
"""

from __future__ import annotations

import csv
import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

SUFFIXES = {".csv", ".tsv", ".tab"}
_MOST = 4 << 20  # bytes looked at
_MISSING = {"", "-", "--", "?", "na", "n/a", "nan", "null", "none", "missing", "unknown", "#n/a", "."}
_PANDAS_MISSING = {"", "na", "n/a", "nan", "null", "none", "#n/a"}
_TOTAL = re.compile(r"(grand |sub)?-?total|sum|gesamt|summe", re.IGNORECASE)
_AMOUNT = re.compile(
    r"(?P<open>\()?(?P<sign1>[-+−])?(?P<before>[^\d\s().,+−-]{0,4}\.?)\s?(?P<sign2>[-+−])?"
    r"(?P<digits>\d[\d.,'\s\u00a0\u202f]*?)\s?(?P<after>[^\d\s().,+−-]{0,4}\.?)(?P<close>\))?"
)
_PLAIN = re.compile(r"[-+]?\d+(\.\d+)?([eE][-+]?\d+)?")
_SAME = {"usd": "$", "us$": "$", "eur": "€", "gbp": "£", "sek": "kr", "nok": "kr", "dkk": "kr"}
_DATES = ("%Y-%m-%d", "%Y/%m/%d", "%d.%m.%Y", "%d/%m/%Y", "%m/%d/%Y", "%d-%m-%Y", "%Y-%m-%d %H:%M", "%Y-%m-%d %H:%M:%S",
          "%Y-%m-%dT%H:%M", "%Y-%m-%dT%H:%M:%S", "%d/%m/%Y %H:%M", "%m/%d/%Y %H:%M", "%d.%m.%Y %H:%M")  # fmt: skip


@dataclass(frozen=True)
class Column:
    """A column's name as it is in the file, and its values."""

    name: str
    values: tuple[str, ...]

    @property
    def present(self) -> list[str]:
        """The values that are there, without spaces around them."""
        return [v.strip() for v in self.values if v.strip().lower() not in _MISSING]


@dataclass(frozen=True)
class Table:
    """What a look at a file gave.

    Parameters
    ----------
    encoding, delimiter : str
        How the file is written.
    skip : int
        Lines above the header.
    columns : tuple of Column
        The table, without the rows that hold totals.
    totals : tuple of (str, str)
        Column and label of each row that holds a total.
    ragged : bool
        Some rows have more fields than the header.
    """

    encoding: str
    delimiter: str
    skip: int
    columns: tuple[Column, ...]
    totals: tuple[tuple[str, str], ...] = ()
    ragged: bool = False


def look(path: Path) -> Table | None:
    """Look at the first 4 MB of a file; None if it is no table with a header and at least two columns.

    Raises
    ------
    OSError
        If the file cannot be read.
    """
    with path.open("rb") as stream:
        raw = stream.read(_MOST)
        if len(raw) == _MOST:
            raw = raw[: raw.rfind(b"\n") + 1]
    text, encoding = _decode(raw)
    found = _rows(text)
    if found is None:
        return None
    delimiter, skip, header, rows, ragged = found
    body = [r for r in rows if len(r) == len(header)]
    totals = [(header[i], r[i]) for r in body if (i := _total_at(r)) is not None]
    if len(totals) > max(3, len(body) // 100):  # too many to be anything but records
        totals = []
    kept = [r for r in body if _total_at(r) is None] if totals else body
    columns = tuple(Column(name, tuple(r[i] for r in kept)) for i, name in enumerate(header))
    return Table(encoding, delimiter, skip, columns, tuple(dict.fromkeys(totals)), ragged)


def _decode(raw: bytes) -> tuple[str, str]:
    for encoding in ("utf-8-sig", "cp1252"):
        try:
            return raw.decode(encoding), encoding
        except UnicodeDecodeError:
            continue
    return raw.decode("latin-1"), "latin-1"


def _rows(text: str) -> tuple[str, int, list[str], list[list[str]], bool] | None:
    """Find separator and header: most rows have the header's number of fields."""
    best: tuple[float, int, str] = (0, 0, "")
    for delimiter in ",;\t|":
        counts = Counter(len(r) for r in _parsed(text[: 1 << 16], delimiter) if r)
        if counts:
            width, times = counts.most_common(1)[0]
            best = max(best, (times / counts.total() if width > 1 else 0, width, delimiter))
    share, width, delimiter = best
    if share < 0.8:
        return None
    skip = 0
    for line, row in _numbered(text, delimiter):
        if len(row) == width and all(f.strip() for f in row) and len(set(row)) == width:
            rows = [r for number, r in _numbered(text, delimiter) if number > line and any(f.strip() for f in r)]
            return delimiter, skip, row, rows, any(len(r) > width for r in rows)
        skip = line
        if skip > 50:
            break
    return None


def _parsed(text: str, delimiter: str) -> list[list[str]]:
    return [row for _, row in _numbered(text, delimiter)]


def _numbered(text: str, delimiter: str) -> list[tuple[int, list[str]]]:
    reader = csv.reader(text.splitlines(keepends=True), delimiter=delimiter)
    try:
        return [(reader.line_num, row) for row in reader]
    except csv.Error:
        return []


def _total_at(row: Sequence[str]) -> int | None:
    return next((i for i, f in enumerate(row) if _TOTAL.fullmatch(f.strip().rstrip(":"))), None)


def reading(path: str, table: Table, frame: str = "df") -> str:
    """Return plain pandas lines that read a file and clean what has to be cleaned.

    Parameters
    ----------
    path : str
        The file's name as the code is to see it.
    table : Table
        What `look` gave.
    frame : str
        The name of the data frame.
    """
    names = [c.name.strip() for c in table.columns]
    lines = [f"{frame} = pd.read_csv({_arguments(path, table)})"]
    if names != [c.name for c in table.columns] and len(set(names)) == len(names):
        lines.append(f"{frame}.columns = {frame}.columns.str.strip()")
    else:
        names = [c.name for c in table.columns]
    named = {c.name: n for c, n in zip(table.columns, names, strict=True)}
    for name, label in table.totals:
        lines.append(f"{frame} = {frame}[{frame}[{named[name]!r}] != {label!r}]  # a total, not a record")
    kinds = {}
    for column in table.columns:
        line, kinds[named[column.name]] = _cleaning(column, f"{frame}[{named[column.name]!r}]", bool(table.totals))
        lines += [line] if line else []
    told = ", ".join(f"{name!r} ({kind})" for name, kind in kinds.items())
    return "\n".join([*lines, f"# columns of {frame}: {told}"])


def _arguments(path: str, table: Table) -> str:
    arguments = [repr(path)]
    if table.delimiter != ",":
        arguments.append(f"sep={table.delimiter!r}")
    if table.skip:
        arguments.append(f"skiprows={table.skip}")
    if table.encoding not in ("utf-8-sig",):
        arguments.append(f"encoding={table.encoding!r}")
    odd = sorted({v.strip() for c in table.columns for v in c.values if _odd(v)})
    if odd:
        arguments.append(f"na_values={odd!r}")
    if table.ragged:
        arguments.append("on_bad_lines='skip'")
    return ", ".join(arguments)


def _odd(value: str) -> bool:
    """Whether a value stands for a missing one and pandas would not know."""
    value = value.strip().lower()
    return value in _MISSING and value not in _PANDAS_MISSING


def _cleaning(column: Column, target: str, always: bool) -> tuple[str, str]:
    """Return the line that cleans a column (empty: none needed), and what the column then holds."""
    present = column.present
    if not present:
        return "", "empty"
    if all(_PLAIN.fullmatch(v) for v in present):
        if always:  # the row with the total may have made it text
            return f"{target} = pd.to_numeric({target}, errors='coerce')", "number"
        return "", "number"
    if amounts := _amounts(present):
        return f"{target} = {_number(target, amounts)}", "number"
    if form := _date_format(present):
        return f"{target} = pd.to_datetime({target}, format={form!r}, errors='coerce')", "date"
    few = list(dict.fromkeys(present))
    kind = f"text, such as {', '.join(repr(v[:20]) for v in few[:3])}"
    if any(v != v.strip() for v in column.values):
        return f"{target} = {target}.str.strip()", kind
    return "", kind


@dataclass(frozen=True)
class _Amounts:
    """How a column writes its amounts."""

    decimal: str
    brackets: bool
    minus: bool  # a typographic one
    percent: bool
    dotted: bool


def _amounts(values: Sequence[str]) -> _Amounts | None:
    found = [m for v in values if (m := _AMOUNT.fullmatch(v))]
    if len(found) < 0.9 * len(values) or not any(c in v for v in values for c in "0123456789"):
        return None
    units = {_unit(m["before"]) for m in found} | {_unit(m["after"]) for m in found}
    if len(units - {""}) > 1 or any(
        m["before"] and m["before"][0].isalpha() and not _money(m["before"]) for m in found
    ):
        return None  # several units, or labels such as A12
    return _Amounts(
        decimal=_decimal([m["digits"] for m in found]),
        brackets=any(m["open"] for m in found),
        minus=any("−" in v for v in values),
        percent=units - {""} == {"%"},
        dotted=any(m["before"].endswith(".") or m["after"].endswith(".") for m in found),
    )


def _unit(text: str) -> str:
    text = text.strip(" .").lower()
    return _SAME.get(text, text)


def _money(text: str) -> bool:
    text = text.strip(" .")
    return text.lower() in {*_SAME, "kr", "rs", "chf", "fr"} or (len(text) == 3 and text.isupper())


def _decimal(numbers: Sequence[str]) -> str:
    """Return the decimal sign: the last of two kinds, or the one not followed by just three digits."""
    votes: Counter[str] = Counter()
    for number in numbers:
        signs = [c for c in number if c in ".,"]
        if len(set(signs)) == 2:
            votes[signs[-1]] += 3
        elif len(signs) > 1:
            votes["," if signs[0] == "." else "."] += 3
        elif signs and len(number.rpartition(signs[0])[2].strip()) != 3:
            votes[signs[0]] += 1
    return votes.most_common(1)[0][0] if votes else "."


def _number(target: str, form: _Amounts) -> str:
    text = target
    if form.brackets:
        text += r".str.replace(r'^\((.*)\)$', r'-\1', regex=True)"
    if form.minus:
        text += ".str.replace('−', '-')"
    text += f".str.replace(r'[^0-9{form.decimal}-]', '', regex=True)"
    if form.dotted and form.decimal == ".":
        text += ".str.strip('.')"
    if form.decimal == ",":
        text += ".str.replace(',', '.')"
    number = f"pd.to_numeric({text}, errors='coerce')"
    return f"{number} / 100" if form.percent else number


def _date_format(values: Sequence[str]) -> str:
    """Return the one format that fits nearly all, or nothing where none or two do."""
    some = values[:5000]
    fitting = []
    for form in _DATES:
        if _is_date(some[0], form) or (len(some) > 1 and _is_date(some[1], form)):
            right = sum(_is_date(v, form) for v in some)
            if right >= 0.95 * len(some):
                fitting.append((right, form))
    fitting.sort(reverse=True)
    unclear = len(fitting) > 1 and fitting[0][0] == fitting[1][0]
    return fitting[0][1] if fitting and not unclear else ""


def _is_date(value: str, form: str) -> bool:
    try:
        datetime.strptime(value, form)
    except ValueError:
        return False
    return True
