"""The record as HTML and text, and the views that show it."""

import re
from html.parser import HTMLParser

import pytest

from jupyter_codeagent.display import NotebookView
from jupyter_codeagent.page import brief, page
from jupyter_codeagent.render import ansi_html, code_html, markdown_html, output_html, own_frames
from jupyter_codeagent.trajectory import Action, Answer, Attempt, CodeError, Observation, Trajectory, Usage, Verdict
from jupyter_codeagent.transcript import text

PNG = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=="
EVIL = "<script>alert(1)</script><img src=x onerror=alert(1)><style>*{display:none}</style>"


def solved():
    error = CodeError("KeyError", f"'Revenue' {EVIL}", ["\x1b[31mKeyError\x1b[39m: 'Revenue'"])
    failed = Attempt(
        1,
        Action("I sum it.", "df['Revenue'].sum()", usage=Usage(1000, 50), model="a-model"),
        Observation(
            [{"output_type": "error", "ename": "KeyError", "evalue": "", "traceback": error.traceback}], error, 0.25
        ),
        done=True,
        rolled_back=True,
    )
    good = Attempt(
        2,
        Action("The name has a space.", "df['Revenue '].sum()", usage=Usage(1200, 60), model="a-model"),
        Observation([{"output_type": "stream", "name": "stdout", "text": f"42 {EVIL}\n"}], None, 0.5),
        done=True,
    )
    answer = Answer(Action(f"It is **42**. {EVIL}", usage=Usage(1300, 20)), (Verdict("total == 42", True),), 2)
    return Trajectory("sum it", attempts=[failed, good], answers=[answer], tier="A", id="abc123")


class Tags(HTMLParser):
    """Collects tags and attributes, and that what is opened is closed."""

    def __init__(self, html):
        super().__init__()
        self.found, self.open = [], []
        self.feed(html)

    def handle_starttag(self, tag, attributes):
        self.found.append((tag, dict(attributes)))
        if tag not in ("img", "br"):
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def names(self):
        return {tag for tag, _ in self.found}


def test_a_page_holds_no_tag_that_came_from_code_or_model():
    tags = Tags(page(solved(), 3.2))
    assert tags.open == []
    assert not {"script", "img", "iframe", "a", "link"} & tags.names()
    assert [tag for tag, _ in tags.found].count("style") == 1
    assert not any(name.startswith("on") for _, attributes in tags.found for name in attributes)


def test_a_page_tells_how_it_went():
    html = page(solved(), 3.2)
    words = re.sub(r"<style>.*?</style>|<[^>]+>", " ", html, flags=re.DOTALL)
    for part in (
        "Solved",
        "2 attempts",
        "a-model",
        "3.2 s",
        "3,630 tokens",
        "tier A",
        "rolled back",
        "passed",
        "%agent accept 2",
    ):
        assert part in words, part
    assert html.count("<details") == 2 and html.count('<details class="jca-try jca-succeeded" open') == 1


def test_costs_can_be_left_out():
    assert "tokens" not in re.sub(r"<style>.*?</style>", "", page(solved(), 1, costs=False), flags=re.DOTALL)


def test_the_plain_text_reads_from_top_to_bottom():
    lines = text(solved(), 3.2)
    places = [
        lines.index(part)
        for part in (
            "Attempt 1 of 5",
            "I sum it.",
            "df['Revenue']",
            "KeyError",
            "[Attempt 1 failed",
            "Attempt 2 of 5",
            "It is **42**",
            "Solved (",
        )
    ]
    assert places == sorted(places)
    assert "\x1b" not in lines


def test_a_stopped_task_says_so():
    trajectory = Trajectory("t", stopped=True)
    assert "Stopped by the user" in page(trajectory) and "Stopped" in text(trajectory)


def test_code_shows_its_invisible_characters():
    html = code_html("x = 'a\u202eb\u200bc'  # \u2066")
    assert all(f"U+{point}" in html for point in ("202E", "200B", "2066"))
    assert not re.search("[\u202e\u200b\u2066]", html)


