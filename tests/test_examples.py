"""The example notebook and the demo, with the scripted server and with the embedded model."""

import json
import os
import re
import shlex
import shutil
import subprocess
import sys
import sysconfig
from pathlib import Path

import nbformat
import pytest
from nbclient import NotebookClient

from jupyter_codeagent.demo import holds, make_sales
from jupyter_codeagent.models import weights
from jupyter_codeagent.report import compare
from jupyter_codeagent.trajectory import Action, Attempt, Observation, Trajectory
from tests.messages_server import Turn, serving

EXAMPLES = Path(__file__).parents[1] / "examples"
NAME = "self_healing_pipeline.ipynb"

NAIVE = 'import pandas as pd\ndf = pd.read_csv("messy_sales.csv")\nresult = df.groupby("Region")["Revenue"].sum()'
MENDED = """\
import pandas as pd
df = pd.read_csv("messy_sales.csv")
df.columns = df.columns.str.strip()
df["Revenue"] = pd.to_numeric(df["Revenue"].str.replace(r"[^0-9.]", "", regex=True), errors="coerce")
result = df.groupby("Region")["Revenue"].sum().sort_values(ascending=False)
result"""


def executed(folder, monkeypatch, url):
    for name in [n for n in os.environ if n.startswith("ANTHROPIC")]:
        monkeypatch.delenv(name)
    for name, value in {
        "JUPYTER_CODEAGENT_RUN": "1",
        "JUPYTER_DATA_DIR": str(folder / "data"),
        "NO_PROXY": "127.0.0.1",
        "ANTHROPIC_BASE_URL": url,
        "ANTHROPIC_API_KEY": "anything",
    }.items():
        monkeypatch.setenv(name, value)
    for name in (NAME, "make_sales.py"):
        shutil.copy(EXAMPLES / name, folder)
    notebook = nbformat.read(folder / NAME, as_version=4)
    NotebookClient(notebook, timeout=800, resources={"metadata": {"path": str(folder)}}).execute()
    return notebook


def shown(cell) -> str:
    texts = [o.get("text") or o.get("data", {}).get("text/plain", "") for o in cell.outputs]
    return "\n".join("".join(text) for text in texts)


def agent_cell(notebook):
    return next(c for c in notebook.cells if c.source.startswith("%%agent"))


def test_example_heals_itself_with_the_scripted_server(tmp_path, monkeypatch):
    turns = [Turn("Sum it.", code=NAIVE), Turn("Strip the names.", code=MENDED), Turn(answer="Central leads.")]
    with serving(turns) as server:
        notebook = executed(tmp_path, monkeypatch, server.url)
        told = json.dumps(server.requests[1].messages)
    text = shown(agent_cell(notebook))
    assert "KeyError" in text and "Attempt 2" in text and "Central leads." in text
    assert "KeyError" in told and "Rolled back: variables" in told


def test_stored_outputs_of_plain_cells_are_those_of_a_fresh_run(tmp_path, monkeypatch):
    with serving([Turn(code=MENDED), Turn(answer="x")]) as server:
        fresh = executed(tmp_path, monkeypatch, server.url)
    stored = nbformat.read(EXAMPLES / NAME, as_version=4)
    plain = [n for n, c in enumerate(stored.cells) if c.cell_type == "code" and not c.source.startswith("%%agent")]
    assert len(plain) >= 4
    for n in plain:
        assert compare(n, stored.cells[n].outputs, fresh.cells[n].outputs) == []


def test_accepted_cell_is_the_code_of_the_stored_attempt():
    stored = nbformat.read(EXAMPLES / NAME, as_version=4)
    codes = [c for c in stored.cells if c.cell_type == "code"]
    accepted = codes[[c.source for c in codes].index("%agent accept") + 1]
    record = shown(agent_cell(stored))
    assert accepted.source in record and "$0.0000" not in record
    assert shown(accepted).strip() in record


def test_stored_notebook_names_no_place_of_a_machine():
    text = (EXAMPLES / NAME).read_text()
    assert not re.search(r"/(?:home|root|tmp|Users|work)/", text)


@pytest.fixture(scope="module")
def model_file():
    """The embedded model's file, fetched where it is not here yet."""
    known = weights.known()
    for _ in weights.pull(known):
        pass
    return weights.find(known)[1]


@pytest.mark.model
@pytest.mark.timeout(900)
def test_demo_ends_with_a_verified_notebook_that_has_the_true_sums(tmp_path, model_file):
    program = Path(sysconfig.get_path("scripts"), "jupyter-codeagent")
    environment = {k: v for k, v in os.environ.items() if not k.startswith("ANTHROPIC")}
    command = [program, "demo", "--folder", tmp_path / "made" / "here"]
    done = subprocess.run(command, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    for shown in ("Attempt 1", "; verified: ", "The notebook has them.", "jupyter lab", "ANTHROPIC_API_KEY"):
        assert shown in done.stderr
    assert sorted(os.listdir(tmp_path / "made" / "here")) == [
        "messy_sales.csv",
        "messy_sales.solved.ipynb",
        "messy_sales.solved.requirements.txt",
    ]


def test_demo_tells_paths_that_are_found_from_the_users_folder(tmp_path):
    program = Path(sysconfig.get_path("scripts"), "jupyter-codeagent")
    with serving([Turn("Strip the names.", code=MENDED), Turn(answer="Central leads.")]) as server:
        kept = {k: v for k, v in os.environ.items() if not k.startswith("ANTHROPIC")}
        environment = {**kept, "ANTHROPIC_BASE_URL": server.url, "ANTHROPIC_API_KEY": "x", "NO_PROXY": "127.0.0.1"}
        command = [program, "demo", "--folder", "my demo", "--model", "m"]
        done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    notebook = tmp_path / "my demo" / "messy_sales.solved.ipynb"
    written = re.search("^Written: (.+)$", done.stderr, re.MULTILINE)[1]
    opened = shlex.split(re.search("^Open it: (.+)$", done.stderr, re.MULTILINE)[1])
    assert tmp_path / written == tmp_path / opened[-1] == notebook and notebook.is_file()
    assert f"Saved {notebook}; verified: 1 cell ran" in done.stderr
    assert str(tmp_path) not in notebook.read_text()


def test_generator_makes_the_same_file_for_the_same_seed(tmp_path):
    files = [tmp_path / name for name in ("a.csv", "b.csv")]
    for file in files:
        subprocess.run([sys.executable, EXAMPLES / "make_sales.py", "--out", file], check=True)
    assert files[0].read_bytes() == files[1].read_bytes()
    lines = files[0].read_text().splitlines()
    assert lines[0] == "Date,Region,Units,Revenue " and 2000 < len(lines) < 5000


def test_demo_compares_with_the_true_sums(tmp_path):
    truth = make_sales(tmp_path / "messy_sales.csv")["truth"]
    rows = "\n".join(f"{region}  {value}" for region, value in truth.items())

    def saying(text):
        attempt = Attempt(1, Action("", "x"), Observation([{"output_type": "stream", "name": "stdout", "text": text}]))
        attempt.done = True
        return Trajectory("x", attempts=[attempt])

    assert holds(saying(rows), truth)
    assert not holds(saying(rows.replace(str(truth["North"]), "12.0")), truth)
    assert not holds(Trajectory("x"), truth)
