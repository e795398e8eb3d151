"""Images from the sandbox, checked before a model is shown them."""

from __future__ import annotations

import base64
import binascii
import struct
from functools import lru_cache
from typing import Any

_BYTES = 3_500_000  # an endpoint refuses more than 5 MB in base64
_SIDE = 8_000  # pixels; the same


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
    if len(text) > _BYTES * 4 // 3:
        return False
    try:
        raw = base64.b64decode("".join(text.split()), validate=True)
    except (binascii.Error, ValueError):
        return False
    size = _png_size(raw) if kind == "image/png" else _jpeg_size(raw)
    return size is not None and all(0 < side <= _SIDE for side in size)


def _png_size(raw: bytes) -> tuple[int, int] | None:
    if raw[:8] != b"\x89PNG\r\n\x1a\n" or raw[12:16] != b"IHDR" or len(raw) < 24:
        return None
    width, height = struct.unpack(">II", raw[16:24])
    return width, height


def _jpeg_size(raw: bytes) -> tuple[int, int] | None:
    """Return the size in the first frame header (ITU T.81, B.2.2)."""
    if raw[:2] != b"\xff\xd8":
        return None
    place = 2
    while place + 9 <= len(raw) and raw[place] == 0xFF:
        marker, length = raw[place + 1], int.from_bytes(raw[place + 2 : place + 4], "big")
        if 0xC0 <= marker <= 0xCF and marker not in (0xC4, 0xC8, 0xCC):
            height, width = struct.unpack(">HH", raw[place + 5 : place + 9])
            return width, height
        place += 2 + length
    return None
