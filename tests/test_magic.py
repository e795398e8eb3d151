"""The magics in a real IPython shell, with a scripted model and the real sandbox."""

import atexit
import io
import re
import stat
import sys
import threading
import time
import types

import nbformat
import pytest
from IPython.terminal.interactiveshell import TerminalInteractiveShell
from traitlets.config import Config

from jupyter_codeagent.control import Control
from jupyter_codeagent.desk import Desk
from jupyter_codeagent.errors import NoModel, Offline, WrongUse
from jupyter_codeagent.magic import load, unload
from jupyter_codeagent.managing import Managing
from jupyter_codeagent.models.scripted import ScriptedModel
from jupyter_codeagent.options import CodeAgent
from jupyter_codeagent.records import Place, Records
from jupyter_codeagent.showing import Views
from jupyter_codeagent.stamp import state_of
from jupyter_codeagent.trajectory import Action, Answer, Trajectory

TASK = "%%agent\nsum the amounts in sales.csv"
SUM = "total = sum(int(line) for line in open('sales.csv').read().split()[1:])\ntotal"


@pytest.fixture
def folder(tmp_path, monkeypatch):
    folder = tmp_path / "project"
    folder.mkdir()
    (folder / "sales.csv").write_text("amount\n20\n22\n")
    monkeypatch.chdir(folder)
    monkeypatch.delenv("JPY_SESSION_NAME", raising=False)
    monkeypatch.delenv("JUPYTER_CODEAGENT_RUN", raising=False)
    return folder


class Notebook:
    """A shell with the magics loaded; `run` executes a cell and returns what it wrote."""

    def __init__(self, shell, records, capture):
        self.shell, self.capture = shell, capture
        self.actions = []
        self.asked = []
        self.desk = Desk(shell, CodeAgent(parent=shell), self.choose, Records(records))
        self.desk.settings.unattended = "ask"
        self.out = self.err = ""
        self.result = None
        load(shell, self.desk)

    def choose(self, name):
        self.asked.append(name)
        return ScriptedModel(self.actions)

    def run(self, cell, **options):
        self.result = self.shell.run_cell(cell, store_history=True, **options)
        self.out, self.err = self.capture.readouterr()
        return self.out

    @property
    def error(self):
        return self.result.error_in_exec

    @property
    def task(self):
        return self.desk.tasks.latest


@pytest.fixture(scope="module")
def terminal():
    config = Config()
    config.HistoryManager.enabled = False
    made = TerminalInteractiveShell.instance(config=config)
    yield made
    TerminalInteractiveShell.clear_instance()
    atexit.unregister(made.atexit_operations)
    made.atexit_operations()


@pytest.fixture
def shell(terminal):
    terminal.reset(new_session=False)
    terminal.history_manager.input_hist_raw[:] = [""]
    terminal.rl_next_input = None
    terminal.config.pop("CodeAgent", None)
    return terminal


@pytest.fixture
def notebook(shell, folder, tmp_path, capsys):
    made = Notebook(shell, tmp_path / "records", capsys)
    yield made
    unload(shell)


@pytest.fixture
def solved(notebook):
    notebook.actions = [Action("wrong", "totall"), Action("right", SUM), Action("The sum is **42**.")]
    notebook.run(TASK)
    assert notebook.task.status == "solved"
    return notebook


# -- loading ---------------------------------------------------------------------------------------


def test_loading_twice_is_harmless_and_unloading_closes_the_sandbox(notebook):
    load(notebook.shell)
    assert [c for c in notebook.shell.configurables if isinstance(c, CodeAgent)] == [notebook.desk.settings]
    notebook.desk.sandbox()
    sandbox = notebook.desk.running
    unload(notebook.shell)
    unload(notebook.shell)
    assert sandbox.closed
    notebook.run("%%agent\nx")
    assert "not found" in notebook.err


def test_the_extension_loads_by_its_name(shell, folder, capsys):
    shell.run_line_magic("load_ext", "jupyter_codeagent")
    shell.run_line_magic("load_ext", "jupyter_codeagent")
    shell.run_cell("%agent")
    assert "%agent accept" in capsys.readouterr().out
    shell.run_line_magic("unload_ext", "jupyter_codeagent")


def test_settings_are_shown_and_set_by_config(notebook):
    notebook.run("%config CodeAgent.attempts = 3")
    assert notebook.desk.settings.attempts == 3
    assert "Seconds that one execution may take" in notebook.run("%config CodeAgent")


def test_help_explains_each_option_in_a_line(notebook):
    out = notebook.run("%%agent --help")
    for option in (
        "--model",
        "--attempts",
        "--check",
        "--test",
        "--with",
        "--files",
        "--review",
        "--timeout",
        "--again",
        "--background",
    ):
        assert option in out


def test_a_terminal_waits_for_the_task_after_the_first_line(notebook):
    complete = notebook.shell.input_transformer_manager.check_complete
    assert complete("%%agent --attempts 2\n")[0] == "incomplete"
    assert complete("%%agent\nsum it\n")[0] == "incomplete"
    assert complete("%%agent\nsum it\n\n")[0] == "complete"


# -- a task ----------------------------------------------------------------------------------------


def test_a_failed_attempt_is_shown_rolled_back_and_the_next_one_solves_the_task(solved):
    assert "NameError: name 'totall' is not defined" in re.sub(r"\x1b\[[0-9;]*m", "", solved.out)
    assert "[Attempt 1 failed, rolled back" in solved.out and "[Attempt 2 succeeded" in solved.out
    assert "The sum is **42**." in solved.out and "%agent accept 2" in solved.out
    assert "total" not in solved.shell.user_ns
    assert solved.task.tier == "A" and [i.name for i in solved.task.inputs] == ["sales.csv"]


