"""A model that says what it was given, for tests and demonstrations."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace

from jupyter_codeagent.errors import BadReply
from jupyter_codeagent.trajectory import Action, Trajectory

_PIECE = 40  # characters


class ScriptedModel:
    """Plays actions in order, each growing as a model's would.

    Parameters
    ----------
    actions : iterable of Action or callable
        What it wants next. A callable takes the trajectory and returns an action.
    name : str
        What it is called in records.

    Examples
    --------
    >>> model = ScriptedModel([Action("sum", "1 + 1"), Action("2")])
    """

    def __init__(self, actions: Iterable[Action | Callable[[Trajectory], Action]], name: str = "scripted") -> None:
        self.name = name
        self._actions = list(actions)
        self._next = 0

    def __repr__(self) -> str:
        return f"<model {self.name}, {self._next} of {len(self._actions)} actions played>"

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
        if self._next >= len(self._actions):
            raise BadReply(f"The scripted model has played all of its {len(self._actions)} actions; give it more.")
        action = self._actions[self._next]
        self._next += 1
        return replace(action if isinstance(action, Action) else action(trajectory), model=self.name)

    def stream(self, trajectory: Trajectory) -> Iterator[Action]:
        """Yield the next action as it grows; the last one is whole.

        Raises
        ------
        BadReply
            If all actions have been played.
        """
        action = self.query(trajectory)
        for end in range(_PIECE, len(action.text), _PIECE):
            yield Action(action.text[:end])
        for end in range(_PIECE, len(action.code or ""), _PIECE):
            yield Action(action.text, (action.code or "")[:end])
        yield action

    def cancel(self) -> None:
        """Do nothing: it never waits."""
