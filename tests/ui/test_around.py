"""Menus, commands, the status bar, settings and translations."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
from playwright.sync_api import expect

from tests.messages_server import Turn
from tests.ui.stories import LONG, SOLVED, WRONG, failed_and_solved, held, one_attempt

SOURCES = Path(__file__).parents[2] / "labextension"
TOKENS = (SOURCES / "src" / "tokens.ts").read_text()
COMMANDS = re.findall(r"'(jupyter-codeagent:[a-z-]+)'", TOKENS.partition("export const Commands")[2])
CELLS = "jupyter-codeagent-labextension/cells"


def menu(lab, cell, label):
    """Choose an entry of a cell's menu."""
    cell.element.locator(".jp-InputPrompt").click(button="right")
    lab.page.locator(".lm-Menu-itemLabel", has_text=re.compile(rf"^{label}", re.I)).click()


def sent(server):
    return json.dumps([request.body for request in server.requests])


def test_fix_with_agent_on_a_cell_that_failed(lab, model):
    notebook = lab.notebook("1 / 0")
    cell = notebook.run(1).settled()
    server = model(Turn(code="1 / 1"), SOLVED)
    menu(lab, cell, "Fix with")
    notebook.task("solved")
    assert "ZeroDivisionError" in sent(server)
    assert notebook.cells[2].source.startswith("%%agent")


def test_fix_is_not_offered_on_a_cell_that_did_not_fail(lab, model):
    notebook = lab.notebook("1 + 1")
    notebook.run(1).settled()
    notebook.activate(1)
    assert not lab.enabled("jupyter-codeagent:fix-cell")
    assert lab.enabled("jupyter-codeagent:explain-cell")


def test_explain_in_the_cell_menu(lab, model):
    notebook = lab.notebook("base = 21")
    cell = notebook.run(1).settled()
    server = model(Turn(answer="It sets base."))
    menu(lab, cell, "Explain")
    notebook.task("solved")
    assert "base = 21" in sent(server)


def test_ask_about_this_cell_opens_the_panel_with_the_cell_attached(lab, model):
    notebook = lab.notebook("base = 21")
    cell = notebook.run(1).settled()
    menu(lab, cell, "Ask about")
    panel = lab.panel()
    expect(panel.box).to_be_focused()
    expect(panel.attachments).to_have_count(1)
    server = model(SOLVED)
    panel.send("what is this?")
    notebook.task("solved")
    assert "base = 21" in sent(server)


def test_ask_the_agent_opens_the_panel_ready_to_write(lab, model):
    lab.notebook("1", load=False)
    lab.command("jupyter-codeagent:ask-agent")
    expect(lab.panel().box).to_be_focused()


def test_the_cell_toolbar_has_a_button_that_asks_the_agent(lab, model):
    notebook = lab.notebook("base = 21", load=False)
    cell = notebook.activate(0)
    cell.element.hover()
    cell.element.locator(".jp-cell-toolbar").get_by_role("button", name=re.compile("agent", re.I)).click()
    expect(lab.panel().box).to_be_focused()


def test_the_status_bar_tells_the_attempt_and_stops_it(lab, model):
    notebook, _hold = held(lab, model, "--background")
    bar = lab.page.locator("#jp-main-statusbar")
    item = bar.get_by_role("button", name="Code agent: attempt 1")
    expect(item).to_be_visible()
    item.click()
    expect(lab.panel().card(1)).to_contain_text("riting")
    bar.get_by_role("button", name="Stop the agent").click()
    notebook.task("stopped")
    expect(item).to_be_hidden()


def test_every_command_is_in_the_palette_with_a_label(lab, model):
    one_attempt(lab, model)
    found = lab.page.evaluate(
        "ids => ids.map(id => jupyterapp.commands.hasCommand(id) ? jupyterapp.commands.label(id) : '')", COMMANDS
    )
    assert dict(zip(COMMANDS, found, strict=True)) == {k: v for k, v in zip(COMMANDS, found, strict=True) if v}
    assert len(set(found)) == len(found)
    lab.command("apputils:activate-command-palette")
    lab.page.locator("#command-palette input, .jp-ModalCommandPalette input").fill("agent")
    expect(
        lab.page.locator(".jp-ModalCommandPalette .lm-CommandPalette-item", has_text="Ask the Agent").first
    ).to_be_visible()
    lab.page.keyboard.press("Escape")


