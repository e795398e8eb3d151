"""Saved notebooks executed in a fresh sandbox."""

import json
import os
import signal
import threading

import pytest
from nbformat import v4

from jupyter_codeagent import Action, Attempt, Observation, SandboxPolicy, Trajectory, save_notebook, verify_notebook
from jupyter_codeagent.errors import NotebookError
from jupyter_codeagent.notebook_file import read_notebook, write_notebook


def written(folder, *cells, metadata=None):
    notebook = v4.new_notebook(cells=list(cells), metadata=metadata or {})
    return write_notebook(notebook, folder / "n.ipynb", overwrite=True)


def code(source, *texts, result=None, error="", said="", tags=()):
    outputs = [v4.new_output("stream", name="stdout", text=t) for t in texts]
    outputs += [v4.new_output("execute_result", data={"text/plain": result}, execution_count=1)] if result else []
    outputs += [v4.new_output("error", ename=error, evalue=said, traceback=[])] if error else []
    return v4.new_code_cell(source, outputs=outputs, metadata={"tags": list(tags)} if tags else {})


def test_honest_notebook_is_verified(tmp_path):
    (tmp_path / "a.txt").write_text("hello")
    path = written(
        tmp_path,
        v4.new_markdown_cell("# Title"),
        code("import sys\nx = 1\nobject()", result="<object at 0x7f0000000000>"),
        code("print(open('a.txt').read())", "hello\n"),
        code("x + 1", result="2"),
    )
    report = verify_notebook(path)
    assert report.ok, str(report)
    assert report.executed == 3 and report.tier == "A"
    assert report.environment["python"].startswith("3.")


def test_differences_are_named_cell_by_cell(tmp_path):
    path = written(tmp_path, code("print(1)", "2\n"), code("1 + 1", result="2"), code("3"), code("4", "four"))
    report = verify_notebook(path)
    assert not report.ok
    assert [(d.cell, d.kind) for d in report.cells] == [(1, "text"), (3, "extra"), (4, "missing"), (4, "extra")]


def test_error_ends_the_run_and_says_what_was_not_run(tmp_path):
    path = written(tmp_path, code("x = 1"), code("y", result="5"), code("print(2)", "2\n"))
    report = verify_notebook(path)
    assert [(d.cell, d.kind) for d in report.cells] == [(2, "error"), (3, "not run")]
    assert "NameError: name 'y' is not defined" in report.cells[0].detail


def test_expected_error_is_no_difference(tmp_path):
    failing = code("1/0", error="ZeroDivisionError", said="division by zero", tags=["raises-exception"])
    assert verify_notebook(written(tmp_path, failing, code("2", result="2"))).ok


def test_error_of_the_file_that_is_gone_is_a_difference(tmp_path):
    report = verify_notebook(written(tmp_path, code("1", result="1", error="ValueError")))
    assert [d.kind for d in report.cells] == ["missing"]


def test_attempts_agent_cells_and_own_magics_are_left_out(tmp_path):
    path = written(
        tmp_path,
        code("%load_ext jupyter_codeagent\nx = 1"),
        code("%%attempt ab12.1\n1/0", error="ZeroDivisionError"),
        code("1/0", tags=["skip-execution"]),
        code("%%agent\nsum it up"),
        code("%agent status"),
        code("x", result="1"),
    )
    report = verify_notebook(path)
    assert report.ok and report.executed == 2, str(report)


def test_each_run_is_fresh_and_changes_nothing(tmp_path):
    path = written(tmp_path, code("import os\nprint(os.path.exists('made'))\nopen('made', 'w').close()", "False\n"))
    before = path.read_bytes()
    assert verify_notebook(path, stamp=False).ok and verify_notebook(path, stamp=False).ok
    assert path.read_bytes() == before and not (tmp_path / "made").exists()


def test_pictures_are_compared_by_their_pixels(tmp_path):
    draw = "%matplotlib inline\nimport matplotlib.pyplot as plt\nplt.plot([1, 2]);"
    cell = v4.new_code_cell(draw)
    png = {"image/png": "iVBORw0KGgo=", "text/plain": "<Figure size 640x480 with 1 Axes>"}
    cell.outputs = [v4.new_output("display_data", data=png)]
    report = verify_notebook(written(tmp_path, cell))
    assert [d.detail for d in report.cells] == [
        "output 1: the picture is another one, and could not be compared by its pixels."
    ]


def test_inputs_are_looked_at_below_the_folder_only(tmp_path):
    folder = tmp_path / "work"
    folder.mkdir()
    (folder / "a.csv").write_text("a")
    (tmp_path / "b.csv").write_text("b")
    listed = [{"name": name, "size": 1, "blake2b": "0" * 32} for name in ("a.csv", "c.csv", "../b.csv", "/etc/passwd")]
    path = written(folder, code("1", result="1"), metadata={"jupyter_codeagent": {"inputs": [*listed, 7, {"name": 3}]}})
    report = verify_notebook(path)
    assert [(i.name, i.state) for i in report.inputs] == [("a.csv", "changed"), ("c.csv", "missing")]
    assert [(d.cell, d.kind) for d in report.cells] == [(0, "input"), (0, "input")] and not report.ok
    assert "has changed since it was recorded" in str(report) and "is missing" in str(report)


