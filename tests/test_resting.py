"""By which a record sees that values have changed: the same in every process, other for other values."""

import os
import subprocess
import sys

import numpy
import pandas
import pytest

from jupyter_codeagent.resting import changed, mark, marks

SHOWN = """
import numpy, pandas
from jupyter_codeagent.resting import mark
frame = pandas.DataFrame({"a": [1, 2], "b": ["x", None]})
values = [5, "text", {"b": {"q", "r", "s", "t"}, "a": [(1, 2)]}, frame, frame["b"], numpy.arange(3.0)]
print([mark(value) for value in values])
"""


def test_a_mark_is_the_same_in_every_process():
    run = [sys.executable, "-c", SHOWN]
    told = [subprocess.check_output(run, env={**os.environ, "PYTHONHASHSEED": seed}) for seed in ("1", "2")]
    assert told[0] == told[1] and b"''" not in told[0]


@pytest.mark.parametrize(
    ("value", "other"),
    [
        (1, 2),
        (1, "1"),
        ([1, 2], (1, 2)),
        ({"a": 1, "b": 2}, {"b": 2, "a": 1}),
        (pandas.DataFrame({"a": [1, 2]}), pandas.DataFrame({"a": [1, 3]})),
        (pandas.DataFrame({"a": [1, 2]}), pandas.DataFrame({"b": [1, 2]})),
        (pandas.DataFrame({"a": [[1]]}), pandas.DataFrame({"a": [[1], [2]]})),
        (pandas.Series([1, 2]), pandas.Series([1, 2], index=[1, 2])),
        (numpy.zeros(2), numpy.ones(2)),
        (numpy.zeros(2), numpy.zeros((2, 1))),
    ],
)
def test_another_value_has_another_mark(value, other):
    assert mark(value) and mark(other) and mark(value) != mark(other)


def test_only_what_is_there_and_can_be_recognised_counts_as_changed():
    before = marks(["n", "m", "f", "gone"], {"n": 1, "m": 2, "f": open, "other": 3})
    assert list(before) == ["n", "m"]
    assert changed(before, {"n": 1, "m": 3, "other": 4}) == ["m"]
    assert changed(before, {"n": open}) == []
