"""Several replies to one ask: each is read in a thread of its own, and the first that holds decides."""

from __future__ import annotations

import queue
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, Protocol

from jupyter_codeagent.errors import CodeAgentError
from jupyter_codeagent.trajectory import Action, Trajectory

LOOK = 0.05  # seconds between two looks at whether a reply has ended
PATIENCE = 1.0  # seconds that replies which are given up have to end


class Model(Protocol):
    """A language model."""

    def stream(self, trajectory: Trajectory) -> Iterator[Action]:
        """Yield the next action as it grows; the last one yielded is whole."""


@dataclass
class Reply:
    """What one candidate has replied so far; `done` once it has ended, by `error` or with its whole action."""

    action: Action = field(default_factory=lambda: Action(""))
    done: bool = False
    error: BaseException | None = None


class Replies:
    """The replies to one ask.

    The first is asked for at once, the others as soon as it begins to come: by then the endpoint has read the prompt
    that all share, and reads it from its cache for the others. Where a model takes one request at a time
    (`parallel` is not set), each is asked for when the one before has ended.

    Parameters
    ----------
    model : Model
        Its `variant(number)`, if there is one, replies as candidate `number`, beside the others where `parallel` is
        set. `cancel()` of those ends their requests.
    trajectory : Trajectory
        What is asked about.
    count : int
        How many replies are wanted.
    """

    def __init__(self, model: Model, trajectory: Trajectory, count: int) -> None:
        self.model, self.trajectory = model, trajectory
        self.replies = [Reply() for _ in range(count)]
        self._models: list[Any] = []
        self._threads: list[threading.Thread] = []
        self._news: queue.SimpleQueue[tuple[int, Action | None, BaseException | None]] = queue.SimpleQueue()

    @property
    def deciding(self) -> Reply | None:
        """The first reply that did not fail, once it is known which that is, and whole."""
        first = next((r for r in self.replies if r.error is None), None)
        return first if first is not None and first.done else None

    @property
    def over(self) -> bool:
        """All have ended, or the deciding one is an answer, beside which the others count for nothing."""
        decided = self.deciding
        return all(r.done for r in self.replies) or (decided is not None and decided.action.code is None)

    def watch(self) -> Iterator[list[Reply]]:
        """Yield the replies each time one has grown, until they are over; whatever still comes then is given up.

        Raises
        ------
        KeyboardInterrupt
            If the user or the model stops; all requests are ended then.
        CodeAgentError
            If all failed: how the first did.
        """
        try:
            self._start()
            while not self.over:
                if self._take():
                    self._go_on()
                    yield self.replies
        finally:
            self._give_up()
        if self.deciding is None and (error := self.replies[0].error) is not None:
            raise error

    def _start(self) -> None:
        number = len(self._threads) + 1
        variant = getattr(self.model, "variant", None)
        model = variant(number) if variant is not None else self.model
        thread = threading.Thread(target=self._read, args=(number - 1, model), name="codeagent-candidate", daemon=True)
        self._models.append(model)
        self._threads.append(thread)
        thread.start()

    def _go_on(self) -> None:
        """Ask for the replies whose time has come."""
        at_once = getattr(self.model, "parallel", False)
        while len(self._threads) < len(self.replies) and (at_once or self.replies[len(self._threads) - 1].done):
            if self.over:
                return
            self._start()

    def _take(self) -> bool:
        """Take in what has come; False if nothing has."""
        try:
            index, action, error = self._news.get(timeout=LOOK)
        except queue.Empty:
            return False
        while True:
            self._put(self.replies[index], action, error)
            try:
                index, action, error = self._news.get_nowait()
            except queue.Empty:
                return True

    def _put(self, reply: Reply, action: Action | None, error: BaseException | None) -> None:
        if error is not None and not isinstance(error, CodeAgentError):
            raise error  # the stop, or a fault of ours that must not be passed over
        if action is not None:
            reply.action = action
        else:
            reply.done, reply.error = True, error

    def _read(self, index: int, model: Model) -> None:
        try:
            for action in model.stream(self.trajectory):
                self._news.put((index, action, None))
            self._news.put((index, None, None))
        except BaseException as error:  # noqa: BLE001 - it is raised where the replies are awaited
            self._news.put((index, None, error))

    def _give_up(self) -> None:
        """End the requests that still run; who does not end soon is not waited for."""
        if all(self.replies[index].done for index in range(len(self._threads))):
            return
        thread = threading.Thread(target=self._cancel, name="codeagent-cancel", daemon=True)
        thread.start()
        thread.join(PATIENCE)

    def _cancel(self) -> None:
        deadline = time.monotonic() + PATIENCE
        running = [i for i, thread in enumerate(self._threads) if thread.is_alive() and not self.replies[i].done]
        while running and time.monotonic() < deadline:
            for index in running:
                if (cancel := getattr(self._models[index], "cancel", None)) is not None:
                    cancel()  # again and again: a request may begin just after it
            self._threads[running[0]].join(LOOK)
            running = [i for i in running if self._threads[i].is_alive()]
