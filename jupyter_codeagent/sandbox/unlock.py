"""Run as root, as a script, in front of bubblewrap: become an ordinary user who can still see what is mounted.

Root's processes are counted against no limit and own too much. This script makes a user namespace with two users,
root and one that exists nowhere else, opens the way to the given paths where a folder above them is closed to
others (often ``/root``), becomes the second user and executes the given command. Mounts made here are seen by
nobody else and are gone with the process. Standard library only.

Usage: python unlock.py PATHS SOCKET COMMAND [ARGUMENT ...], PATHS being separated by NUL in the file descriptor PATHS.
Where SOCKET is no ``-``, the working folder gets an overlay as `overlay` describes it, in which what belongs to the
folder's owner belongs to the second user (an idmapped mount: Linux 5.12, mount_setattr(2)).
"""

from __future__ import annotations

import _socket
import os
import signal
import stat
import struct
import sys

TYPE_CHECKING = False
if TYPE_CHECKING:
    from jupyter_codeagent.sandbox.overlay import (
        NEWNS,
        NEWUSER,
        PRIVATE,
        Wanted,
        lay,
        libc,
        mount,
        must,
        receive,
        reply,
    )
else:
    sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))  # not there with -I
    from overlay import NEWNS, NEWUSER, PRIVATE, Wanted, lay, libc, mount, must, receive, reply

BIND, REC, SLAVE = 4096, 16384, 1 << 19
INNER = 1000
OUTER = 1_900_000_000  # a user id that no account has
OPEN_TREE, MOVE_MOUNT, MOUNT_SETATTR = 428, 429, 442  # the same on all processors
CLONE, CLOEXEC, RECURSIVE, EMPTY_PATH = 1, os.O_CLOEXEC, 0x8000, 0x1000
FROM_EMPTY_PATH = 4
IDMAP = 0x00100000


def new_namespaces() -> None:
    """Enter new user and mount namespaces; a helper outside writes the maps, which takes rights of the old one."""
    ready, go = os.pipe(), os.pipe()
    parent = os.getpid()
    helper = os.fork()
    if helper == 0:
        os.close(ready[1])
        if os.read(ready[0], 1):
            write_maps(parent, f"0 0 1\n{INNER} {OUTER} 1\n", f"0 0 1\n{INNER} {OUTER} 1\n")
            os.write(go[1], b"x")
        os._exit(0)
    os.close(go[1])
    must(libc.unshare(NEWNS | NEWUSER), "unshare")
    os.write(ready[1], b"x")
    written = os.read(go[0], 1)
    os.waitpid(helper, 0)
    if not written:
        raise OSError("the user map could not be written")
    for fd in (*ready, go[0]):
        os.close(fd)


def write_maps(pid: int, users: str, groups: str) -> None:
    """Say which users and groups a process's user namespace has."""
    for name, text in (("uid_map", users), ("gid_map", groups)):
        with open(f"/proc/{pid}/{name}", "w") as file:
            file.write(text)


def closed_above(path: str) -> str | None:
    """Return the topmost folder above `path` that others may not enter."""
    parts = path.split("/")[1:-1]
    above = ["/" + "/".join(parts[:n]) for n in range(1, len(parts) + 1)]
    return next((folder for folder in above if not os.stat(folder).st_mode & stat.S_IXOTH), None)


def open_ways(paths: list[str]) -> None:
    """Cover each closed folder with an empty one that holds only the given paths."""
    mount("none", "/", "", REC | SLAVE, "")
    blocked: dict[str, list[tuple[str, int]]] = {}
    for path in paths:
        folder = closed_above(path)
        if folder is not None:
            blocked.setdefault(folder, []).append((path, os.open(path, os.O_PATH)))
    for folder, below in blocked.items():
        mount("tmpfs", folder, "tmpfs", 0, "mode=755,size=1m")
        for path, fd in sorted(below):
            if stat.S_ISDIR(os.fstat(fd).st_mode):
                os.makedirs(path, exist_ok=True)
            elif not os.path.exists(path):
                os.makedirs(os.path.dirname(path), exist_ok=True)
                os.close(os.open(path, os.O_CREAT | os.O_WRONLY, 0o644))
            mount(f"/proc/self/fd/{fd}", path, "", BIND | REC, "")
            os.close(fd)


def give_away(wanted: Wanted) -> None:
    """Show the working folder, here only, as if the second user owned what its owner owns."""
    must(libc.unshare(NEWNS), "unshare")
    mount("none", "/", "", REC | PRIVATE, "")
    info = os.stat(wanted.folder)
    inner = [(tree(path, RECURSIVE), path) for path in wanted.inner]
    mapped = tree(wanted.folder, 0)
    names = user_namespace(f"{info.st_uid} {OUTER} 1\n", f"{info.st_gid} {OUTER} 1\n")
    attributes = struct.pack("QQQQ", IDMAP, 0, 0, names)
    must(libc.syscall(MOUNT_SETATTR, mapped, b"", EMPTY_PATH, attributes, len(attributes)), "mount_setattr")
    for fd, path in ((mapped, wanted.folder), *inner):
        must(libc.syscall(MOVE_MOUNT, fd, b"", -100, os.fsencode(path), FROM_EMPTY_PATH), f"move_mount {path}")
    for fd in (mapped, names, *(fd for fd, _ in inner)):
        os.close(fd)


def tree(path: str, flags: int) -> int:
    """Return a descriptor of a copy of a mount."""
    return must(libc.syscall(OPEN_TREE, -100, os.fsencode(path), CLONE | CLOEXEC | flags), f"open_tree {path}")


def user_namespace(users: str, groups: str) -> int:
    """Return a descriptor of a user namespace with these maps and without processes."""
    ready, done = os.pipe(), os.pipe()
    holder = os.fork()
    if holder == 0:
        os.close(done[1])
        if libc.unshare(NEWUSER) == 0:
            os.write(ready[1], b"x")
            os.read(done[0], 1)
        os._exit(0)
    os.close(ready[1])
    try:
        if not os.read(ready[0], 1):
            raise OSError("no user namespace can be made")
        write_maps(holder, users, groups)
        return os.open(f"/proc/{holder}/ns/user", os.O_RDONLY)
    finally:
        for fd in (ready[0], *done):
            os.close(fd)
        os.waitpid(holder, 0)


def overlaid(end: _socket.socket, paths: list[str]) -> None:
    """Become the second user, with the overlay on the working folder; says through `end` where that is impossible."""
    try:
        wanted = receive(end)
        give_away(wanted)
        new_namespaces()
        open_ways([*paths, wanted.folder])
        upper = lay(wanted, (INNER, INNER))
    except OSError as error:
        end.sendall(str(error).encode())
        sys.exit(1)
    reply(end, upper)
    end.close()
    os.close(upper)


def main() -> None:
    """Do as the module's first lines say."""
    with os.fdopen(int(sys.argv[1]), "rb") as file:
        paths = [os.fsdecode(part) for part in file.read().split(b"\0") if part]
    os.umask(0o022)
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)  # where the caller ignores it, no child could be waited for
    if sys.argv[2] == "-":
        new_namespaces()
        open_ways(paths)
    else:
        overlaid(_socket.socket(fileno=int(sys.argv[2])), paths)
    os.setgroups([])
    os.setresgid(INNER, INNER, INNER)
    os.setresuid(INNER, INNER, INNER)
    os.execv(sys.argv[3], sys.argv[3:])  # noqa: S606


if __name__ == "__main__":
    try:
        main()
    except OSError as error:
        sys.exit(f"unlock: {error}")
