"""A trajectory as a notebook: plain cells that run without this package."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from jupyter_codeagent.environment import packages_of
from jupyter_codeagent.errors import NotebookError
from jupyter_codeagent.notebook_file import check_writable, write_notebook
from jupyter_codeagent.trajectory import Attempt, Observation, Output, Trajectory, Usage, code_hash

KEY = "jupyter_codeagent"  # the name of our part of the metadata
SKIP = "skip-execution"  # the tag by which nbclient and papermill leave a cell out
EXPLANATION_MOST, ANSWER_MOST = 10_000, 50_000  # characters of the model's words in metadata
NOTES_MOST, NOTE_MOST = 20, 1000  # sentences of the supervisor, and characters of each

# Tags that make a browser load or run something. Model text is Markdown and needs none of them.
_ACTIVE = re.compile(
    r"<(?=/?(?:img|image|picture|source|video|audio|track|iframe|frame|embed|object|applet|link|style|script|svg|math"
    r"|form|input|button|base|meta|body|html)\b)",
    re.IGNORECASE,
)


def save_notebook(trajectory: Trajectory, path: str | Path, attempts: bool = False, *, overwrite: bool = False) -> Path:
    """Save the solved task as a notebook that runs without this package.

    The task is a quotation, each kept attempt its explanation and one plain code cell with its outputs,
    then comes the answer. Kept are the successful attempts that the user did not discard: in a headless run
    they count as accepted.

    Parameters
    ----------
    trajectory : Trajectory
        What was done, as `solve` returns it; also one that was not solved.
    path : str or Path
        The file to write; its folder must exist.
    attempts : bool
        Also keep the failed and discarded attempts, as collapsed cells that no notebook client executes.
    overwrite : bool
        Replace a file that exists.

    Returns
    -------
    Path
        The file that was written.

    Raises
    ------
    NotebookError
        If there is nothing to save, the file exists, or it cannot be written; the sentence says which.
    """
    if not trajectory.attempts and not trajectory.answers:
        raise NotebookError("There is nothing to save: no attempt has been made yet.")
    check_writable(path, overwrite)
    return write_notebook(to_notebook(trajectory, attempts), path, overwrite)


def to_notebook(trajectory: Trajectory, attempts: bool = False) -> Any:
    """Return `trajectory` as an nbformat 4.5 notebook; `attempts` as in `save_notebook`."""
    v4 = _v4()
    cells = task_cells(trajectory, attempts)
    for number, cell in enumerate(cells, 1):
        cell.id = f"{_safe_id(trajectory)[:40]}-{number}"
    number_cells(cells)
    metadata = {
        "kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"},
        "language_info": {"name": "python"},
        KEY: notebook_record(trajectory),
    }
    return v4.new_notebook(cells=cells, metadata=metadata)


def notebook_record(trajectory: Trajectory) -> dict[str, Any]:
    """Return what a notebook's metadata says of the task it came from."""
    verdicts = trajectory.answers[-1].verdicts if trajectory.answers else ()
    return {
        "version": 1,
        "task": _safe_id(trajectory),
        "status": trajectory.status,
        "model": _clean(trajectory.model),
        "tier": trajectory.tier,
        "attempts": len(trajectory.attempts),
        "tokens": _tokens(trajectory.usage),
        "checks": [{"check": _clean(v.check), "passed": v.passed} for v in verdicts],
        "inputs": [
            {"name": _clean(i.name), "size": i.size, "blake2b": i.digest}
            for i in trajectory.inputs
            if _relative(i.name)
        ],
        "variables": [_clean(name) for name, literal in trajectory.variables.items() if not literal],
        "environment": packages_of(a.action.code or "" for a in trajectory.kept),
    }


def merged_record(trajectories: Sequence[Trajectory]) -> dict[str, Any]:
    """Return what a notebook's metadata says where it holds several tasks: sums, and the worst status."""
    records = [notebook_record(t) for t in trajectories]
    order = ["solved", "running", "failed", "stopped"]
    return {
        **records[-1],
        "status": max((r["status"] for r in records), key=order.index),
        "attempts": sum(r["attempts"] for r in records),
        "tokens": _tokens(sum((t.usage for t in trajectories), Usage())),
        "checks": [c for r in records for c in r["checks"]],
        "inputs": list({i["name"]: i for r in records for i in r["inputs"]}.values()),
        "variables": list(dict.fromkeys(name for r in records for name in r["variables"])),
        "environment": {name: version for r in records for name, version in r["environment"].items()},
    }


