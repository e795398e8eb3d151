"""One forked process inside the sandbox, as the supervisor sees it: its channel, its pipes, its kernel-vouched pid."""

from __future__ import annotations

import array
import base64
import contextlib
import json
import math
import os
import platform
import select
import signal
import socket
import struct
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from jupyter_codeagent.sandbox import gate, seccomp
from jupyter_codeagent.sandbox.values import Parcel

FRAME = 16 * 2**20  # bytes of one message; the worker keeps well below it
HANDSHAKE = 3.0  # seconds for a fork, or for any other request that executes nothing
UNPACK = 120.0  # seconds for values to be rebuilt
SOCKET, INODE = 2**18, 2**10  # bytes of the kernel's memory that one may take
SHIELDS = 1200  # filters on one process; the kernel takes 32,768 instructions in all
CERTAIN, LIKELY = 1.5, 6.0  # seconds after which a copy that waits for threads it does not have is ended
FUTEX = {"x86_64": "202", "aarch64": "98"}.get(platform.machine(), "")  # the call in which threads wait for a lock
ROOM = 1.0  # seconds to wait for a free place under the process limit


class Gone(Exception):
    """The process at the other end ended, or does not keep to the protocol."""


class Full(Gone):
    """There is no room for one more process; those that exist are well."""


class Wire:
    """The supervisor's end of a channel."""

    def __init__(self, end: socket.socket) -> None:
        self.socket = end
        end.setsockopt(socket.SOL_SOCKET, socket.SO_PASSCRED, 1)  # before the other side can speak
        end.settimeout(HANDSHAKE)
        self.buffer = bytearray()
        self.sender = 0  # the host's pid of who sent last, as the kernel vouches

    def send(self, message: dict[str, Any], fds: Sequence[int] = ()) -> None:
        """Send a request with descriptors; raises Gone if nobody takes it."""
        payload = json.dumps(message).encode()
        data = b"j" + struct.pack(">I", len(payload)) + payload
        try:
            sent = socket.send_fds(self.socket, [data], list(fds)) if fds else 0
            self.socket.sendall(data[sent:])
        except OSError as error:
            raise Gone(f"the sandbox does not take requests: {error}") from error

    def read(self) -> bool:
        """Take what has arrived; False at the end of the stream."""
        try:
            data, ancillary, _flags, _address = self.socket.recvmsg(2**18, socket.CMSG_SPACE(12), socket.MSG_DONTWAIT)
        except BlockingIOError:
            return True
        except OSError:
            return False
        for _level, kind, content in ancillary:
            if kind == socket.SCM_RIGHTS:  # nobody inside has a reason to pass descriptors
                fds = array.array("i", content[: len(content) - len(content) % 4])
                for fd in fds:
                    os.close(fd)
            else:
                self.sender = struct.unpack("iII", content[:12])[0]
        self.buffer += data
        return bool(data)

    def frames(self) -> Iterator[tuple[int, bytes]]:
        """Yield what is complete: kind and payload, neighbouring texts of one kind joined.

        Raises
        ------
        Violation
            If a message is longer than any the worker sends.
        """
        at, kind, buffer = 0, 0, self.buffer
        texts: list[bytes] = []
        while len(buffer) - at >= 5:
            length = int.from_bytes(buffer[at + 1 : at + 5], "big")
            if length > FRAME:
                raise gate.Violation(f"a message of {length:,} bytes")
            if len(buffer) - at - 5 < length:
                break
            if texts and (buffer[at] != kind or kind == ord("j")):
                yield kind, b"".join(texts)
                texts = []
            kind = buffer[at]
            texts.append(bytes(buffer[at + 5 : at + 5 + length]))
            at += 5 + length
        del buffer[:at]
        if texts:
            yield kind, b"".join(texts)


@dataclass(frozen=True)
class Shielding:
    """Filters that a process was asked to load: for whom, how many, and how many it had before (None: unknown)."""

    single: frozenset[int]
    filters: int
    before: str | None


