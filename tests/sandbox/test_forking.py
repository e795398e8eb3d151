"""Libraries in use at a checkpoint: going back, each works in the copy, or its code runs again."""

import importlib.util

import pytest

from jupyter_codeagent.sandbox import Sandbox, SandboxPolicy

MIB = 2**20

# what is done before the checkpoint; then an expression with the same value before it and after going back
WORKS = {
    "numpy": ("import numpy as np; a = np.random.default_rng(1).random((300, 300))", "round(float((a @ a).sum()), 3)"),
    "scipy": (
        "import numpy as np, scipy.linalg as la; a = np.eye(200) + 0.1",
        "round(float(np.abs(la.inv(a) @ a).sum()), 3)",
    ),
    "pandas": (
        "import pandas as pd; df = pd.DataFrame({'a': range(1000), 's': ['x'] * 1000}); df.to_parquet('f.parquet')",
        "int(pd.read_parquet('f.parquet').groupby('s').a.sum().iloc[0]), int((df.a + 1).sum())",
    ),
    "pyarrow": (
        "import pyarrow as pa, pyarrow.csv as pc, pyarrow.compute as co\n"
        "import pyarrow.dataset as ds, pyarrow.parquet as pq\n"
        "t = pa.table({'a': list(range(50_000))}); pq.write_table(t, 'a.parquet'); pc.write_csv(t, 'a.csv')",
        "co.sum(t['a']).as_py(), pc.read_csv('a.csv').num_rows, ds.dataset('a.parquet').to_table().num_rows",
    ),
    "polars, imported": ("import polars", "polars.__name__"),
    "duckdb": (
        "import duckdb; c = duckdb.connect(); c.execute('create table t as select range a from range(100000)')",
        "c.execute('select sum(a) from t').fetchall(), duckdb.sql('select sum(range) from range(1000)').fetchall()",
    ),
    "scikit-learn, OpenMP": (
        "import numpy as np; from sklearn.ensemble import HistGradientBoostingRegressor as H\n"
        "from sklearn.cluster import KMeans\nX = np.random.default_rng(0).random((2000, 5)); y = X.sum(1)",
        "H(max_iter=5).fit(X, y).predict(X[:1]).shape, KMeans(3, n_init=1, random_state=0).fit(X).inertia_ > 0",
    ),
    "scikit-learn, joblib": (
        "import numpy as np; from sklearn.ensemble import RandomForestClassifier as R\n"
        "X = np.random.default_rng(0).random((300, 5)); y = X[:, 0] > .5",
        "R(20, n_jobs=2, random_state=0).fit(X, y).score(X, y)",
    ),
    "joblib, processes": (
        "from joblib import Parallel, delayed; from math import sqrt",
        "Parallel(n_jobs=2)(delayed(sqrt)(i * i) for i in range(4))",
    ),
    "matplotlib": (
        "import matplotlib; matplotlib.use('Agg'); import matplotlib.pyplot as plt, io; f, ax = plt.subplots()",
        "(lambda b: (ax.plot([1, 2]), f.savefig(b), b.getvalue()[:4])[2])(io.BytesIO())",
    ),
    "torch": (
        "import torch; torch.manual_seed(0); net = torch.nn.Linear(200, 200); x = torch.ones(500, 200)",
        "tuple(net(x).relu().sum().backward() or net.weight.grad.shape), torch.get_num_threads() > 0",
    ),
    "sqlite": (
        "import sqlite3; c = sqlite3.connect('f.db'); c.execute('create table t(a)')\n"
        "c.execute('insert into t values (1)'); c.commit()",
        "c.execute('select a from t').fetchall(), c.execute('pragma integrity_check').fetchone()",
    ),
    "thread pool, idle": (
        "from concurrent.futures import ThreadPoolExecutor; pool = ThreadPoolExecutor(2)",
        "list(pool.map(abs, [-1, -2, -3]))",
    ),
    "asyncio": (
        "import asyncio\nasync def double(n):\n    await asyncio.sleep(0.01); return 2 * n",
        "await asyncio.gather(double(1), double(2))",
    ),
    "asyncio, threads": ("import asyncio", "await asyncio.to_thread(abs, -5)"),
    "asyncio, subprocess": (
        "import asyncio\nasync def run():\n"
        "    p = await asyncio.create_subprocess_exec('echo', 'hi', stdout=-1); return await p.communicate()",
        "(await run())[0]",
    ),
    "subprocess, ended": ("import subprocess", "subprocess.run(['echo', 'a'], capture_output=True).stdout"),
    "a file read half": (
        "open('l.txt', 'w').write('1\\n2\\n3\\n'); f = open('l.txt'); f.readline()",
        "(f.tell(), f.readline(), f.seek(2))[1]",
    ),
    "shared memory": (
        "from multiprocessing import shared_memory as m; s = m.SharedMemory(create=True, size=10); s.buf[0] = 7",
        "s.buf[0], m.SharedMemory(s.name, track=False).buf[0] if __import__('sys').version_info > (3, 13) else 7",
    ),
    "tqdm's kind of monitor that has ended": (
        "import threading; t = threading.Thread(target=abs, args=(1,)); t.start(); t.join()",
        "t.is_alive()",
    ),
}
REPLAYED = {
    "polars": (
        "import polars as pl; df = pl.DataFrame({'a': range(1000), 'g': [0, 1] * 500})",
        "df.lazy().group_by('g').agg(pl.col('a').sum()).sort('g').collect()['a'].to_list()",
        "polars has started threads",
    ),
    "a thread": (
        "import threading, queue; q, out = queue.Queue(), queue.Queue()\n"
        "def serve():\n    while True: out.put(q.get() + 1)\n"
        "threading.Thread(target=serve, daemon=True, name='server').start()",
        "(q.put(1), out.get())[1]",
        "1 thread of the code would be missing (server)",
    ),
    "a thread without an object": (
        "import _thread, time; _thread.start_new_thread(time.sleep, (1000,))",
        "1",
        "1 thread of the code would be missing (unnamed)",
    ),
    "a lock that a thread holds": (
        "import threading, time; lock, go = threading.Lock(), threading.Event()\n"
        "def hold():\n    with lock: go.wait()\n    go.clear(); lock.acquire(); lock.release(); go.wait()\n"
        "threading.Thread(target=hold, daemon=True).start()\nwhile not lock.locked(): time.sleep(0.01)",
        "lock.acquire(timeout=0.1)",
        "1 thread of the code would be missing",
    ),
    "thread pool, busy": (
        "import time; from concurrent.futures import ThreadPoolExecutor; pool = ThreadPoolExecutor(1)\n"
        "slow = pool.submit(time.sleep, 1000)",
        "slow.running()",
        "a pool's thread ThreadPoolExecutor",
    ),
    "multiprocessing.Pool": (
        "import multiprocessing as mp; pool = mp.get_context('fork').Pool(2)",
        "pool.map(abs, [-1, -2])",
        "2 processes that the code started would be missing",
    ),
    "a process that runs": (
        "import subprocess; p = subprocess.Popen(['sleep', '1000'])",
        "p.poll()",
        "1 process that the code started would be missing",
    ),
    "a logging queue": (
        "import logging, logging.handlers as h, queue, io; q = queue.Queue(); text = io.StringIO()\n"
        "listener = h.QueueListener(q, logging.StreamHandler(text)); listener.start()\n"
        "log = logging.getLogger('l'); log.propagate = False; log.addHandler(h.QueueHandler(q))",
        "(log.warning('w'), q.join(), 'w' in text.getvalue())[2]",
        "1 thread of the code would be missing",
    ),
    "a graphics processor": (  # none is on a test machine: what says that one is in use is in its place
        "import sys, types; sys.modules['torch'] = torch = types.ModuleType('torch')\n"
        "torch.cuda = types.SimpleNamespace(is_initialized=lambda: True)",
        "torch.cuda.is_initialized()",
        "a graphics processor is in use",
    ),
    "something that breaks the looking": (
        "import threading; threading.enumerate = None",
        "threading.enumerate",
        "it cannot be looked at",
    ),
}
PACKAGES = {"scikit-learn": "sklearn"}


