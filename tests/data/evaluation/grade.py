"""Grades the tasks beside it: ``grade.py grade ID --notebook FILE`` and ``grade.py run SUBMISSIONS.jsonl``.

The submitted code runs after the task's setup, in a folder with the task's files, and then the task's check, Python
that may use the variables. For a task with turns, the code is a list, and each turn has its own check.
"""

import json
import os
import shutil
import sys
import tempfile
from pathlib import Path

HERE = Path(__file__).resolve().parent
TASKS = {task["id"]: task for task in map(json.loads, (HERE / "tasks_own.jsonl").read_text().splitlines())}


def agents_code(path):
    cells = json.loads(Path(path).read_text())["cells"]
    codes = ["".join(cell["source"]) for cell in cells if cell["cell_type"] == "code" and not tagged(cell)]
    return "\n".join(code for code in codes if not code.startswith("%"))


def tagged(cell):
    return "setup" in cell["metadata"].get("tags", [])


def grade(task, codes):
    turns = task.get("turns") or [task]
    variables = {}
    with tempfile.TemporaryDirectory() as place:
        os.chdir(place)
        for name, file in task.get("files", {}).items():
            shutil.copyfile(HERE / file["path"], name) if "path" in file else Path(name).write_text(file["text"])
        try:
            exec(task.get("setup", ""), variables)
            for turn, code in zip(turns, codes, strict=True):
                exec(turn.get("before", ""), variables)
                exec(code, variables)
                exec(turn["check"], variables)
        except Exception as error:
            return {"id": task["id"], "pass": False, "detail": f"{type(error).__name__}: {error}"}
        finally:
            os.chdir(HERE)
    return {"id": task["id"], "pass": True, "detail": ""}


if sys.argv[1] == "run":
    for given in map(json.loads, Path(sys.argv[2]).read_text().splitlines()):
        print(json.dumps(grade(TASKS[given["id"]], given["code"])))
else:
    print(json.dumps(grade(TASKS[sys.argv[2]], [agents_code(sys.argv[4])])))
