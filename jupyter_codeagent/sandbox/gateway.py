"""A Jupyter server elsewhere: kernels are started and ended over its REST interface.

The interface is that of Jupyter Server (``/api/kernels``, ``/api/kernelspecs``), authenticated by a token in the
``Authorization`` header, behind any base address (JupyterHub). Certificates are checked; no redirect is followed,
since it would carry the token to another place; no proxy is asked.
"""

from __future__ import annotations

import contextlib
import ipaddress
import json
import re
import socket
import ssl
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.client import HTTPConnection, HTTPException, HTTPSConnection
from typing import Any
from urllib.parse import parse_qs, urlsplit

from jupyter_codeagent.errors import SandboxUnavailable
from jupyter_codeagent.sandbox import gate

SECONDS = 30.0  # for one request; a kernel's start is one
LARGEST = 2**22  # bytes of an answer
KERNEL = "codeagent-sandbox"  # the kernelspec's name
URL = "JUPYTER_CODEAGENT_GATEWAY_URL"
TOKEN = "JUPYTER_CODEAGENT_GATEWAY_TOKEN"  # noqa: S105 - the variable's name
_ID = re.compile(r"[A-Za-z0-9-]{1,64}")


class Refused(Exception):
    """The server's answer is not what was asked for; says so as part of a sentence.

    Parameters
    ----------
    status : int
        As HTTP has it; 0 where the server could not be reached.
    said : str
        What is wrong.
    """

    def __init__(self, status: int, said: str) -> None:
        super().__init__(said)
        self.status = status


