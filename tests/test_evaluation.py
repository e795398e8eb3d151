"""A small evaluation, from the task to the graded file: what ``python -m tests.evaluation`` does with a larger one."""

import json
import shutil
from pathlib import Path

import pytest
from nbformat import read

from tests.evaluation import evaluate, main, tasks_in

FOLDER = Path(__file__).parent / "data" / "evaluation"
TASKS = {task["id"]: task for task in tasks_in(FOLDER)}


@pytest.mark.parametrize("name", TASKS)
def test_solved_tasks_verify_and_pass_also_after_an_attempt_that_failed(tmp_path, name):
    outcome = evaluate(TASKS[name], FOLDER, tmp_path, plant=True)
    assert outcome.good, outcome.why
    collapsed = [c for c in read(tmp_path / "solved.ipynb", as_version=4).cells if c.source.startswith("%%attempt")]
    assert len(collapsed) == len(TASKS[name].get("turns", "1"))


def test_a_wrong_solution_verifies_and_does_not_pass(tmp_path, capsys):
    shutil.copytree(FOLDER, tmp_path / "tasks")
    task = json.loads(json.dumps(TASKS["basket"]))
    task["reference"]["code"][1] = "total, counts = 7, {}"
    (tmp_path / "tasks" / "tasks_own.jsonl").write_text(json.dumps(task) + "\n")
    assert main([str(tmp_path / "tasks"), "--keep", str(tmp_path / "kept")]) == 1
    said = capsys.readouterr().out
    assert "AssertionError" in said and "1 are verified and 0 pass" in said
    assert (tmp_path / "kept" / "basket" / "solved.ipynb").is_file()
