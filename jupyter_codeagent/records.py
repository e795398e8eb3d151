"""Records of tasks in the user's Jupyter data folder, so that running a solved cell again asks no model."""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from jupyter_codeagent.trajectory import Trajectory, code_hash
from jupyter_codeagent.whole import write_whole

MOST_BYTES = 20 * 2**20  # of one record; a longer one is not kept
MOST_FILES = 500  # the oldest go first


@dataclass(frozen=True)
class Place:
    """Where a cell stands: its folder, and its notebook's name where the front end tells it."""

    folder: str
    notebook: str = ""

    def to_dict(self) -> dict[str, str]:
        """Return what is stored: the folder's hash, since only equality matters."""
        folder = hashlib.blake2b(self.folder.encode("utf-8", "replace"), digest_size=16).hexdigest()
        return {"folder": folder, "notebook": self.notebook}

    def fits(self, stored: dict[str, Any]) -> bool:
        """Tell whether a record was made here; a notebook whose name is unknown on one side fits any."""
        mine = self.to_dict()
        names = {mine["notebook"], str(stored.get("notebook", ""))}
        return stored.get("folder") == mine["folder"] and ("" in names or len(names) == 1)


@dataclass(frozen=True)
class Record:
    """A task as it was stored: when (seconds since 1970), whether here, and whether it was solved when it ended."""

    trajectory: Trajectory
    saved: float
    here: bool
    solved: bool = True


class Records:
    """Tasks that have ended, under the hash of their cell's text.

    Parameters
    ----------
    folder : Path
        Made when the first record is saved; readable by its owner only.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.complaint = ""  # a sentence about a record that could not be used, or kept

    def save(self, cell: str, place: Place, trajectory: Trajectory) -> None:
        """Store a task, or say in `complaint` why it is not kept."""
        data = {"saved": time.time(), "place": place.to_dict(), "solved": trajectory.status == "solved"}
        self._store(self.folder / f"{code_hash(cell)}.{trajectory.id}.json", data, trajectory)

    def mark(self, trajectory: Trajectory) -> None:
        """Store what the user has accepted, discarded or edited since, if the task is stored at all."""
        path = self._path(trajectory.id)
        if path is None:
            return
        try:
            self._store(path, json.loads(path.read_bytes()), trajectory)
        except (OSError, ValueError) as error:
            self.complaint = f"The record {path.name} could not be kept up ({error})."

    def _store(self, path: Path, data: dict[str, Any], trajectory: Trajectory) -> None:
        text = json.dumps({**data, "trajectory": trajectory.to_dict()}).encode()
        self.complaint = ""
        if len(text) > MOST_BYTES:
            self.complaint = f"The record is longer than {MOST_BYTES // 2**20} MB and is not kept for a replay."
            return
        try:
            self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            write_whole(path, text, overwrite=True, mode=0o600)
            self._forget_oldest()
        except OSError as error:
            self.complaint = f"The record could not be kept in {str(self.folder)!r}: {error.strerror or error}."

    def find(
        self,
        cell: str,
        place: Place,
        anywhere: bool = False,
        prefer: Callable[[Trajectory], bool] = lambda trajectory: True,
    ) -> Record | None:
        """Return the newest record of this cell's text that was made here and was solved.

        Parameters
        ----------
        cell : str
            The cell's text.
        place : Place
            Where it stands now.
        anywhere : bool
            Take one that was made elsewhere where there is none from here.
        prefer : callable
            Tells of a task whether it is to be taken before newer ones.
        """
        self.complaint = ""
        found = [r for path in self.folder.glob(f"{code_hash(cell)}.*.json") if (r := self._read(path, place))]
        found = [r for r in found if r.solved]
        fitting = [r for r in found if r.here] or (found if anywhere else [])
        return max(fitting, key=lambda record: (prefer(record.trajectory), record.saved), default=None)

    def task(self, name: str) -> Trajectory | None:
        """Return the task with this id, wherever it was made."""
        path = self._path(name)
        record = self._read(path, Place("")) if path else None
        return record.trajectory if record else None

    def _path(self, name: str) -> Path | None:
        if not name.replace("-", "").replace("_", "").isalnum():
            return None
        return next(iter(self.folder.glob(f"*.{name}.json")), None)

    def _read(self, path: Path, place: Place) -> Record | None:
        try:
            if path.stat().st_size > MOST_BYTES:
                raise ValueError("it is too long")
            data = json.loads(path.read_bytes())
            trajectory = Trajectory.from_dict(data["trajectory"])
            trajectory.status, trajectory.kept, trajectory.usage  # noqa: B018 - a damaged part shows here at the latest
            return Record(trajectory, float(data["saved"]), place.fits(data["place"]), bool(data.get("solved", True)))
        except (OSError, ValueError, TypeError, KeyError, AttributeError) as error:
            self.complaint = f"The record {path.name} cannot be used and was passed over ({error})."
            return None

    def _forget_oldest(self) -> None:
        paths = sorted(self.folder.glob("*.json"), key=lambda p: p.stat().st_mtime, reverse=True)
        for path in paths[MOST_FILES:]:
            path.unlink(missing_ok=True)
