"""solve and data_agent: the parts joined for programs, as magic.py joins them for cells."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from jupyter_codeagent.agent import Agent, Model
from jupyter_codeagent.candidates import MOST
from jupyter_codeagent.checks import expression_check, file_check
from jupyter_codeagent.context import describe, files_named, inputs
from jupyter_codeagent.errors import CodeAgentError, TaskFailed, WrongUse
from jupyter_codeagent.keys import Keys
from jupyter_codeagent.models import get_model
from jupyter_codeagent.sandbox import Sandbox, SandboxPolicy
from jupyter_codeagent.sandbox.pool import pool
from jupyter_codeagent.sandbox.workspace import too_wide
from jupyter_codeagent.surroundings import note
from jupyter_codeagent.trajectory import Check, Trajectory
from jupyter_codeagent.variables import literal

if TYPE_CHECKING:
    from jupyter_codeagent.sandbox.remote import RemoteSandbox


def solve(
    task: str,
    *,
    files: Sequence[str | Path] = (),
    variables: Mapping[str, Any] | None = None,
    model: str | Model | None = None,
    max_attempts: int = 5,
    candidates: int = 1,
    checks: Sequence[str] = (),
    tests: Sequence[str | Path] = (),
    context: str = "",
    policy: SandboxPolicy | None = None,
    sandbox: Sandbox | RemoteSandbox | None = None,
    timeout: float | None = None,
) -> Trajectory:
    """Have a model solve `task` in a sandbox, and return everything that was tried.

    Parameters
    ----------
    task : str
        What is wanted, in plain language.
    files : sequence of str or Path
        Files the task is about. Those in the working folder are there already, others become readable at their
        own path.
    variables : mapping of str to object
        Values that the code may use under these names. The sandbox has copies; yours cannot be changed.
    model : str, Model or None
        A model's name, as for `get_model`, or a model. None: the first of the configured ones.
    max_attempts : int
        Attempts, and answers that did not pass, at most.
    candidates : int
        Replies asked for at once for each attempt (1 to 8), executed side by side from the same state. The one that
        passes most checks is kept, then the one without an error, the smaller, the faster.
    checks : sequence of str
        Python expressions that must be true of the variables in the end.
    tests : sequence of str or Path
        Python files whose functions ``test_...()`` must pass on the variables in the end.
    context : str
        More that the model should know.
    policy : SandboxPolicy or None
        What the sandbox may do. None: the defaults, with the current folder as working folder.
    sandbox : Sandbox, RemoteSandbox or None
        A running sandbox, whose state goes on; it is left open. None: a new one, closed afterwards.
    timeout : float or None
        Seconds that one execution may take. None: as the policy says.

    Returns
    -------
    Trajectory
        `status` is "solved", "failed" or "stopped" (by Ctrl-C); `answer`, `attempts` and `usage` tell the rest. The
        kept attempts of a solved task count as accepted.

    Raises
    ------
    WrongUse
        For an empty task, a file that does not exist, a check that is no expression, or arguments that exclude
        each other. It is a ValueError as well.
    NotPlainData
        If a variable cannot be copied into the sandbox.
    SandboxUnavailable, SandboxDied
        If there is no sandbox, or it could not be brought back.
    ModelError
        If there is no model, or it gave no usable reply; what was tried by then is in its `.trajectory`.
    """
    with prepared(
        task,
        files=files,
        variables=variables,
        model=model,
        max_attempts=max_attempts,
        candidates=candidates,
        checks=checks,
        tests=tests,
        context=context,
        policy=policy,
        sandbox=sandbox,
        timeout=timeout,
    ) as (agent, trajectory):
        try:
            for _ in agent.run(trajectory):
                pass
        except CodeAgentError as error:  # what was paid for is not lost
            error.trajectory = trajectory
            raise
    return trajectory


def data_agent(
    csv_path: str | Path,
    goal: str,
    *,
    model: str | Model | None = None,
    max_attempts: int = 5,
    candidates: int = 1,
    checks: Sequence[str] = (),
    policy: SandboxPolicy | None = None,
    timeout: float | None = None,
) -> str:
    """Have a model reach `goal` with the data in one file, and return its answer.

    Parameters
    ----------
    csv_path : str or Path
        A CSV file, or another table that pandas reads.
    goal : str
        What is wanted, such as ``"sum Revenue by Region, sort descending"``.
    model, max_attempts, candidates, checks, policy, timeout
        As for `solve`.

    Raises
    ------
    TaskFailed
        If the task was not solved; `.trajectory` has everything that was tried.
    WrongUse, SandboxUnavailable, SandboxDied, ModelError
        As `solve` does.
    """
    trajectory = solve(
        goal,
        files=[csv_path],
        model=model,
        max_attempts=max_attempts,
        candidates=candidates,
        checks=checks,
        policy=policy,
        timeout=timeout,
    )
    if trajectory.answer is None:
        raise TaskFailed(trajectory.reason, trajectory)
    return trajectory.answer


@contextmanager
def prepared(
    task: str,
    *,
    files: Sequence[str | Path] = (),
    variables: Mapping[str, Any] | None = None,
    model: str | Model | Callable[[], Model] | None = None,
    max_attempts: int = 5,
    candidates: int = 1,
    checks: Sequence[str] = (),
    tests: Sequence[str | Path] = (),
    context: str = "",
    policy: SandboxPolicy | None = None,
    sandbox: Sandbox | RemoteSandbox | None = None,
    timeout: float | None = None,
) -> Iterator[tuple[Agent, Trajectory]]:
    """Give an agent and the trajectory it is to run, for callers who want to watch.

    Parameters are as for `solve`; `model` may also be a function that returns one, called when all else is in order.
    No person accepts here, so afterwards the kept attempts of a solved task count as accepted.
    """
    _check_number("max_attempts", max_attempts)
    _check_number("candidates", candidates, MOST)
    _check_arguments(task, policy, sandbox, timeout)
    conditions = (*map(expression_check, _several(checks)), *map(file_check, _several(tests)))
    policy = sandbox.policy if sandbox else policy or SandboxPolicy()
    if timeout is not None:
        policy = replace(policy, timeout=timeout)
    folder = Path(policy.workspace).expanduser().resolve() if policy.workspace is not None else None
    names = find_files(files, folder)
    outside = [name for name in names if Path(name).is_absolute() and name not in map(str, policy.files)]
    if outside and sandbox is not None:
        raise WrongUse(f"The running sandbox cannot read {outside[0]!r}; name it in its policy's `files`.")
    names += [name for name in files_named(task, folder) if name not in names] if folder else []
    if folder and too_wide(folder):  # of a home folder, say, only named files are shown
        outside = [str(folder / name) for name in names]
    policy = replace(policy, files=(*policy.files, *outside))
    trajectory = _trajectory(task, context, names, folder, variables or {}, conditions, max_attempts)
    trajectory.candidates = candidates
    policy.check()
    chosen = _chosen(model, folder)
    with nullcontext(sandbox) if sandbox is not None else pool().take(policy) as used:
        yield _agent(chosen, used, variables or {}, trajectory), trajectory
    trajectory.accept()
    note(trajectory, folder)


def _chosen(model: str | Model | Callable[[], Model] | None, folder: Path | None) -> Model:
    """Return the model that is meant; the local one looks at the task's files itself."""
    from jupyter_codeagent.models.local import LocalModel

    if model is None or isinstance(model, str):
        chosen: Model = get_model(model)
    elif callable(model) or hasattr(model, "stream"):
        chosen = model() if callable(model) else model
    else:
        raise WrongUse(f"The model is {model!r}; give a model's name, or a model as get_model returns it.")
    if isinstance(chosen, LocalModel) and folder is not None:
        chosen.profile.folder = folder
    return chosen


