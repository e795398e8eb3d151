"""What runs have paid for, on the disk while they go on: a run after a kill goes on where that one was."""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import shutil
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, replace
from datetime import datetime
from pathlib import Path
from typing import Any

from jupyter_codeagent import trajectory_file
from jupyter_codeagent.errors import TrajectoryError, WrongUse
from jupyter_codeagent.trajectory import Attempt, Trajectory
from jupyter_codeagent.whole import write_whole

MOST_BYTES = 64 * 2**20  # of one task; what comes later is not kept
MOST_TOTAL = 2**30  # bytes of all; the oldest go first
MOST_NOTEBOOKS, MOST_TASKS = 100, 20


class Writer:
    """Keeps a trajectory's file up: what has ended is in it, and whoever is killed loses its last line at most.

    Parameters
    ----------
    path : Path
        The file; what the trajectory holds already is written at once.
    trajectory : Trajectory
        Goes on while this is there.
    overwrite : bool
        Replace a file that exists.

    Raises
    ------
    TrajectoryError
        If the file exists and `overwrite` is False, or it cannot be written.
    """

    def __init__(self, path: Path, trajectory: Trajectory, overwrite: bool = False) -> None:
        self.path, self.trajectory = path, trajectory
        self.complaint = ""  # a sentence, where it could not be kept up
        self._setting = _setting(trajectory)
        self._known: dict[tuple[str, int], bytes] = {}  # by kind and place: the hash of what was written
        self._size = 0
        first = [trajectory_file.head_line(self._setting), *(line for _, line in self._new())]
        try:
            write_whole(path, b"".join(first), overwrite, 0o600)
            self._file = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CLOEXEC)
        except FileExistsError:
            raise TrajectoryError(f"{str(path)!r} exists and was not touched; choose another name.") from None
        except OSError as error:
            raise TrajectoryError(f"{str(path)!r} cannot be written: {error.strerror or error}.") from None

    def keep_up(self) -> None:
        """Write what has ended since."""
        for _, line in list(self._new()):
            self._append(line)

    def end(self) -> None:
        """Write how the task ended, and what was changed in what is written."""
        self.keep_up()
        for kind, entries in (
            ("attempt", map(asdict, self.trajectory.attempts)),
            ("answer", map(asdict, self.trajectory.answers)),
        ):
            for place, data in enumerate(entries):
                if (kind, place) in self._known and self._known[kind, place] != _hash(data):
                    self._append(trajectory_file.entry_line(kind, data, again=place))
        now = _setting(self.trajectory)
        changed = {name: value for name, value in now.items() if value != self._setting[name]}
        self._append(trajectory_file.end_line({**now, **changed}, self.trajectory.status, **changed))

    def close(self) -> None:
        """Close the file; without `end`, the task is one that goes on."""
        if self._file >= 0:
            os.close(self._file)
        self._file = -1

    def _new(self) -> Iterator[tuple[str, bytes]]:
        """Yield the lines of what has ended and is not written."""
        counts = {"attempt": 0, "answer": 0}
        for entry in self.trajectory.history:
            kind = "attempt" if isinstance(entry, Attempt) else "answer"
            place = counts[kind]
            counts[kind] += 1
            if (kind, place) in self._known:
                continue
            if isinstance(entry, Attempt) and (not entry.done or entry.undecided):
                return
            data = asdict(entry)
            self._known[kind, place] = _hash(data)
            yield kind, trajectory_file.entry_line(kind, data, spent=asdict(self.trajectory.spent))

    def _append(self, line: bytes) -> None:
        if self.complaint:
            return
        self._size += len(line)
        if self._size > MOST_BYTES:
            most = MOST_BYTES // 2**20
            self.complaint = f"{str(self.path)!r} is not kept up any more: the task is longer than {most} MB."
            return
        try:
            while line:
                line = line[os.write(self._file, line) :]
        except OSError as error:  # the task itself goes on
            self.complaint = f"{str(self.path)!r} could not be kept up: {error.strerror or error}."


def _setting(trajectory: Trajectory) -> dict[str, Any]:
    """Return all that is no attempt and no answer; those are large, and written one by one."""
    return replace(trajectory, attempts=[], answers=[], current=None, rivals=[]).to_dict()


