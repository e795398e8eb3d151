"""What a verification found, as lines, side by side, as HTML and as data."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jupyter_codeagent.compare.beside import aligned, columns
from jupyter_codeagent.report import Difference, InputState, Report

TEXT = Difference(3, "text", "the printed text differs: line 2 was '5' and is now '6'.", "a\n5\nb", "a\n6\nb\nc")


def test_report_reads_as_lines_and_as_data():
    missing = Difference(0, "input", "The input file 'a.csv' is missing.")
    inputs = (InputState("a.csv", "missing"),)
    report = Report("n.ipynb", (missing, TEXT), 2, {}, inputs, 1.5, "A", ("cell 1 asks for the time.",), ("a note.",))
    assert not report.ok
    assert str(report).splitlines() == [
        "n.ipynb: not verified; 2 code cells executed top to bottom in a fresh sandbox in 1.5 s, 2 differences.",
        "The input file 'a.csv' is missing.",
        f"Cell 3: {TEXT.detail}",
        "risk: cell 1 asks for the time.",
        "note: a note.",
    ]
    assert report.reasons == ["The input file 'a.csv' is missing.", f"Cell 3: {TEXT.detail}"]
    data = json.loads(json.dumps(report.to_dict()))
    assert data["ok"] is False and data["cells"][1]["cell"] == 3 and data["tolerance"]["relative"] == 1e-9
    assert "fresh" not in data
    assert Report("n.ipynb", executed=1).ok and not Report("n.ipynb").ok
    assert Report("n.ipynb").reasons == ["There was nothing to execute in it."]


def test_side_by_side_aligns_lines():
    lines = Report("n.ipynb", (TEXT,), 1).side_by_side(50).splitlines()
    assert lines[2:9] == [
        f"Cell 3: {TEXT.detail}",
        "in the file               in the fresh run",
        "-----------------------   -----------------------",
        "a                         a",
        "5                       ~ 6",
        "b                         b",
        "                        + c",
    ]
    assert "Compared: whole numbers exactly" in lines[-1]


def test_wide_characters_and_long_lines_stay_in_their_column():
    lines = columns("\u6f22" * 40 + "\n\tx", "b" * 400, 60)
    assert lines[2].startswith("\u6f22" * 13 + "…") and lines[2].endswith("…")


def test_html_passes_no_markup_of_the_outputs():
    hostile = "<img src=x onerror=alert(1)></pre></td>\u202e&"
    report = Report(f"{hostile}.ipynb", (Difference(1, "text", hostile, hostile, f"{hostile}x"),), 1, notes=(hostile,))
    html = report._repr_html_()
    assert "<img" not in html and "\u202e" not in html and html.count("<table") == 1
    assert "in the fresh run" in html and "not verified" in html


@given(st.text(), st.text())
def test_alignment_loses_no_line(old, new):
    rows = aligned(old, new)
    if max(old.count("\n"), new.count("\n")) < 50 and max(len(old), len(new)) < 300:
        assert "\n".join(a for a, _, _ in rows if a is not None) == old
        assert "\n".join(b for _, _, b in rows if b is not None) == new
    assert all((a == b) == (mark == " ") for a, mark, b in rows)


@pytest.mark.parametrize("text", ["\n" * 2000, "a\nb\n" * 500, "x" * 2000])
def test_large_texts_are_cut(text):
    assert len(columns(text, text[::-1] + "y")) < 130


def test_many_differences_are_counted():
    report = Report("n.ipynb", tuple(Difference(n, "text", "it differs.", "a", "b") for n in range(1, 151)), 150)
    assert "50 more differences are not shown side by side." in report.side_by_side()
    assert len(str(report).splitlines()) == 151 and "50 more differences" in report._repr_html_()
