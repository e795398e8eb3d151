"""A trajectory as a notebook, and notebook files."""

import json
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import jsonschema
import nbformat
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import jupyter_codeagent
from jupyter_codeagent.errors import NotebookError
from jupyter_codeagent.minimise import minimise_notebook
from jupyter_codeagent.notebook import harmless, task_record
from jupyter_codeagent.notebook_file import check_writable, free_path, read_notebook, write_notebook
from jupyter_codeagent.saving import of_tasks, save_notebook
from jupyter_codeagent.trajectory import (
    Action,
    Answer,
    Attempt,
    CodeError,
    Input,
    Observation,
    Trajectory,
    Usage,
    Verdict,
    code_hash,
)
from jupyter_codeagent.verify import verify_notebook

SCHEMA = json.loads((Path(jupyter_codeagent.__file__).parent / "schemas" / "metadata.json").read_text())
DONE = {"output_type": "execute_result", "data": {"text/plain": "3"}, "metadata": {}, "execution_count": None}
ERROR = {"output_type": "error", "ename": "KeyError", "evalue": "'Revenue'", "traceback": ["KeyError"]}


def solved() -> Trajectory:
    failed = Attempt(1, Action("Try.", "df['Revenue']", usage=Usage(10, 5), model="m"), done=True)
    failed.rolled_back = True
    failed.observation = Observation([ERROR], CodeError("KeyError", "'Revenue'"), 0.25)
    good = Attempt(2, Action("Strip the names.", "1 + 2", usage=Usage(20, 7), model="m"), done=True)
    printed = {"output_type": "stream", "name": "stdout", "text": "hi\n"}
    good.observation = Observation([printed, DONE], duration=0.5)
    return Trajectory(
        "sum by region\nsorted",
        id="a1b2c3",
        attempts=[failed, good],
        answers=[Answer(Action("North leads.", model="m"), (Verdict("x > 1", True),), 2)],
        tier="A",
        inputs=(Input("sales.csv", 12, "ab" * 16),),
        variables={"limit": "5", "df": ""},
    )


def validate(part: str, record: object) -> None:
    jsonschema.validate(record, {**SCHEMA, "$ref": f"#/$defs/{part}"})


def roles(notebook) -> list[str]:
    return [cell.metadata.jupyter_codeagent.role for cell in notebook.cells]


def made_of(trajectory, attempts=False):
    return of_tasks([trajectory], "n.ipynb", attempts)


def test_solved_task_becomes_task_explanation_code_and_answer():
    notebook = made_of(solved())
    nbformat.validate(notebook)
    assert roles(notebook) == ["explanation", "task", "explanation", "explanation", "accepted", "answer"]
    assert notebook.cells[0].source == "limit = 5" and notebook.cells[0].metadata.tags == ["parameters"]
    assert notebook.cells[1].source == "> sum by region\n> sorted"
    assert "`df`" in notebook.cells[2].source
    code = notebook.cells[4]
    assert code.source == "1 + 2"
    assert [o.output_type for o in code.outputs] == ["stream", "execute_result"]
    assert code.outputs[1].execution_count == code.execution_count == 2
    assert notebook.cells[-1].source == "North leads."


def test_metadata_follows_the_published_schema():
    for attempts in (False, True):
        notebook = made_of(solved(), attempts)
        validate("notebook", notebook.metadata.jupyter_codeagent)
        for cell in notebook.cells:
            validate("cell", cell.metadata.jupyter_codeagent)


def test_attempt_record_says_what_the_attempt_was():
    record = made_of(solved(), attempts=True).cells[3].metadata.jupyter_codeagent
    assert record == {
        "version": 1,
        "role": "attempt",
        "task": "a1b2c3",
        "attempt": 1,
        "status": "failed",
        "model": "m",
        "duration": 0.25,
        "tokens": {"input": 10, "output": 5, "cache_read": 0},
        "tier": "A",
        "rolled_back": True,
        "hash": code_hash("df['Revenue']"),
        "explanation": "Try.",
        "notes": [],
    }


