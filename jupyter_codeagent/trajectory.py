"""The one record: a task, the attempts made at it, and the answers given."""

from __future__ import annotations

import hashlib
import re
import secrets
import warnings
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal

from jupyter_codeagent import trajectory_file
from jupyter_codeagent.attempts import (
    Action,
    Answer,
    Attempt,
    Check,
    CodeError,
    Frame,
    Input,
    Message,
    Observation,
    Output,
    Undone,
    Usage,
    Verdict,
    plain,
)
from jupyter_codeagent.errors import TrajectoryError
from jupyter_codeagent.rebuilding import rebuild
from jupyter_codeagent.source import sameness
from jupyter_codeagent.whole import write_whole

__all__ = [
    "Action",
    "Answer",
    "Attempt",
    "Check",
    "CodeError",
    "Frame",
    "Input",
    "Message",
    "Observation",
    "Output",
    "Status",
    "Trajectory",
    "Undone",
    "Usage",
    "Verdict",
    "code_hash",
    "plain",
]

Status = Literal["queued", "running", "solved", "failed", "stopped"]

_MOMENTARY = ("current", "rivals", "queued", "folder")  # what no record keeps
_ID = re.compile(r"[A-Za-z0-9_-]{1,64}")


@dataclass
class Trajectory:
    """A task, what the model was told with it, and all that was tried.

    Parameters
    ----------
    task : str
        What the user wrote.
    context : str
        What the model is told of the notebook and the files; fixed when the task starts.
    checks : tuple of Check
        Conditions that decide success together with the model's own word.
    limit : int
        How many attempts (and rejected answers) are made at most; the candidates of one round count as one.
    id : str
        Short and unique within a notebook.
    inputs : tuple of Input
        Files that the task was given, as they were when it started.
    variables : dict of str to str
        Values that were put into the sandbox for it: name to a Python literal, empty where there is none.
    told : str
        What the user was told before the first request: which model is asked, and what it reads.
    cell : str
        The hash of the cell that gave the task; empty where none did.
    background : bool
        The agent works while the user goes on.
    queued : bool
        It waits until what was given before has ended.
    duration : float
        Seconds since it began, until its end.
    candidates : int
        How many replies are asked for at once, to be executed side by side.
    spent : Usage
        What replies cost that became neither an attempt nor an answer.
    ended : float
        When it ended, in seconds since 1970; 0 while it has not, or where that is not known.
    folder : str
        The folder that names of files are relative to, on this machine; it is in no record.
    environment : dict of str to str
        Versions of Python and of the packages that the kept code needs, by name, when the task ended.
    modules : tuple of str
        Modules of the working folder that it imports.
    reads : tuple of Input
        Further files that it reads, as they were then.
    locale : dict of str to str
        The time zone and the locale that it met, as a notebook's record has them.
    rests_on : dict of str to str
        Hashes of the user's variables that the task or its code reads, as they were when it ended.
    """

    task: str
    context: str = ""
    checks: tuple[Check, ...] = ()
    limit: int = 5
    id: str = field(default_factory=lambda: secrets.token_hex(3))
    attempts: list[Attempt] = field(default_factory=list)
    answers: list[Answer] = field(default_factory=list)
    current: Attempt | None = None  # what is being written or run now; `attempts` holds what was executed
    rivals: list[Attempt] = field(default_factory=list)  # the candidates that are written beside `current`
    stopped: bool = False
    failure: str | None = None  # a sentence, where something other than the limit ended the task
    tier: str = ""
    inputs: tuple[Input, ...] = ()
    variables: dict[str, str] = field(default_factory=dict)
    told: str = ""
    cell: str = ""
    background: bool = False
    queued: bool = False
    duration: float = 0.0
    candidates: int = 1
    spent: Usage = field(default_factory=Usage)
    ended: float = 0.0
    folder: str = ""
    environment: dict[str, str] = field(default_factory=dict)
    modules: tuple[str, ...] = ()
    reads: tuple[Input, ...] = ()
    locale: dict[str, str] = field(default_factory=dict)
    rests_on: dict[str, str] = field(default_factory=dict)

    @property
    def growing(self) -> list[Attempt]:
        """What is being written and has not been executed."""
        current = [self.current] if self.current is not None else []
        return [a for a in [*current, *self.rivals] if all(a is not known for known in self.attempts)]

    @property
    def history(self) -> Iterator[Attempt | Answer]:
        """Yield attempts and answers in the order in which they came about."""
        answers = list(self.answers)
        for count, attempt in enumerate(self.attempts):
            while answers and answers[0].after <= count:
                yield answers.pop(0)
            yield attempt
        yield from answers

    @property
    def path(self) -> Iterator[Attempt | Answer]:
        """Yield what the task went on from, in order: candidates that were not chosen are left out."""
        return (entry for entry in self.history if isinstance(entry, Answer) or entry.chosen)

    def rivals_of(self, attempt: Attempt) -> list[Attempt]:
        """Return the other candidates of an attempt's round."""
        return [a for a in self.attempts if a.of > 1 and a.round == attempt.round and a is not attempt]

    @property
    def tries(self) -> int:
        """Rounds of attempts made, and answers that did not pass."""
        return sum(a.chosen for a in self.attempts) + sum(not a.passed for a in self.answers)

    @property
    def answer(self) -> str | None:
        """The model's answer once it passed; None before, and where none of the code that it rests on is kept."""
        passed = self.answers and self.answers[-1].passed
        return self.answers[-1].action.text if passed and not self._unfounded else None

    @property
    def _unfounded(self) -> bool:
        # the user has since discarded, or edited into failure, all that a passed answer rests on
        passed = self.answers and self.answers[-1].passed
        return bool(passed and self.attempts) and not self.kept

    @property
    def kept(self) -> list[Attempt]:
        """The attempts whose effects are in the sandbox's state, in order."""
        return [a for a in self.attempts if a.succeeded and a.chosen and not a.rolled_back and not a.discarded]

    @property
    def stuck(self) -> bool:
        """The model goes in circles: for the third time the same code fails, or the same answer does not pass."""
        vain = [e for e in self.path if not (e.passed if isinstance(e, Answer) else e.succeeded)]
        if len(vain) < 3 or vain[-1] is not self.last:
            return False
        tried = [(type(e), sameness(e.action.code) if e.action.code else e.action.text.strip()) for e in vain]
        return tried.count(tried[-1]) >= 3

    @property
    def last(self) -> Attempt | Answer | None:
        """What happened last, of what the task went on from."""
        last = None
        for last in self.path:  # noqa: B007 - the last one is what is wanted
            pass
        return last

    @property
    def reason(self) -> str:
        """Why the task ended without an answer, as one sentence; empty while it runs or when solved."""
        if self.stopped:
            return "Stopped by the user; the sandbox is as it was before the stopped attempt."
        if self.answer is not None:
            return ""
        if self._unfounded:
            return "None of the code that the answer rests on is kept: it was discarded, or fails as edited."
        if self.failure:
            return self.failure
        if self.answers and self.answers[-1].action.gave_up:
            return f"The model gave up: {self.answers[-1].action.text}"
        if self.stuck:
            return "The model tried the same thing three times in vain; say more in the task, or use a larger model."
        last = self.last
        may_answer = isinstance(last, Attempt) and last.succeeded and self.tries <= self.limit
        if self.tries >= self.limit and not may_answer:
            count = "1 attempt" if self.limit == 1 else f"{self.limit} attempts"
            count += f" of {self.candidates} candidates each" if self.candidates > 1 else ""
            return f"Not solved within {count}; say more in the task, or allow more attempts."
        return ""

    @property
    def status(self) -> Status:
        """queued, running, solved (the model finished and every check passed), failed or stopped."""
        if self.stopped:
            return "stopped"
        if self.queued:
            return "queued"
        if self.answer is not None:
            return "solved"
        return "failed" if self.reason else "running"

    @property
    def usage(self) -> Usage:
        """The sum over all replies."""
        actions = [entry.action for entry in self.history]
        return sum((a.usage for a in actions), self.spent)

    @property
    def model(self) -> str:
        """The name of the model that replied last."""
        names = [entry.action.model for entry in self.history if entry.action.model]
        return names[-1] if names else ""

    def accept(self) -> None:
        """Count what was kept as accepted if the task is solved; called after a run without a person."""
        if self.status == "solved":
            for attempt in self.kept:
                attempt.accepted = True

    def to_dict(self) -> dict[str, Any]:
        """Return plain data for JSON; `from_dict` reads it back."""
        data = asdict(self)
        return {"version": 1, **{name: value for name, value in data.items() if name not in _MOMENTARY}}

    @classmethod
    def from_dict(cls, data: dict[str, Any]) -> Trajectory:
        """Rebuild a trajectory from `to_dict`.

        Raises
        ------
        ValueError
            If `data` is of another version or is not a trajectory; the message says where.
        """
        version = data.get("version") if isinstance(data, dict) else None
        if version != 1:
            raise ValueError(f"unknown version of a trajectory: {str(version)[:40]!r}")
        found = rebuild(cls, {name: value for name, value in data.items() if name not in _MOMENTARY})
        _check_id(found.id)
        return found

    def save(self, path: str | Path, *, overwrite: bool = False) -> Path:
        """Write everything to a file of JSON lines, whole or not at all; `load` reads it back.

        Parameters
        ----------
        path : str or Path
            The file; its folder must exist. `trajectory_file` describes what is in it.
        overwrite : bool
            Replace a file that exists.

        Raises
        ------
        TrajectoryError
            If the file exists and `overwrite` is False, or it cannot be written.
        """
        path = Path(path)
        try:
            _check_id(self.id)
            write_whole(path, b"".join(trajectory_file.lines_of(self.to_dict(), self.status)), overwrite)
        except FileExistsError:
            raise TrajectoryError(f"{str(path)!r} exists and was not touched; choose another name.") from None
        except (TypeError, ValueError, OSError) as error:
            reason = getattr(error, "strerror", None) or error
            raise TrajectoryError(f"{str(path)!r} was not written: {reason}; nothing changed.") from None
        return path

    @classmethod
    def load(cls, path: str | Path) -> Trajectory:
        """Read a trajectory's file: one that `save` wrote, one of a run that may have been killed, or an older one.

        A last line that was cut off is left out, with a warning. Of a task that had not ended the status is "running".

        Raises
        ------
        TrajectoryError
            If there is no such file, or it is no trajectory, or too long; the sentence says where.
        """
        stored = trajectory_file.read(Path(path))
        if stored.torn:
            warnings.warn(stored.torn, stacklevel=2)
        try:
            return cls.from_dict(stored.data)
        except (ValueError, RecursionError) as error:
            raise TrajectoryError(f"{str(path)!r} is no trajectory: {error}.") from None


def _check_id(name: str) -> None:
    if not _ID.fullmatch(name):  # it becomes a part of files' names
        raise ValueError(f"'id' is {name[:40]!r}, and not up to 64 letters, digits, '-' and '_'")


def code_hash(code: str) -> str:
    """Return the hash by which a cell's code is recognised: blake2b, 16 bytes, hexadecimal."""
    return hashlib.blake2b(code.strip().encode("utf-8", "replace"), digest_size=16).hexdigest()
