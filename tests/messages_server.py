"""A server that speaks the Messages API and plays prepared turns: real HTTP, streaming, delays and faults.

In tests::

    with serving([Turn("sum", code="1 + 1"), Turn(answer="2")]) as server:
        model = MessagesModel("scripted", server.url, "key")

By hand, or for benchmarks: ``python -m tests.messages_server turns.json`` prints the address and serves until it is
ended. ``turns.json`` holds a list of objects with the fields of `Turn`. ``POST /load`` with such a list replaces the
turns; ``GET /log`` returns what was requested.
"""

from __future__ import annotations

import argparse
import json
import select
import socket
import sys
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

PIECE = 4  # characters in one event, about a token


@dataclass
class Turn:
    """What the server answers to one request.

    Parameters
    ----------
    text, thinking : str
        What is said.
    code, answer : str or None
        A call of `run_python` or `finish`; a fenced block or plain text where the request holds no tools.
    solved : bool
        Goes with `answer`.
    calls : list of dict
        Further calls, as they are: ``{"name": ..., "input": {...}}`` or ``{"name": ..., "json": "..."}``.
    blocks : list of dict
        Further content blocks, as they are.
    stop_reason : str or None
        "auto": what fits.
    stop_details : dict or None
        Goes with a refusal.
    status : int
        Anything but 200 is an error with `error` as its body.
    error : Any
        With status 200: sent as an error event after `events` events.
    headers : dict of str to str
        Further headers of the reply.
    delay, pace : float
        Seconds before the reply begins, and between two events.
    events : int or None
        How many events are sent; then the connection is dropped, or the error is sent.
    body : str or None
        The whole body, as it is, instead of all this.
    content_type : str
        Goes with `body`.
    whole : bool
        The reply comes as one JSON message, though streaming was asked for.
    named : bool
        Events have their ``event:`` lines.
    hold : threading.Event or None
        Awaited once `held` events are out, so that a test can look at a reply that is half written.
    held : int
        Goes with `hold`; 0: nothing has been sent yet.
    """

    text: str = ""
    thinking: str = ""
    code: str | None = None
    answer: str | None = None
    solved: bool = True
    calls: list[dict[str, Any]] = field(default_factory=list)
    blocks: list[dict[str, Any]] = field(default_factory=list)
    stop_reason: str | None = "auto"
    stop_details: dict[str, Any] | None = None
    status: int = 200
    error: Any = None
    headers: dict[str, str] = field(default_factory=dict)
    delay: float = 0.0
    pace: float = 0.0
    events: int | None = None
    body: str | None = None
    content_type: str = "text/html"
    whole: bool = False
    named: bool = True
    hold: threading.Event | None = None
    held: int = 0

    def content(self, tools: bool, number: int) -> list[dict[str, Any]]:
        """Return the content blocks; a call's input that is no JSON stands under `json`."""
        blocks: list[dict[str, Any]] = []
        if self.thinking:
            blocks.append({"type": "thinking", "thinking": self.thinking, "signature": f"signed-{number}=="})
        said, calls = self.text, [dict(call) for call in self.calls]
        if tools:
            if self.code is not None:
                calls.insert(0, {"name": "run_python", "input": {"code": self.code}})
            if self.answer is not None:
                calls.append({"name": "finish", "input": {"answer": self.answer, "solved": self.solved}})
        elif self.code is not None:
            said = f"{said}\n\n```python\n{self.code}\n```".strip()
        elif self.answer is not None:
            said = self.answer if self.solved else f"NOT SOLVED: {self.answer}"
        if said:
            blocks.append({"type": "text", "text": said})
        blocks += self.blocks
        return [*blocks, *({"type": "tool_use", "id": f"toolu_{number}_{i}", **call} for i, call in enumerate(calls))]

    def reason(self, content: list[dict[str, Any]]) -> str | None:
        """Return the stop reason."""
        if self.stop_reason != "auto":
            return self.stop_reason
        return "tool_use" if any(b["type"] == "tool_use" for b in content) else "end_turn"


