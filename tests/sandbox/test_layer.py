"""Files go back with the state: whatever the code does to them between keeping and going back."""
# ruff: noqa: E501 - an attack is read best where its parts stand side by side

import os

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from jupyter_codeagent.sandbox import Sandbox
from tests.sandbox.conftest import MIB, small

LOOK = """
import os, stat, hashlib
def look(top):
    found = []
    for root, folders, files in os.walk(top, followlinks=False):
        if 'home' in folders: folders.remove('home')
        folders[:] = [n for n in folders if not os.path.ismount(os.path.join(root, n))]  # an interpreter below /tmp
        for path in [root, *(os.path.join(root, n) for n in files), *(os.path.join(root, n) for n in folders if os.path.islink(os.path.join(root, n)))]:
            i = os.lstat(path)
            kind = stat.S_IFMT(i.st_mode)
            what = os.readlink(path) if stat.S_ISLNK(i.st_mode) else ''
            if stat.S_ISREG(i.st_mode):
                os.chmod(path, 0o600); what = hashlib.sha256(open(path, 'rb').read()).hexdigest(); os.chmod(path, stat.S_IMODE(i.st_mode))
            found.append((path, i.st_mode, i.st_size if kind == stat.S_IFREG else 0, 0 if what and kind == stat.S_IFLNK else i.st_mtime_ns, what, i.st_nlink if kind == stat.S_IFREG else 0))
    return sorted(found)
import pprint
pprint.pprint(look('.') + look('/dev/shm') + look('/tmp'))
"""


def fill(folder):
    (folder / "a.txt").write_text("first")
    (folder / "empty").mkdir()
    (folder / "sub" / "deep").mkdir(parents=True)
    (folder / "sub" / "b.bin").write_bytes(bytes(range(256)) * 40)
    (folder / "sub" / "deep" / "c.txt").write_text("c")
    (folder / "sub" / "deep" / ".env").write_text("canary")
    os.symlink("a.txt", folder / "link")
    (folder / "locked").write_text("l")
    (folder / "locked").chmod(0o400)


@pytest.fixture(scope="module", params=["overlay", "copy"])
def shared(request, tmp_path_factory):
    folder = tmp_path_factory.mktemp("layer") / "project"
    folder.mkdir()
    fill(folder)
    with Sandbox(small(folder, overlay=request.param == "overlay", timeout=20)) as sandbox:
        yield sandbox


@pytest.fixture
def sandbox(shared):
    shared.reset()
    return shared


def run(sandbox, code):
    seen = sandbox.execute(code)
    assert seen.error is None, seen.error
    return seen.text


def there_and_back(sandbox, before, after):
    """Return the files before and after an excursion; the process must be the same."""
    run(sandbox, before)
    point = sandbox.checkpoint()
    kept = run(sandbox, LOOK)
    notes = len(sandbox.supervisor.notes)
    zygote = sandbox.supervisor.zygote
    sandbox.execute(after)
    sandbox.rollback(point)
    assert sandbox.supervisor.zygote is zygote, sandbox.supervisor.notes[notes:]
    found = run(sandbox, LOOK)
    point.drop()
    return kept, found


