"""Whose turn it is at the sandbox, and tasks that are worked on while the user goes on."""

from __future__ import annotations

import contextvars
import queue
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator
from typing import Protocol

from jupyter_codeagent.trajectory import Action, Trajectory

PATIENCE = 1.0  # seconds that whoever stops a task waits for its end
LOOK = 0.05  # seconds between two looks at whether to stop
GIVE_UP = 600.0  # seconds after which what does not end is no longer told to


class Turns:
    """First come, first served: what uses the sandbox does so one after the other."""

    def __init__(self) -> None:
        self._line: deque[Ticket] = deque()
        self._changed = threading.Condition()

    def ticket(self, name: str) -> Ticket:
        """Get in line; `name` says to others who this is."""
        made = Ticket(self, name)
        made.enter()
        return made

    @property
    def names(self) -> list[str]:
        """Those in line, whose turn it is first."""
        return [ticket.name for ticket in list(self._line)]


class Ticket:
    """A place in the line, once it is entered; where that may be interrupted, whoever made the ticket leaves again."""

    def __init__(self, turns: Turns, name: str) -> None:
        self._turns, self.name = turns, name

    def enter(self) -> None:
        """Stand in line, at its end."""
        with self._turns._changed:
            self._turns._line.append(self)

    @property
    def first(self) -> bool:
        """It is this one's turn."""
        line = self._turns._line
        return bool(line) and line[0] is self

    def wait(self, stopping: threading.Event | None = None) -> bool:
        """Wait until it is this one's turn; False where `stopping` was set before."""
        changed = self._turns._changed
        with changed:
            changed.wait_for(lambda: self.first or (stopping is not None and stopping.is_set()))
        return stopping is None or not stopping.is_set()

    def wake(self) -> None:
        """Have those who wait look again."""
        with self._turns._changed:
            self._turns._changed.notify_all()

    def leave(self) -> None:
        """Let the next one have its turn; also before one's own has come."""
        with self._turns._changed:
            if self in self._turns._line:
                self._turns._line.remove(self)
            self._turns._changed.notify_all()


class Job:
    """A task in the background: it waits for its turn in a thread of its own, and can be stopped at any time.

    Parameters
    ----------
    trajectory : Trajectory
        The task.
    ticket : Ticket
        Its place in the line.
    interrupt : callable
        Ends what the sandbox executes; called while it is this job's turn only.
    """

    def __init__(self, trajectory: Trajectory, ticket: Ticket, interrupt: Callable[[], None]) -> None:
        self.trajectory, self.ticket, self.interrupt = trajectory, ticket, interrupt
        self.stopping, self.ended = threading.Event(), threading.Event()

    def start(self, work: Callable[[], None]) -> None:
        """Have `work` done when it is this job's turn; its outputs go where those of the current cell go."""
        context = contextvars.copy_context()  # in which ipykernel keeps the request that outputs belong to
        name = f"codeagent-task-{self.trajectory.id}"
        threading.Thread(target=context.run, args=(self._run, work), name=name, daemon=True).start()

    def _run(self, work: Callable[[], None]) -> None:
        try:
            self.ticket.wait(self.stopping)
            work()
        finally:
            self.ticket.leave()
            self.ended.set()

    def stop(self, patience: float = PATIENCE) -> bool:
        """End the task; True once it has ended, False where that takes longer than `patience` seconds."""
        self.stopping.set()
        self.ticket.wake()
        if not self._interrupt(patience):
            # it may execute something after whoever asked for the stop has gone on
            threading.Thread(target=self._interrupt, name="codeagent-stop", daemon=True).start()
        return self.ended.is_set()

    def _interrupt(self, patience: float = GIVE_UP) -> bool:
        deadline = time.monotonic() + patience
        while not self.ended.wait(LOOK) and time.monotonic() < deadline:
            if self.ticket.first:
                self.interrupt()
        return self.ended.is_set()


class Cancellable(Protocol):
    """A model whose requests can be ended from another thread."""

    def stream(self, trajectory: Trajectory) -> Iterator[Action]:
        """Yield the next action as it grows; the last one yielded is whole."""

    def cancel(self) -> None:
        """End the requests that are running."""


class Stoppable:
    """A model whose reply is given up the moment `stopping` is set, whatever it waits for then.

    The reply is read in a thread of its own: looking up an address or loading a local model cannot be interrupted,
    but nobody needs to wait for it.
    """

    def __init__(self, model: Cancellable, stopping: threading.Event) -> None:
        self.model, self.stopping = model, stopping

    @property
    def parallel(self) -> bool:
        """The model writes several candidates at once."""
        return bool(getattr(self.model, "parallel", False))

    def variant(self, number: int) -> Stoppable:
        """Return what writes candidate `number`, and is given up at the same moment."""
        variant = getattr(self.model, "variant", None)
        return Stoppable(variant(number) if variant is not None else self.model, self.stopping)

    def cancel(self) -> None:
        """End the requests that are running."""
        self.model.cancel()

    def stream(self, trajectory: Trajectory) -> Iterator[Action]:
        """Yield the next action as it grows; raises KeyboardInterrupt when it is to stop."""
        pieces: queue.SimpleQueue[Action | BaseException | None] = queue.SimpleQueue()
        reader = threading.Thread(target=self._read, args=(trajectory, pieces), name="codeagent-reply", daemon=True)
        reader.start()
        while not self.stopping.is_set():
            try:
                piece = pieces.get(timeout=LOOK)
            except queue.Empty:
                continue
            if piece is None:
                return
            if isinstance(piece, BaseException):
                raise piece
            yield piece
        threading.Thread(target=self._cancel, args=(reader,), name="codeagent-cancel", daemon=True).start()
        raise KeyboardInterrupt

    def _read(self, trajectory: Trajectory, pieces: queue.SimpleQueue[Action | BaseException | None]) -> None:
        try:
            for action in self.model.stream(trajectory):
                if self.stopping.is_set():
                    return
                pieces.put(action)
            pieces.put(None)
        except BaseException as error:  # noqa: BLE001 - it is raised where the reply is awaited
            pieces.put(error)

    def _cancel(self, reader: threading.Thread) -> None:
        deadline = time.monotonic() + GIVE_UP
        while reader.is_alive() and time.monotonic() < deadline:
            self.model.cancel()  # again and again: a request may begin just after it
            reader.join(LOOK)