Script = Turn | Callable[[dict[str, Any]], Turn]


@dataclass
class Request:
    """One request as it came: when (seconds of the server's clock), its headers, its body, and how it ended."""

    time: float
    path: str
    headers: dict[str, str]
    body: dict[str, Any]
    characters: int
    seconds: float = 0.0
    disconnected: float | None = None

    @property
    def messages(self) -> list[dict[str, Any]]:
        """The conversation in it."""
        return list(self.body["messages"])


class Disconnected(Exception):
    """The client has gone away."""


class MessagesServer:
    """Serves on a free port of the loopback interface until it is closed.

    Parameters
    ----------
    turns : iterable of Turn or callable
        What is answered, in order; a callable takes the request's body.
    tools : {"yes", "ignored", "refused"}
        What becomes of tools in requests: used, passed over, or answered with status 400.
    models : tuple of str
        What ``GET /v1/models`` lists.
    keys : tuple of str
        The keys that are taken; empty for all.
    port : int
        0 for a free one.
    """

    def __init__(
        self,
        turns: Iterable[Script] = (),
        tools: str = "yes",
        models: tuple[str, ...] = ("scripted",),
        keys: tuple[str, ...] = (),
        port: int = 0,
    ) -> None:
        self.tools, self.models, self.keys = tools, models, keys
        self.turns = list(turns)
        self.requests: list[Request] = []
        self.lock = threading.Lock()
        self.http = _Http(("127.0.0.1", port), _Handler)
        self.http.messages = self
        self.thread = threading.Thread(target=self.http.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
        self.thread.start()

    @property
    def url(self) -> str:
        """The address, as ANTHROPIC_BASE_URL takes it."""
        return f"http://127.0.0.1:{self.http.server_address[1]}"

    def close(self) -> None:
        """End it."""
        self.http.shutdown()
        self.http.server_close()

    def next(self, body: dict[str, Any]) -> Turn:
        """Return the turn to play now."""
        if self.tools == "refused" and body.get("tools"):
            said = f"{body.get('model')!r} does not support tools"
            return Turn(status=400, error={"type": "error", "error": {"type": "api_error", "message": said}})
        with self.lock:
            turn = self.turns.pop(0) if self.turns else None
        if turn is None:
            said = "the script has no more turns"
            return Turn(
                status=400, error={"type": "error", "error": {"type": "invalid_request_error", "message": said}}
            )
        return turn if isinstance(turn, Turn) else turn(body)


class _Http(ThreadingHTTPServer):
    daemon_threads = True
    messages: MessagesServer

    def handle_error(self, request: Any, client_address: Any) -> None:
        # A client that goes away in the middle of a reply is what many tests are about.
        if not isinstance(sys.exception(), ConnectionError | Disconnected):
            super().handle_error(request, client_address)


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    wbufsize = -1  # header and first part of the body leave in one packet
    server: _Http

    def log_message(self, format: str, *args: Any) -> None:
        """Say nothing."""

    def do_GET(self) -> None:
        """Answer the list of models, and the log."""
        if self.path.startswith("/v1/models"):
            listed = [
                {"type": "model", "id": m, "display_name": m, "created_at": "2026-01-01T00:00:00Z"}
                for m in self.server.messages.models
            ]
            self.answer(200, {"data": listed, "has_more": False, "first_id": None, "last_id": None})
        elif self.path == "/log":
            self.answer(200, [asdict(r) for r in self.server.messages.requests])
        else:
            self.answer(404, {"type": "error", "error": {"type": "not_found_error", "message": self.path}})

    def do_POST(self) -> None:
        """Play the next turn."""
        raw = self.rfile.read(int(self.headers.get("content-length", 0)))
        body = json.loads(raw)
        hub = self.server.messages
        if self.path == "/load":
            with hub.lock:
                hub.turns = [Turn(**turn) for turn in body]
            hub.requests.clear()
            self.answer(200, {"turns": len(body)})
            return
        seen = Request(time.monotonic(), self.path, dict(self.headers.items()), body, len(raw.decode()))
        hub.requests.append(seen)
        try:
            self.play(hub, seen)
        except (ConnectionError, Disconnected):
            seen.disconnected = time.monotonic()
            self.close_connection = True
        finally:
            seen.seconds = time.monotonic() - seen.time

    def play(self, hub: MessagesServer, seen: Request) -> None:
        """Answer one request for a message."""
        key = seen.headers.get("Authorization", "").removeprefix("Bearer ") or seen.headers.get("X-Api-Key", "")
        if hub.keys and key not in hub.keys:
            said = f"invalid x-api-key: {key}"
            self.answer(401, {"type": "error", "error": {"type": "authentication_error", "message": said}})
            return
        turn = hub.next(seen.body)
        self.wait(turn.delay)
        if turn.body is not None:
            self.send(turn.status, turn.content_type, turn.body.encode(), turn.headers)
        elif turn.status != 200:
            self.answer(turn.status, turn.error, turn.headers)
        else:
            number = len(hub.requests)
            content = turn.content(bool(seen.body.get("tools")) and hub.tools == "yes", number)
            if turn.whole or not seen.body.get("stream"):
                self.answer(200, _message(turn, content, seen, number), turn.headers)
            else:
                self.stream(turn, content, seen, number)

    def stream(self, turn: Turn, content: list[dict[str, Any]], seen: Request, number: int) -> None:
        """Send a reply event by event."""
        self.send_response(200)
        for name, value in {
            "Content-Type": "text/event-stream",
            "Transfer-Encoding": "chunked",
            **turn.headers,
        }.items():
            self.send_header(name, value)
        self.end_headers()
        for count, event in enumerate(_events(turn, content, seen, number)):
            if turn.events is not None and count >= turn.events:
                if turn.error is None:
                    self.wfile.flush()
                    self.close_connection = True
                    self.connection.shutdown(socket.SHUT_RDWR)
                    return
                self.event({"type": "error", "error": turn.error}, turn.named)
                break
            if turn.hold is not None and count == turn.held:
                self.wfile.flush()
                self.await_release(turn.hold)
            self.event(event, turn.named)
            if turn.pace:
                self.wfile.flush()
                self.wait(turn.pace)
        self.wfile.write(b"0\r\n\r\n")
        self.wfile.flush()

    def event(self, event: dict[str, Any], named: bool) -> None:
        """Send one event."""
        text = f"event: {event['type']}\n" if named else ""
        data = f"{text}data: {json.dumps(event)}\n\n".encode()
        self.wfile.write(b"%x\r\n%s\r\n" % (len(data), data))

    def answer(self, status: int, body: Any, headers: dict[str, str] | None = None) -> None:
        """Send JSON."""
        self.send(status, "application/json", json.dumps(body).encode(), headers or {})

    def send(self, status: int, kind: str, body: bytes, headers: dict[str, str]) -> None:
        """Send a whole body."""
        self.send_response(status)
        for name, value in {"Content-Type": kind, "Content-Length": str(len(body)), **headers}.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body)
        self.wfile.flush()

    def await_release(self, hold: threading.Event) -> None:
        """Wait until the test lets the reply go on, unless the client goes away."""
        while not hold.is_set():
            self.wait(0.02)

    def wait(self, seconds: float) -> None:
        """Sleep, unless the client goes away."""
        if seconds > 0 and select.select([self.connection], [], [], seconds)[0]:
            if not self.connection.recv(1, socket.MSG_PEEK):
                raise Disconnected
            time.sleep(seconds)


