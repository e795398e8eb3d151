"""The record as Markdown, read by a CommonMark reader: nothing in it loads, links or runs."""

import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from markdown_it import MarkdownIt

from jupyter_codeagent.markdown import as_text, defused, fenced, markdown
from jupyter_codeagent.trajectory import Action, Answer, Attempt, CodeError, Observation, Trajectory, Verdict
from tests.test_display import EVIL, solved

READER = MarkdownIt("commonmark", {"html": True}).enable(["table", "strikethrough"])
LIVE = {"link_open", "image", "html_inline", "html_block"}
PIECES = [
    *(
        "`",
        "``",
        "```",
        "\n```\n",
        "\n```python\n",
        "~~~",
        "\n~~~\n",
        "\\",
        "\\`",
        "|",
        "\n|---|\n",
        "\n",
        "\n\n",
        "\n- ",
    ),
    *("![x](http://evil/x.png)", "[x](http://evil)", "\n[x]: http://evil\n", "[x]", "<http://evil>", "<img src=x>"),
    *(
        "<script>",
        "<!--",
        "-->",
        "    ",
        "> ",
        "# ",
        "1. ",
        "*",
        "_",
        "&lt;",
        "&#60;",
        "a",
        " ",
        "\t",
        "$x$",
        "\\(",
        "http://e.v",
    ),
]


def kinds(text):
    tokens = READER.parse(text)
    return {t.type for token in tokens for t in [token, *(token.children or ())]}


@settings(max_examples=300)
@given(st.lists(st.sampled_from(PIECES), max_size=14).map("".join))
def test_no_mixture_of_marks_comes_alive(text):
    record = markdown(Trajectory("t"), notice=text, told=text)
    for written in (defused(text), as_text(text), fenced(text), record):
        assert not LIVE & kinds(written), written
        assert not LIVE & kinds(f"before\n\n{written}\n\n![after]"), written


def test_what_does_no_harm_stays():
    text = "# T\n\n**bold** and `df['x']`\n\n- one\n- two\n\n| a | b |\n|---|---|\n| 1 | 2 |\n\n```python\nx = [1]\n```"
    wanted = {"heading_open", "strong_open", "code_inline", "bullet_list_open", "table_open", "fence"}
    assert wanted <= kinds(defused(text))
    assert READER.render(defused("`df['x']`")) == "<p><code>df['x']</code></p>\n"


@pytest.mark.parametrize("text", ["a\\b", "[x](http://evil)", "1 < 2 & 3 > 2", "*a* _b_ `c` ~d~ $e$", "www.x.y me@x.y"])
def test_text_reads_as_it_is(text):
    shown = READER.render(as_text(text)).removeprefix("<p>").removesuffix("</p>\n")
    assert re.sub("&(lt|gt|amp);", lambda m: {"lt": "<", "gt": ">", "amp": "&"}[m[1]], shown) == text


def test_code_cannot_end_its_block():
    code = "x = 1\n```\n![x](http://evil)\n````\n"
    (token,) = READER.parse(fenced(code, "python"))
    assert token.type == "fence" and token.info == "python" and token.content == code


def test_invisible_characters_are_shown():
    assert "<U+202E>" in fenced("a\u202eb") and "U+202E" in as_text("a\u202eb") and "U+200B" in defused("a\u200bb")


def test_a_whole_record_of_hostile_parts_is_inert():
    evil = f"`` ` ![x](http://evil/x.png)\n\n```\n[x]: http://evil\n{EVIL}"
    error = CodeError(evil, evil, [evil])
    attempt = Attempt(
        1, Action(evil, evil), Observation([{"output_type": "stream", "text": evil}], error, notes=(evil,)), done=True
    )
    for gave_up in (False, True):
        answer = Answer(Action(evil, gave_up=gave_up), (Verdict(evil, False, evil),), 1)
        record = markdown(Trajectory("t", attempts=[attempt], answers=[answer]), notice=evil, told=evil)
        assert not LIVE & kinds(record)


def test_a_flood_is_bounded():
    trajectory = solved()
    trajectory.attempts = [
        Attempt(n, Action("x" * 100_000, "y = 1\n" * 50_000), Observation(), done=True) for n in range(1, 500)
    ]
    record = markdown(trajectory)
    assert len(record) < 200_000 and "Attempt 499" in record
