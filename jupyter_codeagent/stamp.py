"""The stamp on a notebook that says it was verified, when and with what; worth nothing once its content changes.

The hash of the content is defined so that other languages can compute it too. It is BLAKE2b (RFC 7693) with 16 bytes,
in hexadecimal, of the encoding of the list

    ["jupyter_codeagent.content", 1, cells, inputs, environment]

``cells`` are the hashes of the cells, each made in the same way, so that an editor computes only those of edited cells.
That of a cell is of the list ``[cell_type, source, tags, outputs]``: ``tags`` are those of "raises-exception" and
"skip-execution" that the cell has, in this order, and ``outputs`` is empty but for code cells. An output is one of

    ["stream", name, text]   ["error", ename, evalue, traceback]
    ["display_data", data]   ["execute_result", data]   [output_type] for any other

``traceback`` is a list of texts. ``data`` is the object by MIME type. Texts of a notebook may stand as lists of texts:
sources, the text of streams, and in ``data`` whatever is a list of nothing but texts, except under
"application/json", are joined. What should be a text and is neither that nor a list of texts is the empty text.
Streams of one name that follow each other are one, and their text is what a terminal shows of it: "\\r\\n" is "\\n",
"\\r" returns to the beginning of the line, "\\b" goes one back (not beyond the beginning), and what follows overwrites,
one UTF-16 code unit at a time. Counts, ids and all other metadata are left out. ``inputs`` and ``environment`` are
those of the notebook's metadata under "jupyter_codeagent", null where there are none.

A value is encoded as one letter and what follows, numbers of items as four bytes, the highest first:

    n  null    t  true    f  false
    d  number: IEEE 754 float64, eight bytes, the highest first; -0 as 0, a not-a-number as 7ff8000000000000
    s  text: number of UTF-16 code units, then these, two bytes each, the lowest first (a lone surrogate as it is)
    l  list: number of values, then these
    o  object: number of members, then for each its name (as s) and value, by the UTF-16 code units of the names
"""

from __future__ import annotations

import hashlib
import json
import math
import os
import platform
import re
import struct
from array import array
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal

from jupyter_codeagent.errors import NotebookError
from jupyter_codeagent.notebook import KEY, SKIP
from jupyter_codeagent.notebook_file import loaded
from jupyter_codeagent.placing import replace_file

State = Literal["verified", "failed", "edited", "none"]
REASONS_MOST, REASON_MOST = 20, 500  # sentences in a stamp, and characters of each
_NAN = bytes.fromhex("7ff8000000000000")


def content_hash(notebook: Any) -> str:
    """Return the hash of what a stamp is bound to, 32 hexadecimal digits, as the module's text defines it.

    Parameters
    ----------
    notebook : dict
        A notebook of format 4 as nbformat or the json module reads it; nothing else about it is trusted.
    """
    record = _record(notebook)
    cells = [_hash(_cell(cell)) for cell in _list(_member(notebook, "cells"))]
    return _hash(["jupyter_codeagent.content", 1, cells, record.get("inputs"), record.get("environment")])


def make(notebook: Any, ok: bool, reasons: Sequence[str] = (), *, tier: str = "", executed: int = 0) -> dict[str, Any]:
    """Return the stamp for a notebook that has just been verified.

    Parameters
    ----------
    notebook : nbformat.NotebookNode
        What was verified, with the outputs it holds.
    ok : bool
        Whether it is reproducible.
    reasons : sequence of str
        Why it is not.
    tier : str
        The isolation that the run had.
    executed : int
        Code cells that were executed.
    """
    from jupyter_codeagent import __version__

    return {
        "ok": ok,
        "when": datetime.now(UTC).isoformat(timespec="seconds"),
        "hash": content_hash(notebook),
        "by": {"jupyter_codeagent": __version__, "python": platform.python_version()},
        "tier": tier,
        "executed": executed,
        "reasons": [_sendable(reason)[:REASON_MOST] for reason in reasons[:REASONS_MOST]],
    }


def stamp_of(notebook: Any) -> dict[str, Any] | None:
    """Return the stamp that a notebook carries; None where there is none. It is the file's own word."""
    found = _record(notebook).get("verified")
    return found if isinstance(found, dict) and isinstance(found.get("hash"), str) else None


