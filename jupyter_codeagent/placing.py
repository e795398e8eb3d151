"""Files written whole or not at all, several at once, and never over what somebody else wrote."""

from __future__ import annotations

import errno
import hashlib
import os
import stat
from collections.abc import Mapping
from pathlib import Path

from jupyter_codeagent.errors import NotebookError
from jupyter_codeagent.whole import beside, link, unused

_REMEMBERED = 1000  # files of which this process knows that it wrote them
_written: dict[str, bytes] = {}  # the hash of what this process wrote, by the file's real path

Signature = tuple[int, ...]  # by which it is seen that a file is another one, or has been written to


def look(path: Path, overwrite: bool = False, content: bytes | None = None) -> Signature | None:
    """Return by what a change of the file at `path` will be seen, or None where there is none.

    Parameters
    ----------
    path : Path
        Where a file is to be written.
    overwrite : bool
        One that is there may be replaced, whoever wrote it. One that this process wrote, and nobody changed since,
        may always be.
    content : bytes or None
        What is to be written; a file that holds just that may stand there.

    Raises
    ------
    NotebookError
        If nothing can be written there: no folder or one that is read-only, another's file, a link, a folder, a
        device, or a name that no file can have.
    """
    try:
        return _looked(path, overwrite, content)
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else str(error)
        raise NotebookError(f"{named(path)} cannot be written: {reason}; choose another name.") from None


def _looked(path: Path, overwrite: bool, content: bytes | None) -> Signature | None:
    if not path.parent.is_dir():
        raise NotebookError(f"There is no folder {named(path.parent)}; make it, or choose another path.")
    try:
        found = path.lstat()
    except FileNotFoundError:
        found = None
    if found is not None:
        _check_kind(path, found.st_mode)
        if not (overwrite or _ours(path) or (content is not None and _holds(path, content))):
            raise NotebookError(taken(path))
    if not os.access(path.parent, os.W_OK):
        raise NotebookError(f"The folder {named(path.parent)} is read-only; choose another path.")
    return signature(found) if found is not None else None


def _check_kind(path: Path, mode: int) -> None:
    if stat.S_ISLNK(mode):
        where = named(path.readlink())
        raise NotebookError(f"{named(path)} is a link to {where}; give the name of the file itself.")
    if stat.S_ISDIR(mode):
        raise NotebookError(f"{named(path)} is a folder; give the name of a notebook in it.")
    if not stat.S_ISREG(mode):
        raise NotebookError(f"{named(path)} is a device, a pipe or a socket; give the name of a file.")


def signature(found: os.stat_result) -> Signature:
    """Return by what is seen that a file has been replaced or written to."""
    return (found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns, found.st_ctime_ns)


def _ours(path: Path) -> bool:
    known = _written.get(os.path.realpath(path))
    return known is not None and _digest(path.read_bytes()) == known


def _holds(path: Path, content: bytes) -> bool:
    return path.stat().st_size == len(content) and path.read_bytes() == content


def _digest(content: bytes) -> bytes:
    return hashlib.blake2b(content, digest_size=16).digest()


def taken(path: Path) -> str:
    """Return the sentence about a file that is there and not ours."""
    return f"{named(path)} exists and was not touched; choose another name."


def named(path: str | Path) -> str:
    """Return a path as a sentence may name it: quoted, and not too long."""
    text = str(path)
    return repr(text if len(text) <= 300 else f"{text[:140]}...{text[-140:]}")


def place(
    contents: Mapping[Path, bytes], overwrite: bool = False, seen: Mapping[Path, Signature | None] | None = None
) -> None:
    """Write files: all of them are there whole, or all is as it was.

    Parameters
    ----------
    contents : mapping of Path to bytes
        What is to be written, in the order in which it appears.
    overwrite : bool
        As for `look`.
    seen : mapping or None
        What `look` returned when the contents were made from what lay there; None: it is looked now.

    Raises
    ------
    NotebookError
        As `look` does; if the disk is full; or if a file was changed since it was looked at.
    """
    seen = seen or {path: look(path, overwrite, content) for path, content in contents.items()}
    temporaries: dict[Path, Path] = {}
    path = next(iter(contents))
    try:
        for path, content in contents.items():
            temporaries[path] = _beside(path, content)
        _commit(contents, temporaries, seen)
    except FileExistsError:
        raise NotebookError(taken(path)) from None
    except OSError as error:
        full = error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
        advice = "; make room and save again" if full else ""
        raise NotebookError(f"{named(path)} was not written: {error.strerror}; nothing changed{advice}.") from None
    finally:
        for temporary in temporaries.values():
            temporary.unlink(missing_ok=True)
    for folder in {path.parent for path in contents}:
        _sync(folder)


def replace_file(path: Path, content: bytes) -> None:
    """Replace the file at `path` whole or not at all; whose it was it stays. Raises OSError."""
    ours = _ours(path)
    temporary = _beside(path, content)
    try:
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)
    if ours:
        _remember(path, content)
    _sync(path.parent)


def _beside(path: Path, content: bytes) -> Path:
    return beside(path, content, path.stat().st_mode & 0o777 if path.exists() else 0o666)


def _commit(
    contents: Mapping[Path, bytes], temporaries: Mapping[Path, Path], seen: Mapping[Path, Signature | None]
) -> None:
    """Put the files into their places; where one cannot be put there, those before it are as they were."""
    for path, before in seen.items():
        if before is not None and (not path.is_file() or signature(path.lstat()) != before):
            raise NotebookError(
                f"{named(path)} was changed while it was being saved, and was not touched; save again, or choose "
                "another name."
            )
    old: dict[Path, Path | None] = {}  # what stood there, if anything did, under another name
    try:
        for path, temporary in temporaries.items():
            if seen.get(path) is None:
                link(temporary, path)
                old[path] = None
            else:
                old[path] = _kept(path)
                temporary.replace(path)
    except OSError:
        _put_back(old)
        raise
    finally:
        for name in filter(None, old.values()):
            name.unlink(missing_ok=True)
    for path, content in contents.items():
        _remember(path, content)


def _kept(path: Path) -> Path:
    """Give a file a second name, or where the file system knows no such thing a copy, until its successor stays."""
    name = unused(path)
    try:
        os.link(path, name)
    except OSError:
        return _beside(path, path.read_bytes())
    return name


def _put_back(old: Mapping[Path, Path | None]) -> None:
    for path, name in old.items():
        if name is None:
            path.unlink(missing_ok=True)
        else:
            name.replace(path)


def _remember(path: Path, content: bytes) -> None:
    name = os.path.realpath(path)
    _written.pop(name, None)
    _written[name] = _digest(content)
    while len(_written) > _REMEMBERED:
        del _written[next(iter(_written))]


def _sync(folder: Path) -> None:
    try:
        handle = os.open(folder, os.O_RDONLY)
    except OSError:  # a folder that may be written to but not listed
        return
    try:
        os.fsync(handle)
    except OSError:  # some file systems cannot; the file itself is on the disk
        pass
    finally:
        os.close(handle)