def attempt_record(trajectory: Trajectory, attempt: Attempt, role: str) -> dict[str, Any]:
    """Return what a cell's metadata says of the attempt it holds; `role` is "accepted" or "attempt"."""
    status = {"writing": "running"}.get(attempt.status, attempt.status)
    if role == "accepted":
        status = "accepted"
    elif attempt.edited and status == "succeeded":
        status = "edited"
    seen = attempt.observation or Observation()
    return {
        "version": 1,
        "role": role,
        "task": _safe_id(trajectory),
        "attempt": attempt.number,
        "status": status,
        "model": _clean(attempt.action.model),
        "duration": round(seen.duration, 3),
        "tokens": _tokens(attempt.action.usage),
        "tier": trajectory.tier,
        "rolled_back": attempt.rolled_back,
        "hash": code_hash(_accepted_code(attempt) if role == "accepted" else attempt.action.code or ""),
        "explanation": harmless(_clean(attempt.action.text.strip()[:EXPLANATION_MOST])),
        "notes": [_clean(note)[:NOTE_MOST] for note in seen.notes[:NOTES_MOST]],
        **candidacy(attempt),
    }


def candidacy(attempt: Attempt) -> dict[str, Any]:
    """Return what is said of a candidate beside what is said of any attempt; empty where it was alone."""
    if attempt.of == 1:
        return {}
    return {
        "round": attempt.round,
        "candidate": attempt.candidate,
        "of": attempt.of,
        "chosen": attempt.chosen,
        "reason": _clean(attempt.reason)[:NOTE_MOST],
    }


def task_record(trajectory: Trajectory) -> dict[str, Any]:
    """Return what an agent cell's metadata says of its task, also while it runs.

    While the model writes what may become its answer, that stands under ``answer``; afterwards only what passed does.
    """
    current = trajectory.current
    answer = trajectory.answer or ""
    if trajectory.status == "running" and current is not None and current.action.code is None:
        answer = current.action.text
    usage = trajectory.usage
    return {
        "version": 1,
        "role": "task",
        "task": _safe_id(trajectory),
        "status": trajectory.status,
        "limit": trajectory.limit,
        "model": _clean(trajectory.model),
        "tier": trajectory.tier,
        "told": _clean(trajectory.told),
        "background": trajectory.background,
        "answer": harmless(_clean(answer.strip()[:ANSWER_MOST])),
        "reason": _clean(trajectory.reason[:ANSWER_MOST]),
        "tokens": _tokens(usage),
        "cost": usage.cost,
        "duration": round(trajectory.duration, 3),
        "hash": trajectory.cell or code_hash(trajectory.task),
        **({"candidates": trajectory.candidates} if trajectory.candidates > 1 else {}),
    }


def task_cells(trajectory: Trajectory, attempts: bool = False) -> list[Any]:
    """Return the cells of one task in order: task, inputs, explanations and code, answer."""
    kept = trajectory.kept
    cells = [_task_cell(trajectory), *_variable_cells(trajectory)]
    for attempt in trajectory.attempts:
        if any(attempt is k for k in kept):
            cells += _accepted_cells(trajectory, attempt)
        elif attempts:
            cells.append(_attempt_cell(trajectory, attempt))
    cells.append(_answer_cell(trajectory))
    return cells


def _task_cell(trajectory: Trajectory) -> Any:
    quoted = "\n".join(f"> {line}".rstrip() for line in trajectory.task.strip().splitlines())
    return _markdown(quoted, _part(trajectory, "task"))


def _variable_cells(trajectory: Trajectory) -> Iterator[Any]:
    literals = [f"{name} = {literal}" for name, literal in trajectory.variables.items() if literal]
    others = [f"`{name}`" for name, literal in trajectory.variables.items() if not literal]
    if others:
        text = f"The code below uses variables that it was given: {', '.join(others)}. Set them first."
        yield _markdown(text, _part(trajectory, "explanation"))
    if literals:
        yield _code("\n".join(literals), [], {KEY: _part(trajectory, "explanation")})


def _accepted_cells(trajectory: Trajectory, attempt: Attempt) -> Iterator[Any]:
    if text := attempt.action.text.strip():
        yield _markdown(text, _part(trajectory, "explanation"))
    metadata = {KEY: attempt_record(trajectory, attempt, "accepted")}
    # what the user has changed since has not run in the sandbox
    outputs = outputs_of(attempt.observation) if attempt.taken is None else []
    yield _code(_accepted_code(attempt), outputs, metadata)


def _accepted_code(attempt: Attempt) -> str:
    return (attempt.action.code or "") if attempt.taken is None else attempt.taken


def _attempt_cell(trajectory: Trajectory, attempt: Attempt) -> Any:
    source = f"%%attempt {_safe_id(trajectory)}.{attempt.number}\n{attempt.action.code or ''}"
    metadata = {
        KEY: attempt_record(trajectory, attempt, "attempt"),
        "tags": [SKIP],
        "collapsed": True,
        "jupyter": {"source_hidden": True, "outputs_hidden": True},
    }
    return _code(source, outputs_of(attempt.observation), metadata)


def _answer_cell(trajectory: Trajectory) -> Any:
    answer = trajectory.answer
    text = answer if answer is not None else f"**Not solved.** {trajectory.reason}"
    return _markdown(text.strip() or "Done.", _part(trajectory, "answer"))


