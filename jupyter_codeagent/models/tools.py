"""Endpoints with tools: `run_python` executes code, `read_output` reads on, `finish` ends the task."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

from jupyter_codeagent.errors import CutReply
from jupyter_codeagent.models.fences import Fences, parse, read_text
from jupyter_codeagent.models.profile import Lookup, Unusable, content, ended, opening, system, varied
from jupyter_codeagent.models.reply import Part, Reply
from jupyter_codeagent.observation import passage, reports
from jupyter_codeagent.trajectory import Action, Answer, Message, Trajectory

_CALL = "call run_python with code, or finish with the answer."
_CACHE = {"type": "ephemeral"}


def _tool(name: str, description: str, required: int, **properties: dict[str, str]) -> dict[str, Any]:
    schema = {"type": "object", "properties": properties, "required": list(properties)[:required]}
    return {"name": name, "description": description, "input_schema": schema}


_TOOLS = [
    _tool(
        "run_python",
        "Execute Python in the sandbox. Returns what it printed, its last value, figures, or the traceback.",
        1,
        code={"type": "string", "description": "The code of one cell."},
    ),
    _tool(
        "finish",
        "End the task.",
        2,
        answer={"type": "string", "description": "The answer for the user, in Markdown."},
        solved={"type": "boolean", "description": "false if the task could not be solved."},
    ),
    _tool(
        "read_output",
        "Read what an attempt wrote, also where it was cut. Uses up no attempt.",
        3,
        attempt={"type": "integer", "description": "Its number."},
        start={"type": "integer", "description": "First character, from 0."},
        end={"type": "integer", "description": "Up to 8,000 characters after start."},
    ),
]
_CLAUDE_TOOLS = [{**tool, "eager_input_streaming": True} for tool in _TOOLS]
_CLAUDE_TOOLS[-1] = {**_CLAUDE_TOOLS[-1], "cache_control": _CACHE}
_ACTING = {"run_python", "finish"}
_WRITTEN = re.compile(r"""\{\s*["'](name|function|type)["'][^}]*["'](run_python|finish)["']""")
_NO_ADAPTIVE = re.compile(r"claude-(3|instant|2|(opus|sonnet|haiku)-4-([015]|20))")  # thinking is set otherwise there


@dataclass(frozen=True)
class Tools:
    """For endpoints with tools.

    Parameters
    ----------
    claude : bool
        The endpoint is Anthropic's own: adaptive thinking, prompt caching, code streamed while it is written.
    max_tokens : int
        The longest reply.
    images : bool
        The model sees images.
    extra : dict or None
        Fields of the request's body that are no part of the Messages API, such as temperature.
    effort : str or None
        How much the model thinks: low, medium, high, max. Anthropic only; None: its default.
    """

    claude: bool = False
    max_tokens: int = 8_192
    images: bool = False
    extra: dict[str, Any] | None = None
    effort: str | None = None

    tools = True

    def request(self, trajectory: Trajectory, model: str) -> dict[str, Any]:
        """Return the arguments of `messages.create`.

        On Anthropic's endpoint three marks keep the prompt cached: one behind the tools, one behind the system
        prompt, and a top-level one that the endpoint moves along with the conversation.
        """
        request: dict[str, Any] = {"model": model, "max_tokens": self.max_tokens}
        if self.claude:
            request |= {
                "cache_control": _CACHE,
                "tool_choice": {"type": "auto", "disable_parallel_tool_use": True},
                "system": [{"type": "text", "text": system("tools"), "cache_control": _CACHE}],
                "tools": _CLAUDE_TOOLS,
            }
            if not _NO_ADAPTIVE.match(model):
                request["thinking"] = {"type": "adaptive", "display": "summarized"}
            if self.effort:
                request["output_config"] = {"effort": self.effort}
        else:
            request |= {"system": system("tools"), "tools": _TOOLS}
        request["messages"] = list(self.messages(trajectory, model))
        return {**request, "extra_body": self.extra} if self.extra else request

    def messages(self, trajectory: Trajectory, model: str) -> Iterator[Message]:
        """Yield the conversation so far."""
        yield {"role": "user", "content": opening(trajectory)}
        for number, (entry, blocks) in enumerate(reports(trajectory, self.images)):
            own = entry.action.exchange and entry.action.model == model
            exchange = entry.action.exchange if own else (_called(entry.action, f"{trajectory.id}_{number}"),)
            yield from exchange
            failed = not (entry.passed if isinstance(entry, Answer) else entry.succeeded)
            yield answer_calls(exchange[-1], blocks, failed)

    def sketch(self, reply: Reply) -> Action:
        """Return the explanation and the code as far as they are written."""
        call = _chosen(reply.of("tool_use"))
        said = reply.text or reply.thinking
        if call is None:
            found = parse(reply.text)
            return Action(found.text or said, found.code)
        given = _partial(call.text("json"))
        if call.start.get("name") == "run_python":
            return Action(said, str(given.get("code") or ""))
        return Action(str(given.get("answer") or said))

    def parse(self, reply: Reply, trajectory: Trajectory) -> Action:
        """Return the action of the one call that counts; of a reply without calls, what its text says."""
        ended(reply, self.max_tokens)
        calls = reply.of("tool_use")
        call = _chosen(calls)
        if call is not None:
            return _act(call, reply)
        if not calls:
            written = _written(reply.text)
            return read_text(reply) if written is None else _act(written, reply)
        name = str(calls[0].start.get("name"))[:80]
        if name == "read_output":
            raise Lookup("only reads outputs", passage(trajectory, *_range(calls[0])))
        raise Unusable(f"calls a tool {name!r} that does not exist", f"There is no tool {name!r}; {_CALL}")

    def again(self, reply: Reply, problem: Unusable) -> list[Message]:
        """Return what came, and what is wrong with it; cut replies are reduced to their text."""
        if not problem.say:
            return []
        calls = reply.of("tool_use") if problem.kind is not CutReply else []
        if not calls:
            text = reply.text or "(nothing)"
            return [{"role": "assistant", "content": text}, {"role": "user", "content": problem.say}]
        message = {"role": "assistant", "content": reply.content}
        failed = not isinstance(problem, Lookup)
        return [message, answer_calls(message, [{"type": "text", "text": problem.say}], failed)]

    def without_tools(self) -> Fences | None:
        """Return the fenced profile, except for Anthropic, which always has tools."""
        return None if self.claude else Fences(min(self.max_tokens, 4_096), self.images, self.extra)

    def varied(self, number: int) -> Tools:
        """Return the profile for candidate `number` of one ask."""
        return replace(self, extra=varied(self.extra, number))


def _act(call: Part, reply: Reply) -> Action:
    """Return the action of a call, once its input is what the tool takes."""
    name = call.start["name"]
    try:
        given = call.input
    except ValueError:
        raise Unusable(f"calls {name} with broken input", f"The input of {name} was not JSON; {_CALL}") from None
    field = "code" if name == "run_python" else "answer"
    text = given.get(field) if isinstance(given, dict) else None
    if not isinstance(text, str):
        raise Unusable(f"calls {name} without the text {field!r}", f"{name} needs the text {field!r}; {_CALL}")
    if not text.strip():
        raise Unusable(f"calls {name} with an empty {field!r}", f"{field!r} was empty; {_CALL}")
    if field == "code":
        return Action((reply.text if call.start["id"] != "written" else "") or reply.thinking, text)
    return Action(text.strip(), gave_up=given.get("solved", True) in (False, "false", "False"))


def _range(call: Part) -> tuple[int, int, int]:
    """Return attempt, start and end of a call to read on.

    Raises
    ------
    Unusable
        If they are no numbers.
    """
    try:
        given = call.input
        return int(given["attempt"]), int(given["start"]), int(given["end"])
    except (ValueError, TypeError, KeyError, OverflowError):
        raise Unusable("reads an output without saying where", "read_output needs attempt, start and end.") from None


def _written(text: str) -> Part | None:
    """Return the call that a text holds as JSON: some models are given tools and still only write about them.

    Raises
    ------
    Unusable
        If the JSON is broken, as it is where the code stands in it as it would in a file.
    """
    if not _WRITTEN.search(text):
        return None
    try:
        found = json.loads(text[text.index("{") : text.rindex("}") + 1])
    except ValueError:
        found = None
    call = found.get("function", found) if isinstance(found, dict) else None
    if not isinstance(call, dict) or call.get("name") not in _ACTING:
        raise Unusable(
            "writes about a call instead of making one", "Write the code in a block that begins with ```python."
        )
    given = next((call[name] for name in ("arguments", "parameters", "input") if name in call), None)
    return Part({"type": "tool_use", "id": "written", "name": call["name"], "input": given})


def _chosen(calls: list[Part]) -> Part | None:
    """Return the call that counts: the first that executes code, else the first of ours."""
    ours = [call for call in calls if call.start.get("name") in _ACTING]
    return next((call for call in ours if call.start["name"] == "run_python"), ours[0] if ours else None)


def _partial(text: str) -> dict[str, Any]:
    """Return what can be read of JSON that is still being written."""
    import jiter

    try:
        found = jiter.from_json(text.encode("utf-8", "replace"), partial_mode="trailing-strings")
    except ValueError:
        return {}
    return found if isinstance(found, dict) else {}


def _blocks(message: Message) -> list[dict[str, Any]]:
    return message["content"] if isinstance(message["content"], list) else []


def answer_calls(message: Message, blocks: list[dict[str, Any]], failed: bool) -> Message:
    """Return the user's message after an assistant's: the result of the call that counts, and a word on the others."""
    calls = [Part(block) for block in _blocks(message) if block.get("type") == "tool_use"]
    if not calls:
        return {"role": "user", "content": content(blocks)}
    chosen = _chosen(calls) or calls[0]
    skipped = "Not done: one call in each reply, and finish only after the result has been seen."
    results = [
        _result(call, content(blocks), failed) if call is chosen else _result(call, skipped, True) for call in calls
    ]
    return {"role": "user", "content": results}


def _result(call: Part, content: Any, failed: bool) -> dict[str, Any]:
    result = {"type": "tool_result", "tool_use_id": call.start.get("id"), "content": content}
    return {**result, "is_error": True} if failed else result


def _called(action: Action, number: str) -> Message:
    """Return an action of another model as a call."""
    if action.code is None:
        call = {"name": "finish", "input": {"answer": action.text, "solved": not action.gave_up}}
        said = ""
    else:
        call = {"name": "run_python", "input": {"code": action.code}}
        said = action.text.strip()
    text = [{"type": "text", "text": said}] if said else []
    return {"role": "assistant", "content": [*text, {"type": "tool_use", "id": f"toolu_{number}", **call}]}