def _hash(data: dict[str, Any]) -> bytes:
    return hashlib.blake2b(json.dumps(data).encode(), digest_size=16).digest()


@dataclass(frozen=True)
class Earlier:
    """A task as an earlier run left it, and when (seconds since 1970) it was written last."""

    trajectory: Trajectory
    saved: float

    def taken_up(self, trajectory: Trajectory) -> str:
        """Put what was done into the same task of a new run, where that can go on; returns a sentence for the user.

        A task that failed by itself is solved anew, unless more attempts are allowed now.
        """
        old = self.trajectory
        now = replace(trajectory, attempts=old.attempts, answers=old.answers, spent=old.spent, id=old.id)
        given_up = old.failure is not None and now.tries >= now.limit
        if now.status not in ("solved", "running") or given_up or not (old.attempts or old.answers):
            return ""
        trajectory.id, trajectory.attempts, trajectory.answers, trajectory.spent = (
            old.id, old.attempts, old.answers, old.spent,
        )  # fmt: skip
        if now.status == "solved":
            when = datetime.fromtimestamp(self.saved).astimezone().strftime("%Y-%m-%d %H:%M")
            return f"solved by the run of {when}; its code runs again and no model is asked, but with --again"
        count = f"{len(old.attempts)} attempt{'' if len(old.attempts) == 1 else 's'}"
        return f"goes on after {count} of an earlier run, which nobody pays for again; --again begins anew"


class Journal:
    """The tasks of one notebook; nobody else has them meanwhile. `Journals.of` gives one.

    Parameters
    ----------
    folder : Path
        Holds a file for each task: its cell's number, and the hash of what it rests on.
    again : bool
        Find nothing: all tasks are solved anew.
    """

    def __init__(self, folder: Path, again: bool = False) -> None:
        self.folder, self.again = folder, again
        self.complaint = ""  # a sentence about a file that could not be used, or written

    def find(self, cell: int, key: str) -> Earlier | None:
        """Return what an earlier run made of the task of a cell, if that run rested on the same."""
        path = self._path(cell, key)
        self.complaint = ""
        if self.again or not path.exists():
            return None
        try:
            stored = trajectory_file.read(path)
            trajectory = Trajectory.from_dict(stored.data)
            _drop_half_round(trajectory)
            return Earlier(trajectory, path.stat().st_mtime)
        except (ValueError, OSError, RecursionError) as error:
            self.complaint = f"The record of an earlier run cannot be used and was passed over ({error})."
            return None

    def changed(self, cell: int, key: str) -> bool:
        """Tell whether an earlier run has solved, or begun, another task in this cell."""
        return not self.again and any(p.name != self._path(cell, key).name for p in self._files(cell))

    def writer(self, cell: int, key: str, trajectory: Trajectory) -> Writer | None:
        """Begin, or go on with, the file of a task; None where that is impossible, and `complaint` says why."""
        try:
            writer = Writer(self._path(cell, key), trajectory, overwrite=True)
        except TrajectoryError as error:
            self.complaint = f"If this run is interrupted, the next one cannot go on from here: {error}"
            return None
        for path in self._files(cell):
            if path != writer.path:
                path.unlink(missing_ok=True)
        return writer

    def _path(self, cell: int, key: str) -> Path:
        return self.folder / f"{cell:05d}-{key}.jsonl"

    def _files(self, cell: int) -> list[Path]:
        return list(self.folder.glob(f"{cell:05d}-*.jsonl"))


def _drop_half_round(trajectory: Trajectory) -> None:
    """Forget candidates of a round that was not written to its end."""
    last = trajectory.attempts[-1] if trajectory.attempts else None
    if last is not None and last.of > 1:
        together = [a for a in trajectory.attempts if a.round == last.round and a.of == last.of]
        if len(together) < last.of or not any(a.chosen for a in together):
            trajectory.attempts = [a for a in trajectory.attempts if all(a is not other for other in together)]


