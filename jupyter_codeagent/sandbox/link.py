"""A conversation with a sandbox's host: requests go out, answers come in, and the connection may be lost meanwhile."""

from __future__ import annotations

import contextlib
import time
import uuid
from collections.abc import Iterator
from typing import Any

from jupyter_codeagent.errors import SandboxDied, SandboxUnavailable
from jupyter_codeagent.sandbox import gate
from jupyter_codeagent.sandbox.channels import GONE, Channels, Lost, Told
from jupyter_codeagent.sandbox.gateway import Gateway
from jupyter_codeagent.sandbox.messages import REPLIES, TARGET, VERSION, Assembler, BadMessage, Message

QUIET = 5.0  # seconds without a word after which the host is asked what became of a request
ASKS = 3  # questions without an answer after which the host counts as gone
AWAY = 30.0  # seconds to come back after a lost connection
LOSSES = 5  # lost connections while one request is under way
STOP = 15.0  # seconds for an interrupted request to end


class Link:
    """Requests to one host, one at a time.

    Parameters
    ----------
    gateway : Gateway
        The server.
    kernel : str
        The id of the kernel that hosts the sandbox.
    """

    def __init__(self, gateway: Gateway, kernel: str) -> None:
        self.gateway, self.kernel = gateway, kernel
        self.ended = ""  # why there can be no further answer
        self.away = 0  # times that the connection was lost
        self.current = 0  # the request that is under way
        self._number = 0
        self._comm, self._session = uuid.uuid4().hex, uuid.uuid4().hex
        self._channels: Channels | None = None
        self._parts = Assembler(REPLIES, 0)
        self._heard = 0.0  # when something last came from the host
        self._stop: Message | None = None  # an interrupt that may not have arrived

    def open(self) -> None:
        """Connect, and open the comm to the host; raises SandboxUnavailable."""
        try:
            self._channels = Channels(self.gateway, self.kernel, self._session)
            content = {"comm_id": self._comm, "target_name": TARGET, "data": {"version": VERSION}}
            self._channels.send("comm_open", content)
        except Lost as error:
            raise SandboxUnavailable(
                f"No sandbox: the Jupyter server at {self.gateway.place} gave no connection to its kernel: {error}."
            ) from error

    def close(self) -> None:
        """End the conversation, and with it the sandbox."""
        self.ended = self.ended or "The sandbox is closed; make a new one."
        if self._channels is not None:
            with contextlib.suppress(Lost):
                self._channels.send("comm_close", {"comm_id": self._comm, "data": {}})
            self._channels.close()
            self._channels = None

    # -- requests ---------------------------------------------------------------------------------

    def request(
        self, op: str, head: dict[str, Any], payload: bytes = b"", *, seconds: float, most: int
    ) -> Iterator[Message]:
        """Send a request, and yield what is said about it; the last message is "done" or "failed".

        Parameters
        ----------
        op, head, payload
            The request.
        seconds : float
            How long it may take.
        most : int
            Bytes of an answer at most.

        Raises
        ------
        SandboxDied
            If no answer can come any more.
        KeyboardInterrupt
            After the last message, where one came meanwhile; at once, if it comes again.
        """
        if self.ended:
            raise SandboxDied(self.ended)
        self._number += 1
        request = Message(op, self._number, head, payload)
        self._parts = Assembler(REPLIES, most)
        self.current = request.number
        try:
            self._send(request)
            yield from self._answers(request, time.monotonic() + seconds)
        finally:
            self.current, self._stop = 0, None

    def _answers(self, request: Message, deadline: float) -> Iterator[Message]:
        asked, stopped, away = 0, False, self.away
        self._heard = time.monotonic()
        while True:
            try:
                reply = self._reply(request)
            except KeyboardInterrupt:
                if stopped:
                    self.abandon(request.number)
                    raise
                stopped = True
                deadline = min(deadline, time.monotonic() + STOP)
                self.interrupt()
                continue
            now = time.monotonic()
            if self.away - away > LOSSES:
                self._die("lost the connection again and again")
            if now > deadline:
                self._die(f"gave no result of {request.op!r} in time")
            if now - self._heard < QUIET:
                asked = 0
            if reply is not None and reply.number == request.number:
                reply.head["away"] = self.away > away
                if reply.op in ("done", "failed", "growing"):
                    yield reply
                if reply.op in ("done", "failed"):
                    break
                if reply.op == "unseen":
                    self._send(request)
            elif now - self._heard > QUIET * (asked + 1):
                asked += 1
                if asked > ASKS or not self.gateway.alive(self.kernel):
                    self._die("does not answer any more")
                if asked > 1:  # the connection may have ended without a word
                    self._again()
                self._say(Message("ask", request.number))
        if stopped:
            raise KeyboardInterrupt

    def _die(self, why: str) -> None:
        """Say that the sandbox is lost, now and from now on."""
        self.ended = f"The remote sandbox at {self.gateway.place} {why}; its state is lost, so make a new one."
        raise SandboxDied(self.ended)

    # -- aside ------------------------------------------------------------------------------------

    def interrupt(self) -> None:
        """Stop the request that is under way, if there is one; from any thread."""
        if number := self.current:
            self._aside("interrupt", number)

    def abandon(self, number: int) -> None:
        """Stop a request whose result nobody waits for, and have its effect undone."""
        self._aside("abandon", number)

    def _aside(self, op: str, number: int) -> None:
        self._stop = message = Message(op, number)
        if (channels := self._channels) is not None:
            with contextlib.suppress(Lost):  # whoever waits for the end sends it again, on the next connection
                self._write(channels, message)

    def _write(self, channels: Channels, message: Message) -> None:
        for data, buffer in message.parts():
            channels.send("comm_msg", {"comm_id": self._comm, "data": data}, [buffer])

    # -- the connection ---------------------------------------------------------------------------

    def _send(self, message: Message) -> None:
        """Send a message as a whole, on a new connection if need be."""
        while not self._say(message):
            pass

    def _say(self, message: Message) -> bool:
        """Send a message; False if the connection was lost, and is there again."""
        channels = self._channels or self._again()
        try:
            self._write(channels, message)
        except Lost:
            self._again()
            return False
        return True

    def _reply(self, request: Message) -> Message | None:
        """Return the next whole message from the host, or None if nothing came for a while."""
        channels = self._channels or self._again()
        try:
            told = channels.receive(0.25)
            return self._message(told) if told is not None else None
        except Lost:
            self._again()
            self._say(Message("ask", request.number))
            if self._stop is not None:
                self._say(self._stop)
        except BadMessage as error:
            self._die(f"does not keep to the protocol ({str(error).rstrip('.')})")
        return None

    def _message(self, told: Told) -> Message | None:
        if told.kind == "status" and str(told.content.get("execution_state")) in GONE:
            self._die("was ended together with its kernel")
        if told.content.get("comm_id") != self._comm:
            return None
        if told.kind == "comm_close":
            self._die("was closed by its kernel, or there were too many")
        if told.kind != "comm_msg":
            return None
        self._heard = time.monotonic()
        return self._parts.take(told.content.get("data"), told.buffers)

    def _again(self) -> Channels:
        """Come back after a lost connection; the kernel goes on meanwhile."""
        if self._channels is not None:
            self.away += 1
            self._channels.close()
            self._channels = None
        deadline, pause, why = time.monotonic() + AWAY, 0.1, ""
        while time.monotonic() < deadline:
            try:
                self._channels = Channels(self.gateway, self.kernel, self._session)
                return self._channels
            except Lost as error:
                why = str(error)
                if error.status == 404 or not self.gateway.alive(self.kernel):
                    self._die("was ended together with its kernel")
            time.sleep(pause)
            pause = min(2 * pause, 3.0)
        self._die(f"could not be reached again within {AWAY:.0f} s ({gate.bare(why, 200)})")
        raise AssertionError
