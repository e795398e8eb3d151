"""The kernel "Python 3 (sandboxed)" in JupyterLab."""

from __future__ import annotations

import pytest
from playwright.sync_api import expect

from tests.messages_server import Turn
from tests.ui.lab import Notebook
from tests.ui.stories import SOLVED, SUM

NAME = "codeagent-sandbox"
LABEL = "Python 3 (sandboxed)"
SPEC = {"name": NAME, "display_name": LABEL, "language": "python"}
PLOT = "import matplotlib.pyplot as plt\nplt.plot([1, 3, 2])\nplt.show()"
ENDLESS = "import time\nprint('begun', flush=True)\nwhile True:\n    time.sleep(0.05)"


@pytest.fixture
def notebook(lab):
    """Make a notebook on the sandboxed kernel; nothing has run in it."""

    def make(*cells: str) -> Notebook:
        return lab.notebook(*cells, load=False, kernelspec=SPEC)

    return make


def test_the_launcher_offers_the_sandboxed_kernel_with_its_logo(lab):
    lab.command("launcher:create")
    card = lab.page.locator(f".jp-LauncherCard[title*='{LABEL}'][data-category='Notebook']")
    expect(card).to_be_visible()
    logo = card.locator("img")
    lab.until(lambda: logo.evaluate("image => image.complete && image.naturalWidth > 0"), "the logo")
    assert f"kernelspecs/{NAME}/logo" in logo.get_attribute("src")


def test_cells_run_in_the_sandbox_with_text_tables_and_plots(lab, notebook, server):
    made = notebook(
        "print(open('/proc/self/status').read().count('NoNewPrivs:\\t1'))",
        "import pandas as pd\npd.DataFrame({'a': [1]})",
        PLOT,
    )
    for index in range(3):
        made.run(index).settled(60)
    text, table, plot = made.cells
    assert text.text == "1\n"
    assert "text/html" in table.outputs[0]["data"]
    assert "image/png" in plot.outputs[0]["data"]
    expect(made.cell(2).element.locator("img")).to_be_visible()


def test_a_cell_is_interrupted_and_the_state_stays(lab, notebook):
    made = notebook("x = 41", ENDLESS, "print(x + 1)")
    made.run(0).settled(60)
    cell = made.run(1)
    lab.until(lambda: "begun" in cell.state.text, "the cell runs", 60)
    made.interrupt()
    cell.settled()
    assert cell.state.outputs[-1]["output_type"] == "error"
    made.run(2).settled()
    assert made.cell(2).state.text == "42\n"


def test_a_restart_gives_a_fresh_state(lab, notebook):
    made = notebook("x = 1", "print('x' in globals())")
    made.run(0).settled(60)
    lab.command("kernelmenu:restart")
    lab.dialog().get_by_role("button", name="Confirm Kernel Restart").click()
    lab.dialog().wait_for(state="detached")
    made.ready()
    made.run(1).settled(60)
    assert made.cell(1).state.text == "False\n"


def test_tab_completes_what_the_cells_have_defined(lab, notebook):
    made = notebook("remarkable_value = 1", "remarkable_")
    made.run(0).settled(60)
    cell = made.activate(1)
    lab.command("notebook:enter-edit-mode")
    lab.page.keyboard.press("End")
    lab.page.keyboard.press("Tab")
    expect(lab.page.locator(".jp-Completer")).to_contain_text("remarkable_value")
    lab.page.keyboard.press("Enter")
    lab.until(lambda: cell.state.source == "remarkable_value", "the completion")
    made.run(0).settled()  # by then what JupyterLab asked meanwhile is answered


def test_undo_takes_the_last_cell_back(lab, notebook):
    made = notebook("values = [1]", "values.append(2)", "%undo", "print(values)")
    for index in range(4):
        made.run(index).settled(60)
    assert made.cell(3).state.text == "[1]\n"


def test_an_agent_works_on_a_fork_of_the_notebook_and_accepting_commits_it(lab, notebook, model):
    made = notebook("numbers = [20, 22]", "%%agent\nsum the numbers", "print('total' in globals())", "print(total)")
    made.run(0).settled(60)
    model(Turn("I add them.", code="total = sum(numbers)\ntotal"), SOLVED)
    made.run(1)
    made.task("solved", 60)
    attempt = made.attempt(1)
    assert attempt.state.text == "42"
    made.run(3).settled()
    assert made.cell(3).state.text == "False\n"
    attempt.press("Accept and run")
    attempt.becomes("accepted").settled()
    made.run(4).settled()
    assert made.cell(4).state.text == "42\n"


def test_the_panel_asks_in_the_foreground_of_the_sandboxed_kernel(lab, notebook, model):
    made = notebook("%load_ext jupyter_codeagent")
    made.run(0).settled(60)
    panel = lab.open_panel()
    box = panel.options.get_by_label("In the background")
    expect(box).to_be_disabled()
    expect(box).not_to_be_checked()
    model(Turn(code=SUM), SOLVED)
    panel.send("sum the numbers")
    task = made.task("solved", 60)
    assert "--background" not in task.source
    expect(panel.log).to_contain_text("The sum is 42.")
