"""Sandboxes that wait: handed out once, only while they are what a new one would be, and never left behind."""

import os
import signal
import subprocess
import sys
import time

import pytest

from jupyter_codeagent.errors import SandboxUnavailable
from jupyter_codeagent.sandbox.pool import Pool, resolved
from jupyter_codeagent.sandbox.slots import Slots
from tests.sandbox.conftest import small
from tests.sandbox.tree import parents


@pytest.fixture
def pool(tmp_path):
    made = Pool(Slots(2, tmp_path / "slots"))
    yield made
    made.close()


@pytest.fixture
def folder(tmp_path):
    made = tmp_path / "work"
    made.mkdir()
    (made / "data.txt").write_text("1")
    return made


def waiting(pool, policy):
    """Return the sandbox that waits, once it is started."""
    warm = pool._waiting.get(resolved(policy))
    if warm is not None:
        warm.starter.join()
    return warm and warm.sandbox


def test_one_that_is_asked_for_twice_waits_the_third_time(pool, folder):
    policy = small(folder)
    pool.take(policy).close()
    assert waiting(pool, policy) is None
    pool.take(policy).close()
    ready = waiting(pool, policy)
    assert ready is not None and ready.supervisor.zygote.alive
    with pool.take(policy) as found:
        assert found is ready
        assert found.execute("open('data.txt').read()").text == "'1'\n"


def test_no_two_get_the_same(pool, folder):
    pool.prepare(small(folder))
    with pool.take(small(folder)) as first, pool.take(small(folder)) as second:
        assert first is not second


@pytest.mark.parametrize("change", ["data.txt", "new.txt"])
def test_one_whose_folder_has_changed_is_not_handed_out(pool, folder, change):
    policy = small(folder)
    pool.prepare(policy)
    stale = waiting(pool, policy)
    (folder / change).write_text("22")
    with pool.take(policy) as found:
        assert found is not stale and stale.closed
        assert found.execute(f"open('{change}').read()").text == "'22'\n"


def test_other_folders_and_limits_get_their_own(pool, folder, tmp_path):
    (tmp_path / "other").mkdir()
    pool.prepare(small(folder))
    ready = waiting(pool, small(folder))
    with pool.take(small(tmp_path / "other")) as other, pool.take(small(folder, timeout=4)) as slower:
        assert ready not in (other, slower) and not ready.closed


def test_no_more_wait_than_there_are_slots(folder, tmp_path):
    pool = Pool(Slots(1, tmp_path / "slots"))
    other = Pool(Slots(1, tmp_path / "slots"))  # of another process, as it were
    pool.prepare(small(folder))
    other.prepare(small(folder))
    assert waiting(pool, small(folder)) and waiting(other, small(folder)) is None
    pool.close()
    other.prepare(small(folder))
    assert waiting(other, small(folder))
    other.close()


def test_one_that_nobody_takes_is_ended(folder, tmp_path):
    pool = Pool(Slots(1, tmp_path / "slots"), idle=0.2)
    pool.prepare(small(folder))
    sandbox = pool._waiting[resolved(small(folder))].sandbox
    deadline = time.monotonic() + 30
    while not sandbox.closed and time.monotonic() < deadline:
        time.sleep(0.02)
    assert sandbox.closed and not pool._waiting


def test_what_cannot_be_started_says_so_to_who_takes_it(pool, tmp_path):
    policy = small(tmp_path / "missing")
    pool.prepare(policy)
    with pytest.raises(SandboxUnavailable, match="is not a folder"):
        pool.take(policy)


def test_one_that_cannot_be_started_keeps_no_slot(folder, tmp_path):
    pool, policy = Pool(Slots(1, tmp_path / "slots")), small(folder, min_tier="B")
    pool.prepare(policy)
    deadline = time.monotonic() + 30
    while (slot := pool.slots.take()) is None and time.monotonic() < deadline:
        time.sleep(0.02)
    assert slot is not None and not pool._waiting
    slot.release()
    with pytest.raises(SandboxUnavailable, match="min_tier"):
        pool.take(policy)


def test_nothing_is_left_when_the_process_is_killed(folder, tmp_path):
    code = (
        "import sys, time; from pathlib import Path\n"
        "from jupyter_codeagent.sandbox import SandboxPolicy\n"
        "from jupyter_codeagent.sandbox.pool import Pool\nfrom jupyter_codeagent.sandbox.slots import Slots\n"
        "pool = Pool(Slots(1, Path(sys.argv[2]))); policy = SandboxPolicy(workspace=sys.argv[1])\n"
        "pool.prepare(policy); (warm,) = pool._waiting.values(); warm.starter.join()\n"
        "print(warm.sandbox.supervisor.zygote.pid, flush=True); time.sleep(100)"
    )
    command = [sys.executable, "-c", code, str(folder), str(tmp_path / "slots")]
    holder = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    zygote = int(holder.stdout.readline())
    assert zygote in parents()
    os.kill(holder.pid, signal.SIGKILL)
    holder.wait()
    holder.stdout.close()
    deadline = time.monotonic() + 30
    while zygote in parents() and time.monotonic() < deadline:
        time.sleep(0.02)
    assert zygote not in parents()
    slot = Slots(1, tmp_path / "slots").take()
    assert slot is not None
    slot.release()