CASES = {
    "nothing": "",
    "a new file": "open('n', 'w').write('1')",
    "a changed file from below": "open('a.txt', 'a').write('1')",
    "a deleted file from below": "import os; os.remove('a.txt')",
    "a folder from below that is deleted": "import shutil; shutil.rmtree('sub')",
    "a folder from below that is made anew": "import shutil, os; shutil.rmtree('sub'); os.mkdir('sub'); open('sub/x', 'w').close()",
    "a file in place of a folder": "import shutil; shutil.rmtree('sub'); open('sub', 'w').close()",
    "a folder in place of a file": "import os; os.remove('a.txt'); os.makedirs('a.txt/b/c')",
    "modes": "import os; os.chmod('a.txt', 0); os.chmod('sub', 0o500); os.chmod('empty', 0)",
    "times": "import os; os.utime('a.txt', (1, 1)); os.utime('sub', (1, 1)); os.utime('.', (1, 1))",
    "links": "import os; os.remove('link'); os.symlink('/etc/passwd', 'link'); os.symlink('.', 'loop')",
    "a link in place of a file": "import os; os.remove('mine'); os.symlink('/etc/passwd', 'mine')",
    "a link in place of a folder": "import os, shutil; shutil.rmtree('own'); os.symlink('/tmp', 'own')",
    "hard links": "import os; os.link('mine', 'twin'); open('twin', 'a').write('both')",
    "hard links that are parted": "import os; os.remove('pair2'); open('pair2', 'w').write('other')",
    "hard links that are joined": "import os; os.remove('mine'); os.link('pair1', 'mine'); open('mine', 'a').write('x')",
    "a file that is replaced": "import os; open('t', 'w').write('new'); os.replace('t', 'mine')",
    "a name for another": "import os; os.rename('mine', 'other'); os.rename('pair1', 'mine')",
    "a mapped file": "import mmap; f = open('mine', 'r+b'); m = mmap.mmap(f.fileno(), 0); m[0]; m[0] = 65; m.close(); f.close()",
    "temporary files": "open('/tmp/t', 'w').write('1'); open('/dev/shm/s', 'w').write('1'); import os; os.remove('/tmp/kept')",
    "strange names": "import os\nfor n in (b'new\\nline', b'\\xff\\xfe', b'x' * 255, '\\u202eevil'.encode(), b' '): open(n, 'w').close()",
    "a sparse file": "f = open('hole', 'wb'); f.truncate(20 * 2**20); f.seek(2**20); f.write(b'x'); f.close()",
    "a socket": "import socket; socket.socket(socket.AF_UNIX).bind('sock')",
    "a hidden name": "open('sub/deep/.env', 'w').write('mine')",
    "a deep tree": "import os; os.makedirs('/'.join('d' * 50))",
    "a full disk": "try:\n    open('big', 'wb').write(bytes(64 * 2**20))\nexcept OSError: pass",
    "a process that ends": "import os; open('a.txt', 'w').write('x'); os._exit(1)",
}
BEFORE = """
import os
open('mine', 'w').write('mine'); os.makedirs('own/sub', exist_ok=True); open('own/sub/f', 'w').write('f')
open('pair1', 'w').write('pair'); os.link('pair1', 'pair2'); open('/tmp/kept', 'w').write('k')
open('sparse', 'wb').truncate(2**20)
"""


@pytest.mark.parametrize("name", CASES)
def test_files_are_as_they_were_after(sandbox, name):
    kept, found = there_and_back(sandbox, BEFORE, CASES[name])
    assert found == kept


def test_what_the_kept_code_deleted_stays_deleted(sandbox):
    before = "import os, shutil; os.remove('a.txt'); shutil.rmtree('sub'); os.mkdir('sub'); open('sub/n', 'w').close()"
    after = "open('a.txt', 'w').close(); import shutil; shutil.rmtree('sub'); open('sub', 'w').close()"
    kept, found = there_and_back(sandbox, before, after)
    assert found == kept
    assert "'./a.txt'" not in found


def test_an_open_file_sees_what_was_put_back(sandbox):
    run(sandbox, "f = open('mine', 'w+'); f.write('one'); f.flush()")
    point = sandbox.checkpoint()
    run(sandbox, "open('mine', 'w').write('two, longer')")
    sandbox.rollback(point)
    assert run(sandbox, "f.seek(0); print(f.read())") == "one\n"


def test_a_reset_brings_the_folder_back(sandbox):
    kept = run(sandbox, LOOK)
    run(sandbox, BEFORE + CASES["a folder from below that is deleted"])
    sandbox.reset()
    assert run(sandbox, LOOK) == kept


def test_states_can_be_gone_to_in_any_order(sandbox):
    points, looks = [], []
    for n in range(4):
        run(sandbox, f"open('f{n}', 'w').write('{n}'); open('a.txt', 'a').write('{n}')")
        points.append(sandbox.checkpoint())
        looks.append(run(sandbox, LOOK))
    for n in (0, 3, 1, 2, 2, 0):
        sandbox.rollback(points[n])
        assert run(sandbox, LOOK) == looks[n]
    for point in points:
        point.drop()


def test_a_rehearsal_leaves_the_files_alone(sandbox):
    run(sandbox, "open('mine', 'w').write('1')")
    point = sandbox.checkpoint()
    kept = run(sandbox, LOOK)
    sandbox.rehearse(point, ["open('mine', 'w').write('2'); open('x', 'w').close()"])
    assert run(sandbox, LOOK) == kept
    point.drop()


