"""Notebook 7 runs the same bundle."""

from __future__ import annotations

import re
import threading

import pytest
from playwright.sync_api import expect

from tests.messages_server import Turn
from tests.ui.lab import LOAD, Notebook
from tests.ui.stories import LONG, SOLVED, SUM, WRONG


@pytest.fixture
def notebook(own_lab):
    """A notebook in Notebook 7, the magics loaded."""
    own_lab.server.write(f"{own_lab.folder}/notebook.ipynb", [LOAD])
    own_lab.load(f"notebooks/{own_lab.folder}/notebook.ipynb", "")
    notebook = Notebook(own_lab, f"{own_lab.folder}/notebook.ipynb").ready()
    notebook.run(0).settled()
    return notebook


def test_attempts_are_cells_and_are_accepted(notebook, model):
    model(Turn(code=WRONG), Turn(code=SUM), SOLVED)
    notebook.agent()
    notebook.task("solved")
    first, second = notebook.attempt(1), notebook.attempt(2)
    notebook.lab.until(lambda: first.collapsed, "the failed attempt is one line")
    expect(notebook.bar).to_contain_text("0 of 2")
    second.press("Accept and run")
    second.becomes("accepted").settled()
    assert notebook.kernel("print(total)") == "42"


def test_edit_run_in_sandbox_discard_and_undo(notebook, model):
    model(Turn(code=SUM), SOLVED)
    notebook.agent()
    notebook.task("solved")
    attempt = notebook.attempt(1)
    attempt.write(attempt.state.source.replace("22", "80"))
    attempt.press("Run in sandbox")
    attempt.becomes("edited").settled()
    attempt.press("Discard")
    notebook.lab.until(lambda: not attempt.there, "the cell is gone")
    notebook.lab.command("notebook:undo-cell-action")
    notebook.lab.until(lambda: attempt.there, "the cell is back")


def test_the_panel_opens_sends_and_shows_the_answer(notebook, model):
    panel = notebook.lab.open_panel()
    model(Turn(code=SUM), SOLVED)
    panel.send("sum the numbers")
    notebook.task("solved")
    expect(panel.log).to_contain_text("The sum is 42.")
    expect(panel.card(1)).to_be_visible()
    assert [a.code for a in notebook.attempts()] == [SUM]


def test_a_background_task_and_stop(notebook, model):
    model(Turn(code=LONG, hold=threading.Event(), held=100, pace=0.005))
    notebook.agent(options="--background")
    notebook.attempt(1)
    assert notebook.append("print('meanwhile')").run().settled().state.text == "meanwhile\n"
    notebook.bar.get_by_role("button", name=re.compile("Stop")).click()
    notebook.task("stopped")


def test_restart_and_run_all_asks_no_model(notebook, model):
    model(Turn(code=SUM), SOLVED)
    notebook.agent()
    notebook.task("solved")
    notebook.append("print('total' in globals())")
    server = model()
    notebook.lab.command("notebook:restart-run-all")
    notebook.lab.dialog().locator(".jp-mod-accept").click()
    notebook.page.wait_for_timeout(300)
    notebook.cell(-1).settled()
    assert server.requests == []
    assert notebook.cell(-1).state.text == "False\n"