def test_what_leaves_the_machine_is_said_before_the_first_request(solved):
    first = solved.out.splitlines()[0]
    assert first.startswith("scripted: ") and "first rows or lines of sales.csv" in first


def test_a_key_that_the_task_names_is_not_said_to_leave_the_machine(notebook):
    notebook.run("rows, api_key = [1, 2], 'something-secret'")
    notebook.actions = [Action("done")]
    notebook.run("%%agent\ncount `rows` with `api_key`")
    assert notebook.out.splitlines()[0].endswith("first rows or lines of rows.")


def test_variables_that_the_task_names_go_in_as_copies(notebook):
    notebook.run("rows = [1, 2]")
    notebook.actions = [Action("", "rows.append(3)\nlen(rows)"), Action("done")]
    notebook.run("%%agent\nextend rows")
    assert notebook.task.attempts[0].observation.text == "3\n"
    assert notebook.shell.user_ns["rows"] == [1, 2]
    assert "Copied in from the notebook: rows (list, 2 items)" in notebook.out
    assert notebook.task.variables == {"rows": "[1, 2]"}


def test_the_model_is_told_of_cells_and_variables_but_of_no_key(notebook):
    notebook.run("rows = [1, 2]\nservice_key = 'sk-ant-" + "a1" * 20 + "'")
    notebook.actions = [Action("done")]
    notebook.run("%%agent\ncount rows")
    assert "rows = [1, 2]" in notebook.task.context and "rows: list, 2 items" in notebook.task.context
    assert "sk-ant" not in notebook.task.context


def test_checks_may_hold_quotes_brackets_and_braces(notebook):
    notebook.run("n = 'not this'")
    notebook.actions = [Action("", "d = {'a': [1, 2]}"), Action("done")]
    notebook.run(
        """%%agent --check "d['a'][0] == 1" --check 'd == {"a": [1, 2]}' --check "f'{len(d)}' == '1'"\nmake d"""
    )
    assert [v.passed for v in notebook.task.answers[-1].verdicts] == [True, True, True]
    assert notebook.task.checks[1].label == 'd == {"a": [1, 2]}'


def test_an_answer_that_fails_its_check_is_not_the_end(notebook):
    notebook.actions = [Action("", "x = 1"), Action("done"), Action("", "x = 2"), Action("now")]
    notebook.run("%%agent --check 'x == 2'\nset x")
    assert notebook.task.status == "solved" and notebook.task.answer == "now"
    assert "Check NOT PASSED: x == 2" in notebook.out


def test_a_test_file_decides(notebook, folder):
    (folder / "test_x.py").write_text("def test_x():\n    assert x == 3\n")
    notebook.actions = [Action("", "x = 3"), Action("done")]
    notebook.run("%%agent --test test_x.py\nset x")
    assert notebook.task.answers[-1].verdicts[0].check == "tests in test_x.py" and notebook.task.status == "solved"


def test_the_attempt_limit_ends_a_task_with_its_reason(notebook):
    notebook.actions = [Action("", f"fail{n}") for n in range(9)]
    notebook.run("%%agent --attempts 2\nx")
    assert len(notebook.task.attempts) == 2 and "Not solved within 2 attempts" in notebook.out


def test_the_timeout_holds_for_one_task(notebook):
    notebook.actions = [Action("", "import time; time.sleep(60)")]
    notebook.run("%%agent --timeout 0.5 --attempts 1\nx")
    assert notebook.task.attempts[0].observation.error.ename == "TimedOut"
    notebook.actions = [Action("", "import time; time.sleep(0.7)"), Action("done")]
    notebook.run("%%agent\ny")
    assert notebook.task.status == "solved"


def test_the_state_goes_on_from_task_to_task(solved):
    solved.actions = [Action("", "total * 2"), Action("84")]
    solved.run("%%agent\ndouble it")
    assert solved.task.attempts[0].observation.text == "84\n"
    assert "'sum the amounts in sales.csv' (solved)" in solved.task.context


def test_a_file_that_came_after_the_sandbox_is_there(solved, folder):
    (folder / "late.csv").write_text("late")
    solved.actions = [Action("", "open('late.csv').read()"), Action("done")]
    solved.run("%%agent\nread late.csv")
    assert solved.task.attempts[0].observation.text == "'late'\n"


def test_review_lets_only_pass_what_the_user_says(notebook, shell, monkeypatch, tmp_path):
    kernel = types.SimpleNamespace(get_parent=lambda: {"content": {"allow_stdin": True}})
    answers = iter(["use 2 instead", ""])
    monkeypatch.setattr("builtins.input", lambda question: next(answers))
    monkeypatch.setattr(shell, "kernel", kernel, raising=False)
    notebook.actions = [Action("", "x = 1"), Action("", "x = 2"), Action("done")]
    notebook.run("%%agent --review --check 'x == 2'\nset x")
    first, second = notebook.task.attempts
    assert first.observation.error.evalue == "The user did not let this code run: use 2 instead"
    assert second.succeeded and notebook.task.status == "solved"


def test_a_key_in_the_task_or_in_a_failed_cell_is_not_sent(notebook):
    key = "sk-ant-" + "b2" * 20
    notebook.actions = [Action("done"), Action("done")]
    notebook.run(f"%%agent\nask the service with {key}")
    assert key not in notebook.task.task
    notebook.run(f"client_secret = '{key}'\nraise ValueError(client_secret)")
    notebook.run("%agent fix")
    assert key not in notebook.task.task + notebook.task.context and "[hidden]" in notebook.task.task