class State:
    """A process in the sandbox.

    Parameters
    ----------
    end : socket
        The supervisor's end of its channel.
    out, err : int
        Read ends of the pipes that are its stdout and stderr; -1 for the zygote, which has none.
    parent : State or None
        Who can say how it ended.
    """

    def __init__(self, end: socket.socket, out: int, err: int, parent: State | None) -> None:
        self.wire = Wire(end)
        self.pipes = {fd: name for fd, name in ((out, "stdout"), (err, "stderr")) if fd >= 0}
        self.parent = parent
        self.pid = self.inner = 0
        self.pidfd = -1
        self.namespace = ""
        self.shields: frozenset[int] = parent.shields if parent else frozenset()
        self.secluded: bool = parent.secluded if parent else False  # it can signal nobody
        self.unsafe = ""  # why a fork of this process cannot be relied on, as the rest of "because ..."
        self.suspect = False  # its parent had threads that it lacks: it may wait for one of them for ever
        for fd in self.pipes:
            os.set_blocking(fd, False)

    def identify(self) -> None:
        """Learn who is at the other end from the kernel, once it has spoken."""
        self.pid = self.wire.sender
        try:
            self.pidfd = os.pidfd_open(self.pid)
            seen = status(self.pid)
            self.namespace = os.readlink(f"/proc/{self.pid}/ns/pid")
        except OSError as error:
            raise Gone("a new process ended at once") from error
        inside = seen["NSpid"].split()
        if len(inside) < 2 or (self.parent is not None and self.namespace != self.parent.namespace):
            raise Gone("a new process is not in the sandbox")
        self.inner = int(inside[-1])
        # code can have asked to be called in every fork (os.register_at_fork): such a copy does not hold still
        if int(seen["Threads"]) > 1:
            self.unsafe = self.unsafe or "something starts threads in each copy"

    def wait(self, *ops: str, seconds: float = HANDSHAKE) -> dict[str, Any]:
        """Return the next reply named one of `ops`; everything else that arrives is dropped."""
        deadline = time.monotonic() + seconds
        while True:
            for kind, payload in self.wire.frames():
                if kind == ord("j") and (message := gate.parse(payload)).get("op") in ops:
                    return message
            left = deadline - time.monotonic()
            if left <= 0 or not readable(left, self.wire.socket.fileno(), self.pidfd):
                raise Gone(f"no {ops[0]!r} within {seconds:.0f} s")
            if not self.wire.read() or not (self.wire.buffer or self.pidfd < 0 or self.alive):
                raise Gone(f"the process ended before {ops[0]!r}")

    def ask(self, op: str, reply: str, fds: Sequence[int] = (), **content: Any) -> dict[str, Any]:
        """Send a request and return its reply."""
        self.wire.send({"op": op, **content}, fds)
        return self.wait(reply)

    def give(self, parcel: Parcel) -> dict[str, str]:
        """Put values into the namespace; return those that could not be rebuilt, with the reason."""
        reasons: dict[str, str] = {}
        for index, fd in parcel.loads():
            self.wire.send({"op": "values", "values": index}, [fd])
            failed = self.wait("received", seconds=UNPACK).get("failed")
            pairs = failed.items() if isinstance(failed, dict) else ()
            reasons |= {gate.bare(name, 100): gate.bare(reason, 300) for name, reason in pairs}
        return reasons

    def question(self, kind: str, **content: Any) -> dict[str, Any]:
        """Return the answer to a question about code, as it comes; raises Gone if it takes too long."""
        answer = self.ask("question", "answer", ask=kind, **content).get("answer")
        return answer if isinstance(answer, dict) else {}

    def fork(self, begun: State | None = None) -> State:
        """Return a new process that is this one's copy, and waits; raises Gone if there can be none.

        `begun` is what `begin_fork` returned, where that was called before.
        """
        deadline = time.monotonic() + ROOM
        while True:
            child = begun or self.begin_fork()
            try:
                answer = self.wait("forked", "refused")
                # with threads of its own the code has gone on since an earlier fork was begun
                if answer["op"] == "forked" and (begun is None or answer.get("running") == 0):
                    child.greet(answer)
                    return child
            except (Gone, gate.Violation) as error:
                child.kill()
                child.close()
                raise Gone(str(error)) from error
            child.close()
            if begun is not None:
                begun = None
                continue
            if time.monotonic() > deadline:
                raise Full("no further process is possible")
            time.sleep(0.005)  # processes just killed still count

    def begin_fork(self) -> State:
        """Ask for a copy without waiting for it."""
        ours, theirs = socket.socketpair()
        out, err = os.pipe(), os.pipe()
        child = State(ours, out[0], err[0], self)
        given = [theirs.detach(), out[1], err[1]]
        try:
            self.wire.send({"op": "fork"}, given)
        except Gone:
            child.close()
            raise
        finally:
            for fd in given:
                os.close(fd)
        return child

    def greet(self, answer: dict[str, Any]) -> None:
        """Wait for the first word of a new process; `answer` is what its parent said."""
        hazards = answer.get("hazards")
        parent = self.parent
        self.unsafe = gate.bare("; ".join(map(str, hazards)), 300) if isinstance(hazards, list) else "it is not known"
        self.unsafe = self.unsafe or (parent.unsafe if parent is not None else "")
        self.suspect = answer.get("threads") != 1 or (parent is not None and parent.suspect)
        self.wait("hello")
        self.identify()

    def shield(self, others: Sequence[State]) -> None:
        """Take away this process's ways to signal `others`, for good; raises Gone if the kernel says it is not so.

        A process and those forked from it can have `SHIELDS` such filters. The one that follows, the last, takes away
        all ways to signal processes by their numbers.
        """
        self.end_shield(self.begin_shield(others))

    def begin_shield(self, others: Sequence[State]) -> Shielding:
        """Ask for what `shield` does without waiting for it."""
        missing = [other.inner for other in others if other.inner not in self.shields and other is not self]
        single = missing[: max(0, SHIELDS - len(self.shields))]
        filters = [seccomp.shield(pid) for pid in single]
        if len(missing) > len(single) and not self.secluded:
            filters.append(seccomp.shield_all())
        begun = Shielding(frozenset(single), len(filters), status(self.pid).get("Seccomp_filters"))
        self.wire.send({"op": "protect", "filters": [base64.b64encode(program).decode() for program in filters]})
        return begun

    def end_shield(self, begun: Shielding) -> None:
        """Wait for what was asked for, and look whether it is so."""
        self.wait("protected")
        after = status(self.pid).get("Seccomp_filters")
        if begun.before is not None and after is not None and int(after) < int(begun.before) + begun.filters:
            raise Gone("a filter was not loaded")
        self.shields |= begun.single
        self.secluded = self.secluded or begun.filters > len(begun.single)

    @property
    def alive(self) -> bool:
        """The process exists and has not ended."""
        return self.pidfd >= 0 and not readable(0, self.pidfd)

    def interrupt(self) -> None:
        """Send SIGINT to the process and those of its children that are in its process group."""
        if self.alive:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self.pid, signal.SIGINT)  # it leads a session, so its number is also its group's

    def kill(self, *, wait: bool = True) -> None:
        """End the process and, unless told otherwise, wait until it has ended."""
        if self.pidfd >= 0:
            with contextlib.suppress(ProcessLookupError):
                signal.pidfd_send_signal(self.pidfd, signal.SIGKILL)
            if wait:
                readable(HANDSHAKE, self.pidfd)

    def status_at_end(self) -> int | None:
        """Return how the ended process ended, as subprocess gives it; None if its parent does not know."""
        if self.parent is None or not self.parent.alive:
            return None
        try:
            code = self.parent.ask("reap", "reaped", pids=[self.inner]).get("code")
        except (Gone, gate.Violation):
            return None
        return code if isinstance(code, int) else None

    def bury(self) -> None:
        """Close what is held of an ended process, and have its parent clear it away, without waiting."""
        if self.parent is not None and self.parent.alive:
            with contextlib.suppress(Gone):
                self.parent.wire.send({"op": "clear", "pids": [self.inner]})
        self.close()

    def close(self) -> None:
        """Close what the supervisor holds of it."""
        self.wire.socket.close()
        for fd in [*self.pipes, self.pidfd]:
            if fd >= 0:
                os.close(fd)
        self.pipes, self.pidfd = {}, -1


