"""Every way to end: of one process, of the whole sandbox, of its owner. What stays is usable, or nothing stays."""
# ruff: noqa: E501 - an attack is read best where its parts stand side by side

import os
import signal
import subprocess
import sys
import textwrap
import threading
import time
from pathlib import Path

import pytest

from jupyter_codeagent.errors import SandboxDied
from jupyter_codeagent.sandbox import Sandbox
from jupyter_codeagent.sandbox.launch import Spawner
from tests.sandbox.conftest import small
from tests.sandbox.tree import below, children, command, living, parents, trees, wait_until

POLICY = {"timeout": 1}  # seconds; many of these attacks last as long as they may


def mounts():
    return Path("/proc/self/mountinfo").read_text()


def sockets():
    """Return the sockets in folders that could be the sandbox's; other programs have theirs."""
    lines = Path("/proc/net/unix").read_text().splitlines()
    return {line for line in lines if "bwrap" in line or "/run/codeagent" in line}


def temporary():
    return {p for p in os.listdir("/tmp") if "bwrap" in p or "bindfile" in p}


# -- processes ended from outside ------------------------------------------------------------------


ENDS = [
    (who, signum)
    for who in ("outer", "init", "zygote", "live", "checkpoint")
    for signum in (signal.SIGKILL, signal.SIGTERM, signal.SIGINT, signal.SIGSTOP)
    # a worker that is stopped hangs, which the time limit ends
    if signum != signal.SIGSTOP or who in ("outer", "init")
]


@pytest.mark.parametrize(("who", "signum"), ENDS, ids=lambda value: getattr(value, "name", value))
def test_a_process_ended_from_outside_costs_no_state(who, signum):
    with Sandbox(small()) as sandbox:
        sandbox.execute("kept = 1")
        point = sandbox.checkpoint()
        sandbox.execute("more = 2")
        tree = trees()[-1]
        live = max(tree.states)
        pids = {"outer": tree.outer, "init": tree.init, "zygote": tree.zygote, "live": tree.states[0]}
        pids["checkpoint"] = next(p for p in tree.states if p != tree.states[0]) if len(tree.states) > 1 else live
        os.kill(pids[who], signum)
        time.sleep(0.3)
        try:
            assert sandbox.execute("kept, more").text == "(1, 2)\n"
            sandbox.rollback(point)
            assert sandbox.execute("kept").text == "1\n"
            assert sandbox.execute("more").error.ename == "NameError"
        finally:
            if signum == signal.SIGSTOP:
                for pid in living([pids[who]]):
                    os.kill(pid, signal.SIGCONT)


@pytest.mark.parametrize("who", ["outer", "init", "zygote", "live"])
def test_a_process_ended_while_code_runs_is_one_error(who):
    with Sandbox(small()) as sandbox:
        sandbox.execute("kept = 1")
        sandbox.execute("1")
        tree = trees()[-1]
        timer = threading.Timer(
            0.5,
            lambda: os.kill(
                {"outer": tree.outer, "init": tree.init, "zygote": tree.zygote}.get(who, tree.states[0]), 9
            ),
        )
        timer.start()
        seen = sandbox.execute("lost = 1; import time; time.sleep(2)")
        timer.join()
        assert seen.error is not None
        assert seen.error.ename == "Crashed"
        assert sandbox.execute("kept").text == "1\n"
        assert sandbox.execute("lost").error.ename == "NameError"


@pytest.mark.parametrize("way", ["kill", "close", "collect", "leave"])
def test_nothing_is_left_by_any_way_of_ending(way, descriptors):
    before = (mounts(), sockets(), temporary(), len(below(os.getpid())))
    sandbox = Sandbox(small())
    sandbox.execute("import subprocess; subprocess.Popen(['sleep', '1000'], start_new_session=True)")
    point = sandbox.checkpoint()
    pids = trees()[-1].all
    if way == "kill":
        os.kill(pids[0], signal.SIGKILL)
        assert wait_until(lambda: not living(pids[1:]))
        sandbox.close()
    elif way == "close":
        sandbox.close()
    elif way == "collect":
        del point
        del sandbox
        import gc

        gc.collect()
    else:
        with sandbox:
            pass
    assert wait_until(lambda: not living(pids))
    assert wait_until(lambda: (mounts(), sockets(), temporary(), len(below(os.getpid()))) == before)


OWNER = """
import os, sys, time
from jupyter_codeagent.sandbox import Sandbox, SandboxPolicy
sandbox = Sandbox(SandboxPolicy(workspace=None, memory=512 * 2**20, processes=64, timeout=100))
sandbox.execute("import subprocess, time; subprocess.Popen(['sleep', '1000'], start_new_session=True)")
sandbox.execute("import os\\nif os.fork() == 0:\\n    os.setsid()\\n    if os.fork() == 0: time.sleep(1000)\\n    os._exit(0)")
point = sandbox.checkpoint()
print("ready", flush=True)
"""
ENDINGS = {
    "killed": "sandbox.execute('import time; time.sleep(100)')",
    "killed_idle": "time.sleep(100)",
    "exits": "sys.exit(0)",
    "raises": "raise ValueError",
    "exits_at_once": "os._exit(3)",
    "aborts": "os.abort()",
    "executes_another": "os.execv('/bin/true', ['true'])",
    "forks_and_goes_on": "if os.fork() == 0: time.sleep(2)",
    "thread_still_executing": "import threading; threading.Thread(target=sandbox.execute, args=('while True: pass',), daemon=True).start(); time.sleep(0.3)",
}