def there(name):
    """Say whether the library that a case is about is installed; those of the standard library always are."""
    known = ("numpy", "scipy", "pandas", "pyarrow", "polars", "duckdb", "scikit-learn", "joblib", "matplotlib", "torch")
    library = name.partition(",")[0]
    return library not in known or importlib.util.find_spec(PACKAGES.get(library, library)) is not None


@pytest.fixture(scope="module")
def shared():
    with Sandbox(SandboxPolicy(workspace=None, processes=256, timeout=60)) as sandbox:
        yield sandbox


@pytest.fixture
def sandbox(shared):
    shared.reset()
    shared.supervisor.notes.clear()
    return shared


def value(sandbox, expression):
    seen = sandbox.execute(expression)
    assert seen.error is None, seen
    return seen.text


def there_and_back(sandbox, before, expression):
    """Use a library, keep the state, use it on, go back, and use it again: the values of the first and last use."""
    assert sandbox.execute(before).error is None
    first = value(sandbox, expression)
    sandbox.execute("import time; time.sleep(0.3)")  # threads that have done their work say so on a slow machine, too
    here = sandbox.checkpoint()
    assert sandbox.execute("import sys\nchanged = 1").error is None
    value(sandbox, expression)
    found = []
    for _ in range(2):
        sandbox.rollback(here)
        assert value(sandbox, "'changed' in globals()") == "False\n"
        found.append(value(sandbox, expression))
    here.drop()
    return first, *found


