"""The profile for small models: what it asks, what it adds to the code, and what it makes of replies."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from jupyter_codeagent.errors import CutReply
from jupyter_codeagent.models import cells
from jupyter_codeagent.models.profile import Unusable
from jupyter_codeagent.models.reply import Reply
from jupyter_codeagent.models.small import REPEATS, Helps, NothingNew, Small, defined, figures_hold
from jupyter_codeagent.trajectory import (
    Action,
    Answer,
    Attempt,
    Check,
    CodeError,
    Frame,
    Input,
    Observation,
    Trajectory,
    Verdict,
)


def reply(text: str, stop: str = "end_turn") -> Reply:
    return Reply.whole({"content": [{"type": "text", "text": text}], "stop_reason": stop})


def failed(number: int, code: str, ename: str, evalue: str, line: str) -> Attempt:
    error = CodeError(ename, evalue, [], (Frame("cell", 1, "<module>", line),))
    return Attempt(number, Action("", code), Observation(error=error), done=True, rolled_back=True)


def succeeded(code: str, output: str, **names: str) -> Attempt:
    outputs = [{"output_type": "stream", "name": "stdout", "text": output}] if output else []
    return Attempt(1, Action("", code), Observation(outputs, names=names), done=True)


@pytest.fixture
def sales(tmp_path: Path) -> Trajectory:
    (tmp_path / "sales.csv").write_text('Region,Revenue \nNorth,"$1,200"\nSouth,$5\n')
    context = "# Variables\nx: int 1\n\n# Files\nsales.csv, columns ['Region', 'Revenue ']\n\n# Notes\nBe brief."
    return Trajectory("Sum Revenue by Region in sales.csv.", context, inputs=(Input("sales.csv", 40, ""),))


def asked(small: Small, trajectory: Trajectory) -> tuple[str, str, dict[str, Any]]:
    """Return the question, what the reply is begun with, and the sampling of the next request."""
    request = small.request(trajectory, "m")
    begun = request["messages"][1]["content"] if len(request["messages"]) > 1 else ""
    return request["messages"][0]["content"], begun, request["extra_body"]


def test_the_cell_is_begun_with_lines_that_read_the_file(sales: Trajectory, tmp_path: Path) -> None:
    question, begun, sampling = asked(Small(tmp_path), sales)
    assert begun.startswith("```python\nimport pandas as pd\n\ndf = pd.read_csv('sales.csv')\n")
    assert "df.columns = df.columns.str.strip()" in begun
    assert "'Revenue '" not in question + begun  # only the name that holds after cleaning
    assert "x: int 1" in question
    assert "Be brief." in question
    assert sampling["temperature"] == 0


def test_without_that_help_the_context_has_the_file(sales: Trajectory, tmp_path: Path) -> None:
    question, begun, _ = asked(Small(tmp_path, Helps(reading=False)), sales)
    assert begun == "```python\n"
    assert "'Revenue '" in question


def test_a_file_that_is_gone_is_left_to_the_code(sales: Trajectory, tmp_path: Path) -> None:
    (tmp_path / "sales.csv").unlink()
    assert asked(Small(tmp_path), sales)[1] == "```python\n"


def test_two_files_get_two_frames(tmp_path: Path) -> None:
    for name in ("a-1.csv", "b.csv"):
        (tmp_path / name).write_text("x,y\n1,2\n")
    trajectory = Trajectory("Join them.", inputs=(Input("a-1.csv", 8, ""), Input("b.csv", 8, "")))
    begun = asked(Small(tmp_path), trajectory)[1]
    assert "a_1 = pd.read_csv('a-1.csv')" in begun
    assert "b = pd.read_csv('b.csv')" in begun


def test_a_failed_attempt_is_told_as_comments_and_its_code_is_not(tmp_path: Path) -> None:
    trajectory = Trajectory("Add them up.")
    trajectory.attempts.append(failed(1, "secret = 1\nsum('a')", "TypeError", "unsupported\noperand", "sum('a')"))
    small = Small(tmp_path)
    question, begun, sampling = asked(small, trajectory)
    assert begun.splitlines()[1:] == [
        "# Earlier versions failed:",
        "# sum('a')   -> TypeError: unsupported operand",
        "# So this version does it differently:",
    ]
    assert "secret" not in question + begun
    assert sampling["temperature"] > 0


@pytest.mark.parametrize(
    "evil", ["x\nimport os", "x\r\nimport os", "x\rimport os", "x\x0cimport os", "x\u2028import os"]
)
def test_no_error_message_gets_out_of_its_comment(tmp_path: Path, evil: str) -> None:
    trajectory = Trajectory("Do it.", checks=(Check("ok", "ok"),))
    trajectory.attempts.append(failed(1, "f()", "ValueError", evil, f"assert f() == 1, {evil}"))
    trajectory.attempts.append(failed(2, "f()", "AssertionError", evil, "assert f() == 1, f()"))
    trajectory.answers.append(Answer(Action("done"), (Verdict(evil, False, evil),), after=2))
    _, begun, _ = asked(Small(tmp_path), trajectory)
    lines = begun.removeprefix("```python\n").splitlines()
    assert len(lines) > 3
    assert all(line.startswith("#") for line in lines)


def test_a_wrong_example_is_told_with_what_came_out(tmp_path: Path) -> None:
    trajectory = Trajectory("Write f.")
    line = "assert f(1) == 2, f(1)"
    trajectory.attempts.append(failed(1, "...", "AssertionError", "3", line))
    assert "# f(1) gave 3 and should give 2\n" in asked(Small(tmp_path), trajectory)[1]


@pytest.mark.parametrize("repeats_beginning", [True, False])
def test_code_is_put_together_with_what_it_was_begun_with(
    sales: Trajectory, tmp_path: Path, repeats_beginning: bool
) -> None:
    small = Small(tmp_path)
    begun = asked(small, sales)[1]
    action = small.parse(reply((begun if repeats_beginning else "") + "print(1)\n"), sales)
    assert action.code == begun.removeprefix("```python\n") + "print(1)"
    assert small.sketch(reply("print(")).code == begun.removeprefix("```python\n") + "print("


def test_what_follows_the_closing_fence_is_left_out(tmp_path: Path) -> None:
    small, trajectory = Small(tmp_path), Trajectory("Print 1.")
    asked(small, trajectory)
    assert small.parse(reply("print(1)\n```\nThis prints 1."), trajectory).code == "print(1)"


@pytest.mark.parametrize("text", ["", "\n", "```"])
def test_a_reply_without_code_is_unusable(tmp_path: Path, text: str) -> None:
    small, trajectory = Small(tmp_path), Trajectory("Print 1.")
    asked(small, trajectory)
    with pytest.raises(Unusable):
        small.parse(reply(text), trajectory)


def test_a_cut_reply_is_unusable(tmp_path: Path) -> None:
    small, trajectory = Small(tmp_path), Trajectory("Print 1.")
    asked(small, trajectory)
    with pytest.raises(Unusable) as caught:
        small.parse(reply("print(1", "max_tokens"), trajectory)
    assert caught.value.kind is CutReply


def test_a_repetition_is_asked_for_again_with_more_chance_and_executed_in_the_end(tmp_path: Path) -> None:
    small, trajectory = Small(tmp_path), Trajectory("Print 1.")
    trajectory.attempts.append(failed(1, "print( 1 )  # so", "OSError", "", "print(1)"))
    warmth = []
    for _ in range(REPEATS):
        warmth.append(asked(small, trajectory)[2]["temperature"])
        with pytest.raises(NothingNew):
            small.parse(reply("print(1)"), trajectory)
    warmth.append(asked(small, trajectory)[2]["temperature"])
    assert "print(1)" in (small.parse(reply("print(1)"), trajectory).code or "")
    assert warmth == sorted(set(warmth))
    assert max(warmth) <= 1.2


def test_code_that_is_no_python_is_asked_for_again(tmp_path: Path) -> None:
    small, trajectory = Small(tmp_path), Trajectory("Print 1.")
    asked(small, trajectory)
    with pytest.raises(NothingNew):
        small.parse(reply("@x[1]\n"), trajectory)
    assert small.parse(reply("%time print(1)\n"), trajectory).code == "%time print(1)"


def test_after_an_output_the_answer_is_asked_for_in_prose(tmp_path: Path) -> None:
    small, trajectory = Small(tmp_path), Trajectory("How many?")
    trajectory.attempts.append(succeeded("print(42)", "42\n"))
    question, begun, sampling = asked(small, trajectory)
    assert "42" in question
    assert begun == ""
    assert sampling["temperature"] == 0
    assert small.parse(reply("There are 42."), trajectory) == Action("There are 42.")


@pytest.mark.parametrize("text", ["There are 43.", "The program worked.", "", "```python\nprint(43)\n```"])
def test_an_answer_that_the_output_does_not_hold_is_replaced_by_the_output(tmp_path: Path, text: str) -> None:
    small, trajectory = Small(tmp_path), Trajectory("How many?")
    trajectory.attempts.append(succeeded("print(42)", "42\n"))
    asked(small, trajectory)
    assert small.parse(reply(text), trajectory) == Action("The code printed:\n```\n42\n```")


def test_to_an_answer_that_leaves_figures_out_the_output_is_added(tmp_path: Path) -> None:
    small, trajectory = Small(tmp_path), Trajectory("How many each?")
    trajectory.attempts.append(succeeded("print(t)", "North 5\nSouth 7\n"))
    asked(small, trajectory)
    assert small.parse(reply("North has 5."), trajectory).text == "North has 5.\n```\nNorth 5\nSouth 7\n```"
    assert small.parse(reply("North 5, South 7."), trajectory).text == "North 5, South 7."


def test_warnings_are_no_result(tmp_path: Path) -> None:
    trajectory = Trajectory("How many?")
    attempt = succeeded("print(1)", "1\n")
    assert attempt.observation is not None
    attempt.observation.outputs.insert(0, {"output_type": "stream", "name": "stderr", "text": "warning 99\n"})
    trajectory.attempts.append(attempt)
    assert "99" not in asked(Small(tmp_path), trajectory)[0]


def test_an_attempt_that_shows_nothing_needs_no_model() -> None:
    trajectory = Trajectory("Define f.")
    trajectory.attempts.append(succeeded("def f(): pass", "", f="function"))
    assert defined(trajectory) == "The code ran without an error and showed nothing; it defined f (function)."
    trajectory.answers.append(Answer(Action("x"), (Verdict("c", False),), after=1))
    assert defined(trajectory) is None


@pytest.mark.parametrize(
    ("answer", "output", "holds"),
    [
        ("It is 14.2.", "14.2251", True),
        ("It is 14.3.", "14.2251", False),
        ("1,234.5 in all", "1234.50", True),
        ("all is well", "fine", True),
        ("all is well", "5 rows", False),
        ("688,727.45", "Central    688727.45", True),
        ("about 6.9e5", "6.9e+05", True),
    ],
)
def test_figures_of_an_answer_must_stand_in_the_output(answer: str, output: str, holds: bool) -> None:
    assert figures_hold(answer, output, "How much?") is holds


def test_forgotten_imports_come_first_and_known_names_stay() -> None:
    code = "x = math.pi + np.pi\nfor json in []: json.dumps\nunknown.thing\ndf.sum()"
    assert cells.with_imports(code, {"df"}) == f"import math\nimport numpy as np\n{code}"
    assert cells.with_imports("this is no python", set()) == "this is no python"


def test_the_last_assignment_is_shown() -> None:
    assert cells.with_display("x = 1\ny = 2") == "x = 1\ny = 2\ny"
    for code in ("x", "x += 1", "a, b = 1, 2", "def f(): pass", "", "?"):
        assert cells.with_display(code) == code


def test_examples_of_the_task_are_asserted_where_their_function_is_defined() -> None:
    task = (
        "Write f.\n    f(1) == 2\n    f([1, 'a']) ==> 'x'\n  f(2) -> 0.5\n>>> f(3)\n[4]\nassert g(1) == 1\nf(x) == 1\n"
    )
    code = "def f(x):\n    return x"
    assert cells.with_examples(code, task).splitlines()[3:] == [
        "# Examples from the task:",
        "assert f(1) == 2, f(1)",
        "assert f([1, 'a']) == 'x', f([1, 'a'])",
        "assert abs(f(2) - 0.5) < 1e-6, f(2)",
        "assert f(3) == [4], f(3)",
    ]
    assert cells.with_examples("x = 1", task) == "x = 1"


def test_examples_hold_literals_only() -> None:
    assert list(cells.examples("f(__import__('os').system('x')) == 1\nf(1) == exit()\n")) == []
