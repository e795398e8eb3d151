"""Runs of notebooks that are killed, and go on where they stopped: the command line against a scripted server."""

import os
import signal
import subprocess
import sys
import time

import pytest
from nbformat import v4

from jupyter_codeagent import Sandbox, SandboxPolicy, ScriptedModel, Trajectory
from jupyter_codeagent.errors import WrongUse
from jupyter_codeagent.headless import NotebookRun
from jupyter_codeagent.journal import Journals, Writer
from jupyter_codeagent.notebook_file import read_notebook, write_notebook
from jupyter_codeagent.trajectory import Action, Answer, Attempt, Observation
from tests.messages_server import Turn, serving


@pytest.fixture
def folder(tmp_path):
    place = tmp_path / "work"
    place.mkdir()
    (place / "sales.csv").write_text("amount\n20\n22\n")
    return place


def environment(folder, url):
    kept = {k: v for k, v in os.environ.items() if not k.startswith(("ANTHROPIC", "JUPYTER"))}
    own = {name: str(folder.parent / name.lower()) for name in ("JUPYTER_CONFIG_DIR", "JUPYTER_DATA_DIR")}
    return {**kept, **own, "NO_PROXY": "127.0.0.1", "ANTHROPIC_BASE_URL": url, "ANTHROPIC_API_KEY": "a-key"}


