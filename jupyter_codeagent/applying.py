"""Changes of the sandbox made in the user's folder: each file whole or not at all, and all of it taken back again."""

from __future__ import annotations

import contextlib
import os
import secrets
import stat
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, field

from jupyter_codeagent.sandbox import tree
from jupyter_codeagent.sandbox.changes import Change, Mark
from jupyter_codeagent.sandbox.contents import Content, Store
from jupyter_codeagent.unasked import reason

TEMPORARY = ".codeagent-apply-"  # what a process that was killed may leave behind
MOST = 2**30  # bytes that are kept to take the last application back
OTHER = "The sandbox has changed it since its differences were shown; look at them again."
CHANGED = "It has changed since it was applied, and stays as it is."


@dataclass(frozen=True)
class Done:
    """One file that was applied.

    Parameters
    ----------
    path : str
        Relative to the folder.
    old : Content or None
        What it held; None: there was no file.
    mode : int
        Permissions that it had.
    mark : Mark or None
        By which it is known now; None: it was deleted.
    made : tuple of str
        Folders that were made for it.
    """

    path: str
    old: Content | None
    mode: int
    mark: Mark | None
    made: tuple[str, ...] = ()


@dataclass(frozen=True)
class Outcome:
    """What was applied or, with `back`, taken back, and what was not, with the reason."""

    applied: tuple[str, ...] = ()
    refused: dict[str, str] = field(default_factory=dict)
    back: bool = False

    def __str__(self) -> str:
        """Return it in words."""
        count = len(self.applied)
        which = "No file was" if not count else "1 file was" if count == 1 else f"{count} files were"
        done = "put back as before" if self.back else "changed in the folder"
        why = "" if self.applied or self.refused else ": the sandbox has changed nothing"
        lines = [f"{which} {done}{why}."]
        return "\n".join([*lines, *(f"Not {path!r}: {why}" for path, why in self.refused.items())])


