"""What only a sandbox on this machine shows: its processes, its bounds in time, and further ways for code to end.

What every sandbox does is in ``test_conformance.py``.
"""

import os
import random
import signal
import threading
import time
from pathlib import Path

import pytest

from jupyter_codeagent.errors import SandboxDied
from jupyter_codeagent.sandbox import Sandbox, SandboxPolicy

MIB = 2**20


@pytest.fixture(scope="module")
def shared(tmp_path_factory):
    folder = tmp_path_factory.mktemp("work")
    (folder / "data.csv").write_text("a,b\n1,2\n")
    policy = SandboxPolicy(workspace=folder, timeout=3, memory=512 * MIB, processes=64, disk=64 * MIB, output=MIB)
    with Sandbox(policy) as sandbox:
        yield sandbox


@pytest.fixture
def sandbox(shared):
    shared.reset()
    shared.supervisor.notes.clear()
    return shared


def names(sandbox):
    return [Path(f"/proc/{pid}/comm").read_text().strip() for pid in sandbox.supervisor.users()]


def ends(sandbox, code):
    seen = sandbox.execute(code)
    assert seen.error is not None, seen
    return seen.error.ename


# -- outputs ---------------------------------------------------------------------------------------


def test_output_of_the_descriptors_is_seen(sandbox):
    text = sandbox.execute("import os; os.system('echo shell'); os.write(2, b'raw\\n'); print('python')").text
    assert {"shell", "raw", "python"} <= set(text.split())


def test_magics_work(sandbox):
    assert sandbox.execute("%%bash\necho there").text == "there\n"
    assert "Wall time" in sandbox.execute("%time 1").text


def test_input_is_refused_in_words(sandbox):
    error = sandbox.execute("input('name?')").error
    assert error.ename == "StdinNotImplementedError"
    assert "nobody can answer" in error.evalue


def test_new_names_are_described(sandbox):
    names = sandbox.execute("import pandas as pd\ndf = pd.DataFrame({'a': [1, 2]}); n = 3; _hidden = 1").names
    assert names["n"] == "int 3"
    assert "(2, 1)" in names["df"] and "'a'" in names["df"]
    assert "_hidden" not in names


def test_a_syntax_error_has_its_line(sandbox):
    error = sandbox.execute("x = 1\ny = = 2").error
    assert error.ename == "SyntaxError"
    assert error.frames[0].line == 2


@pytest.mark.parametrize(
    "code", ["%nope", "import sys; sys.exit(3)", "raise KeyboardInterrupt", "1/0", "await nothing()"]
)
def test_whatever_code_raises_is_a_value(sandbox, code):
    assert sandbox.execute(code).error is not None
    assert sandbox.execute("1").text == "1\n"


# -- ends that are no Python exceptions --------------------------------------------------------------


@pytest.mark.parametrize(
    ("code", "ename"),
    [
        ("import ctypes; ctypes.string_at(0)", "Crashed"),
        ("import os; os.kill(os.getpid(), 40)", "Crashed"),
        ("import asyncio; await asyncio.sleep(60)", "TimedOut"),
        ("import os\nwhile True: os.write(1, b'x' * 4096)", "OutputLimit"),
    ],
)
def test_a_bad_end_has_a_name_and_leaves_the_state_before(sandbox, code, ename):
    sandbox.execute("kept = [1]")
    started = time.monotonic()
    assert ends(sandbox, "kept.append(2)\n" + code) == ename
    assert time.monotonic() - started < 3 + 3
    seen = sandbox.execute("kept")
    assert seen.text in ("[1]\n", "[1, 2]\n")  # the second where the process lives on
    if ename == "Crashed":
        assert seen.text == "[1]\n"


def test_memory_that_no_limit_of_one_process_counts_is_watched(tmp_path):
    policy = SandboxPolicy(workspace=tmp_path, timeout=30, memory=512 * MIB)
    with Sandbox(policy) as sandbox:
        sandbox.execute("kept = 1")
        bomb = "import mmap\nm = mmap.mmap(-1, 2**31)\nfor _ in range(64): m.write(b'x' * 2**25)"
        assert ends(sandbox, bomb) == "OutOfMemory"
        assert sandbox.execute("kept").text == "1\n"


