"""Several codes from one state, side by side: none of them may hurt another, the state, or what they began from."""

import itertools
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from jupyter_codeagent.sandbox import Sandbox
from jupyter_codeagent.sandbox.slots import Slots, private
from tests.sandbox.conftest import MIB, small


@pytest.fixture(scope="module")
def box():
    with Sandbox(small(timeout=5)) as found:
        yield found


@pytest.fixture
def begun(box):
    """A state with something in it, and its checkpoint; afterwards both must be as they were, and nothing left over."""
    box.reset()
    box.execute("x = [1]")
    here = box.checkpoint()
    before = set(box.supervisor.inside())
    yield here
    assert box.execute("x").text == "[1]\n"
    box.rollback(here)
    assert box.execute("x").text == "[1]\n"
    here.drop()
    box.reset()
    assert len(box.supervisor.inside()) <= len(before) + 1


def tried(box, here, *codes):
    """Return the candidates' observations; their checkpoints are dropped."""
    found = box.candidates(here, codes)
    for candidate in found:
        candidate.checkpoint.drop()
    return [candidate.observation for candidate in found]


def ends(seen):
    return [s.error.ename if s.error else None for s in seen]


def meet(name):
    """Return code that waits until another candidate runs which has `name` too; a busy machine may take its time."""
    return (
        "import socket, time\n"
        f"s = socket.socket(socket.AF_UNIX); address = '\\0{name}'\n"
        "try:\n    s.bind(address); s.listen(); s.settimeout(4); other, _ = s.accept()\n"
        "except OSError as error:\n"
        "    if error.errno != 98: raise\n"
        "    s.connect(address)\n"
    )


@pytest.fixture
def two_at_once(box, tmp_path, monkeypatch):
    """At least two may run at one time, whatever machine this is."""
    monkeypatch.setattr(box._aside, "slots", Slots(7, tmp_path / "slots"))


def test_each_sees_the_state_alone_and_none_changes_it(box, begun):
    seen = tried(box, begun, *[f"x.append({i}); print(x)" for i in range(8)])
    assert [s.text for s in seen] == [f"[1, {i}]\n" for i in range(8)]


def test_they_run_at_one_time(box, begun, two_at_once):
    seen = tried(box, begun, meet("pair") + "print('met')", meet("pair") + "print('met')")
    assert [s.text for s in seen] == ["met\n", "met\n"]


def test_where_there_is_no_slot_they_run_one_after_the_other(box, begun, monkeypatch, tmp_path):
    monkeypatch.setattr(box._aside, "slots", Slots(0, tmp_path / "slots"))
    seen = tried(box, begun, *["import time; a = time.time(); time.sleep(0.05); print(a, time.time())"] * 3)
    spans = [tuple(map(float, s.text.split())) for s in seen]
    assert all(end <= start for (_, end), (start, _) in itertools.pairwise(spans))


def test_one_that_crashes_hangs_or_takes_too_much_leaves_the_others(begun, box, two_at_once):
    seen = tried(
        box,
        begun,
        "import os; os._exit(3)",
        "while True: pass",
        "import signal; signal.signal(signal.SIGINT, signal.SIG_IGN)\nwhile True: pass",
        "big = [bytearray(2**20) for _ in range(700)]\nimport time; time.sleep(2)",
        "print('x' * 2**21)",
        "1/0",
        "x.append(2); print(x)",
    )
    assert ends(seen)[:3] == ["Crashed", "TimedOut", "TimedOut"]
    assert ends(seen)[3] in ("MemoryError", "OutOfMemory")
    assert ends(seen)[4:] == ["OutputLimit", "ZeroDivisionError", None]
    assert seen[-1].text == "[1, 2]\n"


HURT = (
    "import os, signal\n"
    "for pid in range(2, 400):  # the first is bubblewrap, which is as confined as the code\n"
    "    if pid != os.getpid():\n"
    "        for target in (pid, -pid):\n"
    "            try: os.kill(target, signal.SIGKILL)\n"
    "            except OSError: pass\n"
    "        try: open(f'/proc/{pid}/mem', 'r+b')\n"
    "        except OSError: pass\n"
    "        else:\n"
    "            print('reached', pid)\n"
)


def test_hostile_ones_cannot_hurt_each_other(box, begun, two_at_once):
    seen = tried(box, begun, HURT, "import time; time.sleep(0.5); print(x)", HURT, "print(x)")
    assert ends(seen) == [None] * 4
    assert [s.text for s in seen] == ["", "[1]\n", "", "[1]\n"]


