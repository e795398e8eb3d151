"""The working folder as an overlay: what is seen, what may be written, and that nothing is left of it."""
# ruff: noqa: E501 - an attack is read best where its parts stand side by side

import os
import subprocess
import sys
from pathlib import Path

import pytest

from jupyter_codeagent.errors import SandboxUnavailable
from jupyter_codeagent.sandbox import Sandbox
from tests.sandbox.conftest import MIB, small
from tests.sandbox.tree import wait_until


@pytest.fixture(params=["plain", "a:b,c \\ ='\"é"])
def folder(request, tmp_path):
    found = tmp_path / request.param
    found.mkdir()
    return found


@pytest.fixture
def sandbox(folder):
    (folder / "a.txt").write_text("a")
    (folder / "sub").mkdir()
    (folder / "sub" / "b.txt").write_text("b")
    with Sandbox(small(folder)) as found:
        if "No overlay is possible" in found.files_note:
            pytest.skip("no overlay can be mounted here")
        yield found


def said(sandbox, code):
    seen = sandbox.execute(code)
    assert seen.error is None, seen.error
    return seen.text.strip()


def test_files_are_there_and_changes_stay_inside(sandbox, folder):
    code = "import os; open('a.txt', 'a').write('x'); os.remove('sub/b.txt'); open('n', 'w').write('1'); "
    assert said(sandbox, code + "print(open('a.txt').read(), os.listdir('sub'))") == "ax []"
    assert (folder / "a.txt").read_text() == "a"
    assert (folder / "sub" / "b.txt").exists()
    assert not (folder / "n").exists()


def test_what_the_user_alone_may_read_is_readable_inside(folder):
    (folder / "mine").write_text("m")
    (folder / "mine").chmod(0o600)
    folder.chmod(0o700)
    with Sandbox(small(folder)) as sandbox:
        assert said(sandbox, "open('mine', 'a').write('x'); print(open('mine').read())") == "mx"


def test_the_mount_takes_no_set_user_id_and_no_devices(sandbox, folder):
    code = "import os; print([l for l in open('/proc/self/mountinfo') if ' - overlay ' in l][0].split()[5])"
    options = said(sandbox, code).split(",")
    assert {"nosuid", "nodev", "rw"} <= set(options)


def test_the_upper_layer_is_mounted_nowhere_inside(sandbox):
    code = """
lines = [l.split() for l in open('/proc/self/mountinfo') if ' - tmpfs ' in l]
print(sorted(l[4] for l in lines if 'rw' in l[5].split(',')))
"""
    assert said(sandbox, code) == "['/dev/shm', '/tmp']"


def test_the_disk_limit_holds_for_what_is_written(folder):
    with Sandbox(small(folder, disk=2 * MIB)) as sandbox:
        code = (
            "try:\n    for n in range(9): open(f'f{n}', 'wb').write(bytes(2**20))\nexcept OSError as e: print(e.errno)"
        )
        assert said(sandbox, code) == "28"


def test_a_large_file_can_be_changed_and_costs_nothing_to_show(folder):
    with open(folder / "big", "wb") as file:
        file.truncate(2**40)
    with Sandbox(small(folder)) as sandbox:
        assert said(sandbox, "import os; print(os.path.getsize('big'))") == str(2**40)


def test_names_of_secrets_and_of_the_ignore_file_are_not_there(folder):
    for name in (".env", "keep.csv", "private/p.csv", "logs/x.log", "logs/keep.log", "sub/deep/server.key", "a.log"):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text("canary")
    (folder / "sub" / "deep").chmod(0o750)
    (folder / ".codeagentignore").write_text("# mine\n/private/\n*.log\n!keep.log\n")
    for overlay in (True, False):
        with Sandbox(small(folder, overlay=overlay)) as sandbox:
            code = (
                "import os; print(sorted(os.path.relpath(os.path.join(r, f)) for r, _, fs in os.walk('.') for f in fs))"
            )
            assert said(sandbox, code) == "['.codeagentignore', 'keep.csv', 'logs/keep.log']"
            assert said(sandbox, "print(oct(os.stat('sub/deep').st_mode & 0o777))") == "0o750"
            code = "try: open('.env')\nexcept FileNotFoundError: print('none')"
            assert said(sandbox, code) == "none"


def test_a_hidden_name_can_be_written_anew_and_removed(folder):
    (folder / ".env").write_text("canary")
    with Sandbox(small(folder)) as sandbox:
        code = "open('.env', 'w').write('mine'); print(open('.env').read()); import os; os.remove('.env'); print(os.listdir('.'))"
        assert said(sandbox, code) == "mine\n[]"


def test_an_ignore_file_that_cannot_be_read_starts_no_sandbox(folder):
    (folder / ".codeagentignore").mkdir()
    with pytest.raises(SandboxUnavailable, match=r"\.codeagentignore.*cannot be used"):
        Sandbox(small(folder)).start()


def test_nothing_is_left_when_the_caller_is_killed(folder):
    code = f"""
import os, signal, sys
from jupyter_codeagent.sandbox import Sandbox, SandboxPolicy
sandbox = Sandbox(SandboxPolicy({str(folder)!r})); sandbox.start(); sandbox.execute("open('x', 'w').write('1')")
print(sandbox.supervisor.process.pid, flush=True)
os.kill(os.getpid(), signal.SIGKILL)
"""
    before = Path("/proc/self/mountinfo").read_text()
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    pid = int(done.stdout)
    assert wait_until(lambda: not os.path.exists(f"/proc/{pid}"))
    assert Path("/proc/self/mountinfo").read_text() == before
    assert os.listdir(folder) == []


def test_two_sandboxes_on_one_folder_are_apart(folder):
    with Sandbox(small(folder)) as one, Sandbox(small(folder)) as other:
        said(one, "open('x', 'w').write('1')")
        assert said(other, "import os; print(os.listdir('.'))") == "[]"


def test_closing_leaves_no_descriptor(folder, descriptors):
    with Sandbox(small(folder)) as sandbox:
        sandbox.execute("open('x', 'w').write('1')")