class Journals:
    """All of a user's journals.

    Parameters
    ----------
    root : Path
        Made when the first is written; readable by its owner only.
    notebooks : int
        Of how many there are journals at most; the oldest go first.
    """

    def __init__(self, root: Path, notebooks: int = MOST_NOTEBOOKS) -> None:
        self.root, self.notebooks = root, notebooks

    @contextmanager
    def of(self, notebook: Path, again: bool = False) -> Iterator[Journal]:
        """Give the journal of a notebook, locked as long as it is used.

        Raises
        ------
        WrongUse
            If another run of the same notebook has it.
        OSError
            If there can be none, such as in a home folder that is read-only.
        """
        name = hashlib.blake2b(os.fsencode(notebook.resolve()), digest_size=16).hexdigest()
        folder = self.root / name
        lock = _locked(folder, wait=1.0)
        if lock is None:
            raise WrongUse(f"{notebook.name!r} is being run by another program; wait until it has ended.")
        try:
            self._forget_oldest(folder)
            yield Journal(folder, again)
        finally:
            os.close(lock)

    def writers(self, trajectory: Trajectory, file: Path | None = None) -> list[Writer]:
        """Return the files of a task that stands in no notebook: one here, if there can be one, and `file`."""
        kept = self._task(trajectory)
        return [*([kept] if kept else []), *([Writer(file, trajectory)] if file else [])]

    def _task(self, trajectory: Trajectory) -> Writer | None:
        folder = self.root / "tasks"
        try:
            _make(folder)
            for path in _newest(folder.glob("*.jsonl"))[MOST_TASKS - 1 :]:
                path.unlink(missing_ok=True)
            return Writer(folder / f"{trajectory.id}.jsonl", trajectory)
        except (OSError, TrajectoryError):
            return None

    def latest(self) -> Path | None:
        """Return the file of the task that was written last."""
        return next(iter(_newest(self.root.glob("*/*.jsonl"))), None)

    def _forget_oldest(self, own: Path) -> None:
        folders = _newest(p for p in self.root.iterdir() if p.is_dir() and p != own and p.name != "tasks")
        total = 0
        for count, folder in enumerate(folders, 2):
            total += sum(p.stat().st_size for p in folder.glob("*.jsonl"))
            if count <= self.notebooks and total <= MOST_TOTAL:
                continue
            lock = _locked(folder, wait=0.0)  # one that is in use stays
            if lock is not None:
                shutil.rmtree(folder, ignore_errors=True)
                os.close(lock)


def journals() -> Journals:
    """Return the journals of this user."""
    from jupyter_core.paths import jupyter_data_dir

    return Journals(Path(jupyter_data_dir()) / "codeagent" / "journals")


def keeping_up(attempts: Iterator[Attempt], writers: Sequence[Writer]) -> Iterator[Attempt]:
    """Yield the attempts of a task that is watched, with its files kept up."""
    for attempt in attempts:
        for writer in writers:
            writer.keep_up()
        yield attempt


def end(writers: Sequence[Writer]) -> list[str]:
    """Write how the task ended and close its files; returns what there is to complain of."""
    for writer in writers:
        writer.end()
        writer.close()
    return [writer.complaint for writer in writers if writer.complaint]


def _newest(paths: Any) -> list[Path]:
    """Return the paths by the time of their last change, the newest first."""
    dated = []
    for path in paths:
        with suppress(OSError):  # another run may just have removed it
            dated.append((path.stat().st_mtime, path))
    return [path for _, path in sorted(dated, reverse=True)]


def _make(folder: Path) -> None:
    folder.parent.parent.mkdir(parents=True, exist_ok=True)
    for place in (folder.parent, folder):
        with suppress(FileExistsError):
            place.mkdir(mode=0o700)


def _locked(folder: Path, wait: float) -> int | None:
    """Return the open lock of a folder, which is made; None where another process has it for longer than `wait`."""
    until = time.monotonic() + wait
    while True:
        _make(folder)
        path = folder / "lock"
        lock = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if path.exists() and os.path.samestat(os.fstat(lock), path.stat()):
                os.utime(folder)
                return lock
        except BlockingIOError:
            pass
        except BaseException:
            os.close(lock)
            raise
        os.close(lock)  # it was in use, or belongs to a folder that was just removed
        if time.monotonic() >= until:
            return None
        time.sleep(0.05)
