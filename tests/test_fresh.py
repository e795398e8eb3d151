"""Saved notebooks run in a fresh environment without this package, made of what is written beside them.

A package index must be reached: where it is not, this fails.
"""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from jupyter_codeagent import Action, SandboxPolicy, ScriptedModel, save_notebook, solve

NUMBERS = """
import numpy as np

rng = np.random.default_rng(5)
rows = np.loadtxt("sales.csv", delimiter=",", skiprows=1)
print(rows.sum(axis=0))
rng.integers(0, 100, 5)
"""
RULES = """
import json, jsonschema, yaml

rules = yaml.safe_load("type: object\\nrequired: [name]")
for entry in json.load(open("entries.json")):
    try:
        jsonschema.validate(entry, rules)
        print(entry, "fits")
    except jsonschema.ValidationError as error:
        print(entry, error.message)
"""
RUN = """
import json, sys
import nbclient, nbformat

try:
    import jupyter_codeagent
except ImportError:
    pass
else:
    sys.exit("this package is here, too")
for path in sys.argv[1:]:
    held = nbformat.read(path, 4)
    fresh = nbclient.NotebookClient(nbformat.from_dict(held), timeout=120, kernel_name="python3").execute()
    code = [[c.outputs for c in notebook.cells if c.cell_type == "code"] for notebook in (held, fresh)]
    texts = [[[o.get("text") or o.data["text/plain"] for o in outputs] for outputs in cells] for cells in code]
    print(json.dumps({"executed": len(texts[1]), "same": texts[0] == texts[1], "texts": texts[1]}))
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Return a folder with two solved notebooks, their inputs, and a list of versions or a lock."""
    made = tmp_path_factory.mktemp("made")
    (made / "sales.csv").write_text("units,price\n1,2.5\n3,4.5\n")
    (made / "entries.json").write_text('[{"name": "a"}, {"title": "b"}]')
    for stem, code in {"numbers": NUMBERS, "rules": RULES}.items():
        model = ScriptedModel([Action("Look.", code), Action("Done.")])
        solved = solve(f"make {stem}", model=model, policy=SandboxPolicy(workspace=made))
        assert solved.status == "solved", solved.attempts
        save_notebook(solved, made / f"{stem}.ipynb", lock=stem == "rules", script=stem == "rules")
    return made


def run(command, **options):
    """Run a command to its end; what it says is shown where it fails."""
    done = subprocess.run([str(part) for part in command], capture_output=True, text=True, timeout=240, **options)
    assert done.returncode == 0, f"{command}: {done.stdout}{done.stderr}"
    return done.stdout


@pytest.fixture(scope="module")
def python(folder, tmp_path_factory):
    """Return the interpreter of a fresh environment, installed by what lies beside the two notebooks."""
    place = tmp_path_factory.mktemp("fresh") / "venv"
    run([sys.executable, "-m", "venv", "--without-pip", place])
    python = place / "bin" / "python"
    pip = [sys.executable, "-m", "pip", "--disable-pip-version-check", "--quiet", "--python", python]
    run([*pip, "install", "--no-compile", "-r", folder / "numbers.requirements.txt"])
    uv = Path(sys.executable).with_name("uv")
    install = [uv if uv.exists() else shutil.which("uv"), "pip", "install", "--quiet", "--python", python]
    run([*install, "-r", "pylock.rules.toml"], cwd=folder)
    run([*install, "nbclient", "ipykernel"])
    return python


def test_saved_notebooks_run_without_this_package(folder, python, tmp_path):
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    for name in ("numbers.ipynb", "rules.ipynb", "sales.csv", "entries.json"):
        shutil.copy(folder / name, elsewhere)
    alone = {"PATH": f"{python.parent}:/usr/bin:/bin", "HOME": str(tmp_path), "LANG": "C.UTF-8"}
    said = run([python, "-c", RUN, "numbers.ipynb", "rules.ipynb"], cwd=elsewhere, env=alone)
    numbers, rules = (json.loads(line) for line in said.splitlines())
    assert (numbers["executed"], rules["executed"]) == (1, 2) and numbers["same"] and rules["same"], (numbers, rules)
    assert numbers["texts"][0][0] == "[4. 7.]\n" and "'name' is a required property" in rules["texts"][1][0]


def test_the_fresh_environment_has_the_recorded_versions(folder, python):
    recorded = {}
    for stem in ("numbers", "rules"):
        notebook = json.loads((folder / f"{stem}.ipynb").read_text())
        recorded |= notebook["metadata"]["jupyter_codeagent"]["environment"]
    del recorded["python"]
    look = "import importlib.metadata as m, json, sys; print(json.dumps({n: m.version(n) for n in sys.argv[1:]}))"
    env = {k: v for k, v in os.environ.items() if k != "PYTHONPATH"}
    assert json.loads(run([python, "-c", look, *recorded], env=env)) == recorded
    assert {"numpy", "jsonschema", "PyYAML", "attrs", "referencing"} <= set(recorded)
