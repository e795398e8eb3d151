"""What a user does with tasks and attempts that are there: accept, discard, take back, stop, save."""

from __future__ import annotations

import keyword
import shlex
from pathlib import Path
from typing import TYPE_CHECKING

from jupyter_codeagent.choosing import elect
from jupyter_codeagent.context import cut
from jupyter_codeagent.desk import REPLAYED, Desk
from jupyter_codeagent.errors import NotPlainData, WrongUse
from jupyter_codeagent.filing import Filing
from jupyter_codeagent.notebook_file import notebook_path
from jupyter_codeagent.sandbox.packer import MISSING
from jupyter_codeagent.saving import Saved, save_live, save_tasks
from jupyter_codeagent.showing import Views
from jupyter_codeagent.terminal import visible
from jupyter_codeagent.trajectory import Attempt, Trajectory
from jupyter_codeagent.variables import size_of, told
from jupyter_codeagent.verifying import Shown, verify_file, verify_saved

if TYPE_CHECKING:
    from jupyter_codeagent.widgets import Buttons

COMMANDS = {
    "status": ": the sandbox, the model and the latest tasks",
    "accept": " [N | TASK.N]: put an attempt's code (or that of all kept ones) into the next cell",
    "discard": " N | TASK.N: take an attempt back",
    "choose": " N | TASK.N: go on from another candidate than the one that was chosen",
    "undo": ": take back the attempt that was kept last",
    "stop": " [TASK]: end the tasks that work in the background",
    "fetch": " NAME [as OTHER] [--replace]: copy a variable of the sandbox into the notebook, as plain data",
    "save": " FILE [--attempts] [--tasks] [--lock] [--script] [--no-verify]: save your cells and tasks, and verify",
    "export": " FILE: write the latest task's trajectory as JSON lines",
    "report": " FILE [--yes]: show the latest task as a bug report, without secrets; --yes writes it",
    "verify": " FILE [--diff] [--no-stamp] [--twice] [--network HOST...]: run a notebook in a fresh sandbox",
    "diff": " [PATH...]: what the sandbox has changed in the folder's files",
    "apply": " [PATH...]: make these changes in the folder; what runs by itself has to be named",
    "unapply": ": take the last apply back, but for files changed since",
    "fix": " [options of %%agent]: mend the cell that failed last",
    "reset": ": close the sandbox; the next task starts in a fresh one",
}
ARGUMENTS = {
    "accept": (0, 1),
    "discard": (1, 1),
    "choose": (1, 1),
    "stop": (0, 1),
    "fetch": (1, 4),
    "diff": (0, 1000),
    "apply": (0, 1000),
    "save": (1, 6),
    "export": (1, 1),
    "report": (1, 2),
    "verify": (1, 1000),
}
SAVE_OPTIONS = ("--attempts", "--tasks", "--lock", "--script")


