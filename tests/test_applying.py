"""Changes of the sandbox in the user's folder: shown, applied whole or not at all, and taken back."""
# ruff: noqa: E501 - an attack is read best where its parts stand side by side

import json
import os
import signal
import subprocess
import sys
from importlib.machinery import EXTENSION_SUFFIXES

import pytest

from jupyter_codeagent.applying import TEMPORARY, Applier
from jupyter_codeagent.differing import difference
from jupyter_codeagent.sandbox import Sandbox
from jupyter_codeagent.unasked import reason
from tests.sandbox.conftest import small


@pytest.fixture
def folder(tmp_path):
    found = tmp_path / "project"
    (found / "sub").mkdir(parents=True)
    (found / "a.txt").write_text("one\ntwo\nthree\n")
    (found / "a.txt").chmod(0o640)
    (found / "sub" / "b.txt").write_text("b\n")
    return found


@pytest.fixture(params=[True, False], ids=["overlay", "copy"])
def sandbox(request, folder):
    with Sandbox(small(folder, overlay=request.param)) as found:
        yield found


def run(sandbox, code):
    seen = sandbox.execute(code)
    assert seen.error is None, seen.error


def kinds(sandbox):
    return {change.path: change.kind for change in sandbox.changes()}


def apply(sandbox, folder, *paths):
    applier = Applier(str(folder))
    outcome = applier.apply(sandbox.changes(), paths or None)
    sandbox.settle(outcome.applied)
    return applier, outcome


def test_changes_are_found_shown_applied_and_taken_back(sandbox, folder):
    run(sandbox, "import os; open('a.txt', 'w').write('one\\nTWO\\nthree\\n'); os.remove('sub/b.txt'); os.makedirs('n/m'); open('n/m/c', 'wb').write(b'\\0\\1')")
    assert kinds(sandbox) == {"a.txt": "changed", "n/m/c": "added", "sub/b.txt": "deleted"}
    shown = {change.path: difference(change, str(folder)) for change in sandbox.changes()}
    assert shown["a.txt"].split("\n")[1:] == [" one", "-two", "+TWO", " three"]
    assert "2 bytes, blake2b" in shown["n/m/c"]
    applier, outcome = apply(sandbox, folder)
    assert sorted(outcome.applied) == ["a.txt", "n/m/c", "sub/b.txt"]
    assert (folder / "a.txt").read_text() == "one\nTWO\nthree\n"
    assert (folder / "a.txt").stat().st_mode & 0o777 == 0o640
    assert (folder / "n" / "m" / "c").read_bytes() == b"\0\1"
    assert not (folder / "sub" / "b.txt").exists()
    assert kinds(sandbox) == {}
    applier.undo()
    assert (folder / "a.txt").read_text() == "one\ntwo\nthree\n"
    assert (folder / "sub" / "b.txt").read_text() == "b\n"
    assert not (folder / "n").exists()


def test_a_file_that_the_user_changed_is_refused(sandbox, folder):
    run(sandbox, "open('a.txt', 'w').write('mine')")
    assert kinds(sandbox) == {"a.txt": "changed"}
    (folder / "a.txt").write_text("the user's")
    _, outcome = apply(sandbox, folder)
    assert outcome.applied == ()
    assert "changed here" in outcome.refused["a.txt"]
    assert (folder / "a.txt").read_text() == "the user's"


def test_a_file_that_the_user_changed_is_refused_by_a_new_sandbox_too(sandbox, folder):
    run(sandbox, "open('a.txt', 'w').write('mine'); open('sub/b.txt', 'w').write('mine')")
    point = sandbox.checkpoint()
    (folder / "a.txt").write_text("the user's")
    sandbox.supervisor.process.kill()
    sandbox.supervisor.process.wait()
    sandbox.rollback(point)
    _, outcome = apply(sandbox, folder)
    assert outcome.applied == ("sub/b.txt",) and "changed here since" in outcome.refused["a.txt"]
    assert (folder / "a.txt").read_text() == "the user's"


