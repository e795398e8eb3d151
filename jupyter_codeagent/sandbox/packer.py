"""Values on their way out, as plain data: JSON, and beside it the bytes of arrays, columns and pictures.

Runs inside, loaded by the worker; standard library only at import. It runs in a copy of the state that is thrown
away afterwards, since looking at a value may execute whatever its class likes. `reading` is the other side.

A value is a *node*: null, true, false, a string, a number or a list stand for themselves; everything else is an
object with a ``kind``. Large things lie in *parts*, which a node names by number.
"""

from __future__ import annotations

import collections
import datetime
import decimal
import fractions
import io
import json
import math
import os
import sys
import uuid
from collections.abc import Callable, Sequence
from typing import Any

DEPTH = 60  # levels of containers in each other
ALIGNED = 64
TEXT_CAP = 32 * 2**20  # bytes of the JSON
MISSING = "the sandbox has no variable of this name"


class Refused(Exception):
    """The value cannot go out; the message is the end of a sentence."""


def answer(space: dict[str, Any], name: str, fd: int, most: int) -> dict[str, Any]:
    """Write the value of `name` into the file `fd`; returns the reply to the supervisor."""
    try:
        if name not in space:
            raise Refused(MISSING)
        return {"op": "packed", "length": write(space[name], fd, most)}
    except Refused as refused:
        return {"op": "packed", "failed": str(refused)}
    finally:
        os.close(fd)


def write(value: Any, fd: int, most: int) -> int:
    """Write `value` into a file of `most` bytes; returns the length of the JSON at its start.

    Raises
    ------
    Refused
        If it is not plain data, or does not fit.
    """
    document, parts = pack(value, most)
    start = aligned(len(document))
    for at, piece in [(0, document), *((start + place, piece) for place, piece in parts)]:
        view = memoryview(piece).cast("B") if len(piece) else memoryview(b"")
        if at + view.nbytes > most:
            raise Refused(too_large(most))
        while view.nbytes:
            written = os.pwrite(fd, view, at)
            view, at = view[written:], at + written
    return len(document)


def pack(value: Any, most: int) -> tuple[bytes, list[tuple[int, Any]]]:
    """Return the JSON for `value`, and its parts: where each belongs behind the JSON, and its bytes.

    Raises
    ------
    Refused
        If it is not plain data, or does not fit into `most` bytes.
    """
    packer = Packer(most)
    try:
        node = packer.node(value)
        spans = [[place, memoryview(part).nbytes] for place, part in packer.parts]
        document = json.dumps({"value": node, "parts": spans}, allow_nan=False).encode()
    except Refused:
        raise
    except RecursionError:
        raise Refused("it is nested too deeply") from None
    except MemoryError:
        raise Refused("there is not enough memory in the sandbox to copy it") from None
    except Exception as error:  # noqa: BLE001 - whatever a library raises on a value of this kind
        raise Refused(f"it cannot be copied ({type(error).__name__}: {error})"[:300]) from None
    if len(document) > TEXT_CAP:
        raise Refused(f"it has more than {TEXT_CAP // 2**20} MB of text, numbers and names outside arrays")
    return document, packer.parts


