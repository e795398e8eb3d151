"""What a task does, told live on a terminal or in a log."""

from __future__ import annotations

import sys
import threading
import time
from types import TracebackType
from typing import TextIO

from jupyter_codeagent.render import colour_only, outspoken
from jupyter_codeagent.trajectory import Attempt, Observation, Trajectory, plain
from jupyter_codeagent.transcript import answer_lines, closing_lines, end_lines, head_lines
from jupyter_codeagent.wording import commands_next

_MOST_OUTPUT = 4000  # characters shown of one attempt's output


def visible(text: str) -> str:
    """Return `text` without anything that steers a terminal."""
    return "".join(c if c in "\n\t" or c.isprintable() else "\N{REPLACEMENT CHARACTER}" for c in plain(text))


class Terminal:
    """Shows attempts as they grow; use it as a context manager.

    While nothing arrives for two seconds, a terminal has a line that counts the seconds, and a log gets a line
    every fifteen.

    Parameters
    ----------
    stream : TextIO or None
        Where to write. None: standard error.
    """

    def __init__(self, stream: TextIO | None = None) -> None:
        self.stream = stream or sys.stderr
        self.live = self.stream.isatty()
        self._lock = threading.Lock()
        self._ended = threading.Event()
        self._since = time.monotonic()
        self._waiting = ""  # what the counting line says
        self._counting = False  # the counting line is on the terminal
        self._at_start = True  # of a line
        self._begun = 0  # the attempt whose heading was written
        self._code = ""  # what was written of its code
        self._running = False
        self._output = 0  # characters written of its output

    def __enter__(self) -> Terminal:
        threading.Thread(target=self._count, daemon=True, name="codeagent-terminal").start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._ended.set()
        self.say()

    def say(self, text: str = "") -> None:
        """Write a line of its own; with no text, end the line that is being written."""
        self._write(("" if self._at_start else "\n") + (visible(text) + "\n" if text else ""))

    def wait(self, what: str) -> None:
        """Name what is being waited for."""
        self._waiting, self._since = what, time.monotonic()

    def step(self, what: str) -> None:
        """Name the next step of what is being waited for; its seconds are counted on."""
        self._waiting = what

    def show(self, attempt: Attempt) -> None:
        """Write what is new of `attempt`."""
        if attempt.number != self._begun or (self._running and attempt.observation is None):
            self._begun, self._code, self._running, self._output = attempt.number, "", False, 0
        if attempt.observation is None:
            self._grow(attempt.action.code or "", attempt)
            return
        if not self._running:
            self._run(attempt)
        self._outputs(attempt.observation)
        if attempt.done:
            self._done(attempt)

    def _grow(self, code: str, attempt: Attempt) -> None:
        text = attempt.action.text.strip()
        self.wait("the model writes" if code or not text else text.splitlines()[-1][:90])
        if not code:
            return
        if not self._code:
            self._heading(attempt)
        if code.startswith(self._code):
            self._write(visible(code[len(self._code) :]))
            self._code = code

    def _heading(self, attempt: Attempt) -> None:
        self.say(f"── attempt {attempt.number} " + "─" * 40)
        if attempt.action.text.strip():
            self.say(attempt.action.text.strip())

    def _run(self, attempt: Attempt) -> None:
        code = attempt.action.code or ""
        if not self._code:
            self._heading(attempt)
            self._write(visible(code))
        elif code.rstrip() != self._code.rstrip():
            self.say("(the code as it is executed:)")
            self._write(visible(code))
        self.say()
        self._running, self._code = True, code
        self.wait("the code runs")

    def _outputs(self, seen: Observation) -> None:
        text = seen.text
        if len(text) > self._output:
            if self._output == 0:
                self.say("── output")
            room = _MOST_OUTPUT - self._output
            self._write(visible(text[self._output : self._output + max(0, room)]))
            if room > 0 and len(text) > _MOST_OUTPUT:
                self.say("... (more output is in the notebook)")
            self._output = len(text)

    def _done(self, attempt: Attempt) -> None:
        seen = attempt.observation or Observation()
        for note in seen.notes:
            self.say(f"({note})")
        said = f"attempt {attempt.number}: {attempt.status} in {seen.duration:.1f} s"
        if seen.error:
            if not seen.error.frames and seen.error.traceback:
                self.say("\n".join(seen.error.traceback)[-1500:])
            for frame in seen.error.frames:
                function = f", in {frame.function}" if frame.function else ""
                self.say(f"  {frame.file}, line {frame.line}{function}: {frame.source.strip()}")
            said += f"; {seen.error.ename}: {seen.error.evalue[:300]}"
        self.say(said + ("; rolled back" if attempt.rolled_back else ""))
        self.wait("the model reads what came out")

    def end(self, trajectory: Trajectory) -> None:
        """Write how the task ended."""
        for answer in trajectory.answers[-1:]:
            for verdict in answer.verdicts:
                self.say(f"check {verdict.check}: {'passed' if verdict.passed else verdict.detail}")
        usage = trajectory.usage
        spent = f"{usage.input_tokens + usage.cache_read_tokens} tokens read, {usage.output_tokens} written"
        if usage.cost:
            spent += f", {usage.cost:.4f} USD"
        count = len(trajectory.attempts)
        self.say(f"{trajectory.status} after {count} attempt{'' if count == 1 else 's'} ({spent})")
        self.say(trajectory.answer or trajectory.reason)

    def _write(self, text: str) -> None:
        if not text:
            return
        with self._lock:
            self._erase()
            self.stream.write(text)
            self.stream.flush()
            self._at_start = text.endswith("\n")
            self._since = time.monotonic()

    def _erase(self) -> None:
        if self._counting:
            self.stream.write("\r\x1b[K")
            self._counting = False

    def _count(self) -> None:
        said = 0
        while not self._ended.wait(0.5):
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


