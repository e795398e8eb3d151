"""The side panel: it writes agent cells, and shows what the notebook's record holds."""

from __future__ import annotations

import json
import threading

import pytest
from playwright.sync_api import expect

from tests.messages_server import Turn
from tests.ui.lab import LOAD, Notebook
from tests.ui.stories import LONG, SOLVED, SUM, failed_and_solved, one_attempt, two_kept
from tests.ui.test_clients import OTHERS_COMM


@pytest.fixture
def asked(lab, model):
    """An open panel beside a notebook with loaded magics."""
    notebook = lab.notebook("base = 21", "1 / 0")
    notebook.run(1).settled()
    notebook.activate(1)
    return notebook, lab.open_panel()


def sent(model_server):
    """Return everything that was sent to the model, as text."""
    return json.dumps([request.body for request in model_server.requests])


def test_the_panel_offers_to_make_a_notebook_where_none_is_open(lab, model):
    panel = lab.open_panel()
    expect(panel.element).to_contain_text("otebook")
    panel.button("New notebook").click()
    lab.page.wait_for_function("jupyterapp.shell.currentWidget?.context?.path?.endsWith('.ipynb')")
    expect(panel.box).to_be_visible()
    Notebook(lab, lab.page.evaluate("jupyterapp.shell.currentWidget.context.path")).ready()


def test_sending_writes_and_runs_an_agent_cell_in_the_background(asked, lab, model):
    notebook, panel = asked
    model(Turn("I add them.", code=SUM), SOLVED)
    panel.send("sum the numbers 20 and 22")
    record = notebook.task("solved").record
    assert record["background"] is True
    agent = next(c for c in notebook.cells if c.source.startswith("%%agent"))
    assert "--background" in agent.source.partition("\n")[0]
    assert agent.source.partition("\n")[2].strip() == "sum the numbers 20 and 22"
    assert [a.code for a in notebook.attempts()] == [SUM]
    expect(panel.box).to_have_value("")
    expect(panel.log).to_contain_text("sum the numbers 20 and 22")
    expect(panel.log).to_contain_text("The sum is 42.")


def test_the_magics_are_loaded_by_a_visible_cell_where_they_are_missing(lab, model):
    notebook = lab.notebook("base = 21", load=False)
    panel = lab.open_panel()
    model(Turn(code=SUM), SOLVED)
    panel.send("sum the numbers")
    notebook.task("solved")
    assert LOAD in notebook.cells[0].source


def test_the_answer_streams_into_the_panel(asked, model):
    notebook, panel = asked
    hold = threading.Event()
    model(Turn(code=SUM), Turn(answer="The answer is long. " * 40, hold=hold, held=100, pace=0.02))
    panel.send("sum the numbers")
    expect(panel.log).to_contain_text("The answer is long.")
    assert notebook.cells[2].record.get("status") != "solved"
    hold.set()
    notebook.task("solved")


def test_code_of_an_attempt_streams_into_its_card(asked, model):
    notebook, panel = asked
    hold = threading.Event()
    model(Turn(code=LONG, hold=hold, held=120, pace=0.005), SOLVED)
    panel.send("sum the numbers")
    expect(panel.card(1)).to_be_visible()
    expect(panel.card(1)).to_contain_text("riting")
    hold.set()
    notebook.task("solved")
    expect(panel.card(1)).to_contain_text("ucceeded")


def test_stop_in_the_panel_ends_the_task(asked, model):
    notebook, panel = asked
    model(Turn(code=LONG, hold=threading.Event(), held=120, pace=0.005))
    panel.send("sum the numbers")
    notebook.attempt(1)
    panel.button("Stop").last.click()
    notebook.task("stopped")
    expect(panel.button("Stop")).to_have_count(0)
    expect(panel.log).to_contain_text("topped")


