"""Other programs that run notebooks: a model is asked only where the run wants it, and parameters are respected."""

import json
import os
import subprocess
import sys

import nbformat
import pytest
from nbformat import v4

from jupyter_codeagent import Sandbox, SandboxPolicy, ScriptedModel, save_notebook, solve
from jupyter_codeagent.trajectory import Action
from tests.messages_server import Turn, serving


@pytest.fixture
def folder(tmp_path):
    place = tmp_path / "project"
    place.mkdir()
    return place


def ran(folder, url, *arguments, wanted=False):
    """Run one of Jupyter's programs in the folder; returns what the code cells print, and all that was written."""
    unwanted = ("ANTHROPIC", "JUPYTER_CODEAGENT", "JPY_SESSION_NAME", "PYTHONWARNINGS")
    kept = {name: value for name, value in os.environ.items() if not name.startswith(unwanted)}
    own = {"JUPYTER_DATA_DIR": str(folder.parent / "data"), "IPYTHONDIR": str(folder.parent / "ipython")}
    done = subprocess.run(
        [sys.executable, "-m", *map(str, arguments)],
        cwd=folder,
        env={**kept, **own, "ANTHROPIC_BASE_URL": url, **({"JUPYTER_CODEAGENT_RUN": "1"} if wanted else {})},
        capture_output=True,
        text=True,
        timeout=180,
    )
    assert done.returncode == 0, done.stderr
    outputs = [c.outputs for c in nbformat.read(folder / "out.ipynb", 4).cells if c.cell_type == "code"]
    return ["".join(str(o.get("text") or o.data.get("text/plain")) for o in out) for out in outputs]


def papermill(folder, url, name, n, wanted=False):
    return ran(folder, url, "papermill", name, "out.ipynb", "-p", "n", n, wanted=wanted)


def turn(body):
    """Return the scripted reply: code that the parameter goes into, then what it printed."""
    said = str(body["messages"])
    return Turn(answer="Sixfold.") if "print(6 * n)" in said else Turn("Multiply.", code="print(6 * n)")


def test_agent_cells_in_notebooks_with_parameters(folder):
    cells = [
        v4.new_code_cell("n = 2", metadata={"tags": ["parameters"]}),
        v4.new_code_cell("%load_ext jupyter_codeagent"),
        v4.new_code_cell("%%agent\nmultiply `n` by six"),
        v4.new_code_cell("print('after')"),
    ]
    kernel = {"name": "python3", "display_name": "Python 3", "language": "python"}
    nbformat.write(v4.new_notebook(cells=cells, metadata={"kernelspec": kernel}), folder / "live.ipynb")
    with serving([turn] * 4) as server:
        *_, task, after = papermill(folder, server.url, "live.ipynb", 2, wanted=True)
        assert "12" in task and "Solved" in task and after == "after\n" and len(server.requests) == 2
        *_, task, after = papermill(folder, server.url, "live.ipynb", 5)
        assert "The record of this cell is not shown: n has changed since." in task
        assert "JUPYTER_CODEAGENT_RUN=1" in task and after == "after\n" and len(server.requests) == 2
        *_, task, after = papermill(folder, server.url, "live.ipynb", 5, wanted=True)
        assert "30" in task and len(server.requests) == 4
        # with its own value again, the record of that one is shown
        *_, task, after = ran(folder, server.url, "jupyter", "execute", "live.ipynb", "--output", "out")
        assert "12" in task and "no model was asked" in task and after == "after\n"
        execute = ("nbconvert", "--to", "notebook", "--execute", "live.ipynb", "--output", "out.ipynb")
        *_, task, after = ran(folder, server.url, *execute)
        assert "12" in task and "no model was asked" in task and len(server.requests) == 4


def test_saved_notebooks_take_parameters(folder):
    actions = [Action("Multiply.", "print(6 * n)"), Action("Twelve.")]
    with Sandbox(SandboxPolicy(workspace=folder)) as sandbox:
        trajectory = solve("multiply", variables={"n": 2}, model=ScriptedModel(actions), sandbox=sandbox)
    save_notebook(trajectory, folder / "saved.ipynb")
    tagged = [c for c in nbformat.read(folder / "saved.ipynb", 4).cells if "parameters" in c.metadata.get("tags", [])]
    assert [c.source for c in tagged] == ["n = 2"]
    assert papermill(folder, "http://127.0.0.1:9", "saved.ipynb", 7)[-1] == "42\n"
    assert "jupyter_codeagent" not in json.dumps([c["source"] for c in nbformat.read(folder / "out.ipynb", 4).cells])
