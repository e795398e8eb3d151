"""A task's record as plain text, from top to bottom."""

from __future__ import annotations

from collections.abc import Iterator

from jupyter_codeagent.render import colour_only, outspoken, own_frames, shorten
from jupyter_codeagent.trajectory import Answer, Attempt, Trajectory, plain
from jupyter_codeagent.wording import STATES, WORDS, cells_next, commands_next, facts, reason, remarks, title


def text(
    trajectory: Trajectory,
    seconds: float | None = None,
    costs: bool = True,
    notice: str = "",
    told: str = "",
    whole: bool = True,
) -> str:
    """Return the record for front ends without HTML.

    Parameters
    ----------
    trajectory, seconds, costs, notice, told
        As for the page.
    whole : bool
        With code and outputs; else one line for each attempt, where these stand in cells.
    """
    lines = [told, ""] if told else []
    growing = [attempt for attempt in trajectory.growing if attempt.action.code is not None]
    entries = [*trajectory.history, *growing]
    for entry in entries:
        if isinstance(entry, Answer):
            lines += answer_lines(entry)
        else:
            lines += _attempt_lines(entry, trajectory.limit) if whole else [title(entry)]
    following = commands_next if whole else cells_next
    ending = closing_lines(trajectory, seconds, costs, notice, *following(trajectory))
    return shorten("\n".join([*lines, *ending]))


def head_lines(attempt: Attempt, limit: int) -> list[str]:
    """Return an attempt's number and the model's explanation."""
    said = shorten(outspoken(plain(attempt.action.text)).strip(), 2000)
    head = f"Attempt {attempt.number} of {limit}"
    if attempt.of > 1:
        head = f"Attempt {attempt.number}, candidate {attempt.candidate} of {attempt.of}"
    return [head, *([said, ""] if said else [])]


def end_lines(attempt: Attempt, colours: bool) -> list[str]:
    """Return an attempt's traceback, the supervisor's sentences, and how it ended."""
    observation = attempt.observation
    if observation is None:
        return []
    lines = [outspoken(plain(note)) for note in observation.notes]
    if observation.error:
        trace = own_frames(observation.error.traceback) or f"{observation.error.ename}: {observation.error.evalue}"
        lines.append(shorten(colour_only(trace) if colours else outspoken(plain(trace))))
    if attempt.done:
        words = [f"Attempt {attempt.number} {WORDS[attempt.status]}", *remarks(attempt)]
        lines.append("[" + ", ".join(words) + "]")
    if attempt.reason:
        lines.append(outspoken(plain(attempt.reason)))
    return lines


def answer_lines(answer: Answer) -> list[str]:
    """Return what became of the checks, and the answer."""
    marks = {True: "passed", False: "NOT PASSED"}
    lines = [
        f"Check {marks[v.passed]}: {outspoken(v.check)}" + (f" - {outspoken(plain(v.detail))}" if v.detail else "")
        for v in answer.verdicts
    ]
    return lines if answer.action.gave_up else [*lines, shorten(colour_only(plain(answer.action.text)))]


def closing_lines(
    trajectory: Trajectory, seconds: float | None, costs: bool, notice: str, *following: str
) -> Iterator[str]:
    """Yield how the task ended, and what can be done next."""
    yield f"{STATES[trajectory.status]} ({facts(trajectory, seconds, costs)})"
    for line in filter(None, (reason(trajectory), notice, *following)):
        yield outspoken(plain(line)).replace("`", "")


def _attempt_lines(attempt: Attempt, limit: int) -> list[str]:
    lines = [*head_lines(attempt, limit), *outspoken(attempt.action.code or "").splitlines(), ""]
    if attempt.observation is not None:
        lines += outspoken(attempt.observation.text).splitlines()
    return [*lines, *end_lines(attempt, colours=False), ""]