STRIKE = (
    "import os, signal, time\n"
    "until = time.time() + 1\n"
    "while time.time() < until:\n"
    "    for number in range(2, 400):\n"
    "        if not os.path.exists(f'/proc/self/task/{{number}}'):\n"
    "            try: os.kill(number, signal.{0})\n"
    "            except OSError: pass\n"
)
THREADED = "import threading, time\nt = threading.Thread(target=time.sleep, args=(0.7,)); t.start(); t.join(); print(x)"


@pytest.mark.parametrize("number", ["SIGKILL", "SIGINT", "SIGTERM"])
def test_a_thread_that_is_struck_by_another_candidate_runs_again_alone(box, begun, two_at_once, number):
    seen = tried(box, begun, STRIKE.format(number), THREADED)
    assert ends(seen) == [None, None] and seen[1].text == "[1]\n"


def test_one_that_fills_the_process_limit_leaves_the_others(box, begun, two_at_once):
    bomb = "import os, time\nwhile True:\n    try:\n        if os.fork() == 0: time.sleep(60)\n    except OSError: pass"
    seen = tried(
        box, begun, bomb, "import subprocess; print(subprocess.run(['echo', 'ok'], capture_output=True).stdout)"
    )
    assert ends(seen)[0] in ("ProcessLimit", "TimedOut", "OutOfMemory")
    assert (ends(seen)[1], seen[1].text) == (None, "b'ok\\n'\n")


def test_daemons_of_a_candidate_end_with_it(box, begun):
    tried(box, begun, "import subprocess; subprocess.Popen('setsid sleep 1000 & sleep 1000', shell=True)")
    assert "sleep" not in [Path(f"/proc/{pid}/comm").read_text().strip() for pid in box.supervisor.inside()]


def test_a_candidate_with_threads_is_run_again_when_it_is_chosen(box, begun):
    code = "import threading, time\nn = 0\ndef count():\n    global n\n    while True: n += 1; time.sleep(0.001)\n"
    found = box.candidates(begun, [code + "threading.Thread(target=count, daemon=True).start(); time.sleep(0.05)"])
    box.supervisor.notes.clear()
    box.rollback(found[0].checkpoint)
    first = box.execute("m = n; import time; time.sleep(0.5); m == n").text
    box.rollback(begun)
    found[0].checkpoint.drop()
    assert first == "False\n"
    assert any("1 thread of the code would be missing" in note for note in box.supervisor.notes)


def test_the_one_that_is_chosen_goes_on(box, begun):
    found = box.candidates(begun, ["x.append(2)", "import os; y = 5; os.chdir('/tmp')", "1/0"])
    box.rollback(found[1].checkpoint)
    assert box.execute("import os; print(x, y, os.getcwd())").text == "[1] 5 /tmp\n"
    box.rollback(found[0].checkpoint)
    assert box.execute("x").text == "[1, 2]\n"
    for candidate in found:
        candidate.checkpoint.drop()
    box.rollback(begun)


def test_files_that_candidates_write_are_each_ones_own(box, begun):
    box.execute("open('kept.txt', 'w').write('0')")
    here = box.checkpoint()
    write = "before = open('kept.txt').read(); open('kept.txt', 'a').write('{0}'); open('/tmp/{0}', 'w').write('x')\n"
    look = "import glob; print(before, open('kept.txt').read(), sorted(glob.glob('/tmp/?')))"
    found = box.candidates(here, [write.format(n) + look for n in "abc"])
    assert [c.observation.text for c in found] == [f"0 0{n} ['/tmp/{n}']\n" for n in "abc"]
    look = "import glob; print(open('kept.txt').read(), sorted(glob.glob('/tmp/?')))"
    assert box.execute(look).text == "0 []\n"
    box.rollback(found[1].checkpoint)
    assert box.execute(look).text == "0b ['/tmp/b']\n"
    box.rollback(found[0].checkpoint)
    assert box.execute(look).text == "0a ['/tmp/a']\n"
    for checkpoint in [here, *(c.checkpoint for c in found)]:
        checkpoint.drop()
    box.rollback(begun)


def test_what_only_one_candidate_writes_is_not_seen_by_the_others(box, begun, two_at_once):
    seen = tried(
        box,
        begun,
        "open('mine.txt', 'w').write('1')",
        "import os, time; time.sleep(0.3); print(os.path.exists('mine.txt'))",
    )
    assert seen[1].text == "False\n"
    assert box.execute("import os; print(os.path.exists('mine.txt'))").text == "False\n"
    box.rollback(begun)


def test_one_that_was_lost_can_be_chosen_by_running_it_again(box, begun):
    found = box.candidates(begun, ["y = 41"])
    os.kill(found[0].checkpoint.point.state.pid, signal.SIGKILL)
    box.rollback(found[0].checkpoint)
    assert box.execute("y + 1").text == "42\n"
    found[0].checkpoint.drop()
    box.rollback(begun)


