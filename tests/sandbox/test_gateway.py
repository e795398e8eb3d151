"""A notebook whose sandbox is on another machine: chosen by configuration, used by the magics, named by the doctor."""

import atexit

import pytest
from IPython.core.interactiveshell import InteractiveShell
from traitlets.config import Config

from jupyter_codeagent import RemoteSandbox
from jupyter_codeagent.desk import Desk
from jupyter_codeagent.doctor import diagnose
from jupyter_codeagent.magic import load, unload
from jupyter_codeagent.models.scripted import ScriptedModel
from jupyter_codeagent.options import CodeAgent
from jupyter_codeagent.records import Records
from jupyter_codeagent.trajectory import Action
from tests.sandbox.servers import TOKEN

SUM = "total = k + sum(int(line) for line in open('sales.csv').read().split()[1:])\ntotal"


@pytest.fixture
def shell(tmp_path, monkeypatch):
    folder = tmp_path / "project"
    folder.mkdir()
    (folder / "sales.csv").write_text("amount\n20\n22\n")
    monkeypatch.chdir(folder)
    monkeypatch.delenv("JPY_SESSION_NAME", raising=False)
    monkeypatch.delenv("JUPYTER_CODEAGENT_GATEWAY_URL", raising=False)
    monkeypatch.setenv("JUPYTER_CODEAGENT_GATEWAY_TOKEN", TOKEN)
    config = Config()
    config.HistoryManager.enabled = False
    made = InteractiveShell(config=config)
    yield made
    atexit.unregister(made.atexit_operations)
    made.atexit_operations()


@pytest.fixture
def desk(shell, tmp_path):
    replies = [Action("wrong", "totall"), Action("right", SUM), Action("The sum is **43**.")]
    made = Desk(shell, CodeAgent(parent=shell), lambda name: ScriptedModel(replies), Records(tmp_path / "records"))
    made.settings.unattended = "ask"
    load(shell, made)
    yield made
    unload(shell)


def test_a_notebook_uses_the_configured_gateway_until_reset(shell, desk, jupyter_server, capsys, monkeypatch):
    before = len(jupyter_server.ask("kernels"))
    monkeypatch.delenv("JUPYTER_CODEAGENT_GATEWAY_TOKEN")
    shell.run_cell(f"%config CodeAgent.gateway = '{jupyter_server.url}?token={TOKEN}'\n%config CodeAgent\nk = 1")
    shell.run_cell("%%agent --with k\nsum the amounts in sales.csv, and k")
    task = desk.tasks.latest
    assert (task.status, task.tier, len(task.attempts)) == ("solved", "A", 2), [a.observation for a in task.attempts]
    assert isinstance(desk.running, RemoteSandbox)
    place = f"127.0.0.1:{jupyter_server.port}"
    assert f"The sandbox is at {place}" in task.told and f"was sent to {place}" in task.context
    shell.run_cell("%agent status\n%agent fetch total as there\nassert there == 43")
    said = capsys.readouterr().out
    assert jupyter_server.url in said  # as %config shows it
    assert f"running, tier A (at {place})" in said and TOKEN not in said
    assert shell.user_ns["there"] == 43
    shell.run_cell("%agent diff")
    assert f"The sandbox is at {place} and writes to a copy of the folder there" in capsys.readouterr().err
    shell.run_cell("%agent reset")
    assert len(jupyter_server.ask("kernels")) == before


def test_a_gateway_that_is_not_there_fails_the_task_in_a_sentence(shell, desk, capsys):
    shell.run_cell("%config CodeAgent.gateway = 'http://localhost:1'")
    capsys.readouterr()
    shell.run_cell("%%agent\nsum the amounts in sales.csv")
    said = "".join(capsys.readouterr())
    assert "No sandbox: the Jupyter server at localhost:1 was asked, but it cannot be reached" in said
    assert "Traceback" not in said


def test_the_environment_names_the_gateway_and_the_doctor_asks_it(jupyter_server, monkeypatch):
    monkeypatch.setenv("JUPYTER_CODEAGENT_GATEWAY_URL", jupyter_server.url)
    monkeypatch.setenv("JUPYTER_CODEAGENT_GATEWAY_TOKEN", TOKEN)
    assert CodeAgent().gateway == jupyter_server.url
    found = {f.name: f for f in diagnose(only="sandbox")}["gateway"]
    assert found.ok and "has the kernel codeagent-sandbox" in found.detail
    monkeypatch.setenv("JUPYTER_CODEAGENT_GATEWAY_TOKEN", "wrong")
    found = {f.name: f for f in diagnose(only="sandbox")}["gateway"]
    assert not found.ok and found.mend.startswith("set JUPYTER_CODEAGENT_GATEWAY_TOKEN")
