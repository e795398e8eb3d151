"""What the model is told, and what of the user's variables may go into the sandbox."""

import datetime
import threading
import types
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from jupyter_codeagent.agent import Agent
from jupyter_codeagent.context import describe, files_named, find_files, inputs
from jupyter_codeagent.delivery import deliver
from jupyter_codeagent.errors import NotPlainData, WrongUse
from jupyter_codeagent.keys import Keys
from jupyter_codeagent.models.scripted import ScriptedModel
from jupyter_codeagent.packed import OverBudget, Shelf, pack
from jupyter_codeagent.passing import Passing, names_used
from jupyter_codeagent.sandbox import Sandbox, SandboxPolicy
from jupyter_codeagent.trajectory import Action, Check, Trajectory
from jupyter_codeagent.variables import check_plain, limits, literal, names_in, of_user, shown, told

KEYS = Keys({"MY_API_KEY": "correct-horse-battery", "HOME": "/home/somebody"})
SECRET = "sk-ant-api03-" + "a1B2" * 8


@pytest.fixture
def folder(tmp_path):
    project = tmp_path / "project"
    project.mkdir()
    (project / "sales.csv").write_text('Region,Revenue ,Date\nNorth,"$1,500",2024-01-01\nSouth,$20,\n')
    return project


# -- names ------------------------------------------------------------------------------------


def test_the_folder_of_a_shell_is_no_key():
    assert Keys({"PWD": "/home/me/project"}).kind("see /home/me/project") == ""


def test_a_task_names_the_variables_that_stand_in_it():
    known = ["sales", "df", "my_frame", "plot", "a", "x", "total"]
    assert names_in("Plot sales by month, then clean df.", known) == ["sales", "df"]
    assert names_in("the total of `a` and x[0] in my_frame", known) == ["x", "my_frame", "a"]
    assert names_in("a plot of the total", known) == []
    assert names_in("show `total`", known) == ["total"]


def test_names_used_are_those_read_before_they_are_set():
    code = "import os\nd = df.copy()\nd['z'] = [q * k for q in xs]\n"
    code += "def f(a):\n    b = a + g\n    return b\ntotal += d\n%time\n"
    assert names_used(code) == ["df", "xs", "k", "g", "total"]


@pytest.mark.parametrize(
    "code, names",
    [
        ("(n := n + 1)", ["n"]),
        ("f = lambda x=df: x", ["df"]),
        ("def f():\n    global total\n    total = total + 1", ["total"]),
        ("def f():\n    def g():\n        x = 1\n    return x", ["x"]),
        ("def f():\n    x = 1\n    def g():\n        return x + y\n    return g", ["y"]),
        ("class A(Base):\n    size = width\n    def f(self):\n        return other", ["Base", "width", "other"]),
        ("[[cell for cell in row] for row in rows if keep(row)]", ["rows", "keep"]),
        ("print(f'{a!r:{width}} {b}')", ["print", "a", "width", "b"]),
        ("with open(path) as file:\n    text = file.read()", ["open", "path"]),
        ("try:\n    df\nexcept NameError as error:\n    df = load(error)", ["df", "NameError", "load"]),
        ("rows[0].name = value\ndel other", ["value", "rows", "other"]),
        ("total += 1\nfor total in many: pass", ["total", "many"]),
        ("async def f():\n    async for x in source:\n        [y async for y in others]", ["source", "others"]),
        ("%time big.sum()\nfiles, n = !ls\nx = small", ["big", "small"]),
        ("if many:\n    %timeit -n 10 -r3 f(x)\n    !rm {x}\n%matplotlib inline", ["many", "f", "x"]),
    ],
)  # fmt: skip
def test_names_used_are_found_in_nested_code(code, names):
    assert names_used(code) == names


def test_names_used_survives_code_that_is_no_python():
    assert names_used("!ls\nprint(rows)") == ["print", "rows"]
    assert names_used("def broken(") == []


