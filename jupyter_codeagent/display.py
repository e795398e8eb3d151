"""One display per task: what the agent does, as it happens; HTML in notebooks, growing text in a terminal."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from functools import cache
from html import escape
from importlib.resources import files
from typing import Any, Protocol, TextIO

from jupyter_codeagent.render import (
    code_html,
    colour_only,
    markdown_html,
    output_html,
    outspoken,
    own_frames,
    seen,
    shorten,
)
from jupyter_codeagent.trajectory import Answer, Attempt, Output, Trajectory, Verdict, plain

INTERVAL = 0.1  # seconds between two updates of a display
DOT = " \u00b7 "
ATTEMPT_MOST = 1_500_000  # characters of one attempt's outputs
PAGE_MOST = 3_000_000  # characters of a whole record; images beyond are named only
_WORDS = {
    "writing": "writing",
    "running": "running in the sandbox",
    "failed": "failed",
    "succeeded": "succeeded",
    "accepted": "accepted",
    "discarded": "discarded",
}
_STATES = {"running": "Working", "solved": "Solved", "failed": "Not solved", "stopped": "Stopped"}


class View(Protocol):
    """Where a trajectory is shown."""

    def open(self, trajectory: Trajectory, told: str) -> None:
        """Say, before the first request, what is asked where."""

    def show(self, trajectory: Trajectory) -> None:
        """Show it as it is now, if the last time was long enough ago."""

    def close(self, trajectory: Trajectory, notice: str = "", replayed: bool = False) -> None:
        """Show its end, with one more sentence; what is replayed took no time."""


class NotebookView:
    """One output under the cell, updated in place.

    Parameters
    ----------
    display : callable
        ``display(bundle, raw=True, display_id=..., update=...)``, as IPython has it.
    costs : bool
        Show tokens and dollars.
    """

    def __init__(self, display: Callable[..., Any], costs: bool = True) -> None:
        self.display = display
        self.costs = costs
        self.began = time.monotonic()
        self._last = -INTERVAL
        self._step: tuple[int, int, str] | None = None
        self._id = ""
        self._told = ""
        self._closing: tuple[float | None, str] | None = None

    def open(self, trajectory: Trajectory, told: str) -> None:
        """Make the output, with `told` as its first line."""
        self._told = told
        self._update(trajectory, None, "")

    def show(self, trajectory: Trajectory) -> None:
        """Update the output when something begins or ends, and at most ten times a second while it grows."""
        current = trajectory.current
        step = (len(trajectory.attempts), len(trajectory.answers), current.status if current else "")
        if step != self._step or time.monotonic() - self._last >= INTERVAL:
            self._step = step
            self._update(trajectory, time.monotonic() - self.began, "")

    def close(self, trajectory: Trajectory, notice: str = "", replayed: bool = False) -> None:
        """Update the output for the last time, or again when the user accepted or discarded an attempt."""
        if self._closing is None:
            self._closing = (None if replayed else time.monotonic() - self.began, notice)
        self._update(trajectory, *self._closing)

    def _update(self, trajectory: Trajectory, seconds: float | None, notice: str) -> None:
        bundle = {
            "text/html": page(trajectory, seconds, self.costs, notice, self._told),
            "text/plain": text(trajectory, seconds, self.costs, notice, self._told),
        }
        first, self._id = not self._id, self._id or f"codeagent-{trajectory.id}-{time.monotonic_ns()}"
        self.display(bundle, raw=True, display_id=self._id, update=not first)
        self._last = time.monotonic()  # after the work, so that a long record is not shown without a pause


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
                self._write("\n" + "\n".join(_answer_lines(entry)) + "\n")
                self._told = answers
        if trajectory.current is not None:
            self._attempt(trajectory.current, trajectory.limit)

    def close(self, trajectory: Trajectory, notice: str = "", replayed: bool = False) -> None:
        """Write the rest, how the task ended, and what can be done next."""
        self.show(trajectory)
        seconds = None if replayed else time.monotonic() - self.began
        self._write("\n" + "\n".join(_closing(trajectory, seconds, self.costs, notice)) + "\n")

    def _attempt(self, attempt: Attempt, limit: int) -> None:
        if attempt.action.code is None or (attempt.number, "end") in self._parts:
            return
        self._head(attempt, limit)
        self._grow(attempt, "code", outspoken(attempt.action.code))
        if attempt.observation is not None:
            self._grow(attempt, "output", "\n\n" + colour_only(attempt.observation.text))
        if attempt.done:
            self._parts[attempt.number, "end"] = ""
            self._write("\n" + "\n".join(_end(attempt, colours=True)) + "\n")

    def _head(self, attempt: Attempt, limit: int) -> None:
        if (attempt.number, "code") not in self._parts:
            self._write("\n" + "\n".join(_attempt_head(attempt, limit)) + "\n")

    def _grow(self, attempt: Attempt, part: str, now: str) -> None:
        """Write what `now` has more than before; where it is not a continuation, write it anew."""
        before = self._parts.get((attempt.number, part), "")
        self._write(now[len(before) :] if now.startswith(before) else "\n" + now)
        self._parts[attempt.number, part] = now

    def _write(self, text: str) -> None:
        if text:
            self.stream.write(text)
            self.stream.flush()


@cache
def style() -> str:
    """Return the style sheet of a record."""
    return files("jupyter_codeagent").joinpath("display.css").read_text(encoding="utf-8")


def page(
    trajectory: Trajectory, seconds: float | None = None, costs: bool = True, notice: str = "", told: str = ""
) -> str:
    """Return the whole record as HTML: one element with its own style, safe to show.

    Parameters
    ----------
    trajectory : Trajectory
        What is shown.
    seconds : float or None
        How long it took; None where that is not known.
    costs : bool
        Show tokens and dollars.
    notice, told : str
        Sentences for the end and the beginning.
    """
    entries = list(trajectory.history)
    if trajectory.current is not None and trajectory.current not in entries:
        entries.append(trajectory.current)
    last_try = next((e for e in reversed(entries) if isinstance(e, Attempt)), None)
    parts, room = [], PAGE_MOST
    for entry in entries:
        if isinstance(entry, Answer):
            html = _answer_html(entry, final=entry is entries[-1])
        else:
            html = _attempt_html(entry, trajectory, entry is last_try)
        room -= len(html)
        parts.append(html if room > 0 else '<p class="jca-note">The rest is too large to be shown here.</p>')
        if room <= 0:
            break
    parts += [
        f'<p class="jca-note">{_ticks(line)}</p>' for line in (_reason(trajectory), notice, *_next(trajectory)) if line
    ]
    state = trajectory.status
    numbers = escape(facts(trajectory, seconds, costs))
    head = f'<span class="jca-state">{_STATES[state]}</span><span class="jca-facts">{numbers}</span>'
    first = f'<p class="jca-told">{seen(told)}</p>' if told else ""
    body = f'{first}<div class="jca-head">{head}</div>{"".join(parts)}'
    return f'<div class="jca jca-{state}"><style>{style()}</style>{body}</div>'


def fragment(output: Output) -> dict[str, str]:
    """Return one output of the sandbox as a bundle that is safe to show anywhere."""
    plain_text = plain(str(output.get("data", {}).get("text/plain", "")))
    return {
        "text/html": f'<div class="jca"><style>{style()}</style>{output_html(output)}</div>',
        "text/plain": outspoken(shorten(plain_text)),
    }


def facts(trajectory: Trajectory, seconds: float | None, costs: bool) -> str:
    """Return attempts, model, time, tokens and the sandbox in one line."""
    number = len(trajectory.attempts)
    current = trajectory.current
    if trajectory.status == "running" and current is not None and not current.done:
        number = current.number
    parts = [f"attempt {number} of {trajectory.limit}" if trajectory.status == "running" else _count(number, "attempt")]
    if trajectory.model:
        parts.append(trajectory.model)
    if seconds is not None:
        parts.append(f"{seconds:,.1f} s")
    usage = trajectory.usage
    total = usage.input_tokens + usage.output_tokens + usage.cache_read_tokens
    if costs and total:
        parts.append(f"{total:,} tokens" + (f", ${usage.cost:.4f}" if usage.cost else ""))
    if trajectory.tier:
        parts.append(f"sandbox tier {trajectory.tier}")
    return DOT.join(parts)


def _attempt_html(attempt: Attempt, trajectory: Trajectory, newest: bool) -> str:
    seen_now = attempt.observation
    error = seen_now.error if seen_now else None
    why = f'<span class="jca-why">{seen(f"{error.ename}: {plain(error.evalue)}"[:200])}</span>' if error else ""
    is_open = " open" if newest or attempt.succeeded else ""
    caret = " jca-caret" if attempt.status == "writing" and trajectory.status == "running" else ""
    body = [f'<div class="jca-md">{markdown_html(attempt.action.text)}</div>' if attempt.action.text.strip() else ""]
    if attempt.action.code is not None:
        body.append(f'<pre class="jca-code{caret}">{code_html(attempt.action.code)}</pre>')
    if seen_now:
        body += [f'<p class="jca-note">{seen(note)}</p>' for note in seen_now.notes]
        body += _outputs_html(seen_now.outputs)
    title = f"Attempt {attempt.number}" if attempt.action.code is not None else "The model is writing"
    word = f'<span class="jca-word">{_WORDS[attempt.status]}</span>' if attempt.action.code is not None else ""
    return (
        f'<details class="jca-try jca-{attempt.status}"{is_open}><summary><b>{title}</b>{word}{why}'
        f'<span class="jca-meta">{escape(DOT.join(_meta(attempt)))}</span></summary>'
        f'<div class="jca-body">{"".join(body)}</div></details>'
    )


def _outputs_html(outputs: list[Output]) -> Iterator[str]:
    room = ATTEMPT_MOST
    for number, output in enumerate(outputs):
        html = output_html(output)
        room -= len(html)
        if room < 0:
            yield f'<p class="jca-note">{len(outputs) - number} more outputs are too large to be shown here.</p>'
            return
        yield html


def _meta(attempt: Attempt) -> Iterator[str]:
    if attempt.edited:
        yield "edited"
    if attempt.rolled_back:
        yield "rolled back"
    if attempt.done and attempt.observation:
        yield f"{attempt.observation.duration:,.1f} s"


def _answer_html(answer: Answer, final: bool) -> str:
    checks = "".join(_verdict_html(v) for v in answer.verdicts)
    checks = f'<ul class="jca-checks">{checks}</ul>' if checks else ""
    if answer.action.gave_up and final:
        return checks  # its text is the reason below
    return f'{checks}<div class="jca-answer jca-md">{markdown_html(answer.action.text)}</div>'


def _verdict_html(verdict: Verdict) -> str:
    mark = (
        '<span class="jca-pass">\u2713 passed</span>'
        if verdict.passed
        else '<span class="jca-miss">\u2717 not passed</span>'
    )
    detail = f" \u2014 {seen(plain(verdict.detail)[:500])}" if verdict.detail else ""
    return f"<li>{mark} <code>{seen(verdict.check)}</code>{detail}</li>"


def _reason(trajectory: Trajectory) -> str:
    # what failed on our side is raised, and the front end shows it below the record
    return "" if trajectory.failure else trajectory.reason


def _next(trajectory: Trajectory) -> list[str]:
    """Return what the user can do now; commands stand between backticks."""
    if trajectory.status == "running":
        return []
    kept = trajectory.kept
    if not kept or all(a.accepted for a in kept):
        return []
    numbers = kept[-1].number
    return [
        f"Next: `%agent accept {numbers}` puts the code of attempt {numbers} into a new cell"
        + (", `%agent accept` that of all kept attempts" if len(kept) > 1 else "")
        + "; `%agent save solved.ipynb` saves the notebook."
    ]


def _ticks(line: str) -> str:
    parts = line.split("`")
    return "".join(f"<code>{seen(p)}</code>" if i % 2 else seen(p) for i, p in enumerate(parts))


def text(
    trajectory: Trajectory, seconds: float | None = None, costs: bool = True, notice: str = "", told: str = ""
) -> str:
    """Return the whole record as plain text, for front ends without HTML; parameters as for `page`."""
    lines = [told, ""] if told else []
    for entry in [*trajectory.history]:
        lines += _attempt_lines(entry, trajectory.limit) if isinstance(entry, Attempt) else _answer_lines(entry)
    current = trajectory.current
    if current is not None and current not in trajectory.attempts and current.action.code is not None:
        lines += _attempt_lines(current, trajectory.limit)
    return shorten("\n".join([*lines, *_closing(trajectory, seconds, costs, notice)]))


def _attempt_head(attempt: Attempt, limit: int) -> list[str]:
    said = shorten(outspoken(plain(attempt.action.text)).strip(), 2000)
    return [f"Attempt {attempt.number} of {limit}", *([said, ""] if said else [])]


def _attempt_lines(attempt: Attempt, limit: int) -> list[str]:
    lines = [*_attempt_head(attempt, limit), *outspoken(attempt.action.code or "").splitlines(), ""]
    if attempt.observation is not None:
        lines += outspoken(attempt.observation.text).splitlines()
    return [*lines, *_end(attempt, colours=False), ""]


def _end(attempt: Attempt, colours: bool) -> list[str]:
    """Return an attempt's traceback, the supervisor's sentences, and how it ended."""
    observation = attempt.observation
    if observation is None:
        return []
    lines = list(observation.notes)
    if observation.error:
        trace = own_frames(observation.error.traceback) or f"{observation.error.ename}: {observation.error.evalue}"
        lines.append(shorten(colour_only(trace) if colours else outspoken(plain(trace))))
    if attempt.done:
        words = [f"Attempt {attempt.number} {_WORDS[attempt.status]}", *_meta(attempt)]
        lines.append("[" + ", ".join(words) + "]")
    return lines


def _answer_lines(answer: Answer) -> list[str]:
    marks = {True: "passed", False: "NOT PASSED"}
    lines = [
        f"Check {marks[v.passed]}: {outspoken(v.check)}" + (f" - {outspoken(plain(v.detail))}" if v.detail else "")
        for v in answer.verdicts
    ]
    return lines if answer.action.gave_up else [*lines, shorten(colour_only(plain(answer.action.text)))]


def _closing(trajectory: Trajectory, seconds: float | None, costs: bool, notice: str) -> list[str]:
    lines = [f"{_STATES[trajectory.status]} ({facts(trajectory, seconds, costs)})"]
    return [*lines, *(line.replace("`", "") for line in (_reason(trajectory), notice, *_next(trajectory)) if line)]


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}" if number == 1 else f"{number or 'no'} {noun}s"
