"""Everything can be done with the keyboard alone."""

from __future__ import annotations

from playwright.sync_api import expect

from tests.messages_server import Turn
from tests.ui.stories import SOLVED, SUM, failed_and_solved, one_attempt


def test_a_task_is_given_and_an_attempt_accepted_by_keys(lab, model):
    model(Turn(code=SUM), SOLVED)
    notebook = lab.notebook("%%agent\nsum the numbers")
    notebook.activate(1)
    lab.command("notebook:enter-command-mode")
    lab.page.keyboard.press("Control+Enter")
    notebook.task("solved")
    lab.command("jupyter-codeagent:go-to-next-attempt")
    attempt = notebook.attempt(1)
    lab.until(lambda: notebook.active == attempt.state.index, "the attempt is active")
    focus_strip(attempt)
    lab.page.keyboard.press("Enter")  # the first button is the main one
    attempt.becomes("accepted").settled()
    assert notebook.kernel("print(total)") == "42"


def focus_strip(attempt):
    """Go from the active cell into its strip with Tab or Shift+Tab."""
    keyboard = attempt.page.keyboard
    for key in ["Tab"] * 6 + ["Shift+Tab"] * 14:
        keyboard.press(key)
        if attempt.strip.evaluate("s => s.contains(document.activeElement?.closest('.jp-Toolbar'))"):
            return
    raise AssertionError("the strip cannot be reached with Tab")


def test_the_strip_is_one_tab_stop_with_arrow_keys(lab, model):
    attempt = one_attempt(lab, model)
    attempt.activate()
    lab.command("notebook:enter-command-mode")
    focus_strip(attempt)
    names = []
    for _ in range(5):
        names.append(lab.page.evaluate("document.activeElement.innerText"))
        lab.page.keyboard.press("ArrowRight")
    assert [name.strip() for name in names] == ["Accept and run", "Accept", "Edit", "Run in sandbox", "Discard"]


def test_a_collapsed_attempt_opens_with_enter(lab, model):
    notebook = failed_and_solved(lab, model)
    first = notebook.attempt(1)
    lab.until(lambda: first.collapsed, "the failed attempt is one line")
    first.toggle.focus()
    lab.page.keyboard.press("Enter")
    lab.until(lambda: not first.collapsed, "it is open")


def test_focus_is_not_lost_when_an_attempt_is_discarded(lab, model):
    attempt = one_attempt(lab, model)
    attempt.activate()
    lab.command("notebook:enter-command-mode")
    attempt.button("Discard").focus()
    lab.page.keyboard.press("Enter")
    lab.until(lambda: not attempt.there, "the cell is gone")
    inside = lab.page.evaluate("!!document.activeElement.closest('.jp-Notebook')")
    assert inside, "the focus left the notebook"
    lab.page.keyboard.press("z")
    lab.until(lambda: attempt.there, "undone with z")


def test_shortcuts_of_ours_work(lab, model):
    attempt = one_attempt(lab, model)
    attempt.activate()
    lab.command("notebook:enter-command-mode")
    keys = lab.page.evaluate(
        """() => Object.fromEntries(jupyterapp.commands.keyBindings
          .filter(b => b.command.startsWith('jupyter-codeagent:')).map(b => [b.command, b.keys.join(' ')]))"""
    )
    pressed = {name: key.replace("Ctrl", "Control").replace(" ", "+") for name, key in keys.items()}
    lab.page.keyboard.press(pressed["jupyter-codeagent:ask-agent"])
    expect(lab.panel().box).to_be_focused()
    attempt.notebook.activate(0)
    lab.command("notebook:enter-command-mode")
    lab.page.keyboard.press(pressed["jupyter-codeagent:go-to-next-attempt"])
    lab.until(lambda: attempt.notebook.active == attempt.state.index, "the attempt is active")
    lab.page.keyboard.press(pressed["jupyter-codeagent:accept-and-run-attempt"])
    attempt.becomes("accepted").settled()


def test_the_panel_is_used_without_a_mouse(lab, model):
    notebook = lab.notebook("1")
    lab.command("jupyter-codeagent:ask-agent")
    panel = lab.panel()
    expect(panel.box).to_be_focused()
    model(Turn(code=SUM), SOLVED)
    lab.page.keyboard.type("sum the numbers")
    lab.page.keyboard.press("Enter")
    notebook.task("solved")
    expect(panel.box).to_be_focused()
    for _ in range(30):
        lab.page.keyboard.press("Shift+Tab")
        if lab.page.evaluate("document.activeElement.innerText") == "Go to cell":
            break
    lab.page.keyboard.press("Enter")
    lab.until(lambda: notebook.active == notebook.attempt(1).state.index, "its cell is active")


def test_a_change_of_status_is_said_in_a_live_region(lab, model):
    attempt = one_attempt(lab, model)
    live = lab.page.locator("[aria-live=polite]")
    texts = " ".join(live.all_inner_texts()) + " ".join(filter(None, live.all_text_contents()))
    assert "ucceeded" in texts or "olved" in texts
    assert attempt.status == "succeeded"
