"""What can go wrong on our side.

::

    CodeAgentError
    ├── SandboxUnavailable      no sandbox can be started here; nothing was executed
    ├── SandboxDied             the sandbox is gone and could not be brought back
    ├── TooManyChanges          what the sandbox has written is too much to be shown or applied
    ├── WrongUse                an option, a file or a check that the user gave cannot be used
    ├── NotPlainData            a value may not cross the boundary (.name, .reason)
    ├── ModelError              the model gave no usable reply
    │   ├── NoModel             no key, no endpoint and no local model
    │   ├── WrongKey            the endpoint did not take the key
    │   ├── UnknownModel        the endpoint does not know the model's name
    │   ├── RateLimited         too many requests, also after waiting
    │   ├── Overloaded          the endpoint is too busy or failing, also after waiting
    │   ├── Offline             the endpoint cannot be reached
    │   ├── ContextOverflow     the conversation is longer than the model can read
    │   ├── Refused             the model declined
    │   ├── CutReply            the reply ended early, twice
    │   ├── BadReply            the reply made no sense, twice
    │   └── WeightsError        the local model's file is missing, broken or could not be fetched
    ├── NotebookError           a notebook cannot be read, written or verified
    ├── TrajectoryError         the file of a trajectory cannot be read or written
    └── TaskFailed              the task was not solved (.trajectory)

What generated code does wrong is never one of these: it is in ``Observation.error``.
Each message is a sentence for the user: what happened, with the value, and what to do.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from jupyter_codeagent.trajectory import Trajectory


class CodeAgentError(Exception):
    """Base of everything this package raises on purpose.

    Attributes
    ----------
    trajectory : Trajectory or None
        What was tried by then, where a task was under way.
    """

    trajectory: Trajectory | None = None


class SandboxUnavailable(CodeAgentError):
    """No sandbox can be started here, or a limit is not in force; nothing was executed."""


class SandboxDied(CodeAgentError):
    """The sandbox is gone and could not be brought back."""


class TooManyChanges(CodeAgentError):
    """What the sandbox has written to files is too much, or too strange, to be shown or applied."""


class NotPlainData(CodeAgentError):
    """A value may not cross the sandbox's boundary.

    Parameters
    ----------
    name : str
        The variable.
    reason : str
        Why it stays where it is, as the end of a sentence.
    """

    def __init__(self, name: str, reason: str) -> None:
        super().__init__(f"{name!r} was not passed: {reason}.")
        self.name = name
        self.reason = reason


class WrongUse(CodeAgentError, ValueError):
    """An option, a file or a check that the user gave cannot be used; also a ValueError."""


class ModelError(CodeAgentError):
    """The model gave no usable reply."""


class NoModel(ModelError):
    """No key, no endpoint and no local model."""


class WrongKey(ModelError):
    """The endpoint did not take the key."""


class UnknownModel(ModelError):
    """The endpoint does not know the model's name."""


class RateLimited(ModelError):
    """Too many requests, also after waiting."""


class Overloaded(ModelError):
    """The endpoint is too busy or failing, also after waiting."""


class Offline(ModelError):
    """The endpoint cannot be reached."""


class ContextOverflow(ModelError):
    """The conversation is longer than the model can read."""


class Refused(ModelError):
    """The model declined."""


class CutReply(ModelError):
    """The reply ended early, twice."""


class BadReply(ModelError):
    """The reply made no sense, twice."""


class WeightsError(ModelError):
    """The local model's file is missing, broken or could not be fetched."""


class NotebookError(CodeAgentError):
    """A notebook cannot be read, written or verified."""


class TrajectoryError(CodeAgentError, ValueError):
    """The file of a trajectory cannot be read or written; also a ValueError."""


class TaskFailed(CodeAgentError):
    """The task was not solved.

    Parameters
    ----------
    message : str
        Why, as one sentence.
    trajectory : Trajectory
        Everything that was tried.
    """

    trajectory: Trajectory

    def __init__(self, message: str, trajectory: Trajectory) -> None:
        super().__init__(message)
        self.trajectory = trajectory
