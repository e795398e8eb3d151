"""A lock of a notebook's packages, with addresses and hashes (PEP 751), made by uv or pip when the user asks for it.

An installed environment knows neither addresses nor hashes, so a package index is asked. Nothing here raises: what goes
wrong is a sentence, and the notebook has its pins in ``requirements.txt`` anyway.
"""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import tomllib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Any

from packaging.utils import canonicalize_name
from packaging.version import InvalidVersion, Version

from jupyter_codeagent.environment import entries, requirements

PATIENCE = 120.0  # seconds for the package index
ROUND = 0.05  # seconds between two looks at whether it was stopped
PIP = Version("25.1")  # the first with `pip lock`
MOST = 16 * 2**20  # bytes of a lock
_PASSWORD = re.compile(r"(?<=://)[^\s/@\"']+@")


@dataclass(frozen=True)
class Lock:
    """A lock's text, or else why there is none; `problem` may also say what the lock leaves out."""

    text: str = ""
    problem: str = ""


def lock_path(notebook: Path) -> Path:
    """Return where the lock of the notebook at `notebook` lies: ``pylock.STEM.toml`` beside it.

    The name must be one that PEP 751 allows, so that dots in the stem become hyphens.
    """
    stem = notebook.name.removesuffix(".ipynb").strip(".").replace(".", "-")
    return notebook.with_name(f"pylock.{stem}.toml" if stem else "pylock.toml")


def make(
    environment: Mapping[str, str], *, timeout: float = PATIENCE, stopping: Callable[[], bool] | None = None
) -> Lock:
    """Return a lock with exactly the versions of `environment`; asks the package index that uv or pip is set up with.

    Parameters
    ----------
    environment : mapping of str to str
        As a notebook's record has it (see `environment.packages_of`).
    timeout : float
        Seconds.
    stopping : callable or None
        Asked now and then; when it returns True, there is no lock. Ctrl-C has the same effect.

    Returns
    -------
    Lock
        Its text holds the address and hash of each package, for all platforms where uv made it, else for this one.
    """
    wanted = {str(canonicalize_name(n)): (version, origin) for n, version, origin in entries(environment)}
    local = sorted(name for name, (_, origin) in wanted.items() if origin == "local")
    if not set(wanted) - set(local):
        return Lock(problem="No lock was made: there is no package in it that an index has.")
    command = _command()
    if not command:
        return Lock(problem="No lock was made: neither uv nor pip 25.1 or newer is here; run: pip install uv")
    with tempfile.TemporaryDirectory(prefix="codeagent-lock-") as folder:
        place = Path(folder)
        (place / "requirements.txt").write_text(requirements(environment), "utf-8")
        problem = _run(command, place, timeout, stopping or (lambda: False))
        problem, text = (problem, "") if problem else _read(place / "pylock.toml")
    problem = problem or _different(text, {n: version for n, (version, _) in wanted.items() if n not in local})
    if problem:
        return Lock(problem=f"No lock was made: {problem}")
    left_out = f"The lock leaves out what was installed from a folder or file: {', '.join(local)}." if local else ""
    return Lock(text, left_out)


def script_block(environment: Mapping[str, str]) -> str:
    """Return the comment by which ``juv run`` and other tools install a notebook's packages (PEP 723).

    It is to be the whole of a first code cell. Packages that no index has are left out.
    """
    python = environment.get("python", "")
    minor = re.match(r"(\d+\.\d+)(?:\.|$)", python) if isinstance(python, str) else None
    pins = [line for line in requirements(environment).splitlines() if not line.startswith("#")]
    lines = ["/// script", *([f'requires-python = "=={minor[1]}.*"'] if minor else []), "dependencies = ["]
    return "\n".join(f"# {line}" for line in [*lines, *(f'  "{pin}",' for pin in pins), "]", "///"])


def _command() -> list[str]:
    """Return the command that makes ``pylock.toml`` of ``requirements.txt``; empty where there is none."""
    beside = Path(sys.executable).with_name("uv")
    uv = str(beside) if os.access(beside, os.X_OK) else shutil.which("uv")
    if uv:
        options = ["--quiet", "--universal", "--no-deps", "--no-header", "--no-annotate", "--format", "pylock.toml"]
        return [uv, "pip", "compile", *options, "--python", sys.executable, "-o", "pylock.toml", "requirements.txt"]
    try:
        if Version(metadata.version("pip")) >= PIP:
            options = ["--quiet", "--disable-pip-version-check", "--no-input", "--no-deps"]
            return [sys.executable, "-m", "pip", "lock", *options, "-o", "pylock.toml", "-r", "requirements.txt"]
    except (metadata.PackageNotFoundError, InvalidVersion):
        pass
    return []