def _part(trajectory: Trajectory, role: str) -> dict[str, Any]:
    return {"version": 1, "role": role, "task": _safe_id(trajectory)}


def _v4() -> Any:
    import nbformat.v4  # late: it takes tenths of a second beside JupyterLab

    return nbformat.v4


def _markdown(text: str, record: dict[str, Any]) -> Any:
    v4 = _v4()
    return v4.new_markdown_cell(harmless(_clean(text)), metadata={KEY: record})


def _code(source: str, outputs: list[Any], metadata: dict[str, Any]) -> Any:
    v4 = _v4()
    return v4.new_code_cell(_clean(source), outputs=outputs, metadata=metadata)


def number_cells(cells: Sequence[Any]) -> None:
    """Count the code cells, and their results, as if they had been run from the top."""
    executed = [c for c in cells if c.cell_type == "code" and SKIP not in c.metadata.get("tags", [])]
    for count, cell in enumerate(executed, 1):
        cell.execution_count = count
        for output in cell.outputs:
            if output.output_type == "execute_result":
                output.execution_count = count


def harmless(text: str) -> str:
    """Return Markdown of a model or a user such that opening the notebook loads nothing from elsewhere.

    A picture's address can carry data out the moment a notebook is opened, so pictures become links that a
    person would have to click, and tags that load or run something become text.
    """
    return _ACTIVE.sub("&lt;", text.replace("![", "!\\["))


def outputs_of(observation: Observation | None) -> list[Any]:
    """Return the outputs as they may stand in a notebook's file."""
    import nbformat  # late: it takes tenths of a second beside JupyterLab

    from_dict: Any = nbformat.from_dict
    return [from_dict(output) for output in plain_outputs(observation.outputs if observation else [])]


def plain_outputs(outputs: Sequence[Output]) -> list[Output]:
    """Return outputs as plain data that any notebook or browser can hold."""
    return [rebuilt for output in outputs if (rebuilt := _output(output)) is not None]


def _output(output: Output) -> Output | None:
    # Rebuilt field by field: whatever else an output carries does not reach the file.
    kind = output.get("output_type")
    if kind == "stream":
        name = "stderr" if output.get("name") == "stderr" else "stdout"
        return {"output_type": kind, "name": name, "text": _clean(output.get("text", ""))}
    if kind == "error":
        lines = [_clean(line) for line in output.get("traceback", [])]
        ename, evalue = _clean(output.get("ename", "")), _clean(output.get("evalue", ""))
        return {"output_type": kind, "ename": ename, "evalue": evalue, "traceback": lines}
    if kind in ("display_data", "execute_result"):
        data = {str(mime): _mime_value(str(mime), value) for mime, value in output.get("data", {}).items()}
        counted = {"execution_count": None} if kind == "execute_result" else {}
        return {"output_type": kind, "data": data, "metadata": sendable(output.get("metadata", {})), **counted}
    return None


def _mime_value(mime: str, value: Any) -> Any:
    if mime == "application/json" or mime.endswith("+json"):
        return sendable(value)
    return _clean("".join(map(str, value)) if isinstance(value, list) else value)


def sendable(value: Any) -> Any:
    """Return what JSON in a browser can hold: no lone surrogates, no NaN, names that are text."""
    if isinstance(value, dict):
        return {_clean(k): sendable(v) for k, v in value.items()}
    if isinstance(value, list | tuple):
        return [sendable(v) for v in value]
    if value is None or isinstance(value, bool | int):
        return value
    if isinstance(value, float) and math.isfinite(value):
        return value
    return _clean(value)


def _clean(text: Any) -> str:
    if type(text) is str and text.isascii():
        return text
    return str(text).encode("utf-8", "replace").decode("utf-8")


def _tokens(usage: Any) -> dict[str, int]:
    return {"input": usage.input_tokens, "output": usage.output_tokens, "cache_read": usage.cache_read_tokens}


def _safe_id(trajectory: Trajectory) -> str:
    return re.sub(r"[^A-Za-z0-9_-]", "-", trajectory.id)[:40] or "task"


def _relative(name: str) -> bool:
    path = Path(name)
    return not path.is_absolute() and ".." not in path.parts


def runnable(notebook: Any) -> Iterator[tuple[int, str, Any]]:
    """Yield what a run from the top executes: each cell's 1-based number, its code, and the cell.

    Left out are cells tagged ``skip-execution``, cells of this package's own cell magics, and its line magics.
    """
    for number, cell in enumerate(notebook.cells, 1):
        if cell.cell_type != "code" or SKIP in cell.metadata.get("tags", []):
            continue
        if cell.source.lstrip().startswith(("%%agent", "%%attempt")):
            continue
        code = without_own_magics(cell.source)
        if code.strip():
            yield number, code, cell


def without_own_magics(source: str) -> str:
    """Return `source` with this package's own line magics emptied, so that line numbers stay."""
    return re.sub(r"(?m)^[ \t]*%(?:(?:re)?load_ext[ \t]+jupyter_codeagent|agent)\b.*$", "", source)