def test_a_key_that_is_set_later_is_known(notebook, monkeypatch):
    monkeypatch.setenv("SERVICE_API_KEY", "open-sesame-1234")
    notebook.run("note = 'say open-sesame-1234 at the door'")
    notebook.actions = [Action("", "note"), Action("done")]
    notebook.run("%%agent --attempts 1\nread `note`")
    assert "open-sesame" not in notebook.task.context
    assert notebook.task.attempts[0].observation.error.ename == "NameError"


# -- wrong use -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("cell", "sentence"),
    [
        ("%%agent", "The task is empty"),
        ("%%agent\n  \n", "The task is empty"),
        ("%%agent --nope\nx", "unrecognized arguments: --nope"),
        ("%%agent --attempts none\nx", "invalid whole number value: 'none'"),
        ("%%agent --attempts 0\nx", "0 is not between 1 and 100"),
        ("%%agent --timeout -1\nx", "invalid number of seconds value"),
        ("%%agent --check len(x) == 3\nx", "between quotes"),
        ("%%agent --check 'a b'\nx", "not a Python expression"),
        ('%%agent --check "a\nx', "no closing quotation"),
        ("%%agent --files nothing-*.csv\nx", "No file matches 'nothing-*.csv'"),
        ("%%agent --files ../other.csv\nx", "outside"),
        ("%%agent --test none.py\nx", "no test file"),
        ("%%agent --with nothing\nx", "no variable 'nothing'"),
        ("%%agent --review\nx", "nobody can be asked"),
        ("%agent nonsense", "no command 'nonsense'; there are: status, accept"),
        ("%agent accept", "There is no task yet"),
        ("%agent accept x.y", "is not an attempt"),
        ("%agent accept 1 2", "Write %agent accept [N | TASK.N]"),
        ("%agent discard", "Write %agent discard N | TASK.N"),
        ("%agent save x.ipynb", "There is nothing to save"),
        (
            "%agent save my file.ipynb",
            "Write %agent save FILE [--attempts] [--tasks] [--lock] [--script] [--no-verify]. Names with spaces go",
        ),
        ("%agent verify none.ipynb", "none.ipynb"),
        ("%agent verify none.ipynb --fast", "Write %agent verify FILE [--diff]"),
        ("%agent verify none.ipynb --network", "--network is followed by the hosts"),
        ("%agent verify none.ipynb --network example.org --twice", "network access to example.org was asked for"),
        ("%agent fix", "no error to fix"),
        ("%agent status now", "Write %agent status alone"),
        ("%agent undo", "nothing to take back"),
        ("%agent stop nosuch", "no task 'nosuch' in the background"),
        ("%agent stop a b", "Write %agent stop [TASK]"),
        ("%%agent --background --review\nx", "does not go with --background"),
        ("%%attempt nonsense\nx", "followed by TASK.NUMBER"),
    ],
)
def test_wrong_use_is_one_sentence_without_a_traceback(notebook, cell, sentence):
    notebook.run(cell)
    lines = notebook.err.strip().splitlines()
    assert len(lines) == 1 and lines[0].startswith("UsageError: ") and sentence in lines[0], notebook.err
    assert "Traceback" not in notebook.out
    assert notebook.asked == [] or "--review" in cell


def test_no_model_is_one_sentence(notebook):
    def none(name):
        raise NoModel("No model: set ANTHROPIC_API_KEY.")

    notebook.desk.choose_model = none
    notebook.run(TASK)
    assert notebook.err == "UsageError: No model: set ANTHROPIC_API_KEY.\n"
    assert notebook.desk.running is None


def test_an_endpoint_that_fails_ends_the_task_with_its_sentence(notebook):
    def offline(trajectory):
        raise Offline("The endpoint http://localhost:1 cannot be reached.")

    notebook.actions = [Action("", "x = 1"), offline]
    notebook.run(TASK)
    assert notebook.err == "UsageError: The endpoint http://localhost:1 cannot be reached.\n"
    assert "cannot be reached" not in notebook.out
    assert notebook.task.status == "failed" and "Traceback" not in notebook.out + notebook.err
    notebook.actions = [Action("", "x"), Action("done")]
    notebook.run("%%agent\nagain")
    assert notebook.task.status == "solved"


def test_the_stop_button_ends_the_task_quietly_and_all_stays_usable(notebook):
    def stop(trajectory):
        raise KeyboardInterrupt

    notebook.actions = [Action("", "kept = 1"), stop]
    notebook.run(TASK)
    assert isinstance(notebook.error, KeyboardInterrupt) and notebook.task.status == "stopped"
    assert "Traceback" not in notebook.out and notebook.out.rstrip().endswith("Stopped.")
    notebook.actions = [Action("", "kept + 1"), Action("done")]
    notebook.run("%%agent\ngo on")
    assert notebook.task.attempts[0].observation.text == "2\n"


# -- accept, discard, edit ---------------------------------------------------------------------------


def test_accept_puts_the_code_into_the_next_cell_and_runs_nothing(solved):
    out = solved.run("%agent accept 2")
    assert solved.shell.rl_next_input == SUM and "has not run here" in out
    assert solved.task.attempts[1].accepted and "total" not in solved.shell.user_ns


