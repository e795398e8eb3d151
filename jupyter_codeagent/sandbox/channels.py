"""The channels of a kernel elsewhere, over one websocket of its Jupyter server.

The protocol is ``v1.kernel.websocket.jupyter.org`` of Jupyter Server: a frame holds offsets, the channel's name, the
four JSON parts of a message of the Jupyter protocol, and buffers. Every frame that arrives is taken as hostile.
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
import itertools
import json
import socket
import threading
import uuid
import weakref
from collections.abc import Coroutine, Sequence
from concurrent.futures import CancelledError, Future
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, TypeVar

from jupyter_codeagent.sandbox import gate
from jupyter_codeagent.sandbox.gateway import Gateway
from jupyter_codeagent.sandbox.messages import BadMessage

PROTOCOL = "v1.kernel.websocket.jupyter.org"
FRAME = 64 * 2**20  # bytes of one frame; ours are far below it
BUFFERS = 16  # of one message
WAITING = 4  # messages that were not asked for yet; further ones stay on the way
GONE = {"restarting", "autorestarting", "dead"}  # states of a kernel that has lost all that was in it
CONNECT = 30.0  # seconds
SEND = 60.0  # seconds for one part to leave
PING = 20.0  # seconds between two signs of life, and to wait for one

T = TypeVar("T")


class Lost(Exception):
    """The connection ended, or there was none; says why as part of a sentence.

    Parameters
    ----------
    said : str
        Why.
    status : int
        What the server answered instead, as HTTP has it; 0 where it answered nothing.
    """

    def __init__(self, said: str, status: int = 0) -> None:
        super().__init__(said)
        self.status = status


@dataclass(frozen=True)
class Told:
    """One message from a kernel: its type, its content, its buffers."""

    kind: str
    content: dict[str, Any]
    buffers: Sequence[memoryview] = ()


class Channels:
    """A websocket to a kernel. Threads may send at any time; one at a time may receive.

    Parameters
    ----------
    gateway : Gateway
        The server.
    kernel : str
        The kernel's id.
    session : str
        Names this client; the server keeps messages for it while it is away.
    """

    def __init__(self, gateway: Gateway, kernel: str, session: str) -> None:
        self.session = session
        self._next: Future[Told | Exception] | None = None
        self._arrived: asyncio.Queue[Told | Exception] = asyncio.Queue(WAITING)
        self._socket: Any = _result(_connect(gateway, kernel, session), CONNECT)
        if self._socket.selected_subprotocol != PROTOCOL:
            _loop().call_soon_threadsafe(self._socket.close)
            raise Lost(f"it does not speak {PROTOCOL}; it must be Jupyter Server 2 or newer")
        listening = asyncio.run_coroutine_threadsafe(_listen(self._socket, self._arrived), _loop())
        # also where nobody closes it: a sandbox that is forgotten takes its connection with it
        self._end = weakref.finalize(self, _end, listening, self._socket)

    def send(self, kind: str, content: dict[str, Any], buffers: Sequence[bytes | memoryview] = ()) -> None:
        """Send a message on the shell channel; raises Lost."""
        header = {
            "msg_id": uuid.uuid4().hex,
            "session": self.session,
            "username": "",
            "date": datetime.now(UTC).isoformat(),
            "msg_type": kind,
            "version": "5.4",
        }
        _result(_write(self._socket, encode("shell", header, content, buffers)), SEND)

    def receive(self, seconds: float) -> Told | None:
        """Return the next message, or None where none comes in time.

        Raises
        ------
        Lost
            If the connection has ended.
        BadMessage
            If what came is no message.
        """
        if self._next is None:
            self._next = asyncio.run_coroutine_threadsafe(self._arrived.get(), _loop())
        coming = self._next
        try:
            found = coming.result(seconds)
        except TimeoutError:
            return None
        self._next = None
        if isinstance(found, Exception):
            raise found
        return found

    def close(self) -> None:
        """End the connection."""
        if self._next is not None:
            self._next.cancel()
        self._end()


@functools.cache
def _loop() -> asyncio.AbstractEventLoop:
    """Return the event loop in which all connections live; its thread lives as long as the process."""
    loop = asyncio.new_event_loop()
    threading.Thread(target=loop.run_forever, name="codeagent-channels", daemon=True).start()
    return loop


def _result(work: Coroutine[Any, Any, T], seconds: float) -> T:
    """Return what a coroutine in the loop comes to; raises Lost."""
    from tornado.httpclient import HTTPError

    future = asyncio.run_coroutine_threadsafe(work, _loop())
    try:
        return future.result(seconds)
    except HTTPError as error:
        raise Lost(f"its answer to the websocket was {error.code}", error.code) from error
    except (OSError, ValueError, CancelledError) as error:  # a timeout is an OSError
        future.cancel()
        raise Lost(gate.bare(str(error) or type(error).__name__, 200)) from error


async def _connect(gateway: Gateway, kernel: str, session: str) -> Any:
    from tornado.httpclient import HTTPRequest
    from tornado.websocket import websocket_connect

    request = HTTPRequest(
        gateway.channels(kernel, session),
        headers=gateway.headers,
        connect_timeout=CONNECT,
        request_timeout=CONNECT,
        follow_redirects=False,
        ssl_options=gateway.security,
    )
    made = await websocket_connect(
        request, ping_interval=PING, ping_timeout=PING, max_message_size=FRAME, subprotocols=[PROTOCOL]
    )
    if made.protocol is not None:
        made.protocol.set_nodelay(True)
    _acknowledge(made)
    return made


async def _write(connection: Any, frame: bytes) -> None:
    from tornado.websocket import WebSocketClosedError

    try:
        await connection.write_message(frame, binary=True)
    except WebSocketClosedError as error:
        raise OSError("the connection was closed") from error


async def _listen(connection: Any, arrived: asyncio.Queue[Told | Exception]) -> None:
    """Take in what the server sends, also while nobody waits for it: it must hear that this side is there."""
    try:
        while (frame := await connection.read_message()) is not None:
            _acknowledge(connection)
            told = decode(frame)
            if told.kind in ("comm_msg", "comm_close") or str(told.content.get("execution_state")) in GONE:
                await arrived.put(told)
        reason = gate.bare(str(connection.close_reason or "the connection was closed"), 200)
        await arrived.put(Lost(reason))
    except BadMessage as error:
        await arrived.put(error)
    except OSError as error:
        await arrived.put(Lost(gate.bare(str(error) or type(error).__name__, 200)))


def _end(listening: Future[None], connection: Any) -> None:
    listening.cancel()
    _loop().call_soon_threadsafe(connection.close)


def _acknowledge(connection: Any) -> None:
    """Have the kernel acknowledge what arrives at once: the server waits for that before it sends the next message.

    Without it each request takes 40 ms more (Nagle's algorithm there, delayed acknowledgements here).
    """
    with contextlib.suppress(OSError, AttributeError):  # it has been closed
        connection.protocol.stream.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_QUICKACK, 1)


# -- frames ----------------------------------------------------------------------------------------


def encode(
    channel: str, header: dict[str, Any], content: dict[str, Any], buffers: Sequence[bytes | memoryview] = ()
) -> bytes:
    """Return one message as a frame."""
    pieces: list[bytes | memoryview] = [
        channel.encode(),
        *(json.dumps(part).encode() for part in (header, {}, {}, content)),
        *buffers,
    ]
    place = 8 * (len(pieces) + 2)  # behind the number of offsets, and the offsets
    offsets = [place]
    for piece in pieces:
        offsets.append(place := place + len(piece))
    return b"".join([*(number.to_bytes(8, "little") for number in (len(offsets), *offsets)), *pieces])


def decode(frame: str | bytes) -> Told:
    """Return the message in a frame.

    Raises
    ------
    BadMessage
        If there is none, or one part of it lies outside of the frame.
    """
    view = memoryview(frame) if isinstance(frame, bytes) else memoryview(b"")
    count = int.from_bytes(view[:8], "little")
    if not 6 <= count <= 6 + BUFFERS or view.nbytes < 8 * (count + 1):
        raise BadMessage("A frame is not one of the kernel protocol.")
    offsets = [int.from_bytes(view[8 * n : 8 * n + 8], "little") for n in range(1, count + 1)]
    if offsets[0] < 8 * (count + 1) or offsets[-1] > view.nbytes or offsets != sorted(offsets):
        raise BadMessage("A part of a frame lies outside of it.")
    _channel, header, _parent, _metadata, content, *buffers = (
        view[start:end] for start, end in itertools.pairwise(offsets)
    )
    try:
        kind = gate.parse(bytes(header)).get("msg_type")
        # what else a kernel says is none of ours
        said = gate.parse(bytes(content)) if kind in ("comm_msg", "comm_close", "status") else {}
    except gate.Violation as error:
        raise BadMessage(f"A message is malformed: {error}.") from error
    return Told(kind if isinstance(kind, str) else "", said, buffers)
