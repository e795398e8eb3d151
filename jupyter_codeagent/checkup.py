"""The doctor's findings for the server extension: looked for in a process of its own, and kept a short while."""

from __future__ import annotations

import asyncio
import json
import sys
import time
from typing import Any

_LONGEST = 120.0  # seconds; 5 to 10 are usual


class Checkup:
    """Looks at this machine when asked, one look at a time.

    Parameters
    ----------
    fresh : float
        Seconds for which findings are given again instead of looking once more.
    """

    def __init__(self, fresh: float) -> None:
        self.fresh = fresh
        self._lock = asyncio.Lock()
        self._found: list[dict[str, Any]] = []
        self._until = 0.0
        self._process: asyncio.subprocess.Process | None = None

    async def findings(self) -> list[dict[str, Any]]:
        """Return what `jupyter codeagent doctor` finds: dicts with name, ok, detail and mend."""
        async with self._lock:
            if time.monotonic() >= self._until:
                self._found = await self._look()
                self._until = time.monotonic() + self.fresh
            return self._found

    def close(self) -> None:
        """End a look that is under way; called when the server ends."""
        if self._process is not None and self._process.returncode is None:
            self._process.kill()

    async def _look(self) -> list[dict[str, Any]]:
        self._process = process = await asyncio.create_subprocess_exec(
            # a page that opens must not make this machine call anybody
            *(sys.executable, "-P", "-m", "jupyter_codeagent.app", "doctor", "--json", "--offline"),
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            start_new_session=True,  # Ctrl-C is for the server, which then ends it
        )
        try:
            output, _ = await asyncio.wait_for(process.communicate(), _LONGEST)
            return list(json.loads(output)["findings"])
        except TimeoutError:
            process.kill()
            await process.wait()
            return [_failed(f"no answer within {_LONGEST:.0f} s")]
        except (ValueError, KeyError):
            return [_failed(f"it ended with status {process.returncode}")]


def _failed(why: str) -> dict[str, Any]:
    return {"name": "doctor", "ok": False, "detail": why, "mend": "run `jupyter codeagent doctor` in a terminal"}
