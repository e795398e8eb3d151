"""One execution in one state: its output, its limits, and how it ends."""

from __future__ import annotations

import errno
import math
import os
import signal
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from select import POLLIN, poll

from jupyter_codeagent.sandbox import gate
from jupyter_codeagent.sandbox.policy import MIB, SandboxPolicy
from jupyter_codeagent.sandbox.state import Gone, State, halted, memory, stuck
from jupyter_codeagent.trajectory import CodeError, Observation

SHOW = 0.08  # seconds between two looks at a growing observation
CROWDED = 0.5  # seconds at the process limit after which the process is ended
DONE = 2**20  # bytes of the last message at most; past the output limit longer ones are not looked at
WATCH = 0.1  # seconds between two looks at memory
AGAIN, GIVE_UP = 0.3, 0.7  # seconds after which an interrupt is repeated, and after which the process is killed
CRASHES = (-signal.SIGSEGV, -signal.SIGBUS, -signal.SIGABRT)  # how code ends that finds memory not as it thinks
WIDGETS = "Interactive widgets do not work in the sandbox; this is their text."
KINDS = {ord("o"): "stdout", ord("e"): "stderr"}


@dataclass(frozen=True)
class Manner:
    """How a cell is executed.

    Parameters
    ----------
    count : int or None
        The number of the cell, under which ``In`` and ``Out`` keep it; None: one more than that of the cell before.
    store : bool
        They keep it at all.
    silent : bool
        Its last value is not shown.
    kept : bool
        The state before it is kept, so that it is there where the cell loses its process. Without, what was executed
        since the last state that was kept is lost then.
    """

    count: int | None = None
    store: bool = True
    silent: bool = False
    kept: bool = True


