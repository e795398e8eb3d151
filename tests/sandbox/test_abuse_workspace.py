"""The working folder: any content is survived, secrets stay out, nothing comes back."""
# ruff: noqa: E501 - an attack is read best where its parts stand side by side

import hashlib
import os
import socket
import stat
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from jupyter_codeagent.errors import SandboxUnavailable
from jupyter_codeagent.sandbox import Sandbox
from jupyter_codeagent.sandbox.workspace import covers, plan, secret, too_wide
from tests.sandbox.conftest import small

MIB = 2**20


@pytest.fixture
def folder(tmp_path):
    found = tmp_path / "project"
    found.mkdir()
    tmp_path.chmod(0o755)
    return found


def inside(folder, code, **changes):
    with Sandbox(small(folder, **changes)) as sandbox:
        seen = sandbox.execute(code)
        assert seen.error is None, seen.error
        return seen.text.strip()


def digest(folder):
    """Return a hash over names, modes, times and contents."""
    found = hashlib.sha256()
    for root, folders, files in os.walk(os.fsencode(folder)):
        for name in sorted([*folders, *files]):
            path = os.path.join(root, name)
            info = os.lstat(path)
            found.update(name + repr((info.st_mode, info.st_size, info.st_mtime_ns)).encode())
            if stat.S_ISREG(info.st_mode) and info.st_size < MIB:
                with open(path, "rb") as file:
                    found.update(file.read())
    return found.hexdigest()


def test_nothing_that_code_writes_reaches_the_folder(folder):
    (folder / "a.txt").write_text("a")
    (folder / "sub").mkdir()
    (folder / "sub" / "b.txt").write_text("b")
    before = digest(folder)
    inside(
        folder,
        """
import os, shutil
open('a.txt', 'w').write('changed'); os.remove('sub/b.txt'); os.rmdir('sub'); os.mkdir('.git'); open('.git/config', 'w').write('x')
open('AGENTS.md', 'w').write('x'); os.mkdir('.vscode'); open('conftest.py', 'w').write('x'); os.symlink('/etc/passwd', 'l')
""",
    )
    assert digest(folder) == before


STRANGE = [
    b"new\nline",
    b"not\xffutf8",
    b"x" * 255,
    b" ",
    b"-rf",
    b"a'b\"c",
    b"*",
    b"\x1b[31mred",
    b"\xe2\x80\xaeevil",
    "é😀".encode(),
    b"~",
    b"$(id)",
]


def test_any_name_is_copied(folder):
    for name in STRANGE:
        Path(os.fsdecode(os.fsencode(folder) + b"/" + name)).write_bytes(name)
    text = inside(folder, "import os; print(sorted((n, open(n, 'rb').read()) for n in os.listdir(b'.')))")
    assert text == repr(sorted((n, n) for n in STRANGE))


def test_large_files_of_any_name_are_readable_but_not_writable(folder):
    path = os.fsencode(folder) + b"/big \xff\n"
    with open(path, "wb") as file:
        file.truncate(20 * MIB)
    code = "import os\nn = os.listdir(b'.')[0]; print(os.path.getsize(n), len(open(n, 'rb').read()))\ntry: open(n, 'r+b')\nexcept OSError as e: print(e.errno)"
    assert inside(folder, code, overlay=False) in (f"{20 * MIB} {20 * MIB}\n30", f"{20 * MIB} {20 * MIB}\n13")


def test_links_pipes_sockets_and_sparse_files_hold_nothing_up(folder):
    os.symlink("/etc/shadow", folder / "out")
    os.symlink("nowhere", folder / "dangling")
    os.symlink(".", folder / "loop")
    os.symlink("../..", folder / "up")
    os.mkfifo(folder / "pipe")
    with open(folder / "sparse", "wb") as file:
        file.truncate(2**40)
    server = socket.socket(socket.AF_UNIX)
    os.chdir(folder)
    server.bind("sock")
    text = inside(
        folder, "import os; print(sorted(os.listdir('.'))); print(os.path.getsize('sparse'), os.path.exists('out'))"
    )
    server.close()
    assert text == f"['dangling', 'loop', 'out', 'sparse', 'up']\n{2**40} False"


def test_what_cannot_be_read_cannot_be_read_inside(folder):
    if os.getuid() == 0:
        pytest.skip("root can read everything")
    (folder / "closed").write_text("x")
    (folder / "closed").chmod(0)
    (folder / "room").mkdir(0)
    (folder / "open").write_text("y")
    code = """
import os
def tried(what):
    try: return what()
    except OSError as e: return type(e).__name__
print(open('open').read(), tried(lambda: open('closed').read()), tried(lambda: os.listdir('room')))
"""
    assert inside(folder, code) == "y PermissionError PermissionError"
    assert inside(folder, code, overlay=False) in ("y  FileNotFoundError", "y FileNotFoundError FileNotFoundError")
    (folder / "room").chmod(0o700)


