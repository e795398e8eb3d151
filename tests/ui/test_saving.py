"""Saving what was kept as a notebook, verifying notebooks, and the stamp that says so."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import nbformat
import pytest
from playwright.sync_api import Locator, expect

from jupyter_codeagent.stamp import state_of
from tests.ui.lab import Lab, Notebook
from tests.ui.stories import SUM, one_attempt

VERIFY = "jupyter-codeagent:verify-notebook"
WAIT = 60_000  # milliseconds for a verification: a fresh sandbox, on a busy machine


def verification(lab: Lab) -> Locator:
    """Return where a verification is shown."""
    return lab.panel().element.get_by_role("region", name="Verification")


def stamp_in(file: Path) -> Any:
    """Return the stamp in a file; None where there is none."""
    return json.loads(file.read_text())["metadata"].get("jupyter_codeagent", {}).get("verified")


def lying(lab: Lab) -> Notebook:
    """Open a notebook whose second cell holds what its code does not print."""
    cells = ["x = 41", "print(x)\nprint('end')", "x + 1"]
    notebook = lab.notebook(*cells, load=False)
    for index in range(3):
        notebook.run(index).settled()
    notebook.save()
    file = lab.server.root / notebook.path
    content = json.loads(file.read_text())
    content["cells"][1]["outputs"][0]["text"] = "<b>42</b>\u202e\nend\n"
    lab.close_widgets()
    file.write_text(json.dumps(content))
    return lab.open()


@pytest.mark.parametrize("way", ["/save", "button", "command"])
def test_saving_what_was_kept_as_a_notebook(lab, model, way):
    attempt = one_attempt(lab, model, SUM, "mine = 1")
    attempt.notebook.run(1).settled()
    attempt.press("Accept and run")
    attempt.becomes("accepted").settled()
    panel = lab.open_panel()
    if way == "/save":
        panel.send("/save kept.ipynb")
    elif way == "button":
        panel.button("Save as notebook...").click()
    else:
        lab.command("jupyter-codeagent:save-notebook")
    if way != "/save":
        form = lab.dialog()
        expect(form.get_by_label("The whole notebook")).to_be_checked()
        expect(form.get_by_label("Write a lock file")).not_to_be_checked()
        form.get_by_label("The tasks alone").set_checked(way == "button")
        form.get_by_label("Verify it").uncheck()
        form.get_by_role("textbox").fill("kept")
        form.get_by_role("textbox").press("Enter")
    kept = lab.server.root / lab.folder / "kept.ipynb"
    lab.until(kept.exists, "the notebook is saved")
    sources = ["".join(cell["source"]) for cell in json.loads(kept.read_text())["cells"] if cell["cell_type"] == "code"]
    assert SUM in sources and ("mine = 1" in sources) == (way != "button")
    expect(panel.element).to_contain_text("kept.ipynb")
    if way == "/save":  # verified at once
        panel.element.get_by_role("button", name="kept.ipynb").click()
        expect(verification(lab).get_by_text("Verified", exact=True).first).to_be_visible(timeout=WAIT)
        assert state_of(nbformat.read(kept, 4)) == "verified"


def test_a_key_in_what_is_saved_is_refused_with_its_place(lab, model):
    key = "sk-ant-api03-" + "Ab1" * 30
    notebook = lab.notebook(f"print('{key}')")
    notebook.run(1).settled()
    panel = lab.open_panel()
    panel.send("/save kept.ipynb")
    expect(panel.element.get_by_role("alert")).to_contain_text(re.compile(r"[Cc]ell 1\b"))
    assert not (lab.server.root / lab.folder / "kept.ipynb").exists()


def test_differences_are_shown_side_by_side_and_lead_to_their_cell(lab, model):
    notebook = lying(lab)
    notebook.activate(2)
    lab.command(VERIFY)
    view = verification(lab)
    expect(view.get_by_role("heading", name="Verification")).to_be_focused()
    expect(view.get_by_text("Not reproducible: 1 difference").first).to_be_visible(timeout=WAIT)
    expect(view.get_by_role("group", name="In the file")).to_contain_text("− <b>42</b>⟨U+202E⟩")
    expect(view.get_by_role("group", name="Now")).to_contain_text("+ 41")
    expect(view.locator("b")).to_have_count(0)
    view.get_by_role("button", name="Go to cell 2").press("Enter")
    lab.until(lambda: notebook.active == 1, "the cell is the active one")
    view.get_by_role("button", name="Back to the tasks").press("Enter")
    expect(lab.panel().box).to_be_focused()
    expect(lab.panel().element.get_by_role("button", name=re.compile("Not reproducible"))).to_be_visible()


def test_a_verification_tells_how_far_it_is_and_is_stopped(lab, model):
    notebook = lab.notebook("import time", "time.sleep(600)", load=False)
    notebook.save()
    lab.command(VERIFY)
    view = verification(lab)
    expect(view.get_by_text("Cell 2 of 2").first).to_be_visible(timeout=WAIT)
    expect(view.get_by_role("progressbar")).to_have_attribute("max", "2")
    view.get_by_role("button", name="Stop").click()
    expect(view.get_by_text("Stopped").first).to_be_visible(timeout=WAIT)
    expect(view.get_by_role("button", name="Verify again")).to_be_enabled()


def test_a_notebook_that_is_open_is_stamped_and_an_edit_ends_that(lab, model):
    notebook = lab.notebook("x = 41", "x + 1", load=False)
    for index in range(2):
        notebook.run(index).settled()  # and not saved
    lab.command(VERIFY)
    view = verification(lab)
    expect(view.get_by_text("Verified", exact=True).first).to_be_visible(timeout=WAIT)
    status = lab.page.locator("#jp-main-statusbar")
    stamp = status.get_by_role("button", name=re.compile(r"^Verified \d{4}-\d\d-\d\d \d\d:\d\d, 2 cells$"))
    expect(stamp).to_be_visible()
    expect(stamp).to_have_attribute("title", re.compile("what the file itself says"))
    file = lab.server.root / notebook.path
    lab.until(lambda: stamp_in(file), "the stamp is saved")
    assert state_of(nbformat.read(file, 4)) == "verified"
    notebook.cell(1).write("x + 2")
    expect(status.get_by_role("button", name="Edited since it was verified")).to_be_visible()
    expect(lab.panel().element).to_contain_text("Edited since it was verified")
    notebook.cell(1).write("x + 1")
    expect(stamp).to_be_visible()


def test_a_notebook_that_is_edited_while_it_is_verified_is_not_stamped(lab, model):
    notebook = lab.notebook("import time", "time.sleep(3)", load=False)
    notebook.save()
    lab.command(VERIFY)
    view = verification(lab)
    expect(view.get_by_text("Cell 2 of 2").first).to_be_visible(timeout=WAIT)
    notebook.cell(0).write("import time  # as time")
    expect(view.get_by_text("was edited while it was verified").first).to_be_visible(timeout=WAIT)
    assert stamp_in(lab.server.root / notebook.path) is None