def test_accept_without_a_number_takes_all_that_was_kept(notebook):
    notebook.actions = [Action("", "a = 1"), Action("", "oops"), Action("", "b = a + 1"), Action("done")]
    notebook.run(TASK)
    notebook.run("%agent accept")
    assert notebook.shell.rl_next_input == "a = 1\n\nb = a + 1"
    assert [a.status for a in notebook.task.attempts] == ["accepted", "failed", "accepted"]


def test_accept_takes_an_attempt_of_an_earlier_task(solved):
    first = solved.task.id
    solved.actions = [Action("done")]
    solved.run("%%agent\nnothing")
    solved.run(f"%agent accept {first}.2")
    assert solved.shell.rl_next_input == SUM
    solved.run("%agent accept 2")
    assert "has no attempt 2" in solved.err


def test_discard_takes_the_effect_back(notebook):
    notebook.actions = [Action("", "a = 1"), Action("", "b = 2"), Action("done")]
    notebook.run(TASK)
    assert "as if it had not been made" in notebook.run("%agent discard 1")
    assert [a.status for a in notebook.task.attempts] == ["discarded", "succeeded"]
    notebook.actions = [Action("", "'a' in globals(), b"), Action("done")]
    notebook.run("%%agent\nlook")
    assert notebook.task.attempts[0].observation.text == "(False, 2)\n"


# -- candidates --------------------------------------------------------------------------------------


CANDIDATES = [Action("a", "way = 1"), Action("b", "way = 1 + 1"), Action("c", "1/0")]


@pytest.fixture
def tried(notebook):
    notebook.actions = [CANDIDATES, Action("done")]
    notebook.run("%%agent --candidates 3\nfind a way")
    assert notebook.task.status == "solved"
    return notebook


def test_candidates_are_shown_with_the_reason_for_the_choice(tried):
    assert [(a.chosen, a.rolled_back) for a in tried.task.attempts] == [(True, False), (False, True), (False, True)]
    assert "Attempt 1, candidate 1 of 3" in tried.out and "Candidate 1 of 3 was chosen: smaller." in tried.out
    assert "Not chosen: failed with ZeroDivisionError." in tried.out and "1 attempt · 3 candidates ·" in tried.out
    assert "1 succeeded, 2 not chosen, 3 failed" in tried.run("%agent status")
    assert tried.desk.running.execute("way").text == "1\n"


def test_another_candidate_can_be_chosen(tried):
    out = tried.run("%agent choose 2")
    assert f"Attempt {tried.task.id}.2 is chosen. The sandbox has its state now." in out
    assert "The answer was written for the candidate chosen before." in out
    assert tried.desk.running.execute("way").text == "2\n"
    assert [a.number for a in tried.task.kept] == [2]
    assert tried.task.attempts[0].reason == "Not chosen: the user chose attempt 2."
    tried.run("%agent undo")
    assert tried.task.kept == []
    tried.run("%agent choose 1")
    assert tried.desk.running.execute("way").text == "1\n"


def test_accepting_one_that_was_not_chosen_takes_its_code_instead(tried):
    tried.run("%agent accept 1")
    tried.run("%agent accept 2")
    assert tried.shell.rl_next_input == "way = 1 + 1"
    assert [(a.accepted, a.chosen) for a in tried.task.attempts[:2]] == [(False, False), (True, True)]
    tried.actions = [Action("", "way"), Action("done")]
    tried.run("%%agent\nlook")
    assert tried.task.attempts[0].observation.text == "2\n"


def test_an_edited_candidate_that_runs_is_the_chosen_one(tried):
    tried.run(f"%%attempt {tried.task.id}.3\nway = 33")
    assert [a.number for a in tried.task.kept] == [3]
    assert tried.desk.running.execute("way").text == "33\n"


def test_an_edited_candidate_that_fails_leaves_the_chosen_one(tried):
    tried.run(f"%%attempt {tried.task.id}.2\nway = nothing")
    assert [a.number for a in tried.task.kept] == [1]
    tried.actions = [Action("", "way"), Action("done")]
    tried.run("%%agent\nlook")
    assert tried.task.attempts[0].observation.text == "1\n"


def test_choosing_for_an_earlier_task_is_kept_in_the_record_only(tried):
    first = tried.task.id
    tried.actions = [Action("", "later = 1"), Action("done")]
    tried.run("%%agent\nsomething else")
    out = tried.run(f"%agent choose {first}.2")
    assert "The sandbox keeps the state that it has until %agent reset." in out
    tried.run("%agent reset")
    assert "There is no sandbox now" in tried.run(f"%agent choose {first}.1")
    tried.run(f"%agent choose {first}.2")
    assert [a.number for a in tried.desk.tasks.task(first).kept] == [2]
    assert tried.desk.records.task(first).kept[0].number == 2


def test_what_cannot_be_chosen_is_said(tried):
    for word, said in (("1", "is chosen already"), ("3", "failed; only"), ("9", "no attempt 9")):
        tried.run(f"%agent choose {word}")
        assert said in str(tried.error)
    tried.actions = [Action("", "1"), Action("done")]
    tried.run("%%agent\none")
    tried.run("%agent choose 1")
    assert "is no candidate" in str(tried.error)


def test_the_setting_gives_candidates_and_replay_shows_them(tried):
    again = tried.run("%%agent --candidates 3\nfind a way")
    assert "no model was asked" in again and "Candidate 1 of 3 was chosen: smaller." in again
    tried.run("%config CodeAgent.candidates = 2")
    tried.actions = [CANDIDATES[:2], Action("done")]
    tried.run("%%agent\nonce more")
    assert len(tried.task.attempts) == 2
    tried.run("%%agent --candidates 9\nonce more")
    assert "9 is not between 1 and 8" in str(tried.error)