def owner(code, **options):
    # a sandbox's owner; its session is its own, so that a signal to the group reaches nobody else
    return subprocess.Popen(
        [sys.executable, "-W", "ignore", "-c", textwrap.dedent(code)],
        stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, start_new_session=True, **options,
    )  # fmt: skip


@pytest.mark.parametrize("name", ENDINGS)
def test_nothing_outlives_the_owner(name):
    before = (mounts(), sockets(), temporary())
    process = owner(OWNER + ENDINGS[name])
    assert process.stdout.readline() == b"ready\n"
    pids = [
        p for p in below(process.pid) if "sleep" in command(p) or "worker.py" in command(p) or "bwrap" in command(p)
    ]
    if name.startswith("killed"):
        assert len(pids) >= 5
        time.sleep(0.3)
        process.kill()
    process.wait(20)
    process.stdout.close()
    assert wait_until(lambda: not living(pids), 20)
    assert wait_until(lambda: (mounts(), sockets(), temporary()) == before)


@pytest.mark.parametrize("delay", [0.0, 0.02, 0.05, 0.08, 0.12, 0.16, 0.2, 0.3])
def test_an_owner_killed_while_it_starts_leaves_nothing(delay):
    process = owner("""
        import sys
        from jupyter_codeagent.sandbox import Sandbox, SandboxPolicy
        print("ready", flush=True)
        Sandbox(SandboxPolicy(workspace=None)).start()
        import time; time.sleep(100)
    """)
    process.stdout.readline()
    time.sleep(delay)
    pids = below(process.pid)
    process.kill()
    process.wait()
    process.stdout.close()
    assert wait_until(lambda: not living(pids), 20)
    # one that was not yet known above has lost its parent; it ends as soon as it finds nobody at its channel
    assert wait_until(
        lambda: not [p for p, up in parents().items() if up == 1 and "run/codeagent/worker.py" in command(p)], 20
    )


def test_a_start_that_is_interrupted_can_be_made_again():
    process = owner("""
        import time, signal, threading, os
        from jupyter_codeagent.sandbox import Sandbox, SandboxPolicy
        import IPython
        sandbox = Sandbox(SandboxPolicy(workspace=None))
        for delay in (0.005, 0.02, 0.05, 0.1, 0.15, 0.2):
            timer = threading.Timer(delay, lambda: os.kill(os.getpid(), signal.SIGINT))
            try:
                timer.start(); sandbox.start(); time.sleep(1)
            except KeyboardInterrupt: pass
            timer.join()
            sandbox.execute("1")
            sandbox.close()
            sandbox = Sandbox(SandboxPolicy(workspace=None))
        print(sandbox.execute("1 + 1").text.strip(), flush=True)
    """)
    out = process.stdout.read()
    process.stdout.close()
    assert process.wait(60) == 0
    assert out == b"2\n"


def test_the_thread_that_started_it_may_end():
    found = []

    def work():
        sandbox = Sandbox(small())
        sandbox.execute("x = 1")
        found.append(sandbox)

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    time.sleep(0.5)
    assert found[0].execute("x").text == "1\n"
    found[0].close()


def test_sigint_to_the_whole_group_of_the_owner_stops_the_code_only():
    """Ctrl-C and Jupyter's stop button reach the owner and all of its process group."""
    process = owner("""
        import time
        from jupyter_codeagent.sandbox import Sandbox, SandboxPolicy
        sandbox = Sandbox(SandboxPolicy(workspace=None, timeout=60))
        sandbox.execute("kept = 5")
        print("ready", flush=True)
        began = time.monotonic()
        try:
            sandbox.execute("import time, subprocess; subprocess.run(['sleep', '50'])")
        except KeyboardInterrupt:
            print(time.monotonic() - began < 4, sandbox.execute("kept").text.strip(), flush=True)
    """)
    assert process.stdout.readline() == b"ready\n"
    time.sleep(0.7)
    os.killpg(process.pid, signal.SIGINT)
    assert process.stdout.readline() == b"True 5\n"
    process.stdout.close()
    assert process.wait(20) == 0


def test_ctrl_c_is_heard_while_a_state_answers_nothing():
    process = owner("""
        import time
        from jupyter_codeagent.sandbox import Sandbox, SandboxPolicy
        sandbox = Sandbox(SandboxPolicy(workspace=None, timeout=60))
        sandbox.execute("import sys, time; type(sys.stdout.worker).fork = lambda self, fds: time.sleep(100)")
        print("ready", flush=True)
        began = time.monotonic()
        try:
            sandbox.execute("import time; time.sleep(50)")
        except KeyboardInterrupt:
            pass
        print(time.monotonic() - began < 8, sandbox.execute("1").text.strip(), flush=True)
    """)
    assert process.stdout.readline() == b"ready\n"
    time.sleep(0.5)
    os.killpg(process.pid, signal.SIGINT)
    line = process.stdout.readline()
    process.stdout.close()
    process.kill()
    process.wait()
    assert line == b"True 1\n"


