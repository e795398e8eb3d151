"""What is said of a task in few words; the same in every reading of its record."""

from __future__ import annotations

import re
from collections.abc import Iterator

from jupyter_codeagent.trajectory import Attempt, Trajectory, Undone

DOT = " \u00b7 "
WORDS = {
    "writing": "writing",
    "running": "running in the sandbox",
    "failed": "failed",
    "succeeded": "succeeded",
    "accepted": "accepted",
    "discarded": "discarded",
}
STATES = {
    "queued": "Waiting for its turn",
    "running": "Working",
    "solved": "Solved",
    "failed": "Not solved",
    "stopped": "Stopped",
}


def facts(trajectory: Trajectory, seconds: float | None, costs: bool) -> str:
    """Return attempts, model, time, tokens and the sandbox in one line."""
    number = len({a.round or -a.number for a in trajectory.attempts})  # candidates of one round count as one
    if trajectory.status == "running" and trajectory.growing:
        number += 1
    parts = [f"attempt {number} of {trajectory.limit}" if trajectory.status == "running" else _count(number, "attempt")]
    if trajectory.candidates > 1:
        each = " each" if number > 1 or trajectory.status == "running" else ""
        parts.append(f"{trajectory.candidates} candidates{each}")
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


def restored(undone: Undone | None) -> str:
    """Return what is as it was before an attempt that was rolled back, and what is not, in one sentence."""
    if undone is None:
        return "Rolled back: variables are as before this attempt; files that it wrote may still be there."
    what = "variables and files are" if undone.files else "variables are"
    rest = "" if undone.files else "; files that it wrote are not rolled back"
    if undone.processes:
        count = _count(undone.processes, "process").replace("processs", "processes")
        rest += f"; {count} that it left running {'was' if undone.processes == 1 else 'were'} ended"
    return f"Rolled back: {what} as before this attempt{rest}."


def remarks(attempt: Attempt) -> Iterator[str]:
    """Yield what is to be known of an attempt besides its status."""
    if attempt.of > 1:
        yield f"candidate {attempt.candidate} of {attempt.of}"
        if attempt.reason:
            yield "chosen" if attempt.chosen else "not chosen"
    if attempt.edited:
        yield "edited"
    if attempt.rolled_back:
        yield "rolled back"
    if attempt.done and attempt.observation:
        yield f"{attempt.observation.duration:,.1f} s"


def title(attempt: Attempt) -> str:
    """Return an attempt's number, status and remarks in one line that is safe in any markup."""
    error = attempt.observation.error if attempt.observation else None
    name = re.sub(r"[^\w.]", "", error.ename)[:60] if error else ""
    words = [WORDS[attempt.status], *filter(None, [name]), *remarks(attempt)]
    return f"Attempt {attempt.number}: {', '.join(words)}"


def reason(trajectory: Trajectory) -> str:
    """Return why the task ended without an answer; empty where the front end tells it below the record."""
    return "" if trajectory.failure else trajectory.reason


def commands_next(trajectory: Trajectory) -> list[str]:
    """Return what the user can do now by commands; these stand between backticks."""
    waiting = _waiting(trajectory)
    if not waiting:
        return []
    number = waiting[-1].number
    return [
        f"Next: `%agent accept {number}` puts the code of attempt {number} into a new cell"
        + (", `%agent accept` that of all kept attempts" if len(waiting) > 1 else "")
        + "; `%agent save solved.ipynb` saves the notebook."
    ]


def cells_next(trajectory: Trajectory) -> list[str]:
    """Return what the user can do now where attempts are cells; the names of buttons stand between backticks."""
    waiting = _waiting(trajectory)
    if not waiting:
        return []
    number = waiting[-1].number
    return [
        f"Next: `Accept and run` at the cell of attempt {number} makes its code yours and runs it in your kernel; "
        "`Accept` leaves running it to you."
    ]


def _waiting(trajectory: Trajectory) -> list[Attempt]:
    """Return the kept attempts of a task that has ended which are not accepted yet."""
    return [] if trajectory.status == "running" else [a for a in trajectory.kept if not a.accepted]


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}" if number == 1 else f"{number or 'no'} {noun}s"
