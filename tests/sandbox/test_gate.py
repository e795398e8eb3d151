"""The gate: whatever comes in, what goes out is small, valid and harmless."""
# ruff: noqa: E501 - an attack is read best where its parts stand side by side

import base64
import json
import struct
import time
import zlib

import nbformat
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from jupyter_codeagent import images
from jupyter_codeagent.sandbox import gate, markup

MIB = 2**20
quick = settings(max_examples=80, deadline=None, suppress_health_check=list(HealthCheck))


def valid(outputs):
    """Return the size of outputs as a notebook holds them; raise if they are no valid notebook."""
    cell = nbformat.v4.new_code_cell("", outputs=[nbformat.from_dict(o) for o in outputs])
    notebook = nbformat.v4.new_notebook(cells=[cell])
    nbformat.validate(notebook)
    text = json.dumps(outputs, allow_nan=False, ensure_ascii=False)
    text.encode()  # no lone surrogates
    return len(text)


def png(width, height, content=b"", extra=b""):
    def chunk(kind, data):
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + extra + chunk(b"IDAT", content) + chunk(b"IEND", b"")


def encoded(data):
    return base64.b64encode(data).decode()


# -- messages of any shape -------------------------------------------------------------------------

texts = st.text(st.characters(codec=None), max_size=60) | st.sampled_from(
    [
        "\x1b]8;;http://x\x07y\x1b]8;;\x07",
        "\x1b[2J",
        "\x9b31m",
        "\ud800",
        "\u202e",
        "<script>",
        "x" * 5000,
        "a\rb",
        "\0",
    ]
)
anything = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | texts | st.binary(max_size=8),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(texts | st.integers(), inner, max_size=4),
    max_leaves=12,
)
mimes = texts | st.sampled_from(
    ["text/plain", "text/html", "text/markdown", "image/png", "image/jpeg", "image/svg+xml", "application/javascript"]
)
messages = st.fixed_dictionaries(
    {},
    optional={
        "op": anything, "kind": st.sampled_from(["execute_result", "display_data"]) | anything,
        "data": st.dictionaries(mimes, texts | anything, max_size=5) | anything, "display_id": texts | anything,
        "update": st.booleans() | anything, "wait": st.booleans() | anything, "metadata": anything,
    },
)  # fmt: skip


@quick
@given(
    st.lists(
        st.tuples(st.sampled_from(["display", "clear", "out", "err", "raw"]), messages, st.binary(max_size=80)),
        max_size=12,
    )
)
def test_any_messages_make_a_valid_notebook(steps):
    collector = gate.Collector()
    for what, message, data in steps:
        if what == "display":
            collector.display(message)
        elif what == "clear":
            collector.clear(message)
        else:
            collector.stream("stderr" if what == "err" else "stdout", data, raw=what == "raw")
        valid(collector.outputs())


@quick
@given(anything)
def test_any_error_is_a_valid_output_or_a_violation(data):
    try:
        found = gate.error(data)
    except gate.Violation:
        return
    if found is not None:
        valid([gate.error_output(found)])
        assert all(type(frame.line) is int for frame in found.frames)


@quick
@given(
    st.fixed_dictionaries(
        {"ename": anything, "evalue": anything, "traceback": st.lists(anything) | anything},
        optional={"frames": st.lists(st.fixed_dictionaries({"line": anything, "file": anything})) | anything},
    )
)
def test_any_error_that_looks_right_passes_cleaned(data):
    found = gate.error(data)
    valid([gate.error_output(found)])
    assert "\x1b" not in found.ename + found.evalue
    assert all(type(frame.line) is int for frame in found.frames)


@quick
@given(anything)
def test_any_names_become_identifiers_with_texts(data):
    found = gate.names(data)
    assert len(found) <= gate.NAMES
    assert all(k.isidentifier() and isinstance(v, str) for k, v in found.items())
    json.dumps(found, ensure_ascii=False).encode()


