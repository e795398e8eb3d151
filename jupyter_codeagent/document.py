"""The file of a live notebook, as far as it can say something of what ran in the kernel."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from jupyter_codeagent.notebook import KEY
from jupyter_codeagent.ran import Ran
from jupyter_codeagent.trajectory import code_hash


class Document:
    """The notebook's file, as far as it can say something of what ran.

    Parameters
    ----------
    file : nbformat.NotebookNode or None
        None: nothing is known.
    written : float
        When it was written, in seconds since 1970.
    """

    def __init__(self, file: Any = None, written: float = 0.0) -> None:
        self.cells: list[Any] = list(file.cells) if file is not None else []
        self.written = written
        self.numbers = {cell.id: number for number, cell in enumerate(self.cells, 1)}

    def cell(self, name: str) -> Any:
        """Return the cell with this id, or None."""
        return self.cells[self.numbers[name] - 1] if name in self.numbers else None

    def identified(self, ran: Sequence[Ran]) -> list[Ran]:
        """Return cells that ran with their ids, found by their text where the front end did not tell them."""
        by_text: dict[str, list[Any]] = {}
        for cell in self.cells:
            if cell.cell_type == "code":
                by_text.setdefault(cell.source.strip(), []).append(cell)
        return [r if r.cell else replace(r, cell=_found(r, by_text)) for r in ran]

    def knows(self, ran: Ran) -> bool:
        """Tell whether the file was written after this cell ran."""
        return bool(self.cells) and self.written >= ran.when

    def tags(self, name: str) -> list[str]:
        """Return the tags of a cell."""
        cell = self.cell(name)
        return list(cell.metadata.get("tags", [])) if cell is not None else []

    def outputs(self, ran: Ran) -> list[Any] | None:
        """Return what a cell showed, or None where the file does not know that."""
        cell = self.cell(ran.cell)
        same = cell is not None and cell.cell_type == "code" and cell.source.strip() == ran.source.strip()
        return list(cell.outputs) if same and cell.execution_count == ran.count else None

    def attempt(self, name: str) -> tuple[str, int]:
        """Return the task and the number of the attempt that a cell holds the accepted code of; "" and 0 for none."""
        cell = self.cell(name)
        record = cell.metadata.get(KEY) if cell is not None else None
        if not isinstance(record, dict) or record.get("role") != "accepted":
            return ("", 0)
        task, number = record.get("task"), record.get("attempt")
        return (task, number) if isinstance(task, str) and isinstance(number, int) else ("", 0)


def _found(r: Ran, by_text: dict[str, list[Any]]) -> str:
    same = by_text.get(r.source.strip(), [])
    same = [c for c in same if c.execution_count == r.count] or same
    # cells of the same text that nothing tells apart are taken for one
    return str(same[0].id) if len(same) == 1 else f"text-{code_hash(r.source)}"
