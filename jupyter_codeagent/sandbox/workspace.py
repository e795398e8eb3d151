"""How the working folder appears inside: below a copy-on-write layer; where there can be none, as a bounded copy."""

from __future__ import annotations

import functools
import io
import os
import pwd
import re
import shlex
import stat
import sys
import sysconfig
import tarfile
from collections.abc import Collection, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from jupyter_codeagent.errors import SandboxUnavailable
from jupyter_codeagent.sandbox.hiding import SKIPPED, Ignored, covers, hidden_names, readable_to_others, secret

MIB = 2**20
COPY_FILE = 8 * MIB  # a larger file is shown read-only instead of copied
COPY_ALL = 64 * MIB
COPY_COUNT = 5000
LARGE = 200_000  # entries of a folder that is shown read-only
BINDS = 200
MASKS = 500
NOTHING = bytes(1024)  # two empty blocks: a tar file of nothing
WIDE = ("/tmp", "/var", "/home")  # noqa: S108
SYSTEM = ("/bin", "/boot", "/dev", "/etc", "/lib", "/lib32", "/lib64", "/libx32", "/proc", "/run", "/sbin", "/sys")


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
    overlaid : bool
        The folder appears as an overlay; nothing is copied.
    inner : list of str
        Mount points below an overlaid folder, shown read-only.
    hidden : list of str
        Names that are not seen in an overlaid folder, relative to it.
    """

    path: str
    archive: bytes = NOTHING
    binds: list[str] = field(default_factory=list)
    masked: list[str] = field(default_factory=list)
    copied: int = 0
    note: str = ""
    overlaid: bool = False
    inner: list[str] = field(default_factory=list)
    hidden: list[str] = field(default_factory=list)

    @property
    def empty(self) -> bool:
        """Nothing of the folder itself is shown."""
        return self.archive == NOTHING and self.path not in self.binds and not self.overlaid

    @property
    def copied_from(self) -> bool:
        """The folder appears as a copy."""
        return self.archive != NOTHING

    def hide(self, shown: Collection[str]) -> None:
        """Look for what an overlay must not show; `shown` are full paths that are needed."""
        self.hidden = hidden_names(self.path, [path for path in shown if path.startswith(self.path + "/")])
        secrets = sum(secret(name.rpartition("/")[2]) for name in self.hidden)
        self.note = (
            "The working folder is a copy (made of each file when it is written): what is written there stays in the "
            f"sandbox until it is applied.{left_out(secrets)}"
        )


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


def plan(workspace: str | Path | None, files: tuple[str | Path, ...], overlay: bool = False) -> Workspace:
    """Decide what of the working folder, and which further files, a sandbox sees.

    Parameters
    ----------
    workspace : str, Path or None
        The working folder.
    files : tuple of str or Path
        Shown read-only.
    overlay : bool
        The system can lay an overlay over the folder. It is then still to be told what to `hide`.

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
        if overlay and all_mine(folder):
            return _overlaid(folder, extra)
        return _copy(folder, extra)
    except OSError as error:
        raise SandboxUnavailable(
            f"No sandbox: the workspace {str(folder)!r} cannot be read: {error.strerror}."
        ) from error


def all_mine(folder: Path) -> bool:
    """Say whether an overlay may write to what is in a folder: an ordinary user has no other users in a namespace."""
    info = folder.stat()
    return os.getuid() == 0 or (info.st_uid, info.st_gid) == (os.getuid(), os.getgid())


def _overlaid(folder: Path, extra: list[str]) -> Workspace:
    inner = [path for path in mount_points(str(folder)) if Path(path).is_dir()]
    masked: list[str] = []
    complete = True
    for path in inner:
        found, all_seen = covers(path, LARGE)
        masked, complete = [*masked, *found], complete and all_seen
    if not complete or len(masked) > MASKS:
        return _copy(folder, extra)
    masked = [path for path in masked if path not in extra]
    return Workspace(str(folder), binds=[*inner, *extra], masked=masked, overlaid=True, inner=inner)


def mount_points(folder: str) -> list[str]:
    """Return where something else is mounted below `folder`."""
    lines = Path("/proc/self/mountinfo").read_bytes().splitlines()
    fields = [re.sub(rb"\\([0-7]{3})", lambda code: bytes([int(code[1], 8)]), line.split()[4]) for line in lines]
    return [path for path in map(os.fsdecode, fields) if path.startswith(folder + "/")]


def _copy(folder: Path, extra: list[str]) -> Workspace:
    found = Workspace(str(folder), binds=list(extra))
    buffer, hidden, count, ignored = io.BytesIO(), 0, 0, Ignored(str(folder))
    with tarfile.open(fileobj=buffer, mode="w:", format=tarfile.GNU_FORMAT) as archive:
        for path, info in _walk(folder):
            if str(path) in extra:  # shown as it is
                continue
            if secret(path.name):
                hidden += 1
                continue
            if ignored and any(ignored(*part) for part in _parts(path.relative_to(folder), info)):
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
        + left_out(hidden)
    )
    return found


def left_out(secrets: int) -> str:
    """Return a sentence about names that secrets have, if there are any."""
    plural = "s" if secrets > 1 else ""
    return f" {secrets} name{plural} that secrets have (.env, *.pem, ...) left out." if secrets else ""


def _parts(name: Path, info: os.stat_result) -> Iterator[tuple[str, bool]]:
    """Yield a name and those of the folders it is in, each with whether it is a folder."""
    yield str(name), stat.S_ISDIR(info.st_mode)
    for above in name.parents[:-1]:
        yield str(above), True


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
    if Ignored(str(folder)):
        raise SandboxUnavailable(
            f"No sandbox: the workspace {str(folder)!r} is too large to be copied, and where no overlay is possible "
            "'.codeagentignore' needs a copy; start in a smaller folder."
        )
    masked, complete = covers(str(folder), LARGE)
    if not complete or len(masked) > MASKS:
        raise SandboxUnavailable(
            f"No sandbox: the workspace {str(folder)!r} has over {LARGE:,} files, or over {MASKS} that must be hidden; "
            "start in a smaller folder."
        )
    note = f"The working folder has more than {COPY_COUNT:,} files, so it is read-only; write to /tmp."
    masked = [path for path in masked if path not in extra]
    return Workspace(str(folder), binds=[str(folder), *extra], masked=masked, note=note)
