"""Notebooks with one planted defect each: verifying finds it, and says what it is."""

import json
import time

import pytest
from nbformat import v4

from jupyter_codeagent import verify_notebook
from jupyter_codeagent.context import inputs
from jupyter_codeagent.notebook_file import write_notebook

KEY = "jupyter_codeagent"


def code(source, printed="", count=None, tags=()):
    outputs = [v4.new_output("stream", name="stdout", text=printed)] if printed else []
    metadata = {"tags": list(tags)} if tags else {}
    return v4.new_code_cell(source, outputs=outputs, execution_count=count, metadata=metadata)


def verified(folder, *cells, record=None, **options):
    metadata = {KEY: {"version": 1, **record}} if record else {}
    path = write_notebook(v4.new_notebook(cells=list(cells), metadata=metadata), folder / "n.ipynb", overwrite=True)
    return verify_notebook(path, **options)


def found(report):
    return [(d.cell, d.kind) for d in report.cells]


def test_dependency_on_a_failed_attempt(tmp_path):
    attempt = code("%%attempt ab12.1\ntotal = 4\n1 / 0", tags=["skip-execution"])
    report = verified(tmp_path, attempt, code("print(total)", "4\n"))
    assert found(report) == [(2, "error")] and not report.ok
    assert "uses 'total', which only cell 1 sets, an attempt that is not executed" in report.cells[0].detail


def test_cell_out_of_order(tmp_path):
    report = verified(tmp_path, code("print(total)", "4\n", 2), code("x = 1", "", 3), code("total = 4", "", 1))
    assert found(report) == [(1, "error"), (2, "not run")]
    assert "it uses 'total', which cell 3, below it, sets; move that cell up" in report.cells[0].detail
    assert "Cell 3 was run before cell 2 when the file was saved." in report.notes


def test_changed_and_missing_input_are_named_before_anything_runs(tmp_path):
    (tmp_path / "a.csv").write_text("x\n1\n")
    recorded = [{"name": i.name, "size": i.size, "blake2b": i.digest} for i in inputs(["a.csv"], tmp_path)]
    (tmp_path / "a.csv").write_text("x\n2\n")
    events = []
    report = verified(
        tmp_path,
        code("print(open('a.csv').read())", "x\n1\n\n"),
        record={"inputs": [*recorded, {**recorded[0], "name": "b.csv"}]},
        tell=events.append,
        progress=lambda done, total: events.append(done),
    )
    assert found(report) == [(0, "input"), (0, "input"), (1, "text")]
    assert "a.csv" in events[0] and "changed" in events[0] and "b.csv" in events[1] and events[2] == 0


def test_missing_package(tmp_path):
    record = {"environment": {"python": "3.12.1", "nosuchpackage": "1.0"}}
    report = verified(tmp_path, code("import nosuchpackage", ""), record=record)
    assert found(report) == [(0, "package"), (1, "error")]
    assert "nosuchpackage 1.0 is recorded and not installed here" in report.cells[0].detail
    assert "it imports 'nosuchpackage', which is not installed here" in report.cells[1].detail


def test_unseeded_random(tmp_path):
    cells = code("import random"), code("x = random.random()"), code("y = 1"), code("print(x)", "0.5\n")
    report = verified(tmp_path, *cells)
    assert found(report) == [(4, "unsteady")]
    assert report.cells[0].detail == (
        "it gives something else each time: it uses random numbers without a seed (random.random in cell 2); "
        "set a seed."
    )
    assert json.loads(json.dumps(report.to_dict()))["cells"][0]["kind"] == "unsteady"


def test_clock(tmp_path):
    report = verified(tmp_path, code("import time"), code("print(time.time_ns())", "5\n"))
    assert found(report) == [(2, "unsteady")] and "the clock (time.time_ns in cell 2)" in report.cells[0].detail


def test_clock_that_is_close_to_what_the_file_holds(tmp_path):
    now = v4.new_output("execute_result", data={"text/plain": repr(time.time())}, execution_count=1)
    cell = v4.new_code_cell("import time\ntime.time()", outputs=[now])  # 1e-9 of its size is more than a second
    report = verified(tmp_path, cell, code("print(0.3 + 1e-17)", "0.30000000000000004\n"))
    assert found(report) == [(1, "unsteady")] and "the clock (time.time in cell 1)" in report.cells[0].detail


def test_timings_count_where_no_clock_is_used(tmp_path):
    measuring = "import time\nstart = time.perf_counter()\nprint(f'Fit: {time.perf_counter() - start:.6f}s')"
    unseen = "from timeit import Timer as T\nprint(f'{1e6 * T(\"1\").timeit(5000):.6f} us')"
    report = verified(
        tmp_path,
        code(measuring, "Fit: 7.000001s\n"),
        code("%time x = 1", "CPU times: user 5 s, sys: 1 s, total: 6 s\nWall time: 6.5 s\n"),
        code(unseen, "123456789 us\n"),
        code("print('latency 12 ms')", "latency 900 ms\n"),
    )
    assert found(report) == [(4, "text")] and "line 1 was 'latency 900 ms' and is now" in report.cells[0].detail


def test_clock_that_moves_slowly_is_not_said_to_be_the_files_fault(tmp_path):
    report = verified(tmp_path, code("import time\nprint(time.strftime('%Y'))", "1999\n"))
    assert found(report) == [(1, "text")] and report.notes == (
        "Cell 1 gave the same in two fresh runs, one right after the other; it uses the clock (time.strftime in "
        "cell 1); give the moment as a value.",
    )


