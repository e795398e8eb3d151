"""The loop, with a scripted model or one behind HTTP, and a small sandbox that executes in this process."""

from __future__ import annotations

import contextlib
import copy
import io
import threading
from collections.abc import Iterator, Sequence
from typing import Any

import pytest

from jupyter_codeagent import Action, Agent, Attempt, Observation, ScriptedModel, Trajectory, errors
from jupyter_codeagent.models.anthropic import MessagesModel
from jupyter_codeagent.source import sameness
from jupyter_codeagent.trajectory import Answer, Check, CodeError, Frame, Verdict
from tests.messages_server import Turn, serving


class Kept:
    """A checkpoint of `Desk`."""

    def __init__(self, names: dict[str, Any]) -> None:
        self.names = copy.deepcopy(names)
        self.dropped = False

    def drop(self) -> None:
        self.dropped = True


class Desk:
    """Executes in a dict, and remembers what was executed."""

    def __init__(self) -> None:
        self.names: dict[str, Any] = {}
        self.executed: list[str] = []
        self.checkpoints: list[Kept] = []

    def checkpoint(self) -> Kept:
        self.checkpoints.append(Kept(self.names))
        return self.checkpoints[-1]

    def rollback(self, checkpoint: Kept) -> None:
        assert not checkpoint.dropped
        self.names = copy.deepcopy(checkpoint.names)

    def stream(self, code: str) -> Iterator[Observation]:
        self.executed.append(code)
        yield Observation([{"output_type": "stream", "name": "stdout", "text": "begun\n"}])
        yield execute(code, self.names)

    def rehearse(self, checkpoint: Kept, cells: Sequence[str]) -> list[Observation]:
        names, seen = copy.deepcopy(checkpoint.names), []
        for cell in cells:
            seen.append(execute(cell, names))
            if seen[-1].error:
                break
        return seen


def execute(code: str, names: dict[str, Any]) -> Observation:
    printed = io.StringIO()
    error = None
    try:
        with contextlib.redirect_stdout(printed):
            exec(compile(code, "cell 1", "exec"), names)
    except Exception as caught:
        line = getattr(caught, "lineno", None) or (
            caught.__traceback__.tb_next.tb_lineno if caught.__traceback__ and caught.__traceback__.tb_next else 0
        )
        source = code.splitlines()[line - 1] if 0 < line <= len(code.splitlines()) else ""
        error = CodeError(type(caught).__name__, str(caught), [], (Frame("cell 1", line, "<module>", source),))
    names.pop("__builtins__", None)
    return Observation([{"output_type": "stream", "name": "stdout", "text": printed.getvalue()}], error)


def play(*actions: Any, **record: Any) -> tuple[Trajectory, Desk]:
    trajectory, desk = Trajectory("task", **record), Desk()
    list(Agent(ScriptedModel(actions), desk).run(trajectory))
    return trajectory, desk


def test_a_task_is_solved_by_code_and_an_answer() -> None:
    trajectory, desk = play(Action("sum", "x = 1 + 1"), Action("2"))
    assert (trajectory.status, trajectory.answer, trajectory.reason) == ("solved", "2", "")
    assert desk.names == {"x": 2} and trajectory.model == "scripted"
    assert all(c.dropped for c in desk.checkpoints)


def test_a_failed_attempt_is_rolled_back() -> None:
    trajectory, desk = play(Action("", "x = 1"), Action("", "x = 2\n1 / 0"), Action("", "y = x"), Action("done"))
    assert desk.names == {"x": 1, "y": 1}
    assert [a.rolled_back for a in trajectory.attempts] == [False, True, False]
    assert [a.number for a in trajectory.kept] == [1, 3]


def test_watching_sees_an_attempt_grow() -> None:
    trajectory = Trajectory("task")
    seen = [
        (attempt.status, attempt.number)
        for attempt in Agent(ScriptedModel([Action("s" * 99, "x = 1"), Action("1")]), Desk()).watch(trajectory)
    ]
    assert seen[:2] == [("writing", 1), ("writing", 1)]
    assert ("running", 1) in seen and ("succeeded", 1) in seen
    assert trajectory.current is None


