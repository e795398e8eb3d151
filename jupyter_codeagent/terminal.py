"""What a task does, as text that grows on a terminal or in a log."""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from types import TracebackType
from typing import TextIO

from jupyter_codeagent.render import outspoken, overwritten
from jupyter_codeagent.trajectory import Attempt, Observation, Trajectory, plain
from jupyter_codeagent.transcript import answer_lines, closing_lines, end_lines, head_lines
from jupyter_codeagent.wording import commands_next

_MOST_OUTPUT = 4000  # characters shown of one attempt's output
_RULE = "\u2500"


def visible(text: str) -> str:
    """Return `text` without anything that steers a terminal, as every stream can take it."""
    return outspoken(plain(text)).encode("utf-8", "replace").decode("utf-8")


@dataclass
class _Told:
    """What was written of a task."""

    task: Trajectory | None
    began: float = field(default_factory=time.monotonic)
    answers: int = 0
    ended: int = 0  # the last attempt that was written to its end
    attempt: int = 0  # the one whose heading was written; then its code and output
    code: str = ""
    output: str = ""
    running: bool = False


class TerminalView:
    """A task's record, each thing written once.

    Parameters
    ----------
    stream : TextIO or None
        Where to write. None: standard output.
    costs : bool
        Show tokens and dollars.
    following : callable
        Returns what can be done after a task, as sentences.
    """

    def __init__(
        self,
        stream: TextIO | None = None,
        costs: bool = True,
        following: Callable[[Trajectory], list[str]] = commands_next,
    ) -> None:
        self.stream = stream or sys.stdout
        self.live = self.stream.isatty()
        self.costs = costs
        self.following = following
        self._waiting = ""  # what is waited for
        self._since = time.monotonic()
        self._at_start = True  # of a line
        self._told = _Told(None)

    def open(self, trajectory: Trajectory, told: str) -> None:
        """Write `told` as the first line."""
        self._told = _Told(trajectory)
        self.say(told)

    def show(self, trajectory: Trajectory) -> None:
        """Write what is new."""
        if trajectory is not self._told.task:
            self._told = _Told(trajectory)
        answers = 0
        for entry in trajectory.history:
            if isinstance(entry, Attempt):
                self._attempt(entry, trajectory.limit)
                continue
            answers += 1
            if answers > self._told.answers:
                self._told.answers = answers
                self._lines(*answer_lines(entry))
        growing = trajectory.growing
        if len(growing) > 1:
            self.wait(f"the model writes {len(growing)} candidates")
        elif growing:
            self._attempt(growing[0], trajectory.limit)

    def close(self, trajectory: Trajectory, notice: str = "", replayed: bool = False) -> None:
        """Write the rest, how the task ended, and what can be done next."""
        self.show(trajectory)
        seconds = None if replayed else time.monotonic() - self._told.began
        self._lines(*closing_lines(trajectory, seconds, self.costs, notice, *self.following(trajectory)))

    def refresh(self, trajectory: Trajectory) -> None:
        """Do nothing: what is written stays."""

    def say(self, text: str = "") -> None:
        """Write a line of its own; with no text, end the line that is being written."""
        self._lines(*([visible(text)] if text else []))

    def wait(self, what: str) -> None:
        """Name what is being waited for."""
        self._waiting, self._since = what, time.monotonic()

    def step(self, what: str) -> None:
        """Name the next step of what is being waited for; its seconds are counted on."""
        self._waiting = what

    def _attempt(self, attempt: Attempt, limit: int) -> None:
        text, code = attempt.action.text.strip(), attempt.action.code
        if attempt.number <= self._told.ended:
            return
        if not code and attempt.observation is None:
            self.wait(visible(text.splitlines()[-1][:90]) if text else "the model writes")
            return
        if attempt.undecided:  # text on a terminal grows in one place only
            self.wait(f"{attempt.of} candidates run")
            return
        if attempt.number != self._told.attempt or (self._told.running and attempt.observation is None):
            self._told.attempt = attempt.number
            self._told.code, self._told.output, self._told.running = "", "", False
            head, *said = head_lines(attempt, limit)
            self._lines(f"{2 * _RULE} {head} {40 * _RULE}", *said)
        if attempt.observation is None:
            self._grow(code or "")
            return
        if not self._told.running:
            self._run(code or "")
        self._outputs(attempt.observation)
        if attempt.done:
            self._lines(*end_lines(attempt, colours=self.live))
            self._told.ended = attempt.number
            self.wait("the model reads what came out")

    def _grow(self, code: str) -> None:
        self.wait("the model writes")
        if code.startswith(self._told.code):
            self._write(visible(code[len(self._told.code) :]))
            self._told.code = code

    def _run(self, code: str) -> None:
        if code.rstrip() != self._told.code.rstrip():
            self.say("(the code as it is executed:)" if self._told.code else "")
            self._write(visible(code))
        self.say()
        self._told.running = True
        self.wait("the code runs")

    def _outputs(self, observation: Observation) -> None:
        whole = overwritten(observation.text)
        now, before = visible(whole[:_MOST_OUTPUT]), self._told.output
        if now and not before:
            self._lines(f"{2 * _RULE} output")
        if now.startswith(before):
            self._write(now[len(before) :])
        else:  # a line was written over: it is written again
            same = next((i for i, (a, b) in enumerate(zip(before, now, strict=False)) if a != b), len(now))
            self._lines()
            self._write(now[now.rfind("\n", 0, same) + 1 :])
        if len(whole) > _MOST_OUTPUT and len(before) < len(now):
            self._lines("... (more output is left out here)")
        self._told.output = now

    def _lines(self, *lines: str) -> None:
        self._write(("" if self._at_start else "\n") + "".join(f"{line}\n" for line in lines))

    def _write(self, text: str) -> None:
        if text:
            self.stream.write(text.encode("utf-8", "replace").decode("utf-8"))
            self.stream.flush()
            self._at_start = text.endswith("\n")
            self._since = time.monotonic()


class Terminal(TerminalView):
    """The same for programs, on standard error; use it as a context manager.

    While nothing arrives for two seconds, a terminal has a line that counts the seconds, and a log gets a line
    every fifteen.

    Parameters
    ----------
    stream : TextIO or None
        Where to write. None: standard error.
    """

    def __init__(self, stream: TextIO | None = None) -> None:
        super().__init__(stream or sys.stderr, following=lambda _: [])
        self._lock = threading.Lock()
        self._over = threading.Event()
        self._counting = False  # the counting line is on the terminal

    def __enter__(self) -> Terminal:
        threading.Thread(target=self._count, daemon=True, name="codeagent-terminal").start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._over.set()
        self.say()

    def _write(self, text: str) -> None:
        with self._lock:
            if text:
                self._erase()
            super()._write(text)

    def _erase(self) -> None:
        if self._counting:
            self.stream.write("\r\x1b[K")
            self._counting = False

    def _count(self) -> None:
        said = 0
        while not self._over.wait(0.5):
            quiet = int(time.monotonic() - self._since)
            if quiet < 2 or not self._waiting:
                said = 0
                continue
            with self._lock:
                if self.live and (self._at_start or self._counting):
                    self.stream.write(f"\r\x1b[K{self._waiting}, {quiet} s")
                    self._counting = True
                elif not self.live and quiet >= said + 15:
                    said = quiet
                    self.stream.write(("" if self._at_start else "\n") + f"({self._waiting}, {quiet} s)\n")
                    self._at_start = True
                self.stream.flush()
        with self._lock:
            self._erase()