def test_code_that_the_user_changed_when_accepting_it_is_saved_as_changed():
    trajectory = solved()
    trajectory.attempts[1].accepted, trajectory.attempts[1].taken = True, "2 + 2"
    cell = made_of(trajectory).cells[4]
    assert cell.source == "2 + 2" and cell.outputs == []
    assert cell.metadata.jupyter_codeagent.hash == code_hash("2 + 2")


def test_records_of_earlier_versions_stay_valid():
    record = dict(made_of(solved(), attempts=True).cells[3].metadata.jupyter_codeagent)
    del record["explanation"], record["notes"]
    validate("cell", record)


@pytest.mark.parametrize("ending", [{}, {"stopped": True}, {"queued": True}, {"failure": "It broke."}])
def test_an_agent_cells_record_follows_the_schema(ending):
    trajectory = replace(solved(), **ending)
    validate("cell", task_record(trajectory))
    assert task_record(trajectory)["hash"] == code_hash("sum by region\nsorted")


def test_failed_attempts_are_left_out_unless_asked_for():
    assert "df['Revenue']" not in nbformat.writes(made_of(solved()))
    cell = made_of(solved(), attempts=True).cells[3]
    assert cell.source == "%%attempt a1b2c3.1\ndf['Revenue']"
    assert cell.metadata.tags == ["skip-execution"]
    assert cell.metadata.collapsed is True
    assert cell.outputs[0].ename == "KeyError"
    assert cell.execution_count is None


def test_unsolved_task_says_why():
    trajectory = solved()
    trajectory.answers, trajectory.stopped = [], True
    notebook = made_of(trajectory)
    assert notebook.cells[-1].source.startswith("**Not solved.** Stopped by the user")
    validate("notebook", notebook.metadata.jupyter_codeagent)


def test_absolute_paths_of_inputs_stay_out_of_the_metadata():
    trajectory = solved()
    trajectory.inputs = (Input("/home/me/x.csv", 1, "ab" * 16), Input("../y.csv", 1, "ab" * 16))
    assert made_of(trajectory).metadata.jupyter_codeagent.inputs == []


def test_markdown_of_a_model_loads_nothing_when_opened():
    text = harmless("see ![x](http://evil/?d=1) <img src=x> <IFRAME src=y></iframe> a < b, <b>bold</b>")
    assert "![" not in text.replace("!\\[", "")
    assert "<img" not in text and "<IFRAME" not in text and "</iframe" not in text
    assert "a < b, <b>bold</b>" in text


@settings(max_examples=50, deadline=None)
@given(
    text=st.text(st.characters(codec=None)),
    value=st.recursive(st.none() | st.floats() | st.text(), lambda inner: st.lists(inner, max_size=3)),
    task=st.text(st.characters(codec=None), max_size=30),
)
def test_hostile_outputs_and_names_cannot_break_the_file(tmp_path_factory, text, value, task):
    trajectory = solved()
    trajectory.task, trajectory.id = task, text
    trajectory.inputs = ()
    good = trajectory.attempts[1]
    data = {"text/plain": text, "application/json": value, "text/html": [text, text]}
    good.action = Action(text, text, model=text)
    good.observation = Observation(
        [
            {"output_type": "display_data", "data": data, "metadata": {text: value}},
            {"output_type": "stream", "name": text, "text": text, "more": value},
            {"output_type": "error", "ename": text, "evalue": text, "traceback": [text]},
            {"output_type": text},
        ]
    )
    path = tmp_path_factory.mktemp("hostile") / "n.ipynb"
    save_notebook(trajectory, path, attempts=True)
    json.loads(path.read_text("utf-8"), parse_constant=pytest.fail)
    notebook = read_notebook(path)
    validate("notebook", notebook.metadata.jupyter_codeagent)


