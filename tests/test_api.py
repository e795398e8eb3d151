"""solve and data_agent with a scripted model and the real sandbox."""

import pytest

from jupyter_codeagent import Action, Sandbox, SandboxPolicy, ScriptedModel, data_agent, save_notebook, solve
from jupyter_codeagent.errors import BadReply, NotPlainData, TaskFailed, WrongUse
from jupyter_codeagent.notebook_file import read_notebook
from jupyter_codeagent.verify import verify_notebook


def script(*actions: str | None, answer: str = "done") -> ScriptedModel:
    return ScriptedModel([*(Action("try", code) for code in actions), Action(answer)])


@pytest.fixture
def folder(tmp_path, monkeypatch):
    place = tmp_path / "work"
    place.mkdir()
    monkeypatch.chdir(place)
    (place / "sales.csv").write_text("Region,Revenue \nN,$500\nS,$70\nN,$5\n")
    return place


def test_task_is_solved_after_a_failing_attempt(folder):
    bad = "import pandas as pd\ndf = pd.read_csv('sales.csv')\nleft = 1\ndf['Revenue']"
    good = """
import pandas as pd
df = pd.read_csv("sales.csv")
df.columns = df.columns.str.strip()
result = df["Revenue"].str.strip("$").astype(int).groupby(df["Region"]).sum().sort_values(ascending=False)
result
"""
    trajectory = solve(
        "sum Revenue by Region", files=["sales.csv"], model=script(bad, good), checks=["'left' not in globals()"]
    )
    assert trajectory.status == "solved", trajectory.reason
    assert trajectory.answer == "done"
    assert [a.status for a in trajectory.attempts] == ["failed", "accepted"]
    assert [a.accepted for a in trajectory.attempts] == [False, True]
    assert trajectory.attempts[0].observation.error.ename == "KeyError"
    assert trajectory.attempts[0].rolled_back
    assert "505" in trajectory.attempts[1].observation.text
    assert trajectory.tier == "A"
    assert [i.name for i in trajectory.inputs] == ["sales.csv"]
    assert "Revenue" in trajectory.context


def test_solved_task_saves_and_verifies(folder):
    trajectory = solve("count lines", model=script("print(len(open('sales.csv').readlines()))"), files=["sales.csv"])
    path = save_notebook(trajectory, "solved.ipynb")
    report = verify_notebook(path)
    assert report.ok, str(report)
    [cell] = [c for c in read_notebook(path).cells if c.cell_type == "code"]
    assert cell.metadata.jupyter_codeagent.status == trajectory.attempts[0].status == "accepted"
    assert report.inputs[0].name == "sales.csv" and report.inputs[0].state == "same"


def test_one_file_check_or_test_need_not_be_a_list(folder):
    (folder / "test_it.py").write_text("def test_x():\n    assert x == 1\n")
    trajectory = solve("count", model=script("x = 1"), files="sales.csv", checks="x == 1", tests="test_it.py")
    assert [v.check for v in trajectory.answers[0].verdicts] == ["x == 1", "tests in test_it.py"]
    assert trajectory.status == "solved" and len(trajectory.inputs) == 1


def test_files_named_in_the_task_alone_are_described(folder):
    trajectory = solve("count the lines of sales.csv", model=script("1"))
    assert [i.name for i in trajectory.inputs] == ["sales.csv"]


def test_file_outside_the_working_folder_is_readable_and_the_rest_is_not(folder, tmp_path):
    outside, other = tmp_path / "outside.csv", tmp_path / "other.csv"
    outside.write_text("a\n1\n")
    other.write_text("b\n")
    code = f"import os\nprint(open({str(outside)!r}).read(), os.path.exists({str(other)!r}))"
    trajectory = solve("read it", files=[outside], model=script(code))
    assert trajectory.attempts[0].observation.text == "a\n1\n False\n"


def test_variables_are_copies(folder):
    given = {"numbers": [1, 2, 3]}
    model = script("numbers.append(4)\nsum(numbers)")
    trajectory = solve("x", variables=given, model=model, checks=["len(numbers) == 4"])
    assert trajectory.status == "solved", trajectory.reason
    assert given == {"numbers": [1, 2, 3]}
    assert trajectory.variables == {"numbers": "[1, 2, 3]"}


def test_value_of_a_key_is_not_written_down(folder):
    trajectory = solve("x", variables={"api_key": "sk-ant-REDACTED"}, model=script("1"))
    assert trajectory.variables == {"api_key": ""}
    assert "sk-ant-REDACTED" not in trajectory.context


