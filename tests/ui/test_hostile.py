"""What the model, the sandbox and notebooks from elsewhere put into the page does nothing there."""

from __future__ import annotations

import json

import pytest
from playwright.sync_api import expect

from jupyter_codeagent.trajectory import code_hash
from tests.messages_server import Turn
from tests.ui.browser import trapped
from tests.ui.lab import Attempt
from tests.ui.stories import SOLVED, SUM, one_attempt

BEACON = "http://198.51.100.7/beacon"  # an address for documentation (RFC 5737)
MARKUP = [
    "<script>window.hostile.push('script')</script>",
    "<img src=x onerror=\"window.hostile.push('onerror')\">",
    f"<img src='{BEACON}/img.png'>",
    "<svg onload=\"window.hostile.push('svg')\"><script>window.hostile.push('svg script')</script></svg>",
    "<a class=target href=\"javascript:window.hostile.push('link')\">link</a>",
    "<a class=target data-commandlinker-command='hostile:run' data-commandlinker-args='{}' href='#'>command</a>",
    "<button class=target onclick=\"window.hostile.push('button')\">button</button>",
    "<button class=target data-commandlinker-command='hostile:run'>button</button>",
    f"<iframe src='{BEACON}/frame'></iframe><iframe srcdoc=\"<script>parent.hostile.push('frame')</script>\"></iframe>",
    f"<style>@import '{BEACON}/style.css'; body {{ background: url({BEACON}/css.png) }}</style>",
    f"<link rel=stylesheet href='{BEACON}/link.css'><base href='{BEACON}/'>",
    f"<form action='{BEACON}'><input class=target type=submit></form>",
    f"<video src='{BEACON}/video' autoplay></video><object data='{BEACON}/object'></object>",
    "<details ontoggle=\"window.hostile.push('toggle')\" open>x</details>",
    "<math><mtext><style><img src=x onerror=\"window.hostile.push('mutation')\"></style></mtext></math>",
]
MARKDOWN = [
    f"![picture]({BEACON}/markdown.png)",
    "[link](javascript:window.hostile.push('md'))",
    "$\\href{javascript:window.hostile.push('tex')}{x}$",
]
SVG = f"<svg xmlns='http://www.w3.org/2000/svg'>{MARKUP[0]}</svg>"
ALL = "\n\n".join([*MARKUP, *MARKDOWN])
ODD = "ab\u202egnp.exe\u2066 \u200bx = 1\ufeff"

COMMAND = """() => {
  if (!jupyterapp.commands.hasCommand('hostile:run'))
    jupyterapp.commands.addCommand('hostile:run', { execute: () => { window.hostile.push('command'); } });
}"""


def pressed(lab):
    """Click what the hostile content would have the user click, and anything else that it left in the page."""
    lab.page.wait_for_timeout(200)
    for target in lab.page.locator(
        ".jp-Notebook .target, [href^=javascript], [data-commandlinker-command='hostile:run']"
    ).all():
        if target.is_visible():
            target.click(no_wait_after=True, force=True)
    lab.page.wait_for_timeout(200)
    assert trapped(lab.page) == []


@pytest.fixture
def armed(lab):
    lab.page.evaluate(COMMAND)
    return lab


def test_markup_in_code_explanation_answer_and_notes_is_text(armed, model):
    lab = armed
    model(Turn(ALL, code=f'"""{ALL}"""\nvalue = 1'.replace("\\", "\\\\")), Turn(ALL, answer=ALL))
    notebook = lab.notebook()
    notebook.agent(f"do this\n{ALL}")
    notebook.task("solved")
    pressed(lab)
    lab.open_panel()
    pressed(lab)


