"""Evaluation tasks solved by their reference code, saved as notebooks, verified, and graded from the file alone.

For a folder with ``tasks*.jsonl`` and ``grade.py``::

    python -m tests.evaluation FOLDER [ID...] [--keep FOLDER] [--plant]

Each line of the files is a task: ``id``, ``category``, ``prompt`` (or ``turns``, each with ``prompt`` and perhaps
``before``, code that the user runs first), ``files`` (name to ``{"text": ...}`` or ``{"path": ...}`` below the folder),
``setup`` (code that has run in the notebook before) and ``reference`` (with ``code``, for turns a list). A model that
replies with the reference's code solves it in a real sandbox; the notebook is saved, verified, and given to
``grade.py``. A task with turns is graded by the code of each turn as the notebook holds it, as what the user runs in
between is none of the agent's. With ``--plant``, each task's first attempt fails, and is kept in the file.
"""

import argparse
import ast
import json
import shutil
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

from nbformat import read, v4, validate

from jupyter_codeagent import Action, Sandbox, SandboxPolicy, ScriptedModel, save_notebook, solve, verify_notebook
from jupyter_codeagent.headless import NotebookRun
from jupyter_codeagent.notebook import KEY
from jupyter_codeagent.notebook_file import write_notebook

CATEGORIES = {"data-analysis", "ds-code", "function", "maths", "tools", "session"}  # those that are notebooks
FAILING = "planted = 'by an attempt that fails'\nmissing_name"


@dataclass
class Outcome:
    """What became of one task; `why` says what is wrong, and is empty where nothing is."""

    id: str
    verified: bool
    graded: bool
    why: str = ""

    @property
    def good(self):
        return self.verified and self.graded


def tasks_in(folder):
    """Return the tasks that can be notebooks, in order."""
    lines = [line for file in sorted(folder.glob("tasks*.jsonl")) for line in file.read_text().splitlines()]
    found = [json.loads(line) for line in lines if line.strip()]
    return [task for task in found if task["category"] in CATEGORIES]


def put_files(task, source, folder):
    for name, file in (task.get("files") or {}).items():
        target = folder / name
        target.parent.mkdir(parents=True, exist_ok=True)
        if "path" in file:
            shutil.copyfile(source / file["path"], target)
        else:
            target.write_text(file["text"])


def turns_of(task):
    """Return prompt, code that the user runs before, and the reference's code, of each request."""
    asked = task.get("turns") or [{"prompt": task["prompt"]}]
    codes = task["reference"]["code"]
    codes = codes if isinstance(codes, list) else [codes]
    return [(turn["prompt"], turn.get("before", ""), code) for turn, code in zip(asked, codes, strict=True)]


def actions(task, code, plant):
    """Return what the model says: perhaps an attempt that fails, the code, a look at what it has set, an answer."""
    steps = [Action("An attempt.", FAILING)] if plant else []
    steps.append(Action("The code.", code))
    if (seen := shown(code)) and "np.random." not in task.get("setup", ""):  # whose values no two runs agree in
        steps.append(Action("What came out.", seen))
    return [*steps, Action(task["reference"].get("answer") or "Done.")]


def shown(code):
    """Return code that shows the variables that `code` sets at its top."""
    targets = [t for step in ast.parse(code).body if isinstance(step, ast.Assign) for t in step.targets]
    names = [n.id for t in targets for n in ast.walk(t) if isinstance(n, ast.Name) and isinstance(n.ctx, ast.Store)]
    names = list(dict.fromkeys(names))
    return f"({', '.join(names)},)" if names else ""


def solved(task, folder, plant):
    """Have the agent solve a task in `folder`; returns the notebook's path."""
    turns, path = turns_of(task), folder / "solved.ipynb"
    if task.get("setup") or len(turns) > 1:
        return solved_in_a_notebook(task, turns, path, plant)
    ((prompt, _, code),) = turns
    done = solve(
        prompt,
        files=[folder / name for name in task.get("files") or {}],
        model=ScriptedModel(actions(task, code, plant)),
        policy=SandboxPolicy(workspace=folder),
    )
    assert done.status == "solved", done.reason
    return save_notebook(done, path, attempts=plant)


def solved_in_a_notebook(task, turns, path, plant):
    """As `solved`, for what begins with the user's own cells, or where they come in between."""
    cells, replies = [own(task["setup"])] if task.get("setup") else [], []
    for prompt, before, code in turns:
        cells += [own(before)] if before else []
        cells.append(v4.new_code_cell(f"%%agent\n{prompt}"))
        replies += actions(task, code, plant)
    with Sandbox(SandboxPolicy(workspace=path.parent)) as sandbox:
        run = NotebookRun(v4.new_notebook(cells=cells), sandbox, ScriptedModel(replies), attempts=plant)
        for _ in run.steps():
            pass
        assert not run.failure, run.failure
        return write_notebook(run.solved(), path)


def own(code):
    """Return a cell of the user's."""
    return v4.new_code_cell(code, metadata={"tags": ["setup"]})


def grade(task, source, path):
    """Return what the folder's grader says of a notebook."""
    command = [sys.executable, source / "grade.py"]
    if task.get("turns"):
        submitted = path.with_name("submitted.jsonl")
        submitted.write_text(json.dumps({"id": task["id"], "code": codes_by_task(path)}) + "\n")
        command += ["run", submitted]
    else:
        command += ["grade", task["id"], "--notebook", path]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    return json.loads(done.stdout.splitlines()[0])


def codes_by_task(path):
    """Return the accepted code of each task in a notebook, in order."""
    found = {}
    for cell in read(path, as_version=4).cells:
        record = cell.metadata.get(KEY, {})
        if record.get("role") == "accepted":
            found.setdefault(record["task"], []).append(cell.source)
    return ["\n".join(codes) for codes in found.values()]


def evaluate(task, source, folder, plant=False):
    """Solve, save, verify and grade one task in the empty `folder`; returns its outcome."""
    put_files(task, source, folder)
    path = solved(task, folder, plant)
    validate(read(path, as_version=4))
    report = verify_notebook(path)
    graded = grade(task, source, path)
    why = [] if report.ok else [f"not verified: {report}"]
    why += [] if graded["pass"] else [f"not passed: {graded['detail']}"]
    return Outcome(task["id"], report.ok, graded["pass"], "; ".join(why))


def main(arguments=None):
    """Evaluate all tasks of a folder; returns 0 if all are verified and pass."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("ids", nargs="*")
    parser.add_argument("--keep", type=Path, help="keep the notebooks in this folder")
    parser.add_argument("--plant", action="store_true", help="have the first attempt at each task fail")
    options = parser.parse_args(arguments)
    source, outcomes = options.folder.resolve(), []
    for task in tasks_in(source):
        if options.ids and task["id"] not in options.ids:
            continue
        with tempfile.TemporaryDirectory() as place:
            folder = Path(options.keep.resolve() if options.keep else place, task["id"])
            folder.mkdir(parents=True)
            try:
                outcome = evaluate(task, source, folder, options.plant)
            except Exception as error:  # one that fails does not hide the others
                outcome = Outcome(task["id"], False, False, f"{type(error).__name__}: {error}")
        outcomes.append(outcome)
        print("good" if outcome.good else "BAD ", outcome.id, outcome.why, flush=True)
    verified, passed = sum(o.verified for o in outcomes), sum(o.graded for o in outcomes)
    print(f"Of {len(outcomes)} notebooks, {verified} are verified and {passed} pass the grader.")
    return 0 if outcomes and all(o.good for o in outcomes) else 1


if __name__ == "__main__":
    sys.exit(main())
