"""Accepting, editing and discarding attempts, and taking each of it back."""

from __future__ import annotations

import json

from playwright.sync_api import expect

from tests.messages_server import Turn
from tests.ui.stories import SOLVED, SUM, WRONG, failed_and_solved, held, one_attempt, two_kept

TOTAL = "print(globals().get('total'))"


def test_accept_makes_a_plain_cell_and_runs_nothing(lab, model):
    attempt = one_attempt(lab, model)
    attempt.press("Accept")
    attempt.becomes("accepted")
    state = attempt.state
    assert state.source == SUM
    assert state.record["role"] == "accepted"
    assert "skip-execution" not in state.metadata.get("tags", [])
    assert state.count is None
    assert attempt.notebook.kernel(TOTAL) == "None"
    expect(attempt.strip).to_contain_text("andbox output")
    for name in ("Accept", "Accept and run", "Discard"):
        expect(attempt.button(name)).to_have_count(0)


def test_accept_and_run_runs_the_code_in_the_users_kernel(lab, model):
    attempt = one_attempt(lab, model)
    attempt.press("Accept and run")
    attempt.becomes("accepted").settled()
    assert attempt.state.source == SUM
    assert attempt.state.text == "42"
    assert attempt.notebook.kernel(TOTAL) == "42"
    expect(attempt.strip).not_to_contain_text("andbox output")


def test_an_accepted_cell_that_is_run_later_is_no_sandbox_output_any_more(lab, model):
    attempt = one_attempt(lab, model)
    attempt.press("Accept")
    attempt.becomes("accepted").run().settled()
    assert attempt.notebook.kernel(TOTAL) == "42"
    expect(attempt.strip).not_to_contain_text("andbox output")


def test_edited_code_runs_in_the_sandbox_and_never_in_the_kernel(lab, model):
    attempt = one_attempt(lab, model)
    attempt.press("Edit")
    expect(attempt.element.locator(".cm-content")).to_be_focused()
    attempt.write(attempt.state.source.replace("22", "80"))
    expect(attempt.strip).to_contain_text("dited")
    attempt.press("Run in sandbox")
    attempt.becomes("edited").settled()
    lab.until(lambda: "100" in attempt.state.text, "the new result")
    assert attempt.notebook.kernel(TOTAL) == "None"
    attempt.press("Accept and run")
    attempt.becomes("accepted").settled()
    assert attempt.notebook.kernel(TOTAL) == "100"


def test_shift_enter_on_an_edited_attempt_runs_it_in_the_sandbox(lab, model):
    attempt = one_attempt(lab, model)
    attempt.press("Edit")
    lab.page.keyboard.press("Control+End")
    lab.page.keyboard.type(" + 1")
    lab.page.keyboard.press("Control+Enter")
    attempt.becomes("edited").settled()
    lab.until(lambda: "43" in attempt.state.text, "the new result")
    assert attempt.notebook.kernel(TOTAL) == "None"


def test_shift_enter_on_an_unchanged_attempt_executes_nothing_and_says_so(lab, model):
    attempt = one_attempt(lab, model, "print('ran'); open('ran.txt', 'a').write('x')")
    before = attempt.state.text
    attempt.run().settled()
    lab.until(lambda: "was not run again" in attempt.state.text, "a sentence")
    assert attempt.state.text.startswith(before)
    assert not (lab.server.root / lab.folder / "ran.txt").exists()
    assert attempt.status == "succeeded"


def test_run_in_sandbox_runs_unchanged_code_again(lab, model):
    attempt = one_attempt(lab, model, "import time\nprint(time.time_ns())")
    before = attempt.state.text
    attempt.press("Run in sandbox")
    lab.until(lambda: attempt.state.text.strip() not in ("", before.strip()), "another moment")
    assert attempt.state.text.strip().isdigit()
    assert attempt.status in ("succeeded", "edited")