def test_variable_that_cannot_be_copied_is_refused(folder):
    with pytest.raises(NotPlainData, match="'stream' was not passed"), open("sales.csv") as stream:
        solve("x", variables={"stream": stream}, model=script("1"))


def test_failed_check_is_told_and_the_model_goes_on(folder):
    actions = [Action("", "x = 1"), Action("done"), Action("", "x = 2"), Action("really")]
    trajectory = solve("set x to 2", model=ScriptedModel(actions), checks=["x == 2"])
    assert trajectory.answer == "really"
    assert "1 against 2" in trajectory.answers[0].verdicts[0].detail


def test_tests_decide_success(folder):
    (folder / "test_x.py").write_text("def test_x():\n    assert x == 2\n")
    trajectory = solve("set x", model=script("x = 1"), tests=["test_x.py"], max_attempts=1)
    assert trajectory.status == "failed" and not trajectory.attempts[0].accepted
    assert "assert x == 2" in trajectory.answers[0].verdicts[0].detail


def test_attempt_limit_ends_the_task(folder):
    model = ScriptedModel([Action("", f"{n}/0") for n in range(9)])
    trajectory = solve("x", model=model, max_attempts=3)
    assert trajectory.status == "failed" and len(trajectory.attempts) == 3
    assert not any(a.accepted for a in trajectory.attempts)
    assert "within 3 attempts" in trajectory.reason


def test_timeout_ends_an_attempt(folder):
    trajectory = solve("x", model=script("while True: pass", "1"), timeout=1)
    assert trajectory.attempts[0].observation.error.ename == "TimedOut"
    assert trajectory.status == "solved"


def test_running_sandbox_keeps_its_state(folder):
    with Sandbox(SandboxPolicy(workspace=folder)) as sandbox:
        sandbox.execute("x = 41")
        assert solve("add one", sandbox=sandbox, model=script("x += 1"), checks=["x == 42"]).status == "solved"
        assert sandbox.execute("x").text == "42\n"


def test_failing_model_rises_with_what_was_tried(folder):
    with pytest.raises(BadReply) as caught:
        solve("x", model=ScriptedModel([Action("", "1")]))
    assert [a.action.code for a in caught.value.trajectory.attempts] == ["1"]


def test_data_agent_returns_the_answer(folder):
    assert data_agent("sales.csv", "count", model=script("1", answer="three")) == "three"


def test_data_agent_raises_with_the_trajectory(folder):
    model = ScriptedModel([Action("", "1/0"), Action("cannot", gave_up=True)])
    with pytest.raises(TaskFailed, match="The model gave up: cannot") as caught:
        data_agent("sales.csv", "count", model=model)
    assert caught.value.trajectory.attempts[0].action.code == "1/0"


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        ({"task": "  "}, "The task is empty"),
        ({"task": "x", "files": ["no.csv"]}, "There is no file 'no.csv'"),
        ({"task": "x", "checks": ["x ="]}, "is not a Python expression"),
        ({"task": "x", "tests": ["no.py"]}, "There is no test file 'no.py'"),
        ({"task": "x", "max_attempts": 0}, "max_attempts is 0"),
        ({"task": "x", "max_attempts": "many"}, "max_attempts is 'many'"),
    ],
)
def test_wrong_use_is_one_sentence(folder, arguments, sentence):
    with pytest.raises(WrongUse, match=sentence) as caught:
        solve(**arguments, model=script("1"))
    assert "\n" not in str(caught.value)


def test_model_that_is_none_is_one_sentence(folder):
    with pytest.raises(WrongUse, match=r"^The model is 5; give a model's name, or a model") as caught:
        solve("x", model=5)
    assert "\n" not in str(caught.value)


def test_running_sandbox_excludes_a_policy_and_files_it_cannot_read(folder, tmp_path):
    (tmp_path / "far.csv").touch()
    with Sandbox(SandboxPolicy(workspace=folder)) as sandbox:
        with pytest.raises(WrongUse, match="its own policy"):
            solve("x", sandbox=sandbox, policy=SandboxPolicy(), model=script("1"))
        with pytest.raises(WrongUse, match="cannot read"):
            solve("x", sandbox=sandbox, files=[tmp_path / "far.csv"], model=script("1"))


def test_home_folder_as_working_folder_shows_the_named_file_alone(folder, monkeypatch):
    monkeypatch.setenv("HOME", str(folder))
    (folder / "private.txt").write_text("x")
    trajectory = solve("x", files=["sales.csv"], model=script("import os\nprint(os.listdir('.'))"))
    assert trajectory.attempts[0].observation.text == "['sales.csv']\n"
