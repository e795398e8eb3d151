"""What changed in growing text and outputs since they were last sent, and how much of them is sent at all."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from typing import Any

from jupyter_codeagent.trajectory import Output

STREAMS_MOST = 500_000  # bytes of all streams of one attempt
OTHERS_MOST = 750_000  # bytes of its images, tables and tracebacks
ENDING = 4_000  # characters of a long stream's end while it grows: they are sent anew each time
LINE = 200  # bytes that an output costs at least
Patch = dict[str, Any]


def units(text: str) -> int:
    """Return the length of `text` as a browser counts it: in UTF-16 code units."""
    return len(text) if text.isascii() else len(text.encode("utf-16-le")) // 2


def patch(old: str, new: str) -> Patch | None:
    """Return what turns `old` into `new`: ``old.slice(0, at) + text`` in a browser; None where they are the same."""
    if old == new:
        return None
    same = len(old) if new.startswith(old) else common(old, new)
    return {"at": units(new[:same]), "text": new[same:]}


def common(old: str, new: str) -> int:
    """Return how many characters two texts have in common from their beginning."""
    low, high = 0, min(len(old), len(new))
    while low < high:
        middle = (low + high + 1) // 2
        if old[low:middle] == new[low:middle]:
            low = middle
        else:
            high = middle - 1
    return low


def output_patches(old: Sequence[Output], new: Sequence[Output]) -> Iterator[Patch]:
    """Yield what turns the outputs `old` into `new`, in order; of a stream that has grown, only what is new."""
    same = 0
    for before, after in zip(old, new, strict=False):
        if before != after:
            break
        same += 1
    if same == len(old) == len(new):
        return
    if same == len(old) - 1 < len(new) and _one_stream(old[same], new[same]):
        tail = patch(old[same]["text"], new[same]["text"])
        same += 1
        yield {"at": same, "items": [], **({"tail": tail} if tail else {})}
        if same == len(new):
            return
    yield {"at": same, "items": list(new[same:])}


def _one_stream(before: Output, after: Output) -> bool:
    kinds = {before["output_type"], after["output_type"]}
    return kinds == {"stream"} and before["name"] == after["name"]


def bounded(outputs: Sequence[Output], growing: bool = False) -> list[Output]:
    """Return outputs of at most some 1.5 MB, one for each given.

    Long streams keep their beginning and their end, with a line between that says how much is left out; what else does
    not fit is replaced by one sentence.

    Parameters
    ----------
    outputs : sequence of dict
        As they passed the gate.
    growing : bool
        More may come: of the ends only little is kept, since they change all the time.
    """
    text_room, room = STREAMS_MOST, OTHERS_MOST
    kept: list[Output] = []
    for output in outputs:
        if output["output_type"] == "stream":
            text, taken = _ends(output["text"], max(text_room, LINE), ENDING if growing else STREAMS_MOST // 3)
            text_room -= taken
            kept.append({**output, "text": text})
            continue
        size = weight(output)
        last_word = output["output_type"] == "error" and size <= 100 * LINE
        if size <= room or last_word:
            room -= size
            kept.append(output)
        else:
            kept.append(_too_large(output, size))
    return kept


def _ends(text: str, room: int, ending: int) -> tuple[str, int]:
    """Return the text, or its beginning and end in about `room` bytes; and how many bytes that takes."""
    if len(text) <= room and (size := _bytes(text)) <= room:
        return text, size
    beginning = text[:room]
    fitting = room * len(beginning) // _bytes(beginning)
    end = min(ending, fitting // 3)
    left_out = len(text) - fitting
    return f"{text[: fitting - end]}\n[... {left_out:,} characters left out ...]\n{text[len(text) - end :]}", room


def _bytes(text: str) -> int:
    return len(text) if text.isascii() else len(text.encode("utf-8", "replace"))


def weight(output: Output) -> int:
    """Return about how many bytes an output takes in a message."""
    values = [*output.get("data", {}).values(), *output.get("traceback", ()), output.get("evalue", "")]
    return LINE + sum(_bytes(v if isinstance(v, str) else json.dumps(v, default=str)) for v in values)


def _too_large(output: Output, size: int) -> Output:
    said = f"An output of {size:,} bytes is too large to be shown here."
    if output["output_type"] == "error":
        return {**output, "traceback": [said], "evalue": output["evalue"][:LINE]}
    return {**output, "data": {"text/plain": said}, "metadata": {}}