def state_of(notebook: Any) -> State:
    """Return what a notebook's stamp is worth.

    Returns
    -------
    str
        "verified" or "failed": what the stamp says of the content as it is now. "edited": the content has changed
        since, so that the stamp says nothing. "none": there is no stamp.
    """
    stamp = stamp_of(notebook)
    if stamp is None:
        return "none"
    if stamp["hash"] != content_hash(notebook):
        return "edited"
    return "verified" if stamp.get("ok") is True else "failed"


def told(notebook: Any) -> str:
    """Return a sentence on what a notebook's stamp is worth; empty where there is none."""
    stamp, state = stamp_of(notebook), state_of(notebook)
    when = str(stamp.get("when"))[:16] if stamp is not None else ""
    moment = f" on {when.replace('T', ' ')} UTC" if re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d", when) else ""
    if state == "edited":
        return f"The notebook was edited since it was stamped{moment}; that stamp counts for nothing."
    said = {"verified": "it was verified", "failed": "it was not reproducible"}.get(state)
    return f"The file's own stamp says that {said}{moment}." if said else ""


def put(notebook: Any, stamp: dict[str, Any]) -> None:
    """Set the stamp in a notebook's metadata, in memory."""
    metadata = notebook["metadata"] if isinstance(notebook.get("metadata"), dict) else {}
    record = metadata.get(KEY)
    metadata[KEY] = {**(record if isinstance(record, dict) else {"version": 1}), "verified": stamp}
    notebook["metadata"] = metadata


def write_stamp(path: str | Path, stamp: dict[str, Any]) -> str:
    """Set the stamp in the notebook's file, if that still holds what the stamp is bound to.

    All else of the file stays as it is. It is written whole or not at all.

    Returns
    -------
    str
        Empty where it was written, else one sentence that says why not; the file is as it was then.
    """
    path = Path(path).resolve()  # a symbolic link stays one
    try:
        before, content = path.stat(), path.read_bytes()
        notebook = loaded(content, path)
        if not isinstance(notebook, dict) or content_hash(notebook) != stamp["hash"]:
            return f"{path.name} has changed while it was verified, so it was not stamped; verify it again."
        put(notebook, stamp)
        text = json.dumps(notebook, ensure_ascii=False, indent=_indent(content)) + "\n"
        if not _same(before, path.stat()):
            return f"{path.name} is being written by another program, so it was not stamped; verify it again."
        if not os.access(path, os.W_OK):
            return f"{path.name} is read-only, so it was not stamped."
        replace_file(path, text.encode("utf-8", "surrogatepass"))
    except OSError as error:
        return f"{path.name} was not stamped: {error.strerror or error}."
    except (ValueError, RecursionError, NotebookError) as error:
        return f"{path.name} was not stamped: {error}."
    return ""


def _same(before: os.stat_result, after: os.stat_result) -> bool:
    return all(getattr(before, name) == getattr(after, name) for name in ("st_mtime_ns", "st_size", "st_ino"))


def _indent(content: bytes) -> int | None:
    # as the file has it, so that a comparison of versions shows the stamp alone
    found = re.match(rb"(?:\xef\xbb\xbf)?\s*\{\r?\n( *)", content)
    return len(found[1]) if found else None


def _record(notebook: Any) -> dict[str, Any]:
    record = _member(_member(notebook, "metadata"), KEY)
    return record if isinstance(record, dict) else {}


def _member(value: Any, name: str) -> Any:
    return value.get(name) if isinstance(value, dict) else None


def _list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else []


def _cell(cell: Any) -> list[Any]:
    kind = _text(_member(cell, "cell_type"))
    tags = _list(_member(_member(cell, "metadata"), "tags"))
    outputs = _outputs(_list(_member(cell, "outputs"))) if kind == "code" else []
    return [kind, _text(_member(cell, "source")), [t for t in ("raises-exception", SKIP) if t in tags], outputs]


