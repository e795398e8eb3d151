"""Saving: what goes into a notebook's file, what must not, and that nothing is lost where it fails."""

import json
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import jsonschema
import nbformat
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import jupyter_codeagent
from jupyter_codeagent.errors import NotebookError
from jupyter_codeagent.keys import Keys
from jupyter_codeagent.notebook_file import MOST_BYTES, read_notebook, write_notebook
from jupyter_codeagent.placing import look, place
from jupyter_codeagent.portable import Folders, refuse_keys, relative_source, relative_text
from jupyter_codeagent.ran import Ran
from jupyter_codeagent.saving import of_tasks, save_live, save_notebook, save_solved, save_tasks
from jupyter_codeagent.trajectory import Action, Answer, Attempt, Input, Observation, Trajectory, Usage, code_hash
from jupyter_codeagent.verified import save_verified
from jupyter_codeagent.verify import verify_notebook

SCHEMA = json.loads((Path(jupyter_codeagent.__file__).parent / "schemas" / "metadata.json").read_text())
ANTHROPIC = "sk-ant-" + "api03-" + "x" * 24
GITHUB = "ghp_" + "a1" * 18


def task(code, outputs=(), **more):
    attempt = Attempt(1, Action("Do it.", code, usage=Usage(1, 2, cost=0.5)), Observation(list(outputs)), done=True)
    return Trajectory("do it", id="t1", attempts=[attempt], answers=[Answer(Action("Done."), after=1)], **more)


def printed(text, name="stdout"):
    return {"output_type": "stream", "name": name, "text": text}


# -- keys ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("made", "place"),
    [
        (lambda: task(f"key = {ANTHROPIC!r}"), "cell 3: looks like an Anthropic key"),
        (
            lambda: task("1", [printed("a"), printed(f"the key: \x1b[1m{ANTHROPIC}")]),
            "cell 3, output 1: looks like an A",
        ),
        (lambda: task("1", [printed(GITHUB[:9]), printed(GITHUB[9:])]), "cell 3, output 1: looks like a GitHub token"),
        (
            lambda: task("1", [{"output_type": "display_data", "data": {"application/json": [{"a": GITHUB}]}}]),
            "cell 3, output 1: looks like a GitHub token",
        ),
        (
            lambda: task("1", [{"output_type": "error", "ename": "E", "evalue": "e", "traceback": [GITHUB]}]),
            "cell 3, output 1: looks like a GitHub token",
        ),
        (lambda: task("db = 'postgres://me:hunter2@db/x'"), "cell 3: looks like an address with a password"),
        (lambda: task("1", variables={"k": repr(ANTHROPIC)}), "cell 1: looks like an Anthropic key"),
        (lambda: Trajectory(f"use {ANTHROPIC}", attempts=task("1").attempts), "cell 1: looks like an Anthropic key"),
    ],
)
def test_a_key_anywhere_refuses_the_notebook_and_its_place_is_named(tmp_path, made, place):
    with pytest.raises(NotebookError) as caught:
        save_notebook(made(), tmp_path / "n.ipynb")
    assert place in str(caught.value) and "x" * 20 not in str(caught.value) and GITHUB not in str(caught.value)
    assert os.listdir(tmp_path) == []


def test_a_key_in_a_notebook_that_was_run_is_told_with_what_helps_there(tmp_path):
    made = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(f"key = {GITHUB!r}")])
    with pytest.raises(NotebookError, match=r"cell 1: looks like .* with --again where the model") as caught:
        save_solved(made, tmp_path / "n.ipynb", tmp_path)
    assert GITHUB not in str(caught.value) and not list(tmp_path.iterdir())


def test_a_secret_of_the_environment_refuses_the_notebook(tmp_path, monkeypatch):
    monkeypatch.setenv("SHOP_API_KEY", "correct horse battery")
    with pytest.raises(NotebookError, match="the value of the environment variable SHOP_API_KEY"):
        save_notebook(task("1", [printed("it is correct horse battery\n")]), tmp_path / "n.ipynb")


