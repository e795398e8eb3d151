"""The command line, run as a user runs it, against a scripted Messages server."""

import json
import os
import signal
import subprocess
import sys
import sysconfig
import time
from pathlib import Path

import pytest
from nbformat import v4

from jupyter_codeagent import verify_notebook
from jupyter_codeagent.commands import model_stopped
from jupyter_codeagent.notebook_file import read_notebook, write_notebook
from jupyter_codeagent.stamp import state_of
from tests.messages_server import Turn, serving


@pytest.fixture
def folder(tmp_path):
    place = tmp_path / "work"
    place.mkdir()
    (place / "sales.csv").write_text("Region,Revenue \nN,$500\nS,$70\nN,$5\n")
    return place


def environment(tmp_path, url=""):
    kept = {k: v for k, v in os.environ.items() if not k.startswith(("ANTHROPIC", "JUPYTER"))}
    more = {"ANTHROPIC_BASE_URL": url, "ANTHROPIC_API_KEY": "a-key-of-tests"} if url else {}
    own = {"JUPYTER_CONFIG_DIR": str(tmp_path / "config"), "JUPYTER_DATA_DIR": str(tmp_path / "data")}
    return {**kept, **own, "NO_PROXY": "127.0.0.1", **more}


def command(*arguments):
    return [str(Path(sysconfig.get_path("scripts"), "jupyter-codeagent")), *map(str, arguments)]


def run(folder, *arguments, url=""):
    return subprocess.run(
        command(*arguments),
        cwd=folder,
        env=environment(folder.parent, url),
        capture_output=True,
        text=True,
        stdin=subprocess.DEVNULL,
        timeout=120,
    )


BAD = Turn("Read it.", code="import pandas as pd\npd.read_csv('sales.csv')['Revenue']")
GOOD = Turn("Strip.", code="print(open('sales.csv').read().count('N'))")


def test_task_is_solved_shown_and_saved(folder):
    with serving([BAD, GOOD, Turn(answer="There are two.")]) as server:
        done = run(folder, "run", "--task", "Count N, in sales.csv!", "--files", "sales.csv", url=server.url)
    assert done.returncode == 0, done.stderr
    assert done.stdout == "There are two.\n"
    for shown in ("Attempt 1 failed", "KeyError: 'Revenue'", "rolled back", "Attempt 2 succeeded", "127.0.0.1"):
        assert shown in done.stderr
    assert "a-key-of-tests" not in done.stderr
    path = folder / "count-n-in-sales-csv.solved.ipynb"
    assert f"jupyter lab {path.name}" in done.stderr
    assert f"Saved {path.name}; verified: 1 cell ran from the top in a fresh sandbox." in done.stderr
    assert state_of(read_notebook(path)) == "verified"
    sources = [c.source for c in read_notebook(path).cells]
    assert sources == ["> Count N, in sales.csv!", "Strip.", GOOD.code, "There are two."]
    assert "a-key-of-tests" not in path.read_text() and str(folder) not in path.read_text()
    assert verify_notebook(path).ok


def test_json_is_one_object_and_nothing_else(folder):
    with serving([BAD, GOOD, Turn(answer="two")]) as server:
        done = run(folder, "run", "--task", "x", "--json", "--check", "True", "-o", "o.ipynb", url=server.url)
    told = json.loads(done.stdout)
    assert done.stdout.count("\n") == 1
    assert (told["status"], told["answer"], told["notebook"]) == ("solved", "two", "o.ipynb")
    assert told["verified"] is True and told["differences"] == []
    attempts = told["tasks"][0]["attempts"]
    assert [a["status"] for a in attempts] == ["failed", "accepted"] and "KeyError" in attempts[0]["error"]
    [cell] = [c for c in read_notebook(folder / "o.ipynb").cells if c.cell_type == "code"]
    assert cell.metadata.jupyter_codeagent.status == attempts[1]["status"]
    assert told["tasks"][0]["checks"] == [{"check": "True", "passed": True, "detail": ""}]


def test_solved_notebook_that_is_not_reproducible_ends_with_status_1_and_stays(folder):
    with serving([Turn(code="import random\nprint(random.random())"), Turn(answer="Some number.")]) as server:
        done = run(folder, "run", "--task", "x", "--json", url=server.url)
    told = json.loads(done.stdout)
    assert done.returncode == 1 and (told["status"], told["verified"]) == ("solved", False) and told["differences"]
    assert "which is not reproducible" in done.stderr
    assert state_of(read_notebook(folder / "x.solved.ipynb")) == "failed"


