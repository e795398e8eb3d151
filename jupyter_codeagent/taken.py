"""A variable as it was at one moment."""

from __future__ import annotations

import functools
import pickle
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Taken:
    """A copy of a variable's value, which pickles as the value itself and is unpickled in the sandbox only.

    Parameters
    ----------
    told : str
        What it is, in a few words.
    refused : str
        Why it has to stay, as the end of a sentence; then there is no copy.
    mark : str
        The fingerprint of the value.
    literal : str
        A Python literal, or an empty string where there is none.
    head : bytes
        The pickle, and in `buffers` its arrays.
    """

    told: str
    refused: str = ""
    mark: str = ""
    literal: str = ""
    head: bytes = b""
    buffers: tuple[bytes | bytearray, ...] = ()

    def __reduce__(self) -> tuple[Callable[..., Any], tuple[bytes]]:
        arrays = [pickle.PickleBuffer(part) for part in self.buffers]
        return functools.partial(pickle.loads, buffers=arrays), (self.head,)
