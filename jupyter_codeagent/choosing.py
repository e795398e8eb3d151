"""Which of several candidates a task goes on from, and why."""

from __future__ import annotations

import ast
from collections.abc import Sequence
from dataclasses import dataclass

from jupyter_codeagent.source import parsed
from jupyter_codeagent.trajectory import Attempt, CodeError, Verdict

_ENDED = ("Crashed", "OutOfMemory", "ProcessLimit", "OutputLimit", "TimedOut")  # worse than an exception


@dataclass(frozen=True)
class Standing:
    """How one candidate did: its attempt, which has ended, and what became of the user's checks on its state.

    `same` is the number of the attempt with equal code that was executed for both, if there is one.
    """

    attempt: Attempt
    verdicts: tuple[Verdict, ...] = ()
    same: int = 0

    @property
    def passed(self) -> int:
        """How many checks hold."""
        return sum(v.passed for v in self.verdicts)

    @property
    def error(self) -> CodeError | None:
        """How its code failed, if it did."""
        return self.attempt.observation.error if self.attempt.observation else None

    @property
    def order(self) -> tuple[float, ...]:
        """What it is ordered by, the least first.

        Code that ran to its end comes before code that failed; then more checks passed, the smaller code, the faster.
        Of those that failed: more checks passed, an exception before a lost process, and what failed further down.
        """
        error, seen = self.error, self.attempt.observation
        if error is not None:
            reached = error.frames[0].line if error.frames else 0
            return (1, -self.passed, error.ename in _ENDED, -reached, self.size, self.attempt.candidate)
        return (0, -self.passed, self.size, seen.duration if seen else 0.0, self.attempt.candidate)

    @property
    def size(self) -> int:
        """Characters of the code without comments and layout."""
        code = self.attempt.action.code or ""
        tree = parsed(code)
        try:
            return len(ast.unparse(tree)) if tree is not None else len(code.strip())
        except RecursionError:  # a tree can be deeper than what walks it
            return len(code.strip())

    @property
    def checks(self) -> str:
        """How many checks it passes, in words; empty where there are none."""
        if not self.verdicts:
            return ""
        return f"passes {self.passed} of {len(self.verdicts)} check{'' if len(self.verdicts) == 1 else 's'}"


def choose(standings: Sequence[Standing]) -> Attempt:
    """Mark the candidate to go on from as chosen, and each with the reason; returns the chosen one."""
    ordered = sorted(standings, key=lambda standing: standing.order)
    best = ordered[0]
    for standing in standings:
        standing.attempt.chosen = standing is best
        standing.attempt.reason = _why(best, ordered[1:]) if standing is best else _why_not(standing, best)
    return best.attempt


def elect(attempt: Attempt, rivals: Sequence[Attempt]) -> None:
    """Mark a candidate as the one that the user chose."""
    for other in rivals:
        other.reason = f"Not chosen: the user chose attempt {attempt.number}."
        other.chosen, other.rolled_back, other.accepted, other.taken = False, True, False, None
    attempt.reason = "Chosen by the user."
    attempt.chosen, attempt.rolled_back, attempt.discarded = True, False, False


def _why(best: Standing, others: Sequence[Standing]) -> str:
    count = len(others) + 1
    if all(other.same == best.attempt.number for other in others):
        return f"All {count} candidates are the same code."
    if best.error is not None:
        how = f": {best.checks}" if best.passed else ""
        return f"All {count} candidates failed; this one came nearest{how}."
    others = [other for other in others if other.same != best.attempt.number]
    words = [best.checks, _advantage(best, others)]
    return f"Candidate {best.attempt.candidate} of {count} was chosen: {', '.join(filter(None, words))}."


def _advantage(best: Standing, others: Sequence[Standing]) -> str:
    """Return by what it is before the best of the others."""
    sound = [other for other in others if other.error is None]
    if not sound:
        return "the only one without an error"
    rival = sound[0]
    if rival.passed < best.passed:
        return "more than the others"
    return "smaller" if best.size < rival.size else "faster"


def _why_not(standing: Standing, best: Standing) -> str:
    if standing.same:
        return f"Not chosen: the same code as attempt {standing.same}."
    if standing.error is not None:
        return f"Not chosen: failed with {standing.error.ename}."
    if standing.passed < best.passed:
        return f"Not chosen: {standing.checks}."
    return f"Not chosen: {'larger' if standing.size > best.size else 'slower'}."
