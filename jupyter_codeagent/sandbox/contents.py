"""Contents of files as they were at some moment, kept in temporary files that have no name."""

from __future__ import annotations

import os
import tempfile
import weakref
from dataclasses import dataclass

from jupyter_codeagent.sandbox.tree import PIECE, TooMuch, parts_with_data

SHARED = 4 * 2**20  # bytes in a pack beyond which the next moment gets another


class Pack:
    """A temporary file without a name that holds contents; it is closed when nothing in it is needed any more."""

    def __init__(self) -> None:
        self._file = tempfile.TemporaryFile()  # noqa: SIM115 - open as long as the object lives
        self.fd = self._file.fileno()
        self.size = 0

    def append(self, data: bytes) -> None:
        """Write at the end."""
        view = memoryview(data)
        while view:
            written = os.pwrite(self.fd, view, self.size)
            self.size += written
            view = view[written:]

    def close(self) -> None:
        """Give the space back."""
        self._file.close()

    __del__ = close


@dataclass(frozen=True, slots=True)
class Content:
    """The content of one file.

    Parameters
    ----------
    pack : Pack
        Where it is.
    size : int
        Bytes of the file; what no part holds is a hole.
    parts : tuple of tuple
        Place in the file, length, place in the pack.
    """

    pack: Pack
    size: int
    parts: tuple[tuple[int, int, int], ...]

    def same(self, fd: int) -> bool:
        """Say whether a file has this content now."""
        if os.fstat(fd).st_size != self.size:
            return False
        at = 0
        for start, length, where in (*self.parts, (self.size, 0, 0)):
            if not _zeros(fd, at, start - at):
                return False
            at = start + length
            for done in range(0, length, PIECE):
                count = min(PIECE, length - done)
                if os.pread(fd, count, start + done) != os.pread(self.pack.fd, count, where + done):
                    return False
        return True

    def read(self, at: int, length: int) -> bytes:
        """Return a piece of the content."""
        found = bytearray(max(0, min(length, self.size - at)))
        for start, count, where in self.parts:
            begin, end = max(start, at), min(start + count, at + len(found))
            if begin < end:
                found[begin - at : end - at] = os.pread(self.pack.fd, end - begin, where + begin - start)
        return bytes(found)

    def equals(self, other: Content) -> bool:
        """Say whether two contents are the same."""
        if self.pack is other.pack and self.parts == other.parts:
            return self.size == other.size
        return self.size == other.size and all(
            self.read(at, PIECE) == other.read(at, PIECE) for at in range(0, self.size, PIECE)
        )


def _zeros(fd: int, at: int, length: int) -> bool:
    """Say whether a part of a file reads as zeros, looking only at what is no hole."""
    if length <= 0:
        return True
    for start, count in parts_with_data(fd, at + length):
        end = start + count
        for piece in range(max(start, at), end, PIECE):
            if any(os.pread(fd, min(PIECE, end - piece), piece)):
                return False
    return True


class Store:
    """Contents that are kept.

    Parameters
    ----------
    most : int
        Bytes, of all together.
    """

    def __init__(self, most: int) -> None:
        self.most = most
        self._packs: weakref.WeakSet[Pack] = weakref.WeakSet()
        self._latest: weakref.ref[Pack] | None = None

    @property
    def held(self) -> int:
        """Bytes that are kept now."""
        return sum(pack.size for pack in self._packs)

    def pack(self) -> Pack:
        """Return a new, empty pack."""
        found = Pack()
        self._packs.add(found)
        return found

    def shared(self) -> Pack:
        """Return the pack for a moment: that of the moments before while it is small, since each takes a descriptor."""
        found = self._latest() if self._latest is not None else None
        if found is None or found.size >= SHARED:
            found = self.pack()
            self._latest = weakref.ref(found)
        return found

    def keep(self, fd: int, pack: Pack) -> Content:
        """Copy a file's content into `pack`.

        Raises
        ------
        TooMuch
            If it does not fit.
        """
        size = os.fstat(fd).st_size
        room = self.most - self.held
        parts = []
        for start, length in parts_with_data(fd, size):
            room -= length
            if room < 0:
                raise TooMuch(f"there are over {self.most // 2**20:,} MiB to keep")
            where, done = pack.size, 0
            while done < length and (data := os.pread(fd, min(PIECE, length - done), start + done)):
                pack.append(data)
                done += len(data)
            parts.append((start, done, where))
        return Content(pack, size, tuple(parts))
