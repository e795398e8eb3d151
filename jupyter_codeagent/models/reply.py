"""A reply of the Messages API, put together from its stream of events."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any

Block = dict[str, Any]

_GROWING = {  # the kinds of delta: the field that it carries, and the block's field that it adds to
    "text_delta": ("text", "text"),
    "thinking_delta": ("thinking", "thinking"),
    "signature_delta": ("signature", "signature"),
    "input_json_delta": ("partial_json", "json"),
}


class BadEvent(ValueError):
    """The stream holds something that is no event of the Messages API."""


class ErrorEvent(Exception):
    """The endpoint broke off with an error after the reply had begun; `.error` is what it sent."""

    def __init__(self, error: Any) -> None:
        super().__init__("error event")
        self.error: dict[str, Any] = error if isinstance(error, dict) else {"message": str(error)}


class Part:
    """One content block as it grows: what it began with, and the pieces since."""

    def __init__(self, start: Block) -> None:
        self.start = {key: value for key, value in start.items() if value is not None}
        self.kind = str(start.get("type"))
        if self.kind == "tool_use" and not (isinstance(start.get("id"), str) and isinstance(start.get("name"), str)):
            raise TypeError("a tool call without id and name")
        self.pieces: dict[str, list[str]] = {}
        self.citations: list[Any] = []
        self.closed = False

    def text(self, name: str) -> str:
        """Return one field as far as it has arrived."""
        start = self.start.get(name)
        return (start if isinstance(start, str) else "") + "".join(self.pieces.get(name, ()))

    def add(self, delta: dict[str, Any]) -> None:
        """Take in a delta; kinds that are not known are passed over."""
        if delta["type"] == "citations_delta":
            self.citations.append(delta["citation"])
        elif known := _GROWING.get(delta["type"]):
            source, target = known
            piece = delta[source]
            if not isinstance(piece, str):
                raise TypeError(source)
            self.pieces.setdefault(target, []).append(piece)

    @property
    def input(self) -> Any:
        """A tool call's input.

        Raises
        ------
        ValueError
            If it is not JSON.
        """
        return json.loads(self.text("json")) if self.pieces.get("json") else self.start.get("input")

    @property
    def block(self) -> Block:
        """The block as it is sent again; a call whose input is not JSON has none."""
        block = {**self.start, **{name: self.text(name) for name in self.pieces if name != "json"}}
        if self.citations:
            block["citations"] = self.citations
        if self.kind == "tool_use":
            try:
                given = self.input
            except ValueError:
                given = None
            block["input"] = given if isinstance(given, dict) else {}
        return block


@dataclass
class Reply:
    """A reply as far as it has arrived.

    Parameters
    ----------
    parts : dict of int to Part
        Content blocks by index.
    stop_reason : str or None
        None while it grows, and where it was cut.
    stop_details : dict
        What the endpoint says about a refusal.
    tokens : dict of str to int
        Counts of the API's `usage`.
    """

    parts: dict[int, Part] = field(default_factory=dict)
    stop_reason: str | None = None
    stop_details: dict[str, Any] = field(default_factory=dict)
    tokens: dict[str, int] = field(default_factory=dict)

    def feed(self, event: Any) -> None:
        """Take in one event.

        Raises
        ------
        ErrorEvent
            If the endpoint reports an error.
        BadEvent
            If it is malformed.
        """
        try:
            self._feed(event)
        except (KeyError, TypeError, AttributeError, ValueError) as error:
            raise BadEvent(f"{type(error).__name__}: {error}") from None

    def _feed(self, event: Any) -> None:
        if "type" not in event and "error" in event:
            raise ErrorEvent(event["error"])
        match event["type"]:
            case "content_block_delta":
                self.parts[event["index"]].add(event["delta"])
            case "content_block_start":
                self.parts[int(event["index"])] = Part(event["content_block"])
            case "content_block_stop":
                self.parts[event["index"]].closed = True
            case "message_start":
                self._count(event["message"].get("usage"))
            case "message_delta":
                self._stop(event["delta"])
                self._count(event.get("usage"))
            case "error":
                raise ErrorEvent(event.get("error"))

    def _stop(self, told: dict[str, Any]) -> None:
        if reason := told.get("stop_reason"):
            self.stop_reason = str(reason)
        if isinstance(details := told.get("stop_details"), dict):
            self.stop_details = details

    def _count(self, usage: Any) -> None:
        # Counts are cumulative, and an endpoint may leave some out later on.
        for name, count in (usage or {}).items():
            if isinstance(count, int) and count >= 0:
                self.tokens[name] = count

    @classmethod
    def whole(cls, message: Any) -> Reply:
        """Return the reply of an endpoint that does not stream.

        Raises
        ------
        BadEvent
            If `message` is not a message of the Messages API.
        """
        reply = cls()
        try:
            for index, block in enumerate(message["content"]):
                reply.parts[index] = Part(block)
                reply.parts[index].closed = True
            reply._stop(message)
            reply._count(message.get("usage"))
        except (KeyError, TypeError, AttributeError) as error:
            raise BadEvent(f"{type(error).__name__}: {error}") from None
        return reply

    def of(self, kind: str) -> list[Part]:
        """Return the blocks of one type, in order."""
        return [part for _, part in sorted(self.parts.items()) if part.kind == kind]

    @property
    def text(self) -> str:
        """The text blocks, joined."""
        return "\n\n".join(t for part in self.of("text") if (t := part.text("text").strip()))

    @property
    def thinking(self) -> str:
        """What the model lets see of its thinking."""
        return "\n\n".join(t for part in self.of("thinking") if (t := part.text("thinking").strip()))

    @property
    def content(self) -> list[Block]:
        """The content blocks as they are sent again; empty text, which no endpoint takes, is left out."""
        parts = [part for _, part in sorted(self.parts.items())]
        return [_sound(p.block) for p in parts if p.kind != "text" or p.text("text").strip()]


def events(chunks: Iterable[bytes]) -> Iterator[Any]:
    """Yield the JSON of each server-sent event, whether or not it has a line with the event's name.

    Raises
    ------
    BadEvent
        If the data of an event is not JSON.
    """
    for data in _data(chunks):
        if data == b"[DONE]":
            continue
        try:
            yield json.loads(data)
        except ValueError:
            raise BadEvent(f"not JSON: {data[:80]!r}") from None


def _data(chunks: Iterable[bytes]) -> Iterator[bytes]:
    # Split at line feeds only: JSON text may hold the other characters that str.splitlines splits at.
    lines: list[bytes] = []
    rest = b""
    for chunk in chunks:
        *whole, rest = (rest + chunk).split(b"\n")
        for line in whole:
            line = line.rstrip(b"\r")
            if line.startswith(b"data:"):
                lines.append(line[5:].strip())
            elif not line and lines:
                yield b"\n".join(lines)
                lines = []


def _sound(value: Any) -> Any:
    """Return JSON data whose texts can be encoded: lone surrogates replaced."""
    if isinstance(value, str):
        try:
            value.encode()
        except UnicodeEncodeError:
            return value.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")
        return value
    if isinstance(value, dict):
        return {_sound(key): _sound(item) for key, item in value.items()}
    return [_sound(item) for item in value] if isinstance(value, list) else value
