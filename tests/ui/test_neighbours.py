"""Beside real-time collaboration and jupyter-ai, in an environment that has them.

``CODEAGENT_NEIGHBOURS_PYTHON`` names the interpreter of that environment, in which this package is installed too.
"""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator

import pytest
from playwright.sync_api import Browser, expect

from tests.messages_server import MessagesServer, Turn
from tests.ui.browser import Watch, watched
from tests.ui.jupyter import EXTENSION, JupyterServer
from tests.ui.lab import LOAD, Lab, Notebook
from tests.ui.stories import SOLVED, SUM, WRONG

pytestmark = pytest.mark.neighbours
PYTHON = "CODEAGENT_NEIGHBOURS_PYTHON"


@pytest.fixture(scope="module")
def python() -> str:
    if not os.environ.get(PYTHON):
        pytest.fail(f"{PYTHON} is not set; it names a Python with jupyter-ai and jupyter-collaboration.", pytrace=False)
    return os.environ[PYTHON]


@pytest.fixture(scope="module")
def shared_server(
    python: str, tmp_path_factory: pytest.TempPathFactory, model_server: MessagesServer
) -> Iterator[JupyterServer]:
    server = JupyterServer(tmp_path_factory.mktemp("neighbours"), model_server.url, python, bundle=None)
    yield server
    server.close()


@pytest.fixture
def clients(chrome: Browser, shared_server: JupyterServer, model, folder, model_server) -> Iterator[tuple[Lab, Lab]]:
    """Two browsers with the same notebook."""
    origin = f"http://127.0.0.1:{shared_server.port}/"
    shared_server.write(f"{folder}/notebook.ipynb", [LOAD])
    with watched(chrome, origin) as (one, seen), watched(chrome, origin) as (two, seen_too):
        labs = tuple(Lab(context.new_page(), shared_server, model_server, folder) for context in (one, two))
        for lab in labs:
            lab.load(f"lab/tree/{folder}/notebook.ipynb")
        yield labs
        shared_server.shut_down_kernels()
        for watch in (seen, seen_too):
            check(watch)


def check(watch: Watch) -> None:
    """What neighbours say is theirs; ours is everything that names us."""
    watch.errors = [error for error in watch.errors if "codeagent" in error]
    watch.strangers = []
    watch.check()


def opened(lab: Lab) -> Notebook:
    """Return the notebook that both have open; its path may have a drive before it."""
    lab.page.wait_for_function("jupyterapp.shell.currentWidget?.context?.path?.endsWith('.ipynb')")
    path = lab.page.evaluate("jupyterapp.shell.currentWidget.context.path")
    return Notebook(lab, path).ready()


def test_two_clients_see_one_insertion_and_either_accepts(clients, model):
    mine, theirs = (opened(lab) for lab in clients)
    mine.run(0).settled()
    model(Turn(code=WRONG), Turn(code=SUM), Turn(code="kept = 1"), SOLVED)
    mine.agent()
    mine.task("solved")
    theirs.task("solved")
    clients[1].until(lambda: len(theirs.attempts()) == 3, "all attempts in the other client")
    assert [a.record["attempt"] for a in mine.attempts()] == [1, 2, 3]
    theirs.attempt(2).press("Accept and run")
    theirs.attempt(2).becomes("accepted").settled()
    mine.attempt(2).becomes("accepted")
    mine.attempt(3).press("Accept")
    theirs.attempt(3).becomes("accepted")
    assert mine.kernel("print(total)") == "42"


def test_the_panel_of_each_client_shows_the_task(clients, model):
    mine, theirs = (opened(lab) for lab in clients)
    mine.run(0).settled()
    panel = clients[1].open_panel()
    model(Turn(code=SUM), SOLVED)
    panel.send("sum the numbers")
    theirs.task("solved")
    expect(panel.log).to_contain_text("The sum is 42.")
    assert [a.code for a in theirs.attempts()] == [SUM]
    clients[0].until(lambda: len(mine.attempts()) == 1, "the attempt in the other client")


def test_the_extensions_are_listed_as_enabled_and_ok(python):
    for kind in ("labextension", "server"):
        words = ["server", "extension"] if kind == "server" else [kind]
        done = subprocess.run(
            [python, "-m", "jupyter", *words, "list"], capture_output=True, text=True, timeout=60, check=True
        )
        name = EXTENSION if kind == "labextension" else "jupyter_codeagent"
        lines = [line for line in (done.stdout + done.stderr).splitlines() if name in line]
        assert "enabled" in " ".join(lines) and "OK" in " ".join(lines), done.stdout + done.stderr


def test_jupyter_ai_is_there_too(clients):
    opened(clients[0])
    plugins = clients[0].page.evaluate("jupyterapp.listPlugins()")
    assert any("jupyter-ai" in name or "jupyterlab-chat" in name for name in plugins)
    assert any(name.startswith(EXTENSION) for name in plugins)
