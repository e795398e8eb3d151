"""PNG and JPEG images as text, checked by their headers before anybody decodes them."""

from __future__ import annotations

import base64
import binascii
import struct
from functools import lru_cache
from typing import Any

_BYTES = 3_500_000  # an endpoint refuses more than 5 MB in base64
_SIDE = 8_000  # pixels; the same


def decoded(text: str) -> bytes | None:
    """Return the bytes behind base64 text that may hold blanks; None if it is none."""
    try:
        return base64.b64decode("".join(text.split()), validate=True)
    except (binascii.Error, ValueError):
        return None


def size(mime: str, data: bytes) -> tuple[int, int] | None:
    """Return width and height in pixels by the header; None if it is not that of a `mime` image."""
    return _png(data) if mime == "image/png" else _jpeg(data)


def _png(data: bytes) -> tuple[int, int] | None:
    """Read the first chunk, IHDR (PNG specification, 11.2.2)."""
    if len(data) < 33 or data[:8] != b"\x89PNG\r\n\x1a\n" or data[12:16] != b"IHDR":
        return None
    width, height = struct.unpack(">II", data[16:24])
    return width, height


def _jpeg(data: bytes) -> tuple[int, int] | None:
    """Read the first frame header (ITU T.81, B.2.2)."""
    if data[:2] != b"\xff\xd8":
        return None
    place = 2
    while place + 9 <= len(data) and data[place] == 0xFF:
        marker, length = data[place + 1], int.from_bytes(data[place + 2 : place + 4], "big")
        if 0xC0 <= marker <= 0xCF and marker not in (0xC4, 0xC8, 0xCC):
            height, width = struct.unpack(">HH", data[place + 5 : place + 9])
            return width, height
        place += 2 + max(length, 2)
    return None


def picture(data: dict[str, Any]) -> dict[str, Any] | None:
    """Return an image block of the Messages API for the PNG or JPEG in an output's data.

    Returns
    -------
    dict or None
        None where there is no image, or one that an endpoint would refuse, and the whole request with it.
    """
    for kind in ("image/png", "image/jpeg"):
        if isinstance(text := data.get(kind), str) and _sound(kind, text):
            source = {"type": "base64", "media_type": kind, "data": "".join(text.split())}
            return {"type": "image", "source": source}
    return None


@lru_cache(maxsize=32)
def _sound(kind: str, text: str) -> bool:
    raw = decoded(text) if len(text) <= _BYTES * 4 // 3 else None
    sides = size(kind, raw) if raw is not None else None
    return sides is not None and all(0 < side <= _SIDE for side in sides)
