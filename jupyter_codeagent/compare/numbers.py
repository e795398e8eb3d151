"""Numbers compared by value, within a tolerance that is said."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable
from dataclasses import dataclass

# A digit within a word is no number (a version, a digest); thousands may be set apart by commas.
NUMBER = re.compile(
    r"(?<![A-Za-z0-9_])[-+]?"
    r"(?:(?:[0-9]{1,3}(?:,[0-9]{3})+(?![0-9])|[0-9]+)(?:\.[0-9]*)?|\.[0-9]+)"
    r"(?:[eE][-+]?[0-9]+(?![0-9A-Za-z_]))?"
)
_WHOLE = re.compile(r"[-+]?[0-9,]+")
LONGEST = 400  # characters of a number; what is longer is text


@dataclass(frozen=True)
class Tolerance:
    """What counts as the same.

    Parameters
    ----------
    relative : float
        Numbers with a fraction or an exponent may differ by this share of the larger. Whole numbers may not.
    absolute : float
        And by this, beside a zero, or in a line whose largest number is 1 or more; in a line of smaller numbers by this
        share of the largest.
    colour : int
        Each channel of each pixel may differ by this much of 255.
    timings : bool
        Texts may differ in what looks like a timing, a rate, a moment or a process number.
    """

    relative: float = 1e-9
    absolute: float = 1e-12
    colour: int = 8
    timings: bool = True

    def __str__(self) -> str:
        return (
            f"whole numbers exactly, others within {self.relative:g} of their size ({self.absolute:g} near zero), "
            f"colours within {self.colour} of 255"
        )

    def close(self, old: float, new: float, scale: float = 0.0) -> bool:
        """Tell whether two numbers are the same, beside others of the size `scale`."""
        if old == new or (old != old and new != new):
            return True
        if not (math.isfinite(old) and math.isfinite(new)):
            return False
        nearby = 1.0 if old == 0 or new == 0 else min(1.0, scale)
        return math.isclose(old, new, rel_tol=self.relative, abs_tol=self.absolute * nearby)


def same_numbers(old: list[str], new: list[str], tolerance: Tolerance) -> bool:
    """Tell whether the numbers of two texts, as `NUMBER` finds them, are the same one by one."""
    if old == new:
        return True
    if len(old) != len(new):
        return False
    scale = largest([*old, *new])
    return all(a == b or _same(a, b, tolerance, scale) for a, b in zip(old, new, strict=True))


def largest(numbers: Iterable[str]) -> float:
    """Return the largest of the numbers that are finite, by amount."""
    values = (abs(_value(n)) for n in numbers)
    return max((v for v in values if math.isfinite(v)), default=0.0)


def _same(old: str, new: str, tolerance: Tolerance, scale: float) -> bool:
    if _WHOLE.fullmatch(old) and _WHOLE.fullmatch(new):
        return _digits(old) == _digits(new)
    a, b = _value(old), _value(new)
    # what is beyond all floats can only be compared as it is written
    return math.isfinite(a) and math.isfinite(b) and tolerance.close(a, b, scale)


def _digits(number: str) -> str:
    return number.replace(",", "").removeprefix("+")


def _value(number: str) -> float:
    return float(number.replace(",", "")) if len(number) <= LONGEST else math.inf