def test_a_file_that_the_user_has_deleted_since_comes_back_only_when_it_is_named(sandbox, folder):
    run(sandbox, "open('a.txt', 'w').write('mine'); open('Makefile', 'w').write('all:')")
    assert kinds(sandbox) == {"Makefile": "added", "a.txt": "changed"}
    apply(sandbox, folder)
    (folder / "a.txt").unlink()
    _, outcome = apply(sandbox, folder)
    assert outcome.applied == () and outcome.refused["a.txt"].endswith("Name it to apply it.")
    assert outcome.refused["Makefile"].startswith("Programs run or obey Makefile")
    assert apply(sandbox, folder, "a.txt")[1].applied == ("a.txt",)
    assert (folder / "a.txt").read_text() == "mine"


def test_what_was_applied_and_changed_since_is_not_taken_back(sandbox, folder):
    run(sandbox, "open('a.txt', 'w').write('mine')")
    applier, _ = apply(sandbox, folder)
    (folder / "a.txt").write_text("the user's, later")
    assert "a.txt" in applier.undo().refused
    assert (folder / "a.txt").read_text() == "the user's, later"


def test_what_was_applied_can_be_changed_and_applied_again(sandbox, folder):
    run(sandbox, "open('a.txt', 'w').write('first')")
    apply(sandbox, folder)
    run(sandbox, "open('a.txt', 'a').write(' second')")
    _, outcome = apply(sandbox, folder)
    assert (outcome.applied, (folder / "a.txt").read_text()) == (("a.txt",), "first second")


def test_links_and_sockets_are_shown_and_refused(sandbox, folder):
    run(sandbox, "import os, socket; os.symlink('/etc/passwd', 'link'); socket.socket(socket.AF_UNIX).bind('sock'); os.remove('a.txt'); os.symlink('/etc/passwd', 'a.txt')")
    assert set(kinds(sandbox).values()) == {"special"}
    _, outcome = apply(sandbox, folder, "link", "sock", "a.txt")
    assert outcome.applied == ()
    assert (folder / "a.txt").read_text().startswith("one")


def test_a_link_in_the_users_folder_is_not_followed(sandbox, folder, tmp_path):
    (tmp_path / "outside").mkdir()
    run(sandbox, "import os; os.mkdir('out'); open('out/x', 'w').write('1')")
    changes = sandbox.changes()
    os.symlink(tmp_path / "outside", folder / "out")
    outcome = Applier(str(folder)).apply(changes)
    assert outcome.applied == ()
    assert os.listdir(tmp_path / "outside") == []


def test_no_rights_beyond_reading_and_writing_are_applied(sandbox, folder):
    run(sandbox, "import os; open('new', 'w').write('1'); os.chmod('new', 0o4777); open('a.txt', 'a').write('x'); os.chmod('a.txt', 0o4777)")
    apply(sandbox, folder)
    assert (folder / "new").stat().st_mode & 0o7111 == 0
    assert (folder / "a.txt").stat().st_mode & 0o7111 == 0


APART = ["conftest.py", ".envrc", ".vscode/tasks.json", "json.py", "pytest/__init__.py", "x.pth", "Makefile", ".Github/workflows/ci.yml", "repo/config"]


def test_what_runs_by_itself_is_applied_only_when_it_is_named(sandbox, folder):
    run(sandbox, f"import os\nfor n in {APART!r} + ['repo/HEAD', 'repo/objects/x', 'repo/refs/x', 'plain.py']:\n    os.makedirs(os.path.dirname(n) or '.', exist_ok=True); open(n, 'w').write('1')")
    _, outcome = apply(sandbox, folder)
    assert outcome.applied == ("plain.py",)
    assert set(APART) <= set(outcome.refused)
    _, outcome = apply(sandbox, folder, "conftest.py", ".vscode")
    assert outcome.applied == ("conftest.py",)


def test_hidden_files_and_caches_are_never_applied(folder):
    (folder / ".env").write_text("canary")
    with Sandbox(small(folder)) as sandbox:
        run(sandbox, "import os; open('.env', 'w').write('mine'); os.mkdir('__pycache__'); open('__pycache__/m.pyc', 'w').write('1')")
        _, outcome = apply(sandbox, folder, ".env", ".")
        assert outcome.applied == ()
        assert (folder / ".env").read_text() == "canary"
        assert not (folder / "__pycache__").exists()


