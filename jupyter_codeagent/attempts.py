"""One attempt: what the model wanted, its code, and what came of it; and an answer, with what became of the checks."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

Output = dict[str, Any]  # an nbformat 4.5 output, as it passed the gate
Message = dict[str, Any]  # a message of the Messages API

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
        data = output.get("data")  # a file may hold anything there
        if output.get("output_type") == "stream":
            yield str(output.get("text", ""))
        elif isinstance(data, dict) and (text := str(data.get("text/plain") or "")):
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
