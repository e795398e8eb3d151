"""The sandbox as its owner sees it: execute, checkpoint, roll back."""

from __future__ import annotations

import ast
import atexit
import contextlib
import os
import socket
import subprocess
import threading
import time
import weakref
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from jupyter_codeagent.errors import NotPlainData, SandboxDied, SandboxUnavailable
from jupyter_codeagent.sandbox import gate, probe, seccomp
from jupyter_codeagent.sandbox.execution import Execution
from jupyter_codeagent.sandbox.launch import launch, memory_file, spawner
from jupyter_codeagent.sandbox.policy import MIB, SandboxPolicy
from jupyter_codeagent.sandbox.shelter import uninterrupted
from jupyter_codeagent.sandbox.state import Gone, State, descendants, memory, readable
from jupyter_codeagent.sandbox.values import Parcel, pack
from jupyter_codeagent.sandbox.workspace import plan
from jupyter_codeagent.trajectory import Observation

START = 60.0  # seconds for the interpreter and IPython to load; a cold disk is slow
SWEEPS = 200  # rounds of killing what an attempt left behind, before the whole sandbox is replaced


@dataclass(frozen=True)
class Cell:
    """Something that was done to the state, kept so that it can be done again: code, or values put in."""

    code: str | None
    parcel: Parcel | None = None


