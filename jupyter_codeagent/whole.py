"""Files that are there whole or not at all."""

from __future__ import annotations

import os
import secrets
from pathlib import Path


def write_whole(path: Path, content: bytes, overwrite: bool = False, mode: int = 0o666) -> None:
    """Write a file by way of a temporary one beside it.

    Parameters
    ----------
    path : Path
        Its folder must exist.
    content : bytes
        All of it.
    overwrite : bool
        Replace a file that exists.
    mode : int
        Who may read and write it, before the umask.

    Raises
    ------
    FileExistsError
        If the file exists and `overwrite` is False.
    OSError
        If it cannot be written; then nothing has changed.
    """
    temporary = beside(path, content, mode)
    try:
        if overwrite:
            temporary.replace(path)
        else:
            link(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


def beside(path: Path, content: bytes, mode: int = 0o666) -> Path:
    """Write a temporary file beside `path`, on the disk when this returns; raises OSError, and then there is none."""
    temporary = unused(path)
    try:
        with os.fdopen(os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode), "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
    return temporary


def unused(path: Path) -> Path:
    """Return a name for a temporary file beside `path`."""
    return path.with_name(f".codeagent-{secrets.token_hex(6)}.tmp")


def link(temporary: Path, path: Path) -> None:
    """Put a file into its place, where nothing may be; raises FileExistsError if something is."""
    # link() refuses an existing name in the same step, which rename() does not
    try:
        os.link(temporary, path)
    except FileExistsError:
        raise
    except OSError:  # a file system without hard links
        if os.path.lexists(path):
            raise FileExistsError(path) from None
        temporary.replace(path)
