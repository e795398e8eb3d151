"""The loop: ask the model, execute its code, keep what worked, roll back what did not."""

from __future__ import annotations

import time
from collections.abc import Generator, Iterator, Sequence
from dataclasses import replace
from typing import Protocol

from jupyter_codeagent import candidates
from jupyter_codeagent.asking import Model as Model
from jupyter_codeagent.candidates import Checkpoint as Checkpoint
from jupyter_codeagent.trajectory import (
    Action,
    Answer,
    Attempt,
    Check,
    CodeError,
    Observation,
    Trajectory,
    Undone,
    Usage,
    Verdict,
)


class Sandbox(candidates.Sandbox, Protocol):
    """Where code is executed."""

    def stream(self, code: str) -> Iterator[Observation]:
        """Execute, yielding the observation as it grows; the last one yielded is whole."""


class Agent:
    """Solves tasks with a model and a sandbox.

    Parameters
    ----------
    model : Model
        Decides what to do next.
    sandbox : Sandbox
        Executes it. Its state goes on from task to task.
    """

    def __init__(self, model: Model, sandbox: Sandbox) -> None:
        self.model = model
        self.sandbox = sandbox

    def run(self, trajectory: Trajectory) -> Iterator[Attempt]:
        """Make attempts until the task ends (`trajectory.status`), yielding each once it is done."""
        return (attempt for attempt in self.watch(trajectory) if attempt.done and not attempt.undecided)

    def watch(self, trajectory: Trajectory) -> Generator[Attempt, None, None]:
        """Do the same, yielding the attempt each time it has grown: while it is written, while it runs, when done.

        A trajectory that has attempts already, such as one from a file, goes on: what it kept is executed again first,
        and an answer that had passed is judged again.
        """
        start = self.sandbox.checkpoint()
        try:
            yield from self.retrace(trajectory, start)
            while trajectory.status == "running":
                attempts = yield from self.ask(trajectory)
                if attempts[0].action.code is None:
                    trajectory.answers.append(self.judge(trajectory, attempts[0].action, start))
                elif trajectory.tries >= trajectory.limit:
                    trajectory.failure = (
                        f"The model went on after its last attempt; allow more than {trajectory.limit}."
                    )
                    trajectory.spent += sum((a.action.usage for a in attempts), Usage())
                elif len(attempts) == 1:
                    yield from self.execute(trajectory, attempts[0])
                else:
                    yield from candidates.compete(self.sandbox, trajectory, attempts)
        except KeyboardInterrupt:
            trajectory.stopped = True
        finally:
            trajectory.current, trajectory.rivals = None, []
            trajectory.ended = time.time()
            start.drop()

    def retrace(self, trajectory: Trajectory, start: Checkpoint) -> Iterator[Attempt]:
        """Bring the sandbox to where a trajectory is; code that fails now counts as failed, and is rolled back."""
        failed: list[Verdict] = []
        for attempt in trajectory.kept:
            attempt.done, attempt.accepted, attempt.observation = False, False, None
            yield from self.observe(attempt)
            if attempt.observation is not None and (error := attempt.observation.error) is not None:
                failed.append(Verdict(f"attempt {attempt.number} runs again", False, f"{error.ename}: {error.evalue}"))
        if trajectory.answers and trajectory.answers[-1].passed:
            answer = self.judge(trajectory, trajectory.answers.pop().action, start)
            trajectory.answers.append(replace(answer, verdicts=(*failed, *answer.verdicts)))

    def ask(self, trajectory: Trajectory) -> Generator[Attempt, None, list[Attempt]]:
        """Have the model write the next attempt, or the candidates for it, or its answer."""
        if trajectory.candidates > 1:
            return (yield from candidates.ask(self.model, trajectory))
        attempt = trajectory.current = Attempt(number=len(trajectory.attempts) + 1)
        for attempt.action in self.model.stream(trajectory):
            yield attempt
        return [attempt]

    def execute(self, trajectory: Trajectory, attempt: Attempt) -> Iterator[Attempt]:
        """Execute the attempt's code; whatever does not end well is rolled back."""
        trajectory.attempts.append(attempt)
        yield from self.observe(attempt)

    def observe(self, attempt: Attempt) -> Iterator[Attempt]:
        """Execute an attempt's code and put what came of it into the attempt."""
        before = self.sandbox.checkpoint()
        try:
            for attempt.observation in self.sandbox.stream(attempt.action.code or ""):  # noqa: B020 - its attribute grows
                yield attempt
            attempt.done = True
        finally:
            try:
                if not attempt.succeeded:  # an error, the stop button, or a caller who went away
                    settle(attempt)  # first: the stop button may be pressed again
                    tell(attempt, self.sandbox.rollback(before))
            finally:
                before.drop()
        yield attempt

    def judge(self, trajectory: Trajectory, action: Action, start: Checkpoint) -> Answer:
        """Decide whether the task is solved: what was kept runs again from the start, then each check on it."""
        answer = Answer(action, after=len(trajectory.attempts))
        if action.gave_up:
            return answer
        if trajectory.attempts and not trajectory.kept:
            return replace(answer, verdicts=(Verdict("an attempt succeeds", False, "No attempt has succeeded yet."),))
        cells = [a.action.code or "" for a in trajectory.kept]
        return replace(answer, verdicts=tuple(self.verdict(check, start, cells) for check in trajectory.checks))

    def verdict(self, check: Check, start: Checkpoint, cells: Sequence[str]) -> Verdict:
        """Execute one check in a state that only the kept code has prepared, from the task's start."""
        seen = self.sandbox.rehearse(start, [*cells, check.code])
        error = seen[-1].error
        if error is None:
            return Verdict(check.label, True)
        where = (
            "" if len(seen) > len(cells) else f"attempt code, run again from the start, failed in cell {len(seen)}: "
        )
        return Verdict(check.label, False, f"{where}{error.ename}: {error.evalue}")


def tell(attempt: Attempt, undone: Undone | None) -> None:
    """Put into the record what was made as before, and at what price."""
    attempt.undone = undone
    if undone is not None and attempt.observation is not None:
        attempt.observation = replace(attempt.observation, notes=(*attempt.observation.notes, *undone.notes))


def settle(attempt: Attempt) -> None:
    """Mark an attempt that was rolled back as done, and say so where it was interrupted."""
    attempt.rolled_back = attempt.done = True
    seen = attempt.observation or Observation()
    if seen.error is None:
        attempt.observation = replace(seen, error=CodeError("Interrupted", "Stopped by the user."))