def readable(seconds: float, *fds: int) -> bool:
    """Wait until one of `fds` can be read or has ended; negative ones are left out."""
    poll = select.poll()
    for fd in fds:
        if fd >= 0:
            poll.register(fd, select.POLLIN)
    return bool(poll.poll(max(0, seconds) * 1000))


def status(pid: int) -> dict[str, str]:
    """Return the fields of ``/proc/PID/status``, without the blanks around them."""
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return {name: value.strip() for name, _, value in (line.partition(":") for line in lines)}


def halted(pid: int) -> bool:
    """Say whether a process was stopped by a signal, and not yet continued."""
    try:
        return status(pid)["State"].startswith(("T", "t"))
    except (OSError, KeyError):
        return False


def descendants(pid: int) -> list[int]:
    """Return all living processes below `pid`, as the host numbers them."""
    found: list[int] = []
    pending = [pid]
    while pending:
        for child in _children(pending.pop()):
            pending.append(child)
            if _view(child):
                found.append(child)
    return found


def stuck(pid: int, alone: bool) -> tuple[float, str]:
    """Say whether every thread of `pid` waits, without a limit of time, for another one: nobody is left to end that.

    `alone` is to be false where further processes may hold a lock that is shared with them. Returns after how many
    seconds to believe it, infinitely many where a thread does anything else, and a mark that has to stay the same
    meanwhile. Only root may see what a thread waits for; for others it may still be a time, so they wait longer.
    """
    seconds, marks = CERTAIN, []
    try:
        for task in os.listdir(f"/proc/{pid}/task"):
            place = Path(f"/proc/{pid}/task/{task}")
            try:
                waits = _waits((place / "syscall").read_text().split(), alone)
            except PermissionError:
                waits, seconds = alone and "futex" in (place / "wchan").read_text(), LIKELY
                marks += [line for line in (place / "status").read_text().splitlines() if "ctxt_switches" in line]
            if not waits:
                return math.inf, ""
    except OSError:  # it ended meanwhile, or may not be looked at
        return math.inf, ""
    return seconds, " ".join(marks)


