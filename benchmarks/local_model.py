"""What the embedded model solves: generated sales files, and tasks of an evaluation folder, judged by their results.

    python benchmarks/local_model.py                                    # ten sales files, seeds 1 to 10
    python benchmarks/local_model.py --tasks DIR --categories function  # DIR/tasks*.jsonl, judged by DIR/grade.py
    python benchmarks/local_model.py --without reading lessons          # leave helps of the small profile out

A sales task counts only if a variable, or the last value shown, holds the true sums in the right order, whatever
the model says. Prints a table; `--out` writes JSON with every attempt.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

from jupyter_codeagent.agent import Agent
from jupyter_codeagent.context import describe, inputs
from jupyter_codeagent.errors import CodeAgentError
from jupyter_codeagent.models.local import LocalModel
from jupyter_codeagent.models.small import Helps
from jupyter_codeagent.sandbox import Sandbox, SandboxPolicy
from jupyter_codeagent.trajectory import Trajectory

MAKE_SALES = Path(__file__).parent.parent / "examples" / "make_sales.py"
PROBE = """
def _tables(value):
    import pandas
    if isinstance(value, pandas.Series):
        value = value.reset_index()
    if isinstance(value, pandas.DataFrame):
        value = value.reset_index(drop=isinstance(value.index, pandas.RangeIndex))
        for label in value.columns:
            for number in value.columns:
                is_number = pandas.api.types.is_numeric_dtype
                if is_number(value[number]) and not is_number(value[label]):
                    yield [[str(a), float(b)] for a, b in zip(value[label][:50], value[number][:50])]
    elif isinstance(value, (dict, list)) and len(value) <= 50:
        pairs = list(value.items() if isinstance(value, dict) else value)
        if pairs and all(isinstance(p, (tuple, list)) and len(p) == 2 and not isinstance(p[1], str) for p in pairs):
            yield [[str(a), float(b)] for a, b in pairs]
def _all():
    import json
    found = []
    for name, value in list(globals().items()):
        if name == "_" or not name.startswith("_"):
            try:
                found += _tables(value)
            except (TypeError, ValueError):
                pass
    print("PROBE" + json.dumps(found))
