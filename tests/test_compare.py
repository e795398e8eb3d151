"""Saved outputs compared with fresh ones."""

import base64
import io
import json
import struct
import zlib

import pandas
import polars
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from jupyter_codeagent.compare import (
    Difference,
    Tolerance,
    compare,
    failed_with,
    no_longer_warned,
    normal,
    not_compared,
)


def printed(text, name="stdout"):
    return {"output_type": "stream", "name": name, "text": text}


def shown(text="", **more):
    data = {"text/plain": text, **{k.replace("_", "/"): v for k, v in more.items()}}
    return {"output_type": "execute_result", "data": data, "metadata": {}}


def holding(mime, value):
    return {"output_type": "display_data", "data": {mime: value}, "metadata": {}}


def failed(name, said):
    return {"output_type": "error", "ename": name, "evalue": said, "traceback": []}


def picture(size=(8, 6), colour=(10, 20, 30), spot=None, kind="PNG", **how):
    image = Image.new("RGB", size, colour)
    if spot:
        image.putpixel((3, 2), spot)
    file = io.BytesIO()
    image.save(file, kind, **how)
    return base64.b64encode(file.getvalue()).decode()


def frame(value, library=pandas):
    table = library.DataFrame({"Region": ["North", "South"], "Revenue": [10.5, value]})
    return shown(repr(table), text_html=table._repr_html_())


def said(saved, fresh):
    return [d.detail for d in compare(1, [saved], [fresh])]


@pytest.mark.parametrize(
    ("saved", "fresh"),
    [
        ("<A object at 0x7f0012345678>", "<A object at 0x7fffabcdef00>"),
        ("<Thread(Thread-1, started daemon 140001234567890)>", "<Thread(Thread-1, started daemon 140009876543210)>"),
        ("CPU times: user 1 ms\nWall time: 12 ms", "CPU times: user 9 ms\nWall time: 1.2 s"),
        ("12.3 ms ± 1 ms per loop (mean ± std. dev.)", "9 µs ± 2 ns per loop (mean ± std. dev.)"),
        ("done in 1.25 s.ms 3 ms", "done in 1.7 s.ms 14 ms"),
        ("training took 3 minutes; elapsed: 1.2345", "training took 4 minutes; elapsed: 7.3"),
        ("Done in 3 s, after 1.5 min, 2.5 seconds", "Done in 4 s, after 2.5 min, 3.5 seconds"),
        ("at 2026-11-22 10:11:12.123456", "at 2027-01-02 03:04:05.654321"),
        ("2026-11-22 10:11:12,123 INFO x", "2026-11-23 10:11:13,999 INFO x"),
        ("10%\r50%\r100%", "10%\r100%"),
        ("starting up\rdone         ", "done"),
        ("Fit: 0.012s", "Fit: 0.034s"),
        ("-\b\\\b|\bx", "x"),
        ("100%|█████| 10/10 [00:01<00:00,  9.51it/s]", "100%|█████| 10/10 [00:03<00:00,  3.00it/s]"),
        ("read at 12.5 MB/s", "read at 9 MB/s"),
        ("peak memory: 123.45 MiB, increment: 0.10 MiB", "peak memory: 99.1 MiB, increment: 0.00 MiB"),
        ("/tmp/tmpab12cd_x/a.csv", "/tmp/tmp9z8y7x6w/a.csv"),
        ("pid 123 and PID=99", "pid 4567 and PID=1"),
        ("a  \nb\r\n", "a\nb"),
        ("\x1b[31mred\x1b[0m", "red"),
        ("0.30000000000000004", "0.3"),
        ("the mean is 1.2345678901234 of 12", "the mean is 1.2345678901233 of 12"),
        ("[0.3 1.  2. ]", "[0.30000000000000004 1.                  2.                 ]"),
        ("x 5.55e-17 1.0", "x 0.0 1.0"),
        ("1,234.50 and 2e3", "1,234.5 and 2000.0"),
    ],
)
def test_what_honest_runs_may_differ_in_does_not_count(saved, fresh):
    assert compare(1, [printed(saved)], [printed(fresh)]) == []
    assert "\b" in saved or compare(1, [shown(fresh)], [shown(saved)]) == []  # results hold no such characters


