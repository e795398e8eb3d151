"""Notebooks that are verified as they are saved."""

import json
import sys

from nbformat import v4

from jupyter_codeagent import Action, Attempt, Observation, SandboxPolicy, Trajectory, nbdime, save_notebook
from jupyter_codeagent.notebook_file import read_notebook, write_notebook
from jupyter_codeagent.stamp import state_of
from jupyter_codeagent.verified import save_verified


def printed(text):
    return v4.new_output("stream", name="stdout", text=text)


def result(text):
    return v4.new_output("execute_result", data={"text/plain": text}, execution_count=7)


def written(folder, *cells):
    return write_notebook(v4.new_notebook(cells=[v4.new_code_cell(c, outputs=o) for c, o in cells]), folder / "n.ipynb")


def test_reproducible_notebook_holds_the_outputs_of_the_fresh_run_and_the_stamp(tmp_path):
    cells = ("print(object())\nx = 0.1 + 0.2", [printed("<object object at 0x7f0000000000>\n")]), ("x", [result("0.3")])
    path = written(tmp_path, *cells)
    told = []
    done = save_verified(path, progress=lambda *seen: told.append(seen))
    assert done.ok and not done.reasons and told[0] == (0, 2)
    assert str(done) == f"Saved {path}; verified: 2 cells ran from the top in a fresh sandbox."
    found = read_notebook(path)
    assert found.cells[1].outputs[0].data["text/plain"] == "0.30000000000000004"
    assert "0x7f0000000000" not in found.cells[0].outputs[0].text
    assert [c.execution_count for c in found.cells] == [1, 2] and found.cells[1].outputs[0].execution_count == 2
    assert state_of(found) == "verified" and found.metadata["jupyter_codeagent"]["verified"]["executed"] == 2


def test_other_notebook_stays_as_it_was_recorded_and_its_stamp_says_why(tmp_path):
    path = written(tmp_path, ("print(1)", [printed("2\n")]), ("3", [result("4")]))
    before = read_notebook(path).cells
    done = save_verified(path)
    assert not done.ok and len(done.reasons) == 2
    assert str(done).startswith(f"Saved {path}, which is not reproducible: cell 1: the printed text differs: line 1 ")
    assert "(1 more: see %agent verify" in str(done)
    found = read_notebook(path)
    assert found.cells == before and state_of(found) == "failed"
    assert found.metadata["jupyter_codeagent"]["verified"]["reasons"] == done.reasons


def test_outputs_that_nobody_kept_are_those_of_the_fresh_run(tmp_path):
    path = written(tmp_path, ("print(1)", []), ("2", [result("2")]))
    ids = [c.id for c in read_notebook(path).cells]
    assert not save_verified(path, SandboxPolicy(workspace=tmp_path), unknown=[ids[1]]).ok
    assert save_verified(path, unknown=[ids[0]]).ok
    assert read_notebook(path).cells[0].outputs[0].text == "1\n"


def test_file_that_is_gone_or_changed_is_named(tmp_path):
    done = save_verified(tmp_path / "none.ipynb")
    assert not done.ok and done.report is None and "it is not verified: There is no notebook" in str(done)
    path = written(tmp_path, ("import time; time.sleep(0.5)", []))
    changed = json.dumps({**json.loads(path.read_text()), "metadata": {"x": 1}}).replace("0.5", "0.6")
    done = save_verified(path, progress=lambda done, total: path.write_text(changed))
    assert done.ok and "has changed meanwhile, so it was not stamped" in str(done)
    assert path.read_text() == changed


def test_verification_that_is_stopped_leaves_the_file_as_it_was(tmp_path):
    def stop(done, total):
        raise KeyboardInterrupt

    path = written(tmp_path, ("1", [result("1")]))
    before = path.read_bytes()
    done = save_verified(path, progress=stop)
    assert str(done) == f"Saved {path}; it is not verified: that was stopped." and path.read_bytes() == before


def test_keys_in_the_outputs_of_the_fresh_run_do_not_reach_the_file(tmp_path):
    key = "sk-ant-" + "api03-abcdefghijklmnopqrstuvwxyz0123456789ABCDEF"
    code = f"import sys\nsys.stderr.write('sk-ant-' + {key[7:]!r})\nprint(1)"
    path = written(tmp_path, (code, [printed("1\n")]))
    done = save_verified(path)
    assert done.ok and str(done).endswith("those of the fresh run hold a key.")
    assert key not in path.read_text() and state_of(read_notebook(path)) == "verified"


def test_a_solved_task_is_verified(tmp_path):
    attempt = Attempt(1, Action("I add.", "total = sum([1, 2])\ntotal"), Observation([result("3")]), done=True)
    path = save_notebook(Trajectory("add", attempts=[attempt]), tmp_path / "s.ipynb")
    assert save_verified(path).ok and state_of(read_notebook(path)) == "verified"


def test_nbdime_that_is_missing_is_named(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "nbdime", None)  # as where it is not installed
    assert "pip install nbdime" in nbdime.differences(tmp_path / "n.ipynb", {})


def test_nbdime_shows_both(tmp_path):
    path = written(tmp_path, ("print(1)", [printed("2\n")]))
    shown = nbdime.differences(path, {1: [{"output_type": "stream", "name": "stdout", "text": "1\n"}]})
    assert "-      2" in shown and "+      1" in shown
