"""What it costs to try several codes from one state."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from pathlib import Path

from benchmarks.measure import Row, interleave, milliseconds
from jupyter_codeagent.sandbox import Sandbox, SandboxPolicy
from jupyter_codeagent.sandbox.pool import Pool
from jupyter_codeagent.sandbox.slots import Slots

COUNT = 8
BAR = 200.0  # milliseconds over their own work
WAIT = 0.3  # seconds that each code waits for, which is its own work and takes no processor


def candidates(quick: bool) -> Iterator[Row]:
    """Eight codes from one state, started, executed and collected."""
    with Sandbox(SandboxPolicy(workspace=None)) as sandbox:
        assert sandbox.execute("import time; data = bytearray(100 * 2**20)").error is None
        with tempfile.TemporaryDirectory() as folder:
            sandbox._aside.slots = Slots(COUNT, Path(folder))  # all at one time, whatever else this machine does
            yield from measured(sandbox, quick)


def measured(sandbox: Sandbox, quick: bool) -> Iterator[Row]:
    """Measure with codes that take no time, and with codes that wait."""
    here = sandbox.checkpoint()

    def try_out(*codes: str) -> float:
        found = []
        spent = milliseconds(lambda: found.extend(sandbox.candidates(here, codes)))
        assert not any(candidate.observation.error for candidate in found)
        for candidate in found:
            candidate.checkpoint.drop()
        return spent

    def one_after_the_other() -> float:
        return sum(try_out(code) for code in quick_codes)

    quick_codes = [f"step = {number}" for number in range(COUNT)]
    waiting = [f"time.sleep({WAIT}); step = {number}" for number in range(COUNT)]
    found = interleave(
        5 if quick else 20,
        2,
        together=lambda: try_out(*quick_codes),
        alone=one_after_the_other,
        waiting=lambda: try_out(*waiting) - WAIT * 1000,
    )
    here.drop()
    yield Row(f"{COUNT} candidates, 100 MiB in the state", "ms", found["together"], bar=BAR)
    yield Row(f"{COUNT} candidates that wait {WAIT} s, over that", "ms", found["waiting"], bar=BAR)
    yield Row(
        f"{COUNT} candidates", "ms", found["together"], f"{COUNT} times one candidate", found["alone"],
        note="with more processors than two, codes that compute gain more",
    )  # fmt: skip


def waiting(quick: bool) -> Iterator[Row]:
    """A fresh sandbox that waits, against one that is started when it is needed."""
    with tempfile.TemporaryDirectory() as folder, tempfile.TemporaryDirectory() as slots:
        pool, policy = Pool(Slots(1, Path(slots))), SandboxPolicy(workspace=folder)

        def taken() -> float:
            pool.prepare(policy)
            for warm in list(pool._waiting.values()):
                assert warm.starter is not None
                warm.starter.join()
            made: list[Sandbox] = []
            spent = milliseconds(lambda: made.append(pool.take(policy)))
            made[0].close()
            return spent

        def started() -> float:
            sandbox = Sandbox(policy)
            spent = milliseconds(sandbox.start)
            sandbox.close()
            return spent

        found = interleave(5 if quick else 15, 1, taken=taken, started=started)
        pool.close()
        yield Row("a sandbox that waits", "ms", found["taken"], "Sandbox.start()", found["started"])
