"""System call filters: what bubblewrap loads, and what protects one state of the sandbox from another.

Classic BPF programs as the kernel takes them (seccomp(2)), assembled here so that no library is needed.
Numbers are those of the kernel's own tables for x86_64 and for the generic table (aarch64).
"""

from __future__ import annotations

import errno
import platform
import struct
from dataclasses import dataclass

from jupyter_codeagent.errors import SandboxUnavailable

LOAD, AND, EQUAL, AT_LEAST, ANY_BIT, RETURN = 0x20, 0x54, 0x15, 0x35, 0x45, 0x06
ALLOW, KILL = 0x7FFF0000, 0x80000000
NUMBER, ARCH, ARGUMENT = 0, 4, 16  # offsets in struct seccomp_data; arguments are 8 bytes each
NAMESPACE_FLAGS = 0x7E020000  # CLONE_NEW*


@dataclass(frozen=True)
class Machine:
    """One architecture: its audit number, the calls refused outright, and those looked into."""

    audit: int
    refused: tuple[int, ...]
    calls: dict[str, int]


# Refused outright: tracing and reading others, kernel keyrings, io_uring, bpf, mounts, namespaces, handles, modules,
# clocks, host names, NUMA placement, devices, memory files, System V and POSIX queues, and all else that a program
# which computes has no use for but an attack has.
MACHINES = {
    "x86_64": Machine(
        0xC000003E,
        (
            29, 30, 31, 64, 65, 66, 67, 68, 69, 70, 71, 101, 103, 133, 134, 135, 153, 154, 155, 156, 159, 161, 163,
            164, 165, 166, 167, 168, 169, 170, 171, 172, 173, 174, 175, 176, 177, 178, 179, 180, 212, 220, 227, 236,
            237, 238, 240, 241, 244, 246, 248, 249, 250, 256, 259, 272, 278, 279, 298, 300, 301, 303, 304, 305, 308,
            310, 311, 312, 313, 319, 320, 321, 323, 424, 425, 426, 427, 428, 429, 430, 431, 432, 433, 434, 438, 440,
            442, 443, 447, 448, 450, 460,
        ),
        {
            "clone": 56, "clone3": 435, "ioctl": 16, "socket": 41, "socketpair": 53, "seccomp": 317, "prctl": 157,
            "kill": 62, "tkill": 200, "tgkill": 234, "rt_sigqueueinfo": 129, "rt_tgsigqueueinfo": 297,
            "prlimit64": 302, "fcntl": 72, "setpriority": 141, "ioprio_set": 251, "sched_setparam": 142,
            "sched_setscheduler": 144, "sched_setattr": 314, "sched_setaffinity": 203,
        },
    ),
    "aarch64": Machine(
        0xC00000B7,
        (
            18, 33, 39, 40, 41, 42, 51, 58, 60, 75, 89, 92, 97, 104, 105, 106, 112, 116, 117, 142, 161, 162, 170, 171,
            180, 181, 184, 186, 187, 188, 189, 190, 191, 192, 193, 194, 195, 196, 197, 217, 218, 219, 224, 225, 235,
            237, 238, 239, 241, 262, 263, 264, 265, 266, 268, 270, 271, 272, 273, 279, 280, 282, 294, 424, 425, 426,
            427, 428, 429, 430, 431, 432, 433, 434, 438, 440, 442, 443, 447, 448, 450, 460,
        ),
        {
            "clone": 220, "clone3": 435, "ioctl": 29, "socket": 198, "socketpair": 199, "seccomp": 277, "prctl": 167,
            "kill": 129, "tkill": 130, "tgkill": 131, "rt_sigqueueinfo": 138, "rt_tgsigqueueinfo": 240,
            "prlimit64": 261, "fcntl": 25, "setpriority": 140, "ioprio_set": 30, "sched_setparam": 118,
            "sched_setscheduler": 119, "sched_setattr": 274, "sched_setaffinity": 122,
        },
    ),
}  # fmt: skip

NEWER = 463  # the first call younger than Linux 6.12; what it does is not known here, and libraries do without it

SIGNALS = ("kill", "tkill", "tgkill", "rt_sigqueueinfo", "rt_tgsigqueueinfo")
OWN = ("prlimit64", "sched_setparam", "sched_setscheduler", "sched_setattr")  # the first argument says whose


def machine() -> Machine:
    """Return this machine's table; raises SandboxUnavailable where there is none."""
    name = platform.machine()
    if name not in MACHINES:
        raise SandboxUnavailable(
            f"No sandbox: no system call filter exists for the processor {name!r}; use x86_64 or aarch64."
        )
    return MACHINES[name]


class Program:
    """A filter under construction: instructions, with jumps to labels further down."""

    def __init__(self) -> None:
        self.lines: list[tuple[int, int, str | None, str | None]] = []
        self.labels: dict[str, int] = {}

    def load(self, offset: int) -> None:
        """Load a field of the call's description."""
        self.lines.append((LOAD, offset, None, None))

    def mask(self, bits: int) -> None:
        """Keep some bits of what was loaded."""
        self.lines.append((AND, bits, None, None))

    def jump(self, test: int, value: int, yes: str | None, no: str | None = None) -> None:
        """Test what was loaded and go on at a label; None is the next instruction."""
        self.lines.append((test, value & 0xFFFFFFFF, yes, no))

    def give(self, result: int) -> None:
        """End with a verdict."""
        self.lines.append((RETURN, result, None, None))

    def label(self, name: str) -> None:
        """Name the next instruction."""
        self.labels[name] = len(self.lines)

    def assemble(self) -> bytes:
        """Assemble; a jump reaches at most 255 instructions down."""
        return b"".join(self._pack(at, *line) for at, line in enumerate(self.lines))

    def _pack(self, at: int, code: int, value: int, yes: str | None, no: str | None) -> bytes:
        jumps = [0 if name is None else self.labels[name] - at - 1 for name in (yes, no)]
        return struct.pack("HBBI", code, *jumps, value)


