"""What a terminal or log is shown of a task."""

import io
import time

from jupyter_codeagent import Action, Attempt, Observation, Trajectory
from jupyter_codeagent.terminal import Terminal, visible
from jupyter_codeagent.trajectory import Answer, CodeError, Frame, Verdict


def stdout(text):
    return Observation([{"output_type": "stream", "name": "stdout", "text": text}])


def test_code_and_output_are_written_as_they_grow():
    stream = io.StringIO()
    attempt = Attempt(1)
    with Terminal(stream) as view:
        for code in ("x = ", "x = 1", "x = 1\nprint(x)"):
            attempt.action = Action("Set x.", code)
            view.show(attempt)
        for text in ("1", "1\n2\n"):
            attempt.observation = stdout(text)
            view.show(attempt)
        attempt.done = True
        view.show(attempt)
    lines = stream.getvalue().splitlines()
    assert lines[0].startswith("── attempt 1 ")
    assert lines[1:] == ["Set x.", "x = 1", "print(x)", "── output", "1", "2", "attempt 1: succeeded in 0.0 s"]


def test_failure_shows_the_users_line_and_that_it_was_rolled_back():
    stream = io.StringIO()
    error = CodeError("KeyError", "'Revenue'", [], (Frame("cell 1", 3, "", "df['Revenue']"),))
    attempt = Attempt(2, Action("", "df['Revenue']"), Observation([], error, 0.25), done=True, rolled_back=True)
    with Terminal(stream) as view:
        view.show(attempt)
    assert "cell 1, line 3: df['Revenue']" in stream.getvalue()
    assert "attempt 2: failed in 0.2 s; KeyError: 'Revenue'; rolled back" in stream.getvalue()


def test_code_that_is_executed_otherwise_than_written_is_shown_again():
    stream = io.StringIO()
    attempt = Attempt(1, Action("", "x = 1"))
    with Terminal(stream) as view:
        view.show(attempt)
        attempt.action, attempt.observation, attempt.done = Action("", "import y\nx = 1"), Observation(), True
        view.show(attempt)
    assert "(the code as it is executed:)\nimport y\nx = 1\n" in stream.getvalue()


def test_hostile_text_cannot_steer_the_terminal():
    assert visible("a\x1b]0;title\x07b\x1b[2Jc\rd\x9be\u202ef\x00\n") == "abc\N{REPLACEMENT CHARACTER}d" + (
        "\N{REPLACEMENT CHARACTER}e\N{REPLACEMENT CHARACTER}f\N{REPLACEMENT CHARACTER}\n"
    )


def test_flood_of_output_is_cut():
    stream = io.StringIO()
    attempt = Attempt(1, Action("", "x"), stdout("a" * 100_000), done=True)
    with Terminal(stream) as view:
        view.show(attempt)
    assert len(stream.getvalue()) < 6000 and "more output is in the notebook" in stream.getvalue()


def test_end_tells_checks_and_answer():
    stream = io.StringIO()
    trajectory = Trajectory("x", answers=[Answer(Action("It is 3."), (Verdict("x == 3", True),))])
    with Terminal(stream) as view:
        view.end(trajectory)
    assert "check x == 3: passed" in stream.getvalue() and "It is 3." in stream.getvalue()


class Screen(io.StringIO):
    def isatty(self):
        return True


def test_terminal_counts_the_seconds_of_silence_and_wipes_them_away():
    stream = Screen()
    with Terminal(stream) as view:
        view.wait("the model reads")
        time.sleep(3)
        view.say("here")
    assert "the model reads, 2 s" in stream.getvalue()
    assert stream.getvalue().endswith("\r\x1b[Khere\n")