def started(folder, url, *arguments):
    return subprocess.Popen(
        [sys.executable, "-m", "jupyter_codeagent.app", *map(str, arguments)],
        cwd=folder,
        env=environment(folder, url),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def run(folder, url, *arguments):
    process = started(folder, url, *arguments)
    out, told = process.communicate(timeout=120)
    return process.returncode, told, out


def write(folder, *sources, name="n.ipynb"):
    write_notebook(v4.new_notebook(cells=[v4.new_code_cell(s) for s in sources]), folder / name, overwrite=True)


def codes(path):
    return [c.source for c in read_notebook(path).cells if c.cell_type == "code"]


CELLS = (
    "rows = open('sales.csv').read().split()[1:]\nlen(rows)",
    "%%agent\nmake amounts of rows",
    "%%agent --check 'total == 42'\nsum amounts",
    "print(total)",
)
FIRST = [Turn("Numbers.", code="amounts = [int(r) for r in rows]\namounts"), Turn(answer="Done: two amounts.")]
SECOND = [
    Turn("Try.", code="total = summ(amounts)"),
    Turn("Base.", code="base = amounts[0]\nbase"),
    Turn("Add.", code="total = base + amounts[1]\ntotal"),
    Turn(answer="It is **42**."),
]


def test_a_killed_run_goes_on_where_it_stopped_and_pays_for_nothing_twice(folder):
    write(folder, *CELLS)
    slow = Turn("Never read.", code="1", delay=120)
    with serving([*FIRST, *SECOND[:2], slow, *SECOND[2:], Turn(answer="unasked")]) as server:
        journals = Journals(folder.parent / "jupyter_data_dir" / "codeagent" / "journals")
        process = started(folder, server.url, "run", "n.ipynb", "--trajectory", "n.jsonl")
        deadline = time.monotonic() + 60
        while len(server.requests) < 5:
            assert time.monotonic() < deadline and process.poll() is None
            time.sleep(0.05)
        with pytest.raises(WrongUse, match=r"'n.ipynb' is being run by another program"):
            journals.of(folder / "n.ipynb").__enter__()
        os.kill(process.pid, signal.SIGKILL)
        process.communicate(timeout=60)
        assert len(server.requests) == 5 and not list(folder.glob("*.solved.ipynb"))
        assert [a.status for a in Trajectory.load(folder / "n-2.jsonl").attempts] == ["failed", "succeeded"]

        status, told, out = run(folder, server.url, "run", "n.ipynb")
        assert status == 0, told
        assert "cell 2: solved by the run of" in told and "cell 3: goes on after 2 attempts" in told
        assert out == "Done: two amounts.\nIt is **42**.\n"
        assert len(server.requests) == 7
        messages = str(server.requests[5].body["messages"])
        assert "NameError" in messages and "summ" in messages and "base = amounts[0]" in messages
        path = folder / "n.solved.ipynb"
        assert codes(path) == [CELLS[0], FIRST[0].code, SECOND[1].code, SECOND[2].code, CELLS[3]]
        assert read_notebook(path).cells[-1].outputs[0].text == "42\n"
        assert stat_of(journals.root) == {0o700, 0o600}


def stat_of(root):
    return {p.stat().st_mode & 0o777 for p in [root, *root.rglob("*")]}


def actions(turns):
    return [Action(t.text, t.code) if t.code else Action(t.answer) for t in turns]


class Run:
    """Runs of one notebook in one sandbox, with a journal."""

    def __init__(self, folder):
        self.folder, self.root = folder, folder.parent / "journals"
        self.sandbox = Sandbox(SandboxPolicy(workspace=folder))

    def __call__(self, *turns, cells=CELLS, again=False, **options):
        made = v4.new_notebook(cells=[v4.new_code_cell(source) for source in cells])
        self.sandbox.reset()
        model = ScriptedModel(actions(turns))
        with Journals(self.root).of(self.folder / "n.ipynb", again) as journal:
            self.run = NotebookRun(made, self.sandbox, model, journal=journal, **options)
            self.notes = [step.note for step in self.run.steps() if step.note]
        self.sources = [c.source for c in self.run.solved().cells if c.cell_type == "code"]
        assert model._next == len(turns)
        return [t.status for t in self.run.trajectories]


def test_what_a_run_has_solved_stands_until_what_it_rests_on_changes(folder):
    run = Run(folder)
    with run.sandbox:
        assert run(*FIRST, *SECOND) == ["solved", "solved"] and run.notes == []
        solved = run.sources
        assert run() == ["solved", "solved"] and run.sources == solved
        assert len(run.notes) == 2 and all(note.startswith("solved by the run of 20") for note in run.notes)
        # another task: from its cell on
        other = (*CELLS[:2], CELLS[2].replace("sum", "add up"), CELLS[3])
        assert run(*SECOND[1:], cells=other) == ["solved", "solved"]
        assert run.notes[0].startswith("solved by") and run.notes[1].startswith("it, or what it rests on, is not as")
        # another content of a file that only an ordinary cell reads: all of it
        (folder / "sales.csv").write_text("amount\n30\n12\n")
        assert run(*FIRST, *SECOND[1:], cells=other) == ["solved", "solved"]
        assert [note.partition(",")[0] for note in run.notes] == ["it"] * 2
        assert run(*FIRST, *SECOND[1:], cells=other, again=True) == ["solved", "solved"] and run.notes == []
        assert len(list(run.root.glob("*/*.jsonl"))) == 2


def test_a_task_that_ran_out_of_attempts_goes_on_when_more_are_allowed(folder):
    run = Run(folder)
    cells = ["%%agent\nx"]
    with run.sandbox:
        assert run(Turn(code="1/0"), Turn(code="x = 1/0"), cells=cells, max_attempts=2) == ["failed"]
        assert run(Turn(code="1/0"), Turn(code="x = 1/0"), cells=cells, max_attempts=2) == ["failed"]
        assert run(Turn(code="x = 2"), Turn(answer="2"), cells=cells) == ["solved"]
        assert len(run.run.trajectories[0].attempts) == 3 and run.notes[0].startswith("goes on after 2 attempts")


def test_an_answer_that_does_not_hold_any_more_is_told_to_the_model(folder):
    run = Run(folder)
    (folder / "state").mkdir()
    (folder / "state" / "n.txt").write_text("1")
    code = "import pathlib\nn = int(pathlib.Path('state').joinpath('n' + '.txt').read_text())\nassert n == 1\nn"
    cells = ["%%agent\nread"]
    with run.sandbox:
        assert run(Turn(code=code), Turn(answer="1"), cells=cells) == ["solved"]
        (folder / "state" / "n.txt").write_text("2")  # nothing names this file
        assert run(Turn(code=code.replace("== 1", "== 2")), Turn(answer="2"), cells=cells) == ["solved"]
        first, second = run.run.trajectories[0].attempts
        assert first.status == "failed" and second.status == "accepted"
        assert run.run.trajectories[0].answers[0].verdicts[0].check == "attempt 1 runs again"


def test_a_damaged_journal_is_passed_over_with_a_word(folder):
    run = Run(folder)
    cells = ["%%agent\nx"]
    turns = [Turn(code="x = 1"), Turn(answer="one")]
    with run.sandbox:
        assert run(*turns, cells=cells) == ["solved"]
        (path,) = run.root.glob("*/*.jsonl")
        whole = path.read_bytes()
        path.write_bytes(whole[: whole.index(b'{"answer"') + 5])
        assert run(turns[1], cells=cells) == ["solved"] and run.notes[0].startswith("goes on after 1 attempt ")
        path.write_bytes(b"\0" * 100)
        assert run(*turns, cells=cells) == ["solved"] and "cannot be used and was passed over" in run.notes[0]


def test_a_round_of_candidates_that_was_written_in_part_does_not_count(tmp_path):
    trajectory = Trajectory("x", candidates=2)
    seen = Observation([])
    trajectory.attempts = [
        Attempt(1, Action("", "x"), seen, True, round=1, candidate=1, of=2, chosen=False, reason="Not chosen."),
        Attempt(2, Action("", "y"), seen, True, round=1, candidate=2, of=2, reason="Chosen."),
    ]
    with Journals(tmp_path / "j").of(tmp_path / "n.ipynb") as journal:
        journal.writer(1, "key", trajectory).close()
        assert len(journal.find(1, "key").trajectory.attempts) == 2
        (path,) = (tmp_path / "j").glob("*/*.jsonl")
        path.write_bytes(b"".join(path.read_bytes().splitlines(keepends=True)[:2]))
        assert journal.find(1, "key").trajectory.attempts == []


def test_a_file_is_kept_up_with_what_has_ended_and_with_later_changes(tmp_path):
    trajectory = Trajectory("x")
    writer = Writer(tmp_path / "t.jsonl", trajectory)
    attempt = Attempt(1, Action("", "1"))
    trajectory.attempts.append(attempt)
    writer.keep_up()
    assert Trajectory.load(writer.path).attempts == []
    attempt.observation, attempt.done = Observation([]), True
    writer.keep_up()
    writer.keep_up()
    assert Trajectory.load(writer.path).attempts == [attempt]
    trajectory.answers.append(Answer(Action("done"), after=1))
    attempt.accepted, trajectory.duration, trajectory.variables = True, 2.0, {"x": "1"}
    writer.end()
    writer.close()
    assert Trajectory.load(writer.path) == trajectory
    assert writer.path.read_bytes().count(b"\n") == 5


def test_journals_are_bounded_and_one_in_use_stays(tmp_path):
    journals = Journals(tmp_path / "j", notebooks=3)
    with journals.of(tmp_path / "first.ipynb") as first:
        for number in range(5):
            with journals.of(tmp_path / f"{number}.ipynb"):
                os.utime(first.folder, (1, 1))
        assert first.folder.is_dir() and len(list((tmp_path / "j").iterdir())) <= 4
        with pytest.raises(WrongUse, match=r"'first.ipynb' is being run by another program"):
            journals.of(tmp_path / "first.ipynb").__enter__()
    for number in range(25):
        for writer in journals.writers(Trajectory("x", id=f"t{number}")):
            writer.close()
    assert len(list((tmp_path / "j" / "tasks").iterdir())) == 20


def test_notebooks_run_side_by_side(folder):
    turns = [Turn(code="y = 2 * x\ny", delay=0.2), Turn(answer="Done.")]
    for number in range(2):
        write(folder, f"x = {number}", f"%%agent\ndouble x{number}", "print(y)", name=f"n{number}.ipynb")

    def turn(body):
        return turns[1] if "y = 2 * x" in str(body["messages"][1:]) else turns[0]

    with serving([turn] * 4) as server:
        running = [started(folder, server.url, "run", f"n{number}.ipynb") for number in range(2)]
        told = [process.communicate(timeout=240)[1] for process in running]
        assert [process.returncode for process in running] == [0] * 2, told
        assert len(server.requests) == 4
    printed = [read_notebook(folder / f"n{number}.solved.ipynb").cells[-1].outputs[0].text for number in range(2)]
    assert printed == ["0\n", "2\n"]
