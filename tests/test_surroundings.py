"""What a task's code really used is noted, and stands in the notebook that it becomes."""

import json
from dataclasses import replace
from pathlib import Path

import jsonschema
import pytest

import jupyter_codeagent
from jupyter_codeagent import Action, SandboxPolicy, ScriptedModel, Trajectory, save_notebook, solve, verify_notebook
from jupyter_codeagent.fingerprint import states
from jupyter_codeagent.notebook import KEY
from jupyter_codeagent.notebook_file import read_notebook
from jupyter_codeagent.trajectory import Input

SCHEMA = json.loads((Path(jupyter_codeagent.__file__).parent / "schemas" / "metadata.json").read_text())
READ = """
import importlib, random
random.seed(7)
frames = importlib.import_module("pan" + "das")
import helpers
total = sum(map(int, open("more.txt")))
frames.read_csv("sales.csv")["Units"].sum() + total
"""


@pytest.fixture(scope="module")
def solved(tmp_path_factory):
    """Return a solved task that reads files and imports what its text does not say, and its folder."""
    folder = tmp_path_factory.mktemp("surroundings")
    (folder / "sales.csv").write_text("Region,Units\nNorth,1\nSouth,2\n")
    (folder / "more.txt").write_text("1\n2\n")
    (folder / "helpers.py").write_text("import matplotlib\n")
    replies = [Action("wrong", "import polars; 1 / 0"), Action("sum", READ), Action("six")]
    policy = SandboxPolicy(workspace=folder)
    return solve("sum sales.csv", files=[folder / "sales.csv"], model=ScriptedModel(replies), policy=policy), folder


def test_packages_are_those_that_the_kept_code_really_imported(solved):
    trajectory, _ = solved
    environment = trajectory.environment
    assert {"python", "pandas", "numpy", "matplotlib", "pillow"} <= set(environment)
    assert not {"polars", "ipython", "traitlets", "jupyter-codeagent", "helpers"} & set(environment)
    assert trajectory.modules == ("helpers",) and set(trajectory.locale) <= {"timezone", "lang"}


def test_files_that_code_reads_are_inputs_with_their_columns(solved):
    trajectory, _ = solved
    (given,) = trajectory.inputs
    assert (given.rows, given.columns) == (2, (("Region", "text"), ("Units", "integer")))
    assert [found.name for found in trajectory.reads] == ["helpers.py", "more.txt"]


def test_all_of_it_stands_in_the_notebook_and_beside_it(solved):
    trajectory, folder = solved
    path = save_notebook(trajectory, folder / "solved.ipynb", overwrite=True)
    record = read_notebook(path).metadata[KEY]
    jsonschema.validate(record, {**SCHEMA, "$ref": "#/$defs/notebook"})
    assert record["seeds"] == ["random.seed(7)"] and record["modules"] == ["helpers"]
    assert record["environment"] == trajectory.environment
    assert [state.state for state in states(record, folder)] == ["same"] * 3
    pins = (folder / "solved.requirements.txt").read_text()
    assert f"pandas=={trajectory.environment['pandas']}\n" in pins and "# helpers is a module" in pins


def test_a_notebook_can_begin_with_its_packages(solved):
    trajectory, folder = solved
    first = read_notebook(save_notebook(trajectory, folder / "script.ipynb", script=True)).cells[0]
    assert first.source.startswith("# /// script\n") and f'"pandas=={trajectory.environment["pandas"]}"' in first.source
    assert verify_notebook(folder / "script.ipynb", stamp=False).ok


def test_a_trajectory_from_elsewhere_brings_nothing_odd_into_the_record(solved, tmp_path):
    trajectory, _ = solved
    strange = Trajectory.from_dict(trajectory.to_dict())
    strange.environment = {"python": "3\n", "a\nb": "1", "good": "1.0", "bad": "1 @ file:///home/me"}
    strange.modules, strange.locale = ("a b", "ok"), {"timezone": "../x", "lang": "C", "home": "/home/me"}
    strange.reads = (Input("x\udc80.csv", 1, "0" * 32, 1, (("\udc80", "text"),)), Input("/etc/passwd", 1, "0" * 32))
    record = read_notebook(save_notebook(strange, tmp_path / "strange.ipynb")).metadata[KEY]
    jsonschema.validate(record, {**SCHEMA, "$ref": "#/$defs/notebook"})
    assert record["environment"] == {"good": "1.0"} and record["modules"] == ["ok"]
    assert record["locale"] == {"lang": "C"}
    assert "home" not in json.dumps(record) and "passwd" not in json.dumps(record)


def test_a_trajectory_keeps_it_on_the_disk(solved, tmp_path):
    trajectory, _ = solved
    again = Trajectory.load(trajectory.save(tmp_path / "t.jsonl"))
    assert replace(again, folder=trajectory.folder) == trajectory
    assert again.inputs[0].columns == trajectory.inputs[0].columns
