"""Endpoints without tools: code comes in fenced blocks, everything else is the answer."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

from jupyter_codeagent.errors import CutReply
from jupyter_codeagent.models.profile import Unusable, content, ended, opening, system, varied
from jupyter_codeagent.models.reply import Reply
from jupyter_codeagent.observation import reports
from jupyter_codeagent.source import parsed
from jupyter_codeagent.trajectory import Action, Answer, Attempt, Message, Trajectory

_OPEN = re.compile(r"[ ]{0,3}(`{3,}|~{3,})[ \t]*([\w+#.-]*)[^`\n]*")
_GAVE_UP = "NOT SOLVED:"
_PYTHON = {"python", "py", "python3", "ipython", "ipython3"}


@dataclass(frozen=True)
class Fenced:
    """What a text holds.

    Parameters
    ----------
    text : str
        What stands before the first block of code; the whole text where there is none.
    code : str or None
        The Python blocks, joined; None where there are none.
    closed : bool
        The last block of code has its closing fence.
    """

    text: str
    code: str | None = None
    closed: bool = True


def parse(text: str) -> Fenced:
    """Find the Python in a text: blocks marked as Python, and unmarked blocks that can only be Python."""
    codes: list[str] = []
    before: list[str] = []
    closed = True
    lines = iter(text.replace("\r\n", "\n").split("\n"))  # str.splitlines would break code at other characters
    for line in lines:
        opening = _OPEN.fullmatch(line)
        if opening is None:
            before += [] if codes else [line]
            continue
        block, ended = _block(lines, opening[1])
        language = opening[2].lower()
        if language in _PYTHON or (not language and _is_python(block)):
            codes.append(block)
            closed = ended
        elif not codes:
            before += [line, block, *([opening[1]] if ended else [])]
    if not codes:
        return Fenced(text.strip())
    return Fenced("\n".join(before).strip(), "\n\n".join(code.strip("\n") for code in codes), closed)


def _block(lines: Iterator[str], fence: str) -> tuple[str, bool]:
    """Return the lines up to the fence that closes a block, and whether there was one."""
    found: list[str] = []
    for line in lines:
        bare = line.strip()
        if bare.startswith(fence) and not bare.strip(fence[0]):
            return "\n".join(found), True
        found.append(line)
    return "\n".join(found), False


def _is_python(block: str) -> bool:
    """Tell whether an unmarked block does something: a table, a number or a name alone is quoted output."""
    tree = parsed(block)
    body = tree.body if tree else []
    quiet = (ast.Constant, ast.Name, ast.Tuple, ast.List, ast.Dict, ast.UnaryOp, ast.BinOp)
    return any(not (isinstance(node, ast.Expr) and isinstance(node.value, quiet)) for node in body)


@dataclass(frozen=True)
class Fences:
    """The profile of an endpoint without tools.

    Parameters
    ----------
    max_tokens : int
        The longest reply.
    images : bool
        The model sees images.
    extra : dict or None
        Fields of the request's body that are no part of the Messages API, such as temperature.
    """

    max_tokens: int = 4_096
    images: bool = False
    extra: dict[str, Any] | None = None

    tools = False

    def request(self, trajectory: Trajectory, model: str) -> dict[str, Any]:
        """Return the arguments of `messages.create`."""
        request: dict[str, Any] = {
            "model": model,
            "max_tokens": self.max_tokens,
            "system": system("fences"),
            "messages": list(self.messages(trajectory, model)),
        }
        return {**request, "extra_body": self.extra} if self.extra else request

    def messages(self, trajectory: Trajectory, model: str) -> Iterator[Message]:
        """Yield the conversation so far."""
        yield {"role": "user", "content": opening(trajectory)}
        for entry, blocks in reports(trajectory, self.images):
            yield from entry.action.exchange if self._own(entry, model) else [_fenced(entry.action)]
            yield {"role": "user", "content": content(blocks)}

    def _own(self, entry: Attempt | Answer, model: str) -> bool:
        action = entry.action
        return action.model == model and bool(action.exchange) and not _calls(action.exchange)

    def sketch(self, reply: Reply) -> Action:
        """Return the explanation and the code as far as they are written."""
        found = parse(reply.text)
        return Action(found.text, found.code)

    def parse(self, reply: Reply, trajectory: Trajectory) -> Action:
        """Return the code of the blocks, or else the text as the answer."""
        ended(reply, self.max_tokens)
        return read_text(reply)

    def again(self, reply: Reply, problem: Unusable) -> list[Message]:
        """Return the text that came, and what is wrong with it."""
        if not problem.say:
            return []
        text = reply.text or "(nothing)"
        return [{"role": "assistant", "content": text}, {"role": "user", "content": problem.say}]

    def without_tools(self) -> None:
        """There are none."""

    def varied(self, number: int) -> Fences:
        """Return the profile for candidate `number` of one ask."""
        return replace(self, extra=varied(self.extra, number))


def read_text(reply: Reply) -> Action:
    """Return the action of a reply that is all text.

    Raises
    ------
    Unusable
        If it says nothing, or its code may be incomplete.
    """
    found = parse(reply.text)
    if found.code is None:
        text = found.text
        if not text:
            raise Unusable("is empty", "Your reply was empty. Write code, or give the answer.")
        if text.startswith(_GAVE_UP):
            return Action(text.removeprefix(_GAVE_UP).strip() or "No reason was given.", gave_up=True)
        return Action(text)
    if not found.closed and reply.stop_reason not in ("end_turn", "stop_sequence"):
        raise Unusable("has a block of code without an end", "Your code block has no end. Close it with ```.", CutReply)
    if not found.code.strip():
        raise Unusable("has an empty block of code", "Your code block is empty. Write code, or give the answer.")
    return Action(found.text, found.code)


def _calls(messages: tuple[Message, ...]) -> bool:
    return any(
        block.get("type") == "tool_use"
        for message in messages
        for block in (message["content"] if isinstance(message["content"], list) else [])
    )


def _fenced(action: Action) -> Message:
    """Return an action of another model as text."""
    if action.code is None:
        return {"role": "assistant", "content": action.text.strip() or "(nothing)"}
    return {"role": "assistant", "content": f"{action.text}\n\n```python\n{action.code}\n```".strip()}
