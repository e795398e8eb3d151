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
from jupyter_codeagent.errors import TrajectoryError
from jupyter_codeagent.rebuilding import rebuild
from jupyter_codeagent.source import sameness
from jupyter_codeagent.whole import write_whole

Output = dict[str, Any]  # an nbformat 4.5 output, as it passed the gate
Message = dict[str, Any]  # a message of the Messages API
Status = Literal["queued", "running", "solved", "failed", "stopped"]

_MOMENTARY = ("current", "rivals", "queued", "folder")  # what no record keeps
_ID = re.compile(r"[A-Za-z0-9_-]{1,64}")
_ESCAPES = re.compile(r"\x1b\[[0-9;?]*[ -/]*[@-~]|\x1b\][^\x07\x1b]*(?:\x07|\x1b\\)|\x1b.")


def plain(text: str) -> str:
    """Return `text` without terminal escapes."""
    return _ESCAPES.sub("", text)


@dataclass(frozen=True)
class Usage:
    """What one or more replies cost.

    Parameters
    ----------
    input_tokens : int
        Tokens read that were not cached (cache writes included).
    output_tokens : int
        Tokens written, thinking included.
    cache_read_tokens : int
        Tokens read from the endpoint's cache.
    cost : float or None
        US dollars; None where the price is not known.
    """

    input_tokens: int = 0
    output_tokens: int = 0
    cache_read_tokens: int = 0
    cost: float | None = None

    def __add__(self, other: Usage) -> Usage:
        costs = [c for c in (self.cost, other.cost) if c is not None]
        return Usage(
            self.input_tokens + other.input_tokens,
            self.output_tokens + other.output_tokens,
            self.cache_read_tokens + other.cache_read_tokens,
            sum(costs) if costs else None,
        )


@dataclass(frozen=True)
class Action:
    """What the model wants next: code to execute, or else its answer.

    Parameters
    ----------
    text : str
        The explanation before the code (Markdown); the answer itself where `code` is None.
    code : str or None
        Python to execute. None: `text` is the answer.
    gave_up : bool
        The model says that it could not solve the task; only with `code` None.
    usage : Usage
        What the reply cost, re-asks included.
    model : str
        The name of the model that replied.
    exchange : tuple of dict
        The messages of this reply as they crossed the wire, kept to be sent again unchanged.
    """

    text: str
    code: str | None = None
    gave_up: bool = False
    usage: Usage = Usage()
    model: str = ""
    exchange: tuple[Message, ...] = ()


@dataclass(frozen=True)
class Frame:
    """One of the user's own frames in a traceback: file, 1-based line, function, and that line's source."""

    file: str
    line: int
    function: str
    source: str


@dataclass(frozen=True)
class CodeError:
    """How an execution ended badly.

    Parameters
    ----------
    ename : str
        The exception's type, or one of `TimedOut`, `OutOfMemory`, `Crashed`, `OutputLimit`,
        `ProcessLimit`, `Interrupted`.
    evalue : str
        Its message.
    traceback : list of str
        What a notebook shows, with terminal colours.
    frames : tuple of Frame
        The user's frames, outermost first.
    """

    ename: str
    evalue: str
    traceback: list[str] = field(default_factory=list)
    frames: tuple[Frame, ...] = ()


@dataclass(frozen=True)
class Observation:
    """What came back from executing code.

    Parameters
    ----------
    outputs : list of dict
        nbformat 4.5 outputs, in order, as they passed the gate. An error is also the last of them.
    error : CodeError or None
        None if the code ran to its end.
    duration : float
        Seconds.
    notes : tuple of str
        Sentences of the supervisor: what was cut, which process was ended, what was passed in.
    names : dict of str to str
        Top-level names that the code created or changed, each with a short description.
    modules : tuple of str
        Modules of packages that were imported since the execution before, by the names of the packages; of packages
        that share a namespace, by those of their parts. Hostile: names, and no more.
    """

    outputs: list[Output] = field(default_factory=list)
    error: CodeError | None = None
    duration: float = 0.0
    notes: tuple[str, ...] = ()
    names: dict[str, str] = field(default_factory=dict)
    modules: tuple[str, ...] = ()

    @property
    def text(self) -> str:
        """Streams and text/plain in order, without terminal escapes."""
        return plain("".join(_texts(self.outputs)))


