"""Notebooks with agent cells, run without a person."""

import _thread
import os
import threading

import pytest
from nbformat import v4

from jupyter_codeagent import Action, Sandbox, SandboxPolicy, ScriptedModel, Trajectory, verify_notebook
from jupyter_codeagent.errors import BadReply, NoModel, TrajectoryError, WrongUse
from jupyter_codeagent.headless import NotebookRun, agent_cell, check_free, longest_timeout
from jupyter_codeagent.notebook_file import write_notebook


def notebook(*sources):
    return v4.new_notebook(cells=[v4.new_code_cell(source) for source in sources])


def run(tmp_path, made, *actions, **options):
    with Sandbox(SandboxPolicy(workspace=tmp_path)) as sandbox:
        ran = NotebookRun(made, sandbox, ScriptedModel(actions), **options)
        steps = list(ran.steps())
        return ran, steps


def test_agent_cells_are_solved_on_the_state_of_the_cells_above(tmp_path):
    (tmp_path / "x.txt").write_text("20")
    made = notebook(
        "%load_ext jupyter_codeagent",
        "import yaml\nx = int(open('x.txt').read())\nx",
        "%%agent --check 'y == 40'\ndouble x",
        "print(y)",
        "%%agent\nadd two",
    )
    first = [Action("", "oops"), Action("Double it.", "y = 2 * x"), Action("40.")]
    ran, steps = run(tmp_path, made, *first, Action("", "y += 2\ny"), Action("42."))
    assert not ran.failure
    assert [t.status for t in ran.trajectories] == ["solved", "solved"]
    assert [a.status for t in ran.trajectories for a in t.attempts] == ["failed", "accepted", "accepted"]
    assert "x = int" in ran.trajectories[0].context
    path = write_notebook(ran.solved(), tmp_path / "n.ipynb")
    assert [c.source for c in ran.solved().cells] == [
        "import yaml\nx = int(open('x.txt').read())\nx",
        "> double x", "Double it.", "y = 2 * x", "40.", "print(y)", "> add two", "y += 2\ny", "42.",
    ]  # fmt: skip
    record = ran.solved().metadata.jupyter_codeagent
    assert record["status"] == "solved" and record["attempts"] == 3
    assert "PyYAML" in record["environment"] and [i["name"] for i in record["inputs"]] == ["x.txt"]
    report = verify_notebook(path)
    assert report.ok and report.executed == 4, str(report)
    assert {s.cell for s in steps} == {2, 3, 4, 5}
    ended = [n for n, s in enumerate(steps) if s.trajectory and not s.attempt]
    assert [steps[n].cell for n in ended] == [3, 5] and steps[ended[0] + 1].cell == 4


def test_failed_attempts_are_kept_when_asked_for(tmp_path):
    ran, _ = run(tmp_path, notebook("%%agent\nx"), Action("", "1/0"), Action("", "1"), Action("ok"), attempts=True)
    assert ran.solved().cells[1].source.startswith("%%attempt ")
    assert ran.solved().cells[1].execution_count is None


def test_failing_cell_ends_the_run_and_the_rest_stays(tmp_path):
    ran, _ = run(tmp_path, notebook("1/0", "%%agent\nsum"))
    assert "Cell 1 failed" in ran.failure and "ZeroDivisionError" in ran.failure
    assert ran.solved().cells[1].source == "%%agent\nsum"
    assert ran.solved().cells[0].outputs[0].ename == "ZeroDivisionError"


def test_unsolved_cell_ends_the_run(tmp_path):
    ran, _ = run(tmp_path, notebook("%%agent --attempts 1\nx", "print(1)"), Action("", "1/0"))
    assert "Cell 1 was not solved" in ran.failure
    assert ran.solved().cells[-1].source == "print(1)" and not ran.solved().cells[-1].outputs


def test_failing_model_keeps_what_was_done(tmp_path):
    ran, _ = run(tmp_path, notebook("%%agent\nx"), Action("", "y = 1"))
    assert isinstance(ran.error, BadReply)
    assert "y = 1" in [c.source for c in ran.solved().cells]


def test_trajectories_are_written_with_how_they_ended(tmp_path):
    path = tmp_path / "t.jsonl"
    made = notebook("%%agent\nx", "%%agent\ny")
    run(tmp_path, made, Action("", "x = 1"), Action("one"), Action("", "y = 2"), trajectory=path)
    assert Trajectory.load(path).answer == "one"
    second = Trajectory.load(tmp_path / "t-2.jsonl")
    assert second.status == "failed" and second.failure and second.attempts[0].action.code == "y = 2"
    with pytest.raises(TrajectoryError, match=r"t-2.jsonl' exists and was not touched"):
        path.unlink()
        check_free(path, 2)