TOO_MUCH = {
    "more files than can be looked at": "import os\nos.mkdir('many')\nfor n in range(21000): open(f'many/{n}', 'w').close()",
    "folders that lie too deep": "import os\nfor n in range(200): os.mkdir('d'); os.chdir('d')",
}


@pytest.mark.parametrize("name", TOO_MUCH)
def test_going_back_from_too_much_makes_a_new_sandbox(tmp_path, name):
    folder = tmp_path / "project"
    folder.mkdir()
    fill(folder)
    with Sandbox(small(folder, timeout=20)) as sandbox:
        run(sandbox, "open('mine', 'w').write('1'); x = 5")
        point = sandbox.checkpoint()
        run(sandbox, TOO_MUCH[name])
        sandbox.rollback(point)
        assert (
            run(sandbox, "import os; print(x, sorted(os.listdir('.')))")
            == "5 ['a.txt', 'empty', 'link', 'locked', 'mine', 'sub']\n"
        )
        assert any("new sandbox" in note for note in sandbox.supervisor.notes)


def test_a_state_with_too_much_to_keep_is_made_again(tmp_path):
    with Sandbox(small(tmp_path, disk=2 * MIB)) as sandbox:
        points = []
        for n in range(6):
            run(sandbox, f"open('f', 'wb').write(b'{n}' * 2**20)")
            points.append(sandbox.checkpoint())
        sandbox.rollback(points[5])
        assert run(sandbox, "print(open('f').read(1))") == "5\n"
        sandbox.rollback(points[0])
        assert run(sandbox, "print(open('f').read(1))") == "0\n"


# an ordinary user cannot look into a closed folder from outside: there the code that led to the state runs again
MODES = [0, 0o400, 0o600, 0o700, 0o755, 0o4755] if os.getuid() == 0 else [0o500, 0o700, 0o755, 0o4755]
NAMES = st.sampled_from(
    [
        "a.txt",
        "sub",
        "sub/b.bin",
        "sub/deep",
        "sub/deep/c.txt",
        "link",
        "locked",
        "empty",
        "n",
        "n/m",
        "n/m/o",
        "sub/n",
        "/tmp/t",
        "/dev/shm/s",
    ]
)
ACTS = st.one_of(
    st.tuples(st.just("write"), NAMES, st.binary(max_size=20)),
    st.tuples(st.just("append"), NAMES, st.binary(min_size=1, max_size=5)),
    st.tuples(st.just("cut"), NAMES, st.integers(0, 5000)),
    st.tuples(st.sampled_from(["remove", "folder", "tree"]), NAMES, st.just(0)),
    st.tuples(st.just("mode"), NAMES, st.sampled_from(MODES)),
    st.tuples(st.just("time"), NAMES, st.integers(0, 2**31)),
    st.tuples(st.sampled_from(["move", "hard", "soft"]), NAMES, NAMES),
)
DO = """
import os, shutil
for do, name, more in {acts!r}:
    try:
        if do == 'write': open(name, 'wb').write(more)
        elif do == 'append': open(name, 'ab').write(more)
        elif do == 'cut': os.truncate(name, more)
        elif do == 'remove': os.remove(name)
        elif do == 'folder': os.mkdir(name)
        elif do == 'tree': shutil.rmtree(name)
        elif do == 'mode': os.chmod(name, more)
        elif do == 'time': os.utime(name, (more, more))
        elif do == 'move': os.rename(name, more)
        elif do == 'hard': os.link(name, more)
        elif do == 'soft': os.symlink(name, more)
    except OSError: pass
"""


@settings(max_examples=25, deadline=None, suppress_health_check=list(HealthCheck))
@given(before=st.lists(ACTS, max_size=8), after=st.lists(ACTS, max_size=12))
def test_any_acts_are_undone(shared, before, after):
    shared.reset()
    opened = "import os\nfor r, ds, fs in os.walk('.'):\n    for d in ds: not os.path.islink(os.path.join(r, d)) and os.chmod(os.path.join(r, d), 0o700)\n"
    kept, found = there_and_back(shared, DO.format(acts=before) + opened, DO.format(acts=after))
    assert found == kept
