"""Notebooks without the cells that their result does not need."""

import json
from argparse import Namespace

import pytest
from nbformat import v4

from jupyter_codeagent import minimise_notebook, verify_notebook
from jupyter_codeagent.errors import NotebookError
from jupyter_codeagent.minimising import run_minimise
from jupyter_codeagent.notebook_file import read_notebook, write_notebook

KEY = "jupyter_codeagent"


def code(source, printed="", **record):
    outputs = [v4.new_output("stream", name="stdout", text=printed)] if printed else []
    return v4.new_code_cell(source, outputs=outputs, metadata={KEY: {"version": 1, **record}} if record else {})


def notebook(folder, *cells):
    return write_notebook(v4.new_notebook(cells=list(cells)), folder / "n.ipynb", overwrite=True)


def sources(path):
    return [cell.source for cell in read_notebook(path).cells]


def test_cells_that_the_last_one_does_not_need_are_left_out_and_said(tmp_path):
    look = v4.new_markdown_cell("A look.", metadata={KEY: {"role": "explanation", "task": "t"}})
    path = notebook(
        tmp_path,
        v4.new_markdown_cell("# Title"),
        code("a = [3, 1, 2]"),
        look,
        code("print(len(a))", "3\n", role="attempt", task="t"),
        code("b = 5"),
        code("a.sort()"),
        code("print(a)", "[1, 2, 3]\n"),
    )
    before = path.read_bytes()
    found = minimise_notebook(path)
    assert (found.left_out, found.kept, found.came_back, found.result) == ((4, 5), (2, 6, 7), (), (7,))
    assert found.path == str(tmp_path / "n.minimal.ipynb") and found.runs == 2
    assert sources(found.path) == ["# Title", "a = [3, 1, 2]", "a.sort()", "print(a)"]
    assert "cells 4 and 5 left out: the result (cell 7) does not need what is there" in str(found)
    assert path.read_bytes() == before and verify_notebook(found.path).ok


def test_cells_whose_need_the_code_hides_come_back(tmp_path):
    hidden = "def space():\n    import builtins\n    return builtins\nspace().buried = 4"
    path = notebook(tmp_path, code("x = 1"), code(hidden), code("y = 2"), code("z = 3"), code("print(buried)", "4\n"))
    found = minimise_notebook(path, tmp_path / "small.ipynb")
    assert found.left_out == (1, 3, 4) and found.kept == (2, 5)
    assert found.came_back == (2,) and "cell 2 kept: without" in str(found).lower()
    assert sources(found.path) == [hidden, "print(buried)"]


def test_results_are_each_tasks_last_cell_named_variables_and_files(tmp_path):
    cells = [
        code("a = 1", role="accepted", task="one"),
        code("print(a)", "1\n", role="accepted", task="one"),
        code("open('out.txt', 'w').write('x');"),
        code("rate = 2"),
        code("b = 3", role="accepted", task="two"),
        code("print(5)", "5\n", role="accepted", task="two"),
    ]
    path = notebook(tmp_path, *cells)
    assert minimise_notebook(path, tmp_path / "a.ipynb").left_out == (4, 5)
    assert minimise_notebook(path, tmp_path / "b.ipynb", names=["rate", "b"]).left_out == ()
    with pytest.raises(NotebookError, match="No cell sets the variable 'nothing'"):
        minimise_notebook(path, tmp_path / "c.ipynb", names=["nothing"])
    assert not (tmp_path / "c.ipynb").exists() and not (tmp_path / "out.txt").exists()


def test_notebook_that_fails_is_left_alone(tmp_path):
    path = notebook(tmp_path, code("x = 1"), code("1 / 0"))
    with pytest.raises(NotebookError, match="does not run through: cell 2 ends with ZeroDivisionError"):
        minimise_notebook(path, tmp_path / "small.ipynb")
    with pytest.raises(NotebookError, match="is the notebook itself; give the smaller one another name"):
        minimise_notebook(path, path)
    assert not (tmp_path / "small.ipynb").exists()


def test_command_writes_the_smaller_notebook_verified(tmp_path, capsys):
    path = notebook(tmp_path, code("x = 1"), code("y = 2"), code("print(y)", "2\n"))
    limits = {"memory": 2**30, "timeout": 30.0, "files": []}
    assert run_minimise(Namespace(notebook=path, output=None, keep=[], json=True, **limits)) == 0
    told = json.loads(capsys.readouterr().out)
    assert told["left_out"] == [1] and told["ok"] and told["path"] == str(tmp_path / "n.minimal.ipynb")
    assert read_notebook(told["path"]).metadata[KEY]["verified"]["ok"] is True
