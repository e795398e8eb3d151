"""Values that came out of the sandbox, read as plain data only. Nothing is unpickled, imported or executed.

Every byte is hostile: each kind of node has a check of its own, and what fits none is refused. `packer` is the
other side and describes the form.
"""

from __future__ import annotations

import collections
import datetime
import decimal
import fractions
import json
import math
import re
import uuid
import zoneinfo
from collections.abc import Callable, Hashable, Sequence
from typing import Any

from jupyter_codeagent import images
from jupyter_codeagent.errors import NotPlainData
from jupyter_codeagent.sandbox.packer import DEPTH, TEXT_CAP

PIXELS = 50_000_000  # of a picture: each takes four bytes where it is shown
DIMENSIONS = 32
ALIKE = 100  # keys with one hash, of which there are two or three where nobody means harm
KINDS = "biufcSUVmM"  # numpy's types of elements that are no objects
_TYPE = re.compile(r"[<>|=]?(?:[biufcSUV]\d{1,9}|[mM]8(?:\[\d{0,6}(?:Y|M|W|D|h|m|s|ms|us|ns|ps|fs|as)\])?)")
_ZONE = re.compile(r"[A-Za-z0-9_+-]+(?:/[A-Za-z0-9_+-]+){0,3}")
UNITS = ("s", "ms", "us", "ns")


class Invalid(Exception):
    """The bytes are none that our own code writes."""


def read(name: str, document: bytes, part: Callable[[int, int], bytearray]) -> Any:
    """Return the value that `packer.pack` described.

    Parameters
    ----------
    name : str
        How the value is called, for messages.
    document : bytes
        The JSON.
    part : callable
        Returns the bytes of a part, given its place behind the JSON and its length; raises ValueError where there
        are none. Called once for a part at most.

    Raises
    ------
    NotPlainData
        If there is anything in it that is not plain data, or not valid.
    """
    try:
        if len(document) > TEXT_CAP:
            raise Invalid("it is too long")
        message = json.loads(document.decode(), parse_constant=_refuse)
        return Reader(message["parts"], part).node(message["value"])
    except Exception as error:
        # fail closed: json, numpy, pandas and Arrow raise whatever they like on bytes that are not right
        said = str(error) if isinstance(error, Invalid) else type(error).__name__
        raise NotPlainData(name, f"what came out of the sandbox is not valid plain data ({said})") from error


def _refuse(constant: str) -> None:
    raise Invalid(f"{constant} is not JSON")


