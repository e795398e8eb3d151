"""The table in README.md names a test for every command, button and case, and each of them exists."""

from __future__ import annotations

import ast
import re
from pathlib import Path

from tests.ui.test_around import COMMANDS

HERE = Path(__file__).parent
ROWS = [
    [part.strip() for part in line.strip("|").split("|")]
    for line in (HERE / "README.md").read_text().partition("## What is tested where")[2].splitlines()
    if re.match(r"\| (?!---|what\b)", line)
]


def written() -> set[str]:
    """Return the names of all tests in this folder."""
    trees = [ast.parse(file.read_text()) for file in HERE.glob("test_*.py")]
    return {
        node.name
        for tree in trees
        for node in ast.walk(tree)
        if isinstance(node, ast.FunctionDef) and node.name.startswith("test_")
    }


def test_every_row_names_a_test_that_exists():
    assert len(ROWS) > 60
    named = {what: re.findall(r"`(test_\w+)`", tests) for what, tests in ROWS}
    assert {what: tests for what, tests in named.items() if not tests} == {}
    assert {test for tests in named.values() for test in tests} - written() == set()


def test_every_command_has_a_row():
    assert len(COMMANDS) > 15
    table = " ".join(what for what, _tests in ROWS)
    assert [command for command in COMMANDS if f"`{command}`" not in table] == []


def test_every_test_is_in_the_table():
    table = (HERE / "README.md").read_text()
    assert sorted(name for name in written() if f"`{name}`" not in table) == []
