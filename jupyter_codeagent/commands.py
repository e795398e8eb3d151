"""What the sub-commands of `jupyter codeagent` do; each returns its exit status."""

from __future__ import annotations

import json
import os
import re
import shlex
import shutil
import sys
from argparse import Namespace
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from jupyter_codeagent.agent import Model
from jupyter_codeagent.errors import (
    CodeAgentError,
    ModelError,
    NoModel,
    NotebookError,
    Offline,
    SandboxDied,
    SandboxUnavailable,
    TrajectoryError,
    UnknownModel,
    WeightsError,
    WrongKey,
    WrongUse,
)
from jupyter_codeagent.notebook import candidacy
from jupyter_codeagent.terminal import Terminal, visible
from jupyter_codeagent.trajectory import Attempt, Trajectory

if TYPE_CHECKING:
    from jupyter_codeagent.headless import NotebookRun, Step
    from jupyter_codeagent.journal import Journal
    from jupyter_codeagent.verified import Verified

# What the user has to mend before it can work; all other failures are work that did not succeed.
_FILES = (WrongUse, NotebookError, TrajectoryError)
_MISSING = (*_FILES, SandboxUnavailable, NoModel, WrongKey, UnknownModel, Offline, WeightsError)
NAMED = 5  # files that are named in a line
STOPPED = 130  # what a shell expects of a program that Ctrl-C ended


def guarded(command: Callable[[Namespace], int], options: Namespace) -> int:
    """Carry out a sub-command: 0 success, 1 not, 2 wrong use or a missing part, 130 stopped by Ctrl-C."""
    try:
        return command(options)
    except KeyboardInterrupt:
        return _ended(options, "Stopped", "Stopped; nothing was written.", STOPPED)
    except CodeAgentError as error:
        return _ended(options, type(error).__name__, str(error), 2 if isinstance(error, _MISSING) else 1)


def _ended(options: Namespace, kind: str, said: str, status: int) -> int:
    tell(said)
    if getattr(options, "json", False):
        write_json({"error": {"type": kind, "message": said}})
    return status


def tell(text: str) -> None:
    """Write a line for people, on standard error."""
    sys.stderr.write(visible(text) + "\n")


def write_json(data: object) -> None:
    """Write the one object of ``--json``."""
    sys.stdout.write(json.dumps(data, ensure_ascii=True, default=str) + "\n")
    sys.stdout.flush()


def _run(options: Namespace) -> int:
    if options.trajectory:
        options.trajectory = Path(options.trajectory).absolute()
    return _run_task(options) if options.task is not None else _run_notebook(options)


def _run_task(options: Namespace) -> int:
    from jupyter_codeagent.headless import check_free

    if options.trajectory:
        check_free(options.trajectory, 1)
    out = _output(options, Path(f"{slug(options.task)}.solved.ipynb"))
    with Terminal() as view:
        done = solve_task(view, options, out)
    return _finish(options, [done.trajectory], done.saved, done.failure, verified=done.verified)


@dataclass(frozen=True)
class Done:
    """A task that has ended: its record, the notebook, the failure that ended it, and what verifying found, if any."""

    trajectory: Trajectory
    saved: Path | None
    failure: CodeAgentError | None
    verified: Verified | None = None


def solve_task(view: Terminal, options: Namespace, out: Path) -> Done:
    """Solve the task of `options` before the user's eyes, and write the notebook."""
    from jupyter_codeagent.api import prepared
    from jupyter_codeagent.journal import end, journals, keeping_up
    from jupyter_codeagent.sandbox import SandboxPolicy
    from jupyter_codeagent.saving import save_notebook

    with prepared(
        options.task,
        files=options.files,
        model=lambda: shown_choice(view, options.model),
        max_attempts=options.attempts,
        candidates=options.candidates,
        checks=options.check,
        tests=options.test,
        policy=SandboxPolicy(memory=options.memory, timeout=options.timeout),
    ) as (agent, trajectory):
        writers = journals().writers(trajectory, options.trajectory)
        failure = watch(view, keeping_up(agent.watch(trajectory), writers), trajectory)
        left = left_inside(agent.sandbox)
    for complaint in end(writers):
        view.say(complaint)
    saved = verified = None
    if trajectory.attempts or trajectory.answers:
        saved = save_notebook(trajectory, out, options.keep_attempts)
        view.say(f"Written: {saved}")
    if saved is not None and trajectory.status == "solved" and not options.no_verify:
        files = [Path(trajectory.folder, name) for name in (*options.files, *(i.name for i in trajectory.inputs))]
        verified = _verified(view, saved, options, files)
    if left:
        view.say(left)
    return Done(trajectory, saved, failure, verified)