class Reader:
    """Makes values of nodes.

    Parameters
    ----------
    spans : list
        Where each part lies: place and length, as they came.
    part : callable
        As for `read`.
    """

    def __init__(self, spans: Any, part: Callable[[int, int], bytearray]) -> None:
        self.spans: dict[int, tuple[int, int]] = {
            number: (count(place), count(length)) for number, (place, length) in enumerate(checked(spans, list))
        }
        self._part = part
        self.depth = 0

    def node(self, node: Any) -> Any:
        """Return the value of a node."""
        if node is None or type(node) in (bool, str, int, float):
            if type(node) is float and not math.isfinite(node):  # 1e999
                raise Invalid("a number is out of range")
            return node
        self.depth += 1
        if self.depth > DEPTH:
            raise Invalid("it is nested too deeply")
        if type(node) is list:
            found: Any = self.items(node)
        else:
            kind = text(checked(node, dict)["kind"])
            form = getattr(self, f"read_{kind.replace(' ', '_')}", None) if kind.replace(" ", "").isalpha() else None
            if form is None:
                form = frames(self, kind)
            found = form(node)
        self.depth -= 1
        return found

    def items(self, nodes: Any) -> list[Any]:
        """Return the values of several nodes."""
        return [self.node(node) for node in checked(nodes, list)]

    def part(self, number: Any) -> bytearray:
        """Return the bytes of a part; each can be had once, so that a few bytes cannot become many."""
        try:
            place, length = self.spans.pop(count(number))
        except KeyError:
            raise Invalid("a part is missing") from None
        return self._part(place, length)

    # -- Python's own -----------------------------------------------------------------------------

    def read_float(self, node: Any) -> float:
        return {"nan": math.nan, "inf": math.inf, "-inf": -math.inf}[text(node["text"])]

    def read_complex(self, node: Any) -> complex:
        real, imag = (checked(self.node(item), float) for item in checked(node["items"], list))
        return complex(real, imag)

    def read_bytes(self, node: Any) -> bytes:
        return bytes(self.part(node["part"]))

    def read_bytearray(self, node: Any) -> bytearray:
        return self.part(node["part"])

    def read_tuple(self, node: Any) -> tuple[Any, ...]:
        return tuple(self.items(node["items"]))

    def read_deque(self, node: Any) -> collections.deque[Any]:
        return collections.deque(self.items(node["items"]))

    def read_set(self, node: Any) -> set[Any]:
        return set(keys(self.items(node["items"])))

    def read_frozenset(self, node: Any) -> frozenset[Any]:
        return frozenset(keys(self.items(node["items"])))

    def read_dict(self, node: Any) -> dict[Any, Any]:
        pairs = [(self.node(key), self.node(value)) for key, value in checked(node["items"], list)]
        keys([key for key, _ in pairs])
        return dict(pairs)

    def read_ordered(self, node: Any) -> collections.OrderedDict[Any, Any]:
        return collections.OrderedDict(self.read_dict(node))

    def read_counter(self, node: Any) -> collections.Counter[Any]:
        return collections.Counter(self.read_dict(node))

    def read_range(self, node: Any) -> range:
        start, stop, step = (checked(item, int) for item in node["items"])
        return range(start, stop, step)

    def read_slice(self, node: Any) -> slice:
        start, stop, step = self.items(node["items"])
        return slice(start, stop, step)

    def read_date(self, node: Any) -> datetime.date:
        return datetime.date.fromisoformat(text(node["text"]))

    def read_time(self, node: Any) -> datetime.time:
        return datetime.time.fromisoformat(text(node["text"])).replace(fold=count(node["fold"]))

    def read_datetime(self, node: Any) -> datetime.datetime:
        found = datetime.datetime.fromisoformat(text(node["text"]))
        return found.replace(tzinfo=zone(node["zone"]), fold=count(node["fold"]))

    def read_timedelta(self, node: Any) -> datetime.timedelta:
        days, seconds, microseconds = (checked(item, int) for item in node["items"])
        return datetime.timedelta(days, seconds, microseconds)

    def read_decimal(self, node: Any) -> decimal.Decimal:
        return decimal.Decimal(text(node["text"]))

    def read_fraction(self, node: Any) -> fractions.Fraction:
        numerator, denominator = (checked(item, int) for item in node["items"])
        return fractions.Fraction(numerator, denominator)

    def read_uuid(self, node: Any) -> uuid.UUID:
        return uuid.UUID(hex=text(node["text"]))

    def read_png(self, node: Any) -> Any:
        """Return a picture as ``IPython.display.Image``, which shows it, and has its bytes as ``data``."""
        from IPython.display import Image

        data = bytes(self.part(node["part"]))
        sides = images.size("image/png", data)
        if sides is None or not 0 < sides[0] * sides[1] <= PIXELS:
            raise Invalid(f"the picture is no PNG of at most {PIXELS:,} pixels")
        return Image(data=data, format="png")

    # -- numpy ------------------------------------------------------------------------------------

    def read_array(self, node: Any) -> Any:
        """Return an array over the bytes of a part; type and length must agree to the byte."""
        import numpy

        kind = array_type(node["type"])
        shape = sides(node["shape"])
        data = self.part(node["part"])
        if kind.itemsize * math.prod(shape) != len(data) or (kind.itemsize == 0 and math.prod(shape)):
            raise Invalid("an array has not as many bytes as its shape says")
        array = numpy.frombuffer(data, kind).reshape(shape) if data else numpy.empty(shape, kind)
        check_elements(array)
        return array

    def read_scalar(self, node: Any) -> Any:
        if node["shape"] != []:
            raise Invalid("a scalar has dimensions")
        return self.read_array(node)[()]

    def read_objects(self, node: Any) -> Any:
        """Return an array of plain values."""
        import numpy

        shape = sides(node["shape"])
        values = self.node(node["data"])
        if len(values) != math.prod(shape):
            raise Invalid("an array has not as many elements as its shape says")
        return (values if isinstance(values, numpy.ndarray) else fill(values)).reshape(shape)