def test_files_that_stay_in_the_sandbox_are_named(folder):
    with serving([Turn("Write.", code="open('made\\x1b.txt', 'w').write('x')"), Turn(answer="Done.")]) as server:
        done = run(folder, "run", "--task", "write a file", url=server.url)
    assert "Changed in the sandbox only: made" in done.stderr and "\x1b.txt" not in done.stderr
    assert not list(folder.glob("made*"))


def test_candidates_are_told_with_the_choice(folder):
    turns = [Turn("", code="x = 1", pace=0.01), Turn("", code="x = 2222"), Turn(answer="two"), Turn(answer="two")]
    with serving(turns) as server:
        asked = ["run", "--task", "x", "--json", "--no-verify", "--candidates", 2, "--check", "x > 5", "-o", "c.ipynb"]
        done = run(folder, *asked, url=server.url)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["verified"] is None and state_of(read_notebook(folder / "c.ipynb")) == "none"
    first, second = json.loads(done.stdout)["tasks"][0]["attempts"]
    assert not first["chosen"] and second["chosen"] and second["of"] == 2
    assert "Candidate 2 of 2 was chosen: passes 1 of 1 check, more than the others." in done.stderr
    assert [c.source for c in read_notebook(folder / "c.ipynb").cells if c.cell_type == "code"] == ["x = 2222"]


def test_unsolved_task_ends_with_status_1_and_is_saved(folder):
    with serving([BAD]) as server:
        done = run(folder, "run", "--task", "x", "--attempts", 1, "--keep-attempts", url=server.url)
    assert done.returncode == 1
    assert "Not solved within 1 attempt" in done.stderr
    assert "%%attempt" in (folder / "x.solved.ipynb").read_text()


def test_default_name_never_overwrites(folder):
    (folder / "x.solved.ipynb").write_text("mine")
    with serving([Turn(code="1"), Turn(answer="1")]) as server:
        assert run(folder, "run", "--task", "x", url=server.url).returncode == 0
    assert (folder / "x.solved.ipynb").read_text() == "mine"
    assert (folder / "x-2.solved.ipynb").exists()


def test_notebook_is_run_in_order_and_saved_beside_it(folder):
    cells = [v4.new_code_cell(s) for s in ("%load_ext jupyter_codeagent", "x = 20", "%%agent\ndouble x", "print(y)")]
    write_notebook(v4.new_notebook(cells=cells), folder / "n.ipynb")
    with serving([Turn(code="y = 2 * x"), Turn(answer="40")]) as server:
        done = run(folder.parent, "run", "work/n.ipynb", url=server.url)
    assert done.returncode == 0, done.stderr
    assert "cell 3: double x" in done.stderr
    saved = read_notebook(folder / "n.solved.ipynb").cells
    assert [c.source for c in saved] == ["x = 20", "> double x", "y = 2 * x", "40", "print(y)"]
    assert (saved[0].id, saved[-1].id) == (cells[1].id, cells[3].id)
    assert run(folder, "verify", "n.solved.ipynb").returncode == 0


def test_end_of_each_task_is_told_before_the_next_cell(folder):
    cells = [v4.new_code_cell(s) for s in ("%%agent\nfirst task", "print(y)", "%%agent\nsecond task")]
    write_notebook(v4.new_notebook(cells=cells), folder / "n.ipynb")
    turns = [Turn(code="y = 1"), Turn(answer="One it is."), Turn(code="y = 2"), Turn(answer="Two it is.")]
    with serving(turns) as server:
        done = run(folder, "run", "n.ipynb", url=server.url)
    told = ["cell 1: first task", "One it is.", "cell 2: executed", "cell 3: second task", "Two it is.", "Written:"]
    places = [done.stderr.find(text) for text in told]
    assert -1 not in places and places == sorted(places), done.stderr
    assert done.stderr.count("One it is.") == 1


def test_what_a_stopped_download_left_is_told_of_downloads_only():
    assert "what was fetched is kept" in model_stopped("pull")
    assert [model_stopped(action) for action in ("status", "remove", "serve")] == ["Stopped."] * 3


def test_notebook_that_reads_elsewhere_is_verified_when_that_is_allowed(folder):
    far = folder.parent / "far.csv"
    far.write_text("far\n")
    with serving([Turn(code=f"print(open({str(far)!r}).read())"), Turn(answer="far")]) as server:
        assert run(folder, "run", "--task", "x", "--files", far, url=server.url).returncode == 0
    assert run(folder, "verify", "x.solved.ipynb").returncode == 1
    assert run(folder, "verify", "x.solved.ipynb", "--files", far).returncode == 0


