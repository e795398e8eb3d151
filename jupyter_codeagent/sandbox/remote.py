"""A sandbox on another machine, reached through a Jupyter server there, used like one of this machine."""

from __future__ import annotations

import contextlib
import os
import threading
import weakref
from collections.abc import Generator, Iterator, Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import Any

from jupyter_codeagent.errors import NotPlainData, SandboxDied, SandboxUnavailable
from jupyter_codeagent.sandbox import gate
from jupyter_codeagent.sandbox.aside import check_code, last
from jupyter_codeagent.sandbox.gateway import KERNEL, TOKEN, Gateway
from jupyter_codeagent.sandbox.link import Link
from jupyter_codeagent.sandbox.messages import (
    LIMITS,
    BadMessage,
    Message,
    dumps,
    observations,
    raise_failure,
    whole,
)
from jupyter_codeagent.sandbox.plain import pack, unpack
from jupyter_codeagent.sandbox.policy import SandboxPolicy
from jupyter_codeagent.sandbox.workspace import plan
from jupyter_codeagent.trajectory import Observation

SLACK = 60.0  # seconds that a request may take beside executing
SMALL = 2**16  # bytes of an answer that is no observation and no value
VALUE = 2**30  # bytes of a value


@dataclass(eq=False)
class RemoteCheckpoint:
    """A remote sandbox's state at one moment, usable any number of times until `drop`."""

    sandbox: RemoteSandbox = field(repr=False)
    number: int
    dropped: bool = False

    def drop(self) -> None:
        """Forget it; the other machine is told with the next request. Calling it again does nothing."""
        if not self.dropped:
            self.dropped = True
            self.sandbox.unneeded.append(self.number)


@dataclass(frozen=True)
class RemoteCandidate:
    """One of several attempts from the same checkpoint; rolling back to `checkpoint` makes it the state."""

    observation: Observation
    checkpoint: RemoteCheckpoint


