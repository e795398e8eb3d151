"""Values that come out of the sandbox: all plain data, nothing else, and no bytes that do harm."""

import collections
import contextlib
import datetime
import decimal
import fractions
import json
import math
import os
import uuid
import zoneinfo

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from jupyter_codeagent.errors import NotPlainData
from jupyter_codeagent.sandbox import Sandbox, SandboxPolicy, packer
from jupyter_codeagent.sandbox.reading import read

MIB = 2**20
SETTINGS = settings(deadline=None, max_examples=120, suppress_health_check=list(HealthCheck))


@pytest.fixture(scope="module")
def shared(tmp_path_factory):
    policy = SandboxPolicy(tmp_path_factory.mktemp("work"), timeout=20, memory=1024 * MIB, disk=64 * MIB)
    with Sandbox(policy) as sandbox:
        yield sandbox


@pytest.fixture
def sandbox(shared):
    shared.reset()
    return shared


def back(document, parts):
    """Return what `read` makes of a packed value."""
    data = {place: bytes(memoryview(part).cast("B")) if len(part) else b"" for place, part in parts}
    return read("v", document, lambda place, size: bytearray(data[place][:size]))


def there_and_back(value):
    return back(*packer.pack(value, 64 * MIB))


def same(one, other):
    """Compare values, their types, and those of all that they hold."""
    if type(one) is not type(other):
        return False
    if isinstance(one, pd.DataFrame):
        pd.testing.assert_frame_equal(one, other)
    elif isinstance(one, pd.Series):
        pd.testing.assert_series_equal(one, other)
    elif isinstance(one, pd.Index):
        pd.testing.assert_index_equal(one, other, exact=True)
    elif isinstance(one, pd.api.extensions.ExtensionArray):
        pd.testing.assert_extension_array_equal(one, other)
    elif isinstance(one, np.ndarray):
        assert one.dtype == other.dtype and one.shape == other.shape
        if one.dtype != object:
            return one.tobytes() == other.tobytes()
        return all(same(a, b) for a, b in zip(one.ravel(), other.ravel(), strict=True))
    elif isinstance(one, float | np.floating):
        return math.isnan(one) and math.isnan(other) if math.isnan(one) else one == other
    elif isinstance(one, dict):
        return len(one) == len(other) and all(same(a, b) for a, b in zip([*one.items()], [*other.items()], strict=True))
    elif isinstance(one, list | tuple | collections.deque):
        return len(one) == len(other) and all(same(a, b) for a, b in zip(one, other, strict=True))
    elif hasattr(one, "equals"):
        assert one.equals(other)
    elif one is pd.NA or one is pd.NaT:
        return one is other
    else:
        return bool(one == other)
    return True