@quick
@given(anything)
def test_any_modules_become_a_few_names(data):
    found = gate.modules([data, data, "numpy", "google.cloud.storage", "a b", "../x", "x\n", "a" * 101, "a.b.c.d"])
    assert "numpy" in found and "google.cloud.storage" in found
    assert all(part.isidentifier() for name in found for part in name.split("."))
    assert gate.modules(data) is not None and len(gate.modules(["m"] * 2000)) == gate.MODULES


@quick
@given(st.binary(max_size=200) | anything.map(lambda v: repr(v).encode("utf-8", "replace")))
def test_any_bytes_are_an_object_or_a_violation(payload):
    try:
        assert isinstance(gate.parse(payload), dict)
    except gate.Violation:
        pass


@pytest.mark.parametrize(
    "payload",
    [b"", b"[]", b"3", b"null", b"{", b'{"a": NaN}', b'{"a": -Infinity}', b"[" * 10**6, b'{"a":' * 10**5, b'{"a": ' + b"9" * 10**6 + b"}",
     b"\xff" * 1000],
    ids=range(11),
)  # fmt: skip
def test_what_is_no_message_is_a_violation(payload):
    with pytest.raises(gate.Violation):
        gate.parse(payload)


@quick
@given(texts, st.integers(2, 200))
def test_cleaned_text_is_bounded_and_has_no_controls(text, limit):
    found = gate.clean(text, limit)
    assert len(found) <= limit + 60
    assert not [c for c in found if (ord(c) < 32 and c not in "\t\n\r\x1b") or 0x7F <= ord(c) < 0xA0]
    assert gate.clean(found, limit + 60) == found


@quick
@given(
    st.lists(
        st.sampled_from(
            ["\x1b", "[", "]", "0", ";", "31m", "m", "\x07", "\\", "\x9b", "P", "_", "^", "a", "\n", " ", "?", "\r"]
        ),
        max_size=30,
    )
)
def test_only_colours_are_left_of_escapes(parts):
    import re

    found = gate.clean("".join(parts))
    assert "\x1b" not in re.sub(r"\x1b\[[0-9;]{0,32}m", "", found)
    assert "\x1b" not in gate.bare("".join(parts))


@quick
@given(st.text(max_size=300), st.lists(st.integers(1, 20), max_size=30), st.booleans())
def test_a_stream_is_the_same_however_it_is_cut(text, cuts, raw):
    data = text.encode("utf-8", "replace")
    whole, pieces = gate.Collector(), gate.Collector()
    whole.stream("stdout", data, raw=True)
    at = 0
    for size in [*cuts, len(data)]:
        pieces.stream("stdout", data[at : at + size], raw=True)
        at += size
    if "\x1b" not in text:
        assert whole.outputs() == pieces.outputs()


# -- escapes ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("given_", "left"),
    [
        ("\x1b[31mred\x1b[0m", "\x1b[31mred\x1b[0m"),
        ("\x1b]8;;https://evil\x07click\x1b]8;;\x07", "click"),
        ("\x1b]52;c;aGVsbG8=\x07", ""),
        ("\x1b]0;title\x1b\\x", "x"),
        ("\x1b]52;c;never ended", ""),
        ("\x1bP+q544e\x1b\\x", "x"),
        ("\x1b_Gf=100;AAAA\x1b\\x", "x"),
        ("a\x1b[2Jb\x1b[1;1Hc\x1b[?25ld", "abcd"),
        ("\x1b[31", ""),
        ("\x1bc", ""),
        ("\x1b(0lqk", "lqk"),
        ("\x9b2Jx", "2Jx"),
        ("\x9d52;c;x\x9c", "52;c;x"),
        ("\x1b[" + "1" * 100 + "mx", "x"),
        ("\x1b[1\x1b]x\x07m", "m"),
        ("a\x08\x08b\x7f\x00\x0c", "ab"),
        ("\ud83d\ude00", "\ufffd\ufffd"),
        ("\u202eevil\u2066\u2069", "evil"),
        ("שלום", "שלום"),
        ("😀 é ٣", "😀 é ٣"),
    ],
)
def test_an_escape_is_removed_unless_it_is_a_colour(given_, left):
    assert gate.clean(given_) == left