def _verified(view: Terminal, saved: Path, options: Namespace, files: Sequence[Path]) -> Verified:
    """Run the notebook that was written from the top in a fresh sandbox, and say what came of it."""
    from jupyter_codeagent.notebook_file import folder_of
    from jupyter_codeagent.sandbox import SandboxPolicy
    from jupyter_codeagent.verified import save_verified

    view.wait("the notebook is verified in a fresh sandbox")
    names = tuple(str(f.expanduser().resolve()) for f in files)
    policy = SandboxPolicy(workspace=folder_of(saved), memory=options.memory, timeout=options.timeout, files=names)
    verified = save_verified(saved, policy, lambda done, total: _step(view, done, total))
    view.say(str(verified))
    return verified


def _step(view: Terminal, done: int, total: int) -> None:
    view.step(f"verifying cell {min(done + 1, total)} of {total}")


def left_inside(sandbox: object) -> str:
    """Return a sentence about the files that are changed in the sandbox only and end with it; empty if none is."""
    from jupyter_codeagent.sandbox import Sandbox

    if not isinstance(sandbox, Sandbox):  # another machine's has no files of this folder
        return ""
    try:
        names = [change.path for change in sandbox.changes()]
    except CodeAgentError:
        return ""
    more = f" and {len(names) - NAMED:,} more" if len(names) > NAMED else ""
    said = f"Changed in the sandbox only: {', '.join(names[:NAMED])}{more}. Running the notebook changes them here."
    return said if names else ""


def watch(view: Terminal, attempts: Iterator[Attempt], trajectory: Trajectory) -> CodeAgentError | None:
    """Show a task while it runs, to its end; a failing model or sandbox ends it too, and what was done is kept."""
    view.say(f"Task: {trajectory.task}")
    view.wait("the model reads the task")
    failure = None
    try:
        for _ in attempts:
            view.show(trajectory)
    except (ModelError, SandboxDied) as error:
        if not trajectory.attempts:
            raise
        failure, trajectory.failure = error, str(error)
    except KeyboardInterrupt:  # while something was shown
        trajectory.stopped = True
    view.close(trajectory, trajectory.failure or "")
    return failure


def shown_choice(view: Terminal, name: str | None) -> Model:
    """Return the model, after telling which it is and what leaves the machine."""
    from jupyter_codeagent.models import get_model

    view.wait("the model is being made ready")
    model = get_model(name)
    view.say(model.describe())
    return model


def _run_notebook(options: Namespace) -> int:
    from jupyter_codeagent.api import find_files
    from jupyter_codeagent.headless import NotebookRun, agent_cells, check_free, longest_timeout
    from jupyter_codeagent.notebook_file import folder_of, read_notebook
    from jupyter_codeagent.sandbox import Sandbox, SandboxPolicy
    from jupyter_codeagent.saving import save_solved

    path = Path(options.notebook)
    notebook = read_notebook(path)
    out = _output(options, path.with_name(f"{path.name.removesuffix('.ipynb')}.solved.ipynb")).absolute()
    files = [Path(f) for f in find_files(options.files, None)]
    folder = folder_of(path)
    os.chdir(folder)  # as Jupyter does: a notebook's names are relative to its folder
    policy = SandboxPolicy(
        workspace=folder,
        memory=options.memory,
        timeout=max(options.timeout, longest_timeout(notebook) or 0.0),
        files=tuple(str(f) for f in files if not f.is_relative_to(folder)),
    )
    policy.check()
    if options.trajectory:
        check_free(options.trajectory, len(agent_cells(notebook)))
    if options.test:
        raise WrongUse("--test goes with --task; in a notebook write it on the %%agent line.")
    with Terminal() as view:
        with _journal(view, path.resolve(), options.again) as journal, Sandbox(policy) as sandbox:
            model = shown_choice(view, options.model)
            run = NotebookRun(notebook, sandbox, model, options.attempts, files, options.check, options.keep_attempts)
            run.candidates, run.journal, run.trajectory = options.candidates, journal, options.trajectory
            _watch_notebook(view, run)
            saved = save_solved(run.solved(), out, folder).path
            view.say(f"Written{' as far as it went' if run.failure else ''}: {saved}")
            if left := left_inside(sandbox):
                view.say(left)
            if journal and (run.error or run.stopped):
                view.say("The same command goes on where this run has ended.")
        verified = None if run.failure or run.stopped or options.no_verify else _verified(view, saved, options, files)
    return _finish(options, run.trajectories, saved, run.error, run.failure, run.stopped, verified)


