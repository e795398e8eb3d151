"""Language models, and the choice among them."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

from jupyter_codeagent.errors import NoModel
from jupyter_codeagent.models.endpoint import ANTHROPIC, Endpoint
from jupyter_codeagent.models.scripted import ScriptedModel
from jupyter_codeagent.trajectory import Action, Trajectory

__all__ = ["ChosenModel", "ScriptedModel", "get_model"]

DEFAULT = "claude-sonnet-5-5"
LOCAL = {"local": "1.5b", "local-small": "0.5b"}
_CREDENTIALS = ("ANTHROPIC_API_KEY", "ANTHROPIC_AUTH_TOKEN", "ANTHROPIC_PROFILE", "ANTHROPIC_FEDERATION_RULE_ID")
_OPTIONS = ("base_url", "api_key", "profile", "max_tokens", "images", "effort", "extra", "timeout", "max_retries")
_LOCAL_OPTIONS = ("path", "folder", "helps")
_NOBODY = "none"  # the SDK wants a key; endpoints without keys read over it


class ChosenModel(Protocol):
    """What every model offers."""

    @property
    def name(self) -> str:
        """The model's name."""

    def describe(self) -> str:
        """Return one sentence: which model this is, where it is, and what leaves this machine."""

    def query(self, trajectory: Trajectory) -> Action:
        """Return the next action."""

    def stream(self, trajectory: Trajectory) -> Iterator[Action]:
        """Yield the next action as it grows; the last one is whole."""

    def cancel(self) -> None:
        """End the request that is running; its `stream` raises KeyboardInterrupt. From any thread."""


def get_model(name: str | None = None, **options: Any) -> ChosenModel:
    """Return a model; nothing is sent, loaded or started yet.

    Chosen in this order: `name`; Anthropic credentials in the environment or in the SDK's profiles (the model is then
    ``claude-sonnet-5-5``); the endpoint in ``ANTHROPIC_BASE_URL``; the embedded local model.

    Parameters
    ----------
    name : str, optional
        ``local`` or ``local-small`` for the embedded ones. Any other name goes unchanged to the endpoint.
    **options
        For an endpoint: `base_url`, `api_key`, `profile` (``anthropic``, ``tools``, ``fences``), `max_tokens`,
        `images`, `effort`, `extra` (fields of the request's body, such as temperature), `timeout` (seconds),
        `max_retries`. For an embedded model: those of `LocalModel`.

    Raises
    ------
    NoModel
        If there is no endpoint for `name`.
    WeightsError
        If the embedded model is chosen and its file is missing or broken.
    TypeError
        If there is no such option, or `name` is no text.
    """
    if name is not None and not isinstance(name, str):
        raise TypeError(f"The model's name is {name!r}; give a text such as 'local', or None for the configured one.")
    known = credentials(os.environ)
    key = options.pop("api_key", None)
    url = options.pop("base_url", None) or os.environ.get("ANTHROPIC_BASE_URL")
    if url and not (known or key) and Endpoint(url, "").claude:
        url = None  # this one endpoint takes nobody without a key
    if name in LOCAL or (name is None and not (known or url or key)):
        _check_options("the embedded model", options, _LOCAL_OPTIONS)
        return _local(LOCAL[name or "local"], options)
    _check_options(f"the model {name or DEFAULT!r}", options, _OPTIONS)
    if not (known or url or key):
        raise NoModel(
            f"No endpoint for the model {name!r}: set ANTHROPIC_API_KEY, or ANTHROPIC_BASE_URL for another server, "
            "or choose the embedded model with --model local."
        )
    return _endpoint(name or DEFAULT, url, key if key or known else _NOBODY, options)


def _check_options(whose: str, options: Mapping[str, Any], known: Sequence[str]) -> None:
    if unknown := [option for option in options if option not in known]:
        raise TypeError(f"There is no option {unknown[0]!r} for {whose}; there are: {', '.join(known)}.")


def credentials(environ: Mapping[str, str]) -> bool:
    """Tell whether the SDK would find credentials: in the environment, or a profile in its configuration folder."""
    if any(environ.get(name) for name in _CREDENTIALS):
        return True
    home = Path(environ.get("HOME") or Path.home())
    folder = Path(environ.get("ANTHROPIC_CONFIG_DIR") or home / ".config" / "anthropic")
    return any((folder / "configs").glob("*.json"))


def _local(size: str, options: dict[str, Any]) -> ChosenModel:
    from jupyter_codeagent.models.local import LocalModel

    return LocalModel(size=size, **options)


def _endpoint(name: str, url: str | None, key: str | None, options: dict[str, Any]) -> ChosenModel:
    from jupyter_codeagent.models.anthropic import MessagesModel, profile_for

    client = {option: options.pop(option) for option in ("timeout", "max_retries") if option in options}
    url = url or ANTHROPIC
    profile = profile_for(Endpoint(url, name, key), options.pop("profile", None), **options)
    return MessagesModel(name, url, key, profile, **client)
