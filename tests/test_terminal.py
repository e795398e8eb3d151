"""What a terminal or log is shown of a task."""

import io
import re
import time

import pytest

from jupyter_codeagent import Action, Attempt, Observation, Trajectory
from jupyter_codeagent.terminal import Terminal, TerminalView, visible
from jupyter_codeagent.trajectory import Answer, CodeError, Frame, Verdict
from tests.test_display import solved


def stdout(text):
    return Observation([{"output_type": "stream", "name": "stdout", "text": text}])


def shown(*attempts):
    """Return what a log holds after one task with these attempts."""
    stream = io.StringIO()
    with Terminal(stream) as view:
        view.show(Trajectory("t", attempts=list(attempts)))
    return stream.getvalue()


@pytest.mark.parametrize("kind", [TerminalView, Terminal])
def test_code_and_output_are_written_as_they_grow(kind):
    stream = io.StringIO()
    attempt = Attempt(1)
    trajectory = Trajectory("t", current=attempt)
    view = kind(stream)
    for code in ("x = ", "x = 1", "x = 1\nprint(x)"):
        attempt.action = Action("Set x.", code)
        view.show(trajectory)
    for text in ("1", "1\n2\n"):
        attempt.observation = stdout(text)
        view.show(trajectory)
    trajectory.attempts.append(attempt)
    attempt.done = True
    view.show(trajectory)
    trajectory.current = None
    trajectory.answers.append(Answer(Action("It is **2**."), (Verdict("x == 1", True),), after=1))
    view.close(trajectory)
    lines = stream.getvalue().splitlines()
    assert lines[0].startswith("── Attempt 1 of 5 ")
    assert lines[1:11] == [
        *("Set x.", "", "x = 1", "print(x)", "── output", "1", "2", "[Attempt 1 succeeded, 0.0 s]"),
        *("Check passed: x == 1", "It is **2**."),
    ]
    assert lines[11].startswith("Solved (1 attempt")
    assert ("%agent accept 1" in lines[-1]) == (kind is TerminalView)


def test_failure_shows_the_users_line_and_that_it_was_rolled_back():
    traceback = ["Cell In[1], line 3\n----> 3 df['Revenue']", "KeyError: 'Revenue'"]
    error = CodeError("KeyError", "'Revenue'", traceback, (Frame("cell 1", 3, "", "df['Revenue']"),))
    written = shown(Attempt(2, Action("", "df['Revenue']"), Observation([], error, 0.25), done=True, rolled_back=True))
    assert "\n".join(traceback) in written
    assert "[Attempt 2 failed, rolled back, 0.2 s]" in written


def test_code_that_is_executed_otherwise_than_written_is_shown_again():
    stream = io.StringIO()
    attempt = Attempt(1, Action("", "x = 1"))
    trajectory = Trajectory("t", current=attempt)
    view = TerminalView(stream)
    view.show(trajectory)
    attempt.action, attempt.observation, attempt.done = Action("", "import y\nx = 1"), Observation(), True
    view.show(trajectory)
    assert "(the code as it is executed:)\nimport y\nx = 1\n" in stream.getvalue()


def test_an_attempt_that_begins_anew_is_written_anew():
    stream = io.StringIO()
    trajectory = Trajectory("t", current=Attempt(1, Action("", "x"), stdout("1\n")))
    view = TerminalView(stream)
    view.show(trajectory)
    trajectory.current = Attempt(1, Action("", "y"))
    view.show(trajectory)
    assert stream.getvalue().count("Attempt 1 of 5") == 2


def test_a_line_that_is_written_over_is_written_again_and_no_other():
    stream = io.StringIO()
    attempt = Attempt(1, Action("", "x"))
    trajectory = Trajectory("t", current=attempt)
    view = TerminalView(stream)
    for text in ("first\n10%", "first\n10%\r50%", "first\n10%\r50%\r100%\nlast\n"):
        attempt.observation = stdout(text)
        view.show(trajectory)
    assert stream.getvalue().partition("── output\n")[2] == "first\n10%\n50%\n100%\nlast\n"


def test_several_tasks_follow_each_other():
    stream = io.StringIO()
    view = TerminalView(stream)
    view.close(solved())
    view.close(solved())
    assert stream.getvalue().count("Attempt 1 of 5") == stream.getvalue().count("Solved (") == 2


def test_hostile_text_cannot_steer_the_terminal():
    text = "a\x1b]0;title\x07b\x1b[2Jc\rd\x9be\u202ef\x00g\ud800\n"
    assert visible(text) == "abc<U+000D>d<U+009B>e<U+202E>f<U+0000>g?\n"
    trajectory = solved()
    trajectory.attempts[0].action = Action(text, text)
    trajectory.attempts[0].observation = Observation(
        stdout(text).outputs, CodeError("E", text, [text, "\x1b[31mred\x1b[0m"]), notes=(text,)
    )
    trajectory.answers = [Answer(Action(text, gave_up=gave_up), (Verdict(text, False, text),), 2) for gave_up in (0, 1)]
    for stream in (io.StringIO(), Screen()):
        view = TerminalView(stream)
        view.open(trajectory, text)
        view.close(trajectory, text)
        written = stream.getvalue()
        assert ("\x1b[31mred" in written) == stream.isatty()
        assert not re.search("\x1b(?!\\[[0-9;]*m)|[\u202e\x00\x07\r\x9b\ud800]", written)


def test_flood_of_output_is_cut():
    written = shown(Attempt(1, Action("", "x"), stdout("a" * 100_000), done=True))
    assert len(written) < 6000 and written.count("more output is left out here") == 1


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