def _usage(content: list[dict[str, Any]], seen: Request) -> dict[str, int]:
    written = len(json.dumps(content)) // PIECE
    read = seen.characters // PIECE
    cached = 0 if len(seen.body["messages"]) == 1 else read // 2
    return {
        "input_tokens": read - cached,
        "cache_creation_input_tokens": 0,
        "cache_read_input_tokens": cached,
        "output_tokens": written,
    }


def _message(turn: Turn, content: list[dict[str, Any]], seen: Request, number: int) -> dict[str, Any]:
    return {
        "id": f"msg_{number}",
        "type": "message",
        "role": "assistant",
        "model": seen.body.get("model"),
        "content": content,
        "stop_reason": turn.reason(content),
        "stop_sequence": None,
        "usage": _usage(content, seen),
    }


def _events(turn: Turn, content: list[dict[str, Any]], seen: Request, number: int) -> Iterator[dict[str, Any]]:
    usage = _usage(content, seen)
    start = {**_message(turn, content, seen, number), "content": [], "stop_reason": None}
    yield {"type": "message_start", "message": {**start, "usage": {**usage, "output_tokens": 1}}}
    yield {"type": "ping"}
    for index, block in enumerate(content):
        yield from _block_events(index, block)
    delta = {"stop_reason": turn.reason(content), "stop_sequence": None, "stop_details": turn.stop_details}
    if delta["stop_reason"] is not None:
        yield {"type": "message_delta", "delta": delta, "usage": {"output_tokens": usage["output_tokens"]}}
        yield {"type": "message_stop"}


