"""The user's variables: which may leave the kernel, and how each is told in a line. None is ever changed."""

from __future__ import annotations

import ast
import collections
import datetime
import decimal
import fractions
import inspect
import keyword
import linecache
import pathlib
import re
import reprlib
import time
import types
import uuid
import weakref
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from jupyter_codeagent.errors import NotPlainData
from jupyter_codeagent.keys import Keys
from jupyter_codeagent.packed import Limits, OverBudget
from jupyter_codeagent.source import parsed
from jupyter_codeagent.taken import Taken

MOST_BYTES = 512 * 2**20  # of one value, pickled
MOST_SECONDS = 10.0  # for looking at one value
_SCANNED = 32 * 2**20  # bytes of one buffer that are searched for keys

_ATOMS = {
    *(type(None), bool, int, float, complex, str, bytes, bytearray, range, slice),
    *(datetime.date, datetime.datetime, datetime.time, datetime.timedelta, datetime.timezone),
    *(decimal.Decimal, fractions.Fraction, uuid.UUID, pathlib.PosixPath, pathlib.PurePosixPath),
}
_SEQUENCES = {list, tuple, set, frozenset, collections.deque}
_MAPPINGS = {dict, collections.OrderedDict, collections.Counter, collections.defaultdict}
_LIBRARIES = {
    "numpy": "ndarray generic",
    "pandas": "DataFrame Series Index Timestamp Timedelta Period Interval Categorical NaTType NAType ExtensionArray",
    "polars": "DataFrame Series",
    "pyarrow": "Table RecordBatch Array ChunkedArray Scalar",
    "scipy": "_spbase spmatrix",
}


def names_in(task: str, variables: Iterable[str]) -> list[str]:
    """Return the variables that a task written in plain language names, in its order.

    A name of one letter, or one that is a common English word as well, counts only where it is written as code:
    between backticks, or before ``[``, ``(``, ``.x`` or ``=``.
    """
    known = set(variables)
    found = []
    for match in re.finditer(r"\b(?P<name>[^\W\d]\w*)\b(?P<after>\s*(?:\[|\(|=|\.\w))?", task):
        name = match["name"]
        as_code = match["after"] is not None or "_" in name
        if name in known and (as_code or (len(name) > 1 and name.lower() not in _ENGLISH)):
            found.append(name)
    ticked = [name for quoted in re.findall(r"`([^`\n]+)`", task) for name in re.findall(r"[^\W\d]\w*", quoted)]
    return list(dict.fromkeys([*found, *(name for name in ticked if name in known)]))


_ENGLISH = frozenset(
    re.findall(
        r"\w+",
        """all and any as at by do each file for from get give has have how if in into is it keep list make me my name
        names no not number of on one or out path per plot put row rows show so sort sum table task text that the then
        to total up use value values we what when where which with word write you""",
    )
)


def of_user(namespace: Mapping[str, Any], hidden: Iterable[str] = ()) -> dict[str, Any]:
    """Return what the user defined: no private names, no modules, nothing that the shell put there."""
    left_out = {*hidden, "In", "Out", "get_ipython", "exit", "quit", "open"}
    return {
        name: value
        for name, value in namespace.items()
        if not (
            name.startswith("_") or name in left_out or isinstance(value, types.ModuleType) or keyword.iskeyword(name)
        )
    }


def check_plain(name: str, value: object, seconds: float = MOST_SECONDS) -> None:
    """Raise where `value` is anything but numbers, text, dates, arrays, frames and containers of such.

    Raises
    ------
    NotPlainData
        With the reason; also where looking took longer than `seconds`.
    """
    if isinstance(value, Taken):
        if value.refused:
            raise NotPlainData(name, value.refused)
        return
    deadline = time.monotonic() + seconds
    waiting: list[Any] = [value]
    seen: set[int] = set()
    while waiting:
        item = waiting.pop()
        kind = type(item)
        if kind in _ATOMS or id(item) in seen:
            continue
        seen.add(id(item))
        if len(seen) % 1024 == 0 and time.monotonic() > deadline:
            raise OverBudget(name, f"looking at it took longer than {seconds:.0f} s")
        parts = _parts(item)
        if parts is None:
            whole = "it is" if item is value else "it holds"
            raise NotPlainData(name, f"{whole} {_article(kind.__name__)}, which is not plain data")
        waiting.extend(parts)


