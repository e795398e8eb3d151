"""The record as a widget, as front ends without our extension show it."""

from __future__ import annotations

from playwright.sync_api import expect

from tests.test_display import EVIL
from tests.test_widgets import SHOW

APART = SHOW.replace("discard))", "discard), apart=True)").replace("So.", f"So. {EVIL}")


def test_the_widget_shows_attempts_runs_accepted_code_and_hides_the_record_beside_it(lab):
    notebook = lab.notebook(APART, load=False)
    cell = notebook.run(0).settled()
    widget = cell.element.locator(".jca-live")
    expect(widget.locator(".jca-state")).to_have_text("Solved")
    expect(cell.element.locator(".jp-OutputArea-child:visible .jca-state")).to_have_count(1)
    assert cell.element.locator(".jca-state").count() == 2
    assert widget.locator("script, img, a[href]").count() == 0

    widget.get_by_text("Attempt 1: succeeded").click()
    widget.locator("button:visible", has_text="Accept and run").click()
    expect(widget.locator(".jp-OutputArea-output:visible").first).to_contain_text("from the kernel")
    expect(widget).to_contain_text("It is in no cell")
    expect(widget).to_contain_text("Attempt 1: accepted")
    assert notebook.kernel("print(kept)") == "5"
    assert len(notebook.cells) == 1
