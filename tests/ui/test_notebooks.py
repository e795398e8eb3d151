"""What users do with whole notebooks."""

from __future__ import annotations

import pytest
from playwright.sync_api import expect

from tests.messages_server import Turn
from tests.ui.stories import LONG, SOLVED, SUM, WRONG, one_attempt

TRACKER = "@jupyterlab/notebook-extension/tracker"


def restart_and_run_all(lab, notebook):
    """Restart the kernel and run all cells, as the menu does; waits for the end."""
    lab.command("notebook:restart-run-all")
    lab.dialog().locator(".jp-mod-accept").click()
    lab.page.wait_for_timeout(300)
    notebook.cell(-1).settled(60)


def test_restart_and_run_all_asks_no_model_and_runs_no_attempt(lab, model):
    model(Turn(code=WRONG), Turn(code=SUM), Turn(code="kept = 1\nkept"), SOLVED)
    notebook = lab.notebook()
    notebook.agent()
    notebook.task("solved")
    accepted = notebook.attempt(2)
    accepted.press("Accept and run")
    accepted.becomes("accepted").settled()
    pending = notebook.attempt(3)
    before = {a.id: (a.record, a.text) for a in notebook.attempts() if a.id != accepted.id}
    notebook.append("print(sorted(n for n in ('total', 'kept') if n in globals()))")
    server = model()
    restart_and_run_all(lab, notebook)
    assert server.requests == []
    assert notebook.cell(-1).state.text == "['total']\n"
    for attempt in notebook.attempts():
        record, text = before.get(attempt.id, (attempt.record, ""))
        assert attempt.record == record
        assert text.strip() in attempt.text
    assert len(notebook.attempts()) == 3
    expect(pending.button("Accept")).to_be_visible()


@pytest.mark.parametrize("mode", ["none", "contentVisibility", "full", "defer"])
def test_attempts_work_in_each_windowing_mode(own_lab, model, server, mode):
    lab = own_lab
    server.reset_settings(**{TRACKER: {"windowingMode": mode, "recordTiming": False}})
    try:
        lab.load()
        model(Turn(code=WRONG), Turn(code=LONG), SOLVED)
        notebook = lab.notebook("%%agent\nsum the numbers", *[f"x{i} = {i}" for i in range(60)])
        notebook.run(1)
        notebook.activate(61)
        lab.scroll_to(notebook, 61)
        notebook.task("solved")
        first, second = notebook.attempt(1), notebook.attempt(2)
        lab.until(lambda: first.collapsed, "the failed attempt is one line")
        lab.scroll_to(notebook, second.state.index)
        expect(second.strip).to_be_visible()
        lab.scroll_to(notebook, 61)
        lab.scroll_to(notebook, first.state.index)
        expect(first.strip).to_be_visible()
        second.press("Accept and run")
        second.becomes("accepted").settled()
        assert notebook.kernel("print(total)") == "42"
    finally:
        server.reset_settings()


def test_a_read_only_notebook_is_left_as_it_is(lab, model):
    lab.page.route("**/api/contents/**", read_only)
    model(Turn(code=SUM), SOLVED)
    try:
        notebook = lab.notebook()
        cell = notebook.agent()
        cell.settled()
        expect(cell.element.locator(".jp-OutputArea")).to_contain_text("The sum is 42.")
        assert notebook.attempts() == []
    finally:
        lab.page.unroute("**/api/contents/**")


def read_only(route):
    """Answer as for a user who may not write; the tests may run as root, who always may."""
    if route.request.method != "GET":
        route.fulfill(status=403, json={"message": "Permission denied"})
        return
    answer = route.fetch()
    data = answer.json()
    route.fulfill(response=answer, json={**data, "writable": False} if isinstance(data, dict) else data)


def test_nothing_happens_where_the_magics_are_not_loaded(lab, model):
    server = model()
    notebook = lab.notebook("1 + 1", load=False)
    notebook.run(0).settled()
    lab.page.wait_for_timeout(500)
    assert notebook.cell(0).state.metadata.get("jupyter_codeagent") is None
    expect(notebook.element.get_by_role("group", name="Attempt")).to_have_count(0)
    assert notebook.kernel("print('jupyter_codeagent' in __import__('sys').modules)") == "False"
    assert server.requests == []


def test_a_notebook_from_elsewhere_shows_its_attempts_without_the_magics(lab, model):
    attempt = one_attempt(lab, model)
    attempt.notebook.save()
    lab.close_widgets()
    lab.server.shut_down_kernels()
    notebook = lab.open()
    found = notebook.attempt(1)
    expect(found.strip).to_contain_text("ucceeded")
    found.press("Accept")
    found.becomes("accepted")
    assert found.state.source == SUM


def test_unloading_the_magics_and_loading_them_again(lab, model):
    attempt = one_attempt(lab, model)
    notebook = attempt.notebook
    notebook.append("%unload_ext jupyter_codeagent").run().settled()
    notebook.run(0).settled()
    model(Turn(code="again = 1"), SOLVED)
    notebook.agent("again")
    lab.until(lambda: notebook.attempts()[-1].code == "again = 1", "an attempt")
    notebook.task("solved")


def test_a_copied_attempt_is_shown_and_the_original_stays_in_charge(lab, model):
    attempt = one_attempt(lab, model)
    attempt.activate()
    lab.command("notebook:copy-cell")
    lab.command("notebook:paste-cell-below")
    notebook = attempt.notebook
    lab.until(lambda: len(notebook.attempts()) == 2, "the copy")
    attempt.press("Accept and run")
    attempt.becomes("accepted").settled()
    assert notebook.kernel("print(total)") == "42"