@pytest.mark.parametrize(
    ("saved", "fresh"),
    [
        ("1.0", "1.1"),
        ("12 rows", "13 rows"),
        ("1234567890123", "1234567890124"),
        ("2026-11-22", "2026-11-23"),
        ("x = 5 m", "x = 6 m"),
        ("10:11:12", "10:11:13"),
        ("Total: 5 seconds", "Total: 9 seconds"),
        ("x in 5 min", "x in 7 min"),
        ("a memory of 5 MB", "a memory of 6 MB"),
        ("a\nb", "a b"),
        ("a b", "a  b"),
        ("-1.5", "1.5"),
        ("1e400", "1e500"),
        ("charge 1.6e-19", "charge 3.2e-19"),
        ("0xf32f5c0", "0xf32f5c1"),
        ("report_v1.2", "report_v1.3"),
        ("1.0 2.0", "1.0"),
        ("nan", "0.0"),
        ("10/10 done", "9/10 done"),
        ("100%|██| 10/10 [00:01<00:00]", "90%|██| 9/10 [00:01<00:00]"),
        ("True", "False"),
        ("0.3 is small", "0.30000000000000004 is big"),
        ("Wall time rubbish 9", "Wall time answer 1"),
        ("9 apples per loop", "1 apple per loop"),
    ],
)
def test_data_does_count(saved, fresh):
    assert compare(1, [printed(saved)], [printed(fresh)])
    assert compare(1, [shown(fresh)], [shown(saved)])


@pytest.mark.parametrize(("saved", "fresh"), [("Total: 9\rT", "T"), ("lie\r\b", ""), ("starting up\rdone", "done")])
def test_what_a_line_still_shows_after_it_was_written_over_counts(saved, fresh):
    assert compare(1, [printed(saved)], [printed(fresh)])


@pytest.mark.parametrize("text", ["latency {} ms", "Wall time: {}.5 s", "pid {}", "at 2026-11-22 10:11:12.00000{}"])
def test_what_looks_like_a_timing_counts_where_it_is_asked_for(text):
    saved, fresh = text.format(1), text.format(9)
    exactly = Tolerance(timings=False)
    assert compare(1, [printed(saved)], [printed(fresh)]) == []
    assert compare(1, [printed(saved)], [printed(fresh)], exactly)
    cells = [holding("text/html", f"<table><tr><td>{one}</td></tr></table>") for one in (saved, fresh)]
    assert compare(1, cells[:1], cells[1:]) == [] and compare(1, cells[:1], cells[1:], exactly)


def test_text_split_into_lists_and_streams_is_the_same_text():
    fresh = [printed("a\n"), printed("b\n"), shown("1\n2")]
    assert compare(1, [printed(["a\n", "b\n"]), shown(["1\n", "2"])], fresh) == []


def test_standard_error_is_not_compared_and_what_only_the_file_says_is_told():
    saved = printed("warning\nat 0x7f0012345678\nTotal: 9\n", "stderr")
    fresh = printed("warning\nat 0x7fffabcdef00", "stderr")
    assert compare(1, [saved], [fresh]) == []
    assert no_longer_warned([saved], [fresh]) == "Total: 9" and no_longer_warned([fresh], [saved]) == ""


def test_widgets_and_help_that_only_one_of_both_shows_do_not_count():
    view = "application/vnd.jupyter.widget-view+json"
    bar = {"output_type": "display_data", "data": {"text/plain": "0%| | 0/3", view: {"model_id": "a"}}, "metadata": {}}
    page = {"output_type": "display_data", "data": {"text/plain": "Signature"}, "metadata": {"page": True}}
    saved, fresh = [bar, shown("1")], [shown("1"), page]
    assert compare(1, saved, fresh) == [] == compare(1, saved, saved) == compare(1, fresh, fresh)
    (found,) = compare(1, saved, [page, shown("2")])
    assert found.detail == "the text of output 1 differs: line 1 was '1' and is now '2'."
    assert compare(1, [bar, bar], [shown("0%| | 0/3")]) and compare(1, [page], [])
    lie = {**bar, "data": {**bar["data"], "text/html": "<b>9</b>"}}
    assert compare(1, [lie], [])