def aligned(size: int) -> int:
    """Return `size`, made a multiple of 64."""
    return -(-size // ALIGNED) * ALIGNED


def too_large(most: int) -> str:
    """Return the reason for what does not fit."""
    return f"it is larger than {most // 2**20} MB"


class Packer:
    """Makes nodes, and gathers their parts.

    Parameters
    ----------
    most : int
        Bytes that all parts may have together.
    """

    def __init__(self, most: int) -> None:
        self.most = most
        self.parts: list[tuple[int, Any]] = []
        self.end = 0
        self.depth = 0
        self.forms: dict[type, Callable[[Any], Any]] = {
            **dict.fromkeys((type(None), bool, str), lambda value: value),
            int: self.number,
            float: self.floating,
            complex: lambda value: {"kind": "complex", "items": [self.node(value.real), self.node(value.imag)]},
            bytes: lambda value: {"kind": "bytes", "part": self.part(value)},
            bytearray: lambda value: {"kind": "bytearray", "part": self.part(bytes(value))},
            list: self.items,
            dict: self.mapping,
            collections.defaultdict: self.mapping,
            collections.OrderedDict: lambda value: {**self.mapping(value), "kind": "ordered"},
            collections.Counter: lambda value: {**self.mapping(value), "kind": "counter"},
            range: lambda value: {"kind": "range", "items": [value.start, value.stop, value.step]},
            slice: lambda value: {"kind": "slice", "items": self.items([value.start, value.stop, value.step])},
            datetime.date: lambda value: {"kind": "date", "text": value.isoformat()},
            datetime.time: lambda value: {"kind": "time", "text": value.isoformat(), "fold": value.fold},
            datetime.datetime: self.moment,
            datetime.timedelta: lambda v: {"kind": "timedelta", "items": [v.days, v.seconds, v.microseconds]},
            decimal.Decimal: lambda value: {"kind": "decimal", "text": str(value)},
            fractions.Fraction: lambda v: {"kind": "fraction", "items": [v.numerator, v.denominator]},
            uuid.UUID: lambda value: {"kind": "uuid", "text": value.hex},
        }
        for kind in (tuple, set, frozenset, collections.deque):
            self.forms[kind] = self._sequence(kind.__name__)

    def part(self, data: Any) -> int:
        """Keep bytes for later; returns their number."""
        size = memoryview(data).nbytes
        self.parts.append((self.end, data))
        self.end += aligned(size)
        if self.end > self.most:
            raise Refused(too_large(self.most))
        return len(self.parts) - 1

    def node(self, value: Any) -> Any:
        """Return the node for a value."""
        form = self.forms.get(type(value)) or self.library(value)
        self.depth += 1
        if self.depth > DEPTH:
            raise Refused("it is nested too deeply")
        found = form(value)
        self.depth -= 1
        return found

    def library(self, value: Any) -> Callable[[Any], Any]:
        """Return what makes the node of a value that is not Python's own."""
        kind = type(value)
        root = str(kind.__module__).partition(".")[0]
        if root in ("numpy", "pandas", "pyarrow", "polars"):
            found = getattr(self, f"{root}_{kind.__name__}", None)
            if found is None and root == "numpy" and isinstance(value, sys.modules["numpy"].generic):
                found = self.scalar
            if found is None and root == "pandas" and isinstance(value, sys.modules["pandas"].Index):
                found = self.index
            if (
                found is None
                and root == "pandas"
                and isinstance(value, sys.modules["pandas"].api.extensions.ExtensionArray)
            ):
                found = self.column
            if found is None and root == "pyarrow" and isinstance(value, sys.modules["pyarrow"].Array):
                found = self.pyarrow_ChunkedArray
            if found is not None:
                form: Callable[[Any], Any] = found
                return form
        if isinstance(value, tuple) and hasattr(kind, "_fields"):
            return self.forms[tuple]
        for module, name, form in (
            ("PIL.Image", "Image", self.picture),
            ("matplotlib.figure", "Figure", self.figure),
            ("IPython.core.display", "Image", self.displayed),
        ):
            if isinstance(value, getattr(sys.modules.get(module), name, ())):
                return form
        raise Refused(f"it is or holds an object of type {kind.__name__}, which is not plain data")

    # -- Python's own -----------------------------------------------------------------------------

    def number(self, value: int) -> int:
        """Return an integer, unless it is too long to be read back."""
        if value.bit_length() > 14_000:  # Python reads at most 4,300 digits
            raise Refused("it holds an integer of more than 4,000 digits")
        return value

    def floating(self, value: float) -> Any:
        """Return a float; JSON has no word for those that are not finite."""
        return value if math.isfinite(value) else {"kind": "float", "text": str(value)}

    def items(self, values: Any) -> list[Any]:
        """Return the nodes of several values."""
        return [self.node(value) for value in values]

    def _sequence(self, kind: str) -> Callable[[Any], Any]:
        return lambda value: {"kind": kind, "items": self.items(value)}

    def mapping(self, value: Any) -> Any:
        """Return keys and values, in order."""
        return {"kind": "dict", "items": [[self.node(k), self.node(v)] for k, v in value.items()]}

    def moment(self, value: datetime.datetime) -> Any:
        """Return a date with time; of a zone only its name or its offset."""
        node: dict[str, Any] = {"kind": "datetime", "text": value.replace(tzinfo=None).isoformat(), "fold": value.fold}
        return {**node, "zone": zone(value.tzinfo)}

    # -- pictures ---------------------------------------------------------------------------------

    def picture(self, value: Any) -> Any:
        """Return a PIL image as PNG."""
        buffer = io.BytesIO()
        value.save(buffer, "PNG")
        return {"kind": "png", "part": self.part(buffer.getvalue())}

    def figure(self, value: Any) -> Any:
        """Return a matplotlib figure as PNG."""
        buffer = io.BytesIO()
        value.savefig(buffer, format="png")
        return {"kind": "png", "part": self.part(buffer.getvalue())}

    def displayed(self, value: Any) -> Any:
        """Return the PNG that IPython displays, which is also how a picture comes out of a sandbox."""
        if type(value.data) is not bytes or not value.data.startswith(b"\x89PNG"):
            raise Refused("it is or holds a picture that is no PNG")
        return {"kind": "png", "part": self.part(value.data)}

    # -- numpy ------------------------------------------------------------------------------------

    def numpy_ndarray(self, value: Any) -> Any:
        """Return an array: its type as in npy files, its shape, and its elements in C order."""
        numpy = sys.modules["numpy"]
        if value.dtype == object:
            return self.objects(value)
        form = numpy.lib.format.dtype_to_descr(value.dtype)
        if value.dtype.hasobject or numpy.lib.format.descr_to_dtype(form) != value.dtype or value.dtype.kind == "T":
            raise Refused(f"it is or holds an array of type {value.dtype}, which is not plain data")
        data = numpy.ascontiguousarray(value).reshape(-1).view("u1") if value.size else b""
        return {"kind": "array", "type": form, "shape": list(value.shape), "part": self.part(data)}

    def scalar(self, value: Any) -> Any:
        """Return a numpy scalar: an array without dimensions."""
        return {**self.numpy_ndarray(sys.modules["numpy"].asarray(value)), "kind": "scalar"}

    def objects(self, value: Any) -> Any:
        """Return an array of objects: texts and gaps as Arrow where that is installed, else node by node."""
        flat = value.reshape(-1).tolist()
        return {"kind": "objects", "shape": list(value.shape), "data": self.texts(flat) or self.items(flat)}

    def texts(self, values: Sequence[Any]) -> Any:
        """Return a column of texts and gaps, or None where it holds anything else or Arrow is not installed."""
        gaps = {"NoneType": 0, "float": 1, "NAType": 2, "NaTType": 3}
        kinds = {kind.__name__ for kind in set(map(type, values)) if kind is not str}
        if len(values) < 100 or not kinds <= set(gaps) or any(type(v) is float and v == v for v in values):
            return None
        try:
            import pyarrow

            column = pyarrow.array([v if type(v) is str else None for v in values], pyarrow.large_string())
        except (ImportError, UnicodeEncodeError):  # half of a surrogate pair, which JSON can hold
            return None
        codes = bytes(0 if type(v) is str else gaps[type(v).__name__] for v in values) if len(kinds) else b""
        return {"kind": "texts", "part": self.stream(column), "gaps": self.part(codes)}

    # -- Arrow ------------------------------------------------------------------------------------

    def stream(self, data: Any) -> int:
        """Keep a table or a column as an Arrow IPC stream, without metadata and compression."""
        import pyarrow

        table = data if isinstance(data, pyarrow.Table) else pyarrow.table({"0": data})
        table = table.replace_schema_metadata(None)
        sink = pyarrow.BufferOutputStream()
        options = pyarrow.ipc.IpcWriteOptions(compression=None)
        with pyarrow.ipc.new_stream(sink, table.schema, options=options) as writer:
            writer.write_table(table)
        return self.part(sink.getvalue())

    def pyarrow_Table(self, value: Any) -> Any:
        """Return an Arrow table."""
        return {"kind": "table", "part": self.stream(value)}

    def pyarrow_RecordBatch(self, value: Any) -> Any:
        """Return an Arrow table of one batch."""
        return self.pyarrow_Table(sys.modules["pyarrow"].Table.from_batches([value]))

    def pyarrow_ChunkedArray(self, value: Any) -> Any:
        """Return an Arrow column."""
        return {"kind": "chunks", "part": self.stream(value)}

    def polars_DataFrame(self, value: Any) -> Any:
        """Return a polars frame."""
        return {"kind": "polars", "part": self.stream(value.to_arrow(compat_level=self.oldest()))}

    def polars_Series(self, value: Any) -> Any:
        """Return a polars column."""
        return {**self.polars_DataFrame(value.to_frame()), "kind": "polars series"}

    @staticmethod
    def oldest() -> Any:
        """Return the level of types that every reader of Arrow knows."""
        return sys.modules["polars"].CompatLevel.oldest()

    # -- pandas -----------------------------------------------------------------------------------

    def pandas_DataFrame(self, value: Any) -> Any:
        """Return a frame, column by column."""
        columns = [self.column(value.iloc[:, place].array) for place in range(value.shape[1])]
        return {
            "kind": "frame",
            "columns": self.index(value.columns),
            "index": self.index(value.index),
            "data": columns,
        }

    def pandas_Series(self, value: Any) -> Any:
        """Return a series."""
        index, data = self.index(value.index), self.column(value.array)
        return {"kind": "series", "name": self.node(value.name), "index": index, "data": data}

    def index(self, value: Any) -> Any:
        """Return an index."""
        pandas = sys.modules["pandas"]
        if type(value) is pandas.RangeIndex:
            items = [int(value.start), int(value.stop), int(value.step)]
            return {"kind": "steps", "items": items, "name": self.node(value.name)}
        if type(value) is pandas.MultiIndex:
            codes = [self.node(sys.modules["numpy"].asarray(code)) for code in value.codes]
            levels = [self.index(level) for level in value.levels]
            return {"kind": "levels", "levels": levels, "codes": codes, "names": self.items(value.names)}
        freq = getattr(value, "freqstr", None) if type(value).__name__ in ("DatetimeIndex", "TimedeltaIndex") else None
        return {"kind": "index", "data": self.column(value.array), "name": self.node(value.name), "freq": freq}

    def column(self, value: Any) -> Any:
        """Return the values of a series or an index."""
        form = getattr(self, f"column_{type(value).__name__}", None)
        if form is not None:
            return form(value)
        if type(value.dtype).__module__.startswith("numpy") or type(value).__name__ == "NumpyExtensionArray":
            return self.node(value.to_numpy())
        raise Refused(f"it has a column of type {value.dtype}, which is not plain data")

    def column_DatetimeArray(self, value: Any) -> Any:
        """Return dates; those with a zone as numbers."""
        if value.tz is None:
            return self.node(value.to_numpy())
        return {"kind": "zoned", "unit": value.unit, "zone": zone(value.tz), "data": self.node(value.asi8)}

    def column_Categorical(self, value: Any) -> Any:
        """Return categories and codes."""
        codes, categories = self.node(value.codes), self.index(value.categories)
        return {"kind": "categorical", "codes": codes, "categories": categories, "ordered": bool(value.ordered)}

    def column_ArrowStringArray(self, value: Any) -> Any:
        """Return texts that Arrow keeps."""
        missing = "NA" if value.dtype.na_value is sys.modules["pandas"].NA else "nan"
        node = {"kind": "string", "storage": str(value.dtype.storage), "missing": missing}
        if value.dtype.storage == "pyarrow":
            return {**node, "part": self.stream(sys.modules["pyarrow"].chunked_array(value.__arrow_array__()))}
        return {**node, "data": self.node(value.to_numpy(object, na_value=None))}

    column_StringArray = column_ArrowStringArrayNumpySemantics = column_StringArrayNumpySemantics = (
        column_ArrowStringArray
    )

    def column_ArrowExtensionArray(self, value: Any) -> Any:
        """Return a column of an Arrow type."""
        return {"kind": "arrow", "part": self.stream(value.__arrow_array__())}

    def column_IntegerArray(self, value: Any) -> Any:
        """Return numbers with gaps: the numbers, and where the gaps are."""
        gaps = sys.modules["numpy"].asarray(value.isna())
        return {
            "kind": "masked",
            "data": self.node(value.to_numpy(value.dtype.numpy_dtype, na_value=0)),
            "gaps": self.node(gaps),
        }

    column_FloatingArray = column_BooleanArray = column_IntegerArray

    def column_IntervalArray(self, value: Any) -> Any:
        """Return intervals: both ends, and which belong to them."""
        ends = {"left": self.index(value.left), "right": self.index(value.right)}
        return {"kind": "interval", **ends, "closed": value.closed}

    def column_PeriodArray(self, value: Any) -> Any:
        """Return periods: their numbers, and how long one is."""
        return {"kind": "period", "data": self.node(value.asi8), "freq": value.freqstr}

    def pandas_Timestamp(self, value: Any) -> Any:
        """Return one date of pandas."""
        return {"kind": "timestamp", "number": int(value.asm8.view("i8")), "unit": value.unit, "zone": zone(value.tz)}

    def pandas_Timedelta(self, value: Any) -> Any:
        """Return one length of time of pandas."""
        return {"kind": "duration", "number": int(value.asm8.view("i8")), "unit": value.unit}

    def pandas_NaTType(self, value: Any) -> Any:
        """Return the missing date."""
        return {"kind": "NaT"}

    def pandas_NAType(self, value: Any) -> Any:
        """Return the missing value."""
        return {"kind": "NA"}


def zone(tz: Any) -> Any:
    """Return a zone's name, its offset from UTC in seconds, or None where there is none."""
    if tz is None:
        return None
    key = getattr(tz, "key", None) or getattr(tz, "zone", None)
    if isinstance(key, str):
        return key
    if type(tz) is datetime.timezone:
        return tz.utcoffset(None).total_seconds()
    raise Refused(f"it has a time zone of type {type(tz).__name__}, which has no name")