def test_what_only_resembles_a_key_is_saved(tmp_path):
    picture = {"output_type": "display_data", "data": {"image/png": "AIza" + "a" * 40}, "metadata": {}}
    page = {"output_type": "display_data", "data": {"text/html": f"<img src='data:image/png;base64,AIza{'b' * 60}'>"}}
    words = "task-by-task-with-some-care risk-adjusted-returns-by-region https://example.org/a:b"
    path = save_notebook(task(f"x = {words!r}", [printed(words), picture, page]), tmp_path / "n.ipynb")
    assert words in read_notebook(path).cells[2].source


def test_keys_are_looked_for_in_metadata_and_attachments():
    from nbformat import v4

    notebook = v4.new_notebook(cells=[v4.new_markdown_cell("x", attachments={"a": {"text/plain": GITHUB}})])
    notebook.metadata["anything"] = {"deep": [{GITHUB: 1}]}
    with pytest.raises(NotebookError, match=r"the notebook's metadata: .*; cell 1, attachment: looks"):
        refuse_keys(notebook, Keys({}))


# -- paths -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("code", "expected"),
    [
        ("open('/ws/data/a.csv')", "open('data/a.csv')"),
        ("é = open('/ws/ä.csv'); b = '/ws/'", "é = open('ä.csv'); b = './'"),
        ("%time 1\nx = r'/ws/a'\n!ls", "%time 1\nx = 'a'\n!ls"),
        ("x = ('/ws'\n     '/b.csv')", "x = ('b.csv')"),
        ("f'/ws/{x}'", "f'/ws/{x}'"),
        ("'see /ws/a'; '/wsx/a'; '/ws/../b'; '/other/a'", "'see /ws/a'; '/wsx/a'; '/ws/../b'; '/other/a'"),
        ("x = (", "x = ("),
    ],
)
def test_whole_constants_below_the_workspace_become_relative(code, expected):
    assert relative_source(code, Folders(Path("/ws"), Path("/ws")))[0] == expected


def test_names_follow_a_notebook_that_is_saved_elsewhere():
    folders = Folders(Path("/ws"), Path("/ws/out"))
    source, names = relative_source("a = open('sales.csv'), 'sales', '/ws/x'", folders, ["sales.csv"])
    assert source == "a = open('../sales.csv'), 'sales', '../x'" and names == ["../x", "../sales.csv"]
    assert (
        relative_source("open('/data/a.csv')", Folders(Path("/ws"), Path("/data")), ["/data/a.csv"])[0]
        == "open('a.csv')"
    )


def test_paths_in_text_become_relative():
    folders = Folders(Path("/home/me/ws"), Path("/home/me/ws"))
    text = "PosixPath('/home/me/ws/a.csv') in /home/me/ws. /home/me/ws2/a /mnt/home/me/ws/a file:///home/me/ws/b"
    said = "PosixPath('a.csv') in .. /home/me/ws2/a /mnt/home/me/ws/a file://b"
    assert relative_text(text, folders) == said
    assert relative_text("/a/b", Folders(Path("/"), Path("/"))) == "/a/b"


def test_a_saved_notebook_names_nothing_of_this_machine(tmp_path):
    (tmp_path / "out").mkdir()
    code = f"print(open({str(tmp_path / 'sales.csv')!r}).name)\nopen('sales.csv')"
    shown = {"output_type": "display_data", "data": {"text/html": f"<p>{tmp_path}/x</p>"}, "metadata": {}}
    files = (Input("sales.csv", 2, "ab" * 16), Input(str(tmp_path / "out" / "b.csv"), 2, "ab" * 16))
    made = task(code, [printed(f"{tmp_path}/sales.csv\n"), shown], inputs=files, folder=str(tmp_path), ended=86400.0)
    made.attempts[0].action = replace(made.attempts[0].action, text=f"First {tmp_path}/sales.csv.")
    made.answers[-1] = Answer(Action(f"42, from {tmp_path}/sales.csv."), after=1)
    saved = read_notebook(save_notebook(made, tmp_path / "out" / "n.ipynb", attempts=True))
    assert str(tmp_path) not in json.dumps(saved)
    assert [saved.cells[1].source, saved.cells[3].source] == ["First ../sales.csv.", "42, from ../sales.csv."]
    cell, record = saved.cells[2], saved.metadata.jupyter_codeagent
    assert cell.source == "print(open('../sales.csv').name)\nopen('../sales.csv')"
    assert cell.outputs[0].text == "../sales.csv\n" and cell.outputs[1].data["text/html"] == "<p>../x</p>"
    assert cell.metadata.jupyter_codeagent.hash == code_hash(cell.source)
    assert [i.name for i in record.inputs] == ["b.csv"]
    assert record.notes == ["Cell 3 names '../sales.csv' relative to the notebook's folder."]
    assert record.date == "1970-01-02T00:00:00Z" and record.cost == 0.5
    saved = read_notebook(save_notebook(made, tmp_path / "out" / "n.ipynb", script=True))
    assert saved.metadata.jupyter_codeagent.notes[0].startswith("Cell 4 ") and "../sales" in saved.cells[3].source