def tables():
    n = 120
    frame = pd.DataFrame(
        {
            "whole": np.arange(n, dtype="int16"),
            "broken": np.arange(n) / 3,
            "flag": np.arange(n) % 2 == 0,
            "text": ["x", "é\U0001f600"] * (n // 2),
            "category": pd.Categorical(["u", None] * (n // 2), categories=["v", "u"], ordered=True),
            "when": pd.date_range("2020-10-25", periods=n, freq="h", tz="Europe/Berlin"),
            "plain": pd.date_range("2020", periods=n, unit="s"),
            "gaps": pd.array([1, None] * (n // 2), dtype="UInt8"),
            "maybe": pd.array([True, None] * (n // 2), dtype="boolean"),
            "months": pd.period_range("2020", periods=n, freq="M"),
            "ranges": pd.cut(np.arange(n), 4),
            "arrow": pd.array([decimal.Decimal("1.5"), None] * (n // 2), dtype=pd.ArrowDtype(pa.decimal128(5, 2))),
            "length": pd.to_timedelta(np.arange(n), unit="s"),
            "old": pd.array(["q", None] * (n // 2), dtype=pd.StringDtype("python")),
            "new": pd.array(["q", None] * (n // 2), dtype=pd.StringDtype("pyarrow")),
        }
    )
    frame["mixed"] = pd.Series([[1, {"a": 2}], "a", None, datetime.date(2020, 1, 1)] * (n // 4), dtype=object)
    frame["objects"] = pd.Series(["a", None, float("nan"), pd.NA, pd.NaT, "\udc80"] * (n // 6), dtype=object)
    frame["words"] = pd.Series(["a", None, float("nan"), pd.NA, pd.NaT, ""] * (n // 6), dtype=object)
    wide = frame.set_index("when")
    wide.columns = pd.MultiIndex.from_tuples([(1, name) for name in wide.columns], names=["one", None])
    twice = frame[["whole", "broken"]].copy()
    twice.columns = ["same", "same"]
    twice.index = pd.RangeIndex(5, 5 + 2 * n, 2, name=("a", 1))
    return [frame, wide, twice, frame.set_index(["text", "whole"]), frame.iloc[:0], pd.DataFrame(), frame["words"],
            pd.DataFrame(index=[1, 2]), wide.index, wide.columns, frame["category"].cat.categories]  # fmt: skip


PLAIN = [
    None, True, 0, -1, 10**400, 1.5, math.nan, -math.inf, 1 + 2j, "", "\ud800\x00", b"\x00\xff", bytearray(b"ab"),
    [1, [2, (3,), {4}], frozenset({5})], {"a": {1: None}, (1, "b"): [], None: 1.0, True: 2}, {}, (), set(),
    collections.OrderedDict(b=1, a=2), collections.Counter("aab"), collections.deque([1, 2]), range(1, 9, 2),
    slice(1, None), datetime.date(2020, 2, 29), datetime.time(1, 2, 3, 4), datetime.datetime(2020, 1, 1, 2, 3, 4, 5),
    datetime.datetime(2020, 10, 25, 2, 30, tzinfo=zoneinfo.ZoneInfo("Europe/Berlin"), fold=1),
    datetime.datetime(2020, 1, 1, tzinfo=datetime.timezone(datetime.timedelta(hours=-3))),
    datetime.timedelta(-1, 2, 3), decimal.Decimal("1.10"), fractions.Fraction(-1, 3), uuid.UUID(int=7),
    np.arange(6).reshape(2, 3).T, np.zeros((0, 3), "f4"), np.array(3.5), np.float32(1.5), np.datetime64("2020-01-01"),
    np.array(["a", "bcd"]), np.array([b"x"]), np.array([1, 2], ">i4"), np.array([[1, "a"], [None, [2]]], object),
    np.array([(1, "2020-01-01", [1.0, 2.0])], [("a", "i2"), ("b", "M8[D]"), ("c", "f8", (2,))]),
    np.array(["2020", "NaT"], "M8[s]"), pd.Timestamp("2020-01-01 12:00", tz="UTC"), pd.Timestamp(1, unit="ns"),
    pd.Timedelta("1s"), pd.NaT, pd.NA, pd.array([1, None]), pd.Categorical(["a"]),
    pa.table({"x": [1, None], "y": [["a"], None], "z": pa.array([{"k": "v"}, None])}), pa.chunked_array([["a"], ["b"]]),
]  # fmt: skip


@pytest.mark.parametrize("value", [*PLAIN, *tables()], ids=lambda value: type(value).__name__)
def test_plain_data_comes_back_as_it_was(value):
    assert same(there_and_back(value), value)


def test_other_types_come_as_the_plain_ones_that_they_hold():
    point = collections.namedtuple("point", "x y")(1, 2)
    assert same(there_and_back([point, collections.defaultdict(list, a=[1])]), [(1, 2), {"a": [1]}])
    assert there_and_back(pa.array([1, 2])).to_pylist() == [1, 2]
    assert there_and_back(pa.record_batch({"a": [1]})).to_pydict() == {"a": [1]}


def test_frames_of_polars_come_back():
    polars = pytest.importorskip("polars")
    frame = polars.DataFrame({"a": [1, None], "s": ["x", None], "l": [[1], []], "d": [datetime.date(2020, 1, 1), None]})
    assert there_and_back(frame).equals(frame)
    assert there_and_back(frame["s"]).equals(frame["s"])


values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.binary() | st.dates() | st.timedeltas()
    | st.decimals(allow_nan=False) | st.datetimes(),
    lambda inner: st.lists(inner) | st.tuples(inner, inner) | st.dictionaries(st.text() | st.integers(), inner),
    max_leaves=20,
)  # fmt: skip


@SETTINGS
@given(values)
def test_any_plain_value_comes_back(value):
    assert same(there_and_back(value), value)


@SETTINGS
@given(st.lists(st.sampled_from(["a", "é", "", None, math.nan, pd.NA, pd.NaT, "\udc80"]), min_size=1, max_size=300))
def test_any_column_of_texts_and_gaps_comes_back(column):
    array = np.array([*column, None], object)[:-1]
    assert same(there_and_back(array), array)
    series = pd.Series(array, dtype=object)
    assert all(a is b or same(a, b) for a, b in zip(there_and_back(series), series, strict=True))


SEEDS = [packer.pack(value, MIB) for value in [*tables()[:4], *PLAIN[-15:], PLAIN[14]]]


@SETTINGS
@given(st.data())
def test_changed_bytes_give_a_clean_error_or_plain_data(data):
    document, parts = data.draw(st.sampled_from(SEEDS))
    document, parts = bytearray(document), [(place, bytearray(memoryview(p).cast("B"))) for place, p in parts if len(p)]
    for _ in range(data.draw(st.integers(1, 4))):
        target = data.draw(st.sampled_from([document, *(part for _, part in parts)]))
        place = data.draw(st.integers(0, len(target) - 1))
        target[place] = data.draw(st.integers(0, 255) | st.sampled_from(b'0123456789"[]{},-eE'))
    try:
        found = back(bytes(document), [*parts, *((place, b"") for place, p in parts if not len(p))])
    except NotPlainData:
        return
    with contextlib.suppress(ValueError, ArithmeticError, pa.ArrowException):  # a date after the year 9999
        repr(found)  # whatever it is can be looked at


WORDS_OF_NODES = [
    "kind",
    "items",
    "part",
    "type",
    "shape",
    "data",
    "index",
    "columns",
    "name",
    "text",
    "zone",
    "levels",
    "codes",
    "names",
    "freq",
    "unit",
    "number",
    "gaps",
    "storage",
    "missing",
]
KINDS = [
    "array",
    "frame",
    "series",
    "index",
    "levels",
    "steps",
    "table",
    "texts",
    "string",
    "masked",
    "objects",
    "scalar",
    "zoned",
    "period",
    "interval",
    "categorical",
    "node",
    "class",
    "decimal",
    "set",
    "png",
]
atoms = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5) | st.sampled_from(KINDS)
nodes = st.recursive(
    atoms, lambda inner: st.lists(inner) | st.dictionaries(st.sampled_from(WORDS_OF_NODES), inner | atoms)
)


@SETTINGS
@given(nodes)
def test_any_description_gives_a_clean_error_or_plain_data(node):
    try:
        read("v", json.dumps({"value": node, "parts": [[0, 8], [64, 8]]}).encode(), lambda place, size: bytearray(size))
    except NotPlainData as error:
        assert error.name == "v"


def node(value, *parts):
    spans = [[64 * number, len(part)] for number, part in enumerate(parts)]
    return json.dumps({"value": value, "parts": spans}).encode(), [(64 * n, part) for n, part in enumerate(parts)]


def stream(table, **options):
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, table.schema, options=pa.ipc.IpcWriteOptions(**options)) as writer:
        writer.write_table(table)
    return sink.getvalue().to_pybytes()


class Odd(pa.ExtensionType):
    def __init__(self):
        super().__init__(pa.int64(), "codeagent.odd")

    def __arrow_ext_serialize__(self):
        return b""

    @classmethod
    def __arrow_ext_deserialize__(cls, storage, serialized):
        return cls()


TABLE = pa.table({"a": list(range(1000)), "s": ["x"] * 1000})
WORDS = pa.table({"d": pa.array(["a", "b"] * 500).dictionary_encode()})
STEPS = {"kind": "steps", "items": [0, 2**23, 1], "name": None}
HOSTILE = {
    "objects": ({"kind": "array", "type": "|O", "shape": [1], "part": 0}, bytes(8)),
    "objects within": ({"kind": "array", "type": [["a", "|O"]], "shape": [1], "part": 0}, bytes(8)),
    "a type by its name": ({"kind": "array", "type": "object", "shape": [1], "part": 0}, bytes(8)),
    "no characters": ({"kind": "array", "type": "<U1", "shape": [1], "part": 0}, b"\xff\xff\xff\x7f"),
    "no characters within": ({"kind": "array", "type": [["a", ">U2", [2]]], "shape": [1], "part": 0}, b"\x7f" * 16),
    "no truth values": ({"kind": "array", "type": "|b1", "shape": [2], "part": 0}, b"\x01\x02"),
    "too few bytes": ({"kind": "array", "type": "<f8", "shape": [2**40], "part": 0}, bytes(8)),
    "no bytes at all": ({"kind": "array", "type": "<U0", "shape": [2**40], "part": 0}, b""),
    "a negative side": ({"kind": "array", "type": "<f8", "shape": [-1], "part": 0}, bytes(8)),
    "one part twice": ([{"kind": "bytes", "part": 0}] * 2, bytes(8)),
    "a part that is not there": ({"kind": "bytes", "part": 7}, bytes(8)),
    "colliding keys": ({"kind": "dict", "items": [[n * (2**61 - 1), 0] for n in range(1, 2000)]},),
    "some colliding keys": ({"kind": "set", "items": [*range(2000), *(n * (2**61 - 1) for n in range(1, 2000))]},),
    "many intervals of a few bytes": (
        {"kind": "interval", "left": STEPS, "right": {**STEPS, "items": [1, 2**23 + 1, 1]}, "closed": "right"},
    ),
    "a list as a key": ({"kind": "dict", "items": [[[], 0]]},),
    "a zone outside": ({"kind": "datetime", "text": "2020-01-01", "fold": 0, "zone": "../../etc/passwd"},),
    "an unknown kind": ({"kind": "module", "text": "os"},),
    "a method of the reader": ({"kind": "part", "part": 0}, b""),
    "half a picture": ({"kind": "png", "part": 0}, b"\x89PNG\r\n\x1a\n"),
    "compressed": ({"kind": "table", "part": 0}, stream(TABLE, compression="zstd")),
    "a compressed dictionary": ({"kind": "table", "part": 0}, stream(WORDS, compression="lz4")),
    "nothing many times": ({"kind": "table", "part": 0}, stream(pa.table({"n": pa.nulls(10**9)}))),
    "an extension type": (
        {"kind": "table", "part": 0},
        stream(pa.table({"e": pa.ExtensionArray.from_storage(Odd(), pa.array([1]))})),
    ),
    "views": ({"kind": "table", "part": 0}, stream(pa.table({"v": pa.array(["abc" * 9], pa.string_view())}))),
    "no table": ({"kind": "table", "part": 0}, bytes(64)),
    "two columns as one": ({"kind": "chunks", "part": 0}, stream(TABLE)),
    "a frame of columns of two lengths": (
        {
            "kind": "frame",
            "columns": {"kind": "steps", "items": [0, 1, 1], "name": None},
            "index": {"kind": "steps", "items": [0, 2**50, 1], "name": None},
            "data": [{"kind": "array", "type": "<f8", "shape": [1], "part": 0}],
        },
        bytes(8),
    ),
    "codes without categories": (
        {
            "kind": "categorical",
            "codes": {"kind": "array", "type": "|i1", "shape": [8], "part": 0},
            "categories": {"kind": "steps", "items": [0, 1, 1], "name": None},
            "ordered": False,
        },
        bytes([5] * 8),
    ),
}


@pytest.mark.parametrize("case", HOSTILE)
def test_what_our_code_never_writes_is_refused(case):
    with pytest.raises(NotPlainData, match="not valid plain data"):
        back(*node(*HOSTILE[case]))


@pytest.mark.parametrize(
    "old, new",
    [(np.array([0, 3]).tobytes(), np.array([0, 2**40]).tobytes()), (b"abc\0", b"a\xff\xff\0")],
    ids=["beyond", "broken"],
)
def test_text_beyond_the_end_or_not_utf_8_is_refused(old, new):
    data = stream(pa.table({"0": pa.array(["abc"], pa.large_string())}))
    before, found, after = data.rpartition(old)
    with pytest.raises(NotPlainData):
        back(*node({"kind": "chunks", "part": 0}, before + new + after))
    assert found


BROKEN = ["[" * 100_000, '{"value":' * 5000, '{"value": NaN, "parts": []}', '{"value": 1e999, "parts": []}',
          '{"value": ' + "9" * 10_000 + ', "parts": []}', "", "null", "\xff"]  # fmt: skip


@pytest.mark.parametrize("text", BROKEN, ids=range(len(BROKEN)))
def test_broken_json_is_one_sentence(text):
    with pytest.raises(NotPlainData, match="not valid plain data"):
        read("v", text.encode("latin-1"), lambda place, size: bytearray(size))


# -- through the sandbox ---------------------------------------------------------------------------


def test_what_code_made_is_fetched_and_the_state_is_unchanged(sandbox):
    sandbox.execute(
        "import pandas as pd, numpy as np; df = pd.DataFrame({'a': [1, 2], 's': ['x', None]}); n = {1: [2]}"
    )
    same(sandbox.fetch("df"), pd.DataFrame({"a": [1, 2], "s": ["x", None]}))
    assert sandbox.fetch("n") == {1: [2]}
    found = sandbox.fetch("df")
    found.loc[0, "a"] = 9  # it is the caller's own
    assert sandbox.execute("int(df.a.sum())").text == "3\n"


def test_pictures_come_as_images(sandbox):
    sandbox.execute("import matplotlib.pyplot as plt; figure, axes = plt.subplots()")
    assert sandbox.fetch("figure").data.startswith(b"\x89PNG")


@pytest.mark.parametrize(
    "code, words",
    [
        ("v = lambda: 1", "type function, which is not plain data"),
        ("class V: pass\nv = [V()]", "type V, which is not plain data"),
        ("v = []; v.append(v)", "nested too deeply"),
        ("v = bytes(70 * 2**20)", "larger than 64 MB"),
        ("pass", "no variable of this name"),
    ],
)
def test_what_is_not_plain_data_is_refused_in_one_sentence(sandbox, code, words):
    sandbox.execute(code)
    with pytest.raises(NotPlainData, match=words):
        sandbox.fetch("v")
    with pytest.raises(NotPlainData, match="not a name"):
        sandbox.fetch("v.x")


TRAP = """
import numpy, os, sys, time, json
kept = [1]
class Trap(dict):
    pass
def run(self, value):
    kept.append(2)
    {}
sys.modules['_codeagent_packer'].Packer.library = run
v = Trap()
"""


@pytest.mark.parametrize(
    "harm", ["os._exit(1)", "os.kill(os.getpid(), 11)", "os.write(3, b'x' * 99)", "return lambda value: {'kind': 'x'}"]
)
def test_a_hostile_value_harms_its_copy_only(sandbox, harm):
    sandbox.execute(TRAP.format(harm))
    with pytest.raises(NotPlainData):
        sandbox.fetch("v")
    assert sandbox.execute("kept").text == "[1]\n"
    assert sandbox.supervisor.notes == []


def test_a_file_that_is_cut_or_changed_meanwhile_is_no_danger(sandbox):
    sandbox.execute(
        "import os, sys\n"
        "def run(value, fd, most):\n"
        "    try: os.ftruncate(fd, 0)\n"
        "    except OSError: cut = 'it cannot be cut'\n"
        "    if os.fork() == 0:\n"
        "        while True: os.pwrite(fd, os.urandom(64), 0)\n"
        "    raise sys.modules['_codeagent_packer'].Refused(cut)\n"
        "sys.modules['_codeagent_packer'].write = run\nv = 1"
    )
    with pytest.raises(NotPlainData, match="it cannot be cut"):
        sandbox.fetch("v")
    assert sandbox.supervisor.users() in ([], [sandbox.supervisor.live.pid])


def test_fetching_leaves_no_descriptors_and_no_processes(sandbox):
    sandbox.execute("v = list(range(10))")
    sandbox.fetch("v")
    before = len(os.listdir("/proc/self/fd")), len(sandbox.supervisor.inside())
    for _ in range(10):
        sandbox.fetch("v")
    assert (len(os.listdir("/proc/self/fd")), len(sandbox.supervisor.inside())) == before