def _outputs(outputs: list[Any]) -> list[list[Any]]:
    found: list[list[Any]] = []
    texts: list[str] = []  # of the stream that was met last, if nothing came after it
    for output in outputs:
        new = _output(output)
        if new[0] == "stream" and found and found[-1][:2] == new[:2]:
            texts.append(new[2])
            continue
        _settle(found, texts)
        found.append(new)
        texts = [new[2]] if new[0] == "stream" else []
    _settle(found, texts)
    return found


def _settle(found: list[list[Any]], texts: list[str]) -> None:
    if texts:
        found[-1][2] = settled("".join(texts))


def _output(output: Any) -> list[Any]:
    kind = _text(_member(output, "output_type"))
    if kind == "stream":
        return [kind, _text(_member(output, "name")), _text(_member(output, "text"))]
    if kind == "error":
        lines = [_text(line) for line in _list(_member(output, "traceback"))]
        return [kind, _text(_member(output, "ename")), _text(_member(output, "evalue")), lines]
    if kind in ("display_data", "execute_result"):
        data = _member(output, "data")
        return [kind, {m: _value(m, v) for m, v in data.items()} if isinstance(data, dict) else {}]
    return [kind]


def _value(mime: str, value: Any) -> Any:
    if mime != "application/json" and isinstance(value, list) and all(isinstance(line, str) for line in value):
        return "".join(value)
    return value


def _text(value: Any) -> str:
    if isinstance(value, list) and all(isinstance(line, str) for line in value):
        return "".join(value)
    return value if isinstance(value, str) else ""


def settled(text: str) -> str:
    """Return what a terminal shows of `text` once it is printed: what was written over is gone."""
    if "\r" not in text and "\b" not in text:
        return text
    lines = text.replace("\r\n", "\n").split("\n")
    return "\n".join(_settled_line(line) if "\r" in line or "\b" in line else line for line in lines)


def _settled_line(line: str) -> str:
    shown, place = array("H"), 0
    for part in re.split("([\r\b])", line):
        if part == "\r":
            place = 0
        elif part == "\b":
            place = max(0, place - 1)
        else:
            units = array("H", part.encode("utf-16-le", "surrogatepass"))
            shown[place : place + len(units)] = units
            place += len(units)
    return shown.tobytes().decode("utf-16-le", "surrogatepass")


def _hash(value: Any) -> str:
    total = hashlib.blake2b(digest_size=16)
    for piece in _encoded(value):
        total.update(piece)
    return total.hexdigest()


def _encoded(value: Any) -> Iterator[bytes]:
    """Yield the encoding of `value`, which may be nested as deep as it likes."""
    left = [value]
    while left:
        value = left.pop()
        if isinstance(value, str):
            yield from _encoded_text(value)
        elif isinstance(value, dict):
            members = sorted((_units(str(name)), str(name), member) for name, member in _unique(value).items())
            yield b"o" + struct.pack(">I", len(members))
            left += [item for _, name, member in reversed(members) for item in (member, name)]
        elif isinstance(value, list | tuple):
            yield b"l" + struct.pack(">I", len(value))
            left += reversed(value)
        else:
            yield _encoded_plain(value)


def _unique(value: dict[Any, Any]) -> dict[str, Any]:
    return {str(name): member for name, member in value.items()}


def _encoded_text(text: str) -> Iterator[bytes]:
    units = text.encode("utf-16-le", "surrogatepass")
    yield b"s" + struct.pack(">I", len(units) // 2)
    yield units


def _units(text: str) -> bytes:
    return text.encode("utf-16-be", "surrogatepass")  # bytes in the order of the code units


def _encoded_plain(value: Any) -> bytes:
    if value is None or isinstance(value, bool):
        return {None: b"n", True: b"t", False: b"f"}[value]
    if isinstance(value, int | float):
        return b"d" + _number(value)
    raise NotebookError(f"A notebook cannot hold a value of the type {type(value).__name__}.")


def _number(value: float) -> bytes:
    try:
        number = float(value) + 0.0  # -0.0 becomes 0.0
    except OverflowError:  # a whole number beyond all floats
        number = math.copysign(math.inf, value > 0 or -1)
    return _NAN if math.isnan(number) else struct.pack(">d", number)


def _sendable(text: str) -> str:
    return text.encode("utf-8", "replace").decode("utf-8")