def test_names_used_survives_code_that_is_nested_deeply():
    assert set(names_used("x = " + "a + " * 1500 + "b")) == {"a", "b"}


def test_private_names_modules_and_what_the_shell_put_there_are_not_the_users():
    found = of_user({"df": 1, "_x": 2, "np": np, "In": [], "open": 3, "quit": 4, "tool": 5}, hidden=["tool"])
    assert found == {"df": 1}


# -- plain data -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "value",
    [
        None,
        3.5,
        "text",
        [1, {"a": (2, {3})}],
        np.arange(3),
        np.float64(2),
        np.array(["a", None], dtype=object),
        pd.DataFrame({"a": [1, "x"], "when": [pd.Timestamp("2024-01-01")] * 2}),
        pd.Series([1.0]),
        pd.Index([1]),
        datetime.datetime(2024, 1, 1),
        Path("x"),
    ],
)
def test_plain_data_may_pass(value):
    check_plain("v", value)
    shelf = Shelf()
    assert pack("v", value, limits(KEYS), shelf) is pack("v", value, limits(KEYS), shelf)


@pytest.mark.parametrize(
    "value",
    [
        types,
        open,
        threading.Lock(),
        object(),
        [1, object()],
        {"a": threading.Lock()},
        np.array([object()], dtype=object),
        pd.DataFrame({"a": [object()]}),
        type("Frame", (dict,), {})(),
    ],
)
def test_anything_else_stays(value):
    with pytest.raises(NotPlainData, match="not plain data"):
        check_plain("v", value)


def test_a_list_that_holds_itself_is_looked_at_once():
    knot: list[object] = []
    knot.append(knot)
    check_plain("knot", knot)


@pytest.mark.parametrize("size", [2, 3_000_000])
def test_a_change_in_place_is_seen(size):
    shelf, frame = Shelf(), pd.DataFrame({"a": np.arange(size), "b": 1.5})
    before = pack("frame", frame, limits(KEYS), shelf)
    assert pack("frame", frame, limits(KEYS), shelf) is before and shelf.same("frame", frame, before.mark)
    frame.loc[size - 1, "a"] = 5
    assert not shelf.same("frame", frame, before.mark)
    after = pack("frame", frame, limits(KEYS), shelf)
    assert after.mark != before.mark and shelf.same("frame", frame, after.mark)


def test_a_shelf_keeps_the_newest_copies_that_fit():
    shelf = Shelf(most=2000)
    for name in ("a", "b", "c"):
        pack(name, bytes(900), limits(KEYS), shelf)
    assert [shelf.get(name) is not None for name in ("a", "b", "c")] == [False, True, True]


def test_values_beyond_the_limits_stay():
    with pytest.raises(OverBudget, match="larger than 1 MB"):
        pack("v", bytes(2**21), limits(KEYS, 2**20))
    with pytest.raises(OverBudget, match="took longer than"):
        pack("v", [1], limits(KEYS, seconds=-1))


@pytest.mark.parametrize(
    "value", ["correct-horse-battery", [SECRET], pd.DataFrame({"a": [SECRET, "b"]}), {"x": {"y": SECRET}}]
)
def test_a_value_that_holds_a_key_stays(value):
    with pytest.raises(NotPlainData, match="looks like a key"):
        pack("v", value, limits(KEYS))


@pytest.mark.parametrize("kind", [object, "str"])
def test_a_key_is_found_in_a_long_column_but_not_across_two_texts(kind):
    texts = ["task-"] * 2000
    pack("v", pd.DataFrame({"a": texts}, dtype=kind), limits(KEYS))
    for place in (0, 1999):
        holds = [*texts[:place], SECRET, *texts[place:]]
        with pytest.raises(NotPlainData, match="looks like a key"):
            pack("v", pd.DataFrame({"a": holds}, dtype=kind), limits(KEYS))