def test_candidates_share_the_values_that_they_name(notebook):
    notebook.run("numbers = [1, 2, 3]")
    notebook.actions = [[Action("", "print(sum(numbers))"), Action("", "numbers.clear()")], Action("done")]
    notebook.run("%%agent --candidates 2 --check 'len(numbers) == 3'\nsum the numbers")
    assert [a.chosen for a in notebook.task.attempts] == [True, False]
    assert notebook.task.attempts[0].observation.text == "6\n"
    assert notebook.shell.user_ns["numbers"] == [1, 2, 3]
    assert notebook.desk.running.execute("numbers").text == "[1, 2, 3]\n"


def test_each_candidate_is_reviewed(notebook, monkeypatch):
    said = iter(["no, thank you", ""])
    monkeypatch.setattr("builtins.input", lambda question: next(said))
    monkeypatch.setattr(type(notebook.desk.user), "attended", True)
    notebook.actions = [CANDIDATES[:2], Action("done")]
    notebook.run("%%agent --review --candidates 2\nfind a way")
    first, second = notebook.task.attempts
    assert first.observation.error.evalue == "The user did not let this code run: no, thank you"
    assert second.chosen and notebook.desk.running.execute("way").text == "2\n"


def test_discarding_the_only_kept_attempt_leaves_nothing_solved(solved, folder):
    solved.run("%agent discard 2")
    assert solved.task.status == "failed" and solved.task.answer is None
    assert "discarded" in solved.run("%agent status")
    assert "Trajectory.load reads it" in solved.run("%agent export run.jsonl")
    assert Trajectory.load(folder / "run.jsonl").status == "failed"
    solved.run("%agent save solved.ipynb")
    assert "nothing to save" in solved.err and not (folder / "solved.ipynb").exists()
    solved.run("%agent accept 2")
    assert solved.task.status == "solved"


def test_an_attempt_cell_shows_its_outputs_and_runs_nothing_while_unchanged(solved):
    running = solved.desk.running
    solved.desk.close()
    out = solved.run(f"%%attempt {solved.task.id}.2\n{SUM}\n")
    assert running.closed and solved.desk.running is None
    assert (
        out == f"42\nAttempt {solved.task.id}.2 is unchanged and was not run again; edit it to try it in the sandbox.\n"
    )


def test_an_edited_attempt_cell_runs_in_the_sandbox_only(solved):
    out = solved.run(f"%%attempt {solved.task.id}.2\ntotal = 7\nprint('seven', total)")
    assert out == "seven 7\n" and solved.error is None
    assert "total" not in solved.shell.user_ns
    attempt = solved.task.attempts[1]
    assert attempt.edited and attempt.action.code == "total = 7\nprint('seven', total)"
    solved.actions = [Action("", "total"), Action("done")]
    solved.run("%%agent\nshow it")
    assert solved.task.attempts[0].observation.text == "7\n"


def test_an_edited_attempt_that_fails_raises_nothing_here(solved):
    solved.run(f"%%attempt {solved.task.id}.2\n1 / 0")
    assert solved.error is None and "ZeroDivisionError" in solved.err and "as it was before" in solved.err


def test_an_attempt_cell_from_elsewhere_runs_in_the_sandbox(notebook):
    assert notebook.run("%%attempt abcdef.1\nprint(6 * 7)") == "42\n"


def test_metadata_says_that_an_attempt_is_unchanged(notebook):
    from jupyter_codeagent.trajectory import code_hash

    notebook.run("%%attempt abcdef.1\nprint(1)\n", cell_meta={"jupyter_codeagent": {"hash": code_hash("print(1)")}})
    assert "unchanged" in notebook.out
    notebook.run("%%attempt abcdef.1\nprint(2)\n", cell_meta={"jupyter_codeagent": {"hash": code_hash("print(1)")}})
    assert notebook.out == "2\n"
    notebook.run("%%attempt abcdef.1\nprint(1)\n")
    assert notebook.out == "1\n"


# -- status, save, verify, fix, reset -------------------------------------------------------------------


def test_status_tells_sandbox_and_tasks(solved):
    out = solved.run("%agent status")
    assert "running, tier A" in out and f"Task {solved.task.id}: solved (1 failed, 2 succeeded)" in out
    assert "Model: scripted." in out


def test_save_and_verify(solved, folder):
    out = solved.run("%agent save solved.ipynb")
    assert "Saved solved.ipynb; verified: 1 cell ran from the top in a fresh sandbox." in out
    assert state_of(nbformat.read(folder / "solved.ipynb", 4)) == "verified"
    assert "verified" in solved.run("%agent verify solved.ipynb")
    assert "Saved solved.ipynb" in solved.run("%agent save solved")  # it is still as this package left it
    (folder / "solved.ipynb").write_text("mine")
    solved.run("%agent save solved.ipynb")
    assert solved.err.startswith("UsageError: ") and "solved.ipynb" in solved.err


