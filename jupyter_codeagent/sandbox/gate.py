"""The gate: everything that comes out of a sandbox passes here, and nothing else does.

Input is hostile. What passes has the types of nbformat 4.5, bounded sizes, MIME types from a short list, no
terminal escapes but colours, HTML rebuilt from a short list of tags, and images whose headers were read.
"""

from __future__ import annotations

import base64
import codecs
import json
import re
from collections.abc import Callable
from typing import Any

from jupyter_codeagent import images
from jupyter_codeagent.sandbox import markup
from jupyter_codeagent.trajectory import CodeError, Frame, Output, plain

MIB = 2**20
OUTPUTS = 1000  # outputs of one execution that are kept
TEXT = MIB  # characters of one text representation
TRACEBACK = MIB // 2  # characters of one traceback
IMAGE = 8 * MIB  # characters of one encoded image
PIXELS = 50_000_000
ALL_PIXELS = 250_000_000  # of the images of one execution together: each takes four bytes where it is shown
IMAGES = 50
NAMES = 40
MODULES = 500
PAGE = "page"  # in the metadata of an output that a terminal shows in its pager

_NOT_COLOUR = re.compile(
    r"\x1b(?!\[[0-9;]{0,32}m)(?:\[[0-9;?<=>!]*[ -/]*[@-~]?|[\]P_^X][^\x07\x1b]*(?:\x07|\x1b\\)?|[ -/]*[0-~]?)"
)
# also those that reorder text, with which a line can read as its opposite
_CONTROLS = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1a\x1c-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]")
MODULE = re.compile(r"[^\W\d]\w*(?:\.[^\W\d]\w*){0,2}")
_SURROGATES = re.compile(r"[\ud800-\udfff]")


class Violation(Exception):
    """A message that the worker, as we wrote it, would never send."""


def parse(payload: bytes) -> dict[str, Any]:
    """Return the JSON object in `payload`.

    Raises
    ------
    Violation
        If it is anything else, holds NaN, or is nested without end.
    """
    try:
        message = json.loads(payload.decode("utf-8", "replace"), parse_constant=_refuse)
    except (ValueError, RecursionError) as error:
        raise Violation(f"not JSON: {type(error).__name__}") from error
    if not isinstance(message, dict):
        raise Violation("not a JSON object")
    return message


def _refuse(constant: str) -> None:
    raise ValueError(f"{constant} is not JSON")


def clean(text: object, limit: int = TEXT) -> str:
    """Return `text` as text: bounded, without surrogates, control characters and escapes other than colours."""
    if not isinstance(text, str):
        return ""
    cut = (
        text
        if len(text) <= limit
        else f"{text[: limit // 2]}\n... {len(text) - limit} characters left out ...\n{text[-limit // 2 :]}"
    )
    cut = _SURROGATES.sub("\ufffd", cut)
    return _CONTROLS.sub("", _NOT_COLOUR.sub("", cut)) if not cut.isprintable() else cut


def bare(text: object, limit: int = TEXT) -> str:
    """Return `text` cleaned, and without colours."""
    return plain(clean(text, limit)).replace("\x1b", "")


def html(text: str) -> str | None:
    """Rebuild HTML from the tags of a document's text and tables; None if it is too large to be looked at."""
    return markup.rebuild(bare(text, 2 * markup.LARGEST)) if len(text) <= markup.LARGEST else None


def image(mime: str, text: str) -> str | None:
    """Return the encoded image if its header is that of a PNG or JPEG of bearable size."""
    data = images.decoded(text) if len(text) <= IMAGE else None
    if data is None:
        return None
    return base64.b64encode(data).decode() if 0 < area(mime, data) <= PIXELS else None


def area(mime: str, data: bytes) -> int:
    """Return the pixels of an image by its header; 0 if it is none."""
    sides = images.size(mime, data)
    return sides[0] * sides[1] if sides else 0


def bundle(data: object) -> dict[str, str]:
    """Return the representations that may pass; text/plain is always among them."""
    given = (
        {k: v for k, v in data.items() if isinstance(k, str) and isinstance(v, str)} if isinstance(data, dict) else {}
    )
    passed = {"text/plain": bare(given.get("text/markdown", given.get("text/plain", "")))}
    if "text/html" in given and (table := html(given["text/html"])):
        passed["text/html"] = table
    for mime in ("image/png", "image/jpeg"):
        if mime in given and (picture := image(mime, given[mime])):
            passed[mime] = picture
    lost = sorted(k for k in given if k.startswith("image/") and k not in passed)
    if lost and len(passed) == 1:
        passed["text/plain"] += f"\n[{clean(lost[0], 60)} not shown: only PNG and JPEG up to {PIXELS:,} pixels are]"
    return passed


