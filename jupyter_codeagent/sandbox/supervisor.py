"""The processes of one sandbox: bubblewrap, the zygote, the live state, and the frozen ones."""

from __future__ import annotations

import contextlib
import operator
import os
import signal
import socket
import subprocess
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass

from jupyter_codeagent.errors import SandboxDied, SandboxUnavailable
from jupyter_codeagent.sandbox import gate, probe, seccomp
from jupyter_codeagent.sandbox.changes import Base
from jupyter_codeagent.sandbox.execution import Execution, Manner
from jupyter_codeagent.sandbox.launch import end, launch, memory_file
from jupyter_codeagent.sandbox.layer import Files, Layer
from jupyter_codeagent.sandbox.policy import MIB, SandboxPolicy
from jupyter_codeagent.sandbox.shelter import uninterrupted
from jupyter_codeagent.sandbox.state import HANDSHAKE, SHIELDS, Full, Gone, State, descendants, kernel_memory, readable
from jupyter_codeagent.sandbox.values import Parcel
from jupyter_codeagent.trajectory import Undone

START = 60.0  # seconds for the interpreter and IPython to load; a cold disk is slow
ADDRESSES = 64 * 2**30  # bytes of address space beyond the memory limit: bounds page tables, which nothing else counts
SPENT = (
    f"{SHIELDS} states were kept one after the other, so code cannot send signals to processes any more, even its own; "
    "go back to an earlier checkpoint or reset the sandbox for a new start."
)
KEPT = 2  # times the disk limit: what is kept of all states' files
HUNG = "a copy waited for a thread that it did not have, or crashed for want of it"
SWEEPS = 200  # rounds of killing what an attempt left behind, before the whole sandbox is replaced


@dataclass(frozen=True)
class Cell:
    """Something that was done to the state, kept so that it can be done again: code, or values put in."""

    code: str | None
    parcel: Parcel | None = None
    manner: Manner | None = None


@dataclass(eq=False)
class Point:
    """The state at one moment: a frozen process, and what led there."""

    state: State | None  # None: there is no process, but the log
    log: tuple[Cell, ...]
    uses: int = 0
    files: Files | None = None  # None: they could not be kept
    why: str = ""  # why there is no process, as the rest of "because ..."
    base: Point | None = None  # the point from which the log would be run, kept for that

    @property
    def usable(self) -> bool:
        """A fork of the frozen process will do."""
        return self.state is not None and self.state.alive


