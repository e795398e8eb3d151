"""Having a copy of the state hand out one of its values, as bytes that nobody can change any more."""

from __future__ import annotations

import fcntl
import os
from typing import Any

from jupyter_codeagent.errors import NotPlainData
from jupyter_codeagent.sandbox import gate
from jupyter_codeagent.sandbox.packer import TEXT_CAP, aligned
from jupyter_codeagent.sandbox.reading import read
from jupyter_codeagent.sandbox.state import Gone, State

MOST_BYTES = 512 * 2**20  # of one value
MOST_SECONDS = 60.0  # for copying one value out
F_ADD_SEALS = 1033
SIZED = 0x1 | 0x2 | 0x4  # F_SEAL_SEAL, SHRINK, GROW: the file cannot be cut while it is read


def fetch(state: State, name: str, most: int) -> Any:
    """Return the value of `name` in `state`, which is a copy that may come to harm.

    Parameters
    ----------
    state : State
        A copy of the state: looking at the value may execute whatever its class likes.
    name : str
        The variable.
    most : int
        Bytes that it may have.

    Raises
    ------
    NotPlainData
        If it is not plain data, too large, or takes too long.
    """
    fd = os.memfd_create("fetched", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
    try:
        os.ftruncate(fd, most)
        fcntl.fcntl(fd, F_ADD_SEALS, SIZED)
        length = _length(state, name, fd, most)
        state.kill()
        document = _copied(fd, 0, length)
        start = aligned(length)

        def part(place: int, size: int) -> bytearray:
            if start + place + size > most:
                raise ValueError("beyond the end")
            return _copied(fd, start + place, size)

        return read(name, bytes(document), part)
    finally:
        os.close(fd)


def _length(state: State, name: str, fd: int, most: int) -> int:
    """Have the value packed; returns the length of its description."""
    try:
        state.wire.send({"op": "pack", "name": name, "most": most}, [fd])
        answer = state.wait("packed", seconds=MOST_SECONDS)
    except (Gone, gate.Violation) as error:
        raise NotPlainData(name, f"copying it in the sandbox did not end well ({error})") from error
    if (failed := answer.get("failed")) is not None:
        raise NotPlainData(name, gate.bare(failed, 300) or "it cannot be copied")
    length = answer.get("length")
    if type(length) is not int or not 0 < length <= min(TEXT_CAP, most):
        raise NotPlainData(name, "what came out of the sandbox is not valid plain data (no length)")
    return length


def _copied(fd: int, place: int, size: int) -> bytearray:
    """Return bytes of the file as they are now; another process may still write to it."""
    data = bytearray(size)
    view = memoryview(data)
    while view.nbytes:
        view = view[os.preadv(fd, [view], place + size - view.nbytes) :]
    return data
