"""How much may be executed at one time on this machine, over all notebooks of a user.

Every sandbox may always execute one thing. What it executes beside that takes a slot, of which there is one less than
there are processors. A slot is a locked file, so the kernel frees it when its holder ends, however that happens. It is
given back after each piece of work, so that no notebook keeps the others waiting for longer than one takes.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import stat
import tempfile
from pathlib import Path

PRIVATE = 0o700


class Slot:
    """The right to execute one thing more; `release` it, or end."""

    def __init__(self, fd: int) -> None:
        self._fd = fd

    def release(self) -> None:
        """Give it back; again does nothing."""
        fd, self._fd = self._fd, -1
        if fd >= 0:
            os.close(fd)


class Slots:
    """The slots of this machine.

    Parameters
    ----------
    count : int or None
        How many there are; None: the processors that this process may use, less one.
    folder : Path or None
        Where their files are; None: in the user's runtime folder.
    name : str
        What their files' names begin with; those of another name are others.
    """

    def __init__(self, count: int | None = None, folder: Path | None = None, name: str = "slot") -> None:
        self.name = name
        self.count = len(os.sched_getaffinity(0)) - 1 if count is None else count
        self.folder = folder or runtime_folder()

    def take(self) -> Slot | None:
        """Return a free slot, or None where there is none, or no folder that can be trusted."""
        with contextlib.suppress(OSError):
            private(self.folder)
            for number in range(self.count):
                if (slot := _lock(self.folder / f"{self.name}-{number}")) is not None:
                    return slot
        return None


def runtime_folder() -> Path:
    """Return the folder for what lives as long as processes do."""
    given = os.environ.get("XDG_RUNTIME_DIR", "")
    if given.startswith("/") and os.access(given, os.W_OK):
        return Path(given) / "jupyter-codeagent"
    return Path(tempfile.gettempdir()) / f"jupyter-codeagent-{os.getuid()}"


def private(folder: Path) -> None:
    """Make sure that a folder exists and is this user's alone; raises PermissionError where it is somebody else's."""
    with contextlib.suppress(FileExistsError):
        folder.mkdir(PRIVATE)
    found = folder.lstat()
    if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.getuid() or found.st_mode & 0o022:
        raise PermissionError(f"{folder} is not a folder of this user alone")


def _lock(path: Path) -> Slot | None:
    fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        os.close(fd)
        return None
    return Slot(fd)
