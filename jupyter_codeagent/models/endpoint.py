"""Where a model is reached: an address, what may be said of it, and what its failures mean."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from ipaddress import ip_address
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from jupyter_codeagent.errors import (
    ContextOverflow,
    ModelError,
    NoModel,
    Offline,
    Overloaded,
    RateLimited,
    UnknownModel,
    WrongKey,
)
from jupyter_codeagent.keys import HIDDEN, Keys

if TYPE_CHECKING:
    from anthropic import APIStatusError

ANTHROPIC = "https://api.anthropic.com"
NO_KEY = (
    "No key for Anthropic was found: set ANTHROPIC_API_KEY, or set ANTHROPIC_BASE_URL to another endpoint, "
    "or choose the embedded model with --model local."
)
_OVERFLOW = re.compile(
    r"(?i)prompt is too long|input is too long|exceed_context_size|maximum context length|too many (input )?tokens"
    r"|context (size|length|window)"
)
_TOOLS = re.compile(r"(?i)\btools?\b|tool_choice|function.?call")
_KINDS: dict[str, type[ModelError]] = {
    "authentication_error": WrongKey,
    "permission_error": WrongKey,
    "not_found_error": UnknownModel,
    "rate_limit_error": RateLimited,
    "request_too_large": ContextOverflow,
    "overloaded_error": Overloaded,
    "api_error": Overloaded,
    "timeout_error": Overloaded,
}
_STATUSES: dict[int, type[ModelError]] = {
    401: WrongKey,
    403: WrongKey,
    404: UnknownModel,
    408: Overloaded,
    409: Overloaded,
    413: ContextOverflow,
    429: RateLimited,
}


@dataclass(frozen=True)
class Endpoint:
    """The address of a Messages API, and the model asked for there.

    Parameters
    ----------
    url : str
        Without ``/v1/messages``.
    model : str
        The model's name, sent as it is.
    key : str or None
        None: the SDK finds the credentials. Never shown.

    Raises
    ------
    NoModel
        If `url` is no address.
    """

    url: str
    model: str
    key: str | None = field(default=None, repr=False)

    def __post_init__(self) -> None:
        try:
            parts = urlsplit(self.url)
            sound = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
        except ValueError:
            sound = False
        if not sound:
            raise NoModel(
                f"{self.hide(self.url)!r} is no address of an endpoint: set ANTHROPIC_BASE_URL to one that begins with "
                "http:// or https:// and a host."
            )

    @property
    def host(self) -> str:
        """Host and port, without a user's name or password."""
        parts = urlsplit(self.url)
        return f"{parts.hostname or self.url}:{parts.port}" if parts.port else parts.hostname or "?"

    @property
    def claude(self) -> bool:
        """It is Anthropic's own."""
        name = urlsplit(self.url).hostname or ""
        return name == "anthropic.com" or name.endswith(".anthropic.com")

    @property
    def here(self) -> bool:
        """It is on this machine."""
        name = urlsplit(self.url).hostname or ""
        try:
            return name == "localhost" or ip_address(name).is_loopback
        except ValueError:
            return False

    def describe(self) -> str:
        """Return one sentence: the model, where it is, and what leaves this machine."""
        if self.here:
            return f"{self.model} at {self.host}: nothing is sent to another machine by this package."
        return f"{self.model} at {self.host}: the task, its context and the outputs of the code are sent there."

    def hide(self, text: str) -> str:
        """Return `text` on one line, cut to 300 characters, without keys."""
        text = Keys({"API_KEY": self.key or ""}).hide(text)
        if self.key and len(self.key) >= 4:
            text = text.replace(self.key, HIDDEN)
        return " ".join(text.split())[:300].rstrip(".")

    def offline(self, why: str) -> Offline:
        """Return the error for an endpoint that cannot be reached."""
        mend = "start the server there." if self.here else "check the network, the proxy, and ANTHROPIC_BASE_URL."
        return Offline(f"The model's endpoint {self.host} cannot be reached ({self.hide(why)}): {mend}")

    def refused(self, error: APIStatusError) -> ModelError:
        """Return the error for a reply with an HTTP status of 400 and above."""
        if error.status_code in (404, 405) and not isinstance(error.body, dict):
            return ModelError(
                f"{self.host} has no Messages API at {urlsplit(self.url).path or '/'}: check ANTHROPIC_BASE_URL, "
                "which ends before /v1/messages."
            )
        kind = _STATUSES.get(error.status_code) or (Overloaded if error.status_code >= 500 else None)
        wait = error.response.headers.get("retry-after", "") if kind is RateLimited else ""
        said = message(error.body) + (f", asks to wait {wait} s" if wait else "")
        return self.error(kind, said or "no reason given", error.status_code)

    def failed(self, error: dict[str, Any]) -> ModelError:
        """Return the error for one that was sent within a reply."""
        return self.error(_KINDS.get(str(error.get("type"))), message({"error": error}) or "an error", 200)

    def error(self, kind: type[ModelError] | None, said: str, status: int) -> ModelError:
        """Return the error of one kind, as a sentence; what the endpoint said decides where there is no kind."""
        if kind in (None, Overloaded) and _OVERFLOW.search(said):
            kind = ContextOverflow
        said = self.hide(said)
        texts: dict[type[ModelError], str] = {
            WrongKey: f"{self.host} did not take the key (status {status}: {said}): check ANTHROPIC_API_KEY.",
            UnknownModel: f"{self.host} does not know the model {self.model!r} ({said}).",
            RateLimited: f"{self.host} takes no more requests for now ({said}): wait a little and run the cell again.",
            Overloaded: f"{self.host} is overloaded or failing (status {status}: {said}): run the cell again later.",
            ContextOverflow: f"The conversation is longer than {self.model!r} can read ({said}): start a new task "
            "with less context, or use a model that reads more.",
            NoModel: NO_KEY,
        }
        if kind is None:
            return ModelError(f"{self.host} refused the request (status {status}: {said}).")
        return kind(texts[kind])


def message(body: object) -> str:
    """Return what the body of an error says, with its type."""
    inner = body.get("error", body) if isinstance(body, dict) else body
    if not isinstance(inner, dict):
        return str(inner or "")
    return ": ".join(str(inner[name]) for name in ("type", "message") if inner.get(name))


def takes_no_tools(error: APIStatusError) -> bool:
    """Tell whether a request was refused because it held tools."""
    return error.status_code in (400, 404, 422, 500, 501) and bool(_TOOLS.search(message(error.body)))