def test_clock_that_does_not_show_yet_is_a_risk(tmp_path):
    year = code("import datetime\nprint(datetime.date.today().year > 2000)", "True\n")
    report = verified(tmp_path, year, code("print(1)", "1\n"))
    assert report.ok and report.risks == (
        "Cell 1: it uses the clock (datetime.date.today in cell 1); give the moment as a value.",
    )
    assert report.risks[0] in str(report)


def test_set_order(tmp_path):
    words = "words = {str(n) for n in range(50)}\nprint(list(words)[:20])"
    report = verified(tmp_path, code(words, "['1', '2']\n"))
    assert found(report) == [(1, "unsteady")] and "the order of a set" in report.cells[0].detail


def test_network(tmp_path):
    fetch = "from urllib.request import urlopen\nprint(urlopen('http://127.0.0.1:9/').read())"
    report = verified(tmp_path, code(fetch, "b'x'\n"))
    assert found(report) == [(1, "error")]
    assert report.cells[0].detail.startswith("it uses the network (urlopen in cell 1); save the data beside the")


@pytest.mark.parametrize("path", ["/tmp/left-here.csv", "~/left-here.csv"])
def test_file_written_outside(tmp_path, path):
    writing = f"import os\nopen(os.path.expanduser({path!r}), 'w').write('x');"
    keeping = "import tempfile\nopen(os.path.join(tempfile.mkdtemp(), 'a.csv'), 'w').write('x');"
    parts = "from pathlib import Path\n(Path.home() / 'b.csv').write_text('x'); Path('/tmp', 'c.csv').touch()"
    report = verified(tmp_path, code(writing), code(keeping), code(parts))
    assert found(report) == [(1, "outside"), (3, "outside"), (3, "outside")]
    assert report.cells[0].detail == f"it writes {path!r}, outside the notebook's folder; write it beside the notebook."


def test_file_written_outside_by_a_path_that_no_cell_names_is_a_risk(tmp_path):
    writing = "import os, tempfile\nopen(os.path.join('/tmp', 'pl' + 'anted.csv'), 'w').write('x');"
    keeping = "open(os.path.expanduser('~/.set' + 'tings'), 'w').write('x'); tempfile.mkstemp(suffix='.csv');"
    report = verified(tmp_path, code(writing), code(keeping))
    assert report.ok and [r for r in report.risks if "leaves" in r] == [
        "The code leaves '/tmp/planted.csv', outside the notebook's folder; write it beside the notebook."
    ]


def test_file_written_where_nothing_may_be_written(tmp_path):
    report = verified(tmp_path, code("open('/srv/nosuch/x.csv', 'w')"))
    assert found(report) == [(1, "error")]
    assert "it uses '/srv/nosuch/x.csv', which lies outside the notebook's folder" in report.cells[0].detail


def test_what_another_notebook_left(tmp_path):
    report = verified(tmp_path, code("print(open('left.txt').read())", "7\n"), record={"inputs": []})
    assert "it reads 'left.txt', which is not in the notebook's folder, and no cell above writes" in str(report)
    (tmp_path / "left.txt").write_text("7")
    own = code("open('own.txt', 'w').write('8')\nprint(open('own.txt').read())", "8\n")
    (tmp_path / "own.txt").write_text("8")
    report = verified(tmp_path, code("print(open('left.txt').read())", "7\n"), own, record={"inputs": []})
    assert report.risks == ("Cell 1 reads 'left.txt', which is in no record of its inputs.",)


def test_cell_that_lies_about_its_output(tmp_path):
    report = verified(tmp_path, code("print(1 + 1)", "2\n"), code("print(6 * 7)", "43\n"))
    assert found(report) == [(2, "text")]
    assert report.fresh[2][0]["text"] == "42\n" and "fresh" not in report.to_dict()
    assert report.notes == ("Cell 2 gave the same in two fresh runs: what the file holds is not what its code gives.",)


def test_variable_of_the_environment(tmp_path):
    report = verified(tmp_path, code("import os\nprint(os.environ['NO_SUCH_NAME'])", "x\n"))
    assert "each machine or in each process (os.environ in cell 1); give it as a value (KeyError" in str(report)


def test_empty_notebook(tmp_path):
    report = verified(tmp_path)
    assert not report.ok and report.stamp["reasons"] == ["There was nothing to execute in it."]


def test_two_runs_find_what_agrees_with_the_file_by_chance(tmp_path):
    flag = "import os.path, random\nprint(open('/proc/sys/kernel/random/uuid').read())"
    uuid = code(flag, "x\n")
    report = verified(tmp_path, code("print(1)", "1\n"), uuid, runs=2)
    assert found(report) == [(2, "unsteady")]
    assert report.cells[0].detail == "it gives something else each time: why is not seen in its code."
    assert verified(tmp_path, code("print(1)", "1\n"), runs=2).ok


def test_lines_that_install_packages_are_left_out_and_said(tmp_path):
    report = verified(tmp_path, code("%pip install numpy", "Requirement already satisfied"), code("print(1)", "1\n"))
    assert report.ok and report.executed == 1
    assert report.notes == (
        "Cell 1 installs packages (%pip install numpy); that line was left out: there is no network.",
    )
