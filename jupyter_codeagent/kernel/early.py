"""The sandbox of a kernel, begun before anything else is loaded: most kernels are started with the default limits."""

from __future__ import annotations

import contextlib
import os
import threading
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from jupyter_codeagent.sandbox import Sandbox, SandboxPolicy

MEMORY = 4 * 2**30  # bytes for the cells
TIMEOUT = 86_400.0  # seconds for one cell, which a person can interrupt
DISK = 2 * 2**30  # bytes that cells may write
OUTPUT = 50 * 2**20  # bytes of output of one cell
PROCESSES = 256  # processes and threads

_begun: list[Sandbox] = []
_lock = threading.Lock()


def default() -> SandboxPolicy:
    """Return what cells may do where nothing else is configured, in the working folder of now."""
    from jupyter_codeagent.sandbox import SandboxPolicy

    return SandboxPolicy(
        os.getcwd(),  # noqa: PTH109
        memory=MEMORY,
        timeout=TIMEOUT,
        disk=DISK,
        output=OUTPUT,
        processes=PROCESSES,
    )


def begin() -> None:
    """Start a sandbox in a thread; called once, when the process begins."""
    _lock.acquire()
    threading.Thread(target=_begin, name="codeagent-early", daemon=True).start()


def _begin() -> None:
    from jupyter_codeagent.errors import CodeAgentError
    from jupyter_codeagent.sandbox import Sandbox

    try:
        sandbox = Sandbox(default())
        _begun.append(sandbox)
    finally:
        _lock.release()
    with contextlib.suppress(CodeAgentError):  # the first cell says it, where it is seen
        sandbox.start()


def take(policy: SandboxPolicy) -> Sandbox | None:
    """Return the sandbox that was begun if it has this policy; another one is ended."""
    with _lock:
        found = _begun.pop() if _begun else None
    if found is None or found.policy == policy:
        return found
    found.close()
    return None