def test_difference_names_the_first_line():
    (found,) = compare(4, [printed("a\n5\n")], [printed("a\n6\n")])
    assert found == Difference(4, "text", "the printed text differs: line 2 was '5' and is now '6'.", "a\n5", "a\n6")


def test_difference_far_down_is_shown_with_what_is_around_it():
    lines = [f"line {n} of a long text" for n in range(5000)]
    (found,) = compare(1, [printed("\n".join(lines))], [printed("\n".join([*lines[:4000], "x", *lines[4001:]]))])
    assert "line 4001 was 'line 4000 of a long text' and is now 'x'" in found.detail
    assert found.found.startswith("line 3997") and "\nx\n" in found.found and len(found.expected) <= 2000


def test_difference_in_a_long_line_is_shown_with_what_is_around_it():
    (found,) = compare(1, [printed("a" * 500 + "b")], [printed("a" * 500 + "c" * 500)])
    assert "aaab' and is now '...aaa" in found.detail and len(found.detail) < 250


@pytest.mark.parametrize(
    ("saved", "fresh", "kind", "detail"),
    [
        ([printed("a")], [], "missing", "the printed text is missing"),
        ([], [printed("a")], "extra", "that the file lacks"),
        ([shown("1")], [], "missing", "an output (text/plain) is not shown any more"),
        ([], [shown("1")], "extra", "is shown that the file lacks"),
        ([shown("1", image_png=picture())], [shown("1")], "missing", "output 1 has no image/png"),
        ([shown("1")], [shown("1", image_png=picture())], "extra", "output 1 has image/png"),
        ([shown("1")], [shown("2")], "text", "the text of output 1 differs"),
        ([printed("a\n")], [printed("a\nb\n")], "text", "it had 1 line and has now 2 lines"),
        ([shown("1"), shown("2"), shown("3")], [shown("1"), shown("3")], "missing", "(text/plain) is not shown"),
        ([shown("1"), shown("2")], [shown("2"), shown("1")], "order", "2 outputs are the same, but in another"),
        ([failed("ValueError", "no 5")], [failed("ValueError", "no 6")], "error", "'ValueError: no 5' in the file"),
        ([failed("ValueError", "a")], [failed("KeyError", "a")], "error", "ends with 'KeyError: a' now"),
        ([failed("ValueError", "a")], [], "missing", "ended with ValueError in the file and runs through now"),
        ([], [failed("ValueError", "a")], "error", "ValueError: a"),
    ],
)
def test_each_difference_has_its_kind_and_sentence(saved, fresh, kind, detail):
    (found,) = compare(1, saved, fresh)
    assert found.kind == kind and detail in found.detail


def test_ends_that_the_supervisor_words_are_compared_by_name():
    assert compare(1, [failed("TimedOut", "after 60 s")], [failed("TimedOut", "after 5 s")]) == []
    assert failed_with([failed("TimedOut", "")]) == "TimedOut" and failed_with([printed("a")]) == ""


@pytest.mark.parametrize("library", [pandas, polars])
def test_frames_are_compared_by_value(library):
    assert compare(1, [frame(0.3, library)], [frame(0.1 + 0.2, library)]) == []
    assert len(compare(1, [frame(0.3, library)], [frame(0.4, library)])) == 1


def test_table_names_row_and_column():
    old, new = (frame(value)["data"]["text/html"] for value in (0.5, 0.7))
    assert said(holding("text/html", old), holding("text/html", new)) == [
        "output 1: row 3, column 'Revenue' of the table was '0.5' and is now '0.7'."
    ]
    shorter = pandas.DataFrame({"Region": ["North"], "Revenue": [10.5]})._repr_html_()
    assert "the table" in said(holding("text/html", old), holding("text/html", shorter))[0]
    styled = old.replace("<td>", '<td style="color:red" onclick="x()">').replace("<table", "<style>b{}</style><table")
    assert said(holding("text/html", old), holding("text/html", styled)) == []