def error(data: object) -> CodeError | None:
    """Return the error in a worker's message, or None where it has none."""
    if data is None:
        return None
    if not isinstance(data, dict):
        raise Violation("an error is not an object")
    lines = data.get("traceback")
    frames = data.get("frames")
    return CodeError(
        ename=bare(data.get("ename"), 200) or "Error",
        evalue=bare(data.get("evalue"), TEXT // 16),
        traceback=_lines(lines) if isinstance(lines, list) else [],
        frames=tuple(_frame(f) for f in frames[:20] if isinstance(f, dict)) if isinstance(frames, list) else (),
    )


def _lines(lines: list[Any]) -> list[str]:
    """Return a traceback's lines, as many as fit."""
    found: list[str] = []
    size = 0
    for line in lines[:2000]:
        found.append(clean(line, TEXT // 16))
        size += len(found[-1])
        if size > TRACEBACK:
            return [*found[:-1], "..."]
    return found


def _frame(data: dict[str, Any]) -> Frame:
    line = data.get("line")
    number = line if type(line) is int and 0 <= line < 2**31 else 0
    return Frame(bare(data.get("file"), 200), number, bare(data.get("function"), 100), bare(data.get("source"), 300))


def names(data: object) -> dict[str, str]:
    """Return the names an execution made, each with its description."""
    if not isinstance(data, dict):
        return {}
    pairs = [(bare(k, 100), bare(v, 400)) for k, v in list(data.items())[:NAMES]]
    return {k: v for k, v in pairs if k.isidentifier()}


def modules(data: object) -> tuple[str, ...]:
    """Return the names of the modules an execution imported."""
    given = data[:MODULES] if isinstance(data, list) else []
    return tuple(name for name in given if isinstance(name, str) and len(name) <= 100 and MODULE.fullmatch(name))


def overwrite(text: str) -> str:
    """Return `text` as a terminal would leave it: what a carriage return goes back over (a progress bar) is gone."""
    if "\r" not in text:
        return text
    return "\n".join(_last_layer(line) for line in text.replace("\r\n", "\n").split("\n"))


def _last_layer(line: str) -> str:
    layers = [layer for layer in line.split("\r") if layer]
    return layers[-1] if layers else ""


class _Text:
    """One stream output as it grows."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.pieces: list[str] = []

    def output(self) -> Output:
        self.pieces = ["".join(self.pieces)]  # joined only when looked at: a flood of small pieces stays linear
        return {"output_type": "stream", "name": self.name, "text": overwrite(self.pieces[0])}


def _weight(data: dict[str, str], replaced: dict[str, str]) -> tuple[int, int]:
    """Return how many images, and how many pixels, one bundle has more than the one whose place it takes."""
    new, old = (
        [area(m, base64.b64decode(t)) for m, t in d.items() if m.startswith("image/")] for d in (data, replaced)
    )
    return len(new) - len(old), sum(new) - sum(old)


class Collector:
    """Gathers the outputs of one execution, in order."""

    def __init__(self) -> None:
        self.entries: list[_Text | Output] = []
        self.shown: dict[str, int] = {}  # display ids of this execution only: no output of another can be reached
        self.images = self.pixels = 0
        self.left_out = 0
        self.widgets = False  # something was shown that needs a connection to the browser
        self.clear_next = False
        decoder: Callable[[], codecs.IncrementalDecoder] = lambda: codecs.getincrementaldecoder("utf-8")("replace")  # noqa: E731
        self.decoders = {"stdout": decoder(), "stderr": decoder()}
        self.pending = {"stdout": "", "stderr": ""}

    def stream(self, name: str, data: bytes, *, raw: bool = False) -> None:
        """Take text for stdout or stderr; `raw` data comes from a pipe and may end within a character."""
        text = self.decoders[name].decode(data) if raw else data.decode("utf-8", "replace")
        text = self.pending[name] + text
        at = text.rfind("\x1b", max(0, len(text) - 40))  # an escape may go on in the next piece
        unfinished = at >= 0 and re.fullmatch(r"\x1b(?:\[[0-9;?]*)?", text[at:])
        self.pending[name] = text[at:] if unfinished else ""
        text = clean(text[:at] if unfinished else text, 2**40)
        if not text:
            return
        last = self.entries[-1] if self.entries else None
        if not self.clear_next and isinstance(last, _Text) and last.name == name:
            last.pieces.append(text)
        elif self.room():
            fresh = _Text(name)
            fresh.pieces.append(text)
            self.entries.append(fresh)

    def display(self, message: dict[str, Any]) -> None:
        """Take one rich output, or an update of one."""
        data = bundle(message.get("data"))
        self.widgets = self.widgets or message.get("widget") is True
        identity = message.get("display_id")
        known = self.shown.get(identity) if isinstance(identity, str) else None
        update = message.get("update") is True
        if update and known is None:
            return
        replaced = self.entries[known] if update and known is not None else None
        pictures, pixels = _weight(data, replaced["data"] if isinstance(replaced, dict) else {})
        if self.images + pictures > IMAGES or self.pixels + pixels > ALL_PIXELS:
            self.left_out += 1
            return
        output: Output = {"output_type": "display_data", "data": data, "metadata": {}}
        if update and known is not None:
            self.entries[known] = output
        elif self.room():
            if message.get("kind") == "execute_result":
                output = {"output_type": "execute_result", "execution_count": None, "data": data, "metadata": {}}
            if message.get("kind") == "page":
                output["metadata"] = {PAGE: True}
            if isinstance(identity, str) and len(identity) <= 200:
                self.shown[identity] = len(self.entries)
            self.entries.append(output)
        else:
            return
        self.images += pictures
        self.pixels += pixels

    def clear(self, message: dict[str, Any]) -> None:
        """Forget what was shown, now or when the next output comes."""
        self.clear_next = True
        if message.get("wait") is not True:
            self.room()

    def room(self) -> bool:
        """Say whether one more output may be kept; carries out a clear that was put off."""
        if self.clear_next:
            self.entries, self.shown, self.clear_next = [], {}, False
            self.images = self.pixels = 0
        if len(self.entries) < OUTPUTS:
            return True
        self.left_out += 1
        return False

    def outputs(self) -> list[Output]:
        """Return the outputs so far."""
        return [entry.output() if isinstance(entry, _Text) else entry for entry in self.entries]


def error_output(found: CodeError) -> Output:
    """Return an error as a notebook holds it."""
    return {"output_type": "error", "ename": found.ename, "evalue": found.evalue, "traceback": found.traceback}
