"""Copies of values: exact, sealed, and made again only where the value has changed."""

import decimal
import gc
import math
import os
import pickle

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from jupyter_codeagent.compared import equal
from jupyter_codeagent.errors import NotPlainData
from jupyter_codeagent.packed import SMALL, Packed, Pickled, Sealed, Shelf, pack

SETTINGS = settings(deadline=None, max_examples=60, suppress_health_check=list(HealthCheck))


def content(packed):
    if isinstance(packed.content, Sealed):
        return bytearray(os.pread(packed.content.fd, os.fstat(packed.content.fd).st_size, 0))
    return bytearray(packed.content)


def unpacked(packed):
    """Return what the sandbox makes of a copy."""
    head, *buffers = [memoryview(content(packed))[place : place + size] for place, size in packed.spans]
    return pickle.loads(head, buffers=buffers)


def exactly(one, other):
    """Compare arrays of objects: type and value of each element, shape and order."""
    assert type(one) is type(other) is np.ndarray and one.dtype == other.dtype and one.shape == other.shape
    for a, b in zip(one.ravel().tolist(), other.ravel().tolist(), strict=True):
        assert type(a) is type(b) and (a is b or a == b or (a != a and b != b)), (a, b)
    return True


gaps = st.sampled_from([None, math.nan, pd.NA])
columns = st.lists(st.text(max_size=12) | gaps, min_size=1, max_size=40)


@SETTINGS
@given(columns, st.booleans(), st.sampled_from([(-1,), (5, -1), (-1, 5)]), st.booleans())
def test_any_array_of_texts_and_gaps_comes_in_exactly(texts, repeated, shape, turned):
    values = texts * (5000 // len(texts) + 1)
    values = [v if repeated or type(v) is not str else f"{v} {n}" for n, v in enumerate(values)][:5000]
    array = np.empty(5000, object)
    array[:] = values
    array = array.reshape(shape)
    array = np.asfortranarray(array) if turned else array
    found = unpacked(pack("v", array))
    assert exactly(found, array) and found.flags.writeable
    assert found.flags.f_contiguous == array.flags.f_contiguous


@pytest.mark.parametrize(
    "odd", [1, 1.5, b"a", np.str_("a"), "\ud800", pd.NaT, np.float64("nan"), decimal.Decimal("nan"), ["a"], True]
)
def test_anything_else_among_texts_comes_in_exactly(odd):
    array = np.array(["a", None] * 1000, dtype=object)
    array[7] = odd
    assert exactly(unpacked(pack("v", array)), array)


def test_frames_of_texts_come_in_exactly():
    texts = [f"text {n % 700}" for n in range(3000)]
    frame = pd.DataFrame({"a": texts, "b": range(3000), "c": [*texts[:-1], None]}, index=texts[::-1])
    for kind in (object, "str", "string", pd.StringDtype("python"), "category", pd.ArrowDtype(pa.string())):
        given_ = frame.astype({"a": kind, "c": kind})
        pd.testing.assert_frame_equal(unpacked(pack("v", given_)), given_)


def test_columns_of_texts_are_not_pickled_one_by_one():
    array = np.array([f"text {n}" for n in range(20_000)], dtype=object)
    assert sum(map(len, Pickled("v", array).head)) < 2000
    repeated = np.array(["north", "south", None, "east"] * 5000, dtype=object)
    assert pack("v", repeated).size < 5 * len(repeated)


@pytest.mark.parametrize(
    "array",
    [
        np.arange(4000).view("M8[s]").reshape(2, -1),
        np.asfortranarray(np.arange(4000).view("m8[ms]").reshape(2, -1)),
        np.arange(4000).view("M8[D]")[::2],
        np.arange(4000.0).reshape(40, 100)[:, 1::3],
        np.arange(4000.0)[::-1],
        np.zeros(40, [("a", "i2"), ("b", "M8[s]")]),
        np.zeros((0, 3), "M8[s]"),
        np.array(1.5),
        np.ma.masked_array([1, 2], [True, False]),
    ],
)
def test_arrays_come_in_exactly_and_as_buffers(array):
    pickled = Pickled("v", array)
    found = unpacked(Packed(pickled))
    assert type(found) is type(array) and found.dtype == array.dtype and found.shape == array.shape
    assert found.tobytes() == array.tobytes() and found.flags.writeable
    assert sum(map(len, pickled.head)) < 1000


def test_one_array_at_two_places_stays_one():
    array = np.array(["a", "b"] * 1000, dtype=object)
    first, second = unpacked(pack("v", [array, array]))
    assert first is second


def test_a_copy_is_sealed_and_its_descriptor_is_closed_with_it():
    before = len(os.listdir("/proc/self/fd"))
    packed = pack("v", np.arange(SMALL, dtype="u1").repeat(2))
    with pytest.raises(PermissionError):
        os.pwrite(packed.content.fd, b"x", 0)
    with pytest.raises(PermissionError):
        os.ftruncate(packed.content.fd, 0)
    del packed
    gc.collect()
    assert len(os.listdir("/proc/self/fd")) == before


@pytest.mark.parametrize("place", [0, 1, 8 * 2**20, 2**24 + 5, 20 * 2**20 - 1])
def test_one_changed_byte_is_seen(place):
    array = np.zeros(20 * 2**20, "u1")
    shelf = Shelf()
    packed = pack("v", array, shelf=shelf)
    assert pack("v", array, shelf=shelf) is packed and pack("v", array.copy(), shelf=shelf) is packed
    array[place] = 1
    assert pack("v", array, shelf=shelf) is not packed


def test_values_of_the_same_bytes_but_another_type_or_shape_differ():
    array = np.zeros(2**20)
    packed = Packed(Pickled("v", array))
    assert not packed.holds(Pickled("v", array.view("i8"))) and not packed.holds(Pickled("v", array.reshape(2, -1)))
    assert not packed.holds(Pickled("v", array[:-1]))


@SETTINGS
@given(st.lists(st.binary(max_size=50)), st.integers(0, 49))
def test_pieces_are_compared_where_they_belong(pieces, place):
    placed = [(64 * n, memoryview(piece)) for n, piece in enumerate(pieces)]
    file = Sealed(placed)
    joined = os.pread(file.fd, 2**16, 0)
    assert equal(file.memory, placed) and equal(joined, placed)
    for n, piece in enumerate(pieces):
        if place < len(piece):
            changed = bytearray(piece)
            changed[place] ^= 1
            other = [*placed[:n], (64 * n, memoryview(changed)), *placed[n + 1 :]]
            assert not equal(file.memory, other) and not equal(joined, other)
    assert not equal(file.memory, [(len(joined), memoryview(b"x"))])


def test_what_cannot_be_pickled_is_named():
    class Odd:
        def __reduce__(self):
            raise KeyError("no")

    with pytest.raises(NotPlainData, match="'v' was not passed: it cannot be copied \\(KeyError: 'no'\\)"):
        pack("v", [Odd()])
    deep: list[object] = []
    for _ in range(100_000):
        deep = [deep]
    with pytest.raises(NotPlainData, match="nested too deeply"):
        pack("v", deep)
    while deep:
        deep = deep.pop()