# -- what stands in the file ---------------------------------------------------------------------------


def test_values_of_several_tasks_stand_in_one_cell_of_parameters(tmp_path):
    first, second = task("a", variables={"limit": "5"}), task("b", variables={"limit": "6", "name": "'x'"})
    second.id = "t2"
    cells = of_tasks([first, second], tmp_path / "n.ipynb").cells
    tagged = [c.source for c in cells if "parameters" in c.metadata.get("tags", [])]
    assert tagged == ["limit = 5\nname = 'x'"]
    assert [c.source for c in cells].count("limit = 6") == 1


def test_a_value_that_code_has_changed_is_set_anew_for_the_next_task(tmp_path):
    first, second = task("limit = 7", variables={"limit": "5"}), task("b", variables={"limit": "5"})
    first.attempts[0].observation = Observation(names={"limit": "int"})
    second.id = "t2"
    sources = [c.source for c in of_tasks([first, second], tmp_path / "n.ipynb").cells]
    assert sources.count("limit = 5") == 2


def test_requirements_stand_beside_the_notebook(tmp_path):
    path = save_notebook(task("import pytest"), tmp_path / "n.ipynb")
    assert f"pytest=={pytest.__version__}" in (path.parent / "n.requirements.txt").read_text()


HOSTILE = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(st.characters(codec=None), max_size=20),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(st.characters(codec=None)), inner, max_size=3),
    max_leaves=6,
)


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    text=st.text(st.characters(codec=None), max_size=60),
    name=st.text(st.characters(codec=None), max_size=80),
    value=HOSTILE,
    ended=st.floats(),
)
def test_whatever_a_trajectory_or_a_kernel_holds_the_file_is_valid_and_reads_back(tmp_path, text, name, value, ended):
    shown = {"output_type": "display_data", "data": {"text/plain": text, name or "x": value}, "metadata": {"a": value}}
    made = task(text, [shown, printed(text, name)], ended=ended, inputs=(Input(name, 1, "ab" * 16),))
    made.id = name
    ran = [Ran(1, text, name, when=ended, outputs=(shown,)), Ran(2, "x = 1", name), Ran(3, text, name)]
    for number in range(2):
        path = tmp_path / f"n{number}.ipynb"
        try:
            save_live(ran, [made], path, tmp_path, overwrite=True) if number else save_notebook(made, path, True)
        except NotebookError as error:
            assert "looks like" in str(error)
            continue
        json.loads(path.read_bytes(), parse_constant=pytest.fail)
        notebook = read_notebook(path)
        nbformat.validate(notebook)
        assert write_notebook(notebook, path).read_bytes() == path.read_bytes()
        record = json.loads(json.dumps(notebook.metadata.jupyter_codeagent))
        jsonschema.validate(record, {**SCHEMA, "$ref": "#/$defs/notebook"})


# -- over what is there --------------------------------------------------------------------------------


def test_what_was_saved_here_is_saved_again_with_the_same_ids_until_somebody_changes_it(tmp_path):
    path = save_notebook(task("1"), tmp_path / "n.ipynb")
    before = path.read_bytes()
    assert save_notebook(task("1"), path).read_bytes() == before
    assert save_notebook(task("2"), path).read_bytes() != before
    path.write_bytes(path.read_bytes() + b"\n")
    with pytest.raises(NotebookError, match="exists and was not touched"):
        save_notebook(task("1"), path)
    (tmp_path / "n.requirements.txt").write_text("mine")
    path.unlink()
    with pytest.raises(NotebookError, match=r"n\.requirements\.txt' exists and was not touched"):
        save_notebook(task("1"), path)
    assert not path.exists()
    save_notebook(task("1"), path, overwrite=True)


