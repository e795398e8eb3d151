"""The magics: %%agent, %%attempt and %agent. Here the parts meet."""

from __future__ import annotations

import atexit
import functools
import linecache
import re
import shlex
import sys
import traceback
from collections.abc import Callable, Iterable
from dataclasses import replace
from typing import Any

from IPython.core.error import UsageError
from IPython.core.magic import Magics, cell_magic, line_cell_magic, magics_class, no_var_expand
from IPython.display import display

from jupyter_codeagent.context import cut
from jupyter_codeagent.control import Control
from jupyter_codeagent.desk import Desk, execute
from jupyter_codeagent.errors import CodeAgentError, WrongUse
from jupyter_codeagent.managing import COMMANDS, Managing
from jupyter_codeagent.notebook import KEY
from jupyter_codeagent.options import CodeAgent, identifying, parse, parser
from jupyter_codeagent.publishing import publish, publish_outputs
from jupyter_codeagent.showing import Views
from jupyter_codeagent.solving import Solving, Stopped
from jupyter_codeagent.trajectory import Attempt, Observation, code_hash, plain


def told_plainly(method: Callable[..., Any]) -> Callable[..., Any]:
    """Show what goes wrong on our side, or the user's, as one sentence instead of a traceback."""

    @functools.wraps(method)
    def plainly(*arguments: Any) -> Any:
        try:
            return method(*arguments)
        except CodeAgentError as error:
            raise UsageError(str(error)) from None
        except KeyboardInterrupt:
            raise Stopped from None

    return plainly


@magics_class
class AgentMagics(Magics):
    """The magics of one kernel.

    Parameters
    ----------
    shell : InteractiveShell
        Where they are registered.
    desk : Desk
        What they work with.
    """

    def __init__(self, shell: Any, desk: Desk) -> None:
        super().__init__(shell)
        self.desk = desk
        self.views = Views(desk)
        self.managing = Managing(desk, self.views)
        self.solving = Solving(desk, self.views, self.managing)
        self._cell_meta: dict[str, Any] = {}
        self._cell_text = ""
        self.failure = ""  # the task of mending the cell that failed last

    def before_cell(self, info: Any) -> None:
        """Remember the cell's text, and its metadata where the front end sends it; IPython calls this before each."""
        self._cell_text = info.raw_cell or ""
        self._cell_meta = getattr(info, "cell_meta", None) or {}
        self.desk.tasks.added = ""
        self.desk.user.history.begin(self._cell_text)

    def after_cell(self, result: Any) -> None:
        """Remember the cell that failed last, for ``%agent fix``; IPython calls this after each cell."""
        error = result.error_before_exec or result.error_in_exec
        failed = type(error).__name__ if error is not None else ""
        cell = getattr(result.info, "cell_id", None)
        self.desk.user.history.end(result.execution_count or 0, cell, failed, self.desk.tasks.added)
        if error is not None and not isinstance(error, UsageError | KeyboardInterrupt):
            self.failure = failure_task(error, result.info.raw_cell)

    @line_cell_magic
    @no_var_expand
    @told_plainly
    def agent(self, line: str, cell: str | None = None) -> None:
        """Solve a task (``%%agent``; ``%%agent --help``), or manage tasks (``%agent`` lists its commands)."""
        if cell is None:
            self._command(line)
            return
        options = parse(line)
        if options.help:
            print(parser().format_help())  # noqa: T201 - this is the cell's output
            return
        options.again = options.again or self._asked_again
        identity = f"{identifying(line)}\n{cell.strip()}"
        self.solving.give(cell.strip(), options, identity, self._cell_text)

    @cell_magic
    @no_var_expand
    @told_plainly
    def attempt(self, line: str, cell: str) -> None:
        """Run an attempt that was not accepted, in the sandbox; unchanged since it was recorded, only show it."""
        name = line.strip()
        if not re.fullmatch(r"[\w-]+\.\d+", name):
            raise WrongUse(f"%%attempt is followed by TASK.NUMBER, not by {name!r}.")
        self.desk.recall(name.rpartition(".")[0])
        mine = self._cell_meta.get(KEY)
        mine = mine if isinstance(mine, dict) else {}
        unchanged = self.desk.tasks.unchanged(name, cell)
        if not self._asked_again and (unchanged or mine.get("hash") == code_hash(cell)):
            if unchanged:  # the front end has cleared the cell, and is to show what it showed
                publish_outputs(self.desk.tasks.attempt(name)[1].observation or Observation(), self.desk.page)
            print(f"Attempt {name} is unchanged and was not run again; edit it to try it in the sandbox.")  # noqa: T201
            return
        with self.desk.turn(f"%%attempt {name}"):
            self._execute(name, cell)

    @property
    def _asked_again(self) -> bool:
        """A button of a page runs this cell anew; a cell's metadata, which are sent too, do not know the word."""
        mine = self._cell_meta.get(KEY)
        return isinstance(mine, dict) and mine.get("again") == self.desk.bridge.again

    def _command(self, line: str) -> None:
        """Carry out a sub-command of ``%agent``."""
        try:
            word, *rest = shlex.split(line) or ["help"]
        except ValueError as error:
            raise WrongUse(f"%agent: {str(error).lower()} in {line!r}.") from None
        if word in ("-h", "--help", "help"):
            print("\n".join(f"%agent {name}{told}" for name, told in COMMANDS.items()))  # noqa: T201
            return
        if word not in COMMANDS:
            raise WrongUse(f"%agent has no command {word!r}; there are: {', '.join(COMMANDS)}.")
        if word == "fix":
            self._fix(line.strip().removeprefix("fix"))
            return
        said = self.managing.run(word, rest)
        if isinstance(said, str):
            print(said)  # noqa: T201 - this is the cell's output
        else:
            display({"text/html": said.html, "text/plain": said.text}, raw=True)

    def _execute(self, name: str, code: str) -> None:
        """Run an attempt's code, as the user edited it or again, and keep its record up."""
        sandbox = self.desk.sandbox()
        sandbox.begin(())
        self.desk.catch_up(sandbox)
        try:
            trajectory, attempt = self.desk.tasks.attempt(name)
        except WrongUse:  # from another kernel, and not kept there: there is no record to keep up
            publish(execute(sandbox, code), self.desk.page)
            return
        seen, said = self.desk.redo(trajectory, attempt, code)
        publish(seen, self.desk.page)
        if said:
            print(said, file=sys.stderr)  # noqa: T201 - this is the cell's output
        revise(attempt, code, seen)
        self.desk.bridge.edited(trajectory, attempt)
        self.views.refresh(trajectory)

    def _fix(self, line: str) -> None:
        options = parse(line)
        if not self.failure:
            raise WrongUse("There is no error to fix: no cell has failed since the extension was loaded.")
        identity = f"fix {identifying(line)}\n{self.failure}"
        self.solving.give(self.failure, options, identity, self._cell_text)


