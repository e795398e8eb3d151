"""The columns and the row count of a Parquet file, read from its footer without a library.

The layout is that of the Parquet format's ``FileMetaData`` in Thrift's compact protocol. Files are hostile: each length
is checked against what is there, and whatever does not fit is a ValueError.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, BinaryIO

FOOTER = 16 * 2**20  # bytes of a footer at most
MOST = 20_000  # entries of a list
DEEP = 30  # structures within each other
TYPES = ("boolean", "int32", "int64", "timestamp", "float", "double", "bytes", "bytes")
CONVERTED = {0: "text", 5: "decimal", 6: "date", 7: "time", 8: "time", 9: "timestamp", 10: "timestamp"}
LOGICAL = {1: "text", 5: "decimal", 6: "date", 7: "time", 8: "timestamp"}
STOP, TRUE, FALSE, BYTE, DOUBLE, BINARY, LIST, SET, MAP, STRUCT = 0, 1, 2, 3, 7, 8, 9, 10, 11, 12


def shape(path: Path) -> tuple[int, list[tuple[str, str]]]:
    """Return the number of rows, and name and type of each column; a column with parts is "nested".

    Raises
    ------
    ValueError
        If `path` is no Parquet file, or a broken or encrypted one.
    """
    with path.open("rb") as file:
        footer = _footer(file)
    try:
        told = Compact(footer).struct(wanted=(2, 3))
        elements, rows = told[2], told[3]
        columns = _columns(elements)
    except (IndexError, KeyError, TypeError, AttributeError) as error:
        raise ValueError("its footer is broken") from error
    if type(rows) is not int or rows < 0:
        raise ValueError("its footer is broken")
    return rows, columns


def _footer(file: BinaryIO) -> bytes:
    size = file.seek(0, 2)
    if size < 12:
        raise ValueError("it is too short")
    file.seek(size - 8)
    tail = file.read(8)
    length = int.from_bytes(tail[:4], "little")
    if tail[4:] != b"PAR1" or not 0 < length <= min(FOOTER, size - 12):
        raise ValueError("it has no footer that can be read")
    file.seek(size - 8 - length)
    return file.read(length)


def _columns(elements: list[dict[int, Any]]) -> list[tuple[str, str]]:
    """Return the columns of the list in which a tree stands: each element before its children."""
    columns, at = [], 1
    for _ in range(elements[0].get(5, 0)):
        element = elements[at]
        columns.append((element[4].decode("utf-8", "replace"), _type(element)))
        at += _size(elements, at)
    return columns


def _size(elements: list[dict[int, Any]], at: int) -> int:
    """Return how many elements the one at `at` and all below it are."""
    open_ends, size = 1, 0
    while open_ends:
        open_ends += elements[at + size].get(5, 0) - 1
        size += 1
    return size


def _type(element: dict[int, Any]) -> str:
    if element.get(5):
        return "nested"
    logical = next(iter(element[10]), 0) if isinstance(element.get(10), dict) else 0
    return LOGICAL.get(logical) or CONVERTED.get(element.get(6, -1)) or TYPES[element[1]]


class Compact:
    """Reads Thrift's compact protocol from bytes."""

    def __init__(self, data: bytes) -> None:
        self.data, self.at = data, 0

    def struct(self, wanted: tuple[int, ...] = (), depth: int = 0) -> dict[int, Any]:
        """Return the fields of a structure by their numbers; with `wanted`, it ends when those are read."""
        fields: dict[int, Any] = {}
        number = 0
        while (head := self._byte()) != STOP:
            kind, step = head & 15, head >> 4
            number = number + step if step else self._whole()
            fields[number] = self._value(kind, depth + 1, in_struct=True)
            if wanted and all(name in fields for name in wanted):
                break
        return fields

    def _value(self, kind: int, depth: int, in_struct: bool = False) -> Any:
        if depth > DEEP:
            raise ValueError("its footer is too deep")
        if kind in (TRUE, FALSE):
            return kind == TRUE if in_struct else self._byte() == TRUE
        if kind == BYTE:
            return self._byte()
        if BYTE < kind < DOUBLE:
            return self._whole()
        if kind in (DOUBLE, BINARY):
            return self._bytes(8 if kind == DOUBLE else self._number())
        if kind in (LIST, SET):
            return self._list(depth)
        if kind == MAP:
            return self._map(depth)
        if kind == STRUCT:
            return self.struct(depth=depth)
        raise ValueError("its footer has an unknown type")

    def _list(self, depth: int) -> list[Any]:
        head = self._byte()
        count = head >> 4 if head >> 4 < 15 else self._number()
        self._check(count)
        return [self._value(head & 15, depth + 1) for _ in range(count)]

    def _map(self, depth: int) -> list[Any]:
        count = self._number()
        self._check(count)
        kinds = self._byte() if count else 0
        return [(self._value(kinds >> 4, depth + 1), self._value(kinds & 15, depth + 1)) for _ in range(count)]

    def _check(self, count: int) -> None:
        # a byte at least stands for each entry
        if count > min(len(self.data) - self.at, MOST):
            raise ValueError("its footer says more than it holds")

    def _byte(self) -> int:
        value = self.data[self.at]
        self.at += 1
        return value

    def _bytes(self, count: int) -> bytes:
        if count > len(self.data) - self.at:
            raise ValueError("its footer says more than it holds")
        self.at += count
        return self.data[self.at - count : self.at]

    def _number(self) -> int:
        value = shift = 0
        while True:
            byte = self._byte()
            value |= (byte & 127) << shift
            if byte < 128:
                return value
            shift += 7
            if shift > 63:
                raise ValueError("its footer has a number without end")

    def _whole(self) -> int:
        value = self._number()
        return value >> 1 ^ -(value & 1)
