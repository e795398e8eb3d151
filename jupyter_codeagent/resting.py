"""By which it is seen, in another process, that a task rests on values that have changed since."""

from __future__ import annotations

import hashlib
import sys
from collections.abc import Iterable, Mapping
from typing import Any

from jupyter_codeagent.taken import Taken
from jupyter_codeagent.variables import literal

MOST = 5_000_000  # elements whose content is looked at; of larger tables and arrays only type and shape


def marks(names: Iterable[str], variables: Mapping[str, Any]) -> dict[str, str]:
    """Return a hash for each named variable whose value can be recognised: plain values, arrays and frames."""
    found = {name: mark(variables[name]) for name in names if name in variables}
    return {name: hashed for name, hashed in found.items() if hashed}


def changed(before: Mapping[str, str], variables: Mapping[str, Any]) -> list[str]:
    """Return the names of those that are there with another value."""
    now = marks(before, variables)
    return [name for name in now if now[name] != before[name]]


def mark(value: Any) -> str:
    """Return a hash of a value that is the same in every process, or an empty string where there is none."""
    if literal(value):
        return _hash(b"literal", _ordered(value).encode("utf-8", "replace"))
    numpy, pandas = sys.modules.get("numpy"), sys.modules.get("pandas")
    shape = repr(getattr(value, "shape", None)).encode()
    if numpy is not None and type(value) is numpy.ndarray:
        kind = value.dtype.str.encode()
        content = value.tobytes() if value.size <= MOST and not value.dtype.hasobject else b""
        return _hash(b"array", kind, shape, content)
    if pandas is not None and isinstance(value, pandas.DataFrame | pandas.Series):
        return _hash(b"frame", shape, *_frame(value, pandas))
    return ""


def _ordered(value: Any) -> str:
    """Return a literal in which sets have an order; their own differs from process to process."""
    if isinstance(value, Taken):
        return value.literal
    if isinstance(value, dict):
        return f"{{{', '.join(f'{_ordered(k)}: {_ordered(v)}' for k, v in value.items())}}}"
    if isinstance(value, set | frozenset):
        return f"{{{', '.join(sorted(map(_ordered, value)))}}}"
    if isinstance(value, list | tuple):
        return f"{type(value).__name__}({', '.join(map(_ordered, value))})"
    return repr(value)


def _frame(value: Any, pandas: Any) -> list[bytes]:
    names = repr(list(value.columns) if value.ndim == 2 else value.name).encode("utf-8", "replace")
    if value.size > MOST:
        return [names]
    try:
        return [names, pandas.util.hash_pandas_object(value).to_numpy().tobytes()]
    except (TypeError, ValueError):  # lists in its cells, say
        return [names]


def _hash(*parts: bytes) -> str:
    found = hashlib.blake2b(digest_size=16)
    for part in parts:
        found.update(len(part).to_bytes(8, "big") + part)
    return found.hexdigest()