def test_an_escape_in_two_pieces_is_removed_too():
    for cut in range(1, 12):
        data = b"ab\x1b[2Jcd\x1b[1;31me"
        collector = gate.Collector()
        collector.stream("stdout", data[:cut])
        collector.stream("stdout", data[cut:])
        assert "".join(o["text"] for o in collector.outputs()) == "abcd\x1b[1;31me"


def test_a_progress_bar_leaves_its_last_state():
    collector = gate.Collector()
    for n in range(101):
        collector.stream("stderr", f"\r{n}%".encode())
    collector.stream("stderr", b"\ndone\r\n")
    assert collector.outputs()[0]["text"] == "100%\ndone\n"


# -- HTML and images -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "markup",
    [
        "<script>alert(1)</script>", "<img src=x onerror=alert(1)>", "<a href='javascript:alert(1)'>x</a>", "<svg onload=alert(1)>",
        "<iframe src=//evil></iframe>", "<object data=x>", "<embed src=x>", "<form action=x><input></form>", "<base href=//evil>",
        "<button data-commandlinker-command='x' data-commandlinker-args='{}'>b</button>", "<link rel=stylesheet href=//evil>",
        "<style>@import '//evil'</style>", "<div style='background:url(//evil)'>x</div>", "<meta http-equiv=refresh content=0>",
        "<math><mtext><script>alert(1)</script></mtext></math>", "<table background=//evil><td onmouseover=alert(1)>x</td></table>",
        "<noscript><p title='</noscript><img src=x onerror=alert(1)>'>", "<template><script>alert(1)</script></template>",
        "<svg><style><img src=x onerror=alert(1)></style></svg>", "<textarea><img src=x onerror=alert(1)></textarea>",
        "<td id=x name=y class=z data-a=b>1</td>", "<!--><script>alert(1)</script>-->", "<sCrIpT\x00>alert(1)</sCrIpT>",
        "<div is=x slot=y part=z>1</div>", "<video src=//evil autoplay>", "<b onclick\n=\n'alert(1)'>x</b>", "<xmp><script>alert(1)</script></xmp>",
    ],
)  # fmt: skip
def test_html_that_acts_does_not_pass(markup):
    text = (gate.html(f"<table><tr><td>1</td></tr></table>{markup}") or "").lower()
    for word in ("<script", "onerror", "onload", "onclick", "onmouse", "javascript:", "src=", "href=", "style", "<img", "<svg", "data-",
                 "<iframe", "<form", "<input", "<meta", "<link", "<base", "<object", "<embed", "class=", "id=", "is="):  # fmt: skip
        assert word not in text, text
    assert "<td>1</td>" in text


@pytest.mark.parametrize("mime", ["image/svg+xml", "application/javascript", "text/latex", "application/pdf", "text/markdown", "application/json",
                                  "application/vnd.jupyter.widget-view+json", "application/vnd.plotly.v1+json", "text/vnd.mermaid", "image/gif",
                                  "image/webp", "video/mp4", "audio/wav", "application/x-html-safe", "application/geo+json", "TEXT/HTML"])  # fmt: skip
def test_other_kinds_of_output_do_not_pass(mime):
    assert set(gate.bundle({mime: "x", "text/plain": "y"})) == {"text/plain"}


def test_metadata_is_ours():
    collector = gate.Collector()
    collector.display(
        {"kind": "display_data", "data": {"text/plain": "x"}, "metadata": {"isolated": True}, "transient": {"a": 1}}
    )
    assert collector.outputs() == [{"output_type": "display_data", "data": {"text/plain": "x"}, "metadata": {}}]


@pytest.mark.parametrize(
    ("width", "height", "passes"),
    [(10, 10, True), (5000, 5000, True), (50_000, 50_000, False), (2**32 - 1, 1, False), (2**31, 2**31, False), (0, 5, False), (5, 0, False)],
)  # fmt: skip
def test_an_image_of_unbearable_size_does_not_pass(width, height, passes):
    assert bool(gate.image("image/png", encoded(png(width, height)))) is passes


