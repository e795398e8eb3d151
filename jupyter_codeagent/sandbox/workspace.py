"""How the working folder appears inside: small files as copies, large ones read-only, secrets not at all."""

from __future__ import annotations

import fnmatch
import io
import os
import stat
import tarfile
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from jupyter_codeagent.errors import SandboxUnavailable

MIB = 2**20
COPY_FILE = 8 * MIB  # a larger file is shown read-only instead of copied
COPY_ALL = 64 * MIB
COPY_COUNT = 5000
BINDS = 200
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
SECRETS = (
    ".env", ".env.*", "*.pem", "*.key", "*.p12", "*.pfx", "id_rsa*", "id_ed25519*", "id_ecdsa*", ".netrc", ".npmrc",
    ".pypirc", "credentials", "credentials.json", "*.kdbx", ".aws", ".ssh", ".gnupg", ".azure", ".kube",
)  # fmt: skip


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
    archive: bytes = bytes(1024)  # two empty blocks: a tar file of nothing
    binds: list[str] = field(default_factory=list)
    masked: list[str] = field(default_factory=list)
    copied: int = 0
    note: str = ""


def secret(name: str) -> bool:
    """Say whether a file's or folder's name is one that secrets have."""
    return any(fnmatch.fnmatchcase(name.lower(), pattern) for pattern in SECRETS)


def skipped(path: str, workspace: str) -> bool:
    """Say whether `path`, below the workspace, is in a folder that is not copied."""
    inside = Path(path).relative_to(workspace)
    folders = [Path(workspace, *inside.parts[: n + 1]) for n in range(len(inside.parts))]
    return any(f.name in SKIPPED or Path(f, "pyvenv.cfg").exists() for f in folders)


def too_wide(folder: Path) -> bool:
    """Say whether a folder holds more than a project: the home folder, the root, or a folder above home."""
    home = Path.home().resolve()
    return (
        folder == home
        or folder in home.parents
        or folder == Path("/")
        or str(folder) in ("/tmp", "/usr", "/etc", "/var")  # noqa: S108 - as a name to compare with
    )


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
        named = "so only files named for the task are shown, read-only"
        note = f"The folder {folder.name or '/'} holds more than a project, {named}."
        return Workspace(str(folder), binds=extra, note=note)
    try:
        return _copy(folder, extra)
    except OSError as error:
        raise SandboxUnavailable(
            f"No sandbox: the workspace {str(folder)!r} cannot be read: {error.strerror}."
        ) from error


def _copy(folder: Path, extra: list[str]) -> Workspace:
    found = Workspace(str(folder), binds=extra)
    buffer, hidden, count = io.BytesIO(), 0, 0
    with tarfile.open(fileobj=buffer, mode="w:", format=tarfile.GNU_FORMAT) as archive:
        for path, info in _walk(folder):
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
            f" {hidden} name{'s' if hidden > 1 else ''} that secrets have ({', '.join(SECRETS[:3])}, ...) left out."
            if hidden
            else ""
        )
    )
    return found


def _walk(folder: Path) -> Iterator[tuple[Path, os.stat_result]]:
    """Yield folders, regular files and links below `folder`, a folder before what is in it."""
    pending = [folder]
    while pending:
        with os.scandir(pending.pop()) as entries:
            for entry in sorted(entries, key=lambda e: e.name):
                info = entry.stat(follow_symlinks=False)
                if entry.is_dir(follow_symlinks=False):
                    if entry.name in SKIPPED or secret(entry.name) or Path(entry.path, "pyvenv.cfg").exists():
                        continue
                    if not os.access(entry.path, os.R_OK | os.X_OK):
                        continue
                    pending.append(Path(entry.path))
                if stat.S_ISDIR(info.st_mode) or stat.S_ISREG(info.st_mode) or stat.S_ISLNK(info.st_mode):
                    yield Path(entry.path), info


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
    masked = [str(path) for path, _ in _some(folder) if secret(path.name)]
    note = f"The working folder has more than {COPY_COUNT:,} files, so it is read-only; write to /tmp."
    return Workspace(str(folder), binds=[str(folder), *extra], masked=masked, note=note)


def _some(folder: Path) -> Iterator[tuple[Path, os.stat_result]]:
    """Walk, but not for ever."""
    for count, found in enumerate(_walk_all(folder)):
        if count > 200_000:
            raise SandboxUnavailable(
                f"No sandbox: the workspace {str(folder)!r} has over 200,000 files; start in a smaller folder."
            )
        yield found


def _walk_all(folder: Path) -> Iterator[tuple[Path, os.stat_result]]:
    for root, folders, files in os.walk(folder):
        for name in [*folders, *files]:
            path = Path(root, name)
            yield path, path.lstat()
        folders[:] = [name for name in folders if not secret(name)]