def test_a_hard_link_to_a_secret_is_only_its_content(folder):
    """A known limit: another name of the same file is not known to be secret."""
    (folder / ".env").write_text("KEY=1")
    os.link(folder / ".env", folder / "settings")
    assert inside(folder, "import os; print(os.listdir('.'))") == "['settings']"


@pytest.mark.parametrize(
    "name",
    [".env", ".env.local", "server.pem", "ID_RSA", "id_ed25519.pub", ".netrc", ".pypirc", "credentials.json", "a.key"],
)
def test_names_of_secrets_are_left_out_with_a_note(folder, name):
    (folder / name).write_text("canary")
    (folder / "data.csv").write_text("1")
    with Sandbox(small(folder)) as sandbox:
        assert sandbox.execute("import os; print(os.listdir('.'))").text == "['data.csv']\n"
        assert "1 name that secrets have" in sandbox.files_note
    assert secret(name)


def test_repositories_and_environments_are_not_copied(folder):
    for name in (".git", ".venv", "node_modules", "__pycache__", ".ssh", ".aws", "env"):
        (folder / name).mkdir()
        (folder / name / "config").write_text("token")
    (folder / "env" / "pyvenv.cfg").write_text("")
    text = inside(folder, "import os; print([os.path.join(r, f) for r, _, fs in os.walk('.') for f in fs])")
    assert text == "[]"


@pytest.fixture
def large(folder):
    """A folder with too many files to be copied."""
    folder.chmod(0o755)
    for n in range(5001):
        (folder / f"f{n}").touch()
    return folder


def test_a_folder_shown_read_only_hides_secrets_sockets_and_pipes(large):
    (large / ".env").write_text("canary")
    (large / ".git").mkdir()
    (large / ".git" / "config").write_text("canary")
    (large / "sub").mkdir()
    (large / "sub" / "server.key").write_text("canary")
    os.mkfifo(large / "pipe")
    server = socket.socket(socket.AF_UNIX)
    os.chdir(large)
    server.bind("sock")
    server.listen()
    before = digest(large)
    text = inside(
        large,
        overlay=False,
        code="""
import os, socket
def tried(what):
    try: return what()
    except OSError as e: return e.errno
print(tried(lambda: socket.socket(socket.AF_UNIX).connect('sock')), tried(lambda: os.open('pipe', os.O_RDWR)))
print(tried(lambda: open('.env').read()), tried(lambda: open('sub/server.key').read()), os.listdir('.git'))
print(tried(lambda: open('new', 'w')), tried(lambda: os.remove('f1')), tried(lambda: open('.git/x', 'w')))
""",
    )
    server.close()
    assert text == "111 13\n13 13 []\n30 30 30"
    assert digest(large) == before


def test_a_folder_shown_read_only_keeps_its_state(large):
    """The inodes of the machine's own file system are no memory of the code's."""
    with Sandbox(small(large, overlay=False, memory=256 * MIB)) as sandbox:
        assert sandbox.execute("x = 1; import time; time.sleep(0.5)").error is None
        assert sandbox.execute("x").text == "1\n"


def test_a_masked_folder_takes_no_memory(large):
    (large / ".ssh").mkdir()
    code = "try: open('.ssh/x', 'wb').write(bytes(10**6))\nexcept OSError as e: print(e.errno)"
    assert inside(large, code, overlay=False) in ("30", "28")


@pytest.mark.parametrize(
    "name", ["~", "/", "/tmp", "/usr", "/etc", "/proc", "/sys", "/dev", "/dev/shm", "/run", "/home", "/var", sys.prefix]
)
def test_a_folder_that_is_no_project_is_not_shown(name, tmp_path):
    path = os.path.realpath(os.path.expanduser(name))
    if not os.path.isdir(path):
        pytest.skip("there is no such folder")
    assert too_wide(Path(path))
    with Sandbox(small(path)) as sandbox:
        assert "more than a project" in sandbox.files_note
        names = sandbox.execute("import os; print(os.listdir('.'))").text
        assert ".ssh" not in names
        assert ".bash" not in names
        assert sandbox.execute("open('x', 'w').write('1'); import json, IPython; 1").error is None