def test_cards_go_to_the_cell_and_accept_and_discard_it(lab, model):
    notebook = two_kept(lab, model)
    panel = lab.open_panel()
    second = notebook.attempt(2)
    notebook.activate(0)
    panel.card(2).get_by_role("button", name="Go to cell").click()
    lab.until(lambda: notebook.active == second.state.index, "its cell is active")
    panel.card(1).get_by_role("button", name="Accept", exact=True).click()
    notebook.attempt(1).becomes("accepted")
    expect(panel.card(1)).to_contain_text("ccepted")
    panel.card(2).get_by_role("button", name="Discard").click()
    lab.until(lambda: not second.there, "the cell is gone")


def test_a_failed_attempt_is_a_card_with_its_error(lab, model):
    failed_and_solved(lab, model)
    panel = lab.open_panel()
    expect(panel.card(1)).to_contain_text("ailed")
    expect(panel.card(1)).to_contain_text("NameError")


@pytest.fixture
def sales(server, folder):
    """A file of the folder, before the panel asks what is there."""
    (server.root / folder / "sales.csv").write_text("amount\n20\n22\n")


@pytest.mark.parametrize("kind", ["current cell", "selection", "variable", "file"])
def test_attachments_are_offered_after_at_and_told_to_the_agent(sales, asked, lab, model, kind):
    notebook, panel = asked
    letters = {"current cell": "@current", "selection": "@selec", "variable": "@bas", "file": "@sales"}[kind]
    told = {"current cell": "base = 21", "selection": "base = 21", "variable": "base", "file": "sales.csv"}[kind]
    if kind == "selection":
        lab.command("notebook:enter-edit-mode")
        lab.page.keyboard.press("Control+a")
    panel.box.focus()
    panel.box.press_sequentially(f"look at {letters}")
    option = panel.element.get_by_role("option").first
    expect(option).to_be_visible()
    panel.box.press("Enter")
    expect(panel.element.get_by_role("option")).to_have_count(0)
    expect(panel.attachments).to_have_count(1)
    server = model(SOLVED)
    panel.box.press("Enter")
    notebook.task("solved")
    assert told in sent(server)
    expect(panel.attachments).to_have_count(0)


def test_the_attach_button_attaches_and_an_attachment_can_be_removed(asked):
    _notebook, panel = asked
    panel.button("Attach a cell, variable or file").click()
    panel.element.get_by_role("option", name="current cell").click()
    expect(panel.attachments).to_have_count(1)
    panel.attachments.get_by_role("button", name="Remove").click()
    expect(panel.attachments).to_have_count(0)


def test_slash_offers_the_commands_and_help_lists_them(asked):
    _notebook, panel = asked
    panel.box.press_sequentially("/")
    for name in ("fix", "explain", "test", "save", "undo"):
        expect(panel.element.get_by_role("option", name=name)).to_be_visible()
    panel.box.press("Escape")
    expect(panel.element.get_by_role("option")).to_have_count(0)
    panel.send("/help ")
    expect(panel.element).to_contain_text("Fix the cell that failed")


def test_an_unknown_command_is_one_sentence(asked, model):
    notebook, panel = asked
    server = model()
    panel.send("/nonsense")
    expect(panel.element).to_contain_text('no command "/nonsense"')
    assert server.requests == []
    assert len(notebook.cells) == 3


def test_fix_takes_the_cell_that_failed(asked, model):
    notebook, panel = asked
    notebook.run(2).settled()
    server = model(Turn(code="1 / 1"), SOLVED)
    panel.send("/fix")
    notebook.task("solved")
    assert "ZeroDivisionError" in sent(server)


@pytest.mark.parametrize("name", ["explain", "test"])
def test_explain_and_test_take_the_active_cell(asked, model, name):
    notebook, panel = asked
    server = model(SOLVED)
    panel.send(f"/{name}")
    notebook.task("solved")
    assert "base = 21" in sent(server)


def test_undo_takes_the_last_accept_back(lab, model):
    notebook = two_kept(lab, model)
    notebook.attempt(1).press("Accept")
    notebook.attempt(1).becomes("accepted")
    panel = lab.open_panel()
    panel.send("/undo")
    notebook.attempt(1).becomes("succeeded")


