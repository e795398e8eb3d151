"""The sandbox as its owner sees it: execute, checkpoint, roll back."""

from __future__ import annotations

import ast
import contextlib
import threading
import weakref
from collections.abc import Generator, Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from jupyter_codeagent.errors import NotPlainData, SandboxDied, TooManyChanges
from jupyter_codeagent.packed import Shelf
from jupyter_codeagent.sandbox import gate
from jupyter_codeagent.sandbox.aside import Aside, check_code, last
from jupyter_codeagent.sandbox.changes import Change
from jupyter_codeagent.sandbox.execution import Execution, Manner
from jupyter_codeagent.sandbox.fetching import MOST_BYTES, fetch
from jupyter_codeagent.sandbox.launch import spawner
from jupyter_codeagent.sandbox.layer import TEMPORARY
from jupyter_codeagent.sandbox.policy import MIB, SandboxPolicy
from jupyter_codeagent.sandbox.shelter import uninterrupted
from jupyter_codeagent.sandbox.slots import Slots
from jupyter_codeagent.sandbox.state import Gone, State, memory
from jupyter_codeagent.sandbox.supervisor import HUNG, Cell, Point, Supervisor
from jupyter_codeagent.sandbox.tree import FILE, TooMuch, scan
from jupyter_codeagent.sandbox.values import pack
from jupyter_codeagent.source import parsed
from jupyter_codeagent.trajectory import Observation, Undone

PATIENCE = 1.0  # seconds for a question to end that was interrupted
HARMLESS = (
    ast.Module, ast.Expr, ast.Constant, ast.Name, ast.Load, ast.UnaryOp, ast.USub, ast.UAdd, ast.Not, ast.Tuple,
    ast.List,
)  # fmt: skip


@dataclass(eq=False)
class Checkpoint:
    """The sandbox's state at one moment, usable any number of times until `drop`."""

    sandbox: Sandbox = field(repr=False)
    point: Point = field(repr=False)
    dropped: bool = False

    def drop(self) -> None:
        """Forget it, and free what it keeps; calling it again does nothing."""
        if not self.dropped:
            self.dropped = True
            self.sandbox.supervisor.release(self.point)


@dataclass(frozen=True)
class Candidate:
    """One of several attempts from the same checkpoint; rolling back to `checkpoint` makes it the state."""

    observation: Observation
    checkpoint: Checkpoint


