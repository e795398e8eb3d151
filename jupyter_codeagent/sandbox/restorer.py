"""Files put back inside, as the supervisor says; runs in the first process only, loaded by the worker."""

from __future__ import annotations

import contextlib
import json
import os
import stat
from typing import Any


def carry_out(order: int, bundle: int) -> str:
    """Carry out the steps that the file `order` lists; what is to be written is in the file `bundle`.

    Returns what could not be done, in words, or nothing. Both files are closed.
    """
    try:
        with os.fdopen(order, "rb") as file:
            asked = json.load(file)
        for step in asked["steps"]:
            path = f"{asked['root']}/{step['path']}" if step["path"] else asked["root"]
            try:
                _carry_out(step, path, asked, bundle)
            except PermissionError:  # the mode of the folder it is in, which a later step puts back
                os.chmod(os.path.dirname(path), 0o700)
                _carry_out(step, path, asked, bundle)
    except OSError as error:
        return str(error)
    finally:
        os.close(bundle)
    return ""


def _carry_out(step: dict[str, Any], path: str, asked: dict[str, Any], bundle: int) -> None:
    kind = step["do"]
    if kind == "remove":
        remove(path)
    elif kind == "folder":
        os.mkdir(path, 0o700)
    elif kind == "link":
        os.symlink(step["target"], path)
        os.utime(path, ns=(step["mtime"], step["mtime"]), follow_symlinks=False)
    elif kind == "pipe":
        os.mkfifo(path)
    elif kind == "name":
        os.link(f"{asked['root']}/{step['of']}", path, follow_symlinks=False)
    elif kind == "write":
        write(path, asked["contents"][step["content"]], bundle)
    else:
        os.chmod(path, step["mode"])
        os.utime(path, ns=(step["mtime"], step["mtime"]))


def write(path: str, content: dict[str, Any], bundle: int) -> None:
    """Give a file its content, in place, so that who has it open sees it too."""
    flags = os.O_WRONLY | os.O_CREAT | os.O_NOFOLLOW | os.O_NONBLOCK
    try:
        fd = os.open(path, flags, 0o600)
    except PermissionError:
        os.chmod(path, 0o600)
        fd = os.open(path, flags, 0o600)
    try:
        os.ftruncate(fd, 0)
        os.ftruncate(fd, content["size"])
        for at, length, where in content["parts"]:
            done = 0
            while done < length:
                done += os.pwrite(fd, os.pread(bundle, min(2**20, length - done), where + done), at + done)
    finally:
        os.close(fd)


def remove(path: str) -> None:
    """Remove a file, or a folder with all that is in it."""
    with contextlib.suppress(FileNotFoundError):
        if stat.S_ISDIR(os.lstat(path).st_mode):
            os.chmod(path, 0o700)
            for name in os.listdir(path):
                remove(f"{path}/{name}")
            os.rmdir(path)
        else:
            os.unlink(path)
