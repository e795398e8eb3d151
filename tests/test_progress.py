"""The line that says how far a verification is."""

import io

from jupyter_codeagent import progress


def test_nothing_is_said_of_what_is_soon_done():
    stream = io.StringIO()
    line = progress.Progress("Verifying", stream)
    line(0, 3)
    line.close()
    assert stream.getvalue() == ""


def test_the_line_is_written_over_and_taken_away(monkeypatch):
    monkeypatch.setattr(progress, "MOMENT", 0.0)
    stream = io.StringIO()
    line = progress.Progress("Verifying", stream)
    line(0, 10)
    line(10, 10)
    line.close()
    first, second = "Verifying cell 1 of 10 ...", "Verifying cell 10 of 10 ..."
    assert stream.getvalue() == f"\r{first}\r{second}\r{' ' * len(second)}\r"
