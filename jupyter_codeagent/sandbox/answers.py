"""What the sandbox answers to questions about code, as it may be shown: bounded, cleaned, and of the right types.

Answers are hostile: the code's own classes are asked for them.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from jupyter_codeagent.sandbox.gate import bare
from jupyter_codeagent.sandbox.sandbox import Sandbox

MATCHES = 500
MATCH = 500  # characters of one completion
TEXT = 2**18  # characters of help
VARIABLES = 500


@dataclass(frozen=True)
class Match:
    """A text that can stand in place of ``code[start:end]``, with what it is and how it is called."""

    start: int
    end: int
    text: str
    kind: str
    signature: str


@dataclass(frozen=True)
class Variable:
    """A name of the notebook: its value's type, a description of it, and of newer ones the beginning of its text."""

    name: str
    kind: str
    told: str
    look: str = ""


def complete(sandbox: Sandbox, code: str, cursor: int) -> list[Match]:
    """Return what can stand before `cursor`; all replace the same part of the code."""
    given = sandbox.ask("complete", code=code, cursor=cursor).get("matches")
    found = [_match(each, code, cursor) for each in _list(given, MATCHES)]
    matches = [match for match in found if match is not None]
    return [match for match in matches if (match.start, match.end) == (matches[0].start, matches[0].end)]


def _match(given: object, code: str, cursor: int) -> Match | None:
    if not isinstance(given, list) or len(given) != 5:
        return None
    start, end, text = given[0], given[1], line(given[2], MATCH)
    if type(start) is not int or type(end) is not int or not 0 <= start <= cursor <= end <= len(code) or not text:
        return None
    return Match(start, end, text, line(given[3], 50), line(given[4], 300))


def inspect(sandbox: Sandbox, code: str, cursor: int, detail: int) -> str:
    """Return what is known of the name at `cursor`, or an empty string."""
    return bare(sandbox.ask("inspect", code=code, cursor=cursor, detail=detail).get("text"), TEXT)


def is_complete(sandbox: Sandbox, code: str) -> tuple[str, int]:
    """Return ``complete``, ``incomplete``, ``invalid`` or ``unknown``, and by how much the next line is indented."""
    given = sandbox.ask("is_complete", code=code)
    status, indent = given.get("status"), given.get("indent")
    known = status if status in ("complete", "incomplete", "invalid") else "unknown"
    return str(known), indent if type(indent) is int and 0 <= indent <= 200 else 0


def expressions(sandbox: Sandbox, wanted: Mapping[str, str]) -> dict[str, dict[str, Any]]:
    """Return the value of each expression as the messaging protocol has it; as text only."""
    given = sandbox.ask("expressions", expressions=dict(wanted)).get("expressions")
    answers = given if isinstance(given, dict) else {}
    return {name: _value(answers.get(name)) for name in wanted}


def _value(given: object) -> dict[str, Any]:
    if isinstance(given, dict) and "text" in given:
        return {"status": "ok", "data": {"text/plain": bare(given["text"], TEXT)}, "metadata": {}}
    failed = given if isinstance(given, dict) else {"ename": "NoAnswer", "evalue": "The sandbox gave no answer."}
    ename, evalue = line(failed.get("ename"), 200), bare(failed.get("evalue"), TEXT)
    return {"status": "error", "ename": ename, "evalue": evalue, "traceback": [f"{ename}: {evalue}"]}


def variables(sandbox: Sandbox) -> list[Variable]:
    """Return the names that code has set, the newest last."""
    found = []
    for each in _list(sandbox.ask("variables").get("variables"), VARIABLES):
        if isinstance(each, list) and len(each) == 4 and (name := line(each[0], 100)).isidentifier():
            found.append(Variable(name, line(each[1], 100), line(each[2], 400), bare(each[3], 700)))
    return found


def line(text: object, limit: int) -> str:
    """Return `text` in one line of at most `limit` characters, cleaned."""
    return " ".join(bare(text, limit).split()) if isinstance(text, str) and len(text) <= limit else ""


def _list(given: object, most: int) -> list[Any]:
    return given[:most] if isinstance(given, list) else []