@dataclass(eq=False)
class Point:
    """The state at one moment: a frozen process, and what led there."""

    state: State | None  # None: the process cannot be used, the log can
    log: tuple[Cell, ...]
    uses: int = 0


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
            self.sandbox.release(self.point)


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
        self.facts: dict[str, str] = {}  # what is really in force, as the kernel says
        self.files_note = ""
        self.notes: list[str] = []  # what the owner should know of: rebuilt states, lost processes
        self._process: subprocess.Popen[bytes] | None = None
        self._zygote: State | None = None
        self._live: State | None = None
        self._origin = Point(None, ())  # the zygote, as a point to go back to
        self._safe = self._origin  # equals the live state unless `_dirty`
        self._dirty = False
        self._points: list[Point] = []
        self._log: list[Cell] = []
        self._busy = threading.Lock()
        self._owner: int | None = None
        self._execution: Execution | None = None
        self._closed = False
        self._cleanup = weakref.finalize(self, lambda: None)
        atexit.register(_close_at_exit, weakref.ref(self))

    # -- life -----------------------------------------------------------------------------------

    def __enter__(self) -> Sandbox:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def start(self) -> None:
        """Start now rather than at the first use; does nothing if it runs."""
        with self._turn():
            self._ready()

    def close(self) -> None:
        """End every process in it. A closed sandbox cannot be used again."""
        self._closed = True
        with uninterrupted():
            self._end()

    @property
    def closed(self) -> bool:
        """True after `close`."""
        return self._closed

    def _end(self) -> None:
        """End all processes and close all descriptors."""
        self._cleanup.detach()
        spawner().watched.discard(self)
        for point in self._points:
            if point.state is not None:
                point.state.close()
                point.state = None
        for state in (self._live, self._zygote):
            if state is not None:
                state.close()
        self._live = self._zygote = self._origin.state = None
        self._points = []
        if self._process is not None:
            end(self._process)
            self._process = None

    @contextlib.contextmanager
    def _turn(self) -> Iterator[None]:
        """Have the sandbox for oneself; other threads wait."""
        if self._owner == threading.get_ident():
            raise RuntimeError("the sandbox is executing; take the observations first")
        with self._busy:
            self._owner = threading.get_ident()
            try:
                yield
            finally:
                self._owner = None

    def _ready(self) -> State:
        """Return the live state, started or brought back if need be."""
        if self._closed:
            raise SandboxDied("The sandbox is closed; make a new one.")
        with uninterrupted():
            if self._zygote is None:
                self._launch()
            elif not self._zygote.alive:
                self._rebuild(self._safe.log, "The sandbox's first process had ended")
            if self._live is None or not self._live.alive:
                self._restore(self._safe)
        assert self._live is not None
        return self._live

    def _launch(self) -> None:
        """Start bubblewrap and the zygote, check what is in force, and fork the first live state."""
        self.policy.check()
        workspace = plan(self.policy.workspace, self.policy.files)
        self.files_note = workspace.note
        ours, theirs = socket.socketpair()
        zygote = State(ours, -1, -1, None)
        try:
            self._process = launch(self.policy, workspace, theirs.fileno(), seccomp.base_filter())
        finally:
            theirs.close()
        self._cleanup = weakref.finalize(self, end, self._process)
        archive = memory_file("workspace", workspace.archive)
        try:
            zygote.wire.send(
                {
                    "op": "start",
                    "limits": self._limits(),
                    "output": self.policy.output,
                    "cpus": self.policy.cpus,
                    "workspace": workspace.path,
                },
                [archive],
            )
            zygote.wait("ready", START)
            zygote.identify()
            self.facts = probe.check(zygote, self.policy)
            self._zygote, self._origin.state = zygote, zygote
            self._activate(zygote.fork())
        except (Gone, gate.Violation) as error:
            zygote.close()
            said = complaint(self._process)
            self._end()
            raise SandboxUnavailable(explain(said or str(error))) from error
        except SandboxUnavailable:
            self._end()
            raise
        spawner().watched.add(self)

    def _limits(self) -> dict[str, int]:
        return {
            "DATA": self.policy.memory,
            "NPROC": self.policy.processes,
            "FSIZE": self.policy.disk,
            "NOFILE": 1024,
            "CORE": 0,
        }

    # -- states ---------------------------------------------------------------------------------

    def _protected(self) -> list[State]:
        assert self._zygote is not None
        return [self._zygote, *(p.state for p in self._points if p.state is not None)]

    def _activate(self, state: State) -> None:
        """Make `state` the live one."""
        try:
            state.shield(self._protected())
        except (Gone, gate.Violation):
            state.kill()
            state.close()
            raise
        self._live = state

    def _insure(self) -> Point:
        """Return a point equal to the live state, forking one if there is none."""
        live = self._ready()
        if not self._dirty:
            return self._safe
        with uninterrupted():
            state: State | None = None
            try:
                state = live.fork()
                live.shield([state])
                if state.unsafe:
                    state.kill()
                    state.close()
                    state = None
            except (Gone, gate.Violation):
                # the state cannot be forked; what led there can be run again
                self.notes.append("This state cannot be kept as a copy; going back to it will run the code again.")
            point = Point(state, tuple(self._log))
            self._points.append(point)
            self._swap(point)
        return point

    def _swap(self, point: Point) -> None:
        """Make `point` the one that the live state equals."""
        old, self._safe, self._dirty = self._safe, point, False
        point.uses += 1
        self.release(old)

    def release(self, point: Point) -> None:
        """Count one user of `point` less; without users its process ends."""
        point.uses -= 1
        if point.uses > 0 or point is self._origin or point not in self._points:
            return
        self._points.remove(point)
        if point.state is not None:
            with uninterrupted():
                point.state.kill()
                point.state.status_at_end()  # its parent collects it
                point.state.close()
                point.state = None

    def _restore(self, point: Point) -> None:
        """Make the live state that of `point`, and end every process that is no known state."""
        self._discard_live()
        try:
            self._sweep()
            if point.state is not None and point.state.alive:
                self._activate(point.state.fork())
            elif point is self._origin:
                raise Gone("the first process ended")
            else:
                self._replay(point.log)
        except (Gone, gate.Violation) as error:
            self._rebuild(point.log, f"A state was lost ({error})")
        self._log = list(point.log)
        if point is not self._safe:
            self._swap(point)
        self._dirty = False

    def _discard_live(self) -> None:
        if self._live is not None:
            live, self._live = self._live, None
            live.kill()
            live.status_at_end()
            live.close()

    def _sweep(self) -> None:
        """End what attempts left behind: daemons, children, fork bombs."""
        assert self._zygote is not None
        keep = {state.pid for state in self._protected()} | {self._zygote.pid}
        for _ in range(SWEEPS):
            strays = [pid for pid in self._inside() if pid not in keep]
            if not strays:
                return
            for pid in strays:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, 9)
        raise Gone("processes of an attempt could not be ended")

    def _inside(self) -> list[int]:
        """Return the pids of all processes in the sandbox but its init."""
        assert self._zygote is not None
        return descendants(probe.parent_of(self._zygote.pid))

    def _users(self) -> list[int]:
        """Return the pids of the processes that belong to the code: the live state and all that it started."""
        keep = {state.pid for state in self._protected()}
        return [pid for pid in self._inside() if pid not in keep]

    def _rebuild(self, log: Sequence[Cell], why: str) -> None:
        """Start a new sandbox and do again what led to the state."""
        for point in self._points:
            if point.state is not None:
                point.state.close()
                point.state = None
        for state in (self._live, self._zygote):
            if state is not None:
                state.close()
        self._live = self._zygote = self._origin.state = None
        if self._process is not None:
            end(self._process)
        try:
            self._launch()
        except SandboxUnavailable as error:
            raise SandboxDied(f"{why}, and a new sandbox could not be started: {error}") from error
        self._replay(log, launched=True)
        self.notes.append(f"{why}; a new sandbox was started and {len(log)} pieces of earlier code ran again.")

    def _replay(self, log: Sequence[Cell], *, launched: bool = False) -> None:
        """Do again what led to a state, starting from the zygote."""
        assert self._zygote is not None
        if not launched:
            self._activate(self._zygote.fork())
        assert self._live is not None
        for cell in log:
            self._redo(self._live, cell)

    def _redo(self, state: State, cell: Cell) -> None:
        if cell.parcel is not None:
            state.ask("values", "received", [cell.parcel.fd], values=cell.parcel.index)
        if cell.code is not None:
            execution = Execution(state, self.policy, self._users)
            for _ in execution.run(cell.code):
                pass
            if execution.died:
                raise SandboxDied(
                    "Earlier code that worked ended its process when it was run again; reset the sandbox."
                )

    # -- what the owner does --------------------------------------------------------------------

    def execute(self, code: str, values: dict[str, Any] | None = None) -> Observation:
        """Execute `code` as one cell and return what came of it.

        Parameters
        ----------
        code : str
            Python as IPython takes it: magics, ``!commands`` and top-level await included.
        values : dict, optional
            Copied in before the code runs, by name.

        Raises
        ------
        NotPlainData
            If a value cannot be copied; nothing was executed.
        """
        last = Observation()
        for last in self.stream(code, values):  # noqa: B007 - the last one is whole
            pass
        return last

    def stream(self, code: str, values: dict[str, Any] | None = None) -> Iterator[Observation]:
        """Execute like `execute`, yielding the observation as it grows; the last one yielded is whole.

        A KeyboardInterrupt stops the code, is raised again after the last observation, and leaves a usable sandbox.
        """
        with self._turn():
            said = len(self.notes)
            self._insure()
            live = self._ready()
            if values:
                self._send(live, Cell(None, pack(values)))
            self._dirty = self._dirty or not inert(code)
            execution = self._execution = Execution(live, self.policy, self._users)
            try:
                for seen in execution.run(code):
                    yield replace(seen, notes=(*seen.notes, *self.notes[said:])) if execution.over else seen
            finally:
                self._execution = None
                self._settle(execution, code)

    def _settle(self, execution: Execution, code: str) -> None:
        """Leave a usable state behind, whatever became of the execution."""
        if execution.over and not execution.died:
            self._log.append(Cell(code))
            return
        with uninterrupted():  # the process died, or its observations were not waited for
            self._restore(self._safe)

    def _send(self, state: State, cell: Cell) -> None:
        """Put values into a state."""
        assert cell.parcel is not None
        self._dirty = True
        try:
            failed = state.ask("values", "received", [cell.parcel.fd], values=cell.parcel.index).get("failed")
        except (Gone, gate.Violation) as error:
            self._restore(self._safe)
            name = next(iter(cell.parcel.index))
            raise NotPlainData(name, f"the sandbox's process ended while it was copied ({error})") from error
        if isinstance(failed, dict) and failed:
            name, reason = next(iter(failed.items()))
            raise NotPlainData(gate.bare(name, 100), f"it cannot be rebuilt in the sandbox ({gate.bare(reason, 300)})")
        self._log.append(cell)

    def put(self, name: str, value: Any) -> None:
        """Copy a value in; what the sandbox does with it cannot change the caller's object.

        Raises
        ------
        NotPlainData
            If it cannot be copied.
        """
        if not name.isidentifier():
            raise NotPlainData(name, "it is not a name")
        with self._turn():
            self._insure()
            self._send(self._ready(), Cell(None, pack({name: value})))

    def checkpoint(self) -> Checkpoint:
        """Keep the state as it is now, by fork: what is the same is shared until somebody writes to it."""
        with self._turn():
            point = self._insure()
            point.uses += 1
            return Checkpoint(self, point)

    def rollback(self, checkpoint: Checkpoint) -> None:
        """Make all variables as they were at `checkpoint`, and end every process started since.

        Files written meanwhile stay as they are. The checkpoint can be used again.
        """
        if checkpoint.dropped or checkpoint.sandbox is not self:
            raise ValueError("the checkpoint was dropped, or belongs to another sandbox")
        with self._turn(), uninterrupted():
            self._ready()
            self._restore(checkpoint.point)

    def reset(self) -> None:
        """Make the state pristine; checkpoints stay usable."""
        with self._turn(), uninterrupted():
            self._ready()
            self._restore(self._origin)

    def rehearse(
        self, checkpoint: Checkpoint, cells: Sequence[str], values: dict[str, Any] | None = None
    ) -> list[Observation]:
        """Execute `cells` from `checkpoint` in a copy of their own, up to the first error; the live state is unchanged."""
        with self._turn():
            state = self._branch(checkpoint.point)
            seen: list[Observation] = []
            try:
                if values:
                    parcel = pack(values)
                    state.ask("values", "received", [parcel.fd], values=parcel.index)
                for code in cells:
                    seen.append(self._last(state, code))
                    if seen[-1].error is not None:
                        break
            except (Gone, gate.Violation) as error:
                raise SandboxDied(f"A copy of the state was lost: {error}.") from error
            finally:
                with uninterrupted():
                    self._drop_branch(state)
            return seen

    def candidates(self, checkpoint: Checkpoint, codes: Sequence[str]) -> list[Candidate]:
        """Execute each of `codes` from `checkpoint` in a copy of its own; the live state is unchanged."""
        found = []
        for code in codes:
            with self._turn():
                state = self._branch(checkpoint.point)
                seen = self._last(state, code)
                usable = state if state.alive and not state.unsafe else None
                if usable is None:
                    self._drop_branch(state)
                elif self._live is not None:
                    self._live.shield([state])
                point = Point(usable, (*checkpoint.point.log, Cell(code)), uses=1)
                self._points.append(point)
                found.append(Candidate(seen, Checkpoint(self, point)))
        return found

    def _branch(self, point: Point) -> State:
        """Return an active copy of `point` beside the live state."""
        self._ready()
        with uninterrupted():
            live = self._live
            try:
                if point.state is not None and point.state.alive:
                    self._activate(point.state.fork())
                else:
                    self._replay(point.log)
            except (Gone, gate.Violation) as error:
                raise SandboxDied(f"A copy of the state could not be made: {error}.") from error
            finally:
                branch, self._live = self._live, live
        assert branch is not None
        return branch

    def _last(self, state: State, code: str) -> Observation:
        others = {state.pid} | {s.pid for s in self._protected()} | ({self._live.pid} if self._live else set())
        execution = Execution(state, self.policy, lambda: [state.pid, *(p for p in self._inside() if p not in others)])
        self._execution = execution
        try:
            return list(execution.run(code))[-1]
        finally:
            self._execution = None

    def _drop_branch(self, state: State) -> None:
        state.kill()
        state.status_at_end()
        state.close()

    def interrupt(self) -> None:
        """Stop what is executing; may be called from any thread, and does nothing if nothing is."""
        execution = self._execution
        if execution is not None:
            execution.stop("Interrupted")

    def look_after(self) -> None:
        """End an idle state whose own threads or children use too much memory; called once a second."""
        if not self._busy.acquire(blocking=False):
            return
        try:
            if self._live is not None and self._zygote is not None and self._zygote.alive:
                used = memory(self._users(), self.policy.memory)
                if used > self.policy.memory:
                    self.notes.append(f"Processes left running used {used // MIB:,} MiB and were ended.")
                    self._live.kill()
        finally:
            self._busy.release()