def test_a_file_that_changes_while_it_is_saved_is_not_replaced(tmp_path):
    from jupyter_codeagent.placing import look, place

    path = tmp_path / "n.ipynb"
    path.write_bytes(b"old")
    seen = {path: look(path, overwrite=True)}
    path.write_bytes(b"new")
    with pytest.raises(NotebookError, match="was changed while it was being saved"):
        place({path: b"ours"}, overwrite=True, seen=seen)
    assert path.read_bytes() == b"new" and os.listdir(tmp_path) == ["n.ipynb"]


# -- places that cannot be written -------------------------------------------------------------------------


def test_where_a_later_file_cannot_be_put_there_the_earlier_ones_are_as_they_were(tmp_path):
    replaced, new, taken = (tmp_path / name for name in ("a.txt", "b.txt", "c.txt"))
    replaced.write_text("before")
    seen = {replaced: look(replaced, overwrite=True), new: None, taken: None}
    taken.write_text("another's, written meanwhile")
    before = replaced.stat()
    with pytest.raises(NotebookError, match=r"c\.txt' exists and was not touched"):
        place(dict.fromkeys((replaced, new, taken), b"after"), seen=seen)
    assert sorted(os.listdir(tmp_path)) == ["a.txt", "c.txt"]
    assert (replaced.read_text(), taken.read_text()) == ("before", "another's, written meanwhile")
    assert replaced.stat().st_ino == before.st_ino


def test_places_that_are_no_place_for_a_file_are_one_sentence_each(tmp_path):
    (tmp_path / "real.ipynb").write_text("x")
    (tmp_path / "link.ipynb").symlink_to("real.ipynb")
    (tmp_path / "dangling.ipynb").symlink_to("nowhere")
    os.mkfifo(tmp_path / "pipe.ipynb")
    sentences = {
        "link.ipynb": "is a link to 'real.ipynb'",
        "dangling.ipynb": "is a link to 'nowhere'",
        "pipe.ipynb": "is a device, a pipe or a socket",
        "n" * 300: "cannot be written: File name too long",
        "real.ipynb/n.ipynb": "There is no folder",
        "a\0b.ipynb": "cannot be written: ",
    }
    for name, sentence in sentences.items():
        with pytest.raises(NotebookError, match=sentence) as caught:
            save_tasks([task("1")], tmp_path / name, overwrite=True)
        assert "\n" not in str(caught.value)
    assert (tmp_path / "real.ipynb").read_text() == "x"
    assert not [name for name in os.listdir(tmp_path) if "requirements" in name or "tmp" in name]


def test_a_disk_that_is_full_for_the_second_file_leaves_neither(tmp_path):
    code = f"""
import resource, signal
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
from tests.test_saving import task
from jupyter_codeagent import save_notebook
resource.setrlimit(resource.RLIMIT_FSIZE, (1500, 1500))
save_notebook(task("x = '''" + "y" * 3000 + "'''"), {str(tmp_path / "n.ipynb")!r})
"""
    root = Path(__file__).parents[1]
    done = subprocess.run([sys.executable, "-c", code], cwd=root, capture_output=True, text=True)
    assert "NotebookError" in done.stderr and "nothing changed" in done.stderr
    assert os.listdir(tmp_path) == []


# -- reading -----------------------------------------------------------------------------------------------


def test_files_that_are_too_large_or_no_files_are_one_sentence_each(tmp_path):
    with (tmp_path / "large.ipynb").open("wb") as file:
        file.truncate(2 * MOST_BYTES)
    os.mkfifo(tmp_path / "pipe.ipynb")
    sentences = {
        "large.ipynb": "has 200 MB, and notebooks of at most 100 MB are read",
        "pipe.ipynb": "is a device, a pipe or a socket",
        "n" * 300: "cannot be read: File name too long",
        "a\0b": "cannot be read: ",
    }
    for name, sentence in sentences.items():
        with pytest.raises(NotebookError, match=sentence):
            read_notebook(tmp_path / name)
    with pytest.raises(NotebookError, match="is a device"):
        read_notebook("/dev/zero")


def cell(**more):
    return {"cell_type": "code", "source": "", "metadata": {}, "outputs": [], "execution_count": None, **more}


