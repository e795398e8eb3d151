"""What a host does for its client: each request carried out on a sandbox of this machine."""

from __future__ import annotations

import io
import itertools
import os
import tarfile
import tempfile
from collections.abc import Callable, Generator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, TypeVar

from jupyter_codeagent.sandbox.messages import LIMITS, BadMessage, Message, number, packed, text, texts, whole
from jupyter_codeagent.sandbox.plain import pack, unpack
from jupyter_codeagent.sandbox.policy import SandboxPolicy
from jupyter_codeagent.sandbox.sandbox import Checkpoint, Sandbox
from jupyter_codeagent.trajectory import Observation

MOST_POINTS = 1000  # checkpoints that one client keeps
MOST_FILES = 10_000  # in the tar file of a working folder

Y = TypeVar("Y")
R = TypeVar("R")
Growing = Callable[[Sequence[Observation], dict[str, Any]], None]


class Hosted:
    """A sandbox of this machine, for a client elsewhere.

    Every method named like an operation carries that out, and returns the head and the payload of the answer.

    Parameters
    ----------
    growing : callable
        Is told of observations while they grow, and a head that goes with them.
    """

    def __init__(self, growing: Growing) -> None:
        self.growing = growing
        self.sandbox: Sandbox | None = None
        self.folder: tempfile.TemporaryDirectory[str] | None = None  # where the client's files are
        self.points: dict[int, Checkpoint] = {}
        self.made = 0
        self.abandoned = -1  # the request whose client went away

    def close(self) -> None:
        """End the sandbox, and remove the client's files."""
        if self.sandbox is not None:
            self.sandbox.close()
        if self.folder is not None:
            self.folder.cleanup()

    def interrupt(self) -> None:
        """Stop what is executing; from any thread."""
        if self.sandbox is not None:
            self.sandbox.interrupt()

    def carry_out(self, request: Message) -> tuple[dict[str, Any], bytes]:
        """Do what a request asks for.

        Raises
        ------
        BadMessage
            If it makes no sense.
        CodeAgentError, ValueError
            As the sandbox does.
        """
        if (self.sandbox is None) != (request.op == "open"):
            raise BadMessage("The sandbox is to be opened first, and once.")
        self._drop(request.head.get("dropped"))
        found: tuple[dict[str, Any], bytes] = getattr(self, f"_{request.op}")(request)
        return found

    # -- life -------------------------------------------------------------------------------------

    def _open(self, request: Message) -> tuple[dict[str, Any], bytes]:
        sandbox = Sandbox(self._policy(request))
        sandbox.start()
        self.sandbox = sandbox
        head = {"tier": sandbox.tier, "facts": sandbox.facts, "files_note": sandbox.files_note, "left": self.left_out}
        return head, b""

    def _policy(self, request: Message) -> SandboxPolicy:
        given = request.head.get("policy")
        if not isinstance(given, dict) or not set(given) <= set(LIMITS):
            raise BadMessage("The policy is not one that this side knows.")
        policy = SandboxPolicy(**{**given, "network": tuple(map(text, given.get("network", ()))), "workspace": None})
        folder, self.left_out = request.head.get("folder"), 0
        if folder is not None:  # one on this machine
            policy = replace(policy, workspace=text(folder))
        elif request.payload:
            self.folder = tempfile.TemporaryDirectory(prefix="codeagent-", ignore_cleanup_errors=True)
            self.left_out = spread(request.payload, Path(self.folder.name))
            policy = replace(policy, workspace=self.folder.name, overlay=False)  # others may not look into it
        policy.check()
        return policy

    # -- executing --------------------------------------------------------------------------------

    def _execute(self, request: Message) -> tuple[dict[str, Any], bytes]:
        sandbox = self._ready(request)
        given = unpack(request.payload, request.head.get("values"))
        before = sandbox.checkpoint()
        try:
            last = Observation()
            for last in sandbox.stream(text(request.head.get("code")), given or None):
                self.growing([last], {})
            if request.number == self.abandoned:
                sandbox.rollback(before)
        finally:
            before.drop()
        return {}, packed([last])

    def _ready(self, request: Message) -> Sandbox:
        """Return the sandbox, with the limits that come with a request."""
        assert self.sandbox is not None
        seconds = number(request.head.get("timeout"), 0.1, 10**7)
        output = whole(request.head.get("output"))
        self.sandbox.policy = replace(self.sandbox.policy, timeout=seconds, output=output)
        return self.sandbox

    def _rehearse(self, request: Message) -> tuple[dict[str, Any], bytes]:
        sandbox = self._ready(request)
        size = whole(request.head.get("size"), len(request.payload))
        given = unpack(request.payload[size:], request.head.get("values"))
        return {}, packed(sandbox.rehearse(self._point(request), texts(request.payload[:size]), given or None))

    def _candidates(self, request: Message) -> tuple[dict[str, Any], bytes]:
        trial = self._ready(request).try_out(self._point(request), texts(request.payload))
        found = yield_from(trial, lambda seen: self.growing([s for s, _ in seen], {"over": [over for _, over in seen]}))
        points = [self._keep(each.checkpoint) for each in found]
        if request.number == self.abandoned:
            self._drop(points)
        return {"points": points}, packed([each.observation for each in found])

    # -- values -----------------------------------------------------------------------------------

    def _put(self, request: Message) -> tuple[dict[str, Any], bytes]:
        assert self.sandbox is not None
        for name, value in unpack(request.payload, request.head.get("values")).items():
            self.sandbox.put(name, value)
        return {}, b""

    def _fetch(self, request: Message) -> tuple[dict[str, Any], bytes]:
        assert self.sandbox is not None
        name = text(request.head.get("name"))
        index, payload = pack({name: self.sandbox.fetch(name)})
        return {"values": index}, payload

    # -- states -----------------------------------------------------------------------------------

    def _checkpoint(self, request: Message) -> tuple[dict[str, Any], bytes]:
        assert self.sandbox is not None
        return {"point": self._keep(self.sandbox.checkpoint())}, b""

    def _keep(self, point: Checkpoint) -> int:
        if len(self.points) >= MOST_POINTS:
            point.drop()
            raise ValueError(f"{MOST_POINTS:,} checkpoints are kept already; drop some")
        self.made += 1
        self.points[self.made] = point
        return self.made

    def _point(self, request: Message) -> Checkpoint:
        point = self.points.get(whole(request.head.get("point")))
        if point is None:
            raise ValueError("the checkpoint was dropped, or belongs to another sandbox")
        return point

    def _rollback(self, request: Message) -> tuple[dict[str, Any], bytes]:
        assert self.sandbox is not None
        self.sandbox.rollback(self._point(request))
        return {}, b""

    def _drop(self, dropped: object) -> None:
        for point in dropped if isinstance(dropped, list) else ():
            if (known := self.points.pop(whole(point), None)) is not None:
                known.drop()

    def _reset(self, request: Message) -> tuple[dict[str, Any], bytes]:
        assert self.sandbox is not None
        self.sandbox.reset()
        return {}, b""


