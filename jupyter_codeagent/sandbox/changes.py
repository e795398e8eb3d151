"""What the code has changed in the working folder, beside what the folder holds now: as data."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from jupyter_codeagent.sandbox import tree
from jupyter_codeagent.sandbox.contents import Content
from jupyter_codeagent.sandbox.hiding import REPOSITORIES, SKIPPED
from jupyter_codeagent.sandbox.tree import FILE, FOLDER, GONE, LINK, Entry, TooMuch

DELETED = 5000  # files below a folder that was deleted
KINDS = {"link": "symbolic link", "folder": "folder", "pipe": "pipe", "other": "socket or device", "closed": "folder"}
CACHES = SKIPPED - REPOSITORIES


@dataclass(frozen=True)
class Mark:
    """By which a file in the user's folder is known to be the same: its inode, size and time."""

    inode: int
    size: int
    mtime: int

    @classmethod
    def of(cls, entry: Entry | None) -> Mark | None:
        """Return the mark of what is at a path; None: nothing."""
        return cls(entry.inode, entry.size, entry.mtime) if entry is not None else None


@dataclass(frozen=True)
class Base:
    """What the user's folder had at a path when the code first wrote there."""

    mark: Mark | None
    certain: bool  # the user had not changed it shortly before, so that the code has seen this version
    seen: bool = True  # the sandbox shows what the user's folder has at this path


@dataclass(frozen=True)
class Change:
    """A difference between the working folder inside and the user's.

    Parameters
    ----------
    path : str
        Relative to the folder. Hostile: any characters.
    kind : str
        ``added``, ``changed``, ``deleted``, or ``special``: what is no regular file inside or outside.
    size, old_size : int
        Bytes, inside and outside.
    special : str
        What it is, for one that is ``special``.
    conflict : str
        Why it cannot be applied now, in one sentence; or empty.
    content : Content or None
        Inside.
    old : Entry or None
        Outside.
    """

    path: str
    kind: str
    size: int = 0
    old_size: int = 0
    special: str = ""
    conflict: str = ""
    content: Content | None = None
    old: Entry | None = None

    @property
    def digest(self) -> str:
        """BLAKE2b (16 bytes, hex) of the content inside; empty where there is none."""
        return digest(self.content) if self.content is not None else ""

    def data(self, most: int) -> bytes | None:
        """Return the content inside, or None where there is none or it has more than `most` bytes."""
        return self.content.read(0, most) if self.content is not None and self.size <= most else None


def digest(content: Content) -> str:
    """Return the BLAKE2b hash of a content, 16 bytes, as hex."""
    found = hashlib.blake2b(digest_size=16)
    for at in range(0, content.size, tree.PIECE):
        found.update(content.read(at, tree.PIECE))
    return found.hexdigest()