@contextmanager
def _journal(view: Terminal, notebook: Path, again: bool) -> Iterator[Journal | None]:
    """Give the journal of a notebook; None where there can be none, and that is said."""
    from jupyter_codeagent.journal import journals

    with ExitStack() as held:
        journal = None
        try:
            journal = held.enter_context(journals().of(notebook, again))
        except OSError as error:
            view.say(f"If this run is interrupted, the next one begins anew: no journal can be kept ({error}).")
        yield journal


def _watch_notebook(view: Terminal, run: NotebookRun) -> None:
    steps = run.steps()
    try:
        _show_steps(view, run, steps)
    except KeyboardInterrupt as stop:  # while something was shown; it ends the run as it does in a cell
        steps.throw(stop)
        _show_steps(view, run, steps)
    if run.failure:
        view.say(run.failure)


def _show_steps(view: Terminal, run: NotebookRun, steps: Iterator[Step]) -> None:
    shown = 0
    view.wait("cell 1 and on")
    for step in steps:
        if step.note:
            view.say(f"cell {step.cell}: {step.note}.")
            continue
        if step.again and step.attempt is not None:
            view.wait(f"attempt {step.attempt.number} of cell {step.cell} runs again")
            continue
        if step.trajectory is not None and len(run.trajectories) > shown:
            shown = len(run.trajectories)
            view.say(f"cell {step.cell}: {step.trajectory.task}")
        if step.trajectory is not None and step.attempt is not None:
            view.show(step.trajectory)
            continue
        if step.trajectory is not None:
            view.close(step.trajectory, step.trajectory.failure or "")
        elif step.observation is not None:
            view.say(f"cell {step.cell}: executed in {step.observation.duration:.1f} s")
        view.wait(f"cell {step.cell + 1} and on")


def _output(options: Namespace, default: Path) -> Path:
    from jupyter_codeagent.notebook_file import check_writable, free_path

    out = Path(options.output) if options.output else free_path(default)
    check_writable(out)  # before minutes of work, not after
    return out


def slug(task: str) -> str:
    """Return the beginning of a task as the name of a file."""
    return re.sub(r"\W+", "-", task.lower())[:40].strip("-") or "task"


def _finish(
    options: Namespace,
    trajectories: list[Trajectory],
    saved: Path | None,
    failure: CodeAgentError | None = None,
    reason: str = "",
    stopped: bool = False,
    verified: Verified | None = None,
) -> int:
    statuses = {t.status for t in trajectories}
    solved = statuses == {"solved"} and not reason
    if saved and solved:
        tell(f"Open it: jupyter lab {shlex.quote(str(saved))}")
    if options.json:
        write_json(outcome(trajectories, saved, solved, reason, verified))
    else:
        for trajectory in trajectories:
            if trajectory.answer:
                sys.stdout.write(visible(trajectory.answer.rstrip()) + "\n")
    if "stopped" in statuses or stopped:
        return STOPPED
    if statuses - {"solved"}:
        tell("For a bug report: jupyter codeagent report")
    if solved:
        return 1 if verified is not None and verified.refuted else 0
    return 2 if isinstance(failure, _MISSING) else 1


def outcome(
    trajectories: list[Trajectory],
    saved: Path | None,
    solved: bool,
    reason: str = "",
    verified: Verified | None = None,
) -> dict[str, Any]:
    """Return what ``run --json`` tells; "verified" is null where nobody has looked, or could."""
    tasks = [_told(t) for t in trajectories]
    return {
        "version": 1,
        "status": "solved" if solved else next((t["status"] for t in tasks if t["status"] != "solved"), "failed"),
        "reason": reason or " ".join(t["reason"] for t in tasks if t["reason"]),
        "answer": tasks[-1]["answer"] if tasks else None,
        "notebook": str(saved) if saved else None,
        "verified": verified.ok if verified is not None and verified.report is not None else None,
        "differences": verified.reasons if verified is not None and not verified.ok else [],
        "tasks": tasks,
    }


def _told(trajectory: Trajectory) -> dict[str, Any]:
    usage = trajectory.usage
    return {
        "task": trajectory.task,
        "status": trajectory.status,
        "reason": trajectory.reason,
        "answer": trajectory.answer,
        "model": trajectory.model,
        "tier": trajectory.tier,
        "attempts": [_attempt(a) for a in trajectory.attempts],
        "checks": [v.__dict__ for a in trajectory.answers[-1:] for v in a.verdicts],
        "usage": usage.__dict__,
    }


