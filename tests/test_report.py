"""Saved outputs compared with fresh ones."""

import pytest

from jupyter_codeagent.report import Difference, InputState, Report, compare, normal


def printed(text, name="stdout"):
    return {"output_type": "stream", "name": name, "text": text}


def shown(text, **more):
    return {"output_type": "execute_result", "data": {"text/plain": text, **more}, "metadata": {}}


@pytest.mark.parametrize(
    ("saved", "fresh"),
    [
        ("<A object at 0x7f0012345678>", "<A object at 0x7fffabcdef00>"),
        ("CPU times: user 1 ms\nWall time: 12 ms", "CPU times: user 9 ms\nWall time: 1.2 s"),
        ("12.3 ms ± 1 ms per loop (mean ± std. dev.)", "9 µs ± 2 ns per loop (mean ± std. dev.)"),
        ("done in 1.25 s.ms 3 ms", "done in 1.25 s.ms 14 ms"),
        ("at 2026-11-22 10:11:12.123456", "at 2027-01-02 03:04:05.654321"),
        ("10%\r50%\r100%", "10%\r100%"),
        ("a  \nb\r\n", "a\nb"),
        ("\x1b[31mred\x1b[0m", "red"),
    ],
)
def test_addresses_timings_and_moments_do_not_count(saved, fresh):
    assert normal(saved) == normal(fresh)


@pytest.mark.parametrize(
    ("saved", "fresh"),
    [("1.0", "1.1"), ("2026-11-22", "2026-11-23"), ("x = 5 m", "x = 6 m"), ("10:11:12", "10:11:13"), ("a\nb", "a b")],
)
def test_data_does_count(saved, fresh):
    assert normal(saved) != normal(fresh)


def test_equal_outputs_have_no_difference():
    outputs = [printed("a\n"), shown("1", **{"image/png": "AA"}), printed("warn", "stderr")]
    assert compare(1, outputs, [printed("a"), printed("\n"), shown("1", **{"image/png": "BB"})]) == []


def test_text_split_into_lists_is_the_same_text():
    assert compare(1, [printed(["a\n", "b\n"]), shown(["1\n", "2"])], [printed("a\nb\n"), shown("1\n2")]) == []


def test_difference_names_the_first_line():
    (found,) = compare(4, [printed("a\nb\n")], [printed("a\nc\n")])
    assert found == Difference(4, "text", "printed text differs: line 2 was 'b' and is now 'c'.", "a\nb", "a\nc")


@pytest.mark.parametrize(
    ("saved", "fresh", "kind", "detail"),
    [
        ([printed("a")], [], "missing", "printed text is missing"),
        ([], [printed("a")], "extra", "that the file lacks"),
        ([shown("1")], [], "missing", "is not shown any more"),
        ([], [shown("1")], "extra", "is shown that the file lacks"),
        ([shown("1", **{"image/png": "AA"})], [shown("1")], "missing", "output 1 has no image/png"),
        ([shown("1")], [shown("1", **{"image/png": "AA"})], "extra", "output 1 has image/png"),
        ([shown("1")], [shown("2")], "text", "the text of output 1 differs"),
        ([printed("a\n")], [printed("a\nb\n")], "text", "it had 1 lines and has now 2"),
    ],
)
def test_each_difference_has_its_kind_and_sentence(saved, fresh, kind, detail):
    (found,) = compare(1, saved, fresh)
    assert found.kind == kind and detail in found.detail


def test_report_reads_as_lines_and_as_data():
    changed = (InputState("a.csv", "changed"),)
    report = Report("n.ipynb", (Difference(3, "text", "it differs."),), 2, inputs=changed, duration=1.5, tier="A")
    assert not report.ok
    assert str(report).splitlines()[1:] == ["cell 3: it differs.", "input a.csv: changed since it was recorded"]
    assert report.to_dict()["ok"] is False and report.to_dict()["cells"][0]["cell"] == 3
    assert Report("n.ipynb", executed=1).ok and not Report("n.ipynb").ok
