"""A model that says what it was given, for tests and demonstrations."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace

from jupyter_codeagent.errors import BadReply, CodeAgentError
from jupyter_codeagent.trajectory import Action, Trajectory

_PIECE = 40  # characters
Reply = Action | Callable[[Trajectory], Action] | CodeAgentError


class ScriptedModel:
    """Plays actions in order, each growing as a model's would.

    Parameters
    ----------
    actions : iterable of Action, callable, error, or a sequence of these
        What it wants next. A callable takes the trajectory and returns an action; an error is raised. Of a sequence,
        each candidate of one ask plays its own; anything else is what all candidates say.
    name : str
        What it is called in records.

    Examples
    --------
    >>> model = ScriptedModel([Action("sum", "1 + 1"), Action("2")])
    >>> model = ScriptedModel([[Action("one way", "x = 1"), Action("another", "x = 1.0")], Action("done")])
    """

    parallel = True

    def __init__(self, actions: Iterable[Reply | Sequence[Reply]], name: str = "scripted") -> None:
        self.name = name
        self._actions = list(actions)
        self._next = 0

    def __repr__(self) -> str:
        return f"<model {self.name}, {min(self._next, len(self._actions))} of {len(self._actions)} actions played>"

    def describe(self) -> str:
        """Return one sentence: which model this is, and what leaves this machine."""
        return f"{self.name}: {len(self._actions)} prepared actions; nothing leaves this machine."

    def query(self, trajectory: Trajectory) -> Action:
        """Return the next action.

        Raises
        ------
        BadReply
            If all actions have been played.
        """
        self._next += 1
        return self.reply(trajectory, 1)

    def reply(self, trajectory: Trajectory, number: int) -> Action:
        """Return what candidate `number` says to the latest ask; raises as `query`."""
        at = self._next - 1
        if at >= len(self._actions):
            raise BadReply(f"The scripted model has played all of its {len(self._actions)} actions; give it more.")
        found = self._actions[at]
        if isinstance(found, Sequence):
            if number > len(found):
                raise BadReply(f"The scripted model has {len(found)} candidates for this ask, and no number {number}.")
            found = found[number - 1]
        if isinstance(found, CodeAgentError):
            raise found
        return replace(found if isinstance(found, Action) else found(trajectory), model=self.name)

    def stream(self, trajectory: Trajectory) -> Iterator[Action]:
        """Yield the next action as it grows; the last one is whole.

        Raises
        ------
        BadReply
            If all actions have been played.
        """
        return growing(self.query(trajectory))

    def variant(self, number: int) -> ScriptedModel | ScriptedCandidate:
        """Return what plays candidate `number` of the ask that this model was given last."""
        return self if number == 1 else ScriptedCandidate(self, number)

    def cancel(self) -> None:
        """Do nothing: it never waits."""


class ScriptedCandidate:
    """One of several candidates of a scripted model."""

    def __init__(self, model: ScriptedModel, number: int) -> None:
        self.model, self.number = model, number

    def stream(self, trajectory: Trajectory) -> Iterator[Action]:
        """Yield the candidate's action as it grows; raises as the model's."""
        return growing(self.model.reply(trajectory, self.number))

    def cancel(self) -> None:
        """Do nothing: it never waits."""


def growing(action: Action) -> Iterator[Action]:
    """Yield an action as a model would write it; the last one is whole."""
    for end in range(_PIECE, len(action.text), _PIECE):
        yield Action(action.text[:end])
    for end in range(_PIECE, len(action.code or ""), _PIECE):
        yield Action(action.text, (action.code or "")[:end])
    yield action
