"""Values as bytes that may cross a network, by the forms in which they leave a sandbox: never a pickle."""

from __future__ import annotations

from typing import Any

from jupyter_codeagent.errors import NotPlainData
from jupyter_codeagent.packed import Packed
from jupyter_codeagent.sandbox.messages import BadMessage, text, whole
from jupyter_codeagent.sandbox.packer import Refused, aligned
from jupyter_codeagent.sandbox.packer import pack as described
from jupyter_codeagent.sandbox.reading import read

LARGEST = 2**30  # bytes of all values of one request

Index = list[list[Any]]  # of each value: its name, the bytes of its JSON, and all its bytes


def pack(values: dict[str, Any]) -> tuple[Index, bytes]:
    """Return values as bytes, and where each of them lies.

    Raises
    ------
    NotPlainData
        For the first that is none, or too large.
    """
    index: Index = []
    payload = bytearray()
    for name, value in values.items():
        try:
            document, parts = described(value.value() if isinstance(value, Packed) else value, LARGEST)
        except Refused as refused:
            raise NotPlainData(name, f"{refused}, and only plain data cross a network") from None
        begin = len(payload)
        start = begin + aligned(len(document))
        for at, piece in [(begin, document), *((start + place, piece) for place, piece in parts)]:
            payload += bytes(at - len(payload))
            payload += memoryview(piece).cast("B") if len(piece) else b""
        index.append([name, len(document), len(payload) - begin])
        if len(payload) > LARGEST:
            raise NotPlainData(name, f"it is larger than {LARGEST // 2**20:,} MiB, or all values together are")
    return index, bytes(payload)


def unpack(payload: bytes, index: object) -> dict[str, Any]:
    """Return the values in `payload`, each checked to be plain data.

    Raises
    ------
    BadMessage
        If the index does not fit the payload.
    NotPlainData
        If a value is not valid plain data.
    """
    found: dict[str, Any] = {}
    view, begin = memoryview(payload), 0
    for entry in index if isinstance(index, list) else ():
        if not isinstance(entry, list) or len(entry) != 3:
            raise BadMessage("An index of values is malformed.")
        name, document, size = text(entry[0]), whole(entry[1]), whole(entry[2])
        if not name.isidentifier() or document > size or begin + size > view.nbytes:
            raise BadMessage("An index of values does not fit them.")
        found[name] = _value(name, view[begin : begin + size], document)
        begin += size
    return found


def _value(name: str, view: memoryview, document: int) -> Any:
    start = aligned(document)

    def part(place: int, length: int) -> bytearray:
        if start + place + length > view.nbytes:
            raise ValueError("there are no such bytes")
        return bytearray(view[start + place : start + place + length])

    return read(name, bytes(view[:document]), part)