def test_an_edit_that_fails_is_shown_as_failed(lab, model):
    attempt = one_attempt(lab, model)
    attempt.write(attempt.state.source + " + nothing")
    attempt.press("Run in sandbox")
    attempt.becomes("failed").settled()
    expect(attempt.element.locator(".jp-OutputArea")).to_contain_text("NameError")
    expect(attempt.strip).to_contain_text("ailed")


def test_the_agent_is_told_what_the_user_changed(lab, model):
    attempt = one_attempt(lab, model)
    attempt.write(attempt.state.source.replace("22", "80"))
    attempt.press("Run in sandbox")
    attempt.becomes("edited").settled()
    server = model(Turn(answer="It is 100 now."))
    attempt.notebook.agent("what is the total?")
    lab.until(lambda: server.requests, "a request")
    attempt.notebook.task("solved")
    assert "sum([20, 80])" in json.dumps(server.requests[0].body)


def test_discard_deletes_the_cell_and_undo_and_redo_are_one_step(lab, model):
    notebook = failed_and_solved(lab, model)
    attempt = notebook.attempt(2)
    before = attempt.state
    attempt.press("Discard")
    lab.until(lambda: not attempt.there, "the cell is gone")
    lab.command("notebook:undo-cell-action")
    lab.until(lambda: attempt.there, "the cell is back")
    after = attempt.state
    assert (after.source, after.outputs) == (before.source, before.outputs)
    lab.until(lambda: attempt.state.record["status"] == before.record["status"], "the kernel has it back")
    expect(attempt.button("Accept")).to_be_visible()
    lab.command("notebook:redo-cell-action")
    lab.until(lambda: not attempt.there, "the cell is gone again")


def test_undo_takes_an_acceptance_back_in_one_step(lab, model):
    attempt = one_attempt(lab, model)
    before = attempt.state
    attempt.press("Accept")
    attempt.becomes("accepted")
    lab.command("notebook:undo-cell-action")
    lab.until(lambda: attempt.state.source == before.source, "it is an attempt again")
    assert attempt.record == before.record
    assert attempt.state.metadata["tags"] == before.metadata["tags"]
    lab.command("notebook:redo-cell-action")
    lab.until(lambda: attempt.state.source == SUM, "it is accepted again")
    assert attempt.status == "accepted"


def test_each_attempt_is_one_step_of_undo(lab, model):
    notebook = two_kept(lab, model)
    count = len(notebook.cells)
    for left in (1, 0):
        lab.command("notebook:undo-cell-action")
        lab.until(lambda left=left: len(notebook.attempts()) == left, f"{left} attempts are left")
    assert len(notebook.cells) == count - 2
    for there in (1, 2):
        lab.command("notebook:redo-cell-action")
        lab.until(lambda there=there: len(notebook.attempts()) == there, f"{there} attempts are back")
    assert [a.record["status"] for a in notebook.attempts()] == ["succeeded", "succeeded"]
    assert notebook.attempt(2).state.text == "42"


def test_the_sandbox_follows_what_was_discarded(lab, model):
    notebook = two_kept(lab, model)
    notebook.attempt(2).press("Discard")
    lab.until(lambda: len(notebook.attempts()) == 1, "the cell is gone")
    model(Turn(code="print('total' in globals(), 'numbers' in globals())"), Turn(answer="Seen."))
    notebook.agent("look")
    notebook.task("solved")
    assert notebook.attempt(1).state.text == "False True\n"


def test_an_attempt_whose_cell_is_deleted_while_it_runs_is_discarded_when_it_ends(lab, model):
    notebook, hold = held(lab, model, "--background")
    notebook.attempt(1).activate()
    lab.command("notebook:delete-cell")
    lab.until(lambda: not notebook.attempts(), "the cell is gone")
    lab.page.wait_for_timeout(300)  # the kernel refuses meanwhile
    hold.set()  # whether the task is solved depends on which comes first, the discard or the answer
    lab.until(lambda: "(1 discarded)" in notebook.kernel("%agent status"), "the attempt is discarded")
    assert notebook.attempts() == []