def _attempt(attempt: Attempt) -> dict[str, Any]:
    seen = attempt.observation
    return {
        "number": attempt.number,
        "status": attempt.status,
        "code": attempt.action.code,
        "output": seen.text if seen else "",
        "error": f"{seen.error.ename}: {seen.error.evalue}" if seen and seen.error else None,
        "duration": seen.duration if seen else 0.0,
        "rolled_back": attempt.rolled_back,
        **candidacy(attempt),
    }


def _verify(options: Namespace) -> int:
    from jupyter_codeagent import nbdime
    from jupyter_codeagent.notebook_file import folder_of
    from jupyter_codeagent.sandbox import SandboxPolicy
    from jupyter_codeagent.verify import verify_notebook

    folder = folder_of(options.notebook)
    policy = SandboxPolicy(
        workspace=folder,
        memory=options.memory,
        timeout=options.timeout,
        files=tuple(str(Path(f).expanduser().resolve()) for f in options.files),
        network=tuple(options.network),
    )
    policy.check()
    with Terminal() as view:
        view.wait(f"a fresh sandbox for {options.notebook} is made ready")
        report = verify_notebook(
            options.notebook,
            policy,
            lambda done, total: _step(view, done, total),
            stamp=not options.no_stamp,
            runs=2 if options.twice else None,
            tell=view.say,
        )
    if options.json:
        write_json(report.to_dict())
    else:
        width = shutil.get_terminal_size((100, 40)).columns
        sys.stdout.write(visible(f"{report.side_by_side(width) if options.diff else report}\n"))
        if options.nbdime:
            sys.stdout.write(visible(f"\n{nbdime.differences(options.notebook, report.fresh)}\n"))
        elif report.cells and not options.diff:
            tell(f"Side by side: --diff{' or --nbdime' if nbdime.installed() else ''}.")
    return 0 if report.ok else 1


def _doctor(options: Namespace) -> int:
    from jupyter_codeagent.doctor import diagnose

    with Terminal() as view:
        view.wait("looking at this machine")
        findings = diagnose(options.model, options.only, options.offline)
    if options.json:
        write_json({"version": 1, "ok": all(f.ok for f in findings), "findings": [f.__dict__ for f in findings]})
    else:
        sys.stdout.write(visible("".join(f"{f}\n" for f in findings)))
    return 0 if all(f.ok for f in findings) else 1


def _report(options: Namespace) -> int:
    from jupyter_core.paths import jupyter_data_dir

    from jupyter_codeagent.bug_report import HOLDS, Redaction, bug_report, read_task, write_report
    from jupyter_codeagent.doctor import diagnose

    trajectory = read_task(options.file, Path(jupyter_data_dir()) / "codeagent")
    with Terminal() as view:
        view.wait("looking at this machine")
        text = bug_report(trajectory, diagnose(None, "", True), Redaction.here())
    if not options.yes:
        sys.stdout.write(visible(text))
        sys.stdout.flush()
    if not options.output:
        tell("Nothing was written; -o FILE.md writes it.")
        return 0
    if not options.yes and not _agreed(f"Write this to {options.output}? [y/N] "):
        tell("Nothing was written; --yes writes it without a question.")
        return 1
    write_report(text, Path(options.output))
    tell(f"Written: {options.output}. {HOLDS}")
    return 0


def _agreed(question: str) -> bool:
    if sys.stdin is None or not sys.stdin.isatty():
        return False
    sys.stderr.write(visible(question))
    sys.stderr.flush()
    return sys.stdin.readline().strip().lower() in ("y", "yes")


def _model(options: Namespace) -> int:
    from jupyter_codeagent.models import manage

    try:
        return int(getattr(manage, options.action)(options))
    except KeyboardInterrupt:
        return _ended(options, "Stopped", model_stopped(options.action), STOPPED)


def model_stopped(action: str) -> str:
    """Return what Ctrl-C left of a sub-command of `model`."""
    if action == "pull":
        return "\nStopped; what was fetched is kept, and `jupyter codeagent model pull` goes on there."
    return "Stopped."


COMMANDS: dict[str, Callable[[Namespace], int]] = {
    "run": _run,
    "verify": _verify,
    "doctor": _doctor,
    "report": _report,
    "model": _model,
}