class Comparison:
    """Compares what was written with the user's folder.

    Parameters
    ----------
    folder : int
        A descriptor of the user's folder.
    hidden : set of str
        Names in it that are not seen inside.
    entries, contents : mapping
        What was written.
    bases : mapping
        What was there when it was first written.
    """

    def __init__(
        self,
        folder: int,
        hidden: frozenset[str],
        entries: Mapping[str, Entry],
        contents: Mapping[str, Content],
        bases: Mapping[str, Base],
    ) -> None:
        self.folder, self.hidden, self.bases = folder, hidden, bases
        self.entries, self.contents = entries, contents

    def changes(self) -> list[Change]:
        """Return all differences, in the order of their paths; `TooMuch` where a folder that is gone was too large."""
        found: dict[str, Change] = {}
        for path, entry in self.entries.items():
            if not path or not CACHES.isdisjoint(path.split("/")):
                continue
            for change in self._compare(path, entry):
                found.setdefault(change.path, change)
                if len(found) > tree.ENTRIES:
                    raise TooMuch(f"there are over {tree.ENTRIES:,} changes")
        return [found[path] for path in sorted(found)]

    def _compare(self, path: str, entry: Entry) -> Iterator[Change]:
        real = tree.look_beneath(self.folder, path)
        if self._hidden(path) or (real is not None and self._unseen(path)):
            if entry.kind != GONE and real is not None:
                yield Change(path, "special", special="name that the sandbox does not see", old=real)
        elif entry.kind == GONE:
            yield from self._deleted(path, real)
        elif entry.kind == FOLDER:
            if real is not None and real.kind != FOLDER:
                yield Change(path, "special", special="folder", old=real)
            elif real is not None and entry.opaque:
                yield from self._deleted_below(path)
        elif entry.kind == FILE and path in self.contents:
            yield from self._file(path, self.contents[path], real)
        elif not (real is not None and (real.kind, real.target) == (entry.kind, entry.target) and entry.kind == LINK):
            yield Change(path, "special", special=KINDS.get(entry.kind, "file that cannot be read"), old=real)

    def _file(self, path: str, content: Content, real: Entry | None) -> Iterator[Change]:
        if real is None:
            yield Change(path, "added", content.size, content=content, conflict=self._conflict(path, real))
        elif real.kind != FILE:
            yield Change(path, "special", special=f"file in place of a {KINDS[real.kind]}", old=real)
        elif real.size != content.size or not self._same(path, content):
            conflict = self._conflict(path, real)
            yield Change(path, "changed", content.size, real.size, conflict=conflict, content=content, old=real)

    def _same(self, path: str, content: Content) -> bool:
        try:
            fd = tree.open_file(self.folder, path)
        except OSError:
            return False
        try:
            return content.same(fd)
        finally:
            os.close(fd)

    def _deleted(self, path: str, real: Entry | None) -> Iterator[Change]:
        if real is None:
            return
        if real.kind == FOLDER:
            yield from self._deleted_below(path)
        elif real.kind == FILE:
            yield Change(path, "deleted", old_size=real.size, conflict=self._conflict(path, real), old=real)
        else:
            yield Change(path, "special", special=f"deleted {KINDS[real.kind]}", old=real)

    def _deleted_below(self, path: str) -> Iterator[Change]:
        for below, real in found_below(self.folder, path, self._left_alone):
            if real.kind != FOLDER:
                yield from self._deleted(below, real)

    def _left_alone(self, path: str) -> bool:
        """Say whether what lies in a deleted folder was written again, was never seen, or came later."""
        return path in self.entries or path not in self.bases or self._hidden(path) or self._unseen(path)

    def _unseen(self, path: str) -> bool:
        base = self.bases.get(path)
        return base is not None and not base.seen

    def _hidden(self, path: str) -> bool:
        return any(str(part) in self.hidden for part in (Path(path), *Path(path).parents))

    def _conflict(self, path: str, real: Entry | None) -> str:
        base = self.bases.get(path)
        if base is None or base.mark != Mark.of(real):
            return "It has changed here since the code in the sandbox wrote it."
        return "" if base.certain else "It has changed here shortly before the code in the sandbox wrote it."


def found_below(folder: int, path: str, passed: Callable[[str], bool]) -> Iterator[tuple[str, Entry]]:
    """Yield what the folder at `path` below the folder `folder` has in it, leaving out what is to be passed over.

    Raises
    ------
    TooMuch
        If it is more than a deleted folder may have.
    OSError
        If it cannot be read.
    """
    count, pending = 0, [path]
    while pending:
        above = pending.pop()
        fd = tree.open_beneath(folder, above, os.O_RDONLY | os.O_DIRECTORY)
        try:
            names = os.listdir(fd)  # noqa: PTH208 - a descriptor
        finally:
            os.close(fd)
        for below in (f"{above}/{name}" for name in sorted(names)):
            count += 1
            if count > DELETED:
                raise TooMuch(f"a folder with over {DELETED:,} files was deleted")
            real = tree.look_beneath(folder, below)
            if real is None or passed(below):
                continue
            if real.kind == FOLDER:
                pending.append(below)
            yield below, real


def certain(real: Entry | None, looked: int) -> bool:
    """Say whether what is at a path was there at the time `looked` (nanoseconds since 1970) already."""
    return real is None or real.ctime <= looked
