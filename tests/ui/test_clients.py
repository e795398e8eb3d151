"""Several pages, several notebooks, and kernels and notebooks that go away in the middle."""

from __future__ import annotations

import threading

from playwright.sync_api import expect

from tests.messages_server import Turn
from tests.ui.lab import Notebook
from tests.ui.stories import LONG, SOLVED, SUM, held, one_attempt

# The kernel's messages go to all pages; JupyterLab says so of each for the comm of another, or of an earlier, page.
OTHERS_COMM = "Comm not found for comm id"


def whole(notebook, code=LONG):
    """There is one attempt, as the model wrote it, and the task is solved."""
    notebook.task("solved")
    assert [a.code for a in notebook.attempts()] == [code]
    assert notebook.attempt(1).becomes("succeeded").state.text == "42"


def reload(lab, notebook):
    """Reload the page and return the notebook on it."""
    lab.load(f"lab/tree/{notebook.path}", "")
    lab.page.wait_for_function("jupyterapp.shell.currentWidget && jupyterapp.shell.currentWidget.context")
    return Notebook(lab, notebook.path)


def test_a_reload_in_the_middle_loses_and_doubles_nothing(own_lab, model, watch):
    watch.allow(OTHERS_COMM)
    own_lab.load()
    notebook, hold = held(own_lab, model)
    notebook.save()
    again = reload(own_lab, notebook)
    own_lab.page.wait_for_function("jupyterapp.shell.currentWidget.sessionContext.session?.kernel?.status")
    hold.set()
    whole(again)


def test_a_reload_in_the_middle_of_a_background_task(own_lab, model, watch):
    watch.allow(OTHERS_COMM)
    own_lab.load()
    notebook, hold = held(own_lab, model, "--background")
    notebook.save()
    again = reload(own_lab, notebook).ready()
    attempt = again.attempt(1)
    expect(attempt.strip).to_contain_text("riting")
    hold.set()
    whole(again)


def test_a_reload_before_anything_was_saved_brings_the_attempts_back(own_lab, model, watch):
    watch.allow(OTHERS_COMM)
    own_lab.load()
    model(Turn(code=SUM), SOLVED)
    notebook = own_lab.notebook("%%agent --background\nsum the numbers")
    hold = threading.Event()
    model(Turn(code=LONG, hold=hold, held=60, pace=0.005), SOLVED)
    notebook.save()
    notebook.run(1)
    notebook.attempt(1)
    again = reload(own_lab, notebook).ready()
    hold.set()
    whole(again)


def solved_beside_another(lab, own_lab, model, watch):
    """A notebook whose task is solved, and the same notebook as it was opened before in another tab."""
    watch.allow(OTHERS_COMM)
    notebook = lab.notebook()
    notebook.append("%%agent\nsum the numbers")
    notebook.save()
    own_lab.load()
    other = own_lab.open()
    model(Turn(code=SUM), SOLVED)
    notebook.run(1)
    whole(notebook, SUM)
    return other


def test_a_second_tab_inserts_nothing(lab, own_lab, model, watch):
    other = solved_beside_another(lab, own_lab, model, watch)
    own_lab.page.wait_for_timeout(500)
    assert other.attempts() == []


def test_attempts_that_another_browser_made_are_shown_on_demand(lab, own_lab, model, watch):
    other = solved_beside_another(lab, own_lab, model, watch)
    expect(other.bar).to_contain_text("not in this notebook")
    other.bar.get_by_role("button", name="Show them").click()
    assert other.attempt(1).state.code == SUM


def test_two_notebooks_work_side_by_side(lab, model):
    first, hold = held(lab, model, "--background")
    hold_two = threading.Event()
    lab.model.turns[:0] = [Turn(code="other = 1", hold=hold_two), Turn(answer="One.")]
    lab.server.write(f"{lab.folder}/second.ipynb", ["%load_ext jupyter_codeagent"])
    second = lab.open("second.ipynb")
    second.run(0).settled()
    second.agent("something else", "--background")
    lab.until(lambda: len(lab.model.requests) == 2, "both ask")
    hold_two.set()
    second.task("solved")
    hold.set()
    first.task("solved")
    assert [a.code for a in second.attempts()] == ["other = 1"]
    assert [a.code for a in first.attempts()] == [LONG]


def test_two_notebooks_on_one_kernel_keep_their_attempts_apart(lab, model):
    first = lab.notebook()
    lab.server.write(f"{lab.folder}/second.ipynb", ["1"])
    second = lab.open("second.ipynb")
    lab.use_kernel_of(second, first)
    model(Turn(code=SUM), SOLVED)
    first.agent()
    first.task("solved")
    assert [a.code for a in first.attempts()] == [SUM]
    assert second.attempts() == []
    model(Turn(code="more = 1"), SOLVED)
    second.agent("more")
    second.task("solved")
    assert [a.code for a in second.attempts()] == ["more = 1"]
    assert [a.code for a in first.attempts()] == [SUM]


def test_a_kernel_restart_in_the_middle_ends_the_attempt(lab, model):
    notebook, _hold = held(lab, model)
    lab.command("notebook:restart-kernel")
    lab.dialog().locator(".jp-mod-accept").click()
    lab.until(lambda: notebook.attempt(1).status != "running", "it runs no more")
    assert [c.record["status"] for c in notebook.cells if c.record.get("role") == "task"] == ["stopped"]
    notebook.ready()
    model(Turn(code=SUM), SOLVED)
    notebook.run(0).settled()
    notebook.agent("once more")
    notebook.task("solved")
    assert notebook.attempts()[-1].code == SUM


def test_a_notebook_that_is_closed_while_the_agent_works_and_opened_again(lab, model):
    notebook, hold = held(lab, model, "--background")
    notebook.save()
    lab.close_widgets()
    hold.set()
    lab.until(lambda: len(lab.model.requests) == 2, "the agent goes on")
    whole(lab.open())


def test_a_notebook_that_is_renamed_while_the_agent_works(lab, model):
    notebook, hold = held(lab, model, "--background")
    notebook.rename("renamed.ipynb")
    hold.set()
    whole(notebook)
    notebook.save()


def test_saving_and_reopening_shows_the_same(lab, model):
    attempt = one_attempt(lab, model)
    before = attempt.state
    said = attempt.strip.inner_text()
    attempt.notebook.save()
    lab.close_widgets()
    after = lab.open().attempt(1)
    assert (after.state.source, after.record) == (before.source, before.record)
    assert after.state.outputs == before.outputs
    assert after.strip.inner_text() == said
    after.press("Accept and run")
    after.becomes("accepted").settled()
    assert after.notebook.kernel("print(total)") == "42"
