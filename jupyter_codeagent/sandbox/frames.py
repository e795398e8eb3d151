"""Frames, series, indexes and Arrow tables that came out of the sandbox, rebuilt from checked pieces."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from jupyter_codeagent.sandbox.arrow import column, table
from jupyter_codeagent.sandbox.reading import Invalid, checked, text, unit, zone

if TYPE_CHECKING:
    from jupyter_codeagent.sandbox.reading import Reader

LEVELS = 100
STEPS = 2**22  # of a range where all its numbers are written out
_FREQUENCY = re.compile(r"-?[A-Za-z0-9-]{1,20}")


class Frames:
    """Reads the nodes of pandas, polars and pyarrow, which are imported for that.

    Parameters
    ----------
    reader : Reader
        Reads what such a node holds.
    """

    def __init__(self, reader: Reader) -> None:
        self.reader = reader

    # -- Arrow and polars -------------------------------------------------------------------------

    def read_table(self, node: Any) -> Any:
        return table(self.reader.part(node["part"]))

    def read_chunks(self, node: Any) -> Any:
        return column(self.reader.part(node["part"]))

    def read_texts(self, node: Any) -> Any:
        """Return an array of texts and gaps as objects."""
        import numpy
        import pandas
        import pyarrow

        found = column(self.reader.part(node["part"]))
        codes = numpy.frombuffer(self.reader.part(node["gaps"]), "u1")
        if found.type != pyarrow.large_string() or len(codes) not in (0, len(found)) or (codes > 3).any():
            raise Invalid("a column of texts is none")
        array = numpy.empty(len(found), object)
        array[:] = found.to_numpy(zero_copy_only=False)
        gaps = numpy.asarray(found.is_null())
        if len(codes):
            for code, gap in ((1, float("nan")), (2, pandas.NA), (3, pandas.NaT)):
                array[gaps & (codes == code)] = gap
        return array

    def read_polars(self, node: Any) -> Any:
        import polars

        return polars.from_arrow(self.read_table(node))

    def read_polars_series(self, node: Any) -> Any:
        return self.read_polars(node).to_series(0)

    # -- pandas -----------------------------------------------------------------------------------

    def read_frame(self, node: Any) -> Any:
        import pandas

        index = self.reader.node(node["index"])
        names = self.reader.node(node["columns"])
        columns = [self.array(item) for item in checked(node["data"], list)]
        self.check_axis(index)
        self.check_axis(names)
        if len(names) != len(columns) or any(len(values) != len(index) for values in columns):
            raise Invalid("a frame's columns differ in length")
        data = {
            place: pandas.Series(values, index, dtype=values.dtype, copy=False) for place, values in enumerate(columns)
        }
        frame = pandas.DataFrame(data, index=index, copy=False)
        frame.columns = names
        return frame

    def read_series(self, node: Any) -> Any:
        import pandas

        index, values = self.reader.node(node["index"]), self.array(node["data"])
        self.check_axis(index)
        if len(index) != len(values):
            raise Invalid("a series and its index differ in length")
        return pandas.Series(values, index, dtype=values.dtype, name=self.name(node["name"]), copy=False)

    def read_steps(self, node: Any) -> Any:
        import pandas

        start, stop, step = (checked(item, int) for item in node["items"])
        return pandas.RangeIndex(start, stop, step, name=self.name(node["name"]))

    def read_levels(self, node: Any) -> Any:
        import pandas

        levels = [self.reader.node(level) for level in checked(node["levels"], list)]
        codes = [self.array(code) for code in checked(node["codes"], list)]
        if not 0 < len(levels) <= LEVELS:
            raise Invalid("an index has too many levels")
        for level in levels:
            self.check_axis(level)
        names = [self.name(item) for item in checked(node["names"], list)]
        return pandas.MultiIndex(levels, codes, names=names, verify_integrity=True)

    def read_index(self, node: Any) -> Any:
        import pandas

        values = self.array(node["data"])
        index = pandas.Index(values, dtype=values.dtype, name=self.name(node["name"]), tupleize_cols=False)
        if node["freq"] is not None:
            index.freq = frequency(node["freq"])  # pandas checks that it is so
        return index

    @staticmethod
    def check_axis(value: Any) -> None:
        import pandas

        if not isinstance(value, pandas.Index):
            raise Invalid("there is no index where one belongs")

    def name(self, node: Any) -> Any:
        """Return the name of a series or an index."""
        found = self.reader.node(node)
        hash(found)
        return found

    def array(self, node: Any) -> Any:
        """Return a column: an array of numpy or pandas with one dimension."""
        import numpy
        import pandas

        found = self.reader.node(node)
        if isinstance(found, pandas.api.extensions.ExtensionArray) or (
            isinstance(found, numpy.ndarray) and found.ndim == 1
        ):
            return found
        raise Invalid("there is no column where one belongs")

    def numbers(self, node: Any) -> Any:
        """Return a column of 64-bit integers."""
        found = self.array(node)
        if found.dtype != "int64":
            raise Invalid("there are no integers where they belong")
        return found

    def read_zoned(self, node: Any) -> Any:
        import pandas

        moments = self.numbers(node["data"]).view(f"M8[{unit(node['unit'])}]")
        return pandas.DatetimeIndex(moments).tz_localize("UTC").tz_convert(zone(node["zone"])).array

    def read_categorical(self, node: Any) -> Any:
        import pandas

        categories, codes = self.reader.node(node["categories"]), self.array(node["codes"])
        self.check_axis(categories)
        return pandas.Categorical.from_codes(codes, categories, ordered=checked(node["ordered"], bool))

    def read_string(self, node: Any) -> Any:
        import numpy
        import pandas

        if node["missing"] not in ("NA", "nan"):
            raise Invalid("a column of texts is none")
        storage: Any = text(node["storage"])
        gap = {} if node["missing"] == "NA" else {"na_value": numpy.nan}  # pandas 2.2 has but one
        kind = pandas.StringDtype(storage, **gap)
        if storage == "pyarrow":
            return pandas.array(fill_texts(column(self.reader.part(node["part"]))), dtype=kind)
        found = self.reader.node(node["data"])
        if not all(value is None or type(value) is str for value in found):
            raise Invalid("a column of texts is none")
        return pandas.array(found, dtype=kind)

    def read_arrow(self, node: Any) -> Any:
        import pandas

        return pandas.arrays.ArrowExtensionArray(column(self.reader.part(node["part"])))

    def read_masked(self, node: Any) -> Any:
        import pandas

        data, gaps = self.array(node["data"]), self.array(node["gaps"])
        kinds = {"i": "IntegerArray", "u": "IntegerArray", "f": "FloatingArray", "b": "BooleanArray"}
        if gaps.dtype != bool or len(gaps) != len(data):
            raise Invalid("a column's gaps do not fit it")
        return getattr(pandas.arrays, kinds[data.dtype.kind])(data, gaps)

    def read_interval(self, node: Any) -> Any:
        import pandas

        left, right = self.reader.node(node["left"]), self.reader.node(node["right"])
        self.check_axis(left)
        self.check_axis(right)
        if any(isinstance(end, pandas.RangeIndex) and len(end) > STEPS for end in (left, right)):
            raise Invalid("a few bytes would become many intervals")
        closed: Any = text(node["closed"])
        return pandas.arrays.IntervalArray.from_arrays(left, right, closed=closed)

    def read_period(self, node: Any) -> Any:
        import pandas

        kind = pandas.PeriodDtype(frequency(node["freq"]))
        return pandas.arrays.PeriodArray(self.numbers(node["data"]), dtype=kind)

    def read_timestamp(self, node: Any) -> Any:
        import numpy
        import pandas

        moment = pandas.Timestamp(numpy.datetime64(checked(node["number"], int), unit(node["unit"])))
        return moment if node["zone"] is None else moment.tz_localize("UTC").tz_convert(zone(node["zone"]))

    def read_duration(self, node: Any) -> Any:
        import numpy
        import pandas

        return pandas.Timedelta(numpy.timedelta64(checked(node["number"], int), unit(node["unit"])))

    def read_NaT(self, node: Any) -> Any:
        import pandas

        return pandas.NaT

    def read_NA(self, node: Any) -> Any:
        import pandas

        return pandas.NA


def fill_texts(found: Any) -> Any:
    """Return a column of texts, which it must be."""
    import pyarrow

    if found.type not in (pyarrow.string(), pyarrow.large_string()):
        raise Invalid("a column of texts is none")
    return found


def frequency(node: Any) -> str:
    """Return pandas's word for a frequency."""
    if not _FREQUENCY.fullmatch(text(node)):
        raise Invalid("a frequency is unknown")
    return text(node)