class Applier:
    """Makes changes in one folder, and takes the last ones back.

    Parameters
    ----------
    folder : str
        The user's working folder.
    """

    def __init__(self, folder: str) -> None:
        self.folder = folder
        self._done: list[Done] = []
        self._store = Store(MOST)

    def apply(
        self, changes: Sequence[Change], paths: Sequence[str] | None = None, unseen: Collection[str] = ()
    ) -> Outcome:
        """Apply changes, each file at once: another program sees the old or the new one, whatever happens meanwhile.

        Parameters
        ----------
        changes : sequence of Change
            All that there are.
        paths : sequence of str, optional
            Files, or folders for what is in them; by default all. What runs by itself has to be named as a file.
        unseen : collection of str
            Paths whose change is another one than was shown; they are refused.
        """
        refused = {name: "The sandbox has not changed it." for name in paths or () if not _any(name, changes)}
        done: list[Done] = []
        others = [change.path for change in changes]
        try:
            with self._opened() as root:
                for change in changes:
                    named = paths is not None and change.path in paths
                    if not named and paths is not None and not any(_below(change.path, name) for name in paths):
                        continue
                    why = OTHER if change.path in unseen else refusal(change, others, named)
                    if not why:
                        try:
                            done.append(self._apply(root, change))
                        except (OSError, tree.TooMuch) as error:
                            why = f"It could not be written: {getattr(error, 'strerror', None) or error}."
                    if why:
                        refused[change.path] = why
        finally:  # an interrupt in the middle leaves something to take back, too
            if done:
                self._done = done
        return Outcome(tuple(d.path for d in done), refused)

    def undo(self) -> Outcome:
        """Put back what the last `apply` changed, but for files that were changed since."""
        back: list[str] = []
        refused: dict[str, str] = {}
        left: list[Done] = []
        with self._opened() as root:
            for done in reversed(self._done):
                try:
                    if Mark.of(tree.look_beneath(root, done.path)) != done.mark:
                        raise BlockingIOError(CHANGED)
                    self._put_back(root, done)
                    back.append(done.path)
                except OSError as error:
                    refused[done.path] = CHANGED if isinstance(error, BlockingIOError) else f"It could not be: {error}."
                    left.insert(0, done)
        self._done = left
        return Outcome(tuple(reversed(back)), refused, back=True)

    @property
    def applied(self) -> bool:
        """Something was applied that `undo` would take back."""
        return bool(self._done)

    @contextlib.contextmanager
    def _opened(self) -> Iterator[int]:
        fd = os.open(self.folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            yield fd
        finally:
            os.close(fd)

    def _apply(self, root: int, change: Change) -> Done:
        old = None
        if change.old is not None:
            with _closing(tree.open_file(root, change.path)) as fd:
                old = self._store.keep(fd, self._store.pack())
        mode = change.old.mode & 0o777 if change.old is not None else 0o666
        if change.content is None:
            with _parent(root, change.path) as (folder, name):
                _unchanged(root, change)
                os.unlink(name, dir_fd=folder)
                os.fsync(folder)
            return Done(change.path, old, mode, None)
        made = _make_folders(root, change.path)
        try:
            write(root, change.path, change.content, mode, change)
        except BaseException:
            _remove_folders(root, made)
            raise
        return Done(change.path, old, mode, Mark.of(tree.look_beneath(root, change.path)), made)

    def _put_back(self, root: int, done: Done) -> None:
        if done.old is not None:
            write(root, done.path, done.old, done.mode)
            return
        with _parent(root, done.path) as (folder, name):
            os.unlink(name, dir_fd=folder)
            os.fsync(folder)
        _remove_folders(root, done.made)


def refusal(change: Change, others: Sequence[str], named: bool) -> str:
    """Return why a change is not applied, or nothing; `named`: the user has written its own path."""
    if change.kind == "special":
        return f"It is no regular file ({change.special})."
    if change.conflict and change.old is not None:
        return f"{change.conflict} Move your version away to take this one."
    apart = change.conflict or reason(change.path, change.kind == "added", others)
    return f"{apart} Name it to apply it." if apart and not named else ""


def write(root: int, path: str, content: Content, mode: int, change: Change | None = None) -> None:
    """Write a file beside its place and move it there; `change` says what must be there until then."""
    with _parent(root, path) as (folder, name):
        old = tree.look_beneath(root, path)
        temporary = TEMPORARY + secrets.token_hex(8)
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
        fd = os.open(temporary, flags, mode & 0o777 if old is None else 0o600, dir_fd=folder)
        try:
            with _closing(fd):
                _fill(fd, content)
                if old is not None:
                    _resemble(fd, os.stat(name, dir_fd=folder, follow_symlinks=False), mode)
                os.fsync(fd)
            if change is not None:
                _unchanged(root, change)
            os.rename(temporary, name, src_dir_fd=folder, dst_dir_fd=folder)
        except BaseException:
            with contextlib.suppress(FileNotFoundError):
                os.unlink(temporary, dir_fd=folder)
            raise
        os.fsync(folder)


def _fill(fd: int, content: Content) -> None:
    os.ftruncate(fd, content.size)
    for at, length, where in content.parts:
        done = 0
        while done < length:
            data = os.pread(content.pack.fd, min(tree.PIECE, length - done), where + done)
            done += os.pwrite(fd, data, at + done)


def _resemble(fd: int, info: os.stat_result, mode: int) -> None:
    """Give a file the owner that the old one has, where that is allowed, and a mode."""
    with contextlib.suppress(PermissionError):
        os.fchown(fd, info.st_uid, info.st_gid)
    os.fchmod(fd, mode & 0o777)


def _unchanged(root: int, change: Change) -> None:
    """Raise OSError if the user's file is not the one that the change was compared with."""
    if Mark.of(tree.look_beneath(root, change.path)) != Mark.of(change.old):
        raise FileExistsError(0, "it has changed at this moment")


def _make_folders(root: int, path: str) -> tuple[str, ...]:
    """Make the folders that a file is to be in; returns those that were not there."""
    made = []
    parts = path.split("/")[:-1]
    for count in range(1, len(parts) + 1):
        above = "/".join(parts[:count])
        with _parent(root, above) as (folder, name):
            try:
                os.mkdir(name, dir_fd=folder)
                made.append(above)
            except FileExistsError:
                if not stat.S_ISDIR(os.stat(name, dir_fd=folder, follow_symlinks=False).st_mode):
                    raise NotADirectoryError(0, f"{above!r} is no folder here") from None
    return tuple(made)


def _remove_folders(root: int, made: Sequence[str]) -> None:
    """Remove the folders that were made for a file, as far as nothing else is in them."""
    for path in reversed(made):
        with contextlib.suppress(OSError), _parent(root, path) as (folder, name):
            os.rmdir(name, dir_fd=folder)


@contextlib.contextmanager
def _parent(root: int, path: str) -> Iterator[tuple[int, str]]:
    """Give a descriptor of the folder that `path` is in, reached through no link, and its last part."""
    above, _, name = path.rpartition("/")
    if name in ("", ".", "..") or "\0" in path:
        raise NotADirectoryError(0, f"{path!r} is no path below a folder")
    fd = tree.open_beneath(root, above, os.O_RDONLY | os.O_DIRECTORY) if above else os.dup(root)
    try:
        yield fd, name
    finally:
        os.close(fd)


@contextlib.contextmanager
def _closing(fd: int) -> Iterator[int]:
    try:
        yield fd
    finally:
        os.close(fd)


def _below(path: str, name: str) -> bool:
    return name in (".", "") or path.startswith(name.rstrip("/") + "/")


def _any(name: str, changes: Sequence[Change]) -> bool:
    return any(change.path == name or _below(change.path, name) for change in changes)
