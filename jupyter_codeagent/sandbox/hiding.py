"""Which names of a folder are never seen inside: those of secrets, of repositories, and those the user lists."""

from __future__ import annotations

import os
from collections.abc import Collection, Iterator
from pathlib import Path

import pathspec

from jupyter_codeagent.errors import SandboxUnavailable
from jupyter_codeagent.keys import secret_file

IGNORE = ".codeagentignore"
IGNORE_BYTES = 2**20
LOOK_AT = 1_000_000  # entries of a working folder
HIDE = 20_000  # names; each takes a kilobyte of the kernel's memory
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


def secret(name: str) -> bool:
    """Say whether a file's or folder's name is one that secrets have."""
    return secret_file(name) or name.lower() in SECRET_FOLDERS


class Ignored:
    """What the working folder's ``.codeagentignore`` names, in the syntax of ``.gitignore``.

    Parameters
    ----------
    folder : str
        The working folder; only the file at its top counts.

    Raises
    ------
    SandboxUnavailable
        If the file is there and cannot be read or understood: nothing that it names may be shown.
    """

    def __init__(self, folder: str) -> None:
        self._spec: pathspec.GitIgnoreSpec | None = None
        path = Path(folder, IGNORE)
        try:
            with path.open("rb") as file:
                lines = file.read(IGNORE_BYTES).decode("utf-8", "surrogateescape").splitlines()
            self._spec = pathspec.GitIgnoreSpec.from_lines(lines)
        except FileNotFoundError:
            pass
        except (OSError, ValueError) as error:
            raise SandboxUnavailable(
                f"No sandbox: {str(path)!r} cannot be used: {error}; mend it or move it away."
            ) from error

    def __bool__(self) -> bool:
        return self._spec is not None

    def __call__(self, name: str, is_folder: bool) -> bool:
        """Say whether a name relative to the working folder is among them."""
        return self._spec is not None and self._spec.match_file(name + "/" if is_folder else name)


def hidden_names(folder: str, shown: Collection[str]) -> list[str]:
    """Return what an overlay over `folder` has to hide, relative to it.

    Parameters
    ----------
    folder : str
        The working folder.
    shown : collection of str
        Full paths that are needed inside, whatever their names are.

    Raises
    ------
    SandboxUnavailable
        If the folder is too large to be looked through.
    """
    ignored, start = Ignored(folder), len(folder) + 1
    needed = {path[:at] for path in shown for at in _ends(path, start)} if shown else set()
    found: list[str] = []
    pending, count = [folder], 0
    while pending:
        here = pending.pop()
        entries = _all(here)
        count += len(entries)
        if here != folder and any(entry.name == "pyvenv.cfg" for entry in entries):  # a virtual environment
            if here not in needed:
                found.append(here[start:])
            continue
        for entry in entries:
            inside = entry.is_dir(follow_symlinks=False)
            if _unseen(entry, inside) or (ignored and ignored(entry.path[start:], inside)):
                if entry.path not in needed:
                    found.append(entry.path[start:])
            elif inside:
                pending.append(entry.path)
        if count > LOOK_AT or len(found) > HIDE:
            raise SandboxUnavailable(
                f"No sandbox: the workspace {folder!r} has over {LOOK_AT:,} entries, or over {HIDE:,} that must be "
                "hidden; start in a smaller folder."
            )
    return found


def _ends(path: str, start: int) -> Iterator[int]:
    """Yield where the names in a path end, from the place `start` on."""
    return (at for at in range(start, len(path) + 1) if path[at : at + 1] in ("/", ""))


def _unseen(entry: os.DirEntry[str], inside: bool) -> bool:
    """Say whether an entry is hidden for its name, or as something by which one could talk to a program outside."""
    if inside:
        return entry.name in SKIPPED or secret(entry.name)
    return secret_file(entry.name) or not (entry.is_file(follow_symlinks=False) or entry.is_symlink())


def _all(folder: str) -> list[os.DirEntry[str]]:
    try:
        with os.scandir(folder) as entries:
            return list(entries)
    except OSError:
        return []  # it vanished meanwhile, or the user may not look at it; then nor can the code


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
    except OSError:
        return []
    return _all(folder)
