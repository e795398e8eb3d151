"""The magics in real kernels: run by nbclient, and driven as a front end drives them, with a scripted endpoint."""

import os
import time
from contextlib import contextmanager

import nbformat
import psutil
import pytest
from jupyter_client.manager import KernelManager
from nbclient import NotebookClient
from nbclient.exceptions import CellExecutionError

from tests.messages_server import Turn, serving

LOAD = "%load_ext jupyter_codeagent"
TASK = "%%agent --check 'total == 42'\nsum the amounts in sales.csv"
SUM = "total = sum(int(line) for line in open('sales.csv').read().split()[1:])\ntotal"
TURNS = [Turn("First try.", code="totall"), Turn("Once more.", code=SUM), Turn(answer="The sum is **42**.")]


@pytest.fixture
def folder(tmp_path):
    folder = tmp_path / "project"
    folder.mkdir()
    (folder / "sales.csv").write_text("amount\n20\n22\n")
    return folder


@pytest.fixture
def environment(tmp_path):
    unwanted = ("ANTHROPIC", "JUPYTER_CODEAGENT", "JPY_SESSION_NAME")
    kept = {name: value for name, value in os.environ.items() if not name.startswith(unwanted)}
    return {**kept, "JUPYTER_DATA_DIR": str(tmp_path / "data"), "IPYTHONDIR": str(tmp_path / "ipython")}


class Cell:
    """What came of one cell."""

    def __init__(self):
        self.text, self.display, self.updates, self.errors, self.reply = "", {}, 0, [], {}


class FrontEnd:
    """A kernel, driven as a notebook front end does: metadata, input allowed, updates in place."""

    def __init__(self, client, manager):
        self.client, self.manager, self.replies = client, manager, {}

    def send(self, code, allow_stdin=True):
        return self.client.execute(code, allow_stdin=allow_stdin)

    def run(self, code, during=None, allow_stdin=True, timeout=60):
        return self.collect(self.send(code, allow_stdin), during, timeout)

    def collect(self, request, during=None, timeout=60):
        cell = Cell()
        while True:
            message = self.client.get_iopub_msg(timeout=timeout)
            if message["parent_header"].get("msg_id") != request:
                continue
            kind, content = message["msg_type"], message["content"]
            if kind == "stream":
                cell.text += content["text"]
            elif kind in ("display_data", "update_display_data"):
                cell.updates += kind == "update_display_data"
                cell.display = content["data"]
            elif kind == "error":
                cell.errors.append(content)
            elif kind == "status" and content["execution_state"] == "idle":
                break
            if during is not None and during(cell):
                during = None
        while request not in self.replies:  # a slow kernel answers "are you ready?" several times
            message = self.client.get_shell_msg(timeout=timeout)
            self.replies[message["parent_header"].get("msg_id")] = message["content"]
        cell.reply = self.replies[request]
        return cell


@contextmanager
def front_end(folder, environment):
    manager = KernelManager(kernel_name="python3", transport="ipc", ip=str(folder.parent / "ipc"))
    manager.start_kernel(env=environment, cwd=str(folder))
    client = manager.client()
    client.start_channels()
    try:
        client.wait_for_ready(timeout=60)
        yield FrontEnd(client, manager)
    finally:
        client.stop_channels()
        manager.shutdown_kernel(now=True)
        manager.cleanup_resources()


def notebook(*cells):
    made = nbformat.v4.new_notebook()
    made.cells = [nbformat.v4.new_code_cell(cell) for cell in cells]
    return made


def execute(made, folder, environment):
    client = NotebookClient(made, timeout=90, resources={"metadata": {"path": str(folder)}})
    with client.setup_kernel(env=environment):
        for index, cell in enumerate(made.cells):
            client.execute_cell(cell, index)
    nbformat.validate(made)
    return made


def test_the_record_is_one_output_updated_in_place(folder, environment):
    turns = [TURNS[0], Turn("Once more.", code=SUM, pace=0.02), TURNS[2]]
    with serving(turns) as server, front_end(folder, {**environment, "ANTHROPIC_BASE_URL": server.url}) as front:
        front.run(LOAD)
        cell = front.run(TASK)
        assert cell.reply["status"] == "ok" and cell.errors == []
        assert cell.updates >= 3
        html = cell.display["text/html"]
        assert "Solved" in html and "NameError" in html and "rolled back" in html and "<strong>42</strong>" in html
        assert "The sum is **42**." in cell.display["text/plain"]
        assert server.url.removeprefix("http://") in html and "first rows or lines of sales.csv" in html
        accepted = front.run("%agent accept 2")
        assert accepted.reply["payload"] == [{"source": "set_next_input", "text": SUM, "replace": False}]
        assert "accepted" in accepted.display["text/html"]
        assert front.run("'total' in globals()").reply["status"] == "ok"
        assert front.run(TASK).text == "" and len(server.requests) == 3


def test_candidates_in_a_kernel(folder, environment):
    turns = [Turn("", code="x = 1", pace=0.01), Turn("", code="x = 22222"), *[Turn(answer="done")] * 2]
    with serving(turns) as server:
        url = {**environment, "ANTHROPIC_BASE_URL": server.url, "JUPYTER_CODEAGENT_RUN": "1"}
        made = execute(notebook(LOAD, "%%agent --candidates 2 --check 'x > 5'\nx"), folder, url)
        html = str(made.cells[1].outputs)
        assert "Candidate 2 of 2 was chosen: passes 1 of 1 check, more than the others." in html
        asked = len(server.requests)
        again = execute(notebook(LOAD, "%%agent --candidates 2 --check 'x > 5'\nx"), folder, environment)
        assert "Candidate 2 of 2 was chosen" in str(again.cells[1].outputs) and len(server.requests) == asked


