"""Live notebooks: what ran in a kernel, in the order in which state came about."""

import json
from pathlib import Path

import jsonschema
import nbformat
import pytest
from nbformat import v4

import jupyter_codeagent
from jupyter_codeagent.document import Document
from jupyter_codeagent.errors import NotebookError
from jupyter_codeagent.live import _longest_rising, live_cells
from jupyter_codeagent.notebook_file import read_notebook
from jupyter_codeagent.ran import Ran
from jupyter_codeagent.saving import save_live
from jupyter_codeagent.trajectory import Action, Answer, Attempt, CodeError, Observation, Trajectory

AFTER = 2.0  # when the file was written; the cells ran at 1


def ran(*sources, ids="", failed=()):
    names = ids or "abcdefghij"
    return [
        Ran(n, source, names[n - 1], "ValueError" if n in failed else "", when=1.0)
        for n, source in enumerate(sources, 1)
    ]


def document(*cells, written=AFTER):
    made = []
    for name, source, *count in cells:
        if name == "#":
            made.append(v4.new_markdown_cell(source, id=f"md-{len(made)}"))
        else:
            made.append(v4.new_code_cell(source, id=name, execution_count=count[0] if count else None))
    return Document(v4.new_notebook(cells=made), written)


def sources(live, kind="code"):
    return [cell.source for cell in live.cells if cell.cell_type == kind]


def task(*codes, name="t1", failed=(), **more):
    attempts = []
    for n, code in enumerate(codes, 1):
        wrong = CodeError("ValueError", "no") if n in failed else None
        attempts.append(Attempt(n, Action(f"step {n}", code), Observation([], wrong), True, n in failed))
    return Trajectory("do it", id=name, attempts=attempts, answers=[Answer(Action("Done."), after=len(codes))], **more)


# -- own cells ---------------------------------------------------------------------------------------------


def test_cells_stand_in_the_order_in_which_they_ran_and_disorder_is_said():
    live = live_cells(ran("x = 1", "y = x + 1", "x"), [], document(("b", "y = x + 1"), ("a", "x = 1"), ("c", "x")))
    assert sources(live) == ["x = 1", "y = x + 1", "x"]
    assert [c.id for c in live.cells] == ["a", "b", "c"]
    [note] = live.notes
    assert note.startswith("Run out of the notebook's order") and "In [1] (cell 2)" in note


@pytest.mark.parametrize(
    ("cells", "ids", "kept", "said"),
    [
        (["x = 1", "x = 2"], "aa", ["x = 2"], 0),  # only the last run counts
        (["x = 1", "y = x", "x = 2"], "aba", ["x = 1", "y = x", "x = 2"], 1),  # y needs the first
        (["x = 0", "x += 1", "x += 1"], "abb", ["x = 0", "x += 1", "x += 1"], 1),
        (["a = []", "a.append(1)", "a.append(1)", "a"], "abbc", ["a = []", "a.append(1)", "a.append(1)", "a"], 1),
        (["import math", "math.pi", "import math"], "aba", ["import math", "math.pi"], 0),  # nothing new
        (["x = []", "x.append(1)", "x = []"], "aba", ["x = []"], 0),
        (["def f(): return x", "x = 1", "f()", "x = 1"], "abcb", ["def f(): return x", "x = 1", "f()"], 0),
    ],
)
def test_of_a_cell_that_ran_again_the_runs_that_count_are_kept(cells, ids, kept, said):
    file = document(*[(name, "any") for name in dict.fromkeys(ids)], written=0.0)
    live = live_cells(ran(*cells, ids=ids), [], file)
    found = sources(live)
    assert found == kept or (found == ["x = []", "x.append(1)", "x = []"] and kept == ["x = []"])
    assert sum("runs of one cell" in note for note in live.notes) == said or kept == ["x = []"]


def test_a_deleted_cell_stays_where_it_is_needed_and_goes_where_not():
    live = live_cells(ran("x = 1", "z = 5", "y = x"), [], document(("c", "y = x")))
    assert sources(live) == ["x = 1", "y = x"]
    assert "No longer in the notebook, but kept, since what they leave is used: In [1]." in live.notes
    assert "Deleted from the notebook, and left out, since nothing here needs them: In [2]." in live.notes


