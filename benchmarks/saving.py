"""Solved work as a notebook's file."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from pathlib import Path

import nbformat

from benchmarks.measure import Row, interleave, milliseconds
from jupyter_codeagent import Action, Attempt, Observation, Trajectory, save_notebook
from jupyter_codeagent.notebook_file import read_notebook
from jupyter_codeagent.ran import Ran
from jupyter_codeagent.saving import save_live
from jupyter_codeagent.trajectory import Answer, Output

CELLS = 1000
CODE = """import pandas as pd
frame = pd.read_csv("sales.csv")
frame[frame["region"] == "north"].groupby("month")["revenue"].sum()  # part {number}"""
TABLE = "<table>" + "".join(f"<tr><td>{n}</td><td>{n * 1.5}</td></tr>" for n in range(60)) + "</table>"


def notebook(quick: bool) -> Iterator[Row]:
    """A task of 1,000 kept attempts, each with a table and a line of text, saved; against nbformat alone."""
    solved = trajectory()
    with tempfile.TemporaryDirectory(prefix="bench") as folder:
        path, copy = Path(folder, "saved.ipynb"), Path(folder, "copy.ipynb")
        ready = nbformat.read(save_notebook(solved, path), as_version=4)
        found = interleave(
            5 if quick else 15,
            ours=lambda: milliseconds(lambda: save_notebook(solved, path, overwrite=True)),
            theirs=lambda: milliseconds(lambda: nbformat.write(ready, copy)),
        )
        what = f"save_notebook, {CELLS:,} code cells, {path.stat().st_size / 1e6:.1f} MB"
        yield Row(what, "ms", found["ours"], bar=1000)
        yield Row(what, "ms", found["ours"], "nbformat.write of the same", found["theirs"])


def live(quick: bool) -> Iterator[Row]:
    """A live notebook of 1,000 cells, each of which needs the one above, saved; and read again."""
    code = "import math\nx{0} = x{1} + math.sqrt({0})\nprint('row', x{0})\nx{0}"
    shown: list[Output] = [{"output_type": "execute_result", "data": {"text/html": TABLE}, "metadata": {}}]
    ran = [Ran(n, code.format(n, n - 1), f"cell-{n}", outputs=(*shown,)) for n in range(1, CELLS + 1)]
    with tempfile.TemporaryDirectory(prefix="bench") as folder:
        path = Path(folder, "live.ipynb")
        found = interleave(
            3 if quick else 9,
            saved=lambda: milliseconds(lambda: save_live(ran, [], path, path.parent)),
            read=lambda: milliseconds(lambda: read_notebook(path)),
        )
    yield Row(f"a live notebook of {CELLS:,} cells saved", "ms", found["saved"], bar=1000)
    yield Row("the same, read and validated", "ms", found["read"])


def trajectory() -> Trajectory:
    """Return what an agent has done that took 1,000 attempts and kept all."""
    attempts = []
    for number in range(1, CELLS + 1):
        outputs: list[Output] = [
            {"output_type": "stream", "name": "stdout", "text": f"{number} rows were read\n"},
            {
                "output_type": "execute_result",
                "data": {"text/html": TABLE, "text/plain": f"month {number}\nrevenue 1.5"},
                "metadata": {},
            },
        ]
        action = Action(f"Part {number} of the sum.", CODE.format(number=number), model="m")
        attempts.append(Attempt(number, action, Observation(outputs, duration=0.01), done=True, accepted=True))
    return Trajectory("Sum up.", attempts=attempts, answers=[Answer(Action("The sum is 1.5."), after=CELLS)])
