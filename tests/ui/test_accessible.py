"""axe-core finds nothing serious in what is ours, in light and dark."""

from __future__ import annotations

from typing import Any

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import expect

from tests.messages_server import Turn
from tests.ui.stories import SOLVED, SUM, WRONG

THEMES = "@jupyterlab/apputils-extension/themes"
OURS = (".jp-codeagent-Bar", ".jp-codeagent-Panel")


def serious(page: Any, *places: str) -> list[str]:
    """Return the serious and critical findings below the places."""
    present = [place for place in places if page.locator(place).count()]
    assert present, f"nothing of ours is on the page: {places}"
    found = Axe().run(
        page, context={"include": [[place] for place in present]}, options={"resultTypes": ["violations"]}
    )
    return [
        f"{rule['id']} ({rule['impact']}): {node['target']} {node['failureSummary']}"
        for rule in found.response["violations"]
        if rule["impact"] in ("serious", "critical")
        for node in rule["nodes"]
    ]


@pytest.mark.parametrize("theme", ["JupyterLab Light", "JupyterLab Dark", "JupyterLab Dark High Contrast"])
def test_axe_finds_nothing_serious(own_lab, model, server, theme):
    lab = own_lab
    server.reset_settings(**{THEMES: {"theme": theme}})
    try:
        lab.load()
        model(Turn("First.", code=WRONG), Turn("A `code`.", code=SUM), Turn("More.", code="kept = 1"), SOLVED)
        notebook = lab.notebook()
        notebook.agent()
        notebook.task("solved")
        notebook.attempt(3).press("Accept and run")
        notebook.attempt(3).becomes("accepted").settled()
        panel = lab.open_panel()
        expect(panel.log).to_contain_text("The sum is 42.")
        panel.box.press_sequentially("/")
        assert serious(lab.page, *OURS) == []
        panel.box.press("Escape")
        notebook.attempt(1).toggle.click()
        assert serious(lab.page, *OURS) == []
        model(Turn("Short.", code="a = 1"), Turn("Long.", code="a = 1 + 1"), SOLVED, SOLVED)
        notebook.agent("two ways", options="--candidates 2")
        notebook.task("solved")
        notebook.attempt(2).toggle.click()
        assert serious(lab.page, *OURS) == []
    finally:
        server.reset_settings()
