"""Run as root, as a script, in front of bubblewrap: become an ordinary user who can still see what is mounted.

Root's processes are counted against no limit and own too much. This script makes a user namespace with two users,
root and one that exists nowhere else, opens the way to the given paths where a folder above them is closed to
others (often ``/root``), becomes the second user and executes the given command. Mounts made here are seen by
nobody else and are gone with the process. Standard library only.

Usage: python unlock.py PATHS COMMAND [ARGUMENT ...], PATHS being separated by NUL in the file descriptor PATHS.
"""

from __future__ import annotations

import ctypes
import os
import signal
import stat
import sys

NEWNS, NEWUSER = 0x00020000, 0x10000000
BIND, REC, SLAVE = 4096, 16384, 1 << 19
INNER = 1000
OUTER = 1_900_000_000  # a user id that no account has

libc = ctypes.CDLL(None, use_errno=True)


def must(result: int, what: str) -> None:
    """Raise OSError for a system call that failed."""
    if result != 0:
        number = ctypes.get_errno()
        raise OSError(number, f"{what}: {os.strerror(number)}")


def mount(source: str, target: str, kind: str, flags: int, options: str) -> None:
    """Call mount(2)."""
    where = os.fsencode(target)
    must(libc.mount(os.fsencode(source), where, kind.encode(), flags, options.encode()), f"mount {target}")


def new_namespaces() -> None:
    """Enter new user and mount namespaces; a helper outside writes the maps, which takes rights of the old one."""
    ready, go = os.pipe(), os.pipe()
    parent = os.getpid()
    helper = os.fork()
    if helper == 0:
        os.close(ready[1])
        if os.read(ready[0], 1):
            for name in ("uid_map", "gid_map"):
                with open(f"/proc/{parent}/{name}", "w") as file:
                    file.write(f"0 0 1\n{INNER} {OUTER} 1\n")
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


def main() -> None:
    """Do as the module's first lines say."""
    with os.fdopen(int(sys.argv[1]), "rb") as file:
        paths = [os.fsdecode(part) for part in file.read().split(b"\0") if part]
    os.umask(0o022)
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)  # where the caller ignores it, no child could be waited for
    new_namespaces()
    open_ways(paths)
    os.setgroups([])
    os.setresgid(INNER, INNER, INNER)
    os.setresuid(INNER, INNER, INNER)
    os.execv(sys.argv[2], sys.argv[2:])  # noqa: S606


if __name__ == "__main__":
    try:
        main()
    except OSError as error:
        sys.exit(f"unlock: {error}")