def _texts(outputs: list[Output]) -> Iterator[str]:
    for output in outputs:
        if output["output_type"] == "stream":
            yield output["text"]
        elif text := output.get("data", {}).get("text/plain"):
            yield text if text.endswith("\n") else text + "\n"


@dataclass(frozen=True)
class Check:
    """A condition the user set: a label to show and the code that raises where it does not hold."""

    label: str
    code: str


@dataclass(frozen=True)
class Verdict:
    """What became of one check; `detail` is one sentence where it did not pass."""

    check: str
    passed: bool
    detail: str = ""


@dataclass(frozen=True)
class Undone:
    """What going back to an earlier state of the sandbox has done.

    Parameters
    ----------
    files : bool
        Files are as they were then, as variables always are.
    processes : int
        How many processes were ended that the code had left running.
    notes : tuple of str
        Sentences of the supervisor: that earlier code ran again, and why.
    """

    files: bool = False
    processes: int = 0
    notes: tuple[str, ...] = ()


@dataclass
class Attempt:
    """One piece of code and what came of it; the user sees it as one cell.

    Parameters
    ----------
    number : int
        1-based within its task.
    action : Action
        Explanation and code; grows while the model writes.
    observation : Observation or None
        None until the code is executed; grows while it runs.
    done : bool
        The code has been executed, or was stopped.
    rolled_back : bool
        The sandbox is again as it was before this attempt.
    undone : Undone or None
        What was made as before; None where that is not known.
    accepted, discarded : bool
        What the user said of it. In a run without a person the kept attempts of a solved task count as accepted.
    edited : bool
        The code is not as the model wrote it.
    written : str or None
        What the model wrote, where the user edited that and ran it.
    taken : str or None
        The code as the user took it over, where that is not what ran.
    round : int
        Which ask of the task it comes from, 1-based, where several candidates were asked for; 0: it was alone.
    candidate, of : int
        It is this one of so many candidates of its round.
    chosen : bool
        The task goes on from it. False: another candidate of its round was chosen, or none is yet.
    reason : str
        Why it was chosen, or not, as one sentence; empty where there was no choice or there is none yet.
    """

    number: int
    action: Action = Action("")
    observation: Observation | None = None
    done: bool = False
    rolled_back: bool = False
    undone: Undone | None = None
    accepted: bool = False
    discarded: bool = False
    edited: bool = False
    written: str | None = None
    taken: str | None = None
    round: int = 0
    candidate: int = 1
    of: int = 1
    chosen: bool = True
    reason: str = ""

    @property
    def undecided(self) -> bool:
        """It is one of several candidates, and none of them is chosen yet."""
        return self.of > 1 and not self.reason

    @property
    def changed(self) -> tuple[str, str] | None:
        """The code as the model wrote it, and as the user left it; None where the user changed nothing."""
        code = self.action.code or ""
        before = code if self.written is None else self.written
        after = code if self.taken is None else self.taken
        return (before, after) if before.strip() != after.strip() else None

    @property
    def succeeded(self) -> bool:
        """The code ran to its end without an error."""
        return self.done and self.observation is not None and self.observation.error is None

    @property
    def status(self) -> str:
        """One of writing, running, failed, succeeded, accepted, discarded."""
        if self.discarded or self.accepted:
            return "discarded" if self.discarded else "accepted"
        if self.done:
            return "succeeded" if self.succeeded else "failed"
        return "writing" if self.observation is None else "running"


@dataclass(frozen=True)
class Answer:
    """The model says that it is done; `verdicts` tell whether that holds.

    `after` is the number of attempts that had been made before it.
    """

    action: Action
    verdicts: tuple[Verdict, ...] = ()
    after: int = 0

    @property
    def passed(self) -> bool:
        """The model claims success and every check agrees."""
        return not self.action.gave_up and all(v.passed for v in self.verdicts)


@dataclass(frozen=True)
class Input:
    """A file that a task was given, or that its code reads.

    Parameters
    ----------
    name : str
        As the code sees it.
    size : int
        Bytes.
    digest : str
        Its blake2b hash, hexadecimal.
    rows : int or None
        Of a table whose rows were counted.
    columns : tuple of (str, str)
        Of a table that could be read: name and type of each column.
    """

    name: str
    size: int
    digest: str
    # what follows is told by the hash, and is not known of every record
    rows: int | None = field(default=None, compare=False)
    columns: tuple[tuple[str, str], ...] = field(default=(), compare=False)


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
    spent: Usage = Usage()
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