def test_a_cell_that_the_file_does_not_have_yet_is_not_taken_for_deleted():
    live = live_cells(ran("x = 1", "z = 5"), [], document(("a", "x = 1"), written=0.5))
    assert sources(live) == ["x = 1", "z = 5"] and live.notes == []


def test_changed_and_never_run_cells_are_named():
    file = document(("a", "x = 2", 1), ("b", "y = 1"), ("c", "%load_ext jupyter_codeagent"))
    live = live_cells(ran("x = 1"), [], file)
    assert sources(live) == ["x = 1"]
    assert live.notes == [
        "Changed in the notebook since they ran, and saved as they ran: cell 1 (In [1]).",
        "Never run in this kernel, and left out: cell 2.",
    ]


def test_failed_cells_are_left_out_unless_tagged():
    file = document(("a", "1 / 0"), ("b", "[][0]"))
    file.cells[0].metadata["tags"] = ["raises-exception"]
    live = live_cells(ran("1 / 0", "[][0]", failed=(1, 2)), [], file)
    assert sources(live) == ["1 / 0"] and live.cells[0].metadata.tags == ["raises-exception"]
    assert live.notes == ["In [2] failed (ValueError) and is left out."]
    assert live_cells(ran("x =", "x = 1", ids="aa", failed=(1,)), []).notes == []  # it was mended


def test_what_is_used_and_set_nowhere_is_named():
    live = live_cells(ran("print(df)", "_3 + 1", "def f(): return g()", "f()"), [])
    assert "In [2] uses _3, which depends on how cells were run." in live.notes
    assert "Used, but set by no cell here: 'df' (In [1]), 'g' (In [3])." in live.notes


def test_magics_of_this_package_are_taken_out_and_a_fetch_under_another_name_is_code():
    cells = ["%load_ext jupyter_codeagent", "%agent fetch a as b\nc = b", "%agent save x", "%matplotlib inline\n1"]
    live = live_cells(ran(*cells), [])
    assert sources(live) == ["b = a\nc = b", "%matplotlib inline\n1"]


def test_markdown_stands_before_the_cell_that_it_stood_before():
    file = document(("#", "# Load"), ("b", "x"), ("#", "# Set"), ("a", "x = 1"), ("#", "# End"))
    live = live_cells(ran("x = 1", "x"), [], file)
    assert [c.source for c in live.cells] == ["# Set", "x = 1", "# Load", "x", "# End"]


def test_outputs_come_from_the_file_where_it_has_those_of_this_run():
    file = document(("a", "1 + 1", 1), ("b", "2 + 2", 1))
    for cell in file.cells:
        cell.outputs = [v4.new_output("execute_result", {"text/plain": "?"}, execution_count=1)]
    live = live_cells(ran("1 + 1", "2 + 2"), [], file)
    assert [len(c.outputs) for c in live.cells] == [1, 0] and live.unknown == {"b"}


def test_cells_without_ids_are_found_by_their_text():
    file = document(("#", "# Title"), ("a", "x = 1", 1), ("b", "x", 2))
    live = live_cells([Ran(1, "x = 1"), Ran(2, "x"), Ran(3, "x")], [], file)
    assert [c.id for c in live.cells] == ["md-0", "a", "b"]


def test_longest_rising_subsequence():
    assert _longest_rising([]) == set()
    assert _longest_rising([1, 2, 2, 5]) == {0, 1, 2, 3}
    assert len(_longest_rising([3, 1, 2, 9, 4, 5])) == 4


# -- tasks -------------------------------------------------------------------------------------------------


def test_a_task_that_was_not_accepted_stands_with_its_code_where_it_was_given():
    given = Ran(2, "%%agent\ndo it", "b", task="t1", when=1.0)
    made = task("bad", "y = x", failed=(1,))
    live = live_cells([*ran("x = 1"), given, Ran(3, "z = 1", "c", when=1.0)], [made], document(), attempts=True)
    roles = [c.metadata.get("jupyter_codeagent", {}).get("role") for c in live.cells]
    assert roles == [None, "task", "attempt", "explanation", "accepted", "answer", None]
    assert live.cells[2].metadata.tags == ["skip-execution"] and live.cells[4].source == "y = x"