def test_keys_are_known_by_name_but_ordinary_words_are_not():
    assert KEYS.named("api_key", "short")
    assert KEYS.named("DB_PASSWORD", "hunter2")
    assert KEYS.named("key", "a8f3c2d1e4b5a697c8d9")
    assert not KEYS.named("sort_key", "customer_name")
    assert not KEYS.named("tokens", ["a", "list"])
    assert not KEYS.named("monkey", "Chita")


def test_keys_are_hidden_in_text():
    text = (
        f'client = Client("{SECRET}")\npassword = "hunter2 again"\nenv["MY_API_KEY"] = "correct-horse-battery"\nn = 1'
    )
    hidden = KEYS.hide(text)
    assert SECRET not in hidden and "hunter2" not in hidden and "correct-horse" not in hidden
    assert "n = 1" in hidden


@pytest.mark.parametrize(
    "part",
    ["acgt", "key", "sk-", "eyJ", "-eyJ", "eyJaaaaaaaaaaa.", "a://", "a://b:", "key  ", "key=", "key='", "a-", " "],
)
def test_long_texts_are_looked_through_in_one_go(part):
    """Each of these once took a time that grew with the square of the length, which is minutes here."""
    text = (part * 200_000)[:200_000]
    assert KEYS.within(text) == KEYS.within(text.encode())
    assert KEYS.hide(text) and (not KEYS.kind(text) or KEYS.within(text))


def test_variables_are_told_without_calling_their_repr():
    class Loud:
        def __repr__(self):
            raise AssertionError("called")

    assert told(Loud()) == "Loud"
    assert shown(Loud()) == "" and shown([Loud()]) == ""
    assert told(pd.DataFrame({"a": [1]})) == "DataFrame, 1 x 1"
    assert "'Revenue '" in shown(pd.DataFrame({"Revenue ": ["$5"]}))
    assert len(shown("x" * 10_000)) < 1000


def test_a_literal_is_given_for_small_plain_values_only():
    assert literal({"a": [1, 2.5, None]}) == "{'a': [1, 2.5, None]}"
    assert literal(float("nan")) == "" and literal(pd.DataFrame()) == "" and literal("x" * 20_000) == ""
    assert literal([datetime.date(2024, 1, 1)]) == ""


# -- files and the whole text --------------------------------------------------------------------


def test_files_are_found_by_pattern_and_by_the_task(folder):
    assert find_files(["*.csv"], folder) == ["sales.csv"]
    assert files_named("sum Revenue in sales.csv, by Region. Not nope.csv.", folder) == ["sales.csv"]
    assert files_named("read 'sales.csv'", folder) == ["sales.csv"]
    (entry,) = inputs(["sales.csv"], folder)
    assert entry.size == (folder / "sales.csv").stat().st_size and len(entry.digest) == 32


@pytest.mark.parametrize(
    ("pattern", "words"), [("no*.csv", "No file matches"), ("../x", "outside"), ("/etc/passwd", "outside")]
)
def test_a_pattern_without_a_file_in_the_folder_is_one_sentence(folder, pattern, words):
    with pytest.raises(WrongUse, match=words):
        find_files([pattern], folder)


def test_files_of_secrets_are_neither_found_nor_shown(folder):
    (folder / ".env").write_text("TOKEN=abc")
    assert files_named("look into .env", folder) == []
    with pytest.raises(WrongUse, match="secrets"):
        find_files([".env"], folder)


def test_the_context_shows_cells_variables_and_files(folder):
    text = describe(
        cells=["%load_ext jupyter_codeagent", "import pandas as pd", f"key = '{SECRET}'"],
        variables={"df": pd.DataFrame({"Revenue ": ["$5"]}), "n": 3, "api_key": "abcdefgh"},
        named=["df"],
        files=["sales.csv"],
        folder=folder,
        earlier=[Trajectory("load the data")],
        keys=KEYS,
    )
    assert "import pandas as pd" in text and "load_ext" not in text
    assert SECRET not in text and "api_key" not in text
    assert "columns {'Revenue ': str}" in text and "n: int" in text
    assert "['Region', 'Revenue ', 'Date']" in text and '"$1,500"' in text
    assert "'load the data'" in text


