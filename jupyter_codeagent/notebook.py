"""A trajectory as a notebook: plain cells that run without this package."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from jupyter_codeagent.environment import packages_of, sound, sound_modules
from jupyter_codeagent.fingerprint import entry
from jupyter_codeagent.locality import sound_locality
from jupyter_codeagent.mentioned import seeds
from jupyter_codeagent.trajectory import Attempt, Observation, Output, Trajectory, Usage, code_hash

KEY = "jupyter_codeagent"  # the name of our part of the metadata
SKIP = "skip-execution"  # the tag by which nbclient and papermill leave a cell out
ANY_KERNEL = {"display_name": "Python 3", "language": "python", "name": "python3"}  # what every Jupyter has
EXPLANATION_MOST, ANSWER_MOST = 10_000, 50_000  # characters of the model's words in metadata
_LATEST = 253402300799  # seconds from 1970 to the end of the year 9999
NOTES_MOST, NOTE_MOST = 20, 1000  # sentences of the supervisor, and characters of each

# Line magics of this package, and settings of it.
_OWN = re.compile(r"(?m)^[ \t]*%(?:(?:re|un)?load_ext[ \t]+jupyter_codeagent|agent|undo|config[ \t]+CodeAgent)\b.*$")
# Tags that make a browser load or run something. Model text is Markdown and needs none of them.
_ACTIVE = re.compile(
    r"<(?=/?(?:img|image|picture|source|video|audio|track|iframe|frame|embed|object|applet|link|style|script|svg|math"
    r"|form|input|button|base|meta|body|html)\b)",
    re.IGNORECASE,
)


def new_notebook(cells: Sequence[Any], record: dict[str, Any]) -> Any:
    """Return a notebook with these cells for any Python kernel; `record` is what it says of itself."""
    metadata = {"kernelspec": dict(ANY_KERNEL), "language_info": {"name": "python"}, KEY: record}
    return _node(nbformat=4, nbformat_minor=5, metadata=metadata, cells=list(cells))


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
        "cost": _cost(trajectory.usage),
        **({"date": _moment(trajectory.ended)} if trajectory.ended > 0 else {}),
        "checks": [{"check": _clean(v.check), "passed": v.passed} for v in verdicts],
        "inputs": [entry(i) for i in (*trajectory.inputs, *trajectory.reads) if _relative(i.name)],
        "variables": [_clean(name) for name, literal in trajectory.variables.items() if not literal],
        **_surroundings(trajectory),
    }


def _moment(seconds: float) -> str:
    """Return a time in seconds since 1970 as ISO 8601 in UTC."""
    return datetime.fromtimestamp(min(seconds, _LATEST), UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def _surroundings(trajectory: Trajectory) -> dict[str, Any]:
    """Return what a record says of packages, modules, time zone, locale and seeds."""
    codes = [accepted_code(a) for a in trajectory.kept]
    environment = sound(trajectory.environment)
    if not environment or any(a.taken is not None for a in trajectory.kept):  # what the user wrote may import more
        folder = Path(trajectory.folder) if trajectory.folder else None
        environment = {**packages_of(codes, folder=folder), **environment}
    more = {"modules": sound_modules(trajectory.modules), "locale": sound_locality(trajectory.locale)}
    return {
        "environment": environment,
        **{name: told for name, told in {**more, "seeds": [_clean(s) for s in seeds(codes)]}.items() if told},
    }


def merged_record(trajectories: Sequence[Trajectory]) -> dict[str, Any]:
    """Return what a notebook's metadata says where it holds several tasks: sums, and the worst status."""
    records = [notebook_record(t) for t in trajectories]
    order = ["solved", "queued", "running", "failed", "stopped"]
    usage = sum((t.usage for t in trajectories), Usage())
    return {
        **records[-1],
        "status": max((r["status"] for r in records), key=order.index),
        "attempts": sum(r["attempts"] for r in records),
        "tokens": _tokens(usage),
        "cost": _cost(usage),
        "checks": [c for r in records for c in r["checks"]],
        "inputs": list({i["name"]: i for r in records for i in r["inputs"]}.values()),
        "variables": list(dict.fromkeys(name for r in records for name in r["variables"])),
        "environment": {name: version for r in records for name, version in r["environment"].items()},
        **{
            name: list(dict.fromkeys(told for r in records for told in r.get(name, ())))
            for name in ("modules", "seeds")
            if any(name in r for r in records)
        },
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
        "hash": code_hash(accepted_code(attempt) if role == "accepted" else attempt.action.code or ""),
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
    """Return the cells of one task in order: task, explanations and code, answer. Their ids are the same each time."""
    kept = trajectory.kept
    cells = [task_cell(trajectory), *_missing_cells(trajectory)]
    for attempt in trajectory.attempts:
        if any(attempt is k for k in kept):
            cells += accepted_cells(trajectory, attempt)
        elif attempts:
            cells.append(attempt_cell(trajectory, attempt))
    return [*cells, answer_cell(trajectory)]


def task_cell(trajectory: Trajectory) -> Any:
    """Return the task as a quotation."""
    quoted = "\n".join(f"> {line}".rstrip() for line in trajectory.task.strip().splitlines())
    return _markdown(quoted, _part(trajectory, "task"), "task")


def _missing_cells(trajectory: Trajectory) -> Iterator[Any]:
    others = [f"`{name}`" for name, literal in trajectory.variables.items() if not literal]
    if others:
        text = f"The code below uses variables that it was given: {', '.join(others)}. Set them first."
        yield _markdown(text, _part(trajectory, "explanation"), "variables")


def parameters_cells(trajectories: Sequence[Trajectory]) -> list[Any]:
    """Return the plain values that tasks were given as one cell, tagged ``parameters`` as papermill wants it."""
    given = _first_values(trajectories)
    if not given:
        return []
    first = next(t for t in trajectories if any(t.variables.values()))
    return [_code(_assigned(given), [], {KEY: _part(first, "explanation"), "tags": ["parameters"]}, "parameters")]


def changed_values_cells(trajectories: Sequence[Trajectory]) -> list[list[Any]]:
    """Return for each task a cell, or none, with values that by then are not as the cell of parameters has set them."""
    known, found = _first_values(trajectories), []
    for trajectory in trajectories:
        changed = {n: literal for n, literal in trajectory.variables.items() if literal and known[n] != literal}
        part = {KEY: _part(trajectory, "explanation")}
        found.append([_code(_assigned(changed), [], part, "values")] if changed else [])
        by_code = [name for a in trajectory.kept if a.observation for name in a.observation.names]
        known |= {**changed, **dict.fromkeys(by_code, "")}
    return found


def _first_values(trajectories: Sequence[Trajectory]) -> dict[str, str]:
    return {n: literal for t in reversed(trajectories) for n, literal in t.variables.items() if literal}


def _assigned(literals: dict[str, str]) -> str:
    return "\n".join(f"{name} = {literal}" for name, literal in literals.items())


def accepted_cells(trajectory: Trajectory, attempt: Attempt) -> list[Any]:
    """Return an attempt as it is kept: its explanation, if there is one, and its code with what came of it."""
    cells = explanation_cells(trajectory, attempt)
    metadata = {KEY: attempt_record(trajectory, attempt, "accepted")}
    # what the user has changed since has not run in the sandbox
    outputs = outputs_of(attempt.observation) if attempt.taken is None else []
    return [*cells, _code(accepted_code(attempt), outputs, metadata, f"code-{attempt.number}")]


def explanation_cells(trajectory: Trajectory, attempt: Attempt) -> list[Any]:
    """Return what the model wrote before the code of an attempt, as a cell or none."""
    text = attempt.action.text.strip()
    return [_markdown(text, _part(trajectory, "explanation"), f"why-{attempt.number}")] if text else []


def accepted_code(attempt: Attempt) -> str:
    """Return the code of an attempt as the user took it over, or else as it ran."""
    return (attempt.action.code or "") if attempt.taken is None else attempt.taken


def attempt_cell(trajectory: Trajectory, attempt: Attempt) -> Any:
    """Return an attempt that is not kept, as a collapsed cell that no notebook client executes."""
    source = f"%%attempt {_safe_id(trajectory)}.{attempt.number}\n{attempt.action.code or ''}"
    metadata = {
        KEY: attempt_record(trajectory, attempt, "attempt"),
        "tags": [SKIP],
        "collapsed": True,
        "jupyter": {"source_hidden": True, "outputs_hidden": True},
    }
    return _code(source, outputs_of(attempt.observation), metadata, f"attempt-{attempt.number}")


def answer_cell(trajectory: Trajectory) -> Any:
    """Return the answer, or why there is none."""
    answer = trajectory.answer
    text = answer if answer is not None else f"**Not solved.** {trajectory.reason}"
    return _markdown(text.strip() or "Done.", _part(trajectory, "answer"), "answer")


def _part(trajectory: Trajectory, role: str) -> dict[str, Any]:
    return {"version": 1, "role": role, "task": _safe_id(trajectory)}


def _node(**parts: Any) -> Any:
    # nbformat's own makers validate each part, a millisecond a cell; the whole is validated when it is written
    import nbformat  # late: it takes tenths of a second beside JupyterLab

    from_dict: Any = nbformat.from_dict
    return from_dict(parts)


def _markdown(text: str, record: dict[str, Any], name: str) -> Any:
    source = harmless(_clean(text))
    return _node(cell_type="markdown", id=_cell_id(record, name), metadata={KEY: record}, source=source)


def _code(source: str, outputs: list[Any], metadata: dict[str, Any], name: str) -> Any:
    return code_cell(source, outputs, metadata, _cell_id(metadata[KEY], name))


def code_cell(source: str, outputs: Sequence[Output], metadata: dict[str, Any], name: str) -> Any:
    """Return a code cell with the id `name`; outputs as `plain_outputs` gives them."""
    return _node(
        cell_type="code",
        id=name,
        metadata=metadata,
        execution_count=None,
        source=_clean(source),
        outputs=list(outputs),
    )


def _cell_id(record: dict[str, Any], name: str) -> str:
    # the same task saved again has the same cells
    return f"{record['task'][:40]}-{name}"[:64]


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
        traced = output.get("traceback")
        lines = [_clean(line) for line in traced] if isinstance(traced, list | tuple) else []
        ename, evalue = _clean(output.get("ename", "")), _clean(output.get("evalue", ""))
        return {"output_type": kind, "ename": ename, "evalue": evalue, "traceback": lines}
    if kind in ("display_data", "execute_result"):
        held, said = (part if isinstance(part := output.get(name), dict) else {} for name in ("data", "metadata"))
        data = {_clean(mime): _mime_value(_clean(mime), value) for mime, value in held.items()}
        counted = {"execution_count": None} if kind == "execute_result" else {}
        return {"output_type": kind, "data": data, "metadata": sendable(said), **counted}
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


def _cost(usage: Usage) -> float | None:
    return usage.cost if usage.cost is not None and math.isfinite(usage.cost) and usage.cost >= 0 else None


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
    return _OWN.sub("", source)