class TerminalView:
    """Text that is written once, as it comes.

    Parameters
    ----------
    stream : TextIO
        Where to write.
    costs : bool
        Show tokens and dollars.
    """

    def __init__(self, stream: TextIO | None = None, costs: bool = True) -> None:
        self.stream = stream or sys.stdout
        self.costs = costs
        self.began = time.monotonic()
        self._parts: dict[tuple[int, str], str] = {}
        self._told = 0  # answers written

    def open(self, trajectory: Trajectory, told: str) -> None:
        """Write `told` as the first line."""
        self._write(told + "\n")

    def show(self, trajectory: Trajectory) -> None:
        """Write what is new."""
        answers = 0
        for entry in trajectory.history:
            if isinstance(entry, Attempt):
                self._attempt(entry, trajectory.limit)
                continue
            answers += 1
            if answers > self._told:
                self._write("\n" + "\n".join(answer_lines(entry)) + "\n")
                self._told = answers
        if trajectory.current is not None:
            self._attempt(trajectory.current, trajectory.limit)

    def close(self, trajectory: Trajectory, notice: str = "", replayed: bool = False) -> None:
        """Write the rest, how the task ended, and what can be done next."""
        self.show(trajectory)
        seconds = None if replayed else time.monotonic() - self.began
        self._write(
            "\n" + "\n".join(closing_lines(trajectory, seconds, self.costs, notice, *commands_next(trajectory))) + "\n"
        )

    def refresh(self, trajectory: Trajectory) -> None:
        """Do nothing: what is written stays."""

    def _attempt(self, attempt: Attempt, limit: int) -> None:
        if attempt.action.code is None or (attempt.number, "end") in self._parts:
            return
        self._head(attempt, limit)
        self._grow(attempt, "code", outspoken(attempt.action.code))
        if attempt.observation is not None:
            self._grow(attempt, "output", "\n\n" + colour_only(attempt.observation.text))
        if attempt.done:
            self._parts[attempt.number, "end"] = ""
            self._write("\n" + "\n".join(end_lines(attempt, colours=True)) + "\n")

    def _head(self, attempt: Attempt, limit: int) -> None:
        if (attempt.number, "code") not in self._parts:
            self._write("\n" + "\n".join(head_lines(attempt, limit)) + "\n")

    def _grow(self, attempt: Attempt, part: str, now: str) -> None:
        """Write what `now` has more than before; where it is not a continuation, write it anew."""
        before = self._parts.get((attempt.number, part), "")
        self._write(now[len(before) :] if now.startswith(before) else "\n" + now)
        self._parts[attempt.number, part] = now

    def _write(self, text: str) -> None:
        if text:
            self.stream.write(text)
            self.stream.flush()