@pytest.mark.parametrize("held", [5, None, "text", [1], {"text/plain": 5}, {"\ud800": {"a": 1}}])
@pytest.mark.parametrize("kind", ["display_data", "execute_result", "error", "stream", None])
def test_outputs_of_a_file_may_hold_anything(tmp_path, kind, held):
    trajectory = solved()
    output = {"output_type": kind, **dict.fromkeys(("data", "metadata", "traceback", "text", "ename"), held)}
    trajectory.attempts[1].observation = Observation([output])
    path = save_notebook(Trajectory.load(trajectory.save(tmp_path / "t.jsonl")), tmp_path / "n.ipynb")
    assert read_notebook(path).cells and isinstance(trajectory.attempts[1].observation.text, str)


def test_saved_notebook_runs_without_this_package(tmp_path):
    path = save_notebook(solved(), tmp_path / "n.ipynb", attempts=True)
    cells = [c for c in read_notebook(path).cells if c.cell_type == "code" and "tags" not in c.metadata]
    script = "import sys\nsys.modules['jupyter_codeagent'] = None\n" + "\n".join(c.source for c in cells)
    assert subprocess.run([sys.executable, "-I", "-c", script], cwd=tmp_path).returncode == 0


def test_saving_never_overwrites_unless_told(tmp_path):
    path = tmp_path / "n.ipynb"
    path.write_text("mine")
    with pytest.raises(NotebookError, match=r"n\.ipynb' exists and was not touched"):
        save_notebook(solved(), path)
    assert path.read_text() == "mine"
    save_notebook(solved(), path, overwrite=True)
    assert read_notebook(path).nbformat_minor == 5
    assert set(os.listdir(tmp_path)) <= {"n.ipynb", "n.requirements.txt"}


def test_overwriting_keeps_the_file_mode(tmp_path):
    path = tmp_path / "n.ipynb"
    path.write_text("")
    path.chmod(0o640)
    save_notebook(solved(), path, overwrite=True)
    assert path.stat().st_mode & 0o777 == 0o640


def test_nothing_to_save_is_one_sentence(tmp_path):
    with pytest.raises(NotebookError, match="nothing to save"):
        save_notebook(Trajectory("x"), tmp_path / "n.ipynb")


def test_missing_folder_and_folder_as_name_are_one_sentence_each(tmp_path):
    with pytest.raises(NotebookError, match="There is no folder"):
        save_notebook(solved(), tmp_path / "no" / "n.ipynb")
    with pytest.raises(NotebookError, match="is a folder"):
        save_notebook(solved(), tmp_path)


def test_full_disk_leaves_the_old_file_and_says_so(tmp_path):
    # a file-size limit makes the kernel refuse the write half-way, as a full disk does
    path = tmp_path / "n.ipynb"
    path.write_text("old")
    code = f"""
import resource, signal
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
from tests.test_notebook import solved
from jupyter_codeagent import save_notebook
resource.setrlimit(resource.RLIMIT_FSIZE, (500, 500))
save_notebook(solved(), {str(path)!r}, overwrite=True)
"""
    root = Path(__file__).parents[1]
    done = subprocess.run([sys.executable, "-c", code], cwd=root, capture_output=True, text=True)
    assert "NotebookError" in done.stderr and "nothing changed" in done.stderr
    assert path.read_text() == "old"
    assert set(os.listdir(tmp_path)) <= {"n.ipynb", "n.requirements.txt"}


def test_read_only_folder_is_one_sentence(tmp_path):
    folder = tmp_path / "locked"
    folder.mkdir()
    folder.chmod(0o555)
    if os.geteuid() == 0:  # root may write anywhere but into /proc
        folder = Path("/proc/self/task")
    with pytest.raises(NotebookError, match=r"read-only|was not written"):
        save_notebook(solved(), folder / "n.ipynb")