def test_code_is_highlighted_and_escaped():
    html = code_html("def f():\n    return '<b>'  # note")
    assert '<span class="jca-k">def</span>' in html and "&lt;b&gt;" in html and 'class="jca-c"' in html


def test_terminal_colours_become_styles_and_other_sequences_are_inert():
    html = ansi_html(
        "\x1b[31mred\x1b[0m \x1b[38;5;28mgreen\x1b[39m \x1b[38;2;1;200;3mrgb\x1b[m \x1b]8;;http://evil\x07link \x1b[2Jx"
    )
    assert "color:var(--jca-red)" in html and "rgb(0,135,0)" in html and "rgb(1,200,3)" in html
    assert "\x1b" not in html and "U+001B" in html
    Tags(html)


@pytest.mark.parametrize("grey", ["38;2;248;248;242", "38;5;255", "38;5;16"])
def test_white_and_black_are_the_colour_of_text_in_every_theme(grey):
    assert "color-mix(in srgb,var(--jca-fg)" in ansi_html(f"\x1b[{grey}mtext\x1b[0m")


@pytest.mark.parametrize(
    "bad", ["\x1b[38m", "\x1b[38;5m", "\x1b[38;2;1m", "\x1b[;;;m", "\x1b[999m", "\x1b[38;5;99999mx"]
)
def test_broken_colour_sequences_do_no_harm(bad):
    assert "x" in ansi_html(bad + "x")


def test_a_progress_bar_leaves_its_last_state():
    assert ansi_html("10%\r50%\r100%\nnext\r\n") == "100%\nnext\n"


def test_markdown_is_rendered_without_anything_that_loads():
    html = markdown_html(
        "# Title\n\nText **bold** *soft* `co<de`\n- one\n- two\n\n1. first\n\n| a | b |\n|---|---|\n| 1 | <i> |\n\n"
        "![img](http://evil/x.png) [shown](http://evil/) <img src=http://evil/y.png>\n\n```python\nprint('<x>')\n```\ntail"
    )
    tags = Tags(html)
    assert {"strong", "em", "code", "ul", "ol", "table", "pre"} <= tags.names()
    assert not {"img", "a", "i"} & tags.names()
    assert "shown (http://evil/)" in html and tags.open == []


def test_markdown_survives_an_open_fence():
    assert "print" in markdown_html("so:\n```python\nprint(1)")


def test_tables_lose_styles_links_and_scripts():
    dirty = (
        "<style>x</style><table onclick=a><tr><th colspan=2 style='x'>h</th></tr><tr><td><a href='javascript:x'>l</a>"
        "<img src=http://x></td></tr></table><script>1</script>"
    )
    html = output_html({"output_type": "display_data", "data": {"text/html": dirty, "text/plain": "t"}, "metadata": {}})
    tags = Tags(html)
    assert {"table", "td", "th"} <= tags.names() and not {"a", "img", "script", "style"} & tags.names()
    assert ("th", {"colspan": "2"}) in tags.found and "javascript" not in html


def test_images_are_shown_inline_and_only_as_images():
    shown = output_html({"output_type": "display_data", "data": {"image/png": PNG}, "metadata": {}})
    assert f"data:image/png;base64,{PNG}" in shown
    hostile = {"image/png": 'x" onerror="alert(1)', "text/plain": "figure"}
    assert "figure" in output_html({"output_type": "display_data", "data": hostile, "metadata": {}})
    large = output_html({"output_type": "display_data", "data": {"image/png": "A" * 800_000}, "metadata": {}})
    assert "too large" in large


def test_library_frames_are_one_line_each():
    traceback = [
        "KeyError  Traceback",
        "Cell In[2], line 3\n----> 3 d['x']",
        "",
        "File /x/site-packages/pandas/a.py:1, in f\n   1 a\n-> 2 b",
        "",
        "KeyError: 'x'",
    ]
    library = "File /x/site-packages/pandas/a.py:1, in f"
    assert own_frames(traceback) == "\n".join([*traceback[:3], library, *traceback[4:]])


