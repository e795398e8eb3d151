"""How the working folder appears inside: small files as copies, large ones read-only, secrets not at all."""

from __future__ import annotations

import functools
import io
import os
import pwd
import shlex
import stat
import sys
import sysconfig
import tarfile
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from jupyter_codeagent.errors import SandboxUnavailable
from jupyter_codeagent.keys import secret_file

MIB = 2**20
COPY_FILE = 8 * MIB  # a larger file is shown read-only instead of copied
COPY_ALL = 64 * MIB
COPY_COUNT = 5000
BINDS = 200
MASKS = 500
NOTHING = bytes(1024)  # two empty blocks: a tar file of nothing
WIDE = ("/tmp", "/var", "/home")  # noqa: S108
SYSTEM = ("/bin", "/boot", "/dev", "/etc", "/lib", "/lib32", "/lib64", "/libx32", "/proc", "/run", "/sbin", "/sys")
REPOSITORIES = {".git", ".hg", ".svn"}
SKIPPED = {
    ".git",
    ".hg",
    ".svn",
    "__pycache__",
    "node_modules",
    ".ipynb_checkpoints",
    ".venv",
    "venv",
    ".tox",
    ".mypy_cache",
    ".ruff_cache",
}
SECRET_FOLDERS = {".aws", ".ssh", ".gnupg", ".azure", ".kube"}


@dataclass
class Workspace:
    """The working folder of one sandbox.

    Parameters
    ----------
    path : str
        Where it is, outside and inside.
    archive : bytes
        A tar file of what is copied.
    binds : list of str
        What is shown read-only, at its own path.
    masked : list of str
        Paths inside `binds` that are covered.
    copied : int
        Bytes copied.
    note : str
        One sentence for the user and the model.
    """

    path: str
    archive: bytes = NOTHING
    binds: list[str] = field(default_factory=list)
    masked: list[str] = field(default_factory=list)
    copied: int = 0
    note: str = ""

    @property
    def empty(self) -> bool:
        """Nothing of the folder itself is shown."""
        return self.archive == NOTHING and self.path not in self.binds


def secret(name: str) -> bool:
    """Say whether a file's or folder's name is one that secrets have."""
    return secret_file(name) or name.lower() in SECRET_FOLDERS


def skipped(path: str, workspace: str) -> bool:
    """Say whether `path`, below the workspace, is in a folder that is not copied."""
    inside = Path(path).relative_to(workspace)
    folders = [Path(workspace, *inside.parts[: n + 1]) for n in range(len(inside.parts))]
    return any(f.name in SKIPPED or Path(f, "pyvenv.cfg").exists() for f in folders)


def too_wide(folder: Path) -> bool:
    """Say whether a folder is no project: the home folder, one above it, the system's or the interpreter's."""
    homes = {Path.home().resolve(), _home_of_record()}
    return any(folder == home or folder in home.parents for home in homes) or str(folder) in WIDE or of_system(folder)


@functools.cache
def of_system(folder: Path) -> bool:
    """Say whether a folder belongs to the system or to the interpreter, so that nothing may be put in its place."""
    paths = sysconfig.get_paths()
    code = [*SYSTEM, *(paths[name] for name in ("stdlib", "platstdlib", "purelib", "platlib", "scripts"))]
    own = {"/", "/usr", "/usr/local", sys.prefix, sys.base_prefix}
    return str(folder) in own or any(folder.is_relative_to(path) for path in code)


def _home_of_record() -> Path:
    """Return the home folder that the system has for the user, whatever HOME says."""
    try:
        return Path(pwd.getpwuid(os.getuid()).pw_dir).resolve()
    except KeyError:  # a container may run under a number that has no name
        return Path("/")


def plan(workspace: str | Path | None, files: tuple[str | Path, ...]) -> Workspace:
    """Decide what of the working folder, and which further files, a sandbox sees.

    Raises
    ------
    SandboxUnavailable
        If the folder cannot be read.
    """
    extra = [str(Path(name).expanduser().resolve()) for name in files]
    if workspace is None:
        return Workspace("/workspace", binds=extra, note="The working folder is empty.")
    folder = Path(workspace).expanduser().resolve()
    if too_wide(folder):
        note = (
            f"The folder {folder.name or '/'} holds more than a project, so only files named for the task are shown, "
            "read-only."
        )
        return Workspace("/workspace" if of_system(folder) else str(folder), binds=extra, note=note)
    try:
        return _copy(folder, extra)
    except OSError as error:
        raise SandboxUnavailable(
            f"No sandbox: the workspace {str(folder)!r} cannot be read: {error.strerror}."
        ) from error