def test_a_live_notebook_is_saved_with_the_users_cells_in_the_order_of_running(solved, folder):
    solved.run("half = 2")
    solved.run("oops")
    solved.run("%agent fetch total as mine")
    solved.run("print(mine / half)\nmine")
    solved.run(f"with open({str(folder / 'sales.csv')!r}) as file: copy = file.read()")
    said = solved.run("%agent save live --attempts")
    assert re.search(r"In \[\d+\] failed \(NameError\) and is left out\.", said)
    assert "names 'sales.csv' relative to the notebook's folder" in said
    notebook = nbformat.read(folder / "live.ipynb", 4)
    codes = [c for c in notebook.cells if c.cell_type == "code"]
    fresh = "with open('sales.csv') as file: copy = file.read()"
    kept = [c.source for c in codes if "tags" not in c.metadata]
    assert kept == [SUM, "half = 2", "mine = total", "print(mine / half)\nmine", fresh]
    assert len(codes) == len(kept) + 1 and notebook.metadata.jupyter_codeagent.notes
    assert "verified" in solved.run("%agent verify live.ipynb")
    assert "%agent verify tasks.ipynb runs it" in solved.run("%agent save tasks.ipynb --tasks --no-verify")
    assert [c.source for c in nbformat.read(folder / "tasks.ipynb", 4).cells if c.cell_type == "code"] == [SUM]


def test_differences_are_shown_side_by_side_and_the_file_can_be_left_alone(solved, folder):
    cell = nbformat.v4.new_code_cell("print(1)", outputs=[nbformat.v4.new_output("stream", text="<b>2\n")])
    nbformat.write(nbformat.v4.new_notebook(cells=[cell]), folder / "lie.ipynb")
    before = (folder / "lie.ipynb").read_bytes()
    out = solved.run("%agent verify lie.ipynb --no-stamp --diff")
    assert "Cell 1: the printed text differs: line 1 was '<b>2' and is now '1'." in out and "in the fresh run" in out
    assert (folder / "lie.ipynb").read_bytes() == before
    shown = solved.shell.magics_manager.registry["AgentMagics"].managing.run("verify", ["lie.ipynb"])
    assert "&lt;b&gt;2" in shown.html and "<b>2" not in shown.html and "in the fresh run" not in shown.text
    assert state_of(nbformat.read(folder / "lie.ipynb", 4)) == "failed"


def test_a_saved_notebook_holds_all_tasks_as_they_build_on_each_other(solved, folder):
    solved.actions = [Action("", "total * 2"), Action("84")]
    solved.run("%%agent\ndouble it")
    solved.run("%agent save both.ipynb")
    cells = nbformat.read(folder / "both.ipynb", 4).cells
    assert [c.source for c in cells if c.cell_type == "code"] == [SUM, "total * 2"]
    assert [c.execution_count for c in cells if c.cell_type == "code"] == [1, 2]
    assert "verified" in solved.run("%agent verify both.ipynb")


def test_fix_makes_a_task_of_the_last_error(notebook):
    notebook.run("def half(x):\n    return x / 0\n\nhalf(4)")
    notebook.run("%agent nonsense")
    notebook.actions = [Action("", "def half(x):\n    return x / 2\nhalf(4)"), Action("It divided by 0.")]
    notebook.run("%agent fix")
    assert notebook.task.status == "solved"
    assert "return x / 0" in notebook.task.task and "ZeroDivisionError: division by zero" in notebook.task.task
    assert "line 2, in half" in notebook.task.task


def test_fix_knows_a_cell_that_is_no_python(notebook):
    notebook.run("for x in 1, 2\n    print(x)")
    notebook.actions = [Action("", "for x in 1, 2:\n    print(x)"), Action("A colon was missing.")]
    notebook.run("%agent fix")
    assert "for x in 1, 2\n" in notebook.task.task and "SyntaxError" in notebook.task.task


def test_reset_starts_a_fresh_sandbox_with_the_folder_as_it_is(solved, folder):
    (folder / "sales.csv").write_text("amount\n1\n")
    solved.run("%agent reset")
    solved.actions = [Action("", "'total' in globals(), open('sales.csv').read()"), Action("done")]
    solved.run("%%agent\nlook")
    assert solved.task.attempts[0].observation.text == "(False, 'amount\\n1\\n')\n"


# -- replay --------------------------------------------------------------------------------------------


def test_a_solved_cell_is_replayed_and_no_model_is_asked(solved):
    asked = len(solved.asked)
    out = solved.run(TASK)
    assert len(solved.asked) == asked
    assert "no model was asked" in out and "The sum is **42**." in out and "NameError" in out
    assert out.index("Attempt 1 of 5") < out.index("The sum is")
    solved.run("%agent accept 2")
    assert solved.shell.rl_next_input == SUM


def test_again_asks_the_model_and_replaces_the_record(solved):
    solved.actions = [Action("", "1"), Action("another answer")]
    solved.run(TASK.replace("%%agent", "%%agent --again"))
    assert solved.task.answer == "another answer"
    assert "another answer" in solved.run(TASK)


def test_other_text_and_unsolved_cells_are_not_replayed(solved):
    solved.actions = [Action("I cannot.", gave_up=True)]
    solved.run(TASK + "!")
    solved.run(TASK + "!")
    assert len(solved.asked) == 3


def test_a_new_kernel_replays_and_later_tasks_build_on_it(solved, shell, tmp_path, capsys):
    first = solved.task.id
    unload(shell)
    later = Notebook(shell, tmp_path / "records", capsys)
    assert "no model was asked" in later.run(TASK) and later.asked == []
    later.run("%agent diff")
    assert "replayed from its record, not run" in str(later.error) and later.desk.running is None
    later.actions = [Action("", "total + 1"), Action("43")]
    later.run("%%agent\nadd one")
    assert later.task.attempts[0].observation.text == "43\n"
    assert "unchanged" in later.run(f"%%attempt {first}.2\n{SUM}")


