"""How far something is that takes longer than a moment, on one line of a cell's output."""

from __future__ import annotations

import sys
import time
from typing import TextIO

MOMENT = 2.0  # seconds in which nothing is said


class Progress:
    """Says which cell is executed; call it with the number of those that are done, and of all.

    Parameters
    ----------
    what : str
        What is done to the cells.
    stream : TextIO or None
        Where to write. None: standard output.
    """

    def __init__(self, what: str, stream: TextIO | None = None) -> None:
        self.what, self.stream = what, stream or sys.stdout
        self._began, self._shown = time.monotonic(), 0

    def __call__(self, done: int, total: int) -> None:
        """Write the line anew, once a moment has passed."""
        if time.monotonic() - self._began >= MOMENT:
            self._write(f"{self.what} cell {min(done + 1, total)} of {total} ...")

    def close(self) -> None:
        """Take the line away."""
        if self._shown:
            self._write("")

    def _write(self, text: str) -> None:
        # written over, not cleared: every front end and terminal can do that
        self.stream.write(f"\r{text:{self._shown}}" + ("" if text else "\r"))
        self.stream.flush()
        self._shown = len(text)
