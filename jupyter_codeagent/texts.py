"""Columns of texts, pickled as Arrow keeps them: a few large buffers instead of an object for each text.

What is pickled is an expression of importable functions, so nothing of ours is needed where it is unpickled.
"""

from __future__ import annotations

import operator
import sys
from collections.abc import Callable
from typing import Any

from jupyter_codeagent.compared import address

LEAST = 1000  # elements below which it is not worth the while
PADDING = 64  # bytes that Arrow may add to a buffer
SAMPLE = 1000  # elements looked at to see whether texts repeat


class Call:
    """Pickles as the value that a function returns for some arguments."""

    def __init__(self, function: Callable[..., Any], *arguments: Any) -> None:
        self.function, self.arguments = function, arguments

    def __reduce__(self) -> tuple[Callable[..., Any], tuple[Any, ...]]:
        return self.function, self.arguments


class Texts:
    """Knows the columns of texts in one value, while it is pickled and searched."""

    def __init__(self) -> None:
        self._columns: dict[int, Any] = {}  # by the address of their characters
        self._made: set[int] = set()  # addresses of those that were objects

    def reduced(self, value: Any) -> Any:
        """Return how `value` is to be pickled: NotImplemented for as it is."""
        arrow, numpy = sys.modules.get("pyarrow"), sys.modules.get("numpy")
        if arrow is None or numpy is None:  # without it here, it may be missing there, or take long to load
            return NotImplemented
        if isinstance(value, arrow.StringArray | arrow.LargeStringArray):
            self._note(value)
        elif type(value) is numpy.ndarray and value.dtype == object and value.size >= LEAST:
            found = self._expression(value)
            if found is not None:
                return found.__reduce__()
        return NotImplemented

    def _expression(self, array: Any) -> Call | None:
        """Return an expression for an array of texts and gaps; None where it holds anything else."""
        import numpy
        import pyarrow

        turned = array.flags.f_contiguous and not array.flags.c_contiguous
        flat = (array.T if turned else array).reshape(-1)
        gaps = _gaps(flat)
        if gaps is None:
            return None
        try:
            column = pyarrow.array(flat, pyarrow.large_string(), from_pandas=True)
        except (pyarrow.ArrowException, UnicodeEncodeError, TypeError):  # half of a surrogate pair is no UTF-8
            return None
        found = _repeated(column) or self._plain(column)
        for gap, where in gaps:
            found = Call(numpy.where, where, gap, found)
        shape = array.shape[::-1] if turned else array.shape
        if len(shape) != 1:
            found = Call(operator.methodcaller("reshape", shape), found)
        return Call(operator.methodcaller("transpose"), found) if turned else found

    def _plain(self, column: Any) -> Call:
        if (characters := column.buffers()[2]) is not None:
            self._made.add(characters.address)
        return Call(operator.methodcaller("to_numpy", zero_copy_only=False), column)

    def _note(self, column: Any) -> None:
        characters = column.buffers()[2]
        if characters is not None:
            self._columns[characters.address] = column

    def made(self, buffer: memoryview) -> bool:
        """Say whether `buffer` holds the characters of texts that were objects."""
        return bool(buffer.nbytes) and address(buffer) in self._made

    def hidden(self, piece: memoryview, found: Callable[[memoryview], bool]) -> bool:
        """Say whether something found in a buffer stands in one text, and not across two neighbours."""
        column = self._columns.get(address(piece)) if piece.nbytes else None
        if column is None:
            return True
        from pyarrow import compute

        own = compute.sum(compute.binary_length(column)).as_py() or 0
        if column.buffers()[2].size > own + PADDING:
            return True  # a part of a longer column, which goes along as a whole
        texts = [text for text in column.unique().to_pylist() if text]
        return found(memoryview("\n".join(texts).encode("utf-8", "surrogatepass")))


def _gaps(flat: Any) -> list[tuple[Any, Any]] | None:
    """Return what stands for missing texts besides None, and where; None if there is anything but texts and gaps."""
    import numpy

    items = flat.tolist()
    others = set(map(type, items)) - {str, type(None)}
    if not others:
        return []
    pandas = sys.modules.get("pandas")
    missing = type(pandas.NA) if pandas is not None else float
    if not others <= {float, missing} or any(type(item) is float and item == item for item in items):
        return None
    gaps = {float: float("nan"), missing: getattr(pandas, "NA", float("nan"))}
    return [(gaps[kind], numpy.fromiter((type(item) is kind for item in items), bool, len(items))) for kind in others]


def _repeated(column: Any) -> Call | None:
    """Return an expression that makes each text once, for a column in which they repeat."""
    import numpy

    step = max(1, len(column) // SAMPLE)
    if 2 * len(column[: step * SAMPLE : step].unique()) > min(SAMPLE, len(column)):
        return None
    encoded = column.dictionary_encode()
    words = encoded.dictionary.to_numpy(zero_copy_only=False)
    codes = encoded.indices.fill_null(len(words)).to_numpy(zero_copy_only=False)
    table = numpy.empty(len(words) + 1, object)  # the last one is a gap
    table[:-1] = words
    return Call(numpy.take, table, codes)