def test_failing_model_before_any_attempt_rises(tmp_path):
    with pytest.raises(BadReply):
        run(tmp_path, notebook("%%agent\nx"))


def test_missing_model_of_a_later_cell_is_not_taken_for_an_end_of_the_earlier(tmp_path, monkeypatch):
    for name in [n for n in os.environ if n.startswith("ANTHROPIC")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("ANTHROPIC_CONFIG_DIR", str(tmp_path))
    made = notebook("%%agent\nx", "%%agent --model nowhere\ny", "z")
    ran, _ = run(tmp_path, made, Action("", "1"), Action("ok"))
    assert isinstance(ran.error, NoModel) and ran.failure.startswith("The run ended in cell 2: ")
    assert [t.status for t in ran.trajectories] == ["solved"]
    assert [c.source for c in ran.solved().cells] == ["> x", "1", "ok", "%%agent --model nowhere\ny", "z"]


def test_stopping_in_a_later_cell_keeps_what_was_solved(tmp_path):
    made = notebook("%%agent\nx", "import time\ntime.sleep(100)", "z")
    with Sandbox(SandboxPolicy(workspace=tmp_path)) as sandbox:
        ran = NotebookRun(made, sandbox, ScriptedModel([Action("", "x = 1"), Action("ok")]))
        steps = ran.steps()
        while not (step := next(steps)).trajectory or step.attempt:
            pass  # up to the end of the task
        stop = threading.Timer(0.5, _thread.interrupt_main)
        stop.start()
        assert list(steps) == []
    assert ran.stopped and ran.failure == "Stopped in cell 2."
    assert [c.source for c in ran.solved().cells] == ["> x", "x = 1", "ok", "import time\ntime.sleep(100)", "z"]


def test_solved_notebook_opens_without_this_package_and_names_no_run_of_another(tmp_path):
    made = notebook("x = 1", "%%agent\nx")
    made.metadata["kernelspec"] = {"name": "codeagent-sandbox", "display_name": "S", "language": "python"}
    made.metadata["papermill"] = made.cells[0].metadata["papermill"] = {"input_path": str(tmp_path)}
    made.metadata["title"] = "Mine"
    ran, _ = run(tmp_path, made, Action("", "x"), Action("1"))
    metadata = ran.solved().metadata
    assert metadata["kernelspec"]["name"] == "python3" and metadata["title"] == "Mine"
    assert "papermill" not in metadata and "papermill" not in ran.solved().cells[0].metadata
    assert made.metadata["papermill"] and made.metadata["kernelspec"]["name"] == "codeagent-sandbox"


def test_what_only_a_person_can_do_is_left_out_with_a_word(tmp_path):
    made = notebook("%agent diff\nx = 1", "%agent accept 1", "%%attempt t.1\n1/0", "%%agent\nx")
    ran, steps = run(tmp_path, made, Action("", "x"), Action("1"))
    assert not ran.failure
    assert [(s.cell, s.note) for s in steps if s.note] == [
        (1, "'%agent diff' is for a person at the notebook, and is left out"),
        (2, "'%agent accept 1' is for a person at the notebook, and is left out"),
        (3, "an attempt that was not accepted is left as it is, and not run"),
    ]
    assert [c.source.strip() for c in ran.solved().cells] == ["x = 1", "%%attempt t.1\n1/0", "> x", "x", "1"]


def test_notebook_without_agent_cells_is_refused(tmp_path):
    with pytest.raises(WrongUse, match="no %%agent cell"):
        run(tmp_path, notebook("1"))


def test_files_of_a_cell_are_found_in_the_notebooks_folder(tmp_path):
    (tmp_path / "a.csv").write_text("a\n1\n")
    ran, _ = run(tmp_path, notebook("%%agent --files *.csv\nsum"), Action("", "open('a.csv').read()"), Action("1"))
    assert [i.name for i in ran.trajectories[0].inputs] == ["a.csv"]


@pytest.mark.parametrize("source", ["%%agent", "%%agent --nonsense\nx", "%%agent --attempts 0\nx", "%%agent 'x\ny"])
def test_wrong_agent_cell_is_one_sentence(source):
    with pytest.raises(WrongUse):
        agent_cell(source)


def test_longest_timeout_serves_all_cells():
    assert longest_timeout(notebook("1", "%%agent --timeout 5\nx", "%%agent --timeout 90\ny", "%%agent\nz")) == 90
    assert longest_timeout(notebook("%%agent\nz")) is None
