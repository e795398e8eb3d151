"""Why code may differ from run to run, read from it."""

import pytest

from jupyter_codeagent.nondeterminism import Causes, because


def causes(*cells):
    return Causes(list(enumerate(cells, 1)))


def kinds(*cells):
    return [(cause.cell, cause.kind, cause.what) for cause in causes(*cells).all]


@pytest.mark.parametrize(
    ("code", "kind", "what"),
    [
        ("import time\nprint(time.time())", "time", "time.time"),
        ("from datetime import datetime as d\nd.now()", "time", "d.now"),
        ("import pandas as pd\npd.Timestamp.today()", "time", "pd.Timestamp.today"),
        ("import pandas as pd\npd.to_datetime('now')", "time", "pd.to_datetime"),
        ("import random\nrandom.choice([1, 2])", "random", "random.choice"),
        ("import numpy as np\nnp.random.rand(3)", "random", "np.random.rand"),
        ("from numpy.random import default_rng\nr = default_rng()", "random", "default_rng"),
        ("import random\nrandom.seed()\nrandom.random()", "random", "random.random"),
        ("from sklearn.model_selection import train_test_split\ntrain_test_split([1])", "random", "train_test_split"),
        ("from sklearn.model_selection import KFold\nKFold(5, shuffle=True)", "random", "KFold"),
        ("df.sample(frac=0.5)", "random", "df.sample"),
        ("import torch\ntorch.randn(2)", "random", "torch.randn"),
        ("import uuid\nuuid.uuid4()", "random", "uuid.uuid4"),
        ("import secrets\nsecrets.token_hex()", "random", "secrets.token_hex"),
        ("print({'a', 'b'})", "order", "{'a', 'b'}"),
        ("s = set(words)\nfor x in s: print(x)", "order", "s"),
        ("', '.join(set(words) - {'a'})", "order", "set(words) - {'a'}"),
        ("[x for x in set(words)]", "order", "set(words)"),
        ("f'{set(words)}'", "order", "set(words)"),
        ("hash('a')", "hash", "hash"),
        ("import os\nos.listdir('.')", "files", "os.listdir"),
        ("from pathlib import Path\n[p for p in Path('.').glob('*')]", "files", "Path('.').glob"),
        ("import requests\nrequests.get('http://a')", "network", "requests.get"),
        ("import pandas as pd\npd.read_csv('https://a/b.csv')", "network", "pd.read_csv"),
        ("!curl http://a", "network", "!curl"),
        ("import logging\nlogging.basicConfig(format='%(asctime)s %(message)s')", "time", "%(asctime)"),
        ("import logging\nlogging.Formatter('{process} {message}', style='{')", "machine", "process"),
        ("import subprocess\nsubprocess.run(['date', '-u'])", "time", "subprocess.run"),
        ("!date", "time", "!date"),
        ("import os\nos.environ['A']", "machine", "os.environ"),
        ("import os\nos.getpid()", "machine", "os.getpid"),
        ("from concurrent.futures import as_completed\nas_completed(jobs)", "threads", "as_completed"),
    ],
)
def test_cause_is_named_where_it_stands(code, kind, what):
    assert kinds("x = 1", code) == [(2, kind, what)]


@pytest.mark.parametrize(
    "code",
    [
        "import random\nrandom.seed(1)\nrandom.random()",
        "import numpy as np\nnp.random.seed(0)\nx = np.random.rand(3)\ndf.sample(3)",
        "import numpy as np\nnp.random.default_rng(3).normal()",
        "from sklearn.ensemble import RandomForestClassifier as F\nF(random_state=1)",
        "from sklearn.model_selection import train_test_split\ntrain_test_split([1], shuffle=False)",
        "import random\nrandom.Random(4).random()",
        "df.sample(3, random_state=1)",
        "options = {}\nF(**options)",
        "sorted({'a', 'b'})\nlen(set(words))\n'a' in set(words)\nsum(x for x in {'a'})",
        "s = set(words)\nprint(sorted(s))\nprint({1, 2}, set(range(3)))",
        "import os\nfor name in sorted(os.listdir('.')): pass\nfound = os.listdir('.')\nfound.sort()",
        "import time\ntime.sleep(1)\ntime.strftime('%Y', t)",
        "import os\nos.environ['A'] = '1'",
        "import pandas as pd\npd.read_csv('a.csv')",
        "hash(3)",
        "print('%(message)s {asctimes} (asctime)')\nimport subprocess\nsubprocess.run(['dates'])",
        "def f(:",
        "%%html\n<b>",
    ],
)
def test_what_gives_the_same_each_time_is_no_cause(code):
    assert kinds(code) == []


def test_seed_counts_from_where_it_stands():
    drawing = "x = np.random.rand()"
    assert kinds("import numpy as np", drawing, "np.random.seed(1)") == [(2, "random", "np.random.rand")]
    assert kinds("import numpy as np", "np.random.seed(1)", drawing) == []
    assert kinds("import numpy as np\ndef f(): return np.random.rand()", "np.random.seed(1)", "f()") == []
    assert kinds("import numpy as np, time", "np.random.seed(int(time.time()))", drawing) == [(2, "time", "time.time")]


def test_causes_reach_the_cells_that_are_fed_by_them():
    found = causes("import numpy as np", "a = np.random.rand(3)", "b = a * 2", "c = 1", "print(b)", "print(c)")
    assert [c.cell for c in found.of(5)] == [2] and found.of(6) == []
    said = because(found.of(5))
    assert said == "it uses random numbers without a seed (np.random.rand in cell 2); set a seed"


def test_causes_of_two_kinds_are_both_said_with_what_to_do():
    found = causes("import time, random", "a = random.random()", "print(a, time.time())")
    assert because(found.of(3)) == (
        "it uses the clock (time.time in cell 3) and random numbers without a seed (random.random in cell 2); "
        "give the moment as a value and set a seed"
    )
