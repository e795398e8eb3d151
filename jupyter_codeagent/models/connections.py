"""The sockets of a model's client, kept so that another thread can cut them."""

from __future__ import annotations

import socket
import threading
import weakref
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import httpx2


class Connections:
    """Knows the sockets that an HTTP client opens.

    A thread that waits for bytes does not notice when another closes its response; it does notice when the socket
    is shut down.
    """

    def __init__(self) -> None:
        self._open: weakref.WeakSet[socket.socket] = weakref.WeakSet()
        self._lock = threading.Lock()

    def client(self, timeout: httpx2.Timeout, proxies: bool) -> httpx2.Client:
        """Return an HTTP client whose sockets are known here; `proxies` are those of the environment."""
        from anthropic import DefaultHttpxClient

        none = dict.fromkeys(("http://", "https://", "all://"))
        direct: dict[str, Any] = {} if proxies else {"trust_env": False, "mounts": none}
        return DefaultHttpxClient(timeout=timeout, event_hooks={"request": [self._watch]}, **direct)

    def cut(self) -> None:
        """Shut every connection down; who reads from one then gets an error at once."""
        with self._lock:
            sockets = list(self._open)
        for sock in sockets:
            try:
                sock.shutdown(socket.SHUT_RDWR)
            except OSError:
                pass  # it has ended already

    def _watch(self, request: httpx2.Request) -> None:
        request.extensions["trace"] = self._trace

    def _trace(self, event: str, info: dict[str, Any]) -> None:
        if event in ("connection.connect_tcp.complete", "connection.start_tls.complete"):
            sock = info["return_value"].get_extra_info("socket")
            with self._lock:
                self._open.add(sock)
