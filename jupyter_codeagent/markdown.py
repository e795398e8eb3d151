"""A task's record as Markdown that loads nothing and links nowhere, for where no kernel is alive."""

from __future__ import annotations

import re
from collections.abc import Iterator

from jupyter_codeagent.render import outspoken, overwritten, own_frames, shorten
from jupyter_codeagent.trajectory import Answer, Attempt, Trajectory, plain
from jupyter_codeagent.wording import STATES, commands_next, facts, reason, title

_FENCE = re.compile(r"^```[^\n`]*\n(.*?)(?:^```[ \t]*$|\Z)", re.DOTALL | re.MULTILINE)
_SPAN = re.compile(r"(?<!`)`([^`|\n]+)`(?!`)")  # a table's bar would end it in some readers and not in others
_LIVE = re.compile(r"[`\[\]<~$@!]|:(?=//)|(?<=www)\.")
_MARKS = re.compile(rf"{_LIVE.pattern}|[*_|]")
_PART = 8_000  # characters of one piece of code, output or text
_WHOLE = 100_000  # characters; attempts beyond are told in a line


def markdown(
    trajectory: Trajectory, seconds: float | None = None, costs: bool = True, notice: str = "", told: str = ""
) -> str:
    """Return the whole record; parameters as for the page."""
    parts = [as_text(told)] if told else []
    parts.append(f"**{STATES[trajectory.status]}** ({as_text(facts(trajectory, seconds, costs))})")
    room = _WHOLE
    for entry in trajectory.history:
        if isinstance(entry, Answer):
            piece = "\n\n".join(_answer(entry))
        else:
            piece = "\n\n".join(_attempt(entry)) if room > 0 else _title(entry)
        room -= len(piece)
        parts.append(piece)
    parts += [_ticked(line) for line in (reason(trajectory), notice, *commands_next(trajectory)) if line]
    return "\n\n".join(parts) + "\n"


def fenced(content: str, language: str = "") -> str:
    """Return text as a block that it cannot break out of, with every invisible character made visible."""
    content = outspoken(shorten(content.strip("\n"), _PART))
    fence = _ticks(content, 3)
    return f"{fence}{language}\n{content}\n{fence}"


def as_text(text: str) -> str:
    """Return text in one line that reads as it is, whatever Markdown would make of it."""
    return _escaped(_MARKS, re.sub(r"\s+", " ", outspoken(plain(text))))


def defused(text: str) -> str:
    """Return a model's Markdown with its links, images and HTML as text; emphasis, lists, tables and code stay."""
    parts = _FENCE.split(shorten(plain(text), _PART))
    pieces = [fenced(part, "python") if i % 2 else _inline(part).strip("\n") for i, part in enumerate(parts)]
    return "\n\n".join(piece for piece in pieces if piece)


def _inline(text: str) -> str:
    # every mark is either escaped or written anew, so that a reader's idea of where code ends cannot differ from ours
    parts = _SPAN.split(outspoken(text))
    return "".join(f"`{part}`" if i % 2 else _escaped(_LIVE, part) for i, part in enumerate(parts))


def _escaped(marks: re.Pattern[str], text: str) -> str:
    # a doubled backslash before a bracket would begin a formula in JupyterLab
    return marks.sub(r"\\\g<0>", text.replace("&", "&amp;").replace("\\", "&#92;"))


def _ticks(content: str, least: int) -> str:
    longest = max((len(run) for run in re.findall("`+", content)), default=0)
    return "`" * max(least, longest + 1)


def _span(text: str) -> str:
    content = re.sub(r"\s+", " ", outspoken(text))
    ticks = _ticks(content, 1)
    return f"{ticks} {content} {ticks}" if "`" in content else f"{ticks}{content}{ticks}"


def _attempt(attempt: Attempt) -> Iterator[str]:
    yield _title(attempt)
    if attempt.action.text.strip():
        yield defused(attempt.action.text)
    if attempt.action.code:
        yield fenced(attempt.action.code, "python")
    if attempt.reason:
        yield as_text(attempt.reason)
    observation = attempt.observation
    if observation is None:
        return
    for note in observation.notes:
        yield as_text(note)
    if written := plain(overwritten(observation.text)).strip("\n"):
        yield fenced(written, "text")
    if observation.error:
        trace = own_frames(observation.error.traceback) or f"{observation.error.ename}: {observation.error.evalue}"
        yield fenced(plain(trace), "text")


def _title(attempt: Attempt) -> str:
    return f"**{as_text(title(attempt))}**"


def _answer(answer: Answer) -> Iterator[str]:
    marks = {True: "passed", False: "NOT PASSED"}
    for verdict in answer.verdicts:
        detail = f" ({as_text(shorten(verdict.detail, 500))})" if verdict.detail else ""
        yield f"Check {marks[verdict.passed]}: {_span(verdict.check)}{detail}"
    if not answer.action.gave_up:
        yield defused(answer.action.text)


def _ticked(line: str) -> str:
    parts = _SPAN.split(re.sub(r"\s+", " ", line))
    return "".join(_span(part) if i % 2 else as_text(part) for i, part in enumerate(parts))