def _copy(folder: Path, extra: list[str]) -> Workspace:
    found = Workspace(str(folder), binds=list(extra))
    buffer, hidden, count = io.BytesIO(), 0, 0
    with tarfile.open(fileobj=buffer, mode="w:", format=tarfile.GNU_FORMAT) as archive:
        for path, info in _walk(folder):
            if str(path) in extra:  # shown as it is
                continue
            if secret(path.name):
                hidden += 1
                continue
            count += 1
            if count > COPY_COUNT or len(found.binds) > BINDS:
                return _read_only(folder, extra)
            if stat.S_ISREG(info.st_mode) and (info.st_size > COPY_FILE or found.copied + info.st_size > COPY_ALL):
                found.binds.append(str(path))
            else:
                found.copied += _add(archive, path, info, folder)
    found.archive = buffer.getvalue()
    large = len(found.binds) - len(extra)
    found.note = (
        "The working folder is a copy: files written there stay in the sandbox."
        + (f" {large} large file{'s are' if large > 1 else ' is'} read-only." if large else "")
        + (
            f" {hidden} name{'s' if hidden > 1 else ''} that secrets have (.env, *.pem, ...) left out."
            if hidden
            else ""
        )
    )
    return found


def _walk(folder: Path) -> Iterator[tuple[Path, os.stat_result]]:
    """Yield folders, regular files and links below `folder`, a folder before what is in it."""
    pending = [(folder, os.listdir(folder))]  # noqa: PTH208 - names only, of many folders
    while pending:
        parent, names = pending.pop()
        for name in sorted(names):
            path = parent / name
            try:
                info = path.lstat()
                inside = os.listdir(path) if stat.S_ISDIR(info.st_mode) and not _left_out(path) else None  # noqa: PTH208
            except OSError:
                continue  # it vanished meanwhile, or the user may not look at it
            if inside is not None:
                pending.append((path, inside))
            if inside is not None or stat.S_ISREG(info.st_mode) or stat.S_ISLNK(info.st_mode):
                yield path, info


def _left_out(folder: Path) -> bool:
    return folder.name in SKIPPED or secret(folder.name) or (folder / "pyvenv.cfg").exists()


def _add(archive: tarfile.TarFile, path: Path, info: os.stat_result, folder: Path) -> int:
    """Put one entry into the archive; return the bytes of its content."""
    member = tarfile.TarInfo(str(path.relative_to(folder)))
    member.mtime, member.mode = info.st_mtime, (info.st_mode & 0o755) | 0o600
    if stat.S_ISDIR(info.st_mode):
        member.type, member.mode = tarfile.DIRTYPE, member.mode | 0o700
    elif stat.S_ISLNK(info.st_mode):
        member.type, member.linkname = tarfile.SYMTYPE, os.readlink(path)  # noqa: PTH115
    else:
        try:
            fd = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
        except OSError:
            return 0  # unreadable for the user, so also inside
        with os.fdopen(fd, "rb") as file:
            data = file.read(COPY_FILE + 1)
        member.size = len(data)
        archive.addfile(member, io.BytesIO(data))
        return len(data)
    archive.addfile(member)
    return 0


def _read_only(folder: Path, extra: list[str]) -> Workspace:
    if os.getuid() == 0 and not readable_to_others(folder.stat().st_mode):
        raise SandboxUnavailable(
            f"No sandbox: the workspace {str(folder)!r} is too large to be copied and only root may read it; "
            f"run: chmod o+rx {shlex.quote(str(folder))}, or start in a smaller folder."
        )
    masked, complete = covers(str(folder), 200_000)
    if not complete or len(masked) > MASKS:
        raise SandboxUnavailable(
            f"No sandbox: the workspace {str(folder)!r} has over 200,000 files, or over {MASKS} that must be hidden; "
            "start in a smaller folder."
        )
    note = f"The working folder has more than {COPY_COUNT:,} files, so it is read-only; write to /tmp."
    masked = [path for path in masked if path not in extra]
    return Workspace(str(folder), binds=[str(folder), *extra], masked=masked, note=note)


def readable_to_others(mode: int) -> bool:
    """Say whether anybody may list and enter a folder; under root, the code inside is somebody else."""
    return mode & 0o005 == 0o005


def covers(folder: str, most: int) -> tuple[list[str], bool]:
    """Find what must not be seen in a folder that is shown as it is.

    That is names that secrets have, the folders in which version control keeps addresses with passwords, and the
    sockets, pipes and devices by which one could talk to a program outside.

    Parameters
    ----------
    folder : str
        Where to look.
    most : int
        Entries to look at, at most.

    Returns
    -------
    tuple
        The paths to be covered, and whether everything was looked at.
    """
    found: list[str] = []
    pending, count = [folder], 0
    while pending:
        for entry in _entries(pending.pop()):
            count += 1
            if count > most:
                return found, False
            if entry.is_symlink():
                continue  # what it leads to counts
            inside = entry.is_dir(follow_symlinks=False)
            if secret(entry.name) or (inside and entry.name in REPOSITORIES):
                found.append(entry.path)
            elif inside:
                pending.append(entry.path)
            elif not entry.is_file(follow_symlinks=False):
                found.append(entry.path)
    return found, True


def _entries(folder: str) -> list[os.DirEntry[str]]:
    try:
        if os.getuid() == 0 and not readable_to_others(Path(folder).stat().st_mode):
            return []  # nor can the code inside
        with os.scandir(folder) as entries:
            return list(entries)
    except OSError:
        return []