@pytest.mark.parametrize(
    ("code", "note"),
    [
        ("f = open('full', 'wb')\nwhile True: f.write(bytes(2**20))", "disk limit is 64 MiB"),
        ("import threading, time\nwhile True: threading.Thread(target=time.sleep, args=(9,)).start()", "64 processes"),
    ],
)
def test_a_limit_that_raises_is_explained(sandbox, code, note):
    seen = sandbox.execute(code)
    assert seen.error is not None
    assert any(note in sentence for sentence in seen.notes), seen


def test_a_fork_made_by_the_code_does_not_speak_for_it(sandbox):
    seen = sandbox.execute(
        "import os\npid = os.fork()\nif pid == 0: print('child')\nelse: os.waitpid(pid, 0); print('parent')"
    )
    assert "parent" in seen.text
    assert seen.error is None
    assert sandbox.execute("pid > 0").text == "True\n"


@pytest.mark.parametrize("value", ["None", "open('/dev/null', 'w')", "__import__('io').StringIO()"])
def test_streams_that_the_code_replaces_are_back_in_the_next_cell(sandbox, value):
    sandbox.execute(f"import sys; sys.stdout = sys.stderr = {value}")
    seen = sandbox.execute("print('heard')")
    assert seen.error is None
    assert seen.text == "heard\n"


def test_a_thread_of_an_earlier_cell_is_not_taken_for_this_one(sandbox):
    sandbox.execute(
        "import threading, time\ndef late():\n    time.sleep(0.3); print('late')\nthreading.Thread(target=late).start()"
    )
    seen = sandbox.execute("time.sleep(0.6); print('now')")
    assert seen.text == "now\n"
    assert any("earlier code" in note for note in seen.notes)


# -- stopping ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("code", ["while True: pass", "import time; time.sleep(60)", "!sleep 60"])
def test_interrupt_from_another_thread_stops_within_a_second(sandbox, code):
    threading.Timer(0.5, sandbox.interrupt).start()
    started = time.monotonic()
    assert ends(sandbox, code) == "Interrupted"
    assert time.monotonic() - started < 1.5
    assert sandbox.execute("1").text == "1\n"


def test_ctrl_c_stops_the_code_and_is_raised_again(sandbox):
    main = threading.main_thread().ident
    threading.Timer(0.5, lambda: signal.pthread_kill(main, signal.SIGINT)).start()
    seen = []
    started = time.monotonic()
    with pytest.raises(KeyboardInterrupt):
        seen.extend(
            sandbox.stream(
                "print('on')\nwhile True:\n    try:\n        while True: pass\n    except KeyboardInterrupt: pass"
            )
        )
    assert time.monotonic() - started < 1.7
    assert sandbox.execute("2").text == "2\n"


def test_a_sigint_to_the_whole_process_group_ends_no_sandbox(sandbox):
    sandbox.execute("x = 1")
    before = signal.signal(signal.SIGINT, lambda *_: None)
    group = os.getpgrp()
    try:
        os.setpgrp() if group != os.getpid() else None
        os.killpg(os.getpgrp(), signal.SIGINT)
        time.sleep(0.2)
    finally:
        signal.signal(signal.SIGINT, before)
    assert sandbox.execute("x").text == "1\n"


def test_an_interrupt_at_the_end_does_not_hit_the_next_cell(sandbox):
    for wait in (0.001, 0.003, 0.005, 0.008, 0.012):
        timer = threading.Timer(wait, sandbox.interrupt)
        timer.start()
        sandbox.execute("sum(range(20_000))")
        timer.join()
        assert sandbox.execute("1 + 1").error is None


# -- checkpoints ---------------------------------------------------------------------------------------


