"""Run as a script in front of bubblewrap: lay a copy-on-write layer over the working folder, for bubblewrap alone.

In a user namespace and a mount namespace of its own, the working folder gets an overlay mounted on it: below it
the folder as it is, above it an upper layer on a tmpfs of bounded size, and between them a layer that hides names. The
descriptor of the upper layer goes to the launcher; nothing inside the sandbox can reach that folder but through the
overlay. All of it is gone with the last process and the last descriptor. Standard library only.

Usage: python overlay.py SOCKET COMMAND [ARGUMENT ...]. The launcher sends the parts of `Wanted` through the socket,
separated by NUL, and ends its side; it gets ``+`` with the descriptor, or a sentence why there is no overlay.
"""

from __future__ import annotations

import _socket
import array
import ctypes
import os
import stat
import sys

NEWNS, NEWUSER = 0x00020000, 0x10000000
NOSUID, NODEV, BIND, REC, PRIVATE = 2, 4, 4096, 16384, 1 << 18

libc = ctypes.CDLL(None, use_errno=True)


def must(result: int, what: str) -> int:
    """Return the result of a system call, or raise OSError for one that failed."""
    if result < 0:
        number = ctypes.get_errno()
        raise OSError(number, f"{what}: {os.strerror(number)}")
    return result


def mount(source: str, target: str, kind: str, flags: int, options: str) -> None:
    """Call mount(2)."""
    where = os.fsencode(target)
    must(libc.mount(os.fsencode(source), where, kind.encode(), flags, options.encode()), f"mount {target}")


class Wanted:
    """What the launcher asks for.

    Parameters
    ----------
    folder : str
        The working folder; the overlay appears at its path.
    size : int
        Bytes that the upper layer may hold.
    inner : list of str
        Mount points below the folder, which an overlay does not take along.
    hidden : list of str
        Names that are not to be seen, relative to the folder.
    """

    # a plain class: this script is started often, and dataclasses take longer to load than all else here
    def __init__(self, folder: str, size: int, inner: list[str], hidden: list[str]) -> None:
        self.folder, self.size, self.inner, self.hidden = folder, size, inner, hidden


def receive(end: _socket.socket) -> Wanted:
    """Read what is asked for, up to the end of the stream."""
    data = b""
    while piece := end.recv(2**20):
        data += piece
    folder, size, count, *names = (os.fsdecode(part) for part in data.split(b"\0"))
    inner = int(count)
    return Wanted(folder, int(size), names[:inner], names[inner:])


def reply(end: _socket.socket, upper: int) -> None:
    """Hand the upper layer over."""
    fds = array.array("i", [upper]).tobytes()
    end.sendmsg([b"+"], [(_socket.SOL_SOCKET, _socket.SCM_RIGHTS, fds)])


def own_namespaces() -> None:
    """Enter namespaces in which this user, and nobody else, exists and may mount."""
    user, group = os.getuid(), os.getgid()
    must(libc.unshare(NEWUSER | NEWNS), "unshare")
    for name, text in (("setgroups", "deny"), ("uid_map", f"{user} {user} 1"), ("gid_map", f"{group} {group} 1")):
        with open(f"/proc/self/{name}", "w") as file:
            file.write(text)
    mount("none", "/", "", REC | PRIVATE, "")


def lay(wanted: Wanted, owner: tuple[int, int]) -> int:
    """Mount the overlay on the working folder and return a descriptor of its upper layer.

    Parameters
    ----------
    wanted : Wanted
        Where, how large, and what is hidden.
    owner : tuple of int
        User and group who may write, as numbered here.
    """
    folder = wanted.folder
    lower = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    kept = [(path, os.open(path, os.O_PATH)) for path in wanted.inner]
    mount("tmpfs", folder, "tmpfs", NOSUID | NODEV, f"size={wanted.size},mode=700")
    for name in ("upper", "work", "hidden"):
        os.mkdir(f"{folder}/{name}")
    base = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    hide(wanted.hidden, lower, f"{folder}/hidden", owner)
    like(os.fstat(lower), f"{folder}/upper", owner)
    upper = os.open(f"{folder}/upper", os.O_RDONLY | os.O_DIRECTORY)
    # paths may hold the separators of the options; descriptors do not
    layers = f"/proc/self/fd/{base}/hidden:/proc/self/fd/{lower}" if wanted.hidden else f"/proc/self/fd/{lower}"
    places = f"upperdir=/proc/self/fd/{base}/upper,workdir=/proc/self/fd/{base}/work"
    mount("overlay", folder, "overlay", NOSUID | NODEV, f"userxattr,lowerdir={layers},{places}")
    for path, fd in kept:
        mount(f"/proc/self/fd/{fd}", path, "", BIND | REC, "")
    for fd in (base, lower, *(fd for _, fd in kept)):
        os.close(fd)
    return upper


def hide(names: list[str], lower: int, layer: str, owner: tuple[int, int]) -> None:
    """Make a layer whose entries say that there is nothing under these names."""
    made: set[str] = set()
    for name in names:
        parts = name.split("/")[:-1]
        for count in range(1, len(parts) + 1):
            above = "/".join(parts[:count])
            if above not in made:  # it must look like the folder that it lies over
                made.add(above)
                os.mkdir(f"{layer}/{above}")
        os.mknod(f"{layer}/{name}", stat.S_IFCHR, 0)
    for above in sorted(made, reverse=True):  # making entries has changed their times
        like(os.stat(above, dir_fd=lower, follow_symlinks=False), f"{layer}/{above}", owner)
    like(os.fstat(lower), layer, owner)


def like(info: os.stat_result, path: str, owner: tuple[int, int]) -> None:
    """Give a new folder the owner, mode and time that another has."""
    os.chown(path, *owner)
    os.chmod(path, stat.S_IMODE(info.st_mode) & 0o777)
    os.utime(path, ns=(info.st_atime_ns, info.st_mtime_ns))


def main() -> None:
    """Do as the module's first lines say."""
    end = _socket.socket(fileno=int(sys.argv[1]))
    try:
        own_namespaces()
        upper = lay(receive(end), (os.getuid(), os.getgid()))
    except OSError as error:
        end.sendall(str(error).encode())
        sys.exit(1)
    reply(end, upper)
    end.close()
    os.close(upper)
    os.execv(sys.argv[2], sys.argv[2:])  # noqa: S606


if __name__ == "__main__":
    main()