def test_markup_in_outputs_does_nothing(armed, model):
    lab = armed
    code = (
        "from IPython.display import HTML, SVG, Javascript, Markdown, Latex, JSON, Image, display\n"
        f"text = {ALL!r}\n"
        "for kind in (HTML, Javascript, Markdown, Latex):\n    display(kind(text))\n"
        f"display(SVG({SVG!r}))\n"
        "display({'application/vnd.jupyter.widget-view+json': {'model_id': 'x'}, 'text/html': text}, raw=True)\n"
        "display({'text/html': text, 'text/plain': text}, raw=True, metadata={'text/html': {'isolated': True}})\n"
        "print(text)\n"
        "raise ValueError(text)"
    )
    model(Turn(code=code), Turn(code=SUM), SOLVED)
    notebook = lab.notebook()
    notebook.agent()
    notebook.task("solved")
    attempt = notebook.attempt(1)
    if attempt.collapsed:
        attempt.toggle.click()
    expect(attempt.element.locator(".jp-OutputArea")).to_contain_text("ValueError")
    pressed(lab)
    lab.open_panel()
    pressed(lab)


def test_bidi_and_invisible_characters_are_shown(lab, model):
    model(Turn(ODD, code=f"# {ODD}\nprint({ODD!r})"), Turn(answer=ODD))
    notebook = lab.notebook()
    notebook.agent()
    notebook.task("solved")
    attempt = notebook.attempt(1)
    shown = attempt.strip.inner_text() + notebook.bar.inner_text()
    for character in "\u202e\u2066\u200b\ufeff":
        assert character not in shown
    expect(attempt.strip).to_contain_text("U+202E")


def test_ten_megabytes_of_output_leave_the_page_usable(lab, model):
    attempt = one_attempt(lab, model, "for i in range(95_000): print('line', i, 'x' * 90)")
    assert len(json.dumps(attempt.state.outputs)) < 2_000_000
    expect(attempt.strip).to_contain_text("ucceeded")
    attempt.press("Accept")
    attempt.becomes("accepted")


def attempt_cell(task="t1", number=1, code="x = 1", **changes):
    """A notebook cell with an attempt, as nbformat has it; `changes` go into its record."""
    record = {
        "version": 1,
        "role": "attempt",
        "task": task,
        "attempt": number,
        "status": "succeeded",
        "model": "m",
        "duration": 0.1,
        "tokens": {"input": 1, "output": 1, "cache_read": 0},
        "tier": "A",
        "rolled_back": False,
        "hash": code_hash(code),
        **changes,
    }
    return {
        "cell_type": "code",
        "id": f"{task}-{number}",
        "source": f"%%attempt {task}.{number}\n{code}",
        "outputs": [],
        "execution_count": None,
        "metadata": {"jupyter_codeagent": record, "tags": ["skip-execution"]},
    }


def test_five_hundred_attempts_in_a_notebook(lab, model):
    cells = [attempt_cell(f"t{n // 10}", n % 10 + 1) for n in range(500)]
    notebook = lab.notebook(*cells, load=False)
    assert len(notebook.attempts()) == 500
    lab.open_panel()
    lab.scroll_to(notebook, 29, seconds=60)  # the last ones take the core minutes, without us too
    one = Attempt(notebook, notebook.cells[29].id)
    expect(one.strip).to_be_visible()
    one.press("Accept")
    one.becomes("accepted")


HUGE = "A" * 200_000
WRONG_TYPES = [
    {"task": 1},
    {"task": None},
    {"task": "__proto__"},
    {"task": "constructor"},
    {"task": HUGE},
    {"task": "../x y<b>"},
    {"attempt": "1"},
    {"attempt": -1},
    {"attempt": 1e300},
    {"attempt": []},
    {"status": "<b>odd</b>"},
    {"status": {}},
    {"status": "__proto__"},
    {"role": "task"},
    {"role": "nobody"},
    {"role": ["attempt"]},
    {"tokens": None},
    {"tokens": 7},
    {"tokens": {"input": "many", "output": -1, "cache_read": {}}},
    {"duration": "long"},
    {"duration": None},
    {"duration": -1e308},
    {"tier": "<img src=x onerror=window.hostile.push(1)>"},
    {"tier": {}},
    {"model": HUGE},
    {"model": ["m"]},
    {"model": ALL},
    {"explanation": ALL},
    {"explanation": 5},
    {"explanation": HUGE},
    {"notes": ALL},
    {"notes": [ALL, 3, None, HUGE]},
    {"notes": {"length": 10**9}},
    {"hash": 4},
    {"version": 2},
    {"rolled_back": "yes"},
    {"__proto__": {"hostile": True}},
]