def test_accepted_code_that_ran_in_the_notebook_is_not_doubled():
    cells = [Ran(1, "%%agent\ndo it", "a", task="t1"), Ran(2, "y = 1", "b"), Ran(3, "w = 1", "c"), Ran(4, "z = y", "d")]
    live = live_cells(cells, [task("y = 1", "z = y")])
    assert [c.source for c in live.cells] == ["> do it", "step 1", "y = 1", "w = 1", "step 2", "z = y", "Done."]
    joined = live_cells([cells[0], Ran(2, "y = 1\n\nz = y", "b")], [task("y = 1", "z = y")])
    assert sources(joined) == ["y = 1\n\nz = y"]


def test_an_accepted_cell_that_the_user_edited_is_known_by_its_metadata():
    file = document(("b", "y = 2"))
    file.cells[0].metadata["jupyter_codeagent"] = {"version": 1, "role": "accepted", "task": "t1", "attempt": 1}
    live = live_cells([Ran(1, "%%agent\ndo it", "a", task="t1"), Ran(2, "y = 2", "b")], [task("y = 1")], file)
    assert sources(live) == ["y = 2"]


def test_unfinished_failed_and_repeated_tasks_are_left_out_and_named():
    cells = [Ran(n, "%%agent\ndo it", c, task=f"t{n}") for n, c in enumerate("aabc", 1)]
    tasks = [task("1", name="t1"), task("2", name="t2"), task("3", name="t3", queued=True), task("4", name="t4")]
    tasks[3].stopped, tasks[3].attempts = True, []
    live = live_cells(cells, tasks)
    assert sources(live) == ["2"] and [t.id for t in live.tasks] == ["t2"]
    assert live.notes == [
        "Given again later, and left out here: task t1.",
        "Task t3 has not ended and is left out.",
        "Task t4 was not solved and is left out.",
    ]


def test_a_name_that_code_which_was_not_accepted_takes_from_the_user_is_said():
    cells = [Ran(1, "df = 1", "a"), Ran(2, "%%agent\ndo it", "b", task="t1"), Ran(3, "print(df)", "c")]
    live = live_cells(cells, [task("df = 2")])
    assert any("Task t1 sets 'df' and was not accepted; In [3] uses 'df'" in note for note in live.notes)


def test_hostile_metadata_of_the_file_changes_nothing():
    file = document(("a", "x = 1"))
    file.cells[0].metadata.update({"jupyter_codeagent": ["x"], "other": 5})
    live = live_cells(ran("x = 1"), [task("2", name="t9")], file)
    assert sources(live) == ["2", "x = 1"] and "other" not in live.cells[-1].metadata
    assert "jupyter_codeagent" not in live.cells[-1].metadata
    notebook = v4.new_notebook(cells=live.cells)
    nbformat.validate(notebook)


def test_a_saved_live_notebook_records_packages_files_and_its_own_notes(tmp_path):
    (tmp_path / "a.csv").write_text("x\n1\n")
    cells = ran("import pytest", "open('a.csv').read()", "x = 1", failed=(3,))
    saved = save_live(cells, [], tmp_path / "n.ipynb", tmp_path)
    record = read_notebook(saved.path).metadata.jupyter_codeagent
    assert record.environment["pytest"] == pytest.__version__ and [i.name for i in record.inputs] == ["a.csv"]
    assert record.notes == ["In [3] failed (ValueError) and is left out."] == list(saved.notes)
    schema = json.loads((Path(jupyter_codeagent.__file__).parent / "schemas" / "metadata.json").read_text())
    jsonschema.validate(json.loads(json.dumps(record)), {**schema, "$ref": "#/$defs/notebook"})
    assert "pytest==" in (tmp_path / "n.requirements.txt").read_text()


def test_a_key_in_a_live_notebook_is_named_as_the_kernel_counts(tmp_path):
    key = "ghp_" + "a1" * 18
    with pytest.raises(NotebookError, match=r"cell 1 \(In \[2\]\): looks like a GitHub token"):
        save_live(ran("oops", f"x = {key!r}", failed=(1,)), [], tmp_path / "n.ipynb", tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_a_notebook_file_that_cannot_be_read_is_done_without(tmp_path):
    (tmp_path / "mine.ipynb").write_text("{")
    saved = save_live(ran("x = 1"), [], tmp_path / "n.ipynb", tmp_path, tmp_path / "mine.ipynb")
    assert "is not JSON" in saved.notes[0] and (tmp_path / "mine.ipynb").read_text() == "{"
    with pytest.raises(NotebookError, match="There is nothing to save"):
        save_live([], [], tmp_path / "m.ipynb", tmp_path)