def fail(number: int) -> int:
    """Return the result that makes a call fail with errno `number`."""
    return 0x00050000 | number


def base_filter(table: Machine | None = None) -> bytes:
    """Return the filter that every process in the sandbox has from its first instruction on."""
    table = table or machine()
    call, p = table.calls, Program()
    p.load(ARCH)
    p.jump(EQUAL, table.audit, None, "foreign")  # another ABI (32 bit) has other numbers
    p.load(NUMBER)
    if table.audit == 0xC000003E:
        p.jump(AT_LEAST, 0x40000000, "unknown")  # x32
    p.jump(AT_LEAST, NEWER, "unknown")
    # the flags of clone3 lie in memory that a filter cannot read; libc falls back to clone
    p.jump(EQUAL, call["clone3"], "unknown")
    for name in ("clone", "ioctl", "socket", "socketpair", "seccomp", "prctl", "kill", "fcntl"):
        p.jump(EQUAL, call[name], name)
    for name in ("setpriority", "ioprio_set"):
        p.jump(EQUAL, call[name], "priority")
    for name in OWN:
        p.jump(EQUAL, call[name], "own")
    for number in table.refused:
        p.jump(EQUAL, number, "refuse")
    p.give(ALLOW)
    argument(p, "clone", 0, [(ANY_BIT, NAMESPACE_FLAGS)])
    argument(
        p, "ioctl", 1, [(EQUAL, 0x5412), (EQUAL, 0x541C), (EQUAL, 0x8901), (EQUAL, 0x8902)]
    )  # TIOCSTI, TIOCLINUX, FIOSETOWN, SIOCSPGRP
    argument(p, "seccomp", 1, [(ANY_BIT, 8)])  # SECCOMP_FILTER_FLAG_NEW_LISTENER
    argument(p, "prctl", 0, [(EQUAL, 0x59616D61)])  # PR_SET_PTRACER
    argument(p, "kill", 0, [(EQUAL, -1)])  # everybody
    argument(p, "fcntl", 1, [(EQUAL, 8), (EQUAL, 10), (EQUAL, 15)])  # F_SETOWN, F_SETSIG, F_SETOWN_EX send signals too
    sockets(p)
    p.label("priority")  # that of others, once lowered, could never be raised again
    p.load(ARGUMENT)
    for everybody in (2, 3):  # PRIO_USER, IOPRIO_WHO_USER
        p.jump(EQUAL, everybody, "refuse")
    p.load(ARGUMENT + 8)
    p.jump(EQUAL, 0, "allow", "refuse")
    p.label("own")  # not those of another process: a limit of no time on the processor kills it
    p.load(ARGUMENT)
    p.jump(EQUAL, 0, None, "refuse")
    p.label("allow")
    p.give(ALLOW)
    for name, result in (
        ("refuse", fail(errno.EPERM)),
        ("family", fail(errno.EAFNOSUPPORT)),
        ("unknown", fail(errno.ENOSYS)),
        ("foreign", KILL),
    ):
        p.label(name)
        p.give(result)
    return p.assemble()


def argument(p: Program, name: str, index: int, tests: list[tuple[int, int]]) -> None:
    """Refuse the call labelled `name` where its argument meets one of `tests`."""
    p.label(name)
    p.load(ARGUMENT + 8 * index)
    for test, value in tests:
        p.jump(test, value, "refuse")
    p.give(ALLOW)


def sockets(p: Program) -> None:
    """Allow local sockets, TCP and UDP (the network namespace is empty) and route queries; nothing raw."""
    p.label("socket")
    p.load(ARGUMENT)
    for family, label in ((1, "allow"), (2, "inet"), (10, "inet"), (16, "netlink")):
        p.jump(EQUAL, family, label)
    p.give(fail(errno.EAFNOSUPPORT))
    p.label("inet")
    p.load(ARGUMENT + 8)
    p.mask(0xF)
    p.jump(EQUAL, 1, "allow")
    p.jump(EQUAL, 2, "allow", "refuse")
    p.label("netlink")
    p.load(ARGUMENT + 16)
    p.jump(EQUAL, 0, "allow", "family")
    p.label("socketpair")
    p.load(ARGUMENT)
    p.jump(EQUAL, 1, "allow", "family")


def shield(pid: int) -> bytes:
    """Return a filter that takes away every way to signal `pid` (as seen inside) or its group, or to move it."""
    p = signalling()
    p.jump(EQUAL, pid, "refuse")
    p.jump(EQUAL, -pid, "refuse")
    return refusing(p)


def shield_all() -> bytes:
    """Return a filter that takes away every way to signal or move a process but by 0, which is one's own group."""
    p = signalling()
    p.jump(EQUAL, 0, None, "refuse")
    return refusing(p)


def signalling() -> Program:
    """Return the beginning of a filter that lets all but signals pass, and has loaded whom those are for."""
    call, p = machine().calls, Program()
    p.load(NUMBER)
    for name in (*SIGNALS, "sched_setaffinity"):
        p.jump(EQUAL, call[name], "look")
    p.give(ALLOW)
    p.label("look")
    p.load(ARGUMENT)
    return p


def refusing(p: Program) -> bytes:
    """Assemble a filter that goes on to allow, or else has jumped to refuse."""
    p.give(ALLOW)
    p.label("refuse")
    p.give(fail(errno.EPERM))
    return p.assemble()