def _block_events(index: int, block: dict[str, Any]) -> Iterator[dict[str, Any]]:
    def delta(kind: str, name: str, piece: str) -> dict[str, Any]:
        return {"type": "content_block_delta", "index": index, "delta": {"type": kind, name: piece}}

    kind = block["type"]
    if kind == "text":
        start: dict[str, Any] = {"type": "text", "text": "", "citations": None}
        deltas = [delta("text_delta", "text", piece) for piece in pieces(block["text"])]
    elif kind == "thinking":
        start = {"type": "thinking", "thinking": "", "signature": ""}
        deltas = [delta("thinking_delta", "thinking", piece) for piece in pieces(block["thinking"])]
        deltas.append(delta("signature_delta", "signature", block["signature"]))
    elif kind == "tool_use":
        start = {"type": "tool_use", "id": block["id"], "name": block["name"], "input": {}}
        text = block["json"] if "json" in block else json.dumps(block.get("input"))
        deltas = [delta("input_json_delta", "partial_json", piece) for piece in ["", *pieces(text)]]
    else:
        start, deltas = block, []
    yield {"type": "content_block_start", "index": index, "content_block": start}
    yield from deltas
    yield {"type": "content_block_stop", "index": index}


def pieces(text: str) -> Iterator[str]:
    """Yield a text in pieces of about a token; a fence begins a piece of its own."""
    for count, section in enumerate(text.split("```")):
        section = f"```{section}" if count else section
        for start in range(0, len(section), PIECE):
            yield section[start : start + PIECE]


@contextmanager
def serving(turns: Iterable[Script] = (), **options: Any) -> Iterator[MessagesServer]:
    """Serve turns; the options are those of `MessagesServer`."""
    server = MessagesServer(turns, **options)
    try:
        yield server
    finally:
        server.close()


def main() -> None:
    """Serve a file of turns until the process is ended."""
    parser = argparse.ArgumentParser(description="Play prepared turns as a Messages API.")
    parser.add_argument("turns", nargs="?", help="a JSON file with a list of turns")
    parser.add_argument("--port", type=int, default=0)
    parser.add_argument("--tools", choices=("yes", "ignored", "refused"), default="yes")
    options = parser.parse_args()
    turns = []
    if options.turns:
        with open(options.turns, encoding="utf-8") as file:
            turns = [Turn(**turn) for turn in json.load(file)]
    with serving(turns, tools=options.tools, port=options.port) as server:
        print(server.url, flush=True)
        threading.Event().wait()


if __name__ == "__main__":
    main()
