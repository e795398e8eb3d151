"""Copies of the user's values for the sandbox: pickle protocol 5 in a sealed memory file (PEP 574).

Values go in this way only. Nothing that comes out is ever unpickled.
"""

from __future__ import annotations

import fcntl
import os
import pickle
from dataclasses import dataclass
from typing import Any

from jupyter_codeagent.errors import NotPlainData

SEALS = 0x1 | 0x2 | 0x4 | 0x8  # F_SEAL_SEAL, SHRINK, GROW, WRITE: a mapping can only be private
F_ADD_SEALS = 1033


@dataclass
class Parcel:
    """Values ready to be sent: where each one's pickle and buffers lie in the sealed file."""

    fd: int
    index: dict[str, tuple[tuple[int, int], list[tuple[int, int]]]]

    def __del__(self) -> None:
        os.close(self.fd)


def pack(values: dict[str, Any]) -> Parcel:
    """Copy `values` into a sealed memory file.

    Raises
    ------
    NotPlainData
        For the first value that cannot be pickled.
    """
    fd = os.memfd_create("values", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
    parcel = Parcel(fd, {})
    end = 0
    for name, value in values.items():
        buffers: list[pickle.PickleBuffer] = []
        try:
            head = pickle.dumps(value, protocol=5, buffer_callback=buffers.append)
        except Exception as error:
            # a class's own __reduce__ may raise anything
            raise NotPlainData(name, f"it cannot be copied ({type(error).__name__}: {error})") from error
        spans = []
        for piece in [memoryview(head), *(buffer.raw() for buffer in buffers)]:
            spans.append((end, piece.nbytes))
            _write(fd, piece, end)
            end += -(-piece.nbytes // 64) * 64
        parcel.index[name] = (spans[0], spans[1:])
    os.ftruncate(fd, max(end, 1))
    fcntl.fcntl(fd, F_ADD_SEALS, SEALS)
    return parcel


def _write(fd: int, piece: memoryview, at: int) -> None:
    done = 0
    while done < piece.nbytes:
        done += os.pwrite(fd, piece[done:], at + done)