def inert(code: str) -> bool:
    """Say whether code only looks at names and literals, so that the state after it is the state before."""
    try:
        tree = ast.parse(code)
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return False
    harmless = (
        ast.Module,
        ast.Expr,
        ast.Constant,
        ast.Name,
        ast.Load,
        ast.UnaryOp,
        ast.USub,
        ast.UAdd,
        ast.Not,
        ast.Tuple,
        ast.List,
    )
    return all(isinstance(node, harmless) for node in ast.walk(tree))


def end(process: subprocess.Popen[bytes]) -> None:
    """Kill bubblewrap, and with it everything in the sandbox; waits until it is gone."""
    process.kill()
    process.wait()
    if process.stderr is not None:
        process.stderr.close()


def complaint(process: subprocess.Popen[bytes]) -> str:
    """Return what bubblewrap or the worker said before it ended."""
    deadline = time.monotonic() + 1
    while process.poll() is None and time.monotonic() < deadline:
        time.sleep(0.01)
    if process.stderr is None or not readable(0, process.stderr.fileno()):
        return ""
    lines = os.read(process.stderr.fileno(), 2**16).decode("utf-8", "replace").strip().splitlines()
    return gate.bare(lines[-1] if lines else "", 500)


def explain(said: str) -> str:
    """Return one sentence for why no sandbox could be started, with what to do."""
    lower = said.lower()
    if (
        "user namespace" in lower
        or "uid map" in lower
        or "unshare" in lower
        or "clone" in lower
        or "namespace" in lower
    ):
        what = (
            "the system forbids user namespaces; allow them with 'sudo sysctl -w kernel.apparmor_restrict_unprivileged_userns=0' "
            "(Ubuntu), 'sudo sysctl -w user.max_user_namespaces=15000' (others), or in Docker with '--security-opt seccomp=unconfined'"
        )
    elif "proc" in lower and "mount" in lower:
        what = "/proc cannot be mounted here; in a container allow it with '--security-opt systempaths=unconfined'"
    elif "no module named 'ipython'" in lower:
        what = "IPython is missing in this Python; run: pip install ipython"
    else:
        what = "it did not start; 'jupyter codeagent doctor' looks for the reason"
    return f"No sandbox: {what}. (It said: {said})"


def _close_at_exit(reference: weakref.ref[Sandbox]) -> None:
    sandbox = reference()
    if sandbox is not None and not sandbox.closed:
        sandbox.close()
