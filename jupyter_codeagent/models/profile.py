"""What differs between endpoints: what a request holds, and how a reply is read."""

from __future__ import annotations

from typing import Any, Protocol

from jupyter_codeagent.errors import BadReply, ContextOverflow, CutReply, ModelError, Refused
from jupyter_codeagent.models.reply import Reply
from jupyter_codeagent.observation import LIMIT, clean, mark
from jupyter_codeagent.prompts import prompt
from jupyter_codeagent.trajectory import Action, Message, Trajectory

_WARM = 0.7  # the temperature of further candidates where the first one's is 0
_LENGTH = {"max_tokens", "length", "model_length"}


class Unusable(Exception):
    """A reply that nothing can be done with; the model is asked once more.

    Parameters
    ----------
    why : str
        What is wrong with it, for the user: the end of the sentence "The reply of ... ".
    say : str
        What the model is told. Empty: the same request is sent again, as the reply broke off on the way.
    kind : type of ModelError
        What is raised where the second reply is no better.
    """

    def __init__(self, why: str, say: str = "", kind: type[ModelError] = BadReply) -> None:
        super().__init__(why)
        self.why = why
        self.say = say
        self.kind = kind


class Lookup(Unusable):
    """A reply that asks to read on in an output; `say` is what stands there."""


class Profile(Protocol):
    """How to talk to one kind of endpoint."""

    @property
    def tools(self) -> bool:
        """Requests hold tools."""

    def request(self, trajectory: Trajectory, model: str) -> dict[str, Any]:
        """Return the arguments of `messages.create` for the next action."""

    def sketch(self, reply: Reply) -> Action:
        """Return what can be shown of a reply while it grows."""

    def parse(self, reply: Reply, trajectory: Trajectory) -> Action:
        """Return the action of a reply that has ended.

        Raises
        ------
        Unusable
            If it holds none, or was cut.
        ModelError
            If it would be no use to ask again.
        """

    def again(self, reply: Reply, problem: Unusable) -> list[Message]:
        """Return the messages to add before asking again: what the model wrote, and what is wrong with it."""

    def without_tools(self) -> Profile | None:
        """Return the profile for the same endpoint where it turns out to take no tools; None where it must."""

    def varied(self, number: int) -> Profile:
        """Return the profile for candidate `number` (2 and on) of one ask, whose reply is to be another one."""


def varied(extra: dict[str, Any] | None, number: int) -> dict[str, Any] | None:
    """Return fields of a request's body such that candidate `number` is not bound to be the same as the first.

    Only what the user has set is changed: an endpoint that is told nothing leaves some room to chance by itself.
    """
    if extra is None:
        return None
    changed = dict(extra)
    if extra.get("temperature") == 0:
        changed["temperature"] = _WARM
    if isinstance(extra.get("seed"), int):
        changed["seed"] = extra["seed"] + number - 1
    return changed


def ended(reply: Reply, max_tokens: int) -> None:
    """Pass only a reply that came whole.

    Raises
    ------
    Unusable
        If it was cut.
    Refused, ContextOverflow
        If the model declined, or could read no further.
    """
    reason = reply.stop_reason
    if reason == "refusal":
        details = reply.stop_details
        about = f" ({details['category']})" if details.get("category") else ""
        raise Refused(f"The model declined this task{about}; word it differently, or choose another model.")
    if reason == "model_context_window_exceeded":
        raise ContextOverflow(
            "The conversation has filled what the model can read; start a new task, or use a model that reads more."
        )
    if reason in _LENGTH:
        raise Unusable(
            f"was cut off after {max_tokens} tokens",
            f"Your reply was cut off after {max_tokens} tokens, and nothing was executed. Be shorter.",
            CutReply,
        )
    if reason is None or reason == "pause_turn":
        raise Unusable("ended before it was complete", kind=CutReply)


def opening(trajectory: Trajectory) -> str:
    """Return the first message: the task and all that is known before the first attempt."""
    tag = mark(trajectory)
    told = clean(trajectory.context).strip().replace(tag, "*" * len(tag))  # files and cells cannot close the tag
    context = f"\n<context-{tag}>\n{told}\n</context-{tag}>\n" if told else ""
    checks = "".join(f"\n- {clean(c.label)}" for c in trajectory.checks)
    checks = f"\nThese checks decide, in a fresh state, whether it is solved:{checks}\n" if checks else ""
    return prompt(
        "task",
        task=clean(trajectory.task),
        context=context,
        checks=checks,
        limit=trajectory.limit,
        mark=tag,
    )


def system(acting: str) -> str:
    """Return the system prompt, which is the same for every task."""
    return prompt("system", limit=f"{LIMIT:,}", acting=prompt(acting))


def content(blocks: list[dict[str, Any]]) -> str | list[dict[str, Any]]:
    """Return blocks as simply as they can be said: not every endpoint takes more than text."""
    return blocks[0]["text"] if len(blocks) == 1 else blocks