def test_the_context_is_bounded(folder):
    for number in range(50):
        (folder / f"f{number}.csv").write_text("column\n" * 2000)
    text = describe(
        cells=["x = 1\n" * 500] * 50,
        variables={f"v{n}": "text" * 5000 for n in range(500)},
        named=[f"v{n}" for n in range(500)],
        files=find_files(["*.csv"], folder),
        folder=folder,
        earlier=[Trajectory("task " * 500)] * 20,
    )
    assert len(text) < 7000


def test_nothing_to_tell_is_an_empty_context():
    assert describe() == ""


# -- passing into a real sandbox ------------------------------------------------------------------


@pytest.fixture
def user():
    return {}


@pytest.fixture
def passing(folder, user):
    with Sandbox(SandboxPolicy(folder)) as sandbox:
        yield Passing(sandbox, lambda: dict(user), KEYS)


def run(passing, code):
    last = None
    for last in passing.stream(code):  # noqa: B007
        pass
    return last


def test_what_code_names_is_copied_in_and_said(passing, user):
    user.update(df=pd.DataFrame({"a": [1, 2]}), other=5)
    seen = run(passing, "df['b'] = 1\nprint(len(df)); 'other' in globals()")
    assert seen.error is None and seen.text == "2\nFalse\n"
    assert seen.notes[0] == "Copied in from the notebook: df (DataFrame, 2 x 1)."
    assert list(user["df"].columns) == ["a"]


def test_kept_work_is_not_overwritten_but_the_users_change_is_passed(passing, user):
    user["rows"] = [1]
    assert run(passing, "rows.append(2); rows").text == "[1, 2]\n"
    passing.begin(["rows"])
    assert run(passing, "rows").text == "[1, 2]\n"
    user["rows"].append(7)
    passing.begin(["rows"])
    assert run(passing, "rows").text == "[1, 7]\n"


def test_a_value_is_passed_again_after_a_rollback(passing, user):
    user["rows"] = [1]
    before = passing.checkpoint()
    assert run(passing, "rows.append(2); rows").text == "[1, 2]\n"
    passing.rollback(before)
    assert run(passing, "rows").text == "[1]\n"


def test_what_the_sandbox_made_is_its_own_until_the_user_accepts_it(passing, user):
    run(passing, "total = 10")
    user["total"] = 3
    assert run(passing, "total").text == "10\n"
    passing.accepted(["total"])
    assert run(passing, "total").text == "3\n"


def test_keys_and_open_handles_stay_and_the_reason_is_said(passing, user):
    user.update(api_key="anything", handle=threading.Lock(), text=f"x {SECRET}")
    seen = run(passing, "print([n for n in ('api_key', 'handle', 'text') if n in globals()])\n(api_key, handle, text)")
    assert seen.error.ename == "NameError" and seen.text.startswith("[]")
    assert any(note == "'api_key' was not passed: it looks like a key." for note in seen.notes)
    assert any("'handle' was not passed: it is a lock" in note for note in seen.notes)


def test_functions_of_the_notebook_come_as_source_with_what_they_need(passing, user):
    namespace = {"__name__": "__main__"}
    source = "def double(x):\n    return x * factor\n"
    import linecache

    linecache.cache["<cell>"] = (len(source), None, source.splitlines(True), "<cell>")
    exec(compile(source, "<cell>", "exec"), namespace)
    user.update(double=namespace["double"], factor=21)
    assert run(passing, "double(2)").text == "42\n"


