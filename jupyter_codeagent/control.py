"""What pages ask of the kernel, besides being told everything again; answered in threads beside the running cell."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator, Mapping
from typing import Any

from jupyter_codeagent.applying import Outcome
from jupyter_codeagent.bridge import Answer
from jupyter_codeagent.bridge.feed import Message
from jupyter_codeagent.desk import Desk
from jupyter_codeagent.errors import CodeAgentError, WrongUse
from jupyter_codeagent.keys import secret_file
from jupyter_codeagent.managing import SAVE_OPTIONS, Managing
from jupyter_codeagent.page import brief
from jupyter_codeagent.taken import Taken
from jupyter_codeagent.terminal import visible
from jupyter_codeagent.trajectory import Attempt, Trajectory
from jupyter_codeagent.transcript import text as transcript
from jupyter_codeagent.variables import told

CODE_MOST = 1_000_000  # characters of code that a page may send
NAMES_MOST = 500  # variables, and files, that are listed


class Control:
    """Answers the requests of pages.

    Parameters
    ----------
    desk : Desk
        What is asked about.
    managing : Managing
        Does what is asked for.
    """

    def __init__(self, desk: Desk, managing: Managing) -> None:
        self.desk, self.managing = desk, managing

    @property
    def answers(self) -> dict[str, Answer]:
        """The request types, and what answers each."""
        return {
            "stop": self.stop,
            "accept": self.accept,
            "discard": self.discard,
            "restore": self.restore,
            "choose": self.choose,
            "record": self.record,
            "info": self.info,
            "save": self.save,
            "fetch": self.fetch,
            "changes": self.changes,
            "apply": self.apply,
            "unapply": self.unapply,
        }

    def stop(self, data: Message) -> Message:
        """End the task, or all, in the background."""
        return {"text": self.managing.stop(text(data, "task", needed=False))}

    def accept(self, data: Message) -> Message:
        """Take note that the user took over an attempt's code, or only tell what has changed since."""
        trajectory, attempt = self._attempt(data)
        code = text(data, "code", CODE_MOST)
        changed = self.desk.changed(trajectory, code)
        if data.get("ask") is not True:
            self.managing.take_over(trajectory, attempt, code)
        return {"text": changed}

    def discard(self, data: Message) -> Message:
        """Take note that the user discarded an attempt."""
        return {"text": self.managing.drop(*self._attempt(data), at_once=False)}

    def restore(self, data: Message) -> Message:
        """Take note that the user took accepting or discarding an attempt back."""
        return {"text": self.managing.restore(*self._attempt(data))}

    def choose(self, data: Message) -> Message:
        """Take note that the user prefers a candidate that was not chosen."""
        return {"text": self.managing.prefer(*self._attempt(data), at_once=False)}

    def record(self, data: Message) -> Message:
        """Return what stands below the cell of a task, for a page that missed its end."""
        name = text(data, "task")
        found = self.desk.tasks.task(name) or self.desk.records.task(name)
        if found is None:
            raise WrongUse(f"This kernel has no record of task {name!r}.")
        said = (found, found.duration, self.desk.settings.show_costs, "", found.told)
        return {"display": {"text/html": brief(*said), "text/plain": transcript(*said, whole=False)}}

    def info(self, data: Message) -> Message:
        """Return what a page shows before a task is given."""
        desk, settings = self.desk, self.desk.settings
        model, said = settings.model, ""
        try:
            chosen = desk.choose_model(model or None)
            model, said = chosen.name, chosen.describe()
        except CodeAgentError as error:
            said = str(error)
        busy = desk.busy
        return {
            "model": model,
            "told": said,
            "tier": desk.running.tier if desk.running else "",
            "memory": settings.memory,
            "attempts": settings.attempts,
            "candidates": settings.candidates,
            "timeout": settings.timeout,
            "costs": settings.show_costs,
            "variables": list(self._variables()),
            "files": self._files(),
            "busy": busy[0] if busy else "",
            "queue": busy[1:],
            "saving": [option.removeprefix("--") for option in SAVE_OPTIONS],
        }

    def save(self, data: Message) -> Message:
        """Save what ran as a notebook: the user's cells and all tasks, or with ``tasks`` these alone; not verified."""
        options = (data.get(option.removeprefix("--")) is True for option in SAVE_OPTIONS)
        saved = self.managing.save_as(text(data, "path"), *options)
        notes = [visible(note) for note in saved.notes]
        return {"path": str(saved.path), "notes": notes, "unknown": sorted(saved.unknown)}

    def fetch(self, data: Message) -> Message:
        """Copy a variable of the sandbox into the notebook, under a free name only."""
        if self.desk.turns.names:
            raise WrongUse("The sandbox is busy; fetch the variable when the task has ended.")
        name, other = text(data, "name"), text(data, "as", needed=False)
        return {"text": self.managing.fetch(name, *(("as", other) if other else ()))}

    def changes(self, data: Message) -> Message:
        """Return what the sandbox has changed in the folder's files."""
        with self._idle():
            return self.managing.filing.listed()

    def apply(self, data: Message) -> Message:
        """Make changes of the sandbox in the folder: those at ``paths``, or all that are not set apart."""
        paths = data.get("paths")
        if paths is not None and not (isinstance(paths, list) and all(isinstance(path, str) for path in paths)):
            raise WrongUse("'paths' is a list of texts, or null.")
        with self._idle():
            return _told(self.managing.filing.apply(paths))

    def unapply(self, data: Message) -> Message:
        """Take the last application back."""
        with self._idle():
            return _told(self.managing.filing.unapply())

    @contextlib.contextmanager
    def _idle(self) -> Iterator[None]:
        """Have the sandbox, which must be free: a page does not wait for a task to end."""
        if self.desk.turns.names:
            raise WrongUse(f"{self.desk.turns.names[0]} is running; try again when it has ended.")
        with self.desk.turn("%agent apply"):
            yield

    def _attempt(self, data: Mapping[str, Any]) -> tuple[Trajectory, Attempt]:
        number = data.get("attempt")
        if not isinstance(number, int) or isinstance(number, bool):
            raise WrongUse("'attempt' is a number.")
        name = text(data, "task")
        self.desk.recall(name)
        return self.desk.tasks.attempt(f"{name}.{number}")

    def _variables(self) -> list[dict[str, str]]:
        found = []
        for name, value in list(self.desk.user.variables().items())[-NAMES_MOST:]:
            detail = ""
            with contextlib.suppress(Exception):  # a user's class may do anything when it is looked at
                detail = told(value)
            kind = value.kind if isinstance(value, Taken) else type(value).__name__
            found.append({"name": name, "type": kind, "detail": detail})
        return found[::-1]

    def _files(self) -> list[str]:
        with os.scandir(self.desk.user.folder) as entries:
            names = sorted(e.name for e in entries if e.is_file() and not e.name.startswith("."))
        return [name for name in names if not secret_file(name)][:NAMES_MOST]


def _told(outcome: Outcome) -> Message:
    return {"applied": list(outcome.applied), "refused": outcome.refused, "text": visible(str(outcome))}


def text(data: Mapping[str, Any], key: str, most: int = 1000, needed: bool = True) -> str:
    """Return the text under `key` of a request.

    Raises
    ------
    WrongUse
        If it is anything else, longer than `most` characters, or missing although it is `needed`.
    """
    found = data.get(key, None if needed else "")
    if not isinstance(found, str) or (needed and not found) or len(found) > most:
        raise WrongUse(f"{key!r} is a text of at most {most:,} characters.")
    return found