def test_hostile_metadata_of_an_opened_notebook(armed, model):
    lab = armed
    cells = [attempt_cell("t1", n + 1, **{}) for n in range(len(WRONG_TYPES))]
    for cell, change in zip(cells, WRONG_TYPES, strict=True):
        cell["metadata"]["jupyter_codeagent"].update(change)
    for n, value in enumerate(
        ([], "text", 5, None, True, {"version": 1}, {"role": "attempt"}, {"version": 1, "role": "task", "task": "t1"})
    ):
        cell = attempt_cell("t2", n + 1)
        cell["metadata"]["jupyter_codeagent"] = value
        cells.append(cell)
    task = {
        "cell_type": "code",
        "id": "task-1",
        "source": "%%agent\n" + ALL,
        "outputs": [],
        "execution_count": None,
        "metadata": {
            "jupyter_codeagent": {
                "version": 1,
                "role": "task",
                "task": "t1",
                "status": "solved",
                "limit": HUGE,
                "model": ALL,
                "tier": 1,
                "told": ALL,
                "background": "x",
                "answer": ALL,
                "reason": {},
                "tokens": [],
                "cost": "1e999",
                "duration": {},
                "hash": [],
            }
        },
    }
    good = attempt_cell("t9", 1, "print('fine')")
    notebook = lab.notebook(task, *cells, good, load=False)
    lab.open_panel()
    pressed(lab)
    lab.scroll_to(notebook, len(cells))
    pressed(lab)
    assert lab.page.evaluate("({}).hostile") is None
    last = notebook.attempt(1)
    expect(last.strip).to_contain_text("ucceeded")
    last.press("Accept")
    last.becomes("accepted")


def test_metadata_that_claims_to_be_accepted_grants_nothing(lab, model):
    cell = attempt_cell("t1", 1, "reached = True", role="accepted", status="accepted")
    notebook = lab.notebook(cell)
    notebook.run(1).settled()
    assert notebook.kernel("print('reached' in globals())") == "False"


def test_hidden_code_is_shown_before_it_is_accepted(lab, model):
    cell = attempt_cell("t1", 1, "print('hidden')")
    cell["metadata"]["jupyter"] = {"source_hidden": True, "outputs_hidden": True}
    notebook = lab.notebook(cell, load=False)
    attempt = notebook.attempt(1)
    expect(attempt.button("Accept and run")).to_have_count(0) if attempt.collapsed else None
    attempt.toggle.click()
    expect(attempt.element.locator(".cm-content")).to_contain_text("hidden")
    expect(attempt.button("Accept and run")).to_be_visible()


def test_html_of_an_unaccepted_attempt_is_not_trusted(lab, model):
    attempt = one_attempt(lab, model, "import pandas as pd\npd.DataFrame({'a': [1]})")
    assert attempt.state.metadata.get("trusted") is not True
    attempt.press("Accept")
    attempt.becomes("accepted")
    assert attempt.state.metadata.get("trusted") is not True


def test_a_model_that_names_a_long_file_does_not_break_the_layout(lab, model):
    attempt = one_attempt(lab, model, "raise" * 3000 + " = 1\n" + SUM)
    width = lab.page.evaluate("document.documentElement.scrollWidth - document.documentElement.clientWidth")
    assert width <= 0
    assert attempt.element.bounding_box()["width"] <= 1280
