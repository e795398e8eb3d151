"""Nothing that is the user's changes while a task is solved, whatever the code does."""

import os

import pytest
from IPython.core.interactiveshell import InteractiveShell

from tests.intact import lost, prepare, shell

TASKS = {
    "frames": {
        "setup": """
import pandas as pd, numpy as np
df = pd.DataFrame({"a": [3, 1, 2], "s": ["x", None, "y"], "o": pd.Series(["p", 1, None], dtype=object)})
view, column, labels, when = df.iloc[1:], df["a"], df.columns, pd.date_range("2024", periods=3)
""",
        "code": """
df.sort_values("a", inplace=True)
df["b"] = df.a * 2
column[:] = 7
labels.name = "n"
when.freq = None
view.iloc[0, 0]
""",
    },
    "arrays": {
        "setup": """
import numpy as np
large = np.arange(2_000_000)
part = large[10:20]
words = np.array(["a", None] * 1500)
rng = np.random.default_rng(1)
np.random.seed(5)
""",
        "code": "import numpy as np\nlarge += 1\npart[:] = 0\nwords[0] = 'changed'\nnp.random.seed(9)\nlarge.sum()",
    },
    "containers": {
        "setup": """
from collections import Counter, defaultdict, deque
inner = [1, 2]
nested = {"a": inner, "b": [{"c": (inner, {3})}]}
same, text, counts, queue = inner, "x", Counter("aab"), deque([1])
groups, data = defaultdict(list, a=[1]), bytearray(b"abc")
""",
        "code": """
inner.append(3)
nested["b"][0]["c"][1].add(4)
counts.clear()
queue.append(2)
groups["z"]
data[0] = 0
""",
    },
    "functions": {
        "setup": """
_RATE = {"eur": 2}
calls = []
def cost(n, seen=[]):
    seen.append(n)
    return n * _RATE["eur"]
class Empty(Exception): pass
@staticmethod
class Box:
    pass
class Box:
    kept = []
    def put(self, v):
        self.kept.append(v)
        if len(self.kept) > 1: raise Empty
""",
        "code": """
assert cost(3) == 6
calls.append(1)
Box().put(1)
try:
    Box().put(2)
except Empty:
    Box.put = None
""",
    },
    "files and handles": {
        "setup": """
import sqlite3, threading
con = sqlite3.connect(":memory:")
_ = con.execute("create table t (a)")
lock, handle = threading.Lock(), open("notes.txt")
lines = handle.read()
""",
        "files": {"notes.txt": {"text": "mine\n"}, "deep/more.csv": {"text": "a\n1\n"}},
        "code": "import os\nopen('notes.txt', 'w').write('gone')\nos.remove('deep/more.csv')\nos.environ['A'] = lines",
    },
}


@pytest.fixture
def user(tmp_path, monkeypatch):
    (folder := tmp_path / "project").mkdir()
    monkeypatch.chdir(folder)
    made = shell()
    yield made, folder
    if (handle := made.user_ns.get("handle")) is not None:
        handle.close()
        made.user_ns["con"].close()
    made.reset(new_session=False)
    InteractiveShell.clear_instance()


@pytest.mark.filterwarnings("ignore::ResourceWarning")
@pytest.mark.parametrize("name", TASKS)
def test_what_is_the_users_is_intact_after_a_task(user, name):
    made, folder = user
    prepare(made, folder, TASKS[name], folder)
    changed, errors = lost(made, folder, [TASKS[name]["code"]])
    assert changed == [] and errors == []
    assert os.getcwd() == str(folder)
