"""What a cell has put out, as the messages that a front end builds it up from."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Sequence
from typing import Any

from jupyter_codeagent.sandbox.gate import PAGE
from jupyter_codeagent.trajectory import Output

Send = Callable[[str, dict[str, Any]], None]


class Growth:
    """Sends the outputs of one cell as they grow.

    Parameters
    ----------
    send : callable
        Sends a message with this type and content.
    count : int
        The number of the cell.
    """

    def __init__(self, send: Send, count: int) -> None:
        self.send, self.count = send, count
        self.shown: list[Output] = []
        self.pages: list[dict[str, str]] = []  # what a terminal shows in its pager
        self._own = f"codeagent-{uuid.uuid4().hex}"

    def show(self, outputs: Sequence[Output]) -> None:
        """Send what turns the outputs shown so far into these."""
        self.pages = [output["data"] for output in outputs if (output.get("metadata") or {}).get(PAGE)]
        now = [output for output in outputs if not (output.get("metadata") or {}).get(PAGE)]
        if len(now) < len(self.shown) or not all(map(_follows, self.shown, now)):
            self.send("clear_output", {"wait": bool(now)})
            self.shown = []
        for at, output in enumerate(now):
            before = self.shown[at] if at < len(self.shown) else None
            if before != output:
                self._send(at, before, output)
        self.shown = now

    def _send(self, at: int, before: Output | None, output: Output) -> None:
        kind = output["output_type"]
        if kind == "stream":
            text = output["text"] if before is None else added(before["text"], output["text"])
            self.send("stream", {"name": output["name"], "text": text})
        elif kind == "error":
            self.send("error", {name: output[name] for name in ("ename", "evalue", "traceback")})
        else:
            content = {"data": output["data"], "metadata": {}}
            if kind == "execute_result":
                content["execution_count"] = self.count
            else:  # ids of ours: no output of another cell can be reached
                content["transient"] = {"display_id": f"{self._own}-{at}"}
                kind = kind if before is None else "update_display_data"
            self.send(kind, content)


def _follows(before: Output, now: Output) -> bool:
    """Say whether one output can become the other without beginning again."""
    kind = before["output_type"]
    if before == now:
        return True
    if kind != now["output_type"]:
        return False
    if kind == "stream":
        return bool(before["name"] == now["name"] and now["text"].startswith(_whole_lines(before["text"])))
    return bool(kind == "display_data")


def _whole_lines(text: str) -> str:
    return text[: text.rfind("\n") + 1]


def added(before: str, now: str) -> str:
    """Return what makes a terminal that shows `before` show `now`: what is new, or the last line over again."""
    if now.startswith(before):
        return now[len(before) :]
    kept = _whole_lines(before)
    first, newline, rest = now[len(kept) :].partition("\n")
    return f"\r{first.ljust(len(before) - len(kept))}{newline}{rest}"