def test_many_large_images_do_not_pass_together():
    collector = gate.Collector()
    one = encoded(png(6000, 6000))
    for _ in range(60):
        collector.display({"kind": "display_data", "data": {"image/png": one}})
    pixels = sum(36_000_000 for o in collector.outputs() if "image/png" in o["data"])
    assert pixels <= 400_000_000
    assert collector.left_out


JPEG = bytes.fromhex("ffd8ffe000104a46494600010100000100010000ffc0000b0800100020010111 00ffd9".replace(" ", ""))


@pytest.mark.parametrize(
    ("mime", "data", "passes"),
    [
        ("image/jpeg", JPEG, True),
        ("image/jpeg", JPEG[:20], False),
        ("image/jpeg", b"\xff\xd8" + b"\xff\xe0\x00\x00" * 100, False),
        ("image/jpeg", b"\xff\xd8", False),
        ("image/jpeg", b"", False),
        ("image/jpeg", png(5, 5), False),
        ("image/jpeg", JPEG.replace(b"\x00\x10\x00\x20", b"\xff\xff\xff\xff"), False),
        ("image/png", JPEG, False),
        ("image/png", png(5, 5)[:20], False),
        ("image/png", png(5, 5)[:33], True),
        ("image/png", b"\x89PNG\r\n\x1a\n" + b"\0\0\0\rXXXX" + bytes(30), False),
        ("image/png", b"<svg onload=alert(1)>", False),
        ("image/png", b"", False),
    ],
    ids=range(13),
)  # fmt: skip
def test_an_image_is_what_it_says(mime, data, passes):
    assert bool(gate.image(mime, encoded(data))) is passes