def _run(command: list[str], folder: Path, timeout: float, stopping: Callable[[], bool]) -> str:
    """Run a command to its end; returns what was wrong, as the end of a sentence."""
    name = "pip" if "-m" in command else "uv"
    with (folder / "said").open("w+b") as said:
        try:
            process = subprocess.Popen(
                command, cwd=folder, stdin=subprocess.DEVNULL, stdout=said, stderr=said, start_new_session=True
            )
        except OSError as error:
            return f"{name} cannot be run: {error.strerror}."
        try:
            problem = _waited(process, timeout, stopping)
        except KeyboardInterrupt:
            problem = "it was stopped."
        finally:
            _end(process)
        said.seek(0)
        return problem or (_failure(name, said.read(2**16).decode("utf-8", "replace")) if process.returncode else "")


def _waited(process: subprocess.Popen[bytes], timeout: float, stopping: Callable[[], bool]) -> str:
    end = time.monotonic() + timeout
    while True:
        try:
            process.wait(ROUND)
            return ""
        except subprocess.TimeoutExpired:
            if stopping():
                return "it was stopped."
            if time.monotonic() > end:
                return f"the package index did not answer within {timeout:.0f} s."


def _end(process: subprocess.Popen[bytes]) -> None:
    if process.poll() is None:
        try:
            os.killpg(process.pid, signal.SIGKILL)
        except ProcessLookupError:
            pass
        process.wait()


def _failure(name: str, said: str) -> str:
    """Return what a program said of its failure, in one line: the error, and its first and last cause."""
    lines = [" ".join(line.split()) for line in said.splitlines() if line.strip()]
    errors = [line for line in lines if re.match(r"(?i)(error|×|[╰├]─▶)", line)] or lines[-1:]
    causes = [line for line in lines if line.lower().startswith(("cause:", "caused by:"))]
    told = re.sub(r"(?i)^(error:|×|[╰├]─▶)\s*", "", errors[0]) if errors else "it said nothing"
    text = "; ".join(dict.fromkeys([told, *causes[:1], *causes[-1:]]))
    return f"{name} says: {_PASSWORD.sub('', text)[:400].rstrip('.')}."


def _read(path: Path) -> tuple[str, str]:
    try:
        with path.open("rb") as file:
            text = file.read(MOST + 1).decode("utf-8")
    except (OSError, ValueError):
        return "what came is no lock.", ""
    if len(text) > MOST:
        return "the lock is too long.", ""
    return "", _PASSWORD.sub("", text)


def _different(text: str, wanted: Mapping[str, str]) -> str:
    """Return how a lock is not what it should be; empty where it is."""
    try:
        data = tomllib.loads(text)
        found = {str(canonicalize_name(each["name"])): each for each in data["packages"]}
        if problem := _invalid(data):
            return f"what came is no lock ({problem})."
    except (tomllib.TOMLDecodeError, KeyError, TypeError, RecursionError):
        return "what came is no lock."
    if re.search(r"""["']file:|\b(?:path|directory)\b ?=""", text):
        return "it would name files of this machine, since the index is a folder here."
    for name, version in wanted.items():
        got = found.get(name, {}).get("version", version if name in found else None)
        if got is None:
            return f"{name} is missing in what the index gave."
        if not _same(str(got), version):
            return f"the index gave {name} {str(got)[:60]} in place of {version}."
    return ""


def _same(one: str, other: str) -> bool:
    try:
        return Version(one) == Version(other)
    except InvalidVersion:
        return one == other


def _invalid(data: dict[str, Any]) -> str:
    try:
        from packaging.pylock import Pylock, PylockValidationError
    except ImportError:  # packaging before version 26 has it not
        return "" if data.get("lock-version") == "1.0" else "its version is not 1.0"
    try:
        Pylock.from_dict(data)
    except PylockValidationError as error:
        return str(error)[:200]
    return ""