def test_the_record_of_a_flood_is_bounded():
    trajectory = solved()
    flood = [{"output_type": "display_data", "data": {"image/png": "A" * 600_000}, "metadata": {}} for _ in range(50)]
    trajectory.attempts = [
        Attempt(n, Action("x" * 100_000, "y = 1\n" * 50_000), Observation(flood), done=True) for n in range(1, 9)
    ]
    html = page(trajectory)
    assert len(html) < 6_000_000
    assert html.count("data:image") >= 2 and "too large" in html
    assert len(text(trajectory)) < 30_000


def test_a_notebook_view_has_one_display_and_at_most_ten_updates_a_second():
    calls = []
    view = NotebookView(lambda bundle, **options: calls.append((bundle, options)))
    trajectory = solved()
    view.open(trajectory, "this is <told> first")
    assert "this is &lt;told&gt; first" in calls[0][0]["text/html"]
    assert calls[0][0]["text/plain"].startswith("this is <told> first\n")
    for _ in range(500):
        view.show(trajectory)
    view.close(trajectory, "a notice")
    assert len(calls) <= 10
    assert [options["update"] for _, options in calls] == [False] + [True] * (len(calls) - 1)
    assert len({options["display_id"] for _, options in calls}) == 1
    assert "a notice" in calls[-1][0]["text/html"] and set(calls[-1][0]) == {"text/html", "text/plain"}


def test_a_notebook_view_shows_beginnings_and_ends_at_once():
    pages = []
    view = NotebookView(lambda bundle, **options: pages.append(bundle["text/plain"]))
    trajectory = Trajectory("t")
    attempt = trajectory.current = Attempt(1, Action("", "print(1)"))
    view.show(trajectory)
    attempt.action = Action("", "print(1)\nprint(2)")
    view.show(trajectory)
    assert "print(2)" not in pages[-1]
    attempt.observation = Observation()
    view.show(trajectory)
    assert "print(2)" in pages[-1]
    attempt.done = True
    view.show(trajectory)
    assert "Attempt 1 succeeded" in pages[-1]


def test_a_brief_record_leaves_the_attempts_to_their_cells():
    html, lines = brief(solved(), 3.2, told="what is asked"), text(solved(), 3.2, told="what is asked", whole=False)
    words = re.sub(r"<style>.*?</style>|<[^>]+>", " ", html, flags=re.DOTALL)
    for shown in (words, lines):
        for part in (
            "what is asked",
            "Solved",
            "a-model",
            "passed",
            "42",
        ):
            assert part in shown, part
        assert "Accept and run" in shown and "%agent accept" not in shown
        assert "I sum it." not in shown and "sum()" not in shown
    assert "KeyError" not in words and "KeyError" in lines and "<details" not in html
    assert not {"script", "img", "iframe", "a", "link"} & Tags(html).names()


def test_a_brief_record_shows_what_the_model_writes_until_there_is_code():
    trajectory = Trajectory("t", current=Attempt(1, Action("I begin so.")))
    assert "I begin so." in brief(trajectory)
    trajectory.current.action = Action("I begin so.", "x = 1")
    assert "I begin so." not in brief(trajectory) and "x = 1" not in brief(trajectory)


def test_a_notebook_view_turns_brief_as_soon_as_the_attempts_are_cells():
    bundles, cells = [], []
    view = NotebookView(lambda bundle, **options: bundles.append(bundle), compact=lambda: bool(cells))
    trajectory = solved()
    view.open(trajectory, "told")
    cells.append("attempt 1")
    view.close(trajectory)
    whole, short = bundles
    for kind in ("text/html", "text/plain"):
        assert "I sum it." in whole[kind] and "I sum it." not in short[kind]