def test_notebooks_are_compared_cell_by_cell(sandbox, folder):
    def notebook(*cells):
        return json.dumps({"cells": [{"id": i, "cell_type": "code", "source": s, "outputs": [o]} for i, s, o in cells]})

    (folder / "n.ipynb").write_text(notebook(("a", "x = 1", "old"), ("b", "y = 1", "")))
    with Sandbox(small(folder)) as fresh:
        run(fresh, f"open('n.ipynb', 'w').write({notebook(('a', 'x = 1', 'new'), ('b', 'y = 2', ''), ('c', 'z', ''))!r})")
        change = next(c for c in fresh.changes() if c.path == "n.ipynb")
        shown = difference(change, str(folder))
    assert "cell a" not in shown
    assert shown.split("\n") == ["@@ cell b @@", "-y = 1", "+y = 2", "@@ cell c added @@", "+z"]


def test_a_last_line_without_an_end_is_said(sandbox, folder):
    run(sandbox, "open('a.txt', 'w').write('one\\ntwo\\nthree'); open('new', 'w').write('x')")
    shown = {change.path: difference(change, str(folder)) for change in sandbox.changes()}
    mark = "\\ No newline at end of file"
    assert shown["a.txt"].split("\n") == ["@@ -1,3 +1,3 @@", " one", " two", "-three", "+three", mark]
    assert shown["new"].split("\n") == ["@@ -0,0 +1 @@", "+x", mark]


def test_characters_that_deceive_are_written_out(sandbox, folder):
    run(sandbox, "open('a.txt', 'w').write('\\u202eevil\\x1b[31m')")
    shown = difference(sandbox.changes()[0], str(folder))
    assert "<U+202E>" in shown
    assert "\x1b" not in shown


def test_names_of_the_users_own_files_need_no_naming():
    assert reason("conftest.py", False)
    assert reason("README.md", True) == ""
    assert reason("json.py", False) == ""
    assert reason("CONFTEST.PY", True)


REPOSITORY = ["a/HEAD", "a/commondir", "b/objects/x", "b/refs/x", "b/config", "lib/.git"]


def test_a_repository_in_several_folders_is_not_applied(sandbox, folder):
    run(sandbox, f"import os\nfor n in {REPOSITORY!r}:\n    os.makedirs(os.path.dirname(n), exist_ok=True); open(n, 'w').write('1')")
    _, outcome = apply(sandbox, folder)
    assert {"a/HEAD", "a/commondir", "lib/.git"} <= set(outcome.refused)


def test_the_file_that_says_where_a_repository_is_has_to_be_named():
    assert reason(".git", False)


@pytest.mark.parametrize("end", [".so", ".abi3.so", ".pyc", *EXTENSION_SUFFIXES])
def test_compiled_modules_in_place_of_installed_ones_have_to_be_named(end):
    assert "'pytest'" in reason(f"pytest{end}", True)
    assert reason(f"mine{end}", True) == ""


def test_what_came_into_a_deleted_folder_later_is_not_deleted(sandbox, folder):
    (folder / "sub" / "deep").mkdir()
    (folder / "sub" / "deep" / "c.txt").write_text("c")
    with Sandbox(sandbox.policy) as fresh:
        run(fresh, "import shutil, os; shutil.rmtree('sub'); os.mkdir('sub'); open('sub/mine', 'w').write('1')")
        fresh.changes()
        (folder / "sub" / "new.txt").write_text("the user's")
        (folder / "sub" / "deep" / "c.txt").write_text("the user's, too")
        applier, outcome = apply(fresh, folder)
        assert sorted(outcome.applied) == ["sub/b.txt", "sub/mine"]
        assert (folder / "sub" / "new.txt").read_text() == "the user's"
        assert (folder / "sub" / "deep" / "c.txt").read_text() == "the user's, too"
        again = applier.undo()
        fresh.settle(again.applied)
        assert (folder / "sub" / "b.txt").read_text() == "b\n"
        assert "sub/b.txt" in apply(fresh, folder)[1].applied


def test_what_comes_into_a_folder_that_was_applied_is_the_users(sandbox, folder):
    run(sandbox, "import os; os.mkdir('out'); open('out/x', 'w').write('1')")
    apply(sandbox, folder)
    (folder / "out" / "mine.txt").write_text("the user's")
    assert kinds(sandbox) == {}


