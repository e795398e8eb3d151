"""The agent works on a thread while the user goes on in the same notebook."""

from __future__ import annotations

import threading

from playwright.sync_api import expect

from tests.messages_server import Turn
from tests.ui.stories import LONG, SOLVED, SUM, held


def test_the_user_works_on_while_the_agent_does(lab, model):
    notebook, hold = held(lab, model, "--background")
    lab.until(lambda: notebook.cells[1].count is not None, "the agent cell has ended")
    cell = notebook.append("print(6 * 7)").run().settled()
    assert cell.state.text == "42\n"
    assert notebook.attempt(1).status == "running"
    hold.set()
    notebook.attempt(1).becomes("succeeded")
    record = notebook.task("solved").record
    assert record["background"] is True


def test_tasks_queue_one_after_the_other(lab, model):
    notebook, hold = held(lab, model, "--background")
    lab.model.turns += [Turn(code="second = 2"), Turn(answer="Two.")]
    second = notebook.agent("and the second", "--background")
    lab.until(lambda: second.state.record.get("status") == "queued", "the second task waits")
    assert len(notebook.attempts()) == 1
    hold.set()
    lab.until(lambda: second.state.record["status"] == "solved", "the second task is solved", 30)
    tasks = [cell.record["task"] for cell in notebook.cells if cell.record.get("role") == "task"]
    assert [attempt.record["task"] for attempt in notebook.attempts()] == tasks


def test_an_attempt_is_accepted_while_the_agent_works_on(lab, model):
    hold = threading.Event()
    model(Turn(code=SUM), Turn(code=LONG, hold=hold, held=60, pace=0.005), SOLVED)
    notebook = lab.notebook()
    notebook.agent(options="--background")
    first = notebook.attempt(1).becomes("succeeded")
    notebook.attempt(2)
    first.press("Accept and run")
    first.becomes("accepted").settled()
    assert notebook.kernel("print(total)") == "42"
    assert notebook.attempt(2).status == "running"
    hold.set()
    notebook.task("solved")


def test_what_changed_under_the_agent_is_told_before_accepting(lab, model):
    model(Turn(code="doubled = base * 2\ndoubled"), Turn(answer="Doubled."))
    notebook = lab.notebook("base = 21")
    notebook.run(1).settled()
    notebook.agent("double base", "--background")
    notebook.task("solved")
    attempt = notebook.attempt(1)
    assert attempt.state.text == "42"
    notebook.append("base = 100").run().settled()
    attempt.press("Accept and run")
    expect(lab.dialog()).to_contain_text("base")
    lab.dialog().get_by_role("button", name="Cancel").click()
    assert attempt.status == "succeeded"
    attempt.press("Accept and run")
    lab.dialog().locator(".jp-mod-accept").click()
    attempt.becomes("accepted").settled()
    assert notebook.kernel("print(doubled)") == "200"


def test_stop_ends_the_running_task_and_the_kernel_goes_on(lab, model):
    notebook, _hold = held(lab, model, "--background")
    notebook.bar.get_by_role("button", name="Stop").click()
    notebook.task("stopped")
    assert notebook.append("print('alive')").run().settled().state.text == "alive\n"


def test_the_stop_magic_and_status_work_meanwhile(lab, model):
    notebook, _hold = held(lab, model, "--background")
    said = notebook.append("%agent status").run().settled().state.text
    task = notebook.attempt(1).record["task"]
    assert task in said
    notebook.append("%agent stop").run().settled()
    notebook.task("stopped")


def test_interrupting_the_kernel_leaves_a_background_task_alone(lab, model):
    notebook, hold = held(lab, model, "--background")
    cell = notebook.append("import time\ntime.sleep(600)").run()
    lab.page.wait_for_timeout(300)
    notebook.interrupt()
    cell.settled()
    assert notebook.attempt(1).status == "running"
    hold.set()
    notebook.task("solved")


def test_variables_are_those_of_the_start_and_are_named(lab, model):
    hold = threading.Event()
    model(Turn(code="print(base)", hold=hold), SOLVED)
    notebook = lab.notebook("base = 21")
    notebook.run(1).settled()
    cell = notebook.agent("print base", "--background")
    lab.until(lambda: cell.state.count is not None, "the agent cell has ended")
    notebook.append("base = 100").run().settled()
    hold.set()
    notebook.task("solved")
    assert notebook.attempt(1).state.text == "21\n"
    expect(cell.element).to_contain_text("base")
