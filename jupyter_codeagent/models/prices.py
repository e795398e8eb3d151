"""What a reply costs, where the price is known."""

from __future__ import annotations

import json
import math
from functools import cache
from pathlib import Path
from typing import Any

from jupyter_codeagent.trajectory import Usage


def known() -> list[str]:
    """Return the names of the models whose prices are known."""
    return list(_rates())


def told(model: str) -> str:
    """Return one sentence about the price of a model that is `known`."""
    rate = _rates()[model][0]
    upto = f", while a request has at most {rate['up_to']:,.0f} tokens" if "up_to" in rate else ""
    return f"{rate['input']:g} US dollars per million tokens read, {rate['output']:g} written{upto}."


def cost(model: str, usage: Usage, written: int = 0) -> float | None:
    """Return the cost of one reply.

    Parameters
    ----------
    model : str
        Its name.
    usage : Usage
        Its tokens.
    written : int
        How many of the input tokens were written to the cache.

    Returns
    -------
    float or None
        US dollars, by the list in ``prices.json``; None where the model is not in it.
    """
    total = usage.input_tokens + usage.cache_read_tokens
    rate = next((r for r in _rates().get(model, ()) if total <= r.get("up_to", math.inf)), None)
    if rate is None:
        return None
    dollars = (
        (usage.input_tokens - written) * rate["input"]
        + written * rate["cache_write"]
        + usage.cache_read_tokens * rate["cache_read"]
        + usage.output_tokens * rate["output"]
    )
    return float(dollars) / 1e6


@cache
def _rates() -> dict[str, list[dict[str, Any]]]:
    text = (Path(__file__).parent / "prices.json").read_text(encoding="utf-8")
    models: dict[str, list[dict[str, Any]]] = json.loads(text)["models"]
    return models
