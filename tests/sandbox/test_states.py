"""What a failed attempt leaves behind: nothing. And what becomes of states when many are kept."""

import os

import pytest

from jupyter_codeagent.agent import Agent
from jupyter_codeagent.errors import SandboxUnavailable
from jupyter_codeagent.models.scripted import ScriptedModel
from jupyter_codeagent.observation import reports
from jupyter_codeagent.sandbox import Sandbox, SandboxPolicy
from jupyter_codeagent.trajectory import Action, Trajectory, Undone
from jupyter_codeagent.wording import restored
from tests.sandbox.tree import wait_until

MIB = 2**20

# what is there before an attempt, what the attempt does (it fails in the end), and an expression that is as before
CASES = {
    "assignment before the error": ("x = 1", "x = 2; new = 1; del x; 1/0", "x, 'new' in globals()"),
    "a shared frame changed in place": (
        "import pandas as pd; df = pd.DataFrame({'a': [1, 2]}); same = df",
        "df['b'] = 0; same.loc[0, 'a'] = 9; df.drop(0, inplace=True); 1/0",
        "df.to_dict(), same is df",
    ),
    "a time-out": ("seen = []", "seen.append(1)\nwhile True: pass", "seen"),
    "a crash": ("seen = []", "seen.append(1); import ctypes; ctypes.string_at(0)", "seen"),
    "out of memory": ("seen = []", "seen.append(1); keep = bytearray(2**30)", "seen, 'keep' in globals()"),
    "an exception in a thread": (
        "seen = []; import threading",
        "def work():\n    seen.append(1); 1/0\nt = threading.Thread(target=work); t.start(); t.join(); 1/0",
        "seen, threading.active_count()",
    ),
    "a function for the end": (
        "import atexit; before = atexit._ncallbacks()",
        "atexit.register(lambda: 1/0); 1/0",
        "atexit._ncallbacks() - before",
    ),
    "an exception in a weak reference's callback": (
        "import weakref; seen = []\nclass Thing: pass\nthing = Thing()",
        "ref = weakref.ref(thing, lambda _: (seen.append(1), 1/0)); del thing; 1/0",
        "seen, 'thing' in globals()",
    ),
    "an exception in a task": (
        "import asyncio; seen = []",
        "async def work():\n    seen.append(1); 1/0\ntask = asyncio.ensure_future(work()); await task",
        "seen, 'task' in globals(), await asyncio.sleep(0, 5)",
    ),
    "random": ("import random; random.seed(1)", "[random.random() for _ in range(9)]; 1/0", "random.getstate()[1][:3]"),
    "numpy's old random numbers": (
        "import numpy as np; np.random.seed(1)",
        "np.random.rand(9); 1/0",
        "np.random.get_state()[1][:3], np.random.get_state()[2]",
    ),
    "numpy's random numbers": (
        "import numpy as np; rng = np.random.default_rng(1); rng.random()",
        "rng.random(9); 1/0",
        "rng.bit_generator.state",
    ),
    "an open file that is read": (
        "open('/tmp/lines', 'w').write('one\\ntwo\\nthree\\n'); f = open('/tmp/lines'); first = f.readline()",
        "f.readline(); f.readline(); f.close(); 1/0",
        "f.closed, f.tell()",
    ),
    "an open file without a buffer": (
        "open('/tmp/bytes', 'wb').write(b'0123456789'); g = open('/tmp/bytes', 'rb', 0); part = g.read(3)",
        "g.read(4); 1/0",
        "g.tell(), (g.seek(3), g.read(2), g.seek(3))[1]",
    ),
    "an open file that was removed": (
        "import os; open('/tmp/gone', 'w').write('abcdef'); h = open('/tmp/gone', 'rb', 0)\n"
        "h.read(2); os.remove('/tmp/gone')",
        "h.read(); 1/0",
        "h.tell(), (h.read(), h.seek(2))[0]",
    ),
    "environment variables": (
        "import os; os.environ['A'] = '1'",
        "os.environ['A'] = '2'; os.environ['B'] = '3'; os.unsetenv('HOME'); 1/0",
        "os.environ['A'], 'B' in os.environ, os.popen('echo $A $B $HOME').read()",
    ),
    "the working directory": ("import os; os.chdir('/tmp')", "os.chdir('/'); 1/0", "os.getcwd()"),
    "a module that was patched": (
        "import math, json",
        "math.pi = 3; json.loads = None; import builtins; builtins.len = None; 1/0",
        "math.pi, callable(json.loads), len([1])",
    ),
    "modules": (
        "import sys; sys.modules.pop('wave', None)",
        "import wave; del sys.modules['json']; sys.modules['fake'] = 1; 1/0",
        "'wave' in sys.modules, 'json' in sys.modules, 'fake' in sys.modules",
    ),
    "sys.path": ("import sys; paths = list(sys.path)", "sys.path.insert(0, '/x'); 1/0", "sys.path == paths"),
    "warnings": (
        "import warnings",
        "warnings.simplefilter('error'); warnings.showwarning = None; 1/0",
        "len(warnings.filters), callable(warnings.showwarning)",
    ),
    "signal handlers": (
        "import signal; signal.signal(signal.SIGUSR1, signal.SIG_IGN)",
        "signal.signal(signal.SIGUSR1, lambda *_: 1/0); signal.setitimer(signal.ITIMER_REAL, 1000); 1/0",
        "signal.getsignal(signal.SIGUSR1), signal.getitimer(signal.ITIMER_REAL)",
    ),
    "the umask": ("import os; os.umask(0o022)", "os.umask(0o077); 1/0", "(os.umask(0o022), os.umask(0o022))[1]"),
    "limits and recursion": (
        "import sys, threading, decimal, locale",
        "sys.setrecursionlimit(50_000); decimal.getcontext().prec = 3; sys.set_int_max_str_digits(0); 1/0",
        "sys.getrecursionlimit() < 50_000, decimal.getcontext().prec, sys.get_int_max_str_digits()",
    ),
    "the shell's own names": (
        "1 + 1",
        "Out.clear(); In.clear(); get_ipython().user_ns.clear()",
        "'get_ipython' in globals(), isinstance(In, list)",
    ),
}