def test_functions_bring_imports_annotations_and_defaults_along(passing, user):
    import linecache

    namespace = {"__name__": "__main__", "pd": pd, "Path": Path, "factor": 3}
    source = "def triple(frame: pd.DataFrame, by=factor, root=Path('x')) -> int:\n    return np.sum(frame['a']) * by\n"
    linecache.cache["<cell 2>"] = (len(source), None, source.splitlines(True), "<cell 2>")
    exec(compile(source, "<cell 2>", "exec"), namespace)
    user.update(triple=namespace["triple"], factor=3, df=pd.DataFrame({"a": [1, 2]}))
    passing.namespace = {**namespace, "np": np}
    seen = run(passing, "int(triple(df))")
    assert seen.text == "9\n", seen.error
    assert "triple (source)" in seen.notes[0]


def test_what_cannot_be_rebuilt_inside_does_not_hold_up_the_rest(passing, user, monkeypatch):
    module = types.ModuleType("only_here")
    exec("class Thing:\n    pass\n", module.__dict__)
    monkeypatch.setitem(__import__("sys").modules, "only_here", module)
    user.update(thing=module.Thing(), rows=[1])
    passing.begin([], ["thing"])
    seen = run(passing, "rows, 'thing' in globals()")
    assert seen.text == "([1], False)\n" and any("'thing' was not passed" in note for note in seen.notes)


def test_with_lets_more_pass_but_never_a_key(passing, user):
    user.update(fraction=Trajectory("t"), client={"token": SECRET}, lock=threading.Lock())
    passing.begin([], ["fraction", "client", "lock"])
    seen = run(passing, "fraction.task, 'client' in globals(), 'lock' in globals()")
    assert seen.text == "('t', False, False)\n", seen.notes


def test_checks_run_on_values_that_an_attempt_has_changed(passing, user):
    user["rows"] = [1, 2]
    trajectory = Trajectory("t", checks=(Check("c", "assert rows == [1, 2, 3]"),))
    passing.begin([])
    model = ScriptedModel([Action("", "x = 1"), Action("", "rows = rows + [3]"), Action("done")])
    for _ in Agent(model, passing).run(trajectory):
        pass
    assert trajectory.status == "solved", trajectory.answers


def test_checks_see_the_values_that_came_in_during_the_task(passing, user):
    user["rows"] = [1, 2]
    trajectory = Trajectory("t", checks=(Check("n == 2", "assert n == len(rows) == 2"),))
    model = ScriptedModel([Action("", "n = len(rows)"), Action("done")])
    passing.begin([])
    for _ in Agent(model, passing).run(trajectory):
        pass
    assert trajectory.status == "solved", trajectory.answers
    assert passing.literals() == {"rows": "[1, 2]"}


def test_files_that_came_later_are_delivered(passing, folder):
    import time

    run(passing, "1")
    since, known = time.time(), {}
    (folder / "new.csv").write_text("a\n1\n")
    (folder / "deep").mkdir()
    (folder / "deep" / "x.txt").write_text("deep")
    files = inputs(["new.csv", "deep/x.txt", "sales.csv"], folder)
    assert list(deliver(passing.sandbox, files, folder, since, known)) == []
    assert set(known) == {"new.csv", "deep/x.txt", "sales.csv"}
    seen = run(passing, "open('new.csv').read() + open('deep/x.txt').read(), '_content' in globals()")
    assert seen.text == "('a\\n1\\ndeep', False)\n"


def test_what_code_made_of_a_delivered_file_stays_until_the_users_file_changes(passing, folder):
    known = {}
    (folder / "new.csv").write_text("mine")
    list(deliver(passing.sandbox, inputs(["new.csv"], folder), folder, 0.0, known))
    run(passing, "open('new.csv', 'w').write('changed')")
    list(deliver(passing.sandbox, inputs(["new.csv"], folder), folder, 0.0, known))
    assert run(passing, "open('new.csv').read()").text == "'changed'\n"
    (folder / "new.csv").write_text("mine again")
    list(deliver(passing.sandbox, inputs(["new.csv"], folder), folder, 0.0, known))
    assert run(passing, "open('new.csv').read()").text == "'mine again'\n"
