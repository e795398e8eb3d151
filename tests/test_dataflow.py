"""Which cells a cell needs, read from the code."""

import pytest

from jupyter_codeagent.dataflow import Flows


def needed(*cells, of=None, lasting=True):
    flows = Flows(list(enumerate(cells, 1)))
    return sorted(flows.needed([of or len(cells)], lasting))


@pytest.mark.parametrize(
    ("cells", "expected"),
    [
        (["a = 1", "b = 2", "print(a)"], [1, 3]),
        (["a = 1", "a = 2", "a"], [2, 3]),
        (["a = 1", "if x: a = 2", "a"], [1, 2, 3]),
        (["a = []", "a.append(1)", "a.count(1)", "a"], [1, 2, 4]),
        (["a = {}", "a['x'] = 1", "a"], [1, 2, 3]),
        (["a = 1", "a += 1", "a"], [1, 2, 3]),
        (["a = []", "b = a", "b.append(1)", "a"], [1, 2, 3, 4]),
        (["a = [[]]", "for row in a:\n    row.append(1)", "a"], [1, 2, 3]),
        (["a = [3, 1]", "fill(a)", "a"], [1, 2, 3]),
        (["import heapq", "a = []", "heapq.heappush(a, 1)", "a"], [1, 2, 3, 4]),
        (["df = load()", "df.head()", "df.describe()", "df.sum()"], [1, 4]),
        (["df = load()", "df.drop_duplicates(inplace=True)", "df.sum()"], [1, 2, 3]),
        (["def f(x): return x + k", "k = 3", "f(1)"], [1, 2, 3]),
        (["def f(x): return g(x)", "def g(x): return x * k", "k = 3", "m = 1", "f(1)"], [1, 2, 3, 5]),
        (["kept = []\ndef add(x): kept.append(x)", "add(1)", "kept"], [1, 2, 3]),
        (["class A:\n    def f(self): return k", "k = 1", "A().f()"], [1, 2, 3]),
        (["n = 0\ndef up():\n    global n\n    n += 1", "up()", "n"], [1, 2, 3]),
        (["xs = [1]", "[x for x in xs]", "x = 5", "[x for x in xs]"], [1, 4]),
        (["import numpy as np", "np.random.seed(1)", "a = np.random.rand()", "np.random.rand()"], [1, 2, 3, 4]),
        (["import pandas as pd", "pd.options.display.max_rows = 5", "a = 1", "pd.Series([1])"], [1, 2, 4]),
        (["a = 1", "b = 2", "exec('c = a')"], [1, 2, 3]),
        (["a = 1", "%matplotlib inline", "b = 2", "print(a)"], [1, 2, 4]),
        (["a = 1", "b = 2", "!echo {a}"], [1, 3]),
        (["a = 1", "%%bash\necho", "print(1)"], [1, 2, 3]),
        (["from os.path import *", "a = 1", "join('a', 'b')"], [1, 3]),
        (["a = 1", "open('x', 'w').write('a')", "open('x').read()"], [2, 3]),
        (["a = 1", "try:\n    b = a\nexcept ValueError as e:\n    b = 2", "b"], [1, 2, 3]),
        (["with open('a') as f:\n    x = f.read()", "y = 1", "x"], [1, 3]),
        (["a = 1", "print(b := a)", "b"], [1, 2, 3]),
    ],
)
def test_cells_that_are_needed(cells, expected):
    assert needed(*cells) == expected


def test_effects_without_names_can_be_left_aside():
    assert needed("import random", "random.seed(1)", "a = 1", "a", lasting=False) == [3, 4]


@pytest.mark.parametrize(
    "code",
    ["x = " + "-" * 3000 + "1", "x = " + "+".join(["a"] * 5000), "x" + ".a" * 3000 + "()", "x = '\0'", "a" * 600_000],
    ids=["signs", "sum", "chain", "null", "long"],
)
def test_code_beyond_measure_is_passed_over_or_needs_all(code):
    assert needed("a = 1", code, "print(x)")[-1:] == [3]