def _parts(item: Any) -> Iterable[Any] | None:
    kind = type(item)
    if kind in _SEQUENCES or (issubclass(kind, tuple) and hasattr(kind, "_fields")):
        return _further(item)
    if kind in _MAPPINGS:
        factory = getattr(item, "default_factory", None)
        plain_factory = factory is None or factory in _SEQUENCES | _MAPPINGS | {int, float, str}
        return _further([*item.keys(), *item.values()]) if plain_factory else None
    if not _from_library(kind):
        return None
    if kind.__name__ == "DataFrame" and kind.__module__.startswith("pandas"):
        return [part for _, column in item.items() if _of_objects(column) for part in _further(column.to_list())]
    if _of_objects(item):
        return _further(item.ravel().tolist() if kind.__name__ == "ndarray" else item)
    return ()


def _further(items: Iterable[Any]) -> list[Any]:
    return [item for item in items if type(item) not in _ATOMS]


def _of_objects(array: Any) -> bool:
    return bool(getattr(getattr(array, "dtype", None), "hasobject", False))


def _from_library(kind: type[Any]) -> bool:
    if kind not in _seen_types:
        root = kind.__module__.partition(".")[0]
        names = _LIBRARIES.get(root, "").split()
        _seen_types[kind] = any(b.__name__ in names and b.__module__.partition(".")[0] == root for b in kind.__mro__)
    return _seen_types[kind]


# A column can hold a million dates. Weak, since users define their types again and again.
_seen_types: weakref.WeakKeyDictionary[type[Any], bool] = weakref.WeakKeyDictionary()


def limits(keys: Keys, most: int = MOST_BYTES, seconds: float = MOST_SECONDS) -> Limits:
    """Return what a value may be to be copied into the sandbox."""
    return Limits(most, seconds, keys.within, _SCANNED)


def told(value: Any) -> str:
    """Return what `value` is in a few words: its type, its shape or length; never its own `repr`."""
    if isinstance(value, Taken):
        return value.told
    kind = type(value).__name__
    if isinstance(value, types.FunctionType):
        return f"function {value.__name__}{_signature(value)}" + _first_line(value.__doc__)
    if isinstance(value, type):
        return f"class {value.__name__}" + _first_line(value.__doc__)
    shape = getattr(value, "shape", None) if _from_library(type(value)) else None
    if isinstance(shape, tuple) and shape:
        return f"{kind}, {' x '.join(f'{n:,}' for n in shape)}"
    if type(value) in _SEQUENCES | _MAPPINGS:
        return f"{kind}, {len(value):,} item{'' if len(value) == 1 else 's'}"
    if type(value) in (str, bytes, bytearray):
        return f"{kind}, {len(value):,} character{'' if len(value) == 1 else 's'}"
    return kind


def size_of(value: Any) -> str:
    """Return how large an array or a frame is, after a comma; empty for anything else."""
    if not _from_library(type(value)):
        return ""
    usage = getattr(value, "memory_usage", None)
    held: Any = usage() if callable(usage) else getattr(value, "nbytes", 0)
    size = int(held.sum() if hasattr(held, "sum") else held)
    return f", {size / 2**20:,.1f} MB" if size >= 2**20 else f", {size:,} bytes" if size else ""


def shown(value: Any, most: int = 700) -> str:
    """Return a look into plain data, at most `most` characters: columns and a few rows, or the beginning."""
    kind = type(value)
    if isinstance(value, Taken):
        text = value.look
    elif _from_library(kind) and kind.__name__ in ("DataFrame", "Series"):
        text = _columns(value) + str(value.head(3))
    elif _from_library(kind):
        text = str(value)
    elif kind in (str, bytes, bytearray):
        text = repr(value[: most + 1])
    elif kind in _ATOMS:
        text = repr(value)
    elif kind in _SEQUENCES | _MAPPINGS:
        text = _beginning(value)
    else:
        return ""
    return text if len(text) <= most else text[:most] + " ..."