class Execution:
    """Executes one piece of code.

    Parameters
    ----------
    state : State
        The process that does it.
    policy : SandboxPolicy
        Limits.
    others : callable
        Returns the pids of all processes that count towards the limits.
    kernel : callable
        Returns the bytes that count beside those of the processes.
    """

    def __init__(
        self, state: State, policy: SandboxPolicy, others: Callable[[], list[int]], kernel: Callable[[], int]
    ) -> None:
        self.state, self.policy, self.others, self.kernel = state, policy, others, kernel
        self.collector = gate.Collector()
        self.received = 0
        self.reason = ""  # why it is being stopped: an ename of ours
        self.signals: list[float] = []  # when to interrupt again, and last when to kill
        self.error: CodeError | None = None
        self.names: dict[str, str] = {}
        self.modules: tuple[str, ...] = ()
        self.notes: list[str] = []
        self.over = self.died = self.fresh = False
        self.killed = self.halted = False  # a signal ended the process, or had it halt, and none of ours
        self.mark = ""  # stays the same while nothing moves
        self.hung = False  # it waited for threads that its copy of the state lacks, or crashed for want of them
        self.late = 0
        self.started = self.shown = self.watched = self.crowded = self.moved = 0.0
        self.kills = oom_kills()

    def run(self, code: str, manner: Manner | None = None) -> Iterator[Observation]:
        """Yield the observation as it grows. A KeyboardInterrupt stops the code, and is raised again at the end."""
        stopped = False
        self.begin(code, manner)
        while not self.over:
            try:
                if self.look(arrived(self.fds)):
                    yield self.observation()
            except KeyboardInterrupt:
                stopped = True
                self.stop("Interrupted")
        yield self.observation()
        if stopped:
            raise KeyboardInterrupt

    def begin(self, code: str, manner: Manner | None = None) -> None:
        """Have the process execute `code`."""
        self.started = self.shown = self.watched = self.crowded = self.moved = time.monotonic()
        try:
            self.state.wire.send({"op": "execute", "code": code, **asdict(manner or Manner())})
        except Gone:
            self.ended()

    @property
    def fds(self) -> list[int]:
        """The descriptors on which something may arrive."""
        return [self.state.wire.socket.fileno(), self.state.pidfd, *self.state.pipes]

    def look(self, ready: set[int]) -> bool:
        """Take what has arrived on the descriptors in `ready`, and see to the limits; True when it is time to show."""
        ready = ready & set(self.fds)
        alive = not ready or self.take(ready)
        now = time.monotonic()
        if not self.over:
            if not alive:
                self.ended()
            else:
                self.limits(now)
        self.fresh = self.fresh or bool(ready)
        if self.over or not self.fresh or now - self.shown < SHOW:
            return False
        self.shown, self.fresh = now, False
        return True

    def take(self, ready: set[int]) -> bool:
        """Read from the descriptors that are ready; False when the process is gone."""
        for fd, name in self.state.pipes.items():
            if fd in ready:
                self.pipe(fd, name)
        open_ = True
        try:
            if self.state.wire.socket.fileno() in ready:
                open_ = self.state.wire.read()
                for kind, payload in self.state.wire.frames():
                    self.frame(kind, payload)
        except gate.Violation as error:
            self.notes.append(f"The sandbox's process broke the protocol ({error}) and was ended.")
            return False
        return self.over or (open_ and self.state.pidfd not in ready)

    def pipe(self, fd: int, name: str) -> bool:
        """Read one piece from a pipe; False when there is none."""
        try:
            data = os.read(fd, 2**16)
        except BlockingIOError:
            return False
        if data and self.count(len(data)):
            self.collector.stream(name, data, raw=True)
        return bool(data)

    def frame(self, kind: int, payload: bytes) -> None:
        """Take one message from the worker; every one counts, whatever it is."""
        room = self.count(len(payload) + 5)
        if kind in KINDS:
            if room:
                self.collector.stream(KINDS[kind], payload)
        elif kind == ord("l"):
            self.late += len(payload)
        elif room or len(payload) < DONE:
            self.message(gate.parse(payload), room)

    def message(self, message: dict[str, object], room: bool) -> None:
        """Take one message that is not plain text."""
        op = message.get("op")
        if op == "done":
            self.done(message)
        elif op == "output" and room:
            self.collector.display(message)
        elif op == "clear" and room:
            self.collector.clear(message)

    def count(self, size: int) -> bool:
        """Add to the bytes received; False once there are too many."""
        self.received += size
        if self.received > self.policy.output:
            self.stop("OutputLimit")
        return self.reason != "OutputLimit"

    def limits(self, now: float) -> None:
        """Stop what runs too long or uses too much; interrupt again, or kill, what does not stop."""
        if not self.reason and now - self.started > self.policy.timeout:
            self.halted = halted(self.state.pid)
            self.stop("TimedOut")
        if now - self.watched > WATCH:
            self.watched = now
            pids = self.others()
            self.count_processes(now, pids)
            self.look_for_a_hang(now, pids)
        while self.signals and now >= self.signals[0]:
            self.signals.pop(0)
            if self.signals:
                self.state.interrupt()
            else:
                self.state.kill()

    def count_processes(self, now: float, pids: list[int]) -> None:
        """End what uses too much memory, or has been at the process limit for a while (a fork bomb stays there)."""
        if len(pids) < self.policy.processes - 8:
            self.crowded = now
            if memory(pids, self.policy.memory) + self.kernel() <= self.policy.memory:
                return
            self.reason = "OutOfMemory"
        elif now - self.crowded > CROWDED:
            self.reason = "ProcessLimit"
        else:
            return
        self.state.kill()

    def look_for_a_hang(self, now: float, pids: list[int]) -> None:
        """End a copy that waits for one of the threads that did not come along with it."""
        if not self.state.suspect:
            return
        seconds, mark = stuck(self.state.pid, alone=pids == [self.state.pid])
        if seconds == math.inf or mark != self.mark:
            self.moved, self.mark = now, mark
        elif now - self.moved > seconds and not self.reason:
            self.reason, self.hung = "Crashed", True
            self.state.kill()

    def stop(self, reason: str) -> None:
        """Interrupt the code, the first time; a second call changes nothing."""
        if not self.reason and not self.over:
            now = time.monotonic()
            self.reason, self.signals = reason, [now + AGAIN, now + GIVE_UP]
            self.state.interrupt()

    def done(self, message: dict[str, object]) -> None:
        """The code has come to an end, and the process lives."""
        self.over = True
        for fd, name in self.state.pipes.items():  # what was written before is in the pipes
            while self.received <= self.policy.output and self.pipe(fd, name):
                pass
        self.error = gate.error(message.get("error"))
        self.names, self.modules = gate.names(message.get("names")), gate.modules(message.get("modules"))
        if self.reason:  # also where the code did not notice: a shell command swallows the interrupt
            self.error = CodeError(self.reason, self.sentence(), frames=self.error.frames if self.error else ())
        if self.error:
            self.explain(self.error)

    def ended(self) -> None:
        """The process is gone: find out why."""
        self.over = self.died = True
        self.state.kill()
        code = self.state.status_at_end()
        self.killed = not self.reason and code is not None and code < 0
        # a library that takes a thread for there is as likely to crash as to wait for it
        self.hung = self.hung or (not self.reason and self.state.suspect and code in CRASHES)
        if not self.reason:
            killed = code == -signal.SIGKILL and oom_kills() > self.kills
            self.reason = "OutOfMemory" if killed else "Crashed"
        self.error = CodeError(self.reason, self.sentence(code))
        self.notes.append("The process was ended; the sandbox is as it was before this code.")

    def sentence(self, code: int | None = None) -> str:
        """Say what ended the code, with the value, and what to do."""
        if self.reason == "TimedOut":
            limit = f"{self.policy.timeout:g} s"
            return f"The code ran longer than {limit} and was stopped; make it faster or raise the timeout."
        if self.reason == "OutputLimit":
            return f"More than {self.policy.output:,} bytes of output; print less."
        if self.reason == "OutOfMemory":
            limit = f"{self.policy.memory // MIB:,} MiB"
            return f"More than {limit} of memory were used; work on less data at a time or raise the limit."
        if self.reason == "ProcessLimit":
            return f"The code kept {self.policy.processes} processes busy, which is the limit; start fewer or raise it."
        if self.reason == "Interrupted":
            return "Stopped by the user."
        if self.hung:
            return "The process waited for a thread that a copy of its state does not have, or crashed for want of it."
        if code is not None and code < 0:
            known = -code in {int(number) for number in signal.Signals}
            name = f"{signal.Signals(-code).name} ({signal.strsignal(-code)})" if known else f"signal {-code}"
            return f"The process was ended by {name}."
        how = f" with exit status {code}" if code is not None else ""
        return f"The process ended itself{how}; code must not call os._exit or crash the interpreter."

    def explain(self, error: CodeError) -> None:
        """Add what an error of the system's means here."""
        text = f"{error.ename}: {error.evalue}"
        if error.ename == "MemoryError" or "Unable to allocate" in text:
            self.notes.append(f"The sandbox's memory limit is {self.policy.memory // MIB:,} MiB.")
        if any(f"[Errno {number}]" in text for number in (errno.ENOSPC, errno.EFBIG)) or "No space left" in text:
            self.notes.append(f"The sandbox's disk limit is {self.policy.disk // MIB:,} MiB.")
        if f"[Errno {errno.EAGAIN}]" in text or "can't start new thread" in text:
            self.notes.append(f"The sandbox allows {self.policy.processes} processes and threads at one time.")

    def observation(self) -> Observation:
        """Return what has been seen so far."""
        outputs = self.collector.outputs()
        if self.error is not None:
            outputs.append(gate.error_output(self.error))
        notes = list(self.notes)
        if self.collector.left_out:
            kept = f"{gate.OUTPUTS} (and {gate.IMAGES} images) are kept"
            notes.append(f"{self.collector.left_out} more outputs were left out; {kept}.")
        if self.collector.widgets:
            notes.append(WIDGETS)
        if self.late:
            notes.append(f"{self.late:,} bytes of output by threads of earlier code were left out.")
        taken = time.monotonic() - self.started
        return Observation(outputs, self.error, taken, tuple(notes), self.names, self.modules)


def arrived(fds: Iterable[int]) -> set[int]:
    """Wait a moment until something arrives on `fds`; return those where it did."""
    watching = poll()
    for fd in fds:
        watching.register(fd, POLLIN)
    return {fd for fd, _ in watching.poll(50)}


def oom_kills() -> int:
    """Return how many processes the kernel has killed for lack of memory since it started."""
    for line in Path("/proc/vmstat").read_text().splitlines():
        if line.startswith("oom_kill "):
            return int(line.split()[1])
    return 0
