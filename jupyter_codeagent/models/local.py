"""The embedded model: a small language model that runs on this machine, without a key."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

from jupyter_codeagent.errors import ModelError, Offline
from jupyter_codeagent.models import process, weights
from jupyter_codeagent.models.anthropic import MessagesModel
from jupyter_codeagent.models.small import Helps, Small, defined
from jupyter_codeagent.trajectory import Action, Trajectory

_SILENCE = 600.0  # seconds; reading a long prompt on a busy machine takes minutes


class LocalModel:
    """Writes code on this machine; nothing leaves it.

    The first query starts a server process, which all local models of this process share and which ends with
    it. One instance may be used by several threads, one at a time.

    Parameters
    ----------
    size : {"1.5b", "0.5b"}
        Which of the two models. The smaller one is for machines with little memory, and for tests.
    path : str or Path, optional
        A file of one of the two, where it is not in the cache (`weights.find`).
    folder : str or Path
        Where the names of a task's files are looked up.
    helps : Helps
        What is done for the model.

    Raises
    ------
    WeightsError
        If the file is missing or broken.
    """

    parallel = False  # its server answers one after the other, and keeps the prompt that candidates share

    def __init__(
        self,
        size: str = "1.5b",
        path: str | Path | None = None,
        folder: str | Path = ".",
        helps: Helps | None = None,
    ) -> None:
        self.weights, self.path = weights.find(weights.known(size), path)
        self.profile = Small(folder=Path(folder), helps=helps or Helps())
        self._server: process.ServerProcess | None = None
        self._client: MessagesModel | None = None

    def __repr__(self) -> str:
        return f"<model {self.name} on this machine>"

    @property
    def name(self) -> str:
        """The model's name."""
        return self.weights.name

    def describe(self) -> str:
        """Return a sentence about which model answers, where, and what to expect."""
        return (
            f"{self.name} runs on this machine and nothing is sent anywhere; a small model: good for short tasks, "
            "often wrong on longer ones. Set ANTHROPIC_API_KEY to use a large one."
        )

    def cancel(self) -> None:
        """End a request that is running; its `stream` raises KeyboardInterrupt. From any thread."""
        if self._client is not None:
            self._client.cancel()

    def variant(self, number: int) -> LocalModel:
        """Return the model that writes candidate `number` of one ask: on the same server, with more chance."""
        if number == 1:
            return self
        made = copy.copy(self)
        made.profile, made._client = self.profile.varied(number), None
        return made

    def close(self) -> None:
        """End the server if no other model uses it; the next query starts it again."""
        client, self._client = self._client, None
        server, self._server = self._server, None
        if client is not None:
            client.close()
        if server is not None:
            process.release(server)

    def query(self, trajectory: Trajectory) -> Action:
        """Return the next action; `stream` says what may be raised."""
        action = Action("")
        for action in self.stream(trajectory):  # noqa: B007 - the last one is whole
            pass
        return action

    def stream(self, trajectory: Trajectory) -> Iterator[Action]:
        """Yield the next action as it grows; the last one yielded is whole.

        Raises
        ------
        NoModel
            If the runtime or memory is missing.
        ModelError
            If the server does not start or ends, or no usable reply comes.
        """
        if (said := defined(trajectory)) is not None:
            yield Action(said, model=self.name)
            return
        server = self._server = self._server or process.lease(self.weights, self.path)
        if not server.running:
            yield Action(f"Loading the local model {self.name} ({self.weights.bytes / 1e9:.1f} GB), about 3 s …")
            server.start()
        client = self._connect(server)
        try:
            for action in client.stream(trajectory):
                server.touch()
                yield replace(action, model=self.name, usage=replace(action.usage, cost=0.0))
        except Offline as error:
            raise ModelError(server.died() or str(error)) from error

    def _connect(self, server: process.ServerProcess) -> MessagesModel:
        if self._client is None or self._client.endpoint.url != server.url:
            self._client = MessagesModel(self.name, server.url, server.key, self.profile, _SILENCE, max_retries=1)
        server.touch()
        return self._client
