"""Sandboxes that are started before they are needed, for who needs a fresh one again and again.

A fresh sandbox takes some tenths of a second to start. Whoever has asked twice for the same one, or says that it will
be needed, finds the next one ready. It is handed out only as long as it would be started in the same way now: nothing
that it shows has changed. It has executed nothing, and is used by one only.
"""

from __future__ import annotations

import contextlib
import os
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

from jupyter_codeagent.errors import CodeAgentError
from jupyter_codeagent.sandbox.policy import GIB, SandboxPolicy
from jupyter_codeagent.sandbox.sandbox import Sandbox
from jupyter_codeagent.sandbox.slots import Slot, Slots

IDLE = 120.0  # seconds after which one that nobody takes is ended
ENTRIES = 5_000  # of a folder; whether a larger one has changed takes too long to see
SPARE = GIB  # bytes of memory that are left to others, beside what the limits allow
Stamp = tuple[tuple[str, int, int, int], ...]


@dataclass
class Warm:
    """A sandbox that is being started, or waits."""

    sandbox: Sandbox
    stamp: Stamp
    slot: Slot
    starter: threading.Thread | None = None
    timer: threading.Timer | None = None

    def end(self) -> None:
        """Close it."""
        if self.timer is not None:
            self.timer.cancel()
        if self.starter is not None and self.starter is not threading.current_thread():
            self.starter.join()
        self.sandbox.close()
        self.slot.release()


class Pool:
    """Sandboxes that wait to be taken, one for each policy.

    Parameters
    ----------
    slots : Slots
        Bounds how many wait at one time, on the whole machine.
    idle : float
        Seconds after which one that nobody takes is ended.
    """

    def __init__(self, slots: Slots, idle: float = IDLE) -> None:
        self.slots, self.idle = slots, idle
        self._waiting: dict[SandboxPolicy, Warm] = {}
        self._asked: dict[SandboxPolicy, float] = {}  # when each was asked for last
        self._lock = threading.Lock()
        self._pid = os.getpid()

    def take(self, policy: SandboxPolicy) -> Sandbox:
        """Return a fresh sandbox that is started; whoever takes it closes it.

        Raises
        ------
        SandboxUnavailable
            If none can be started.
        """
        policy = resolved(policy)
        again = time.monotonic() - self._asked.get(policy, -self.idle) < self.idle
        self._asked[policy] = time.monotonic()
        sandbox = self._ready(policy) or Sandbox(policy)
        try:
            sandbox.start()
        except BaseException:
            sandbox.close()
            raise
        if again:
            self.prepare(policy)
        return sandbox

    def prepare(self, policy: SandboxPolicy) -> None:
        """Start one in the background, if the machine has room for it; `take` finds it."""
        policy = resolved(policy)
        stamp = stamped(policy)
        with self._lock:
            if stamp is None or self._mine.get(policy) is not None or not roomy(policy):
                return
            slot = self.slots.take()
            if slot is None:
                return
            warm = self._waiting[policy] = Warm(Sandbox(policy), stamp, slot)
            warm.starter = threading.Thread(target=self._start, args=(policy, warm), name="codeagent-warm", daemon=True)
        warm.starter.start()

    def close(self) -> None:
        """End those that wait."""
        with self._lock:
            waiting = list(self._mine.values())
            self._waiting.clear()
        for warm in waiting:
            warm.end()

    @property
    def _mine(self) -> dict[SandboxPolicy, Warm]:
        if self._pid != os.getpid():  # after a fork they are the parent's
            self._waiting, self._pid = {}, os.getpid()
        return self._waiting

    def _ready(self, policy: SandboxPolicy) -> Sandbox | None:
        """Return the one that waits, if it is still as a new one would be."""
        with self._lock:
            warm = self._mine.pop(policy, None)
        if warm is None:
            return None
        if warm.starter is not None:
            try:
                warm.starter.join()
            except BaseException:  # whoever asked was interrupted: it waits for the next one
                with self._lock:
                    self._mine.setdefault(policy, warm)
                raise
        if warm.sandbox.closed or stamped(policy) != warm.stamp:
            warm.end()
            return None
        if warm.timer is not None:
            warm.timer.cancel()
        warm.slot.release()
        return warm.sandbox

    def _start(self, policy: SandboxPolicy, warm: Warm) -> None:
        started = False
        try:
            warm.sandbox.start()
            started = True
        except (CodeAgentError, OSError):  # who needs one will be told
            return
        finally:
            if not started:  # nobody is to find it, or to wait for its slot
                warm.sandbox.close()
                self._expire(policy, warm)
        warm.timer = threading.Timer(self.idle, self._expire, (policy, warm))
        warm.timer.daemon = True
        warm.timer.start()

    def _expire(self, policy: SandboxPolicy, warm: Warm) -> None:
        with self._lock:
            if self._mine.get(policy) is not warm:
                return
            del self._waiting[policy]
        warm.end()


def resolved(policy: SandboxPolicy) -> SandboxPolicy:
    """Return the policy with its folder as it is meant now, wherever this process goes."""
    if policy.workspace is None:
        return policy
    return replace(policy, workspace=str(Path(policy.workspace).expanduser().resolve()))


def stamped(policy: SandboxPolicy) -> Stamp | None:
    """Return by what a change of anything that a sandbox shows is seen; None where there is too much to look at."""
    roots = [path for path in sys.path if path and Path(path).is_dir()]
    with contextlib.suppress(OSError, ValueError):
        seen = [_looked_at(path) for path in [*roots, *map(str, policy.files)]]
        if policy.workspace is not None:
            seen += _entries(str(policy.workspace))
        return tuple(seen)
    return None


def _looked_at(path: str) -> tuple[str, int, int, int]:
    found = os.lstat(path)
    return (path, found.st_mode, found.st_size, found.st_mtime_ns)


def _entries(folder: str) -> Iterator[tuple[str, int, int, int]]:
    """Yield everything below a folder; raises ValueError where that is too much."""
    pending, count = [folder], 0
    while pending:
        with os.scandir(pending.pop()) as entries:
            for entry in entries:
                count += 1
                if count > ENTRIES:
                    raise ValueError("too many entries")
                yield _looked_at(entry.path)
                if entry.is_dir(follow_symlinks=False):
                    pending.append(entry.path)


def roomy(policy: SandboxPolicy) -> bool:
    """Say whether the machine's free memory is enough for one more sandbox at its limit."""
    try:
        fields = dict(line.split(":") for line in Path("/proc/meminfo").read_text().splitlines())
        return int(fields["MemAvailable"].split()[0]) * 1024 >= policy.memory + SPARE
    except (OSError, KeyError, ValueError):
        return False


_pools: list[Pool] = []
_lock = threading.Lock()


def pool() -> Pool:
    """Return this process's pool; on the whole machine half as many sandboxes wait as there are processors, or one."""
    with _lock:
        if not _pools:
            count = max(1, len(os.sched_getaffinity(0)) // 2)
            _pools.append(Pool(Slots(count, name="warm")))
        return _pools[0]
