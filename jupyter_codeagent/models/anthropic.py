"""The Messages API, of Anthropic or any other endpoint, through the `anthropic` SDK."""

from __future__ import annotations

import threading
import time
import weakref
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from jupyter_codeagent.errors import BadReply, ModelError, NoModel, Offline, Overloaded, RateLimited, UnknownModel
from jupyter_codeagent.models.connections import Connections
from jupyter_codeagent.models.endpoint import NO_KEY, Endpoint, takes_no_tools
from jupyter_codeagent.models.fences import Fences
from jupyter_codeagent.models.prices import cost
from jupyter_codeagent.models.profile import Lookup, Profile, Unusable
from jupyter_codeagent.models.reply import BadEvent, ErrorEvent, Reply, events
from jupyter_codeagent.models.tools import Tools
from jupyter_codeagent.trajectory import Action, Message, Trajectory, Usage

if TYPE_CHECKING:
    import anthropic
    import httpx2

_REDRAW = 0.05  # seconds between two looks at a reply that grows
_LOOKUPS = 5  # how often the model may read on before it acts
_LONGEST_WAIT = 60.0  # seconds; an endpoint may ask for hours


class MessagesModel:
    """A model behind the Messages API.

    Parameters
    ----------
    name : str
        The model's name, sent unchanged.
    base_url : str
        The endpoint, without ``/v1/messages``.
    api_key : str or None
        None: the SDK looks for credentials where it always does.
    profile : Profile or None
        What requests hold and how replies are read; None: as the endpoint needs it.
    timeout : float
        Seconds that the endpoint may be silent.
    max_retries : int
        How often a request is sent again when the endpoint is busy, failing or out of reach.
    """

    parallel = True  # several candidates may be asked for at once

    def __init__(
        self,
        name: str,
        base_url: str,
        api_key: str | None = None,
        profile: Profile | None = None,
        timeout: float = 300.0,
        max_retries: int = 4,
    ) -> None:
        self.endpoint = Endpoint(base_url.rstrip("/"), name, api_key)
        self.profile = profile or profile_for(self.endpoint)
        self.timeout = timeout
        self.max_retries = max_retries
        self._connections = Connections()
        self._client: anthropic.Anthropic | None = None
        self._lock = threading.Lock()
        self._waits: set[threading.Event] = set()
        self._key = api_key
        self._variants: dict[int, MessagesModel] = {}

    def __repr__(self) -> str:
        return f"<model {self.name} at {self.endpoint.host}>"

    @property
    def name(self) -> str:
        """The model's name."""
        return self.endpoint.model

    def describe(self) -> str:
        """Return one sentence: which model this is, where it is, and what leaves this machine."""
        return self.endpoint.describe()

    def query(self, trajectory: Trajectory) -> Action:
        """Return the next action; raises what `stream` raises."""
        action = Action("")
        for action in self.stream(trajectory):  # noqa: B007 - the last one is what is wanted
            pass
        return action

    def stream(self, trajectory: Trajectory) -> Iterator[Action]:
        """Yield the next action as it grows; the last one is whole, with its usage and exchange.

        A reply that was cut or makes no sense is asked for once more; code is taken from whole replies only.

        Raises
        ------
        ModelError
            One of its kinds; each says in one sentence what happened and what to do.
        KeyboardInterrupt
            If `cancel` was called; also where the user interrupts. The request has then ended.
        """
        exchange: list[Message] = []
        spent = Usage()
        lookups = failures = 0
        while True:
            reply = Reply()
            try:
                for reply in self._read(trajectory, exchange):
                    yield replace(self.profile.sketch(reply), usage=spent + self._usage(reply))
                action = self.profile.parse(reply, trajectory)
            except Unusable as problem:
                spent += self._usage(reply)
                lookups += isinstance(problem, Lookup)
                failures += not isinstance(problem, Lookup) or lookups > _LOOKUPS
                if failures > 1:
                    raise self._useless(problem) from None
                exchange += self.profile.again(reply, problem)
                continue
            whole = {"role": "assistant", "content": reply.content}
            yield replace(action, usage=spent + self._usage(reply), model=self.name, exchange=(*exchange, whole))
            return

    def cancel(self) -> None:
        """End the requests that are running; their `stream` raises KeyboardInterrupt. From any thread."""
        with self._lock:
            for wait in self._waits:
                wait.set()
        self._connections.cut()

    def variant(self, number: int) -> MessagesModel:
        """Return the model that writes candidate `number` of one ask, with connections of its own.

        Its requests are the same as this one's, so that they read the same cached prompt; only sampling that the user
        has fixed is varied.
        """
        if number == 1:
            return self
        made = self._variants.get(number)
        if made is None:
            known = self._key, self.profile, self.timeout, self.max_retries
            made = self._variants[number] = MessagesModel(self.name, self.endpoint.url, *known)
        made.profile = self.profile.varied(number)
        return made

    def close(self) -> None:
        """Close the connections; the model can still be used, and opens new ones."""
        for variant in self._variants.values():
            variant.close()
        with self._lock:
            client, self._client = self._client, None
        if client is not None:
            client.close()

    def _read(self, trajectory: Trajectory, exchange: list[Message]) -> Iterator[Reply]:
        """Yield the reply to one request as it grows."""
        import httpx2

        with self._cancellable() as cancelled, ExitStack() as stack:
            try:
                response = self._send(stack, trajectory, exchange, cancelled)
                yield from _replies(response, cancelled)
            except (httpx2.HTTPError, httpx2.StreamError) as error:
                if cancelled.is_set():
                    raise KeyboardInterrupt from None
                if isinstance(error, httpx2.TimeoutException):
                    raise self.endpoint.offline(f"silent for {self.timeout:g} s") from None
                return  # the reply has no end then, which the profile sees
            except BadEvent as error:
                why = f"is not what the Messages API sends ({self.endpoint.hide(str(error))})"
                raise Unusable(why) from None
            except ErrorEvent as error:
                failure = self.endpoint.failed(error.error)
                if not isinstance(failure, Overloaded | RateLimited):
                    raise failure from None
                cancelled.wait(1.0)
                raise Unusable(f"broke off: {failure}", kind=type(failure)) from None
            if cancelled.is_set():
                raise KeyboardInterrupt

    def _send(
        self, stack: ExitStack, trajectory: Trajectory, exchange: list[Message], cancelled: threading.Event
    ) -> httpx2.Response:
        """Send a request, again while the endpoint is busy or out of reach; closing `stack` ends it."""
        import anthropic

        request = self._request(trajectory, exchange)
        tried = 0
        while True:
            try:
                send = self._connected().messages.with_streaming_response.create
                if cancelled.is_set():  # while the SDK was being loaded
                    raise KeyboardInterrupt
                response: httpx2.Response = stack.enter_context(send(stream=True, **request)).http_response
                return response
            except anthropic.AnthropicError as error:
                if cancelled.is_set():
                    raise KeyboardInterrupt from None
                simpler = self._without_tools(error)
                if simpler is not None:
                    self.profile = simpler
                    exchange.clear()
                    request = self._request(trajectory, exchange)
                    continue
                failure, wait = self._failure(error)
            tried += 1
            most = min(self.max_retries, 1) if isinstance(failure, Offline) else self.max_retries
            if wait is None or tried > most:
                raise failure
            if cancelled.wait(wait or min(0.25 * 2**tried, 8.0)):
                raise KeyboardInterrupt

    def _request(self, trajectory: Trajectory, exchange: list[Message]) -> dict[str, Any]:
        request = self.profile.request(trajectory, self.name)
        return {**request, "messages": [*request["messages"], *exchange]}

    def _without_tools(self, error: anthropic.AnthropicError) -> Profile | None:
        """Return the profile to go on with, where the endpoint has just refused tools."""
        import anthropic

        refused = self.profile.tools and isinstance(error, anthropic.APIStatusError) and takes_no_tools(error)
        return self.profile.without_tools() if refused else None

    def _failure(self, error: anthropic.AnthropicError) -> tuple[ModelError, float | None]:
        """Return our error for one of the SDK's, and how long to wait: None not to try again, 0 for no wish."""
        import anthropic
        import httpx2

        if isinstance(error, anthropic.APIStatusError):
            failure = self.endpoint.refused(error)
            if isinstance(failure, UnknownModel):
                failure = UnknownModel(f"{failure} {self._offered()}")
            return failure, _wait(error, failure)
        if isinstance(error, anthropic.APIConnectionError):
            silent = isinstance(error.__cause__, httpx2.ReadTimeout)
            why = f"silent for {self.timeout:g} s" if silent else str(error.__cause__ or error)
            return self.endpoint.offline(why), None if silent else 0.0
        return NoModel(f"The Anthropic credentials cannot be used ({self.endpoint.hide(str(error))})."), None

    def _offered(self) -> str:
        """Return a sentence with the models that the endpoint has, if it tells."""
        import anthropic

        try:
            names = [model.id for model in self._connected().models.list(timeout=5.0).data]
        except (anthropic.AnthropicError, ValueError, AttributeError, TypeError):
            names = []
        shown = ", ".join(sorted(str(name)[:60] for name in names)[:12])
        return f"It has: {shown}; choose one with --model." if shown else "Choose another one with --model."

    def _useless(self, problem: Unusable) -> ModelError:
        if problem.kind in (Overloaded, RateLimited):
            return problem.kind(f"The reply of {self.name} {problem.why}")
        return problem.kind(
            f"The reply of {self.name} {problem.why}, also when asked again; nothing of it was executed. "
            "Run the cell again, or use another model."
        )

    def _usage(self, reply: Reply) -> Usage:
        count = reply.tokens.get
        written = count("cache_creation_input_tokens", 0)
        read = count("input_tokens", 0) + written
        usage = Usage(read, count("output_tokens", 0), count("cache_read_input_tokens", 0))
        return replace(usage, cost=cost(self.name, usage, written) if self.endpoint.claude else None)

    @contextmanager
    def _cancellable(self) -> Iterator[threading.Event]:
        cancelled = threading.Event()
        with self._lock:
            self._waits.add(cancelled)
        try:
            yield cancelled
        finally:
            with self._lock:
                self._waits.discard(cancelled)

    def _connected(self) -> anthropic.Anthropic:
        import anthropic

        with self._lock:
            if self._client is None:
                self._client = self._connect()
                weakref.finalize(self, anthropic.Anthropic.close, self._client)
            return self._client

    def _connect(self) -> anthropic.Anthropic:
        import anthropic
        import httpx2

        timeout = httpx2.Timeout(self.timeout, connect=10.0)
        try:
            http = self._connections.client(timeout, proxies=not self.endpoint.here)
        except (ImportError, ValueError, httpx2.InvalidURL) as error:
            raise self.endpoint.offline(f"the environment's proxy cannot be used: {error}") from None
        try:
            client = anthropic.Anthropic(
                api_key=self.endpoint.key, base_url=self.endpoint.url, max_retries=0, timeout=timeout, http_client=http
            )
        except anthropic.AnthropicError as error:
            http.close()
            why = self.endpoint.hide(str(error))
            raise NoModel(f"The Anthropic credentials cannot be used ({why}).") from None
        if client.api_key is None and client.auth_token is None and client.credentials is None:
            client.close()
            raise NoModel(NO_KEY)  # the SDK would raise a TypeError at the first call
        # Known from now on, a key that the SDK has found can be kept out of messages too.
        self.endpoint = replace(self.endpoint, key=client.api_key or client.auth_token)
        return client