def test_a_fork_of_the_owner_that_ends_leaves_the_sandbox_to_its_parent():
    process = owner("""
        import os, sys
        from jupyter_codeagent.sandbox import Sandbox, SandboxPolicy
        sandbox = Sandbox(SandboxPolicy(workspace=None))
        sandbox.execute("kept = 5")
        child = os.fork()
        if child == 0: sys.exit(0)  # with all that runs at exit
        os.waitpid(child, 0)
        print(sandbox.execute("kept").text.strip(), flush=True)
    """)
    out = process.stdout.read()
    process.stdout.close()
    assert process.wait(30) == 0
    assert out == b"5\n"


# -- code that does not end ------------------------------------------------------------------------

STUBBORN = {
    "sleeps": "import time; time.sleep(100)",
    "computes": "while True: pass",
    "computes_in_c": "sum(range(10**12))",
    "ignores_sigint": "import signal; signal.signal(signal.SIGINT, signal.SIG_IGN)\nwhile True: pass",
    "blocks_all_signals": "import signal; signal.pthread_sigmask(signal.SIG_BLOCK, range(1, 65))\nwhile True: pass",
    "catches": "while True:\n    try:\n        while True: pass\n    except BaseException: pass",
    "awaits": "import asyncio; await asyncio.sleep(100)",
    "waits_for_a_child": "import subprocess; subprocess.run(['sleep', '100'])",
    "shell": "!sleep 100",
    "lock": "import threading; l = threading.Lock(); l.acquire(); l.acquire()",
    "joins_a_thread": "import threading, time; t = threading.Thread(target=time.sleep, args=(100,)); t.start(); t.join()",
    "finalizer": "class A:\n    def __del__(self):\n        while True: pass\na = A()\ndel a",
    "regex": "import re; re.match('(a+)+$', 'a' * 40 + 'b')",
    "pool": "import multiprocessing, time\nwith multiprocessing.get_context('fork').Pool(2) as p: p.map(time.sleep, [100, 100])",
    "stopped": "import os, signal; os.kill(os.getpid(), signal.SIGSTOP)",
    "vfork_child": "import subprocess; subprocess.run('trap \"\" INT; sleep 100', shell=True)",
}  # fmt: skip


@pytest.mark.parametrize("name", STUBBORN)
def test_code_that_does_not_end_is_stopped(victim, name):
    began = time.monotonic()
    seen = victim.execute("print('before', flush=True)\n" + STUBBORN[name])
    assert 0.9 < time.monotonic() - began < 4
    assert seen.error.ename == "TimedOut"
    assert "before" in seen.text


def test_a_daemon_of_a_failed_attempt_is_gone_after_the_rollback(victim):
    point = victim.checkpoint()
    victim.execute("""
import os
if os.fork() == 0:
    os.setsid()
    if os.fork() == 0: os.execv('/bin/sleep', ['sleep', '4321'])
    os._exit(0)
""")
    assert wait_until(lambda: any("sleep 4321" in command(p) for p in below(os.getpid())))
    victim.rollback(point)
    assert not any("sleep 4321" in command(p) for p in below(os.getpid()))
    point.drop()


def test_what_runs_at_exit_holds_nothing_up():
    sandbox = Sandbox(small())
    sandbox.execute("import atexit, time; atexit.register(time.sleep, 100)")
    began = time.monotonic()
    sandbox.close()
    assert time.monotonic() - began < 2
    with pytest.raises(SandboxDied):
        sandbox.execute("1")


def test_the_owner_has_no_children_left():
    assert wait_until(lambda: not [p for p in children(os.getpid(), parents()) if "bwrap" in command(p)] or trees())


def test_sandboxes_that_come_and_go_do_not_end_the_thread_that_looks_after_all():
    class Watched:
        def look_after(self):
            pass

    spawner, failures, over = Spawner(), [], threading.Event()

    def look():
        while not over.is_set():
            try:
                spawner.look()
            except BaseException as error:  # any would end that thread
                failures.append(error)

    thread = threading.Thread(target=look)
    thread.start()
    stay = [Watched() for _ in range(500)]
    end = time.monotonic() + 1
    while time.monotonic() < end and not failures:
        for one in stay:
            spawner.watch(one)
        for one in stay:
            spawner.forget(one)
    over.set()
    thread.join()
    assert failures == []


def test_looking_after_a_sandbox_that_is_closed_meanwhile_raises_nothing():
    sandbox = Sandbox(small())
    assert sandbox.execute("1").error is None
    closer = threading.Thread(target=sandbox.close)
    closer.start()
    while closer.is_alive():
        sandbox.look_after()
    sandbox.look_after()