def test_a_folder_below_tmp_with_spaces_and_other_letters_is_a_project():
    with tempfile.TemporaryDirectory(prefix="a b é '\"\\ ") as name:
        Path(name, "d.csv").write_text("1")
        assert inside(name, "print(open('d.csv').read())") == "1"


def test_named_files_are_shown_where_they_are_read_only(folder, tmp_path):
    other = tmp_path / "elsewhere.csv"
    other.write_text("there")
    mine = folder / "mine.csv"
    mine.write_text("here")
    other.chmod(0o644)
    mine.chmod(0o644)
    code = f"print(open({str(other)!r}).read(), open('mine.csv').read())\ntry: open({str(other)!r}, 'w')\nexcept OSError as e: print(e.errno)"
    assert inside(folder, code, files=(other, mine)) == "there here\n30"


def test_a_project_on_the_path_keeps_its_secrets(tmp_path):
    """The root of an editable install is read by the interpreter, so it is shown; its secrets are not."""
    project = tmp_path / "proj"
    (project / "pkg").mkdir(parents=True)
    tmp_path.chmod(0o755)
    (project / "pkg" / "__init__.py").write_text("value = 42")
    (project / ".env").write_text("canary")
    (project / ".git").mkdir()
    (project / ".git" / "config").write_text("canary")
    code = f"""
import sys
sys.path.insert(0, {str(project)!r})
from jupyter_codeagent.sandbox import Sandbox, SandboxPolicy
with Sandbox(SandboxPolicy(workspace=None)) as sandbox:
    seen = sandbox.execute('''
import sys, os
sys.path.append({str(project)!r})
import pkg
print(pkg.value, os.listdir({str(project / ".git")!r}), os.access({str(project / ".env")!r}, os.R_OK) and open({str(project / ".env")!r}).read())
''')
    print(seen.text, seen.error and seen.error.ename)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, cwd=tmp_path)
    assert "canary" not in done.stdout
    assert "PermissionError" in done.stdout or "42 [] False" in done.stdout, done.stderr


def test_an_environment_inside_the_working_folder_works(folder):
    """`python -m venv .venv` in the project, and the notebook in the project too."""
    subprocess.run(
        [sys.executable, "-m", "venv", "--without-pip", "--system-site-packages", folder / ".venv"], check=True
    )
    (folder / "data.csv").write_text("5")
    paths = os.pathsep.join(p for p in sys.path if p)
    code = """
from jupyter_codeagent.sandbox import Sandbox, SandboxPolicy
with Sandbox(SandboxPolicy(workspace='.')) as sandbox:
    seen = sandbox.execute("import sys, os, IPython; print(open('data.csv').read(), sys.prefix, os.listdir('.'))")
    print(seen.text, seen.error)
"""
    done = subprocess.run(
        [folder / ".venv/bin/python", "-c", code], cwd=folder, capture_output=True, text=True, timeout=60,
        env={**os.environ, "PYTHONPATH": paths},
    )  # fmt: skip
    assert f"5 {folder}/.venv" in done.stdout, done.stderr
    assert "None" in done.stdout


@pytest.mark.parametrize("count", [3])
def test_files_that_vanish_during_the_copy_are_no_error(folder, count):
    import threading

    on = [True]

    def churn():
        n = 0
        while on:
            n += 1
            path = folder / f"t{n % 50}"
            path.write_text("x" * 1000)
            path.unlink()

    for n in range(300):
        (folder / f"stay{n}").write_text("y")
    thread = threading.Thread(target=churn)
    thread.start()
    try:
        for _ in range(20):
            assert plan(folder, ()).copied >= 300
    finally:
        on.clear()
        thread.join()


def test_deep_and_wide_folders_are_walked_in_bounded_time(folder):
    at = folder
    for _ in range(60):
        at = at / ("d" * 50)
        at.mkdir()
    for n in range(3000):
        (folder / f"dir{n}").mkdir()
    assert plan(folder, ()).path == str(folder)
    found, complete = covers(str(folder), 1000)
    assert (found, complete) == ([], False)


def test_a_folder_only_root_may_read_is_refused_in_words(large):
    if os.getuid() != 0:
        pytest.skip("it concerns root only")
    large.chmod(0o700)
    with pytest.raises(SandboxUnavailable, match="chmod o\\+rx"):
        Sandbox(small(large, overlay=False)).start()


def test_a_working_folder_that_is_missing_is_one_sentence(tmp_path):
    with pytest.raises(SandboxUnavailable, match="is not a folder"):
        Sandbox(small(tmp_path / "none")).start()
    with pytest.raises(SandboxUnavailable, match="does not exist"):
        Sandbox(small(None, files=(tmp_path / "none.csv",))).start()
