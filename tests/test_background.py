"""Tasks in the background of real kernels: what they take along, how they wait, stop, and are told of."""

import json
import threading
import time

import numpy as np
import pandas as pd
import psutil
import pytest

from jupyter_codeagent.background import Job, Stoppable, Turns
from jupyter_codeagent.keys import Keys
from jupyter_codeagent.packed import Shelf
from jupyter_codeagent.records import Records
from jupyter_codeagent.sandbox import Sandbox
from jupyter_codeagent.taken import Taken
from jupyter_codeagent.taking import take
from jupyter_codeagent.trajectory import Action, Trajectory
from tests.kernels import LOAD, Screen, agent_page, clean_environment, kernel_page, project
from tests.messages_server import Turn, serving

# -- turns -----------------------------------------------------------------------------------------


def test_turns_are_taken_in_the_order_of_tickets():
    turns, order = Turns(), []
    tickets = [turns.ticket(name) for name in "abc"]

    def work(ticket):
        ticket.wait()
        order.append(ticket.name)
        ticket.leave()

    threads = [threading.Thread(target=work, args=(ticket,)) for ticket in reversed(tickets)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(5)
    assert order == ["a", "b", "c"] and turns.names == []


def test_one_that_waits_can_leave_and_does_not_hold_up_the_others():
    turns = Turns()
    first, second, third = (turns.ticket(name) for name in "abc")
    stopping = threading.Event()
    stopping.set()
    assert first.first and not second.wait(stopping)
    second.leave()
    first.leave()
    assert third.first and third.wait()


def test_a_job_that_is_stopped_while_it_waits_ends_at_once():
    turns, began = Turns(), []
    turns.ticket("other")
    job = Job(Trajectory("t"), turns.ticket("t"), lambda: began.append("interrupted"))
    job.start(lambda: began.append(job.stopping.is_set()))
    assert not job.ended.wait(0.1)
    assert job.stop() and began == [True] and turns.names == ["other"]


class Deaf:
    """A model that cannot be interrupted."""

    def stream(self, trajectory):
        yield Action("begun")
        time.sleep(3)
        yield Action("too late")

    def cancel(self):
        pass


def test_a_reply_is_given_up_at_once_even_where_the_model_does_not_listen():
    stopping = threading.Event()
    reply = Stoppable(Deaf(), stopping).stream(Trajectory("t"))
    assert next(reply).text == "begun"
    threading.Timer(0.1, stopping.set).start()
    began = time.monotonic()
    with pytest.raises(KeyboardInterrupt):
        next(reply)
    assert time.monotonic() - began < 0.5


# -- what is taken along ---------------------------------------------------------------------------


def test_what_is_taken_is_a_copy_of_that_moment():
    keys = Keys({})
    values = {
        "rows": [1, {"a": (2, 3)}],
        "frame": pd.DataFrame({"a": [1, 2], "b": ["x", "y"]}),
        "array": np.arange(5.0),
        "text": "caf\u00e9 \U0001f600",
    }
    shelf = Shelf()
    taken, left_out = take(values, ["frame"], [], keys, shelf)
    assert next(iter(taken)) == "frame" and left_out == []
    values["rows"].append("changed")
    values["frame"].loc[0, "a"] = 99
    values["array"][:] = -1
    again, _ = take(values, ["frame"], [], keys, shelf)
    assert [name for name in values if again[name].packed is taken[name].packed] == ["text"]
    with Sandbox() as sandbox:
        copies = {name: copy.packed for name, copy in taken.items()}
        seen = sandbox.execute("array[0] = 7\nprint(rows, frame.a.sum(), array, text)", copies)
        assert seen.text == "[1, {'a': (2, 3)}] 3 [7. 1. 2. 3. 4.] caf\u00e9 \U0001f600\n"


def test_what_must_stay_is_refused_with_its_reason(monkeypatch):
    values = {"api_key": "sk-ant-" + "a1" * 20, "file": threading.Lock(), "big": "x" * 3_000_000, "small": 5}
    monkeypatch.setattr("jupyter_codeagent.taking.MOST_BYTES", 2_000_000)
    taken, left_out = take(values, [], [], Keys({}))
    assert left_out == ["big"] and "did not fit" in taken["big"].refused
    assert taken["api_key"].refused == "it looks like a key" and "not plain data" in taken["file"].refused
    assert isinstance(taken["small"], Taken) and taken["small"].literal == "5"
    assert [name for name, copy in taken.items() if copy.packed is not None] == ["small"]


# -- in a kernel -----------------------------------------------------------------------------------

LOOP = "import time\nprint('begun', flush=True)\nwhile True:\n    time.sleep(0.05)"


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    return project(tmp_path_factory.mktemp("background"))


@pytest.fixture(scope="module")
def server():
    with serving() as made:
        yield made


@pytest.fixture(scope="module")
def kernel(place, server):
    with agent_page(place, server.url) as made:
        yield made


@pytest.fixture
def front(kernel, server):
    server.turns, server.requests[:] = [], []
    kernel.events.clear()
    kernel.control.clear()
    yield kernel
    kernel.run("%agent stop")
    kernel.run("%agent reset")


def statuses(front, task):
    return [m["record"]["status"] for m in front.events if m["type"] == "task" and m["task"] == task]


def given(front, text, cell="", line="--background --again"):
    """Give a task in the background; returns its id once it is known."""
    before = {m["task"] for m in front.events}
    request = front.send(f"%%agent {line}\n{text}", cell=cell)
    front.collect(request, timeout=20)
    (task,) = {m["task"] for m in front.events} - before
    return task, request


def ended(front, task, timeout=30):
    front.until(lambda: statuses(front, task)[-1] not in ("queued", "running"), timeout)
    return statuses(front, task)[-1]


def screen(front):
    made = Screen()
    for message in front.events:
        made.apply(message)
    return made


def wait_for_output(front, text, timeout=20):
    front.until(lambda: any(text in str(a["outputs"]) for a in screen(front).attempts.values()), timeout)


def test_the_cell_ends_at_once_and_outputs_stay_under_it(front, server):
    server.turns = [Turn("x", code="import time\ntime.sleep(1)\nprint(n)", delay=0.3), Turn(answer="done")]
    front.run("n = 5")
    began = time.monotonic()
    task, request = given(front, "print `n`", cell="agent-1")
    assert time.monotonic() - began < 1.0 and statuses(front, task) == ["running"]
    other = front.run("print('meanwhile')")
    assert other.text == "meanwhile\n" and other.displays == []
    assert ended(front, task) == "solved"
    front.during(0.3)
    assert "Solved" in front.cells[request].displays[-1]["data"]["text/html"]
    assert {m["cell"] for m in front.events} == {"agent-1"} and {m["session"] for m in front.events} == {front.session}
    own = [m for m in front.all if m["msg_type"] in ("display_data", "update_display_data", "stream")]
    assert {m["parent_header"]["msg_id"] for m in own if "Solved" in str(m["content"])} == {request}
    assert front.events[0]["record"]["background"] and "variables as they are now" in front.events[0]["record"]["told"]


def test_variables_are_taken_at_the_start(front, server):
    server.turns = [
        Turn("x", code="import time\ntime.sleep(0.5)\nprint(rows, k)", delay=0.5),
        Turn("y", code="print(rows, k, frame.a.sum())"),
        Turn(answer="done"),
    ]
    front.run("import pandas as pd\nrows, k = [1, 2], 'old'\nframe = pd.DataFrame({'a': [1, 2]})")
    task, _ = given(front, "print `rows`")
    front.run("rows.append(3)\nk = 'new'\nframe.loc[0, 'a'] = 100\ndel frame")
    assert ended(front, task) == "solved"
    first, second = (a["outputs"][0]["text"] for a in screen(front).attempts.values())
    assert first == "[1, 2] old\n" and second == "[1, 2] old 3\n"


def test_tasks_wait_for_their_turn_with_the_variables_of_their_own_start(front, server):
    server.turns = [
        Turn("x", code="base = n", delay=0.7),
        Turn(answer="one"),
        Turn("y", code="print(base, n)"),
        Turn(answer="two"),
    ]
    front.run("n = 1")
    first, _ = given(front, "use `n`")
    front.run("n = 2")
    second, request = given(front, "print `n`")
    front.run("n = 3")
    assert statuses(front, second) == ["queued"]
    assert "Waiting for its turn" in front.cells[request].displays[0]["data"]["text/html"]
    status = front.run("%agent status").text
    assert f"In the background: {first}; waiting: {second}." in status
    info = front.ask("info")
    assert info["busy"] == first and info["queue"] == [second]
    assert {"attempts", "tasks"} <= set(info["saving"])
    assert ended(front, second) == "solved" and statuses(front, first)[-1] == "solved"
    assert statuses(front, second)[:2] == ["queued", "running"]
    (output,) = screen(front).attempts[second, 1]["outputs"]
    assert output["text"] == "1 2\n"
    assert "'use `n`' (solved)" in str(server.requests[2].body["messages"])


def test_a_page_that_missed_the_end_asks_what_stands_below_the_cell(front, server):
    server.turns = [Turn("x", code="y = 1"), Turn(answer="It is one.")]
    task, request = given(front, "set y")
    assert ended(front, task) == "solved"
    html = front.ask("record", task=task)["display"]["text/html"]
    assert html.startswith('<div class="jca jca-solved">') and "It is one." in html
    assert front.cells[request].displays[0]["data"]["text/html"].startswith('<div class="jca jca-')
    for kind, status in (("accept", "accepted"), ("restore", "succeeded")):
        assert front.ask(kind, task=task, attempt=1, code="y = 1")["ok"]
        assert screen(front).attempts[task, 1]["record"]["status"] == status
    missing = front.ask("record", task="none")
    assert not missing["ok"] and "no record of task 'none'" in missing["text"]


def test_a_task_in_the_foreground_waits_and_can_be_interrupted(front, server):
    server.turns = [Turn("x", code=LOOP)]
    task, _ = given(front, "loop")
    wait_for_output(front, "begun")
    request = front.send("%%agent --again\nnot now")
    front.until(lambda: f"Waiting for task {task}" in front.cells[request].text, 10)
    front.manager.interrupt_kernel()
    assert front.collect(request, 5).reply["ename"] == "Stopped"
    assert statuses(front, task)[-1] == "running"
    assert front.ask("stop", task=task)["ok"]
    server.turns = [Turn("y", code="2"), Turn(answer="done")]
    assert front.run("%%agent --again\nnow").reply["status"] == "ok"


def test_accepting_is_possible_at_once_and_discarding_follows_later(front, server):
    server.turns = [Turn("x", code="a = 1"), Turn("y", code=LOOP)]
    task, _ = given(front, "make a, then loop")
    wait_for_output(front, "begun")
    cell = front.run("%agent accept 1")
    assert cell.reply["payload"][0]["text"] == "a = 1" and "has not run here" in cell.text
    assert "has not ended yet" in front.run("%agent accept 2").text
    assert "follows when the running task has ended" in front.run("%agent discard 1").text
    front.until(lambda: screen(front).attempts[task, 1]["record"]["status"] == "discarded", 5)
    front.ask("stop")
    server.turns = [Turn("z", code="'a' in globals()"), Turn(answer="done")]
    front.run("%%agent --again\nlook")
    later = list(screen(front).attempts.values())[-1]
    assert later["outputs"][0]["data"]["text/plain"] == "False"


@pytest.mark.parametrize("phase", ["model", "reply", "code", "retry"])
def test_stop_takes_less_than_a_second(front, server, phase):
    busy = {"type": "error", "error": {"type": "overloaded_error", "message": "busy"}}
    turns = {
        "model": Turn("slow", code="1", delay=60),
        "reply": Turn("slow " * 2000, code="1", pace=0.05),
        "code": Turn("x", code=LOOP),
        "retry": Turn(status=529, error=busy, headers={"retry-after": "30"}),
    }
    server.turns = [turns[phase], Turn(answer="never")]
    task, request = given(front, f"stop in {phase}")
    front.until(lambda: bool(server.requests), 20)
    if phase == "code":
        wait_for_output(front, "begun")
    front.during(0.3)
    began = time.monotonic()
    said = front.run(f"%agent stop {task}").text
    assert time.monotonic() - began < 1.5 and f"Task {task} is stopped; nothing of it is in the sandbox." in said
    assert statuses(front, task)[-1] == "stopped"
    front.during(0.3)
    assert "Stopped" in front.cells[request].displays[-1]["data"]["text/html"]
    assert all(a["phase"] == "done" for a in screen(front).attempts.values())


def test_stop_by_a_page_while_a_cell_runs_ends_all_tasks(front, server):
    server.turns = [Turn("x", code=LOOP)]
    first, _ = given(front, "loop")
    second, _ = given(front, "wait")
    wait_for_output(front, "begun")
    request = front.send("import time\ntime.sleep(3)")
    front.during(0.2)
    began = time.monotonic()
    reply = front.ask("stop")
    assert time.monotonic() - began < 1.5 and reply["ok"] and first in reply["text"] and second in reply["text"]
    assert statuses(front, first)[-1] == statuses(front, second)[-1] == "stopped"
    assert front.collect(request).reply["status"] == "ok"
    assert front.run("%agent stop").text == "No task works in the background.\n"


def test_what_changed_meanwhile_is_told_before_accepting(front, server, place):
    (place / "rates.csv").write_text("1\n")
    server.turns = [Turn("x", code="sum(rows) * float(open('rates.csv').read())"), Turn(answer="done")]
    front.run("rows, other = [1, 2], 1")
    task, _ = given(front, "sum `rows` with rates.csv")
    ended(front, task)
    code = "sum(rows) * float(open('rates.csv').read())"
    assert front.ask("accept", task=task, attempt=1, code=code, ask=True)["text"] == ""
    front.run("rows.append(3)\nother = 2")
    (place / "rates.csv").write_text("2\n")
    said = front.ask("accept", task=task, attempt=1, code=code, ask=True)["text"]
    assert said.startswith("Changed since the agent took them: rows and rates.csv;")
    assert screen(front).attempts[task, 1]["record"]["status"] == "succeeded"
    assert "Changed since the agent took them: rows" in front.run("%agent accept 1").text
    assert (
        front.ask("accept", task=task, attempt=1, code="1 + 1")["text"]
        == "Changed since the agent took them: rates.csv; the code may give something else now."
    )
    assert screen(front).attempts[task, 1]["record"]["status"] == "accepted"


def test_the_agent_is_told_what_the_user_changed(front, server):
    server.turns = [Turn("x", code="total = 1\nprint(total)"), Turn(answer="done")]
    front.run("%%agent --again\nmake a total")
    task = front.events[0]["task"]
    front.ask("accept", task=task, attempt=1, code="total = 2\nprint(total)")
    server.turns = [Turn(answer="fine")]
    front.run("%%agent --again\ngo on")
    told = str(server.requests[-1].body["messages"])
    assert "-total = 1" in told and "+total = 2" in told


def test_undo_takes_back_the_last_kept_attempt(front, server):
    server.turns = [Turn("x", code="a = 1"), Turn("y", code="b = 2"), Turn(answer="done")]
    front.run("%%agent --again\nmake both")
    task = front.events[0]["task"]
    said = front.run("%agent undo").text
    assert f"Attempt {task}.2 is taken back." in said and "Of this task are kept: 1." in said
    assert front.ask("restore", task=task, attempt=2)["ok"]
    assert [a["record"]["status"] for a in screen(front).attempts.values()] == ["succeeded", "succeeded"]
    assert front.ask("discard", task=task, attempt=2)["text"] == "The sandbox follows at its next use."
    server.turns = [Turn("z", code="sorted(n for n in ('a', 'b') if n in globals())"), Turn(answer="done")]
    front.run("%%agent --again\nlook")
    assert list(screen(front).attempts.values())[-1]["outputs"][0]["data"]["text/plain"] == "['a']"


def test_what_fails_on_our_side_is_said_in_the_record(front, server):
    server.turns = [Turn("x", code="a = 1")]
    task, request = given(front, "fail")
    assert ended(front, task) == "failed"
    front.during(0.3)
    shown = front.cells[request].displays[-1]["data"]["text/html"]
    assert "the script has no more turns" in shown and front.cells[request].errors == []
    assert "the script has no more turns" in front.events[-1]["record"]["reason"]


def test_wrong_use_is_one_sentence(front):
    assert (
        "--review asks before each execution, so it does not go with --background"
        in front.run("%%agent --background --review --again\nx").text
    )
    assert "There is no task 'abc' in the background." in front.run("%agent stop abc").text


@pytest.mark.parametrize(
    "request_",
    [
        {"type": "accept"},
        {"type": "accept", "task": "x", "attempt": "1", "code": "1"},
        {"type": "accept", "task": "../../etc", "attempt": 1, "code": "1"},
        {"type": "accept", "task": "x", "attempt": 1, "code": "y" * 2_000_000},
        {"type": "discard", "task": 5, "attempt": 1},
        {"type": "restore", "task": "x", "attempt": True},
        {"type": "stop", "task": ["x"]},
        {"type": "save", "path": ""},
        {"type": "save", "path": "/nowhere/at/all.ipynb"},
        {"type": "save", "path": "a\0b.ipynb"},
        {"type": "fetch", "name": ["x"]},
        {"type": "fetch", "name": "x", "as": "--replace"},
        {"type": "fetch", "name": "no.name"},
    ],
)
def test_hostile_requests_get_one_sentence(front, request_):
    reply = front.ask_raw({"request": "r", **request_}, "r")
    assert reply["ok"] is False and reply["text"].strip() and "Traceback" not in reply["text"]
    assert len(reply["text"]) < 300


def test_info_tells_what_a_page_shows_first(front):
    front.run("class Odd:\n    def __len__(self):\n        raise RuntimeError\nodd, rows = Odd(), [1, 2]")
    info = front.ask("info")
    assert info["ok"] and info["attempts"] == 5 and info["costs"] is True and "sales.csv" in info["files"]
    found = {v["name"]: v for v in info["variables"]}
    assert (
        found["rows"] == {"name": "rows", "type": "list", "detail": "list, 2 items"} and found["odd"]["type"] == "Odd"
    )


def test_a_page_saves_what_was_kept(front, server, place):
    server.turns = [Turn("x", code="1 + 1"), Turn(answer="two")]
    front.run("%%agent --again\nadd")
    front.run("kept_here = 5", cell="own-cell")
    reply = front.ask("save", path="kept.ipynb", attempts=True)
    assert reply["ok"] and reply["path"].endswith("kept.ipynb") and isinstance(reply["notes"], list)
    cells = {cell["id"]: cell["source"] for cell in json.loads((place / "kept.ipynb").read_text())["cells"]}
    assert "".join(cells["own-cell"]) == "kept_here = 5" and "1 + 1" in map("".join, cells.values())
    (place / "kept.ipynb").write_text("mine")
    assert front.ask("save", path="kept.ipynb")["ok"] is False


def test_a_page_fetches_a_variable_under_a_free_name_only(front, server):
    server.turns = [Turn("x", code="fetched_rows = [1, 2]"), Turn(answer="done")]
    front.run("%%agent --again\nmake rows for fetching")
    reply = front.ask("fetch", **{"name": "fetched_rows", "as": "own_rows"})
    assert reply["ok"] and reply["text"] == "Fetched fetched_rows as own_rows: list, 2 items."
    assert front.run("print(own_rows)").text == "[1, 2]\n"
    assert front.ask("fetch", **{"name": "fetched_rows", "as": "own_rows"})["ok"] is False


def test_a_restarted_kernel_knows_all_tasks_and_keeps_outputs(place, server):
    environment = {**clean_environment(place.parent), "ANTHROPIC_BASE_URL": server.url}
    server.turns = [Turn("x", code="print('seen')"), Turn("y", code="oops"), Turn(answer="No.", solved=False)]
    with kernel_page(place, environment) as front:
        front.run(LOAD)
        front.run("%%agent\nfail please", cell="c1")
        task = front.events[0]["task"]
        before = screen(front)
        assert before.tasks[task]["status"] == "failed"
        front.attach()
        front.ask("discard", task=task, attempt=1)
    with kernel_page(place, environment) as front:
        front.run(LOAD)
        front.attach()
        reply = front.ask("sync", cells=["c1"], tasks=[task, "unknown"])
        assert reply["known"] == [task]
        after = Screen()
        for message in front.control:
            if "type" in message:
                after.apply(message)
        assert after.tasks[task] == before.tasks[task]
        assert after.attempts[task, 1]["record"]["status"] == "discarded"
        assert after.attempts[task, 2]["outputs"] == before.attempts[task, 2]["outputs"]
        cell = front.run(f"%%attempt {task}.1\nprint('seen')")
        assert cell.text.startswith("seen\n") and "unchanged and was not run again" in cell.text
        stored = front.run(f"%%attempt {task}.1\nprint('seen')", jupyter_codeagent={"again": True})
        assert stored.text == cell.text
        cell = front.run(f"%%attempt {task}.1\nprint('seen')", jupyter_codeagent={"again": reply["again"]})
        assert cell.text == "seen\n"
        cell = front.run(f"%%attempt {task}.2\noops")
        assert cell.reply["status"] == "ok" and cell.errors[0]["ename"] == "NameError"
        assert cell.errors[0]["traceback"] == before.attempts[task, 2]["outputs"][-1]["traceback"]
        requests = len(server.requests)
        server.turns = [Turn(answer="now")]
        front.run("%%agent\nfail please", cell="c1")
        assert len(server.requests) == requests + 1


def test_unloading_and_shutting_down_leave_nothing_behind(place, server):
    environment = {**clean_environment(place.parent), "ANTHROPIC_BASE_URL": server.url}
    server.turns = [Turn("x", code=LOOP), Turn("y", code=LOOP)]
    with kernel_page(place, environment) as front:
        process = psutil.Process(front.manager.provisioner.pid)
        front.run(LOAD)
        given(front, "loop")
        wait_for_output(front, "begun")
        front.run("%unload_ext jupyter_codeagent", timeout=5)
        assert process.children(recursive=True) == []
        front.run(LOAD)
        given(front, "loop")
        front.until(lambda: len(process.children(recursive=True)) > 1, 20)
        children = process.children(recursive=True)
        task = front.events[-1]["task"]
        front.manager.shutdown_kernel(now=False)
        _, alive = psutil.wait_procs(children, timeout=5)
        assert alive == [] and not process.is_running()
    assert Records(place.parent / "data" / "codeagent" / "records").task(task).status == "stopped"