_all()
"""


@dataclass
class Case:
    """A task, its working folder, and how its trajectory is judged."""

    id: str
    task: str
    folder: Path
    files: list[str]
    setup: str = ""
    truth: dict[str, float] | None = None
    grader: Path | None = None

    def judge(self, trajectory: Trajectory, sandbox: Sandbox) -> bool:
        """Return whether the result is right."""
        if self.truth is not None:
            return any(same(found, self.truth) for found in probe(sandbox))
        code = self.folder / "kept.py"
        code.write_text("\n\n".join(a.action.code or "" for a in trajectory.kept), "utf-8")
        command = [
            sys.executable,
            str(self.grader),
            "grade",
            self.id,
            "--code",
            str(code),
            "--answer",
            trajectory.answer or "",
        ]
        done = subprocess.run(command, cwd=self.folder, capture_output=True, text=True, timeout=300)
        return done.returncode == 0 and bool(json.loads(done.stdout)["pass"])


def same(found: list[list[Any]], truth: dict[str, float]) -> bool:
    """Whether the pairs are the true ones, in their order, to a cent or a millionth."""
    if [label.strip() for label, _ in found] != list(truth):
        return False
    return all(abs(n - t) <= max(0.011, 1e-6 * abs(t)) for (_, n), t in zip(found, truth.values(), strict=True))


def probe(sandbox: Sandbox) -> list[list[list[Any]]]:
    """Return each small table of labels and numbers that the state holds."""
    text = sandbox.execute(PROBE).text
    return json.loads(text.partition("PROBE")[2]) if "PROBE" in text else []


def sales_cases(seeds: range, place: Path) -> Iterator[Case]:
    """Yield a task for each seed."""
    for seed in seeds:
        folder = place / f"sales-{seed}"
        folder.mkdir()
        file = folder / "messy_sales.csv"
        command = [sys.executable, str(MAKE_SALES), "--seed", str(seed), "--out", str(file), "--truth"]
        told = json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
        yield Case(folder.name, told["task"], folder, [file.name], truth=told["truth"])


def folder_cases(tasks: Path, categories: list[str], place: Path) -> Iterator[Case]:
    """Yield the tasks of an evaluation folder."""
    for file in sorted(tasks.glob("tasks*.jsonl")):
        for line in file.read_text("utf-8").splitlines():
            task = json.loads(line) if line.strip() else {"category": None}
            if task["category"] in categories:
                folder = place / task["id"]
                grader = (tasks / "grade.py").resolve()
                subprocess.run(
                    [sys.executable, str(grader), "prepare", task["id"], str(folder)], check=True, capture_output=True
                )
                yield Case(
                    task["id"],
                    task["prompt"],
                    folder,
                    list(task.get("files") or {}),
                    task.get("setup") or "",
                    grader=grader,
                )


def run(case: Case, model: LocalModel, attempts: int) -> dict[str, Any]:
    """Have the model solve one case, and return what is reported of it."""
    model.profile.folder = case.folder
    trajectory = Trajectory(
        case.task,
        describe(files=case.files, folder=case.folder),
        limit=attempts,
        inputs=inputs(case.files, case.folder),
    )
    with Sandbox(SandboxPolicy(workspace=case.folder)) as sandbox:
        if case.setup:
            sandbox.execute(case.setup)
        begin = time.monotonic()
        problem = ""
        try:
            for _ in Agent(model, sandbox).run(trajectory):
                pass
        except CodeAgentError as error:  # a benchmark goes on with the next case
            problem = f"{type(error).__name__}: {error}"
        seconds = time.monotonic() - begin
        right = case.judge(trajectory, sandbox)
    return {
        "id": case.id,
        "right": right,
        "status": trajectory.status,
        "first": right and len(trajectory.attempts) == 1,
        "attempts": len(trajectory.attempts),
        "seconds": round(seconds, 1),
        "output_tokens": trajectory.usage.output_tokens,
        "problem": problem or trajectory.reason,
        "load": os.getloadavg()[0],
        "trajectory": trajectory.to_dict(),
    }


def write(options: argparse.Namespace, model: str, rows: list[dict[str, Any]]) -> None:
    """Write what is known so far, if that is asked for."""
    if options.out:
        summary = {"model": model, "without": options.without, "right": sum(r["right"] for r in rows), "rows": rows}
        options.out.write_text(json.dumps(summary, indent=1, ensure_ascii=False), "utf-8")


def main() -> None:
    """Run what the options ask for."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--tasks", type=Path, help="folder with tasks*.jsonl and grade.py; without it: sales files")
    parser.add_argument("--categories", nargs="+", default=["data-analysis", "function"])
    parser.add_argument("--seeds", type=int, nargs=2, default=(1, 10), metavar=("FIRST", "LAST"))
    parser.add_argument("--size", default="1.5b", choices=["1.5b", "0.5b"])
    parser.add_argument("--attempts", type=int, default=5)
    parser.add_argument("--without", nargs="*", default=[], choices=[f.name for f in fields(Helps)])
    parser.add_argument("--only", nargs="*", default=[], help="ids")
    parser.add_argument("--out", type=Path, help="JSON file to write")
    options = parser.parse_args()
    model = LocalModel(options.size, helps=Helps(**dict.fromkeys(options.without, False)))
    rows = []
    with tempfile.TemporaryDirectory() as name:
        place = Path(name)
        first, last = options.seeds
        cases = (
            folder_cases(options.tasks, options.categories, place)
            if options.tasks
            else sales_cases(range(first, last + 1), place)
        )
        print(f"{model.name}, without {options.without or 'nothing'}")
        print("task         right  attempts  seconds  tokens  status   load")
        for case in cases:
            if not options.only or case.id in options.only:
                row = run(case, model, options.attempts)
                rows.append(row)
                write(options, model.name, rows)
                print(
                    f"{row['id']:12} {'yes' if row['right'] else 'NO':5}  {row['attempts']:8}  {row['seconds']:7}  "
                    f"{row['output_tokens']:6}  {row['status']:7}  {row['load']:.1f}   {row['problem'][:90]}",
                    flush=True,
                )
    model.close()
    right = sum(r["right"] for r in rows)
    print(f"right: {right} of {len(rows)}, at the first attempt {sum(r['first'] for r in rows)}")


if __name__ == "__main__":
    main()
