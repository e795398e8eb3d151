"""verify_notebook: the saved file, executed top to bottom in a sandbox that nothing has touched."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

from jupyter_codeagent import locality
from jupyter_codeagent.compare import no_longer_warned, not_compared
from jupyter_codeagent.environment import lacking, packages_of
from jupyter_codeagent.findings import DECIDED, MOST, Findings
from jupyter_codeagent.fingerprint import states
from jupyter_codeagent.fresh import FreshRun, Step, left_out, run, steps_of
from jupyter_codeagent.notebook import KEY
from jupyter_codeagent.notebook_file import folder_of, read_notebook
from jupyter_codeagent.portable import portable_outputs
from jupyter_codeagent.report import Difference, InputState, Report
from jupyter_codeagent.sandbox import SandboxPolicy
from jupyter_codeagent.sandbox.pool import pool
from jupyter_codeagent.stamp import make, state_of, told, write_stamp


def verify_notebook(
    path: str | Path,
    policy: SandboxPolicy | None = None,
    progress: Callable[[int, int], None] | None = None,
    *,
    stamp: bool = True,
    runs: int | None = None,
    tell: Callable[[str], None] | None = None,
) -> Report:
    """Execute a saved notebook top to bottom in a fresh sandbox and compare with the outputs it holds.

    What is read is the file as it lies on the disk. Missing and changed input files and missing packages are named
    before anything runs. Cells tagged ``skip-execution``, ``%%attempt`` and ``%%agent`` cells, lines of this package's
    own magics and lines that install packages are left out. The first cell that fails ends the run. Where outputs
    differ, a second run in another fresh sandbox tells whether the code gives something else each time, and why. A
    notebook without any code to execute is not verified. The file is stamped with what was found, and its folder is not
    changed otherwise; a run that is stopped leaves all as it was.

    Parameters
    ----------
    path : str or Path
        The notebook.
    policy : SandboxPolicy or None
        None: the defaults, with the notebook's folder as working folder. The recorded time zone and locale are set
        where it sets none.
    progress : callable or None
        Called before each code cell, and once at the end, with the number of cells that were executed and of all
        that are to be; again from the start for a second run.
    stamp : bool
        Write what was found into the file's metadata.
    runs : int or None
        2: run twice whatever the first run gives; 1: once; None: a second time where outputs differ, or where what uses
        the clock gave a number that is close to the file's and not the same.
    tell : callable or None
        Called with each sentence on what is missing or has changed, before anything runs.

    Raises
    ------
    NotebookError
        If the file is missing, broken, or no Python notebook.
    SandboxUnavailable, SandboxDied
        If there is no sandbox, or it could not be brought back.
    """
    if runs not in (None, 1, 2):
        raise ValueError(f"runs is {runs!r}; give 1, 2 or None")
    folder = folder_of(path)
    policy = policy or SandboxPolicy(workspace=folder)
    if os.access(path, os.R_OK):
        pool().prepare(policy)  # it starts while the libraries that read the notebook are loaded
    notebook = read_notebook(path)
    record, steps = notebook.metadata.get(KEY), [_portable(step, folder) for step in steps_of(notebook)]
    inputs, (missing, notes) = states(record, folder), _lacking(record)
    before = [*(Difference(0, "input", i.detail) for i in inputs if i.state != "same"), *missing]
    for difference in before:
        (tell or (lambda sentence: None))(difference.detail)
    if not policy.environ:
        policy = replace(policy, environ=locality.environ(record))
    with ThreadPoolExecutor(1) as beside:
        environment = beside.submit(packages_of, [step.code for step in steps], folder=folder)
        findings = Findings(notebook, steps, folder)
        first = _run(steps, policy, folder, progress)
        found = findings.differences(first)
        if steps and (runs == 2 or (runs is None and (_open(found, findings) or findings.doubtful(first)))):
            found, more = findings.judged(found, first, _run(steps, policy, folder, progress))
            notes += more
    notes += [*findings.order(), *left_out(notebook), *_uncompared(steps), *_unwarned(steps, first)]
    if state_of(notebook) == "edited":
        notes.append(told(notebook))
    report = Report(
        str(path), (*before, *found), first.executed, environment.result(),
        tuple(InputState(i.name, i.state) for i in inputs), first.duration, first.tier,
        tuple(findings.risks(found)), tuple(notes), first.outputs,
    )  # fmt: skip
    return _stamped(report, notebook, stamp)


def _portable(step: Step, folder: Path) -> Step:
    # saved notebooks name files from their own folder, in what they show as well
    outputs = portable_outputs(step.cell.outputs, folder)
    if outputs is step.cell.outputs:
        return step
    cell = type(step.cell)({**step.cell, "outputs": outputs})
    return replace(step, cell=cell)


def _run(
    steps: Sequence[Step], policy: SandboxPolicy, folder: Path, progress: Callable[[int, int], None] | None
) -> FreshRun:
    found = run(steps, policy, progress)
    found.outputs = {number: list(portable_outputs(outputs, folder)) for number, outputs in found.outputs.items()}
    return found


def _uncompared(steps: Sequence[Step]) -> list[str]:
    """Return a sentence for each cell with outputs that no sandbox lets out."""
    found = [(step.number, not_compared(step.cell.outputs)) for step in steps]
    said = "which no sandbox lets out, so that nothing is known of it."
    return [f"Cell {number} shows {', '.join(mimes[:3])}, {said}" for number, mimes in found if mimes][:MOST]


def _unwarned(steps: Sequence[Step], run: FreshRun) -> list[str]:
    """Return a sentence for each cell whose file has something on standard error that the fresh run has not."""
    ran = [step for step in steps if step.number in run.outputs]
    found = [(step.number, no_longer_warned(step.cell.outputs, run.outputs[step.number])) for step in ran]
    said = "which the fresh run does not say; standard error is not compared."
    return [f"Cell {number} says {line!r} on standard error, {said}" for number, line in found if line][:MOST]


def _open(found: list[Difference], findings: Findings) -> bool:
    """Say whether a second run would say more of these differences."""
    return any(d.kind not in DECIDED or (d.kind == "error" and _may_vary(d.cell, findings)) for d in found)


def _may_vary(number: int, findings: Findings) -> bool:
    return any(cause.kind != "network" for cause in findings.causes.of(number))


def _stamped(report: Report, notebook: Any, write: bool) -> Report:
    made = make(notebook, report.ok, report.reasons, tier=report.tier, executed=report.executed)
    problem = write_stamp(report.path, made) if write else ""
    return replace(report, stamp=made, notes=(*report.notes, *([problem] if problem else [])))


def _lacking(record: object) -> tuple[list[Difference], list[str]]:
    """Return what is missing of the recorded packages, and notes on what is here in other versions."""
    found, unknown = lacking(record), locality.complaint(record)
    missing = [Difference(0, "package", sentence) for sentence in found.missing]
    return missing, [*found.other, *([unknown] if unknown else [])]
