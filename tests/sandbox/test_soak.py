"""A thousand attempts: nothing grows, and states stay protected however long their line is."""

import gc
import os
import tempfile
from pathlib import Path

import pytest

from jupyter_codeagent.sandbox import Sandbox, SandboxPolicy
from jupyter_codeagent.sandbox.state import SHIELDS
from tests.sandbox.tree import below, wait_until

pytestmark = pytest.mark.timeout(600)
MIB = 2**20


def resident():
    """Return this process's own memory, in bytes."""
    gc.collect()
    lines = Path("/proc/self/smaps_rollup").read_text().splitlines()
    return sum(int(line.split()[1]) * 1024 for line in lines if line.startswith(("Private_Dirty:", "Private_Clean:")))


def filters(pid):
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return next((int(line.split()[1]) for line in lines if line.startswith("Seccomp_filters:")), 0)


def held(sandbox):
    """Return how many descriptors, processes, points and files there are."""
    wait_until(lambda: not sandbox.supervisor.dying or sandbox.supervisor.bury())
    files = sandbox.execute("import os; sum(len(f) for p in ('/tmp', '/dev/shm', '.') for _, _, f in os.walk(p))")
    return len(os.listdir("/proc/self/fd")), len(below(os.getpid())), len(sandbox.supervisor.points), int(files.text)


def attempt(sandbox, number):
    """Do what the loop does in an attempt: most fail, in one way or the other, and some succeed."""
    before = sandbox.checkpoint()
    code = f"x = {number}; data = bytearray(100_000); f = open('/tmp/f{number}', 'w'); f.write('a'); y.append(x)"
    ends = ["; 1/0", "; 1/0", "", "; open('g', 'w').write('b'); 1/0", "; import sys; sys.exit(1)"]
    seen = sandbox.execute(code + ends[number % len(ends)])
    if seen.error is not None or number % 20 != 2:
        sandbox.rollback(before)
    before.drop()


def test_a_thousand_attempts_leave_nothing(tmp_path, monkeypatch):
    project, temporary = tmp_path / "project", tmp_path / "temporary"
    project.mkdir()
    temporary.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(temporary))
    with Sandbox(SandboxPolicy(workspace=project)) as sandbox:
        sandbox.execute("y = []")
        for number in range(100):  # what is loaded and cached once
            attempt(sandbox, number)
        first, size = held(sandbox), resident()
        for number in range(100, 1000):
            attempt(sandbox, number)
        last = held(sandbox)
        assert last[0] <= first[0] + 8
        assert last[1] <= first[1] + 3
        assert last[2] <= first[2] + 1
        assert last[3] <= first[3] + 45  # those that were kept have each written one
        assert resident() - size < 24 * MIB
        assert sandbox.execute("len(y)").text == "50\n"
    assert os.listdir(temporary) == os.listdir(project) == []


def test_more_states_in_one_line_than_there_is_room_for_filters_stay_protected():
    with Sandbox(SandboxPolicy(workspace=None)) as sandbox:
        sandbox.execute("n = 0; import os, signal, subprocess")
        start = sandbox.checkpoint()
        for _ in range(SHIELDS + 60):
            assert sandbox.execute("n += 1").error is None
        here = sandbox.checkpoint()
        assert filters(sandbox.supervisor.live.pid) <= SHIELDS + 3
        assert any("send signals" in note for note in sandbox.supervisor.notes)
        attack = (
            "refused = 0\nfor pid in list(range(1, 6000)) + list(range(-6000, -1)):\n"
            "    try:\n        os.kill(pid, 9)\n"
            "    except PermissionError:\n        refused += 1\n"
            "    except ProcessLookupError:\n        pass\nrefused > 0"
        )
        assert sandbox.execute(attack).text == "True\n"
        assert here.point.usable and start.point.usable and sandbox.supervisor.zygote.alive
        sandbox.execute("n = -1")
        sandbox.rollback(here)
        assert sandbox.execute("n").text == f"{SHIELDS + 60}\n"
        sandbox.rollback(start)
        assert sandbox.execute("p = subprocess.Popen(['sleep', '1000']); p.kill(); p.wait()").text == "-9\n"
