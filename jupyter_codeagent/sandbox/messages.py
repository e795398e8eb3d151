"""What a remote sandbox and its user say to each other, described once for both sides.

A message has an operation, the number of the request it belongs to, a small JSON head and a payload of bytes of any
size. It crosses a Jupyter comm in parts: each part is one comm message with one buffer. Both sides check every part
they receive, and neither ever unpickles anything.

From the client: ``open`` (a policy; the payload is a tar file of the working folder), then ``execute``, ``put``,
``fetch``, ``checkpoint``, ``rollback``, ``reset``, ``rehearse`` and ``candidates``, one at a time; the head of each
names the checkpoints that were dropped since. At any time: ``ask`` (what became of a request), ``interrupt`` and
``abandon``.

From the host: ``growing`` (observations so far), ``working`` and ``unseen`` (the answers to ``ask``), and at the end
of each request ``done`` or ``failed``.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from jupyter_codeagent.errors import NotPlainData, SandboxDied, SandboxUnavailable
from jupyter_codeagent.sandbox import gate
from jupyter_codeagent.trajectory import Observation

TARGET = "jupyter_codeagent.sandbox"  # the comm's target name
VERSION = 1
PART = 4 * 2**20  # bytes of one part: Jupyter servers take websocket messages of up to 10 MiB
HEAD = 2**20  # characters of a head
REQUESTS = (
    "open", "execute", "put", "fetch", "checkpoint", "rollback", "reset", "rehearse", "candidates",
)  # fmt: skip
ASIDE = ("ask", "interrupt", "abandon")
KINDS = {"SandboxUnavailable": SandboxUnavailable, "SandboxDied": SandboxDied, "ValueError": ValueError}
FAILURE = ("name", "reason", "said", "kind")
LIMITS = (
    "memory",
    "timeout",
    "processes",
    "disk",
    "output",
    "cpus",
    "checkpoints",
    "min_tier",
    "network",
)  # of a policy
REPLIES = ("growing", "working", "unseen", "done", "failed")


class BadMessage(Exception):
    """A message that the other side, as we wrote it, would never send; says so in one sentence."""


@dataclass(frozen=True)
class Message:
    """One message, whole.

    Parameters
    ----------
    op : str
        What it is about.
    number : int
        The request it belongs to, counted from 1 by the client.
    head : dict
        What JSON can hold, kept small.
    payload : bytes
        Everything that may be large.
    """

    op: str
    number: int
    head: dict[str, Any] = field(default_factory=dict)
    payload: bytes = b""

    def parts(self) -> Iterator[tuple[dict[str, Any], memoryview]]:
        """Yield data and buffer of each comm message."""
        payload = memoryview(self.payload)
        count = max(1, -(-payload.nbytes // PART))
        for part in range(count):
            data = {"version": VERSION, "op": self.op, "id": self.number, "part": part, "parts": count}
            yield data | ({"head": self.head} if part == 0 else {}), payload[part * PART : (part + 1) * PART]


class Assembler:
    """Joins the parts that arrive to messages.

    Parameters
    ----------
    ops : sequence of str
        The operations that may arrive.
    most : int
        Bytes of a payload at most.
    """

    def __init__(self, ops: Sequence[str], most: int) -> None:
        self.ops, self.most = ops, most
        self._forget()

    def _forget(self) -> None:
        self.begun: tuple[str, int, int, dict[str, Any]] | None = None
        self.pieces: list[bytes] = []
        self.size = 0

    def take(self, data: object, buffers: Sequence[bytes | memoryview]) -> Message | None:
        """Return the message that is complete with this part, if one is.

        Where an earlier part was lost on the way the rest is dropped: who waits for the message asks again.

        Raises
        ------
        BadMessage
            If the part is malformed, or the whole larger than allowed.
        """
        op, number, part, parts = self._checked(data)
        assert isinstance(data, dict)
        if part == 0:
            self._forget()
            self.begun = (op, number, parts, _head(data.get("head")))
        elif self.begun is None or self.begun[:3] != (op, number, parts) or part != len(self.pieces):
            self._forget()
            return None
        piece = b"".join(bytes(buffer) for buffer in buffers[:1])
        self.size += len(piece)
        if len(piece) > PART or self.size > self.most:
            self._forget()
            raise BadMessage(f"A message {op!r} has more than {min(self.most, parts * PART):,} bytes.")
        self.pieces.append(piece)
        if len(self.pieces) < parts:
            return None
        whole = Message(op, number, self.begun[3], b"".join(self.pieces))
        self._forget()
        return whole

    def _checked(self, data: object) -> tuple[str, int, int, int]:
        if not isinstance(data, dict):
            raise BadMessage("A message is not a JSON object.")
        if data.get("version") != VERSION or isinstance(data["version"], bool):
            said = shown(data.get("version"))
            raise BadMessage(f"A message has version {said}, and this side speaks {VERSION}; install the same release.")
        op = data.get("op")
        if not isinstance(op, str) or op not in self.ops:
            raise BadMessage(f"A message has the unknown operation {shown(op)}.")
        number, part, parts = (whole(data.get(name)) for name in ("id", "part", "parts"))
        if part >= parts or (parts - 1) * PART > self.most:
            raise BadMessage(f"A message says that it is part {part:,} of {parts:,}.")
        return op, number, part, parts


def _head(head: object) -> dict[str, Any]:
    if not isinstance(head, dict):
        raise BadMessage("A message has no head.")
    try:
        if len(json.dumps(head)) > HEAD:
            raise BadMessage("The head of a message is too long.")
    except (ValueError, TypeError, RecursionError) as error:
        raise BadMessage("The head of a message is not JSON.") from error
    return head


def shown(value: object) -> str:
    """Return a word for a value that may be anything, for a message of one line."""
    if isinstance(value, bool | float) or value is None:
        return repr(value)
    if isinstance(value, int) and abs(value) < 2**63:
        return str(value)
    return ascii(value[:30]) if isinstance(value, str) else f"a {type(value).__name__}"


def whole(value: object, most: int = 2**53) -> int:
    """Return `value` as a number of things; raises BadMessage if it is none."""
    if type(value) is not int or not 0 <= value <= most:
        raise BadMessage(f"A message has {shown(value)} where a whole number is meant.")
    return value


def number(value: object, least: float, most: float) -> float:
    """Return a number between two others; raises BadMessage if it is none."""
    if isinstance(value, bool) or not isinstance(value, int | float) or not least <= value <= most:
        raise BadMessage(f"A message has {shown(value)} where {least:g} to {most:g} is meant.")
    return value


def text(value: object) -> str:
    """Return `value` if it is text; raises BadMessage if it is not."""
    if not isinstance(value, str):
        raise BadMessage(f"A message has {shown(value)} where text is meant.")
    return value


def texts(payload: bytes) -> list[str]:
    """Return the texts in a payload: a JSON list; raises BadMessage if it is something else."""
    found = loads(payload)
    if not isinstance(found, list):
        raise BadMessage("A payload is not a list of texts.")
    return [text(each) for each in found]


def dumps(data: object) -> bytes:
    """Return JSON, in which single surrogates survive (as escapes)."""
    return json.dumps(data, allow_nan=False).encode()


def loads(payload: bytes) -> Any:
    """Return what a payload holds as JSON; raises BadMessage for anything else, NaN included."""
    try:
        return json.loads(payload.decode(), parse_constant=_refuse)
    except (ValueError, RecursionError) as error:
        raise BadMessage(f"A payload is not JSON ({type(error).__name__}).") from error


def _refuse(constant: str) -> None:
    raise ValueError(f"{constant} is not JSON")


# -- observations ----------------------------------------------------------------------------------


def packed(seen: Sequence[Observation]) -> bytes:
    """Return observations as a payload."""
    return dumps([asdict(each) for each in seen])


def observations(payload: bytes) -> list[Observation]:
    """Return the observations in a payload, each rebuilt by the gate as if a sandbox here had sent it.

    Raises
    ------
    BadMessage
        If it holds anything else.
    """
    found = loads(payload)
    if not isinstance(found, list) or not all(isinstance(each, dict) for each in found):
        raise BadMessage("A payload is not a list of observations.")
    try:
        return [_observation(each) for each in found]
    except gate.Violation as error:
        raise BadMessage(f"An observation is malformed: {error}.") from error


def _observation(data: dict[str, Any]) -> Observation:
    outputs, notes = data.get("outputs"), data.get("notes")
    if not isinstance(outputs, list) or not isinstance(notes, list):
        raise BadMessage("An observation has no outputs.")
    collector = gate.Collector()
    for output in outputs:
        _collect(collector, output if isinstance(output, dict) else {})
    error = gate.error(data.get("error"))
    passed = collector.outputs() + ([gate.error_output(error)] if error else [])
    said = [gate.bare(note, 1000) for note in notes[:100]]
    if collector.left_out:
        said.append(f"{collector.left_out} more outputs were left out.")
    seconds = number(data.get("duration"), 0, 10**9)
    names, modules = gate.names(data.get("names")), gate.modules(data.get("modules"))
    return Observation(passed, error, seconds, tuple(said), names, modules)


def _collect(collector: gate.Collector, output: dict[str, Any]) -> None:
    kind = output.get("output_type")
    if kind == "stream":
        name = "stderr" if output.get("name") == "stderr" else "stdout"
        collector.stream(name, text(output.get("text")).encode("utf-8", "replace"))
    elif kind in ("display_data", "execute_result"):
        collector.display({"data": output.get("data"), "kind": kind})


# -- failures ---------------------------------------------------------------------------------------


def failure(error: Exception) -> dict[str, str]:
    """Return the head that tells of an error."""
    if isinstance(error, NotPlainData):
        return {"kind": "NotPlainData", "said": "", "name": error.name[:200], "reason": error.reason[:2000]}
    kind = next((name for name, known in KINDS.items() if isinstance(error, known)), type(error).__name__)
    return {"kind": kind, "said": gate.bare(str(error), 2000)}


def raise_failure(head: dict[str, Any]) -> None:
    """Raise what the head of a failed request tells of; what is not known is that the sandbox has died."""
    name, reason, said, kind = (" ".join(gate.bare(head.get(key), 2000).split()) for key in FAILURE)
    if kind == "NotPlainData":
        raise NotPlainData(name, reason.rstrip("."))
    if kind in KINDS:
        raise KINDS[kind](said)
    raise SandboxDied(f"The remote sandbox failed ({kind}: {said}); make a new one.")
