"""The launcher's side of laying an overlay: what it asks the script in front of bubblewrap for, and gets."""

from __future__ import annotations

import os
import socket
from collections.abc import Sequence

PATIENCE = 60.0  # seconds; the folder may lie on a slow file server


class NoOverlay(Exception):
    """No overlay can be mounted over this folder; the text says why."""


class Laying:
    """A socket to the script; its other end is `theirs`, until `close`."""

    def __init__(self) -> None:
        self._ours, self._theirs = socket.socketpair()
        self._ours.settimeout(PATIENCE)

    @property
    def theirs(self) -> int:
        """The descriptor that the script gets."""
        return self._theirs.fileno()

    def ask(self, folder: str, size: int, inner: Sequence[str], hidden: Sequence[str]) -> int:
        """Have the overlay mounted and return a descriptor of its upper layer.

        Parameters
        ----------
        folder : str
            Over which, at its own path.
        size : int
            Bytes that the upper layer may hold.
        inner : sequence of str
            Mount points below `folder` to be shown in the overlay.
        hidden : sequence of str
            Names that are not to be seen, relative to `folder`.

        Raises
        ------
        NoOverlay
            If the system does not allow it.
        """
        self._theirs.close()  # so that the end of the script is seen
        parts = (folder, str(size), str(len(inner)), *inner, *hidden)
        try:
            self._ours.sendall(b"\0".join(os.fsencode(part) for part in parts))
            self._ours.shutdown(socket.SHUT_WR)
            said, fds, _flags, _address = socket.recv_fds(self._ours, 4096, 1)
        except OSError as error:
            raise NoOverlay(f"the script that mounts it does not answer ({error})") from error
        if said != b"+" or len(fds) != 1:
            for fd in fds:
                os.close(fd)
            raise NoOverlay(said.decode("utf-8", "replace") or "the script that mounts it ended")
        os.set_inheritable(fds[0], False)
        return fds[0]

    def close(self) -> None:
        """Close both ends."""
        self._ours.close()
        self._theirs.close()