def fill(values: Sequence[Any]) -> Any:
    """Return an array of objects, each of `values` one element, also where that is a list."""
    import numpy

    array = numpy.empty(len(values), object)
    for place, value in enumerate(values):
        array[place] = value
    return array


def frames(reader: Reader, kind: str) -> Callable[[Any], Any]:
    """Return what reads a node of a kind that needs pandas, polars or Arrow."""
    from jupyter_codeagent.sandbox.frames import Frames

    form: Callable[[Any], Any] | None = getattr(Frames(reader), f"read_{kind.replace(' ', '_')}", None)
    if form is None:
        raise Invalid("it has a part of an unknown kind")
    return form


def array_type(form: Any) -> Any:
    """Return numpy's type for what an npy file would hold as ``descr``; none with objects.

    Raises
    ------
    Invalid
        If it is none of numpy's plain types, or a structure of such.
    """
    import numpy

    kind = numpy.dtype(_described(form))
    if kind.hasobject or not _plain(kind):
        raise Invalid("an array has a type that is not plain data")
    return kind


def _described(form: Any, depth: int = 0) -> Any:
    if type(form) is str and _TYPE.fullmatch(form):
        return form
    if depth > 8 or type(form) is not list or not 0 < len(form) <= 1000:
        raise Invalid("an array has an unknown type")
    fields = []
    for name, inner, *shape in form:
        label = tuple(map(text, name)) if type(name) is list and len(name) == 2 else text(name)
        fields.append((label, _described(inner, depth + 1), *(sides(side) for side in shape[:1])))
    return fields


def _plain(kind: Any) -> bool:
    if kind.subdtype is not None:
        return _plain(kind.subdtype[0])
    if kind.fields is not None:
        return all(_plain(field[0]) for field in kind.fields.values())
    return kind.kind in KINDS


def check_elements(array: Any) -> None:
    """Raise Invalid where elements of an array are no characters or truth values, which numpy does not look at."""
    import numpy

    kind = array.dtype
    for name in kind.names or ():
        check_elements(array[name])
    if kind.kind in "Ub" and array.size:
        whole, most = ("u4", 0x10FFFF) if kind.kind == "U" else ("u1", 1)
        numbers = numpy.ascontiguousarray(array).reshape(-1).view(numpy.dtype(whole).newbyteorder(kind.byteorder))
        if numbers.max() > most:
            raise Invalid("an array has elements that are none of its type")


def sides(shape: Any) -> tuple[int, ...]:
    """Return the sides of an array."""
    found = tuple(count(side) for side in checked(shape, list))
    if len(found) > DIMENSIONS:
        raise Invalid(f"an array has more than {DIMENSIONS} dimensions")
    return found


def keys(values: list[Any]) -> list[Hashable]:
    """Return what are to be the keys of a dict or a set.

    Raises
    ------
    Invalid
        If many of them have one hash: with such numbers a small text can occupy a processor for hours.
    """
    if max(collections.Counter(map(hash, values)).values(), default=0) > ALIKE:
        raise Invalid("its keys are made to have the same hash")
    return values


def zone(node: Any) -> datetime.tzinfo | None:
    """Return a time zone by its name or its offset in seconds."""
    if node is None:
        return None
    if type(node) is str:
        if not _ZONE.fullmatch(node):
            raise Invalid("a time zone has no valid name")
        return zoneinfo.ZoneInfo(node)
    return datetime.timezone(datetime.timedelta(seconds=checked(node, float)))


def unit(node: Any) -> Any:
    """Return a unit of time that pandas has."""
    if node not in UNITS:
        raise Invalid("a unit of time is unknown")
    return node


def checked(value: Any, kind: type) -> Any:
    """Return `value`, which is of type `kind` exactly."""
    if type(value) is not kind:
        raise Invalid(f"there is no {kind.__name__} where one belongs")
    return value


def text(value: Any) -> str:
    """Return a text."""
    return str(checked(value, str))


def count(value: Any) -> int:
    """Return a number from 0 to 2**62."""
    if not 0 <= checked(value, int) <= 2**62:
        raise Invalid("a number is out of range")
    return int(value)
