"""One round of candidates: replies that are written side by side, executed side by side, and one of them chosen."""

from __future__ import annotations

from collections.abc import Generator, Iterator, Sequence
from dataclasses import replace
from typing import Any, Protocol

from jupyter_codeagent.asking import Model, Replies, Reply
from jupyter_codeagent.choosing import Standing, choose
from jupyter_codeagent.source import sameness
from jupyter_codeagent.trajectory import Attempt, Check, CodeError, Observation, Trajectory, Undone, Usage, Verdict

MOST = 8  # candidates of one ask
UNDECIDED = "Stopped before one of the candidates was chosen."


class Checkpoint(Protocol):
    """The sandbox's state at one moment."""

    def drop(self) -> None:
        """Forget it."""


class Candidate(Protocol):
    """What came of one code, and the state that it left."""

    @property
    def observation(self) -> Observation:
        """What was seen."""

    @property
    def checkpoint(self) -> Checkpoint:
        """The state after it."""


class Sandbox(Protocol):
    """Where candidates are executed. The checkpoints that it takes are those that it gave (hence `Any`)."""

    def checkpoint(self) -> Checkpoint:
        """Keep the state as it is now."""

    def rollback(self, checkpoint: Any, /) -> Undone | None:
        """Make the state as it was at `checkpoint`, which stays usable; returns what that restored, if it is known."""

    def try_out(
        self, checkpoint: Any, /, codes: Sequence[str]
    ) -> Generator[list[tuple[Observation, bool]], None, Sequence[Candidate]]:
        """Execute each of `codes` from `checkpoint`, yielding what has been seen of each, and whether it has ended."""

    def rehearse(self, checkpoint: Any, /, cells: Sequence[str]) -> list[Observation]:
        """Execute `cells` from `checkpoint` aside of the state, up to the first error, and throw that away."""


def ask(model: Model, trajectory: Trajectory) -> Generator[Attempt, None, list[Attempt]]:
    """Have candidates written, yielding each that has grown; return those to execute, or the one that is the answer."""
    count, first = trajectory.candidates, len(trajectory.attempts) + 1
    asked = [
        Attempt(first + i, round=trajectory.tries + 1, candidate=i + 1, of=count, chosen=False) for i in range(count)
    ]
    trajectory.current, trajectory.rivals = asked[0], asked[1:]
    replies = Replies(model, trajectory, count)
    try:
        for seen in replies.watch():
            for attempt, reply in zip(asked, seen, strict=True):
                attempt.action = reply.action
            yield next((a for a, r in zip(asked, seen, strict=True) if not r.done), asked[0])
    except BaseException:
        trajectory.spent += sum((a.action.usage for a in asked), Usage())
        raise
    return _worth(trajectory, asked, replies.replies)


def _worth(trajectory: Trajectory, asked: list[Attempt], replies: list[Reply]) -> list[Attempt]:
    """Return the attempts that are gone on with, numbered anew; what the other replies cost is kept."""
    sound = [a for a, reply in zip(asked, replies, strict=True) if reply.done and reply.error is None]
    worth = [sound[0]] if sound[0].action.code is None else [a for a in sound if a.action.code is not None]
    others = [a.action.usage for a in asked if all(a is not kept for kept in worth)]
    trajectory.spent += sum(others, Usage())
    for number, attempt in enumerate(worth):
        attempt.number, attempt.candidate, attempt.of = len(trajectory.attempts) + 1 + number, number + 1, len(worth)
    if len(worth) == 1:  # it is alone after all
        worth[0].round, worth[0].chosen = 0, True
    trajectory.current, trajectory.rivals = worth[0], worth[1:]
    return worth


def compete(sandbox: Sandbox, trajectory: Trajectory, attempts: list[Attempt]) -> Iterator[Attempt]:
    """Execute candidates side by side, choose one and make its state the sandbox's; the others leave nothing."""
    trajectory.attempts += attempts
    trajectory.rivals = []
    before = sandbox.checkpoint()
    found: Sequence[Candidate] = ()
    undone: Undone | None = None
    try:
        found = yield from _run(sandbox, before, attempts)
        standings = _judge(sandbox, trajectory.checks, attempts, found)
        best = choose(standings)
        for attempt in attempts:
            attempt.rolled_back = not (attempt.chosen and attempt.succeeded)
        if best.succeeded:
            undone = sandbox.rollback(_of(best, attempts, found).checkpoint)
    finally:
        try:
            if not any(a.chosen for a in attempts):  # the stop button, or a caller who went away
                _settle(attempts)
            if not any(a.chosen and a.succeeded for a in attempts):
                undone = sandbox.rollback(before)
            for attempt in attempts:
                attempt.undone = undone if attempt.rolled_back else None
        finally:
            for checkpoint in [before, *(c.checkpoint for c in found)]:
                checkpoint.drop()
    yield from attempts


def _run(
    sandbox: Sandbox, before: Checkpoint, attempts: list[Attempt]
) -> Generator[Attempt, None, Sequence[Candidate]]:
    """Execute each different code once."""
    places = _places(attempts)
    trial = sandbox.try_out(before, [a.action.code or "" for a in attempts if places[a.number] == a.number])
    order = list(dict.fromkeys(places.values()))
    found: Sequence[Candidate] = ()
    try:
        while True:
            seen = next(trial)
            for attempt in attempts:
                attempt.observation, attempt.done = seen[order.index(places[attempt.number])]
            yield next((a for a in attempts if not a.done), attempts[0])
    except StopIteration as end:
        found = end.value
    finally:
        trial.close()
    for attempt in attempts:
        attempt.observation, attempt.done = found[order.index(places[attempt.number])].observation, True
    return found


def _places(attempts: list[Attempt]) -> dict[int, int]:
    """Return, for each attempt's number, that of the first one with the same code."""
    first: dict[str, int] = {}
    return {a.number: first.setdefault(sameness(a.action.code or ""), a.number) for a in attempts}


def _of(attempt: Attempt, attempts: list[Attempt], found: Sequence[Candidate]) -> Candidate:
    places = _places(attempts)
    return found[list(dict.fromkeys(places.values())).index(places[attempt.number])]


def _judge(
    sandbox: Sandbox, checks: Sequence[Check], attempts: list[Attempt], found: Sequence[Candidate]
) -> list[Standing]:
    """Return how each did, with the user's checks rehearsed from its own state."""
    places = _places(attempts)
    verdicts: dict[int, tuple[Verdict, ...]] = {}
    for attempt in attempts:
        if places[attempt.number] == attempt.number:
            point = _of(attempt, attempts, found).checkpoint
            verdicts[attempt.number] = tuple(_verdict(sandbox, point, check) for check in checks)
    same = {number: place if place != number else 0 for number, place in places.items()}
    return [Standing(a, verdicts[places[a.number]], same[a.number]) for a in attempts]


def _verdict(sandbox: Sandbox, point: Checkpoint, check: Check) -> Verdict:
    error = sandbox.rehearse(point, [check.code])[-1].error
    return Verdict(check.label, error is None, f"{error.ename}: {error.evalue}" if error else "")


def _settle(attempts: Sequence[Attempt]) -> None:
    """Mark candidates of which none was chosen as done, and say so where they were interrupted."""
    for attempt in attempts:
        seen = attempt.observation or Observation()
        if not attempt.done and seen.error is None:
            attempt.observation = replace(seen, error=CodeError("Interrupted", "Stopped by the user."))
        attempt.done = attempt.rolled_back = True
        attempt.chosen, attempt.reason = False, UNDECIDED