def _columns(frame: Any) -> str:
    if type(frame).__name__ != "DataFrame" or not type(frame).__module__.startswith("pandas"):
        return ""
    kinds = [f"{name!r}: {kind}" for name, kind in zip(frame.columns[:40], frame.dtypes[:40], strict=False)]
    return f"columns {{{', '.join(kinds)}}}\n"


def _beginning(value: Any) -> str:
    pairs = zip(range(6), value.items() if type(value) in _MAPPINGS else value, strict=False)
    first = [item for _, item in pairs]
    try:
        check_plain("", first)  # so that no repr of the user's own is called
    except NotPlainData:
        return ""
    short = reprlib.Repr()
    short.maxstring = short.maxother = 120
    return short.repr(dict(first) if type(value) in _MAPPINGS else first) + (" ..." if len(value) > len(first) else "")


def literal(value: object, most: int = 10_000) -> str:
    """Return a Python literal for small plain values, else an empty string."""
    if isinstance(value, Taken):
        return value.literal
    if type(value) not in (type(None), bool, int, float, complex, str, bytes, list, tuple, set, dict):
        return ""
    if isinstance(value, str | bytes | list | tuple | set | dict) and len(value) > most:
        return ""
    try:
        check_plain("", value)
        text = repr(value)
        return text if len(text) <= most and ast.literal_eval(text) == value else ""
    except (NotPlainData, ValueError, SyntaxError, RecursionError):  # nan, a date inside: there is no literal
        return ""


def source_of(name: str, value: Any) -> str:
    """Return the source of a function or class that was written in the notebook.

    Raises
    ------
    NotPlainData
        If there is none, or it closes over variables of another function.
    """
    if getattr(value, "__module__", None) != "__main__" or getattr(value, "__name__", None) != name:
        raise NotPlainData(name, f"{told(value).partition('(')[0]} was not written in this notebook")
    if getattr(value, "__closure__", None):
        raise NotPlainData(name, "it closes over variables of another function")
    try:
        return inspect.cleandoc("\n" + inspect.getsource(value))
    except (OSError, TypeError):
        if isinstance(value, type) and (source := _source_of_class(value)):
            return source
        raise NotPlainData(name, "its source is not known") from None


def _source_of_class(value: type[Any]) -> str:
    """Return a class's source from the cell that defined it last; a class does not know where it was written."""
    for entry in reversed(list(linecache.cache.values())):
        if len(entry) != 4 or entry[1] is not None:  # what is a file has a time of change
            continue
        lines = entry[2]
        if not any(f"class {value.__name__}" in line for line in lines):
            continue
        tree = parsed("".join(lines))
        for node in reversed(tree.body if tree is not None else []):
            if isinstance(node, ast.ClassDef) and node.name == value.__name__ and _defines(node, value):
                first = min([node.lineno, *(decorator.lineno for decorator in node.decorator_list)])
                return "".join(lines[first - 1 : node.end_lineno]).rstrip("\n")
    return ""


def _defines(node: ast.ClassDef, value: type[Any]) -> bool:
    methods = {part.name for part in node.body if isinstance(part, ast.FunctionDef | ast.AsyncFunctionDef)}
    return methods <= set(vars(value))


def _signature(value: Callable[..., object]) -> str:
    try:
        return str(inspect.signature(value))[:200]
    except (TypeError, ValueError):
        return "(...)"


def _first_line(text: str | None) -> str:
    lines = (text or "").strip().splitlines()
    return f": {lines[0][:200]}" if lines else ""


def _article(noun: str) -> str:
    return f"{'an' if noun[:1].lower() in 'aeiou' else 'a'} {noun}"