def test_the_model_can_be_chosen(asked, lab, model):
    notebook, panel = asked
    server = model(SOLVED)
    panel.choose_model("another-model")
    panel.send("answer")
    notebook.task("solved")
    assert "--model another-model" in next(c.source for c in notebook.cells if c.source.startswith("%%agent"))
    assert server.requests[0].body["model"] == "another-model"
    panel.choose_model("")


def test_model_tier_tokens_and_what_leaves_the_machine_are_shown(lab, model):
    one_attempt(lab, model)
    panel = lab.open_panel()
    expect(panel.element).to_contain_text("claude-sonnet-5-5")
    expect(panel.element).to_contain_text("tier A")
    expect(panel.element).to_contain_text("tokens")
    expect(panel.element).to_contain_text("nothing is sent to another machine")


def test_history_brings_earlier_tasks_back(asked, model):
    notebook, panel = asked
    model(SOLVED)
    panel.send("the first task")
    notebook.task("solved")
    panel.box.press("ArrowUp")
    expect(panel.box).to_have_value("the first task")
    panel.box.press("ArrowDown")
    expect(panel.box).to_have_value("")


def test_a_new_chat_leaves_the_notebook_alone(lab, model):
    attempt = one_attempt(lab, model)
    attempt.notebook.cell(1).settled()
    panel = lab.open_panel()
    expect(panel.log).to_contain_text("The sum is 42.")
    before = attempt.notebook.cells
    panel.button("New chat: fold earlier tasks").click()
    expect(panel.log).not_to_contain_text("The sum is 42.")
    assert attempt.notebook.cells == before


def test_shift_enter_makes_a_new_line(asked):
    notebook, panel = asked
    panel.box.press_sequentially("one")
    panel.box.press("Shift+Enter")
    panel.box.press_sequentially("two")
    expect(panel.box).to_have_value("one\ntwo")
    assert len(notebook.cells) == 3


def test_the_panel_shows_the_same_after_a_reload_and_in_a_second_tab(own_lab, lab, model, watch):
    watch.allow(OTHERS_COMM)
    notebook = failed_and_solved(lab, model)
    notebook.save()
    panel = lab.open_panel()
    expect(panel.log).to_contain_text("The sum is 42.")
    said = panel.log.inner_text()
    own_lab.load()
    own_lab.open()
    again = own_lab.open_panel()
    expect(again.log).to_contain_text("The sum is 42.")
    assert again.log.inner_text() == said
    own_lab.load(f"lab/tree/{notebook.path}", "")
    own_lab.page.wait_for_function("window.jupyterapp && window.jupyterapp.shell.currentWidget?.context")
    Notebook(own_lab, notebook.path).ready()
    again = own_lab.open_panel()
    expect(again.log).to_contain_text("The sum is 42.")
    assert again.log.inner_text() == said


def test_the_panel_follows_the_active_notebook(lab, model):
    one_attempt(lab, model)
    panel = lab.open_panel()
    expect(panel.log).to_contain_text("The sum is 42.")
    lab.notebook("1", name="second.ipynb", load=False)
    expect(panel.log).not_to_contain_text("The sum is 42.")


def test_an_error_of_the_model_is_one_sentence(asked, model):
    notebook, panel = asked
    model(
        Turn(
            status=401,
            error={"type": "error", "error": {"type": "authentication_error", "message": "invalid x-api-key"}},
        )
    )
    panel.send("sum")
    notebook.task("failed")
    expect(panel.log).to_contain_text("key")


def test_review_asks_before_each_execution(asked, lab, model):
    notebook, panel = asked
    model(Turn(code=SUM), SOLVED)
    panel.options.get_by_label("Ask me before each execution").check()
    panel.send("sum")
    box = notebook.element.locator(".jp-Stdin-input")
    expect(box).to_be_visible()
    box.press("Enter")
    notebook.task("solved")
    panel.options.get_by_label("Ask me before each execution").uncheck()  # later tests share the page