def yield_from(generator: Generator[Y, None, R], take: Callable[[Y], None]) -> R:
    """Give what a generator yields to `take`, and return what it returns."""
    while True:
        try:
            take(next(generator))
        except StopIteration as end:
            found: R = end.value
            return found


def spread(archive: bytes, folder: Path) -> int:
    """Write the files of a tar file into an empty folder; return how many were left out, as they point elsewhere.

    Links are made last, so that nothing is written through one.

    Raises
    ------
    BadMessage
        If it is no tar file, or one of too many or too large files.
    """
    root = folder.resolve()
    try:
        with tarfile.open(fileobj=io.BytesIO(archive), mode="r:") as tar:
            members = list(itertools.islice(tar, MOST_FILES + 1))
            known = all(m.isreg() or m.isdir() or m.issym() for m in members)
            if not known or len(members) > MOST_FILES or sum(m.size for m in members) > len(archive):
                raise BadMessage("The working folder's files are too many, too large, or no files.")
            return sum(not _placed(tar, m, root) for m in sorted(members, key=tarfile.TarInfo.issym))
    except (tarfile.TarError, ValueError, OSError, EOFError) as error:
        raise BadMessage(f"The working folder's files cannot be unpacked ({type(error).__name__}).") from error


def _placed(tar: tarfile.TarFile, member: tarfile.TarInfo, root: Path) -> bool:
    """Write one entry below `root`; False if it would lie or lead outside."""
    path = Path(os.path.normpath(root / member.name))
    target = Path(os.path.normpath(path.parent / member.linkname)) if member.issym() else path
    if path == root or not path.is_relative_to(root) or not target.is_relative_to(root):
        return path == root
    if member.isdir():
        path.mkdir(parents=True, exist_ok=True)
        return True
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.parent.resolve() != path.parent:
        return False
    if member.issym():
        path.symlink_to(member.linkname)
    elif (source := tar.extractfile(member)) is not None:
        path.write_bytes(source.read())
        path.chmod(member.mode & 0o755 | 0o600)
        os.utime(path, (member.mtime, member.mtime))
    return True
