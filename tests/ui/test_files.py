"""The files that the sandbox has changed, in the panel: looked at, applied, put back."""

from __future__ import annotations

from playwright.sync_api import expect

from tests.ui.lab import Lab


def changes(lab: Lab):
    """Show the changed files and return where they are shown."""
    lab.command("jupyter-codeagent:show-changes")
    view = lab.panel().element.get_by_role("region", name="Changed files")
    expect(view).to_be_visible()
    return view


def test_the_changed_files_are_shown_by_a_command_and_closed_again(lab):
    lab.notebook()
    view = changes(lab)
    expect(view.get_by_role("heading", name="Changed files")).to_be_focused()
    expect(view.get_by_role("button", name="Apply selected (0)")).to_be_disabled()
    view.get_by_role("button", name="Back to the tasks").press("Enter")
    expect(view).to_have_count(0)
    expect(lab.panel().box).to_be_focused()