@pytest.fixture(scope="module")
def shared():
    with Sandbox(SandboxPolicy(workspace=None, timeout=2, memory=512 * MIB)) as sandbox:
        yield sandbox


@pytest.fixture
def sandbox(shared):
    shared.reset()
    shared.supervisor.notes.clear()
    return shared


def text(sandbox, code):
    seen = sandbox.execute(code)
    assert seen.error is None, seen
    return seen.text


@pytest.mark.parametrize("name", CASES)
def test_a_failed_attempt_leaves_nothing(sandbox, name):
    before, attempt, expression = CASES[name]
    assert sandbox.execute(before).error is None
    first = text(sandbox, expression)
    here = sandbox.checkpoint()
    for _ in range(2):
        sandbox.execute(attempt)
        sandbox.rollback(here)
        assert text(sandbox, expression) == first
    here.drop()
    assert sandbox.supervisor.notes == []


def test_random_numbers_go_on_as_they_would_have(sandbox):
    draw = "import random, numpy as np; random.random(), float(np.random.rand()), float(rng.random())"
    sandbox.execute("import numpy as np; rng = np.random.default_rng()")
    here = sandbox.checkpoint()
    first = text(sandbox, draw)
    sandbox.rollback(here)
    assert text(sandbox, draw) == first
    assert text(sandbox, draw) != first


def test_a_file_that_a_copy_has_open_does_not_move_with_the_live_one(sandbox):
    sandbox.execute("open('/tmp/n', 'w').write('0123456789'); f = open('/tmp/n', 'rb', 0)")
    here = sandbox.checkpoint()
    found = sandbox.candidates(here, ["f.read(2)", "f.read(3)", "f.read(4)"])
    assert [c.observation.text for c in found] == ["b'01'\n", "b'012'\n", "b'0123'\n"]
    assert text(sandbox, "f.read(1)") == "b'0'\n"


# -- many states ---------------------------------------------------------------------------------------


def kept(sandbox):
    return len([point for point in sandbox.supervisor.points if point.usable])


def test_the_oldest_of_too_many_copies_are_ended_and_made_again_from_the_log(tmp_path):
    with Sandbox(SandboxPolicy(workspace=tmp_path, checkpoints=4)) as sandbox:
        points = []
        for number in range(10):
            sandbox.execute(f"x = {number}; made = globals().get('made', []) + [x]")
            points.append(sandbox.checkpoint())
        assert kept(sandbox) == 4
        assert wait_until(lambda: len(sandbox.supervisor.inside()) <= 2 + 4 + 1 or sandbox.supervisor.bury())
        sandbox.rollback(points[9])
        assert sandbox.supervisor.notes == []
        sandbox.rollback(points[3])
        assert text(sandbox, "x, made") == "(3, [0, 1, 2, 3])\n"
        assert sandbox.supervisor.notes == [
            "Going back ran 4 pieces of earlier code again, because no more than 4 copies are kept."
        ]
        for point in points:
            point.drop()
        assert kept(sandbox) <= 1


