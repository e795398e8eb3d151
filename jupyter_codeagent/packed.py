"""Copies of values on their way into the sandbox: pickle protocol 5, with large buffers beside it (PEP 574).

Values go in this way only. Nothing that comes out is ever unpickled.
"""

from __future__ import annotations

import fcntl
import functools
import itertools
import mmap
import operator
import os
import pickle
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from jupyter_codeagent.compared import equal, mapped
from jupyter_codeagent.errors import NotPlainData
from jupyter_codeagent.texts import Call, Texts

SEALS = 0x1 | 0x2 | 0x4 | 0x8  # F_SEAL_SEAL, SHRINK, GROW, WRITE: a mapping can only be private
F_ADD_SEALS = 1033
SMALL = 4 * 2**20  # bytes up to which a copy is kept as ordinary memory: descriptors are few
PIECE = 2**20  # bytes written at a time
ALIGNED = 64

_numbers = itertools.count(1)


class OverBudget(NotPlainData):
    """A value is larger, or takes longer to look at, than is allowed."""


@dataclass(frozen=True)
class Limits:
    """What a value may be to be copied.

    Parameters
    ----------
    most : int
        Bytes.
    seconds : float
        For looking at it, before it is copied.
    hidden : callable
        Says whether what must not be copied stands in some bytes.
    scanned : int
        Bytes of one buffer that are searched for it.
    """

    most: int
    seconds: float
    hidden: Callable[[memoryview], bool]
    scanned: int