def test_an_interrupt_stops_all_at_once_and_begins_none_that_waits(box, begun, monkeypatch, tmp_path):
    monkeypatch.setattr(box._aside, "slots", Slots(1, tmp_path / "slots"))
    found = []
    asked = threading.Event()
    for seen in iterate(box.try_out(begun, ["print('go', flush=True)\nwhile True: pass"] * 4), found):
        if not asked.is_set() and sum("go" in s.text for s, _ in seen) == 2:
            asked.set()
            threading.Thread(target=box.interrupt).start()
    assert ends(c.observation for c in found) == ["Interrupted"] * 4
    assert ["go" in c.observation.text for c in found] == [True, True, False, False]
    for candidate in found:
        candidate.checkpoint.drop()


def test_ctrl_c_stops_all_and_leaves_nothing(box, begun):
    def press():
        while not box._aside._running:
            time.sleep(0.01)
        time.sleep(0.2)
        signal.pthread_kill(threading.main_thread().ident, signal.SIGINT)

    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    points = len(box.supervisor.points)
    try:
        threading.Thread(target=press).start()
        with pytest.raises(KeyboardInterrupt):
            box.candidates(begun, ["while True: pass"] * 3)
    finally:
        signal.signal(signal.SIGINT, before)
    assert len(box.supervisor.points) == points


def test_leaving_early_leaves_nothing(box, begun):
    trial = box.try_out(begun, ["import time; print(1, flush=True); time.sleep(60)"] * 2)
    points = len(box.supervisor.points)
    next(trial)
    trial.close()
    assert len(box.supervisor.points) == points


def test_many_rounds_leave_no_descriptors_and_no_processes(box, begun):
    def count():
        box.execute("x")
        return len(os.listdir("/proc/self/fd")), len(box.supervisor.inside())

    tried(box, begun, "y = 1", "1/0")
    before = count()
    for _ in range(25):
        tried(box, begun, "y = 1", "1/0", "import os; os._exit(1)")
    after = count()
    assert after[0] <= before[0] + 8 and after[1] <= before[1] + 3


def iterate(generator, found):
    """Yield what a generator yields; what it returns goes to `found`."""
    found += yield from generator


# -- slots ---------------------------------------------------------------------------------------------


def test_there_are_as_many_slots_as_are_said_and_they_come_back(tmp_path):
    slots = Slots(2, tmp_path / "slots")
    first, second = slots.take(), slots.take()
    assert first and second and slots.take() is None
    first.release()
    first.release()
    again = slots.take()
    assert again is not None
    again.release()
    second.release()


def test_a_slot_is_free_when_its_holder_is_killed(tmp_path):
    folder = tmp_path / "slots"
    code = (
        "import sys, time; from pathlib import Path; from jupyter_codeagent.sandbox.slots import Slots\n"
        "slot = Slots(1, Path(sys.argv[1])).take(); print(bool(slot), flush=True); time.sleep(100)"
    )
    holder = subprocess.Popen([sys.executable, "-c", code, str(folder)], stdout=subprocess.PIPE, text=True)
    assert holder.stdout.readline() == "True\n"
    assert Slots(1, folder).take() is None
    holder.kill()
    holder.wait()
    holder.stdout.close()
    slot = Slots(1, folder).take()
    assert slot is not None
    slot.release()


def test_a_folder_that_others_can_write_gives_no_slots(tmp_path):
    folder = tmp_path / "slots"
    folder.mkdir()
    folder.chmod(0o777)
    assert Slots(3, folder).take() is None
    with pytest.raises(PermissionError):
        private(folder)
    (tmp_path / "link").symlink_to(tmp_path)
    assert Slots(3, tmp_path / "link").take() is None


def test_what_together_takes_too_much_memory_runs_one_after_the_other(box, begun, two_at_once):
    hold = f"big = bytearray(b'x') * (300 * {MIB}); import time; time.sleep(0.5); print(len(big) // {MIB})"
    seen = tried(box, begun, hold, hold)
    assert [s.text for s in seen] == ["300\n", "300\n"]


def test_how_code_ended_is_told_also_after_another_copy_of_the_same_state_was_ended(box, begun):
    kept, other = box.candidates(begun, ["y = 1", "y = 2"])
    other.checkpoint.drop()
    box.rollback(kept.checkpoint)
    box.fetch("y")
    seen = box.execute("import os; os._exit(3)")
    assert seen.error.evalue.startswith("The process ended itself with exit status 3")
    kept.checkpoint.drop()