def profile_for(endpoint: Endpoint, kind: str | None = None, **options: Any) -> Profile:
    """Return the profile that an endpoint needs.

    Parameters
    ----------
    endpoint : Endpoint
        Its address decides where `kind` does not.
    kind : str or None
        ``anthropic``, ``tools`` or ``fences``.
    **options
        Fields of the profile.

    Raises
    ------
    ValueError
        If there is no such kind.
    TypeError
        If the profile has no such field.
    """
    kind = kind or ("anthropic" if endpoint.claude else "tools")
    if kind == "fences" and "effort" in options:
        raise TypeError("There is no option 'effort' with the profile 'fences'; leave it out.")
    if kind == "anthropic":
        return Tools(claude=True, **{"max_tokens": 32_000, "images": True, **options})
    if kind == "tools":
        return Tools(**options)
    if kind == "fences":
        return Fences(**options)
    raise ValueError(f"There is no profile {kind!r}; choose anthropic, tools or fences.")


def _replies(response: httpx2.Response, cancelled: threading.Event) -> Iterator[Reply]:
    """Yield the reply as it grows, at most so often as it can be shown; the last time it is as whole as it came."""
    kind = response.headers.get("content-type", "")
    if "text/event-stream" not in kind:
        yield _plain(response, kind)
        return
    reply, shown = Reply(), 0.0
    for event in events(response.iter_bytes()):
        reply.feed(event)
        if cancelled.is_set():
            raise KeyboardInterrupt
        if reply.parts and (now := time.monotonic()) - shown >= _REDRAW:
            shown = now
            yield reply
    yield reply


def _plain(response: httpx2.Response, kind: str) -> Reply:
    """Return the reply of an endpoint that does not stream."""
    body = response.read()
    if "json" not in kind:
        raise BadReply(
            f"{response.url.host} answered with {kind or 'something unknown'} instead of the Messages API: "
            "check ANTHROPIC_BASE_URL."
        )
    try:
        return Reply.whole(response.json())
    except ValueError as error:
        raise BadEvent(f"{error}: {body[:80]!r}") from None


def _wait(error: anthropic.APIStatusError, failure: ModelError) -> float | None:
    """Return how many seconds to wait before trying again: what the endpoint asks for, 0 if nothing, None for never."""
    if not isinstance(failure, RateLimited | Overloaded) or error.response.headers.get("x-should-retry") == "false":
        return None
    try:
        wait = max(float(error.response.headers.get("retry-after", 0)), 0.0)
    except ValueError:
        return 0.0
    return wait if wait <= _LONGEST_WAIT else None
