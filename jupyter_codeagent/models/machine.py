"""What this machine can spare for a local model: cores and memory."""

from __future__ import annotations

import math
import os
from pathlib import Path

_CPUS = Path("/sys/devices/system/cpu")
_CGROUP = Path("/sys/fs/cgroup")


def cores() -> int:
    """Return the number of physical cores that this process may use, a container's quota considered."""
    return max(1, min(len({_core(cpu) for cpu in os.sched_getaffinity(0)}), _quota()))


def _core(cpu: int) -> tuple[str, ...]:
    topology = _CPUS / f"cpu{cpu}" / "topology"
    try:
        return tuple((topology / name).read_text().strip() for name in ("physical_package_id", "core_id"))
    except OSError:  # some containers hide it: count each as a core
        return (str(cpu),)


def _quota() -> int:
    try:
        quota, period = (_CGROUP / "cpu.max").read_text().split()
        return math.ceil(int(quota) / int(period))
    except (OSError, ValueError):  # no such file, or "max"
        return 1 << 16


def memory() -> int | None:
    """Return the bytes of memory that a new process could use, or None where that cannot be read."""
    try:
        lines = dict(line.split(":") for line in Path("/proc/meminfo").read_text().splitlines())
        free = int(lines["MemAvailable"].split()[0]) * 1024
    except (OSError, KeyError, ValueError):
        return None
    try:
        used = int((_CGROUP / "memory.current").read_text())
        return min(free, int((_CGROUP / "memory.max").read_text()) - used)
    except (OSError, ValueError):
        return free
