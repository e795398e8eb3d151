"""The kernel's side of a remote sandbox: a comm target behind which each client has a sandbox of its own.

Requests are carried out one after the other by a thread of the client's, so that the kernel's own thread can take an
interrupt, or say what became of a request, at any time.
"""

from __future__ import annotations

import contextlib
import queue
import threading
import time
import weakref
from collections.abc import Sequence
from typing import Any

from jupyter_codeagent.sandbox.hosted import Hosted
from jupyter_codeagent.sandbox.messages import (
    ASIDE,
    REQUESTS,
    TARGET,
    Assembler,
    BadMessage,
    Message,
    failure,
    packed,
)
from jupyter_codeagent.trajectory import Observation

CLIENTS = 16  # sandboxes at one time in one kernel
LARGEST = 2 * 2**30  # bytes of one request: values are the largest
WAITING = 8  # requests that have not been begun
PACE = 8 * 2**20  # bytes of growing observations in a second, at most
INSIST = 0.05  # seconds between two tries to stop a request that may not execute yet

_hosts: weakref.WeakSet[Host] = weakref.WeakSet()


def register(manager: Any) -> None:
    """Let clients have sandboxes through a kernel's comm manager; the kernel calls this once when it starts."""
    manager.register_target(TARGET, open_host)


def open_host(comm: Any, _opened: dict[str, Any]) -> None:
    """Serve the client that opened `comm`; the comm manager calls this."""
    if sum(not host.closed for host in _hosts) >= CLIENTS:
        comm.close()
        return
    _hosts.add(host := Host(comm))
    comm.on_msg(host.take)
    comm.on_close(lambda _: host.close())


def interrupt() -> None:
    """Stop whatever executes for clients; the kernel calls this when it is interrupted."""
    for host in list(_hosts):
        host.hosted.interrupt()


def close() -> None:
    """End all clients' sandboxes; the kernel calls this when it ends."""
    for host in list(_hosts):
        host.close()


class Host:
    """One client's requests, and what is said about them.

    Parameters
    ----------
    comm : comm
        To the client.
    """

    def __init__(self, comm: Any) -> None:
        self.comm = comm
        self.closed = self.ended = False
        self.hosted = Hosted(self._growing)
        self.last: Message | None = None  # the latest answer, in case it was lost on the way
        self.seen = 0  # the latest request that arrived
        self.served = 0  # the latest request that was answered
        self.stopping = 0  # the latest request that is to be stopped
        self._quiet_until = 0.0
        self._current = 0
        self._parts = Assembler((*REQUESTS, *ASIDE), LARGEST)
        self._requests: queue.Queue[Message | None] = queue.Queue(WAITING)
        self._sending = threading.Lock()
        threading.Thread(target=self._serve, name="codeagent-host", daemon=True).start()

    # -- the kernel's thread ----------------------------------------------------------------------

    def take(self, message: dict[str, Any]) -> None:
        """Take one comm message; never raises."""
        content = message.get("content")
        try:
            data = content.get("data") if isinstance(content, dict) else None
            whole = self._parts.take(data, message.get("buffers") or ())
            if whole is not None:
                self._heard(whole)
        except (BadMessage, queue.Full) as error:
            said = str(error) or f"More than {WAITING} requests are waiting."
            self._send(Message("failed", self._number(content), {"kind": "BadMessage", "said": said}))

    @staticmethod
    def _number(content: object) -> int:
        data = content.get("data") if isinstance(content, dict) else None
        number = data.get("id") if isinstance(data, dict) else None
        return number if type(number) is int and 0 <= number <= 2**53 else 0

    def _heard(self, message: Message) -> None:
        number, last = message.number, self.last
        if message.op in REQUESTS:
            if number > self.seen:  # one that is sent again may have arrived after all
                self._requests.put_nowait(message)
                self.seen = number
        elif message.op == "ask":
            if last is not None and last.number == number:
                self._send(last)
            else:
                self._send(Message("working" if number <= self.seen else "unseen", number))
        else:
            self._stop(number, abandon=message.op == "abandon")

    def _stop(self, number: int, abandon: bool) -> None:
        """Stop a request as soon as it executes."""
        if abandon:
            self.hosted.abandoned = number
        if self.stopping < number <= self.seen + 1:  # it may be overtaking the request itself
            self.stopping = number
            threading.Thread(target=self._insist, args=(number,), daemon=True).start()

    def _insist(self, number: int) -> None:
        while self.served < number and not self.ended:
            if self._current == number:
                self.hosted.interrupt()
            time.sleep(INSIST)

    def close(self) -> None:
        """End the sandbox; again does nothing."""
        if not self.closed:
            self.closed = True
            self._stop(self.seen, abandon=False)
            with contextlib.suppress(queue.Full):  # then the thread has something to wake up for
                self._requests.put_nowait(None)

    # -- the client's thread ----------------------------------------------------------------------

    def _serve(self) -> None:
        try:
            while (request := self._requests.get()) is not None and not self.closed:
                self._current, self._quiet_until = request.number, 0.0
                self.last = self._answer(request)
                self._current, self.served = 0, request.number
                self._send(self.last)
                del request
        finally:  # also where nothing can be sent any more
            self.closed = self.ended = True
            self.hosted.close()

    def _answer(self, request: Message) -> Message:
        try:
            return Message("done", request.number, *self.hosted.carry_out(request))
        except Exception as error:  # noqa: BLE001 - also a mistake of ours must not leave the client waiting
            return Message("failed", request.number, failure(error))

    def _growing(self, seen: Sequence[Observation], head: dict[str, Any]) -> None:
        """Send observations that grow, unless that would be too much."""
        now = time.monotonic()
        if now < self._quiet_until:
            return
        payload = packed(seen)
        self._quiet_until = now + len(payload) / PACE
        self._send(Message("growing", self._current, head, payload))

    def _send(self, message: Message) -> None:
        if self.closed:
            return
        with self._sending:  # parts of two messages must not mix
            for data, buffer in message.parts():
                self.comm.send(data, buffers=[buffer])