def test_verify_shows_which_cell_is_executed(folder):
    cells = [v4.new_code_cell("1"), v4.new_code_cell("import time; time.sleep(4)")]
    write_notebook(v4.new_notebook(cells=cells), folder / "n.ipynb")
    terminal, inside = os.openpty()
    with subprocess.Popen(
        command("verify", "n.ipynb"), cwd=folder, env=environment(folder.parent), stdout=subprocess.PIPE, stderr=inside
    ) as running:
        os.close(inside)
        shown = b""
        while b"cell 2 of 2" not in shown:
            shown += os.read(terminal, 1000)
        running.communicate(timeout=60)
    os.close(terminal)
    assert running.returncode == 1  # the file has no output of the first cell


def test_verify_names_the_differences(folder):
    cell = v4.new_code_cell("print(1)", outputs=[v4.new_output("stream", text="2\n")])
    write_notebook(v4.new_notebook(cells=[cell]), folder / "n.ipynb")
    done = run(folder, "verify", "n.ipynb", "--no-stamp")
    assert done.returncode == 1 and state_of(read_notebook(folder / "n.ipynb")) == "none"
    assert "Cell 1: the printed text differs: line 1 was '2' and is now '1'." in done.stdout
    told = json.loads(run(folder, "verify", "n.ipynb", "--json", "--twice").stdout)
    assert told["ok"] is False and told["cells"][0]["cell"] == 1
    assert state_of(read_notebook(folder / "n.ipynb")) == "failed"
    shown = run(folder, "verify", "n.ipynb", "--diff").stdout
    assert "in the file " in shown and "\n2   " in shown and " ~ 1\n" in shown


def test_notebook_without_code_is_not_verified_and_ends_with_status_1(folder):
    write_notebook(v4.new_notebook(cells=[v4.new_markdown_cell("x")]), folder / "n.ipynb")
    done = run(folder, "verify", "n.ipynb")
    assert done.returncode == 1 and "nothing to execute" in done.stdout


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        ([], "Say one of: run, verify, minimise, doctor, model, report, demo"),
        (["nonsense"], "There is no sub-command 'nonsense'"),
        (["run"], "one of the arguments NOTEBOOK.ipynb --task is required"),
        (["run", "n.ipynb", "--task", "x"], "not allowed with"),
        (["run", "no.ipynb"], "There is no notebook 'no.ipynb'"),
        (["run", "sales.csv"], "is not JSON"),
        (["run", "--task", " "], "The task is empty"),
        (["run", "--task", "x", "--files", "no.csv"], "There is no file 'no.csv'"),
        (["run", "--task", "x", "--check", "x ="], "is not a Python expression"),
        (["run", "--task", "x", "--test", "no.py"], "There is no test file"),
        (["run", "--task", "x", "--attempts", "0"], "0 is not between 1 and 100"),
        (["run", "--task", "x", "--attempts", "many"], "invalid whole number value"),
        (["run", "--task", "x", "--timeout", "0"], "invalid number of seconds value: '0'"),
        (["run", "--task", "x", "-o", "sales.csv"], "exists and was not touched"),
        (["run", "--task", "x", "-o", "no/o.ipynb"], "There is no folder 'no'"),
        (["verify", "no.ipynb"], "There is no notebook"),
        (["verify"], "required: NOTEBOOK.ipynb"),
        (["model", "fly"], "invalid choice"),
        (["doctor", "--nonsense"], "unrecognized arguments"),
        (["--CodeAgentApp.attempts=many"], "expected an int"),
    ],
)
def test_wrong_use_ends_with_status_2_and_one_sentence(folder, arguments, sentence):
    done = run(folder, *arguments, url="http://127.0.0.1:9")
    assert done.returncode == 2, done.stderr
    assert sentence in done.stderr and "Traceback" not in done.stderr
    assert done.stdout == ""
    assert sorted(os.listdir(folder)) == ["sales.csv"]


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["--task", " "], "The task is empty"),
        (["--task", "x", "--files", "no.csv"], "There is no file 'no.csv'"),
        (["plain.ipynb"], "has no %%agent cell"),
        (["task.ipynb", "--files", "no.csv"], "There is no file 'no.csv'"),
    ],
)
def test_wrong_use_is_told_before_a_missing_model(folder, arguments, sentence):
    write_notebook(v4.new_notebook(cells=[v4.new_code_cell("1 + 1")]), folder / "plain.ipynb")
    write_notebook(v4.new_notebook(cells=[v4.new_code_cell("%%agent\nadd")]), folder / "task.ipynb")
    done = run(folder, "run", *arguments, "--model", "nowhere")
    assert done.returncode == 2 and sentence in done.stderr and "model" not in done.stderr