def revise(attempt: Attempt, code: str, seen: Observation) -> None:
    """Make `code`, and what came of it, those of an attempt."""
    old = attempt.action
    if code_hash(code) != code_hash(old.code or ""):
        attempt.written = old.code if attempt.written is None else attempt.written
        attempt.edited = True
    attempt.action = replace(old, code=code.strip("\n"), gave_up=False)
    attempt.observation, attempt.done = seen, True
    attempt.rolled_back = seen.error is not None


def failure_task(error: BaseException, source: str) -> str:
    """Return the task of mending the cell with this `source`, which raised `error`."""
    frames = [f for f in traceback.extract_tb(error.__traceback__) if _is_cell(f.filename)]
    lines = [f"line {frame.lineno}, in {frame.name}: {frame.line}" for frame in frames]
    return mending(source, lines, "".join(traceback.format_exception_only(error)))


def mending(source: str, lines: Iterable[str], said: str) -> str:
    """Return the task of mending the cell with this `source`, where it fails in `lines` and what is `said` there."""
    return (
        "This cell fails. Find out why and write a version of it that works.\n\n"
        f"```python\n{cut(source.strip(), 3000)}\n```\n\n" + "\n".join([*lines, cut(plain(said).strip(), 1000)])
    )


def _is_cell(filename: str) -> bool:
    entry = linecache.cache.get(filename)
    return entry is not None and len(entry) == 4 and entry[1] is None  # what is no file has no time of change


def _with_body(lines: list[str]) -> list[str]:
    """Give an agent cell without a task an empty line; IPython would refuse it before our own words could help."""
    if lines and re.match(r"%%agent\b", lines[0]) and not "".join(lines[1:]).strip():
        return [lines[0].rstrip("\n") + "\n", "\n"]
    return lines


# IPython leaves such a function out when it only asks whether a cell is complete: with the added line every first
# line would be, and a terminal would run it before the task is typed.
_with_body.has_side_effects = True  # type: ignore[attr-defined]


def load(shell: Any, desk: Desk | None = None) -> AgentMagics:
    """Register the magics in `shell` and return them; again does nothing."""
    known = _loaded(shell)
    if known is not None:
        return known
    if desk is None:
        from jupyter_codeagent.models import get_model

        desk = Desk(shell, CodeAgent(parent=shell), get_model)
    magics = AgentMagics(shell, desk)
    if hasattr(shell, "kernel"):
        desk.bridge.answers |= Control(desk, magics.managing).answers
        desk.bridge.background = not desk.no_background
        desk.bridge.open()
    shell.register_magics(magics)
    shell.configurables.append(desk.settings)
    shell.input_transformers_cleanup.append(_with_body)
    shell.events.register("pre_run_cell", magics.before_cell)
    shell.events.register("post_run_cell", magics.after_cell)
    atexit.register(desk.shut_down)  # so that what works in the background is kept as stopped
    return magics


def unload(shell: Any) -> None:
    """Take the magics away and close the sandbox; without them does nothing."""
    magics = _loaded(shell)
    if magics is None:
        return
    atexit.unregister(magics.desk.shut_down)
    magics.desk.shut_down()
    magics.desk.bridge.close()
    shell.events.unregister("pre_run_cell", magics.before_cell)
    shell.events.unregister("post_run_cell", magics.after_cell)
    shell.input_transformers_cleanup.remove(_with_body)
    shell.configurables.remove(magics.desk.settings)
    manager = shell.magics_manager
    for kind, name in (("cell", "agent"), ("line", "agent"), ("cell", "attempt")):
        manager.magics[kind].pop(name, None)
    manager.registry.pop(AgentMagics.__name__, None)


def _loaded(shell: Any) -> AgentMagics | None:
    found = shell.magics_manager.registry.get(AgentMagics.__name__)
    return found if isinstance(found, AgentMagics) else None
