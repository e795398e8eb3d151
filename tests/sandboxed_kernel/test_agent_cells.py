"""Tasks in a notebook on the sandboxed kernel: a fork of its own state, committed by accepting."""

import json
from contextlib import contextmanager

import pytest

from tests.kernels import LOAD
from tests.messages_server import Turn, serving
from tests.sandboxed_kernel.notebook import notebook_on

TASK = "%%agent --check 'total == 42'\nadd the amounts to total, which is there"
ADD = "calls += 1\ntotal = total + sum(amounts)\ntotal"
TURNS = [Turn("First try.", code="calls = 99\ntotall"), Turn("Once more.", code=ADD), Turn(answer="It is **42**.")]
BEFORE = "calls, total = 0, 40\namounts = [1, 1]"


@contextmanager
def working(environment, folder, turns=TURNS):
    """Yield a notebook whose model plays these turns, and the server that does."""
    with (
        serving(turns) as server,
        notebook_on({**environment, "ANTHROPIC_BASE_URL": server.url}, folder) as notebook,
    ):
        notebook.run(BEFORE)
        yield notebook, server


def state(notebook):
    """Return what the notebook's variables are now."""
    return notebook.run("(calls, total)").displays[-1]["data"]["text/plain"]


def test_a_task_sees_the_notebooks_variables_and_changes_nothing_until_it_is_accepted(environment, tmp_path):
    with working(environment, tmp_path) as (notebook, server):
        cell = notebook.run(TASK)
        assert cell.reply["status"] == "ok" and not cell.errors
        assert "Solved" in str(cell.displays[-1]["data"])
        told = str(server.requests[0].body["messages"])
        assert "amounts: list of length 2" in told and "total: int 40" in told
        assert state(notebook) == "(0, 40)"
        accepted = notebook.run("%agent accept")
        assert accepted.reply["payload"] == [{"source": "set_next_input", "text": ADD, "replace": False}]
        assert state(notebook) == "(1, 42)"


def test_the_cell_of_an_accepted_attempt_does_not_run_twice(environment, tmp_path):
    with working(environment, tmp_path) as (notebook, _):
        notebook.run(TASK)
        notebook.run("%agent accept")
        cell = notebook.run(ADD)
        assert cell.displays[-1]["data"]["text/plain"] == "42" and "carried out when it was accepted" in cell.text
        assert state(notebook) == "(1, 42)"
        notebook.run(ADD)
        assert state(notebook) == "(2, 44)"
        notebook.run("undone = 1")
        notebook.run("%undo")
        assert "Saved live.ipynb" in notebook.run("%agent save live").text
        cells = json.loads((tmp_path / "live.ipynb").read_text())["cells"]
        codes = ["".join(cell["source"]) for cell in cells if cell["cell_type"] == "code"]
        assert codes == [BEFORE, ADD, "(calls, total)", ADD, "(calls, total)"]


def test_after_another_cell_accepting_runs_the_code_on_the_state_of_now(environment, tmp_path):
    with working(environment, tmp_path) as (notebook, _):
        notebook.run(TASK)
        notebook.run("total = 100")
        cell = notebook.run("%agent accept")
        assert "102" in str(cell.displays)
        assert state(notebook) == "(1, 102)"


def test_a_cell_that_changes_nothing_does_not_stand_in_the_way(environment, tmp_path):
    with working(environment, tmp_path) as (notebook, _):
        notebook.run(TASK)
        notebook.run("total")
        assert not notebook.run("%agent accept").displays[:-1]
        assert state(notebook) == "(1, 42)"


def test_undo_takes_back_what_was_accepted(environment, tmp_path):
    with working(environment, tmp_path) as (notebook, _):
        notebook.run(TASK)
        notebook.run("%agent accept")
        assert notebook.run("%undo").text.startswith("Undone: task ")
        assert state(notebook) == "(0, 40)"


def test_a_discarded_attempt_leaves_nothing(environment, tmp_path):
    with working(environment, tmp_path) as (notebook, _):
        notebook.run(TASK)
        assert "It has changed nothing in the notebook" in notebook.run("%agent discard 2").text
        assert state(notebook) == "(0, 40)"
        assert "no attempt that succeeded" in notebook.run("%agent accept").text