def test_configuration_file_is_generated(folder):
    done = run(folder, "--generate-config")
    assert done.returncode == 0 and "Traceback" not in done.stderr
    assert "# c.CodeAgentApp.attempts = 5" in (folder.parent / "config" / "jupyter_codeagent_config.py").read_text()


def test_wrong_use_with_json_is_an_object_too(folder):
    done = run(folder, "run", "--task", " ", "--json")
    assert json.loads(done.stdout)["error"]["type"] == "WrongUse" and done.returncode == 2


@pytest.mark.parametrize(
    ("status", "kind", "sentence"), [(401, "authentication_error", "key"), (404, "not_found_error", "--model")]
)
def test_model_that_cannot_be_used_is_one_sentence(folder, status, kind, sentence):
    with serving([Turn(status=status, error={"type": "error", "error": {"type": kind, "message": "no"}})]) as server:
        done = run(folder, "run", "--task", "x", url=server.url)
    assert done.returncode == 2 and sentence in done.stderr and "Traceback" not in done.stderr, done.stderr
    assert sorted(os.listdir(folder)) == ["sales.csv"]


def test_model_that_fails_later_loses_nothing(folder):
    broken = Turn(status=401, error={"type": "error", "error": {"type": "authentication_error", "message": "no"}})
    with serving([Turn(code="x = 1"), broken]) as server:
        done = run(folder, "run", "--task", "x", url=server.url)
    assert done.returncode == 2
    assert "x = 1" in (folder / "x.solved.ipynb").read_text()


@pytest.mark.parametrize("where", ["model", "code"])
def test_ctrl_c_stops_within_seconds_and_says_what_it_left(folder, where):
    slow = Turn(code="import time\nprint('begun', flush=True)\ntime.sleep(60)")
    turns = [Turn(code="kept = 1"), Turn(code="1", delay=60) if where == "model" else slow]
    with serving(turns) as server:
        options = {"cwd": folder, "env": environment(folder.parent, server.url), "start_new_session": True}
        with subprocess.Popen(command("run", "--task", "x"), stderr=subprocess.PIPE, text=True, **options) as process:
            reached = "[Attempt 1 succeeded" if where == "model" else "begun\n"
            for line in process.stderr:
                if line.startswith(reached):
                    break
            time.sleep(0.5)
            begin = time.monotonic()
            os.killpg(process.pid, signal.SIGINT)
            rest = process.stderr.read()
        assert process.returncode == 130
        assert time.monotonic() - begin < 20  # of the 60 that it would take
    assert "Stopped by the user" in rest and "Written: x.solved.ipynb" in rest and "Traceback" not in rest
    assert "kept = 1" in (folder / "x.solved.ipynb").read_text()


def test_hostile_answer_cannot_steer_the_terminal(folder):
    with serving([Turn(code="print('\\x1b]0;title\\x07')"), Turn(answer="a\x1b[2Jb\x9dc\ud800d")]) as server:
        done = run(folder, "run", "--task", "x", url=server.url)
    assert done.returncode == 0, done.stderr
    assert not [c for c in done.stdout + done.stderr if ord(c) < 32 and c not in "\n\t"]
    assert done.stdout.startswith("ab")


def test_help_is_quick_and_complete(folder):
    begin = time.monotonic()
    done = run(folder, "--help")
    assert time.monotonic() - begin < 2
    for word in ("run", "verify", "doctor", "model", "demo", "jupyter codeagent"):
        assert word in done.stdout
    assert "--check EXPR" in run(folder, "run", "--help").stdout


def test_version_is_the_packages(folder):
    import jupyter_codeagent

    assert run(folder, "--version").stdout.strip() == jupyter_codeagent.__version__


def test_configuration_file_sets_the_defaults(folder):
    config = folder.parent / "config"
    config.mkdir()
    (config / "jupyter_codeagent_config.py").write_text("c.CodeAgentApp.attempts = 1\n")
    with serving([BAD, GOOD]) as server:
        done = run(folder, "run", "--task", "x", url=server.url)
    assert done.returncode == 1 and "within 1 attempt" in done.stderr


def test_module_starts_without_loading_the_heavy_parts():
    heavy = ("anthropic", "IPython", "nbformat")
    code = f"import sys, jupyter_codeagent.app; print([m for m in {heavy} if m in sys.modules])"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stdout == "[]\n"