@pytest.mark.parametrize("name", WORKS)
def test_a_library_in_use_works_after_going_back(sandbox, name):
    if not there(name):
        pytest.skip("not installed")
    first, second, third = there_and_back(sandbox, *WORKS[name])
    assert first == second == third
    assert sandbox.supervisor.notes == []


@pytest.mark.parametrize("name", REPLAYED)
def test_what_a_copy_would_lack_is_made_by_running_the_code_again_and_said(sandbox, name):
    if not there(name):
        pytest.skip("not installed")
    before, expression, why = REPLAYED[name]
    first, second, third = there_and_back(sandbox, before, expression)
    assert first == second == third
    assert [note for note in sandbox.supervisor.notes if why in note and "of earlier code again" in note]


def test_a_copy_that_waits_for_a_missing_thread_is_ended_and_its_code_runs_again(sandbox):
    here, use = a_pool_that_is_not_ended(sandbox)
    sandbox.execute("x = 1")
    sandbox.rollback(here)
    assert sandbox.supervisor.notes == []
    seen = sandbox.execute(f"again = 1\nprint('once')\n{use}")
    assert (seen.error, seen.text) == (None, "once\n((1,), True)\n")
    assert any("waited for a thread that it did not have" in note for note in seen.notes)
    assert value(sandbox, "again, 'x' in globals()") == "(1, False)\n"


def test_a_copy_that_crashes_for_want_of_a_thread_runs_its_code_again(sandbox):
    native = "import ctypes; libc = ctypes.CDLL(None)\n"
    native += "call = ctypes.cast(libc.pause, ctypes.c_void_p)\n"
    native += "libc.pthread_create(ctypes.byref(ctypes.c_ulong()), None, call, None)"
    assert sandbox.execute(native).error is None
    here = sandbox.checkpoint()
    sandbox.execute("x = 1")
    sandbox.rollback(here)
    look = "import os, signal\nif len(os.listdir('/proc/self/task')) < 2: os.kill(os.getpid(), signal.SIGSEGV)\n'lives'"
    seen = sandbox.execute(look)
    assert (seen.error, seen.text) == (None, "'lives'\n"), seen
    crash = sandbox.execute("os.kill(os.getpid(), signal.SIGSEGV)")
    assert crash.error.ename == "Crashed"


def test_rehearsals_and_candidates_do_not_hang_either(sandbox):
    here, use = a_pool_that_is_not_ended(sandbox)
    assert [seen.text for seen in sandbox.rehearse(here, ["1", use])] == ["1\n", "((1,), True)\n"]
    here.drop()
    here, use = a_pool_that_is_not_ended(sandbox)
    found = sandbox.candidates(here, [use, "2"])
    assert [c.observation.text for c in found] == ["((1,), True)\n", "2\n"]


def a_pool_that_is_not_ended(sandbox):
    """Have a library in use as one whose pool nothing is known of; return a checkpoint, and how to use it again."""
    pytest.importorskip("sklearn")
    code = "import sys; sys.modules['_codeagent_forking'].before = lambda: None\n" + WORKS["scikit-learn, OpenMP"][0]
    use = WORKS["scikit-learn, OpenMP"][1]
    assert sandbox.execute(code).error is None
    assert value(sandbox, use) == "((1,), True)\n"
    return sandbox.checkpoint(), use


def test_a_copy_that_is_thrown_away_does_not_do_what_the_code_wants_done_at_the_end(sandbox):
    sandbox.execute("import atexit, pathlib; atexit.register(pathlib.Path('/tmp/at-the-end').touch)")
    for _ in range(5):
        sandbox.execute("import threading, time; threading.Thread(target=time.sleep, args=(0.3,)).start()")
    here = sandbox.checkpoint()
    sandbox.execute("1/0")
    sandbox.rollback(here)
    assert value(sandbox, "pathlib.Path('/tmp/at-the-end').exists()") == "False\n"


def test_a_candidates_event_loop_does_not_hear_the_others(sandbox):
    sandbox.execute("import asyncio; await asyncio.to_thread(abs, 1)")
    here = sandbox.checkpoint()
    found = sandbox.candidates(here, ["[await asyncio.to_thread(abs, -i) for i in range(50)][-1]"] * 3)
    assert [c.observation.text for c in found] == ["49\n"] * 3
