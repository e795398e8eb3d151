"""The user's values as they arrive in the sandbox; runs inside, loaded by the worker. Standard library only."""

from __future__ import annotations

import mmap
import os
import pickle
from typing import Any


def receive(index: dict[str, Any], fd: int) -> tuple[dict[str, Any], dict[str, str]]:
    """Rebuild values from a sealed memory file, mapped privately: writable here, unchanged outside.

    Parameters
    ----------
    index : dict
        For each name, where its pickle lies in the file, and where its buffers lie: pairs of place and length.
    fd : int
        The file; it is closed.

    Returns
    -------
    tuple of dict
        The values, and why others could not be rebuilt, both by name.
    """
    size = os.fstat(fd).st_size
    view = memoryview(mmap.mmap(fd, size, flags=mmap.MAP_PRIVATE, prot=mmap.PROT_READ | mmap.PROT_WRITE))
    os.close(fd)
    values: dict[str, Any] = {}
    failed: dict[str, str] = {}
    for name, (head, buffers) in index.items():
        try:
            values[name] = pickle.loads(view[head[0] : sum(head)], buffers=[view[o : o + n] for o, n in buffers])  # noqa: S301 - from the user's kernel
        except Exception as error:  # noqa: BLE001 - whatever the value's own class raises
            failed[name] = f"{type(error).__name__}: {error}"[:500]
    return values, failed