def test_accept_all_accepts_what_succeeded_and_nothing_else(lab, model):
    model(Turn(code=WRONG), Turn(code=SUM), Turn(code="kept = 1"), SOLVED)
    notebook = lab.notebook()
    notebook.agent()
    notebook.task("solved")
    notebook.bar.get_by_role("button", name="Accept all").click()
    notebook.attempt(3).becomes("accepted")
    assert [a.record["status"] for a in notebook.attempts()] == ["failed", "accepted", "accepted"]
    assert [a.source for a in notebook.attempts()[1:]] == [SUM, "kept = 1"]
    assert notebook.kernel(TOTAL) == "None"


def test_discard_all_deletes_the_attempts_and_undo_brings_them_back(lab, model):
    notebook = two_kept(lab, model)
    notebook.bar.get_by_role("button", name="Discard all").click()
    lab.until(lambda: not notebook.attempts(), "all are gone")
    lab.command("notebook:undo-cell-action")
    lab.until(lambda: len(notebook.attempts()) == 2, "all are back")


def test_next_and_previous_go_from_attempt_to_attempt(lab, model):
    notebook = two_kept(lab, model)
    notebook.activate(0)
    places = [attempt.index for attempt in notebook.attempts()]
    for name, expected in (("next", places[0]), ("next", places[1]), ("previous", places[0])):
        lab.command(f"jupyter-codeagent:go-to-{name}-attempt")
        lab.until(lambda expected=expected: notebook.active == expected, f"cell {expected} is active")


def test_the_bar_counts_what_was_reviewed(lab, model):
    notebook = two_kept(lab, model)
    expect(notebook.bar).to_contain_text("0 of 2")
    notebook.attempt(1).press("Accept")
    expect(notebook.bar).to_contain_text("1 of 2")
    notebook.attempt(2).press("Accept")
    expect(notebook.bar).to_contain_text("2 of 2")


def test_stop_ends_the_run_and_keeps_what_was_there(lab, model):
    notebook, _hold = held(lab, model)
    notebook.bar.get_by_role("button", name="Stop").click()
    record = notebook.task("stopped").record
    assert record["status"] == "stopped"
    assert notebook.kernel("print('alive')") == "alive"
    expect(notebook.bar).to_contain_text("topped")
    expect(notebook.bar.get_by_role("button", name="Stop")).to_have_count(0)


def test_solve_again_asks_the_model_anew(lab, model):
    attempt = one_attempt(lab, model)
    first = attempt.record["task"]
    server = model(Turn(code="total = 6 * 7\ntotal"), SOLVED)
    attempt.notebook.activate(1)
    lab.command("jupyter-codeagent:solve-again")
    lab.until(lambda: {a.record["task"] for a in attempt.notebook.attempts()} > {first}, "an attempt of another task")
    attempt.notebook.task("solved")
    assert len(server.requests) == 2


def test_each_command_is_disabled_where_it_has_nothing_to_do(lab, model):
    attempt = one_attempt(lab, model)
    ids = [
        f"jupyter-codeagent:{name}"
        for name in (
            "accept-attempt",
            "accept-and-run-attempt",
            "edit-attempt",
            "run-attempt-in-sandbox",
            "discard-attempt",
            "toggle-attempt",
        )
    ]
    attempt.notebook.activate(0)
    assert [name for name in ids if lab.enabled(name)] == []
    attempt.activate()
    assert [name for name in ids if not lab.enabled(name)] == []


def test_the_commands_do_what_the_buttons_do(lab, model):
    notebook = two_kept(lab, model)
    first, second = notebook.attempt(1), notebook.attempt(2)
    first.activate()
    lab.command("jupyter-codeagent:accept-attempt")
    first.becomes("accepted")
    second.activate()
    lab.command("jupyter-codeagent:edit-attempt")
    expect(second.element.locator(".cm-content")).to_be_focused()
    lab.command("jupyter-codeagent:discard-attempt")
    lab.until(lambda: not second.there, "the cell is gone")
