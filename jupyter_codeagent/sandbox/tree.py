"""Folders that hostile code can write, read from outside: what is in them, within bounds, following no link."""

from __future__ import annotations

import contextlib
import os
import stat
from collections.abc import Iterator
from dataclasses import dataclass

ENTRIES = 20_000  # of one tree; more is too much to be looked at
DEPTH = 64
PIECE = 2**20  # bytes read at once

FILE, FOLDER, LINK, PIPE, GONE, CLOSED, OTHER = "file", "folder", "link", "pipe", "gone", "closed", "other"
SHOWN = (FILE, FOLDER, LINK)  # the kinds that are seen of what lies below an overlay


class TooMuch(Exception):
    """The tree cannot be looked at as a whole; the text says why."""


@dataclass(frozen=True, slots=True)
class Entry:
    """Something with a name in a folder.

    Parameters
    ----------
    kind : str
        ``file``, ``folder``, ``link``, ``pipe``, ``other``; ``gone``: a whiteout of an overlay; ``closed``: a folder
        that cannot be listed.
    mode : int
        Permissions.
    size : int
        Bytes, of a file.
    mtime, ctime : int
        Nanoseconds since 1970.
    inode : int
        Names of one file have the same.
    target : str
        Of a symbolic link.
    opaque : bool
        A folder of an overlay that hides the one below it.
    """

    kind: str
    mode: int = 0
    size: int = 0
    mtime: int = 0
    ctime: int = 0
    inode: int = 0
    target: str = ""
    opaque: bool = False


def scan(root: int) -> dict[str, Entry]:
    """Return all that is below the folder `root`, a folder before what is in it; ``""`` is the folder itself.

    Parameters
    ----------
    root : int
        A descriptor; other file systems that are mounted below are left out.

    Raises
    ------
    TooMuch
        If the tree is too large or too deep.
    OSError
        If the folder itself cannot be read.
    """
    top = os.fstat(root)
    found = {"": _entry(root, "", top)}
    _scan(root, "", 0, top.st_dev, found)
    return found


def _scan(folder: int, path: str, depth: int, device: int, found: dict[str, Entry]) -> None:
    if depth > DEPTH:
        raise TooMuch(f"folders lie deeper than {DEPTH} levels")
    for name in _names(folder, ENTRIES - len(found)):
        below = f"{path}/{name}" if path else name
        with contextlib.suppress(FileNotFoundError):  # it vanished meanwhile
            info = os.stat(name, dir_fd=folder, follow_symlinks=False)
            if info.st_dev != device:
                continue
            found[below] = _entry(folder, name, info)
            if found[below].kind == FOLDER:
                _descend(folder, name, below, depth, device, found)


def _descend(folder: int, name: str, path: str, depth: int, device: int, found: dict[str, Entry]) -> None:
    try:
        fd = os.open(name, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=folder)
    except PermissionError:
        found[path] = Entry(CLOSED, found[path].mode)
        return
    except NotADirectoryError:
        return  # it was replaced meanwhile
    try:
        _scan(fd, path, depth + 1, device, found)
    finally:
        os.close(fd)


def _names(folder: int, most: int) -> list[str]:
    names: list[str] = []
    with os.scandir(folder) as entries:
        for entry in entries:
            names.append(entry.name)
            if len(names) > most:
                raise TooMuch(f"there are over {ENTRIES:,} files")
    return names


def _entry(folder: int, name: str, info: os.stat_result) -> Entry:
    kind, target, opaque = OTHER, "", False
    if stat.S_ISREG(info.st_mode):
        kind = FILE
    elif stat.S_ISDIR(info.st_mode):
        kind, opaque = FOLDER, bool(name) and _opaque(folder, name)
    elif stat.S_ISLNK(info.st_mode):
        kind, target = LINK, os.readlink(name, dir_fd=folder)
    elif stat.S_ISFIFO(info.st_mode):
        kind = PIPE
    elif stat.S_ISCHR(info.st_mode) and info.st_rdev == 0:
        kind = GONE
    mode, size = stat.S_IMODE(info.st_mode), info.st_size if kind == FILE else 0
    return Entry(kind, mode, size, info.st_mtime_ns, info.st_ctime_ns, info.st_ino, target, opaque)


def _opaque(folder: int, name: str) -> bool:
    try:
        # a path through the descriptor: there is no call that reads attributes relative to a folder
        value = os.getxattr(f"/proc/self/fd/{folder}/{name}", "user.overlay.opaque", follow_symlinks=False)
    except OSError:
        return False
    return value == b"y"


def open_beneath(root: int, path: str, flags: int = os.O_RDONLY, mode: int = 0) -> int:
    """Open `path` below the folder `root`, following no symbolic link in any part of it.

    Raises
    ------
    OSError
        ELOOP or ENOTDIR where a part is a link.
    """
    *above, name = path.split("/")
    if any(part in ("", ".", "..") for part in (*above, name)):
        raise NotADirectoryError(f"{path!r} is no path below a folder")
    fd = root
    try:
        for part in above:
            inner = os.open(part, os.O_PATH | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=fd)
            if fd != root:
                os.close(fd)
            fd = inner
        return os.open(name, flags | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC, mode, dir_fd=fd)
    finally:
        if fd != root:
            os.close(fd)


def look_beneath(root: int, path: str) -> Entry | None:
    """Return what is at `path` below `root`, or None where there is nothing, or a link on the way."""
    *above, name = path.split("/")
    try:
        folder = open_beneath(root, "/".join(above), os.O_PATH | os.O_DIRECTORY) if above else os.dup(root)
    except OSError:
        return None
    try:
        return _entry(folder, name, os.stat(name, dir_fd=folder, follow_symlinks=False))
    except OSError:
        return None
    finally:
        os.close(folder)


def open_file(root: int, path: str) -> int:
    """Open a regular file below `root` for reading; raises OSError for anything else."""
    fd = open_beneath(root, path)
    if not stat.S_ISREG(os.fstat(fd).st_mode):
        os.close(fd)
        raise FileNotFoundError(f"{path!r} is no regular file any more")
    return fd


def parts_with_data(fd: int, size: int) -> Iterator[tuple[int, int]]:
    """Yield place and length of what is no hole in a file; those beyond `size` are left out."""
    at = 0
    while at < size:
        try:
            start = os.lseek(fd, at, os.SEEK_DATA)
            end = min(os.lseek(fd, start, os.SEEK_HOLE), size)
        except OSError:  # ENXIO: only a hole is left
            return
        if start >= size:
            return
        yield start, end - start
        at = end