def test_an_attempt_cell_alone_is_known_after_a_restart(solved, shell, tmp_path, capsys):
    name = f"{solved.task.id}.2"
    unload(shell)
    later = Notebook(shell, tmp_path / "records", capsys)
    assert "unchanged" in later.run(f"%%attempt {name}\n{SUM}")


def test_a_replay_says_that_files_have_changed(solved, folder, monkeypatch):
    (folder / "sales.csv").write_text("amount\n5\n")
    solved.desk.settings.unattended = "replay"
    solved.run(TASK)  # nobody would read a notice
    assert "is not shown: its files have changed since." in solved.err and "Not run" in solved.err
    monkeypatch.setattr(type(solved.desk.user), "attended", True)
    assert "Its files have changed since." in solved.run(TASK)


def test_records_are_for_their_owner_only(solved):
    (path,) = solved.desk.records.folder.glob("*.json")
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert stat.S_IMODE(solved.desk.records.folder.stat().st_mode) == 0o700
    assert str(solved.desk.user.folder) not in path.read_text()


@pytest.mark.parametrize(
    "damage",
    [b"", b"{", b"[]", b'{"trajectory": {}}', b'{"saved": 1, "place": {}, "trajectory": {"version": 9}}', b"\xff\xfe"],
)
def test_a_damaged_record_is_passed_over_with_a_sentence(solved, damage):
    (path,) = solved.desk.records.folder.glob("*.json")
    path.write_bytes(damage)
    solved.actions = [Action("", "1"), Action("fresh")]
    solved.run(TASK)
    assert "cannot be used and was passed over" in solved.err and solved.task.answer == "fresh"


def test_a_record_belongs_to_its_notebook_and_folder(tmp_path):
    records = Records(tmp_path)
    done = Trajectory("t", answers=[Answer(Action("done"))])
    records.save("cell", Place("/a", "one.ipynb"), done)
    assert records.find("cell", Place("/a", "one.ipynb")).trajectory.id == done.id
    assert records.find("cell", Place("/a")) is not None
    assert records.find("cell", Place("/a", "two.ipynb")) is None
    assert records.find("cell", Place("/b", "one.ipynb")) is None
    assert records.find("cell", Place("/b"), anywhere=True) is not None
    assert records.find("other", Place("/a")) is None


def test_a_folder_that_cannot_be_written_costs_the_record_only(notebook, tmp_path):
    (tmp_path / "records").write_text("a file is in the way")
    notebook.actions = [Action("", "1"), Action("done")]
    notebook.run(TASK)
    assert notebook.task.status == "solved" and "could not be kept" in notebook.out


def test_without_a_person_no_model_is_asked(notebook, monkeypatch):
    notebook.desk.settings.unattended = "replay"
    monkeypatch.setattr(sys, "stdin", io.StringIO())
    notebook.run(TASK)
    assert notebook.asked == [] and "JUPYTER_CODEAGENT_RUN=1" in notebook.err and notebook.error is None
    monkeypatch.setenv("JUPYTER_CODEAGENT_RUN", "1")
    notebook.actions = [Action("", "1"), Action("done")]
    notebook.run(TASK)
    assert notebook.task.status == "solved"


def test_without_a_person_a_task_for_the_background_is_solved_in_its_cell(notebook, monkeypatch):
    monkeypatch.setattr(sys, "stdin", io.StringIO())
    notebook.actions = [Action("", "1"), Action("done")]
    notebook.run(TASK.replace("%%agent", "%%agent --background"))
    assert notebook.task.status == "solved" and not notebook.task.background
    assert "no model was asked" in notebook.run(TASK)


class Terminal(io.StringIO):
    def isatty(self):
        return True


def test_in_a_terminal_the_record_of_a_background_task_comes_as_a_whole(notebook, monkeypatch):
    monkeypatch.setattr(sys, "stdin", Terminal())
    going = threading.Event()

    def wait(trajectory):
        going.wait(10)
        return Action("", "print(n)")

    notebook.run("n = 1")
    notebook.actions = [wait, Action("All done.")]
    notebook.run("%%agent --background\nprint `n`")
    (job,) = notebook.desk.jobs.values()
    assert "Attempt" not in notebook.out and "variables as they are now" in notebook.out
    notebook.run("n = 2")
    assert f"In the background: {notebook.task.id}" in notebook.run("%agent status")
    going.set()
    assert job.ended.wait(20)
    assert notebook.task.attempts[0].observation.text == "1\n" and notebook.desk.jobs == {}
    out = notebook.run("pass")
    assert "Attempt 1 of 5" in out and "All done." in out


def test_stopping_says_what_is_left(notebook, monkeypatch):
    monkeypatch.setattr(sys, "stdin", Terminal())
    began = threading.Event()

    def wait(trajectory):
        began.set()
        time.sleep(5)
        return Action("never")

    notebook.actions = [Action("", "kept = 1"), wait]
    notebook.run("%%agent --background\nkeep")
    assert began.wait(20)
    assert f"Task {notebook.task.id} is stopped; the sandbox keeps attempt 1 of it." in notebook.run("%agent stop")
    assert notebook.run("%agent stop") == "No task works in the background.\n"
    assert f"Attempt {notebook.task.id}.1 is taken back. The sandbox is as if" in notebook.run("%agent undo")