def test_an_edited_attempt_runs_beside_the_notebook(environment, tmp_path):
    with working(environment, tmp_path) as (notebook, _):
        notebook.run(TASK)
        task = notebook.run("%agent status").text.split("Task ")[1].partition(":")[0]
        cell = notebook.run(f"%%attempt {task}.2\ntotal = total + 2\ncalls = 7\ntotal")
        assert "42" in str(cell.displays)
        assert state(notebook) == "(0, 40)"
        notebook.run("%agent accept")
        assert state(notebook) == "(7, 42)"


def test_pages_find_the_comm_and_accept_by_it(environment, tmp_path):
    with working(environment, tmp_path) as (notebook, _):
        notebook.run(LOAD)  # a page comes when it has seen the comm that is opened then
        notebook.attach()
        notebook.run(TASK)
        found = notebook.request("comm_info_request", {"target_name": "jupyter_codeagent"})
        assert list(found["comms"]) == [notebook.comm]
        attempts = {m["record"]["attempt"]: m for m in notebook.events if m["type"] == "attempt"}
        answer = notebook.ask("accept", task=attempts[2]["task"], attempt=2, code=ADD)
        assert answer["ok"]
        assert state(notebook) == "(1, 42)"
        assert "carried out" in notebook.run(ADD).text
        info = notebook.ask("info")
        assert {"name": "amounts", "type": "list", "detail": "list of length 2"} in info["variables"]


def test_pages_are_answered_while_a_cell_runs(environment, tmp_path):
    with working(environment, tmp_path) as (notebook, _):
        notebook.run(LOAD)  # a page comes when it has seen the comm that is opened then
        notebook.attach()
        notebook.run(TASK)
        task = notebook.events[-1]["task"]
        request = notebook.send("import time\nprint('go')\ntime.sleep(60)")
        notebook.until(lambda: "go" in notebook.cells[request].text)
        assert notebook.ask("info")["ok"] and notebook.ask("accept", task=task, attempt=2, code=ADD)["ok"]
        notebook.manager.interrupt_kernel()
        notebook.collect(request)
        assert state(notebook) == "(0, 40)"
        notebook.run(ADD)
        assert state(notebook) == "(1, 42)"


def test_background_is_refused_in_one_sentence(environment, tmp_path):
    with working(environment, tmp_path) as (notebook, server):
        cell = notebook.run("%%agent --background\nanything")
        assert cell.text.startswith("UsageError: --background does not work on this kernel") and not server.requests


def test_the_failed_cell_can_be_mended(environment, tmp_path):
    with working(environment, tmp_path, [Turn("Mended.", code="fixed = 1"), Turn(answer="done")]) as (notebook, server):
        notebook.run("broken_name + 1")
        assert notebook.run("%agent fix").reply["status"] == "ok"
        assert "NameError" in str(server.requests[0].body["messages"])


def test_the_stop_button_ends_a_task_and_leaves_the_notebook(environment, tmp_path):
    turns = [Turn("loop", code="total = 0\nprint('begun', flush=True)\nwhile True: pass")]
    with working(environment, tmp_path, turns) as (notebook, _):
        request = notebook.send("%%agent\nloop")
        notebook.until(lambda: any("begun" in str(event.get("outputs")) for event in notebook.events))
        notebook.manager.interrupt_kernel()
        cell = notebook.collect(request)
        assert cell.reply["status"] == "error" and cell.errors[-1]["traceback"] == ["Stopped."]
        assert state(notebook) == "(0, 40)"


@pytest.mark.parametrize(
    "line", ["%load_ext jupyter_codeagent", "%config CodeAgent.attempts = 3\n%config CodeAgent.attempts"]
)
def test_what_notebooks_on_other_kernels_begin_with_works_here(environment, tmp_path, line):
    with notebook_on(environment, tmp_path) as notebook:
        cell = notebook.run(line)
        assert cell.reply["status"] == "ok"
        assert not line.startswith("%config") or cell.text == "CodeAgent.attempts = 3\n"