@pytest.mark.parametrize("overlay", [True, False], ids=["overlay", "copy"])
def test_what_the_sandbox_does_not_see_is_neither_replaced_nor_deleted(folder, overlay):
    (folder / "sub" / ".env").write_text("canary")
    (folder / "id_rsa").write_text("canary")
    with Sandbox(small(folder, overlay=overlay)) as sandbox:
        run(sandbox, "import shutil; open('id_rsa', 'w').write('mine'); shutil.rmtree('sub')")
        _, outcome = apply(sandbox, folder, ".", "id_rsa")
        assert outcome.applied == ("sub/b.txt",)
        assert "canary" not in "".join(difference(change, str(folder)) for change in sandbox.changes())
    assert (folder / "sub" / ".env").read_text() == (folder / "id_rsa").read_text() == "canary"


def test_an_interrupted_application_can_be_taken_back(folder, sandbox):
    run(sandbox, "open('a.txt', 'w').write('x'); open('b.txt', 'w').write('x')")
    applier, changes = Applier(str(folder)), sandbox.changes()

    def interrupted():
        yield changes[0]
        raise KeyboardInterrupt

    class Stopped(list):
        rounds = 0

        def __iter__(self):
            self.rounds += 1
            return interrupted() if self.rounds > 1 else super().__iter__()

    with pytest.raises(KeyboardInterrupt):
        applier.apply(Stopped(changes))
    assert applier.undo().applied == ("a.txt",)
    assert (folder / "a.txt").read_text().startswith("one")


def test_a_rollback_takes_its_changes_along(sandbox):
    point = sandbox.checkpoint()
    run(sandbox, "open('a.txt', 'w').write('x'); open('n', 'w').write('1')")
    sandbox.rollback(point)
    assert kinds(sandbox) == {}


KILLED = """
import os, signal, sys
sys.path.insert(0, os.getcwd())
from jupyter_codeagent.applying import Applier
from jupyter_codeagent.sandbox.changes import Change
from jupyter_codeagent.sandbox import tree
from jupyter_codeagent.sandbox.contents import Pack, Content
folder, at = sys.argv[1], int(sys.argv[2])
left = at
def trace(frame, event, arg):
    global left
    left -= 1
    if left <= 0:
        os.kill(os.getpid(), signal.SIGKILL)
    return trace
pack = Pack(); pack.append(b"new" * 100000)
root = os.open(folder, os.O_RDONLY)
content = Content(pack, 300000, ((0, 300000, 0),))
changes = [Change(n, "changed", 300000, 9, content=content, old=tree.look_beneath(root, n)) for n in ("f0", "f1")]
sys.settrace(trace)
Applier(folder).apply(changes)
sys.settrace(None)
print("done")
"""


def test_a_kill_at_any_moment_leaves_each_file_old_or_new(tmp_path):
    old, new = b"old" * 3, b"new" * 100000
    at, ends = 1, set()
    while True:
        for name in ("f0", "f1"):
            (tmp_path / name).write_bytes(old)
        done = subprocess.run([sys.executable, "-c", KILLED, str(tmp_path), str(at)], capture_output=True, timeout=60)
        for name in ("f0", "f1"):
            content = (tmp_path / name).read_bytes()
            assert content in (old, new)
            ends.add((name, content == new))
        for name in os.listdir(tmp_path):
            if name.startswith(TEMPORARY):
                os.unlink(tmp_path / name)
        if done.returncode == 0:
            break
        assert done.returncode == -signal.SIGKILL, done.stderr
        at += 23
    assert len(ends) == 4


def test_a_full_disk_leaves_the_old_file_and_nothing_else(folder, sandbox):
    import resource

    run(sandbox, "big = bytes(range(256)) * 400; open('a.txt', 'wb').write(big)")
    run(sandbox, "import os; os.makedirs('new/deep'); open('new/deep/b.bin', 'wb').write(big)")
    changes = sandbox.changes()
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    try:
        applier = Applier(str(folder))
        resource.setrlimit(resource.RLIMIT_FSIZE, (50_000, before[1]))
        outcome = applier.apply(changes)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
        signal.signal(signal.SIGXFSZ, handler)
    assert outcome.applied == ()
    assert sorted(os.listdir(folder)) == ["a.txt", "sub"]
    assert (folder / "a.txt").read_text().startswith("one")
