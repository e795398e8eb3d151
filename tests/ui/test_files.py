"""The files that the sandbox has changed, in the panel: looked at, applied, put back."""

from __future__ import annotations

import pytest
from playwright.sync_api import Locator, expect

from tests.messages_server import Turn
from tests.ui.lab import Lab
from tests.ui.stories import SOLVED

WRITE = """
from pathlib import Path
Path("made.csv").write_text("a,b\\n1,2\\n")
Path("conftest.py").write_text("import os\\n")
Path("odd\\u202egnp.txt").write_text("<img src=x onerror=window.hostile.push(1)>\\u202e\\n")
""".strip()


def changes(lab: Lab) -> Locator:
    """Show the changed files and return where they are shown."""
    lab.command("jupyter-codeagent:show-changes")
    view = lab.panel().element.get_by_role("region", name="Changed files")
    expect(view).to_be_visible()
    return view


def file(view: Locator, name: str) -> Locator:
    return view.get_by_role("listitem").filter(has_text=name)


@pytest.fixture
def written(lab, model):
    """A notebook whose agent has written files in the sandbox."""
    notebook = lab.notebook()
    model(Turn("I write files.", code=WRITE), SOLVED)
    notebook.agent("write files")
    notebook.task("solved", 60)
    return notebook


def test_the_changed_files_are_shown_by_a_command_and_closed_again(lab):
    lab.notebook()
    view = changes(lab)
    expect(view.get_by_role("heading", name="Changed files")).to_be_focused()
    expect(view.get_by_role("button", name="Apply selected (0)")).to_be_disabled()
    view.get_by_role("button", name="Back to the tasks").press("Enter")
    expect(view).to_have_count(0)
    expect(lab.panel().box).to_be_focused()


def test_selected_files_are_applied_and_put_back(lab, written, server):
    folder = server.root / lab.folder
    lab.open_panel().element.get_by_role("button", name="files changed in the sandbox").click()
    view = lab.panel().element.get_by_role("region", name="Changed files")
    made, apart = file(view, "made.csv"), file(view, "conftest.py")
    expect(made.get_by_role("checkbox")).to_be_checked()
    expect(apart.get_by_role("checkbox")).not_to_be_checked()
    expect(view.get_by_role("list", name="Files that run by themselves")).to_contain_text("conftest.py")
    made.get_by_role("button", expanded=False).press("Enter")
    expect(made.locator("pre")).to_contain_text("+1,2")
    assert not (folder / "made.csv").exists()
    view.get_by_role("button", name="Apply selected (2)").click()
    lab.until(lambda: (folder / "made.csv").exists(), "the file is there")
    assert (folder / "made.csv").read_text() == "a,b\n1,2\n"
    assert not (folder / "conftest.py").exists()
    expect(file(view, "made.csv")).to_have_count(0)
    view.get_by_role("button", name="Undo apply").click()
    lab.until(lambda: not (folder / "made.csv").exists(), "the file is gone again")
    expect(file(view, "made.csv")).to_have_count(1)


def test_names_and_texts_of_changed_files_are_text(lab, written):
    view = changes(lab)
    odd = file(view, "gnp.txt")
    expect(odd).to_contain_text("⟨U+202E⟩gnp.txt")
    odd.get_by_role("button", expanded=False).click()
    expect(odd.locator("pre")).to_contain_text("<img src=x")
    expect(view.locator("img")).to_have_count(0)
