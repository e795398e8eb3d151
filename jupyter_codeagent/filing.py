"""What the sandbox changed in the user's files: shown, applied, and taken back."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Any

from jupyter_codeagent.applying import Applier, Outcome
from jupyter_codeagent.desk import REPLAYED, Desk
from jupyter_codeagent.differing import difference, summary
from jupyter_codeagent.errors import WrongUse
from jupyter_codeagent.render import outspoken
from jupyter_codeagent.sandbox import Sandbox
from jupyter_codeagent.sandbox.changes import Change
from jupyter_codeagent.unasked import reason

MOST = 500  # files that are told of at once
TOLD = 200_000  # characters of all differences together


class Filing:
    """The files of one kernel's sandbox, beside the user's.

    Parameters
    ----------
    desk : Desk
        Has the sandbox; whoever calls has its turn.
    """

    def __init__(self, desk: Desk) -> None:
        self.desk = desk
        self._applier: Applier | None = None
        self._shown: dict[str, tuple[str, str]] = {}  # what the user last saw of each path

    def changes(self) -> list[Change]:
        """Return what is different, once what is marked as discarded is gone from the sandbox.

        Raises
        ------
        WrongUse
            If there is no sandbox, or it shows no folder.
        """
        return self._sandbox().changes()

    def _sandbox(self) -> Sandbox:
        if self.desk.running is None and self.desk.owed:
            raise WrongUse(f"Nothing is changed: {REPLAYED}.")
        if self.desk.running is None:
            raise WrongUse("Nothing is changed: the sandbox has not started; it starts with the first task.")
        if self._running is None:
            raise WrongUse(
                f"The sandbox is at {self.desk.settings.gateway_place} and writes to a copy of the folder there, so "
                "its files cannot be shown or applied here; %agent fetch brings a variable."
            )
        self.desk.catch_up(self.desk.sandbox())
        running = self._running
        if running is None or not running.folder:
            raise WrongUse("The sandbox does not show the working folder, so it has changed nothing there.")
        return running

    @property
    def _running(self) -> Sandbox | None:
        """The sandbox, where it is on this machine."""
        return self.desk.running if isinstance(self.desk.running, Sandbox) else None

    def apply(self, paths: Sequence[str] | None) -> Outcome:
        """Make changes in the user's folder; None: all that are not set apart."""
        sandbox = self._sandbox()
        changes = sandbox.changes()
        applier = self._applier
        if applier is None or applier.folder != sandbox.folder:
            applier = self._applier = Applier(sandbox.folder)
        wanted = None if paths is None else [beneath(name, sandbox.folder) for name in paths]
        # code of the sandbox may go on in a thread, and write something else once its files were looked at
        unseen = {c.path for c in changes if c.path in self._shown and self._shown[c.path] != _version(c)}
        outcome = applier.apply(changes, wanted, unseen)
        sandbox.settle(outcome.applied)
        return outcome

    def unapply(self) -> Outcome:
        """Take the last application back."""
        if self._applier is None or not self._applier.applied:
            raise WrongUse("There is nothing to take back: no file was applied, or all were put back.")
        outcome = self._applier.undo()
        running = self._running
        if running is not None and running.folder == self._applier.folder:
            running.settle(outcome.applied)
        return outcome

    def told(self, paths: Sequence[str] = ()) -> str:
        """Return the differences in words, of the given files or folders only where there are any."""
        changes = self.changes()
        names = [change.path for change in changes]
        paths = [beneath(name, self._folder) for name in paths]
        wanted = [c for c in changes if not paths or any(_within(c.path, name) for name in paths)]
        unknown = [name for name in paths if not any(_within(c.path, name) for c in changes)]
        parts = [f"Changed in the sandbox: {summary(wanted)}."] if wanted or not paths else []
        parts += [f"The sandbox has not changed {outspoken(repr(name))}." for name in unknown]
        length = 0
        for change in wanted[:MOST]:
            why = reason(change.path, change.kind == "added", names)
            why = f"Applied only if you name it: {why}" if why and change.kind != "special" else ""
            heading = f"--- {outspoken(change.path)} ({change.kind})"
            text = self._difference(change) if length < TOLD else "(not shown: name it)"
            length += len(text)
            parts += ["\n".join(filter(None, [heading, why, change.conflict, text]))]
        if len(wanted) > MOST:
            parts.append(f"{len(wanted) - MOST:,} more files are not shown; name a folder.")
        return "\n\n".join(parts)

    def listed(self) -> dict[str, Any]:
        """Return the differences as a page gets them."""
        changes = self.changes()
        names = [change.path for change in changes]
        more = len(changes) - MOST
        files, length = [], 0
        for change in changes[:MOST]:
            text = self._difference(change) if length < TOLD else ""
            length += len(text)
            files.append(
                {
                    "path": change.path.encode("utf-8", "replace").decode(),
                    "kind": change.kind,
                    "size": change.size,
                    "special": change.special,
                    "runs_by_itself": reason(change.path, change.kind == "added", names),
                    "conflict": change.conflict,
                    "diff": text,
                }
            )
        return {"files": files, "note": f"{more:,} more files are not shown." if more > 0 else ""}

    def _difference(self, change: Change) -> str:
        """Return a difference that is shown to the user now."""
        self._shown[change.path] = _version(change)
        return difference(change, self._folder)

    @property
    def _folder(self) -> str:
        return self._running.folder if self._running is not None else ""


def _version(change: Change) -> tuple[str, str]:
    """Return by which two changes of a file are told apart."""
    return change.kind, change.digest


def beneath(name: str, folder: str) -> str:
    """Return a path as the user may write it (``./a``, ``b/``, absolute) relative to the folder, where it is in it."""
    path = os.path.normpath(name)
    return os.path.relpath(path, folder) if path == folder or path.startswith(folder.rstrip("/") + "/") else path


def _within(path: str, name: str) -> bool:
    return path == name or name in (".", "") or path.startswith(name.rstrip("/") + "/")