def test_shortcuts_collide_with_no_other(lab, model):
    one_attempt(lab, model).activate()
    ours, others = lab.page.evaluate(
        """() => {
          const places = [...document.querySelectorAll('.jp-Notebook .jp-Cell.jp-mod-active, .jp-Cell .cm-content')];
          const applies = b => { try { return places.some(p => p.closest(b.selector)); } catch { return true; } };
          const all = jupyterapp.commands.keyBindings.filter(applies).map(b => [b.command, b.keys.join(' ')]);
          const ours = all.filter(b => b[0].startsWith('jupyter-codeagent:'));
          return [ours, all.filter(b => !b[0].startsWith('jupyter-codeagent:'))];
        }"""
    )
    assert ours
    taken = {keys: command for command, keys in others}
    assert {command: taken[keys] for command, keys in ours if keys in taken} == {}


@pytest.fixture
def with_settings(own_lab, server):
    """Load JupyterLab with settings of ours."""

    def load(**values):
        server.reset_settings(**{CELLS: values})
        own_lab.load()
        return own_lab

    yield load
    server.reset_settings()


def test_setting_keep_failed_attempts_open(with_settings, model):
    lab = with_settings(collapseFailed=False)
    notebook = failed_and_solved(lab, model)
    lab.page.wait_for_timeout(300)
    assert not notebook.attempt(1).collapsed


def test_setting_follow_new_attempts(with_settings, model):
    lab = with_settings(followNewAttempts=True)
    model(Turn(code=LONG), Turn(code=LONG), SOLVED)
    notebook = lab.notebook("%%agent\nsum the numbers", *[f"x{i} = {i}" for i in range(40)])
    notebook.run(1)
    notebook.task("solved")
    expect(notebook.attempt(2).strip).to_be_in_viewport()


def test_setting_attempts_limit_and_model(with_settings, model):
    lab = with_settings(attemptsLimit=1, defaultModel="small-one")
    server = model(Turn(code=WRONG))
    notebook = lab.notebook("1")
    lab.open_panel().send("sum the numbers")
    record = notebook.task("failed").record
    assert record["limit"] == 1
    assert server.requests[0].body["model"] == "small-one"


def test_setting_hide_costs(with_settings, model):
    lab = with_settings(showCosts=False)
    attempt = one_attempt(lab, model)
    expect(attempt.strip).not_to_contain_text("tokens")
    expect(attempt.notebook.bar).not_to_contain_text("tokens")
    expect(lab.open_panel().element).not_to_contain_text("tokens")


def test_the_settings_editor_shows_our_settings(own_lab):
    own_lab.load()
    own_lab.command("settingeditor:open", query="Code Agent")
    expect(own_lab.page.locator(".jp-SettingsPanel, .jp-SettingsEditor").first).to_contain_text(
        "Collapse failed attempts"
    )


def test_texts_are_translated(own_lab, model):
    texts = set()
    for file in [*SOURCES.glob("src/**/*.ts"), *SOURCES.glob("src/**/*.tsx")]:
        texts |= {
            m.group(2).replace("\\'", "'")
            for m in re.finditer(r"__\(\s*(['\"])((?:\\.|(?!\1).)+)\1", file.read_text(), re.S)
        }
    assert "Accept and run" in texts
    catalogue = {"": {"language": "eo", "plural_forms": "nplurals=2; plural=(n != 1);"}}
    catalogue |= {text: [f"\u00ab{text}\u00bb"] for text in texts}
    own_lab.page.route(
        "**/api/translations/**",
        lambda route: route.fulfill(json={"data": {"jupyter_codeagent": catalogue}, "message": ""}),
    )
    own_lab.load()
    attempt = one_attempt(own_lab, model)
    for name in ("Accept and run", "Accept", "Edit", "Run in sandbox", "Discard"):
        expect(attempt.strip.get_by_role("button", name=f"\u00ab{name}\u00bb", exact=True)).to_be_visible()
    panel = own_lab.open_panel()
    for button in panel.element.get_by_role("button").all():
        named = button.get_attribute("aria-label") or button.get_attribute("title") or button.inner_text()
        assert not named.strip() or "\u00ab" in named or not re.search(r"[A-Za-z]{3}", named), (
            f"not translated: {named!r}"
        )


@pytest.mark.parametrize("reduced", ["reduce", "no-preference"])
def test_nothing_moves_where_motion_is_unwelcome(own_lab, model, reduced):
    own_lab.page.emulate_media(reduced_motion=reduced)
    own_lab.load()
    notebook, _hold = held(own_lab, model)
    panel = own_lab.open_panel()
    panel.card(1).wait_for()
    moving = own_lab.page.evaluate(
        """() => document.getAnimations().map(a => String(a.effect?.target?.className))
          .filter(name => /codeagent|jca/i.test(name))"""
    )
    if reduced == "reduce":
        assert moving == []
    notebook.interrupt()
    notebook.task("stopped")