class Managing:
    """The sub-commands of ``%agent``; each returns what it has to say.

    Parameters
    ----------
    desk : Desk
        What they work with.
    views : Views
        Show what became of tasks.
    """

    def __init__(self, desk: Desk, views: Views) -> None:
        self.desk, self.views = desk, views
        self.filing = Filing(desk)

    def run(self, word: str, rest: list[str]) -> str | Shown:
        """Carry out a sub-command; returns what it has to say, as text or also as HTML.

        Raises
        ------
        WrongUse
            If its arguments do not fit.
        """
        least, most = ARGUMENTS.get(word, (0, 0))
        if not least <= len(rest) <= most:
            spaces = " Names with spaces go between quotes." if most and len(rest) > most else ""
            usage = COMMANDS[word].partition(":")[0] if most else " alone"
            raise WrongUse(f"Write %agent {word}{usage}.{spaces}")
        said: str | Shown = getattr(self, word)(*rest)
        return said

    def status(self) -> str:
        """Say what is running, and how the latest tasks ended."""
        desk, settings = self.desk, self.desk.settings
        model = settings.model or next((t.model for t in reversed(desk.tasks.trajectories) if t.model), "")
        where = f"running, tier {desk.running.tier}" if desk.running else "not started"
        if settings.gateway_place:
            where += f" (at {settings.gateway_place})"
        lines = [
            f"Sandbox: {where}; {settings.memory / 2**30:g} GB of memory, {settings.timeout:g} s per execution.",
            f"Model: {model or 'chosen at the first task'}.",
        ]
        busy = desk.busy
        if busy:
            waiting = f"; waiting: {', '.join(busy[1:])}" if busy[1:] else ""
            lines.append(f"In the background: {busy[0]}{waiting}. %agent stop ends them.")
        for trajectory in desk.tasks.trajectories[-5:]:
            numbers = ", ".join(map(standing, trajectory.attempts)) or "no attempts"
            lines.append(f"Task {trajectory.id}: {trajectory.status} ({numbers}): {cut(trajectory.task, 60)}")
        return "\n".join(lines)

    def accept(self, word: str = "") -> str:
        """Put code into the next cell."""
        if word:
            trajectory, attempt = self.desk.tasks.attempt(word)
            chosen = [attempt]
        else:
            trajectory = self.desk.tasks.latest
            chosen = trajectory.kept
            if not chosen:
                raise WrongUse(f"Task {trajectory.id} has no attempt that succeeded; name one: %agent accept N.")
        code = "\n\n".join((a.action.code or "").strip("\n") for a in chosen)
        changed = self.desk.changed(trajectory, code)
        for attempt in chosen:
            self.take_over(trajectory, attempt)
        told = self.desk.take_in(trajectory, chosen, code)
        failed = "It failed in the sandbox." if any(a.observation and a.observation.error for a in chosen) else ""
        return " ".join(filter(None, [told, failed, changed]))

    def take_over(self, trajectory: Trajectory, attempt: Attempt, code: str | None = None) -> None:
        """Mark an attempt as accepted, with `code` where the user has changed it."""
        if not attempt.done:
            raise WrongUse(f"Attempt {trajectory.id}.{attempt.number} has not ended yet; accept it then.")
        if not attempt.chosen and attempt.succeeded and trajectory.status not in ("queued", "running"):
            self.prefer(trajectory, attempt, at_once=False)  # its code instead of the chosen one's
        attempt.accepted, attempt.discarded = True, False
        changed = code is not None and code.strip() != (attempt.action.code or "").strip()
        attempt.taken = code if changed else None
        self.desk.accepted(attempt)
        self.views.refresh(trajectory)

    def discard(self, word: str) -> str:
        """Take an attempt back."""
        trajectory, attempt = self.desk.tasks.attempt(word)
        said = self.drop(trajectory, attempt)
        return f"Attempt {trajectory.id}.{attempt.number} is discarded. {said}"

    def drop(self, trajectory: Trajectory, attempt: Attempt, at_once: bool = True) -> str:
        """Mark an attempt as discarded; returns what became of the sandbox."""
        if not attempt.done:
            raise WrongUse(f"Attempt {trajectory.id}.{attempt.number} has not ended yet; discard it then.")
        had_effect = attempt in trajectory.kept
        attempt.discarded, attempt.accepted = True, False
        said = self.desk.retake(trajectory, at_once) if had_effect else "It had left no effect."
        self.views.refresh(trajectory)
        return said

    def restore(self, trajectory: Trajectory, attempt: Attempt) -> str:
        """Take back that an attempt was accepted or discarded; returns what becomes of the sandbox."""
        if attempt.accepted:
            attempt.accepted, attempt.taken = False, None
            self.views.refresh(trajectory)
        if not attempt.discarded:
            return ""
        attempt.discarded = False
        said = self.desk.retake(trajectory, at_once=False) if attempt in trajectory.kept else ""
        self.views.refresh(trajectory)
        return said

    def choose(self, word: str) -> str:
        """Go on from another candidate."""
        trajectory, attempt = self.desk.tasks.attempt(word)
        return self.prefer(trajectory, attempt)

    def prefer(self, trajectory: Trajectory, attempt: Attempt, at_once: bool = True) -> str:
        """Make a candidate the chosen one of its round; returns what becomes of the sandbox.

        Raises
        ------
        WrongUse
            If it is none, failed, or is chosen already, or its task has not ended.
        """
        name = f"Attempt {trajectory.id}.{attempt.number}"
        rivals = trajectory.rivals_of(attempt)
        if not rivals:
            raise WrongUse(f"{name} is no candidate: nothing was tried beside it.")
        if trajectory.status in ("queued", "running"):
            raise WrongUse(f"Task {trajectory.id} has not ended yet; choose then.")
        if attempt.chosen and not attempt.discarded:
            raise WrongUse(f"{name} is chosen already.")
        if not attempt.succeeded:
            raise WrongUse(f"{name} failed; only a candidate that succeeded can be chosen.")
        elect(attempt, rivals)
        stays = "The sandbox keeps the state that it has until %agent reset."
        said = self.desk.retake(trajectory, at_once, "The sandbox has its state now.", stays)
        self.views.refresh(trajectory)
        answered = " The answer was written for the candidate chosen before." if trajectory.answer else ""
        return f"{name} is chosen. {said}{answered}"

    def undo(self) -> str:
        """Take back the attempt that was kept last."""
        trajectory = next((t for t in reversed(self.desk.tasks.trajectories) if t.kept), None)
        if trajectory is None:
            raise WrongUse("There is nothing to take back: no attempt is kept.")
        attempt = trajectory.kept[-1]
        said = self.drop(trajectory, attempt)
        left = ", ".join(str(a.number) for a in trajectory.kept) or "none"
        return f"Attempt {trajectory.id}.{attempt.number} is taken back. {said} Of this task are kept: {left}."

    def stop(self, task: str = "") -> str:
        """End tasks in the background."""
        stopped = self.desk.stop(task)
        if not stopped:
            known = self.desk.tasks.task(task) if task else None
            if known is not None:
                return f"Task {task} does not work in the background; it is {known.status}."
            if task:
                raise WrongUse(f"There is no task {task!r} in the background.")
            return "No task works in the background."
        lines = []
        for trajectory, ended in stopped:
            kept = ", ".join(str(a.number) for a in trajectory.kept)
            state = f"the sandbox keeps attempt {kept} of it" if kept else "nothing of it is in the sandbox"
            lines.append(
                f"Task {trajectory.id} is {trajectory.status}; {state}."
                if ended
                else f"Task {trajectory.id} is being stopped."
            )
        return "\n".join(lines)

    def buttons(self, background: bool) -> Buttons:
        """Return what the buttons of a view do."""
        from jupyter_codeagent.widgets import Buttons

        stop = (lambda trajectory: self.stop(trajectory.id)) if background else None
        return Buttons(accept=self._accepted, accept_and_run=self._run_here, discard=self._dropped, stop=stop)

    def _accepted(self, trajectory: Trajectory, attempt: Attempt) -> str:
        changed = self.desk.changed(trajectory, attempt.action.code or "")
        self.take_over(trajectory, attempt)
        return changed

    def _dropped(self, trajectory: Trajectory, attempt: Attempt) -> str:
        return self.drop(trajectory, attempt, at_once=False)  # a click may be handled beside a cell that runs

    def _run_here(self, trajectory: Trajectory, attempt: Attempt) -> str:
        changed = self._accepted(trajectory, attempt)
        failed = self.desk.run_here(trajectory, attempt)
        return " ".join(filter(None, [changed, f"It failed there: {failed}." if failed else ""]))

    def fetch(self, name: str, *rest: str) -> str:
        """Copy a variable of the sandbox into the notebook, under its own or another name."""
        replace, words = "--replace" in rest, [word for word in rest if word != "--replace"]
        if words and (len(words) != 2 or words[0] != "as"):
            raise WrongUse(f"Write %agent fetch{COMMANDS['fetch'].partition(':')[0]}.")
        target = words[1] if words else name
        if not target.isidentifier() or keyword.iskeyword(target):
            raise WrongUse(f"{target!r} is not a name for a variable.")
        if self.desk.running is None and self.desk.owed:
            raise WrongUse(f"There is nothing to fetch: {REPLAYED}.")
        if self.desk.running is None:
            raise WrongUse("There is nothing to fetch: the sandbox has not started; it starts with the first task.")
        space = self.desk.shell.user_ns
        if target in space and not replace:
            other = f"%agent fetch {name} as OTHER"
            raise WrongUse(f"{target!r} is taken in the notebook; write {other}, or add --replace.")
        try:
            value = self.desk.fetch(name)
        except NotPlainData as error:
            instead = "" if error.reason == MISSING else " Accept the attempt that makes it and run its code here."
            raise WrongUse(f"{name!r} was not fetched: {error.reason}.{instead}") from error
        space[target] = value
        called = "" if target == name else f" as {target}"
        return f"Fetched {name}{called}: {told(value)}{size_of(value)}."

    def diff(self, *paths: str) -> str:
        """Show what the sandbox has changed in the folder's files."""
        with self.desk.turn("%agent diff"):
            return self.filing.told(paths)

    def apply(self, *paths: str) -> str:
        """Make changes of the sandbox in the folder."""
        with self.desk.turn("%agent apply"):
            return visible(str(self.filing.apply(paths or None)))

    def unapply(self) -> str:
        """Take the last application back."""
        with self.desk.turn("%agent unapply"):
            return visible(str(self.filing.unapply()))

    def save(self, file: str, *options: str) -> str:
        """Save what ran here, or what was kept of the tasks alone."""
        if file.startswith("--") or any(option not in (*SAVE_OPTIONS, "--no-verify") for option in options):
            raise WrongUse(
                f"Write %agent save{COMMANDS['save'].partition(':')[0]}. Names with spaces go between quotes."
            )
        saved = self.save_as(file, *(option in options for option in SAVE_OPTIONS))
        if "--no-verify" in options:
            said = f"Saved {saved.path}; %agent verify {shlex.quote(str(saved.path))} runs it in a fresh sandbox."
        else:
            said = str(verify_saved(saved, self.desk.settings))
        return visible("\n".join([said, *saved.notes]))

    def save_as(
        self, file: str, attempts: bool = False, tasks_only: bool = False, lock: bool = False, script: bool = False
    ) -> Saved:
        """Save what ran in this kernel, its user's cells and all tasks, or the tasks alone."""
        path, tasks, user = notebook_path(file), self.desk.tasks.trajectories, self.desk.user
        if tasks_only:
            return save_tasks(tasks, path, attempts, lock=lock, script=script)
        own = user.history.ran()
        return save_live(own, tasks, path, user.folder, user.notebook, attempts, lock=lock, script=script)

    def export(self, file: str) -> str:
        """Write the trajectory of the latest task."""
        trajectory = self.desk.tasks.latest
        path = trajectory.save(file)
        return f"Task {trajectory.id} is in {visible(str(path))}; Trajectory.load reads it. It holds all that was said."

    def report(self, file: str, *rest: str) -> str:
        """Show the latest task as a bug report, or write what was shown."""
        from jupyter_codeagent.bug_report import HOLDS, Redaction, bug_report, write_report
        from jupyter_codeagent.doctor import diagnose  # late: no other command needs all that it looks at

        if any(word != "--yes" for word in rest):
            raise WrongUse(f"Write %agent report{COMMANDS['report'].partition(':')[0]}.")
        trajectory = self.desk.tasks.latest
        text = bug_report(trajectory, diagnose(None, "", True), Redaction.here())
        if not rest:
            write = f"%agent report {shlex.quote(file)} --yes"
            return f"{visible(text)}\nNothing was written. Once you have read it: {write}"
        write_report(text, Path(file))
        return f"Written: {visible(file)}. {HOLDS}"

    def verify(self, file: str, *options: str) -> str | Shown:
        """Run a notebook in a fresh sandbox."""
        return verify_file(file, options, self.desk.settings)

    def reset(self) -> str:
        """Close the sandbox."""
        with self.desk.turn("%agent reset"):
            return self.desk.reset()


def standing(attempt: Attempt) -> str:
    """Return an attempt's number and status in few words."""
    passed_over = attempt.status == "succeeded" and not attempt.chosen
    return f"{attempt.number} {'not chosen' if passed_over else attempt.status}"