class Supervisor:
    """Starts, forks, ends and replaces the processes; knows nothing of who asks.

    Parameters
    ----------
    policy : SandboxPolicy
        Limits, and what is shown inside.
    """

    def __init__(self, policy: SandboxPolicy) -> None:
        self.policy = policy
        self.facts: dict[str, str] = {}
        self.files_note = ""
        self.folders: tuple[str, ...] = ()
        self.layer: Layer | None = None
        self.bases: dict[str, Base] = {}  # those of the layer before
        self.notes: list[str] = []
        self.process: subprocess.Popen[bytes] | None = None
        self.zygote: State | None = None
        self.init = -1  # the sandbox's first process: it ends after all others in there
        self.live: State | None = None
        self.origin = Point(None, ())  # the zygote, as a point to go back to
        self.safe = self.origin  # equals the live state unless `dirty`
        self.dirty = False
        self.points: list[Point] = []
        self.log: list[Cell] = []
        self.begun: State | None = None  # a copy of the live state that was asked for and not yet waited for
        self.dying: list[State] = []  # killed, and to be buried once they have ended
        self.ended = 0  # processes that the code had left running when it was undone
        self.beside = 0  # how many states execute beside the live one
        self.guard = threading.Lock()  # held while points lose their processes: the spawner's thread ends some, too

    # -- starting and ending ----------------------------------------------------------------------

    def start(self) -> None:
        """Have a zygote that lives; does nothing if there is one."""
        with uninterrupted():
            if self.zygote is None:
                self.launch()
            elif not self.zygote.alive:
                self.log = self.rebuild(self.log, "The sandbox's first process had ended")

    def ready(self) -> State:
        """Return the live state, started or brought back if need be."""
        self.start()
        with uninterrupted():
            if self.live is None or not self.live.alive:
                self.recover()
        assert self.live is not None
        return self.live

    def recover(self) -> None:
        """Bring back a live state that ended while nothing was executed."""
        lost = self.log[len(self.safe.log) :] if self.dirty else []
        self.restore(self.safe)
        if not lost:
            return
        if self.replay(lost) is None:
            self.log, self.dirty = [*self.log, *lost], True
            self.notes.append("The sandbox's process had ended after its last code, which was run again.")
        else:
            self.restore(self.safe)
            self.notes.append("The sandbox's process had ended after its last code, whose effects are lost.")

    def launch(self) -> None:
        """Start bubblewrap and the zygote, and check what is in force; the first live state is forked when needed."""
        self.policy.check()
        ours, theirs = socket.socketpair()
        zygote = State(ours, -1, -1, None)
        try:
            started = launch(self.policy, theirs.fileno(), seccomp.base_filter())
        except BaseException:
            zygote.close()
            raise
        finally:
            theirs.close()
        self.process, workspace = started.process, started.workspace
        self.files_note = workspace.note
        own = () if workspace.path in workspace.binds else (workspace.path,)
        self.folders = ("/tmp", "/dev/shm", *own)  # noqa: S108 - those inside that can be written
        archive = memory_file("workspace", workspace.archive)
        try:
            zygote.wire.send(self.greeting(workspace.path), [archive])
            zygote.wait("ready", seconds=START)
            zygote.identify()
            if self.process.pid not in probe.ancestors(zygote.pid):
                raise Gone("the first process is not ours")
            self.init = os.pidfd_open(probe.parent_of(zygote.pid))
            self.facts = probe.check(zygote, self.policy)
            self.layer = Layer(workspace, started.upper, zygote, KEPT * self.policy.disk, self.bases)
            self.zygote = self.origin.state = zygote
            self.origin.files = self.kept_files()
        except (OSError, Gone, gate.Violation) as error:
            zygote.close()
            said = complaint(self.process)
            self.shut_down()
            raise SandboxUnavailable(explain(said or str(error))) from error
        except SandboxUnavailable:
            self.shut_down()
            raise
        finally:
            os.close(archive)

    def greeting(self, workspace: str) -> dict[str, object]:
        """Return the zygote's first message."""
        policy = self.policy
        limits = {
            "DATA": policy.memory,
            "AS": policy.memory + ADDRESSES,
            "NPROC": policy.processes,
            "FSIZE": policy.disk,
            "NOFILE": 1024,
            "CORE": 0,
        }
        return {"op": "start", "limits": limits, "output": policy.output, "cpus": policy.cpus, "workspace": workspace}

    def shut_down(self) -> None:
        """End all processes and close all descriptors; points keep their logs."""
        held = (self.live, self.zygote, self.begun, *self.dying, *(point.state for point in self.points))
        states = [state for state in held if state is not None]
        for point in [self.origin, *self.points]:
            point.state = None
        self.live = self.zygote = self.begun = None
        self.dying = []
        if self.process is not None:
            end(self.process)
            self.process = None
        if self.init >= 0:
            readable(HANDSHAKE, self.init)
            os.close(self.init)
            self.init = -1
        if self.layer is not None:
            self.bases = self.layer.bases
            self.layer.close()
            self.layer = None
        for state in states:
            state.close()

    # -- points -----------------------------------------------------------------------------------

    def insure(self) -> Point:
        """Return a point equal to the live state, forking one if there is none."""
        self.start()
        if not self.dirty:
            if self.layer is not None:
                self.layer.rest()
            return self.safe  # the live state need not exist: it will be made from this one
        live = self.ready()
        if not self.dirty:
            return self.safe
        self.bury()
        with uninterrupted():
            point = Point(None, tuple(self.log), files=self.kept_files())
            point.state, point.why = self.freeze(live)
            if point.state is None and (base := self.nearest(point)) is not self.origin:
                point.base = base
                base.uses += 1
            self.points.append(point)
            self.swap(point)
            self.trim()
        return point

    def freeze(self, live: State) -> tuple[State | None, str]:
        """Return a frozen copy of the live state, or None where no copy can be relied on, and why."""
        begun, self.begun = self.begun, None
        try:
            state = self.copy(live, begun)
        except (Gone, gate.Violation) as error:
            if not isinstance(error, Full):
                live.kill()  # it does not do as it is told: what led to it runs again
            return None, str(error)
        if state.unsafe or not live.alive:
            state.kill()
            state.bury()
            return None, state.unsafe or "its process ended"
        if live.secluded and SPENT not in self.notes:
            self.notes.append(SPENT)
        return state, ""

    def copy(self, live: State, begun: State | None) -> State:
        """Return a copy of the live state that this cannot signal; where there is no room, instead of older ones."""
        while True:
            try:
                state = live.fork(begun)
                break
            except Full:
                oldest = next((point for point in self.points if point.usable and point is not self.safe), None)
                if oldest is None:
                    raise
                begun = None
                self.end(oldest, f"no more than {self.policy.processes} processes are allowed")
                self.bury()
        try:
            live.shield([state])
        except (Gone, gate.Violation):
            state.kill()
            state.bury()
            raise
        return state

    def nearest(self, point: Point) -> Point:
        """Return the point with a process from which the least code leads to `point`; at best itself."""
        best = self.origin
        for other in self.points:
            longer = len(best.log) < len(other.log) <= len(point.log)
            if other.usable and (other is point or longer) and all(map(operator.is_, other.log, point.log)):
                best = other
        return best

    def trim(self) -> None:
        """End the oldest copies where there are more than the policy allows."""
        most = max(1, min(self.policy.checkpoints, self.policy.processes // 2))
        kept = [point for point in self.points if point.state is not None]
        for point in kept[: max(0, len(kept) - most)]:
            self.end(point, f"no more than {most} copies are kept")
        for point in kept:
            if not point.usable and point.state is not None:
                self.end(point, point.why or "its process ended")

    def end(self, point: Point, why: str) -> None:
        """End the process of a point that stays one to go back to, by running its log."""
        with self.guard:
            point.why = why
            if point.state is not None:
                point.state.kill(wait=False)
                self.dying.append(point.state)
                point.state = None

    def spare(self) -> bool:
        """End the oldest copy, for the memory that it takes; False if there is none but the newest.

        The only method for another thread than the one whose turn it is.
        """
        with self.guard:
            for point in list(self.points):
                if point.usable and point is not self.safe and point.state is not None:
                    point.state.kill(wait=False)
                    point.why = f"copies took more than {self.policy.memory // MIB:,} MiB of memory"
                    return True
        return False

    def kept_files(self) -> Files | None:
        """Return the files as they are now, or None, with a note, where they cannot be kept."""
        files = self.layer.keep() if self.layer is not None else None
        if files is None and self.layer is not None:
            self.notes.append(
                f"The files of this state cannot be kept ({self.layer.why}); going back to it runs the earlier code "
                "again."
            )
        return files

    def restore_files(self, point: Point) -> None:
        """Make all files as they were at `point`; no code may be running."""
        if self.layer is not None:
            point.files = self.layer.restore(point.files)

    def unwritten(self, point: Point) -> bool:
        """Say whether the files are still those of `point`, since they were made so."""
        return self.layer is None or (point.files is not None and self.layer.keep() is point.files)

    def put_back(self, files: Files | None) -> None:
        """Make all files as they were at `files`, beside a live state that is idle; no other code may be running."""
        if self.layer is None:
            return
        try:
            self.layer.restore(files)
        except (Gone, gate.Violation) as error:
            self.log = self.rebuild(self.log, f"Files could not be put back ({error})")

    def prepare(self) -> None:
        """Ask the live state for the copy that the next request will need, and go on meanwhile."""
        self.bury()
        if self.dirty and self.begun is None and self.live is not None:
            with uninterrupted(), contextlib.suppress(Gone):
                self.begun = self.live.begin_fork()

    def bury(self) -> None:
        """Clear away copies that have ended since they were killed."""
        ended = [state for state in self.dying if not state.alive]
        self.dying = [state for state in self.dying if state not in ended]
        for state in ended:
            state.bury()

    def swap(self, point: Point) -> None:
        """Make `point` the one that the live state equals."""
        old, self.safe, self.dirty = self.safe, point, False
        point.uses += 1
        self.release(old)

    def hold(self) -> int:
        """Return how many bytes the limits allow all processes together: as much for copies as for each that runs."""
        return self.policy.memory * (2 + self.beside)

    def release(self, point: Point) -> None:
        """Count one user of `point` less; without users its process ends."""
        point.uses -= 1
        if point.uses > 0 or point not in self.points:
            return
        with self.guard:
            self.points.remove(point)
            if point.state is not None:
                # also called while the live state executes: nothing may be asked of it now
                point.state.kill(wait=False)
                self.dying.append(point.state)
                point.state = None
        base, point.base = point.base, None
        if base is not None:
            self.release(base)

    def restore(self, point: Point) -> None:
        """Make the live state that of `point`, and end every process that is no known state."""
        begun = self.begun is not None
        if self.begun is not None:
            self.begun.close()  # it ends when nobody is at the other end
            self.begun = None
        if self.live is not None:
            live, self.live = self.live, None
            live.kill()
            live.bury()
        try:
            self.ended += max(0, self.sweep() - begun)
            self.bury()
            if self.kernel_memory() > self.policy.memory // 2:
                raise Gone("its folders are full of files")
            self.log = self.bring_up(point, files=True)
        except (Gone, gate.Violation) as error:
            self.log = self.rebuild(point.log, f"A state was lost ({error})")
        if point is not self.safe:
            self.swap(point)
        self.dirty = len(self.log) < len(point.log)

    def undone(self, point: Point, said: int) -> Undone:
        """Return what going back to `point` has restored; `said` is how many notes there were before."""
        ended, self.ended = self.ended, 0
        return Undone(self.layer is not None and point.files is not None, ended, tuple(self.notes[said:]))

    def bring_up(self, point: Point, files: bool = False) -> list[Cell]:
        """Make a copy of `point` the live state, leaving what was live alone; return what led to it.

        With `files`, they are made those of `point` too; no code may be running then.
        """
        while True:
            base = self.nearest(point)
            if base.state is None or not base.usable:
                raise Gone("the first process ended")
            if files:
                self.restore_files(base)  # what is done again writes the others again
            try:
                self.activate(base.state.fork())
                return self.finish(base, point)
            except Full:
                raise
            except (Gone, gate.Violation) as error:
                if base is self.origin:
                    raise
                self.end(base, f"a copy of it was of no use ({error})")

    def finish(self, base: Point, point: Point) -> list[Cell]:
        """Do in a fresh copy of `base` what is missing for it to be `point`."""
        missing = point.log[len(base.log) :]
        if base is point or not missing:
            return list(point.log)
        done = self.remake(base, missing)
        pieces = "1 piece" if len(missing) == 1 else f"{len(missing)} pieces"
        self.notes.append(f"Going back ran {pieces} of earlier code again, because {point.why or 'a copy was lost'}.")
        return [*base.log, *done]

    def activate(self, state: State) -> None:
        """Make `state` the live one, unable to signal the others."""
        try:
            state.shield(self.protected())
        except (Gone, gate.Violation):
            state.kill()
            state.close()
            raise
        self.live = state

    def rebuild(self, log: Sequence[Cell], why: str) -> list[Cell]:
        """Start a new sandbox and do again what led to the state; return what could be done."""
        self.shut_down()
        try:
            self.launch()
            assert self.zygote is not None
            self.activate(self.zygote.fork())
            done = self.remake(self.origin, log)
        except (SandboxUnavailable, Gone, gate.Violation) as error:
            raise SandboxDied(f"{why}, and a new sandbox could not be started: {error}") from error
        again = f" and {len(done)} pieces of earlier code ran again" if done else ""
        self.notes.append(f"{why}; a new sandbox was started{again}.")
        return done

    def remake(self, base: Point, log: Sequence[Cell]) -> list[Cell]:
        """Do again in a live state that is as `base` what followed; return that without what ended its process."""
        done = list(log)
        while (deadly := self.replay(done)) is not None:
            done = [cell for cell in done if cell is not deadly]
            self.notes.append("A piece of earlier code ended its process when it was run again, and was left out.")
            self.sweep()
            if base.state is None:
                raise Gone("a copy was lost")
            self.restore_files(base)
            self.activate(base.state.fork())
        return done

    def replay(self, log: Sequence[Cell]) -> Cell | None:
        """Do things again in the live state; return the one that ended its process, if any did."""
        assert self.live is not None
        for cell in log:
            if cell.parcel is not None:
                self.live.give(cell.parcel)
            if cell.code is not None:
                execution = Execution(self.live, self.policy, self.users, self.kernel_memory)
                for _ in execution.run(cell.code, cell.manner):
                    pass
                if execution.died:
                    live, self.live = self.live, None
                    live.bury()
                    if execution.hung:
                        raise Gone("it waited for a thread that it does not have")
                    return cell
        return None

    # -- processes --------------------------------------------------------------------------------

    def protected(self) -> list[State]:
        """Return the states that no code may touch."""
        assert self.zygote is not None
        return [self.zygote, *(p.state for p in self.points if p.state is not None)]

    def inside(self) -> list[int]:
        """Return the pids of all processes in the sandbox but its init."""
        assert self.zygote is not None
        try:
            return descendants(probe.parent_of(self.zygote.pid))
        except (OSError, KeyError):  # the whole sandbox is gone
            return []

    def users(self) -> list[int]:
        """Return the pids of the processes that belong to the code: the live state and all that it started."""
        keep = {state.pid for state in self.protected()}
        return [pid for pid in self.inside() if pid not in keep]

    def kernel_memory(self) -> int:
        """Return the bytes that the kernel may hold for the code, beside its processes."""
        return kernel_memory(self.zygote.pid, self.folders) if self.zygote is not None else 0

    def sweep(self, spared: Sequence[int] = ()) -> int:
        """End what attempts left behind: daemons, children, fork bombs; returns how many processes that were.

        All are stopped before any is killed: a stopped process holds its place under the process limit, so that a
        fork bomb cannot fill the places of the dead.
        """
        stopped: set[int] = set()
        for _ in range(SWEEPS):
            strays = set(self.users()) - set(spared)
            if not strays:
                return len(stopped - {state.pid for state in self.dying})
            number = signal.SIGKILL if strays <= stopped else signal.SIGSTOP
            for pid in strays:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, number)
            stopped |= strays
            if number == signal.SIGKILL:
                time.sleep(0.001)
        raise Gone("processes of an attempt could not be ended")


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
    if "proc" in lower and "mount" in lower:
        what = "/proc cannot be mounted here; in a container allow it with '--security-opt systempaths=unconfined'"
    elif any(word in lower for word in ("namespace", "uid map", "unshare", "clone", "user map", "newuser")):
        what = (
            "the system forbids user namespaces; allow them with "
            "'sudo sysctl -w kernel.apparmor_restrict_unprivileged_userns=0' (Ubuntu), "
            "'sudo sysctl -w user.max_user_namespaces=15000' (others), "
            "or in Docker with '--security-opt seccomp=unconfined'"
        )
    elif "no module named 'ipython'" in lower:
        what = "IPython is missing in this Python; run: pip install ipython"
    else:
        what = "it did not start; 'jupyter codeagent doctor' looks for the reason"
    return f"No sandbox: {what}. (It said: {said})"
