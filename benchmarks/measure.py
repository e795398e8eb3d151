"""Figures that can be trusted on a shared machine: interleaved runs, medians, and ratios within one run."""

from __future__ import annotations

import os
import platform
import statistics
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from importlib.metadata import version
from typing import Any

PACKAGES = ("jupyter-codeagent", "ipython", "ipykernel", "jupyter_client", "anthropic", "numpy", "pandas")


@dataclass
class Row:
    """One line of the report.

    Parameters
    ----------
    what : str
        What was measured.
    unit : str
        Of the values.
    values : list of float
        Every repetition.
    against : str
        What the baseline is; empty where there is none.
    baseline : list of float
        Its repetitions, taken in turn with `values`.
    bar : float or None
        The most that is allowed: of the ratio where there is a baseline, else of the median.
    least : bool
        The bar is the least that is allowed instead.
    note : str
        A remark on how to read it.
    """

    what: str
    unit: str
    values: list[float]
    against: str = ""
    baseline: list[float] = field(default_factory=list)
    bar: float | None = None
    least: bool = False
    note: str = ""

    @property
    def median(self) -> float:
        return statistics.median(self.values)

    @property
    def ratios(self) -> list[float]:
        """Each value over the baseline's of the same round."""
        return [a / b for a, b in zip(self.values, self.baseline, strict=True)] if self.baseline else []

    @property
    def ratio(self) -> float | None:
        """The median of `ratios`: what slows the machine for a while slows both sides of a round."""
        return statistics.median(self.ratios) if self.baseline else None

    @property
    def met(self) -> bool | None:
        """The bar is kept; None where there is none."""
        if self.bar is None:
            return None
        reached = self.median if self.ratio is None else self.ratio
        return reached >= self.bar if self.least else reached <= self.bar

    def data(self) -> dict[str, Any]:
        """Return the row as JSON."""
        found: dict[str, Any] = {"what": self.what, "unit": self.unit, **summary(self.values)}
        if self.baseline:
            found |= {"against": self.against, "baseline": summary(self.baseline), "ratio": summary(self.ratios)}
        return found | {"bar": self.bar, "met": self.met, "note": self.note}


def summary(values: list[float]) -> dict[str, float]:
    """Return count, median, and the 10th and 90th percentile."""
    return {
        "n": len(values),
        "median": round(statistics.median(values), 4),
        "p10": round(percentile(values, 0.1), 4),
        "p90": round(percentile(values, 0.9), 4),
    }


def percentile(values: list[float], share: float) -> float:
    """Return a percentile, interpolated between neighbours (method 7 of Hyndman and Fan, 1996)."""
    ordered = sorted(values)
    place = (len(ordered) - 1) * share
    low = int(place)
    high = min(low + 1, len(ordered) - 1)
    return ordered[low] + (ordered[high] - ordered[low]) * (place - low)


def interleave(rounds: int, warm: int = 1, **subjects: Callable[[], float]) -> dict[str, list[float]]:
    """Call each subject once a round, in turning order, and return the numbers that they return, by name.

    A subject takes its own time, so that getting ready for it costs nothing. The first `warm` rounds do not count.
    """
    found: dict[str, list[float]] = {name: [] for name in subjects}
    order = list(subjects)
    for number in range(warm + rounds):
        for name in order:
            value = subjects[name]()
            if number >= warm:
                found[name].append(value)
        order.reverse()
    return found


def milliseconds(job: Callable[[], Any]) -> float:
    """Return how long a call takes."""
    started = time.perf_counter()
    job()
    return (time.perf_counter() - started) * 1000


@contextmanager
def settled() -> Iterator[None]:
    """Run the block at a moment of its own: a short pause lets what ended before be cleared away."""
    time.sleep(0.05)
    yield


def machine() -> dict[str, Any]:
    """Describe where this runs, without names."""
    return {
        "system": f"{platform.system()} {platform.release().partition('-')[0]} {platform.machine()}",
        "python": platform.python_version(),
        "cores": len(os.sched_getaffinity(0)),
        "memory_gib": round(os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") / 2**30, 1),
        "root": os.getuid() == 0,
        "packages": {name: version(name) for name in PACKAGES},
    }


def load() -> list[float]:
    """Return the load averages over 1, 5 and 15 minutes: processes that want a core."""
    return [round(value, 2) for value in os.getloadavg()]