class RemoteSandbox:
    """A sandbox that a kernel ``codeagent-sandbox`` of a Jupyter server elsewhere holds.

    It has the methods of `Sandbox` and behaves like one, with these differences. Values go in and out as plain data
    only. The working folder is sent as a copy of its small files, without secrets; large files and files outside of
    it are not there. Who can use that server can also look into the sandbox. It starts at the first use.

    Parameters
    ----------
    url : str
        Base address of the Jupyter server; https, or http for this machine (a tunnel).
    policy : SandboxPolicy, optional
        What the code may do, enforced on the other machine.
    token : str, optional
        Of that server; None: JUPYTER_CODEAGENT_GATEWAY_TOKEN in the environment. It never enters the sandbox.
    kernel : str
        Name of the kernelspec.
    folder : str, optional
        A folder on the other machine that is the working folder instead of the policy's.

    Raises
    ------
    SandboxUnavailable
        By every method, if the server cannot be reached, does not take the token or has no such kernel.
    SandboxDied
        By every method, if the kernel ended, or the connection was lost and did not come back.
    """

    def __init__(
        self,
        url: str,
        policy: SandboxPolicy | None = None,
        *,
        token: str | None = None,
        kernel: str = KERNEL,
        folder: str | None = None,
    ) -> None:
        self.policy = policy or SandboxPolicy()
        self.gateway = Gateway.at(url, os.environ.get(TOKEN, "") if token is None else token)
        self.kernel, self.folder = kernel, folder
        self.tier, self.files_note, self.closed = "", "", False
        self.facts: dict[str, str] = {}
        self.unneeded: list[int] = []
        self._link: Link | None = None
        self._busy = threading.Lock()
        self._owner: int | None = None
        self._executed = 0  # pieces of code, each of which may run again when a state is made again
        self._cleanup: weakref.finalize[..., RemoteSandbox] | None = None

    def __repr__(self) -> str:
        return f"RemoteSandbox({self.gateway.url!r})"

    # -- life -------------------------------------------------------------------------------------

    def __enter__(self) -> RemoteSandbox:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def start(self) -> None:
        """Start now rather than at the first use; does nothing if it runs."""
        with self._turn():
            pass

    def close(self) -> None:
        """End the sandbox and its kernel. A closed sandbox cannot be used again."""
        self.closed = True
        if self._link is not None:
            self._link.close()
        if self._cleanup is not None:
            self._cleanup()

    @contextlib.contextmanager
    def _turn(self) -> Iterator[Link]:
        """Have the connection for oneself; other threads wait."""
        if self._owner == threading.get_ident():
            raise RuntimeError("the sandbox is executing; take all of its observations first")
        with self._busy:
            if self.closed:
                raise SandboxDied("The sandbox is closed; make a new one.")
            self._owner = threading.get_ident()
            try:
                yield self._link or self._open()
            finally:
                self._owner = None

    def _open(self) -> Link:
        """Start a kernel over there, and the sandbox in it."""
        self.policy.check()
        limits = {name: value for name, value in asdict(self.policy).items() if name in LIMITS}
        payload, self.files_note = self._files()
        kernel = self.gateway.start(self.kernel)
        self._cleanup = weakref.finalize(self, self.gateway.end, kernel)
        link = Link(self.gateway, kernel)
        try:
            link.open()
            done = self._do(link, "open", {"policy": limits, "folder": self.folder}, payload, steps=2)
            self._facts(done.head)
        except BaseException as error:
            link.close()
            self._cleanup()
            if isinstance(error, SandboxDied | BadMessage):
                raise SandboxUnavailable(f"No sandbox: {error}") from error
            raise
        if left := done.head.get("left") if type(done.head.get("left")) is int else 0:
            self.files_note += f" {left} links that lead out of it were left out there."
        self._link = link
        return link

    def _files(self) -> tuple[bytes, str]:
        """Return a tar file of what is sent of the working folder, and a sentence about it."""
        place, policy = self.gateway.place, self.policy
        if policy.files:
            raise SandboxUnavailable(
                f"No sandbox: the file {str(policy.files[0])!r} lies outside of the working folder, and a remote "
                "sandbox gets the working folder only; copy it there."
            )
        if self.folder is not None:
            return b"", f"The working folder is a copy of {self.folder!r} on {place}."
        found = plan(policy.workspace, ())
        if found.empty:
            return b"", found.note
        if found.path in found.binds:
            raise SandboxUnavailable(
                f"No sandbox: the workspace {found.path!r} has too many files to be sent to {place}; start in "
                "a smaller one, or name one of that machine with RemoteSandbox(..., folder=...)."
            )
        note = f"A copy of the working folder, without names that secrets have, was sent to {place}."
        return found.archive, note + (f" {len(found.binds)} large files were not sent." if found.binds else "")

    def _facts(self, head: dict[str, Any]) -> None:
        """Take what the other side reports; it can only be shown as that."""
        facts, tier = head.get("facts"), head.get("tier")
        if tier != self.policy.min_tier:
            raise SandboxUnavailable(
                f"No sandbox: the server at {self.gateway.place} reports isolation {gate.bare(repr(tier), 20)}, and "
                f"{self.policy.min_tier!r} is asked for; look at 'jupyter codeagent doctor' on that machine."
            )
        self.tier = tier
        pairs = list(facts.items())[:50] if isinstance(facts, dict) else []
        self.facts = {gate.bare(name, 50): gate.bare(fact, 200) for name, fact in pairs}

    # -- requests ---------------------------------------------------------------------------------

    def _ask(
        self, link: Link, op: str, head: dict[str, Any], payload: bytes, *, steps: int, most: int
    ) -> Iterator[Message]:
        """Send a request, yielding what is said; `steps` are the pieces of code that may be executed for it."""
        dropped, self.unneeded = self.unneeded, []
        head |= {"timeout": self.policy.timeout, "output": self.policy.output, "dropped": dropped}
        seconds = SLACK + (steps + self._executed) * (self.policy.timeout + 2)
        for reply in link.request(op, head, payload, seconds=seconds, most=most):
            if reply.op == "failed":
                raise_failure(reply.head)
            yield reply

    def _do(
        self, link: Link, op: str, head: dict[str, Any], payload: bytes = b"", *, steps: int = 1, most: int = SMALL
    ) -> Message:
        reply = Message(op, 0)
        for reply in self._ask(link, op, head, payload, steps=steps, most=most):  # noqa: B007 - the last one counts
            pass
        return reply

    def _most(self, count: int) -> int:
        """Return the bytes that `count` observations can have: JSON makes some characters longer."""
        return count * (8 * self.policy.output + 8 * 2**20)

    def _seen(self, reply: Message) -> list[Observation]:
        found = observations(reply.payload)
        if reply.op == "done" and reply.head.get("away") is True:
            note = "The connection to the sandbox was lost meanwhile and came back; the code went on."
            found = [replace(seen, notes=(*seen.notes, note)) for seen in found]
        return found

    @contextlib.contextmanager
    def _strict(self) -> Iterator[None]:
        """Turn what no host of ours would say into the end of the sandbox."""
        try:
            yield
        except BadMessage as error:
            why = f"The remote sandbox at {self.gateway.place} does not keep to the protocol"
            said = f"{why} ({str(error).rstrip('.')}); make a new one."
            if self._link is not None:
                self._link.ended = said
            raise SandboxDied(said) from error

    # -- executing --------------------------------------------------------------------------------

    def execute(self, code: str, values: dict[str, Any] | None = None) -> Observation:
        """Execute `code` as one cell and return what came of it; as `Sandbox.execute`.

        Raises
        ------
        NotPlainData
            If a value is no plain data; nothing was executed.
        """
        last = Observation()
        for last in self.stream(code, values):  # noqa: B007 - the last one is whole
            pass
        return last

    def stream(self, code: str, values: dict[str, Any] | None = None) -> Iterator[Observation]:
        """Execute like `execute`, yielding the observation as it grows; the last one yielded is whole.

        A KeyboardInterrupt stops the code, is raised again after the last observation, and leaves a usable sandbox.
        """
        check_code(code)
        index, payload = pack(values or {})
        with self._turn() as link, self._strict():
            over = False
            self._executed += 1
            answers = self._ask(link, "execute", {"code": code, "values": index}, payload, steps=2, most=self._most(1))
            try:
                for reply in answers:
                    over = reply.op == "done"
                    number = reply.number
                    found = self._seen(reply)
                    if len(found) != 1:
                        raise BadMessage("There is no single observation.")
                    yield found[0]
            except GeneratorExit:  # whoever asked did not wait for the end
                if not over:
                    link.abandon(number)
                raise

    def rehearse(
        self, checkpoint: RemoteCheckpoint, cells: Sequence[str], values: dict[str, Any] | None = None
    ) -> list[Observation]:
        """Execute `cells` from `checkpoint` in a copy of their own, up to the first error, and throw it away.

        The live state is unchanged. Returns one observation for each cell that was executed.
        """
        index, payload = pack(values or {})
        codes = dumps(list(cells))
        head = {"point": self._known(checkpoint), "values": index, "size": len(codes)}
        with self._turn() as link, self._strict():
            count = len(cells)
            found = self._seen(
                self._do(link, "rehearse", head, codes + payload, steps=count + 1, most=self._most(count + 1))
            )
            if not (found or not cells) or len(found) > count:
                raise BadMessage("There are more observations than cells, or none.")
            return found

    def candidates(self, checkpoint: RemoteCheckpoint, codes: Sequence[str]) -> list[RemoteCandidate]:
        """Execute each of `codes` from `checkpoint` in a copy of its own; the live state is unchanged."""
        found: list[RemoteCandidate] = last(self.try_out(checkpoint, codes))
        return found

    def try_out(
        self, checkpoint: RemoteCheckpoint, codes: Sequence[str]
    ) -> Generator[list[tuple[Observation, bool]], None, list[RemoteCandidate]]:
        """Do the same as `candidates`, yielding what was seen of each code so far, and whether it has ended.

        A KeyboardInterrupt stops all of them and is raised again once they have ended; nothing of them is left then.
        """
        head, count = {"point": self._known(checkpoint)}, len(codes)
        found: list[Observation] = []
        points: list[int] = []
        with self._turn() as link, self._strict():
            answers = self._ask(
                link, "candidates", head, dumps(list(codes)), steps=2 * count + 1, most=self._most(count + 1)
            )
            try:
                for reply in answers:
                    found = self._seen(reply)
                    ended = reply.op == "done"
                    points = _points(reply, count) if ended else []
                    over = [True] * count if ended else _flags(reply, count)
                    if len(found) != count:
                        raise BadMessage("There are not as many observations as codes.")
                    yield list(zip(found, over, strict=True))
            except BaseException as error:
                self.unneeded += points
                if isinstance(error, GeneratorExit) and not ended:
                    link.abandon(reply.number)
                raise
        kept = [RemoteCheckpoint(self, point) for point in points]
        return [RemoteCandidate(seen, point) for seen, point in zip(found, kept, strict=True)]

    def interrupt(self) -> None:
        """Stop what is executing; may be called from any thread, and does nothing if nothing is."""
        if self._link is not None:
            self._link.interrupt()

    # -- values -----------------------------------------------------------------------------------

    def put(self, name: str, value: Any) -> None:
        """Copy a value in as plain data.

        Raises
        ------
        NotPlainData
            If it is none.
        """
        if not name.isidentifier():
            raise NotPlainData(name, "it is not a name")
        index, payload = pack({name: value})
        with self._turn() as link, self._strict():
            self._do(link, "put", {"values": index}, payload)

    def fetch(self, name: str) -> Any:
        """Return a copy of a value, as plain data that was checked here once more.

        Raises
        ------
        NotPlainData
            If there is none of that name, or it is no plain data.
        """
        if not name.isidentifier():
            raise NotPlainData(name, "it is not a name")
        with self._turn() as link, self._strict():
            done = self._do(link, "fetch", {"name": name}, most=VALUE)
            found = unpack(done.payload, done.head.get("values"))
        if list(found) != [name]:
            raise NotPlainData(name, "the remote sandbox sent something else")
        return found[name]

    # -- states -----------------------------------------------------------------------------------

    def checkpoint(self) -> RemoteCheckpoint:
        """Keep the state as it is now."""
        with self._turn() as link, self._strict():
            return RemoteCheckpoint(self, whole(self._do(link, "checkpoint", {}).head.get("point")))

    def rollback(self, checkpoint: RemoteCheckpoint) -> None:
        """Make the state as it was at `checkpoint`, which can be used again.

        Raises
        ------
        ValueError
            If the checkpoint was dropped, or belongs to another sandbox.
        """
        head = {"point": self._known(checkpoint)}
        with self._turn() as link, self._strict():
            self._do(link, "rollback", head)

    def reset(self) -> None:
        """Make the state pristine; checkpoints stay usable."""
        with self._turn() as link, self._strict():
            self._do(link, "reset", {})

    def _known(self, checkpoint: RemoteCheckpoint) -> int:
        if checkpoint.dropped or checkpoint.sandbox is not self:
            raise ValueError("the checkpoint was dropped, or belongs to another sandbox")
        return checkpoint.number


def _points(reply: Message, count: int) -> list[int]:
    """Return the numbers of as many checkpoints as there were codes."""
    points = reply.head.get("points")
    if not isinstance(points, list) or len(points) != count:
        raise BadMessage("There are not as many candidates as codes.")
    return [whole(point) for point in points]


def _flags(reply: Message, count: int) -> list[bool]:
    """Return for each candidate whether it has ended."""
    over = reply.head.get("over")
    if not isinstance(over, list) or len(over) != count or not all(isinstance(flag, bool) for flag in over):
        raise BadMessage("There are not as many candidates as codes.")
    return over