@dataclass(frozen=True)
class Gateway:
    """A Jupyter server.

    Parameters
    ----------
    url : str
        Its base address, without a slash at the end.
    token : str
        Authenticates; shown nowhere.
    """

    url: str
    token: str = field(default="", repr=False)

    @classmethod
    def at(cls, url: str, token: str = "") -> Gateway:
        """Return the server at an address as people have it: the token may stand in it, as Jupyter prints it.

        Raises
        ------
        SandboxUnavailable
            If it is no address, or a token would be sent in the clear.
        """
        parts = urlsplit(url.strip())
        try:
            place, port = parts.hostname or "", parts.port
        except ValueError:
            place, port = "", None
        if parts.scheme not in ("http", "https") or not place:
            shown = parts._replace(query="", fragment="").geturl().rpartition("@")[2]  # not a password
            raise SandboxUnavailable(
                f"No sandbox: the gateway {gate.bare(shown, 200)!r} is no http(s) address; "
                "give one like https://host/user/name."
            )
        if parts.username is not None or parts.password is not None:
            raise SandboxUnavailable(
                f"No sandbox: the address of the gateway at {place} holds a password; set {TOKEN} to a token instead."
            )
        if parts.scheme == "http" and not _here(place):
            raise SandboxUnavailable(
                f"No sandbox: http://{place} would send token and data in the clear; use https, "
                "or a tunnel: ssh -L 8888:localhost:8888 and http://localhost:8888."
            )
        token = token or parse_qs(parts.query).get("token", [""])[0]
        if not token.isprintable() or not token.isascii():
            raise SandboxUnavailable(f"No sandbox: the token for {place} is not one line of ASCII; set {TOKEN}.")
        path = re.sub(r"/(lab|tree|api)?/*$", "", parts.path.rstrip("/") + "/")
        where = f"[{place}]" if ":" in place else place
        return cls(f"{parts.scheme}://{where}{f':{port}' if port else ''}{path}", token)

    @property
    def place(self) -> str:
        """Host and port, to be shown."""
        return urlsplit(self.url).netloc

    @property
    def headers(self) -> dict[str, str]:
        """What authenticates a request."""
        return {"Authorization": f"token {self.token}"} if self.token else {}

    @property
    def security(self) -> ssl.SSLContext | None:
        """How certificates are checked: as the system and SSL_CERT_FILE say; None without TLS."""
        return ssl.create_default_context() if self.url.startswith("https:") else None

    def ask(self, method: str, path: str, content: dict[str, Any] | None = None) -> Any:
        """Send a request below ``/api/`` and return the JSON of the answer; None where it has none.

        Raises
        ------
        Refused
            If the server cannot be reached or answers with anything but success.
        """
        parts = urlsplit(self.url)
        host, security = parts.hostname or "", self.security
        connection = (
            HTTPSConnection(host, parts.port, timeout=SECONDS, context=security)
            if security
            else HTTPConnection(host, parts.port, timeout=SECONDS)
        )
        body = None if content is None else json.dumps(content)
        headers = {**self.headers, "Content-Type": "application/json", "User-Agent": "jupyter-codeagent"}
        try:
            connection.request(method, f"{parts.path}/api/{path}", body, headers)
            reply = connection.getresponse()
            status, data = reply.status, reply.read(LARGEST + 1)
        except ssl.SSLCertVerificationError as error:
            raise Refused(0, f"its certificate was not accepted ({error.verify_message}); set SSL_CERT_FILE") from error
        except TimeoutError as error:
            raise Refused(0, f"it did not answer within {SECONDS:.0f} s; check the address") from error
        except (OSError, HTTPException, ValueError) as error:
            said = error.strerror if isinstance(error, OSError) and error.strerror else type(error).__name__
            raise Refused(0, f"it cannot be reached ({gate.bare(said, 200)}); check the address") from error
        finally:
            connection.close()
        return self._read(status, data)

    def _read(self, status: int, data: bytes) -> Any:
        if status in (401, 403):
            raise Refused(status, f"it did not take the token; set {TOKEN} to a valid one")
        if not 200 <= status < 300:
            raise Refused(status, f"it answered {status}; check the address and the base path")
        if status == 204:
            return None
        try:
            if len(data) > LARGEST:
                raise ValueError
            return json.loads(data)
        except (ValueError, RecursionError) as error:
            raise Refused(status, "its answer is not that of a Jupyter server; check the address") from error

    # -- kernels ----------------------------------------------------------------------------------

    def check(self, kernel: str) -> None:
        """Raise SandboxUnavailable, with what to do about it, unless the server has the kernelspec `kernel`."""
        with self._explained():
            found = self.ask("GET", "kernelspecs")
            specs = found.get("kernelspecs") if isinstance(found, dict) else None
            if not isinstance(specs, dict):
                raise Refused(200, "its answer is not that of a Jupyter server; check the address")
            if kernel not in specs:
                raise Refused(
                    404, f"it has no kernel {kernel!r}; install jupyter-codeagent in the environment of that server"
                )

    def start(self, kernel: str) -> str:
        """Start a kernel and return its id; raises SandboxUnavailable, with what to do about it."""
        self.check(kernel)
        with self._explained():
            made = self.ask("POST", "kernels", {"name": kernel})
            identity = made.get("id") if isinstance(made, dict) else None
            if not isinstance(identity, str) or not _ID.fullmatch(identity):
                raise Refused(200, "it started no kernel; look at its log")
            return identity

    @contextlib.contextmanager
    def _explained(self) -> Iterator[None]:
        try:
            yield
        except Refused as error:
            said = f"No sandbox: the Jupyter server at {self.place} was asked, but {error}."
            raise SandboxUnavailable(said) from error

    def alive(self, identity: str) -> bool:
        """Say whether the server knows the kernel; True where it cannot be asked."""
        try:
            self.ask("GET", f"kernels/{identity}")
        except Refused as error:
            return error.status != 404
        return True

    def end(self, identity: str) -> None:
        """End the kernel; where the server cannot be reached, its own culling must do it."""
        with contextlib.suppress(Refused):
            self.ask("DELETE", f"kernels/{identity}")

    def channels(self, identity: str, session: str) -> str:
        """Return the address of a kernel's websocket."""
        return f"ws{self.url.removeprefix('http')}/api/kernels/{identity}/channels?session_id={session}"


def _here(place: str) -> bool:
    """Say whether a host is this machine, whatever a name server says."""
    if place == "localhost" or place.endswith(".localhost"):
        return True
    try:
        return ipaddress.ip_address(socket.inet_ntoa(socket.inet_aton(place)) if _dotted(place) else place).is_loopback
    except (ValueError, OSError):
        return False


def _dotted(place: str) -> bool:
    return bool(re.fullmatch(r"[0-9.]+", place))