class Pickled:
    """A value as it is pickled now; its large buffers are still the value's own.

    Parameters
    ----------
    name : str
        For messages.
    value : object
        What is pickled.
    limits : Limits or None
        What it may be; None: anything.

    Raises
    ------
    NotPlainData
        If it cannot be pickled, or is beyond the limits.
    """

    def __init__(self, name: str, value: object, limits: Limits | None = None) -> None:
        self.name, self.limits = name, limits
        self.deadline = time.monotonic() + limits.seconds if limits else float("inf")
        self.size = 0
        self.head: list[bytes] = []
        self.buffers: list[memoryview] = []
        self.formats: list[str] = []
        self.texts = Texts()
        try:
            _Pickler(self).dump(value)
        except NotPlainData:
            raise
        except RecursionError:
            raise NotPlainData(name, "it is nested too deeply") from None
        except Exception as error:
            # a class's own __reduce__ may raise anything
            raise NotPlainData(name, f"it cannot be copied ({type(error).__name__}: {error})") from error
        lengths = [sum(map(len, self.head)), *(buffer.nbytes for buffer in self.buffers)]
        starts = itertools.accumulate((-(-length // ALIGNED) * ALIGNED for length in lengths), initial=0)
        self.spans = list(zip(starts, lengths, strict=False))

    def write(self, data: Any) -> int:
        """Take a piece of the pickle; the pickler calls this."""
        piece = bytes(data)
        self._count(len(piece))
        self.head.append(piece)
        return len(piece)

    def buffer(self, part: pickle.PickleBuffer) -> None:
        """Take a buffer; the pickler calls this for each."""
        with memoryview(part) as view:
            self.formats.append(view.format)
        raw = part.raw()
        self._count(raw.nbytes)
        self.buffers.append(raw)

    def _count(self, size: int) -> None:
        self.size += size
        if self.limits is None:
            return
        if self.size > self.limits.most:
            raise OverBudget(self.name, f"it is larger than {self.limits.most // 2**20} MB")
        self._hurry()

    def _hurry(self) -> None:
        if self.limits and time.monotonic() > self.deadline:
            raise OverBudget(self.name, f"copying it took longer than {self.limits.seconds:.0f} s")

    def placed(self) -> list[tuple[int, memoryview]]:
        """Return all pieces, each with its place in a copy."""
        places = itertools.accumulate(map(len, self.head), initial=0)
        head = [(place, memoryview(piece)) for place, piece in zip(places, self.head, strict=False)]
        return head + [(span[0], buffer) for span, buffer in zip(self.spans[1:], self.buffers, strict=True)]

    def search(self) -> None:
        """Look for what must not be copied; arrays of numbers hold none.

        Raises
        ------
        NotPlainData
            If it holds what looks like a key, or looking takes too long.
        """
        if self.limits is None:
            return
        for piece in self.head:
            self._look(memoryview(piece)[: self.limits.scanned])
        for buffer, kind in zip(self.buffers, self.formats, strict=True):
            if kind in ("B", "b", "c"):  # bytes may be text, as in Arrow's columns
                self._look(buffer if self.texts.made(buffer) else buffer[: self.limits.scanned])

    def _look(self, piece: memoryview) -> None:
        assert self.limits is not None
        if self.limits.hidden(piece) and self.texts.hidden(piece, self.limits.hidden):
            raise NotPlainData(self.name, "it holds what looks like a key")
        self._hurry()


class _Pickler(pickle.Pickler):
    """Pickles columns of texts as Arrow keeps them, all plain arrays as buffers, and everything else as it is."""

    def __init__(self, target: Pickled) -> None:
        super().__init__(target, protocol=5, buffer_callback=target.buffer)
        self.texts = target.texts

    def reducer_override(self, value: Any) -> Any:
        """Return how a value is pickled; pickle calls this for what is not Python's own."""
        numpy = sys.modules.get("numpy")
        if numpy is None or type(value) is not numpy.ndarray or value.dtype.hasobject or not value.size:
            return self.texts.reduced(value)
        # numpy itself pickles these element by element: dates, and what does not lie in one piece
        if not (value.flags.c_contiguous or value.flags.f_contiguous):
            value = value.copy()
        if value.dtype.kind in "mM":
            return Call(operator.methodcaller("view", value.dtype), value.view("i8")).__reduce__()
        return value.__reduce_ex__(5)


class Sealed:
    """A file in memory that nobody can change any more."""

    def __init__(self, pieces: Sequence[tuple[int, memoryview]]) -> None:
        self.fd = os.memfd_create("values", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
        end = 1
        for place, piece in pieces:
            done = 0
            while done < piece.nbytes:
                done += os.pwrite(self.fd, piece[done : done + PIECE], place + done)
            end = max(end, place + piece.nbytes)
        os.ftruncate(self.fd, end)
        fcntl.fcntl(self.fd, F_ADD_SEALS, SEALS)

    @functools.cached_property
    def memory(self) -> mmap.mmap:
        """The file as memory; it stays mapped, since that takes longer than to compare what is there."""
        return mapped(self.fd)

    def __del__(self) -> None:
        if hasattr(self, "fd"):
            os.close(self.fd)


class Packed:
    """A copy of one value.

    Attributes
    ----------
    spans : list of tuple
        Where the pickle and each of its buffers lie in `content`: place and length.
    size : int
        Bytes.
    mark : str
        No other copy in this process has it.
    """

    def __init__(self, pickled: Pickled) -> None:
        self.spans, self.size = pickled.spans, pickled.size
        self.mark = f"copy {next(_numbers)}"
        pieces = pickled.placed()
        self.content: bytes | Sealed = Sealed(pieces) if self.size > SMALL else _joined(pieces)

    def holds(self, pickled: Pickled) -> bool:
        """Say whether this is a copy of the value as it is now: the same bytes."""
        if self.spans != pickled.spans:
            return False
        content = self.content.memory if isinstance(self.content, Sealed) else self.content
        return equal(content, pickled.placed())

    def value(self) -> object:
        """Return the value, rebuilt from the copy for who cannot take a pickle.

        The pickle was made in this process of what the user has, and has not left it.
        """
        view = memoryview(self.content.memory if isinstance(self.content, Sealed) else self.content).toreadonly()
        head, *buffers = (view[place : place + length] for place, length in self.spans)
        found: object = pickle.loads(head, buffers=buffers)  # noqa: S301
        return found


def _joined(pieces: Sequence[tuple[int, memoryview]]) -> bytes:
    data = bytearray()
    for place, piece in pieces:
        data += bytes(place - len(data))
        data += piece
    return bytes(data)


class Shelf:
    """The latest copy of each value, so that one which has not changed is neither copied nor searched again.

    Parameters
    ----------
    most : int
        Bytes that all copies may have; the oldest go first.
    """

    def __init__(self, most: int = 2**30) -> None:
        self.most = most
        self._kept: dict[str, Packed] = {}

    def get(self, name: str) -> Packed | None:
        """Return the copy of a value, if there is one."""
        return self._kept.get(name)

    def keep(self, name: str, packed: Packed) -> None:
        """Put a copy on the shelf, in place of the one before."""
        self._kept.pop(name, None)
        self._kept[name] = packed
        while sum(kept.size for kept in self._kept.values()) > self.most:
            del self._kept[next(iter(self._kept))]

    def same(self, name: str, value: object, mark: str) -> bool:
        """Say whether a value is still as in the copy with this mark; False where that copy is gone.

        Raises
        ------
        NotPlainData
            If it cannot be pickled any more.
        """
        known = self.get(name)
        return known is not None and known.mark == mark and known.holds(Pickled(name, value))


def pack(name: str, value: object, limits: Limits | None = None, shelf: Shelf | None = None) -> Packed:
    """Return a copy of `value`: the one on the shelf where that is still what it is.

    Raises
    ------
    NotPlainData
        If it cannot be pickled, or is beyond the limits.
    """
    if isinstance(value, Packed):
        return value
    pickled = Pickled(name, value, limits)
    known = shelf.get(name) if shelf is not None else None
    if known is not None and known.holds(pickled):
        return known
    pickled.search()
    packed = Packed(pickled)
    if shelf is not None:
        shelf.keep(name, packed)
    return packed