@quick
@given(
    st.binary(max_size=120),
    st.sampled_from(["image/png", "image/jpeg"]),
    st.sampled_from([b"", b"\xff\xd8", b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR"]),
)
def test_any_image_bytes_pass_or_do_not(data, mime, start):
    found = gate.image(mime, encoded(start + data))
    assert found is None or base64.b64decode(found, validate=True) == start + data


@pytest.mark.parametrize("text", ["not base64!", "A", "====", "é" * 10, "A" * (9 * MIB), "\ud800"])
def test_what_is_no_base64_is_no_image(text):
    assert gate.image("image/png", text) is None


# -- bounds and time -------------------------------------------------------------------------------

SIZE = 10 * MIB
WORST = {
    "one_line": "x" * SIZE,
    "carriage_returns": "\r" * SIZE,
    "text_and_carriage_returns": "a\r" * (SIZE // 2),
    "carriage_returns_and_newlines": "\r\n" * (SIZE // 2),
    "newlines": "\n" * SIZE,
    "escapes": "\x1b" * SIZE,
    "open_escapes": "\x1b[" * (SIZE // 2),
    "open_commands": "\x1b]" * (SIZE // 2),
    "one_open_command": "\x1b]" + "x" * SIZE,
    "one_open_sequence": "\x1b[" + "1;" * (SIZE // 2),
    "intermediates": "\x1b" + " " * SIZE,
    "open_sequences": ("\x1b[" + "1" * 50) * (SIZE // 52),
    "colours": "\x1b[31m" * (SIZE // 5),
    "nul": "\0" * SIZE,
    "surrogates": "\ud800" * (SIZE // 4),
    "wide": "😀" * (SIZE // 4),
    "bidi": "\u202e" * (SIZE // 4),
    "tags": "<" * SIZE,
    "nested": "<div>" * (SIZE // 5),
    "nested_tables": "<table><tr><td>" * (SIZE // 15),
    "entities": "&" * SIZE,
}  # fmt: skip


@pytest.mark.parametrize("name", WORST)
@pytest.mark.parametrize("door", ["stream", "pieces", "display", "error"])
def test_ten_megabytes_of_the_worst_pass_in_bounded_time(name, door):
    text = WORST[name]
    collector = gate.Collector()
    began = time.process_time()
    if door == "error":
        found = gate.error({"ename": text, "evalue": text, "traceback": [text] * 50, "frames": [{"source": text}] * 50})
        outputs = [gate.error_output(found)]
    else:
        if door == "display":
            collector.display(
                {
                    "kind": "display_data",
                    "data": {"text/plain": text, "text/html": text, "text/markdown": text, "image/png": text},
                }
            )
        else:
            data = text.encode("utf-8", "replace")
            step = len(data) if door == "stream" else 2**16
            for at in range(0, len(data), step):
                collector.stream("stdout", data[at : at + step], raw=True)
        outputs = collector.outputs()
    assert time.process_time() - began < 6
    size = valid(outputs)
    assert size <= (4 * MIB if door in ("display", "error") else 2 * SIZE + 1000)


def test_nested_html_of_the_largest_size_is_quick():
    for unit in (
        "<div>",
        "<table><tr><td>",
        "<b><i>",
        "<p><table>",
        "</b>",
        "<!--",
        "<td",
        "<a><b></a></b>",
        "<ul><li>",
        "<x>",
    ):
        began = time.process_time()
        gate.html((unit * markup.LARGEST)[: markup.LARGEST])
        assert time.process_time() - began < 3, unit


def test_an_error_is_bounded_as_a_whole():
    found = gate.error({"ename": "E", "evalue": "v", "traceback": ["x" * 60_000] * 2000})
    assert sum(map(len, found.traceback)) <= 2 * MIB


def test_a_flood_of_outputs_is_counted_and_left_out():
    collector = gate.Collector()
    for _ in range(20_000):
        collector.display({"kind": "display_data", "data": {"text/plain": "x"}})
    assert len(collector.outputs()) == gate.OUTPUTS
    assert collector.left_out == 20_000 - gate.OUTPUTS


def test_an_update_reaches_no_output_of_another_execution():
    first, second = gate.Collector(), gate.Collector()
    first.display({"kind": "display_data", "data": {"text/plain": "mine"}, "display_id": "a"})
    second.display({"kind": "display_data", "data": {"text/plain": "theirs"}, "display_id": "a", "update": True})
    assert second.outputs() == []
    assert first.outputs()[0]["data"]["text/plain"] == "mine"


def test_updates_do_not_smuggle_in_more_images():
    collector = gate.Collector()
    for n in range(200):
        collector.display({"kind": "display_data", "data": {"text/plain": "x"}, "display_id": str(n)})
    for n in range(200):
        collector.display(
            {"kind": "display_data", "data": {"image/png": encoded(png(5, 5))}, "display_id": str(n), "update": True}
        )
    assert sum("image/png" in o["data"] for o in collector.outputs()) <= gate.IMAGES


def test_a_figure_that_is_redrawn_counts_once():
    collector = gate.Collector()
    collector.display({"kind": "display_data", "data": {"image/png": encoded(png(5, 5))}, "display_id": "a"})
    for n in range(300):
        collector.display(
            {"kind": "display_data", "data": {"image/png": encoded(png(5, 6 + n))}, "display_id": "a", "update": True}
        )
    assert collector.left_out == 0
    assert images.size("image/png", base64.b64decode(collector.outputs()[0]["data"]["image/png"])) == (5, 305)


def test_the_table_of_a_frame_passes_whole():
    pandas = pytest.importorskip("pandas")
    frame = pandas.DataFrame(
        {"a<b": [1, 2], "c": ["x & y", "<script>"]}, index=pandas.MultiIndex.from_tuples([("p", 1), ("p", 2)])
    )
    text = gate.html(frame.to_html(notebook=True))
    assert text.count("<tr>") == 3
    assert text.count("<td>") == 4
    assert 'rowspan="2"' in text
    assert "x &amp; y" in text
    assert "&lt;script&gt;" in text
    assert "a&lt;b" in text
    assert "vertical-align" not in text


def test_end_tags_may_be_left_out():
    assert gate.html("<ul><li>a<li>b</ul>") == "<ul><li>a</li><li>b</li></ul>"
    assert gate.html("1 < 2 <b>3") == "1 &lt; 2 <b>3</b>"