class Sandbox:
    """A separate process tree in which code is executed, kept from the rest of the machine by bubblewrap.

    It starts at the first use. An attempt that ends badly in any way leaves the sandbox usable; where the
    process was lost, the state is the one before that `execute`.

    Parameters
    ----------
    policy : SandboxPolicy, optional
        What it may do.

    Raises
    ------
    SandboxUnavailable
        By every method, if none can be started here. Code is never executed outside a sandbox instead.
    SandboxDied
        By every method, if it is gone and could not be brought back.
    """

    tier = "A"

    def __init__(self, policy: SandboxPolicy | None = None) -> None:
        self.policy = policy or SandboxPolicy()
        self.supervisor = Supervisor(self.policy)
        self.closed = False
        self._busy = threading.Lock()
        self._shelf = Shelf()
        self._owner: int | None = None
        self._execution: Execution | None = None
        self._aside = Aside(self.supervisor, Slots())
        # when it is forgotten, and when the interpreter ends
        self._cleanup = weakref.finalize(self, self.supervisor.shut_down)

    # -- life -------------------------------------------------------------------------------------

    def __enter__(self) -> Sandbox:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @property
    def facts(self) -> dict[str, str]:
        """What is really in force, as the kernel says; empty before the start."""
        return self.supervisor.facts

    @property
    def files_note(self) -> str:
        """How the working folder appears inside, in one sentence; empty before the start."""
        return self.supervisor.files_note

    def start(self) -> None:
        """Start now rather than at the first use; does nothing if it runs."""
        with self._turn() as supervisor:
            supervisor.start()

    def close(self) -> None:
        """End every process in it. A closed sandbox cannot be used again."""
        self.closed = True
        with uninterrupted():
            self.supervisor.shut_down()
        spawner().forget(self)

    @contextlib.contextmanager
    def _turn(self) -> Iterator[Supervisor]:
        """Have the processes for oneself; other threads wait."""
        if self._owner == threading.get_ident():
            raise RuntimeError("the sandbox is executing; take all of its observations first")
        with self._busy:
            if self.closed:
                raise SandboxDied("The sandbox is closed; make a new one.")
            self._owner = threading.get_ident()
            try:
                yield self.supervisor
            finally:
                self._owner = None
        spawner().watch(self)

    # -- executing --------------------------------------------------------------------------------

    def execute(self, code: str, values: dict[str, Any] | None = None, manner: Manner | None = None) -> Observation:
        """Execute `code` as one cell and return what came of it.

        Parameters
        ----------
        code : str
            Python as IPython takes it: magics, ``!commands`` and top-level await included.
        values : dict, optional
            Copied in before the code runs, by name.
        manner : Manner, optional
            How: its number, and what is kept of it.

        Raises
        ------
        WrongUse
            If the code is no text.
        NotPlainData
            If a value cannot be copied; nothing was executed.
        """
        last = Observation()
        for last in self.stream(code, values, manner):  # noqa: B007 - the last one is whole
            pass
        return last

    def stream(
        self, code: str, values: dict[str, Any] | None = None, manner: Manner | None = None
    ) -> Iterator[Observation]:
        """Execute like `execute`, yielding the observation as it grows; the last one yielded is whole.

        A KeyboardInterrupt stops the code, is raised again after the last observation, and leaves a usable sandbox.
        """
        check_code(code)
        with self._turn() as supervisor:
            said, supervisor.ended = len(supervisor.notes), 0
            kept = manner is None or manner.kept
            if kept:
                supervisor.insure()
            execution = self._begin(code, values)
            try:
                while not execution.over:
                    for seen in execution.run(code, manner):
                        if execution.over:
                            self._settle(execution, Cell(code, manner=manner))
                        if not execution.hung:
                            noted = supervisor.notes[said:] if execution.over else ()
                            yield replace(seen, notes=(*seen.notes, *noted))
                    if execution.hung:  # what it did is undone, and does not count
                        execution = self._begin(code, values)
            finally:
                self._execution = None
                if not execution.over:  # whoever asked did not wait for the end
                    with uninterrupted():
                        supervisor.restore(supervisor.safe)
                elif execution.error is None and kept:
                    supervisor.prepare()

    def _begin(self, code: str, values: dict[str, Any] | None) -> Execution:
        """Return an execution in the live state, which has a point to go back to."""
        supervisor = self.supervisor
        live = supervisor.ready()
        if values:
            self._send(live, values)
        supervisor.dirty = supervisor.dirty or not inert(code)
        self._execution = Execution(live, self.policy, supervisor.users, supervisor.kernel_memory)
        return self._execution

    def _settle(self, execution: Execution, cell: Cell) -> None:
        """Leave a usable state behind: after a lost process, the one before the code."""
        supervisor = self.supervisor
        if execution.died:
            with uninterrupted():
                if execution.hung:
                    supervisor.end(supervisor.safe, HUNG)
                supervisor.restore(supervisor.safe)
        else:
            supervisor.log.append(cell)

    def _send(self, state: State, values: dict[str, Any]) -> None:
        """Put values into the live state."""
        cell, supervisor = Cell(None, pack(values, self._shelf)), self.supervisor
        assert cell.parcel is not None
        supervisor.dirty = True
        try:
            failed = state.give(cell.parcel)
        except (Gone, gate.Violation) as error:
            supervisor.restore(supervisor.safe)
            raise NotPlainData(
                next(iter(values)), f"the sandbox's process ended while it was copied ({error})"
            ) from error
        if failed:
            name, reason = next(iter(failed.items()))
            raise NotPlainData(name, f"it cannot be rebuilt in the sandbox ({reason})")
        supervisor.log.append(cell)

    def put(self, name: str, value: Any) -> None:
        """Copy a value in; what the sandbox does with it cannot change the caller's object.

        A value that has not changed since it was put in under this name is compared only, and not copied again.

        Raises
        ------
        NotPlainData
            If it cannot be copied.
        """
        if not name.isidentifier():
            raise NotPlainData(name, "it is not a name")
        with self._turn() as supervisor:
            supervisor.insure()
            self._send(supervisor.ready(), {name: value})

    def fetch(self, name: str) -> Any:
        """Return a copy of a value in the sandbox, if it is plain data; nothing is ever unpickled.

        Plain data are None, booleans, numbers, text, bytes, dates and lengths of time, containers of such (named
        tuples come as tuples), arrays without objects of other kinds, frames, series and indexes of pandas, frames
        and columns of polars and Arrow. A PIL image or a matplotlib figure comes as an ``IPython.display.Image``.
        It is packed in a copy of the state, so the state is unchanged, and may have 512 MiB and take a minute.

        Raises
        ------
        NotPlainData
            If there is no such name, or its value is anything else.
        """
        if not name.isidentifier():
            raise NotPlainData(name, "it is not a name")
        with self._turn() as supervisor:
            state = self._aside.copy(supervisor.insure())
            before = supervisor.users()
            try:
                return fetch(state, name, min(MOST_BYTES, self.policy.disk))
            finally:
                with uninterrupted():
                    state.kill()
                    state.bury()
                    supervisor.sweep(before)

    def interrupt(self) -> None:
        """Stop what is executing; may be called from any thread, and does nothing if nothing is."""
        execution = self._execution
        if execution is not None:
            execution.stop("Interrupted")
        self._aside.stop()

    def ask(self, kind: str, **content: Any) -> dict[str, Any]:
        """Return the answer to a question about code (see `questions`); hostile, and empty where there is none.

        It is asked of a copy of the state, which is thrown away; where there can be no copy, of the live state.
        """
        with self._turn() as supervisor:
            point = supervisor.insure()
            if not point.usable and point is not supervisor.origin:  # a copy would take running everything again
                return self._ask_live(kind, content)
            state, before = self._aside.copy(point), supervisor.users()
            try:
                return state.question(kind, **content)
            except (Gone, gate.Violation):
                return {}
            finally:
                with uninterrupted():
                    state.kill()
                    state.bury()
                    supervisor.sweep(before)

    def _ask_live(self, kind: str, content: dict[str, Any]) -> dict[str, Any]:
        """Ask the live state itself; one that does not answer in time is interrupted, and at last made again."""
        live = self.supervisor.ready()
        try:
            return live.question(kind, **content)
        except (Gone, gate.Violation):
            with uninterrupted():
                live.interrupt()
                try:
                    live.wait("answer", seconds=PATIENCE)
                except (Gone, gate.Violation):
                    self.supervisor.restore(self.supervisor.safe)
            return {}

    # -- files ------------------------------------------------------------------------------------

    def changes(self) -> list[Change]:
        """Return what the code has changed in the working folder and the user's folder does not have, by path.

        Raises
        ------
        TooManyChanges
            If it is too much to be looked at.
        """
        with self._turn() as supervisor:
            supervisor.start()
            try:
                return supervisor.layer.changes() if supervisor.layer is not None else []
            except (OSError, TooMuch) as error:
                raise TooManyChanges(f"What the sandbox has written cannot be looked at: {error}.") from error

    def settle(self, paths: Sequence[str]) -> None:
        """Take note that the user's folder has at these paths now what is known to be right: it was applied."""
        with self._turn() as supervisor:
            if supervisor.layer is not None:
                supervisor.layer.settle(paths)

    def strays(self) -> list[str]:
        """Return the paths of files that lie in ``/tmp`` and ``/dev/shm`` inside; hostile, and empty if too many."""
        with self._turn() as supervisor:
            supervisor.start()
            layer, found = supervisor.layer, []
            with contextlib.suppress(OSError, TooMuch):
                for root in layer.roots if layer is not None else ():
                    if root.path in TEMPORARY:
                        found += [f"{root.path}/{path}" for path, e in scan(root.fd).items() if e.kind == FILE]
            return sorted(found)

    @property
    def folder(self) -> str:
        """The working folder's path, outside as inside; empty where there is none, or before the start."""
        layer = self.supervisor.layer
        return layer.roots[-1].path if layer is not None and layer.folder >= 0 else ""

    # -- states -----------------------------------------------------------------------------------

    def checkpoint(self) -> Checkpoint:
        """Keep the state as it is now, by fork: what is the same is shared until somebody writes to it."""
        with self._turn() as supervisor:
            point = supervisor.insure()
            point.uses += 1
            return Checkpoint(self, point)

    def rollback(self, checkpoint: Checkpoint) -> Undone:
        """Make all variables as they were at `checkpoint`, and end every process started since.

        Files that the code can write are put back too: the working folder as it appears inside, ``/tmp`` and
        ``/dev/shm``. The checkpoint can be used again. Returns what was restored, and at what price.

        Raises
        ------
        ValueError
            If the checkpoint was dropped, or belongs to another sandbox.
        """
        point = self._known(checkpoint)
        said = len(self.supervisor.notes)
        self._go(point)
        return self.supervisor.undone(point, said)

    def _known(self, checkpoint: Checkpoint) -> Point:
        if checkpoint.dropped or checkpoint.sandbox is not self:
            raise ValueError("the checkpoint was dropped, or belongs to another sandbox")
        return checkpoint.point

    def reset(self) -> None:
        """Make the state pristine; checkpoints stay usable."""
        self._go(self.supervisor.origin)

    def _go(self, point: Point) -> None:
        with self._turn() as supervisor, uninterrupted():
            supervisor.ready()
            supervisor.restore(point)

    def rehearse(
        self, checkpoint: Checkpoint, cells: Sequence[str], values: dict[str, Any] | None = None
    ) -> list[Observation]:
        """Execute `cells` from `checkpoint` in a copy of their own, up to the first error, and throw it away.

        The live state is unchanged. Returns one observation for each cell that was executed.

        Raises
        ------
        ValueError
            If the checkpoint was dropped, or belongs to another sandbox.
        """
        with self._turn():
            return self._aside.rehearse(self._known(checkpoint), cells, values, self.policy)

    def candidates(self, checkpoint: Checkpoint, codes: Sequence[str]) -> list[Candidate]:
        """Execute each of `codes` from `checkpoint` in a copy of its own; the live state is unchanged.

        They run side by side, as many at one time as the machine has processors free. Rolling back to a candidate's
        checkpoint makes its state the live one; drop the others'.

        Raises
        ------
        ValueError
            If the checkpoint was dropped, or belongs to another sandbox.
        """
        found: list[Candidate] = last(self.try_out(checkpoint, codes))
        return found

    def try_out(
        self, checkpoint: Checkpoint, codes: Sequence[str]
    ) -> Generator[list[tuple[Observation, bool]], None, list[Candidate]]:
        """Do the same as `candidates`, yielding what was seen of each code so far, and whether it has ended.

        A KeyboardInterrupt stops all of them and is raised again once they have ended; nothing of them is left then.
        """
        with self._turn():
            found = yield from self._aside.try_out(self._known(checkpoint), codes, self.policy)
        return [Candidate(seen, Checkpoint(self, point)) for seen, point in found]

    def look_after(self) -> None:
        """End what uses too much memory while nobody executes, or beside it; the spawner calls this."""
        supervisor, process = self.supervisor, self.supervisor.process
        if process is None:
            return
        # it may be started, ended or replaced meanwhile
        with contextlib.suppress(OSError, AssertionError, AttributeError, KeyError):
            used, hold = memory(supervisor.inside(), supervisor.hold()), supervisor.hold()
            if used > hold and not supervisor.spare() and used > hold + self.policy.memory:
                process.kill()
        if not self._busy.acquire(blocking=False):
            return
        try:
            self._look_at_idle()
        except Exception:  # noqa: BLE001 - it is being closed; and what cannot be looked at must not go on
            process.kill()
        finally:
            self._busy.release()

    def _look_at_idle(self) -> None:
        supervisor = self.supervisor
        if supervisor.live is not None and supervisor.zygote is not None and supervisor.zygote.alive:
            used = memory(supervisor.users(), self.policy.memory) + supervisor.kernel_memory()
            if used > self.policy.memory:
                supervisor.notes.append(f"Processes left running used {used // MIB:,} MiB and were ended.")
                supervisor.live.kill()


def inert(code: str) -> bool:
    """Say whether code only looks at names and literals, so that the state after it is the state before."""
    tree = parsed(code)
    return tree is not None and all(isinstance(node, HARMLESS) for node in ast.walk(tree))