def test_pictures_are_compared_by_pixels():
    one = shown("", image_png=picture())
    assert said(one, shown("", image_png=picture(optimize=True, dpi=(100, 100)))) == []
    assert said(one, shown("", image_png=picture(colour=(12, 20, 30)))) == []
    assert said(one, shown("", image_png=picture(spot=(255, 20, 30)))) == [
        "output 1: 1 of the picture's 48 pixels differ, by up to 245 of 255."
    ]
    assert "had 8 x 6 pixels and has now 9 x 6" in said(one, shown("", image_png=picture((9, 6))))[0]
    photo = shown("", image_jpeg=picture((64, 64), kind="JPEG"))
    assert said(photo, shown("", image_jpeg=picture((64, 64), kind="JPEG", quality=95))) == []
    assert said(photo, shown("", image_jpeg=picture((64, 64), (90, 0, 0), kind="JPEG")))


def bomb(width, height):
    def chunk(name, data):
        return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))

    header = struct.pack(">IIBBBBB", width, height, 8, 6, 0, 0, 0)
    data = chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(bytes(10_000_000), 9)) + chunk(b"IEND", b"")
    return base64.b64encode(b"\x89PNG\r\n\x1a\n" + data).decode()


@pytest.mark.parametrize("other", [bomb(7000, 7000), bomb(8, 6)[:-400] + "AAAA", picture()[:-40], picture((8, 6))[:60]])
def test_pictures_that_cannot_be_decoded_are_compared_by_hash(other):
    assert compare(1, [shown("", image_png=other)], [shown("", image_png=other)]) == []
    assert compare(1, [shown("", image_png=other)], [shown("", image_png=picture())])


def test_other_kinds_are_compared_where_both_are_there():
    svg = '<svg><g id="p1a2"/><use href="#p1a2"/><dc:date>2026-11-22</dc:date><path d="M 0.1 2"/></svg>'
    other = svg.replace("p1a2", "q9").replace("2026", "2027").replace("0.1", "0.10000000000000001")
    assert said(holding("image/svg+xml", svg), holding("image/svg+xml", other)) == []
    assert said(holding("image/svg+xml", svg), holding("image/svg+xml", svg.replace("M 0.1", "M 0.2")))
    plot = {"data": [{"x": [1, 2.5], "name": "a"}]}
    assert said(holding("application/json", plot), holding("application/json", json.loads(json.dumps(plot)))) == []
    other = {"data": [{"x": [1, 2.6], "name": "a"}]}
    found = said(holding("application/json", plot), holding("application/json", other))
    assert found == ["output 1, application/json: .data[0].x[1] was 2.5 and is now 2.6."]
    assert said(holding("application/pdf", "AAAA"), holding("application/pdf", "AAAB")) == [
        "output 1, application/pdf: it differs."
    ]
    view = "application/vnd.jupyter.widget-view+json"
    assert said(holding(view, {"model_id": "a"}), holding(view, {"model_id": "b"})) == []


def test_what_no_sandbox_lets_out_is_named_and_not_missed():
    saved = shown("Chart", **{"application_vnd.plotly.v1+json": {"data": []}, "text_html": "<script>x</script>"})
    assert compare(1, [saved], [shown("Chart")]) == []
    assert not_compared([saved]) == ["application/vnd.plotly.v1+json"]
    markdown = {"output_type": "display_data", "data": {"text/markdown": "**1**", "text/plain": "<Markdown object>"}}
    assert compare(1, [markdown], [shown("**1**")]) == [] and len(compare(1, [markdown], [shown("**2**")])) == 1


def test_names_in_outputs_make_no_lines_of_their_own():
    saved = [failed("Value\nError", "a"), {"output_type": "display_data", "data": {"x/y\nCell 9: it is fine": "1"}}]
    assert len(compare(1, saved, [])) == 2 and not any("\n" in d.detail for d in compare(1, saved, []))
    assert not_compared(saved) == ["x/y Cell 9: it is fine"]


