"""PNG and JPEG compared by their pixels, where Pillow is there to decode them; else by hash."""

from __future__ import annotations

import contextlib
import io
import warnings
from typing import Any

from jupyter_codeagent import images
from jupyter_codeagent.compare.numbers import Tolerance

PIXELS = 25_000_000  # of a picture that is decoded; a larger one is compared by hash
_FORMATS = {"image/png": "PNG", "image/jpeg": "JPEG"}
_MODES = {"1", "L", "LA", "P", "PA", "RGB", "RGBA", "CMYK", "YCbCr"}  # 8 bits or fewer for each channel
_ANOTHER = "the picture is another one, and could not be compared by its pixels."


def compare_pictures(mime: str, old: str, new: str, tolerance: Tolerance) -> str:
    """Return a sentence on how two pictures in base64 differ; empty where they do not."""
    if old == new:
        return ""
    before, after = images.decoded(old), images.decoded(new)
    if before == after and before is not None:
        return ""
    if before is None or after is None:
        return _ANOTHER
    sizes = images.size(mime, before), images.size(mime, after)
    if sizes[0] is not None and sizes[1] is not None and sizes[0] != sizes[1]:
        (a, b), (c, d) = sizes[0], sizes[1]
        return f"the picture had {a:,} x {b:,} pixels and has now {c:,} x {d:,}."
    one, other = _pixels(mime, before), _pixels(mime, after)
    return _ANOTHER if one is None or other is None else _compare_pixels(one, other, tolerance.colour)


def _pixels(mime: str, data: bytes) -> Any:
    """Return the decoded picture; None where it is too large, broken, or of a kind that has no 8-bit pixels."""
    sides = images.size(mime, data)
    if sides is None or not 0 < sides[0] * sides[1] <= PIXELS:
        return None
    try:
        from PIL import Image
    except ImportError:
        return None
    # a decoder trips over broken data in many ways, and none of them says more than that it is broken
    with contextlib.suppress(Exception), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        with Image.open(io.BytesIO(data), formats=[_FORMATS[mime]]) as image:
            if image.size != sides or image.mode not in _MODES or getattr(image, "n_frames", 1) != 1:
                return None
            return image.convert("RGBA")
    return None


def _compare_pixels(old: Any, new: Any, most: int) -> str:
    from PIL import ImageChops

    worst = None
    for channel in ImageChops.difference(old, new).split():
        worst = channel if worst is None else ImageChops.lighter(worst, channel)
    if worst is None:
        return ""
    counts = worst.histogram()
    others = sum(counts[most + 1 :])
    if not others:
        return ""
    by = max(step for step, count in enumerate(counts) if count)
    return f"{others:,} of the picture's {sum(counts):,} pixels differ, by up to {by} of 255."
