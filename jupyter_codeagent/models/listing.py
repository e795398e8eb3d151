"""Which models there are to choose from, and which of them could answer now."""

from __future__ import annotations

import importlib.util
import os
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from jupyter_codeagent.errors import ModelError
from jupyter_codeagent.models import LOCAL, credentials, get_model, manage, prices, weights
from jupyter_codeagent.models.endpoint import ANTHROPIC, Endpoint
from jupyter_codeagent.models.server import NO_RUNTIME


@dataclass(frozen=True)
class Listed:
    """A model that can be named.

    Parameters
    ----------
    name : str
        What ``--model`` takes.
    where : str
        The endpoint's host, or "this machine".
    available : bool
        What it needs is there: its file and runtime, or credentials or an endpoint. Nothing was sent.
    detail : str
        One sentence: its size or price, or what is missing and how to get it.
    """

    name: str
    where: str
    available: bool
    detail: str


def listing() -> dict[str, Any]:
    """Return the model that would be used, and all that are known, as plain data; no key is in it."""
    try:
        model = get_model()
        default, problem = {"name": model.name, "told": model.describe()}, ""
    except ModelError as error:
        default, problem = None, str(error)
    models = [*_hosted(), *(_local(name, size) for name, size in LOCAL.items())]
    return {"version": 1, "default": default, "problem": problem, "models": [m.__dict__ for m in models]}


def _hosted() -> Iterator[Listed]:
    """Yield the Claude models at the endpoint that would be asked."""
    key = credentials(os.environ)
    for name in prices.known():
        try:
            endpoint = Endpoint(os.environ.get("ANTHROPIC_BASE_URL") or ANTHROPIC, name)
        except ModelError as error:
            yield Listed(name, "?", False, str(error))
            continue
        if not endpoint.claude:
            detail = f"The name goes unchanged to {endpoint.host}; whether it is known there was not tried."
            yield Listed(name, endpoint.host, True, detail)
        elif key:
            yield Listed(name, endpoint.host, True, prices.told(name))
        else:
            yield Listed(name, endpoint.host, False, "There is no key: set ANTHROPIC_API_KEY and restart Jupyter.")


def _local(name: str, size: str) -> Listed:
    facts = manage.facts(weights.known(size))
    problem = facts["problem"]
    if not facts["file"]:
        problem = problem or f"{weights.PATH_VARIABLE} names another model's file; unset it to use this one."
    elif importlib.util.find_spec("xllamacpp") is None:
        problem = NO_RUNTIME
    detail = f"{facts['name']}, which needs {facts['memory'] / 1e9:.1f} GB of memory."
    return Listed(name, "this machine", not problem, problem or detail)