def test_free_path_counts_up(tmp_path):
    path = tmp_path / "a.solved.ipynb"
    assert free_path(path) == path
    path.touch()
    assert free_path(path).name == "a-2.solved.ipynb"
    (tmp_path / "a-2.solved.ipynb").touch()
    assert free_path(path).name == "a-3.solved.ipynb"


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        (b"not json", "is not JSON"),
        (b"\xff\xfe\x00", "is not JSON"),
        (b"[" * 200_000, "is not"),
        *((text, "is not a notebook") for text in (b"[]", b"null", b"5", b"true", b'"text"', b"NaN")),
        (b'{"cells": []}', "is not a notebook"),
        (b'{"nbformat": 3, "worksheets": []}', "has notebook format 3"),
        (b'{"nbformat": 4, "nbformat_minor": 5, "metadata": {}, "cells": [{}]}', "is not a valid notebook"),
        (b'{"nbformat": 4, "nbformat_minor": 5, "metadata": [], "cells": []}', "is not a valid notebook"),
        (b'{"nbformat": 4, "nbformat_minor": "x", "metadata": {}, "cells": []}', "is not a valid notebook"),
        (b'{"nbformat": 4, "nbformat_minor": 1e308, "metadata": {}, "cells": []}', "is not a valid notebook"),
        (b'{"nbformat": 4, "nbformat_minor": -1, "metadata": {}, "cells": []}', "is not a valid notebook"),
        (
            b'{"nbformat": 4, "nbformat_minor": 5, "metadata": {"kernelspec": {"name": "ir",'
            b'"display_name": "R", "language": "R"}}, "cells": []}',
            "is in 'r'",
        ),
    ],
)
def test_foreign_and_broken_files_are_one_sentence_each(tmp_path, content, sentence):
    path = tmp_path / "n.ipynb"
    path.write_bytes(content)
    with pytest.raises(NotebookError, match=sentence) as caught:
        read_notebook(path)
    assert str(path) in str(caught.value) and "\n" not in str(caught.value)


@pytest.mark.parametrize("read", [read_notebook, verify_notebook, minimise_notebook])
@pytest.mark.parametrize("name", ["loop.ipynb", "x" * 300 + ".ipynb", "a\0.ipynb"])
def test_names_that_lead_nowhere_are_one_sentence(tmp_path, name, read):
    path = tmp_path / name
    if name.startswith("loop"):
        path.symlink_to(name)
    with pytest.raises(NotebookError, match=r"cannot be (read|written)") as caught:
        read(path)
    assert "\n" not in str(caught.value)


def test_missing_notebook_and_folder_are_one_sentence_each(tmp_path):
    with pytest.raises(NotebookError, match="There is no notebook"):
        read_notebook(tmp_path / "n.ipynb")
    with pytest.raises(NotebookError, match="cannot be read"):
        read_notebook(tmp_path)


def test_older_format_4_is_brought_up_to_date(tmp_path):
    old = {
        "nbformat": 4,
        "nbformat_minor": 2,
        "metadata": {},
        "cells": [{"cell_type": "code", "source": ["1 + 1\n"], "metadata": {}, "outputs": [], "execution_count": None}],
    }
    path = tmp_path / "n.ipynb"
    path.write_text(json.dumps(old))
    notebook = read_notebook(path)
    assert notebook.nbformat_minor == 5 and notebook.cells[0].source == "1 + 1\n" and notebook.cells[0].id
    write_notebook(notebook, tmp_path / "new.ipynb")


def test_writing_an_invalid_notebook_is_refused(tmp_path):
    notebook = made_of(solved())
    notebook.cells[0].cell_type = "poem"
    with pytest.raises(NotebookError, match="was not written"):
        write_notebook(notebook, tmp_path / "n.ipynb")
    assert os.listdir(tmp_path) == []


def test_check_writable_agrees_with_a_free_name(tmp_path):
    check_writable(tmp_path / "n.ipynb")