def _check_arguments(
    task: str, policy: SandboxPolicy | None, sandbox: Sandbox | RemoteSandbox | None, timeout: float | None
) -> None:
    if not task.strip():
        raise WrongUse("The task is empty; say what is wanted in plain language.")
    if sandbox is not None and (policy is not None or timeout is not None):
        raise WrongUse("A running sandbox has its own policy and timeout; give either `sandbox` or those.")


def _check_number(name: str, value: int, most: int | None = None) -> None:
    if isinstance(value, bool) or not isinstance(value, int) or value < 1 or (most is not None and value > most):
        wanted = "of at least 1" if most is None else f"from 1 to {most}"
        raise WrongUse(f"{name} is {value!r}; give a whole number {wanted}.")


def _agent(
    model: Model, sandbox: Sandbox | RemoteSandbox, variables: Mapping[str, Any], trajectory: Trajectory
) -> Agent:
    for name, value in variables.items():
        sandbox.put(name, value)
    sandbox.start()
    trajectory.tier = sandbox.tier
    return Agent(model, sandbox)


def _trajectory(
    task: str,
    context: str,
    files: Sequence[str],
    folder: Path | None,
    variables: Mapping[str, Any],
    checks: tuple[Check, ...],
    limit: int,
) -> Trajectory:
    keys = Keys(os.environ)
    folder = folder or Path("/")
    readable = [name for name in files if (folder / name).is_file()]
    notes = [context.strip()] if context.strip() else []
    return Trajectory(
        task.strip(),
        describe(variables=variables, named=list(variables), files=readable, folder=folder, notes=notes, keys=keys),
        checks,
        limit,
        inputs=inputs(readable, folder),
        variables={name: _literal(name, value, keys) for name, value in variables.items()},
        folder=str(folder),
    )


def _literal(name: str, value: object, keys: Keys) -> str:
    # what is written here ends in the saved notebook
    text = literal(value)
    return "" if keys.named(name, value) or keys.within(text) else text


def _several(given: str | Path | Sequence[Any]) -> Sequence[Any]:
    # one alone, where several may be given, is what was meant; its letters are not
    return [given] if isinstance(given, str | Path) else given


def find_files(files: Sequence[str | Path], folder: Path | None) -> list[str]:
    """Return the names by which the code will read `files`: relative to the workspace `folder`, or absolute.

    Raises
    ------
    WrongUse
        If one does not exist.
    """
    found = []
    for file in _several(files):
        path = Path(file).expanduser()
        if not path.exists():
            raise WrongUse(f"There is no file {str(file)!r} (looked in {str(Path.cwd())!r}).")
        path = path.resolve()
        found.append(str(path.relative_to(folder) if folder and path.is_relative_to(folder) else path))
    return list(dict.fromkeys(found))
