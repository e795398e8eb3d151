"""One task as messages: whole at first, then what has changed."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

from jupyter_codeagent.bridge.deltas import bounded, output_patches, patch
from jupyter_codeagent.notebook import attempt_record, plain_outputs, sendable, task_record
from jupyter_codeagent.trajectory import Attempt, Output, Trajectory

ATTEMPT_PAUSE = 0.045  # seconds between two messages of an attempt that grows
TASK_PAUSE = 0.5  # seconds between two messages of a task whose numbers grow
WITHDRAWN = "The model did not stay with this code; it has not run."
Message = dict[str, Any]


@dataclass(frozen=True)
class Origin:
    """Where a task was given.

    Parameters
    ----------
    session : str
        The front end's, as its requests carry it.
    cell : str
        The id of the agent cell; empty where the front end does not tell.
    source : str
        The text of that cell.
    """

    session: str = ""
    cell: str = ""
    source: str = ""


@dataclass
class Sent:
    """What a page that has all messages shows of an attempt."""

    record: Message
    phase: str = "writing"
    code: str = ""
    outputs: list[Output] = field(default_factory=list)
    at: float = field(default=0.0, compare=False)  # when it was sent


class Feed:
    """The messages of one task.

    Parameters
    ----------
    trajectory : Trajectory
        The task, which may grow.
    origin : Origin
        Where it was given.
    replayed : bool
        Its record was found; nothing of it happens now.
    """

    def __init__(self, trajectory: Trajectory, origin: Origin, replayed: bool = False) -> None:
        self.trajectory, self.origin, self.replayed = trajectory, origin, replayed
        self._task: Message = {}
        self._sent: dict[int, Sent] = {}
        self._task_at = -TASK_PAUSE

    def news(self, now: float | None = None) -> Iterator[Message]:
        """Yield what has changed since the last time; what only grows waits until it is worth a message."""
        now = time.monotonic() if now is None else now
        yield from self._task_news(now)
        visible = _visible(self.trajectory)
        pause = ATTEMPT_PAUSE * max(1, sum(not attempt.done for attempt in visible))
        for attempt in visible:
            yield from self._attempt_news(attempt, now, pause)
        yield from self._withdrawn()

    def whole(self) -> list[Message]:
        """Return everything that was said so far, for a page that comes later."""
        task = self._task_message(self._task or task_record(self.trajectory))
        return [task, *(self._whole(sent) for _, sent in sorted(self._sent.items()))]

    def settle(self) -> None:
        """Take the state of now as said: the task is over, and nobody has been told of it by this kernel."""
        for _ in self.news():
            pass

    def edited(self, attempt: Attempt) -> Message:
        """Return the message after the user's code was executed; its outputs stand under its own cell already."""
        record = attempt_record(self.trajectory, attempt, "attempt")
        self._sent[attempt.number] = Sent(record, "done", _code(attempt), _outputs(attempt, "done"))
        return self._attempt_message(record, "done")

    def _task_news(self, now: float) -> Iterator[Message]:
        record = task_record(self.trajectory)
        if record == self._task:
            return
        if record["status"] == self._task.get("status") == "running" and now - self._task_at < TASK_PAUSE:
            return
        self._task, self._task_at = record, now
        yield self._task_message(record)

    def _attempt_news(self, attempt: Attempt, now: float, pause: float) -> Iterator[Message]:
        before, phase = self._sent.get(attempt.number), _phase(attempt)
        if before is not None and before.phase == phase != "done" and now - before.at < pause:
            return
        if before is not None and before.phase == "done" != phase:
            before = None  # a number that a withdrawn candidate had
        record = attempt_record(self.trajectory, attempt, "attempt")
        if before is not None and before.phase == phase == "done":
            if record != before.record:  # the user accepted or discarded it
                before.record = record
                yield self._attempt_message(record, phase)
            return
        state = Sent(record, phase, _code(attempt), _outputs(attempt, phase), now)
        if before != state:
            self._sent[attempt.number] = state
            yield from self._changes(before, state)

    def _changes(self, before: Sent | None, state: Sent) -> Iterator[Message]:
        """Yield the messages that turn one state into the other; the first of them holds the new code."""
        code = {"at": 0, "text": state.code} if before is None else patch(before.code, state.code)
        patches: Sequence[Message] = list(output_patches(before.outputs if before else [], state.outputs))
        first = {"code": code} if code else {}
        for outputs in patches or [{}]:
            yield self._attempt_message(state.record, state.phase, **first, **({"outputs": outputs} if outputs else {}))
            first = {}

    def _withdrawn(self) -> Iterator[Message]:
        """Say of code that was shown and did not become an attempt that it will not run."""
        numbers = {attempt.number for attempt in self.trajectory.attempts}
        if self.trajectory.status in ("queued", "running"):  # what the model writes may still show its code again
            numbers |= {attempt.number for attempt in self.trajectory.growing}
        for number, sent in self._sent.items():
            if number not in numbers and sent.phase != "done":
                sent.phase = "done"
                sent.record = {**sent.record, "status": "failed", "notes": [WITHDRAWN]}
                yield self._attempt_message(sent.record, "done")

    def _whole(self, sent: Sent) -> Message:
        return self._attempt_message(
            sent.record, sent.phase, code={"at": 0, "text": sent.code}, outputs={"at": 0, "items": sent.outputs}
        )

    def _task_message(self, record: Message) -> Message:
        more = {"source": sendable(self.origin.source), "replayed": self.replayed}
        return {"type": "task", **self._where(), "record": record, **more}

    def _attempt_message(self, record: Message, phase: str, **changes: Any) -> Message:
        limit = self.trajectory.limit
        return {"type": "attempt", **self._where(), "record": record, "phase": phase, "limit": limit, **changes}

    def _where(self) -> Message:
        return {"task": self.trajectory.id, "session": self.origin.session, "cell": self.origin.cell}


def _visible(trajectory: Trajectory) -> list[Attempt]:
    """Return the attempts that have code, what is being written among them."""
    return [*trajectory.attempts, *(a for a in trajectory.growing if a.action.code is not None)]


def _phase(attempt: Attempt) -> str:
    if attempt.done:
        return "done"
    return "writing" if attempt.observation is None else "running"


def _outputs(attempt: Attempt, phase: str) -> list[Output]:
    outputs = attempt.observation.outputs if attempt.observation else []
    return plain_outputs(bounded(outputs, growing=phase != "done"))


def _code(attempt: Attempt) -> str:
    return (attempt.action.code or "").encode("utf-8", "replace").decode("utf-8")