def test_rollback_ends_daemons_of_the_attempt(sandbox):
    here = sandbox.checkpoint()
    sandbox.execute(
        "import subprocess\ndaemons = 'setsid sleep 1000 & setsid sleep 1000 & wait'\n"
        "subprocess.Popen(['sh', '-c', daemons], start_new_session=True)"
    )
    assert "sh" in names(sandbox)
    sandbox.rollback(here)
    assert {"sleep", "sh"}.isdisjoint(names(sandbox))


def test_a_lost_checkpoint_is_rebuilt_by_running_the_code_again(sandbox):
    sandbox.execute("x = 41")
    here = sandbox.checkpoint()
    sandbox.execute("x = 0")
    os.kill(here.point.state.pid, signal.SIGKILL)
    sandbox.rollback(here)
    assert sandbox.execute("x + 1").text == "42\n"


def test_a_lost_first_process_is_replaced_with_a_word_about_it(sandbox):
    sandbox.execute("x = 41")
    sandbox.checkpoint()
    os.kill(sandbox.supervisor.zygote.pid, signal.SIGKILL)
    time.sleep(0.1)
    seen = sandbox.execute("x + 1")
    assert seen.text == "42\n"
    assert any("new sandbox was started" in note for note in sandbox.supervisor.notes)


def test_random_sequences_of_work_and_rollback_agree_with_a_model(sandbox):
    rng = random.Random(7)
    model, points = {"x": 0}, []
    sandbox.execute("x = 0")
    for _ in range(60):
        step = rng.choice(["work", "work", "fail", "crash", "keep", "back", "drop"])
        if step == "work":
            model = {"x": model["x"] + 1}
            sandbox.execute("x += 1")
        elif step == "fail":
            here = sandbox.checkpoint()
            sandbox.execute("x += 100; 1/0")
            sandbox.rollback(here)
            here.drop()
        elif step == "crash":
            sandbox.execute("x += 1000; import os; os._exit(1)")
        elif step == "keep":
            points.append((sandbox.checkpoint(), dict(model)))
        elif step == "back" and points:
            point, model = rng.choice(points)
            sandbox.rollback(point)
        elif step == "drop" and points:
            points.pop(rng.randrange(len(points)))[0].drop()
        assert sandbox.execute("x").text == f"{model['x']}\n"


# -- values --------------------------------------------------------------------------------------------


def test_values_come_back_with_a_rollback_by_replay(sandbox):
    sandbox.put("v", [1, 2])
    here = sandbox.checkpoint()
    os.kill(here.point.state.pid, signal.SIGKILL)
    sandbox.execute("v.clear()")
    sandbox.rollback(here)
    assert sandbox.execute("v").text == "[1, 2]\n"


# -- its end -------------------------------------------------------------------------------------------


def test_a_closed_sandbox_says_so(tmp_path):
    sandbox = Sandbox(SandboxPolicy(workspace=tmp_path))
    sandbox.execute("1")
    pids = sandbox.supervisor.inside()
    sandbox.close()
    sandbox.close()
    assert not any(os.path.exists(f"/proc/{pid}") for pid in pids)
    with pytest.raises(SandboxDied, match="closed"):
        sandbox.execute("1")


def test_errors_in_a_row_do_not_fill_the_sandbox(sandbox):
    for _ in range(80):  # more than the process limit
        assert ends(sandbox, "1/0") == "ZeroDivisionError"
    assert sandbox.supervisor.notes == []


def test_many_attempts_leave_no_descriptors_and_no_processes(sandbox):
    def count():
        return len(os.listdir("/proc/self/fd")), len(sandbox.supervisor.inside())

    def attempt():
        here = sandbox.checkpoint()
        sandbox.execute("y = 1; 1/0")
        sandbox.rollback(here)
        here.drop()
        sandbox.execute("x = 1")

    attempt()
    attempt()  # the first one started from the pristine state, which needs no copy
    before = count()
    for _ in range(40):
        attempt()
    after = count()  # copies that were just dropped may not have been cleared away yet
    assert after[0] <= before[0] + 12
    assert after[1] <= before[1] + 3