def test_tolerance_is_the_callers():
    assert compare(1, [printed("1.5")], [printed("1.6")], Tolerance(relative=0.1)) == []
    assert "whole numbers exactly, others within 1e-09 of their size" in str(Tolerance())


MIMES = ["text/plain", "text/html", "text/markdown", "image/png", "image/jpeg", "image/svg+xml", "application/json"]
ANY_TEXT = st.text(st.characters(exclude_categories=()), max_size=60) | st.sampled_from(
    ["\x1b[", "\r\b", "<td><table>", "<!--", picture(), picture(kind="JPEG"), "1e999", "[" * 500, "a|b|[", "∞ 1,234,5"]
)
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | ANY_TEXT,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=8,
)
HOSTILE = st.lists(
    VALUES
    | st.fixed_dictionaries(
        {"output_type": st.sampled_from(["stream", "error", "display_data", "execute_result"]) | VALUES},
        optional={
            **dict.fromkeys(("name", "text", "ename", "evalue", "traceback", "metadata"), VALUES),
            "data": st.dictionaries(st.sampled_from(MIMES), VALUES, max_size=4) | VALUES,
        },
    ),
    max_size=4,
)


@settings(max_examples=80, deadline=None)
@given(HOSTILE, HOSTILE)
def test_hostile_outputs_trip_nothing_and_are_the_same_as_themselves(saved, fresh):
    assert compare(1, saved, json.loads(json.dumps(saved))) == []
    for found in compare(1, saved, fresh):
        assert "\n" not in found.detail and len(found.detail) < 1500 and len(found.expected) <= 2000


@settings(max_examples=100, deadline=None)
@given(
    st.lists(st.floats(1e-6, 1e9) | st.integers(-(10**6), 10**6), min_size=1, max_size=6),
    st.integers(0, 100),
    st.sampled_from([1.001, 2, -1, 10, 1e-3]),
    st.sampled_from(["{}", "a = {} of it", "({})", "{},", "| {} |"]),
)
def test_every_number_that_changes_is_found(numbers, place, factor, around):
    place %= len(numbers)
    other = numbers[place] * factor
    other = int(other) + 1 if isinstance(numbers[place], int) else other
    changed = [*numbers[:place], other, *numbers[place + 1 :]]
    old, new = ("\n".join(around.format(n) for n in values) for values in (numbers, changed))
    if changed != numbers:
        assert compare(1, [printed(old)], [printed(new)])
        cells = [f"<table><tr><td>{text}</td></tr></table>".replace("\n", "</td><td>") for text in (old, new)]
        assert compare(1, [holding("text/html", cells[0])], [holding("text/html", cells[1])])
        assert compare(1, [holding("application/json", numbers)], [holding("application/json", changed)])
    noisy = [n * (1 + 2e-15) if isinstance(n, float) else n for n in numbers]
    assert compare(1, [printed(old)], [printed("\n".join(around.format(n) for n in noisy))]) == []


PIECES = ["9", "9,999", "1.", "|a| [", "a\n", "\r", "x\b", "in 1 ", "\x1b]", "<td>", "at 0x", "memory 1", "0 ", "é"]


@pytest.mark.parametrize("piece", PIECES)
def test_long_texts_take_a_time_that_grows_with_their_length(piece):
    old = piece * (60_000 // len(piece))  # minutes, where it grew with the square
    new = f"{old[:30_000]} 0.123 {old[30_000:]}"
    assert compare(1, [printed(old)], [printed(new)])
    compare(1, [shown(old, text_html=old)], [shown(new, text_html=new)])


def test_deep_and_wide_data_is_compared():
    deep, other = [], [1]
    for _ in range(50_000):
        deep, other = [deep], [other]
    assert said(holding("application/json", deep), holding("application/json", other))
    many = [shown(str(n)) for n in range(3000)]
    assert compare(1, many, [*many[:500], shown("x"), *many[500:]])


def test_normal_keeps_what_is_data():
    assert normal("a 5 m\n\n") == "a 5 m"