def test_the_limit_ends_a_task_that_fails() -> None:
    trajectory, desk = play(*[Action("", f"1 / 0 + {n}") for n in range(9)], limit=4)
    assert len(desk.executed) == 4
    assert trajectory.reason == "Not solved within 4 attempts; say more in the task, or allow more attempts."


def test_an_answer_may_follow_the_last_attempt() -> None:
    trajectory, _ = play(Action("", "1 / 0"), Action("", "x = 3"), Action("3"), limit=2)
    assert trajectory.status == "solved"


def test_code_after_the_last_attempt_is_not_executed() -> None:
    trajectory, desk = play(Action("", "x = 1"), Action("", "x = 2"), limit=1)
    assert desk.executed == ["x = 1"] and trajectory.status == "failed" and "allow more than 1" in trajectory.reason


def test_giving_up_fails_the_task() -> None:
    trajectory, _ = play(Action("There is no such file", gave_up=True))
    assert trajectory.status == "failed" and trajectory.reason == "The model gave up: There is no such file"


def test_no_error_alone_is_not_success() -> None:
    check = Check("x == 3", "assert x == 3, x")
    trajectory, _ = play(Action("", "x = 2"), Action("2"), Action("", "x = 3"), Action("3"), checks=(check,))
    assert [a.passed for a in trajectory.answers] == [False, True]
    assert trajectory.answers[0].verdicts[0].detail == "AssertionError: 2"


def test_an_answer_without_code_that_ran_does_not_pass() -> None:
    trajectory, _ = play(Action("", "1 / 0"), Action("It is 3."), Action("gone", gave_up=True))
    assert trajectory.status == "failed"
    assert trajectory.answers[0].verdicts[0].detail == "No attempt has succeeded yet."


def test_checks_run_where_only_the_kept_code_has_run() -> None:
    # The second attempt works only on what the first has left; from the start it is the first that makes x.
    check = Check("x", "assert x == 2, x")
    trajectory, desk = play(Action("", "x = 1"), Action("", "x += 1"), Action("2"), checks=(check,))
    assert trajectory.status == "solved" and desk.names["x"] == 2


def test_a_check_cannot_change_the_state() -> None:
    trajectory, desk = play(Action("", "x = 1"), Action("1"), checks=(Check("c", "x = 9"),))
    assert trajectory.status == "solved" and desk.names == {"x": 1}


@pytest.mark.parametrize(
    "codes",
    [
        ["1 / 0"] * 3,
        ["1 / 0", "1 / 0  # now it works", "\n1/0\n"],
        ["x = (", "x = (\n# again", "  x = ("],
        ["a()", "1 / 0", "1 / 0", "b()", "1 / 0"],
    ],
)
def test_the_same_failing_code_for_the_third_time_ends_the_task(codes: list[str]) -> None:
    trajectory, desk = play(*[Action("", code) for code in [*codes, "never()"]], limit=9)
    assert len(desk.executed) == len(codes) and trajectory.stuck
    assert "same thing three times" in trajectory.reason


def test_the_same_answer_rejected_for_the_third_time_ends_the_task() -> None:
    trajectory, _ = play(Action("", "x = 1"), *[Action("1 ")] * 5, checks=(Check("c", "assert x == 2"),), limit=9)
    assert len(trajectory.answers) == 3 and trajectory.stuck


def test_going_on_after_a_repetition_is_not_stuck() -> None:
    trajectory, _ = play(
        Action("", "1 / 0"), Action("", "1 / 0"), Action("", "x = 1"), Action("", "1 / 0 + 1"), Action("1")
    )
    assert trajectory.status == "solved"


@pytest.mark.parametrize(
    ("one", "other", "same"), [("x=1 # a", "x = 1", True), ("x = 1", "x = 2", False), ("s = '\\d'", "s = '\\d'#", True)]
)
def test_code_is_compared_without_comments_and_layout(one: str, other: str, same: bool) -> None:
    assert (sameness(one) == sameness(other)) is same