def _waits(call: Sequence[str], alone: bool) -> bool:
    """Say whether a thread is in futex(2); that takes an address, an operation, a value, and a time limit."""
    if len(call) < 5 or call[0] != FUTEX or int(call[4], 16) != 0:
        return False
    operation = int(call[2], 16)
    return operation & 0x7F in (0, 9) and (alone or bool(operation & 0x80))  # waiting; and in its own process


def _children(pid: int) -> list[int]:
    found: list[int] = []
    with contextlib.suppress(OSError):  # it ended meanwhile
        for task in os.listdir(f"/proc/{pid}/task"):
            with open(f"/proc/{pid}/task/{task}/children") as file:
                found += map(int, file.read().split())
    return found


def _view(pid: int) -> str:
    """Return the folder in /proc that tells of a living process; empty if it is none.

    A process whose first thread has ended looks dead there, but its other threads go on.
    """
    try:
        with open(f"/proc/{pid}/stat", "rb") as file:
            if file.read().rpartition(b")")[2].split()[0] not in (b"Z", b"X"):
                return f"/proc/{pid}"
        others = [task for task in os.listdir(f"/proc/{pid}/task") if task != str(pid)]
    except OSError:
        return ""
    return f"/proc/{pid}/task/{others[-1]}" if others else ""


def memory(pids: Sequence[int], limit: int) -> int:
    """Return the bytes of memory that `pids` use.

    Resident memory first; the exact share of shared pages, which takes longer, only where that is above `limit`.
    """
    views = [view for view in map(_view, pids) if view]
    resident = sum(_number(f"{view}/statm", 1) for view in views) * os.sysconf("SC_PAGE_SIZE")
    return resident if resident <= limit else sum(_proportional(view) for view in views)


def kernel_memory(pid: int, folders: Sequence[str]) -> int:
    """Return the bytes that the kernel may hold for the sandbox of `pid`: buffers of sockets, and empty files.

    They count for no process and no file system; both are estimates from above.
    """
    used = 0
    with contextlib.suppress(OSError, IndexError, ValueError):  # it ended meanwhile
        with open(f"/proc/{pid}/net/sockstat") as file:
            used += int(file.readline().split()[2]) * SOCKET
        for folder in folders:
            found = os.statvfs(f"/proc/{pid}/root{folder}")
            used += (found.f_files - found.f_ffree) * INODE
    return used


def _number(path: str, field: int) -> int:
    try:
        with open(path) as file:
            return int(file.read().split()[field])
    except OSError:
        return 0


def _proportional(view: str) -> int:
    try:
        with open(f"{view}/smaps_rollup") as file:
            return sum(int(line.split()[1]) * 1024 for line in file if line.startswith("Pss:"))
    except OSError:
        return _number(f"{view}/statm", 1) * os.sysconf("SC_PAGE_SIZE")
