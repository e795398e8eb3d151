"""Attempts appear as cells below the task while they are made."""

from __future__ import annotations

import re
import threading

from playwright.sync_api import expect

from tests.messages_server import Turn
from tests.ui.stories import LONG, SOLVED, SUM, failed_and_solved, held, one_attempt


def test_code_streams_into_a_cell_while_the_model_still_writes(lab, model):
    notebook, hold = held(lab, model)
    attempt = notebook.attempt(1)
    assert attempt.state.source.startswith(f"%%attempt {attempt.record['task']}.1\n")
    assert SUM not in attempt.state.source
    assert attempt.status == "running"
    assert notebook.cells[1].count is None, "the agent cell has ended"
    expect(attempt.strip).to_contain_text("riting")
    hold.set()
    attempt.becomes("succeeded")
    assert attempt.state.code == LONG
    notebook.task("solved")
    sources = [cell.source.partition("\n")[0] for cell in notebook.cells[1:]]
    assert sources == ["%%agent", f"%%attempt {attempt.record['task']}.1"]


def test_output_comes_while_the_code_still_runs(lab, model):
    model(Turn(code="import time\nprint('first')\ntime.sleep(600)"))
    notebook = lab.notebook()
    notebook.agent()
    attempt = notebook.attempt(1)
    lab.until(lambda: attempt.state.text == "first\n", "the first line of output")
    assert attempt.status == "running"
    expect(attempt.element.locator(".jp-OutputArea")).to_contain_text("first")
    expect(attempt.strip).to_contain_text("unning")
    notebook.interrupt()
    notebook.task("stopped")


def test_a_failed_attempt_shows_its_traceback_and_collapses_when_a_later_one_succeeds(lab, model):
    hold = threading.Event()
    model(Turn(code="total = totall"), Turn(code=SUM, hold=hold), SOLVED)
    notebook = lab.notebook()
    notebook.agent()
    first = notebook.attempt(1).becomes("failed")
    expect(first.element.locator(".jp-OutputArea")).to_contain_text("NameError: name 'totall' is not defined")
    expect(first.strip).to_contain_text("ailed")
    expect(first.strip).to_contain_text("rolled back")
    assert not first.collapsed
    hold.set()
    second = notebook.attempt(2).becomes("succeeded")
    lab.until(lambda: first.collapsed, "the failed attempt is one line")
    expect(first.element.locator(".jp-InputArea-editor")).to_be_hidden()
    expect(first.element.locator(".jp-OutputArea")).to_be_hidden()
    assert first.element.bounding_box()["height"] < 60
    assert not second.collapsed
    expect(second.strip).to_contain_text("ucceeded")


def test_a_collapsed_attempt_opens_on_click_and_closes_again(lab, model):
    notebook = failed_and_solved(lab, model)
    first = notebook.attempt(1)
    lab.until(lambda: first.collapsed, "the failed attempt is one line")
    first.toggle.click()
    lab.until(lambda: not first.collapsed, "it is open")
    expect(first.element.locator(".jp-InputArea-editor")).to_be_visible()
    expect(first.element.locator(".jp-OutputArea")).to_contain_text("NameError")
    expect(first.toggle).to_have_attribute("aria-expanded", "true")
    first.toggle.click()
    lab.until(lambda: first.collapsed, "it is closed")
    expect(first.toggle).to_have_attribute("aria-expanded", "false")


def test_the_toggle_command_opens_and_closes_the_active_attempt(lab, model):
    notebook = failed_and_solved(lab, model)
    first = notebook.attempt(1)
    lab.until(lambda: first.collapsed, "the failed attempt is one line")
    first.activate()
    lab.command("jupyter-codeagent:toggle-attempt")
    lab.until(lambda: not first.collapsed, "it is open")
    lab.command("jupyter-codeagent:toggle-attempt")
    lab.until(lambda: first.collapsed, "it is closed")


def test_pictures_tables_and_colours_of_an_attempt_are_rendered(lab, model):
    code = "\n".join(
        [
            "import pandas as pd, matplotlib.pyplot as plt",
            "plt.figure(figsize=(1, 1)); plt.plot([1, 2]); plt.show()",
            "print('\\x1b[31mred\\x1b[0m')",
            "pd.DataFrame({'region': ['North'], 'total': [42]})",
        ]
    )
    model(Turn(code=code), SOLVED)
    notebook = lab.notebook()
    notebook.agent()
    area = notebook.attempt(1).becomes("succeeded", 40).element.locator(".jp-OutputArea")
    expect(area.locator("img")).to_be_visible()
    expect(area.locator("table")).to_contain_text("North")
    expect(area.locator(".ansi-red-fg")).to_have_text("red")


def test_the_strip_tells_number_status_time_tokens_and_tier(lab, model):
    attempt = one_attempt(lab, model, f"import time\ntime.sleep(0.3)\n{SUM}")
    expect(attempt.strip).to_contain_text("Attempt 1")
    expect(attempt.strip).to_contain_text("ucceeded")
    expect(attempt.strip).to_contain_text(re.compile(r"\d+(\.\d+)? m?s\b"))
    expect(attempt.strip).to_contain_text("tokens")
    expect(attempt.strip).to_contain_text("tier A")
    expect(attempt.strip.locator("svg").first).to_be_visible()  # an icon beside the word: not by colour alone
    expect(attempt.strip).to_contain_text("andbox output")
    assert attempt.record["tokens"]["output"] > 0


def test_a_task_that_reaches_its_limit_keeps_its_attempts_open(lab, model):
    model(Turn(code="1 / 0"), Turn(code="2 / 0"))
    notebook = lab.notebook()
    notebook.agent(options="--attempts 2")
    record = notebook.task("failed").record
    assert record["limit"] == 2 and record["reason"]
    assert [a.record["status"] for a in notebook.attempts()] == ["failed", "failed"]
    assert not notebook.attempt(2).collapsed
    expect(notebook.bar).to_contain_text("ot solved")


def test_neither_focus_nor_view_is_taken_away_while_attempts_come(lab, model):
    hold = threading.Event()
    model(Turn(code=LONG, hold=hold), Turn(code=LONG), SOLVED)
    notebook = lab.notebook("%%agent\nsum the numbers", *[f"x{i} = {i}" for i in range(40)])
    notebook.run(1)
    typing = notebook.activate(30)
    lab.command("notebook:enter-edit-mode")
    lab.page.keyboard.type("typed ")
    before = typing.element.bounding_box()["y"]
    hold.set()
    notebook.task("solved")
    lab.page.keyboard.type("on")
    assert "typed on" in typing.state.source
    assert abs(typing.element.bounding_box()["y"] - before) < 3