def test_going_back_runs_only_what_came_after_the_last_copy_that_is_left(sandbox):
    sandbox.execute("import time; first = time.time_ns()")
    before = sandbox.checkpoint()
    first = text(sandbox, "first")
    sandbox.execute("second = time.time_ns()")
    here = sandbox.checkpoint()
    sandbox.execute("third = 3")
    os.kill(here.point.state.pid, 9)
    sandbox.rollback(here)
    assert text(sandbox, "first") == first
    assert "ran 2 pieces of earlier code again" in sandbox.supervisor.notes[0]
    before.drop()
    here.drop()


def test_a_state_that_cannot_be_copied_keeps_the_one_before_it(tmp_path):
    with Sandbox(SandboxPolicy(workspace=tmp_path)) as sandbox:
        sandbox.execute("import threading, time; began = time.time_ns()")
        began = text(sandbox, "began").strip()
        sandbox.execute("threading.Thread(target=time.sleep, args=(1000,), daemon=True).start()")
        here = sandbox.checkpoint()
        sandbox.execute("began = 0; 1/0")
        sandbox.rollback(here)
        assert text(sandbox, "began, threading.active_count()") == f"({began}, 2)\n"
        assert kept(sandbox) == 1
        here.drop()
        sandbox.reset()
        assert kept(sandbox) == 0


def test_copies_that_take_too_much_memory_are_ended_and_the_sandbox_lives(tmp_path):
    policy = SandboxPolicy(workspace=tmp_path, memory=256 * MIB, timeout=60)
    with Sandbox(policy) as sandbox:
        points = []
        for number in range(8):  # each state has 100 MiB that no other has
            sandbox.execute(f"x = {number}; data = bytes([x]) * (100 * {MIB})")
            points.append(sandbox.checkpoint())
        first = sandbox.supervisor.process
        assert wait_until(lambda: kept(sandbox) < 8, 20)
        assert points[-1].point.usable
        sandbox.rollback(points[0])
        assert text(sandbox, "x, data[0], len(data)") == f"(0, 0, {100 * MIB})\n"
        assert any("copies took more than 256 MiB of memory" in note for note in sandbox.supervisor.notes)
        assert sandbox.supervisor.process is first


def test_a_copy_takes_the_place_of_an_older_one_where_no_more_processes_are_allowed(tmp_path):
    policy = SandboxPolicy(workspace=tmp_path, processes=16, checkpoints=64)
    with Sandbox(policy) as sandbox:
        sandbox.execute("import time, threading; x = -1")
        points = [sandbox.checkpoint()]
        for number in range(12):
            sandbox.execute(f"x = {number}")
            points.append(sandbox.checkpoint())
        assert points[-1].point.usable
        sandbox.rollback(points[1])
        assert text(sandbox, "x") == "0\n"


@pytest.mark.parametrize("number", [0, -1, 1.5, True, "many"])
def test_a_policy_with_a_senseless_number_of_copies_is_refused(number):
    with pytest.raises(SandboxUnavailable, match=r"checkpoints is .* give at least 1 copy"):
        Sandbox(SandboxPolicy(workspace=None, checkpoints=number)).start()


# -- what is said of it --------------------------------------------------------------------------------


def test_going_back_tells_what_it_restored_and_ended(sandbox):
    sandbox.execute("import subprocess; x = 1")
    here = sandbox.checkpoint()
    left = "p = [subprocess.Popen(['sleep', '1000']) for _ in range(2)]"
    sandbox.execute(f"x = 2; open('f', 'w').write('a'); {left}; 1/0")
    undone = sandbox.rollback(here)
    assert undone == Undone(files=True, processes=2, notes=())
    assert restored(undone) == (
        "Rolled back: variables and files are as before this attempt; 2 processes that it left running were ended."
    )
    assert text(sandbox, "x, __import__('os').path.exists('f')") == "(1, False)\n"


def test_processes_of_code_that_crashed_are_told_of_as_well(sandbox):
    sandbox.execute("import subprocess, os; x = 1")
    here = sandbox.checkpoint()
    sandbox.execute("p = subprocess.Popen(['sleep', '1000']); os._exit(1)")
    assert sandbox.rollback(here).processes == 1
    assert sandbox.rollback(here).processes == 0


def test_a_failed_attempt_is_reported_to_the_model_as_it_was_undone(sandbox):
    thread = "import threading, time; threading.Thread(target=time.sleep, args=(1000,), daemon=True, name='t').start()"
    model = ScriptedModel([Action("", thread), Action("", "x = 1; 1/0"), Action("done")])
    trajectory = Trajectory("do it", limit=4)
    failed = [attempt for attempt in Agent(model, sandbox).run(trajectory) if not attempt.succeeded]
    said = next(blocks for entry, blocks in reports(trajectory) if entry is failed[0])[0]["text"]
    assert "Rolled back: variables and files are as before this attempt.\n" in said
    assert "Note: Going back ran 1 piece of earlier code again, because 1 thread of the code would be mis" in said