@pytest.mark.parametrize(
    "data",
    [
        {"metadata": None},
        {"metadata": {"kernelspec": None}},
        {"metadata": {"kernelspec": []}},
        {"metadata": {"language_info": "python"}},
        {"metadata": {"language_info": {"name": 5}}},
        {"cells": [None]},
        {"cells": {"a": 1}},
        {"cells": [cell(metadata=None)]},
        {"cells": [cell(metadata={"tags": None})]},
        {"cells": [cell(source=5)]},
        {"cells": [cell(outputs=None)]},
        {"cells": [cell(outputs=[{"output_type": "stream", "name": "stdout", "text": {"a": 1}}])]},
        {"cells": [cell(outputs=[{"output_type": "display_data", "data": [], "metadata": {}}])]},
        {"cells": [cell(execution_count="x")]},
        {"cells": [cell(id=["x"], cell_type=None)]},
        {"nbformat": "4"},
        {"nbformat": 2, "worksheets": []},
        {"nbformat": 5},
        {"nbformat_minor": None},
    ],
)
def test_broken_parts_are_one_sentence_each(tmp_path, data):
    path = tmp_path / "n.ipynb"
    path.write_text(json.dumps({"nbformat": 4, "nbformat_minor": 5, "metadata": {}, "cells": [], **data}))
    with pytest.raises(NotebookError) as caught:
        read_notebook(path)
    assert str(path) in str(caught.value) and "\n" not in str(caught.value) and len(str(caught.value)) < 600


@pytest.mark.parametrize("minor", [4, 5])
def test_missing_odd_and_double_ids_are_mended_the_same_way_each_time(tmp_path, minor):
    cells = [cell(), cell(), cell(), cell()]
    if minor == 5:
        cells = [cell(id="a"), cell(id="a"), cell(id="not an id"), cell()]
    path = tmp_path / "n.ipynb"
    path.write_text(json.dumps({"nbformat": 4, "nbformat_minor": minor, "metadata": {}, "cells": cells}))
    first, again = ([c.id for c in read_notebook(path).cells] for _ in range(2))
    assert first == again and len(set(first)) == 4


def test_what_is_no_json_in_a_browser_is_read_and_written_as_json(tmp_path):
    path = tmp_path / "n.ipynb"
    start = '{"nbformat": 4, "nbformat_minor": 5, "metadata": {"a": [NaN, 1e999, "\\ud800"], "b": '
    path.write_text(start + "[" * 80 + "]" * 80 + '}, "cells": []}')
    written = write_notebook(read_notebook(path), tmp_path / "m.ipynb")
    assert json.loads(written.read_bytes(), parse_constant=pytest.fail)["metadata"]["a"] == [None, None, "?"]
    path.write_text(start + "[" * 200 + "]" * 200 + '}, "cells": []}')
    with pytest.raises(NotebookError, match="nested deeper than 100 levels"):
        read_notebook(path)


def test_a_notebook_that_was_run_is_moved_with_its_files_or_has_no_record_at_all(tmp_path):
    (tmp_path / "out").mkdir()
    made = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell("open('a.csv')")])
    path = save_solved(made, tmp_path / "out" / "plain.ipynb", tmp_path).path
    assert "jupyter_codeagent" not in read_notebook(path).metadata
    made.metadata["jupyter_codeagent"] = {"version": 1, "inputs": [{"name": "a.csv"}], "environment": {}}
    path = save_solved(made, tmp_path / "out" / "n.ipynb", tmp_path).path
    saved = read_notebook(path)
    assert saved.cells[0].source == "open('../a.csv')" and saved.metadata.jupyter_codeagent.inputs == []


def test_a_notebook_that_shows_its_folder_verifies_and_does_not_name_it(tmp_path):
    code = "import os\nprint(os.getcwd(), os.path.abspath('a.csv'))"
    path = save_notebook(
        task(code, [printed(f"{tmp_path} {tmp_path}/a.csv\n")], folder=str(tmp_path)), tmp_path / "n.ipynb"
    )
    assert save_verified(path).ok
    assert str(tmp_path) not in path.read_text()
    assert read_notebook(path).cells[2].outputs[0].text == ". a.csv\n"
    foreign = read_notebook(path)
    foreign.cells[2].outputs[0].text = f"{tmp_path} {tmp_path}/a.csv\n"
    assert verify_notebook(write_notebook(foreign, tmp_path / "m.ipynb")).ok
