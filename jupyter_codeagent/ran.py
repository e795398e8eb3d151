"""What ran in a kernel: IPython's history, with what it does not keep."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

from jupyter_codeagent.trajectory import Output

_KINDS = {"out_stream": "stdout", "err_stream": "stderr"}


@dataclass(frozen=True)
class Ran:
    """A cell that ran in the kernel.

    Parameters
    ----------
    count : int
        Its execution count.
    source : str
        Its text as it was sent.
    cell : str
        Its id in the notebook; empty where the front end did not tell it.
    failed : str
        The name of the exception that ended it; empty where it ran through.
    task : str
        The id of the task that it gave; empty for none.
    when : float
        When it ended, in seconds since 1970; 0 where that is not known.
    outputs : tuple of dict
        What it showed, as far as the kernel knows.
    running : bool
        It has not ended.
    """

    count: int
    source: str
    cell: str = ""
    failed: str = ""
    task: str = ""
    when: float = 0.0
    outputs: tuple[Output, ...] = ()
    running: bool = False


class History:
    """What IPython's history does not keep: the ids of cells, how each ended, the tasks that they gave.

    Parameters
    ----------
    shell : InteractiveShell
        Whose history is meant. Cells that ran before this was made are known by their text alone.
    """

    def __init__(self, shell: Any) -> None:
        self.shell = shell
        self.marks: dict[int, Ran] = {}  # by the place in the history
        self.undone: set[int] = set()  # counts of cells that were taken back
        self._running: list[tuple[int, str]] = []  # place and text; a cell may run another

    def begin(self, source: str) -> None:
        """A cell with this text begins; the history has it next, or last already. Told twice, it is one."""
        place, source = len(self._sources()), source.rstrip("\n")
        if (place - 1, source) not in self._running:
            self._running.append((place, source))

    def end(self, count: int, cell: object, failed: str, task: str) -> None:
        """The cell that began last has ended; parameters as for `Ran`."""
        place, source = self._running.pop() if self._running else (0, "")
        if self._sources()[place : place + 1] == [source] and place:
            cell = cell if isinstance(cell, str) else ""
            self.marks[place] = Ran(count, source, cell, failed, task, time.time())

    def ran(self) -> list[Ran]:
        """Return all cells of the history, oldest first."""
        return [r for r in self._ran() if r.count not in self.undone]

    def _ran(self) -> Iterator[Ran]:
        running = {place for place, _ in self._running}
        failures = getattr(self.shell.history_manager, "exceptions", {})  # since IPython 9
        for place, source in enumerate(self._sources()[1:], 1):
            known = self.marks.get(place)
            if known is None or known.source != source:  # the history was emptied meanwhile
                failure = failures.get(place)
                said = str(failure.get("ename", "an error")) if isinstance(failure, dict) else ""
                known = Ran(place, source, failed=said, running=place in running)
            yield replace(known, outputs=tuple(self._outputs(known.count)))

    def _sources(self) -> list[str]:
        found: list[str] = self.shell.history_manager.input_hist_raw
        return found

    def _outputs(self, count: int) -> Iterator[Output]:
        """Yield the streams and the result that IPython keeps; what was displayed it does not know in a kernel."""
        kept = getattr(self.shell.history_manager, "outputs", {})
        for found in kept.get(count, ()):
            kind, bundle = found.output_type, found.bundle
            if kind in _KINDS:
                yield {"output_type": "stream", "name": _KINDS[kind], "text": "".join(bundle.get("stream", ()))}
            elif kind in ("execute_result", "display_data"):
                yield {"output_type": kind, "data": dict(bundle), "metadata": {}}
