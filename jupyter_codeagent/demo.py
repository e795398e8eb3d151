"""jupyter codeagent demo: a real, messy file, a real model, and whatever comes of it."""

from __future__ import annotations

import json
import os
import re
import shlex
import subprocess
import sys
from argparse import Namespace
from pathlib import Path
from typing import Any

from jupyter_codeagent.commands import STOPPED, Done, solve_task
from jupyter_codeagent.errors import NotebookError
from jupyter_codeagent.notebook_file import free_path
from jupyter_codeagent.terminal import Terminal
from jupyter_codeagent.trajectory import Trajectory

_FILE = "messy_sales.csv"
_TASK = f"In {_FILE}, sum Revenue by Region, sorted descending."


def run_demo(options: Namespace) -> int:
    """Make the file, have the task solved, verify the notebook; 0 if all of that went well and the sums are right."""
    folder = Path(options.folder).absolute()  # what is printed must be found from the user's own folder
    try:
        folder.mkdir(parents=True, exist_ok=True)
        os.chdir(folder)
    except OSError as error:
        raise NotebookError(f"The folder {str(folder)!r} cannot be used: {error.strerror}; choose another.") from None
    with Terminal() as view:
        made = make_sales(Path(_FILE))
        view.say(f"{folder / _FILE}: a sales file with a trailing space in a column's name, text for numbers, gaps:")
        for line in Path(_FILE).read_text("utf-8").splitlines()[:5]:
            view.say(f"    {line}")
        out = free_path(folder / "messy_sales.solved.ipynb")
        asked = Namespace(**vars(options), task=_TASK, files=[_FILE], check=[], test=[])
        asked.keep_attempts, asked.trajectory, asked.no_verify = True, None, False
        done = solve_task(view, asked, out)
        if done.trajectory.status == "stopped":
            return STOPPED
        if done.trajectory.answer is None or done.saved is None:
            view.say("The demo did not succeed; what you see above is what happened. Running it again may.")
            return 1
        return _judge(view, done, made["truth"])


def _judge(view: Terminal, done: Done, truth: dict[str, float]) -> int:
    right = holds(done.trajectory, truth)
    sums = ", ".join(f"{region} {value:,.2f}" for region, value in truth.items())
    view.say(f"The file was made by a script, which knows the true sums: {sums}.")
    view.say("The notebook has them." if right else "The notebook does not have them: the model was wrong.")
    view.say(
        f"Open it:       jupyter lab {shlex.quote(str(done.saved))}\n"
        "With Claude:   export ANTHROPIC_API_KEY=...   and in a notebook: %load_ext jupyter_codeagent, then %%agent"
    )
    return 0 if right and done.verified is not None and done.verified.ok else 1


def holds(trajectory: Trajectory, truth: dict[str, float]) -> bool:
    """Tell whether the last kept attempt showed every true sum, to the cent or to the whole number."""
    kept = trajectory.kept
    seen = kept[-1].observation if kept else None
    shown = (seen.text if seen else "") + "\n" + (trajectory.answer or "")
    numbers = [float(n.replace(",", "")) for n in re.findall(r"\d[\d,]*(?:\.\d+)?(?:e\+?\d+)?", shown)]
    return all(any(abs(n - value) <= 0.51 for n in numbers) for value in truth.values())


def make_sales(path: Path) -> dict[str, Any]:
    """Write the messy file, and return the task and the true sums that its generator knows."""
    done = subprocess.run(
        [sys.executable, str(_generator()), "--out", str(path), "--truth"],
        capture_output=True,
        text=True,
        encoding="utf-8",
        check=False,
    )
    if done.returncode:
        raise NotebookError(f"{str(path)!r} could not be made: {(done.stderr.splitlines() or ['no reason'])[-1]}")
    made: dict[str, Any] = json.loads(done.stdout)
    return made


def _generator() -> Path:
    # the wheel carries a copy of the example's script; an editable install has the script itself
    here = Path(__file__).parent
    shipped = here / "data" / "make_sales.py"
    return shipped if shipped.exists() else here.parent / "examples" / "make_sales.py"