def test_the_model_reads_the_traceback_and_the_truth_about_state(folder, environment):
    with serving(TURNS) as server, front_end(folder, {**environment, "ANTHROPIC_BASE_URL": server.url}) as front:
        front.run(LOAD)
        front.run(TASK)
        first, second, _ = (request.body for request in server.requests)
        told = str(first["messages"])
        assert "sales.csv" in told and "amount" in told
        after = str(second["messages"][-1])
        assert "NameError" in after and "totall" in after and "Rolled back: variables" in after


def test_stop_while_the_model_is_awaited(folder, environment):
    turns = [Turn("slow", code="1", delay=60), *TURNS[1:]]
    with serving(turns) as server, front_end(folder, {**environment, "ANTHROPIC_BASE_URL": server.url}) as front:
        front.run(LOAD)
        pressed = []

        def stop(cell):
            if server.requests and not pressed:
                time.sleep(0.3)
                pressed.append(time.monotonic())
                front.manager.interrupt_kernel()
            return bool(pressed)

        request = front.send(TASK)
        queued = front.send("print('must not run')")
        cell = front.collect(request, _soon(stop))
        assert time.monotonic() - pressed[0] < 1.0
        assert cell.reply["status"] == "error" and cell.reply["ename"] == "Stopped"
        assert cell.errors[0]["traceback"] == ["Stopped."] and "Stopped by the user" in cell.display["text/html"]
        assert front.collect(queued).reply["status"] == "aborted"
        again = front.run(TASK)
        assert again.reply["status"] == "ok" and "Solved" in again.display["text/html"]


def test_stop_while_code_runs(folder, environment):
    loop = "import time\nprint('begun', flush=True)\nwhile True:\n    time.sleep(0.05)"
    turns = [Turn("x", code="kept = 5"), Turn("loop", code=loop), Turn("y", code="kept"), Turn(answer="done")]
    with serving(turns) as server, front_end(folder, {**environment, "ANTHROPIC_BASE_URL": server.url}) as front:
        front.run(LOAD)
        pressed = []

        def stop(cell):
            if "begun" in cell.display.get("text/plain", "").partition("Attempt 2")[2] and _printed(cell):
                pressed.append(time.monotonic())
                front.manager.interrupt_kernel()
            return bool(pressed)

        cell = front.run("%%agent\nloop", stop)
        assert time.monotonic() - pressed[0] < 1.0
        assert cell.reply["ename"] == "Stopped" and "Interrupted" in cell.display["text/plain"]
        later = front.run("%%agent\ngo on")
        assert "kept" in later.display["text/plain"] and "5" in later.display["text/plain"]


def _printed(cell):
    return "\nbegun\n" in cell.display["text/plain"]


def _soon(check):
    """Call `check` from the first message on, until it is done; a model that is silent sends no more of them."""

    def during(cell):
        deadline = time.monotonic() + 20
        while not check(cell):
            assert time.monotonic() < deadline
            time.sleep(0.02)
        return True

    return during


def test_nothing_is_left_behind_when_the_kernel_is_killed(folder, environment):
    with serving(TURNS) as server, front_end(folder, {**environment, "ANTHROPIC_BASE_URL": server.url}) as front:
        front.run(LOAD)
        front.run(TASK)
        kernel = psutil.Process(front.manager.provisioner.pid)
        children = kernel.children(recursive=True)
        assert children
        kernel.kill()
        _, alive = psutil.wait_procs(children, timeout=5)
        assert alive == []


def test_wrong_use_is_one_line_in_a_kernel_too(folder, environment):
    with front_end(folder, environment) as front:
        front.run(LOAD)
        cell = front.run("%%agent --nope\nx")
        assert cell.text.startswith("UsageError: %%agent: unrecognized arguments: --nope") and cell.errors == []
        assert cell.reply["status"] == "error"
        assert "The task is empty" in front.run("%%agent").text


def test_nbclient_replays_what_was_solved_and_asks_no_model(folder, environment):
    made = notebook(LOAD, TASK, "print('after')")
    with serving(TURNS) as server:
        environment["ANTHROPIC_BASE_URL"] = server.url
        execute(made, folder, environment)
        assert server.requests == []
        assert "JUPYTER_CODEAGENT_RUN=1" in made.cells[1].outputs[0].text
        assert made.cells[2].outputs[0].text == "after\n"
        execute(made, folder, {**environment, "JUPYTER_CODEAGENT_RUN": "1"})
        assert len(server.requests) == 3
        first = [o for o in made.cells[1].outputs if o.output_type == "display_data"]
        assert len(first) == 1 and "Solved" in first[0].data["text/html"]
        execute(made, folder, environment)
        assert len(server.requests) == 3
        (replayed,) = (o for o in made.cells[1].outputs if o.output_type == "display_data")
        assert (
            "no model was asked" in replayed.data["text/html"] and "<strong>42</strong>" in replayed.data["text/html"]
        )


def test_a_run_that_asked_for_a_model_fails_where_the_task_is_not_solved(folder, environment):
    made = notebook(LOAD, TASK)
    with serving([Turn(answer="I cannot.", solved=False)]) as server:
        environment.update(ANTHROPIC_BASE_URL=server.url, JUPYTER_CODEAGENT_RUN="1")
        with pytest.raises(CellExecutionError, match="gave up"):
            execute(made, folder, environment)


def test_a_kernel_that_only_loads_the_extension_starts_nothing(folder, environment):
    with front_end(folder, environment) as front:
        front.run(LOAD)
        assert front.run("import sys\nprint('anthropic' in sys.modules)").text == "False\n"
        assert psutil.Process(front.manager.provisioner.pid).children(recursive=True) == []