def test_the_stop_button_while_code_runs_rolls_back_and_ends() -> None:
    class Stopped(Desk):
        def stream(self, code: str) -> Iterator[Observation]:
            self.names["half"] = True
            yield Observation()
            raise KeyboardInterrupt

    trajectory, desk = Trajectory("task"), Stopped()
    list(Agent(ScriptedModel([Action("", "x = 1")]), desk).run(trajectory))
    assert trajectory.status == "stopped" and desk.names == {} and trajectory.attempts[0].rolled_back
    error = trajectory.attempts[0].observation and trajectory.attempts[0].observation.error
    assert error and error.ename == "Interrupted"


def test_a_caller_who_goes_away_leaves_no_half_attempt() -> None:
    trajectory, desk = Trajectory("task"), Desk()
    watch = Agent(ScriptedModel([Action("", "x = 1"), Action("1")]), desk).watch(trajectory)
    for attempt in watch:
        if attempt.status == "running":
            break
    watch.close()
    assert desk.names == {} and all(c.dropped for c in desk.checkpoints) and trajectory.attempts[0].done


# With a model behind HTTP


def test_a_task_is_solved_over_http_and_no_code_is_executed_twice() -> None:
    turns = [
        Turn("First.", code="x = 1 + 'a'"),
        Turn(code="x = 5", events=6),  # cut off on the way
        Turn("Then.", code="x = 2"),
        Turn(status=529, error={"type": "error", "error": {"type": "overloaded_error", "message": "busy"}}),
        Turn(answer="It is 2."),
    ]
    trajectory, desk = Trajectory("task", checks=(Check("x == 2", "assert x == 2"),)), Desk()
    with serving(turns) as server:
        model = MessagesModel("scripted", server.url, "key")
        list(Agent(model, desk).run(trajectory))
        model.close()
    assert trajectory.answer == "It is 2." and desk.executed == ["x = 1 + 'a'", "x = 2"]
    told = server.requests[1].messages[-1]["content"][0]["content"]
    assert "your code, line 1:\n    x = 1 + 'a'\nTypeError: unsupported operand" in told
    assert trajectory.usage.output_tokens > 0


def test_a_record_that_was_saved_goes_on_where_it_was() -> None:
    with serving([Turn("so", code="x = 1"), Turn(answer="1")]) as server:
        model = MessagesModel("scripted", server.url, "key")
        trajectory = Trajectory("task")
        attempts = Agent(model, Desk()).run(trajectory)
        next(iter(attempts))
        trajectory = Trajectory.from_dict(trajectory.to_dict())
        list(Agent(model, Desk()).run(trajectory))
        model.close()
    assert trajectory.answer == "1" and len(server.requests[1].messages) == 3


def test_a_failing_endpoint_is_raised_and_leaves_the_sandbox_clean() -> None:
    desk = Desk()
    with serving([Turn("", code="x = 1"), Turn("no", stop_reason="refusal")]) as server:
        model = MessagesModel("scripted", server.url, "key")
        with pytest.raises(errors.Refused):
            list(Agent(model, desk).run(Trajectory("task")))
        model.close()
    assert all(c.dropped for c in desk.checkpoints)


def test_a_task_on_another_thread_is_stopped_through_the_model() -> None:
    trajectory = Trajectory("task")
    with serving([Turn("so", code="x = 1", delay=30.0)]) as server:
        model = MessagesModel("scripted", server.url, "key")
        thread = threading.Thread(target=lambda: list(Agent(model, Desk()).run(trajectory)))
        thread.start()
        while not server.requests:
            threading.Event().wait(0.01)
        model.cancel()
        thread.join(5)
        model.close()
    assert not thread.is_alive() and trajectory.status == "stopped"


def test_histories_are_in_order() -> None:
    trajectory = Trajectory("task")
    trajectory.answers.append(Answer(Action("early"), (Verdict("c", False),), after=0))
    trajectory.attempts.append(Attempt(1, Action("", "x")))
    trajectory.answers.append(Answer(Action("late"), after=1))
    assert [e.action.text or e.action.code for e in trajectory.history] == ["early", "x", "late"]