def test_marks_outlive_the_kernel(solved, shell, tmp_path, capsys):
    name = solved.task.id
    solved.run("%agent accept 2")
    unload(shell)
    later = Notebook(shell, tmp_path / "records", capsys)
    later.run(TASK)
    assert [a.status for a in later.desk.tasks.task(name).attempts] == ["failed", "accepted"]
    later.run(f"%agent discard {name}.2")
    unload(shell)
    again = Notebook(shell, tmp_path / "records", capsys)
    assert "no model was asked" in again.run(TASK) and again.asked == []


def test_an_unsolved_task_is_kept_but_not_replayed(notebook, tmp_path):
    notebook.actions = [Action("", "oops"), Action("No.", gave_up=True), Action("Yes.")]
    notebook.run(TASK)
    first = notebook.task.id
    kept = Records(tmp_path / "records").task(first)
    assert kept.status == "failed" and kept.attempts[0].observation.error.ename == "NameError"
    notebook.actions = [Action("Yes.")]
    notebook.run(TASK)
    assert notebook.task.id != first and notebook.task.answer == "Yes."


def test_later_tasks_are_told_what_the_user_changed(solved):
    solved.run(f"%%attempt {solved.task.id}.2\ntotal = 7\ntotal")
    solved.actions = [Action("done")]
    solved.run("%%agent\ngo on")
    assert "+total = 7" in solved.task.context and "-total = sum(" in solved.task.context


def test_without_a_person_an_unsolved_task_fails_the_run(notebook):
    notebook.actions = [Action("No.", gave_up=True)]
    notebook.run(TASK)
    assert notebook.error is not None and "The model gave up: No." in notebook.err


# -- fetching --------------------------------------------------------------------------------------


def test_a_variable_of_the_sandbox_is_fetched_under_a_free_name_only(notebook):
    notebook.actions = [Action("", "rows = [1, 2]; import threading; lock = threading.Lock()"), Action("done")]
    assert "has not started" in str(fetched(notebook, "rows"))
    notebook.run(TASK)
    assert notebook.run("%agent fetch rows") == "Fetched rows: list, 2 items.\n"
    assert notebook.shell.user_ns["rows"] == [1, 2]
    notebook.run("rows.append(3)")
    assert "'rows' is taken in the notebook" in str(fetched(notebook, "rows"))
    assert notebook.shell.user_ns["rows"] == [1, 2, 3]
    assert notebook.run("%agent fetch rows as other") == "Fetched rows as other: list, 2 items.\n"
    notebook.run("%agent fetch rows --replace")
    assert notebook.shell.user_ns["rows"] == notebook.shell.user_ns["other"] == [1, 2]
    assert "'lock' was not fetched: it is or holds an object of type lock" in str(fetched(notebook, "lock"))
    assert "lock" not in notebook.shell.user_ns
    assert "no variable of this name" in str(fetched(notebook, "nothing"))
    assert "not a name" in str(fetched(notebook, "rows as class"))
    assert "Write %agent fetch NAME" in str(fetched(notebook, "rows to other"))


def fetched(notebook, words):
    notebook.run(f"%agent fetch {words}")
    return notebook.error


# -- files -----------------------------------------------------------------------------------------


def test_changed_files_are_shown_applied_and_taken_back(notebook, folder):
    notebook.actions = [Action("write", "open('new.txt', 'w').write('hello\\n')"), Action("done")]
    notebook.run("%%agent\nwrite a file")
    assert "+hello" in notebook.run("%agent diff")
    assert not (folder / "new.txt").exists()
    assert "+hello" in notebook.run("%agent diff ./new.txt")
    assert "has not changed 'old.txt'" in notebook.run("%agent diff old.txt")
    assert "1 file was changed" in notebook.run(f"%agent apply {folder}/new.txt")
    assert (folder / "new.txt").read_text() == "hello\n"
    assert "nothing" in notebook.run("%agent diff")
    assert "the sandbox has changed nothing" in notebook.run("%agent apply")
    assert notebook.run("%agent unapply") == "1 file was put back as before.\n"
    assert not (folder / "new.txt").exists()
    notebook.run("%agent unapply")
    assert "There is nothing to take back" in str(notebook.error)


def test_what_was_changed_since_it_was_shown_is_not_applied(notebook, folder):
    notebook.actions = [Action("write", "for n in 'ab': print('harmless', file=open(n + '.txt', 'w'))"), Action("done")]
    notebook.run("%%agent\nwrite files")
    assert "+harmless" in notebook.run("%agent diff")
    notebook.desk.running.execute("open('a.txt', 'w').write('harmful')")  # as a thread of the code could
    told = notebook.run("%agent apply")
    assert "1 file was changed" in told and "since its differences were shown" in told
    assert (folder / "b.txt").exists() and not (folder / "a.txt").exists()
    assert "+harmful" in notebook.run("%agent diff")
    assert "1 file was changed" in notebook.run("%agent apply")


def test_a_page_gets_changes_as_data_and_has_them_applied(notebook, folder):
    notebook.actions = [Action("write", "open('new.txt', 'w').write('hello')"), Action("done")]
    notebook.run("%%agent\nwrite a file")
    control = Control(notebook.desk, Managing(notebook.desk, Views(notebook.desk)))
    (file,) = control.changes({})["files"]
    assert (file["path"], file["kind"], file["size"], file["runs_by_itself"]) == ("new.txt", "added", 5, "")
    assert control.apply({"paths": ["new.txt"]})["applied"] == ["new.txt"]
    assert control.unapply({})["applied"] == ["new.txt"]
    assert not (folder / "new.txt").exists()
    with pytest.raises(WrongUse):
        control.apply({"paths": "new.txt"})