def test_progress_is_told_before_each_cell_and_at_the_end(tmp_path):
    told = []
    path = written(tmp_path, code("1", result="1"), v4.new_markdown_cell("# Title"), code("2", result="2"))
    verify_notebook(path, progress=lambda done, total: told.append((done, total)))
    assert told == [(0, 2), (1, 2), (2, 2)]
    told.clear()
    verify_notebook(written(tmp_path, code("1/0"), code("2")), progress=lambda *seen: told.append(seen))
    assert told == [(0, 2), (1, 2)]


def test_policy_of_the_caller_counts(tmp_path):
    path = written(tmp_path, code("while True: pass"))
    report = verify_notebook(path, SandboxPolicy(workspace=tmp_path, timeout=1))
    assert "TimedOut" in report.cells[0].detail


def test_hostile_metadata_is_no_metadata(tmp_path):
    path = written(tmp_path, code("1", result="1"), metadata={"jupyter_codeagent": ["status", "solved"]})
    assert verify_notebook(path).ok


def test_outputs_that_no_sandbox_lets_out_are_named(tmp_path):
    cell = v4.new_code_cell("x = 1", outputs=[v4.new_output("display_data", data={"application/x.chart+json": {}})])
    cell.outputs[0].data["text/plain"] = ""
    report = verify_notebook(written(tmp_path, cell), stamp=False, runs=1)
    assert any("Cell 1 shows application/x.chart+json, which no sandbox lets out" in note for note in report.notes)


def test_notebook_without_code_is_not_verified(tmp_path):
    skipped = code("1", tags=["skip-execution"])
    path = written(tmp_path, v4.new_markdown_cell("# Title"), code("%%agent\nsum it up"), skipped)
    report = verify_notebook(path)
    assert not report.ok and not report.to_dict()["ok"] and report.executed == 0
    assert "not verified; there was nothing to execute" in str(report)


def test_variables_that_the_notebook_lacks_are_named(tmp_path):
    task = Trajectory("x", variables={"df": "", "rate": "2", "names": ""}, attempts=[Attempt(1, Action("", "len(df)"))])
    task.attempts[0].observation, task.attempts[0].done = Observation(), True
    path = save_notebook(task, tmp_path / "s.ipynb")
    report = verify_notebook(path)
    assert "the notebook needs these variables: df, names; set them" in str(report) and "NameError" in str(report)
    saved = read_notebook(path)
    saved.cells.insert(0, code("df = [1]"))
    assert verify_notebook(write_notebook(saved, tmp_path / "t.ipynb")).executed == 3


def test_other_names_that_are_missing_are_no_variables_of_the_task(tmp_path):
    record = {"jupyter_codeagent": {"variables": ["df", 7, "a b", None]}}
    report = verify_notebook(written(tmp_path, code("df = 1"), code("fd"), metadata=record))
    assert report.cells[0].detail == "it uses 'fd', which no cell sets (NameError: name 'fd' is not defined)."


@pytest.mark.parametrize("content", ["{", json.dumps({"nbformat": 3}), "[]"])
def test_broken_notebook_is_one_sentence(tmp_path, content):
    path = tmp_path / "n.ipynb"
    path.write_text(content)
    with pytest.raises(NotebookError):
        verify_notebook(path)


def test_recorded_time_zone_counts(tmp_path):
    record = {"jupyter_codeagent": {"version": 1, "locale": {"timezone": "Asia/Kolkata", "lang": "C.UTF-8"}}}
    path = written(tmp_path, code("import time\nprint(time.localtime(0).tm_hour)", "5\n"), metadata=record)
    assert verify_notebook(path).ok


def test_interrupt_leaves_all_as_it_was(tmp_path):
    path = written(tmp_path, code("open('made', 'w').close()"), code("import time\ntime.sleep(60)"))
    before = path.read_bytes(), sorted(tmp_path.iterdir())

    def stop_the_second(done, total):
        if done == 1:
            threading.Timer(0.2, os.kill, (os.getpid(), signal.SIGINT)).start()

    with pytest.raises(KeyboardInterrupt):
        verify_notebook(path, progress=stop_the_second)
    assert (path.read_bytes(), sorted(tmp_path.iterdir())) == before


def test_cells_that_await_wait_for_input_or_take_parameters(tmp_path):
    asking = code("input('name? ')", error="StdinNotImplementedError", tags=["raises-exception"])
    asking.outputs[0].evalue = "input() is not available in the sandbox: nobody can answer. Set the value in the code."
    waiting = code("import asyncio\nawait asyncio.sleep(0)\nprint(n)", "3\n")
    assert verify_notebook(written(tmp_path, asking, code("n = 3", tags=["parameters"]), waiting)).ok
    report = verify_notebook(written(tmp_path, code("x = input()", "5")))
    assert "nobody can answer. Set the value in the code" in str(report)


def test_frames_are_as_wide_as_in_a_notebook(tmp_path):
    cell = code("import pandas as pd\npd.get_option('display.max_columns')", result="20")
    assert verify_notebook(written(tmp_path, cell)).ok


def test_runs_is_one_two_or_none(tmp_path):
    with pytest.raises(ValueError, match="runs is 3; give 1, 2 or None"):
        verify_notebook(tmp_path / "n.ipynb", runs=3)


def test_process_that_a_cell_may_end_is_brought_back_for_the_next(tmp_path):
    killing = code("import os\nos.kill(os.getpid(), 9)", error="Crashed", tags=["raises-exception"])
    path = written(tmp_path, code("x = 1"), killing, code("x", result="1"), code("os.kill(os.getpid(), 9)"))
    report = verify_notebook(path)
    assert [d.cell for d in report.cells][-1] == 4 and 3 not in [d.cell for d in report.cells]
